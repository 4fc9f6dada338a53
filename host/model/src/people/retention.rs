//! Retention: the steps of a plan, each of which selects rows past their age and says what happens to them.

use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{Platform, Tenant};

impl Action {
    /// Name of the action in tables and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Delete => "delete",
        }
    }
}

/// Tables whose rows are deleted or archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetainedTable {
    /// Table `metrics`.
    Metrics,
    /// Table `metrics_archive`.
    MetricsArchive,
    /// The growth in the rows of `metrics`, which stay.
    Growth,
    /// The growth in the rows of `metrics_archive`, which stay.
    GrowthArchive,
    /// Table `documents`.
    Documents,
    /// Table `quarantine`.
    Quarantine,
    /// Table `events`.
    Events,
    /// Table `collection_outcomes`.
    CollectionOutcomes,
    /// Table `plugin_logs`.
    PluginLogs,
    /// `batches` with their accounts.
    Batches,
    /// Table `runs`.
    Runs,
    /// Table `release_batches`.
    ReleaseBatches,
    /// Table `schedule_fires`.
    ScheduleFires,
}

impl RetainedTable {
    /// Name of the table in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::MetricsArchive => "metrics_archive",
            Self::Growth => "growth",
            Self::GrowthArchive => "growth_archive",
            Self::Documents => "documents",
            Self::Quarantine => "quarantine",
            Self::Events => "events",
            Self::CollectionOutcomes => "collection_outcomes",
            Self::PluginLogs => "plugin_logs",
            Self::Batches => "batches",
            Self::Runs => "runs",
            Self::ReleaseBatches => "release_batches",
            Self::ScheduleFires => "schedule_fires",
        }
    }
}

/// What happens to rows past their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// They move to `metrics_archive`.
    Archive,
    /// They are deleted.
    Delete,
}

/// Which rows a rule is about. A field that is `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowFilter {
    /// Only on this platform.
    pub platform: Option<Platform>,
    /// Only of this tenant's artists.
    pub tenant: Option<Tenant>,
}

impl RowFilter {
    /// Whether every row of the other scope is in this one too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        (self.platform.is_none() || self.platform == other.platform)
            && (self.tenant.is_none() || self.tenant == other.tenant)
    }

    /// Whether it restricts nothing.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.platform.is_none() && self.tenant.is_none()
    }

    /// Number of restrictions.
    #[must_use]
    pub fn strictness(&self) -> u8 {
        u8::from(self.platform.is_some()) + u8::from(self.tenant.is_some())
    }
}

impl fmt::Display for RowFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.platform, &self.tenant) {
            (None, None) => f.write_str("everything"),
            (Some(platform), None) => write!(f, "{platform}"),
            (None, Some(tenant)) => write!(f, "tenant {tenant}"),
            (Some(platform), Some(tenant)) => write!(f, "{platform} of tenant {tenant}"),
        }
    }
}

/// Time zones that have the same date at present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalDay {
    /// Current date in these zones.
    pub today: NaiveDate,
    /// Rows with an earlier date than this are past their age.
    pub before: NaiveDate,
    /// Names of the zones, as stored with the artists.
    pub zones: Vec<String>,
}

/// Bound that decides which rows are past their age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// By the rows' dates in the artists' zones. At any instant there are at most three dates.
    Dates(Vec<LocalDay>),
    /// By the time when rows were observed or recorded.
    Time(DateTime<Utc>),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RetentionStep {
    /// Table whose rows are selected.
    pub table: RetainedTable,
    /// What happens to the rows.
    pub action: Action,
    /// Rows that the rule is about.
    pub scope: RowFilter,
    /// Rows that are left out, because an operator's rule with a reason replaces this one for them.
    pub except: Vec<RowFilter>,
    /// Whether accounts with their own credential are left out.
    pub unless_authorised: bool,
    /// Bound that selects the rows.
    pub before: Before,
    /// Every row with an earlier date than this is past its age, wherever the artist is. `None` if that depends on the
    /// row.
    pub everywhere_before: Option<NaiveDate>,
    /// Whether the step runs daily, because a platform's terms require it or the rows are copies of other rows.
    pub daily: bool,
    /// Name of the rule.
    pub rule: String,
    /// Number of rows, once counted.
    pub rows: Option<u64>,
}
