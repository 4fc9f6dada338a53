//! A `run` beside other hosts on the same database: it waits for what they hold of its run, and reports what the ledger
//! says.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backline::config::Config;
use backline::pipeline::RunError;
use backline::pipeline::collection::report::{OpenReason, Progress, RunReport, RunRequest};
use backline::pipeline::service::Service;
use backline_model::{BatchState, Lease, Outcome, RunStatus, Tenant};
use backline_simulator::SimulatorConfig;
use backline_store::{AccountFilter, AccountResult, BatchFilter, BatchResult, Presence, Scope, Store};
use chrono::{Days, NaiveDate};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::store::fixtures::defer;
use crate::support::database::each_database;
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, platform};

/// Longer than any lease that a run waits for.
const HOUR: Duration = Duration::from_secs(3_600);

fn date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 18).expect("a day of November")
}

/// So many accounts of one platform, each in a batch of its own.
async fn stage(url: &str, accounts: u32) -> Stage {
    let config = |config: &mut Config| {
        config.service.poll_ms = 20;
        config.schedules.clear();
    };
    let stage =
        Stage::bare(url, SimulatorConfig { artists: accounts, date: date(), ..Default::default() }, config).await;
    stage.install(&["spotify"]).await;
    stage.import_some(&["spotify"], |index| Tenant::new(format!("tenant-{index:02}")).expect("a tenant's name")).await;
    stage
}

fn request() -> RunRequest {
    RunRequest { trigger: "test".to_owned(), date: Some(date()), ..RunRequest::default() }
}

/// Another host, as the ledger knows it. It leases batches as soon as they are planned, before the run can.
struct Other<'a> {
    stage: &'a Stage,
    /// For how long it leases each of its batches.
    leases: Vec<Duration>,
    held: Mutex<Vec<Lease>>,
    told: Mutex<Vec<Progress>>,
    tells: Notify,
}

impl<'a> Other<'a> {
    fn new(stage: &'a Stage, leases: &[Duration]) -> Self {
        let (held, told) = (Mutex::default(), Mutex::default());
        Self { stage, leases: leases.to_vec(), held, told, tells: Notify::new() }
    }

    /// Hears of the run's progress.
    fn hear(&self, progress: Progress) {
        if matches!(progress, Progress::Planned { .. }) {
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(self.take()));
        }
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(progress);
        self.tells.notify_one();
    }

    async fn take(&self) {
        let (store, now) = (self.stage.host.store(), self.stage.host.clock().now());
        for ttl in &self.leases {
            let lease = store.batch_lease(&Scope::all_tenants(), None, None, "other", now, *ttl).await.expect("leased");
            self.held.lock().unwrap_or_else(PoisonError::into_inner).push(lease.expect("a batch is planned"));
        }
    }

    fn next(&self) -> Lease {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(0)
    }

    /// Waits until the run has told something since the last time; a run that ends before it does has not waited.
    async fn told(
        &self,
        run: &mut (impl Future<Output = Result<RunReport, RunError>> + Unpin),
        is_meant: impl Fn(&Progress) -> bool,
    ) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
        while !self.told.lock().unwrap_or_else(PoisonError::into_inner).iter().any(&is_meant) {
            tokio::select! {
                ended = &mut *run => panic!("it ended while another host held a batch of it: {ended:?}"),
                () = self.tells.notified() => {}
            }
        }
    }

    /// Stores a batch, and does nothing else: as a host that is killed before it could end the run.
    async fn complete(&self, lease: &Lease) {
        let store = self.stage.host.store();
        let id = lease.batch.accounts[0].account_id;
        let accounts =
            store.accounts_list(&Scope::all_tenants(), &AccountFilter::default()).await.expect("accounts are read");
        let account = accounts.into_iter().find(|account| account.id == id).expect("the account");
        let result = AccountResult {
            account_id: id,
            artist_id: account.artist_id,
            platform: account.platform,
            metric_date: date(),
            outcome: Outcome::Collected,
            attempts: 1,
            document: None,
            stored: None,
            status: None,
            events: Vec::new(),
        };
        let usage = json!({ "requests": 100 });
        let result = BatchResult { accounts: vec![result], usage, ..BatchResult::default() };
        store.batch_complete(lease, result, self.stage.host.clock().now()).await.expect("it is stored");
    }
}

fn is_waiting(progress: &Progress) -> bool {
    matches!(progress, Progress::Waiting { holders } if holders.iter().eq(["other"]))
}

