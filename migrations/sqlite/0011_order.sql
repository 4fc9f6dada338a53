-- What several machines write is ordered by the database. (On PostgreSQL this version also checks what other programs
-- write into `artists`.)

-- The latest consent is the one that was recorded last, whatever the clock of the machine that recorded it said.
DROP INDEX consents_latest;
CREATE INDEX consents_latest ON consents (artist_id, platform, scope, seq DESC);
DROP TRIGGER consents_inserted;
-- Granted again what was granted already is no transition.
CREATE TRIGGER consents_inserted AFTER INSERT ON consents FOR EACH ROW
    WHEN NEW.granted AND NEW.scope = 'metrics' AND NOT COALESCE((SELECT c.granted FROM consents c
        WHERE c.artist_id = NEW.artist_id AND c.platform = NEW.platform AND c.scope = NEW.scope AND c.seq < NEW.seq
        ORDER BY c.seq DESC LIMIT 1), 0)
BEGIN
    INSERT INTO activations (artist_id, platform, cause, at)
    VALUES (NEW.artist_id, NEW.platform, 'consent', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
    ON CONFLICT (artist_id, platform) DO UPDATE SET at = excluded.at;
END;

-- How many hosts ended while they held the batch: such a batch is collected with nothing else beside it.
ALTER TABLE batches ADD COLUMN host_losses INTEGER NOT NULL DEFAULT 0;
-- 1 while the connector may be at work on a batch that is collected alone: then the end of its host counts.
ALTER TABLE batches ADD COLUMN has_begun INTEGER NOT NULL DEFAULT 0;
CREATE INDEX batches_alone ON batches (available_at)
    WHERE finished_at IS NULL AND (state = 'leased' OR host_losses > 0);
