-- Who was erased, and what keeps the record of consents from being rewritten.

-- `subject` is the SHA-256 of the artist's id in hex. While `readmitted_at` is NULL, nobody with that id is saved or collected. `receipt` holds
-- counts and no identifier.
CREATE TABLE erasures (
    subject TEXT PRIMARY KEY,
    requested_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL,
    receipt JSONB NOT NULL,
    readmitted_at TIMESTAMPTZ
);

-- An entry is never changed, and goes only with its artist: by then the artist's row is gone already. Seen with the rights of whoever
-- migrated, since to others a row may be hidden that is there.
CREATE FUNCTION backline_consents_kept() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF NOT EXISTS (SELECT 1 FROM artists a WHERE a.id = OLD.artist_id) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'consents are a record: add an entry instead of changing one'
        USING HINT = 'backline consents grant and withdraw add entries; backline privacy erase removes them with the artist';
END
$$;
ALTER FUNCTION backline_consents_kept() SET search_path = backline, public, pg_temp;
CREATE TRIGGER consents_kept BEFORE UPDATE OR DELETE ON consents
    FOR EACH ROW EXECUTE FUNCTION backline_consents_kept();
CREATE TRIGGER consents_kept_whole BEFORE TRUNCATE ON consents
    FOR EACH STATEMENT EXECUTE FUNCTION backline_consents_kept();
