//! The folder of a demo: what is in it, whose it is, and that one process uses it at a time.
//!
//! A file says that the folder is a demo's. Nothing else is written to, and nothing but what a demo makes is removed.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::DemoError;
use crate::config::FILE_NAME;
use crate::pipeline::files::{make_folder, write_whole};
use backline_gateway::secrets::Keyring;
use backline_simulator::Story;

/// The file that makes a folder a demo's.
const MARK: &str = "demo.json";

/// What the file says it is.
const KIND: &str = "simulated data of `backline demo`";

/// The key that seals the simulated credentials.
const KEY: &str = "secrets.key";

/// What a demo makes besides the mark, and what `--fresh` removes.
const MADE: [&str; 7] = [FILE_NAME, KEY, "backline.db", "backline.db-wal", "backline.db-shm", "state", "installations"];

/// Artists of a demo unless others are asked for.
const ARTISTS: u32 = 25;

/// Days of its history unless others are asked for: the longest span but one that growth is measured over.
const DAYS: u32 = 28;

/// What is asked of a demo.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Artists, if a number is given.
    pub artists: Option<u32>,
    /// Days of history, if a number is given.
    pub days: Option<u32>,
    /// Whether what an earlier demo left is removed first.
    pub fresh: bool,
}

/// What the mark holds: enough to simulate the same platforms again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    kind: String,
    /// First date of the history.
    first: NaiveDate,
    days: u32,
    artists: u32,
    /// Whether connectors and artists are in the database.
    set_up: bool,
    /// Whether what an earlier demo left may be there still: it was to be removed, and that was not noted as done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removing: bool,
}

/// The folder of a demo, which no other process has until this is dropped.
#[derive(Debug)]
pub struct DemoFolder {
    path: PathBuf,
    settings: Settings,
    /// Locked until this is dropped.
    _folder: File,
}

impl DemoFolder {
    /// Opens a folder, or makes it. The history of a new demo ends on `today`.
    ///
    /// # Errors
    /// When it holds something else, another process has it, it has another demo than is asked for, or it can't be read
    /// or written. Nothing has changed then, unless it fails while an earlier demo is removed: the next start goes on
    /// with that.
    pub fn open(path: &Path, wanted: Wanted, today: NaiveDate) -> Result<Self, DemoError> {
        let path = std::path::absolute(path).map_err(failed(path))?;
        if !path.exists() {
            make_folder(&path).map_err(failed(&path))?;
        }
        let folder = File::open(&path).map_err(failed(&path))?;
        match folder.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DemoError::InUse { folder: path }),
            Err(TryLockError::Error(error)) => return Err(failed(&path)(error)),
        }
        let found = settings_in(&path)?;
        let settings = match found {
            Some(found) if !wanted.fresh && !found.removing => {
                for (what, has, asked) in
                    [("artists", found.artists, wanted.artists), ("days", found.days, wanted.days)]
                {
                    if let Some(asked) = asked.filter(|asked| *asked != has) {
                        return Err(DemoError::Differs { folder: path, what, has, asked });
                    }
                }
                found
            }
            found => {
                if let Some(found) = found {
                    // First: half of an earlier demo must not be taken for one.
                    write_settings(&path, &Settings { removing: true, ..found })?;
                    remove_made(&path)?;
                }
                let days = wanted.days.unwrap_or(DAYS).max(1);
                let first = today.checked_sub_days(Days::new(u64::from(days - 1))).unwrap_or(today);
                let artists = wanted.artists.unwrap_or(ARTISTS).max(1);
                let settings = Settings { kind: KIND.to_owned(), first, days, artists, set_up: false, removing: false };
                write_settings(&path, &settings)?;
                settings
            }
        };
        Ok(Self { path, settings, _folder: folder })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What happens in this demo.
    pub(super) fn story(&self) -> Story {
        let Settings { first, days, artists, .. } = self.settings;
        Story::new(first, days, artists)
    }

    /// Whether connectors and artists are in the database.
    pub(super) fn is_set_up(&self) -> bool {
        self.settings.set_up
    }

    /// Keeps that they are.
    pub(super) fn note_set_up(&self) -> Result<(), DemoError> {
        write_settings(&self.path, &Settings { set_up: true, ..self.settings.clone() })
    }

    /// Writes the configuration, and the key where there is none. Every origin leads to `connect`.
    pub(super) fn configure(&self, listen: SocketAddr, hosts: &[&str], connect: &str) -> Result<PathBuf, DemoError> {
        let key = self.path.join(KEY);
        if !key.exists() {
            self.write(&key, &format!("{}\n", Keyring::generate_base64()))?;
        }
        let file = self.path.join(FILE_NAME);
        self.write(&file, &self.configuration(listen, hosts, connect))?;
        Ok(file)
    }

    /// Writes a file of the folder, which only its owner can read.
    fn write(&self, file: &Path, content: &str) -> Result<(), DemoError> {
        write_whole(&self.path, file, content.as_bytes(), || {}).map_err(failed(file))
    }

    fn configuration(&self, listen: SocketAddr, hosts: &[&str], connect: &str) -> String {
        let place = |name: &str| self.path.join(name).to_string_lossy().into_owned();
        let routes: Vec<Json> =
            hosts.iter().map(|host| json!({ "origin": format!("https://{host}"), "connect": connect })).collect();
        let settings = json!({
            "database": { "url": format!("sqlite://{}", place("backline.db")) },
            "secrets": { "key_file": place(KEY) },
            "service": { "listen": listen.to_string(), "state_dir": place("state") },
            "installation": { "folder": place("installations") },
            // Simulated platforms recover at once, or not at all.
            "collection": { "retry_wait_max_ms": 0 },
            "gateway": { "backoff_base_ms": 1, "backoff_max_ms": 5, "routes": routes },
        });
        let settings = toml::to_string(&settings).expect("texts and numbers in tables are TOML: a test writes them");
        format!(
            "# Simulated. Written by `backline demo` at each start, which serves all of these platforms itself.\n\
             {settings}"
        )
    }
}

