//! A run from the command line: one process plans and reports it; all hosts on the database may collect it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pipeline::collection::budgets;
use crate::pipeline::collection::collect_error::CollectError;
use crate::pipeline::collection::collector::Collector;
use crate::pipeline::collection::planning::{PlanError, Planner, PlatformDraft};
use crate::pipeline::collection::report::{PlatformReport, Progress, RunReport, RunRequest};
use crate::pipeline::collection::waiting::{self, WaitLimits};
use crate::pipeline::collection::workers::{WorkerEvent, WorkerPool, finish_free_run, finish_run};
use crate::pipeline::credentials::installation::Installation;
use crate::pipeline::error::{Classified, ErrorClass, with_causes};
use crate::pipeline::releases::manager::ReleaseManager;
use crate::pipeline::retry::retry_transient;
use crate::pipeline::upkeep::health::HealthMonitor;
use backline_model::run::RunCounts;
use backline_model::{Digest, Platform, Run, RunId, RunStatus};
use backline_store::{CancelledBatches, PlanGuard, PlatformOutcome, RunState, Scope, StoreError, UnreadableBatches};

/// Of the time a run takes, at most one part in so many is spent on counting what it has come to so far.
const COUNTING_SHARE: u32 = 20;

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

/// A run that was cancelled.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CancelReport {
    /// The run, as it ended.
    pub run: Run,
    /// What was open of it.
    #[serde(flatten)]
    pub cancelled: CancelledBatches,
}

/// Why a run was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The database failed.
    #[error(transparent)]
    Store(StoreError),
    /// No run has this id.
    #[error("no run has the id {0}; `backline runs list` shows them")]
    NoRun(RunId),
    /// Nothing of it is open.
    #[error("the run {run} has ended already, as {status}; nothing of it is left to cancel", status = status.as_str())]
    Ended {
        /// The run.
        run: RunId,
        /// How it ended.
        status: RunStatus,
    },
}

impl From<StoreError> for CancelError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Classified for CancelError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::NoRun(_) | Self::Ended { .. } => ErrorClass::Refused,
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
    installation: Installation,
}

impl Runs {
    pub(in crate::pipeline) fn new(
        planner: Planner,
        collector: Collector,
        releases: ReleaseManager,
        health: HealthMonitor,
        installation: Installation,
    ) -> Self {
        Self { planner, collector, releases, health, installation }
    }

