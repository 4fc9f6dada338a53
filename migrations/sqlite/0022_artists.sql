-- What other programs write into `artists` is checked where it is written. Rows that were there before stay as they
-- are, and of a row that changes only what changes is checked: each column can be corrected by itself, and the artist
-- can be switched off and removed. The two triggers check the same.
--
-- Each message is one fixed text: `RAISE` takes no other one in the versions of SQLite that other programs have. The
-- table is STRICT, so that a value of another type is refused without a trigger.
CREATE TRIGGER artists_checked_new BEFORE INSERT ON artists
BEGIN
    SELECT CASE
        WHEN NEW.id NOT GLOB '????????-????-????-????-????????????' OR instr(NEW.id, char(0)) > 0
            OR length(replace(NEW.id, '-', '')) <> 32 OR replace(NEW.id, '-', '') GLOB '*[^0-9a-f]*'
        THEN RAISE(ABORT,
            'artists.id is no UUID in lower case with hyphens: write one such as 018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d')
        WHEN instr(NEW.name, char(0)) > 0
        THEN RAISE(ABORT,
            'artists.name is text with a NUL in it: write it without')
        -- Hosts write an artist as a whole: a longer name that was there before may stay.
        WHEN (length(NEW.name) > 500 OR length(CAST(NEW.name AS BLOB)) > 2000)
            AND NEW.name IS NOT (SELECT a.name FROM artists a WHERE a.id = NEW.id)
        THEN RAISE(ABORT,
            'artists.name is longer than 500 characters: check that columns are not mixed up')
        -- Each byte is ASCII, or begins a sequence that is as it should be, or is inside of one: `here` is up to four
        -- bytes from this one on, `past` up to three before it. A file in UTF-16 has other bytes, and no such fault.
        WHEN NEW.name GLOB '*[^ -~]*' AND length(CAST(NEW.name AS BLOB)) <= 2000 AND hex('a') = '61' AND EXISTS (
                SELECT 1 FROM (
                    SELECT hex(substr(CAST(NEW.name AS BLOB), b.key + 1, 4)) AS here,
                        hex(substr(CAST(NEW.name AS BLOB), max(b.key - 2, 1), min(b.key, 3))) AS past
                    FROM json_each('[0'
                        || replace(hex(zeroblob(length(CAST(NEW.name AS BLOB)) - 1)), '00', ',0') || ']') AS b)
                WHERE NOT (here GLOB '[0-7]*'
                    OR here GLOB 'C[2-9A-F][89AB]*' OR here GLOB 'D?[89AB]*'
                    OR here GLOB 'E0[AB]?[89AB]*' OR here GLOB 'ED[89]?[89AB]*'
                    OR here GLOB 'E[1-9ABCEF][89AB]?[89AB]*'
                    OR here GLOB 'F0[9AB]?[89AB]?[89AB]*' OR here GLOB 'F[123][89AB]?[89AB]?[89AB]*'
                    OR here GLOB 'F48?[89AB]?[89AB]*'
                    OR here GLOB '[89AB]*' AND (past GLOB '*[CDEF]?' OR past GLOB '*[EF]?[89AB]?'
                        OR past GLOB '*F?[89AB]?[89AB]?')))
        THEN RAISE(ABORT,
            'artists.name is not UTF-8: convert it before it is written')
        WHEN NEW.tenant NOT GLOB '[a-z]*' OR NEW.tenant GLOB '*[^a-z0-9_-]*' OR length(NEW.tenant) > 64
            OR instr(NEW.tenant, char(0)) > 0
        THEN RAISE(ABORT,
            'artists.tenant is no name of a tenant: use up to 64 of a-z, 0-9, - and _, and begin with a letter')
        WHEN trim(lower(NEW.subscription_status))
                NOT IN ('active', 'trialing', 'past_due', 'inactive', 'canceled', 'cancelled')
        THEN RAISE(ABORT,
            'artists.subscription_status is unknown: write active, trialing, past_due, inactive or canceled')
        WHEN NEW.data_collection_enabled NOT IN (0, 1)
        THEN RAISE(ABORT,
            'artists.data_collection_enabled is neither true nor false: write 1 or 0')
        WHEN NEW.timezone NOT GLOB '[A-Z]*' OR NEW.timezone GLOB '*[^A-Za-z0-9_+/-]*' OR NEW.timezone GLOB '*//*'
            OR NEW.timezone GLOB '*/' OR NEW.timezone = 'Factory' OR length(NEW.timezone) > 64
            OR instr(NEW.timezone, char(0)) > 0
        THEN RAISE(ABORT,
            'artists.timezone is no name of a time zone: write one such as Europe/Berlin or UTC')
        WHEN NEW.origin NOT IN ('manual', 'import', 'sync', 'sync-removed')
        THEN RAISE(ABORT,
            'artists.origin is unknown: leave it out, or write manual, import, sync or sync-removed')
        WHEN strftime('%Y-%m-%dT%H:%M:%S', substr(NEW.created_at, 1, 19), '+0 days')
                IS NOT substr(NEW.created_at, 1, 19)
            OR substr(NEW.created_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]Z'
            OR NEW.created_at < '0001' OR instr(NEW.created_at, char(0)) > 0
        THEN RAISE(ABORT,
            'artists.created_at is no time in UTC with six decimals: write one such as 2026-11-22T16:00:01.250000Z')
        WHEN strftime('%Y-%m-%dT%H:%M:%S', substr(NEW.updated_at, 1, 19), '+0 days')
                IS NOT substr(NEW.updated_at, 1, 19)
            OR substr(NEW.updated_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]Z'
            OR NEW.updated_at < '0001' OR instr(NEW.updated_at, char(0)) > 0
        THEN RAISE(ABORT,
            'artists.updated_at is no time in UTC with six decimals: write one such as 2026-11-22T16:00:01.250000Z')
    END;
