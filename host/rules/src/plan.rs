//! The plan of a run: which accounts are collected, for which date and in which batches, and what that will take. Pure:
//! the current time is in the options.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::dates::{LATE_S_DEFAULT, date_end, is_served};
use backline_model::account::{AccountStatus, Candidate, SubscriptionStatus};
use backline_model::manifest::{Budget, BudgetWindow, Of, Owner, Per, RequestEstimate};
use backline_model::outcome::Exclusion;
use backline_model::run::Forecast;
use backline_model::{AccountId, ArtistId, BatchAccount, Digest, Manifest, Platform, Tenant, Window};

/// Default number of days that post-level metrics look back: long enough for a new post's numbers to settle.
pub const WINDOW_DAYS_DEFAULT: u16 = 28;

/// Unit of a canary's share: a hundredth of a percent of the accounts.
pub const CANARY_PARTS: u32 = 10_000;

/// Options of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Logical date; `None` means each artist's own date at the time the run was due.
    pub date: Option<NaiveDate>,
    /// When the run was due: a scheduled time, which may be long before the plan is made.
    pub due: DateTime<Utc>,
    /// When the plan is made.
    pub now: DateTime<Utc>,
    /// Days that post-level metrics look back.
    pub window_days: u16,
    /// Share of the accounts that a canary collects, in units of 1 / [`CANARY_PARTS`]; 0 if there is none.
    pub canary_share: u32,
    /// How long after the end of a date numbers that are observed are stored under it.
    pub late: TimeDelta,
}

impl PlanOptions {
    /// Options for each artist's current date, due now, with the default window.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Self {
        let late = TimeDelta::seconds(i64::from(LATE_S_DEFAULT));
        Self { date: None, due: now, now, window_days: WINDOW_DAYS_DEFAULT, canary_share: 0, late }
    }
}

/// A batch that does not belong to a run yet: accounts of one tenant, one logical date and one window.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedBatch {
    /// Tenant of all its accounts.
    pub tenant: Tenant,
    /// Platform of all its accounts.
    pub platform: Platform,
    /// Digest of the release that collects it.
    pub release: Digest,
    /// The logical date of all its accounts.
    pub metric_date: NaiveDate,
    /// Window that post-level metrics cover. It ends now for an artist's current date, unless the connector has metrics
    /// with history: then it ends with the date, where the artist is.
    pub window: Window,
    /// Accounts whose last try is longest ago first, then by id: planning twice gives the same batches.
    pub accounts: Vec<BatchAccount>,
    /// Number of accounts that were never collected before.
    pub new_accounts: usize,
    /// Whether its accounts belong to a canary's share.
    pub canary: bool,
}

/// Result of planning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Planned {
    /// Batches whose first account has waited longest first, then by tenant, then date. They are leased in this order,
    /// as far as the shares of tenants allow.
    pub batches: Vec<PlannedBatch>,
    /// Accounts that are not collected, with the reason, by account id. They count neither as successes nor as
    /// failures.
    pub excluded: Vec<(AccountId, NaiveDate, Exclusion)>,
    /// Artists of accounts that were left out only because a collection can't bring their numbers of the date that was
    /// asked for: they still wait for one of their own date.
    pub unserved: BTreeSet<ArtistId>,
}

/// An account of a batch to come.
struct Waiting {
    /// When it was last tried; none comes first.
    since: Option<DateTime<Utc>>,
    account: BatchAccount,
    is_new: bool,
}

