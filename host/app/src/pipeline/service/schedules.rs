//! Schedules as an operator sees and changes them.

use chrono::{DateTime, Utc};

use crate::config::Config;
use crate::pipeline::error::{Classified, ErrorClass};
use backline_model::health::UnreadableRow;
use backline_model::{Schedule, ScheduleOrigin, ScheduleSpec};
use backline_rules::schedule::{self, ScheduleError, Timetable};
use backline_store::{NewSchedule, Store, StoreError};

/// Why a schedule was not listed or changed.
#[derive(Debug, thiserror::Error)]
pub enum SchedulesError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its name or its times are not valid.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

impl Classified for SchedulesError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Schedule(_) => ErrorClass::Refused,
        }
    }
}

/// Every schedule, ordered by name: those of the database, and those of the configuration that no scheduler has stored
/// yet.
///
/// # Errors
/// When the database fails.
pub async fn list(store: &Store, config: &Config, now: DateTime<Utc>) -> Result<Vec<Schedule>, SchedulesError> {
    let mut schedules = store.schedules_list().await?;
    for schedule in schedules.iter_mut().filter(|schedule| schedule.next_fire.is_some()) {
        // The zone's rules may have changed since the stored time was computed.
        if let Ok(timetable) = Timetable::of(&schedule.spec) {
            schedule.next_fire = timetable.next_after(schedule.considered_until);
        }
    }
    for new in configured(config, now)? {
        if !schedules.iter().any(|schedule| schedule.name == new.name) {
            schedules.push(Schedule {
                name: new.name,
                origin: ScheduleOrigin::Config,
                spec: new.spec,
                considered_until: now,
                next_fire: new.next_fire,
                last_fire: None,
            });
        }
    }
    schedules.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(schedules)
}

/// Schedules of which this process met something that it can't read: their rows, or their times. They fire at no time.
#[must_use]
pub fn unreadable(store: &Store, schedules: &[Schedule]) -> Vec<UnreadableRow> {
    let rows = store.unreadable_rows().into_iter().filter(|row| row.table == "schedules");
    rows.chain(schedule::unreadable(schedules)).collect()
}

/// Adds a schedule that the database owns. It fires from now on.
///
/// # Errors
/// When its name or times are not valid, or the name is taken.
pub async fn add(
    store: &Store,
    config: &Config,
    name: &str,
    spec: ScheduleSpec,
    now: DateTime<Utc>,
) -> Result<Schedule, SchedulesError> {
    schedule::check_name(name)?;
    refuse_configured(config, name)?;
    let new = with_next(name, spec, now)?;
    store.schedule_add(&new, now).await?;
    Ok(Schedule {
        name: new.name,
        origin: ScheduleOrigin::Database,
        spec: new.spec,
        considered_until: now,
        next_fire: new.next_fire,
        last_fire: None,
    })
}

/// Removes a schedule that the database owns.
///
/// # Errors
/// When there is no such schedule, or the configuration owns it.
pub async fn remove(store: &Store, config: &Config, name: &str, now: DateTime<Utc>) -> Result<(), SchedulesError> {
    refuse_configured(config, name)?;
    Ok(store.schedule_remove(name, now).await?)
}

/// Enables or disables a schedule that the database owns.
///
/// # Errors
/// As [`remove`].
pub async fn set_enabled(
    store: &Store,
    config: &Config,
    name: &str,
    enabled: bool,
    now: DateTime<Utc>,
) -> Result<(), SchedulesError> {
    refuse_configured(config, name)?;
    let stored = store.schedules_list().await?.into_iter().find(|schedule| schedule.name == name);
    let next_fire = match stored {
        Some(schedule) => Timetable::of(&schedule.spec)?.next_after(now),
        // The store returns the error.
        None => None,
    };
    Ok(store.schedule_set_enabled(name, enabled, next_fire, now).await?)
}

/// The configuration's schedules, each with its next time.
pub(in crate::pipeline) fn configured(config: &Config, now: DateTime<Utc>) -> Result<Vec<NewSchedule>, ScheduleError> {
    config.schedules.iter().map(|(name, spec)| with_next(name, spec.clone(), now)).collect()
}

fn with_next(name: &str, spec: ScheduleSpec, now: DateTime<Utc>) -> Result<NewSchedule, ScheduleError> {
    let timetable = Timetable::of(&spec)?;
    let next_fire = if spec.enabled { timetable.next_after(now) } else { None };
    Ok(NewSchedule { name: name.to_owned(), spec, next_fire })
}

/// Also if no scheduler has stored the configuration yet.
fn refuse_configured(config: &Config, name: &str) -> Result<(), StoreError> {
    match config.schedules.contains_key(name) {
        true => Err(StoreError::ScheduleConfigured { name: name.to_owned() }),
        false => Ok(()),
    }
}
