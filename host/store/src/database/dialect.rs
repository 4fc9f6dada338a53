//! One SQL text for both databases, and one way for values to cross.
//!
//! Statements are written in PostgreSQL's dialect. What SQLite does not know (casts, row locks) is taken out for it,
//! and the few things that have another name there are written as words in braces. Only whole numbers, floats, text and
//! bytes cross: uuids, times, dates and JSON travel as text, truth as 0 or 1, and many rows as one JSON array, or as
//! columns (`database::table`).

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use backline_model::clock::{FIRST_TIME, LAST_TIME};
use backline_model::growth::{Changes, expanded};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{Row as _, SqlSafeStr as _, SqlStr};
use uuid::Uuid;

use crate::database::counters::{COUNTER_MAX, TIMES_MAX, with_counters};
use crate::database::error::StoreError;
use crate::database::times::{self, with_times};
use crate::scope::{last_parameter, limited};

/// The kind of database in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DatabaseKind {
    /// A file on this machine.
    Sqlite,
    /// A PostgreSQL server, shared by many hosts.
    Postgres,
}

impl std::fmt::Display for DatabaseKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// The words in braces: what each means on SQLite and on PostgreSQL.
const WORDS: [(&str, &str, &str); 9] = [
    // Compares with the ids in the rows of the first parameter. On PostgreSQL they are one array that is made once: no
    // plan can read the table and look each row up among the ids, however the planner guesses.
    (
        "{in_ids}",
        "IN (SELECT r.value->>'id' FROM json_each($1) AS r)",
        "= ANY (ARRAY(SELECT (r.value->>'id')::uuid FROM jsonb_array_elements($1::jsonb) AS r(value)))",
    ),
    // The elements of the JSON array given as the first parameter; `r.value` is an element. What they are joined with
    // is written `LEFT JOIN t … WHERE (t.id IS NULL) = FALSE`: so the rows come first and each is looked up, however
    // the planner guesses. A plain join may be turned around, and read the whole table.
    ("{rows}", "json_each($1) AS r", "jsonb_array_elements($1::jsonb) AS r(value)"),
    // The same of the fifth parameter; `x.value` is an element.
    ("{excepted}", "json_each($5) AS x", "jsonb_array_elements($5::jsonb) AS x(value)"),
    // Joined to what writes events: no reader of events gets by until the transaction is over, and those who wait for
    // events are notified once it is.
    (
        "{and_event_lock}",
        "",
        "CROSS JOIN pg_advisory_xact_lock_shared(7135240011894) CROSS JOIN pg_notify('backline', 'events')",
    ),
    // The database's own time, in the form in which times are stored.
    ("{now}", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')", "clock_timestamp()"),
    // A time's minute, to count by.
    ("{minute_of_at}", "substr(at, 1, 16)", "date_trunc('minute', at)"),
    ("{minute_of_began_at}", "substr(began_at, 1, 16)", "date_trunc('minute', began_at)"),
    // The bytes of an id, by which a row is found whose id no parameter can be.
    ("{bytes_of_id}", "CAST(id AS BLOB)", "convert_to(id::text, 'UTF8')"),
    // What other programs wrote as a status, by its letters: those of PostgreSQL depend on the language otherwise.
    ("{status_word}", "lower(trim(subscription_status))", "lower(btrim(subscription_status) COLLATE \"C\")"),
];

/// The word before what a writing statement returns.
const RETURNING: &str = "RETURNING";

/// Row locks: SQLite has one writer, so there is nothing to lock.
const LOCKS: [&str; 4] = ["FOR UPDATE OF m SKIP LOCKED", "FOR UPDATE SKIP LOCKED", "FOR NO KEY UPDATE", "FOR UPDATE"];

/// The statement as the database in use understands it, translated once per statement and process.
/// `to_one_tenant`: limited to the tenant that is its last parameter.
pub(crate) fn sql(kind: DatabaseKind, statement: &'static str, to_one_tenant: bool) -> SqlStr {
    type Translated = RwLock<HashMap<(DatabaseKind, bool, &'static str), &'static str>>;
    static TRANSLATED: LazyLock<Translated> = LazyLock::new(Translated::default);

    if let Some(known) =
        TRANSLATED.read().unwrap_or_else(PoisonError::into_inner).get(&(kind, to_one_tenant, statement))
    {
        return known.into_sql_str();
    }
    // Leaked on purpose: there are as many as the source has statements, and sqlx keeps them for ever anyway.
    let translated: &'static str = translate(kind, statement, to_one_tenant).leak();
    TRANSLATED.write().unwrap_or_else(PoisonError::into_inner).insert((kind, to_one_tenant, statement), translated);
    translated.into_sql_str()
}

pub(crate) fn translate(kind: DatabaseKind, statement: &str, to_one_tenant: bool) -> String {
    let mut text = statement.to_owned();
    for (word, sqlite, postgres) in WORDS {
        text = text.replace(word, if kind == DatabaseKind::Sqlite { sqlite } else { postgres });
    }
    let text = with_counters(&with_times(&text, kind == DatabaseKind::Sqlite));
    let mut text = limited(&with_columns(kind, &text), to_one_tenant);
    if kind == DatabaseKind::Postgres {
        return text;
    }
    for lock in LOCKS {
        text = text.replace(lock, "");
    }
    returned_in_bytes(valid_json_only(&without_casts(&text)))
}

/// Makes what a statement for a file returns come as bytes where it is text. A file takes any bytes as text, and sqlx
/// fails the whole statement for the sake of one that is not UTF-8. One that only reads is run again then (see
/// `database::statement`); one that returns what it wrote can't be.
fn returned_in_bytes(text: String) -> String {
    let Some(at) = returning_at(&text) else { return text };
    let (statement, returned) = text.split_at(at + RETURNING.len());
    let columns: Vec<String> = parts(returned)
        .into_iter()
        .map(|column| {
            let column = column.trim();
            let of_table = || (column, column.rsplit_once('.').map_or(column, |(_, name)| name));
            let (value, name) = column.rsplit_once(" AS ").unwrap_or_else(of_table);
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            debug_assert!(is_name, "what is returned has no name: {column}");
            text_in_bytes(value, name)
        })
        .collect();
    format!("{statement} {}", columns.join(", "))
}

/// A column of a statement for a file, which has the bytes of a text, and everything else as it is.
pub(crate) fn text_in_bytes(value: &str, name: &str) -> String {
    format!("CASE typeof({value}) WHEN 'text' THEN CAST({value} AS BLOB) ELSE {value} END AS {name}")
}

/// Whether a statement returns what it writes.
pub(crate) fn is_returning(text: &str) -> bool {
    returning_at(text).is_some()
}

/// Where a statement says what it returns of what it writes.
fn returning_at(text: &str) -> Option<usize> {
    let is_there = |at: &usize| text[*at..].starts_with(RETURNING) && text[..*at].ends_with(char::is_whitespace);
    outside(text).map(|(at, _)| at).find(is_there)
}

/// The texts between the commas of a list.
fn parts(list: &str) -> Vec<&str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    for (at, _) in outside(list).filter(|(_, character)| *character == ',') {
        parts.push(&list[from..at]);
        from = at + 1;
    }
    parts.push(&list[from..]);
    parts
}

/// The characters of a text that are outside of its quotes and brackets, with their places.
fn outside(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quote, mut depth) = (None, 0_usize);
    text.char_indices().filter(move |(_, character)| {
        match (quote, *character) {
            (None, '\'' | '"') => quote = Some(*character),
            (Some(begun), ended) if begun == ended => quote = None,
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        quote.is_none() && depth == 0
    })
}

/// Puts what the database in use understands in the place of `{columns: …}`.
fn with_columns(kind: DatabaseKind, text: &str) -> String {
    let Some((before, columns, after)) = split(text) else { return text.to_owned() };
    let first = last_parameter(text) + 1;
    let names: Vec<&str> = pairs(columns).map(|(name, _)| name).collect();
    let rows = match kind {
        DatabaseKind::Sqlite => {
            let values: Vec<String> = names.iter().map(|name| format!("r.value->>'{name}' AS {name}")).collect();
            format!("(SELECT {} FROM json_each(${first}) AS r) AS r", values.join(", "))
        }
        DatabaseKind::Postgres => {
            let arrays: Vec<String> =
                pairs(columns).zip(first..).map(|((_, of), number)| format!("${number}::{of}[]")).collect();
            format!("unnest({}) AS r({})", arrays.join(", "), names.join(", "))
        }
    };
    [before, &rows, after].concat()
}

/// A statement before, within and after `{columns: …}`.
pub(super) fn split(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{columns: ")?;
    let (columns, after) = rest.split_once('}')?;
    Some((before, columns, after))
}

/// Names and types of columns.
pub(super) fn pairs(columns: &str) -> impl Iterator<Item = (&str, &str)> {
    columns.split(',').filter_map(|column| column.trim().split_once(' '))
}

/// Reads what is stored in a column as NULL where it is no JSON: SQLite's `->>` would fail the whole statement for the
/// sake of one row. On PostgreSQL the type keeps such texts out. What is in the rows of a parameter is our own.
fn valid_json_only(text: &str) -> String {
    const ARROW: &str = "->>'";
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(ARROW) {
        let (before, after) = rest.split_at(at);
        let others = before.trim_end_matches(is_of_name);
        let column = &before[others.len()..];
        out.push_str(others);
        match column {
            "" | "r.value" | "x.value" => out.push_str(column),
            column => out.push_str(&["(CASE WHEN json_valid(", column, ") THEN ", column, " END)"].concat()),
        }
        out.push_str(ARROW);
        rest = &after[ARROW.len()..];
    }
    out.push_str(rest);
    out
}

/// Takes out every `::type` that is not inside quotes.
fn without_casts(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(character) = rest.chars().next() {
        if character == '\'' {
            quoted = !quoted;
        }
        if !quoted && let Some(cast) = rest.strip_prefix("::") {
            rest = cast.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            continue;
        }
        out.push(character);
        rest = &rest[character.len_utf8()..];
    }
    out
}

/// Text without U+0000, which PostgreSQL can't store.
pub(crate) fn clean(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "") } else { text.to_owned() }
}

