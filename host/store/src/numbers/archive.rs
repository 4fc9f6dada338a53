//! Archiving and deleting what is past its time, a bounded transaction at a time.
//!
//! Rows are taken a month at a time (PostgreSQL) or a day at a time (SQLite), within it in the order of an index, each
//! transaction going on where the last one ended: no transaction reads or sorts more than it takes. A row that is
//! locked is left for the next time. What is committed stays done; the next start finds the rest. On
//! PostgreSQL, months that are past their time as a whole are moved or dropped whole.

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, Utc};
use serde_json::json;

use crate::artists::tombstones::erasures_hold_off_in_txn;
use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, DatabaseKind, json, time_text};
use crate::database::error::StoreError;
use crate::database::old_rows::delete_selected;
use crate::database::readable::Extent;
use crate::database::statement::Statement;
use crate::events::gone::OLD_EVENTS_COUNT;
use crate::events::row_data::row_data_keep_in_txn;
use crate::numbers::history;
use crate::scope::Scope;
use backline_model::AccountId;
use backline_model::clock::Past;
use backline_model::kill_points::{Point, point};
use backline_model::retention::{Action, Before, LocalDay, RetainedTable, RetentionStep};

/// How far a step has come among the rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchivePlace(Option<Place>);

/// A span of dates, and the last row of it that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    dates: Dates,
    /// On PostgreSQL the row's key and date; on SQLite its row id, and the date again.
    after: Option<(String, NaiveDate)>,
}

/// Dates whose rows are taken together, the end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dates {
    since: NaiveDate,
    until: NaiveDate,
}

/// A row that is past its time.
struct Due {
    /// The row's key, or the account where that and the date are the key.
    id: String,
    account: AccountId,
    date: NaiveDate,
    /// Its place among the others of its span of dates.
    place: String,
}

/// What was done of a step at once.
#[derive(Debug, Default)]
pub struct ArchivedPart {
    /// Rows that were moved or deleted.
    pub rows: u64,
    /// Where to go on; none where nothing is left.
    pub next: Option<ArchivePlace>,
    /// That the database refused the one row that was to be put away: [`StoreError::Kept`]. It stays.
    pub refused: Option<StoreError>,
}

impl ArchivedPart {
    /// Of rows of which the oldest come first each time, so that there is no place to remember.
    fn of_oldest(rows: u64, limit: u32) -> Self {
        let next = (rows >= u64::from(limit)).then(ArchivePlace::default);
        Self { rows, next, refused: None }
    }
}

/// The first day of a table of SQLite after another (1). What another program wrote need not be a text, or is one that
/// is not UTF-8, which could not be read.
macro_rules! day_after {
    ($table:literal) => {
        concat!(
            "SELECT MIN(metric_date) AS day FROM ",
            $table,
            " WHERE metric_date > $1 AND typeof(metric_date) = 'text' \
             AND metric_date GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'",
        )
    };
}

