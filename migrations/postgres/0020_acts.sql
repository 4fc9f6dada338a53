-- What the things that an act was about were before and after it. Of an entry about an artist this goes with the artist,
-- as the entry does; no other entry has anything of an artist in it.
ALTER TABLE backline.audit ADD COLUMN state_before JSONB;
ALTER TABLE backline.audit ADD COLUMN state_after JSONB;

-- Who is logged in to the dashboard: sessions of tokens, on whichever host. `secret` is the SHA-256 digest of what the
-- cookie holds, in hexadecimal. `notice` is what the next page says first; it names no artist.
CREATE TABLE backline.dashboard_sessions (
    id UUID PRIMARY KEY,
    token_id UUID NOT NULL REFERENCES backline.api_tokens (id) ON DELETE CASCADE,
    secret TEXT NOT NULL CHECK (length(secret) = 64),
    until TIMESTAMPTZ NOT NULL,
    notice TEXT
);
CREATE INDEX dashboard_sessions_of_token ON backline.dashboard_sessions (token_id, until);
CREATE INDEX dashboard_sessions_by_end ON backline.dashboard_sessions (until);