/// The JSON text of a value, without U+0000, which PostgreSQL's `jsonb` refuses.
pub(crate) fn json(what: &'static str, value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map(without_escaped_nul).map_err(|source| StoreError::Unwritable { what, source })
}

/// Takes out the escape of U+0000, and leaves a backslash that is itself escaped alone.
pub(crate) fn without_escaped_nul(text: String) -> String {
    const NUL: &str = "\\u0000";
    if !text.contains(NUL) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix(NUL) {
            rest = after;
        } else {
            // An escape is a backslash and at least one ASCII character; the two go over together.
            out.push_str(&rest[..2]);
            rest = &rest[2..];
        }
    }
    out.push_str(rest);
    out
}

/// A time as both databases take it, and as SQLite stores it: it sorts as text. A year has four digits, so a time
/// before the year 1 or after 9999 becomes the nearest that has: a longer year would sort before others, and could not
/// be read back.
pub(crate) fn time_text(time: DateTime<Utc>) -> String {
    times::written(time.clamp(FIRST_TIME, LAST_TIME))
}

/// A date as both databases take it, by the same rule as [`time_text`].
pub(crate) fn date_text(date: NaiveDate) -> String {
    date.clamp(FIRST_TIME.date_naive(), LAST_TIME.date_naive()).to_string()
}

