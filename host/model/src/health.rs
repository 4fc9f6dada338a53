//! The words of health: what is counted over a window of time, what is made of it, and alerts. No value here is of an artist but where a
//! recommendation names accounts, and those are never stored.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{AccountId, Digest, Platform, RunId};
use super::outcome::{Exclusion, FailureClass};
use super::tally::Tally;

/// What was counted over a window. An account counts once for each date, by the outcome of the last attempt at it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Every platform that has a connector, accounts or outcomes.
    pub platforms: BTreeMap<Platform, PlatformFigures>,
    /// When batches were at work, by run.
    pub work: Vec<Work>,
    /// Artists of whom at least one account was collected.
    pub artists: u64,
    /// Every host in the list of hosts.
    pub hosts: Vec<HostFigures>,
}

/// What was counted of one platform.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlatformFigures {
    /// Whether it weighs nothing in the total.
    pub optional: bool,
    /// Whether a release is active.
    pub has_release: bool,
    /// Accounts that were collected.
    pub collected: u64,
    /// Accounts that failed, by class.
    pub failed: BTreeMap<FailureClass, u64>,
    /// Accounts that wait for an allowance whose time is still to come.
    pub deferred: u64,
    /// When the first of these allowances is granted anew.
    pub deferred_until: Option<DateTime<Utc>>,
    /// Accounts whose allowance was granted anew some time ago, and that were not collected since.
    pub due: u64,
    /// Accounts that were planned lately and have not ended.
    pub under_way: u64,
    /// Accounts that were planned some time ago and have not ended.
    pub overdue: u64,
    /// Accounts that nobody tried to collect, by reason.
    pub excluded: BTreeMap<Exclusion, u64>,
    /// How late rows were stored.
    pub lags: Vec<Lag>,
    /// Values that connectors reported.
    pub values: u64,
    /// Of these, the ones that validation withheld.
    pub rejected: u64,
    /// Rows whose quality was scored.
    pub scored: u64,
    /// The sum of these scores, in hundredths.
    pub score_percent: u64,
    /// Accounts that are to be collected: active ones of active artists who consented.
    pub eligible: u64,
    /// Of these, the ones that were known before the window began.
    pub eligible_before: u64,
    /// Of the eligible ones, those that were never collected.
    pub never_collected: u64,
    /// When the eligible account that was last collected longest ago was so.
    pub oldest: Option<DateTime<Utc>>,
    /// Accounts of active artists who did not consent.
    pub without_consent: u64,
    /// Accounts of active artists that only the artist can mend.
    pub reconnect: u64,
    /// Values that wait for an operator.
    pub held: u64,
    /// Accounts in batches that ended dead within the window.
    pub dead: u64,
    /// Requests sent.
    pub requests: u64,
    /// Budget → units spent.
    pub units: BTreeMap<String, u64>,
}

/// How late a number of rows were stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// From when the run was due to when the row was stored, in seconds.
    pub seconds: f64,
    /// How many rows.
    pub accounts: u64,
}

/// A time in which batches of a run were at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Which run.
    pub run: RunId,
    /// When the first of them began.
    pub from: DateTime<Utc>,
    /// When the last of them ended.
    pub until: DateTime<Utc>,
}

/// A host as it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFigures {
    /// Its name.
    pub name: String,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When it was last heard of.
    pub seen_at: DateTime<Utc>,
}

/// What only a report looks at, since it costs more to find out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suspects {
    /// The first few accounts of each platform that only the artist can mend.
    pub reconnect: Vec<AccountName>,
    /// Credentials that are dead or end soon.
    pub credentials: Vec<CredentialFigures>,
    /// Active releases, with what was said of each since it was activated.
    pub releases: Vec<ReleaseFigures>,
    /// Schedules that are switched on.
    pub schedules: u64,
    /// Webhooks that did not get everything.
    pub webhooks: Vec<WebhookFigures>,
}

/// A webhook that did not get everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookFigures {
    /// Its name.
    pub name: String,
    /// Deliveries that were given up.
    pub parked: u64,
    /// Why Backline itself switched it off, if it did.
    pub disabled_reason: Option<String>,
}

