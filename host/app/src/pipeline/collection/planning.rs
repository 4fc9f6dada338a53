//! From who is there to a plan in the ledger.
//!
//! Accounts are read page by page and platform by platform; what is kept of each is its id and its date, some two dozen bytes, so that a
//! hundred thousand of them are a few megabytes. Writing is one transaction, which therefore lasts as short as it can.

use crate::pipeline::collection::report::RunRequest;
use crate::pipeline::{Host, HostError};
use backline_model::run::RunCounts;
use backline_model::{Batch, BatchId, Candidate, Outcome, Platform, Release, Run, RunId, RunStatus};
use backline_rules::plan::{self, PlanOptions, Planned, PlannedBatch};
use backline_store::{AccountOutcome, Activation, Canary, PlanGuard, Scope, Term};

/// Accounts read from the database at once while planning: bounds memory, not the run.
const PAGE: u32 = 1_000;

/// Batches turned into rows at once: bounds memory, not the run.
const BATCHES_AT_ONCE: usize = 500;

/// Outcomes turned into rows at once: bounds memory, not the run.
const OUTCOMES_AT_ONCE: usize = 10_000;

/// What starts a run of first collections.
const ACTIVATION: &str = "activation";

/// What a run would do on one platform, with what it needs to do it.
pub(in crate::pipeline) struct PlatformDraft {
    pub release: Release,
    pub planned: Planned,
}

impl Host {
    /// What a run would do. Nothing is written.
    ///
    /// # Errors
    /// When an artist or platform does not exist, no connector is installed, or the database fails.
    #[tracing::instrument(name = "plan", skip_all)]
    pub(in crate::pipeline) async fn drafts(&self, request: &RunRequest) -> Result<Vec<PlatformDraft>, HostError> {
        for artist in &request.artists {
            if self.store().artist_get(&Scope::all_tenants(), *artist).await?.is_none() {
                return Err(HostError::NoArtist(*artist));
            }
        }
        let mut releases: Vec<Release> = Vec::new();
        if request.platforms.is_empty() {
            releases.extend(self.active_releases().await?);
            if releases.is_empty() {
                return Err(HostError::NothingInstalled);
            }
        } else {
            for platform in &request.platforms {
                releases.push(self.active(platform).await?);
            }
        }
        self.drafts_of(releases, request).await
    }

    /// The same for given releases, whatever platforms the request names.
    pub(in crate::pipeline) async fn drafts_of(
        &self,
        releases: Vec<Release>,
        request: &RunRequest,
    ) -> Result<Vec<PlatformDraft>, HostError> {
        let (options, canaries) = (self.plan_options(request), self.store().canaries_list().await?);
        let mut drafts = Vec::with_capacity(releases.len());
        for release in releases {
            let options = PlanOptions { canary_share: share_of(&canaries, &release), ..options };
            let candidates = self.candidates(release.platform(), request).await?;
            let planned = plan::plan(candidates, &release.manifest, release.digest, &options);
            drafts.push(PlatformDraft { release, planned });
        }
        Ok(drafts)
    }

    /// The active release of every platform that has one.
    pub(in crate::pipeline) async fn active_releases(&self) -> Result<Vec<Release>, HostError> {
        Ok(self.store().releases_list().await?.into_iter().filter(|release| release.active).collect())
    }

    fn plan_options(&self, request: &RunRequest) -> PlanOptions {
        let now = self.clock().now();
        let window_days = self.config().collection.window_days;
        PlanOptions { date: request.date, due: request.due.unwrap_or(now), now, window_days, canary_share: 0 }
    }

    async fn candidates(&self, platform: &Platform, request: &RunRequest) -> Result<Vec<Candidate>, HostError> {
        let whose: Vec<_> =
            if request.artists.is_empty() { vec![None] } else { request.artists.iter().copied().map(Some).collect() };
        let mut all = Vec::new();
        for artist in whose {
            let mut after = None;
            loop {
                let page = self.store().candidates_list(&Scope::all_tenants(), platform, artist, after, PAGE).await?;
                after = page.last().map(|candidate| candidate.account_id);
                let last = page.len() < PAGE as usize;
                all.extend(page);
                if last {
                    break;
                }
            }
        }
        Ok(self.store().candidates_without_erased(all).await?)
    }

    /// The first collections that a run is about to be: read before it is looked who can be collected, so that whoever asks later still
    /// waits afterwards.
    pub(in crate::pipeline) async fn awaited(&self, request: &RunRequest) -> Result<Vec<Activation>, HostError> {
        let mut waiting = self.store().activations_list(&Scope::all_tenants(), u32::MAX).await?;
        waiting.retain(|activation| activation.is_covered_by(&request.platforms, &request.artists));
        Ok(waiting)
    }

