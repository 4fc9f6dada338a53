//! Tests of schedules with several hosts: one run for each fire time, whichever host leads or stops.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backline::pipeline::Host;
use backline::pipeline::service::Service;
use backline_model::Weights;
use backline_model::health::RecommendationKind;
use backline_model::outcome::{FailureClass, Outcome};
use backline_model::{
    Account, AccountId, AccountStatus, Artist, ArtistId, Batch, BatchAccount, BatchId, CatchUp, Consent, Digest, Fire,
    FireDecision, Overlap, Run, RunId, RunStatus, ScheduleSpec, SubscriptionStatus, Tenant, Window,
};
use backline_simulator::SimulatorConfig;
use backline_store::{AccountResult, BatchResult, NewSchedule, PlanGuard, Scope, Store};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::json;

use crate::support::components;
use crate::support::database::{each_database, write};
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, platform};

const ROLE: &str = "scheduler";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn spec(cron: &str, catch_up: CatchUp, overlap: Overlap) -> ScheduleSpec {
    ScheduleSpec { cron: cron.to_owned(), catch_up, overlap, ..ScheduleSpec::default() }
}

fn schedules(list: &[(&str, ScheduleSpec)]) -> BTreeMap<String, ScheduleSpec> {
    list.iter().map(|(name, spec)| ((*name).to_owned(), spec.clone())).collect()
}

/// A host at noon of 18 November, without connectors and with these schedules.
/// How long a lease lasts in these tests, in seconds.
const LEASE_S: u64 = 864_000;

async fn stage(url: &str, list: &[(&str, ScheduleSpec)]) -> Stage {
    let date = NaiveDate::from_ymd_opt(2026, 11, 18).expect("a day of November");
    let simulator = SimulatorConfig { artists: 1, date, ..SimulatorConfig::default() };
    Stage::bare(url, simulator, |config| {
        config.schedules = schedules(list);
        config.service.poll_ms = 10;
        // Tests that move the time by hours renew no lease.
        config.collection.lease_ttl_ms = LEASE_S * 1000;
    })
    .await
}

async fn serve(host: &Host) -> Service {
    Service::start(host.clone()).await.expect("the service starts")
}

/// Another host on the same database, under another name.
async fn another(stage: &Stage) -> Host {
    Host::open(stage.host.config().clone(), stage.host.clock().clone()).await.expect("another host opens")
}

/// Waits until a condition holds.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let waited = tokio::time::timeout(Duration::from_secs(180), async {
        while !holds().await {
            looks.tick().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within three minutes: {what}"));
}

async fn until_known(store: &Store, n: usize) {
    until("the schedules are in the database", async || store.schedules_list().await.expect("schedules").len() == n)
        .await;
}

/// The fires of a schedule, oldest first.
async fn fires(store: &Store, schedule: &str) -> Vec<Fire> {
    let mut fires = store.fires_list(Some(schedule), 1_000).await.expect("times of firing");
    fires.reverse();
    fires
}

async fn decisions(store: &Store, schedule: &str) -> Vec<FireDecision> {
    fires(store, schedule).await.into_iter().map(|fire| fire.decision).collect()
}

async fn runs_of(store: &Store, trigger: &str) -> Vec<Run> {
    let runs = store.runs_list(&Scope::all_tenants(), 1_000, None).await.expect("runs");
    runs.into_iter().filter(|run| run.trigger == trigger).collect()
}

