//! Health: figures counted over a window of time, the report made from them, and alerts. Only recommendations name
//! accounts, and those are never stored.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, Digest, Platform, RunId};
use crate::outcome::{Exclusion, FailureClass};
use crate::tally::Tally;
use crate::zone::{ZoneData, ZoneFault};

/// What was counted over a window. An account counts once for each date, by the outcome of its last attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Figures of every platform that has a connector, accounts or outcomes.
    pub platforms: BTreeMap<Platform, PlatformFigures>,
    /// When batches were running, by run.
    pub work: Vec<BusySpan>,
    /// Artists with at least one account that was collected.
    pub artists: u64,
    /// Every host that the database lists.
    pub hosts: Vec<HostFigures>,
}

/// Figures of one platform.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlatformFigures {
    /// Whether the platform is left out of the total.
    pub optional: bool,
    /// Whether a release is active.
    pub has_release: bool,
    /// Accounts that were collected.
    pub collected: u64,
    /// Accounts that failed, by class.
    pub failed: BTreeMap<FailureClass, u64>,
    /// Accounts that waited until a newer plan included them.
    pub superseded: u64,
    /// Accounts that wait for a budget whose reset is still to come.
    pub deferred: u64,
    /// Earliest time at which one of these budgets resets.
    pub deferred_until: Option<DateTime<Utc>>,
    /// Accounts whose budget has reset some time ago, and that were not collected since.
    pub due: u64,
    /// Accounts that were planned recently and have no outcome yet.
    pub under_way: u64,
    /// Accounts that were planned some time ago and have no outcome yet.
    pub overdue: u64,
    /// Accounts that were left out of the plan, by reason.
    pub excluded: BTreeMap<Exclusion, u64>,
    /// How late rows were stored.
    pub lags: Vec<Lag>,
    /// Values that connectors reported.
    pub values: u64,
    /// Reported values that validation withheld.
    pub rejected: u64,
    /// Rows whose quality was scored.
    pub scored: u64,
    /// Sum of these scores, in hundredths.
    pub score_percent: u64,
    /// Accounts that are to be collected: active ones of active artists who consented.
    pub eligible: u64,
    /// Eligible accounts that were known before the window began.
    pub eligible_before: u64,
    /// Whether schedules cover the platform and none of their times came lately: nothing need have been planned.
    pub not_due: bool,
    /// Eligible accounts that were never collected.
    pub never_collected: u64,
    /// When the eligible account with the oldest collection was last collected.
    pub oldest: Option<DateTime<Utc>>,
    /// Accounts of active artists who did not consent.
    pub without_consent: u64,
    /// Accounts of active artists that the artist has to reconnect.
    pub reconnect: u64,
    /// Quarantined values that wait for an operator.
    pub held: u64,
    /// Accounts in batches that used up their attempts within the window.
    pub dead: u64,
    /// Requests sent.
    pub requests: u64,
    /// Units spent, by budget name.
    pub units: BTreeMap<String, u64>,
}

/// How late a number of rows were stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// From when the run was due to when the row was stored, in seconds.
    pub seconds: f64,
    /// Number of rows with this delay.
    pub accounts: u64,
}

/// A time span in which batches of a run were running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusySpan {
    /// Run that the batches belong to.
    pub run: RunId,
    /// Start of the first batch.
    pub from: DateTime<Utc>,
    /// End of the last batch.
    pub until: DateTime<Utc>,
}

/// A host as it last reported itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFigures {
    /// Name of the host, unique in the database.
    pub name: String,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When the host last reported itself.
    pub seen_at: DateTime<Utc>,
    /// Whether it refreshes tokens that the platform may replace.
    pub refreshes_tokens: bool,
}

