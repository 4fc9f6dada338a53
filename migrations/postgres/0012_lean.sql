-- Events about a row of `metrics` are written without a copy of it.

-- `row_at` is the row's `updated_at`: while it is set, the event's data are those of that row, and `data` holds only
-- what the row does not. Before the row is replaced or deleted, they are written into `data`, and `row_at` is cleared.
ALTER TABLE events ADD COLUMN row_account UUID;
ALTER TABLE events ADD COLUMN row_date DATE;
ALTER TABLE events ADD COLUMN row_run UUID;
ALTER TABLE events ADD COLUMN row_at TIMESTAMPTZ;

-- What is there already keeps its data. Its key becomes columns, so that no fact is written a second time.
UPDATE events SET row_run = split_part(dedup_key, ':', 2)::uuid, row_account = split_part(dedup_key, ':', 3)::uuid,
    row_date = split_part(dedup_key, ':', 4)::date, dedup_key = NULL
WHERE type = 'metrics.collected'
    AND dedup_key ~ '^metrics\.collected:[0-9a-f-]{36}:[0-9a-f-]{36}:[0-9]{4}-[0-9]{2}-[0-9]{2}$';
UPDATE events SET row_account = split_part(dedup_key, ':', 2)::uuid, row_date = split_part(dedup_key, ':', 3)::date,
    dedup_key = NULL
WHERE type = 'metrics.significant_change'
    AND dedup_key ~ '^metrics\.significant_change:[0-9a-f-]{36}:[0-9]{4}-[0-9]{2}-[0-9]{2}$';

-- Once per account, date and run; a change once per account and date.
CREATE UNIQUE INDEX events_once_per_row
    ON events (row_date, row_account, COALESCE(row_run, '00000000-0000-0000-0000-000000000000'))
    WHERE row_account IS NOT NULL;

-- Growth lives in the row that it is about, in a short form: by metric, a change for each of 1, 7, 28 and 90 days, or
-- one for all of them. JSON, not JSONB, which would be longer.
ALTER TABLE metrics ADD COLUMN growth JSON;
ALTER TABLE metrics_archive ADD COLUMN growth JSON;

CREATE FUNCTION backline.growth_change(p_days INT, p_short JSON) RETURNS JSONB
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN json_typeof(p_short) = 'object' THEN p_short::jsonb
        WHEN json_typeof(p_short) = 'string'
            THEN jsonb_build_object('reason', CASE p_short #>> '{}' WHEN 'f' THEN 'first' ELSE 'absent' END)
        WHEN p_short ->> 0 = 'z' THEN jsonb_build_object('reason', 'zero_base', 'absolute', p_short -> 1,
            'gap_days', p_days)
        WHEN p_short ->> 0 = 'b' THEN jsonb_build_object('reason', 'break', 'gap_days', p_short -> 1)
        WHEN p_short ->> 0 = 'g' THEN jsonb_strip_nulls(jsonb_build_object('reason', 'gap', 'gap_days', p_short -> 1,
            'daily_percent', p_short -> 2))
        ELSE jsonb_strip_nulls(jsonb_build_object('absolute', p_short -> 0, 'percent', p_short -> 1,
            'gap_days', p_days))
    END
$$;

CREATE FUNCTION backline.growth_changes(p_growth JSON) RETURNS JSONB
LANGUAGE sql IMMUTABLE AS $$
    SELECT COALESCE(jsonb_object_agg(metric.key, CASE json_typeof(metric.value)
        WHEN 'object' THEN metric.value::jsonb
        ELSE (SELECT jsonb_object_agg(span.days::text, backline.growth_change(span.days,
                CASE json_typeof(metric.value) WHEN 'array' THEN metric.value -> span.place ELSE metric.value END))
            FROM (VALUES (0, 1), (1, 7), (2, 28), (3, 90)) AS span (place, days))
    END), '{}'::jsonb)
    FROM json_each(p_growth) AS metric
$$;
ALTER FUNCTION backline.growth_changes(JSON) SET search_path = backline, public, pg_temp;

UPDATE metrics SET growth = g.changes::json FROM growth g
WHERE g.account_id = metrics.account_id AND g.metric_date = metrics.metric_date;
UPDATE metrics_archive SET growth = g.changes::json FROM growth g
WHERE g.account_id = metrics_archive.account_id AND g.metric_date = metrics_archive.metric_date
    AND NOT EXISTS (SELECT 1 FROM metrics m
        WHERE m.account_id = metrics_archive.account_id AND m.metric_date = metrics_archive.metric_date);

-- The table becomes a view, which shows what it showed, to those who could read it.
DO $$
DECLARE
    home TEXT := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('growth'));
    shown TEXT := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('metrics'));
    as_reader BOOLEAN := current_setting('server_version_num')::int >= 150000;
    readers TEXT[];
    reader TEXT;
