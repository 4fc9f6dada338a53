//! Releases on their way from the database to the sandbox: each is compiled once and kept while it is in use.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Host, HostError};
use crate::domain::{Digest, Grant, Manifest, Release, ReleaseState};
use crate::sandbox::{Connector, Sandbox};
use crate::store::Store;
use crate::telemetry::Telemetry;

/// Fewer characters of a digest name no release.
const DIGEST_TEXT_MIN: usize = 6;

/// A release that is ready to run.
#[derive(Clone)]
pub struct LoadedRelease {
    /// Its bytes, compiled and linked.
    pub connector: Arc<Connector>,
    /// What it says of itself.
    pub manifest: Arc<Manifest>,
    /// What the operator allowed.
    pub grant: Arc<Grant>,
    /// Its digest.
    pub digest: Digest,
    /// The contract version it speaks.
    pub wit_version: String,
}

/// Loads releases, each once.
#[derive(Clone)]
pub struct ReleaseShelf {
    store: Store,
    sandbox: Sandbox,
    telemetry: Telemetry,
    loaded: Arc<Mutex<HashMap<Digest, LoadedRelease>>>,
}

impl ReleaseShelf {
    /// An empty shelf.
    pub fn new(store: Store, sandbox: Sandbox, telemetry: Telemetry) -> Self {
        Self { store, sandbox, telemetry, loaded: Arc::default() }
    }

    /// Compiles and links a component, without keeping it: what installing needs to know before it changes anything.
    ///
    /// # Errors
    /// [`HostError::Load`] when the component can't be compiled or linked, [`HostError::Store`] when the database fails.
    pub async fn load(&self, component: &[u8], digest: Digest) -> Result<Arc<Connector>, HostError> {
        let key = self.sandbox.cache_key(&digest);
        let known = self.store.compiled(&key).await?.map(|compiled| crate::sandbox::CompiledRecord { key, compiled });
        let (connector, record) = self.sandbox.load(component, digest, known.as_ref()).await?;
        if known.as_ref() != Some(&record) {
            self.store.save_compiled(&record.key, record.compiled).await?;
        }
        Ok(connector)
    }

    /// A release that a batch names.
    ///
    /// # Errors
    /// [`HostError::ReleaseGone`] when the database has it no longer, and those of [`load`](Self::load).
    pub async fn get(&self, digest: Digest) -> Result<LoadedRelease, HostError> {
        // Held while compiling: the first batches of a release all wait for one compilation instead of starting their own.
        let mut loaded = self.loaded.lock().await;
        if let Some(release) = loaded.get(&digest) {
            return Ok(release.clone());
        }
        let release: Release = self.store.get_release(digest).await?.ok_or(HostError::ReleaseGone { digest })?;
        let component = self.store.component(digest).await?.ok_or(HostError::ReleaseGone { digest })?;
        let connector = self.load(&component, digest).await?;
        let ready = LoadedRelease {
            connector,
            manifest: Arc::new(release.manifest),
            grant: Arc::new(release.grant),
            digest,
            wit_version: release.wit_version,
        };
        // Whatever can be collected has a label of its own before anything is counted for it.
        self.telemetry.know(&ready.manifest.connector.platform);
        loaded.insert(digest, ready.clone());
        Ok(ready)
    }
}

impl Host {
    /// A release by its connector's name and its version, or the beginning of its digest; without a version the highest one that is there.
    ///
    /// # Errors
    /// [`HostError::NoRelease`] says what there is.
    pub async fn release_named(&self, name: &str, version: Option<&str>) -> Result<Release, HostError> {
        let mut releases = self.store().list_releases().await?;
        releases.retain(|release| release.manifest.connector.name == name && release.state != ReleaseState::Removed);
        let is_meant = |release: &Release| {
            version.is_none_or(|version| {
                release.manifest.connector.version.to_string() == version
                    || (version.len() >= DIGEST_TEXT_MIN && release.digest.to_string().starts_with(version))
            })
        };
        let versions: Vec<String> =
            releases.iter().map(|release| format!("{name} {}", release.manifest.connector.version)).collect();
        let found = releases.into_iter().filter(is_meant);
        found.max_by(|a, b| a.manifest.connector.version.cmp(&b.manifest.connector.version)).ok_or_else(|| {
            HostError::NoRelease {
                wanted: version.map_or(name.to_owned(), |version| format!("{name} {version}")),
                known: if versions.is_empty() { "none of that name".to_owned() } else { versions.join(", ") },
            }
        })
    }
}
