//! What measurements came to: the file that `--json` writes and adds to, and that `--compare` and `--from` read.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::figures::{Spread, shown};
use super::machine::Machine;
use super::rows::{ROWS, Row};

/// Results of one run of the command, or of several on the same commit and machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Day of the latest measurement, in UTC.
    pub(crate) date: String,
    /// `quick` or `usual`.
    pub(crate) extent: String,
    pub(crate) machine: Machine,
    /// What was measured, and the seconds that it took with what it set up.
    pub(crate) took: BTreeMap<String, f64>,
    /// Rows with a bar.
    pub(crate) rows: Vec<RowResult>,
    /// Figures without a bar.
    pub(crate) details: Vec<Detail>,
    /// PostgreSQL's statements by the time they took; empty with a note where they could not be counted.
    pub(crate) statements: Vec<Statement>,
    /// What a reader of the figures has to know.
    pub(crate) notes: Vec<Note>,
}

/// One row of the table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RowResult {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) unit: String,
    /// The most that it may be, in its unit.
    pub(crate) bar: f64,
    #[serde(flatten)]
    pub(crate) outcome: FigureResult,
}

/// A figure, or why there is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FigureResult {
    /// What was measured.
    Measured(Spread),
    /// Why it was not measured.
    NotMeasured(String),
}

/// A figure without a bar.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Detail {
    /// What measured it.
    pub(crate) by: String,
    pub(crate) what: String,
    pub(crate) unit: String,
    pub(crate) figure: Spread,
}

/// A sentence for readers of the figures.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    /// What it is about.
    pub(crate) by: String,
    pub(crate) text: String,
}

/// One statement as `pg_stat_statements` counts it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Statement {
    /// The job that it was counted in.
    pub(crate) by: String,
    pub(crate) calls: f64,
    /// Milliseconds of all calls.
    pub(crate) ms: f64,
    /// Milliseconds for each batch of the runs.
    pub(crate) ms_per_batch: f64,
    /// Rows returned or written by all calls.
    pub(crate) rows: f64,
    /// Its text on one line, or the beginning of a long one.
    pub(crate) statement: String,
}

impl RowResult {
    /// The result of a row.
    pub(crate) fn of(row: &Row, outcome: FigureResult) -> Self {
        Self { name: row.name.to_owned(), what: row.what.to_owned(), unit: row.unit.to_owned(), bar: row.bar, outcome }
    }

    /// Whether the bar was met; none where nothing was measured.
    pub(crate) fn met(&self) -> Option<bool> {
        match &self.outcome {
            FigureResult::Measured(spread) => Some(spread.median <= self.bar),
            FigureResult::NotMeasured(_) => None,
        }
    }
}

