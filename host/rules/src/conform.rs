//! Conforms what a connector reported to the metrics that Backline stores. Names and kinds are checked against the
//! catalogue, every expected metric is present as a value or as an absence, and the host computes the engagement rate.
//! Nothing is judged here: that is the task of validation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use backline_model::metric::names::{self, COLUMNS, ENGAGEMENT_RATE, FOLLOWERS};
use backline_model::snapshot::{Conformed, Engagement, EngagementBasis, Reported, Snapshot};
use backline_model::weakened::{Bound, off};
use backline_model::{Absence, Kind, Manifest, MetricName, Value};

/// Most notes of one snapshot; a connector with more to say should use its log.
const NOTES_MAX: usize = 50;
/// Longest note, in characters.
const NOTE_CHARS_MAX: usize = 500;

/// The names of all columns, made once: each row needs nearly all of them.
static COLUMN_NAMES: LazyLock<[MetricName; COLUMNS.len()]> =
    LazyLock::new(|| COLUMNS.map(|column| MetricName::new(column).expect("a column's name is a valid metric name")));

/// The type of a metric's column, or of an extra metric by its kind in the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A 64-bit integer.
    Count,
    /// Any finite number.
    Number,
    /// One text.
    Text,
    /// A list of texts.
    Texts,
    /// One text or a list of them.
    Label,
}

/// Conforms one account's snapshot.
///
/// `values` has an entry for every metric of the catalogue and every column of `metrics`: the reported value or
/// absence; `unavailable` for a catalogue metric that was not reported; `not-offered` for a column that the catalogue
/// lacks. Reports that match no entry (unknown name, wrong kind, not finite, given more than once) are in `misfits`,
/// and their metric is `unavailable`.
#[must_use]
pub fn conform(snapshot: Snapshot, manifest: &Manifest) -> Conformed {
    let repeated = repeated_names(&snapshot.metrics);
    let mut values: BTreeMap<MetricName, Result<Value, Absence>> = BTreeMap::new();
    let mut coverage = BTreeMap::new();
    let mut misfits = Vec::new();
    let mut rate_absence = None;
    for reported in snapshot.metrics {
        // There is no way to know which of two reports is right, so neither is used.
        if repeated.contains(&reported.name) && !off(Bound::TwoReports) {
            misfits.push(reported);
            continue;
        }
        if reported.name == ENGAGEMENT_RATE {
            match reported.value {
                Err(absence) => rate_absence = Some(absence),
                Ok(_) => misfits.push(reported),
            }
            continue;
        }
        match fit(&reported, manifest) {
            Some((name, value)) => {
                if let Some(counted) = reported.coverage {
                    coverage.insert(name.clone(), counted);
                }
                values.insert(name, value);
            }
            None => misfits.push(reported),
        }
    }

    for entry in &manifest.metrics {
        values.entry(entry.name.clone()).or_insert(Err(Absence::Unavailable));
    }
    for column in COLUMN_NAMES.iter() {
        values.entry(column.clone()).or_insert(Err(Absence::NotOffered));
    }
    let rate = engagement_rate(snapshot.engagement.as_ref(), rate_absence, &values, manifest);
    // It is a column, so it is there.
    if let Some(value) = values.get_mut(ENGAGEMENT_RATE) {
        *value = rate;
    }

    let notes_max = if off(Bound::Notes) { usize::MAX } else { NOTES_MAX };
    let notes = snapshot.notes.into_iter().take(notes_max).map(|note| tidy_note(&note)).collect();
    Conformed { values, coverage, engagement: snapshot.engagement, notes, misfits }
}

/// The names that are reported more than once.
fn repeated_names(metrics: &[Reported]) -> BTreeSet<String> {
    let mut names: Vec<&str> = metrics.iter().map(|reported| reported.name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].to_owned()).collect()
}

fn tidy_note(note: &str) -> String {
    let chars_max = if off(Bound::Notes) { usize::MAX } else { NOTE_CHARS_MAX };
    note.chars().filter(|c| *c != '\0').take(chars_max).collect()
}

/// Whether a report that is the only one of its metric matches an entry: it will not be in `misfits`.
#[must_use]
pub fn fits(reported: &Reported, manifest: &Manifest) -> bool {
    // The host computes it, and takes only why there is none.
    let is_given = reported.name == ENGAGEMENT_RATE && reported.value.is_ok();
    !is_given && fit(reported, manifest).is_some()
}

