//! Tests of the classes of errors: each row of the README's table, and what ends a batch.

use backline_sdk::testing::{class_name, class_table, response};

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
        let error = collect(&own().get("", row.status, row.body(meta))).expect_err("no account");
        assert_eq!(class_name(&error), row.class, "{row:?}: {error:?}");
    }
}

#[test]
fn an_error_of_the_token_or_the_app_ends_the_batch_and_one_of_an_account_does_not() {
    let accounts: Vec<Account> = (0..8).map(|number| account(&number.to_string(), NAME)).collect();
    for (answer, is_of_all) in [
        ("4", true),
        ("17", true),
        ("190/463", true),
        ("101", true),
        ("110/2207013", false),
        ("10", false),
        ("2", false),
    ] {
        let replay = own().get("", 400, meta(answer));
        let outcomes = replay.fetch::<InstagramBusiness>(accounts.clone(), context(UNTIL)).accounts;
        assert!(outcomes.iter().all(|outcome| outcome == &outcomes[0] && outcome.is_err()), "{answer}");
        assert_eq!(replay.urls().len() - 1, if is_of_all { 1 } else { 8 }, "{answer}");
    }
    let replay = Replay::new().get("/me/accounts?", 400, meta("190"));
    let outcomes = replay.fetch::<InstagramBusiness>(accounts, context(UNTIL)).accounts;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(FetchError::Misconfigured(_)))), "{outcomes:?}");
    assert_eq!(replay.urls().len(), 1);
}

#[test]
fn one_account_that_is_not_found_affects_no_other() {
    let replay = own().get("username%28gone%29", 400, meta("110/2207013")).get(BLUE, 200, fixture("page_2.json"));
    let accounts = vec![account("1", "gone"), account("2", NAME)];
    let outcomes = replay.fetch::<InstagramBusiness>(accounts, context(UNTIL)).accounts;
    assert_eq!(outcomes[0], Err(FetchError::NotFound));
    assert!(outcomes[1].is_ok(), "{:?}", outcomes[1]);
}

#[test]
fn the_wait_comes_from_the_header() {
    let answer = response(429, &[("retry-after", "12")], meta("613"));
    assert_eq!(collect(&own().on(Method::Get, "", Ok(answer))), Err(FetchError::RateLimited(Some(12))));
}

#[test]
fn a_spent_allowance_ends_the_batch() {
    let accounts: Vec<Account> = (0..8).map(|number| account(&number.to_string(), NAME)).collect();
    let replay = own().on(Method::Get, "", Err(HttpError::QuotaExhausted(Some(UNTIL))));
    let outcomes = replay.fetch::<InstagramBusiness>(accounts, context(UNTIL)).accounts;
    assert!(outcomes.iter().all(|outcome| *outcome == Err(FetchError::QuotaExhausted(Some(UNTIL)))), "{outcomes:?}");
    assert_eq!(replay.urls().len(), 2);
}
