//! The content of credentials, and how they are sealed for the database. No I/O.
//!
//! A secret prints as `[secret]` and can't be serialised by accident: only [`SecretText::expose`] returns its text, and
//! only [`Keyring::seal`] lets it leave the process.

mod channel;
mod given;
mod life;
mod seal;
mod webhook;

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use backline_model::clock::{FIRST_TIME, LAST_TIME};
use backline_model::manifest::{CredentialKind, Owner};
use backline_model::text::misleads;

pub use channel::{open_channel, seal_channel};
pub use given::text_of;
pub use seal::{KEY_PREFIX_BYTES, Keyring};
pub use webhook::WebhookSecret;

/// Shortest secret that is accepted, in bytes. A shorter one would be found by chance when answers are searched for it.
pub const SECRET_BYTES_MIN: usize = 8;

/// Longest secret that is accepted, in bytes.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;

/// An access token that expires within this time is not injected any more: a request must be able to finish.
const ACCESS_MARGIN: TimeDelta = TimeDelta::seconds(60);

/// Youngest token that Instagram refreshes.
pub const INSTAGRAM_TOKEN_AGE_MIN: TimeDelta = TimeDelta::hours(24);

/// Why a secret, a key or a sealed text is not valid. Never contains the secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// The text given for a credential does not have the form of its kind.
    #[error("the {kind:?} credential can't be used: {problem}")]
    Form {
        /// Kind of the credential.
        kind: CredentialKind,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// The bytes given for a credential are no text.
    #[error("the secret can't be read: {0}")]
    Bytes(&'static str),
    /// The sealing key is not valid.
    #[error("the sealing key is not 32 bytes in base64; make one with `backline keys generate`")]
    Key,
    /// Sealed by a key that is not in the keyring.
    #[error("the secret was sealed with another key ({key_id}); is the right key configured?")]
    UnknownKey {
        /// First bytes of the key's digest, in hexadecimal.
        key_id: String,
    },
    /// The bytes are not what was sealed, or were sealed for another credential.
    #[error("the sealed secret is damaged or belongs to another credential")]
    Damaged,
}

/// Text that must not be seen: wiped from memory when dropped, printed as `[secret]`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Never log it, and never put it into an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// A token that was obtained with a longer-lived secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AccessToken {
    /// The token, which is injected.
    pub token: SecretText,
    /// When it was obtained.
    pub obtained_at: DateTime<Utc>,
    /// When it expires; `None` if the platform did not say.
    pub expires_at: Option<DateTime<Utc>>,
}

impl AccessToken {
    fn is_usable(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|expires_at| now + ACCESS_MARGIN < expires_at)
    }
}

/// Content of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Secret {
    /// A key that is sent as it is.
    ApiKey {
        /// The key.
        value: SecretText,
    },
    /// A token that is sent as it is.
    Bearer {
        /// The token.
        value: SecretText,
    },
    /// A client that is exchanged for access tokens of all accounts.
    ClientCredentials {
        /// The client's id: not secret, but not published either.
        client_id: SecretText,
        /// The client's password.
        client_secret: SecretText,
        /// The last access token; `None` before the first exchange.
        access: Option<AccessToken>,
    },
    /// The operator's client for accounts' refresh tokens: stored under the same slot, without an account. Never
    /// injected.
    OauthClient {
        /// The client's id: not secret, but not published either.
        client_id: SecretText,
        /// The client's password.
        client_secret: SecretText,
    },
    /// A refresh token that is exchanged for access tokens of one account; the platform may replace it at every
    /// exchange.
    RefreshToken {
        /// The current refresh token.
        refresh_token: SecretText,
        /// When it expires; `None` if the platform did not say.
        refresh_expires_at: Option<DateTime<Utc>>,
        /// The last access token; `None` before the first exchange.
        access: Option<AccessToken>,
    },
    /// Instagram's long-lived token: injected itself, and refreshed with itself.
    InstagramLongLived {
        /// The token.
        token: SecretText,
        /// When it was obtained, if known.
        obtained_at: Option<DateTime<Utc>>,
        /// When it expires, if known.
        expires_at: Option<DateTime<Utc>>,
    },
    /// The key that the host signs Apple developer tokens with.
    AppleDeveloperToken {
        /// Id of the developer team.
        team_id: SecretText,
        /// Id of the key.
        key_id: SecretText,
        /// PKCS#8, as in Apple's `.p8` file.
        private_key_pem: SecretText,
        /// The last signed token; `None` before the first one.
        access: Option<AccessToken>,
    },
}

