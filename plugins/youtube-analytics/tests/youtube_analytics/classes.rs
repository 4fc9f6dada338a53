//! Tests of the classes of errors: each row of the README's table, and what ends a batch.

use backline_sdk::testing::{class_name, class_table, response};

use super::*;

/// Google's body for a reason, for a message after "says: ", or for the token endpoint's text after "text: ".
pub(super) fn google(status: u16, answer: &str) -> String {
    if let Some(text) = answer.strip_prefix("text: ") {
        return json!({ "error": text, "error_description": "Refused." }).to_string();
    }
    let error = if let Some(message) = answer.strip_prefix("says: ") {
        json!({ "code": status, "message": message })
    } else if answer.starts_with(|first: char| first.is_ascii_uppercase()) {
        let (reason, unit) = match answer.split_once(" per ") {
            Some((reason, "day")) => (reason, "1/d/{project}"),
            Some((reason, "user")) => (reason, "1/min/{project}/{user}"),
            _ => (answer, "1/min/{project}"),
        };
        let details = json!([{ "reason": reason, "metadata": { "quota_unit": unit } }]);
        json!({ "code": status, "message": "Refused.", "details": details })
    } else {
        json!({ "code": status, "message": "Refused.", "errors": [{ "domain": "global", "reason": answer }] })
    };
    json!({ "error": error }).to_string()
}

#[test]
fn every_row_of_the_readme_has_its_class() {
    for row in class_table(include_str!("../../README.md")) {
        let replay = || Replay::new().get("", row.status, row.body(|answer| google(row.status, answer)));
        let error = collect(&replay()).expect_err("an error response is not a report");
        assert_eq!(class_name(&error), row.class, "{row:?}: {error:?}");
        let checked = replay().check::<YouTubeAnalytics>(account("1", CHANNEL)).expect_err("nor in a check");
        assert_eq!(class_name(&checked), row.class, "{row:?}: {checked:?}");
    }
}

#[test]
fn an_error_of_the_project_ends_the_batch_and_one_of_the_owner_does_not() {
    let accounts: Vec<Account> = (0..8).map(|number| account(&number.to_string(), CHANNEL)).collect();
    for (status, answer, is_of_all) in [
        (403, "quotaExceeded", true),
        (403, "accessNotConfigured", true),
        (429, "RATE_LIMIT_EXCEEDED", true),
        (401, "text: invalid_client", true),
        (403, "userRateLimitExceeded", false),
        (429, "RATE_LIMIT_EXCEEDED per user", false),
        (403, "forbidden", false),
        (401, "authError", false),
    ] {
        let replay = Replay::new().get("", status, google(status, answer));
        let outcomes = replay.fetch::<YouTubeAnalytics>(accounts.clone(), day()).accounts;
        assert!(outcomes.iter().all(|outcome| outcome == &outcomes[0] && outcome.is_err()), "{answer}");
        assert_eq!(replay.urls().len(), if is_of_all { 1 } else { 8 }, "{answer}");
    }
}

#[test]
fn one_owner_without_consent_affects_no_other() {
    let replay = Replay::new().get("%3D%3Dmissing", 403, google(403, "insufficientPermissions")).get(
        "",
        200,
        fixture("day.json"),
    );
    let accounts = vec![account("1", "missing"), account("2", CHANNEL)];
    let outcomes = replay.fetch::<YouTubeAnalytics>(accounts, day()).accounts;
    assert!(matches!(outcomes[0], Err(FetchError::Reconnect(_))), "{:?}", outcomes[0]);
    assert!(outcomes[1].is_ok());
}

#[test]
fn the_wait_comes_from_the_body_or_the_header() {
    let in_body = json!({ "error": { "code": 429, "message": "Refused.", "details": [
        { "reason": "RATE_LIMIT_EXCEEDED" }, { "@type": "RetryInfo", "retryDelay": "30.5s" }] } });
    assert_eq!(collect(&Replay::new().get("", 429, in_body.to_string())), Err(FetchError::RateLimited(Some(30))));
    let answer = response(429, &[("retry-after", "12")], google(429, "RATE_LIMIT_EXCEEDED"));
    assert_eq!(collect(&Replay::new().on(Method::Get, "", Ok(answer))), Err(FetchError::RateLimited(Some(12))));
}
