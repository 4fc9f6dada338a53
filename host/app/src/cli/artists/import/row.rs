//! Interprets one record of a list as an artist with accounts and secrets. Pure.
//!
//! Which columns there are besides the artist's own, and what they hold, is what the installed connectors say.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use backline_gateway::secrets::SecretText;
use backline_model::account_rule::Gives;
use backline_model::zone::ZoneError;
use backline_model::{Artist, ArtistId, Platform, SubscriptionStatus, Tenant, Zone, cell};
use backline_rules::lists::{ColumnRole, Directory, Listed};

/// Columns that belong to the artist.
pub(super) const COLUMNS: [&str; 6] =
    ["id", "name", "tenant", "timezone", "subscription_status", "data_collection_enabled"];

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = Artist::NAME_CHARS_MAX;

/// An artist as one record describes it.
#[derive(Debug)]
pub(super) struct ImportedArtist {
    pub artist: Artist,
    pub accounts: Vec<ImportedAccount>,
    /// Problems that do not refuse the record.
    pub warnings: Vec<Warning>,
}

/// One account of a record.
#[derive(Debug)]
pub(super) struct ImportedAccount {
    pub platform: Platform,
    /// The account's id on the platform.
    pub platform_id: String,
    pub settings: Json,
    /// Slots and secrets, in the form that `backline credentials set` reads, with the column that names each.
    pub credentials: Vec<ImportedSecret>,
}

/// A secret of a record.
#[derive(Debug)]
pub(super) struct ImportedSecret {
    pub slot: String,
    pub secret: SecretText,
    /// The first column that it is made of.
    pub column: String,
}

/// Why a record can't be imported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RowFault {
    pub column: String,
    /// The value, what is wrong with it, and what to do. Never a secret.
    pub problem: String,
}

/// A problem that does not refuse a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Warning {
    /// The account can't be read without a secret of its own.
    NoSecret { platform: Platform, slot: String },
    /// The column says nothing that an account could be made of.
    NothingOf { column: String, reason: String },
    /// An id ends in zeros, as spreadsheets round long numbers.
    Zeros { platform: Platform },
}

impl Warning {
    /// The text after the number of artists, such as "2 artists have …".
    pub(super) fn text(&self) -> String {
        match self {
            Self::NoSecret { platform, slot } => format!(
                "have an account on {platform} without its secret: \
                 set it with `backline credentials set {platform} {slot} --account …`"
            ),
            Self::NothingOf { column, reason } => format!("have only a {column}: {reason}, so no account was created"),
            Self::Zeros { platform } => format!(
                "have an id on {platform} that ends in zeros, as spreadsheets round long numbers: \
                 compare it with its source"
            ),
        }
    }
}

/// Interprets one record.
///
/// # Errors
/// Every column that is not valid.
pub(super) fn interpret(
    fields: &BTreeMap<String, String>,
    directory: &Directory,
) -> Result<ImportedArtist, Vec<RowFault>> {
    let mut faults = Vec::new();
    let artist = artist(fields).map_err(|fault| faults.push(fault)).ok();
    let mut gathered: BTreeMap<&Platform, Gathered<'_>> = BTreeMap::new();
    for (column, text) in fields.iter().filter(|(column, _)| !COLUMNS.contains(&column.as_str())) {
        // The survey of the whole list refuses columns that no connector names.
        let ColumnRole::Column { listed, gives, lower_case } = directory.column(column) else { continue };
        let platform = gathered.entry(listed.platform()).or_insert_with(|| Gathered::of(listed));
        if let Err(problem) = platform.take(column, text, gives, lower_case) {
            faults.push(RowFault { column: column.clone(), problem });
        }
    }
    let (mut accounts, mut warnings) = (Vec::new(), Vec::new());
    // An id that can't be read is no missing one.
    if faults.is_empty() {
        for platform in gathered.into_values() {
            match platform.accounts(&mut warnings) {
                Ok(found) => accounts.extend(found),
                Err(fault) => faults.push(fault),
            }
        }
    }
    match artist {
        Some(artist) if faults.is_empty() => Ok(ImportedArtist { artist, accounts, warnings }),
        _ => Err(faults),
    }
}

