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

fn full() -> Json {
    json!({
        "storefront": "us",
        "artist": { "id": ARIA, "type": "artists", "attributes": { "name": "Aria Vale", "genreNames": ["Pop", "Music"] } },
        "albums": { "pages": [{ "data": [{ "id": "9", "attributes": { "releaseDate": "2026-11-01" } }] }] },
        "top_songs": { "answer": { "data": [{ "attributes": { "name": "T" } }] } },
    })
}

fn garbage() -> Vec<String> {
    let mut bodies: Vec<String> = ["null", "[]", "0", "\"text\"", "{}", "[[[]]]"].map(str::to_owned).into();
    // Each value at each place of a good document, replaced by something else.
    let pointers = [
        "/storefront",
        "/artist",
        "/artist/attributes",
        "/artist/attributes/genreNames",
        "/artist/attributes/genreNames/0",
        "/albums",
        "/albums/pages",
        "/albums/pages/0",
        "/albums/pages/0/data",
        "/albums/pages/0/data/0",
        "/albums/pages/0/data/0/id",
        "/albums/pages/0/data/0/attributes",
        "/albums/pages/0/data/0/attributes/releaseDate",
        "/top_songs",
        "/top_songs/answer",
        "/top_songs/answer/data",
        "/top_songs/answer/data/0",
        "/top_songs/answer/data/0/attributes",
        "/top_songs/answer/data/0/attributes/name",
    ];
    for pointer in pointers {
        for wrong in [Json::Null, json!([]), json!({}), json!("é"), json!(-1.5), json!(1e300), json!(true)] {
            let mut body = full();
            *body.pointer_mut(pointer).expect("it is there") = wrong;
            bodies.push(body.to_string());
        }
    }
    bodies
}

#[test]
fn it_does_what_every_connector_must() {
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
fn garbage_never_panics_and_every_metric_of_the_catalogue_is_answered_for() {
    let mut expected = catalogue();
    expected.sort();
    assert_eq!(expected.len(), 6);
    for body in garbage() {
        let snapshot = snapshot_of(&body);
        let mut names: Vec<String> = snapshot.metrics.iter().map(|metric| metric.name.clone()).collect();
        names.sort();
        assert_eq!(names, expected, "{body}");
        assert_eq!(format!("{snapshot:?}"), format!("{:?}", snapshot_of(&body)), "deterministic");
        for name in ["followers", "streams", "monthly_listeners"] {
            assert_eq!(value(&snapshot, name), absent("NotOffered"));
        }
    }
}

#[test]
fn what_is_not_json_is_said_so() {
    let window = context().window;
    for body in ["", "<html>", "{\"artist\":"] {
        let document = Document { body: body.to_owned(), window, observed_at: window.until };
        assert!(AppleMusic::normalize(document).expect_err("no JSON").contains("not JSON"));
    }
}

#[test]
fn a_release_that_is_only_announced_is_not_out() {
    let window = context().window;
    let day = 86_400;
    let at = |observed_at: i64| {
        let body = json!({ "albums": { "pages": [{ "data": [{ "id": "9", "attributes": { "releaseDate": "2026-11-18" } }] }] } });
        AppleMusic::normalize(Document { body: body.to_string(), window, observed_at }).expect("it is JSON")
    };
    assert_eq!(value(&at(UNTIL - 2 * day - 1), "recent_releases"), json!(0), "a second before the day");
    assert_eq!(value(&at(UNTIL - 2 * day), "recent_releases"), json!(1));
    assert_eq!(value(&at(UNTIL + 400 * day), "recent_releases"), json!(1), "a replay years later gives the same");
}

#[test]
fn missing_genres_are_unavailable_and_empty_ones_are_kept() {
    let of = |attributes: Json| snapshot_of(&json!({ "artist": { "attributes": attributes } }).to_string());
    assert_eq!(value(&of(json!({})), "genres"), absent("Unavailable"));
    assert_eq!(value(&of(json!({ "genreNames": [] })), "genres"), json!([]));
    assert_eq!(value(&of(json!({ "genreNames": ["Music", "J-Pop", "", null] })), "genres"), json!(["J-Pop"]));
}
