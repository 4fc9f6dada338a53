//! Records of a CSV file, a JSON array or lines of JSON, one at a time: a file of any size is read in constant memory.
//!
//! A record that can't be parsed is passed on like any other, with the problem, so that the report counts every row.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer as _, SeqAccess, Visitor};
use serde_json::Value as Json;

/// Longest line of JSON, and longest header of a CSV file, in bytes; a row of all columns has under 8 KiB.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Format of a file, found from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Comma-, semicolon- or tab-separated, with a header.
    Csv,
    /// One JSON array of objects.
    JsonArray,
    /// One JSON object per line.
    JsonLines,
}

/// One record of the file, as text: empty and null values are left out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// Where it is in the file: `line 17` or `entry 17`.
    pub place: String,
    /// Column → text, or the problem with the record as a whole.
    pub fields: Result<BTreeMap<String, String>, Unreadable>,
}

/// A record that can't be parsed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unreadable {
    /// The problem, for the report.
    pub problem: String,
    /// The record as it is in the file.
    pub text: String,
}

/// Why a whole file can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// Reading failed.
    #[error("the file can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// The file has nothing but white space.
    #[error("the file is empty; a CSV file starts with a header, a JSON file with [ or {{")]
    Empty,
    /// The header lacks a required column.
    #[error("the header has no column '{missing}'; it has: {found}")]
    Header {
        missing: &'static str,
        /// The header's columns, separated by commas.
        found: String,
    },
    /// A column occurs twice.
    #[error("the header names column '{0}' twice")]
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

/// Columns that a CSV header must have.
const REQUIRED: [&str; 2] = ["id", "name"];

/// Reads every record of a file and passes it to `each`; returns the file's format.
///
/// # Errors
/// When the file as a whole can't be read; an invalid record is passed to `each`.
pub(super) fn read(input: impl Read, each: &mut dyn FnMut(Record)) -> Result<Format, FileError> {
    let mut input = BufReader::new(input);
    let start = skip_blank(&mut input)?;
    match start {
        None => Err(FileError::Empty),
        Some(b'[') => read_array(input, each).map(|()| Format::JsonArray),
        Some(b'{') => read_lines(input, each).map(|()| Format::JsonLines),
        Some(_) => read_csv(input, each).map(|()| Format::Csv),
    }
}

/// Skips a byte-order mark and white space; returns the byte after them.
fn skip_blank(input: &mut impl BufRead) -> std::io::Result<Option<u8>> {
    loop {
        let buffer = input.fill_buf()?;
        let Some(&first) = buffer.first() else { return Ok(None) };
        if buffer.starts_with(b"\xef\xbb\xbf") {
            input.consume(3);
        } else if first.is_ascii_whitespace() {
            input.consume(1);
        } else {
            return Ok(Some(first));
        }
    }
}

fn read_csv(mut input: impl BufRead, each: &mut dyn FnMut(Record)) -> Result<(), FileError> {
    let mut header = Vec::new();
    (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut header)?;
    let delimiter = delimiter_of(&header);
    let builder = |headers: bool| {
        let mut builder = csv::ReaderBuilder::new();
        // Only LF ends a line, and a CR before it is trimmed with other white space: otherwise the reader counts the
        // lines of a CRLF file one too low.
        builder.delimiter(delimiter).has_headers(headers).flexible(true).terminator(csv::Terminator::Any(b'\n'));
        builder
    };
    let mut names = csv::StringRecord::new();
    builder(false).from_reader(header.as_slice()).read_record(&mut names).map_err(csv_error)?;
    let names: Vec<String> = names.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    check_header(&names)?;
    // The header is read again, so that line numbers are those of the file, and so that the first row can't be taken
    // for a byte-order mark.
    let mut reader = builder(true).from_reader(header.as_slice().chain(input));
    let mut row = csv::ByteRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_byte_record(&mut row) {
            Ok(false) => return Ok(()),
            Ok(true) if row.len() == 1 && row[0].trim_ascii().is_empty() => {}
            Ok(true) => {
                let line = row.position().map_or(line, |position| position.line());
                each(Record { place: format!("line {line}"), fields: csv_fields(&names, &row) });
            }
            Err(error) => return Err(csv_error(error)),
        }
    }
}

