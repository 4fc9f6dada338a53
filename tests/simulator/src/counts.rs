//! Counts requests by host and operation and quota units, and records the latest requests.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Counters since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All requests to platforms, including those that met a fault.
    pub requests: u64,
    /// Requests by host, such as `api.spotify.com`.
    pub hosts: BTreeMap<String, u64>,
    /// Requests by method and path template, such as `GET /v1/artists/{id}`.
    pub operations: BTreeMap<String, u64>,
    /// Responses by status; connection resets count as status 0.
    pub statuses: BTreeMap<u16, u64>,
    /// Quota units by allowance: `youtube`, `youtube-batch-get-stats`, `youtube-search`.
    pub quota_units: BTreeMap<String, u64>,
    /// How many faults were injected.
    pub faults: u64,
    /// Maximum number of requests in progress at one time.
    pub in_flight_max: u64,
}

impl Counts {
    /// Number of requests of an operation, given by method and path template.
    #[must_use]
    pub fn operation(&self, name: &str) -> u64 {
        self.operations.get(name).copied().unwrap_or(0)
    }

    /// Number of requests to a host.
    #[must_use]
    pub fn host(&self, name: &str) -> u64 {
        self.hosts.get(name).copied().unwrap_or(0)
    }

    /// Quota units spent of an allowance.
    #[must_use]
    pub fn units(&self, name: &str) -> u64 {
        self.quota_units.get(name).copied().unwrap_or(0)
    }
}

/// One request as it arrived, for tests that check what it contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRequest {
    /// Method, such as `GET`.
    pub method: String,
    /// Host from the `Host` header.
    pub host: String,
    /// Path and query as sent.
    pub target: String,
    /// Headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The complete body.
    pub body: Vec<u8>,
}

/// The counters and the latest requests, which share one lock.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    pub counts: Counts,
    pub in_flight: u64,
    pub seen: VecDeque<SeenRequest>,
}

impl Tallies {
    pub(crate) fn arrived(&mut self, host: &str, operation: String) {
        self.counts.requests += 1;
        add(&mut self.counts.hosts, host, 1);
        *self.counts.operations.entry(operation).or_default() += 1;
        self.in_flight += 1;
        self.counts.in_flight_max = self.counts.in_flight_max.max(self.in_flight);
    }

    pub(crate) fn answered(&mut self, status: u16) {
        self.in_flight = self.in_flight.saturating_sub(1);
        *self.counts.statuses.entry(status).or_default() += 1;
    }

    pub(crate) fn spend(&mut self, allowance: &str, units: u64) {
        add(&mut self.counts.quota_units, allowance, units);
    }

    pub(crate) fn remember(&mut self, request: SeenRequest, most: usize) {
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
