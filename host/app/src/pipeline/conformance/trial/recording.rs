//! Recordings: a folder with the answers of one trial, from which it runs again without the network.
//!
//! `recording.json` says what was tried and when; each other file holds one request and its answer, and can be edited
//! by hand. Neither holds a secret: requests are recorded before one is injected, answers after they were redacted.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tempfile::{Builder, TempDir};

use super::TrialError;
use super::scrub::Scrub;
use backline_gateway::{Asked, Exchange, GatewayConfig, Response, SendError};
use backline_model::Window;
use backline_model::manifest::Manifest;

/// The file that says what was tried.
const ABOUT: &str = "recording.json";

/// Version of the format.
const FORMAT: u32 = 1;

/// Most requests of one recording that is read.
const REQUESTS_MAX: usize = 10_000;

/// Longest file that is read, in bytes: an answer that the gateway accepts by default, with its request.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Mode that a recording's folder is created with; the system takes the umask's bits away. It is made to be published.
const FOLDER_MODE: u32 = 0o777;

/// Longest part of a file's name that comes from the URL, in bytes.
const SLUG_BYTES_MAX: usize = 60;

/// What a body that is not JSON is recorded as: it is a page for people, and connectors have to refuse any.
const NOT_JSON: &str = "<what is not JSON is not recorded>";

/// Headers of answers that connectors work with.
const HEADERS: [&str; 6] = ["content-type", "etag", "link", "location", "retry-after", "x-app-usage"];

/// Beginnings of names of headers that tell how much of an allowance is left.
const HEADER_PREFIXES: [&str; 3] = ["x-ratelimit", "x-rate-limit", "ratelimit"];

/// What was tried.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pipeline::conformance) struct About {
    /// Version of the format.
    pub format: u32,
    /// Name and version of the connector that asked.
    pub connector: String,
    /// The platform's id of the account.
    pub account: String,
    /// The account's settings.
    pub settings: Json,
    /// When it was tried.
    pub observed_at: DateTime<Utc>,
    /// Window that it was asked for.
    pub window: Window,
}

impl About {
    pub(super) fn new(manifest: &Manifest, account: &str, settings: &Json, now: DateTime<Utc>, window: Window) -> Self {
        let connector = format!("{} {}", manifest.connector.name, manifest.connector.version);
        let (account, settings) = (account.to_owned(), settings.clone());
        Self { format: FORMAT, connector, account, settings, observed_at: now, window }
    }
}

/// A request and its answer, as a file holds them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordedExchange {
    pub(super) request: RecordedRequest,
    answer: RecordedAnswer,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordedRequest {
    method: String,
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// The credential that it named. Older recordings do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) credential: Option<RecordedCredential>,
}

/// Which credential a request named; never its secret.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordedCredential {
    /// Slot of the manifest.
    pub(super) slot: String,
    /// The platform's id of the account whose own secret it is; none for the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RecordedAnswer {
    /// The status; 200 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// The body, if it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<Json>,
    /// The body, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Why there was no answer, in place of all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<RecordedError>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum RecordedError {
    TimedOut,
    Unreachable,
    TooLarge,
}

impl RecordedRequest {
    /// What is recorded of a request. `platform_id` gives the platform's id of an account that the host's id names.
    pub(super) fn of(asked: &Asked, platform_id: impl Fn(&str) -> String) -> Self {
        let body = asked.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
        let credential = asked.credential.as_ref().map(|credential| RecordedCredential {
            slot: credential.slot.clone(),
            account: credential.account.as_deref().map(platform_id),
        });
        Self { method: asked.method.as_str().to_owned(), url: asked.url.clone(), body, credential }
    }

    /// The same with whatever credential.
    pub(super) fn with_any_credential(&self) -> Self {
        Self { credential: None, ..self.clone() }
    }

    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.method, self.url)
    }
}

impl RecordedExchange {
    /// What is recorded of a request; none for one that the host refused, since it refuses it again.
    fn of(exchange: &Exchange, account: &str, scrub: &mut Scrub<'_>) -> Option<Self> {
        let answer = match exchange.answer.as_ref()? {
            Ok(response) => RecordedAnswer::of(response, scrub),
            Err(SendError::TimedOut) => RecordedAnswer::failed(RecordedError::TimedOut),
            Err(SendError::Unreachable(_)) => RecordedAnswer::failed(RecordedError::Unreachable),
            Err(SendError::TooLarge(_)) => RecordedAnswer::failed(RecordedError::TooLarge),
            Err(_) => return None,
        };
        // A trial has one account, and the host refuses the credential of another.
        Some(Self { request: RecordedRequest::of(&exchange.asked, |_| account.to_owned()), answer })
    }

