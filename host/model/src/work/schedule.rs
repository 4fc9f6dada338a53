//! Schedules: when runs are due, and what became of each time.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{Platform, RunId};
use crate::zone::Zone;

/// What happens to times that passed while no host was running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// One run for each of them, the oldest first.
    All,
    /// One run, for the latest of them.
    #[default]
    Last,
    /// No run.
    None,
}

/// What happens at a time when a run of the same schedule still has batches that are planned or leased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// There is no run for that time.
    #[default]
    Skip,
    /// Its run starts when the other has ended.
    Queue,
}

/// When a schedule is due, what it collects, and what happens to missed and overlapping times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Five fields, as in crontab(5): minute, hour, day of month, month, day of week.
    pub cron: String,
    /// Time zone of the fields.
    pub timezone: Zone,
    /// Platforms to collect; empty means every platform with an active connector.
    pub platforms: Vec<Platform>,
    /// What happens to missed times.
    pub catch_up: CatchUp,
    /// What happens to a time that comes while a run is still running.
    pub overlap: Overlap,
    /// Whether the schedule fires.
    pub enabled: bool,
}

impl Default for ScheduleSpec {
    /// Every platform, every night at 02:00 UTC.
    fn default() -> Self {
        Self {
            cron: "0 2 * * *".to_owned(),
            timezone: Zone::utc(),
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

/// Where a schedule is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleOrigin {
    /// In the configuration; it can only be changed there.
    Config,
    /// In the database; a command added it.
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

/// A schedule and its progress.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Schedule {
    /// Name of the schedule.
    pub name: String,
    /// Where it is defined.
    pub origin: ScheduleOrigin,
    /// When it is due and what it collects.
    #[serde(flatten)]
    pub spec: ScheduleSpec,
    /// Every time up to here has been decided.
    pub considered_until: DateTime<Utc>,
    /// The next time to decide; `None` if it is switched off, or if there is none.
    pub next_fire: Option<DateTime<Utc>>,
    /// The latest time that a run was started for.
    pub last_fire: Option<DateTime<Utc>>,
}

/// What was decided about a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FireDecision {
    /// A run was started for it.
    Started,
    /// Its run starts when the schedule's other run has ended.
    Queued,
    /// No host was running at that time, and it is not caught up.
    Missed,
    /// Another run of the schedule was running, or too many waited for their turn.
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

/// A time at which a schedule was due, and what was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fire {
    /// Name of the schedule.
    pub schedule: String,
    /// Time at which it was due.
    pub fire_time: DateTime<Utc>,
    /// What was decided.
    pub decision: FireDecision,
    /// The run that was started for it.
    pub run_id: Option<RunId>,
    /// When it was decided.
    pub decided_at: DateTime<Utc>,
}
