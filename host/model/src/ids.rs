//! Identifiers. Each has its own type, so that an artist's id can't be passed as an account's.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id; ids sort by time of creation.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text.trim()).map(Self).map_err(|_| IdError::Uuid { given: text.to_owned() })
            }
        }
    };
}

uuid_id!(
    /// Id of an artist, given by the customer.
    ArtistId
);
uuid_id!(
    /// Id of an artist's account on one platform.
    AccountId
);
uuid_id!(
    /// Id of a run: one collection for one logical date.
    RunId
);
uuid_id!(
    /// Id of a batch: the unit of work and of lease.
    BatchId
);
uuid_id!(
    /// Id of a stored raw document.
    DocumentId
);
uuid_id!(
    /// Id of a stored credential.
    CredentialId
);
uuid_id!(
    /// Id of a webhook.
    WebhookId
);
uuid_id!(
    /// Id of a channel that alerts are sent to.
    ChannelId
);
uuid_id!(
    /// Id of an installation: a database and the processes that belong to it.
    InstallationId
);
uuid_id!(
    /// Id of a token of the HTTP API.
    TokenId
);

/// Namespace of account ids: the version 5 UUID of `backline:account` in the URL namespace.
const ACCOUNT_IDS: Uuid = Uuid::from_u128(0x25ce_f8bf_da2d_5266_8c5a_5cbb_8ac2_db54);

impl AccountId {
    /// The id of an artist's account on a platform. It is derived from the arguments, so that importing a file again,
    /// or into another database, gives the same ids.
    #[must_use]
    pub fn of(artist: ArtistId, platform: &Platform, platform_id: &str) -> Self {
        let name = format!("{artist}/{platform}/{platform_id}");
        Self(Uuid::new_v5(&ACCOUNT_IDS, name.as_bytes()))
    }
}

impl InstallationId {
    /// The installation of every database whose artists and numbers are simulated: the version 5 UUID of
    /// `backline:simulated` in the URL namespace. So the database itself says it, and a copy of it too.
    pub const SIMULATED: Self = Self(Uuid::from_u128(0xc1c1_5e30_b6fc_52db_a6f1_d0be_5b14_0e5a));

    /// Whether it is that one.
    #[must_use]
    pub fn is_simulated(self) -> bool {
        self == Self::SIMULATED
    }
}

/// Why an identifier is not valid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Not a UUID.
    #[error("'{given}' is not a UUID such as 018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d")]
    Uuid {
        /// The text that was parsed.
        given: String,
    },
    /// Not a valid name of a platform, slot or tenant.
    #[error("'{given}' is not a valid {what}: use 1 to {max} of a-z, 0-9, '-' and '_', starting with a letter")]
    Name {
        /// Kind of name that was expected.
        what: &'static str,
        /// The text that was parsed.
        given: String,
        /// Longest permitted length, in characters.
        max: usize,
    },
    /// Not a SHA-256 digest.
    #[error("'{given}' is not a SHA-256 digest: 64 hexadecimal digits are expected, optionally after 'sha256:'")]
    Digest {
        /// The text that was parsed.
        given: String,
    },
}

/// Whether an operator may give something this name: 1 to `most` of a-z, 0-9, '-' and '_', beginning with a letter or
/// digit. It needs quotes nowhere.
#[must_use]
pub fn is_plain_name(text: &str, most: usize) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= most && text.starts_with(is_plain) && text.chars().all(|c| is_plain(c) || c == '-' || c == '_')
}

/// The text of a name, to be shared by its copies.
fn shared(text: &str) -> Arc<str> {
    text.into()
}

/// Reads what is written as text and parses it, without a text of its own in between.
pub(crate) struct ParsedText<T>(pub(crate) PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for ParsedText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Checks the grammar that platform, connector, slot and metric names share.
pub(crate) fn check_name(what: &'static str, text: &str, max: usize) -> Result<(), IdError> {
    let valid = !text.is_empty()
        && text.len() <= max
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
    if valid { Ok(()) } else { Err(IdError::Name { what, given: text.to_owned(), max }) }
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $shared:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        // A name stands in many places at once, so that a copy shares its text.
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks a name.
            ///
            /// # Errors
            /// If the text is empty, too long, or has a character outside `a-z 0-9 - _`.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                check_name($what, text, $max)?;
                Ok(Self($shared(text)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str($crate::ids::ParsedText(std::marker::PhantomData))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(crate) use name_id;

name_id!(
    /// A platform that numbers come from: `youtube`, `apple_music`, or any other that a connector registers.
    Platform, "platform", 64, shared
);

impl Platform {
    /// The name that stands for one that can't be read, where something has to be said of its row.
    #[must_use]
    pub fn unreadable() -> Self {
        Self("unreadable".into())
    }
}

name_id!(
    /// The operator's customer that an artist belongs to. Workers are shared fairly between tenants.
    Tenant, "tenant", 64, shared
);

impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The first twelve hexadecimal digits, for display.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Each row that is stored names the digest of its release, so it is written at once.
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Digest { given: text.to_owned() };
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0u8; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[index * 2..index * 2 + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::metric::{Absence, MetricName};

    #[test]
    fn names_are_read_and_written_as_their_text_and_copies_share_it() {
        for text in ["followers", "an-extra_metric2"] {
            let name = MetricName::new(text).expect("a name");
            let by_name = BTreeMap::from([(name.clone(), Absence::Rejected("count-negative".to_owned()))]);
            let written = serde_json::to_string(&by_name).expect("JSON");
            assert_eq!(written, format!("{{\"{text}\":\"rejected:count-negative\"}}"));
            let read: BTreeMap<MetricName, Absence> = serde_json::from_str(&written).expect("what was written");
            assert_eq!(read, by_name);
            assert!(read.contains_key(text), "it is found by its text");
            assert_eq!(name.clone().as_str().as_ptr(), name.as_str().as_ptr());
        }
        let column = || MetricName::new("followers").expect("a name");
        assert_eq!(column().as_str().as_ptr(), column().as_str().as_ptr(), "those of columns are made once");
        let why = |json: &str| serde_json::from_str::<Platform>(json).expect_err(json).to_string();
        assert!(why("\"No name\"").starts_with("'No name' is not a "), "{}", why("\"No name\""));
        assert!(why("1").contains("expected a string"), "{}", why("1"));
    }

    #[test]
    fn a_digest_is_written_as_hexadecimal_digits() {
        let digest = Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(serde_json::to_string(&digest).expect("JSON"), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Digest>(&format!("\"sha256:{text}\"")).expect("a digest"), digest);
        assert_eq!(digest.short(), "ba7816bf8f01");
    }
}
