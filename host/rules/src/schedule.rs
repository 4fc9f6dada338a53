//! Which times a schedule fires at, and what becomes of each. Pure: the time is an argument.
//!
//! Fields are read as in crontab(5), on the wall clock of the schedule's zone. Where the clock is changed:
//!
//! - A pattern with a **set hour** (`30 2 * * *`, `0 2,14 * * *`) fires once for each of its wall-clock times. One that is left out fires at
//!   the first instant after the gap; one that comes twice fires the first time only.
//! - A pattern whose hour field begins with `*` (`*/15 * * * *`) goes by the hours that really pass: it fires in both of two equal hours,
//!   and not in one that is left out.

mod cron;

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use self::cron::Cron;
use backline_model::{CatchUp, FireDecision, Overlap, ScheduleSpec};

/// How late a time of firing may be decided without counting as missed: a restart, or another host taking over, is well within it, and
/// nobody would call a nightly run that starts five minutes late a missed one.
pub const LATE_MAX: TimeDelta = TimeDelta::minutes(5);

/// Most missed times that are decided one by one, the latest ones: a thousand days, or the last sixteen hours of every minute. Those
/// before them pass without a trace.
pub const MISSED_MAX: usize = 1_000;

/// How far back missed times are looked for first; each further look goes twice as far.
const LOOK_BACK: TimeDelta = TimeDelta::days(1);

/// Longest name of a schedule, in characters.
const NAME_CHARACTERS_MAX: usize = 63;

/// What a run that no schedule started says it was started by.
const NAMES_TAKEN: [&str; 2] = ["manual", "activation"];

/// What is wrong with a schedule as it was given.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// Not five fields.
    #[error("'{given}' has {found} fields; write five, minute hour day month weekday, such as '0 2 * * *'")]
    Fields {
        /// The whole pattern.
        given: String,
        /// How many.
        found: usize,
    },
    /// A field that can't be read.
    #[error("the field for the {field}, '{given}', is wrong: {problem}; write {example}")]
    Field {
        /// Which of the five.
        field: &'static str,
        /// As given.
        given: String,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        example: &'static str,
    },
    /// No day is like that.
    #[error("'{given}' names a day that never comes, such as 30 February")]
    Never {
        /// The whole pattern.
        given: String,
    },
    /// A name that can't be one.
    #[error(
        "'{given}' can't be a schedule's name: use 1 to {NAME_CHARACTERS_MAX} of a-z, 0-9, '-' and '_', starting with a letter or digit"
    )]
    Name {
        /// As given.
        given: String,
    },
    /// A name with another meaning.
    #[error("a schedule can't be named '{given}': runs that no schedule started are called so; choose another name")]
    NameTaken {
        /// As given.
        given: String,
    },
}

/// Checks a schedule's name.
///
/// # Errors
/// When it has other characters than names have, or another meaning.
pub fn check_name(name: &str) -> Result<(), ScheduleError> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let fits = name.len() <= NAME_CHARACTERS_MAX && name.chars().all(inside) && !name.is_empty();
    if !fits || name.starts_with(['-', '_']) {
        return Err(ScheduleError::Name { given: name.to_owned() });
    }
    if NAMES_TAKEN.contains(&name) {
        return Err(ScheduleError::NameTaken { given: name.to_owned() });
    }
    Ok(())
}

/// A schedule that can be asked for its times.
#[derive(Clone, Debug)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
    catch_up: CatchUp,
    overlap: Overlap,
}

/// What is to become of the times since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// The oldest first. `Started` means: start a run for it now.
    pub fires: Vec<(DateTime<Utc>, FireDecision)>,
    /// The next time to be decided; none when none will ever come.
    pub next_fire: Option<DateTime<Utc>>,
}

impl Timetable {
    /// Reads a schedule.
    ///
    /// # Errors
    /// [`ScheduleError`] names the field, and gives an example.
    pub fn of(spec: &ScheduleSpec) -> Result<Self, ScheduleError> {
        let cron = Cron::parse(&spec.cron)?;
        Ok(Self { cron, zone: spec.timezone, catch_up: spec.catch_up, overlap: spec.overlap })
    }

    /// The first time of firing after a given time; none when none will ever come.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron.next_after(self.zone, after)
    }

    /// Decides each time of firing after `considered_until` and up to `now`. `busy` tells whether a run of the schedule is under way.
    ///
    /// One that is more than [`LATE_MAX`] ago is missed, and caught up on as `catch_up` says; one that is caught up on waits for its turn
    /// while the schedule is busy, whatever `overlap` says. One that is on time follows `overlap` then.
    #[must_use]
    pub fn due(&self, considered_until: DateTime<Utc>, now: DateTime<Utc>, mut busy: bool) -> Decisions {
        // The last instant that is late.
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

    /// The latest [`MISSED_MAX`] times after `after` and up to `until`, the oldest first. Looks back from the end, so that an outage of years
    /// costs no more than one of days.
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
