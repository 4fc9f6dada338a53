//! Growth: changes over 1, 7, 28 and 90 days, which dates late data affects, and which changes are significant.
//!
//! Only accepted values count. What can't be known is missing with a reason, never 0 %.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use backline_model::growth::SPANS_DAYS;
use backline_model::metric::names::{ENGAGEMENT_RATE, FOLLOWERS};
use backline_model::{
    EngagementBasis, GrowthChange, GrowthRow, History, Kind, Manifest, MetricName, MetricsRow, NoChange, Value,
};

/// The name of the engagement rate, made once.
static RATE: LazyLock<MetricName> =
    LazyLock::new(|| MetricName::new(ENGAGEMENT_RATE).expect("a column's name is a valid metric name"));

/// One account's accepted values on all dates: its history, overlaid with one row.
struct Series<'a> {
    row: &'a MetricsRow,
    history: &'a History,
}

impl<'a> Series<'a> {
    fn on(&self, metric: &str, date: NaiveDate) -> Option<&'a Value> {
        if date == self.row.metric_date { self.row.values.get(metric) } else { self.history.on(metric, date) }
    }

    fn latest_before(&self, metric: &str, date: NaiveDate) -> Option<(NaiveDate, &'a Value)> {
        // The history's entry for the row's own date is outdated.
        let earlier = self.history.latest_before(metric, date).and_then(|found| {
            if found.0 == self.row.metric_date { self.history.latest_before(metric, found.0) } else { Some(found) }
        });
        let own = self
            .row
            .values
            .get(metric)
            .filter(|_| self.row.metric_date < date)
            .map(|value| (self.row.metric_date, value));
        match (earlier, own) {
            (Some(earlier), Some(own)) => Some(if own.0 > earlier.0 { own } else { earlier }),
            (earlier, own) => earlier.or(own),
        }
    }

    fn basis_on(&self, date: NaiveDate) -> Option<EngagementBasis> {
        if date == self.row.metric_date {
            self.row.engagement.map(|engagement| engagement.basis)
        } else {
            self.history.basis_on(date)
        }
    }

    /// When the value on a date was observed, if that is known.
    fn observed_on(&self, metric: &MetricName, date: NaiveDate) -> Option<DateTime<Utc>> {
        if date == self.row.metric_date {
            Some(self.row.observed_at(metric))
        } else {
            self.history.observed_on(metric.as_str(), date)
        }
    }

    /// Whether the values on two dates were observed in less than half of the time between the dates, so that their
    /// difference is not the change between these. Values that a platform tells of past dates are of their dates,
    /// whenever they were observed.
    fn is_late(&self, metric: &MetricName, base: NaiveDate, date: NaiveDate, manifest: &Manifest) -> bool {
        if manifest.metric(metric.as_str()).is_some_and(|entry| entry.history) {
            return false;
        }
        let (Some(earlier), Some(later)) = (self.observed_on(metric, base), self.observed_on(metric, date)) else {
            return false;
        };
        later - earlier < TimeDelta::hours(12 * i64::from(days_between(base, date)))
    }

    /// The accepted value that a span starting on `start` is measured from: the one on `start`, otherwise the latest
    /// before `date`.
    fn base(&self, metric: &str, start: NaiveDate, date: NaiveDate) -> Option<(NaiveDate, &'a Value)> {
        self.on(metric, start).map(|value| (start, value)).or_else(|| self.latest_before(metric, date))
    }
}

/// The changes of one account that end on `date`.
///
/// `row` is the account's row as just stored; `history` holds its other dates. `date` is the row's own date, or a later
/// one from [`touched_dates`], whose values are in the history. For each metric, exactly these values are used: those
/// on `date` and on the start of each span, and the latest before `date`.
///
/// The result has an entry for `engagement_rate` and for every metric of the catalogue that has growth.
///
/// ```
/// use backline_model::fixtures::{day, ints, manifest, name, row};
/// use backline_model::{History, NoChange};
/// use backline_rules::growth::growth;
///
/// let today = row(day("2026-11-20"), ints(&[("followers", 1_100)]));
/// let mut history = History::default();
/// history.insert(day("2026-11-19"), ints(&[("followers", 1_000)]), None);
///
/// let changes = &growth(today.metric_date, &manifest(), &today, &history).changes[&name("followers")];
/// assert_eq!((changes[&1].absolute, changes[&1].percent), (Some(100.0), Some(10.0)));
/// assert_eq!(changes[&7].reason, Some(NoChange::Gap)); // missing is missing, never 0 %
/// ```
#[must_use]
pub fn growth(date: NaiveDate, manifest: &Manifest, row: &MetricsRow, history: &History) -> GrowthRow {
    let series = Series { row, history };
    let changes = growing_metrics(manifest)
        .map(|(metric, kind)| {
            let by_span = SPANS_DAYS
                .into_iter()
                .map(|span_days| (span_days, change(&series, &metric, kind, date, span_days, manifest)))
                .collect();
            (metric, by_span)
        })
        .collect();
    GrowthRow {
        account_id: row.account_id,
        artist_id: row.artist_id,
        platform: row.platform.clone(),
        metric_date: date,
        changes,
    }
}

