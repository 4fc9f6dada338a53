//! One refresh of one credential: requested by one host at a time, saved before it is used, and not lost in a crash.
//!
//! A platform that rotates its refresh tokens voids the old one as soon as it has answered. A host that dies between
//! the answer and saving it would lose the account. So:
//!
//! 1. The host leases the refresh in the database ([`Store::refresh_lease`]), with the time, *before* it asks the
//!    platform. Only one of all hosts asks at a time.
//! 2. The platform answers.
//! 3. The answer is sealed and written to the host's own journal, on disk, *before* anything else is done with it.
//! 4. It is saved to the database if the version there is still the one that was refreshed.
//! 5. The entry is removed from the journal.
//!
//! A crash before the platform has the request changes nothing. After step 3, this host finds the entry when it starts,
//! in each round of the refresher, and before it refreshes that credential again, and does step 4 with it instead of
//! asking. If the account was given up in the meantime, it becomes active again. The same covers a database that is
//! down for minutes.
//!
//! Between steps 2 and 3, or if the host's disk is lost, the answer is lost. The host that takes over when the lease
//! has expired asks with the old refresh token, which platforms with a grace period accept. If it is refused, the
//! credential is *uncertain*, not dead: its access token works until it ends, so it is used until then, and the refresh
//! is retried at growing intervals. The account must be connected again only when nothing works any more. The window
//! begins when the platform acts on the request, which is before its answer arrives, and ends with one `fsync`: it is
//! about as long as the platform takes to answer, and no host can make it shorter.
//!
//! On SQLite a saved secret is on disk before its entry leaves the journal ([`Store::credential_save_refreshed`]).
//!
//! [`Store::refresh_lease`]: backline_store::Store::refresh_lease
//! [`Store::credential_save_refreshed`]: backline_store::Store::credential_save_refreshed

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::pipeline::credentials::expiry;
use crate::pipeline::credentials::installation::InstallationState;
use crate::pipeline::credentials::journal::Entry;
use crate::pipeline::credentials::manager::{Asking, CredentialError, CredentialManager, is_refused, missing};
use crate::pipeline::credentials::token_pauses::asked_with;
use crate::pipeline::error::with_causes;
use backline_gateway::TokenError;
use backline_gateway::secrets::{Secret, SecretText};
use backline_model::CredentialId;
use backline_model::kill_points::{Point, point};
use backline_model::manifest::{CredentialSlot, Owner};
use backline_store::{RefreshLease, Scope, SealedCredential, StoreError};

/// Lease time of a refresh: longer than the gateway's request and the first tries to save the answer take.
pub(super) const LEASE_TTL: Duration = Duration::from_secs(90);

/// Tries to save a fresh secret before the waiting batch gets an error. The platform may not accept the old one any
/// more.
const SAVES_MAX: u32 = 4;

/// Wait between these tries: long enough for a database to restart.
const SAVE_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Longest wait between two tries when only this process's memory holds the secret.
const SAVE_AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);

/// How long a journal entry of an unknown credential is kept. It may be another database's, or of a credential that was
/// erased while this host was not running.
const UNKNOWN_KEPT: chrono::TimeDelta = chrono::TimeDelta::days(7);

/// Shortest time until a fresh secret is due again, however short its life.
const REFRESH_AGAIN_MIN: chrono::TimeDelta = chrono::TimeDelta::minutes(1);

/// The result of an attempt to refresh.
#[derive(Debug)]
pub(super) enum Renewal {
    /// The credential is fresh and saved.
    Refreshed(SealedCredential, Secret),
    /// Another task or host has saved a newer one.
    Superseded(SealedCredential, Secret),
    /// Another task or host is refreshing it.
    Busy,
    /// It is unchanged. It may still work, and the refresh is retried later.
    Failed(CredentialError),
    /// It was given up: no part of it works any more.
    Dead(CredentialError),
}

/// What the task of one refresh needs.
struct Errand {
    slot: CredentialSlot,
    client: Option<Secret>,
    /// Whom the token endpoint knows.
    with: CredentialId,
    current: SealedCredential,
    secret: Secret,
    refused: Option<SecretText>,
    lease: RefreshLease,
    asking: Asking,
}

/// A fresh secret that only this process's memory holds.
struct Unsaved(SealedCredential);

