//! A run from the command line: one process plans it, collects it and reports.

use std::collections::BTreeMap;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pipeline::collection::budgets;
use crate::pipeline::collection::collect::{BatchReport, CollectError, Collector};
use crate::pipeline::collection::planning::{PlanError, Planner};
use crate::pipeline::collection::report::{PlatformReport, Progress, RunReport, RunRequest};
use crate::pipeline::collection::workers::WorkerPool;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::manager::ReleaseManager;
use crate::pipeline::upkeep::health::HealthMonitor;
use backline_model::{Platform, RunId};
use backline_store::{PlanGuard, StoreError};

/// Why a run failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing was planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A batch could not be collected or handed back. What the others collected is stored.
    #[error("the run is not complete")]
    Collect(#[from] CollectError),
}

impl Classified for RunError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Plan(error) => error.class(),
            Self::Collect(_) => ErrorClass::Partial,
        }
    }
}

/// Runs that this process plans, collects and reports. Cloning shares it.
#[derive(Clone)]
pub struct Runs {
    planner: Planner,
    collector: Collector,
    releases: ReleaseManager,
    health: HealthMonitor,
}

impl Runs {
    pub(in crate::pipeline) fn new(
        planner: Planner,
        collector: Collector,
        releases: ReleaseManager,
        health: HealthMonitor,
    ) -> Self {
        Self { planner, collector, releases, health }
    }

    /// Plans, collects and stores. Returns when no batch of the run can be processed any more: all are finished, or
    /// wait for a budget.
    ///
    /// When `stop` is cancelled, no batch starts any more, and running batches finish or are handed back, as in the
    /// service. What is left of the run stays open for the next host on this database.
    ///
    /// # Errors
    /// As [`Planner::plan`].
    pub async fn run(
        &self,
        request: &RunRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<RunReport, RunError> {
        let started = Instant::now();
        let awaited = self.planner.awaited(request).await?;
        let drafts = self.planner.drafts(request).await?;
        let run = self.planner.write_plan(request, &drafts, &awaited, PlanGuard::Manual).await?;
        let batches = drafts.iter().map(|draft| draft.planned.batches.len() as u64).sum();
        progress(Progress::Planned { accounts: run.counts.planned, batches });

        drop(drafts);
        let mut requests: BTreeMap<Platform, u64> = BTreeMap::new();
        let mut ended = |platform: &Platform, report: &BatchReport| {
            *requests.entry(platform.clone()).or_default() += report.requests;
            progress(Progress::BatchDone { platform: platform.clone(), counts: report.counts });
        };
        // The other batches continued: their results are stored, and the run can be repeated.
        let failure = loop {
            let failure = WorkerPool::of_run(self.collector.clone(), run.id, stop.clone()).work(&mut ended).await.err();
            if failure.is_some() || stop.is_cancelled() || !self.is_to_go_on(run.id).await {
                break failure;
            }
        };
        budgets::settle(&self.collector.store, &self.collector.gateway).await;
        let run = self.collector.store.finish_run(run.id, self.collector.clock.now()).await?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        // A host that does not serve checks health at no other time.
        if let Err(error) = self.health.watch().await {
            tracing::warn!(%error, "health could not be evaluated after the run");
        }
        let platforms = self.platform_reports(run.id, &requests).await?;
        Ok(RunReport { run, platforms, seconds: started.elapsed().as_secs_f64() })
    }

    /// Whether a release that collected for the run was rolled back, so that its failed accounts are collected again.
    async fn is_to_go_on(&self, run: RunId) -> bool {
        match self.releases.judge().await {
            Ok(judgement) => judgement.runs.contains(&run),
            Err(error) => {
                tracing::warn!(%error, "the releases that collected could not be checked");
                false
            }
        }
    }

    async fn platform_reports(
        &self,
        run: RunId,
        requests: &BTreeMap<Platform, u64>,
    ) -> Result<Vec<PlatformReport>, StoreError> {
        let mut reports: BTreeMap<Platform, PlatformReport> = BTreeMap::new();
        for group in self.collector.store.run_summary(run).await? {
            let report = reports.entry(group.platform.clone()).or_insert_with(|| PlatformReport {
                platform: group.platform.to_string(),
                requests: requests.get(&group.platform).copied().unwrap_or_default(),
                ..PlatformReport::default()
            });
            let counts = &mut report.counts;
            match group.outcome.as_str() {
                "excluded" => counts.excluded += group.accounts,
                "collected" => counts.collected += group.accounts,
                "deferred" => counts.deferred += group.accounts,
                _ => {
                    counts.failed += group.accounts;
                    *report.failures.entry(group.reason.unwrap_or_default()).or_default() += group.accounts;
                }
            }
            report.counts.planned = report.counts.collected + report.counts.deferred + report.counts.failed;
        }
        Ok(reports.into_values().collect())
    }
}
