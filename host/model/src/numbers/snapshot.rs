//! What a connector's `normalize` returns for one account, converted from the WIT types by the sandbox.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::metric::{Absence, MetricName, Value};

/// The trailing window that post-level metrics cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Start of the window, inclusive.
    pub since: DateTime<Utc>,
    /// End of the window, exclusive.
    pub until: DateTime<Utc>,
}

/// How many of the posts that an aggregate should cover it does cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Posts that carried the number and were counted.
    pub counted: u32,
    /// Posts inside the window without it.
    pub skipped: u32,
}

/// What interactions are divided by. Rates with different bases are never compared.
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
    /// Followers, or the views or reach of exactly the posts that were counted.
    pub base: Option<i64>,
    /// What `base` counts.
    pub basis: EngagementBasis,
    /// Number of posts that were counted.
    pub posts_counted: u32,
    /// Posts inside the window that lacked a count.
    pub posts_skipped: u32,
}

/// One metric as the connector reported it, before any check.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// Name as sent: it may be missing from the catalogue, or not a valid name.
    pub name: String,
    /// The value, or why there is none.
    pub value: Result<Value, Absence>,
    /// How many posts an aggregate covers; `None` for other metrics.
    pub coverage: Option<Coverage>,
}

/// The normalised metrics of one account at one time, as the connector reported them.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Reported metrics, in the connector's order.
    pub metrics: Vec<Reported>,
    /// Counted interactions; `None` if the connector could not count them.
    pub engagement: Option<Engagement>,
    /// Notes for people who trace a number.
    pub notes: Vec<String>,
}

/// A snapshot converted into the metrics that Backline stores: names checked against the catalogue, engagement rate
/// computed, every catalogue metric present as a value or as an absence. Validation has not run yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Conformed {
    /// Every metric of the catalogue and `engagement_rate`.
    pub values: std::collections::BTreeMap<MetricName, Result<Value, Absence>>,
    /// How many posts each aggregate covers.
    pub coverage: std::collections::BTreeMap<MetricName, Coverage>,
    /// Interactions as the connector counted them.
    pub engagement: Option<Engagement>,
    /// Notes for people who trace a number.
    pub notes: Vec<String>,
    /// Reported metrics that match no catalogue entry or kind. Validation makes them findings.
    pub misfits: Vec<Reported>,
}
