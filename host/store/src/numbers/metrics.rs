//! The `metrics` table, with the growth of its rows.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, date_text, json, time_text, unreadable};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, left_of, more_after};
use crate::database::rows::ROWS_PER_STATEMENT;
use crate::database::statement::Statement;
use crate::database::table::Table;
use crate::scope::Scope;
use backline_model::growth::shortened;
use backline_model::metric::names;
use backline_model::{AccountId, ArtistId, Engagement, GrowthRow, MetricName, MetricsRow, Platform, Value, Window};

/// Which rows to read; a field that is none does not restrict. The latest date comes first.
#[derive(Clone, Debug, Default)]
pub struct MetricsFilter {
    /// Only this artist's.
    pub artist: Option<ArtistId>,
    /// Only this account's.
    pub account: Option<AccountId>,
    /// Only on this platform.
    pub platform: Option<Platform>,
    /// Only from this date on.
    pub since: Option<NaiveDate>,
    /// Only up to this date, itself included.
    pub until: Option<NaiveDate>,
    /// Only rows that come after the one of this date and account: where the next page begins.
    pub after: Option<(NaiveDate, AccountId)>,
    /// Most rows to return; none means all.
    pub limit: Option<u32>,
}

impl MetricsFilter {
    /// The one of three statements that is made for this filter.
    fn choose(&self, [of_artist, of_account, of_all]: [&'static str; 3]) -> &'static str {
        match (self.artist, self.account) {
            (Some(_), _) => of_artist,
            (None, Some(_)) => of_account,
            (None, None) => of_all,
        }
    }
}

/// What a column of its own can hold.
enum ColumnKind {
    Count,
    Decimal,
    Text,
    Texts,
}

fn column_kind(name: &str) -> ColumnKind {
    match name {
        names::ENGAGEMENT_RATE | names::POPULARITY => ColumnKind::Decimal,
        names::TOP_TRACK => ColumnKind::Text,
        names::GENRES => ColumnKind::Texts,
        _ => ColumnKind::Count,
    }
}

/// A decimal column as a float; no number where it is none, or too large for one, at which PostgreSQL would refuse the
/// whole statement.
macro_rules! float_column {
    ($name:literal) => {
        concat!(
            "CASE WHEN m.",
            $name,
            " > 1e300 OR m.",
            $name,
            " < -1e300 THEN 'NaN'::float8 ELSE m.",
            $name,
            "::float8 END AS ",
            $name
        )
    };
}

/// The columns that hold values, with what says how the engagement rate was computed and when they were observed.
macro_rules! value_columns {
    () => {
        concat!(
            "m.account_id::text AS account_id, m.metric_date::text AS metric_date, m.followers, m.following,
                 m.posts_count, ",
            $crate::numbers::metrics::float_column!("engagement_rate"),
            ", m.content_views, m.streams, m.monthly_listeners, m.video_views,
                 m.total_views, m.likes, m.comments, m.shares, ",
            $crate::numbers::metrics::float_column!("popularity"),
            ", m.recent_releases, m.top_track, m.genres::text AS genres,
                 m.extra::text AS extra, m.engagement::text AS engagement, m.observed_at::text AS observed_at,
                 m.observed::text AS observed"
        )
    };
}

/// Every column that a [`MetricsRow`] is made of.
macro_rules! row_columns {
    () => {
        concat!(
            $crate::numbers::metrics::value_columns!(),
            ", m.artist_id::text AS artist_id, m.platform, m.absent::text AS absent, m.coverage::text AS coverage, ",
            "m.window_since::text AS window_since, m.window_until::text AS window_until,
                 ",
            "m.collection_source, ",
            $crate::numbers::metrics::float_column!("data_quality_score"),
            ", m.findings::text AS findings, ",
            "m.notes::text AS notes, m.release_digest, m.wit_version,
                 m.run_id::text AS run_id, ",
            "m.document_id::text AS document_id"
        )
    };
}

pub(crate) use {float_column, row_columns, value_columns};

/// Statements that read rows of a filter: of an artist, of an account, and of neither. Each says which it is, since no
/// plan can use an index for a condition that may be none.
macro_rules! filter_sql {
    ($columns:expr, $table:literal) => {
        filter_sql!($columns, $table, "")
    };
    ($columns:expr, $table:literal, $only:literal) => {
        [
            filter_sql!(
                $columns,
                $table,
                $only,
                "m.artist_id = $1::uuid AND ($2::uuid IS NULL OR m.account_id = $2::uuid)"
            ),
            filter_sql!($columns, $table, $only, "$1::uuid IS NULL AND m.account_id = $2::uuid"),
            filter_sql!($columns, $table, $only, "$1::uuid IS NULL AND $2::uuid IS NULL"),
        ]
    };
    ($columns:expr, $table:literal, $only:literal, $whose:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM ",
            $table,
            " m WHERE ",
            $whose,
            " ",
            $only,
            "AND ($3::text IS NULL OR m.platform = $3) AND ($4::date IS NULL OR m.metric_date >= $4::date) ",
            "AND ($5::date IS NULL OR m.metric_date <= $5::date)
                 AND ($7::date IS NULL OR m.metric_date < $7::date
                 OR (m.metric_date = $7::date AND m.account_id > $8::uuid)) {and_artist: m.artist_id}
                 ORDER BY m.metric_date DESC, m.account_id LIMIT $6"
        )
    };
}

impl Store {
    /// Stored rows, archived ones too, the latest date first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn metrics_list(&self, scope: &Scope, filter: &MetricsFilter) -> Result<Vec<MetricsRow>, StoreError> {
        self.page(scope, filter, filter_sql!(row_columns!(), "metrics_all"), "read metrics", row_of).await
    }

