//! What a connector's `fetch` takes and gives under the contract 1.1.0: the same as under 1.0.0. The names of accounts
//! and the past dates, which are new, are added around it.

use crate::{FetchError, Fetched, LostMetric, Window};

/// What every account of a batch has in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// The window that post-level metrics cover.
    pub window: Window,
    /// Names reported as lost before: do not ask for them again.
    pub lost_metrics: Vec<String>,
}

/// What a connector fetched for a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchResult {
    /// One result for each account, in the order of the accounts.
    pub accounts: Vec<Result<Fetched, FetchError>>,
    /// Metrics that the platform refuses by name.
    pub lost_metrics: Vec<LostMetric>,
}