/// Rows of a table that a step takes. Parameters: zones with their days (1), an upper bound of the dates (2), platform
/// (3), tenant (4), whose rows are excepted (5), an upper bound of the time of observation (6), whether authorised
/// accounts are left alone (7), a date before which every row is past its age whatever its zone (8). `$only` restricts
/// the rows further.
macro_rules! due {
    ($table:literal, $observed:literal, $only:literal) => {
        concat!(
            "FROM ",
            $table,
            " m JOIN artists a ON a.id = m.artist_id
             WHERE m.metric_date < $2::date AND (m.metric_date < $8::date OR EXISTS (SELECT 1 FROM {rows}
                     WHERE r.value->>'zone' = a.timezone AND m.metric_date < (r.value->>'before')::date))
                 AND ($3::text IS NULL OR m.platform = $3) AND ($4::text IS NULL OR a.tenant = $4)
                 AND NOT EXISTS (SELECT 1 FROM {excepted}
                     WHERE (x.value->>'platform' IS NULL OR x.value->>'platform' = m.platform)
                         AND (x.value->>'tenant' IS NULL OR x.value->>'tenant' = a.tenant))
                 AND ($6::timestamptz IS NULL OR m.",
            $observed,
            " < $6::timestamptz)
                 AND ($7::bigint = 0 OR NOT EXISTS (
                     SELECT 1 FROM credentials c WHERE c.account_id = m.account_id AND c.status = 'active')) ",
            $only
        )
    };
}

/// The next rows that a step takes, on PostgreSQL and on SQLite: of a span of dates (9, 10), after a place (11, 12), at
/// most so many (13). On SQLite the span is a day (9), the place a row id (10), then the number (11).
macro_rules! next_due {
    ($table:literal, $key:literal, $observed:literal) => {
        next_due!($table, $key, $observed, "")
    };
    ($table:literal, $key:literal, $observed:literal, $only:literal) => {
        (
            concat!(
                "SELECT m.",
                $key,
                "::text AS id, m.",
                $key,
                "::text AS place, m.account_id::text AS account, m.metric_date::text AS date ",
                due!($table, $observed, $only),
                " AND m.metric_date >= $9::date AND m.metric_date < $10::date AND (m.",
                $key,
                ", m.metric_date) > ($11::uuid, $12::date) ORDER BY m.",
                $key,
                ", m.metric_date LIMIT $13 FOR UPDATE OF m SKIP LOCKED"
            ),
            concat!(
                "SELECT m.",
                $key,
                " AS id, CAST(m.rowid AS TEXT) AS place, m.account_id AS account, m.metric_date AS date ",
                due!($table, $observed, $only),
                " AND m.metric_date = $9 AND m.rowid > CAST($10 AS INTEGER) ORDER BY m.rowid LIMIT $11"
            ),
        )
    };
}

macro_rules! count_due {
    ($table:literal, $observed:literal) => {
        count_due!($table, $observed, "")
    };
    ($table:literal, $observed:literal, $only:literal) => {
        concat!("SELECT COUNT(*) AS n ", due!($table, $observed, $only))
    };
}

/// Every column of `metrics` and `metrics_archive`.
macro_rules! all_columns {
    () => {
        "account_id, artist_id, platform, metric_date, followers, following, posts_count, engagement_rate, \
         content_views, streams, monthly_listeners, video_views, total_views, likes, comments, shares, popularity, \
         recent_releases, top_track, genres, extra, absent, coverage, observed, engagement, window_since, \
         window_until, collection_source, data_quality_score, findings, notes, observed_at, release_digest, \
         wit_version, run_id, document_id, created_at, updated_at, growth"
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
            delete: delete_selected!(
                $table,
                $key,
                "o WHERE o.",
                $time,
                " < $1::timestamptz ",
                $only,
                " ORDER BY o.",
                $time,
                " LIMIT $2 FOR UPDATE SKIP LOCKED"
            ),
        }
    };
}