/// What the mark of a folder says; none where the folder is empty.
fn settings_in(path: &Path) -> Result<Option<Settings>, DemoError> {
    let mark = path.join(MARK);
    let foreign = || DemoError::Foreign { folder: path.to_path_buf() };
    match std::fs::read_to_string(&mark) {
        Ok(text) => {
            let settings: Settings = serde_json::from_str(&text).map_err(|_| foreign())?;
            if settings.kind == KIND { Ok(Some(settings)) } else { Err(foreign()) }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let is_empty = std::fs::read_dir(path).map_err(failed(path))?.next().is_none();
            if is_empty { Ok(None) } else { Err(foreign()) }
        }
        Err(error) => Err(failed(&mark)(error)),
    }
}

/// Writes the mark.
fn write_settings(path: &Path, settings: &Settings) -> Result<(), DemoError> {
    let mark = path.join(MARK);
    let content = serde_json::to_vec_pretty(settings).map_err(io::Error::from).map_err(failed(&mark))?;
    write_whole(path, &mark, &content, || {}).map_err(failed(&mark))
}

/// Removes what an earlier demo made. What else is in the folder stays.
fn remove_made(path: &Path) -> Result<(), DemoError> {
    for name in MADE {
        let place = path.join(name);
        let removed = match std::fs::symlink_metadata(&place) {
            Ok(data) if data.is_dir() => std::fs::remove_dir_all(&place),
            Ok(_) => std::fs::remove_file(&place),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&place)(error)),
            _ => {}
        }
    }
    Ok(())
}

