//! Standard output: tables for people, JSON for programs. All other messages go to standard error.
//!
//! Everything that is printed passes here, and with it what connectors, platforms and other programs wrote: no
//! character of theirs steers the terminal, and in a table none starts a line of its own.

use std::io::{self, IsTerminal, Write as _};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::exit::Failure;
use super::{progress, table};
use backline_model::text::{printable, printable_json};

/// Whether `--wide` was given.
static WIDE: OnceLock<bool> = OnceLock::new();

/// Says once, before anything is printed, whether tables may be wider than the terminal.
pub(in crate::cli) fn begin(wide: bool) {
    // A second call would be a second command in one process: the first one's choice stays.
    let _ = WIDE.set(wide);
}

/// Prints one JSON document.
pub(in crate::cli) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(format!("failed to write JSON: {error}")))?;
    write_out(&printable_json(&text))
}

/// Prints one JSON document in one line, for streams of them.
pub(in crate::cli) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string(value).map_err(|error| Failure::failed(format!("failed to write JSON: {error}")))?;
    write_out(&printable_json(&text))
}

/// Prints what a command has done: as JSON, or as a sentence.
pub(in crate::cli) fn done(as_json: bool, what: &impl Serialize, sentence: &str) -> Result<(), Failure> {
    if as_json { json(what) } else { line(sentence) }
}

/// Prints bytes of this program's own, such as a script for a shell, as they are.
pub(in crate::cli) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    match progress::aside(|| io::stdout().lock().write_all(bytes)) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Prints the help of a command, in colours where standard output takes them.
pub(in crate::cli) fn help(text: &clap::builder::StyledStr) -> Result<(), Failure> {
    let text = if has_colours(&io::stdout()) { text.ansi().to_string() } else { text.to_string() };
    write_out(text.trim_end())
}

/// Clears the screen and moves to its top left corner.
pub(in crate::cli) fn clear_screen() -> Result<(), Failure> {
    write_out("\u{1b}[2J\u{1b}[H")
}

/// Prints one line. A closed pipe is no failure: `head` closes it when it has read enough.
pub(in crate::cli) fn line(text: &str) -> Result<(), Failure> {
    write_out(&printable(text))
}

/// Text of others within a line: the lines that it goes on with are further in than any of this program's, so that none
/// looks like one of its own.
pub(in crate::cli) fn hanging(text: &str) -> String {
    text.replace('\n', "\n          ")
}

/// How a line is marked on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Tone {
    /// As it is.
    Plain,
    /// A heading.
    Strong,
    /// It worked.
    Good,
    /// It failed.
    Bad,
    /// Someone should look at it.
    Warning,
}

/// Prints sentences, on a terminal in lines that end between words; in bold or in colour where standard output takes
/// them.
pub(in crate::cli) fn toned(tone: Tone, text: &str) -> Result<(), Failure> {
    let text = table::in_lines(&printable(text), terminal_width());
    write_out(&marked(tone, &text, has_colours(&io::stdout())))
}

/// Whether a stream takes colours: a terminal does, unless NO_COLOR, CLICOLOR or TERM say otherwise, and everything
/// does with CLICOLOR_FORCE.
pub(in crate::cli) fn has_colours(stream: &impl anstream::stream::RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Text that is printable already, with the sequences of its tone around it (ECMA-48, SGR).
fn marked(tone: Tone, text: &str, in_colour: bool) -> String {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    let style = match tone {
        _ if !in_colour => Style::new(),
        Tone::Plain => Style::new(),
        Tone::Strong => Style::new().bold(),
        Tone::Good => colour(AnsiColor::Green),
        Tone::Bad => colour(AnsiColor::Red),
        Tone::Warning => colour(AnsiColor::Yellow),
    };
    format!("{style}{text}{style:#}")
}

fn write_out(text: &str) -> Result<(), Failure> {
    match progress::aside(|| writeln!(io::stdout().lock(), "{text}")) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Prints a message for the user to standard error, on a terminal in lines that end between words.
pub(in crate::cli) fn note(text: &str) {
    let text = table::in_lines(&printable(text), columns_of(&io::stderr()));
    let text = noted(&text, has_colours(&io::stderr()));
    // If this fails, there is no other place to report it.
    let _ = progress::aside(|| writeln!(io::stderr().lock(), "{text}"));
}

/// A message, with its first word in colour where that says how bad it is.
fn noted(text: &str, in_colour: bool) -> String {
    for (word, tone) in [("error:", Tone::Bad), ("warning:", Tone::Warning), ("simulated:", Tone::Warning)] {
        if let Some(rest) = text.strip_prefix(word) {
            return format!("{}{rest}", marked(tone, word, in_colour));
        }
    }
    text.to_owned()
}

/// Prints why a command ended early, to standard error: as a sentence, or as one line of JSON.
pub(in crate::cli) fn failure(failure: &Failure, as_json: bool) {
    if !as_json {
        return note(&format!("error: {}", failure.message));
    }
    let text = printable_json(&failure.to_json().to_string());
    let _ = progress::aside(|| writeln!(io::stderr().lock(), "{text}"));
}

/// Prints a table, on a terminal no wider than that. [`super::table`] says what the marks in headers mean.
pub(in crate::cli) fn table(headers: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    let width = terminal_width();
    let table::Laid { text, left_out } = table::lay_out(headers, &rows, width);
    write_out(&text)?;
    if !left_out.is_empty() {
        note(&format!("no room for {}; --wide shows everything", left_out.join(", ")));
    }
    Ok(())
}

/// Columns of the terminal that standard output is; none where it is no terminal, or with `--wide`.
fn terminal_width() -> Option<usize> {
    if WIDE.get() == Some(&true) { None } else { columns_of(&io::stdout()) }
}

/// Columns of the terminal that a stream is; none where it is no terminal.
fn columns_of(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    // A terminal that does not know its size says 0.
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Prints a listing as JSON or as a table; instead of an empty table it prints `if_empty`.
pub(in crate::cli) fn listing<T: Serialize>(
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

/// Text of a cell without a value.
pub(in crate::cli) use crate::pipeline::words::NONE;

/// A time in UTC, to the second.
pub(in crate::cli) fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A number with its noun: `1 artist`, `2 artists`.
pub(in crate::cli) fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_colours_gets_them() {
        assert_eq!(marked(Tone::Bad, "no", false), "no");
        assert_eq!(marked(Tone::Bad, "no", true), "\u{1b}[31mno\u{1b}[0m");
        assert_eq!(marked(Tone::Plain, "so", true), "so");
        assert_eq!(noted("warning: so", true), "\u{1b}[33mwarning:\u{1b}[0m so");
        assert_eq!(noted("error: so", false), "error: so");
        assert_eq!(noted("an error: so", true), "an error: so");
    }

    #[test]
    fn what_others_wrote_begins_no_line_like_ours() {
        let said = hanging("  failed: gone\nbatch (3 cases) passed\n\nno difference");
        assert!(said.lines().skip(1).all(|line| line.starts_with("          ")), "{said}");
    }

    #[test]
    fn counts_have_their_plural() {
        assert_eq!(
            [count(0, "artist"), count(1, "artist"), count(2, "artist")],
            ["0 artists", "1 artist", "2 artists"]
        );
    }
}
