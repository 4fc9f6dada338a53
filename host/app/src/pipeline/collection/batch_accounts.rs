//! The accounts of one batch on their way to documents: which are open, which have ended, and one more try with a fresh
//! credential for those that were refused.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt as _};
use tokio::time::Instant;

use crate::pipeline::collection::fetch::{self, AccountFailure, BatchBudget, SideEffects};
use crate::pipeline::collection::pauses::BatchPauses;
use crate::pipeline::credentials::manager::{BatchCredentials, CredentialError, CredentialManager, REFRESHES_AT_ONCE};
use crate::pipeline::error::with_causes;
use crate::pipeline::releases::cache::LoadedRelease;
use backline_gateway::{Gateway, SessionCredential};
use backline_model::manifest::Owner;
use backline_model::outcome::Exclusion;
use backline_model::{AccountId, Candidate, FailureClass, FetchAccount, FetchContext, FetchError, Fetched, Outcome};
use backline_store::SealedCredential;

/// What a batch is fetched with.
#[derive(Clone, Copy)]
pub(super) struct FetchSetup<'a> {
    pub gateway: &'a Gateway,
    pub manager: &'a CredentialManager,
    pub release: &'a LoadedRelease,
    pub context: &'a FetchContext,
}

/// The accounts of a batch, and the outcome of those that have ended. Accounts erased since the plan are left out.
pub(in crate::pipeline) struct BatchAccounts {
    pub(super) candidates: BTreeMap<AccountId, Candidate>,
    pub(super) accounts: Vec<FetchAccount>,
    fetched: BTreeMap<AccountId, Fetched>,
    pub(super) ended: BTreeMap<AccountId, AccountFailure>,
}

impl BatchAccounts {
    pub(super) fn of(candidates: Vec<Candidate>, accounts: Vec<FetchAccount>) -> Self {
        let candidates: BTreeMap<_, _> =
            candidates.into_iter().map(|candidate| (candidate.account_id, candidate)).collect();
        let accounts: Vec<FetchAccount> =
            accounts.into_iter().filter(|account| candidates.contains_key(&account.id)).collect();
        // What the connector is to be given of an account can't be read: it ends, and the others are collected.
        let known: BTreeSet<AccountId> = accounts.iter().map(|account| account.id).collect();
        let unreadable = AccountFailure::Final(Outcome::Excluded { reason: Exclusion::Unreadable });
        let unknown = candidates.keys().filter(|id| !known.contains(*id)).map(|id| (*id, unreadable.clone()));
        let ended = unknown.collect();
        Self { candidates, accounts, fetched: BTreeMap::new(), ended }
    }

    /// The accounts that have not ended.
    pub(super) fn open_candidates(&self) -> Vec<&Candidate> {
        self.candidates.values().filter(|candidate| !self.ended.contains_key(&candidate.account_id)).collect()
    }

    fn open(&self) -> Vec<AccountId> {
        self.open_accounts().map(|account| account.id).collect()
    }

    fn open_accounts(&self) -> impl Iterator<Item = &FetchAccount> {
        self.accounts
            .iter()
            .filter(|account| !self.ended.contains_key(&account.id) && !self.fetched.contains_key(&account.id))
    }

    /// Consent may have been withdrawn since the plan was made; that stops collection with the next batch.
    pub(super) fn exclude_withdrawn(&mut self, release: &LoadedRelease) {
        for (id, candidate) in &self.candidates {
            if let Some(reason) = backline_rules::plan::exclusion(candidate, &release.manifest) {
                self.ended.insert(*id, AccountFailure::Final(Outcome::Excluded { reason }));
            }
        }
    }

    /// Accounts whose platform asked for a pause of more than a minute are not asked for.
    pub(super) fn defer_paused(&mut self, pauses: &BatchPauses) {
        for id in self.open() {
            if let Some(until) = pauses.defers(id) {
                self.ended.insert(id, AccountFailure::Paused { until });
            }
        }
    }

    pub(super) async fn with_credentials(
        &mut self,
        manager: &CredentialManager,
        release: &LoadedRelease,
        stored: &[SealedCredential],
        until: Instant,
    ) -> Vec<SessionCredential> {
        // A slot whose terms are not those that were granted is not even refreshed: its tokens could come from another
        // endpoint.
        let usable = release.manifest.credentials.iter().filter(|slot| release.grant.lets_use(slot));
        let slots: Vec<&str> = usable.map(|slot| slot.slot.as_str()).collect();
        let credentials = manager.for_batch(&release.manifest, &slots, &self.open(), stored, until).await;
        let BatchCredentials { usable, unusable } = credentials;
        for (id, error) in unusable {
            self.ended.insert(id, failure_of_credential(&error, with_causes(&error)));
        }
        usable
    }

