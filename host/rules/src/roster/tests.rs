//! Following a source: which changes result, and that none are left afterwards.

use proptest::prelude::*;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::*;
use crate::lists::Directory;
use backline_model::fixtures::{manifest_with, zone};
use backline_model::roster::KnownAccount;
use backline_model::{Consent, Manifest};

fn platform(name: &str) -> Platform {
    Platform::new(name).expect("a name")
}

/// Connectors of before `[account]`, and one with a rule.
fn platforms() -> Directory {
    let rule = "[account]\nid = 'tp[0-9]{4}'\nexamples = ['tp1234']";
    let named = |name: &str, rule: &str| {
        let text = manifest_with(rule).replace("\"example\"", &format!("\"{name}\""));
        Manifest::parse(&text).expect("a valid manifest")
    };
    Directory::of(&[named("youtube", ""), named("spotify", ""), named("apple_music", ""), named("tempo", rule)])
}

fn id(n: u8) -> ArtistId {
    ArtistId(Uuid::from_u128(u128::from(n)))
}

fn columns(names: &[&str]) -> Result<Columns, ColumnError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Columns::of(&names, &platforms())
}

fn read(row: Json) -> Result<SourceArtist, BadRow> {
    let Json::Object(row) = row else { panic!("a row is an object") };
    let names: Vec<&str> = row.keys().map(String::as_str).collect();
    let (artist, bad) = columns(&names).expect("known columns").read(7, &row)?;
    bad.into_iter().next().map_or(Ok(artist), Err)
}

fn source(n: u8, youtube: &[&str]) -> SourceArtist {
    let read = read(json!({ "id": id(n), "name": format!("Artist {n}"), "youtube": youtube }));
    read.expect("a good row")
}

fn follow(known: &mut BTreeMap<ArtistId, KnownArtist>, source: &[SourceArtist]) {
    let changes = difference(known, source);
    apply(known, &changes);
}

/// Applies changes as the store does.
fn apply(known: &mut BTreeMap<ArtistId, KnownArtist>, changes: &RosterChanges) {
    for artist in changes.artists_added.iter().chain(&changes.artists_changed) {
        let entry = known.entry(artist.id).or_insert_with(|| KnownArtist {
            artist: artist.clone(),
            origin: Provenance::Sync,
            accounts: Vec::new(),
            consents: Vec::new(),
        });
        entry.artist = artist.clone();
        if entry.origin == Provenance::SyncRemoved {
            entry.origin = Provenance::Sync;
        }
    }
    for account in &changes.accounts_added {
        let artist = known.get_mut(&account.artist_id).expect("an artist comes before its accounts");
        artist.accounts.push(KnownAccount { account: account.clone(), origin: Provenance::Sync });
    }
    for known in known.values_mut().flat_map(|artist| &mut artist.accounts) {
        if changes.accounts_restored.contains(&known.account.id) {
            known.origin = Provenance::Sync;
            if known.account.status == AccountStatus::Disabled {
                known.account.status = AccountStatus::Active;
            }
        }
        if changes.accounts_removed.iter().any(|(id, _)| *id == known.account.id) {
            known.origin = Provenance::SyncRemoved;
            known.account.status = AccountStatus::Disabled;
        }
    }
    for (artist_id, platform, granted) in &changes.consents {
        let consents = &mut known.get_mut(artist_id).expect("an artist comes before its consents").consents;
        consents.retain(|consent| consent.platform != *platform);
        consents.push(consent(*artist_id, platform.clone(), *granted, CONSENT_SOURCE));
    }
}

fn consent(artist_id: ArtistId, platform: Platform, granted: bool, source: &str) -> Consent {
    let recorded_at = chrono::DateTime::UNIX_EPOCH;
    Consent { artist_id, platform, granted, scope: "metrics".to_owned(), source: source.to_owned(), recorded_at }
}

#[test]
fn an_account_that_vanishes_is_switched_off_and_on_again_when_it_is_back() {
    let mut known = BTreeMap::new();
    follow(&mut known, &[source(1, &["a", "b"])]);
    let gone = difference(&known, &[source(1, &["b"])]);
    let a = AccountId::of(id(1), &platform("youtube"), "a");
    assert_eq!(gone, RosterChanges { accounts_removed: vec![(a, platform("youtube"))], ..RosterChanges::default() });
    apply(&mut known, &gone);
    let back = difference(&known, &[source(1, &["a", "b"])]);
    assert_eq!(back, RosterChanges { accounts_restored: vec![a], ..RosterChanges::default() });
}

