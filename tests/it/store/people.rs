//! Tests of artists, accounts, consents and candidates for collection.

use backline_model::{Account, AccountId, AccountStatus, Artist, Consent, SubscriptionStatus, Tenant};
use backline_store::{AccountFilter, ArtistFilter, Saved, Scope, StoreError};
use chrono::TimeDelta;
use uuid::Uuid;

use super::fixtures::{account, artist, demo, now, people};
use crate::support::database::each_database;

#[tokio::test]
async fn saving_artists_again_changes_only_what_differs() {
    each_database(async |store, _| {
        let artists: Vec<_> = (1..=3).map(artist).collect();
        assert_eq!(
            store.artists_save(&Scope::all_tenants(), &artists, now()).await.unwrap(),
            Saved { inserted: 3, updated: 0, left_out: 0 }
        );
        assert_eq!(store.artists_save(&Scope::all_tenants(), &artists, now()).await.unwrap(), Saved::default());

        let changed =
            Artist { name: "Zoë \0Ω".to_owned(), subscription_status: SubscriptionStatus::PastDue, ..artist(2) };
        let saved =
            store.artists_save(&Scope::all_tenants(), &[artist(1), changed.clone(), artist(4)], now()).await.unwrap();
        assert_eq!(saved, Saved { inserted: 1, updated: 1, left_out: 0 });
        let read = store.artist_get(&Scope::all_tenants(), changed.id).await.unwrap().unwrap();
        assert_eq!(read, Artist { name: "Zoë Ω".to_owned(), ..changed }, "U+0000 is stripped, nothing else");
        assert_eq!(store.artist_get(&Scope::all_tenants(), artist(9).id).await.unwrap(), None);

        let filter = ArtistFilter { status: Some(SubscriptionStatus::Active), ..ArtistFilter::default() };
        assert_eq!(
            store.artists_list(&Scope::all_tenants(), &filter).await.unwrap(),
            [artist(1), artist(3), artist(4)]
        );
        let filter = ArtistFilter { after: Some(artist(1).id), limit: Some(2), ..ArtistFilter::default() };
        let ids: Vec<_> =
            store.artists_list(&Scope::all_tenants(), &filter).await.unwrap().iter().map(|artist| artist.id).collect();
        assert_eq!(ids, [artist(2).id, artist(3).id]);
        let filter = ArtistFilter { tenant: Some(Tenant::new("other").unwrap()), ..ArtistFilter::default() };
        assert_eq!(store.artists_list(&Scope::all_tenants(), &filter).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn an_account_keeps_its_id_and_status_when_it_is_saved_again() {
    each_database(async |store, _| {
        let [first, _] = people(&store, 2).await.try_into().unwrap();
        assert!(
            store
                .account_set_status(&Scope::all_tenants(), first.id, AccountStatus::ReconnectNeeded, now())
                .await
                .unwrap()
        );
        let again = Account {
            id: AccountId::generate(),
            settings: serde_json::json!({ "market": "at", "nested": { "list": [1, 2.5, null] } }),
            ..first.clone()
        };
        assert_eq!(
            store.accounts_save(&Scope::all_tenants(), &[again.clone(), account(2)], now()).await.unwrap(),
            Saved { inserted: 0, updated: 1, left_out: 0 }
        );
        let read = store.account_get(&Scope::all_tenants(), first.id).await.unwrap().unwrap();
        assert_eq!(read, Account { settings: again.settings, status: AccountStatus::ReconnectNeeded, ..first.clone() });
        assert_eq!(store.account_get(&Scope::all_tenants(), again.id).await.unwrap(), None);

        let second = Account { id: AccountId::generate(), platform_id: "another".to_owned(), ..first.clone() };
        store.accounts_save(&Scope::all_tenants(), &[second], now()).await.unwrap();
        let filter =
            AccountFilter { artist: Some(first.artist_id), platform: Some(demo()), ..AccountFilter::default() };
        assert_eq!(
            store.accounts_list(&Scope::all_tenants(), &filter).await.unwrap().len(),
            2,
            "several accounts of one platform are allowed"
        );

        let stray = Account { artist_id: artist(77).id, ..account(77) };
        let error = store.accounts_save(&Scope::all_tenants(), &[account(2), stray], now()).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::NotFound { what: "artist", id } if *id == artist(77).id.to_string()),
            "{error}"
        );
        assert!(
            !store
                .account_set_status(&Scope::all_tenants(), account(77).id, AccountStatus::Active, now())
                .await
                .unwrap()
        );
    })
    .await;
}

#[tokio::test]
async fn candidates_are_paged_without_a_cap() {
    each_database(async |store, _| {
        let accounts = people(&store, 2_345).await;
        let (mut after, mut pages, mut seen) = (None, 0, Vec::new());
        loop {
            let page = store.candidates_list(&Scope::all_tenants(), &demo(), None, after, 1_000, now()).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.account_id);
            pages += 1;
            seen.extend(page.into_iter().map(|candidate| candidate.account_id));
        }
        assert_eq!(pages, 3);
        assert_eq!(seen, accounts.iter().map(|account| account.id).collect::<Vec<_>>());
        let (all, of) = (Scope::all_tenants(), Some(artist(2_000).id));
        let one = store.candidates_list(&all, &demo(), of, None, 1_000, now()).await.unwrap();
        assert_eq!(one.iter().map(|candidate| candidate.account_id).collect::<Vec<_>>(), [account(2_000).id]);
    })
    .await;
}

#[tokio::test]
async fn the_latest_consent_for_metrics_counts() {
    each_database(async |store, _| {
        people(&store, 2).await;
        let consent = |granted, hours, scope: &str| Consent {
            artist_id: artist(1).id,
            platform: demo(),
            granted,
            scope: scope.to_owned(),
            source: "import".to_owned(),
            recorded_at: now() + TimeDelta::hours(hours),
        };
        let consented = async || {
            let found = store.candidates_of(&Scope::all_tenants(), &[account(1).id]).await.unwrap();
            (found.len(), found[0].consented)
        };
        assert_eq!(consented().await, (1, false), "without a record there is no consent");
        store.consents_record(&Scope::all_tenants(), &[consent(true, 1, "metrics")]).await.unwrap();
        assert_eq!(consented().await, (1, true));
        let withdrawn = [consent(true, 3, "metrics"), consent(false, 2, "metrics")];
        store.consents_record(&Scope::all_tenants(), &withdrawn).await.unwrap();
        assert_eq!(consented().await, (1, false), "the order of writing counts, not the time of a machine");
        store.consents_record(&Scope::all_tenants(), &[consent(true, 4, "newsletter")]).await.unwrap();
        assert_eq!(consented().await, (1, false), "another scope has no effect");
        store.consents_record(&Scope::all_tenants(), &[consent(true, 3, "metrics")]).await.unwrap();
        assert_eq!(consented().await, (1, true), "the last one counts");

        let latest = store.latest_consents_get(&Scope::all_tenants(), artist(1).id).await.unwrap();
        assert_eq!(latest, [consent(true, 4, "newsletter"), consent(true, 3, "metrics")]);
        assert_eq!(store.latest_consents_get(&Scope::all_tenants(), artist(2).id).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_candidate_has_the_data_that_the_plan_needs() {
    each_database(async |store, _| {
        people(&store, 1).await;
        let changed = Artist {
            tenant: Tenant::new("label").unwrap(),
            data_collection_enabled: false,
            subscription_status: SubscriptionStatus::Canceled,
            timezone: "Asia/Tokyo".parse().unwrap(),
            ..artist(1)
        };
        store.artists_save(&Scope::all_tenants(), std::slice::from_ref(&changed), now()).await.unwrap();
        store.account_set_status(&Scope::all_tenants(), account(1).id, AccountStatus::Disabled, now()).await.unwrap();
        let all = Scope::all_tenants();
        let found = store.candidates_list(&all, &demo(), None, None, 10, now()).await.unwrap();
        let [found] = found.try_into().unwrap();
        assert_eq!(found.tenant, changed.tenant);
        assert_eq!(found.timezone.name(), "Asia/Tokyo");
        assert_eq!(found.subscription_status, SubscriptionStatus::Canceled);
        assert_eq!(found.account_status, AccountStatus::Disabled);
        assert_eq!((found.artist_id, found.platform, found.data_collection_enabled), (artist(1).id, demo(), false));

        let unknown = AccountId(Uuid::from_u128(5));
        let fetched = store.fetch_inputs_of(&Scope::all_tenants(), &[unknown, account(1).id]).await.unwrap();
        let [fetched] = fetched.try_into().unwrap();
        assert_eq!((fetched.id, fetched.platform_id.as_str()), (account(1).id, "channel-1"));
        assert_eq!((fetched.settings.as_str(), fetched.state), (r#"{"depth":2,"market":"de"}"#, None));
    })
    .await;
}
