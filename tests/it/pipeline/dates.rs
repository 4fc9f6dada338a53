//! A row's date is the one on which its numbers were observed, on both databases.

use std::time::Duration;

use backline::config::Config;
use backline::pipeline::collection::report::RunRequest;
use backline::pipeline::service::Service;
use backline_model::{NoChange, Outcome, RunId, RunStatus, Tenant};
use backline_simulator::Platform as Sim;
use backline_store::{ArtistFilter, MetricsFilter, NamedOutcome, Presence, Scope, Store};
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::{date, integer, small, withhold};
use crate::support::database::each_database;
use crate::support::fleet::until;
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, noon};

/// Sets short intervals, so that tests don't wait unnecessarily.
fn prompt(config: &mut Config) {
    config.service.poll_ms = 20;
    config.schedules.clear();
}

/// A stage with one account, so that nothing but the runs of the test collects it.
async fn one_account(url: &str, change: impl FnOnce(&mut Config)) -> Stage {
    let stage = Stage::installed(url, small(1), |config| {
        prompt(config);
        change(config);
    })
    .await;
    stage.import_some(&["instagram"], |_| Tenant::default()).await;
    stage
}

fn request(day: u32) -> RunRequest {
    RunRequest { trigger: "test".to_owned(), date: Some(date(day)), ..RunRequest::default() }
}

/// Plans a run for a day of November without collecting it.
async fn planned(stage: &Stage, day: u32) -> RunId {
    let stopped = CancellationToken::new();
    stopped.cancel();
    let report = stage.host.runs().run(&request(day), &|_| {}, &stopped).await.expect("the plan is written");
    assert_eq!(report.run.status, RunStatus::Running, "no batch was collected yet");
    report.run.id
}

/// Makes the store believe that a host serves, so that what is planned does not count as left behind.
async fn a_host_serves(stage: &Stage) {
    let now = stage.host.clock().now();
    let host = Presence { name: "serving-1".to_owned(), version: "1".to_owned(), state: "ready", started_at: now };
    stage.host.store().host_announce(&host, now).await.expect("announced");
}

/// Collects what is open of a run, and returns how its accounts ended.
async fn work_off(stage: &Stage, run: RunId) -> Vec<NamedOutcome> {
    let service = Service::start(stage.host.clone()).await.expect("it starts");
    until(Duration::from_secs(180), "the run ends", async || {
        let run = stage.host.store().run_get(&Scope::all_tenants(), run).await.expect("runs are read");
        run.is_some_and(|run| run.finished_at.is_some()).then_some(())
    })
    .await;
    service.stop().await;
    outcomes(stage, run, true).await
}

async fn outcomes(stage: &Stage, run: RunId, all: bool) -> Vec<NamedOutcome> {
    let store = stage.host.store();
    let details = store.run_details_get(&Scope::all_tenants(), run, all).await.expect("runs are read");
    details.expect("the run exists").outcomes
}

