-- Backline's tables on PostgreSQL. The SQLite twin has the same tables and columns; a test compares them.
-- Times and ids are always given by Backline: nothing here calls now() or makes an id.

CREATE TABLE artists (
    id UUID PRIMARY KEY,
    name TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subscription_status TEXT NOT NULL,
    data_collection_enabled BOOLEAN NOT NULL,
    timezone TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX artists_by_tenant ON artists (tenant, id);

-- A platform is a row that a connector registers, not an entry of a CHECK list.
CREATE TABLE platforms (
    platform TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    optional BOOLEAN NOT NULL,
    registered_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE accounts (
    id UUID PRIMARY KEY,
    artist_id UUID NOT NULL REFERENCES artists (id) ON DELETE CASCADE,
    platform TEXT NOT NULL,
    platform_id TEXT NOT NULL,
    settings JSONB NOT NULL,
    status TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    UNIQUE (artist_id, platform, platform_id)
);
CREATE INDEX accounts_by_platform ON accounts (platform, id);

-- Append-only: the latest entry of an artist, platform and scope counts.
CREATE TABLE consents (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    artist_id UUID NOT NULL REFERENCES artists (id) ON DELETE CASCADE,
    platform TEXT NOT NULL,
    granted BOOLEAN NOT NULL,
    scope TEXT NOT NULL,
    source TEXT NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX consents_latest ON consents (artist_id, platform, scope, recorded_at DESC, seq DESC);

CREATE TABLE releases (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    platform TEXT NOT NULL,
    version TEXT NOT NULL,
    manifest JSONB NOT NULL,
    wit_version TEXT NOT NULL,
    component BYTEA NOT NULL,
    size_bytes BIGINT NOT NULL,
    granted JSONB NOT NULL,
    active BOOLEAN NOT NULL,
    installed_at TIMESTAMPTZ NOT NULL,
    activated_at TIMESTAMPTZ
);
CREATE UNIQUE INDEX releases_one_active ON releases (platform) WHERE active;

-- The digest of each compiled file on the hosts' disks, by component digest and engine compatibility.
CREATE TABLE compiled (
    key TEXT PRIMARY KEY,
    digest TEXT NOT NULL
);

CREATE TABLE credentials (
    id UUID PRIMARY KEY,
    platform TEXT NOT NULL,
    slot TEXT NOT NULL,
    account_id UUID REFERENCES accounts (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    version BIGINT NOT NULL,
    expires_at TIMESTAMPTZ,
    status TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE UNIQUE INDEX credentials_one_per_slot
    ON credentials (platform, slot, COALESCE(account_id, '00000000-0000-0000-0000-000000000000'));
CREATE INDEX credentials_by_account ON credentials (account_id);

CREATE TABLE runs (
    id UUID PRIMARY KEY,
    triggered_by TEXT NOT NULL,
    logical_date DATE,
    status TEXT NOT NULL,
    planned BIGINT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ
);
CREATE INDEX runs_by_start ON runs (started_at);

-- `available_at` is when anybody may take the batch up: a planned batch at once, a leased one when its lease runs out, a
-- deferred one when the allowance is granted anew. `turn` is the batch's place among its tenant's, so that tenants take turns.
CREATE TABLE batches (
    id UUID PRIMARY KEY,
    run_id UUID NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    turn BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    platform TEXT NOT NULL,
    release_digest TEXT NOT NULL,
    window_since TIMESTAMPTZ NOT NULL,
    window_until TIMESTAMPTZ NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    lease_owner TEXT,
    lease_token BIGINT NOT NULL,
    available_at TIMESTAMPTZ NOT NULL,
    message TEXT,
    usage JSONB,
    created_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ
);
CREATE INDEX batches_open ON batches (turn, id) WHERE finished_at IS NULL;
CREATE INDEX batches_by_run ON batches (run_id, platform, tenant);

CREATE TABLE batch_accounts (
    batch_id UUID NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    account_id UUID NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    metric_date DATE NOT NULL,
    PRIMARY KEY (batch_id, position)
);
CREATE INDEX batch_accounts_by_account ON batch_accounts (account_id);

-- The account is the only foreign key of the tables that every batch writes: each further one costs a lookup per row, and the
-- artist is reached through the account.
CREATE TABLE collection_outcomes (
    run_id UUID NOT NULL,
    account_id UUID NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    artist_id UUID NOT NULL,
    platform TEXT NOT NULL,
    metric_date DATE NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    message TEXT,
    deferred_until TIMESTAMPTZ,
    attempts BIGINT NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (run_id, account_id)
);
CREATE INDEX collection_outcomes_by_account ON collection_outcomes (account_id);
CREATE INDEX collection_outcomes_by_time ON collection_outcomes (at);

CREATE TABLE metrics (
    account_id UUID NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    artist_id UUID NOT NULL,
    platform TEXT NOT NULL,
    metric_date DATE NOT NULL,
    followers BIGINT,
    following BIGINT,
    posts_count BIGINT,
    engagement_rate NUMERIC,
    content_views BIGINT,
    streams BIGINT,
    monthly_listeners BIGINT,
    video_views BIGINT,
    total_views BIGINT,
    likes BIGINT,
    comments BIGINT,
    shares BIGINT,
    popularity NUMERIC,
    recent_releases BIGINT,
    top_track TEXT,
    genres JSONB,
    extra JSONB NOT NULL,
    absent JSONB NOT NULL,
    coverage JSONB NOT NULL,
    observed JSONB NOT NULL,
    engagement JSONB,
    window_since TIMESTAMPTZ NOT NULL,
    window_until TIMESTAMPTZ NOT NULL,
    collection_source TEXT NOT NULL,
    data_quality_score NUMERIC NOT NULL,
    findings JSONB NOT NULL,
    notes JSONB NOT NULL,
    observed_at TIMESTAMPTZ NOT NULL,
    release_digest TEXT NOT NULL,
    wit_version TEXT NOT NULL,
    run_id UUID NOT NULL,
    document_id UUID NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    UNIQUE (account_id, metric_date)
);
CREATE INDEX metrics_by_artist ON metrics (artist_id, platform, metric_date);

CREATE TABLE growth (
    account_id UUID NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    artist_id UUID NOT NULL,
    platform TEXT NOT NULL,
    metric_date DATE NOT NULL,
    changes JSONB NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account_id, metric_date)
);
CREATE INDEX growth_by_artist ON growth (artist_id, platform, metric_date);

-- `body` is compressed with zstd; `bytes_raw` is its size before.
CREATE TABLE documents (
    id UUID PRIMARY KEY,
    account_id UUID NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    artist_id UUID NOT NULL,
    platform TEXT NOT NULL,
    metric_date DATE NOT NULL,
    run_id UUID NOT NULL,
    observed_at TIMESTAMPTZ NOT NULL,
    window_since TIMESTAMPTZ NOT NULL,
    window_until TIMESTAMPTZ NOT NULL,
    release_digest TEXT NOT NULL,
    body BYTEA NOT NULL,
    bytes_raw BIGINT NOT NULL
);
CREATE INDEX documents_by_account ON documents (account_id, metric_date);

CREATE TABLE quarantine (
    id UUID PRIMARY KEY,
    account_id UUID NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    artist_id UUID NOT NULL,
    platform TEXT NOT NULL,
    metric_date DATE NOT NULL,
    metric TEXT NOT NULL,
    value JSONB NOT NULL,
    rule TEXT NOT NULL,
    release_digest TEXT NOT NULL,
    document_id UUID NOT NULL,
    status TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    decided_at TIMESTAMPTZ
);
CREATE INDEX quarantine_by_account ON quarantine (account_id, metric_date);
CREATE INDEX quarantine_held ON quarantine (id) WHERE status = 'held';

-- What the connector asked to be handed back, and on which date each metric was last accepted: a value that has been missing for
-- months is found without reading those months.
CREATE TABLE account_state (
    account_id UUID PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    state TEXT,
    last_accepted JSONB NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE lost_metrics (
    release_digest TEXT NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    first_seen TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (release_digest, name)
);

-- `last_granted` is what the latest taker got: it lets one statement both take and answer.
CREATE TABLE budgets (
    credential_id UUID NOT NULL REFERENCES credentials (id) ON DELETE CASCADE,
    budget TEXT NOT NULL,
    window_start TIMESTAMPTZ NOT NULL,
    window_end TIMESTAMPTZ NOT NULL,
    spent BIGINT NOT NULL,
    last_granted BIGINT NOT NULL,
    PRIMARY KEY (credential_id, budget, window_start)
);

-- The outbox. Whoever writes holds an advisory lock, shared, until the commit; a reader waits for it, so that it never sees a number
-- of the sequence before a lower one.
CREATE TABLE events (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id UUID NOT NULL UNIQUE,
    type TEXT NOT NULL,
    artist_id UUID REFERENCES artists (id) ON DELETE CASCADE,
    occurred_at TIMESTAMPTZ NOT NULL,
    dedup_key TEXT UNIQUE,
    data JSONB NOT NULL
);
CREATE INDEX events_by_artist ON events (artist_id);

CREATE TABLE plugin_logs (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id UUID NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    platform TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL
);
CREATE INDEX plugin_logs_by_run ON plugin_logs (run_id, seq);

-- One line per run, artist and date; `errors` holds what failed. Excluded accounts are neither success nor failure.
CREATE VIEW data_collection_logs AS
SELECT
    run_id,
    artist_id,
    COALESCE(
        jsonb_agg(
            jsonb_build_object('platform', platform, 'account_id', account_id, 'class', reason, 'message', message)
            ORDER BY account_id
        ) FILTER (WHERE outcome = 'failed'),
        '[]'::jsonb
    ) AS errors,
    metric_date AS collection_date,
    CASE
        WHEN COUNT(*) FILTER (WHERE outcome IN ('failed', 'deferred')) = 0 THEN 'success'
        WHEN COUNT(*) FILTER (WHERE outcome = 'failed') = 0 THEN 'deferred'
        WHEN COUNT(*) FILTER (WHERE outcome IN ('collected', 'deferred')) = 0 THEN 'failed'
        ELSE 'partial_failure'
    END AS status,
    MAX(at) AS created_at
FROM collection_outcomes
WHERE outcome <> 'excluded'
GROUP BY run_id, artist_id, metric_date;

-- Day-over-day rates of one artist on one platform, newest first, for the last 30 days. A rate is NULL, never 0, where the day before is missing or its value is 0. Engagement moves in percentage points, and only between rates of equal basis.
-- An artist with several accounts on the platform gets a row for each of them.
CREATE FUNCTION calculate_growth_rates(p_artist_id UUID, p_platform TEXT)
RETURNS TABLE (metric_date DATE, follower_growth_rate DECIMAL, engagement_growth_rate DECIMAL)
LANGUAGE sql STABLE AS $$
    SELECT
        today.metric_date,
        ROUND((today.followers::numeric - before.followers) / NULLIF(before.followers, 0) * 100, 2),
        CASE WHEN today.engagement ->> 'basis' = before.engagement ->> 'basis'
            THEN ROUND(today.engagement_rate - before.engagement_rate, 2) END
    FROM metrics AS today
    LEFT JOIN metrics AS before
        ON before.account_id = today.account_id AND before.metric_date = today.metric_date - 1
    WHERE today.artist_id = p_artist_id
        AND today.platform = p_platform
        AND today.metric_date > CURRENT_DATE - 30
    ORDER BY today.metric_date DESC, today.account_id
$$;
