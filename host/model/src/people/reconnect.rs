//! Where an artist connects an account again: a link that an operator configures as a template.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::ids::{AccountId, ArtistId, Platform};

/// Longest template, in characters.
const CHARACTERS_MAX: usize = 300;

/// What a template may name.
const PLACEHOLDERS: [&str; 3] = ["artist", "account", "platform"];

/// Why a text is not a template of a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconnectUrlError {
    /// It has characters that an address has not, or too many.
    #[error("it is not an address of at most {CHARACTERS_MAX} printable ASCII characters")]
    Text,
    /// It can't be parsed, or names a user.
    #[error("it is not an address; write one such as https://example.com/connect?artist={{artist}}")]
    Address,
    /// Others on the way could read and change it.
    #[error("it is not https; http is for this machine alone, such as http://localhost")]
    Scheme,
    /// A brace that belongs to no placeholder.
    #[error("a brace stands outside of the placeholders {{artist}}, {{account}} and {{platform}}")]
    Placeholder,
    /// A placeholder decides which machine is asked.
    #[error("a placeholder stands before the path; it may stand in path, query and fragment")]
    Place,
}

/// A template of the link by which an artist connects an account again. `{artist}`, `{account}` and `{platform}` stand
/// for the ids of artist and account, and for the platform's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReconnectUrl(String);

impl ReconnectUrl {
    /// The link of an account. What is put in is percent-encoded, whatever it is.
    #[must_use]
    pub fn of(&self, artist: ArtistId, account: AccountId, platform: &Platform) -> String {
        let values = [artist.to_string(), account.to_string(), platform.to_string()];
        // One pass: what was put in is not looked at again.
        let (mut link, mut rest) = (String::new(), self.0.as_str());
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            let value = PLACEHOLDERS.iter().zip(&values).find_map(|(known, value)| (*known == name).then_some(value));
            link.push_str(before);
            link.push_str(&encoded(value.map_or("", String::as_str)));
            rest = after;
        }
        link + rest
    }
}

/// A text as it may stand in a part of an address: letters, digits, `-` and `_` stay.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

impl TryFrom<String> for ReconnectUrl {
    type Error = ReconnectUrlError;

    fn try_from(text: String) -> Result<Self, ReconnectUrlError> {
        if text.len() > CHARACTERS_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ReconnectUrlError::Text);
        }
        let with = |value: &str| {
            PLACEHOLDERS.iter().fold(text.clone(), |plain, name| plain.replace(&format!("{{{name}}}"), value))
        };
        let plain = with("x");
        if plain.contains(['{', '}']) {
            return Err(ReconnectUrlError::Placeholder);
        }
        let (_, behind) = text.split_once("://").ok_or(ReconnectUrlError::Address)?;
        let machine = behind.split(['/', '\\', '?', '#']).next().unwrap_or_default();
        if machine.contains('{') || text.find('{') < text.find("://") && text.contains('{') {
            return Err(ReconnectUrlError::Place);
        }
        let url = Url::parse(&plain).map_err(|_| ReconnectUrlError::Address)?;
        // Of `https:///a`, `a` is a machine too: what counts is what a reader of addresses makes of it.
        let other = Url::parse(&with("y")).map_err(|_| ReconnectUrlError::Address)?;
        if (other.host_str(), other.port()) != (url.host_str(), url.port()) {
            return Err(ReconnectUrlError::Place);
        }
        let is_plain = url.username().is_empty() && url.password().is_none();
        let host = url.host().filter(|_| is_plain).ok_or(ReconnectUrlError::Address)?;
        let is_here = match host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        match url.scheme() {
            "https" => Ok(Self(text)),
            "http" if is_here => Ok(Self(text)),
            _ => Err(ReconnectUrlError::Scheme),
        }
    }
}

impl From<ReconnectUrl> for String {
    fn from(url: ReconnectUrl) -> Self {
        url.0
    }
}

impl fmt::Display for ReconnectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn read(text: &str) -> Result<ReconnectUrl, ReconnectUrlError> {
        ReconnectUrl::try_from(text.to_owned())
    }

    #[test]
    fn a_link_names_what_is_to_be_connected() {
        let (artist, account) = (ArtistId(Uuid::from_u128(1)), AccountId(Uuid::from_u128(2)));
        let platform = Platform::new("youtube").expect("a name");
        let template = read("https://app.example.com/a/{artist}?p={platform}&a={account}#{platform}").expect("one");
        assert_eq!(
            template.of(artist, account, &platform),
            format!("https://app.example.com/a/{artist}?p=youtube&a={account}#youtube")
        );
        let without = read("https://app.example.com/connect").expect("one");
        assert_eq!(without.of(artist, account, &platform), "https://app.example.com/connect");
    }

    #[test]
    fn what_is_put_in_acts_on_nothing() {
        assert_eq!(encoded("a-b_9"), "a-b_9");
        assert_eq!(encoded("../?#&=%{é\"<"), "%2E%2E%2F%3F%23%26%3D%25%7B%C3%A9%22%3C");
    }

    #[test]
    fn only_an_address_that_nobody_on_the_way_can_change_is_taken() {
        for good in ["http://localhost:3000/{artist}", "http://127.0.0.1/", "http://[::1]/x", "https://a.example"] {
            read(good).expect(good);
        }
        for (wrong, why) in [
            ("http://app.example.com/{artist}", ReconnectUrlError::Scheme),
            ("javascript://x/%0aalert(1)", ReconnectUrlError::Scheme),
            ("https:app.example.com", ReconnectUrlError::Address),
            ("app.example.com/{artist}", ReconnectUrlError::Address),
            ("https://user:secret@app.example.com/", ReconnectUrlError::Address),
            ("https://{artist}.example.com/", ReconnectUrlError::Place),
            ("https://app.example.com:{account}/", ReconnectUrlError::Place),
            ("{platform}://app.example.com/", ReconnectUrlError::Place),
            ("https:///{artist}.example.com/", ReconnectUrlError::Place),
            ("https://\\{artist}.example.com/", ReconnectUrlError::Place),
            ("https://app.example.com/{secret}", ReconnectUrlError::Placeholder),
            ("https://app.example.com/{artist", ReconnectUrlError::Placeholder),
            ("https://app.example.com/{{artist}}", ReconnectUrlError::Placeholder),
            ("https://app.example.com/a b", ReconnectUrlError::Text),
            ("https://app.example.com/\n", ReconnectUrlError::Text),
            ("", ReconnectUrlError::Address),
        ] {
            assert_eq!(read(wrong), Err(why), "{wrong}");
        }
        read(&format!("https://app.example.com/{}", "a".repeat(CHARACTERS_MAX))).expect_err("too long");
    }
}