fn growing_metrics(manifest: &Manifest) -> impl Iterator<Item = (MetricName, Kind)> {
    let others =
        manifest.metrics.iter().filter(|entry| entry.kind.has_growth() && entry.name.as_str() != ENGAGEMENT_RATE);
    std::iter::once((RATE.clone(), Kind::Ratio)).chain(others.map(|entry| (entry.name.clone(), entry.kind)))
}

fn change(
    series: &Series<'_>,
    metric: &MetricName,
    kind: Kind,
    date: NaiveDate,
    span_days: u16,
    manifest: &Manifest,
) -> GrowthChange {
    let missing = |reason: NoChange| GrowthChange { reason: Some(reason), ..GrowthChange::default() };
    let Some(value) = series.on(metric.as_str(), date) else { return missing(NoChange::Absent) };
    let start = span_start(date, span_days);
    let Some((base_date, base)) = series.base(metric.as_str(), start, date) else { return missing(NoChange::First) };

    let gap_days = days_between(base_date, date);
    if series.is_late(metric, base_date, date, manifest) {
        return GrowthChange { gap_days: Some(gap_days), ..missing(NoChange::Late) };
    }
    let is_comparable = !is_break_between(manifest, metric.as_str(), base_date, date)
        && (metric.as_str() != ENGAGEMENT_RATE || series.basis_on(base_date) == series.basis_on(date));
    if base_date != start {
        let daily_percent =
            if is_comparable && kind != Kind::Ratio { daily_percent(value, base, gap_days) } else { None };
        return GrowthChange { gap_days: Some(gap_days), daily_percent, ..missing(NoChange::Gap) };
    }
    if !is_comparable {
        return GrowthChange { gap_days: Some(gap_days), ..missing(NoChange::Break) };
    }
    let Some(absolute) = difference(value, base) else { return missing(NoChange::Absent) };
    if kind == Kind::Ratio {
        return GrowthChange { absolute: two_decimals(absolute), gap_days: Some(gap_days), ..GrowthChange::default() };
    }
    let percent = percent(value, base);
    let reason = if percent.is_none() { Some(NoChange::ZeroBase) } else { None };
    GrowthChange { absolute: Some(absolute), percent, gap_days: Some(gap_days), daily_percent: None, reason }
}

fn span_start(date: NaiveDate, span_days: u16) -> NaiveDate {
    date.checked_sub_days(Days::new(u64::from(span_days))).unwrap_or(NaiveDate::MIN)
}

/// Whether the platform changed the metric's meaning after `base` and up to `date`.
fn is_break_between(manifest: &Manifest, metric: &str, base: NaiveDate, date: NaiveDate) -> bool {
    manifest.breaks.iter().any(|known| known.metric.as_str() == metric && known.date > base && known.date <= date)
}

fn days_between(earlier: NaiveDate, later: NaiveDate) -> u32 {
    u32::try_from((later - earlier).num_days()).unwrap_or(0)
}

/// Exact for counts: the difference of two 64-bit numbers is computed in 128 bits before it becomes a float.
fn difference(value: &Value, base: &Value) -> Option<f64> {
    let difference = match (value, base) {
        (Value::Integer(value), Value::Integer(base)) => {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and rounded once beyond")]
            let exact = (i128::from(*value) - i128::from(*base)) as f64;
            exact
        }
        _ => value.as_f64()? - base.as_f64()?,
    };
    difference.is_finite().then_some(difference)
}

/// `None` if the base is 0 or negative. Only an operator can release a negative value.
fn percent(value: &Value, base: &Value) -> Option<f64> {
    let base_number = base.as_f64().filter(|base| *base > 0.0)?;
    two_decimals(difference(value, base)? / base_number * 100.0)
}

/// (v / v0)^(1 / days) − 1 in percent.
fn daily_percent(value: &Value, base: &Value, gap_days: u32) -> Option<f64> {
    let base = base.as_f64().filter(|base| *base > 0.0)?;
    let value = value.as_f64().filter(|value| *value >= 0.0)?;
    two_decimals(((value / base).powf(1.0 / f64::from(gap_days.max(1))) - 1.0) * 100.0)
}

