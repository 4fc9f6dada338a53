//! The table of rules.

use backline_model::manifest::MetricEntry;
use backline_model::metric::names::{self, COLUMNS};
use backline_model::{Kind, Severity, Value};

use super::Case;
use super::comparison::{Earlier, another_that_moved, days, is_rounding_step, movement, unchanged_since};
use super::config::usual_weight;
use super::text;

/// What a rule is checked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppliesTo {
    /// The whole row, once.
    Row,
    /// Reports that match no entry of the catalogue.
    Misfits,
    /// One metric.
    Metric(&'static str),
    /// Every count.
    Counts,
    /// Every lifetime total.
    Counters,
    /// Every title and list of titles.
    Texts,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Id of the rule. It never changes: it is stored with findings, in quarantine and in `rejected:<rule>`.
    pub id: &'static str,
    /// Severity unless configured.
    pub severity: Severity,
    /// What it subtracts from the quality score unless configured.
    pub weight: f64,
    /// Whether the severity can be configured. `false` if what the rule finds can't be stored, so that it must stay an
    /// error.
    pub can_change_severity: bool,
    /// What the rule is checked on.
    pub applies_to: AppliesTo,
    /// What the rule finds, for people.
    pub about: &'static str,
    /// What a person should do about a finding.
    pub suggestion: &'static str,
    /// Message with the numbers if the rule fires, otherwise `None`.
    pub(super) check: Check,
}

