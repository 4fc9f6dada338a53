//! Tests of metrics that the platform refuses: each is lost alone.

use super::*;
use crate::classes::google;

/// The report of 2026-11-19 for a request that names these metrics.
fn report(metrics: &[&str]) -> String {
    let mut headers = vec![json!({ "name": "day" })];
    headers.extend(metrics.iter().map(|name| json!({ "name": name })));
    let mut row = vec![json!("2026-11-19")];
    row.extend(metrics.iter().map(|name| json!(name.len())));
    json!({ "kind": "youtubeAnalytics#resultTable", "columnHeaders": headers, "rows": [row] }).to_string()
}

const ALL: &str = "metrics=views,engagedViews,estimatedMinutesWatched,averageViewDuration,subscribersGained,\
                   subscribersLost,likes,comments,shares";

#[test]
fn a_metric_that_is_gone_is_lost_for_all_and_costs_one_request() {
    let gone = google(400, "says: Unknown identifier (engagedViews) given in field parameters.metrics.");
    let rest = ["views", "estimatedMinutesWatched", "averageViewDuration", "subscribersGained"];
    let replay = Replay::new().get("engagedViews", 400, gone).get("", 200, report(&rest));
    let accounts = vec![account("1", CHANNEL)];
    let result = replay.fetch::<YouTubeAnalytics>(accounts.clone(), day());
    let lost: Vec<&str> = result.lost_metrics.iter().map(|lost| lost.name.as_str()).collect();
    assert_eq!(lost, ["engagedViews"]);
    let fetched = result.accounts[0].as_ref().expect("is collected");
    assert_eq!(fetched.state, None, "the host remembers it");
    let snapshot = read(fetched, 5);
    assert_eq!(metric(&snapshot, "engaged_views"), absent("not-offered"));
    assert_eq!(metric(&snapshot, "account_views"), 5);
    assert_eq!(replay.urls().len(), 3, "and one for the countries");
    let replay = Replay::new().get("", 200, report(&rest));
    let context = Context { lost_metrics: vec!["engagedViews".to_owned()], ..day() };
    let result = replay.fetch::<YouTubeAnalytics>(accounts, context);
    assert!(!replay.urls()[0].contains("engagedViews"), "{:?}", replay.urls());
    let fetched = result.accounts[0].as_ref().expect("is collected");
    assert_eq!(metric(&read(fetched, 5), "engaged_views"), absent("not-offered"));
}

/// A platform that refuses every query with `shares`, without saying why.
fn without_shares() -> Replay {
    let refused = || google(400, "says: The query is not supported.");
    Replay::new()
        .get("metrics=subscribersLost,likes,comments,shares", 400, refused())
        .get("metrics=comments,shares", 400, refused())
        .get("metrics=shares", 400, refused())
        .get(ALL, 400, refused())
        .get("metrics=views,engagedViews", 200, report(&["views", "engagedViews", "likes"]))
        .get("metrics=views", 200, report(&["views"]))
        .get("metrics=engagedViews", 200, report(&["engagedViews", "subscribersGained"]))
        .get("metrics=subscribersLost,likes", 200, report(&["subscribersLost", "likes"]))
        .get("metrics=comments", 200, report(&["comments"]))
}

#[test]
fn a_metric_refused_without_its_name_is_found_and_remembered_for_a_week() {
    let replay = without_shares();
    let result = replay.fetch::<YouTubeAnalytics>(vec![account("1", CHANNEL)], day());
    assert_eq!(result.lost_metrics, [], "nobody said that the metric is gone");
    let fetched = result.accounts[0].as_ref().expect("is collected");
    let snapshot = read(fetched, 5);
    assert_eq!(metric(&snapshot, "shares_received"), absent("unavailable"));
    for (name, length) in [("account_views", 5), ("engaged_views", 12), ("likes_received", 5), ("comments_received", 8)]
    {
        assert_eq!(metric(&snapshot, name), length, "{name}");
    }
    assert_eq!(replay.urls().len(), 9, "one for the countries: {:#?}", replay.urls());
    let of_day = |days: i64| {
        let replay = without_shares();
        let until = END_OF_DAY + days * DAY_SECONDS;
        let context = Context { window: Window { since: until - DAY_SECONDS, until }, lost_metrics: Vec::new() };
        let account = Account { state: fetched.state.clone(), ..account("1", CHANNEL) };
        assert!(fetch(&replay, account, context).is_ok());
        replay.urls().len()
    };
    assert_eq!((of_day(1), of_day(-6)), (2, 2), "not asked again");
    assert_eq!((of_day(7), of_day(-7)), (9, 9), "asked again after a week");
}

#[test]
fn a_refused_query_is_the_fault_of_no_metric() {
    let replay = Replay::new().get("", 400, google(400, "says: Invalid value for startDate."));
    let outcome = fetch(&replay, account("1", CHANNEL), day());
    assert!(matches!(outcome, Err(FetchError::Unexpected(_))), "{outcome:?}");
    assert_eq!(replay.urls().len(), 2);
}

#[test]
fn a_table_that_cannot_be_read_is_no_refusal() {
    let replay = Replay::new()
        .get(ALL, 400, google(400, "says: The query is not supported."))
        .get("metrics=views", 200, report(&["views"]))
        .get("", 200, "{}");
    let outcome = fetch(&replay, account("1", CHANNEL), day());
    assert!(matches!(outcome, Err(FetchError::Unavailable(_))), "{outcome:?}");
}

#[test]
fn state_that_is_not_its_own_is_ignored() {
    for state in ["[]", "{\"refused\":{\"everything\":1795161600}}", "{\"refused\":{\"views\":\"x\"}}", "x"] {
        let replay = platform();
        let account = Account { state: Some(state.to_owned()), ..account("1", CHANNEL) };
        assert!(fetch(&replay, account, day()).is_ok());
        assert!(replay.urls()[0].ends_with(ALL), "{state}: {:?}", replay.urls());
    }
}
