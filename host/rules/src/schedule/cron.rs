//! One cron pattern in local time of a zone.
//!
//! croner parses the pattern and does the calendar arithmetic in UTC, a clock without changes; clock changes are
//! handled here. With them, croner treats a pattern with two hours as if it had none, and does not get past a gap of
//! more than two hours.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Timelike as _, Utc};
use croner::parser::{CronParser, Seconds, Year};

use super::ScheduleError;
use backline_model::Zone;
use backline_model::zone::first_where;

/// The fields in order, each with its valid values.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59, * or */15"),
    ("hour", "0 to 23, * or */6"),
    ("day of the month", "1 to 31 or *"),
    ("month", "1 to 12, JAN to DEC or *"),
    ("day of the week", "0 to 7, SUN to SAT or *"),
];

/// A whole day: no zone's clock has ever been changed by more.
const CHANGE_MAX: TimeDelta = TimeDelta::hours(24);

/// A parsed pattern.
#[derive(Clone, Debug)]
pub(super) struct Cron {
    pattern: croner::Cron,
    /// Whether the hour field starts with `*`: then the pattern follows the hours that really pass.
    hourly: bool,
}

impl Cron {
    /// Parses five fields.
    pub(super) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != FIELDS.len() {
            return Err(ScheduleError::Fields { given: text.to_owned(), found: fields.len() });
        }
        let pattern = parse(&fields.join(" ")).map_err(|error| wrong_field(&fields, &error))?;
        let hourly = fields[1].starts_with('*');
        let cron = Self { pattern, hourly };
        // Every date falls on each weekday within 28 years, except around centuries without a leap year.
        let start = DateTime::UNIX_EPOCH.naive_utc();
        match cron.next_civil(start, true) {
            Some(_) => Ok(cron),
            None => Err(ScheduleError::Never { given: text.to_owned() }),
        }
    }

    /// The first instant after `after` that matches the pattern.
    pub(super) fn next_after(&self, zone: &Zone, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.hourly { self.next_passing(zone, after) } else { self.next_set(zone, after) }
    }

    /// For fixed hours: the first local time whose instant is later. Instants never decrease along local time.
    fn next_set(&self, zone: &Zone, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut civil = zone.civil_at(after);
        loop {
            civil = self.next_civil(civil, false)?;
            let instant = zone.instant_of(civil);
            if instant > after {
                return Some(instant);
            }
        }
    }

    /// For the hours that pass: the first instant whose local time matches. Between two clock changes local time is
    /// continuous, so each such piece is searched separately.
    fn next_passing(&self, zone: &Zone, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let (mut start, mut inclusive) = (after, false);
        loop {
            let offset = zone.offset_at(start);
            let civil = self.next_civil(start.naive_utc() + offset, inclusive)?;
            let instant = (civil - offset).and_utc();
            // Soon after the start an hour may occur twice, and its second occurrence matches although local time has
            // passed it before.
            let soon = instant.min(start + CHANGE_MAX * 2);
            let Some(end) = [soon, instant].into_iter().find(|time| zone.offset_at(*time) != offset) else {
                return Some(instant);
            };
            start = first_where(start, end, |time| zone.offset_at(time) != offset);
            inclusive = true;
        }
    }

    /// The next matching time on a clock without changes.
    fn next_civil(&self, from: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        let whole = from.with_nanosecond(0)?;
        // A time within a second is after that second.
        let inclusive = inclusive && whole == from;
        self.pattern.find_next_occurrence(&whole.and_utc(), inclusive).ok().map(|time| time.naive_utc())
    }
}

fn parse(text: &str) -> Result<croner::Cron, croner::errors::CronError> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(text)
}

/// Finds the field that is not valid: the first one that can't be parsed among stars.
fn wrong_field(fields: &[&str], whole: &croner::errors::CronError) -> ScheduleError {
    for (index, (field, example)) in FIELDS.into_iter().enumerate() {
        let mut alone = ["*"; FIELDS.len()];
        alone[index] = fields[index];
        if let Err(error) = parse(&alone.join(" ")) {
            return ScheduleError::Field {
                field,
                given: fields[index].to_owned(),
                problem: message_of(&error),
                example,
            };
        }
    }
    ScheduleError::Field {
        field: "pattern",
        given: fields.join(" "),
        problem: message_of(whole),
        example: "'0 2 * * *'",
    }
}

/// croner's message without its full stop.
fn message_of(error: &croner::errors::CronError) -> String {
    error.to_string().trim_end_matches('.').to_owned()
}