    /// A page of rows by a filter, without those that can't be read: as many others take their place.
    async fn page<T>(
        &self,
        scope: &Scope,
        filter: &MetricsFilter,
        texts: [&'static str; 3],
        what: &'static str,
        of: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let most = filter.limit.unwrap_or(u32::MAX);
        let mut after = filter.after.map(|(date, account)| (date_text(date), Some(account.to_string())));
        let mut until = [filter.until, filter.after.map(|(date, _)| date)].into_iter().flatten().min().map(date_text);
        let mut found = Vec::new();
        loop {
            let asked = left_of(most, found.len());
            let (date, account) = after.unzip();
            let statement = filtered(self.scoped(scope, filter.choose(texts)), filter);
            let statement = statement.bind(until).bind(i64::from(asked)).bind(date).bind(account.flatten());
            let rows = self.rows(what, statement).await?;
            found.extend(self.unreadable.read("metrics", "account_id", Extent::Part, &rows, &of)?);
            let last = more_after(&rows, asked, found.len(), most);
            let place = last.and_then(|last| Some((last.below("metric_date")?, last.above("account_id"))));
            let Some((date, account)) = place else { return Ok(found) };
            // Later dates than the page's first need not be looked at.
            until = Some(date.clone());
            after = Some((date, account));
        }
    }

    /// Those of the accounts whose date has a row already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn collected_accounts_of(
        &self,
        scope: &Scope,
        wanted: &[(AccountId, NaiveDate)],
    ) -> Result<Vec<AccountId>, StoreError> {
        let rows: Vec<_> = wanted.iter().map(|(account, date)| json!({ "account": account, "date": date })).collect();
        let statement = self.scoped(
            scope,
            "SELECT m.account_id::text AS account_id FROM {rows} LEFT JOIN metrics m
                 ON m.account_id = (r.value->>'account')::uuid AND m.metric_date = (r.value->>'date')::date
             WHERE (m.account_id IS NULL) = FALSE {and_artist: m.artist_id}",
        );
        let rows = self.rows("find collected dates", statement.bind(json("dates", &rows)?)).await?;
        rows.iter().map(|row| row.parsed("account_id")).collect()
    }

