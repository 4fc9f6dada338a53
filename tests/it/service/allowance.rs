//! Tests of a budget that covers only half of a run.

use backline_store::{BatchFilter, Scope};
use std::time::Duration;

use backline::pipeline::collection::report::{AllowanceOf, RunRequest};
use backline_model::{BatchState, RunStatus, Weights};
use backline_simulator::{SimulatorConfig, Trait};
use chrono::{DateTime, Utc};

use super::{serve, settled};
use crate::support::components;
use crate::support::database::each_database;
use crate::support::fleet::until;
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, platform};

/// Maximum wait on a slow machine. Nothing here should take more than a few seconds.
const SOON: Duration = Duration::from_secs(120);

/// Number of channels, each of which takes one unit.
const CHANNELS: u32 = 200;

/// A stage whose YouTube has this many units a day, with every channel that has no uploads: each takes one unit, since
/// one tenant per account gives batches of one account.
async fn tight(url: &str, simulator: SimulatorConfig, units: u64) -> Stage {
    let stage = Stage::installed(url, simulator, |config| {
        config.schedules.clear();
        config.service.poll_ms = 20;
        // One batch at a time, so that no batch reserves units that another one needs.
        config.collection.concurrency = 1;
        config.collection.concurrency_max = 1;
    })
    .await;
    let quota = [("units".to_owned(), units)].into();
    stage.host.install_with(&components::plugin("youtube"), &quota).await.expect("the quota is granted");
    let world = stage.simulator.world();
    let mut silent: Vec<u32> = (0..world.artists()).collect();
    silent.retain(|index| world.trait_of(*index) == Some(Trait::NoUploads));
    assert_eq!(silent.len(), world.artists() as usize / 25, "one of each 25 has none");
    stage.import_of(&silent, &["youtube"], |index| format!("tenant-{index}")).await;
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_beyond_the_budget_are_collected_after_its_reset() {
    each_database(async |_, url| {
        let simulator = SimulatorConfig { artists: 25 * CHANNELS, youtube_quota: 100, ..SimulatorConfig::default() };
        let start = simulator.date;
        let stage = tight(url, simulator, 100).await;

        let service = serve(stage.another_host(|_| {}).await).await;
        let run = settled(&stage, SOON).await;
        assert_eq!((run.counts.collected, run.counts.deferred, run.counts.failed), (100, 100, 0), "{run:?}");
        assert_eq!(run.status, RunStatus::Deferred);
        assert_eq!(stage.simulator.counts().units("youtube"), 100);
        let midnight_pacific: DateTime<Utc> =
            (start + chrono::Days::new(1)).and_hms_opt(8, 0, 0).expect("a time").and_utc();
        let outcomes = stage
            .host
            .store()
            .run_outcomes_list(&Scope::all_tenants(), run.id, None, 1_000)
            .await
            .expect("outcomes are read");
        for outcome in &outcomes {
            if let backline_model::Outcome::Deferred { until, .. } = &outcome.outcome {
                assert_eq!(*until, midnight_pacific);
            }
            assert_eq!(outcome.metric_date, start);
        }

        stage.simulator.set_now(midnight_pacific + chrono::TimeDelta::seconds(1));
        stage.set_time(midnight_pacific + chrono::TimeDelta::seconds(1));
        let run = until(SOON, "the rest to be collected", async || {
            let run = stage
                .host
                .store()
                .run_get(&Scope::all_tenants(), run.id)
                .await
                .expect("the run is read")
                .expect("it is there");
            (run.status == RunStatus::Success).then_some(run)
        })
        .await;
        assert_eq!((run.counts.collected, run.counts.deferred, run.counts.failed), (200, 0, 0), "{run:?}");
        let outcomes = stage
            .host
            .store()
            .run_outcomes_list(&Scope::all_tenants(), run.id, None, 1_000)
            .await
            .expect("outcomes are read");
        // For many artists the date ended more than six hours before the reset: their numbers are of the next one.
        let next = start + chrono::Days::new(1);
        for outcome in &outcomes {
            assert_eq!(outcome.metric_date == next, outcome.note.is_some(), "{outcome:?}");
            assert!([start, next].contains(&outcome.metric_date), "{outcome:?}");
        }
        assert!(outcomes.iter().filter(|outcome| outcome.metric_date == start).count() >= 100, "as planned");
        assert!(outcomes.iter().any(|outcome| outcome.metric_date == next), "under the date of the observation");
        service.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_what_is_left_and_what_is_released_spends_no_more() {
    each_database(async |store, url| {
        let simulator = SimulatorConfig { artists: 150, ..SimulatorConfig::default() };
        let start = simulator.date;
        let stage = tight(url, simulator, 4).await;
        let allowance = async || {
            let request = RunRequest { platforms: vec![platform("youtube")], ..RunRequest::default() };
            let plan = stage.host.planner().plan(&request).await.expect("planned");
            let mut allowances = plan.platforms[0].allowances.iter();
            allowances.find(|allowance| allowance.budget == "units").unwrap_or_else(|| panic!("{plan:?}")).clone()
        };
        let before = allowance().await;
        assert_eq!((before.budget.as_str(), before.of, before.limit), ("units", AllowanceOf::App, 4));
        assert_eq!((before.left, before.back_at), (Some(4), None));
        assert!(before.needed >= 6, "{before:?}");

        let report = stage.run_some(start, &["youtube"]).await;
        assert_eq!((report.run.counts.collected, report.run.counts.deferred), (4, 2), "{report:?}");
        assert_eq!(stage.simulator.counts().host("youtube.googleapis.com"), 4);
        assert_eq!(report.platforms[0].requests, 4, "what the allowance refused was never sent");
        let midnight_pacific = (start + chrono::Days::new(1)).and_hms_opt(8, 0, 0).expect("a time").and_utc();
        let after = allowance().await;
        assert_eq!((after.left, after.back_at), (Some(0), Some(midnight_pacific)));

        // Work that is released is due at once, and the ledger still decides.
        let (all, now) = (Scope::all_tenants(), stage.host.clock().now());
        let deferred = BatchFilter { run: Some(report.run.id), ..BatchFilter::default() };
        let released = store.deferred_batches_release(&all, &deferred, &Weights::default(), now).await;
        assert_eq!(released.expect("released").accounts, 2);
        let service = serve(stage.another_host(|_| {}).await).await;
        let waiting = BatchFilter { state: Some(BatchState::Deferred), ..deferred };
        until(SOON, "the rest to be deferred again", async || {
            let waiting = store.batches_list(&all, &waiting).await.expect("batches are read");
            (waiting.len() == 2 && waiting.iter().all(|batch| batch.attempts == 0)).then_some(())
        })
        .await;
        service.stop().await;
        assert_eq!(stage.simulator.counts().units("youtube"), 4, "the allowance holds");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_account_is_collected_once_before_any_is_collected_twice() {
    each_database(async |store, url| {
        let simulator = SimulatorConfig { artists: 150, ..SimulatorConfig::default() };
        let start = simulator.date;
        let stage = tight(url, simulator, 2).await;
        for (day, expected) in [2, 4, 6].into_iter().enumerate() {
            let date = start + chrono::Days::new(day as u64);
            stage.set_date(date);
            let report = stage.run_some(date, &["youtube"]).await;
            assert_eq!(report.run.counts.collected, 2, "{report:?}");
            let (all, now) = (Scope::all_tenants(), stage.host.clock().now());
            let known = store.candidates_list(&all, &platform("youtube"), None, None, 100, now).await;
            let known = known.expect("they are read");
            let collected = known.iter().filter(|candidate| candidate.last_collected.is_some()).count();
            assert_eq!(collected, expected, "day {day}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_hosts_together_spend_no_more_than_the_budget() {
    each_database(async |store, url| {
        if store.kind() == backline_store::DatabaseKind::Sqlite {
            return;
        }
        let quota = 333;
        // The simulator's quota is higher, so Backline's own limit applies.
        let simulator = SimulatorConfig { artists: 2_000, youtube_quota: 1_000_000, ..SimulatorConfig::default() };
        let stage = Stage::installed(url, simulator, |config| {
            config.schedules.clear();
            config.service.poll_ms = 20;
        })
        .await;
        let granted = [("units".to_owned(), quota)].into();
        stage.host.install_with(&components::plugin("youtube"), &granted).await.expect("the quota is granted");
        let everybody: Vec<u32> = (0..2_000).collect();
        stage.import_of(&everybody, &["youtube"], |index| format!("tenant-{}", index / 10)).await;
        let mut services = Vec::new();
        for _ in 0..10 {
            services.push(serve(stage.another_host(|_| {}).await).await);
        }
        let run = settled(&stage, SOON).await;
        for service in services {
            service.stop().await;
        }
        assert_eq!((run.counts.failed, run.counts.collected + run.counts.deferred), (0, 2_000), "{run:?}");
        assert!(run.counts.collected > 0 && run.counts.deferred > 0, "{run:?}");
        let spent = stage.simulator.counts().units("youtube");
        assert!(spent <= quota, "{spent} of {quota} units");
        assert!(spent > quota / 2, "{spent} of {quota} units: another host gets what one does not need");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_the_application_counts_for_all_accounts_and_may_be_raised() {
    each_database(async |_, url| {
        let simulator = SimulatorConfig { artists: 30, ..SimulatorConfig::default() };
        let stage = Stage::bare(url, simulator, |config| config.schedules.clear()).await;
        stage.host.install(&components::plugin("tiktok")).await.expect("installed");
        stage.import_of(&(0..30).collect::<Vec<u32>>(), &["tiktok"], |_| "default".to_owned()).await;
        let allowances = async || {
            let request = RunRequest { platforms: vec![platform("tiktok")], ..RunRequest::default() };
            let plan = stage.host.planner().plan(&request).await.expect("planned").platforms.remove(0);
            let of = |budget: &str| {
                let found = plan.allowances.iter().find(|found| found.budget == budget).expect("is declared");
                assert_eq!(found.needed, plan.forecast.accounts, "{budget}");
                (found.of, found.limit)
            };
            ["user_info", "video_list", "user_info_of_account", "video_list_of_account"].map(of)
        };
        let (app, own) = ((AllowanceOf::Platform, 600), (AllowanceOf::Account, 600));
        assert_eq!(allowances().await, [app, app, own, own]);
        stage.install(&["tiktok"]).await;
        let raised = (AllowanceOf::Platform, 1_000_000);
        assert_eq!(allowances().await, [raised, raised, own, own], "each account keeps its limit");
    })
    .await;
}
