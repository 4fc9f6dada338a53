//! A webhook's secret, and the signatures made with it: the symmetric scheme of Standard Webhooks.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::Key;
use chacha20poly1305::aead::Generate as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Keyring, Secret, SecretError, SecretText};
use backline_model::WebhookId;

/// Prefix of every such secret.
const PREFIX: &str = "whsec_";

/// Prefix of every signature.
const VERSION: &str = "v1";

/// A webhook's secret: 32 random bytes. Prints as `[secret]`.
#[derive(Clone)]
pub struct WebhookSecret {
    key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl WebhookSecret {
    /// A new random secret.
    #[must_use]
    pub fn generate() -> Self {
        Self { key: Zeroizing::new(Key::generate().to_vec()) }
    }

    /// The text that a receiver is given: `whsec_` and base64.
    #[must_use]
    pub fn text(&self) -> SecretText {
        SecretText::new(format!("{PREFIX}{}", STANDARD.encode(&*self.key)))
    }

    /// Seals it for the database, bound to its webhook.
    #[must_use]
    pub fn seal(&self, keyring: &Keyring, webhook: WebhookId) -> Vec<u8> {
        keyring.seal(&Secret::ApiKey { value: self.text() }, &Self::context(webhook))
    }

    /// Opens what [`WebhookSecret::seal`] made.
    ///
    /// # Errors
    /// If the key is not known, a byte was changed, or it belongs to another webhook.
    pub fn open(keyring: &Keyring, sealed: &[u8], webhook: WebhookId) -> Result<Self, SecretError> {
        let Secret::ApiKey { value } = keyring.open(sealed, &Self::context(webhook))? else {
            return Err(SecretError::Damaged);
        };
        let encoded = value.expose().strip_prefix(PREFIX).ok_or(SecretError::Damaged)?;
        let key = STANDARD.decode(encoded).map_err(|_| SecretError::Damaged)?;
        Ok(Self { key: Zeroizing::new(key) })
    }

    /// The context that a webhook's secret is sealed with.
    #[must_use]
    pub fn context(webhook: WebhookId) -> String {
        format!("webhook {webhook}")
    }

    /// The signature of one message for the header `webhook-signature`. `timestamp` is in seconds since 1970.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("{VERSION},{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the reference implementations.
    #[test]
    fn the_signature_is_that_of_the_reference_implementations() {
        let key = Zeroizing::new(STANDARD.decode("C2FVsBQIhrscChlQIMV+b5sSYspob7oD").expect("base64"));
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let signature = WebhookSecret { key }.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
        assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn a_secret_survives_sealing_is_bound_to_its_webhook_and_prints_as_nothing() {
        let keyring = Keyring::from_base64(&Keyring::generate_base64()).expect("a key");
        let (secret, webhook) = (WebhookSecret::generate(), WebhookId::generate());
        let text = secret.text();
        assert!(text.expose().starts_with("whsec_") && text.expose().len() == 6 + 44);
        let sealed = secret.seal(&keyring, webhook);
        let opened = WebhookSecret::open(&keyring, &sealed, webhook).expect("opens");
        assert_eq!(opened.text(), text);
        assert!(WebhookSecret::open(&keyring, &sealed, WebhookId::generate()).is_err(), "another webhook's");
        assert_ne!(WebhookSecret::generate().text(), text);
        assert_eq!(format!("{secret:?} {text:?} {text}"), "[secret] [secret] [secret]");
    }
}
