//! Automatic rollback: whether a release does worse than the one before. Pure.
//!
//! A release is compared with its predecessor in four kinds of rates:
//!
//! - **failed**: accounts that failed in a way that a release can cause (see
//!   [`FailureClass::may_be_the_releases_fault`]), divided by these and those that were collected. What accounts,
//!   credentials, the operator's configuration, platforms and hosts cause counts for neither side;
//! - **trapped**: accounts that failed with a trap, out of time or over a limit, divided by the same accounts;
//! - **rejected**: values that validation withheld, divided by all values reported;
//! - **missing**, for each metric that both declare: collected accounts without a value, divided by collected accounts.
//!
//! It is *worse* in a rate if all of these hold:
//!
//! 1. It was used for at least `accounts_min` accounts.
//! 2. At least [`BAD_MIN`] of them are bad. One or two prove nothing, whatever a formula says.
//! 3. Its rate is at least `margin` higher. With many accounts any difference becomes significant, even one that no one
//!    would act on.
//! 4. The difference is not chance: the one-sided two-proportion z-test with pooled variance and continuity correction
//!    gives `z` or more. Several rates are tested, a dozen metrics among them, and again after each batch. So `z` is
//!    3.29 by default (one false alarm in 2,000 single tests) instead of the usual 1.64 (5 %). The correction keeps the
//!    normal approximation conservative for small counts.
//!
//! The values of one account are not independent, so an account counts as one trial of the rejection rate, however many
//! values it has.
//!
//! If a predecessor was used for fewer than `accounts_min` accounts, it is treated as if it had that many, with its own
//! rate or `baseline`, whichever is higher. Then only a release that is far worse is rolled back. Metrics that such a
//! predecessor missed are ignored, since a platform may not offer some of them to most accounts.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use backline_model::{FailureClass, MetricName, Tally};

/// Fewest bad accounts that prove anything.
pub const BAD_MIN: f64 = 3.0;

/// When a release is rolled back automatically.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackConfig {
    /// Whether releases are rolled back automatically. Canaries are judged either way, but nothing is done about them.
    pub enabled: bool,
    /// By how many standard deviations a rate must exceed the predecessor's.
    pub z: f64,
    /// By how much a rate must be higher, as a share: 0.02 is two accounts of a hundred.
    pub margin: f64,
    /// Fewest accounts that a release is judged by.
    pub accounts_min: u64,
    /// The rate that is assumed for a predecessor with too few accounts, as a share.
    pub baseline: f64,
    /// How long a release is watched after its activation, in hours.
    pub watch_hours: u32,
    /// How far back the predecessor's results are used, in days. Older results are removed.
    pub history_days: u32,
}

impl Default for RollbackConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            z: 3.29,
            margin: 0.02,
            accounts_min: 30,
            baseline: 0.01,
            // Two daily runs: a problem that shows only after a day is seen in the second.
            watch_hours: 48,
            history_days: 14,
        }
    }
}

impl RollbackConfig {
    /// Checks the values, naming the key.
    ///
    /// # Errors
    /// The key without its section, and what is wrong with its value.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !(self.z.is_finite() && self.z >= 1.0) {
            return Err(("rollback.z", format!("{} is less than 1, which chance exceeds in one of six tests", self.z)));
        }
        for (key, share) in [("rollback.margin", self.margin), ("rollback.baseline", self.baseline)] {
            if !(0.0..1.0).contains(&share) {
                return Err((key, format!("{share} is not a share between 0 and 1; write 0.02 for 2 %")));
            }
        }
        if self.accounts_min == 0 {
            return Err(("rollback.accounts_min", "0 would judge without any accounts; set 1 or more".to_owned()));
        }
        if self.history_days == 0 {
            return Err(("rollback.history_days", "0 would leave nothing to compare with; set 1 or more".to_owned()));
        }
        Ok(())
    }
}

/// Result of comparing a release with its predecessor.
#[derive(Clone, Debug, PartialEq)]
pub enum RollbackVerdict {
    /// The release has too few results.
    Undecided,
    /// No significant difference for the worse was found.
    NotWorse,
    /// Significantly worse, in at least one rate.
    Worse(Vec<Regression>),
}

/// A rate that is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Accounts that failed, of all accounts.
    Failed,
    /// Accounts that failed with a trap, out of time or over a limit.
    Trapped,
    /// Values that validation withheld.
    Rejected,
    /// Collected accounts without this metric.
    Missing(MetricName),
}

/// A share, as two counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Number of bad ones.
    pub bad: u64,
    /// Number of all of them.
    pub of: u64,
}

/// One rate in which a release is worse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regression {
    /// The rate that is worse.
    pub rate: Rate,
    /// Share of the release.
    pub now: Share,
    /// Share of its predecessor.
    pub before: Share,
    /// The accounts that failed under the release, by class; none where another rate is worse.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<FailureClass, u64>,
}

