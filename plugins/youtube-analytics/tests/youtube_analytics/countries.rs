//! Tests of the countries of a day: what is sent, what is not known, and what a refusal costs.

use super::*;
use crate::classes::google;

const NAMES: [&str; 2] = ["views_by_country", "watch_time_by_country"];

/// The platform with another answer for the countries.
fn with(status: u16, body: impl Into<Vec<u8>>) -> Replay {
    Replay::new().get("dimensions=country", status, body).get("/v2/reports?", 200, fixture("day.json"))
}

fn countries_of(rows: &Json) -> Snapshot {
    let mut table: Json = serde_json::from_str(&fixture("countries.json")).expect("is JSON");
    table["rows"] = rows.clone();
    collect(&with(200, table.to_string())).expect("is collected")
}

#[test]
fn countries_come_with_their_numbers_the_highest_first() {
    let snapshot = collect(&platform()).expect("is collected");
    assert_eq!(
        metric(&snapshot, "views_by_country"),
        json!(["US 3000000000", "DE 900000000", "ZZ 900000000", "BR 12"])
    );
    let minutes = metric(&snapshot, "watch_time_by_country");
    assert_eq!(minutes, json!(["US 70000000", "BR 50000000", "DE 41000000", "ZZ 0"]), "a 0 that was sent is one");
    let many: Vec<Json> = (0..40).map(|n| json!([format!("A{}", char::from(b'A' + n % 26)), 100 - n, 1])).collect();
    let snapshot = countries_of(&Json::from(many[..26].to_vec()));
    assert_eq!(metric(&snapshot, "views_by_country").as_array().map(Vec::len), Some(25), "no more than were asked for");
}

#[test]
fn countries_are_absent_until_the_day_is_final_and_on_a_day_without_any() {
    let fetched = fetch(&platform(), account("1", CHANNEL), day()).expect("is collected");
    for name in NAMES {
        assert_eq!(metric(&read(&fetched, 2), name), absent("unavailable"), "{name}");
    }
    let mut none: Json = serde_json::from_str(&fixture("countries.json")).expect("is JSON");
    none.as_object_mut().expect("a table").remove("rows");
    for snapshot in [collect(&with(200, none.to_string())).expect("is collected"), countries_of(&json!([]))] {
        for name in NAMES {
            assert_eq!(metric(&snapshot, name), absent("not-found"), "{name}");
        }
        assert_eq!(metric(&snapshot, "account_views"), 5_000_000_000_i64, "the day itself has numbers");
    }
}

#[test]
fn a_row_that_can_not_be_read_leaves_no_list_with_a_gap() {
    for rows in [
        json!([["US", 5, 1], [null, 4, 1]]),
        json!([["US", 5, 1], ["Germany", 4, 1]]),
        json!([["US", 5, 1], ["US", 4, 1]]),
        json!([["US", 5, 1], ["DE", null, 1]]),
        json!([["US", 5, 1], ["DE", -977_433_948, 1]]),
    ] {
        let snapshot = countries_of(&rows);
        assert_eq!(metric(&snapshot, "views_by_country"), absent("unavailable"), "{rows}");
        assert_eq!(metric(&snapshot, "account_views"), 5_000_000_000_i64, "{rows}");
    }
    let minutes = countries_of(&json!([["US", 5, 1], ["DE", null, 1]]));
    let of_number = countries_of(&json!([["US", 5, "x"], ["DE", 4, 1]]));
    assert_eq!(metric(&of_number, "views_by_country"), json!(["US 5", "DE 4"]), "one column costs itself");
    assert_eq!(metric(&minutes, "watch_time_by_country"), json!(["DE 1", "US 1"]));
    for rows in [json!(null), json!({}), json!("x"), json!([["US", 5]]), json!([null])] {
        let snapshot = countries_of(&rows);
        for name in NAMES {
            assert_eq!(metric(&snapshot, name), absent("unavailable"), "{name}: {rows}");
        }
        assert_eq!(metric(&snapshot, "account_views"), 5_000_000_000_i64, "{rows}");
    }
}

#[test]
fn a_refusal_costs_the_countries_alone_and_is_remembered_for_a_week() {
    let refused = google(400, "says: The query is not supported.");
    let replay = with(400, refused.clone());
    let fetched = fetch(&replay, account("1", CHANNEL), day()).expect("is collected");
    let snapshot = read(&fetched, 5);
    assert_eq!(metric(&snapshot, "views_by_country"), absent("unavailable"));
    assert_eq!(metric(&snapshot, "account_views"), 5_000_000_000_i64);
    assert_eq!(replay.urls().len(), 2);
    let asked_after = |days: i64| {
        let replay = with(400, refused.clone());
        let until = END_OF_DAY + days * DAY_SECONDS;
        let context = Context { window: Window { since: until - DAY_SECONDS, until }, lost_metrics: Vec::new() };
        let account = Account { state: fetched.state.clone(), ..account("1", CHANNEL) };
        assert!(fetch(&replay, account, context).is_ok());
        replay.urls().len()
    };
    assert_eq!((asked_after(1), asked_after(7)), (1, 2));
    let forbidden = collect(&with(403, google(403, "forbidden"))).expect("is collected");
    assert_eq!(metric(&forbidden, "views_by_country"), absent("not-authorized"));
}

#[test]
fn what_passes_is_retried_and_what_holds_for_all_ends_the_batch() {
    for (status, body) in [(503, String::new()), (200, "<html>".to_owned()), (403, "<html>".to_owned())] {
        let outcome = collect(&with(status, body.clone()));
        assert!(matches!(outcome, Err(FetchError::Unavailable(_))), "{status} {body}: {outcome:?}");
    }
    let outcome = collect(&with(403, google(403, "quotaExceeded")));
    assert_eq!(outcome, Err(FetchError::QuotaExhausted(None)));
}

#[test]
fn an_account_may_do_without_countries() {
    let replay = platform();
    let fetched = fetch(&replay, with_settings(json!({ "countries": false })), day()).expect("is collected");
    assert_eq!(replay.urls().len(), 1);
    for name in NAMES {
        assert_eq!(metric(&read(&fetched, 5), name), absent("not-offered"), "{name}");
    }
}
