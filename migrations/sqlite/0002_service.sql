-- What a long-running service needs: schedules, who leads, which hosts there are, who is to be collected for the first time, and who
-- refreshes which credential. Times are given by Backline, but for those of the triggers below, which others set off.

-- `considered_until`: each time of firing up to here has been decided. `origin` is `config` or `database`.
CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    origin TEXT NOT NULL,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    platforms TEXT NOT NULL,
    catch_up TEXT NOT NULL,
    overlap TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    considered_until TEXT NOT NULL,
    next_fire TEXT,
    last_fire TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

-- What became of each time of firing: the key is what keeps two hosts from starting the same run.
CREATE TABLE schedule_fires (
    schedule TEXT NOT NULL,
    fire_time TEXT NOT NULL,
    decision TEXT NOT NULL,
    run_id TEXT,
    decided_at TEXT NOT NULL,
    PRIMARY KEY (schedule, fire_time)
) STRICT;
CREATE INDEX schedule_fires_by_run ON schedule_fires (run_id);
CREATE INDEX schedule_fires_queued ON schedule_fires (fire_time) WHERE decision = 'queued';

-- Runs that are under way: the scheduler looks for them at every turn.
CREATE INDEX runs_unfinished ON runs (id) WHERE finished_at IS NULL;

-- Who holds a role that only one host may have. `term` grows with every change of holder; whatever the holder writes checks it.
CREATE TABLE leaders (
    role TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    term INTEGER NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;

CREATE TABLE hosts (
    name TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at TEXT NOT NULL,
    seen_at TEXT NOT NULL
) STRICT;

-- Who made an artist or account known: `manual`, `import` or `sync`; `sync-removed` is what `sync` made and switched off when its source
-- no longer had it. What sync did not make, it never switches off.
ALTER TABLE artists ADD COLUMN origin TEXT NOT NULL DEFAULT 'manual';
ALTER TABLE accounts ADD COLUMN origin TEXT NOT NULL DEFAULT 'manual';
CREATE INDEX artists_synced ON artists (id) WHERE origin = 'sync';

-- Artists whose first collection is due; an empty platform means all of them. Taken out in the transaction that plans it, unless `at` has
-- moved since: then somebody asked again for what the plan may not have seen.
CREATE TABLE activations (
    artist_id TEXT NOT NULL REFERENCES artists (id) ON DELETE CASCADE,
    platform TEXT NOT NULL,
    cause TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (artist_id, platform)
) STRICT;

-- `refresh_at` is when the secret should be refreshed (half of its life); `refresh_owner` does so until `refresh_until`. An owner whose
-- time is over without a new version died between asking and saving: `refresh_began` tells when it asked.
ALTER TABLE credentials ADD COLUMN refresh_at TEXT;
ALTER TABLE credentials ADD COLUMN refresh_owner TEXT;
ALTER TABLE credentials ADD COLUMN refresh_until TEXT;
ALTER TABLE credentials ADD COLUMN refresh_began TEXT;
CREATE INDEX credentials_by_refresh ON credentials (refresh_at) WHERE refresh_at IS NOT NULL;
CREATE INDEX credentials_by_expiry ON credentials (expires_at) WHERE expires_at IS NOT NULL;

-- Batches are leased per platform, in the order of their turns.
DROP INDEX batches_open;
CREATE INDEX batches_open ON batches (platform, turn, id) WHERE finished_at IS NULL;
CREATE INDEX batches_dead ON batches (finished_at) WHERE state = 'dead';
CREATE INDEX batches_deferred ON batches (available_at) WHERE state = 'deferred';
CREATE INDEX batches_open_by_run ON batches (run_id) WHERE finished_at IS NULL;

-- Who is to be collected for the first time. The transition counts, not every UPDATE.
CREATE TRIGGER artists_inserted AFTER INSERT ON artists FOR EACH ROW
    WHEN NEW.subscription_status = 'active' AND NEW.data_collection_enabled
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    VALUES (NEW.id, '', 'activation', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
END;
CREATE TRIGGER artists_updated AFTER UPDATE ON artists FOR EACH ROW
    WHEN NEW.subscription_status = 'active' AND NEW.data_collection_enabled
        AND NOT (OLD.subscription_status = 'active' AND OLD.data_collection_enabled)
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    VALUES (NEW.id, '', 'activation', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
END;

-- Granted again what was granted already is no transition.
CREATE TRIGGER consents_inserted AFTER INSERT ON consents FOR EACH ROW
    WHEN NEW.granted AND NEW.scope = 'metrics' AND NOT COALESCE((SELECT c.granted FROM consents c
        WHERE c.artist_id = NEW.artist_id AND c.platform = NEW.platform AND c.scope = NEW.scope
            AND (c.recorded_at, c.seq) < (NEW.recorded_at, NEW.seq)
        ORDER BY c.recorded_at DESC, c.seq DESC LIMIT 1), 0)
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    VALUES (NEW.artist_id, NEW.platform, 'consent', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
END;

CREATE TRIGGER accounts_inserted AFTER INSERT ON accounts FOR EACH ROW WHEN NEW.status = 'active'
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    VALUES (NEW.artist_id, NEW.platform, 'account', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
END;
CREATE TRIGGER accounts_updated AFTER UPDATE ON accounts FOR EACH ROW
    WHEN NEW.status = 'active' AND OLD.status <> 'active'
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    VALUES (NEW.artist_id, NEW.platform, 'account', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
END;
