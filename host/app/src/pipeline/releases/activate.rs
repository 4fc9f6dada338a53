//! Swapping releases: everything that can fail is done before, on every host, and the swap is one transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use serde::Serialize;
use tokio::time::Instant;

use crate::pipeline::service::presence::is_present;
use crate::pipeline::{Host, HostError};
use backline_model::{Digest, Release, ReleaseState, SwapCause};
use backline_store::LoadReport;

/// How often it is looked whether the hosts have loaded a release.
const LOOK: Duration = Duration::from_millis(25);

/// How much longer than somebody waits for it a release stays staged.
const STAGED_AFTER: TimeDelta = TimeDelta::seconds(10);

/// How a release is activated.
#[derive(Clone, Debug)]
pub struct ActivateOptions {
    /// How long the other hosts may take to load it.
    pub wait: Duration,
    /// Whether it is activated although a host can't load it or does not answer. Such a host says that it is not ready, and leaves the
    /// platform's batches to others.
    pub anyway: bool,
    /// Whether it is activated although it was rolled back before.
    pub again: bool,
    /// Why, as it is written down.
    pub cause: SwapCause,
}

impl Default for ActivateOptions {
    fn default() -> Self {
        Self { wait: Duration::from_secs(120), anyway: false, again: false, cause: SwapCause::Activated }
    }
}

/// A swap that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Activated {
    /// What is active now.
    pub release: Digest,
    /// What was active before; none where nothing was, or the same.
    pub before: Option<Digest>,
    /// What the hosts made of it before.
    pub hosts: Vec<LoadReport>,
}

impl Host {
    /// Makes a release its platform's active one, on all hosts at once. Before that it is loaded here and by every host that serves; batches
    /// under way end with the release they began with.
    ///
    /// # Errors
    /// When it is not granted, can't be loaded here, or a host can't load it or does not answer: nothing has changed then.
    pub async fn activate(&self, digest: Digest, options: &ActivateOptions) -> Result<Activated, HostError> {
        let release = self.store().release_get(digest).await?.ok_or(HostError::ReleaseGone { digest })?;
        self.check_state(&release, options).await?;
        self.releases().prepare(digest).await?;
        if release.active {
            return Ok(Activated { release: digest, before: None, hosts: Vec::new() });
        }
        let hosts = match self.rehearse(&release, options).await {
            Ok(hosts) => hosts,
            Err(error) => {
                self.store().release_unstage(digest).await?;
                return Err(error);
            }
        };
        let before = self.store().release_activate(digest, options.cause, self.clock().now()).await?;
        Ok(Activated { release: digest, before, hosts })
    }

    async fn check_state(&self, release: &Release, options: &ActivateOptions) -> Result<(), HostError> {
        let digest = release.digest;
        match release.state {
            ReleaseState::Granted => Ok(()),
            ReleaseState::Withdrawn if options.again => Ok(self.store().release_regrant(digest).await?),
            ReleaseState::Withdrawn => Err(HostError::Withdrawn {
                digest,
                reason: release.state_reason.clone().unwrap_or_else(|| "it was worse than the one before".to_owned()),
            }),
            ReleaseState::Removed => Err(HostError::ReleaseGone { digest }),
            ReleaseState::Waiting | ReleaseState::Revoked => Err(HostError::NotGranted { digest }),
        }
    }

    /// Has every host that serves load the release, and waits until they all have.
    async fn rehearse(&self, release: &Release, options: &ActivateOptions) -> Result<Vec<LoadReport>, HostError> {
        if self.hosts_that_serve().await?.is_empty() {
            return Ok(Vec::new());
        }
        let wait = TimeDelta::from_std(options.wait).unwrap_or(TimeDelta::MAX);
        let until = self
            .clock()
            .now()
            .checked_add_signed(wait + STAGED_AFTER)
            .unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC);
        self.store().release_stage(release.digest, until).await?;
        let give_up_at = Instant::now() + options.wait;
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let reports = self.store().load_reports_list(release.digest).await?;
            // One that stopped or died meanwhile is not waited for.
            let hosts = self.hosts_that_serve().await?;
            let by_host: BTreeMap<&str, &LoadReport> =
                reports.iter().map(|report| (report.host.as_str(), report)).collect();
            let failed: Vec<String> = hosts
                .iter()
                .filter_map(|host| Some(format!("{host}: {}", by_host.get(host.as_str())?.problem.as_ref()?)))
                .collect();
            let silent: Vec<&str> =
                hosts.iter().map(String::as_str).filter(|host| !by_host.contains_key(host)).collect();
            if !failed.is_empty() && !options.anyway {
                return Err(HostError::NotLoadedEverywhere { digest: release.digest, problems: failed.join("; ") });
            }
            if silent.is_empty() || (Instant::now() >= give_up_at && options.anyway) {
                return Ok(reports);
            }
            if Instant::now() >= give_up_at {
                return Err(HostError::HostsSilent {
                    digest: release.digest,
                    hosts: silent.join(", "),
                    waited_s: options.wait.as_secs(),
                });
            }
        }
    }

    async fn hosts_that_serve(&self) -> Result<Vec<String>, HostError> {
        let now = self.clock().now();
        let hosts = self.store().hosts_list(now).await?;
        let serves = |host: &backline_store::KnownHost| is_present(host, now) && host.state != "stopping";
        Ok(hosts.into_iter().filter(serves).map(|host| host.name).collect())
    }
}