    /// Writes a run with its whole plan, or nothing. First collections that it covers are taken out with it.
    ///
    /// # Errors
    /// When what the guard demands is not so, or the database fails.
    #[tracing::instrument(name = "write_plan", skip_all, fields(platforms = drafts.len()))]
    pub(in crate::pipeline) async fn write_plan(
        &self,
        request: &RunRequest,
        drafts: &[PlatformDraft],
        awaited: &[Activation],
        guard: PlanGuard<'_>,
    ) -> Result<Run, HostError> {
        let planned = |batch: &PlannedBatch| batch.accounts.len() as u64;
        let mut run = self.new_run(request);
        run.counts = RunCounts {
            planned: drafts.iter().flat_map(|draft| &draft.planned.batches).map(planned).sum(),
            excluded: drafts.iter().map(|draft| draft.planned.excluded.len() as u64).sum(),
            ..RunCounts::default()
        };
        let mut planning = self.store().plan_begin(&run, guard, run.started_at).await?;
        planning.activations_take(awaited).await?;
        for PlatformDraft { planned, .. } in drafts {
            for chunk in planned.batches.chunks(BATCHES_AT_ONCE) {
                planning.batches_add(&batches_of(run.id, chunk), &self.config().collection.tenant_weights).await?;
            }
            for chunk in planned.excluded.chunks(OUTCOMES_AT_ONCE) {
                let excluded: Vec<AccountOutcome> = chunk
                    .iter()
                    .map(|(account_id, metric_date, reason)| AccountOutcome {
                        account_id: *account_id,
                        metric_date: *metric_date,
                        outcome: Outcome::Excluded { reason: *reason },
                        attempts: 0,
                    })
                    .collect();
                planning.exclusions_record(&excluded).await?;
            }
        }
        planning.commit().await?;
        Ok(run)
    }

    /// Plans first collections, and takes their activations out, whether or not there is anybody to collect: whoever can't be collected now
    /// gets another activation with the change that makes it possible. None where nobody is.
    pub(in crate::pipeline) async fn plan_activations(
        &self,
        term: &Term,
        activations: &[Activation],
    ) -> Result<Option<Run>, HostError> {
        let (releases, canaries) = (self.active_releases().await?, self.store().canaries_list().await?);
        let request = RunRequest { trigger: ACTIVATION.to_owned(), ..RunRequest::default() };
        let options = self.plan_options(&request);
        let mut run = self.new_run(&request);
        let guard = PlanGuard::Activations { term, activations };
        let mut planning = self.store().plan_begin(&run, guard, run.started_at).await?;
        let candidates = planning.first_candidates_list().await?;
        for release in releases {
            let options = PlanOptions { canary_share: share_of(&canaries, &release), ..options };
            let here = candidates.iter().filter(|candidate| &candidate.platform == release.platform()).cloned();
            let planned = plan::plan(here.collect(), &release.manifest, release.digest, &options);
            run.counts.planned += planned.batches.iter().map(|batch| batch.accounts.len() as u64).sum::<u64>();
            planning
                .batches_add(&batches_of(run.id, &planned.batches), &self.config().collection.tenant_weights)
                .await?;
        }
        if run.counts.planned == 0 {
            planning.commit_without_run().await?;
            return Ok(None);
        }
        planning.commit().await?;
        Ok(Some(run))
    }

    fn new_run(&self, request: &RunRequest) -> Run {
        Run {
            id: RunId::generate(),
            trigger: request.trigger.clone(),
            date: request.date,
            status: RunStatus::Running,
            started_at: self.clock().now(),
            finished_at: None,
            counts: RunCounts::default(),
        }
    }
}

/// What part of a platform's accounts its canary collects.
fn share_of(canaries: &[Canary], active: &Release) -> u32 {
    canaries.iter().find(|canary| canary.platform == *active.platform()).map_or(0, |canary| canary.share)
}

fn batches_of(run_id: RunId, planned: &[PlannedBatch]) -> Vec<Batch> {
    let batch = |planned: &PlannedBatch| Batch {
        id: BatchId::generate(),
        run_id,
        tenant: planned.tenant.clone(),
        platform: planned.platform.clone(),
        release: planned.release,
        canary: planned.canary,
        window: planned.window,
        accounts: planned.accounts.clone(),
        attempts: 0,
    };
    planned.iter().map(batch).collect()
}