/// Compares a release with its predecessor. `catalogue` lists the metrics that both declare.
#[must_use]
pub fn judge(new: &Tally, old: &Tally, catalogue: &[MetricName], rule: &RollbackConfig) -> RollbackVerdict {
    if new.collected + sum(faults(new)) < rule.accounts_min {
        return RollbackVerdict::Undecided;
    }
    let mut regressions = Vec::new();
    let mut compare = |rate: Rate, now: Share, before: Share, trials: (u64, u64)| {
        if is_worse(Sample::of(now, trials.0), Sample::of(before, trials.1).assumed_at_least(rule), rule) {
            let classes = match rate {
                Rate::Failed => faults(new).collect(),
                Rate::Trapped => faults(new).filter(|(class, _)| is_trap(*class)).collect(),
                Rate::Rejected | Rate::Missing(_) => BTreeMap::new(),
            };
            regressions.push(Regression { rate, now, before, classes });
        }
    };
    let of = |tally: &Tally| tally.collected + sum(faults(tally));
    let trapped = |tally: &Tally| Share { bad: sum(faults(tally).filter(|(class, _)| is_trap(*class))), of: of(tally) };
    compare(Rate::Trapped, trapped(new), trapped(old), (of(new), of(old)));
    let failed = |tally: &Tally| Share { bad: sum(faults(tally)), of: of(tally) };
    compare(Rate::Failed, failed(new), failed(old), (of(new), of(old)));
    let rejected = |tally: &Tally| Share { bad: tally.rejected, of: tally.values };
    compare(Rate::Rejected, rejected(new), rejected(old), (new.collected, old.collected));
    if old.collected >= rule.accounts_min {
        for metric in catalogue {
            let missing = |tally: &Tally| {
                let present = tally.metrics.get(metric).copied().unwrap_or_default();
                Share { bad: tally.collected.saturating_sub(present), of: tally.collected }
            };
            compare(Rate::Missing(metric.clone()), missing(new), missing(old), (new.collected, old.collected));
        }
    }
    if regressions.is_empty() { RollbackVerdict::NotWorse } else { RollbackVerdict::Worse(regressions) }
}

/// Accounts that failed in a way that a release can cause, by class. A tally of an older version may hold others.
fn faults(tally: &Tally) -> impl Iterator<Item = (FailureClass, u64)> {
    let failed = tally.failed.iter().map(|(class, accounts)| (*class, *accounts));
    failed.filter(|(class, _)| class.may_be_the_releases_fault())
}

fn sum(classes: impl Iterator<Item = (FailureClass, u64)>) -> u64 {
    classes.map(|(_, accounts)| accounts).sum()
}

/// Whether a failure of this class ended the connector's call.
fn is_trap(class: FailureClass) -> bool {
    matches!(class, FailureClass::Trapped | FailureClass::TimedOut | FailureClass::LimitExceeded)
}

/// A rate, and the number of independent trials that it is based on.
#[derive(Clone, Copy)]
struct Sample {
    rate: f64,
    trials: f64,
}

impl Sample {
    fn of(share: Share, trials: u64) -> Self {
        let trials = if share.of == 0 { 0.0 } else { number(trials) };
        Self { rate: if share.of == 0 { 0.0 } else { number(share.bad) / number(share.of) }, trials }
    }

    /// A predecessor with too few accounts is assumed to be at least as bad as `baseline`, in favour of the new
    /// release.
    fn assumed_at_least(self, rule: &RollbackConfig) -> Self {
        let enough = number(rule.accounts_min);
        if self.trials >= enough { self } else { Self { rate: self.rate.max(rule.baseline), trials: enough } }
    }
}

fn is_worse(new: Sample, old: Sample, rule: &RollbackConfig) -> bool {
    let difference = new.rate - old.rate;
    if new.trials < number(rule.accounts_min) || new.rate * new.trials < BAD_MIN || difference < rule.margin {
        return false;
    }
    let pooled = (new.rate * new.trials + old.rate * old.trials) / (new.trials + old.trials);
    let parts = 1.0 / new.trials + 1.0 / old.trials;
    // Both rates are 0, or both are 1: there is no difference, although a margin of 0 accepts it.
    let deviation = (pooled * (1.0 - pooled) * parts).sqrt();
    deviation > 0.0 && (difference - parts / 2.0) / deviation >= rule.z
}

#[expect(clippy::cast_precision_loss, reason = "counts of accounts; 53 bits are ample")]
fn number(count: u64) -> f64 {
    count as f64
}

impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, now, before, classes } = self;
        match rate {
            Rate::Failed => write!(f, "failed for {now} accounts")?,
            Rate::Trapped => write!(f, "trapped for {now} accounts")?,
            Rate::Rejected => write!(f, "rejected were {now} values")?,
            Rate::Missing(metric) => write!(f, "{metric} was missing for {now} accounts")?,
        }
        write!(f, " ({}", now.percent())?;
        for (index, (class, accounts)) in classes.iter().enumerate() {
            let before = if index == 0 { "; " } else { ", " };
            write!(f, "{before}{} {}", class.as_str(), grouped(*accounts))?;
        }
        f.write_str("), before ")?;
        match before.of {
            0 => f.write_str("nothing is on record"),
            _ => write!(f, "{before} ({})", before.percent()),
        }
    }
}

impl Share {
    fn percent(self) -> String {
        if self.of == 0 { "none".to_owned() } else { format!("{:.1} %", number(self.bad) / number(self.of) * 100.0) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", grouped(self.bad), grouped(self.of))
    }
}

/// A count with thousands separators: `2,000`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
