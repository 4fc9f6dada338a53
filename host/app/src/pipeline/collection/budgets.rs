//! Grants the gateway units of budgets from the database, so that all hosts on it share every budget.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::pipeline::clocks::Clocks;
use crate::pipeline::collection::pauses;
use crate::pipeline::watchdog::{Heartbeat, TurnEnd, TurnFailure, restarted};
use backline_gateway::{self, BudgetDemand, Demand, Gateway, Pause, PlaceDemand};
use backline_model::clock::Clock;
use backline_store::{BudgetKey, Store, StoreError};

/// The shortest deferral. A connector that reports a budget as available again at once, over and over, would keep a run
/// busy without it.
pub(in crate::pipeline) const DEFER_MIN: TimeDelta = TimeDelta::minutes(1);

/// Demands that are answered at the same time; further ones wait.
const ANSWERS_AT_ONCE: usize = 16;

/// How long one answer may take: a connection that went silent must not keep a batch waiting.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How often the server says that it turns while nothing is demanded.
const TURN: Duration = Duration::from_secs(30);

/// How long a failure says something of budgets where nothing is demanded since. Longer than a deferral, after which
/// batches that got no answer demand again: an outage that goes on is met again before.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// What demands are answered with, and which of them are under way, of all gateways of a host. Cloning shares it.
#[derive(Clone)]
pub(in crate::pipeline) struct BudgetServer {
    store: Store,
    clock: Clock,
    clocks: Clocks,
    heartbeat: Heartbeat,
    open: Arc<Mutex<OpenDemands>>,
}

/// Demands under way, in the order in which they were taken up, each with when.
#[derive(Default)]
struct OpenDemands {
    last: u64,
    since: BTreeMap<u64, Instant>,
    /// Budgets that were demanded since this host began.
    demanded: Demanded,
    /// Budgets that could not be read, by their names, since one was.
    unread: BTreeSet<String>,
    /// When a demand failed last, since one was answered.
    failed: Option<Instant>,
}

/// Which budgets are demanded: whether there is one alone is all that counts, and there may be one for each account.
#[derive(Default)]
enum Demanded {
    #[default]
    None,
    One(String),
    Several,
}

impl Demanded {
    fn note(&mut self, budget: &str) {
        match self {
            Self::None => *self = Self::One(budget.to_owned()),
            Self::One(known) if known.as_str() != budget => *self = Self::Several,
            Self::One(_) | Self::Several => {}
        }
    }
}

impl OpenDemands {
    /// How an answer ended for the server. One budget of several that can't be read says nothing of the others; two
    /// do, where none could be read since. Where no other is demanded than one, it is all that there is to read.
    fn answered<T>(&mut self, budget: &BudgetKey, taken: &Result<T, StoreError>, now: Instant) -> TurnEnd {
        let name = format!("{:?}", (&budget.holder, &budget.budget));
        self.demanded.note(&name);
        if taken.is_ok() {
            self.unread.clear();
            self.failed = None;
            return TurnEnd::Good;
        }
        self.failed = Some(now);
        self.unread.insert(name);
        match self.demanded {
            Demanded::Several if self.unread.len() < 2 => TurnEnd::Skipped,
            _ => TurnEnd::of(taken),
        }
    }

    /// How a turn ends in which nothing is under way. It says nothing of a failure that is recent, and ends one that no
    /// demand has met again: only a demand would show that the trouble has passed, and none may come until the next
    /// run.
    fn idle(&mut self, now: Instant) -> TurnEnd {
        if self.failed.is_none_or(|failed| now.saturating_duration_since(failed) < FORGOTTEN_AFTER) {
            return TurnEnd::Skipped;
        }
        self.failed = None;
        self.unread.clear();
        TurnEnd::Good
    }
}

/// A demand that is under way until this is dropped.
struct UnderWay<'a> {
    budgets: &'a BudgetServer,
    number: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.budgets.open().since.remove(&self.number);
    }
}

/// Answers requests for units until the gateway is gone. When the database fails, there is no answer, and the request
/// is not sent: a budget is never overspent on a guess, and a database's fault is no spent budget. Nor is there one
/// while this machine's clock is wrong: places that are reserved by it would let all hosts wait, and units of another
/// window than the platform's present one would be spent beside those that are counted.
///
/// An answer that panics costs its own request.
pub(in crate::pipeline) async fn serve(budgets: BudgetServer, demands: mpsc::Receiver<Demand>) {
    let demands = Arc::new(tokio::sync::Mutex::new(demands));
    let heartbeat = budgets.heartbeat.clone();
    let work = move || {
        let (budgets, demands) = (budgets.clone(), Arc::clone(&demands));
        async move {
            let mut demands = demands.lock().await;
            budgets.answer_all(&mut demands).await;
        }
    };
    restarted(heartbeat, work).await;
}

impl BudgetServer {
    /// `heartbeat`: how they tell that they are answered.
    pub(in crate::pipeline) fn new(store: Store, clock: Clock, clocks: Clocks, heartbeat: Heartbeat) -> Self {
        Self { store, clock, clocks, heartbeat, open: Arc::default() }
    }

