//! Tests of refresh leases, and of dead credentials.

use std::time::Duration;

use backline_model::event::types;
use backline_model::{AccountId, AccountStatus, Event};
use backline_store::{EventCursor, Scope, SealedCredential, Store, StoreError};
use chrono::TimeDelta;
use futures::future::join_all;

use super::credentials::credential;
use super::fixtures::{artist, demo, event, now, people};
use crate::support::database::each_database;

const TTL: Duration = Duration::from_secs(90);

async fn saved(store: &Store, n: u128, account: Option<AccountId>) -> SealedCredential {
    let new = SealedCredential { account_id: account, kind: "refresh-token".to_owned(), ..credential(n) };
    store.credential_save(&Scope::all_tenants(), &new, now()).await.unwrap()
}

#[tokio::test]
async fn one_of_many_refreshes_and_another_takes_over_when_its_lease_expires() {
    each_database(async |store, _| {
        let stored = saved(&store, 1, None).await;
        let lease = async |owner: &str, version: i64, seconds: i64| {
            store
                .refresh_lease(
                    &Scope::all_tenants(),
                    stored.id,
                    version,
                    owner,
                    now() + TimeDelta::seconds(seconds),
                    TTL,
                )
                .await
                .unwrap()
        };
        let owners: Vec<String> = (0..10).map(|n| format!("host-{n}")).collect();
        let taken = join_all(owners.iter().map(|owner| lease(owner, 1, 0))).await;
        let taken: Vec<_> = taken.into_iter().flatten().collect();
        assert_eq!(taken.len(), 1, "one of ten");
        let (first, began) = (&taken[0], now());
        assert_eq!((first.until, first.interrupted), (now() + TTL, None));
        assert_eq!(lease("late", 1, 89).await, None);
        assert_eq!(lease("late", 2, 90).await, None, "no such version");

        let second = lease("second", 1, 90).await.expect("the first lease has expired");
        assert_eq!(second.interrupted, Some(began), "the first holder started a request and disappeared");
        assert!(
            !store.refresh_release(stored.id, &first.owner, now()).await.unwrap(),
            "the second holder has the lease"
        );
        assert!(!store.credential_mark_dead(&stored, &first.owner, None, now()).await.unwrap());
        assert_eq!(lease("third", 1, 90).await, None);

        let again = now() + TimeDelta::hours(1);
        assert!(store.refresh_release(stored.id, "second", again).await.unwrap());
        let released = store.credential_get_by_id(&Scope::all_tenants(), stored.id).await.unwrap().unwrap();
        assert_eq!(
            (released.version, released.refresh_at),
            (1, Some(again)),
            "only the time of the next attempt has changed"
        );
        let third = lease("third", 1, 91).await.expect("the lease was released");
        assert_eq!(third.interrupted, None, "a released lease was not interrupted");

        let fresh = SealedCredential { sealed: b"fresh".to_vec(), ..stored.clone() };
        let fresh = store.credential_save_refreshed(&Scope::all_tenants(), &fresh, now()).await.unwrap();
        assert_eq!(fresh.version, 2);
        let fourth = lease("fourth", 2, 91).await.expect("saving ends the lease");
        assert_eq!(fourth.interrupted, None);
        let error = store.credential_save_refreshed(&Scope::all_tenants(), &stored, now()).await.unwrap_err();
        assert!(matches!(error, StoreError::VersionConflict { .. }), "{error}");
        assert!(!store.refresh_release(stored.id, "third", now()).await.unwrap(), "the conflict touched nothing");
        store.credential_save(&Scope::all_tenants(), &fresh, now()).await.unwrap();
        assert!(lease("fifth", 3, 91).await.is_some(), "a credential set by the operator ends the lease too");
    })
    .await;
}

