//! Plans runs: from the accounts in the database to batches in the work tables.
//!
//! Accounts are read page by page and platform by platform. Of each only its id and its date are kept, some two dozen
//! bytes, so a hundred thousand accounts take a few megabytes. All writing is one transaction, kept as short as
//! possible.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};

use crate::config::Config;
use crate::pipeline::collection::allowances;
use crate::pipeline::collection::pauses::believed;
use crate::pipeline::collection::report::{PlanReport, PlatformPlan, RunRequest};
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::manager::{LookupError, ReleaseManager};
use backline_model::clock::Clock;
use backline_model::run::{Forecast, RunCounts};
use backline_model::{ArtistId, Batch, BatchId, Candidate, Outcome, Platform, Release, Run, RunId, RunStatus};
use backline_rules::plan::{self, ForecastOptions, PlanOptions, Planned, PlannedBatch};
use backline_store::{AccountOutcome, Activation, Canary, PlanGuard, Scope, Store, StoreError, Term};

/// Accounts read from the database at once while planning: bounds memory, not the run.
const PAGE: u32 = 1_000;

/// Batches turned into rows at once: bounds memory, not the run.
const BATCHES_AT_ONCE: usize = 500;

/// Outcomes turned into rows at once: bounds memory, not the run.
const OUTCOMES_AT_ONCE: usize = 10_000;

/// Trigger of a run of first collections.
const ACTIVATION: &str = "activation";

/// The plan of a run for one platform, with the release that carries it out.
pub(in crate::pipeline) struct PlatformDraft {
    pub release: Release,
    pub planned: Planned,
}

/// The pending first collections that a plan covers, and the platforms that it is for; none means all.
pub(in crate::pipeline) struct Awaited {
    activations: Vec<Activation>,
    platforms: Vec<Platform>,
}

/// Why nothing was planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The platform has no active release.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// No artist has this id.
    #[error("no artist has the id {0}; `backline artists list` shows them")]
    NoArtist(ArtistId),
    /// Nothing is installed.
    #[error("no connector is installed; install one with `backline plugins install FILE.wasm`")]
    NothingInstalled,
    /// No account's numbers of the date that was asked for can be fetched now.
    #[error(
        "no connector can fetch the numbers of {date}: platforms tell those of now, and it is {now} UTC; leave the \
         date out to collect today's, or give one that ended less than {late_s} s ago (collection.late_s)",
        now = now.format("%Y-%m-%d %H:%M")
    )]
    DateNotServed {
        /// The date that was asked for.
        date: NaiveDate,
        /// When it was asked for.
        now: DateTime<Utc>,
        /// How long after the end of a date its numbers can be observed, in seconds.
        late_s: u32,
    },
}

impl Classified for PlanError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Lookup(error) => error.class(),
            Self::NoArtist(_) | Self::NothingInstalled | Self::DateNotServed { .. } => ErrorClass::Refused,
        }
    }
}

/// Decides what a run collects, and writes its plan. Cloning shares it.
#[derive(Clone)]
pub struct Planner {
    config: Arc<Config>,
    clock: Clock,
    store: Store,
    releases: ReleaseManager,
}

impl Planner {
    pub(in crate::pipeline) fn new(config: Arc<Config>, clock: Clock, store: Store, releases: ReleaseManager) -> Self {
        Self { config, clock, store, releases }
    }

