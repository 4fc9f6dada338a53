//! Credentials on their way from the database to the gateway: opened, kept fresh, and saved before they are used.
//!
//! A refreshed secret is written back before anything is sent with it, so that a platform which rotates its refresh tokens can't
//! leave the database with one it no longer honours. Refreshing is single-flight: one task per credential, the others wait and
//! read what it saved; between processes the credential's version decides who wrote first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::domain::manifest::{CredentialSlot, Owner};
use crate::domain::{AccountId, CredentialId, FailureClass, Manifest, Platform};
use crate::gateway::{Gateway, SessionCredential, TokenError};
use crate::secrets::{Keyring, Secret, SecretText};
use crate::store::{SealedCredential, Store, StoreError};

/// Refreshes of different accounts that run at once: enough to hide a round trip, few enough for a token endpoint.
const REFRESHES_AT_ONCE: usize = 8;

/// How often a fresh secret is tried to be saved, since the platform may honour no other any more.
const SAVES_MAX: u32 = 4;

/// How long to wait between them: a database that restarts is back by then.
const SAVE_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Why a credential can't be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CredentialError {
    /// Nobody has set it.
    #[error("no credential is set for {platform}, slot '{slot}'{}; set it with `backline credentials set`", whose(*.account))]
    Missing {
        /// Where.
        platform: Platform,
        /// Which.
        slot: String,
        /// Whose.
        account: Option<AccountId>,
    },
    /// The stored bytes can't be opened.
    #[error("a stored credential can't be opened: {0}")]
    Sealed(String),
    /// No key is configured.
    #[error(
        "credentials are encrypted, and no key is configured; set secrets.key_file or BACKLINE_SECRETS__KEY (`backline keys generate` makes one)"
    )]
    NoKey,
    /// Only the artist can mend it.
    #[error("the credential no longer works and the artist must connect the account anew: {0}")]
    Dead(String),
    /// The operator must mend it.
    #[error("the credential can't be used: {0}")]
    Misconfigured(String),
    /// The token endpoint failed.
    #[error("the token endpoint is unavailable: {0}")]
    Unavailable(String),
    /// The database failed.
    #[error("the credential can't be read or saved: {0}")]
    Store(String),
}

fn whose(account: Option<AccountId>) -> String {
    account.map_or_else(String::new, |account| format!(", account {account}"))
}

impl CredentialError {
    /// How an account that needs the credential ends.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Missing { .. } => FailureClass::CredentialMissing,
            Self::Dead(_) => FailureClass::Reconnect,
            Self::Misconfigured(_) | Self::NoKey | Self::Sealed(_) => FailureClass::Misconfigured,
            Self::Unavailable(_) => FailureClass::Unavailable,
            Self::Store(_) => FailureClass::Internal,
        }
    }
}

impl From<StoreError> for CredentialError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

/// What a batch may use, and which of its accounts have nothing to use.
#[derive(Debug, Default)]
pub struct BatchCredentials {
    /// Ready to be injected.
    pub usable: Vec<SessionCredential>,
    /// Accounts that can't be fetched, with the reason.
    pub unusable: BTreeMap<AccountId, CredentialError>,
}

/// Opens, refreshes and saves credentials.
#[derive(Clone)]
pub struct CredentialDesk {
    store: Store,
    gateway: Gateway,
    keyring: Option<Arc<Keyring>>,
    clock: Clock,
    in_flight: Arc<Mutex<HashMap<CredentialId, Arc<tokio::sync::Mutex<()>>>>>,
    refreshes: Arc<Mutex<JoinSet<()>>>,
}

impl CredentialDesk {
    /// A desk over one database and one gateway.
    pub fn new(store: Store, gateway: Gateway, keyring: Option<Arc<Keyring>>, clock: Clock) -> Self {
        Self { store, gateway, keyring, clock, in_flight: Arc::default(), refreshes: Arc::default() }
    }

    /// Seals and saves what an operator entered.
    ///
    /// # Errors
    /// [`CredentialError`] when no key is configured or the database fails.
    pub async fn set(
        &self,
        platform: &Platform,
        slot: &str,
        account: Option<AccountId>,
        secret: &Secret,
    ) -> Result<SealedCredential, CredentialError> {
        let existing = self.store.credential(platform, slot, account).await?;
        let now = self.clock.now();
        let credential = self.sealed(platform, slot, account, secret, existing.as_ref(), now)?;
        Ok(self.store.save_credential(&credential, now).await?)
    }

    /// Seals and saves accounts' own secrets of one slot, all or none.
    ///
    /// # Errors
    /// [`CredentialError`] when no key is configured or the database fails.
    pub async fn set_many(
        &self,
        platform: &Platform,
        slot: &str,
        secrets: &[(AccountId, Secret)],
    ) -> Result<(), CredentialError> {
        let accounts: Vec<AccountId> = secrets.iter().map(|(account, _)| *account).collect();
        let stored = self.store.credentials_of(platform, &accounts).await?;
        let stored: HashMap<AccountId, &SealedCredential> = stored
            .iter()
            .filter(|credential| credential.slot == slot)
            .filter_map(|credential| Some((credential.account_id?, credential)))
            .collect();
        let now = self.clock.now();
        let sealed = secrets.iter().map(|(account, secret)| {
            self.sealed(platform, slot, Some(*account), secret, stored.get(account).copied(), now)
        });
        let sealed: Vec<SealedCredential> = sealed.collect::<Result<_, _>>()?;
        Ok(self.store.save_credentials(&sealed, now).await?)
    }

