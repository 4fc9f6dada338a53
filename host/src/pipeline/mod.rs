//! The one module that knows all stages: it leads data from the plan to storage.
//!
//! plan → lease → credentials → fetch (sandbox ⇄ gateway) → normalise → validate → growth → store.

mod activate;
mod archive;
mod budgets;
mod canary;
mod collect;
mod credentials;
mod deliveries;
mod development;
mod dispatch;
mod export;
mod fetch;
mod health;
mod install;
mod journal;
mod judge;
mod keeper;
mod loading;
mod obtain;
mod planning;
mod preflight;
mod presence;
mod privacy;
mod quarantine;
mod refresh;
mod releases;
pub mod report;
mod rotate;
mod rows;
mod run;
mod scheduler;
pub mod schedules;
pub mod service;
mod shadow;
mod slots;
mod sync;
mod waiting;
mod watch;
mod webhooks;
mod workers;

use std::sync::Arc;

use tokio::task::JoinSet;

pub use self::activate::{ActivateOptions, Activated};
pub use self::archive::{ArchiveError, ArchiveProgress};
use self::credentials::CredentialDesk;
pub use self::credentials::CredentialError;
pub use self::deliveries::DeliveryReport;
pub use self::export::{ExportReport, ExportedFile, identifiers_of_export};
pub use self::install::{Approve, CatalogueDifference, Comparison, Ended, InstallOptions, Installed, Proposal, Revoke};
use self::journal::Journal;
pub use self::judge::{Judgement, RolledBack};
pub use self::keeper::KeeperReport;
pub use self::obtain::{ObtainError, ObtainOptions, Obtained, obtain};
pub use self::preflight::{Obstacle, examine};
pub use self::presence::is_present;
pub use self::privacy::{Erasure, record_consents};
use self::releases::ReleaseShelf;
pub use self::rotate::{KeyUse, RotationReport};
pub use self::shadow::{CheckReport, ShadowReport, ShadowRequest, TestReport};
pub use self::sync::{Difference, SyncError, SyncReport, SyncRequest};
pub use self::webhooks::{NewWebhook, Resend, TestAnswer, WebhookError};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::domain::{Digest, Platform};
use crate::gateway::{Gateway, GatewayError};
use crate::plugins::InspectError;
use crate::sandbox::{LoadError, Sandbox, SandboxError};
use crate::schedule::ScheduleError;
use crate::secrets::{Keyring, SecretError};
use crate::store::{Store, StoreError, StoreOptions};
use crate::telemetry::Telemetry;

