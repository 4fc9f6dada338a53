//! What a credential holds, and how it is sealed for the database. No I/O.
//!
//! A secret prints as `[secret]` and can't be serialised by accident: the one way to its text is [`SecretText::expose`], and
//! the one way out of the process is [`Keyring::seal`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Generate as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::Digest as _;
use zeroize::Zeroizing;

use crate::domain::manifest::{CredentialKind, Owner};

/// Shortest secret that is accepted, in bytes. Anything shorter would be found in honest answers by chance when they are
/// searched for it.
pub const SECRET_BYTES_MIN: usize = 8;

/// Longest secret that is accepted, in bytes.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;

/// An access token that runs out within this time is not injected any more: a request must be able to finish.
const ACCESS_MARGIN: TimeDelta = TimeDelta::seconds(60);

/// Instagram refuses to refresh a token younger than this.
pub const INSTAGRAM_TOKEN_AGE_MIN: TimeDelta = TimeDelta::hours(24);

/// How long Instagram's long-lived tokens live when it does not say.
const INSTAGRAM_TOKEN_LIFE: TimeDelta = TimeDelta::days(60);

/// What is wrong with a secret, a key or a sealed text. Never says what the secret is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// The text given for a credential is not of the form its kind needs.
    #[error("the {kind:?} credential can't be used: {problem}")]
    Form {
        /// Its kind.
        kind: CredentialKind,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The sealing key is not one.
    #[error("the sealing key is not 32 bytes in base64; make one with `backline key generate`")]
    Key,
    /// Sealed by a key that is not in the keyring.
    #[error("the secret was sealed with another key ({key_id}); is the right key configured?")]
    UnknownKey {
        /// The first bytes of the key's digest.
        key_id: String,
    },
    /// Not what was sealed, or sealed for another credential.
    #[error("the sealed secret is damaged or belongs to another credential")]
    Damaged,
}

/// Text that must not be seen: wiped from memory when dropped, printed as `[secret]`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Never log it, never put it into an error.
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

/// A token that was obtained with a more durable secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AccessToken {
    /// What is injected.
    pub token: SecretText,
    /// When it was obtained.
    pub obtained_at: DateTime<Utc>,
    /// When it runs out; none where the platform did not say.
    pub expires_at: Option<DateTime<Utc>>,
}

impl AccessToken {
    fn is_usable(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|expires_at| now + ACCESS_MARGIN < expires_at)
    }

    fn is_half_used(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expires_at| now >= self.obtained_at + (expires_at - self.obtained_at) / 2)
    }
}

/// What a credential holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Secret {
    /// Sent as it is.
    ApiKey {
        /// The key.
        value: SecretText,
    },
    /// Sent as it is.
    Bearer {
        /// The token.
        value: SecretText,
    },
    /// Exchanged for access tokens that are everybody's.
    ClientCredentials {
        /// Not secret by itself, and nobody's business.
        client_id: SecretText,
        /// The client's password.
        client_secret: SecretText,
        /// What it was exchanged for last.
        access: Option<AccessToken>,
    },
    /// The operator's client for refresh tokens of accounts: stored under the same slot, with no account. Never injected.
    OauthClient {
        /// Not secret by itself, and nobody's business.
        client_id: SecretText,
        /// The client's password.
        client_secret: SecretText,
    },
    /// Exchanged for access tokens of one account; may be replaced at every exchange.
    RefreshToken {
        /// The current refresh token.
        refresh_token: SecretText,
        /// When it runs out, where the platform said so.
        refresh_expires_at: Option<DateTime<Utc>>,
        /// What it was exchanged for last.
        access: Option<AccessToken>,
    },
    /// Instagram's long-lived token: injected itself, and refreshed with itself.
    InstagramLongLived {
        /// The token.
        token: SecretText,
        /// When it was obtained, where known.
        obtained_at: Option<DateTime<Utc>>,
        /// When it runs out, where known.
        expires_at: Option<DateTime<Utc>>,
    },
    /// What the host signs Apple developer tokens with.
    AppleDeveloperToken {
        /// The developer team.
        team_id: SecretText,
        /// The key's id.
        key_id: SecretText,
        /// PKCS#8, as Apple's `.p8` file has it.
        private_key_pem: SecretText,
        /// The token signed last.
        access: Option<AccessToken>,
    },
}

