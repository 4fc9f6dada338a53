//! Where data about an artist is stored: the registry of all tables, and how an artist is recognised in a text.
//!
//! Erasure, the removal of one account, export and search use this registry. A test compares it with both databases: it
//! fails if a table is missing here, or if a column of a table with an artist's rows is not named.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::Digest as _;
use uuid::Uuid;

use crate::account::Account;
use crate::ids::ArtistId;

/// Text that replaces an identifier.
pub const BLANK: &str = "[erased]";

/// From this length on, an identifier of digits is recognised inside letters; a shorter one must stand by itself.
const DIGITS_DISTINCT: usize = 8;

/// From this length on, any other identifier is recognised inside a longer word.
const CHARACTERS_DISTINCT: usize = 16;

/// Shortest text of an account's settings that counts as an identifier, in characters.
const SETTING_MIN: usize = 3;

/// A setting's value counts as an identifier if its name contains one of these. A region or a version is not an
/// identifier.
const NAMING_SETTINGS: [&str; 8] = ["id", "handle", "user", "name", "channel", "url", "login", "profile"];

/// A table of the database.
#[derive(Clone, Copy, Debug)]
pub struct PersonalTable {
    /// Name of the table.
    pub name: &'static str,
    /// What it stores about artists.
    pub holds: Holds,
    /// Free-text columns that may name an artist although the row is about none, or about another.
    pub texts: &'static [&'static str],
}

/// What a table stores about artists.
#[derive(Clone, Copy, Debug)]
pub enum Holds {
    /// Rows about an artist, which are erased and exported.
    Rows(Rows),
    /// Nothing, with the reason why.
    Nothing(&'static str),
}

/// How rows about an artist are found, and their columns.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// How they are found from an artist's id.
    pub reached: Reached,
    /// Columns that they are sorted by.
    pub order: &'static str,
    /// Every column; a colon and a letter follow if it is not text, see [`ColumnKind`].
    columns: &'static str,
}

