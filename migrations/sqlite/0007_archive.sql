-- Each time that what is past its time was put away. `as_of` is the time it was planned for; one with `origin` `start` is when a service first
-- looked, from which its first time is counted. `counts` holds rows by table and action, and names nobody.
CREATE TABLE archive_runs (
    id TEXT PRIMARY KEY,
    origin TEXT NOT NULL,
    as_of TEXT NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT,
    state TEXT NOT NULL,
    counts TEXT NOT NULL,
    message TEXT
) STRICT;
CREATE INDEX archive_runs_by_start ON archive_runs (started_at);
CREATE INDEX batches_by_end ON batches (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX plugin_logs_by_time ON plugin_logs (at);
