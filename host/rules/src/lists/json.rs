//! Lists as JSON: an array of objects, or one object per line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufRead, Read as _};

use serde::de::{DeserializeSeed, Deserializer as _, SeqAccess, Visitor};
use serde_json::Value as Json;

use backline_model::account_rule::column_name;
use backline_model::text::misleads;

use super::{Format, LINE_BYTES_MAX, ListError, Record, Shape, Unreadable, insert};

pub(super) fn read_lines(
    mut input: impl BufRead,
    blank_lines: u64,
    each: &mut dyn FnMut(Record),
) -> Result<Shape, ListError> {
    let (mut line, mut number, mut columns) = (Vec::new(), blank_lines, BTreeSet::new());
    loop {
        line.clear();
        if input.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? == 0 {
            return Ok(Shape { format: Format::JsonLines, columns });
        }
        number += 1;
        let place = format!("line {number}");
        let text = String::from_utf8_lossy(&line);
        // Files that were put together have a byte order mark in the middle.
        let text = text.trim_matches(|c: char| c.is_whitespace() || misleads(c));
        if text.is_empty() {
            continue;
        }
        let fields = match serde_json::from_str::<Json>(text) {
            Ok(value) => fields_of(&value, &mut columns),
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

fn fields_of(value: &Json, columns: &mut BTreeSet<String>) -> Result<BTreeMap<String, String>, Unreadable> {
    let unreadable = |problem: String| Unreadable { problem, text: value.to_string() };
    let Json::Object(object) = value else { return Err(unreadable("it is not a JSON object".to_owned())) };
    let mut fields = BTreeMap::new();
    for (name, value) in object {
        let name = column_name(name);
        let text = match value {
            Json::Null => String::new(),
            Json::String(text) => text.clone(),
            Json::Array(list) => listed(list).unwrap_or_else(|| value.to_string()),
            // Kept as text: the check of a known column refuses an object.
            Json::Bool(_) | Json::Number(_) | Json::Object(_) => value.to_string(),
        };
        insert(&mut fields, &name, &text).map_err(&unreadable)?;
        columns.insert(name);
    }
    Ok(fields)
}

/// A list of texts and numbers as a cell would hold it.
fn listed(list: &[Json]) -> Option<String> {
    let texts: Option<Vec<String>> = list
        .iter()
        .map(|entry| match entry {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .collect();
    texts.map(|texts| texts.join(", "))
}

pub(super) fn read_array(input: impl BufRead, each: &mut dyn FnMut(Record)) -> Result<Shape, ListError> {
    struct Entries<'a> {
        each: &'a mut dyn FnMut(Record),
        count: &'a mut u64,
        columns: &'a mut BTreeSet<String>,
    }

    impl<'de> Visitor<'de> for Entries<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of objects")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
            while let Some(value) = entries.next_element_seed(Entry)? {
                *self.count += 1;
                let fields = fields_of(&value, self.columns);
                (self.each)(Record { place: format!("entry {}", self.count), fields });
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

    let (mut count, mut columns) = (0, BTreeSet::new());
    let mut deserializer = serde_json::Deserializer::from_reader(input);
    let entries = Entries { each, count: &mut count, columns: &mut columns };
    let read = deserializer.deserialize_seq(entries).and_then(|()| deserializer.end());
    read.map_err(|error| ListError::Array { entries: count, problem: error.to_string() })?;
    Ok(Shape { format: Format::JsonArray, columns })
}
