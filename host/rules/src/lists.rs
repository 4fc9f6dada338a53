//! Lists of artists as people have them: CSV in all forms that spreadsheets write, a JSON array, or lines of JSON.
//!
//! Bytes become records, one at a time, so that a file of any size is read in constant memory. A record that can't be
//! read is passed on like any other, with the problem, so that a report counts every row.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};

mod directory;
mod json;
mod table;
mod text;

#[cfg(test)]
mod tests;

pub use directory::{ColumnRole, Directory, Listed};

/// Longest line of JSON, and longest header of a table, in bytes; a row of all columns has under 8 KiB.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Format of a list, found from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Separated by commas, semicolons, tabs or bars, with a header.
    Table,
    /// One JSON array of objects.
    JsonArray,
    /// One JSON object per line.
    JsonLines,
}

/// What a list is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How its records are written.
    pub format: Format,
    /// Names of its columns, as [`column_name`](backline_model::account_rule::column_name) writes them.
    pub columns: BTreeSet<String>,
}

/// One record of a list, as text: empty and null values are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where it is in the list: `line 17` or `entry 17`.
    pub place: String,
    /// Column → text, or the problem with the record as a whole.
    pub fields: Result<BTreeMap<String, String>, UnreadableRecord>,
}

/// A record that can't be read.
#[derive(Clone, Debug, PartialEq)]
pub struct UnreadableRecord {
    /// The problem, for the report.
    pub problem: String,
    /// The record as it is in the list. It may hold tokens.
    pub text: String,
}

/// Why a whole list can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Reading failed.
    #[error("the file can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// The file has nothing but white space.
    #[error("the file is empty; a CSV file starts with a header, a JSON file with [ or {{")]
    Empty,
    /// The file is of a kind that is not a list.
    #[error("the file is {what}, which is not a list; {remedy}")]
    Foreign {
        /// What it is.
        what: &'static str,
        /// How to make a list of it.
        remedy: &'static str,
    },
    /// The header lacks a required column.
    #[error("the header has no column '{missing}'; it has: {found}")]
    Header {
        /// Name of the column.
        missing: &'static str,
        /// The header's columns, separated by commas.
        found: String,
    },
    /// The header does not end.
    #[error("the header is longer than {LINE_BYTES_MAX} bytes or has a quote without an end; correct line {line}")]
    EndlessHeader {
        /// Line on which it begins.
        line: u64,
    },
    /// A column occurs twice.
    #[error("the header names column '{0}' twice; rename or remove one of them")]
    TwiceInHeader(String),
    /// The array is incomplete or is not JSON.
    #[error("the JSON array is invalid after {entries} entries: {problem}")]
    Array {
        /// Entries read before the problem.
        entries: u64,
        /// The parser's message, with line and column.
        problem: String,
    },
}

/// Reads every record of a list and passes it to `each`.
///
/// # Errors
/// When the list as a whole can't be read; an invalid record is passed to `each`.
pub fn read(input: impl Read, each: &mut dyn FnMut(Record)) -> Result<Shape, ListError> {
    let mut input = BufReader::new(text::Text::of(input)?);
    let mut blank_lines = 0;
    match skip_blank(&mut input, &mut blank_lines)? {
        None => Err(ListError::Empty),
        Some(b'[') => json::read_array(input, each),
        Some(b'{') => json::read_lines(input, blank_lines, each),
        Some(_) => table::read(input, blank_lines, each),
    }
}

/// Skips blank lines, and the blanks at the beginning of a line if it is not one of a table; returns the first
/// character's byte. A tab may separate two cells, so it is left alone.
fn skip_blank(input: &mut impl BufRead, lines: &mut u64) -> std::io::Result<Option<u8>> {
    loop {
        let Some(&first) = input.fill_buf()?.first() else { return Ok(None) };
        match first {
            b'\n' => *lines += 1,
            b' ' => {}
            _ => return Ok(Some(first)),
        }
        input.consume(1);
    }
}

/// Adds a value under a column's plain name. A blank value is none.
///
/// # Errors
/// When the name was used already.
fn insert(fields: &mut BTreeMap<String, String>, name: &str, text: &str) -> Result<(), String> {
    let text = text.trim();
    if backline_model::cell::is_blank(text) {
        return Ok(());
    }
    match fields.insert(name.to_owned(), text.to_owned()) {
        None => Ok(()),
        Some(_) => Err(format!("it names '{name}' twice")),
    }
}
