//! Tokens that a platform has granted and the database does not hold yet: one sealed file for each credential, in a
//! folder that outlives the process.
//!
//! A file is complete and on disk before its content is used, and it is removed once the database holds the token. The
//! content is sealed as in the database, and opens for its own credential only.
//!
//! All work on these files has a time limit, [`FileWork`]: a folder on a network that hangs holds no refresh up.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::pipeline::files::{FileWork, make_folder, write_whole};
use backline_model::CredentialId;
use backline_model::kill_points::{Point, point};
use backline_model::remedies::{Remedy, off};
use backline_store::SealedCredential;

/// The folder below `service.state_dir`.
const FOLDER: &str = "refreshes";

/// File extension of an entry that can't be used.
const SET_ASIDE: &str = "unusable";

/// Largest file that is read, in bytes: a secret has up to about 200 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The result of one refresh, which may not be in the database yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Id of the credential.
    pub credential: CredentialId,
    /// The version that was refreshed. If the database holds another one, this entry is obsolete.
    pub base_version: i64,
    /// The secret, sealed for this credential, in base64.
    sealed: String,
    /// When the account must be connected again.
    expires_at: Option<DateTime<Utc>>,
    /// When the secret is due for a refresh.
    refresh_at: Option<DateTime<Utc>>,
    /// When the platform granted the secret.
    pub written_at: DateTime<Utc>,
}

impl Entry {
    /// An entry for a credential that is about to be saved; its version is the one that was refreshed.
    pub(crate) fn of(credential: &SealedCredential, now: DateTime<Utc>) -> Self {
        Self {
            credential: credential.id,
            base_version: credential.version,
            sealed: STANDARD.encode(&credential.sealed),
            expires_at: credential.expires_at,
            refresh_at: credential.refresh_at,
            written_at: now,
        }
    }

    /// The sealed bytes; none if they are damaged.
    pub(crate) fn sealed_bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.sealed).ok()
    }

    /// The credential to save over the stored one; none if the stored one has another version, or the bytes are
    /// damaged.
    pub(crate) fn over(&self, stored: &SealedCredential) -> Option<SealedCredential> {
        let sealed = self.sealed_bytes()?;
        (stored.id == self.credential && stored.version == self.base_version).then(|| SealedCredential {
            sealed,
            expires_at: self.expires_at,
            refresh_at: self.refresh_at,
            status: "active".to_owned(),
            ..stored.clone()
        })
    }
}

/// The journal of one host. Without a folder it keeps nothing. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Journal {
    folder: Option<Arc<Path>>,
    files: FileWork,
}

impl Journal {
    /// A journal in a folder. Nothing is created before the first entry.
    pub(crate) fn new(folder: Option<&Path>) -> Self {
        let folder: Option<Arc<Path>> = folder.map(|folder| folder.join(FOLDER).into());
        Self { files: FileWork::of(folder.as_deref()), folder }
    }

