//! Tests of timelines: what is in them, and that pages of any length give the same.

use std::collections::BTreeSet;

use backline_model::Tenant;
use backline_model::audit::{Act, ActOutcome, Actor};
use backline_store::{DatabaseKind, PlacedEntry, Scope, Store, TimelineFilter};
use serde_json::json;

use super::fixtures::{account, artist, now, release};
use super::scope::{fill, held, ours, theirs};
use crate::support::database::{each_database, write};

fn kinds(entries: &[PlacedEntry]) -> BTreeSet<&'static str> {
    entries.iter().map(|(_, entry)| entry.kind).collect()
}

async fn of_account(store: &Store, scope: &Scope, filter: &TimelineFilter) -> Vec<PlacedEntry> {
    store.account_timeline_list(scope, account(2).id, filter).await.unwrap().unwrap_or_default()
}

async fn acted(store: &Store, tenant: Option<Tenant>, action: &str, about: bool, details: serde_json::Value) {
    let act = Act {
        at: now(),
        actor: Actor::Command { name: "uid 0".to_owned(), origin: "here".to_owned() },
        action: action.to_owned(),
        outcome: ActOutcome::Done,
        tenant,
        artist_id: about.then(|| artist(2).id),
        details,
        before: None,
        after: None,
    };
    store.audit_add(&Scope::all_tenants(), &act).await.unwrap();
}

#[tokio::test]
async fn an_accounts_timeline_has_all_that_happened_to_it_and_nothing_of_others() {
    each_database(async |store, _| {
        fill(&store).await;
        let all = Scope::all_tenants();
        store.quarantine_discard(&all, held(2), now()).await.unwrap();
        acted(&store, None, "accounts set", true, json!({ "status": "active" })).await;
        acted(&store, None, "credentials set", true, json!({ "platform": "another" })).await;
        let whole = of_account(&store, &all, &TimelineFilter::default()).await;
        let expected = BTreeSet::from(["consent", "credential", "decided", "outcome", "swap", "withheld"]);
        assert!(kinds(&whole).is_superset(&expected) && !kinds(&whole).contains("act"), "{whole:?}");
        assert!(whole.is_sorted_by(|(_, one), (_, next)| one.at >= next.at), "{whole:?}");
        let with_acts = TimelineFilter { with_acts: true, ..TimelineFilter::default() };
        let acts = of_account(&store, &all, &with_acts).await;
        let acts: Vec<&str> =
            acts.iter().filter(|(_, entry)| entry.kind == "act").map(|(_, entry)| entry.what.as_str()).collect();
        assert_eq!(acts, ["accounts set"], "the other one is about another platform");

        let own = of_account(&store, &Scope::tenant(theirs()), &TimelineFilter::default()).await;
        assert!(!kinds(&own).contains("swap") && own.len() >= 5, "{own:?}");
        assert!(of_account(&store, &Scope::tenant(ours()), &with_acts).await.is_empty());

        // As in the audit log, a tenant sees only its own acts, also about another's artist.
        acted(&store, Some(theirs()), "consents grant", true, json!({})).await;
        acted(&store, Some(ours()), "consents withdraw", true, json!({})).await;
        let acts = of_account(&store, &Scope::tenant(theirs()), &with_acts).await;
        let acts: Vec<&str> =
            acts.iter().filter(|(_, entry)| entry.kind == "act").map(|(_, entry)| entry.what.as_str()).collect();
        assert_eq!(acts, ["consents grant"], "the operator's acts are in no tenant's log");
    })
    .await;
}

#[tokio::test]
async fn a_timeline_is_the_same_an_entry_at_a_time_as_at_once() {
    each_database(async |store, _| {
        fill(&store).await;
        let all = Scope::all_tenants();
        for limit in [1, 2, 3] {
            let whole = of_account(&store, &all, &TimelineFilter::default()).await;
            let mut paged: Vec<PlacedEntry> = Vec::new();
            loop {
                let after = paged.last().map(|(place, _)| place.clone());
                let filter = TimelineFilter { after, with_acts: false, limit: Some(limit) };
                let page = of_account(&store, &all, &filter).await;
                assert!(page.len() <= limit as usize && paged.len() < 1_000);
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            assert_eq!(paged, whole, "{limit} at a time");
        }
    })
    .await;
}

#[tokio::test]
async fn an_entry_whose_time_can_not_be_read_costs_itself() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such texts out
        }
        fill(&store).await;
        write(url, "UPDATE quarantine SET created_at = '2026-11-22 at noon'").await;
        for limit in [1, 100] {
            let filter = TimelineFilter { limit: Some(limit), ..TimelineFilter::default() };
            let page = of_account(&store, &Scope::all_tenants(), &filter).await;
            assert!(!page.is_empty() && !kinds(&page).contains("withheld"), "{limit}: {page:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_cursor_that_no_list_gave_is_no_failure() {
    each_database(async |store, _| {
        fill(&store).await;
        for at in ["+100000-01-01T00:00:00Z", "-100000-01-01T00:00:00Z", "2026-11-22T00:00:00Z"] {
            let after = json!({ "at": at, "kind": 0, "key": "a\0b" });
            let after = Some(serde_json::from_value(after).expect("a cursor"));
            let filter = TimelineFilter { after, with_acts: true, limit: Some(2) };
            let page = of_account(&store, &Scope::all_tenants(), &filter).await;
            assert!(page.len() <= 2, "{at}: {page:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_connectors_timeline_has_its_releases_swaps_and_what_people_did() {
    each_database(async |store, _| {
        fill(&store).await;
        let name = release().manifest.connector.name;
        acted(&store, None, "plugins activate", false, json!({ "release": release().digest })).await;
        acted(&store, None, "plugins activate", false, json!({ "release": "another" })).await;
        let told = store.connector_timeline_list(&name, &TimelineFilter::default()).await.unwrap();
        assert!(kinds(&told).is_superset(&BTreeSet::from(["installed", "swap"])), "{told:?}");
        assert!(!kinds(&told).contains("act"), "{told:?}");
        let filter = TimelineFilter { with_acts: true, ..TimelineFilter::default() };
        let told = store.connector_timeline_list(&name, &filter).await.unwrap();
        assert_eq!(told.iter().filter(|(_, entry)| entry.kind == "act").count(), 1, "{told:?}");
        let installed = told.iter().find(|(_, entry)| entry.kind == "installed").expect("an entry");
        assert!(installed.1.words().contains(&release().digest.to_string()), "{installed:?}");
        assert!(store.connector_timeline_list("nobody", &filter).await.unwrap().is_empty());
    })
    .await;
}
