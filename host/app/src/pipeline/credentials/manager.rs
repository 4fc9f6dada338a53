//! Credentials between the database and the gateway: opened, kept fresh, and saved before they are used.
//!
//! [`refresh`](crate::pipeline::credentials::refresh) explains how a credential is refreshed by one host at a time,
//! without losing a token that the platform rotates.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::pipeline::clocks::Clocks;
use crate::pipeline::credentials::installation::{Installation, Stranger};
use crate::pipeline::credentials::journal::Journal;
use crate::pipeline::credentials::refresh::{LEASE_TTL, Renewal};
use crate::pipeline::credentials::token_pauses::TokenPauses;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::telemetry::Telemetry;
use backline_gateway::secrets::{Keyring, Secret, SecretError, SecretText};
use backline_gateway::{Gateway, SessionCredential};
use backline_model::clock::Clock;
use backline_model::manifest::{CredentialSlot, Owner};
use backline_model::{AccountId, CredentialId, FailureClass, Manifest, Platform};
use backline_store::{CredentialPlace, Scope, SealedCredential, Store, StoreError};

/// Refreshes of different accounts that run at once: enough to hide a round trip, few enough for a token endpoint.
pub(in crate::pipeline) const REFRESHES_AT_ONCE: usize = 8;

/// Why a credential is not refreshed where the token endpoint took all the time of its batch.
const TOO_LATE: &str = "its batch's time ran out";

/// How often to check whether another host has finished a refresh that this one waits for.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How long to wait for a refresh, no matter which host does it. The lease of a dead host must expire within this time.
const REFRESH_WAIT_MAX: Duration = LEASE_TTL.saturating_add(Duration::from_secs(5));

/// How often what an operator entered is saved where hosts refresh the stored secret meanwhile: it replaces whatever is
/// stored. Something that can't be read in its place is there each time.
const SAVE_TRIES: u32 = 5;

/// Why a credential can't be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CredentialError {
    /// No credential is set.
    #[error(
        "no credential is set for {platform}, slot '{slot}'{}; set it with `backline credentials set`",
        whose(*.account)
    )]
    Missing {
        /// Platform of the credential.
        platform: Platform,
        /// Slot of the manifest.
        slot: String,
        /// Account that owns it; none for the operator's own.
        account: Option<AccountId>,
    },
    /// The stored bytes can't be opened.
    #[error("a stored credential can't be opened")]
    Sealed(#[source] Arc<SecretError>),
    /// No key is configured.
    #[error(
        "credentials are encrypted, and no key is configured; set secrets.key_file or BACKLINE_SECRETS__KEY \
         (`backline keys generate` makes one)"
    )]
    NoKey,
    /// Only the artist can fix it.
    #[error("the credential no longer works and the artist must connect the account again: {0}")]
    Dead(String),
    /// The operator must fix it.
    #[error("the credential can't be used: {0}")]
    Misconfigured(String),
    /// It could not be refreshed, and may be later: the text says what failed.
    #[error("the credential could not be refreshed: {0}")]
    Unavailable(String),
    /// The token endpoint asked to be left alone for a while.
    #[error("the credential can't be refreshed before {until}: {message}")]
    Paused {
        /// When that ends.
        until: DateTime<Utc>,
        /// What it said.
        message: String,
    },
    /// Nobody asked the token endpoint within the time: another batch or host has the refresh and is not done, or the
    /// database is slow.
    #[error("the credential could not be refreshed in time: another batch or host has it, or the database is slow")]
    Busy,
    /// This machine's clock jumped.
    #[error("this machine's clock jumped, so that no end of a token is known; set it by NTP")]
    Clock,
    /// The database failed.
    #[error("the credential can't be read or saved")]
    Store(#[source] Arc<StoreError>),
    /// A file in `service.state_dir` can't be read or moved.
    #[error("a token that may be kept in service.state_dir can't be read or set aside")]
    Journal(#[source] Arc<io::Error>),
    /// This process does not belong to the installation of the database.
    #[error("{0}")]
    Stranger(Stranger),
    /// The task that refreshed it ended early.
    #[error("the refresh ended unexpectedly")]
    Interrupted,
}

fn whose(account: Option<AccountId>) -> String {
    account.map_or_else(String::new, |account| format!(", account {account}"))
}

impl CredentialError {
    /// Whether it says nothing about the account, nor about the platform: the database does not answer, or another
    /// batch or host, the machine's clock or the disk is why.
    pub(in crate::pipeline) fn is_outage(&self) -> bool {
        match self {
            Self::Store(error) => error.is_outage(),
            Self::Busy | Self::Clock | Self::Journal(_) => true,
            _ => false,
        }
    }

    /// How an account that needs the credential ends.
    #[must_use]
    pub fn failure_class(&self) -> FailureClass {
        match self {
            Self::Missing { .. } => FailureClass::CredentialMissing,
            Self::Dead(_) => FailureClass::Reconnect,
            Self::Misconfigured(_) | Self::NoKey | Self::Sealed(_) | Self::Stranger(_) => FailureClass::Misconfigured,
            Self::Paused { .. } => FailureClass::RateLimited,
            Self::Unavailable(_) | Self::Busy | Self::Clock => FailureClass::Unavailable,
            Self::Store(_) | Self::Journal(_) | Self::Interrupted => FailureClass::Internal,
        }
    }
}

impl Classified for CredentialError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Missing { .. }
            | Self::Dead(_)
            | Self::Misconfigured(_)
            | Self::NoKey
            | Self::Sealed(_)
            | Self::Stranger(_) => ErrorClass::Refused,
            Self::Store(error) => error.class(),
            Self::Paused { .. } | Self::Unavailable(_) | Self::Busy | Self::Clock | Self::Journal(_) => {
                ErrorClass::Unavailable
            }
            Self::Interrupted => ErrorClass::Internal,
        }
    }
}

