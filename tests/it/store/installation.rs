//! Tests of the installation that a database belongs to.

use backline_model::InstallationId;
use backline_store::Presence;
use chrono::TimeDelta;

use super::fixtures::now;
use crate::support::database::each_database;

#[tokio::test]
async fn a_database_is_claimed_once_and_keeps_its_id() {
    each_database(async |store, _| {
        assert_eq!(store.installation_get().await.unwrap(), None);
        let (first, second) = (InstallationId::generate(), InstallationId::generate());
        assert_eq!(store.installation_claim(first, now()).await.unwrap(), first);
        assert_eq!(store.installation_claim(second, now()).await.unwrap(), first, "the first one stays");
        assert_eq!(store.installation_get().await.unwrap(), Some(first));
        store.migrate().await.unwrap();
        assert_eq!(store.installation_get().await.unwrap(), Some(first));
    })
    .await;
}

#[tokio::test]
async fn processes_that_claim_at_once_agree_on_one_id() {
    each_database(async |store, _| {
        let ids = [(); 6].map(|()| InstallationId::generate());
        let claims = ids.map(|id| {
            let store = store.clone();
            async move { store.installation_claim(id, now()).await.unwrap() }
        });
        let agreed = futures::future::join_all(claims).await;
        assert!(ids.contains(&agreed[0]) && agreed.iter().all(|id| *id == agreed[0]), "{agreed:?}");
    })
    .await;
}

#[tokio::test]
async fn a_host_says_whether_it_refreshes_tokens() {
    each_database(async |store, _| {
        let host = Presence { name: "a".to_owned(), version: "1.2.3".to_owned(), state: "ready", started_at: now() };
        store.host_announce(&host, now()).await.unwrap();
        let refreshes = async || store.hosts_list(now()).await.unwrap()[0].refreshes_tokens;
        assert!(refreshes().await);
        store.host_refreshes("a", now(), false).await.unwrap();
        assert!(!refreshes().await);
        assert!(store.host_beat(&host, now()).await.unwrap());
        assert!(!refreshes().await, "a heartbeat leaves it as it is");
        store.host_refreshes("a", now() - TimeDelta::seconds(1), true).await.unwrap();
        assert!(!refreshes().await, "an earlier host of that name says nothing");
        store.host_refreshes("a", now(), true).await.unwrap();
        assert!(refreshes().await);
    })
    .await;
}
