-- Where tables stand, and who may read them: what is Backline's own business is in schema `backline`, what others read in `public`. The tables
-- that grow with every collection are cut into months, so that old ones are dropped instead of deleted row by row.
--
-- A connection of Backline's finds names in `backline` first and in `public` after it. Where the artist platform has a table in `public` by
-- one of these names, Backline's own stays in `backline`.

DO $$
DECLARE
    found RECORD;
BEGIN
    -- What an older version of Backline made in `public`.
    IF to_regclass('public.batch_accounts') IS NOT NULL THEN
        FOR found IN SELECT unnest(ARRAY[
            'platforms', 'accounts', 'consents', 'releases', 'compiled', 'credentials', 'runs', 'batches', 'batch_accounts',
            'collection_outcomes', 'documents', 'quarantine', 'account_state', 'lost_metrics', 'budgets', 'events', 'plugin_logs',
            'schedules', 'schedule_fires', 'leaders', 'hosts', 'activations', 'release_activations', 'release_hosts', 'canaries',
            'release_batches']) AS name
        LOOP
            EXECUTE format('ALTER TABLE public.%I SET SCHEMA backline', found.name);
        END LOOP;
        FOR found IN SELECT unnest(ARRAY[
            'artists_inserted', 'artists_updated', 'consents_inserted', 'accounts_inserted', 'accounts_updated']) AS name
        LOOP
            EXECUTE format('ALTER FUNCTION public.backline_%s() SET SCHEMA backline', found.name);
        END LOOP;
    ELSE
        FOR found IN SELECT unnest(ARRAY['artists', 'metrics', 'growth', 'data_collection_logs']) AS name LOOP
            IF to_regclass(format('public.%I', found.name)) IS NULL THEN
                EXECUTE format('ALTER TABLE backline.%I SET SCHEMA public', found.name);
            END IF;
        END LOOP;
        IF to_regprocedure('public.calculate_growth_rates(uuid, text)') IS NULL THEN
            ALTER FUNCTION backline.calculate_growth_rates(UUID, TEXT) SET SCHEMA public;
        END IF;
    END IF;
    FOR found IN SELECT unnest(ARRAY[
        'artists_inserted', 'artists_updated', 'consents_inserted', 'accounts_inserted', 'accounts_updated']) AS name
    LOOP
        EXECUTE format('ALTER FUNCTION backline.backline_%s() SET search_path = backline, public, pg_temp', found.name);
        -- They act as their owner; whoever sets a trigger off needs no right to them.
        EXECUTE format('REVOKE ALL ON FUNCTION backline.backline_%s() FROM PUBLIC', found.name);
    END LOOP;
    -- What Supabase granted to everybody when these tables were made in `public` came along with them.
    FOR found IN SELECT 'PUBLIC' AS name UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role')
    LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA backline FROM %s', found.name);
        EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA backline FROM %s', found.name);
    END LOOP;
    ALTER FUNCTION calculate_growth_rates(UUID, TEXT) SET search_path = backline, public, pg_temp;
END
$$;

-- Makes a table's partition of the month in which a day lies, unless it is there. The new table is filled with its columns first and attached
-- then, which keeps nobody from reading and writing the others.
CREATE FUNCTION backline.ensure_month(p_table REGCLASS, p_day DATE) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    since DATE := date_trunc('month', p_day)::date;
    name TEXT := (SELECT relname FROM pg_class WHERE oid = p_table) || to_char(p_day, '_YYYY_MM');
BEGIN
    IF to_regclass(format('backline.%I', name)) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(7135240011895);
    -- Asked of the table: to_regclass() remembers for a while what it did not find.
    IF EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = 'backline'::regnamespace AND relname = name) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE backline.%I (LIKE %s INCLUDING DEFAULTS INCLUDING STORAGE)', name, p_table);
    EXECUTE format(
        'ALTER TABLE %s ATTACH PARTITION backline.%I FOR VALUES FROM (%L) TO (%L)',
        p_table, name, since, (since + INTERVAL '1 month')::date);