impl From<StoreError> for CredentialError {
    fn from(error: StoreError) -> Self {
        match error {
            // It is there, and no retry reads it: another program or a newer version wrote it.
            StoreError::Unreadable { column, problem } => Self::Misconfigured(format!(
                "what is stored of it can't be read, its {column} is {problem}; `backline health` names its row"
            )),
            error => Self::Store(Arc::new(error)),
        }
    }
}

/// How many requests to the token endpoint are under way for a batch, whose time may run out meanwhile. They go on
/// then.
#[derive(Clone, Debug, Default)]
pub(super) struct Asking(Arc<AtomicUsize>);

impl Asking {
    /// Counts a request until it is answered.
    pub(super) async fn during<T>(&self, request: impl Future<Output = T>) -> T {
        self.0.fetch_add(1, Ordering::Relaxed);
        let answer = request.await;
        self.0.fetch_sub(1, Ordering::Relaxed);
        answer
    }

    /// Why a credential is not refreshed, where the time has run out.
    fn too_late(&self) -> CredentialError {
        match self.0.load(Ordering::Relaxed) {
            0 => CredentialError::Busy,
            _ => CredentialError::Unavailable(TOO_LATE.to_owned()),
        }
    }
}

/// Credentials of a batch, and the accounts without a usable one.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct BatchCredentials {
    /// Ready to be injected.
    pub usable: Vec<SessionCredential>,
    /// Accounts that can't be fetched, with the reason.
    pub unusable: BTreeMap<AccountId, CredentialError>,
}

/// What a host keeps about tokens outside the database.
pub(in crate::pipeline) struct Outside {
    /// Fresh tokens that are not saved yet.
    pub journal: Journal,
    /// Whether the host may refresh tokens.
    pub installation: Installation,
    /// Whether it knows until when a token is good.
    pub clocks: Clocks,
}

/// Opens, refreshes and saves credentials. Cloning shares it.
#[derive(Clone)]
pub struct CredentialManager {
    pub(super) store: Store,
    pub(super) gateway: Gateway,
    pub(super) keyring: Option<Arc<Keyring>>,
    /// The keyring of the configuration in force, shared by all managers of a service: a batch ends under the
    /// configuration it began with, even while keys are rotated.
    in_force: Arc<RwLock<Option<Arc<Keyring>>>>,
    pub(super) clock: Clock,
    pub(super) clocks: Clocks,
    pub(super) telemetry: Telemetry,
    pub(super) journal: Journal,
    pub(super) installation: Installation,
    /// The host's name, in leases.
    pub(super) host: Arc<str>,
    in_flight: Arc<Mutex<HashMap<CredentialId, Arc<tokio::sync::Mutex<()>>>>>,
    pub(super) refreshes: Arc<Mutex<JoinSet<()>>>,
    pub(super) token_pauses: TokenPauses,
}

