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
    /// The file that operators run.
    Binary,
}

use Measurement::{Binary, Job1000, Job10000, Job100000, Reading, Sandbox, Sqlite, Storage, Swaps};

/// All rows, in the order in which they are printed.
pub(crate) const ROWS: [Row; 23] = [
    row("job-20ms", "job A, 10,000 artists, 20 ms latency, PostgreSQL", "×", 1.15, Job10000),
    row("job", "job A, 10,000 artists, no latency, PostgreSQL", "×", 3.0, Job10000),
    row("job-1000", "job A, 1,000 artists, no latency, from the first lease on", "×", 3.0, Job1000),
    row("job-1000-started", "the same with start-up", "×", 4.0, Job1000),
    row("growth-time", "time at 100,000 artists by that at 10,000", "times", 10.5, Job100000),
    row("growth-memory", "peak memory at 100,000 artists by that at 10,000", "times", 1.5, Job100000),
    row("memory", "peak memory of the host at 10,000 artists", "MB", 300.0, Job10000),
    row("memory-100000", "peak memory of the host at 100,000 artists", "MB", 300.0, Job100000),
    row("postgres-cpu", "PostgreSQL's CPU time per account and day", "µs", 90.0, Job10000),
    row("host-cpu", "the host's CPU time per account and day", "µs", 70.0, Job10000),
    row("sqlite", "job A, 10,000 artists, no latency, SQLite", "s", 6.0, Sqlite),
    row("sqlite-growth", "time on SQLite at 10,000 artists by that at 1,000", "times", 10.5, Sqlite),
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
    row("binary", "release binary as built", "MB", 60.0, Binary),
];

const fn row(name: &'static str, what: &'static str, unit: &'static str, bar: f64, by: Measurement) -> Row {
    Row { name, what, unit, bar, by }
}

/// The rows that `--only` chooses: by name, or by the beginning of one; all where it is empty.
///
/// # Errors
/// If a name fits no row.
pub(crate) fn chosen(only: &[String]) -> Result<Vec<&'static Row>> {
    for name in only {
        if !ROWS.iter().any(|row| fits(row, name)) {
            let known = ROWS.map(|row| row.name).join(", ");
            bail!("there is no row '{name}'; the rows are {known}");
        }
    }
    Ok(ROWS.iter().filter(|row| only.is_empty() || only.iter().any(|name| fits(row, name))).collect())
}

/// Whether a row is meant by a name: its own, or the part of it before a hyphen.
fn fits(row: &Row, name: &str) -> bool {
    row.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
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
        assert_eq!(names(&["sqlite"]), ["sqlite", "sqlite-growth"]);
        assert_eq!(names(&["job-1000"]), ["job-1000", "job-1000-started"]);
        assert_eq!(names(&["job-20ms"]), ["job-20ms"]);
    }

    #[test]
    fn a_name_that_fits_no_row_is_refused_with_the_known_ones() {
        let error = chosen(&["job".to_owned(), "swap".to_owned()]).expect_err("refused").to_string();
        assert!(error.contains("'swap'") && error.contains("swaps-p99"), "{error}");
    }

    #[test]
    fn what_measures_several_rows_is_done_once() {
        assert_eq!(measurements(&chosen(&["sqlite".to_owned()]).expect("known")), [Sqlite]);
        let all = measurements(&chosen(&[]).expect("known"));
        assert_eq!(all.first(), Some(&Job1000));
        assert_eq!(all.len(), 9);
    }

    #[test]
    fn names_are_unique() {
        for row in &ROWS {
            assert_eq!(ROWS.iter().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
            assert_eq!(named(row.name).map(|found| found.what), Some(row.what));
        }
    }
}
