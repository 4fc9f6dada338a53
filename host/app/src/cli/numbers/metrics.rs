//! `backline metrics` and `backline growth`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::NaiveDate;
use clap::Args;
use serde_json::json;

use crate::cli::arguments::ids::{self, Given};
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::arguments::values;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::output::{Access, Existing, Output, is_stdout};
use crate::cli::terminal::print;
use crate::pipeline::words::{change_text, reason_text, value_text};
use crate::pipeline::{NumbersKind, NumbersRequest, write_parquet};
use backline_model::growth::SPANS_DAYS;
use backline_model::manifest::MetricEntry;
use backline_model::{
    Absence, ArtistId, EngagementBasis, GrowthChange, GrowthRow, Kind, Manifest, MetricName, MetricsRow, Severity,
};
use backline_rules::lists::Directory;
use backline_store::{MetricsFilter, Scope, Store};

/// Arguments of `metrics`.
#[derive(Args)]
pub(in crate::cli) struct MetricsArguments {
    #[command(flatten)]
    numbers: NumbersArguments,
    /// Name the numbers that a platform does not offer, too
    #[arg(long)]
    all: bool,
}

/// Arguments of both commands.
#[derive(Args)]
pub(in crate::cli) struct NumbersArguments {
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
    /// Write a Parquet file with typed columns, a number on each line; - for standard output
    #[arg(long, value_name = "FILE")]
    parquet: Option<PathBuf>,
    /// With --parquet: replace an existing file
    #[arg(long, requires = "parquet")]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl NumbersArguments {
    async fn filter(&self, store: &Store) -> Result<MetricsFilter, Failure> {
        let artist = ids::find_if_given(store, self.artist.as_ref()).await?;
        if let Some(artist) = artist {
            ids::expect_artist(store, artist).await?;
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

    /// Writes the file, where one is asked for.
    async fn write_file(&self, store: &Store, kind: NumbersKind, filter: &MetricsFilter) -> Result<bool, Failure> {
        let Some(file) = &self.parquet else { return Ok(false) };
        if self.json && is_stdout(file) {
            let text = "standard output can't be the file and JSON; name a file, or leave out --json";
            return Err(Failure::usage(text));
        }
        let output = Output::open(file, Access::Private, Existing::forced(self.force))?;
        output.expect_no_terminal()?;
        let request = NumbersRequest { kind, scope: Scope::all_tenants(), filter: filter.clone() };
        let lines = write_parquet(store, &request, output.writer()?).await?;
        output.finish()?;
        if self.json {
            print::json(&json!({ "file": file, "lines": lines }))?;
        } else {
            print::note(&format!("wrote {}", print::count(lines, "line")));
        }
        Ok(true)
    }
}

/// Prints metrics.
pub(in crate::cli) async fn metrics(context: &Context, arguments: MetricsArguments) -> CommandResult {
    let MetricsArguments { numbers: arguments, all } = arguments;
    let store = context.store().await?;
    let filter = arguments.filter(&store).await?;
    if arguments.write_file(&store, NumbersKind::Metrics, &filter).await? {
        return Ok(Exit::Done);
    }
    let rows = store.metrics_list(&Scope::all_tenants(), &filter).await?;
    if arguments.json {
        print::json(&rows)?;
    } else if rows.is_empty() {
        print::note("no metrics are stored for this; `backline run` collects, `backline runs list` shows past runs");
    } else {
        let directory = Directory::of_releases(&store.releases_list().await?);
        let names = names_unless_one(&store, &filter, rows.iter().map(|row| row.artist_id)).await?;
        let of_row = |row: &MetricsRow| {
            let listed = directory.platform(row.platform.as_str());
            let lines = metric_lines(row, listed.map(|listed| &listed.manifest), all);
            grouped(named(names.as_ref(), row.artist_id, lines))
        };
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

/// Leaves out of a row's further lines what its first one says: whose they are, of which date and platform.
fn grouped(mut lines: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for line in lines.iter_mut().skip(1) {
        let heads = line.len().saturating_sub(METRIC_COLUMNS);
        line[..heads].iter_mut().for_each(String::clear);
    }
    lines
}

/// Columns of a line about one metric, after those that say whose it is: its name, value, unit and remark.
const METRIC_COLUMNS: usize = 4;

/// Columns of the artist before those of numbers.
pub(in crate::cli) const ARTIST_HEADERS: [&str; 2] = ["artist", "??#artist id"];

/// Columns of a metric.
pub(in crate::cli) const METRIC_HEADERS: [&str; 6] = ["date", "platform", "metric", ">value", "?unit", "remark"];

/// Columns of a metric's growth.
pub(in crate::cli) const GROWTH_HEADERS: [&str; 7] =
    ["date", "platform", "metric", "1 day", "7 days", "?28 days", "?90 days"];

/// A row's metrics in the order of the connector's catalogue, then all others by name. What the platform does not offer
/// is one line, unless it is asked for.
fn metric_lines(row: &MetricsRow, manifest: Option<&Manifest>, all: bool) -> Vec<Vec<String>> {
    let entry = |metric: &MetricName| manifest.and_then(|manifest| manifest.metric(metric.as_str()));
    let place = |metric: &MetricName| {
        let entries = manifest.map(|manifest| manifest.metrics.iter());
        entries.and_then(|mut entries| entries.position(|entry| entry.name == *metric)).unwrap_or(usize::MAX)
    };
    let line = |metric: &str, value: String, unit: String, remark: String| {
        vec![row.metric_date.to_string(), row.platform.to_string(), metric.to_owned(), value, unit, remark]
    };
    let mut lines: BTreeMap<(usize, &MetricName), Vec<String>> = BTreeMap::new();
    for (metric, value) in &row.values {
        let unit = entry(metric).map(unit_text).unwrap_or_default();
        lines.insert((place(metric), metric), line(metric.as_str(), value_text(value), unit, remark(row, metric)));
    }
    let mut folded = 0_u64;
    for (metric, absence) in &row.absent {
        if *absence == Absence::NotOffered && !all {
            folded += 1;
            continue;
        }
        let cells = line(metric.as_str(), print::NONE.to_owned(), String::new(), reason_text(absence));
        lines.insert((place(metric), metric), cells);
    }
    let mut lines: Vec<Vec<String>> = lines.into_values().collect();
    if folded > 0 {
        let what = print::count(folded, "more metric");
        let why = format!("{}; --all names them", reason_text(&Absence::NotOffered));
        lines.push(line(&format!("({what})"), print::NONE.to_owned(), String::new(), why));
    }
    lines
}

/// What is counted, and over how many days if it is a sum over some.
fn unit_text(entry: &MetricEntry) -> String {
    match (entry.kind, entry.window_days) {
        (Kind::Flow, Some(days)) => format!("{}, {}", entry.unit, print::count(days.into(), "day")),
        _ => entry.unit.clone(),
    }
}

/// What a reader has to know of a number: which posts it leaves out, what a rate is measured by, when it was observed
/// if that was earlier, and what validation warned of.
fn remark(row: &MetricsRow, metric: &MetricName) -> String {
    let mut remarks = Vec::new();
    if let Some(coverage) = row.coverage.get(metric).filter(|coverage| coverage.skipped > 0) {
        let all = u64::from(coverage.counted) + u64::from(coverage.skipped);
        remarks.push(format!("of {} of {}", coverage.counted, print::count(all, "post")));
    }
    if metric.as_str() == "engagement_rate"
        && let Some(engagement) = &row.engagement
    {
        remarks.push(match engagement.basis {
            EngagementBasis::Followers => "by followers".to_owned(),
            EngagementBasis::Views => "by views".to_owned(),
            EngagementBasis::Reach => "by reach".to_owned(),
        });
    }
    if let Some(at) = row.observed.get(metric) {
        remarks.push(format!("observed at {}", print::time(*at)));
    }
    let fired = row
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Note && finding.metric.as_deref() == Some(metric.as_str()));
    remarks.extend(fired.map(|finding| finding.message.clone()));
    remarks.join("; ")
}

/// Prints growth.
pub(in crate::cli) async fn growth(context: &Context, arguments: NumbersArguments) -> CommandResult {
    let store = context.store().await?;
    let filter = arguments.filter(&store).await?;
    if arguments.write_file(&store, NumbersKind::Growth, &filter).await? {
        return Ok(Exit::Done);
    }
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
    let line = |(metric, changes): (&backline_model::MetricName, &BTreeMap<u16, GrowthChange>)| {
        let cells = SPANS_DAYS.iter().map(|span| changes.get(span).map_or(print::NONE.to_owned(), change_text));
        [row.metric_date.to_string(), row.platform.to_string(), metric.to_string()].into_iter().chain(cells).collect()
    };
    row.changes.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use backline_model::fixtures::{day, engagement, ints, manifest, name, row};
    use backline_model::{Coverage, Value};

    use super::*;

    #[test]
    fn a_row_is_one_group_in_the_order_of_the_catalogue_and_explains_itself() {
        let mut row = row(day("2026-11-22"), ints(&[("likes", 12_345), ("followers", 1_200), ("zeal", 3)]));
        row.values.insert(name("engagement_rate"), Value::Decimal(2.5));
        row.engagement = Some(engagement(EngagementBasis::Views));
        row.coverage.insert(name("likes"), Coverage { counted: 4, skipped: 1 });
        row.coverage.insert(name("followers"), Coverage { counted: 4, skipped: 0 });
        for (metric, absence) in [
            ("content_views", Absence::Hidden),
            ("popularity", Absence::NotOffered),
            ("mood", Absence::NotOffered),
            ("posts_count", Absence::Rejected("negative".to_owned())),
        ] {
            row.absent.insert(name(metric), absence);
        }
        let lines = grouped(metric_lines(&row, Some(&manifest()), false));
        let shown: Vec<String> = lines.iter().map(|line| line[2..].join("|")).collect();
        assert_eq!(
            shown,
            [
                "followers|1,200|followers|",
                "posts_count|–||withheld by the rule negative; `backline quarantine list` shows it",
                "content_views|–||the owner hides it",
                "likes|12,345|likes, 28 days|of 4 of 5 posts",
                "engagement_rate|2.50|percent|by views",
                "zeal|3||",
                "(2 more metrics)|–||the platform does not offer it; --all names them",
            ]
        );
        assert_eq!(lines[0][..2], ["2026-11-22", "example"]);
        assert!(lines[1..].iter().all(|line| line[..2] == ["", ""]), "{lines:?}");
        let all = metric_lines(&row, Some(&manifest()), true);
        assert!(all.iter().any(|line| line[2] == "mood"), "{all:?}");
        // The connector may have been removed.
        let unknown = metric_lines(&row, None, true);
        assert_eq!((unknown.len(), unknown[0][2].as_str()), (8, "content_views"));
    }
}
