//! What other programs and other clocks write stops nobody but itself, and writers lock in one order.

use std::time::Duration;

use backline_model::{Account, Batch, BatchId, Consent, SwapCause};
use backline_store::{
    BatchFilter, BatchResult, Canary, DatabaseKind, EventCursor, Furthest, NewDelivery, Scope, SealedCredential,
    SetBack, Store, StoreError,
};
use chrono::{DateTime, TimeDelta, Utc};

use super::credentials::credential;
use super::fixtures::{
    TTL, account, add_batches, artist, batch, day, defer, demo, event, followers, lease, now, people, release,
    release_of, run, stored, webhook,
};
use crate::support::database::{each_database, refuse, write, write_unchecked};

#[tokio::test]
async fn an_artist_that_cannot_be_read_is_left_out_alone() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        people(&store, 4).await;
        for (n, column, value) in
            [(1, "timezone", "europe/berlin"), (2, "tenant", "Acme Records"), (3, "timezone", "Mars/Phobos")]
        {
            let id = artist(n).id;
            write_unchecked(url, &format!("UPDATE artists SET {column} = '{value}' WHERE id = '{id}'")).await;
        }
        let ids: Vec<_> = (1..=4).map(|n| account(n).id).collect();
        for candidates in [
            store.candidates_list(&all, &demo(), None, None, 100, now()).await.unwrap(),
            store.candidates_of(&all, &ids).await.unwrap(),
        ] {
            let unreadable: Vec<_> = candidates.iter().map(|candidate| candidate.unreadable.as_deref()).collect();
            assert_eq!(
                unreadable,
                [Some("timezone 'europe/berlin'"), Some("tenant 'Acme Records'"), Some("timezone 'Mars/Phobos'"), None]
            );
        }
        assert_eq!(store.artists_list(&all, &Default::default()).await.unwrap(), [artist(4)]);
        let named = store.unreadable_artists_list(&all).await.unwrap();
        let named: Vec<_> = named.iter().map(|one| (one.id, one.column.as_str(), one.problem.as_str())).collect();
        assert_eq!(
            named,
            [
                (artist(1).id, "timezone", "'europe/berlin'"),
                (artist(2).id, "tenant", "'Acme Records'"),
                (artist(3).id, "timezone", "'Mars/Phobos'"),
            ]
        );
    })
    .await;
}

/// Plans a batch of these accounts and leases it.
async fn leased(store: &Store, accounts: &[Account]) -> backline_model::Lease {
    let accounts: Vec<&Account> = accounts.iter().collect();
    let batch = Batch { id: BatchId::generate(), ..batch(0, &run(1), &accounts, day("2026-11-22")) };
    add_batches(store, &[batch], now()).await;
    lease(store).await
}

#[tokio::test]
async fn an_import_and_a_batch_wait_for_each_other_in_one_order() {
    each_database(async |store: Store, _| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // it has one writer
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 20).await;
        let held = leased(&store, &accounts).await;
        let completion = store.completion_begin(&held, now()).await.unwrap();
        // Nothing differs: nothing is waited for.
        let same = store.accounts_save(&all, &accounts, now());
        let saved = tokio::time::timeout(Duration::from_secs(60), same).await.expect("it waits for no batch").unwrap();
        assert_eq!((saved.inserted, saved.updated), (0, 0));

        // All differ, and come in another order than that of their ids.
        let changed: Vec<Account> = accounts
            .iter()
            .rev()
            .map(|account| Account { settings: serde_json::json!({ "market": "fr" }), ..account.clone() })
            .collect();
        let rows = accounts.iter().map(|account| stored(followers(account, day("2026-11-22"), 5))).collect();
        let result = BatchResult { accounts: rows, ..BatchResult::default() };
        let (saved, completed) = tokio::join!(store.accounts_save(&all, &changed, now()), completion.commit(result));
        assert_eq!(saved.unwrap().updated, 20);
        assert_eq!(completed.unwrap().counts.collected, 20);
    })
    .await;
}

