//! Tests of `fetch` and `check`: which requests are sent, in which order, and how responses are used.

use super::*;

fn lists(replay: &Replay) -> Vec<String> {
    replay.urls().into_iter().filter(|url| url.contains("?ids=")).collect()
}

#[test]
fn a_batch_of_fifty_takes_two_artist_requests() {
    let ids: Vec<String> = (0..50).map(|index| format!("{}", 10_000 + index)).collect();
    let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
    let replay = with_parts().get("/artists?ids=", 200, artists_of(&asked));
    let batch = replay.fetch::<AppleMusic>(accounts(&asked), context()).accounts;
    assert!(batch.iter().all(Result::is_ok));
    assert_eq!(lists(&replay).len(), 2);
    assert!(lists(&replay).iter().all(|url| url.split(',').count() == 25 && url.ends_with("&include=albums")));
    assert_eq!(replay.urls().len(), 2 + 50 + 50);
    assert!(
        replay
            .sent()
            .iter()
            .all(|request| request.credential.as_ref().is_some_and(|it| it.slot == "app" && it.account.is_none()))
    );
}

#[test]
fn artists_are_matched_by_id_and_the_missing_one_is_not_found() {
    let replay = with_parts().get("/artists?ids=", 200, fixture!("artists.json"));
    let batch = replay.fetch::<AppleMusic>(accounts(&[ARIA, GHOST, BORA]), context()).accounts;
    assert_eq!(lists(&replay), ["https://api.music.apple.com/v1/catalog/us/artists?ids=1001,2002,3003&include=albums"]);
    assert!(matches!(batch[1], Err(FetchError::NotFound)));
    assert!(!replay.urls().iter().any(|url| url.contains("/3003/")), "no further request for an unknown artist");
    let aria = snapshot_of(&batch[0].as_ref().expect("fetched").body);
    assert_eq!(metric(&aria, "genres"), json!(["Alternative", "Dream Pop"]));
    assert_eq!(metric(&aria, "top_track"), json!("Harbour Lights"));
    assert_eq!(metric(&aria, "recent_releases"), json!(0), "the error 'no related resources' means 0 releases");
    assert_eq!(metric(&aria, "followers"), absent("not-offered"));
    let bora = snapshot_of(&batch[2].as_ref().expect("fetched").body);
    assert_eq!(metric(&bora, "genres"), json!([]));
}

#[test]
fn albums_are_paged_by_following_next() {
    let replay = Replay::new()
        .get("/albums?limit=100", 200, fixture!("albums_page1.json"))
        .get("/albums?offset=102", 200, fixture!("albums_page2.json"))
        .get("/view/top-songs", 200, fixture!("top_songs.json"))
        .get("/artists/1001", 200, fixture!("artist.json"));
    let snapshot = replay.collect::<AppleMusic>(accounts(&[ARIA]).remove(0), context()).expect("collected");
    assert!(
        replay
            .urls()
            .contains(&"https://api.music.apple.com/v1/catalog/us/artists/1001/albums?offset=102&limit=100".to_owned()),
        "{:?}",
        replay.urls()
    );
    // Counted: 9001 (on both pages, once) and 9006. Skipped: 9004 (vague date) and 9007 (no date). 9005 is only
    // announced.
    assert_eq!(metric(&snapshot, "recent_releases"), json!(2));
    assert_eq!(coverage(&snapshot, "recent_releases"), (2, 2));
}

#[test]
fn albums_that_came_with_the_artist_are_not_requested_again() {
    let album = |id: &str| json!({ "id": id, "type": "albums", "attributes": { "releaseDate": "2026-11-01" } });
    let artist = |next: Json| {
        let albums = json!({ "data": [album("1"), album("2")], "next": next });
        json!({ "data": [{ "id": ARIA, "type": "artists", "relationships": { "albums": albums } }] }).to_string()
    };
    let all =
        Replay::new().get("/view/top-songs", 200, fixture!("none.json")).get("/artists/1001", 200, artist(Json::Null));
    let snapshot = all.collect::<AppleMusic>(accounts(&[ARIA]).remove(0), context()).expect("collected");
    assert_eq!(metric(&snapshot, "recent_releases"), json!(2));
    assert_eq!(all.urls().len(), 2);

    let more = Replay::new()
        .get("/albums?offset=25", 200, json!({ "data": [album("3")] }).to_string())
        .get("/view/top-songs", 200, fixture!("none.json"))
        .get("/artists/1001", 200, artist(json!("/v1/catalog/us/artists/1001/albums?offset=25")));
    let snapshot = more.collect::<AppleMusic>(accounts(&[ARIA]).remove(0), context()).expect("collected");
    assert_eq!(metric(&snapshot, "recent_releases"), json!(3));
}