impl Secret {
    /// Reads what an operator gives for a credential: plain text for keys and tokens, JSON for the rest.
    ///
    /// - `api-key`, `bearer`: the text itself
    /// - `oauth2-client-credentials`: `{"client_id", "client_secret"}`
    /// - `oauth2-refresh-token` of an account: the refresh token itself, or `{"refresh_token", "refresh_expires_at"?, "access_token"?,
    ///   "obtained_at"?, "expires_at"?}`; of the operator: `{"client_id", "client_secret"}` (`client_key` works too)
    /// - `instagram-long-lived`: the token itself, or `{"token", "obtained_at"?, "expires_at"?}`
    /// - `apple-developer-token`: `{"team_id", "key_id", "private_key_pem"}`
    ///
    /// # Errors
    /// When the text is not of that form, or a value is too short, too long or has characters no request can hold.
    pub fn parse(kind: CredentialKind, owner: Owner, text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        let wrong = |problem: &str| SecretError::Form { kind, problem: problem.to_owned() };
        if text.len() > SECRET_BYTES_MAX {
            return Err(wrong("it is longer than 64 KiB"));
        }
        let form = |expected: &str| -> Result<GivenForm, SecretError> {
            // serde's message may repeat a value, so it is not passed on.
            serde_json::from_str(text).map_err(|_| wrong(&format!("it is not JSON of the form {expected}")))
        };
        let client = || -> Result<(SecretText, SecretText), SecretError> {
            let expected = r#"{"client_id": "…", "client_secret": "…"}"#;
            let form = form(expected)?;
            match (form.client_id, form.client_secret) {
                (Some(id), Some(secret)) if !id.expose().is_empty() => Ok((id, usable(kind, secret)?)),
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
            CredentialKind::Oauth2RefreshToken if !text.starts_with('{') => {
                Ok(Self::RefreshToken { refresh_token: usable(kind, text.into())?, refresh_expires_at: None, access: None })
            }
            CredentialKind::Oauth2RefreshToken => {
                let expected = r#"{"refresh_token": "…"}"#;
                let form = form(expected)?;
                let token = form.refresh_token.ok_or_else(|| wrong(&format!("it is not JSON of the form {expected}")))?;
                // An access token of unknown age is worth nothing: the first use exchanges the refresh token.
                let access = match (form.token, form.obtained_at, form.expires_at) {
                    (Some(token), Some(obtained_at), Some(expires_at)) => {
                        Some(AccessToken { token: usable(kind, token)?, obtained_at, expires_at: Some(expires_at) })
                    }
                    _ => None,
                };
                Ok(Self::RefreshToken {
                    refresh_token: usable(kind, token)?,
                    refresh_expires_at: form.refresh_expires_at,
                    access,
                })
            }
            CredentialKind::InstagramLongLived if !text.starts_with('{') => {
                Ok(Self::InstagramLongLived { token: usable(kind, text.into())?, obtained_at: None, expires_at: None })
            }
            CredentialKind::InstagramLongLived => {
                let expected = r#"{"token": "…", "obtained_at": "2026-01-31T00:00:00Z", "expires_at": "2026-04-01T00:00:00Z"}"#;
                let form = form(expected)?;
                let token = form.token.ok_or_else(|| wrong(&format!("it is not JSON of the form {expected}")))?;
                Ok(Self::InstagramLongLived {
                    token: usable(kind, token)?,
                    obtained_at: form.obtained_at,
                    expires_at: form.expires_at,
                })
            }
            CredentialKind::AppleDeveloperToken => {
                let expected = r#"{"team_id": "…", "key_id": "…", "private_key_pem": "-----BEGIN PRIVATE KEY-----…"}"#;
                let form = form(expected)?;
                match (form.team_id, form.key_id, form.private_key_pem) {
                    (Some(team_id), Some(key_id), Some(pem)) if pem.expose().contains("-----BEGIN PRIVATE KEY-----") => {
                        Ok(Self::AppleDeveloperToken { team_id, key_id, private_key_pem: pem, access: None })
                    }
                    _ => Err(wrong(&format!("it is not JSON of the form {expected}"))),
                }
            }
        }
    }

    /// What a request gets; none where it must be refreshed first, or is never injected.
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

    /// Whether half of its life is over, so that there is plenty of time left to try again should the refresh fail.
    ///
    /// Instagram's tokens are never due before they are old enough to be refreshed; one of unknown life is due once it is that old.
    #[must_use]
    pub fn refresh_due(&self, now: DateTime<Utc>) -> bool {
        match self {
            Self::ApiKey { .. } | Self::Bearer { .. } | Self::OauthClient { .. } => false,
            Self::InstagramLongLived { obtained_at, expires_at, .. } => {
                let old_enough = obtained_at.is_none_or(|obtained_at| now >= obtained_at + INSTAGRAM_TOKEN_AGE_MIN);
                let half_used = expires_at.is_none_or(|expires_at| {
                    let life = obtained_at.map_or(INSTAGRAM_TOKEN_LIFE, |obtained_at| expires_at - obtained_at);
                    now >= expires_at - life / 2
                });
                old_enough && half_used
            }
            Self::ClientCredentials { access, .. }
            | Self::RefreshToken { access, .. }
            | Self::AppleDeveloperToken { access, .. } => access.as_ref().is_none_or(|access| access.is_half_used(now)),
        }
    }

    /// When its owner must connect anew unless it is refreshed before; none where it lasts, or where nobody knows.
    ///
    /// This is the durable secret's end. Access tokens come and go without anybody's help.
    #[must_use]
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::InstagramLongLived { expires_at, .. } => *expires_at,
            Self::RefreshToken { refresh_expires_at, .. } => *refresh_expires_at,
            _ => None,
        }
    }

    /// The same secret, with the time it was stored as the time it was obtained where nobody said better.
    #[must_use]
    pub fn obtained_by(self, now: DateTime<Utc>) -> Self {
        match self {
            Self::InstagramLongLived { token, obtained_at, expires_at } => {
                Self::InstagramLongLived { token, obtained_at: obtained_at.or(Some(now)), expires_at }
            }
            other => other,
        }
    }

    /// The name of its kind, for listings.
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

    /// Every value in it that must not be seen, for redaction.
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

    /// JSON, for sealing only: `Secret` has no `Serialize`, so that nothing else can write one.
    fn to_json(&self) -> Zeroizing<Vec<u8>> {
        // Grown once: a buffer that moves leaves copies behind.
        let mut json = Zeroizing::new(Vec::with_capacity(2 * SECRET_BYTES_MAX));
        serde_json::to_writer(&mut *json, &SealedForm::of(self)).expect("strings and times always have a JSON form");
        json
    }
}

