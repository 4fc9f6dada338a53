-- What several machines write is ordered by the database, and what other programs write into `artists` is checked.

-- The latest consent is the one that was recorded last, whatever the clock of the machine that recorded it said.
DROP INDEX consents_latest;
CREATE INDEX consents_latest ON consents (artist_id, platform, scope, seq DESC);
CREATE OR REPLACE FUNCTION backline.backline_consents_inserted() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER SET search_path = backline, public, pg_temp AS $$
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    SELECT DISTINCT a.artist_id, a.platform, 'consent', now() FROM rows_after a
    -- Granted again what was granted already is no transition.
    WHERE a.granted AND a.scope = 'metrics' AND NOT COALESCE((SELECT c.granted FROM consents c
        WHERE c.artist_id = a.artist_id AND c.platform = a.platform AND c.scope = a.scope AND c.seq < a.seq
        ORDER BY c.seq DESC LIMIT 1), FALSE)
    ORDER BY a.artist_id, a.platform
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
    IF FOUND THEN
        PERFORM pg_catalog.pg_notify('backline', 'activations');
    END IF;
    RETURN NULL;
END
$$;

-- How many hosts ended while they held the batch: such a batch is collected with nothing else beside it.
ALTER TABLE batches ADD COLUMN host_losses BIGINT NOT NULL DEFAULT 0;
-- 1 while the connector may be at work on a batch that is collected alone: then the end of its host counts.
ALTER TABLE batches ADD COLUMN has_begun BIGINT NOT NULL DEFAULT 0;
CREATE INDEX batches_alone ON batches (available_at)
    WHERE finished_at IS NULL AND (state = 'leased' OR host_losses > 0);

-- An artist whose tenant or time zone nothing can read is refused where it is written. Rows that were there before are
-- left out of collections, and named.
CREATE FUNCTION backline.backline_artists_checked() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = backline, public, pg_temp AS $$
BEGIN
    IF NEW.tenant !~ '^[a-z0-9][a-z0-9_-]{0,62}$' THEN
        RAISE EXCEPTION 'artists.tenant is ''%'', which is no name of a tenant', NEW.tenant
            USING ERRCODE = 'check_violation', HINT = 'use up to 63 lower-case letters, digits, hyphens, underscores';
    END IF;
    IF NEW.timezone !~ '^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$' THEN
        RAISE EXCEPTION 'artists.timezone is ''%'', which is no name of a time zone', NEW.timezone
            USING ERRCODE = 'check_violation', HINT = 'use a name such as Europe/Berlin or UTC';
    END IF;
    BEGIN
        PERFORM now() AT TIME ZONE NEW.timezone;
    EXCEPTION WHEN invalid_parameter_value THEN
        RAISE EXCEPTION 'artists.timezone is ''%'', which is no time zone', NEW.timezone
            USING ERRCODE = 'check_violation', HINT = 'use a name such as Europe/Berlin or UTC';
    END;
    RETURN NEW;
END
$$;
CREATE TRIGGER artists_checked BEFORE INSERT OR UPDATE OF tenant, timezone ON artists
    FOR EACH ROW EXECUTE FUNCTION backline.backline_artists_checked();
