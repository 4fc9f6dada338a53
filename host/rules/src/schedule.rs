//! When schedules are due, and what is done about each time. Pure: the current time is an argument.
//!
//! The fields are as in crontab(5), in local time of the schedule's zone. When the clock changes:
//!
//! - A pattern with a **fixed hour** (`30 2 * * *`, `0 2,14 * * *`) fires once for each of its local times. A time that
//!   is skipped fires at the first instant after the gap; a time that occurs twice fires only the first time.
//! - A pattern whose hour field starts with `*` (`*/15 * * * *`) follows the hours that really pass: it fires in both
//!   of two equal hours, and not in an hour that is skipped.

mod cron;

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use self::cron::Cron;
use backline_model::health::UnreadableRow;
use backline_model::ids::is_plain_name;
use backline_model::run::BACKFILL;
use backline_model::{CatchUp, FireDecision, Overlap, Platform, Schedule, ScheduleSpec, Zone};

/// How late a time may be handled without counting as missed. A restart, or another host taking over, takes less, and a
/// nightly run that starts five minutes late is not a missed one.
pub const LATE_MAX: TimeDelta = TimeDelta::minutes(5);

/// Most missed times that are decided one by one, the latest ones: a thousand days, or sixteen hours of a schedule that
/// fires every minute. Earlier ones are dropped.
pub const MISSED_MAX: usize = 1_000;

/// Most times of a schedule that wait for their turn: a day of hourly runs. Runs that fall behind further never catch
/// up, and what they collect late is of the same moment as what the next one collects.
pub const QUEUE_MAX: u32 = 24;

/// How far back missed times are searched for at first; each further search goes back twice as far.
const LOOK_BACK: TimeDelta = TimeDelta::days(1);

/// How far back the latest time is searched for: a leap year.
const A_YEAR: TimeDelta = TimeDelta::days(366);

/// Longest name of a schedule, in characters.
const NAME_CHARACTERS_MAX: usize = 63;

/// Names that stand for runs that no schedule started.
pub const NAMES_TAKEN: [&str; 3] = ["manual", "activation", BACKFILL];

/// Why a schedule is not valid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// The pattern does not have five fields.
    #[error("'{given}' has {found} fields; write five, minute hour day month weekday, such as '0 2 * * *'")]
    Fields {
        /// The whole pattern.
        given: String,
        /// Number of fields found.
        found: usize,
    },
    /// A field that is not valid.
    #[error("the field for the {field}, '{given}', is wrong: {problem}; write {example}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Text of the field.
        given: String,
        /// What is wrong with it.
        problem: String,
        /// Example of a valid field.
        example: &'static str,
    },
    /// No date matches the pattern.
    #[error("'{given}' names a day that never comes, such as 30 February")]
    Never {
        /// The whole pattern.
        given: String,
    },
    /// A name that is not valid.
    #[error(
        "'{given}' can't be a schedule's name: use 1 to {NAME_CHARACTERS_MAX} of a-z, 0-9, '-' and '_', \
         starting with a letter or digit"
    )]
    Name {
        /// The name that was given.
        given: String,
    },
    /// A name that is reserved.
    #[error("a schedule can't be named '{given}': that name is for runs that no schedule started; choose another name")]
    NameTaken {
        /// The name that was given.
        given: String,
    },
}

/// Checks the name of a schedule.
///
/// # Errors
/// If it has a character that names can't have, or if it is reserved.
pub fn check_name(name: &str) -> Result<(), ScheduleError> {
    if !is_plain_name(name, NAME_CHARACTERS_MAX) {
        return Err(ScheduleError::Name { given: name.to_owned() });
    }
    if NAMES_TAKEN.contains(&name) {
        return Err(ScheduleError::NameTaken { given: name.to_owned() });
    }
    Ok(())
}

/// Whether a time of a schedule that covers the platform came after `since` and up to `until`; `None` where no schedule
/// covers it. A schedule that can't be read counts as one whose time came.
#[must_use]
pub fn time_came<'a>(
    specs: impl IntoIterator<Item = &'a ScheduleSpec>,
    platform: &Platform,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Option<bool> {
    let covers =
        |spec: &&ScheduleSpec| spec.enabled && (spec.platforms.is_empty() || spec.platforms.contains(platform));
    let came = |spec: &ScheduleSpec| {
        Timetable::of(spec).map_or(true, |times| times.next_after(since).is_some_and(|next| next <= until))
    };
    specs.into_iter().filter(covers).map(came).reduce(|one, other| one || other)
}

