//! Requests to the pipeline and its reports, free of command-line and HTTP types.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use backline_model::run::{Forecast, RunCounts};
use backline_model::{ArtistId, Digest, Platform, Run};

/// Which accounts to collect, and for which date.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// What started it: `manual`, or a schedule's name.
    pub trigger: String,
    /// The logical date; none means each artist's own date at the time the run was due.
    pub date: Option<NaiveDate>,
    /// When the run was due; none means now.
    pub due: Option<DateTime<Utc>>,
    /// Only these platforms; empty means all that have an active release.
    pub platforms: Vec<Platform>,
    /// Only these artists; empty means all.
    pub artists: Vec<ArtistId>,
}

/// What a run would do.
#[derive(Clone, Debug, Serialize)]
pub struct PlanReport {
    /// The logical date asked for.
    pub date: Option<NaiveDate>,
    /// Plans or results, one for each platform.
    pub platforms: Vec<PlatformPlan>,
    /// All platforms together; `duration_s` is the longest platform's, since platforms run side by side.
    pub total: Forecast,
}

/// What a run would do for one platform.
#[derive(Clone, Debug, Serialize)]
pub struct PlatformPlan {
    /// Name of the platform.
    pub platform: Platform,
    /// Digest of the active release.
    pub release: Digest,
    /// Version of the active release.
    pub version: String,
    /// Batches, accounts, requests, units and duration.
    pub forecast: Forecast,
    /// Days over which daily allowances spread it: what exceeds one waits for its reset. 1 if they suffice.
    pub days: u64,
    /// Exclusion → accounts.
    pub excluded: BTreeMap<String, u64>,
}

/// What a run came to, whichever hosts collected for it: all of it as of one moment.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The run as stored; its counts are the sums of those by platform.
    pub run: Run,
    /// Plans or results, one for each platform.
    pub platforms: Vec<PlatformReport>,
    /// What had not ended.
    pub open: Vec<OpenReport>,
    /// Wall-clock time, in seconds.
    pub seconds: f64,
}

/// What a run did for one platform.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PlatformReport {
    /// Name of the platform.
    pub platform: String,
    /// Accounts by outcome.
    #[serde(flatten)]
    pub counts: RunCounts,
    /// Requests that batches sent, retries and redirects included.
    pub requests: u64,
    /// Failure class → accounts.
    pub failures: BTreeMap<String, u64>,
}

/// Batches of a run that had not ended when it was reported, of one platform and for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenReport {
    /// Platform of their accounts.
    pub platform: Platform,
    /// Why they had not ended.
    pub reason: OpenReason,
    /// Number of batches.
    pub batches: u64,
    /// Accounts in them.
    pub accounts: u64,
    /// Name of the host that holds them, where one does.
    pub holder: Option<String>,
    /// When the first of them can be taken up by any host.
    pub available_at: DateTime<Utc>,
}

/// Why batches have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenReason {
    /// No host has taken them up.
    NotBegun,
    /// They wait for their next attempt.
    Retry,
    /// They wait for a budget.
    Budget,
    /// No release of their platform is active.
    NoConnector,
    /// A host is collecting them.
    Held,
    /// The host that holds them does not report any more.
    HolderSilent,
}

/// What happens while a run goes on.
#[derive(Clone, Debug)]
pub enum Progress {
    /// The plan is written; collecting begins.
    Planned {
        /// Accounts planned.
        accounts: u64,
        /// Batches planned.
        batches: u64,
    },
    /// This host has stored a batch.
    BatchDone {
        /// Name of the platform.
        platform: Platform,
        /// Its accounts by outcome.
        counts: RunCounts,
    },
    /// What the run has come to so far, batches of all hosts included.
    Counted {
        /// Accounts by outcome.
        counts: RunCounts,
    },
    /// Nothing is left to begin here; other hosts are at work on the rest.
    Waiting {
        /// Their names.
        holders: BTreeSet<String>,
    },
}
