//! Tests of the account's own insights: totals of the window, each absent alone and never 0 for missing.

use super::*;
use crate::classes::meta;

/// The totals, by name, of an account whose insights answer as prepared.
fn with(insights: Replay) -> (Snapshot, Replay) {
    let replay = insights.get("/me/media?", 200, r#"{ "data": [] }"#).get("/me?", 200, fixture("me.json"));
    (collect(&replay).expect("is collected"), replay)
}

#[test]
fn the_totals_of_the_window_are_collected() {
    let (snapshot, replay) = with(totals(Replay::new()));
    let expected = [
        ("account_reach", 20_500),
        ("account_views", 91_000),
        ("accounts_engaged", 410),
        ("account_interactions", 777),
        ("likes_received", 600),
        ("comments_received", 60),
        ("saves_received", 50),
        ("shares_received", 40),
        ("reposts_received", 27),
        ("profile_link_taps", 12),
        ("profile_views", 900),
        ("website_clicks", 8),
        ("followers_gained", 130),
        ("followers_lost", 31),
        ("new_followers", 9),
    ];
    for (name, value) in expected {
        assert_eq!(metric(&snapshot, name), value, "{name}");
    }
    assert_eq!(metric(&snapshot, "replies_received"), absent("unavailable"), "0 replies may be unknown ones");
    let urls: Vec<String> = replay.urls().into_iter().filter(|url| url.contains("/me/insights")).collect();
    assert_eq!(urls.len(), 4, "{urls:#?}");
    let until = UNTIL - 1;
    let window = format!("period=day&metric_type=total_value&since={}&until={until}", UNTIL - 28 * 86_400);
    assert!(urls[..3].iter().all(|url| url.contains(&window)), "{urls:#?}");
    let days = format!("metric=follower_count&period=day&since={}&until={until}", UNTIL - 5 * 86_400);
    assert!(urls[3].contains(&days), "a series has no metric_type: {urls:#?}");
    assert!(urls[1].ends_with("&breakdown=follow_type"), "{urls:#?}");
}

#[test]
fn a_window_of_more_than_28_days_is_cut() {
    let replay = totals(Replay::new()).get("/me/media?", 200, r#"{ "data": [] }"#).get("/me?", 200, fixture("me.json"));
    let window = Window { since: UNTIL - 90 * 86_400, until: UNTIL };
    let context = Context { window, lost_metrics: Vec::new() };
    assert!(replay.fetch::<Instagram>(vec![account("1", USER)], context).accounts[0].is_ok());
    let since = format!("since={}&", UNTIL - 28 * 86_400);
    let is_total = |url: &&String| url.contains("/me/insights") && url.contains("total_value");
    assert!(replay.urls().iter().filter(is_total).all(|url| url.contains(&since)));
}

#[test]
fn no_data_is_not_0() {
    for body in [
        r#"{ "data": [] }"#,
        "{}",
        r#"{ "data": null }"#,
        r#"{ "data": [{ "name": "reach", "total_value": {} }, { "name": "views", "total_value": { "value": null } },
           { "name": "follows_and_unfollows", "total_value": {} }] }"#,
        r#"{ "data": [{ "name": "reach", "values": [{ "value": 3, "end_time": "2026-11-19T08:00:00+0000" }] }] }"#,
        "<html>",
    ] {
        let (snapshot, _) = with(Replay::new().get("/me/insights", 200, body));
        for name in ["account_reach", "account_views", "profile_views", "followers_gained", "followers_lost"] {
            assert_eq!(metric(&snapshot, name), absent("unavailable"), "{name}: {body}");
        }
        assert_eq!(metric(&snapshot, "followers"), 64_363);
    }
}

#[test]
fn a_missing_scope_costs_the_totals_and_one_request() {
    let (snapshot, replay) = with(Replay::new().get("/me/insights", 400, meta("10")));
    for name in ["account_reach", "profile_views", "followers_gained"] {
        assert_eq!(metric(&snapshot, name), absent("not-authorized"), "{name}");
    }
    assert_eq!(metric(&snapshot, "followers"), 64_363);
    assert_eq!(replay.urls().iter().filter(|url| url.contains("/me/insights")).count(), 1);
}

#[test]
fn a_group_that_is_forbidden_after_others_were_answered_costs_itself() {
    for (of, name) in [("follower_count", "new_followers"), ("follows_and_unfollows", "followers_gained")] {
        let forbidden = Replay::new().get(&format!("metric={of}"), 400, meta("10"));
        let (snapshot, replay) = with(totals(forbidden));
        assert_eq!(metric(&snapshot, name), absent("not-authorized"), "{name}");
        assert_eq!(metric(&snapshot, "account_reach"), 20_500, "{name}");
        assert_eq!(metric(&snapshot, "profile_views"), 900, "{name}");
        assert_eq!(replay.urls().iter().filter(|url| url.contains("/me/insights")).count(), 4, "{name}");
    }
}