fn artist(fields: &BTreeMap<String, String>) -> Result<Artist, RowFault> {
    let fault = |column: &str, problem: String| RowFault { column: column.to_owned(), problem };
    let text = |name: &str| fields.get(name).map(String::as_str);
    let id = cell::value(text("id").unwrap_or_default()).map_err(|error| fault("id", error.to_string()))?;
    let id = id.ok_or_else(|| fault("id", "it is empty; give the UUID of the artist in your system".to_owned()))?;
    let id: ArtistId = id.parse().map_err(|error| fault("id", format!("{error}")))?;
    let given = text("name").unwrap_or_default();
    if cell::is_error_word(given) {
        return Err(fault(
            "name",
            format!("'{}' is an error of the spreadsheet; correct the cell", cell::shown(given)),
        ));
    }
    let name = cell::free_text(given);
    if name.is_empty() {
        return Err(fault("name", "it is empty; give the artist's name".to_owned()));
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(fault("name", format!("it is longer than {NAME_CHARS_MAX} characters")));
    }
    // Empty is as good as missing; a placeholder is not, since each of these has a meaning where it is missing.
    let plain = |column: &'static str| match text(column).map(|given| (given, cell::value(given))) {
        None => Ok(None),
        Some((_, Ok(Some(value)))) => Ok(Some(value)),
        Some((given, Ok(None))) => {
            Err(fault(column, format!("'{}' is a placeholder; empty the cell or give a value", cell::shown(given))))
        }
        Some((_, Err(error))) => Err(fault(column, error.to_string())),
    };
    let tenant = match plain("tenant")? {
        None => Tenant::default(),
        Some(tenant) => Tenant::new(tenant).map_err(|error| fault("tenant", error.to_string()))?,
    };
    let subscription_status = match plain("subscription_status")? {
        None => SubscriptionStatus::Active,
        Some(status) => SubscriptionStatus::parse(&status).ok_or_else(|| {
            let known: Vec<_> = SubscriptionStatus::ALL.iter().map(|status| status.as_str()).collect();
            fault("subscription_status", format!("'{}' is not one of {}", cell::shown(&status), known.join(", ")))
        })?,
    };
    let data_collection_enabled = match plain("data_collection_enabled")? {
        None => true,
        Some(value) => truth(&value).ok_or_else(|| {
            let problem = format!("'{}' is neither true nor false", cell::shown(&value));
            fault("data_collection_enabled", problem)
        })?,
    };
    let timezone = match plain("timezone")? {
        None => Zone::utc(),
        Some(zone) => zone
            .parse()
            .map_err(|error: ZoneError| fault("timezone", error.shown_as(cell::shown(&zone)).to_string()))?,
    };
    Ok(Artist { id, name, tenant, subscription_status, data_collection_enabled, timezone })
}

/// A column, the part of the secret that it holds if it holds a part, and its text.
type Given<'a> = (String, Option<&'a str>, &'a str);

/// What a record says about one platform.
struct Gathered<'a> {
    listed: &'a Listed,
    ids: Vec<String>,
    settings: Map<String, Json>,
    /// Slot → column, field and text of each part.
    secrets: BTreeMap<&'a str, Vec<Given<'a>>>,
    /// Columns of no use, with the reason.
    nothing: Vec<(String, &'a str)>,
}

impl<'a> Gathered<'a> {
    fn of(listed: &'a Listed) -> Self {
        Self { listed, ids: Vec::new(), settings: Map::new(), secrets: BTreeMap::new(), nothing: Vec::new() }
    }

