//! Checks that every connector must pass, whatever its platform.
//!
//! A connector's test calls [`check`] with its manifest and a few documents that its own `fetch` produced, and
//! [`check_answers`] with the answers from which it collects a few accounts.

mod answers;
mod documents;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::replay::{Replay, SentRequest, response};
use crate::testing::{account, context};
use crate::{Account, Connector, Document, FetchError, HttpError, Method, Snapshot, Value};

pub use answers::check_answers;

/// Bodies that no platform documents but any platform may send.
const STRANGE_BODIES: [&str; 12] = [
    "",
    " ",
    "null",
    "0",
    "[]",
    "{}",
    "\"text\"",
    "true",
    "{",
    "<html>busy</html>",
    r#"{"error":"text"}"#,
    r#"{"error":{}}"#,
];

/// Values, as JSON, that take the place of any other in damaged documents.
const STRANGE_VALUES: [&str; 11] = [
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "\"text\"",
    "-5",
    "0.5",
    "18446744073709551615",
    "\"99999999999999999999\"",
    "[null, 1, \"x\", {}, []]",
];

/// Maximum number of mutations of one document, which bounds the test time of a large fixture.
const MUTATIONS_MAX: usize = 4_000;

/// Result for one account: its document with the result of `normalize`, or the error of `fetch`.
type FetchedSnapshot = Result<(Document, Result<Snapshot, String>), FetchError>;

/// The parts of a manifest that the checks use.
struct Catalogue {
    kinds: BTreeMap<String, String>,
    slots: BTreeSet<String>,
    origins: Vec<String>,
    batch_size: usize,
}

/// Runs every check: on the manifest, on `normalize`, and on `fetch` and `check` against a failing platform.
///
/// `documents` are valid documents, as returned by `fetch`. The checks replace and lose each of their values in turn,
/// and several at random, which takes less than a second for each.
///
/// # Panics
/// At the first violation, with a message that describes it.
pub fn check<C: Connector>(manifest_toml: &str, documents: &[Document]) {
    assert!(!documents.is_empty(), "pass at least one valid document");
    let catalogue = Catalogue::read(manifest_toml);
    for document in documents {
        let snapshot = C::normalize(document.clone())
            .unwrap_or_else(|error| panic!("normalize refuses a valid document: {error}"));
        check_snapshot(&catalogue, &snapshot);
        check_complete(&catalogue, &snapshot);
        let again = C::normalize(document.clone())
            .unwrap_or_else(|error| panic!("normalize refuses the document at the second call: {error}"));
        assert_eq!(snapshot, again, "the same document must give the same snapshot");
        check_damaged::<C>(&catalogue, document);
        documents::check_losses::<C>(document, &snapshot);
        documents::check_random::<C>(&catalogue, document);
    }
    check_trouble::<C>(&catalogue);
}

impl Catalogue {
    fn read(manifest_toml: &str) -> Self {
        let manifest: Json = toml::from_str(manifest_toml).unwrap_or_else(|error| panic!("connector.toml: {error}"));
        let list = |name: &str| manifest[name].as_array().cloned().unwrap_or_default();
        let word = |json: &Json, what: &str| {
            json[what].as_str().unwrap_or_else(|| panic!("connector.toml: '{what}' is missing in {json}")).to_owned()
        };
        let mut kinds = BTreeMap::new();
        for metric in list("metric") {
            let (name, kind) = (word(&metric, "name"), word(&metric, "kind"));
            if kind == "flow" {
                assert!(metric["window_days"].is_u64(), "connector.toml: the flow {name} needs window_days");
            }
            assert!(kinds.insert(name.clone(), kind).is_none(), "connector.toml: {name} is declared twice");
        }
        for broken in list("break") {
            let metric = word(&broken, "metric");
            assert!(
                kinds.contains_key(&metric),
                "connector.toml: [[break]] names {metric}, which is not in the catalogue"
            );
        }
        Self {
            kinds,
            slots: list("credential").iter().map(|slot| word(slot, "slot")).collect(),
            origins: list("host").iter().map(|host| word(host, "origin")).collect(),
            batch_size: usize::try_from(manifest["connector"]["batch_size"].as_u64().unwrap_or(0)).unwrap_or(0),
        }
    }
}