    /// That its folder did not answer when it was last used, where it did not.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.files.trouble()
    }

    /// Checks that entries can be written. Returns why not, and how to fix it.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let Some(folder) = self.folder.clone() else {
            return Err("no folder is configured; set service.state_dir".to_owned());
        };
        let place = folder.display().to_string();
        let tried = folder.clone();
        let work = move || make_folder(&tried).and_then(|()| tempfile::tempfile_in(&tried).map(drop));
        let tried = self.files.run(&folder, work);
        tried.await.map_err(|error| format!("{place} can't be written to ({error}); fix it or set service.state_dir"))
    }

    /// Writes an entry to disk. Returns false if no folder is configured.
    pub(crate) async fn keep(&self, entry: Entry) -> io::Result<bool> {
        let Some(folder) = self.folder.clone().filter(|_| !off(Remedy::TokenJournal)) else { return Ok(false) };
        let place = Arc::clone(&folder);
        let work = move || {
            make_folder(&folder)?;
            let (file, content) = (path_of(&folder, entry.credential), serde_json::to_vec(&entry)?);
            write_whole(&folder, &file, &content, || point(Point::RefreshFileWritten))?;
            Ok(true)
        };
        self.files.run(&place, work).await
    }

    /// The entry of a credential; `None` without one that can be read.
    ///
    /// # Errors
    /// When the folder does not answer: there may be one, so that the platform must not be asked again.
    pub(crate) async fn entry(&self, id: CredentialId) -> io::Result<Option<Entry>> {
        let Some(folder) = self.folder.clone() else { return Ok(None) };
        let path = path_of(&folder, id);
        self.files.run(&folder, move || Ok(read(&path))).await
    }

    /// Every entry that can be read.
    pub(crate) async fn entries(&self) -> Vec<Entry> {
        let Some(folder) = self.folder.clone() else { return Vec::new() };
        let place = Arc::clone(&folder);
        let entries = self.files.run(&place, move || {
            let files = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                files => files?,
            };
            let mut paths: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
            paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
            paths.sort();
            Ok(paths.iter().filter_map(|path| read(path)).collect())
        });
        entries.await.unwrap_or_else(|error| {
            tracing::error!(%error, "fresh tokens in service.state_dir can't be read");
            Vec::new()
        })
    }

    /// Removes an entry that is saved. A later entry of the same credential stays.
    pub(crate) async fn forget(&self, entry: &Entry) {
        let Some(folder) = self.folder.clone() else { return };
        let (id, version) = (entry.credential, entry.base_version);
        let path = path_of(&folder, id);
        let removed = self.files.run(&folder, move || match read(&path) {
            Some(found) if found.base_version <= version => std::fs::remove_file(&path),
            _ => Ok(()),
        });
        if let Err(error) = removed.await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, credential = %id, "a refreshed token could not be removed from service.state_dir");
        }
    }

    /// Removes the entries of deleted credentials, including those set aside. Returns for how many credentials there
    /// was one.
    pub(crate) async fn remove(&self, credentials: &[CredentialId]) -> u64 {
        let Some(folder) = self.folder.clone() else { return 0 };
        let paths: Vec<PathBuf> = credentials.iter().map(|id| path_of(&folder, *id)).collect();
        let removed = self.files.run(&folder, move || {
            let mut removed = 0;
            for path in paths {
                let mut found = false;
                for path in [path.with_extension(SET_ASIDE), path] {
                    match std::fs::remove_file(&path) {
                        Ok(()) => found = true,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => {
                            tracing::warn!(
                                %error,
                                path = %path.display(),
                                "a token of a removed credential could not be removed from service.state_dir; remove \
                                 the file"
                            );
                        }
                    }
                }
                removed += u64::from(found);
            }
            Ok(removed)
        });
        removed.await.unwrap_or_else(|error| {
            let folder = folder.display();
            tracing::warn!(%error, %folder, "tokens of removed credentials may be left in it; remove their files");
            0
        })
    }

    /// Renames an entry that can't be used, so that a person can examine it.
    pub(crate) async fn set_aside(&self, entry: &Entry) -> io::Result<()> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let id = entry.credential;
        let path = path_of(&folder, id);
        self.files.run(&folder, move || std::fs::rename(&path, path.with_extension(SET_ASIDE))).await
    }
}

fn path_of(folder: &Path, id: CredentialId) -> PathBuf {
    folder.join(format!("{id}.json"))
}

