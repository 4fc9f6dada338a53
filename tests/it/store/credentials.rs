//! Tests of credentials, budgets, releases and events.

use backline_model::pace::Pace;
use backline_model::{CredentialId, Digest, Event, Holder, Platform, SwapCause};
use backline_store::{
    BudgetKey, CredentialFilter, DatabaseKind, EndedPause, EventCursor, Pause, PlatformPause, Scope, SealedCredential,
    StoreError,
};
use chrono::TimeDelta;
use futures::future::join_all;
use uuid::Uuid;

use super::fixtures::{artist, at, demo, event, now, people, release, release_of};
use crate::support::database::{each_database, write};

pub(super) fn credential(n: u128) -> SealedCredential {
    SealedCredential {
        id: CredentialId(Uuid::from_u128(0xD000_0000 + n)),
        platform: demo(),
        slot: "token".to_owned(),
        account_id: None,
        kind: "bearer".to_owned(),
        sealed: vec![0, 255, 10, 0],
        version: 0,
        expires_at: Some(now() + TimeDelta::days(60)),
        refresh_at: Some(now() + TimeDelta::days(30)),
        status: "active".to_owned(),
        updated_at: now(),
    }
}

#[tokio::test]
async fn a_credential_changed_in_between_is_not_overwritten() {
    each_database(async |store, _| {
        let accounts = people(&store, 2).await;
        let saved = store.credential_save(&Scope::all_tenants(), &credential(1), now()).await.unwrap();
        assert_eq!(saved, SealedCredential { version: 1, ..credential(1) });
        assert_eq!(
            store.credential_get(&Scope::all_tenants(), &demo(), "token", None).await.unwrap(),
            Some(saved.clone())
        );

        let conflict = |error: StoreError| {
            assert!(matches!(&error, StoreError::VersionConflict { slot, .. } if slot == "token"), "{error}")
        };
        conflict(store.credential_save(&Scope::all_tenants(), &credential(2), now()).await.unwrap_err());
        let fresh = SealedCredential { sealed: b"fresh".to_vec(), expires_at: None, ..saved.clone() };
        let fresh = store.credential_save(&Scope::all_tenants(), &fresh, now() + TimeDelta::hours(1)).await.unwrap();
        assert_eq!(fresh.version, 2);
        conflict(store.credential_save(&Scope::all_tenants(), &saved, now()).await.unwrap_err());
        assert_eq!(
            store.credential_get(&Scope::all_tenants(), &demo(), "token", None).await.unwrap(),
            Some(fresh.clone())
        );

        let of_account = SealedCredential { account_id: Some(accounts[0].id), ..credential(3) };
        let of_account = store.credential_save(&Scope::all_tenants(), &of_account, now()).await.unwrap();
        let of_other = SealedCredential { account_id: Some(accounts[1].id), ..credential(4) };
        store.credential_save(&Scope::all_tenants(), &of_other, now()).await.unwrap();
        assert_eq!(
            store.credential_get(&Scope::all_tenants(), &demo(), "token", Some(accounts[0].id)).await.unwrap(),
            Some(of_account.clone())
        );
        let again = SealedCredential { sealed: b"again".to_vec(), ..of_account.clone() };
        assert_eq!(store.credential_save(&Scope::all_tenants(), &again, now()).await.unwrap().version, 2);
        let of_batch = store.credentials_of(&Scope::all_tenants(), &demo(), &[accounts[0].id]).await.unwrap();
        assert_eq!(of_batch.iter().map(|found| found.id).collect::<Vec<_>>(), [fresh.id, of_account.id]);
        let filter = CredentialFilter { account: Some(accounts[1].id), platform: Some(demo()) };
        assert_eq!(store.credentials_list(&Scope::all_tenants(), &filter).await.unwrap().len(), 1);
        assert_eq!(store.credentials_list(&Scope::all_tenants(), &CredentialFilter::default()).await.unwrap().len(), 3);

        assert!(store.credential_remove(&Scope::all_tenants(), fresh.id).await.unwrap());
        assert!(!store.credential_remove(&Scope::all_tenants(), fresh.id).await.unwrap());
        assert_eq!(store.credential_get(&Scope::all_tenants(), &demo(), "token", None).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_budget_is_exact_with_many_concurrent_takers() {
    each_database(async |store, _| {
        let saved = store.credential_save(&Scope::all_tenants(), &credential(1), now()).await.unwrap();
        let key = BudgetKey { holder: Holder::Credential(saved.id), budget: "day".to_owned() };
        let (start, end) = (at("2026-11-22T08:00:00Z"), at("2026-11-23T08:00:00Z"));
        let taken = join_all((0..20).map(|_| {
            let (store, key) = (store.clone(), key.clone());
            async move {
                let mut taken = 0;
                loop {
                    match store.budget_take(&key, start, end, 1_000, 7, now()).await.unwrap() {
                        0 => return taken,
                        units => taken += units,
                    }
                }
            }
        }));
        assert_eq!(taken.await.into_iter().sum::<u64>(), 1_000);

        store.budget_give_back(&key, start, 30).await.unwrap();
        assert_eq!(store.budget_take(&key, start, end, 1_000, 50, now()).await.unwrap(), 30);
        assert_eq!(
            store.budget_take(&key, start, end, 500, 50, now()).await.unwrap(),
            0,
            "a lowered limit revokes no granted units"
        );
        assert_eq!(store.budget_take(&key, start, end, 1_001, 50, now()).await.unwrap(), 1);
        assert_eq!(
            store.budget_take(&key, end, end + TimeDelta::days(1), 10, 50, now()).await.unwrap(),
            10,
            "a new window"
        );
        store.budget_give_back(&key, end, u64::MAX).await.unwrap();
        assert_eq!(store.budget_take(&key, end, end + TimeDelta::days(1), u64::MAX, 50, now()).await.unwrap(), 50);
        let of_platform = BudgetKey { holder: Holder::Platform(demo()), ..key.clone() };
        assert_eq!(store.budget_take(&of_platform, start, end, 10, 50, now()).await.unwrap(), 10, "counted by itself");
        let unknown = BudgetKey { holder: Holder::Credential(CredentialId::generate()), ..key };
        assert!(store.budget_take(&unknown, start, end, 10, 1, now()).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn places_of_a_rolling_window_are_given_once_and_as_the_arithmetic_says() {
    each_database(async |store, _| {
        let saved = store.credential_save(&Scope::all_tenants(), &credential(1), now()).await.unwrap();
        let pace = Pace::of(50, 5, 10);
        for (name, holder) in [("a", Holder::Credential(saved.id)), ("b", Holder::Platform(demo()))] {
            let key = BudgetKey { holder, budget: name.to_owned() };
            let mut next = None;
            // Idle, at once, late, a cost above the burst, too far to wait for, and a clock that was a day ahead.
            for (units, second, wait_s) in [
                (1, 0, 60),
                (1, 0, 60),
                (3, 0, 60),
                (1, 9, 60),
                (40, 9, 60),
                (1, 9, 1),
                (1, 86_400, 60),
                (1, 9, 60),
                (1, 99, 60),
            ] {
                let ask = pace.ask(units, now().timestamp_micros() + second * 1_000_000, wait_s * 1_000_000);
                let places = store.pace_take(&key, &ask).await.unwrap();
                assert_eq!(places, ask.answer(next), "{units} units at {second} s");
                next = Some(places.next_us);
            }
        }
        let key = BudgetKey { holder: Holder::Platform(demo()), budget: "shared".to_owned() };
        let ask = pace.ask(1, now().timestamp_micros(), 60_000_000);
        let taken = join_all((0..40).map(|_| store.pace_take(&key, &ask))).await;
        let mut firsts: Vec<i64> = taken.into_iter().map(|places| places.unwrap().first_us).collect();
        firsts.sort_unstable();
        let apart = firsts.windows(2).all(|pair| pair[1] - pair[0] == pace.interval_us());
        assert!(apart, "each place is given to one: {firsts:?}");
        let unknown = BudgetKey { holder: Holder::Credential(CredentialId::generate()), ..key };
        assert!(store.pace_take(&unknown, &ask).await.is_err());
        assert!(store.credential_remove(&Scope::all_tenants(), saved.id).await.unwrap(), "its paces go with it");
    })
    .await;
}

#[tokio::test]
async fn a_pause_is_found_by_its_holder_and_only_grows() {
    each_database(async |store, _| {
        let saved = store.credential_save(&Scope::all_tenants(), &credential(1), now()).await.unwrap();
        let (own, platform) = (Holder::Credential(saved.id), Holder::Platform(demo()));
        let believed = || now() - TimeDelta::days(9)..=now() + TimeDelta::minutes(1);
        let begin = async |holder: &Holder, pause: Pause| store.pause_begin(holder, &demo(), &pause, believed()).await;
        let list = async |at: TimeDelta| store.pauses_list(now() + at, believed()).await.unwrap();
        let pause = |seconds, interval_us: Option<i64>| {
            let until = now() + TimeDelta::seconds(seconds);
            Pause { began_at: now(), until, interval_us, paced_until: interval_us.map(|_| until + TimeDelta::hours(1)) }
        };
        let of =
            async |holder: &Holder| store.pauses_of(&[own.clone(), platform.clone()]).await.unwrap().remove(holder);
        assert_eq!(of(&own).await, None);
        begin(&own, pause(60, Some(125_000))).await.unwrap();
        begin(&own, pause(30, None)).await.unwrap();
        assert_eq!(of(&own).await, Some(pause(60, Some(125_000))), "a shorter one changes nothing");
        begin(&own, pause(90, None)).await.unwrap();
        let longer = of(&own).await.expect("it is there");
        assert_eq!((longer.until, longer.interval_us), (pause(90, None).until, Some(125_000)), "the pace stays");
        assert_eq!(of(&platform).await, None);

        let listed = list(TimeDelta::zero()).await;
        assert_eq!(listed, [PlatformPause { platform: demo(), credentials: 1, until: longer.until }]);
        begin(&platform, pause(120, None)).await.unwrap();
        let listed = list(TimeDelta::zero()).await;
        assert_eq!(listed[0].credentials, 0, "the whole platform");
        assert_eq!(list(TimeDelta::seconds(120)).await, []);
        let unknown = Holder::Credential(CredentialId::generate());
        assert!(begin(&unknown, pause(1, None)).await.is_err());
        assert!(store.credential_remove(&Scope::all_tenants(), saved.id).await.unwrap());
        assert_eq!(of(&own).await, None, "it goes with its credential");
    })
    .await;
}

#[tokio::test]
async fn a_pause_whose_end_is_no_time_hides_no_other_of_its_platform() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // it takes times only
        }
        let believed = || now() - TimeDelta::days(9)..=now() + TimeDelta::minutes(1);
        let until = now() + TimeDelta::hours(1);
        let pause = Pause { began_at: now(), until, interval_us: None, paced_until: None };
        let other = Holder::Platform(Platform::new("other").unwrap());
        for holder in [&Holder::Platform(demo()), &other] {
            store.pause_begin(holder, &demo(), &pause, believed()).await.unwrap();
        }
        write(url, &format!("UPDATE pauses SET paused_until = 'no time' WHERE holder = '{other}'")).await;
        let found = store.pauses_list(now(), believed()).await.unwrap();
        assert_eq!(found, [PlatformPause { platform: demo(), credentials: 0, until }]);
    })
    .await;
}

#[tokio::test]
async fn a_pause_that_a_wrong_clock_wrote_is_not_listed_and_gives_way() {
    each_database(async |store, _| {
        let holder = Holder::Platform(demo());
        let believed = || now() - TimeDelta::days(9)..=now() + TimeDelta::minutes(1);
        let begin = async |pause: Pause| store.pause_begin(&holder, &demo(), &pause, believed()).await.unwrap();
        let of = async || store.pauses_of(std::slice::from_ref(&holder)).await.unwrap().remove(&holder);
        let pause = |began: TimeDelta, length: TimeDelta, interval_us: Option<i64>| {
            let (began_at, until) = (now() + began, now() + began + length);
            Pause { began_at, until, interval_us, paced_until: interval_us.map(|_| until + TimeDelta::hours(1)) }
        };
        let ours = pause(TimeDelta::zero(), TimeDelta::seconds(90), None);
        for wrong in [TimeDelta::seconds(61), TimeDelta::days(400), -TimeDelta::days(10)] {
            begin(pause(wrong, TimeDelta::days(500), Some(9_000_000))).await;
            assert_eq!(store.pauses_list(now(), believed()).await.unwrap(), [], "{wrong}");
            begin(ours).await;
            assert_eq!(of().await, Some(ours), "{wrong}: with nothing of the one before");
        }
        assert_eq!(store.held_pauses_list(now(), believed(), 9).await.unwrap().len(), 1);
        // Clocks differ a little.
        let theirs = pause(TimeDelta::seconds(59), TimeDelta::seconds(90), None);
        begin(theirs).await;
        begin(ours).await;
        assert_eq!(of().await, Some(theirs));

        let end = async |at: TimeDelta| store.pause_end(&Scope::all_tenants(), &holder, now() + at).await.unwrap();
        assert_eq!(end(TimeDelta::seconds(30)).await, Some(EndedPause { platform: demo(), batches: 0 }));
        assert_eq!(end(TimeDelta::seconds(31)).await, None);
        assert!(of().await.unwrap().is_ended());
        assert_eq!(store.held_pauses_list(now() + TimeDelta::seconds(30), believed(), 9).await.unwrap(), []);
        begin(ours).await;
        assert_eq!(of().await, Some(ours), "a pause after it begins as ever");
    })
    .await;
}

#[tokio::test]
async fn activating_a_release_swaps_it_for_the_one_before() {
    each_database(async |store, _| {
        let (old, new) = (release(), release_of("1.1.0", b"other component"));
        store.release_save(&old, b"component").await.unwrap();
        store.release_save(&new, b"other component").await.unwrap();
        assert_eq!(store.active_release_get(&demo()).await.unwrap(), None);
        assert_eq!(store.release_activate(old.digest, SwapCause::Activated, now()).await.unwrap(), None);
        assert_eq!(store.release_activate(new.digest, SwapCause::Activated, now()).await.unwrap(), Some(old.digest));
        assert_eq!(
            store.release_activate(new.digest, SwapCause::Activated, now()).await.unwrap(),
            None,
            "already active"
        );
        let active = store.active_release_get(&demo()).await.unwrap().unwrap();
        assert_eq!(active, backline_model::Release { active: true, ..new.clone() });
        assert_eq!(store.release_get(old.digest).await.unwrap(), Some(old.clone()));
        assert_eq!(store.releases_list().await.unwrap().iter().filter(|release| release.active).count(), 1);
        assert_eq!(store.component_get(old.digest).await.unwrap().as_deref(), Some(b"component".as_slice()));
        assert_eq!(store.component_get(Digest::of(b"nothing")).await.unwrap(), None);
        let error = store.release_activate(Digest::of(b"nothing"), SwapCause::Activated, now()).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { what: "release", .. }), "{error}");
        let events = store.events_list(&Scope::all_tenants(), EventCursor::default(), 10).await.unwrap();
        assert_eq!(events.iter().map(|(_, event)| event.kind.as_str()).collect::<Vec<_>>(), ["connector.activated"; 2]);
        assert_eq!(events[1].1.data["before"], serde_json::json!(old.digest));

        assert_eq!(store.compiled_get("key").await.unwrap(), None);
        store.compiled_save("key", old.digest).await.unwrap();
        store.compiled_save("key", new.digest).await.unwrap();
        assert_eq!(store.compiled_get("key").await.unwrap(), Some(new.digest));
    })
    .await;
}

#[tokio::test]
async fn events_are_read_in_order_and_once_per_dedup_key() {
    each_database(async |store, _| {
        people(&store, 1).await;
        let about =
            Event { artist_id: Some(artist(1).id), data: serde_json::json!({ "text": "a\0b" }), ..event(3, None) };
        store
            .events_write(&Scope::all_tenants(), &[event(1, Some("key")), event(2, Some("key")), about.clone()])
            .await
            .unwrap();
        store.events_write(&Scope::all_tenants(), &[event(4, Some("key")), event(5, Some("other"))]).await.unwrap();
        let (mut cursor, mut read) = (EventCursor::default(), Vec::new());
        while let Some((next, event)) = store.events_list(&Scope::all_tenants(), cursor, 1).await.unwrap().pop() {
            assert!(next > cursor);
            cursor = next;
            read.push(event);
        }
        let about = Event { data: serde_json::json!({ "text": "ab" }), ..about };
        assert_eq!(read, [event(1, Some("key")), about, event(5, Some("other"))]);
    })
    .await;
}
