//! Health of collection: rates, a score, objectives, recommendations and alerts, computed from figures. Pure.
//!
//! - **completion** = collected / planned and **error rate** = failed / planned. *Planned* is what should have been
//!   collected by now: accounts that were collected, that failed, that are overdue, and that waited until a newer
//!   plan included them (superseded). Excluded accounts, accounts that wait for a budget, and accounts planned more
//!   recently than a run may take are counted apart. An account counts once for each date, by its last attempt, so
//!   completion never exceeds 100 %.
//! - **score** = max(0, 100 − 50 × error rate − 50 × (1 − completion)).
//! - Optional platforms are shown, but left out of the total.
//! - If nothing was planned or nothing reported, there is *no data*: the value is `None`, and an objective is neither
//!   met nor missed.

mod alerts;
mod config;
mod costs;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod recommend;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

pub use alerts::{AlertStep, Crossing, IDLE_FOR, cease, readings, step};
pub use config::{AlertBounds, CostsConfig, HealthConfig, PlatformPrice, Targets};
pub use costs::estimate;

use backline_model::RunId;
use backline_model::health::{
    BusySpan, Figures, Health, HealthReport, HostFigures, Lag, Objective, PlatformFigures, PlatformHealth, Suspects,
};

/// A host that has not reported itself for this long counts as lost. Hosts report every two seconds, and a database
/// restart takes less than a minute.
pub const HOST_LOST_AFTER: TimeDelta = TimeDelta::seconds(60);

/// Share of rows that the reported lag covers.
const LAG_SHARE: f64 = 0.95;

/// The whole report, except the alerts, which are stored and not computed.
#[must_use]
pub fn report(
    figures: &Figures,
    suspects: &Suspects,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    config: &HealthConfig,
    prices: &CostsConfig,
) -> HealthReport {
    let platforms: Vec<PlatformHealth> = figures
        .platforms
        .iter()
        .map(|(platform, figures)| PlatformHealth {
            platform: platform.clone(),
            optional: figures.optional,
            health: health([figures].into_iter(), now),
            failures: figures.failed.clone(),
            exclusions: figures.excluded.clone(),
            deferred_until: figures.deferred_until,
        })
        .collect();
    let total = health(figures.platforms.values().filter(|figures| !figures.optional), now);
    let run_s = longest_run_s(&figures.work);
    let cost = estimate(figures, now - since, prices);
    let objectives = objectives(&total, run_s, cost.per_1000_artists, &config.targets);
    let mut report = HealthReport {
        at: now,
        since,
        total,
        platforms,
        run_s,
        cost,
        objectives,
        recommendations: Vec::new(),
        alerts: Vec::new(),
        time_zones: suspects.zones.clone(),
        simulated: suspects.simulated,
    };
    report.recommendations = recommend::recommend(&report, figures, suspects, now);
    report
}

/// The combined health of some platforms.
fn health<'a>(platforms: impl Iterator<Item = &'a PlatformFigures>, now: DateTime<Utc>) -> Health {
    let mut health = Health::default();
    let (mut lags, mut oldest): (Vec<Lag>, Option<DateTime<Utc>>) = (Vec::new(), None);
    let (mut values, mut rejected, mut scored, mut score_percent, mut eligible) = (0, 0, 0, 0, 0);
    for figures in platforms {
        health.collected += figures.collected;
        health.failed += figures.failed.values().sum::<u64>();
        health.superseded += figures.superseded;
        health.overdue += figures.overdue + figures.due;
        health.under_way += figures.under_way;
        health.deferred += figures.deferred;
        health.excluded += figures.excluded.values().sum::<u64>();
        health.never_collected += figures.never_collected;
        health.reconnect += figures.reconnect;
        health.quarantined += figures.held;
        lags.extend(&figures.lags);
        oldest = [oldest, figures.oldest].into_iter().flatten().min();
        values += figures.values;
        rejected += figures.rejected;
        scored += figures.scored;
        score_percent += figures.score_percent;
        eligible += figures.eligible;
    }
    health.planned = health.collected + health.failed + health.superseded + health.overdue;
    health.completion = share(health.collected, health.planned);
    health.error_rate = share(health.failed, health.planned);
    health.score = health.completion.zip(health.error_rate).map(|(completion, errors)| score(completion, errors));
    (health.lag_p95_s, health.lag_worst_s) = lag(lags);
    health.oldest_s = oldest.map(|oldest| seconds(now - oldest).max(0.0));
    health.accepted = share(values - rejected.min(values), values);
    #[expect(clippy::cast_precision_loss, reason = "a sum of hundredths")]
    let mean = (scored > 0).then(|| score_percent as f64 / 100.0 / scored as f64);
    health.quality_score = mean;
    health.reconnect_share = share(health.reconnect, health.reconnect + eligible);
    health
}