#[test]
fn endless_and_foreign_pages_affect_their_metric_only() {
    for next in ["/v1/catalog/us/artists/1001/albums?limit=100&offset=1", "https://elsewhere.example/v1/", "albums"] {
        let replay = Replay::new()
            .get("/albums?", 200, json!({ "data": [], "next": next }).to_string())
            .get("/view/top-songs", 200, fixture!("top_songs.json"))
            .get("/artists/1001", 200, fixture!("artist.json"));
        let snapshot = replay.collect::<AppleMusic>(accounts(&[ARIA]).remove(0), context()).expect("collected");
        assert_eq!(metric(&snapshot, "recent_releases"), absent("unavailable"), "{next}");
        assert_eq!(metric(&snapshot, "top_track"), json!("Harbour Lights"));
        assert!(replay.urls().iter().all(|url| url.starts_with("https://api.music.apple.com/v1/")));
    }
}

#[test]
fn a_missing_artist_is_looked_for_in_the_next_storefronts() {
    let replay = with_parts()
        .get("/us/artists?ids=", 200, artists_of(&[BORA]))
        .get("/gb/artists/1001", 404, fixture!("error_40400.json"))
        .get("/jp/artists/3003", 404, fixture!("error_40400.json"))
        .get("/jp/artists/1001", 200, artists_of(&[ARIA]));
    let asked = vec![
        account_in(ARIA, json!(["us", "gb", "jp"])),
        account_in(BORA, json!(["us", "gb"])),
        account_in(GHOST, json!(["us", "us", "jp"])),
    ];
    let batch = replay.fetch::<AppleMusic>(asked, context()).accounts;
    // GHOST's second storefront is jp, in the same round as ARIA's gb. Neither has the artist, and ARIA continues with
    // jp.
    assert!(batch[0].is_ok() && batch[1].is_ok());
    assert!(matches!(batch[2], Err(FetchError::NotFound)));
    assert_eq!(
        replay.urls()[..2],
        [
            "https://api.music.apple.com/v1/catalog/us/artists?ids=1001,2002,3003&include=albums".to_owned(),
            "https://api.music.apple.com/v1/catalog/gb/artists/1001?include=albums".to_owned(),
        ]
    );
}

#[test]
fn parts_come_from_the_storefront_that_has_the_artist() {
    let replay = with_parts().get("/us/artists/1001", 404, fixture!("error_40400.json")).get(
        "/gb/artists/1001",
        200,
        fixture!("artist.json"),
    );
    let snapshot = replay.collect::<AppleMusic>(account_in(ARIA, json!(["us", "gb"])), context()).expect("collected");
    assert!(snapshot.notes.contains(&"storefront gb".to_owned()));
    let urls = replay.urls();
    assert!(
        urls.contains(&"https://api.music.apple.com/v1/catalog/gb/artists/1001/albums?limit=100".to_owned()),
        "{urls:?}"
    );
    assert!(urls.contains(&"https://api.music.apple.com/v1/catalog/gb/artists/1001/view/top-songs".to_owned()));
}

#[test]
fn storefronts_get_separate_requests() {
    let replay = with_parts().get("/us/artists/1001", 200, fixture!("artist.json")).get(
        "/de/artists/2002",
        200,
        artists_of(&[BORA]),
    );
    let asked = vec![account_in(ARIA, json!([])), account_in(BORA, json!(["DE"]))];
    assert!(replay.fetch::<AppleMusic>(asked, context()).accounts.iter().all(Result::is_ok));
}

#[test]
fn a_failing_fallback_is_not_taken_for_not_found() {
    let replay =
        with_parts().get("/us/artists/1001", 404, fixture!("error_40400.json")).get("/gb/artists/1001", 503, "");
    let batch = replay.fetch::<AppleMusic>(vec![account_in(ARIA, json!(["us", "gb"]))], context()).accounts;
    assert!(matches!(batch[0], Err(FetchError::Unavailable(_))));
}

