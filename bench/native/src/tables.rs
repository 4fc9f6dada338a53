//! The table `metrics` with Backline's columns, and the one statement that stores a batch.

use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor as _, QueryBuilder, Sqlite};
use uuid::Uuid;

/// As many connections as a host of Backline has by default.
const CONNECTIONS: u32 = 10;

/// What stands in each row's column for its release: a digest in hexadecimal.
const DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Columns of Backline's `metrics`, with their types on PostgreSQL and on SQLite.
const COLUMNS: [(&str, &str, &str); 38] = [
    ("account_id", "UUID NOT NULL", "TEXT NOT NULL"),
    ("artist_id", "UUID NOT NULL", "TEXT NOT NULL"),
    ("platform", "TEXT NOT NULL", "TEXT NOT NULL"),
    ("metric_date", "DATE NOT NULL", "TEXT NOT NULL"),
    ("followers", "BIGINT", "INTEGER"),
    ("following", "BIGINT", "INTEGER"),
    ("posts_count", "BIGINT", "INTEGER"),
    ("engagement_rate", "NUMERIC", "REAL"),
    ("content_views", "BIGINT", "INTEGER"),
    ("streams", "BIGINT", "INTEGER"),
    ("monthly_listeners", "BIGINT", "INTEGER"),
    ("video_views", "BIGINT", "INTEGER"),
    ("total_views", "BIGINT", "INTEGER"),
    ("likes", "BIGINT", "INTEGER"),
    ("comments", "BIGINT", "INTEGER"),
    ("shares", "BIGINT", "INTEGER"),
    ("popularity", "NUMERIC", "REAL"),
    ("recent_releases", "BIGINT", "INTEGER"),
    ("top_track", "TEXT", "TEXT"),
    ("genres", "JSONB", "TEXT"),
    ("extra", "JSONB NOT NULL", "TEXT NOT NULL"),
    ("absent", "JSONB NOT NULL", "TEXT NOT NULL"),
    ("coverage", "JSONB NOT NULL", "TEXT NOT NULL"),
    ("observed", "JSONB NOT NULL", "TEXT NOT NULL"),
    ("engagement", "JSONB", "TEXT"),
    ("window_since", "TIMESTAMPTZ NOT NULL", "TEXT NOT NULL"),
    ("window_until", "TIMESTAMPTZ NOT NULL", "TEXT NOT NULL"),
    ("collection_source", "TEXT NOT NULL", "TEXT NOT NULL"),
    ("data_quality_score", "NUMERIC NOT NULL", "REAL NOT NULL"),
    ("findings", "JSONB NOT NULL", "TEXT NOT NULL"),
    ("notes", "JSONB NOT NULL", "TEXT NOT NULL"),
    ("observed_at", "TIMESTAMPTZ NOT NULL", "TEXT NOT NULL"),
    ("release_digest", "TEXT NOT NULL", "TEXT NOT NULL"),
    ("wit_version", "TEXT NOT NULL", "TEXT NOT NULL"),
    ("run_id", "UUID NOT NULL", "TEXT NOT NULL"),
    ("document_id", "UUID NOT NULL", "TEXT NOT NULL"),
    ("created_at", "TIMESTAMPTZ NOT NULL", "TEXT NOT NULL"),
    ("updated_at", "TIMESTAMPTZ NOT NULL", "TEXT NOT NULL"),
];

/// The columns that are written, in the order in which both statements give them.
const WRITTEN: &str = "account_id, artist_id, followers, following, posts_count, total_views, popularity, genres, \
    extra, document_id, platform, metric_date, absent, window_since, window_until, observed_at, run_id, created_at, \
    updated_at, release_digest, coverage, observed, collection_source, data_quality_score, findings, notes, \
    wit_version";

/// What a later row of the same account and date replaces.
const REPLACED: &str = "followers = excluded.followers, following = excluded.following, \
    posts_count = excluded.posts_count, total_views = excluded.total_views, popularity = excluded.popularity, \
    genres = excluded.genres, extra = excluded.extra, document_id = excluded.document_id, absent = excluded.absent, \
    window_since = excluded.window_since, window_until = excluded.window_until, observed_at = excluded.observed_at, \
    run_id = excluded.run_id, updated_at = excluded.updated_at";

/// What was read of one account.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) account_id: Uuid,
    pub(crate) artist_id: Uuid,
    pub(crate) followers: Option<i64>,
    pub(crate) following: Option<i64>,
    pub(crate) posts_count: Option<i64>,
    pub(crate) total_views: Option<i64>,
    pub(crate) popularity: Option<f64>,
    /// JSON list.
    pub(crate) genres: Option<String>,
    /// JSON object, or empty.
    pub(crate) extra: String,
}

impl Row {
    fn extra(&self) -> String {
        if self.extra.is_empty() { "{}".to_owned() } else { self.extra.clone() }
    }
}

