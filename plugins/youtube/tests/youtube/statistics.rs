//! Tests of the two endpoints that have the statistics of videos, of which one has an allowance of its own.

use super::*;

const STATS: &str = "/videos:batchGetStats?";
const LIST: &str = "/videos?";

/// The platform with another answer to `batchGetStats`.
fn platform_with(status: u16, body: &str) -> Replay {
    Replay::new()
        .get(STATS, status, body)
        .get("/channels?", 200, fixture("channels.json"))
        .get("pageToken=PAGE2", 200, fixture("uploads_blue_2.json"))
        .get("playlistId=UUbluelanterns", 200, fixture("uploads_blue_1.json"))
        .get("playlistId=UUquietmeadow", 200, fixture("uploads_meadow.json"))
        .get(LIST, 200, fixture("videos.json"))
}

fn error(status: u16, reason: &str) -> String {
    json!({ "error": { "code": status, "message": "Refused.", "errors": [{ "reason": reason }] } }).to_string()
}

fn count(replay: &Replay, part: &str) -> usize {
    replay.urls().iter().filter(|url| url.contains(part)).count()
}

fn views(outcome: &Result<Fetched, FetchError>) -> Json {
    metric(&snapshot(outcome.as_ref().expect("is collected")), "content_views")
}

#[test]
fn statistics_come_from_the_endpoint_with_its_own_allowance() {
    let (replay, accounts) = crowd(50, 3);
    let outcomes = replay.fetch::<YouTube>(accounts, context(UNTIL)).accounts;
    assert!(outcomes.iter().all(|outcome| views(outcome) == 3), "{outcomes:?}");
    assert_eq!((count(&replay, STATS), count(&replay, LIST)), (3, 0), "{:#?}", replay.urls());
    let urls = replay.urls();
    let asked = urls.iter().find(|url| url.contains(STATS)).expect("is asked");
    assert!(asked.contains("/youtube/v3/videos:batchGetStats?part=statistics&id="), "{asked}");
}

#[test]
fn what_that_endpoint_refuses_is_asked_of_the_list() {
    let html = "<html>Not Found</html>".to_owned();
    for (status, body) in [
        (404, html.clone()),
        (404, error(404, "notFound")),
        (400, error(400, "badRequest")),
        (401, error(401, "CREDENTIALS_MISSING")),
        (403, error(403, "forbidden")),
        (403, error(403, "accessNotConfigured")),
        (503, html),
        (200, "{}".to_owned()),
    ] {
        let (replay, accounts) = crowd_on(Replay::new().get(STATS, status, body.clone()), 50, 3);
        let outcomes = replay.fetch::<YouTube>(accounts, context(UNTIL)).accounts;
        assert!(outcomes.iter().all(|outcome| views(outcome) == 3), "{status} {body}: {outcomes:?}");
        assert_eq!((count(&replay, STATS), count(&replay, LIST)), (1, 3), "asked once: {status} {body}");
    }
}

#[test]
fn its_spent_allowance_takes_nothing_from_the_general_one() {
    for reason in ["quotaExceeded", "rateLimitExceeded"] {
        let replay = platform_with(403, &error(403, reason));
        let outcomes = replay.fetch::<YouTube>(accounts(), context(UNTIL)).accounts;
        let expected =
            if reason == "quotaExceeded" { FetchError::QuotaExhausted(None) } else { FetchError::RateLimited(None) };
        assert_eq!((&outcomes[0], &outcomes[2]), (&Err(expected.clone()), &Err(expected)), "{reason}");
        assert!(outcomes[3].is_ok(), "it has no videos");
        assert_eq!((count(&replay, STATS), count(&replay, LIST)), (1, 0), "{reason}");
    }
}

