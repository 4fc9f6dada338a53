//! Tests of the service's workers: planned batches are collected, whatever happens to platforms and other hosts.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use backline::config::Config;
use backline::pipeline::Host;
use backline::pipeline::collection::report::{Progress, RunRequest};
use backline::pipeline::service::Service;
use backline_model::event::types;
use backline_model::{BatchState, FailureClass, Outcome, Run, RunId, RunStatus, Tenant, Weights};
use backline_simulator::{Fault, FaultKind, RetryAfter, SimulatorConfig};
use backline_store::{BatchFilter, BatchView, MetricsFilter, Scope, Store};
use chrono::{NaiveDate, TimeDelta};
use tokio_util::sync::CancellationToken;

use crate::support::database::each_database;
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, platform};

const YOUTUBE: &str = "youtube.googleapis.com";
const SPOTIFY: &str = "api.spotify.com";

/// Maximum wait for a condition on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 18).expect("a day of November")
}

fn artists(artists: u32) -> SimulatorConfig {
    SimulatorConfig { artists, date: date(), ..SimulatorConfig::default() }
}

/// Sets short intervals, so that tests don't wait unnecessarily.
fn prompt(config: &mut Config) {
    config.service.poll_ms = 20;
    config.schedules.clear();
}

/// One tenant per artist, so that each artist has its own batch. Batches are planned in the order of tenants.
fn each_its_own(index: usize) -> Tenant {
    Tenant::new(format!("tenant-{index:02}")).expect("a tenant's name")
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "condition not met in time: {what}");
        looks.tick().await;
    }
}

/// Plans a run without collecting it.
async fn planned(host: &Host, platforms: &[&str]) -> RunId {
    let request = RunRequest {
        trigger: "test".to_owned(),
        date: Some(date()),
        due: None,
        platforms: platforms.iter().map(|name| platform(name)).collect(),
        artists: Vec::new(),
    };
    let stopped = CancellationToken::new();
    stopped.cancel();
    let report = host.runs().run(&request, &|_| {}, &stopped).await.expect("the plan is written");
    assert_eq!(report.run.status, RunStatus::Running, "no batch was collected yet");
    report.run.id
}

async fn finished(store: &Store, run: RunId) -> Run {
    until("the run is finished", async || get(store, run).await.finished_at.is_some()).await;
    get(store, run).await
}

async fn get(store: &Store, run: RunId) -> Run {
    store.run_get(&Scope::all_tenants(), run).await.expect("runs are read").expect("the run exists")
}

async fn batches(store: &Store, run: RunId, state: Option<BatchState>) -> Vec<BatchView> {
    let filter = BatchFilter { run: Some(run), state, ..BatchFilter::default() };
    store.batches_list(&Scope::all_tenants(), &filter).await.expect("batches are read")
}

