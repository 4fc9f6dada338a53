//! Tests of the Instagram connector against responses that follow the platform's documentation.

mod account;
mod classes;
mod degrading;
mod stories;

use std::path::Path;

use backline_instagram::Instagram;
use backline_sdk::conformance;
use backline_sdk::prelude::*;
use backline_sdk::testing::{self, Replay, absent, account, context, coverage, metric, response};

/// 2026-11-20T00:00:00Z.
const UNTIL: i64 = 1_795_132_800;

const USER: &str = "17841400000000001";

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn error(name: &str) -> String {
    fixture(&format!("errors/{name}.json"))
}

/// Adds the insights of the account.
fn totals(replay: Replay) -> Replay {
    replay
        .get("metric=follows_and_unfollows", 200, fixture("account_follows.json"))
        .get("metric=profile_views", 200, fixture("account_visits.json"))
        .get("metric=follower_count", 200, fixture("account_new_followers.json"))
        .get("/me/insights", 200, fixture("account_insights.json"))
}

/// Adds the account and its posts. Tests add the insights of the posts.
fn posts(replay: Replay) -> Replay {
    totals(replay)
        .get("after=AFTER1", 200, fixture("media_2_empty.json"))
        .get("after=AFTER2", 200, fixture("media_3.json"))
        .get("/me/media?", 200, fixture("media_1.json"))
        .get("/me?", 200, fixture("me.json"))
}

fn platform() -> Replay {
    posts(Replay::new())
        .get("/18000000000000001/insights", 200, fixture("insights_1.json"))
        .get("/18000000000000002/insights", 200, fixture("insights_2.json"))
        .get("/18000000000000003/insights", 200, fixture("insights_none.json"))
}

fn collect(replay: &Replay) -> Result<Snapshot, FetchError> {
    replay.collect::<Instagram>(account("1", USER), context(UNTIL))
}

#[test]
fn an_account_is_collected_with_its_posts_and_their_insights() {
    let replay = platform();
    let snapshot = collect(&replay).expect("is collected");
    let expected = [
        ("followers", 64_363),
        ("following", 12),
        ("posts_count", 427),
        ("content_views", 3_000_000_040_i64),
        ("video_views", 3_000_000_000),
        ("likes", 100),
        ("comments", 14),
        ("shares", 6),
        ("saves", 9),
        ("posts_reach", 700),
        ("total_interactions", 119),
        ("reposts", 3),
        ("reels_watch_time", 9_000_000_000),
        ("reels_average_watch_time", 4_200),
    ];
    for (name, value) in expected {
        assert_eq!(metric(&snapshot, name), value, "{name}");
    }
    assert_eq!(coverage(&snapshot, "likes"), (2, 1), "a hidden number is skipped, a real 0 is counted");
    assert_eq!(coverage(&snapshot, "content_views"), (2, 1), "missing data is not 0");
    assert_eq!(
        snapshot.engagement,
        Some(Engagement {
            interactions: 100 + 10 + 5 + 7,
            base: Some(64_363),
            basis: EngagementBasis::Followers,
            posts_counted: 1,
            posts_skipped: 2,
        })
    );
    let urls = replay.urls();
    assert!(urls.iter().all(|url| url.starts_with("https://graph.instagram.com/v25.0/")), "{urls:#?}");
    assert!(urls.iter().all(|url| !url.contains("CANARY")), "paging.next is not followed: {urls:#?}");
    assert!(urls[0].contains("follows_count"), "{}", urls[0]);
    let metrics = "metric=views,reach,likes,comments,shares,saved,total_interactions,reposts";
    let of_reels = "ig_reels_video_view_total_time,ig_reels_avg_watch_time";
    assert!(urls.iter().any(|url| url.ends_with(&format!("0001/insights?{metrics},{of_reels}"))), "{urls:#?}");
    assert!(urls.iter().any(|url| url.ends_with(&format!("0002/insights?{metrics}"))), "{urls:#?}");
    assert!(!urls.iter().any(|url| url.contains("18000000000000004")), "a post before the window takes no request");
    assert!(replay.sent().iter().all(|request| {
        request.credential.as_ref().is_some_and(|it| it.slot == "user" && it.account.as_deref() == Some("1"))
    }));
}

#[test]
fn a_document_holds_no_token_and_no_localised_text() {
    let fetched = platform()
        .fetch::<Instagram>(vec![account("1", USER)], context(UNTIL))
        .accounts
        .remove(0)
        .expect("is collected");
    for secret_or_localised in ["CANARY", "access_token", "paging", "ವೀಕ್ಷಣೆಗಳು"] {
        assert!(!fetched.body.contains(secret_or_localised), "{secret_or_localised} in {}", fetched.body);
    }
}

