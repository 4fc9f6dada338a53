//! Tests of the YouTube connector against responses that follow the platform's documentation.

mod classes;
mod missing;
mod statistics;

use std::path::Path;

use backline_sdk::conformance;
use backline_sdk::prelude::*;
use backline_sdk::testing::{self, Replay, absent, account, context, metric, response};
use backline_youtube::YouTube;

/// 2026-11-20T00:00:00Z.
const UNTIL: i64 = 1_795_132_800;

const BLUE: &str = "UCbluelanterns000000001";
const MEADOW: &str = "UCquietmeadow0000000002";
const NIGHT: &str = "UCnightharbour000000003";

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn platform() -> Replay {
    Replay::new()
        .get("/channels?", 200, fixture("channels.json"))
        .get("pageToken=PAGE2", 200, fixture("uploads_blue_2.json"))
        .get("playlistId=UUbluelanterns", 200, fixture("uploads_blue_1.json"))
        .get("playlistId=UUquietmeadow", 200, fixture("uploads_meadow.json"))
        .get("/videos", 200, fixture("videos.json"))
}

fn accounts() -> Vec<Account> {
    vec![account("1", BLUE), account("2", "UCunknown"), account("3", MEADOW), account("4", NIGHT)]
}

fn snapshot(fetched: &Fetched) -> Snapshot {
    let document = Document { body: fetched.body.clone(), window: context(UNTIL).window, observed_at: UNTIL };
    YouTube::normalize(document).expect("what fetch returned can be normalised")
}

fn documents(replay: &Replay, accounts: Vec<Account>) -> Vec<Document> {
    let outcomes = replay.fetch::<YouTube>(accounts, context(UNTIL)).accounts;
    let document =
        |fetched: Fetched| Document { body: fetched.body, window: context(UNTIL).window, observed_at: UNTIL };
    outcomes.into_iter().filter_map(Result::ok).map(document).collect()
}

#[test]
fn a_batch_is_matched_by_id_and_takes_as_few_calls_as_possible() {
    let replay = platform();
    let outcomes = replay.fetch::<YouTube>(accounts(), context(UNTIL)).accounts;
    assert_eq!(outcomes[1], Err(FetchError::NotFound), "an id missing from the response is not found");
    let [blue, meadow, night] = [0, 2, 3].map(|index: usize| snapshot(outcomes[index].as_ref().expect("is collected")));

    assert_eq!(metric(&blue, "followers"), 2_300_000);
    assert_eq!(metric(&blue, "total_views"), 3_331_930_783_i64);
    assert_eq!(metric(&blue, "posts_count"), 412);
    assert_eq!(metric(&blue, "content_views"), 5_000_001_000_i64);
    assert_eq!(metric(&blue, "video_views"), 5_000_001_000_i64);
    assert_eq!(metric(&blue, "likes"), 395_573);
    assert_eq!(metric(&blue, "comments"), 9_523);
    let likes = blue.metrics.iter().find(|metric| metric.name == "likes").expect("is reported");
    assert_eq!(likes.coverage, Some(Coverage { counted: 1, skipped: 2 }), "one hides them, one is gone");
    assert_eq!(
        blue.engagement,
        Some(Engagement {
            interactions: 395_573 + 9_523,
            base: Some(5_000_000_000),
            basis: EngagementBasis::Views,
            posts_counted: 1,
            posts_skipped: 2,
        }),
        "the video without likes counts neither as interactions nor as views"
    );
    assert_eq!(blue.notes, ["1 videos of the window were deleted or are no longer public"]);

    assert_eq!(metric(&meadow, "followers"), absent("hidden"), "a hidden number is sent as \"0\"");
    assert_eq!(metric(&meadow, "likes"), 60, "the platform sent more likes than views");
    assert_eq!(metric(&night, "followers"), 0, "a real 0 stays 0");
    assert_eq!(metric(&night, "content_views"), 0);
    assert_eq!(night.engagement.map(|engagement| engagement.posts_counted), Some(0));

    let urls = replay.urls();
    let count = |part: &str| urls.iter().filter(|url| url.contains(part)).count();
    assert_eq!((count("/channels?"), count("/playlistItems?")), (1, 3), "{urls:#?}");
    assert_eq!((count("/videos:batchGetStats?"), count("/videos?")), (1, 1), "the one that is gone: {urls:#?}");
    assert!(urls[0].contains("maxResults=50"), "{}", urls[0]);
    let videos = urls.iter().find(|url| url.contains("/videos:")).expect("a request was sent");
    assert!(!videos.contains("maxResults"), "{videos}");
    assert!(!videos.contains("vid-too-old1") && !videos.contains("vid-private1"), "{videos}");
    assert!(replay.sent().iter().all(|request| request.credential.as_ref().is_some_and(|it| it.account.is_none())));
}

