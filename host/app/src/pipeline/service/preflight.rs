//! Checks before a host serves: all problems are reported at once, before a port is bound.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use crate::config::Config;
use crate::pipeline::Host;
use crate::pipeline::context::is_present;
use crate::pipeline::error::{Classified, ErrorClass, with_causes};
use crate::pipeline::host::{Made, OpenError};
use crate::pipeline::releases::cache::ReleaseError;
use crate::pipeline::service::configured::{self, UnknownName};
use crate::pipeline::service::presence::BEAT;
use backline_gateway::Gateway;
use backline_gateway::secrets::{Keyring, WebhookSecret};
use backline_model::Platform;
use backline_model::clock::Clock;
use backline_sandbox::Sandbox;
use backline_store::{DatabaseKind, KnownHost, Scope, Store, StoreError, url_check};

/// How long to watch a host that seems to be running already: a live one reports within this time, a killed one does
/// not.
const WATCHED: Duration = Duration::from_secs(2 * BEAT.as_secs() + 1);

/// What keeps a host from serving, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// Configuration, database, gateway or sandbox.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An address names no database.
    #[error("{key} is wrong")]
    Url {
        /// The key of the configuration that has it.
        key: &'static str,
        /// What is wrong, and what to write instead.
        #[source]
        source: StoreError,
    },
    /// Credentials are stored, and no key is configured.
    #[error("credentials are stored, but no key is configured; set secrets.key_file to the key they were sealed with")]
    NoKey,
    /// The configured key is not the one they were sealed with.
    #[error(
        "the configured key does not open the stored credentials; set secrets.key_file to the key they were sealed with"
    )]
    WrongKey,
    /// The clocks differ: leases would expire too early or too late.
    #[error(
        "this machine's clock says {machine}, the database's {database}: they may differ by {tolerance_ms} ms, a third \
         of collection.lease_ttl_ms; set both by NTP"
    )]
    Clock {
        /// This machine's time.
        machine: DateTime<Utc>,
        /// The server's time.
        database: DateTime<Utc>,
        /// Largest allowed difference, in milliseconds.
        tolerance_ms: i64,
    },
    /// SQLite is for one host.
    #[error(
        "the host {name} already uses this SQLite file (last seen at {seen_at}); stop it, or use PostgreSQL for more \
         than one host"
    )]
    SecondHost {
        /// Name of the other host.
        name: String,
        /// When it was last seen.
        seen_at: DateTime<Utc>,
    },
    /// Another host has the same name, which identifies it in leases and roles.
    #[error(
        "another host is called {name} (last seen at {seen_at}); give each a service.name of its own, or leave it out"
    )]
    NameTaken {
        /// The name that both use.
        name: String,
        /// When the other host was last seen.
        seen_at: DateTime<Utc>,
    },
    /// Others can reach the address, and no token would let them in.
    #[error(
        "service.listen is {listen}, where other machines reach it, and no token is in force; make one with `backline \
         tokens create --role viewer`, or set service.without_token to true"
    )]
    NoToken {
        /// The address.
        listen: SocketAddr,
    },
    /// The configuration has a slip of a name.
    #[error(transparent)]
    Name(#[from] UnknownName),
    /// An active connector can't be loaded.
    #[error(
        "the active connector {name} {version} of {platform} can't be loaded; install another version with `backline \
         plugins install`"
    )]
    NotLoaded {
        /// Name of the connector.
        name: String,
        /// Version of the release.
        version: String,
        /// Platform that it collects.
        platform: String,
        /// Why it can't be loaded.
        #[source]
        source: ReleaseError,
    },
}

