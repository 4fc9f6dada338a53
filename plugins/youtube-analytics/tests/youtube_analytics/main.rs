//! Tests of the YouTube Analytics connector against responses that follow the platform's documentation.

mod classes;
mod countries;
mod refusing;

use std::path::Path;

use backline_sdk::conformance;
use backline_sdk::prelude::*;
use backline_sdk::testing::{Replay, absent, account, metric};
use backline_youtube_analytics::YouTubeAnalytics;

const CHANNEL: &str = "UC_x5XG1OV2P6uZZ5FSM9Ttw";

/// The end of 2026-11-19 in California, in Unix seconds: 2026-11-20T08:00:00Z.
const END_OF_DAY: i64 = 1_795_132_800 + 8 * 3_600;

const DAY_SECONDS: i64 = 86_400;

/// Every metric, with its number in `day.json`.
const NUMBERS: [(&str, i64); 9] = [
    ("account_views", 5_000_000_000),
    ("engaged_views", 4_100_000_000),
    ("watch_time", 123_456_789),
    ("average_view_duration", 94),
    ("followers_gained", 320),
    ("followers_lost", 41),
    ("likes_received", 8_100),
    ("comments_received", 230),
    ("shares_received", 0),
];

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A context whose window is 2026-11-19 in the zone of an artist in California.
fn day() -> Context {
    Context { window: Window { since: END_OF_DAY - DAY_SECONDS, until: END_OF_DAY }, lost_metrics: Vec::new() }
}

fn with_settings(settings: Json) -> Account {
    Account { settings: settings.to_string(), ..account("1", CHANNEL) }
}

fn fetch(replay: &Replay, account: Account, context: Context) -> Result<Fetched, FetchError> {
    replay.fetch::<YouTubeAnalytics>(vec![account], context).accounts.remove(0)
}

/// The snapshot of a document that was fetched so many days after the day had ended.
fn read(fetched: &Fetched, days_later: i64) -> Snapshot {
    let observed_at = END_OF_DAY + days_later * DAY_SECONDS;
    let document = Document { body: fetched.body.clone(), window: day().window, observed_at };
    YouTubeAnalytics::normalize(document).expect("is normalised")
}

fn collect(replay: &Replay) -> Result<Snapshot, FetchError> {
    fetch(replay, account("1", CHANNEL), day()).map(|fetched| read(&fetched, 5))
}

fn platform() -> Replay {
    Replay::new().get("dimensions=country", 200, fixture("countries.json")).get(
        "/v2/reports?",
        200,
        fixture("day.json"),
    )
}

#[test]
fn a_day_is_collected_with_one_request_and_its_countries_with_another() {
    let replay = platform();
    let snapshot = collect(&replay).expect("is collected");
    for (name, number) in NUMBERS {
        assert_eq!(metric(&snapshot, name), number, "{name}");
    }
    assert_eq!(snapshot.engagement, None);
    let sent = replay.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(
        sent[0].url,
        "https://youtubeanalytics.googleapis.com/v2/reports?ids=channel%3D%3DUC_x5XG1OV2P6uZZ5FSM9Ttw\
         &startDate=2026-11-19&endDate=2026-11-19&dimensions=day&metrics=views,engagedViews,estimatedMinutesWatched,\
         averageViewDuration,subscribersGained,subscribersLost,likes,comments,shares"
    );
    assert_eq!(
        sent[1].url,
        "https://youtubeanalytics.googleapis.com/v2/reports?ids=channel%3D%3DUC_x5XG1OV2P6uZZ5FSM9Ttw\
         &startDate=2026-11-19&endDate=2026-11-19&dimensions=country&metrics=views,estimatedMinutesWatched\
         &sort=-views&maxResults=25"
    );
    for request in &sent {
        let credential = request.credential.as_ref().expect("names the owner's token");
        assert_eq!((credential.slot.as_str(), credential.account.as_deref()), ("user", Some("1")));
    }
}

#[test]
fn the_day_asked_for_is_the_one_that_ends_with_the_window() {
    let asked = |account: Account, window: Window| {
        let replay = platform();
        fetch(&replay, account, Context { window, lost_metrics: Vec::new() }).expect("is collected");
        let url = replay.urls().remove(0);
        url.split_once("startDate=").expect("a day").1[..10].to_owned()
    };
    let midnight = END_OF_DAY - 8 * 3_600;
    for (hours, zone) in [(-10, "Honolulu"), (-8, "Los Angeles"), (0, "UTC"), (2, "Berlin"), (13, "Auckland")] {
        let until = midnight - hours * 3_600;
        let of_days = |days: i64| Window { since: until - days * DAY_SECONDS, until };
        assert_eq!(asked(account("1", CHANNEL), of_days(1)), "2026-11-19", "{zone}");
        assert_eq!(asked(account("1", CHANNEL), of_days(28)), "2026-11-19", "the trailing window in {zone}");
    }
    let kiribati = Window { since: midnight - 38 * 3_600, until: midnight - 14 * 3_600 };
    assert_eq!(asked(with_settings(json!({ "utc_offset_hours": 14 })), kiribati), "2026-11-19");
    let short = Window { since: END_OF_DAY - 23 * 3_600, until: END_OF_DAY };
    assert_eq!(asked(account("1", CHANNEL), short), "2026-11-19", "the day on which clocks go forward");
}

#[test]
fn the_default_account_is_the_one_of_the_token() {
    let replay = platform();
    assert!(fetch(&replay, account("1", "mine"), day()).is_ok());
    assert!(replay.urls()[0].contains("ids=channel%3D%3DMINE&"), "{:?}", replay.urls());
    assert_eq!(platform().check::<YouTubeAnalytics>(account("1", CHANNEL)).as_deref(), Ok(CHANNEL));
}

