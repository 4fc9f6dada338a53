//! Tests of the audit log: what the command line leaves in it, and that nothing takes it out again.

use backline_model::privacy::{Identifiers, subject_of};
use backline_model::{ArtistId, Role};
use backline_store::{DatabaseKind, Scope};
use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;

use super::support::Place;
use crate::store::schema::raw;
use crate::support::database::each_database;

/// The entries that a listing prints, without their numbers and times.
async fn listed(place: &Place, more: &[&str]) -> Vec<Json> {
    let arguments = [&["audit", "list", "--json", "--log", "off"], more].concat();
    let (code, out, said) = place.run(&arguments).await;
    assert_eq!(code, Some(0), "{said}");
    let mut entries: Vec<Json> = serde_json::from_str(&out).expect("JSON");
    for entry in &mut entries {
        assert!(entry["seq"].is_i64() && entry["at"].is_string(), "{entry}");
        assert!(entry["name"].as_str().is_some_and(|name| name.starts_with("uid ")), "{entry}");
        assert_eq!(entry["actor"], "command");
        let fields = entry.as_object_mut().expect("an object");
        for field in ["seq", "at", "actor", "name", "origin", "before", "after"] {
            assert!(fields.remove(field).is_some(), "{field}");
        }
    }
    entries
}

async fn done(place: &Place, arguments: &[&str]) -> String {
    let (code, out, said) = place.run(&[arguments, &["--log", "off"]].concat()).await;
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commands_do_is_on_record_and_goes_with_the_artist_alone() {
    each_database(async |store, url| {
        let place = Place::new(url, "");
        let artist = ArtistId::generate();
        let id = artist.to_string();
        done(&place, &["artists", "add", "Canary Bird", "--id", &id]).await;
        // By a name that it has no more afterwards.
        done(&place, &["artists", "set", "Canary Bird", "--name", "Canary Song", "--collection", "false"]).await;
        let token = done(&place, &["tokens", "create", "--role", "viewer", "--name", "wall"]).await;
        let refused = place.run(&["tokens", "create", "--role", "viewer", "--tenant", "nobody", "--log", "off"]).await;
        assert_eq!(refused.0, Some(2), "{}", refused.2);
        done(&place, &["artists", "list"]).await;

        let entry = |action: &str, artist: Option<ArtistId>, details: Json| {
            json!({ "action": action, "outcome": "done", "tenant": null, "artist_id": artist, "details": details })
        };
        let made = entry("tokens create", None, json!({ "role": Role::Viewer, "name": "wall" }));
        let set = entry("artists set", Some(artist), json!({ "collection": "false" }));
        let added = entry("artists add", Some(artist), json!({}));
        let all = listed(&place, &[]).await;
        assert_eq!(all[..2], [made.clone(), set.clone()], "{all:?}");
        assert_eq!(all[2], added, "it is about the artist that it made");
        assert_eq!(all.len(), 3, "what was refused or only reads is not on record: {all:?}");
        assert_eq!(listed(&place, &["--artist", &id]).await, [set, added]);
        assert_eq!(listed(&place, &["--action", "tokens create"]).await, std::slice::from_ref(&made));
        assert_eq!(listed(&place, &["--limit", "1"]).await, std::slice::from_ref(&made));
        let text = Json::from(all).to_string();
        assert!(!text.contains("Canary") && !text.contains(token.trim()), "{text}");

        let pool = raw(url).await;
        let mut statements = vec!["UPDATE audit SET action = 'x'", "DELETE FROM audit"];
        if store.kind() == DatabaseKind::Postgres {
            statements.push("TRUNCATE audit");
        }
        for statement in statements {
            let error = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&pool).await.expect_err(statement);
            assert!(error.to_string().contains("the audit log is a record"), "{statement}: {error}");
        }
        pool.close().await;

        done(&place, &["privacy", "erase", &id, "--yes"]).await;
        let left = listed(&place, &[]).await;
        assert_eq!(left[0], entry("privacy erase", None, json!({})), "{left:?}");
        assert_eq!(left[1], made, "{left:?}");
        assert!(left.iter().all(|entry| entry["artist_id"].is_null()), "{left:?}");
        let text = Json::from(left).to_string();
        assert!(!text.contains(&id) && !text.contains(&subject_of(artist)), "{text}");
        let identifiers = Identifiers::of(artist, &[]);
        let found = store.identifiers_search(&Scope::all_tenants(), &identifiers, false, &|_| {}).await.unwrap();
        assert!(found.iter().all(|place| !place.table.ends_with("audit")), "{found:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_things_were_before_and_after_is_on_record() {
    each_database(async |_, url| {
        let place = Place::new(url, "");
        let artist = ArtistId::generate();
        let id = artist.to_string();
        done(&place, &["artists", "add", "Canary Bird", "--id", &id]).await;
        done(&place, &["artists", "set", "Canary Bird", "--name", "Canary Song", "--collection", "false"]).await;
        done(&place, &["tokens", "create", "--role", "viewer", "--name", "wall"]).await;
        done(&place, &["tokens", "revoke", "wall"]).await;
        done(&place, &["schedules", "add", "noon", "--cron", "0 12 * * *"]).await;
        done(&place, &["schedules", "remove", "noon"]).await;
        let list = async || -> Vec<Json> {
            let out = done(&place, &["audit", "list", "--json"]).await;
            assert!(!out.contains("Canary"), "{out}");
            serde_json::from_str(&out).expect("JSON")
        };
        let entries = list().await;
        let of = |action: &str| {
            let found = entries.iter().find(|entry| entry["action"] == action);
            found.unwrap_or_else(|| panic!("no entry of {action}: {entries:?}"))
        };
        let added = of("artists add");
        assert_eq!((&added["before"], &added["artist_id"]), (&json!({ "artist": null }), &json!(artist)));
        let set = of("artists set");
        assert_eq!(set["before"]["artist"]["data_collection_enabled"], json!(true), "{set}");
        assert_eq!(set["after"]["artist"]["data_collection_enabled"], json!(false), "{set}");
        let one = |states: &Json| states.as_object().expect("things").values().next().expect("one").clone();
        let (made, revoked) = (of("tokens create"), of("tokens revoke"));
        assert_eq!(one(&made["before"]), Json::Null);
        assert_eq!(one(&made["after"])["state"], json!("active"));
        assert_eq!(one(&revoked["before"])["state"], json!("active"));
        assert_eq!(one(&revoked["after"])["state"], json!("revoked"));
        assert_eq!(of("schedules add")["after"]["schedule noon"]["spec"]["cron"], json!("0 12 * * *"));
        assert_eq!(of("schedules remove")["after"], json!({ "schedule noon": null }));

        // What the artist was goes with the artist.
        done(&place, &["privacy", "erase", &id, "--yes"]).await;
        let left = list().await;
        let erased = left.first().expect("an entry");
        assert_eq!((&erased["action"], &erased["before"]), (&json!("privacy erase"), &Json::Null));
        assert!(left.iter().all(|entry| entry["before"].get("artist").is_none()), "{left:?}");
    })
    .await;
}