END
$$;

-- Everything that a collection of these days writes has a place afterwards.
CREATE FUNCTION backline.ensure_months(p_days DATE[]) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    day DATE;
    name TEXT;
BEGIN
    FOR day IN SELECT DISTINCT date_trunc('month', d)::date FROM unnest(p_days) AS d ORDER BY 1 LOOP
        FOREACH name IN ARRAY ARRAY['metrics', 'growth', 'documents'] LOOP
            PERFORM backline.ensure_month(to_regclass(name), day);
        END LOOP;
    END LOOP;
END
$$;
ALTER FUNCTION backline.ensure_months(DATE[]) SET search_path = backline, public, pg_temp;

-- From one table to one with a partition a month, in the schema in which it stands.
CREATE FUNCTION pg_temp.partition(p_name TEXT, p_keys TEXT) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    home TEXT := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass(p_name));
    day DATE;
BEGIN
    EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', home, p_name, p_name || '_before');
    EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE %1$I.%3$I INCLUDING DEFAULTS, %4$s,
            FOREIGN KEY (account_id) REFERENCES backline.accounts (id) ON DELETE CASCADE)
        PARTITION BY RANGE (metric_date)', home, p_name, p_name || '_before', p_keys);
    FOR day IN EXECUTE format(
        'SELECT DISTINCT date_trunc(''month'', metric_date)::date FROM %I.%I ORDER BY 1', home, p_name || '_before')
    LOOP
        PERFORM backline.ensure_month(to_regclass(format('%I.%I', home, p_name)), day);
    END LOOP;
    EXECUTE format('INSERT INTO %1$I.%2$I SELECT * FROM %1$I.%3$I', home, p_name, p_name || '_before');
END
$$;

SELECT pg_temp.partition('metrics', 'PRIMARY KEY (account_id, metric_date)');
SELECT pg_temp.partition('growth', 'PRIMARY KEY (account_id, metric_date)');
SELECT pg_temp.partition('documents', 'PRIMARY KEY (id, metric_date)');
DROP FUNCTION pg_temp.partition(TEXT, TEXT);
DROP TABLE metrics_before, growth_before, documents_before;
CREATE INDEX metrics_by_artist ON metrics (artist_id, platform, metric_date);
CREATE INDEX metrics_by_date ON metrics (metric_date);
CREATE INDEX growth_by_artist ON growth (artist_id, platform, metric_date);
CREATE INDEX documents_by_account ON documents (account_id, metric_date);
CREATE INDEX documents_by_date ON documents (metric_date);

-- Rows past their time. Columns are those of `metrics`, so that rows move as they are.
DO $$
DECLARE
    home TEXT := (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('metrics'));
