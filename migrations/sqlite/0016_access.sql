-- Tokens of the HTTP API. `digest` is the SHA-256 digest of a secret of 32 random bytes, in hexadecimal: it can't be
-- guessed, so that no slow hash is needed.
CREATE TABLE api_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    tenant TEXT,
    digest TEXT NOT NULL CHECK (length(digest) = 64),
    created_at TEXT NOT NULL,
    expires_at TEXT,
    last_used_at TEXT,
    revoked_at TEXT
) STRICT;

-- Who did what. An entry names at most one artist, and only in `artist_id`.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    actor TEXT NOT NULL CHECK (actor IN ('command', 'token')),
    name TEXT NOT NULL,
    token_id TEXT,
    origin TEXT NOT NULL,
    request_id TEXT,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('done', 'partial', 'failed')),
    tenant TEXT,
    artist_id TEXT REFERENCES artists (id) ON DELETE CASCADE,
    details TEXT NOT NULL,
    CHECK ((actor = 'token') = (token_id IS NOT NULL AND request_id IS NOT NULL))
) STRICT;
CREATE INDEX audit_of_artist ON audit (artist_id, seq) WHERE artist_id IS NOT NULL;
CREATE INDEX audit_of_tenant ON audit (tenant, seq) WHERE tenant IS NOT NULL;

-- An entry is never changed, and goes only with its artist: by then the artist's row is gone already.
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is a record: entries are neither changed nor removed');
END;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit
    WHEN OLD.artist_id IS NULL OR EXISTS (SELECT 1 FROM artists WHERE id = OLD.artist_id)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is a record: entries are neither changed nor removed');
END;
