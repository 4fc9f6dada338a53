//! How a metric moved over 1, 7, 28 and 90 days.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::ids::{AccountId, ArtistId, Platform};
use super::metric::MetricName;

/// The spans growth is computed for, in days.
pub const SPANS_DAYS: [u16; 4] = [1, 7, 28, 90];

/// Why a change has no percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoChange {
    /// There is no earlier accepted value at all.
    First,
    /// The earlier value is 0.
    ZeroBase,
    /// The day the span starts from has no accepted value.
    Gap,
    /// The platform changed the metric's definition in between.
    Break,
    /// The metric has no accepted value on this date.
    Absent,
}

/// One metric's movement over one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Value minus base, in the metric's unit; percentage points for ratios.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub absolute: Option<f64>,
    /// Percent of the base, two decimals; none for ratios, whose movement is in points.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub percent: Option<f64>,
    /// Days between this date and the value it is measured from: the one on the span's start, or, where that is missing, the latest
    /// accepted one before this date.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gap_days: Option<u32>,
    /// Percent a day over `gap_days`, two decimals; given where the span's own base is missing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub daily_percent: Option<f64>,
    /// Set where `percent` (or, for ratios, `absolute`) is missing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<NoChange>,
}

/// All changes of one account on one date.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrowthRow {
    /// Whose numbers.
    pub account_id: AccountId,
    /// Whose artist.
    pub artist_id: ArtistId,
    /// Where.
    pub platform: Platform,
    /// The date the changes end on.
    pub metric_date: NaiveDate,
    /// Metric → span in days → change.
    pub changes: BTreeMap<MetricName, BTreeMap<u16, Change>>,
}
