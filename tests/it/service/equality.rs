//! Test that three hosts leave the same tables as one.

use std::time::Duration;

use backline_simulator::SimulatorConfig;

use super::{serve, settled};
use crate::support::database::each_database;
use crate::support::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hosts_store_what_one_stores() {
    let traces_of = std::sync::Mutex::new(Vec::new());
    for hosts in [1, 3] {
        each_database(async |store, url| {
            // SQLite allows one host only.
            if store.kind() == backline_store::DatabaseKind::Sqlite {
                return;
            }
            let simulator = SimulatorConfig { artists: 150, ..SimulatorConfig::default() };
            let stage = Stage::set(url, simulator, |config| {
                config.schedules.clear();
                config.service.poll_ms = 20;
            })
            .await;
            let mut services = Vec::new();
            for _ in 0..hosts {
                services.push(serve(stage.another_host(|_| {}).await).await);
            }
            let run = settled(&stage, Duration::from_secs(240)).await;
            assert_eq!((run.counts.planned, run.counts.collected), (750, 750), "{run:?}");
            for service in services {
                service.stop().await;
            }
            let traces = stage.traces().await;
            traces_of.lock().expect("a lock").push(traces);
        })
        .await;
    }
    let traces = traces_of.into_inner().expect("a lock");
    assert_eq!(traces.len(), 2);
    for table in ["metrics", "growth", "documents", "outcomes", "quarantine", "events"] {
        assert!(traces[0][table] == traces[1][table], "{table} differs");
    }
}
