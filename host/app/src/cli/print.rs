//! Standard output: tables for people, JSON for programs. Everything else a command says goes to standard error.

use std::io::{self, Write as _};

use comfy_table::{CellAlignment, Table, TableStyle};
use serde::Serialize;

use super::exit::Failure;

/// Prints one JSON document.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(format!("failed to write JSON: {error}")))?;
    line(&text)
}

/// Prints one line. A reader that has closed the pipe, such as `head`, is no failure.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Says something to the person at the terminal.
pub(super) fn note(text: &str) {
    // Nobody is left to be told if this fails.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A table: headers that start with `>` are columns of numbers.
pub(super) fn table(headers: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    line(&render(headers, rows))
}

/// One listing in either form; an empty table is explained instead of printed.
pub(super) fn listing<T: Serialize>(
    as_json: bool,
    items: &[T],
    headers: &[&str],
    row: impl Fn(&T) -> Vec<String>,
    if_empty: &str,
) -> Result<(), Failure> {
    if as_json {
        json(&items)
    } else if items.is_empty() {
        note(if_empty);
        Ok(())
    } else {
        table(headers, items.iter().map(row).collect())
    }
}

fn render(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(headers.iter().map(|header| header.trim_start_matches('>').to_uppercase()));
    table.add_rows(rows);
    for (index, header) in headers.iter().enumerate() {
        if header.starts_with('>')
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// What stands in a cell without a value.
pub(super) const NONE: &str = "–";

/// A time as a cell, to the second.
pub(super) fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A count with its thing: `1 artist`, `2 artists`.
pub(super) fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_no_line_ends_in_blanks() {
        let text = render(
            &["name", ">followers"],
            vec![vec!["Ada".into(), "7".into()], vec!["Bo".into(), "12345678901".into()]],
        );
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].trim_start().starts_with("NAME") && lines[0].ends_with("FOLLOWERS"), "{text}");
        assert!(lines[1].ends_with("          7") && lines[2].ends_with("12345678901"), "{text}");
        assert!(lines.iter().all(|line| line.trim_end() == *line), "{text}");
    }

    #[test]
    fn counts_have_their_plural() {
        assert_eq!(
            [count(0, "artist"), count(1, "artist"), count(2, "artist")],
            ["0 artists", "1 artist", "2 artists"]
        );
    }
}