#[test]
fn numbers_of_a_day_that_is_not_final_are_absent_whatever_was_sent() {
    let zeros = fixture("day.json").replace("5000000000, 4100000000, 123456789.0, 94", "0, 0, 0, 0");
    for answer in [fixture("day.json"), fixture("no_rows.json"), zeros] {
        let replay = Replay::new().get("", 200, answer);
        let fetched = fetch(&replay, account("1", CHANNEL), day()).expect("is collected");
        for (name, _) in NUMBERS {
            assert_eq!(metric(&read(&fetched, 2), name), absent("unavailable"), "{name}");
        }
    }
    let fetched = fetch(&platform(), account("1", CHANNEL), day()).expect("is collected");
    assert_eq!(metric(&read(&fetched, 3), "account_views"), 5_000_000_000_i64);
    assert_eq!(read(&fetched, 2).notes.len(), 1, "{:?}", read(&fetched, 2).notes);
}

#[test]
fn how_late_a_day_is_final_is_a_setting() {
    for (setting, days_later, is_final) in
        [(json!(0), 0, true), (json!(5), 4, false), (json!(5), 5, true), (json!(-3), -1, false), (json!("x"), 2, false)]
    {
        let account = with_settings(json!({ "final_after_days": setting }));
        let fetched = fetch(&platform(), account, day()).expect("is collected");
        let views = metric(&read(&fetched, days_later), "account_views");
        assert_eq!(views == 5_000_000_000_i64, is_final, "{setting} {days_later}: {views}");
    }
}

#[test]
fn a_day_without_a_row_is_not_0() {
    let with_rows = |rows: Json| {
        let mut table: Json = serde_json::from_str(&fixture("no_rows.json")).expect("is JSON");
        table["rows"] = rows;
        collect(&Replay::new().get("", 200, table.to_string())).expect("is collected")
    };
    let without = collect(&Replay::new().get("", 200, fixture("no_rows.json"))).expect("is collected");
    let other_day = json!([["2026-11-18", 1, 1, 1, 1, 1, 1, 1, 1, 1]]);
    for snapshot in [without, with_rows(json!([])), with_rows(other_day)] {
        for (name, _) in NUMBERS {
            assert_eq!(metric(&snapshot, name), absent("not-found"), "{name}");
        }
    }
    let nulls = with_rows(json!([["2026-11-19", 7, null, "", "1.5", {}, [], true, -2, "12"]]));
    assert_eq!(metric(&nulls, "account_views"), 7);
    for name in ["engaged_views", "watch_time", "average_view_duration", "followers_lost", "likes_received"] {
        assert_eq!(metric(&nulls, name), absent("unavailable"), "{name}");
    }
    assert_eq!(metric(&nulls, "shares_received"), 12);
    let twice =
        with_rows(json!([["2026-11-19", 1, 1, 1, 1, 1, 1, 1, 1, 1], ["2026-11-19", 2, 2, 2, 2, 2, 2, 2, 2, 2]]));
    assert_eq!(metric(&twice, "account_views"), absent("unavailable"), "which of two rows counts is unknown");
}

#[test]
fn columns_are_found_by_their_names() {
    let table = json!({
        "columnHeaders": [{ "name": "shares" }, { "name": "later" }, { "name": "views" }, { "name": "day" }],
        "rows": [[3, 99, 8, "2026-11-19"]],
    });
    let snapshot = collect(&Replay::new().get("", 200, table.to_string())).expect("is collected");
    assert_eq!((metric(&snapshot, "shares_received"), metric(&snapshot, "account_views")), (json!(3), json!(8)));
    assert_eq!(metric(&snapshot, "likes_received"), absent("unavailable"));
}

#[test]
fn a_table_that_leaves_open_which_cell_is_which_is_unexpected() {
    let views = json!([{ "name": "day" }, { "name": "views" }]);
    for table in [
        json!({ "columnHeaders": views, "rows": [["2026-11-19"]] }),
        json!({ "columnHeaders": views, "rows": [["2026-11-19", 1], ["2026-11-18", 1, 2]] }),
        json!({ "columnHeaders": views, "rows": null }),
        json!({ "columnHeaders": [{ "name": "day" }, {}], "rows": [["2026-11-19", 1]] }),
        json!({ "columnHeaders": [{ "name": "views" }], "rows": [[1]] }),
        json!({ "rows": [["2026-11-19", 1]] }),
    ] {
        let outcome = collect(&Replay::new().get("", 200, table.to_string()));
        assert!(matches!(outcome, Err(FetchError::Unexpected(_))), "{table}: {outcome:?}");
    }
}

#[test]
fn it_passes_the_conformance_checks() {
    let fetched = fetch(&platform(), account("1", CHANNEL), day()).expect("is collected");
    let document = Document { body: fetched.body, window: day().window, observed_at: END_OF_DAY + 9 * DAY_SECONDS };
    conformance::check::<YouTubeAnalytics>(include_str!("../../connector.toml"), &[document]);
}

#[test]
fn no_damaged_answer_gives_a_number() {
    // These checks read a document at the end of its window, so the day is final at once.
    let account = with_settings(json!({ "final_after_days": 0 }));
    let snapshot = platform().collect::<YouTubeAnalytics>(account.clone(), day()).expect("is collected");
    assert_eq!(metric(&snapshot, "account_views"), 5_000_000_000_i64, "there is something to lose");
    conformance::check_answers::<YouTubeAnalytics>(platform, &[account], &day());
}
