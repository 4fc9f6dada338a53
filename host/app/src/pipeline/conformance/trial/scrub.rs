//! What a recording leaves out of a platform's answers: texts of and about people. Numbers, ids, dates and codes stay,
//! since connectors work with them.
//!
//! A text is replaced unless it is known to be harmless, so that a field nobody thought of is left out too. The same
//! text gets the same replacement, so that what is equal stays equal. What the connector itself sent stays wherever the
//! platform repeats it: names of columns and metrics, and places in a list that the next page is asked for with. The
//! recorded requests hold it as well.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};
use url::Url;

use backline_gateway::Asked;
use backline_model::manifest::Manifest;
use backline_model::origin::Origin;

/// Longest text that may be an id, a date or a code, in bytes.
const TOKEN_BYTES_MAX: usize = 200;

/// Longest text that may be a date in words, in bytes.
const DATE_BYTES_MAX: usize = 64;

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

/// Whole names of fields that hold a person's name or the id of one: a text with a digit may be an id, which connectors
/// work with, and one without is left out.
const PEOPLE: [&str; 6] = ["artist", "author", "composer", "creator", "owner", "performer"];

/// Those of them whose numbers are personal too.
const PERSONAL_NUMBERS: [&str; 3] = ["phone", "birthday", "birthdate"];

/// Fields beside a `name` that show that it is one of a column or a metric, and not of a person.
const DESCRIBED_BY: [&str; 7] =
    ["columnType", "column_type", "dataType", "data_type", "period", "total_value", "values"];

/// Fields that hold a refusal, whatever the status: some platforms refuse with HTTP 200.
const REFUSALS: [&str; 2] = ["error", "errors"];

/// Words that occur in dates beside numbers.
const DATE_WORDS: &str = "mon tue wed thu fri sat sun monday tuesday wednesday thursday friday saturday sunday \
    jan feb mar apr may jun jul aug sep sept oct nov dec january february march april june july august september \
    october november december am pm utc gmt t z st nd rd th est pst";

/// Replaces texts in the answers of one recording.
pub(super) struct Scrub<'a> {
    manifest: &'a Manifest,
    /// The platform's id of the account, which stays: requests are made with it.
    account: &'a str,
    /// What the requests of the recording hold.
    sent: BTreeSet<String>,
    /// Replacement by text.
    known: BTreeMap<String, String>,
}

