//! A run from the command line: planned and reported by one process, worked off by all hosts that are at work on the
//! database.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::report::{PlanReport, PlatformPlan, PlatformReport, Progress, RunReport, RunRequest};
use super::waiting::{self, Patience};
use super::workers::{Crew, WorkerEvent};
use super::{Host, HostError, budgets};
use crate::domain::run::{Forecast, RunCounts};
use crate::domain::{Platform, RunId};
use crate::plan::{self, ForecastOptions};
use crate::store::{PlanGuard, PlatformOutcome, RunState};

/// Of the time a run takes, at most one part in so many is spent on counting what it has come to so far.
const COUNTING_SHARE: u32 = 20;

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

    /// Plans, collects and stores. Returns when nothing of the run can end in a time worth waiting for: all of it has
    /// ended, whichever host collected it, or what is open waits for an allowance, for an attempt far off, or for a
    /// host that does not report any more.
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

    /// The same, until it is told to stop: then no batch is begun any more, nothing is waited for, and those under way
    /// end or are handed back, as in the service. What is left of the run stays open, for any host that works on this
    /// database next.
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
        let worked = tokio::select! {
            worked = self.work_off(run.id, progress, stop) => worked,
            never = self.tell_counts(run.id, progress) => match never {},
        };
        budgets::settle(self.store(), self.gateway()).await;
        let state = worked?;
        // A host that never serves has no other time to look.
        if let Err(error) = self.watch_health().await {
            tracing::warn!(%error, "health could not be looked at after the run");
        }
        Ok(report_of(state, self.clock().now(), started.elapsed().as_secs_f64()))
    }

    /// Works on a run beside all others that do, until nothing of it is worth waiting for; answers what it came to
    /// then.
    async fn work_off(
        &self,
        run: RunId,
        progress: &(dyn Fn(Progress) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<RunState, HostError> {
        let tell = |event: WorkerEvent<'_>| match event {
            WorkerEvent::Ended(platform, report) => {
                progress(Progress::BatchDone { platform: platform.clone(), counts: report.counts });
            }
            WorkerEvent::Waiting(holders) => progress(Progress::Waiting { holders }),
        };
        loop {
            // The others went on: what they collected is worth having, and the run can be repeated.
            let failure = Crew::of_run(self.clone(), run, stop.clone()).work(tell).await.err();
            let is_over = failure.is_some() || stop.is_cancelled();
            if !is_over && self.is_to_go_on(run).await {
                continue;
            }
            // Another host may have ended it already, or been killed before it could.
            self.store().finish_run(run, self.clock().now()).await?;
            if let Some(error) = failure {
                return Err(error);
            }
            let state = self.store().run_state(run).await?;
            if is_over || !self.is_worth_waiting_for(&state) {
                return Ok(state);
            }
        }
    }

    /// Whether a run can go on soon: other hosts write while this one decides that there is nothing more to do.
    fn is_worth_waiting_for(&self, state: &RunState) -> bool {
        if state.open.is_empty() {
            return state.run.finished_at.is_none();
        }
        let (now, patience) = (self.clock().now(), Patience::of(&self.config().collection));
        state.open.iter().any(|open| patience.awaits(&open.batches, now))
    }

    /// Tells again and again what the run has come to, whichever host collected it.
    async fn tell_counts(&self, run: RunId, progress: &(dyn Fn(Progress) + Send + Sync)) -> Infallible {
        let mut wait = Duration::from_millis(self.config().service.poll_ms);
        loop {
            tokio::time::sleep(wait).await;
            let began = Instant::now();
            match self.store().get_run(run).await {
                Ok(Some(run)) => progress(Progress::Counted { counts: run.counts }),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "what was collected so far could not be counted"),
            }
            wait = wait.max(began.elapsed() * COUNTING_SHARE);
        }
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

    fn forecast_options(&self) -> ForecastOptions {
        ForecastOptions {
            batches_at_once: u32::from(self.config().collection.concurrency.max(1)),
            ..ForecastOptions::default()
        }
    }
}

/// What is told of a run: totals are sums of what is told by platform, so that they agree.
fn report_of(state: RunState, now: DateTime<Utc>, seconds: f64) -> RunReport {
    let RunState { mut run, outcomes, requests, open } = state;
    let mut reports: BTreeMap<Platform, PlatformReport> = BTreeMap::new();
    let mut report_on = |platform: &Platform, change: &mut dyn FnMut(&mut PlatformReport)| {
        change(reports.entry(platform.clone()).or_insert_with(|| PlatformReport {
            platform: platform.to_string(),
            requests: requests.get(platform).copied().unwrap_or_default(),
            ..PlatformReport::default()
        }));
    };
    for group in outcomes {
        let PlatformOutcome { platform, outcome, reason, accounts } = group;
        report_on(&platform, &mut |report| match outcome.as_str() {
            "excluded" => report.counts.excluded += accounts,
            "collected" => report.counts.collected += accounts,
            "deferred" => report.counts.deferred += accounts,
            _ => {
                report.counts.failed += accounts;
                *report.failures.entry(reason.clone().unwrap_or_default()).or_default() += accounts;
            }
        });
    }
    for open in &open {
        report_on(&open.batches.platform, &mut |report| report.counts.planned += open.without_outcome);
    }
    let mut counts = RunCounts::default();
    for report in reports.values_mut() {
        let of = &mut report.counts;
        of.planned += of.collected + of.deferred + of.failed;
        counts.planned += of.planned;
        counts.collected += of.collected;
        counts.deferred += of.deferred;
        counts.failed += of.failed;
        counts.excluded += of.excluded;
    }
    run.counts = counts;
    let open = open.iter().map(|open| waiting::report_of(open, now)).collect();
    RunReport { run, platforms: reports.into_values().collect(), open, seconds }
}
