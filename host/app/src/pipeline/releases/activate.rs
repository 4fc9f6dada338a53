//! Activates releases: everything that can fail is done before, on every host; the swap is one transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use tokio::time::Instant;

use crate::pipeline::context::is_present;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::cache::ReleaseError;
use crate::pipeline::releases::manager::ReleaseManager;
use backline_model::kill_points::{Point, point};
use backline_model::{Digest, Release, ReleaseState, SwapCause};
use backline_store::{KnownHost, LoadReport, StoreError};

/// How often to check whether the hosts have loaded a release.
const LOOK: Duration = Duration::from_millis(25);

/// How much longer a release stays staged than the caller waits for it.
const STAGED_AFTER: TimeDelta = TimeDelta::seconds(10);

/// Options of an activation.
#[derive(Clone, Debug)]
pub struct ActivateOptions {
    /// How long the other hosts may take to load it.
    pub wait: Duration,
    /// Whether to activate it even if a host can't load it or does not report. Such a host becomes not ready, and
    /// leaves the platform's batches to others.
    pub anyway: bool,
    /// Whether to activate it even if it was rolled back before.
    pub again: bool,
    /// Cause of the swap, for the record.
    pub cause: SwapCause,
}

impl Default for ActivateOptions {
    fn default() -> Self {
        Self { wait: Duration::from_secs(120), anyway: false, again: false, cause: SwapCause::Activated }
    }
}

/// A completed swap.
#[derive(Clone, Debug, Serialize)]
pub struct Activated {
    /// The release that is active now.
    pub release: Digest,
    /// The release that was active before; none if there was none, or it was the same.
    pub before: Option<Digest>,
    /// The hosts' reports on loading it.
    pub hosts: Vec<LoadReport>,
}

/// Why a release was not activated.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The release can't be used on this host.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// It was rolled back before.
    #[error(
        "the release {} was rolled back: {reason}; activate it with --again if you are sure",
        digest.short()
    )]
    Withdrawn {
        /// Digest of the release.
        digest: Digest,
        /// Why it was rolled back.
        reason: String,
    },
    /// A host can't load it.
    #[error(
        "the release {} was not activated: {problems}; fix it there, or activate with --anyway and \
         leave the platform to the other hosts",
        digest.short()
    )]
    NotLoadedEverywhere {
        /// Digest of the release.
        digest: Digest,
        /// The hosts that can't load it, each with the reason.
        problems: String,
    },
    /// A host did not report in time whether it can load the release.
    #[error(
        "the release {} was not activated: {hosts} did not report within {waited_s} s; check these \
         hosts, wait longer with --wait, or activate with --anyway",
        digest.short()
    )]
    HostsSilent {
        /// Digest of the release.
        digest: Digest,
        /// Names of the hosts.
        hosts: String,
        /// Time that was waited, in seconds.
        waited_s: u64,
    },
}

impl Classified for ActivateError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Release(error) => error.class(),
            Self::Withdrawn { .. } | Self::NotLoadedEverywhere { .. } | Self::HostsSilent { .. } => ErrorClass::Refused,
        }
    }
}

impl ReleaseManager {
    /// Makes a release its platform's active one, on all hosts at once. It is loaded before on this host and on every
    /// host that serves. Running batches finish with the release they began with.
    ///
    /// # Errors
    /// When it is not granted, can't be loaded here, or a host can't load it or does not report. Nothing has changed
    /// then.
    pub async fn activate(&self, digest: Digest, options: &ActivateOptions) -> Result<Activated, ActivateError> {
        let release = self.store.release_get(digest).await?.ok_or(ReleaseError::Gone { digest })?;
        self.check_state(&release, options).await?;
        self.cache.prepare(digest).await?;
        if release.active {
            return Ok(Activated { release: digest, before: None, hosts: Vec::new() });
        }
        point(Point::ActivationLoaded);
        let wait = TimeDelta::from_std(options.wait).unwrap_or(TimeDelta::MAX);
        let staged = wait.checked_add(&STAGED_AFTER).and_then(|wait| self.clock.now().checked_add_signed(wait));
        let until = staged.unwrap_or(DateTime::<Utc>::MAX_UTC);
        let hosts = match self.rehearse(&release, until, options).await {
            Ok(hosts) => hosts,
            Err(error) => {
                self.store.release_unstage(digest, until).await?;
                return Err(error);
            }
        };
        point(Point::ActivationRehearsed);
        let before = self.store.release_activate(digest, options.cause, self.clock.now()).await?;
        Ok(Activated { release: digest, before, hosts })
    }

    async fn check_state(&self, release: &Release, options: &ActivateOptions) -> Result<(), ActivateError> {
        let digest = release.digest;
        match release.state {
            ReleaseState::Granted => Ok(()),
            ReleaseState::Withdrawn if options.again => Ok(self.store.release_regrant(digest).await?),
            ReleaseState::Withdrawn => Err(ActivateError::Withdrawn {
                digest,
                reason: release.state_reason.clone().unwrap_or_else(|| "it was worse than the one before".to_owned()),
            }),
            ReleaseState::Removed => Err(ReleaseError::Gone { digest }.into()),
            ReleaseState::Waiting | ReleaseState::Revoked => Err(ReleaseError::NotGranted { digest }.into()),
        }
    }

    /// Makes every host that serves load the release, and waits for all of them. It is staged until `until` at the
    /// latest.
    async fn rehearse(
        &self,
        release: &Release,
        until: DateTime<Utc>,
        options: &ActivateOptions,
    ) -> Result<Vec<LoadReport>, ActivateError> {
        if self.hosts_that_serve().await?.is_empty() {
            return Ok(Vec::new());
        }
        self.store.release_stage(release.digest, until).await?;
        point(Point::ActivationStaged);
        let give_up_at = Instant::now() + options.wait;
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let reports = self.store.load_reports_list(release.digest).await?;
            // A host that has stopped or died is not waited for.
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
                return Err(ActivateError::NotLoadedEverywhere { digest: release.digest, problems: failed.join("; ") });
            }
            if silent.is_empty() || (Instant::now() >= give_up_at && options.anyway) {
                return Ok(reports);
            }
            if Instant::now() >= give_up_at {
                return Err(ActivateError::HostsSilent {
                    digest: release.digest,
                    hosts: silent.join(", "),
                    waited_s: options.wait.as_secs(),
                });
            }
        }
    }

    async fn hosts_that_serve(&self) -> Result<Vec<String>, StoreError> {
        let now = self.clock.now();
        let hosts = self.store.hosts_list(now).await?;
        let serves = |host: &KnownHost| is_present(host, now) && host.state != "stopping";
        Ok(hosts.into_iter().filter(serves).map(|host| host.name).collect())
    }
}
