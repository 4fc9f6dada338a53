//! Tests of the connector for business discovery against responses that follow the platform's documentation.

mod classes;
mod refusing;

use std::path::Path;

use backline_instagram_business::InstagramBusiness;
use backline_sdk::conformance;
use backline_sdk::prelude::*;
use backline_sdk::testing::{Replay, absent, account, context, coverage, metric};

/// 2026-11-20T00:00:00Z.
const UNTIL: i64 = 1_795_132_800;

const NAME: &str = "blue.lanterns";

/// How an account is asked for in a URL.
const BLUE: &str = "username%28blue.lanterns%29";

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A platform that knows the operator's own account.
fn own() -> Replay {
    Replay::new().get("/me/accounts?", 200, fixture("pages.json"))
}

fn platform() -> Replay {
    own().get("media.after%28AFTER1%29", 200, fixture("page_2.json")).get(BLUE, 200, fixture("page_1.json")).get(
        "username%28meadow_park%29",
        200,
        fixture("quiet.json"),
    )
}

fn collect(replay: &Replay) -> Result<Snapshot, FetchError> {
    replay.collect::<InstagramBusiness>(account("1", NAME), context(UNTIL))
}

/// An answer about the account, with these posts and how many it says that it has.
fn answer(total: Json, media: Json) -> String {
    let account = json!({ "id": "17841400000000001", "username": NAME, "followers_count": 900, "media_count": total,
        "media": media });
    json!({ "business_discovery": account, "id": "17841400000000009" }).to_string()
}

fn with_settings(settings: Json) -> Account {
    Account { settings: settings.to_string(), ..account("1", NAME) }
}

#[test]
fn an_account_is_collected_with_its_posts_of_the_window() {
    let replay = platform();
    let snapshot = collect(&replay).expect("is collected");
    let expected = [
        ("followers", 5_000_000_000_i64),
        ("following", 12),
        ("posts_count", 427),
        ("content_views", 9_000),
        ("video_views", 9_000),
        ("likes", 100),
        ("comments", 15),
        ("reposts", 2),
    ];
    for (name, value) in expected {
        assert_eq!(metric(&snapshot, name), value, "{name}");
    }
    assert_eq!(coverage(&snapshot, "likes"), (2, 1), "a hidden number is skipped, a real 0 is counted");
    assert_eq!(coverage(&snapshot, "content_views"), (1, 2));
    assert_eq!(coverage(&snapshot, "video_views"), (1, 0));
    assert_eq!(
        snapshot.engagement,
        Some(Engagement {
            interactions: 100 + 10 + 1,
            base: Some(5_000_000_000),
            basis: EngagementBasis::Followers,
            posts_counted: 2,
            posts_skipped: 1,
        })
    );
    let urls = replay.urls();
    assert_eq!(urls.len(), 3, "a page that ends before the window is the last one: {urls:#?}");
    assert_eq!(urls[0], "https://graph.facebook.com/v25.0/me/accounts?fields=instagram_business_account&limit=100");
    let fields = "business_discovery.username%28blue.lanterns%29%7Bid,username,followers_count,media_count,\
                  follows_count,media.limit%2850%29%7Bid,timestamp,media_type,like_count,comments_count,view_count,\
                  reposts_count%7D%7D";
    assert_eq!(urls[1], format!("https://graph.facebook.com/v25.0/17841400000000009?fields={fields}"));
    assert!(urls[2].contains("media.after%28AFTER1%29.limit%2850%29"), "{urls:#?}");
    assert!(
        replay
            .sent()
            .iter()
            .all(|request| { request.credential.as_ref().is_some_and(|it| it.slot == "user" && it.account.is_none()) })
    );
}

#[test]
fn the_own_account_is_found_once_for_a_batch_unless_all_name_one() {
    let replay = platform();
    let accounts = vec![account("1", NAME), account("2", "meadow_park")];
    let outcomes = replay.fetch::<InstagramBusiness>(accounts, context(UNTIL)).accounts;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(replay.urls().iter().filter(|url| url.contains("/me/accounts")).count(), 1);
    let replay = Replay::new().get(BLUE, 200, fixture("page_2.json"));
    let settings = json!({ "own_account_id": "17841400000000077", "api_version": "v26.0" });
    assert!(replay.fetch::<InstagramBusiness>(vec![with_settings(settings)], context(UNTIL)).accounts[0].is_ok());
    let urls = replay.urls();
    assert!(urls[0].starts_with("https://graph.facebook.com/v26.0/17841400000000077?fields="), "{urls:#?}");
    assert_eq!(urls.len(), 1);
}

