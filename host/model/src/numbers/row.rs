//! The row of `metrics`, and the findings of validation about it.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{AccountId, ArtistId, Digest, DocumentId, Platform, RunId};
use crate::metric::{Absence, MetricName, Value};
use crate::snapshot::{Coverage, Engagement, Window};

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Recorded only.
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
    /// Effect of the finding.
    pub severity: Severity,
    /// Metric that the finding is about; `None` if it is about the whole row.
    pub metric: Option<String>,
    /// What was seen, with the numbers.
    pub message: String,
    /// What to do about it.
    pub suggestion: String,
}

/// A value that an error withheld, stored until an operator releases or discards it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Id of the entry.
    pub id: Uuid,
    /// Account that the value belongs to.
    pub account_id: AccountId,
    /// Artist that the account belongs to.
    pub artist_id: ArtistId,
    /// Platform of the account.
    pub platform: Platform,
    /// Logical date of the value.
    pub metric_date: NaiveDate,
    /// Name of the metric, as the connector reported it.
    pub metric: String,
    /// The value, as the connector reported it.
    pub value: Value,
    /// Id of the rule that withheld it.
    pub rule: String,
    /// Digest of the release that produced it.
    pub release: Digest,
    /// Document that it was read from.
    pub document_id: DocumentId,
    /// Whether an operator has decided about it.
    pub status: QuarantineStatus,
    /// When it was withheld.
    pub created_at: DateTime<Utc>,
}

/// State of a withheld value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuarantineStatus {
    /// Waiting for an operator.
    Held,
    /// An operator accepted it; it is in `metrics` now.
    Released,
    /// An operator discarded it.
    Discarded,
}

impl QuarantineStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Held, Self::Released, Self::Discarded];

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

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
    /// Account that the numbers belong to.
    pub account_id: AccountId,
    /// Artist that the account belongs to.
    pub artist_id: ArtistId,
    /// Platform of the account.
    pub platform: Platform,
    /// The run's logical date in the artist's time zone.
    pub metric_date: NaiveDate,
    /// Accepted values by metric.
    pub values: BTreeMap<MetricName, Value>,
    /// Reasons why the other metrics are missing.
    pub absent: BTreeMap<MetricName, Absence>,
    /// How many posts each aggregate covers.
    pub coverage: BTreeMap<MetricName, Coverage>,
    /// Observation times that differ from `observed_at`: values of an earlier run that the latest run lacked.
    pub observed: BTreeMap<MetricName, DateTime<Utc>>,
    /// Counted interactions, with the basis of `engagement_rate`.
    pub engagement: Option<Engagement>,
    /// Window that the aggregates cover.
    pub window: Window,
    /// Quality score from 0 to 1, with two decimals.
    pub quality_score: f64,
    /// Findings of validation.
    pub findings: Vec<Finding>,
    /// The connector's notes.
    pub notes: Vec<String>,
    /// How the numbers were obtained; `api` at present.
    pub collection_source: String,
    /// When the latest observation was made.
    pub observed_at: DateTime<Utc>,
    /// Digest of the release that produced the latest observation.
    pub release: Digest,
    /// The contract version that release speaks, such as `1.0.0`.
    pub wit_version: String,
    /// Run of the latest observation.
    pub run_id: RunId,
    /// Document of the latest observation.
    pub document_id: DocumentId,
}

impl MetricsRow {
    /// When a metric's accepted value was observed.
    #[must_use]
    pub fn observed_at(&self, metric: &MetricName) -> DateTime<Utc> {
        self.observed.get(metric).copied().unwrap_or(self.observed_at)
    }
}