/// `None` if the result is not a finite number. Adding 0.0 converts −0.0 to 0.0.
fn two_decimals(number: f64) -> Option<f64> {
    let rounded = (number * 100.0).round() / 100.0 + 0.0;
    rounded.is_finite().then_some(rounded)
}

/// The dates whose growth depends on the values of `row`, in order: its own date, and each later date of the history
/// that measures one of the row's metrics from it over some span. Exact if the history holds all later dates and the
/// values that [`growth`] uses for them.
#[must_use]
pub fn touched_dates(row: &MetricsRow, history: &History) -> Vec<NaiveDate> {
    let series = Series { row, history };
    let later: Vec<NaiveDate> = history.dates().filter(|date| *date > row.metric_date).collect();
    let mut touched = BTreeSet::from([row.metric_date]);
    for date in later {
        let starts = SPANS_DAYS.map(|span_days| span_start(date, span_days));
        let depends = row.values.keys().filter(|metric| history.on(metric.as_str(), date).is_some()).any(|metric| {
            starts
                .into_iter()
                .any(|start| series.base(metric.as_str(), start, date).is_some_and(|(base, _)| base == row.metric_date))
        });
        if depends {
            touched.insert(date);
        }
    }
    touched.into_iter().collect()
}

/// When a change is significant. A threshold must be exceeded, not just reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignificanceConfig {
    /// Change of followers in percent, up or down.
    pub followers_percent: f64,
    /// Change of the engagement rate in percentage points, up or down.
    pub engagement_points: f64,
}

impl Default for SignificanceConfig {
    /// The thresholds that the artist platform uses.
    fn default() -> Self {
        Self { followers_percent: 5.0, engagement_points: 2.0 }
    }
}

/// A significant change, which becomes an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SignificantChange {
    /// Whether these are the account's first values.
    pub first: bool,
    /// Change of followers in percent since their latest earlier value, two decimals; `None` if it is not significant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub followers_percent: Option<f64>,
    /// Change of the engagement rate in percentage points, two decimals; `None` if it is not significant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub engagement_points: Option<f64>,
}

/// Whether the row differs significantly from the latest earlier accepted values, or is the account's first one.
///
/// Values are not compared across a definition break, and engagement rates only if they have the same basis. A row
/// without any value is not a change.
#[must_use]
pub fn significant_change(
    row: &MetricsRow,
    history: &History,
    manifest: &Manifest,
    config: &SignificanceConfig,
) -> Option<SignificantChange> {
    if row.values.is_empty() {
        return None;
    }
    if !has_values_on_other_dates(row, history, manifest) {
        return Some(SignificantChange { first: true, ..SignificantChange::default() });
    }
    let earlier = |metric: &str| {
        let value = row.values.get(metric)?;
        let (base_date, base) = history.latest_before(metric, row.metric_date)?;
        (!is_break_between(manifest, metric, base_date, row.metric_date)).then_some((value, base_date, base))
    };
    let followers_percent = earlier(FOLLOWERS).and_then(|(value, _, base)| {
        let base_number = base.as_f64().filter(|base| *base > 0.0)?;
        // Compared before rounding: 5.004 % is more than 5 %.
        Some(difference(value, base)? / base_number * 100.0).filter(|percent| percent.abs() > config.followers_percent)
    });
    let engagement_points = earlier(ENGAGEMENT_RATE).and_then(|(value, base_date, base)| {
        let basis = row.engagement.map(|engagement| engagement.basis);
        if basis != history.basis_on(base_date) {
            return None;
        }
        // Rates have two decimals, so their difference has no more; rounding only removes the float's own error.
        two_decimals(difference(value, base)?).filter(|points| points.abs() > config.engagement_points)
    });
    if followers_percent.is_none() && engagement_points.is_none() {
        return None;
    }
    Some(SignificantChange {
        first: false,
        followers_percent: followers_percent.and_then(two_decimals),
        engagement_points,
    })
}

/// A date on which every metric was absent is in the history too, but is not an earlier value.
fn has_values_on_other_dates(row: &MetricsRow, history: &History, manifest: &Manifest) -> bool {
    let mut others = history.dates().filter(|date| *date != row.metric_date);
    others.any(|date| {
        let mut metrics = row.values.keys().chain(manifest.metrics.iter().map(|entry| &entry.name));
        metrics.any(|metric| history.on(metric.as_str(), date).is_some())
    })
}

#[cfg(test)]
mod tests;