impl<'a> Scrub<'a> {
    pub(super) fn new<'r>(
        manifest: &'a Manifest,
        account: &'a str,
        requests: impl IntoIterator<Item = &'r Asked>,
    ) -> Self {
        let mut sent = BTreeSet::new();
        requests.into_iter().for_each(|request| add_sent(&mut sent, request));
        Self { manifest, account, sent, known: BTreeMap::new() }
    }

    /// An answer's body without personal texts. Of a refusal only texts with an address are replaced: its message says
    /// what a connector has to tell apart.
    pub(super) fn body(&mut self, status: u16, body: Json) -> Json {
        self.value("", body, status >= 400)
    }

    fn value(&mut self, field: &str, value: Json, is_refusal: bool) -> Json {
        match value {
            Json::String(text) => Json::String(self.text(field, text, is_refusal)),
            Json::Number(_) if has_word_of(field, &PERSONAL_NUMBERS) => 0.into(),
            Json::Array(items) => items.into_iter().map(|item| self.value(field, item, is_refusal)).collect(),
            Json::Object(fields) => {
                let mut kept = Map::new();
                let is_described = DESCRIBED_BY.iter().any(|beside| fields.contains_key(*beside));
                for (name, value) in fields {
                    let is_refusal = is_refusal || REFUSALS.contains(&name.as_str());
                    let value = match value {
                        // A word of a column's or a metric's name: what is written in several is for people.
                        Json::String(text) if is_described && name == "name" && is_token(&text) => Json::String(text),
                        value => self.value(&name, value, is_refusal),
                    };
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
        let is_harmless = |text: &str| is_token(text) || is_path(text) || is_date(text);
        // Counts arrive as texts too, whatever their field is called.
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
        let is_name = |text: &str| is_person(field) && !text.bytes().any(|byte| byte.is_ascii_digit());
        let stays = text.is_empty()
            || text == self.account
            || self.sent.contains(&text)
            || (is_refusal && !text.contains('@'))
            || (!is_personal(field) && !is_name(&text) && is_harmless(&text))
            || (is_number(&text) && !has_word_of(field, &PERSONAL_NUMBERS));
        if stays { text } else { self.replaced(text, "text") }
    }

    fn replaced(&mut self, text: String, word: &str) -> String {
        let next = self.known.len() + 1;
        let separator = if word.ends_with('/') { "" } else { " " };
        self.known.entry(text).or_insert_with(|| format!("{word}{separator}{next}")).clone()
    }
}

/// Adds what a request holds: the steps of its path, the values of its query, and the texts of its body, each as a
/// whole and by the parts between commas and brackets, since lists and expansions of fields are written so.
fn add_sent(sent: &mut BTreeSet<String>, request: &Asked) {
    let mut add = |text: &str| {
        let parts = text.split(|c: char| c.is_whitespace() || ",;(){}[]".contains(c));
        sent.extend(parts.chain([text]).filter(|part| !part.is_empty()).map(str::to_owned));
    };
    if let Ok(url) = Url::parse(&request.url) {
        url.path_segments().into_iter().flatten().for_each(&mut add);
        url.query_pairs().for_each(|(_, value)| add(&value));
    }
    let Some(body) = &request.body else { return };
    match serde_json::from_slice::<Json>(body) {
        Ok(body) => add_texts(&body, &mut add),
        Err(_) => url::form_urlencoded::parse(body).for_each(|(_, value)| add(&value)),
    }
}

fn add_texts(value: &Json, add: &mut impl FnMut(&str)) {
    match value {
        Json::String(text) => add(text),
        Json::Array(items) => items.iter().for_each(|item| add_texts(item, add)),
        Json::Object(fields) => fields.values().for_each(|value| add_texts(value, add)),
        _ => {}
    }
}

/// Whether a text is a path on the platform's own host, with or without a query, as links to the next page are.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && is_token(&text.replacen('?', "/", 1))
}

/// Whether a text is a moment or a day, in one of the many ways to write it: digits, and words of dates.
fn is_date(text: &str) -> bool {
    let is_part = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit())
            || DATE_WORDS.split(' ').any(|word| word.eq_ignore_ascii_case(part))
    };
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric());
    text.len() <= DATE_BYTES_MAX
        && text.bytes().filter(u8::is_ascii_digit).count() >= 4
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" ,.:/+-()".contains(&byte))
        && parts.filter(|part| !part.is_empty()).all(is_part)
}

/// Whether a text has the form of an id, a date or a code.
fn is_token(text: &str) -> bool {
    text.len() <= TOKEN_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=,|#&%$".contains(&byte))
}

/// Whether a field's name says that it holds a text of or about a person.
fn is_personal(field: &str) -> bool {
    has_word_of(field, &PERSONAL)
}

/// Whether a field is called by what people are to a work, alone or as a list.
fn is_person(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    PEOPLE.contains(&field.as_str()) || field.strip_suffix('s').is_some_and(|one| PEOPLE.contains(&one))
}

/// Whether one of a field's words, or all of them together, are among some.
fn has_word_of(field: &str, among: &[&str]) -> bool {
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
    let is_one = |word: &str| among.contains(&word) || among.contains(&word.trim_end_matches('s'));
    words.iter().any(|word| is_one(word)) || is_one(&whole)
}

#[cfg(test)]
mod tests {
    use backline_model::fixtures::manifest;
    use backline_model::manifest::Method;
    use serde_json::json;

    use super::*;

    fn scrubbed(status: u16, body: Json) -> Json {
        let manifest = manifest();
        Scrub::new(&manifest, "ada_account", []).body(status, body)
    }

