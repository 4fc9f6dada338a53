//! Tests of what is missing or refused: each is lost alone, and nothing is invented in its place.

use backline_sdk::testing::{class_name, class_table, coverage};

use super::*;

fn body_of(answer: &str) -> String {
    match answer.strip_prefix("flat ") {
        Some(name) => json!({ "error": name, "error_description": "Refused." }).to_string(),
        None => json!({ "data": {}, "error": { "code": answer, "message": "Refused." } }).to_string(),
    }
}

#[test]
fn every_row_of_the_readme_has_its_class() {
    for row in class_table(include_str!("../../README.md")) {
        let error = collect(&Replay::new().get("", row.status, row.body(body_of))).expect_err("no account");
        assert_eq!(class_name(&error), row.class, "{row:?}: {error:?}");
    }
}

#[test]
fn a_scope_that_was_not_granted_costs_its_own_numbers() {
    for (status, code) in
        [(401, "scope_not_authorized"), (400, "scope_permission_missed"), (200, "scope_not_authorized")]
    {
        let replay = Replay::new()
            .get("follower_count", status, error(code))
            .get("/user/info/", 200, fixture("user_without_stats.json"))
            .post("/video/list/", 200, fixture("videos_1.json"))
            .post("/video/list/", 200, fixture("videos_2.json"));
        let snapshot = collect(&replay).expect("the videos are there");
        for name in ["followers", "following", "posts_count", "account_likes"] {
            assert_eq!(metric(&snapshot, name), absent("not-authorized"), "{code}: {name}");
        }
        assert_eq!(metric(&snapshot, "likes"), 117, "{code}");
        assert_eq!(replay.urls().len(), 4, "one request more: {:?}", replay.urls());
        assert_eq!(replay.check::<TikTok>(account("1", USER)).as_deref(), Ok("Blue Lanterns"));
    }
}

#[test]
fn a_count_that_was_granted_and_not_sent_is_unavailable() {
    let user = fixture("user.json").replace("5000000000", "null");
    let replay = Replay::new().get("/user/info/", 200, user).post("/video/list/", 200, fixture("videos_last.json"));
    let snapshot = collect(&replay).expect("is collected");
    assert_eq!(metric(&snapshot, "followers"), absent("unavailable"));
    assert_eq!(metric(&snapshot, "following"), 12);
}

#[test]
fn a_limit_of_the_app_ends_the_batch_and_a_dead_token_does_not() {
    let accounts: Vec<Account> = (0..20).map(|number| account(&number.to_string(), "open-id-1")).collect();
    for (status, code, is_of_app) in
        [(429, "rate_limit_exceeded", true), (400, "flat invalid_client", true), (401, "access_token_invalid", false)]
    {
        let replay = Replay::new().get("", status, body_of(code));
        let outcomes = replay.fetch::<TikTok>(accounts.clone(), context(UNTIL)).accounts;
        assert!(outcomes.iter().all(|outcome| outcome == &outcomes[0] && outcome.is_err()), "{code}");
        assert_eq!(replay.urls().len(), if is_of_app { 1 } else { 20 }, "{code}");
    }
}

#[test]
fn a_list_that_is_missing_or_does_not_end_is_not_an_empty_one() {
    for data in [
        r#"{"has_more":false}"#,
        r#"{"videos":null,"has_more":false}"#,
        r#"{"videos":{},"has_more":false}"#,
        r#"{"videos":[null,{}],"has_more":false}"#,
        r#"{"videos":[]}"#,
        r#"{"videos":[],"has_more":"no"}"#,
        r#"{"videos":[],"cursor":7}"#,
    ] {
        let page = format!(r#"{{"data":{data},"error":{{"code":"ok"}}}}"#);
        let replay = Replay::new().get("/user/info/", 200, fixture("user.json")).post("/video/list/", 200, page);
        let snapshot = collect(&replay).expect("the account's numbers are good");
        assert_eq!(metric(&snapshot, "content_views"), absent("unavailable"), "{data}");
        assert_eq!(metric(&snapshot, "followers"), 5_000_000_000_i64, "{data}");
        assert_eq!(replay.urls().len(), 2, "no page is asked for that may not exist: {data}");
    }
}

#[test]
fn one_odd_item_of_the_list_costs_itself() {
    let page = fixture("videos_1.json").replace("\"videos\": [", "\"videos\": [{\"id\":\"1\"},");
    let page = page.replace("\"has_more\": true", "\"has_more\": false");
    let replay = Replay::new().get("/user/info/", 200, fixture("user.json")).post("/video/list/", 200, page);
    let snapshot = collect(&replay).expect("is collected");
    assert_eq!(metric(&snapshot, "likes"), 117);
    assert_eq!(coverage(&snapshot, "likes"), (2, 1));
}

#[test]
fn no_damaged_answer_gives_an_invented_number() {
    let accounts = [account("1", USER), account("2", "open-id-2")];
    conformance::check_answers::<TikTok>(platform, &accounts, &context(UNTIL));
}

#[test]
fn a_time_that_is_none_ends_no_list_and_hides_no_video() {
    let video = |id: &str, created: Json| json!({ "id": id, "create_time": created, "like_count": 5, "view_count": 9 });
    let page = |videos: Json, has_more: bool| {
        json!({ "data": { "videos": videos, "cursor": 7, "has_more": has_more }, "error": { "code": "ok" } })
            .to_string()
    };
    let good = || video("1", json!(UNTIL - 86_400));
    // Milliseconds, a placeholder, and a time before the first one.
    for odd in [json!((UNTIL - 86_400) * 1_000), json!(0), json!(-1), json!("soon"), json!(1.5)] {
        let first = page(json!([good(), video("2", odd.clone())]), true);
        let second = page(json!([video("3", json!(UNTIL - 172_800))]), false);
        let replay = Replay::new().get("/user/info/", 200, fixture("user.json")).post("/video/list/", 200, first).post(
            "/video/list/",
            200,
            second,
        );
        let snapshot = collect(&replay).expect("is collected");
        assert_eq!(metric(&snapshot, "likes"), 10, "{odd}");
        assert_eq!(coverage(&snapshot, "likes"), (2, 1), "{odd}");
    }
    let all_odd = page(json!([video("2", json!((UNTIL - 86_400) * 1_000))]), false);
    let replay = Replay::new().get("/user/info/", 200, fixture("user.json")).post("/video/list/", 200, all_odd);
    assert_eq!(metric(&collect(&replay).expect("is collected"), "likes"), absent("unavailable"), "not 0");
}

#[test]
fn a_count_that_overflowed_lowers_no_sum() {
    let videos = json!([
        { "id": "1", "create_time": UNTIL - 10, "like_count": -977_433_948, "comment_count": 1, "share_count": 1,
          "view_count": 100 },
        { "id": "2", "create_time": UNTIL - 20, "like_count": 4, "comment_count": 2, "share_count": 3,
          "view_count": 50 },
    ]);
    let page = json!({ "data": { "videos": videos, "has_more": false }, "error": { "code": "ok" } }).to_string();
    let replay = Replay::new().get("/user/info/", 200, fixture("user.json")).post("/video/list/", 200, page);
    let snapshot = collect(&replay).expect("is collected");
    assert_eq!((metric(&snapshot, "likes"), metric(&snapshot, "content_views")), (json!(4), json!(150)));
    assert_eq!((coverage(&snapshot, "likes"), coverage(&snapshot, "content_views")), ((1, 1), (2, 0)));
    let engagement = snapshot.engagement.expect("one video has all four");
    assert_eq!((engagement.interactions, engagement.base, engagement.posts_skipped), (9, Some(50), 1));
}
