//! The connectors in `sdk/examples`: each is the author's part of a project, in a language that is not Rust.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use serde_json::{Value as Json, json};

use super::Place;
use super::projects::{builds_and_conforms, toolchains};
use super::trial::{Answer, Platform};

/// Accounts that each example collects.
const ACCOUNTS: usize = 50;

/// An example, and the platform that it collects from.
struct Example {
    name: &'static str,
    language: &'static str,
    origin: &'static str,
    answer: Answer,
    /// The column of a list that has the ids.
    column: &'static str,
    /// The id of an account with this number.
    id: fn(usize) -> String,
    /// A metric whose value is the account's number.
    metric: &'static str,
}

const EXAMPLES: [Example; 2] = [
    Example {
        name: "deezer",
        language: "python",
        origin: "https://api.deezer.com",
        answer: deezer,
        column: "deezer_artist_id",
        id: |number| number.to_string(),
        metric: "followers",
    },
    Example {
        name: "lastfm",
        language: "javascript",
        origin: "https://ws.audioscrobbler.com",
        answer: lastfm,
        column: "lastfm_mbid",
        id: |number| format!("00000000-0000-0000-0000-{number:012}"),
        metric: "listeners",
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

/// Every example with its real toolchain, from the template to the rows of 50 accounts of a platform on this machine;
/// what can't be installed here is skipped by name.
#[test]
fn every_example_builds_conforms_and_collects() {
    let place = Place::empty();
    let folder = tempfile::tempdir().expect("a folder");
    let Some(path) = toolchains(folder.path()) else {
        println!("skipped: all examples; `cargo xtask test --suite cli --long` builds them");
        return;
    };
    for example in &EXAMPLES {
        let project = project(&place, example, folder.path());
        if builds_and_conforms(&project, example.name, example.language, &path) {
            collects(example, &project.join(format!("{}.wasm", example.name)));
        }
    }
}

/// Installs an example in an empty database and collects its accounts.
fn collects(example: &Example, component: &Path) {
    let place = Place::empty();
    let platform = Platform::start(example.answer);
    let config = format!(
        "[database]\nurl = \"sqlite://backline.db\"\n[secrets]\nkey_file = \"backline.key\"\n\
         [[gateway.routes]]\norigin = \"{}\"\nconnect = \"{}\"\n",
        example.origin, platform.base
    );
    place.write("backline.toml", &config);
    place.write("key.txt", "a-key-of-the-test-5f1d2a4b");
    place.done(&["keys", "generate", "--file", "backline.key"]);
    place.done(&["migrate"]);
    place.done(&["plugins", "install", &component.to_string_lossy(), "--yes"]);
    if example.name == "lastfm" {
        place.done(&["credentials", "set", "lastfm", "app", "--file", "key.txt"]);
    }
    let artist = |number: usize| format!("018f4e6a-7c1d-7b3a-9c55-{number:012}");
    let mut lines = vec![format!("id,name,{}", example.column)];
    lines.extend((1..=ACCOUNTS).map(|number| format!("{},Artist {number},{}", artist(number), (example.id)(number))));
    place.write("artists.csv", &lines.join("\n"));
    place.done(&["artists", "import", "artists.csv"]);
    let report: Json = serde_json::from_str(&place.done(&["run", "--json"])).expect("JSON");
    assert_eq!(report["run"]["counts"]["collected"], ACCOUNTS, "{}: {report}", example.name);

    let rows: Json = serde_json::from_str(&place.done(&["metrics", "--json"])).expect("JSON");
    let rows = rows.as_array().expect("rows");
    assert_eq!(rows.len(), ACCOUNTS, "{}", example.name);
    for number in 1..=ACCOUNTS {
        let row = rows.iter().find(|row| row["artist_id"] == artist(number)).expect("a row of each artist");
        assert_eq!(row["values"][example.metric], number, "{}: {row}", example.name);
    }
}
