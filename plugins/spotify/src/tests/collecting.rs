//! Tests of `fetch` and `check`: which requests are sent, in which order, and how responses are used.

use super::*;

#[test]
fn a_batch_is_one_artist_request_and_a_null_is_not_found() {
    let replay = with_parts().get("/artists?ids=", 200, fixture!("artists_extended"));
    let batch = replay.fetch::<Spotify>(accounts(&[ARIA, GHOST, BORA]), context()).accounts;
    assert_eq!(replay.urls()[0], format!("https://api.spotify.com/v1/artists?ids={ARIA},{GHOST},{BORA}"));
    assert_eq!(replay.urls().iter().filter(|url| url.contains("?ids=")).count(), 1);
    assert!(matches!(batch[1], Err(FetchError::NotFound)));
    assert!(
        !replay.urls().iter().any(|url| url.contains(&format!("/{GHOST}/"))),
        "no further request for an unknown artist"
    );

    let aria = snapshot_of(&batch[0].as_ref().expect("fetched").body);
    assert_eq!(metric(&aria, "followers"), json!(120_345));
    assert_eq!(metric(&aria, "popularity"), json!(61));
    assert_eq!(metric(&aria, "genres"), json!(["dream pop", "shoegaze"]));
    assert_eq!(metric(&aria, "top_track"), json!("Harbour Lights"));
    assert_eq!(metric(&aria, "top_tracks_popularity"), json!(67.5));
    let bora = snapshot_of(&batch[2].as_ref().expect("fetched").body);
    assert_eq!(metric(&bora, "followers"), json!(33_920), "integral floats are whole numbers");
    assert_eq!(metric(&bora, "popularity"), json!(0), "a real 0 stays 0");
    assert_eq!(metric(&bora, "genres"), json!([]), "an empty list is kept");
}

#[test]
fn fifty_artists_take_one_artist_request() {
    let ids: Vec<String> = (0..50).map(|index| format!("artist{index:016}")).collect();
    let artists: Vec<Json> =
        ids.iter().map(|id| json!({ "id": id, "followers": { "total": 1 }, "genres": [] })).collect();
    let replay = with_parts().get("/artists?ids=", 200, json!({ "artists": artists }).to_string());
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let batch = replay.fetch::<Spotify>(accounts(&ids), context()).accounts;
    assert!(batch.iter().all(Result::is_ok));
    assert_eq!(replay.urls().iter().filter(|url| url.contains("?ids=")).count(), 1);
    assert_eq!(replay.urls().len(), 1 + 50 + 50);
    assert!(
        replay
            .sent()
            .iter()
            .all(|request| request.credential.as_ref().is_some_and(|it| it.slot == "app" && it.account.is_none()))
    );
}

#[test]
fn development_mode_sends_single_requests_and_probes_top_tracks_once() {
    for (status, body) in [(403, fixture!("error_403")), (404, fixture!("error_404")), (410, fixture!("error_404"))] {
        let replay = Replay::new()
            .get("/artists?ids=", status, body)
            .get("/top-tracks", status, body)
            .get("/albums", 200, fixture!("albums_page2"))
            .get(&format!("/artists/{ARIA}"), 200, fixture!("artist_development"))
            .get(&format!("/artists/{GHOST}"), 404, fixture!("error_404"))
            .get(&format!("/artists/{BORA}"), 200, fixture!("artist_development"));
        let batch = replay.fetch::<Spotify>(accounts(&[ARIA, GHOST, BORA]), context()).accounts;
        assert_eq!(replay.urls().iter().filter(|url| url.contains("/top-tracks")).count(), 1, "HTTP {status}");
        assert!(matches!(batch[1], Err(FetchError::NotFound)));
        for index in [0, 2] {
            let snapshot = snapshot_of(&batch[index].as_ref().expect("fetched").body);
            for name in
                ["followers", "popularity", "top_track", "top_tracks_popularity", "streams", "monthly_listeners"]
            {
                assert_eq!(metric(&snapshot, name), absent("not-offered"), "{name}");
            }
            assert_eq!(metric(&snapshot, "recent_releases"), json!(2));
        }
    }
}

