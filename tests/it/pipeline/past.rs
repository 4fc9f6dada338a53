//! A backfill of a connector that takes several dates at once, on both databases.

use backline::pipeline::collection::report::RunRequest;
use backline_model::event::types::METRICS_COLLECTED;
use backline_model::{MetricsRow, RunId};
use backline_store::{MetricsFilter, PluginLogFilter, Scope, Store};
use chrono::{Datelike as _, TimeDelta};

use super::{date, integer, small};
use crate::support::components::guest;
use crate::support::database::each_database;
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, noon, platform};
use crate::support::variants::{replace, variant_of};

const GAUGE: &str = "kind = \"gauge\"";

/// A stage with accounts of the guest that takes several dates at once, one of them with this id.
async fn stage(url: &str, accounts: u32, special: &str) -> Stage {
    let stage = Stage::bare(url, small(1), |config| {
        config.service.poll_ms = 20;
        config.schedules.clear();
    })
    .await;
    let component = variant_of(&guest("named"), "1.0.1", |manifest| {
        replace(manifest, GAUGE, &format!("{GAUGE}\nhistory = true"));
    });
    stage.host.install(&component).await.expect("it is installed");
    stage.import_for_guest("guest", accounts, special).await;
    stage
}

/// Collects a day of November, and returns the run.
async fn run(stage: &Stage, trigger: &str, day: u32) -> (RunId, u64) {
    let request = RunRequest {
        trigger: trigger.to_owned(),
        date: Some(date(day)),
        platforms: vec![platform("guest")],
        ..RunRequest::default()
    };
    let report = stage.host.run(&request, &|_| {}).await.expect("the run ends");
    (report.run.id, report.run.counts.collected)
}

/// The rows in the order of their dates.
async fn rows(store: &Store) -> Vec<MetricsRow> {
    let mut rows = store.metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.expect("rows are read");
    rows.sort_by_key(|row| (row.metric_date, row.account_id));
    rows
}

async fn days(store: &Store) -> Vec<u32> {
    rows(store).await.iter().map(|row| row.metric_date.day()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_dates_of_a_backfill_come_with_the_run_of_a_newer_one() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, 2, "b").await;
        let (first, collected) = run(&stage, "backfill since 2026-11-12", 15).await;
        assert_eq!(collected, 2, "each account ends once");
        assert_eq!(days(&store).await, [12, 12, 13, 13, 14, 14, 15, 15]);
        for row in rows(&store).await {
            let until = row.window.until.timestamp();
            assert_eq!(integer(&row, "followers"), Some(until / 86_400), "the number of its own date: {row:?}");
            assert_eq!((row.run_id, row.wit_version.as_str()), (first, "1.1.0"));
            let document =
                store.document_get(&Scope::all_tenants(), row.document_id).await.expect("documents are read");
            assert!(document.expect("each row has one").ends_with(&format!("\"until\":{until}}}")), "{row:?}");
        }
        let events = stage.events().await;
        let told = events.iter().filter(|event| event.kind == METRICS_COLLECTED).count();
        assert_eq!(told, 8, "one for each row");
        // The dates that are told already are not asked for again.
        stage.set_time(noon(date(18)) + TimeDelta::hours(1));
        let (second, collected) = run(&stage, "backfill since 2026-11-12", 14).await;
        assert_eq!(collected, 2);
        let again: Vec<u32> =
            rows(&store).await.iter().filter(|row| row.run_id == second).map(|row| row.metric_date.day()).collect();
        assert_eq!(again, [14, 14]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_date_that_did_not_come_is_collected_by_its_own_run() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, 1, "leaves a date out").await;
        run(&stage, "backfill since 2026-11-12", 15).await;
        assert_eq!(days(&store).await, [13, 14, 15], "it is neither missing nor zero");
        run(&stage, "backfill since 2026-11-12", 12).await;
        assert_eq!(days(&store).await, [12, 13, 14, 15]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_with_past_dates_keeps_no_batch_from_its_own() {
    // A call without an answer is made again in the same batch, an account without a document is asked for again.
    for (does, tried_once) in [("date twice", true), ("fails with dates", false)] {
        each_database(async |store: Store, url: &str| {
            let stage = stage(url, 1, does).await;
            let (_, collected) = run(&stage, "backfill since 2026-11-12", 15).await;
            assert_eq!((collected, days(&store).await), (1, vec![15]), "{does}");
            let lines =
                store.plugin_logs_list(&Scope::all_tenants(), &PluginLogFilter::default()).await.expect("lines");
            let told = lines.iter().filter(|line| line.call.as_deref() == Some("host"));
            let told: Vec<&str> = told.map(|line| line.message.as_str()).collect();
            assert_eq!(told.len(), usize::from(tried_once), "{told:?}");
            assert!(told.iter().all(|line| line.contains("the same past date twice")), "{told:?}");
            // The same goes for the next older date.
            run(&stage, "backfill since 2026-11-12", 14).await;
            assert_eq!(days(&store).await, [14, 15], "{does}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_runs_ask_for_their_own_date_alone() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, 2, "b").await;
        run(&stage, "backfill", 15).await;
        assert_eq!(days(&store).await, [15, 15]);
    })
    .await;
}
