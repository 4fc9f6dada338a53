//! Archiving and deleting what is past its time, a bounded transaction at a time.
//!
//! Rows are taken in the order of their keys, each transaction going on where the last one ended. A row that is
//! locked is left for the next time. What is committed stays done; the next start finds the rest. On
//! PostgreSQL, months that are past their time as a whole are moved or dropped whole.

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde_json::json;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, DatabaseKind, json, time_text};
use crate::database::error::StoreError;
use crate::numbers::history;
use crate::scope::Scope;
use backline_model::AccountId;
use backline_model::retention::{Action, Before, Step, Table};

/// How far a step has come among the rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchivePlace(Option<(NaiveDate, String)>);

/// What one transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Rows that were moved or deleted.
    pub rows: u64,
    /// Where to go on; none where nothing is left.
    pub next: Option<ArchivePlace>,
}

/// Rows of a table that a step takes. Parameters: zones with their days (1), an upper bound of the dates (2), platform
/// (3), tenant (4), whose rows are excepted (5), an upper bound of the time of observation (6), whether authorised
/// accounts are left alone (7).
macro_rules! due {
    ($table:literal, $observed:literal) => {
        concat!(
            "FROM {rows} JOIN artists a ON a.timezone = r.value->>'zone' JOIN ",
            $table,
            " m ON m.artist_id = a.id AND m.metric_date < (r.value->>'before')::date
             WHERE m.metric_date < $2::date AND ($3::text IS NULL OR m.platform = $3) AND ($4::text IS NULL
                 OR a.tenant = $4)
                 AND NOT EXISTS (SELECT 1 FROM {excepted}
                     WHERE (x.value->>'platform' IS NULL OR x.value->>'platform' = m.platform)
                         AND (x.value->>'tenant' IS NULL OR x.value->>'tenant' = a.tenant))
                 AND ($6::timestamptz IS NULL OR m.",
            $observed,
            " < $6::timestamptz)
                 AND ($7::bigint = 0 OR NOT EXISTS (
                     SELECT 1 FROM credentials c WHERE c.account_id = m.account_id AND c.status = 'active'))"
        )
    };
}

/// The keys of the next rows that a step takes, after a place (8, 9), at most so many (10).
macro_rules! next_due {
    ($table:literal, $key:literal, $observed:literal) => {
        concat!(
            "SELECT m.",
            $key,
            "::text AS id, m.account_id::text AS account, m.metric_date::text AS date ",
            due!($table, $observed),
            " AND ($8::date IS NULL OR (m.metric_date, m.",
            $key,
            ") > ($8::date, $9::uuid)) ORDER BY m.metric_date, m.",
            $key,
            " LIMIT $10 FOR UPDATE OF m SKIP LOCKED"
        )
    };
}

macro_rules! count_due {
    ($table:literal, $observed:literal) => {
        concat!("SELECT COUNT(*) AS n ", due!($table, $observed))
    };
}

/// Every column of `metrics` and `metrics_archive`.
macro_rules! all_columns {
    () => {
        "account_id, artist_id, platform, metric_date, followers, following, posts_count, engagement_rate, \
         content_views, streams, monthly_listeners, video_views, total_views, likes, comments, shares, popularity, \
         recent_releases, top_track, genres, extra, absent, coverage, observed, engagement, window_since, \
         window_until, collection_source, data_quality_score, findings, notes, observed_at, release_digest, \
         wit_version, run_id, document_id, created_at, updated_at"
    };
}

/// A statement on the dates of accounts that are given as rows.
macro_rules! of_keys {
    ($before:literal) => {
        concat!(
            $before,
            " WHERE (account_id, metric_date) IN (SELECT (r.value->>'account')::uuid, (r.value->>'date')::date
                 FROM {rows})"
        )
    };
}

/// Rows that age by a time of their own: which statement counts its rows, and which deletes some of them.
struct Recorded {
    count: &'static str,
    delete: &'static str,
}

macro_rules! recorded {
    ($table:literal, $key:literal, $time:literal, $only:literal) => {
        Recorded {
            count: concat!("SELECT COUNT(*) AS n FROM ", $table, " o WHERE o.", $time, " < $1::timestamptz ", $only),
            delete: concat!(
                "DELETE FROM ",
                $table,
                " WHERE (",
                $key,
                ") IN (SELECT ",
                $key,
                " FROM ",
                $table,
                " o WHERE o.",
                $time,
                " < $1::timestamptz ",
                $only,
                " ORDER BY o.",
                $time,
                " LIMIT $2 FOR UPDATE SKIP LOCKED)"
            ),
        }
    };
}