impl Obstacle {
    /// The key or the section of the configuration that it is about most likely.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Open(OpenError::Config(error)) => error.key().unwrap_or("config"),
            Self::Open(OpenError::Store(_)) => "database",
            Self::Open(OpenError::Gateway(_)) => "gateway",
            Self::Open(OpenError::Sandbox(_)) => "sandbox",
            Self::Open(OpenError::NeedsRestart { keys }) => keys,
            Self::Url { key, .. } => key,
            Self::NoKey | Self::WrongKey => "secrets.key_file",
            Self::Clock { .. } => "collection.lease_ttl_ms",
            Self::SecondHost { .. } => "database.url",
            Self::NameTaken { .. } => "service.name",
            Self::NoToken { .. } => "service.listen",
            Self::Name(unknown) => unknown.key(),
            Self::NotLoaded { .. } => "plugins",
        }
    }
}

impl Classified for Obstacle {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Open(error) => error.class(),
            Self::NotLoaded { source, .. } => source.class(),
            Self::Url { source, .. } => source.class(),
            Self::NoKey
            | Self::WrongKey
            | Self::Clock { .. }
            | Self::SecondHost { .. }
            | Self::NameTaken { .. }
            | Self::NoToken { .. }
            | Self::Name(_) => ErrorClass::Refused,
        }
    }
}

/// Assembles a host and checks everything it needs. Without `store`, because the caller could not open it, only what
/// needs no database is checked.
///
/// # Errors
/// All problems.
pub async fn examine(config: &Config, clock: &Clock, store: Option<Store>) -> Result<Host, Vec<Obstacle>> {
    if config.sandbox.compiler.is_some() {
        backline_sandbox::warn_if_lacking();
    }
    let (mut obstacles, keyring, made) = check_alone(config, clock);
    let Some(store) = store else { return Err(obstacles) };
    if let Err(error) = store.schema_check().await {
        obstacles.push(OpenError::from(error).into());
        return Err(obstacles);
    }
    obstacles.extend(check_stored(&store, config, clock, keyring.as_ref()).await);
    obstacles.extend(check_others(&store, config, clock).await);
    obstacles.extend(check_names(&store, config).await);
    let Some(keyring) = keyring else { return Err(obstacles) };
    match Host::assemble(config.clone(), clock.clone(), store, keyring.map(std::sync::Arc::new), made).await {
        Ok(host) => match load_active(&host, None).await {
            problems if problems.is_empty() && obstacles.is_empty() => Ok(host),
            problems => {
                obstacles.extend(problems);
                Err(obstacles)
            }
        },
        Err(error) if obstacles.is_empty() => Err(vec![error.into()]),
        // Gateway or sandbox: reported above already.
        Err(_) => Err(obstacles),
    }
}

/// What is found of a configuration without a host.
#[derive(Debug, Default)]
pub struct Examined {
    /// What would keep a host from serving with it.
    pub obstacles: Vec<Obstacle>,
    /// Names in it that have no effect until they exist.
    pub unknown: Vec<UnknownName>,
}

/// Checks a configuration as [`examine`] does, but starts, loads and writes nothing: a host may serve with the same
/// database meanwhile. So it says nothing of other hosts and of connectors. Without `store`, only what needs no
/// database is checked.
pub async fn examine_config(config: &Config, clock: &Clock, store: Option<&Store>) -> Examined {
    let (mut obstacles, keyring, _) = check_alone(config, clock);
    for (key, url) in [("database.url", Some(&config.database.url)), ("sync.url", config.sync.url.as_ref())] {
        let checked = url.map_or(Ok(()), |url| url_check(url));
        obstacles.extend(checked.err().map(|source| Obstacle::Url { key, source }));
    }
    let Some(store) = store else { return Examined { obstacles, unknown: Vec::new() } };
    if let Err(error) = store.schema_check().await {
        obstacles.push(OpenError::from(error).into());
        return Examined { obstacles, unknown: Vec::new() };
    }
    obstacles.extend(check_stored(store, config, clock, keyring.as_ref()).await);
    let (slips, unknown) = unknown_names(store, config).await;
    obstacles.extend(slips);
    Examined { obstacles, unknown }
}

