//! Tests of what the optional connectors read: YouTube Analytics with Google's tokens, and business discovery.

use backline_simulator::{ANALYTICS_METRICS, Platform, Simulator, SimulatorConfig};
use chrono::{Days, NaiveDate};
use serde_json::{Value as Json, json};

use crate::client::{Answer, get, get_with, post_form, start};

const ANALYTICS: &str = "youtubeanalytics.googleapis.com";
const GOOGLE: &str = "oauth2.googleapis.com";
const FACEBOOK: &str = "graph.facebook.com";

/// The numbers of an artist whom no trait concerns.
const PLAIN: u32 = 0;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

async fn refresh(simulator: &Simulator, client_id: &str, client_secret: &str, token: &str) -> Answer {
    let form = [
        ("client_id", client_id),
        ("client_secret", client_secret),
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
    ];
    post_form(simulator, GOOGLE, "/token", &form).await
}

async fn access(simulator: &Simulator, index: u32) -> String {
    let world = simulator.world();
    let (id, secret) = (world.google_client_id(), world.google_client_secret());
    let answer = refresh(simulator, &id, &secret, &world.google_refresh_token(index)).await.json();
    assert!(answer.get("refresh_token").is_none(), "it does not rotate: {answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

fn report(first: NaiveDate, last: NaiveDate, more: &str) -> String {
    format!("/v2/reports?ids=channel%3D%3DMINE&startDate={first}&endDate={last}{more}")
}

#[tokio::test]
async fn googles_tokens_last_an_hour_and_are_refused_flatly() {
    let simulator = start(SimulatorConfig::default()).await;
    let world = simulator.world();
    let token = access(&simulator, PLAIN).await;
    let today = world.start();
    let target = report(today, today, "&metrics=views&dimensions=day");
    assert_eq!(get_with(&simulator, ANALYTICS, &target, &token).await.status, 200);
    simulator.set_date(today + Days::new(1));
    let expired = get_with(&simulator, ANALYTICS, &target, &token).await;
    assert_eq!((expired.status, expired.json()["error"]["errors"][0]["reason"].as_str()), (401, Some("authError")));
    assert_eq!(get(&simulator, ANALYTICS, &target).await.status, 401);
    let (id, secret) = (world.google_client_id(), world.google_client_secret());
    let dead = refresh(&simulator, &id, &secret, "1//unknown").await;
    assert_eq!((dead.status, dead.json()["error"].as_str()), (400, Some("invalid_grant")));
    let wrong = refresh(&simulator, &id, "wrong", &world.google_refresh_token(PLAIN)).await;
    assert_eq!((wrong.status, wrong.json()["error"].as_str()), (401, Some("invalid_client")));
    assert_eq!(simulator.counts().operation("POST /token"), 3);
}

#[tokio::test]
async fn a_report_has_the_days_that_are_delivered_and_leaves_quiet_ones_out() {
    let simulator = start(SimulatorConfig::default()).await;
    let world = simulator.world();
    let today = world.start();
    let first = today - Days::new(40);
    let token = access(&simulator, PLAIN).await;
    let metrics = ANALYTICS_METRICS.join(",");
    let target = report(first, today, &format!("&metrics={metrics}&dimensions=day"));
    let body = get_with(&simulator, ANALYTICS, &target, &token).await.json();
    let headers: Vec<&str> =
        body["columnHeaders"].as_array().unwrap().iter().map(|header| header["name"].as_str().unwrap()).collect();
    assert_eq!(headers.join(","), format!("day,{metrics}"));
    let delivered = today - Days::new(3);
    let expected: Vec<Json> = first
        .iter_days()
        .take_while(|day| *day <= delivered)
        .filter_map(|day| {
            let numbers = world.analytics_day(PLAIN, day)?;
            Some(std::iter::once(json!(day.to_string())).chain(numbers.into_iter().map(Json::from)).collect())
        })
        .collect();
    assert!((30..38).contains(&expected.len()), "some days are quiet: {}", expected.len());
    assert_eq!(body["rows"], Json::Array(expected));
    let late = report(today - Days::new(2), today, "&metrics=views&dimensions=day");
    let late = get_with(&simulator, ANALYTICS, &late, &token).await.json();
    assert!(late.get("rows").is_none() && late["columnHeaders"].is_array(), "{late}");
    let silent = access(&simulator, 1).await;
    let none = get_with(&simulator, ANALYTICS, &target, &silent).await.json();
    assert!(none.get("rows").is_none(), "an artist with nothing has no row: {none}");
}

#[tokio::test]
async fn the_countries_of_a_day_are_those_with_the_most_views() {
    let simulator = start(SimulatorConfig::default()).await;
    let world = simulator.world();
    let token = access(&simulator, PLAIN).await;
    let mut days = (5..40).map(|back| world.start() - Days::new(back));
    let day = days.find(|day| world.analytics_day(PLAIN, *day).is_some()).unwrap();
    let of = async |more: &str| get_with(&simulator, ANALYTICS, &report(day, day, more), &token).await;
    let query = "&metrics=views,estimatedMinutesWatched&dimensions=country&sort=-views";
    let body = of(query).await.json();
    let expected = world.analytics_countries(PLAIN, day).unwrap();
    assert_eq!(body["rows"].as_array().map(Vec::len), Some(expected.len()));
    assert_eq!(body["rows"][0], json!([expected[0].0, expected[0].1[0], expected[0].1[1]]));
    assert_eq!(of(&format!("{query}&maxResults=2")).await.json()["rows"].as_array().map(Vec::len), Some(2));
    assert_eq!(of("&metrics=likes&dimensions=country").await.status, 400);
    let late = report(world.start(), world.start(), query);
    assert!(get_with(&simulator, ANALYTICS, &late, &token).await.json().get("rows").is_none());
}

#[tokio::test]
async fn a_report_is_refused_for_others_channels_and_for_what_is_unknown() {
    let simulator = start(SimulatorConfig::default()).await;
    let token = access(&simulator, PLAIN).await;
    let day = date("2026-11-01");
    let of = async |target: String| {
        let answer = get_with(&simulator, ANALYTICS, &target, &token).await;
        let error = answer.json()["error"].clone();
        (answer.status, error["message"].as_str().unwrap_or_default().to_owned())
    };
    let channel = |index| simulator.world().platform_id(Platform::Youtube, index);
    let target = |id: &str| format!("/v2/reports?ids=channel%3D%3D{id}&startDate={day}&endDate={day}&metrics=views");
    assert_eq!(of(target(&channel(PLAIN)) + "&dimensions=day").await.0, 200);
    assert_eq!(of(target(&channel(5)) + "&dimensions=day").await, (403, "Forbidden".to_owned()));
    let unknown = of(report(day, day, "&metrics=views,impressions&dimensions=day")).await;
    assert_eq!(unknown, (400, "Unknown identifier (impressions) given in field parameters.metrics.".to_owned()));
    let combined = of(report(day, day, "&metrics=views&dimensions=video,day")).await;
    assert!(combined.0 == 400 && combined.1.starts_with("The query is not supported."), "{combined:?}");
    assert_eq!(of(report(day, day, "&dimensions=day")).await, (400, "Required".to_owned()));
}

fn discovery(simulator: &Simulator, name: &str, fields: &str) -> String {
    let own = simulator.world().facebook_own_account();
    let token = simulator.world().facebook_token();
    let fields = format!("business_discovery.username({name}){{{fields}}}");
    let fields: String = url::form_urlencoded::byte_serialize(fields.as_bytes()).collect();
    format!("/v25.0/{own}?fields={fields}&access_token={token}")
}

#[tokio::test]
async fn the_operators_own_account_is_on_a_page() {
    let simulator = start(SimulatorConfig::default()).await;
    let token = simulator.world().facebook_token();
    let target = format!("/v25.0/me/accounts?fields=instagram_business_account&access_token={token}");
    let pages = get(&simulator, FACEBOOK, &target).await.json();
    let own = simulator.world().facebook_own_account();
    assert_eq!(pages["data"][1]["instagram_business_account"]["id"], own.as_str());
    let wrong = get(&simulator, FACEBOOK, &target.replace(&token, "EAAwrong")).await;
    assert_eq!((wrong.status, wrong.json()["error"]["code"].as_i64()), (400, Some(190)));
    let other = get(&simulator, FACEBOOK, &format!("/v25.0/17840?access_token={token}")).await.json();
    assert_eq!((&other["error"]["code"], &other["error"]["error_subcode"]), (&json!(100), &json!(33)));
}

#[tokio::test]
async fn accounts_are_found_by_user_name_in_any_case() {
    let simulator = start(SimulatorConfig { troubles: true, ..SimulatorConfig::default() }).await;
    let world = simulator.world();
    let name = world.instagram_name(PLAIN);
    let fields = "username,followers_count,media_count";
    let answer = get(&simulator, FACEBOOK, &discovery(&simulator, &name.to_uppercase(), fields)).await.json();
    let found = &answer["business_discovery"];
    assert_eq!(found["username"], name.as_str());
    assert_eq!(found["followers_count"], json!(world.followers(Platform::Instagram, PLAIN, world.start())));
    assert_eq!(found["id"], world.platform_id(Platform::Instagram, PLAIN).as_str());
    for gone in ["nobody.999".to_owned(), "nobody".to_owned(), world.instagram_name(17), world.instagram_name(16)] {
        let answer = get(&simulator, FACEBOOK, &discovery(&simulator, &gone, fields)).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, error["code"].as_i64(), error["error_subcode"].as_i64()),
            (400, Some(110), Some(2_207_013)),
            "{gone}"
        );
    }
    let unknown = get(&simulator, FACEBOOK, &discovery(&simulator, &name, "username,media{id,reach}")).await.json();
    let message = unknown["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(message, "(#100) Tried accessing nonexisting field (reach) on node type (IGMedia)");
    assert_eq!(simulator.counts().operation("GET /{user}"), 6);
}

#[tokio::test]
async fn posts_come_newest_first_and_page_by_hand() {
    let simulator = start(SimulatorConfig::default()).await;
    let world = simulator.world();
    let total = world.posts_until(Platform::Instagram, PLAIN, world.start());
    assert!(total > 25, "{total}");
    let name = world.instagram_name(PLAIN);
    let (mut after, mut times, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let fields = format!("media{after}.limit(20){{id,timestamp,media_type,like_count,comments_count,view_count}}");
        let answer = get(&simulator, FACEBOOK, &discovery(&simulator, &name, &fields)).await.json();
        let media = &answer["business_discovery"]["media"];
        let posts = media["data"].as_array().unwrap();
        pages += 1;
        times.extend(posts.iter().map(|post| post["timestamp"].as_str().unwrap().to_owned()));
        for post in posts {
            assert!(post.get("view_count").is_none() || post["media_type"] == "VIDEO", "{post}");
        }
        let Some(cursor) = media["paging"]["cursors"]["after"].as_str() else {
            assert!(posts.is_empty(), "the last page with posts has a cursor too");
            break;
        };
        assert!(media["paging"].get("next").is_none());
        after = format!(".after({cursor})");
    }
    assert_eq!(times.len(), total as usize);
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    assert_eq!(pages, total.div_ceil(20) + 1);
}

#[tokio::test]
async fn a_field_that_was_removed_is_refused() {
    let simulator =
        start(SimulatorConfig { instagram_lost: vec!["view_count".to_owned()], ..SimulatorConfig::default() }).await;
    let name = simulator.world().instagram_name(PLAIN);
    let answer = get(&simulator, FACEBOOK, &discovery(&simulator, &name, "media{id,view_count}")).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_i64()), (400, Some(100)));
}

#[tokio::test]
async fn the_credentials_of_the_optional_connectors_are_apart() {
    let simulator = start(SimulatorConfig::default()).await;
    let optional = get(&simulator, "127.0.0.1", "/_control/optional-credentials.json").await.json();
    assert_eq!(optional.as_array().map(Vec::len), Some(2 + 25));
    let others = get(&simulator, "127.0.0.1", "/_control/credentials.json").await.json();
    let others: Vec<&str> = others.as_array().unwrap().iter().filter_map(|it| it["platform"].as_str()).collect();
    assert!(!others.contains(&"youtube_analytics") && !others.contains(&"instagram_business"), "{others:?}");
}
