//! Tests of the list of hosts.

use std::collections::BTreeMap;

use backline_model::SwapCause;
use backline_model::outcome::{Exclusion, Outcome};
use backline_store::{Presence, Scope};
use chrono::TimeDelta;

use super::fixtures::{add_batches, batch, day, demo, now, past, people, release, run};
use crate::support::database::{each_database, write};

fn host(name: &str) -> Presence {
    Presence { name: name.to_owned(), version: "1.2.3".to_owned(), state: "ready", started_at: now() }
}

#[tokio::test]
async fn a_host_is_listed_while_it_sends_heartbeats_and_removed_when_it_leaves() {
    each_database(async |store, _| {
        let later = now() + TimeDelta::seconds(5);
        store.host_announce(&host("b"), now()).await.unwrap();
        store.host_announce(&host("a"), now()).await.unwrap();
        assert!(store.host_beat(&Presence { state: "stopping", ..host("b") }, later).await.unwrap());
        let hosts = store.hosts_list(later).await.unwrap();
        let seen: Vec<_> = hosts.iter().map(|host| (host.name.as_str(), host.state.as_str(), host.seen_at)).collect();
        assert_eq!(seen, [("a", "ready", now()), ("b", "stopping", later)]);
        assert!(hosts.iter().all(|host| !host.leads && host.version == "1.2.3" && host.started_at == now()));

        assert_eq!(store.unseen_hosts_forget(past(later), later).await.unwrap(), 1);
        store.host_forget("b", now()).await.unwrap();
        assert!(store.hosts_list(later).await.unwrap().is_empty());
        assert!(store.host_beat(&host("a"), later).await.unwrap(), "a removed host is listed again");
    })
    .await;
}

#[tokio::test]
async fn a_host_that_was_seen_by_a_clock_ahead_is_removed() {
    each_database(async |store, _| {
        store.host_announce(&host("ahead"), now() + TimeDelta::days(40)).await.unwrap();
        store.host_announce(&host("right"), now()).await.unwrap();
        let (old, furthest) = (past(now() - TimeDelta::days(1)), now() + TimeDelta::minutes(5));
        assert_eq!(store.unseen_hosts_forget(old, furthest).await.unwrap(), 1);
        let hosts = store.hosts_list(now()).await.unwrap();
        assert_eq!(hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["right"]);
        assert!(store.host_beat(&host("ahead"), now()).await.unwrap(), "one that lives is listed again");
    })
    .await;
}

#[tokio::test]
async fn a_host_whose_name_was_taken_learns_it_and_does_not_take_it_back() {
    each_database(async |store, _| {
        let later = now() + TimeDelta::seconds(1);
        let twin = Presence { started_at: later, ..host("same") };
        store.host_announce(&host("same"), now()).await.unwrap();
        store.host_announce(&twin, later).await.unwrap();
        assert!(!store.host_beat(&host("same"), later).await.unwrap());
        assert!(store.host_beat(&twin, later).await.unwrap());
        store.host_forget("same", now()).await.unwrap();
        assert_eq!(store.hosts_list(later).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_holder_of_a_role_is_returned_until_it_expires() {
    each_database(async |store, url| {
        store.host_announce(&host("a"), now()).await.unwrap();
        let insert = "INSERT INTO leaders (role, holder, term, expires_at)
             VALUES ('scheduler', 'a', 1, '2026-11-22T12:00:10.000000Z')";
        write(url, insert).await;
        assert!(store.hosts_list(now()).await.unwrap()[0].leads);
        assert!(!store.hosts_list(now() + TimeDelta::minutes(1)).await.unwrap()[0].leads);
    })
    .await;
}

#[tokio::test]
async fn a_release_that_no_host_can_load_holds_no_run_open_for_more_than_an_hour() {
    each_database(async |store, _| {
        let (all, digest) = (Scope::all_tenants(), release().digest);
        let accounts = people(&store, 1).await;
        store.release_save(&release(), b"component").await.unwrap();
        store.release_activate(digest, SwapCause::Activated, now()).await.unwrap();
        add_batches(&store, &[batch(1, &run(1), &[&accounts[0]], day("2026-11-22"))], now()).await;
        let excluded = async |minutes: i64| {
            let at = now() + TimeDelta::minutes(minutes);
            for name in ["a", "b"] {
                store.host_announce(&host(name), at).await.unwrap();
            }
            store.orphaned_batches_exclude(&all, at).await.unwrap()
        };
        assert_eq!(excluded(61).await, BTreeMap::new(), "no host has tried to load it");
        store.load_report_save("a", digest, Some("it is damaged"), now()).await.unwrap();
        store.load_report_save("b", digest, None, now()).await.unwrap();
        assert_eq!(excluded(61).await, BTreeMap::new(), "a host can collect it");
        store.load_report_save("b", digest, Some("it is damaged"), now()).await.unwrap();
        assert_eq!(excluded(59).await, BTreeMap::new(), "it may be repaired");
        // A try that fails again does not begin the hour again.
        let tried_again = now() + TimeDelta::minutes(58);
        store.load_report_save("a", digest, Some("it is damaged"), tried_again).await.unwrap();
        let started_at = now() + TimeDelta::minutes(30);
        let third = Presence { started_at, ..host("c") };
        store.host_announce(&third, now() + TimeDelta::minutes(61)).await.unwrap();
        assert_eq!(excluded(61).await, BTreeMap::new(), "a host that has not tried yet may be able to");
        store.load_report_save("c", digest, Some("it is damaged"), tried_again).await.unwrap();
        assert_eq!(excluded(61).await, BTreeMap::new(), "it may be repaired there");
        store.host_forget("c", started_at).await.unwrap();
        assert_eq!(excluded(61).await, BTreeMap::from([(demo(), 1)]));
        let outcomes = store.run_outcomes_list(&all, run(1).id, None, 10).await.unwrap();
        assert_eq!(outcomes[0].outcome, Outcome::Excluded { reason: Exclusion::NoConnector });
        let said = "no host could load the release of the platform before it had begun";
        assert_eq!(outcomes[0].note.as_deref(), Some(said));
        assert!(store.run_finish(&all, run(1).id, now()).await.unwrap().finished_at.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_a_clock_ahead_planned_waits_no_longer_for_a_release_than_others() {
    each_database(async |store, url| {
        let (all, digest, at) = (Scope::all_tenants(), release().digest, now() + TimeDelta::minutes(61));
        let accounts = people(&store, 1).await;
        store.release_save(&release(), b"component").await.unwrap();
        store.release_activate(digest, SwapCause::Activated, now()).await.unwrap();
        add_batches(&store, &[batch(1, &run(1), &[&accounts[0]], day("2026-11-22"))], now()).await;
        store.host_announce(&host("a"), now()).await.unwrap();
        store.load_report_save("a", digest, Some("it is damaged"), now()).await.unwrap();
        store.host_announce(&host("a"), at).await.unwrap();
        // By a clock that is a little ahead, as clocks are: it waits for its hour.
        write(url, "UPDATE batches SET created_at = '2026-11-22T13:04:00.000000Z'").await;
        assert_eq!(store.orphaned_batches_exclude(&all, at).await.unwrap(), BTreeMap::new());
        write(url, "UPDATE batches SET created_at = '2027-01-01T00:00:00.000000Z'").await;
        assert_eq!(store.orphaned_batches_exclude(&all, at).await.unwrap(), BTreeMap::from([(demo(), 1)]));
    })
    .await;
}