    pub(super) fn replayed(&self) -> Result<Response, SendError> {
        let RecordedAnswer { status, headers, json, text, error } = &self.answer;
        match error {
            Some(RecordedError::TimedOut) => return Err(SendError::TimedOut),
            Some(RecordedError::Unreachable) => return Err(SendError::Unreachable("as it was recorded".to_owned())),
            Some(RecordedError::TooLarge) => return Err(SendError::TooLarge(GatewayConfig::default().body_bytes_max)),
            None => {}
        }
        let body = json.as_ref().map_or_else(|| text.clone().unwrap_or_default(), Json::to_string);
        Ok(Response {
            status: status.unwrap_or(200),
            headers: headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            body: body.into_bytes(),
        })
    }
}

impl RecordedAnswer {
    fn of(response: &Response, scrub: &mut Scrub<'_>) -> Self {
        let kept =
            |name: &str| HEADERS.contains(&name) || HEADER_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let (mut json, mut text) = (None, None);
        match serde_json::from_slice::<Json>(&response.body) {
            // In a file, `null` is the same as no body.
            Ok(Json::Null) => text = Some("null".to_owned()),
            Ok(body) => json = Some(scrub.body(response.status, body)),
            Err(_) if response.body.is_empty() => {}
            Err(_) => text = Some(NOT_JSON.to_owned()),
        }
        let headers = response.headers.iter().filter(|(name, _)| kept(name)).cloned().collect();
        Self { status: Some(response.status), headers, json, text, error: None }
    }

    fn failed(error: RecordedError) -> Self {
        Self { status: None, headers: BTreeMap::new(), json: None, text: None, error: Some(error) }
    }
}

/// A recording that gets its name when it is complete. Dropped before that, nothing of it stays.
#[derive(Debug)]
pub(super) struct NewRecording {
    folder: PathBuf,
    unfinished: TempDir,
}

impl NewRecording {
    /// Prepares to write to a folder that does not exist or is empty. Call it before anything is sent, so that a wrong
    /// name is refused at once.
    pub(super) fn create(folder: &Path) -> Result<Self, TrialError> {
        // Without a slash at the end, which would follow a link.
        let folder: PathBuf = folder.components().collect();
        let prepared = can_be_made(&folder).and_then(|()| {
            // What is above it is made when there is something to put there.
            let above = folder.ancestors().skip(1).find(|above| std::fs::symlink_metadata(above).is_ok());
            let shared = Permissions::from_mode(FOLDER_MODE);
            Builder::new().permissions(shared).tempdir_in(above.unwrap_or(Path::new(".")))
        });
        match prepared {
            Ok(unfinished) => Ok(Self { folder, unfinished }),
            Err(source) if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Err(TrialError::Write { folder, source })
            }
            Err(source) => Err(TrialError::Folder { folder, source }),
        }
    }

    /// Writes the recording, complete or not at all.
    pub(super) fn finish(self, about: &About, exchanges: &[Exchange], manifest: &Manifest) -> Result<(), TrialError> {
        let Self { folder, unfinished } = self;
        let written = write_all(unfinished.path(), about, exchanges, manifest).and_then(|()| {
            folder.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            // Fails if something was put there meanwhile.
            std::fs::rename(unfinished.path(), &folder)
        });
        written.map_err(|source| TrialError::Write { folder, source })
    }
}

