-- The life of a release: what it may do, which hosts have loaded it, when it was active, and how good it was.

-- `state`: `waiting` (asks for more than is granted), `granted`, `revoked`, `withdrawn` (rolled back) or `removed` (the component is gone; the
-- row stays, so that numbers can be traced). `wanted`: to be activated as soon as it is granted. `staged_until`: it is about to be activated,
-- and every host loads it. `signed_by` is the name of the operator's key that vouches for it.
ALTER TABLE releases ADD COLUMN state TEXT NOT NULL DEFAULT 'granted';
ALTER TABLE releases ADD COLUMN state_reason TEXT;
ALTER TABLE releases ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE releases ADD COLUMN signed_by TEXT;
ALTER TABLE releases ADD COLUMN imports JSONB NOT NULL DEFAULT '[]';
ALTER TABLE releases ADD COLUMN wanted BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE releases ADD COLUMN staged_until TIMESTAMPTZ;
CREATE INDEX releases_by_platform ON releases (platform);

-- Each swap. `cause` is `activated`, `promoted`, `rolled_back` or `revoked`; without a digest nothing was active afterwards.
CREATE TABLE release_activations (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    platform TEXT NOT NULL,
    release_digest TEXT,
    before TEXT,
    cause TEXT NOT NULL,
    reason TEXT,
    at TIMESTAMPTZ NOT NULL
);
CREATE INDEX release_activations_by_platform ON release_activations (platform, seq);

-- What each host has made of each release it was told to load: `loaded` or `failed`.
CREATE TABLE release_hosts (
    host TEXT NOT NULL,
    release_digest TEXT NOT NULL,
    state TEXT NOT NULL,
    message TEXT,
    at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (host, release_digest)
);

-- A release that collects a share of a platform's accounts, in parts of 10,000.
CREATE TABLE canaries (
    platform TEXT PRIMARY KEY,
    release_digest TEXT NOT NULL,
    share BIGINT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    promote_at TIMESTAMPTZ
);

-- What each batch says for or against the release that collected it. One row a batch: a sum that every batch adds to would make them wait
-- for each other.
CREATE TABLE release_batches (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    release_digest TEXT NOT NULL,
    platform TEXT NOT NULL,
    run_id UUID NOT NULL,
    canary BOOLEAN NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    tally JSONB NOT NULL
);
CREATE INDEX release_batches_by_release ON release_batches (release_digest, at);
CREATE INDEX release_batches_by_time ON release_batches (at);

-- `lane` is `canary` for the batches of a canary's accounts. `began_at` is when the batch was last leased: which release collects it is
-- decided then.
ALTER TABLE batches ADD COLUMN lane TEXT;
ALTER TABLE batches ADD COLUMN began_at TIMESTAMPTZ;

ALTER TABLE collection_outcomes ADD COLUMN release_digest TEXT;