impl CredentialManager {
    /// Refreshes a credential unless another task or host does so or has done so. `wait_max` is how long to wait for
    /// another task of this process; `asking` counts the request.
    ///
    /// It runs in a task of its own: a batch that is aborted must drop neither the lease nor an unsaved secret that the
    /// platform has already replaced.
    pub(super) async fn renew(
        &self,
        slot: &CredentialSlot,
        client: Option<&SealedCredential>,
        known: &SealedCredential,
        refused: Option<&SecretText>,
        wait_max: Duration,
        asking: &Asking,
    ) -> Result<Renewal, CredentialError> {
        let lock = self.lock_of(known.id).lock_owned();
        let Ok(only_one) = tokio::time::timeout(wait_max, lock).await else { return Ok(Renewal::Busy) };
        // The previous holder of the lock may have refreshed it.
        let current = self.stored(known).await?;
        let secret = self.open(&current)?;
        if current.version != known.version {
            return Ok(Renewal::Superseded(current, secret));
        }
        if let Some(stranger) = self.installation.forbids(slot.kind).await? {
            return Err(CredentialError::Stranger(stranger));
        }
        if self.clocks.asked_now().await?.is_none() {
            return Err(CredentialError::Clock);
        }
        let client = client.filter(|client| client.id != current.id);
        let with = asked_with(&current, client.map(|client| client.id));
        if let Some(until) = self.token_pauses.in_force(&self.store, &current, with, self.clock.now()).await? {
            // It is due then, and not in each round until then.
            if current.refresh_at.is_none_or(|at| at < until) {
                let (all, id) = (Scope::all_tenants(), current.id);
                self.store.credential_set_refresh_at(&all, id, current.version, until).await?;
            }
            let message = "the token endpoint asked for a wait".to_owned();
            return Ok(Renewal::Failed(CredentialError::Paused { until, message }));
        }
        let client = client.map(|client| self.open(client)).transpose()?;
        // A host's name may be reused after a restart; the random part is not.
        let owner = format!("{}/{}", self.host, uuid::Uuid::new_v4().simple());
        let now = self.clock.now();
        let (slot, refused, asking) = (slot.clone(), refused.cloned(), asking.clone());
        let (reply, answer) = oneshot::channel();
        let credentials = self.clone();
        let work = async move {
            let _only_one = only_one;
            // In the task: a lease that was granted to a caller who is gone would hold up every host until it ends.
            let (all, id) = (Scope::all_tenants(), current.id);
            let lease = credentials.store.refresh_lease(&all, id, current.version, &owner, now, LEASE_TTL).await;
            let (result, unsaved) = match lease {
                Ok(Some(lease)) => {
                    point(Point::RefreshLeased);
                    credentials.run(Errand { slot, client, with, current, secret, refused, lease, asking }).await
                }
                Ok(None) => (Ok(Renewal::Busy), None),
                Err(error) => (Err(error.into()), None),
            };
            // The receiver may be gone; the secret is saved anyway.
            drop(reply.send(result));
            if let Some(unsaved) = unsaved {
                credentials.save_later(unsaved).await;
            }
        };
        {
            let mut refreshes = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner);
            while refreshes.try_join_next().is_some() {}
            refreshes.spawn(work);
        }
        answer.await.unwrap_or_else(|_| Err(CredentialError::Interrupted))
    }

    #[tracing::instrument(
        name = "refresh_token",
        skip_all,
        fields(platform = %errand.current.platform, credential = %errand.current.id)
    )]
    async fn run(&self, errand: Errand) -> (Result<Renewal, CredentialError>, Option<Unsaved>) {
        let Errand { slot, client, current, secret, lease, asking, .. } = &errand;
        // An earlier answer of the platform that never reached the database is used before asking again. While it is
        // not known whether there is one, nobody is asked: the platform may have replaced the token already.
        let kept = match self.journal.entry(current.id).await {
            Ok(kept) => kept,
            Err(error) => return (self.after_hang(&errand, error).await, None),
        };
        if let Some(entry) = kept
            && let Some(kept) = entry.over(current)
            && let Ok(secret) = self.open(&kept)
        {
            return self.save_refreshed(kept, secret, true).await;
        }
        if let Some(began) = lease.interrupted {
            let (platform, credential) = (&current.platform, current.id);
            tracing::warn!(
                %platform,
                %credential,
                %began,
                "an interrupted refresh was not saved; the platform is asked again"
            );
        }
        match asking.during(self.gateway.refresh(slot, client.as_ref(), secret)).await {
            Ok(fresh) => {
                point(Point::RefreshAnswered);
                self.keep_and_save(current, fresh).await
            }
            Err(error) => (self.after_failure(&errand, &error).await, None),
        }
    }

    /// Leaves a refresh for later that was not asked for, since the journal's folder does not answer.
    async fn after_hang(&self, errand: &Errand, error: io::Error) -> Result<Renewal, CredentialError> {
        let Errand { current, secret, lease, .. } = errand;
        let again_at = secret.retry_at(self.clock.now(), rand::random());
        self.store.refresh_release(current.id, &lease.owner, again_at).await?;
        Ok(Renewal::Failed(CredentialError::Journal(Arc::new(error))))
    }

    async fn keep_and_save(
        &self,
        old: &SealedCredential,
        fresh: Secret,
    ) -> (Result<Renewal, CredentialError>, Option<Unsaved>) {
        let now = self.clock.now();
        let sealed = match self.seal(&fresh, old.id) {
            Ok(sealed) => sealed,
            Err(error) => return (Err(error), None),
        };
        let saved = SealedCredential {
            sealed,
            expires_at: fresh.expires_at(),
            refresh_at: fresh.refresh_at().map(|at| at.max(now + REFRESH_AGAIN_MIN)),
            updated_at: now,
            status: "active".to_owned(),
            ..old.clone()
        };
        let journaled = self.journal.keep(Entry::of(&saved, now)).await.unwrap_or_else(|error| {
            tracing::error!(
                %error,
                "a fresh token could not be written to service.state_dir before it is saved; fix the folder"
            );
            false
        });
        point(Point::RefreshJournalled);
        self.save_refreshed(saved, fresh, journaled).await
    }

    async fn save_refreshed(
        &self,
        saved: SealedCredential,
        fresh: Secret,
        journaled: bool,
    ) -> (Result<Renewal, CredentialError>, Option<Unsaved>) {
        let now = self.clock.now();
        let mut saves = 1;
        let result = loop {
            match self.store.credential_save_refreshed(&Scope::all_tenants(), &saved, now).await {
                Err(StoreError::Query { .. } | StoreError::InDoubt { .. }) if saves < SAVES_MAX => {
                    saves += 1;
                    tokio::time::sleep(SAVE_AGAIN_AFTER).await;
                }
                result => break result,
            }
        };
        match result {
            Ok(stored) => {
                self.journal.forget(&Entry::of(&saved, now)).await;
                point(Point::RefreshForgotten);
                self.telemetry.token_refreshed(&saved.platform, true);
                if fresh.injectable(now).is_none() {
                    let why = "the token endpoint granted a token that expires at once";
                    let error = CredentialError::Unavailable(why.to_owned());
                    return (Ok(Renewal::Failed(error)), None);
                }
                (Ok(Renewal::Refreshed(stored, fresh)), None)
            }
            Err(StoreError::VersionConflict { .. }) => {
                // Another host was first; its secret is the one to use.
                self.journal.forget(&Entry::of(&saved, now)).await;
                (self.superseding(&saved).await, None)
            }
            Err(error) => {
                let (platform, credential) = (&saved.platform, saved.id);
                tracing::error!(%platform, %credential, %error, journaled, "a fresh token could not be saved yet");
                (Err(error.into()), (!journaled).then_some(Unsaved(saved)))
            }
        }
    }

    /// Retries until the database accepts it or the process ends: nothing else holds the secret.
    async fn save_later(&self, Unsaved(saved): Unsaved) {
        let mut wait = SAVE_AGAIN_AFTER;
        loop {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(SAVE_AGAIN_AFTER_MAX);
            let (platform, credential) = (&saved.platform, saved.id);
            match self.store.credential_save_refreshed(&Scope::all_tenants(), &saved, self.clock.now()).await {
                Ok(_) => {
                    tracing::warn!(%platform, %credential, "a fresh token was saved after retries");
                    return;
                }
                Err(StoreError::VersionConflict { .. }) => return,
                Err(error) => tracing::error!(%platform, %credential, %error, "a fresh token still can't be saved"),
            }
        }
    }

    /// Handles a refused or failed refresh. The credential is given up only if no part of it works any more.
    async fn after_failure(&self, errand: &Errand, error: &TokenError) -> Result<Renewal, CredentialError> {
        let Errand { slot, current, secret, refused, lease, with, .. } = errand;
        let now = self.clock.now();
        self.telemetry.token_refreshed(&current.platform, false);
        let works = !is_refused(secret, refused.as_ref(), now) && secret.injectable(now).is_some();
        if let TokenError::RateLimited { wait, .. } = error {
            let until = self.token_pauses.begin(&self.store, current, *with, (*wait, works), now).await;
            let again_at = secret.retry_at(now, rand::random()).max(until);
            self.store.refresh_release(current.id, &lease.owner, again_at).await?;
            return Ok(Renewal::Failed(CredentialError::Paused { until, message: error.to_string() }));
        }
        let meaning = of_token_error(error, slot.owner);
        let is_final = is_final(error, &meaning, current);
        if works || !is_final {
            if is_final {
                self.announce_end(current, secret, now).await?;
            }
            self.store.refresh_release(current.id, &lease.owner, secret.retry_at(now, rand::random())).await?;
            return Ok(Renewal::Failed(meaning));
        }
        let account = match current.account_id {
            Some(account) => self.store.candidates_of(&Scope::all_tenants(), &[account]).await?.pop(),
            None => None,
        };
        let event = account.as_ref().map(|account| expiry::reconnect_event(account, now));
        if !self.store.credential_mark_dead(current, &lease.owner, event.as_ref(), now).await? {
            return self.superseding(current).await;
        }
        let (platform, slot) = (&current.platform, &current.slot);
        match current.account_id {
            Some(account) => {
                tracing::warn!(
                    %platform,
                    %account,
                    %error,
                    "a credential no longer works; its artist must connect the account again"
                );
            }
            None => {
                tracing::error!(
                    %platform,
                    slot,
                    %error,
                    "a credential no longer works; set it again with `backline credentials set {platform} {slot}`"
                );
            }
        }
        Ok(Renewal::Dead(meaning))
    }

    /// Announces a credential that still works, but which the platform refuses to refresh: it will end unless a later
    /// try succeeds or a person acts.
    async fn announce_end(
        &self,
        credential: &SealedCredential,
        secret: &Secret,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (Some(account), Some(end)) = (credential.account_id, secret.usable_until()) else { return Ok(()) };
        // No event about an account that was erased in the meantime.
        let Some(account) = self.store.candidates_of(&Scope::all_tenants(), &[account]).await?.pop() else {
            return Ok(());
        };
        let event = expiry::expiring_event(credential, Some(account.artist_id), end, now);
        self.store.events_write(&Scope::all_tenants(), event.as_slice()).await.map(drop)
    }

    /// The stored credential, if it is newer than the one that was refreshed.
    async fn superseding(&self, old: &SealedCredential) -> Result<Renewal, CredentialError> {
        let theirs = self.stored(old).await?;
        if theirs.version == old.version {
            return Ok(Renewal::Busy);
        }
        let secret = self.open(&theirs)?;
        Ok(Renewal::Superseded(theirs, secret))
    }

    async fn stored(&self, known: &SealedCredential) -> Result<SealedCredential, CredentialError> {
        let stored = self.store.credential_get_by_id(&Scope::all_tenants(), known.id).await?;
        stored.ok_or_else(|| missing(&known.platform, &known.slot, known.account_id))
    }

    /// Saves the journal's entries of interrupted refreshes. Returns how many were saved.
    pub(super) async fn replay(&self) -> u64 {
        let entries = self.journal.entries().await;
        if entries.is_empty() {
            return 0;
        }
        // A copy of the database may share the folder: an entry that is saved or obsolete there is the original's.
        match self.installation.standing().await {
            Ok(InstallationState::Unclaimed | InstallationState::Member { .. }) => {}
            Ok(InstallationState::Stranger(_)) => return 0,
            Err(error) => {
                tracing::warn!(%error, "interrupted refreshes can't be completed yet");
                return 0;
            }
        }
        let mut replayed = 0;
        for entry in entries {
            // The holder of the lock is about to save it.
            let Ok(_only_one) = self.lock_of(entry.credential).try_lock_owned() else { continue };
            match self.replay_one(&entry).await {
                Ok(saved) => replayed += u64::from(saved),
                Err(error) => {
                    tracing::warn!(
                        credential = %entry.credential,
                        error = with_causes(&error),
                        "an interrupted refresh can't be completed yet"
                    );
                }
            }
        }
        replayed
    }

    async fn replay_one(&self, entry: &Entry) -> Result<bool, CredentialError> {
        let credential = entry.credential;
        let now = self.clock.now();
        let Some(stored) = self.store.credential_get_by_id(&Scope::all_tenants(), credential).await? else {
            // It may be another database's: two of them may share a folder.
            if entry.written_at + UNKNOWN_KEPT < now {
                self.journal.forget(entry).await;
            }
            return Ok(false);
        };
        if stored.version != entry.base_version {
            tracing::info!(%credential, "an interrupted refresh is obsolete: a newer credential is stored");
            self.journal.forget(entry).await;
            return Ok(false);
        }
        let Some(kept) = entry.over(&stored).filter(|kept| self.open(kept).is_ok()) else {
            if self.keyring.is_none() {
                return Err(CredentialError::NoKey);
            }
            tracing::error!(
                %credential,
                "an interrupted refresh can't be opened and is set aside; was secrets.key changed?"
            );
            self.journal.set_aside(entry).await.map_err(|error| CredentialError::Journal(Arc::new(error)))?;
            return Ok(false);
        };
        let saved = match self.store.credential_save_refreshed(&Scope::all_tenants(), &kept, now).await {
            Ok(_) => true,
            Err(StoreError::VersionConflict { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        self.journal.forget(entry).await;
        if saved {
            tracing::warn!(platform = %kept.platform, %credential, "an interrupted refresh was completed");
        }
        Ok(saved)
    }

    /// Waits for running refreshes, but not longer than `within`.
    pub(super) async fn settle(&self, within: Duration) {
        let until = Instant::now() + within;
        let mut under_way: JoinSet<()> =
            std::mem::take(&mut *self.refreshes.lock().unwrap_or_else(PoisonError::into_inner));
        while let Ok(Some(_)) = tokio::time::timeout_at(until, under_way.join_next()).await {}
        // The rest continue while the process lives; their results are in the journal.
        under_way.detach_all();
    }
}

/// Whether a refusal is final once no part of the credential works any more.
fn is_final(error: &TokenError, meaning: &CredentialError, credential: &SealedCredential) -> bool {
    match credential.account_id {
        Some(_) => matches!(meaning, CredentialError::Dead(_)),
        None => matches!(error, TokenError::Refused(_) | TokenError::Expired(_) | TokenError::Misconfigured(_)),
    }
}

fn of_token_error(error: &TokenError, owner: Owner) -> CredentialError {
    let message = error.to_string();
    match (error, owner) {
        (TokenError::Unavailable(_) | TokenError::RateLimited { .. }, _) => CredentialError::Unavailable(message),
        (TokenError::Misconfigured { .. }, _) | (_, Owner::Operator) => CredentialError::Misconfigured(message),
        _ => CredentialError::Dead(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::FailureClass;
    use backline_model::manifest::CredentialKind;

    #[test]
    fn only_an_accounts_own_credential_can_make_its_artist_connect_again() {
        let errors = [
            (TokenError::Refused("invalid_grant".into()), FailureClass::Reconnect),
            (TokenError::Expired(DateTime::UNIX_EPOCH), FailureClass::Reconnect),
            (TokenError::TooYoung(DateTime::UNIX_EPOCH), FailureClass::Reconnect),
            (TokenError::NotRefreshable(CredentialKind::Bearer), FailureClass::Reconnect),
            (TokenError::Misconfigured("no OAuth client".into()), FailureClass::Misconfigured),
            (TokenError::Unavailable("HTTP 503".into()), FailureClass::Unavailable),
        ];
        for (error, of_account) in errors {
            let class = |owner| of_token_error(&error, owner).failure_class();
            assert_eq!(class(Owner::Account), of_account, "{error}");
            assert_ne!(class(Owner::Operator), FailureClass::Reconnect, "{error}");
        }
    }

    #[test]
    fn what_failed_is_told_once() {
        let told = |error: TokenError, owner| of_token_error(&error, owner).to_string();
        assert_eq!(
            told(TokenError::Unavailable("HTTP 503".into()), Owner::Operator),
            "the credential could not be refreshed: the token endpoint is unavailable: HTTP 503"
        );
        assert_eq!(
            told(TokenError::Refused("invalid_grant".into()), Owner::Account),
            "the credential no longer works and the artist must connect the account again: the platform refused the \
             credential: invalid_grant"
        );
        // What an artist can't fix names no artist.
        assert_eq!(
            told(TokenError::Refused("invalid_client".into()), Owner::Operator),
            "the credential can't be used: the platform refused the credential: invalid_client"
        );
    }
}
