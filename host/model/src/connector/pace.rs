//! Paces: how requests are spaced, so that no window of a limit's length ever holds more units than the limit. Pure
//! arithmetic on whole microseconds.
//!
//! A pace hands out *places*, one for each unit, an interval apart. All that has to be kept is where the next place is,
//! so hosts that share one number share the pace. This is the generic cell rate algorithm (ITU-T I.371), with a margin
//! for requests that arrive later than they were sent.
//!
//! ```
//! use backline_model::pace::Pace;
//!
//! // 50 units in any 5 s: one every 125 ms, which is 50 in 6.25 s.
//! let pace = Pace::of(50, 5, 1);
//! let (now, far) = (0, 60_000_000);
//! let first = pace.ask(1, now, far).answer(None);
//! let second = pace.ask(1, now, far).answer(Some(first.next_us));
//! assert_eq!((pace.due_us(first.first_us, 1), pace.due_us(second.first_us, 1)), (0, 125_000));
//! ```

/// A window is kept longer by this part of it: a request may take longer to the platform than the one after it.
const MARGIN_PART: i64 = 4;

/// Bounds of that margin, in microseconds. How much later a request arrives depends little on the window.
const MARGIN_US: (i64, i64) = (250_000, 2_000_000);

/// Units of this time are reserved at once, in microseconds: a host asks the database at most ten times a second.
const AHEAD_US: i64 = 100_000;

/// Largest number of units and of microseconds that is computed with: four of them still add up within 64 bits.
const LARGEST: i64 = i64::MAX / 8;

/// How units are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    interval_us: i64,
    burst: i64,
    late_us: i64,
}

impl Pace {
    /// The pace of `limit` units in any window of `window_s` seconds, at most `burst` of them at once.
    ///
    /// Units sent within a window: the burst, and one for each interval that begins in it. So with a burst `b`, the
    /// interval is the window ÷ (`limit` − `b` + 1), rounded up.
    #[must_use]
    pub fn of(limit: u64, window_s: u32, burst: u64) -> Self {
        let limit = whole(limit).max(1);
        let burst = whole(burst).clamp(1, limit);
        let window_us = i64::from(window_s) * 1_000_000;
        let margin = (window_us / MARGIN_PART).clamp(MARGIN_US.0, MARGIN_US.1);
        let steps = limit - burst + 1;
        let interval_us = ((window_us + margin + steps - 1) / steps).max(1);
        Self { interval_us, burst, late_us: margin / 2 }
    }

    /// The pace of one unit each `interval_us` microseconds.
    #[must_use]
    pub fn each(interval_us: i64) -> Self {
        let interval_us = interval_us.clamp(1, LARGEST);
        Self { interval_us, burst: 1, late_us: MARGIN_US.0 / 2 }
    }

    /// Time between two units, in microseconds.
    #[must_use]
    pub fn interval_us(&self) -> i64 {
        self.interval_us
    }

    /// Units to reserve for a request of `units`: those, or what is sent within a tenth of a second.
    #[must_use]
    pub fn block(&self, units: u64) -> u64 {
        units.max((AHEAD_US / self.interval_us).unsigned_abs())
    }

    /// When a request of `units` is due whose first place is `place_us`.
    #[must_use]
    pub fn due_us(&self, place_us: i64, units: u64) -> i64 {
        place_us.saturating_add(whole(units).saturating_sub(self.burst).saturating_mul(self.interval_us))
    }

    /// Whether a place that was not used in time is lost: a request sent now would come too close to later ones.
    #[must_use]
    pub fn is_lost(&self, place_us: i64, now_us: i64) -> bool {
        place_us.saturating_add(self.late_us) < now_us
    }

    /// The place after `units` of them.
    #[must_use]
    pub fn after(&self, place_us: i64, units: u64) -> i64 {
        place_us.saturating_add(self.length_us(units))
    }

    /// What to ask the database for: a [block](Self::block) for a request of `units` that waits `wait_max_us` at most.
    #[must_use]
    pub fn ask(&self, units: u64, now_us: i64, wait_max_us: i64) -> PlaceAsk {
        let step_us = self.length_us(self.block(units));
        let early = self.due_us(0, units);
        let latest_us = now_us.saturating_add(wait_max_us).saturating_sub(early).max(now_us);
        // No host reserves further ahead. What is beyond was written by a clock that was ahead.
        let furthest_us = latest_us.saturating_add(wait_max_us.max(1)).saturating_add(step_us.saturating_mul(2));
        PlaceAsk { now_us, step_us, latest_us, furthest_us: furthest_us.min(LARGEST) }
    }

    /// Seconds until the last of `units` units is sent, where none was sent before.
    #[must_use]
    pub fn seconds_for(&self, units: u64) -> f64 {
        let waiting = whole(units).saturating_sub(self.burst).max(0);
        #[expect(clippy::cast_precision_loss, reason = "an estimate in seconds; 53 bits are ample")]
        let seconds = waiting.saturating_mul(self.interval_us) as f64 / 1_000_000.0;
        seconds
    }

    fn length_us(&self, units: u64) -> i64 {
        whole(units).saturating_mul(self.interval_us).min(LARGEST)
    }
}

fn whole(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(LARGEST).min(LARGEST)
}

