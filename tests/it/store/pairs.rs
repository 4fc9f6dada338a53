//! Every pair of writers at once, on the same rows: none of them waits for the other in a circle.
//!
//! `host/store/src/work/locks.rs` says in which order rows are locked. PostgreSQL ends one of two transactions that
//! wait for each other; nothing else that may be refused here counts.

use backline_model::outcome::{FailureClass, Outcome};
use backline_model::roster::RosterChanges;
use backline_model::row::QuarantineStatus;
use backline_model::{
    Account, AccountStatus, Artist, Batch, BatchId, Consent, CredentialId, Event, Lease, Quarantined, Run, RunId,
    SwapCause, Value, Weights,
};
use backline_store::{
    BatchFilter, BatchResult, CredentialFilter, DatabaseKind, EventCursor, NewDelivery, PlanGuard, QuarantineFilter,
    Scope, SealedCredential, Store, StoreError,
};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde_json::json;
use uuid::Uuid;

use super::credentials::credential;
use super::fixtures::{
    TTL, account, artist, batch, day, defer, demo, event, followers, now, people, release, result, run, stored,
};
use super::unreadable::webhook;
use crate::support::database::each_database;

/// Artists with an account each, whom all writers write about.
const PEOPLE: u128 = 8;

/// How often each pair meets.
const ROUNDS: usize = 2;

type Done = Result<(), StoreError>;

struct Writer<'a> {
    name: &'static str,
    write: Box<dyn Fn() -> LocalBoxFuture<'a, Done> + 'a>,
}

fn all() -> Scope {
    Scope::all_tenants()
}

fn is_deadlock(error: &StoreError) -> bool {
    let StoreError::Query { source: sqlx::Error::Database(error), .. } = error else { return false };
    error.code().as_deref() == Some("40P01")
}

/// The accounts, the last first: locks are not to depend on the order in which they are given.
fn accounts() -> Vec<Account> {
    (1..=PEOPLE).rev().map(account).collect()
}

async fn plan(store: &Store) -> Result<RunId, StoreError> {
    let own = Run { id: RunId::generate(), ..run(0) };
    let mut planning = store.plan_begin(&own, PlanGuard::Manual, now()).await?;
    let accounts = accounts();
    let whole: Vec<&Account> = accounts.iter().collect();
    let planned = Batch { id: BatchId::generate(), ..batch(0, &own, &whole, day("2026-11-22")) };
    planning.batches_add(&[planned], &Weights::default()).await?;
    planning.commit().await?;
    Ok(own.id)
}

async fn planned_and_leased(store: &Store) -> Result<Option<Lease>, StoreError> {
    let run = plan(store).await?;
    store.batch_lease(&all(), Some(run), None, "worker", now(), TTL).await
}

async fn collect(store: &Store) -> Done {
    let Some(lease) = planned_and_leased(store).await? else { return Ok(()) };
    let rows = lease.batch.accounts.iter().filter_map(|planned| {
        let account = accounts().into_iter().find(|account| account.id == planned.account_id)?;
        let row = followers(&account, day("2026-11-22"), 5);
        let withheld = Quarantined {
            id: Uuid::new_v4(),
            account_id: row.account_id,
            artist_id: row.artist_id,
            platform: row.platform.clone(),
            metric_date: row.metric_date,
            metric: "followers".to_owned(),
            value: Value::Integer(-1),
            rule: "a test".to_owned(),
            release: row.release,
            document_id: row.document_id,
            status: QuarantineStatus::Held,
            created_at: now(),
        };
        let mut result = stored(row);
        result.stored.as_mut()?.withheld = vec![withheld];
        Some(result)
    });
    let done = BatchResult { accounts: rows.collect(), ..BatchResult::default() };
    store.batch_complete(&lease, done, now()).await?;
    store.run_finish(&all(), lease.batch.run_id, now()).await.map(drop)
}

