-- Numbers that hosts count on, add up or turn into a time stay where there is room for more: one at the end of what the
-- database can hold made each statement fail that counted on. What other programs write beyond is refused; what was
-- there before goes to the nearest number that is not, so that its row can be used, ended and removed.
--
-- Hosts work meanwhile. Each step is a transaction of its own: it keeps hosts from one table for a moment, or from rows
-- that no host can use, and holds nothing while it waits. With several tables in one, it and a host would wait for each
-- other: hosts take them in more than one order. What was done before a step that fails stays, and is done again.
--
-- The constraints come first: no number beyond is written after the rows were changed. They need not be validated:
-- no row is left that they would refuse, and that would read each table once more.

ALTER TABLE releases
    DROP CONSTRAINT IF EXISTS releases_size_bytes,
    ADD CONSTRAINT releases_size_bytes CHECK (size_bytes BETWEEN 0 AND 4611686018427387904) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE canaries
    DROP CONSTRAINT IF EXISTS canaries_share,
    ADD CONSTRAINT canaries_share CHECK (share BETWEEN 0 AND 10000) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE runs
    DROP CONSTRAINT IF EXISTS runs_planned,
    ADD CONSTRAINT runs_planned CHECK (planned BETWEEN 0 AND 4611686018427387904) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE batches
    DROP CONSTRAINT IF EXISTS batches_attempts,
    ADD CONSTRAINT batches_attempts CHECK (attempts BETWEEN 0 AND 1000000000) NOT VALID,
    DROP CONSTRAINT IF EXISTS batches_host_losses,
    ADD CONSTRAINT batches_host_losses CHECK (host_losses BETWEEN 0 AND 1000000000) NOT VALID,
    DROP CONSTRAINT IF EXISTS batches_lease_token,
    ADD CONSTRAINT batches_lease_token CHECK (lease_token BETWEEN 0 AND 4611686018427387904) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE credentials
    DROP CONSTRAINT IF EXISTS credentials_version,
    ADD CONSTRAINT credentials_version CHECK (version BETWEEN 0 AND 4611686018427387904) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE budgets
    DROP CONSTRAINT IF EXISTS budgets_spent,
    ADD CONSTRAINT budgets_spent CHECK (spent BETWEEN 0 AND 4611686018427387904) NOT VALID,
    DROP CONSTRAINT IF EXISTS budgets_last_granted,
    ADD CONSTRAINT budgets_last_granted CHECK (last_granted BETWEEN 0 AND 4611686018427387904) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE webhooks
    DROP CONSTRAINT IF EXISTS webhooks_seen,
    ADD CONSTRAINT webhooks_seen CHECK (seen BETWEEN 0 AND 4611686018427387904) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE alert_routes
    DROP CONSTRAINT IF EXISTS alert_routes_window_s,
    ADD CONSTRAINT alert_routes_window_s CHECK (window_s BETWEEN 0 AND 4294967295) NOT VALID,
    DROP CONSTRAINT IF EXISTS alert_routes_seen,
    ADD CONSTRAINT alert_routes_seen CHECK (seen BETWEEN 0 AND 4611686018427387904) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE alert_digests
    DROP CONSTRAINT IF EXISTS alert_digests_hour,
    ADD CONSTRAINT alert_digests_hour CHECK (hour BETWEEN 0 AND 23) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE deliveries
    DROP CONSTRAINT IF EXISTS deliveries_attempts,
    ADD CONSTRAINT deliveries_attempts CHECK (attempts BETWEEN 0 AND 1000000000) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE alert_messages
    DROP CONSTRAINT IF EXISTS alert_messages_events,
    ADD CONSTRAINT alert_messages_events CHECK (events BETWEEN 0 AND 4611686018427387904) NOT VALID,
    DROP CONSTRAINT IF EXISTS alert_messages_attempts,
    ADD CONSTRAINT alert_messages_attempts CHECK (attempts BETWEEN 0 AND 1000000000) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE alerts
    DROP CONSTRAINT IF EXISTS alerts_crossings,
    ADD CONSTRAINT alerts_crossings CHECK (crossings BETWEEN 0 AND 4611686018427387904) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE bulk_acts
    DROP CONSTRAINT IF EXISTS bulk_acts_total,
    ADD CONSTRAINT bulk_acts_total CHECK (total BETWEEN 0 AND 4611686018427387904) NOT VALID,
    DROP CONSTRAINT IF EXISTS bulk_acts_done,
    ADD CONSTRAINT bulk_acts_done CHECK (done BETWEEN 0 AND 4611686018427387904) NOT VALID,
    DROP CONSTRAINT IF EXISTS bulk_acts_skipped,
    ADD CONSTRAINT bulk_acts_skipped CHECK (skipped BETWEEN 0 AND 4611686018427387904) NOT VALID,
    DROP CONSTRAINT IF EXISTS bulk_acts_failed,
    ADD CONSTRAINT bulk_acts_failed CHECK (failed BETWEEN 0 AND 4611686018427387904) NOT VALID;
