//! Runs, batches and leases.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{AccountId, BatchId, Digest, Platform, RunId, Tenant};
use super::snapshot::Window;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Batches are open.
    Running,
    /// Every planned account was collected.
    Success,
    /// Some failed, some did not. The seed's name for it.
    PartialFailure,
    /// Nothing was collected although something was planned.
    Failed,
    /// Everything left is waiting for an allowance.
    Deferred,
}

impl RunStatus {
    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Success => "success",
            Self::PartialFailure => "partial_failure",
            Self::Failed => "failed",
            Self::Deferred => "deferred",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Success, Self::PartialFailure, Self::Failed, Self::Deferred]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// One collection for one logical date.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// What started it: `manual`, or a schedule's name.
    pub trigger: String,
    /// The logical date asked for; none means each artist's own today.
    pub date: Option<NaiveDate>,
    /// Where it stands.
    pub status: RunStatus,
    /// When it was planned.
    pub started_at: DateTime<Utc>,
    /// When its last batch ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Accounts by outcome.
    pub counts: RunCounts,
}

/// Accounts of a run by outcome. `planned = collected + deferred + failed` once it has finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCounts {
    /// Accounts put into batches.
    pub planned: u64,
    /// Stored.
    pub collected: u64,
    /// Waiting for an allowance.
    pub deferred: u64,
    /// Not to be collected; not part of `planned`.
    pub excluded: u64,
    /// Failed.
    pub failed: u64,
}

impl RunCounts {
    /// The status these counts amount to once no batch is open.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        if self.failed == 0 && self.deferred == 0 {
            RunStatus::Success
        } else if self.failed == 0 {
            RunStatus::Deferred
        } else if self.collected == 0 && self.deferred == 0 {
            RunStatus::Failed
        } else {
            RunStatus::PartialFailure
        }
    }
}

/// One account of a batch, with the date its numbers will belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BatchAccount {
    /// Which account.
    pub account_id: AccountId,
    /// The logical date in the artist's time zone.
    pub metric_date: NaiveDate,
}

/// The unit of work and of lease: one release, up to N accounts of one tenant, one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// Its run.
    pub run_id: RunId,
    /// Whose accounts.
    pub tenant: Tenant,
    /// Where.
    pub platform: Platform,
    /// Which release collects it: decided with each lease, and fixed until the lease ends. Before the first it is the one that was active
    /// at planning.
    pub release: Digest,
    /// Whether its accounts are a canary's share; they are collected with the canary as long as there is one.
    pub canary: bool,
    /// What post-level metrics cover.
    pub window: Window,
    /// In the order they are handed to the connector.
    pub accounts: Vec<BatchAccount>,
    /// Attempts used up so far; deferral uses none.
    pub attempts: u32,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// It waits for a worker, perhaps until a moment has passed.
    Planned,
    /// In a worker's hands.
    Leased,
    /// It waits for an allowance.
    Deferred,
    /// All its accounts have ended.
    Done,
    /// Accounts of it failed with the last attempt, and might do well if they were tried again: those are still in it.
    Dead,
}

impl BatchState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Planned, Self::Leased, Self::Deferred, Self::Done, Self::Dead];

    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Leased => "leased",
            Self::Deferred => "deferred",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A batch in a worker's hands. Every write of its results checks `token`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// What was leased.
    pub batch: Batch,
    /// The fencing token: it grows with every lease of the batch.
    pub token: i64,
    /// When others may take the batch up.
    pub expires_at: DateTime<Utc>,
}

/// What a run will do, printed before it does anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Batches.
    pub batches: u64,
    /// Accounts in them.
    pub accounts: u64,
    /// Requests at the least: the batch floor by the manifest's own estimate.
    pub requests: u64,
    /// Budget name → units it will spend.
    pub units: BTreeMap<String, u64>,
    /// Estimated wall-clock time, in seconds.
    pub duration_s: f64,
}