/// Finds out whether a rename would put a folder there: over nothing, or over an empty folder that is no link.
fn can_be_made(folder: &Path) -> std::io::Result<()> {
    if folder.file_name().is_none() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "it has no name of its own"));
    }
    match std::fs::symlink_metadata(folder) {
        Ok(found) if found.is_symlink() => Err(std::io::Error::new(ErrorKind::AlreadyExists, "it is a symbolic link")),
        // Fails if it is not a folder.
        Ok(_) if std::fs::read_dir(folder)?.next().is_some() => Err(ErrorKind::DirectoryNotEmpty.into()),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_all(folder: &Path, about: &About, exchanges: &[Exchange], manifest: &Manifest) -> std::io::Result<()> {
    write(&folder.join(ABOUT), about)?;
    let mut scrub = Scrub::new(manifest, &about.account, exchanges.iter().map(|exchange| &exchange.asked));
    for (index, exchange) in exchanges.iter().enumerate() {
        if let Some(recorded) = RecordedExchange::of(exchange, &about.account, &mut scrub) {
            write(&folder.join(format!("{:03}-{}.json", index + 1, slug(&recorded.request))), &recorded)?;
        }
    }
    Ok(())
}

fn write(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What a request is about, for a file's name.
fn slug(request: &RecordedRequest) -> String {
    let path = request.url.split_once("://").map_or(request.url.as_str(), |(_, rest)| rest);
    let path = path.split_once('/').map_or(path, |(_, path)| path);
    let mut slug = request.method.to_ascii_lowercase();
    for c in path.chars() {
        if slug.len() >= SLUG_BYTES_MAX {
            break;
        }
        if c.is_ascii_alphanumeric() {
            if slug == request.method.to_ascii_lowercase() {
                slug.push('-');
            }
            slug.push(c.to_ascii_lowercase());
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// A recording that was read.
#[derive(Clone, Debug)]
pub(in crate::pipeline::conformance) struct Recording {
    /// What was tried.
    pub about: About,
    /// Requests and answers, in the order of their files' names.
    pub(super) recorded: Vec<RecordedExchange>,
}

impl Recording {
    /// Reads a recording.
    pub(in crate::pipeline::conformance) fn load(folder: &Path) -> Result<Self, TrialError> {
        let about: About = read(&folder.join(ABOUT))?;
        if about.format != FORMAT {
            let problem = format!("it has format {}, and this version reads {FORMAT}; record it again", about.format);
            return Err(TrialError::Recording { path: folder.join(ABOUT), problem });
        }
        let unreadable = |source: std::io::Error| TrialError::Unreadable { path: folder.to_owned(), source };
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let is_answer = path.extension().is_some_and(|extension| extension == "json")
                && path.file_name().is_some_and(|name| name != ABOUT);
            if is_answer {
                files.push(path);
            }
        }
        if files.len() > REQUESTS_MAX {
            let problem = format!("it has {} requests, more than {REQUESTS_MAX}", files.len());
            return Err(TrialError::Recording { path: folder.to_owned(), problem });
        }
        files.sort();
        let recorded = files.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
        Ok(Self { about, recorded })
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, TrialError> {
    let unreadable = |source: std::io::Error| TrialError::Unreadable { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        let problem = format!("it has {size} bytes, more than {FILE_BYTES_MAX}");
        return Err(TrialError::Recording { path: path.to_owned(), problem });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    serde_json::from_str(&text).map_err(|source| TrialError::Form { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use backline_gateway::{Answers as _, CredentialRef};
    use backline_model::fixtures::manifest;
    use backline_model::manifest::Method;

    use super::*;
    use crate::pipeline::conformance::trial::replay::Replay;
    use crate::pipeline::error::{Classified as _, ErrorClass, with_causes};

    fn asked(url: &str) -> Asked {
        Asked { method: Method::Get, url: url.to_owned(), headers: Vec::new(), body: None, credential: None }
    }

    fn exchange(url: &str, answer: Result<(u16, &str), SendError>) -> Exchange {
        let response = |(status, body): (u16, &str)| Response {
            status,
            headers: vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("x-trace".to_owned(), "ada".to_owned()),
            ],
            body: body.as_bytes().to_vec(),
        };
        let answer = Some(answer.map(response));
        Exchange { asked: asked(url), units: BTreeMap::new(), attempts: 1, wall_ms: 5, answer }
    }

    fn recorded(exchanges: &[Exchange]) -> (tempfile::TempDir, PathBuf) {
        let manifest = manifest();
        let folder = tempfile::tempdir().expect("a folder");
        let now = DateTime::UNIX_EPOCH;
        let about = About::new(&manifest, "a1", &serde_json::json!({}), now, Window { since: now, until: now });
        let path = folder.path().join("answers").join("a1");
        NewRecording::create(&path).expect("free").finish(&about, exchanges, &manifest).expect("saved");
        (folder, path)
    }

    #[test]
    fn what_can_t_be_read_keeps_its_cause() {
        let folder = tempfile::tempdir().expect("a folder");
        let problem = || {
            let error = Recording::load(folder.path()).expect_err("no recording");
            (with_causes(&error), error)
        };
        let (told, missing) = problem();
        let TrialError::Unreadable { source, .. } = missing else { panic!("{missing:?}") };
        assert_eq!(source.kind(), ErrorKind::NotFound);
        assert!(told.contains(ABOUT) && told.ends_with(&source.to_string()), "{told}");
        std::fs::write(folder.path().join(ABOUT), "{").expect("written");
        let (told, broken) = problem();
        let TrialError::Form { source, .. } = broken else { panic!("{broken:?}") };
        assert!(source.is_eof() && told.contains(ABOUT) && told.ends_with(&source.to_string()), "{told}");
    }

    #[test]
    fn what_was_recorded_is_answered_in_turn_and_nothing_else() {
        let (_folder, path) = recorded(&[
            exchange("https://a.test/v1/artists/a1", Ok((200, r#"{"n":1,"name":"Ada"}"#))),
            exchange("https://a.test/v1/artists/a1", Ok((200, r#"{"n":2,"name":"Ada"}"#))),
            exchange("https://a.test/v1/albums/a1", Err(SendError::TimedOut)),
            exchange("https://b.test/", Err(SendError::Denied("policy".to_owned()))),
            exchange("https://a.test/page", Ok((200, "<html>Ada</html>"))),
        ]);
        let replay = Replay::of([Recording::load(&path).expect("a recording")]);
        let body =
            |url: &str| replay.answer(&asked(url)).map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
        let artist = "https://a.test/v1/artists/a1";
        for expected in [r#"{"n":1,"name":"text 1"}"#, r#"{"n":2,"name":"text 1"}"#, r#"{"n":2,"name":"text 1"}"#] {
            let compact = body(artist).expect("an answer").replace(['\n', ' '], "");
            assert_eq!(compact, expected.replace(' ', ""));
        }
        assert_eq!(body("https://a.test/v1/albums/a1"), Err(SendError::TimedOut));
        let page = body("https://a.test/page").expect("an answer");
        assert!(serde_json::from_str::<Json>(&page).is_err() && !page.contains("Ada"), "{page}");
        let headers = replay.answer(&asked(artist)).expect("an answer").headers;
        assert_eq!(headers.len(), 1, "{headers:?}");

        assert!(replay.missing().is_empty());
        let Err(SendError::Denied(message)) = body("https://a.test/v1/artists/a2") else { panic!("not refused") };
        assert!(
            message.ends_with("is not in the recording; the nearest is GET https://a.test/v1/artists/a1"),
            "{message}"
        );
        assert!(body("https://b.test/").is_err(), "what the host refused is refused again by the host");
        assert!(body("https://b.test/").is_err());
        assert_eq!(replay.missing().len(), 2, "each is named once");
    }

    #[test]
    fn a_table_is_replayed_with_the_names_of_its_columns_and_pages_with_their_cursors() {
        let table =
            r#"{"columnHeaders":[{"columnType":"DIMENSION","name":"day"},{"name":"views"}],"rows":[["2026-11-19",7]]}"#;
        let report = "https://a.test/v2/reports?dimensions=day&metrics=views,likes";
        let cursor = "Q2*~".repeat(60);
        let first = format!(r#"{{"next":"{cursor}","users":[{{"name":"Ada"}}]}}"#);
        let second = format!("https://a.test/v2/users?after={cursor}");
        let (_folder, path) = recorded(&[
            exchange(report, Ok((200, table))),
            exchange("https://a.test/v2/users", Ok((200, first.as_str()))),
            exchange(&second, Ok((200, "{}"))),
        ]);
        let replay = Replay::of([Recording::load(&path).expect("a recording")]);
        let json = |url: &str| -> Json {
            serde_json::from_slice(&replay.answer(&asked(url)).expect("an answer").body).expect("JSON")
        };
        assert_eq!(json(report), serde_json::from_str::<Json>(table).expect("JSON"));
        let users = json("https://a.test/v2/users");
        assert_eq!((&users["next"], &users["users"][0]["name"]), (&Json::from(cursor), &Json::from("text 1")));
        assert_eq!(json(&second), serde_json::json!({}));
    }

    #[test]
    fn a_recording_says_whose_credential_a_request_named_by_the_platforms_id() {
        let with = |account: Option<&str>| {
            let mut exchange = exchange("https://a.test/me", Ok((200, "{}")));
            let account = account.map(str::to_owned);
            exchange.asked.credential = Some(CredentialRef { slot: "user".to_owned(), account });
            exchange
        };
        let host_id = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d";
        let (_folder, path) = recorded(&[with(Some(host_id)), with(None)]);
        let read = |file: &str| std::fs::read_to_string(path.join(file)).expect("a file");
        let credential = |file: &str| -> Json {
            serde_json::from_str::<Json>(&read(file)).expect("JSON")["request"]["credential"].clone()
        };
        assert_eq!(credential("001-get-me.json"), serde_json::json!({ "slot": "user", "account": "a1" }));
        assert_eq!(credential("002-get-me.json"), serde_json::json!({ "slot": "user" }));
        assert!(!read("001-get-me.json").contains(host_id));
    }

    fn names(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut names: Vec<PathBuf> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn a_recording_is_never_written_over_another() {
        let (_folder, path) = recorded(&[exchange("https://a.test/", Ok((200, "{}")))]);
        let refused = NewRecording::create(&path).expect_err("it exists");
        assert_eq!(refused.class(), ErrorClass::Refused);
        assert!(refused.to_string().contains("name another folder"), "{refused}");
        assert_eq!(Recording::load(&path).expect("still there").recorded.len(), 1);
    }

    #[test]
    fn what_is_put_there_meanwhile_is_kept() {
        let (folder, path) = recorded(&[exchange("https://a.test/", Ok((200, "{}")))]);
        let about = Recording::load(&path).expect("a recording").about;
        let other = folder.path().join("other");
        let new = NewRecording::create(&other).expect("free");
        std::fs::create_dir(&other).expect("made");
        std::fs::write(other.join("work"), "").expect("written");
        let failed = new.finish(&about, &[], &manifest()).expect_err("it is taken");
        assert_eq!(failed.class(), ErrorClass::Unavailable, "requests were sent");
        assert_eq!((names(&other), names(folder.path()).len()), (vec![other.join("work")], 2), "nothing else is left");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_refused_before_anything_is_sent() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("empty")).expect("made");
        std::fs::write(at("file"), "").expect("written");
        symlink("empty", at("link")).expect("made");
        symlink("nowhere", at("dangling")).expect("made");
        let before = names(folder.path());
        for refused in ["file", "file/below", "link", "link/", "dangling", "dangling/", "dangling/below", ".."] {
            let error = NewRecording::create(&at(refused)).expect_err(refused);
            assert!(matches!(error, TrialError::Folder { .. }), "{refused}: {error:?}");
            assert_eq!(error.class(), ErrorClass::Refused, "{refused}");
        }
        for refused in [".", "..", "/", "/proc/none", ""] {
            assert!(NewRecording::create(Path::new(refused)).is_err(), "{refused}");
        }
        for free in ["new", "new/", "new/below/it", "empty", "empty/"] {
            drop(NewRecording::create(&at(free)).expect(free));
        }
        assert_eq!(names(folder.path()), before, "what is not finished leaves nothing");
    }

    #[test]
    fn a_recording_may_be_read_by_those_who_may_read_other_folders() {
        let (folder, path) = recorded(&[]);
        let other = folder.path().join("other");
        std::fs::create_dir(&other).expect("made");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode(&path), mode(&other));
    }

    #[test]
    fn damaged_recordings_are_refused_by_file() {
        let (_folder, path) = recorded(&[exchange("https://a.test/", Ok((200, "{}")))]);
        let file = path.join("001-get.json");
        std::fs::write(&file, r#"{"request":{"method":"GET","url":"x"},"answer":{"status":"200"}}"#).expect("written");
        let refused = Recording::load(&path).expect_err("damaged").to_string();
        assert!(refused.contains("001-get.json"), "{refused}");
        let none = Recording::load(&path.join("none")).expect_err("none").to_string();
        assert!(none.contains("recording.json"), "{none}");
    }

    #[test]
    fn names_of_files_say_what_was_asked_and_are_harmless() {
        let slug = |method: &str, url: &str| {
            slug(&RecordedRequest { method: method.to_owned(), url: url.to_owned(), body: None, credential: None })
        };
        assert_eq!(slug("GET", "https://a.test/v1/artists/A1?x=%2e%2e/"), "get-v1-artists-a1-x-2e-2e");
        assert_eq!(slug("POST", "https://a.test"), "post-a-test");
        assert_eq!(slug("GET", "https://a.test/"), "get");
        assert!(slug("GET", &format!("https://a.test/{}", "../é/".repeat(100))).len() <= SLUG_BYTES_MAX + 1);
    }
}
