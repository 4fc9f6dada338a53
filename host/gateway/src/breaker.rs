//! A circuit breaker for each origin: an origin that keeps failing gets no requests for a while, then a single probe.
//!
//! Each platform has its own: a connector that makes an origin fail, by what it asks for, keeps no other one from it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use super::config::GatewayConfig;
use backline_model::Platform;
use backline_model::origin::Origin;

/// Most origins that are remembered for one platform. A connector with a wildcard could name new failing origins
/// without end, and takes the room of its own platform alone.
const ORIGINS_MAX: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Requests pass; this many failed in a row.
    Closed { failures: u32 },
    /// No request passes until this time.
    Open { until: DateTime<Utc> },
    /// One request is running to find out whether the origin works again.
    Probing { until: DateTime<Utc> },
}

/// The platform that asks, none for the host itself, and the origin that is asked.
type Key = (Option<Platform>, Origin);

/// The state of every origin that failed recently.
pub(super) struct Breakers {
    failures_max: u32,
    cool_down: TimeDelta,
    states: Mutex<HashMap<Key, State>>,
}

impl Breakers {
    pub(super) fn new(config: &GatewayConfig) -> Self {
        let cool_down = i64::try_from(config.breaker_cool_down_ms).unwrap_or(i64::MAX);
        Self {
            failures_max: config.breaker_failures.max(1),
            cool_down: TimeDelta::try_milliseconds(cool_down).unwrap_or(TimeDelta::days(1)).min(TimeDelta::days(1)),
            states: Mutex::default(),
        }
    }