/// Details that only a report needs, since they cost more to query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suspects {
    /// The first few accounts of each platform that the artist has to reconnect.
    pub reconnect: Vec<AccountName>,
    /// Credentials that are dead or expire soon.
    pub credentials: Vec<CredentialFigures>,
    /// Active releases, each with its results since it was activated.
    pub releases: Vec<ReleaseFigures>,
    /// Schedules that are switched on.
    pub schedules: u64,
    /// Webhooks with events that were not delivered.
    pub webhooks: Vec<WebhookFigures>,
    /// Pauses that platforms asked for, and that are in force.
    pub pauses: Vec<PauseFigures>,
    /// The data that this process reads time zones from.
    pub zones: Option<ZoneData>,
    /// Zones whose files it can't read.
    pub zone_faults: Vec<ZoneFault>,
    /// Rows that can't be read, as far as they are named: a table that is broken as a whole has very many.
    pub unreadable: Vec<UnreadableRow>,
    /// How many more there are, by table.
    pub unreadable_others: BTreeMap<String, u64>,
    /// How far the clock of the process that reports is ahead of another one, or behind it where that is negative;
    /// `None` where they agree.
    pub clock_ahead: Option<TimeDelta>,
    /// Whether the database's numbers are simulated.
    pub simulated: bool,
}

/// A row of the database that this binary can't read. It is left out of everything, which costs no other row anything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UnreadableRow {
    /// The table.
    pub table: String,
    /// The row's name or id.
    pub name: String,
    /// The column that can't be read.
    pub column: String,
    /// What it holds, or what is wrong with that.
    pub problem: String,
}

impl fmt::Display for UnreadableRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, name, column, problem } = self;
        write!(f, "the row {name} of {table} can't be read ({column}: {problem}) and is left out")
    }
}

/// A pause that a platform asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseFigures {
    /// Platform that asked for it.
    pub platform: Platform,
    /// Credentials that pause; 0 where the whole platform does.
    pub credentials: u64,
    /// When the last of them ends.
    pub until: DateTime<Utc>,
}

/// A webhook with events that were not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookFigures {
    /// Name of the webhook.
    pub name: String,
    /// Deliveries that were given up.
    pub parked: u64,
    /// Why Backline switched the webhook off; `None` if it did not.
    pub disabled_reason: Option<String>,
}

/// An account with the names that people know it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountName {
    /// Backline's id of the account.
    pub account_id: AccountId,
    /// Platform of the account.
    pub platform: Platform,
    /// The platform's id of the account.
    pub platform_id: String,
    /// The artist's name.
    pub artist: String,
}

/// Credentials that are dead or expire soon. Those of accounts that expire soon are counted in one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFigures {
    /// Platform that the credential is for.
    pub platform: Platform,
    /// Credential slot of the connector's manifest.
    pub slot: String,
    /// Whether it belongs to an account, not to the operator.
    pub of_account: bool,
    /// Number of credentials that the entry counts.
    pub number: u64,
    /// When the first of them expires; `None` if it is dead.
    pub expires_at: Option<DateTime<Utc>>,
}

/// An active release with its results.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseFigures {
    /// Platform that the release collects.
    pub platform: Platform,
    /// Digest of the release's component.
    pub digest: Digest,
    /// Name of the connector.
    pub name: String,
    /// Version of the connector.
    pub version: String,
    /// Names of its budgets that accounts wait for.
    pub spent: Vec<String>,
    /// When it became active.
    pub activated_at: DateTime<Utc>,
    /// Results of its batches since then.
    pub since: Tally,
    /// Results of the release before it; `None` if there was none.
    pub before: Option<Tally>,
}

/// The state of the whole system. `None` means "no data" in every field.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthReport {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Start of the window that was counted.
    pub since: DateTime<Utc>,
    /// All platforms that are not optional, together.
    pub total: Health,
    /// Each platform.
    pub platforms: Vec<PlatformHealth>,
    /// The longest time that batches of one run were running, in seconds. Waiting for a budget to reset does not count.
    pub run_s: Option<f64>,
    /// Estimated monthly cost.
    pub cost: CostEstimate,
    /// The objectives, and whether they are met.
    pub objectives: Vec<Objective>,
    /// What to do, the most urgent first.
    pub recommendations: Vec<Recommendation>,
    /// Alerts that are firing.
    pub alerts: Vec<Alert>,
    /// The data that the process which made the report reads time zones from.
    pub time_zones: Option<ZoneData>,
    /// Whether all that it counts is simulated; left out where it is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
}