/// How a table's rows are found from an artist's id, and which of them are about one account. Each variant holds the
/// name of the table's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// By the artist's id. All are about the artist as a whole: they stay when one account is removed.
    Artist(&'static str),
    /// By the artist's id. Those about one account name its id in one of the columns that follow.
    ArtistOrAccount(&'static str, &'static [&'static str]),
    /// By the ids of the artist's accounts.
    Account(&'static str),
    /// By the ids of these accounts' credentials.
    Credential(&'static str),
    /// By the numbers of events about the artist.
    Event(&'static str),
}

/// Type of a column's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text, ids and dates; no mark.
    Text,
    /// `n`: a whole number.
    Whole,
    /// `f`: any number.
    Decimal,
    /// `j`: JSON.
    Json,
    /// `g`: growth in its short form, which is exported in full.
    Growth,
    /// `t`: a time.
    Time,
    /// `b`: yes or no.
    Flag,
    /// `d`: a compressed document, which is exported as a separate file.
    Document,
    /// `x`: never exported: a sealed secret, or data about hosts, not artists.
    Withheld,
}

impl Rows {
    /// Every column with its type, in the order of the table.
    #[must_use]
    pub fn columns(&self) -> Vec<(&'static str, ColumnKind)> {
        let column = |text: &'static str| match text.split_once(':') {
            None => (text, ColumnKind::Text),
            Some((name, "n")) => (name, ColumnKind::Whole),
            Some((name, "f")) => (name, ColumnKind::Decimal),
            Some((name, "j")) => (name, ColumnKind::Json),
            Some((name, "g")) => (name, ColumnKind::Growth),
            Some((name, "t")) => (name, ColumnKind::Time),
            Some((name, "b")) => (name, ColumnKind::Flag),
            Some((name, "d")) => (name, ColumnKind::Document),
            // `x`, or an unknown letter: a column of unknown content is never exported.
            Some((name, _)) => (name, ColumnKind::Withheld),
        };
        self.columns.split_whitespace().map(column).collect()
    }
}

const fn rows(name: &'static str, reached: Reached, order: &'static str, columns: &'static str) -> PersonalTable {
    PersonalTable { name, holds: Holds::Rows(Rows { reached, order, columns }), texts: &[] }
}

const fn nothing(name: &'static str, reason: &'static str) -> PersonalTable {
    PersonalTable { name, holds: Holds::Nothing(reason), texts: &[] }
}

impl PersonalTable {
    const fn with_texts(self, texts: &'static [&'static str]) -> Self {
        Self { texts, ..self }
    }
}

/// The columns of `metrics`, and of `metrics_archive`, whose rows are the same.
const METRICS: &str =
    "account_id artist_id platform metric_date followers:n following:n posts_count:n engagement_rate:f
    content_views:n streams:n monthly_listeners:n video_views:n total_views:n likes:n comments:n shares:n
    popularity:f recent_releases:n top_track genres:j extra:j absent:j coverage:j observed:j engagement:j
    window_since:t window_until:t collection_source data_quality_score:f findings:j notes:j observed_at:t
    release_digest wit_version run_id document_id created_at:t updated_at:t growth:g";

/// Every table of the database. Those with an artist's rows come first, each before the tables that its rows are found
/// by. They are erased in this order.
pub const TABLES: &[PersonalTable] = &[
    rows(
        "deliveries",
        Reached::Event("event_seq"),
        "webhook_id event_seq",
        "webhook_id event_seq:n event_id artist_id line state attempts:n first_tried_at:t next_at:t lease_owner:x
            lease_until:x status:n problem finished_at:t",
    )
    .with_texts(&["problem"]),
    // A message's text is made of its events when it is sent.
    rows("alert_events", Reached::Event("event_seq"), "channel_id event_seq", "channel_id event_seq:n message_id"),
    rows(
        "events",
        Reached::ArtistOrAccount("artist_id", &["row_account", "data"]),
        "seq",
        // The row's key is in the data.
        "seq:n id type artist_id occurred_at:t dedup_key data:j row_account:x row_date:x row_run:x row_at:x",
    ),
    rows(
        "budgets",
        Reached::Credential("credential_id"),
        "credential_id budget window_start",
        "credential_id budget window_start:t window_end:t spent:n last_granted:n holder",
    ),
    rows(
        "paces",
        Reached::Credential("credential_id"),
        "credential_id budget",
        "holder budget credential_id first_us:n next_us:n",
    ),
    rows(
        "pauses",
        Reached::Credential("credential_id"),
        "credential_id",
        "holder platform credential_id began_at:t paused_until:t interval_us:n paced_until:t",
    ),
    rows(
        "credentials",
        Reached::Account("account_id"),
        "id",
        "id platform slot account_id kind sealed:x version:n expires_at:t status created_at:t updated_at:t refresh_at:t
            refresh_owner:x refresh_until:x refresh_began:x",
    ),
    rows("activations", Reached::Artist("artist_id"), "platform", "artist_id platform cause at:t"),
    rows(
        "batch_accounts",
        Reached::Account("account_id"),
        "batch_id position",
        "batch_id position:n account_id metric_date",
    ),
    rows(
        "collection_outcomes",
        Reached::Account("account_id"),
        "run_id account_id",
        "run_id account_id artist_id platform metric_date outcome reason message deferred_until:t attempts:n at:t
            release_digest",
    )
    .with_texts(&["message"]),
    rows("metrics", Reached::Account("account_id"), "metric_date account_id", METRICS),
    rows("metrics_archive", Reached::Account("account_id"), "metric_date account_id", METRICS),
    rows(
        "documents",
        Reached::Account("account_id"),
        "metric_date id",
        "id account_id artist_id platform metric_date run_id observed_at:t window_since:t window_until:t release_digest
            body:d bytes_raw:n",
    ),
    rows(
        "quarantine",
        Reached::Account("account_id"),
        "metric_date id",
        "id account_id artist_id platform metric_date metric value:j rule release_digest document_id status
            created_at:t decided_at:t",
    ),
    rows(
        "account_state",
        Reached::Account("account_id"),
        "account_id",
        "account_id state last_accepted:j updated_at:t",
    ),
    // The answer to an act on a value of the artist.
    rows(
        "api_answers",
        Reached::ArtistOrAccount("artist_id", &["answer"]),
        "created_at token_id idempotency_key",
        "token_id:x idempotency_key:x asked:x request_id:x artist_id answer created_at:t",
    ),
    rows(
        "accounts",
        Reached::Account("id"),
        "id",
        "id artist_id platform platform_id settings:j status created_at:t updated_at:t origin",
    ),
    rows(
        "consents",
        Reached::Artist("artist_id"),
        "seq",
        "seq:n artist_id platform granted:b scope source recorded_at:t",
    ),
    // Who did it, and from where, is about people of the operator.
    rows(
        "audit",
        Reached::Artist("artist_id"),
        "seq",
        "seq:n at:t actor name:x token_id:x origin:x request_id:x action outcome tenant artist_id details:j
            state_before:j state_after:j",
    ),
    // What was done to all of an artist's things at once.
    rows(
        "bulk_acts",
        Reached::Artist("artist_id"),
        "id",
        "id action tenant artist_id filter:j reason state total:n done:n skipped:n failed:n problem place:x
            created_at:t updated_at:t finished_at:t",
    )
    .with_texts(&["reason", "problem"]),
    rows(
        "artists",
        Reached::Artist("id"),
        "id",
        "id name tenant subscription_status data_collection_enabled:b timezone created_at:t updated_at:t origin",
    ),
    nothing("webhooks", "URLs that events are sent to").with_texts(&["disabled_reason"]),
    nothing("events_gone", "how far events were deleted, by tenant"),
    nothing("alerts", "figures of health, by platform"),
    nothing("alert_channels", "where messages to the operator's people go"),
    nothing("alert_routes", "which events are told"),
    nothing("alert_digests", "when tenants' numbers are told; what is told is not kept"),
    nothing("alert_receivers", "which channels a route leads to"),
    nothing("alert_messages", "when events were told; which ones is in alert_events").with_texts(&["problem"]),
    nothing("plugin_logs", "log lines of connectors; identifiers are blanked").with_texts(&["message"]),
    nothing("batches", "the accounts of a batch are in batch_accounts").with_texts(&["message"]),
    nothing("lost_metrics", "metrics that a platform refuses, by name").with_texts(&["reason"]),
    nothing("releases", "connectors").with_texts(&["state_reason"]),
    nothing("release_activations", "times at which connectors were active").with_texts(&["reason"]),
    nothing("release_hosts", "which host has loaded which connector").with_texts(&["message"]),
    nothing("release_batches", "counts of results by batch"),
    nothing("canaries", "releases that collect a share of all accounts"),
    nothing("compiled", "digests of compiled connectors"),
    nothing("platforms", "names of platforms"),
    nothing("runs", "times and counts"),
    nothing("schedules", "when runs are due"),
    nothing("schedule_fires", "what was decided about each time"),
    nothing("archive_runs", "times and counts"),
    nothing("leaders", "hosts and their roles"),
    nothing("hosts", "hosts"),
    nothing("installation", "one random id"),
    nothing("api_tokens", "tokens of the HTTP API; their names are an operator's words").with_texts(&["name"]),
    nothing("dashboard_sessions", "who is logged in, by token").with_texts(&["notice"]),
    nothing("erasures", "hashes of erased artists, from which no id can be read"),
];

/// The tables that store rows about artists, in the order of erasure.
pub fn personal() -> impl Iterator<Item = (&'static PersonalTable, Rows)> {
    TABLES.iter().filter_map(|table| match table.holds {
        Holds::Rows(rows) => Some((table, rows)),
        Holds::Nothing(_) => None,
    })
}

/// An erased artist's identity, as tombstones and subscribers know it: the SHA-256 digest of the id, in hexadecimal.
/// The digest can be computed from the id, but not the id from the digest.
#[must_use]
pub fn subject_of(artist: ArtistId) -> String {
    let digest = sha2::Sha256::digest(artist.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an erasure removed. Contains no identifier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// SHA-256 digest of the artist's id, in hexadecimal.
    pub artist_id_sha256: String,
    /// When the erasure was requested.
    pub requested_at: DateTime<Utc>,
    /// When the erasure was finished.
    pub finished_at: DateTime<Utc>,
    /// Number of rows removed, by table.
    pub rows: BTreeMap<String, u64>,
    /// Number of texts in which something was blanked, by `table.column`.
    pub texts: BTreeMap<String, u64>,
    /// When the artist was allowed again; `None` while the tombstone holds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub readmitted_at: Option<DateTime<Utc>>,
}

/// What an artist can be recognised by in a text: ids of the artist and the accounts, the platforms' ids of these, and
/// handles in their settings. Names are left out: most are common words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identifiers {
    list: Vec<Identifier>,
}

#[derive(Clone, Debug, PartialEq)]
struct Identifier {
    given: String,
    folded: Vec<char>,
    borders: Borders,
}

/// What may stand next to an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Borders {
    /// Anything: the identifier is long enough to be unique.
    Any,
    /// Anything but digits: otherwise it is a part of a longer number.
    NoDigit,
    /// Neither letters nor digits: otherwise it is a part of a longer word.
    NoWord,
}

impl Identifiers {
    /// Everything that identifies an artist with these accounts.
    #[must_use]
    pub fn of(artist: ArtistId, accounts: &[Account]) -> Self {
        let mut all = Self::default();
        all.add(&artist.to_string());
        for account in accounts {
            all.add(&account.id.to_string());
            all.add(&account.platform_id);
            all.add_settings(&account.settings);
        }
        all
    }

    /// Adds one identifier. A UUID is recognised with and without hyphens. Blank text adds nothing.
    pub fn add(&mut self, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if let Ok(id) = Uuid::parse_str(text) {
            self.insert(&id.hyphenated().to_string());
            self.insert(&id.simple().to_string());
            return;
        }
        self.insert(text);
        // The form inside JSON text.
        let escaped = Json::from(text).to_string();
        self.insert(&escaped[1..escaped.len() - 1]);
    }

    /// Adds the identifiers in an account's settings.
    pub fn add_settings(&mut self, settings: &Json) {
        self.add_named(settings, false);
    }

    /// Adds the identifiers of another list.
    pub fn join(&mut self, others: Self) {
        others.list.iter().for_each(|one| self.insert(&one.given));
    }

    /// Number of forms that are searched for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is nothing to search for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Lower-case texts for a first search in the database. Every text that holds an identifier has one of these in its
    /// lower-case form, whichever rules the database uses for lower case.
    #[must_use]
    pub fn patterns(&self) -> Vec<String> {
        let mut patterns: Vec<String> =
            self.list.iter().flat_map(|one| [one.folded.iter().collect(), one.given.to_ascii_lowercase()]).collect();
        patterns.sort();
        patterns.dedup();
        patterns
    }

    /// Whether a text holds one of them, in upper or lower case.
    #[must_use]
    pub fn are_in(&self, text: &str) -> bool {
        !self.places(text).is_empty()
    }

    /// The text with each of them blanked; `None` if it holds none.
    #[must_use]
    pub fn blanked(&self, text: &str) -> Option<String> {
        let places = self.places(text);
        if places.is_empty() {
            return None;
        }
        let (mut out, mut position, mut blank_until) = (String::with_capacity(text.len()), 0, 0);
        let mut places = places.into_iter().peekable();
        for character in text.chars() {
            while let Some((start, end)) = places.next_if(|(start, _)| *start <= position) {
                if start >= blank_until {
                    out.push_str(BLANK);
                }
                blank_until = blank_until.max(end);
            }
            if position >= blank_until {
                out.push(character);
            }
            position += 1;
        }
        Some(out)
    }

    /// Character ranges of the text that hold an identifier, in order of their starts. The end is exclusive.
    fn places(&self, text: &str) -> Vec<(usize, usize)> {
        let folded: Vec<char> = text.chars().map(fold).collect();
        let mut places = Vec::new();
        for one in &self.list {
            let length = one.folded.len();
            for start in 0..(folded.len() + 1).saturating_sub(length) {
                if folded[start..start + length] == one.folded[..] && one.fits(&folded, start, start + length) {
                    places.push((start, start + length));
                }
            }
        }
        places.sort_unstable();
        places
    }

    fn insert(&mut self, text: &str) {
        let folded: Vec<char> = text.chars().map(fold).collect();
        if self.list.iter().any(|one| one.folded == folded) {
            return;
        }
        let digits_only = folded.iter().all(char::is_ascii_digit);
        let borders = match (digits_only, folded.len()) {
            (true, DIGITS_DISTINCT..) => Borders::NoDigit,
            (false, CHARACTERS_DISTINCT..) => Borders::Any,
            _ => Borders::NoWord,
        };
        self.list.push(Identifier { given: text.to_owned(), folded, borders });
    }

    fn add_named(&mut self, value: &Json, names: bool) {
        match value {
            Json::Object(object) => {
                for (key, value) in object {
                    let key = key.to_lowercase();
                    self.add_named(value, NAMING_SETTINGS.iter().any(|part| key.contains(part)));
                }
            }
            Json::Array(values) => values.iter().for_each(|value| self.add_named(value, names)),
            Json::String(text) if names && text.chars().count() >= SETTING_MIN => self.add(text),
            Json::Number(number) if names && number.to_string().len() >= SETTING_MIN => self.add(&number.to_string()),
            _ => {}
        }
    }
}

impl Identifier {
    fn fits(&self, text: &[char], start: usize, end: usize) -> bool {
        let before = start.checked_sub(1).and_then(|index| text.get(index));
        let beside = [before, text.get(end)];
        beside.into_iter().flatten().all(|character| match self.borders {
            Borders::Any => true,
            Borders::NoDigit => !character.is_ascii_digit(),
            Borders::NoWord => !character.is_alphanumeric(),
        })
    }
}

/// Folds one character to one character, so that positions in the folded text are positions in the text.
fn fold(character: char) -> char {
    character.to_lowercase().next().unwrap_or(character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccountId, AccountStatus, Platform};

    fn identifiers(texts: &[&str]) -> Identifiers {
        let mut all = Identifiers::default();
        texts.iter().for_each(|text| all.add(text));
        all
    }

    #[test]
    fn a_table_is_named_once_and_its_rows_are_put_in_order_by_its_columns() {
        for (index, table) in TABLES.iter().enumerate() {
            assert!(TABLES[index + 1..].iter().all(|other| other.name != table.name), "{} stands twice", table.name);
        }
        for (table, rows) in personal() {
            let columns = rows.columns();
            let none: &[&str] = &[];
            let (way, others) = match rows.reached {
                Reached::ArtistOrAccount(way, others) => (way, others),
                Reached::Artist(way) | Reached::Account(way) | Reached::Credential(way) | Reached::Event(way) => {
                    (way, none)
                }
            };
            for name in rows.order.split_whitespace().chain([way]).chain(others.iter().copied()) {
                assert!(columns.iter().any(|(column, _)| *column == name), "{}.{name}", table.name);
            }
        }
        let position = |name: &str| personal().position(|(table, _)| table.name == name).expect(name);
        assert!(position("budgets") < position("credentials") && position("credentials") < position("accounts"));
        assert_eq!(position("artists"), personal().count() - 1, "everything else refers to it");
    }

    #[test]
    fn rows_that_name_an_account_are_found_by_it_while_it_is_there() {
        let accounts = personal().position(|(table, _)| table.name == "accounts").expect("it is there");
        for (index, (table, rows)) in personal().enumerate() {
            let names_one = rows.columns().iter().any(|(column, _)| ["account_id", "row_account"].contains(column));
            if matches!(rows.reached, Reached::Artist(_)) {
                assert!(!names_one, "{}: a removed account would stay in it", table.name);
            } else {
                assert!(index <= accounts, "{}: its rows are found by an account that is gone", table.name);
            }
        }
    }

    #[test]
    fn a_secret_is_never_among_what_is_exported() {
        let (_, credentials) = personal().find(|(table, _)| table.name == "credentials").expect("it is there");
        let shown: Vec<_> = credentials
            .columns()
            .into_iter()
            .filter(|(_, kind)| *kind != ColumnKind::Withheld)
            .map(|(name, _)| name)
            .collect();
        assert!(!shown.contains(&"sealed"), "{shown:?}");
    }

    #[test]
    fn the_subject_is_the_hash_of_the_id_in_lower_case_with_hyphens() {
        let artist: ArtistId = "018F4E6A-7C1D-7B3A-9C55-3F1D2A4B5C6D".parse().expect("an id");
        assert_eq!(subject_of(artist).len(), 64);
        // printf %s 018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d | sha256sum
        assert_eq!(subject_of(artist), "16574e93ad2db93f419c79f00041af179e56cc3d530dc3b66a080a5426ecd56b");
    }

    #[test]
    fn a_uuid_is_found_in_any_case_with_and_without_hyphens() {
        let all = identifiers(&["018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d"]);
        for text in [
            "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d",
            "x018F4E6A-7C1D-7B3A-9C55-3F1D2A4B5C6Dx",
            "{\"id\":\"018f4e6a7c1d7b3a9c553f1d2a4b5c6d\"}",
        ] {
            assert!(all.are_in(text), "{text}");
        }
        assert!(!all.are_in("018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6e"));
    }

    #[test]
    fn a_short_number_is_found_by_itself_and_not_inside_a_longer_one() {
        let all = identifiers(&["4711", "123456789"]);
        for text in ["4711", "account 4711 failed", "[4711,2]", "id123456789", "x=123456789;"] {
            assert!(all.are_in(text), "{text}");
        }
        for text in ["47110", "14711", "a4711b", "1234567890", "0123456789"] {
            assert!(!all.are_in(text), "{text}");
        }
    }

    #[test]
    fn a_handle_is_found_as_a_word_and_in_any_case() {
        let all = identifiers(&["Ada", "Zoë\"x"]);
        assert!(all.are_in("@ADA is back") && all.are_in("ada_") && !all.are_in("canada") && !all.are_in("Adam"));
        assert!(all.are_in("{\"handle\":\"zOË\\\"X\"}"), "as it stands in JSON");
    }

    #[test]
    fn what_is_blanked_is_gone_and_the_rest_stays() {
        let all = identifiers(&["UCabcdefghijklmnopqrst", "abcdefghijklmnop", "77"]);
        let text = "ü UCABCDEFGHIJKLMNOPQRST, 77 und 770: 77.";
        assert_eq!(all.blanked(text).as_deref(), Some("ü [erased], [erased] und 770: [erased]."));
        assert_eq!(all.blanked("nothing 1771"), None);
        let blanked = all.blanked(text).expect("blanked");
        assert!(!all.are_in(&blanked));
    }

    #[test]
    fn an_artist_is_known_by_ids_and_handles_and_not_by_regions() {
        let artist = ArtistId(Uuid::from_u128(1));
        let account = Account {
            id: AccountId(Uuid::from_u128(2)),
            artist_id: artist,
            platform: Platform::new("demo").expect("a name"),
            platform_id: "channel-of-ada-lovelace".to_owned(),
            settings: serde_json::json!({
                "storefronts": ["usa"],
                "handle": "adalove",
                "profiles": [{ "user_id": 77123 }],
                "version": "v23.0",
            }),
            status: AccountStatus::Active,
        };
        let all = Identifiers::of(artist, &[account]);
        let ids = [Uuid::from_u128(1).to_string(), Uuid::from_u128(2).simple().to_string()];
        for text in ids.iter().map(String::as_str).chain(["channel-of-ada-lovelace", "adalove", "77123"]) {
            assert!(all.are_in(text), "{text}");
        }
        assert!(!all.are_in("usa v23.0"));
        assert!(all.patterns().iter().all(|pattern| *pattern == pattern.to_lowercase()));
    }
}
