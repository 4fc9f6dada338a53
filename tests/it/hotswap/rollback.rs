//! Tests of rollbacks: a release that is worse than the previous one is rolled back, and its failures are collected
//! again.

use std::time::Duration;

use backline::pipeline::collection::report::RunRequest;
use backline::pipeline::service::Service;
use backline::pipeline::{ActivateOptions, Revoke};
use backline_model::clock::Past;
use backline_model::{Digest, ReleaseState, RunStatus, SwapCause};
use backline_simulator::{Fault, FaultKind, RetryAfter, SimulatorConfig};
use backline_store::{Scope, Store};
use chrono::{Days, TimeDelta};

use super::guest::{active, date, every_tenth, install, planned, request, rolled_back, rows, stage, state_of};
use crate::support::database::each_database;
use crate::support::fleet::until;
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, platform};
use crate::support::variants::variant;

const ACCOUNTS: usize = 400;

const WAIT_MAX: Duration = Duration::from_secs(120);

/// A stage on the day after a collection with the first release. The second release is active since then.
async fn on_the_second_day(url: &str, begins: &str) -> (Stage, Digest, Digest) {
    let stage = stage(url, every_tenth(begins, ACCOUNTS), |_| {}).await;
    let good = install(&stage, "well_behaved").await;
    // Of all platforms, so that the artist's first collection is done: a service would do it beside the next run.
    let all = RunRequest { platforms: Vec::new(), ..request(date()) };
    let report = stage.host.run(&all, &|_| {}).await.expect("the run ends");
    assert_eq!((report.run.status, report.run.counts.collected), (RunStatus::Success, ACCOUNTS as u64));
    let tally =
        stage.host.store().release_tally_get(good, stage.host.clock().now(), None).await.expect("tallies are read");
    assert_eq!((tally.accounts, tally.collected, tally.metrics["followers"]), (400, 400, 400));
    stage.set_date(tomorrow());
    let worse = install(&stage, "worse").await;
    assert_eq!(active(stage.host.store()).await.digest, worse);
    (stage, good, worse)
}

fn tomorrow() -> chrono::NaiveDate {
    date() + Days::new(1)
}

