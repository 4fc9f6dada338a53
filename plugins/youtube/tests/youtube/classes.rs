//! Tests of the classes of errors: each row of the README's table, and what ends a batch or is asked in halves.

use backline_sdk::testing::{class_name, class_table};

use super::*;

/// Google's body for a reason, or for a message after "says: ".
fn google(status: u16, answer: &str) -> String {
    let error = if let Some(message) = answer.strip_prefix("says: ") {
        json!({ "code": status, "message": message, "status": "PERMISSION_DENIED" })
    } else if answer == answer.to_uppercase() || answer.ends_with("per day") {
        let (reason, unit) = match answer.strip_suffix(" per day") {
            Some(reason) => (reason, "1/d/{project}"),
            None => (answer, "1/min/{project}/{user}"),
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
        let replay = Replay::new().get("", row.status, row.body(|answer| google(row.status, answer)));
        let error = replay.check::<YouTube>(account("1", BLUE)).expect_err("an error response is not a channel");
        assert_eq!(class_name(&error), row.class, "{row:?}: {error:?}");
    }
}

#[test]
fn what_holds_for_all_ends_the_batch_after_the_first_request() {
    for reason in ["quotaExceeded", "accessNotConfigured", "concurrentLimitExceeded"] {
        let replay = Replay::new().get("", 403, google(403, reason));
        let outcomes = replay.fetch::<YouTube>(accounts(), context(UNTIL)).accounts;
        assert!(outcomes.iter().all(|outcome| outcome == &outcomes[0] && outcome.is_err()), "{outcomes:?}");
        assert_eq!(replay.urls().len(), 1, "{reason}");
    }
}

/// Channels without videos, of which the platform refuses every list with one of `bad`.
fn refusing(count: usize, bad: &str) -> (Replay, Vec<Account>) {
    let ids: Vec<String> = (0..count).map(|number| format!("UCrefused{number:02}")).collect();
    let items: Vec<Json> =
        ids.iter().map(|id| json!({ "id": id, "statistics": { "videoCount": "0", "subscriberCount": "7" } })).collect();
    let replay = Replay::new().get(bad, 400, google(400, "says: Request contains an invalid argument.")).get(
        "/channels?",
        200,
        json!({ "items": items }).to_string(),
    );
    (replay, ids.iter().map(|id| account(id, id)).collect())
}

#[test]
fn a_batch_refused_for_one_id_is_asked_in_halves() {
    let (replay, accounts) = refusing(50, "UCrefused17");
    let outcomes = replay.fetch::<YouTube>(accounts, context(UNTIL)).accounts;
    for (number, outcome) in outcomes.iter().enumerate() {
        if number == 17 {
            assert_eq!(*outcome, Err(FetchError::NotFound), "the platform takes the others, so it is this id");
        } else {
            assert_eq!(metric(&snapshot(outcome.as_ref().expect("is collected")), "followers"), 7);
        }
    }
    assert!(replay.urls().len() <= 13, "{}", replay.urls().len());
}

#[test]
fn a_request_that_is_refused_for_every_id_blames_no_account() {
    let (replay, accounts) = refusing(50, "part=snippet");
    let outcomes = replay.fetch::<YouTube>(accounts, context(UNTIL)).accounts;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(FetchError::Unexpected(_)))), "{outcomes:?}");
    assert!(replay.urls().len() <= 15, "{}", replay.urls().len());
}
