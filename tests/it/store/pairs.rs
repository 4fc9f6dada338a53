//! Every pair of writers at once, on the same rows: no two of them deadlock.
//!
//! `host/store/src/work/locks.rs` says in which order rows are locked. PostgreSQL ends one of two transactions that
//! wait for each other; nothing else that may be refused here counts. Two writers that lock rows of no table in common
//! don't meet. `methods` compares the writers with the source: each method that writes is in one.

mod methods;
mod others;

use std::collections::BTreeSet;

use backline_model::outcome::{FailureClass, Outcome};
use backline_model::roster::RosterChanges;
use backline_model::row::QuarantineStatus;
use backline_model::{
    Account, AccountId, AccountStatus, AlertChannel, AlertPhase, AlertRoute, AlertSeverity, AlertState, ApiToken,
    Artist, Batch, BatchId, ChannelId, ChannelTarget, Consent, CredentialId, Digest, Event, Lease, Quarantined, Role,
    Run, RunId, SwapCause, Tenant, TokenId, Value, Weights,
};
use backline_store::{
    BatchFilter, BatchResult, BulkStep, CredentialFilter, DatabaseKind, EventCursor, NewAlert, NewDelivery,
    NewDigestMessage, PlanGuard, QuarantineFilter, SEALED, Scope, SealedCredential, Store, StoreError, StoredSession,
    TestAlert,
};
use chrono::TimeDelta;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;

use self::methods::Source;
use self::others::{
    access, alerts_change, archive, budgets_and_pauses, collect_older_dates, credentials_go, end_unreadable, halve,
    hosts, let_through, plan_nothing, read_in_order, releases_change, releases_take_back, schedules_change,
    schedules_lead, sync_in_term, wake, webhooks_change,
};
use super::credentials::credential;
use super::fixtures::{
    TTL, account, artist, batch, day, defer, demo, event, followers, now, past, people, release, result, run, stored,
    webhook, weekly_digest,
};
use super::schema::raw;
use super::scope::bulk_act;
use crate::support::database::each_database;
use crate::support::long::is_long;

/// Artists with an account each, whom all writers write about.
const PEOPLE: u128 = 8;

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

