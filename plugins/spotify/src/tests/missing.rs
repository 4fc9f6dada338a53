//! Tests of the README's table of classes, and of what is missing: it is never 0 and affects nothing else.

use backline_sdk::conformance;
use backline_sdk::testing::{class_name, class_table};

use super::*;

fn body_of(status: u16, answer: &str) -> String {
    if let Some(text) = answer.strip_prefix("text: ") {
        return text.to_owned();
    }
    if let Some(name) = answer.strip_prefix("flat ") {
        return json!({ "error": name, "error_description": "Refused" }).to_string();
    }
    let mut error = json!({ "status": status, "message": answer });
    if answer == "QUOTA_EXCEEDED" {
        error["reason"] = answer.into();
    }
    json!({ "error": error }).to_string()
}

#[test]
fn every_row_of_the_readme_has_its_class() {
    for row in class_table(include_str!("../../README.md")) {
        let replay = Replay::new().get("", row.status, row.body(|answer| body_of(row.status, answer)));
        let error = replay.check::<Spotify>(accounts(&[ARIA]).remove(0)).expect_err("no artist");
        assert_eq!(class_name(&error), row.class, "{row:?}: {error:?}");
    }
}

#[test]
fn a_lapsed_subscription_is_the_operators_and_ends_the_batch() {
    let words = "Active premium subscription required for the owner of the app";
    for body in [body_of(403, words), words.to_owned()] {
        let replay = Replay::new().get("", 403, body);
        let batch = replay.fetch::<Spotify>(accounts(&[ARIA, BORA, GHOST]), context()).accounts;
        assert!(batch.iter().all(|outcome| matches!(outcome, Err(FetchError::Misconfigured(_)))), "{batch:?}");
        assert_eq!(replay.urls().len(), 1);
    }
}

#[test]
fn a_block_page_is_no_quota_mode() {
    for (status, body) in [(403, "<html>Access Denied</html>"), (403, ""), (404, "<html>")] {
        let replay = Replay::new().get("/artists?ids=", status, body);
        let batch = replay.fetch::<Spotify>(accounts(&[ARIA, BORA]), context()).accounts;
        assert!(batch.iter().all(|outcome| matches!(outcome, Err(FetchError::Unavailable(_)))), "{batch:?}");
        let replay = Replay::new().get("/top-tracks", status, body).get("/albums", 200, fixture!("albums_none")).get(
            "/artists/",
            200,
            fixture!("artist"),
        );
        let snapshot = replay.collect::<Spotify>(accounts(&[ARIA]).remove(0), context()).expect("collected");
        assert_eq!(metric(&snapshot, "top_track"), absent("unavailable"), "HTTP {status} {body}");
    }
}

#[test]
fn a_number_that_other_artists_have_is_unavailable_and_not_outside_the_offer() {
    let artist = |id: &str, followers: Json| json!({ "id": id, "type": "artist", "followers": followers });
    let artists = json!({ "artists": [
        artist(ARIA, json!({ "total": 1_001 })),
        artist(BORA, json!({ "total": null })),
        { "id": GHOST, "type": "artist" },
    ] });
    let replay = with_parts().get("/artists?ids=", 200, artists.to_string());
    let batch = replay.fetch::<Spotify>(accounts(&[ARIA, BORA, GHOST]), context()).accounts;
    let followers = |index: usize| metric(&snapshot_of(&batch[index].as_ref().expect("fetched").body), "followers");
    assert_eq!(followers(0), json!(1_001));
    assert_eq!(followers(1), absent("unavailable"));
    assert_eq!(followers(2), absent("unavailable"));
}

#[test]
fn a_list_refused_for_one_id_is_asked_in_halves() {
    let ids: Vec<String> = (0..50).map(|number| format!("artist{number:02}AAAAAAAAAAAAAA")).collect();
    let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
    let artists: Vec<Json> =
        ids.iter().map(|id| json!({ "id": id, "type": "artist", "followers": { "total": 7 } })).collect();
    let replay = with_parts()
        .get("artist31", 400, fixture!("error_400_invalid_id"))
        .get("/artists?ids=", 200, json!({ "artists": artists }).to_string())
        .get("/artists/", 200, artists[30].to_string());
    let batch = replay.fetch::<Spotify>(accounts(&asked), context()).accounts;
    assert_eq!(batch.iter().filter(|outcome| outcome.is_ok()).count(), 49);
    assert_eq!(batch[31], Err(FetchError::NotFound));
    let lists = replay.urls().iter().filter(|url| url.contains("?ids=")).count();
    assert!(lists <= 12, "{lists}");
}

#[test]
fn a_list_that_is_too_short_makes_nobody_unknown() {
    let aria: Json = fixture!("artist").parse().expect("JSON");
    for artists in [json!([]), json!([aria])] {
        let replay = with_parts()
            .get("/artists?ids=", 200, json!({ "artists": artists }).to_string())
            .get(&format!("/artists/{ARIA}"), 200, fixture!("artist"))
            .get(&format!("/artists/{GHOST}"), 404, fixture!("error_404"))
            .get(&format!("/artists/{BORA}"), 200, json!({ "id": BORA, "type": "artist" }).to_string());
        let batch = replay.fetch::<Spotify>(accounts(&[BORA, GHOST, ARIA]), context()).accounts;
        assert!(batch[0].is_ok() && batch[2].is_ok(), "{artists}: {batch:?}");
        assert_eq!(batch[1], Err(FetchError::NotFound), "it was asked for alone");
        let count = |id: &str| replay.urls().iter().filter(|url| url.ends_with(&format!("/artists/{id}"))).count();
        let listed = artists.as_array().map_or(0, Vec::len);
        assert_eq!((count(ARIA), count(GHOST), count(BORA)), (1 - listed, 1, 1), "{artists}");
    }
}

