//! Pauses that platforms ask for: until when requests with a credential (or, without one, for a platform) are not sent,
//! and how far apart they are sent afterwards where a rate is limited that no budget declares.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use backline_model::pace::Pace;
use backline_model::{Holder, Platform};

/// The longest pause that is waited for here. One that is longer defers the batch.
pub const WAITED_PAUSE_MAX: Duration = Duration::from_secs(60);

/// The longest pause that a platform may ask for: seven days. One that asks for more is paused for as long as this.
pub const ASKED_PAUSE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// How long a pace is kept that was learned from a refusal.
pub const LEARNED_FOR: Duration = Duration::from_secs(60 * 60);

/// The slowest pace that is learned, in microseconds: one request in five seconds.
const LEARNED_US_MAX: i64 = 5_000_000;

/// A rate is counted from the first request after this time without any.
const QUIET: Duration = Duration::from_secs(10);

/// Holders that are remembered before those that are quiet are forgotten.
const HOLDERS_MAX: usize = 1_024;

/// A pause that a platform asked for, as the host's other parts are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Whose requests pause.
    pub holder: Holder,
    /// The platform that asked for it.
    pub platform: Platform,
    /// How long from now.
    pub wait: Duration,
    /// How long ago it was asked for.
    pub age: Duration,
    /// The pace afterwards, where a rate is limited that no budget declares.
    pub pace: Option<LearnedPace>,
}

/// A pace that was learned from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedPace {
    /// Time between two requests, in microseconds.
    pub interval_us: i64,
    /// How long from now it is kept.
    pub kept_for: Duration,
}

/// What a refusal says about the rate that a platform accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Too many requests were sent (429).
    TooMany,
    /// The platform is out of order (503), whatever the rate.
    Outage,
}

/// How far apart requests are to be sent, in microseconds, if `sent` of them were accepted within `within` before a
/// platform asked to wait. Until the end of that wait the platform accepts no more than these: so many in that time
/// can't be too many, with a margin for those that arrive later than they were sent. `None` if none was accepted: then
/// the platform refuses for another reason, or because of what others sent.
#[must_use]
pub fn learned_interval_us(sent: u64, within: Duration, wait: Duration) -> Option<i64> {
    if sent == 0 {
        return None;
    }
    let span = i64::try_from((within + wait).as_micros()).unwrap_or(i64::MAX) / 4 * 5;
    Some((span / i64::try_from(sent).unwrap_or(i64::MAX)).clamp(1, LEARNED_US_MAX))
}

/// What is known of one holder.
#[derive(Debug)]
struct Gate {
    paused_until: Option<Instant>,
    /// When it was told of the latest pause, and how old that was then.
    told: Option<(Instant, Duration)>,
    /// When the platform asked last, and for how long, whatever is kept of it.
    asked: Option<(Instant, Duration)>,
    pace: Option<(Pace, Instant)>,
    /// When the requests began that are counted, and when the latest one was answered.
    since: Instant,
    latest: Instant,
    /// Requests that were accepted.
    accepted: u64,
}

impl Gate {
    /// How old the latest pause is.
    fn age(&self, now: Instant) -> Option<Duration> {
        self.told.map(|(at, age)| (now - at).saturating_add(age))
    }
}

/// The pauses of all holders that this process sends requests of.
#[derive(Debug, Default)]
pub(super) struct HolderPauses {
    gates: Mutex<HashMap<Holder, Gate>>,
}

