-- A batch that ended says once that its accounts were collected, instead of a row for each.

-- When the accounts of a batch were collected, all but those that have a row of the batch's run in
-- `collection_outcomes`. Null where each account has a row, as before this version, and once outcomes of that time are
-- deleted.
ALTER TABLE batches ADD COLUMN collected_at TEXT;
CREATE INDEX batches_collected ON batches (collected_at) WHERE collected_at IS NOT NULL;

-- Each of the two indexes with an account leads to one row, whichever a plan uses.
DROP INDEX collection_outcomes_by_account;
CREATE INDEX collection_outcomes_by_account ON collection_outcomes (account_id, run_id);

-- How each account ended in each run: by its own row, or as its batch says.
CREATE VIEW outcomes_all AS
SELECT o.run_id, o.account_id, o.artist_id, o.platform, o.metric_date, o.outcome, o.reason, o.message,
    o.deferred_until, o.attempts, o.at, o.release_digest
FROM collection_outcomes o
UNION ALL
SELECT b.run_id, m.account_id, a.artist_id, b.platform, m.metric_date, 'collected', NULL, NULL,
    NULL, b.attempts + 1, b.collected_at, b.release_digest
FROM batches b JOIN batch_accounts m ON m.batch_id = b.id JOIN accounts a ON a.id = m.account_id
WHERE b.collected_at IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM collection_outcomes o WHERE o.run_id = b.run_id AND o.account_id = m.account_id);

-- The view shows what it showed.
DROP VIEW data_collection_logs;
CREATE VIEW data_collection_logs AS
SELECT
    run_id,
    artist_id,
    json_group_array(
        json_object('platform', platform, 'account_id', account_id, 'class', reason, 'message', message)
    ) FILTER (WHERE outcome = 'failed') AS errors,
    metric_date AS collection_date,
    CASE
        WHEN COUNT(*) FILTER (WHERE outcome IN ('failed', 'deferred', 'superseded')) = 0 THEN 'success'
        WHEN COUNT(*) FILTER (WHERE outcome IN ('failed', 'superseded')) = 0 THEN 'deferred'
        WHEN COUNT(*) FILTER (WHERE outcome IN ('collected', 'deferred', 'superseded')) = 0 THEN 'failed'
        ELSE 'partial_failure'
    END AS status,
    MAX(at) AS created_at
FROM (SELECT * FROM outcomes_all WHERE outcome <> 'excluded' ORDER BY account_id)
GROUP BY run_id, artist_id, metric_date;