/// An account as people know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountName {
    /// Which account.
    pub account_id: AccountId,
    /// Where.
    pub platform: Platform,
    /// The platform's id of it.
    pub platform_id: String,
    /// The artist's name.
    pub artist: String,
}

/// A credential that is dead or ends soon; those of accounts that end soon are told as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFigures {
    /// Where.
    pub platform: Platform,
    /// For which slot.
    pub slot: String,
    /// Whether it is an account's and not the operator's.
    pub of_account: bool,
    /// How many there are.
    pub number: u64,
    /// When the first of them ends; none where it is dead.
    pub expires_at: Option<DateTime<Utc>>,
}

/// An active release.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseFigures {
    /// Where.
    pub platform: Platform,
    /// Which.
    pub digest: Digest,
    /// Its connector's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its budgets that accounts wait for, by name.
    pub spent: Vec<String>,
    /// When it became active.
    pub activated_at: DateTime<Utc>,
    /// What batches said of it since.
    pub since: Tally,
    /// What they said of the one before it; none where there was none.
    pub before: Option<Tally>,
}

/// How things are. None stands for "no data" everywhere.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthReport {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Since when things are counted.
    pub since: DateTime<Utc>,
    /// All platforms that are not optional, together.
    pub total: Health,
    /// Each platform.
    pub platforms: Vec<PlatformHealth>,
    /// The longest time that batches of one run were at work, in seconds. Waiting for an allowance is not work.
    pub run_s: Option<f64>,
    /// What a month costs.
    pub cost: CostEstimate,
    /// The targets, and whether they are met.
    pub objectives: Vec<Objective>,
    /// What should be done, the most urgent first.
    pub recommendations: Vec<Recommendation>,
    /// Alerts that are firing.
    pub alerts: Vec<Alert>,
}

/// One platform's health.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlatformHealth {
    /// Which.
    pub platform: Platform,
    /// Whether it weighs nothing in the total.
    pub optional: bool,
    /// How it is.
    #[serde(flatten)]
    pub health: Health,
    /// Accounts that failed, by class.
    pub failures: BTreeMap<FailureClass, u64>,
    /// Accounts that nobody tried to collect, by reason.
    pub exclusions: BTreeMap<Exclusion, u64>,
    /// When the first allowance that accounts wait for is granted anew.
    pub deferred_until: Option<DateTime<Utc>>,
}

/// How a platform is, or all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Health {
    /// From 0 to 100.
    pub score: Option<f64>,
    /// Collected of planned, from 0 to 1.
    pub completion: Option<f64>,
    /// Failed of planned, from 0 to 1.
    pub error_rate: Option<f64>,
    /// Accounts that should have been collected by now: collected, failed, or overdue.
    pub planned: u64,
    /// Accounts that were collected.
    pub collected: u64,
    /// Accounts that failed.
    pub failed: u64,
    /// Accounts that were to be collected by now and have not ended.
    pub overdue: u64,
    /// Accounts that were planned lately and have not ended; not in `planned`.
    pub under_way: u64,
    /// Accounts that wait for an allowance; not in `planned`.
    pub deferred: u64,
    /// Accounts that nobody tried to collect; not in `planned`.
    pub excluded: u64,
    /// Within how many seconds of when the run was due 95 of 100 rows were stored.
    pub lag_p95_s: Option<f64>,
    /// The longest such time, in seconds.
    pub lag_worst_s: Option<f64>,
    /// How long ago the eligible account that has waited longest was collected, in seconds.
    pub oldest_s: Option<f64>,
    /// Eligible accounts that were never collected.
    pub never_collected: u64,
    /// Values that passed validation of all that were reported, from 0 to 1.
    pub accepted: Option<f64>,
    /// The mean quality score of rows, from 0 to 1.
    pub quality_score: Option<f64>,
    /// Accounts that only the artist can mend.
    pub reconnect: u64,
    /// Of all accounts that would be eligible, how many those are, from 0 to 1.
    pub reconnect_share: Option<f64>,
    /// Values that wait for an operator.
    pub quarantined: u64,
}

/// A target, and whether it is met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Objective {
    /// `success`, `lag`, `quality`, `run_time` or `cost`.
    pub name: &'static str,
    /// What the value must be above, or below.
    pub target: f64,
    /// What it is: a share, hours, minutes or US dollars.
    pub value: Option<f64>,
    /// Whether it is met; none without a value.
    pub met: Option<bool>,
}

