//! Planning a run, and working it off.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::collect::{self, BatchReport};
use super::report::{PlanReport, PlatformPlan, PlatformReport, Progress, RunReport, RunRequest};
use super::{Host, HostError, budgets};
use crate::domain::run::{Forecast, RunCounts};
use crate::domain::{Batch, BatchId, Lease, Outcome, Platform, Release, Run, RunId, RunStatus};
use crate::plan::{self, ForecastOptions, PlanOptions, Planned, PlannedBatch};
use crate::store::{AccountOutcome, Activation, StoreError};

/// Accounts read from the database at once while planning: bounds memory, not the run.
const PAGE: u32 = 1_000;

/// Finished batches that wait to be reported: a slow terminal must not hold up the workers for long, nor may they run away from it.
const DONE_WAITING: usize = 256;

/// The least a worker waits before it looks for a batch again: one that is just being taken up by another is still seen as free.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(20);

/// What a run would do, with what it needs to do it.
struct PlatformDraft {
    release: Release,
    planned: Planned,
}

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
        let started = Instant::now();
        let awaited = self.awaited(request).await?;
        let drafts = self.drafts(request).await?;
        let run = self.write_plan(request, &drafts).await?;
        self.store().drop_activations(&awaited).await?;
        let batches = drafts.iter().map(|draft| draft.planned.batches.len() as u64).sum();
        progress(Progress::Planned { accounts: run.counts.planned, batches });

        let platforms: Vec<Platform> = drafts
            .iter()
            .filter(|draft| !draft.planned.batches.is_empty())
            .map(|draft| draft.release.platform().clone())
            .collect();
        drop(drafts);
        let (done, mut batches) = mpsc::channel(DONE_WAITING);
        let mut workers = JoinSet::new();
        for platform in &platforms {
            for _ in 0..self.config().collection.concurrency.max(1) {
                workers.spawn(self.clone().work(run.id, platform.clone(), done.clone()));
            }
        }
        drop(done);
        let mut requests: BTreeMap<Platform, u64> = BTreeMap::new();
        while let Some((platform, report)) = batches.recv().await {
            *requests.entry(platform.clone()).or_default() += report.requests;
            progress(Progress::BatchDone { platform, counts: report.counts });
        }
        let mut failure = None;
        while let Some(ended) = workers.join_next().await {
            // The others went on: what they collected is worth having, and the run can be repeated.
            failure =
                failure.or(ended.map_err(|panic| HostError::Worker(panic.to_string())).and_then(|result| result).err());
        }
        budgets::settle(self.store(), self.gateway()).await;
        let run = self.store().finish_run(run.id, self.clock().now()).await?;
        if let Some(error) = failure {
            return Err(error);
        }
        let platforms = self.platform_reports(run.id, &requests).await?;
        Ok(RunReport { run, platforms, seconds: started.elapsed().as_secs_f64() })
    }

    /// Leases and collects batches of one platform until none is left that could be worked on.
    async fn work(
        self,
        run: RunId,
        platform: Platform,
        done: mpsc::Sender<(Platform, BatchReport)>,
    ) -> Result<(), HostError> {
        let owner = format!("{}-{}", std::process::id(), Uuid::now_v7());
        let lease_ttl = Duration::from_millis(self.config().collection.lease_ttl_ms);
        loop {
            let now = self.clock().now();
            if let Some(lease) = self.store().lease_batch(Some(run), Some(&platform), &owner, now, lease_ttl).await? {
                let report = self.collect_or_give_back(&lease).await?;
                if done.send((platform.clone(), report)).await.is_err() {
                    return Ok(()); // whoever started the run has gone
                }
                continue;
            }
            // What is left waits a moment before it is tried again; or it waits for an allowance, or is in the hands of another worker, who
            // will see to it: then there is nothing to wait for here.
            let Some(available_at) = self.store().next_batch_at(Some(run), Some(&platform)).await? else {
                return Ok(());
            };
            let wait = (available_at - self.clock().now()).to_std().unwrap_or_default();
            if wait > Duration::from_millis(self.config().collection.retry_wait_max_ms) {
                return Ok(());
            }
            tokio::time::sleep(wait.max(LOOK_AGAIN_MIN)).await;
        }
    }

    /// Collects a batch, and gives it back where that fails or panics: it is never left to nobody, and the worker goes on to the next.
    async fn collect_or_give_back(&self, lease: &Lease) -> Result<BatchReport, HostError> {
        match caught(collect::collect(self, lease)).await {
            // Whoever has it now sees to it.
            Err(HostError::Store(StoreError::LeaseLost { .. })) => Ok(BatchReport::default()),
            Err(error) => collect::give_back(self, lease, error).await,
            collected => collected,
        }
    }

    async fn drafts(&self, request: &RunRequest) -> Result<Vec<PlatformDraft>, HostError> {
        for artist in &request.artists {
            if self.store().get_artist(*artist).await?.is_none() {
                return Err(HostError::NoArtist(*artist));
            }
        }
        let mut releases: Vec<Release> = Vec::new();
        if request.platforms.is_empty() {
            releases.extend(self.store().list_releases().await?.into_iter().filter(|release| release.active));
            if releases.is_empty() {
                return Err(HostError::NothingInstalled);
            }
        } else {
            for platform in &request.platforms {
                releases.push(self.active(platform).await?);
            }
        }
        let now = self.clock().now();
        let options = PlanOptions { date: request.date, now, window_days: self.config().collection.window_days };
        let mut drafts = Vec::with_capacity(releases.len());
        for release in releases {
            let candidates = self.candidates(release.platform(), request).await?;
            let planned = plan::plan(candidates, &release.manifest, release.digest, &options);
            drafts.push(PlatformDraft { release, planned });
        }
        Ok(drafts)
    }

    async fn candidates(
        &self,
        platform: &Platform,
        request: &RunRequest,
    ) -> Result<Vec<crate::domain::account::Candidate>, HostError> {
        let whose: Vec<_> =
            if request.artists.is_empty() { vec![None] } else { request.artists.iter().copied().map(Some).collect() };
        let mut all = Vec::new();
        for artist in whose {
            let mut after = None;
            loop {
                let page = self.store().candidates(platform, artist, after, PAGE).await?;
                after = page.last().map(|candidate| candidate.account_id);
                let last = page.len() < PAGE as usize;
                all.extend(page);
                if last {
                    break;
                }
            }
        }
        Ok(all)
    }

    /// The first collections that the run is about to be: asked for before it is looked who can be collected, so that whoever asks later
    /// still waits afterwards.
    async fn awaited(&self, request: &RunRequest) -> Result<Vec<Activation>, StoreError> {
        let mut waiting = self.store().pending_activations(u32::MAX).await?;
        waiting.retain(|activation| activation.is_covered_by(&request.platforms, &request.artists));
        Ok(waiting)
    }

    async fn write_plan(&self, request: &RunRequest, drafts: &[PlatformDraft]) -> Result<Run, HostError> {
        let now = self.clock().now();
        let planned = |batch: &PlannedBatch| batch.accounts.len() as u64;
        let run = Run {
            id: RunId::generate(),
            trigger: request.trigger.clone(),
            date: request.date,
            status: RunStatus::Running,
            started_at: now,
            finished_at: None,
            counts: RunCounts {
                planned: drafts.iter().flat_map(|draft| &draft.planned.batches).map(planned).sum(),
                excluded: drafts.iter().map(|draft| draft.planned.excluded.len() as u64).sum(),
                ..RunCounts::default()
            },
        };
        self.store().create_run(&run).await?;
        for draft in drafts {
            let batches: Vec<Batch> = draft.planned.batches.iter().map(|batch| batch_of(run.id, batch)).collect();
            self.store().add_batches(&batches, now).await?;
            let excluded: Vec<AccountOutcome> = draft
                .planned
                .excluded
                .iter()
                .map(|(account_id, metric_date, reason)| AccountOutcome {
                    account_id: *account_id,
                    metric_date: *metric_date,
                    outcome: Outcome::Excluded { reason: *reason },
                    attempts: 0,
                })
                .collect();
            self.store().record_outcomes(run.id, &excluded, now).await?;
        }
        Ok(run)
    }

    async fn platform_reports(
        &self,
        run: RunId,
        requests: &BTreeMap<Platform, u64>,
    ) -> Result<Vec<PlatformReport>, HostError> {
        let mut reports: BTreeMap<Platform, PlatformReport> = BTreeMap::new();
        for group in self.store().run_summary(run).await? {
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

/// A panic as an error like any other. Nothing the work shares is left half changed: what it writes, it writes in transactions.
async fn caught<T>(work: impl Future<Output = Result<T, HostError>>) -> Result<T, HostError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Err(HostError::Worker(said(panic.as_ref()))))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked").to_owned()
}

fn batch_of(run_id: RunId, planned: &PlannedBatch) -> Batch {
    Batch {
        id: BatchId::generate(),
        run_id,
        tenant: planned.tenant.clone(),
        platform: planned.platform.clone(),
        release: planned.release,
        window: planned.window,
        accounts: planned.accounts.clone(),
        attempts: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_like_any_other() {
        let panicking = async { if true { panic!("index {} of 1", 2) } else { Ok(()) } };
        let error = caught(panicking).await.expect_err("it panicked");
        assert!(matches!(&error, HostError::Worker(text) if text == "index 2 of 1"), "{error}");
        assert_eq!(caught(async { Ok(3) }).await.expect("it did not"), 3);
    }
}
