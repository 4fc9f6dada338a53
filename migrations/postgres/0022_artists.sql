-- What other programs write into `artists` is checked in every column that Backline reads. Version 11 checked tenants
-- and time zones alone: a tenant could begin with a digit, which nothing reads, and could not have 64 characters, which
-- are read. Of a row that changes only what changes is checked: each column of a row that was there before can be
-- corrected by itself.
--
-- A time zone is right by its exact name, as hosts read it. `AT TIME ZONE` takes a name in any case, abbreviations such
-- as CEST and rules such as UTC+2. The setting TimeZone has the exact name of the zone that it was given, so it is set
-- here and compared, and the function's own `SET` puts it back. That reads one file, once a session;
-- `pg_timezone_names` reads all of them, so it is asked only about names that could be rules.
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
    IF (TG_OP = 'INSERT' OR NEW.subscription_status IS DISTINCT FROM OLD.subscription_status)
        AND btrim(lower(NEW.subscription_status)) <> ALL
            (ARRAY['active', 'trialing', 'past_due', 'inactive', 'canceled', 'cancelled'])
    THEN
        RAISE EXCEPTION 'artists.subscription_status is ''%'', which is unknown', NEW.subscription_status
            USING ERRCODE = 'check_violation', HINT = 'write active, trialing, past_due, inactive or canceled';
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
        -- A rule such as FOO5 is its own name, in capitals and with a digit. So are a few zones, such as EST5EDT.
        IF zone_name = NEW.timezone AND NEW.timezone !~ '[a-z]' AND NEW.timezone ~ '[0-9]' THEN
            zone_name := (SELECT z.name FROM pg_catalog.pg_timezone_names z WHERE z.name = NEW.timezone);
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
    IF (TG_OP = 'INSERT' OR NEW.created_at IS DISTINCT FROM OLD.created_at)
        AND (NEW.created_at < '0001-01-01 00:00:00+00' OR NEW.created_at >= '10000-01-01 00:00:00+00')
    THEN
        RAISE EXCEPTION 'artists.created_at is ''%'', which is no time of the years 1 to 9999', NEW.created_at
            USING ERRCODE = 'check_violation', HINT = 'write one such as 2026-11-22T16:00:01.250000Z';
    END IF;
    IF (TG_OP = 'INSERT' OR NEW.updated_at IS DISTINCT FROM OLD.updated_at)
        AND (NEW.updated_at < '0001-01-01 00:00:00+00' OR NEW.updated_at >= '10000-01-01 00:00:00+00')
    THEN
        RAISE EXCEPTION 'artists.updated_at is ''%'', which is no time of the years 1 to 9999', NEW.updated_at
            USING ERRCODE = 'check_violation', HINT = 'write one such as 2026-11-22T16:00:01.250000Z';
    END IF;
    RETURN NEW;
END
$$;
DROP TRIGGER IF EXISTS artists_checked ON artists;
CREATE TRIGGER artists_checked BEFORE INSERT OR UPDATE ON artists
    FOR EACH ROW EXECUTE FUNCTION backline.backline_artists_checked();
