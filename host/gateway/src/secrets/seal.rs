//! Seals secrets for the database: XChaCha20-Poly1305 with a random nonce, preceded by the key's id.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Generate as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::Digest as _;
use zeroize::Zeroizing;

use super::{AccessToken, SECRET_BYTES_MAX, Secret, SecretError};

/// The form of [`Secret`] inside the seal. It is parsed by `Secret`'s own `Deserialize`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum SealedForm<'a> {
    ApiKey {
        value: &'a str,
    },
    Bearer {
        value: &'a str,
    },
    ClientCredentials {
        client_id: &'a str,
        client_secret: &'a str,
        access: Option<SealedAccess<'a>>,
    },
    OauthClient {
        client_id: &'a str,
        client_secret: &'a str,
    },
    RefreshToken {
        refresh_token: &'a str,
        refresh_expires_at: Option<DateTime<Utc>>,
        access: Option<SealedAccess<'a>>,
    },
    InstagramLongLived {
        token: &'a str,
        obtained_at: Option<DateTime<Utc>>,
        expires_at: Option<DateTime<Utc>>,
    },
    AppleDeveloperToken {
        team_id: &'a str,
        key_id: &'a str,
        private_key_pem: &'a str,
        access: Option<SealedAccess<'a>>,
    },
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

/// First byte of everything sealed, in case the format ever changes.
const FORMAT: u8 = 1;
const KEY_ID_BYTES: usize = 8;

/// Length of the prefix of sealed bytes that tells the format and the key.
pub const KEY_PREFIX_BYTES: u32 = 9;

const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;

/// The keys that seal credentials: one seals, all of them open.
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
    /// If the text is anything else.
    pub fn from_base64(key: &str) -> Result<Self, SecretError> {
        Ok(Self { keys: vec![decode_key(key)?] })
    }

    /// Adds a key that opens what was sealed before a rotation, and seals nothing.
    ///
    /// # Errors
    /// If the text is not 32 bytes in base64.
    pub fn with_old_key(mut self, key: &str) -> Result<Self, SecretError> {
        self.keys.push(decode_key(key)?);
        Ok(self)
    }

    /// A new random key, in base64.
    #[must_use]
    pub fn generate_base64() -> String {
        STANDARD.encode(Key::generate())
    }

    /// Seals a secret. `context` must be given again to open it; the credential's id prevents one from being used as
    /// another.
    #[must_use]
    pub fn seal(&self, secret: &Secret, context: &str) -> Vec<u8> {
        self.seal_bytes(&to_json(secret), context)
    }

    /// Opens sealed bytes of any kind and seals their content with the key that seals now.
    ///
    /// # Errors
    /// If the key is not known, a byte was changed, or the context differs.
    pub fn reseal(&self, sealed: &[u8], context: &str) -> Result<Vec<u8>, SecretError> {
        Ok(self.seal_bytes(&self.open_bytes(sealed, context)?, context))
    }

    fn seal_bytes(&self, open: &[u8], context: &str) -> Vec<u8> {
        let key = &self.keys[0];
        let nonce = XNonce::generate();
        let ciphertext = cipher(key)
            .encrypt(&nonce, Payload { msg: open, aad: context.as_bytes() })
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
    /// If the key is not known, a byte was changed, or the context differs.
    pub fn open(&self, sealed: &[u8], context: &str) -> Result<Secret, SecretError> {
        serde_json::from_slice(&self.open_bytes(sealed, context)?).map_err(|_| SecretError::Damaged)
    }

    fn open_bytes(&self, sealed: &[u8], context: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let (&format, rest) = sealed.split_first().ok_or(SecretError::Damaged)?;
        let (id, rest) = rest.split_at_checked(KEY_ID_BYTES).ok_or(SecretError::Damaged)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_BYTES).ok_or(SecretError::Damaged)?;
        if format != FORMAT {
            return Err(SecretError::Damaged);
        }
        let Some(key) = self.keys.iter().find(|key| key_id(key) == id) else {
            return Err(SecretError::UnknownKey { key_id: hex(id) });
        };
        let nonce = XNonce::try_from(nonce).map_err(|_| SecretError::Damaged)?;
        cipher(key)
            .decrypt(&nonce, Payload { msg: ciphertext, aad: context.as_bytes() })
            .map(Zeroizing::new)
            .map_err(|_| SecretError::Damaged)
    }

    /// The ids of the keys in hexadecimal; the first one seals. They reveal nothing about the keys.
    #[must_use]
    pub fn key_ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| hex(&key_id(key))).collect()
    }

    /// The id of the key that bytes were sealed with, in hexadecimal; `None` if they are not sealed bytes.
    #[must_use]
    pub fn key_id_of(sealed: &[u8]) -> Option<String> {
        let (&format, rest) = sealed.split_first()?;
        (format == FORMAT).then(|| rest.get(..KEY_ID_BYTES).map(hex)).flatten()
    }

    /// Whether this was sealed with a key other than the one that seals now.
    #[must_use]
    pub fn is_outdated(&self, sealed: &[u8]) -> bool {
        sealed.get(1..1 + KEY_ID_BYTES) != Some(&key_id(&self.keys[0])[..])
    }
}

/// JSON, for sealing only: `Secret` has no `Serialize`, so that nothing else can write one.
fn to_json(secret: &Secret) -> Zeroizing<Vec<u8>> {
    // Allocated once: a buffer that moves leaves copies behind.
    let mut json = Zeroizing::new(Vec::with_capacity(2 * SECRET_BYTES_MAX));
    serde_json::to_writer(&mut *json, &SealedForm::of(secret)).expect("strings and times always have a JSON form");
    json
}

fn decode_key(text: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, SecretError> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| SecretError::Key)?);
    Ok(Zeroizing::new(bytes.as_slice().try_into().map_err(|_| SecretError::Key)?))
}

fn cipher(key: &[u8; KEY_BYTES]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*key))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Identifies a key without revealing anything about it.
fn key_id(key: &[u8; KEY_BYTES]) -> [u8; KEY_ID_BYTES] {
    let digest = sha2::Sha256::new().chain_update(b"backline sealing key id").chain_update(key).finalize();
    let mut id = [0; KEY_ID_BYTES];
    id.copy_from_slice(&digest[..KEY_ID_BYTES]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::tests::{CANARY, one_of_each};

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

        let resealed = both.reseal(&sealed, "c").expect("resealed");
        let alone = Keyring::from_base64(&new).expect("a key");
        assert_eq!(alone.open(&resealed, "c").expect("opens without the old key"), secret);
        assert_eq!(Keyring::key_id_of(&resealed), alone.key_ids().pop());
        assert_eq!(Keyring::key_id_of(&sealed).as_ref(), both.key_ids().get(1));
        assert!(alone.reseal(&sealed, "c").is_err() && both.reseal(&sealed, "d").is_err());
        assert_eq!(Keyring::key_id_of(&[2; 40]), None);
        for wrong in ["", "abc", "AAAA", &STANDARD.encode([0; 31]), &STANDARD.encode([0; 33])] {
            assert_eq!(Keyring::from_base64(wrong).err(), Some(SecretError::Key));
        }
    }
}
