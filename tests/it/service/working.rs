//! Tests of the service's workers: planned batches are collected, whatever happens to platforms and other hosts.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use backline::config::Config;
use backline::pipeline::Host;
use backline::pipeline::collection::report::{Progress, RunRequest};
use backline::pipeline::service::Service;
use backline_model::event::types;
use backline_model::outcome::Exclusion;
use backline_model::{AccountStatus, BatchState, FailureClass, Lease, Outcome, Run, RunId, RunStatus, Tenant, Weights};
use backline_simulator::{Fault, FaultKind, RetryAfter, SimulatorConfig};
use backline_store::{BatchFilter, BatchView, MetricsFilter, Scope, Store};
use chrono::{NaiveDate, TimeDelta};
use tokio_util::sync::CancellationToken;

use crate::support::database::{each_database, refuse, write};
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, platform};

const YOUTUBE: &str = "youtube.googleapis.com";
const SPOTIFY: &str = "api.spotify.com";

/// Maximum wait for a condition on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(180);

/// Less than a host takes that waits for a platform which never answers: 25 s to its deadline, and 30 s for a request.
const WITHOUT_AN_ANSWER: Duration = Duration::from_secs(20);

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
        assert!(began.elapsed() < WAIT_MAX, "condition not met in time: {what}");
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
async fn a_platform_whose_batches_can_not_be_leased_starves_no_other() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, artists(4), prompt).await;
        stage.install(&["spotify", "youtube"]).await;
        stage.import_some(&["spotify", "youtube"], each_its_own).await;
        // It is the first whose turn it is.
        refuse(url, "batches", "UPDATE", "NEW.platform = 'spotify' AND NEW.state = 'leased'").await;
        let refused = planned(&stage.host, &["spotify"]).await;
        let other = planned(&stage.host, &["youtube"]).await;
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        assert_eq!(finished(&store, other).await.counts.collected, 4);
        assert_eq!(batches(&store, refused, Some(BatchState::Planned)).await.len(), 4);
        service.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_batch_that_can_not_be_woken_keeps_no_other_run_from_its_end() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, artists(2), prompt).await;
        stage.install(&["spotify", "youtube"]).await;
        stage.import_some(&["spotify", "youtube"], each_its_own).await;
        let other = planned(&stage.host, &["spotify"]).await;
        write(url, &format!("UPDATE batches SET state = 'deferred' WHERE run_id = '{other}'")).await;
        refuse(url, "batches", "UPDATE", "OLD.state = 'deferred'").await;
        let report = stage.run_some(date(), &["youtube"]).await;
        assert_eq!((report.run.status, report.run.counts.collected), (RunStatus::Success, 2));
        assert_eq!(batches(&store, other, Some(BatchState::Deferred)).await.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_that_can_not_be_written_hold_no_other_work_up() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, artists(2), |config| config.service.poll_ms = 20).await;
        assert!(!stage.host.config().schedules.is_empty());
        stage.install(&["youtube"]).await;
        stage.import_some(&["youtube"], each_its_own).await;
        refuse(url, "schedules", "INSERT", "TRUE").await;
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        let all = Scope::all_tenants();
        until("the artists' first collection", async || {
            store.metrics_list(&all, &MetricsFilter::default()).await.expect("numbers are read").len() == 2
        })
        .await;
        assert_eq!(store.schedules_list().await.expect("schedules are read"), []);
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
        assert!(took < WITHOUT_AN_ANSWER, "the host did not wait for the platform: {took:?}");
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
        let stage = Stage::bare(url, SimulatorConfig { latency_ms: 1_000, ..artists(12) }, config).await;
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
async fn a_run_takes_over_what_a_killed_one_left_open() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, artists(3), prompt).await;
        stage.install(&["spotify"]).await;
        stage.import_some(&["spotify"], each_its_own).await;
        let killed = planned(&stage.host, &["spotify"]).await;
        stage.set_time(stage.host.clock().now() + TimeDelta::seconds(61));
        let request = RunRequest { trigger: "test".to_owned(), date: Some(date()), ..RunRequest::default() };
        let report = stage.host.runs().run(&request, &|_| {}, &CancellationToken::new()).await.expect("it runs");
        assert_eq!((report.run.counts.planned, report.run.counts.collected), (3, 3));
        let killed = get(&store, killed).await;
        assert_eq!((killed.counts.superseded, killed.counts.planned), (3, 3));
        assert!(killed.finished_at.is_some(), "it is left to nobody");
        assert_eq!(batches(&store, killed.id, None).await, [], "none of its batches can be collected any more");
    })
    .await;
}