/// Checks that all accounts were collected: the tenth that failed with the second release was collected with the first.
async fn expect_complete(stage: &Stage, good: Digest, worse: Digest, begins: &str) {
    let store = stage.host.store();
    let rows = rows(store, tomorrow()).await;
    assert_eq!(rows.len(), ACCOUNTS);
    for (id, row) in &rows {
        assert!(row.release == good || (row.release == worse && !id.starts_with(begins)), "{id}: {}", row.release);
        assert_eq!(row.values["followers"].as_i64(), i64::try_from(id.len()).ok(), "{id}");
    }
    let runs = store.runs_list(&Scope::all_tenants(), 10, None).await.expect("runs are read");
    assert!(rows.values().any(|row| row.release == worse), "the second release has collected too: {runs:#?}");
    assert_eq!(active(store).await.digest, good);
    let (state, reason) = state_of(store, worse).await;
    assert_eq!(state, ReleaseState::Withdrawn);
    assert!(reason.contains("trapped for ") && reason.contains("before 0 of 400 (0.0 %)"), "{reason}");
    let events = rolled_back(stage).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].data["digest"], worse.to_string());
    assert_eq!(events[0].data["to"], good.to_string());
    let swaps = store.swaps_list(Some(&platform("guest")), 10).await.expect("swaps are read");
    assert_eq!((swaps[0].cause, swaps[0].release, swaps[0].before), (SwapCause::RolledBack, Some(good), Some(worse)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_rolls_back_what_traps_on_a_tenth_and_ends_the_run_complete() {
    each_database(async |store: Store, url: &str| {
        let (stage, good, worse) = on_the_second_day(url, "trap").await;
        let run = planned(&stage.host, tomorrow()).await;
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        until(WAIT_MAX, "the run is complete", async || {
            let run =
                store.run_get(&Scope::all_tenants(), run.id).await.expect("runs are read").expect("the run exists");
            (run.status == RunStatus::Success && run.counts.collected == 400).then_some(())
        })
        .await;
        service.stop().await;
        let run = store.run_get(&Scope::all_tenants(), run.id).await.expect("runs are read").expect("the run exists");
        assert_eq!((run.counts.planned, run.counts.failed), (400, 0), "no account is counted twice");
        expect_complete(&stage, good, worse, "trap").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_run_rolls_back_too() {
    each_database(async |_: Store, url: &str| {
        let (stage, good, worse) = on_the_second_day(url, "trap").await;
        let report = stage.host.run(&request(tomorrow()), &|_| {}).await.expect("the run ends");
        assert_eq!((report.run.status, report.run.counts.collected), (RunStatus::Success, 400));
        assert_eq!((report.run.counts.planned, report.run.counts.failed), (400, 0));
        expect_complete(&stage, good, worse, "trap").await;

        // The worse release is not activated by mistake, and the restored one stays active.
        let again = stage.host.releases().activate(worse, &ActivateOptions::default()).await.expect_err("it was worse");
        assert!(again.to_string().contains("rolled back"), "{again}");
        assert!(stage.host.releases().review().await.expect("judged").rolled_back.is_empty());
        let insisting = ActivateOptions { again: true, ..ActivateOptions::default() };
        stage.host.releases().activate(worse, &insisting).await.expect("an operator may insist");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_metrics_and_rejected_values_lead_to_a_rollback_too() {
    for (begins, complaint) in [("hide", "followers was missing for 40 of 400"), ("minus", "rejected were 40 of 400")] {
        each_database(async |store: Store, url: &str| {
            let (stage, good, worse) = on_the_second_day(url, begins).await;
            stage.host.run(&request(tomorrow()), &|_| {}).await.expect("the run ends");
            let (state, reason) = state_of(&store, worse).await;
            assert_eq!(state, ReleaseState::Withdrawn, "{begins}");
            assert!(reason.contains(complaint), "{reason}");
            assert_eq!(active(&store).await.digest, good);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_platform_does_not_lead_to_a_rollback() {
    each_database(async |store: Store, url: &str| {
        let simulator = SimulatorConfig { artists: 60, date: date(), ..SimulatorConfig::default() };
        let stage = Stage::bare(url, simulator, |config| config.schedules.clear()).await;
        stage.install(&["spotify"]).await;
        stage.import_some(&["spotify"], |_| backline_model::Tenant::default()).await;
        stage.run_some(date(), &["spotify"]).await;
        stage.set_date(tomorrow());
        let next = stage.host.install(&variant("spotify", "9.0.0", |_| {})).await.expect("it is installed").digest;
        stage.simulator.set_faults(vec![
            Fault::always(FaultKind::Status { status: 503, retry_after: RetryAfter::Absent })
                .on_host("api.spotify.com"),
        ]);
        let report = stage.run_some(tomorrow(), &["spotify"]).await;
        assert_eq!((report.run.counts.collected, report.run.counts.failed), (0, 60), "{report:?}");
        let active = store.active_release_get(&platform("spotify")).await.expect("releases are read").expect("active");
        assert_eq!((active.digest, active.state), (next, ReleaseState::Granted));
        assert!(rolled_back(&stage).await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_took_back_does_not_lead_to_a_rollback() {
    for taken in [Revoke::Host("https://api.spotify.com".parse().expect("an origin")), Revoke::Slot("app".to_owned())] {
        each_database(async |store: Store, url: &str| {
            let simulator = SimulatorConfig { artists: 60, date: date(), ..SimulatorConfig::default() };
            let stage = Stage::bare(url, simulator, |config| config.schedules.clear()).await;
            stage.install(&["spotify"]).await;
            stage.import_some(&["spotify"], |_| backline_model::Tenant::default()).await;
            stage.run_some(date(), &["spotify"]).await;
            stage.set_date(tomorrow());
            let next = stage.host.install(&variant("spotify", "9.0.0", |_| {})).await.expect("it is installed").digest;
            stage.host.releases().revoke("spotify", &taken, "a test").await.expect("revoked");
            let report = stage.run_some(tomorrow(), &["spotify"]).await;
            assert_eq!((report.run.counts.collected, report.run.counts.failed), (0, 60), "{taken:?}: {report:?}");
            let active = store.active_release_get(&platform("spotify")).await.expect("releases are read");
            assert_eq!(active.map(|release| release.digest), Some(next), "{taken:?}");
            assert!(rolled_back(&stage).await.is_empty());
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_not_rolled_back_to_one_that_never_collected() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, (0..ACCOUNTS).map(|n| format!("trap-{n}")), |_| {}).await;
        install(&stage, "well_behaved").await;
        let worse = install(&stage, "worse").await;
        let report = stage.host.run(&request(date()), &|_| {}).await.expect("the run ends");
        assert_eq!(report.run.counts.failed, ACCOUNTS as u64);
        let (state, reason) = state_of(&store, worse).await;
        assert_eq!((state, active(&store).await.digest), (ReleaseState::Granted, worse));
        assert!(reason.contains("trapped for 400 of 400"), "it is noted: {reason}");
        assert!(rolled_back(&stage).await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hosts_that_decide_at_once_one_rolls_back() {
    each_database(async |store: Store, url: &str| {
        let config = |config: &mut backline::config::Config| config.rollback.enabled = false;
        let stage = stage(url, every_tenth("trap", ACCOUNTS), config).await;
        let good = install(&stage, "well_behaved").await;
        stage.host.run(&request(date()), &|_| {}).await.expect("the run ends");
        stage.set_date(tomorrow());
        let worse = install(&stage, "worse").await;
        let report = stage.host.run(&request(tomorrow()), &|_| {}).await.expect("the run ends");
        assert_eq!(report.run.counts.failed, 40, "if disabled, a rollback is only suggested");
        assert_eq!(active(&store).await.digest, worse);
        assert!(state_of(&store, worse).await.1.contains("trapped"));

        let one = stage.another_host(|config| config.rollback.enabled = true).await;
        let other = stage.another_host(|config| config.rollback.enabled = true).await;
        let (first, second) = tokio::join!(one.releases().review(), other.releases().review());
        let both = [first.expect("judged"), second.expect("judged")];
        assert_eq!(both.iter().map(|judged| judged.rolled_back.len()).sum::<usize>(), 1);
        assert_eq!(both.iter().flat_map(|judged| &judged.rolled_back).map(|back| back.accounts).sum::<u64>(), 40);
        assert_eq!(active(&store).await.digest, good);
        assert_eq!(rolled_back(&stage).await.len(), 1);
        let batches = backline_store::BatchFilter { run: Some(report.run.id), ..Default::default() };
        let open = store.batches_list(&Scope::all_tenants(), &batches).await.expect("batches are read");
        assert_eq!(open.iter().map(|batch| batch.accounts).sum::<u64>(), 40, "no account is planned twice");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_can_roll_back_only_to_an_existing_release() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, every_tenth("trap", 20), |_| {}).await;
        let good = install(&stage, "well_behaved").await;
        let guest = platform("guest");
        let refused =
            stage.host.releases().roll_back(&guest, "no reason").await.expect_err("there is no previous release");
        assert!(refused.to_string().contains("no other release"), "{refused}");
        let worse = install(&stage, "worse").await;
        let report = stage.host.run(&request(date()), &|_| {}).await.expect("the run ends");
        assert_eq!(report.run.counts.failed, 2, "20 accounts are too few for a decision");
        let seen = active(&store).await;
        let back = stage.host.releases().roll_back(&guest, "the numbers look wrong").await.expect("rolled back");
        // As when a button is clicked twice: the one that collects now stays.
        stage.host.releases().roll_back_from(&seen, "once more").await.expect_err("it is not active any more");
        assert_eq!(active(&store).await.digest, good);
        assert_eq!((back.from, back.to, back.accounts), (worse, good, 2));
        assert_eq!(state_of(&store, worse).await, (ReleaseState::Withdrawn, "the numbers look wrong".to_owned()));
        let run =
            store.run_get(&Scope::all_tenants(), report.run.id).await.expect("runs are read").expect("the run exists");
        assert_eq!((run.status, run.finished_at), (RunStatus::Running, None), "the run continues");
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        until(WAIT_MAX, "the rest is collected", async || {
            let run = store
                .run_get(&Scope::all_tenants(), report.run.id)
                .await
                .expect("runs are read")
                .expect("the run exists");
            (run.counts.collected == 20 && run.status == RunStatus::Success).then_some(())
        })
        .await;
        service.stop().await;
        stage.host.releases().roll_back(&guest, "once more").await.expect_err("the other one is withdrawn");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_watched_for_a_limited_time_and_old_tallies_are_removed() {
    each_database(async |store: Store, url: &str| {
        let (stage, _, worse) = on_the_second_day(url, "trap").await;
        let activated = stage.host.clock().now();
        stage.set_time(activated + TimeDelta::hours(49));
        let later = tomorrow() + Days::new(2);
        let report = stage.host.run(&request(later), &|_| {}).await.expect("the run ends");
        assert_eq!(report.run.counts.failed, 40);
        assert_eq!(active(&store).await.digest, worse, "it was activated more than two days ago");
        let past = Past::by(activated, activated).expect("it is past");
        let removed = store.tallies_trim(past).await.expect("trimmed");
        assert_eq!(removed, 8, "the first day's batches of 50");
        let kept = store.release_tally_get(worse, activated, None).await.expect("tallies are read");
        assert_eq!(kept.accounts, 400);
    })
    .await;
}