/// Checks that a value can be searched for and put into a request.
fn usable(kind: CredentialKind, value: SecretText) -> Result<SecretText, SecretError> {
    let wrong = |problem: String| Err(SecretError::Form { kind, problem });
    if value.expose().len() < SECRET_BYTES_MIN {
        return wrong(format!("it is shorter than {SECRET_BYTES_MIN} characters"));
    }
    if !value.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("it has white space or characters outside ASCII; was more than the secret copied?".to_owned());
    }
    Ok(value)
}

/// All fields an operator may give, whatever the kind.
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

/// What [`Secret`] looks like inside the seal. Reading it is `Secret`'s own `Deserialize`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum SealedForm<'a> {
    ApiKey { value: &'a str },
    Bearer { value: &'a str },
    ClientCredentials { client_id: &'a str, client_secret: &'a str, access: Option<SealedAccess<'a>> },
    OauthClient { client_id: &'a str, client_secret: &'a str },
    RefreshToken { refresh_token: &'a str, refresh_expires_at: Option<DateTime<Utc>>, access: Option<SealedAccess<'a>> },
    InstagramLongLived { token: &'a str, obtained_at: Option<DateTime<Utc>>, expires_at: Option<DateTime<Utc>> },
    AppleDeveloperToken { team_id: &'a str, key_id: &'a str, private_key_pem: &'a str, access: Option<SealedAccess<'a>> },
}

#[derive(Serialize)]
struct SealedAccess<'a> {
    token: &'a str,
    obtained_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
}

impl<'a> SealedForm<'a> {
    fn of(secret: &'a Secret) -> Self {
        let access_form = |access: &'a Option<AccessToken>| {
            access.as_ref().map(|access| SealedAccess {
                token: access.token.expose(),
                obtained_at: access.obtained_at,
                expires_at: access.expires_at,
            })
        };
        match secret {
            Secret::ApiKey { value } => Self::ApiKey { value: value.expose() },
            Secret::Bearer { value } => Self::Bearer { value: value.expose() },
            Secret::ClientCredentials { client_id, client_secret, access } => Self::ClientCredentials {
                client_id: client_id.expose(),
                client_secret: client_secret.expose(),
                access: access_form(access),
            },
            Secret::OauthClient { client_id, client_secret } => {
                Self::OauthClient { client_id: client_id.expose(), client_secret: client_secret.expose() }
            }
            Secret::RefreshToken { refresh_token, refresh_expires_at, access } => Self::RefreshToken {
                refresh_token: refresh_token.expose(),
                refresh_expires_at: *refresh_expires_at,
                access: access_form(access),
            },
            Secret::InstagramLongLived { token, obtained_at, expires_at } => {
                Self::InstagramLongLived { token: token.expose(), obtained_at: *obtained_at, expires_at: *expires_at }
            }
            Secret::AppleDeveloperToken { team_id, key_id, private_key_pem, access } => Self::AppleDeveloperToken {
                team_id: team_id.expose(),
                key_id: key_id.expose(),
                private_key_pem: private_key_pem.expose(),
                access: access_form(access),
            },
        }
    }
}

/// First byte of everything sealed, should the format ever change.
const FORMAT: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;

/// The keys that seal credentials: one seals, any opens. XChaCha20-Poly1305 with a random nonce.
#[derive(Clone)]
pub struct Keyring {
    /// The first one seals.
    keys: Vec<Zeroizing<[u8; KEY_BYTES]>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring of {} keys", self.keys.len())
    }
}