/// The metric of a report, and its value in the metric's type; `None` if it does not match.
fn fit(reported: &Reported, manifest: &Manifest) -> Option<(MetricName, Result<Value, Absence>)> {
    let entry = manifest.metric(&reported.name);
    match &reported.value {
        Ok(value) => {
            let entry = entry?;
            let value = convert(value, form(entry.name.as_str(), entry.kind))?;
            Some((entry.name.clone(), Ok(value)))
        }
        // A connector may also report why a column outside its catalogue is missing.
        Err(absence) => {
            let column = || COLUMN_NAMES.iter().find(|column| column.as_str() == reported.name);
            let name = entry.map(|entry| &entry.name).or_else(column)?;
            Some((name.clone(), Err(absence.clone())))
        }
    }
}

/// A column's type decides first, so that no manifest can declare text for a numeric column.
fn form(name: &str, kind: Kind) -> Form {
    match name {
        names::ENGAGEMENT_RATE | names::POPULARITY => Form::Number,
        names::TOP_TRACK => Form::Text,
        names::GENRES => Form::Texts,
        _ if COLUMNS.contains(&name) || kind.is_count() => Form::Count,
        _ if kind == Kind::Label => Form::Label,
        _ => Form::Number,
    }
}

fn convert(value: &Value, form: Form) -> Option<Value> {
    match (form, value) {
        (Form::Count, Value::Integer(_))
        | (Form::Text | Form::Label, Value::Text(_))
        | (Form::Texts | Form::Label, Value::Texts(_)) => Some(value.clone()),
        (Form::Number, Value::Integer(_)) => Some(value.clone()),
        (Form::Number, Value::Decimal(decimal)) if decimal.is_finite() => Some(Value::Decimal(*decimal)),
        (Form::Count, Value::Decimal(decimal)) => integral(*decimal).map(Value::Integer),
        // Platforms send counters as decimal text, and a connector may pass them on unchanged.
        (Form::Count, Value::Text(text)) => decimal_digits(text).map(Value::Integer),
        _ => None,
    }
}

/// 33920.0 → 33920. Above 2^53 a float can't distinguish neighbouring integers, so it is not a count any more.
fn integral(decimal: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let is_exact = decimal.fract() == 0.0 && decimal.abs() <= EXACT_MAX;
    #[expect(clippy::cast_possible_truncation, reason = "integral and within 2^53, as checked")]
    is_exact.then_some(decimal as i64)
}

fn decimal_digits(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_decimal { text.parse().ok() } else { None }
}

/// Interactions per post and follower in percent for basis followers, otherwise interactions per view or per account
/// reached; two decimals.
///
/// If there is no rate, the reason is the first of these: what the connector reported for `engagement_rate` itself;
/// `not-offered` if it counts no engagement and declares no rate; `unavailable` if it declares a rate and sent no
/// counts; `not-found` if no post was in the window; `unavailable` if there were posts but none could be counted; for a
/// missing base the reason why `followers` is missing (basis followers, for example `hidden`), otherwise `unavailable`;
/// `not-found` if the base is 0, since there was no one to interact.
fn engagement_rate(
    engagement: Option<&Engagement>,
    reported: Option<Absence>,
    values: &BTreeMap<MetricName, Result<Value, Absence>>,
    manifest: &Manifest,
) -> Result<Value, Absence> {
    let Some(engagement) = engagement else {
        let is_declared = manifest.metric(ENGAGEMENT_RATE).is_some();
        return Err(reported.unwrap_or(if is_declared { Absence::Unavailable } else { Absence::NotOffered }));
    };
    let or_reported = |absence: Absence| Err(reported.clone().unwrap_or(absence));
    if engagement.posts_counted == 0 {
        return or_reported(if engagement.posts_skipped == 0 { Absence::NotFound } else { Absence::Unavailable });
    }
    let base = match (engagement.base, engagement.basis) {
        (Some(0), _) => return or_reported(Absence::NotFound),
        (Some(base), _) => base,
        (None, EngagementBasis::Followers) => {
            let reason = values.get(FOLLOWERS).and_then(|followers| followers.as_ref().err().cloned());
            return or_reported(reason.unwrap_or(Absence::Unavailable));
        }
        (None, EngagementBasis::Views | EngagementBasis::Reach) => return or_reported(Absence::Unavailable),
    };
    #[expect(clippy::cast_precision_loss, reason = "a rate of two decimals; 53 bits are ample")]
    let (interactions, base) = (engagement.interactions as f64, base as f64);
    let rate = match engagement.basis {
        EngagementBasis::Followers => interactions / f64::from(engagement.posts_counted) / base * 100.0,
        EngagementBasis::Views | EngagementBasis::Reach => interactions / base * 100.0,
    };
    // Adding 0.0 converts −0.0, which a tiny negative number rounds to, into 0.0.
    Ok(Value::Decimal((rate * 100.0).round() / 100.0 + 0.0))
}

#[cfg(test)]
mod tests;