/// Schedules whose times can't be read, such as those that another program wrote: they fire at no time, and are named
/// as rows that are left out.
#[must_use]
pub fn unreadable(schedules: &[Schedule]) -> Vec<UnreadableRow> {
    let wrong = |schedule: &Schedule| {
        let problem = Timetable::of(&schedule.spec).err()?.to_string();
        let (table, name, column) = ("schedules".to_owned(), schedule.name.clone(), "cron".to_owned());
        Some(UnreadableRow { table, name, column, problem })
    };
    schedules.iter().filter_map(wrong).collect()
}

/// A parsed schedule.
#[derive(Clone, Debug)]
pub struct Timetable {
    cron: Cron,
    zone: Zone,
    catch_up: CatchUp,
    overlap: Overlap,
}

/// What to do about the times since the last evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// The times with their decisions, the oldest first. `Started` means: start a run for it now.
    pub fires: Vec<(DateTime<Utc>, FireDecision)>,
    /// The next time to decide; `None` if there is none.
    pub next_fire: Option<DateTime<Utc>>,
}

impl Timetable {
    /// Parses a schedule.
    ///
    /// # Errors
    /// [`ScheduleError`] names the field and gives an example.
    pub fn of(spec: &ScheduleSpec) -> Result<Self, ScheduleError> {
        let cron = Cron::parse(&spec.cron)?;
        Ok(Self { cron, zone: spec.timezone.clone(), catch_up: spec.catch_up, overlap: spec.overlap })
    }

    /// Most times that wait for their turn. A schedule that catches up on all that it missed may have as many as it
    /// decides one by one.
    #[must_use]
    pub fn queue_max(&self) -> u32 {
        match self.catch_up {
            CatchUp::All => u32::try_from(MISSED_MAX).unwrap_or(u32::MAX),
            CatchUp::Last | CatchUp::None => QUEUE_MAX,
        }
    }

    /// The first time after a given time; `None` if there is none.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron.next_after(&self.zone, after)
    }

    /// The latest time up to a given one; `None` if there was none in the year before it.
    #[must_use]
    pub fn latest_until(&self, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.missed(until.checked_sub_signed(A_YEAR)?, until).pop_back()
    }

    /// Decides each time after `considered_until` and up to `now`. `busy` tells whether a run of the schedule is
    /// running.
    ///
    /// A time more than [`LATE_MAX`] ago is missed, and is caught up as `catch_up` says. While the schedule is busy, it
    /// is queued, whatever `overlap` says. For a time that is not missed, `overlap` decides.
    #[must_use]
    pub fn due(&self, considered_until: DateTime<Utc>, now: DateTime<Utc>, mut busy: bool) -> Decisions {
        // The last instant that counts as missed.
        let late = now - LATE_MAX - TimeDelta::nanoseconds(1);
        let missed = self.missed(considered_until, late);
        let caught_up_from = match self.catch_up {
            CatchUp::All => 0,
            CatchUp::Last => missed.len().saturating_sub(1),
            CatchUp::None => missed.len(),
        };
        let mut fires = Vec::with_capacity(missed.len());
        for (index, fire_time) in missed.into_iter().enumerate() {
            let decision = match (index >= caught_up_from, busy) {
                (false, _) => FireDecision::Missed,
                (true, true) => FireDecision::Queued,
                (true, false) => FireDecision::Started,
            };
            busy |= decision == FireDecision::Started;
            fires.push((fire_time, decision));
        }
        let mut next_fire = self.next_after(considered_until.max(late));
        while let Some(fire_time) = next_fire.filter(|time| *time <= now) {
            let decision = match (busy, self.overlap) {
                (false, _) => FireDecision::Started,
                (true, Overlap::Queue) => FireDecision::Queued,
                (true, Overlap::Skip) => FireDecision::Skipped,
            };
            busy = true;
            fires.push((fire_time, decision));
            next_fire = self.next_after(fire_time);
        }
        Decisions { fires, next_fire }
    }

    /// The latest [`MISSED_MAX`] times after `after` and up to `until`, the oldest first. Searches from the end, so
    /// that an outage of years costs no more than one of days.
    fn missed(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> VecDeque<DateTime<Utc>> {
        let mut found = VecDeque::new();
        let (mut end, mut span) = (until, LOOK_BACK);
        while after < end && found.len() < MISSED_MAX {
            let start = end.checked_sub_signed(span).map_or(after, |start| start.max(after));
            let room = MISSED_MAX - found.len();
            let mut window = VecDeque::new();
            let mut next = self.next_after(start);
            while let Some(fire_time) = next.filter(|time| *time <= end) {
                if window.len() == room {
                    window.pop_front();
                }
                window.push_back(fire_time);
                next = self.next_after(fire_time);
            }
            window.append(&mut found);
            found = window;
            end = start;
            span = span.checked_mul(2).unwrap_or(span);
        }
        found
    }
}

#[cfg(test)]
mod tests;
