//! Shadow comparison: how the results of a release differ, metric by metric, from those stored for the same documents.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use backline_model::{Absence, AccountId, FailureClass, MetricName, Value};

/// Relative differences up to this are ignored: databases round the last digits of ratios differently.
const SAME_WITHIN: f64 = 1e-9;

/// Most examples of documents that could not be normalised.
const EXAMPLES_MAX: usize = 10;

/// One side's result for one account.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Accepted values by metric.
    pub values: &'a BTreeMap<MetricName, Value>,
    /// Reasons why the others are missing.
    pub absent: &'a BTreeMap<MetricName, Absence>,
}

/// One side's result for one metric of one account.
enum Part<'a> {
    Value(&'a Value),
    Rejected,
    Missing,
}

impl<'a> Side<'a> {
    fn part(&self, metric: &MetricName) -> Part<'a> {
        match (self.values.get(metric), self.absent.get(metric)) {
            (Some(value), _) => Part::Value(value),
            (None, Some(Absence::Rejected(_))) => Part::Rejected,
            (None, _) => Part::Missing,
        }
    }
}

/// A change of one value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Account that the value belongs to.
    pub account: AccountId,
    /// The stored value.
    pub before: Value,
    /// The value that the release gives.
    pub after: Value,
    /// The difference in percent of the stored value; `None` if that is 0 or not a number.
    pub percent: Option<f64>,
}

/// Differences of one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MetricDifference {
    /// Accounts with the same value.
    pub equal: u64,
    /// Accounts with a different value.
    pub changed: u64,
    /// Accounts that had a value and would have none.
    pub lost: u64,
    /// Accounts that had no value and would have one.
    pub gained: u64,
    /// Accounts whose value validation would withhold, and did not.
    pub newly_rejected: u64,
    /// Accounts whose value validation withheld, and would not withhold now.
    pub no_longer_rejected: u64,
    /// The largest change of a value.
    pub largest: Option<Changed>,
    /// One account for each of the other differences, by the name of its field.
    pub examples: BTreeMap<&'static str, AccountId>,
}

impl MetricDifference {
    /// Whether the two sides differ.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.changed + self.lost + self.gained + self.newly_rejected + self.no_longer_rejected > 0
    }

    fn change(&mut self, account: AccountId, before: &Value, after: &Value) {
        let percent = percent(before, after);
        let size = |percent: Option<f64>| percent.map_or(f64::INFINITY, f64::abs);
        if self.largest.as_ref().is_none_or(|largest| size(percent) > size(largest.percent)) {
            self.largest = Some(Changed { account, before: before.clone(), after: after.clone(), percent });
        }
        self.changed += 1;
    }

    fn note(&mut self, what: &'static str, account: AccountId) {
        let count = match what {
            "lost" => &mut self.lost,
            "gained" => &mut self.gained,
            "newly_rejected" => &mut self.newly_rejected,
            _ => &mut self.no_longer_rejected,
        };
        *count += 1;
        self.examples.entry(what).or_insert(account);
    }
}

/// A document that the release could not make a row of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShadowFailure {
    /// Account of the document.
    pub account: AccountId,
    /// Class of the failure, such as `trapped` or `not_normalised`.
    pub class: FailureClass,
    /// Message of the connector.
    pub message: String,
}

/// All differences between a release and the stored results.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// All accounts, including those that could not be compared.
    pub accounts: u64,
    /// Accounts that both sides have metrics of.
    pub compared: u64,
    /// Differences by metric.
    pub metrics: BTreeMap<MetricName, MetricDifference>,
    /// Accounts that only the release fails on, by class.
    pub failed: BTreeMap<FailureClass, u64>,
    /// Accounts that only the earlier release failed on.
    pub fixed: u64,
    /// Accounts that both fail on.
    pub failed_before_too: u64,
    /// The first few failures that are new.
    pub failures: Vec<ShadowFailure>,
}

