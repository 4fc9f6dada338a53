//! What an act answers where the connection breaks while it commits: once it is done, what it would have answered
//! otherwise; and that it is not done, where it is not.

use backline_model::event::types;
use backline_model::{AlertRoute, AlertSeverity, Consent, Weights};
use backline_store::{BatchFilter, DatabaseKind, EventCursor, PlanGuard, Scope, Store, StoreError, StoreOptions};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::fixtures::{account, artist, demo, now, run, webhook};
use super::scope::{bulk_act, credential, fill, held, theirs};
use crate::support::database::each_database;
use crate::support::proxy::Proxy;

/// Every commit of a test.
const ALL: u32 = u32::MAX;

/// The database of `server`, behind a proxy.
async fn behind(proxy: &Proxy, server: &str) -> Store {
    let options = StoreOptions { connections_max: 4, ..StoreOptions::default() };
    Store::open(&proxy.url(server), options).await.expect("the database opens")
}

/// Rows of the table in which a transaction proves that it was committed.
async fn proofs(server: &str) -> i64 {
    let mut database = PgConnection::connect(server).await.expect("the database opens");
    let counted = sqlx::query_scalar("SELECT COUNT(*) FROM backline.api_answers").fetch_one(&mut database).await;
    database.close().await.expect("closed");
    counted.expect("counted")
}

fn withdrawal() -> Consent {
    Consent {
        artist_id: artist(2).id,
        platform: demo(),
        granted: false,
        scope: "metrics".to_owned(),
        source: "a test".to_owned(),
        recorded_at: now(),
    }
}

fn route() -> AlertRoute {
    AlertRoute {
        id: Uuid::from_u128(0x9000_0031),
        name: "new".to_owned(),
        channels: vec!["desk".to_owned()],
        events: vec!["*".to_owned()],
        severity: AlertSeverity::Info,
        tenant: None,
        window_s: 60,
        quiet: None,
        created_at: now(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_whose_commit_is_not_answered_is_done_once_and_says_so() {
    each_database(async |direct: Store, server| {
        if direct.kind() == DatabaseKind::Sqlite {
            return; // no connection to a file breaks
        }
        fill(&direct).await;
        let proxy = Proxy::before(server).await;
        let (store, all, weights) = (behind(&proxy, server).await, Scope::all_tenants(), Weights::default());
        let of_run = BatchFilter { run: Some(run(2).id), ..BatchFilter::default() };
        proxy.lose_commits(ALL, true);

        store.quarantine_discard(&all, held(2), now()).await.expect("discarded");
        assert!(store.batches_retry(&all, &of_run, &weights, now()).await.expect("retried").batches > 0);
        assert!(store.deferred_batches_release(&all, &of_run, &weights, now()).await.expect("released").batches > 0);
        assert!(store.run_cancel(&all, run(2).id, "a test", now()).await.expect("cancelled").is_some());
        store.plan_begin(&run(7), PlanGuard::Manual, now()).await.expect("begun").commit().await.expect("planned");
        assert!(direct.run_get(&all, run(7).id).await.unwrap().is_some());
        store.bulk_act_add(&all, &bulk_act(9, theirs())).await.expect("begun");
        store.webhook_add(&all, &webhook(9, "hook-new"), vec![1], false).await.expect("added");
        store.alert_route_add(&all, &route()).await.expect("added");

        let before = direct.consents_list(&all, artist(2).id).await.unwrap().len();
        let recorded = store.consents_record(&all, &[withdrawal()]).await.expect("recorded");
        assert_eq!((recorded.added, recorded.credentials), (1, vec![credential(2).id]));
        assert_eq!(direct.consents_list(&all, artist(2).id).await.unwrap().len(), before + 1, "once");

        let removed = store.account_remove(&all, account(3).id, now()).await.expect("removed").expect("it was there");
        assert_eq!((removed.artist, removed.rows["accounts"]), (artist(2).id, 1));
        assert_eq!(direct.account_get(&all, account(3).id).await.unwrap(), None);
        let erased = store.artist_erase(&all, artist(2).id, now()).await.expect("erased").expect("they were there");
        assert_eq!(erased.receipt.rows["accounts"], 1);
        let events = direct.events_list(&all, EventCursor::default(), 1_000).await.unwrap();
        let told = |kind: &str| events.iter().filter(|(_, event)| event.kind == kind).count();
        assert_eq!(told(types::ARTIST_ERASED), 1);
        assert_eq!(proofs(server).await, 0, "nothing is left of what was asked");
        proxy.reset();
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_whose_commit_is_lost_is_not_done_and_can_be_repeated() {
    each_database(async |direct: Store, server| {
        if direct.kind() == DatabaseKind::Sqlite {
            return; // no connection to a file breaks
        }
        fill(&direct).await;
        let proxy = Proxy::before(server).await;
        let (store, all, gone) = (behind(&proxy, server).await, Scope::all_tenants(), account(2).id);
        proxy.lose_commits(1, false);
        let error = store.account_remove(&all, gone, now()).await.expect_err("it was not committed");
        assert!(error.is_transient(), "{error:?}");
        assert!(direct.account_get(&all, gone).await.unwrap().is_some());
        let removed = store.account_remove(&all, gone, now()).await.unwrap().expect("it was there still");
        assert_eq!(removed.credentials, [credential(2).id]);
        assert_eq!(proofs(server).await, 0);
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_prove_a_commit_says_that_it_is_in_doubt() {
    each_database(async |direct: Store, server| {
        if direct.kind() == DatabaseKind::Sqlite {
            return; // no connection to a file breaks
        }
        fill(&direct).await;
        let proxy = Proxy::before(server).await;
        let (store, all) = (behind(&proxy, server).await, Scope::all_tenants());
        proxy.lose_commits(1, true);
        let saved = store.artists_save(&all, &[artist(9)], now()).await;
        // Done again without a thought, it would say that nothing was new.
        assert!(matches!(&saved, Err(error @ StoreError::InDoubt { .. }) if !error.is_transient()), "{saved:?}");
        assert!(direct.artist_get(&all, artist(9).id).await.unwrap().is_some());
        // Reading has no end that could be in doubt.
        proxy.lose_commits(ALL, true);
        assert!(!store.events_list(&all, EventCursor::default(), 1_000).await.expect("read").is_empty());
        proxy.reset();
        store.close().await;
    })
    .await;
}
