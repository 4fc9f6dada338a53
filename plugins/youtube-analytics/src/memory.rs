//! Metrics that one channel is not asked for, because the platform refused them there.

use std::collections::BTreeMap;

use backline_sdk::prelude::*;

use crate::METRICS;

/// What stands for the countries among the names of metrics; no metric has this name.
pub(crate) const COUNTRIES: &str = "countries";

/// Seconds after which something that one channel refused is asked for again: the platform changes what it offers.
const FORGOTTEN_AFTER_SECONDS: i64 = 7 * 86_400;

/// When each metric was refused by one channel, in Unix seconds; kept as the account's state.
#[derive(Debug)]
pub(crate) struct Memory {
    now: i64,
    refused: BTreeMap<String, i64>,
}

impl Memory {
    /// Reads an account's state. What was refused a week ago or more is forgotten; a fetch of a past day counts from
    /// that day in both directions.
    pub(crate) fn new(account: &Account, now: i64) -> Self {
        let state = account.state_json().unwrap_or_default();
        let entries = state["refused"].as_object().into_iter().flatten();
        let refused = entries
            .filter_map(|(name, at)| Some((name.clone(), at.as_i64()?)))
            .filter(|(name, _)| name == COUNTRIES || METRICS.iter().any(|(_, known)| known == name))
            .filter(|(_, at)| now.saturating_sub(*at).saturating_abs() < FORGOTTEN_AFTER_SECONDS)
            .collect();
        Self { now, refused }
    }

    /// Whether the channel refused a metric.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.refused.contains_key(name)
    }

    /// Remembers that the channel refused a metric.
    pub(crate) fn refuse(&mut self, name: &str) {
        self.refused.insert(name.to_owned(), self.now);
    }

    /// The state to keep; `None` if nothing was refused.
    pub(crate) fn into_state(self) -> Option<Json> {
        (!self.refused.is_empty()).then(|| json!({ "refused": self.refused }))
    }
}