fn recorded(table: Table) -> Option<Recorded> {
    Some(match table {
        Table::Events => recorded!(
            "events",
            "seq",
            "occurred_at",
            "AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.enabled AND w.seen < o.seq)
             AND NOT EXISTS (SELECT 1 FROM deliveries d
                 WHERE d.event_seq = o.seq AND (d.state = 'waiting' OR d.finished_at >= $1::timestamptz))"
        ),
        Table::CollectionOutcomes => recorded!("collection_outcomes", "run_id, account_id", "at", ""),
        Table::PluginLogs => recorded!("plugin_logs", "seq", "at", ""),
        // A run's batches go together with it, but a few at a time.
        Table::Batches => recorded!(
            "batches",
            "id",
            "finished_at",
            "AND EXISTS (SELECT 1 FROM runs u WHERE u.id = o.run_id AND u.finished_at < $1::timestamptz)"
        ),
        Table::Runs => recorded!(
            "runs",
            "id",
            "finished_at",
            "AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.run_id = o.id)
             AND NOT EXISTS (SELECT 1 FROM plugin_logs l WHERE l.run_id = o.id)"
        ),
        Table::ReleaseBatches => recorded!("release_batches", "seq", "at", ""),
        Table::ScheduleFires => {
            recorded!("schedule_fires", "schedule, fire_time", "decided_at", "AND o.decision <> 'queued'")
        }
        Table::Metrics | Table::MetricsArchive | Table::Growth | Table::Documents | Table::Quarantine => return None,
    })
}

/// Rows that hang on a batch: batches are deleted in pages smaller by this factor.
const ROWS_PER_BATCH: u32 = 50;