fn recorded(table: RetainedTable) -> Option<Recorded> {
    Some(match table {
        RetainedTable::CollectionOutcomes => Recorded {
            count: "SELECT COUNT(*) AS n FROM outcomes_all o WHERE o.at < $1::timestamptz",
            ..recorded!("collection_outcomes", "run_id, account_id", "at", "")
        },
        RetainedTable::PluginLogs => recorded!("plugin_logs", "seq", "at", ""),
        // A run's batches go together with it, but a few at a time.
        RetainedTable::Batches => recorded!(
            "batches",
            "id",
            "finished_at",
            "AND EXISTS (SELECT 1 FROM runs u WHERE u.id = o.run_id AND u.finished_at < $1::timestamptz)"
        ),
        RetainedTable::Runs => recorded!(
            "runs",
            "id",
            "finished_at",
            "AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.run_id = o.id)
             AND NOT EXISTS (SELECT 1 FROM plugin_logs l WHERE l.run_id = o.id)"
        ),
        RetainedTable::ReleaseBatches => recorded!("release_batches", "seq", "at", ""),
        RetainedTable::ScheduleFires => {
            recorded!("schedule_fires", "schedule, fire_time", "decided_at", "AND o.decision <> 'queued'")
        }
        RetainedTable::Metrics
        | RetainedTable::MetricsArchive
        | RetainedTable::Growth
        | RetainedTable::GrowthArchive
        | RetainedTable::Documents
        | RetainedTable::Quarantine
        | RetainedTable::Events => return None,
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
        let rows = self.rows("read the time zones", statement).await?;
        // What is not UTF-8 is no zone: `unreadable_artists_list` names its artists.
        Ok(rows.iter().filter_map(|row| row.text("timezone").ok()).collect())
    }

    /// How many rows a step takes now. `zones` are the artists' time zones; `now` is the plan's time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_due_count(
        &self,
        scope: &Scope,
        step: &RetentionStep,
        zones: &[String],
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        scope.require_all("count what is past its time")?;
        let count = match step.table {
            RetainedTable::Events => Some(OLD_EVENTS_COUNT),
            table => recorded(table).map(|recorded| recorded.count),
        };
        if let Some(count) = count {
            let statement = self.query(count).bind(time_of(step, now));
            return self.row("count what is past its time", statement).await?.map_or(Ok(0), |row| row.count("n"));
        }
        let mut view = self.report_view().await?;
        let statement = view.query(match step.table {
            RetainedTable::MetricsArchive => count_due!("metrics_archive", "observed_at"),
            RetainedTable::Growth => count_due!("metrics", "updated_at", "AND m.growth IS NOT NULL"),
            RetainedTable::GrowthArchive => count_due!("metrics_archive", "updated_at", "AND m.growth IS NOT NULL"),
            RetainedTable::Documents => count_due!("documents", "observed_at"),
            RetainedTable::Quarantine => count_due!("quarantine", "created_at"),
            _ => count_due!("metrics", "observed_at"),
        });
        let statement = bind_step(statement, step, zones, now, self.kind())?;
        view.row("count what is past its time", statement).await?.map_or(Ok(0), |row| row.count("n"))
    }

    /// Does a part of a step, in one transaction: at most `limit` rows, from a place on. `now` is the plan's time.
    /// Where the database refuses that, such as by a trigger of another program, fewer rows are put away, down to the
    /// one that is refused. Rows that are deleted by a time of their own have no place from which to go on behind it.
    ///
    /// # Errors
    /// When the database fails; nothing is done then.
    pub async fn archive_due_put_away(
        &self,
        scope: &Scope,
        step: &RetentionStep,
        zones: &[String],
        from: &ArchivePlace,
        limit: u32,
        now: Past,
    ) -> Result<ArchivedPart, StoreError> {
        scope.require_all("archive what is past its time")?;
        let now = now.at();
        if step.table == RetainedTable::Events {
            let rows = self.old_events_delete(&time_of(step, now), limit).await?;
            return Ok(ArchivedPart::of_oldest(rows, limit));
        }
        if let Some(Recorded { delete, .. }) = recorded(step.table) {
            let batches = (limit / ROWS_PER_BATCH).max(1);
            if let Some(rows) = self.batches_outcomes_take(step.table, &time_of(step, now), batches).await? {
                return Ok(ArchivedPart { rows, next: Some(ArchivePlace::default()), refused: None });
            }
            let limit = if step.table == RetainedTable::Batches { batches } else { limit };
            let statement = self.query(delete).bind(time_of(step, now)).bind(i64::from(limit));
            let mut work = self.begin().await?.proven(self).await?;
            // What hangs on these rows an erasure removes in another order.
            erasures_hold_off_in_txn(&mut work).await?;
            let rows = work.execute("delete what is past its time", statement.long()).await?;
            work.commit().await?;
            point(Point::ArchiveRecordsDeleted);
            return Ok(ArchivedPart::of_oldest(rows, limit));
        }
        let bound = bound(step, now, self.kind());
        let place = match &from.0 {
            Some(place) => place.clone(),
            None => match self.archive_dates_after(step.table, None, bound).await? {
                Some(dates) => Place { dates, after: None },
                None => return Ok(ArchivedPart::default()),
            },
        };
        let mut work = self.begin().await?.proven(self).await?;
        erasures_hold_off_in_txn(&mut work).await?;
        work.long();
        let (mut due, mut last) = next_due(&mut work, step, zones, &place, limit, now).await?;
        let mut refused = None;
        while !due.is_empty() && refused.is_none() {
            work.begin_part().await?;
            let Err(source) = put_away(&mut work, step, &due).await else { break };
            if source.is_outage() {
                return Err(source);
            }
            // The rows stay locked: a transaction of its own for fewer of them would have to wait for this one.
            work.undo_part().await?;
            match due.as_slice() {
                [one] => refused = Some(kept(step, one, source)),
                several => {
                    let half = several.len() / 2;
                    due.truncate(half);
                }
            }
            last = due.last().filter(|_| refused.is_none()).map(|row| (row.place.clone(), row.date)).or(last);
        }
        if refused.is_some() {
            due.clear();
        }
        if !due.is_empty() {
            point(Point::ArchiveRowsTaken);
        }
        work.commit().await?;
        if !due.is_empty() {
            point(Point::ArchiveRowsCommitted);
        }
        let rows = due.len() as u64;
        let next = match last {
            Some(last) => Some(Place { after: Some(last), ..place }),
            None => self
                .archive_dates_after(step.table, Some(place.dates), bound)
                .await?
                .map(|dates| Place { dates, after: None }),
        };
        Ok(ArchivedPart { rows, next: next.map(|next| ArchivePlace(Some(next))), refused })
    }

    /// The next dates before a bound of which a table may have rows: a month of a table that is cut into months, a day
    /// on SQLite, and all dates of a table that is neither.
    async fn archive_dates_after(
        &self,
        table: RetainedTable,
        done: Option<Dates>,
        bound: NaiveDate,
    ) -> Result<Option<Dates>, StoreError> {
        if self.kind() == DatabaseKind::Sqlite {
            return self.archive_day_after(table, done, bound).await;
        }
        if !is_cut(table) {
            let all = Dates { since: Self::FIRST_DATE, until: bound };
            return Ok(done.is_none().then_some(all));
        }
        // The month in which the bound lies begins before it.
        let end = bound.checked_add_days(Days::new(31)).unwrap_or(bound);
        let months = self.months_before(table, end).await?;
        let next = months.into_iter().find(|month| *month < bound && done.is_none_or(|dates| *month >= dates.until));
        Ok(next.map(|since| Dates { since, until: since.checked_add_months(Months::new(1)).unwrap_or(bound) }))
    }

    /// The next day before a bound of which a table of SQLite may have rows.
    async fn archive_day_after(
        &self,
        table: RetainedTable,
        done: Option<Dates>,
        bound: NaiveDate,
    ) -> Result<Option<Dates>, StoreError> {
        let next = match table {
            RetainedTable::MetricsArchive | RetainedTable::GrowthArchive => day_after!("metrics_archive"),
            RetainedTable::Documents => day_after!("documents"),
            RetainedTable::Quarantine => day_after!("quarantine"),
            _ => day_after!("metrics"),
        };
        let from = done.map_or(Self::FIRST_DATE, |dates| dates.until).max(Self::FIRST_DATE);
        let mut after = from.pred_opt().unwrap_or(from).to_string();
        loop {
            let row = self.row("find a day", self.query(next).bind(after)).await?;
            let Some(found) = row.map(|row| row.text_or_null("day")).transpose()?.flatten() else { return Ok(None) };
            match found.parse::<NaiveDate>() {
                Ok(day) if day.to_string() == found => {
                    let until = day.succ_opt().unwrap_or(NaiveDate::MAX);
                    return Ok((day < bound).then_some(Dates { since: day, until }));
                }
                // No day of a calendar, such as 2026-02-30: its rows have no age, and keep no others.
                _ => after = found,
            }
        }
    }

    /// Earlier than any date that is stored.
    const FIRST_DATE: NaiveDate = NaiveDate::from_ymd_opt(1, 1, 1).expect("a date");

    /// Months of a step's table that are past their time as a whole, the oldest first. None on SQLite, and none where
    /// that depends on whose rows they are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_months_list(&self, step: &RetentionStep) -> Result<Vec<NaiveDate>, StoreError> {
        let Some(before) = step.everywhere_before else { return Ok(Vec::new()) };
        self.months_before(step.table, before).await
    }

    /// Months of a table that end on or before a day.
    async fn months_before(&self, table: RetainedTable, day: NaiveDate) -> Result<Vec<NaiveDate>, StoreError> {
        if self.kind() == DatabaseKind::Sqlite || !is_cut(table) {
            return Ok(Vec::new());
        }
        let statement = self.query(
            "SELECT month::text AS month FROM backline.months_before(to_regclass($1), $2::date) AS month ORDER BY 1",
        );
        let statement = statement.bind(cut_table(table)).bind(day.to_string());
        self.rows("list months", statement).await?.iter().map(|row| row.date("month")).collect()
    }

    /// Does a step for a whole month at once: returns how many rows that were, or none where they have to be taken one
    /// by one. `now` is the plan's time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_month_put_away(
        &self,
        scope: &Scope,
        step: &RetentionStep,
        month: NaiveDate,
        now: Past,
    ) -> Result<Option<u64>, StoreError> {
        scope.require_all("archive whole months")?;
        if month >= now.at().date_naive() {
            return Ok(None);
        }
        let statement = match (step.table, step.action) {
            (RetainedTable::Metrics, Action::Archive) => {
                // Each in a transaction of its own: none holds a lock that keeps readers out while it reads rows.
                let state = "SELECT backline.archive_month_state($1::date)::int AS ready";
                let check = "SELECT backline.archive_month_check($1::date)::int AS ready";
                for (what, statement, done) in [
                    ("state a month's dates", state, Point::ArchiveMonthStated),
                    ("check a month's dates", check, Point::ArchiveMonthChecked),
                ] {
                    let row = self.write_returning(what, self.query(statement).bind(month.to_string()).long()).await?;
                    if !row.map_or(Ok(false), |row| row.truth("ready"))? {
                        return Ok(None);
                    }
                    point(done);
                }
                self.query("SELECT backline.archive_month($1::date) AS n").bind(month.to_string())
            }
            // What was last accepted is to be forgotten, and events keep their data.
            (RetainedTable::Metrics | RetainedTable::MetricsArchive, Action::Delete) => return Ok(None),
            (RetainedTable::Growth | RetainedTable::GrowthArchive, _) => return Ok(None),
            (table, _) => self
                .query("SELECT backline.drop_month(to_regclass($2), $1::date, FALSE) AS n")
                .bind(month.to_string())
                .bind(table.as_str()),
        };
        let mut work = self.begin().await?.proven(self).await?;
        let row = work.row("archive a month", statement.long()).await?;
        work.commit().await?;
        self.months.forget();
        point(Point::ArchiveMonthPutAway);
        Ok(row.map(|row| row.int_or_null("n")).transpose()?.flatten().and_then(|rows| u64::try_from(rows).ok()))
    }

    /// Drops empty months that end on or before a day. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn months_drop_empty(&self, table: RetainedTable, day: NaiveDate) -> Result<u64, StoreError> {
        let mut dropped = 0;
        for month in self.months_before(table, day).await? {
            let statement = self.query("SELECT backline.drop_month(to_regclass($1), $2::date, TRUE) AS n");
            let statement = statement.bind(table.as_str()).bind(month.to_string());
            let row = self.write_returning("drop an empty month", statement.long()).await?;
            self.months.forget();
            dropped += u64::from(row.map(|row| row.int_or_null("n")).transpose()?.flatten().is_some());
        }
        Ok(dropped)
    }

    /// Makes sure that the archive has room for what a step moves. Outside of the transactions that move, since it
    /// keeps others from changing accounts while it lasts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_prepare(&self, step: &RetentionStep) -> Result<(), StoreError> {
        if matches!(step.before, Before::Time(_)) {
            return Ok(());
        }
        let bound = bound(step, DateTime::<Utc>::MAX_UTC, self.kind());
        // The month in which the bound lies begins before it.
        let until = if bound.day() == 1 { bound } else { bound.checked_add_days(Days::new(31)).unwrap_or(bound) };
        for month in self.months_before(RetainedTable::Metrics, until).await? {
            let statement =
                self.query("SELECT 1 AS one FROM backline.ensure_month(to_regclass('metrics_archive'), $1::date)");
            self.write_returning("make a month's partition in the archive", statement.bind(month.to_string())).await?;
        }
        Ok(())
    }
}

