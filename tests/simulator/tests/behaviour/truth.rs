//! Tests that the server's responses match what `World` expects, every time and for any number of artists.

use backline_simulator::{HOSTS, Platform, Simulator, SimulatorConfig, Trait, World};
use chrono::{Days, NaiveDate};
use serde_json::Value as Json;

use crate::client::{get, get_with, send, spotify_token, start, youtube};

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn followers_of(answer: &Json, path: &str) -> i64 {
    let value = answer.pointer(path).unwrap_or_else(|| panic!("{path} is missing in {answer}"));
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|float| float as i64))
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap()
}

async fn followers(simulator: &Simulator, platform: Platform, index: u32) -> i64 {
    let artist = simulator.world().artist(index);
    match platform {
        Platform::Youtube => {
            let target = format!("channels?part=statistics&id={}", artist.youtube_channel_id);
            let answer = get(simulator, "youtube.googleapis.com", &youtube(simulator, &target)).await.json();
            followers_of(&answer, "/items/0/statistics/subscriberCount")
        }
        Platform::Spotify => {
            let token = spotify_token(simulator).await;
            let target = format!("/v1/artists/{}", artist.spotify_artist_id);
            followers_of(&get_with(simulator, "api.spotify.com", &target, &token).await.json(), "/followers/total")
        }
        Platform::Instagram => {
            let target = format!("/me?fields=followers_count&access_token={}", artist.instagram_token);
            followers_of(&get(simulator, "graph.instagram.com", &target).await.json(), "/followers_count")
        }
        _ => {
            let (host, target) = ("open.tiktokapis.com", "/v2/user/info/?fields=follower_count");
            let answer = get_with(simulator, host, target, &artist.tiktok_access_token).await.json();
            followers_of(&answer, "/data/user/follower_count")
        }
    }
}

#[tokio::test]
async fn served_followers_match_the_expected_ones() {
    let simulator = start(SimulatorConfig { tokens_expire: false, ..SimulatorConfig::default() }).await;
    for day in [0, 1, 9] {
        let date = simulator.world().start() + Days::new(day);
        simulator.set_date(date);
        for platform in [Platform::Youtube, Platform::Spotify, Platform::Instagram, Platform::Tiktok] {
            for index in [0, 1, 2, 5, 9, 11] {
                let expected = simulator.world().expected(platform, index, date).followers.unwrap();
                assert_eq!(followers(&simulator, platform, index).await, expected, "{platform:?} {index} {date}");
            }
        }
    }
}

#[tokio::test]
async fn sums_over_served_videos_match_the_expected_ones() {
    let simulator = start(SimulatorConfig::default()).await;
    let world = simulator.world();
    let today = world.start();
    let since = (today - Days::new(27)).and_time(chrono::NaiveTime::MIN).and_utc().timestamp();
    for index in [0, 7, 10] {
        let bearer = format!("Bearer {}", world.artist(index).tiktok_access_token);
        let target = "/v2/video/list/?fields=create_time,view_count,like_count,comment_count,share_count";
        let (mut sums, mut cursor, mut count) = ([0_i64; 4], 0, 0);
        'pages: loop {
            let body = serde_json::json!({ "max_count": 7, "cursor": cursor }).to_string();
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let page = send(simulator.addr(), "POST", "open.tiktokapis.com", target, &headers, &body).await.json();
            for video in page["data"]["videos"].as_array().unwrap() {
                if video["create_time"].as_i64().unwrap() < since {
                    break 'pages;
                }
                count += 1;
                let names = ["view_count", "like_count", "comment_count", "share_count"];
                for (sum, name) in sums.iter_mut().zip(names) {
                    *sum += video[name].as_i64().unwrap();
                }
            }
            cursor = page["data"]["cursor"].as_i64().unwrap();
        }
        let expected = world.expected(Platform::Tiktok, index, today);
        let got = [expected.content_views, expected.likes, expected.comments, expected.shares].map(Option::unwrap);
        assert_eq!(got, sums, "artist {index}");
        assert_eq!(expected.posts_in_window, count);
    }
}

#[tokio::test]
async fn two_servers_with_the_same_seed_respond_alike_and_another_seed_does_not() {
    let (one, two) = (start(SimulatorConfig::default()).await, start(SimulatorConfig::default()).await);
    let other = start(SimulatorConfig { seed: 8, ..SimulatorConfig::default() }).await;
    let id = one.world().artist(3).youtube_channel_id;
    let token = one.world().artist(0).instagram_token;
    for (host, target) in [
        ("youtube.googleapis.com", youtube(&one, &format!("channels?part=snippet,statistics&id={id}"))),
        ("graph.instagram.com", format!("/v25.0/me/media?fields=id,caption,like_count,timestamp&access_token={token}")),
        ("any", "/_control/artists.csv".to_owned()),
        ("any", "/_control/credentials.json".to_owned()),
    ] {
        let bodies = [&one, &two, &other].map(|simulator| get(simulator, host, &target));
        let [first, second, third] = futures::future::join_all(bodies).await.try_into().ok().unwrap();
        assert_eq!(first.status, 200);
        assert_eq!(first.body, second.body, "{target}");
        assert_ne!(first.body, third.body, "{target}");
    }
}

