//! Tests of withheld values and the operator's decisions.

use backline_model::metric::names;
use backline_model::row::QuarantineStatus;
use backline_model::{Absence, DocumentId, GrowthRow, MetricsRow, Quarantined, Value};
use backline_store::{BatchResult, DatabaseKind, MetricsFilter, QuarantineFilter, Scope, Store, StoreError};
use chrono::TimeDelta;
use std::collections::BTreeMap;
use uuid::Uuid;

use super::fixtures::{add_batches, batch, day, followers, lease, metric, now, people, release, run, stored};
use crate::support::database::{each_database, latin_1_after, spoil};

fn held(n: u128, row: &MetricsRow, metric: &str, value: Value) -> Quarantined {
    Quarantined {
        id: Uuid::from_u128(0x9000_0000 + n),
        account_id: row.account_id,
        artist_id: row.artist_id,
        platform: row.platform.clone(),
        metric_date: row.metric_date,
        metric: metric.to_owned(),
        value,
        rule: "negative".to_owned(),
        release: release().digest,
        document_id: row.document_id,
        status: QuarantineStatus::Held,
        created_at: now(),
    }
}

async fn withhold(store: &Store, n: u128, row: MetricsRow, withheld: Vec<Quarantined>) {
    let account = super::fixtures::account(1);
    add_batches(store, &[batch(n, &run(1), &[&account], row.metric_date)], now()).await;
    let mut result = stored(MetricsRow { document_id: DocumentId::generate(), ..row });
    result.stored.as_mut().unwrap().withheld = withheld;
    store
        .batch_complete(&lease(store).await, BatchResult { accounts: vec![result], ..BatchResult::default() }, now())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_withheld_value_is_released_into_its_row_or_discarded() {
    each_database(async |store, _| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let date = day("2026-11-22");
        let mut row = followers(&account, date, 100);
        row.absent.insert(metric(names::LIKES), Absence::Rejected("negative".to_owned()));
        let likes = held(1, &row, names::LIKES, Value::Integer(-5));
        let odd = held(2, &row, "No Metric!", Value::Text("12 \"k\"".to_owned()));
        let nan = held(3, &row, "rate", Value::Decimal(f64::NAN));
        withhold(&store, 1, row, vec![likes.clone(), odd.clone(), nan.clone()]).await;

        let all = store.quarantine_list(&Scope::all_tenants(), &QuarantineFilter::default()).await.unwrap();
        let nan = Quarantined { value: Value::Text("NaN".to_owned()), ..nan };
        assert_eq!(all, [nan, odd.clone(), likes.clone()]);
        assert_eq!(store.quarantine_get(&Scope::all_tenants(), likes.id).await.unwrap(), Some(likes.clone()));

        let dropped = store.quarantine_release_begin(&Scope::all_tenants(), likes.id, now()).await.unwrap();
        drop(dropped);
        let mut release = store.quarantine_release_begin(&Scope::all_tenants(), likes.id, now()).await.unwrap();
        assert_eq!(release.quarantined(), &likes);
        let past = release.account_history_load().await.unwrap();
        let mut row = past.existing.unwrap();
        row.absent.remove(names::LIKES);
        row.values.insert(metric(names::LIKES), likes.value.clone());
        let growth = GrowthRow {
            account_id: account.id,
            artist_id: account.artist_id,
            platform: account.platform.clone(),
            metric_date: date,
            changes: BTreeMap::new(),
        };
        let released = release.commit(&row, std::slice::from_ref(&growth)).await.unwrap();
        assert_eq!(released.status, QuarantineStatus::Released);
        assert_eq!(store.metrics_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap(), [row]);
        assert_eq!(store.growth_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap(), [growth]);
        let state = store.fetch_inputs_of(&Scope::all_tenants(), &[account.id]).await.unwrap().remove(0).state;
        assert_eq!(state.as_deref(), Some(r#"{"seen":"2026-11-22"}"#), "the connector's state is unchanged");

        let error = store.quarantine_release_begin(&Scope::all_tenants(), likes.id, now()).await.err().unwrap();
        assert!(matches!(error, StoreError::AlreadyDecided { status: "released", .. }), "{error}");
        assert_eq!(
            store.quarantine_discard(&Scope::all_tenants(), odd.id, now()).await.unwrap().status,
            QuarantineStatus::Discarded
        );
        let error = store.quarantine_discard(&Scope::all_tenants(), odd.id, now()).await.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyDecided { status: "discarded", .. }), "{error}");
        let error = store.quarantine_discard(&Scope::all_tenants(), Uuid::nil(), now()).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
        let held = QuarantineFilter { status: Some(QuarantineStatus::Held), ..QuarantineFilter::default() };
        assert_eq!(store.quarantine_list(&Scope::all_tenants(), &held).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_value_that_is_released_makes_nothing_of_its_account_newer() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let [account] = people(&store, 1).await.try_into().unwrap();
        let row = followers(&account, day("2026-11-22"), 100);
        let likes = held(1, &row, names::LIKES, Value::Integer(-5));
        withhold(&store, 1, row, vec![likes.clone()]).await;
        let later = now() + TimeDelta::days(3);
        let mut release = store.quarantine_release_begin(&all, likes.id, later).await.unwrap();
        let past = release.account_history_load().await.unwrap();
        release.commit(&past.existing.unwrap(), &[]).await.unwrap();
        let known = store.candidates_list(&all, &account.platform, None, None, 10, later).await.unwrap();
        assert_eq!(known[0].last_collected, Some(now()), "it waits, and is overdue, as before");
    })
    .await;
}

#[tokio::test]
async fn a_value_withheld_again_takes_the_place_of_the_one_still_held() {
    each_database(async |store, _| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let today = followers(&account, day("2026-11-22"), 1);
        let before = followers(&account, day("2026-11-21"), 1);
        withhold(&store, 1, before.clone(), vec![held(1, &before, "likes", Value::Integer(-1))]).await;
        withhold(
            &store,
            2,
            today.clone(),
            vec![held(2, &today, "likes", Value::Integer(-2)), held(3, &today, "shares", Value::Integer(-3))],
        )
        .await;
        withhold(&store, 3, today.clone(), vec![held(4, &today, "likes", Value::Integer(-4))]).await;
        let left = store.quarantine_list(&Scope::all_tenants(), &QuarantineFilter::default()).await.unwrap();
        let values: Vec<_> = left.iter().map(|held| held.value.clone()).collect();
        assert_eq!(values, [-4, -3, -1].map(Value::Integer));
    })
    .await;
}

#[tokio::test]
async fn a_page_goes_on_after_values_whose_ids_can_not_be_read() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such ids out
        }
        let [account] = people(&store, 1).await.try_into().unwrap();
        let row = followers(&account, day("2026-11-22"), 100);
        let metrics = [(1, names::LIKES), (2, names::SHARES), (3, names::COMMENTS)];
        let values = metrics.map(|(n, metric)| held(n, &row, metric, Value::Integer(-5)));
        withhold(&store, 1, row, values.to_vec()).await;
        for (value, odd) in [(&values[1], "'no id'".to_owned()), (&values[2], latin_1_after("f"))] {
            spoil(url, "quarantine", "id", &odd, &format!("id = '{}'", value.id)).await;
        }
        let filter = QuarantineFilter { limit: Some(1), ..QuarantineFilter::default() };
        let listed = store.quarantine_list(&Scope::all_tenants(), &filter).await.unwrap();
        assert_eq!(listed, [values[0].clone()]);
    })
    .await;
}
