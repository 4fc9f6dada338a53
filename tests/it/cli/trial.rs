//! `plugins try`: one account through a real component, live, recorded and replayed.

use std::process::Output;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value as Json, json};

use super::Place;
use crate::support::components::{guest, plugin};

/// The secret of the tests, which nothing may print or record.
const CANARY: &str = "canary-5f1d2a4b5c6d";

const YOUTUBE: &str = "https://youtube.googleapis.com";

/// A platform on a loopback port that answers each path from a table, and lists what it was asked.
pub(super) struct Platform {
    pub(super) base: String,
    asked: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

pub(super) type Answer = fn(&str) -> (StatusCode, Json);

impl Platform {
    pub(super) fn start(answer: Answer) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let app =
            Router::new().fallback(async move |State(asked): State<Arc<Mutex<Vec<String>>>>, request: Request| {
                let uri = request.uri().to_string();
                asked.lock().expect("not poisoned").push(uri.clone());
                let (status, body) = answer(&uri);
                (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
            });
        let app = app.with_state(Arc::clone(&asked));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { base, asked, _runtime: runtime }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("not poisoned"))
    }
}

/// What YouTube would answer, with the whole request, key included, and the owner's own words in it.
fn youtube(uri: &str) -> (StatusCode, Json) {
    if uri.starts_with("/youtube/v3/channels") {
        let statistics = json!({ "subscriberCount": "1007", "viewCount": "52000", "videoCount": "0" });
        let item = json!({
            "id": "UC1", "snippet": { "title": "Ada Lovelace", "description": "call me", "echo": uri },
            "statistics": statistics, "contentDetails": { "relatedPlaylists": { "uploads": "UU1" } },
        });
        (StatusCode::OK, json!({ "kind": "youtube#channelListResponse", "items": [item] }))
    } else {
        (StatusCode::OK, json!({ "kind": "youtube#playlistItemListResponse", "items": [] }))
    }
}

