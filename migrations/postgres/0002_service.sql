-- What a long-running service needs: schedules, who leads, which hosts there are, who is to be collected for the first time, and who
-- refreshes which credential. Times are given by Backline, but for those of the triggers below, which others set off.

-- `considered_until`: each time of firing up to here has been decided. `origin` is `config` or `database`.
CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    origin TEXT NOT NULL,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    platforms JSONB NOT NULL,
    catch_up TEXT NOT NULL,
    overlap TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    considered_until TIMESTAMPTZ NOT NULL,
    next_fire TIMESTAMPTZ,
    last_fire TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

-- What became of each time of firing: the key is what keeps two hosts from starting the same run.
CREATE TABLE schedule_fires (
    schedule TEXT NOT NULL,
    fire_time TIMESTAMPTZ NOT NULL,
    decision TEXT NOT NULL,
    run_id UUID,
    decided_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (schedule, fire_time)
);
CREATE INDEX schedule_fires_by_run ON schedule_fires (run_id);
CREATE INDEX schedule_fires_queued ON schedule_fires (fire_time) WHERE decision = 'queued';

-- Runs that are under way: the scheduler looks for them at every turn.
CREATE INDEX runs_unfinished ON runs (id) WHERE finished_at IS NULL;

-- Who holds a role that only one host may have. `term` grows with every change of holder; whatever the holder writes checks it.
CREATE TABLE leaders (
    role TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    term BIGINT NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE hosts (
    name TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL
);

-- Who made an artist or account known: `manual`, `import` or `sync`; `sync-removed` is what `sync` made and switched off when its source
-- no longer had it. What sync did not make, it never switches off.
ALTER TABLE artists ADD COLUMN origin TEXT NOT NULL DEFAULT 'manual';
ALTER TABLE accounts ADD COLUMN origin TEXT NOT NULL DEFAULT 'manual';
CREATE INDEX artists_synced ON artists (id) WHERE origin = 'sync';

-- Artists whose first collection is due; an empty platform means all of them. Taken out in the transaction that plans it, unless `at` has
-- moved since: then somebody asked again for what the plan may not have seen.
CREATE TABLE activations (
    artist_id UUID NOT NULL REFERENCES artists (id) ON DELETE CASCADE,
    platform TEXT NOT NULL,
    cause TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (artist_id, platform)
);

-- `refresh_at` is when the secret should be refreshed (half of its life); `refresh_owner` does so until `refresh_until`. An owner whose
-- time is over without a new version died between asking and saving: `refresh_began` tells when it asked.
ALTER TABLE credentials ADD COLUMN refresh_at TIMESTAMPTZ;
ALTER TABLE credentials ADD COLUMN refresh_owner TEXT;
ALTER TABLE credentials ADD COLUMN refresh_until TIMESTAMPTZ;
ALTER TABLE credentials ADD COLUMN refresh_began TIMESTAMPTZ;
CREATE INDEX credentials_by_refresh ON credentials (refresh_at) WHERE refresh_at IS NOT NULL;
CREATE INDEX credentials_by_expiry ON credentials (expires_at) WHERE expires_at IS NOT NULL;

-- Batches are leased per platform, in the order of their turns.
DROP INDEX batches_open;
CREATE INDEX batches_open ON batches (platform, turn, id) WHERE finished_at IS NULL;
CREATE INDEX batches_dead ON batches (finished_at) WHERE state = 'dead';
CREATE INDEX batches_deferred ON batches (available_at) WHERE state = 'deferred';
CREATE INDEX batches_open_by_run ON batches (run_id) WHERE finished_at IS NULL;

-- Who is to be collected for the first time. The transition counts, not every UPDATE. One statement fires once, however many rows it
-- writes, and rows are locked in one order, so that two statements can't wait for each other.
--
-- Others set these off: the artist platform's own code, under roles that may change artists and nothing else of Backline's. So the
-- functions run with the rights of whoever migrated, and find names in Backline's own schema only.

CREATE FUNCTION backline_artists_inserted() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    SELECT a.id, '', 'activation', now() FROM rows_after a
    WHERE a.subscription_status = 'active' AND a.data_collection_enabled
    ORDER BY a.id
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
    IF FOUND THEN
        PERFORM pg_catalog.pg_notify('backline', 'activations');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER artists_inserted AFTER INSERT ON artists
    REFERENCING NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION backline_artists_inserted();

CREATE FUNCTION backline_artists_updated() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    SELECT a.id, '', 'activation', now() FROM rows_after a JOIN rows_before b ON b.id = a.id
    WHERE a.subscription_status = 'active' AND a.data_collection_enabled
        AND NOT (b.subscription_status = 'active' AND b.data_collection_enabled)
    ORDER BY a.id
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
    IF FOUND THEN
        PERFORM pg_catalog.pg_notify('backline', 'activations');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER artists_updated AFTER UPDATE ON artists
    REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION backline_artists_updated();

CREATE FUNCTION backline_consents_inserted() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    SELECT DISTINCT a.artist_id, a.platform, 'consent', now() FROM rows_after a
    -- Granted again what was granted already is no transition.
    WHERE a.granted AND a.scope = 'metrics' AND NOT COALESCE((SELECT c.granted FROM consents c
        WHERE c.artist_id = a.artist_id AND c.platform = a.platform AND c.scope = a.scope
            AND (c.recorded_at, c.seq) < (a.recorded_at, a.seq)
        ORDER BY c.recorded_at DESC, c.seq DESC LIMIT 1), FALSE)
    ORDER BY a.artist_id, a.platform
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
    IF FOUND THEN
        PERFORM pg_catalog.pg_notify('backline', 'activations');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER consents_inserted AFTER INSERT ON consents
    REFERENCING NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION backline_consents_inserted();

CREATE FUNCTION backline_accounts_inserted() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    SELECT DISTINCT a.artist_id, a.platform, 'account', now() FROM rows_after a
    WHERE a.status = 'active'
    ORDER BY a.artist_id, a.platform
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
    IF FOUND THEN
        PERFORM pg_catalog.pg_notify('backline', 'activations');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER accounts_inserted AFTER INSERT ON accounts
    REFERENCING NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION backline_accounts_inserted();

CREATE FUNCTION backline_accounts_updated() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    SELECT DISTINCT a.artist_id, a.platform, 'account', now() FROM rows_after a JOIN rows_before b ON b.id = a.id
    WHERE a.status = 'active' AND b.status <> 'active'
    ORDER BY a.artist_id, a.platform
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
    IF FOUND THEN
        PERFORM pg_catalog.pg_notify('backline', 'activations');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER accounts_updated AFTER UPDATE ON accounts
    REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION backline_accounts_updated();

DO $$
DECLARE
    name TEXT;
BEGIN
    FOREACH name IN ARRAY ARRAY['artists_inserted', 'artists_updated', 'consents_inserted', 'accounts_inserted', 'accounts_updated'] LOOP
        EXECUTE format('ALTER FUNCTION backline_%s() SET search_path = %I, pg_temp', name, current_schema());
    END LOOP;
END
$$;