/// Reads what [`time_text`] writes, and PostgreSQL's own form.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let general = || {
        let time = DateTime::parse_from_rfc3339(text)
            .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"))
            .ok()?;
        Some(time.with_timezone(&Utc))
    };
    times::read(text).or_else(general).or_else(|| time_beyond(text))
}

/// Times that PostgreSQL can hold and that only other programs write. The first and the last moment stand for them: one
/// such row must keep no one from finding out what is due next.
fn time_beyond(text: &str) -> Option<DateTime<Utc>> {
    let is_long = |year: &str| year.len() > 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "infinity" => Some(LAST_TIME),
        "-infinity" => Some(FIRST_TIME),
        _ if text.ends_with(" BC") => Some(FIRST_TIME),
        _ => text.split_once('-').is_some_and(|(year, _)| is_long(year)).then_some(LAST_TIME),
    }
}

/// Typed access to the columns of a row.
pub(crate) trait Columns {
    /// Text, or none where NULL.
    fn text_or_null(&self, column: &str) -> Result<Option<String>, StoreError>;
    /// A whole number, or none where NULL.
    fn int_or_null(&self, column: &str) -> Result<Option<i64>, StoreError>;
    /// A float, or none where NULL.
    fn float_or_null(&self, column: &str) -> Result<Option<f64>, StoreError>;
    /// Bytes; NULL is an error.
    fn bytes(&self, column: &str) -> Result<Vec<u8>, StoreError>;
    /// Bytes, or none where NULL.
    fn bytes_or_null(&self, column: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Text; NULL is an error.
    fn text(&self, column: &str) -> Result<String, StoreError> {
        self.text_or_null(column)?.ok_or_else(|| null(column))
    }

    /// Text that is only told to people, or none where NULL: what of it is not UTF-8 is replaced.
    fn told_or_null(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.text_or_null(column).or_else(|error| match self.bytes(column) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(_) => Err(error),
        })
    }