impl Results {
    /// Reads a file that `--json` has written.
    ///
    /// # Errors
    /// If it can't be read, or is none.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is no result of `cargo xtask bench --json`", path.display()))
    }

    /// Writes the file, with the verdict beside each figure.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_value(self)?;
        for (row, result) in json["rows"].as_array_mut().into_iter().flatten().zip(&self.rows) {
            row["met"] = result.met().into();
        }
        std::fs::write(path, format!("{json:#}\n")).with_context(|| format!("failed to write {}", path.display()))
    }

    /// Refuses results that can't be put beside those of another run: of another commit, machine or extent.
    ///
    /// # Errors
    /// Names what differs.
    pub(crate) fn expect_same(&self, extent: &str, machine: &Machine) -> Result<()> {
        if self.extent != extent {
            bail!("it has {} results, and these are {extent} ones", self.extent);
        }
        match self.machine.difference(machine) {
            Some(difference) => bail!("{difference}"),
            None => Ok(()),
        }
    }

    /// These results with those of an earlier run: what was measured again takes the place of what was. All rows are
    /// there, in the order of the table.
    pub(crate) fn added_to(self, earlier: Option<Self>) -> Self {
        let mut before = earlier.unwrap_or_else(|| Self {
            date: self.date.clone(),
            extent: self.extent.clone(),
            machine: Machine::default(),
            took: BTreeMap::new(),
            rows: Vec::new(),
            details: Vec::new(),
            statements: Vec::new(),
            notes: Vec::new(),
        });
        let Self { date, extent, machine, took, rows, details, statements, notes } = self;
        let is_kept = |by: &String| !took.contains_key(by);
        before.details.retain(|detail| is_kept(&detail.by));
        before.statements.retain(|statement| is_kept(&statement.by));
        before.notes.retain(|note| is_kept(&note.by));
        let mut outcomes = BTreeMap::new();
        for row in before.rows.into_iter().chain(rows) {
            let was_measured = matches!(outcomes.get(&row.name), Some(FigureResult::Measured(_)));
            // A figure goes only where another one comes.
            if !was_measured || matches!(row.outcome, FigureResult::Measured(_)) {
                outcomes.insert(row.name, row.outcome);
            }
        }
        let missing = || FigureResult::NotMeasured("no run has measured it yet".to_owned());
        let of = |row: &Row| RowResult::of(row, outcomes.remove(row.name).unwrap_or_else(missing));
        let rows = ROWS.iter().map(of).collect();
        before.took.extend(took);
        before.details.extend(details);
        before.statements.extend(statements);
        before.notes.extend(notes);
        // As the table has them, whichever run came first.
        before.details.sort_by_key(|detail| place(&detail.by));
        before.statements.sort_by_key(|statement| place(&statement.by));
        before.notes.sort_by_key(|note| place(&note.by));
        Self { date, extent, machine, rows, ..before }
    }

    /// A figure without a bar, where it was measured.
    pub(crate) fn detail(&self, what: &str) -> Option<Spread> {
        self.details.iter().find(|detail| detail.what == what).map(|detail| detail.figure)
    }

    /// A row's figure, where it was measured.
    pub(crate) fn measured(&self, name: &str) -> Option<Spread> {
        self.rows.iter().find(|row| row.name == name).and_then(|row| match &row.outcome {
            FigureResult::Measured(spread) => Some(*spread),
            FigureResult::NotMeasured(_) => None,
        })
    }

    /// How each row changed since an earlier result: earlier, now, and the change in percent. Rows that were measured
    /// only once are left out.
    pub(crate) fn changes_since(&self, earlier: &Self) -> Vec<Vec<String>> {
        let change = |row: &RowResult| {
            let (now, before) = (self.measured(&row.name)?, earlier.measured(&row.name)?);
            let change = if before.median == 0.0 {
                if now.median == 0.0 { "0 %".to_owned() } else { "new".to_owned() }
            } else {
                format!("{:+.0} %", (now.median / before.median - 1.0) * 100.0)
            };
            // Where the spreads overlap, a change may be chance.
            let is_clear = now.low > before.high || now.high < before.low;
            let clear = if is_clear { "" } else { "within the spread" };
            Some(vec![
                row.name.clone(),
                row.unit.clone(),
                clear.to_owned(),
                shown(before.median),
                shown(now.median),
                change,
            ])
        };
        self.rows.iter().filter_map(change).collect()
    }
}

