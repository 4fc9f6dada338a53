//! Alerts to people: which route takes an event, how urgent it is, what goes into one message, when it is due, and what
//! an answer means. Pure: time is an argument.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveTime, TimeDelta, Utc};
use serde_json::Value as Json;

use crate::delivery;
use backline_model::event::types;
use backline_model::{AlertPhase, AlertRoute, AlertSeverity, ChannelTarget, QuietHours};

mod render;
mod text;

pub use render::{Request, Told, check_template, request};
pub(crate) use text::plain;
pub use text::{AlertText, SHOWN_MAX, Shown, phase_of, sample, text};

/// How long a host holds a message while it sends it. Longer than any answer may take.
pub const LEASE: Duration = Duration::from_secs(60);

/// Longest wait for a receiver, a mail server included: half a lease.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How long after it was due a message is tried at all. What is older tells nobody anything.
const GIVE_UP_AFTER: TimeDelta = TimeDelta::hours(6);

/// Wait after the first failure; it doubles with each.
const BACKOFF: TimeDelta = TimeDelta::seconds(5);

/// Longest wait between two attempts, one that a receiver asks for included.
pub const BACKOFF_MAX: TimeDelta = TimeDelta::minutes(30);

/// Longest time for which a message gathers events, in seconds.
const WINDOW_S_MAX: u32 = 86_400;

/// Longest time until a message that begins now is due: a day in which it gathers, and then a day of quiet hours, which
/// is longer where clocks are put back.
pub const DUE_WITHIN: TimeDelta = TimeDelta::days(3);

/// What a message gathers: events of one group go into one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What it is about: the same when that begins and when it is over. It names no artist.
    pub subject: String,
    /// The events' type.
    pub kind: String,
    /// Whether it begins or is over.
    pub phase: AlertPhase,
    /// How urgent it is.
    pub severity: AlertSeverity,
}

impl Group {
    /// The name of the group among those of a channel: messages of different urgency are apart, and so are beginning
    /// and end.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {} {}", self.subject, self.phase, self.severity)
    }
}

/// What routes know of an event.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its type.
    pub kind: &'a str,
    /// The platform it names.
    pub platform: Option<&'a str>,
    /// Tenant of its artist.
    pub tenant: Option<&'a str>,
    /// Its data; none for an event about numbers.
    pub data: Option<&'a Json>,
}

/// The group that a route puts an event into; none where it does not take the event.
#[must_use]
pub fn group(route: &AlertRoute, head: Head<'_>) -> Option<Group> {
    // Who is told of a beginning is told of its end.
    let phase = phase_of(head.kind);
    let begun = if phase == AlertPhase::Recovered { types::HEALTH_DEGRADED } else { head.kind };
    let patterns = &route.events;
    let is_wanted = patterns
        .iter()
        .any(|pattern| delivery::pattern_matches(pattern, begun) || delivery::pattern_matches(pattern, head.kind));
    let is_theirs = route.tenant.as_ref().is_none_or(|tenant| head.tenant == Some(tenant.as_str()));
    let severity = severity(begun, head.data);
    if !is_wanted || !is_theirs || severity < route.severity {
        return None;
    }
    let alert = head.data.and_then(|data| data["alert"].as_str()).unwrap_or_default();
    let subject = [begun, alert, head.platform.unwrap_or_default(), head.tenant.unwrap_or_default()].join("/");
    Some(Group { subject, kind: head.kind.to_owned(), phase, severity })
}

/// How urgent an event is.
#[must_use]
pub fn severity(kind: &str, data: Option<&Json>) -> AlertSeverity {
    let of = |key: &str| data.and_then(|data| data[key].as_str()).unwrap_or_default();
    match kind {
        types::RUN_COMPLETED => match of("status") {
            "failed" => AlertSeverity::Critical,
            "partial_failure" => AlertSeverity::Warning,
            _ => AlertSeverity::Info,
        },
        types::HEALTH_DEGRADED | types::HEALTH_RECOVERED => match of("alert") {
            // Numbers are being lost while nobody acts.
            "completion" | "no_data" | "host_lost" => AlertSeverity::Critical,
            _ => AlertSeverity::Warning,
        },
        types::RECONNECT_NEEDED
        | types::ACCOUNT_NOT_FOUND
        | types::CREDENTIAL_EXPIRING
        | types::METRIC_LOST
        | types::WAIT_CUT
        | types::CONNECTOR_ROLLED_BACK => AlertSeverity::Warning,
        _ => AlertSeverity::Info,
    }
}

/// When a message that begins now is due: after the route's window, and not in quiet hours unless it is critical.
#[must_use]
pub fn due_at(route: &AlertRoute, severity: AlertSeverity, now: DateTime<Utc>) -> DateTime<Utc> {
    let gathered = now + TimeDelta::seconds(route.window_s.into());
    match &route.quiet {
        Some(quiet) if severity < AlertSeverity::Critical => end_of_quiet(quiet, gathered).unwrap_or(gathered),
        _ => gathered,
    }
}