async fn fail_and_retry(store: &Store) -> Done {
    let Some(lease) = planned_and_leased(store).await? else { return Ok(()) };
    let failed = Outcome::Failed { class: FailureClass::Unavailable, message: "down".to_owned() };
    let fail = |account: Account| result(&followers(&account, day("2026-11-22"), 5), failed.clone());
    let done = BatchResult { accounts: accounts().into_iter().map(fail).collect(), ..BatchResult::default() };
    store.batch_complete(&lease, done, now()).await?;
    let of_run = BatchFilter { run: Some(lease.batch.run_id), ..BatchFilter::default() };
    store.batches_retry(&all(), &of_run, &Weights::default(), now()).await?;
    store.run_cancel(&all(), lease.batch.run_id, "a test", now()).await.map(drop)
}

async fn defer_and_release(store: &Store) -> Done {
    let Some(lease) = planned_and_leased(store).await? else { return Ok(()) };
    defer(store, &lease, now() + TTL, "spent", now()).await?;
    let of_run = BatchFilter { run: Some(lease.batch.run_id), ..BatchFilter::default() };
    store.deferred_batches_release(&all(), &of_run, &Weights::default(), now()).await?;
    store.orphaned_batches_exclude(&all(), now()).await?;
    store.unreadable_batches_end(&all(), now()).await.map(drop)
}

async fn cancel(store: &Store) -> Done {
    let run = plan(store).await?;
    store.run_cancel(&all(), run, "a test", now()).await?;
    store.run_finish(&all(), run, now()).await.map(drop)
}

async fn import_artists(store: &Store) -> Done {
    let named = |n| Artist { name: Uuid::new_v4().to_string(), ..artist(n) };
    let artists: Vec<Artist> = (1..=PEOPLE).rev().map(named).collect();
    store.artists_save(&all(), &artists, now()).await.map(drop)
}

async fn import_accounts(store: &Store) -> Done {
    let changed = |account| Account { settings: json!({ "n": Uuid::new_v4() }), ..account };
    let accounts: Vec<Account> = accounts().into_iter().map(changed).collect();
    store.accounts_save(&all(), &accounts, now()).await.map(drop)
}

async fn sync(store: &Store) -> Done {
    let named = |n| Artist { name: Uuid::new_v4().to_string(), ..artist(n) };
    let ids: Vec<_> = accounts().iter().map(|account| account.id).collect();
    let changes = RosterChanges {
        artists_changed: (1..=PEOPLE).rev().map(named).collect(),
        accounts_removed: ids.iter().take(3).map(|id| (*id, demo())).collect(),
        accounts_restored: ids.into_iter().skip(3).collect(),
        consents: (1..=PEOPLE).rev().map(|n| (artist(n).id, demo(), n % 2 == 0)).collect(),
        ..RosterChanges::default()
    };
    store.roster_apply(&all(), &changes, "a test", now()).await.map(drop)
}

async fn consent(store: &Store) -> Done {
    for granted in [false, true] {
        let said = |n| Consent {
            artist_id: artist(n).id,
            platform: demo(),
            granted,
            scope: "metrics".to_owned(),
            source: "a test".to_owned(),
            recorded_at: now(),
        };
        let consents: Vec<Consent> = (1..=PEOPLE).rev().map(said).collect();
        store.consents_record(&all(), &consents).await?;
    }
    Ok(())
}

async fn statuses(store: &Store) -> Done {
    for account in accounts() {
        store.account_set_status(&all(), account.id, AccountStatus::ReconnectNeeded, now()).await?;
    }
    let ids: Vec<_> = accounts().iter().map(|account| account.id).collect();
    store.accounts_reconnect(&all(), &ids, now()).await.map(drop)
}

