//! What connectors wrote, by release, batch and account.

use backline_model::{Batch, BatchId, SwapCause};
use backline_store::{BatchResult, PluginLog, PluginLogFilter, Scope};

use super::fixtures::{add_batches, batch, day, followers, lease, now, people, release, run, stored};
use crate::support::database::each_database;

#[tokio::test]
async fn lines_are_found_by_what_they_belong_to() {
    each_database(async |store, _| {
        store.release_save(&release(), b"component").await.unwrap();
        store.release_activate(release().digest, SwapCause::Activated, now()).await.unwrap();
        let accounts = people(&store, 2).await;
        let mut ids = Vec::new();
        for (n, account) in accounts.iter().enumerate() {
            let planned = batch(1, &run(1), &[account], day("2026-11-22"));
            let planned = Batch { id: BatchId::generate(), ..planned };
            ids.push(planned.id);
            add_batches(&store, &[planned], now()).await;
            let line = |call: &str, what: &str| PluginLog {
                call: call.to_owned(),
                level: "info".to_owned(),
                message: format!("{what} of {n}"),
            };
            let logs = vec![line("fetch", "first"), line("normalize", "last")];
            let accounts = vec![stored(followers(account, day("2026-11-22"), 5))];
            let result = BatchResult { accounts, logs, ..BatchResult::default() };
            store.batch_complete(&lease(&store).await, result, now()).await.unwrap();
        }
        let found = async |filter: PluginLogFilter| {
            let lines = store.plugin_logs_list(&Scope::all_tenants(), &filter).await.unwrap();
            lines.into_iter().map(|line| line.message).collect::<Vec<_>>()
        };
        let all = store.plugin_logs_list(&Scope::all_tenants(), &PluginLogFilter::default()).await.unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!((all[0].release, all[0].batch, all[0].run), (Some(release().digest), Some(ids[0]), run(1).id));
        assert_eq!(
            (all[0].at, all[0].call.as_deref(), all[1].call.as_deref()),
            (now(), Some("fetch"), Some("normalize"))
        );
        assert_eq!(all[0].version, Some(release().manifest.connector.version.to_string()));
        let second = ["first of 1", "last of 1"];
        assert_eq!(found(PluginLogFilter { batch: Some(ids[1]), ..Default::default() }).await, second);
        assert_eq!(found(PluginLogFilter { account: Some(accounts[1].id), ..Default::default() }).await, second);
        assert_eq!(found(PluginLogFilter { after: all[1].seq, ..Default::default() }).await, second);
        assert_eq!(found(PluginLogFilter { limit: Some(2), ..Default::default() }).await, second, "the latest");
        assert_eq!(found(PluginLogFilter { release: Some(release().digest), ..Default::default() }).await.len(), 4);
        let other = backline_model::Digest::of(b"another release");
        assert!(found(PluginLogFilter { release: Some(other), ..Default::default() }).await.is_empty());
        let other = backline_model::Platform::new("another").unwrap();
        assert!(found(PluginLogFilter { platform: Some(other), ..Default::default() }).await.is_empty());
    })
    .await;
}
