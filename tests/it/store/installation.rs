//! Tests of the installation that a database belongs to.

use backline_model::InstallationId;
use backline_store::{DatabaseKind, FileOwner, Presence, Scope, Store, StoreError};
use chrono::TimeDelta;

use super::fixtures::{artist, now};
use crate::support::database::{each_database, write};

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
        store.host_set_refreshes("a", now(), false).await.unwrap();
        assert!(!refreshes().await);
        assert!(store.host_beat(&host, now()).await.unwrap());
        assert!(!refreshes().await, "a heartbeat leaves it as it is");
        store.host_set_refreshes("a", now() - TimeDelta::seconds(1), true).await.unwrap();
        assert!(!refreshes().await, "an earlier host of that name says nothing");
        store.host_set_refreshes("a", now(), true).await.unwrap();
        assert!(refreshes().await);
    })
    .await;
}

#[tokio::test]
async fn whose_a_file_is_can_be_read_whatever_its_schema() {
    each_database(async |store, url| {
        let owner = async || Store::file_owner_get(url).await.unwrap();
        if store.kind() == DatabaseKind::Postgres {
            assert_eq!(owner().await, FileOwner::Unknown, "a server is not asked");
            return;
        }
        assert_eq!(owner().await, FileOwner::NoOne, "nothing is in it");
        store.artists_save(&Scope::all_tenants(), &[artist(1)], now()).await.unwrap();
        assert_eq!(owner().await, FileOwner::Unknown, "it has artists of someone");
        let id = InstallationId::generate();
        store.installation_claim(id, now()).await.unwrap();
        assert_eq!(owner().await, FileOwner::Installation(id));
        // As before there were installations.
        write(url, "DROP TABLE installation").await;
        assert_eq!(owner().await, FileOwner::Unknown);
    })
    .await;
}

#[tokio::test]
async fn a_file_whose_owner_is_read_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let url = format!("sqlite://{}", path.display());
    assert_eq!(Store::file_owner_get(&url).await.unwrap(), FileOwner::NoOne);
    assert!(!path.exists(), "it is not made");
    write(&format!("{url}?mode=rwc"), "CREATE TABLE notes (text TEXT)").await;
    let before = std::fs::read(&path).unwrap();
    assert_eq!(Store::file_owner_get(&url).await.unwrap(), FileOwner::Unknown);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is put beside it");
    std::fs::write(&path, "no database at all").unwrap();
    let refused = Store::file_owner_get(&url).await.unwrap_err();
    assert!(matches!(refused, StoreError::File { .. }), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), b"no database at all");
}