    fn sealed(
        &self,
        platform: &Platform,
        slot: &str,
        account: Option<AccountId>,
        secret: &Secret,
        existing: Option<&SealedCredential>,
        now: DateTime<Utc>,
    ) -> Result<SealedCredential, CredentialError> {
        let id = existing.map_or_else(CredentialId::generate, |credential| credential.id);
        Ok(SealedCredential {
            id,
            platform: platform.clone(),
            slot: slot.to_owned(),
            account_id: account,
            kind: secret.kind().to_owned(),
            sealed: self.seal(secret, id)?,
            version: existing.map_or(0, |credential| credential.version),
            expires_at: secret.expires_at(),
            updated_at: now,
            status: "active".to_owned(),
        })
    }

    /// Everything a batch's accounts need, fresh.
    ///
    /// # Errors
    /// Only when the database fails; what is wrong with single credentials is in [`BatchCredentials::unusable`].
    pub async fn for_batch(
        &self,
        manifest: &Manifest,
        slots: &[&str],
        accounts: &[AccountId],
    ) -> Result<BatchCredentials, StoreError> {
        let platform = &manifest.connector.platform;
        let stored = self.store.credentials_of(platform, accounts).await?;
        let find = |slot: &str, account: Option<AccountId>| {
            stored.iter().find(|credential| credential.slot == slot && credential.account_id == account)
        };
        let mut credentials = BatchCredentials::default();
        for slot in manifest.credentials.iter().filter(|slot| slots.contains(&slot.slot.as_str())) {
            let client = find(&slot.slot, None);
            let wanted: Vec<Option<AccountId>> = match slot.owner {
                Owner::Operator => vec![None],
                Owner::Account => accounts.iter().copied().map(Some).collect(),
            };
            let made: Vec<_> = stream::iter(wanted)
                .map(|account| async move {
                    let found = find(&slot.slot, account);
                    (account, self.usable(platform, slot, account, found, client, None).await)
                })
                .buffered(REFRESHES_AT_ONCE)
                .collect()
                .await;
            for (account, result) in made {
                match (result, account) {
                    (Ok(credential), _) => credentials.usable.push(credential),
                    (Err(error), Some(account)) => {
                        credentials.unusable.insert(account, error);
                    }
                    (Err(error), None) => {
                        credentials.unusable.extend(accounts.iter().map(|account| (*account, error.clone())));
                    }
                }
            }
        }
        Ok(credentials)
    }

    /// Replaces a credential that the platform just refused: by what another batch has got meanwhile, or else by a fresh one, whatever
    /// the age of the refused one.
    ///
    /// # Errors
    /// [`CredentialError`] when it can't be refreshed: then only a person can mend it.
    pub async fn refresh_refused(
        &self,
        platform: &Platform,
        slot: &CredentialSlot,
        account: Option<AccountId>,
        refused: &SecretText,
    ) -> Result<SessionCredential, CredentialError> {
        let found = self.store.credential(platform, &slot.slot, account).await?;
        let client = self.store.credential(platform, &slot.slot, None).await?;
        self.usable(platform, slot, account, found.as_ref(), client.as_ref(), Some(refused)).await
    }

    async fn usable(
        &self,
        platform: &Platform,
        slot: &CredentialSlot,
        account: Option<AccountId>,
        found: Option<&SealedCredential>,
        client: Option<&SealedCredential>,
        refused: Option<&SecretText>,
    ) -> Result<SessionCredential, CredentialError> {
        let credential = found.ok_or_else(|| CredentialError::Missing {
            platform: platform.clone(),
            slot: slot.slot.clone(),
            account,
        })?;
        let secret = self.open(credential)?;
        let now = self.clock.now();
        if !is_refused(&secret, refused, now) && !secret.refresh_due(now) {
            return session_credential(credential, &secret, now);
        }
        let only_one = self.lock_of(credential.id).lock_owned().await;
        // Whoever held the lock before may have refreshed it already.
        let current = self.store.credential(platform, &slot.slot, account).await?;
        let current = current.as_ref().unwrap_or(credential);
        let secret = self.open(current)?;
        let now = self.clock.now();
        if current.version != credential.version && secret.injectable(now).is_some() {
            return session_credential(current, &secret, now);
        }
        let client = client.filter(|client| client.id != current.id).map(|client| self.open(client)).transpose()?;
        match self.refresh_and_save(slot, client, current, &secret, only_one).await? {
            Ok(fresh) => Ok(fresh),
            // A refresh is tried at half-life: until the old token really ends, a failed refresh costs nothing.
            Err(_) if !is_refused(&secret, refused, now) && secret.injectable(self.clock.now()).is_some() => {
                session_credential(current, &secret, self.clock.now())
            }
            Err(error) => Err(of_token_error(&error, slot.owner)),
        }
    }

