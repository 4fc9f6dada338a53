//! One refresh of one credential: asked for by one host at a time, kept before it is used, and lost to no crash.
//!
//! A platform that rotates its refresh tokens voids the old one as soon as it has answered. Whoever dies between that answer and the
//! saving of it would take the account along. So:
//!
//! 1. The right to refresh is taken in the database ([`Store::refresh_lease`]), with the time, *before* the platform is asked. Over all
//!    hosts one asks at a time.
//! 2. The platform answers.
//! 3. The answer is sealed and written to the host's own journal, on disk, *before* anything else is done with it.
//! 4. It is saved to the database if the version there is still the one that was refreshed.
//! 5. The entry in the journal is removed.
//!
//! A crash before 2 has changed nothing. After 3, this host finds the entry when it starts, at each round of the keeper, and whenever it is
//! about to refresh that credential, and does 4 with it instead of asking. If the account was given up meanwhile, it is active again. The same
//! helps when the database takes nothing for minutes.
//!
//! Between 2 and 3, or where the host's disk is gone too, the answer is lost. Whoever takes over once the lease has run out asks with the old
//! refresh token, which platforms with a time of grace honour. Where that is refused, the credential is *uncertain*, not dead: its access
//! token works until it ends, so it is used until then and the refresh is tried again in growing intervals. Only when nothing works any
//! more does the account ask to be connected anew. That window is the time between an answer's last byte and one `fsync`.
//!
//! [`Store::refresh_lease`]: backline_store::Store::refresh_lease

use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::pipeline::collection::evaluate;
use crate::pipeline::credentials::journal::Entry;
use crate::pipeline::credentials::manager::{CredentialError, CredentialManager, is_refused};
use crate::pipeline::credentials::refresher;
use backline_gateway::TokenError;
use backline_gateway::secrets::{Secret, SecretText};
use backline_model::manifest::{CredentialSlot, Owner};
use backline_store::{RefreshLease, Scope, SealedCredential, StoreError};

/// How long the right to refresh lasts: longer than the gateway asks, and than the first tries to save the answer.
pub(in crate::pipeline) const LEASE_TTL: Duration = Duration::from_secs(90);

/// How often a fresh secret is tried to be saved before whoever waits for it is told, since the platform may honour no other any more.
const SAVES_MAX: u32 = 4;

/// How long to wait between them: a database that restarts is back by then.
const SAVE_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Longest wait between two tries when nothing but this process's memory holds the secret.
const SAVE_AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);

/// How long an entry of the journal is kept that belongs to no known credential: it may be another database's, or of one that was erased
/// while this host was not running.
const UNKNOWN_KEPT: chrono::TimeDelta = chrono::TimeDelta::days(7);

/// A fresh secret is not due again for so long, however short its life.
const REFRESH_AGAIN_MIN: chrono::TimeDelta = chrono::TimeDelta::minutes(1);

/// What became of an attempt to refresh.
#[derive(Debug)]
pub(in crate::pipeline) enum Renewal {
    /// It is fresh and saved.
    Refreshed(SealedCredential, Secret),
    /// Somebody else has saved another one meanwhile.
    Superseded(SealedCredential, Secret),
    /// Somebody else is at it.
    Busy,
    /// It is as it was. What it holds may still work; it is tried again later.
    Failed(CredentialError),
    /// It was given up: nothing of it works any more.
    Dead(CredentialError),
}

/// Everything about one refresh, for the task that does it.
struct Errand {
    slot: CredentialSlot,
    client: Option<Secret>,
    current: SealedCredential,
    secret: Secret,
    refused: Option<SecretText>,
    lease: RefreshLease,
}

/// A fresh secret that is nowhere but in memory.
struct Unsaved(SealedCredential);

