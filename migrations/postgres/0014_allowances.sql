-- Allowances belong to a credential or to a whole platform. Rolling windows are kept as a pace, and a pause that a
-- platform asked for is shared by all hosts.

-- Whose units: `credential/<id>` or `platform/<name>`.
ALTER TABLE budgets ADD COLUMN holder TEXT;
UPDATE budgets SET holder = 'credential/' || credential_id::text;
ALTER TABLE budgets ALTER COLUMN holder SET NOT NULL;
ALTER TABLE budgets DROP CONSTRAINT budgets_pkey;
ALTER TABLE budgets ALTER COLUMN credential_id DROP NOT NULL;
ALTER TABLE budgets ADD PRIMARY KEY (holder, budget, window_start);
ALTER TABLE budgets ADD CHECK ((credential_id IS NULL) = (holder LIKE 'platform/%'));
CREATE INDEX budgets_by_credential ON budgets (credential_id) WHERE credential_id IS NOT NULL;

-- The next free place of a budget whose window rolls, in microseconds since 1970. `first_us` is what the latest taker
-- got: it lets one statement both take and answer. The pace that a host learned from refusals has an empty name.
CREATE TABLE paces (
    holder TEXT NOT NULL,
    budget TEXT NOT NULL,
    credential_id UUID REFERENCES credentials (id) ON DELETE CASCADE,
    first_us BIGINT NOT NULL,
    next_us BIGINT NOT NULL,
    PRIMARY KEY (holder, budget),
    CHECK ((credential_id IS NULL) = (holder LIKE 'platform/%'))
);
CREATE INDEX paces_by_credential ON paces (credential_id) WHERE credential_id IS NOT NULL;

-- Until when nothing is sent, since the platform asked for a pause; and how far apart requests are sent after it, where
-- the platform limits a rate that no budget declares.
CREATE TABLE pauses (
    holder TEXT PRIMARY KEY,
    platform TEXT NOT NULL,
    credential_id UUID REFERENCES credentials (id) ON DELETE CASCADE,
    began_at TIMESTAMPTZ NOT NULL,
    paused_until TIMESTAMPTZ NOT NULL,
    interval_us BIGINT,
    paced_until TIMESTAMPTZ,
    CHECK ((credential_id IS NULL) = (holder LIKE 'platform/%'))
);
CREATE INDEX pauses_by_credential ON pauses (credential_id) WHERE credential_id IS NOT NULL;
CREATE INDEX pauses_in_force ON pauses (paused_until);
