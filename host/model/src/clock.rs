//! The only source of the current time. Everything else is given a [`Clock`], so that a test decides the time.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

/// The first moment that both databases store. Years have four digits there, so that times sort as text.
pub const FIRST_TIME: DateTime<Utc> = DateTime::from_timestamp(-62_135_596_800, 0).expect("the year 1");

/// The last one.
pub const LAST_TIME: DateTime<Utc> = DateTime::from_timestamp(253_402_300_799, 0).expect("the year 9999");

/// How far a clock may be ahead of another one, or behind it, and still be believed when something is deleted.
pub const AHEAD_MAX: TimeDelta = TimeDelta::minutes(5);

/// The latest time that is believed of what was written down before `now`. A later one was written by a clock that was
/// ahead, or by another program, and says nothing of when something happened: whatever is done again some time after it
/// would wait for as long as that clock was wrong.
#[must_use]
pub fn latest_believed(now: DateTime<Utc>) -> DateTime<Utc> {
    now.checked_add_signed(AHEAD_MAX).unwrap_or(LAST_TIME)
}

/// A function that returns the current time.
#[derive(Clone)]
pub struct Clock {
    read: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    is_of_machine: bool,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that may")]
    pub fn system() -> Self {
        Self::of_machine(Utc::now)
    }

    /// A clock that stands for a machine's: like that, it may be wrong, and is compared with others.
    pub fn of_machine(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(now), is_of_machine: true }
    }

    /// A clock that calls the given function, which decides the time: no other clock contradicts it.
    pub fn from_fn(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(now), is_of_machine: false }
    }

    /// A clock that always returns the same time.
    #[must_use]
    pub fn fixed(at: DateTime<Utc>) -> Self {
        Self::from_fn(move || at)
    }

    /// The current time in whole microseconds, which is what both databases can store.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        use chrono::SubsecRound as _;
        (self.read)().trunc_subsecs(6)
    }

    /// Whether it is a machine's clock, which may be wrong.
    #[must_use]
    pub fn is_of_machine(&self) -> bool {
        self.is_of_machine
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A time that has passed by more than one clock. Only what is past its retention as of such a time is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past(DateTime<Utc>);

/// A time has not passed by another clock: the one that says so may have jumped ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is {at} by this host's clock and {other} by the one it is compared with: nothing is deleted because of its age \
     until they agree; set the machine's clock by NTP, and restart the host if it is right already"
)]
pub struct ClockAhead {
    /// The time.
    pub at: DateTime<Utc>,
    /// What the other clock shows.
    pub other: DateTime<Utc>,
}

impl Past {
    /// A time, where it has passed by a clock that shows `other`, give or take [`AHEAD_MAX`].
    ///
    /// # Errors
    /// When it is later than that.
    pub fn by(at: DateTime<Utc>, other: DateTime<Utc>) -> Result<Self, ClockAhead> {
        if at - other > AHEAD_MAX { Err(ClockAhead { at, other }) } else { Ok(Self(at)) }
    }

    /// The time.
    #[must_use]
    pub fn at(self) -> DateTime<Utc> {
        self.0
    }

    /// An earlier time, which has passed too.
    #[must_use]
    pub fn before_by(self, age: TimeDelta) -> Self {
        Self(self.0.checked_sub_signed(age.abs()).unwrap_or(FIRST_TIME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_past_that_two_clocks_agree_on() {
        let now = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
        for seconds in [-40 * 86_400, 0, 300] {
            let at = now + TimeDelta::seconds(seconds);
            assert_eq!(Past::by(at, now).map(Past::at), Ok(at), "{seconds}");
        }
        for seconds in [301, 40 * 86_400] {
            let at = now + TimeDelta::seconds(seconds);
            assert_eq!(Past::by(at, now), Err(ClockAhead { at, other: now }), "{seconds}");
        }
        let past = Past::by(now, now).expect("past").before_by(TimeDelta::days(1));
        assert_eq!(past.at(), now - TimeDelta::days(1));
    }

    #[test]
    fn a_time_is_believed_that_another_clock_may_show_now() {
        let now = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
        assert_eq!(latest_believed(now), now + AHEAD_MAX);
        assert_eq!(latest_believed(DateTime::<Utc>::MAX_UTC), LAST_TIME, "there is an end");
    }

    #[test]
    fn only_a_machines_clock_may_be_wrong() {
        assert!(Clock::system().is_of_machine() && Clock::of_machine(|| DateTime::UNIX_EPOCH).is_of_machine());
        assert!(!Clock::fixed(DateTime::UNIX_EPOCH).is_of_machine());
    }
}