    /// Plans, collects and stores. Returns when no open batch of the run can end soon: all are finished, whichever host
    /// collected them, or wait for a budget, for a later attempt, or for a host that does not report any more.
    ///
    /// When `stop` is cancelled, no batch starts any more, nothing is waited for, and running batches finish or are
    /// handed back, as in the service. What is left of the run stays open for the next host on this database.
    ///
    /// # Errors
    /// As [`Planner::plan`].
    pub async fn run(
        &self,
        request: &RunRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<RunReport, RunError> {
        Box::pin(self.carry_out(request, progress, true, stop)).await
    }

    /// As [`run`](Self::run) where nobody watches: what the run has come to is not counted before its end, and so not
    /// told. Each count reads all accounts of the run that were collected so far.
    ///
    /// # Errors
    /// As [`Planner::plan`].
    pub async fn run_unwatched(
        &self,
        request: &RunRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<RunReport, RunError> {
        Box::pin(self.carry_out(request, progress, false, stop)).await
    }

    async fn carry_out(
        &self,
        request: &RunRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
        is_watched: bool,
        stop: &CancellationToken,
    ) -> Result<RunReport, RunError> {
        let started = Instant::now();
        // Kept until the run has ended: what is dropped stops loading.
        let mut loading = JoinSet::new();
        let (run, batches) = self.planned(request, |drafts| self.load_ahead(drafts, &mut loading)).await?;
        progress(Progress::Planned { accounts: run.counts.planned, batches });

        // After the plan: a run that is refused writes nothing, in no folder either.
        self.installation.claim_or_warn().await?;
        self.end_earlier_runs().await?;
        // On the heap: without optimisation, each caller's frame holds it several times.
        let working = Box::pin(self.work_off(run.id, progress, stop));
        let worked = tokio::select! {
            worked = working => worked,
            never = self.tell_counts(run.id, progress), if is_watched => match never {},
        };
        budgets::settle(&self.collector.store, &self.collector.gateway).await;
        let state = worked?;
        // A host that does not serve checks health at no other time.
        if let Err(error) = self.health.watch().await {
            tracing::warn!(%error, "health could not be evaluated after the run");
        }
        Ok(report_of(state, self.collector.clock.now(), started.elapsed().as_secs_f64()))
    }

    /// Plans a run and leaves it to the hosts that serve.
    ///
    /// # Errors
    /// As [`Planner::plan`].
    pub async fn start(&self, request: &RunRequest) -> Result<Run, RunError> {
        let (run, _) = self.planned(request, |_| {}).await?;
        self.installation.claim_or_warn().await?;
        Ok(run)
    }

    /// Writes the plan of a run; how many batches it has. `decided` is told of what is about to be written.
    async fn planned(
        &self,
        request: &RunRequest,
        decided: impl FnOnce(&[PlatformDraft]),
    ) -> Result<(Run, u64), RunError> {
        let awaited = self.planner.awaited(request).await?;
        let drafts = self.planner.drafts(request).await?;
        decided(&drafts);
        let run = self.planner.write_plan(request, &drafts, &awaited, PlanGuard::Manual).await?;
        let batches = drafts.iter().map(|draft| draft.planned.batches.len() as u64).sum();
        Ok((run, batches))
    }

    /// Begins to load the releases that a plan is for, one after the other: this process only waits while the database
    /// writes the plan, and its first batches wait for their releases. What can't be loaded is told by the batch that
    /// needs it.
    fn load_ahead(&self, drafts: &[PlatformDraft], loading: &mut JoinSet<()>) {
        let has_batches = |draft: &&PlatformDraft| !draft.planned.batches.is_empty();
        let releases: Vec<Digest> = drafts.iter().filter(has_batches).map(|draft| draft.release.digest).collect();
        let cache = self.collector.cache.clone();
        loading.spawn(async move {
            for release in releases {
                if let Err(error) = cache.prepare(release).await {
                    tracing::debug!(%release, %error, "a release can't be loaded ahead of its batches");
                }
            }
        });
    }

    /// Cancels a run: what is open of it ends as excluded, whichever host holds it, and the run ends. What was
    /// collected stays.
    ///
    /// # Errors
    /// When there is no such run, it has ended already, or the database fails.
    pub async fn cancel(&self, run: RunId, reason: &str) -> Result<CancelReport, CancelError> {
        let (store, clock) = (&self.collector.store, &self.collector.clock);
        // Whether it has ended is looked at under the run's lock: a host may be about to finish it.
        let all = Scope::all_tenants();
        let cancelled = retry_transient(|| async { store.run_cancel(&all, run, reason, clock.now()).await }).await;
        let cancelled = match cancelled {
            Err(StoreError::NotFound { .. }) => return Err(CancelError::NoRun(run)),
            cancelled => cancelled?,
        };
        let ended = finish_run(store, run, clock.now()).await?;
        match cancelled {
            Some(cancelled) => Ok(CancelReport { run: ended, cancelled }),
            None => Err(CancelError::Ended { run, status: ended.status }),
        }
    }

    /// Ends runs of which nothing is open any more, such as those that a command left behind when it was killed and
    /// whose accounts this plan took over. Nothing else ends them where no service runs. One that can't be ended, since
    /// someone holds its row, keeps this run from nothing: the next one ends it.
    async fn end_earlier_runs(&self) -> Result<(), StoreError> {
        let store = &self.collector.store;
        for run in store.unfinished_runs_list(&Scope::all_tenants()).await? {
            if let Err(error) = finish_free_run(store, run, self.collector.clock.now()).await {
                tracing::warn!(%run, error = with_causes(&error), "an earlier run can't be ended");
            }
        }
        Ok(())
    }

    /// Works on a run beside all others that do, until nothing of it is worth waiting for; answers what it came to
    /// then.
    async fn work_off(
        &self,
        run: RunId,
        progress: &(dyn Fn(Progress) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<RunState, RunError> {
        let tell = |event: WorkerEvent<'_>| match event {
            WorkerEvent::Ended(platform, report) => {
                progress(Progress::BatchDone { platform: platform.clone(), counts: report.counts });
            }
            WorkerEvent::Waiting(holders) => progress(Progress::Waiting { holders }),
        };
        loop {
            // The others went on: what they collected is worth having, and the run can be repeated.
            let failure = WorkerPool::of_run(self.collector.clone(), run, stop.clone()).work(tell).await.err();
            let is_over = failure.is_some() || stop.is_cancelled();
            if !is_over && self.is_to_go_on(run).await {
                continue;
            }
            let ended = self.end_what_no_host_does(run).await;
            if let Some(error) = failure {
                // What failed first says more than what fails of the same.
                if let Err(error) = ended {
                    tracing::debug!(%run, %error, "the run could not be brought up to date");
                }
                return Err(error.into());
            }
            ended?;
            let state = self.collector.store.run_state_get(&Scope::all_tenants(), run).await?;
            if is_over || !self.is_worth_waiting_for(&state) {
                return Ok(state);
            }
        }
    }

    /// Ends batches that no host can collect, and the run where nothing of it is open. Nothing else does where no
    /// service runs. A clock that jumped would be written for the time of the end: another process ends them then.
    async fn end_what_no_host_does(&self, run: RunId) -> Result<(), StoreError> {
        let store = &self.collector.store;
        let Some(now) = self.collector.clocks.asked_now().await? else { return Ok(()) };
        let unreadable = match store.unreadable_batches_end(&Scope::all_tenants(), now).await {
            // They may be of other runs.
            Err(error) if !error.is_outage() => {
                tracing::warn!(%error, "not all batches that can't be read could be ended");
                UnreadableBatches::default()
            }
            ended => ended?,
        };
        if unreadable.batches > 0 {
            let (batches, accounts) = (unreadable.batches, unreadable.accounts);
            tracing::warn!(batches, accounts, "batches can't be read; their accounts are left out");
        }
        match store.orphaned_batches_exclude(&Scope::all_tenants(), now).await {
            Err(error) if !error.is_outage() => {
                tracing::warn!(%error, "not all batches without a connector could be ended");
            }
            ended => drop(ended?),
        }
        // Its last batch ends it here or at another host, which may be killed before it can.
        if !store.run_has_ended(&Scope::all_tenants(), run).await? {
            finish_run(store, run, self.collector.clock.now()).await?;
        }
        Ok(())
    }

    /// Whether a run can go on soon: other hosts write while this one decides that there is nothing more to do.
    fn is_worth_waiting_for(&self, state: &RunState) -> bool {
        if state.open.is_empty() {
            return state.run.finished_at.is_none();
        }
        let (now, limits) = (self.collector.clock.now(), WaitLimits::of(&self.collector.config.collection));
        state.open.iter().any(|open| limits.awaits(&open.batches, now))
    }

    /// Tells again and again what the run has come to, whichever host collected it.
    async fn tell_counts(&self, run: RunId, progress: &(dyn Fn(Progress) + Send + Sync)) -> Infallible {
        let mut wait = Duration::from_millis(self.collector.config.service.poll_ms);
        loop {
            tokio::time::sleep(wait).await;
            let began = Instant::now();
            match self.collector.store.run_get(&Scope::all_tenants(), run).await {
                Ok(Some(run)) => progress(Progress::Counted { counts: run.counts }),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "what was collected so far could not be counted"),
            }
            wait = wait.max(began.elapsed() * COUNTING_SHARE);
        }
    }

    /// Whether a release that collected for the run was rolled back, so that its failed accounts are collected again.
    async fn is_to_go_on(&self, run: RunId) -> bool {
        match self.releases.review().await {
            Ok(review) => review.runs.contains(&run),
            Err(error) => {
                tracing::warn!(%error, "the releases that collected could not be checked");
                false
            }
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
            "excluded" => {
                report.counts.excluded += accounts;
                *report.exclusions.entry(reason.clone().unwrap_or_default()).or_default() += accounts;
            }
            "collected" => report.counts.collected += accounts,
            "deferred" => report.counts.deferred += accounts,
            "superseded" => report.counts.superseded += accounts,
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
        of.planned += of.with_outcome();
        counts.planned += of.planned;
        counts.collected += of.collected;
        counts.deferred += of.deferred;
        counts.superseded += of.superseded;
        counts.failed += of.failed;
        counts.excluded += of.excluded;
    }
    run.counts = counts;
    let open = open.iter().map(|open| waiting::report_of(open, now)).collect();
    RunReport { run, platforms: reports.into_values().collect(), open, seconds }
}
