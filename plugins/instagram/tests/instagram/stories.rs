//! Tests of stories: asked for only if the account's settings do, each for itself, and never more than is known.

use super::*;

fn wanting() -> Account {
    Account { settings: json!({ "stories": true }).to_string(), ..account("1", USER) }
}

fn insights(views: i64, replies: i64) -> String {
    let of = |name: &str, value: i64| json!({ "name": name, "values": [{ "value": value }], "title": "localised" });
    json!({ "data": [of("views", views), of("reach", 40), of("replies", replies), of("shares", 2)] }).to_string()
}

/// Adds the stories of the account to what it has besides.
fn with(stories: Replay) -> Replay {
    let list = r#"{ "data": [{ "id": "901" }, { "id": "902" }] }"#;
    let replay = posts(stories.get("/me/stories?", 200, list));
    replay
        .get("/18000000000000001/insights", 200, fixture("insights_1.json"))
        .get("/18000000000000002/insights", 200, fixture("insights_2.json"))
        .get("/18000000000000003/insights", 200, fixture("insights_none.json"))
}

fn both() -> Replay {
    with(Replay::new().get("/901/insights", 200, insights(100, 3)).get("/902/insights", 200, insights(50, 0)))
}

fn collected(replay: &Replay) -> Snapshot {
    replay.collect::<Instagram>(wanting(), context(UNTIL)).expect("is collected")
}

const NUMBERS: [&str; 4] = ["story_views", "story_reach", "story_replies", "story_shares"];

#[test]
fn live_stories_are_counted_with_their_numbers() {
    let replay = both();
    let snapshot = collected(&replay);
    for (name, number) in [("stories_live", 2), ("story_views", 150), ("story_reach", 80), ("story_shares", 4)] {
        assert_eq!(metric(&snapshot, name), number, "{name}");
    }
    assert_eq!(metric(&snapshot, "story_replies"), 3);
    assert_eq!(coverage(&snapshot, "story_replies"), (1, 1), "0 replies may be unknown ones");
    assert_eq!(metric(&snapshot, "followers"), 64_363);
    let urls = replay.urls();
    assert!(urls.iter().any(|url| url.ends_with("/me/stories?fields=id,timestamp&limit=100")), "{urls:#?}");
    assert!(urls.iter().any(|url| url.ends_with("/901/insights?metric=views,reach,replies,shares")), "{urls:#?}");
}

#[test]
fn stories_are_asked_for_only_if_the_settings_do() {
    let replay = both();
    let snapshot = replay.collect::<Instagram>(account("1", USER), context(UNTIL)).expect("is collected");
    for name in ["stories_live"].into_iter().chain(NUMBERS) {
        assert_eq!(metric(&snapshot, name), absent("not-offered"), "{name}");
    }
    assert!(replay.urls().iter().all(|url| !url.contains("/stories")), "{:?}", replay.urls());
}

#[test]
fn no_story_is_0_and_a_list_that_is_none_is_missing() {
    for (status, list, live, views) in [
        (200, r#"{ "data": [] }"#.to_owned(), json!(0), json!(0)),
        (200, r#"{ "data": null }"#.to_owned(), absent("unavailable"), absent("unavailable")),
        (200, r#"{ "data": [{ "id": "901" }, {}] }"#.to_owned(), absent("unavailable"), absent("unavailable")),
        (
            200,
            r#"{ "data": [{ "id": "901" }], "paging": { "next": "https://a.test" } }"#.to_owned(),
            absent("unavailable"),
            absent("unavailable"),
        ),
        (400, error("10_permission"), absent("not-authorized"), absent("not-authorized")),
        (503, String::new(), absent("unavailable"), absent("unavailable")),
    ] {
        let snapshot = collected(&posts(Replay::new().get("/me/stories?", status, list.clone())).get(
            "/insights",
            200,
            fixture("insights_none.json"),
        ));
        assert_eq!((metric(&snapshot, "stories_live"), metric(&snapshot, "story_views")), (live, views), "{list}");
        assert_eq!(metric(&snapshot, "followers"), 64_363, "{list}");
    }
    let limited = posts(Replay::new().get("/me/stories?", 400, error("4_app_limit")));
    let limited = limited.get("/insights", 200, fixture("insights_none.json"));
    let outcome = limited.collect::<Instagram>(wanting(), context(UNTIL));
    assert_eq!(outcome, Err(FetchError::RateLimited(None)), "it holds for everything");
}

#[test]
fn a_story_that_few_saw_or_that_ended_costs_itself() {
    let few = classes::meta("10 (#10) Not enough viewers for the media to show insights");
    let gone = classes::meta("100/33");
    for refused in [few, gone, classes::meta("100 (#100) Invalid metric")] {
        let replay = with(Replay::new().get("/901/insights", 400, refused).get("/902/insights", 200, insights(50, 1)));
        let snapshot = collected(&replay);
        assert_eq!(metric(&snapshot, "stories_live"), 2);
        assert_eq!((metric(&snapshot, "story_views"), coverage(&snapshot, "story_views")), (json!(50), (1, 1)));
    }
    let scope = error("10_permission");
    let replay = with(Replay::new().get("/901/insights", 400, scope.clone()).get("/902/insights", 400, scope));
    for name in NUMBERS {
        assert_eq!(metric(&collected(&replay), name), absent("not-authorized"), "{name}");
    }
}

#[test]
fn they_pass_the_conformance_checks() {
    let fetched = both().fetch::<Instagram>(vec![wanting()], context(UNTIL)).accounts.remove(0).expect("is collected");
    let document = Document { body: fetched.body, window: context(UNTIL).window, observed_at: UNTIL };
    conformance::check::<Instagram>(include_str!("../../connector.toml"), &[document]);
    conformance::check_answers::<Instagram>(both, &[wanting()], &context(UNTIL));
}