/// Where the rows that something measures stand first in the table.
fn place(by: &str) -> usize {
    ROWS.iter().position(|row| row.by.name() == by).unwrap_or(ROWS.len())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::rows::named;
    use super::*;

    /// A result with some rows measured.
    pub(crate) fn results(measured: &[(&str, f64)]) -> Results {
        let row = |(name, figure): &(&str, f64)| {
            let spread = Spread { median: *figure, low: figure * 0.9, high: figure * 1.1, count: 3 };
            RowResult::of(named(name).expect("a row"), FigureResult::Measured(spread))
        };
        let mut rows: Vec<RowResult> = measured.iter().map(row).collect();
        rows.push(RowResult::of(
            named("reading").expect("a row"),
            FigureResult::NotMeasured("it needs --long".to_owned()),
        ));
        Results {
            date: "2026-11-28".to_owned(),
            extent: "usual".to_owned(),
            machine: Machine::default(),
            took: [("job-1000".to_owned(), 30.0)].into(),
            rows,
            details: vec![Detail {
                by: "job-1000".to_owned(),
                what: "job A, native".to_owned(),
                unit: "s".to_owned(),
                figure: Spread { median: 1.0, low: 1.0, high: 1.0, count: 1 },
            }],
            statements: vec![Statement {
                by: "job-1000".to_owned(),
                calls: 10.0,
                ms: 20.0,
                ms_per_batch: 2.0,
                rows: 500.0,
                statement: "INSERT INTO metrics | of a batch".to_owned(),
            }],
            notes: vec![Note { by: "job-1000".to_owned(), text: "a note".to_owned() }],
        }
    }

    #[test]
    fn a_bar_is_met_up_to_its_very_figure() {
        let met = |figure| results(&[("job", figure)]).rows[0].met();
        assert_eq!([met(2.9), met(3.0), met(3.1)], [Some(true), Some(true), Some(false)]);
        assert_eq!(results(&[]).rows[0].met(), None, "what was not measured is neither met nor missed");
    }

    #[test]
    fn a_file_comes_back_as_it_was_written_and_tells_what_was_met() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.json");
        results(&[("job", 2.0), ("binary", 61.0)]).write(&path).expect("written");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text.matches("\"met\": true").count(), 1, "{text}");
        assert_eq!(text.matches("\"met\": false").count(), 1, "{text}");
        assert_eq!(text.matches("\"met\": null").count(), 1, "{text}");
        let read = Results::read(&path).expect("the same");
        assert_eq!(read.measured("job").map(|spread| spread.median), Some(2.0));
        assert_eq!(read.measured("reading"), None);
        std::fs::write(&path, "{}").expect("written");
        let error = Results::read(&path).expect_err("refused").to_string();
        assert!(error.contains("is no result of"), "{error}");
    }

    #[test]
    fn a_comparison_shows_what_both_measured_and_what_may_be_chance() {
        let before = results(&[("job", 10.0), ("memory", 100.0), ("swaps-failed", 0.0)]);
        let now = results(&[("job", 5.0), ("memory", 105.0), ("binary", 57.0), ("swaps-failed", 2.0)]);
        let changes = now.changes_since(&before);
        assert_eq!(changes.len(), 3, "{changes:?}");
        assert_eq!(changes[0], ["job", "×", "", "10.0", "5.00", "-50 %"]);
        assert_eq!(changes[1], ["memory", "MB", "within the spread", "100", "105", "+5 %"]);
        assert_eq!(changes[2][5], "new");
    }

    /// A later run that measured only the binary.
    fn of_the_binary() -> Results {
        let (took, mut later) = ([("binary".to_owned(), 1.0)].into(), results(&[("binary", 57.0)]));
        later.notes[0].by = "binary".to_owned();
        Results { date: "2026-11-29".to_owned(), took, details: Vec::new(), statements: Vec::new(), ..later }
    }

    #[test]
    fn a_later_run_adds_what_it_measured_and_replaces_what_it_measured_again() {
        let both = of_the_binary().added_to(Some(results(&[("job-1000", 2.0), ("binary", 70.0)])));
        assert_eq!(both.rows.len(), ROWS.len(), "every row is there");
        assert_eq!(both.measured("job-1000").map(|figure| figure.median), Some(2.0), "of the earlier run");
        assert_eq!(both.measured("binary").map(|figure| figure.median), Some(57.0), "of the later one");
        assert_eq!((both.date.as_str(), both.took.len()), ("2026-11-29", 2));
        assert_eq!((both.details.len(), both.statements.len(), both.notes.len()), (1, 1, 2));
        let again = results(&[("job-1000", 3.0)]).added_to(Some(both));
        assert_eq!(again.measured("job-1000").map(|figure| figure.median), Some(3.0));
        assert_eq!((again.details.len(), again.statements.len(), again.notes.len()), (1, 1, 2), "none is there twice");
        let alone = results(&[("job-1000", 3.0)]).added_to(None);
        assert_eq!((alone.rows.len(), alone.measured("binary")), (ROWS.len(), None));
    }

    #[test]
    fn a_run_that_failed_takes_no_figure_away() {
        let failed = |figures: &[(&str, f64)]| {
            let mut failed = results(figures);
            let row = named("binary").expect("a row");
            failed.rows.push(RowResult::of(row, FigureResult::NotMeasured("it failed".to_owned())));
            failed
        };
        let kept = failed(&[]).added_to(Some(results(&[("binary", 57.0)])));
        assert_eq!(kept.measured("binary").map(|figure| figure.median), Some(57.0));
        let never = failed(&[]).added_to(None);
        assert_eq!(never.measured("binary"), None);
    }

    #[test]
    fn results_of_another_commit_machine_or_extent_stay_apart() {
        let machine = |commit: &str| Machine { commit: commit.to_owned(), ..Machine::default() };
        let results = Results { machine: machine("a1"), ..results(&[]) };
        assert!(results.expect_same("usual", &machine("a1")).is_ok());
        let error = results.expect_same("usual", &machine("b2")).expect_err("refused").to_string();
        assert!(error.contains("a1") && error.contains("b2"), "{error}");
        assert!(results.expect_same("quick", &machine("a1")).is_err());
    }
}