#[tokio::test]
async fn what_was_recorded_last_about_consent_counts_whatever_the_clock_said() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 1).await;
        let consent = |granted: bool, recorded_at: DateTime<Utc>| Consent {
            artist_id: artist(1).id,
            platform: demo(),
            granted,
            scope: "metrics".to_owned(),
            source: "test".to_owned(),
            recorded_at,
        };
        let is_granted = async || store.candidates_of(&all, &[account(1).id]).await.unwrap()[0].consented;
        store.consents_record(&all, &[consent(true, now())]).await.unwrap();
        assert!(is_granted().await);
        let held = leased(&store, &accounts).await;
        store.consents_record(&all, &[consent(false, now() - TimeDelta::hours(1))]).await.unwrap();
        assert!(!is_granted().await, "withdrawn by a machine whose clock is behind");
        let rows = vec![stored(followers(&accounts[0], day("2026-11-22"), 5))];
        let result = BatchResult { accounts: rows, ..BatchResult::default() };
        let counts = store.batch_complete(&held, result, now()).await.unwrap().counts;
        assert_eq!((counts.collected, counts.excluded), (0, 1), "a batch that was under way stores nothing either");
        store.consents_record(&all, &[consent(true, now() - TimeDelta::hours(2))]).await.unwrap();
        assert!(is_granted().await);
        let latest = store.latest_consents_get(&all, artist(1).id).await.unwrap();
        assert_eq!(latest.len(), 1);
        assert!(latest[0].granted);
    })
    .await;
}

#[tokio::test]
async fn a_role_that_a_clock_ahead_took_is_free_again() {
    each_database(async |store, _| {
        let ttl = Duration::from_secs(30);
        let ahead = store.role_take("scheduler", "ahead", now() + TimeDelta::days(40), ttl).await.unwrap();
        let ahead = ahead.expect("nobody has it");
        assert!(ahead.is_ahead(now(), ttl), "the one who takes it says so");
        let term = store.role_take("scheduler", "right", now(), ttl).await.unwrap().expect("it counts as over");
        assert!(term.term > ahead.term && !term.is_ahead(now(), ttl));
        assert_eq!(store.role_take("scheduler", "other", now() + TimeDelta::seconds(20), ttl).await.unwrap(), None);
    })
    .await;
}

/// What hosts set now, and a little more.
fn furthest() -> Furthest {
    let at = |minutes| now() + TimeDelta::minutes(minutes);
    let deferred = now() + TimeDelta::days(33);
    Furthest {
        lease_ends: at(1),
        batch: at(11),
        deferred,
        delivery: at(70),
        delivery_lease: at(11),
        alert: at(72 * 60),
        alert_retry: at(40),
        alert_lease: at(11),
    }
}

#[tokio::test]
async fn batches_whose_times_a_clock_ahead_set_are_due_again() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 5).await;
        let (ahead, week) = (now() + TimeDelta::days(40), now() + TimeDelta::days(7));
        let of = |n: u128| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22"));
        let held = async |from: DateTime<Utc>| {
            store.batch_lease(&all, None, None, "ahead", from, TTL).await.unwrap().expect("a batch is open")
        };
        add_batches(&store, &[of(1)], now()).await;
        defer(&store, &held(now()).await, week, "spent", now()).await.unwrap();
        add_batches(&store, &[of(2)], now()).await;
        defer(&store, &held(now()).await, ahead, "spent", now()).await.unwrap();
        add_batches(&store, &[of(3)], now()).await;
        held(now()).await;
        add_batches(&store, &[of(4)], now()).await;
        store.lease_renew(&held(now()).await, ahead, TTL).await.unwrap();
        add_batches(&store, &[of(5)], ahead).await;

        let set_back = store.times_set_back(&all, &furthest(), now()).await.unwrap();
        assert_eq!(set_back, SetBack { batches: 3, ..SetBack::default() });
        let mut times = store.batches_list(&all, &BatchFilter::default()).await.unwrap();
        times.sort_by_key(|batch| batch.id);
        let times: Vec<_> = times.iter().map(|batch| batch.available_at).collect();
        // A lease that is in force stays, and one from a clock that was ahead ends as one that begins now.
        assert_eq!(times, [week, now(), now() + TTL, furthest().lease_ends, now()]);
        assert_eq!(store.times_set_back(&all, &furthest(), now()).await.unwrap(), SetBack::default());
        assert_eq!(held(now()).await.batch.id, of(2).id);
        assert_eq!(held(now()).await.batch.id, of(5).id);
    })
    .await;
}

