//! What was asked of the simulator: requests by host and operation, quota units, and the latest requests themselves.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Counters since the start, or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Every request to a platform, those that met a fault included.
    pub requests: u64,
    /// By host, such as `api.spotify.com`.
    pub hosts: BTreeMap<String, u64>,
    /// By method and path template, such as `GET /v1/artists/{id}`.
    pub operations: BTreeMap<String, u64>,
    /// By status of the answer; resets count as 0.
    pub statuses: BTreeMap<u16, u64>,
    /// Units by allowance: `youtube`, `youtube-batch-get-stats`, `youtube-search`.
    pub quota_units: BTreeMap<String, u64>,
    /// Faults that were injected.
    pub faults: u64,
    /// Most requests that were being answered at one time.
    pub in_flight_max: u64,
}

impl Counts {
    /// Requests of an operation, 0 if there was none.
    #[must_use]
    pub fn operation(&self, name: &str) -> u64 {
        self.operations.get(name).copied().unwrap_or(0)
    }

    /// Requests to a host, 0 if there was none.
    #[must_use]
    pub fn host(&self, name: &str) -> u64 {
        self.hosts.get(name).copied().unwrap_or(0)
    }

    /// Units spent of an allowance.
    #[must_use]
    pub fn units(&self, name: &str) -> u64 {
        self.quota_units.get(name).copied().unwrap_or(0)
    }
}

/// One request as it arrived, for tests that look for what must, or must not, be in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRequest {
    /// `GET`
    pub method: String,
    /// From the `Host` header.
    pub host: String,
    /// Path and query as sent.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Counters and the latest requests, together behind one lock.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub counts: Counts,
    pub in_flight: u64,
    pub seen: VecDeque<SeenRequest>,
}

impl Ledger {
    pub fn arrived(&mut self, host: &str, operation: String) {
        self.counts.requests += 1;
        add(&mut self.counts.hosts, host, 1);
        *self.counts.operations.entry(operation).or_default() += 1;
        self.in_flight += 1;
        self.counts.in_flight_max = self.counts.in_flight_max.max(self.in_flight);
    }

    pub fn answered(&mut self, status: u16) {
        self.in_flight = self.in_flight.saturating_sub(1);
        *self.counts.statuses.entry(status).or_default() += 1;
    }

    pub fn spend(&mut self, allowance: &str, units: u64) {
        add(&mut self.counts.quota_units, allowance, units);
    }

    pub fn remember(&mut self, request: SeenRequest, most: usize) {
        if most == 0 {
            return;
        }
        if self.seen.len() >= most {
            self.seen.pop_front();
        }
        self.seen.push_back(request);
    }
}

fn add(map: &mut BTreeMap<String, u64>, key: &str, amount: u64) {
    if let Some(count) = map.get_mut(key) {
        *count += amount;
    } else {
        map.insert(key.to_owned(), amount);
    }
}
