//! Waits that token endpoints ask for.
//!
//! While one is in force, no host asks with the same client, and no batch of this process asks the endpoint for any
//! other token. Accounts whose token still works are collected meanwhile; the others are deferred, with no attempt used
//! up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::pipeline::collection::pauses::{self, believed};
use backline_gateway::ASKED_PAUSE_MAX;
use backline_model::{CredentialId, Holder, Platform};
use backline_store::{SealedCredential, Store, StoreError};

/// The shortest wait of an endpoint that limits how often it is asked.
const LEAST: Duration = Duration::from_secs(60);

/// The waits that this process has met, by platform and slot. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenPauses(Arc<Mutex<HashMap<(Platform, String), Met>>>);

/// A wait that this process has met.
#[derive(Clone, Copy, Debug)]
struct Met {
    /// The credential that was asked with.
    with: CredentialId,
    began_at: DateTime<Utc>,
    until: DateTime<Utc>,
}

/// Whom a token endpoint knows: the operator's client, or else the credential itself.
pub(super) fn asked_with(credential: &SealedCredential, client: Option<CredentialId>) -> CredentialId {
    client.unwrap_or(credential.id)
}

impl TokenPauses {
    /// Until when nobody asks for this credential; none where it may be asked for.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn in_force(
        &self,
        store: &Store,
        credential: &SealedCredential,
        with: CredentialId,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let met = self.met(credential);
        let holders: Vec<Holder> = [Some(with), met.map(|met| met.with)].into_iter().flatten().map(of).collect();
        let stored = store.pauses_of(&holders).await?;
        let own = stored.get(&of(with)).filter(|pause| believed(now).contains(&pause.began_at));
        let own = own.map(|pause| pause.until.min(pause.began_at + pauses::PAUSE_MAX));
        let is_ended = |met: &Met| stored.get(&of(met.with)).is_some_and(|p| p.is_ended() && p.until >= met.began_at);
        let met = met.filter(|met| believed(now).contains(&met.began_at) && !is_ended(met)).map(|met| met.until);
        Ok(own.max(met).filter(|until| *until > now))
    }

    /// Begins a wait, and returns when it ends: after what was asked for, or after twice the last one where that did
    /// not help. It is stored where nothing but tokens is asked for with the same credential: what still works may be
    /// used meanwhile.
    pub(super) async fn begin(
        &self,
        store: &Store,
        credential: &SealedCredential,
        with: CredentialId,
        (asked, works): (Duration, bool),
        now: DateTime<Utc>,
    ) -> DateTime<Utc> {
        let before = store.pauses_of(&[of(with)]).await.unwrap_or_default().remove(&of(with));
        let wait = pauses::wait_after(before.as_ref(), Some(asked.min(ASKED_PAUSE_MAX)), LEAST, now);
        let until = now + wait.max(TimeDelta::from_std(LEAST).unwrap_or_default());
        if with != credential.id || !works {
            let wait = (until - now).to_std().unwrap_or_default();
            pauses::begin(store, &of(with), &credential.platform, wait, None, now).await;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((credential.platform.clone(), credential.slot.clone()), Met { with, began_at: now, until });
        until
    }

    fn met(&self, credential: &SealedCredential) -> Option<Met> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&(credential.platform.clone(), credential.slot.clone())).copied()
    }
}

fn of(credential: CredentialId) -> Holder {
    Holder::Credential(credential)
}
