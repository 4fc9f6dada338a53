//! The parts of Backline, assembled from a configuration.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{Config, ConfigError};
use crate::pipeline::alerts::manage::Alerts;
use crate::pipeline::artists::privacy::Privacy;
use crate::pipeline::artists::sync::ArtistSync;
use crate::pipeline::bulk::{self, Bulk};
use crate::pipeline::clocks::Clocks;
use crate::pipeline::collection::budgets::{self, BudgetServer};
use crate::pipeline::collection::collector::{Collector, CollectorParts};
use crate::pipeline::collection::planning::Planner;
use crate::pipeline::collection::quarantine::Quarantine;
use crate::pipeline::collection::run::Runs;
use crate::pipeline::conformance::shadow::Conformance;
use crate::pipeline::credentials::installation::{Installation, is_simulated};
use crate::pipeline::credentials::journal::Journal;
use crate::pipeline::credentials::manager::{CredentialManager, Outside};
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::options::store_options;
use crate::pipeline::releases::cache::ReleaseCache;
use crate::pipeline::releases::manager::ReleaseManager;
use crate::pipeline::upkeep::archive::Archive;
use crate::pipeline::upkeep::health::HealthMonitor;
use crate::pipeline::watchdog::Watchdog;
use crate::pipeline::webhooks::deliveries::{Dispatcher, DispatcherParts};
use crate::pipeline::webhooks::manage::Webhooks;
use crate::pipeline::webhooks::signing::Signer;
use crate::telemetry::Telemetry;
use backline_gateway::secrets::Keyring;
use backline_gateway::{Demand, Gateway, GatewayError};
use backline_model::clock::Clock;
use backline_sandbox::{Sandbox, SandboxError};
use backline_store::{Store, StoreError};

/// Why a host can't be opened or reconfigured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The gateway can't be built.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The sandbox can't be built.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The configuration changes what can't be changed while the host runs.
    #[error("these changes need a restart: {keys}; the old configuration stays in force, restart or undo the change")]
    NeedsRestart {
        /// Keys that were changed.
        keys: String,
    },
}

impl Classified for OpenError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Gateway(error) => error.class(),
            Self::Sandbox(SandboxError::Ticker(_)) => ErrorClass::Unavailable,
            Self::Config(_) | Self::Sandbox(_) | Self::NeedsRestart { .. } => ErrorClass::Refused,
        }
    }
}

/// A host: everything that a command or a service works with, by capability. Cloning shares it.
///
/// ```
/// use backline::config::Config;
/// use backline::pipeline::{Classified as _, ErrorClass, Host};
/// use backline_model::ArtistId;
/// use backline_model::clock::Clock;
/// use backline_store::{Store, StoreOptions};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let folder = tempfile::tempdir()?;
/// let mut config = Config::default();
/// config.database.url = format!("sqlite://{}", folder.path().join("backline.db").display());
/// Store::open(&config.database.url, StoreOptions::default()).await?.migrate().await?;
///
/// let host = Host::open(config, Clock::system()).await?;
/// let health = host.health().report(None).await?;
/// assert!(health.platforms.is_empty(), "nothing was collected yet");
///
/// let unknown = ArtistId::generate();
/// let refused = host.privacy().erase(unknown).await.expect_err("there is no such artist");
/// assert_eq!(refused.class(), ErrorClass::Refused);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Host {
    parts: Arc<Parts>,
}

struct Parts {
    config: Arc<Config>,
    name: Arc<str>,
    is_simulated: bool,
    telemetry: Telemetry,
    clock: Clock,
    clocks: Clocks,
    watchdog: Watchdog,
    store: Store,
    gateway: Gateway,
    cache: ReleaseCache,
    budgets: BudgetServer,
    collector: Collector,
    planner: Planner,
    runs: Runs,
    quarantine: Quarantine,
    releases: ReleaseManager,
    conformance: Conformance,
    credentials: CredentialManager,
    installation: Installation,
    webhooks: Webhooks,
    dispatcher: Dispatcher,
    alerts: Alerts,
    artist_sync: ArtistSync,
    privacy: Privacy,
    archive: Archive,
    bulk: Bulk,
    health: HealthMonitor,
    /// Answers the gateway's requests for units of budgets; ends with the last host that shares the gateway.
    background: Arc<JoinSet<()>>,
}

