//! Tests of what is missing: it has a reason, it is never 0, and it is not kept as state.

use super::*;

const SUMS: [&str; 4] = ["content_views", "video_views", "likes", "comments"];

/// A channel with these statistics and content details.
fn channel(statistics: &Json, details: &Json) -> String {
    let item = json!({ "id": BLUE, "statistics": statistics, "contentDetails": details });
    json!({ "kind": "youtube#channelListResponse", "items": [item] }).to_string()
}

fn uploads(id: &str) -> Json {
    json!({ "relatedPlaylists": { "likes": "", "uploads": id } })
}

fn fetched(replay: &Replay) -> Fetched {
    replay.fetch::<YouTube>(vec![account("1", BLUE)], context(UNTIL)).accounts.remove(0).expect("is collected")
}

#[test]
fn a_channel_that_has_videos_and_no_list_of_them_has_no_sums() {
    let statistics = json!({ "viewCount": "1000000", "subscriberCount": "5000", "videoCount": "120" });
    let bare = format!(r#"{{"kind":"youtube#channelListResponse","items":[{{"id":"{BLUE}"}}]}}"#);
    for (body, reason) in [
        (channel(&statistics, &uploads("")), "not-found"),
        (channel(&statistics, &json!({ "relatedPlaylists": {} })), "not-found"),
        (channel(&statistics, &Json::Null), "unavailable"),
        (bare, "unavailable"),
    ] {
        let fetched = fetched(&Replay::new().get("/channels?", 200, body.clone()));
        for name in SUMS {
            assert_eq!(metric(&snapshot(&fetched), name), absent(reason), "{name}: {body}");
        }
        assert_eq!(snapshot(&fetched).engagement, None, "{body}");
        assert_eq!(fetched.state, None, "{body}");
    }
    let none = channel(&json!({ "videoCount": "0" }), &Json::Null);
    let snapshot = snapshot(&fetched(&Replay::new().get("/channels?", 200, none)));
    assert_eq!(metric(&snapshot, "content_views"), 0, "the platform itself says that there are no videos");
}

#[test]
fn a_list_that_is_missing_is_not_an_empty_list_and_is_not_kept() {
    let not_found = fixture("errors/404_playlist_not_found.json");
    let counted = r#"{"kind":"youtube#playlistItemListResponse","pageInfo":{"totalResults":17},"items":[]}"#;
    for (status, body, reason) in [
        (200, "{}", "unavailable"),
        (200, r#"{"items":null}"#, "unavailable"),
        (200, r#"{"message":"try later"}"#, "unavailable"),
        (200, r#"{"kind":"youtube#playlistItemListResponse"}"#, "unavailable"),
        (200, r#"{"items":[null,{},1]}"#, "unavailable"),
        (200, counted, "unavailable"),
        (404, not_found.as_str(), "not-found"),
    ] {
        let replay =
            Replay::new().get("/channels?", 200, fixture("channels.json")).get("/playlistItems?", status, body);
        let fetched = replay.fetch::<YouTube>(vec![account("1", MEADOW)], context(UNTIL)).accounts.remove(0);
        let fetched = fetched.expect("the channel's numbers are good");
        for name in SUMS {
            assert_eq!(metric(&snapshot(&fetched), name), absent(reason), "{name}: {body}");
        }
        assert_eq!(metric(&snapshot(&fetched), "total_views"), 90_210);
        assert_eq!(fetched.state, None, "{body}");
    }
    for (status, body) in [(404, "<html>Not Found</html>"), (403, "<html>"), (200, "<html>"), (200, "")] {
        let replay =
            Replay::new().get("/channels?", 200, fixture("channels.json")).get("/playlistItems?", status, body);
        let outcome = replay.fetch::<YouTube>(vec![account("1", MEADOW)], context(UNTIL)).accounts.remove(0);
        assert!(matches!(outcome, Err(FetchError::Unavailable(_))), "retried: {outcome:?}");
    }
}

#[test]
fn a_channel_is_unknown_only_if_a_list_that_was_understood_lacks_it() {
    let item = json!({ "id": BLUE, "statistics": { "videoCount": "0" } });
    let list = |items: Json| json!({ "kind": "youtube#channelListResponse", "items": items }).to_string();
    let counted = r#"{"kind":"youtube#channelListResponse","pageInfo":{"totalResults":2}}"#.to_owned();
    let page = |more: Json| {
        let mut body = json!({ "kind": "youtube#channelListResponse", "items": [item] });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body.to_string()
    };
    let none = fixture("channels_without_items.json");
    for (body, is_known, is_unknown) in [
        (list(json!([item])), true, true),
        (list(json!([item, null])), true, false),
        (list(json!([{ "statistics": {} }, item])), true, false),
        (list(json!([item, { "id": NIGHT }])), true, false),
        (page(json!({ "pageInfo": { "totalResults": 1, "resultsPerPage": 5 } })), true, true),
        (page(json!({ "pageInfo": { "totalResults": 2, "resultsPerPage": 1 } })), true, false),
        (page(json!({ "nextPageToken": "CAEQAA" })), true, false),
        (list(Json::Null), false, false),
        (list(json!({})), false, false),
        (list(json!("text")), false, false),
        (list(json!([null, 1, {}])), false, false),
        (counted, false, false),
        (none, false, true),
    ] {
        let asked = vec![account("1", BLUE), account("2", MEADOW)];
        let outcomes = Replay::new().get("/channels?", 200, body.clone()).fetch::<YouTube>(asked, context(UNTIL));
        assert_eq!(outcomes.accounts[0].is_ok(), is_known, "{body}: {:?}", outcomes.accounts[0]);
        assert_eq!(outcomes.accounts[1] == Err(FetchError::NotFound), is_unknown, "{body}: {:?}", outcomes.accounts[1]);
    }
}

#[test]
fn a_list_that_the_platform_sends_empty_is_0() {
    let none = r#"{"kind":"youtube#playlistItemListResponse","pageInfo":{"totalResults":0}}"#;
    for body in [r#"{"kind":"youtube#playlistItemListResponse","items":[]}"#, none] {
        let replay = Replay::new().get("/channels?", 200, fixture("channels.json")).get("/playlistItems?", 200, body);
        let snapshot = replay.collect::<YouTube>(account("1", MEADOW), context(UNTIL)).expect("is collected");
        assert_eq!(metric(&snapshot, "content_views"), 0, "{body}");
    }
}

#[test]
fn an_empty_list_that_version_1_0_0_kept_is_not_believed() {
    let state = json!({ "since": UNTIL - 29 * 86_400, "listed": UNTIL, "videos": 17, "uploads": [] });
    let replay = platform();
    let account = Account { state: Some(state.to_string()), ..account("1", MEADOW) };
    let outcome = replay.fetch::<YouTube>(vec![account], context(UNTIL)).accounts.remove(0);
    assert_eq!(metric(&snapshot(&outcome.expect("is collected")), "content_views"), 50);
    assert!(replay.urls().iter().any(|url| url.contains("/playlistItems?")));
}

#[test]
fn one_odd_item_of_a_list_costs_itself() {
    let page = fixture("uploads_meadow.json").replace("\"items\": [", "\"items\": [null,");
    let replay = Replay::new().get("/channels?", 200, fixture("channels.json")).get("/playlistItems?", 200, page).get(
        "/videos",
        200,
        fixture("videos.json"),
    );
    let fetched = replay.fetch::<YouTube>(vec![account("1", MEADOW)], context(UNTIL)).accounts.remove(0);
    let fetched = fetched.expect("is collected");
    assert_eq!(metric(&snapshot(&fetched), "content_views"), 50);
    assert_eq!(testing::coverage(&snapshot(&fetched), "content_views"), (1, 1));
    assert_eq!(fetched.state, None, "the list was not understood as a whole");
}

#[test]
fn numbers_that_cannot_be_read_are_unavailable_and_not_hidden() {
    let followers = |statistics: Json| {
        let replay = Replay::new().get("/channels?", 200, channel(&statistics, &Json::Null));
        metric(&snapshot(&fetched(&replay)), "followers")
    };
    assert_eq!(followers(json!({ "subscriberCount": "5.2K", "hiddenSubscriberCount": false })), absent("unavailable"));
    assert_eq!(followers(json!({ "subscriberCount": "1,234" })), absent("unavailable"));
    assert_eq!(followers(json!({ "subscriberCount": "0" })), absent("unavailable"), "it may be hidden");
    assert_eq!(followers(json!({ "subscriberCount": "0", "hiddenSubscriberCount": false })), 0);
    assert_eq!(followers(json!({ "hiddenSubscriberCount": false })), absent("unavailable"));
    assert_eq!(followers(json!({ "subscriberCount": "0", "hiddenSubscriberCount": true })), absent("hidden"));
    assert_eq!(followers(json!({ "viewCount": "1" })), absent("hidden"));

    let videos = |statistics: &str| {
        let item = format!(r#"{{ "items": [{{ "id": "vid-meadow01"{statistics} }}] }}"#);
        let replay = Replay::new()
            .get("/channels?", 200, fixture("channels.json"))
            .get("/playlistItems?", 200, fixture("uploads_meadow.json"))
            .get("/videos", 200, item);
        let snapshot = replay.collect::<YouTube>(account("1", MEADOW), context(UNTIL)).expect("is collected");
        [metric(&snapshot, "likes"), metric(&snapshot, "content_views")]
    };
    assert_eq!(videos(""), [absent("unavailable"), absent("unavailable")], "an item without statistics");
    assert_eq!(videos(r#", "statistics": { "viewCount": "9" }"#), [absent("hidden"), json!(9)]);
    assert_eq!(videos(r#", "statistics": { "likeCount": "9K" }"#)[0], absent("unavailable"));
}

#[test]
fn no_damaged_answer_gives_an_invented_number() {
    conformance::check_answers::<YouTube>(platform, &accounts(), &context(UNTIL));
}
