//! Tests of platforms that limit a rate, or ask for a pause. The server of these tests counts a rolling window by the
//! machine's clock, refused requests included; nothing else is timed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backline::config::Config;
use backline::pipeline::Host;
use backline::pipeline::collection::report::{RunReport, RunRequest};
use backline_gateway::Route;
use backline_model::clock::Clock;
use backline_model::event::types;
use backline_model::health::RecommendationKind;
use backline_model::run::RunCounts;
use backline_model::{BatchState, Holder, Outcome};
use backline_simulator::SimulatorConfig;
use backline_store::{BatchFilter, DatabaseKind, Scope};
use chrono::{DateTime, TimeDelta};
use serde_json::json;
use sqlx::{AnyConnection, Connection as _, Executor as _};

use super::{serve, settled};
use crate::support::components::guest;
use crate::support::database::each_database;
use crate::support::fleet::until;
use crate::support::host::HostExt as _;
use crate::support::http::{Asked, Server, answer};
use crate::support::long::is_long;
use crate::support::stage::{Stage, platform};
use crate::support::variants::{replace, variant_of};

const GUEST: &str = "mistaken";

/// Maximum wait on a slow machine.
const SOON: Duration = Duration::from_secs(300);

/// A platform that allows so many requests in any window.
#[derive(Clone, Copy)]
struct Limit {
    requests: usize,
    window_s: u64,
}

impl Limit {
    fn window(self) -> Duration {
        Duration::from_secs(self.window_s)
    }
}

/// When each request came, and whether it was refused.
type Seen = Arc<Mutex<Vec<(Instant, bool)>>>;

/// Starts a server that enforces a limit.
async fn limited(limit: Limit) -> (Server, Seen) {
    let seen = Seen::default();
    let memory = Arc::clone(&seen);
    let wait = limit.window_s.to_string();
    let server = Server::start(move |asked: &Asked| {
        let now = Instant::now();
        let mut seen = memory.lock().expect("no request panics");
        let within = seen.iter().rev().take_while(|(at, _)| now.duration_since(*at) < limit.window()).count();
        let is_refused = within >= limit.requests;
        seen.push((now, is_refused));
        if is_refused { answer(429, &[("retry-after", &wait)], "") } else { artist(asked) }
    })
    .await;
    (server, seen)
}

fn artist(asked: &Asked) -> axum::response::Response {
    let id = asked.target.rsplit('/').next().unwrap_or_default();
    answer(200, &[], json!({ "id": id, "followers": 7, "posts": [] }).to_string())
}

/// A stage with accounts of the guest, whose requests go to the server, in batches of eight.
async fn stage(url: &str, server: &Server, accounts: u32, budget: &str, change: impl FnOnce(&mut Config)) -> Stage {
    let simulator = SimulatorConfig { artists: 1, ..SimulatorConfig::default() };
    let stage = Stage::bare(url, simulator, |config| {
        config.schedules.clear();
        config.service.poll_ms = 20;
        config.gateway.routes.push(Route {
            origin: "https://api.example.com".parse().expect("an origin"),
            connect: server.base().parse().expect("a URL"),
        });
        change(config);
    })
    .await;
    let component = variant_of(&guest(GUEST), "1.0.1", |manifest| {
        replace(manifest, "batch_size = 50", "batch_size = 8");
        manifest.push_str(budget);
    });
    stage.host.install(&component).await.expect("it is installed");
    stage.import_for_guest(GUEST, accounts, "another").await;
    stage
}

/// A host on the stage's database that follows the machine's clock.
async fn real(stage: &Stage) -> Host {
    Host::open(stage.host.config().clone(), Clock::system()).await.expect("the host opens")
}

async fn run(host: &Host) -> RunReport {
    let request = RunRequest { trigger: "test".to_owned(), platforms: vec![platform(GUEST)], ..RunRequest::default() };
    host.run(&request, &|_| {}).await.expect("the run ends")
}

fn collected(accounts: u32) -> RunCounts {
    RunCounts { planned: accounts.into(), collected: accounts.into(), ..RunCounts::default() }
}