    /// An answer's body to a request for an address, with or without a body.
    fn scrubbed_after(url: &str, sent: Option<&str>, body: Json) -> Json {
        let manifest = manifest();
        let body_sent = sent.map(|sent| sent.as_bytes().to_vec());
        let request =
            Asked { method: Method::Get, url: url.to_owned(), headers: Vec::new(), body: body_sent, credential: None };
        Scrub::new(&manifest, "ada_account", [&request]).body(200, body)
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
    fn names_of_artists_go_and_their_ids_stay() {
        let kept = scrubbed(
            200,
            json!({
                "artist": "Adele", "Authors": ["Zadie", "b7c1"], "owner": "17841405793187218", "creator": "ada_account",
                "type": "artist",
            }),
        );
        let as_text = kept.to_string();
        assert!(!as_text.contains("Adele") && !as_text.contains("Zadie"), "{as_text}");
        assert_eq!(kept["Authors"][1], "b7c1");
        assert_eq!((&kept["owner"], &kept["creator"]), (&json!("17841405793187218"), &json!("ada_account")));
        assert_eq!(kept["type"], "artist");
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
    fn names_of_columns_and_metrics_stay_and_those_of_people_go() {
        let table = json!({
            "kind": "youtubeAnalytics#resultTable",
            "columnHeaders": [
                { "name": "day", "columnType": "DIMENSION", "dataType": "STRING" },
                { "name": "views", "columnType": "METRIC", "dataType": "INTEGER" },
            ],
            "rows": [["2026-11-19", 7]],
        });
        assert_eq!(scrubbed(200, table.clone()), table);
        let insights = json!({ "data": [
            { "name": "reach", "period": "day", "title": "Cuentas alcanzadas", "total_value": { "value": 5 } },
            { "name": "Ada Lovelace", "values": [] },
        ] });
        let kept = scrubbed(200, insights);
        assert_eq!((&kept["data"][0]["name"], &kept["data"][0]["period"]), (&json!("reach"), &json!("day")));
        assert_eq!((&kept["data"][0]["title"], &kept["data"][1]["name"]), (&json!("text 1"), &json!("text 2")));
    }

    #[test]
    fn what_the_connector_sent_stays_wherever_the_platform_repeats_it() {
        let long = "A".repeat(TOKEN_BYTES_MAX + 1);
        let url = format!(
            "https://api.test/v2/blue/reports?metrics=likes,shares&after={long}&fields=found.username(ada_l)%7Bmedia.\
             after(Q~1!)%7D"
        );
        let repeats = json!({
            "columns": [{ "name": "likes" }, { "name": "shares" }, { "name": "Ada" }],
            "cursors": { "after": long, "before": "Q~1!" },
            "username": "ada_l",
            "title": "reports",
            "label": "likes, shares",
        });
        let kept = scrubbed_after(&url, None, repeats);
        for (pointer, expected) in [
            ("/columns/0/name", "likes"),
            ("/columns/1/name", "shares"),
            ("/columns/2/name", "text 1"),
            ("/cursors/after", long.as_str()),
            ("/cursors/before", "Q~1!"),
            ("/username", "ada_l"),
            ("/title", "reports"),
            ("/label", "text 2"),
        ] {
            assert_eq!(kept.pointer(pointer), Some(&json!(expected)), "{pointer}");
        }
        let answer = json!({ "name": "Q*9", "title": "b c" });
        for sent in [r#"{ "search": { "id": ["Q*9", "b c"] } }"#, "id=Q*9&x=b+c"] {
            assert_eq!(scrubbed_after("https://api.test/", Some(sent), answer.clone()), answer, "{sent}");
        }
        assert_ne!(scrubbed(200, answer.clone()), answer);
    }

    #[test]
    fn links_dates_and_refusals_stay_in_every_form() {
        let kept = json!({
            "next": "/v1/catalog/us/artists/178834/albums?offset=25&limit=100",
            "created_at": "Wed Oct 10 20:19:24 +0000 2018",
            "reset_time": "2015/06/01 09:49:40 +0000",
            "modified": "Fri, 28 Nov 2026 10:00:00 GMT",
            "published": "May 3, 2026",
            "name": "12",
            "error": { "code": "ok", "message": "" },
        });
        assert_eq!(scrubbed(200, kept.clone()), kept);
        let refusal = json!({ "error": { "type": "Exception", "message": "Quota limit exceeded", "code": 4 } });
        assert_eq!(scrubbed(200, refusal.clone()), refusal);
        let replaced = json!({
            "a": "really? yes", "b": "may", "c": "March on", "d": "meet in May 2026", "e": "/why not?",
            "phone": "491701", "birthday": "1990-05-02", "phone_number": 491_701, "error": "ada@example.org",
        });
        let Json::Object(fields) = scrubbed(200, replaced.clone()) else { panic!("an object") };
        for (name, value) in fields.iter().filter(|(name, _)| *name != "b") {
            assert_ne!(*value, replaced[name], "{name}");
        }
        assert_eq!(fields["b"], "may", "one word is a code");
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