/// The time up to which a step takes rows that age by a time of their own.
fn time_of(step: &RetentionStep, now: DateTime<Utc>) -> String {
    let time = match &step.before {
        Before::Time(time) => *time,
        Before::Dates(_) => now,
    };
    time_text(time.min(now))
}

/// Whether a table has a partition for each month on PostgreSQL.
fn is_cut(table: RetainedTable) -> bool {
    matches!(
        table,
        RetainedTable::Metrics
            | RetainedTable::MetricsArchive
            | RetainedTable::Growth
            | RetainedTable::GrowthArchive
            | RetainedTable::Documents
    )
}

/// The name of the table that has the months of what is put away.
fn cut_table(table: RetainedTable) -> &'static str {
    match table {
        RetainedTable::Growth => RetainedTable::Metrics.as_str(),
        RetainedTable::GrowthArchive => RetainedTable::MetricsArchive.as_str(),
        table => table.as_str(),
    }
}

/// Whatever is dated further ahead than anywhere on Earth is not touched.
fn tomorrow(now: DateTime<Utc>) -> NaiveDate {
    now.date_naive().checked_add_days(Days::new(2)).unwrap_or(NaiveDate::MAX)
}

/// An upper bound of the dates that a step takes, itself excluded. Of what moves to the archive whatever artist it is
/// of, PostgreSQL moves whole months only: the month of the bound moves as a table once it is over.
fn bound(step: &RetentionStep, now: DateTime<Utc>, kind: DatabaseKind) -> NaiveDate {
    let bound = match &step.before {
        Before::Dates(days) => days.iter().map(|day| day.before.min(day.today)).max().unwrap_or_else(|| tomorrow(now)),
        Before::Time(_) => tomorrow(now),
    };
    match step.everywhere_before {
        Some(everywhere) if kind == DatabaseKind::Postgres && step.action == Action::Archive => {
            bound.min(everywhere.with_day(1).unwrap_or(everywhere))
        }
        _ => bound,
    }
}