fn failed(path: &Path) -> impl Fn(io::Error) -> DemoError {
    move |source| DemoError::File { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn today() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 29).expect("a date")
    }

    fn open(path: &Path, wanted: Wanted) -> Result<DemoFolder, String> {
        DemoFolder::open(path, wanted, today()).map_err(|error| error.to_string())
    }

    fn names_in(path: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(path).expect("readable").map(|entry| entry.expect("readable").file_name());
        let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_that_is_not_a_demos_is_refused_and_left_as_it_is() {
        let place = tempfile::tempdir().expect("a folder");
        for (name, content) in [("backline.db", "theirs"), (MARK, "{}"), (MARK, "{\"kind\":\"other\"}")] {
            let folder = place.path().join("x");
            std::fs::create_dir(&folder).expect("made");
            std::fs::write(folder.join(name), content).expect("written");
            for fresh in [false, true] {
                let said = open(&folder, Wanted { fresh, ..Wanted::default() }).expect_err("refused");
                assert!(said.contains("is not a folder of a demo") && said.contains("--folder"), "{said}");
            }
            assert_eq!(names_in(&folder), [name]);
            assert_eq!(std::fs::read_to_string(folder.join(name)).expect("there"), content);
            std::fs::remove_dir_all(&folder).expect("removed");
        }
    }

    #[test]
    fn a_demo_is_found_again_and_another_one_needs_the_word() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("new");
        let wanted = |days| Wanted { days, artists: Some(3), fresh: false };
        let first = open(&folder, wanted(Some(4))).expect("made");
        assert_eq!(first.story().dates().first().copied(), NaiveDate::from_ymd_opt(2026, 11, 26));
        assert_eq!(first.story().last(), today());
        assert!(!first.is_set_up());
        let said = open(&folder, wanted(None)).expect_err("it is locked");
        assert!(said.contains("another `backline demo` uses"), "{said}");
        first.note_set_up().expect("written");
        drop(first);

        let said = open(&folder, wanted(Some(5))).expect_err("another demo");
        assert!(said.contains("has 4 days, not 5") && said.contains("--fresh"), "{said}");
        let later = today() + Days::new(9);
        let again = DemoFolder::open(&folder, wanted(None), later).expect("the same demo");
        assert_eq!((again.story().last(), again.is_set_up()), (today(), true));
        drop(again);

        std::fs::write(folder.join("backline.db"), "old").expect("written");
        std::fs::create_dir(folder.join("state")).expect("made");
        std::fs::write(folder.join("notes.txt"), "mine").expect("written");
        let fresh = open(&folder, Wanted { fresh: true, ..wanted(Some(5)) }).expect("begun again");
        assert_eq!((fresh.story().dates().len(), fresh.is_set_up()), (5, false));
        assert_eq!(names_in(&folder), [MARK, "notes.txt"]);
    }

    #[test]
    fn a_removal_that_was_broken_off_is_gone_on_with() {
        let place = tempfile::tempdir().expect("a folder");
        let wanted = |fresh| Wanted { days: Some(4), artists: Some(3), fresh };
        let first = open(place.path(), wanted(false)).expect("made");
        first.note_set_up().expect("written");
        drop(first);
        std::fs::write(place.path().join(KEY), "old").expect("written");
        // What a removal begins with; it ends here.
        let settings = settings_in(place.path()).expect("readable").expect("there");
        write_settings(place.path(), &Settings { removing: true, ..settings }).expect("written");

        let again = open(place.path(), wanted(false)).expect("gone on with");
        assert!(!again.is_set_up(), "nothing of the earlier demo is relied on");
        assert_eq!(names_in(place.path()), [MARK]);
        drop(again);
        let found = settings_in(place.path()).expect("readable").expect("there");
        assert!(!found.removing, "it is done");
    }

    #[test]
    fn what_is_written_is_whole_and_follows_no_link() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        let place = tempfile::tempdir().expect("a folder");
        let theirs = place.path().join("theirs.toml");
        std::fs::write(&theirs, "theirs").expect("written");
        let folder = open(&place.path().join("demo"), Wanted::default()).expect("made");
        symlink(&theirs, folder.path().join(FILE_NAME)).expect("linked");
        let listen: SocketAddr = "127.0.0.1:8321".parse().expect("an address");
        let file = folder.configure(listen, &["api.example.com"], "http://127.0.0.1:4123").expect("written");
        assert_eq!(std::fs::read_to_string(&theirs).expect("there"), "theirs");
        assert!(std::fs::symlink_metadata(&file).expect("there").is_file());
        let mode = std::fs::metadata(folder.path().join(KEY)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only its owner reads the key");
        assert_eq!(names_in(folder.path()), [FILE_NAME, MARK, KEY], "nothing else is left");
    }

    #[test]
    fn the_configuration_leads_to_the_simulator_and_into_the_folder_alone() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = open(&place.path().join("a \"b\""), Wanted::default()).expect("made");
        let listen: SocketAddr = "127.0.0.1:8321".parse().expect("an address");
        let hosts = ["api.example.com", "graph.example.com"];
        let file = folder.configure(listen, &hosts, "http://127.0.0.1:4123").expect("written");
        let key = std::fs::read_to_string(folder.path().join(KEY)).expect("there");
        let again = folder.configure(listen, &hosts, "http://127.0.0.1:4124").expect("written again");
        assert_eq!(std::fs::read_to_string(folder.path().join(KEY)).expect("there"), key, "the key stays");

        // The rules of time zones are chosen once for a process, so the file alone is read.
        let text = std::fs::read_to_string(&again).expect("there");
        let config: Config = toml::from_str(&text).expect("a configuration");
        assert_eq!(file, again);
        assert!(config.database.url.starts_with(&format!("sqlite://{}", folder.path().display())));
        assert_eq!(config.service.listen, listen);
        assert!(config.secrets.keyring().expect("a key").is_some());
        let routes: Vec<String> =
            config.gateway.routes.iter().map(|route| format!("{} {}", route.origin, route.connect)).collect();
        assert_eq!(
            routes,
            ["https://api.example.com http://127.0.0.1:4124/", "https://graph.example.com http://127.0.0.1:4124/"]
        );
        for inside in [config.service.state_dir, config.installation.folder, config.secrets.key_file] {
            assert!(inside.is_some_and(|path| path.starts_with(folder.path())));
        }
    }
}