impl CredentialManager {
    /// The manager of a host, for one database and one gateway.
    pub(in crate::pipeline) fn new(
        host: Arc<str>,
        store: Store,
        gateway: Gateway,
        keyring: Option<Arc<Keyring>>,
        outside: Outside,
        clock: Clock,
        telemetry: Telemetry,
    ) -> Self {
        let (in_force, in_flight, refreshes) = (Arc::default(), Arc::default(), Arc::default());
        let token_pauses = TokenPauses::default();
        let Outside { journal, installation, clocks } = outside;
        Self {
            store,
            gateway,
            keyring,
            in_force,
            clock,
            clocks,
            telemetry,
            journal,
            installation,
            host,
            in_flight,
            refreshes,
            token_pauses,
        }
    }

    /// Shares the published keyring with the manager of the previous configuration, and what token endpoints asked it.
    pub(in crate::pipeline) fn after(mut self, before: &Self) -> Self {
        self.in_force = Arc::clone(&before.in_force);
        self.token_pauses = before.token_pauses.clone();
        self
    }

    /// Lets the managers of previous configurations open what is sealed with this one's keys.
    pub(in crate::pipeline) fn publish_keyring(&self) {
        self.in_force.write().unwrap_or_else(PoisonError::into_inner).clone_from(&self.keyring);
    }

    /// Seals and saves what an operator entered.
    ///
    /// # Errors
    /// [`CredentialError`] when no key is configured or the database fails.
    pub(super) async fn save(
        &self,
        platform: &Platform,
        slot: &str,
        account: Option<AccountId>,
        secret: &Secret,
    ) -> Result<SealedCredential, CredentialError> {
        let all = Scope::all_tenants();
        let mut tries = 1;
        loop {
            let places = self.store.credential_places_list(&all, platform, slot, account.as_slice()).await?;
            let existing = places.into_iter().find(|place| place.account_id == account);
            let now = self.clock.now();
            let credential = self.sealed(platform, slot, account, secret, existing, now)?;
            match self.store.credential_save(&all, &credential, now).await {
                Err(StoreError::VersionConflict { .. }) if tries < SAVE_TRIES => tries += 1,
                saved => return Ok(saved?),
            }
        }
    }

    /// Seals and saves accounts' own secrets of one slot, all or none.
    ///
    /// # Errors
    /// [`CredentialError`] when no key is configured or the database fails.
    pub(super) async fn save_many(
        &self,
        platform: &Platform,
        slot: &str,
        secrets: &[(AccountId, Secret)],
    ) -> Result<(), CredentialError> {
        let all = Scope::all_tenants();
        let accounts: Vec<AccountId> = secrets.iter().map(|(account, _)| *account).collect();
        let mut tries = 1;
        loop {
            let stored = self.store.credential_places_list(&all, platform, slot, &accounts).await?;
            let stored: HashMap<AccountId, CredentialPlace> =
                stored.into_iter().filter_map(|place| Some((place.account_id?, place))).collect();
            let now = self.clock.now();
            let sealed = secrets.iter().map(|(account, secret)| {
                self.sealed(platform, slot, Some(*account), secret, stored.get(account).copied(), now)
            });
            let sealed: Vec<SealedCredential> = sealed.collect::<Result<_, _>>()?;
            match self.store.credentials_save(&all, &sealed, now).await {
                Err(StoreError::VersionConflict { .. }) if tries < SAVE_TRIES => tries += 1,
                saved => return Ok(saved?),
            }
        }
    }

    fn sealed(
        &self,
        platform: &Platform,
        slot: &str,
        account: Option<AccountId>,
        secret: &Secret,
        existing: Option<CredentialPlace>,
        now: DateTime<Utc>,
    ) -> Result<SealedCredential, CredentialError> {
        let id = existing.map_or_else(CredentialId::generate, |place| place.id);
        Ok(SealedCredential {
            id,
            platform: platform.clone(),
            slot: slot.to_owned(),
            account_id: account,
            kind: secret.kind().to_owned(),
            sealed: self.seal(secret, id)?,
            version: existing.map_or(0, |place| place.version),
            expires_at: secret.expires_at(),
            refresh_at: secret.refresh_at(),
            updated_at: now,
            status: "active".to_owned(),
        })
    }

