//! Test that the same operations give the same data on both databases.

use std::cell::RefCell;

use backline_model::{DocumentId, MetricsRow, Outcome, SwapCause, Value};
use backline_store::{AccountFilter, ArtistFilter, BatchResult, EventCursor, MetricsFilter, Scope};
use uuid::Uuid;

use super::fixtures::{
    add_batches, batch, day, demo, event, lease, metric, now, people, release, result, row, run, stored,
};
use crate::support::database::each_database;

#[tokio::test]
async fn both_databases_return_the_same() {
    let answers: RefCell<Vec<Vec<String>>> = RefCell::default();
    each_database(async |store, _| {
        let accounts = people(&store, 5).await;
        store.release_save(&release(), b"component").await.unwrap();
        store.release_activate(release().digest, SwapCause::Activated, now()).await.unwrap();
        for (n, date) in ["2026-11-19", "2026-11-21", "2026-11-22"].into_iter().enumerate() {
            let all: Vec<_> = accounts.iter().collect();
            add_batches(&store, &[batch(n as u128, &run(1), &all, day(date))], now()).await;
            let results = accounts
                .iter()
                .enumerate()
                .map(|(index, account)| {
                    let id = DocumentId(Uuid::from_u128((n * 10 + index) as u128));
                    let mut row = MetricsRow { document_id: id, ..row(account, day(date)) };
                    row.values.insert(metric("ratio"), Value::Decimal(0.1 * index as f64 + n as f64));
                    let deferred = Outcome::Deferred { until: now(), message: "später".to_owned() };
                    let mut entry = if index == 3 && n == 1 { result(&row, deferred) } else { stored(row) };
                    entry.events.push(event((n * 10 + index) as u128, None));
                    entry
                })
                .collect();
            store
                .batch_complete(
                    &lease(&store).await,
                    BatchResult { accounts: results, ..BatchResult::default() },
                    now(),
                )
                .await
                .unwrap();
        }
        let mut held = store
            .batch_lease(&Scope::all_tenants(), None, None, "worker", now(), super::fixtures::TTL)
            .await
            .unwrap()
            .unwrap();
        held.batch.attempts += 1;
        let mut completion = store.completion_begin(&held, now()).await.unwrap();
        let past = completion.history_load(&[(accounts[3].id, day("2026-11-21"))]).await.unwrap();
        let events: Vec<_> = store
            .events_list(&Scope::all_tenants(), EventCursor::default(), 100)
            .await
            .unwrap()
            .into_iter()
            .filter(|(_, event)| event.kind != "connector.activated")
            .map(|(_, event)| event)
            .collect();
        let candidates = store.candidates_list(&Scope::all_tenants(), &demo(), None, None, 100, now()).await.unwrap();
        let answer = vec![
            format!("{:#?}", store.metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap()),
            format!("{:#?}", store.artists_list(&Scope::all_tenants(), &ArtistFilter::default()).await.unwrap()),
            format!("{:#?}", store.accounts_list(&Scope::all_tenants(), &AccountFilter::default()).await.unwrap()),
            format!("{candidates:#?}"),
            format!("{:#?}", store.releases_list().await.unwrap()),
            format!("{:#?}", store.run_outcomes_list(&Scope::all_tenants(), run(1).id, None, 100).await.unwrap()),
            format!("{:#?}", store.run_state_get(&Scope::all_tenants(), run(1).id).await.unwrap()),
            format!("{:#?}", store.run_details_get(&Scope::all_tenants(), run(1).id, false).await.unwrap()),
            format!("{:#?}", store.run_get(&Scope::all_tenants(), run(1).id).await.unwrap()),
            format!("{held:#?} {past:#?} {events:#?}"),
        ];
        drop(completion);
        answers.borrow_mut().push(answer);
    })
    .await;
    let [sqlite, postgres] = answers.into_inner().try_into().unwrap();
    assert!(sqlite[0].len() > 10_000);
    for (sqlite, postgres) in sqlite.iter().zip(&postgres) {
        assert_eq!(sqlite, postgres);
    }
}
