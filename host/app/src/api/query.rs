//! The parameters of an operation: what it takes, and nothing else.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{Datelike as _, NaiveDate};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::problem::Problem;
use super::schema::{Components, Described};
use backline_model::bulk::{BulkAction, BulkState};
use backline_model::outcome::OutcomeKind;
use backline_model::row::QuarantineStatus;
use backline_model::{
    AccountId, AccountStatus, ArtistId, BatchId, BatchState, CredentialId, DeliveryState, Digest, Platform,
    ReleaseState, RunId, RunStatus, SubscriptionStatus, Tenant, TokenId, TokenState, nearest,
};
use backline_store::EventCursor;

/// Rows of a page unless the request says otherwise.
const LIMIT_DEFAULT: u32 = 100;

/// Most rows of a page.
const LIMIT_MAX: u32 = 1000;

/// Years of dates, which every database can store and which are written with four digits.
const YEARS: RangeInclusive<i32> = 1..=9999;

/// Longest value that is quoted in a message, in characters.
const QUOTED_MAX: usize = 60;

/// A parameter, as the document describes it.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Makes its schema, which the document alone needs.
    pub(super) schema: fn() -> Json,
}

/// The parameters that one operation takes.
pub(super) trait Query: Sized {
    /// All of them.
    fn parameters() -> Vec<Parameter>;

    /// Reads them from a request whose names were checked.
    fn read(given: &Pairs) -> Result<Self, Problem>;
}

/// A type that parameters have.
pub(super) trait Given: Sized {
    /// Reads a value; the error says what to write.
    fn given(text: &str) -> Result<Self, String>;

    /// Its schema.
    fn schema() -> Json;
}

/// The parameters of a request by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pairs(BTreeMap<String, String>);

impl Pairs {
    /// Splits the query of a URL, and refuses parameters that are not among those an operation takes, or given twice.
    pub(super) fn parse(query: &str, known: &[Parameter]) -> Result<Self, Problem> {
        let mut pairs = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if !known.iter().any(|parameter| parameter.name == name) {
                let remark = nearest::remark(&name, known.iter().map(|parameter| parameter.name));
                let name = quoted(&name);
                let detail = if known.is_empty() {
                    format!("there is no parameter {name}; this operation takes none")
                } else {
                    format!("there is no parameter {name}{remark}")
                };
                return Err(Problem::unknown_parameter(detail));
            }
            if pairs.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(Problem::wrong(format!("the parameter {} is given twice", quoted(&name))));
            }
        }
        Ok(Self(pairs))
    }

    /// A parameter's value; none where it is not given.
    ///
    /// # Errors
    /// When the value is not one of its type.
    pub(super) fn get<T: Given>(&self, name: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        let read = T::given(text).map(Some);
        read.map_err(|problem| Problem::wrong(format!("{name}={}: {problem}", quoted(text))))
    }

    /// Those that say which rows are meant: all but where the page begins, how long it is and how it is written.
    pub(super) fn filters(&self) -> Vec<(String, String)> {
        let apart = ["cursor", "limit", "format"];
        let filters = self.0.iter().filter(|(name, _)| !apart.contains(&name.as_str()));
        filters.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The query that asks for the page at a cursor.
    pub(super) fn at(&self, cursor: &str) -> String {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(self.0.iter().filter(|(name, _)| *name != "cursor"));
        text.append_pair("cursor", cursor);
        text.finish()
    }
}

/// A text in quotes, shortened, without control characters.
fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(QUOTED_MAX).map(|c| if c.is_control() { '�' } else { c }).collect();
    format!("'{shown}'")
}

/// Makes a type of an operation's parameters. Each may be left out.
macro_rules! query {
    ($(#[$doc:meta])* $name:ident { $(#[doc = $about:literal] $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(in crate::api) struct $name { $(pub(in crate::api) $field: Option<$type>,)* }

        impl $crate::api::query::Query for $name {
            fn parameters() -> Vec<$crate::api::query::Parameter> {
                vec![$($crate::api::query::Parameter {
                    name: stringify!($field),
                    about: $about.trim_ascii(),
                    schema: <$type as $crate::api::query::Given>::schema,
                },)*]
            }

            fn read(given: &$crate::api::query::Pairs) -> Result<Self, $crate::api::problem::Problem> {
                Ok(Self { $($field: given.get(stringify!($field))?,)* })
            }
        }
    };
}

pub(super) use query;

/// An operation without parameters.
pub(super) struct NoQuery;

impl Query for NoQuery {
    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }

    fn read(_: &Pairs) -> Result<Self, Problem> {
        Ok(Self)
    }
}

/// How many rows a page has at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(u32);

impl Limit {
    /// The number that is given, or else the default.
    pub(super) fn of(given: Option<Self>) -> u32 {
        given.map_or(LIMIT_DEFAULT, |Self(limit)| limit)
    }
}

impl Given for Limit {
    fn given(text: &str) -> Result<Self, String> {
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.map(Self).ok_or_else(|| format!("it is not a whole number from 1 to {LIMIT_MAX}"))
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT })
    }
}

/// How long an answer may wait, in seconds: less than what a connection may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait(u64);

/// Longest time that an answer may wait, in seconds.
const WAIT_S_MAX: u64 = 25;