#[tokio::test]
async fn a_dead_credential_asks_to_reconnect_and_a_late_response_cancels_that() {
    each_database(async |store, _| {
        let accounts = people(&store, 2).await;
        let (account, disabled) = (accounts[0].id, accounts[1].id);
        let status = async |account| store.account_get(&Scope::all_tenants(), account).await.unwrap().unwrap().status;
        let told = |n: u128| Event {
            kind: types::RECONNECT_NEEDED.to_owned(),
            artist_id: Some(artist(1).id),
            ..event(n, None)
        };
        let count = async || {
            let events = store.events_list(&Scope::all_tenants(), EventCursor::default(), 100).await.unwrap();
            events.iter().filter(|(_, event)| event.kind == types::RECONNECT_NEEDED).count()
        };
        let stored = saved(&store, 1, Some(account)).await;
        assert!(
            !store.credential_mark_dead(&stored, "nobody", Some(&told(1)), now()).await.unwrap(),
            "without a lease"
        );
        let mark_dead = async |credential: &SealedCredential, owner: &str, n: u128| {
            let lease = store
                .refresh_lease(&Scope::all_tenants(), credential.id, credential.version, owner, now(), TTL)
                .await
                .unwrap();
            assert!(lease.is_some());
            assert!(store.credential_mark_dead(credential, owner, Some(&told(n)), now()).await.unwrap());
        };
        mark_dead(&stored, "one", 1).await;
        assert_eq!(status(account).await, AccountStatus::ReconnectNeeded);
        assert_eq!(store.credential_get_by_id(&Scope::all_tenants(), stored.id).await.unwrap().unwrap().status, "dead");
        assert_eq!(count().await, 1);
        mark_dead(&stored, "two", 2).await;
        assert_eq!(count().await, 1, "the event was already written");

        let late = store.credential_save_refreshed(&Scope::all_tenants(), &stored, now()).await.unwrap();
        assert_eq!(status(account).await, AccountStatus::Active, "the account was excluded for this reason");
        assert_eq!(
            store.credential_get_by_id(&Scope::all_tenants(), stored.id).await.unwrap().unwrap().status,
            "active"
        );
        mark_dead(&late, "three", 3).await;
        assert_eq!(count().await, 2, "another death gives a new event");

        // An account that must be reconnected for another reason stays so.
        let other = store.credential_save_refreshed(&Scope::all_tenants(), &late, now()).await.unwrap();
        store.account_set_status(&Scope::all_tenants(), account, AccountStatus::ReconnectNeeded, now()).await.unwrap();
        store.credential_save_refreshed(&Scope::all_tenants(), &other, now()).await.unwrap();
        assert_eq!(status(account).await, AccountStatus::ReconnectNeeded);

        let of_disabled = saved(&store, 2, Some(disabled)).await;
        store.account_set_status(&Scope::all_tenants(), disabled, AccountStatus::Disabled, now()).await.unwrap();
        mark_dead(&of_disabled, "four", 4).await;
        assert_eq!((status(disabled).await, count().await), (AccountStatus::Disabled, 2));
    })
    .await;
}

#[tokio::test]
async fn due_and_expiring_credentials_are_found_page_by_page() {
    each_database(async |store, _| {
        let accounts = people(&store, 6).await;
        let slots = [(demo(), "token".to_owned())];
        let save = async |n: u128, change: &dyn Fn(&mut SealedCredential)| {
            let account = accounts[usize::try_from(n).unwrap() - 1].id;
            let mut new =
                SealedCredential { account_id: Some(account), kind: "refresh-token".to_owned(), ..credential(n) };
            change(&mut new);
            store.credential_save(&Scope::all_tenants(), &new, now()).await.unwrap()
        };
        let due = save(1, &|new| new.refresh_at = Some(now())).await;
        save(2, &|new| new.refresh_at = Some(now() + TimeDelta::seconds(1))).await;
        let unknown = save(3, &|new| new.refresh_at = None).await;
        save(4, &|new| (new.refresh_at, new.kind) = (None, "bearer".to_owned())).await;
        let leased = save(5, &|new| new.refresh_at = Some(now())).await;
        store.refresh_lease(&Scope::all_tenants(), leased.id, 1, "host", now(), TTL).await.unwrap().unwrap();
        let dead = save(6, &|new| new.refresh_at = Some(now())).await;
        store.refresh_lease(&Scope::all_tenants(), dead.id, 1, "host", now(), TTL).await.unwrap().unwrap();
        assert!(store.credential_mark_dead(&dead, "host", None, now()).await.unwrap());

        let page = async |seconds: i64, after, limit| {
            let found = store
                .due_credentials_list(&Scope::all_tenants(), &slots, now() + TimeDelta::seconds(seconds), after, limit)
                .await
                .unwrap();
            found.into_iter().map(|found| found.id).collect::<Vec<_>>()
        };
        assert_eq!(page(0, None, 10).await, [due.id, unknown.id]);
        assert_eq!(page(0, None, 1).await, [due.id]);
        assert_eq!(page(0, Some(due.id), 10).await, [unknown.id]);
        assert_eq!(page(90, None, 10).await.len(), 4, "the lease has expired, and another credential is due");
        assert!(
            store
                .due_credentials_list(&Scope::all_tenants(), &[(demo(), "other".to_owned())], now(), None, 10)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(store.due_credentials_list(&Scope::all_tenants(), &[], now(), None, 10).await.unwrap().is_empty());
        store.credential_set_refresh_at(&Scope::all_tenants(), unknown.id, 2, now()).await.unwrap();
        assert_eq!(page(0, None, 10).await.len(), 2, "no such version");
        store
            .credential_set_refresh_at(&Scope::all_tenants(), unknown.id, 1, now() + TimeDelta::days(1))
            .await
            .unwrap();
        assert_eq!(page(0, None, 10).await, [due.id]);

        let end = now() + TimeDelta::days(60);
        let ending = async |from, until| {
            let found = store.expiring_credentials_list(&Scope::all_tenants(), from, until, None, 10).await.unwrap();
            found.iter().map(|found| (found.credential.id, found.artist_id)).collect::<Vec<_>>()
        };
        assert!(ending(now(), end - TimeDelta::seconds(1)).await.is_empty());
        assert!(ending(end, end + TimeDelta::days(14)).await.is_empty(), "an expired credential is not announced");
        let found = ending(now(), end).await;
        assert_eq!(found.len(), 4, "neither the dead one nor the one that is being refreshed");
        assert_eq!(found[0], (due.id, Some(artist(1).id)));
        assert_eq!(
            store
                .expiring_credentials_list(&Scope::all_tenants(), now(), end, Some(found[2].0), 1)
                .await
                .unwrap()
                .len(),
            1
        );
    })
    .await;
}