/// What a host is assembled from besides its configuration.
struct Basis {
    name: Arc<str>,
    is_simulated: bool,
    telemetry: Telemetry,
    clock: Clock,
    store: Store,
    keyring: Option<Arc<Keyring>>,
    /// What was made of the configuration already.
    made: Option<Made>,
}

/// What is made of a configuration without a database, or why it can't be.
pub(in crate::pipeline) struct Made {
    pub(in crate::pipeline) gateway: Result<(Gateway, mpsc::Receiver<Demand>), GatewayError>,
    pub(in crate::pipeline) sandbox: Result<Sandbox, SandboxError>,
}

impl Host {
    /// Opens the database and builds gateway and sandbox. Changes nothing.
    ///
    /// # Errors
    /// When the database can't be reached or has another schema, or the configuration is not valid.
    pub async fn open(config: Config, clock: Clock) -> Result<Self, OpenError> {
        // While the database is waited for, certificates are read and the engine is set up.
        let mut making = JoinSet::new();
        let (gateway, sandbox, own_clock) = (config.gateway.clone(), config.sandbox.clone(), clock.clone());
        making
            .spawn_blocking(move || Made { gateway: Gateway::new(gateway, own_clock), sandbox: Sandbox::new(sandbox) });
        let store = Store::open(&config.database.url, store_options(&config.database)).await?;
        store.schema_check().await?;
        let keyring = config.secrets.keyring()?.map(Arc::new);
        let (name, is_simulated) = (name_of(&config), is_simulated(&store).await?);
        // One that panicked is made again, which tells why.
        let made = making.join_next().await.and_then(Result::ok);
        let telemetry = Telemetry::default();
        Self::build(config, Basis { name, is_simulated, telemetry, clock, store, keyring, made }, None)
    }

    /// Builds a host on a database that is open and has been checked, of what was made of its configuration already.
    ///
    /// # Errors
    /// When the configuration of gateway or sandbox is not valid, or the database fails.
    pub(in crate::pipeline) async fn assemble(
        config: Config,
        clock: Clock,
        store: Store,
        keyring: Option<Arc<Keyring>>,
        made: Option<Made>,
    ) -> Result<Self, OpenError> {
        // Once: what a database is of never changes.
        let (name, is_simulated) = (name_of(&config), is_simulated(&store).await?);
        let telemetry = Telemetry::default();
        Self::build(config, Basis { name, is_simulated, telemetry, clock, store, keyring, made }, None)
    }

