//! Lists as tables: a header, and cells that a delimiter separates.
//!
//! What spreadsheets add is nothing: a line `sep=;`, rows and columns without a value, a line break in a quoted cell.

use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};

use backline_model::account_rule::column_name;
use backline_model::cell;

use super::{Format, LINE_BYTES_MAX, ListError, Record, Shape, UnreadableRecord, insert};

/// Columns that a header must have.
const REQUIRED: [&str; 2] = ["id", "name"];

/// What may separate cells; the first wins where two are equally frequent.
const DELIMITERS: [u8; 4] = *b",;\t|";

/// A line before the header by which Excel is told the delimiter.
const SEPARATOR_LINE: &str = "sep=";

pub(super) fn read(
    mut input: impl BufRead,
    blank_lines: u64,
    each: &mut dyn FnMut(Record),
) -> Result<Shape, ListError> {
    let mut skipped = blank_lines;
    let mut told = None;
    // The first line with a value is the header.
    let header = loop {
        let line = header_line(&mut input, skipped + 1)?;
        if line.is_empty() {
            return Err(ListError::Empty);
        }
        let text = String::from_utf8_lossy(&line);
        let plain = text.trim().trim_matches('"');
        match plain.get(..SEPARATOR_LINE.len()) {
            Some(start) if told.is_none() && start.eq_ignore_ascii_case(SEPARATOR_LINE) => {
                // A tab after `sep=` is white space at the end of the line.
                let rest = text.trim_matches(['\n', '"', ' ']).get(SEPARATOR_LINE.len()..).unwrap_or_default();
                told = rest.bytes().next().or(Some(b'\t'));
            }
            _ if line.iter().all(|byte| DELIMITERS.contains(byte) || byte.is_ascii_whitespace() || *byte == b'"') => {}
            _ => break line,
        }
        skipped += line.iter().filter(|byte| **byte == b'\n').count() as u64;
    };
    let delimiter = told.filter(|told| DELIMITERS.contains(told)).unwrap_or_else(|| delimiter_of(&header));
    let builder = || {
        let mut builder = csv::ReaderBuilder::new();
        builder.delimiter(delimiter).has_headers(false).flexible(true).terminator(csv::Terminator::Any(b'\n'));
        builder
    };
    let mut names = csv::StringRecord::new();
    let lossless = String::from_utf8_lossy(&header);
    builder().from_reader(lossless.as_bytes()).read_record(&mut names).map_err(csv_error)?;
    let names: Vec<String> = names.iter().map(column_name).collect();
    check_header(&names)?;
    let before_rows = skipped + header.iter().filter(|byte| **byte == b'\n').count() as u64;
    let mut reader = builder().from_reader(input);
    let mut row = csv::ByteRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_byte_record(&mut row) {
            Ok(false) => break,
            Ok(true) if row.iter().all(is_blank) => {}
            Ok(true) => {
                let line = before_rows + row.position().map_or(line, |position| position.line());
                each(Record { place: format!("line {line}"), fields: fields_of(&names, &row, delimiter) });
            }
            Err(error) => return Err(csv_error(error)),
        }
    }
    let columns = names.into_iter().filter(|name| !name.is_empty()).collect();
    Ok(Shape { format: Format::Table, columns })
}

/// Whether nothing is to be seen in a cell. Bytes that are not UTF-8 are something.
fn is_blank(cell: &[u8]) -> bool {
    std::str::from_utf8(cell).is_ok_and(cell::is_blank)
}

/// A line with its end, or several where a quoted cell holds line breaks; empty at the end of the file.
fn header_line(input: &mut impl BufRead, number: u64) -> Result<Vec<u8>, ListError> {
    let mut line = Vec::new();
    loop {
        let before = line.len();
        let left = (LINE_BYTES_MAX + 1).saturating_sub(before) as u64;
        input.by_ref().take(left).read_until(b'\n', &mut line)?;
        let open = line.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
        if line.len() > LINE_BYTES_MAX || (open && line.len() == before) {
            return Err(ListError::EndlessHeader { line: number });
        }
        if !open {
            return Ok(line);
        }
    }
}

fn csv_error(error: csv::Error) -> ListError {
    ListError::Io(std::io::Error::other(error.to_string()))
}

/// The delimiter that is most frequent outside of quotes.
fn delimiter_of(header: &[u8]) -> u8 {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in header {
        quoted ^= *byte == b'"';
        if let Some(at) = DELIMITERS.iter().position(|delimiter| delimiter == byte && !quoted) {
            counts[at] += 1;
        }
    }
    let best = (0..DELIMITERS.len()).rev().max_by_key(|at| counts[*at]).unwrap_or(0);
    DELIMITERS[best]
}

fn check_header(names: &[String]) -> Result<(), ListError> {
    let named = || names.iter().filter(|name| !name.is_empty());
    for missing in REQUIRED {
        if !named().any(|name| name == missing) {
            let found: Vec<&str> = named().map(String::as_str).collect();
            return Err(ListError::Header { missing, found: found.join(", ") });
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    match named().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(ListError::TwiceInHeader(name.clone())),
        None => Ok(()),
    }
}

fn fields_of(
    names: &[String],
    row: &csv::ByteRecord,
    delimiter: u8,
) -> Result<BTreeMap<String, String>, UnreadableRecord> {
    let unreadable = |problem: String| {
        let cells: Vec<_> = row.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
        UnreadableRecord { problem, text: cells.join(&char::from(delimiter).to_string()) }
    };
    // A quote that is not closed takes in the rows that follow, which would be lost without a word.
    if let Some(open) = row.iter().position(|cell| cell.contains(&b'\n') && cell.contains(&delimiter)) {
        let name = names.get(open).filter(|name| !name.is_empty());
        let column = name.map_or_else(|| (open + 1).to_string(), |name| format!("'{name}'"));
        return Err(unreadable(format!(
            "column {column} has a line break and a delimiter; close its quote, or remove the line break"
        )));
    }
    // Empty cells at the end are nothing, however many there are.
    let used = row.iter().rposition(|cell| !is_blank(cell)).map_or(0, |last| last + 1);
    if used > names.len() {
        return Err(unreadable(format!(
            "it has {used} cells, the header has {}; is there a delimiter in a cell without quotes?",
            names.len()
        )));
    }
    // A column without a name is nothing, so a row need not have it.
    let named = names.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
    if row.len() < named {
        return Err(unreadable(format!("it has {} cells, the header has {named}", row.len())));
    }
    let mut fields = BTreeMap::new();
    for (index, (name, cell)) in names.iter().zip(row).enumerate() {
        let column = || if name.is_empty() { format!("{} without a name", index + 1) } else { format!("'{name}'") };
        let text = std::str::from_utf8(cell)
            .map_err(|_| unreadable(format!("column {} is not UTF-8; save the list as CSV in UTF-8", column())))?;
        if name.is_empty() {
            if cell::is_blank(text) {
                continue;
            }
            return Err(unreadable(format!("column {} has a value; name the column or empty it", column())));
        }
        insert(&mut fields, name, text).map_err(unreadable)?;
    }
    Ok(fields)
}
