-- Which installation the database belongs to. Its hosts know the id from a file outside the database, so that one that
-- opens a copy elsewhere is told from them.
CREATE TABLE backline.installation (
    number BIGINT PRIMARY KEY CHECK (number = 1),
    id UUID NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

-- 0 while the host refreshes no token that the platform may replace.
ALTER TABLE hosts ADD COLUMN refreshes_tokens BIGINT NOT NULL DEFAULT 1;
