//! What batches say for or against the release that collected them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::metric::MetricName;
use super::outcome::FailureClass;

/// What one batch, or many of them, say about a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Accounts that ended in a way a release can be praised or blamed for.
    pub accounts: u64,
    /// Of these, the ones that were collected.
    pub collected: u64,
    /// Of these, the ones that failed, by class.
    pub failed: BTreeMap<FailureClass, u64>,
    /// Accepted values by metric.
    pub metrics: BTreeMap<MetricName, u64>,
    /// Values that were reported.
    pub values: u64,
    /// Of these, the ones that validation withheld.
    pub rejected: u64,
}

impl Tally {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts == 0
    }
}
