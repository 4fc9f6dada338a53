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

-- Who did what. An entry names at most one artist, and only in `artist_id`.
CREATE TABLE backline.audit (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL,
    actor TEXT NOT NULL CHECK (actor IN ('command', 'token')),
    name TEXT NOT NULL,
    token_id UUID,
    origin TEXT NOT NULL,
    request_id UUID,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('done', 'partial', 'failed')),
    tenant TEXT,
    artist_id UUID REFERENCES artists (id) ON DELETE CASCADE,
    details JSONB NOT NULL,
    CHECK ((actor = 'token') = (token_id IS NOT NULL AND request_id IS NOT NULL))
);
CREATE INDEX audit_of_artist ON backline.audit (artist_id, seq) WHERE artist_id IS NOT NULL;
CREATE INDEX audit_of_tenant ON backline.audit (tenant, seq) WHERE tenant IS NOT NULL;

-- An entry is never changed, and goes only with its artist: by then the artist's row is gone already. Seen with the
-- rights of the role that migrated, since to others a row may be hidden that is there.
CREATE FUNCTION backline.audit_kept() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.artist_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM artists a WHERE a.id = OLD.artist_id) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit log is a record: entries are neither changed nor removed'
        USING HINT = 'backline privacy erase removes those about an artist with the artist';
END
$$;
ALTER FUNCTION backline.audit_kept() SET search_path = backline, public, pg_temp;
REVOKE ALL ON FUNCTION backline.audit_kept() FROM PUBLIC;
CREATE TRIGGER audit_kept BEFORE UPDATE OR DELETE ON backline.audit
    FOR EACH ROW EXECUTE FUNCTION backline.audit_kept();
CREATE TRIGGER audit_kept_whole BEFORE TRUNCATE ON backline.audit
    FOR EACH STATEMENT EXECUTE FUNCTION backline.audit_kept();
