//! Interprets one record of an import as an artist with accounts and secrets. Pure.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde_json::json;

use backline_gateway::secrets::SecretText;
use backline_model::{Artist, ArtistId, SubscriptionStatus, Tenant};

/// Name of the slot for an account's own token in the first-party connectors' manifests.
pub(super) const SLOT: &str = "user";

/// Columns that an import reads; others are ignored and named in its report.
pub(super) const COLUMNS: [&str; 16] = [
    "id",
    "name",
    "tenant",
    "timezone",
    "subscription_status",
    "data_collection_enabled",
    "instagram_token",
    "instagram_user_id",
    "spotify_artist_id",
    "youtube_channel_id",
    "tiktok_username",
    "tiktok_open_id",
    "tiktok_access_token",
    "tiktok_refresh_token",
    "apple_music_artist_id",
    "apple_music_storefront",
];

/// Longest name, in characters; a longer one means that columns are mixed up.
const NAME_CHARS_MAX: usize = 500;

/// Longest platform id, in characters.
const PLATFORM_ID_CHARS_MAX: usize = 256;

/// An artist as one record describes it.
#[derive(Debug)]
pub(super) struct ImportedArtist {
    pub artist: Artist,
    /// At most one account per platform.
    pub accounts: Vec<ImportedAccount>,
    /// Problems that do not refuse the record.
    pub warnings: Vec<Warning>,
}

/// One account of a record.
#[derive(Debug)]
pub(super) struct ImportedAccount {
    /// Such as `youtube`.
    pub platform: &'static str,
    /// The account's id on the platform.
    pub platform_id: String,
    pub settings: serde_json::Value,
    /// Slot and secret, in the form that `backline credentials set` reads.
    pub credential: Option<(&'static str, SecretText)>,
}

/// A problem that does not refuse a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Warning {
    /// TikTok's API finds accounts by open id, not by user name.
    TiktokUsernameOnly,
    /// The account can't be read without the artist's token.
    InstagramWithoutToken,
    /// The account can't be read without the artist's token.
    TiktokWithoutToken,
}

impl Warning {
    /// The text after the number of artists, such as "2 artists have …".
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::TiktokUsernameOnly => {
                "have only a tiktok_username: TikTok's API needs the tiktok_open_id, so no account was created"
            }
            Self::InstagramWithoutToken => {
                "have an instagram_user_id without instagram_token: \
                 set it with `backline credentials set instagram user --account …`"
            }
            Self::TiktokWithoutToken => {
                "have a tiktok_open_id without tiktok_refresh_token: \
                 set it with `backline credentials set tiktok user --account …`"
            }
        }
    }
}

/// Interprets one record.
///
/// # Errors
/// Names the column and the problem, and never a secret.
pub(super) fn interpret(fields: &BTreeMap<String, String>) -> Result<ImportedArtist, String> {
    let text = |name: &str| fields.get(name).map(String::as_str);
    let id: ArtistId = text("id").ok_or("id is empty")?.parse().map_err(|error| format!("id: {error}"))?;
    let name = text("name").ok_or("name is empty")?;
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(format!("name is longer than {NAME_CHARS_MAX} characters"));
    }
    let tenant = match text("tenant") {
        None => Tenant::default(),
        Some(tenant) => Tenant::new(tenant).map_err(|error| error.to_string())?,
    };
    let subscription_status = match text("subscription_status") {
        None => SubscriptionStatus::Active,
        Some(status) => SubscriptionStatus::parse(status).ok_or_else(|| {
            let known: Vec<_> = SubscriptionStatus::ALL.iter().map(|status| status.as_str()).collect();
            format!("subscription_status '{status}' is not one of {}", known.join(", "))
        })?,
    };
    let data_collection_enabled =
        text("data_collection_enabled").map_or(Ok(true), |value| truth("data_collection_enabled", value))?;
    let timezone = text("timezone").map_or(Ok(Tz::UTC), |zone| {
        zone.parse().map_err(|_| format!("timezone '{zone}' is not an IANA time zone; write one such as Europe/Berlin"))
    })?;
    let (accounts, warnings) = accounts(fields)?;
    let artist = Artist { id, name: name.to_owned(), tenant, subscription_status, data_collection_enabled, timezone };
    Ok(ImportedArtist { artist, accounts, warnings })
}

