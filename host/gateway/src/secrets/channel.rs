//! A channel's secret: a URL, a key or a password, sealed as a webhook's secret is.

use super::{Keyring, Secret, SecretError, SecretText};
use backline_model::ChannelId;

/// Seals a channel's secret for the database, bound to its channel.
#[must_use]
pub fn seal_channel(keyring: &Keyring, channel: ChannelId, secret: &SecretText) -> Vec<u8> {
    keyring.seal(&Secret::ApiKey { value: secret.clone() }, &context(channel))
}

/// Opens what [`seal_channel`] made.
///
/// # Errors
/// If the key is not known, a byte was changed, or it belongs to another channel.
pub fn open_channel(keyring: &Keyring, sealed: &[u8], channel: ChannelId) -> Result<SecretText, SecretError> {
    match keyring.open(sealed, &context(channel))? {
        Secret::ApiKey { value } => Ok(value),
        _ => Err(SecretError::Damaged),
    }
}

fn context(channel: ChannelId) -> String {
    format!("alert channel {channel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channels_secret_is_bound_to_its_channel() {
        let keyring = Keyring::from_base64(&Keyring::generate_base64()).expect("a key");
        let (channel, secret) = (ChannelId::generate(), SecretText::new("https://hooks.test/T0/B0/x"));
        let sealed = seal_channel(&keyring, channel, &secret);
        assert_eq!(open_channel(&keyring, &sealed, channel).expect("opens"), secret);
        assert!(open_channel(&keyring, &sealed, ChannelId::generate()).is_err(), "another channel's");
    }
}
