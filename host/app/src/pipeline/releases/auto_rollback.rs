//! Checks whether active releases and canaries are worse than their predecessors, and rolls back those that are.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::json;

use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::manager::{LookupError, ReleaseManager};
use backline_model::{Digest, MetricName, Platform, Release, ReleaseState, RunId, SwapCause, Tally};
use backline_rules::rollback_analysis::{self, Regression, RollbackVerdict};
use backline_store::{Canary, Recollection, Rollback, Scope, StoreError, Swap};

/// How long batches that were running when their release was rolled back may take to finish with it.
const DRAIN_GRACE: TimeDelta = TimeDelta::hours(1);

/// How far back to look for tallies that were added since the last check.
const LOOKBACK: TimeDelta = TimeDelta::hours(1);

/// How many of a platform's swaps are searched for a release to return to.
const SWAPS_MAX: u32 = 100;

/// A release that was rolled back.
#[derive(Clone, Debug, Serialize)]
pub struct RolledBack {
    /// Platform of the release.
    pub platform: Platform,
    /// The release that was rolled back.
    pub from: Digest,
    /// The release that collects instead.
    pub to: Digest,
    /// Whether it was a canary.
    pub canary: bool,
    /// Reason, for the operator.
    pub reason: String,
    /// Accounts that are collected again.
    pub accounts: u64,
}

/// The result of a check.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReleaseReview {
    /// Releases that were rolled back.
    pub rolled_back: Vec<RolledBack>,
    /// Canaries that became active.
    pub promoted: Vec<Digest>,
    /// Runs that continue, because some of their accounts are collected again.
    pub runs: BTreeSet<RunId>,
}

/// Why a release was not rolled back.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The platform has no active release.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// No release can take its place.
    #[error("no release can replace the active one of {platform}: {problem}")]
    NoPredecessor {
        /// Platform of the release.
        platform: Platform,
        /// What is missing, and what to do.
        problem: String,
    },
}

impl Classified for RollbackError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Lookup(error) => error.class(),
            Self::NoPredecessor { .. } => ErrorClass::Refused,
        }
    }
}

impl ReleaseManager {
    /// Checks every recently activated release and every canary against the tallies of their batches; rolls back those
    /// that are worse, and promotes canaries whose time has come. If several hosts do so at once, each change is made
    /// once.
    ///
    /// # Errors
    /// When the database fails. Rollbacks that were made until then stay.
    pub async fn review(&self) -> Result<ReleaseReview, StoreError> {
        let mut review = ReleaseReview::default();
        let releases = self.store.releases_list().await?;
        for active in releases.iter().filter(|release| release.active) {
            spare_others(active.platform(), self.review_active(active, &releases, &mut review).await)?;
        }
        for canary in self.store.canaries_list().await? {
            spare_others(&canary.platform, self.review_canary(&canary, &releases, &mut review).await)?;
        }
        // Read again: a release that was just rolled back may have running batches too.
        for release in self.store.releases_list().await? {
            if release.state == ReleaseState::Withdrawn {
                spare_others(release.platform(), self.recollect_after(&release, &mut review).await)?;
            }
        }
        Ok(review)
    }

    /// The same, if batches have added tallies since the last check, or a canary's time may have come. Removes tallies
    /// that are not needed any more.
    pub(in crate::pipeline) async fn review_news(&self, reviewed: &mut Option<(u64, i64)>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mark = self.store.tallies_mark_get(now - LOOKBACK).await?;
        let is_due = |canary: &Canary| canary.promote_at.is_some_and(|at| at <= now);
        if *reviewed == Some(mark) && !self.store.canaries_list().await?.iter().any(is_due) {
            return Ok(());
        }
        self.review().await?;
        *reviewed = Some(mark);
        let rule = &self.config.rollback;
        let kept = TimeDelta::days(rule.history_days.into()) + TimeDelta::hours(rule.watch_hours.into());
        if let Ok(past) = self.clocks.past(now).await? {
            self.store.tallies_trim(past.before_by(kept)).await?;
        }
        Ok(())
    }

