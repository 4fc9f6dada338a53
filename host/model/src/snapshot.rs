//! What a connector's `normalize` returns for one account, converted from the WIT types at the sandbox's edge.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::metric::{Absence, MetricName, Value};

/// The trailing window that post-level metrics cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Inclusive.
    pub since: DateTime<Utc>,
    /// Exclusive.
    pub until: DateTime<Utc>,
}

/// How much of what an aggregate should cover it really covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Posts that carried the number and were counted.
    pub counted: u32,
    /// Posts inside the window that did not carry it.
    pub skipped: u32,
}

/// What interactions are divided by. Rates of different bases are never compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngagementBasis {
    /// Interactions per post and follower.
    Followers,
    /// Interactions per view.
    Views,
    /// Interactions per account reached.
    Reach,
}

/// What the connector counted; the host divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engagement {
    /// Likes, comments, shares and saves of the posts counted.
    pub interactions: i64,
    /// Followers, or the views or reach of the very posts counted.
    pub base: Option<i64>,
    /// What `base` is.
    pub basis: EngagementBasis,
    /// Posts counted.
    pub posts_counted: u32,
    /// Posts inside the window that lacked a count.
    pub posts_skipped: u32,
}

/// One metric as the connector reported it; nothing has been checked yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// As sent: possibly not in the catalogue, possibly no valid name at all.
    pub name: String,
    /// The value, or why there is none.
    pub value: Result<Value, Absence>,
    /// Set for aggregates over posts.
    pub coverage: Option<Coverage>,
}

/// The normalised metrics of one account at one time, as the connector reported them.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// In the connector's order.
    pub metrics: Vec<Reported>,
    /// Set where the connector could count interactions.
    pub engagement: Option<Engagement>,
    /// For whoever traces the numbers.
    pub notes: Vec<String>,
}

/// A snapshot turned into the metrics Backline stores: names checked against the catalogue, engagement rate computed,
/// every catalogue metric present as a value or as an absence. Validation has not run yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalised {
    /// Every metric of the catalogue, plus `engagement_rate`.
    pub values: std::collections::BTreeMap<MetricName, Result<Value, Absence>>,
    /// Aggregates' coverage.
    pub coverage: std::collections::BTreeMap<MetricName, Coverage>,
    /// As counted.
    pub engagement: Option<Engagement>,
    /// For whoever traces the numbers.
    pub notes: Vec<String>,
    /// Reported metrics that no catalogue entry or kind fits: validation turns them into findings.
    pub misfits: Vec<Reported>,
}
