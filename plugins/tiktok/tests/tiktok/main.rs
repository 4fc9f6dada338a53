//! Tests of the TikTok connector against responses that follow the platform's documentation.

mod degrading;

use std::path::Path;

use backline_sdk::conformance;
use backline_sdk::prelude::*;
use backline_sdk::testing::{self, Replay, absent, account, context, metric, response};
use backline_tiktok::TikTok;

/// 2026-11-20T00:00:00Z.
const UNTIL: i64 = 1_795_132_800;

const USER: &str = "open-id-1";

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn error(name: &str) -> String {
    fixture(&format!("errors/{name}.json"))
}

fn platform() -> Replay {
    Replay::new()
        .get("/user/info/", 200, fixture("user.json"))
        .post("/video/list/", 200, fixture("videos_1.json"))
        .post("/video/list/", 200, fixture("videos_2.json"))
}

fn collect(replay: &Replay) -> Result<Snapshot, FetchError> {
    replay.collect::<TikTok>(account("1", USER), context(UNTIL))
}

#[test]
fn an_account_is_collected_with_its_videos_of_the_window() {
    let replay = platform();
    let snapshot = collect(&replay).expect("is collected");
    let expected = [
        ("followers", 5_000_000_000_i64),
        ("following", 12),
        ("posts_count", 321),
        ("account_likes", 98_765_432_100),
        ("content_views", 3_000_000_001),
        ("video_views", 3_000_000_001),
        ("likes", 117),
        ("comments", 12),
        ("shares", 3),
    ];
    for (name, value) in expected {
        assert_eq!(metric(&snapshot, name), value, "{name}");
    }
    let shares = snapshot.metrics.iter().find(|metric| metric.name == "shares").expect("is reported");
    assert_eq!(shares.coverage, Some(Coverage { counted: 1, skipped: 1 }));
    assert_eq!(
        snapshot.engagement,
        Some(Engagement {
            interactions: 17 + 2 + 3,
            base: Some(1),
            basis: EngagementBasis::Views,
            posts_counted: 1,
            posts_skipped: 1,
        }),
        "the platform sent more likes than views"
    );
    let sent = replay.sent();
    assert_eq!(sent.len(), 3, "a page that ends before the window is the last one");
    let bodies: Vec<Json> =
        sent.iter().filter_map(|request| serde_json::from_slice(request.body.as_deref()?).ok()).collect();
    assert_eq!(bodies, [json!({ "max_count": 20 }), json!({ "max_count": 20, "cursor": 1_794_000_000_000_i64 })]);
    assert!(sent[0].url.contains("fields=open_id,display_name,follower_count"), "{}", sent[0].url);
    assert!(sent[1].url.contains("fields=id,create_time"), "{}", sent[1].url);
    assert!(sent.iter().all(|request| {
        request.credential.as_ref().is_some_and(|it| it.slot == "user" && it.account.as_deref() == Some("1"))
    }));
}

#[test]
fn a_document_keeps_long_ids_whole_and_holds_no_nul() {
    let fetched =
        platform().fetch::<TikTok>(vec![account("1", USER)], context(UNTIL)).accounts.remove(0).expect("is collected");
    assert!(fetched.body.contains("7400000000000000002"), "{}", fetched.body);
    assert!(!fetched.body.contains("\\u0000") && !fetched.body.contains('\0'), "{}", fetched.body);
    assert_eq!(platform().check::<TikTok>(account("1", USER)).as_deref(), Ok("Blue Lanterns"));
}

#[test]
fn counts_outside_the_scopes_are_missing_and_not_zero() {
    let replay = Replay::new().get("/user/info/", 200, fixture("user_without_stats.json")).post(
        "/video/list/",
        401,
        error("scope_not_authorized"),
    );
    let snapshot = collect(&replay).expect("the account is there");
    for name in ["followers", "following", "posts_count", "account_likes", "content_views", "likes", "shares"] {
        assert_eq!(metric(&snapshot, name), absent("not-authorized"), "{name}");
    }
    assert_eq!(snapshot.engagement, None);
}