impl Secret {
    /// Parses what an operator gives for a credential: plain text for keys and tokens, JSON for the rest.
    ///
    /// - `api-key`, `bearer`: the text itself
    /// - `oauth2-client-credentials`: `{"client_id", "client_secret"}`
    /// - `oauth2-refresh-token` of an account: the refresh token itself, or `{"refresh_token", "refresh_expires_at"?,
    ///   "access_token"?, "obtained_at"?, "expires_at"?}`; of the operator: `{"client_id", "client_secret"}`
    ///   (`client_key` works too)
    /// - `instagram-long-lived`: the token itself, or `{"token", "obtained_at"?, "expires_at"?}`
    /// - `apple-developer-token`: `{"team_id", "key_id", "private_key_pem"}`
    ///
    /// # Errors
    /// If the text does not have that form, or a value is too short, too long or has characters that are not allowed in
    /// a request.
    pub fn parse(kind: CredentialKind, owner: Owner, text: &str) -> Result<Self, SecretError> {
        let text = text.trim_start_matches('\u{feff}').trim();
        let wrong = |problem: &str| SecretError::Form { kind, problem: problem.to_owned() };
        if text.len() > SECRET_BYTES_MAX {
            return Err(wrong("it is longer than 64 KiB"));
        }
        let form = |expected: &str| -> Result<GivenForm, SecretError> {
            // serde's message may repeat a value, so it is not passed on.
            serde_json::from_str(text).map_err(|_| {
                if text.contains("-----BEGIN") {
                    return wrong(&format!(
                        "it is not JSON of the form {expected}, in which line breaks are written as \\n; make it with \
                         `jq -n --rawfile key KEY.p8 '{{team_id: \"…\", key_id: \"…\", private_key_pem: $key}}'`"
                    ));
                }
                if text.starts_with('{') && text.contains(['“', '”']) {
                    return wrong("its quotes are typographic ones; write \" instead");
                }
                given::dressed(text).map_or_else(|| wrong(&format!("it is not JSON of the form {expected}")), wrong)
            })
        };
        let client = || -> Result<(SecretText, SecretText), SecretError> {
            let expected = r#"{"client_id": "…", "client_secret": "…"}"#;
            let form = form(expected)?;
            match (form.client_id, form.client_secret) {
                (Some(id), Some(secret)) if !id.expose().is_empty() && id.expose().chars().all(is_visible) => {
                    match given::dressed(id.expose()) {
                        Some(problem) => Err(wrong(&format!("of its client_id, {problem}"))),
                        None => Ok((id, usable(kind, secret)?)),
                    }
                }
                _ => Err(wrong(&format!("it is not JSON of the form {expected}"))),
            }
        };
        match kind {
            CredentialKind::ApiKey => Ok(Self::ApiKey { value: usable(kind, text.into())? }),
            CredentialKind::Bearer => Ok(Self::Bearer { value: usable(kind, text.into())? }),
            CredentialKind::Oauth2ClientCredentials => {
                let (client_id, client_secret) = client()?;
                Ok(Self::ClientCredentials { client_id, client_secret, access: None })
            }
            CredentialKind::Oauth2RefreshToken if owner == Owner::Operator => {
                let (client_id, client_secret) = client()?;
                Ok(Self::OauthClient { client_id, client_secret })
            }
            CredentialKind::Oauth2RefreshToken if !text.starts_with('{') => Ok(Self::RefreshToken {
                refresh_token: usable(kind, text.into())?,
                refresh_expires_at: None,
                access: None,
            }),
            CredentialKind::Oauth2RefreshToken => {
                let expected = r#"{"refresh_token": "…"}"#;
                let form = form(expected)?;
                let token =
                    form.refresh_token.ok_or_else(|| wrong(&format!("it is not JSON of the form {expected}")))?;
                // An access token of unknown age is ignored: the first use exchanges the refresh token.
                let access = match (form.token, form.obtained_at, form.expires_at) {
                    (Some(token), Some(obtained_at), Some(expires_at)) => Some(AccessToken {
                        token: usable(kind, token)?,
                        obtained_at: storable(kind, Some(obtained_at))?.unwrap_or_default(),
                        expires_at: storable(kind, Some(expires_at))?,
                    }),
                    _ => None,
                };
                Ok(Self::RefreshToken {
                    refresh_token: usable(kind, token)?,
                    refresh_expires_at: storable(kind, form.refresh_expires_at)?,
                    access,
                })
            }
            CredentialKind::InstagramLongLived if !text.starts_with('{') => {
                Ok(Self::InstagramLongLived { token: usable(kind, text.into())?, obtained_at: None, expires_at: None })
            }
            CredentialKind::InstagramLongLived => {
                let expected =
                    r#"{"token": "…", "obtained_at": "2026-01-31T00:00:00Z", "expires_at": "2026-04-01T00:00:00Z"}"#;
                let form = form(expected)?;
                let token = form.token.ok_or_else(|| wrong(&format!("it is not JSON of the form {expected}")))?;
                Ok(Self::InstagramLongLived {
                    token: usable(kind, token)?,
                    obtained_at: storable(kind, form.obtained_at)?,
                    expires_at: storable(kind, form.expires_at)?,
                })
            }
            CredentialKind::AppleDeveloperToken => {
                let expected = r#"{"team_id": "…", "key_id": "…", "private_key_pem": "-----BEGIN PRIVATE KEY-----…"}"#;
                let form = form(expected)?;
                match (form.team_id, form.key_id, form.private_key_pem) {
                    (Some(team_id), Some(key_id), Some(pem))
                        if [&team_id, &key_id].iter().all(|id| id.expose().chars().all(is_visible)) =>
                    {
                        let ids = [team_id.expose(), key_id.expose()];
                        if let Some(problem) = ids.iter().find_map(|id| given::dressed(id)) {
                            return Err(wrong(&format!("of its team_id or key_id, {problem}")));
                        }
                        let private_key_pem = given::private_key(&pem).map_err(wrong)?;
                        Ok(Self::AppleDeveloperToken { team_id, key_id, private_key_pem, access: None })
                    }
                    _ => Err(wrong(&format!("it is not JSON of the form {expected}"))),
                }
            }
        }
    }