#[test]
fn pages_of_fifty_fall_back_to_ten_once_and_for_a_week() {
    let platform = || {
        Replay::new()
            .get("/top-tracks", 200, fixture!("top_tracks"))
            .get("limit=50", 400, fixture!("error_400_invalid_limit"))
            .get("limit=10&offset=0", 200, fixture!("albums_page1"))
            .get("limit=10&offset=10", 200, fixture!("albums_page2"))
            .get("/artists?ids=", 200, fixture!("artists_extended"))
    };
    let large = |replay: &Replay| replay.urls().iter().filter(|url| url.contains("limit=50")).count();
    let replay = platform();
    let batch = replay.fetch::<Spotify>(accounts(&[ARIA, BORA]), context()).accounts;
    assert_eq!(large(&replay), 1, "one refusal for the batch");
    for fetched in &batch {
        let snapshot = snapshot_of(&fetched.as_ref().expect("fetched").body);
        assert_eq!(metric(&snapshot, "recent_releases"), json!(2));
        assert_eq!(metric(&snapshot, "catalogue_size"), json!(14));
    }
    let of_day = |days: i64| {
        let mut asked = accounts(&[ARIA, BORA]);
        for (account, fetched) in asked.iter_mut().zip(&batch) {
            account.state.clone_from(&fetched.as_ref().expect("fetched").state);
        }
        let replay = platform();
        let outcomes = replay.fetch::<Spotify>(asked, testing::context(UNTIL + days * 86_400)).accounts;
        (large(&replay), outcomes[0].as_ref().expect("fetched").state.clone())
    };
    assert_eq!(of_day(1), (0, batch[0].as_ref().expect("fetched").state.clone()), "remembered, and not renewed");
    assert_eq!(of_day(7).0, 1, "asked again after a week");
}

#[test]
fn a_large_page_that_is_granted_is_the_only_one() {
    let page = fixture!("albums_page1").replace("\"limit\":10", "\"limit\":50");
    let page = page.replace(
        r#""next":"https://api.spotify.com/v1/artists/ariaAAAAAAAAAAAAAAAAAA/albums?offset=10&limit=10""#,
        r#""next":null"#,
    );
    let replay = Replay::new().get("/top-tracks", 200, fixture!("top_tracks")).get("limit=50&offset=0", 200, page).get(
        "/artists/",
        200,
        fixture!("artist"),
    );
    let fetched = replay.fetch::<Spotify>(accounts(&[ARIA]), context()).accounts.remove(0).expect("fetched");
    assert_eq!(metric(&snapshot_of(&fetched.body), "catalogue_size"), json!(14));
    assert_eq!(replay.urls().len(), 3);
    assert_eq!(fetched.state, None);
}

#[test]
fn a_page_that_repeats_ends_the_paging_at_once() {
    let item = json!({ "id": "r1", "release_date": "2026-11-01" });
    let same = json!({ "limit": 10, "next": "https://api.spotify.com/more", "items": [item] }).to_string();
    let replay = Replay::new().get("/top-tracks", 200, fixture!("top_tracks")).get("/albums", 200, same).get(
        "/artists/",
        200,
        fixture!("artist"),
    );
    let snapshot = replay.collect::<Spotify>(accounts(&[ARIA]).remove(0), context()).expect("collected");
    for name in ["recent_releases", "catalogue_size"] {
        assert_eq!(metric(&snapshot, name), absent("unavailable"), "{name}");
    }
    assert_eq!(replay.urls().iter().filter(|url| url.contains("/albums")).count(), 2);
}

#[test]
fn a_page_that_does_not_say_that_it_is_the_last_is_no_end() {
    for page in [
        json!({ "limit": 50, "total": 120, "items": [{ "id": "r1" }] }),
        json!({ "limit": 50, "items": [{ "id": "r1" }] }),
        json!({ "limit": 50, "next": 7, "total": 1, "items": [{ "id": "r1" }] }),
        json!({ "limit": 50, "next": null, "total": 3, "items": [null, {}] }),
    ] {
        let replay = Replay::new()
            .get("/top-tracks", 200, fixture!("top_tracks"))
            .get("/albums", 200, page.to_string())
            .get("/artists/", 200, fixture!("artist"));
        let snapshot = replay.collect::<Spotify>(accounts(&[ARIA]).remove(0), context()).expect("collected");
        assert_eq!(metric(&snapshot, "recent_releases"), absent("unavailable"), "{page}");
    }
}

#[test]
fn no_damaged_answer_gives_an_invented_number() {
    let platform = || {
        Replay::new()
            .get("/top-tracks", 200, fixture!("top_tracks"))
            .get("offset=0", 200, fixture!("albums_page1"))
            .get("offset=10", 200, fixture!("albums_page2"))
            .get("/artists?ids=", 200, fixture!("artists_extended"))
    };
    conformance::check_answers::<Spotify>(platform, &accounts(&[ARIA, GHOST, BORA]), &context());
}
