-- Numbers that hosts count on, add up or turn into a time stay where there is room for more: one at the end of what the
-- database can hold made each statement fail that counted on. What other programs write beyond is refused; what was
-- there before goes to the nearest number that is not. A table of a file takes no further constraint, so triggers check
-- what is new and what changes: a row that got past them can still be ended and removed.

UPDATE batches SET attempts = min(max(attempts, 0), 1000000000)
    WHERE attempts NOT BETWEEN 0 AND 1000000000;
UPDATE batches SET host_losses = min(max(host_losses, 0), 1000000000)
    WHERE host_losses NOT BETWEEN 0 AND 1000000000;
UPDATE batches SET lease_token = min(max(lease_token, 0), 4611686018427387904)
    WHERE lease_token NOT BETWEEN 0 AND 4611686018427387904;
CREATE TRIGGER batches_numbers_new BEFORE INSERT ON batches
BEGIN
    SELECT CASE
        WHEN NEW.attempts NOT BETWEEN 0 AND 1000000000
        THEN RAISE(ABORT, 'batches.attempts is out of range: write a number from 0 to 1000000000')
        WHEN NEW.host_losses NOT BETWEEN 0 AND 1000000000
        THEN RAISE(ABORT, 'batches.host_losses is out of range: write a number from 0 to 1000000000')
        WHEN NEW.lease_token NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'batches.lease_token is out of range: write a number from 0 to 4611686018427387904')
    END;
END;
CREATE TRIGGER batches_numbers_changed BEFORE UPDATE OF attempts, host_losses, lease_token ON batches
BEGIN
    SELECT CASE
        WHEN NEW.attempts IS NOT OLD.attempts AND NEW.attempts NOT BETWEEN 0 AND 1000000000
        THEN RAISE(ABORT, 'batches.attempts is out of range: write a number from 0 to 1000000000')
        WHEN NEW.host_losses IS NOT OLD.host_losses AND NEW.host_losses NOT BETWEEN 0 AND 1000000000
        THEN RAISE(ABORT, 'batches.host_losses is out of range: write a number from 0 to 1000000000')
        WHEN NEW.lease_token IS NOT OLD.lease_token AND NEW.lease_token NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'batches.lease_token is out of range: write a number from 0 to 4611686018427387904')
    END;
END;

UPDATE runs SET planned = min(max(planned, 0), 4611686018427387904)
    WHERE planned NOT BETWEEN 0 AND 4611686018427387904;
CREATE TRIGGER runs_numbers_new BEFORE INSERT ON runs
BEGIN
    SELECT CASE
        WHEN NEW.planned NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'runs.planned is out of range: write a number from 0 to 4611686018427387904')
    END;
END;
CREATE TRIGGER runs_numbers_changed BEFORE UPDATE OF planned ON runs
BEGIN
    SELECT CASE
        WHEN NEW.planned IS NOT OLD.planned AND NEW.planned NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'runs.planned is out of range: write a number from 0 to 4611686018427387904')
    END;
END;

UPDATE credentials SET version = min(max(version, 0), 4611686018427387904)
    WHERE version NOT BETWEEN 0 AND 4611686018427387904;
CREATE TRIGGER credentials_numbers_new BEFORE INSERT ON credentials
BEGIN
    SELECT CASE
        WHEN NEW.version NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'credentials.version is out of range: write a number from 0 to 4611686018427387904')
    END;
END;
CREATE TRIGGER credentials_numbers_changed BEFORE UPDATE OF version ON credentials
BEGIN
    SELECT CASE
        WHEN NEW.version IS NOT OLD.version AND NEW.version NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'credentials.version is out of range: write a number from 0 to 4611686018427387904')
    END;
END;

UPDATE releases SET size_bytes = min(max(size_bytes, 0), 4611686018427387904)
    WHERE size_bytes NOT BETWEEN 0 AND 4611686018427387904;
CREATE TRIGGER releases_numbers_new BEFORE INSERT ON releases
BEGIN
    SELECT CASE
        WHEN NEW.size_bytes NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'releases.size_bytes is out of range: write a number from 0 to 4611686018427387904')
    END;
END;
CREATE TRIGGER releases_numbers_changed BEFORE UPDATE OF size_bytes ON releases
BEGIN
    SELECT CASE
        WHEN NEW.size_bytes IS NOT OLD.size_bytes AND NEW.size_bytes NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'releases.size_bytes is out of range: write a number from 0 to 4611686018427387904')
    END;
