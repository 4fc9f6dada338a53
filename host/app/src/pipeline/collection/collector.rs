//! What one batch is collected with, and what is reported of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

use crate::config::Config;
use crate::pipeline::clocks::Clocks;
use crate::pipeline::collection::dispatch::Signal;
use crate::pipeline::collection::held::HeldBytes;
use crate::pipeline::credentials::manager::CredentialManager;
use crate::pipeline::releases::cache::ReleaseCache;
use crate::telemetry::{BatchEnd, Telemetry};
use backline_gateway::Gateway;
use backline_model::clock::Clock;
use backline_model::run::RunCounts;
use backline_model::{AccountId, Lease};
use backline_store::Store;

/// What a [`Collector`] is made of.
pub(in crate::pipeline) struct CollectorParts {
    /// The host's name, in leases.
    pub(in crate::pipeline) name: Arc<str>,
    pub(in crate::pipeline) config: Arc<Config>,
    pub(in crate::pipeline) telemetry: Telemetry,
    pub(in crate::pipeline) clock: Clock,
    pub(in crate::pipeline) clocks: Clocks,
    pub(in crate::pipeline) store: Store,
    pub(in crate::pipeline) gateway: Gateway,
    pub(in crate::pipeline) cache: ReleaseCache,
    pub(in crate::pipeline) credentials: CredentialManager,
}

/// Collects batches: everything that one batch needs, from its lease to storage. Cloning shares it.
#[derive(Clone)]
pub(in crate::pipeline) struct Collector {
    /// The host's name, in leases.
    pub(super) name: Arc<str>,
    pub(super) config: Arc<Config>,
    pub(super) telemetry: Telemetry,
    pub(super) clock: Clock,
    pub(super) clocks: Clocks,
    pub(super) store: Store,
    pub(super) gateway: Gateway,
    pub(super) cache: ReleaseCache,
    pub(super) credentials: CredentialManager,
    /// What batches hold before they are stored.
    pub(super) held: HeldBytes,
}

impl Collector {
    /// A collector, in the place of the one of another configuration: their batches count together against the bound of
    /// what is held, unless it was changed.
    pub(in crate::pipeline) fn new(parts: CollectorParts, before: Option<&Self>) -> Self {
        let CollectorParts { name, config, telemetry, clock, clocks, store, gateway, cache, credentials } = parts;
        let bytes_max = config.collection.held_bytes_max;
        let held = before
            .filter(|before| before.config.collection.held_bytes_max == bytes_max)
            .map_or_else(|| HeldBytes::new(bytes_max), |before| before.held.clone());
        Self { name, config, telemetry, clock, clocks, store, gateway, cache, credentials, held }
    }
}

/// The result of one batch.
#[derive(Clone, Copy, Debug)]
pub(in crate::pipeline) struct BatchReport {
    /// How the batch ended.
    pub end: BatchEnd,
    /// Accounts by outcome. Those that will be retried are not counted.
    pub counts: RunCounts,
    /// Accounts that are still open: deferred, or to be retried.
    pub open: u64,
    /// Requests sent.
    pub requests: u64,
    /// Responses that said the host sends too fast (HTTP 429).
    pub throttled: u64,
    /// Requests that timed out, and calls that passed their deadline.
    pub timed_out: u64,
}

impl BatchReport {
    /// A batch without results.
    pub(in crate::pipeline) fn nothing(end: BatchEnd) -> Self {
        Self { end, counts: RunCounts::default(), open: 0, requests: 0, throttled: 0, timed_out: 0 }
    }

    /// What the batch says about the load that its platform takes.
    pub(in crate::pipeline) fn signal(&self) -> Signal {
        if self.throttled + self.timed_out > 0 {
            Signal::Pressed
        } else if self.requests > 0 && self.end == BatchEnd::Stored {
            Signal::Good
        } else {
            Signal::Silent
        }
    }
}

/// When a batch that is given back may be leased again: after a wait. Where the clock is wrong, when the lease would
/// have expired, which was taken by a clock that was right.
pub(super) fn turn_of(collector: &Collector, lease: &Lease, wait: Duration) -> DateTime<Utc> {
    collector.clocks.right_now().map_or(lease.expires_at, |now| now + wait)
}

/// The date of each account of a batch.
pub(super) fn dates_of(lease: &Lease) -> BTreeMap<AccountId, NaiveDate> {
    lease.batch.accounts.iter().map(|account| (account.account_id, account.metric_date)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_platform_said_speaks_for_or_against_it() {
        let stored = BatchReport { requests: 3, ..BatchReport::nothing(BatchEnd::Stored) };
        assert_eq!(stored.signal(), Signal::Good);
        assert_eq!(BatchReport { throttled: 1, ..stored }.signal(), Signal::Pressed);
        assert_eq!(BatchReport { timed_out: 1, ..stored }.signal(), Signal::Pressed);
        assert_eq!(BatchReport { requests: 0, ..stored }.signal(), Signal::Silent, "nothing was asked of it");
        assert_eq!(BatchReport { end: BatchEnd::GivenBack, ..stored }.signal(), Signal::Silent);
    }
}