async fn leased(store: &Store, run: RunId, name: &str) -> usize {
    let batches = batches(store, run, Some(BatchState::Leased)).await;
    batches.iter().filter(|batch| batch.platform == platform(name)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_batches_are_collected_and_their_run_ends() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::set(url, artists(5), prompt).await;
        let run = planned(&stage.host, &[]).await;
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        let ended = finished(&store, run).await;
        assert_eq!((ended.status, ended.counts.collected), (RunStatus::Success, 25));
        service.stop().await;
        let completed = |event: &&backline_model::Event| {
            event.kind == types::RUN_COMPLETED && event.data["run_id"] == serde_json::json!(run)
        };
        assert_eq!(stage.events().await.iter().filter(completed).count(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_tenant_is_done_long_before_a_large_one() {
    each_database(async |_store: Store, url: &str| {
        let config = |config: &mut Config| {
            prompt(config);
            (config.collection.concurrency, config.collection.concurrency_max) = (1, 1);
        };
        let stage = Stage::bare(url, artists(1_020), config).await;
        stage.install(&["spotify"]).await;
        let tenant = |index| Tenant::new(if index < 1_000 { "large" } else { "small" }).expect("a tenant's name");
        stage.import_some(&["spotify"], tenant).await;
        let request = RunRequest { trigger: "test".to_owned(), date: Some(date()), ..RunRequest::default() };
        let collected = Mutex::new(Vec::new());
        let progress = |progress: Progress| {
            if let Progress::BatchDone { counts, .. } = progress {
                collected.lock().expect("no test panics with it").push(counts.collected);
            }
        };
        let report = stage.host.run(&request, &progress).await.expect("the run ends");
        assert_eq!(report.run.counts.collected, 1_020);
        let collected = collected.into_inner().expect("no test panics with it");
        let small = collected.iter().position(|accounts| *accounts == 20).expect("the small tenant's batch");
        let before: u64 = collected[..small].iter().sum();
        assert!(before <= 50, "the large one was at {before} of 1,000: {collected:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_never_answers_starves_no_other() {
    each_database(async |store: Store, url: &str| {
        let config = |config: &mut Config| {
            prompt(config);
            config.service.batches_max = 3;
            config.service.stop_deadline_ms = 1;
            config.collection.concurrency = 3;
        };
        let stage = Stage::bare(url, artists(12), config).await;
        stage.install(&["spotify", "youtube"]).await;
        stage.import_some(&["spotify", "youtube"], each_its_own).await;
        stage.simulator.set_faults(vec![Fault::always(FaultKind::Hang).on_host(SPOTIFY)]);
        let slow = planned(&stage.host, &["spotify"]).await;
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        until("the slow platform holds what it can get", async || leased(&store, slow, "spotify").await >= 2).await;
        let other = planned(&stage.host, &["youtube"]).await;
        assert_eq!(finished(&store, other).await.counts.collected, 12);
        assert!(batches(&store, slow, Some(BatchState::Done)).await.is_empty(), "the slow platform never responded");
        service.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_halve_a_platforms_batches_and_no_others() {
    each_database(async |store: Store, url: &str| {
        let config = |config: &mut Config| {
            prompt(config);
            config.service.stop_deadline_ms = 1;
            config.collection.attempts_max = 1_000;
        };
        let stage = Stage::bare(url, artists(12), config).await;
        stage.install(&["spotify", "youtube"]).await;
        stage.import_some(&["spotify", "youtube"], each_its_own).await;
        let too_fast = FaultKind::TooManyRequests { retry_after: RetryAfter::Absent };
        let hang = || Fault::always(FaultKind::Hang);
        stage.simulator.set_faults(vec![Fault::always(too_fast).on_host(YOUTUBE), hang().on_host(SPOTIFY)]);
        let run = planned(&stage.host, &[]).await;
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        let refused = async || stage.simulator.counts().statuses.get(&429).is_some_and(|refused| *refused > 80);
        until("it was said often enough", refused).await;
        stage.simulator.set_faults(vec![hang()]);
        until("both platforms hold what they can get", async || {
            leased(&store, run, "spotify").await == 4 && leased(&store, run, "youtube").await == 1
        })
        .await;
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        for _ in 0..20 {
            looks.tick().await;
            // A batch refused before the platform stopped responding may end now, and the next one start.
            assert!(leased(&store, run, "youtube").await <= 1, "halved down to one");
        }
        until("the silent platform holds one", async || leased(&store, run, "youtube").await == 1).await;
        service.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_host_returns_unfinished_batches_and_another_continues() {
    each_database(async |store: Store, url: &str| {
        let config = |config: &mut Config| {
            prompt(config);
            config.service.stop_deadline_ms = 300;
            config.collection.concurrency_max = 4;
        };
        let stage = Stage::bare(url, artists(12), config).await;
        stage.install(&["spotify"]).await;
        stage.import_some(&["spotify"], each_its_own).await;
        // The platform responds to the first four batches only.
        let hang = |index| {
            let named = stage.simulator.world().artist(index).spotify_artist_id;
            Fault::always(FaultKind::Hang).on_host(SPOTIFY).naming(&named)
        };
        stage.simulator.set_faults((4..12).map(hang).collect());
        let run = planned(&stage.host, &["spotify"]).await;
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        until("some are done and the others hang", async || {
            batches(&store, run, Some(BatchState::Done)).await.len() == 4 && leased(&store, run, "spotify").await == 4
        })
        .await;
        let began = Instant::now();
        service.stop().await;
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(300), "batches got time to finish: {took:?}");
        assert!(took < Duration::from_secs(10), "the host did not wait for the platform: {took:?}");
        let open = batches(&store, run, Some(BatchState::Planned)).await;
        assert_eq!(open.len(), 8, "no batch is left leased by the stopped host");
        for batch in open {
            assert_eq!((batch.attempts, &batch.lease_owner), (0, &None), "stopping uses up no attempt");
            assert!(batch.available_at <= stage.host.clock().now(), "the batch is available at once");
        }

        stage.simulator.set_faults(Vec::new());
        let other = stage.another_host(|_| {}).await;
        let service = Service::start(other).await.expect("it starts");
        let ended = finished(&store, run).await;
        assert_eq!((ended.status, ended.counts.collected), (RunStatus::Success, 12));
        service.stop().await;
        let outcomes = store.run_outcomes_list(&Scope::all_tenants(), run, None, 100).await.expect("outcomes are read");
        assert!(outcomes.iter().all(|outcome| outcome.attempts == 1), "each account took one attempt");
        let rows = store
            .metrics_list(&Scope::all_tenants(), &MetricsFilter { limit: Some(100), ..MetricsFilter::default() })
            .await;
        assert_eq!(rows.expect("metrics are read").len(), 12);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_host_finishes_what_it_can_in_time_and_starts_nothing() {
    each_database(async |store: Store, url: &str| {
        let config = |config: &mut Config| {
            prompt(config);
            config.service.batches_max = 2;
        };
        let stage = Stage::bare(url, SimulatorConfig { latency_ms: 300, ..artists(12) }, config).await;
        stage.install(&["spotify"]).await;
        stage.import_some(&["spotify"], each_its_own).await;
        let run = planned(&stage.host, &["spotify"]).await;
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        until("a batch is under way", async || leased(&store, run, "spotify").await == 2).await;
        service.stop().await;
        let done = batches(&store, run, Some(BatchState::Done)).await.len();
        let planned = batches(&store, run, Some(BatchState::Planned)).await.len();
        assert_eq!(done + planned, 12);
        assert!((2..12).contains(&done), "{done} batches finished: those in progress, and no new ones");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_a_dead_host_are_retried_a_limited_number_of_times() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, artists(2), prompt).await;
        stage.install(&["spotify"]).await;
        stage.import_some(&["spotify"], each_its_own).await;
        let run = planned(&stage.host, &["spotify"]).await;
        let ttl = Duration::from_millis(stage.host.config().collection.lease_ttl_ms);
        // The first batch loses one host, the other several in a row: its content may be the cause.
        let mut now = stage.host.clock().now();
        let first = store
            .batch_lease(&Scope::all_tenants(), Some(run), None, "died", now, ttl)
            .await
            .expect("leased")
            .expect("a batch");
        for _ in 0..4 {
            store
                .batch_lease(&Scope::all_tenants(), Some(run), None, "died", now, ttl)
                .await
                .expect("leased")
                .expect("the other batch");
            now += TimeDelta::seconds(20);
            store.lease_renew(&first, now, ttl).await.expect("it is still held");
        }
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        stage.set_time(now + TimeDelta::seconds(19));
        until("the other one is given up", async || batches(&store, run, Some(BatchState::Dead)).await.len() == 1)
            .await;
        assert_eq!(leased(&store, run, "spotify").await, 1, "the first is held until its lease runs out");
        stage.set_time(now + TimeDelta::seconds(20));
        let ended = finished(&store, run).await;
        service.stop().await;
        assert_eq!((ended.counts.collected, ended.counts.failed), (1, 1));
        for outcome in store.run_outcomes_list(&Scope::all_tenants(), run, None, 10).await.expect("outcomes are read") {
            match outcome.outcome {
                Outcome::Collected => assert_eq!(outcome.attempts, 2, "the expired lease counts as one"),
                Outcome::Failed { class, message } => {
                    assert_eq!(class, FailureClass::Internal);
                    assert!(message.contains("ended unexpectedly"), "{message}");
                }
                other => panic!("{other:?}"),
            }
        }

        // The batch is listed, and an operator may retry it.
        let dead = batches(&store, run, Some(BatchState::Dead)).await;
        assert_eq!((dead.len(), dead[0].accounts), (1, 1));
        let service = Service::start(stage.another_host(|_| {}).await).await.expect("it starts");
        let filter = BatchFilter { run: Some(run), ..BatchFilter::default() };
        let retried =
            store.batches_retry(&Scope::all_tenants(), &filter, &Weights::default(), stage.host.clock().now()).await;
        assert_eq!(retried.expect("it is retried").accounts, 1);
        assert_eq!(finished(&store, run).await.counts.collected, 2);
        service.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_taken_over_by_another_host_is_dropped() {
    each_database(async |store: Store, url: &str| {
        let config = |config: &mut Config| {
            prompt(config);
            config.collection.lease_ttl_ms = 300;
        };
        let stage = Stage::bare(url, artists(1), config).await;
        stage.install(&["spotify"]).await;
        stage.import_some(&["spotify"], each_its_own).await;
        stage.simulator.set_faults(vec![Fault::always(FaultKind::Hang).on_host(SPOTIFY).on_path("/v1/")]);
        let run = planned(&stage.host, &["spotify"]).await;
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        until("the batch hangs", async || stage.simulator.counts().host(SPOTIFY) > 0).await;
        // As if the first host had missed its lease: the lease has expired by the other host's clock only.
        let later = stage.host.clock().now() + TimeDelta::hours(1);
        let ttl = Duration::from_secs(3_600);
        let lease = store
            .batch_lease(&Scope::all_tenants(), Some(run), None, "other", later, ttl)
            .await
            .expect("leased")
            .expect("the batch");
        // The first host notices at its next heartbeat, long before the platform's response times out.
        let began = Instant::now();
        service.stop().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        store.lease_renew(&lease, later, ttl).await.expect("the other host still holds it");
        assert_eq!(leased(&store, run, "spotify").await, 1);
    })
    .await;
}