/// Every part of a report says the same, and so does the ledger.
async fn expect_whole(store: &Store, report: &RunReport) {
    let sum = |count: fn(&backline_model::run::RunCounts) -> u64| -> u64 {
        report.platforms.iter().map(|platform| count(&platform.counts)).sum()
    };
    let counts = &report.run.counts;
    assert_eq!(sum(|counts| counts.planned), counts.planned, "{report:?}");
    assert_eq!(sum(|counts| counts.collected), counts.collected, "{report:?}");
    assert_eq!(counts.planned, counts.collected + counts.failed + counts.deferred, "{report:?}");
    assert_eq!(
        store.run_get(&Scope::all_tenants(), report.run.id).await.expect("runs are read").as_ref(),
        Some(&report.run)
    );
    assert!(report.open.is_empty() && report.run.finished_at.is_some(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_waits_for_what_another_host_holds_and_reports_all_of_it() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, 4).await;
        let now = stage.host.clock().now();
        // It is in the list of hosts, so that even a long lease is waited for.
        let presence =
            Presence { name: "other".to_owned(), version: "1.0.0".to_owned(), state: "ready", started_at: now };
        store.host_announce(&presence, now).await.expect("announced");
        let other = Other::new(&stage, &[HOUR, HOUR, HOUR]);
        let (request, hear) = (request(), |progress| other.hear(progress));
        let mut run = pin!(stage.host.run(&request, &hear));
        other.told(&mut run, is_waiting).await;
        let is_counted = |progress: &Progress, collected| {
            matches!(progress, Progress::Counted { counts } if (counts.planned, counts.collected) == (4, collected))
        };
        other.told(&mut run, |progress| is_counted(progress, 1)).await;
        other.complete(&other.next()).await;
        other.told(&mut run, |progress| is_counted(progress, 2)).await;
        // What it gives back is collected here.
        store.batch_release(&other.next(), now, false).await.expect("given back");
        other.told(&mut run, |progress| is_counted(progress, 3)).await;
        other.told(&mut run, is_waiting).await;
        other.complete(&other.next()).await;
        let report = run.await.expect("the run ends");
        assert_eq!((report.run.status, report.run.counts.collected), (RunStatus::Success, 4), "{report:?}");
        let own = stage.simulator.counts().operation("GET /v1/artists");
        let requests = report.platforms[0].requests;
        assert!(requests >= 200 + own && requests < 300, "of all hosts: {report:?}");
        expect_whole(&store, &report).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_nobody_watches_is_not_counted_before_its_end() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, 2).await;
        let now = stage.host.clock().now();
        let presence =
            Presence { name: "other".to_owned(), version: "1.0.0".to_owned(), state: "ready", started_at: now };
        store.host_announce(&presence, now).await.expect("announced");
        let (other, counted) = (Other::new(&stage, &[HOUR]), AtomicU32::new(0));
        let hear = |progress| {
            counted.fetch_add(u32::from(matches!(progress, Progress::Counted { .. })), Ordering::Relaxed);
            other.hear(progress);
        };
        let (request, stop) = (request(), CancellationToken::new());
        let mut run = pin!(stage.host.runs().run_unwatched(&request, &hear, &stop));
        // Each time the interval of counts has passed too.
        for _ in 0..20 {
            other.told(&mut run, is_waiting).await;
        }
        other.complete(&other.next()).await;
        let report = run.await.expect("the run ends");
        assert_eq!((report.run.status, report.run.counts.collected), (RunStatus::Success, 2), "{report:?}");
        assert_eq!(counted.load(Ordering::Relaxed), 0);
        expect_whole(&store, &report).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_takes_up_what_a_host_that_is_gone_left_behind() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, 2).await;
        let ttl = Duration::from_millis(stage.host.config().collection.lease_ttl_ms);
        let other = Other::new(&stage, &[ttl]);
        let (request, hear) = (request(), |progress| other.hear(progress));
        let mut run = pin!(stage.host.run(&request, &hear));
        other.told(&mut run, is_waiting).await;
        stage.set_time(stage.host.clock().now() + ttl);
        let report = run.await.expect("the run ends");
        assert_eq!((report.run.status, report.run.counts.collected), (RunStatus::Success, 2), "{report:?}");
        expect_whole(&store, &report).await;
        let outcomes =
            store.run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 10).await.expect("outcomes are read");
        let attempts: Vec<_> = outcomes.iter().map(|outcome| outcome.attempts).collect();
        assert_eq!(attempts, [1, 1], "a host that is gone used up none");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_does_not_wait_for_ever_and_says_who_holds_what() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, 4).await;
        let (now, later) = (stage.host.clock().now(), stage.host.clock().now() + HOUR);
        let other = Other::new(&stage, &[HOUR, HOUR, HOUR]);
        let hear = |progress| {
            let is_plan = matches!(progress, Progress::Planned { .. });
            other.hear(progress);
            if is_plan {
                let leave = async {
                    store.batch_release(&other.next(), later, true).await.expect("given back");
                    defer(&store, &other.next(), later, "spent", now).await.expect("deferred");
                };
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(leave));
            }
        };
        let report = stage.host.run(&request(), &hear).await.expect("the run ends");
        let counts = &report.run.counts;
        assert_eq!((report.run.status, report.run.finished_at), (RunStatus::Running, None));
        assert_eq!((counts.planned, counts.collected, counts.deferred), (4, 1, 1), "{report:?}");
        assert_eq!(report.platforms[0].counts, *counts, "the only platform's are the run's");
        let open: Vec<_> = report.open.iter().map(|open| (open.reason, open.holder.as_deref())).collect();
        let expected = [(OpenReason::Budget, None), (OpenReason::Held, Some("other")), (OpenReason::Retry, None)];
        assert_eq!(open, expected, "{report:?}");
        assert!(report.open.iter().all(|open| (open.available_at, open.accounts) == (later, 1)), "{report:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_for_another_host_can_be_stopped() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, 2).await;
        let ttl = Duration::from_millis(stage.host.config().collection.lease_ttl_ms);
        let other = Other::new(&stage, &[ttl]);
        let (request, hear) = (request(), |progress| other.hear(progress));
        let stop = CancellationToken::new();
        let mut run = pin!(stage.host.runs().run(&request, &hear, &stop));
        other.told(&mut run, is_waiting).await;
        stop.cancel();
        let report = run.await.expect("the run ends");
        assert_eq!((report.run.status, report.run.counts.collected), (RunStatus::Running, 1), "{report:?}");
        assert_eq!((report.run.counts.planned, report.platforms[0].counts.planned), (2, 2));
        let [open] = &report.open[..] else { panic!("{report:?}") };
        assert_eq!((open.reason, open.holder.as_deref()), (OpenReason::Held, Some("other")));
        // The other one goes on with it.
        other.complete(&other.next()).await;
        let filter = BatchFilter { run: Some(report.run.id), ..BatchFilter::default() };
        let done = BatchFilter { state: Some(BatchState::Done), ..filter };
        assert_eq!(store.batches_list(&Scope::all_tenants(), &done).await.expect("batches are read").len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_cancelled_elsewhere_ends_and_says_what_was_left_of_it() {
    each_database(async |_: Store, url: &str| {
        let stage = stage(url, 3).await;
        let other = Other::new(&stage, &[HOUR, HOUR]);
        let now = stage.host.clock().now();
        let host = Presence { name: "other".to_owned(), version: "1".to_owned(), state: "ready", started_at: now };
        stage.host.store().host_announce(&host, now).await.expect("announced");
        let (request, hear, stop) = (request(), |progress| other.hear(progress), CancellationToken::new());
        let mut run = pin!(stage.host.runs().run(&request, &hear, &stop));
        other.told(&mut run, is_waiting).await;
        let id = other.next().batch.run_id;
        let cancelled = stage.host.runs().cancel(id, "a test").await.expect("it is open");
        assert_eq!((cancelled.run.status, cancelled.cancelled.accounts), (RunStatus::Cancelled, 2));
        let report = run.await.expect("the run ends");
        assert_eq!((report.run.status, report.run.counts.collected), (RunStatus::Cancelled, 1), "{report:?}");
        assert_eq!(report.platforms[0].exclusions.get("cancelled"), Some(&2), "{report:?}");
        let again = stage.host.runs().cancel(id, "a test").await.expect_err("it has ended");
        assert!(again.to_string().contains("has ended already, as cancelled"), "{again}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_beside_a_service_report_what_both_have_collected() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, 6).await;
        let service = Service::start(stage.another_host(|_| {}).await).await.expect("it starts");
        for days in 0..8 {
            let day = date() + Days::new(days);
            stage.set_date(day);
            let report = stage.run_some(day, &["spotify"]).await;
            assert_eq!((report.run.status, report.run.counts.collected), (RunStatus::Success, 6), "{report:?}");
            assert_eq!(report.platforms.len(), 1, "{report:?}");
            assert_eq!(report.platforms[0].platform, platform("spotify").as_str());
            assert!(report.platforms[0].requests > 0, "{report:?}");
            expect_whole(&store, &report).await;
        }
        assert!(service.stop().await);
    })
    .await;
}
