//! The only source of the current time. Everything else is given a [`Clock`], so that a test decides the time.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

/// The first moment that both databases store. Years have four digits there, so that times sort as text.
pub const FIRST_TIME: DateTime<Utc> = DateTime::from_timestamp(-62_135_596_800, 0).expect("the year 1");

/// The last one.
pub const LAST_TIME: DateTime<Utc> = DateTime::from_timestamp(253_402_300_799, 0).expect("the year 9999");

/// A function that returns the current time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that may")]
    pub fn system() -> Self {
        Self(Arc::new(Utc::now))
    }

    /// A clock that calls the given function.
    pub fn from_fn(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
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
        (self.0)().trunc_subsecs(6)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
