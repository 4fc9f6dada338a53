//! This host's clock, and another one that it is compared with before anything is deleted because of its age.
//!
//! A clock that jumps ahead would make everything past its time at once, and what is deleted is gone when it is right
//! again. The other clock is the database's. A file has none, so there it is what this clock would show now if it had
//! gone on since it was last right: the time that passed is counted by the kernel, which no setting of the clock
//! changes.
//!
//! A clock that jumps under a running service would also put wrong dates, leases and ends of tokens into the database.
//! So what is about to write them asks first whether the clock [is right](Clocks::is_right).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rustix::time::{ClockId, clock_gettime};

use backline_model::clock::{AHEAD_MAX, Clock, ClockAhead, Past};
use backline_model::remedies::{Remedy, off};
use backline_store::{DatabaseKind, Store, StoreError};

/// The clock that counts the time that really passes, also while the machine sleeps.
#[cfg(target_os = "linux")]
const STEADY: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const STEADY: ClockId = ClockId::Monotonic;

/// What the clock and the steady one showed when they last agreed.
type Agreed = (DateTime<Utc>, Duration);

/// The clock of a host and what it is compared with. Cloning shares it.
#[derive(Clone)]
pub(in crate::pipeline) struct Clocks {
    store: Store,
    clock: Clock,
    agreed: Arc<Mutex<Option<Agreed>>>,
}

impl Clocks {
    pub(in crate::pipeline) fn new(store: Store, clock: Clock) -> Self {
        let clocks = Self { store, clock, agreed: Arc::default() };
        // From here on it is counted.
        clocks.steady(clocks.clock.now(), steady_now());
        clocks
    }

    /// A time up to which something may be deleted, where it has passed by the other clock too.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::pipeline) async fn past(&self, at: DateTime<Utc>) -> Result<Result<Past, ClockAhead>, StoreError> {
        Ok(Past::by(at, self.other(at).await?))
    }

    /// How far this host's clock is ahead of the other one, or behind it where that is negative; none where they agree.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::pipeline) async fn difference(&self) -> Result<Option<TimeDelta>, StoreError> {
        let (now, steady) = (self.clock.now(), steady_now());
        let other = self.other(now).await?;
        let difference = difference_of(now, other, delta(steady_now().saturating_sub(steady)));
        if difference.abs() > AHEAD_MAX {
            return Ok(Some(difference));
        }
        *self.agreed() = Some((now, steady));
        Ok(None)
    }

    /// Whether this clock has gone on like the steady one since the two clocks last agreed. Asks nobody, so that it can
    /// be asked before each piece of work. Beside a file there is neither another clock nor another host that could do
    /// the work: there it always counts as right.
    pub(in crate::pipeline) fn is_right(&self) -> bool {
        self.right_now().is_some()
    }

    /// The time, where the clock [is right](Self::is_right): for what is written into the database.
    pub(in crate::pipeline) fn right_now(&self) -> Option<DateTime<Utc>> {
        let (now, steady) = (self.clock.now(), steady_now());
        (!self.may_be_wrong() || self.steady(now, steady) == now).then_some(now)
    }

    /// The same; the database is asked where the clock has not gone on like the steady one. It is right all the same if
    /// the two agree: it was set right, or the machine stood still, which the steady clock of a virtual one misses.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::pipeline) async fn asked_now(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        match self.right_now() {
            Some(now) => Ok(Some(now)),
            None => Ok(self.difference().await?.is_none().then(|| self.clock.now())),
        }
    }

    /// Whether a time was read from this clock a moment ago, and the clock [is right](Self::is_right).
    pub(in crate::pipeline) fn agrees_with(&self, time: DateTime<Utc>) -> bool {
        self.is_within(time, time)
    }

    /// Whether the clock [is right](Self::is_right) and shows a time of this span, give or take [`AHEAD_MAX`].
    pub(in crate::pipeline) fn is_within(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> bool {
        !self.may_be_wrong() || self.right_now().is_some_and(|now| from - now <= AHEAD_MAX && now - until <= AHEAD_MAX)
    }

    /// How far this clock is ahead of the database's, or behind it where that is negative, since it jumped; none where
    /// it is right. One that was set to the database's time is right from then on.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::pipeline) async fn jumped(&self) -> Result<Option<TimeDelta>, StoreError> {
        if self.is_right() { Ok(None) } else { self.difference().await }
    }

    /// Whether the clock is one that jumps, beside a database that has another one.
    fn may_be_wrong(&self) -> bool {
        self.clock.is_of_machine() && self.store.kind() == DatabaseKind::Postgres && !off(Remedy::SteadyClock)
    }

    /// What the other clock shows; `given` where a test decides the time, which nothing can be compared with.
    async fn other(&self, given: DateTime<Utc>) -> Result<DateTime<Utc>, StoreError> {
        if !self.clock.is_of_machine() {
            return Ok(given);
        }
        match self.store.server_time_get().await? {
            Some(time) => Ok(time),
            None => Ok(self.steady(self.clock.now(), steady_now())),
        }
    }

    /// What the clock would show if it had gone on since it was last right. Small corrections, as by NTP, are taken
    /// over.
    fn steady(&self, now: DateTime<Utc>, steady: Duration) -> DateTime<Utc> {
        let mut agreed = self.agreed();
        let expected = agreed.and_then(|(time, at)| time.checked_add_signed(delta(steady.saturating_sub(at))));
        match expected {
            Some(expected) if (now - expected).abs() > AHEAD_MAX => expected,
            _ => {
                *agreed = Some((now, steady));
                now
            }
        }
    }

    fn agreed(&self) -> MutexGuard<'_, Option<Agreed>> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a clock that showed `now` is ahead of the other one, or behind it where that is negative. The other one was
