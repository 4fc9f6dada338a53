//! One cron pattern in local time of a zone.
//!
//! croner parses the pattern and does the calendar arithmetic in UTC, a clock without changes; clock changes are
//! handled here. With them, croner treats a pattern with two hours as if it had none, and does not get past a gap of
//! more than two hours.

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

use super::ScheduleError;

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
    pub(super) fn next_after(&self, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.hourly { self.next_passing(zone, after) } else { self.next_set(zone, after) }
    }

    /// For fixed hours: the first local time whose instant is later. Instants never decrease along local time.
    fn next_set(&self, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut civil = after.with_timezone(&zone).naive_local();
        loop {
            civil = self.next_civil(civil, false)?;
            let instant = first_instant(zone, civil)?;
            if instant > after {
                return Some(instant);
            }
        }
    }

    /// For the hours that pass: the first instant whose local time matches. Between two clock changes local time is
    /// continuous, so each such piece is searched separately.
    fn next_passing(&self, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let (mut start, mut inclusive) = (after, false);
        loop {
            let offset = offset_at(zone, start);
            let civil = self.next_civil(start.naive_utc() + offset, inclusive)?;
            let instant = (civil - offset).and_utc();
            // Soon after the start an hour may occur twice, and its second occurrence matches although local time has
            // passed it before.
            let soon = instant.min(start + CHANGE_MAX * 2);
            let Some(end) = [soon, instant].into_iter().find(|time| offset_at(zone, *time) != offset) else {
                return Some(instant);
            };
            start = first_where(start, end, |time| offset_at(zone, time) != offset);
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

/// The instant of a local time: the first of two, or the end of the gap for a time that is skipped.
fn first_instant(zone: Tz, civil: NaiveDateTime) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&civil) {
        MappedLocalTime::Single(time) | MappedLocalTime::Ambiguous(time, _) => Some(time.with_timezone(&Utc)),
        MappedLocalTime::None => {
            let around = civil.and_utc();
            let (before, after) =
                (around.checked_sub_signed(CHANGE_MAX * 2)?, around.checked_add_signed(CHANGE_MAX * 2)?);
            Some(first_where(before, after, |time| time.naive_utc() + offset_at(zone, time) > civil))
        }
    }
}

fn offset_at(zone: Tz, time: DateTime<Utc>) -> TimeDelta {
    TimeDelta::seconds(i64::from(zone.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc()))
}

/// The first whole second in (before, after] from which a condition holds. It must not hold at `before` and must hold
/// at `after`.
fn first_where(before: DateTime<Utc>, after: DateTime<Utc>, holds: impl Fn(DateTime<Utc>) -> bool) -> DateTime<Utc> {
    let (mut low, mut high) = (before.timestamp(), after.timestamp());
    let at = |second: i64| DateTime::from_timestamp(second, 0).unwrap_or(after);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(at(middle)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    at(high)
}