impl CredentialManager {
    /// Refreshes a credential unless somebody else does or has done so. `patience` is how long another task of this process is waited for.
    ///
    /// It is done in a task of its own, so that a batch which is given up meanwhile does not take along, unsaved, a secret that the platform
    /// has already replaced.
    pub(in crate::pipeline) async fn renew(
        &self,
        slot: &CredentialSlot,
        client: Option<&SealedCredential>,
        known: &SealedCredential,
        refused: Option<&SecretText>,
        patience: Duration,
    ) -> Result<Renewal, CredentialError> {
        let lock = self.lock_of(known.id).lock_owned();
        let Ok(only_one) = tokio::time::timeout(patience, lock).await else { return Ok(Renewal::Busy) };
        // Whoever held the lock before may have refreshed it already.
        let current = self.stored(known).await?;
        let secret = self.open(&current)?;
        if current.version != known.version {
            return Ok(Renewal::Superseded(current, secret));
        }
        let client = client.filter(|client| client.id != current.id).map(|client| self.open(client)).transpose()?;
        // A host's name may come back after a restart, the drawn part never does.
        let owner = format!("{}/{}", self.host, uuid::Uuid::new_v4().simple());
        let now = self.clock.now();
        let lease = self
            .store
            .refresh_lease(&Scope::all_tenants(), current.id, current.version, &owner, now, LEASE_TTL)
            .await?;
        let Some(lease) = lease else { return Ok(Renewal::Busy) };
        let errand = Errand { slot: slot.clone(), client, current, secret, refused: refused.cloned(), lease };
        let (reply, answer) = oneshot::channel();
        let credentials = self.clone();
        let work = async move {
            let _only_one = only_one;
            let (result, unsaved) = credentials.run(errand).await;
            // Nobody may be waiting any more; it is saved all the same.
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
        answer.await.unwrap_or_else(|_| Err(CredentialError::Store("the refresh ended unexpectedly".to_owned())))
    }

    #[tracing::instrument(name = "refresh_token", skip_all, fields(platform = %errand.current.platform, credential = %errand.current.id))]
    async fn run(&self, errand: Errand) -> (Result<Renewal, CredentialError>, Option<Unsaved>) {
        let Errand { slot, client, current, secret, lease, .. } = &errand;
        // The platform's answer to an earlier refresh that never reached the database is worth more than another question.
        if let Some(entry) = self.journal.entry(current.id).await
            && let Some(kept) = entry.over(current)
            && let Ok(secret) = self.open(&kept)
        {
            return self.save(kept, secret, true).await;
        }
        if let Some(began) = lease.interrupted {
            let (platform, credential) = (&current.platform, current.id);
            tracing::warn!(%platform, %credential, %began, "a refresh broke off before it was saved; the platform is asked again");
        }
        match self.gateway.refresh(slot, client.as_ref(), secret).await {
            Ok(fresh) => self.keep_and_save(current, fresh).await,
            Err(error) => (self.after_failure(&errand, &error).await, None),
        }
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
            tracing::error!(%error, "a fresh token could not be kept in service.state_dir before it is saved; mend the folder");
            false
        });
        self.save(saved, fresh, journaled).await
    }

    async fn save(
        &self,
        saved: SealedCredential,
        fresh: Secret,
        journaled: bool,
    ) -> (Result<Renewal, CredentialError>, Option<Unsaved>) {
        let now = self.clock.now();
        let mut saves = 1;
        let result = loop {
            match self.store.credential_save_refreshed(&Scope::all_tenants(), &saved, now).await {
                Err(StoreError::Query { .. }) if saves < SAVES_MAX => {
                    saves += 1;
                    tokio::time::sleep(SAVE_AGAIN_AFTER).await;
                }
                result => break result,
            }
        };
        match result {
            Ok(stored) => {
                self.journal.forget(&Entry::of(&saved, now)).await;
                self.telemetry.token_refreshed(&saved.platform, true);
                if fresh.injectable(now).is_none() {
                    let error = CredentialError::Unavailable("it granted a token that runs out at once".to_owned());
                    return (Ok(Renewal::Failed(error)), None);
                }
                (Ok(Renewal::Refreshed(stored, fresh)), None)
            }
            Err(StoreError::VersionConflict { .. }) => {
                // Somebody else was first; theirs is the one to use.
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

    /// Tries until the database takes it, or the process ends: nothing else holds it.
    async fn save_later(&self, Unsaved(saved): Unsaved) {
        let mut wait = SAVE_AGAIN_AFTER;
        loop {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(SAVE_AGAIN_AFTER_MAX);
            let (platform, credential) = (&saved.platform, saved.id);
            match self.store.credential_save_refreshed(&Scope::all_tenants(), &saved, self.clock.now()).await {
                Ok(_) => {
                    tracing::warn!(%platform, %credential, "a fresh token was saved at last");
                    return;
                }
                Err(StoreError::VersionConflict { .. }) => return,
                Err(error) => tracing::error!(%platform, %credential, %error, "a fresh token still can't be saved"),
            }
        }
    }

    /// What a refused or failed refresh means. Only where nothing works any more is anything given up.
    async fn after_failure(&self, errand: &Errand, error: &TokenError) -> Result<Renewal, CredentialError> {
        let Errand { slot, current, secret, refused, lease, .. } = errand;
        let now = self.clock.now();
        self.telemetry.token_refreshed(&current.platform, false);
        let works = !is_refused(secret, refused.as_ref(), now) && secret.injectable(now).is_some();
        let meaning = of_token_error(error, slot.owner);
        let is_final = is_final(error, &meaning, current);
        if works || !is_final {
            if is_final {
                self.announce_end(current, secret, now).await?;
            }
            self.store.refresh_release(current.id, &lease.owner, secret.try_again_at(now, rand::random())).await?;
            return Ok(Renewal::Failed(meaning));
        }
        let account = match current.account_id {
            Some(account) => self.store.candidates_of(&Scope::all_tenants(), &[account]).await?.pop(),
            None => None,
        };
        let event = account.as_ref().map(|account| evaluate::reconnect_event(account, now));
        if !self.store.credential_mark_dead(current, &lease.owner, event.as_ref(), now).await? {
            return self.superseding(current).await;
        }
        let (platform, slot) = (&current.platform, &current.slot);
        match current.account_id {
            Some(account) => {
                tracing::warn!(%platform, %account, %error, "a credential no longer works; its artist must connect the account anew");
            }
            None => {
                tracing::error!(%platform, slot, %error, "a credential no longer works; set it anew with `backline credentials set {platform} {slot}`");
            }
        }
        Ok(Renewal::Dead(meaning))
    }

    /// The platform refuses to refresh what still works: it will end soon unless a later try succeeds or somebody acts.
    async fn announce_end(
        &self,
        credential: &SealedCredential,
        secret: &Secret,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (Some(account), Some(end)) = (credential.account_id, secret.usable_until()) else { return Ok(()) };
        // Nothing is told of an account that has been erased meanwhile.
        let Some(account) = self.store.candidates_of(&Scope::all_tenants(), &[account]).await?.pop() else {
            return Ok(());
        };
        let event = refresher::expiring_event(credential, Some(account.artist_id), end, now);
        self.store.events_write(&Scope::all_tenants(), event.as_slice()).await.map(drop)
    }

    /// What is stored now, where it is no longer what was refreshed.
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
        stored.ok_or_else(|| CredentialError::Missing {
            platform: known.platform.clone(),
            slot: known.slot.clone(),
            account: known.account_id,
        })
    }

    /// Saves what the journal holds of refreshes that were cut off. Answers how many there were.
    pub(in crate::pipeline) async fn replay(&self) -> u64 {
        let mut replayed = 0;
        for entry in self.journal.entries().await {
            // Whoever holds the lock is about to save it.
            let Ok(_only_one) = self.lock_of(entry.credential).try_lock_owned() else { continue };
            match self.replay_one(&entry).await {
                Ok(saved) => replayed += u64::from(saved),
                Err(error) => {
                    tracing::warn!(credential = %entry.credential, %error, "a refresh that was cut off can't be completed yet");
                }
            }
        }
        replayed
    }

    async fn replay_one(&self, entry: &Entry) -> Result<bool, CredentialError> {
        let credential = entry.credential;
        let now = self.clock.now();
        let Some(stored) = self.store.credential_get_by_id(&Scope::all_tenants(), credential).await? else {
            // Another database's, perhaps: two of them may share a folder.
            if entry.written_at + UNKNOWN_KEPT < now {
                self.journal.forget(entry).await;
            }
            return Ok(false);
        };
        if stored.version != entry.base_version {
            tracing::info!(%credential, "a refresh that was cut off is of no use: a newer credential is stored");
            self.journal.forget(entry).await;
            return Ok(false);
        }
        let Some(kept) = entry.over(&stored).filter(|kept| self.open(kept).is_ok()) else {
            if self.keyring.is_none() {
                return Err(CredentialError::NoKey);
            }
            tracing::error!(%credential, "what was kept of a refresh can't be opened and is set aside; was secrets.key changed?");
            self.journal.set_aside(entry).await.map_err(|error| CredentialError::Store(error.to_string()))?;
            return Ok(false);
        };
        let saved = match self.store.credential_save_refreshed(&Scope::all_tenants(), &kept, now).await {
            Ok(_) => true,
            Err(StoreError::VersionConflict { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        self.journal.forget(entry).await;
        if saved {
            tracing::warn!(platform = %kept.platform, %credential, "a refresh that was cut off was completed");
        }
        Ok(saved)
    }

    /// Waits for refreshes under way, but no longer than this.
    pub(in crate::pipeline) async fn settle(&self, within: Duration) {
        let until = Instant::now() + within;
        let mut under_way: JoinSet<()> =
            std::mem::take(&mut *self.refreshes.lock().unwrap_or_else(PoisonError::into_inner));
        while let Ok(Some(_)) = tokio::time::timeout_at(until, under_way.join_next()).await {}
        // What is left goes on as long as the process does; the journal has what matters.
        under_way.detach_all();
    }
}

/// Whether a refusal is the last word, once nothing of the credential works any more.
fn is_final(error: &TokenError, meaning: &CredentialError, credential: &SealedCredential) -> bool {
    match credential.account_id {
        Some(_) => matches!(meaning, CredentialError::Dead(_)),
        None => matches!(error, TokenError::Refused(_) | TokenError::Expired(_) | TokenError::Misconfigured(_)),
    }
}

fn of_token_error(error: &TokenError, owner: Owner) -> CredentialError {
    let message = error.to_string();
    match (error, owner) {
        (TokenError::Unavailable { .. }, _) => CredentialError::Unavailable(message),
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
    fn only_an_accounts_own_credential_can_make_its_artist_connect_anew() {
        let errors = [
            (TokenError::Refused("invalid_grant".into()), FailureClass::Reconnect),
            (TokenError::Expired(DateTime::UNIX_EPOCH), FailureClass::Reconnect),
            (TokenError::TooYoung(DateTime::UNIX_EPOCH), FailureClass::Reconnect),
            (TokenError::NotRefreshable(CredentialKind::Bearer), FailureClass::Reconnect),
            (TokenError::Misconfigured("no OAuth client".into()), FailureClass::Misconfigured),
            (TokenError::Unavailable("HTTP 503".into()), FailureClass::Unavailable),
        ];
        for (error, of_account) in errors {
            let class = |owner| of_token_error(&error, owner).class();
            assert_eq!(class(Owner::Account), of_account, "{error}");
            assert_ne!(class(Owner::Operator), FailureClass::Reconnect, "{error}");
        }
    }
}
