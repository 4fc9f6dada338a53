-- Answers to requests of the HTTP API that named themselves by a key, each written in the transaction of what the
-- request asked for. An answer names at most one artist, and only one whose id is in `artist_id`. The answer is text,
-- since a repetition gets it as it was.
CREATE TABLE api_answers (
    token_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    asked TEXT NOT NULL CHECK (length(asked) = 64),
    request_id TEXT NOT NULL,
    artist_id TEXT REFERENCES artists (id) ON DELETE CASCADE,
    answer TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (token_id, idempotency_key)
) STRICT;
CREATE INDEX api_answers_by_age ON api_answers (created_at);
CREATE INDEX api_answers_of_artist ON api_answers (artist_id) WHERE artist_id IS NOT NULL;

-- How far events were deleted because of their age: the number of the last one, by tenant; '' for events of none. What
-- was deleted earlier is not known by tenant.
CREATE TABLE events_gone (
    tenant TEXT NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO events_gone (tenant, seq)
SELECT '', e.seq FROM (SELECT MIN(seq) - 1 AS seq FROM events) AS e WHERE e.seq > 0;

-- A token may be for the numbers alone.
CREATE TABLE api_tokens_of_roles (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('numbers', 'viewer', 'operator', 'admin')),
    tenant TEXT,
    digest TEXT NOT NULL CHECK (length(digest) = 64),
    created_at TEXT NOT NULL,
    expires_at TEXT,
    last_used_at TEXT,
    revoked_at TEXT
) STRICT;
INSERT INTO api_tokens_of_roles (id, name, role, tenant, digest, created_at, expires_at, last_used_at, revoked_at)
SELECT id, name, role, tenant, digest, created_at, expires_at, last_used_at, revoked_at FROM api_tokens;
DROP TABLE api_tokens;
ALTER TABLE api_tokens_of_roles RENAME TO api_tokens;
