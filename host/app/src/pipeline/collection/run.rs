//! A run from the command line: planned, worked off and reported by one process.

use std::collections::BTreeMap;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pipeline::collection::budgets;
use crate::pipeline::collection::collect::BatchReport;
use crate::pipeline::collection::report::{PlanReport, PlatformPlan, PlatformReport, Progress, RunReport, RunRequest};
use crate::pipeline::collection::workers::WorkerPool;
use crate::pipeline::{Host, HostError};
use backline_model::run::Forecast;
use backline_model::{Platform, RunId};
use backline_rules::plan::{self, ForecastOptions};
use backline_store::{PlanGuard, Scope};

impl Host {
    /// What a run would do. Nothing is written.
    ///
    /// # Errors
    /// When an artist or platform does not exist, no connector is installed, or the database fails.
    pub async fn plan(&self, request: &RunRequest) -> Result<PlanReport, HostError> {
        let drafts = self.drafts(request).await?;
        let mut total = Forecast::default();
        let mut platforms = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let forecast = plan::forecast(&draft.planned.batches, &draft.release.manifest, &self.forecast_options());
            total.batches += forecast.batches;
            total.accounts += forecast.accounts;
            total.requests += forecast.requests;
            for (budget, units) in &forecast.units {
                *total.units.entry(format!("{}/{budget}", draft.release.platform())).or_default() += units;
            }
            total.duration_s = total.duration_s.max(forecast.duration_s);
            let mut excluded = BTreeMap::new();
            for (_, _, reason) in &draft.planned.excluded {
                *excluded.entry(reason.as_str().to_owned()).or_default() += 1;
            }
            platforms.push(PlatformPlan {
                platform: draft.release.platform().clone(),
                release: draft.release.digest,
                version: draft.release.manifest.connector.version.to_string(),
                forecast,
                excluded,
            });
        }
        Ok(PlanReport { date: request.date, platforms, total })
    }

    /// Plans, collects and stores. Returns when no batch of the run can be worked on any more: all are done, or wait for an allowance.
    ///
    /// # Errors
    /// As [`plan`](Self::plan); what happens to single accounts is in the report.
    pub async fn run(
        &self,
        request: &RunRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<RunReport, HostError> {
        self.run_until(request, progress, &CancellationToken::new()).await
    }

    /// The same, until it is told to stop: then no batch is begun any more, and those under way end or are handed back, as in the service.
    /// What is left of the run stays open, for whoever works on this database next.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub async fn run_until(
        &self,
        request: &RunRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<RunReport, HostError> {
        let started = Instant::now();
        let awaited = self.awaited(request).await?;
        let drafts = self.drafts(request).await?;
        let run = self.write_plan(request, &drafts, &awaited, PlanGuard::Manual).await?;
        let batches = drafts.iter().map(|draft| draft.planned.batches.len() as u64).sum();
        progress(Progress::Planned { accounts: run.counts.planned, batches });

        drop(drafts);
        let mut requests: BTreeMap<Platform, u64> = BTreeMap::new();
        let mut ended = |platform: &Platform, report: &BatchReport| {
            *requests.entry(platform.clone()).or_default() += report.requests;
            progress(Progress::BatchDone { platform: platform.clone(), counts: report.counts });
        };
        // The others went on: what they collected is worth having, and the run can be repeated.
        let failure = loop {
            let failure = WorkerPool::of_run(self.clone(), run.id, stop.clone()).work(&mut ended).await.err();
            if failure.is_some() || stop.is_cancelled() || !self.is_to_go_on(run.id).await {
                break failure;
            }
        };
        budgets::settle(self.store(), self.gateway()).await;
        let run = self.store().run_finish(&Scope::all_tenants(), run.id, self.clock().now()).await?;
        if let Some(error) = failure {
            return Err(error);
        }
        // A host that never serves has no other time to look.
        if let Err(error) = self.watch_health().await {
            tracing::warn!(%error, "health could not be looked at after the run");
        }
        let platforms = self.platform_reports(run.id, &requests).await?;
        Ok(RunReport { run, platforms, seconds: started.elapsed().as_secs_f64() })
    }

    /// Whether a release that collected for the run turned out to be worse than the one before, which is to collect again what failed.
    async fn is_to_go_on(&self, run: RunId) -> bool {
        match self.judge_releases().await {
            Ok(judgement) => judgement.runs.contains(&run),
            Err(error) => {
                tracing::warn!(%error, "the releases that collected could not be judged");
                false
            }
        }
    }

    async fn platform_reports(
        &self,
        run: RunId,
        requests: &BTreeMap<Platform, u64>,
    ) -> Result<Vec<PlatformReport>, HostError> {
        let mut reports: BTreeMap<Platform, PlatformReport> = BTreeMap::new();
        for group in self.store().run_summary_get(&Scope::all_tenants(), run).await? {
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

    fn forecast_options(&self) -> ForecastOptions {
        ForecastOptions {
            batches_at_once: u32::from(self.config().collection.concurrency.max(1)),
            ..ForecastOptions::default()
        }
    }
}