/// Checks what needs no database. Returns the keyring too: none where it can't be read, and none within where no key is
/// configured. Also what was made of the configuration for that, where it is right.
fn check_alone(config: &Config, clock: &Clock) -> (Vec<Obstacle>, Option<Option<Keyring>>, Option<Made>) {
    let mut obstacles: Vec<Obstacle> = Vec::new();
    let mut met = |error: OpenError| obstacles.push(error.into());
    let gateway = Gateway::new(config.gateway.clone(), clock.clone()).map_err(|error| met(error.into())).ok();
    let sandbox = Sandbox::new(config.sandbox.clone()).map_err(|error| met(error.into())).ok();
    let keyring = config.secrets.keyring().map_err(|error| met(error.into())).ok();
    let made = gateway.zip(sandbox).map(|(gateway, sandbox)| Made { gateway: Ok(gateway), sandbox: Ok(sandbox) });
    (obstacles, keyring, made)
}

/// Compares a configuration with what a database holds, and its server with this machine.
async fn check_stored(
    store: &Store,
    config: &Config,
    clock: &Clock,
    keyring: Option<&Option<Keyring>>,
) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    if let Some(keyring) = keyring {
        obstacles.extend(check_key(store, keyring.as_ref()).await);
    }
    obstacles.extend(check_tokens(store, config, clock).await);
    obstacles.extend(check_clock(store, config, clock).await);
    obstacles
}

/// A key that opens none of the secrets is wrong. One that opens some is right, and the others are damaged, or were
/// encrypted with a key that is gone: only these can't be used.
async fn check_key(store: &Store, keyring: Option<&Keyring>) -> Option<Obstacle> {
    let sealed = match some_sealed(store).await {
        Ok(sealed) => sealed,
        Err(error) => return Some(OpenError::from(error).into()),
    };
    if sealed.is_empty() {
        return None;
    }
    let Some(keyring) = keyring else { return Some(Obstacle::NoKey) };
    let opens_one = sealed.iter().any(|(sealed, context)| keyring.open(sealed, context).is_ok());
    (!opens_one).then_some(Obstacle::WrongKey)
}

/// Some credentials and the webhooks' secrets, each with what it is bound to.
async fn some_sealed(store: &Store) -> Result<Vec<(Vec<u8>, String)>, StoreError> {
    let credentials = store.credentials_any_list(&Scope::all_tenants()).await?;
    let mut sealed: Vec<_> =
        credentials.into_iter().map(|credential| (credential.sealed, credential.id.to_string())).collect();
    for (webhook, _) in store.webhooks_list(&Scope::all_tenants()).await? {
        let secrets = store.webhook_secrets_get(&Scope::all_tenants(), webhook.id).await?;
        sealed.extend(secrets.map(|secrets| (secrets.secret, WebhookSecret::context(webhook.id))));
    }
    Ok(sealed)
}

/// Refuses an address that other machines reach while no token is in force: the API would answer nobody, and who set it
/// up so most likely meant something else.
async fn check_tokens(store: &Store, config: &Config, clock: &Clock) -> Option<Obstacle> {
    let listen = config.service.listen;
    if listen.ip().is_loopback() || config.service.without_token {
        return None;
    }
    match store.active_tokens_count(clock.now()).await {
        Ok(0) => Some(Obstacle::NoToken { listen }),
        Ok(_) => None,
        Err(error) => Some(OpenError::from(error).into()),
    }
}

/// Refuses slips of names in the configuration. Others that nothing has may be of a connector or an artist to come, and
/// are logged.
pub(super) async fn check_names(store: &Store, config: &Config) -> Vec<Obstacle> {
    let (slips, others) = unknown_names(store, config).await;
    for problem in others {
        tracing::warn!(%problem, "the configuration names something that has no effect until it exists");
    }
    slips
}

/// Slips of names in the configuration, or why they can't be looked up; and other names that nothing has.
async fn unknown_names(store: &Store, config: &Config) -> (Vec<Obstacle>, Vec<UnknownName>) {
    match configured::unknown(store, config).await {
        Ok(unknown) => {
            let (slips, others): (Vec<_>, Vec<_>) = unknown.into_iter().partition(UnknownName::is_slip);
            (slips.into_iter().map(Obstacle::from).collect(), others)
        }
        Err(error) => (vec![OpenError::from(error).into()], Vec::new()),
    }
}