fn csv_error(error: csv::Error) -> FileError {
    FileError::Io(std::io::Error::other(error.to_string()))
}

fn delimiter_of(header: &[u8]) -> u8 {
    let count = |delimiter: u8| header.iter().filter(|byte| **byte == delimiter).count();
    [b',', b';', b'\t']
        .into_iter()
        .max_by_key(|delimiter| (count(*delimiter), u8::from(*delimiter == b',')))
        .unwrap_or(b',')
}

fn check_header(names: &[String]) -> Result<(), FileError> {
    for missing in REQUIRED {
        if !names.iter().any(|name| name == missing) {
            return Err(FileError::Header { missing, found: names.join(", ") });
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(FileError::TwiceInHeader(name.clone())),
        None => Ok(()),
    }
}

fn csv_fields(names: &[String], row: &csv::ByteRecord) -> Result<BTreeMap<String, String>, Unreadable> {
    let unreadable = |problem: String| Unreadable {
        problem,
        text: row.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect::<Vec<_>>().join(","),
    };
    if row.len() != names.len() {
        return Err(unreadable(format!("it has {} fields, the header has {}", row.len(), names.len())));
    }
    let mut fields = BTreeMap::new();
    for (name, field) in names.iter().zip(row) {
        let text = std::str::from_utf8(field).map_err(|_| unreadable(format!("column '{name}' is not UTF-8")))?;
        insert(&mut fields, name, text);
    }
    Ok(fields)
}

fn insert(fields: &mut BTreeMap<String, String>, name: &str, text: &str) {
    let text = text.trim();
    if !text.is_empty() {
        fields.insert(name.to_owned(), text.to_owned());
    }
}

fn read_lines(mut input: impl BufRead, each: &mut dyn FnMut(Record)) -> Result<(), FileError> {
    let (mut line, mut number) = (Vec::new(), 0u64);
    loop {
        line.clear();
        if (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        number += 1;
        let place = format!("line {number}");
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let fields = match serde_json::from_str::<Json>(text) {
            Ok(value) => json_fields(&value),
            // Only the column: the parser's message gives the line as 1, and must not quote the text, which may hold
            // tokens.
            Err(error) => Err(Unreadable {
                problem: format!("it is not JSON (column {})", error.column()),
                text: text.to_owned(),
            }),
        };
        each(Record { place, fields });
    }
}

fn json_fields(value: &Json) -> Result<BTreeMap<String, String>, Unreadable> {
    let unreadable = |problem: String| Unreadable { problem, text: value.to_string() };
    let Json::Object(object) = value else { return Err(unreadable("it is not a JSON object".to_owned())) };
    let mut fields = BTreeMap::new();
    for (name, value) in object {
        match value {
            Json::Null => {}
            Json::String(text) => insert(&mut fields, name, text),
            Json::Bool(_) | Json::Number(_) => insert(&mut fields, name, &value.to_string()),
            // Kept as text: the check of a known column refuses it.
            Json::Array(_) | Json::Object(_) => insert(&mut fields, name, &value.to_string()),
        }
    }
    Ok(fields)
}

fn read_array(input: impl BufRead, each: &mut dyn FnMut(Record)) -> Result<(), FileError> {
    struct Entries<'a>(&'a mut dyn FnMut(Record), &'a mut u64);

    impl<'de> Visitor<'de> for Entries<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of objects")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
            while let Some(value) = entries.next_element_seed(Entry)? {
                *self.1 += 1;
                (self.0)(Record { place: format!("entry {}", self.1), fields: json_fields(&value) });
            }
            Ok(())
        }
    }

    struct Entry;

    impl<'de> DeserializeSeed<'de> for Entry {
        type Value = Json;

        fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
            serde::Deserialize::deserialize(deserializer)
        }
    }

    let mut count = 0;
    let mut deserializer = serde_json::Deserializer::from_reader(input);
    let read = deserializer.deserialize_seq(Entries(each, &mut count)).and_then(|()| deserializer.end());
    read.map_err(|error| FileError::Array { entries: count, problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &[u8]) -> Result<(Format, Vec<Record>), String> {
        let mut records = Vec::new();
        let format = read(text, &mut |record| records.push(record)).map_err(|error| error.to_string())?;
        Ok((format, records))
    }

    fn field<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
        record.fields.as_ref().ok()?.get(name).map(String::as_str)
    }

    #[test]
    fn the_three_formats_give_the_same_records() {
        let csv = b"\xef\xbb\xbfID,Name,extra\r\n1,\"Ada, the first\",x\r\n2,Bo,\"\"\r\n\r\n";
        let array = br#" [{"id":"1","name":"Ada, the first","extra":"x"}, {"id":2,"name":" Bo ","extra":null}]"#;
        let lines = b"{\"id\":\"1\",\"name\":\"Ada, the first\",\"extra\":\"x\"}\n\n\
                      {\"id\":2,\"name\":\"Bo\",\"extra\":\"\"}\n";
        for (text, format, places) in [
            (csv.as_slice(), Format::Csv, ["line 2", "line 3"]),
            (array, Format::JsonArray, ["entry 1", "entry 2"]),
            (lines, Format::JsonLines, ["line 1", "line 3"]),
        ] {
            let (found, records) = all(text).expect("readable");
            assert_eq!(found, format);
            assert_eq!(records.iter().map(|record| record.place.as_str()).collect::<Vec<_>>(), places);
            assert_eq!(
                (field(&records[0], "id"), field(&records[0], "name"), field(&records[0], "extra")),
                (Some("1"), Some("Ada, the first"), Some("x"))
            );
            assert_eq!(
                (field(&records[1], "id"), field(&records[1], "name"), field(&records[1], "extra")),
                (Some("2"), Some("Bo"), None)
            );
        }
    }

    #[test]
    fn semicolons_and_tabs_separate_too() {
        for delimiter in [";", "\t"] {
            let (_, records) = all(["id", "name\n1", "Ada, the first\n"].join(delimiter).as_bytes()).expect("readable");
            assert_eq!(field(&records[0], "name"), Some("Ada, the first"));
        }
    }

    #[test]
    fn a_bad_record_is_handed_on_with_its_line_and_the_others_are_read() {
        let (_, records) = all(b"id,name\n1,Ada\n2\n3,Cy,x\n4,\"D\nd\"\n5,\xff\n6,Fay\n").expect("readable");
        let problems: Vec<_> = records.iter().map(|record| (record.place.as_str(), record.fields.is_ok())).collect();
        assert_eq!(
            problems,
            [
                ("line 2", true),
                ("line 3", false),
                ("line 4", false),
                ("line 5", true),
                ("line 7", false),
                ("line 8", true)
            ]
        );
        let (_, records) = all(b"{\"id\":1}\n{broken\n7\n").expect("readable");
        assert_eq!(records.iter().map(|record| record.fields.is_ok()).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn a_file_that_is_no_list_is_refused_as_a_whole() {
        assert!(all(b"").expect_err("empty").starts_with("the file is empty"));
        assert!(all(b"artist,name\n").expect_err("no id").contains("no column 'id'; it has: artist, name"));
        assert!(all(b"id,name,ID\n").expect_err("twice").contains("'id' twice"));
        assert!(all(b"[{\"id\":1},").expect_err("broken").starts_with("the JSON array is invalid after 1 entries"));
        assert!(all(b"[] x").expect_err("more").contains("trailing characters"));
    }

    proptest! {
        #[test]
        fn no_row_is_lost(rows in prop::collection::vec(prop::collection::vec("[^\\x00]{0,12}", 1..5), 0..20)) {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            writer.write_record(["id", "name", "extra"]).expect("written");
            let mut written = 0;
            for row in &rows {
                // A record of one blank field is a blank line, which is not a record.
                if row.len() > 1 || !row[0].trim_ascii().is_empty() {
                    writer.write_record(row).expect("written");
                    written += 1;
                }
            }
            let (_, records) = all(&writer.into_inner().expect("flushed")).expect("readable");
            prop_assert_eq!(records.len(), written);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            start in prop::sample::select(vec!["", "[", "{", "id,name\n"])
        ) {
            let _ = all(&[start.as_bytes(), &bytes].concat());
        }
    }
}
