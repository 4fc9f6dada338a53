//! Test of fair shares: a tenant with 20,000 accounts and one with 20.

use std::time::Duration;

use backline_simulator::SimulatorConfig;
use sqlx::{Connection as _, PgConnection};

use super::serve;
use crate::support::database::each_database;
use crate::support::fleet::until;
use crate::support::stage::Stage;
use crate::support::tables::number;

const LARGE: u32 = 20_000;
const SMALL: u32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_tenant_does_not_wait_for_a_large_one() {
    each_database(async |store, url| {
        if store.kind() == backline_store::DatabaseKind::Sqlite {
            return;
        }
        let simulator =
            SimulatorConfig { artists: LARGE + SMALL, youtube_quota: 1_000_000, ..SimulatorConfig::default() };
        let stage = Stage::installed(url, simulator, |config| {
            config.schedules.clear();
            config.service.poll_ms = 20;
            config.service.stop_deadline_ms = 1_000;
        })
        .await;
        let everybody: Vec<u32> = (0..LARGE + SMALL).collect();
        // The small tenant's artists come last in every listing of artists.
        stage
            .import_of(&everybody, &["youtube"], |index| {
                if index < LARGE { "a-large".to_owned() } else { "z-small".to_owned() }
            })
            .await;
        let mut database = PgConnection::connect(url).await.expect("the database answers");
        let service = serve(stage.another_host(|_| {}).await).await;
        until(Duration::from_secs(300), "the small tenant to be collected", async || {
            let small = "SELECT COUNT(*) FROM outcomes_all o JOIN artists t ON t.id = o.artist_id
                 WHERE o.outcome = 'collected' AND t.tenant = 'z-small'";
            (number(&mut database, small).await == i64::from(SMALL)).then_some(())
        })
        .await;
        // By the order in which they were stored, however late the test looks.
        let before = "SELECT COUNT(*) FROM events e JOIN artists t ON t.id = e.artist_id
             WHERE e.type = 'metrics.collected' AND t.tenant = 'a-large' AND e.seq < (
                 SELECT MAX(s.seq) FROM events s JOIN artists a ON a.id = s.artist_id
                 WHERE s.type = 'metrics.collected' AND a.tenant = 'z-small')";
        let large = number(&mut database, before).await;
        assert!(large < i64::from(LARGE) / 20, "{large} accounts of the large tenant were collected before");
        service.stop().await;
    })
    .await;
}