/// read at some moment of the time `took` after that: what a slow answer explains is no difference.
fn difference_of(now: DateTime<Utc>, other: DateTime<Utc>, took: TimeDelta) -> TimeDelta {
    let difference = now - other;
    if difference < TimeDelta::zero() { (difference + took).min(TimeDelta::zero()) } else { difference }
}

fn delta(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}

fn steady_now() -> Duration {
    let time = clock_gettime(STEADY);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_store::StoreOptions;

    #[test]
    fn an_answer_that_took_long_makes_no_clock_wrong() {
        let now = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
        let after = |other: i64, took: i64| {
            difference_of(now, now + TimeDelta::seconds(other), TimeDelta::seconds(took)).num_seconds()
        };
        assert_eq!([after(0, 0), after(400, 0), after(-400, 0)], [0, -400, 400]);
        assert_eq!([after(400, 400), after(400, 900), after(400, 60)], [0, 0, -340], "it was read while it waited");
        assert_eq!(after(-400, 400), 400, "and never before");
    }

    #[tokio::test]
    async fn a_clock_that_jumps_is_told_from_time_that_passes() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let store = Store::open(&url, StoreOptions::default()).await.expect("the database opens");
        let start = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
        let clocks = Clocks { store, clock: Clock::fixed(start), agreed: Arc::default() };
        let at = |seconds: u64| (start + delta(Duration::from_secs(seconds)), Duration::from_secs(1_000 + seconds));
        let day = 86_400;
        for seconds in [0, 1, day, 40 * day] {
            let (now, steady) = at(seconds);
            assert_eq!(clocks.steady(now, steady), now, "{seconds} s passed");
        }
        let (now, steady) = at(40 * day + 60);
        assert_eq!(clocks.steady(now + TimeDelta::days(40), steady), now, "it jumped ahead");
        assert_eq!(clocks.steady(now - TimeDelta::days(40), steady), now, "it jumped back");
        let corrected = now + TimeDelta::minutes(4);
        assert_eq!(clocks.steady(corrected, steady), corrected, "a small correction");
        assert!(clocks.past(now + TimeDelta::days(9)).await.expect("it is read").is_ok(), "a test decides the time");
    }
}
