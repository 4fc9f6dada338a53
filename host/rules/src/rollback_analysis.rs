//! Whether a release is worse than the one before: the rule of automatic rollback. Pure.
//!
//! A release is compared with its predecessor in four kinds of rates:
//!
//! - **failed**: accounts that failed in a way that may be the release's fault, of all accounts that speak for or against it;
//! - **trapped**: those that ended in a trap, out of time or over a bound, of the same accounts;
//! - **rejected**: values that validation withheld, of all values reported;
//! - **missing**, for each metric that both declare: collected accounts without a value of it.
//!
//! It is *worse* in a rate where all of these hold:
//!
//! 1. It has been seen on at least `accounts_min` accounts.
//! 2. At least [`BAD_MIN`] of them are bad. One or two are an anecdote, whatever a formula makes of them.
//! 3. Its rate is at least `margin` higher. With many accounts any difference becomes certain, also one that nobody would act on.
//! 4. The difference is no chance: the one-sided two-proportion z-test with pooled variance and continuity correction gives `z` or more.
//!    Several rates are tested, a dozen metrics among them, and again after each batch; so `z` is 3.29 by default (one chance in 2,000
//!    for a single test) instead of the 1.64 of the textbook's 5 %. The correction keeps the normal approximation honest where counts are small.
//!
//! The values of one account stand and fall together, so an account counts for one trial of the rejection rate, however many values it has.
//!
//! A predecessor that was seen on fewer than `accounts_min` accounts is taken for one that was seen on so many, at the rate it had or at
//! `baseline`, whichever is higher: then only a release that is far worse is rolled back. Nothing is assumed about metrics such a
//! predecessor missed, since a platform may well not offer some of them to most accounts.

use std::fmt;

use serde::{Deserialize, Serialize};

use backline_model::{FailureClass, MetricName, Tally};

/// Fewest bad accounts that anything is concluded from.
pub const BAD_MIN: f64 = 3.0;

/// When a release is rolled back by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackConfig {
    /// Whether it is at all. Canaries are judged all the same, but not acted upon.
    pub enabled: bool,
    /// How many standard deviations a rate must be above the predecessor's.
    pub z: f64,
    /// How much higher a rate must be, as a share: 0.02 is two accounts of a hundred.
    pub margin: f64,
    /// Accounts a release must have been seen on before it is judged.
    pub accounts_min: u64,
    /// The rate that is assumed of a predecessor of which too little is known, as a share.
    pub baseline: f64,
    /// How long after its activation a release is watched, in hours.
    pub watch_hours: u32,
    /// How far back the predecessor's record goes, in days. Older records are removed.
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
            // Two daily runs: what shows only when a day has passed is seen in the second.
            watch_hours: 48,
            history_days: 14,
        }
    }
}

impl RollbackConfig {
    /// Refuses values that make no sense, naming the key.
    ///
    /// # Errors
    /// The key without its section, and what is wrong with its value.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !(self.z.is_finite() && self.z >= 1.0) {
            return Err(("rollback.z", format!("{} is under 1, which chance reaches every sixth time", self.z)));
        }
        for (key, share) in [("rollback.margin", self.margin), ("rollback.baseline", self.baseline)] {
            if !(0.0..1.0).contains(&share) {
                return Err((key, format!("{share} is no share between 0 and 1; write 0.02 for 2 %")));
            }
        }
        if self.accounts_min == 0 {
            return Err(("rollback.accounts_min", "0 would judge by nothing; write 1 or more".to_owned()));
        }
        if self.history_days == 0 {
            return Err(("rollback.history_days", "0 would leave nothing to compare with; write 1 or more".to_owned()));
        }
        Ok(())
    }
}

/// What is to be thought of a release.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Too little was seen of it.
    Undecided,
    /// As good as its predecessor, as far as can be told.
    NotWorse,
    /// Worse, in at least one way.
    Worse(Vec<Regression>),
}

/// Which rate a complaint is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Accounts that failed.
    Failed,
    /// Accounts that failed in a trap, out of time or over a bound.
    Trapped,
    /// Values that were withheld.
    Rejected,
    /// Collected accounts without this metric.
    Missing(MetricName),
}

/// How many of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The bad ones.
    pub bad: u64,
    /// All of them.
    pub of: u64,
}

/// One way in which a release is worse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regression {
    /// In which rate.
    pub rate: Rate,
    /// What was seen of the release.
    pub now: Share,
    /// What was seen of its predecessor.
    pub before: Share,
}

/// Compares a release with its predecessor; the catalogue is what both declare.
#[must_use]
pub fn judge(new: &Tally, old: &Tally, catalogue: &[MetricName], rule: &RollbackConfig) -> Verdict {
    if new.accounts < rule.accounts_min {
        return Verdict::Undecided;
    }
    let mut complaints = Vec::new();
    let mut compare = |rate: Rate, now: Share, before: Share, trials: (u64, u64)| {
        if is_worse(Sample::of(now, trials.0), Sample::of(before, trials.1).assumed_at_least(rule), rule) {
            complaints.push(Regression { rate, now, before });
        }
    };
    let trapped = |tally: &Tally| Share { bad: trapped(tally), of: tally.accounts };
    compare(Rate::Trapped, trapped(new), trapped(old), (new.accounts, old.accounts));
    let failed = |tally: &Tally| Share { bad: tally.accounts.saturating_sub(tally.collected), of: tally.accounts };
    compare(Rate::Failed, failed(new), failed(old), (new.accounts, old.accounts));
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
    if complaints.is_empty() { Verdict::NotWorse } else { Verdict::Worse(complaints) }
}

/// Accounts that ended the connector's call instead of being answered for.
fn trapped(tally: &Tally) -> u64 {
    [FailureClass::Trapped, FailureClass::TimedOut, FailureClass::LimitExceeded]
        .iter()
        .filter_map(|class| tally.failed.get(class))
        .sum()
}

/// A rate, and how many independent trials it was seen in.
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

    /// A predecessor too little is known of gets the benefit of the doubt, which here is the new release's.
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
    // Both rates are 0, or both are 1: then there is no difference, which a margin of 0 lets through to here.
    let deviation = (pooled * (1.0 - pooled) * parts).sqrt();
    deviation > 0.0 && (difference - parts / 2.0) / deviation >= rule.z
}

#[expect(clippy::cast_precision_loss, reason = "counts of accounts; 53 bits are ample")]
fn number(count: u64) -> f64 {
    count as f64
}

impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, now, before } = self;
        match rate {
            Rate::Failed => write!(f, "failed for {now} accounts")?,
            Rate::Trapped => write!(f, "trapped for {now} accounts")?,
            Rate::Rejected => write!(f, "rejected were {now} values")?,
            Rate::Missing(metric) => write!(f, "{metric} was missing for {now} accounts")?,
        }
        write!(f, " ({}), before ", now.percent())?;
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

/// A count with its thousands apart: `2,000`.
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