#[test]
fn an_account_without_videos_has_zero_for_every_sum_over_videos() {
    let replay = Replay::new().get("/user/info/", 200, fixture("user.json")).post(
        "/video/list/",
        200,
        fixture("videos_last.json"),
    );
    let snapshot = collect(&replay).expect("is collected");
    assert_eq!(metric(&snapshot, "content_views"), 0);
    assert_eq!(snapshot.engagement.map(|engagement| engagement.posts_counted), Some(0));
    assert_eq!(replay.sent().len(), 2, "has_more decides, not the cursor");
}

#[test]
fn videos_without_a_date_do_not_sum_to_zero() {
    let page =
        r#"{ "data": { "videos": [{ "id": "1", "like_count": 5 }], "has_more": false }, "error": { "code": "ok" } }"#;
    let replay = Replay::new().get("/user/info/", 200, fixture("user.json")).post("/video/list/", 200, page);
    let snapshot = collect(&replay).expect("the account's numbers are good");
    assert_eq!(metric(&snapshot, "likes"), absent("unavailable"));
    assert_eq!(metric(&snapshot, "following"), 12);
}

#[test]
fn the_wait_comes_from_the_header() {
    let answer = response(429, &[("retry-after", "12")], error("rate_limit_exceeded"));
    assert_eq!(collect(&Replay::new().on(Method::Get, "", Ok(answer))), Err(FetchError::RateLimited(Some(12))));
}

#[test]
fn a_failure_of_the_video_list_is_retried() {
    let with = |name: &str| {
        collect(&Replay::new().get("/user/info/", 200, fixture("user.json")).post("/video/list/", 200, error(name)))
    };
    assert!(matches!(with("internal_error"), Err(FetchError::Unavailable(_))));
    assert!(matches!(with("access_token_invalid"), Err(FetchError::Unauthorized(_))));
    assert_eq!(with("rate_limit_exceeded"), Err(FetchError::RateLimited(None)));
    assert!(with("scope_permission_missed").is_ok());
}

#[test]
fn a_token_of_another_account_collects_nothing() {
    let other =
        platform().fetch::<TikTok>(vec![account("1", "open-id-2"), account("2", USER)], context(UNTIL)).accounts;
    assert!(matches!(other[0], Err(FetchError::Reconnect(_))));
    assert!(other[1].is_ok(), "one account's failure does not affect others");
}

#[test]
fn endless_pages_are_truncated_and_not_summed() {
    let page = r#"{ "data": { "videos": [], "cursor": 5, "has_more": true }, "error": { "code": "ok" } }"#;
    let replay = Replay::new().get("/user/info/", 200, fixture("user.json")).post("/video/list/", 200, page);
    let snapshot = collect(&replay).expect("is collected");
    assert_eq!(metric(&snapshot, "likes"), absent("unavailable"), "a truncated list has no sum");
    assert_eq!(snapshot.engagement, None);
    assert_eq!(snapshot.notes, ["more videos were published inside the window than the connector reads"]);
    assert_eq!(replay.sent().len(), 3, "a cursor that leads to itself is not followed twice");
}

#[test]
fn it_passes_the_conformance_checks() {
    let fetched =
        platform().fetch::<TikTok>(vec![account("1", USER)], context(UNTIL)).accounts.remove(0).expect("is collected");
    let document = Document { body: fetched.body, window: context(UNTIL).window, observed_at: UNTIL };
    conformance::check::<TikTok>(include_str!("../../connector.toml"), &[document]);
}

