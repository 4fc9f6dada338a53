-- Events about a row of `metrics` are written without a copy of it.

-- `row_at` is the row's `updated_at`: while it is set, the event's data are those of that row, and `data` holds only
-- what the row does not. Before the row is replaced or deleted, they are written into `data`, and `row_at` is cleared.
ALTER TABLE events ADD COLUMN row_account TEXT;
ALTER TABLE events ADD COLUMN row_date TEXT;
ALTER TABLE events ADD COLUMN row_run TEXT;
ALTER TABLE events ADD COLUMN row_at TEXT;

-- What is there already keeps its data. Its key becomes columns, so that no fact is written a second time.
UPDATE events SET row_run = substr(dedup_key, 19, 36), row_account = substr(dedup_key, 56, 36),
    row_date = substr(dedup_key, 93, 10), dedup_key = NULL
WHERE type = 'metrics.collected' AND length(dedup_key) = 102
    AND dedup_key GLOB 'metrics.collected:????????-????-????-????-????????????:*:????-??-??';
UPDATE events SET row_account = substr(dedup_key, 28, 36), row_date = substr(dedup_key, 65, 10), dedup_key = NULL
WHERE type = 'metrics.significant_change' AND length(dedup_key) = 74
    AND dedup_key GLOB 'metrics.significant_change:????????-????-????-????-????????????:????-??-??';

-- Once per account, date and run; a change once per account and date.
CREATE UNIQUE INDEX events_once_per_row
    ON events (row_date, row_account, COALESCE(row_run, '00000000-0000-0000-0000-000000000000'))
    WHERE row_account IS NOT NULL;

-- Growth lives in the row that it is about, in a short form: by metric, a change for each of 1, 7, 28 and 90 days, or
-- one for all of them.
ALTER TABLE metrics ADD COLUMN growth TEXT;
ALTER TABLE metrics_archive ADD COLUMN growth TEXT;
UPDATE metrics SET growth = (SELECT g.changes FROM growth g
    WHERE g.account_id = metrics.account_id AND g.metric_date = metrics.metric_date);
UPDATE metrics_archive SET growth = (SELECT g.changes FROM growth g
    WHERE g.account_id = metrics_archive.account_id AND g.metric_date = metrics_archive.metric_date)
WHERE NOT EXISTS (SELECT 1 FROM metrics m
    WHERE m.account_id = metrics_archive.account_id AND m.metric_date = metrics_archive.metric_date);
DROP TABLE growth;

-- Shows what the table showed.
CREATE VIEW growth AS
SELECT x.account_id, x.artist_id, x.platform, x.metric_date,
    (SELECT json_group_object(metric.key, json(CASE metric.type
        WHEN 'object' THEN metric.value
        ELSE (SELECT json_group_object(span.days, json(CASE
                WHEN json_type(span.short) = 'object' THEN span.short
                WHEN json_type(span.short) = 'text'
                    THEN json_object('reason', CASE span.short ->> '$' WHEN 'f' THEN 'first' ELSE 'absent' END)
                WHEN span.short ->> 0 = 'z' THEN json_object('absolute', span.short -> 1, 'gap_days', span.days,
                    'reason', 'zero_base')
                WHEN span.short ->> 0 = 'b' THEN json_object('gap_days', span.short -> 1, 'reason', 'break')
                WHEN span.short ->> 0 = 'g' AND json_array_length(span.short) = 2
                    THEN json_object('gap_days', span.short -> 1, 'reason', 'gap')
                WHEN span.short ->> 0 = 'g'
                    THEN json_object('daily_percent', span.short -> 2, 'gap_days', span.short -> 1, 'reason', 'gap')
                WHEN json_array_length(span.short) = 1
                    THEN json_object('absolute', span.short -> 0, 'gap_days', span.days)
                ELSE json_object('absolute', span.short -> 0, 'gap_days', span.days, 'percent', span.short -> 1)
            END))
            FROM (SELECT column2 AS days, CASE metric.type
                    WHEN 'array' THEN metric.value -> column1 ELSE json_quote(metric.value) END AS short
                FROM (VALUES (0, 1), (1, 7), (2, 28), (3, 90))) AS span)
    END)) FROM json_each(x.growth) AS metric) AS changes,
    x.updated_at
FROM metrics_all x WHERE x.growth IS NOT NULL;
