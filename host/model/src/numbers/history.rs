//! An account's accepted values on other days, which validation and growth compare a row with.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};

use crate::metric::{MetricName, Value};
use crate::snapshot::EngagementBasis;

/// Accepted values of one account on dates other than the row's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    days: BTreeMap<NaiveDate, BTreeMap<MetricName, Value>>,
    bases: BTreeMap<NaiveDate, EngagementBasis>,
    observed: BTreeMap<NaiveDate, Observed>,
}

/// When one day's values were observed: all of them at one time, but some at times of their own.
type Observed = (DateTime<Utc>, BTreeMap<MetricName, DateTime<Utc>>);

impl History {
    /// Adds one day's accepted values, with the basis of its engagement rate. A day given twice is replaced.
    pub fn insert(&mut self, date: NaiveDate, values: BTreeMap<MetricName, Value>, basis: Option<EngagementBasis>) {
        self.days.insert(date, values);
        match basis {
            Some(basis) => self.bases.insert(date, basis),
            None => self.bases.remove(&date),
        };
    }

    /// Adds when one day's values were observed; `others` holds the metrics whose time differs.
    pub fn observe(&mut self, date: NaiveDate, at: DateTime<Utc>, others: BTreeMap<MetricName, DateTime<Utc>>) {
        self.observed.insert(date, (at, others));
    }

    /// Forgets when values were observed, where those times say nothing about their dates.
    pub fn forget_times(&mut self) {
        self.observed.clear();
    }

    /// When the value of exactly that day was observed, if that is known.
    #[must_use]
    pub fn observed_on(&self, metric: &str, date: NaiveDate) -> Option<DateTime<Utc>> {
        let (at, others) = self.observed.get(&date)?;
        Some(others.get(metric).copied().unwrap_or(*at))
    }

    /// The value accepted for exactly that day.
    #[must_use]
    pub fn on(&self, metric: &str, date: NaiveDate) -> Option<&Value> {
        self.days.get(&date)?.get(metric)
    }

    /// The latest value accepted for a day before `date`, with that day.
    #[must_use]
    pub fn latest_before(&self, metric: &str, date: NaiveDate) -> Option<(NaiveDate, &Value)> {
        self.days.range(..date).rev().find_map(|(day, values)| values.get(metric).map(|value| (*day, value)))
    }

    /// What that day's engagement rate was divided by.
    #[must_use]
    pub fn basis_on(&self, date: NaiveDate) -> Option<EngagementBasis> {
        self.bases.get(&date).copied()
    }

    /// Every day that is known, in order.
    pub fn dates(&self) -> impl Iterator<Item = NaiveDate> {
        self.days.keys().copied()
    }

    /// Whether no other day is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn values(pairs: &[(&str, i64)]) -> BTreeMap<MetricName, Value> {
        pairs.iter().map(|(name, value)| (MetricName::new(*name).unwrap(), Value::Integer(*value))).collect()
    }

    #[test]
    fn latest_before_skips_days_that_lack_the_metric() {
        let mut history = History::default();
        history.insert(day("2026-11-01"), values(&[("followers", 10), ("likes", 1)]), Some(EngagementBasis::Followers));
        history.insert(day("2026-11-02"), values(&[("followers", 11)]), None);
        history.insert(day("2026-11-05"), values(&[("followers", 12), ("likes", 9)]), None);

        assert_eq!(history.latest_before("likes", day("2026-11-05")), Some((day("2026-11-01"), &Value::Integer(1))));
        assert_eq!(
            history.latest_before("followers", day("2026-11-05")),
            Some((day("2026-11-02"), &Value::Integer(11)))
        );
        assert_eq!(history.latest_before("followers", day("2026-11-01")), None);
        assert_eq!(history.on("likes", day("2026-11-02")), None);
        assert_eq!(history.basis_on(day("2026-11-01")), Some(EngagementBasis::Followers));
        assert_eq!(history.dates().count(), 3);
    }
}