#[tokio::test]
async fn deliveries_and_refreshes_that_a_clock_ahead_holds_are_free_again() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let ahead = now() + TimeDelta::days(40);
        let hook = webhook(1, "crm");
        store.webhook_add(&all, &hook, vec![1], true).await.unwrap();
        store.events_write(&all, &[event(1, None), event(2, None)]).await.unwrap();
        let heads = store.event_heads_list(&all, EventCursor::default(), 10).await.unwrap();
        let new: Vec<_> =
            heads.iter().map(|head| NewDelivery { event: head.cursor, line: head.cursor.to_string() }).collect();
        let last = heads.last().unwrap().cursor;
        store.deliveries_fan_out(&all, hook.id, EventCursor::default(), last, &new, now()).await.unwrap();
        // One was leased by a clock that was ahead, the other one is to be tried again by it.
        let leases = store.deliveries_lease(&all, hook.id, "ahead", ahead, TTL, 10).await.unwrap();
        assert!(store.delivery_retry(&leases[1], ahead, None, "a test").await.unwrap());
        let due = async |now| store.deliveries_lease(&all, hook.id, "right", now, TTL, 10).await.unwrap();
        assert_eq!(due(now()).await, []);
        let set_back = store.times_set_back(&all, &furthest(), now()).await.unwrap();
        assert_eq!(set_back, SetBack { deliveries: 2, ..SetBack::default() });
        let free = due(now()).await;
        assert_eq!(free.iter().map(|one| one.first_tried_at).collect::<Vec<_>>(), [now(), now()]);

        let new = SealedCredential { kind: "refresh-token".to_owned(), refresh_at: Some(now()), ..credential(1) };
        let stored = store.credential_save(&all, &new, now()).await.unwrap();
        let slots = [(demo(), "token".to_owned())];
        let lease = async |owner, at| store.refresh_lease(&all, stored.id, 1, owner, at, TTL).await.unwrap();
        assert!(lease("ahead", ahead).await.is_some());
        assert_eq!(
            store.due_credentials_list(&all, &slots, now(), None, 10).await.unwrap().len(),
            1,
            "it is looked at"
        );
        assert!(lease("right", now()).await.is_some(), "no host leases for so long");
        assert!(lease("other", now()).await.is_none());
    })
    .await;
}

#[tokio::test]
async fn releases_and_receivers_that_a_clock_ahead_set_go_on() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let ahead = now() + TimeDelta::days(40);
        let (active, next) = (release(), release_of("1.1.0", b"next"));
        store.release_save(&active, b"component").await.unwrap();
        store.release_save(&next, b"next").await.unwrap();
        store.release_activate(active.digest, SwapCause::Activated, ahead).await.unwrap();
        let promote_at = Some(ahead + TimeDelta::days(2));
        let canary = Canary { platform: demo(), release: next.digest, share: 1_000, started_at: ahead, promote_at };
        store.canary_start(&canary).await.unwrap();

        let hook = webhook(1, "crm");
        store.webhook_add(&all, &hook, vec![1], true).await.unwrap();
        store.events_write(&all, &[event(1, None), event(2, None)]).await.unwrap();
        write(url, "UPDATE webhooks SET seen = 4000000000000000000").await;
        let set_back = async || store.times_set_back(&all, &furthest(), now()).await.unwrap();
        assert_eq!(set_back().await, SetBack { releases: 2, receivers: 1, ..SetBack::default() });
        assert_eq!(set_back().await, SetBack::default());

        let swaps = store.swaps_list(Some(&demo()), 10).await.unwrap();
        assert_eq!(swaps.iter().map(|swap| swap.at).collect::<Vec<_>>(), [now()]);
        let promote_at = Some(now() + TimeDelta::days(2));
        assert_eq!(store.canaries_list().await.unwrap(), [Canary { started_at: now(), promote_at, ..canary }]);
        // The next event is one that the webhook has not seen, and none before it is.
        store.events_write(&all, &[event(3, None)]).await.unwrap();
        let seen = store.webhooks_list(&all).await.unwrap()[0].1;
        let new = store.event_heads_list(&all, seen, 10).await.unwrap();
        let third = store.events_list(&all, seen, 10).await.unwrap();
        assert_eq!(new.iter().map(|head| head.cursor).collect::<Vec<_>>(), [third[0].0]);
        assert_eq!(third.iter().map(|(_, event)| event.id).collect::<Vec<_>>(), [event(3, None).id]);
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_of_one_table_keeps_no_other_one_from_being_set_back() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 1).await;
        add_batches(&store, &[batch(1, &run(1), &[&accounts[0]], day("2026-11-22"))], now()).await;
        write(url, "UPDATE batches SET available_at = '2999-01-01T00:00:00.000000Z'").await;
        refuse(url, "batches", "UPDATE", "TRUE").await;
        store.webhook_add(&all, &webhook(1, "crm"), vec![1], true).await.unwrap();
        store.events_write(&all, &[event(1, None)]).await.unwrap();
        write(url, "UPDATE webhooks SET seen = 4000000000000000000").await;
        let error = store.times_set_back(&all, &furthest(), now()).await.unwrap_err();
        assert!(!error.is_outage(), "{error}");
        store.events_write(&all, &[event(2, None)]).await.unwrap();
        let seen = store.webhooks_list(&all).await.unwrap()[0].1;
        assert_eq!(store.event_heads_list(&all, seen, 10).await.unwrap().len(), 1, "the webhook goes on");
    })
    .await;
}

