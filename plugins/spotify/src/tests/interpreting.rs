//! Tests of `normalize` on its own.

use super::*;

#[test]
fn it_passes_the_conformance_checks() {
    let replay = Replay::new()
        .get("/top-tracks", 200, fixture!("top_tracks"))
        .get("offset=0", 200, fixture!("albums_page1"))
        .get("offset=10", 200, fixture!("albums_page2"))
        .get("/artists/", 200, fixture!("artist"));
    let fetched = replay.fetch::<Spotify>(accounts(&[ARIA]), context()).accounts.remove(0).expect("fetched");
    let window = context().window;
    let document = Document { body: fetched.body, window, observed_at: window.until };
    backline_sdk::conformance::check::<Spotify>(include_str!("../../connector.toml"), &[document]);
}

#[test]
fn a_document_that_is_not_json_is_refused() {
    let window = context().window;
    for body in ["", "<html>", "{\"artist\":", "\u{0}"] {
        let document = Document { body: body.to_owned(), window, observed_at: window.until };
        assert!(Spotify::normalize(document).expect_err("no JSON").contains("not JSON"));
    }
}

#[test]
fn a_broken_number_is_unavailable_and_a_missing_one_not_offered() {
    let of = |artist: Json| snapshot_of(&json!({ "artist": artist }).to_string());
    let broken = of(json!({ "id": ARIA, "followers": { "total": "many" }, "popularity": 61.5, "genres": "pop" }));
    let missing = of(json!({ "id": ARIA }));
    for name in ["followers", "popularity", "genres"] {
        assert_eq!(metric(&broken, name), absent("unavailable"), "{name}");
        assert_eq!(metric(&missing, name), absent("not-offered"), "{name}");
    }
    let large = of(json!({ "id": ARIA, "followers": { "total": 5_000_000_000_i64 } }));
    assert_eq!(metric(&large, "followers"), json!(5_000_000_000_i64));
}

#[test]
fn top_tracks_without_titles_or_popularity() {
    let of = |answer: &str| snapshot_of(&format!("{{\"artist\":{{}},\"top_tracks\":{{\"answer\":{answer}}}}}"));
    let taken_down = of(fixture!("top_tracks_taken_down"));
    assert_eq!(metric(&taken_down, "top_track"), absent("unavailable"));
    assert_eq!(metric(&taken_down, "top_tracks_popularity"), json!(0.0));
    let none = of("{\"tracks\":[]}");
    for name in ["top_track", "top_tracks_popularity"] {
        assert_eq!(metric(&none, name), absent("not-found"));
    }
    let without = of("{\"tracks\":[{\"name\":\"A\\u0000B\"}]}");
    assert_eq!(metric(&without, "top_track"), json!("AB"));
    assert_eq!(metric(&without, "top_tracks_popularity"), absent("not-offered"));
    for popularity in ["null", "\"61%\"", "{}"] {
        let unread = of(&format!("{{\"tracks\":[{{\"name\":\"A\",\"popularity\":{popularity}}}]}}"));
        assert_eq!(metric(&unread, "top_tracks_popularity"), absent("unavailable"), "{popularity}");
    }
    let extended = r#"{"mode":"extended","artist":{},"top_tracks":{"answer":{"tracks":[{"name":"A"}]}}}"#;
    assert_eq!(metric(&snapshot_of(extended), "top_tracks_popularity"), absent("unavailable"), "the app is offered it");
}

#[test]
fn a_popularity_is_an_index_of_0_to_100_and_the_mean_says_how_many_it_skips() {
    let unlike = ["-7", "101", "1.5", "9007199254740993", "9223372036854775809", "null", "\"text\"", "{}"];
    for popularity in unlike {
        let artist = snapshot_of(&format!("{{\"artist\":{{\"popularity\":{popularity}}}}}"));
        assert_eq!(metric(&artist, "popularity"), absent("unavailable"), "{popularity}");
        let tracks = format!(r#"[{{"popularity":60}},{{"popularity":{popularity}}},{{"popularity":70}},{{}}]"#);
        let some = snapshot_of(&format!(r#"{{"artist":{{}},"top_tracks":{{"answer":{{"tracks":{tracks}}}}}}}"#));
        assert_eq!(metric(&some, "top_tracks_popularity"), json!(65.0), "{popularity}");
        assert_eq!(coverage(&some, "top_tracks_popularity"), (2, 2), "{popularity}");
    }
    for popularity in [0, 100] {
        let artist = snapshot_of(&json!({ "artist": { "popularity": popularity } }).to_string());
        assert_eq!(metric(&artist, "popularity"), popularity);
    }
}

#[test]
fn a_total_below_what_was_seen_is_no_size() {
    let releases = ["r1", "r2", "r3"].map(|id| json!({ "id": id, "release_date": "2026-11-01" }));
    for (total, expected) in [
        (json!(3), json!(3)),
        (json!(40), json!(40)),
        (json!(0), absent("unavailable")),
        (json!(2), absent("unavailable")),
        (json!(-1), absent("unavailable")),
        (json!("many"), absent("unavailable")),
    ] {
        let pages = json!([{ "items": releases, "total": total }]);
        let snapshot = snapshot_of(&json!({ "releases": { "pages": pages } }).to_string());
        assert_eq!(metric(&snapshot, "catalogue_size"), expected, "{total}");
        assert_eq!(metric(&snapshot, "recent_releases"), json!(3), "{total}");
    }
}

#[test]
fn a_page_that_is_no_list_leaves_no_count_and_an_odd_release_is_skipped() {
    let release = json!({ "id": "r", "release_date": "2026-11-01", "release_date_precision": "day" });
    let of = |items: Json| {
        let pages = [json!({ "items": [release] }), json!({ "items": items, "total": 2 })];
        snapshot_of(&json!({ "releases": { "pages": pages } }).to_string())
    };
    for other in [Json::Null, json!({}), json!("text"), json!(0)] {
        for name in ["recent_releases", "catalogue_size"] {
            assert_eq!(metric(&of(other.clone()), name), absent("unavailable"), "{name}: {other}");
        }
    }
    for odd in [json!(1), json!({}), json!([])] {
        assert_eq!(coverage(&of(json!([odd])), "recent_releases"), (1, 1), "{odd}");
    }
}

#[test]
fn a_precision_coarser_than_the_date_counts() {
    let of = |date: &str, precision: &str| {
        let page = json!({ "items": [{ "id": "r", "release_date": date, "release_date_precision": precision }] });
        let snapshot = snapshot_of(&json!({ "releases": { "pages": [page] } }).to_string());
        coverage(&snapshot, "recent_releases")
    };
    assert_eq!(of("2026-11-01", "day"), (1, 0));
    assert_eq!(of("2026-11-01", "month"), (0, 1));
    assert_eq!(of("2026-01-01", "year"), (0, 1));
    assert_eq!(of("2025-01-01", "year"), (0, 0));
}
