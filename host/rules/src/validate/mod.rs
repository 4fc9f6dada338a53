//! Validation: judges conformed metrics by a table of rules before anything is stored. Native code, pure, and always
//! run.
//!
//! An **error** withholds the metric that it is about and nothing else; a **warning** lowers the quality score; a
//! **note** is recorded. No value is ever clamped or replaced. The rules are in [`rules`], and their configuration is
//! in [`config`].

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

pub use config::ValidationConfig;
use config::{Judgement, Thresholds};
use rules::{AppliesTo, RULES, Rule};

/// The metrics that are judged, and what they are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
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
    /// The account's accepted values of other dates.
    pub history: &'a History,
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
    subject: &'a Subject<'a>,
    thresholds: &'a Thresholds,
    /// The metric's name as reported; empty if the case is the whole row.
    metric: &'a str,
    /// `None` for the whole row, and for a misfit that is an absence.
    value: Option<&'a Value>,
    entry: Option<&'a MetricEntry>,
    misfit: Option<&'a Reported>,
}

/// Judges one account's metrics.
#[must_use]
pub fn validate(subject: &Subject<'_>, config: &ValidationConfig) -> Verdict {
    let thresholds = config.thresholds_for(subject.platform);
    let mut findings = Vec::new();
    let mut fired: BTreeMap<&'static str, Judgement> = BTreeMap::new();
    // (Metric, whether it is a misfit) → the first error that fired on it, which names the absence. A misfit and a
    // value can have the same name: a reported engagement rate does not affect the host's own.
    let mut rejected: BTreeMap<(&str, bool), &'static str> = BTreeMap::new();
    let mut row_rejected_by: Option<&'static str> = None;

    let cases = Cases::of(subject, &thresholds);
    for rule in RULES {
        for case in cases.all_for(rule) {
            let Some(message) = (rule.check)(case) else { continue };
            let judgement = config.judgement_of(rule, subject.platform);
            fired.insert(rule.id, judgement);
            if judgement.severity == Severity::Error && !off(Bound::Validation) {
                if case.metric.is_empty() {
                    row_rejected_by.get_or_insert(rule.id);
                } else {
                    rejected.entry((case.metric, case.misfit.is_some())).or_insert(rule.id);
                }
            }
            findings.push(Finding {
                rule: rule.id.to_owned(),
                severity: judgement.severity,
                metric: (!case.metric.is_empty()).then(|| text::shown(case.metric)),
                message,
                suggestion: rule.suggestion.to_owned(),
            });
        }
    }

    let mut verdict = Verdict {
        values: BTreeMap::new(),
        absent: BTreeMap::new(),
        findings,
        withheld: Vec::new(),
        quality_score: quality_score(fired.values().map(|judgement| judgement.weight)),
    };
    for (metric, value) in &subject.conformed.values {
        let rule = rejected.get(&(metric.as_str(), false)).copied().or(row_rejected_by);
        match (value, rule) {
            (Ok(value), Some(rule)) => verdict.withhold(metric.as_str(), value, rule),
            (Ok(value), None) => {
                verdict
                    .values
                    .insert(metric.clone(), text::cleaned(value, &thresholds).unwrap_or_else(|| value.clone()));
            }
            (Err(absence), _) => {
                verdict.absent.insert(metric.clone(), absence.clone());
            }
        }
    }
    for misfit in &subject.conformed.misfits {
        let rule = rejected.get(&(misfit.name.as_str(), true)).copied().or(row_rejected_by);
        if let (Ok(value), Some(rule)) = (&misfit.value, rule) {
            verdict.withhold(&misfit.name, value, rule);
        }
    }
    verdict
}

impl Verdict {
    /// Withholds a value. A metric that also has an accepted value keeps it: the host computes the engagement rate
    /// whatever is reported.
    fn withhold(&mut self, metric: &str, value: &Value, rule: &'static str) {
        self.withheld.push(Withheld {
            metric: text::shown(metric),
            value: text::storable(value),
            rule: rule.to_owned(),
        });
        if let Ok(name) = MetricName::new(metric)
            && !self.values.contains_key(&name)
        {
            self.absent.insert(name, Absence::Rejected(rule.to_owned()));
        }
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
    fn of(subject: &'a Subject<'a>, thresholds: &'a Thresholds) -> Self {
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
