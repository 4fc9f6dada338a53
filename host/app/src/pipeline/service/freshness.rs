//! Whether the numbers that were due last are there: what other programs ask, and wait for, before they read them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::config::Config;
use crate::pipeline::service::schedules::{self, SchedulesError};
use backline_model::{Fire, Platform, RunId, Schedule};
use backline_store::{AccountFilter, RunState, Scope, Store, StoreError};

/// Share of the accounts that must be collected for numbers to be fresh: a few always fail, such as those that have to
/// be connected again.
const FRESH_SHARE: f64 = 0.95;

/// How far the numbers of a platform are that were due last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Freshness {
    /// Platform of the numbers.
    pub platform: Platform,
    /// Of the schedules that collect it, the one whose time came last.
    pub schedule: String,
    /// That time.
    pub due_at: DateTime<Utc>,
    /// The schedule's next time.
    pub next_due_at: Option<DateTime<Utc>>,
    /// The run that was started for it; none where it is yet to be, or was skipped or missed.
    pub run: Option<RunId>,
    /// Accounts that the run was to collect.
    pub accounts: u64,
    /// Accounts that were collected.
    pub collected: u64,
    /// Accounts that wait, or are being collected.
    pub open: u64,
    /// Share of the accounts that were collected; none where there is no run.
    pub share: Option<f64>,
    /// Whether at least 95 of 100 accounts were collected.
    pub fresh: bool,
}

/// The time that came last, and what was made of it.
struct Due<'a> {
    schedule: &'a Schedule,
    at: DateTime<Utc>,
    run: Option<RunId>,
}

/// How fresh the numbers of a scope are: of each platform that an active release collects by a schedule and that the
/// scope has accounts on, ordered by platform.
///
/// # Errors
/// When the database fails, or a configured schedule is not valid.
pub async fn of(
    store: &Store,
    config: &Config,
    scope: &Scope,
    platform: Option<&Platform>,
    now: DateTime<Utc>,
) -> Result<Vec<Freshness>, SchedulesError> {
    let schedules = schedules::list(store, config, now).await?;
    let mut times = Vec::new();
    for schedule in schedules.iter().filter(|schedule| schedule.spec.enabled) {
        let latest = store.fires_list(Some(&schedule.name), 1).await?.into_iter().next();
        times.extend(due_of(schedule, latest, now));
    }
    let releases = store.releases_list().await?.into_iter().filter(|release| release.active);
    let mut platforms: Vec<Platform> = releases.map(|release| release.platform().clone()).collect();
    platforms.retain(|known| platform.is_none_or(|wanted| wanted == known));
    platforms.sort_unstable();
    let (mut states, mut found) = (BTreeMap::<RunId, Option<RunState>>::new(), Vec::new());
    for platform in platforms {
        let collects = |due: &&Due<'_>| {
            let only = &due.schedule.spec.platforms;
            only.is_empty() || only.contains(&platform)
        };
        let Some(due) = times.iter().filter(collects).max_by_key(|due| due.at) else { continue };
        if let Some(run) = due.run
            && !states.contains_key(&run)
        {
            states.insert(run, state_of(store, scope, run).await?);
        }
        if due.run.is_none() && !has_accounts(store, scope, &platform).await? {
            continue;
        }
        let state = due.run.and_then(|run| states.get(&run)).and_then(Option::as_ref);
        found.extend(judged(due, platform, state));
    }
    Ok(found)
}

/// When a schedule was due last. A time that has passed and was not decided yet is one: quiet hosts are no sign of
/// fresh numbers.
fn due_of(schedule: &Schedule, latest: Option<Fire>, now: DateTime<Utc>) -> Option<Due<'_>> {
    let overdue = schedule.next_fire.filter(|at| *at <= now).map(|at| Due { schedule, at, run: None });
    overdue.or_else(|| latest.map(|fire| Due { schedule, at: fire.fire_time, run: fire.run_id }))
}

/// Whether a scope has an account on a platform, where no run tells.
async fn has_accounts(store: &Store, scope: &Scope, platform: &Platform) -> Result<bool, StoreError> {
    let filter = AccountFilter { platform: Some(platform.clone()), limit: Some(1), ..AccountFilter::default() };
    Ok(!store.accounts_list(scope, &filter).await?.is_empty())
}

/// What a run came to in a scope; none where the scope has no account in it.
async fn state_of(store: &Store, scope: &Scope, run: RunId) -> Result<Option<RunState>, StoreError> {
    match store.run_state_get(scope, run).await {
        Ok(state) => Ok(Some(state)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// None where the run has no account of the platform.
fn judged(due: &Due<'_>, platform: Platform, state: Option<&RunState>) -> Option<Freshness> {
    let (mut accounts, mut collected, mut open) = (0, 0, 0);
    for group in state.iter().flat_map(|state| &state.outcomes).filter(|group| group.platform == platform) {
        match group.outcome.as_str() {
            "excluded" => continue,
            "collected" => collected += group.accounts,
            "deferred" => open += group.accounts,
            _ => {}
        }
        accounts += group.accounts;
    }
    for batches in state.iter().flat_map(|state| &state.open).filter(|open| open.batches.platform == platform) {
        accounts += batches.without_outcome;
        open += batches.without_outcome;
    }
    if due.run.is_some() && accounts == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "numbers of accounts are far below 2^52")]
    let share = (accounts > 0).then(|| collected as f64 / accounts as f64);
    Some(Freshness {
        platform,
        schedule: due.schedule.name.clone(),
        due_at: due.at,
        next_due_at: due.schedule.next_fire.filter(|next| *next > due.at),
        run: due.run,
        accounts,
        collected,
        open,
        share,
        fresh: share.is_some_and(|share| share >= FRESH_SHARE),
    })
}