/// Divides the accounts of one platform into batches of the connector's size. An account given twice is planned once.
/// Those that were never tried come first, then those whose last try, whether it collected or failed, is longest ago:
/// an allowance that is too small makes every account rarer, and never leaves the same ones out. Accounts that fail
/// each day take their turn too, and no more.
///
/// Where a date is asked for, accounts whose numbers of that date can't be fetched now are left out: today's would be
/// fetched under its name.
#[must_use]
pub fn plan(candidates: Vec<Candidate>, manifest: &Manifest, release: Digest, options: &PlanOptions) -> Planned {
    let by_account: BTreeMap<AccountId, Candidate> =
        candidates.into_iter().map(|candidate| (candidate.account_id, candidate)).collect();

    // Which date is asked for can be told from a window's end only if that is where the date ends, today's too: a batch
    // that waits for days is collected with the window that it was planned with.
    let has_history = manifest.has_history();
    let mut planned = Planned::default();
    // Two artists with the same logical date may need different windows: it may be the current date for one and the
    // previous one for the other.
    type Groups = BTreeMap<(Tenant, NaiveDate, DateTime<Utc>, bool), Vec<Waiting>>;
    let mut groups = Groups::new();
    for (account_id, candidate) in by_account {
        let metric_date = options.date.unwrap_or_else(|| candidate.timezone.date_at(options.due));
        if let Some(reason) = exclusion(&candidate, manifest) {
            planned.excluded.push((account_id, metric_date, reason));
            continue;
        }
        if options.date.is_some() && !is_served(metric_date, &candidate, options.now, options.late, manifest) {
            planned.excluded.push((account_id, metric_date, Exclusion::DateNotServed));
            planned.unserved.insert(candidate.artist_id);
            continue;
        }
        let end = date_end(metric_date, &candidate.timezone);
        let until = end.map_or(options.now, |end| if has_history { end } else { end.min(options.now) });
        // A time ahead of now would put the account last until then.
        let since = candidate.tries().filter(|at| *at <= options.now).max();
        groups
            .entry((candidate.tenant, metric_date, until, is_canarys(account_id, options.canary_share)))
            .or_default()
            .push(Waiting {
                since,
                account: BatchAccount { account_id, metric_date },
                is_new: candidate.last_collected.is_none(),
            });
    }

    let batch_size = usize::try_from(manifest.connector.batch_size).unwrap_or(usize::MAX).max(1);
    let mut batches = Vec::new();
    for ((tenant, metric_date, until, canary), mut accounts) in groups {
        // They are in order of id, which stays where the times are the same.
        accounts.sort_by_key(|waiting| waiting.since);
        let days = TimeDelta::days(i64::from(options.window_days));
        let window = Window { since: until.checked_sub_signed(days).unwrap_or(DateTime::<Utc>::MIN_UTC), until };
        batches.extend(accounts.chunks(batch_size).map(|accounts| {
            let batch = PlannedBatch {
                tenant: tenant.clone(),
                platform: manifest.connector.platform.clone(),
                release,
                metric_date,
                window,
                accounts: accounts.iter().map(|waiting| waiting.account).collect(),
                new_accounts: accounts.iter().filter(|waiting| waiting.is_new).count(),
                canary,
            };
            (accounts.first().and_then(|waiting| waiting.since), batch)
        }));
    }
    // Or a date, such as that of the zones that are ahead, would have its turn after the others each time.
    batches.sort_by_key(|(since, _)| *since);
    planned.batches = batches.into_iter().map(|(_, batch)| batch).collect();
    planned
}

/// A canary's share from a percentage of the accounts, in units of 1 / [`CANARY_PARTS`]; `None` if that is none of them
/// or all.
#[must_use]
pub fn canary_share(percent: f64) -> Option<u32> {
    let parts = (percent * f64::from(CANARY_PARTS) / 100.0).round();
    if !(1.0..f64::from(CANARY_PARTS)).contains(&parts) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 and 9,999")]
    Some(parts as u32)
}

/// Whether an account belongs to a canary's share, in units of 1 / [`CANARY_PARTS`]. This depends only on the account's
/// id: the same accounts belong to it every day, and a larger share includes those of a smaller one.
#[must_use]
pub fn is_canarys(account: AccountId, share: u32) -> bool {
    // The finaliser of SplitMix64: ids may be ordered in any of their bits, and every bit has to count.
    let (high, low) = account.0.as_u64_pair();
    let mut mixed = high ^ low.rotate_left(32);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % u64::from(CANARY_PARTS) < u64::from(share)
}

/// Why an account is not collected; `None` if it is. Of several reasons the first in this order is given: what only the
/// operator of Backline can change, then what the customer decided (subscription, switch, consent), then the account's
/// own state.
#[must_use]
pub fn exclusion(candidate: &Candidate, manifest: &Manifest) -> Option<Exclusion> {
    if candidate.unreadable.is_some() {
        Some(Exclusion::Unreadable)
    } else if candidate.platform != manifest.connector.platform {
        Some(Exclusion::NoConnector)
    } else if candidate.subscription_status != SubscriptionStatus::Active {
        Some(Exclusion::NotSubscribed)
    } else if !candidate.data_collection_enabled {
        Some(Exclusion::CollectionDisabled)
    } else if !candidate.consented {
        Some(Exclusion::NoConsent)
    } else {
        match candidate.account_status {
            AccountStatus::Active => None,
            AccountStatus::Disabled => Some(Exclusion::AccountDisabled),
            AccountStatus::ReconnectNeeded => Some(Exclusion::ReconnectNeeded),
            AccountStatus::HostKilled => Some(Exclusion::HostKilled),
            AccountStatus::NotFound => Some(Exclusion::NotFound),
        }
    }
}

/// The days over which daily allowances spread these units, by budget: 1 if they suffice. `limits` are what the
/// operator granted, by budget; the manifest's limit counts where it names none. An account's own allowance is not one
/// that several accounts share, so it spreads nothing.
#[must_use]
pub fn days(units: &BTreeMap<String, u64>, manifest: &Manifest, limits: &BTreeMap<String, u64>) -> u64 {
    let is_shared = |budget: &&Budget| {
        let slot = budget.slot.as_ref().and_then(|slot| manifest.slot(slot));
        slot.is_none_or(|slot| slot.owner == Owner::Operator)
    };
    let daily = manifest.budgets.iter().filter(|budget| matches!(budget.window, BudgetWindow::Daily { .. }));
    let days = daily.filter(is_shared).map(|budget| {
        let limit = limits.get(&budget.name).copied().unwrap_or(budget.limit).max(1);
        units.get(&budget.name).copied().unwrap_or(0).div_ceil(limit)
    });
    days.max().unwrap_or(0).max(1)
}