/// What the host can't do, and what would mend it.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The way out.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The sandbox itself.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A component that can't be compiled or linked.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A file that is no connector.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// A component that is not to be had, or not to be used.
    #[error(transparent)]
    Obtain(#[from] ObtainError),
    /// A schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A credential.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A table to be followed that can't be.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// What is past its time could not be put away.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A webhook as it was given.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// A secret as it was entered, or the key that seals it.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No release is active for the platform.
    #[error(
        "no connector is active for platform '{platform}'; install one with `backline plugins install`, `backline plugins list` shows what there is"
    )]
    NoConnector {
        /// Which.
        platform: Platform,
    },
    /// Nothing is installed.
    #[error("no connector is installed; install one with `backline plugins install FILE.wasm`")]
    NothingInstalled,
    /// The manifest has no such slot.
    #[error("the connector of {platform} has no credential slot '{slot}'; it has: {known}")]
    NoSlot {
        /// Where.
        platform: Platform,
        /// As asked for.
        slot: String,
        /// What there is.
        known: String,
    },
    /// The manifest has no such budget.
    #[error("the connector of {platform} has no budget '{budget}'; it has: {known}")]
    NoBudget {
        /// Where.
        platform: Platform,
        /// As asked for.
        budget: String,
        /// What there is.
        known: String,
    },
    /// A secret of an account's given for the operator, or the other way round.
    #[error("slot '{slot}' of {platform} {problem}")]
    SlotOwner {
        /// Where.
        platform: Platform,
        /// Which.
        slot: String,
        /// What is wrong, and what would be right.
        problem: &'static str,
    },
    /// The same version was installed before with other bytes.
    #[error(
        "{name} {version} is installed already with another digest ({installed}); raise the version in connector.toml"
    )]
    SameVersion {
        /// Which connector.
        name: String,
        /// Which version.
        version: String,
        /// What is installed.
        installed: Digest,
    },
    /// A lower version than the active one.
    #[error(
        "{name} {version} is below {active}, which is active; to go back, `backline plugins rollback` takes the release before, or install it with --allow-downgrade"
    )]
    Downgrade {
        /// Which connector.
        name: String,
        /// Which version.
        version: String,
        /// The version that is active.
        active: String,
    },
    /// There is nothing to be taken back.
    #[error("{name} is not granted {thing}; `backline plugins grant {name} --print` shows what it is granted")]
    NotRevocable {
        /// Which connector.
        name: String,
        /// What was to be taken back.
        thing: String,
    },
    /// There is no such release.
    #[error("no release {wanted} is installed; there is: {known}")]
    NoRelease {
        /// As asked for.
        wanted: String,
        /// What there is.
        known: String,
    },
    /// The release may do nothing at this moment.
    #[error("the release {} is not granted; `backline plugins grant` grants it", digest.short())]
    NotGranted {
        /// Which.
        digest: Digest,
    },
    /// Nothing can take the place of the platform's active release.
    #[error("nothing can take the place of {platform}'s active release: {problem}")]
    NoPredecessor {
        /// Where.
        platform: Platform,
        /// What is missing.
        problem: String,
    },
    /// A canary that can't be.
    #[error("{0}")]
    Canary(String),
    /// It was rolled back.
    #[error("the release {} was rolled back: {reason}; activate it with --again if you know better", digest.short())]
    Withdrawn {
        /// Which.
        digest: Digest,
        /// What was found.
        reason: String,
    },
    /// A host can't load it.
    #[error(
        "the release {} was not activated, nothing has changed: {problems}; mend it there, or activate with --anyway and leave the platform to the others",
        digest.short()
    )]
    NotLoadedEverywhere {
        /// Which.
        digest: Digest,
        /// Which hosts, and why.
        problems: String,
    },
    /// A host does not say whether it can load it.
    #[error(
        "the release {} was not activated, nothing has changed: not heard from {hosts} within {waited_s} s; look what is wrong there, wait longer with --wait, or activate with --anyway",
        digest.short()
    )]
    HostsSilent {
        /// Which.
        digest: Digest,
        /// Which hosts.
        hosts: String,
        /// How long was waited, in seconds.
        waited_s: u64,
    },
    /// A batch names a release that was removed.
    #[error("the release {digest} is in the database no longer; install it again")]
    ReleaseGone {
        /// Which.
        digest: Digest,
    },
    /// An artist that does not exist.
    #[error("no artist has the id {0}; `backline artists list` shows them")]
    NoArtist(crate::domain::ArtistId),
    /// An artist without a tombstone.
    #[error("the artist {0} is not erased; there is nothing to take back")]
    NotErased(crate::domain::ArtistId),
    /// An export can't be written.
    #[error("the export can't be written: {0}")]
    Export(#[source] std::io::Error),
    /// A quarantined value that does not exist, or was decided already.
    #[error("no quarantined value is held under the id {0}; `backline quarantine list` shows them")]
    NotHeld(uuid::Uuid),
    /// A changed configuration that can't be put into force while the host runs.
    #[error(
        "changed, but in force only after a restart: {keys}; everything stays as it was, restart or undo the change"
    )]
    NeedsRestart {
        /// What has changed.
        keys: String,
    },
    /// A task of the host's own ended early.
    #[error("a worker ended unexpectedly: {0}")]
    Worker(String),
}

/// The machine's name, the process's number and something drawn: two hosts never share it.
fn own_name() -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let drawn = uuid::Uuid::new_v4().simple().to_string();
    format!("{machine}-{}-{}", std::process::id(), &drawn[..6])
}