/// Binds the first eight parameters of [`due`].
fn bind_step(
    statement: Statement,
    step: &RetentionStep,
    zones: &[String],
    now: DateTime<Utc>,
    kind: DatabaseKind,
) -> Result<Statement, StoreError> {
    let (days, time, sure): (Vec<_>, _, _) = match &step.before {
        Before::Dates(days) => {
            let of_day = |day: &LocalDay| {
                let before = day.before.min(day.today);
                day.zones.iter().map(|zone| json!({ "zone": zone, "before": before })).collect::<Vec<_>>()
            };
            // A week earlier than the earliest of these zones, a row is past its age in any other zone too: dates on
            // Earth differ by two days at most, and clamped months by three more.
            let first = days.iter().map(|day| day.before.min(day.today)).min();
            let sure = first.and_then(|first| first.checked_sub_days(Days::new(7))).unwrap_or(Store::FIRST_DATE);
            (days.iter().flat_map(of_day).collect(), None, sure)
        }
        Before::Time(time) => {
            let tomorrow = tomorrow(now);
            let of_zone = |zone: &String| json!({ "zone": zone, "before": tomorrow });
            (zones.iter().map(of_zone).collect(), Some(time_text(*time)), tomorrow)
        }
    };
    Ok(statement
        .bind(json("zones", &days)?)
        .bind(bound(step, now, kind).to_string())
        .bind(step.scope.platform.as_ref().map(|platform| platform.as_str().to_owned()))
        .bind(step.scope.tenant.as_ref().map(ToString::to_string))
        .bind(json("exceptions", &step.except)?)
        .bind(time)
        .bind(i64::from(step.unless_authorised))
        .bind(sure.to_string()))
}

