//! Consent and its withdrawal, erasure, and the search for what is left.
//!
//! The database does each in one transaction. Tokens that a host holds outside the database are removed afterwards.

use std::path::Path;

use crate::config::Config;
use crate::pipeline::credentials::journal::Journal;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::retry::retry_transient;
use backline_model::clock::Clock;
use backline_model::kill_points::{Point, point};
use backline_model::privacy::{Identifiers, Receipt};
use backline_model::{ArtistId, Consent, CredentialId};
use backline_store::{RecordedConsents, Scope, Sighting, Store, StoreError};

/// The result of an erasure.
#[derive(Clone, Debug, PartialEq)]
pub struct Erasure {
    /// What was removed.
    pub receipt: Receipt,
    /// Identifiers of the artist; empty if the artist was erased before.
    pub identifiers: Identifiers,
    /// Tokens removed that this host kept outside the database.
    pub kept_tokens: u64,
    /// Whether the artist was erased before; `receipt` is the earlier one then.
    pub erased_before: bool,
    /// Whether parts of what was erased may be left in the free space of a SQLite file, until `VACUUM`.
    pub may_leave_traces: bool,
}

/// Why nothing was erased or readmitted.
#[derive(Debug, thiserror::Error)]
pub enum PrivacyError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No artist has this id.
    #[error("no artist has the id {0}; `backline artists list` shows them")]
    NoArtist(ArtistId),
    /// The artist has no tombstone.
    #[error("the artist {0} is not erased; there is nothing to take back")]
    NotErased(ArtistId),
}

impl Classified for PrivacyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::NoArtist(_) | Self::NotErased(_) => ErrorClass::Refused,
        }
    }
}

/// Export, erasure and search of one artist's data. Cloning shares it.
#[derive(Clone)]
pub struct Privacy {
    pub(super) clock: Clock,
    pub(super) store: Store,
    journal: Journal,
}

impl Privacy {
    pub(in crate::pipeline) fn new(clock: Clock, store: Store, journal: Journal) -> Self {
        Self { clock, store, journal }
    }

    /// Erases an artist: every row in every table, and tokens that this host keeps outside the database. The artist
    /// can't be imported, synced or collected again until [`readmit`](Self::readmit). Erasing again returns the earlier
    /// receipt, and removes traces from a SQLite file where the first time could not.
    ///
    /// # Errors
    /// [`PrivacyError::NoArtist`] when the artist never existed, or when the database fails. Nothing has changed then.
    pub async fn erase(&self, artist: ArtistId) -> Result<Erasure, PrivacyError> {
        let erased = retry_transient(|| async {
            self.store.artist_erase(&Scope::all_tenants(), artist, self.clock.now()).await
        })
        .await?;
        let Some(erased) = erased else {
            let receipt = self.store.erasure_get(artist).await?.ok_or(PrivacyError::NoArtist(artist))?;
            let (identifiers, may_leave_traces) = (Identifiers::default(), !self.store.traces_remove().await);
            return Ok(Erasure { receipt, identifiers, kept_tokens: 0, erased_before: true, may_leave_traces });
        };
        let kept_tokens = self.journal.remove(&erased.credentials).await;
        point(Point::EraseTokensRemoved);
        tracing::info!(subject = erased.receipt.artist_id_sha256, "an artist was erased");
        let may_leave_traces = !self.store.traces_remove().await;
        point(Point::EraseTracesRemoved);
        let (receipt, identifiers) = (erased.receipt, erased.identifiers);
        Ok(Erasure { receipt, identifiers, kept_tokens, erased_before: false, may_leave_traces })
    }

    /// Lets an erased artist be imported, synced and collected again. Nothing that was erased comes back.
    ///
    /// # Errors
    /// [`PrivacyError::NotErased`] when the artist is not erased, or when the database fails.
    pub async fn readmit(&self, artist: ArtistId) -> Result<(), PrivacyError> {
        match self.store.erasure_lift(artist, self.clock.now()).await? {
            true => Ok(()),
            false => Err(PrivacyError::NotErased(artist)),
        }
    }

    /// The artist's identifiers; only the id if the artist is not in the database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn identifiers_of(&self, artist: ArtistId) -> Result<Identifiers, StoreError> {
        let known = self.store.artist_identifiers_get(&Scope::all_tenants(), artist).await?;
        Ok(known.unwrap_or_else(|| Identifiers::of(artist, &[])))
    }

    /// Tables that [`search`](Self::search) can't read completely, because they are not Backline's and its database
    /// role lacks the right.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hidden_tables(&self) -> Result<Vec<String>, StoreError> {
        self.store.hidden_tables_list().await
    }

    /// Searches for identifiers in every text and JSON column of the database, and in stored documents if `documents`
    /// is set.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn search(
        &self,
        identifiers: &Identifiers,
        documents: bool,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<Sighting>, StoreError> {
        self.store.identifiers_search(&Scope::all_tenants(), identifiers, documents, progress).await
    }
}

/// Records consents and withdrawals. A withdrawal also removes the artist's tokens for that platform, from the database
/// and from what this host keeps. Running batches store nothing more for these accounts.
///
/// # Errors
/// When an artist is unknown or the database fails. Nothing is recorded then.
pub async fn record_consents(
    store: &Store,
    config: &Config,
    consents: &[Consent],
) -> Result<RecordedConsents, StoreError> {
    let recorded = retry_transient(|| async { store.consents_record(&Scope::all_tenants(), consents).await }).await?;
    forget_tokens(config.service.state_dir.as_deref(), &recorded.credentials).await;
    Ok(recorded)
}

/// Records a decision, unless the latest record of the platform and scope says the same: none then.
///
/// # Errors
/// As [`record_consents`].
pub async fn record_consent(
    store: &Store,
    config: &Config,
    consent: &Consent,
) -> Result<Option<RecordedConsents>, StoreError> {
    let latest = store.latest_consents_get(&Scope::all_tenants(), consent.artist_id).await?;
    let says = latest.iter().find(|known| known.platform == consent.platform && known.scope == consent.scope);
    if says.is_some_and(|known| known.granted == consent.granted) {
        return Ok(None);
    }
    Ok(Some(record_consents(store, config, std::slice::from_ref(consent)).await?))
}

/// Removes tokens of deleted credentials that this host keeps.
pub(super) async fn forget_tokens(state_dir: Option<&Path>, credentials: &[CredentialId]) {
    if !credentials.is_empty() {
        Journal::new(state_dir).remove(credentials).await;
    }
}
