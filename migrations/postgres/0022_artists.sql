-- What other programs write into `artists` is checked in every column that hosts read. Version 11 checked tenants and
-- time zones alone: a tenant could begin with a digit, which nothing reads, and could not have 64 characters, which are
-- read. Of a row that changes only what changes is checked: each column of a row that was there before can be corrected
-- by itself.
--
-- A time zone is right by its exact name, as hosts read it. `AT TIME ZONE` takes a name in any case, abbreviations such
-- as CEST and rules such as UTC+2. The setting TimeZone has the exact name of the zone that it was given, so it is set
-- here and compared, and the function's own `SET` puts it back. That reads one file, once a session. A rule is its own
-- name in capitals, so only the few zones that are written like rules have to be known here.
CREATE OR REPLACE FUNCTION backline.backline_artists_checked() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = backline, public, pg_temp SET TimeZone = 'UTC' AS $$
DECLARE
    zone_name TEXT;
BEGIN
    IF char_length(NEW.name) > 500 AND (TG_OP = 'INSERT' OR NEW.name IS DISTINCT FROM OLD.name) THEN
        -- Hosts write an artist as a whole: a longer name that was there before may stay.
        IF TG_OP = 'UPDATE' OR NOT EXISTS (SELECT 1 FROM artists a WHERE a.id = NEW.id AND a.name = NEW.name) THEN
            RAISE EXCEPTION 'artists.name is longer than 500 characters'
                USING ERRCODE = 'check_violation', HINT = 'check that columns are not mixed up';
        END IF;
    END IF;
    IF (TG_OP = 'INSERT' OR NEW.tenant IS DISTINCT FROM OLD.tenant) AND NEW.tenant !~ '^[a-z][a-z0-9_-]{0,63}$' THEN
        RAISE EXCEPTION 'artists.tenant is ''%'', which is no name of a tenant', NEW.tenant
            USING ERRCODE = 'check_violation', HINT = 'use up to 64 of a-z, 0-9, - and _, and begin with a letter';
    END IF;
    IF TG_OP = 'INSERT' OR NEW.subscription_status IS DISTINCT FROM OLD.subscription_status THEN
        -- Other triggers and reports compare with the word as it is. By "C": in Turkish, I has another small letter.
        NEW.subscription_status := lower(btrim(NEW.subscription_status) COLLATE "C");
        -- Any word is taken, since only active is collected: no program is kept from ending a subscription.
        IF char_length(NEW.subscription_status) NOT BETWEEN 1 AND 64
            OR NEW.subscription_status COLLATE "C" ~ '[[:cntrl:]]'
        THEN
            RAISE EXCEPTION 'artists.subscription_status is ''%'', which is no word of up to 64 characters',
                left(NEW.subscription_status, 64)
                USING ERRCODE = 'check_violation', HINT = 'write one such as active or inactive';
        END IF;
    END IF;
    IF TG_OP = 'INSERT' OR NEW.timezone IS DISTINCT FROM OLD.timezone THEN
        IF NEW.timezone !~ '^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$' OR char_length(NEW.timezone) > 64
            OR NEW.timezone = 'Factory'
        THEN
            RAISE EXCEPTION 'artists.timezone is ''%'', which is no name of a time zone', NEW.timezone
                USING ERRCODE = 'check_violation', HINT = 'use a name such as Europe/Berlin or UTC';
        END IF;
        BEGIN
            zone_name := pg_catalog.set_config('TimeZone', NEW.timezone, TRUE);
        EXCEPTION WHEN invalid_parameter_value THEN
            zone_name := NULL;
        END;
        -- Times in the messages below are shown in UTC.
        PERFORM pg_catalog.set_config('TimeZone', 'UTC', TRUE);
        -- A rule such as FOO5 is its own name, in capitals and with a digit: Etc/GMT+99 is ETC/GMT+99. All zones that
        -- are written so stand here; where the server has no file of one, the rule of the name says the same.
        IF zone_name !~ '[a-z]' AND zone_name ~ '[0-9]' AND zone_name <> ALL (ARRAY[
            'EST5EDT', 'CST6CDT', 'MST7MDT', 'PST8PDT', 'GMT0', 'GMT+0', 'GMT-0'
        ]) THEN
            zone_name := NULL;
        END IF;
        IF zone_name IS DISTINCT FROM NEW.timezone THEN
            RAISE EXCEPTION 'artists.timezone is ''%'', which is no time zone', NEW.timezone
                USING ERRCODE = 'check_violation', HINT = CASE
                    WHEN zone_name ~ '[a-z]' THEN 'write it as ' || zone_name
                    ELSE 'use the exact name of a zone, such as Europe/Berlin or UTC'
                END;
        END IF;
    END IF;
    IF (TG_OP = 'INSERT' OR NEW.origin IS DISTINCT FROM OLD.origin)
        AND NEW.origin <> ALL (ARRAY['manual', 'import', 'sync', 'sync-removed'])
    THEN
        RAISE EXCEPTION 'artists.origin is ''%'', which is unknown', NEW.origin
            USING ERRCODE = 'check_violation', HINT = 'leave it out, or write manual, import, sync or sync-removed';
    END IF;
    RETURN NEW;
END
$$;
-- Replaced in one statement, which keeps nobody from reading, as DROP TRIGGER would. The triggers of version 2 are
-- AFTER, so they see the status as it is stored.
CREATE OR REPLACE TRIGGER artists_checked BEFORE INSERT OR UPDATE ON artists
    FOR EACH ROW EXECUTE FUNCTION backline.backline_artists_checked();
