-- Who wrote a line of a connector's log: for which batch, in which release, and in which of its functions. Lines of
-- earlier versions have none of these.
ALTER TABLE plugin_logs ADD COLUMN batch_id UUID;
ALTER TABLE plugin_logs ADD COLUMN release_digest TEXT;
ALTER TABLE plugin_logs ADD COLUMN called TEXT;
CREATE INDEX plugin_logs_by_batch ON plugin_logs (batch_id, seq);
