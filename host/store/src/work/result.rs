//! The result of a batch, as it is handed to the transaction that completes it.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value as Json;

use crate::numbers::document_body::DocumentBody;
use backline_model::outcome::Outcome;
use backline_model::run::RunCounts;
use backline_model::{
    AccountId, AccountStatus, ArtistId, DocumentId, Event, GrowthRow, LostMetric, MetricsRow, Platform, Quarantined,
    RowEvent, Tally, Window,
};

/// The result of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchResult {
    /// How its accounts ended. Accounts of the batch that are not named stay in it, to be tried again.
    pub accounts: Vec<AccountResult>,
    /// Platform metrics that turned out to be lost.
    pub lost_metrics: Vec<LostMetric>,
    /// Lines the connector logged.
    pub logs: Vec<PluginLog>,
    /// What the batch used, such as requests and units of budgets.
    pub usage: Json,
    /// What it says for or against the release.
    pub tally: Tally,
    /// When accounts that are not named are tried again; none means at once.
    pub retry_at: Option<DateTime<Utc>>,
    /// Of those, the accounts that a pause of the platform keeps waiting: it uses up no attempt.
    pub waiting: BTreeSet<AccountId>,
    /// When these are tried again; none means at once.
    pub waiting_until: Option<DateTime<Utc>>,
    /// Accounts that got no turn, and are not named either. Each list goes on as a batch of its own, at once, and has
    /// used up no attempt.
    pub without_turn: Vec<Vec<AccountId>>,
}

/// How one account ended.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountResult {
    /// The account.
    pub account_id: AccountId,
    /// The artist of the account.
    pub artist_id: ArtistId,
    /// Platform of the account or release.
    pub platform: Platform,
    /// The date its numbers are for.
    pub metric_date: NaiveDate,
    /// How it ended. A deferred account stays in the batch until its time has come.
    pub outcome: Outcome,
    /// Attempts used up.
    pub attempts: u32,
    /// What was fetched, if anything was: kept also where no row could be made of it, since a fixed release may.
    pub document: Option<DocumentRecord>,
    /// What is to be stored, where it was collected.
    pub stored: Option<StoredAccount>,
    /// What the account's status becomes, where it changes.
    pub status: Option<AccountStatus>,
    /// Other events to write with it.
    pub events: Vec<Event>,
}

/// What is stored of one account.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAccount {
    /// The row, merged with the existing one of its date.
    pub row: MetricsRow,
    /// JSON text to hand back to the connector the next time; none clears it.
    pub state: Option<String>,
    /// Values that validation withheld.
    pub withheld: Vec<Quarantined>,
    /// Growth of the row's date, and of later dates it touches.
    pub growth: Vec<GrowthRow>,
    /// Events about the row.
    pub events: Vec<RowEvent>,
}

/// A document about to be stored, under the batch's run and release.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentRecord {
    /// Its id.
    pub id: DocumentId,
    /// JSON text, as fetched.
    pub body: DocumentBody,
    /// When it was fetched.
    pub observed_at: DateTime<Utc>,
    /// What its post-level metrics cover.
    pub window: Window,
}

/// A line a connector logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLog {
    /// The function of the connector that logged it, `fetch` or `normalize`; `host` for what the host says of it.
    pub call: String,
    /// Level, such as `info`.
    pub level: String,
    /// The line's text; secrets are already redacted.
    pub message: String,
}

/// Counts of a completed batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    /// Accounts by outcome; `planned` counts all that were named.
    pub counts: RunCounts,
    /// Accounts that stay in the batch, deferred or to be tried again; 0 when it is done.
    pub open: u64,
    /// What the transaction took.
    pub written: BatchWrite,
}

/// What the transaction of a batch took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchWrite {
    /// Time from its begin to the end of its commit: locks are held for at most as long.
    pub took: Duration,
    /// Rows that its statements read, inserted, changed or deleted.
    pub rows: u64,
    /// Size of its statements' parameters, in bytes.
    pub bytes: u64,
}