/// Adds an artist in New York with an account on Spotify, and installs the connector. Consent is left to the caller.
async fn add_artist(stage: &Stage) -> Account {
    stage.host.install(&components::plugin("spotify")).await.expect("the connector is installed");
    let now = stage.host.clock().now();
    let artist = Artist {
        id: ArtistId(uuid::Uuid::from_u128(7)),
        name: "Ada".to_owned(),
        tenant: Tenant::default(),
        subscription_status: SubscriptionStatus::Active,
        data_collection_enabled: true,
        timezone: "America/New_York".parse().expect("a zone"),
    };
    let account = Account {
        id: AccountId(uuid::Uuid::from_u128(8)),
        artist_id: artist.id,
        platform: platform("spotify"),
        platform_id: "0OdUWJ0sBjDrqHygGUXeCF".to_owned(),
        settings: json!({}),
        status: AccountStatus::Active,
    };
    stage.host.store().artists_save(&Scope::all_tenants(), &[artist], now).await.expect("the artist is saved");
    stage
        .host
        .store()
        .accounts_save(&Scope::all_tenants(), std::slice::from_ref(&account), now)
        .await
        .expect("the account is saved");
    account
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_start_one_run_for_each_time() {
    each_database(async |_store: Store, url: &str| {
        let stage = stage(url, &[("often", spec("*/10 * * * *", CatchUp::All, Overlap::Queue))]).await;
        let store = stage.host.store();
        let other = another(&stage).await;
        assert_ne!(stage.host.name(), other.name());
        let services = [serve(&stage.host).await, serve(&other).await];
        until_known(store, 1).await;
        // Each step is longer than the lease of the role, so that either host may take it over.
        let noon = at("2026-11-18T12:00:00Z");
        for n in 1..=12 {
            stage.set_time(noon + TimeDelta::minutes(10 * n) + TimeDelta::seconds(1));
            until("the time is decided", async || fires(store, "often").await.len() >= n as usize).await;
        }
        until("every run has ended", async || {
            runs_of(store, "often").await.iter().filter(|run| run.finished_at.is_some()).count() == 12
        })
        .await;
        for service in services {
            service.stop().await;
        }
        let fires = fires(store, "often").await;
        let times: Vec<_> = fires.iter().map(|fire| fire.fire_time).collect();
        assert_eq!(times, (1..=12).map(|n| noon + TimeDelta::minutes(10 * n)).collect::<Vec<_>>());
        assert!(fires.iter().all(|fire| fire.decision == FireDecision::Started), "{fires:?}");
        let started: BTreeSet<_> = fires.iter().filter_map(|fire| fire.run_id).collect();
        let runs = runs_of(store, "often").await;
        assert_eq!(started, runs.iter().map(|run| run.id).collect());
        assert_eq!(runs.len(), 12);
        assert!(runs.iter().all(|run| run.status == RunStatus::Success && run.counts.planned == 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missed_fires_are_caught_up_as_configured_and_for_their_own_date() {
    each_database(async |_store: Store, url: &str| {
        let nightly = |catch_up| spec("30 4 * * *", catch_up, Overlap::Skip);
        let list = [("all", nightly(CatchUp::All)), ("last", nightly(CatchUp::Last)), ("none", nightly(CatchUp::None))];
        let stage = stage(url, &list).await;
        let store = stage.host.store();
        // Without consent there is nothing to collect; the plan shows the date.
        add_artist(&stage).await;
        let first = serve(&stage.host).await;
        until_known(store, 3).await;
        first.stop().await;
        stage.set_time(at("2026-11-21T12:00:00Z"));
        let second = serve(&another(&stage).await).await;
        until("the three nights are caught up on", async || {
            runs_of(store, "all").await.len() == 3 && fires(store, "none").await.len() == 3
        })
        .await;
        until("nothing is queued any more", async || store.queued_fires_list().await.expect("queued").is_empty()).await;
        second.stop().await;

        use FireDecision::{Missed, Started};
        assert_eq!(decisions(store, "all").await, [Started, Started, Started]);
        assert_eq!(decisions(store, "last").await, [Missed, Missed, Started]);
        assert_eq!(decisions(store, "none").await, [Missed, Missed, Missed]);
        assert_eq!(runs_of(store, "last").await.len(), 1);
        assert_eq!(runs_of(store, "none").await, []);
        let mut dates = Vec::new();
        for fire in fires(store, "all").await {
            let run = fire.run_id.expect("a run was started");
            let outcomes = store.run_outcomes_list(&Scope::all_tenants(), run, None, 10).await.expect("outcomes");
            assert_eq!(outcomes.len(), 1);
            dates.push(outcomes[0].metric_date.to_string());
        }
        // At 4:30 UTC it is still the previous day in New York.
        assert_eq!(dates, ["2026-11-18", "2026-11-19", "2026-11-20"]);
        for schedule in store.schedules_list().await.expect("schedules") {
            assert_eq!(schedule.next_fire, Some(at("2026-11-22T04:30:00Z")), "{}", schedule.name);
        }
    })
    .await;
}

/// Plans a run for each of these schedules, and leases its only batch.
async fn busy(stage: &Stage, account: &Account, names: &[&str]) -> Vec<backline_model::Lease> {
    let store = stage.host.store();
    let now = stage.host.clock().now();
    let term = store.role_take(ROLE, "test", now, Duration::from_secs(60)).await.expect("asked").expect("it is free");
    let next_fire = Some(at("2026-11-18T13:00:00Z"));
    let configured: Vec<NewSchedule> = names
        .iter()
        .map(|name| NewSchedule {
            name: (*name).to_owned(),
            spec: stage.host.config().schedules[*name].clone(),
            next_fire,
        })
        .collect();
    store.schedules_sync(&term, &configured, now).await.expect("schedules are written");
    let mut leases = Vec::new();
    for name in names {
        let run = Run {
            id: RunId::generate(),
            trigger: (*name).to_owned(),
            date: None,
            status: RunStatus::Running,
            started_at: now,
            finished_at: None,
            counts: backline_model::run::RunCounts::default(),
        };
        let batch = Batch {
            id: BatchId::generate(),
            run_id: run.id,
            tenant: Tenant::default(),
            platform: account.platform.clone(),
            release: Digest::of(b"any"),
            canary: false,
            window: Window { since: now - TimeDelta::days(28), until: now },
            accounts: vec![BatchAccount { account_id: account.id, metric_date: now.date_naive() }],
            attempts: 0,
        };
        let fire_time = now + TimeDelta::microseconds(1);
        let guard = PlanGuard::Fire { term: &term, schedule: name, fire_time, next_fire };
        let mut planning = store.plan_begin(&run, guard, now).await.expect("a plan is begun");
        planning.batches_add(&[batch], &Weights::default()).await.expect("a batch is added");
        planning.commit().await.expect("the plan is committed");
        let held = store
            .batch_lease(&Scope::all_tenants(), Some(run.id), None, "test", now, Duration::from_secs(LEASE_S))
            .await;
        leases.push(held.expect("asked").expect("a batch is open"));
    }
    store.role_resign(&term, now).await.expect("the role is given up");
    leases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fire_during_a_run_is_skipped_or_queued() {
    each_database(async |_store: Store, url: &str| {
        let hourly = |overlap| spec("0 * * * *", CatchUp::Last, overlap);
        let stage = stage(url, &[("queue", hourly(Overlap::Queue)), ("skip", hourly(Overlap::Skip))]).await;
        let store = stage.host.store();
        let account = add_artist(&stage).await;
        let leases = busy(&stage, &account, &["queue", "skip"]).await;
        let service = serve(&stage.host).await;
        for hour in [13, 14] {
            stage.set_time(at(&format!("2026-11-18T{hour}:00:01Z")));
            until("both have decided", async || {
                fires(store, "skip").await.len() == hour - 11 && fires(store, "queue").await.len() == hour - 11
            })
            .await;
        }
        use FireDecision::{Queued, Skipped, Started};
        assert_eq!(decisions(store, "skip").await, [Started, Skipped, Skipped]);
        assert_eq!(decisions(store, "queue").await, [Started, Queued, Queued]);

        for lease in &leases {
            let failed = AccountResult {
                account_id: account.id,
                artist_id: account.artist_id,
                platform: account.platform.clone(),
                metric_date: lease.batch.accounts[0].metric_date,
                outcome: Outcome::Failed { class: FailureClass::NotFound, message: "gone".to_owned() },
                attempts: 1,
                document: None,
                stored: None,
                status: None,
                events: Vec::new(),
            };
            let result = BatchResult { accounts: vec![failed], ..BatchResult::default() };
            store.batch_complete(lease, result, stage.host.clock().now()).await.expect("the batch ends");
        }
        // Only the scheduler finishes the two runs, as if their host had been killed at this point.
        until("what was queued has had its turn", async || {
            decisions(store, "queue").await == [Started, Started, Started]
        })
        .await;
        until("every run has ended", async || {
            store
                .runs_list(&Scope::all_tenants(), 100, None)
                .await
                .expect("runs")
                .iter()
                .all(|run| run.finished_at.is_some())
        })
        .await;
        service.stop().await;
        assert_eq!(runs_of(store, "queue").await.len(), 3);
        assert_eq!(decisions(store, "skip").await, [Started, Skipped, Skipped], "a skipped fire stays skipped");
        assert_eq!(runs_of(store, "skip").await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_host_that_leads_stops_another_leads_at_once() {
    each_database(async |_store: Store, url: &str| {
        let stage = stage(url, &[("daily", ScheduleSpec::default())]).await;
        let store = stage.host.store();
        let first = serve(&stage.host).await;
        until_known(store, 1).await;
        let other = another(&stage).await;
        let second = serve(&other).await;
        let leader = async || store.role_get(ROLE).await.expect("asked").map(|term| (term.holder, term.term));
        assert_eq!(leader().await, Some((stage.host.name().to_owned(), 1)), "the leader keeps its role");

        // The clock stands still, so no role expires.
        first.stop().await;
        until("the other leads", async || leader().await == Some((other.name().to_owned(), 2))).await;
        stage.set_time(at("2026-11-19T02:00:01Z"));
        until("the time is decided", async || !fires(store, "daily").await.is_empty()).await;
        assert_eq!(decisions(store, "daily").await, [FireDecision::Started]);
        second.stop().await;
        assert_eq!(leader().await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_configuration_changes_the_schedules_of_a_running_host() {
    each_database(async |_store: Store, url: &str| {
        let stage = stage(url, &[("daily", ScheduleSpec::default())]).await;
        let store = stage.host.store();
        let service = serve(&stage.host).await;
        until_known(store, 1).await;
        let mut config = stage.host.config().clone();
        config.schedules = schedules(&[
            ("daily", spec("0 3 * * *", CatchUp::Last, Overlap::Skip)),
            ("weekly", spec("0 4 * * MON", CatchUp::Last, Overlap::Skip)),
        ]);
        service.reload(config).await.expect("the configuration is applied");
        until_known(store, 2).await;
        let next: Vec<_> =
            store.schedules_list().await.expect("schedules").iter().map(|schedule| schedule.next_fire).collect();
        assert_eq!(next, [Some(at("2026-11-19T03:00:00Z")), Some(at("2026-11-23T04:00:00Z"))]);
        service.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_collection_is_planned_once_for_accounts_that_can_be_collected() {
    each_database(async |_store: Store, url: &str| {
        let stage = stage(url, &[]).await;
        let store = stage.host.store();
        let service = serve(&stage.host).await;
        let drained = async || store.activations_list(&Scope::all_tenants(), 10).await.expect("activations").is_empty();
        let account = add_artist(&stage).await;
        until("the activations are taken out", drained).await;
        assert_eq!(
            store.runs_list(&Scope::all_tenants(), 10, None).await.expect("runs"),
            [],
            "there is no consent yet"
        );

        let now = stage.host.clock().now();
        let consent = Consent {
            artist_id: account.artist_id,
            platform: account.platform.clone(),
            granted: true,
            scope: "metrics".to_owned(),
            source: "test".to_owned(),
            recorded_at: now,
        };
        store
            .consents_record(&Scope::all_tenants(), std::slice::from_ref(&consent))
            .await
            .expect("consent is recorded");
        until("the first collection is planned", async || {
            !store.runs_list(&Scope::all_tenants(), 10, None).await.expect("runs").is_empty()
        })
        .await;
        // Granting a consent again is no transition, nor is saving the same account again.
        store
            .consents_record(&Scope::all_tenants(), &[Consent { recorded_at: now + TimeDelta::seconds(1), ..consent }])
            .await
            .expect("again");
        store.accounts_save(&Scope::all_tenants(), std::slice::from_ref(&account), now).await.expect("again");
        until("the activations are taken out", drained).await;
        service.stop().await;
        let runs = runs_of(store, "activation").await;
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].counts.planned, 1);
        assert_eq!(store.runs_list(&Scope::all_tenants(), 10, None).await.expect("runs").len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_a_clock_ahead_decided_goes_on_when_the_clock_is_right_again() {
    each_database(async |_store: Store, url: &str| {
        let stage = stage(url, &[("hourly", spec("0 * * * *", CatchUp::Last, Overlap::Queue))]).await;
        let store = stage.host.store();
        let service = serve(&stage.host).await;
        until_known(store, 1).await;
        let second = TimeDelta::seconds(1);
        let latest = async || fires(store, "hourly").await.last().map(|fire| fire.fire_time);
        let mut now = at("2026-11-18T12:00:00Z");
        for ahead in [TimeDelta::hours(1), TimeDelta::days(1), TimeDelta::days(40)] {
            stage.set_time(now + ahead + second);
            until("a time ahead is decided", async || latest().await > Some(now + second)).await;
            stage.set_time(now + second);
            until("what was decided ahead is forgotten", async || latest().await <= Some(now + second)).await;
            now += TimeDelta::hours(1);
            stage.set_time(now + second);
            until("the next time is decided", async || latest().await == Some(now)).await;
        }
        service.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_can_not_be_read_stops_no_other_and_is_named() {
    each_database(async |_store: Store, url: &str| {
        let stage = stage(url, &[("hourly", spec("0 * * * *", CatchUp::Last, Overlap::Queue))]).await;
        let (store, now) = (stage.host.store(), stage.host.clock().now());
        for (name, cron) in [("phobos", "0 * * * *"), ("never", "61 * * * *")] {
            let new = NewSchedule {
                name: name.to_owned(),
                spec: spec(cron, CatchUp::Last, Overlap::Skip),
                next_fire: Some(now),
            };
            store.schedule_add(&new, now).await.expect("another program adds a schedule");
        }
        write(url, "UPDATE schedules SET timezone = 'Mars/Phobos' WHERE name = 'phobos'").await;
        let service = serve(&stage.host).await;
        // The configured one, and the one whose row can be read.
        until_known(store, 2).await;
        stage.set_time(at("2026-11-18T13:00:01Z"));
        until("the other one fires", async || decisions(store, "hourly").await.contains(&FireDecision::Started)).await;
        service.stop().await;
        assert!(fires(store, "phobos").await.is_empty() && fires(store, "never").await.is_empty());
        let report = stage.host.health().report(None).await.expect("a report");
        let said = report.recommendations.iter().find(|said| said.kind == RecommendationKind::RowsUnreadable);
        let said = said.unwrap_or_else(|| panic!("{:?}", report.recommendations));
        assert!(said.sentence.starts_with("2 rows of schedules"), "{said:?}");
        assert!(said.sentence.contains("phobos (timezone") && said.sentence.contains("never (cron"), "{said:?}");
    })
    .await;
}