    /// The value to inject; `None` if it must be refreshed first, or is never injected.
    #[must_use]
    pub fn injectable(&self, now: DateTime<Utc>) -> Option<&SecretText> {
        match self {
            Self::ApiKey { value } | Self::Bearer { value } => Some(value),
            Self::OauthClient { .. } => None,
            Self::InstagramLongLived { token, expires_at, .. } => {
                expires_at.is_none_or(|expires_at| now < expires_at).then_some(token)
            }
            Self::ClientCredentials { access, .. }
            | Self::RefreshToken { access, .. }
            | Self::AppleDeveloperToken { access, .. } => {
                access.as_ref().filter(|access| access.is_usable(now)).map(|access| &access.token)
            }
        }
    }

    /// When its owner must reconnect unless it is refreshed before; `None` if it does not expire, or its end is not
    /// known.
    ///
    /// This is the end of the long-lived secret. Access tokens are renewed automatically.
    #[must_use]
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::InstagramLongLived { expires_at, .. } => *expires_at,
            Self::RefreshToken { refresh_expires_at, .. } => *refresh_expires_at,
            _ => None,
        }
    }

    /// The same secret; if the time it was obtained is not known, the time it was stored is used.
    #[must_use]
    pub fn obtained_by(self, now: DateTime<Utc>) -> Self {
        match self {
            Self::InstagramLongLived { token, obtained_at, expires_at } => {
                Self::InstagramLongLived { token, obtained_at: obtained_at.or(Some(now)), expires_at }
            }
            other => other,
        }
    }

    /// Name of its kind, for listings.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ApiKey { .. } => "api-key",
            Self::Bearer { .. } => "bearer",
            Self::ClientCredentials { .. } => "client-credentials",
            Self::OauthClient { .. } => "oauth-client",
            Self::RefreshToken { .. } => "refresh-token",
            Self::InstagramLongLived { .. } => "instagram-long-lived",
            Self::AppleDeveloperToken { .. } => "apple-developer-token",
        }
    }

    /// Every value in it that must be redacted.
    #[must_use]
    pub fn values(&self) -> Vec<&SecretText> {
        let (mut values, access) = match self {
            Self::ApiKey { value } | Self::Bearer { value } => (vec![value], None),
            Self::OauthClient { client_secret, .. } => (vec![client_secret], None),
            Self::ClientCredentials { client_secret, access, .. } => (vec![client_secret], access.as_ref()),
            Self::RefreshToken { refresh_token, access, .. } => (vec![refresh_token], access.as_ref()),
            Self::InstagramLongLived { token, .. } => (vec![token], None),
            Self::AppleDeveloperToken { private_key_pem, access, .. } => (vec![private_key_pem], access.as_ref()),
        };
        values.extend(access.map(|access| &access.token));
        values
    }
}

