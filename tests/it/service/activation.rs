//! Tests that a change of an artist by other software leads to one first collection.

use std::time::Duration;

use backline_model::RunStatus;
use backline_simulator::SimulatorConfig;
use backline_store::{DatabaseKind, Scope};

use super::serve;
use crate::support::database::{each_database, write};
use crate::support::fleet::until;
use crate::support::stage::Stage;

/// Maximum wait on a slow machine.
const SOON: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artist_who_becomes_active_is_collected_once() {
    each_database(async |store, url| {
        let simulator = SimulatorConfig { artists: 3, ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulator, |config| {
            config.schedules.clear();
            // On PostgreSQL a notification triggers it, not the next poll.
            config.service.poll_ms = if store.kind() == DatabaseKind::Postgres { 600_000 } else { 50 };
        })
        .await;
        write(url, "UPDATE artists SET subscription_status = 'inactive'").await;
        write(url, "DELETE FROM activations").await;
        let service = serve(stage.another_host(|_| {}).await).await;

        let runs = async |number: usize| {
            until(SOON, "a run that has come to its end", async || {
                let runs = stage.host.store().runs_list(&Scope::all_tenants(), 10, None).await.expect("runs are read");
                (runs.len() >= number && runs[0].status == RunStatus::Success).then_some(runs)
            })
            .await
        };
        write(url, "UPDATE artists SET subscription_status = 'active'").await;
        let first = runs(1).await;
        assert_eq!((first.len(), first[0].counts.collected), (1, 15), "{first:?}");

        // This is no transition, so nothing follows. The next transition shows that.
        write(url, "UPDATE artists SET name = name || '!', updated_at = updated_at").await;
        write(url, "UPDATE accounts SET status = 'disabled' WHERE platform = 'tiktok'").await;
        write(url, "UPDATE accounts SET status = 'active' WHERE platform = 'tiktok'").await;
        let second = runs(2).await;
        assert_eq!(
            (second.len(), second[0].counts.collected),
            (2, 3),
            "only the accounts that became active again: {second:?}"
        );
        assert!(second[0].trigger.contains("activation"), "{second:?}");
        service.stop().await;
    })
    .await;
}
