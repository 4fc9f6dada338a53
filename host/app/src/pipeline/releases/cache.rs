//! Releases on their way from the database to the sandbox: each is compiled once, kept while it is in use, and freed afterwards.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::pipeline::{Host, HostError};
use crate::telemetry::Telemetry;
use backline_model::{Digest, Grant, Manifest, Platform, Release, ReleaseState};
use backline_sandbox::{Connector, Sandbox};
use backline_store::Store;

/// Fewer characters of a digest name no release.
const DIGEST_TEXT_MIN: usize = 6;

/// A release that is ready to run, and what it may do at this moment.
#[derive(Clone)]
pub struct LoadedRelease {
    /// Its bytes, compiled and linked.
    pub connector: Arc<Connector>,
    /// What it says of itself.
    pub manifest: Arc<Manifest>,
    /// What the operator allows it now.
    pub grant: Arc<Grant>,
    /// Its digest.
    pub digest: Digest,
    /// The contract version it speaks.
    pub wit_version: String,
}

/// What of a release never changes.
#[derive(Clone)]
struct Ready {
    connector: Arc<Connector>,
    manifest: Arc<Manifest>,
    wit_version: String,
}

/// Loads releases, each once, and lets go of those that are not needed. One that is let go is freed when its last batch has ended.
#[derive(Clone)]
pub(crate) struct ReleaseCache {
    store: Store,
    sandbox: Sandbox,
    telemetry: Telemetry,
    places: Arc<Mutex<Places>>,
}

#[derive(Default)]
struct Places {
    /// Filled once each: the first batches of a release all wait for one compilation instead of starting their own, and those of other
    /// releases wait for nothing.
    ready: HashMap<Digest, Arc<OnceCell<Ready>>>,
    blocked: BTreeSet<Platform>,
}

impl ReleaseCache {
    /// An empty shelf.
    pub(crate) fn new(store: Store, sandbox: Sandbox, telemetry: Telemetry) -> Self {
        Self { store, sandbox, telemetry, places: Arc::default() }
    }

    /// Compiles and links a component, without keeping it: what installing needs to know before it changes anything.
    ///
    /// # Errors
    /// [`HostError::Load`] when the component can't be compiled or linked, [`HostError::Store`] when the database fails.
    pub(crate) async fn load(&self, component: &[u8], digest: Digest) -> Result<Arc<Connector>, HostError> {
        let key = self.sandbox.cache_key(&digest);
        let known =
            self.store.compiled_get(&key).await?.map(|compiled| backline_sandbox::CompiledRecord { key, compiled });
        let (connector, record) = self.sandbox.load(component, digest, known.as_ref()).await?;
        if known.as_ref() != Some(&record) {
            self.store.compiled_save(&record.key, record.compiled).await?;
        }
        Ok(connector)
    }

    /// A release that a batch was leased with. Its grant is read anew each time: what the operator takes back is gone with the next batch.
    ///
    /// # Errors
    /// [`HostError::NotGranted`] when it may do nothing any more, [`HostError::ReleaseGone`] when the database has it no longer, and those of [`prepare`](Self::prepare).
    pub(crate) async fn get(&self, digest: Digest) -> Result<LoadedRelease, HostError> {
        let Ready { connector, manifest, wit_version } = self.ready(digest).await?;
        let (state, grant) = self.store.grant_get(digest).await?.ok_or(HostError::ReleaseGone { digest })?;
        if state != ReleaseState::Granted {
            return Err(HostError::NotGranted { digest });
        }
        Ok(LoadedRelease { connector, manifest, grant: Arc::new(grant), digest, wit_version })
    }

    /// A release as it is, whatever it may do: what trying it without letting it send anything needs.
    ///
    /// # Errors
    /// Those of [`prepare`](Self::prepare).
    pub(crate) async fn get_ungranted(&self, digest: Digest) -> Result<LoadedRelease, HostError> {
        let Ready { connector, manifest, wit_version } = self.ready(digest).await?;
        let (_, grant) = self.store.grant_get(digest).await?.ok_or(HostError::ReleaseGone { digest })?;
        Ok(LoadedRelease { connector, manifest, grant: Arc::new(grant), digest, wit_version })
    }

    /// Makes a release ready to run, whatever it may do.
    ///
    /// # Errors
    /// [`HostError::ReleaseGone`] when the database has it no longer, and those of [`load`](Self::load).
    pub(crate) async fn prepare(&self, digest: Digest) -> Result<(), HostError> {
        self.ready(digest).await.map(|_| ())
    }

    async fn ready(&self, digest: Digest) -> Result<Ready, HostError> {
        let place = Arc::clone(self.places().ready.entry(digest).or_default());
        place.get_or_try_init(|| self.make_ready(digest)).await.cloned()
    }

    async fn make_ready(&self, digest: Digest) -> Result<Ready, HostError> {
        let release: Release = self.store.release_get(digest).await?.ok_or(HostError::ReleaseGone { digest })?;
        let component = self.store.component_get(digest).await?.ok_or(HostError::ReleaseGone { digest })?;
        let connector = self.load(&component, digest).await?;
        // Whatever can be collected has a label of its own before anything is counted for it.
        self.telemetry.know(release.platform());
        Ok(Ready { connector, manifest: Arc::new(release.manifest), wit_version: release.wit_version })
    }

    /// Lets go of every other release.
    pub(crate) fn keep_only(&self, digests: &BTreeSet<Digest>) {
        self.places().ready.retain(|digest, _| digests.contains(digest));
        self.telemetry.connectors_loaded(self.sandbox.connectors());
    }

    /// Platforms whose releases can't be loaded here, instead of those known before: other hosts may collect them.
    pub(crate) fn block(&self, platforms: BTreeSet<Platform>) {
        self.places().blocked = platforms;
    }

    /// Whether a platform's releases can't be loaded here.
    pub(crate) fn is_blocked(&self, platform: &Platform) -> bool {
        self.places().blocked.contains(platform)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// A release by its connector's name and its version, or the beginning of its digest; without a version the highest one that is there.
    ///
    /// # Errors
    /// [`HostError::NoRelease`] says what there is.
    pub async fn release_named(&self, name: &str, version: Option<&str>) -> Result<Release, HostError> {
        let mut releases = self.store().releases_list().await?;
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
