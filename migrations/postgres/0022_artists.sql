-- What other programs write into `artists` is checked in every column that Backline reads. Version 11 checked tenants
-- and time zones alone: a tenant could begin with a digit, which nothing reads, and could not have 64 characters, which
-- are read. Of a row that changes only what changes is checked: each column of a row that was there before can be
-- corrected by itself.
CREATE OR REPLACE FUNCTION backline.backline_artists_checked() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = backline, public, pg_temp AS $$
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
            PERFORM now() AT TIME ZONE NEW.timezone;
        EXCEPTION WHEN invalid_parameter_value THEN
            RAISE EXCEPTION 'artists.timezone is ''%'', which is no time zone', NEW.timezone
                USING ERRCODE = 'check_violation', HINT = 'use a name such as Europe/Berlin or UTC';
        END;
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
