//! Tests of what is refused: a field, a metric or a post is lost alone, takes one request more, and affects no other
//! account.

use super::*;
use crate::classes::meta;

fn fetch(replay: &Replay, accounts: Vec<Account>) -> BatchResult {
    replay.fetch::<Instagram>(accounts, context(UNTIL))
}

fn snapshot_of(outcome: &Result<Fetched, FetchError>) -> Snapshot {
    let body = outcome.as_ref().expect("is collected").body.clone();
    Instagram::normalize(Document { body, window: context(UNTIL).window, observed_at: UNTIL }).expect("is normalised")
}

/// How many requests a replay got for the insights of posts.
fn asked(replay: &Replay) -> usize {
    replay.urls().iter().filter(|url| url.contains("/insights") && !url.contains("/me/insights")).count()
}

#[test]
fn a_field_that_is_gone_costs_itself_and_is_reported_once() {
    let gone = meta("100 (#100) Tried accessing nonexisting field (follows_count) on node type (IGUser)");
    let me = fixture("me.json").replace("\"follows_count\": 12, ", "");
    let replay = totals(Replay::new())
        .get("follows_count", 400, gone)
        .get("/me/media?", 200, r#"{ "data": [] }"#)
        .get("/me?", 200, me);
    let result = fetch(&replay, vec![account("1", USER), account("2", USER)]);
    let lost: Vec<&str> = result.lost_metrics.iter().map(|lost| lost.name.as_str()).collect();
    assert_eq!(lost, ["follows_count"]);
    for outcome in &result.accounts {
        let snapshot = snapshot_of(outcome);
        assert_eq!(metric(&snapshot, "followers"), 64_363);
        assert_eq!(metric(&snapshot, "posts_count"), 427);
        assert_eq!(metric(&snapshot, "following"), absent("not-offered"));
    }
    let refused = replay.urls().iter().filter(|url| url.contains("follows_count")).count();
    assert_eq!(refused, 1, "the second account does not ask for it: {:#?}", replay.urls());
}

#[test]
fn a_field_of_the_posts_that_is_gone_costs_itself() {
    let gone = meta("100 (#100) Tried accessing nonexisting field (comments_count) on node type (IGMedia)");
    let platform =
        posts(Replay::new().get("comments_count", 400, gone)).get("/insights", 200, fixture("insights_1.json"));
    let snapshot = snapshot_of(&fetch(&platform, vec![account("1", USER)]).accounts[0]);
    assert!(metric(&snapshot, "likes").is_i64());
    let needed = meta("100 (#100) Tried accessing nonexisting field (timestamp) on node type (IGMedia)");
    let platform = totals(Replay::new()).get("/me/media?", 400, needed).get("/me?", 200, fixture("me.json"));
    let snapshot = snapshot_of(&fetch(&platform, vec![account("1", USER)]).accounts[0]);
    assert_eq!(metric(&snapshot, "likes"), absent("unavailable"), "without dates there are no posts of the window");
    assert_eq!(metric(&snapshot, "followers"), 64_363);
}

#[test]
fn without_user_id_another_id_is_not_taken_for_another_account() {
    let me = fixture("me.json").replace("\"user_id\": \"17841400000000001\", ", "");
    let outcome = Replay::new().get("", 200, me).check::<Instagram>(account("1", USER));
    assert!(matches!(outcome, Err(FetchError::Unexpected(_))), "{outcome:?}");
}

/// Posts whose insights refuse `shares` with this message, whenever it is requested.
fn refusing(message: &str) -> Replay {
    posts(Replay::new())
        .get("comments,shares", 400, message)
        .get("metric=shares", 400, message)
        .get("/18000000000000001/insights", 200, fixture("insights_1.json").replace("\"shares\"", "\"-\""))
        .get("/insights", 200, fixture("insights_none.json"))
}

#[test]
fn a_metric_that_is_gone_is_lost_alone_and_reported_once() {
    for words in ["100_metric_place", "100_metric_named"] {
        let replay = refusing(&error(words));
        let result = fetch(&replay, vec![account("1", USER), account("2", USER)]);
        assert_eq!(result.lost_metrics.len(), 1, "{words}: {:?}", result.lost_metrics);
        assert_eq!(result.lost_metrics[0].name, "shares", "{words}");
        let snapshot = snapshot_of(&result.accounts[0]);
        assert_eq!(metric(&snapshot, "shares"), absent("not-offered"), "{words}");
        assert_eq!(metric(&snapshot, "saves"), 7, "{words}");
        assert_eq!(
            snapshot.engagement.map(|engagement| engagement.posts_counted),
            Some(0),
            "the rate needs all four sums"
        );
        let urls = replay.urls();
        let refused = urls.iter().filter(|url| !url.contains("/me/insights") && url.contains("shares")).count();
        assert_eq!(refused, 1, "{words}: a refused metric is not requested again: {urls:#?}");
    }
}

#[test]
fn a_metric_that_one_kind_of_post_refuses_is_lost_for_no_one_else() {
    let message = meta("100 (#100) The metric shares is not supported for this media type");
    // Only the second post, a picture, refuses it.
    let platform = || {
        let picture = "/18000000000000002/insights?metric=views,reach,likes,comments,shares";
        posts(Replay::new())
            .get(picture, 400, message.clone())
            .get("/18000000000000001/insights", 200, fixture("insights_1.json"))
            .get("/18000000000000002/insights", 200, fixture("insights_2.json").replace("\"shares\"", "\"-\""))
            .get("/insights", 200, fixture("insights_none.json"))
    };
    let replay = platform();
    let result = fetch(&replay, vec![account("1", USER)]);
    assert_eq!(result.lost_metrics, []);
    let snapshot = snapshot_of(&result.accounts[0]);
    assert_eq!(metric(&snapshot, "shares"), 5, "of the reel");
    assert_eq!(coverage(&snapshot, "shares"), (1, 2));
    assert_eq!(metric(&snapshot, "content_views"), 3_000_000_040_i64);
    assert_eq!(asked(&replay), 3 + 1, "one request more");

    let state = result.accounts[0].as_ref().expect("is collected").state.clone();
    let tomorrow = platform();
    fetch(&tomorrow, vec![Account { state, ..account("1", USER) }]);
    assert_eq!(asked(&tomorrow), 3, "it is remembered: {:#?}", tomorrow.urls());
}

#[test]
fn an_error_that_names_no_metric_is_resolved_once_and_costs_this_account_only() {
    let unnamed = error("100_metric_unnamed");
    let one = r#"{ "data": [{ "name": "views", "values": [{ "value": 11 }] }] }"#;
    let replay = posts(Replay::new())
        .get("comments,shares", 400, unnamed.clone())
        .get("metric=shares", 400, unnamed)
        .get("metric=views", 200, one)
        .get("/insights", 200, fixture("insights_none.json"));
    let result = fetch(&replay, vec![account("1", USER)]);
    assert_eq!(result.lost_metrics, [], "nobody said that the metric is gone");
    let fetched = result.accounts[0].as_ref().expect("is collected");
    assert!(fetched.body.contains("11"));
    assert!(fetched.state.as_deref().is_some_and(|state| state.contains("\"shares\"")), "{:?}", fetched.state);
    let refused = replay.urls().iter().filter(|url| url.contains("metric=shares")).count();
    assert_eq!(refused, 1, "one by one only once: {:#?}", replay.urls());
}

#[test]
fn later_metrics_that_are_refused_without_a_name_cost_two_requests_and_no_other_metric() {
    let replay = posts(Replay::new())
        .get("total_interactions,reposts", 400, error("100_metric_unnamed"))
        .get("/18000000000000001/insights", 200, fixture("insights_1.json"))
        .get("/insights", 200, fixture("insights_2.json"));
    let result = fetch(&replay, vec![account("1", USER)]);
    assert_eq!(result.lost_metrics, []);
    assert_eq!(metric(&snapshot_of(&result.accounts[0]), "saves"), 7 + 2 + 2);
    assert_eq!(asked(&replay), 3 + 2, "{:#?}", replay.urls());
}

#[test]
fn a_post_that_refuses_everything_costs_one_request_more_and_is_remembered() {
    for words in ["100_before_conversion", "100_metric_product_type", "100_parameter"] {
        let platform = || {
            posts(Replay::new()).get("/18000000000000001/insights", 400, error(words)).get(
                "/insights",
                200,
                fixture("insights_2.json"),
            )
        };
        let replay = platform();
        let result = fetch(&replay, vec![account("1", USER)]);
        assert!(result.accounts[0].is_ok(), "{words}: {:?}", result.accounts);
        assert_eq!(result.lost_metrics, [], "{words}");
        assert!(asked(&replay) <= 3 + 1, "{words}: {:#?}", replay.urls());
        let state = result.accounts[0].as_ref().expect("is collected").state.clone();
        let tomorrow = platform();
        fetch(&tomorrow, vec![Account { state, ..account("1", USER) }]);
        assert_eq!(asked(&tomorrow), 2, "{words}: {:#?}", tomorrow.urls());
    }
}

#[test]
fn a_metric_lost_before_is_not_requested_again() {
    let replay = platform();
    let context = Context { lost_metrics: vec!["shares".to_owned(), "unknown".to_owned()], ..context(UNTIL) };
    let result = replay.fetch::<Instagram>(vec![account("1", USER)], context);
    assert!(result.lost_metrics.is_empty(), "it is already known");
    let of_posts = |url: &&String| url.contains("/insights") && !url.contains("/me/insights");
    assert!(replay.urls().iter().filter(of_posts).all(|url| !url.contains("shares")), "{:#?}", replay.urls());
}

#[test]
fn likes_that_a_post_hides_come_from_its_insights() {
    let media = r#"{ "data": [
        { "id": "18000000000000001", "media_type": "IMAGE", "timestamp": "2026-11-18T18:00:00+0000" },
        { "id": "18000000000000005", "media_type": "IMAGE", "media_product_type": "STORY",
          "timestamp": "2026-11-19T18:00:00+0000", "like_count": 900 }] }"#;
    let with = |insights: &str| {
        let replay = totals(Replay::new()).get("/me/media?", 200, media).get("/me?", 200, fixture("me.json"));
        collect(&replay.get("/insights", 200, insights)).expect("is collected")
    };
    let shown = with(
        r#"{ "data": [{ "name": "likes", "values": [{ "value": 7 }] },
           { "name": "comments", "values": [{ "value": 2 }] },
           { "name": "shares", "values": [{ "value": 1 }] }, { "name": "saved", "values": [{ "value": 2 }] }] }"#,
    );
    assert_eq!(metric(&shown, "likes"), 7, "and a story is no post");
    assert_eq!(metric(&shown, "comments"), 2);
    assert_eq!(shown.engagement.map(|it| (it.interactions, it.posts_counted)), Some((12, 1)));
    let hidden = with(r#"{ "data": [] }"#);
    assert_eq!(metric(&hidden, "likes"), absent("hidden"));
    assert_eq!(metric(&hidden, "comments"), absent("unavailable"));
}

