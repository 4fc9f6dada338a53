-- Numbers that hosts count on, add up or turn into a time stay where there is room for more: one at the end of what the
-- database can hold made each statement fail that counted on. What other programs write beyond is refused; what was
-- there before goes to the nearest number that is not, so that its row can be used, ended and removed.
--
-- The constraints come first: they take the locks that the changes of rows would need next. They need not be validated,
-- since no row is left that they would refuse, and that would read each table once more.

ALTER TABLE batches
    ADD CONSTRAINT batches_attempts CHECK (attempts BETWEEN 0 AND 1000000000) NOT VALID,
    ADD CONSTRAINT batches_host_losses CHECK (host_losses BETWEEN 0 AND 1000000000) NOT VALID,
    ADD CONSTRAINT batches_lease_token CHECK (lease_token BETWEEN 0 AND 4611686018427387904) NOT VALID;
UPDATE batches SET
        attempts = LEAST(GREATEST(attempts, 0), 1000000000),
        host_losses = LEAST(GREATEST(host_losses, 0), 1000000000),
        lease_token = LEAST(GREATEST(lease_token, 0), 4611686018427387904)
    WHERE attempts NOT BETWEEN 0 AND 1000000000
        OR host_losses NOT BETWEEN 0 AND 1000000000
        OR lease_token NOT BETWEEN 0 AND 4611686018427387904;

ALTER TABLE runs
    ADD CONSTRAINT runs_planned CHECK (planned BETWEEN 0 AND 4611686018427387904) NOT VALID;
UPDATE runs SET
        planned = LEAST(GREATEST(planned, 0), 4611686018427387904)
    WHERE planned NOT BETWEEN 0 AND 4611686018427387904;

ALTER TABLE credentials
    ADD CONSTRAINT credentials_version CHECK (version BETWEEN 0 AND 4611686018427387904) NOT VALID;
UPDATE credentials SET
        version = LEAST(GREATEST(version, 0), 4611686018427387904)
    WHERE version NOT BETWEEN 0 AND 4611686018427387904;

ALTER TABLE releases
    ADD CONSTRAINT releases_size_bytes CHECK (size_bytes BETWEEN 0 AND 4611686018427387904) NOT VALID;
UPDATE releases SET
        size_bytes = LEAST(GREATEST(size_bytes, 0), 4611686018427387904)
    WHERE size_bytes NOT BETWEEN 0 AND 4611686018427387904;

ALTER TABLE canaries
    ADD CONSTRAINT canaries_share CHECK (share BETWEEN 0 AND 10000) NOT VALID;
UPDATE canaries SET
        share = LEAST(GREATEST(share, 0), 10000)
    WHERE share NOT BETWEEN 0 AND 10000;

ALTER TABLE budgets
    ADD CONSTRAINT budgets_spent CHECK (spent BETWEEN 0 AND 4611686018427387904) NOT VALID,
    ADD CONSTRAINT budgets_last_granted CHECK (last_granted BETWEEN 0 AND 4611686018427387904) NOT VALID;
UPDATE budgets SET
        spent = LEAST(GREATEST(spent, 0), 4611686018427387904),
        last_granted = LEAST(GREATEST(last_granted, 0), 4611686018427387904)
    WHERE spent NOT BETWEEN 0 AND 4611686018427387904
        OR last_granted NOT BETWEEN 0 AND 4611686018427387904;

ALTER TABLE webhooks
    ADD CONSTRAINT webhooks_seen CHECK (seen BETWEEN 0 AND 4611686018427387904) NOT VALID;
UPDATE webhooks SET
        seen = LEAST(GREATEST(seen, 0), 4611686018427387904)
    WHERE seen NOT BETWEEN 0 AND 4611686018427387904;

ALTER TABLE deliveries
    ADD CONSTRAINT deliveries_attempts CHECK (attempts BETWEEN 0 AND 1000000000) NOT VALID;
UPDATE deliveries SET
        attempts = LEAST(GREATEST(attempts, 0), 1000000000)
    WHERE attempts NOT BETWEEN 0 AND 1000000000;

ALTER TABLE alerts
    ADD CONSTRAINT alerts_crossings CHECK (crossings BETWEEN 0 AND 4611686018427387904) NOT VALID;
UPDATE alerts SET
        crossings = LEAST(GREATEST(crossings, 0), 4611686018427387904)
    WHERE crossings NOT BETWEEN 0 AND 4611686018427387904;

ALTER TABLE alert_routes
    ADD CONSTRAINT alert_routes_window_s CHECK (window_s BETWEEN 0 AND 4294967295) NOT VALID,
    ADD CONSTRAINT alert_routes_seen CHECK (seen BETWEEN 0 AND 4611686018427387904) NOT VALID;
UPDATE alert_routes SET
        window_s = LEAST(GREATEST(window_s, 0), 4294967295),
        seen = LEAST(GREATEST(seen, 0), 4611686018427387904)
    WHERE window_s NOT BETWEEN 0 AND 4294967295
        OR seen NOT BETWEEN 0 AND 4611686018427387904;

ALTER TABLE alert_digests
    ADD CONSTRAINT alert_digests_hour CHECK (hour BETWEEN 0 AND 23) NOT VALID;
UPDATE alert_digests SET
        hour = LEAST(GREATEST(hour, 0), 23)
    WHERE hour NOT BETWEEN 0 AND 23;

ALTER TABLE alert_messages
    ADD CONSTRAINT alert_messages_events CHECK (events BETWEEN 0 AND 4611686018427387904) NOT VALID,
    ADD CONSTRAINT alert_messages_attempts CHECK (attempts BETWEEN 0 AND 1000000000) NOT VALID;
UPDATE alert_messages SET
        events = LEAST(GREATEST(events, 0), 4611686018427387904),
        attempts = LEAST(GREATEST(attempts, 0), 1000000000)
    WHERE events NOT BETWEEN 0 AND 4611686018427387904
        OR attempts NOT BETWEEN 0 AND 1000000000;

ALTER TABLE bulk_acts
    ADD CONSTRAINT bulk_acts_total CHECK (total BETWEEN 0 AND 4611686018427387904) NOT VALID,
    ADD CONSTRAINT bulk_acts_done CHECK (done BETWEEN 0 AND 4611686018427387904) NOT VALID,
    ADD CONSTRAINT bulk_acts_skipped CHECK (skipped BETWEEN 0 AND 4611686018427387904) NOT VALID,
    ADD CONSTRAINT bulk_acts_failed CHECK (failed BETWEEN 0 AND 4611686018427387904) NOT VALID;
UPDATE bulk_acts SET
        total = LEAST(GREATEST(total, 0), 4611686018427387904),
        done = LEAST(GREATEST(done, 0), 4611686018427387904),
        skipped = LEAST(GREATEST(skipped, 0), 4611686018427387904),
        failed = LEAST(GREATEST(failed, 0), 4611686018427387904)
    WHERE total NOT BETWEEN 0 AND 4611686018427387904
        OR done NOT BETWEEN 0 AND 4611686018427387904
        OR skipped NOT BETWEEN 0 AND 4611686018427387904
        OR failed NOT BETWEEN 0 AND 4611686018427387904;

ALTER TABLE leaders
    ADD CONSTRAINT leaders_term CHECK (term BETWEEN 0 AND 4611686018427387904) NOT VALID;
UPDATE leaders SET
        term = LEAST(GREATEST(term, 0), 4611686018427387904)
    WHERE term NOT BETWEEN 0 AND 4611686018427387904;