/// What is asked of the table of places. All times are microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceAsk {
    /// When it is asked.
    pub now_us: i64,
    /// Length of the places that are wanted.
    pub step_us: i64,
    /// The latest first place that is of use; with a later one nothing is reserved.
    pub latest_us: i64,
    /// No place is further than this; one that is was written by a clock that was ahead.
    pub furthest_us: i64,
}

impl PlaceAsk {
    /// The answer where the next free place is `next_us`. Databases compute the same in one statement.
    #[must_use]
    pub fn answer(&self, next_us: Option<i64>) -> Places {
        let first_us = next_us.unwrap_or(self.now_us).max(self.now_us).min(self.furthest_us);
        let is_granted = first_us <= self.latest_us;
        Places { first_us, next_us: if is_granted { first_us + self.step_us } else { first_us } }
    }
}

/// Places that were reserved: none where both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The first place; if none was reserved, the one that would have been.
    pub first_us: i64,
    /// The place after the last one.
    pub next_us: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAR: i64 = 60_000_000;

    #[test]
    fn a_limit_is_spread_over_its_window_and_a_margin() {
        for (limit, window_s, burst, interval_us) in [
            (50, 5, 1, 125_000),
            (50, 5, 50, 6_250_000),
            (50, 5, 26, 250_000),
            (1, 1, 1, 1_250_000),
            (300, 60, 1, 206_667),
            (u64::MAX, 1, 1, 1),
            (0, 1, 0, 1_250_000),
        ] {
            assert_eq!(Pace::of(limit, window_s, burst).interval_us(), interval_us, "{limit} {window_s} {burst}");
        }
    }

    #[test]
    fn what_would_wait_too_long_reserves_nothing_and_is_told_when() {
        let pace = Pace::of(1, 8, 1);
        let ask = pace.ask(1, 0, 10_000_000);
        let first = ask.answer(None);
        assert_eq!((first.first_us, first.next_us), (0, 10_000_000));
        assert_eq!(ask.answer(Some(10_000_000)).next_us, 20_000_000, "10 s are waited for");
        let none = ask.answer(Some(10_000_001));
        assert_eq!((none.first_us, none.next_us), (10_000_001, 10_000_001));
    }

    #[test]
    fn a_ledger_that_was_written_by_a_clock_a_day_ahead_is_of_use_again_within_minutes() {
        let pace = Pace::of(50, 5, 10);
        let mut next = Some(86_400_000_000);
        let granted = (0..300).map(|second| pace.ask(1, second * 1_000_000, FAR)).find(|ask| {
            let places = ask.answer(next);
            next = Some(places.next_us);
            places.next_us > places.first_us
        });
        assert!(granted.is_some_and(|ask| ask.now_us <= 120_000_000), "{granted:?}");
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        for (limit, window_s, burst, units) in [(u64::MAX, u32::MAX, u64::MAX, u64::MAX), (1, u32::MAX, 1, u64::MAX)] {
            let pace = Pace::of(limit, window_s, burst);
            let places = pace.ask(units, 1_800_000_000_000_000, i64::MAX).answer(Some(i64::MAX));
            assert!(places.next_us >= places.first_us && pace.after(places.next_us, units) > 0);
            assert!(pace.seconds_for(units) >= 0.0 && pace.due_us(places.first_us, units) > 0);
        }
    }

    /// One host's requests: what it holds of the places.
    #[derive(Default)]
    struct Holds {
        place_us: i64,
        left: u64,
    }

    proptest! {
        /// Hosts that share one number send requests of any cost at any time, reserve ahead, and send up to half of the
        /// margin late. Any window then holds at most the limit.
        #[test]
        fn no_window_holds_more_than_the_limit(
            limit in 1u64..60,
            window_s in 1u32..8,
            burst in 1u64..60,
            requests in prop::collection::vec((0i64..400_000, 1u64..4, 0usize..3, 0i64..1_000), 1..200),
        ) {
            let costliest = requests.iter().map(|(_, units, ..)| *units).max().unwrap_or(1).min(limit);
            let pace = Pace::of(limit, window_s, burst.min(limit).max(costliest));
            let (mut now, mut next) = (0, None);
            let mut hosts: [Holds; 3] = Default::default();
            let mut sent: Vec<(i64, u64)> = Vec::new();
            for (gap, units, host, late) in requests {
                now += gap;
                let units = units.min(limit);
                let holds = &mut hosts[host];
                if holds.left < units || pace.is_lost(holds.place_us, now) {
                    let places = pace.ask(units, now, i64::MAX / 16).answer(next);
                    next = Some(places.next_us);
                    *holds = Holds { place_us: places.first_us, left: pace.block(units) };
                }
                let due = pace.due_us(holds.place_us, units).max(now);
                holds.place_us = pace.after(holds.place_us, units);
                holds.left -= units;
                sent.push((due + late * pace.late_us / 1_000, units));
            }
            sent.sort_unstable();
            let window_us = i64::from(window_s) * 1_000_000;
            for (begin, _) in &sent {
                let within = sent.iter().filter(|(at, _)| (*begin..begin + window_us).contains(at));
                let held: u64 = within.map(|(_, units)| units).sum();
                prop_assert!(held <= limit, "{} of {} units from {}", held, limit, begin);
            }
        }
    }
}
