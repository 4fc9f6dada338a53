//! Growth: the change of a metric over 1, 7, 28 and 90 days.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value as Json;

use crate::ids::{AccountId, ArtistId, Platform};
use crate::metric::MetricName;

/// Spans that growth is computed for, in days.
pub const SPANS_DAYS: [u16; 4] = [1, 7, 28, 90];

/// Why a change has no percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoChange {
    /// There is no earlier accepted value.
    First,
    /// The earlier value is 0.
    ZeroBase,
    /// The day the span starts from has no accepted value.
    Gap,
    /// The platform changed the metric's definition within the span.
    Break,
    /// The metric has no accepted value on this date.
    Absent,
    /// Both values were observed in less than half of the time between their dates.
    Late,
}

impl NoChange {
    /// The name used in tables and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::ZeroBase => "zero_base",
            Self::Gap => "gap",
            Self::Break => "break",
            Self::Absent => "absent",
            Self::Late => "late",
        }
    }
}

/// One metric's change over one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GrowthChange {
    /// Value minus base, in the metric's unit; percentage points for ratios.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub absolute: Option<f64>,
    /// Percent of the base, two decimals; `None` for ratios, whose change is in points.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub percent: Option<f64>,
    /// Days between this date and the date of the base: the start of the span, or, if that day has no value, the latest
    /// earlier day that has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gap_days: Option<u32>,
    /// Percent a day over `gap_days`, two decimals; set if the start of the span has no value.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub daily_percent: Option<f64>,
    /// Why `percent` (for ratios, `absolute`) is missing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<NoChange>,
}

/// All changes of one account on one date.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrowthRow {
    /// Account that the numbers belong to.
    pub account_id: AccountId,
    /// Artist that the account belongs to.
    pub artist_id: ArtistId,
    /// Platform of the account.
    pub platform: Platform,
    /// Date that the changes end on.
    pub metric_date: NaiveDate,
    /// Changes by metric and span in days.
    pub changes: Changes,
}

impl GrowthRow {
    /// Every change with its metric and its span in days: metric by metric, the shortest span first.
    pub fn each(&self) -> impl Iterator<Item = (&MetricName, u16, &GrowthChange)> {
        self.changes.iter().flat_map(|(metric, changes)| {
            SPANS_DAYS.into_iter().filter_map(move |span| changes.get(&span).map(|change| (metric, span, change)))
        })
    }
}

/// Changes by metric and span in days.
pub type Changes = BTreeMap<MetricName, BTreeMap<u16, GrowthChange>>;

/// All changes of a row in the short form in which they are stored: by metric, a change for each of [`SPANS_DAYS`], or
/// one for all of them. `[absolute, percent]` is a change from the start of the span, `[absolute]` one of a ratio,
/// `["z", absolute]` one from 0, `["g", days]` and `["g", days, daily percent]` one across a gap, `["b", days]` one
/// across a break, `"f"` the first value, `"a"` no value. Any other change is an object as subscribers know it.
///
/// It is written from the changes themselves, as text: each row that is stored has one.
#[must_use]
pub fn shortened(changes: &Changes) -> String {
    serde_json::to_string(&Short(changes)).expect("names, numbers and texts are JSON")
}

/// Changes, to be written in their short form.
struct Short<'a>(&'a Changes);

impl Serialize for Short<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(metric, spans)| (metric, ShortSpans(spans))))
    }
}

/// The changes of one metric, to be written in their short form.
struct ShortSpans<'a>(&'a BTreeMap<u16, GrowthChange>);

impl Serialize for ShortSpans<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.0.keys().eq(SPANS_DAYS.iter()) {
            return self.0.serialize(serializer);
        }
        for (mark, reason) in [("f", NoChange::First), ("a", NoChange::Absent)] {
            let bare = GrowthChange { reason: Some(reason), ..GrowthChange::default() };
            if self.0.values().all(|change| *change == bare) {
                return serializer.serialize_str(mark);
            }
        }
        serializer.collect_seq(self.0.iter().map(|(span, change)| ShortChange(*span, change)))
    }
}