/// One platform's health.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlatformHealth {
    /// Platform that the figures are about.
    pub platform: Platform,
    /// Whether the platform is left out of the total.
    pub optional: bool,
    /// The platform's rates, counts and score.
    #[serde(flatten)]
    pub health: Health,
    /// Accounts that failed, by class.
    pub failures: BTreeMap<FailureClass, u64>,
    /// Accounts that were left out of the plan, by reason.
    pub exclusions: BTreeMap<Exclusion, u64>,
    /// Earliest time at which a budget resets that accounts wait for.
    pub deferred_until: Option<DateTime<Utc>>,
}

/// Health of one platform, or of all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Health {
    /// Score from 0 to 100.
    pub score: Option<f64>,
    /// Collected divided by planned, from 0 to 1.
    pub completion: Option<f64>,
    /// Failed divided by planned, from 0 to 1.
    pub error_rate: Option<f64>,
    /// Accounts that should have been collected by now: collected, failed, superseded, or overdue.
    pub planned: u64,
    /// Accounts that were collected.
    pub collected: u64,
    /// Accounts that failed.
    pub failed: u64,
    /// Accounts that waited until a newer plan included them. They lower completion and are no failures.
    pub superseded: u64,
    /// Accounts that should have been collected by now and have no outcome yet.
    pub overdue: u64,
    /// Accounts that were planned recently and have no outcome yet. Not part of `planned`.
    pub under_way: u64,
    /// Accounts that wait for a budget to reset. Not part of `planned`.
    pub deferred: u64,
    /// Accounts that were left out of the plan. Not part of `planned`.
    pub excluded: u64,
    /// 95th percentile of the time from when the run was due to when a row was stored, in seconds.
    pub lag_p95_s: Option<f64>,
    /// The longest such time, in seconds.
    pub lag_worst_s: Option<f64>,
    /// Age of the oldest last collection of an eligible account, in seconds.
    pub oldest_s: Option<f64>,
    /// Eligible accounts that were never collected.
    pub never_collected: u64,
    /// Share of the reported values that passed validation, from 0 to 1.
    pub accepted: Option<f64>,
    /// Mean quality score of the rows, from 0 to 1.
    pub quality_score: Option<f64>,
    /// Accounts that the artist has to reconnect.
    pub reconnect: u64,
    /// Their share of all accounts that would be eligible, from 0 to 1.
    pub reconnect_share: Option<f64>,
    /// Quarantined values that wait for an operator.
    pub quarantined: u64,
}

/// An objective, and whether it is met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Objective {
    /// `success`, `lag`, `quality`, `run_time` or `cost`.
    pub name: &'static str,
    /// Bound that the value must stay above, or below.
    pub target: f64,
    /// Measured value, in the unit of the objective: a share, hours, minutes or US dollars.
    pub value: Option<f64>,
    /// Whether the objective is met; `None` without a value.
    pub met: Option<bool>,
}

/// Estimated monthly cost, extrapolated from a window of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostEstimate {
    /// US dollars a month for each 1,000 artists.
    pub per_1000_artists: Option<f64>,
    /// US dollars a month for the artists that were collected.
    pub monthly: Option<f64>,
    /// Requests sent within the window.
    pub requests: u64,
    /// Artists collected within the window.
    pub artists: u64,
    /// Sentence that says what the estimate is based on.
    pub basis: String,
}

/// How urgent a recommendation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Needs action at once.
    Urgent,
    /// Needs action soon.
    Warning,
    /// For information.
    Notice,
}

