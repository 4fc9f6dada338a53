//! Tests of chart places: asked once for a batch, only of the storefronts that accounts name.

use super::*;

/// A chart in Apple's form, of songs and albums with these ids.
fn charts(songs: &[&str], albums: &[&str]) -> String {
    let chart = |ids: &[&str]| {
        let data: Vec<Json> =
            ids.iter().map(|id| json!({ "id": id, "attributes": { "artistName": "Aria" } })).collect();
        json!([{ "chart": "most-played", "name": "Top", "orderId": "most-played:x", "data": data }])
    };
    json!({ "results": { "songs": chart(songs), "albums": chart(albums) } }).to_string()
}

fn in_charts(id: &str, storefronts: Json) -> Account {
    let mut account = testing::account(&format!("account-{id}"), id);
    account.settings = json!({ "chart_storefronts": storefronts }).to_string();
    account
}

/// The parts of an artist with albums 9001 and 9002 among others, and the top songs 7001 and 7002.
fn platform() -> Replay {
    Replay::new()
        .get("/albums?limit=100", 200, fixture!("albums_page1.json"))
        .get("/albums?offset=102", 200, fixture!("albums_page2.json"))
        .get("/view/top-songs", 200, fixture!("top_songs.json"))
}

fn with_artists(replay: Replay) -> Replay {
    replay.get("/artists?ids=", 200, fixture!("artists.json")).get("/artists/", 200, fixture!("artist.json"))
}

fn places(replay: &Replay, storefronts: Json) -> (Json, Json) {
    let snapshot = replay.collect::<AppleMusic>(in_charts(ARIA, storefronts), context()).expect("collected");
    (metric(&snapshot, "chart_place_songs"), metric(&snapshot, "chart_place_albums"))
}

#[test]
fn the_best_place_of_all_named_storefronts_counts() {
    let replay =
        with_artists(platform().get("/catalog/us/charts?", 200, charts(&["1", "7002", "7001"], &["2", "3"])).get(
            "/catalog/de/charts?",
            200,
            charts(&["7001"], &["4", "5", "6", "9002"]),
        ));
    assert_eq!(places(&replay, json!(["us", "de"])), (json!(1), json!(4)));
    assert_eq!(places(&replay, json!(["us"])), (json!(2), absent("not-found")));
    assert_eq!(places(&replay, json!([])), (absent("not-offered"), absent("not-offered")));
    let asked = replay.urls();
    let of_charts: Vec<_> = asked.iter().filter(|url| url.contains("/charts?")).collect();
    assert_eq!(of_charts.len(), 3, "none without a storefront: {of_charts:?}");
    assert_eq!(
        of_charts[0],
        "https://api.music.apple.com/v1/catalog/de/charts?types=songs,albums&chart=most-played&limit=200"
    );
}

#[test]
fn a_chart_is_asked_for_once_for_a_batch() {
    let replay = with_artists(platform().get("/charts?", 200, charts(&["7001"], &["9001"])));
    let accounts = vec![in_charts(ARIA, json!(["us"])), in_charts(BORA, json!(["us", "US"]))];
    let batch = replay.fetch::<AppleMusic>(accounts, context()).accounts;
    assert!(batch.iter().all(Result::is_ok), "{batch:?}");
    assert_eq!(replay.urls().iter().filter(|url| url.contains("/charts?")).count(), 1);
}