/// Collects under a limit that the manifest declares, with two hosts: nothing is refused.
async fn declared(limit: Limit, accounts: u32) {
    each_database(async |_, url| {
        let (server, seen) = limited(limit).await;
        let Limit { requests, window_s } = limit;
        let budget =
            format!("\n[[budget]]\nname = \"rate\"\nlimit = {requests}\nwindow = {{ rolling = {window_s} }}\n");
        let stage = stage(url, &server, accounts, &budget, |_| {}).await;
        // Both collect the first collection that the new accounts ask for.
        let services = [serve(real(&stage).await).await, serve(real(&stage).await).await];
        let run = settled(&stage, SOON).await;
        for service in services {
            service.stop().await;
        }
        assert_eq!(run.counts, collected(accounts), "{run:?}");
        let seen = seen.lock().expect("no request panics");
        assert_eq!(seen.iter().filter(|(_, refused)| *refused).count(), 0, "a published limit is never broken");
        assert_eq!(seen.len(), accounts as usize);
    })
    .await;
}

/// Collects under a limit that nobody declared: refused until the first pause is over, and never after it.
async fn undeclared(limit: Limit, accounts: u32) {
    each_database(async |_, url| {
        let (server, seen) = limited(limit).await;
        let stage = stage(url, &server, accounts, "", |_| {}).await;
        let report = run(&real(&stage).await).await;
        assert_eq!(report.run.counts, collected(accounts), "{:?}", report.platforms);
        let seen = seen.lock().expect("no request panics").clone();
        let first = seen.iter().find(|(_, refused)| *refused).expect("it is met once").0;
        let after = seen.iter().filter(|(at, refused)| *refused && at.duration_since(first) >= limit.window());
        assert_eq!(
            after.count(),
            0,
            "the pace is learned: {:?}",
            seen.iter().map(|(_, refused)| refused).collect::<Vec<_>>()
        );
        let open = stage.host.store().batches_list(&Scope::all_tenants(), &BatchFilter::default()).await;
        assert_eq!(open.expect("batches are read"), [], "nothing is dead");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_is_ended_holds_nothing_back_on_the_host_that_met_it_either() {
    each_database(async |store, url| {
        let asks = Arc::new(Mutex::new(true));
        let wait = Arc::clone(&asks);
        let server = Server::start(move |asked: &Asked| {
            let asks = *wait.lock().expect("no request panics");
            if asks { answer(429, &[("retry-after", "3600")], "") } else { artist(asked) }
        })
        .await;
        let stage = stage(url, &server, 12, "", |_| {}).await;
        let report = run(&stage.host).await;
        assert_eq!(report.run.counts.deferred, 12, "{:?}", report.platforms);
        *asks.lock().expect("no request panics") = false;
        let now = stage.host.clock().now();
        let ever = || DateTime::UNIX_EPOCH..=now;
        let held = store.held_pauses_list(now, ever(), 10).await.expect("pauses are read");
        let keys: Vec<_> = held.iter().map(|pause| pause.key.as_str()).collect();
        assert_eq!(keys, [format!("platform/{GUEST}")]);

        stage.set_time(now + TimeDelta::minutes(5));
        let holder = Holder::Platform(platform(GUEST));
        let ended = store.pause_end(&Scope::all_tenants(), &holder, stage.host.clock().now()).await;
        let ended = ended.expect("the pause is ended").expect("it was in force");
        assert!(ended.platform == platform(GUEST) && ended.batches > 0, "{ended:?}");
        let again = store.pause_end(&Scope::all_tenants(), &holder, stage.host.clock().now()).await;
        assert_eq!(again.expect("the pause is read"), None);

        // The host that was told by the platform itself has the pause in its memory.
        let report = run(&stage.host).await;
        assert_eq!(report.run.counts, collected(12), "{:?}", report.platforms);
    })
    .await;
}

/// The lease of a batch is renewed until its transaction begins, however long its pauses take to be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_while_pauses_are_written() {
    each_database(async |store, url| {
        // Only there a table can be locked for writers alone.
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        let server = Server::start(|_: &Asked| answer(429, &[("retry-after", "3600")], "")).await;
        let stage = stage(url, &server, 8, "", |config| config.collection.lease_ttl_ms = 1_500).await;
        let mut connection = AnyConnection::connect(url).await.expect("a connection");
        connection.execute("BEGIN").await.expect("a transaction");
        connection.execute("LOCK TABLE pauses IN SHARE MODE").await.expect("it is locked");
        let host = real(&stage).await;
        let release = async {
            let mut seen = None;
            until(Duration::from_secs(60), "the lease to be renewed", async || {
                if server.asked().is_empty() {
                    return None;
                }
                let runs = store.runs_list(&Scope::all_tenants(), 1, None).await.expect("runs are read");
                let open = store.run_open_batches_list(&Scope::all_tenants(), runs.first()?.id).await;
                let held = open.expect("batches are read").into_iter().find(|open| open.state == BatchState::Leased)?;
                let first = *seen.get_or_insert(held.available_at);
                // Three times: longer than a lease that is not renewed.
                (held.available_at > first + TimeDelta::milliseconds(3 * 1_500)).then_some(())
            })
            .await;
            connection.execute("ROLLBACK").await.expect("it is unlocked");
        };
        let (report, ()) = futures::join!(run(&host), release);
        assert_eq!((report.run.counts.deferred, report.run.counts.failed), (8, 0), "{:?}", report.platforms);
    })
    .await;
}

/// A limit and a number of accounts: Deezer's published 50 in any 5 s with `--long`, which takes minutes.
fn size() -> (Limit, u32) {
    if is_long() { (Limit { requests: 50, window_s: 5 }, 500) } else { (Limit { requests: 20, window_s: 4 }, 32) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declared_rate_is_never_refused_even_by_two_hosts() {
    let (limit, accounts) = size();
    declared(limit, accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_that_is_not_declared_is_learned_at_the_first_refusal() {
    let (limit, accounts) = size();
    undeclared(limit, accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_pause_defers_every_account_on_every_host_and_uses_up_no_attempt() {
    each_database(async |store, url| {
        let wait = Arc::new(Mutex::new("3600"));
        let asks = Arc::clone(&wait);
        let server = Server::start(move |asked: &Asked| match *asks.lock().expect("no request panics") {
            "" => artist(asked),
            wait => answer(429, &[("retry-after", wait)], ""),
        })
        .await;
        let asks = |text| *wait.lock().expect("no request panics") = text;
        // One batch after the other, so that the second one could know better.
        let stage = stage(url, &server, 24, "", |config| config.collection.concurrency = 1).await;
        let begun = stage.host.clock().now();
        let report = run(&stage.host).await;
        assert_eq!((report.run.counts.deferred, report.run.counts.failed), (24, 0), "{:?}", report.platforms);
        let sent = server.asked().len();
        assert!(sent <= 8, "only the first batch asks: {sent}");
        let until = begun + TimeDelta::hours(1);
        let outcomes = store.run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 100).await;
        for outcome in outcomes.expect("outcomes are read") {
            let Outcome::Deferred { until: told, message } = outcome.outcome else { panic!("{outcome:?}") };
            assert!(told >= until && told <= until + TimeDelta::seconds(1), "{told}");
            assert!(message.starts_with("mistaken asked for a pause until "), "{message}");
        }
        let filter = BatchFilter { state: Some(BatchState::Deferred), ..BatchFilter::default() };
        for batch in store.batches_list(&Scope::all_tenants(), &filter).await.expect("batches are read") {
            assert_eq!(batch.attempts, 0, "{batch:?}");
            assert!(batch.message.is_some_and(|message| message.contains("asked for a pause")));
        }
        let health = stage.host.health().report(None).await.expect("health is counted");
        let told = health.recommendations.iter().find(|found| found.kind == RecommendationKind::PlatformPaused);
        assert!(told.is_some_and(|told| told.sentence.contains("24 accounts wait")), "{:?}", health.recommendations);

        // Another host, and another run, know it from the database.
        let other = stage.another_host(|_| {}).await;
        let report = run(&other).await;
        assert_eq!((report.run.counts.deferred, server.asked().len()), (24, sent), "nothing is asked meanwhile");

        // A month is too long: it is kept for a week, and said once a day.
        asks("2678400");
        stage.set_time(begun + TimeDelta::hours(2));
        let report = run(&stage.another_host(|_| {}).await).await;
        assert_eq!(report.run.counts.deferred, 24);
        let week = begun + TimeDelta::hours(2) + TimeDelta::days(7);
        let ever = || DateTime::UNIX_EPOCH..=week;
        let pauses = store.pauses_list(week - TimeDelta::seconds(1), ever()).await.expect("pauses are read");
        assert_eq!(pauses.len(), 1, "it lasts a week");
        assert_eq!(store.pauses_list(week + TimeDelta::seconds(1), ever()).await.expect("pauses are read"), []);
        let cut: Vec<_> = stage.events().await.into_iter().filter(|event| event.kind == types::WAIT_CUT).collect();
        assert_eq!(cut.len(), 1, "{cut:?}");
        assert_eq!(cut[0].data["platform"], GUEST);

        asks("");
        stage.set_time(week + TimeDelta::minutes(1));
        let report = run(&stage.another_host(|_| {}).await).await;
        assert_eq!(report.run.counts, collected(24), "{:?}", report.platforms);
    })
    .await;
}