#[test]
fn a_video_of_an_unknown_product_may_be_a_reel() {
    let with = |media_type: &str| {
        let media = format!(
            r#"{{ "data": [{{ "id": "1", "media_type": "{media_type}", "timestamp": "2026-11-18T18:00:00+0000" }}] }}"#
        );
        let replay = totals(Replay::new()).get("/me/media?", 200, media).get("/me?", 200, fixture("me.json"));
        collect(&replay.get("/insights", 200, fixture("insights_none.json"))).expect("is collected")
    };
    assert_eq!(metric(&with("VIDEO"), "reels_watch_time"), absent("unavailable"), "a sum of 0 would be invented");
    assert_eq!(coverage(&with("VIDEO"), "reels_watch_time"), (0, 1));
    assert_eq!(metric(&with("IMAGE"), "reels_watch_time"), 0, "there was no reel");
    for name in ["video_views", "reels_watch_time"] {
        assert_eq!(metric(&with("HOLOGRAM"), name), absent("unavailable"), "{name}: what is not documented may be one");
    }
    for known in ["IMAGE", "carousel_album"] {
        assert_eq!(metric(&with(known), "video_views"), 0, "{known}: there was no video");
    }
}

#[test]
fn a_post_without_a_date_counts_as_skipped() {
    let media = fixture("media_3.json").replace("\"data\": [", "\"data\": [{ \"id\": \"1\", \"like_count\": 5 },");
    let replay = totals(Replay::new()).get("/me/media?", 200, media).get("/me?", 200, fixture("me.json")).get(
        "/insights",
        200,
        fixture("insights_none.json"),
    );
    let snapshot = collect(&replay).expect("is collected");
    assert_eq!(coverage(&snapshot, "likes"), (1, 1));
    assert_eq!(metric(&snapshot, "likes"), 0);
}

#[test]
fn no_damaged_answer_gives_an_invented_number() {
    let accounts = [account("1", USER), account("2", "17841400000000999")];
    conformance::check_answers::<Instagram>(platform, &accounts, &context(UNTIL));
}