    fn take(&mut self, column: &str, text: &'a str, gives: &'a Gives, lower_case: bool) -> Result<(), String> {
        match gives {
            Gives::Id => {
                for id in self.listed.reader.read_all(text).map_err(|error| error.to_string())? {
                    if !self.ids.contains(&id) {
                        self.ids.push(id);
                    }
                }
            }
            Gives::Setting(name) => {
                let Some(value) = cell::value(text).map_err(|error| error.to_string())? else { return Ok(()) };
                let value = if lower_case { value.to_lowercase() } else { value };
                self.settings.insert(name.clone(), setting(self.listed, name, &value));
            }
            Gives::Secret(part) => match cell::value(text) {
                // Whatever else a secret looks like, it is not repeated.
                Err(_) if cell::is_error_word(text) => {
                    return Err("it is an error of the spreadsheet; correct the cell".to_owned());
                }
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => {
                    let parts = self.secrets.entry(part.slot.as_str()).or_default();
                    parts.push((column.to_owned(), part.field.as_deref(), text));
                }
            },
            Gives::Nothing(reason) => {
                if cell::value(text).is_ok_and(|value| value.is_some()) {
                    self.nothing.push((column.to_owned(), reason));
                }
            }
        }
        Ok(())
    }

    fn accounts(mut self, warnings: &mut Vec<Warning>) -> Result<Vec<ImportedAccount>, RowFault> {
        let platform = self.listed.platform();
        let secret_column = self.secrets.values().flatten().map(|(column, ..)| column.clone()).next();
        if let Some(column) = secret_column {
            match (self.ids.len(), self.listed.reader.default_id()) {
                (0, Some(default)) => self.ids.push(default.to_owned()),
                (0, None) => {
                    let problem = format!(
                        "it is given without the id of its account; add {}",
                        self.listed.reader.expected().replacen("one such as", "an id such as", 1)
                    );
                    return Err(RowFault { column, problem });
                }
                (1, _) => {}
                (several, _) => {
                    let problem = format!(
                        "it is one secret for {several} accounts; give the row one id, and add the others with \
                         `backline accounts add`"
                    );
                    return Err(RowFault { column, problem });
                }
            }
        }
        let mut credentials = Vec::new();
        for (slot, parts) in std::mem::take(&mut self.secrets) {
            credentials.push(self.secret(slot, &parts)?);
        }
        if self.ids.is_empty() {
            warnings.extend(
                self.nothing.iter().map(|(column, reason)| Warning::NothingOf {
                    column: column.clone(),
                    reason: (*reason).to_owned(),
                }),
            );
        } else {
            warnings.extend(
                self.slots_without(&credentials)
                    .map(|slot| Warning::NoSecret { platform: platform.clone(), slot: slot.to_owned() }),
            );
        }
        if self.ids.iter().any(|id| cell::may_be_rounded(id)) {
            warnings.push(Warning::Zeros { platform: platform.clone() });
        }
        let settings = Json::Object(self.settings);
        let mut credentials = Some(credentials);
        let of = |platform_id: String| ImportedAccount {
            platform: platform.clone(),
            platform_id,
            settings: settings.clone(),
            credentials: credentials.take().unwrap_or_default(),
        };
        Ok(self.ids.into_iter().map(of).collect())
    }

    /// Puts a secret together.
    fn secret(&self, slot: &str, parts: &[(String, Option<&str>, &str)]) -> Result<ImportedSecret, RowFault> {
        let column = parts.first().map(|(column, ..)| column.clone()).unwrap_or_default();
        for (required, _) in self.parts_of(slot).filter(|(_, required)| *required) {
            if parts.iter().all(|(given, ..)| given != required) {
                let problem = format!("it is given without {required}, and can't be used alone; add that column");
                return Err(RowFault { column, problem });
            }
        }
        let secret = match parts {
            [(_, None, text)] => SecretText::from(*text),
            several => {
                let mut object = json!({});
                for (column, field, text) in several {
                    let Some(field) = field else {
                        let problem = "it is the whole secret, and other columns give parts of it".to_owned();
                        return Err(RowFault { column: column.clone(), problem });
                    };
                    object[*field] = (*text).into();
                }
                SecretText::from(object.to_string())
            }
        };
        Ok(ImportedSecret { slot: slot.to_owned(), secret, column })
    }

