-- Backline's tables on SQLite. The PostgreSQL twin has the same tables and columns; a test compares them.
-- Ids are hyphenated lower-case text, times are RFC 3339 in UTC with six decimals, dates are ISO 8601, JSON is text, truth is 0 or 1.

CREATE TABLE artists (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subscription_status TEXT NOT NULL,
    data_collection_enabled INTEGER NOT NULL,
    timezone TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX artists_by_tenant ON artists (tenant, id);

-- A platform is a row that a connector registers, not an entry of a CHECK list.
CREATE TABLE platforms (
    platform TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    optional INTEGER NOT NULL,
    registered_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    artist_id TEXT NOT NULL REFERENCES artists (id) ON DELETE CASCADE,
    platform TEXT NOT NULL,
    platform_id TEXT NOT NULL,
    settings TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (artist_id, platform, platform_id)
) STRICT;
CREATE INDEX accounts_by_platform ON accounts (platform, id);

-- Append-only: the latest entry of an artist, platform and scope counts.
CREATE TABLE consents (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    artist_id TEXT NOT NULL REFERENCES artists (id) ON DELETE CASCADE,
    platform TEXT NOT NULL,
    granted INTEGER NOT NULL,
    scope TEXT NOT NULL,
    source TEXT NOT NULL,
    recorded_at TEXT NOT NULL
) STRICT;
CREATE INDEX consents_latest ON consents (artist_id, platform, scope, recorded_at DESC, seq DESC);

CREATE TABLE releases (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    platform TEXT NOT NULL,
    version TEXT NOT NULL,
    manifest TEXT NOT NULL,
    wit_version TEXT NOT NULL,
    component BLOB NOT NULL,
    size_bytes INTEGER NOT NULL,
    granted TEXT NOT NULL,
    active INTEGER NOT NULL,
    installed_at TEXT NOT NULL,
    activated_at TEXT
) STRICT;
CREATE UNIQUE INDEX releases_one_active ON releases (platform) WHERE active;

-- The digest of each compiled file on the hosts' disks, by component digest and engine compatibility.
CREATE TABLE compiled (
    key TEXT PRIMARY KEY,
    digest TEXT NOT NULL
) STRICT;

CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    platform TEXT NOT NULL,
    slot TEXT NOT NULL,
    account_id TEXT REFERENCES accounts (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    sealed BLOB NOT NULL,
    version INTEGER NOT NULL,
    expires_at TEXT,
    status TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX credentials_one_per_slot
    ON credentials (platform, slot, COALESCE(account_id, '00000000-0000-0000-0000-000000000000'));
CREATE INDEX credentials_by_account ON credentials (account_id);

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    triggered_by TEXT NOT NULL,
    logical_date TEXT,
    status TEXT NOT NULL,
    planned INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT
) STRICT;
CREATE INDEX runs_by_start ON runs (started_at);

-- `available_at` is when anybody may take the batch up: a planned batch at once, a leased one when its lease runs out, a
-- deferred one when the allowance is granted anew. `turn` is the batch's place among its tenant's, so that tenants take turns.
CREATE TABLE batches (
    id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    turn INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    platform TEXT NOT NULL,
    release_digest TEXT NOT NULL,
    window_since TEXT NOT NULL,
    window_until TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    lease_owner TEXT,
    lease_token INTEGER NOT NULL,
    available_at TEXT NOT NULL,
    message TEXT,
    usage TEXT,
    created_at TEXT NOT NULL,
    finished_at TEXT
) STRICT;
CREATE INDEX batches_open ON batches (turn, id) WHERE finished_at IS NULL;
CREATE INDEX batches_by_run ON batches (run_id, platform, tenant);

CREATE TABLE batch_accounts (
    batch_id TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    metric_date TEXT NOT NULL,
    PRIMARY KEY (batch_id, position)
) STRICT;
CREATE INDEX batch_accounts_by_account ON batch_accounts (account_id);

-- The account is the only foreign key of the tables that every batch writes: each further one costs a lookup per row, and the
-- artist is reached through the account.
CREATE TABLE collection_outcomes (
    run_id TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    artist_id TEXT NOT NULL,
    platform TEXT NOT NULL,
    metric_date TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    message TEXT,
    deferred_until TEXT,
    attempts INTEGER NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (run_id, account_id)
) STRICT;
CREATE INDEX collection_outcomes_by_account ON collection_outcomes (account_id);
CREATE INDEX collection_outcomes_by_time ON collection_outcomes (at);

CREATE TABLE metrics (
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    artist_id TEXT NOT NULL,
    platform TEXT NOT NULL,
    metric_date TEXT NOT NULL,
    followers INTEGER,
    following INTEGER,
    posts_count INTEGER,
    engagement_rate REAL,
    content_views INTEGER,
    streams INTEGER,
    monthly_listeners INTEGER,
    video_views INTEGER,
    total_views INTEGER,
    likes INTEGER,
    comments INTEGER,
    shares INTEGER,
    popularity REAL,
    recent_releases INTEGER,
    top_track TEXT,
    genres TEXT,
    extra TEXT NOT NULL,
    absent TEXT NOT NULL,
    coverage TEXT NOT NULL,
    observed TEXT NOT NULL,
    engagement TEXT,
    window_since TEXT NOT NULL,
    window_until TEXT NOT NULL,
    collection_source TEXT NOT NULL,
    data_quality_score REAL NOT NULL,
    findings TEXT NOT NULL,
    notes TEXT NOT NULL,
    observed_at TEXT NOT NULL,
    release_digest TEXT NOT NULL,
    wit_version TEXT NOT NULL,
    run_id TEXT NOT NULL,
    document_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (account_id, metric_date)
) STRICT;
CREATE INDEX metrics_by_artist ON metrics (artist_id, platform, metric_date);

CREATE TABLE growth (
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    artist_id TEXT NOT NULL,
    platform TEXT NOT NULL,
    metric_date TEXT NOT NULL,
    changes TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (account_id, metric_date)
) STRICT;
CREATE INDEX growth_by_artist ON growth (artist_id, platform, metric_date);

-- `body` is compressed with zstd; `bytes_raw` is its size before.
CREATE TABLE documents (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    artist_id TEXT NOT NULL,
    platform TEXT NOT NULL,
    metric_date TEXT NOT NULL,
    run_id TEXT NOT NULL,
    observed_at TEXT NOT NULL,
    window_since TEXT NOT NULL,
    window_until TEXT NOT NULL,
    release_digest TEXT NOT NULL,
    body BLOB NOT NULL,
    bytes_raw INTEGER NOT NULL
) STRICT;
CREATE INDEX documents_by_account ON documents (account_id, metric_date);

CREATE TABLE quarantine (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    artist_id TEXT NOT NULL,
    platform TEXT NOT NULL,
    metric_date TEXT NOT NULL,
    metric TEXT NOT NULL,
    value TEXT NOT NULL,
    rule TEXT NOT NULL,
    release_digest TEXT NOT NULL,
    document_id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TEXT NOT NULL,
    decided_at TEXT
) STRICT;
CREATE INDEX quarantine_by_account ON quarantine (account_id, metric_date);
CREATE INDEX quarantine_held ON quarantine (id) WHERE status = 'held';

-- What the connector asked to be handed back, and on which date each metric was last accepted: a value that has been missing for
-- months is found without reading those months.
CREATE TABLE account_state (
    account_id TEXT PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    state TEXT,
    last_accepted TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

CREATE TABLE lost_metrics (
    release_digest TEXT NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    first_seen TEXT NOT NULL,
    PRIMARY KEY (release_digest, name)
) STRICT;

-- `last_granted` is what the latest taker got: it lets one statement both take and answer.
CREATE TABLE budgets (
    credential_id TEXT NOT NULL REFERENCES credentials (id) ON DELETE CASCADE,
    budget TEXT NOT NULL,
    window_start TEXT NOT NULL,
    window_end TEXT NOT NULL,
    spent INTEGER NOT NULL,
    last_granted INTEGER NOT NULL,
    PRIMARY KEY (credential_id, budget, window_start)
) STRICT;

-- The outbox. There is one writer, so `seq` is the order of commit.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    artist_id TEXT REFERENCES artists (id) ON DELETE CASCADE,
    occurred_at TEXT NOT NULL,
    dedup_key TEXT UNIQUE,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_artist ON events (artist_id);

CREATE TABLE plugin_logs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    platform TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT;
CREATE INDEX plugin_logs_by_run ON plugin_logs (run_id, seq);

-- One line per run, artist and date; `errors` holds what failed. Excluded accounts are neither success nor failure.
CREATE VIEW data_collection_logs AS
SELECT
    run_id,
    artist_id,
    json_group_array(
        json_object('platform', platform, 'account_id', account_id, 'class', reason, 'message', message)
    ) FILTER (WHERE outcome = 'failed') AS errors,
    metric_date AS collection_date,
    CASE
        WHEN COUNT(*) FILTER (WHERE outcome IN ('failed', 'deferred')) = 0 THEN 'success'
        WHEN COUNT(*) FILTER (WHERE outcome = 'failed') = 0 THEN 'deferred'
        WHEN COUNT(*) FILTER (WHERE outcome IN ('collected', 'deferred')) = 0 THEN 'failed'
        ELSE 'partial_failure'
    END AS status,
    MAX(at) AS created_at
FROM (SELECT * FROM collection_outcomes WHERE outcome <> 'excluded' ORDER BY account_id)
GROUP BY run_id, artist_id, metric_date;