/// Leases the run's batches one after another for hosts that end without a word, each after the lease before it ran
/// out: the first with others, the rest alone and while the connector was at work. Returns the last lease.
async fn hosts_die(stage: &Stage, store: &Store, run: RunId, name: &str, deaths: u32) -> Lease {
    let (all, ttl) = (Scope::all_tenants(), Duration::from_millis(stage.host.config().collection.lease_ttl_ms));
    let mut last = None;
    for _ in 0..deaths {
        let now = stage.host.clock().now();
        let lease = match store.batch_lease(&all, Some(run), None, "died", now, ttl).await.expect("leased") {
            Some(lease) => Some(lease),
            None => {
                let lease = store.lone_batch_lease(&all, Some(run), &platform(name), "died", now, ttl).await;
                let lease = lease.expect("leased alone").expect("a batch");
                store.lone_batch_begin(&lease).await.expect("it begins");
                Some(lease)
            }
        };
        last = Some(lease.expect("a batch"));
        stage.set_time(now + ttl);
    }
    last.expect("at least one death")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_hosts_that_died_are_collected_without_an_attempt_used() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, artists(6), prompt).await;
        stage.install(&["youtube", "spotify"]).await;
        stage.import_some(&["youtube", "spotify"], |_| Tenant::default()).await;
        let run = planned(&stage.host, &["youtube", "spotify"]).await;
        // One host dies with everything in its hands, and then one with the large batch alone.
        let all = Scope::all_tenants();
        let now = stage.host.clock().now();
        let ttl = Duration::from_millis(stage.host.config().collection.lease_ttl_ms);
        let mut held = 0;
        while store.batch_lease(&all, Some(run), None, "died", now, ttl).await.expect("leased").is_some() {
            held += 1;
        }
        assert_eq!(held, 2, "one batch of each platform");
        stage.set_time(now + ttl);
        hosts_die(&stage, &store, run, "youtube", 1).await;

        let service = Service::start(stage.host.clone()).await.expect("it starts");
        let ended = finished(&store, run).await;
        service.stop().await;
        assert_eq!((ended.status, ended.counts.collected), (RunStatus::Success, 12));
        for outcome in store.run_outcomes_list(&all, run, None, 20).await.expect("outcomes are read") {
            assert_eq!(outcome.attempts, 1, "hosts that died used up none: {outcome:?}");
        }
        let youtube = platform("youtube");
        let halves = batches(&store, run, Some(BatchState::Done)).await;
        assert_eq!(halves.iter().filter(|batch| batch.platform == youtube).count(), 2, "it was cut in halves");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_hosts_die_of_is_left_out_until_an_operator_retries_it() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, artists(1), prompt).await;
        stage.install(&["spotify"]).await;
        stage.import_some(&["spotify"], each_its_own).await;
        let all = Scope::all_tenants();
        let ended = async |run| {
            let service = Service::start(stage.host.clone()).await.expect("it starts");
            let ended = finished(&store, run).await;
            service.stop().await;
            ended.counts
        };
        // A host that ends before it calls the connector, again and again, says nothing about the account.
        let run = planned(&stage.host, &["spotify"]).await;
        hosts_die(&stage, &store, run, "spotify", 1).await;
        let ttl = Duration::from_millis(stage.host.config().collection.lease_ttl_ms);
        for _ in 0..9 {
            let now = stage.host.clock().now();
            let lease = store.lone_batch_lease(&all, Some(run), &platform("spotify"), "died", now, ttl).await;
            assert_eq!(lease.expect("leased alone").expect("a batch").host_losses, 1);
            stage.set_time(now + ttl);
        }
        assert_eq!(ended(run).await.collected, 1);

        // The first death may be that of any batch beside it; two alone are not enough.
        let run = planned(&stage.host, &["spotify"]).await;
        hosts_die(&stage, &store, run, "spotify", 3).await;
        assert_eq!(ended(run).await.collected, 1);

        let run = planned(&stage.host, &["spotify"]).await;
        let account = hosts_die(&stage, &store, run, "spotify", 4).await.batch.accounts[0].account_id;
        let asked = stage.simulator.counts().host(SPOTIFY);
        assert_eq!(ended(run).await.failed, 1);
        assert_eq!(stage.simulator.counts().host(SPOTIFY), asked, "it is not even begun");
        let outcome = store.run_outcomes_list(&all, run, None, 10).await.expect("outcomes are read").remove(0).outcome;
        let Outcome::Failed { class, message } = outcome else { panic!("{outcome:?}") };
        assert_eq!(class, FailureClass::HostKilled);
        assert!(message.contains("backline batches retry"), "{message}");
        let status = async || store.account_get(&all, account).await.expect("read").expect("an account").status;
        assert_eq!(status().await, AccountStatus::HostKilled);

        // The next night leaves it out, by name.
        let request = RunRequest { trigger: "test".to_owned(), date: Some(date()), ..RunRequest::default() };
        let next = stage.host.runs().run(&request, &|_| {}, &CancellationToken::new()).await.expect("it runs");
        assert_eq!((next.run.counts.planned, next.run.counts.excluded), (0, 1));
        let outcomes = store.run_outcomes_list(&all, next.run.id, None, 10).await.expect("outcomes are read");
        assert_eq!(outcomes[0].outcome, Outcome::Excluded { reason: Exclusion::HostKilled });

        // The batch is listed, and an operator may retry it.
        let dead = batches(&store, run, Some(BatchState::Dead)).await;
        assert_eq!((dead.len(), dead[0].accounts), (1, 1));
        let filter = BatchFilter { run: Some(run), ..BatchFilter::default() };
        let retried = store.batches_retry(&all, &filter, &Weights::default(), stage.host.clock().now()).await;
        assert_eq!(retried.expect("it is retried").accounts, 1);
        assert_eq!(status().await, AccountStatus::Active);
        assert_eq!(ended(run).await.collected, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_a_host_that_called_the_connector_for_a_lone_batch_counts() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, artists(1), prompt).await;
        stage.install(&["spotify"]).await;
        stage.import_some(&["spotify"], each_its_own).await;
        stage.simulator.set_faults(vec![Fault::always(FaultKind::Hang).on_host(SPOTIFY).on_path("/v1/")]);
        let run = planned(&stage.host, &["spotify"]).await;
        assert_eq!(hosts_die(&stage, &store, run, "spotify", 1).await.host_losses, 0);
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        until("the lone batch hangs", async || stage.simulator.counts().host(SPOTIFY) > 0).await;
        // As if that host were gone: its lease has expired by another host's clock.
        let later = stage.host.clock().now() + TimeDelta::hours(1);
        let (all, ttl) = (Scope::all_tenants(), Duration::from_secs(3_600));
        let next = store.lone_batch_lease(&all, Some(run), &platform("spotify"), "other", later, ttl).await;
        assert_eq!(next.expect("leased alone").expect("the batch").host_losses, 2);
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
            .lone_batch_lease(&Scope::all_tenants(), Some(run), &platform("spotify"), "other", later, ttl)
            .await
            .expect("leased")
            .expect("the batch");
        // The first host notices at its next heartbeat, long before the platform's response times out.
        let began = Instant::now();
        service.stop().await;
        assert!(began.elapsed() < WITHOUT_AN_ANSWER, "{:?}", began.elapsed());
        store.lease_renew(&lease, later, ttl).await.expect("the other host still holds it");
        assert_eq!(leased(&store, run, "spotify").await, 1);
    })
    .await;
}
