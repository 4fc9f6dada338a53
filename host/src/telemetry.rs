//! What the service counts and measures, for whoever watches it.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::Platform;
use crate::domain::run::RunCounts;

/// How a batch ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchEnd {
    /// Its results were stored.
    Stored,
    /// It was given back, to be tried again.
    GivenBack,
    /// Somebody else had taken it over.
    LeaseLost,
}

/// Every figure, shared by cloning.
#[derive(Clone, Default)]
pub struct Telemetry {
    _figures: Arc<()>,
}

impl Telemetry {
    /// A batch came to its end after so long.
    pub fn batch_ended(&self, platform: &Platform, end: BatchEnd, took: Duration) {
        let _ = (platform, end, took);
    }

    /// Accounts ended, and so many requests were sent for them.
    pub fn accounts_ended(&self, platform: &Platform, counts: &RunCounts, requests: u64) {
        let _ = (platform, counts, requests);
    }

    /// How many batches are under way, and how many may be.
    pub fn concurrency(&self, platform: &Platform, under_way: usize, limit: usize) {
        let _ = (platform, under_way, limit);
    }

    /// Whether this host is the scheduler.
    pub fn leads(&self, leads: bool) {
        let _ = leads;
    }

    /// A credential was refreshed, or could not be.
    pub fn token_refreshed(&self, platform: &Platform, succeeded: bool) {
        let _ = (platform, succeeded);
    }
}
