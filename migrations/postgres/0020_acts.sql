-- What the things that an act was about were before and after it. Of an entry about an artist this goes with the
-- artist, as the entry does; no other entry has anything of an artist in it.
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

-- Acts on everything that a filter shows. `filter` names no artist: an act on one artist's things has its id in a
-- column, and goes with the artist, since without it the filter would show those of all. `place` is the thing behind
-- which the act goes on, which may be an artist's: it goes when the act ends.
CREATE TABLE backline.bulk_acts (
    id UUID PRIMARY KEY,
    action TEXT NOT NULL,
    tenant TEXT,
    artist_id UUID REFERENCES artists (id) ON DELETE CASCADE,
    filter JSONB NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'done', 'cancelled')),
    total BIGINT NOT NULL,
    done BIGINT NOT NULL,
    skipped BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    problem TEXT,
    place TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ,
    CHECK ((state = 'running') = (finished_at IS NULL)),
    CHECK (state = 'running' OR place IS NULL)
);
CREATE INDEX bulk_acts_open ON backline.bulk_acts (id) WHERE state = 'running';
CREATE INDEX bulk_acts_ended ON backline.bulk_acts (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX bulk_acts_of_artist ON backline.bulk_acts (artist_id) WHERE artist_id IS NOT NULL;
