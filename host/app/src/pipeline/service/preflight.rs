//! What is looked at before a host serves: everything that can be wrong is found at once, and before a port is bound.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use crate::config::Config;
use crate::pipeline::service::presence::{BEAT, is_present};
use crate::pipeline::{Host, HostError};
use backline_gateway::Gateway;
use backline_gateway::secrets::{Keyring, WebhookSecret};
use backline_model::clock::Clock;
use backline_sandbox::Sandbox;
use backline_store::{DatabaseKind, KnownHost, Scope, Store, StoreError};

/// How long a host that seems to be there already is watched: one that lives says so within this time, one that was killed does not.
const WATCHED: Duration = Duration::from_secs(2 * BEAT.as_secs() + 1);

/// What keeps a host from serving, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// Configuration, database, way out or sandbox.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Credentials without the key that seals them.
    #[error("credentials are stored, but no key is configured; set secrets.key_file to the key they were sealed with")]
    NoKey,
    /// Another key than the one they were sealed with.
    #[error(
        "the configured key does not open the stored credentials; set secrets.key_file to the key they were sealed with"
    )]
    WrongKey,
    /// Leases would be taken for expired, or never expire.
    #[error(
        "this machine's clock says {machine}, the database's {database}: they may differ by {tolerance_ms} ms, a third of \
         collection.lease_ttl_ms; set both by NTP"
    )]
    Clock {
        /// This machine's time.
        machine: DateTime<Utc>,
        /// The server's time.
        database: DateTime<Utc>,
        /// The most they may differ.
        tolerance_ms: i64,
    },
    /// SQLite is for one host.
    #[error(
        "the host {name} works on this SQLite file already (last heard of at {seen_at}); stop it, or use PostgreSQL for more than one host"
    )]
    SecondHost {
        /// The other one.
        name: String,
        /// When it was last heard of.
        seen_at: DateTime<Utc>,
    },
    /// Leases and roles go by the name.
    #[error(
        "another host is called {name} (last heard of at {seen_at}); give each a service.name of its own, or leave it out"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// When the other one was last heard of.
        seen_at: DateTime<Utc>,
    },
    /// Nothing could be collected with it.
    #[error(
        "the active connector {name} {version} of {platform} can't be loaded; install another version with `backline plugins install`"
    )]
    NotLoaded {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// What it collects.
        platform: String,
        /// Why.
        #[source]
        source: HostError,
    },
}

/// Puts a host together and looks at everything it needs. Without `store` (the caller has found out why it can't be had), only what needs no
/// database is looked at.
///
/// # Errors
/// Everything that is wrong.
pub async fn examine(config: &Config, clock: &Clock, store: Option<Store>) -> Result<Host, Vec<Obstacle>> {
    let mut obstacles: Vec<Obstacle> = Vec::new();
    if let Err(error) = Gateway::new(config.gateway.clone(), clock.clone()) {
        obstacles.push(HostError::from(error).into());
    }
    if let Err(error) = Sandbox::new(config.sandbox.clone()) {
        obstacles.push(HostError::from(error).into());
    }
    let keyring = config.secrets.keyring().map_err(|error| obstacles.push(HostError::from(error).into())).ok();
    let Some(store) = store else { return Err(obstacles) };
    if let Err(error) = store.check_schema().await {
        obstacles.push(HostError::from(error).into());
        return Err(obstacles);
    }
    if let Some(keyring) = &keyring {
        obstacles.extend(check_key(&store, keyring.as_ref()).await);
    }
    obstacles.extend(check_clock(&store, config, clock).await);
    obstacles.extend(check_others(&store, config, clock).await);
    let Some(keyring) = keyring else { return Err(obstacles) };
    match Host::assemble(config.clone(), clock.clone(), store, keyring.map(std::sync::Arc::new)) {
        Ok(host) => match load_active(&host).await {
            problems if problems.is_empty() && obstacles.is_empty() => Ok(host),
            problems => {
                obstacles.extend(problems);
                Err(obstacles)
            }
        },
        Err(error) if obstacles.is_empty() => Err(vec![error.into()]),
        // Gateway or sandbox, which was said already.
        Err(_) => Err(obstacles),
    }
}

async fn check_key(store: &Store, keyring: Option<&Keyring>) -> Option<Obstacle> {
    let (sealed, context) = match anything_sealed(store).await {
        Ok(found) => found?,
        Err(error) => return Some(HostError::from(error).into()),
    };
    let Some(keyring) = keyring else { return Some(Obstacle::NoKey) };
    keyring.open(&sealed, &context).err().map(|_| Obstacle::WrongKey)
}

/// Any credential, or else any webhook's secret, with what it is bound to.
async fn anything_sealed(store: &Store) -> Result<Option<(Vec<u8>, String)>, StoreError> {
    if let Some(credential) = store.credential_get_any(&Scope::all_tenants()).await? {
        return Ok(Some((credential.sealed, credential.id.to_string())));
    }
    let Some((webhook, _)) = store.webhooks_list(&Scope::all_tenants()).await?.into_iter().next() else {
        return Ok(None);
    };
    let secrets = store.webhook_secrets_get(&Scope::all_tenants(), webhook.id).await?;
    Ok(secrets.map(|secrets| (secrets.secret, WebhookSecret::context(webhook.id))))
}

async fn check_clock(store: &Store, config: &Config, clock: &Clock) -> Option<Obstacle> {
    let (before, asked) = (clock.now(), Instant::now());
    let database = match store.server_time_get().await {
        Ok(time) => time?,
        Err(error) => return Some(HostError::from(error).into()),
    };
    let took = asked.elapsed();
    // The answer was given at some time between; half of it is the best guess.
    let machine = before + took / 2;
    let tolerance_ms = i64::try_from(config.collection.lease_ttl_ms / 3).unwrap_or(i64::MAX);
    let differ = (database - machine).abs() - TimeDelta::from_std(took / 2).unwrap_or_default();
    let is_wrong = differ > TimeDelta::try_milliseconds(tolerance_ms).unwrap_or(TimeDelta::MAX);
    is_wrong.then_some(Obstacle::Clock { machine, database, tolerance_ms })
}

/// Finds a host that must not be there at the same time: any on SQLite, one of the same name on PostgreSQL.
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
        Err(error) => return Some(HostError::from(error).into()),
    };
    // One that was killed a moment ago is still in the list; one that lives is heard of again.
    while !first.is_empty() && Instant::now() < watched_until {
        tokio::time::sleep(BEAT / 4).await;
        let again = match rivals().await {
            Ok(again) => again,
            Err(error) => return Some(HostError::from(error).into()),
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

/// Loads every active connector; says which ones can't be.
pub(in crate::pipeline) async fn load_active(host: &Host) -> Vec<Obstacle> {
    let releases = match host.store().releases_list().await {
        Ok(releases) => releases,
        Err(error) => return vec![HostError::from(error).into()],
    };
    let mut obstacles = Vec::new();
    for release in releases.into_iter().filter(|release| release.active) {
        if let Err(source) = host.releases().prepare(release.digest).await {
            let connector = release.manifest.connector;
            obstacles.push(Obstacle::NotLoaded {
                name: connector.name,
                version: connector.version.to_string(),
                platform: connector.platform.to_string(),
                source,
            });
        }
    }
    obstacles
}
