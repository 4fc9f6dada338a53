//! Releases between the database and the sandbox: each is compiled once, kept while it is in use, and freed afterwards.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::pipeline::error::{Classified, ErrorClass};
use crate::telemetry::Telemetry;
use backline_model::{Digest, Grant, Manifest, Platform, Release, ReleaseState};
use backline_sandbox::{CompiledRecord, Connector, LoadError, Sandbox};
use backline_store::{Store, StoreError};

/// Why a release can't be used on this host.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The component can't be compiled or linked.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The operator has not granted the release, or has revoked its grant.
    #[error("the release {} is not granted; `backline plugins grant` grants it", digest.short())]
    NotGranted {
        /// Digest of the release.
        digest: Digest,
    },
    /// The release was removed.
    #[error("the release {digest} is not in the database any more; install it again")]
    Gone {
        /// Digest of the release.
        digest: Digest,
    },
}

impl Classified for ReleaseError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Load(LoadError::Compiler { .. }) => ErrorClass::Unavailable,
            Self::Load(_) | Self::NotGranted { .. } | Self::Gone { .. } => ErrorClass::Refused,
        }
    }
}

/// A release that is ready to run, and its present grant.
#[derive(Clone)]
pub(in crate::pipeline) struct LoadedRelease {
    /// The component, compiled and linked.
    pub connector: Arc<Connector>,
    /// The component's manifest.
    pub manifest: Arc<Manifest>,
    /// What the operator allows it now.
    pub grant: Arc<Grant>,
    /// Digest of the component.
    pub digest: Digest,
    /// Version of the WIT contract.
    pub wit_version: String,
}

/// The parts of a release that never change.
#[derive(Clone)]
pub(in crate::pipeline) struct Ready {
    connector: Arc<Connector>,
    manifest: Arc<Manifest>,
    wit_version: String,
}

impl Ready {
    /// The release to collect with, by what was read of its grant just now.
    ///
    /// # Errors
    /// [`ReleaseError::NotGranted`] when it is not granted, and [`ReleaseError::Gone`] when it was removed.
    pub(in crate::pipeline) fn granted(
        self,
        digest: Digest,
        grant: Option<(ReleaseState, Grant)>,
    ) -> Result<LoadedRelease, ReleaseError> {
        let (state, grant) = grant.ok_or(ReleaseError::Gone { digest })?;
        if state != ReleaseState::Granted {
            return Err(ReleaseError::NotGranted { digest });
        }
        let Self { connector, manifest, wit_version } = self;
        Ok(LoadedRelease { connector, manifest, grant: Arc::new(grant), digest, wit_version })
    }
}

/// Loads each release once, and drops those that are not needed. A dropped release is freed when its last batch has
/// ended. Cloning shares it.
#[derive(Clone)]
pub(in crate::pipeline) struct ReleaseCache {
    store: Store,
    sandbox: Sandbox,
    telemetry: Telemetry,
    places: Arc<Mutex<Places>>,
}

#[derive(Default)]
struct Places {
    /// Each is filled once: all first batches of a release wait for one compilation, and batches of other releases do
    /// not wait.
    ready: HashMap<Digest, Arc<OnceCell<Ready>>>,
    blocked: BTreeSet<Platform>,
}

impl ReleaseCache {
    /// An empty cache.
    pub(in crate::pipeline) fn new(store: Store, sandbox: Sandbox, telemetry: Telemetry) -> Self {
        Self { store, sandbox, telemetry, places: Arc::default() }
    }

    /// Compiles and links a component without keeping it: an installation checks it before it changes anything.
    ///
    /// # Errors
    /// [`ReleaseError::Load`] when the component can't be compiled or linked, [`ReleaseError::Store`] when the database
    /// fails.
    pub(in crate::pipeline) async fn load(
        &self,
        component: &[u8],
        digest: Digest,
    ) -> Result<Arc<Connector>, ReleaseError> {
        let key = self.sandbox.cache_key(&digest);
        let known = self.store.compiled_get(&key).await?.map(|compiled| CompiledRecord { key, compiled });
        let (connector, record) = self.sandbox.load(component, digest, known.as_ref()).await?;
        if known.as_ref() != Some(&record) {
            self.store.compiled_save(&record.key, record.compiled).await?;
        }
        Ok(connector)
    }

    /// A release to collect with. Its grant is read each time, so that a revocation applies to the next batch.
    ///
    /// # Errors
    /// [`ReleaseError::NotGranted`] when it is not granted any more, [`ReleaseError::Gone`] when it was removed, and
    /// those of [`prepare`](Self::prepare).
    pub(in crate::pipeline) async fn get(&self, digest: Digest) -> Result<LoadedRelease, ReleaseError> {
        let ready = self.ready(digest).await?;
        let grant = self.store.grant_get(digest).await?;
        ready.granted(digest, grant)
    }

    /// A release whatever its grant: enough to try it without sending anything.
    ///
    /// # Errors
    /// Those of [`prepare`](Self::prepare).
    pub(in crate::pipeline) async fn get_ungranted(&self, digest: Digest) -> Result<LoadedRelease, ReleaseError> {
        let Ready { connector, manifest, wit_version } = self.ready(digest).await?;
        let (_, grant) = self.store.grant_get(digest).await?.ok_or(ReleaseError::Gone { digest })?;
        Ok(LoadedRelease { connector, manifest, grant: Arc::new(grant), digest, wit_version })
    }

    /// Makes a release ready to run, whatever its grant.
    ///
    /// # Errors
    /// [`ReleaseError::Gone`] when it was removed, and those of [`load`](Self::load).
    pub(in crate::pipeline) async fn prepare(&self, digest: Digest) -> Result<(), ReleaseError> {
        self.ready(digest).await.map(|_| ())
    }

    /// What is ready of a release whatever its grant, which is to be read afterwards: this may take long.
    ///
    /// # Errors
    /// Those of [`prepare`](Self::prepare).
    pub(in crate::pipeline) async fn ready(&self, digest: Digest) -> Result<Ready, ReleaseError> {
        let place = Arc::clone(self.places().ready.entry(digest).or_default());
        place.get_or_try_init(|| self.make_ready(digest)).await.cloned()
    }

    async fn make_ready(&self, digest: Digest) -> Result<Ready, ReleaseError> {
        let release: Release = self.store.release_get(digest).await?.ok_or(ReleaseError::Gone { digest })?;
        let component = self.store.component_get(digest).await?.ok_or(ReleaseError::Gone { digest })?;
        let connector = self.load(&component, digest).await?;
        // A platform needs its own label before anything is counted for it.
        self.telemetry.register_platform(release.platform());
        Ok(Ready { connector, manifest: Arc::new(release.manifest), wit_version: release.wit_version })
    }

    /// Drops all other releases.
    pub(in crate::pipeline) fn keep_only(&self, digests: &BTreeSet<Digest>) {
        self.places().ready.retain(|digest, _| digests.contains(digest));
        self.telemetry.connectors_loaded(self.sandbox.connectors());
    }

    /// Replaces the set of platforms whose releases can't be loaded here; other hosts may collect them.
    pub(in crate::pipeline) fn block(&self, platforms: BTreeSet<Platform>) {
        self.places().blocked = platforms;
    }

    /// Whether a platform's releases can't be loaded here.
    pub(in crate::pipeline) fn is_blocked(&self, platform: &Platform) -> bool {
        self.places().blocked.contains(platform)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