#[test]
fn without_an_own_account_the_operator_is_told() {
    for body in [r#"{ "data": [] }"#, r#"{ "data": [{ "id": "1" }] }"#] {
        let replay = Replay::new().get("/me/accounts?", 200, body);
        let outcome = collect(&replay);
        assert!(
            matches!(&outcome, Err(FetchError::Misconfigured(why)) if why.contains("own_account_id")),
            "{outcome:?}"
        );
    }
    for body in ["{}", r#"{ "data": null }"#] {
        let outcome = collect(&Replay::new().get("/me/accounts?", 200, body));
        assert!(matches!(outcome, Err(FetchError::Unexpected(_))), "{body}: {outcome:?}");
    }
}

#[test]
fn a_check_asks_for_no_posts() {
    let replay = own().get(BLUE, 200, fixture("page_1.json"));
    assert_eq!(replay.check::<InstagramBusiness>(account("1", NAME)).as_deref(), Ok(NAME));
    assert!(!replay.urls()[1].contains("media."), "{:?}", replay.urls());
}

#[test]
fn what_is_no_user_name_is_not_put_into_a_request() {
    let too_long = "a".repeat(31);
    for id in ["", "a)b", "x){id},username(y", "@blue", "blue lanterns", "blü", too_long.as_str()] {
        let replay = own();
        let outcome = replay.fetch::<InstagramBusiness>(vec![account("1", id)], context(UNTIL)).accounts.remove(0);
        assert_eq!(outcome, Err(FetchError::NotFound), "{id}");
        assert_eq!(replay.urls().len(), 1);
    }
    let cursor = json!({ "data": [{ "id": "1", "timestamp": "2026-11-18T18:00:00+0000" }],
        "paging": { "cursors": { "after": "A).limit(1){id" } } });
    let replay = own().get(BLUE, 200, answer(json!(427), cursor));
    assert!(collect(&replay).is_ok());
    assert_eq!(replay.urls().len(), 2, "{:?}", replay.urls());
}

#[test]
fn another_account_under_the_name_is_not_collected() {
    let with = |settings: Json| {
        let replay = own().get("media.after", 200, fixture("page_2.json")).get(BLUE, 200, fixture("page_1.json"));
        replay.fetch::<InstagramBusiness>(vec![with_settings(settings)], context(UNTIL)).accounts.remove(0)
    };
    assert!(with(json!({ "account_id": "17841400000000001" })).is_ok());
    assert_eq!(with(json!({ "account_id": "17841400000000555" })), Err(FetchError::NotFound));
    let other = own().get(BLUE, 200, fixture("page_1.json").replace("blue.lanterns", "green.lanterns"));
    assert!(matches!(collect(&other), Err(FetchError::Unexpected(_))));
    let capitals = own().get("", 200, fixture("page_2.json").replace("blue.lanterns", "Blue.Lanterns"));
    assert!(collect(&capitals).is_ok(), "names are the same whatever their case");
}

#[test]
fn an_account_that_says_it_has_no_posts_has_zero_and_any_other_without_a_list_has_none() {
    let quiet = platform().collect::<InstagramBusiness>(account("2", "meadow_park"), context(UNTIL));
    let quiet = quiet.expect("is collected");
    for name in ["likes", "comments", "content_views", "reposts"] {
        assert_eq!(metric(&quiet, name), 0, "{name}");
    }
    assert_eq!(metric(&quiet, "following"), absent("not-offered"));
    for (total, media) in [
        (json!(427), Json::Null),
        (json!(427), json!({ "data": [] })),
        (json!(427), json!({ "data": null })),
        (json!(427), json!([])),
        (Json::Null, Json::Null),
        (json!(0), json!({ "posts": [] })),
        (json!(3), json!({ "data": [{ "id": "1", "like_count": 5 }] })),
    ] {
        let snapshot = collect(&own().get("", 200, answer(total.clone(), media.clone()))).expect("is collected");
        for name in ["likes", "comments", "content_views", "video_views", "reposts"] {
            assert_eq!(metric(&snapshot, name), absent("unavailable"), "{name}: {total} {media}");
        }
        assert_eq!(metric(&snapshot, "followers"), 900);
        assert_eq!(snapshot.engagement, None);
    }
}

