-- Allowances belong to a credential or to a whole platform. Rolling windows are kept as a pace, and a pause that a
-- platform asked for is shared by all hosts.

-- Whose units: `credential/<id>` or `platform/<name>`.
CREATE TABLE budgets_by_holder (
    credential_id TEXT REFERENCES credentials (id) ON DELETE CASCADE,
    budget TEXT NOT NULL,
    window_start TEXT NOT NULL,
    window_end TEXT NOT NULL,
    spent INTEGER NOT NULL,
    last_granted INTEGER NOT NULL,
    holder TEXT NOT NULL,
    PRIMARY KEY (holder, budget, window_start),
    CHECK ((credential_id IS NULL) = (holder LIKE 'platform/%'))
) STRICT;
INSERT INTO budgets_by_holder (credential_id, budget, window_start, window_end, spent, last_granted, holder)
SELECT credential_id, budget, window_start, window_end, spent, last_granted, 'credential/' || credential_id
FROM budgets;
DROP TABLE budgets;
ALTER TABLE budgets_by_holder RENAME TO budgets;
CREATE INDEX budgets_by_credential ON budgets (credential_id) WHERE credential_id IS NOT NULL;

-- The next free place of a budget whose window rolls, in microseconds since 1970. `first_us` is what the latest taker
-- got: it lets one statement both take and answer. The pace that a host learned from refusals has an empty name.
CREATE TABLE paces (
    holder TEXT NOT NULL,
    budget TEXT NOT NULL,
    credential_id TEXT REFERENCES credentials (id) ON DELETE CASCADE,
    first_us INTEGER NOT NULL,
    next_us INTEGER NOT NULL,
    PRIMARY KEY (holder, budget),
    CHECK ((credential_id IS NULL) = (holder LIKE 'platform/%'))
) STRICT;
CREATE INDEX paces_by_credential ON paces (credential_id) WHERE credential_id IS NOT NULL;

-- Until when nothing is sent, since the platform asked for a pause; and how far apart requests are sent after it, where
-- the platform limits a rate that no budget declares.
CREATE TABLE pauses (
    holder TEXT NOT NULL PRIMARY KEY,
    platform TEXT NOT NULL,
    credential_id TEXT REFERENCES credentials (id) ON DELETE CASCADE,
    began_at TEXT NOT NULL,
    paused_until TEXT NOT NULL,
    interval_us INTEGER,
    paced_until TEXT,
    CHECK ((credential_id IS NULL) = (holder LIKE 'platform/%'))
) STRICT;
CREATE INDEX pauses_by_credential ON pauses (credential_id) WHERE credential_id IS NOT NULL;
CREATE INDEX pauses_in_force ON pauses (paused_until);
