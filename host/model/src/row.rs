//! The row of `metrics`, and what validation has to say about it.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ids::{AccountId, ArtistId, Digest, DocumentId, Platform, RunId};
use super::metric::{Absence, MetricName, Value};
use super::snapshot::{Coverage, Engagement, Window};

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Recorded; changes nothing.
    Note,
    /// Lowers the quality score.
    Warning,
    /// Withholds the metric.
    Error,
}

/// One validation rule that fired on a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's id, such as `followers-jump`.
    pub rule: String,
    /// How serious.
    pub severity: Severity,
    /// Which metric, where it is about one.
    pub metric: Option<String>,
    /// What was seen, with the numbers.
    pub message: String,
    /// What to do about it.
    pub suggestion: String,
}

/// A value that an error withheld, kept for an operator to release or discard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its own id.
    pub id: Uuid,
    /// Whose number.
    pub account_id: AccountId,
    /// Whose artist.
    pub artist_id: ArtistId,
    /// Where.
    pub platform: Platform,
    /// For which date.
    pub metric_date: NaiveDate,
    /// As the connector named it.
    pub metric: String,
    /// As the connector sent it.
    pub value: Value,
    /// Which rule withheld it.
    pub rule: String,
    /// Which release produced it.
    pub release: Digest,
    /// From which document.
    pub document_id: DocumentId,
    /// Where it stands.
    pub status: QuarantineStatus,
    /// When it was withheld.
    pub created_at: DateTime<Utc>,
}

/// Where a withheld value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuarantineStatus {
    /// Waiting for an operator.
    Held,
    /// An operator accepted it; it is in `metrics` now.
    Released,
    /// An operator dismissed it.
    Discarded,
}

impl QuarantineStatus {
    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Released => "released",
            Self::Discarded => "discarded",
        }
    }
}

/// One account's accepted metrics for one logical date. A metric is in `values` or in `absent`, never in both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsRow {
    /// Whose numbers.
    pub account_id: AccountId,
    /// Whose artist.
    pub artist_id: ArtistId,
    /// Where.
    pub platform: Platform,
    /// The run's logical date in the artist's time zone.
    pub metric_date: NaiveDate,
    /// Accepted values.
    pub values: BTreeMap<MetricName, Value>,
    /// Why the others are missing.
    pub absent: BTreeMap<MetricName, Absence>,
    /// Aggregates' coverage.
    pub coverage: BTreeMap<MetricName, Coverage>,
    /// When a value was observed, where that is not `observed_at` (an earlier run's value that the latest run lacked).
    pub observed: BTreeMap<MetricName, DateTime<Utc>>,
    /// As counted; carries the basis of `engagement_rate`.
    pub engagement: Option<Engagement>,
    /// What the aggregates cover.
    pub window: Window,
    /// 0 to 1, two decimals.
    pub quality_score: f64,
    /// Rules that fired.
    pub findings: Vec<Finding>,
    /// The connector's notes.
    pub notes: Vec<String>,
    /// How the numbers were obtained: `api`.
    pub collection_source: String,
    /// When the latest observation was made.
    pub observed_at: DateTime<Utc>,
    /// Which release produced the latest observation.
    pub release: Digest,
    /// The contract version that release speaks, such as `1.0.0`.
    pub wit_version: String,
    /// In which run.
    pub run_id: RunId,
    /// From which document.
    pub document_id: DocumentId,
}

impl MetricsRow {
    /// When a metric's accepted value was observed.
    #[must_use]
    pub fn observed_at(&self, metric: &MetricName) -> DateTime<Utc> {
        self.observed.get(metric).copied().unwrap_or(self.observed_at)
    }
}
