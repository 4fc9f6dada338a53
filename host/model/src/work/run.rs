//! Runs, batches and leases.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, BatchId, Digest, Platform, RunId, Tenant};
use crate::snapshot::Window;

/// State of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Some batches are open.
    Running,
    /// Every planned account was collected.
    Success,
    /// Some accounts failed or were superseded, and not all failed.
    PartialFailure,
    /// Every planned account failed.
    Failed,
    /// Everything that is left waits for a budget to reset.
    Deferred,
    /// The operator ended it before all of it was collected.
    Cancelled,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Success, Self::PartialFailure, Self::Failed, Self::Deferred, Self::Cancelled];

    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Success => "success",
            Self::PartialFailure => "partial_failure",
            Self::Failed => "failed",
            Self::Deferred => "deferred",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// What the runs of a backfill are started by, and the kind of the triggers that begin with [`BACKFILL_SINCE`].
pub const BACKFILL: &str = "backfill";

/// What the runs of a backfill are started by whose batches may fetch several dates at once, before the earliest date
/// that it collects.
pub const BACKFILL_SINCE: &str = "backfill since ";

/// How triggers of a kind begin that say more than their kind, such as [`BACKFILL_SINCE`] and a date; none where each
/// trigger of the kind is its name.
#[must_use]
pub fn trigger_beginning(kind: &str) -> Option<&'static str> {
    (kind == BACKFILL).then_some(BACKFILL_SINCE)
}

/// One collection for one logical date.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Id of the run.
    pub id: RunId,
    /// What started it: `manual`, `activation`, the name of a schedule, [`BACKFILL`], or [`BACKFILL_SINCE`] and a date.
    pub trigger: String,
    /// Logical date that was asked for; `None` means each artist's own current date.
    pub date: Option<NaiveDate>,
    /// State of the run.
    pub status: RunStatus,
    /// When it was planned.
    pub started_at: DateTime<Utc>,
    /// When its last batch ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Accounts by outcome.
    pub counts: RunCounts,
}

impl Run {
    /// The earliest date of the backfill that the run belongs to, if its batches may fetch older dates of it besides.
    #[must_use]
    pub fn backfills_since(&self) -> Option<NaiveDate> {
        self.trigger.strip_prefix(BACKFILL_SINCE)?.parse().ok()
    }
}

/// Accounts of a run by outcome. Once it has finished, `planned = collected + deferred + superseded + failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCounts {
    /// Accounts put into batches.
    pub planned: u64,
    /// Accounts whose metrics were stored.
    pub collected: u64,
    /// Accounts that wait for a budget, or for a pause that their platform asked for.
    pub deferred: u64,
    /// Accounts that were left out of the plan, or of what was left of it when the run was cancelled; not part of
    /// `planned`.
    pub excluded: u64,
    /// Accounts that could not be collected.
    pub failed: u64,
    /// Accounts whose numbers would have been of another date: not collected, and no failure.
    #[serde(default)]
    pub superseded: u64,
}

impl RunCounts {
    /// Accounts of the plan that have an outcome.
    #[must_use]
    pub fn with_outcome(&self) -> u64 {
        self.collected + self.deferred + self.superseded + self.failed
    }

    /// The status that follows from these counts once no batch is open.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        if self.failed == 0 && self.deferred == 0 && self.superseded == 0 {
            RunStatus::Success
        } else if self.failed == 0 && self.superseded == 0 {
            RunStatus::Deferred
        } else if self.collected == 0 && self.deferred == 0 && self.superseded == 0 {
            RunStatus::Failed
        } else {
            RunStatus::PartialFailure
        }
    }
}

/// One account of a batch, with the date that its numbers will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BatchAccount {
    /// Backline's id of the account.
    pub account_id: AccountId,
    /// The logical date in the artist's time zone.
    pub metric_date: NaiveDate,
}

/// The unit of work and of lease: one release, up to N accounts of one tenant, one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Id of the batch.
    pub id: BatchId,
    /// Run that it belongs to.
    pub run_id: RunId,
    /// Tenant that all its accounts belong to.
    pub tenant: Tenant,
    /// Platform of all its accounts.
    pub platform: Platform,
    /// Release that collects it. Each lease decides it, and it stays the same until the lease ends. Before the first
    /// lease it is the release that was active at planning.
    pub release: Digest,
    /// Whether its accounts are a canary's share. They are collected with the canary as long as there is one.
    pub canary: bool,
    /// Window that post-level metrics cover.
    pub window: Window,
    /// Accounts in the order in which they are passed to the connector.
    pub accounts: Vec<BatchAccount>,
    /// Attempts used so far; a deferral uses none.
    pub attempts: u32,
}

/// State of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// It waits for a worker, possibly until a given time.
    Planned,
    /// A worker has leased it.
    Leased,
    /// It waits for a budget to reset.
    Deferred,
    /// All its accounts have an outcome.
    Done,
    /// Its attempts are used up. It still holds the accounts that failed with the last attempt and that a retry could
    /// collect.
    Dead,
}

impl BatchState {
    /// Every state.
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

/// A batch that a worker has leased. Every write of its results checks `token`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The leased batch.
    pub batch: Batch,
    /// Hosts that ended while they held the batch. After the first, it is collected with nothing else beside it, so
    /// that all further ones ended because of it.
    pub host_losses: u32,
    /// Fencing token: it grows with every lease of the batch.
    pub token: i64,
    /// When other workers may lease the batch.
    pub expires_at: DateTime<Utc>,
}

/// What a run will do, printed before it starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Number of batches.
    pub batches: u64,
    /// Number of accounts in them.
    pub accounts: u64,
    /// Smallest number of requests, by the manifest's own estimate for full batches.
    pub requests: u64,
    /// Units that it will spend, by budget name.
    pub units: BTreeMap<String, u64>,
    /// Estimated wall-clock time, in seconds.
    pub duration_s: f64,
}