    /// Rolls back a platform's active release by hand: the one before collects again, and accounts that failed are
    /// collected again.
    ///
    /// # Errors
    /// [`LookupError::NoConnector`] when no release is active, [`RollbackError::NoPredecessor`] when there is none to
    /// return to.
    pub async fn roll_back(&self, platform: &Platform, reason: &str) -> Result<RolledBack, RollbackError> {
        self.roll_back_from(&self.active(platform).await?, reason).await
    }

    /// The same, of a release that was seen to be active. Another one, which became active since, stays.
    ///
    /// # Errors
    /// [`RollbackError::NoPredecessor`] when there is none to return to, or another release is active.
    pub async fn roll_back_from(&self, active: &Release, reason: &str) -> Result<RolledBack, RollbackError> {
        let platform = active.platform();
        let releases = self.store.releases_list().await?;
        let swaps = self.store.swaps_list(Some(platform), SWAPS_MAX).await?;
        let Some(to) = predecessor(active, &swaps, &releases) else {
            let problem = "no other release that was active before is still granted; `backline plugins list` shows the \
                           installed ones";
            return Err(RollbackError::NoPredecessor { platform: platform.clone(), problem: problem.to_owned() });
        };
        let mut review = ReleaseReview::default();
        self.take_back(active, to, false, reason, &[], &mut review).await?;
        let rolled_back = review.rolled_back.pop();
        rolled_back.ok_or_else(|| RollbackError::NoPredecessor {
            platform: platform.clone(),
            problem: "another release has just become active; check and repeat".to_owned(),
        })
    }

    async fn review_active(
        &self,
        active: &Release,
        releases: &[Release],
        review: &mut ReleaseReview,
    ) -> Result<(), StoreError> {
        let (rule, now) = (&self.config.rollback, self.clock.now());
        let swaps = self.store.swaps_list(Some(active.platform()), SWAPS_MAX).await?;
        let Some(latest) = swaps.first().filter(|swap| swap.release == Some(active.digest)) else { return Ok(()) };
        let is_watched = now - latest.at <= TimeDelta::hours(rule.watch_hours.into());
        // A release that a rollback returned to is not rolled back automatically.
        if latest.cause == SwapCause::RolledBack || !is_watched {
            return Ok(());
        }
        let new = self.store.release_tally_get(active.digest, latest.at, None).await?;
        let old = predecessor(active, &swaps, releases);
        let record = match old {
            Some(old) => self.record(old.digest, latest.at).await?,
            None => Tally::default(),
        };
        let catalogue = old.map(|old| declared_by_both(active, old)).unwrap_or_default();
        let RollbackVerdict::Worse(regressions) = rollback_analysis::judge(&new, &record, &catalogue, rule) else {
            return Ok(());
        };
        let reason = told(&regressions);
        match old {
            // One that never collected anything is no way back.
            Some(old) if rule.enabled && record.collected > 0 => {
                self.take_back(active, old, false, &reason, &regressions, review).await
            }
            // Recorded once: the numbers change with each batch, the problem stays the same.
            _ if active.state_reason.is_some() => Ok(()),
            _ => {
                tracing::warn!(
                    platform = %active.platform(),
                    reason,
                    "the active release is worse than the one before, and is not rolled back"
                );
                Ok(self.store.release_note(active.digest, &reason).await?)
            }
        }
    }