/// The change over a span, to be written in its short form.
struct ShortChange<'a>(u16, &'a GrowthChange);

impl Serialize for ShortChange<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(span, change) = *self;
        let from_start = change.gap_days == Some(u32::from(span));
        match *change {
            GrowthChange {
                absolute: None,
                percent: None,
                gap_days: None,
                daily_percent: None,
                reason: Some(NoChange::First),
            } => serializer.serialize_str("f"),
            GrowthChange {
                absolute: None,
                percent: None,
                gap_days: None,
                daily_percent: None,
                reason: Some(NoChange::Absent),
            } => serializer.serialize_str("a"),
            GrowthChange { absolute: Some(by), percent: Some(percent), daily_percent: None, reason: None, .. }
                if from_start =>
            {
                (Number(by), Number(percent)).serialize(serializer)
            }
            GrowthChange { absolute: Some(by), percent: None, daily_percent: None, reason: None, .. } if from_start => {
                (Number(by),).serialize(serializer)
            }
            GrowthChange {
                absolute: Some(by),
                percent: None,
                daily_percent: None,
                reason: Some(NoChange::ZeroBase),
                ..
            } if from_start => ("z", Number(by)).serialize(serializer),
            GrowthChange {
                absolute: None,
                percent: None,
                gap_days: Some(days),
                daily_percent: Some(daily),
                reason: Some(NoChange::Gap),
            } => ("g", days, Number(daily)).serialize(serializer),
            GrowthChange {
                absolute: None,
                percent: None,
                gap_days: Some(days),
                daily_percent: None,
                reason: Some(NoChange::Gap),
            } => ("g", days).serialize(serializer),
            GrowthChange {
                absolute: None,
                percent: None,
                gap_days: Some(days),
                daily_percent: None,
                reason: Some(NoChange::Break),
            } => ("b", days).serialize(serializer),
            _ => change.serialize(serializer),
        }
    }
}

/// A number that is written without its fraction if that is 0: `45`, not `45.0`.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(number) = *self;
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 53 bits")]
        if number.fract() == 0.0 && number.abs() < 9e15 && !(number == 0.0 && number.is_sign_negative()) {
            serializer.serialize_i64(number as i64)
        } else {
            serializer.serialize_f64(number)
        }
    }
}

/// The changes of a short form; `None` if it is none.
#[must_use]
pub fn expanded(short: &Json) -> Option<Changes> {
    let metrics = short.as_object()?.iter();
    metrics.map(|(metric, spans)| Some((MetricName::new(metric.as_str()).ok()?, expanded_spans(spans)?))).collect()
}

fn expanded_spans(short: &Json) -> Option<BTreeMap<u16, GrowthChange>> {
    match short {
        Json::Array(changes) if changes.len() == SPANS_DAYS.len() => SPANS_DAYS
            .into_iter()
            .zip(changes)
            .map(|(span, change)| Some((span, expanded_change(span, change)?)))
            .collect(),
        Json::String(_) => SPANS_DAYS.into_iter().map(|span| Some((span, expanded_change(span, short)?))).collect(),
        Json::Object(_) => serde_json::from_value(short.clone()).ok(),
        _ => None,
    }
}

