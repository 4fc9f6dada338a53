//! Budgets: what a request costs, which window it falls into, and the units that this process holds.
//!
//! Units are taken **before** a request is sent, from a slice that the store grants, where they are counted for all
//! hosts. Of a rolling window they are places in time, each of which is waited for. The gateway only knows the store as
//! the other end of a channel.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex as BriefMutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::error::SendError;
use super::pause::Pause;
use backline_model::Holder;
use backline_model::clock::Clock;
use backline_model::grant::Grant;
use backline_model::ids::CredentialId;
use backline_model::manifest::{Budget, BudgetWindow, Manifest};
use backline_model::pace::{Pace, PlaceAsk, Places};

/// Most demands that wait for an answer at the same time; further ones wait in the sender.
pub(super) const DEMANDS_MAX: usize = 64;

/// A spent window is waited for if it is at most this long; a longer one defers the batch.
const WAITED_WINDOW_SECONDS_MAX: i64 = 120;

/// A place of a rolling window is waited for if it is at most this far; one further off defers the batch.
const WAITED_PLACE_SECONDS_MAX: u32 = 60;

/// The same, in microseconds.
const WAITED_PLACE_US_MAX: i64 = WAITED_PLACE_SECONDS_MAX as i64 * 1_000_000;

/// Most units taken from the store at once: a crash loses at most this many of a window.
const SLICE_UNITS_MAX: u64 = 50;

/// A slice is at most this fraction of the limit, so that hosts share a small budget fairly.
const SLICE_PART: u64 = 20;

/// Identifies a budget of a credential or a platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BudgetKey {
    /// Whose units they are.
    pub holder: Holder,
    /// Name of the budget in the manifest.
    pub budget: String,
}

/// What the gateway asks the store for.
#[derive(Debug)]
pub enum Demand {
    /// Units of a window that resets.
    Units(BudgetDemand),
    /// Places of a window that rolls.
    Places(PlaceDemand),
    /// To tell other hosts that a platform asked for a pause. It has no answer.
    Pause(Pause),
}

/// A demand for places of a rolling window. If `reply` can't be sent any more, they are lost.
#[derive(Debug)]
pub struct PlaceDemand {
    /// Budget that the places are taken from.
    pub key: BudgetKey,
    /// What is asked for.
    pub ask: PlaceAsk,
    /// Receives the places.
    pub reply: oneshot::Sender<Places>,
}

/// A demand for units. The answer is how many were granted, at most `want`; 0 means that none are left.
///
/// If `reply` can't be sent any more, the demand was dropped, and the receiver takes the units back.
#[derive(Debug)]
pub struct BudgetDemand {
    /// Budget that the units are taken from.
    pub key: BudgetKey,
    /// Units per window: the operator's limit, otherwise the manifest's.
    pub limit: u64,
    /// Start of the window.
    pub window_start: DateTime<Utc>,
    /// Start of the next window.
    pub window_end: DateTime<Utc>,
    /// Units demanded.
    pub want: u64,
    /// Receives the number of units granted.
    pub reply: oneshot::Sender<u64>,
}

/// Units that were granted and not used, to be returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unspent {
    /// Budget that they belong to.
    pub key: BudgetKey,
    /// Start of the window that they were granted for.
    pub window_start: DateTime<Utc>,
    /// Number of units.
    pub units: u64,
}

/// The units that one request costs of one budget.
#[derive(Clone, Debug)]
pub(super) struct Charge {
    key: BudgetKey,
    limit: u64,
    terms: Terms,
    units: u64,
}

/// How the units of a budget come.
#[derive(Clone, Debug)]
enum Terms {
    /// So many in each window.
    Window(BudgetWindow),
    /// One by one.
    Pace(Pace),
}

