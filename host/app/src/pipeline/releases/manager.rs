//! What an operator does with releases. Each part of it has a file of its own beside this one.

use std::sync::Arc;

use crate::config::Config;
use crate::pipeline::clocks::Clocks;
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
        "no connector is active for platform '{platform}'; install one with `backline plugins install`, or activate \
         one that `backline plugins list` shows with `backline plugins activate`"
    )]
    NoConnector {
        /// Platform that was asked for.
        platform: Platform,
    },
    /// The releases that could be active for the platform are not granted.
    #[error(
        "no connector is active for platform '{platform}': {name} {version} is {state}; \
         `backline plugins grant {name} {version}` grants it"
    )]
    NotGranted {
        /// Platform that was asked for.
        platform: Platform,
        /// Name of the connector.
        name: String,
        /// Version of the release that was active last.
        version: String,
        /// `revoked`, or `waiting for a grant`.
        state: &'static str,
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
            Self::NoConnector { .. } | Self::NotGranted { .. } | Self::NoRelease { .. } => ErrorClass::Refused,
        }
    }
}

/// Installs, grants, activates, reviews and rolls back releases. Cloning shares it.
#[derive(Clone)]
pub struct ReleaseManager {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) clocks: Clocks,
    pub(super) store: Store,
    pub(super) cache: ReleaseCache,
}

impl ReleaseManager {
    pub(in crate::pipeline) fn new(
        config: Arc<Config>,
        clock: Clock,
        clocks: Clocks,
        store: Store,
        cache: ReleaseCache,
    ) -> Self {
        Self { config, clock, clocks, store, cache }
    }

    /// The platform's active release.
    ///
    /// # Errors
    /// [`LookupError::NotGranted`] or [`LookupError::NoConnector`] when there is none.
    pub async fn active(&self, platform: &Platform) -> Result<Release, LookupError> {
        match self.store.active_release_get(platform).await? {
            Some(active) => Ok(active),
            None => Err(none_active(platform, &self.store.releases_list().await?)),
        }
    }

    /// Why no platform has an active release; `None` where nothing is installed.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::pipeline) async fn none_at_all(&self) -> Result<Option<LookupError>, StoreError> {
        let releases = self.store.releases_list().await?;
        let installed = releases.iter().find(|release| release.state != ReleaseState::Removed);
        Ok(installed.map(|release| none_active(release.platform(), &releases)))
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

/// Why no release of a platform is active, with what would make one so. Of several, the one installed last is named.
fn none_active(platform: &Platform, releases: &[Release]) -> LookupError {
    let here = || releases.iter().filter(|release| release.platform() == platform);
    let last = |state| here().filter(move |release| release.state == state).max_by_key(|release| release.installed_at);
    let is_granted = here().any(|release| release.state == ReleaseState::Granted);
    let found = [(ReleaseState::Revoked, "revoked"), (ReleaseState::Waiting, "waiting for a grant")]
        .into_iter()
        .find_map(|(state, shown)| last(state).map(|release| (release, shown)));
    match found {
        Some((release, state)) if !is_granted => LookupError::NotGranted {
            platform: platform.clone(),
            name: release.manifest.connector.name.clone(),
            version: release.manifest.connector.version.to_string(),
            state,
        },
        _ => LookupError::NoConnector { platform: platform.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::fixtures::{manifest, time};
    use backline_model::{Digest, Grant};

    fn release(day: u32, state: ReleaseState) -> Release {
        let mut manifest = manifest();
        manifest.connector.version = semver::Version::new(1, u64::from(day), 0);
        Release {
            digest: Digest::of(&day.to_be_bytes()),
            grant: Grant::all_of(&manifest, &[]),
            manifest,
            wit_version: "1.0.0".to_owned(),
            imports: Vec::new(),
            state,
            state_reason: None,
            wanted: false,
            active: false,
            source: "demo.wasm".to_owned(),
            signed_by: None,
            installed_at: time(&format!("2026-11-{day:02}T12:00:00Z")),
            size_bytes: 1,
        }
    }

    #[test]
    fn the_remedy_is_a_grant_where_one_was_taken_back_or_is_awaited() {
        use ReleaseState::{Granted, Removed, Revoked, Waiting, Withdrawn};

        let platform = manifest().connector.platform;
        let name = manifest().connector.name;
        let said = |states: &[ReleaseState]| {
            let releases: Vec<Release> = states.iter().zip(1..).map(|(state, day)| release(day, *state)).collect();
            none_active(&platform, &releases).to_string()
        };
        for (states, expected) in [
            (&[Revoked, Revoked][..], format!("{name} 1.2.0 is revoked; `backline plugins grant {name} 1.2.0`")),
            (&[Revoked, Withdrawn], format!("{name} 1.1.0 is revoked; `backline plugins grant {name} 1.1.0`")),
            (&[Waiting], format!("is waiting for a grant; `backline plugins grant {name} 1.1.0`")),
            (&[], "install one with `backline plugins install`".to_owned()),
            (&[Removed, Withdrawn], "install one with `backline plugins install`".to_owned()),
            // It need only be activated.
            (&[Granted, Revoked], "`backline plugins activate`".to_owned()),
        ] {
            let text = said(states);
            assert!(text.contains(&expected), "{states:?}: {text}");
        }
        let elsewhere = Platform::new("elsewhere").expect("a name");
        let error = none_active(&elsewhere, &[release(1, Revoked)]);
        assert!(matches!(error, LookupError::NoConnector { .. }), "{error}");
    }
}
