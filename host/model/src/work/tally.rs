//! Counts of what batches say about the release that collected them.
//!
//! Only outcomes that the release may have caused are counted: accounts that were collected, and accounts that failed
//! in a way that may be the release's fault (see [`FailureClass::may_be_the_releases_fault`]). Deferred and excluded
//! accounts are in none of the counts, nor are those that failed because of the platform or the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metric::MetricName;
use crate::outcome::FailureClass;

/// What one batch, or many of them, say about a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Accounts with an outcome that the release may have caused.
    pub accounts: u64,
    /// Those of them that were collected.
    pub collected: u64,
    /// Those of them that failed, by class.
    pub failed: BTreeMap<FailureClass, u64>,
    /// Number of accepted values, by metric.
    pub metrics: BTreeMap<MetricName, u64>,
    /// Number of values that were reported.
    pub values: u64,
    /// Those of them that validation withheld.
    pub rejected: u64,
    /// Number of rows whose quality was scored.
    pub scored: u64,
    /// Sum of their scores, in hundredths.
    pub score_percent: u64,
}

/// Largest count of one batch that is added up: it may come from a row that another program wrote.
const COUNT_MAX: u64 = 1_000_000_000_000;

impl Tally {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts == 0
    }

    /// Counts an account that was collected: the metrics whose values were accepted, and how many were withheld.
    pub fn collected<'a>(&mut self, accepted: impl IntoIterator<Item = &'a MetricName>, rejected: u64) {
        self.accounts += 1;
        self.collected += 1;
        self.rejected += rejected;
        self.values += rejected;
        for metric in accepted {
            self.values += 1;
            match self.metrics.get_mut(metric) {
                Some(values) => *values += 1,
                None => {
                    self.metrics.insert(metric.clone(), 1);
                }
            }
        }
    }

    /// Adds the quality score of a row, from 0 to 1.
    pub fn scored(&mut self, score: f64) {
        self.scored += 1;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
        let percent = (score.clamp(0.0, 1.0) * 100.0).round() as u64;
        self.score_percent += percent;
    }

    /// Counts an account that failed, where that may be the release's fault.
    pub fn failed(&mut self, class: FailureClass) {
        if class.may_be_the_releases_fault() {
            self.accounts += 1;
            *self.failed.entry(class).or_default() += 1;
        }
    }

    /// Adds the counts of other batches.
    pub fn add(&mut self, other: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more.min(COUNT_MAX));
        add(&mut self.accounts, other.accounts);
        add(&mut self.collected, other.collected);
        add(&mut self.values, other.values);
        add(&mut self.rejected, other.rejected);
        add(&mut self.scored, other.scored);
        add(&mut self.score_percent, other.score_percent);
        for (class, accounts) in &other.failed {
            add(self.failed.entry(*class).or_default(), *accounts);
        }
        for (metric, values) in &other.metrics {
            match self.metrics.get_mut(metric) {
                Some(sum) => add(sum, *values),
                None => {
                    self.metrics.insert(metric.clone(), (*values).min(COUNT_MAX));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MetricName {
        MetricName::new(text).expect("a metric's name")
    }

    #[test]
    fn what_no_release_can_be_blamed_for_is_not_counted() {
        let mut tally = Tally::default();
        for class in [FailureClass::Unavailable, FailureClass::RateLimited, FailureClass::Internal] {
            tally.failed(class);
        }
        assert_eq!(tally, Tally::default());
        tally.failed(FailureClass::Trapped);
        assert_eq!((tally.accounts, tally.failed[&FailureClass::Trapped]), (1, 1));
    }

    #[test]
    fn sums_are_what_counting_everything_in_one_gives() {
        let (followers, likes) = (name("followers"), name("likes"));
        let (mut one, mut other, mut both) = (Tally::default(), Tally::default(), Tally::default());
        for tally in [&mut one, &mut both] {
            tally.collected([&followers, &likes], 0);
            tally.failed(FailureClass::NotNormalised);
        }
        for tally in [&mut other, &mut both] {
            tally.collected([&followers], 2);
            tally.scored(0.85);
            tally.failed(FailureClass::NotNormalised);
        }
        one.add(&other);
        assert_eq!(one, both);
        assert_eq!((both.accounts, both.collected, both.values, both.rejected), (4, 2, 5, 2));
        assert_eq!((both.scored, both.score_percent), (1, 85));
        assert_eq!(both.metrics, BTreeMap::from([(followers, 2), (likes, 1)]));
    }

    #[test]
    fn a_tally_of_an_older_version_can_be_read() {
        let read: Tally = serde_json::from_str(r#"{"accounts":3,"collected":3}"#).expect("a tally");
        assert_eq!((read.accounts, read.values), (3, 0));
    }
}