    async fn answer_all(&self, demands: &mut mpsc::Receiver<Demand>) {
        let (mut answers, mut may_come) = (FuturesUnordered::new(), true);
        while may_come || !answers.is_empty() {
            self.tell_turn();
            tokio::select! {
                demand = demands.recv(), if may_come && answers.len() < ANSWERS_AT_ONCE => match demand {
                    Some(demand) => answers.push(self.take_up(demand)),
                    None => may_come = false,
                },
                Some(()) = answers.next(), if !answers.is_empty() => {}
                () = tokio::time::sleep(TURN) => {}
            }
        }
    }

    /// Tells that demands are taken up, and since when the oldest one is under way: each has its time-out.
    fn tell_turn(&self) {
        let mut open = self.open();
        let oldest = open.since.first_key_value().map(|(_, began)| *began);
        match oldest {
            Some(began) => self.heartbeat.work_since(began, ANSWER_WITHIN),
            None => self.heartbeat.wait(open.idle(Instant::now()), TURN),
        }
    }

    async fn take_up(&self, demand: Demand) {
        let _under_way = self.begin();
        let end = match AssertUnwindSafe(self.answer(demand)).catch_unwind().await {
            Ok(end) => end,
            Err(_) => {
                tracing::error!("an answer about a budget panicked; the request that waits for it is not sent");
                self.open().failed = Some(Instant::now());
                TurnEnd::Failed(TurnFailure::panicked())
            }
        };
        self.heartbeat.ended(end);
    }

    fn begin(&self) -> UnderWay<'_> {
        let mut open = self.open();
        open.last += 1;
        let number = open.last;
        open.since.insert(number, Instant::now());
        UnderWay { budgets: self, number }
    }

    fn open(&self) -> MutexGuard<'_, OpenDemands> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, demand: Demand) -> TurnEnd {
        let Self { store, clock, clocks, .. } = self;
        match demand {
            Demand::Units(demand) if !clocks.is_within(demand.window_start, demand.window_end) => {
                tracing::warn!(
                    budget = %demand.key.budget,
                    "the clock jumped; this host takes no units of a budget until its clock is right"
                );
                TurnEnd::Skipped
            }
            Demand::Units(demand) => self.answer_units(demand).await,
            Demand::Places(PlaceDemand { key, ask, reply }) => {
                let asked_at = DateTime::from_timestamp_micros(ask.now_us);
                if !asked_at.is_some_and(|at| clocks.agrees_with(at)) {
                    tracing::warn!(
                        budget = %key.budget,
                        "the clock jumped; this host takes no places of a budget until its clock is right"
                    );
                    return TurnEnd::Skipped;
                }
                let budget = of(&key);
                let taken = store.pace_take(&budget, &ask);
                let taken = StoreError::in_time(ANSWER_WITHIN, "take places of a budget", taken).await;
                let end = self.open().answered(&budget, &taken, Instant::now());
                match taken {
                    // Places that are no longer waited for are lost: others may be reserved behind them.
                    Ok(places) => {
                        let _dropped = reply.send(places);
                    }
                    Err(error) => {
                        tracing::error!(budget = %key.budget, %error, "a budget can't be read; nothing is granted");
                    }
                }
                end
            }
            Demand::Pause(_) if !clocks.is_right() => {
                tracing::warn!("the clock jumped; this host tells other hosts of no pause until its clock is right");
                TurnEnd::Skipped
            }
            Demand::Pause(Pause { holder, platform, wait, pace, .. }) => {
                let told = pauses::begin(store, &holder, &platform, wait, pace, clock.now());
                if tokio::time::timeout(ANSWER_WITHIN, told).await.is_err() {
                    tracing::warn!(%holder, "a pause that the platform asked for is not known to other hosts");
                }
                TurnEnd::Skipped
            }
        }
    }

    async fn answer_units(&self, demand: BudgetDemand) -> TurnEnd {
        let Self { store, clock, .. } = self;
        let BudgetDemand { key, limit, window_start, window_end, want, reply } = demand;
        let budget = of(&key);
        let taken = store.budget_take(&budget, window_start, window_end, limit, want, clock.now());
        let taken = StoreError::in_time(ANSWER_WITHIN, "take from a budget", taken).await;
        let end = self.open().answered(&budget, &taken, Instant::now());
        match taken {
            Ok(granted) => {
                if reply.send(granted).is_err() && granted > 0 {
                    // The request that asked was dropped; nothing will spend its units.
                    give_back(store, &key, window_start, granted).await;
                }
            }
            Err(error) => tracing::error!(budget = %key.budget, %error, "a budget can't be read; nothing is granted"),
        }
        end
    }
}

/// Gives back units that were granted and not used.
pub(in crate::pipeline) async fn settle(store: &Store, gateway: &Gateway) {
    for unspent in gateway.unspent_budgets() {
        give_back(store, &unspent.key, unspent.window_start, unspent.units).await;
    }
}

