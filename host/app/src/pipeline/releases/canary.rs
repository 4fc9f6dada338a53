//! Canaries: a release collects a share of the accounts before it collects all of them.

use std::time::Duration;

use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::cache::ReleaseError;
use crate::pipeline::releases::manager::{LookupError, ReleaseManager};
use backline_model::{Digest, Platform};
use backline_rules::plan::CANARY_PARTS;
use backline_store::{Canary, StoreError};

/// Why a canary was not started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The platform has no active release.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The release can't be used on this host.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The share is none, or all.
    #[error(
        "a canary collects more than 0 % and less than 100 % of the accounts, not {percent} %; `backline plugins \
         activate` is for all"
    )]
    Share {
        /// Share that was asked for.
        percent: f64,
    },
    /// The release collects everything already.
    #[error("{name} {version} is active and collects all accounts already")]
    Active {
        /// Name of the connector.
        name: String,
        /// Version of the release.
        version: String,
    },
}

impl Classified for CanaryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Lookup(error) => error.class(),
            Self::Release(error) => error.class(),
            Self::Share { .. } | Self::Active { .. } => ErrorClass::Refused,
        }
    }
}

impl ReleaseManager {
    /// Makes a granted release collect a share of its platform's accounts, in parts of 10,000, in runs that are planned
    /// from now on. It is loaded here first, so that one that can't be loaded collects nothing. With `promote_after`,
    /// it becomes active after that time, unless it is worse.
    ///
    /// # Errors
    /// When the release does not exist, is active, is not granted or can't be loaded, or the share is out of range.
    pub async fn start_canary(
        &self,
        digest: Digest,
        share: u32,
        promote_after: Option<Duration>,
    ) -> Result<Canary, CanaryError> {
        if share == 0 || share >= CANARY_PARTS {
            return Err(CanaryError::Share { percent: f64::from(share) / 100.0 });
        }
        let release = self.store.release_get(digest).await?.ok_or(ReleaseError::Gone { digest })?;
        let active = self.active(release.platform()).await?;
        if active.digest == digest {
            let connector = release.manifest.connector;
            return Err(CanaryError::Active { name: connector.name, version: connector.version.to_string() });
        }
        self.cache.get(digest).await?;
        let now = self.clock.now();
        let canary = Canary {
            platform: release.platform().clone(),
            release: digest,
            share,
            started_at: now,
            promote_at: promote_after.map(|after| now + after),
        };
        self.store.canary_start(&canary).await?;
        Ok(canary)
    }

    /// Ends a platform's canary; the active release collects its accounts. False if there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stop_canary(&self, platform: &Platform) -> Result<bool, CanaryError> {
        Ok(self.store.canary_stop(platform).await?)
    }
}