END;

UPDATE canaries SET share = min(max(share, 0), 10000)
    WHERE share NOT BETWEEN 0 AND 10000;
CREATE TRIGGER canaries_numbers_new BEFORE INSERT ON canaries
BEGIN
    SELECT CASE
        WHEN NEW.share NOT BETWEEN 0 AND 10000
        THEN RAISE(ABORT, 'canaries.share is out of range: write a number from 0 to 10000')
    END;
END;
CREATE TRIGGER canaries_numbers_changed BEFORE UPDATE OF share ON canaries
BEGIN
    SELECT CASE
        WHEN NEW.share IS NOT OLD.share AND NEW.share NOT BETWEEN 0 AND 10000
        THEN RAISE(ABORT, 'canaries.share is out of range: write a number from 0 to 10000')
    END;
END;

UPDATE budgets SET spent = min(max(spent, 0), 4611686018427387904)
    WHERE spent NOT BETWEEN 0 AND 4611686018427387904;
UPDATE budgets SET last_granted = min(max(last_granted, 0), 4611686018427387904)
    WHERE last_granted NOT BETWEEN 0 AND 4611686018427387904;
CREATE TRIGGER budgets_numbers_new BEFORE INSERT ON budgets
BEGIN
    SELECT CASE
        WHEN NEW.spent NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'budgets.spent is out of range: write a number from 0 to 4611686018427387904')
        WHEN NEW.last_granted NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'budgets.last_granted is out of range: write a number from 0 to 4611686018427387904')
    END;
END;
CREATE TRIGGER budgets_numbers_changed BEFORE UPDATE OF spent, last_granted ON budgets
BEGIN
    SELECT CASE
        WHEN NEW.spent IS NOT OLD.spent AND NEW.spent NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'budgets.spent is out of range: write a number from 0 to 4611686018427387904')
        WHEN NEW.last_granted IS NOT OLD.last_granted AND NEW.last_granted NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'budgets.last_granted is out of range: write a number from 0 to 4611686018427387904')
    END;
END;

UPDATE webhooks SET seen = min(max(seen, 0), 4611686018427387904)
    WHERE seen NOT BETWEEN 0 AND 4611686018427387904;
CREATE TRIGGER webhooks_numbers_new BEFORE INSERT ON webhooks
BEGIN
    SELECT CASE
        WHEN NEW.seen NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'webhooks.seen is out of range: write a number from 0 to 4611686018427387904')
    END;
END;
CREATE TRIGGER webhooks_numbers_changed BEFORE UPDATE OF seen ON webhooks
BEGIN
    SELECT CASE
        WHEN NEW.seen IS NOT OLD.seen AND NEW.seen NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'webhooks.seen is out of range: write a number from 0 to 4611686018427387904')
    END;
END;

UPDATE deliveries SET attempts = min(max(attempts, 0), 1000000000)
    WHERE attempts NOT BETWEEN 0 AND 1000000000;
CREATE TRIGGER deliveries_numbers_new BEFORE INSERT ON deliveries
BEGIN
    SELECT CASE
        WHEN NEW.attempts NOT BETWEEN 0 AND 1000000000
        THEN RAISE(ABORT, 'deliveries.attempts is out of range: write a number from 0 to 1000000000')
    END;
END;
CREATE TRIGGER deliveries_numbers_changed BEFORE UPDATE OF attempts ON deliveries
BEGIN
    SELECT CASE
        WHEN NEW.attempts IS NOT OLD.attempts AND NEW.attempts NOT BETWEEN 0 AND 1000000000
        THEN RAISE(ABORT, 'deliveries.attempts is out of range: write a number from 0 to 1000000000')
    END;
END;

UPDATE alerts SET crossings = min(max(crossings, 0), 4611686018427387904)
    WHERE crossings NOT BETWEEN 0 AND 4611686018427387904;
CREATE TRIGGER alerts_numbers_new BEFORE INSERT ON alerts
BEGIN
    SELECT CASE
        WHEN NEW.crossings NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'alerts.crossings is out of range: write a number from 0 to 4611686018427387904')
    END;
