-- Reads of signed-in users by index, and outcomes by artist.

-- Which artists the user of a request may read: on Supabase and with PostgREST, the one that is the user, or that the
-- token names. Replace it (CREATE OR REPLACE FUNCTION) where the platform has other rules; Backline never does.
-- It answers a set, so that a statement asks once and finds its rows by an index; `may_read` was asked for each row.
CREATE FUNCTION backline.readable_artists() RETURNS SETOF UUID
LANGUAGE sql STABLE AS $$
    SELECT named.id::uuid
    FROM (SELECT NULLIF(current_setting('request.jwt.claims', TRUE), '')::jsonb AS claims) AS request,
        LATERAL (VALUES (claims ->> 'sub'), (claims ->> 'artist_id')) AS named (id)
    WHERE named.id ~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$'
$$;

-- The first rights of the roles, as before, with the set in the place of the question for each row.
CREATE OR REPLACE FUNCTION backline.grant_roles() RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    shown REGCLASS := to_regclass('metrics');
    rows_read TEXT := '{artist} = ANY (ARRAY(SELECT backline.readable_artists()))';
BEGIN
    PERFORM pg_advisory_xact_lock(7135240011896);
    -- Where the operator has put other rules into `may_read`, they stay in force.
    IF to_regprocedure('backline.may_read(uuid)') IS NOT NULL THEN
        rows_read := 'backline.may_read({artist})';
    END IF;
    PERFORM backline.admit('authenticated', rows_read, FALSE);
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

-- Policies that still ask `may_read` as Backline made it ask for the set from now on. A `may_read` that the operator
-- replaced, and policies that the operator wrote, stay as they are.
DO $$
DECLARE
    policy RECORD;
    made_here CONSTANT TEXT := 'SELECT p_artist_id::text IN (claims ->> ''sub'', claims ->> ''artist_id'') '
        'FROM (SELECT NULLIF(current_setting(''request.jwt.claims'', TRUE), '''')::jsonb AS claims) AS request';
    current_text TEXT;
BEGIN
    SELECT btrim(regexp_replace(prosrc, '\s+', ' ', 'g')) INTO current_text
    FROM pg_proc WHERE oid = to_regprocedure('backline.may_read(uuid)');
    IF current_text IS DISTINCT FROM made_here THEN
        RETURN;
    END IF;
    FOR policy IN
        SELECT p.polname AS name, p.polrelid::regclass AS shown,
            CASE WHEN c.relname = 'artists' THEN 'id' ELSE 'artist_id' END AS artist
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
        WHERE p.polname = 'backline_authenticated'
            AND pg_get_expr(p.polqual, p.polrelid) ~ '^\(?(backline\.)?may_read\((id|artist_id)\)\)?$'
    LOOP
        EXECUTE format('ALTER POLICY %I ON %s USING (%s = ANY (ARRAY(SELECT backline.readable_artists())))',
            policy.name, policy.shown, policy.artist);
    END LOOP;
    BEGIN
        DROP FUNCTION backline.may_read(UUID);
    EXCEPTION WHEN dependent_objects_still_exist THEN
        -- A policy of the operator's asks it still.
        CREATE OR REPLACE FUNCTION backline.may_read(p_artist_id UUID) RETURNS BOOLEAN
        LANGUAGE sql STABLE AS 'SELECT p_artist_id = ANY (ARRAY(SELECT backline.readable_artists()))';
    END;
END
$$;

-- `data_collection_logs` is asked by artist.
CREATE INDEX collection_outcomes_by_artist ON collection_outcomes (artist_id, metric_date);