#[test]
fn uploads_are_listed_again_only_when_the_number_of_videos_changed_or_the_list_is_old() {
    let first =
        platform().fetch::<YouTube>(vec![account("1", BLUE)], context(UNTIL)).accounts.remove(0).expect("is collected");
    let again = |state: Option<String>, days: i64| {
        let replay = platform();
        let mut account = account("1", BLUE);
        account.state = state;
        let outcome = replay.fetch::<YouTube>(vec![account], context(UNTIL + days * 86_400)).accounts.remove(0);
        let listed = replay.urls().iter().filter(|url| url.contains("/playlistItems?")).count();
        (listed, outcome.expect("is collected"))
    };
    let state = first.state.clone().expect("the list is stored");
    let (listed, tomorrow) = again(Some(state.clone()), 1);
    assert_eq!(listed, 0, "nothing was published, so nothing is listed");
    assert_eq!(metric(&snapshot(&tomorrow), "content_views"), 5_000_001_000_i64);
    assert_eq!(again(Some(state.clone()), 8).0, 2, "a list from last week is not used");
    assert_eq!(again(Some(state.clone()), -1).0, 2, "an earlier window begins before the list");
    assert_eq!(again(Some(state.replace("\"videos\":412", "\"videos\":411")), 1).0, 2, "the number of videos changed");
    assert_eq!(again(Some("nonsense".to_owned()), 1).0, 2);
}

#[test]
fn channels_first_listed_together_are_due_on_different_days() {
    let mut listed_on = [0_usize; 7];
    let (platform, accounts) = crowd(49, 1);
    let first = platform.fetch::<YouTube>(accounts.clone(), context(UNTIL)).accounts;
    let mut kept: Vec<Account> = accounts;
    for (account, fetched) in kept.iter_mut().zip(first) {
        account.state = fetched.expect("is collected").state;
    }
    for (day, listed) in (1..).zip(&mut listed_on) {
        let (platform, _) = crowd(49, 1);
        let outcomes = platform.fetch::<YouTube>(kept.clone(), context(UNTIL + day * 86_400)).accounts;
        *listed = platform.urls().iter().filter(|url| url.contains("/playlistItems?")).count();
        for (account, fetched) in kept.iter_mut().zip(outcomes) {
            account.state = fetched.expect("is collected").state;
        }
    }
    assert_eq!(listed_on.iter().sum::<usize>(), 49, "each channel once a week: {listed_on:?}");
    assert!(listed_on.iter().all(|listed| *listed <= 14), "{listed_on:?}");
}