/// Checks that a value can be searched for and sent in a request.
fn usable(kind: CredentialKind, value: SecretText) -> Result<SecretText, SecretError> {
    let wrong = |problem: String| Err(SecretError::Form { kind, problem });
    if let Some(problem) = given::dressed(value.expose()) {
        return wrong(problem.to_owned());
    }
    if value.expose().starts_with('{') {
        return wrong("it is JSON; give the secret alone".to_owned());
    }
    if value.expose().len() < SECRET_BYTES_MIN {
        return wrong(format!("it is shorter than {SECRET_BYTES_MIN} characters"));
    }
    if !value.expose().chars().all(is_visible) {
        return wrong(
            "it has white space, line breaks or characters that can't be seen; was more than the secret copied?"
                .to_owned(),
        );
    }
    Ok(value)
}

/// Whether a character of a secret is seen where the secret is shown to its owner.
fn is_visible(c: char) -> bool {
    !c.is_whitespace() && !misleads(c)
}

/// Checks a time: only years of four digits can be stored.
fn storable(kind: CredentialKind, time: Option<DateTime<Utc>>) -> Result<Option<DateTime<Utc>>, SecretError> {
    if time.is_some_and(|time| !(FIRST_TIME..=LAST_TIME).contains(&time)) {
        let problem = "a time in it is not in the years 1 to 9999".to_owned();
        return Err(SecretError::Form { kind, problem });
    }
    Ok(time)
}

/// Every field that an operator may give, of all kinds.
#[derive(Deserialize)]
struct GivenForm {
    #[serde(alias = "client_key")]
    client_id: Option<SecretText>,
    client_secret: Option<SecretText>,
    refresh_token: Option<SecretText>,
    refresh_expires_at: Option<DateTime<Utc>>,
    #[serde(alias = "access_token")]
    token: Option<SecretText>,
    obtained_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    team_id: Option<SecretText>,
    key_id: Option<SecretText>,
    private_key_pem: Option<SecretText>,
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const CANARY: &str = "canary-secret-0123456789";

    pub(super) fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    pub(super) fn access(obtained_at: &str, expires_at: &str) -> AccessToken {
        AccessToken { token: CANARY.into(), obtained_at: at(obtained_at), expires_at: Some(at(expires_at)) }
    }

    pub(super) fn one_of_each() -> Vec<Secret> {
        let access = Some(access("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"));
        vec![
            Secret::ApiKey { value: CANARY.into() },
            Secret::Bearer { value: CANARY.into() },
            Secret::ClientCredentials { client_id: "id".into(), client_secret: CANARY.into(), access: access.clone() },
            Secret::OauthClient { client_id: "id".into(), client_secret: CANARY.into() },
            Secret::RefreshToken {
                refresh_token: CANARY.into(),
                refresh_expires_at: Some(at("2027-11-22T10:00:00Z")),
                access: None,
            },
            Secret::InstagramLongLived {
                token: CANARY.into(),
                obtained_at: None,
                expires_at: Some(at("2027-01-01T00:00:00Z")),
            },
            Secret::AppleDeveloperToken {
                team_id: "t".into(),
                key_id: "k".into(),
                private_key_pem: CANARY.into(),
                access,
            },
        ]
    }

