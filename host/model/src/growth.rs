//! Growth: the change of a metric over 1, 7, 28 and 90 days.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::ids::{AccountId, ArtistId, Platform};
use super::metric::MetricName;

/// Spans that growth is computed for, in days.
pub const SPANS_DAYS: [u16; 4] = [1, 7, 28, 90];

/// Why a change has no percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// One metric's change over one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
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
    pub changes: BTreeMap<MetricName, BTreeMap<u16, Change>>,
}
