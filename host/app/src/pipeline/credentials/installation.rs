//! Whether this process belongs to the installation of its database.
//!
//! Platforms replace refresh tokens: the first to refresh one makes the other copy worthless. So a database that was
//! copied (a backup that is opened beside the original, staging made from production) must not be refreshed from.
//! An installation has a random id. The database has it, and each process that belongs to the installation has a file
//! of that name in a folder outside the database, which a copy of the database does not bring along.
//!
//! The first `serve` or `run` makes the id. Every other process joins with `backline installation join`, or shares the
//! folder. Without the file a process collects and refreshes nothing that a platform may replace.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::pipeline::error::{Classified, ErrorClass, with_causes};
use crate::pipeline::files::{FileWork, make_folder, write_whole};
use backline_model::InstallationId;
use backline_model::clock::Clock;
use backline_model::manifest::CredentialKind;
use backline_store::{Store, StoreError};

/// How a process stands to the installation of its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstallationState {
    /// The database belongs to no installation yet.
    Unclaimed,
    /// The process belongs to it.
    Member {
        /// The installation.
        id: InstallationId,
        /// The file that says so.
        file: PathBuf,
    },
    /// The process does not belong to it.
    Stranger(Stranger),
}

/// A process that does not belong to the installation of its database. Shown as a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stranger {
    /// The installation; none where the id that the database has is none.
    pub id: Option<InstallationId>,
    /// What is missing.
    pub reason: String,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, reason } = self;
        let id = id.map_or_else(String::new, |id| format!(" {id}"));
        write!(
            f,
            "this process does not belong to the database's installation{id} ({reason}) and refreshes no token, \
             since a copy would make the original's tokens worthless; unless the database is a copy, run `backline \
             installation join` with this configuration"
        )
    }
}

/// Why a process can't join.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no folder for the file.
    #[error("there is no folder for the installation's id; set installation.folder or service.state_dir")]
    NoFolder,
    /// The file can't be written.
    #[error("{} can't be written; make its folder writable, or set installation.folder", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Classified for InstallationError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::NoFolder => ErrorClass::Refused,
            Self::Write { .. } => ErrorClass::Unavailable,
        }
    }
}