/// The next rows that a step takes, locked, with the place of the last one if there may be more. One that can't be read
/// is left.
async fn next_due(
    work: &mut Work,
    step: &RetentionStep,
    zones: &[String],
    place: &Place,
    limit: u32,
    now: DateTime<Utc>,
) -> Result<(Vec<Due>, Option<(String, NaiveDate)>), StoreError> {
    let (postgres, sqlite) = match step.table {
        RetainedTable::MetricsArchive => next_due!("metrics_archive", "account_id", "observed_at"),
        RetainedTable::Growth => next_due!("metrics", "account_id", "updated_at", "AND m.growth IS NOT NULL"),
        RetainedTable::GrowthArchive => {
            next_due!("metrics_archive", "account_id", "updated_at", "AND m.growth IS NOT NULL")
        }
        RetainedTable::Documents => next_due!("documents", "id", "observed_at"),
        RetainedTable::Quarantine => next_due!("quarantine", "id", "created_at"),
        _ => next_due!("metrics", "account_id", "observed_at"),
    };
    let Place { dates, after } = place;
    let statement = match work.kind {
        DatabaseKind::Sqlite => bind_step(work.query(sqlite), step, zones, now, work.kind)?
            .bind(dates.since.to_string())
            .bind(after.as_ref().map_or_else(|| "-1".to_owned(), |(row, _)| row.clone())),
        DatabaseKind::Postgres => {
            // The index gives the order. Sorting would read all that is due for each part of it.
            work.execute("plan by an index", work.query("SET LOCAL enable_sort = off")).await?;
            let (key, date) = after.clone().unwrap_or_else(|| (uuid::Uuid::nil().to_string(), Store::FIRST_DATE));
            bind_step(work.query(postgres), step, zones, now, work.kind)?
                .bind(dates.since.to_string())
                .bind(dates.until.to_string())
                .bind(key)
                .bind(date.to_string())
        }
    };
    let rows = work.rows("find what is past its time", statement.bind(i64::from(limit))).await?;
    let due = work.unreadable.read(step.table.as_str(), "id", Extent::Part, &rows, |row| {
        let (id, place) = (row.text("id")?, row.text("place")?);
        Ok(Due { id, account: row.parsed("account")?, date: row.date("date")?, place })
    })?;
    // Both can be read: the statement has compared the date, and the place is a number, or an id of PostgreSQL's type.
    let last = rows.last().filter(|_| rows.len() >= limit as usize);
    let last = last.map(|row| Ok::<_, StoreError>((row.text("place")?, row.date("date")?))).transpose()?;
    Ok((due, last))
}

