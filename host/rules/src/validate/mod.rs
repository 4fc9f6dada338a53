//! Validation: judges conformed metrics by a table of rules before anything is stored. Native code, pure, and always
//! run.
//!
//! An **error** withholds the metric that it is about and nothing else; a **warning** lowers the quality score; a
//! **note** is recorded. No value is ever clamped or replaced. The rules are in [`rules`], and their configuration is
//! in [`config`].
//!
//! It has two steps. [`screen`] checks the rules that look at what was reported alone, and makes of each text what is
//! stored of it: its work grows with what a connector wrote. [`judge`] adds the rules that compare with earlier values:
//! its work grows with the number of metrics. So only the second has to be done where the earlier values are locked.

mod comparison;
pub mod config;
pub mod rules;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;

use backline_model::manifest::MetricEntry;
use backline_model::row::Finding;
use backline_model::snapshot::{Conformed, Reported};
use backline_model::weakened::{Bound, off};
use backline_model::{Absence, AccountId, ArtistId, History, Manifest, MetricName, Platform, Severity, Value};

use comparison::Earlier;
use config::Thresholds;
pub use config::ValidationConfig;
use rules::{AppliesTo, Check, RULES, Rule};

/// The metrics that are judged, and what they are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// Account that the numbers belong to.
    pub account_id: AccountId,
    /// Artist that the account belongs to.
    pub artist_id: ArtistId,
    /// Platform of the account.
    pub platform: &'a Platform,
    /// The logical date.
    pub metric_date: NaiveDate,
    /// The conformed metrics.
    pub conformed: &'a Conformed,
    /// Manifest with the catalogue and the definition breaks.
    pub manifest: &'a Manifest,
}

/// A value that an error withheld, as the connector reported it. A number that is not finite is kept as text, since
/// JSON has no such numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Withheld {
    /// Name of the metric, as the connector reported it.
    pub metric: String,
    /// The value, as the connector reported it.
    pub value: Value,
    /// Id of the rule that withheld it.
    pub rule: String,
}

/// Result of validation: what may be stored, what may not, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Accepted values by metric.
    pub values: BTreeMap<MetricName, Value>,
    /// Reasons why the others are missing; `rejected:<rule>` for withheld ones.
    pub absent: BTreeMap<MetricName, Absence>,
    /// Every rule that fired, in the table's order.
    pub findings: Vec<Finding>,
    /// Values to put into quarantine.
    pub withheld: Vec<Withheld>,
    /// 1 − Σ weights of the rules that fired, each counted once; at least 0, two decimals.
    pub quality_score: f64,
}

/// One thing that a rule is checked on.
struct Case<'a> {
    subject: &'a Judged<'a>,
    thresholds: &'a Thresholds,
    /// The metric's name as reported; empty if the case is the whole row.
    metric: &'a str,
    /// `None` for the whole row, and for a misfit that is an absence.
    value: Option<&'a Value>,
    entry: Option<&'a MetricEntry>,
    misfit: Option<&'a Reported>,
}

/// What the rules found that look at what was reported alone, and what is stored of its texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Screened {
    fired: Vec<Fired>,
    /// What is stored of texts, where it is not what was reported: a cleaned text, or the beginning of a withheld one.
    texts: BTreeMap<MetricName, Value>,
    /// Misfits that are withheld, with their names where these are valid.
    misfits: Vec<(Option<MetricName>, Withheld)>,
}

/// A rule that fired.
#[derive(Clone, Debug, PartialEq)]
struct Fired {
    /// Its place in the table.
    place: usize,
    about: About,
    finding: Finding,
}

/// What a rule fired on. A misfit and a value can have the same name: a reported engagement rate does not affect the
/// host's own.
#[derive(Clone, Debug, PartialEq)]
enum About {
    Row,
    Value(String),
    Misfit(String),
}

/// The first error that fired on the row, and on each value and misfit: it names the absence.
#[derive(Default)]
struct Rejections<'a> {
    row: Option<&'static str>,
    values: BTreeMap<&'a str, &'static str>,
    misfits: BTreeMap<&'a str, &'static str>,
}

/// Judges one account's metrics, in both steps.
#[must_use]
pub fn validate(subject: &Judged<'_>, history: &History, config: &ValidationConfig) -> Verdict {
    judge(subject, &screen(subject, config), history, config)
}