    /// The same; NULL is an error.
    fn told(&self, column: &str) -> Result<String, StoreError> {
        self.told_or_null(column)?.ok_or_else(|| null(column))
    }

    /// A whole number; NULL is an error.
    fn int(&self, column: &str) -> Result<i64, StoreError> {
        self.int_or_null(column)?.ok_or_else(|| null(column))
    }

    /// A whole number that can't be negative.
    fn count(&self, column: &str) -> Result<u64, StoreError> {
        u64::try_from(self.int(column)?).map_err(|_| unreadable(column, "a negative count"))
    }

    /// A number that only grows, such as a token: not negative, and there is one after it.
    fn counter(&self, column: &str) -> Result<i64, StoreError> {
        let number = self.int(column)?;
        if (0..COUNTER_MAX).contains(&number) { Ok(number) } else { Err(unreadable(column, number.to_string())) }
    }

    /// How many times something happened: not negative, and small enough for it to happen again.
    fn times(&self, column: &str) -> Result<u32, StoreError> {
        let number = self.int(column)?;
        let times = u32::try_from(number).ok().filter(|times| *times < TIMES_MAX);
        times.ok_or_else(|| unreadable(column, number.to_string()))
    }

    /// Truth, which crosses as 0 or 1.
    fn truth(&self, column: &str) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    /// Truth in a column that other programs write: a number other than 0 and 1 is an error.
    fn flag(&self, column: &str) -> Result<bool, StoreError> {
        match self.int(column)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(unreadable(column, other.to_string())),
        }
    }

    /// Anything that parses from text, or none where NULL.
    fn parsed_or_null<T: std::str::FromStr>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.text_or_null(column)?
            .map(|text| text.parse().map_err(|_| unreadable(column, format!("'{text}'"))))
            .transpose()
    }

    /// Anything that parses from text: ids, names, dates, digests.
    fn parsed<T: std::str::FromStr>(&self, column: &str) -> Result<T, StoreError> {
        self.parsed_or_null(column)?.ok_or_else(|| null(column))
    }

    /// Text with a parser of its own that returns an option.
    fn named<T>(&self, column: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| unreadable(column, format!("'{text}'")))
    }

    /// A time, or none where NULL.
    fn time_or_null(&self, column: &str) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.text_or_null(column)?
            .map(|text| parse_time(&text).ok_or_else(|| unreadable(column, format!("'{text}'"))))
            .transpose()
    }

    /// A time; NULL is an error.
    fn time(&self, column: &str) -> Result<DateTime<Utc>, StoreError> {
        self.time_or_null(column)?.ok_or_else(|| null(column))
    }

    /// A time of the calendar; NULL is an error, and so is what only stands for a time beyond it.
    fn calendar_time(&self, column: &str) -> Result<DateTime<Utc>, StoreError> {
        let time = self.time(column)?;
        if time == FIRST_TIME || time == LAST_TIME {
            return Err(unreadable(column, format!("'{}'", self.text(column)?)));
        }
        Ok(time)
    }

    /// A date; NULL is an error.
    fn date(&self, column: &str) -> Result<NaiveDate, StoreError> {
        self.parsed(column)
    }

    /// A UUID; NULL is an error.
    fn uuid(&self, column: &str) -> Result<Uuid, StoreError> {
        self.parsed(column)
    }

    /// A UUID in a column that other programs write, in the one form in which a file's ids are found: it compares them
    /// as texts.
    fn exact_uuid(&self, column: &str) -> Result<Uuid, StoreError> {
        let text = self.text(column)?;
        let id = Uuid::parse_str(&text).ok();
        let is_exact = |id: &Uuid| *id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *text;
        id.filter(is_exact).ok_or_else(|| unreadable(column, format!("'{text}'")))
    }

    /// JSON, or none where NULL.
    fn json_or_null<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.text_or_null(column)?
            .map(|text| serde_json::from_str(&text).map_err(|error| unreadable(column, error.to_string())))
            .transpose()
    }

    /// Growth in its short form, or none where NULL.
    fn growth_or_null(&self, column: &str) -> Result<Option<Changes>, StoreError> {
        let Some(short) = self.json_or_null::<serde_json::Value>(column)? else { return Ok(None) };
        expanded(&short).map(Some).ok_or_else(|| unreadable(column, "it is not a growth".to_owned()))
    }

    /// JSON; NULL is an error.
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        self.json_or_null(column)?.ok_or_else(|| null(column))
    }
}

