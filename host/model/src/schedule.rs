//! When runs are due as an operator writes it down, and what became of it.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::ids::{Platform, RunId};

/// What becomes of times of firing that passed while no host was running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// One run for each of them, the oldest first.
    All,
    /// One run, for the latest of them.
    #[default]
    Last,
    /// None.
    None,
}

/// What becomes of a time of firing while a run of the same schedule still has batches that are planned or leased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// There is no run for it.
    #[default]
    Skip,
    /// Its run begins when the other has ended.
    Queue,
}

/// A schedule: when, where, and what happens when something comes between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Five fields, as in crontab(5): minute, hour, day of month, month, day of week.
    pub cron: String,
    /// The zone the fields are read in.
    pub timezone: Tz,
    /// Only these platforms; empty means every platform that has an active connector.
    pub platforms: Vec<Platform>,
    /// What becomes of missed times.
    pub catch_up: CatchUp,
    /// What becomes of a time that comes too soon.
    pub overlap: Overlap,
    /// Whether it fires at all.
    pub enabled: bool,
}

impl Default for ScheduleSpec {
    /// Everything, every night at two, UTC.
    fn default() -> Self {
        Self {
            cron: "0 2 * * *".to_owned(),
            timezone: Tz::UTC,
            platforms: Vec::new(),
            catch_up: CatchUp::default(),
            overlap: Overlap::default(),
            enabled: true,
        }
    }
}

impl CatchUp {
    /// The name used in tables and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Last => "last",
            Self::None => "none",
        }
    }

    /// Reads the name used in tables and files.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::All, Self::Last, Self::None].into_iter().find(|value| value.as_str() == text)
    }
}

impl Overlap {
    /// The name used in tables and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
        }
    }

    /// Reads the name used in tables and files.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Skip, Self::Queue].into_iter().find(|value| value.as_str() == text)
    }
}

/// Who owns a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleOrigin {
    /// The configuration: it is changed there and nowhere else.
    Config,
    /// The database: it was added by a command.
    Database,
}

impl ScheduleOrigin {
    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Database => "database",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Config, Self::Database].into_iter().find(|value| value.as_str() == text)
    }
}

/// A schedule with how far it has come.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// Who owns it.
    pub origin: ScheduleOrigin,
    /// When, where, and what happens when something comes between.
    #[serde(flatten)]
    pub spec: ScheduleSpec,
    /// Each time of firing up to here has been decided.
    pub considered_until: DateTime<Utc>,
    /// The next time to be decided; none while it is switched off, or when none will ever come.
    pub next_fire: Option<DateTime<Utc>>,
    /// The latest time of firing that a run was started for.
    pub last_fire: Option<DateTime<Utc>>,
}

/// What became of a time of firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FireDecision {
    /// A run was started for it.
    Started,
    /// Its run begins when the schedule's other run has ended.
    Queued,
    /// No host was running, and it is not caught up on.
    Missed,
    /// It came while another run of the schedule was under way.
    Skipped,
}

impl FireDecision {
    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Queued => "queued",
            Self::Missed => "missed",
            Self::Skipped => "skipped",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Started, Self::Queued, Self::Missed, Self::Skipped].into_iter().find(|value| value.as_str() == text)
    }
}

/// A time of firing with what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fire {
    /// Whose.
    pub schedule: String,
    /// When it was due.
    pub fire_time: DateTime<Utc>,
    /// What became of it.
    pub decision: FireDecision,
    /// The run that was started for it.
    pub run_id: Option<RunId>,
    /// When that was decided.
    pub decided_at: DateTime<Utc>,
}