    /// Stored growth, the latest date first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn growth_list(&self, scope: &Scope, filter: &MetricsFilter) -> Result<Vec<GrowthRow>, StoreError> {
        let texts = filter_sql!(
            "m.account_id::text AS account_id, m.artist_id::text AS artist_id, m.platform,
                 m.metric_date::text AS metric_date, m.growth::text AS growth",
            "metrics_all",
            "AND m.growth IS NOT NULL "
        );
        self.page(scope, filter, texts, "read growth", |row| {
            Ok(GrowthRow {
                account_id: row.parsed("account_id")?,
                artist_id: row.parsed("artist_id")?,
                platform: row.parsed("platform")?,
                metric_date: row.date("metric_date")?,
                changes: row.growth_or_null("growth")?.unwrap_or_default(),
            })
        })
        .await
    }
}

/// Binds the first four parameters of a filter's statement.
fn filtered(statement: Statement, filter: &MetricsFilter) -> Statement {
    statement
        .bind(filter.artist.map(|id| id.to_string()))
        .bind(filter.account.map(|id| id.to_string()))
        .bind(filter.platform.as_ref().map(|platform| platform.as_str().to_owned()))
        .bind(filter.since.map(date_text))
}

/// A number of a [`float_column`]; one that is none is an error, since it could not be written back.
fn finite_or_null(row: &AnyRow, column: &str) -> Result<Option<f64>, StoreError> {
    match row.float_or_null(column)? {
        Some(number) if !number.is_finite() => Err(unreadable(column, "it is not a number")),
        number => Ok(number),
    }
}

/// The accepted values of a row that was read with [`value_columns`].
pub(crate) fn values_of(row: &AnyRow) -> Result<BTreeMap<MetricName, Value>, StoreError> {
    let mut values: BTreeMap<MetricName, Value> = row.json("extra")?;
    for name in names::COLUMNS {
        let value = match column_kind(name) {
            ColumnKind::Count => row.int_or_null(name)?.map(Value::Integer),
            ColumnKind::Decimal => finite_or_null(row, name)?.map(Value::Decimal),
            ColumnKind::Text => row.text_or_null(name)?.map(Value::Text),
            ColumnKind::Texts => row.json_or_null(name)?.map(Value::Texts),
        };
        if let Some(value) = value {
            let name = MetricName::new(name).map_err(|error| unreadable(name, error.to_string()))?;
            values.insert(name, value);
        }
    }
    Ok(values)
}

/// A row that was read with [`row_columns`].
pub(crate) fn row_of(row: &AnyRow) -> Result<MetricsRow, StoreError> {
    Ok(MetricsRow {
        account_id: row.parsed("account_id")?,
        artist_id: row.parsed("artist_id")?,
        platform: row.parsed("platform")?,
        metric_date: row.date("metric_date")?,
        values: values_of(row)?,
        absent: row.json("absent")?,
        coverage: row.json("coverage")?,
        observed: row.json("observed")?,
        engagement: row.json_or_null("engagement")?,
        window: Window { since: row.time("window_since")?, until: row.time("window_until")? },
        quality_score: finite_or_null(row, "data_quality_score")?.unwrap_or_default(),
        findings: row.json("findings")?,
        notes: row.json("notes")?,
        collection_source: row.text("collection_source")?,
        observed_at: row.time("observed_at")?,
        release: row.parsed("release_digest")?,
        wit_version: row.text("wit_version")?,
        run_id: row.parsed("run_id")?,
        document_id: row.parsed("document_id")?,
    })
}

/// The engagement of a row that was read with [`value_columns`].
pub(crate) fn engagement_of(row: &AnyRow) -> Result<Option<Engagement>, StoreError> {
    row.json_or_null("engagement")
}