#[test]
fn a_total_that_is_gone_is_lost_alone_and_is_no_metric_of_posts() {
    let gone = meta("100 (#100) metric[9] must be one of the following values: reach, views, likes");
    let insights = totals(Replay::new().get("replies,reposts", 400, gone));
    let replay = insights.get("/me/media?", 200, r#"{ "data": [] }"#).get("/me?", 200, fixture("me.json"));
    let result = replay.fetch::<Instagram>(vec![account("1", USER)], context(UNTIL));
    let lost: Vec<&str> = result.lost_metrics.iter().map(|lost| lost.name.as_str()).collect();
    assert_eq!(lost, ["account_insights.reposts"]);
    let fetched = result.accounts[0].as_ref().expect("is collected");
    let document = Document { body: fetched.body.clone(), window: context(UNTIL).window, observed_at: UNTIL };
    let snapshot = Instagram::normalize(document).expect("is normalised");
    assert_eq!(metric(&snapshot, "reposts_received"), absent("not-offered"));
    assert_eq!(metric(&snapshot, "reposts"), 0, "posts still have theirs, and there is no post");
    assert_eq!(metric(&snapshot, "account_reach"), 20_500);
}

#[test]
fn a_total_that_is_refused_without_its_name_costs_itself_and_is_remembered() {
    // Every request for the replies is refused, whatever else it asks for.
    let platform = || {
        let without = fixture("account_insights.json").replace("\"replies\"", "\"-\"");
        Replay::new()
            .get("replies", 400, meta("100 An unknown error has occurred."))
            .get("metric=follows_and_unfollows", 200, fixture("account_follows.json"))
            .get("metric=profile_views", 200, fixture("account_visits.json"))
            .get("/me/insights", 200, without)
            .get("/me/media?", 200, r#"{ "data": [] }"#)
            .get("/me?", 200, fixture("me.json"))
    };
    let replay = platform();
    let result = replay.fetch::<Instagram>(vec![account("1", USER)], context(UNTIL));
    assert_eq!(result.lost_metrics, [], "nobody said that the metric is gone");
    let first = result.accounts[0].as_ref().expect("is collected");
    let document = Document { body: first.body.clone(), window: context(UNTIL).window, observed_at: UNTIL };
    let snapshot = Instagram::normalize(document).expect("is normalised");
    assert_eq!(metric(&snapshot, "replies_received"), absent("unavailable"));
    assert_eq!(metric(&snapshot, "reposts_received"), 27);
    let of_day = |days: i64| {
        let (replay, state) = (platform(), first.state.clone());
        let account = Account { state, ..account("1", USER) };
        let outcome = replay.fetch::<Instagram>(vec![account], context(UNTIL + days * 86_400)).accounts.remove(0);
        assert!(outcome.is_ok(), "{outcome:?}");
        replay.urls().iter().filter(|url| url.contains("/me/insights")).count()
    };
    assert_eq!(of_day(1), 4, "not asked again");
    assert!(of_day(7) > 4, "asked again after a week");
}

#[test]
fn a_day_that_is_not_settled_or_can_not_be_placed_is_no_new_followers() {
    let of = |values: Json| {
        let data = json!({ "data": [{ "name": "follower_count", "period": "day", "values": values }] }).to_string();
        let (snapshot, _) = with(totals(Replay::new().get("metric=follower_count", 200, data)));
        metric(&snapshot, "new_followers")
    };
    let day = |value: Json, end: &str| json!({ "value": value, "end_time": end });
    assert_eq!(of(json!([day(json!(0), "2026-11-17T08:00:00+0000")])), 0, "a 0 that is settled is one");
    for values in [
        json!([]),
        json!(null),
        json!([day(json!(7), "2026-11-18T08:00:00+0000"), day(json!(0), "2026-11-19T08:00:00+0000")]),
        json!([day(json!(7), "2026-11-10T08:00:00+0000")]),
        json!([day(json!(7), "2026-11-17T08:00:00+0000"), day(json!(8), "yesterday")]),
        json!([day(json!(7), "2026-11-16T08:00:00+0000"), day(json!("8K"), "2026-11-17T08:00:00+0000")]),
        json!([day(json!(7), "2026-11-16T08:00:00+0000"), null]),
    ] {
        assert_eq!(of(values.clone()), absent("unavailable"), "{values}");
    }
}