/// The first step, which needs no earlier value. The second one needs no misfits any more.
#[must_use]
pub fn screen(subject: &Judged<'_>, config: &ValidationConfig) -> Screened {
    let thresholds = config.thresholds_for(subject.platform);
    let cases = Cases::of(subject, &thresholds);
    let mut fired = Vec::new();
    for (place, rule) in RULES.iter().enumerate() {
        let Check::Alone(check) = rule.check else { continue };
        for case in cases.all_for(rule) {
            fired.extend(check(case).map(|message| Fired::of(place, case, message, config)));
        }
    }
    let rejections = Rejections::of(&fired);
    let stored = |(metric, value): (&MetricName, &Result<Value, Absence>)| {
        let value = value.as_ref().ok().filter(|value| matches!(value, Value::Text(_) | Value::Texts(_)))?;
        let stored = match rejections.of_value(metric.as_str()) {
            Some(_) => text::storable(value),
            None => text::cleaned(value, &thresholds)?,
        };
        Some((metric.clone(), stored))
    };
    let texts = subject.conformed.values.iter().filter_map(stored).collect();
    let withheld = |misfit: &Reported| {
        let (rule, value) = (rejections.of_misfit(&misfit.name)?, misfit.value.as_ref().ok()?);
        Some((MetricName::new(misfit.name.as_str()).ok(), Withheld::of(&misfit.name, text::storable(value), rule)))
    };
    let misfits = subject.conformed.misfits.iter().filter_map(withheld).collect();
    Screened { fired, texts, misfits }
}

/// The second step: compares with the account's accepted values of other dates.
#[must_use]
pub fn judge(subject: &Judged<'_>, screened: &Screened, history: &History, config: &ValidationConfig) -> Verdict {
    let thresholds = config.thresholds_for(subject.platform);
    let (cases, earlier) = (Cases::of(subject, &thresholds), Earlier::of(history));
    let mut fired = screened.fired.clone();
    for (place, rule) in RULES.iter().enumerate() {
        let Check::Compared(check) = rule.check else { continue };
        for case in cases.all_for(rule) {
            fired.extend(check(case, &earlier).map(|message| Fired::of(place, case, message, config)));
        }
    }
    // In the table's order; those of one rule stay in theirs.
    fired.sort_by_key(|fired| fired.place);
    let weights: BTreeMap<&'static str, f64> = fired
        .iter()
        .map(|fired| &RULES[fired.place])
        .map(|rule| (rule.id, config.judgement_of(rule, subject.platform).weight))
        .collect();

    let mut verdict = Verdict {
        values: BTreeMap::new(),
        absent: BTreeMap::new(),
        findings: Vec::new(),
        withheld: Vec::new(),
        quality_score: quality_score(weights.into_values()),
    };
    let rejections = Rejections::of(&fired);
    for (metric, value) in &subject.conformed.values {
        let text = screened.texts.get(metric);
        match (value, rejections.of_value(metric.as_str())) {
            (Ok(value), Some(rule)) => {
                let value = text.cloned().unwrap_or_else(|| text::storable(value));
                verdict.withhold(Some(metric.clone()), Withheld::of(metric.as_str(), value, rule));
            }
            (Ok(value), None) => {
                verdict.values.insert(metric.clone(), text.unwrap_or(value).clone());
            }
            (Err(absence), _) => {
                verdict.absent.insert(metric.clone(), absence.clone());
            }
        }
    }
    for (name, withheld) in &screened.misfits {
        verdict.withhold(name.clone(), withheld.clone());
    }
    verdict.findings = fired.into_iter().map(|fired| fired.finding).collect();
    verdict
}

impl Fired {
    fn of(place: usize, case: &Case<'_>, message: String, config: &ValidationConfig) -> Self {
        let rule = &RULES[place];
        let about = match (case.metric, case.misfit) {
            ("", _) => About::Row,
            (metric, Some(_)) => About::Misfit(metric.to_owned()),
            (metric, None) => About::Value(metric.to_owned()),
        };
        let finding = Finding {
            rule: rule.id.to_owned(),
            severity: config.judgement_of(rule, case.subject.platform).severity,
            metric: (!case.metric.is_empty()).then(|| text::shown(case.metric)),
            message,
            suggestion: rule.suggestion.to_owned(),
        };
        Self { place, about, finding }
    }
}