/// How a rule is checked. What looks at rows, misfits or texts compares with nothing: it is checked before earlier
/// values are known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Check {
    /// On what was reported alone.
    Alone(fn(&Case<'_>) -> Option<String>),
    /// On earlier values too.
    Compared(fn(&Case<'_>, &Earlier<'_>) -> Option<String>),
}

const ERROR: f64 = usual_weight(Severity::Error);
const WARNING: f64 = usual_weight(Severity::Warning);

/// Every rule, in the order of their findings.
pub const RULES: &[Rule] = &[
    Rule {
        id: "identity-missing",
        severity: Severity::Error,
        weight: 1.0,
        can_change_severity: false,
        applies_to: AppliesTo::Row,
        about: "artist, account or platform missing, or the platform of another connector",
        suggestion: "Check the account's artist and platform; nothing of this row can be attributed",
        check: Check::Alone(identity_missing),
    },
    Rule {
        id: "metric-unknown",
        severity: Severity::Error,
        weight: ERROR,
        can_change_severity: false,
        applies_to: AppliesTo::Misfits,
        about: "a metric that is not in the connector's catalogue",
        suggestion: "Declare the metric in connector.toml, or correct its name",
        check: Check::Alone(metric_unknown),
    },
    Rule {
        id: "metric-duplicate",
        severity: Severity::Error,
        weight: ERROR,
        can_change_severity: false,
        applies_to: AppliesTo::Misfits,
        about: "a metric reported more than once",
        suggestion: "Have the connector report each metric once",
        check: Check::Alone(metric_duplicate),
    },
    Rule {
        id: "value-not-finite",
        severity: Severity::Error,
        weight: ERROR,
        can_change_severity: false,
        applies_to: AppliesTo::Misfits,
        about: "a number that is infinite or not a number",
        suggestion: "Report an absence where there is nothing to divide by",
        check: Check::Alone(value_not_finite),
    },
    Rule {
        id: "metric-kind",
        severity: Severity::Error,
        weight: ERROR,
        can_change_severity: false,
        applies_to: AppliesTo::Misfits,
        about: "a value that is not of the metric's kind",
        suggestion: "Report the kind of value that connector.toml declares; leave engagement_rate to the host",
        check: Check::Alone(metric_kind),
    },
    Rule {
        id: "count-negative",
        severity: Severity::Error,
        weight: ERROR,
        can_change_severity: true,
        applies_to: AppliesTo::Counts,
        about: "a count below 0",
        suggestion: "Check how the connector reads this number",
        check: Check::Alone(count_negative),
    },
    Rule {
        id: "engagement-rate-range",
        severity: Severity::Error,
        weight: ERROR,
        can_change_severity: true,
        applies_to: AppliesTo::Metric(names::ENGAGEMENT_RATE),
        about: "an engagement rate below 0 or above 100 percent",
        suggestion: "Check the interactions and the base that the connector counted",
        check: Check::Alone(engagement_rate_range),
    },
    Rule {
        id: "engagement-rate-high",
        severity: Severity::Warning,
        weight: WARNING,
        can_change_severity: true,
        applies_to: AppliesTo::Metric(names::ENGAGEMENT_RATE),
        about: "an engagement rate above 20 percent",
        suggestion: "Check whether few posts or few followers explain it",
        check: Check::Alone(engagement_rate_high),
    },
    Rule {
        id: "followers-jump",
        severity: Severity::Warning,
        weight: WARNING,
        can_change_severity: true,
        applies_to: AppliesTo::Metric(names::FOLLOWERS),
        about: "followers grew more than 100 percent a day",
        suggestion: "Verify data source accuracy",
        check: Check::Compared(followers_jump),
    },
    Rule {
        id: "followers-drop",
        severity: Severity::Warning,
        weight: WARNING,
        can_change_severity: true,
        applies_to: AppliesTo::Metric(names::FOLLOWERS),
        about: "followers fell more than 10 percent a day",
        suggestion: "Check for account issues or data collection errors",
        check: Check::Compared(followers_drop),
    },
    Rule {
        id: "counter-fell",
        severity: Severity::Warning,
        weight: WARNING,
        can_change_severity: true,
        applies_to: AppliesTo::Counters,
        about: "a lifetime total fell",
        suggestion: "Check whether posts were deleted or the platform corrected its count",
        check: Check::Compared(counter_fell),
    },
    Rule {
        id: "likes-exceed-views",
        severity: Severity::Warning,
        weight: WARNING,
        can_change_severity: true,
        applies_to: AppliesTo::Metric(names::LIKES),
        about: "more likes than views on the posts counted",
        suggestion: "Expect the platform to correct its views; check again in a day or two",
        check: Check::Alone(likes_exceed_views),
    },
    Rule {
        id: "stale-source",
        severity: Severity::Warning,
        weight: WARNING,
        can_change_severity: true,
        applies_to: AppliesTo::Counts,
        about: "a count that has not changed for 14 days although another one of the account has",
        suggestion: "Check whether the platform still updates this number",
        check: Check::Compared(stale_source),
    },
    Rule {
        id: "text-cleaned",
        severity: Severity::Note,
        weight: 0.0,
        can_change_severity: true,
        applies_to: AppliesTo::Texts,
        about: "a text with U+0000, which is removed, or over its length, which is cut",
        suggestion: "Nothing to do; the document keeps the original text",
        check: Check::Alone(text_cleaned),
    },
];

/// Whether a metric is a total over the account's whole life, which should never fall.
pub(super) fn is_lifetime_counter(metric: &str, entry: Option<&MetricEntry>) -> bool {
    entry.is_some_and(|entry| entry.kind == Kind::Counter) || matches!(metric, names::TOTAL_VIEWS | names::POSTS_COUNT)
}

fn identity_missing(case: &Case<'_>) -> Option<String> {
    let subject = case.subject;
    let expected = &subject.manifest.connector.platform;
    if subject.artist_id.0.is_nil() {
        Some("the artist is missing".to_owned())
    } else if subject.account_id.0.is_nil() {
        Some("the account is missing".to_owned())
    } else if subject.platform != expected {
        Some(format!("the account is on {}, and the connector collects {expected}", subject.platform))
    } else {
        None
    }
}

fn metric_unknown(case: &Case<'_>) -> Option<String> {
    let is_known = case.entry.is_some() || case.metric == names::ENGAGEMENT_RATE;
    (!is_known).then(|| format!("'{}' is not in the connector's catalogue", text::shown(case.metric)))
}

fn metric_duplicate(case: &Case<'_>) -> Option<String> {
    let times = case.subject.conformed.misfits.iter().filter(|misfit| misfit.name == case.metric).count();
    (times > 1).then(|| format!("'{}' was reported {times} times; none of them is used", text::shown(case.metric)))
}

fn value_not_finite(case: &Case<'_>) -> Option<String> {
    match case.value? {
        Value::Decimal(decimal) if !decimal.is_finite() => Some(format!("{} is {decimal}", text::shown(case.metric))),
        _ => None,
    }
}

/// A misfit that no other rule explains.
fn metric_kind(case: &Case<'_>) -> Option<String> {
    let misfit = case.misfit?;
    if metric_unknown(case).is_some() || metric_duplicate(case).is_some() || value_not_finite(case).is_some() {
        return None;
    }
    if misfit.name == names::ENGAGEMENT_RATE {
        return Some("engagement_rate was reported as a value; the host computes it".to_owned());
    }
    let value = case.value?;
    let expected = match (misfit.name.as_str(), case.entry?.kind) {
        (names::TOP_TRACK, _) => "a text",
        (names::GENRES, _) => "a list of texts",
        (names::POPULARITY, _) => "a number",
        (name, kind) if kind.is_count() || COLUMNS.contains(&name) => "a whole number of 64 bits",
        (_, Kind::Label) => "a text or a list of texts",
        _ => "a number",
    };
    Some(format!("{} is {}, and must be {expected}", misfit.name, described(value)))
}

fn described(value: &Value) -> String {
    match value {
        Value::Integer(integer) => format!("the number {integer}"),
        Value::Decimal(decimal) => format!("the number {decimal}"),
        Value::Text(text) => format!("the text '{}'", text::shown(text)),
        Value::Texts(texts) => format!("a list of {} texts", texts.len()),
    }
}

fn count_negative(case: &Case<'_>) -> Option<String> {
    let count = case.value?.as_i64()?;
    (count < 0).then(|| format!("{} is {count}", case.metric))
}

fn engagement_rate_range(case: &Case<'_>) -> Option<String> {
    let rate = case.value?.as_f64()?;
    let highest = case.thresholds.engagement_rate_max;
    (!(0.0..=highest).contains(&rate)).then(|| format!("engagement_rate is {rate} %, outside 0 to {highest} %"))
}

fn engagement_rate_high(case: &Case<'_>) -> Option<String> {
    let rate = case.value?.as_f64()?;
    let (high, highest) = (case.thresholds.engagement_rate_high, case.thresholds.engagement_rate_max);
    (rate > high && rate <= highest).then(|| format!("engagement_rate is {rate} %, above {high} %"))
}

fn followers_jump(case: &Case<'_>, earlier: &Earlier<'_>) -> Option<String> {
    let movement = movement(case, earlier)?;
    let percent = movement.percent_a_day()?;
    let is_alarming =
        percent > case.thresholds.followers_growth_percent_max && !is_rounding_step(&movement, rounding(case));
    is_alarming.then(|| format!("followers grew {percent:.2} % a day: {}", movement.describe()))
}

fn followers_drop(case: &Case<'_>, earlier: &Earlier<'_>) -> Option<String> {
    let movement = movement(case, earlier)?;
    let percent = -movement.percent_a_day()?;
    let is_alarming =
        percent > case.thresholds.followers_fall_percent_max && !is_rounding_step(&movement, rounding(case));
    is_alarming.then(|| format!("followers fell {percent:.2} % a day: {}", movement.describe()))
}

fn rounding(case: &Case<'_>) -> Option<u8> {
    case.entry.and_then(|entry| entry.significant_figures)
}

fn counter_fell(case: &Case<'_>, earlier: &Earlier<'_>) -> Option<String> {
    let movement = movement(case, earlier)?;
    let has_fallen = movement.value < movement.base && !is_rounding_step(&movement, rounding(case));
    has_fallen.then(|| format!("{} fell {}", case.metric, movement.describe()))
}

/// Likes and views are only about the same posts if the views cover at least as many posts, and if both are sums of the
/// same kind.
fn likes_exceed_views(case: &Case<'_>) -> Option<String> {
    let conformed = case.subject.conformed;
    let likes = case.value?.as_i64()?;
    let (metric, views) = [names::CONTENT_VIEWS, names::VIDEO_VIEWS]
        .into_iter()
        .find_map(|metric| Some((metric, conformed.values.get(metric)?.as_ref().ok()?.as_i64()?)))?;
    let kind_of = |metric: &str| case.subject.manifest.metric(metric).map(|entry| entry.kind);
    let are_alike = kind_of(metric) == kind_of(names::LIKES);
    let is_covered = match (conformed.coverage.get(metric), conformed.coverage.get(names::LIKES)) {
        (Some(views), Some(likes)) => views.counted >= likes.counted,
        _ => true,
    };
    (likes > views && are_alike && is_covered).then(|| format!("{likes} likes on posts with {views} {metric}"))
}

/// 0 stays the same naturally, and so does a number that the platform rounds.
fn stale_source(case: &Case<'_>, earlier: &Earlier<'_>) -> Option<String> {
    let count = case.value?.as_i64()?;
    let may_stand_still = count == 0
        || rounding(case).is_some()
        || case.thresholds.stale_exempt.iter().any(|exempt| exempt == case.metric);
    if may_stand_still {
        return None;
    }
    let since = unchanged_since(case, earlier)?;
    let other = another_that_moved(case, earlier, since)?;
    let unchanged_days = days((case.subject.metric_date - since).num_days());
    Some(format!("{} has been {count} for {unchanged_days}, while {other} changed", case.metric))
}

fn text_cleaned(case: &Case<'_>) -> Option<String> {
    let cleaned = text::cleaned(case.value?, case.thresholds)?;
    let length = |value: &Value| match value {
        Value::Text(text) => text.chars().count(),
        Value::Texts(texts) => texts.iter().map(|text| text.chars().count()).sum(),
        Value::Integer(_) | Value::Decimal(_) => 0,
    };
    let (before, after) = (length(case.value?), length(&cleaned));
    Some(format!("{} had {before} characters and is stored with {after}", case.metric))
}