impl Columns for AnyRow {
    fn text_or_null(&self, column: &str) -> Result<Option<String>, StoreError> {
        let error = match self.try_get(column) {
            Ok(text) => return Ok(text),
            Err(error) => error,
        };
        // The bytes of a text, where one in the same rows is not UTF-8: see `Again`.
        match self.bytes(column).map(String::from_utf8) {
            Ok(Ok(text)) => Ok(Some(text)),
            Ok(Err(_)) => Err(unreadable(column, "bytes that are not UTF-8")),
            Err(_) => Err(unreadable(column, error.to_string())),
        }
    }

    fn int_or_null(&self, column: &str) -> Result<Option<i64>, StoreError> {
        self.try_get(column).map_err(|error| unreadable(column, error.to_string()))
    }

    fn float_or_null(&self, column: &str) -> Result<Option<f64>, StoreError> {
        self.try_get(column).map_err(|error| unreadable(column, error.to_string()))
    }

    fn bytes(&self, column: &str) -> Result<Vec<u8>, StoreError> {
        self.try_get(column).map_err(|error| unreadable(column, error.to_string()))
    }

    fn bytes_or_null(&self, column: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.try_get(column).map_err(|error| unreadable(column, error.to_string()))
    }
}

pub(crate) fn unreadable(column: &str, problem: impl Into<String>) -> StoreError {
    StoreError::Unreadable { column: column.to_owned(), problem: problem.into() }
}

