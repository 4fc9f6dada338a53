//! Tests of budgets: units are paid before each request and counted exactly, and come from the receiver of a channel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backline_gateway::{BudgetKey, Demand, Pause, SendError, SessionCredential, SessionSetup};
use backline_model::Holder;
use backline_model::clock::Clock;
use backline_model::ids::{AccountId, CredentialId};
use backline_model::manifest::Manifest;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::retries::failing;
use backline_model::fixtures::manifest_with;

use super::{Setup, TABLES, get, noon, with_key, with_token};
use crate::support::http::{Asked, Server, answer};

/// Grants budget demands from a fixed number of units per window and budget, and records them.
struct BudgetStub {
    units: u64,
    taken: BTreeMap<(BudgetKey, DateTime<Utc>), u64>,
    wants: Vec<u64>,
    /// The next place of each budget whose window rolls, by holder and name.
    next_us: BTreeMap<(String, String), i64>,
    /// Pauses that other hosts are told of.
    pauses: Vec<Pause>,
}

impl BudgetStub {
    fn of(units: u64) -> Self {
        Self { units, taken: BTreeMap::new(), wants: Vec::new(), next_us: BTreeMap::new(), pauses: Vec::new() }
    }

    fn answer(&mut self, demand: Demand) {
        let demand = match demand {
            Demand::Units(demand) => demand,
            Demand::Places(demand) => {
                let key = (demand.key.holder.to_string(), demand.key.budget);
                let places = demand.ask.answer(self.next_us.get(&key).copied());
                self.next_us.insert(key, places.next_us);
                demand.reply.send(places).expect("the gateway waits for the places");
                return;
            }
            Demand::Pause(pause) => {
                self.pauses.push(pause);
                return;
            }
        };
        let taken = self.taken.entry((demand.key.clone(), demand.window_start)).or_default();
        let granted = demand.want.min(self.units.min(demand.limit) - *taken);
        *taken += granted;
        self.wants.push(demand.want);
        demand.reply.send(granted).expect("the gateway waits for the grant");
    }