async fn check_clock(store: &Store, config: &Config, clock: &Clock) -> Option<Obstacle> {
    let (before, asked) = (clock.now(), Instant::now());
    let database = match store.server_time_get().await {
        Ok(time) => time?,
        Err(error) => return Some(OpenError::from(error).into()),
    };
    let took = asked.elapsed();
    // The server answered at some time in between; the middle is the best estimate.
    let machine = before + took / 2;
    let tolerance_ms = i64::try_from(config.collection.lease_ttl_ms / 3).unwrap_or(i64::MAX);
    let differ = (database - machine).abs() - TimeDelta::from_std(took / 2).unwrap_or_default();
    let is_wrong = differ > TimeDelta::try_milliseconds(tolerance_ms).unwrap_or(TimeDelta::MAX);
    is_wrong.then_some(Obstacle::Clock { machine, database, tolerance_ms })
}

/// Finds a host that must not run at the same time: any on SQLite, one of the same name on PostgreSQL.
async fn check_others(store: &Store, config: &Config, clock: &Clock) -> Option<Obstacle> {
    let rivals = async || -> Result<Vec<KnownHost>, StoreError> {
        let now = clock.now();
        let known = store.hosts_list(now).await?;
        let is_rival = |host: &KnownHost| match store.kind() {
            DatabaseKind::Sqlite => true,
            DatabaseKind::Postgres => config.service.name.as_deref() == Some(&host.name),
        };
        Ok(known.into_iter().filter(|host| is_present(host, now) && is_rival(host)).collect())
    };
    let watched_until = Instant::now() + WATCHED;
    let first = match rivals().await {
        Ok(first) => first,
        Err(error) => return Some(OpenError::from(error).into()),
    };
    // A host that was killed a moment ago is still listed; a live one is seen again.
    while !first.is_empty() && Instant::now() < watched_until {
        tokio::time::sleep(BEAT / 4).await;
        let again = match rivals().await {
            Ok(again) => again,
            Err(error) => return Some(OpenError::from(error).into()),
        };
        let lives = |host: &&KnownHost| !first.iter().any(|first| first.seen_at == host.seen_at);
        if let Some(KnownHost { name, seen_at, .. }) = again.iter().find(lives) {
            let (name, seen_at) = (name.clone(), *seen_at);
            return Some(match store.kind() {
                DatabaseKind::Sqlite => Obstacle::SecondHost { name, seen_at },
                DatabaseKind::Postgres => Obstacle::NameTaken { name, seen_at },
            });
        }
    }
    None
}

/// Loads every active connector. Returns those that can't be loaded, if none can: otherwise the others are collected
/// with, and readiness and the log name those. Beside a configuration that is in force (`before`), also those that can
/// be loaded under that one.
pub(super) async fn load_active(host: &Host, before: Option<&Host>) -> Vec<Obstacle> {
    let releases = match host.store().releases_list().await {
        Ok(releases) => releases,
        Err(error) => return vec![OpenError::from(error).into()],
    };
    let is_new = |platform: &Platform| before.is_some_and(|before| !before.cache().is_blocked(platform));
    let (mut obstacles, mut is_any_loaded, mut is_any_new) = (Vec::new(), false, false);
    for release in releases.into_iter().filter(|release| release.active) {
        let Err(source) = host.cache().prepare(release.digest).await else {
            is_any_loaded = true;
            continue;
        };
        let connector = release.manifest.connector;
        is_any_new |= is_new(&connector.platform);
        obstacles.push(Obstacle::NotLoaded {
            name: connector.name,
            version: connector.version.to_string(),
            platform: connector.platform.to_string(),
            source,
        });
    }
    if is_any_loaded && !is_any_new {
        for obstacle in obstacles.drain(..) {
            tracing::error!(error = with_causes(&obstacle), "its platform is not collected");
        }
    }
    obstacles
}