/// One of the two databases.
pub(crate) enum Tables {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// What all rows of one batch have in common.
struct Common {
    run_id: Uuid,
    observed_at: DateTime<Utc>,
    since: DateTime<Utc>,
    absent: String,
}

impl Tables {
    /// Connects, and makes the table and its index where they are missing.
    ///
    /// # Errors
    /// If the database can't be reached.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let is_sqlite = url.starts_with("sqlite:");
        let columns =
            COLUMNS.map(|(name, postgres, sqlite)| format!("{name} {}", if is_sqlite { sqlite } else { postgres }));
        let table = format!(
            "CREATE TABLE IF NOT EXISTS metrics ({}, UNIQUE (account_id, metric_date));
             CREATE INDEX IF NOT EXISTS metrics_by_artist ON metrics (artist_id, platform, metric_date)",
            columns.join(", ")
        );
        let table = sqlx::AssertSqlSafe(table);
        if is_sqlite {
            let options = SqliteConnectOptions::from_str(url)?
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal);
            let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
            pool.execute(sqlx::raw_sql(table)).await?;
            return Ok(Self::Sqlite(pool));
        }
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(url).await?;
        pool.execute(sqlx::raw_sql(table)).await?;
        Ok(Self::Postgres(pool))
    }

    /// Stores the rows of a batch with one statement.
    ///
    /// # Errors
    /// If the database refuses it.
    pub(crate) async fn upsert(&self, platform: &str, date: NaiveDate, rows: &[Row]) -> Result<()> {
        let noon = date.and_hms_opt(12, 0, 0).context("every date has a noon")?.and_utc();
        let common =
            Common { run_id: Uuid::nil(), observed_at: noon, since: noon - TimeDelta::days(28), absent: absent(rows) };
        match self {
            Self::Postgres(pool) => upsert_postgres(pool, platform, date, rows, &common).await,
            Self::Sqlite(pool) => upsert_sqlite(pool, platform, date, rows, &common).await,
        }
    }
}

/// The columns of numbers that the platform does not offer, as Backline's rows name them.
fn absent(rows: &[Row]) -> String {
    let has = |column: &str| {
        rows.first().is_some_and(|row| match column {
            "followers" => row.followers.is_some(),
            "following" => row.following.is_some(),
            "posts_count" => row.posts_count.is_some(),
            "total_views" => row.total_views.is_some(),
            "popularity" => row.popularity.is_some(),
            "genres" => row.genres.is_some(),
            _ => false,
        })
    };
    let names = COLUMNS[4..20].iter().map(|(name, ..)| *name).filter(|name| !has(name));
    let parts: Vec<String> = names.map(|name| format!("\"{name}\":\"not-offered\"")).collect();
    format!("{{{}}}", parts.join(","))
}

async fn upsert_postgres(pool: &PgPool, platform: &str, date: NaiveDate, rows: &[Row], common: &Common) -> Result<()> {
    let statement = format!(
        "INSERT INTO metrics ({WRITTEN})
         SELECT r.account_id, r.artist_id, r.followers, r.following, r.posts_count, r.total_views, r.popularity,
             r.genres::jsonb, r.extra::jsonb, r.document_id, $11, $12, $13::jsonb, $14, $15, $15, $16, $15, $15,
             $17, '{{}}', '{{}}', 'api', 1, '[]', '[]', '1.0.0'
         FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::float8[],
             $8::text[], $9::text[], $10::uuid[])
             AS r(account_id, artist_id, followers, following, posts_count, total_views, popularity, genres, extra,
                 document_id)
         ON CONFLICT (account_id, metric_date) DO UPDATE SET {REPLACED}"
    );
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(rows.iter().map(|row| row.account_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.artist_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.followers).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.following).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.posts_count).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.total_views).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.popularity).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.genres.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(Row::extra).collect::<Vec<_>>())
        .bind(rows.iter().map(|_| Uuid::new_v4()).collect::<Vec<_>>())
        .bind(platform)
        .bind(date)
        .bind(&common.absent)
        .bind(common.since)
        .bind(common.observed_at)
        .bind(common.run_id)
        .bind(DIGEST)
        .execute(pool)
        .await?;
    Ok(())
}

async fn upsert_sqlite(
    pool: &SqlitePool,
    platform: &str,
    date: NaiveDate,
    rows: &[Row],
    common: &Common,
) -> Result<()> {
    let mut statement = QueryBuilder::<Sqlite>::new(format!("INSERT INTO metrics ({WRITTEN}) "));
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    statement.push_values(rows, |mut tuple, row| {
        tuple
            .push_bind(row.account_id.to_string())
            .push_bind(row.artist_id.to_string())
            .push_bind(row.followers)
            .push_bind(row.following)
            .push_bind(row.posts_count)
            .push_bind(row.total_views)
            .push_bind(row.popularity)
            .push_bind(row.genres.clone())
            .push_bind(row.extra())
            .push_bind(Uuid::new_v4().to_string())
            .push_bind(platform.to_owned())
            .push_bind(date.to_string())
            .push_bind(common.absent.clone())
            .push_bind(time(common.since))
            .push_bind(time(common.observed_at))
            .push_bind(time(common.observed_at))
            .push_bind(common.run_id.to_string())
            .push_bind(time(common.observed_at))
            .push_bind(time(common.observed_at))
            .push_bind(DIGEST)
            .push("'{}', '{}', 'api', 1, '[]', '[]', '1.0.0'");
    });
    statement.push(format!(" ON CONFLICT (account_id, metric_date) DO UPDATE SET {REPLACED}"));
    statement.build().execute(pool).await?;
    Ok(())
}
