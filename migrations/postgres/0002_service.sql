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

-- Artists whose first collection is due; an empty platform means all of them. Taken out in the transaction that plans it.
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

CREATE FUNCTION backline_wants_first_collection(p_artist UUID, p_platform TEXT, p_cause TEXT) RETURNS VOID
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at) VALUES (p_artist, p_platform, p_cause, now())
    ON CONFLICT DO NOTHING;
    PERFORM pg_notify('backline', 'activations');
END
$$;

CREATE FUNCTION backline_artist_became_active() RETURNS TRIGGER
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM backline_wants_first_collection(NEW.id, '', 'activation');
    RETURN NULL;
END
$$;

-- The transition counts, not every UPDATE.
CREATE TRIGGER artists_inserted_active AFTER INSERT ON artists FOR EACH ROW
    WHEN (NEW.subscription_status = 'active' AND NEW.data_collection_enabled)
    EXECUTE FUNCTION backline_artist_became_active();
CREATE TRIGGER artists_became_active AFTER UPDATE ON artists FOR EACH ROW
    WHEN (NEW.subscription_status = 'active' AND NEW.data_collection_enabled
        AND NOT (OLD.subscription_status = 'active' AND OLD.data_collection_enabled))
    EXECUTE FUNCTION backline_artist_became_active();

CREATE FUNCTION backline_consent_was_granted() RETURNS TRIGGER
LANGUAGE plpgsql AS $$
BEGIN
    -- Granted again what was granted already is no transition.
    IF NOT COALESCE((SELECT c.granted FROM consents c
            WHERE c.artist_id = NEW.artist_id AND c.platform = NEW.platform AND c.scope = NEW.scope
                AND (c.recorded_at, c.seq) < (NEW.recorded_at, NEW.seq)
            ORDER BY c.recorded_at DESC, c.seq DESC LIMIT 1), FALSE) THEN
        PERFORM backline_wants_first_collection(NEW.artist_id, NEW.platform, 'consent');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER consents_granted AFTER INSERT ON consents FOR EACH ROW
    WHEN (NEW.granted AND NEW.scope = 'metrics')
    EXECUTE FUNCTION backline_consent_was_granted();

CREATE FUNCTION backline_account_was_added() RETURNS TRIGGER
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM backline_wants_first_collection(NEW.artist_id, NEW.platform, 'account');
    RETURN NULL;
END
$$;
CREATE TRIGGER accounts_inserted AFTER INSERT ON accounts FOR EACH ROW
    WHEN (NEW.status = 'active')
    EXECUTE FUNCTION backline_account_was_added();
CREATE TRIGGER accounts_became_active AFTER UPDATE ON accounts FOR EACH ROW
    WHEN (NEW.status = 'active' AND OLD.status <> 'active')
    EXECUTE FUNCTION backline_account_was_added();