/// The host: everything a command or a service works with. Cloning shares it.
#[derive(Clone)]
pub struct Host {
    config: Arc<Config>,
    name: Arc<str>,
    telemetry: Telemetry,
    clock: Clock,
    store: Store,
    gateway: Gateway,
    shelf: ReleaseShelf,
    desk: CredentialDesk,
    /// Answers the gateway's demands for units; ends with the last clone.
    _background: Arc<JoinSet<()>>,
}

impl Host {
    /// Opens the database and builds gateway and sandbox. Changes nothing.
    ///
    /// # Errors
    /// When the database can't be reached or has another schema, or the configuration can't be put into force.
    pub async fn open(config: Config, clock: Clock) -> Result<Self, HostError> {
        let options = StoreOptions { connections_max: config.database.connections_max };
        let store = Store::open(&config.database.url, options).await?;
        store.check_schema().await?;
        let keyring = config.secrets.keyring()?.map(Arc::new);
        Self::assemble(config, clock, store, keyring)
    }

    fn assemble(config: Config, clock: Clock, store: Store, keyring: Option<Arc<Keyring>>) -> Result<Self, HostError> {
        let name = config.service.name.clone().unwrap_or_else(own_name).into();
        Self::equip(config, name, Telemetry::default(), clock, store, keyring, None)
    }

    fn equip(
        config: Config,
        name: Arc<str>,
        telemetry: Telemetry,
        clock: Clock,
        store: Store,
        keyring: Option<Arc<Keyring>>,
        before: Option<&Self>,
    ) -> Result<Self, HostError> {
        // What the configuration did not touch goes on: units that the gateway holds, connectors that are loaded.
        let (gateway, background) = match before.filter(|before| before.config.gateway == config.gateway) {
            Some(before) => (before.gateway.clone(), Arc::clone(&before._background)),
            None => {
                let (gateway, demands) = Gateway::new(config.gateway.clone(), clock.clone())?;
                let mut background = JoinSet::new();
                background.spawn(budgets::serve(store.clone(), clock.clone(), demands));
                (gateway, Arc::new(background))
            }
        };
        let shelf = match before.filter(|before| before.config.sandbox == config.sandbox) {
            Some(before) => before.shelf.clone(),
            None => ReleaseShelf::new(store.clone(), Sandbox::new(config.sandbox.clone())?, telemetry.clone()),
        };
        let journal = Journal::new(config.service.state_dir.as_deref());
        let desk = CredentialDesk::new(
            Arc::clone(&name),
            store.clone(),
            gateway.clone(),
            keyring,
            journal,
            clock.clone(),
            telemetry.clone(),
        );
        let desk = match before {
            Some(before) => desk.after(&before.desk),
            None => desk,
        };
        Ok(Self {
            config: Arc::new(config),
            name,
            telemetry,
            clock,
            store,
            gateway,
            shelf,
            desk,
            _background: background,
        })
    }

    /// The same host under another configuration: the same database connections, and what the configuration did not touch.
    ///
    /// # Errors
    /// When the configuration can't be put into force, or changes what needs a restart.
    pub fn reconfigured(&self, config: Config) -> Result<Self, HostError> {
        let mut changed = Vec::new();
        for (key, same) in [
            ("database", config.database == self.config.database),
            ("service.listen", config.service.listen == self.config.service.listen),
            ("service.name", config.service.name == self.config.service.name),
            ("service.state_dir", config.service.state_dir == self.config.service.state_dir),
        ] {
            if !same {
                changed.push(key);
            }
        }
        if !changed.is_empty() {
            return Err(HostError::NeedsRestart { keys: changed.join(", ") });
        }
        let keyring = config.secrets.keyring()?.map(Arc::new);
        let (name, telemetry) = (Arc::clone(&self.name), self.telemetry.clone());
        Self::equip(config, name, telemetry, self.clock.clone(), self.store.clone(), keyring, Some(self))
    }

    /// What this host is called among those on the same database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it counts and measures.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The clock everything here goes by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The keys that seal and open secrets.
    fn keyring(&self) -> Result<&Arc<Keyring>, CredentialError> {
        self.desk.keyring.as_ref().ok_or(CredentialError::NoKey)
    }

    fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    fn shelf(&self) -> &ReleaseShelf {
        &self.shelf
    }

    fn desk(&self) -> &CredentialDesk {
        &self.desk
    }
}
