//! Canaries: a release collects a share of the accounts before it collects all of them.

use std::time::Duration;

use crate::pipeline::{Host, HostError};
use backline_model::{Digest, Platform};
use backline_rules::plan::CANARY_PARTS;
use backline_store::Canary;

impl Host {
    /// Lets a granted release collect a share of its platform's accounts, in parts of 10,000, in runs that are planned from now on. It is loaded
    /// here first, so that one that can't be loaded collects nothing. With a time given it becomes active after that, unless it is worse.
    ///
    /// # Errors
    /// When there is no such release, it is active or not granted, it can't be loaded, or the share makes no sense.
    pub async fn start_canary(
        &self,
        digest: Digest,
        share: u32,
        promote_after: Option<Duration>,
    ) -> Result<Canary, HostError> {
        if share == 0 || share >= CANARY_PARTS {
            return Err(HostError::Canary(format!(
                "a canary collects more than 0 % and less than 100 % of the accounts, not {} %; `backline plugins activate` is for all",
                f64::from(share) / 100.0
            )));
        }
        let release = self.store().release_get(digest).await?.ok_or(HostError::ReleaseGone { digest })?;
        let active = self.active(release.platform()).await?;
        if active.digest == digest {
            return Err(HostError::Canary(format!(
                "{} {} is active and collects all accounts already",
                release.manifest.connector.name, release.manifest.connector.version
            )));
        }
        self.releases().get(digest).await?;
        let now = self.clock().now();
        let canary = Canary {
            platform: release.platform().clone(),
            release: digest,
            share,
            started_at: now,
            promote_at: promote_after.map(|after| now + after),
        };
        self.store().canary_start(&canary).await?;
        Ok(canary)
    }

    /// Ends a platform's canary; its accounts are collected with the active release. False where there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stop_canary(&self, platform: &Platform) -> Result<bool, HostError> {
        Ok(self.store().canary_stop(platform).await?)
    }
}
