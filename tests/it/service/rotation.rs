//! Test of a host that is killed before it stores a new token, if the platform accepts no other token.

use std::time::Duration;

use backline_model::clock::Clock;
use backline_simulator::{Fault, FaultKind, SimulatorConfig};
use backline_store::DatabaseKind;
use sqlx::{Connection as _, PgConnection};

use super::settled;
use crate::support::database::each_database;
use crate::support::fleet::{Fleet, until};
use crate::support::stage::Stage;

/// Maximum wait on a slow machine.
const SOON: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_token_survives_the_host_that_received_it() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        let simulator = SimulatorConfig {
            artists: 1,
            date: Clock::system().now().date_naive(),
            tiktok_rotates: true,
            tiktok_grace_seconds: 0,
            // Time to lock the row while the request is in progress.
            faults: vec![Fault::once(FaultKind::Latency { ms: 8_000 }).on_path("/v2/oauth/token/")],
            ..SimulatorConfig::default()
        };
        let stage = Stage::installed(url, simulator, |config| {
            config.schedules.clear();
            config.collection.lease_ttl_ms = 2_000;
            config.service.leader_ttl_ms = 2_000;
            config.collection.attempts_max = 100;
        })
        .await;
        stage.import_of(&[0], &["tiktok"], |_| "default".to_owned()).await;
        let fleet = Fleet::of(&stage, |_| {});
        let mut other = PgConnection::connect(url).await.expect("the database answers");
        let mut host = fleet.start("host");
        until(SOON, "a request for a fresh token", async || {
            (stage.simulator.counts().operation("POST /v2/oauth/token/") > 0).then_some(())
        })
        .await;
        // From here on the token can't be saved.
        let mut lock = other.begin().await.expect("a transaction");
        sqlx::query("SELECT id FROM credentials WHERE account_id IS NOT NULL FOR UPDATE")
            .execute(&mut *lock)
            .await
            .expect("the row is locked");
        let journal = fleet.state_of("host").join("refreshes");
        until(SOON, "the token in the journal", async || {
            // Only files with the final name count: a file has another name while it is written.
            let mut files = std::fs::read_dir(&journal).ok()?.flatten();
            files.any(|entry| entry.path().extension().is_some_and(|extension| extension == "json")).then_some(())
        })
        .await;
        host.kill();
        lock.rollback().await.expect("the row is free");

        let _again = fleet.start("host");
        let run = settled(&stage, SOON).await;
        assert_eq!((run.counts.collected, run.counts.failed), (1, 0), "{run:?}");
        let counts = stage.simulator.counts();
        assert_eq!(counts.operation("POST /v2/oauth/token/"), 1, "the received token is used");
        let left = std::fs::read_dir(&journal).expect("the folder is there").count();
        assert_eq!(left, 0, "a saved token is removed from the journal");
    })
    .await;
}