/// Assumptions of the estimated duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForecastOptions {
    /// Duration of one request, in milliseconds.
    pub request_latency_ms: u32,
    /// Number of batches that run concurrently.
    pub batches_at_once: u32,
    /// Number of concurrent requests of a batch.
    pub requests_at_once: u32,
}

impl Default for ForecastOptions {
    /// Slower endpoints of the five platforms take a quarter of a second from a data centre. The other values are the
    /// host's defaults.
    fn default() -> Self {
        Self { request_latency_ms: 250, batches_at_once: 8, requests_at_once: 8 }
    }
}

/// Forecasts what these batches will take, by the manifest's own estimates.
///
/// - `requests` = Σ over the manifest's estimates of `count` × batches or accounts. An estimate for new or known
///   accounts counts only those; if it is made once a batch, it counts in proportion to the batch's accounts of that
///   kind, rounded up.
/// - `units` of a budget = Σ of the same requests × the budget's cost of their path.
/// - `duration_s` = the larger of two times. *Work*: a batch with `r` requests takes ⌈r / `requests_at_once`⌉ ×
///   latency. The batches' times are divided among `batches_at_once`, but the total is never shorter than the longest
///   batch. *Budget*: an operator's or a platform's budget of `limit` units per window of seconds needs
///   ⌊(u − 1) / limit⌋ windows of waiting for `u` units; one with a rolling window spaces them. Daily budgets add no
///   time: what they do not cover is deferred, which shows in `units`.
///   Budgets of account-owned slots count per account and add none either.
#[must_use]
pub fn forecast(batches: &[PlannedBatch], manifest: &Manifest, options: &ForecastOptions) -> Forecast {
    let batch_count = count(batches.len());
    let accounts = batches.iter().fold(0u64, |sum, batch| sum.saturating_add(count(batch.accounts.len())));
    let sent: Vec<u64> = manifest
        .requests
        .iter()
        .map(|estimate| batches.iter().fold(0u64, |sum, batch| sum.saturating_add(requests_for(estimate, batch))))
        .collect();
    let requests = sent.iter().fold(0u64, |sum, sent| sum.saturating_add(*sent));
    let units_of =
        |budget: &Budget| {
            manifest.requests.iter().zip(&sent).fold(0u64, |sum, (estimate, sent)| {
                sum.saturating_add(sent.saturating_mul(budget.cost_of(&estimate.path)))
            })
        };
    let units: BTreeMap<String, u64> =
        manifest.budgets.iter().map(|budget| (budget.name.clone(), units_of(budget))).collect();

    let batch_durations = batches.iter().map(|batch| {
        let requests =
            manifest.requests.iter().fold(0u64, |sum, estimate| sum.saturating_add(requests_for(estimate, batch)));
        let rounds = requests.div_ceil(u64::from(options.requests_at_once.max(1)));
        as_f64(rounds) * f64::from(options.request_latency_ms) / 1000.0
    });
    let (total, longest) =
        batch_durations.fold((0.0f64, 0.0f64), |(total, longest), duration| (total + duration, longest.max(duration)));
    let work = longest.max(total / f64::from(options.batches_at_once.max(1)));
    let waiting =
        manifest.budgets.iter().map(|budget| waiting_s(budget, units[&budget.name], manifest)).fold(0.0, f64::max);

    Forecast { batches: batch_count, accounts, requests, units, duration_s: work.max(waiting) }
}

/// Number of requests of one kind that a batch makes.
fn requests_for(estimate: &RequestEstimate, batch: &PlannedBatch) -> u64 {
    let (all, new) = (count(batch.accounts.len()), count(batch.new_accounts));
    let concerned = match estimate.of {
        Of::All => all,
        Of::New => new,
        Of::Known => all - new.min(all),
    };
    match estimate.per {
        Per::Account => estimate.count.saturating_mul(concerned),
        Per::Batch => estimate.count.saturating_mul(concerned).div_ceil(all.max(1)),
    }
}

/// Seconds that a run waits for a budget.
fn waiting_s(budget: &Budget, units: u64, manifest: &Manifest) -> f64 {
    let is_operators = |slot: &String| manifest.slot(slot).is_some_and(|slot| slot.owner == Owner::Operator);
    let is_shared = budget.slot.as_ref().is_none_or(is_operators);
    match budget.window {
        BudgetWindow::Rolling(_) if is_shared => budget.pace(budget.limit).map_or(0.0, |pace| pace.seconds_for(units)),
        BudgetWindow::Seconds(seconds) if is_shared && units > 0 => {
            as_f64((units - 1) / budget.limit.max(1)) * f64::from(seconds)
        }
        _ => 0.0,
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate in seconds; 53 bits are ample")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