/// Whether the artists and numbers of a database are simulated: it is of the installation that all such databases are
/// of. A database that belongs to none is not, nor is one whose id can't be read.
///
/// # Errors
/// When the database fails.
pub async fn is_simulated(store: &Store) -> Result<bool, StoreError> {
    match store.installation_get().await {
        Ok(id) => Ok(id.is_some_and(InstallationId::is_simulated)),
        Err(StoreError::Unreadable { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The installation of a database, as one process sees it. Cloning shares it.
#[derive(Clone)]
pub struct Installation {
    store: Store,
    clock: Clock,
    folder: Option<Arc<Path>>,
    files: FileWork,
}

impl Installation {
    /// The installation of a database. `folder` holds the files of all installations that this machine belongs to.
    #[must_use]
    pub fn new(store: Store, clock: Clock, folder: Option<&Path>) -> Self {
        Self { store, clock, files: FileWork::of(folder), folder: folder.map(Arc::from) }
    }

    /// That its folder did not answer when it was last used, where it did not.
    pub(super) fn trouble(&self) -> Option<String> {
        self.files.trouble()
    }

    /// How this process stands to it at this moment: the file may have come or gone, and the database may have been
    /// replaced by another one under the same address. Writes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn standing(&self) -> Result<InstallationState, StoreError> {
        let id = match self.store.installation_get().await {
            Ok(Some(id)) => id,
            Ok(None) => return Ok(InstallationState::Unclaimed),
            // Another program wrote it: no file has such a name, so no process belongs to it.
            Err(StoreError::Unreadable { problem, .. }) => {
                let reason = format!("the id in the database is {problem}, which is not a UUID");
                return Ok(InstallationState::Stranger(Stranger { id: None, reason }));
            }
            Err(error) => return Err(error),
        };
        let stranger = |reason: String| InstallationState::Stranger(Stranger { id: Some(id), reason });
        let Some(file) = self.file_of(id) else {
            return Ok(stranger("no folder is configured as installation.folder or service.state_dir".to_owned()));
        };
        let sought = file.clone();
        // A symbolic link to a file is one too: orchestrators mount files so.
        match self.files.run(&file, move || std::fs::metadata(&sought)).await {
            Ok(data) if data.is_file() => Ok(InstallationState::Member { id, file }),
            Ok(_) => Ok(stranger(format!("{} is no file", file.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(stranger(format!("there is no file {}", file.display())))
            }
            Err(error) => Ok(stranger(format!("{} can't be read: {error}", file.display()))),
        }
    }

    /// Why this process must not refresh a credential of this kind; none if it may.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn forbids(&self, kind: CredentialKind) -> Result<Option<Stranger>, StoreError> {
        if !is_replaced(kind) {
            return Ok(None);
        }
        match self.standing().await? {
            InstallationState::Stranger(stranger) => Ok(Some(stranger)),
            InstallationState::Unclaimed | InstallationState::Member { .. } => Ok(None),
        }
    }

    /// Claims a database that belongs to no installation for a new one, where there is a folder for its file.
    ///
    /// # Errors
    /// When the database fails, or the file can't be written; nothing has changed then.
    pub async fn claim(&self) -> Result<InstallationState, InstallationError> {
        let standing = self.standing().await?;
        if standing != InstallationState::Unclaimed || self.folder.is_none() {
            return Ok(standing);
        }
        // The file comes first: an id in the database that no process has would keep all of them from refreshing.
        let id = InstallationId::generate();
        let file = self.write(id).await?;
        let in_force = self.store.installation_claim(id, self.clock.now()).await?;
        if in_force != id {
            // Another process was faster.
            let unused = file.clone();
            let _ = self.files.run(&file, move || std::fs::remove_file(&unused)).await;
        }
        Ok(self.standing().await?)
    }

    /// As [`claim`](Self::claim), before tokens may be refreshed. A file that can't be written is logged and keeps
    /// nothing from working.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::pipeline) async fn claim_or_warn(&self) -> Result<(), StoreError> {
        match self.claim().await {
            Ok(_) => Ok(()),
            Err(InstallationError::Store(error)) => Err(error),
            Err(error) => {
                tracing::warn!(
                    error = with_causes(&error),
                    "the database is not claimed for an installation, so that a copy of it can't be told from it"
                );
                Ok(())
            }
        }
    }

    /// Makes this process, and all others with its folder, belong to the installation. An id that can't be read is
    /// replaced by a new one.
    ///
    /// # Errors
    /// When there is no folder, the file can't be written, or the database fails.
    pub async fn join(&self) -> Result<InstallationState, InstallationError> {
        if self.folder.is_none() {
            return Err(InstallationError::NoFolder);
        }
        match self.claim().await? {
            InstallationState::Stranger(Stranger { id: Some(id), .. }) => {
                self.write(id).await?;
                Ok(self.standing().await?)
            }
            InstallationState::Stranger(Stranger { id: None, .. }) => {
                // The file comes first, as in a claim.
                let id = InstallationId::generate();
                let file = self.write(id).await?;
                let in_force = self.store.installation_replace_unreadable(id, self.clock.now()).await?;
                if in_force != id {
                    // Another process was faster.
                    let unused = file.clone();
                    let _ = self.files.run(&file, move || std::fs::remove_file(&unused)).await;
                    self.write(in_force).await?;
                }
                Ok(self.standing().await?)
            }
            standing => Ok(standing),
        }
    }

    fn file_of(&self, id: InstallationId) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(id.to_string()))
    }

    /// Writes the file of an installation, and waits until it is on disk.
    async fn write(&self, id: InstallationId) -> Result<PathBuf, InstallationError> {
        let (Some(folder), Some(file)) = (self.folder.clone(), self.file_of(id)) else {
            return Err(InstallationError::NoFolder);
        };
        let target = file.clone();
        let written = self.files.run(&file, move || {
            make_folder(&folder)?;
            let content = b"Processes with this file refresh the tokens of the Backline database that has this id.\n";
            write_whole(&folder, &target, content, || {})
        });
        match written.await {
            Ok(()) => Ok(file),
            Err(source) => Err(InstallationError::Write { file, source }),
        }
    }
}

/// Whether a refresh may make what was stored before worthless. The others are made from a secret that stays.
pub(super) fn is_replaced(kind: CredentialKind) -> bool {
    match kind {
        CredentialKind::Oauth2ClientCredentials
        | CredentialKind::AppleDeveloperToken
        | CredentialKind::ApiKey
        | CredentialKind::Bearer => false,
        CredentialKind::Oauth2RefreshToken | CredentialKind::InstagramLongLived => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_from_a_secret_that_stays_may_be_made_anywhere() {
        assert!(is_replaced(CredentialKind::Oauth2RefreshToken) && is_replaced(CredentialKind::InstagramLongLived));
        assert!(!is_replaced(CredentialKind::Oauth2ClientCredentials));
        assert!(!is_replaced(CredentialKind::AppleDeveloperToken));
    }
}