#[test]
fn another_version_can_be_set() {
    let url = |settings: &str| {
        let replay = Replay::new().get("", 200, fixture("me.json"));
        let account = Account { settings: settings.to_owned(), ..account("1", USER) };
        assert_eq!(replay.check::<Instagram>(account).as_deref(), Ok("bluelanterns"));
        replay.urls().remove(0)
    };
    assert!(url(r#"{"api_version":"v26.0"}"#).starts_with("https://graph.instagram.com/v26.0/me?"));
    for settings in ["{}", "nonsense", r#"{"api_version":"v1.0/../../oauth"}"#, r#"{"api_version":26}"#] {
        assert!(url(settings).starts_with("https://graph.instagram.com/v25.0/me?"), "{settings}");
    }
}

#[test]
fn a_token_of_another_account_collects_nothing() {
    let of = |platform_id: &str| {
        Replay::new().get("", 200, fixture("me.json")).check::<Instagram>(account("1", platform_id))
    };
    assert!(matches!(of("17841400000000999"), Err(FetchError::Reconnect(_))));
    assert!(of("me").is_ok() && of(USER).is_ok() && of("24680000000000001").is_ok());
}

#[test]
fn the_wait_is_the_longest_the_header_names() {
    let wait = |headers: &[(&str, &str)]| {
        let answer = response(400, headers, error("80002_business_limit"));
        collect(&Replay::new().on(Method::Get, "", Ok(answer))).expect_err("is throttled")
    };
    let longest = r#"{"type":"instagram","call_count":100,"estimated_time_to_regain_access":19}"#;
    let usage = format!(r#"{{"17841400000000001":[{longest},{{"estimated_time_to_regain_access":3}}]}}"#);
    assert_eq!(wait(&[("x-business-use-case-usage", &usage)]), FetchError::RateLimited(Some(19 * 60)));
    let none = r#"{"1":[{"estimated_time_to_regain_access":0}]}"#;
    assert_eq!(wait(&[("x-business-use-case-usage", none)]), FetchError::RateLimited(None));
    assert_eq!(wait(&[("x-business-use-case-usage", "{")]), FetchError::RateLimited(None));
    assert_eq!(wait(&[("retry-after", "30")]), FetchError::RateLimited(Some(30)));
}

#[test]
fn a_missing_scope_or_a_deleted_post_loses_the_insights_only() {
    let with = |status: u16, body: String| collect(&posts(Replay::new()).get("/insights", status, body));
    let snapshot = with(400, error("10_permission")).expect("the account's numbers are good");
    assert_eq!(metric(&snapshot, "followers"), 64_363);
    assert_eq!(metric(&snapshot, "content_views"), absent("not-authorized"));
    assert_eq!(metric(&snapshot, "likes"), 100);
    let snapshot = with(400, error("100_missing_33")).expect("the account's numbers are good");
    assert_eq!(metric(&snapshot, "content_views"), absent("unavailable"));
    assert!(
        matches!(with(400, error("2_service")), Err(FetchError::Unavailable(_))),
        "all posts fail, so the account is retried"
    );
    assert!(matches!(with(400, error("190_password_460")), Err(FetchError::Reconnect(_))));
    assert_eq!(with(400, error("17_user_limit")), Err(FetchError::RateLimited(None)));
    let no_posts =
        totals(Replay::new()).get("/me/media?", 400, error("10_permission")).get("/me?", 200, fixture("me.json"));
    let snapshot = collect(&no_posts).expect("the account's numbers are good");
    assert_eq!(metric(&snapshot, "likes"), absent("not-authorized"));
    for page in ["{}", r#"{ "data": [{ "id": "1", "like_count": 5 }] }"#] {
        let undated = totals(Replay::new()).get("/me/media?", 200, page).get("/me?", 200, fixture("me.json"));
        let snapshot = collect(&undated).expect("the account's numbers are good");
        assert_eq!(metric(&snapshot, "likes"), absent("unavailable"), "posts without a date do not sum to 0");
    }
}

#[test]
fn one_accounts_failure_does_not_affect_others() {
    let replay = platform();
    let accounts = vec![account("1", "17841400000000999"), account("2", USER)];
    let outcomes = replay.fetch::<Instagram>(accounts, context(UNTIL)).accounts;
    assert!(matches!(outcomes[0], Err(FetchError::Reconnect(_))));
    assert!(outcomes[1].is_ok());
}

#[test]
fn endless_pages_are_truncated_and_not_summed() {
    let page = r#"{ "data": [], "paging": { "cursors": { "after": "SAME" }, "next": "https://x" } }"#;
    let replay = totals(Replay::new()).get("/me/media?", 200, page).get("/me?", 200, fixture("me.json"));
    let snapshot = collect(&replay).expect("is collected");
    assert_eq!(metric(&snapshot, "likes"), absent("unavailable"), "a truncated list has no sum");
    assert_eq!(snapshot.engagement, None);
    assert_eq!(snapshot.notes, ["more posts were published inside the window than the connector reads"]);
    assert_eq!(replay.urls().len(), 3 + 4, "a cursor that leads to itself is not followed twice");
}

#[test]
fn it_passes_the_conformance_checks() {
    let fetched = platform()
        .fetch::<Instagram>(vec![account("1", USER)], context(UNTIL))
        .accounts
        .remove(0)
        .expect("is collected");
    let document = Document { body: fetched.body, window: context(UNTIL).window, observed_at: UNTIL };
    conformance::check::<Instagram>(include_str!("../../connector.toml"), &[document]);
}

/// How a recorded body is used, and the expected result.
enum Expected {
    /// The response to `/me`: the values of some metrics.
    Account(Json),
    /// The response to each `/me/media` request: the number of posts, and the values of some metrics.
    Posts(usize, Json),
    /// A post's insights: the values of some metrics.
    Insights(Json),
    /// An error response with this status.
    Error(u16, fn(&FetchError) -> bool),
}

#[test]
fn every_recorded_body_gives_the_expected_result() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/payloads/instagram");
    let Some(bodies) = testing::bodies(&folder) else { return };
    for (name, body) in bodies {
        check_collected(&name, &body, expected(&name));
    }
}

fn expected(name: &str) -> Expected {
    let absent = absent("unavailable");
    match name {
        "user_fields.json" => {
            Expected::Account(json!({ "followers": 64_363, "posts_count": 427, "following": absent }))
        }
        "business_discovery_user.json" => Expected::Account(json!({ "followers": absent, "posts_count": absent })),
        "media_paged_1.json" => Expected::Posts(2, json!({ "likes": 2, "comments": 6 })),
        "media_paged_2.json" => Expected::Posts(2, json!({})),
        "media_carousel.json" => Expected::Posts(1, json!({ "likes": 1, "comments": 0, "video_views": 0 })),
        "account_insights_total_value_breakdown.json" => {
            Expected::Insights(json!({ "posts_reach": 14_516_883, "saves": absent }))
        }
        "account_insights_timeseries_legacy.json" => {
            Expected::Insights(json!({ "content_views": absent, "posts_reach": 3 }))
        }
        "media_insights_legacy_impressions.json" => {
            Expected::Insights(json!({ "content_views": absent, "posts_reach": 5, "saves": 0 }))
        }
        "media_insights_breakdown.json" => {
            Expected::Insights(json!({ "content_views": absent, "total_interactions": absent }))
        }
        "error_2500_path.json" | "error_permission_100_long.json" => {
            Expected::Error(400, |error| matches!(error, FetchError::Unexpected(_)))
        }
        "error_is_transient.json" => Expected::Error(500, |error| matches!(error, FetchError::Unavailable(_))),
        "error_oauth_exchange_flat.json" => Expected::Error(400, |error| matches!(error, FetchError::Unauthorized(_))),
        unknown => panic!("no expected result for {unknown}: add an entry"),
    }
}

fn check_collected(name: &str, body: &[u8], expected: Expected) {
    let everything = Context { window: Window { since: 0, until: UNTIL }, lost_metrics: Vec::new() };
    let collect = |replay: &Replay| replay.collect::<Instagram>(account("1", "me"), everything.clone());
    let compare = |snapshot: &Snapshot, values: Json| {
        for (metric_name, value) in values.as_object().expect("is an object") {
            assert_eq!(metric(snapshot, metric_name), *value, "{name}: {metric_name}");
        }
    };
    let json: Json = serde_json::from_slice(body).expect("is JSON");
    match expected {
        Expected::Account(values) => {
            let replay = totals(Replay::new()).get("/me/media?", 200, r#"{ "data": [] }"#).get("/me?", 200, body);
            compare(&collect(&replay).expect(name), values);
        }
        Expected::Posts(count, values) => {
            let page = if json.get("data").is_some() { json } else { json!({ "data": [json] }) };
            let replay = totals(Replay::new())
                .get("after=after", 200, r#"{ "data": [] }"#)
                .get("/me/media?", 200, page.to_string())
                .get("/me?", 200, fixture("me.json"))
                .get("/insights", 200, fixture("insights_none.json"));
            let fetched =
                replay.fetch::<Instagram>(vec![account("1", "me")], everything.clone()).accounts.remove(0).expect(name);
            assert!(!fetched.body.contains("access_token"), "{name}: {}", fetched.body);
            let document: Json = serde_json::from_str(&fetched.body).expect("is JSON");
            assert_eq!(document["media"].as_array().map(Vec::len), Some(count), "{name}");
            compare(&collect(&replay).expect(name), values);
        }
        Expected::Insights(values) => {
            let media =
                r#"{ "data": [{ "id": "1", "media_type": "IMAGE", "timestamp": "2026-11-18T18:00:00+0000" }] }"#;
            let replay = totals(Replay::new()).get("/me/media?", 200, media).get("/me?", 200, fixture("me.json")).get(
                "/insights",
                200,
                body,
            );
            compare(&collect(&replay).expect(name), values);
        }
        Expected::Error(status, fits) => {
            let error = collect(&Replay::new().always(Ok(response(status, &[], body)))).expect_err(name);
            assert!(fits(&error), "{name}: {error:?}");
        }
    }
}
