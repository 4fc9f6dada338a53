//! The rows of the table: what is measured, in which unit, and what it must reach.

use anyhow::{Result, bail};

/// One row.
#[derive(Debug)]
pub(crate) struct Row {
    /// What `--only` and the JSON call it.
    pub(crate) name: &'static str,
    /// What is measured.
    pub(crate) what: &'static str,
    /// Unit of the figure; `×` is a ratio to the native program in the same run.
    pub(crate) unit: &'static str,
    /// The most that it may be.
    pub(crate) bar: f64,
    /// What measures it.
    pub(crate) by: Measurement,
}

/// What is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measurement {
    /// Job A on PostgreSQL with 1,000 artists.
    Job1000,
    /// Job A on PostgreSQL with 10,000 artists.
    Job10000,
    /// Job A on PostgreSQL with 100,000 artists.
    Job100000,
    /// Job A on SQLite.
    Sqlite,
    /// What consecutive days leave in the database.
    Storage,
    /// Calls into components.
    Sandbox,
    /// Changes of releases while batches run.
    Swaps,
    /// A signed-in user's read.
    Reading,
    /// What a serving host answers while it has a year of rows.
    Serving,
    /// The file that operators run.
    Binary,
}

impl Measurement {
    /// What the JSON calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Job1000 => "job-1000",
            Job10000 => "job-10000",
            Job100000 => "job-100000",
            Sqlite => "sqlite",
            Storage => "storage",
            Sandbox => "sandbox",
            Swaps => "swaps",
            Reading => "reading",
            Serving => "serving",
            Binary => "binary",
        }
    }

    /// The most artists that it has, in an ordinary run and with `--quick`.
    pub(crate) fn artists(self, is_quick: bool) -> u32 {
        match self {
            Sandbox | Binary => 0,
            Job1000 | Storage => 1_000,
            Sqlite | Swaps if is_quick => 1_000,
            Reading => 2_000,
            Job10000 | Sqlite | Swaps | Serving => 10_000,
            Job100000 => 100_000,
        }
    }

    /// About how many minutes it takes on two cores, with what it sets up and three repetitions. It is a guess for
    /// those who choose; the results tell what it took.
    pub(crate) fn minutes(self) -> f64 {
        match self {
            Binary => 0.0,
            Job1000 => 0.5,
            Storage => 2.5,
            Sqlite => 3.0,
            Swaps | Reading => 5.0,
            Job10000 => 6.0,
            Sandbox => 7.0,
            Job100000 | Serving => 20.0,
        }
    }

    /// Whether `--only` names it, or one of its rows in full.
    pub(crate) fn is_named(self, only: &[String]) -> bool {
        only.iter().any(|name| name == self.name() || ROWS.iter().any(|row| row.by == self && row.name == name))
    }

    /// Why it is not taken, where it is not. What `--only` names is taken, however long it lasts.
    pub(crate) fn left_out(self, is_quick: bool, is_long: bool, is_named: bool) -> Option<&'static str> {
        match self {
            Job10000 | Job100000 | Reading | Serving if is_quick => Some("--quick takes 1,000 artists only"),
            Sandbox if is_quick && !is_named => Some("--quick takes what a second build is for only by --only"),
            Job100000 | Reading | Serving if !is_long && !is_named => Some("it needs --long, or --only with its name"),
            _ => None,
        }
    }
}

use Measurement::{Binary, Job1000, Job10000, Job100000, Reading, Sandbox, Serving, Sqlite, Storage, Swaps};

/// All rows, in the order in which they are printed.
pub(crate) const ROWS: [Row; 34] = [
    row("job-20ms", "job A, 10,000 artists, 20 ms latency, PostgreSQL", "×", 1.15, Job10000),
    row("job", "job A, 10,000 artists, no latency, PostgreSQL", "×", 3.0, Job10000),
    row("job-1000", "job A, 1,000 artists, no latency, from the first lease on", "×", 3.0, Job1000),
    row("job-1000-started", "the same with start-up", "×", 4.0, Job1000),
    row("statements", "time per batch at 10,000 artists by that at 1,000, worst statement", "times", 1.5, Job10000),
    row("write", "99th percentile of a batch's write transaction, 10,000 artists, PostgreSQL", "ms", 100.0, Job10000),
    row("write-1000", "the same at 1,000 artists", "ms", 100.0, Job1000),
    row("growth-time", "time at 100,000 artists by that at 10,000", "times", 10.5, Job100000),
    row("growth-memory", "peak memory at 100,000 artists by that at 10,000", "times", 1.5, Job100000),
    row("memory", "peak memory of the host at 10,000 artists", "MB", 300.0, Job10000),
    row("memory-100000", "peak memory of the host at 100,000 artists", "MB", 300.0, Job100000),
    row("postgres-cpu", "PostgreSQL's CPU time per account and day", "µs", 90.0, Job10000),
    row("host-cpu", "the host's CPU time per account and day", "µs", 70.0, Job10000),
    row("sqlite", "job A, 10,000 artists, no latency, SQLite", "s", 6.0, Sqlite),
    row("sqlite-growth", "time on SQLite at 10,000 artists by that at 1,000", "times", 10.5, Sqlite),
    row("sqlite-bytes", "stored bytes per account and day, SQLite", "bytes", 2_500.0, Sqlite),
    row("bytes", "stored bytes per account and day, PostgreSQL", "bytes", 2_500.0, Storage),
    row("sandbox-batch", "sandbox per batch: fresh store, instance and call", "µs", 60.0, Sandbox),
    row("sandbox-account", "sandbox per account in a batch of 50, document of 2 kB", "µs", 5.0, Sandbox),
    row("swaps-p99", "99th percentile of a batch's time under hot swaps by that without", "times", 1.2, Swaps),
    row("swaps-failed", "accounts that failed or were lost under hot swaps", "accounts", 0.0, Swaps),
    row("swaps-doubled", "requests beyond those without hot swaps", "requests", 0.0, Swaps),
    row("swaps-count", "hot swaps missing to 100 while batches ran", "swaps", 0.0, Swaps),
    row("start", "start to the first lease with compiled connectors on disk", "ms", 200.0, Job1000),
    row("reading", "a signed-in user reads two years of 7.3 million rows", "ms", 20.0, Reading),
    row("reading-rows", "rows of other artists that this read returns", "rows", 0.0, Reading),
    row("serving-overview", "the dashboard's overview, 10,000 artists with a year of rows", "ms", 200.0, Serving),
    row("serving-artist", "the dashboard's page of an artist among them", "ms", 100.0, Serving),
    row("serving-p99", "99th percentile of reads of metrics by the API, 200 a second", "ms", 50.0, Serving),
    row("serving-failed", "of these reads, those not answered with the numbers", "requests", 0.0, Serving),
    row("serving-growth", "memory of the host after these reads by that before", "times", 1.1, Serving),
    row("serving-csv", "peak memory of a host that sends a million rows as CSV, by pages", "MB", 100.0, Serving),
    row("serving-parquet", "the same as one Parquet file", "MB", 100.0, Serving),
    row("binary", "release binary as built", "MB", 60.0, Binary),
];