async fn dates(stage: &Stage) -> Vec<u32> {
    use chrono::Datelike as _;

    let rows = stage.host.store().metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.expect("rows");
    let mut dates: Vec<u32> = rows.iter().map(|row| row.metric_date.day()).collect();
    dates.sort_unstable();
    dates
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_come_late_are_stored_under_the_date_of_their_observation() {
    each_database(async |_store: Store, url: &str| {
        let stage = one_account(url, |_| {}).await;
        let run = planned(&stage, 18).await;
        stage.set_date(date(20));
        let ended = work_off(&stage, run).await;
        assert_eq!(ended.len(), 1);
        assert_eq!((&ended[0].outcome, ended[0].metric_date), (&Outcome::Collected, date(20)));
        assert!(ended[0].note.as_deref().is_some_and(|note| note.contains("planned for 2026-11-18")), "{ended:?}");
        assert_eq!(outcomes(&stage, run, false).await, ended, "a short report says it too");
        assert_eq!(dates(&stage).await, [20]);
        let row = stage.row(Sim::Instagram, 0, date(20)).await.expect("a row");
        assert_eq!((row.observed_at, row.window.until), (noon(date(20)), noon(date(20))), "the window is of now");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_little_late_is_not_too_late() {
    each_database(async |_store: Store, url: &str| {
        let stage = one_account(url, |config| config.collection.late_s = 84_600).await;
        let run = planned(&stage, 18).await;
        stage.set_date(date(19));
        let ended = work_off(&stage, run).await;
        assert_eq!((ended[0].metric_date, ended[0].note.as_deref()), (date(18), None));
        assert_eq!(dates(&stage).await, [18]);

        // The two rows were observed within half a day, so their difference is not a day's growth.
        stage.set_time(noon(date(19)) + TimeDelta::hours(2));
        stage.run(date(19)).await;
        let filter = MetricsFilter { since: Some(date(19)), ..MetricsFilter::default() };
        let growth = stage.host.store().growth_list(&Scope::all_tenants(), &filter).await.expect("growth");
        let followers = growth[0].changes["followers"][&1];
        assert_eq!((followers.reason, followers.percent), (Some(NoChange::Late), None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_accounts_beside_others_have_a_window_of_their_own() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::installed(url, small(2), prompt).await;
        stage.import_some(&["instagram"], |_| Tenant::default()).await;
        let (all, planned_at) = (Scope::all_tenants(), noon(date(18)));
        let mut artists = store.artists_list(&all, &ArtistFilter::default()).await.expect("artists are read");
        for (artist, zone) in artists.iter_mut().zip(["UTC", "Pacific/Pago_Pago"]) {
            artist.timezone = zone.parse().expect("a zone");
        }
        store.artists_save(&all, &artists, planned_at).await.expect("artists are saved");
        let run = planned(&stage, 18).await;
        // Seven hours after the date ended in UTC; in Pago Pago it goes on.
        let later = planned_at + TimeDelta::hours(19);
        stage.simulator.set_now(later);
        stage.set_time(later);
        let ended = work_off(&stage, run).await;
        assert!(ended.iter().all(|one| one.outcome == Outcome::Collected), "{ended:?}");
        let rows = store.metrics_list(&all, &MetricsFilter::default()).await.expect("rows are read");
        let mut found: Vec<_> = rows.iter().map(|row| (row.metric_date, row.window.until, row.observed_at)).collect();
        found.sort_unstable();
        assert_eq!(found, [(date(18), planned_at, later), (date(19), later, later)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_late_for_a_date_that_is_collected_already_is_stored_nowhere_and_asked_of_nobody() {
    each_database(async |store: Store, url: &str| {
        let stage = one_account(url, |_| {}).await;
        let late = planned(&stage, 18).await;
        stage.set_date(date(20));
        a_host_serves(&stage).await;
        stage.run(date(20)).await;
        let before = stage.row(Sim::Instagram, 0, date(20)).await;
        let ended = work_off(&stage, late).await;
        assert_eq!((&ended[0].outcome, ended[0].metric_date), (&Outcome::Superseded, date(18)));
        assert_eq!(ended[0].note.as_deref(), Some("its turn came on another date, which was collected already"));
        let state = store.run_state_get(&Scope::all_tenants(), late).await.expect("runs are read");
        assert_eq!(state.requests.values().sum::<u64>(), 0, "nothing is asked of a platform");
        assert_eq!((dates(&stage).await, stage.row(Sim::Instagram, 0, date(20)).await), (vec![20], before));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_for_a_date_that_no_connector_can_serve_is_refused() {
    each_database(async |store: Store, url: &str| {
        let stage = one_account(url, |_| {}).await;
        for day in [16, 20] {
            let refused = stage.host.run(&request(day), &|_| {}).await.expect_err("no connector can serve it");
            let said = refused.to_string();
            assert!(said.contains(&format!("no connector can fetch the numbers of {}", date(day))), "{said}");
            assert!(stage.host.planner().plan(&request(day)).await.is_err(), "a plan says so too");
        }
        assert_eq!(store.runs_list(&Scope::all_tenants(), 10, None).await.expect("runs").len(), 0);
        assert_eq!(stage.simulator.counts().requests, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_date_that_has_ended_for_some_artists_only_the_others_are_collected() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::installed(url, small(2), prompt).await;
        stage.import_some(&["instagram"], |_| Tenant::default()).await;
        let all = Scope::all_tenants();
        let mut artists = store.artists_list(&all, &backline_store::ArtistFilter::default()).await.expect("artists");
        let served = stage.simulator.world().artist(0).id;
        artists.sort_by_key(|artist| artist.id.0 != served);
        artists[0].timezone = "UTC".parse().expect("a zone");
        artists[1].timezone = "Europe/Berlin".parse().expect("a zone");
        store.artists_save(&all, &artists, stage.host.clock().now()).await.expect("saved");

        // The 18th ended five and a half hours ago in UTC, and six and a half hours ago in Berlin.
        stage.set_date(date(19));
        stage.set_time(noon(date(19)) - TimeDelta::minutes(390));
        let waiting = store.activations_list(&all, 100).await.expect("activations");
        assert!(waiting.iter().any(|activation| activation.artist_id == artists[1].id), "{waiting:?}");
        let planned = stage.host.planner().plan(&request(18)).await.expect("one can be served");
        assert_eq!(planned.total.accounts, 1);
        let left_out = planned.platforms.iter().filter_map(|plan| plan.excluded.get("date_not_served"));
        assert_eq!(left_out.sum::<u64>(), 1);
        let report = stage.host.run(&request(18), &|_| {}).await.expect("one can be served");
        assert_eq!((report.run.counts.collected, report.run.counts.excluded), (1, 1));
        assert_eq!(dates(&stage).await, [18], "nothing of today is stored");
        let left = store.activations_list(&all, 100).await.expect("activations");
        assert!(left.iter().all(|activation| activation.artist_id == artists[1].id) && !left.is_empty(), "{left:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withheld_value_is_not_released_under_a_date_that_it_is_not_of() {
    each_database(async |store: Store, url: &str| {
        let stage = one_account(url, |_| {}).await;
        stage.run(date(18)).await;
        let row = stage.row(Sim::Instagram, 0, date(18)).await.expect("a row");
        stage.set_date(date(20));
        let held = withhold(&stage, &row, "followers", 7, noon(date(20))).await;
        let refused = stage
            .host
            .quarantine()
            .release(&Scope::all_tenants(), held.id)
            .await
            .expect_err("it is of another date")
            .to_string();
        assert!(refused.contains("observed at 2026-11-20 12:00 UTC") && refused.contains("2026-11-18"), "{refused}");
        let after = stage.row(Sim::Instagram, 0, date(18)).await.expect("a row");
        assert_eq!(integer(&after, "followers"), integer(&row, "followers"), "nothing was written");
        let held = store.quarantine_get(&Scope::all_tenants(), held.id).await.expect("read").expect("it is there");
        assert_eq!(held.status, backline_model::row::QuarantineStatus::Held);

        // What was observed shortly after its date is of it, however late it is released.
        let held = withhold(&stage, &row, "followers", 8, noon(date(18)) + TimeDelta::hours(1)).await;
        stage.host.quarantine().release(&Scope::all_tenants(), held.id).await.expect("it is of its date");
        let after = stage.row(Sim::Instagram, 0, date(18)).await.expect("a row");
        assert_eq!(integer(&after, "followers"), Some(8));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_from_quarantine_computes_growth_as_a_collection_does() {
    each_database(async |_store: Store, url: &str| {
        // A simulation: dates are not the machine's, so times of observation say nothing about them.
        let stage = one_account(url, |config| config.collection.late_s = u32::MAX).await;
        stage.set_date(date(19));
        stage.run(date(19)).await;
        stage.set_time(noon(date(19)) + TimeDelta::hours(1));
        stage.run(date(18)).await;
        let growth = async || {
            let filter = MetricsFilter { since: Some(date(19)), until: Some(date(19)), ..MetricsFilter::default() };
            let rows = stage.host.store().growth_list(&Scope::all_tenants(), &filter).await.expect("growth");
            rows[0].changes["followers"][&1]
        };
        assert_eq!(growth().await.reason, None);
        let row = stage.row(Sim::Instagram, 0, date(19)).await.expect("a row");
        let held = withhold(&stage, &row, "followers", 7, noon(date(19)) + TimeDelta::hours(2)).await;
        stage.host.quarantine().release(&Scope::all_tenants(), held.id).await.expect("it is of its date");
        let row = stage.row(Sim::Instagram, 0, date(19)).await.expect("a row");
        assert_eq!((integer(&row, "followers"), growth().await.reason), (Some(7), None));
    })
    .await;
}