fn expanded_change(span: u16, short: &Json) -> Option<GrowthChange> {
    let missing = |reason| GrowthChange { reason: Some(reason), ..GrowthChange::default() };
    let from_start = GrowthChange { gap_days: Some(u32::from(span)), ..GrowthChange::default() };
    let days = |days: &Json| u32::try_from(days.as_u64()?).ok();
    Some(match short {
        Json::String(reason) if reason == "f" => missing(NoChange::First),
        Json::String(reason) if reason == "a" => missing(NoChange::Absent),
        Json::Object(_) => serde_json::from_value(short.clone()).ok()?,
        Json::Array(parts) => match parts.as_slice() {
            [Json::String(mark), by] if mark == "z" => {
                GrowthChange { absolute: Some(by.as_f64()?), reason: Some(NoChange::ZeroBase), ..from_start }
            }
            [Json::String(mark), gap] if mark == "g" => {
                GrowthChange { gap_days: Some(days(gap)?), ..missing(NoChange::Gap) }
            }
            [Json::String(mark), gap, daily] if mark == "g" => GrowthChange {
                gap_days: Some(days(gap)?),
                daily_percent: Some(daily.as_f64()?),
                ..missing(NoChange::Gap)
            },
            [Json::String(mark), gap] if mark == "b" => {
                GrowthChange { gap_days: Some(days(gap)?), ..missing(NoChange::Break) }
            }
            [by] => GrowthChange { absolute: Some(by.as_f64()?), ..from_start },
            [by, percent] => {
                GrowthChange { absolute: Some(by.as_f64()?), percent: Some(percent.as_f64()?), ..from_start }
            }
            _ => return None,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn change() -> impl Strategy<Value = GrowthChange> {
        let reason = prop_oneof![
            Just(NoChange::First),
            Just(NoChange::ZeroBase),
            Just(NoChange::Gap),
            Just(NoChange::Break),
            Just(NoChange::Absent),
            Just(NoChange::Late)
        ];
        // Two decimals, as growth has them, and whole numbers of any size.
        let by = || {
            let decimals = (-9_000_000..9_000_000_i64).prop_map(|hundredths| hundredths as f64 / 100.0);
            proptest::option::of(prop_oneof![decimals, any::<i32>().prop_map(f64::from), Just(-0.0), Just(9e15)])
        };
        let gap = proptest::option::of(prop_oneof![Just(1_u32), Just(7), Just(28), Just(90), any::<u32>()]);
        (by(), by(), gap, by(), proptest::option::of(reason)).prop_map(
            |(absolute, percent, gap_days, daily_percent, reason)| GrowthChange {
                absolute,
                percent,
                gap_days,
                daily_percent,
                reason,
            },
        )
    }

    proptest! {
        /// Whatever the changes are, their short form holds all of them.
        #[test]
        fn a_short_form_says_the_same(
            spans in proptest::collection::vec(change(), 4),
            days in prop_oneof![Just(SPANS_DAYS), Just([1, 7, 30, 90])],
        ) {
            let spans: BTreeMap<u16, GrowthChange> = days.into_iter().zip(spans).collect();
            let changes = Changes::from([(MetricName::new("followers").expect("a name"), spans)]);
            let text = shortened(&changes);
            let short: Json = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(expanded(&short), Some(changes), "{}", text);
        }
    }

    #[test]
    fn a_reason_is_named_as_it_is_stored() {
        use NoChange::{Absent, Break, First, Gap, Late, ZeroBase};

        for reason in [First, ZeroBase, Gap, Break, Absent, Late] {
            assert_eq!(json!(reason), json!(reason.as_str()));
        }
    }

    #[test]
    fn what_is_usual_is_short() {
        let of = |changes: [GrowthChange; 4]| {
            let spans: BTreeMap<u16, GrowthChange> = SPANS_DAYS.into_iter().zip(changes).collect();
            serde_json::to_string(&ShortSpans(&spans)).expect("JSON")
        };
        let absent = GrowthChange { reason: Some(NoChange::Absent), ..GrowthChange::default() };
        assert_eq!(of([absent; 4]), r#""a""#);
        let first = GrowthChange { reason: Some(NoChange::First), ..GrowthChange::default() };
        assert_eq!(of([first; 4]), r#""f""#);
        assert_eq!(of([absent, first, absent, absent]), r#"["a","f","a","a"]"#);
        let day =
            GrowthChange { absolute: Some(45.0), percent: Some(0.13), gap_days: Some(1), ..GrowthChange::default() };
        let from_zero = GrowthChange { percent: None, gap_days: Some(7), reason: Some(NoChange::ZeroBase), ..day };
        let gap = GrowthChange {
            gap_days: Some(1),
            daily_percent: Some(0.13),
            reason: Some(NoChange::Gap),
            ..GrowthChange::default()
        };
        assert_eq!(of([day, from_zero, gap, absent]), r#"[[45,0.13],["z",45],["g",1,0.13],"a"]"#);
    }
}