impl Wait {
    /// The time that is given, or else none.
    pub(super) fn of(given: Option<Self>) -> Duration {
        Duration::from_secs(given.map_or(0, |Self(seconds)| seconds))
    }
}

impl Given for Wait {
    fn given(text: &str) -> Result<Self, String> {
        let seconds = text.parse().ok().filter(|seconds| *seconds <= WAIT_S_MAX);
        seconds.map(Self).ok_or_else(|| format!("it is not a whole number from 0 to {WAIT_S_MAX}"))
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": 0, "maximum": WAIT_S_MAX, "default": 0 })
    }
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON document.
    #[default]
    Json,
    /// One JSON document on each line.
    Ndjson,
    /// A table, one number on each line.
    Csv,
    /// The same in typed columns, of all rows that are asked for.
    Parquet,
}

impl Given for Format {
    fn given(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::Ndjson),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            _ => Err("it is not one of json, ndjson, csv, parquet".to_owned()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "enum": ["json", "ndjson", "csv", "parquet"], "default": "json" })
    }
}

impl Given for bool {
    fn given(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it is not true or false".to_owned())
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

impl Given for String {
    fn given(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// Types that are read as the rest of the program reads them.
macro_rules! parsed {
    ($($type:ty,)*) => {
        $(impl Given for $type {
            fn given(text: &str) -> Result<Self, String> {
                text.parse().map_err(|error: <$type as std::str::FromStr>::Err| error.to_string())
            }

            fn schema() -> Json {
                <$type as Described>::refer(&mut Components::new())
            }
        })*
    };
}

parsed! {
    AccountId, ArtistId, BatchId, CredentialId, Digest, EventCursor, Platform, RunId, Tenant, TokenId,
}

impl Given for Uuid {
    fn given(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it is not a UUID".to_owned())
    }

    fn schema() -> Json {
        json!({ "type": "string", "format": "uuid" })
    }
}

/// A date, if it is one of the years that dates have.
pub(super) fn in_years(date: NaiveDate) -> Result<NaiveDate, String> {
    if YEARS.contains(&date.year()) {
        return Ok(date);
    }
    Err(format!("its year is not one from {} to {}", YEARS.start(), YEARS.end()))
}

impl Given for NaiveDate {
    fn given(text: &str) -> Result<Self, String> {
        let date = Self::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| date.to_string() == text);
        in_years(date.ok_or("it is not a calendar date; write YYYY-MM-DD")?)
    }

    fn schema() -> Json {
        json!({ "type": "string", "format": "date" })
    }
}

/// Enums that are read by their names.
macro_rules! named {
    ($($type:ty,)*) => {
        $(impl Given for $type {
            fn given(text: &str) -> Result<Self, String> {
                let names: Vec<&str> = Self::ALL.iter().map(|one| one.as_str()).collect();
                Self::parse(text).ok_or_else(|| format!("it is not one of {}", names.join(", ")))
            }

            fn schema() -> Json {
                <$type as Described>::refer(&mut Components::new())
            }
        })*
    };
}

named! {
    AccountStatus, BatchState, BulkAction, BulkState, DeliveryState, OutcomeKind, QuarantineStatus, ReleaseState,
    RunStatus, SubscriptionStatus, TokenState,
}

#[cfg(test)]
mod tests {
    use super::*;

    query! {
        /// Parameters of a test.
        Probe {
            /// Only this platform
            platform: Platform,
            /// At most this many rows
            limit: Limit,
            /// Where to go on
            cursor: String,
        }
    }

    fn read(query: &str) -> Result<Probe, Problem> {
        Probe::read(&Pairs::parse(query, &Probe::parameters())?)
    }

    #[test]
    fn what_an_operation_does_not_take_is_refused() {
        assert_eq!(read("platform=youtube").expect("taken").platform, Platform::new("youtube").ok());
        let given = read("limit=5&cursor=abc").expect("taken");
        assert_eq!((given.platform, given.limit, given.cursor), (None, Some(Limit(5)), Some("abc".to_owned())));
        for wrong in ["plattform=youtube", "platform=youtube&platform=tiktok", "limit=0", "limit=1001", "limit=x"] {
            read(wrong).expect_err(wrong);
        }
        let unknown = format!("{:?}", read("plattform=youtube").expect_err("refused"));
        assert!(unknown.contains("did you mean 'platform'?"), "{unknown}");
    }

    #[test]
    fn a_date_has_a_year_of_four_digits() {
        for good in ["0001-01-01", "2026-11-22", "9999-12-31"] {
            assert_eq!(NaiveDate::given(good).map(|date| date.to_string()), Ok(good.to_owned()));
        }
        for wrong in ["0000-12-31", "-0001-01-01", "+10000-01-01", "+262142-12-31", "2026-11-31", "2026-1-1", ""] {
            NaiveDate::given(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn the_next_page_keeps_the_filters() {
        let pairs = Pairs::parse("platform=you%20tube&cursor=a&limit=5", &Probe::parameters()).expect("taken");
        assert_eq!(pairs.at("b"), "limit=5&platform=you+tube&cursor=b");
        assert_eq!(pairs.filters(), [("platform".to_owned(), "you tube".to_owned())]);
    }
}
