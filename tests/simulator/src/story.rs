//! A story of some weeks, for a demonstration: what happens on which date, so that every page has something to show.
//!
//! | when | what happens |
//! |---|---|
//! | after a third of the days | YouTube answers nothing for a day |
//! | after two thirds of them | followers of one artist jump, those of another fall; see the traits of [`World`] |
//! | from the last tenth on | the Instagram token of the first artist is expired |
//! | always | the traits of [`World`], with `troubles` |
//!
//! A story of fewer than three days has nothing of the first three rows.

use chrono::{Days, NaiveDate};

use crate::faults::{Fault, FaultKind, RetryAfter};
use crate::state::SimulatorConfig;
use crate::world::{Platform, World};

/// The artist whose token expires.
const EXPIRING: u32 = 0;

/// Fewest days that anything happens in.
const DAYS_MIN: u32 = 3;

/// What Instagram answers to a token that is over.
const EXPIRED: &str = r#"{"error":{"message":"The session has expired.","type":"OAuthException","code":190,
"error_subcode":463,"fbtrace_id":"SIMULATED"}}"#;

/// So many days of so many artists, from a date on. The same arguments tell the same story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Story {
    first: NaiveDate,
    days: u32,
    artists: u32,
}

impl Story {
    /// A story of at least one day.
    #[must_use]
    pub fn new(first: NaiveDate, days: u32, artists: u32) -> Self {
        Self { first, days: days.max(1), artists }
    }

    /// The simulator in which it happens. Tokens neither expire nor are replaced, so that another one of the same
    /// configuration, in a later process, knows those that were given out.
    #[must_use]
    pub fn config(&self) -> SimulatorConfig {
        SimulatorConfig {
            artists: self.artists,
            date: self.first,
            event: Some(if self.days < DAYS_MIN { NaiveDate::MAX } else { self.date(self.days * 2 / 3) }),
            troubles: true,
            tiktok_rotates: false,
            tokens_expire: false,
            ..SimulatorConfig::default()
        }
    }

    /// Its dates, from the first one on.
    #[must_use]
    pub fn dates(&self) -> Vec<NaiveDate> {
        (0..self.days).map(|day| self.date(day)).collect()
    }

    /// Its last date.
    #[must_use]
    pub fn last(&self) -> NaiveDate {
        self.date(self.days - 1)
    }

    /// The date on which YouTube answers nothing.
    #[must_use]
    pub fn outage(&self) -> Option<NaiveDate> {
        (self.days >= DAYS_MIN).then(|| self.date(self.days / 3))
    }

    /// The first date on which the token of the first artist is expired.
    #[must_use]
    pub fn expiry(&self) -> Option<NaiveDate> {
        (self.days >= DAYS_MIN).then(|| self.date(self.days - self.days.div_ceil(10)))
    }

    /// The faults of a date, in the world of [`Story::config`]. What lasts goes on after the last one.
    #[must_use]
    pub fn faults(&self, world: &World, date: NaiveDate) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.outage() == Some(date) {
            let silent = FaultKind::Status { status: 503, retry_after: RetryAfter::Absent };
            faults.push(Fault::always(silent).on_host("youtube.googleapis.com"));
        }
        if self.expiry().is_some_and(|expiry| date >= expiry) {
            let expired =
                FaultKind::Raw { status: 400, content_type: "application/json".to_owned(), body: EXPIRED.to_owned() };
            let account = world.platform_id(Platform::Instagram, EXPIRING);
            faults.push(Fault::always(expired).on_host("graph.instagram.com").naming(&account));
        }
        faults
    }

    fn date(&self, day: u32) -> NaiveDate {
        self.first + Days::new(day.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 2).expect("a date of the calendar")
    }

    #[test]
    fn something_happens_within_the_days_and_the_token_stays_expired() {
        for days in [3, 4, 7, 28, 90] {
            let story = Story::new(first(), days, 25);
            let config = story.config();
            let world = World::new(config.seed, config.artists, config.date, config.troubles);
            let dates = story.dates();
            let (outage, event) = (story.outage().expect("a day"), config.event.expect("a day"));
            assert_eq!((dates.len(), dates.last().copied()), (days as usize, Some(story.last())));
            assert!(dates.contains(&outage) && dates.contains(&event) && outage != event, "{days}: {outage} {event}");
            assert_eq!(story.faults(&world, outage).len(), 1, "{days}: the token is expired later");
            assert_eq!(story.faults(&world, first()), [], "{days}: it begins well");
            for later in [story.last(), story.last() + Days::new(40)] {
                assert_eq!(story.faults(&world, later).len(), 1, "{days}: {later}");
            }
        }
    }

    #[test]
    fn in_too_few_days_nothing_happens() {
        for days in [0, 1, 2] {
            let story = Story::new(first(), days, 2);
            let config = story.config();
            let world = World::new(config.seed, config.artists, config.date, config.troubles);
            assert_eq!(story.faults(&world, story.last()), [], "{days}");
            assert!(config.event.is_some_and(|event| event > story.last()), "{days}");
        }
    }
}