#[test]
fn a_list_that_times_out_is_requested_one_by_one() {
    for (status, body) in [(504, fixture!("error_504.html")), (400, fixture!("error_40005.json"))] {
        let replay = with_parts()
            .get("/artists?ids=", status, body)
            .get("/artists/1001?", 200, fixture!("artist.json"))
            .get("/artists/3003?", 404, fixture!("error_40400.json"))
            .get("/artists/2002?", 504, fixture!("error_504.html"));
        let batch = replay.fetch::<AppleMusic>(accounts(&[ARIA, GHOST, BORA]), context()).accounts;
        assert!(batch[0].is_ok(), "HTTP {status}");
        assert!(matches!(batch[1], Err(FetchError::NotFound)));
        assert!(matches!(batch[2], Err(FetchError::Unavailable(_))));
    }
}

#[test]
fn a_list_that_is_not_whole_makes_nobody_unknown() {
    let with_next = |list: String| {
        let mut list: Json = list.parse().expect("JSON");
        list["next"] = "/v1/catalog/us/artists?offset=1".into();
        list.to_string()
    };
    let lists = [fixture!("none.json").to_owned(), artists_of(&[BORA]), with_next(artists_of(&[ARIA]))];
    for list in lists {
        let replay = with_parts()
            .get("/artists?ids=", 200, list.clone())
            .get("/artists/1001?", 200, fixture!("artist.json"))
            .get("/artists/3003?", 404, fixture!("error_40400.json"));
        let batch = replay.fetch::<AppleMusic>(accounts(&[ARIA, GHOST]), context()).accounts;
        assert!(batch[0].is_ok(), "{list}: {batch:?}");
        assert_eq!(batch[1], Err(FetchError::NotFound), "it was asked for alone");
        assert!(replay.urls().iter().any(|url| url.contains("/artists/3003?")), "{list}");
    }
}

#[test]
fn a_list_that_is_not_found_says_nothing_of_each_artist() {
    let none = Replay::new().get("/artists", 404, fixture!("error_40400.json"));
    let batch = none.fetch::<AppleMusic>(accounts(&[ARIA, GHOST]), context()).accounts;
    assert!(batch.iter().all(|outcome| matches!(outcome, Err(FetchError::NotFound))));
    assert_eq!(none.urls().len(), 3);
    let replay = with_parts()
        .get("/artists?ids=", 404, fixture!("error_40400.json"))
        .get("/artists/1001?", 200, fixture!("artist.json"))
        .get("/artists/3003?", 404, fixture!("error_40400.json"));
    let batch = replay.fetch::<AppleMusic>(accounts(&[ARIA, GHOST]), context()).accounts;
    assert!(batch[0].is_ok(), "{batch:?}");
    assert!(matches!(batch[1], Err(FetchError::NotFound)));
}

#[test]
fn odd_ids_and_empty_batches() {
    let replay = with_parts().get("/artists?ids=", 200, fixture!("artists.json")).get(
        "/artists/a,b",
        404,
        fixture!("error_40400.json"),
    );
    let batch = replay.fetch::<AppleMusic>(accounts(&["a,b", ARIA, "", ARIA, BORA]), context()).accounts;
    assert!(lists(&replay)[0].contains("?ids=1001,2002&"), "each id once: {:?}", lists(&replay));
    assert!(matches!((&batch[0], &batch[2]), (Err(FetchError::NotFound), Err(FetchError::NotFound))));
    assert!(batch[1].is_ok() && batch[3].is_ok() && batch[4].is_ok());
    let nothing = Replay::new();
    assert!(nothing.fetch::<AppleMusic>(Vec::new(), context()).accounts.is_empty() && nothing.urls().is_empty());
}

#[test]
fn the_document_holds_the_response_without_bulky_keys() {
    let replay = with_parts().get("/artists?ids=", 200, fixture!("artists.json"));
    let batch = replay.fetch::<AppleMusic>(accounts(&[ARIA, BORA]), context()).accounts;
    let body = &batch[0].as_ref().expect("fetched").body;
    assert!(body.contains("https://music.example/1001") && body.contains("\"albumName\":\"Low Tide\""), "{body}");
    assert!(!body.contains("artwork") && !body.contains("img.example"), "{body}");
}

#[test]
fn check_returns_the_name() {
    let replay = Replay::new().get("/us/artists/1001", 404, fixture!("error_40400.json")).get(
        "/gb/artists/1001",
        200,
        fixture!("artist.json"),
    );
    assert_eq!(replay.check::<AppleMusic>(account_in(ARIA, json!(["us", "gb"]))).expect("reachable"), "Aria Vale");
    let unknown = Replay::new().get("/artists/", 404, fixture!("error_40400.json"));
    assert!(matches!(unknown.check::<AppleMusic>(accounts(&[ARIA]).remove(0)), Err(FetchError::NotFound)));
}