END;
CREATE TRIGGER alerts_numbers_changed BEFORE UPDATE OF crossings ON alerts
BEGIN
    SELECT CASE
        WHEN NEW.crossings IS NOT OLD.crossings AND NEW.crossings NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'alerts.crossings is out of range: write a number from 0 to 4611686018427387904')
    END;
END;

UPDATE alert_routes SET window_s = min(max(window_s, 0), 4294967295)
    WHERE window_s NOT BETWEEN 0 AND 4294967295;
UPDATE alert_routes SET seen = min(max(seen, 0), 4611686018427387904)
    WHERE seen NOT BETWEEN 0 AND 4611686018427387904;
CREATE TRIGGER alert_routes_numbers_new BEFORE INSERT ON alert_routes
BEGIN
    SELECT CASE
        WHEN NEW.window_s NOT BETWEEN 0 AND 4294967295
        THEN RAISE(ABORT, 'alert_routes.window_s is out of range: write a number from 0 to 4294967295')
        WHEN NEW.seen NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'alert_routes.seen is out of range: write a number from 0 to 4611686018427387904')
    END;
END;
CREATE TRIGGER alert_routes_numbers_changed BEFORE UPDATE OF window_s, seen ON alert_routes
BEGIN
    SELECT CASE
        WHEN NEW.window_s IS NOT OLD.window_s AND NEW.window_s NOT BETWEEN 0 AND 4294967295
        THEN RAISE(ABORT, 'alert_routes.window_s is out of range: write a number from 0 to 4294967295')
        WHEN NEW.seen IS NOT OLD.seen AND NEW.seen NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'alert_routes.seen is out of range: write a number from 0 to 4611686018427387904')
    END;
END;

UPDATE alert_digests SET hour = min(max(hour, 0), 23)
    WHERE hour NOT BETWEEN 0 AND 23;
CREATE TRIGGER alert_digests_numbers_new BEFORE INSERT ON alert_digests
BEGIN
    SELECT CASE
        WHEN NEW.hour NOT BETWEEN 0 AND 23
        THEN RAISE(ABORT, 'alert_digests.hour is out of range: write a number from 0 to 23')
    END;
END;
CREATE TRIGGER alert_digests_numbers_changed BEFORE UPDATE OF hour ON alert_digests
BEGIN
    SELECT CASE
        WHEN NEW.hour IS NOT OLD.hour AND NEW.hour NOT BETWEEN 0 AND 23
        THEN RAISE(ABORT, 'alert_digests.hour is out of range: write a number from 0 to 23')
    END;
END;

UPDATE alert_messages SET events = min(max(events, 0), 4611686018427387904)
    WHERE events NOT BETWEEN 0 AND 4611686018427387904;
UPDATE alert_messages SET attempts = min(max(attempts, 0), 1000000000)
    WHERE attempts NOT BETWEEN 0 AND 1000000000;
CREATE TRIGGER alert_messages_numbers_new BEFORE INSERT ON alert_messages
BEGIN
    SELECT CASE
        WHEN NEW.events NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'alert_messages.events is out of range: write a number from 0 to 4611686018427387904')
        WHEN NEW.attempts NOT BETWEEN 0 AND 1000000000
        THEN RAISE(ABORT, 'alert_messages.attempts is out of range: write a number from 0 to 1000000000')
    END;
END;
CREATE TRIGGER alert_messages_numbers_changed BEFORE UPDATE OF events, attempts ON alert_messages
BEGIN
    SELECT CASE
        WHEN NEW.events IS NOT OLD.events AND NEW.events NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'alert_messages.events is out of range: write a number from 0 to 4611686018427387904')
        WHEN NEW.attempts IS NOT OLD.attempts AND NEW.attempts NOT BETWEEN 0 AND 1000000000
        THEN RAISE(ABORT, 'alert_messages.attempts is out of range: write a number from 0 to 1000000000')
    END;
END;

UPDATE bulk_acts SET total = min(max(total, 0), 4611686018427387904)
    WHERE total NOT BETWEEN 0 AND 4611686018427387904;
UPDATE bulk_acts SET done = min(max(done, 0), 4611686018427387904)
    WHERE done NOT BETWEEN 0 AND 4611686018427387904;
UPDATE bulk_acts SET skipped = min(max(skipped, 0), 4611686018427387904)
    WHERE skipped NOT BETWEEN 0 AND 4611686018427387904;
UPDATE bulk_acts SET failed = min(max(failed, 0), 4611686018427387904)
    WHERE failed NOT BETWEEN 0 AND 4611686018427387904;