#[test]
fn what_that_endpoint_leaves_out_is_asked_of_the_list_once_and_costs_itself() {
    let meadow = r#"{ "id": "vid-meadow01", "statistics": { "viewCount": "50" } }"#;
    let part =
        format!(r#"{{ "kind": "youtube#batchGetStatsResponse", "items": [{meadow}, {{ "id": "vid-new-0001" }}] }}"#);
    let replay = platform_with(200, &part);
    let outcomes = replay.fetch::<YouTube>(accounts(), context(UNTIL)).accounts;
    assert_eq!(views(&outcomes[0]), 5_000_001_000_i64, "an answer in part loses no number");
    assert_eq!(views(&outcomes[2]), 50);
    assert_eq!((count(&replay, STATS), count(&replay, LIST)), (1, 1), "{:#?}", replay.urls());

    // What the list refuses is missing, and the rest of the channel is there.
    let nolikes = r#"{ "id": "vid-nolikes1", "statistics": { "viewCount": "1000" } }"#;
    let part = format!(r#"{{ "items": [{meadow}, {nolikes}] }}"#);
    for (status, body) in [(403, error(403, "quotaExceeded")), (400, error(400, "badRequest")), (503, String::new())] {
        let replay = Replay::new().get(LIST, status, body.clone()).get(STATS, 200, part.clone());
        let replay = replay
            .get("/channels?", 200, fixture("channels.json"))
            .get("pageToken=PAGE2", 200, fixture("uploads_blue_2.json"))
            .get("playlistId=UUbluelanterns", 200, fixture("uploads_blue_1.json"));
        let outcome = replay.fetch::<YouTube>(vec![account("1", BLUE)], context(UNTIL)).accounts.remove(0);
        assert_eq!(views(&outcome), 1_000, "{status} {body}");
        let snapshot = snapshot(outcome.as_ref().expect("is collected"));
        assert_eq!(testing::coverage(&snapshot, "content_views"), (1, 2), "{status} {body}");
    }
}

#[test]
fn a_channel_of_which_no_video_was_answered_is_retried_and_its_videos_are_not_gone() {
    let none = r#"{ "kind": "youtube#batchGetStatsResponse", "items": [] }"#;
    let collected = |status: u16, body: &str| {
        let replay = Replay::new().get(LIST, status, body).get(STATS, 200, none);
        let replay = replay
            .get("/channels?", 200, fixture("channels.json"))
            .get("pageToken=PAGE2", 200, fixture("uploads_blue_2.json"))
            .get("playlistId=UUbluelanterns", 200, fixture("uploads_blue_1.json"));
        replay.fetch::<YouTube>(vec![account("1", BLUE)], context(UNTIL)).accounts.remove(0)
    };
    assert_eq!(collected(403, &error(403, "quotaExceeded")), Err(FetchError::QuotaExhausted(None)));
    assert!(matches!(collected(503, ""), Err(FetchError::Unavailable(_))));
    assert_eq!(views(&collected(400, &error(400, "badRequest"))), absent("unavailable"));
    assert_eq!(views(&collected(200, r#"{ "kind": "youtube#videoListResponse", "items": [] }"#)), absent("not-found"));
}

#[test]
fn an_account_may_ask_for_the_list_alone() {
    let replay = platform_with(500, "");
    let mut accounts = accounts();
    accounts[2].settings = json!({ "video_statistics": "list" }).to_string();
    let outcomes = replay.fetch::<YouTube>(accounts, context(UNTIL)).accounts;
    assert_eq!(views(&outcomes[0]), 5_000_001_000_i64);
    assert_eq!((count(&replay, STATS), count(&replay, LIST)), (0, 1), "{:#?}", replay.urls());
}

#[test]
fn a_count_that_overflowed_lowers_no_sum() {
    let items = r#"[
        { "id": "vid-new-0001", "statistics": { "viewCount": "100", "likeCount": "-977433948", "commentCount": "1" } },
        { "id": "vid-nolikes1", "statistics": { "viewCount": "50", "likeCount": "7", "commentCount": "2" } }
    ]"#;
    let replay = platform_with(200, &format!(r#"{{ "items": {items} }}"#));
    let outcome = replay.fetch::<YouTube>(vec![account("1", BLUE)], context(UNTIL)).accounts.remove(0);
    let snapshot = snapshot(&outcome.expect("is collected"));
    assert_eq!((metric(&snapshot, "likes"), metric(&snapshot, "content_views")), (json!(7), json!(150)));
    assert_eq!(testing::coverage(&snapshot, "likes"), (1, 2), "one overflowed, one is gone");
    assert_eq!(snapshot.engagement.map(|engagement| engagement.interactions), Some(9));
}