/// Whether a time of day is within quiet hours.
pub(crate) fn is_quiet(quiet: &QuietHours, time: NaiveTime) -> bool {
    if quiet.from > quiet.until {
        time >= quiet.from || time < quiet.until
    } else {
        time >= quiet.from && time < quiet.until
    }
}

/// The end of the quiet hours that a time is in; none where it is in none.
#[must_use]
pub fn end_of_quiet(quiet: &QuietHours, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let local = quiet.zone.civil_at(at);
    let (time, today) = (local.time(), local.date());
    let ends_tomorrow = quiet.from > quiet.until && time >= quiet.from;
    let day = if ends_tomorrow { today.checked_add_days(Days::new(1))? } else { today };
    // Where clocks are put back in between, the local time may come twice; the message is never due in the past.
    is_quiet(quiet, time).then(|| quiet.zone.instant_of(day.and_time(quiet.until)).max(at))
}

/// Checks a route's own values.
///
/// # Errors
/// What is expected.
pub fn check_route(route: &AlertRoute) -> Result<(), String> {
    if route.window_s > WINDOW_S_MAX {
        return Err("a message gathers events for at most a day".to_owned());
    }
    if route.quiet.as_ref().is_some_and(|quiet| quiet.from == quiet.until) {
        return Err("quiet hours that begin when they end are all day or never; give two times".to_owned());
    }
    route.events.iter().try_for_each(|pattern| delivery::check_pattern(pattern))
}

/// How often a channel takes a message: Slack takes one a second, and switches off a sender that does not keep to it.
#[must_use]
pub fn pause_between(target: &ChannelTarget) -> TimeDelta {
    match target {
        ChannelTarget::Slack => TimeDelta::seconds(1),
        _ => TimeDelta::zero(),
    }
}

/// What is known of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// The receiver answered with an HTTP status, and may have asked for a wait.
    Answered {
        /// Status of the answer.
        status: u16,
        /// The wait that it asked for.
        retry_after: Option<Duration>,
    },
    /// The receiver took it, by a protocol without a status.
    Taken,
    /// It did not arrive, for a reason that may pass.
    NotSent(String),
    /// It did not arrive and never will.
    Refused(String),
    /// It may have arrived.
    Unknown(String),
}

/// What becomes of a message after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertNext {
    /// It arrived.
    Sent,
    /// It is sent again.
    Again {
        /// When it is sent again.
        at: DateTime<Utc>,
        /// What went wrong.
        problem: String,
    },
    /// It is given up.
    Failed(String),
    /// It may have arrived, and is not sent again.
    Unknown(String),
}

/// What becomes of a message. `attempt` counts from 1; `due_at` is when it was to be sent.
#[must_use]
pub fn after(
    target: &ChannelTarget,
    attempted: &Attempted,
    attempt: u32,
    due_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> AlertNext {
    let doubled = i32::try_from(2_u32.saturating_pow(attempt.saturating_sub(1).min(16))).unwrap_or(i32::MAX);
    let backoff = (BACKOFF * doubled).min(BACKOFF_MAX);
    let again = |problem: String, asked: Option<Duration>| {
        let asked = asked.and_then(|asked| TimeDelta::from_std(asked).ok()).unwrap_or_default();
        let at = now + backoff.max(asked).min(BACKOFF_MAX);
        if at - due_at > GIVE_UP_AFTER {
            return AlertNext::Failed(format!("given up after {attempt} attempts: {problem}"));
        }
        AlertNext::Again { at, problem }
    };
    let unknown = |problem: String, asked: Option<Duration>| {
        if target.is_idempotent() {
            return again(problem, asked);
        }
        AlertNext::Unknown(format!("it may have arrived, and is not sent again: {problem}"))
    };
    match attempted {
        Attempted::Taken | Attempted::Answered { status: 200..=299, .. } => AlertNext::Sent,
        // It says that nothing was done, so that any channel may be asked again.
        Attempted::Answered { status: 429, retry_after } => again("answered 429".to_owned(), *retry_after),
        Attempted::Answered { status: status @ (408 | 500..=599), retry_after } => {
            unknown(format!("answered {status}"), *retry_after)
        }
        Attempted::Answered { status, .. } => AlertNext::Failed(format!("answered {status}")),
        Attempted::NotSent(problem) => again(problem.clone(), None),
        Attempted::Refused(problem) => AlertNext::Failed(problem.clone()),
        Attempted::Unknown(problem) => unknown(problem.clone(), None),
    }
}

#[cfg(test)]
mod tests;
