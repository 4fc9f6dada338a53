-- Each time that what is past its time was put away. `as_of` is the time it was planned for; one with `origin` `start` is when a service first
-- looked, from which its first time is counted. `counts` holds rows by table and action, and names nobody.
CREATE TABLE archive_runs (
    id UUID PRIMARY KEY,
    origin TEXT NOT NULL,
    as_of TIMESTAMPTZ NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ,
    state TEXT NOT NULL,
    counts JSONB NOT NULL,
    message TEXT
);
CREATE INDEX archive_runs_by_start ON archive_runs (started_at);
CREATE INDEX batches_by_end ON batches (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX plugin_logs_by_time ON plugin_logs (at);

-- A table's months that end on or before a day, the oldest first.
CREATE FUNCTION backline.months_before(p_table REGCLASS, p_day DATE) RETURNS SETOF DATE
LANGUAGE sql STABLE AS $$
    SELECT since FROM (
        SELECT to_date(right(c.relname, 7), 'YYYY_MM') AS since
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = p_table AND c.relname ~ '_[0-9]{4}_[0-9]{2}$') AS months
    WHERE since + INTERVAL '1 month' <= p_day ORDER BY since
$$;

-- Locks a month for taking it away: first the accounts, where that is asked for, then its table, then itself, as writers do.
CREATE FUNCTION backline.lock_month(p_table REGCLASS, p_part REGCLASS, p_accounts BOOLEAN) RETURNS VOID
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lock_timeout', '2s', TRUE);
    IF p_accounts THEN
        LOCK TABLE ONLY backline.accounts IN ACCESS EXCLUSIVE MODE;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', p_table);
    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', p_part);
END
$$;

-- Drops a month; where only an empty one may go, one with rows stays. Answers how many rows went, none where it stays, as it does where somebody
-- keeps it for long.
CREATE FUNCTION backline.drop_month(p_table REGCLASS, p_month DATE, p_only_empty BOOLEAN) RETURNS BIGINT
LANGUAGE plpgsql AS $$
DECLARE
    part REGCLASS := to_regclass(format('backline.%I',
        (SELECT relname FROM pg_class WHERE oid = p_table) || to_char(p_month, '_YYYY_MM')));
    found BOOLEAN;
    gone BIGINT;
BEGIN
    IF part IS NULL THEN
        RETURN NULL;
    END IF;
    -- Counted before the lock, which so lasts no longer than the drop.
    EXECUTE format('SELECT COUNT(*) FROM %s', part) INTO gone;
    IF p_only_empty AND gone > 0 THEN
        RETURN NULL;
    END IF;
    PERFORM backline.lock_month(p_table, part, FALSE);
    IF p_only_empty THEN
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %s)', part) INTO found;
        IF found THEN
            RETURN NULL;
        END IF;
    END IF;
    EXECUTE format('DROP TABLE %s', part);
    RETURN gone;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN NULL;
END
$$;

-- Moves a month of `metrics` to the archive whole. None where the archive has rows of that month already, or somebody keeps it, or accounts, for
-- long: the foreign key of the month is made anew on both, and `accounts` are locked first, as by the completion of a batch.
CREATE FUNCTION backline.archive_month(p_month DATE) RETURNS BIGINT
LANGUAGE plpgsql AS $$
DECLARE
    suffix TEXT := to_char(p_month, '_YYYY_MM');
    source REGCLASS := to_regclass('metrics');
    target REGCLASS := to_regclass('metrics_archive');
    part REGCLASS := to_regclass(format('backline.%I', 'metrics' || suffix));
    moved BIGINT;
BEGIN
    IF part IS NULL OR to_regclass(format('backline.%I', 'metrics_archive' || suffix)) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT COUNT(*) FROM %s', part) INTO moved;
    -- As `backline.ensure_month` does it, and in its order.
    PERFORM pg_advisory_xact_lock(7135240011895);
    PERFORM backline.lock_month(source, part, TRUE);
    IF EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = 'backline'::regnamespace AND relname = 'metrics_archive' || suffix) THEN
        RETURN NULL;
    END IF;
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', source, part);
    EXECUTE format('ALTER TABLE %s RENAME TO %I', part, 'metrics_archive' || suffix);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
        target, part, p_month, (p_month + INTERVAL '1 month')::date);
    RETURN moved;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN NULL;
END
$$;
ALTER FUNCTION backline.archive_month(DATE) SET search_path = backline, public, pg_temp;