    /// The columns of a slot, and whether each is required.
    fn parts_of<'b>(&'b self, slot: &'b str) -> impl Iterator<Item = (&'b String, bool)> {
        let columns = self.listed.manifest.account.iter().flat_map(|rule| &rule.columns);
        columns.filter_map(move |column| match &column.gives {
            Gives::Secret(part) if part.slot == slot => Some((&column.name, part.required)),
            _ => None,
        })
    }

    /// Slots that columns could fill, and that this record does not.
    fn slots_without<'b>(&'b self, given: &'b [ImportedSecret]) -> impl Iterator<Item = &'b str> {
        let columns = self.listed.manifest.account.iter().flat_map(|rule| &rule.columns);
        let slots: std::collections::BTreeSet<&str> = columns
            .filter_map(|column| match &column.gives {
                Gives::Secret(part) => Some(part.slot.as_str()),
                _ => None,
            })
            .collect();
        slots.into_iter().filter(move |slot| given.iter().all(|secret| secret.slot != *slot))
    }
}

/// A setting in the type that the connector's schema gives it; what does not fit stays text, and the schema refuses it.
fn setting(listed: &Listed, name: &str, text: &str) -> Json {
    let schema = &listed.manifest.settings["properties"][name];
    match schema["type"].as_str() {
        Some("array") => text
            .split(|c: char| matches!(c, ',' | ';' | '|') || c.is_whitespace())
            .filter(|part| !part.is_empty())
            .collect(),
        Some("integer" | "number") => {
            serde_json::from_str::<serde_json::Number>(text).map_or_else(|_| text.into(), Json::Number)
        }
        Some("boolean") => truth(text).map_or_else(|| text.into(), Json::Bool),
        _ => text.into(),
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "t" | "1" | "yes" => Some(true),
        "false" | "f" | "0" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::Manifest;
    use backline_model::fixtures::manifest_with;

    const ID: &str = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d";

    /// Columns of every kind.
    const RULE: &str = r#"
        [account]
        id = '[0-9]{4,}|me'
        examples = ["1234", "https://example.com/1234"]
        from = ['https://example\.com/(?<id>[0-9]+)']
        [[account.column]]
        name = "example_handle"
        gives = { nothing = "handles may change" }
        [[account.column]]
        name = "example_region"
        gives = { setting = "regions" }
        lower_case = true
        [[account.column]]
        name = "example_refresh"
        gives = { secret = { slot = "user", field = "refresh_token", required = true } }
        [[account.column]]
        name = "example_access"
        gives = { secret = { slot = "user", field = "access_token" } }
        [settings.properties.regions]
        type = "array"
        [[host]]
        origin = "https://api.example.com"
        methods = ["GET"]
        reason = "to read"
        [[credential]]
        slot = "user"
        kind = "oauth2-refresh-token"
        owner = "account"
        inject = "bearer"
        token_url = "https://api.example.com/token"
        hosts = ["https://api.example.com"]
    "#;

    fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let base = [("id", ID), ("name", "Ada")];
        base.iter().chain(pairs).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn directory(rule: &str) -> Directory {
        Directory::of([&Manifest::parse(&manifest_with(rule)).expect("valid")])
    }

    fn read(pairs: &[(&str, &str)]) -> Result<ImportedArtist, Vec<RowFault>> {
        interpret(&fields(pairs), &directory(RULE))
    }

    fn ids(artist: &ImportedArtist) -> Vec<&str> {
        artist.accounts.iter().map(|account| account.platform_id.as_str()).collect()
    }

    #[test]
    fn a_full_row_gives_an_account_with_settings_and_a_secret() {
        let row = [
            ("timezone", "America/Los_Angeles"),
            ("subscription_status", "cancelled"),
            ("data_collection_enabled", "f"),
            ("example_id", "https://example.com/1234"),
            ("example_region", "GB, us"),
            ("example_handle", "ada"),
            ("example_refresh", "refresh-1"),
            ("example_access", "access-1"),
        ];
        let artist = read(&row).expect("valid");
        assert_eq!(artist.artist.timezone, "America/Los_Angeles".parse().expect("a zone"));
        assert_eq!(artist.artist.subscription_status, SubscriptionStatus::Canceled);
        assert!(!artist.artist.data_collection_enabled);
        assert_eq!(ids(&artist), ["1234"]);
        assert_eq!(artist.accounts[0].settings, json!({ "regions": ["gb", "us"] }));
        let secret = &artist.accounts[0].credentials[0];
        assert_eq!(secret.slot, "user");
        assert_eq!(secret.secret.expose(), r#"{"access_token":"access-1","refresh_token":"refresh-1"}"#);
        assert_eq!(artist.warnings, []);
    }

    #[test]
    fn a_bare_row_is_an_active_artist_without_accounts() {
        let artist = read(&[("example_id", "N/A"), ("example_refresh", "NULL")]).expect("valid");
        assert_eq!(artist.artist.subscription_status, SubscriptionStatus::Active);
        assert!(artist.artist.data_collection_enabled && artist.accounts.is_empty());
        assert_eq!((&artist.artist.timezone, artist.artist.tenant.as_str()), (&Zone::utc(), "default"));
    }

    #[test]
    fn a_cell_of_several_ids_gives_several_accounts() {
        assert_eq!(ids(&read(&[("example_id", "1234, 5678")]).expect("valid")), ["1234", "5678"]);
        let faults = read(&[("example_id", "1234, 5678"), ("example_refresh", "canary-token")]).expect_err("refused");
        assert!(faults[0].problem.contains("one secret for 2 accounts"), "{faults:?}");
    }

    #[test]
    fn what_cannot_be_collected_is_said() {
        let texts = |pairs: &[(&str, &str)]| -> Vec<String> {
            read(pairs).expect("valid").warnings.iter().map(Warning::text).collect()
        };
        assert_eq!(
            texts(&[("example_handle", "ada")]),
            ["have only a example_handle: handles may change, so no account was created"]
        );
        let without = texts(&[("example_id", "1234"), ("example_handle", "ada")]);
        assert!(without.len() == 1 && without[0].contains("`backline credentials set example user --account …`"));
        let zeros = texts(&[("example_id", "17841405793187200"), ("example_refresh", "refresh-1")]);
        assert!(zeros.len() == 1 && zeros[0].contains("ends in zeros"), "{zeros:?}");
    }

    #[test]
    fn every_wrong_value_is_named_with_its_column_and_no_secret() {
        for (pair, said) in [
            (("id", "7"), "'7' is not a UUID"),
            (("id", "#REF!"), "error of the spreadsheet"),
            (("id", "-"), "it is empty"),
            (("name", "\u{200b}"), "it is empty"),
            (("name", "#NAME?"), "error of the spreadsheet"),
            (("timezone", "Berlin"), "'Berlin' is not an IANA time zone"),
            (("timezone", "N/A"), "is a placeholder"),
            (("tenant", "null"), "is a placeholder"),
            (("tenant", "A B"), "'A B' is not a valid tenant"),
            (("subscription_status", "gold"), "'gold' is not one of active, trialing"),
            (("data_collection_enabled", "maybe"), "'maybe' is neither"),
            (("example_id", "@ada"), "give one such as 1234"),
            (("example_id", "1.78403E+16"), "rounded"),
            (("example_refresh", "canary-token"), "without the id of its account"),
            (("example_refresh", "#VALUE!"), "error of the spreadsheet"),
        ] {
            let faults = read(&[pair]).expect_err(said);
            assert_eq!((faults.len(), faults[0].column.as_str()), (1, pair.0));
            assert!(faults[0].problem.contains(said), "{faults:?}");
            assert!(!faults[0].problem.contains("canary"), "{faults:?}");
        }
        let faults = read(&[("example_id", "1234"), ("example_access", "canary-token")]).expect_err("refused");
        assert!(faults[0].problem.contains("without example_refresh"), "{faults:?}");
        let faults = read(&[("id", "7"), ("example_id", "#N/A!"), ("example", "@x")]).expect_err("refused");
        assert_eq!(faults.len(), 3, "all of them at once: {faults:?}");
    }

    #[test]
    fn a_secret_may_name_its_own_account() {
        let rule = RULE.replace("examples =", "default = \"me\"\nexamples =");
        let artist = interpret(&fields(&[("example_refresh", "refresh-1")]), &directory(&rule)).expect("valid");
        assert_eq!(ids(&artist), ["me"]);
    }
}