impl Keyring {
    /// A keyring with one key: 32 bytes in base64.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn from_base64(key: &str) -> Result<Self, SecretError> {
        Ok(Self { keys: vec![decode_key(key)?] })
    }

    /// Adds a key that opens what was sealed before a rotation, and seals nothing.
    ///
    /// # Errors
    /// When the text is not 32 bytes in base64.
    pub fn with_old_key(mut self, key: &str) -> Result<Self, SecretError> {
        self.keys.push(decode_key(key)?);
        Ok(self)
    }

    /// A new random key, in base64.
    #[must_use]
    pub fn generate_base64() -> String {
        STANDARD.encode(Key::generate())
    }

    /// Seals a secret. `context` must be given again to open it; the credential's id keeps one from being passed off as another.
    #[must_use]
    pub fn seal(&self, secret: &Secret, context: &str) -> Vec<u8> {
        let key = &self.keys[0];
        let nonce = XNonce::generate();
        let json = secret.to_json();
        let ciphertext = cipher(key)
            .encrypt(&nonce, Payload { msg: &json, aad: context.as_bytes() })
            .expect("encryption fails above 256 GiB only");
        let mut sealed = Vec::with_capacity(1 + KEY_ID_BYTES + NONCE_BYTES + ciphertext.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&key_id(key));
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens what [`Keyring::seal`] made.
    ///
    /// # Errors
    /// When the key is unknown, a byte was changed, or the context is another.
    pub fn open(&self, sealed: &[u8], context: &str) -> Result<Secret, SecretError> {
        let (&format, rest) = sealed.split_first().ok_or(SecretError::Damaged)?;
        let (id, rest) = rest.split_at_checked(KEY_ID_BYTES).ok_or(SecretError::Damaged)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_BYTES).ok_or(SecretError::Damaged)?;
        if format != FORMAT {
            return Err(SecretError::Damaged);
        }
        let Some(key) = self.keys.iter().find(|key| key_id(key) == id) else {
            return Err(SecretError::UnknownKey { key_id: id.iter().map(|byte| format!("{byte:02x}")).collect() });
        };
        let nonce = XNonce::try_from(nonce).map_err(|_| SecretError::Damaged)?;
        let json = cipher(key)
            .decrypt(&nonce, Payload { msg: ciphertext, aad: context.as_bytes() })
            .map(Zeroizing::new)
            .map_err(|_| SecretError::Damaged)?;
        serde_json::from_slice(&json).map_err(|_| SecretError::Damaged)
    }

    /// Whether this was sealed with a key other than the one that seals now.
    #[must_use]
    pub fn is_outdated(&self, sealed: &[u8]) -> bool {
        sealed.get(1..1 + KEY_ID_BYTES) != Some(&key_id(&self.keys[0])[..])
    }
}

fn decode_key(text: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, SecretError> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| SecretError::Key)?);
    Ok(Zeroizing::new(bytes.as_slice().try_into().map_err(|_| SecretError::Key)?))
}