CREATE TRIGGER bulk_acts_numbers_new BEFORE INSERT ON bulk_acts
BEGIN
    SELECT CASE
        WHEN NEW.total NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'bulk_acts.total is out of range: write a number from 0 to 4611686018427387904')
        WHEN NEW.done NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'bulk_acts.done is out of range: write a number from 0 to 4611686018427387904')
        WHEN NEW.skipped NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'bulk_acts.skipped is out of range: write a number from 0 to 4611686018427387904')
        WHEN NEW.failed NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'bulk_acts.failed is out of range: write a number from 0 to 4611686018427387904')
    END;
END;
CREATE TRIGGER bulk_acts_numbers_changed BEFORE UPDATE OF total, done, skipped, failed ON bulk_acts
BEGIN
    SELECT CASE
        WHEN NEW.total IS NOT OLD.total AND NEW.total NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'bulk_acts.total is out of range: write a number from 0 to 4611686018427387904')
        WHEN NEW.done IS NOT OLD.done AND NEW.done NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'bulk_acts.done is out of range: write a number from 0 to 4611686018427387904')
        WHEN NEW.skipped IS NOT OLD.skipped AND NEW.skipped NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'bulk_acts.skipped is out of range: write a number from 0 to 4611686018427387904')
        WHEN NEW.failed IS NOT OLD.failed AND NEW.failed NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'bulk_acts.failed is out of range: write a number from 0 to 4611686018427387904')
    END;
END;

UPDATE leaders SET term = min(max(term, 0), 4611686018427387904)
    WHERE term NOT BETWEEN 0 AND 4611686018427387904;
CREATE TRIGGER leaders_numbers_new BEFORE INSERT ON leaders
BEGIN
    SELECT CASE
        WHEN NEW.term NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'leaders.term is out of range: write a number from 0 to 4611686018427387904')
    END;
END;
CREATE TRIGGER leaders_numbers_changed BEFORE UPDATE OF term ON leaders
BEGIN
    SELECT CASE
        WHEN NEW.term IS NOT OLD.term AND NEW.term NOT BETWEEN 0 AND 4611686018427387904
        THEN RAISE(ABORT, 'leaders.term is out of range: write a number from 0 to 4611686018427387904')
    END;
END;

-- The next row's number is one more than the greatest that ever was: where there is none, no row can be added. A number
-- that the file gives itself is not known yet where it is checked, and is -1.
CREATE TRIGGER consents_seq_new BEFORE INSERT ON consents
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'consents.seq is out of range: leave it out');
END;
CREATE TRIGGER consents_seq_changed BEFORE UPDATE OF seq ON consents
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'consents.seq is out of range: leave it out');
END;
CREATE TRIGGER events_seq_new BEFORE INSERT ON events
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'events.seq is out of range: leave it out');
END;
CREATE TRIGGER events_seq_changed BEFORE UPDATE OF seq ON events
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'events.seq is out of range: leave it out');
END;
CREATE TRIGGER plugin_logs_seq_new BEFORE INSERT ON plugin_logs
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'plugin_logs.seq is out of range: leave it out');
END;
CREATE TRIGGER plugin_logs_seq_changed BEFORE UPDATE OF seq ON plugin_logs
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'plugin_logs.seq is out of range: leave it out');
END;
CREATE TRIGGER release_activations_seq_new BEFORE INSERT ON release_activations
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'release_activations.seq is out of range: leave it out');
END;
CREATE TRIGGER release_activations_seq_changed BEFORE UPDATE OF seq ON release_activations
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'release_activations.seq is out of range: leave it out');
END;
CREATE TRIGGER release_batches_seq_new BEFORE INSERT ON release_batches
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'release_batches.seq is out of range: leave it out');
END;
CREATE TRIGGER release_batches_seq_changed BEFORE UPDATE OF seq ON release_batches
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'release_batches.seq is out of range: leave it out');
END;
CREATE TRIGGER audit_seq_new BEFORE INSERT ON audit
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'audit.seq is out of range: leave it out');
END;
CREATE TRIGGER audit_seq_changed BEFORE UPDATE OF seq ON audit
    WHEN NEW.seq > 4611686018427387904
BEGIN
    SELECT RAISE(ABORT, 'audit.seq is out of range: leave it out');
END;