#[tokio::test]
async fn a_credential_that_is_due_in_a_time_that_is_not_believed_is_looked_at() {
    each_database(async |store, _| {
        let (all, slots) = (Scope::all_tenants(), [(demo(), "token".to_owned())]);
        let due = async || store.due_credentials_list(&all, &slots, now(), None, 10).await.unwrap().len();
        let at = |days| Some(now() + TimeDelta::days(days));
        let new = SealedCredential { kind: "refresh-token".to_owned(), refresh_at: at(30), ..credential(1) };
        let stored = store.credential_save(&all, &new, now()).await.unwrap();
        assert_eq!(due().await, 0, "no host looks at one more rarely");
        let ahead = SealedCredential { refresh_at: at(40), ..stored };
        store.credential_save(&all, &ahead, now()).await.unwrap();
        assert_eq!(due().await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_release_from_quarantine_waits_for_a_batch_of_its_account() {
    each_database(async |store: Store, _| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // it has one writer
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 1).await;
        let row = followers(&accounts[0], day("2026-11-21"), 5);
        let value = backline_model::Quarantined {
            id: uuid::Uuid::from_u128(7),
            account_id: row.account_id,
            artist_id: row.artist_id,
            platform: row.platform.clone(),
            metric_date: row.metric_date,
            metric: "followers".to_owned(),
            value: backline_model::Value::Integer(9),
            rule: "a test".to_owned(),
            release: row.release,
            document_id: row.document_id,
            status: backline_model::row::QuarantineStatus::Held,
            created_at: now(),
        };
        let mut first = stored(row.clone());
        first.stored.as_mut().unwrap().withheld = vec![value.clone()];
        let held = leased(&store, &accounts).await;
        let completion = store.completion_begin(&held, now()).await.unwrap();
        let result = BatchResult { accounts: vec![first.clone()], ..BatchResult::default() };
        completion.commit(result).await.unwrap();

        // The next batch holds the account, and replaces the value that is held.
        let held = leased(&store, &accounts).await;
        let completion = store.completion_begin(&held, now()).await.unwrap();
        first.stored.as_mut().unwrap().withheld[0].id = uuid::Uuid::from_u128(8);
        first.document = None;
        let result = BatchResult { accounts: vec![first], ..BatchResult::default() };
        let (released, completed) =
            tokio::join!(store.quarantine_release_begin(&all, value.id, now()), completion.commit(result));
        assert_eq!(completed.unwrap().counts.collected, 1);
        assert!(matches!(released.err().unwrap(), StoreError::NotFound { .. }), "it was replaced meanwhile");
    })
    .await;
}