impl Charge {
    /// The charges of a request to this path, with this credential of this slot if it has one. Those that are waited
    /// for come first, the slowest before all others, so that none is held for long before the request is sent.
    pub(super) fn all_of(
        manifest: &Manifest,
        grant: &Grant,
        used: Option<(&str, CredentialId)>,
        path: &str,
    ) -> Vec<Self> {
        let holder = |budget: &Budget| match (&budget.slot, used) {
            (None, _) => Some(Holder::Platform(manifest.connector.platform.clone())),
            (Some(slot), Some((used, credential))) if slot == used => Some(Holder::Credential(credential)),
            (Some(_), _) => None,
        };
        let charge = |budget: &Budget| {
            let limit = grant.budgets.get(&budget.name).copied().unwrap_or(budget.limit);
            let terms = budget.pace(limit).map_or_else(|| Terms::Window(budget.window.clone()), Terms::Pace);
            let key = BudgetKey { holder: holder(budget)?, budget: budget.name.clone() };
            Some(Self { key, limit, terms, units: budget.cost_of(path) })
        };
        let mut charges: Vec<Self> =
            manifest.budgets.iter().filter_map(charge).filter(|charge| charge.units > 0).collect();
        charges.sort_by_key(|charge| match &charge.terms {
            Terms::Pace(pace) => Reverse(pace.interval_us()),
            Terms::Window(_) => Reverse(0),
        });
        charges
    }

    /// The charge of a request under a pace that was learned from refusals: a budget without a name.
    pub(super) fn learned(holder: Holder, pace: Pace) -> Self {
        Self { key: BudgetKey { holder, budget: String::new() }, limit: 1, terms: Terms::Pace(pace), units: 1 }
    }

    /// Whose requests a request with this credential belongs to.
    pub(super) fn holder(manifest: &Manifest, used: Option<(&str, CredentialId)>) -> Holder {
        used.map_or_else(
            || Holder::Platform(manifest.connector.platform.clone()),
            |(_, credential)| Holder::Credential(credential),
        )
    }

    /// The budget's name, and the units.
    pub(super) fn named_units(&self) -> (&str, u64) {
        (&self.key.budget, self.units)
    }
}

/// The window that an instant falls into: its start, and the start of the next one. One that rolls starts now.
#[must_use]
pub fn window_of(window: &BudgetWindow, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
    match window {
        BudgetWindow::Seconds(seconds) => {
            let length = i64::from((*seconds).max(1));
            let start = now.timestamp().div_euclid(length) * length;
            let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or(now);
            (at(start), at(start + length))
        }
        BudgetWindow::Rolling(seconds) => (now, now + TimeDelta::seconds(i64::from(*seconds))),
        BudgetWindow::Daily { at, timezone } => {
            let today = timezone.date_at(now);
            let reset = |date: Option<NaiveDate>| date.map_or(now, |date| timezone.instant_of(date.and_time(*at)));
            let todays = reset(Some(today));
            if now < todays {
                (reset(today.checked_sub_days(Days::new(1))), todays)
            } else {
                (todays, reset(today.checked_add_days(Days::new(1))))
            }
        }
    }
}

/// Whether accounts are deferred to the next window once this one is spent; shorter windows are waited for.
#[must_use]
pub fn defers(window: &BudgetWindow) -> bool {
    match window {
        BudgetWindow::Seconds(seconds) => i64::from(*seconds) > WAITED_WINDOW_SECONDS_MAX,
        BudgetWindow::Rolling(seconds) => *seconds > WAITED_PLACE_SECONDS_MAX,
        BudgetWindow::Daily { .. } => true,
    }
}

/// What is held of one budget.
#[derive(Debug, Default)]
struct Slice {
    /// The window that the units are of.
    window: Option<(DateTime<Utc>, DateTime<Utc>)>,
    left: u64,
    /// The first place that is held of a rolling window; the others follow at once.
    place_us: i64,
}

/// The units that this process holds, of all budgets.
pub(super) struct Budgets {
    slices: BriefMutex<HashMap<BudgetKey, Arc<Mutex<Slice>>>>,
    demands: mpsc::Sender<Demand>,
    clock: Clock,
}