    /// Runs a future while granting its demands.
    async fn during<T>(&mut self, demands: &mut mpsc::Receiver<Demand>, work: impl Future<Output = T>) -> T {
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
    let ask = async |budgets: &mut BudgetStub, demands: &mut mpsc::Receiver<Demand>, path: &str| {
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
    let usage = session.usage();
    assert_eq!((server.asked().len(), usage.requests, usage.asked), (9, 9, 11), "an unpaid request was sent");
    assert_eq!(usage.requests_by_origin, BTreeMap::from([("https://api.test".to_owned(), 9)]));
    assert_eq!(usage.units, BTreeMap::from([("units".to_owned(), 205)]));
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
async fn a_connector_that_goes_on_asking_for_a_spent_allowance_comes_to_an_end() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    with_budget(&mut setup, DAILY);
    setup.config.requests_max = 4;
    let (_gateway, session, mut demands) = setup.open();
    let mut budgets = BudgetStub::of(1);
    let mut outcomes = Vec::new();
    for _ in 0..6 {
        outcomes.push(budgets.during(&mut demands, session.send(with_key(get("https://api.test/list")))).await);
    }
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    assert!(outcomes[1..4].iter().all(|outcome| matches!(outcome, Err(SendError::QuotaExhausted(_)))), "{outcomes:?}");
    assert!(outcomes[4..].iter().all(|outcome| matches!(outcome, Err(SendError::Denied(_)))), "{outcomes:?}");
    let usage = session.usage();
    assert_eq!((server.asked().len(), usage.requests, usage.asked, usage.refused), (1, 1, 4, 2));
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
    let started = Arc::new(std::sync::OnceLock::<Instant>::new());
    let since = Arc::clone(&started);
    let server = Server::start(move |_: &Asked| {
        started.get_or_init(Instant::now);
        answer(200, &[], "ok")
    })
    .await;
    let mut setup = Setup::new(&server);
    with_budget(&mut setup, "[[budget]]\nname = \"rate\"\nslot = \"app\"\nlimit = 1\nwindow = { seconds = 60 }\n");
    // Stands 250 ms before the end of a window until the first request has come, then follows the machine's clock.
    setup.clock = Clock::from_fn(move || {
        let elapsed = since.get().map_or(Duration::ZERO, Instant::elapsed);
        noon() + TimeDelta::milliseconds(59_750) + TimeDelta::from_std(elapsed).expect("short")
    });
    let (gateway, session, mut demands) = setup.open();
    let mut budgets = BudgetStub::of(1);
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

#[tokio::test]
async fn a_budget_of_accounts_credentials_that_is_spent_is_named_with_its_credential() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    with_budget(&mut setup, &DAILY.replace("\"app\"", "\"user\""));
    let (mine, theirs) = (setup.account, AccountId::generate());
    let (id, value) = (CredentialId::generate(), "IGQcanaryofanotheraccount0123456".into());
    setup.credentials.push(SessionCredential { id, slot: "user".to_owned(), account: Some(theirs), value });
    let (gateway, _session, mut demands) = setup.open();
    let session = gateway.session(SessionSetup {
        manifest: Arc::new(setup.manifest.clone()),
        grant: Arc::new(setup.grant.clone()),
        credentials: setup.credentials.clone(),
        accounts: vec![mine, theirs],
        deadline: Instant::now() + setup.deadline,
    });
    let mut budgets = BudgetStub::of(1);
    let ask = |account| session.send(with_token(get("https://api.test/"), account));
    let all = async { (ask(mine).await, ask(mine).await, ask(theirs).await) };
    let (first, second, others) = budgets.during(&mut demands, all).await;
    assert!(first.is_ok() && others.is_ok(), "{first:?} {others:?}");
    assert!(matches!(second, Err(SendError::QuotaExhausted(Some(_)))), "{second:?}");
    let spent = BudgetKey { holder: Holder::Credential(setup.credentials[1].id), budget: "units".to_owned() };
    assert_eq!(session.usage().spent.into_iter().collect::<Vec<_>>(), [spent]);
}

const RATE: &str = "\n[[budget]]\nname = \"rate\"\nlimit = 4\nwindow = { rolling = 2 }\nburst = 2\n";

#[tokio::test]
async fn a_rolling_limit_of_the_platform_spaces_every_request_with_a_credential_and_without() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    with_budget(&mut setup, RATE);
    setup.clock = Clock::system();
    let (gateway, session, mut demands) = setup.open();
    let mut budgets = BudgetStub::of(0);
    let began = Instant::now();
    let ask = async |with: bool| {
        let request = get("https://api.test/");
        session.send(if with { with_key(request) } else { request }).await.expect("an answer");
        began.elapsed()
    };
    let sent =
        budgets.during(&mut demands, futures::future::join_all([ask(true), ask(false), ask(true), ask(false)])).await;
    // Two at once; then one each 833 ms: 2.5 s for three intervals.
    let mut sent = sent;
    sent.sort();
    assert!(sent[2] >= Duration::from_millis(833) && sent[3] >= Duration::from_millis(1_666), "{sent:?}");
    assert_eq!(session.usage().units["rate"], 4);
    let holders: Vec<_> = budgets.next_us.keys().map(|(holder, _)| holder.as_str()).collect();
    assert_eq!(holders, ["platform/example"], "one number for all of them");
    assert!(gateway.unspent_budgets().is_empty(), "a place in time has no value later");
}

#[tokio::test]
async fn a_place_further_than_a_minute_defers_and_one_past_the_deadline_is_a_rate_limit() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    with_budget(&mut setup, "\n[[budget]]\nname = \"rate\"\nlimit = 1\nwindow = { rolling = 3600 }\n");
    let (_gateway, session, mut demands) = setup.open();
    let mut budgets = BudgetStub::of(0);
    let both = async { (session.send(get("https://api.test/")).await, session.send(get("https://api.test/")).await) };
    let (first, second) = budgets.during(&mut demands, both).await;
    assert!(first.is_ok(), "{first:?}");
    let due = noon() + TimeDelta::seconds(3_602);
    assert_eq!(second, Err(SendError::QuotaExhausted(Some(due))));
    assert_eq!(budgets.next_us.values().copied().collect::<Vec<_>>(), [due.timestamp_micros()], "nothing is reserved");