#[test]
fn paging_ends_with_the_posts_the_window_or_the_bound() {
    let page = |from: usize, count: usize, after: Option<&str>| {
        let published = "2026-11-18T18:00:00+0000";
        let post = |id: usize| json!({ "id": id.to_string(), "timestamp": published, "comments_count": 1 });
        let posts: Vec<Json> = (from..from + count).map(post).collect();
        json!({ "data": posts, "paging": { "cursors": { "after": after } } })
    };
    let check = |replay: Replay, requests: usize, comments: Json, why: &str| {
        let snapshot = collect(&replay).expect("is collected");
        assert_eq!((replay.urls().len() - 1, metric(&snapshot, "comments")), (requests, comments), "{why}");
    };
    let all_listed = own().get("", 200, answer(json!(3), page(0, 3, Some("A"))));
    check(all_listed, 1, json!(3), "as many as the account has");
    let no_cursor = own().get("", 200, answer(json!(9), page(0, 3, None)));
    check(no_cursor, 1, json!(3), "the last page has no cursor");
    let first = answer(json!(9), page(0, 3, Some("A")));
    let empty_end = own().get("after", 200, answer(json!(9), page(0, 0, None))).get("", 200, first.clone());
    check(empty_end, 2, json!(3), "some posts are counted and not listed");
    let overlapping = own().get("after", 200, answer(json!(9), page(2, 3, None))).get("", 200, first);
    check(overlapping, 2, json!(5), "a post on two pages counts once");
    let circle = own().get("", 200, answer(json!(427), page(0, 3, Some("A"))));
    check(circle, 2, absent("unavailable"), "a page that repeats");
    let full_without_cursor = own().get("", 200, answer(json!(427), page(0, 50, None)));
    check(full_without_cursor, 1, absent("unavailable"), "a full page may not be the last");
}

#[test]
fn a_page_that_is_too_large_is_asked_for_in_smaller_ones() {
    let too_much = classes::meta("1 Please reduce the amount of data you're asking for, then retry your request");
    let replay = own().get("limit%2850%29", 500, too_much).get(BLUE, 200, fixture("page_2.json"));
    let snapshot = collect(&replay).expect("is collected");
    assert_eq!(metric(&snapshot, "comments"), 1);
    assert!(replay.urls()[2].contains("limit%2825%29"), "{:?}", replay.urls());
}

#[test]
fn numbers_that_no_post_shows_have_a_reason() {
    let posts = json!({ "data": [{ "id": "1", "timestamp": "2026-11-18T18:00:00+0000", "media_type": "IMAGE",
        "comments_count": 3 }] });
    let snapshot = collect(&own().get("", 200, answer(json!(1), posts))).expect("is collected");
    assert_eq!(metric(&snapshot, "likes"), absent("hidden"));
    assert_eq!(metric(&snapshot, "content_views"), absent("not-offered"));
    assert_eq!(metric(&snapshot, "reposts"), absent("not-offered"));
    assert_eq!(metric(&snapshot, "video_views"), 0, "there is no video");
    assert_eq!(metric(&snapshot, "comments"), 3);
    let odd = json!({ "data": [{ "id": "1", "timestamp": "2026-11-18T18:00:00+0000", "like_count": "5.2K",
        "view_count": {} }, { "id": "2" }] });
    let snapshot = collect(&own().get("", 200, answer(json!(2), odd))).expect("is collected");
    for name in ["likes", "content_views", "video_views", "comments"] {
        assert_eq!(metric(&snapshot, name), absent("unavailable"), "{name}");
    }
    assert_eq!(coverage(&snapshot, "likes"), (0, 2));
    let unknown = json!({ "data": [{ "id": "1", "timestamp": "2026-11-18T18:00:00+0000", "media_type": "HOLOGRAM",
        "view_count": 5 }] });
    let snapshot = collect(&own().get("", 200, answer(json!(1), unknown))).expect("is collected");
    assert_eq!(metric(&snapshot, "content_views"), 5);
    assert_eq!(metric(&snapshot, "video_views"), absent("unavailable"), "what is not documented may be a video");
}

#[test]
fn it_passes_the_conformance_checks() {
    let fetched = platform().fetch::<InstagramBusiness>(vec![account("1", NAME)], context(UNTIL)).accounts.remove(0);
    let body = fetched.expect("is collected").body;
    let document = Document { body, window: context(UNTIL).window, observed_at: UNTIL };
    conformance::check::<InstagramBusiness>(include_str!("../../connector.toml"), &[document]);
}

#[test]
fn no_damaged_answer_gives_a_number() {
    let accounts = [account("1", NAME), account("2", "meadow_park")];
    conformance::check_answers::<InstagramBusiness>(platform, &accounts, &context(UNTIL));
}