/// The formula is explained at the top of this file.
fn score(completion: f64, error_rate: f64) -> f64 {
    (100.0 - 50.0 * error_rate - 50.0 * (1.0 - completion)).clamp(0.0, 100.0)
}

/// `None` if there is nothing to divide by.
fn share(part: u64, of: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a share of counts")]
    (of > 0).then(|| part as f64 / of as f64)
}

fn seconds(delta: TimeDelta) -> f64 {
    delta.as_seconds_f64()
}

/// The time within which 95 of 100 rows were stored, and the longest time.
fn lag(mut lags: Vec<Lag>) -> (Option<f64>, Option<f64>) {
    lags.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let all: u64 = lags.iter().map(|lag| lag.accounts).sum();
    let mut stored = 0;
    let p95 = lags.iter().find(|lag| {
        stored += lag.accounts;
        share(stored, all).is_some_and(|share| share >= LAG_SHARE)
    });
    (p95.map(|lag| lag.seconds), lags.last().map(|lag| lag.seconds))
}

/// Start and end of a time span.
type Span = (DateTime<Utc>, DateTime<Utc>);

/// The longest time that batches of one run were running, in seconds. Overlapping times count once.
fn longest_run_s(work: &[BusySpan]) -> Option<f64> {
    let mut runs: BTreeMap<RunId, Vec<Span>> = BTreeMap::new();
    for BusySpan { run, from, until } in work {
        runs.entry(*run).or_default().push((*from, *until));
    }
    runs.into_values().map(covered_s).max_by(f64::total_cmp)
}

fn covered_s(mut spans: Vec<Span>) -> f64 {
    spans.sort();
    let (mut sum, mut reached) = (TimeDelta::zero(), DateTime::<Utc>::MIN_UTC);
    for (from, until) in spans {
        let from = from.max(reached);
        if until > from {
            sum += until - from;
            reached = until;
        }
    }
    seconds(sum)
}

/// The five objectives, each with its target.
fn objectives(total: &Health, run_s: Option<f64>, cost: Option<f64>, targets: &Targets) -> Vec<Objective> {
    let above = |name, target, value: Option<f64>| Objective { name, target, value, met: value.map(|v| v > target) };
    let below = |name, target, value: Option<f64>| Objective { name, target, value, met: value.map(|v| v < target) };
    vec![
        above("success", targets.success, total.completion),
        below("lag", targets.lag_hours, total.lag_p95_s.map(|seconds| seconds / 3_600.0)),
        above("quality", targets.quality, total.accepted),
        below("run_time", targets.run_minutes, run_s.map(|seconds| seconds / 60.0)),
        below("cost", targets.cost_per_1000_artists, cost),
    ]
}

/// Hosts that stopped reporting. A host that started later replaces a lost one, so that a host that returns under
/// another name is not reported.
#[must_use]
pub fn lost_hosts(hosts: &[HostFigures], now: DateTime<Utc>) -> Vec<&HostFigures> {
    let is_lost = |host: &HostFigures| now - host.seen_at > HOST_LOST_AFTER;
    let mut present: Vec<&HostFigures> = hosts.iter().filter(|host| !is_lost(host)).collect();
    present.sort_by_key(|host| host.started_at);
    let mut lost: Vec<&HostFigures> = hosts.iter().filter(|host| is_lost(host)).collect();
    // The most recently lost host can be replaced by the fewest others, so it is matched first.
    lost.sort_by_key(|host| std::cmp::Reverse(host.seen_at));
    lost.retain(|host| match present.last() {
        Some(newest) if newest.started_at > host.seen_at => {
            present.pop();
            false
        }
        _ => true,
    });
    lost.sort_by(|a, b| a.name.cmp(&b.name));
    lost
}