BEGIN
    EXECUTE format('CREATE TABLE %1$I.metrics_archive (LIKE %1$I.metrics INCLUDING DEFAULTS, PRIMARY KEY (account_id, metric_date),
            FOREIGN KEY (account_id) REFERENCES backline.accounts (id) ON DELETE CASCADE)
        PARTITION BY RANGE (metric_date)', home);
    EXECUTE format('CREATE INDEX metrics_archive_by_artist ON %I.metrics_archive (artist_id, platform, metric_date)', home);
    -- A late number for an archived date replaces its row; until it is archived too, it hides it.
    EXECUTE format('CREATE VIEW %1$I.metrics_all AS SELECT * FROM %1$I.metrics
        UNION ALL SELECT * FROM %1$I.metrics_archive a
        WHERE NOT EXISTS (SELECT 1 FROM %1$I.metrics m WHERE m.account_id = a.account_id AND m.metric_date = a.metric_date)', home);
    -- Whoever reads a view sees what they may see of its tables. Versions before 15 can't do that: there the views are for the service only.
    IF current_setting('server_version_num')::int >= 150000 THEN
        EXECUTE format('ALTER VIEW %s SET (security_invoker = true)', to_regclass('metrics_all'));
        EXECUTE format('ALTER VIEW %s SET (security_invoker = true)', to_regclass('data_collection_logs'));
    END IF;
END
$$;

-- Which artists the user of a request may read: on Supabase and with PostgREST, the one that is the user, or that the token names. Replace it
-- (CREATE OR REPLACE FUNCTION) where the platform has other rules; Backline never does.
CREATE FUNCTION backline.may_read(p_artist_id UUID) RETURNS BOOLEAN
LANGUAGE sql STABLE AS $$
    SELECT p_artist_id::text IN (claims ->> 'sub', claims ->> 'artist_id')
    FROM (SELECT NULLIF(current_setting('request.jwt.claims', TRUE), '')::jsonb AS claims) AS request
$$;

-- What is shown in `public`, and whose row is whose.
DO $$
DECLARE
    name TEXT;
BEGIN
    FOREACH name IN ARRAY ARRAY['artists', 'metrics', 'growth', 'metrics_archive'] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', to_regclass(name));
    END LOOP;
    -- Supabase grants every table of `public` to everybody as it is made.
    FOREACH name IN ARRAY ARRAY['artists', 'metrics', 'growth', 'metrics_archive', 'metrics_all', 'data_collection_logs'] LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', to_regclass(name));
        IF to_regrole('anon') IS NOT NULL THEN
            EXECUTE format('REVOKE ALL ON %s FROM anon', to_regclass(name));
        END IF;
    END LOOP;
END
$$;

-- Gives a role its first rights and its policies; never again, since what the operator changes afterwards is the operator's. Whoever may use the
-- schema, or has one of the policies, has been admitted before.
CREATE FUNCTION backline.admit(p_role TEXT, p_rows TEXT, p_writes BOOLEAN) RETURNS VOID
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
    FOREACH name IN ARRAY ARRAY['artists', 'metrics', 'growth', 'metrics_archive', 'metrics_all', 'data_collection_logs'] LOOP
        shown := to_regclass(name);
        EXECUTE format('REVOKE ALL ON %s FROM %I', shown, p_role);
        IF p_writes OR name NOT IN ('metrics_all', 'data_collection_logs')
            OR (name = 'metrics_all' AND current_setting('server_version_num')::int >= 150000)
        THEN
            EXECUTE format('GRANT SELECT ON %s TO %I', shown, p_role);
        END IF;
    END LOOP;
    FOREACH name IN ARRAY ARRAY['artists', 'metrics', 'growth', 'metrics_archive'] LOOP
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

-- Called after every migration, since roles may have come since; harmless as often as it is called.
CREATE FUNCTION backline.grant_roles() RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    shown REGCLASS := to_regclass('metrics');
BEGIN
    PERFORM pg_advisory_xact_lock(7135240011896);
    PERFORM backline.admit('authenticated', 'backline.may_read({artist})', FALSE);
    PERFORM backline.admit('service_role', 'TRUE', TRUE);
    -- Supabase's stream of changes. Rows are told under the table's name, not under a month's.
    IF EXISTS (SELECT 1 FROM pg_publication WHERE pubname = 'supabase_realtime' AND NOT puballtables)
        AND NOT EXISTS (SELECT 1 FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
            WHERE p.pubname = 'supabase_realtime' AND r.prrelid = shown)
    THEN
        BEGIN
            EXECUTE format('ALTER PUBLICATION supabase_realtime ADD TABLE %s', shown);
            ALTER PUBLICATION supabase_realtime SET (publish_via_partition_root = true);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'metrics could not be added to publication supabase_realtime: its owner must do so';
        END;
    END IF;
END
$$;
ALTER FUNCTION backline.grant_roles() SET search_path = backline, public, pg_temp;