    with_budget(&mut setup, "\n[[budget]]\nname = \"rate\"\nlimit = 1\nwindow = { rolling = 40 }\n");
    let (_gateway, session, mut demands) = setup.open();
    let mut budgets = BudgetStub::of(0);
    let both = async { (session.send(get("https://api.test/")).await, session.send(get("https://api.test/")).await) };
    let (_, second) = budgets.during(&mut demands, both).await;
    assert_eq!(second, Err(SendError::RateLimited(Some(42))));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_pause_holds_every_request_of_its_credential_and_spaces_those_after_it() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let server = Server::start(move |_: &Asked| match count.fetch_add(1, Ordering::SeqCst) {
        0..4 => answer(200, &[], "ok"),
        4 => answer(429, &[("retry-after", "1")], ""),
        _ => answer(200, &[], "ok"),
    })
    .await;
    let mut setup = Setup::new(&server);
    setup.clock = Clock::system();
    let (gateway, session, mut demands) = setup.open();
    let mut budgets = BudgetStub::of(0);
    let one = async || session.send(with_key(get("https://api.test/"))).await.expect("an answer").status;
    let began = Instant::now();
    let work = async {
        for _ in 0..4 {
            one().await;
        }
        // The fifth is refused, and asked for again after the pause; the others wait with it, though never refused.
        let refused = one();
        let others = async {
            while seen.load(Ordering::SeqCst) < 5 {
                tokio::task::yield_now().await;
            }
            while gateway.pause_left(&session_holder(&setup)).is_none() && seen.load(Ordering::SeqCst) < 6 {
                tokio::task::yield_now().await;
            }
            futures::future::join(one(), one()).await
        };
        futures::future::join(refused, others).await
    };
    let (refused, (second, third)) = budgets.during(&mut demands, work).await;
    let elapsed = began.elapsed();
    assert_eq!((refused, second, third, server.asked().len()), (200, 200, 200, 8));
    // Four in (about no time and) a second: at least 312 ms apart after the pause.
    assert!(elapsed >= Duration::from_millis(1_000 + 2 * 300), "{elapsed:?}");
    let told: Vec<_> = budgets.pauses.iter().map(|pause| (pause.holder.clone(), pause.wait)).collect();
    assert_eq!(told, [(session_holder(&setup), Duration::from_secs(1))], "other hosts are told once");
    assert!(budgets.next_us.keys().all(|(_, budget)| budget.is_empty()), "no budget is charged for it");
    assert_eq!(session.usage().units, BTreeMap::new());
    // Without the credential nothing is held.
    let platform = setup.manifest.connector.platform.clone();
    let wait = Duration::from_secs(3_600);
    gateway.pause(&Pause { holder: session_holder(&setup), platform, wait, age: Duration::ZERO, pace: None });
    let held = budgets.during(&mut demands, session.send(with_key(get("https://api.test/")))).await;
    assert!(matches!(held, Err(SendError::RateLimited(Some(3_599 | 3_600)))), "{held:?}");
    let free = budgets.during(&mut demands, session.send(get("https://api.test/"))).await;
    assert_eq!((free.expect("an answer").status, server.asked().len()), (200, 9));
    assert_eq!(session.usage().requests, 9, "what the pause held back was not sent");
}

#[tokio::test]
async fn an_outage_pauses_and_teaches_no_pace() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let server = Server::start(move |_: &Asked| match count.fetch_add(1, Ordering::SeqCst) {
        1 => answer(503, &[("retry-after", "1")], ""),
        _ => answer(200, &[], "ok"),
    })
    .await;
    let mut setup = Setup::new(&server);
    setup.clock = Clock::system();
    let (_gateway, session, mut demands) = setup.open();
    let mut budgets = BudgetStub::of(0);
    let began = Instant::now();
    let all = async {
        for _ in 0..4 {
            session.send(with_key(get("https://api.test/"))).await.expect("an answer");
        }
    };
    budgets.during(&mut demands, all).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "the wait is kept");
    assert_eq!((server.asked().len(), session.usage().throttled), (5, 1));
    let told: Vec<_> = budgets.pauses.iter().map(|pause| (pause.wait, pause.pace)).collect();
    assert_eq!(told, [(Duration::from_secs(1), None)]);
    assert!(budgets.next_us.is_empty(), "no place was asked for");
}

/// The holder of the operator's key.
fn session_holder(setup: &Setup) -> Holder {
    Holder::Credential(setup.credentials[0].id)
}
