//! Signatures of components: minisign (Ed25519 over a BLAKE2b hash), created and verified.
//!
//! minisign-verify verifies: it has no dependencies and checks every length before use. minisign, by the same author,
//! creates keys and signatures, in files that the `minisign` tool also reads and writes.

use std::io::Cursor;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

use backline_model::text::misleads;

/// Largest signature file that is read, in bytes; a typical one has less than 400.
pub const SIGNATURE_BYTES_MAX: usize = 8 * 1024;

/// Suffix of a signature file, after the component's file name.
pub const SIGNATURE_SUFFIX: &str = ".minisig";

/// A key whose signatures are trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// minisign public key: the second line of the `.pub` file, which starts with `RW`.
    pub key: String,
    /// Names of the connectors that it is trusted for; all of them if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connectors: Vec<String>,
}

/// Why a component has no trusted signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error(
        "it is not signed: there is no {expected}; ask its author for a signature and name it with --signature, \
         or change signatures under [plugins]"
    )]
    Missing {
        /// Name of the file that was searched for.
        expected: String,
    },
    /// The file is not a signature.
    #[error("the signature is not a minisign signature: {0}; it may be truncated, ask the author for it again")]
    Malformed(&'static str),
    /// The key is not known.
    #[error(
        "it is signed with the key {key_id}, which is not trusted; if you trust its owner, \
         add the public key under [plugins.trusted_keys.NAME]"
    )]
    UnknownKey {
        /// Number of the key, as minisign prints it.
        key_id: String,
    },
    /// The key is known, but not for this connector.
    #[error(
        "it is signed with the key '{name}', which is only trusted for other connectors; if its owner may release it, \
         add \"{connector}\" to connectors under [plugins.trusted_keys.{name}]"
    )]
    OtherConnector {
        /// Name of the key in the configuration.
        name: String,
        /// Name of the connector.
        connector: String,
    },
    /// The bytes are not the ones that were signed.
    #[error(
        "its signature does not match: the file or the signature was changed after the owner of the key '{name}' \
         signed it; don't use it, and get both again from their author"
    )]
    Mismatch {
        /// Name of the key in the configuration.
        name: String,
    },
}

impl SignatureError {
    /// Whether only trust is missing. The other errors, a signature that is damaged or does not match, indicate
    /// tampering, and no policy that checks signatures accepts them.
    #[must_use]
    pub fn is_lack_of_trust(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::UnknownKey { .. } | Self::OtherConnector { .. })
    }
}

/// Verifies a signature and returns the name of the key that made it.
///
/// # Errors
/// [`SignatureError`] says whether the signature, the key or the bytes are wrong.
pub fn verify(
    component: &[u8],
    signature: &str,
    trusted: &BTreeMap<String, TrustedKey>,
    connector: &str,
) -> Result<String, SignatureError> {
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(SignatureError::Malformed("it is too long"));
    }
    let decoded = minisign_verify::Signature::decode(signature)
        .map_err(|_| SignatureError::Malformed("its four lines can't be decoded"))?;
    let mut refused = None;
    for (name, key) in trusted {
        // Keys are checked when the configuration is read; one that can't be parsed has not signed anything.
        let Ok(public) = minisign_verify::PublicKey::from_base64(&key.key) else { continue };
        match public.verify(component, &decoded, false) {
            Ok(()) if key.connectors.is_empty() || key.connectors.iter().any(|known| known == connector) => {
                return Ok(name.clone());
            }
            Ok(()) => {
                let (name, connector) = (name.clone(), connector.to_owned());
                refused = Some(SignatureError::OtherConnector { name, connector });
            }
            Err(minisign_verify::Error::UnexpectedKeyId) => {}
            Err(minisign_verify::Error::UnexpectedAlgorithm) => {
                return Err(SignatureError::Malformed("it has minisign's legacy format; sign again without -l"));
            }
            // Another key may have the same number, so a match decides before a mismatch.
            Err(_) => refused = refused.or_else(|| Some(SignatureError::Mismatch { name: name.clone() })),
        }
    }
    Err(refused.unwrap_or_else(|| SignatureError::UnknownKey { key_id: key_id_of_signature(signature) }))
}