/// That the database refused a step for one row.
fn kept(step: &RetentionStep, row: &Due, source: StoreError) -> StoreError {
    let rows = format!("{} of {} of {}", step.table.as_str(), row.id, row.date);
    StoreError::Kept { what: "put away what is past its time", rows, source: Box::new(source) }
}

/// Moves or deletes rows that are locked.
async fn put_away(work: &mut Work, step: &RetentionStep, due: &[Due]) -> Result<(), StoreError> {
    let keys: Vec<_> =
        due.iter().map(|row| json!({ "date": row.date, "id": row.id, "account": row.account })).collect();
    let keys = json("keys", &keys)?;
    match (step.table, step.action) {
        (RetainedTable::Metrics, Action::Archive) => archive(work, &keys).await,
        (RetainedTable::Metrics, Action::Delete) => delete_metrics(work, &keys, due, false).await,
        (RetainedTable::MetricsArchive, _) => delete_metrics(work, &keys, due, true).await,
        (table, _) => delete_others(work, table, &keys).await,
    }
}

/// Moves rows. Where the archive has a row of the same date, as after a late collection, the one that was observed
/// later stays.
async fn archive(work: &mut Work, keys: &str) -> Result<(), StoreError> {
    let older = work.query(
        "DELETE FROM metrics_archive
         WHERE (account_id, metric_date) IN (SELECT m.account_id, m.metric_date
             FROM {rows} LEFT JOIN metrics m ON m.account_id = (r.value->>'account')::uuid
                 AND m.metric_date = (r.value->>'date')::date
             JOIN metrics_archive o ON o.account_id = m.account_id AND o.metric_date = m.metric_date
             AND o.observed_at <= m.observed_at
             WHERE (m.account_id IS NULL) = FALSE)",
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

/// Deletes rows, and forgets that their values were the last that were accepted.
async fn delete_metrics(work: &mut Work, encoded: &str, due: &[Due], archived: bool) -> Result<(), StoreError> {
    let keys: Vec<_> = due.iter().map(|row| (row.account, row.date)).collect();
    row_data_keep_in_txn(work, &keys).await?;
    let delete = if archived { of_keys!("DELETE FROM metrics_archive") } else { of_keys!("DELETE FROM metrics") };
    let delete = work.query(delete).bind(encoded.to_owned());
    work.execute("delete metrics", delete).await?;
    history::last_accepted_forget_in_txn(work, due.iter().map(|row| (row.account, row.date))).await
}

async fn delete_others(work: &mut Work, table: RetainedTable, keys: &str) -> Result<(), StoreError> {
    let delete = match (table, work.kind) {
        (RetainedTable::Growth, _) => of_keys!("UPDATE metrics SET growth = NULL"),
        (RetainedTable::GrowthArchive, _) => of_keys!("UPDATE metrics_archive SET growth = NULL"),
        (RetainedTable::Quarantine, _) => "DELETE FROM quarantine WHERE id {in_ids}",
        (_, DatabaseKind::Sqlite) => "DELETE FROM documents WHERE id {in_ids}",
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
