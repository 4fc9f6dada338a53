//! What the command prints: one table of all rows, the figures without a bar, and the statements.

use std::fmt::Write as _;

use super::figures::{Spread, shown};
use super::results::{FigureResult, Results, RowResult, Statement};
use super::rows::{ROWS, Row};
use crate::table::table;

/// Columns of a statement that are shown.
const STATEMENT_COLUMNS: usize = 64;

/// Statements of a job that are shown; those after them take next to nothing.
const STATEMENTS_SHOWN: usize = 12;

/// All of it, for a terminal.
pub(crate) fn text(results: &Results) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "\n{}\n", results.machine.line());
    let rows: Vec<Vec<String>> = results.rows.iter().map(cells).collect();
    text += &table(&["row", "what", "unit", "spread", "bar", "measured", "met"], &rows, &[0, 1, 2, 3]);
    for (row, reason) in results.rows.iter().filter_map(not_measured) {
        let _ = writeln!(text, "{row}: not measured, {reason}");
    }
    if !results.details.is_empty() {
        text += "\nWithout a bar\n\n";
        let rows: Vec<Vec<String>> = results
            .details
            .iter()
            .map(|detail| {
                let figure = detail.figure;
                vec![detail.what.clone(), detail.unit.clone(), spread(figure), shown(figure.median)]
            })
            .collect();
        text += &table(&["what", "unit", "spread", "measured"], &rows, &[0, 1, 2]);
    }
    for by in jobs(results) {
        let _ = writeln!(text, "\nStatements of {by}, by the time they took in PostgreSQL\n");
        text += &table(&["statement", "calls", "ms", "ms per batch", "rows"], &statements(results, by), &[0]);
    }
    for note in &results.notes {
        let _ = writeln!(text, "note: {}", note.text);
    }
    text
}

/// The comparison with an earlier result.
pub(crate) fn comparison(results: &Results, earlier: &Results) -> String {
    let changes = results.changes_since(earlier);
    if changes.is_empty() {
        return format!("\nNothing was measured in both this run and that of {}\n", earlier.date);
    }
    let header = ["row", "unit", "", "before", "now", "change"];
    format!("\nCompared with {} ({})\n\n{}", earlier.date, earlier.extent, table(&header, &changes, &[0, 1, 2]))
}

/// The cells of a row: name, what, unit, spread, bar, median, verdict.
pub(crate) fn cells(row: &RowResult) -> Vec<String> {
    let (range, median) = match &row.outcome {
        FigureResult::Measured(figure) => (spread(*figure), shown(figure.median)),
        FigureResult::NotMeasured(_) => (String::new(), "not measured".to_owned()),
    };
    let met = match row.met() {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "–",
    };
    vec![
        row.name.clone(),
        row.what.clone(),
        row.unit.clone(),
        range,
        format!("≤ {}", shown(row.bar)),
        median,
        met.to_owned(),
    ]
}

/// A row without a figure, and why.
pub(crate) fn not_measured(row: &RowResult) -> Option<(&str, &str)> {
    match &row.outcome {
        FigureResult::Measured(_) => None,
        FigureResult::NotMeasured(reason) => Some((&row.name, reason)),
    }
}

/// From the smallest to the largest, with their number.
pub(crate) fn spread(figure: Spread) -> String {
    if figure.count == 1 {
        return "once".to_owned();
    }
    format!("{} to {} ({})", shown(figure.low), shown(figure.high), figure.count)
}

/// The jobs whose statements were counted, in order.
pub(crate) fn jobs(results: &Results) -> Vec<&str> {
    let mut jobs: Vec<&str> = results.statements.iter().map(|statement| statement.by.as_str()).collect();
    jobs.dedup();
    jobs
}

/// The cells of a job's statements: statement, calls, ms, ms per batch, rows.
pub(crate) fn statements(results: &Results, by: &str) -> Vec<Vec<String>> {
    let cells = |statement: &Statement| {
        let beginning: String = statement.statement.chars().take(STATEMENT_COLUMNS).collect();
        vec![
            beginning,
            format!("{:.0}", statement.calls),
            format!("{:.0}", statement.ms),
            format!("{:.3}", statement.ms_per_batch),
            format!("{:.0}", statement.rows),
        ]
    };
    results.statements.iter().filter(|statement| statement.by == by).take(STATEMENTS_SHOWN).map(cells).collect()
}

/// What can be measured, for those who choose: each row with its bar, and how long what measures it takes.
pub(crate) fn list() -> String {
    let row = |row: &Row| {
        let minutes = row.by.minutes();
        let long = if row.by.left_out(false, false, false).is_some() { "--long, or by name" } else { "" };
        vec![
            row.name.to_owned(),
            row.what.to_owned(),
            format!("≤ {} {}", shown(row.bar), row.unit),
            row.by.name().to_owned(),
            long.to_owned(),
            format!("{minutes}"),
        ]
    };
    let rows: Vec<Vec<String>> = ROWS.iter().map(row).collect();
    table(&["row", "what", "bar", "measured by", "needs", "about minutes"], &rows, &[0, 1, 2, 3, 4])
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::results;
    use super::*;

    #[test]
    fn the_table_says_what_was_met_missed_and_not_measured() {
        let text = text(&results(&[("job", 2.0), ("binary", 61.0)]));
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).expect("a row").to_owned();
        assert!(line("job ").ends_with("≤ 3.00          2.00  yes"), "{text}");
        assert!(line("job ").contains("1.80 to 2.20 (3)"), "{text}");
        assert!(line("binary").ends_with("NO"), "{text}");
        assert!(line("reading ").ends_with("not measured    –"), "{text}");
        assert!(text.contains("\nreading: not measured, it needs --long\n"), "{text}");
        assert!(text.contains("note: a note"), "{text}");
    }

    #[test]
    fn each_jobs_statements_have_a_table() {
        let mut results = results(&[("job", 2.0)]);
        let larger = Statement { by: "job-10000".to_owned(), calls: 70.0, ..results.statements[0].clone() };
        results.statements.push(larger);
        assert_eq!(jobs(&results), ["job-1000", "job-10000"]);
        assert_eq!(statements(&results, "job-10000")[0][1], "70");
        assert_eq!(text(&results).matches("by the time they took").count(), 2);
    }

    #[test]
    fn the_list_has_every_row() {
        let list = list();
        assert_eq!(list.lines().count(), ROWS.len() + 2, "{list}");
        let reading = list.lines().find(|line| line.starts_with("reading ")).expect("a row");
        assert!(reading.contains("≤ 20.0 ms") && reading.contains("--long, or by name"), "{list}");
    }

    #[test]
    fn a_comparison_names_the_earlier_run() {
        let earlier = results(&[("job", 4.0)]);
        let text = comparison(&results(&[("job", 2.0)]), &earlier);
        assert!(text.starts_with("\nCompared with 2026-11-28 (usual)\n") && text.contains("-50 %"), "{text}");
        let none = comparison(&results(&[("memory", 2.0)]), &earlier);
        assert!(none.contains("Nothing was measured in both"), "{none}");
    }
}
