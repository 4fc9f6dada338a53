//! Tests of the classes of errors: each row of the README's table, and what ends a batch.

use backline_sdk::testing::{class_name, class_table};

use super::*;

/// Meta's body for `<code>`, `<code>/<subcode>` or `<code> <message>`.
pub(super) fn meta(answer: &str) -> String {
    let (code, message) = answer.split_once(' ').unwrap_or((answer, "Refused."));
    let (code, subcode) = code.split_once('/').unwrap_or((code, ""));
    let mut error = json!({ "message": message, "type": "OAuthException", "fbtrace_id": "trace" });
    error["code"] = code.parse::<i64>().expect("a code").into();
    if let Ok(subcode) = subcode.parse::<i64>() {
        error["error_subcode"] = subcode.into();
    }
    if message == "transient" {
        error["is_transient"] = true.into();
    }
    json!({ "error": error }).to_string()
}

#[test]
fn every_row_of_the_readme_has_its_class() {
    for row in class_table(include_str!("../../README.md")) {
        let error = collect(&Replay::new().get("", row.status, row.body(meta))).expect_err("no account");
        assert_eq!(class_name(&error), row.class, "{row:?}: {error:?}");
    }
}

#[test]
fn an_error_of_the_app_ends_the_batch_and_one_of_the_account_does_not() {
    let accounts: Vec<Account> = (0..10).map(|number| account(&number.to_string(), USER)).collect();
    for (code, is_of_app) in [("4", true), ("341", true), ("101", true), ("17", false), ("80002", false), ("10", false)]
    {
        let replay = Replay::new().get("", 400, meta(code));
        let outcomes = replay.fetch::<Instagram>(accounts.clone(), context(UNTIL)).accounts;
        assert!(outcomes.iter().all(|outcome| outcome == &outcomes[0] && outcome.is_err()), "{code}");
        assert_eq!(replay.urls().len(), if is_of_app { 1 } else { 10 }, "{code}");
    }
}

#[test]
fn a_limit_of_the_app_at_the_insights_asks_no_further_post() {
    let replay = posts(Replay::new()).get("/insights", 400, meta("341 Application limit reached"));
    assert_eq!(collect(&replay), Err(FetchError::RateLimited(None)));
    let asked = replay.urls().iter().filter(|url| url.contains("/insights")).count();
    assert_eq!(asked, 1, "{:?}", replay.urls());
}

#[test]
fn an_object_that_is_missing_or_hidden_at_the_posts_keeps_the_account() {
    for code in ["100/33", "803"] {
        let replay = totals(Replay::new()).get("/me/media?", 400, meta(code)).get("/me?", 200, fixture("me.json"));
        let snapshot = collect(&replay).expect("the account's numbers are good");
        assert_eq!(metric(&snapshot, "followers"), 64_363);
        assert_eq!(metric(&snapshot, "likes"), absent("not-authorized"));
    }
}

#[test]
fn too_few_viewers_are_no_missing_scope() {
    let replay = posts(Replay::new()).get("/insights", 400, meta("10 (#10) Not enough viewers for the media"));
    let snapshot = collect(&replay).expect("the account's numbers are good");
    for name in ["content_views", "shares", "saves", "posts_reach", "total_interactions"] {
        assert_eq!(metric(&snapshot, name), absent("unavailable"), "{name}");
    }
    assert_eq!(metric(&snapshot, "likes"), 100);
}

#[test]
fn a_page_that_is_too_large_is_asked_for_in_smaller_ones() {
    let replay = totals(Replay::new())
        .get("limit=50", 500, meta("1 Please reduce the amount of data you're asking for, then retry your request"))
        .get("/me/media?", 200, r#"{ "data": [] }"#)
        .get("/me?", 200, fixture("me.json"));
    let snapshot = collect(&replay).expect("is collected");
    assert_eq!(metric(&snapshot, "likes"), 0);
    assert!(replay.urls()[2].contains("limit=25"), "{:?}", replay.urls());
}
