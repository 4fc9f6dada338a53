//! Tests of budgets: units are paid before each request and counted exactly, and come from the receiver of a channel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backline_gateway::{BudgetDemand, SendError};
use backline_model::clock::Clock;
use backline_model::manifest::Manifest;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::retries::failing;
use backline_model::fixtures::manifest_with;

use super::{Setup, TABLES, get, noon, with_key};
use crate::support::http::{Asked, Server, answer};

/// Grants budget demands from a fixed number of units per window and budget, and records them.
struct BudgetStub {
    units: u64,
    taken: BTreeMap<(String, DateTime<Utc>), u64>,
    wants: Vec<u64>,
}

impl BudgetStub {
    fn of(units: u64) -> Self {
        Self { units, taken: BTreeMap::new(), wants: Vec::new() }
    }

    fn answer(&mut self, demand: BudgetDemand) {
        let taken = self.taken.entry((demand.key.budget.clone(), demand.window_start)).or_default();
        let granted = demand.want.min(self.units.min(demand.limit) - *taken);
        *taken += granted;
        self.wants.push(demand.want);
        demand.reply.send(granted).expect("the gateway waits for the grant");
    }

    /// Runs a future while granting its demands.
    async fn during<T>(&mut self, demands: &mut mpsc::Receiver<BudgetDemand>, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                demand = demands.recv() => self.answer(demand.expect("the gateway exists")),
            }
        }
    }
}

const DAILY: &str = r#"
[[budget]]
name = "units"
slot = "app"
limit = 1000
window = { daily = { at = "00:00:00", timezone = "America/Los_Angeles" } }
costs = [{ path = "/search", units = 100 }, { path = "/free", units = 0 }]
"#;

fn with_budget(setup: &mut Setup, budget: &str) {
    setup.manifest = Manifest::parse(&manifest_with(&format!("{TABLES}{budget}"))).expect("a valid manifest");
}

#[tokio::test]
async fn a_daily_allowance_is_paid_before_each_request_and_defers_to_its_reset() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    with_budget(&mut setup, DAILY);
    let hour = Arc::new(AtomicUsize::new(0));
    let clock = Arc::clone(&hour);
    setup.clock = Clock::from_fn(move || noon() + TimeDelta::hours(clock.load(Ordering::SeqCst) as i64));
    let (gateway, session, mut demands) = setup.open();
    let mut budgets = BudgetStub::of(205);
    let ask = async |budgets: &mut BudgetStub, demands: &mut mpsc::Receiver<BudgetDemand>, path: &str| {
        budgets.during(demands, session.send(with_key(get(&format!("https://api.test{path}"))))).await
    };
    for path in ["/search?q=1", "/search", "/list", "/free", "/list", "/list", "/list", "/list"] {
        ask(&mut budgets, &mut demands, path).await.expect(path);
    }
    let reset: DateTime<Utc> = "2026-11-23T08:00:00Z".parse().expect("a time");
    for path in ["/list", "/search"] {
        assert_eq!(ask(&mut budgets, &mut demands, path).await, Err(SendError::QuotaExhausted(Some(reset))));
    }
    ask(&mut budgets, &mut demands, "/free").await.expect("costs nothing");
    assert_eq!((server.asked().len(), session.usage().requests), (9, 11), "an unpaid request was sent");
    assert_eq!(session.usage().units, BTreeMap::from([("units".to_owned(), 205)]));
    assert_eq!(budgets.wants[..3], [100, 100, 50], "a slice is 50 units, or what one request costs");
    // A request without a credential costs no units.
    session.send(get("https://api.test/search")).await.expect("an answer");

    hour.store(20, Ordering::SeqCst);
    ask(&mut budgets, &mut demands, "/list").await.expect("a new day");
    let unspent = gateway.unspent_budgets();
    assert_eq!((unspent.len(), unspent[0].units, unspent[0].window_start), (1, 49, reset));
    assert!(gateway.unspent_budgets().is_empty());
}

#[tokio::test]
async fn retries_and_redirects_are_paid_for_and_a_grant_lowers_the_limit() {
    let server = failing(2, 503, &[], "").await;
    let mut setup = Setup::new(&server);
    with_budget(&mut setup, DAILY);
    setup.grant.budgets.insert("units".to_owned(), 3);
    let (_gateway, session, mut demands) = setup.open();
    let mut budgets = BudgetStub::of(1_000);
    let response =
        budgets.during(&mut demands, session.send(with_key(get("https://api.test/")))).await.expect("an answer");
    assert_eq!((response.status, session.usage().units["units"]), (200, 3));
    let outcome = budgets.during(&mut demands, session.send(with_key(get("https://api.test/")))).await;
    assert!(matches!(outcome, Err(SendError::QuotaExhausted(Some(_)))), "{outcome:?}");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_short_window_is_waited_for_or_reported_as_a_rate_limit() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    with_budget(&mut setup, "[[budget]]\nname = \"rate\"\nslot = \"app\"\nlimit = 1\nwindow = { seconds = 60 }\n");
    // Starts 250 ms before the end of a window, then follows the machine's clock.
    let started = Arc::new(std::sync::OnceLock::<Instant>::new());
    let since = Arc::clone(&started);
    setup.clock = Clock::from_fn(move || {
        let elapsed = since.get().map_or(Duration::ZERO, Instant::elapsed);
        noon() + TimeDelta::milliseconds(59_750) + TimeDelta::from_std(elapsed).expect("short")
    });
    let (gateway, session, mut demands) = setup.open();
    let mut budgets = BudgetStub::of(1);
    started.set(Instant::now()).expect("set once");
    let both = async {
        (session.send(with_key(get("https://api.test/"))).await, session.send(with_key(get("https://api.test/"))).await)
    };
    let (first, second) = budgets.during(&mut demands, both).await;
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert_eq!(budgets.taken.len(), 2, "two windows");
    setup.deadline = Duration::from_secs(30);
    let session = setup.session(&gateway);
    let outcome = budgets.during(&mut demands, session.send(with_key(get("https://api.test/")))).await;
    assert!(matches!(outcome, Err(SendError::RateLimited(Some(50..=60)))), "{outcome:?}");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn without_a_receiver_of_budget_demands_nothing_is_sent() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    with_budget(&mut setup, DAILY);
    let (_gateway, session, demands) = setup.open();
    drop(demands);
    let outcome = session.send(with_key(get("https://api.test/"))).await;
    assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn units_are_exact_however_many_requests_run_at_once() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    with_budget(&mut setup, DAILY);
    let (gateway, session, mut demands) = setup.open();
    let mut budgets = BudgetStub::of(70);
    let all = futures::future::join_all((0..100).map(|_| session.send(with_key(get("https://api.test/")))));
    let outcomes = budgets.during(&mut demands, all).await;
    assert_eq!((outcomes.iter().filter(|outcome| outcome.is_ok()).count(), server.asked().len()), (70, 70));
    assert!(gateway.unspent_budgets().is_empty());
}