/// Why a charge can't be paid.
enum Unpaid {
    /// Nothing is left until then.
    Spent { budget: BudgetKey, until: DateTime<Utc>, defers: bool },
    /// No one answers demands.
    Unanswered,
}

impl Budgets {
    pub(super) fn new(demands: mpsc::Sender<Demand>, clock: Clock) -> Self {
        Self { slices: BriefMutex::default(), demands, clock }
    }

    /// Pays all charges or none. A place that is near is waited for, and so is a short window that is spent, if the
    /// deadline allows. `held_back` is told the budget that was not waited for.
    pub(super) async fn pay(
        &self,
        charges: &[Charge],
        deadline: Instant,
        held_back: impl Fn(Option<&BudgetKey>),
    ) -> Result<(), SendError> {
        loop {
            let (budget, until, defers) = match self.pay_once(charges, deadline).await {
                Ok(()) => return Ok(()),
                Err(Unpaid::Unanswered) => {
                    held_back(None);
                    return Err(SendError::Unreachable(
                        "no budget units could be taken: the database does not answer, this machine's clock jumped, or \
                         the host is stopping"
                            .into(),
                    ));
                }
                Err(Unpaid::Spent { budget, until, defers }) => (budget, until, defers),
            };
            if defers {
                held_back(Some(&budget));
                return Err(SendError::QuotaExhausted(Some(until)));
            }
            let wait = (until - self.clock.now()).to_std().unwrap_or_default().max(Duration::from_millis(1));
            if Instant::now() + wait >= deadline {
                held_back(Some(&budget));
                return Err(SendError::RateLimited(Some(seconds_of(wait))));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn pay_once(&self, charges: &[Charge], deadline: Instant) -> Result<(), Unpaid> {
        for (index, charge) in charges.iter().enumerate() {
            // An answer that comes too late goes back: its receiver is gone.
            let take = async {
                match &charge.terms {
                    Terms::Window(window) => self.take(charge, window).await.map(|()| Duration::ZERO),
                    Terms::Pace(pace) => self.take_place(charge, *pace, deadline).await,
                }
            };
            match tokio::time::timeout_at(deadline, take).await.unwrap_or(Err(Unpaid::Unanswered)) {
                Ok(Duration::ZERO) => {}
                Ok(wait) => tokio::time::sleep(wait).await,
                Err(unpaid) => {
                    self.put_back(&charges[..index]).await;
                    return Err(unpaid);
                }
            }
        }
        Ok(())
    }

    async fn take(&self, charge: &Charge, window: &BudgetWindow) -> Result<(), Unpaid> {
        let slice = self.slice(&charge.key);
        // Held while a demand is waiting: one demand for each budget, and other requests use what it returns.
        let mut slice = slice.lock().await;
        let (start, end) = window_of(window, self.clock.now());
        if slice.window != Some((start, end)) {
            *slice = Slice { window: Some((start, end)), ..Slice::default() };
        }
        if slice.left < charge.units {
            let missing = charge.units - slice.left;
            let want = missing.max((charge.limit / SLICE_PART).min(SLICE_UNITS_MAX));
            let (reply, granted) = oneshot::channel();
            let demand = BudgetDemand {
                key: charge.key.clone(),
                limit: charge.limit,
                window_start: start,
                window_end: end,
                want,
                reply,
            };
            self.demands.send(Demand::Units(demand)).await.map_err(|_| Unpaid::Unanswered)?;
            slice.left += granted.await.map_err(|_| Unpaid::Unanswered)?.min(want);
        }
        match slice.left.checked_sub(charge.units) {
            Some(left) => {
                slice.left = left;
                Ok(())
            }
            None => Err(Unpaid::Spent { budget: charge.key.clone(), until: end, defers: defers(window) }),
        }
    }

    /// Takes the next places of a rolling window. Returns how long to wait for them.
    async fn take_place(&self, charge: &Charge, pace: Pace, deadline: Instant) -> Result<Duration, Unpaid> {
        let slice = self.slice(&charge.key);
        let mut slice = slice.lock().await;
        let now_us = self.clock.now().timestamp_micros();
        // Further ahead than any place is granted: it was reserved before the clock went back.
        let is_of_other_time = slice.place_us.saturating_sub(now_us) > 3 * WAITED_PLACE_US_MAX;
        if slice.left < charge.units || pace.is_lost(slice.place_us, now_us) || is_of_other_time {
            let time_left = deadline.saturating_duration_since(Instant::now());
            let wait_max = i64::try_from(time_left.as_micros()).unwrap_or(i64::MAX).min(WAITED_PLACE_US_MAX);
            let ask = pace.ask(charge.units, now_us, wait_max);
            let (reply, granted) = oneshot::channel();
            let demand = PlaceDemand { key: charge.key.clone(), ask, reply };
            let places = match self.demands.send(Demand::Places(demand)).await {
                Ok(()) => granted.await.map_err(|_| Unpaid::Unanswered),
                Err(_) => Err(Unpaid::Unanswered),
            };
            let Places { first_us, next_us } = match places {
                // What was learned is no promise: without the database, this process keeps the pace by itself.
                Err(_) if charge.key.budget.is_empty() => ask.answer(Some(slice.place_us)),
                places => places?,
            };
            if next_us <= first_us {
                let due_us = pace.due_us(first_us, charge.units);
                let until = DateTime::from_timestamp_micros(due_us).unwrap_or(self.clock.now());
                let is_far = due_us - now_us > WAITED_PLACE_US_MAX;
                return Err(Unpaid::Spent { budget: charge.key.clone(), until, defers: is_far });
            }
            *slice = Slice { window: None, left: pace.block(charge.units), place_us: first_us };
        }
        let due_us = pace.due_us(slice.place_us, charge.units);
        slice.left -= charge.units;
        slice.place_us = pace.after(slice.place_us, charge.units);
        Ok(Duration::from_micros(u64::try_from(due_us - self.clock.now().timestamp_micros()).unwrap_or(0)))
    }

    /// Returns the units of a request that was not sent after all. A place in time is lost.
    pub(super) async fn put_back(&self, charges: &[Charge]) {
        for charge in charges {
            let Terms::Window(window) = &charge.terms else { continue };
            let slice = self.slice(&charge.key);
            let mut slice = slice.lock().await;
            if slice.window == Some(window_of(window, self.clock.now())) {
                slice.left += charge.units;
            }
        }
    }

    /// Tells other hosts of a pause, if there is room for it: they find it out by themselves too.
    pub(super) fn tell(&self, pause: Pause) {
        if let Err(error) = self.demands.try_send(Demand::Pause(pause)) {
            tracing::debug!(%error, "a pause is not told to other hosts");
        }
    }

    fn slice(&self, key: &BudgetKey) -> Arc<Mutex<Slice>> {
        let mut slices = self.all();
        match slices.get(key) {
            Some(slice) => Arc::clone(slice),
            None => Arc::clone(slices.entry(key.clone()).or_default()),
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<BudgetKey, Arc<Mutex<Slice>>>> {
        self.slices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is left of every slice, and drops unused slices. Units of past windows have no value, and neither
    /// have places in time.
    pub(super) fn drain(&self) -> Vec<Unspent> {
        let now = self.clock.now();
        let mut unspent = Vec::new();
        self.all().retain(|key, shared| {
            let Ok(mut slice) = shared.try_lock() else { return true };
            if let Some((start, end)) = slice.window
                && slice.left > 0
                && now < end
            {
                unspent.push(Unspent { key: key.clone(), window_start: start, units: slice.left });
            }
            slice.left = 0;
            drop(slice);
            // Another task that already holds it must find it in the map again, or there would be two slices.
            Arc::strong_count(shared) > 1
        });
        unspent.sort_by(|a, b| a.key.cmp(&b.key));
        unspent
    }
}

/// Whole seconds, rounded up.
pub(super) fn seconds_of(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::Zone;
    use chrono::NaiveTime;

    fn zone(name: &str) -> Zone {
        name.parse().expect("a zone")
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn pacific_day(now: &str) -> (DateTime<Utc>, DateTime<Utc>) {
        let window = BudgetWindow::Daily { at: NaiveTime::MIN, timezone: zone("America/Los_Angeles") };
        window_of(&window, at(now))
    }

    #[test]
    fn a_window_of_seconds_is_aligned_to_the_epoch() {
        for (seconds, now, start, end) in [
            (60, "2026-11-22T10:00:59.999Z", "2026-11-22T10:00:00Z", "2026-11-22T10:01:00Z"),
            (60, "2026-11-22T10:01:00Z", "2026-11-22T10:01:00Z", "2026-11-22T10:02:00Z"),
            (30, "2026-11-22T10:00:31Z", "2026-11-22T10:00:30Z", "2026-11-22T10:01:00Z"),
            (1, "2026-11-22T10:00:31.5Z", "2026-11-22T10:00:31Z", "2026-11-22T10:00:32Z"),
        ] {
            assert_eq!(window_of(&BudgetWindow::Seconds(seconds), at(now)), (at(start), at(end)));
        }
    }

    #[test]
    fn a_pacific_day_has_23_24_or_25_hours() {
        assert_eq!(pacific_day("2026-11-22T07:59:59Z"), (at("2026-11-21T08:00:00Z"), at("2026-11-22T08:00:00Z")));
        assert_eq!(pacific_day("2026-11-22T08:00:00Z"), (at("2026-11-22T08:00:00Z"), at("2026-11-23T08:00:00Z")));
        // 2026-03-08: the clock goes forward; 2026-11-01: back.
        assert_eq!(pacific_day("2026-03-08T12:00:00Z"), (at("2026-03-08T08:00:00Z"), at("2026-03-09T07:00:00Z")));
        assert_eq!(pacific_day("2026-11-01T12:00:00Z"), (at("2026-11-01T07:00:00Z"), at("2026-11-02T08:00:00Z")));
    }

    #[test]
    fn a_reset_time_that_does_not_exist_or_exists_twice_still_has_one_instant() {
        let daily = |hour, minute| BudgetWindow::Daily {
            at: NaiveTime::from_hms_opt(hour, minute, 0).expect("a time"),
            timezone: zone("America/Los_Angeles"),
        };
        // 02:30 does not exist on 2026-03-08: 03:00 PDT is the first instant after the gap.
        assert_eq!(window_of(&daily(2, 30), at("2026-03-08T12:00:00Z")).0, at("2026-03-08T10:00:00Z"));
        // 01:30 exists twice on 2026-11-01: the first, in PDT.
        assert_eq!(window_of(&daily(1, 30), at("2026-11-01T12:00:00Z")).0, at("2026-11-01T08:30:00Z"));
    }

    #[test]
    fn windows_follow_each_other_without_gap_or_overlap_for_two_years() {
        for timezone in
            [zone("America/Los_Angeles"), zone("Europe/Berlin"), zone("Pacific/Apia"), zone("Australia/Lord_Howe")]
        {
            for hour in [0, 2, 23] {
                let reset = NaiveTime::from_hms_opt(hour, 15, 0).expect("a time");
                let window = BudgetWindow::Daily { at: reset, timezone: timezone.clone() };
                let mut now = at("2010-12-31T12:00:00Z");
                let (_, mut end) = window_of(&window, now);
                while now < at("2012-12-31T00:00:00Z") {
                    let (start, next) = window_of(&window, end);
                    assert_eq!(start, end, "{timezone} {hour}");
                    assert!(next > end);
                    (now, end) = (end, next);
                }
            }
        }
    }
}