const fn row(name: &'static str, what: &'static str, unit: &'static str, bar: f64, by: Measurement) -> Row {
    Row { name, what, unit, bar, by }
}

/// The rows that `--only` chooses: by name, by the beginning of one, or by what measures them; all where it is empty.
///
/// # Errors
/// If a name fits no row.
pub(crate) fn chosen(only: &[String]) -> Result<Vec<&'static Row>> {
    for name in only {
        if !ROWS.iter().any(|row| fits(row, name)) {
            bail!("there is no row '{name}'; `cargo xtask bench --list` shows them");
        }
    }
    Ok(ROWS.iter().filter(|row| only.is_empty() || only.iter().any(|name| fits(row, name))).collect())
}

/// Whether a row is meant by a name: its own, the part of it before a hyphen, or that of what measures it.
fn fits(row: &Row, name: &str) -> bool {
    row.by.name() == name || row.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// What has to be measured for some rows, in the order in which it is.
pub(crate) fn measurements(rows: &[&Row]) -> Vec<Measurement> {
    let mut all: Vec<Measurement> = rows.iter().map(|row| row.by).collect();
    all.sort();
    all.dedup();
    all
}

/// The row of a name, for tests.
#[cfg(test)]
pub(crate) fn named(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str]) -> Vec<&'static str> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        chosen(&only).expect("known").iter().map(|row| row.name).collect()
    }

    #[test]
    fn rows_are_chosen_by_name_or_by_its_beginning() {
        assert_eq!(names(&[]).len(), ROWS.len());
        assert_eq!(names(&["binary", "bytes"]), ["bytes", "binary"], "in the table's order");
        assert_eq!(names(&["sqlite"]), ["sqlite", "sqlite-growth", "sqlite-bytes"]);
        assert_eq!(names(&["job-1000"]), ["job-1000", "job-1000-started", "write-1000", "start"]);
        assert_eq!(names(&["job-20ms"]), ["job-20ms"]);
        assert_eq!(names(&["storage"]), ["bytes"], "by what measures it");
        assert_eq!(names(&["job-10000"]).len(), 7);
        assert_eq!(names(&["write"]), ["write", "write-1000"]);
    }

    #[test]
    fn a_beginning_names_nothing_that_takes_long() {
        let only = |name: &str| [name.to_owned()];
        assert!(Job10000.is_named(&only("memory")) && !Job100000.is_named(&only("memory")));
        assert!(Job100000.is_named(&only("memory-100000")) && Job100000.is_named(&only("job-100000")));
        assert!(!Job100000.is_named(&only("growth")) && !Reading.is_named(&[]));
    }

    #[test]
    fn a_name_that_fits_no_row_is_refused() {
        let error = chosen(&["job".to_owned(), "swap".to_owned()]).expect_err("refused").to_string();
        assert!(error.contains("'swap'") && error.contains("--list"), "{error}");
    }

    #[test]
    fn what_measures_several_rows_is_done_once() {
        assert_eq!(measurements(&chosen(&["sqlite".to_owned()]).expect("known")), [Sqlite]);
        let all = measurements(&chosen(&[]).expect("known"));
        assert_eq!(all.first(), Some(&Job1000));
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn what_takes_long_is_measured_where_it_is_asked_for() {
        assert_eq!(Reading.left_out(false, true, false), None, "--long");
        assert_eq!(Reading.left_out(false, false, true), None, "--only reading");
        assert!(Reading.left_out(false, false, false).is_some() && Reading.left_out(true, false, true).is_some());
        assert!(Sandbox.left_out(true, false, false).is_some() && Sandbox.left_out(true, false, true).is_none());
        assert!(Serving.left_out(false, false, false).is_some() && Serving.left_out(false, false, true).is_none());
        assert_eq!(Job10000.left_out(false, false, false), None);
        assert_eq!((Swaps.artists(true), Swaps.artists(false)), (1_000, 10_000));
    }

    #[test]
    fn names_are_unique() {
        for row in &ROWS {
            assert_eq!(ROWS.iter().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
            assert_eq!(named(row.name).map(|found| found.what), Some(row.what));
        }
    }
}