/// Checks a public key as an operator wrote it.
///
/// # Errors
/// What is wrong, and what is expected.
pub fn check_public_key(key: &str) -> Result<(), String> {
    minisign_verify::PublicKey::from_base64(key).map(drop).map_err(|_| {
        "it is not a minisign public key; write the second line of the .pub file, 56 characters that start with RW"
            .to_owned()
    })
}

/// Number of the key that made a signature, as minisign prints it.
fn key_id_of_signature(signature: &str) -> String {
    minisign::SignatureBox::from_string(signature)
        .map_or_else(|_| "of unknown number".to_owned(), |signature| key_id(signature.keynum()))
}

/// A key's number as minisign prints it: eight bytes in reverse order.
fn key_id(number: &[u8]) -> String {
    number.iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

/// Why a key or signature could not be created.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The operating system gave no random bytes.
    #[error("no key could be generated: {0}")]
    Generate(String),
    /// The file is not a minisign secret key.
    #[error("it is not a minisign secret key; `backline plugins keygen --name NAME` makes one")]
    NotAKey,
    /// The password is missing or wrong.
    #[error("the secret key can't be opened: {0}")]
    Locked(String),
    /// The name would break the file's lines.
    #[error("'{0}' can't be used in a signature: control characters are not allowed")]
    Name(String),
    /// Signing failed.
    #[error("it could not be signed: {0}")]
    Sign(String),
}

/// A secret key. It has no `Debug`, since minisign's would print the key.
pub struct SigningKey {
    secret: minisign::SecretKey,
}

/// A new key, as the contents of its two files.
pub struct KeyFiles {
    /// Secret key file, without a password.
    pub secret: Zeroizing<String>,
    /// Public key file, with its comment.
    pub public: String,
    /// Public key alone, for `key` under `[plugins.trusted_keys]`.
    pub key: String,
}

/// Generates a key; `name` is part of its comments.
///
/// # Errors
/// If there are no random bytes, or the name can't be part of a line.
pub fn generate_key(name: &str) -> Result<KeyFiles, SigningError> {
    check_comment(name)?;
    let failed = |error: minisign::PError| SigningError::Generate(error.to_string());
    let pair = minisign::KeyPair::generate_unencrypted_keypair().map_err(failed)?;
    let comment = format!("minisign secret key of {name}");
    let secret = Zeroizing::new(pair.sk.to_box(Some(&comment)).map_err(failed)?.into_string());
    let key = pair.pk.to_base64();
    let public = format!("untrusted comment: minisign public key {} of {name}\n{key}\n", key_id(pair.pk.keynum()));
    Ok(KeyFiles { secret, public, key })
}

impl SigningKey {
    /// Whether a key file needs a password.
    #[must_use]
    pub fn is_locked(file: &str) -> bool {
        use base64::Engine as _;

        let encoded = file.lines().nth(1).unwrap_or_default();
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).map(Zeroizing::new);
        // The two letters of the signing algorithm are followed by those of the key derivation; zeros mean none.
        bytes.is_ok_and(|bytes| bytes.get(2..4).is_some_and(|derivation| derivation != [0, 0]))
    }

    /// Parses a minisign secret key file.
    ///
    /// # Errors
    /// If the file is not a key, or the password is missing or wrong.
    pub fn parse(file: &str, password: Option<String>) -> Result<Self, SigningError> {
        let locked = Self::is_locked(file);
        let text = minisign::SecretKeyBox::from_string(file).map_err(|_| SigningError::NotAKey)?;
        let secret = match (locked, password) {
            (false, _) => text.into_unencrypted_secret_key().map_err(|_| SigningError::NotAKey)?,
            (true, Some(password)) => text
                .into_secret_key(Some(password))
                .map_err(|error| SigningError::Locked(error.to_string().to_lowercase()))?,
            (true, None) => return Err(SigningError::Locked("it is encrypted and needs its password".to_owned())),
        };
        Ok(Self { secret })
    }

    /// Signs a component. The file's name and the time are part of what is signed.
    ///
    /// # Errors
    /// If the name can't be part of a line, or there are no random bytes.
    pub fn sign(&self, component: &[u8], file_name: &str, now: DateTime<Utc>) -> Result<String, SigningError> {
        check_comment(file_name)?;
        let trusted = format!("timestamp:{}\tfile:{file_name}\tprehashed", now.timestamp());
        let untrusted = "signature from backline plugins sign";
        let signature = minisign::sign(None, &self.secret, Cursor::new(component), Some(&trusted), Some(untrusted))
            .map_err(|error| SigningError::Sign(error.to_string()))?;
        Ok(signature.into_string())
    }
}