async fn tokens(store: &Store) -> Done {
    for n in 1..=3 {
        let new = SealedCredential {
            id: CredentialId::generate(),
            account_id: Some(account(n).id),
            kind: "refresh-token".to_owned(),
            ..credential(n)
        };
        // One that is there stays, and is refused.
        let _ = store.credential_save(&all(), &new, now()).await;
    }
    for current in store.credentials_list(&all(), &CredentialFilter::default()).await? {
        let owner = Uuid::new_v4().to_string();
        let lease = store.refresh_lease(&all(), current.id, current.version, &owner, now(), TTL).await?;
        if lease.is_some() {
            store.credential_mark_dead(&current, &owner, None, now()).await?;
            store.credential_save_refreshed(&all(), &current, now()).await?;
        }
    }
    Ok(())
}

async fn erase(store: &Store) -> Done {
    let other = PEOPLE + 1;
    store.artists_save(&all(), &[artist(other)], now()).await?;
    store.accounts_save(&all(), &[account(other)], now()).await?;
    store.artist_erase(&all(), artist(other).id, now()).await?;
    store.erasure_lift(artist(other).id, now()).await.map(drop)
}

async fn deliver(store: &Store) -> Done {
    let about = |n| Event { id: Uuid::now_v7(), artist_id: Some(artist(n).id), ..event(0, None) };
    let events: Vec<Event> = (1..=PEOPLE).rev().map(about).collect();
    store.events_write(&all(), &events).await?;
    let hook = webhook(1, "crm");
    let seen = store.webhooks_list(&all()).await?.first().map_or(EventCursor::default(), |(_, seen)| *seen);
    let heads = store.event_heads_list(&all(), seen, 100).await?;
    if let Some(last) = heads.last() {
        let line = |artist: Option<_>| artist.map_or_else(String::new, |id: backline_model::ArtistId| id.to_string());
        let new = heads.iter().map(|head| NewDelivery { event: head.cursor, line: line(head.artist_id) });
        let new: Vec<NewDelivery> = new.collect();
        store.deliveries_fan_out(&all(), hook.id, seen, last.cursor, &new, now()).await?;
    }
    for lease in store.deliveries_lease(&all(), hook.id, "sender", now(), TTL, 10).await? {
        store.delivery_retry(&lease, now(), None, "a test").await?;
    }
    store.deliveries_resend(&all(), &hook, Some(now()), now()).await.map(drop)
}

async fn decide(store: &Store) -> Done {
    for held in store.quarantine_list(&all(), &QuarantineFilter::default()).await?.iter().take(4) {
        let id = held.id;
        match store.quarantine_release_begin(&all(), id, now()).await {
            Err(error) if is_deadlock(&error) => return Err(error),
            begun => drop(begun),
        }
        match store.quarantine_discard(&all(), id, now()).await {
            Err(error) if is_deadlock(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

macro_rules! writers {
    ($store:ident; $($name:ident),*) => {
        vec![$(Writer { name: stringify!($name), write: Box::new(move || $name($store).boxed_local()) }),*]
    };
}

fn writers(store: &Store) -> Vec<Writer<'_>> {
    writers! { store;
        collect, fail_and_retry, defer_and_release, cancel, import_artists, import_accounts, sync, consent, statuses,
        tokens, erase, deliver, decide
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_writers_wait_for_each_other() {
    each_database(async |store, _| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // it has one writer
        }
        people(&store, PEOPLE).await;
        store.release_save(&release(), b"component").await.unwrap();
        store.release_activate(release().digest, SwapCause::Activated, now()).await.unwrap();
        store.webhook_add(&all(), &webhook(1, "crm"), vec![1], true).await.unwrap();
        let writers = writers(&store);
        for (n, one) in writers.iter().enumerate() {
            for other in &writers[n..] {
                for _ in 0..ROUNDS {
                    let (first, second) = tokio::join!((one.write)(), (other.write)());
                    for (writer, done) in [(one, first), (other, second)] {
                        let is_fine = done.as_ref().err().is_none_or(|error| !is_deadlock(error));
                        assert!(is_fine, "{} of {} and {}: {done:?}", writer.name, one.name, other.name);
                    }
                }
            }
        }
    })
    .await;
}
