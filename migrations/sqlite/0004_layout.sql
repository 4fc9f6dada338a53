-- Rows of `metrics` past their time, in the same columns. On PostgreSQL this version also cuts the large tables into months and puts what is
-- Backline's own business into a schema of its own; SQLite has neither.

CREATE TABLE metrics_archive (
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    artist_id TEXT NOT NULL,
    platform TEXT NOT NULL,
    metric_date TEXT NOT NULL,
    followers INTEGER,
    following INTEGER,
    posts_count INTEGER,
    engagement_rate REAL,
    content_views INTEGER,
    streams INTEGER,
    monthly_listeners INTEGER,
    video_views INTEGER,
    total_views INTEGER,
    likes INTEGER,
    comments INTEGER,
    shares INTEGER,
    popularity REAL,
    recent_releases INTEGER,
    top_track TEXT,
    genres TEXT,
    extra TEXT NOT NULL,
    absent TEXT NOT NULL,
    coverage TEXT NOT NULL,
    observed TEXT NOT NULL,
    engagement TEXT,
    window_since TEXT NOT NULL,
    window_until TEXT NOT NULL,
    collection_source TEXT NOT NULL,
    data_quality_score REAL NOT NULL,
    findings TEXT NOT NULL,
    notes TEXT NOT NULL,
    observed_at TEXT NOT NULL,
    release_digest TEXT NOT NULL,
    wit_version TEXT NOT NULL,
    run_id TEXT NOT NULL,
    document_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (account_id, metric_date)
) STRICT;
CREATE INDEX metrics_archive_by_artist ON metrics_archive (artist_id, platform, metric_date);
CREATE INDEX metrics_by_date ON metrics (metric_date);
CREATE INDEX documents_by_date ON documents (metric_date);

-- A late number for an archived date replaces its row; until it is archived too, it hides it.
CREATE VIEW metrics_all AS SELECT * FROM metrics
    UNION ALL SELECT * FROM metrics_archive a
    WHERE NOT EXISTS (SELECT 1 FROM metrics m WHERE m.account_id = a.account_id AND m.metric_date = a.metric_date);