    #[test]
    fn a_secret_prints_as_nothing_of_itself() {
        for secret in one_of_each() {
            let printed = format!("{secret:?} {secret:#?} {}", secret.values()[0]);
            assert!(printed.contains("[secret]") && !printed.contains("canary"), "{printed}");
        }
    }

    #[test]
    fn what_an_operator_gives_is_read_by_kind_and_owner() {
        use CredentialKind::{
            ApiKey, AppleDeveloperToken, InstagramLongLived, Oauth2ClientCredentials, Oauth2RefreshToken,
        };
        use Owner::{Account, Operator};
        let parse = |kind, owner, text: &str| Secret::parse(kind, owner, text).expect(text);
        assert_eq!(parse(ApiKey, Operator, &format!(" {CANARY}\n")), Secret::ApiKey { value: CANARY.into() });
        assert_eq!(parse(ApiKey, Operator, "schlüssel-0123"), Secret::ApiKey { value: "schlüssel-0123".into() });
        assert_eq!(
            parse(
                Oauth2ClientCredentials,
                Operator,
                r#"{"client_id":"id","client_secret":"canary-secret-0123456789"}"#
            ),
            Secret::ClientCredentials { client_id: "id".into(), client_secret: CANARY.into(), access: None }
        );
        assert_eq!(
            parse(Oauth2RefreshToken, Operator, r#"{"client_key":"id","client_secret":"canary-secret-0123456789"}"#),
            Secret::OauthClient { client_id: "id".into(), client_secret: CANARY.into() }
        );
        let plain = Secret::RefreshToken { refresh_token: CANARY.into(), refresh_expires_at: None, access: None };
        assert_eq!(parse(Oauth2RefreshToken, Account, CANARY), plain);
        assert_eq!(
            parse(
                Oauth2RefreshToken,
                Account,
                r#"{"refresh_token":"canary-secret-0123456789","access_token":"of unknown age"}"#
            ),
            plain
        );
        assert_eq!(
            parse(InstagramLongLived, Account, CANARY),
            Secret::InstagramLongLived { token: CANARY.into(), obtained_at: None, expires_at: None }
        );
        assert_eq!(
            parse(
                InstagramLongLived,
                Account,
                r#"{"access_token":"canary-secret-0123456789","expires_at":"2027-01-01T00:00:00Z"}"#
            ),
            Secret::InstagramLongLived {
                token: CANARY.into(),
                obtained_at: None,
                expires_at: Some(at("2027-01-01T00:00:00Z"))
            }
        );
        for (kind, owner, text) in [
            (ApiKey, Operator, "short"),
            (ApiKey, Operator, "canary with blanks"),
            (ApiKey, Operator, "canary\u{0}canary"),
            (ApiKey, Operator, "canary\ncanary"),
            (ApiKey, Operator, "canary\u{202e}canary"),
            (
                InstagramLongLived,
                Account,
                r#"{"token":"canary-secret-0123456789","expires_at":"+17871-04-12T12:49:11Z"}"#,
            ),
            (Oauth2ClientCredentials, Operator, CANARY),
            (Oauth2ClientCredentials, Operator, r#"{"client_id":"canary-id"}"#),
            (Oauth2ClientCredentials, Operator, r#"{"client_id":"canary-id","client_secret":"short"}"#),
            (Oauth2RefreshToken, Account, r#"{"refresh_token":17,"x":"canary"}"#),
            (InstagramLongLived, Account, r#"{"token":"canary-secret-0123456789","expires_at":"canary"}"#),
            (AppleDeveloperToken, Operator, r#"{"team_id":"t","key_id":"k","private_key_pem":"canary"}"#),
        ] {
            let error = Secret::parse(kind, owner, text).expect_err(text).to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