    /// Refreshes in a task of its own, so that a batch which is given up meanwhile does not take along, unsaved, a secret that the
    /// platform has already replaced.
    #[tracing::instrument(name = "refresh_token", skip_all, fields(platform = %current.platform, credential = %current.id))]
    async fn refresh_and_save(
        &self,
        slot: &CredentialSlot,
        client: Option<Secret>,
        current: &SealedCredential,
        secret: &Secret,
        only_one: OwnedMutexGuard<()>,
    ) -> Result<Result<SessionCredential, TokenError>, CredentialError> {
        let (reply, answer) = oneshot::channel();
        let (desk, slot, current, secret) = (self.clone(), slot.clone(), current.clone(), secret.clone());
        let work = async move {
            let _only_one = only_one;
            let result = match desk.gateway.refresh(&slot, client.as_ref(), &secret).await {
                Ok(fresh) => desk.save_fresh(&current, &fresh).await.map(Ok),
                Err(error) => Ok(Err(error)),
            };
            // Nobody may be waiting any more; it is saved all the same.
            drop(reply.send(result));
        };
        {
            let mut refreshes = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner);
            while refreshes.try_join_next().is_some() {}
            refreshes.spawn(work);
        }
        answer.await.unwrap_or_else(|_| Err(CredentialError::Store("the refresh ended unexpectedly".to_owned())))
    }

    async fn save_fresh(&self, old: &SealedCredential, fresh: &Secret) -> Result<SessionCredential, CredentialError> {
        let now = self.clock.now();
        let saved = SealedCredential {
            sealed: self.seal(fresh, old.id)?,
            expires_at: fresh.expires_at(),
            updated_at: now,
            status: "active".to_owned(),
            ..old.clone()
        };
        let mut saves = 1;
        let result = loop {
            match self.store.save_credential(&saved, now).await {
                Err(StoreError::Query { .. }) if saves < SAVES_MAX => {
                    saves += 1;
                    tokio::time::sleep(SAVE_AGAIN_AFTER).await;
                }
                result => break result,
            }
        };
        match result {
            Ok(_) if fresh.injectable(now).is_none() => {
                Err(CredentialError::Unavailable("it granted a token that runs out at once".to_owned()))
            }
            Ok(saved) => session_credential(&saved, fresh, now),
            Err(StoreError::VersionConflict { .. }) => {
                // Another host was first; its token is the one to use.
                let theirs = self.store.credential(&old.platform, &old.slot, old.account_id).await?;
                let theirs =
                    theirs.ok_or_else(|| CredentialError::Store("the credential was removed meanwhile".into()))?;
                session_credential(&theirs, &self.open(&theirs)?, now)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn lock_of(&self, id: CredentialId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default())
    }

    fn open(&self, credential: &SealedCredential) -> Result<Secret, CredentialError> {
        let keyring = self.keyring.as_ref().ok_or(CredentialError::NoKey)?;
        keyring
            .open(&credential.sealed, &credential.id.to_string())
            .map_err(|error| CredentialError::Sealed(error.to_string()))
    }

    fn seal(&self, secret: &Secret, id: CredentialId) -> Result<Vec<u8>, CredentialError> {
        let keyring = self.keyring.as_ref().ok_or(CredentialError::NoKey)?;
        Ok(keyring.seal(secret, &id.to_string()))
    }
}

/// Whether this is still what the platform refused.
fn is_refused(secret: &Secret, refused: Option<&SecretText>, now: DateTime<Utc>) -> bool {
    refused.is_some() && secret.injectable(now) == refused
}

fn session_credential(
    credential: &SealedCredential,
    secret: &Secret,
    now: DateTime<Utc>,
) -> Result<SessionCredential, CredentialError> {
    let (slot, account) = (credential.slot.clone(), credential.account_id);
    let value = secret.injectable(now).ok_or_else(|| match account {
        Some(_) => CredentialError::Dead("it has expired".to_owned()),
        // No artist can mend what is the operator's.
        None => {
            CredentialError::Misconfigured(format!("the slot '{slot}' holds nothing that could be sent; set it anew"))
        }
    })?;
    Ok(SessionCredential { id: credential.id, value: value.clone(), slot, account })
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
    use crate::domain::manifest::CredentialKind;

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

        let spent = Secret::ClientCredentials { client_id: "id".into(), client_secret: "secret".into(), access: None };
        let credential = |account_id| SealedCredential {
            id: CredentialId::generate(),
            platform: Platform::new("demo").expect("a name"),
            slot: "app".to_owned(),
            account_id,
            kind: "client-credentials".to_owned(),
            sealed: Vec::new(),
            version: 1,
            expires_at: None,
            status: "active".to_owned(),
            updated_at: DateTime::UNIX_EPOCH,
        };
        let class = |account| {
            session_credential(&credential(account), &spent, DateTime::UNIX_EPOCH).expect_err("nothing to send").class()
        };
        assert_eq!(class(None), FailureClass::Misconfigured);
        assert_eq!(class(Some(AccountId(uuid::Uuid::from_u128(1)))), FailureClass::Reconnect);
    }
}