BEGIN
    SELECT array_agg(DISTINCT r.rolname) INTO readers
    FROM pg_class c, aclexplode(c.relacl) AS a JOIN pg_roles r ON r.oid = a.grantee
    WHERE c.oid = to_regclass('growth') AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner;
    EXECUTE format('DROP TABLE %I.growth', home);
    EXECUTE format('CREATE OR REPLACE VIEW %1$I.metrics_all AS SELECT * FROM %1$I.metrics
        UNION ALL SELECT * FROM %1$I.metrics_archive a
        WHERE NOT EXISTS (SELECT 1 FROM %1$I.metrics m
            WHERE m.account_id = a.account_id AND m.metric_date = a.metric_date)', shown);
    EXECUTE format('CREATE VIEW %I.growth AS
        SELECT m.account_id, m.artist_id, m.platform, m.metric_date, backline.growth_changes(m.growth) AS changes,
            m.updated_at
        FROM %I.metrics_all m WHERE m.growth IS NOT NULL', home, shown);
    IF as_reader THEN
        EXECUTE format('ALTER VIEW %I.metrics_all SET (security_invoker = true)', shown);
        EXECUTE format('ALTER VIEW %I.growth SET (security_invoker = true)', home);
    END IF;
    EXECUTE format('REVOKE ALL ON %I.growth FROM PUBLIC', home);
    -- What Supabase grants on everything that is made in `public`.
    FOR reader IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role') LOOP
        EXECUTE format('REVOKE ALL ON %I.growth FROM %I', home, reader);
    END LOOP;
    FOREACH reader IN ARRAY COALESCE(readers, '{}') LOOP
        -- Versions before 15 can't show each reader what is theirs.
        IF as_reader OR reader = 'service_role' THEN
            EXECUTE format('GRANT SELECT ON %I.growth TO %I', home, reader);
        END IF;
    END LOOP;
END
$$;

-- As before, with growth as a view.
CREATE OR REPLACE FUNCTION backline.ensure_months(p_days DATE[]) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    day DATE;
    name TEXT;
BEGIN
    FOR day IN SELECT DISTINCT date_trunc('month', d)::date FROM unnest(p_days) AS d ORDER BY 1 LOOP
        FOREACH name IN ARRAY ARRAY['metrics', 'documents'] LOOP
            PERFORM backline.ensure_month(to_regclass(name), day);
        END LOOP;
    END LOOP;
END
$$;
ALTER FUNCTION backline.ensure_months(DATE[]) SET search_path = backline, public, pg_temp;

CREATE OR REPLACE FUNCTION backline.admit(p_role TEXT, p_rows TEXT, p_writes BOOLEAN) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    name TEXT;
    shown REGCLASS;
BEGIN
    IF to_regrole(p_role) IS NULL
        OR EXISTS (SELECT 1 FROM pg_policy WHERE polname = 'backline_' || p_role)
        OR EXISTS (SELECT 1 FROM pg_namespace n, aclexplode(n.nspacl) AS a
            WHERE n.nspname = 'backline' AND a.grantee = to_regrole(p_role))
    THEN
        RETURN;
    END IF;
    FOREACH name IN ARRAY ARRAY['artists', 'metrics', 'metrics_archive', 'growth', 'metrics_all',
        'data_collection_logs']
    LOOP
        shown := to_regclass(name);
        EXECUTE format('REVOKE ALL ON %s FROM %I', shown, p_role);
        IF p_writes OR name NOT IN ('growth', 'metrics_all', 'data_collection_logs')
            OR (name <> 'data_collection_logs' AND current_setting('server_version_num')::int >= 150000)
        THEN
            EXECUTE format('GRANT SELECT ON %s TO %I', shown, p_role);
        END IF;
    END LOOP;
    FOREACH name IN ARRAY ARRAY['artists', 'metrics', 'metrics_archive'] LOOP
        EXECUTE format('CREATE POLICY %I ON %s TO %I USING (%s)', 'backline_' || p_role, to_regclass(name), p_role,
            replace(p_rows, '{artist}', CASE name WHEN 'artists' THEN 'id' ELSE 'artist_id' END));
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA backline TO %I', p_role);
    IF p_writes THEN
        EXECUTE format('GRANT INSERT, UPDATE ON %s TO %I', to_regclass('artists'), p_role);
        -- `data_collection_logs` is a view on it.
        EXECUTE format('GRANT SELECT ON collection_outcomes TO %I', p_role);
    END IF;
END
$$;
ALTER FUNCTION backline.admit(TEXT, TEXT, BOOLEAN) SET search_path = backline, public, pg_temp;
