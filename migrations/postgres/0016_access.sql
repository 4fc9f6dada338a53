-- Tokens of the HTTP API. `digest` is the SHA-256 digest of a secret of 32 random bytes, in hexadecimal: it can't be
-- guessed, so that no slow hash is needed.
CREATE TABLE backline.api_tokens (
    id UUID PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    tenant TEXT,
    digest TEXT NOT NULL CHECK (length(digest) = 64),
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ
);
