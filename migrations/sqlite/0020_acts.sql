-- What the things that an act was about were before and after it. Of an entry about an artist this goes with the
-- artist, as the entry does; no other entry has anything of an artist in it.
ALTER TABLE audit ADD COLUMN state_before TEXT;
ALTER TABLE audit ADD COLUMN state_after TEXT;

-- Who is logged in to the dashboard: sessions of tokens, on whichever host. `secret` is the SHA-256 digest of what the
-- cookie holds, in hexadecimal. `notice` is what the next page says first; it names no artist.
CREATE TABLE dashboard_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    token_id TEXT NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    secret TEXT NOT NULL CHECK (length(secret) = 64),
    until TEXT NOT NULL,
    notice TEXT
) STRICT;
CREATE INDEX dashboard_sessions_of_token ON dashboard_sessions (token_id, until);
CREATE INDEX dashboard_sessions_by_end ON dashboard_sessions (until);

-- Acts on everything that a filter shows. `filter` names no artist: an act on one artist's things has its id in a
-- column, and goes with the artist, since without it the filter would show those of all. `place` is the thing behind
-- which the act goes on, which may be an artist's: it goes when the act ends.
CREATE TABLE bulk_acts (
    id TEXT NOT NULL PRIMARY KEY,
    action TEXT NOT NULL,
    tenant TEXT,
    artist_id TEXT REFERENCES artists (id) ON DELETE CASCADE,
    filter TEXT NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'done', 'cancelled')),
    total INTEGER NOT NULL,
    done INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    problem TEXT,
    place TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    finished_at TEXT,
    CHECK ((state = 'running') = (finished_at IS NULL)),
    CHECK (state = 'running' OR place IS NULL)
) STRICT;
CREATE INDEX bulk_acts_open ON bulk_acts (id) WHERE state = 'running';
CREATE INDEX bulk_acts_ended ON bulk_acts (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX bulk_acts_of_artist ON bulk_acts (artist_id) WHERE artist_id IS NOT NULL;