/// Checks that apply to the snapshot of any document, damaged or not.
fn check_snapshot(catalogue: &Catalogue, snapshot: &Snapshot) {
    let mut seen = BTreeSet::new();
    for metric in &snapshot.metrics {
        let name = metric.name.as_str();
        assert!(seen.insert(name), "{name} is reported twice");
        let kind = catalogue.kinds.get(name).unwrap_or_else(|| panic!("{name} is not in the manifest's catalogue"));
        let fits = match &metric.value {
            Err(_) => true,
            Ok(Value::Integer(_)) => kind != "label",
            Ok(Value::Decimal(decimal)) => matches!(kind.as_str(), "ratio" | "index") && decimal.is_finite(),
            Ok(Value::Text(text)) => kind == "label" && !text.contains('\0'),
            Ok(Value::Texts(texts)) => kind == "label" && texts.iter().all(|text| !text.contains('\0')),
        };
        assert!(fits, "{name} is of kind {kind} and can't be {:?}", metric.value);
    }
}

/// Checks that the snapshot reports the whole catalogue: a metric without a value needs a reason. The host computes the
/// engagement rate.
fn check_complete(catalogue: &Catalogue, snapshot: &Snapshot) {
    for name in catalogue.kinds.keys().filter(|name| *name != "engagement_rate") {
        assert!(
            snapshot.metrics.iter().any(|metric| metric.name == *name),
            "{name} is in the catalogue but not in the snapshot; report it with the reason why it is missing"
        );
    }
}

/// Runs `normalize` on damaged documents. It also meets documents of older releases and of changed platforms: it may
/// refuse one, but it must not panic.
fn check_damaged<C: Connector>(catalogue: &Catalogue, document: &Document) {
    let check_text = |body: String| {
        if let Ok(snapshot) = C::normalize(Document { body, ..document.clone() }) {
            check_snapshot(catalogue, &snapshot);
            check_complete(catalogue, &snapshot);
        }
    };
    STRANGE_BODIES.iter().for_each(|body| check_text((*body).to_owned()));
    let half: String = document.body.chars().take(document.body.chars().count() / 2).collect();
    check_text(half);
    let good = document.json().unwrap_or_else(|error| panic!("{error}"));
    let mut paths = Vec::new();
    walk(&good, &mut String::new(), &mut paths);
    let replacements: Vec<Json> = STRANGE_VALUES.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    assert_eq!(replacements.len(), STRANGE_VALUES.len());
    let mutations = paths.iter().flat_map(|path| replacements.iter().map(move |replacement| (path, replacement)));
    for (path, replacement) in mutations.take(MUTATIONS_MAX) {
        let mut damaged = good.clone();
        *damaged.pointer_mut(path).unwrap_or_else(|| panic!("{path} is in the document")) = replacement.clone();
        check_text(damaged.to_string());
    }
}

/// Collects the JSON pointer of every value in a document.
fn walk(json: &Json, path: &mut String, paths: &mut Vec<String>) {
    paths.push(path.clone());
    let length = path.len();
    let mut step = |key: &str, value: &Json| {
        path.push('/');
        path.push_str(&key.replace('~', "~0").replace('/', "~1"));
        walk(value, path, paths);
        path.truncate(length);
    };
    match json {
        Json::Array(items) => items.iter().enumerate().for_each(|(index, item)| step(&index.to_string(), item)),
        Json::Object(fields) => fields.iter().for_each(|(key, value)| step(key, value)),
        _ => {}
    }
}

/// Responds to all requests of a batch with each host error and each strange response, and checks that every account
/// gets an error of the right class.
fn check_trouble<C: Connector>(catalogue: &Catalogue) {
    assert!((1..=500).contains(&catalogue.batch_size), "connector.toml: batch_size must be between 1 and 500");
    let accounts: Vec<Account> = (0..catalogue.batch_size.min(3))
        .map(|number| account(&format!("account-{number}"), &format!("1000{number}")))
        .collect();
    let host_errors = [
        HttpError::Denied("no host".to_owned()),
        HttpError::CredentialUnavailable("none is stored".to_owned()),
        HttpError::RateLimited(Some(7)),
        HttpError::RateLimited(None),
        HttpError::QuotaExhausted(Some(1_800_000_000)),
        HttpError::QuotaExhausted(None),
        HttpError::TimedOut,
        HttpError::Unreachable("no route".to_owned()),
        HttpError::TooLarge(1),
    ];
    for error in host_errors {
        let replay = Replay::new().always(Err(error.clone()));
        for outcome in run::<C>(catalogue, &replay, &accounts) {
            let got = outcome.expect_err("fetch succeeded although no request got a response");
            let fits = match &error {
                HttpError::Denied(_) => matches!(got, FetchError::Misconfigured(_)),
                HttpError::CredentialUnavailable(_) => {
                    matches!(got, FetchError::Reconnect(_) | FetchError::Misconfigured(_))
                }
                HttpError::RateLimited(wait) => got == FetchError::RateLimited(*wait),
                HttpError::QuotaExhausted(until) => got == FetchError::QuotaExhausted(*until),
                HttpError::TimedOut | HttpError::Unreachable(_) => matches!(got, FetchError::Unavailable(_)),
                HttpError::TooLarge(_) => matches!(got, FetchError::Unexpected(_)),
            };
            assert!(fits, "the host reported {error:?}, but the connector returned {got:?}");
        }
    }
    for status in [200, 204, 400, 401, 403, 404, 418, 429, 500, 502, 503] {
        for body in STRANGE_BODIES {
            let replay = Replay::new().always(Ok(response(status, &[], body)));
            for outcome in run::<C>(catalogue, &replay, &accounts) {
                check_strange(catalogue, status, body, outcome);
            }
        }
    }
}