#[test]
fn numbers_grow_and_traits_have_effects() {
    let world = World::new(7, 25, date("2026-11-20"), false);
    let event = world.event_date();
    let followers = |index, date| world.followers(Platform::Instagram, index, date).unwrap();
    assert!(followers(5, event) as f64 > followers(5, world.start()) as f64 * 2.0, "a spike of more than 100 %");
    assert!((followers(9, event) as f64) < followers(9, world.start()) as f64 * 0.9, "a drop of more than 10 %");
    assert_eq!(world.expected(Platform::Tiktok, 1, event).followers, Some(0));
    assert_eq!(world.expected(Platform::Youtube, 3, event).followers, None, "hidden");
    assert_eq!(world.expected(Platform::Youtube, 8, event).posts_count, Some(0));
    assert_eq!(world.expected(Platform::Youtube, 8, event).content_views, Some(0), "without posts there are 0 views");
    let liked = world.expected(Platform::Tiktok, 10, event);
    assert!(liked.likes > liked.content_views);
    assert_eq!(followers(11, event), followers(11, event + Days::new(30)), "stale");
    assert_eq!(world.expected(Platform::AppleMusic, 0, event).followers, None);
    assert!(world.expected(Platform::Spotify, 0, event).top_track.is_some());
    assert_eq!(world.trait_of(5), Some(Trait::Spike));
    for index in 0..25 {
        let views = |date| world.channel_views(index, date);
        assert!(
            (0..60).all(|day| views(event + Days::new(day)) <= views(event + Days::new(day + 1))),
            "views never decrease"
        );
        for platform in Platform::ALL {
            let calm = world.followers(platform, index, world.start());
            assert!(calm.is_none_or(|followers| (0..=100_000_000).contains(&followers)), "{platform:?} {index}");
        }
    }
}

#[test]
fn a_hundred_thousand_artists_have_distinct_ids() {
    let world = World::new(7, 100_000, date("2026-11-20"), false);
    let mut ids = std::collections::HashSet::new();
    for index in (0..100_000).step_by(7) {
        let artist = world.artist(index);
        for id in [artist.youtube_channel_id, artist.spotify_artist_id, artist.instagram_user_id, artist.apple_music_id]
        {
            assert!(ids.insert(id), "artist {index}");
        }
    }
    assert_eq!(world.artists_csv().lines().count(), 100_001);
}

#[tokio::test]
async fn counts_requests_and_remembers_them() {
    let config = SimulatorConfig { remember_requests: 2, ..SimulatorConfig::default() };
    let simulator = start(config).await;
    let id = simulator.world().artist(0).spotify_artist_id;
    let token = spotify_token(&simulator).await;
    for path in ["", "/albums", "/albums", "/top-tracks"] {
        get_with(&simulator, "api.spotify.com", &format!("/v1/artists/{id}{path}"), &token).await;
    }
    let counts = simulator.counts();
    assert_eq!((counts.requests, counts.host("api.spotify.com"), counts.host("accounts.spotify.com")), (5, 4, 1));
    assert_eq!(counts.operation("GET /v1/artists/{id}/albums"), 2);
    assert_eq!(counts.operation("POST /api/token"), 1);
    assert_eq!(counts.statuses.get(&200), Some(&5));
    let seen = simulator.requests();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].target.ends_with("/top-tracks"));
    assert!(seen[1].headers.contains(&("authorization".to_owned(), format!("Bearer {token}"))));
    let over_http = get(&simulator, "any", "/_control/counts").await.json();
    assert_eq!(over_http["requests"], 5, "control requests are not counted");
    simulator.reset_counts();
    assert_eq!(simulator.counts().requests, 0);
}

#[tokio::test]
async fn control_returns_all_that_a_demo_needs() {
    let simulator = start(SimulatorConfig::default()).await;
    let routes = get(&simulator, "any", "/_control/routes.json").await.json();
    assert_eq!(routes.as_array().unwrap().len(), HOSTS.len());
    assert_eq!(routes[0]["connect"], simulator.url());
    let credentials = get(&simulator, "any", "/_control/credentials.json").await.json();
    assert_eq!(credentials.as_array().unwrap().len(), 4 + 25 * 2);
    let set = send(simulator.addr(), "PUT", "any", "/_control/date", &[], "2026-11-21").await;
    assert_eq!(set.status, 204);
    let expected = get(&simulator, "any", "/_control/expected.json?platform=tiktok&index=4").await.json();
    let truth = simulator.world().followers(Platform::Tiktok, 4, date("2026-11-21")).unwrap();
    assert_eq!(expected["followers"], truth);
}
