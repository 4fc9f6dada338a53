//! What artists may ask for: consent and its withdrawal, erasure, and looking whether anything is left.
//!
//! The database does each in one transaction; what a host holds outside of it, fresh tokens on their way there, is dropped afterwards.

use std::future::Future;
use std::path::Path;

use crate::config::Config;
use crate::pipeline::credentials::journal::Journal;
use crate::pipeline::{Host, HostError};
use backline_model::privacy::{Identifiers, Receipt};
use backline_model::{ArtistId, Consent, CredentialId};
use backline_store::{Recorded, Scope, Sighting, Store, StoreError};

/// How often what two transactions kept each other from is tried.
const TRIES: u32 = 5;

/// What an erasure came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Erasure {
    /// What was removed.
    pub receipt: Receipt,
    /// What the artist was recognised by; none where the artist had been erased before.
    pub identifiers: Identifiers,
    /// Tokens dropped that this host kept outside the database.
    pub kept_tokens: u64,
    /// Whether there was nothing to erase any more: the receipt is the earlier one's.
    pub erased_before: bool,
}

impl Host {
    /// Erases an artist: everything in every table, and what this host keeps beside them. The artist can't be imported, synced or collected
    /// again until [`readmit`](Self::readmit). Erasing again answers the earlier receipt.
    ///
    /// # Errors
    /// [`HostError::NoArtist`] where there never was such an artist; the database's otherwise, and nothing has happened then.
    pub async fn erase(&self, artist: ArtistId) -> Result<Erasure, HostError> {
        let erased =
            again(|| async { self.store().artist_erase(&Scope::all_tenants(), artist, self.clock().now()).await })
                .await?;
        let Some(erased) = erased else {
            let receipt = self.store().erasure_get(artist).await?.ok_or(HostError::NoArtist(artist))?;
            return Ok(Erasure { receipt, identifiers: Identifiers::default(), kept_tokens: 0, erased_before: true });
        };
        let kept_tokens = self.credentials().journal.remove(&erased.credentials).await;
        tracing::info!(subject = erased.receipt.artist_id_sha256, "an artist was erased");
        Ok(Erasure { receipt: erased.receipt, identifiers: erased.identifiers, kept_tokens, erased_before: false })
    }

    /// Lets an erased artist be imported, synced and collected again. Nothing that was erased comes back.
    ///
    /// # Errors
    /// [`HostError::NotErased`] where the artist is not erased.
    pub async fn readmit(&self, artist: ArtistId) -> Result<(), HostError> {
        match self.store().erasure_lift(artist, self.clock().now()).await? {
            true => Ok(()),
            false => Err(HostError::NotErased(artist)),
        }
    }

    /// What an artist is recognised by as long as the artist is known; only the id otherwise.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn identifiers_of(&self, artist: ArtistId) -> Result<Identifiers, HostError> {
        Ok(Identifiers::of(artist, &self.store().accounts_of(&Scope::all_tenants(), &[artist]).await?))
    }

    /// Tables that a [`search`](Self::search) does not see all of, since they are others' and Backline's role may not read them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hidden_tables(&self) -> Result<Vec<String>, HostError> {
        Ok(self.store().hidden_tables_list().await?)
    }

    /// Looks for identifiers in every column of text or JSON of the database, and in stored documents where that is asked for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn search(
        &self,
        identifiers: &Identifiers,
        documents: bool,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<Sighting>, HostError> {
        Ok(self.store().identifiers_search(&Scope::all_tenants(), identifiers, documents, progress).await?)
    }
}

/// Puts consents and withdrawals on record. A withdrawal takes the artist's tokens on that platform along, in the database and in what this
/// host keeps; batches under way store nothing of these accounts any more.
///
/// # Errors
/// When an artist is unknown or the database fails; nothing is recorded then.
pub async fn record_consents(store: &Store, config: &Config, consents: &[Consent]) -> Result<Recorded, StoreError> {
    let recorded = again(|| async { store.consents_record(&Scope::all_tenants(), consents).await }).await?;
    forget_tokens(config.service.state_dir.as_deref(), &recorded.credentials).await;
    Ok(recorded)
}

/// Drops what this host keeps of credentials that are gone.
async fn forget_tokens(state_dir: Option<&Path>, credentials: &[CredentialId]) {
    if !credentials.is_empty() {
        Journal::new(state_dir).remove(credentials).await;
    }
}

/// Two transactions may get into each other's way: then one of them is undone, and can be tried again.
pub(in crate::pipeline) async fn again<T, F: Future<Output = Result<T, StoreError>>>(
    work: impl Fn() -> F,
) -> Result<T, StoreError> {
    let mut tries = 1;
    loop {
        match work().await {
            Err(error) if error.is_transient() && tries < TRIES => {
                tries += 1;
                tracing::debug!(%error, tries, "tried again");
            }
            done => return done,
        }
    }
}
