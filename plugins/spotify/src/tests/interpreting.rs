//! `normalize` by itself: pure, tolerant, complete.

use super::*;

/// The names of the manifest's metric catalogue.
fn catalogue() -> Vec<String> {
    include_str!("../../connector.toml")
        .split("[[metric]]")
        .skip(1)
        .map(|entry| entry.split('"').nth(1).expect("an entry begins with its name").to_owned())
        .collect()
}

fn garbage() -> Vec<String> {
    let full = json!({
        "artist": { "id": ARIA, "followers": { "total": 1 }, "popularity": 2, "genres": ["x"] },
        "top_tracks": { "answer": { "tracks": [{ "name": "T", "popularity": 3 }] } },
        "releases": { "pages": [{ "items": [{ "id": "r", "release_date": "2026-11-01", "release_date_precision": "day" }] }] },
    });
    let mut bodies: Vec<String> = ["null", "[]", "0", "\"text\"", "{}", "[[[]]]"].map(str::to_owned).into();
    // Each value at each place of a good document, replaced by something else.
    let pointers = [
        "/artist",
        "/artist/followers",
        "/artist/followers/total",
        "/artist/popularity",
        "/artist/genres",
        "/artist/genres/0",
        "/top_tracks",
        "/top_tracks/answer",
        "/top_tracks/answer/tracks",
        "/top_tracks/answer/tracks/0",
        "/top_tracks/answer/tracks/0/name",
        "/top_tracks/answer/tracks/0/popularity",
        "/releases",
        "/releases/pages",
        "/releases/pages/0",
        "/releases/pages/0/items",
        "/releases/pages/0/items/0",
        "/releases/pages/0/items/0/release_date",
        "/releases/pages/0/items/0/release_date_precision",
    ];
    for pointer in pointers {
        for wrong in
            [Json::Null, json!([]), json!({}), json!("é"), json!(-1.5), json!(1e300), json!(true), json!("year")]
        {
            let mut body = full.clone();
            *body.pointer_mut(pointer).expect("it is there") = wrong;
            bodies.push(body.to_string());
        }
    }
    bodies
}

#[test]
fn it_does_what_every_connector_must() {
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
fn garbage_never_panics_and_every_metric_of_the_catalogue_is_answered_for() {
    let mut expected = catalogue();
    expected.sort();
    assert_eq!(expected.len(), 8);
    for body in garbage() {
        let snapshot = snapshot_of(&body);
        let mut names: Vec<String> = snapshot.metrics.iter().map(|metric| metric.name.clone()).collect();
        names.sort();
        assert_eq!(names, expected, "{body}");
        assert_eq!(format!("{snapshot:?}"), format!("{:?}", snapshot_of(&body)), "deterministic");
        for name in ["streams", "monthly_listeners"] {
            assert_eq!(value(&snapshot, name), absent("NotOffered"));
        }
    }
}

#[test]
fn what_is_not_json_is_said_so() {
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
        assert_eq!(value(&broken, name), absent("Unavailable"), "{name}");
        assert_eq!(value(&missing, name), absent("NotOffered"), "{name}");
    }
    let large = of(json!({ "id": ARIA, "followers": { "total": 5_000_000_000_i64 } }));
    assert_eq!(value(&large, "followers"), json!(5_000_000_000_i64));
}

#[test]
fn top_tracks_without_titles_or_popularity() {
    let of = |answer: &str| snapshot_of(&format!("{{\"artist\":{{}},\"top_tracks\":{{\"answer\":{answer}}}}}"));
    let taken_down = of(fixture!("top_tracks_taken_down"));
    assert_eq!(value(&taken_down, "top_track"), absent("Unavailable"));
    assert_eq!(value(&taken_down, "top_tracks_popularity"), json!(0.0));
    let none = of("{\"tracks\":[]}");
    for name in ["top_track", "top_tracks_popularity"] {
        assert_eq!(value(&none, name), absent("NotFound"));
    }
    let without = of("{\"tracks\":[{\"name\":\"A\\u0000B\"}]}");
    assert_eq!(value(&without, "top_track"), json!("AB"));
    assert_eq!(value(&without, "top_tracks_popularity"), absent("NotOffered"));
}

#[test]
fn a_precision_coarser_than_the_date_is_believed() {
    let of = |date: &str, precision: &str| {
        let page = json!({ "items": [{ "id": "r", "release_date": date, "release_date_precision": precision }] });
        let snapshot = snapshot_of(&json!({ "releases": { "pages": [page] } }).to_string());
        let coverage =
            snapshot.metrics.iter().find(|it| it.name == "recent_releases").and_then(|it| it.coverage).expect("set");
        (coverage.counted, coverage.skipped)
    };
    assert_eq!(of("2026-11-01", "day"), (1, 0));
    assert_eq!(of("2026-11-01", "month"), (0, 1));
    assert_eq!(of("2026-01-01", "year"), (0, 1));
    assert_eq!(of("2025-01-01", "year"), (0, 0));
}
