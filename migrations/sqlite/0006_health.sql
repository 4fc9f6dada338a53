-- Alerts, and what health is read by. See the PostgreSQL twin for what each is for.

CREATE TABLE alerts (
    name TEXT NOT NULL,
    platform TEXT NOT NULL,
    firing INTEGER NOT NULL,
    since TEXT NOT NULL,
    value REAL NOT NULL,
    threshold REAL NOT NULL,
    worse_since TEXT,
    crossings INTEGER NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (name, platform)
) STRICT;

CREATE INDEX batches_by_lease ON batches (began_at);

CREATE INDEX accounts_to_reconnect ON accounts (platform, id) WHERE status = 'reconnect_needed';