impl Comparison {
    /// Adds an account: what is stored about it, if anything, and what the release makes of its document.
    pub fn add(&mut self, account: AccountId, before: Option<Side<'_>>, after: Result<Side<'_>, (FailureClass, &str)>) {
        self.accounts += 1;
        match (before, after) {
            (Some(before), Ok(after)) => self.compare(account, before, after),
            (None, Ok(_)) => self.fixed += 1,
            (None, Err(_)) => self.failed_before_too += 1,
            (Some(_), Err((class, message))) => {
                *self.failed.entry(class).or_default() += 1;
                if self.failures.len() < EXAMPLES_MAX {
                    self.failures.push(ShadowFailure { account, class, message: message.to_owned() });
                }
            }
        }
    }

    fn compare(&mut self, account: AccountId, before: Side<'_>, after: Side<'_>) {
        self.compared += 1;
        let sides = [&before, &after];
        let values = sides.iter().flat_map(|side| side.values.keys());
        let metrics: BTreeSet<&MetricName> = values.chain(sides.iter().flat_map(|side| side.absent.keys())).collect();
        for metric in metrics {
            let difference = match self.metrics.get_mut(metric) {
                Some(difference) => difference,
                None => self.metrics.entry(metric.clone()).or_default(),
            };
            match (before.part(metric), after.part(metric)) {
                (Part::Value(before), Part::Value(after)) if is_same(before, after) => difference.equal += 1,
                (Part::Value(before), Part::Value(after)) => difference.change(account, before, after),
                (Part::Value(_), Part::Missing) => difference.note("lost", account),
                (Part::Missing, Part::Value(_)) => difference.note("gained", account),
                (Part::Value(_) | Part::Missing, Part::Rejected) => difference.note("newly_rejected", account),
                (Part::Rejected, Part::Value(_) | Part::Missing) => difference.note("no_longer_rejected", account),
                (Part::Missing, Part::Missing) | (Part::Rejected, Part::Rejected) => {}
            }
        }
    }

    /// Whether any result differs.
    #[must_use]
    pub fn differs(&self) -> bool {
        !self.failed.is_empty() || self.fixed > 0 || self.metrics.values().any(MetricDifference::differs)
    }
}

fn is_same(before: &Value, after: &Value) -> bool {
    match (before.as_i64(), after.as_i64(), before.as_f64(), after.as_f64()) {
        (Some(before), Some(after), ..) => before == after,
        (_, _, Some(before), Some(after)) => {
            (before - after).abs() <= SAME_WITHIN * before.abs().max(after.abs()).max(1.0)
        }
        _ => before == after,
    }
}