/// Kind of a recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecommendationKind {
    /// Less than half of the accounts are collected.
    MostlyFailing,
    /// Less than four fifths of the accounts are collected.
    CompletionLow,
    /// More than a tenth of the accounts fail.
    ErrorRateHigh,
    /// A platform does not answer.
    PlatformDown,
    /// A release has been failing since it was activated.
    ReleaseFailing,
    /// A credential of the operator is missing or dead.
    CredentialDead,
    /// Accounts fail because the operator's configuration is wrong.
    Misconfigured,
    /// A credential expires soon.
    CredentialExpiring,
    /// A platform has accounts but no active release.
    NoRelease,
    /// Nothing was planned although accounts are eligible.
    NothingPlanned,
    /// A host stopped reporting itself.
    HostLost,
    /// A host does not belong to the database's installation.
    TokensNotRefreshed,
    /// Accounts that the artists have to reconnect.
    Reconnect,
    /// Accounts that the platform does not know.
    AccountsNotFound,
    /// Accounts that the permissions which were given do not cover.
    AccountsForbidden,
    /// Accounts at which hosts ended, and which are left out.
    AccountsHostKilled,
    /// A connector fails in its own code, and its activation is not why.
    ConnectorFailing,
    /// Accounts should have been collected by now, and no attempt was made.
    Overdue,
    /// Accounts wait for a budget to reset.
    BudgetSpent,
    /// A platform asked for a pause, which is in force.
    PlatformPaused,
    /// Batches used up their attempts.
    BatchesDead,
    /// A webhook has events that were not delivered.
    EventsUndelivered,
    /// Quarantined values wait for an operator.
    QuarantineHeld,
    /// Active artists did not consent.
    NoConsent,
    /// The copy of the time zones in the binary is newer than the data in use.
    TimeZonesOld,
    /// The file of a time zone can't be read.
    TimeZoneUnreadable,
    /// Rows of the database can't be read and are left out.
    RowsUnreadable,
    /// A host's clock differs from the database's.
    ClockDiffers,
}

/// What to do, and what causes the problem.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// Kind of the recommendation.
    pub kind: RecommendationKind,
    /// How urgent it is.
    pub urgency: Urgency,
    /// Sentence that states the problem.
    pub sentence: String,
    /// Command that fixes it or shows more.
    pub remedy: String,
    /// What causes the problem.
    pub blame: Blame,
}

/// What causes a problem, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Blame {
    /// Platform that is affected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The first few of the affected accounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountName>,
    /// Name of a platform's budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// Name of a host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Version of a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Platform and slot of a credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Name of a webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

/// What an alert watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertName {
    /// Collected divided by planned, by platform.
    Completion,
    /// Failed divided by planned, by platform.
    ErrorRate,
    /// How late rows are stored, by platform, in hours.
    Lag,
    /// Share of values that pass validation, by platform.
    Quality,
    /// Share of accounts that the artists have to reconnect, by platform.
    ReconnectShare,
    /// Accounts that should have been planned and were not, by platform.
    NoData,
    /// How long the longest run was running, in minutes.
    RunTime,
    /// Hosts that stopped reporting themselves.
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

/// Current state of an alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// What the alert watches.
    pub name: AlertName,
    /// Platform that the alert is about; `None` if it is about all of them.
    pub platform: Option<Platform>,
    /// Whether the alert is firing.
    pub firing: bool,
    /// When it started or stopped firing.
    pub since: DateTime<Utc>,
    /// The value at the last evaluation.
    pub value: f64,
    /// The threshold at the last evaluation.
    pub threshold: f64,
    /// Since when the value has been beyond the threshold, while the alert does not fire yet.
    pub worse_since: Option<DateTime<Utc>>,
    /// How often it started or stopped firing. The number keeps two hosts from reporting the same change twice.
    pub crossings: i64,
    /// When it was last evaluated.
    pub changed_at: DateTime<Utc>,
}
