-- A batch that ended says once that its accounts were collected, instead of a row for each.

-- When the accounts of a batch were collected, all but those that have a row of the batch's run in
-- `collection_outcomes`. Null where each account has a row, as before this version, and once outcomes of that time are
-- deleted.
ALTER TABLE batches ADD COLUMN collected_at TIMESTAMPTZ;
CREATE INDEX batches_collected ON batches (collected_at) WHERE collected_at IS NOT NULL;

-- Each of the two indexes with an account leads to one row, whichever a plan uses.
DROP INDEX collection_outcomes_by_account;
CREATE INDEX collection_outcomes_by_account ON collection_outcomes (account_id, run_id);

-- How each account ended in each run: by its own row, or as its batch says.
CREATE VIEW backline.outcomes_all AS
SELECT o.run_id, o.account_id, o.artist_id, o.platform, o.metric_date, o.outcome, o.reason, o.message,
    o.deferred_until, o.attempts, o.at, o.release_digest
FROM collection_outcomes o
UNION ALL
SELECT b.run_id, m.account_id, a.artist_id, b.platform, m.metric_date, 'collected'::text, NULL::text, NULL::text,
    NULL::timestamptz, b.attempts + 1, b.collected_at, b.release_digest
FROM batches b JOIN batch_accounts m ON m.batch_id = b.id JOIN accounts a ON a.id = m.account_id
WHERE b.collected_at IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM collection_outcomes o WHERE o.run_id = b.run_id AND o.account_id = m.account_id);

-- The view shows what it showed.
DO $$
DECLARE
    home TEXT := (SELECT relnamespace::regnamespace::text FROM pg_class
        WHERE oid = to_regclass('data_collection_logs'));
    reader TEXT;
BEGIN
    EXECUTE format($view$CREATE OR REPLACE VIEW %s.data_collection_logs AS
        SELECT
            run_id,
            artist_id,
            COALESCE(
                jsonb_agg(
                    jsonb_build_object('platform', platform, 'account_id', account_id, 'class', reason,
                        'message', message)
                    ORDER BY account_id
                ) FILTER (WHERE outcome = 'failed'),
                '[]'::jsonb
            ) AS errors,
            metric_date AS collection_date,
            CASE
                WHEN COUNT(*) FILTER (WHERE outcome IN ('failed', 'deferred', 'superseded')) = 0 THEN 'success'
                WHEN COUNT(*) FILTER (WHERE outcome IN ('failed', 'superseded')) = 0 THEN 'deferred'
                WHEN COUNT(*) FILTER (WHERE outcome IN ('collected', 'deferred', 'superseded')) = 0 THEN 'failed'
                ELSE 'partial_failure'
            END AS status,
            MAX(at) AS created_at
        FROM backline.outcomes_all
        WHERE outcome <> 'excluded'
        GROUP BY run_id, artist_id, metric_date$view$, home);
    IF current_setting('server_version_num')::int >= 150000 THEN
        EXECUTE format('ALTER VIEW %s.data_collection_logs SET (security_invoker = true)', home);
    END IF;
    -- Those who read it need a right to what it reads.
    REVOKE ALL ON backline.outcomes_all FROM PUBLIC;
    FOR reader IN
        SELECT DISTINCT r.rolname
        FROM pg_class c, aclexplode(c.relacl) AS a JOIN pg_roles r ON r.oid = a.grantee
        WHERE c.oid = to_regclass('collection_outcomes') AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT SELECT ON backline.outcomes_all TO %I', reader);
    END LOOP;
END
$$;

-- As before, with the view that `data_collection_logs` reads now.
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
        -- `data_collection_logs` is a view on them.
        EXECUTE format('GRANT SELECT ON collection_outcomes, backline.outcomes_all TO %I', p_role);
    END IF;
END
$$;
ALTER FUNCTION backline.admit(TEXT, TEXT, BOOLEAN) SET search_path = backline, public, pg_temp;