impl<'a> Rejections<'a> {
    /// The rejections of rules that fired, in the table's order.
    fn of(fired: &'a [Fired]) -> Self {
        let mut rejections = Self::default();
        for Fired { place, about, finding } in fired {
            if finding.severity != Severity::Error || off(Bound::Validation) {
                continue;
            }
            let rule = RULES[*place].id;
            match about {
                About::Row => rejections.row.get_or_insert(rule),
                About::Value(metric) => rejections.values.entry(metric.as_str()).or_insert(rule),
                About::Misfit(metric) => rejections.misfits.entry(metric.as_str()).or_insert(rule),
            };
        }
        rejections
    }

    fn of_value(&self, metric: &str) -> Option<&'static str> {
        self.values.get(metric).copied().or(self.row)
    }

    fn of_misfit(&self, metric: &str) -> Option<&'static str> {
        self.misfits.get(metric).copied().or(self.row)
    }
}

impl Withheld {
    /// A value that a rule withholds, in the form that is stored.
    fn of(metric: &str, value: Value, rule: &'static str) -> Self {
        Self { metric: text::shown(metric), value, rule: rule.to_owned() }
    }
}

impl Verdict {
    /// Withholds a value. A metric that also has an accepted value keeps it: the host computes the engagement rate
    /// whatever is reported.
    fn withhold(&mut self, name: Option<MetricName>, withheld: Withheld) {
        if let Some(name) = name
            && !self.values.contains_key(&name)
        {
            self.absent.insert(name, Absence::Rejected(withheld.rule.clone()));
        }
        self.withheld.push(withheld);
    }
}

fn quality_score(weights: impl Iterator<Item = f64>) -> f64 {
    let score = 1.0 - weights.sum::<f64>();
    (score.max(0.0) * 100.0).round() / 100.0
}

/// Everything that rules are checked on, looked up once for all rules.
struct Cases<'a> {
    row: Case<'a>,
    /// A metric that was reported several times is one case.
    misfits: Vec<Case<'a>>,
    values: Vec<Case<'a>>,
}

impl<'a> Cases<'a> {
    fn of(subject: &'a Judged<'a>, thresholds: &'a Thresholds) -> Self {
        let case = |metric: &'a str, value, misfit| Case {
            subject,
            thresholds,
            metric,
            value,
            entry: subject.manifest.metric(metric),
            misfit,
        };
        let mut seen = BTreeSet::new();
        let misfits = subject.conformed.misfits.iter().filter(|misfit| seen.insert(misfit.name.as_str()));
        let values =
            subject.conformed.values.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_ref().ok()?)));
        Self {
            row: case("", None, None),
            misfits: misfits
                .map(|misfit| case(misfit.name.as_str(), misfit.value.as_ref().ok(), Some(misfit)))
                .collect(),
            values: values.map(|(metric, value)| case(metric, Some(value), None)).collect(),
        }
    }

    /// The cases that a rule is checked on.
    fn all_for<'s>(&'s self, rule: &'static Rule) -> impl Iterator<Item = &'s Case<'a>> {
        let of_kind: &'s [Case<'a>] = match rule.applies_to {
            AppliesTo::Row => std::slice::from_ref(&self.row),
            AppliesTo::Misfits => &self.misfits,
            _ => &self.values,
        };
        of_kind.iter().filter(move |case| match rule.applies_to {
            AppliesTo::Row | AppliesTo::Misfits => true,
            AppliesTo::Metric(metric) => case.metric == metric,
            AppliesTo::Counts => case.value.is_some_and(|value| value.as_i64().is_some()) && !is_score(case),
            AppliesTo::Counters => rules::is_lifetime_counter(case.metric, case.entry),
            AppliesTo::Texts => case.value.is_some_and(|value| matches!(value, Value::Text(_) | Value::Texts(_))),
        })
    }
}

/// Scores and quotients may be sent as integers, but are not counts.
fn is_score(case: &Case<'_>) -> bool {
    case.entry.is_some_and(|entry| !entry.kind.is_count())
}

#[cfg(test)]
mod tests;
