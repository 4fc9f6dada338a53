-- The life of a release: what it may do, which hosts have loaded it, when it was active, and how good it was.

-- `state`: `waiting` (asks for more than is granted), `granted`, `revoked`, `withdrawn` (rolled back) or `removed` (the component is gone; the
-- row stays, so that numbers can be traced). `wanted`: to be activated as soon as it is granted. `staged_until`: it is about to be activated,
-- and every host loads it. `signed_by` is the name of the operator's key that vouches for it.
ALTER TABLE releases ADD COLUMN state TEXT NOT NULL DEFAULT 'granted';
ALTER TABLE releases ADD COLUMN state_reason TEXT;
ALTER TABLE releases ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE releases ADD COLUMN signed_by TEXT;
ALTER TABLE releases ADD COLUMN imports TEXT NOT NULL DEFAULT '[]';
ALTER TABLE releases ADD COLUMN wanted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE releases ADD COLUMN staged_until TEXT;
CREATE INDEX releases_by_platform ON releases (platform);

-- Each swap. `cause` is `activated`, `promoted`, `rolled_back` or `revoked`; without a digest nothing was active afterwards.
CREATE TABLE release_activations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    platform TEXT NOT NULL,
    release_digest TEXT,
    before TEXT,
    cause TEXT NOT NULL,
    reason TEXT,
    at TEXT NOT NULL
) STRICT;
CREATE INDEX release_activations_by_platform ON release_activations (platform, seq);

-- What each host has made of each release it was told to load: `loaded` or `failed`.
CREATE TABLE release_hosts (
    host TEXT NOT NULL,
    release_digest TEXT NOT NULL,
    state TEXT NOT NULL,
    message TEXT,
    at TEXT NOT NULL,
    PRIMARY KEY (host, release_digest)
) STRICT;

-- A release that collects a share of a platform's accounts, in parts of 10,000.
CREATE TABLE canaries (
    platform TEXT PRIMARY KEY,
    release_digest TEXT NOT NULL,
    share INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    promote_at TEXT
) STRICT;

-- What each batch says for or against the release that collected it. One row a batch: a sum that every batch adds to would make them wait
-- for each other.
CREATE TABLE release_batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    release_digest TEXT NOT NULL,
    platform TEXT NOT NULL,
    run_id TEXT NOT NULL,
    canary INTEGER NOT NULL,
    at TEXT NOT NULL,
    tally TEXT NOT NULL
) STRICT;
CREATE INDEX release_batches_by_release ON release_batches (release_digest, at);
CREATE INDEX release_batches_by_time ON release_batches (at);

-- `lane` is `canary` for the batches of a canary's accounts. `began_at` is when the batch was last leased: which release collects it is
-- decided then.
ALTER TABLE batches ADD COLUMN lane TEXT;
ALTER TABLE batches ADD COLUMN began_at TEXT;

ALTER TABLE collection_outcomes ADD COLUMN release_digest TEXT;
