//! What a recording leaves out of a platform's answers: texts of and about people. Numbers, ids, dates and codes stay,
//! since connectors work with them.
//!
//! A text is replaced unless it is known to be harmless, so that a field nobody thought of is left out too. The same
//! text gets the same replacement, so that what is equal stays equal.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use backline_model::manifest::Manifest;
use backline_model::origin::Origin;

/// Longest text that may be an id, a date or a code, in bytes.
const TOKEN_BYTES_MAX: usize = 200;

/// Words in the name of a field whose text is left out even if it looks like an id.
const PERSONAL: [&str; 30] = [
    "name",
    "username",
    "nickname",
    "login",
    "handle",
    "screenname",
    "email",
    "mail",
    "phone",
    "bio",
    "biography",
    "description",
    "caption",
    "title",
    "text",
    "message",
    "comment",
    "about",
    "location",
    "city",
    "address",
    "birthday",
    "birthdate",
    "contact",
    "website",
    "gender",
    "realname",
    "fullname",
    "firstname",
    "lastname",
];

/// Replaces texts in the answers of one recording.
pub(super) struct Scrub<'a> {
    manifest: &'a Manifest,
    /// The platform's id of the account, which stays: requests are made with it.
    account: &'a str,
    /// Replacement by text.
    known: BTreeMap<String, String>,
}

impl<'a> Scrub<'a> {
    pub(super) fn new(manifest: &'a Manifest, account: &'a str) -> Self {
        Self { manifest, account, known: BTreeMap::new() }
    }

    /// An answer's body without personal texts. Of a refusal only texts with an address are replaced: its message says
    /// what a connector has to tell apart.
    pub(super) fn body(&mut self, status: u16, body: Json) -> Json {
        self.value("", body, status >= 400)
    }

    fn value(&mut self, field: &str, value: Json, is_refusal: bool) -> Json {
        match value {
            Json::String(text) => Json::String(self.text(field, text, is_refusal)),
            Json::Array(items) => items.into_iter().map(|item| self.value(field, item, is_refusal)).collect(),
            Json::Object(fields) => {
                let mut kept = Map::new();
                for (name, value) in fields {
                    let value = self.value(&name, value, is_refusal);
                    // A map may have people's names as its keys.
                    let name = if is_token(&name) { name } else { self.replaced(name, "field") };
                    kept.insert(name, value);
                }
                Json::Object(kept)
            }
            other => other,
        }
    }

    fn text(&mut self, field: &str, text: String, is_refusal: bool) -> String {
        if text.starts_with("https://") || text.starts_with("http://") {
            // A connector may follow links to its own hosts. Others lead to pictures and pages of people.
            let origin = text.parse().ok().and_then(|url| Origin::of(&url).ok());
            let own = origin.is_some_and(|origin| self.manifest.hosts.iter().any(|host| host.origin.matches(&origin)));
            return if own { text } else { self.replaced(text, "https://example.invalid/") };
        }
        let stays = if is_refusal {
            !text.contains('@')
        } else {
            text.is_empty() || text == self.account || (is_token(&text) && !is_personal(field))
        };
        // Counts arrive as texts too, whatever their field is called.
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
        if stays || is_number { text } else { self.replaced(text, "text") }
    }

    fn replaced(&mut self, text: String, word: &str) -> String {
        let next = self.known.len() + 1;
        let separator = if word.ends_with('/') { "" } else { " " };
        self.known.entry(text).or_insert_with(|| format!("{word}{separator}{next}")).clone()
    }
}

/// Whether a text has the form of an id, a date or a code.
fn is_token(text: &str) -> bool {
    text.len() <= TOKEN_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=,|#&%$".contains(&byte))
}

/// Whether a field's name says that it holds a text of or about a person: one of its words, or all of them together.
fn is_personal(field: &str) -> bool {
    let mut words = vec![String::new()];
    for c in field.chars() {
        if !c.is_ascii_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let last_is_lower = words.last().and_then(|word| word.chars().last()).is_some_and(|c| c.is_ascii_lowercase());
        if c.is_ascii_uppercase() && last_is_lower {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let words: Vec<String> = words.into_iter().map(|word| word.to_ascii_lowercase()).collect();
    let whole = words.concat();
    // The plural too: `genres` and `ids` stay, `names` do not.
    let is_one = |word: &str| PERSONAL.contains(&word) || PERSONAL.contains(&word.trim_end_matches('s'));
    words.iter().any(|word| is_one(word)) || is_one(&whole)
}

#[cfg(test)]
mod tests {
    use backline_model::fixtures::manifest;
    use serde_json::json;

    use super::*;

    fn scrubbed(status: u16, body: Json) -> Json {
        let manifest = manifest();
        Scrub::new(&manifest, "ada_account").body(status, body)
    }

    #[test]
    fn texts_of_people_go_and_what_connectors_work_with_stays() {
        let body = json!({
            "id": "UC_x5XG1OV2P6uZZ5FSM9Ttw", "followers": 120_345, "count": "3331930783", "user_name": "ada",
            "displayName": "Ada", "names": ["Ada"], "biography": "", "when": "2026-11-28T10:00:00Z", "type": "artist",
            "caption": "tonight!", "unforeseen": "meet me at noon", "unicode": "Ünïcode", "owner": { "login": "ada" },
            "picture": "https://pictures.example.org/ada.jpg", "mail": "ada@example.org", "text": "ada_account",
            "Ada Lovelace": 1,
        });
        let kept = scrubbed(200, body);
        let as_text = kept.to_string();
        for gone in ["\"ada\"", "Ada", "tonight", "meet", "Ünï", "pictures", "@"] {
            assert!(!as_text.contains(gone), "{gone} in {as_text}");
        }
        for (field, value) in [
            ("id", json!("UC_x5XG1OV2P6uZZ5FSM9Ttw")),
            ("followers", json!(120_345)),
            ("count", json!("3331930783")),
            ("when", json!("2026-11-28T10:00:00Z")),
            ("type", json!("artist")),
            ("biography", json!("")),
            ("text", json!("ada_account")),
        ] {
            assert_eq!(kept[field], value, "{field}");
        }
        assert_eq!(kept["displayName"], kept["names"][0], "what is equal stays equal");
        assert_eq!(kept["user_name"], kept["owner"]["login"]);
        assert!(kept["picture"].as_str().is_some_and(|url| url.starts_with("https://example.invalid/")));
    }

    #[test]
    fn a_refusal_keeps_its_message_and_links_to_the_connectors_hosts_stay() {
        let refusal = json!({ "error": { "code": 100, "message": "no such metric: reach" }, "who": "a@b.example" });
        let kept = scrubbed(400, refusal);
        assert_eq!(kept["error"]["message"], "no such metric: reach");
        assert_eq!(kept["who"], "text 1");
        let manifest = manifest();
        let own = manifest.hosts.first().map(|host| format!("{}/next?page=2", host.origin)).expect("a host");
        assert_eq!(scrubbed(200, json!({ "next": own.clone() }))["next"], json!(own));
    }

    #[test]
    fn fields_are_read_word_by_word() {
        for personal in ["name", "display_name", "displayName", "user-names", "fullName", "Title", "screen_name"] {
            assert!(is_personal(personal), "{personal}");
        }
        for other in ["id", "namespace", "followers", "genres", "entitled", "type", "", "statistics"] {
            assert!(!is_personal(other), "{other}");
        }
    }
}