    /// Fresh credentials for a batch's accounts, out of those that are stored of them and of the operator. What is not
    /// refreshed by `until` is used as long as it works. Problems with single credentials are in
    /// [`BatchCredentials::unusable`].
    pub(in crate::pipeline) async fn for_batch(
        &self,
        manifest: &Manifest,
        slots: &[&str],
        accounts: &[AccountId],
        stored: &[SealedCredential],
        until: Instant,
    ) -> BatchCredentials {
        let platform = &manifest.connector.platform;
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
            let asking = &Asking::default();
            let made: Vec<_> = stream::iter(wanted)
                .map(|account| async move {
                    let Some(found) = find(&slot.slot, account) else {
                        return (account, Err(self.not_found(platform, &slot.slot, account).await));
                    };
                    let usable = self.usable(slot, found, client, None, asking);
                    let made = tokio::time::timeout_at(until, usable).await;
                    (account, made.unwrap_or_else(|_| self.usable_as_it_is(found, asking)))
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
        credentials
    }

    /// Why a list holds no credential of a slot: none is set, or its row was left out since it can't be read.
    async fn not_found(&self, platform: &Platform, slot: &str, account: Option<AccountId>) -> CredentialError {
        // The list that left one out has noted it.
        if self.store.unreadable_rows().iter().any(|row| row.table == "credentials")
            && let Err(error) = self.store.credential_get(&Scope::all_tenants(), platform, slot, account).await
        {
            return error.into();
        }
        missing(platform, slot, account)
    }

    /// A credential whose refresh took too long, if it works without.
    fn usable_as_it_is(&self, found: &SealedCredential, asking: &Asking) -> Result<SessionCredential, CredentialError> {
        let (secret, now) = (self.open(found)?, self.clock.now());
        if secret.injectable(now).is_none() {
            return Err(asking.too_late());
        }
        session_credential(found, &secret, now)
    }

    /// Replaces a credential that the platform has just refused, whatever its age: by one that another batch has
    /// refreshed, or by refreshing it.
    ///
    /// # Errors
    /// [`CredentialError`] when it can't be refreshed by `until`, or at all: a person must fix it then.
    pub(in crate::pipeline) async fn refresh_refused(
        &self,
        platform: &Platform,
        slot: &CredentialSlot,
        account: Option<AccountId>,
        refused: &SecretText,
        until: Instant,
    ) -> Result<SessionCredential, CredentialError> {
        let asking = Asking::default();
        let replaced = self.replaced(platform, slot, account, refused, &asking);
        let refreshed = tokio::time::timeout_at(until, replaced).await;
        refreshed.unwrap_or_else(|_| Err(asking.too_late()))
    }

    async fn replaced(
        &self,
        platform: &Platform,
        slot: &CredentialSlot,
        account: Option<AccountId>,
        refused: &SecretText,
        asking: &Asking,
    ) -> Result<SessionCredential, CredentialError> {
        let found = self.store.credential_get(&Scope::all_tenants(), platform, &slot.slot, account).await?;
        let found = found.ok_or_else(|| missing(platform, &slot.slot, account))?;
        let client = match self.store.credential_get(&Scope::all_tenants(), platform, &slot.slot, None).await {
            // Not every refresh needs it.
            Err(StoreError::Unreadable { .. }) => None,
            client => client?,
        };
        self.usable(slot, &found, client.as_ref(), Some(refused), asking).await
    }

    async fn usable(
        &self,
        slot: &CredentialSlot,
        found: &SealedCredential,
        client: Option<&SealedCredential>,
        refused: Option<&SecretText>,
        asking: &Asking,
    ) -> Result<SessionCredential, CredentialError> {
        let mut credential = found.clone();
        let mut secret = self.open(&credential)?;
        let until = Instant::now() + REFRESH_WAIT_MAX;
        loop {
            let now = self.clock.now();
            let works = !is_refused(&secret, refused, now) && secret.injectable(now).is_some();
            // A failed refresh is not retried before its time.
            let due = secret.refresh_due(now) && credential.refresh_at.is_none_or(|at| at <= now);
            if works && !due {
                return session_credential(&credential, &secret, now);
            }
            // A refresh is due at half of the token's life. Until the old token ends, nothing waits for the refresh,
            // and a failure costs nothing.
            let wait_max = if works { Duration::ZERO } else { until.saturating_duration_since(Instant::now()) };
            match self.renew(slot, client, &credential, refused, wait_max, asking).await {
                Ok(Renewal::Refreshed(fresh, secret)) => return session_credential(&fresh, &secret, now),
                Ok(Renewal::Superseded(theirs, theirs_open)) => (credential, secret) = (theirs, theirs_open),
                _ if works => return session_credential(&credential, &secret, now),
                Ok(Renewal::Busy) => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
                Ok(Renewal::Failed(error) | Renewal::Dead(error)) | Err(error) => return Err(error),
            }
            if Instant::now() >= until {
                return Err(CredentialError::Busy);
            }
        }
    }

    pub(in crate::pipeline) fn lock_of(&self, id: CredentialId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default())
    }

    pub(in crate::pipeline) fn open(&self, credential: &SealedCredential) -> Result<Secret, CredentialError> {
        let keyring = self.keyring.as_ref().ok_or(CredentialError::NoKey)?;
        let context = credential.id.to_string();
        let opened = keyring.open(&credential.sealed, &context);
        let opened = match (opened, self.in_force.read().unwrap_or_else(PoisonError::into_inner).as_ref()) {
            (Err(SecretError::UnknownKey { .. }), Some(newer)) => newer.open(&credential.sealed, &context),
            (opened, _) => opened,
        };
        opened.map_err(|error| CredentialError::Sealed(Arc::new(error)))
    }

    pub(in crate::pipeline) fn seal(&self, secret: &Secret, id: CredentialId) -> Result<Vec<u8>, CredentialError> {
        let keyring = self.keyring.as_ref().ok_or(CredentialError::NoKey)?;
        Ok(keyring.seal(secret, &id.to_string()))
    }
}

/// Whether this is still the secret that the platform refused.
pub(in crate::pipeline) fn is_refused(secret: &Secret, refused: Option<&SecretText>, now: DateTime<Utc>) -> bool {
    refused.is_some() && secret.injectable(now) == refused
}

/// That no credential is set.
pub(super) fn missing(platform: &Platform, slot: &str, account: Option<AccountId>) -> CredentialError {
    CredentialError::Missing { platform: platform.clone(), slot: slot.to_owned(), account }
}

fn session_credential(
    credential: &SealedCredential,
    secret: &Secret,
    now: DateTime<Utc>,
) -> Result<SessionCredential, CredentialError> {
    let (slot, account) = (credential.slot.clone(), credential.account_id);
    let value = secret.injectable(now).ok_or_else(|| match account {
        Some(_) => CredentialError::Dead("it has expired".to_owned()),
        // Artists can't fix the operator's own credential.
        None => CredentialError::Misconfigured(format!("the slot '{slot}' holds no usable secret; set it again")),
    })?;
    Ok(SessionCredential { id: credential.id, value: value.clone(), slot, account })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::error::with_causes;

    #[test]
    fn only_an_accounts_own_credential_is_for_its_artist_to_fix() {
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
            refresh_at: None,
            status: "active".to_owned(),
            updated_at: DateTime::UNIX_EPOCH,
        };
        let class = |account| {
            session_credential(&credential(account), &spent, DateTime::UNIX_EPOCH)
                .expect_err("nothing to send")
                .failure_class()
        };
        assert_eq!(class(None), FailureClass::Misconfigured);
        assert_eq!(class(Some(AccountId(uuid::Uuid::from_u128(1)))), FailureClass::Reconnect);
    }

    #[test]
    fn what_can_t_be_opened_keeps_its_cause() {
        let error = CredentialError::Sealed(Arc::new(SecretError::Damaged));
        let told = "a stored credential can't be opened: the sealed secret is damaged or belongs to another credential";
        assert_eq!(with_causes(&error), told);
    }

    #[tokio::test]
    async fn time_that_runs_out_says_something_about_the_platform_only_while_its_endpoint_is_asked() {
        let asking = Asking::default();
        assert!(matches!(asking.too_late(), CredentialError::Busy), "another host, or the database, took the time");
        let meanwhile = asking.clone();
        asking.during(async { assert!(matches!(meanwhile.too_late(), CredentialError::Unavailable(_))) }).await;
        assert!(matches!(asking.too_late(), CredentialError::Busy), "it was answered, and not saved in time");
    }
}
