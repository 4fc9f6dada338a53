//! Requests to the pipeline and its reports, free of command-line and HTTP types.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use backline_model::manifest::BudgetWindow;
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
    /// What may be spent, in the order of the manifest.
    pub allowances: Vec<AllowanceReport>,
    /// Until when the platform, or credentials of it, pause because it asked for that.
    pub paused_until: Option<DateTime<Utc>>,
}

/// One budget of a platform, and what is left of it now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllowanceReport {
    /// Name of the budget in the manifest.
    pub budget: String,
    /// Whose units it counts.
    pub of: AllowanceOf,
    /// Units of a window: what the operator has granted, or else what the manifest says.
    pub limit: u64,
    /// When they come back.
    pub window: BudgetWindow,
    /// Units that this plan spends, at least.
    pub needed: u64,
    /// Units left in the window that is running. None where there are several holders, no credential yet, or a window
    /// that rolls: its units are spaced instead.
    pub left: Option<u64>,
    /// When all units are there again; of a window that rolls, when the next one is, if that is not now.
    pub back_at: Option<DateTime<Utc>>,
}

/// Whose units a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AllowanceOf {
    /// Those of the operator's app.
    App,
    /// Those of the whole platform.
    Platform,
    /// Those of each account's own credential.
    Account,
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
    /// Exclusion → accounts: left out of the plan, or of what was left of it when the run was cancelled.
    pub exclusions: BTreeMap<String, u64>,
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