#[test]
fn artists_without_followers_mean_development_mode_too() {
    let replay = Replay::new()
        .get("/artists?ids=", 200, fixture!("artists_development"))
        .get("/top-tracks", 403, fixture!("error_403"))
        .get("/albums", 200, fixture!("albums_none"));
    let batch = replay.fetch::<Spotify>(accounts(&[ARIA, BORA]), context()).accounts;
    assert_eq!(replay.urls().iter().filter(|url| url.contains("/top-tracks")).count(), 1);
    let bora = snapshot_of(&batch[1].as_ref().expect("fetched").body);
    assert_eq!(metric(&bora, "followers"), absent("not-offered"));
    assert_eq!(metric(&bora, "genres"), json!(["folk"]));
}

#[test]
fn a_mode_that_still_has_top_tracks_gets_them_for_every_artist() {
    let replay = with_parts().get("/artists?ids=", 200, fixture!("artists_development"));
    let batch = replay.fetch::<Spotify>(accounts(&[ARIA, BORA]), context()).accounts;
    assert_eq!(
        replay.urls().iter().filter(|url| url.contains("/top-tracks")).count(),
        2,
        "the probe's response is used"
    );
    for fetched in batch {
        assert_eq!(metric(&snapshot_of(&fetched.expect("fetched").body), "top_track"), json!("Harbour Lights"));
    }
}

#[test]
fn releases_are_paged_to_the_end_by_offset() {
    let replay = Replay::new()
        .get("/top-tracks", 200, fixture!("top_tracks"))
        .get("offset=0", 200, fixture!("albums_page1"))
        .get("offset=10", 200, fixture!("albums_page2"))
        .get(&format!("/artists/{ARIA}"), 200, fixture!("artist"));
    let snapshot = replay.collect::<Spotify>(accounts(&[ARIA]).remove(0), context()).expect("collected");
    assert!(replay.urls().contains(&format!(
        "https://api.spotify.com/v1/artists/{ARIA}/albums?include_groups=album,single&limit=50&offset=10"
    )));
    // Counted: r3 (on both pages, once) and r6. Skipped: r5, r8 and r9, whose dates are too vague.
    assert_eq!(metric(&snapshot, "recent_releases"), json!(2));
    assert_eq!(coverage(&snapshot, "recent_releases"), (2, 3));
}

#[test]
fn a_smaller_page_than_requested_skips_nothing_and_an_empty_page_is_not_the_end() {
    let page =
        |limit: u32, next: Json, items: Json| json!({ "limit": limit, "next": next, "items": items }).to_string();
    let release = json!([{ "id": "r", "release_date": "2026-11-01", "release_date_precision": "day" }]);
    let replay = Replay::new()
        .get("/top-tracks", 200, fixture!("top_tracks"))
        .get("offset=0", 200, page(5, json!("https://api.spotify.com/anything"), json!([])))
        .get("offset=5", 200, page(5, Json::Null, release))
        .get(&format!("/artists/{ARIA}"), 200, fixture!("artist"));
    let snapshot = replay.collect::<Spotify>(accounts(&[ARIA]).remove(0), context()).expect("collected");
    assert_eq!(metric(&snapshot, "recent_releases"), json!(1));
}

#[test]
fn endless_releases_end_and_affect_their_metric_only() {
    let endless = json!({ "limit": 10, "next": "https://api.spotify.com/more", "items": [] }).to_string();
    let replay = Replay::new().get("/top-tracks", 200, fixture!("top_tracks")).get("/albums", 200, endless).get(
        &format!("/artists/{ARIA}"),
        200,
        fixture!("artist"),
    );
    let snapshot = replay.collect::<Spotify>(accounts(&[ARIA]).remove(0), context()).expect("collected");
    assert_eq!(metric(&snapshot, "recent_releases"), absent("unavailable"));
    assert_eq!(metric(&snapshot, "followers"), json!(120_345));
}