async fn plan_batch(store: &Store) -> Result<RunId, StoreError> {
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
    let run = plan_batch(store).await?;
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
    let run = plan_batch(store).await?;
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
    let (from, to) = (AccountStatus::ReconnectNeeded, AccountStatus::Disabled);
    store.account_set_status_from(&all(), ids[0], from, to, now()).await?;
    store.account_set_status_from(&all(), ids[0], to, from, now()).await?;
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

/// Many credentials at once, in the order in which they are given, and all that is sealed.
async fn many_tokens(store: &Store) -> Done {
    let new = |n| SealedCredential {
        id: CredentialId::generate(),
        account_id: Some(account(n).id),
        slot: "many".to_owned(),
        ..credential(n)
    };
    let mut new: Vec<SealedCredential> = (1..=PEOPLE).rev().map(new).collect();
    if !Uuid::new_v4().as_u128().is_multiple_of(2) {
        new.reverse();
    }
    refused_or(store.credentials_save(&all(), &new, now()).await)?;
    let mut known = store.credentials_list(&all(), &CredentialFilter::default()).await?;
    known.reverse();
    refused_or(store.credentials_save(&all(), &known, now()).await)?;
    for place in SEALED {
        let sealed = store.sealed_list(&all(), *place, None, 100).await?;
        let again: Vec<_> = sealed.into_iter().map(|one| (one.clone(), one.bytes)).collect();
        store.sealed_replace(&all(), *place, &again).await?;
    }
    Ok(())
}

/// A credential of an account that may be erased at the same time.
async fn connect(store: &Store) -> Done {
    let new = SealedCredential {
        id: CredentialId::generate(),
        account_id: Some(account(PEOPLE + 1).id),
        slot: "connected".to_owned(),
        ..credential(1)
    };
    // The account may be gone.
    let Ok(saved) = store.credential_save(&all(), &new, now()).await else { return Ok(()) };
    let owner = Uuid::new_v4().to_string();
    if store.refresh_lease(&all(), saved.id, saved.version, &owner, now(), TTL).await?.is_some() {
        store.credential_mark_dead(&saved, &owner, None, now()).await?;
    }
    Ok(())
}

async fn bulk_and_sessions(store: &Store) -> Done {
    let act = backline_model::bulk::BulkAct { id: Uuid::now_v7(), tenant: None, ..bulk_act(0, Tenant::default()) };
    store.bulk_act_add(&all(), &act).await?;
    if let Some(term) = store.role_take("bulk", &act.id.to_string(), now(), TTL).await? {
        for n in 0..3 {
            let step = BulkStep { place: n.to_string(), done: 1, ..BulkStep::default() };
            store.bulk_act_advance(&term, act.id, &step, now()).await?;
        }
        store.bulk_act_finish(&term, act.id, now()).await?;
        store.role_resign(&term, now()).await?;
    }
    store.bulk_act_cancel(&all(), act.id, now()).await?;
    let token = ApiToken {
        id: TokenId::generate(),
        name: "pairs".to_owned(),
        role: Role::Operator,
        tenant: None,
        created_at: now(),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    };
    store.token_add(&all(), &token, Digest::of(b"pairs")).await?;
    for _ in 0..3 {
        let (id, secret, until) = (Uuid::new_v4(), Digest::of(b"cookie"), now() + TTL);
        store.session_open(&StoredSession { id, token: token.id, secret, until, notice: None }).await?;
        store.session_set_notice(id, Some("said")).await?;
    }
    store.token_revoke(&all(), token.id, now()).await?;
    let later = past(now() + TimeDelta::days(100));
    store.bulk_acts_remove(later).await?;
    store.sessions_remove(later).await?;
    store.kept_answers_remove(later).await.map(drop)
}

/// Messages of two routes to the same channel, of a test and of a digest; what is sent and old is removed.
async fn alerts(store: &Store) -> Done {
    let about = |n| Event { id: Uuid::now_v7(), artist_id: Some(artist(n).id), ..event(0, None) };
    let events: Vec<Event> = (1..=PEOPLE).map(about).collect();
    store.events_write(&all(), &events).await?;
    for (route, seen) in store.alert_routes_list(&all()).await? {
        let heads = store.event_heads_list(&all(), seen, 100).await?;
        let Some(last) = heads.last().map(|head| head.cursor) else { continue };
        let mut new: Vec<NewAlert> = heads
            .iter()
            .map(|head| NewAlert {
                channel: channel().id,
                event: head.cursor,
                subject: "a test".to_owned(),
                group: head.artist_id.map_or_else(String::new, |artist| artist.to_string()),
                kind: head.kind.clone(),
                phase: AlertPhase::Firing,
                severity: AlertSeverity::Info,
                due_at: now(),
            })
            .collect();
        if route.name == "second" {
            new.reverse();
        }
        store.alert_route_fan_out(&all(), route.id, seen, last, &new).await?;
    }
    let (id, subject) = (Uuid::new_v4(), "digest".to_owned());
    let digest = weekly_digest(id, &id.to_string(), &channel().name);
    store.alert_digest_add(&all(), &digest).await?;
    let message =
        NewDigestMessage { id: Uuid::now_v7(), day: day("2026-11-23"), subject, is_test: false, due_at: now() };
    store.alert_digest_move(&all(), &digest, now() + TimeDelta::days(7), Some(&message)).await?;
    let (id, phase, severity) = (Uuid::now_v7(), AlertPhase::Firing, AlertSeverity::Info);
    let test = TestAlert { id, channel: channel().id, kind: "run.completed".to_owned(), phase, severity };
    store.alert_test_add(&all(), &test, now()).await?;
    for due in store.due_alerts_list(&all(), now()).await? {
        let Some(lease) = store.alert_lease(&all(), &due, "sender", now(), TTL, TimeDelta::zero()).await? else {
            continue;
        };
        store.alert_mark_sending(&lease, now() + TTL).await?;
        store.alert_finish(&lease, AlertState::Sent, 1, None, None, now()).await?;
    }
    store.alert_messages_remove(past(now() + TimeDelta::days(40))).await?;
    store.alert_digest_remove(&all(), &digest.name).await
}

/// What is refused is no deadlock.
fn refused_or(done: Done) -> Done {
    if done.as_ref().is_err_and(is_deadlock) { done } else { Ok(()) }
}

fn channel() -> AlertChannel {
    let (id, name) = (ChannelId(Uuid::from_u128(0x9000_0001)), "people".to_owned());
    AlertChannel { id, name, target: ChannelTarget::Slack, created_at: now() }
}

async fn erase(store: &Store) -> Done {
    let other = PEOPLE + 1;
    store.artists_save(&all(), &[artist(other)], now()).await?;
    store.accounts_save(&all(), &[account(other)], now()).await?;
    let about = |_| Event { id: Uuid::now_v7(), artist_id: Some(artist(other).id), ..event(0, None) };
    let events: Vec<Event> = (0..PEOPLE).map(about).collect();
    store.events_write(&all(), &events).await?;
    store.artist_erase(&all(), artist(other).id, now()).await?;
    store.erasure_lift(artist(other).id, now()).await.map(drop)
}

/// Removes accounts that batches are collected of at the same time, and adds them again.
async fn remove(store: &Store) -> Done {
    for n in [2, PEOPLE, 1] {
        store.account_remove(&all(), account(n).id, now()).await?;
    }
    store.accounts_save(&all(), &accounts(), now()).await.map(drop)
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
    ($($name:ident),*) => {
        /// The functions of all writers.
        const NAMES: &[&str] = &[$(stringify!($name),)* "end_unreadable"];

        fn writers<'a>(store: &'a Store, url: &'a str) -> Vec<Writer<'a>> {
            let mut list =
                vec![$(Writer { name: stringify!($name), write: Box::new(move || $name(store).boxed_local()) }),*];
            let write = Box::new(move || end_unreadable(store, url).boxed_local());
            list.push(Writer { name: "end_unreadable", write });
            list
        }
    };
}

writers! {
    collect, fail_and_retry, defer_and_release, cancel, import_artists, import_accounts, sync, consent, statuses,
    tokens, many_tokens, connect, bulk_and_sessions, alerts, erase, remove, deliver, decide, releases_change,
    releases_take_back, hosts, schedules_lead, schedules_change, plan_nothing, sync_in_term, budgets_and_pauses,
    credentials_go, webhooks_change, alerts_change, halve, wake, collect_older_dates, let_through, archive, access,
    read_in_order
}

/// The tables of which each writer locks rows, in the order of [`NAMES`]; none given means any.
async fn tables_of_writers(url: &str) -> Vec<Option<BTreeSet<String>>> {
    let pool = raw(url).await;
    // Of roles each has a row of its own, which is locked last.
    let known = "SELECT tablename::text AS name FROM pg_tables
         WHERE schemaname IN ('public', 'backline') AND tablename <> 'leaders'";
    let known: BTreeSet<String> =
        sqlx::query(known).fetch_all(&pool).await.unwrap().iter().map(|row| row.get("name")).collect();
    let children = "SELECT conrelid::regclass::text AS child, confrelid::regclass::text AS parent FROM pg_constraint
         WHERE contype = 'f'";
    let children = sqlx::query(children).fetch_all(&pool).await.unwrap();
    let children: Vec<(String, String)> = children.iter().map(|row| (row.get("child"), row.get("parent"))).collect();
    pool.close().await;
    let (store, writers) = (Source::of_the_store(), methods::writers());
    let methods = store.writing_methods();
    let tables_of = |writer: &&str| -> Option<BTreeSet<String>> {
        let used = writers.uses(writer, &methods, &store);
        let tables: Option<Vec<_>> = used.iter().map(|method| store.tables(method, &known, &children)).collect();
        Some(tables?.into_iter().flatten().collect())
    };
    NAMES.iter().map(tables_of).collect()
}

/// How often each pair meets.
fn rounds() -> usize {
    if is_long() { 4 } else { 1 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_writers_wait_for_each_other() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // it has one writer
        }
        people(&store, PEOPLE).await;
        store.release_save(&release(), b"component").await.unwrap();
        store.release_activate(release().digest, SwapCause::Activated, now()).await.unwrap();
        store.webhook_add(&all(), &webhook(1, "crm"), vec![1], true).await.unwrap();
        store.alert_channel_add(&all(), &channel(), vec![1]).await.unwrap();
        for (n, name) in [(2, "first"), (3, "second")] {
            let route = AlertRoute {
                id: Uuid::from_u128(0x9000_0000 + n),
                name: name.to_owned(),
                channels: vec![channel().name],
                events: vec!["*".to_owned()],
                severity: AlertSeverity::Info,
                tenant: None,
                window_s: 60,
                quiet: None,
                created_at: now(),
            };
            store.alert_route_add(&all(), &route).await.unwrap();
        }
        let (writers, tables) = (writers(&store, url), tables_of_writers(url).await);
        let mut met = 0;
        for (n, one) in writers.iter().enumerate() {
            for (m, other) in writers.iter().enumerate().skip(n) {
                let meet = match (&tables[n], &tables[m]) {
                    (Some(first), Some(second)) => !first.is_disjoint(second),
                    _ => true,
                };
                // What have no table in common can't wait for each other.
                if !meet {
                    continue;
                }
                met += 1;
                for _ in 0..rounds() {
                    let (first, second) = tokio::join!((one.write)(), (other.write)());
                    for (writer, done) in [(one, first), (other, second)] {
                        let is_fine = done.as_ref().err().is_none_or(|error| !is_deadlock(error));
                        assert!(is_fine, "{} of {} and {}: {done:?}", writer.name, one.name, other.name);
                    }
                }
            }
        }
        assert!(met > 2 * writers.len(), "hardly any writers met: {met} pairs");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_and_an_import_that_add_the_same_accounts_wait_for_no_circle() {
    each_database(async |store, _| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // it has one writer
        }
        people(&store, PEOPLE).await;
        for round in 0..5 {
            let new = |n: u128| {
                let (id, platform_id) = (AccountId::generate(), format!("{round}-{n}"));
                Account { id, platform_id, ..account(n % PEOPLE + 1) }
            };
            let changes =
                RosterChanges { accounts_added: (0..500).rev().map(new).collect(), ..RosterChanges::default() };
            let imported: Vec<Account> = (0..500).map(new).collect();
            let all = all();
            let sync = store.roster_apply(&all, &changes, "a test", now());
            let import = store.accounts_save(&all, &imported, now());
            let (synced, imported) = tokio::join!(sync, import);
            synced.unwrap();
            imported.unwrap();
        }
    })
    .await;
}