fn null(column: &str) -> StoreError {
    unreadable(column, "NULL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_has_a_year_of_four_digits() {
        for (date, text) in
            [("-0001-02-03", "0001-01-01"), ("2026-11-22", "2026-11-22"), ("+10000-01-01", "9999-12-31")]
        {
            assert_eq!(date_text(date.parse().expect("a date")), text);
        }
    }

    #[test]
    fn casts_and_locks_are_taken_out_for_sqlite_only() {
        let text =
            "SELECT id::text, '::text', (r.value->>'n')::float8 FROM {rows} WHERE x = $2::uuid FOR UPDATE SKIP LOCKED";
        assert_eq!(
            translate(DatabaseKind::Sqlite, text, false),
            "SELECT id, '::text', (r.value->>'n') FROM json_each($1) AS r WHERE x = $2 "
        );
        assert_eq!(
            translate(DatabaseKind::Postgres, text, false),
            "SELECT id::text, '::text', (r.value->>'n')::float8 FROM jsonb_array_elements($1::jsonb) AS r(value) \
             WHERE x = $2::uuid FOR UPDATE SKIP LOCKED"
        );
    }

    #[test]
    fn stored_json_is_checked_before_sqlite_looks_into_it() {
        let text = "SELECT e.data->>'platform', SUM((usage->>'n')::bigint) FROM {rows} WHERE r.value->'a'->>'b' = 'x'";
        assert_eq!(
            translate(DatabaseKind::Sqlite, text, false),
            "SELECT (CASE WHEN json_valid(e.data) THEN e.data END)->>'platform', \
             SUM(((CASE WHEN json_valid(usage) THEN usage END)->>'n')) \
             FROM json_each($1) AS r WHERE r.value->'a'->>'b' = 'x'"
        );
        assert!(
            translate(DatabaseKind::Postgres, text, false).starts_with("SELECT e.data->>'platform', SUM((usage->>")
        );
    }

    #[test]
    fn what_a_statement_for_a_file_returns_comes_as_bytes() {
        let text = "WITH due AS (SELECT x.id FROM x WHERE y = 'RETURNING, z') UPDATE t SET n = n + 1
             WHERE t.id = $1::uuid RETURNING t.id, COALESCE(at, 'a, b')::text AS at";
        let written = "WITH due AS (SELECT x.id FROM x WHERE y = 'RETURNING, z') UPDATE t SET n = n + 1
             WHERE t.id = $1 RETURNING ";
        assert_eq!(
            translate(DatabaseKind::Sqlite, text, false),
            format!(
                "{written}CASE typeof(t.id) WHEN 'text' THEN CAST(t.id AS BLOB) ELSE t.id END AS id, \
                 CASE typeof(COALESCE(at, 'a, b')) WHEN 'text' THEN CAST(COALESCE(at, 'a, b') AS BLOB) \
                 ELSE COALESCE(at, 'a, b') END AS at"
            )
        );
        assert_eq!(translate(DatabaseKind::Postgres, text, false), text);
        for read in ["SELECT 'x RETURNING y' AS z", "SELECT (SELECT 1 RETURNING 2) AS z"] {
            assert!(is_returning(text) && !is_returning(read), "{read}");
            assert_eq!(translate(DatabaseKind::Sqlite, read, false), read);
        }
    }

    #[test]
    fn every_time_can_be_read_back_and_sorts_as_text() {
        let late = DateTime::from_timestamp(1_795_866_206_000, 0).expect("a time");
        let times = [DateTime::<Utc>::MIN_UTC, DateTime::UNIX_EPOCH, late, DateTime::<Utc>::MAX_UTC];
        let texts = times.map(time_text);
        assert!(texts.is_sorted(), "{texts:?}");
        for text in &texts {
            assert_eq!(parse_time(text).map(time_text).as_ref(), Some(text));
        }
    }

    #[test]
    fn nul_is_stripped_and_an_escaped_backslash_is_not_mistaken_for_it() {
        let value = serde_json::json!({ "a\0b": "c\0\0d", "kept": "\\u0000", "both": "\\\0" });
        let text = json("a test", &value).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            serde_json::json!({ "ab": "cd", "kept": "\\u0000", "both": "\\" })
        );
    }

    #[test]
    fn times_are_read_in_both_forms() {
        let time: DateTime<Utc> = "2026-11-22T16:00:01.25Z".parse().unwrap();
        assert_eq!(time_text(time), "2026-11-22T16:00:01.250000Z");
        assert_eq!(parse_time(&time_text(time)), Some(time));
        assert_eq!(parse_time("2026-11-22 16:00:01.25+00"), Some(time));
        assert_eq!(parse_time("2026-11-22 16:00:01+00"), Some("2026-11-22T16:00:01Z".parse().unwrap()));
        assert_eq!(parse_time("yesterday"), None);
        for (text, stands_for) in [
            ("infinity", LAST_TIME),
            ("-infinity", FIRST_TIME),
            ("20000-01-01 00:00:00+00", LAST_TIME),
            ("0044-03-15 12:00:00+00 BC", FIRST_TIME),
        ] {
            assert_eq!(parse_time(text), Some(stands_for), "{text}");
        }
    }
}
