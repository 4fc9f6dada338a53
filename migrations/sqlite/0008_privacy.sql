-- Who was erased, and what keeps the record of consents from being rewritten.

-- `subject` is the SHA-256 of the artist's id in hex. While `readmitted_at` is NULL, nobody with that id is saved or collected. `receipt` holds
-- counts and no identifier.
CREATE TABLE erasures (
    subject TEXT PRIMARY KEY,
    requested_at TEXT NOT NULL,
    finished_at TEXT NOT NULL,
    receipt TEXT NOT NULL,
    readmitted_at TEXT
) STRICT;

-- An entry is never changed, and goes only with its artist: by then the artist's row is gone already.
CREATE TRIGGER consents_unchanged BEFORE UPDATE ON consents
BEGIN
    SELECT RAISE(ABORT, 'consents are a record: add an entry instead of changing one');
END;
CREATE TRIGGER consents_kept BEFORE DELETE ON consents
    WHEN EXISTS (SELECT 1 FROM artists WHERE id = OLD.artist_id)
BEGIN
    SELECT RAISE(ABORT, 'consents are a record: add an entry instead of removing one');
END;
