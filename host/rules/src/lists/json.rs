//! Lists as JSON: an array of objects, or one object per line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufRead, Read as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use backline_model::account_rule::column_name;
use backline_model::text::misleads;

use super::{Format, LINE_BYTES_MAX, ListError, Record, Shape, UnreadableRecord, insert};

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
        let fields = match serde_json::from_str::<Written>(text) {
            Ok(written) => fields_of(&written, &mut columns),
            // Only the column: the parser's message gives the line as 1, and must not quote the text, which may hold
            // tokens.
            Err(error) => Err(UnreadableRecord {
                problem: format!("it is not JSON (column {})", error.column()),
                text: text.to_owned(),
            }),
        };
        each(Record { place, fields });
    }
}

/// An entry as it is written: an object with all of its keys, also those that it has twice.
enum Written {
    Object(Vec<(String, Json)>),
    Other(Json),
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(value) => write!(f, "{value}"),
            Self::Object(object) => {
                let fields: Vec<String> =
                    object.iter().map(|(name, value)| format!("{}:{value}", Json::from(name.as_str()))).collect();
                write!(f, "{{{}}}", fields.join(","))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsWritten;

        impl<'de> Visitor<'de> for AsWritten {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
                let mut object = Vec::new();
                while let Some(field) = map.next_entry()? {
                    object.push(field);
                }
                Ok(Written::Object(object))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Written, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = entries.next_element()? {
                    list.push(entry);
                }
                Ok(Written::Other(Json::Array(list)))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Written, E> {
                Ok(Written::Other(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Written, E> {
                Ok(Written::Other(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Written, E> {
                Ok(Written::Other(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Written, E> {
                Ok(Written::Other(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Written, E> {
                Ok(Written::Other(value.into()))
            }

            fn visit_unit<E>(self) -> Result<Written, E> {
                Ok(Written::Other(Json::Null))
            }
        }

        deserializer.deserialize_any(AsWritten)
    }
}

fn fields_of(written: &Written, columns: &mut BTreeSet<String>) -> Result<BTreeMap<String, String>, UnreadableRecord> {
    let unreadable = |problem: String| UnreadableRecord { problem, text: written.to_string() };
    let Written::Object(object) = written else { return Err(unreadable("it is not a JSON object".to_owned())) };
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
            while let Some(written) = entries.next_element::<Written>()? {
                *self.count += 1;
                let fields = fields_of(&written, self.columns);
                (self.each)(Record { place: format!("entry {}", self.count), fields });
            }
            Ok(())
        }
    }

    let (mut count, mut columns) = (0, BTreeSet::new());
    let mut deserializer = serde_json::Deserializer::from_reader(input);
    let entries = Entries { each, count: &mut count, columns: &mut columns };
    let read = deserializer.deserialize_seq(entries).and_then(|()| deserializer.end());
    read.map_err(|error| ListError::Array { entries: count, problem: error.to_string() })?;
    Ok(Shape { format: Format::JsonArray, columns })
}