fn cipher(key: &[u8; KEY_BYTES]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*key))
}

/// Names a key without telling anything of it.
fn key_id(key: &[u8; KEY_BYTES]) -> [u8; KEY_ID_BYTES] {
    let digest = sha2::Sha256::new().chain_update(b"backline sealing key id").chain_update(key).finalize();
    let mut id = [0; KEY_ID_BYTES];
    id.copy_from_slice(&digest[..KEY_ID_BYTES]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-secret-0123456789";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn access(obtained_at: &str, expires_at: &str) -> AccessToken {
        AccessToken { token: CANARY.into(), obtained_at: at(obtained_at), expires_at: Some(at(expires_at)) }
    }

    fn one_of_each() -> Vec<Secret> {
        let access = Some(access("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"));
        vec![
            Secret::ApiKey { value: CANARY.into() },
            Secret::Bearer { value: CANARY.into() },
            Secret::ClientCredentials { client_id: "id".into(), client_secret: CANARY.into(), access: access.clone() },
            Secret::OauthClient { client_id: "id".into(), client_secret: CANARY.into() },
            Secret::RefreshToken { refresh_token: CANARY.into(), refresh_expires_at: Some(at("2027-11-22T10:00:00Z")), access: None },
            Secret::InstagramLongLived { token: CANARY.into(), obtained_at: None, expires_at: Some(at("2027-01-01T00:00:00Z")) },
            Secret::AppleDeveloperToken { team_id: "t".into(), key_id: "k".into(), private_key_pem: CANARY.into(), access },
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
    fn every_kind_survives_sealing_and_opening() {
        let keyring = Keyring::from_base64(&Keyring::generate_base64()).expect("a key");
        for secret in one_of_each() {
            let sealed = keyring.seal(&secret, "credential 1");
            assert!(!sealed.windows(6).any(|bytes| bytes == b"canary"));
            assert_eq!(keyring.open(&sealed, "credential 1").expect("opens"), secret);
            assert_ne!(keyring.seal(&secret, "credential 1"), sealed, "a nonce was used twice");
        }
    }

    #[test]
    fn a_changed_byte_another_context_or_another_key_opens_nothing() {
        let keyring = Keyring::from_base64(&Keyring::generate_base64()).expect("a key");
        let sealed = keyring.seal(&Secret::ApiKey { value: CANARY.into() }, "credential 1");
        assert_eq!(keyring.open(&sealed, "credential 2"), Err(SecretError::Damaged));
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(keyring.open(&changed, "credential 1").is_err(), "byte {index}");
            assert!(keyring.open(&sealed[..index], "credential 1").is_err(), "cut at {index}");
        }
        let other = Keyring::from_base64(&Keyring::generate_base64()).expect("a key");
        assert!(matches!(other.open(&sealed, "credential 1"), Err(SecretError::UnknownKey { .. })));
    }

    #[test]
    fn an_old_key_opens_and_the_new_one_seals() {
        let (old, new) = (Keyring::generate_base64(), Keyring::generate_base64());
        let secret = Secret::ApiKey { value: CANARY.into() };
        let sealed = Keyring::from_base64(&old).expect("a key").seal(&secret, "c");
        let both = Keyring::from_base64(&new).expect("a key").with_old_key(&old).expect("a key");
        assert_eq!(both.open(&sealed, "c").expect("opens"), secret);
        assert!(both.is_outdated(&sealed) && !both.is_outdated(&both.seal(&secret, "c")));
        for wrong in ["", "abc", "AAAA", &STANDARD.encode([0; 31]), &STANDARD.encode([0; 33])] {
            assert_eq!(Keyring::from_base64(wrong).err(), Some(SecretError::Key));
        }
    }

    #[test]
    fn what_an_operator_gives_is_read_by_kind_and_owner() {
        use CredentialKind::{AppleDeveloperToken, ApiKey, InstagramLongLived, Oauth2ClientCredentials, Oauth2RefreshToken};
        use Owner::{Account, Operator};
        let parse = |kind, owner, text: &str| Secret::parse(kind, owner, text).expect(text);
        assert_eq!(parse(ApiKey, Operator, &format!(" {CANARY}\n")), Secret::ApiKey { value: CANARY.into() });
        assert_eq!(
            parse(Oauth2ClientCredentials, Operator, r#"{"client_id":"id","client_secret":"canary-secret-0123456789"}"#),
            Secret::ClientCredentials { client_id: "id".into(), client_secret: CANARY.into(), access: None }
        );
        assert_eq!(
            parse(Oauth2RefreshToken, Operator, r#"{"client_key":"id","client_secret":"canary-secret-0123456789"}"#),
            Secret::OauthClient { client_id: "id".into(), client_secret: CANARY.into() }
        );
        let plain = Secret::RefreshToken { refresh_token: CANARY.into(), refresh_expires_at: None, access: None };
        assert_eq!(parse(Oauth2RefreshToken, Account, CANARY), plain);
        assert_eq!(
            parse(Oauth2RefreshToken, Account, r#"{"refresh_token":"canary-secret-0123456789","access_token":"of unknown age"}"#),
            plain
        );
        assert_eq!(
            parse(InstagramLongLived, Account, CANARY),
            Secret::InstagramLongLived { token: CANARY.into(), obtained_at: None, expires_at: None }
        );
        assert_eq!(
            parse(InstagramLongLived, Account, r#"{"access_token":"canary-secret-0123456789","expires_at":"2027-01-01T00:00:00Z"}"#),
            Secret::InstagramLongLived { token: CANARY.into(), obtained_at: None, expires_at: Some(at("2027-01-01T00:00:00Z")) }
        );
        for (kind, owner, text) in [
            (ApiKey, Operator, "short"),
            (ApiKey, Operator, "canary with blanks"),
            (ApiKey, Operator, "canary\u{0}canary"),
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

    #[test]
    fn an_access_token_is_injected_until_shortly_before_its_end_and_due_at_half_its_life() {
        let secret = Secret::ClientCredentials {
            client_id: "id".into(),
            client_secret: CANARY.into(),
            access: Some(access("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z")),
        };
        for (now, injected, due) in [
            ("2026-11-22T10:29:59Z", true, false),
            ("2026-11-22T10:30:00Z", true, true),
            ("2026-11-22T10:58:59Z", true, true),
            ("2026-11-22T10:59:00Z", false, true),
        ] {
            assert_eq!((secret.injectable(at(now)).is_some(), secret.refresh_due(at(now))), (injected, due), "{now}");
        }
        let never_exchanged = Secret::RefreshToken { refresh_token: CANARY.into(), refresh_expires_at: None, access: None };
        assert!(never_exchanged.injectable(at("2026-11-22T10:00:00Z")).is_none() && never_exchanged.refresh_due(at("2026-11-22T10:00:00Z")));
    }

    #[test]
    fn an_instagram_token_is_due_at_half_its_life_and_never_in_its_first_day() {
        let token = |obtained_at: Option<&str>, expires_at: Option<&str>| Secret::InstagramLongLived {
            token: CANARY.into(),
            obtained_at: obtained_at.map(at),
            expires_at: expires_at.map(at),
        };
        for (obtained_at, expires_at, now, due) in [
            (Some("2026-11-01T00:00:00Z"), Some("2026-12-31T00:00:00Z"), "2026-11-30T00:00:00Z", false),
            (Some("2026-11-01T00:00:00Z"), Some("2026-12-31T00:00:00Z"), "2026-12-01T00:00:00Z", true),
            (Some("2026-11-01T00:00:00Z"), Some("2026-11-02T00:00:00Z"), "2026-11-01T23:00:00Z", false),
            (Some("2026-11-01T00:00:00Z"), None, "2026-11-01T23:59:59Z", false),
            (Some("2026-11-01T00:00:00Z"), None, "2026-11-02T00:00:00Z", true),
            (None, Some("2026-12-31T00:00:00Z"), "2026-11-30T00:00:00Z", false),
            (None, None, "2026-11-30T00:00:00Z", true),
        ] {
            assert_eq!(token(obtained_at, expires_at).refresh_due(at(now)), due, "{obtained_at:?} {expires_at:?} {now}");
        }
        let stored = token(None, None).obtained_by(at("2026-11-30T00:00:00Z"));
        assert!(!stored.refresh_due(at("2026-11-30T12:00:00Z")) && stored.refresh_due(at("2026-12-01T00:00:00Z")));
        let expired = token(None, Some("2026-11-30T00:00:00Z"));
        assert!(expired.injectable(at("2026-11-30T00:00:00Z")).is_none());
        assert_eq!(expired.expires_at(), Some(at("2026-11-30T00:00:00Z")));
    }
}