fn check_comment(name: &str) -> Result<(), SigningError> {
    if name.chars().any(misleads) {
        return Err(SigningError::Name(backline_model::text::printable(&name.replace(['\n', '\t'], " "))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMPONENT: &[u8] = b"\0asm bytes that stand for a component";

    fn signed_by(names: &[&str]) -> (BTreeMap<String, TrustedKey>, Vec<SigningKey>) {
        let (mut trusted, mut keys) = (BTreeMap::new(), Vec::new());
        for name in names {
            let files = generate_key(name).expect("a key");
            trusted.insert((*name).to_owned(), TrustedKey { key: files.key, connectors: Vec::new() });
            keys.push(SigningKey::parse(&files.secret, None).expect("its own file"));
        }
        (trusted, keys)
    }

    fn sign(key: &SigningKey) -> String {
        key.sign(COMPONENT, "youtube.wasm", DateTime::UNIX_EPOCH).expect("signed")
    }

    #[test]
    fn a_signature_of_the_minisign_tool_is_verified() {
        // From minisign's documentation: the bytes are "test".
        let trusted = BTreeMap::from([(
            "jedisct1".to_owned(),
            TrustedKey {
                key: "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3".to_owned(),
                connectors: vec![],
            },
        )]);
        let signature = "untrusted comment: signature from minisign secret key\n\
            RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
            trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
            wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==";
        assert_eq!(verify(b"test", signature, &trusted, "any").as_deref(), Ok("jedisct1"));
        assert_eq!(
            verify(b"tesT", signature, &trusted, "any"),
            Err(SignatureError::Mismatch { name: "jedisct1".to_owned() })
        );
        let forged = signature.replace("file:test", "file:best");
        assert!(!verify(b"test", &forged, &trusted, "any").expect_err("refused").is_lack_of_trust());
        let unknown = verify(b"test", signature, &BTreeMap::new(), "any").expect_err("refused");
        assert_eq!(unknown, SignatureError::UnknownKey { key_id: "E7620F1842B4E81F".to_owned() });
    }

    #[test]
    fn the_key_that_signed_is_named_and_no_other_will_do() {
        let (mut trusted, keys) = signed_by(&["acme", "zeta"]);
        assert_eq!(verify(COMPONENT, &sign(&keys[0]), &trusted, "youtube").as_deref(), Ok("acme"));
        assert_eq!(verify(COMPONENT, &sign(&keys[1]), &trusted, "youtube").as_deref(), Ok("zeta"));
        let (_, strangers) = signed_by(&["acme"]);
        let error = verify(COMPONENT, &sign(&strangers[0]), &trusted, "youtube").expect_err("refused");
        assert!(matches!(&error, SignatureError::UnknownKey { .. }), "{error}");
        trusted.get_mut("acme").expect("there").connectors = vec!["spotify".to_owned()];
        let error = verify(COMPONENT, &sign(&keys[0]), &trusted, "youtube").expect_err("refused").to_string();
        assert!(error.contains("add \"youtube\" to connectors under [plugins.trusted_keys.acme]"), "{error}");
        assert_eq!(verify(COMPONENT, &sign(&keys[0]), &trusted, "spotify").as_deref(), Ok("acme"));
    }

    #[test]
    fn another_key_with_the_same_number_is_not_accepted() {
        // Numbers are eight bytes that anyone can choose: here the stranger's key has the trusted one's number.
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::STANDARD;
        let (mut trusted, keys) = signed_by(&["acme", "stranger"]);
        let mut stranger = engine.decode(&trusted["stranger"].key).expect("base64");
        let acme = engine.decode(&trusted["acme"].key).expect("base64");
        stranger[2..10].copy_from_slice(&acme[2..10]);
        trusted.get_mut("stranger").expect("there").key = engine.encode(stranger);
        assert_eq!(verify(COMPONENT, &sign(&keys[0]), &trusted, "youtube").as_deref(), Ok("acme"));
        let error = verify(COMPONENT, &sign(&keys[1]), &trusted, "youtube").expect_err("refused");
        assert!(matches!(error, SignatureError::UnknownKey { .. }), "{error}");
    }

    #[test]
    fn every_truncation_and_every_changed_letter_of_a_signature_is_refused() {
        let (trusted, keys) = signed_by(&["acme"]);
        let signature = sign(&keys[0]);
        assert!(verify(COMPONENT, &signature, &trusted, "youtube").is_ok());
        // The first line is a comment that is not signed, and the last line's end may be missing.
        let start = signature.find('\n').expect("lines") + 1;
        for end in 0..signature.trim_end().len() {
            assert!(verify(COMPONENT, &signature[..end], &trusted, "youtube").is_err(), "cut at {end}");
        }
        for at in start..signature.trim_end().len() {
            let mut changed = signature.clone().into_bytes();
            changed[at] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            let outcome = verify(COMPONENT, &changed, &trusted, "youtube");
            assert!(outcome.is_err(), "changed at {at}: {outcome:?}");
        }
    }

    #[test]
    fn every_changed_bit_of_what_was_signed_is_refused() {
        let (trusted, keys) = signed_by(&["acme"]);
        let signature = sign(&keys[0]);
        for (at, bit) in (0..COMPONENT.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut changed = COMPONENT.to_vec();
            changed[at] ^= 1 << bit;
            let outcome = verify(&changed, &signature, &trusted, "youtube");
            assert_eq!(outcome, Err(SignatureError::Mismatch { name: "acme".to_owned() }), "bit {bit} of byte {at}");
        }
    }

    #[test]
    fn locked_keys_need_their_password() {
        let pair = minisign::KeyPair::generate_encrypted_keypair(Some("right".to_owned())).expect("a key");
        let file = pair.sk.to_box(None).expect("a file").into_string();
        assert!(SigningKey::is_locked(&file));
        for (password, expected) in [(None, "needs its password"), (Some("wrong".to_owned()), "wrong password")] {
            let Err(error) = SigningKey::parse(&file, password) else { panic!("refused") };
            assert!(error.to_string().contains(expected), "{error}");
        }
        let key = SigningKey::parse(&file, Some("right".to_owned())).expect("opened");
        let trusted =
            BTreeMap::from([("acme".to_owned(), TrustedKey { key: pair.pk.to_base64(), connectors: Vec::new() })]);
        assert_eq!(verify(COMPONENT, &sign(&key), &trusted, "youtube").as_deref(), Ok("acme"));
        for text in ["", "a\nb", "untrusted comment: x\nAAAA\n"] {
            assert!(matches!(SigningKey::parse(text, None), Err(SigningError::NotAKey)), "{text}");
        }
    }

    #[test]
    fn a_name_cannot_write_lines_of_its_own() {
        assert!(matches!(generate_key("a\nb"), Err(SigningError::Name(_))));
        let (_, keys) = signed_by(&["acme"]);
        let forged = "a.wasm\ntrusted comment: b";
        assert!(matches!(keys[0].sign(COMPONENT, forged, DateTime::UNIX_EPOCH), Err(SigningError::Name(_))));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(
            text in "\\PC{0,200}",
            lines in proptest::collection::vec("[A-Za-z0-9+/=:. ]{0,120}", 0..6),
        ) {
            let (trusted, _) = signed_by(&["acme"]);
            let _ = verify(COMPONENT, &text, &trusted, "youtube");
            let _ = verify(COMPONENT, &lines.join("\n"), &trusted, "youtube");
            let _ = SigningKey::parse(&lines.join("\n"), None);
            let _ = check_public_key(&text);
        }
    }
}