fn accounts(fields: &BTreeMap<String, String>) -> Result<(Vec<ImportedAccount>, Vec<Warning>), String> {
    let text = |name: &str| fields.get(name).map(String::as_str);
    let (mut accounts, mut warnings) = (Vec::new(), Vec::new());
    let mut add = |platform, column: &str, platform_id: &str, settings, credential| -> Result<(), String> {
        let platform_id = checked_id(column, platform_id)?;
        accounts.push(ImportedAccount { platform, platform_id, settings, credential });
        Ok(())
    };
    match (text("instagram_user_id"), text("instagram_token")) {
        (None, None) => {}
        // The token identifies the account; the connector requests `me`.
        (id, Some(token)) => {
            add("instagram", "instagram_user_id", id.unwrap_or("me"), json!({}), Some((SLOT, token.into())))?
        }
        (Some(id), None) => {
            add("instagram", "instagram_user_id", id, json!({}), None)?;
            warnings.push(Warning::InstagramWithoutToken);
        }
    }
    for (platform, column) in [("spotify", "spotify_artist_id"), ("youtube", "youtube_channel_id")] {
        if let Some(id) = text(column) {
            add(platform, column, id, json!({}), None)?;
        }
    }
    let (access, refresh) = (text("tiktok_access_token"), text("tiktok_refresh_token"));
    match (text("tiktok_open_id"), refresh) {
        (Some(id), Some(refresh)) => {
            let mut secret = json!({ "refresh_token": refresh });
            if let Some(access) = access {
                secret["access_token"] = access.into();
            }
            add("tiktok", "tiktok_open_id", id, json!({}), Some((SLOT, secret.to_string().into())))?;
        }
        (Some(_), None) if access.is_some() => {
            return Err(
                "tiktok_access_token is given without tiktok_refresh_token, and expires within a day; add that column"
                    .to_owned(),
            );
        }
        (Some(id), None) => {
            add("tiktok", "tiktok_open_id", id, json!({}), None)?;
            warnings.push(Warning::TiktokWithoutToken);
        }
        (None, _) if access.or(refresh).is_some() => {
            return Err("TikTok tokens are given without tiktok_open_id, which identifies their account".to_owned());
        }
        (None, _) if text("tiktok_username").is_some() => warnings.push(Warning::TiktokUsernameOnly),
        (None, _) => {}
    }
    if let Some(id) = text("apple_music_artist_id") {
        let settings = match text("apple_music_storefront") {
            None => json!({}),
            Some(storefront) => json!({ "storefronts": [storefront.to_ascii_lowercase()] }),
        };
        add("apple_music", "apple_music_artist_id", id, settings, None)?;
    }
    Ok((accounts, warnings))
}

fn checked_id(column: &str, id: &str) -> Result<String, String> {
    if id.chars().count() > PLATFORM_ID_CHARS_MAX {
        return Err(format!("{column} is longer than {PLATFORM_ID_CHARS_MAX} characters"));
    }
    if id.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("{column} contains white space or control characters"));
    }
    Ok(id.to_owned())
}

