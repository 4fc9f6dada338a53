//! Compares a value with the account's earlier accepted values.

use std::cell::OnceCell;

use chrono::{Days, NaiveDate};

use backline_model::{Absence, History, MetricName, Value};

use super::{Case, Judged};

/// The account's accepted values of other dates.
pub(super) struct Earlier<'a> {
    history: &'a History,
    /// For each metric of the row, in order, the latest earlier date on which it had another value than now. Every
    /// count that stands still asks for it.
    moved: OnceCell<Vec<Option<NaiveDate>>>,
}

impl<'a> Earlier<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        Self { history, moved: OnceCell::new() }
    }
}

/// A value and the latest accepted one of an earlier date.
pub(super) struct Movement {
    /// The earlier value.
    pub base: f64,
    /// Date of the earlier value.
    pub base_date: NaiveDate,
    /// The value that is judged.
    pub value: f64,
    /// Days between the two.
    pub gap_days: i64,
}

impl Movement {
    /// Percent a day: (v / v0)^(1 / gap) − 1. `None` if the earlier value is not above 0, since there is no rate from
    /// nothing.
    pub(super) fn percent_a_day(&self) -> Option<f64> {
        if self.base <= 0.0 || self.value < 0.0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of days")]
        let days = self.gap_days as f64;
        Some(((self.value / self.base).powf(1.0 / days) - 1.0) * 100.0)
    }

    /// Text for messages.
    pub(super) fn describe(&self) -> String {
        format!("from {} on {} to {}, {} later", self.base, self.base_date, self.value, days(self.gap_days))
    }
}

pub(super) fn days(number: i64) -> String {
    if number == 1 { "1 day".to_owned() } else { format!("{number} days") }
}

/// How the case's metric changed since its latest accepted value; `None` if there is none, if it is too old, or if the
/// platform changed the metric's meaning in between.
pub(super) fn movement(case: &Case<'_>, earlier: &Earlier<'_>) -> Option<Movement> {
    let date = case.subject.metric_date;
    let (base_date, base) = earlier.history.latest_before(case.metric, date)?;
    let gap_days = (date - base_date).num_days();
    if gap_days > i64::from(case.thresholds.gap_days_max) || is_break_between(case, base_date) {
        return None;
    }
    Some(Movement { base: base.as_f64()?, base_date, value: case.value?.as_f64()?, gap_days })
}

fn is_break_between(case: &Case<'_>, base_date: NaiveDate) -> bool {
    let breaks = &case.subject.manifest.breaks;
    breaks.iter().any(|known| {
        known.metric.as_str() == case.metric && known.date > base_date && known.date <= case.subject.metric_date
    })
}

/// Whether the change is at most one step of the platform's rounding, which says nothing about the true number.
pub(super) fn is_rounding_step(movement: &Movement, significant_figures: Option<u8>) -> bool {
    let Some(figures) = significant_figures.filter(|figures| *figures > 0) else { return false };
    // The step below the smaller of the two: the step of the larger one may already be ten times as wide.
    let smaller = movement.value.min(movement.base);
    if smaller < 1.0 {
        return false;
    }
    let digits = smaller.log10().floor() + 1.0;
    // Numbers with no more digits than the platform keeps are not rounded.
    if digits <= f64::from(figures) {
        return false;
    }
    (movement.value - movement.base).abs() <= 10f64.powf(digits - f64::from(figures)) + 0.5
}

/// Since when the case's metric has had its current value, if that is at least `stale_days` ago. Every accepted value
/// since then is the same, and no two of them are further apart than `gap_days_max`.
pub(super) fn unchanged_since(case: &Case<'_>, earlier: &Earlier<'_>) -> Option<NaiveDate> {
    let date = case.subject.metric_date;
    let value = case.value?.as_f64()?;
    let enough = date.checked_sub_days(Days::new(u64::from(case.thresholds.stale_days)))?;
    let mut since = date;
    while since > enough {
        let (earlier_date, before) = earlier.history.latest_before(case.metric, since)?;
        let is_observed_often_enough = (since - earlier_date).num_days() <= i64::from(case.thresholds.gap_days_max);
        if !is_observed_often_enough || before.as_f64() != Some(value) {
            return None;
        }
        since = earlier_date;
    }
    Some(since)
}

/// Another metric of the account whose value has changed since `since`.
pub(super) fn another_that_moved(case: &Case<'_>, earlier: &Earlier<'_>, since: NaiveDate) -> Option<String> {
    let subject = case.subject;
    let moved = earlier.moved.get_or_init(|| moved_on(subject, earlier.history));
    let mut others = subject.conformed.values.keys().zip(moved).filter(|(name, _)| name.as_str() != case.metric);
    others.find(|(_, moved)| moved.is_some_and(|date| date >= since)).map(|(name, _)| name.as_str().to_owned())
}

fn moved_on(subject: &Judged<'_>, history: &History) -> Vec<Option<NaiveDate>> {
    let dates: Vec<NaiveDate> = history.dates().filter(|date| *date < subject.metric_date).collect();
    let latest = |(name, value): (&MetricName, &Result<Value, Absence>)| {
        let value = value.as_ref().ok()?;
        let had_another =
            |date: &NaiveDate| history.on(name.as_str(), *date).is_some_and(|earlier| differs(earlier, value));
        dates.iter().rev().copied().find(had_another)
    };
    subject.conformed.values.iter().map(latest).collect()
}

fn differs(earlier: &Value, value: &Value) -> bool {
    match (earlier.as_f64(), value.as_f64()) {
        // 57 and 57.0 are the same number.
        (Some(earlier), Some(value)) => earlier != value,
        _ => earlier != value,
    }
}
