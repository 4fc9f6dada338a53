//! Tests of `normalize` on its own.

use super::*;

#[test]
fn it_passes_the_conformance_checks() {
    let replay = Replay::new()
        .get("/albums?limit=100", 200, fixture!("albums_page1.json"))
        .get("/albums?offset=102", 200, fixture!("albums_page2.json"))
        .get("/view/top-songs", 200, fixture!("top_songs.json"))
        .get("/artists/", 200, fixture!("artist.json"));
    let fetched = replay.fetch::<AppleMusic>(accounts(&[ARIA]), context()).accounts.remove(0).expect("fetched");
    let window = context().window;
    let document = Document { body: fetched.body, window, observed_at: window.until };
    backline_sdk::conformance::check::<AppleMusic>(include_str!("../../connector.toml"), &[document]);
}

#[test]
fn a_document_that_is_not_json_is_refused() {
    let window = context().window;
    for body in ["", "<html>", "{\"artist\":"] {
        let document = Document { body: body.to_owned(), window, observed_at: window.until };
        assert!(AppleMusic::normalize(document).expect_err("no JSON").contains("not JSON"));
    }
}

#[test]
fn a_release_that_is_only_announced_is_not_counted() {
    let window = context().window;
    let day = 86_400;
    let at = |observed_at: i64| {
        let album = json!({ "id": "9", "attributes": { "releaseDate": "2026-11-18" } });
        let body = json!({ "albums": { "pages": [{ "data": [album] }] } });
        AppleMusic::normalize(Document { body: body.to_string(), window, observed_at }).expect("it is JSON")
    };
    assert_eq!(metric(&at(UNTIL - 2 * day - 1), "recent_releases"), json!(0), "a second before the day");
    assert_eq!(metric(&at(UNTIL - 2 * day), "recent_releases"), json!(1));
    assert_eq!(
        metric(&at(UNTIL + 400 * day), "recent_releases"),
        json!(1),
        "normalising again years later gives the same result"
    );
}

#[test]
fn a_page_that_is_no_list_leaves_no_count() {
    let album = json!({ "id": "9", "attributes": { "releaseDate": "2026-11-01" } });
    let of = |data: Json| {
        let pages = [json!({ "data": [album] }), json!({ "data": data })];
        snapshot_of(&json!({ "albums": { "pages": pages } }).to_string())
    };
    for name in ["recent_releases", "catalogue_size"] {
        assert_eq!(metric(&of(json!([])), name), json!(1), "{name}");
        for other in [Json::Null, json!({}), json!("text"), json!(0)] {
            assert_eq!(metric(&of(other.clone()), name), absent("unavailable"), "{name}: {other}");
        }
    }
}

#[test]
fn missing_genres_are_unavailable_and_empty_ones_are_kept() {
    let of = |attributes: Json| snapshot_of(&json!({ "artist": { "attributes": attributes } }).to_string());
    assert_eq!(metric(&of(json!({})), "genres"), absent("unavailable"));
    assert_eq!(metric(&of(json!({ "genreNames": [] })), "genres"), json!([]));
    assert_eq!(metric(&of(json!({ "genreNames": ["Music", "J-Pop", "", null] })), "genres"), json!(["J-Pop"]));
}
