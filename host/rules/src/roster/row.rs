//! Parses the rows of a source's query. The columns of the query decide what is read.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value as Json};

use backline_model::account_rule::{AccountReader, Gives, column_name};
use backline_model::cell;
use backline_model::roster::SourceArtist;
use backline_model::zone::ZoneError;
use backline_model::{Artist, ArtistId, Platform, SubscriptionStatus, Tenant, Zone};

use crate::lists::{ColumnRole, Directory};

/// Columns with a fixed meaning.
const COLUMNS: [&str; 7] =
    ["id", "name", "tenant", "subscription_status", "data_collection_enabled", "timezone", "consents"];

/// Prefix of the consent columns; the platform's name follows.
const CONSENT: &str = "consent_";

/// Longest name and id that are read or shown, in characters.
const NAME_CHARS_MAX: usize = Artist::NAME_CHARS_MAX;

/// A query whose columns are not valid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    /// Columns without a meaning.
    #[error(
        "the query has unknown columns: {}; known are {}, columns for each platform with an installed connector ({}) \
         and its consent_<platform>; leave the others out or rename them with AS",
        unknown.join(", "),
        COLUMNS.join(", "),
        if platforms.is_empty() { "none is installed".to_owned() } else { platforms.join(", ") }
    )]
    Unknown {
        /// Names of these columns.
        unknown: Vec<String>,
        /// Names of the known platforms.
        platforms: Vec<String>,
    },
    /// The column that identifies the artist is missing.
    #[error("the query has no column id, which identifies the artist; name it with AS id")]
    NoId,
}

/// A row that can't be used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BadRow {
    /// Number of the row, counted from 1.
    pub row: u64,
    /// Text of its id; `None` if it has none.
    pub id: Option<String>,
    /// Name of the invalid column.
    pub column: String,
    /// What is wrong, and what is expected.
    pub problem: String,
}

/// The meaning of a query's columns.
#[derive(Clone, Debug)]
pub struct Columns {
    plain: BTreeSet<&'static str>,
    platforms: Vec<(String, Platform, AccountReader)>,
    consents: Vec<(String, Platform)>,
    known: BTreeSet<Platform>,
}

impl Columns {
    /// Interprets the names of a query's columns, given the platforms with an installed connector.
    ///
    /// # Errors
    /// If a column has no meaning, or if there is no id.
    pub fn of(names: &[String], directory: &Directory) -> Result<Self, ColumnError> {
        let known: BTreeSet<Platform> = directory.platforms().cloned().collect();
        let mut columns =
            Self { plain: BTreeSet::new(), platforms: Vec::new(), consents: Vec::new(), known: known.clone() };
        let mut unknown = Vec::new();
        for name in names {
            if let Some(plain) = COLUMNS.iter().find(|plain| *plain == name) {
                columns.plain.insert(plain);
            } else if let Some((platform, reader)) = platform_of(name, directory) {
                columns.platforms.push((name.clone(), platform, reader));
            } else if let Some(platform) = name.strip_prefix(CONSENT).and_then(|rest| known.get(rest)) {
                columns.consents.push((name.clone(), platform.clone()));
            } else {
                unknown.push(name.clone());
            }
        }
        if !unknown.is_empty() {
            let platforms = known.iter().map(ToString::to_string).collect();
            return Err(ColumnError::Unknown { unknown, platforms });
        }
        if columns.plain.contains("id") { Ok(columns) } else { Err(ColumnError::NoId) }
    }

    /// Whether the query has columns about consent.
    #[must_use]
    pub fn speaks_of_consent(&self) -> bool {
        self.plain.contains("consents") || !self.consents.is_empty()
    }

