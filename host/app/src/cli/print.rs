//! Standard output: tables for people, JSON for programs. All other messages go to standard error.
//!
//! Everything that is printed passes here, and with it what connectors, platforms and other programs wrote: no
//! character of theirs steers the terminal, and in a table none starts a line of its own.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{CellAlignment, Table, TableStyle};
use serde::Serialize;

use super::exit::Failure;
use backline_model::text::{one_line, printable, printable_json};

/// Prints one JSON document.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(format!("failed to write JSON: {error}")))?;
    write_out(&printable_json(&text))
}

/// Prints one JSON document in one line, for streams of them.
pub(super) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string(value).map_err(|error| Failure::failed(format!("failed to write JSON: {error}")))?;
    write_out(&printable_json(&text))
}

/// Clears the screen and moves to its top left corner.
pub(super) fn clear_screen() -> Result<(), Failure> {
    write_out("\u{1b}[2J\u{1b}[H")
}

/// Prints one line. A closed pipe is no failure: `head` closes it when it has read enough.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    write_out(&printable(text))
}

/// How a line is marked on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    Plain,
    /// A heading.
    Strong,
    /// It worked.
    Good,
    /// It failed.
    Bad,
}

/// Prints one line, in bold or in colour if standard output is a terminal.
pub(super) fn toned(tone: Tone, text: &str) -> Result<(), Failure> {
    write_out(&marked(tone, &printable(text), io::stdout().is_terminal()))
}

/// Text that is printable already, with the sequences of its tone around it (ECMA-48, SGR).
fn marked(tone: Tone, text: &str, on_terminal: bool) -> String {
    let number = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Strong => 1,
        Tone::Good => 32,
        Tone::Bad => 31,
    };
    if on_terminal { format!("\u{1b}[{number}m{text}\u{1b}[0m") } else { text.to_owned() }
}

fn write_out(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Prints a message for the user to standard error.
pub(super) fn note(text: &str) {
    // If this fails, there is no other place to report it.
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}

/// Prints a table. Columns whose header starts with `>` hold numbers and are aligned right.
pub(super) fn table(headers: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    line(&render(headers, rows))
}

/// Prints a listing as JSON or as a table; instead of an empty table it prints `if_empty`.
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
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| one_line(cell))));
    for (index, header) in headers.iter().enumerate() {
        if header.starts_with('>')
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Text of a cell without a value.
pub(super) const NONE: &str = "–";

/// A time in UTC, to the second.
pub(super) fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A number with its noun: `1 artist`, `2 artists`.
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
    fn a_cell_neither_steers_the_terminal_nor_starts_a_line() {
        let text = render(&["name"], vec![vec!["a\u{1b}[2J\nb\u{202e}".into()]]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("a\u{fffd}[2J\u{fffd}b\u{fffd}"), "{text}");
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        assert_eq!(marked(Tone::Bad, "no", false), "no");
        assert_eq!(marked(Tone::Bad, "no", true), "\u{1b}[31mno\u{1b}[0m");
        assert_eq!(marked(Tone::Plain, "so", true), "so");
    }

    #[test]
    fn counts_have_their_plural() {
        assert_eq!(
            [count(0, "artist"), count(1, "artist"), count(2, "artist")],
            ["0 artists", "1 artist", "2 artists"]
        );
    }
}