#[test]
fn an_invalid_id_fails_alone() {
    let replay = with_parts()
        .get("/artists?ids=", 400, fixture!("error_400_invalid_id"))
        .get("/artists/not%20an%20id", 400, fixture!("error_400_invalid_id"))
        .get(&format!("/artists/{ARIA}"), 200, fixture!("artist"));
    let batch = replay.fetch::<Spotify>(accounts(&["not an id", ARIA]), context()).accounts;
    assert!(matches!(batch[0], Err(FetchError::NotFound)));
    assert!(batch[1].is_ok());
}

#[test]
fn ids_that_would_break_a_list_get_single_requests_and_an_empty_one_gets_none() {
    let replay = with_parts().get("/artists?ids=", 200, fixture!("artists_extended")).get(
        "/artists/a,b",
        404,
        fixture!("error_404"),
    );
    let batch = replay.fetch::<Spotify>(accounts(&["a,b", ARIA, "", BORA]), context()).accounts;
    assert!(replay.urls().contains(&format!("https://api.spotify.com/v1/artists?ids={ARIA},{BORA}")));
    assert!(matches!(batch[0], Err(FetchError::NotFound)));
    assert!(matches!(batch[2], Err(FetchError::NotFound)));
    assert!(batch[1].is_ok() && batch[3].is_ok());
}

#[test]
fn an_artist_merged_into_another_is_found_by_its_position() {
    let artist = |id: &str, followers: u64| json!({ "id": id, "followers": { "total": followers } });
    let artists = json!({ "artists": [artist(BORA, 2), artist("mergedMMMMMMMMMMMMMMMM", 1)] });
    let replay = with_parts().get("/artists?ids=", 200, artists.to_string());
    let batch = replay.fetch::<Spotify>(accounts(&[ARIA, GHOST]), context()).accounts;
    assert_eq!(metric(&snapshot_of(&batch[1].as_ref().expect("by place").body), "followers"), json!(1));
    let out_of_order = json!({ "artists": [artist(BORA, 2), artist(ARIA, 1)] });
    let replay = with_parts().get("/artists?ids=", 200, out_of_order.to_string());
    let batch = replay.fetch::<Spotify>(accounts(&[ARIA, BORA]), context()).accounts;
    assert_eq!(metric(&snapshot_of(&batch[0].as_ref().expect("by id").body), "followers"), json!(1));
}

#[test]
fn two_accounts_of_one_artist_both_get_it() {
    let replay = with_parts().get("/artists?ids=", 200, fixture!("artists_extended"));
    let batch = replay.fetch::<Spotify>(accounts(&[ARIA, ARIA]), context()).accounts;
    assert!(batch.iter().all(Result::is_ok));
}

#[test]
fn an_empty_batch_sends_nothing() {
    let replay = Replay::new();
    assert!(replay.fetch::<Spotify>(Vec::new(), context()).accounts.is_empty());
    assert!(replay.urls().is_empty());
}

#[test]
fn the_document_holds_the_response_without_bulky_keys() {
    let replay = with_parts().get("/artists?ids=", 200, fixture!("artists_extended"));
    let batch = replay.fetch::<Spotify>(accounts(&[ARIA, GHOST, BORA]), context()).accounts;
    let body = &batch[0].as_ref().expect("fetched").body;
    assert!(body.contains("\"uri\":\"spotify:artist:ariaAAAAAAAAAAAAAAAAAA\""), "{body}");
    assert!(!body.contains("available_markets") && !body.contains("images"), "{body}");
}

#[test]
fn check_returns_the_name_or_the_id_after_a_takedown() {
    let account = || accounts(&[ARIA]).remove(0);
    let named = Replay::new().get("/artists/", 200, fixture!("artist"));
    assert_eq!(named.check::<Spotify>(account()).expect("reachable"), "Aria Vale");
    let nameless = Replay::new().get("/artists/", 200, json!({ "id": ARIA, "name": "" }).to_string());
    assert_eq!(nameless.check::<Spotify>(account()).expect("reachable"), ARIA);
    let unknown = Replay::new().get("/artists/", 404, fixture!("error_404"));
    assert!(matches!(unknown.check::<Spotify>(account()), Err(FetchError::NotFound)));
}
