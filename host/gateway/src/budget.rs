//! Budgets: what a request costs, which window it falls into, and the units that this process holds.
//!
//! Units are taken **before** a request is sent, from a slice that the store grants, where they are counted for all
//! hosts. The gateway only knows the store as the other end of a channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as BriefMutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::error::SendError;
use backline_model::clock::Clock;
use backline_model::grant::Grant;
use backline_model::ids::CredentialId;
use backline_model::manifest::{Budget, BudgetWindow, Manifest};

/// Most demands that wait for an answer at the same time; further ones wait in the sender.
pub(super) const DEMANDS_MAX: usize = 64;

/// A spent window is waited for if it is at most this long; a longer one defers the batch.
const WAITED_WINDOW_SECONDS_MAX: i64 = 120;

/// Most units taken from the store at once: a crash loses at most this many of a window.
const SLICE_UNITS_MAX: u64 = 50;

/// A slice is at most this fraction of the limit, so that hosts share a small budget fairly.
const SLICE_PART: u64 = 20;

/// Identifies a budget of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BudgetKey {
    /// Credential that the units belong to.
    pub credential: CredentialId,
    /// Name of the budget in the manifest.
    pub budget: String,
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
    window: BudgetWindow,
    units: u64,
}

impl Charge {
    /// The charges of a request to this path, with this credential of this slot.
    pub(super) fn all_of(
        manifest: &Manifest,
        grant: &Grant,
        slot: &str,
        credential: CredentialId,
        path: &str,
    ) -> Vec<Self> {
        let of_slot = manifest.budgets.iter().filter(|budget| budget.slot == slot);
        of_slot
            .map(|budget: &Budget| Self {
                key: BudgetKey { credential, budget: budget.name.clone() },
                limit: grant.budgets.get(&budget.name).copied().unwrap_or(budget.limit),
                window: budget.window.clone(),
                units: budget.cost_of(path),
            })
            .filter(|charge| charge.units > 0)
            .collect()
    }

    /// The budget's name, and the units.
    pub(super) fn named_units(&self) -> (&str, u64) {
        (&self.key.budget, self.units)
    }
}

/// The window that an instant falls into: its start, and the start of the next one.
#[must_use]
pub fn window_of(window: &BudgetWindow, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
    match window {
        BudgetWindow::Seconds(seconds) => {
            let length = i64::from((*seconds).max(1));
            let start = now.timestamp().div_euclid(length) * length;
            let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or(now);
            (at(start), at(start + length))
        }
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
        BudgetWindow::Daily { .. } => true,
    }
}

/// Units held for one budget.
#[derive(Debug, Default)]
struct Slice {
    window: Option<(DateTime<Utc>, DateTime<Utc>)>,
    left: u64,
}

/// The units that this process holds, of all budgets.
pub(super) struct Budgets {
    slices: BriefMutex<HashMap<BudgetKey, Arc<Mutex<Slice>>>>,
    demands: mpsc::Sender<BudgetDemand>,
    clock: Clock,
}

/// Why a charge can't be paid.
enum Unpaid {
    /// Nothing is left until then.
    Spent { until: DateTime<Utc>, window_seconds: i64 },
    /// No one answers demands.
    Unanswered,
}

impl Budgets {
    pub(super) fn new(demands: mpsc::Sender<BudgetDemand>, clock: Clock) -> Self {
        Self { slices: BriefMutex::default(), demands, clock }
    }

    /// Pays all charges or none. A short window that is spent is waited for, if the deadline allows.
    pub(super) async fn pay(&self, charges: &[Charge], deadline: Instant) -> Result<(), SendError> {
        loop {
            let (until, window_seconds) = match self.pay_once(charges, deadline).await {
                Ok(()) => return Ok(()),
                Err(Unpaid::Unanswered) => {
                    return Err(SendError::Unreachable(
                        "no budget units could be taken: the database does not answer, or the host is stopping".into(),
                    ));
                }
                Err(Unpaid::Spent { until, window_seconds }) => (until, window_seconds),
            };
            if window_seconds > WAITED_WINDOW_SECONDS_MAX {
                return Err(SendError::QuotaExhausted(Some(until)));
            }
            let wait = (until - self.clock.now()).to_std().unwrap_or_default().max(Duration::from_millis(1));
            if Instant::now() + wait >= deadline {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                return Err(SendError::RateLimited(u32::try_from(seconds).ok()));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn pay_once(&self, charges: &[Charge], deadline: Instant) -> Result<(), Unpaid> {
        for (index, charge) in charges.iter().enumerate() {
            // An answer that comes too late goes back: its receiver is gone.
            let taken = tokio::time::timeout_at(deadline, self.take(charge)).await.unwrap_or(Err(Unpaid::Unanswered));
            if let Err(unpaid) = taken {
                for paid in &charges[..index] {
                    self.put_back(paid).await;
                }
                return Err(unpaid);
            }
        }
        Ok(())
    }

    async fn take(&self, charge: &Charge) -> Result<(), Unpaid> {
        let slice = self.slice(&charge.key);
        // Held while a demand is waiting: one demand for each budget, and other requests use what it returns.
        let mut slice = slice.lock().await;
        let (start, end) = window_of(&charge.window, self.clock.now());
        if slice.window != Some((start, end)) {
            *slice = Slice { window: Some((start, end)), left: 0 };
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
            self.demands.send(demand).await.map_err(|_| Unpaid::Unanswered)?;
            slice.left += granted.await.map_err(|_| Unpaid::Unanswered)?.min(want);
        }
        match slice.left.checked_sub(charge.units) {
            Some(left) => {
                slice.left = left;
                Ok(())
            }
            None => Err(Unpaid::Spent { until: end, window_seconds: (end - start).num_seconds() }),
        }
    }

    /// Returns the units of a request that was not sent after all.
    async fn put_back(&self, charge: &Charge) {
        let slice = self.slice(&charge.key);
        let mut slice = slice.lock().await;
        if slice.window == Some(window_of(&charge.window, self.clock.now())) {
            slice.left += charge.units;
        }
    }

    fn slice(&self, key: &BudgetKey) -> Arc<Mutex<Slice>> {
        Arc::clone(self.all().entry(key.clone()).or_default())
    }

    fn all(&self) -> MutexGuard<'_, HashMap<BudgetKey, Arc<Mutex<Slice>>>> {
        self.slices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is left of every slice, and drops unused slices. Units of past windows have no value.
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
