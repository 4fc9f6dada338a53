-- Answers to requests of the HTTP API that named themselves by a key, each written in the transaction of what the
-- request asked for. An answer names at most one artist, and only one whose id is in `artist_id`. The answer is text,
-- since a repetition gets it as it was.
CREATE TABLE backline.api_answers (
    token_id UUID NOT NULL,
    idempotency_key TEXT NOT NULL,
    asked TEXT NOT NULL CHECK (length(asked) = 64),
    request_id UUID NOT NULL,
    artist_id UUID REFERENCES artists (id) ON DELETE CASCADE,
    answer TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (token_id, idempotency_key)
);
CREATE INDEX api_answers_by_age ON backline.api_answers (created_at);
CREATE INDEX api_answers_of_artist ON backline.api_answers (artist_id) WHERE artist_id IS NOT NULL;

-- How far events were deleted because of their age: the number of the last one, by tenant; '' for events of none. What
-- was deleted earlier is not known by tenant.
CREATE TABLE backline.events_gone (
    tenant TEXT PRIMARY KEY,
    seq BIGINT NOT NULL
);
INSERT INTO backline.events_gone (tenant, seq)
SELECT '', e.seq FROM (SELECT MIN(seq) - 1 AS seq FROM backline.events) AS e WHERE e.seq > 0;

-- A token may be for the numbers alone.
ALTER TABLE backline.api_tokens DROP CONSTRAINT api_tokens_role_check;
ALTER TABLE backline.api_tokens ADD CONSTRAINT api_tokens_role_check
    CHECK (role IN ('numbers', 'viewer', 'operator', 'admin'));
