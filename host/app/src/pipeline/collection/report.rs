//! What the pipeline is asked for and what it answers, free of command-line and HTTP types.

use std::collections::BTreeMap;

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
    /// By platform.
    pub platforms: Vec<PlatformPlan>,
    /// All platforms together; `duration_s` is the longest platform's, since platforms run side by side.
    pub total: Forecast,
}

/// What a run would do on one platform.
#[derive(Clone, Debug, Serialize)]
pub struct PlatformPlan {
    /// Where.
    pub platform: Platform,
    /// The active release.
    pub release: Digest,
    /// Its version.
    pub version: String,
    /// Batches, accounts, requests, units and duration.
    pub forecast: Forecast,
    /// Exclusion → accounts.
    pub excluded: BTreeMap<String, u64>,
}

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The run as stored.
    pub run: Run,
    /// By platform.
    pub platforms: Vec<PlatformReport>,
    /// Wall-clock time, in seconds.
    pub seconds: f64,
}

/// What a run did on one platform.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PlatformReport {
    /// Where.
    pub platform: String,
    /// Accounts by outcome.
    #[serde(flatten)]
    pub counts: RunCounts,
    /// Requests sent, retries and redirects included.
    pub requests: u64,
    /// Failure class → accounts.
    pub failures: BTreeMap<String, u64>,
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
    /// A batch is stored.
    BatchDone {
        /// Where.
        platform: Platform,
        /// Its accounts by outcome.
        counts: RunCounts,
    },
}
