-- What the things that an act was about were before and after it. Of an entry about an artist this goes with the artist,
-- as the entry does; no other entry has anything of an artist in it.
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
