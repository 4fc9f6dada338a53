//! When runs are due, as an operator writes it down.

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::ids::Platform;

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
