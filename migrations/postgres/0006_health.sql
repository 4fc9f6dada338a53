-- Alerts, and what health is read by.

-- Where each alert stands. `platform` is empty where it is about none. `crossings` grows whenever it begins or ceases to fire: whoever writes
-- checks it, so that two hosts can't tell the same twice.
CREATE TABLE alerts (
    name TEXT NOT NULL,
    platform TEXT NOT NULL,
    firing BOOLEAN NOT NULL,
    since TIMESTAMPTZ NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    threshold DOUBLE PRECISION NOT NULL,
    worse_since TIMESTAMPTZ,
    crossings BIGINT NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (name, platform)
);

-- What was under way lately: run times, requests.
CREATE INDEX batches_by_lease ON batches (began_at);

CREATE INDEX accounts_to_reconnect ON accounts (platform, id) WHERE status = 'reconnect_needed';