fn truth(column: &str, text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" => Ok(true),
        "false" | "f" | "0" | "no" => Ok(false),
        _ => Err(format!("{column} '{text}' is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d";

    fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let base = [("id", ID), ("name", "Ada")];
        base.iter().chain(pairs).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn read(pairs: &[(&str, &str)]) -> ImportedArtist {
        interpret(&fields(pairs)).unwrap_or_else(|problem| panic!("{problem}"))
    }

    fn platforms(artist: &ImportedArtist) -> Vec<(&str, &str, Option<&str>)> {
        let of = |account: &'_ ImportedAccount| account.credential.as_ref().map(|(slot, _)| *slot);
        artist.accounts.iter().map(|account| (account.platform, account.platform_id.as_str(), of(account))).collect()
    }

    #[test]
    fn a_full_row_gives_five_accounts_and_two_credentials() {
        let artist = read(&[
            ("timezone", "America/Los_Angeles"),
            ("subscription_status", "cancelled"),
            ("data_collection_enabled", "f"),
            ("instagram_token", "token-of-ada"),
            ("instagram_user_id", "17841"),
            ("spotify_artist_id", "0TnOYISbd1XYRBk9myaseg"),
            ("youtube_channel_id", "UC1"),
            ("tiktok_username", "ada"),
            ("tiktok_open_id", "open-1"),
            ("tiktok_access_token", "access-1"),
            ("tiktok_refresh_token", "refresh-1"),
            ("apple_music_artist_id", "178834"),
            ("apple_music_storefront", "GB"),
        ]);
        assert_eq!(
            platforms(&artist),
            [
                ("instagram", "17841", Some("user")),
                ("spotify", "0TnOYISbd1XYRBk9myaseg", None),
                ("youtube", "UC1", None),
                ("tiktok", "open-1", Some("user")),
                ("apple_music", "178834", None),
            ]
        );
        assert_eq!(artist.artist.timezone, Tz::America__Los_Angeles);
        assert_eq!(artist.artist.subscription_status, SubscriptionStatus::Canceled);
        assert!(!artist.artist.data_collection_enabled);
        assert_eq!(artist.accounts[4].settings, json!({ "storefronts": ["gb"] }));
        let (_, secret) = artist.accounts[3].credential.as_ref().expect("a credential");
        assert_eq!(secret.expose(), r#"{"access_token":"access-1","refresh_token":"refresh-1"}"#);
        assert_eq!(artist.warnings, []);
    }

    #[test]
    fn a_bare_row_is_an_active_artist_without_accounts() {
        let artist = read(&[]);
        assert_eq!(
            (artist.artist.subscription_status, artist.artist.data_collection_enabled),
            (SubscriptionStatus::Active, true)
        );
        assert_eq!((artist.artist.timezone, artist.artist.tenant.as_str()), (Tz::UTC, "default"));
        assert!(artist.accounts.is_empty());
    }

    #[test]
    fn what_cannot_be_collected_is_said() {
        let artist = read(&[("tiktok_username", "ada")]);
        assert_eq!((artist.accounts.len(), artist.warnings.as_slice()), (0, [Warning::TiktokUsernameOnly].as_slice()));
        let artist = read(&[("instagram_user_id", "1"), ("tiktok_open_id", "2")]);
        assert_eq!(
            (artist.accounts.len(), artist.warnings.as_slice()),
            (2, [Warning::InstagramWithoutToken, Warning::TiktokWithoutToken].as_slice())
        );
    }

    #[test]
    fn an_instagram_token_alone_names_its_own_account() {
        assert_eq!(platforms(&read(&[("instagram_token", "token-of-ada")])), [("instagram", "me", Some("user"))]);
    }

    #[test]
    fn a_wrong_value_refuses_the_row_and_names_the_column() {
        for (pair, said) in [
            (("id", "7"), "id: '7' is not a UUID"),
            (("timezone", "Berlin"), "timezone 'Berlin' is not an IANA time zone"),
            (("subscription_status", "gold"), "subscription_status 'gold' is not one of active, trialing"),
            (("data_collection_enabled", "maybe"), "data_collection_enabled 'maybe' is neither"),
            (("tenant", "A B"), "'A B' is not a valid tenant"),
            (("youtube_channel_id", "UC 1"), "youtube_channel_id contains white space"),
            (("tiktok_refresh_token", "canary"), "without tiktok_open_id"),
        ] {
            let problem = interpret(&fields(&[pair])).expect_err(said);
            assert!(problem.contains(said), "{problem}");
            assert!(!problem.contains("canary"), "{problem}");
        }
        let mut nameless = fields(&[]);
        nameless.remove("name");
        assert_eq!(interpret(&nameless).expect_err("refused"), "name is empty");
    }
}
