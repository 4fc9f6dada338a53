-- Nothing costs more because a table is larger: an index for tombstones, and whole months that move without being read
-- while they are locked.

-- Asked for each batch: whether anyone was erased at all.
CREATE INDEX erasures_in_force ON erasures (subject) WHERE readmitted_at IS NULL;

-- When the next open batch falls due, by run and among all.
CREATE INDEX batches_next ON batches (available_at) WHERE finished_at IS NULL;
DROP INDEX batches_open_by_run;
CREATE INDEX batches_open_by_run ON batches (run_id, available_at) WHERE finished_at IS NULL;

-- States a month's dates as a constraint, which is not checked yet and so holds its lock for a moment only. False where
-- there is no such month, or the archive has one already.
CREATE FUNCTION backline.archive_month_state(p_month DATE) RETURNS BOOLEAN
LANGUAGE plpgsql AS $$
DECLARE
    suffix TEXT := to_char(p_month, '_YYYY_MM');
    part REGCLASS := to_regclass(format('backline.%I', 'metrics' || suffix));
BEGIN
    IF part IS NULL OR to_regclass(format('backline.%I', 'metrics_archive' || suffix)) IS NOT NULL THEN
        RETURN FALSE;
    END IF;
    PERFORM set_config('lock_timeout', '2s', TRUE);
    IF NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conrelid = part AND conname = 'month') THEN
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT month CHECK (metric_date >= %L AND metric_date < %L) NOT VALID',
            part, p_month, (p_month + INTERVAL '1 month')::date);
    END IF;
    RETURN TRUE;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN FALSE;
END
$$;
ALTER FUNCTION backline.archive_month_state(DATE) SET search_path = backline, public, pg_temp;

-- Checks that constraint. The rows are read here, while others read and write the month.
CREATE FUNCTION backline.archive_month_check(p_month DATE) RETURNS BOOLEAN
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lock_timeout', '2s', TRUE);
    EXECUTE format('ALTER TABLE backline.%I VALIDATE CONSTRAINT month', 'metrics' || to_char(p_month, '_YYYY_MM'));
    RETURN TRUE;
EXCEPTION WHEN lock_not_available OR deadlock_detected OR undefined_table OR undefined_object THEN
    RETURN FALSE;
END
$$;
ALTER FUNCTION backline.archive_month_check(DATE) SET search_path = backline, public, pg_temp;

-- As before, but for a month whose constraint was checked: it proves the bounds, so that no row is read under the lock.
-- None where the month is not ready, the archive has rows of that month already, or the locks are not granted.
CREATE OR REPLACE FUNCTION backline.archive_month(p_month DATE) RETURNS BIGINT
LANGUAGE plpgsql AS $$
DECLARE
    suffix TEXT := to_char(p_month, '_YYYY_MM');
    source REGCLASS := to_regclass('metrics');
    target REGCLASS := to_regclass('metrics_archive');
    part REGCLASS := to_regclass(format('backline.%I', 'metrics' || suffix));
    moved BIGINT;
BEGIN
    IF part IS NULL OR to_regclass(format('backline.%I', 'metrics_archive' || suffix)) IS NOT NULL
        OR NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conrelid = part AND conname = 'month' AND convalidated)
    THEN
        RETURN NULL;
    END IF;
    -- Counted before the locks, which so last no longer than the move.
    EXECUTE format('SELECT COUNT(*) FROM %s', part) INTO moved;
    -- As `backline.ensure_month` does it, and in its order.
    PERFORM pg_advisory_xact_lock(7135240011895);
    PERFORM backline.lock_month(source, part, TRUE);
    IF EXISTS (SELECT 1 FROM pg_class
        WHERE relnamespace = 'backline'::regnamespace AND relname = 'metrics_archive' || suffix)
    THEN
        RETURN NULL;
    END IF;
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', source, part);
    EXECUTE format('ALTER TABLE %s RENAME TO %I', part, 'metrics_archive' || suffix);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
        target, part, p_month, (p_month + INTERVAL '1 month')::date);
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT month', part);
    RETURN moved;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN NULL;
END
$$;
ALTER FUNCTION backline.archive_month(DATE) SET search_path = backline, public, pg_temp;
