//! `backline metrics` and `backline growth`.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use clap::Args;

use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::ids::{self, Given};
use super::names::{self, PlatformName};
use super::{print, values};
use backline_model::growth::SPANS_DAYS;
use backline_model::{ArtistId, Change, GrowthRow, MetricsRow, NoChange, Severity};
use backline_store::{MetricsFilter, Scope, Store};

/// Arguments of both commands.
#[derive(Args)]
pub(super) struct NumbersArguments {
    /// The artist: id, beginning of it, or name; all artists unless given
    artist: Option<Given<ArtistId>>,
    /// Only this platform
    #[arg(long, value_name = "NAME")]
    platform: Option<PlatformName>,
    /// Earliest date, such as 2026-11-01
    #[arg(long, value_parser = values::date, value_name = "DATE")]
    since: Option<NaiveDate>,
    /// Latest date
    #[arg(long, value_parser = values::date, value_name = "DATE")]
    until: Option<NaiveDate>,
    /// At most this many rows, the latest first
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl NumbersArguments {
    async fn filter(&self, store: &Store) -> Result<MetricsFilter, Failure> {
        let artist = ids::find_if_given(store, self.artist.as_ref()).await?;
        if let Some(artist) = artist {
            expect_artist(store, artist).await?;
        }
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since > until
        {
            return Err(Failure::usage(format!("--since {since} is after --until {until}")));
        }
        Ok(MetricsFilter {
            artist,
            platform: names::platform_if_given(store, self.platform.as_ref()).await?,
            since: self.since,
            until: self.until,
            limit: self.limit,
            ..MetricsFilter::default()
        })
    }
}

/// Reads an artist; refuses an id that no artist has.
pub(super) async fn expect_artist(store: &Store, artist: ArtistId) -> Result<backline_model::Artist, Failure> {
    let found = store.artist_get(&Scope::all_tenants(), artist).await?;
    found.ok_or_else(|| Failure::usage(format!("no artist has the id {artist}; `backline artists list` shows them")))
}

/// Prints metrics.
pub(super) async fn metrics(context: &Context, arguments: NumbersArguments) -> Outcome {
    let store = context.store().await?;
    let filter = arguments.filter(&store).await?;
    let rows = store.metrics_list(&Scope::all_tenants(), &filter).await?;
    if arguments.json {
        print::json(&rows)?;
    } else if rows.is_empty() {
        print::note("no metrics are stored for this; `backline run` collects, `backline runs list` shows past runs");
    } else {
        let names = names_unless_one(&store, &filter, rows.iter().map(|row| row.artist_id)).await?;
        let of_row = |row: &MetricsRow| named(names.as_ref(), row.artist_id, metric_lines(row));
        print_numbers(names.is_some(), &METRIC_HEADERS, rows.iter().flat_map(of_row).collect())?;
    }
    Ok(Exit::Done)
}

/// The names of the artists, unless all rows are of the one that was asked for.
async fn names_unless_one(
    store: &Store,
    filter: &MetricsFilter,
    artists: impl IntoIterator<Item = ArtistId>,
) -> Result<Option<Names>, Failure> {
    match filter.artist {
        Some(_) => Ok(None),
        None => ids::names_of(store, artists).await.map(Some),
    }
}

/// Artists' names.
type Names = BTreeMap<ArtistId, String>;

/// Adds columns for the artist's name and id, unless all lines are of one artist.
fn named(names: Option<&Names>, artist: ArtistId, mut lines: Vec<Vec<String>>) -> Vec<Vec<String>> {
    if let Some(names) = names {
        for line in &mut lines {
            line.splice(0..0, [ids::name_in(names, artist), artist.to_string()]);
        }
    }
    lines
}

fn print_numbers(are_of_several: bool, headers: &[&str], lines: Vec<Vec<String>>) -> Result<(), Failure> {
    let artist = if are_of_several { &ARTIST_HEADERS[..] } else { &[] };
    print::table(&[artist, headers].concat(), lines)
}

/// Columns of the artist before those of numbers.
pub(super) const ARTIST_HEADERS: [&str; 2] = ["artist", "??#artist id"];

/// Columns of a metric.
pub(super) const METRIC_HEADERS: [&str; 5] = ["date", "platform", "metric", ">value", "remark"];

/// Columns of a metric's growth.
pub(super) const GROWTH_HEADERS: [&str; 7] = ["date", "platform", "metric", "1 day", "7 days", "?28 days", "?90 days"];

fn metric_lines(row: &MetricsRow) -> Vec<Vec<String>> {
    let line = |metric: &str, value: String, remark: String| {
        vec![row.metric_date.to_string(), row.platform.to_string(), metric.to_owned(), value, remark]
    };
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (metric, value) in &row.values {
        let remarks = row
            .findings
            .iter()
            .filter(|finding| finding.severity > Severity::Note && finding.metric.as_deref() == Some(metric.as_str()));
        let remark = remarks.map(|finding| finding.message.clone()).collect::<Vec<_>>().join("; ");
        lines.insert(metric.as_str(), line(metric.as_str(), value.to_string(), remark));
    }
    for (metric, absence) in &row.absent {
        lines.insert(metric.as_str(), line(metric.as_str(), print::NONE.to_owned(), absence.to_string()));
    }
    lines.into_values().collect()
}

/// Prints growth.
pub(super) async fn growth(context: &Context, arguments: NumbersArguments) -> Outcome {
    let store = context.store().await?;
    let filter = arguments.filter(&store).await?;
    let rows = store.growth_list(&Scope::all_tenants(), &filter).await?;
    if arguments.json {
        print::json(&rows)?;
    } else if rows.is_empty() {
        print::note("no growth is stored for this; `backline run` computes it as it collects metrics");
    } else {
        let names = names_unless_one(&store, &filter, rows.iter().map(|row| row.artist_id)).await?;
        let of_row = |row: &GrowthRow| named(names.as_ref(), row.artist_id, growth_lines(row));
        print_numbers(names.is_some(), &GROWTH_HEADERS, rows.iter().flat_map(of_row).collect())?;
    }
    Ok(Exit::Done)
}

fn growth_lines(row: &GrowthRow) -> Vec<Vec<String>> {
    let line = |(metric, changes): (&backline_model::MetricName, &BTreeMap<u16, Change>)| {
        let cells = SPANS_DAYS.iter().map(|span| changes.get(span).map_or(print::NONE.to_owned(), change_text));
        [row.metric_date.to_string(), row.platform.to_string(), metric.to_string()].into_iter().chain(cells).collect()
    };
    row.changes.iter().map(line).collect()
}

/// `+120 (+1.50 %)`, `+0.30 points`, or why there is none.
fn change_text(change: &Change) -> String {
    match (change.reason, change.absolute, change.percent) {
        (None, Some(absolute), Some(percent)) => format!("{} ({percent:+.2} %)", signed(absolute)),
        (None, Some(points), None) => format!("{points:+.2} points"),
        (Some(reason), ..) => {
            let reason = match reason {
                NoChange::First => "first",
                NoChange::ZeroBase => "from zero",
                NoChange::Gap => "gap",
                NoChange::Break => "redefined",
                NoChange::Absent => "absent",
                NoChange::Late => "late",
            };
            match change.daily_percent {
                Some(daily) => format!("{reason} ({daily:+.2} % a day)"),
                None => reason.to_owned(),
            }
        }
        _ => print::NONE.to_owned(),
    }
}

fn signed(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number:+.0}") } else { format!("{number:+.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_how_much_or_why_not() {
        let change = Change { absolute: Some(120.0), percent: Some(1.5), ..Change::default() };
        assert_eq!(change_text(&change), "+120 (+1.50 %)");
        let points = Change { absolute: Some(-0.3), ..Change::default() };
        assert_eq!(change_text(&points), "-0.30 points");
        let gap = Change { reason: Some(NoChange::Gap), daily_percent: Some(0.5), ..Change::default() };
        assert_eq!(change_text(&gap), "gap (+0.50 % a day)");
        let first = Change { reason: Some(NoChange::First), ..Change::default() };
        assert_eq!(change_text(&first), "first");
    }
}