fn check_strange(catalogue: &Catalogue, status: u16, body: &str, outcome: FetchedSnapshot) {
    match outcome {
        Ok((document, snapshot)) => {
            assert_eq!(status, 200, "HTTP {status} with {body:?} was accepted as {}", document.body);
            let snapshot = snapshot.unwrap_or_else(|error| panic!("normalize refuses what fetch returned: {error}"));
            check_snapshot(catalogue, &snapshot);
            for metric in &snapshot.metrics {
                assert!(metric.value.is_err(), "{} was derived from {body:?}: {:?}", metric.name, metric.value);
            }
        }
        Err(error) => {
            let is_json = serde_json::from_str::<Json>(body).is_ok();
            let fits = match status {
                429 => matches!(error, FetchError::RateLimited(_)),
                500.. => matches!(error, FetchError::Unavailable(_)),
                // An empty 401 is how some APIs refuse a token.
                401 if body.trim().is_empty() => {
                    matches!(error, FetchError::Unauthorized(_) | FetchError::Misconfigured(_))
                }
                // A body that is not JSON is a page of something in front of the API, or was cut off.
                _ if !is_json => matches!(error, FetchError::Unavailable(_)),
                _ => true,
            };
            assert!(fits, "HTTP {status} with {body:?} was classified as {error:?}");
        }
    }
}

/// Runs `check` and `fetch` for the accounts, and checks every request they send.
fn run<C: Connector>(catalogue: &Catalogue, replay: &Replay, accounts: &[Account]) -> Vec<FetchedSnapshot> {
    let context = context(1_790_000_000);
    let window = context.window;
    let checked = replay.check::<C>(accounts[0].clone());
    assert!(checked.is_err(), "check returned {checked:?} although no response was valid");
    let outcomes = replay.fetch::<C>(accounts.to_vec(), context).accounts;
    replay.sent().iter().for_each(|request| check_request(catalogue, accounts, request));
    outcomes
        .into_iter()
        .map(|outcome| {
            outcome.map(|fetched| {
                let document = Document { body: fetched.body, window, observed_at: window.until };
                let snapshot = C::normalize(document.clone());
                (document, snapshot)
            })
        })
        .collect()
}

/// Checks that a request stays within the manifest: its hosts, its credential slots, the accounts of the batch, and no
/// header that only the host may set.
fn check_request(catalogue: &Catalogue, accounts: &[Account], request: &SentRequest) {
    let url = request.url.as_str();
    let rest = url.strip_prefix("https://").unwrap_or_else(|| panic!("{url} does not start with https://"));
    let origin = format!("https://{}", rest.split(['/', '?']).next().unwrap_or_default());
    let is_allowed = catalogue.origins.iter().any(|allowed| match allowed.strip_prefix("https://*.") {
        Some(domain) => origin.ends_with(&format!(".{domain}")),
        None => *allowed == origin,
    });
    assert!(is_allowed, "{url} is outside the manifest's hosts");
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{url} is not percent-encoded");
    for (name, _) in &request.headers {
        let name = name.to_ascii_lowercase();
        assert!(
            !matches!(name.as_str(), "host" | "authorization" | "cookie" | "connection"),
            "the connector sets the header {name}, which only the host may set"
        );
    }
    if let Some(credential) = &request.credential {
        assert!(
            catalogue.slots.contains(&credential.slot),
            "the credential slot {} is not in the manifest",
            credential.slot
        );
        if let Some(owner) = &credential.account {
            assert!(accounts.iter().any(|account| account.id == *owner), "{owner} is not an account of the batch");
        }
    }
    if request.method == Method::Get {
        assert!(request.body.is_none(), "{url}: a GET request has no body");
    }
}