#[test]
fn only_what_sync_made_is_switched_off_and_what_an_operator_switched_off_stays_off() {
    let mut known = BTreeMap::new();
    follow(&mut known, &[source(1, &["a"])]);
    for origin in [Provenance::Manual, Provenance::Import] {
        known.get_mut(&id(1)).expect("known").accounts[0].origin = origin;
        assert!(difference(&known, &[source(1, &[])]).is_empty(), "{origin:?}");
    }
    let account = &mut known.get_mut(&id(1)).expect("known").accounts[0];
    (account.origin, account.account.status) = (Provenance::Sync, AccountStatus::Disabled);
    assert!(difference(&known, &[source(1, &["a"])]).is_empty());
}

#[test]
fn what_the_source_does_not_speak_about_stays() {
    let mut known = BTreeMap::new();
    follow(&mut known, &[source(1, &["a"])]);
    let artist = &mut known.get_mut(&id(1)).expect("known").artist;
    (artist.timezone, artist.subscription_status) = (zone("Asia/Tokyo"), SubscriptionStatus::Canceled);
    let bare = read(json!({ "id": id(1) })).expect("a good row");
    assert!(difference(&known, &[bare]).is_empty());
    let spoken = read(json!({ "id": id(1), "timezone": null, "subscription_status": null, "youtube": null }));
    let changes = difference(&known, &[spoken.expect("a good row")]);
    assert_eq!(changes.artists_changed[0].timezone, Zone::utc());
    assert_eq!(
        changes.artists_changed[0].subscription_status,
        SubscriptionStatus::Inactive,
        "a missing status does not count as active"
    );
    assert_eq!(changes.accounts_removed.len(), 1);
}

#[test]
fn a_withdrawal_recorded_elsewhere_stands_and_one_by_the_source_does_not() {
    let says = |granted: bool| read(json!({ "id": id(1), "consent_youtube": granted })).expect("a good row");
    let mut known = BTreeMap::new();
    assert_eq!(difference(&known, &[says(false)]).consents, []);
    follow(&mut known, &[says(true)]);
    assert!(difference(&known, &[says(true)]).is_empty());
    let withdrawn = difference(&known, &[says(false)]);
    assert_eq!(withdrawn.consents, [(id(1), platform("youtube"), false)]);
    apply(&mut known, &withdrawn);
    assert_eq!(difference(&known, &[says(true)]).consents, [(id(1), platform("youtube"), true)]);
    known.get_mut(&id(1)).expect("known").consents = vec![consent(id(1), platform("youtube"), false, "operator")];
    let kept = difference(&known, &[says(true)]);
    assert_eq!((kept.consents.len(), kept.withdrawals_kept), (0, 1));
    known.get_mut(&id(1)).expect("known").consents = vec![consent(id(1), platform("youtube"), true, "operator")];
    assert_eq!(
        difference(&known, &[says(false)]).consents.len(),
        1,
        "a withdrawal counts, whichever source gave the consent"
    );
}

#[test]
fn a_broken_source_is_noticed() {
    assert!(is_plausible(0, 100, 0), "no account is missing");
    assert!(is_plausible(10, 12, 2), "a few may be missing");
    assert!(!is_plausible(11, 54, 43) && is_plausible(11, 55, 44));
    assert!(!is_plausible(3, 3, 0), "a source without rows is broken, however few accounts there are");
}