fn read(path: &Path) -> Option<Entry> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use backline_gateway::secrets::{Keyring, Secret};
    use backline_model::Platform;

    fn credential(id: CredentialId, version: i64, sealed: Vec<u8>) -> SealedCredential {
        SealedCredential {
            id,
            platform: Platform::new("demo").expect("a name"),
            slot: "user".to_owned(),
            account_id: None,
            kind: "bearer".to_owned(),
            sealed,
            version,
            expires_at: None,
            refresh_at: Some(DateTime::UNIX_EPOCH),
            status: "active".to_owned(),
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn an_entry_is_sealed_its_owners_alone_and_gone_once_it_has_served() {
        let place = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(Some(&place.path().join("state")));
        let keyring = Keyring::from_base64(&Keyring::generate_base64()).expect("a key");
        let id = CredentialId::generate();
        let secret = Secret::Bearer { value: "canary-secret-0123456789".into() };
        let fresh = credential(id, 3, keyring.seal(&secret, &id.to_string()));
        let entry = Entry::of(&fresh, DateTime::UNIX_EPOCH);
        assert!(journal.entries().await.is_empty());
        assert!(journal.keep(entry.clone()).await.expect("kept"));

        let path = place.path().join("state/refreshes").join(format!("{id}.json"));
        let text = std::fs::read_to_string(&path).expect("the file");
        assert!(!text.contains("canary") && !text.contains(&STANDARD.encode("canary")[..4]), "{text}");
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o600, 0o700));

        let kept = Journal::new(Some(&place.path().join("state"))).entries().await;
        assert_eq!(kept, std::slice::from_ref(&entry));
        let stored = SealedCredential { status: "dead".to_owned(), ..credential(id, 3, Vec::new()) };
        assert_eq!(kept[0].over(&stored), Some(fresh.clone()));
        assert_eq!(kept[0].over(&credential(id, 4, Vec::new())), None, "another version is stored");
        assert_eq!(kept[0].over(&credential(CredentialId::generate(), 3, Vec::new())), None);

        journal.forget(&Entry { base_version: 2, ..entry.clone() }).await;
        assert_eq!(journal.entry(id).await.expect("it is read").as_ref(), Some(&entry), "a later one stays");
        journal.forget(&entry).await;
        assert_eq!(journal.entry(id).await.expect("it is read"), None);
        journal.forget(&entry).await;
    }

    #[tokio::test]
    async fn what_can_not_be_used_is_set_aside_and_no_folder_keeps_nothing() {
        let place = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(Some(place.path()));
        let id = CredentialId::generate();
        let entry = Entry::of(&credential(id, 1, vec![1]), DateTime::UNIX_EPOCH);
        journal.keep(entry.clone()).await.expect("kept");
        std::fs::write(place.path().join("refreshes/half.json"), "{").expect("written");
        assert_eq!(journal.entries().await, std::slice::from_ref(&entry), "what is no entry is none");
        journal.set_aside(&entry).await.expect("renamed");
        assert!(journal.entries().await.is_empty());
        assert!(place.path().join(format!("refreshes/{id}.unusable")).exists());
        assert_eq!(journal.check().await, Ok(()));
        journal.keep(entry.clone()).await.expect("kept");
        assert_eq!(journal.remove(&[id, CredentialId::generate()]).await, 1);
        assert!(journal.entries().await.is_empty());
        assert!(!place.path().join(format!("refreshes/{id}.unusable")).exists(), "what was set aside goes too");

        let nowhere = Journal::new(None);
        assert!(!nowhere.keep(entry).await.expect("nothing fails"));
        assert!(nowhere.check().await.expect_err("there is no folder").contains("service.state_dir"));
        let file = place.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert!(Journal::new(Some(&file)).check().await.is_err(), "a file is no folder");
    }

    #[tokio::test]
    async fn a_folder_that_does_not_answer_is_not_taken_for_one_without_an_entry() {
        let place = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(Some(place.path()));
        let journal = Journal { files: journal.files.within(std::time::Duration::from_millis(50)), ..journal };
        let (id, folder) = (CredentialId::generate(), place.path().join(FOLDER));
        make_folder(&folder).expect("made");
        // Who opens a pipe to read from it waits for a writer, as for a share that is gone.
        let pipe = path_of(&folder, id);
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("it runs");
        assert!(made.success(), "{made}");
        let error = journal.entry(id).await.expect_err("it may be there");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(journal.trouble().is_some_and(|trouble| trouble.contains("does not answer")));
        assert!(journal.entries().await.is_empty(), "it does not hang either");
        // The threads that wait are let go, also one that comes to it late.
        let writer = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).expect("opened");
        std::fs::remove_file(&pipe).expect("removed");
        drop(writer);
    }
}