    fn build(config: Config, basis: Basis, before: Option<&Parts>) -> Result<Self, OpenError> {
        let Basis { name, is_simulated, telemetry, clock, store, keyring, made } = basis;
        let (gateway, sandbox) = made.map(|made| (made.gateway, made.sandbox)).unzip();
        let clocks = match before {
            Some(before) => before.clocks.clone(),
            None => Clocks::new(store.clone(), clock.clone()),
        };
        let (watchdog, budgets) = match before {
            Some(before) => (before.watchdog.clone(), before.budgets.clone()),
            None => {
                let watchdog = Watchdog::default();
                let budgets =
                    BudgetServer::new(store.clone(), clock.clone(), clocks.clone(), watchdog.watch("budgets"));
                (watchdog, budgets)
            }
        };
        // What the configuration does not change is kept: units that the gateway holds, connectors that are loaded.
        let (gateway, background) = match before.filter(|before| before.config.gateway == config.gateway) {
            Some(before) => (before.gateway.clone(), Arc::clone(&before.background)),
            None => {
                let make = || Gateway::new(config.gateway.clone(), clock.clone());
                let (gateway, demands) = gateway.unwrap_or_else(make)?;
                let mut background = JoinSet::new();
                background.spawn(budgets::serve(budgets.clone(), demands));
                (gateway, Arc::new(background))
            }
        };
        let cache = match before.filter(|before| before.config.sandbox == config.sandbox) {
            Some(before) => before.cache.clone(),
            None => {
                let sandbox = sandbox.unwrap_or_else(|| Sandbox::new(config.sandbox.clone()))?;
                ReleaseCache::new(store.clone(), sandbox, telemetry.clone())
            }
        };
        let journal = Journal::new(config.service.state_dir.as_deref());
        let folder = config.installation.folder.as_deref();
        let installation = Installation::new(store.clone(), clock.clone(), folder);
        let credentials = CredentialManager::new(
            Arc::clone(&name),
            store.clone(),
            gateway.clone(),
            keyring.clone(),
            Outside { journal: journal.clone(), installation: installation.clone(), clocks: clocks.clone() },
            clock.clone(),
            telemetry.clone(),
        );
        let credentials = match before {
            Some(before) => credentials.after(&before.credentials),
            None => credentials,
        };
        let config = Arc::new(config);
        let collector_parts = CollectorParts {
            name: Arc::clone(&name),
            config: Arc::clone(&config),
            telemetry: telemetry.clone(),
            clock: clock.clone(),
            clocks: clocks.clone(),
            store: store.clone(),
            gateway: gateway.clone(),
            cache: cache.clone(),
            credentials: credentials.clone(),
        };
        let collector = Collector::new(collector_parts, before.map(|before| &before.collector));
        let releases =
            ReleaseManager::new(Arc::clone(&config), clock.clone(), clocks.clone(), store.clone(), cache.clone());
        let planner = Planner::new(Arc::clone(&config), clock.clone(), store.clone(), releases.clone());
        let health = HealthMonitor::new(
            Arc::clone(&config),
            telemetry.clone(),
            clock.clone(),
            clocks.clone(),
            store.clone(),
            credentials.clone(),
        );
        let conformance = Conformance::new(
            Arc::clone(&config),
            clock.clone(),
            store.clone(),
            gateway.clone(),
            cache.clone(),
            releases.clone(),
            credentials.clone(),
        );
        let alerts = Alerts::new(
            Arc::clone(&name),
            Arc::clone(&config),
            clock.clone(),
            clocks.clone(),
            store.clone(),
            gateway.clone(),
            keyring.clone(),
        );
        let signer = Signer::new(clock.clone(), store.clone(), keyring);
        let dispatcher = Dispatcher::new(DispatcherParts {
            name: Arc::clone(&name),
            config: Arc::clone(&config),
            telemetry: telemetry.clone(),
            clock: clock.clone(),
            clocks: clocks.clone(),
            store: store.clone(),
            gateway: gateway.clone(),
            signer: signer.clone(),
        });
        let runs =
            Runs::new(planner.clone(), collector.clone(), releases.clone(), health.clone(), installation.clone());
        let quarantine = Quarantine::new(Arc::clone(&config), clock.clone(), store.clone());
        let parts = Parts {
            bulk: Bulk::new(bulk::Needed {
                name: Arc::clone(&name),
                config: Arc::clone(&config),
                clock: clock.clone(),
                clocks: clocks.clone(),
                store: store.clone(),
                quarantine: quarantine.clone(),
                runs: runs.clone(),
            }),
            runs,
            quarantine,
            webhooks: Webhooks::new(Arc::clone(&config), clock.clone(), store.clone(), gateway.clone(), signer),
            artist_sync: ArtistSync::new(Arc::clone(&config), clock.clone(), store.clone(), journal.clone()),
            privacy: Privacy::new(clock.clone(), store.clone(), journal),
            archive: Archive::new(
                Arc::clone(&name),
                Arc::clone(&config),
                telemetry.clone(),
                clock.clone(),
                clocks.clone(),
                store.clone(),
            ),
            config,
            name,
            is_simulated,
            telemetry,
            clock,
            clocks,
            watchdog,
            store,
            gateway,
            cache,
            budgets,
            collector,
            planner,
            releases,
            conformance,
            credentials,
            installation,
            dispatcher,
            alerts,
            health,
            background,
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// The same host under another configuration: the same database connections, and what the configuration does not
    /// change.
    ///
    /// # Errors
    /// When the configuration is not valid, or changes what needs a restart.
    pub(in crate::pipeline) fn reconfigured(&self, config: Config) -> Result<Self, OpenError> {
        let current = &self.parts.config;
        let changed: Vec<&str> = [
            ("database", config.database == current.database),
            ("service.listen", config.service.listen == current.service.listen),
            ("service.name", config.service.name == current.service.name),
            ("service.tls_certificate", config.service.tls_certificate == current.service.tls_certificate),
            ("service.tls_key", config.service.tls_key == current.service.tls_key),
            ("service.state_dir", config.service.state_dir == current.service.state_dir),
        ]
        .into_iter()
        .filter_map(|(key, same)| (!same).then_some(key))
        .collect();
        if !changed.is_empty() {
            return Err(OpenError::NeedsRestart { keys: changed.join(", ") });
        }
        let basis = Basis {
            name: Arc::clone(&self.parts.name),
            is_simulated: self.parts.is_simulated,
            telemetry: self.parts.telemetry.clone(),
            clock: self.parts.clock.clone(),
            store: self.parts.store.clone(),
            keyring: config.secrets.keyring()?.map(Arc::new),
            made: None,
        };
        Self::build(config, basis, Some(&self.parts))
    }

    /// This host's name, unique among the hosts on its database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// Whether the artists and numbers of its database are simulated. Every edge says so then.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.parts.is_simulated
    }

    /// The host's metrics.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.parts.telemetry
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    /// The clock that decides what is due.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.parts.clock
    }

