//! Tests of shadow runs: they show what a release would change, and write nothing.

use backline::pipeline::ShadowRequest;
use backline_model::FailureClass;
use backline_simulator::SimulatorConfig;
use backline_store::{MetricsFilter, Scope, Store};
use chrono::Days;
use serde_json::json;
use sqlx::{AnyPool, AssertSqlSafe, Row as _};

use super::guest::{date, install, request, stage};
use crate::support::database::each_database;
use crate::support::host::HostExt as _;
use crate::support::stage::Stage;
use crate::support::variants::{replace, variant};

/// All tables that a shadow run could write to.
const TABLES: [&str; 16] = [
    "artists",
    "accounts",
    "releases",
    "compiled",
    "runs",
    "batches",
    "batch_accounts",
    "collection_outcomes",
    "metrics",
    "growth",
    "documents",
    "quarantine",
    "account_state",
    "events",
    "release_batches",
    "plugin_logs",
];

async fn counts(pool: &AnyPool) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in TABLES {
        let statement = AssertSqlSafe(format!("SELECT COUNT(*) AS n FROM {table}"));
        counts.push(sqlx::query(statement).fetch_one(pool).await.expect("counted").get("n"));
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_expected_differences_are_found_and_nothing_is_written() {
    each_database(async |store: Store, url: &str| {
        let planted = ["hide-0", "minus-0", "minus-1", "more-0", "unread-0"].map(str::to_owned).into_iter();
        let stage = stage(url, planted.chain((0..60).map(|n| format!("account-{n}"))), |_| {}).await;
        let worse = install(&stage, "worse").await;
        install(&stage, "well_behaved").await;
        stage.host.run(&request(date()), &|_| {}).await.expect("the run ends");
        let pool = AnyPool::connect(url).await.expect("connected");
        let before = counts(&pool).await;

        let release = store.release_get(worse).await.expect("releases are read").expect("it is there");
        let all = ShadowRequest { documents: 200, fetch: 0 };
        let report = stage.host.conformance().shadow(&release, all, &|_, _| {}).await.expect("compared");
        let stored = &report.stored;
        assert_eq!((stored.accounts, stored.compared), (65, 64));
        assert_eq!(stored.failed, [(FailureClass::Trapped, 1)].into());
        let followers = &stored.metrics["followers"];
        assert_eq!(
            (followers.equal, followers.changed, followers.lost, followers.newly_rejected, followers.gained),
            (60, 1, 1, 2, 0)
        );
        let largest = followers.largest.as_ref().expect("one has changed");
        assert_eq!((largest.before.as_i64(), largest.after.as_i64()), (Some(6), Some(7)));
        assert!(followers.examples.contains_key("lost") && followers.examples.contains_key("newly_rejected"));

        let some =
            stage.host.conformance().shadow(&release, ShadowRequest { documents: 10, fetch: 5 }, &|_, _| {}).await;
        let some = some.expect("compared");
        assert_eq!((some.stored.accounts, some.fetched.expect("asked for").accounts), (10, 5));
        assert_eq!(counts(&pool).await, before, "{TABLES:?}");
        pool.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_fetched_for_a_past_date_is_compared_by_its_history_alone() {
    each_database(async |store: Store, url: &str| {
        let simulator = SimulatorConfig { artists: 3, date: date(), ..SimulatorConfig::default() };
        let stage = Stage::bare(url, simulator, |config| config.schedules.clear()).await;
        let with_history = |version: &str| {
            variant("spotify", version, |manifest| {
                replace(manifest, "name = \"popularity\"\n", "name = \"popularity\"\nhistory = true\n");
            })
        };
        stage.host.install(&with_history("9.0.0")).await.expect("it is installed");
        stage.import_some(&["spotify"], |_| backline_model::Tenant::default()).await;
        stage.set_date(date() + Days::new(2));
        let report = stage.run_some(date(), &["spotify"]).await;
        assert!(report.run.counts.collected > 0, "{report:?}");
        let rows = store.metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.expect("rows");
        assert!(rows.iter().all(|row| row.metric_date == date() && !row.values.contains_key("followers")), "{rows:?}");

        // The same code under another version makes the same of the documents; one without history would lose them.
        let known = rows.iter().filter(|row| row.values.contains_key("popularity")).count() as u64;
        assert!(known > 0, "{rows:?}");
        for (component, lost) in [(with_history("9.0.1"), 0), (variant("spotify", "9.0.2", |_| {}), known)] {
            let other = stage.host.install(&component).await.expect("it is installed").digest;
            let release = store.release_get(other).await.expect("releases are read").expect("it is there");
            let all = ShadowRequest { documents: 10, fetch: 0 };
            let report = stage.host.conformance().shadow(&release, all, &|_, _| {}).await.expect("compared");
            let gained: u64 = report.stored.metrics.values().map(|metric| metric.gained + metric.changed).sum();
            let popularity = &report.stored.metrics["popularity"];
            assert_eq!((gained, popularity.lost), (0, lost), "{report:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_shows_which_accounts_a_release_can_reach() {
    each_database(async |store: Store, url: &str| {
        let ids = ["trap-0", "account-1", "unread-2"].map(str::to_owned).into_iter();
        let stage = stage(url, ids, |_| {}).await;
        let worse = install(&stage, "worse").await;
        let good = install(&stage, "well_behaved").await;
        stage.host.run(&request(date()), &|_| {}).await.expect("the run ends");
        let release = async |digest| store.release_get(digest).await.expect("read").expect("it is there");
        let report = stage.host.conformance().test(&release(good).await, 20, 10).await.expect("tried");
        assert!(report.passed() && report.documents == 3 && report.checks.len() == 3, "{report:?}");
        let report = stage.host.conformance().test(&release(worse).await, 20, 10).await.expect("tried");
        assert!(!report.passed());
        assert_eq!(report.not_normalised.len(), 1);
        let mut said: Vec<_> =
            report.checks.iter().map(|check| json!([check.platform_id, check.name, check.problem.is_some()])).collect();
        said.sort_by_key(ToString::to_string);
        assert_eq!(
            said,
            [
                json!(["account-1", "account-1", false]),
                json!(["trap-0", null, true]),
                json!(["unread-2", "unread-2", false])
            ]
        );
    })
    .await;
}