async fn give_back(
    store: &Store,
    key: &backline_gateway::BudgetKey,
    window_start: chrono::DateTime<chrono::Utc>,
    units: u64,
) {
    if let Err(error) = store.budget_give_back(&of(key), window_start, units).await {
        tracing::warn!(budget = %key.budget, units, %error, "unused units could not be handed back");
    }
}

/// Gateway and store do not depend on each other, so each has a key type of its own.
fn of(key: &backline_gateway::BudgetKey) -> BudgetKey {
    BudgetKey { holder: key.holder.clone(), budget: key.budget.clone() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::oneshot;

    use super::*;
    use crate::pipeline::watchdog::Watchdog;
    use backline_model::{Holder, Platform};
    use backline_store::StoreOptions;

    #[test]
    fn trouble_that_no_demand_has_met_again_is_over() {
        let (mut open, failed) = (OpenDemands::default(), Instant::now());
        assert_eq!(open.idle(failed), TurnEnd::Skipped, "nothing was demanded");
        open.failed = Some(failed);
        open.unread.insert("reads".to_owned());
        assert_eq!(open.idle(failed + FORGOTTEN_AFTER / 2), TurnEnd::Skipped, "it may go on");
        assert_eq!(open.unread.len(), 1);
        assert_eq!(open.idle(failed + FORGOTTEN_AFTER), TurnEnd::Good);
        assert!(open.unread.is_empty(), "the next budget that can't be read is the first one");
        assert_eq!(open.idle(failed + FORGOTTEN_AFTER), TurnEnd::Skipped, "it is told once");
    }

    #[test]
    fn one_budget_that_can_not_be_read_is_all_of_them_where_no_other_is_demanded() {
        let budget = |name: &str| {
            let holder = Holder::Platform(Platform::new("demo").expect("a name"));
            BudgetKey { holder, budget: name.to_owned() }
        };
        let (reads, posts, now) = (budget("reads"), budget("posts"), Instant::now());
        let refused = || Err::<u64, _>(StoreError::NoAnswer { what: "take from a budget", seconds: 10 });
        let is_failed = |end: TurnEnd| matches!(end, TurnEnd::Failed(_));

        let mut open = OpenDemands::default();
        assert!(is_failed(open.answered(&reads, &refused(), now)), "it is the only one, from the start");
        assert_eq!(open.answered(&reads, &Ok(3), now), TurnEnd::Good);
        assert!(is_failed(open.answered(&reads, &refused(), now)), "and later");

        assert_eq!(open.answered(&posts, &Ok(3), now), TurnEnd::Good);
        assert_eq!(open.answered(&reads, &refused(), now), TurnEnd::Skipped, "another one may be read");
        assert_eq!(open.answered(&reads, &refused(), now), TurnEnd::Skipped, "however often it is asked for");
        assert!(is_failed(open.answered(&posts, &refused(), now)), "neither can be read");
        assert_eq!(open.answered(&posts, &Ok(3), now), TurnEnd::Good);
        assert!(open.unread.is_empty() && open.failed.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_panics_costs_its_own_request_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let store = Store::open(&url, StoreOptions::default()).await.expect("the database opens");
        store.migrate().await.expect("it is made");
        let start = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
        let panics = Arc::new(AtomicBool::new(true));
        let clock = {
            let panics = Arc::clone(&panics);
            Clock::from_fn(move || {
                assert!(!panics.load(Ordering::SeqCst), "a test");
                start
            })
        };
        let watchdog = Watchdog::default();
        let clocks = Clocks::new(store.clone(), Clock::fixed(start));
        let budgets = BudgetServer::new(store, clock, clocks, watchdog.watch("budgets"));
        let told = || watchdog.status(Instant::now(), Duration::ZERO, None).pop().and_then(|status| status.error);
        let (demands, received) = mpsc::channel(4);
        let ask = async || {
            let (reply, answer) = oneshot::channel();
            let holder = Holder::Platform(Platform::new("demo").expect("a name"));
            let key = backline_gateway::BudgetKey { holder, budget: "reads".to_owned() };
            let (window_start, window_end) = (start, start + TimeDelta::days(1));
            let demand = BudgetDemand { key, limit: 10, window_start, window_end, want: 3, reply };
            demands.send(Demand::Units(demand)).await.expect("it is served");
            answer.await
        };
        let asked = async {
            assert!(ask().await.is_err(), "its answer panicked");
            assert!(told().is_some_and(|error| error.starts_with("it panicked")), "{:?}", told());
            assert!(budgets.open().failed.is_some());
            panics.store(false, Ordering::SeqCst);
            assert_eq!(ask().await.expect("the others are answered"), 3);
            assert_eq!((told(), budgets.open().failed), (None, None));
        };
        let served = serve(budgets.clone(), received);
        tokio::select! {
            () = served => panic!("it ended"),
            () = asked => {}
        }
        assert!(budgets.open().since.is_empty(), "nothing is under way");
    }
}
