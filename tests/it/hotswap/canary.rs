//! Tests of canaries: a release first collects a fixed share of the accounts and is compared with the others.

use std::collections::BTreeSet;
use std::time::Duration;

use backline_model::{AccountId, ReleaseState, RunStatus, SwapCause};
use backline_rules::plan::is_canarys;
use backline_store::{Scope, Store};
use chrono::{Days, TimeDelta};

use super::guest::{active, date, every_tenth, install, request, rolled_back, rows, stage, state_of};
use crate::support::components::guest;
use crate::support::database::each_database;
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, platform};
use crate::support::variants::variant_of;

const ACCOUNTS: usize = 400;

/// The accounts that were collected with a release on a date.
async fn collected_with(
    stage: &Stage,
    date: chrono::NaiveDate,
    release: backline_model::Digest,
) -> BTreeSet<AccountId> {
    let rows = rows(stage.host.store(), date).await;
    assert_eq!(rows.len(), ACCOUNTS);
    rows.values().filter(|row| row.release == release).map(|row| row.account_id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_accounts_every_day_then_all_of_them() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, every_tenth("trap", ACCOUNTS), |_| {}).await;
        let next = stage.host.install(&variant_of(&guest("well_behaved"), "1.2.0", |_| {})).await.expect("installed");
        // Installing activates, so this older version becomes the active release.
        let good = install(&stage, "well_behaved").await;
        let canary =
            stage.host.releases().start_canary(next.digest, 2_000, Some(Duration::from_secs(36 * 3_600))).await;
        let canary = canary.expect("it starts");
        assert_eq!(canary.promote_at, Some(stage.host.clock().now() + TimeDelta::hours(36)));
        stage.host.run(&request(date()), &|_| {}).await.expect("the run ends");
        let share = collected_with(&stage, date(), next.digest).await;
        let meant = rows(&store, date()).await;
        let meant: BTreeSet<AccountId> =
            meant.values().map(|row| row.account_id).filter(|account| is_canarys(*account, 2_000)).collect();
        assert_eq!(share, meant, "exactly the accounts of the share");
        assert!((40..=120).contains(&share.len()), "{} of 400 are about a fifth", share.len());

        stage.set_date(date() + Days::new(1));
        stage.host.run(&request(date() + Days::new(1)), &|_| {}).await.expect("the run ends");
        assert_eq!(collected_with(&stage, date() + Days::new(1), next.digest).await, share);
        assert_eq!(active(&store).await.digest, good, "the canary is not over yet");

        stage.set_date(date() + Days::new(2));
        let judged = stage.host.releases().review().await.expect("judged");
        assert_eq!(judged.promoted, [next.digest]);
        assert_eq!(active(&store).await.digest, next.digest);
        assert!(store.canaries_list().await.expect("canaries are read").is_empty());
        let swaps = store.swaps_list(Some(&platform("guest")), 1).await.expect("swaps are read");
        assert_eq!((swaps[0].cause, swaps[0].before), (SwapCause::Promoted, Some(good)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worse_canary_ends_and_its_accounts_are_collected_by_the_active_release() {
    each_database(async |store: Store, url: &str| {
        let stage = stage(url, every_tenth("trap", ACCOUNTS), |_| {}).await;
        let worse = install(&stage, "worse").await;
        let good = install(&stage, "well_behaved").await;
        // Half of the accounts, so that about twenty of two hundred trap.
        stage.host.releases().start_canary(worse, 5_000, None).await.expect("it starts");
        let report = stage.host.run(&request(date()), &|_| {}).await.expect("the run ends");
        assert_eq!((report.run.status, report.run.counts.collected), (RunStatus::Success, ACCOUNTS as u64));
        let share = collected_with(&stage, date(), worse).await;
        assert!(!share.is_empty() && share.iter().all(|account| is_canarys(*account, 5_000)));
        assert_eq!(active(&store).await.digest, good);
        assert!(store.canaries_list().await.expect("canaries are read").is_empty());
        assert_eq!(state_of(&store, worse).await.0, ReleaseState::Withdrawn);
        let events = rolled_back(&stage).await;
        assert_eq!((events.len(), &events[0].data["canary"]), (1, &serde_json::json!(true)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_canary_collects_nothing_and_an_invalid_canary_is_refused() {
    each_database(async |_: Store, url: &str| {
        let stage = stage(url, every_tenth("trap", ACCOUNTS), |_| {}).await;
        let worse = install(&stage, "worse").await;
        let good = install(&stage, "well_behaved").await;
        for share in [0, 10_000, 20_000] {
            let refused = stage.host.releases().start_canary(worse, share, None).await.expect_err("refused");
            assert!(refused.to_string().contains("%"), "{refused}");
        }
        let refused = stage.host.releases().start_canary(good, 100, None).await.expect_err("it is active");
        assert!(refused.to_string().contains("already"), "{refused}");
        stage.host.releases().start_canary(worse, 5_000, None).await.expect("it starts");
        let run = super::guest::planned(&stage.host, date()).await;
        assert!(stage.host.releases().stop_canary(&platform("guest")).await.expect("ended"));
        assert!(!stage.host.releases().stop_canary(&platform("guest")).await.expect("there is none"));
        // These batches were planned for the canary but are collected by the active release.
        let report = stage.host.run(&request(date()), &|_| {}).await.expect("the run ends");
        assert_eq!(report.run.counts.collected, ACCOUNTS as u64);
        let service = backline::pipeline::service::Service::start(stage.host.clone()).await.expect("it starts");
        crate::support::fleet::until(Duration::from_secs(120), "the planned run is done", async || {
            let run = stage
                .host
                .store()
                .run_get(&Scope::all_tenants(), run.id)
                .await
                .expect("runs are read")
                .expect("it exists");
            (run.status == RunStatus::Success).then_some(())
        })
        .await;
        service.stop().await;
        assert_eq!(collected_with(&stage, date(), good).await.len(), ACCOUNTS);
    })
    .await;
}