/// What a month costs, as far as can be told from a window of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostEstimate {
    /// US dollars a month for each 1,000 artists.
    pub per_1000_artists: Option<f64>,
    /// US dollars a month for those that were collected.
    pub monthly: Option<f64>,
    /// Requests of the window.
    pub requests: u64,
    /// Artists of the window.
    pub artists: u64,
    /// What it rests on.
    pub basis: String,
}

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// At once.
    Urgent,
    /// Soon.
    Warning,
    /// Good to know.
    Notice,
}

/// What kind of thing should be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecommendationKind {
    /// More than half is not collected.
    MostlyFailing,
    /// Less than four fifths are collected.
    CompletionLow,
    /// More than a tenth fails.
    ErrorRateHigh,
    /// A platform does not answer.
    PlatformDown,
    /// A release fails since it was activated.
    ReleaseFailing,
    /// A credential of the operator's is missing or dead.
    CredentialDead,
    /// A credential ends soon.
    CredentialExpiring,
    /// A platform has accounts and no release.
    NoRelease,
    /// Nothing was planned although somebody is to be collected.
    NothingPlanned,
    /// A host was not heard of.
    HostLost,
    /// Accounts only their artists can mend.
    Reconnect,
    /// Accounts should have been collected by now, and nobody tried.
    Overdue,
    /// Accounts wait for an allowance.
    BudgetSpent,
    /// Batches ended dead.
    BatchesDead,
    /// A webhook did not get everything.
    EventsUndelivered,
    /// Values wait for an operator.
    QuarantineHeld,
    /// Active artists did not consent.
    NoConsent,
}

/// What should be done, and who or what is to blame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// What kind of thing.
    pub kind: RecommendationKind,
    /// How much it matters.
    pub urgency: Urgency,
    /// For people.
    pub sentence: String,
    /// A command that mends it or shows more.
    pub remedy: String,
    /// Who or what is to blame.
    pub blame: Blame,
}

/// Who or what is to blame: as much of it as is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Blame {
    /// A platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The first few of the accounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountName>,
    /// A platform's allowance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// A host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A release: its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// A credential: its platform and slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// A webhook: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

/// What an alert watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertName {
    /// Collected of planned, by platform.
    Completion,
    /// Failed of planned, by platform.
    ErrorRate,
    /// How late rows are stored, by platform; in hours.
    Lag,
    /// Values that pass validation, by platform.
    Quality,
    /// Accounts that only their artists can mend, by platform.
    ReconnectShare,
    /// Accounts that should have been planned and were not, by platform.
    NoData,
    /// How long the longest run was at work; in minutes.
    RunTime,
    /// Hosts that were heard of no more.
    HostLost,
}

impl AlertName {
    /// Every alert.
    pub const ALL: [Self; 8] = [
        Self::Completion,
        Self::ErrorRate,
        Self::Lag,
        Self::Quality,
        Self::ReconnectShare,
        Self::NoData,
        Self::RunTime,
        Self::HostLost,
    ];

    /// The name used in tables, events and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::ErrorRate => "error_rate",
            Self::Lag => "lag",
            Self::Quality => "quality",
            Self::ReconnectShare => "reconnect_share",
            Self::NoData => "no_data",
            Self::RunTime => "run_time",
            Self::HostLost => "host_lost",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }
}

/// Where an alert stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// What it watches.
    pub name: AlertName,
    /// Where; none where it is about no platform.
    pub platform: Option<Platform>,
    /// Whether it is firing.
    pub firing: bool,
    /// Since when it is, or is not.
    pub since: DateTime<Utc>,
    /// The value that was last looked at.
    pub value: f64,
    /// What that was held against.
    pub threshold: f64,
    /// Since when the value has been worse than that although the alert does not fire yet.
    pub worse_since: Option<DateTime<Utc>>,
    /// How often it began or ceased to fire: what keeps two hosts from telling the same twice.
    pub crossings: i64,
    /// When it was last looked at.
    pub changed_at: DateTime<Utc>,
}