fn place(component: &[u8]) -> Place {
    let place = Place::empty();
    std::fs::write(place.path().join("c.wasm"), component).expect("written");
    place.write("key.txt", CANARY);
    place
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_recording_has_no_secret_and_no_personal_text_and_replays_to_the_same_numbers() {
    let platform = Platform::start(youtube);
    let place = place(&plugin("youtube"));
    let route = format!("{YOUTUBE}={}", platform.base);
    let live = place.run(&[
        "plugins",
        "try",
        "c.wasm",
        "--account",
        "UC1",
        "--secret",
        "app=key.txt",
        "--route",
        &route,
        "--record",
        "a",
        "--json",
    ]);
    assert_eq!(live.status.code(), Some(0), "{}", said(&live));
    assert!(platform.asked().iter().all(|uri| uri.contains(CANARY)), "the secret reaches the platform");
    let report: Json = serde_json::from_slice(&live.stdout).expect("JSON");
    assert_eq!(report["check"]["name"], "Ada Lovelace");
    let first = &report["requests"][0];
    assert_eq!((&first["status"], &first["slot"], &first["attempts"]), (&json!(200), &json!("app"), &json!(1)));
    assert_eq!(first["units"]["units"], 1, "the cost of the manifest's budget");
    let metric = |report: &Json, name: &str| {
        let metrics = report["metrics"].as_array().expect("metrics").clone();
        metrics.into_iter().find(|metric| metric["name"] == name).expect("in the catalogue")
    };
    assert_eq!(metric(&report, "followers")["value"], 1007);
    assert!(metric(&report, "engagement_rate")["absent"].is_string(), "missing with its reason");

    let mut recorded = said(&live);
    for entry in std::fs::read_dir(place.path().join("a")).expect("a recording") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("text");
        assert!(!text.contains("Ada") && !text.contains("call me"), "{text}");
        recorded.push_str(&text);
    }
    assert!(!recorded.contains(CANARY), "{recorded}");
    assert!(recorded.contains("1007"));

    drop(platform);
    let replayed = place.run(&["plugins", "try", "c.wasm", "--replay", "a", "--json"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", said(&replayed));
    let again: Json = serde_json::from_slice(&replayed.stdout).expect("JSON");
    for report in [&report, &again] {
        assert_eq!(metric(report, "followers")["value"], 1007);
    }
    assert_eq!((&again["observed_at"], &again["replayed"]), (&report["observed_at"], &json!(true)));
    assert_eq!(again["requests"][0]["attempts"], 0, "nothing is sent");
    assert_eq!(again["metrics"], report["metrics"], "no title of a text is among this account's metrics");
}

#[test]
fn a_request_that_was_not_recorded_fails_with_the_nearest_one() {
    let platform = Platform::start(|_| (StatusCode::OK, json!({ "fans": 7 })));
    let place = place(&guest("synchronous"));
    let route = format!("https://api.example.com={}", platform.base);
    let records = tempfile::tempdir().expect("a folder");
    let record = records.path().join("a").to_string_lossy().into_owned();
    let arguments = ["plugins", "try", "c.wasm", "--account", "a1", "--route", &route, "--record", &record];
    let shown = place.done(&arguments);
    for line in ["check: a1", "Requests (2)", "followers", "fetch Info: a1 answered 200"] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert!(!shown.contains('\u{1b}'), "colours are for terminals");
    assert_eq!(platform.asked().len(), 2);
    std::fs::write(records.path().join("file"), "").expect("written");
    std::os::unix::fs::symlink("nowhere", records.path().join("link")).expect("made");
    for taken in ["a", "file", "file/below", "link", "."] {
        let taken = records.path().join(taken).to_string_lossy().into_owned();
        let again = ["plugins", "try", "c.wasm", "--account", "a1", "--route", &route, "--record", &taken];
        let refused = place.refused(&again);
        assert!(refused.contains("name another folder"), "{taken}: {refused}");
        assert!(platform.asked().is_empty(), "{taken}: the platform was asked for nothing");
    }

    let other = place.run(&["plugins", "try", "c.wasm", "--replay", &record, "--account", "a2"]);
    assert_eq!(other.status.code(), Some(4), "{}", said(&other));
    let expected = "GET https://api.example.com/artists/a2 is not in the recording; the nearest is \
                    GET https://api.example.com/artists/a1";
    assert!(said(&other).contains(expected), "{}", said(&other));
}

/// The same for a channel with videos, whose list takes a request of its own.
fn youtube_with_videos(uri: &str) -> (StatusCode, Json) {
    let (status, mut body) = youtube(uri);
    if let Some(channel) = body["items"].get_mut(0) {
        channel["statistics"]["videoCount"] = json!("3");
    }
    (status, body)
}

#[test]
fn a_trial_that_was_cut_off_says_so() {
    let platform = Platform::start(youtube_with_videos);
    let place = place(&plugin("youtube"));
    let route = format!("{YOUTUBE}={}", platform.base);
    let arguments = ["plugins", "try", "c.wasm", "--account", "UC1", "--secret", "app=key.txt", "--route", &route];
    let with = |more: &[&str]| place.run(&[&arguments[..], more].concat());
    let whole: Json = serde_json::from_slice(&with(&["--json"]).stdout).expect("JSON");
    let sent = whole["requests"].as_array().expect("requests").iter().filter(|one| one["call"] == "fetch").count();
    assert!(sent > 1 && whole["cut"] == 0, "{whole}");

    let enough = with(&["--max-requests", &sent.to_string()]);
    assert!(!said(&enough).contains("cut off"), "{}", said(&enough));
    platform.asked();
    let cut = with(&["--max-requests", "1"]);
    assert_eq!(cut.status.code(), Some(4), "{}", said(&cut));
    assert!(said(&cut).contains("not sent, since the bound was reached"), "{}", said(&cut));
    assert_eq!(platform.asked().len(), 2, "one request of check and one of fetch");
    let none = place.refused(&[&arguments[..], &["--max-requests", "0"]].concat());
    assert!(none.contains("give at least 1"), "{none}");
}

#[test]
fn what_goes_wrong_is_shown_and_the_exit_code_says_so() {
    let platform = Platform::start(|_| (StatusCode::NOT_FOUND, json!({ "error": "no such artist" })));
    let place = place(&guest("synchronous"));
    let route = format!("https://api.example.com={}", platform.base);
    let failed = place.run(&["plugins", "try", "c.wasm", "--account", "a1", "--route", &route]);
    assert_eq!(failed.status.code(), Some(4), "{}", said(&failed));
    assert!(said(&failed).contains("fetch: not_found: the platform has no such account"), "{}", said(&failed));

    let refused = |more: &[&str]| place.refused(&[&["plugins", "try", "c.wasm"], more].concat());
    assert!(refused(&[]).contains("--account"));
    assert!(refused(&["--account", ""]).contains("no account is named"));
    assert!(refused(&["--account", "a", "--secret", "app=key.txt"]).contains("no credential slot 'app'; it has: none"));
    assert!(refused(&["--account", "a", "--secret", CANARY]).contains("SLOT=FILE"));
    assert!(refused(&["--replay", "none"]).contains("recording.json"));
    let wrong = refused(&["--account", "a", "--settings", "[]"]);
    assert!(wrong.contains("the settings are not those that the connector takes"), "{wrong}");
}