impl Store {
    /// The artists' time zones, each once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artist_zones_list(&self, scope: &Scope) -> Result<Vec<String>, StoreError> {
        let statement = self
            .scoped(scope, "SELECT DISTINCT timezone FROM artists WHERE TRUE {and_tenant: tenant} ORDER BY timezone");
        self.rows("read the time zones", statement).await?.iter().map(|row| row.text("timezone")).collect()
    }

    /// How many rows a step takes now. `zones` are the artists' time zones; `now` is the plan's time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_due_count(
        &self,
        scope: &Scope,
        step: &Step,
        zones: &[String],
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        scope.require_all("count what is past its time")?;
        if let Some(Recorded { count, .. }) = recorded(step.table) {
            let statement = self.query(count).bind(time_of(step, now));
            return self.row("count what is past its time", statement).await?.map_or(Ok(0), |row| row.count("n"));
        }
        let statement = self.query(match step.table {
            Table::MetricsArchive => count_due!("metrics_archive", "observed_at"),
            Table::Growth => count_due!("growth", "updated_at"),
            Table::Documents => count_due!("documents", "observed_at"),
            Table::Quarantine => count_due!("quarantine", "created_at"),
            _ => count_due!("metrics", "observed_at"),
        });
        let statement = bind_step(statement, step, zones, now)?;
        self.row("count what is past its time", statement).await?.map_or(Ok(0), |row| row.count("n"))
    }

    /// Does a part of a step, in one transaction: at most `limit` rows, from a place on.
    ///
    /// # Errors
    /// When the database fails; nothing is done then.
    pub async fn archive_due_put_away(
        &self,
        scope: &Scope,
        step: &Step,
        zones: &[String],
        from: &ArchivePlace,
        limit: u32,
        now: DateTime<Utc>,
    ) -> Result<Taken, StoreError> {
        scope.require_all("archive what is past its time")?;
        if let Some(Recorded { delete, .. }) = recorded(step.table) {
            let limit = if step.table == Table::Batches { (limit / ROWS_PER_BATCH).max(1) } else { limit };
            let statement = self.query(delete).bind(time_of(step, now)).bind(i64::from(limit));
            let rows = self.write("delete what is past its time", statement).await?;
            // Deleting begins at the oldest row each time, so there is no place to remember.
            return Ok(Taken { rows, next: (rows >= u64::from(limit)).then(ArchivePlace::default) });
        }
        let mut work = self.begin().await?;
        let statement = work.query(match step.table {
            Table::MetricsArchive => next_due!("metrics_archive", "account_id", "observed_at"),
            Table::Growth => next_due!("growth", "account_id", "updated_at"),
            Table::Documents => next_due!("documents", "id", "observed_at"),
            Table::Quarantine => next_due!("quarantine", "id", "created_at"),
            _ => next_due!("metrics", "account_id", "observed_at"),
        });
        let place = from.0.as_ref();
        let statement = bind_step(statement, step, zones, now)?
            .bind(place.map(|(date, _)| date.to_string()))
            .bind(place.map(|(_, id)| id.clone()))
            .bind(i64::from(limit));
        let mut keys = Vec::new();
        for row in work.rows("find what is past its time", statement).await? {
            keys.push((row.date("date")?, row.text("id")?, row.parsed::<AccountId>("account")?));
        }
        let Some((date, id, _)) = keys.last().cloned() else { return Ok(Taken { rows: 0, next: None }) };
        let encoded: Vec<_> =
            keys.iter().map(|(date, id, account)| json!({ "date": date, "id": id, "account": account })).collect();
        let encoded = json("keys", &encoded)?;
        match (step.table, step.action) {
            (Table::Metrics, Action::Archive) => archive(&mut work, &encoded).await?,
            (Table::Metrics, Action::Delete) => delete_metrics(&mut work, &encoded, &keys, false).await?,
            (Table::MetricsArchive, _) => delete_metrics(&mut work, &encoded, &keys, true).await?,
            (table, _) => delete_others(&mut work, table, &encoded).await?,
        }
        work.commit().await?;
        let rows = keys.len() as u64;
        Ok(Taken { rows, next: (rows >= u64::from(limit)).then_some(ArchivePlace(Some((date, id)))) })
    }

    /// Months of a step's table that are past their time as a whole, the oldest first. None on SQLite, and none where
    /// that depends on whose rows they are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_months_list(&self, step: &Step) -> Result<Vec<NaiveDate>, StoreError> {
        let Some(before) = step.everywhere_before else { return Ok(Vec::new()) };
        self.months_before(step.table, before).await
    }

    /// Months of a table that end on or before a day.
    async fn months_before(&self, table: Table, day: NaiveDate) -> Result<Vec<NaiveDate>, StoreError> {
        let is_cut = matches!(table, Table::Metrics | Table::MetricsArchive | Table::Growth | Table::Documents);
        if self.kind() == DatabaseKind::Sqlite || !is_cut {
            return Ok(Vec::new());
        }
        let statement = self.query(
            "SELECT month::text AS month FROM backline.months_before(to_regclass($1), $2::date) AS month ORDER BY 1",
        );
        let statement = statement.bind(table.as_str()).bind(day.to_string());
        self.rows("list months", statement).await?.iter().map(|row| row.date("month")).collect()
    }

    /// Does a step for a whole month at once: returns how many rows that were, or none where they have to be taken one
    /// by one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_month_put_away(
        &self,
        scope: &Scope,
        step: &Step,
        month: NaiveDate,
    ) -> Result<Option<u64>, StoreError> {
        scope.require_all("archive whole months")?;
        let statement = match (step.table, step.action) {
            (Table::Metrics, Action::Archive) => {
                self.query("SELECT backline.archive_month($1::date) AS n").bind(month.to_string())
            }
            // Their growth goes with them, and what was last accepted is to be forgotten.
            (Table::Metrics | Table::MetricsArchive, Action::Delete) => return Ok(None),
            (table, _) => self
                .query("SELECT backline.drop_month(to_regclass($2), $1::date, FALSE) AS n")
                .bind(month.to_string())
                .bind(table.as_str()),
        };
        let row = self.write_returning("archive a month", statement).await?;
        Ok(row.map(|row| row.int_or_null("n")).transpose()?.flatten().and_then(|rows| u64::try_from(rows).ok()))
    }

    /// Drops empty months that end on or before a day. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn months_drop_empty(&self, table: Table, day: NaiveDate) -> Result<u64, StoreError> {
        let mut dropped = 0;
        for month in self.months_before(table, day).await? {
            let statement = self.query("SELECT backline.drop_month(to_regclass($1), $2::date, TRUE) AS n");
            let statement = statement.bind(table.as_str()).bind(month.to_string());
            let row = self.write_returning("drop an empty month", statement).await?;
            dropped += u64::from(row.map(|row| row.int_or_null("n")).transpose()?.flatten().is_some());
        }
        Ok(dropped)
    }

    /// Makes sure that the archive has room for what a step moves. Outside of the transactions that move, since it
    /// keeps others from changing accounts while it lasts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_prepare(&self, step: &Step) -> Result<(), StoreError> {
        let Before::Dates(days) = &step.before else { return Ok(()) };
        let Some(before) = days.iter().map(|day| day.before).max() else { return Ok(()) };
        // The month in which that day lies begins before it.
        let until = before.checked_add_days(Days::new(31)).unwrap_or(before);
        for month in self.months_before(Table::Metrics, until).await? {
            let statement =
                self.query("SELECT 1 AS one FROM backline.ensure_month(to_regclass('metrics_archive'), $1::date)");
            self.write_returning("make a month's partition in the archive", statement.bind(month.to_string())).await?;
        }
        Ok(())
    }
}

