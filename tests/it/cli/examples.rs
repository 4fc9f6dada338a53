//! The connectors in `sdk/examples`: each is the author's part of a project, in a language that is not Rust.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use serde_json::{Value as Json, json};

use super::Place;
use super::projects::{builds_and_conforms, toolchains};
use super::trial::{Answer, Platform};

/// An example, and the platform that it is tried with.
struct Example {
    name: &'static str,
    language: &'static str,
    origin: &'static str,
    answer: Answer,
    /// Accounts, each with a metric and the value that the platform tells.
    accounts: [(&'static str, &'static str, i64); 2],
}

const EXAMPLES: [Example; 2] = [
    Example {
        name: "deezer",
        language: "python",
        origin: "https://api.deezer.com",
        answer: deezer,
        accounts: [("2701", "followers", 2701), ("2702", "catalogue_size", 250)],
    },
    Example {
        name: "lastfm",
        language: "javascript",
        origin: "https://ws.audioscrobbler.com",
        answer: lastfm,
        accounts: [
            ("00000000-0000-0000-0000-000000002701", "listeners", 2701),
            ("00000000-0000-0000-0000-000000002702", "plays", 9_007_199_254_740_993),
        ],
    },
];

/// Artists with as many fans as their id says, and 250 releases each: three pages of 100, of which the last is short.
fn deezer(uri: &str) -> (StatusCode, Json) {
    let id: i64 = uri.split(['/', '?']).nth(2).and_then(|id| id.parse().ok()).unwrap_or_default();
    let Some((_, index)) = uri.split_once("/albums?limit=100&index=") else {
        return (StatusCode::OK, json!({ "id": id, "name": "Ada", "nb_fan": id, "nb_album": 250 }));
    };
    let index: usize = index.parse().unwrap_or_default();
    let release = |number: usize| json!({ "id": number, "title": "Waves", "release_date": "2001-02-03" });
    let data: Vec<Json> = (index..250).take(100).map(release).collect();
    (StatusCode::OK, json!({ "data": data, "total": 250 }))
}

/// Artists with as many listeners as the end of their id says.
fn lastfm(uri: &str) -> (StatusCode, Json) {
    let mbid = uri.split('&').find_map(|part| part.strip_prefix("mbid=")).unwrap_or_default();
    if uri.contains("gettoptracks") {
        return (StatusCode::OK, json!({ "toptracks": { "track": { "name": "Waves" } } }));
    }
    let listeners = mbid.rsplit('-').next().unwrap_or_default().trim_start_matches('0');
    let stats = json!({ "listeners": listeners, "playcount": "9007199254740993" });
    (StatusCode::OK, json!({ "artist": { "name": "Ada", "mbid": mbid, "stats": stats, "tags": { "tag": [] } } }))
}

fn folder_of(example: &Example) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/examples").join(example.name)
}

/// Makes the project of an example as its README says: from the template, with the example's files over it.
fn project(place: &Place, example: &Example, into: &Path) -> PathBuf {
    let folder = into.to_string_lossy().into_owned();
    place.done(&["plugins", "new", example.name, "--lang", example.language, "--folder", &folder]);
    let project = into.join(example.name);
    std::fs::remove_dir_all(project.join("answers")).expect("removed");
    copy(&folder_of(example), &project);
    project
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

#[test]
fn an_example_fits_its_template_and_its_recordings_fit_its_manifest() {
    let place = Place::empty();
    let folder = tempfile::tempdir().expect("a folder");
    for example in &EXAMPLES {
        let project = project(&place, example, folder.path());
        let manifest = project.join("connector.toml").to_string_lossy().into_owned();
        let said = place.done(&["plugins", "check", &manifest]);
        assert!(said.contains(&format!("{0} 0.1.0 for {0} is valid", example.name)), "{said}");
        let readme = std::fs::read_to_string(project.join("README.md")).expect("a README");
        assert!(readme.contains(&format!("backline plugins new {} --lang {}", example.name, example.language)));

        let mut accounts = BTreeSet::new();
        for entry in std::fs::read_dir(project.join("answers")).expect("recordings") {
            let recording = entry.expect("an entry").path();
            for file in std::fs::read_dir(&recording).expect("a recording") {
                let file = file.expect("an entry").path();
                let text = std::fs::read_to_string(&file).expect("text");
                let recorded: Json = serde_json::from_str(&text).expect("JSON");
                if file.ends_with("recording.json") {
                    assert_eq!(recorded["connector"], format!("{} 0.1.0", example.name), "{}", file.display());
                    accounts.insert(recorded["account"].to_string());
                } else {
                    let url = recorded["request"]["url"].as_str().expect("a URL");
                    assert!(url.starts_with(&format!("{}/", example.origin)), "{}: {url}", file.display());
                }
            }
        }
        assert_eq!(accounts.len(), 3, "{}", example.name);
    }
}

/// Every example with its real toolchain, from the template to the numbers of a platform on this machine; what can't be
/// installed here is skipped by name.
#[test]
fn every_example_builds_conforms_and_collects() {
    let place = Place::empty();
    let folder = tempfile::tempdir().expect("a folder");
    let Some(path) = toolchains(folder.path()) else {
        println!("skipped: all examples; `cargo xtask test --suite cli --long` builds them");
        return;
    };
    place.write("key.txt", "a-key-of-the-test-5f1d2a4b");
    for example in &EXAMPLES {
        let project = project(&place, example, folder.path());
        if !builds_and_conforms(&project, example.name, example.language, &path) {
            continue;
        }
        let platform = Platform::start(example.answer);
        let component = project.join(format!("{}.wasm", example.name)).to_string_lossy().into_owned();
        let route = format!("{}={}", example.origin, platform.base);
        for (account, metric, value) in example.accounts {
            let mut arguments = vec!["plugins", "try", &component, "--account", account, "--route", &route, "--json"];
            if example.name == "lastfm" {
                arguments.extend(["--secret", "app=key.txt"]);
            }
            let report: Json = serde_json::from_str(&place.done(&arguments)).expect("JSON");
            let metrics = report["metrics"].as_array().expect("metrics");
            let found = metrics.iter().find(|found| found["name"] == metric).expect("in the catalogue");
            assert_eq!(found["value"], value, "{}: {account}", example.name);
            assert_eq!(report["check"]["name"], "Ada", "{}", example.name);
        }
    }
}
