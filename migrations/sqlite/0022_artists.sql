-- What other programs write into `artists` is checked where it is written, in every column that hosts read. Rows that
-- were there before stay as they are, and of a row that changes only what changes is checked: each column can be
-- corrected by itself, and the artist can be switched off and removed. The two triggers check the same.
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
        -- Hosts write an artist as a whole: a name that was there before may stay.
        WHEN NEW.name IS NOT (SELECT a.name FROM artists a WHERE a.id = NEW.id) AND (
            length(NEW.name) > 500 OR length(CAST(NEW.name AS BLOB)) > 2000)
        THEN RAISE(ABORT,
            'artists.name is longer than 500 characters: check that columns are not mixed up')
        -- Characters are read as SQLite reads them, and written again, ten at a time: these are the same bytes where
        -- they are UTF-8, and others where they are not. Of two characters SQLite reads another one: they count as
        -- hyphens. A file in UTF-16 has other bytes, and no such fault.
        WHEN NEW.name IS NOT (SELECT a.name FROM artists a WHERE a.id = NEW.id) AND (
            NEW.name GLOB '*[^ -~]*' AND hex('a') = '61' AND EXISTS (
                SELECT 1 FROM (
                    SELECT substr(replace(replace(NEW.name, char(65534), '-'), char(65535), '-'),
                        10 * b.key + 1, 10) AS t
                    FROM json_each('[0'
                        || replace(hex(zeroblob((length(NEW.name) - 1) / 10)), '00', ',0') || ']') AS b
                    LIMIT 500)
                WHERE t IS NOT substr(char(unicode(t), unicode(substr(t, 2)), unicode(substr(t, 3)),
                    unicode(substr(t, 4)), unicode(substr(t, 5)), unicode(substr(t, 6)), unicode(substr(t, 7)),
                    unicode(substr(t, 8)), unicode(substr(t, 9)), unicode(substr(t, 10))), 1, length(t))))
        THEN RAISE(ABORT,
            'artists.name is not UTF-8: convert it before it is written')
        WHEN NEW.tenant NOT GLOB '[a-z]*' OR NEW.tenant GLOB '*[^a-z0-9_-]*' OR length(NEW.tenant) > 64
            OR instr(NEW.tenant, char(0)) > 0
        THEN RAISE(ABORT,
            'artists.tenant is no name of a tenant: use up to 64 of a-z, 0-9, - and _, and begin with a letter')
        -- Any word is taken, since only active is collected: no program is kept from ending a subscription.
        WHEN trim(NEW.subscription_status) = '' OR length(NEW.subscription_status) > 64
            OR length(CAST(NEW.subscription_status AS BLOB)) > 256 OR instr(NEW.subscription_status, char(0)) > 0
            OR NEW.subscription_status GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*'
        THEN RAISE(ABORT,
            'artists.subscription_status is no word of up to 64 characters: write one such as active or inactive')
        -- As for names.
        WHEN NEW.subscription_status GLOB '*[^ -~]*' AND hex('a') = '61' AND EXISTS (
                SELECT 1 FROM (
                    SELECT substr(replace(replace(NEW.subscription_status, char(65534), '-'), char(65535), '-'),
                        10 * b.key + 1, 10) AS t
                    FROM json_each('[0'
                        || replace(hex(zeroblob((length(NEW.subscription_status) - 1) / 10)), '00', ',0') || ']') AS b
                    LIMIT 500)
                WHERE t IS NOT substr(char(unicode(t), unicode(substr(t, 2)), unicode(substr(t, 3)),
                    unicode(substr(t, 4)), unicode(substr(t, 5)), unicode(substr(t, 6)), unicode(substr(t, 7)),
                    unicode(substr(t, 8)), unicode(substr(t, 9)), unicode(substr(t, 10))), 1, length(t)))
        THEN RAISE(ABORT,
            'artists.subscription_status is not UTF-8: convert it before it is written')
        -- Other triggers and reports compare with this word as it is. Others may be written in any way, so that no
        -- program is kept from ending a subscription.
        WHEN trim(lower(NEW.subscription_status)) = 'active' AND NEW.subscription_status <> 'active'
        THEN RAISE(ABORT,
            'artists.subscription_status has capitals or blanks around it: write it without, such as active')
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
        -- Characters are read as SQLite reads them, and written again, ten at a time: these are the same bytes where
        -- they are UTF-8, and others where they are not. Of two characters SQLite reads another one: they count as
        -- hyphens. A file in UTF-16 has other bytes, and no such fault.
        WHEN NEW.name IS NOT OLD.name AND (
            NEW.name GLOB '*[^ -~]*' AND hex('a') = '61' AND EXISTS (
                SELECT 1 FROM (
                    SELECT substr(replace(replace(NEW.name, char(65534), '-'), char(65535), '-'),
                        10 * b.key + 1, 10) AS t
                    FROM json_each('[0'
                        || replace(hex(zeroblob((length(NEW.name) - 1) / 10)), '00', ',0') || ']') AS b
                    LIMIT 500)
                WHERE t IS NOT substr(char(unicode(t), unicode(substr(t, 2)), unicode(substr(t, 3)),
                    unicode(substr(t, 4)), unicode(substr(t, 5)), unicode(substr(t, 6)), unicode(substr(t, 7)),
                    unicode(substr(t, 8)), unicode(substr(t, 9)), unicode(substr(t, 10))), 1, length(t))))
        THEN RAISE(ABORT,
            'artists.name is not UTF-8: convert it before it is written')
        WHEN NEW.tenant IS NOT OLD.tenant AND (
            NEW.tenant NOT GLOB '[a-z]*' OR NEW.tenant GLOB '*[^a-z0-9_-]*' OR length(NEW.tenant) > 64
            OR instr(NEW.tenant, char(0)) > 0)
        THEN RAISE(ABORT,
            'artists.tenant is no name of a tenant: use up to 64 of a-z, 0-9, - and _, and begin with a letter')
        -- Any word is taken, since only active is collected: no program is kept from ending a subscription.
        WHEN NEW.subscription_status IS NOT OLD.subscription_status AND (
            trim(NEW.subscription_status) = '' OR length(NEW.subscription_status) > 64
            OR length(CAST(NEW.subscription_status AS BLOB)) > 256 OR instr(NEW.subscription_status, char(0)) > 0
            OR NEW.subscription_status GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*')
        THEN RAISE(ABORT,
            'artists.subscription_status is no word of up to 64 characters: write one such as active or inactive')
        -- As for names.
        WHEN NEW.subscription_status IS NOT OLD.subscription_status AND (
            NEW.subscription_status GLOB '*[^ -~]*' AND hex('a') = '61' AND EXISTS (
                SELECT 1 FROM (
                    SELECT substr(replace(replace(NEW.subscription_status, char(65534), '-'), char(65535), '-'),
                        10 * b.key + 1, 10) AS t
                    FROM json_each('[0'
                        || replace(hex(zeroblob((length(NEW.subscription_status) - 1) / 10)), '00', ',0') || ']') AS b
                    LIMIT 500)
                WHERE t IS NOT substr(char(unicode(t), unicode(substr(t, 2)), unicode(substr(t, 3)),
                    unicode(substr(t, 4)), unicode(substr(t, 5)), unicode(substr(t, 6)), unicode(substr(t, 7)),
                    unicode(substr(t, 8)), unicode(substr(t, 9)), unicode(substr(t, 10))), 1, length(t))))
        THEN RAISE(ABORT,
            'artists.subscription_status is not UTF-8: convert it before it is written')
        -- Other triggers and reports compare with this word as it is. Others may be written in any way, so that no
        -- program is kept from ending a subscription.
        WHEN NEW.subscription_status IS NOT OLD.subscription_status AND (
            trim(lower(NEW.subscription_status)) = 'active' AND NEW.subscription_status <> 'active')
        THEN RAISE(ABORT,
            'artists.subscription_status has capitals or blanks around it: write it without, such as active')
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
    END;
END;
