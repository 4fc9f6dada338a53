//! Acts on everything that a filter shows.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::account::AccountStatus;
use crate::ids::{ArtistId, Platform, RunId, Tenant};

/// What is done to each thing that a filter shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    /// Dead batches are planned again, with all their attempts.
    BatchesRetry,
    /// Values that failed validation are stored.
    QuarantineRelease,
    /// Values that failed validation are discarded.
    QuarantineDiscard,
    /// Accounts that were left out, or switched off, are collected again.
    AccountsResume,
    /// Accounts are switched off: what was collected stays.
    AccountsDisable,
    /// Runs that go on are cancelled: what was collected stays.
    RunsCancel,
}

impl BulkAction {
    /// Every action.
    pub const ALL: [Self; 6] = [
        Self::BatchesRetry,
        Self::QuarantineRelease,
        Self::QuarantineDiscard,
        Self::AccountsResume,
        Self::AccountsDisable,
        Self::RunsCancel,
    ];

    /// The name used in tables and requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BatchesRetry => "batches_retry",
            Self::QuarantineRelease => "quarantine_release",
            Self::QuarantineDiscard => "quarantine_discard",
            Self::AccountsResume => "accounts_resume",
            Self::AccountsDisable => "accounts_disable",
            Self::RunsCancel => "runs_cancel",
        }
    }

    /// Reads the name used in tables and requests.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }

    /// The fields of a filter that it takes.
    #[must_use]
    pub fn takes(self) -> &'static [&'static str] {
        match self {
            Self::BatchesRetry => &["platform", "run"],
            Self::QuarantineRelease | Self::QuarantineDiscard => &["platform", "artist", "metric", "rule"],
            Self::AccountsResume | Self::AccountsDisable => &["platform", "artist", "status"],
            Self::RunsCancel => &["trigger"],
        }
    }

    /// What it is done to.
    #[must_use]
    pub fn things(self) -> &'static str {
        match self {
            Self::BatchesRetry => "dead batches",
            Self::QuarantineRelease | Self::QuarantineDiscard => "held values",
            Self::AccountsResume | Self::AccountsDisable => "accounts",
            Self::RunsCancel => "running runs",
        }
    }
}

impl std::fmt::Display for BulkAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which things are meant. A field that is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BulkFilter {
    /// Only of this platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Only of this artist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artist: Option<ArtistId>,
    /// Only of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Only accounts with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<AccountStatus>,
    /// Only values of this metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Only values that this rule withheld.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Only runs that this started, such as `manual`, `backfill` or the name of a schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
}

impl BulkFilter {
    /// Checks that an action takes what is given.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn check(&self, action: BulkAction) -> Result<(), String> {
        let Self { platform, artist, run, status, metric, rule, trigger } = self;
        let given = [
            ("platform", platform.is_some()),
            ("artist", artist.is_some()),
            ("run", run.is_some()),
            ("status", status.is_some()),
            ("metric", metric.is_some()),
            ("rule", rule.is_some()),
            ("trigger", trigger.is_some()),
        ];
        let takes = action.takes();
        if let Some((name, _)) = given.iter().find(|(name, is_given)| *is_given && !takes.contains(name)) {
            return Err(format!("{action} has no filter '{name}'; it takes {}", takes.join(", ")));
        }
        match (action, status) {
            (BulkAction::AccountsResume, None | Some(AccountStatus::Active)) => {
                Err("say which accounts: give a status other than active, such as not_found".to_owned())
            }
            (BulkAction::AccountsDisable, Some(AccountStatus::Disabled)) => {
                Err("they are switched off already; give another status".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// How far a bulk act has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkState {
    /// It goes on: a host works on it, or takes it over from one that stopped.
    Running,
    /// Everything that the filter showed was looked at.
    Done,
    /// Someone ended it; what was done stays.
    Cancelled,
}

impl BulkState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Running, Self::Done, Self::Cancelled];

    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// One act on everything that a filter shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BulkAct {
    /// Its id; later ones have higher ids.
    pub id: Uuid,
    /// What is done to each thing.
    pub action: BulkAction,
    /// Which things.
    pub filter: BulkFilter,
    /// Whose things; none means those of all tenants.
    pub tenant: Option<Tenant>,
    /// Why it is done, in the words of who asked for it.
    pub reason: String,
    /// How far it has come.
    pub state: BulkState,
    /// How many things the filter showed at the start.
    pub total: u64,
    /// To how many it was done.
    pub done: u64,
    /// How many were in another state by their turn, so that nothing was to be done.
    pub skipped: u64,
    /// How many it could not be done to.
    pub failed: u64,
    /// Why it could not be done to the last of these.
    pub problem: Option<String>,
    /// When it was started.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_takes_its_own_filters_alone() {
        let of = |text: &str| serde_json::from_str::<BulkFilter>(text).expect("a filter");
        for (action, good) in [
            (BulkAction::BatchesRetry, "{}"),
            (BulkAction::BatchesRetry, r#"{"platform":"youtube"}"#),
            (BulkAction::QuarantineDiscard, r#"{"metric":"likes","rule":"negative"}"#),
            (BulkAction::AccountsResume, r#"{"status":"not_found"}"#),
            (BulkAction::AccountsDisable, r#"{"platform":"tiktok"}"#),
            (BulkAction::RunsCancel, r#"{"trigger":"daily"}"#),
        ] {
            of(good).check(action).expect(good);
        }
        for (action, wrong) in [
            (BulkAction::BatchesRetry, r#"{"status":"not_found"}"#),
            (BulkAction::QuarantineRelease, r#"{"trigger":"daily"}"#),
            (BulkAction::AccountsResume, "{}"),
            (BulkAction::AccountsResume, r#"{"status":"active"}"#),
            (BulkAction::AccountsDisable, r#"{"status":"disabled"}"#),
            (BulkAction::RunsCancel, r#"{"platform":"youtube"}"#),
        ] {
            of(wrong).check(action).expect_err(wrong);
        }
        serde_json::from_str::<BulkFilter>(r#"{"plattform":"youtube"}"#).expect_err("a slip would mean all");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for action in BulkAction::ALL {
            assert_eq!(BulkAction::parse(action.as_str()), Some(action));
            assert_eq!(serde_json::to_value(action).expect("JSON"), action.as_str());
        }
        for state in BulkState::ALL {
            assert_eq!(BulkState::parse(state.as_str()), Some(state));
        }
    }
}