impl HolderPauses {
    /// How long the holder's requests have to wait from now on.
    pub(super) fn left(&self, holder: &Holder, now: Instant) -> Option<Duration> {
        let left = self.all().get(holder)?.paused_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// How much longer the platform asked the holder to wait. That may be longer than it is kept.
    pub(super) fn asked(&self, holder: &Holder, now: Instant) -> Option<Duration> {
        let left = self.left(holder, now)?;
        let asked = self.all().get(holder)?.asked.map(|(at, asked)| asked.saturating_sub(now - at));
        Some(asked.unwrap_or_default().max(left))
    }

    /// The pace that was learned of a holder.
    pub(super) fn pace(&self, holder: &Holder, now: Instant) -> Option<Pace> {
        self.all().get(holder)?.pace.filter(|(_, until)| *until > now).map(|(pace, _)| pace)
    }

    /// Counts a request that was accepted. `began` is when it was sent.
    pub(super) fn accepted(&self, holder: &Holder, began: Instant, now: Instant) {
        let mut gates = self.all();
        let gate = gate_of(&mut gates, holder, began);
        if gate.latest + QUIET < began {
            (gate.since, gate.accepted) = (began, 0);
        }
        gate.latest = now;
        gate.accepted += 1;
    }

    /// A platform refused a request and asked to wait. Returns the pause if others have to be told: not if one that
    /// ends at about the same time is known.
    pub(super) fn refused(
        &self,
        holder: &Holder,
        platform: &Platform,
        refusal: Refusal,
        asked: Duration,
        now: Instant,
    ) -> Option<Pause> {
        let mut gates = self.all();
        let gate = gate_of(&mut gates, holder, now);
        let known = gate.paused_until.filter(|known| *known > now);
        let before = gate.asked.filter(|_| known.is_some()).map(|(at, before)| before.saturating_sub(now - at));
        gate.asked = Some((now, asked.max(before.unwrap_or_default())));
        gate.told = Some((now, Duration::ZERO));
        let wait = asked.min(ASKED_PAUSE_MAX);
        let until = now + wait;
        gate.paused_until = Some(known.map_or(until, |known| known.max(until)));
        if known.is_some_and(|known| until < known + Duration::from_secs(1)) {
            return None;
        }
        // Those that were under way when the pause began say nothing new about the rate.
        let teaches = refusal == Refusal::TooMany && known.is_none() && wait <= WAITED_PAUSE_MAX;
        let interval_us = if teaches { learned_interval_us(gate.accepted, now - gate.since, wait) } else { None };
        let pace = interval_us.map(|interval_us| LearnedPace { interval_us, kept_for: wait + LEARNED_FOR });
        if let Some(pace) = pace {
            learn(gate, pace, now);
        }
        (gate.since, gate.accepted) = (until, 0);
        Some(Pause { holder: holder.clone(), platform: platform.clone(), wait, age: Duration::ZERO, pace })
    }

    /// Takes up what other parts, or other hosts, know of a pause.
    pub(super) fn take_up(&self, pause: &Pause, now: Instant) {
        let mut gates = self.all();
        let gate = gate_of(&mut gates, &pause.holder, now);
        let until = now + pause.wait;
        if gate.paused_until.is_none_or(|known| known <= now) {
            gate.asked = None;
        }
        if !pause.wait.is_zero() {
            if gate.age(now).is_none_or(|known| pause.age < known) {
                gate.told = Some((now, pause.age));
            }
            gate.paused_until = Some(gate.paused_until.map_or(until, |known| known.max(until)));
        }
        if let Some(pace) = pause.pace {
            learn(gate, pace, now);
        }
    }

    /// Takes up that a person ended the holder's pause so long ago. What was asked for since then stays.
    pub(super) fn end(&self, holder: &Holder, ago: Duration, now: Instant) {
        if let Some(gate) = self.all().get_mut(holder)
            && gate.age(now).is_some_and(|age| age >= ago)
        {
            (gate.paused_until, gate.asked, gate.pace) = (None, None, None);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Holder, Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of what is known already, a slower pace and a later end stay. So what is told again changes nothing.
fn learn(gate: &mut Gate, pace: LearnedPace, now: Instant) {
    let (mut interval_us, mut until) = (pace.interval_us, now + pace.kept_for);
    if let Some((known, known_until)) = gate.pace.filter(|(_, until)| *until > now) {
        (interval_us, until) = (interval_us.max(known.interval_us()), until.max(known_until));
    }
    gate.pace = Some((Pace::each(interval_us), until));
}

fn gate_of<'a>(gates: &'a mut HashMap<Holder, Gate>, holder: &Holder, now: Instant) -> &'a mut Gate {
    if gates.len() >= HOLDERS_MAX && !gates.contains_key(holder) {
        gates.retain(|_, gate| {
            let is_paused = gate.paused_until.is_some_and(|until| until > now);
            is_paused || gate.pace.is_some_and(|(_, until)| until > now) || gate.latest + QUIET > now
        });
    }
    gates.entry(holder.clone()).or_insert_with(|| Gate {
        paused_until: None,
        told: None,
        asked: None,
        pace: None,
        since: now,
        latest: now,
        accepted: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(name: &str) -> Platform {
        Platform::new(name).expect("a platform")
    }

    fn holder(name: &str) -> Holder {
        Holder::Platform(platform(name))
    }

    fn pause(name: &str, seconds: u64, interval_us: i64) -> Pause {
        let (holder, platform, wait) = (holder(name), platform(name), Duration::from_secs(seconds));
        let pace = Some(LearnedPace { interval_us, kept_for: wait + LEARNED_FOR });
        Pause { holder, platform, wait, age: Duration::ZERO, pace }
    }

    #[test]
    fn a_pace_is_learned_from_what_was_accepted_before_the_refusal() {
        let seconds = Duration::from_secs;
        for (sent, within, wait, interval_us) in [
            // 50 at once, then a wait of the window's length: an eighth of a second apart.
            (50, seconds(0), seconds(5), Some(125_000)),
            // The same limit met at a steady 10 in a second, where only the next one is waited for.
            (50, seconds(4), seconds(1), Some(125_000)),
            (1, seconds(0), seconds(5), Some(5_000_000)),
            (0, seconds(0), seconds(5), None),
            (u64::MAX, seconds(1), seconds(1), Some(1)),
        ] {
            assert_eq!(learned_interval_us(sent, within, wait), interval_us, "{sent} in {within:?}, {wait:?}");
        }
    }

    #[test]
    fn a_pause_holds_one_holder_until_it_is_over_and_the_first_refusal_sets_the_pace() {
        let (pauses, a, b) = (HolderPauses::default(), holder("a"), holder("b"));
        let (start, seconds) = (Instant::now(), Duration::from_secs);
        let refused = |wait, at| pauses.refused(&a, &platform("a"), Refusal::TooMany, wait, at);
        let interval_us = |pause: &Pause| pause.pace.map(|pace| pace.interval_us);
        for _ in 0..50 {
            pauses.accepted(&a, start, start);
        }
        let pause = refused(seconds(5), start).expect("others are told");
        assert_eq!((pause.wait, interval_us(&pause)), (seconds(5), Some(125_000)));
        let later = start + Duration::from_millis(500);
        assert_eq!(refused(seconds(5), later), None, "it was under way when the pause began");
        assert_eq!(pauses.left(&a, later), Some(seconds(5)), "and is obeyed all the same");
        assert_eq!((pauses.left(&b, later), pauses.pace(&b, later)), (None, None));
        let over = later + seconds(5);
        assert_eq!((pauses.left(&a, over), pauses.pace(&a, over)), (None, Some(Pace::each(125_000))));

        let long = refused(seconds(3_600), over).expect("others are told");
        assert_eq!(long.pace, None, "an hour is no rate");
        assert_eq!(pauses.pace(&a, over), Some(Pace::each(125_000)), "and changes none");
        assert_eq!(pauses.pace(&a, over + LEARNED_FOR), None, "forgotten in time");
    }

    #[test]
    fn what_a_platform_asks_for_is_kept_for_a_week_and_told_as_it_was_asked() {
        let (pauses, a, start) = (HolderPauses::default(), holder("a"), Instant::now());
        let day = Duration::from_secs(24 * 3_600);
        let refused = |asked, at| pauses.refused(&a, &platform("a"), Refusal::TooMany, asked, at);
        let pause = refused(31 * day, start).expect("others are told");
        assert_eq!((pause.wait, pauses.left(&a, start)), (ASKED_PAUSE_MAX, Some(ASKED_PAUSE_MAX)));
        assert_eq!(pauses.asked(&a, start + day), Some(30 * day));
        assert_eq!(pauses.asked(&a, start + 7 * day), None, "it is over");
        // The longest number that a header may hold.
        let pause = refused(Duration::from_secs(u64::MAX), start + 8 * day).expect("others are told");
        assert_eq!(pause.wait, ASKED_PAUSE_MAX);
        // A reset that a manifest declares may be further off.
        let declared = Pause { wait: 30 * day, pace: None, ..self::pause("b", 0, 1) };
        pauses.take_up(&declared, start);
        assert_eq!(pauses.left(&holder("b"), start), Some(30 * day));
    }

    #[test]
    fn requests_before_a_quiet_time_say_nothing_of_the_rate() {
        let (pauses, a, start) = (HolderPauses::default(), holder("a"), Instant::now());
        for _ in 0..100 {
            pauses.accepted(&a, start, start);
        }
        let later = start + QUIET + Duration::from_secs(1);
        for _ in 0..5 {
            pauses.accepted(&a, later, later);
        }
        let pause = pauses.refused(&a, &platform("a"), Refusal::TooMany, Duration::from_secs(2), later);
        let pace = pause.expect("others are told").pace;
        assert_eq!(pace.map(|pace| pace.interval_us), Some(500_000));
    }

    #[test]
    fn neither_an_outage_nor_a_refusal_of_the_first_request_teaches_a_pace() {
        let (start, wait) = (Instant::now(), Duration::from_secs(5));
        for (accepted, refusal, teaches) in
            [(3, Refusal::TooMany, true), (3, Refusal::Outage, false), (0, Refusal::TooMany, false)]
        {
            let (pauses, a) = (HolderPauses::default(), holder("a"));
            for _ in 0..accepted {
                pauses.accepted(&a, start, start);
            }
            let pause = pauses.refused(&a, &platform("a"), refusal, wait, start).expect("others are told");
            assert_eq!((pause.wait, pauses.left(&a, start)), (wait, Some(wait)), "it is a pause all the same");
            assert_eq!(pause.pace.is_some(), teaches, "{accepted} {refusal:?}");
            assert_eq!(pauses.pace(&a, start + wait).is_some(), teaches, "{accepted} {refusal:?}");
        }
    }

    #[test]
    fn a_refusal_that_is_told_again_does_not_extend_the_pace() {
        let (pauses, a, start) = (HolderPauses::default(), holder("a"), Instant::now());
        pauses.take_up(&pause("a", 0, 200_000), start);
        for minutes in [10, 59] {
            let age = Duration::from_secs(60 * minutes);
            let told = LearnedPace { interval_us: 200_000, kept_for: LEARNED_FOR - age };
            pauses.take_up(&Pause { pace: Some(told), ..pause("a", 0, 1) }, start + age);
            assert_eq!(pauses.pace(&a, start + age), Some(Pace::each(200_000)));
        }
        assert_eq!(pauses.pace(&a, start + LEARNED_FOR), None);
    }

    #[test]
    fn what_another_host_was_told_holds_here_too() {
        let (pauses, a, start) = (HolderPauses::default(), holder("a"), Instant::now());
        pauses.take_up(&pause("a", 9, 200_000), start);
        pauses.take_up(&pause("a", 3, 100_000), start);
        let (left, pace) = (pauses.left(&a, start), pauses.pace(&a, start));
        assert_eq!((left, pace), (Some(Duration::from_secs(9)), Some(Pace::each(200_000))));
        pauses.take_up(&pause("b", 0, 1), start);
        assert_eq!(pauses.left(&holder("b"), start), None);
    }

    #[test]
    fn a_pause_that_was_ended_holds_no_longer_and_one_after_it_does() {
        let (pauses, a, start) = (HolderPauses::default(), holder("a"), Instant::now());
        let seconds = Duration::from_secs;
        // It was asked for a minute ago, and is heard of now.
        pauses.take_up(&Pause { age: seconds(60), ..pause("a", 600, 200_000) }, start);
        pauses.end(&a, seconds(61), start);
        assert_eq!(pauses.left(&a, start), Some(seconds(600)), "another one was ended before it");
        pauses.end(&holder("b"), seconds(30), start);
        pauses.end(&a, seconds(30), start);
        assert_eq!((pauses.left(&a, start), pauses.pace(&a, start)), (None, None));
        let later = start + seconds(10);
        pauses.refused(&a, &platform("a"), Refusal::TooMany, seconds(90), later);
        pauses.end(&a, seconds(41), later + seconds(1));
        assert_eq!(pauses.left(&a, later), Some(seconds(90)), "asked for since");
    }

    #[test]
    fn quiet_holders_are_forgotten_and_paused_ones_are_not() {
        let (pauses, start) = (HolderPauses::default(), Instant::now());
        let wait = Duration::from_secs(600);
        pauses.refused(&holder("paused"), &platform("paused"), Refusal::TooMany, wait, start);
        for n in 0..HOLDERS_MAX * 2 {
            pauses.accepted(&holder(&format!("p{n}")), start, start);
        }
        let later = start + QUIET * 2;
        pauses.accepted(&holder("one_more"), later, later);
        assert_eq!(pauses.all().len(), 2);
        assert!(pauses.left(&holder("paused"), later).is_some());
    }
}