    /// What a run would do. Writes nothing.
    ///
    /// # Errors
    /// When an artist or platform does not exist, no connector is installed, or the database fails.
    pub async fn plan(&self, request: &RunRequest) -> Result<PlanReport, PlanError> {
        let drafts = self.drafts(request).await?;
        let mut total = Forecast::default();
        let mut platforms = Vec::with_capacity(drafts.len());
        let now = self.clock.now();
        let pauses = self.store.pauses_list(now, believed(now)).await?;
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
            let allowances = allowances::of_release(&self.store, &draft.release, &forecast.units, now).await?;
            let pause = pauses.iter().find(|pause| pause.platform == *draft.release.platform());
            platforms.push(PlatformPlan {
                days: plan::days(&forecast.units, &draft.release.manifest, &draft.release.grant.budgets),
                platform: draft.release.platform().clone(),
                release: draft.release.digest,
                version: draft.release.manifest.connector.version.to_string(),
                forecast,
                excluded,
                allowances,
                paused_until: pause.map(|pause| pause.until),
            });
        }
        Ok(PlanReport { date: request.date, platforms, total })
    }

    fn forecast_options(&self) -> ForecastOptions {
        ForecastOptions {
            batches_at_once: u32::from(self.config.collection.concurrency.max(1)),
            ..ForecastOptions::default()
        }
    }

    /// What a run would do. Writes nothing.
    ///
    /// # Errors
    /// When an artist or platform does not exist, no connector is installed, or the database fails.
    #[tracing::instrument(name = "plan", skip_all)]
    pub(in crate::pipeline) async fn drafts(&self, request: &RunRequest) -> Result<Vec<PlatformDraft>, PlanError> {
        for artist in &request.artists {
            match self.store.artist_get(&Scope::all_tenants(), *artist).await {
                Ok(None) => return Err(PlanError::NoArtist(*artist)),
                // What can't be read of it excludes it with that reason, and none of the others.
                Ok(Some(_)) | Err(StoreError::Unreadable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut releases: Vec<Release> = Vec::new();
        if request.platforms.is_empty() {
            releases.extend(self.active_releases().await?);
            if releases.is_empty() {
                return Err(self.releases.none_at_all().await?.map_or(PlanError::NothingInstalled, PlanError::Lookup));
            }
        } else {
            for platform in &request.platforms {
                releases.push(self.releases.active(platform).await?);
            }
        }
        let drafts = self.drafts_of(releases, request).await?;
        self.check_date(request, &drafts)?;
        Ok(drafts)
    }

    /// Refuses a date of which nothing could be stored: no account's numbers of it can be fetched any more.
    fn check_date(&self, request: &RunRequest, drafts: &[PlatformDraft]) -> Result<(), PlanError> {
        let is_anything_planned = drafts.iter().any(|draft| !draft.planned.batches.is_empty());
        let is_anything_unserved = drafts.iter().any(|draft| !draft.planned.unserved.is_empty());
        match request.date {
            Some(date) if is_anything_unserved && !is_anything_planned => {
                Err(PlanError::DateNotServed { date, now: self.clock.now(), late_s: self.config.collection.late_s })
            }
            _ => Ok(()),
        }
    }

    /// The same for given releases; the platforms of the request are ignored.
    pub(in crate::pipeline) async fn drafts_of(
        &self,
        releases: Vec<Release>,
        request: &RunRequest,
    ) -> Result<Vec<PlatformDraft>, StoreError> {
        let (options, canaries) = (self.plan_options(request), self.store.canaries_list().await?);
        let mut drafts = Vec::with_capacity(releases.len());
        for release in releases {
            let options = PlanOptions { canary_share: share_of(&canaries, &release), ..options };
            let candidates = self.candidates(release.platform(), request, options.now).await?;
            let planned = plan::plan(candidates, &release.manifest, release.digest, &options);
            drafts.push(PlatformDraft { release, planned });
        }
        Ok(drafts)
    }

    /// The active release of every platform that has one.
    pub(in crate::pipeline) async fn active_releases(&self) -> Result<Vec<Release>, StoreError> {
        Ok(self.store.releases_list().await?.into_iter().filter(|release| release.active).collect())
    }

    fn plan_options(&self, request: &RunRequest) -> PlanOptions {
        let now = self.clock.now();
        let (window_days, late) = (self.config.collection.window_days, self.config.collection.late());
        PlanOptions { date: request.date, due: request.due.unwrap_or(now), now, window_days, canary_share: 0, late }
    }

    async fn candidates(
        &self,
        platform: &Platform,
        request: &RunRequest,
        now: DateTime<Utc>,
    ) -> Result<Vec<Candidate>, StoreError> {
        let whose: Vec<_> =
            if request.artists.is_empty() { vec![None] } else { request.artists.iter().copied().map(Some).collect() };
        let mut all = Vec::new();
        for artist in whose {
            let mut after = None;
            loop {
                let all_tenants = Scope::all_tenants();
                let found = self.store.candidates_list(&all_tenants, platform, artist, after, PAGE + 1, now).await?;
                let (page, goes_on) = page_of(found, PAGE as usize);
                after = page.last().map(|candidate| candidate.account_id);
                all.extend(page);
                if !goes_on {
                    break;
                }
            }
        }
        self.store.candidates_drop_erased(all).await
    }

    /// The pending first collections that a run covers. They are read before the accounts are, so that one requested
    /// later stays pending.
    pub(in crate::pipeline) async fn awaited(&self, request: &RunRequest) -> Result<Awaited, StoreError> {
        let mut activations = self.store.activations_list(&Scope::all_tenants(), u32::MAX).await?;
        activations.retain(|activation| activation.is_covered_by(&request.platforms, &request.artists));
        Ok(Awaited { activations, platforms: request.platforms.clone() })
    }

    /// Writes a run with its whole plan, or nothing. First collections that it covers are no longer pending afterwards.
    ///
    /// # Errors
    /// When the guard's condition is not met, or the database fails.
    #[tracing::instrument(name = "write_plan", skip_all, fields(platforms = drafts.len()))]
    pub(in crate::pipeline) async fn write_plan(
        &self,
        request: &RunRequest,
        drafts: &[PlatformDraft],
        awaited: &Awaited,
        guard: PlanGuard<'_>,
    ) -> Result<Run, StoreError> {
        let planned = |batch: &PlannedBatch| batch.accounts.len() as u64;
        let mut run = self.new_run(request);
        run.counts = RunCounts {
            planned: drafts.iter().flat_map(|draft| &draft.planned.batches).map(planned).sum(),
            excluded: drafts.iter().map(|draft| draft.planned.excluded.len() as u64).sum(),
            ..RunCounts::default()
        };
        // An account that is left out of this date still waits for its first collection.
        let is_unserved = |artist: &ArtistId| drafts.iter().any(|draft| draft.planned.unserved.contains(artist));
        let Awaited { activations, platforms } = awaited;
        let covered: Vec<Activation> =
            activations.iter().filter(|activation| !is_unserved(&activation.artist_id)).cloned().collect();
        let mut planning = self.store.plan_begin(&run, guard, run.started_at).await?;
        planning.activations_take(&covered, platforms).await?;
        for PlatformDraft { planned, .. } in drafts {
            for chunk in planned.batches.chunks(BATCHES_AT_ONCE) {
                planning.batches_add(&batches_of(run.id, chunk), &self.config.collection.tenant_weights).await?;
            }
            for chunk in planned.excluded.chunks(OUTCOMES_AT_ONCE) {
                let excluded: Vec<AccountOutcome> = chunk
                    .iter()
                    .map(|(account_id, metric_date, reason)| AccountOutcome {
                        account_id: *account_id,
                        metric_date: *metric_date,
                        outcome: Outcome::Excluded { reason: *reason },
                        attempts: 0,
                        planned_for: None,
                        note: None,
                    })
                    .collect();
                planning.exclusions_record(&excluded).await?;
            }
        }
        planning.answer_keep(&run).await?;
        planning.commit().await?;
        Ok(run)
    }

    /// Plans first collections, and marks them as planned even if no account can be collected: the change that makes
    /// one collectable requests a first collection again. Returns no run where there is no account.
    pub(in crate::pipeline) async fn plan_activations(
        &self,
        term: &Term,
        activations: &[Activation],
    ) -> Result<Option<Run>, StoreError> {
        let (releases, canaries) = (self.active_releases().await?, self.store.canaries_list().await?);
        let request = RunRequest { trigger: ACTIVATION.to_owned(), ..RunRequest::default() };
        let options = self.plan_options(&request);
        let mut run = self.new_run(&request);
        let guard = PlanGuard::Activations { term, activations };
        let mut planning = self.store.plan_begin(&run, guard, run.started_at).await?;
        let candidates = planning.first_candidates_list().await?;
        for release in releases {
            let options = PlanOptions { canary_share: share_of(&canaries, &release), ..options };
            let here = candidates.iter().filter(|candidate| &candidate.platform == release.platform()).cloned();
            let planned = plan::plan(here.collect(), &release.manifest, release.digest, &options);
            run.counts.planned += planned.batches.iter().map(|batch| batch.accounts.len() as u64).sum::<u64>();
            planning.batches_add(&batches_of(run.id, &planned.batches), &self.config.collection.tenant_weights).await?;
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
            started_at: self.clock.now(),
            finished_at: None,
            counts: RunCounts::default(),
        }
    }
}

/// A page out of what was found where one more than fits was asked for, and whether another page follows: a last one
/// that is full is followed by none.
fn page_of<T>(mut found: Vec<T>, size: usize) -> (Vec<T>, bool) {
    let goes_on = found.len() > size;
    found.truncate(size);
    (found, goes_on)
}

/// The share of a platform's accounts that its canary collects.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_page_is_the_last_one_where_nothing_follows() {
        let page = |found: usize| page_of((1..=found).collect(), 3);
        assert_eq!(page(0), (vec![], false));
        assert_eq!(page(2), (vec![1, 2], false));
        assert_eq!(page(3), (vec![1, 2, 3], false));
        assert_eq!(page(4), (vec![1, 2, 3], true), "the fourth begins the next page");
    }
}