/// How a recorded body is used, and the expected result.
enum Expected {
    /// The response to `/user/info/`: the open id, and the values of some metrics.
    Account(&'static str, Json),
    /// The response to `/video/list/`: the number of videos, and the values of some metrics.
    Videos(Option<usize>, Json),
    /// An error response to `/user/info/` with this status.
    Error(u16, fn(&FetchError) -> bool),
}

#[test]
fn every_recorded_body_gives_the_expected_result() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/payloads/tiktok");
    let Some(bodies) = testing::bodies(&folder) else { return };
    for (name, body) in bodies {
        check_collected(&name, &body, expected(&name));
    }
}

fn expected(name: &str) -> Expected {
    let unexpected = |error: &FetchError| matches!(error, FetchError::Unexpected(_));
    match name {
        "user_info_basic.json" => Expected::Account(
            "723f24d7-e717-40f8-a2b6-cb8464cd23b4",
            json!({ "followers": { "absent": "not-authorized" } }),
        ),
        // The Research API covers any account and sends no open id, unlike the endpoint for the token's own account.
        "research_user_info.json" | "research_comments.json" => Expected::Error(200, unexpected),
        "token_user.json" | "token_client_credentials.json" => Expected::Error(200, unexpected),
        // The documentation's examples have no creation time, so it is unknown whether they are inside the window.
        "video_list_page.json" | "video_query.json" => Expected::Videos(
            None,
            json!({ "content_views": { "absent": "unavailable" }, "followers": 5_000_000_000_i64 }),
        ),
        "research_videos_null_bytes.json" => {
            Expected::Videos(Some(1), json!({ "content_views": 401, "likes": 49, "comments": 11, "shares": 0 }))
        }
        "research_videos_page1_has_more.json" => Expected::Videos(Some(8), json!({ "followers": 5_000_000_000_i64 })),
        "error_access_token_invalid.json" => Expected::Error(401, |error| matches!(error, FetchError::Unauthorized(_))),
        "error_scope_not_authorized.json" => Expected::Error(401, |error| matches!(error, FetchError::Reconnect(_))),
        "error_rate_limit_exceeded.json" => Expected::Error(429, |error| *error == FetchError::RateLimited(None)),
        "error_data_portability_with_status.json" | "error_oauth_flat.json" => Expected::Error(400, unexpected),
        unknown => panic!("no expected result for {unknown}: add an entry"),
    }
}

fn check_collected(name: &str, body: &[u8], expected: Expected) {
    let everything = Context { window: Window { since: 0, until: UNTIL }, lost_metrics: Vec::new() };
    let compare = |snapshot: &Snapshot, values: Json| {
        for (metric_name, value) in values.as_object().expect("is an object") {
            assert_eq!(metric(snapshot, metric_name), *value, "{name}: {metric_name}");
        }
    };
    match expected {
        Expected::Account(open_id, values) => {
            let replay =
                Replay::new().get("/user/info/", 200, body).post("/video/list/", 200, fixture("videos_last.json"));
            compare(&replay.collect::<TikTok>(account("1", open_id), everything).expect(name), values);
        }
        Expected::Videos(count, values) => {
            let replay = Replay::new()
                .get("/user/info/", 200, fixture("user.json"))
                .post("/video/list/", 200, body)
                .post("/video/list/", 200, fixture("videos_last.json"));
            let fetched =
                replay.fetch::<TikTok>(vec![account("1", USER)], everything.clone()).accounts.remove(0).expect(name);
            assert!(!fetched.body.contains("\\u0000"), "{name}: {}", fetched.body);
            let document: Json = serde_json::from_str(&fetched.body).expect("is JSON");
            assert_eq!(document["videos"].as_array().map(Vec::len), count, "{name}");
            let document = Document { body: fetched.body, window: everything.window, observed_at: UNTIL };
            compare(&TikTok::normalize(document).expect(name), values);
        }
        Expected::Error(status, fits) => {
            let error = collect(&Replay::new().always(Ok(response(status, &[], body)))).expect_err(name);
            assert!(fits(&error), "{name}: {error:?}");
        }
    }
}