macro_rules! insert_sql {
    () => {
        "INSERT INTO metrics (account_id, artist_id, platform, metric_date, followers, following,
        posts_count, engagement_rate, content_views, streams, monthly_listeners, video_views, total_views, likes,
        comments, shares, popularity, recent_releases, top_track, genres, extra, absent, coverage, observed, engagement,
        window_since, window_until, collection_source, data_quality_score, findings, notes, observed_at, release_digest,
        wit_version, run_id, document_id, created_at, updated_at, growth)
    SELECT r.account, r.artist, r.platform, r.date, r.followers, r.following, r.posts_count, r.engagement_rate,
        r.content_views, r.streams, r.monthly_listeners, r.video_views, r.total_views, r.likes, r.comments, r.shares,
        r.popularity, r.recent_releases, r.top_track, r.genres, r.extra, r.absent, r.coverage, r.observed, r.engagement,
        r.since, r.until, r.source, r.quality, r.findings, r.notes, r.observed_at, r.release, r.wit_version, r.run,
        r.document, $1::timestamptz, $1::timestamptz, r.growth
    FROM {columns: account uuid, artist uuid, platform text, date date, followers bigint, following bigint,
        posts_count bigint, engagement_rate numeric, content_views bigint, streams bigint, monthly_listeners bigint,
        video_views bigint, total_views bigint, likes bigint, comments bigint, shares bigint, popularity numeric,
        recent_releases bigint, top_track text, genres jsonb, extra jsonb, absent jsonb, coverage jsonb, observed jsonb,
        engagement jsonb, since timestamptz, until timestamptz, source text, quality numeric, findings jsonb,
        notes jsonb, observed_at timestamptz, release text, wit_version text, run uuid, document uuid, growth json}
    WHERE TRUE"
    };
}

/// Stores rows whose accounts have none of their dates. What may be there already costs more to store: PostgreSQL looks
/// for it first, and marks each row twice.
const INSERT: &str = insert_sql!();

/// Stores rows, each instead of the one of its account and date.
const REPLACE: &str = concat!(
    insert_sql!(),
    " ON CONFLICT (account_id, metric_date) DO UPDATE SET growth = COALESCE(excluded.growth, metrics.growth),
        followers = excluded.followers, following = excluded.following, posts_count = excluded.posts_count,
        engagement_rate = excluded.engagement_rate, content_views = excluded.content_views,
        streams = excluded.streams, monthly_listeners = excluded.monthly_listeners,
        video_views = excluded.video_views, total_views = excluded.total_views, likes = excluded.likes,
        comments = excluded.comments, shares = excluded.shares, popularity = excluded.popularity,
        recent_releases = excluded.recent_releases, top_track = excluded.top_track, genres = excluded.genres,
        extra = excluded.extra, absent = excluded.absent, coverage = excluded.coverage, observed = excluded.observed,
        engagement = excluded.engagement, window_since = excluded.window_since, window_until = excluded.window_until,
        collection_source = excluded.collection_source, data_quality_score = excluded.data_quality_score,
        findings = excluded.findings, notes = excluded.notes, observed_at = excluded.observed_at,
        release_digest = excluded.release_digest, wit_version = excluded.wit_version, run_id = excluded.run_id,
        document_id = excluded.document_id, updated_at = excluded.updated_at"
);

/// Whether accounts have rows of the dates that are written.
#[derive(Clone, Copy)]
pub(crate) enum Present {
    /// None has: it was looked for while the accounts were locked.
    No,
    /// Some may have.
    Maybe,
}

/// Writes rows with the growth of their dates; each replaces the one of its account and date, with which it has been
/// merged already. Growth that is given for other dates goes into their rows.
pub(crate) async fn metrics_save_in_txn(
    work: &mut Work,
    rows: &[(&MetricsRow, &[GrowthRow])],
    present: Present,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let text = match present {
        Present::No => INSERT,
        Present::Maybe => REPLACE,
    };
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let mut table = Table::of(work.kind, text);
        for (row, growth) in chunk {
            table.add(cells_of(row, growth)?);
        }
        let statement = work.query(text).bind(time_text(now)).bind_table(table)?;
        work.execute("store metrics", statement).await?;
    }
    let others = rows.iter().flat_map(|(row, growth)| growth.iter().filter(|growth| !is_of(growth, row)));
    growth_save_in_txn(work, &others.collect::<Vec<_>>()).await
}

/// Whether growth is that of a row's date.
fn is_of(growth: &GrowthRow, row: &MetricsRow) -> bool {
    (growth.account_id, growth.metric_date) == (row.account_id, row.metric_date)
}