END;

CREATE TRIGGER artists_checked_changed BEFORE UPDATE ON artists
BEGIN
    SELECT CASE
        WHEN NEW.id IS NOT OLD.id AND (
            NEW.id NOT GLOB '????????-????-????-????-????????????' OR instr(NEW.id, char(0)) > 0
            OR length(replace(NEW.id, '-', '')) <> 32 OR replace(NEW.id, '-', '') GLOB '*[^0-9a-f]*')
        THEN RAISE(ABORT,
            'artists.id is no UUID in lower case with hyphens: write one such as 018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d')
        WHEN NEW.name IS NOT OLD.name AND (
            instr(NEW.name, char(0)) > 0)
        THEN RAISE(ABORT,
            'artists.name is text with a NUL in it: write it without')
        WHEN NEW.name IS NOT OLD.name AND (
            length(NEW.name) > 500 OR length(CAST(NEW.name AS BLOB)) > 2000)
        THEN RAISE(ABORT,
            'artists.name is longer than 500 characters: check that columns are not mixed up')
        -- Each byte is ASCII, or begins a sequence that is as it should be, or is inside of one: `here` is up to four
        -- bytes from this one on, `past` up to three before it. A file in UTF-16 has other bytes, and no such fault.
        WHEN NEW.name IS NOT OLD.name AND (
            NEW.name GLOB '*[^ -~]*' AND length(CAST(NEW.name AS BLOB)) <= 2000 AND hex('a') = '61' AND EXISTS (
                SELECT 1 FROM (
                    SELECT hex(substr(CAST(NEW.name AS BLOB), b.key + 1, 4)) AS here,
                        hex(substr(CAST(NEW.name AS BLOB), max(b.key - 2, 1), min(b.key, 3))) AS past
                    FROM json_each('[0'
                        || replace(hex(zeroblob(length(CAST(NEW.name AS BLOB)) - 1)), '00', ',0') || ']') AS b)
                WHERE NOT (here GLOB '[0-7]*'
                    OR here GLOB 'C[2-9A-F][89AB]*' OR here GLOB 'D?[89AB]*'
                    OR here GLOB 'E0[AB]?[89AB]*' OR here GLOB 'ED[89]?[89AB]*'
                    OR here GLOB 'E[1-9ABCEF][89AB]?[89AB]*'
                    OR here GLOB 'F0[9AB]?[89AB]?[89AB]*' OR here GLOB 'F[123][89AB]?[89AB]?[89AB]*'
                    OR here GLOB 'F48?[89AB]?[89AB]*'
                    OR here GLOB '[89AB]*' AND (past GLOB '*[CDEF]?' OR past GLOB '*[EF]?[89AB]?'
                        OR past GLOB '*F?[89AB]?[89AB]?'))))
        THEN RAISE(ABORT,
            'artists.name is not UTF-8: convert it before it is written')
        WHEN NEW.tenant IS NOT OLD.tenant AND (
            NEW.tenant NOT GLOB '[a-z]*' OR NEW.tenant GLOB '*[^a-z0-9_-]*' OR length(NEW.tenant) > 64
            OR instr(NEW.tenant, char(0)) > 0)
        THEN RAISE(ABORT,
            'artists.tenant is no name of a tenant: use up to 64 of a-z, 0-9, - and _, and begin with a letter')
        WHEN NEW.subscription_status IS NOT OLD.subscription_status AND (
            trim(lower(NEW.subscription_status))
                NOT IN ('active', 'trialing', 'past_due', 'inactive', 'canceled', 'cancelled'))
        THEN RAISE(ABORT,
            'artists.subscription_status is unknown: write active, trialing, past_due, inactive or canceled')
        WHEN NEW.data_collection_enabled IS NOT OLD.data_collection_enabled AND (
            NEW.data_collection_enabled NOT IN (0, 1))
        THEN RAISE(ABORT,
            'artists.data_collection_enabled is neither true nor false: write 1 or 0')
        WHEN NEW.timezone IS NOT OLD.timezone AND (
            NEW.timezone NOT GLOB '[A-Z]*' OR NEW.timezone GLOB '*[^A-Za-z0-9_+/-]*' OR NEW.timezone GLOB '*//*'
            OR NEW.timezone GLOB '*/' OR NEW.timezone = 'Factory' OR length(NEW.timezone) > 64
            OR instr(NEW.timezone, char(0)) > 0)
        THEN RAISE(ABORT,
            'artists.timezone is no name of a time zone: write one such as Europe/Berlin or UTC')
        WHEN NEW.origin IS NOT OLD.origin AND (
            NEW.origin NOT IN ('manual', 'import', 'sync', 'sync-removed'))
        THEN RAISE(ABORT,
            'artists.origin is unknown: leave it out, or write manual, import, sync or sync-removed')
        WHEN NEW.created_at IS NOT OLD.created_at AND (
            strftime('%Y-%m-%dT%H:%M:%S', substr(NEW.created_at, 1, 19), '+0 days')
                IS NOT substr(NEW.created_at, 1, 19)
            OR substr(NEW.created_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]Z'
            OR NEW.created_at < '0001' OR instr(NEW.created_at, char(0)) > 0)
        THEN RAISE(ABORT,
            'artists.created_at is no time in UTC with six decimals: write one such as 2026-11-22T16:00:01.250000Z')
        WHEN NEW.updated_at IS NOT OLD.updated_at AND (
            strftime('%Y-%m-%dT%H:%M:%S', substr(NEW.updated_at, 1, 19), '+0 days')
                IS NOT substr(NEW.updated_at, 1, 19)
            OR substr(NEW.updated_at, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]Z'
            OR NEW.updated_at < '0001' OR instr(NEW.updated_at, char(0)) > 0)
        THEN RAISE(ABORT,
            'artists.updated_at is no time in UTC with six decimals: write one such as 2026-11-22T16:00:01.250000Z')
    END;
END;