/// The time up to which a step takes rows that age by a time of their own.
fn time_of(step: &Step, now: DateTime<Utc>) -> String {
    let time = match &step.before {
        Before::Time(time) => *time,
        Before::Dates(_) => now,
    };
    time_text(time.min(now))
}

/// Binds the first seven parameters of [`due`].
fn bind_step(
    statement: crate::database::statement::Statement,
    step: &Step,
    zones: &[String],
    now: DateTime<Utc>,
) -> Result<crate::database::statement::Statement, StoreError> {
    // Whatever is dated further ahead than anywhere on Earth is not touched.
    let tomorrow = now.date_naive().checked_add_days(Days::new(2)).unwrap_or(NaiveDate::MAX);
    let (days, time): (Vec<_>, _) = match &step.before {
        Before::Dates(days) => {
            let of_day = |day: &backline_model::retention::LocalDay| {
                let before = day.before.min(day.today);
                day.zones.iter().map(|zone| json!({ "zone": zone, "before": before })).collect::<Vec<_>>()
            };
            (days.iter().flat_map(of_day).collect(), None)
        }
        Before::Time(time) => {
            (zones.iter().map(|zone| json!({ "zone": zone, "before": tomorrow })).collect(), Some(time_text(*time)))
        }
    };
    let bound = match &step.before {
        Before::Dates(days) => days.iter().map(|day| day.before.min(day.today)).max().unwrap_or(tomorrow),
        Before::Time(_) => tomorrow,
    };
    Ok(statement
        .bind(json("zones", &days)?)
        .bind(bound.to_string())
        .bind(step.scope.platform.as_ref().map(|platform| platform.as_str().to_owned()))
        .bind(step.scope.tenant.as_ref().map(ToString::to_string))
        .bind(json("exceptions", &step.except)?)
        .bind(time)
        .bind(i64::from(step.unless_authorised)))
}

/// Moves rows. Where the archive has a row of the same date, as after a late collection, the one that was observed
/// later stays.
async fn archive(work: &mut Work, keys: &str) -> Result<(), StoreError> {
    let older = work.query(
        "DELETE FROM metrics_archive
         WHERE (account_id, metric_date) IN (SELECT m.account_id, m.metric_date
             FROM {rows} JOIN metrics m ON m.account_id = (r.value->>'account')::uuid
                 AND m.metric_date = (r.value->>'date')::date
             JOIN metrics_archive o ON o.account_id = m.account_id AND o.metric_date = m.metric_date
             AND o.observed_at <= m.observed_at)",
    );
    work.execute("remove older archived rows", older.bind(keys.to_owned())).await?;
    let insert = work.query(concat!(
        "INSERT INTO metrics_archive (",
        all_columns!(),
        ") SELECT ",
        all_columns!(),
        of_keys!(" FROM metrics"),
        " ON CONFLICT (account_id, metric_date) DO NOTHING"
    ));
    work.execute("archive metrics", insert.bind(keys.to_owned())).await?;
    let delete = work.query(of_keys!("DELETE FROM metrics"));
    work.execute("delete archived metrics", delete.bind(keys.to_owned())).await?;
    Ok(())
}

/// Deletes rows with their growth, and forgets that their values were the last that were accepted.
async fn delete_metrics(
    work: &mut Work,
    encoded: &str,
    keys: &[(NaiveDate, String, AccountId)],
    archived: bool,
) -> Result<(), StoreError> {
    let delete = if archived { of_keys!("DELETE FROM metrics_archive") } else { of_keys!("DELETE FROM metrics") };
    let delete = work.query(delete).bind(encoded.to_owned());
    work.execute("delete metrics", delete).await?;
    let growth = work.query(of_keys!("DELETE FROM growth")).bind(encoded.to_owned());
    work.execute("delete growth", growth).await?;
    history::last_accepted_forget_in_txn(work, keys.iter().map(|(date, _, account)| (*account, *date))).await
}

async fn delete_others(work: &mut Work, table: Table, keys: &str) -> Result<(), StoreError> {
    let delete = match (table, work.kind) {
        (Table::Growth, _) => of_keys!("DELETE FROM growth"),
        (Table::Quarantine, _) => "DELETE FROM quarantine WHERE id IN (SELECT (r.value->>'id')::uuid FROM {rows})",
        (_, DatabaseKind::Sqlite) => "DELETE FROM documents WHERE id IN (SELECT (r.value->>'id')::uuid FROM {rows})",
        // The date leads to the month.
        (_, DatabaseKind::Postgres) => {
            "DELETE FROM documents WHERE (id, metric_date) IN (SELECT (r.value->>'id')::uuid, (r.value->>'date')::date
                 FROM {rows})"
        }
    };
    let delete = work.query(delete).bind(keys.to_owned());
    work.execute("delete what is past its time", delete).await?;
    Ok(())
}
