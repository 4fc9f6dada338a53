//! Digests: when they are due, what they tell of, what moved most, and the words. Pure: rows and times are arguments.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};

use crate::alerting::is_quiet;
use backline_model::{AlertDigest, ChannelTarget};

mod moved;
mod text;

pub use moved::{Move, Moved, Movers, PlatformNumbers};
pub use text::{DigestText, Facts, Needy, written};

/// Most entries of each list of a digest, so that its size is bounded however many artists a tenant has.
pub const SHOWN_MAX: usize = 10;

/// The type of messages that are digests, beside the types of events.
pub const KIND: &str = "digest";

/// Most days between two times of a digest, and one more: what is looked through for the next and the last one.
const DAYS_MAX: usize = 9;

/// Whether a digest is sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestDue {
    /// It waits for its time.
    Waits,
    /// Its time is another one than is stored: a clock that was wrong set it, or the rules of its zone changed.
    Moves(DateTime<Utc>),
    /// It is due.
    Due {
        /// The day that it is of. Of several that were missed, it is the latest.
        day: NaiveDate,
        /// When it is due after that.
        next_at: DateTime<Utc>,
    },
}

/// Whether a digest is sent now.
#[must_use]
pub fn due_now(digest: &AlertDigest, now: DateTime<Utc>) -> DigestDue {
    let next_at = next_after(digest, now);
    match last_day(digest, now) {
        Some(day) if digest.next_at <= now => DigestDue::Due { day, next_at },
        _ if digest.next_at == next_at => DigestDue::Waits,
        _ => DigestDue::Moves(next_at),
    }
}

/// The first time after `now` at which a digest is due.
#[must_use]
pub fn next_after(digest: &AlertDigest, now: DateTime<Utc>) -> DateTime<Utc> {
    let days = digest.timezone.date_at(now).iter_days().take(DAYS_MAX).filter(|day| digest.every.holds(*day));
    let found = days.map(|day| time_on(digest, day)).find(|at| *at > now);
    // No day of the calendar is left.
    found.unwrap_or(backline_model::clock::LAST_TIME)
}

/// The day of the last time up to `now` at which a digest was due.
fn last_day(digest: &AlertDigest, now: DateTime<Utc>) -> Option<NaiveDate> {
    let mut days = digest.timezone.date_at(now).iter_days().rev().take(DAYS_MAX);
    days.find(|day| digest.every.holds(*day) && time_on(digest, *day) <= now)
}

/// Whether a later digest than that of a day is due: it tells what people want to know by now.
#[must_use]
pub fn is_overtaken(digest: &AlertDigest, day: NaiveDate, now: DateTime<Utc>) -> bool {
    last_day(digest, now).is_some_and(|last| last > day)
}

/// When the digest of a day is due.
#[must_use]
pub fn time_on(digest: &AlertDigest, day: NaiveDate) -> DateTime<Utc> {
    digest.timezone.instant_of(day.and_time(hour_of(digest)))
}

fn hour_of(digest: &AlertDigest) -> NaiveTime {
    NaiveTime::from_hms_opt(digest.hour, 0, 0).unwrap_or(NaiveTime::MIN)
}

/// What a digest tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first date of numbers: their changes go back further.
    pub since: NaiveDate,
    /// The last date of numbers.
    pub until: NaiveDate,
    /// The time after which accounts ended without numbers.
    pub after: DateTime<Utc>,
    /// The time up to which they ended so.
    pub up_to: DateTime<Utc>,
}

/// What a digest that is of a moment tells of. The numbers are those of its day, or of the day before where none came
/// in yet. Dates are the artists' own: the next day of some has begun already.
#[must_use]
pub fn period(digest: &AlertDigest, up_to: DateTime<Utc>) -> Period {
    let (civil, span) = (digest.timezone.civil_at(up_to), Days::new(digest.every.span_days().into()));
    let began = civil.checked_sub_days(span).unwrap_or(civil);
    let today = civil.date();
    Period {
        since: today.pred_opt().unwrap_or(today),
        until: today.succ_opt().unwrap_or(today),
        after: digest.timezone.instant_of(began).min(up_to),
        up_to,
    }
}

/// Checks a digest's own values.
///
/// # Errors
/// What is expected.
pub fn check(digest: &AlertDigest) -> Result<(), String> {
    let Some(hour) = NaiveTime::from_hms_opt(digest.hour, 0, 0) else {
        return Err(format!("{} is no hour of a day; write one from 0 to 23", digest.hour));
    };
    let Some(quiet) = &digest.quiet else { return Ok(()) };
    if quiet.from == quiet.until {
        return Err("quiet hours that begin when they end are all day or never; give two times".to_owned());
    }
    if is_quiet(quiet, hour) {
        let until = quiet.until.format("%H:%M");
        return Err(format!("its quiet hours hold its own hour, so that it would come at {until}; give another hour"));
    }
    Ok(())
}

/// Refuses a channel on which a digest would be an incident.
///
/// # Errors
/// Which kinds take one.
pub fn check_channel(target: &ChannelTarget) -> Result<(), String> {
    match target {
        ChannelTarget::Slack | ChannelTarget::Email(_) | ChannelTarget::Generic { .. } => Ok(()),
        ChannelTarget::Pagerduty { .. } | ChannelTarget::Opsgenie { .. } => {
            let kind = target.kind();
            Err(format!("a digest would be an incident on a channel of the kind {kind}; name one of slack or email"))
        }
    }
}

#[cfg(test)]
mod tests;