    async fn review_canary(
        &self,
        canary: &Canary,
        releases: &[Release],
        review: &mut ReleaseReview,
    ) -> Result<(), StoreError> {
        let (rule, now) = (&self.config.rollback, self.clock.now());
        let find = |digest: Digest| releases.iter().find(|release| release.digest == digest);
        let active = releases.iter().find(|release| release.active && *release.platform() == canary.platform);
        let (Some(release), Some(active)) = (find(canary.release), active) else { return Ok(()) };
        let new = self.store.release_tally_get(canary.release, canary.started_at, None).await?;
        // The other accounts in the same period: a problem of the platform affects both.
        let old = self.store.release_tally_get(active.digest, canary.started_at, None).await?;
        match rollback_analysis::judge(&new, &old, &declared_by_both(release, active), rule) {
            RollbackVerdict::Worse(regressions) if rule.enabled => {
                self.take_back(release, active, true, &told(&regressions), &regressions, review).await
            }
            RollbackVerdict::NotWorse if canary.promote_at.is_some_and(|at| at <= now) => {
                // It may have been stopped by hand since it was read, or another host was faster.
                if !self.store.canary_promote(canary, now).await? {
                    return Ok(());
                }
                tracing::info!(
                    platform = %canary.platform,
                    release = %canary.release,
                    "a canary passed and is active now"
                );
                review.promoted.push(canary.release);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The tally of a release up to the time when another replaced it.
    async fn record(&self, release: Digest, until: DateTime<Utc>) -> Result<Tally, StoreError> {
        let since = until - TimeDelta::days(self.config.rollback.history_days.into());
        self.store.release_tally_get(release, since, Some(until)).await
    }

    async fn take_back(
        &self,
        from: &Release,
        to: &Release,
        canary: bool,
        reason: &str,
        regressions: &[Regression],
        review: &mut ReleaseReview,
    ) -> Result<(), StoreError> {
        let rollback = Rollback { regressions: json!(regressions), ..way_back(from, to, reason) };
        let weights = &self.config.collection.tenant_weights;
        // None if another host has done it.
        let Some(recollected) =
            self.store.release_roll_back(&Scope::all_tenants(), &rollback, weights, self.clock.now()).await?
        else {
            return Ok(());
        };
        let (platform, accounts) = (from.platform().clone(), recollected.accounts);
        tracing::error!(%platform, from = %from.digest, to = %to.digest, accounts, reason, "a release was rolled back");
        review.runs.extend(recollected.runs);
        review.rolled_back.push(RolledBack {
            platform,
            from: from.digest,
            to: to.digest,
            canary,
            reason: reason.to_owned(),
            accounts,
        });
        Ok(())
    }

    /// Batches that were running when their release was rolled back have finished with it since.
    async fn recollect_after(&self, withdrawn: &Release, review: &mut ReleaseReview) -> Result<(), StoreError> {
        let Some(active) = self.store.active_release_get(withdrawn.platform()).await? else { return Ok(()) };
        let (now, weights) = (self.clock.now(), &self.config.collection.tenant_weights);
        let rollback = way_back(withdrawn, &active, "");
        let Recollection { accounts, runs } =
            self.store.release_recollect(&Scope::all_tenants(), &rollback, now - DRAIN_GRACE, weights, now).await?;
        if accounts > 0 {
            tracing::info!(
                platform = %active.platform(),
                accounts,
                "accounts that failed with a rolled-back release are collected again"
            );
        }
        review.runs.extend(runs);
        Ok(())
    }
}

/// What can't be read of one platform's releases keeps no other one's from being checked.
fn spare_others(platform: &Platform, reviewed: Result<(), StoreError>) -> Result<(), StoreError> {
    match reviewed {
        Err(error @ StoreError::Unreadable { .. }) => {
            tracing::warn!(%platform, %error, "the releases of a platform can't be checked");
            Ok(())
        }
        reviewed => reviewed,
    }
}

fn way_back<'a>(from: &'a Release, to: &Release, reason: &'a str) -> Rollback<'a> {
    Rollback {
        platform: from.platform(),
        from: from.digest,
        to: to.digest,
        reason,
        regressions: json!([]),
        batch_size: usize::try_from(to.manifest.connector.batch_size).unwrap_or(usize::MAX),
    }
}

/// The latest release that was active before this one and may become active again.
fn predecessor<'a>(active: &Release, swaps: &[Swap], releases: &'a [Release]) -> Option<&'a Release> {
    swaps.iter().filter_map(|swap| swap.before).find_map(|before| {
        let may_be = |release: &&Release| release.digest == before && release.state == ReleaseState::Granted;
        releases.iter().find(may_be).filter(|release| release.digest != active.digest)
    })
}

/// Metrics that both releases declare. The operator saw which ones the newer drops: `plugins diff` names them.
fn declared_by_both(new: &Release, old: &Release) -> Vec<MetricName> {
    let names = new.manifest.metrics.iter().map(|metric| &metric.name);
    names.filter(|name| old.manifest.metric(name.as_str()).is_some()).cloned().collect()
}

fn told(regressions: &[Regression]) -> String {
    regressions.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