fn percent(before: &Value, after: &Value) -> Option<f64> {
    let (before, after) = (before.as_f64().filter(|before| *before != 0.0)?, after.as_f64()?);
    Some((after - before) / before.abs() * 100.0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    type Values = BTreeMap<MetricName, Value>;
    type Absent = BTreeMap<MetricName, Absence>;

    fn name(text: &str) -> MetricName {
        MetricName::new(text).expect("a metric's name")
    }

    fn account(number: u128) -> AccountId {
        AccountId(Uuid::from_u128(number))
    }

    fn values(entries: &[(&str, Value)]) -> Values {
        entries.iter().map(|(metric, value)| (name(metric), value.clone())).collect()
    }

    fn absent(entries: &[(&str, Absence)]) -> Absent {
        entries.iter().map(|(metric, absence)| (name(metric), absence.clone())).collect()
    }

    /// The difference of `followers`, given its two sides.
    fn difference(before: Result<Value, Absence>, after: Result<Value, Absence>) -> MetricDifference {
        let side = |side: Result<Value, Absence>| match side {
            Ok(value) => (values(&[("followers", value)]), Absent::new()),
            Err(absence) => (Values::new(), absent(&[("followers", absence)])),
        };
        let (before, after) = (side(before), side(after));
        let mut comparison = Comparison::default();
        comparison.add(
            account(1),
            Some(Side { values: &before.0, absent: &before.1 }),
            Ok(Side { values: &after.0, absent: &after.1 }),
        );
        comparison.metrics.remove("followers").expect("the metric")
    }

    #[test]
    fn each_difference_has_its_name() {
        let rejected = || Absence::Rejected("count-negative".to_owned());
        let (value, hidden) = (|| Ok(Value::Integer(7)), || Err(Absence::Hidden));
        let fields = |difference: MetricDifference| {
            let MetricDifference { equal, changed, lost, gained, newly_rejected, no_longer_rejected, .. } = difference;
            [equal, changed, lost, gained, newly_rejected, no_longer_rejected]
        };
        assert_eq!(fields(difference(value(), value())), [1, 0, 0, 0, 0, 0]);
        assert_eq!(fields(difference(value(), Ok(Value::Integer(8)))), [0, 1, 0, 0, 0, 0]);
        assert_eq!(fields(difference(value(), hidden())), [0, 0, 1, 0, 0, 0]);
        assert_eq!(fields(difference(hidden(), value())), [0, 0, 0, 1, 0, 0]);
        assert_eq!(fields(difference(value(), Err(rejected()))), [0, 0, 0, 0, 1, 0]);
        assert_eq!(fields(difference(Err(rejected()), value())), [0, 0, 0, 0, 0, 1]);
        assert_eq!(fields(difference(hidden(), Err(Absence::NotOffered))), [0, 0, 0, 0, 0, 0], "missing is missing");
        assert_eq!(difference(value(), hidden()).examples, BTreeMap::from([("lost", account(1))]));
    }

    #[test]
    fn the_largest_change_is_kept_with_whose_it_is() {
        let mut comparison = Comparison::default();
        for (number, before, after) in [(1, 100, 101), (2, 1_000, 500), (3, 10, 11)] {
            let (before, after) =
                (values(&[("likes", Value::Integer(before))]), values(&[("likes", Value::Integer(after))]));
            let none = Absent::new();
            comparison.add(
                account(number),
                Some(Side { values: &before, absent: &none }),
                Ok(Side { values: &after, absent: &none }),
            );
        }
        let likes = &comparison.metrics["likes"];
        let largest = likes.largest.as_ref().expect("a change");
        assert_eq!((likes.changed, largest.account, largest.percent), (3, account(2), Some(-50.0)));
        // A change from nothing has no percentage, and counts as the largest.
        let grown = difference(Ok(Value::Integer(0)), Ok(Value::Integer(5)));
        assert_eq!(grown.largest.expect("a change").percent, None);
    }

    #[test]
    fn a_ratios_last_digit_is_no_difference_and_a_counts_is() {
        assert!(!difference(Ok(Value::Decimal(0.1 + 0.2)), Ok(Value::Decimal(0.3))).differs());
        assert!(!difference(Ok(Value::Integer(3)), Ok(Value::Decimal(3.0))).differs());
        let large = i64::MAX - 1;
        assert!(difference(Ok(Value::Integer(large)), Ok(Value::Integer(large - 1))).differs());
        assert!(difference(Ok(Value::Text("a".into())), Ok(Value::Text("b".into()))).differs());
    }

    #[test]
    fn what_fails_now_is_told_apart_from_what_always_failed() {
        let (some, none) = (values(&[("likes", Value::Integer(1))]), Absent::new());
        let side = Side { values: &some, absent: &none };
        let mut comparison = Comparison::default();
        comparison.add(account(1), Some(side), Err((FailureClass::Trapped, "unreachable")));
        comparison.add(account(2), None, Err((FailureClass::NotNormalised, "no such field")));
        assert!(comparison.differs());
        comparison.add(account(3), None, Ok(side));
        assert_eq!((comparison.accounts, comparison.compared, comparison.fixed), (3, 0, 1));
        assert_eq!(comparison.failed, BTreeMap::from([(FailureClass::Trapped, 1)]));
        assert_eq!((comparison.failed_before_too, comparison.failures.len()), (1, 1));
    }
}