    /// Fetches the open accounts. What a platform refused for its credential is asked for once more with a fresh one.
    pub(super) async fn fetch(
        &mut self,
        setup: &FetchSetup<'_>,
        mut credentials: Vec<SessionCredential>,
        budget: &mut BatchBudget,
        side: &mut SideEffects,
    ) {
        self.fetch_once(setup, &credentials, budget, side).await;
        let refused: Vec<AccountId> = self
            .ended
            .iter()
            .filter(|(_, failure)| matches!(failure, AccountFailure::Refused(_)))
            .map(|(id, _)| *id)
            .collect();
        if refused.is_empty() {
            return;
        }
        let refreshed = refresh_refused(setup, &refused, &mut credentials, budget.fetching_ends()).await;
        for (id, result) in refreshed {
            let refusal = self.ended.remove(&id);
            if let (Err(error), Some(AccountFailure::Refused(why))) = (result, refusal) {
                self.ended.insert(id, failure_of_credential(&error, format!("{why}; {}", with_causes(&error))));
            }
        }
        let before = std::mem::take(&mut side.without_turn);
        self.fetch_once(setup, &credentials, budget, side).await;
        // They had a turn. A part as large as its batch would be a batch like it, without end if the platform is slow
        // and refuses each fresh credential: that is an attempt.
        let again = std::mem::replace(&mut side.without_turn, before);
        for part in again {
            if part.len() < self.accounts.len() || budget.has_more_room_next() {
                side.without_turn.push(part);
                continue;
            }
            for id in part {
                let message = "the batch's time was used up before it was fetched with a fresh credential".to_owned();
                self.ended.insert(id, AccountFailure::Retry { class: FailureClass::Unavailable, message });
            }
        }
        // Refused again with a fresh credential: another refresh will not fix it.
        let for_good = if refused_slot_owner(setup.release) == Owner::Account {
            FetchError::Reconnect
        } else {
            FetchError::Misconfigured
        };
        for failure in self.ended.values_mut() {
            if let AccountFailure::Refused(why) = failure {
                *failure = AccountFailure::of(for_good(std::mem::take(why)));
            }
        }
    }

    async fn fetch_once(
        &mut self,
        setup: &FetchSetup<'_>,
        credentials: &[SessionCredential],
        budget: &mut BatchBudget,
        side: &mut SideEffects,
    ) {
        let accounts: Vec<FetchAccount> = self.open_accounts().cloned().collect();
        if accounts.is_empty() {
            return;
        }
        let FetchSetup { gateway, release, context, .. } = *setup;
        let results = fetch::fetch(release, gateway, accounts, context, credentials, budget, side).await;
        for (id, result) in results {
            match result {
                Ok(fetched) => {
                    self.fetched.insert(id, fetched);
                }
                Err(failure) => {
                    self.ended.insert(id, failure);
                }
            }
        }
    }

    pub(super) fn take_documents(&mut self) -> Vec<(AccountId, Fetched)> {
        let mut fetched = std::mem::take(&mut self.fetched);
        self.accounts.iter().filter_map(|account| Some((account.id, fetched.remove(&account.id)?))).collect()
    }
}

fn failure_of_credential(error: &CredentialError, message: String) -> AccountFailure {
    if error.is_outage() {
        return AccountFailure::Outage;
    }
    if let CredentialError::Paused { until, .. } = error {
        return AccountFailure::Paused { until: *until };
    }
    let class = error.failure_class();
    if class.is_retryable() {
        AccountFailure::Retry { class, message }
    } else {
        AccountFailure::Final(Outcome::Failed { class, message })
    }
}

/// The owner of the credential that was refused: the accounts, where the manifest has a slot of theirs.
fn refused_slot_owner(release: &LoadedRelease) -> Owner {
    if release.manifest.credentials.iter().any(|slot| slot.owner == Owner::Account) {
        Owner::Account
    } else {
        Owner::Operator
    }
}

/// Replaces refused credentials, several at once, by `until`. What is replaced in time is used.
async fn refresh_refused(
    setup: &FetchSetup<'_>,
    refused: &[AccountId],
    credentials: &mut Vec<SessionCredential>,
    until: Instant,
) -> BTreeMap<AccountId, Result<(), CredentialError>> {
    let FetchSetup { manager, release, .. } = *setup;
    let platform = &release.manifest.connector.platform;
    let owner = refused_slot_owner(release);
    let mut results: BTreeMap<AccountId, Result<(), CredentialError>> =
        refused.iter().map(|id| (*id, Ok(()))).collect();
    let is_concerned = |sent: &&SessionCredential| match sent.account {
        Some(account) => owner == Owner::Account && refused.contains(&account),
        None => owner == Owner::Operator,
    };
    let slot_of = |sent: &SessionCredential| Some((release.manifest.slot(&sent.slot)?.clone(), sent.clone()));
    let sent: Vec<_> = credentials.iter().filter(is_concerned).filter_map(slot_of).collect();
    let refreshed: Vec<_> = stream::iter(sent)
        .map(|(slot, sent)| async move {
            (sent.account, manager.refresh_refused(platform, &slot, sent.account, &sent.value, until).await)
        })
        .buffered(REFRESHES_AT_ONCE)
        .collect()
        .await;
    for (account, refreshed) in refreshed {
        match refreshed {
            Ok(fresh) => {
                credentials.retain(|old| old.id != fresh.id);
                credentials.push(fresh);
            }
            Err(error) => {
                for id in account.map_or_else(|| refused.to_vec(), |account| vec![account]) {
                    results.insert(id, Err(error.clone()));
                }
            }
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use backline_store::StoreError;

    #[test]
    fn what_keeps_a_credential_elsewhere_says_nothing_about_an_account() {
        let ended = |error: CredentialError| failure_of_credential(&error, error.to_string());
        let silent = StoreError::NoAnswer { what: "read", seconds: 9 };
        let full = Arc::new(io::Error::from(io::ErrorKind::StorageFull));
        let elsewhere = [
            CredentialError::from(silent),
            CredentialError::Busy,
            CredentialError::Clock,
            CredentialError::Journal(full),
        ];
        for error in elsewhere {
            assert_eq!(ended(error.clone()), AccountFailure::Outage, "{error}");
        }
        // Whatever lets a task panic may do so each time.
        let interrupted = ended(CredentialError::Interrupted);
        assert!(matches!(interrupted, AccountFailure::Retry { class: FailureClass::Internal, .. }), "{interrupted:?}");
        let failed = ended(CredentialError::Unavailable("the token endpoint is unavailable".to_owned()));
        assert!(matches!(failed, AccountFailure::Retry { class: FailureClass::Unavailable, .. }), "{failed:?}");
    }
}
