-- Outcomes by artist. (On PostgreSQL this version also lets signed-in users read by index.)

-- `data_collection_logs` is asked by artist.
CREATE INDEX collection_outcomes_by_artist ON collection_outcomes (artist_id, metric_date);
