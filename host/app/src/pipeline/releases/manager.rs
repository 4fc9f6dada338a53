//! What an operator does with releases. Each part of it has a file of its own beside this one.

use std::sync::Arc;

use crate::config::Config;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::cache::ReleaseCache;
use backline_model::clock::Clock;
use backline_model::{Platform, Release, ReleaseState};
use backline_store::{Store, StoreError};

/// Shortest prefix of a digest that names a release, in characters.
const DIGEST_TEXT_MIN: usize = 6;

/// Why no release was found.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No release is active for the platform.
    #[error(
        "no connector is active for platform '{platform}'; install one with `backline plugins install`, \
         `backline plugins list` shows what is installed"
    )]
    NoConnector {
        /// Platform that was asked for.
        platform: Platform,
    },
    /// No release has this name and version.
    #[error("no release {wanted} is installed; installed are: {known}")]
    NoRelease {
        /// Name and version that were asked for.
        wanted: String,
        /// Releases of the same name, for the message.
        known: String,
    },
}

impl Classified for LookupError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::NoConnector { .. } | Self::NoRelease { .. } => ErrorClass::Refused,
        }
    }
}

/// Installs, grants, activates, reviews and rolls back releases. Cloning shares it.
#[derive(Clone)]
pub struct ReleaseManager {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) cache: ReleaseCache,
}

impl ReleaseManager {
    pub(in crate::pipeline) fn new(config: Arc<Config>, clock: Clock, store: Store, cache: ReleaseCache) -> Self {
        Self { config, clock, store, cache }
    }

    /// The platform's active release.
    ///
    /// # Errors
    /// [`LookupError::NoConnector`] when there is none.
    pub async fn active(&self, platform: &Platform) -> Result<Release, LookupError> {
        let active = self.store.active_release_get(platform).await?;
        active.ok_or_else(|| LookupError::NoConnector { platform: platform.clone() })
    }

    /// A release by its connector's name and its version or the first characters of its digest; without a version, the
    /// highest one.
    ///
    /// # Errors
    /// [`LookupError::NoRelease`] names the installed ones.
    pub async fn named(&self, name: &str, version: Option<&str>) -> Result<Release, LookupError> {
        let mut releases = self.store.releases_list().await?;
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
            LookupError::NoRelease {
                wanted: version.map_or(name.to_owned(), |version| format!("{name} {version}")),
                known: if versions.is_empty() { "none of that name".to_owned() } else { versions.join(", ") },
            }
        })
    }
}