/// Growth in its short form.
fn growth_text(growth: &GrowthRow) -> String {
    shortened(&growth.changes)
}

/// Puts growth into the rows of its dates, which are stored already.
async fn growth_save_in_txn(work: &mut Work, rows: &[&GrowthRow]) -> Result<(), StoreError> {
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|row| json!({ "account": row.account_id, "date": row.metric_date, "growth": growth_text(row) }))
            .collect();
        let statement = work.query(
            "UPDATE metrics SET growth = (SELECT (r.value->>'growth')::json FROM {rows}
                 WHERE (r.value->>'account')::uuid = metrics.account_id
                     AND (r.value->>'date')::date = metrics.metric_date)
             WHERE (account_id, metric_date) IN (SELECT (r.value->>'account')::uuid, (r.value->>'date')::date
                 FROM {rows})",
        );
        work.execute("store growth", statement.bind(json("growth", &rows)?)).await?;
    }
    Ok(())
}

/// A row as the statement above takes it: its values by column, everything else of them under `extra`.
fn cells_of(row: &MetricsRow, growth: &[GrowthRow]) -> Result<Vec<(&'static str, Json)>, StoreError> {
    let mut columns = names::COLUMNS.map(|name| (name, Json::Null));
    let mut extra: BTreeMap<&MetricName, &Value> = BTreeMap::new();
    for (name, value) in &row.values {
        match columns.iter_mut().find(|(column, _)| *column == name.as_str()) {
            Some((_, cell)) => *cell = column_value(name, value)?,
            None => {
                extra.insert(name, value);
            }
        }
    }
    let growth = growth.iter().find(|growth| is_of(growth, row)).map(growth_text);
    let mut cells = vec![
        ("account", json!(row.account_id)),
        ("artist", json!(row.artist_id)),
        ("platform", json!(row.platform)),
        ("date", json!(row.metric_date)),
    ];
    cells.extend(columns);
    cells.extend([
        ("extra", json_cell(&extra)?),
        ("absent", json_cell(&row.absent)?),
        ("coverage", json_cell(&row.coverage)?),
        ("observed", json_cell(&row.observed)?),
        ("engagement", row.engagement.as_ref().map_or(Ok(Json::Null), json_cell)?),
        ("since", json!(time_text(row.window.since))),
        ("until", json!(time_text(row.window.until))),
        ("source", json!(row.collection_source)),
        ("quality", json!(row.quality_score)),
        ("findings", json_cell(&row.findings)?),
        ("notes", json_cell(&row.notes)?),
        ("observed_at", json!(time_text(row.observed_at))),
        ("release", json!(row.release)),
        ("wit_version", json!(row.wit_version)),
        ("run", json!(row.run_id)),
        ("document", json!(row.document_id)),
        ("growth", json!(growth)),
    ]);
    Ok(cells)
}

/// JSON travels as text.
fn json_cell<T: Serialize>(value: &T) -> Result<Json, StoreError> {
    json("metrics", value).map(Json::String)
}

fn column_value(name: &MetricName, value: &Value) -> Result<serde_json::Value, StoreError> {
    /// Below it every whole number is a float exactly.
    const WHOLE_FLOATS: f64 = 9_007_199_254_740_992.0;

    Ok(match (column_kind(name.as_str()), value) {
        (ColumnKind::Count, Value::Integer(integer)) => json!(integer),
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 53 bits")]
        (ColumnKind::Count, Value::Decimal(decimal)) if decimal.fract() == 0.0 && decimal.abs() < WHOLE_FLOATS => {
            json!(*decimal as i64)
        }
        (ColumnKind::Decimal, Value::Integer(integer)) => json!(integer),
        (ColumnKind::Decimal, Value::Decimal(decimal)) if decimal.is_finite() => json!(decimal),
        (ColumnKind::Text, Value::Text(text)) => json!(text),
        (ColumnKind::Texts, Value::Texts(texts)) => json!(texts),
        _ => return Err(StoreError::Misfit { metric: name.to_string(), value: format!("{value:?}") }),
    })
}