COMMIT AND CHAIN;

ALTER TABLE leaders
    DROP CONSTRAINT IF EXISTS leaders_term,
    ADD CONSTRAINT leaders_term CHECK (term BETWEEN 0 AND 4611686018427387904) NOT VALID;
COMMIT AND CHAIN;

UPDATE releases SET
        size_bytes = LEAST(GREATEST(size_bytes, 0), 4611686018427387904)
    WHERE size_bytes NOT BETWEEN 0 AND 4611686018427387904;
COMMIT AND CHAIN;

UPDATE canaries SET
        share = LEAST(GREATEST(share, 0), 10000)
    WHERE share NOT BETWEEN 0 AND 10000;
COMMIT AND CHAIN;

UPDATE runs SET
        planned = LEAST(GREATEST(planned, 0), 4611686018427387904)
    WHERE planned NOT BETWEEN 0 AND 4611686018427387904;
COMMIT AND CHAIN;

UPDATE batches SET
        attempts = LEAST(GREATEST(attempts, 0), 1000000000),
        host_losses = LEAST(GREATEST(host_losses, 0), 1000000000),
        lease_token = LEAST(GREATEST(lease_token, 0), 4611686018427387904)
    WHERE attempts NOT BETWEEN 0 AND 1000000000
        OR host_losses NOT BETWEEN 0 AND 1000000000
        OR lease_token NOT BETWEEN 0 AND 4611686018427387904;
COMMIT AND CHAIN;

UPDATE credentials SET
        version = LEAST(GREATEST(version, 0), 4611686018427387904)
    WHERE version NOT BETWEEN 0 AND 4611686018427387904;
COMMIT AND CHAIN;

UPDATE budgets SET
        spent = LEAST(GREATEST(spent, 0), 4611686018427387904),
        last_granted = LEAST(GREATEST(last_granted, 0), 4611686018427387904)
    WHERE spent NOT BETWEEN 0 AND 4611686018427387904
        OR last_granted NOT BETWEEN 0 AND 4611686018427387904;
COMMIT AND CHAIN;

UPDATE webhooks SET
        seen = LEAST(GREATEST(seen, 0), 4611686018427387904)
    WHERE seen NOT BETWEEN 0 AND 4611686018427387904;
COMMIT AND CHAIN;

UPDATE alert_routes SET
        window_s = LEAST(GREATEST(window_s, 0), 4294967295),
        seen = LEAST(GREATEST(seen, 0), 4611686018427387904)
    WHERE window_s NOT BETWEEN 0 AND 4294967295
        OR seen NOT BETWEEN 0 AND 4611686018427387904;
COMMIT AND CHAIN;

UPDATE alert_digests SET
        hour = LEAST(GREATEST(hour, 0), 23)
    WHERE hour NOT BETWEEN 0 AND 23;
COMMIT AND CHAIN;

UPDATE deliveries SET
        attempts = LEAST(GREATEST(attempts, 0), 1000000000)
    WHERE attempts NOT BETWEEN 0 AND 1000000000;
COMMIT AND CHAIN;

UPDATE alert_messages SET
        events = LEAST(GREATEST(events, 0), 4611686018427387904),
        attempts = LEAST(GREATEST(attempts, 0), 1000000000)
    WHERE events NOT BETWEEN 0 AND 4611686018427387904
        OR attempts NOT BETWEEN 0 AND 1000000000;
COMMIT AND CHAIN;

UPDATE alerts SET
        crossings = LEAST(GREATEST(crossings, 0), 4611686018427387904)
    WHERE crossings NOT BETWEEN 0 AND 4611686018427387904;
COMMIT AND CHAIN;

UPDATE bulk_acts SET
        total = LEAST(GREATEST(total, 0), 4611686018427387904),
        done = LEAST(GREATEST(done, 0), 4611686018427387904),
        skipped = LEAST(GREATEST(skipped, 0), 4611686018427387904),
        failed = LEAST(GREATEST(failed, 0), 4611686018427387904)
    WHERE total NOT BETWEEN 0 AND 4611686018427387904
        OR done NOT BETWEEN 0 AND 4611686018427387904
        OR skipped NOT BETWEEN 0 AND 4611686018427387904
        OR failed NOT BETWEEN 0 AND 4611686018427387904;
COMMIT AND CHAIN;

UPDATE leaders SET
        term = LEAST(GREATEST(term, 0), 4611686018427387904)
    WHERE term NOT BETWEEN 0 AND 4611686018427387904;