#[test]
fn accounts_are_given_as_one_id_as_a_list_or_between_commas() {
    for given in [json!("a, b,,"), json!(["a", "b", "a"]), json!(r#"["a","b"]"#)] {
        let artist = read(json!({ "id": id(1), "spotify_artist_id": given })).expect("a good row");
        assert_eq!(artist.accounts[&platform("spotify")], ["a", "b"]);
    }
    let artist = read(json!({ "id": id(1), "apple_music": 178834, "youtube": "" })).expect("a good row");
    assert_eq!(artist.accounts[&platform("apple_music")], ["178834"]);
    assert_eq!(artist.accounts[&platform("youtube")], Vec::<String>::new(), "spoken about, and none");
}

#[test]
fn a_column_of_ids_that_is_not_valid_costs_itself() {
    let row = json!({
        "id": id(1), "tempo": "tp1234", "tempo_id": "1.78403E+16", "spotify": "s1", "consent_spotify": false,
    });
    let Json::Object(row) = row else { unreachable!() };
    let names: Vec<&str> = row.keys().map(String::as_str).collect();
    let (artist, bad) = columns(&names).expect("known columns").read(7, &row).expect("the rest counts");
    assert_eq!((bad.len(), bad[0].column.as_str()), (1, "tempo_id"));
    assert!(bad[0].problem.contains("'1.78403E+16' is a rounded number"), "{}", bad[0].problem);
    assert_eq!(artist.accounts, [(platform("spotify"), vec!["s1".to_owned()])].into(), "tempo stays as it is");
    assert_eq!(artist.consents, [(platform("spotify"), false)].into());
}

#[test]
fn consents_are_an_object_or_a_list() {
    for given in [json!({ "youtube": true, "spotify": 0 }), json!(r#"{"youtube":"yes","spotify":false}"#)] {
        let artist = read(json!({ "id": id(1), "consents": given })).expect("a good row");
        assert_eq!(artist.consents, [(platform("youtube"), true), (platform("spotify"), false)].into());
    }
    let artist = read(json!({ "id": id(1), "consents": ["spotify"] })).expect("a good row");
    assert_eq!(artist.consents, [(platform("spotify"), true)].into());
    assert_eq!(read(json!({ "id": id(1), "consents": null })).expect("a good row").consents, BTreeMap::new());
}

#[test]
fn a_bad_row_names_its_id_and_column() {
    let ada = id(1).to_string();
    for (column, value, expected) in [
        ("subscription_status", json!("lapsed"), "'lapsed' is not one of active, "),
        ("data_collection_enabled", json!("maybe"), "neither true nor false"),
        ("timezone", json!("Berlin"), "IANA"),
        ("tenant", json!("No Tenant"), "tenant"),
        ("youtube", json!("UC 1"), "white space"),
        ("consents", json!({ "myspace": true }), "'myspace' is not a platform"),
        ("consent_youtube", json!("perhaps"), "neither true nor false"),
        ("name", json!("x".repeat(501)), "longer than 500"),
    ] {
        let bad = read(json!({ "id": ada, column: value })).expect_err(column);
        assert_eq!((bad.row, bad.id.as_deref(), bad.column.as_str()), (7, Some(ada.as_str()), column));
        assert!(bad.problem.contains(expected), "{}", bad.problem);
    }
    for id in [json!(17), json!(null)] {
        assert_eq!(read(json!({ "id": id })).expect_err("no UUID").column, "id");
    }
}

#[test]
fn unknown_columns_are_refused_by_name() {
    let error = columns(&["id", "instagram_token", "youtube", "consent_tiktok"]).expect_err("refused").to_string();
    assert!(error.contains(": instagram_token, consent_tiktok;") && error.contains("apple_music, spotify"), "{error}");
    assert_eq!(columns(&["name"]).err(), Some(ColumnError::NoId));
}

#[test]
fn the_default_query_takes_columns_of_platform_ids_and_no_token() {
    let names = ["id", "instagram_token", "spotify_artist_id", "youtube_channel_id", "tiktok_username", "email"];
    let names = names.map(str::to_owned);
    let query = default_query("artists", &names, &platforms()).expect("there is an id");
    assert_eq!(query, r#"SELECT "id", "spotify_artist_id", "youtube_channel_id" FROM artists"#);
    assert_eq!(default_query("artists", &names[1..], &platforms()), Err(ColumnError::NoId));
}

fn any_source() -> impl Strategy<Value = Vec<SourceArtist>> {
    let ids = prop::collection::vec("[a-d]", 0..4);
    let truth = prop::option::of(any::<bool>());
    let row = (0u8..6, "[A-C]?", truth.clone(), truth, ids, any::<bool>());
    prop::collection::btree_map(0u8..6, row, 0..6).prop_map(|rows| {
        let of = |(n, (_, name, enabled, consent, ids, speaks))| {
            let mut row = Map::from_iter([("id".to_owned(), json!(id(n))), ("name".to_owned(), json!(name))]);
            row.insert("data_collection_enabled".to_owned(), json!(enabled));
            row.insert("consent_youtube".to_owned(), json!(consent));
            if speaks {
                row.insert("youtube".to_owned(), json!(ids));
            }
            read(Json::Object(row)).expect("a good row")
        };
        rows.into_iter().map(of).collect()
    })
}

proptest! {
    #[test]
    fn following_a_source_leaves_nothing_to_change(sources in prop::collection::vec(any_source(), 1..5)) {
        let mut known = BTreeMap::new();
        for source in sources {
            let changes = difference(&known, &source);
            apply(&mut known, &changes);
            let rest = difference(&known, &source);
            prop_assert!(rest.is_empty(), "{rest:?}");
        }
    }
}