#[test]
fn videos_without_known_numbers_do_not_sum_to_zero() {
    let with = |videos: &str| {
        let platform = Replay::new()
            .get("/channels?", 200, fixture("channels.json"))
            .get("playlistId=UUquietmeadow", 200, fixture("uploads_meadow.json"))
            .get("/videos", 200, videos);
        platform.collect::<YouTube>(account("3", MEADOW), context(UNTIL)).expect("the channel's numbers are good")
    };
    let gone = with(r#"{ "kind": "youtube#videoListResponse", "items": [] }"#);
    assert_eq!(metric(&gone, "content_views"), absent("not-found"));
    assert_eq!(gone.engagement, None);
    assert_eq!(metric(&with("{}"), "content_views"), absent("unavailable"), "the response is not a list of videos");
}

#[test]
fn a_response_that_is_not_a_list_loses_no_channel() {
    let outcome = Replay::new().get("/channels?", 200, "{}").fetch::<YouTube>(accounts(), context(UNTIL));
    assert!(outcome.accounts.iter().all(|outcome| matches!(outcome, Err(FetchError::Unexpected(_)))), "{outcome:?}");
}

#[test]
fn a_stored_list_drops_what_left_the_window() {
    let first =
        platform().fetch::<YouTube>(vec![account("1", BLUE)], context(UNTIL)).accounts.remove(0).expect("is collected");
    let mut account = account("1", BLUE);
    account.state = first.state;
    let later = context(UNTIL + 86_400);
    let kept = platform().fetch::<YouTube>(vec![account], later.clone()).accounts.remove(0).expect("is collected");
    let state: Json = serde_json::from_str(&kept.state.expect("is kept")).expect("is JSON");
    assert_eq!(state["since"], later.window.since);
    assert_eq!(state["listed"], UNTIL, "using a list does not renew it");
}

#[test]
fn every_error_has_its_class() {
    let of = |name: &str| {
        let status = name[..3].parse().expect("the name begins with the status");
        let replay = Replay::new().get("", status, fixture(&format!("errors/{name}.json")));
        replay.check::<YouTube>(account("1", BLUE)).expect_err("an error response is not a channel")
    };
    for name in ["403_quota_exceeded", "403_daily_limit_exceeded", "429_daily_bucket"] {
        assert_eq!(of(name), FetchError::QuotaExhausted(None), "{name}");
    }
    for name in ["403_rate_limit_exceeded", "403_user_rate_limit_exceeded", "429_rate_limit_details"] {
        assert_eq!(of(name), FetchError::RateLimited(None), "{name}");
    }
    for name in ["403_access_not_configured", "403_service_disabled", "400_api_key_invalid", "400_key_invalid"] {
        assert!(matches!(of(name), FetchError::Misconfigured(_)), "{name}: {:?}", of(name));
    }
    for name in ["401_auth_error", "401_credentials_missing", "400_string_invalid_grant"] {
        assert!(matches!(of(name), FetchError::Unauthorized(_)), "{name}: {:?}", of(name));
    }
    for name in ["403_insufficient_permissions", "403_permission_denied"] {
        assert!(matches!(of(name), FetchError::Forbidden(_)), "{name}: {:?}", of(name));
    }
    for name in ["400_bad_request", "400_string"] {
        assert!(matches!(of(name), FetchError::Unexpected(_)), "{name}: {:?}", of(name));
    }
    assert!(matches!(of("500_backend_error"), FetchError::Unavailable(_)));
    for name in ["channels_without_items.json", "channels_empty.json"] {
        let replay = Replay::new().get("", 200, fixture(name));
        assert_eq!(replay.check::<YouTube>(account("1", BLUE)), Err(FetchError::NotFound), "{name}");
    }
    assert_eq!(platform().check::<YouTube>(account("1", BLUE)).as_deref(), Ok("Blue Lanterns"));
}

#[test]
fn a_quota_that_ends_in_the_middle_keeps_complete_channels() {
    let replay = Replay::new().get("/channels?", 200, fixture("channels.json")).get(
        "playlistId=UUbluelanterns",
        403,
        fixture("errors/403_quota_exceeded.json"),
    );
    let outcomes = replay.fetch::<YouTube>(accounts(), context(UNTIL)).accounts;
    assert_eq!(outcomes[0], Err(FetchError::QuotaExhausted(None)));
    assert_eq!(outcomes[1], Err(FetchError::NotFound));
    assert_eq!(outcomes[2], Err(FetchError::QuotaExhausted(None)), "no request is sent for it, and nothing is lost");
    assert_eq!(metric(&snapshot(outcomes[3].as_ref().expect("needs no further call")), "total_views"), 0);
    assert_eq!(replay.urls().len(), 2, "nothing is sent after the quota is spent: {:#?}", replay.urls());

    let host = Replay::new()
        .get("/channels?", 200, fixture("channels.json"))
        .get("playlistId=UUbluelanterns", 200, fixture("uploads_blue_2.json").replace("PAGE3", ""))
        .get("playlistId=UUquietmeadow", 200, r#"{ "items": [] }"#)
        .on(Method::Get, "/videos", Err(HttpError::QuotaExhausted(Some(UNTIL))));
    let outcomes = host.fetch::<YouTube>(accounts(), context(UNTIL)).accounts;
    assert_eq!(outcomes[0], Err(FetchError::QuotaExhausted(Some(UNTIL))));
    assert!(outcomes[2].is_ok() && outcomes[3].is_ok(), "{outcomes:?}");
}

/// A platform with `channels` channels of `videos` uploads each, and their accounts.
fn crowd(channels: usize, videos: usize) -> (Replay, Vec<Account>) {
    crowd_on(Replay::new(), channels, videos)
}

/// The same, behind the answers that a replay has already.
fn crowd_on(mut replay: Replay, channels: usize, videos: usize) -> (Replay, Vec<Account>) {
    let id = |number: usize| format!("UCcrowd{number:04}");
    let items: Vec<Json> = (0..channels)
        .rev()
        .map(|number| {
            json!({
                "id": id(number), "snippet": { "title": "x" },
                "statistics": { "viewCount": "1", "subscriberCount": "1", "videoCount": videos.to_string() },
                "contentDetails": { "relatedPlaylists": { "uploads": format!("UUcrowd{number:04}") } },
            })
        })
        .collect();
    for chunk in 0..channels.div_ceil(50) {
        let items = &items[chunk * 50..items.len().min((chunk + 1) * 50)];
        replay = replay.get("/channels?", 200, json!({ "items": items }).to_string());
    }
    let mut statistics = Vec::new();
    for number in 0..channels {
        let ids: Vec<String> = (0..videos).map(|video| format!("v{number:04}-{video:03}")).collect();
        statistics.extend(ids.iter().map(|id| json!({ "id": id, "statistics": { "viewCount": "1" } })));
        let uploads: Vec<Json> = ids
            .iter()
            .map(|id| json!({ "contentDetails": { "videoId": id, "videoPublishedAt": "2026-11-10T00:00:00Z" } }))
            .collect();
        replay = replay.get(&format!("UUcrowd{number:04}"), 200, json!({ "items": uploads }).to_string());
    }
    let replay = replay.get("/videos", 200, json!({ "items": statistics }).to_string());
    (replay, (0..channels).map(|number| account(&number.to_string(), &id(number))).collect())
}

#[test]
fn the_accounts_that_are_handed_over_first_get_what_is_left_of_the_quota() {
    let item = json!({ "contentDetails": { "videoId": "v0000-000", "videoPublishedAt": "2026-11-10T00:00:00Z" } });
    let uploads = json!({ "items": [item] }).to_string();
    let lists = (0..3).fold(Replay::new(), |replay, _| replay.get("/playlistItems?", 200, uploads.clone()));
    let lists = lists.on(Method::Get, "/playlistItems?", Err(HttpError::QuotaExhausted(Some(UNTIL))));
    let (replay, mut accounts) = crowd_on(lists, 12, 1);
    accounts.reverse();
    let outcomes = replay.fetch::<YouTube>(accounts, context(UNTIL)).accounts;
    let collected: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(collected, [vec![true; 3], vec![false; 9]].concat(), "{outcomes:?}");
}

#[test]
fn statistics_are_requested_50_at_a_time_across_the_channels() {
    let (replay, accounts) = crowd(50, 3);
    let outcomes = replay.fetch::<YouTube>(accounts, context(UNTIL)).accounts;
    for outcome in &outcomes {
        assert_eq!(metric(&snapshot(outcome.as_ref().expect("is collected")), "content_views"), 3);
    }
    let urls = replay.urls();
    let calls: Vec<usize> = urls
        .iter()
        .filter(|url| url.contains("/videos:batchGetStats?"))
        .map(|url| url.split("id=").nth(1).expect("the request has ids").split(',').count())
        .collect();
    assert_eq!(calls, [50, 50, 50]);
    assert_eq!(urls.len(), 1 + 50 + 3);
}

#[test]
fn a_refused_video_list_loses_the_videos_only_and_a_transient_failure_is_retried() {
    let with = |status: u16, body: String| {
        Replay::new()
            .get("/channels?", 200, fixture("channels.json"))
            .get("/playlistItems?", status, body)
            .collect::<YouTube>(account("1", MEADOW), context(UNTIL))
    };
    let snapshot = with(403, fixture("errors/403_permission_denied.json")).expect("the channel's numbers are good");
    assert_eq!(metric(&snapshot, "total_views"), 90_210);
    assert_eq!(metric(&snapshot, "likes"), absent("not-authorized"));
    assert_eq!(snapshot.engagement, None);
    assert!(matches!(with(500, fixture("errors/500_backend_error.json")), Err(FetchError::Unavailable(_))));
}

#[test]
fn uploads_without_a_date_do_not_sum_to_zero() {
    let replay = Replay::new().get("/channels?", 200, fixture("channels.json")).get(
        "/playlistItems?",
        200,
        r#"{ "items": [{ "contentDetails": { "videoId": "v" } }] }"#,
    );
    let snapshot =
        replay.collect::<YouTube>(account("1", MEADOW), context(UNTIL)).expect("the channel's numbers are good");
    assert_eq!(metric(&snapshot, "content_views"), absent("unavailable"));
    assert_eq!(metric(&snapshot, "total_views"), 90_210);
}

#[test]
fn an_endless_playlist_is_truncated_and_not_summed() {
    let details = r#"{ "videoId": "v", "videoPublishedAt": "2026-11-10T00:00:00Z" }"#;
    let page = format!(r#"{{ "nextPageToken": "NEXT", "items": [{{ "contentDetails": {details} }}] }}"#);
    // Another token, and the same video again.
    let other = page.replace("NEXT", "OTHER");
    let replay = Replay::new().get("/channels?", 200, fixture("channels.json")).get("pageToken=NEXT", 200, other).get(
        "/playlistItems?",
        200,
        page,
    );
    let snapshot = replay.collect::<YouTube>(account("1", BLUE), context(UNTIL)).expect("is collected");
    assert_eq!(metric(&snapshot, "content_views"), absent("unavailable"), "a truncated list has no sum");
    assert_eq!(snapshot.engagement, None);
    assert_eq!(snapshot.notes, ["more videos were published inside the window than the connector reads"]);
    assert_eq!(replay.urls().iter().filter(|url| url.contains("/playlistItems?")).count(), 2);
    assert_eq!(replay.urls().len(), 1 + 2, "no quota is spent on videos that can't be summed");
}

#[test]
fn an_id_that_would_corrupt_the_list_is_not_sent() {
    let replay = Replay::new().get("", 200, fixture("channels_empty.json"));
    let ids = ["", "UC1,UC2", "UC 1", "UC1&part=snippet"];
    let accounts = ids.iter().map(|id| account("1", id)).collect();
    assert!(
        replay.fetch::<YouTube>(accounts, context(UNTIL)).accounts.iter().all(|it| *it == Err(FetchError::NotFound))
    );
    assert_eq!(replay.urls(), [""; 0]);
}

#[test]
fn a_missing_key_is_a_configuration_error() {
    let replay = Replay::new().always(Err(HttpError::CredentialUnavailable("the slot is empty".to_owned())));
    assert!(matches!(replay.check::<YouTube>(account("1", BLUE)), Err(FetchError::Misconfigured(_))));
}

#[test]
fn it_passes_the_conformance_checks() {
    let documents = documents(&platform(), accounts());
    assert_eq!(documents.len(), 3);
    conformance::check::<YouTube>(include_str!("../../connector.toml"), &documents);
}

/// How a recorded body is used, and the expected result.
enum Expected {
    /// The response to `channels.list`: the id, and the values of some metrics.
    Channel(&'static str, Json),
    /// The response to `playlistItems.list`: the number of videos without a time limit.
    Uploads(usize),
    /// The response to `videos.list` for these ids: the values of some metrics.
    Videos(&'static [&'static str], Json),
    /// The `statistics` of a channel.
    ChannelStatistics(Json),
    /// An error response with this status.
    Error(u16, fn(&FetchError) -> bool),
    /// A response to `channels.list` without the channel.
    NotFound,
}

#[test]
fn every_recorded_body_gives_the_expected_result() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/payloads/youtube");
    let Some(bodies) = testing::bodies(&folder) else { return };
    for (name, body) in bodies {
        check_collected(&name, &body, expected(&name));
    }
}

fn expected(name: &str) -> Expected {
    match name {
        "batch_get_stats_documented_shape.json" => Expected::Videos(
            &["Ks-_Mh1QhMc"],
            json!({ "content_views": 23_463_386, "likes": 395_573, "comments": 9_523 }),
        ),
        "channel_single_legacy.json" => {
            Expected::Channel("UC_x5XG1OV2P6uZZ5FSM9Ttw", json!({ "followers": 1_927_873, "total_views": 160_361_638 }))
        }
        "channel_statistics_part.json" => Expected::ChannelStatistics(
            json!({ "followers": 2_300_000, "total_views": 234_084_903, "posts_count": 5_783 }),
        ),
        "channels_list_empty_items.json" => Expected::NotFound,
        // The items have other ids, so it is not a list of channels.
        "search_channels.json" => Expected::Error(200, |error| matches!(error, FetchError::Unexpected(_))),
        "channels_list_multi.json" => {
            Expected::Channel("UCK8sQmJBp8GCxrOtXWBpyEA", json!({ "total_views": 3_331_930_783_i64 }))
        }
        "error_400_key_invalid_legacy.json" => {
            Expected::Error(400, |error| matches!(error, FetchError::Misconfigured(_)))
        }
        "error_403_access_not_configured.json" => {
            Expected::Error(403, |error| matches!(error, FetchError::Misconfigured(_)))
        }
        "error_403_permission_denied.json" => Expected::Error(403, |error| matches!(error, FetchError::Forbidden(_))),
        "error_string_shape.json" => Expected::Error(400, |error| matches!(error, FetchError::Unexpected(_))),
        "playlist_items_page1.json" => Expected::Uploads(3),
        "playlist_items_page2.json" => Expected::Uploads(3),
        "video_statistics_part.json" => {
            Expected::Videos(&["part"], json!({ "content_views": 23_463_386, "likes": 395_573, "comments": 9_523 }))
        }
        "videos_list_with_statistics.json" => Expected::Videos(&["D-lhorsDlUQ"], json!({})),
        "videos_missing_like_and_comment_counts.json" => Expected::Videos(
            &["abcdefghijk"],
            json!({ "content_views": 1_234, "likes": { "absent": "hidden" }, "comments": { "absent": "hidden" } }),
        ),
        unknown => panic!("no expected result for {unknown}: add an entry"),
    }
}

fn check_collected(name: &str, body: &[u8], expected: Expected) {
    let compare = |snapshot: &Snapshot, values: Json| {
        for (metric_name, value) in values.as_object().expect("is an object") {
            assert_eq!(metric(snapshot, metric_name), *value, "{name}: {metric_name}");
        }
    };
    let uploads = |ids: &[&str]| {
        let items: Vec<Json> = ids
            .iter()
            .map(|id| json!({ "contentDetails": { "videoId": id, "videoPublishedAt": "2026-11-10T00:00:00Z" } }))
            .collect();
        json!({ "items": items }).to_string()
    };
    let body_json: Json = serde_json::from_slice(body).expect("is JSON");
    match expected {
        Expected::Channel(id, values) => {
            let replay = Replay::new().get("/channels?", 200, body).get("/playlistItems?", 200, uploads(&[]));
            compare(&replay.collect::<YouTube>(account("1", id), context(UNTIL)).expect(name), values);
        }
        Expected::ChannelStatistics(values) => {
            let channel = json!({ "items": [{ "id": BLUE, "statistics": body_json }] }).to_string();
            let replay = Replay::new().get("/channels?", 200, channel);
            compare(&replay.collect::<YouTube>(account("1", BLUE), context(UNTIL)).expect(name), values);
        }
        Expected::Uploads(count) => {
            let replay = Replay::new()
                .get("/channels?", 200, fixture("channels.json"))
                .get("pageToken", 200, uploads(&[]))
                .get("/playlistItems?", 200, body)
                .get("/videos", 200, r#"{ "items": [] }"#);
            let context = Context { window: Window { since: 0, until: UNTIL }, lost_metrics: Vec::new() };
            let fetched = replay.fetch::<YouTube>(vec![account("1", BLUE)], context).accounts.remove(0).expect(name);
            let document: Json = serde_json::from_str(&fetched.body).expect("is JSON");
            assert_eq!(document["uploads"].as_array().map(Vec::len), Some(count), "{name}: {document}");
        }
        Expected::Videos(ids, values) => {
            let videos = match body_json.get("items") {
                Some(_) => body_json,
                None => json!({ "items": [{ "id": ids[0], "statistics": body_json }] }),
            };
            let replay = Replay::new()
                .get("/channels?", 200, fixture("channels.json"))
                .get("/playlistItems?", 200, uploads(ids))
                .get("/videos", 200, videos.to_string());
            let snapshot = replay.collect::<YouTube>(account("1", BLUE), context(UNTIL)).expect(name);
            assert!(metric(&snapshot, "content_views").as_i64().is_some_and(|views| views > 0), "{name}");
            compare(&snapshot, values);
        }
        Expected::Error(status, fits) => {
            let replay = Replay::new().always(Ok(response(status, &[], body)));
            let error = replay.collect::<YouTube>(account("1", BLUE), context(UNTIL)).expect_err(name);
            assert!(fits(&error), "{name}: {error:?}");
        }
        Expected::NotFound => {
            let replay = Replay::new().get("/channels?", 200, body);
            assert_eq!(
                replay.collect::<YouTube>(account("1", BLUE), context(UNTIL)),
                Err(FetchError::NotFound),
                "{name}"
            );
        }
    }
}
