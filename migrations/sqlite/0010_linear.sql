-- Nothing costs more because a table is larger. (On PostgreSQL this version also moves whole months without reading
-- them while they are locked.)

-- Asked for each batch: whether anyone was erased at all.
CREATE INDEX erasures_in_force ON erasures (subject) WHERE readmitted_at IS NULL;

-- When the next open batch falls due, by run and among all.
CREATE INDEX batches_next ON batches (available_at) WHERE finished_at IS NULL;
DROP INDEX batches_open_by_run;
CREATE INDEX batches_open_by_run ON batches (run_id, available_at) WHERE finished_at IS NULL;

-- What is past its time is taken a day at a time.
CREATE INDEX metrics_archive_by_date ON metrics_archive (metric_date);
CREATE INDEX growth_by_date ON growth (metric_date);
CREATE INDEX quarantine_by_date ON quarantine (metric_date);