    /// Plans what a run would collect.
    #[must_use]
    pub fn planner(&self) -> &Planner {
        &self.parts.planner
    }

    /// Runs that this process works off by itself.
    #[must_use]
    pub fn runs(&self) -> &Runs {
        &self.parts.runs
    }

    /// Values that validation withheld.
    #[must_use]
    pub fn quarantine(&self) -> &Quarantine {
        &self.parts.quarantine
    }

    /// Releases: install, grant, activate, roll back.
    #[must_use]
    pub fn releases(&self) -> &ReleaseManager {
        &self.parts.releases
    }

    /// Tries releases before they collect.
    #[must_use]
    pub fn conformance(&self) -> &Conformance {
        &self.parts.conformance
    }

    /// Credentials: set, rotate, refresh.
    #[must_use]
    pub fn credentials(&self) -> &CredentialManager {
        &self.parts.credentials
    }

    /// Whether this process belongs to the database's installation, and may refresh tokens.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.parts.installation
    }

    /// Webhooks as an operator manages them.
    #[must_use]
    pub fn webhooks(&self) -> &Webhooks {
        &self.parts.webhooks
    }

    /// Delivers events to webhooks.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.parts.dispatcher
    }

    /// Alerts to people.
    #[must_use]
    pub fn alerts(&self) -> &Alerts {
        &self.parts.alerts
    }

    /// Keeps artists in step with another table.
    #[must_use]
    pub fn artist_sync(&self) -> &ArtistSync {
        &self.parts.artist_sync
    }

    /// Export, erasure and search of one artist's data.
    #[must_use]
    pub fn privacy(&self) -> &Privacy {
        &self.parts.privacy
    }

    /// Moves and deletes what is past its retention.
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.parts.archive
    }

    /// Acts on everything that a filter shows.
    #[must_use]
    pub fn bulk(&self) -> &Bulk {
        &self.parts.bulk
    }

    /// Health and its alerts.
    #[must_use]
    pub fn health(&self) -> &HealthMonitor {
        &self.parts.health
    }

    pub(in crate::pipeline) fn shared_config(&self) -> Arc<Config> {
        Arc::clone(&self.parts.config)
    }

    /// Whether this machine's clock jumped and is wrong still, so that nothing is to be written by it. The database is
    /// asked only where the clock has not gone on as time did.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn has_wrong_clock(&self) -> Result<bool, StoreError> {
        Ok(self.parts.clocks.asked_now().await?.is_none())
    }

    pub(in crate::pipeline) fn clocks(&self) -> &Clocks {
        &self.parts.clocks
    }

    /// Watches the loops of a service on this host, and what the host itself runs.
    pub(in crate::pipeline) fn watchdog(&self) -> &Watchdog {
        &self.parts.watchdog
    }

    /// What answers the gateway; ends when nobody holds it any more.
    pub(in crate::pipeline) fn background(&self) -> Arc<JoinSet<()>> {
        Arc::clone(&self.parts.background)
    }

    pub(in crate::pipeline) fn gateway(&self) -> &Gateway {
        &self.parts.gateway
    }

    pub(in crate::pipeline) fn cache(&self) -> &ReleaseCache {
        &self.parts.cache
    }

    pub(in crate::pipeline) fn collector(&self) -> &Collector {
        &self.parts.collector
    }
}

/// The host's name, in leases and in the list of hosts.
fn name_of(config: &Config) -> Arc<str> {
    config.service.name.clone().unwrap_or_else(own_name).into()
}

/// A name that no two hosts share: the machine, the process and a random part.
fn own_name() -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{machine}-{}-{}", std::process::id(), &random[..6])
}
