//! The lines of a row: one for each metric, or for each change. They say what the rows as JSON say of it.

use super::columns::ColumnKind::{Date, Decimal, Integer, Json, Text, Time};
use super::columns::{Cell, ColumnSpec, optional, required};
use backline_model::{GrowthChange, GrowthRow, MetricName, MetricsRow, Value};

/// The columns of metrics. Of the four that hold a value one is filled, or `absent` is.
pub(super) const METRICS: &[ColumnSpec] = &[
    required("artist_id", Text),
    required("account_id", Text),
    required("platform", Text),
    required("metric_date", Date),
    required("metric", Text),
    optional("integer", Integer),
    optional("decimal", Decimal),
    optional("text", Text),
    optional("texts", Json),
    optional("absent", Text),
    optional("counted", Integer),
    optional("skipped", Integer),
    required("observed_at", Time),
    required("window_since", Time),
    required("window_until", Time),
    required("quality_score", Decimal),
    required("collection_source", Text),
    required("release", Text),
    required("run_id", Text),
    required("document_id", Text),
];

/// The columns of growth.
pub(super) const GROWTH: &[ColumnSpec] = &[
    required("artist_id", Text),
    required("account_id", Text),
    required("platform", Text),
    required("metric_date", Date),
    required("metric", Text),
    required("span_days", Integer),
    optional("absolute", Decimal),
    optional("percent", Decimal),
    optional("gap_days", Integer),
    optional("daily_percent", Decimal),
    optional("reason", Text),
];

/// The lines of a row of metrics: its values, then what it has none of.
pub(super) fn of_metrics(row: &MetricsRow) -> Vec<Vec<Cell>> {
    let [artist, account] = [row.artist_id.to_string(), row.account_id.to_string()].map(Cell::text);
    let (platform, source) = (Cell::text(row.platform.as_str()), Cell::text(&row.collection_source));
    let [release, run, document] =
        [row.release.to_string(), row.run_id.to_string(), row.document_id.to_string()].map(Cell::text);
    let line = |metric: &MetricName, [integer, decimal, text, texts]: [Cell; 4], absent: Cell| {
        let coverage = row.coverage.get(metric);
        let observed = row.observed.get(metric).copied().unwrap_or(row.observed_at);
        vec![
            artist.clone(),
            account.clone(),
            platform.clone(),
            Cell::Date(row.metric_date),
            Cell::text(metric.as_str()),
            integer,
            decimal,
            text,
            texts,
            absent,
            Cell::count(coverage.map(|coverage| coverage.counted)),
            Cell::count(coverage.map(|coverage| coverage.skipped)),
            Cell::Time(observed),
            Cell::Time(row.window.since),
            Cell::Time(row.window.until),
            Cell::Decimal(row.quality_score),
            source.clone(),
            release.clone(),
            run.clone(),
            document.clone(),
        ]
    };
    let none = || [Cell::Empty, Cell::Empty, Cell::Empty, Cell::Empty];
    let values = row.values.iter().map(|(metric, value)| {
        let mut cells = none();
        match value {
            Value::Integer(number) => cells[0] = Cell::Integer(*number),
            Value::Decimal(number) => cells[1] = Cell::Decimal(*number),
            Value::Text(text) => cells[2] = Cell::text(text),
            Value::Texts(texts) => cells[3] = Cell::text(serde_json::Value::from(texts.clone()).to_string()),
        }
        line(metric, cells, Cell::Empty)
    });
    let absent = row.absent.iter().map(|(metric, absence)| line(metric, none(), Cell::text(absence.to_string())));
    values.chain(absent).collect()
}

/// The lines of a row of growth: a metric's changes over each span.
pub(super) fn of_growth(row: &GrowthRow) -> Vec<Vec<Cell>> {
    let [artist, account] = [row.artist_id.to_string(), row.account_id.to_string()].map(Cell::text);
    let platform = Cell::text(row.platform.as_str());
    let line = |(metric, span, change): (&MetricName, u16, &GrowthChange)| {
        vec![
            artist.clone(),
            account.clone(),
            platform.clone(),
            Cell::Date(row.metric_date),
            Cell::text(metric.as_str()),
            Cell::Integer(span.into()),
            Cell::decimal(change.absolute),
            Cell::decimal(change.percent),
            Cell::count(change.gap_days),
            Cell::decimal(change.daily_percent),
            change.reason.map_or(Cell::Empty, |reason| Cell::text(reason.as_str())),
        ]
    };
    row.each().map(line).collect()
}