#[test]
fn a_chart_that_is_missing_gives_no_place_and_costs_nothing_else() {
    for (status, body) in [
        (200, "{}".to_owned()),
        (200, r#"{"results":{}}"#.to_owned()),
        (200, r#"{"results":{"songs":[],"albums":[]}}"#.to_owned()),
        (200, charts(&[], &[])),
        (503, String::new()),
        (404, fixture!("error_40400.json").to_owned()),
    ] {
        let replay = with_artists(platform().get("/charts?", status, body.clone()));
        let account = in_charts(ARIA, json!(["us"]));
        let snapshot = replay.collect::<AppleMusic>(account, context()).expect("collected");
        for name in ["chart_place_songs", "chart_place_albums"] {
            assert_eq!(metric(&snapshot, name), absent("unavailable"), "{name}: HTTP {status} {body}");
        }
        assert_eq!(metric(&snapshot, "recent_releases"), json!(2), "HTTP {status} {body}");
    }
    // One of two: the best place may be in the other.
    let replay = with_artists(platform().get("/catalog/us/charts?", 200, charts(&["7001"], &["9001"])).get(
        "/catalog/de/charts?",
        503,
        "",
    ));
    assert_eq!(places(&replay, json!(["us", "de"])), (absent("unavailable"), absent("unavailable")));
    // An item without an id may be the artist's, unless a better one is.
    let odd = charts(&["7001", "8"], &["8"]).replace("\"id\":\"8\"", "\"ID\":\"8\"");
    let replay = with_artists(platform().get("/charts?", 200, odd));
    assert_eq!(places(&replay, json!(["us"])), (json!(1), absent("unavailable")));
    let odd = charts(&["8", "7001"], &["9001", "8"]).replace("\"id\":\"8\"", "\"ID\":\"8\"");
    let replay = with_artists(platform().get("/charts?", 200, odd));
    assert_eq!(places(&replay, json!(["us"])), (absent("unavailable"), json!(1)), "it may have the better place");
}

#[test]
fn a_chart_that_goes_on_says_of_nobody_that_it_lacks_them() {
    let going_on = |songs: &[&str]| {
        let mut answer: Json = charts(songs, &["1"]).parse().expect("JSON");
        answer["results"]["songs"][0]["next"] = "/v1/catalog/us/charts?offset=2".into();
        with_artists(platform().get("/charts?", 200, answer.to_string()))
    };
    assert_eq!(places(&going_on(&["1", "2"]), json!(["us"])), (absent("unavailable"), absent("not-found")));
    assert_eq!(places(&going_on(&["1", "7001"]), json!(["us"])), (json!(2), absent("not-found")));
    // All places that were asked for are there, and what comes after them is none.
    let mut songs = vec!["1"; 200];
    assert_eq!(places(&going_on(&songs), json!(["us"])).0, absent("not-found"));
    songs.push("7001");
    assert_eq!(places(&going_on(&songs), json!(["us"])).0, absent("not-found"));
}

#[test]
fn a_song_or_album_without_an_id_may_be_in_a_chart() {
    let songs = fixture!("top_songs.json").replace("\"7002\"", "null");
    let replay = Replay::new()
        .get("/albums?limit=100", 200, fixture!("albums_page1.json"))
        .get("/albums?offset=102", 200, fixture!("albums_page2.json").replace("\"9007\"", "null"))
        .get("/view/top-songs", 200, songs)
        .get("/charts?", 200, charts(&["1", "7001"], &["9001"]));
    let found = places(&with_artists(replay), json!(["us"]));
    assert_eq!(found, (absent("unavailable"), absent("unavailable")), "their place may be the better one");
}

#[test]
fn a_place_is_one_of_those_that_were_asked_for() {
    let of = |place: Json| {
        let charts = json!({ "asked": ["us"], "of": { "us": { "answer": { "songs": { "place": place } } } } });
        crate::charts::best_place(&charts, "songs")
    };
    for place in [1, 200] {
        assert_eq!(of(json!(place)), Ok(Value::Integer(place)));
    }
    for odd in [json!(0), json!(201), json!(-7), json!(1.5), json!(9_007_199_254_740_993_i64), json!(null)] {
        assert_eq!(of(odd.clone()), Err(Absence::Unavailable), "{odd}");
    }
}

#[test]
fn albums_that_could_not_be_read_have_no_place() {
    let replay = Replay::new().get("/albums?", 200, "{}").get("/view/top-songs", 200, fixture!("top_songs.json")).get(
        "/charts?",
        200,
        charts(&["1"], &["9001"]),
    );
    assert_eq!(places(&with_artists(replay), json!(["us"])), (absent("not-found"), absent("unavailable")));
}

#[test]
fn it_passes_the_conformance_checks_with_charts() {
    let platform = || {
        with_artists(platform().get("/catalog/us/charts?", 200, charts(&["1", "7001"], &["9002"])).get(
            "/catalog/de/charts?",
            200,
            charts(&["7001"], &["2", "3"]),
        ))
    };
    let account = in_charts(ARIA, json!(["us", "de"]));
    let fetched = platform().fetch::<AppleMusic>(vec![account.clone()], context()).accounts.remove(0).expect("fetched");
    let window = context().window;
    let document = Document { body: fetched.body, window, observed_at: window.until };
    backline_sdk::conformance::check::<AppleMusic>(include_str!("../../connector.toml"), &[document]);
    backline_sdk::conformance::check_answers::<AppleMusic>(platform, &[account], &context());
}