    /// Reads a row. A column of account ids that is not valid is ignored: the artist's accounts there stay as they are,
    /// and the rest of the row, such as a withdrawal of consent, counts.
    ///
    /// # Errors
    /// Names the column by which the whole row is not valid.
    pub fn read(&self, number: u64, row: &Map<String, Json>) -> Result<(SourceArtist, Vec<BadRow>), BadRow> {
        let bad = |column: &str, problem: String| BadRow {
            row: number,
            id: row.get("id").and_then(text).map(|id| id.chars().take(NAME_CHARS_MAX).collect()),
            column: column.to_owned(),
            problem,
        };
        let cell = |column: &str| row.get(column).unwrap_or(&Json::Null);
        let has = |column: &str| self.plain.contains(column);
        let id = text(cell("id")).ok_or_else(|| bad("id", "it is empty; it must be a UUID".to_owned()))?;
        let id: ArtistId = id.parse().map_err(|error| bad("id", format!("{error}")))?;
        let name = text(cell("name")).map(|name| name.replace('\0', ""));
        if name.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARS_MAX) {
            return Err(bad("name", format!("it is longer than {NAME_CHARS_MAX} characters")));
        }
        let tenant = text(cell("tenant")).map_or(Ok(Tenant::default()), Tenant::new);
        let tenant = tenant.map_err(|error| bad("tenant", error.to_string()))?;
        // An unknown subscription status and a missing switch count as off: only an explicit value counts as consent to
        // collect.
        let status = match text(cell("subscription_status")) {
            None => SubscriptionStatus::Inactive,
            Some(status) => SubscriptionStatus::parse(&status).ok_or_else(|| {
                let known: Vec<_> = SubscriptionStatus::ALL.iter().map(|status| status.as_str()).collect();
                bad("subscription_status", format!("'{}' is not one of {}", shown(&status), known.join(", ")))
            })?,
        };
        let enabled =
            truth(cell("data_collection_enabled")).map_err(|problem| bad("data_collection_enabled", problem))?;
        let timezone = text(cell("timezone")).map_or(Ok(Zone::utc()), |zone| {
            zone.parse().map_err(|error: ZoneError| bad("timezone", error.shown_as(shown(&zone)).to_string()))
        })?;
        let mut artist = SourceArtist {
            id,
            name,
            tenant: has("tenant").then_some(tenant),
            subscription_status: has("subscription_status").then_some(status),
            data_collection_enabled: has("data_collection_enabled").then_some(enabled.unwrap_or(false)),
            timezone: has("timezone").then_some(timezone),
            accounts: Default::default(),
            consents: Default::default(),
        };
        let mut accounts: BTreeMap<&Platform, Option<Vec<String>>> = BTreeMap::new();
        let mut bad_columns = Vec::new();
        for (column, platform, reader) in &self.platforms {
            let all = accounts.entry(platform).or_insert_with(|| Some(Vec::new()));
            match platform_ids(cell(column), reader) {
                Ok(ids) => {
                    for id in ids {
                        if let Some(all) = all.as_mut().filter(|all| !all.contains(&id)) {
                            all.push(id);
                        }
                    }
                }
                // What else the row says about this platform would switch off the account that can't be read.
                Err(problem) => {
                    *all = None;
                    bad_columns.push(bad(column, problem));
                }
            }
        }
        let readable = accounts.into_iter().filter_map(|(platform, ids)| Some((platform.clone(), ids?)));
        artist.accounts = readable.collect();
        for (platform, granted) in self.consents(cell("consents")).map_err(|problem| bad("consents", problem))? {
            artist.consents.insert(platform, granted);
        }
        for (column, platform) in &self.consents {
            if let Some(granted) = truth(cell(column)).map_err(|problem| bad(column, problem))? {
                artist.consents.insert(platform.clone(), granted);
            }
        }
        Ok((artist, bad_columns))
    }

    /// An object of platform → boolean, or a list of the platforms with consent.
    fn consents(&self, cell: &Json) -> Result<Vec<(Platform, bool)>, String> {
        let platform = |name: &str| {
            let known = self.known.get(name.trim()).cloned();
            known.ok_or_else(|| format!("'{}' is not a platform with a connector", shown(name)))
        };
        let given = match nested(cell) {
            Json::Null => return Ok(Vec::new()),
            Json::Object(given) => given,
            Json::Array(list) => {
                let name = |entry: &Json| text(entry).ok_or_else(|| "it holds an entry without a name".to_owned());
                return list.iter().map(|entry| Ok((platform(&name(entry)?)?, true))).collect();
            }
            _ => return Err(r#"it is neither an object such as {"youtube": true} nor a list"#.to_owned()),
        };
        let mut consents = Vec::new();
        for (name, granted) in &given {
            if let Some(granted) = truth(granted)? {
                consents.push((platform(name)?, granted));
            }
        }
        Ok(consents)
    }
}

/// The query for a table of which only the column names are known. It selects the columns with a meaning, and never one
/// that may hold a token.
///
/// # Errors
/// If no column identifies the artist.
pub fn default_query(table: &str, columns: &[String], directory: &Directory) -> Result<String, ColumnError> {
    let known: BTreeSet<&str> = directory.platforms().map(Platform::as_str).collect();
    let meant: Vec<String> = columns
        .iter()
        .filter(|name| {
            COLUMNS.contains(&name.as_str())
                || platform_of(name, directory).is_some()
                || name.strip_prefix(CONSENT).is_some_and(|rest| known.contains(rest))
        })
        .map(|name| format!("\"{name}\""))
        .collect();
    if meant.iter().any(|name| name == "\"id\"") {
        Ok(format!("SELECT {} FROM {table}", meant.join(", ")))
    } else {
        Err(ColumnError::NoId)
    }
}

/// The platform whose ids a column holds. Columns of tokens and settings are not read.
fn platform_of(column: &str, directory: &Directory) -> Option<(Platform, AccountReader)> {
    match directory.column(&column_name(column)) {
        ColumnRole::Column { listed, gives: Gives::Id, .. } => Some((listed.platform().clone(), listed.reader.clone())),
        _ => None,
    }
}

/// The text of a plain value; `None` if it is empty.
fn text(cell: &Json) -> Option<String> {
    let text = match cell {
        Json::Null => return None,
        Json::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    (!text.is_empty()).then_some(text)
}

/// JSON in a text column is parsed.
fn nested(cell: &Json) -> Json {
    match cell {
        Json::String(text) if text.trim().is_empty() => Json::Null,
        Json::String(text) if text.trim_start().starts_with(['[', '{']) => {
            serde_json::from_str(text).unwrap_or_else(|_| cell.clone())
        }
        other => other.clone(),
    }
}

fn truth(cell: &Json) -> Result<Option<bool>, String> {
    let Some(text) = text(cell) else { return Ok(None) };
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" => Ok(Some(true)),
        "false" | "f" | "0" | "no" => Ok(Some(false)),
        _ => Err(format!("'{}' is neither true nor false", shown(&text))),
    }
}

/// One id, several in one text, or a list of them.
fn platform_ids(cell: &Json, reader: &AccountReader) -> Result<Vec<String>, String> {
    let texts: Vec<String> = match nested(cell) {
        Json::Array(list) => list.iter().filter_map(text).collect(),
        Json::Object(_) => return Err("it is an object; write an id or a list of ids".to_owned()),
        other => text(&other).into_iter().collect(),
    };
    let mut ids = Vec::new();
    for text in texts {
        ids.extend(reader.read_all(&text).map_err(|error| error.to_string())?);
    }
    Ok(ids)
}

/// An untrusted value, made safe and short for a message.
fn shown(text: &str) -> String {
    cell::shown(text)
}