    /// Admits a request, or returns the time until which the origin gets no requests.
    pub(super) fn admit(
        &self,
        platform: Option<&Platform>,
        origin: &Origin,
        now: DateTime<Utc>,
    ) -> Result<Admission<'_>, DateTime<Utc>> {
        let key = (platform.cloned(), origin.clone());
        let mut states = self.lock();
        match states.get(&key).copied() {
            None | Some(State::Closed { .. }) => {}
            // Further away than it is ever opened for: it was opened by a clock that was ahead, and has been set back.
            Some(State::Open { until }) if now < until && until - now <= self.cool_down * 2 => return Err(until),
            Some(State::Open { until }) => {
                states.insert(key.clone(), State::Probing { until });
            }
            Some(State::Probing { until }) => return Err(until.max(now)),
        }
        Ok(Admission { breakers: self, key, settled: false })
    }

    fn settle(&self, key: &Key, worked: Option<bool>, now: Option<DateTime<Utc>>) {
        let mut states = self.lock();
        let state = states.get(key).copied().unwrap_or(State::Closed { failures: 0 });
        let next = match (state, worked, now) {
            (State::Closed { .. } | State::Probing { .. }, Some(true), _) => State::Closed { failures: 0 },
            (State::Closed { failures }, Some(false), Some(now)) if failures + 1 >= self.failures_max => {
                State::Open { until: now + self.cool_down }
            }
            (State::Closed { failures }, Some(false), _) => State::Closed { failures: failures + 1 },
            (State::Probing { .. }, Some(false), Some(now)) => State::Open { until: now + self.cool_down },
            // The probe was dropped without an answer: the next request is the probe.
            (State::Probing { until }, _, _) => State::Open { until },
            // Answers to requests that were sent before it opened change nothing.
            (State::Open { .. }, _, _) | (State::Closed { .. }, None, _) => state,
        };
        if next == (State::Closed { failures: 0 }) {
            states.remove(key);
        } else {
            if !states.contains_key(key) && remembered(&states, key) >= ORIGINS_MAX {
                // Open ones matter most. If all are open, the new origin is not watched.
                states.retain(|(platform, _), state| {
                    *platform != key.0 || (!matches!(state, State::Closed { .. }) && !is_over(state, now))
                });
                if remembered(&states, key) >= ORIGINS_MAX {
                    return;
                }
            }
            states.insert(key.clone(), next);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many origins are remembered for the platform of a key.
fn remembered(states: &HashMap<Key, State>, key: &Key) -> usize {
    states.keys().filter(|(platform, _)| *platform == key.0).count()
}

/// Whether an origin would get its probe now, so that little is lost by forgetting it.
fn is_over(state: &State, now: Option<DateTime<Utc>>) -> bool {
    matches!((state, now), (State::Open { until }, Some(now)) if *until <= now)
}

/// Permission to send one request. Call `settle` with its result; dropping it means that no one waited for the answer.
#[must_use]
pub(super) struct Admission<'a> {
    breakers: &'a Breakers,
    key: Key,
    settled: bool,
}

impl Admission<'_> {
    /// Whether the origin answered.
    pub(super) fn settle(mut self, worked: bool, now: DateTime<Utc>) {
        self.settled = true;
        self.breakers.settle(&self.key, Some(worked), Some(now));
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.breakers.settle(&self.key, None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breakers() -> Breakers {
        Breakers::new(&GatewayConfig { breaker_failures: 3, breaker_cool_down_ms: 10_000, ..GatewayConfig::default() })
    }

    fn origin(text: &str) -> Origin {
        Origin::of(&text.parse().expect("a URL")).expect("an origin")
    }

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a time")
    }

    fn fail(breakers: &Breakers, times: u32, at: i64) {
        for _ in 0..times {
            breakers
                .admit(None, &origin("https://a.test"), second(at))
                .unwrap_or_else(|_| panic!("open"))
                .settle(false, second(at));
        }
    }

    #[test]
    fn failures_in_a_row_open_it_for_the_cool_down_and_for_that_origin_only() {
        let breakers = breakers();
        fail(&breakers, 2, 0);
        breakers.admit(None, &origin("https://a.test"), second(0)).expect("closed").settle(true, second(0));
        fail(&breakers, 3, 1);
        assert_eq!(breakers.admit(None, &origin("https://a.test"), second(10)).err(), Some(second(11)));
        assert!(breakers.admit(None, &origin("https://b.test"), second(10)).is_ok());
    }

    #[test]
    fn after_the_cool_down_one_probe_passes_and_decides() {
        let breakers = breakers();
        let a = origin("https://a.test");
        fail(&breakers, 3, 0);
        let probe = breakers.admit(None, &a, second(10)).expect("a probe");
        assert!(breakers.admit(None, &a, second(10)).is_err(), "a second probe passed");
        probe.settle(false, second(12));
        assert_eq!(breakers.admit(None, &a, second(21)).err(), Some(second(22)));
        breakers.admit(None, &a, second(22)).expect("a probe").settle(true, second(22));
        fail(&breakers, 2, 23);
        assert!(breakers.admit(None, &a, second(23)).is_ok(), "the count starts again");
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_it_open_for_no_longer() {
        let (breakers, a, day) = (breakers(), origin("https://a.test"), 86_400);
        fail(&breakers, 3, day);
        assert!(breakers.admit(None, &a, second(day + 9)).is_err());
        breakers.admit(None, &a, second(0)).expect("a probe").settle(false, second(0));
        assert_eq!(breakers.admit(None, &a, second(9)).err(), Some(second(10)));
    }

    #[test]
    fn a_platform_that_makes_an_origin_fail_keeps_no_other_from_it() {
        let (breakers, a) = (breakers(), origin("https://a.test"));
        let [hostile, other] = ["hostile", "other"].map(|name| Platform::new(name).expect("a name"));
        for _ in 0..3 {
            breakers.admit(Some(&hostile), &a, second(0)).expect("closed").settle(false, second(0));
        }
        assert!(breakers.admit(Some(&hostile), &a, second(1)).is_err());
        assert!(breakers.admit(Some(&other), &a, second(1)).is_ok() && breakers.admit(None, &a, second(1)).is_ok());
    }

    #[test]
    fn ever_new_origins_that_fail_do_not_pile_up() {
        let breakers = breakers();
        fail(&breakers, 3, 0);
        for index in 0..3 * ORIGINS_MAX {
            let failing = origin(&format!("https://a{index}.evil.test"));
            breakers.admit(None, &failing, second(1)).expect("closed").settle(false, second(1));
        }
        assert!(breakers.lock().len() <= ORIGINS_MAX);
        assert!(breakers.admit(None, &origin("https://a.test"), second(9)).is_err(), "an open one was forgotten");
    }

    #[test]
    fn a_platform_with_ever_new_failing_origins_leaves_others_their_room() {
        let breakers = breakers();
        let [hostile, other] = ["hostile", "other"].map(|name| Platform::new(name).expect("a name"));
        let fails = |platform, text: &str| {
            breakers.admit(Some(platform), &origin(text), second(1)).expect("closed").settle(false, second(1));
        };
        fails(&other, "https://a.test");
        for index in 0..6 * ORIGINS_MAX {
            // Three times each, so that all are open.
            let failing = origin(&format!("https://a{}.evil.test", index / 3));
            if let Ok(admission) = breakers.admit(Some(&hostile), &failing, second(1)) {
                admission.settle(false, second(1));
            }
        }
        fails(&other, "https://a.test");
        fails(&other, "https://a.test");
        assert!(breakers.admit(Some(&other), &origin("https://a.test"), second(2)).is_err(), "its count was kept");
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_room_for_another() {
        let breakers = breakers();
        let a = origin("https://a.test");
        fail(&breakers, 3, 0);
        drop(breakers.admit(None, &a, second(10)).expect("a probe"));
        assert!(breakers.admit(None, &a, second(10)).is_ok());
    }

    #[test]
    fn late_answers_neither_close_it_nor_prolong_it() {
        let breakers = breakers();
        let a = origin("https://a.test");
        let (early, late) = (
            breakers.admit(None, &a, second(0)).expect("closed"),
            breakers.admit(None, &a, second(0)).expect("closed"),
        );
        fail(&breakers, 3, 0);
        early.settle(true, second(5));
        late.settle(false, second(6));
        assert_eq!(breakers.admit(None, &a, second(9)).err(), Some(second(10)));
    }
}
