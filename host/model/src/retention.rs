//! What is to be done with rows past their age: the steps of a plan, which say which rows of which table.

use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{Platform, Tenant};

impl Action {
    /// What it does, in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Delete => "delete",
        }
    }
}

/// Tables in which something comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// `metrics`, with the growth of what is deleted.
    Metrics,
    /// `metrics_archive`, the same.
    MetricsArchive,
    /// `growth` by itself.
    Growth,
    /// `documents`.
    Documents,
    /// `quarantine`.
    Quarantine,
    /// `events`.
    Events,
    /// `collection_outcomes`.
    CollectionOutcomes,
    /// `plugin_logs`.
    PluginLogs,
    /// `batches` with their accounts.
    Batches,
    /// `runs`.
    Runs,
    /// `release_batches`.
    ReleaseBatches,
    /// `schedule_fires`.
    ScheduleFires,
}

impl Table {
    /// Its name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::MetricsArchive => "metrics_archive",
            Self::Growth => "growth",
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

/// What becomes of rows past their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// They move to `metrics_archive`.
    Archive,
    /// They are gone.
    Delete,
}

/// Whose rows. What is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// Only on this platform.
    pub platform: Option<Platform>,
    /// Only of this tenant's artists.
    pub tenant: Option<Tenant>,
}

impl Scope {
    /// Whether every row of the other one is of this one too.
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

    /// How much it restricts.
    #[must_use]
    pub fn strictness(&self) -> u8 {
        u8::from(self.platform.is_some()) + u8::from(self.tenant.is_some())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.platform, &self.tenant) {
            (None, None) => f.write_str("everything"),
            (Some(platform), None) => write!(f, "{platform}"),
            (None, Some(tenant)) => write!(f, "tenant {tenant}"),
            (Some(platform), Some(tenant)) => write!(f, "{platform} of tenant {tenant}"),
        }
    }
}

/// Time zones in which it is the same date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalDay {
    /// The date it is there.
    pub today: NaiveDate,
    /// Rows of earlier dates than this are past their age.
    pub before: NaiveDate,
    /// The zones, as they stand with the artists.
    pub zones: Vec<String>,
}

/// Up to when rows are past their age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// By the rows' dates, where the artists are: at no instant there are more than three.
    Dates(Vec<LocalDay>),
    /// By when rows were observed or recorded.
    Time(DateTime<Utc>),
}

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Where.
    pub table: Table,
    /// What.
    pub action: Action,
    /// Whose rows.
    pub scope: Scope,
    /// Of these, whose not: a rule that gives its reason stands in the place of this one.
    pub except: Vec<Scope>,
    /// Whether accounts with a credential of their own are left alone.
    pub unless_authorised: bool,
    /// Which rows.
    pub before: Before,
    /// Every row of an earlier date than this one is past its age, wherever the artist is; none where that depends on the row.
    pub everywhere_before: Option<NaiveDate>,
    /// Whether it is done every day: a platform's terms ask for it, or the rows hold copies of what they are about.
    pub daily: bool,
    /// By which rule.
    pub rule: String,
    /// How many rows there are, once counted.
    pub rows: Option<u64>,
}
