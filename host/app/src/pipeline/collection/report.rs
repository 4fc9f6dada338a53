//! Requests to the pipeline and its reports, free of command-line and HTTP types.

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
    /// Exclusion → accounts.
    pub excluded: BTreeMap<String, u64>,
}

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The run as stored.
    pub run: Run,
    /// Plans or results, one for each platform.
    pub platforms: Vec<PlatformReport>,
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
    /// Requests sent, retries and redirects included.
    pub requests: u64,
    /// Failure class → accounts.
    pub failures: BTreeMap<String, u64>,
}

/// An event in the course of a run.
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
        /// Name of the platform.
        platform: Platform,
        /// Its accounts by outcome.
        counts: RunCounts,
    },
}
