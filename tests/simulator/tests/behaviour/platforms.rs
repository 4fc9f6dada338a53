//! Tests of limits, paging, missing fields and error shapes of the five platforms.

use std::collections::BTreeSet;

use backline_simulator::{Platform, Simulator, SimulatorConfig, SpotifyMode, Trait};
use chrono::Days;
use serde_json::{Value as Json, json};

use crate::client::{apple_token, get, get_with, send, spotify_token, start, youtube};

const YOUTUBE: &str = "youtube.googleapis.com";
const SPOTIFY: &str = "api.spotify.com";
const INSTAGRAM: &str = "graph.instagram.com";
const TIKTOK: &str = "open.tiktokapis.com";
const APPLE: &str = "api.music.apple.com";

fn artists(artists: u32) -> SimulatorConfig {
    SimulatorConfig { artists, ..SimulatorConfig::default() }
}

fn ids(simulator: &Simulator, platform: Platform, count: u32) -> String {
    (0..count).map(|index| simulator.world().platform_id(platform, index)).collect::<Vec<_>>().join(",")
}

fn bearer_apple(simulator: &Simulator) -> String {
    let now = 1_795_176_000;
    apple_token(simulator, &simulator.world().apple_team_id(), now - 60, now + 86_400 * 30)
}

// ---- youtube ----------------------------------------

#[tokio::test]
async fn youtube_sends_fifty_channels_out_of_order_and_five_by_default() {
    let simulator = start(artists(60)).await;
    let ask = |count, more: &str| {
        let target = format!("channels?part=statistics&id={}{more}", ids(&simulator, Platform::Youtube, count));
        youtube(&simulator, &target)
    };
    let all = get(&simulator, YOUTUBE, &ask(50, "&maxResults=50")).await.json();
    let got: Vec<&str> = all["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    let asked = ids(&simulator, Platform::Youtube, 50);
    assert_ne!(got.join(","), asked, "the order differs from the request");
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), asked.split(',').collect());
    assert_eq!(get(&simulator, YOUTUBE, &ask(50, "")).await.json()["items"].as_array().unwrap().len(), 5);
    assert_eq!(get(&simulator, YOUTUBE, &ask(51, "&maxResults=50")).await.status, 400);
    assert_eq!(simulator.counts().operation("GET /youtube/v3/channels"), 3);
}

#[tokio::test]
async fn youtube_has_no_items_for_unknown_channels_and_strings_for_counts() {
    let simulator = start(artists(25)).await;
    let none =
        get(&simulator, YOUTUBE, &youtube(&simulator, "channels?part=statistics&id=UCxxxxxxxxxxxxxxxxxxxxxx")).await;
    assert_eq!(none.status, 200);
    assert!(none.json().get("items").is_none());
    let id = simulator.world().artist(0).youtube_channel_id;
    let one = get(&simulator, YOUTUBE, &youtube(&simulator, &format!("channels?part=statistics&id={id}"))).await.json();
    let statistics = &one["items"][0]["statistics"];
    let subscribers = statistics["subscriberCount"].as_str().unwrap();
    assert!(subscribers.len() <= 3 || subscribers[3..].bytes().all(|byte| byte == b'0'), "{subscribers}");
    assert!(statistics["viewCount"].as_str().unwrap().parse::<i64>().unwrap() > 0);
    let hidden = simulator.world().artist(3).youtube_channel_id;
    let one =
        get(&simulator, YOUTUBE, &youtube(&simulator, &format!("channels?part=statistics&id={hidden}"))).await.json();
    assert_eq!(one["items"][0]["statistics"]["hiddenSubscriberCount"], true);
}

#[tokio::test]
async fn youtube_refuses_keys_and_counts_units_until_midnight_pacific() {
    let simulator = start(SimulatorConfig { youtube_quota: 2, ..SimulatorConfig::default() }).await;
    let refused = get(&simulator, YOUTUBE, "/youtube/v3/channels?part=id&id=UCx&key=wrong").await;
    assert_eq!(
        (refused.status, refused.json()["error"]["details"][0]["reason"].as_str()),
        (400, Some("API_KEY_INVALID"))
    );
    let target = youtube(&simulator, "channels?part=id&id=UCx");
    for expected in [200, 200, 403] {
        assert_eq!(get(&simulator, YOUTUBE, &target).await.status, expected);
    }
    let over = get(&simulator, YOUTUBE, &target).await;
    assert_eq!(over.json()["error"]["errors"][0]["reason"], "quotaExceeded");
    assert!(over.header("retry-after").is_none());
    assert_eq!(simulator.counts().units("youtube"), 2);
    let batch = get(&simulator, YOUTUBE, &youtube(&simulator, "videos:batchGetStats?part=statistics&id=x")).await;
    assert_eq!(batch.status, 200, "batchGetStats has its own allowance");
    // 07:59 UTC is 23:59 of the previous day in Pacific time. One minute later the allowance is renewed.
    simulator.set_now("2026-11-21T07:59:00Z".parse().unwrap());
    assert_eq!(get(&simulator, YOUTUBE, &target).await.status, 403);
    simulator.set_now("2026-11-21T08:00:00Z".parse().unwrap());
    assert_eq!(get(&simulator, YOUTUBE, &target).await.status, 200);
}

#[tokio::test]
async fn youtube_pages_uploads_and_gives_statistics_of_fifty_videos() {
    let simulator = start(artists(25)).await;
    let uploads = simulator.world().artist(0).youtube_channel_id.replacen("UC", "UU", 1);
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let target = format!("playlistItems?part=contentDetails&maxResults=20&playlistId={uploads}{token}");
        let page = get(&simulator, YOUTUBE, &youtube(&simulator, &target)).await.json();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["contentDetails"]["videoId"].as_str().unwrap().to_owned()));
        match page["nextPageToken"].as_str() {
            Some(next) => token = format!("&pageToken={next}"),
            None => break,
        }
    }
    let total = simulator.world().posts_until(Platform::Youtube, 0, simulator.world().start());
    assert_eq!(seen.len(), total as usize);
    let ids = seen[..50].join(",");
    let plain =
        get(&simulator, YOUTUBE, &youtube(&simulator, &format!("videos?part=statistics,snippet&id={ids}"))).await;
    let plain = plain.json();
    let items = plain["items"].as_array().unwrap();
    assert_eq!(items.len(), 50);
    assert!(items.iter().any(|item| item["statistics"].get("likeCount").is_none()), "some videos hide their likes");
    assert!(items.iter().all(|item| item["snippet"]["publishedAt"].is_string()));
    let batch = format!("videos:batchGetStats?part=statistics,snippet,contentDetails&id={ids}");
    let batch = get(&simulator, YOUTUBE, &youtube(&simulator, &batch)).await.json();
    assert!(batch["items"][0]["snippet"]["publishTime"].is_string());
    assert!(batch["items"][0]["contentDetails"]["duration"].as_str().unwrap().ends_with('s'));
    let limited = youtube(&simulator, &format!("videos?part=statistics&maxResults=50&id={ids}"));
    assert_eq!(get(&simulator, YOUTUBE, &limited).await.status, 400, "maxResults is refused together with id");
    let silent = simulator.world().artist(8).youtube_channel_id.replacen("UC", "UU", 1);
    let target = youtube(&simulator, &format!("playlistItems?part=contentDetails&playlistId={silent}"));
    let missing = get(&simulator, YOUTUBE, &target).await;
    assert_eq!(
        (missing.status, missing.json()["error"]["errors"][0]["reason"].as_str()),
        (404, Some("playlistNotFound"))
    );
}

// ---- spotify ----------------------------------------

#[tokio::test]
async fn spotify_batches_fifty_with_null_for_the_unknown() {
    let simulator = start(artists(60)).await;
    let token = spotify_token(&simulator).await;
    let target = format!("/v1/artists?ids={},0000000000000000000000", ids(&simulator, Platform::Spotify, 49));
    let answer = get_with(&simulator, SPOTIFY, &target, &token).await.json();
    let artists = answer["artists"].as_array().unwrap();
    assert_eq!((artists.len(), &artists[49]), (50, &Json::Null));
    assert_eq!(artists[0]["id"], simulator.world().artist(0).spotify_artist_id.as_str(), "in the order of the request");
    assert!(artists[2]["followers"]["total"].is_f64(), "some artists have floats");
    assert!(artists[0]["followers"]["total"].is_i64());
    assert_eq!(artists[4]["genres"], json!([]));
    let target = format!("/v1/artists?ids={}", ids(&simulator, Platform::Spotify, 51));
    assert_eq!(get_with(&simulator, SPOTIFY, &target, &token).await.status, 400);
    assert_eq!(get_with(&simulator, SPOTIFY, "/v1/artists/short", &token).await.status, 400);
    assert_eq!(get_with(&simulator, SPOTIFY, "/v1/artists/0000000000000000000000", &token).await.status, 404);
    assert_eq!(get(&simulator, SPOTIFY, &target).await.status, 401);
}

#[tokio::test]
async fn spotify_pages_albums_by_fifty_at_most() {
    let simulator = start(artists(25)).await;
    let token = spotify_token(&simulator).await;
    let id = simulator.world().artist(0).spotify_artist_id;
    let mut target = format!("/v1/artists/{id}/albums?limit=3&include_groups=album,single");
    let mut seen = Vec::new();
    loop {
        let page = get_with(&simulator, SPOTIFY, &target, &token).await.json();
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["release_date"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => target = next.strip_prefix("https://api.spotify.com").unwrap().to_owned(),
            None => {
                assert_eq!(page["total"], seen.len());
                break;
            }
        }
    }
    let world = simulator.world();
    let own = world.releases(0, world.start(), false).into_iter().filter(|release| release.group != "compilation");
    assert_eq!(seen.len(), own.count());
    assert!(seen.iter().any(|date| date.len() == 4), "the oldest release has a year only");
    for (limit, status) in [(50, 200), (51, 400)] {
        let target = format!("/v1/artists/{id}/albums?limit={limit}");
        assert_eq!(get_with(&simulator, SPOTIFY, &target, &token).await.status, status, "{limit}");
    }
}

#[tokio::test]
async fn spotifys_development_mode_has_no_batches_no_followers_and_no_top_tracks() {
    let simulator =
        start(SimulatorConfig { spotify_mode: SpotifyMode::Development, ..SimulatorConfig::default() }).await;
    let token = spotify_token(&simulator).await;
    let id = simulator.world().artist(0).spotify_artist_id;
    let status = async |path: String| get_with(&simulator, SPOTIFY, &path, &token).await.status;
    assert_eq!(status(format!("/v1/artists?ids={id}")).await, 403);
    assert_eq!(status(format!("/v1/artists/{id}/top-tracks")).await, 403);
    let artist = get_with(&simulator, SPOTIFY, &format!("/v1/artists/{id}"), &token).await.json();
    assert!(artist.get("followers").is_none() && artist.get("popularity").is_none());
    let albums = get_with(&simulator, SPOTIFY, &format!("/v1/artists/{id}/albums"), &token).await.json();
    assert!(albums["items"][0].get("available_markets").is_none());
    assert_eq!(status(format!("/v1/artists/{id}/albums?limit=10")).await, 200);
    assert_eq!(status(format!("/v1/artists/{id}/albums?limit=11")).await, 400);
}

#[tokio::test]
async fn spotifys_spent_quota_names_its_reason() {
    let simulator = start(SimulatorConfig { spotify_quota: Some(1), ..SimulatorConfig::default() }).await;
    let token = spotify_token(&simulator).await;
    let target = format!("/v1/artists/{}", simulator.world().artist(0).spotify_artist_id);
    assert_eq!(get_with(&simulator, SPOTIFY, &target, &token).await.status, 200);
    let over = get_with(&simulator, SPOTIFY, &target, &token).await;
    assert_eq!((over.status, over.json()["error"]["reason"].as_str()), (429, Some("QUOTA_EXCEEDED")));
}

// ---- instagram ----------------------------------------

#[tokio::test]
async fn instagrams_media_pages_through_an_empty_page_and_next_embeds_the_token() {
    let simulator = start(artists(25)).await;
    let token = simulator.world().artist(6).instagram_token;
    let mut target = format!("/v25.0/me/media?fields=id,like_count&limit=30&access_token={token}");
    let (mut seen, mut empty_pages) = (Vec::new(), 0);
    loop {
        let page = get(&simulator, INSTAGRAM, &target).await.json();
        let items = page["data"].as_array().unwrap().clone();
        empty_pages += u32::from(items.is_empty());
        seen.extend(items);
        let Some(next) = page["paging"]["next"].as_str() else {
            assert!(page["paging"]["cursors"]["after"].is_string(), "the last page still has a cursor");
            break;
        };
        assert!(next.contains(&token));
        target = next.strip_prefix("https://graph.instagram.com").unwrap().to_owned();
    }
    assert_eq!(empty_pages, 1);
    let total = simulator.world().posts_until(Platform::Instagram, 6, simulator.world().start());
    assert_eq!(seen.len(), total as usize);
    assert!(seen.iter().any(|media| media.get("like_count").is_none()), "hidden likes are omitted");
}

#[tokio::test]
async fn one_bad_instagram_metric_fails_the_whole_request() {
    let simulator = start(artists(25)).await;
    let token = simulator.world().artist(0).instagram_token;
    let list = format!("/v25.0/me/media?fields=id&limit=100&access_token={token}");
    let page = get(&simulator, INSTAGRAM, &list).await.json();
    let media: Vec<String> =
        page["data"].as_array().unwrap().iter().map(|media| media["id"].as_str().unwrap().to_owned()).collect();
    let insights = async |id: &str, metrics: &str| {
        get(&simulator, INSTAGRAM, &format!("/v25.0/{id}/insights?metric={metrics}&access_token={token}")).await
    };
    let (mut values, mut totals, mut empty) = (0, 0, 0);
    for id in &media {
        let answer = insights(id, "views,reach").await.json();
        let Some(first) = answer["data"].get(0) else {
            empty += 1;
            continue;
        };
        values += u32::from(first["values"][0]["value"].is_i64());
        totals += u32::from(first["total_value"]["value"].is_i64());
    }
    assert!(values > 0 && totals > 0 && empty > 0, "both shapes, and some empty ones: {values} {totals} {empty}");

    for (metrics, named) in [("views,impressions", "impressions"), ("views,nonsense", "metric[1]")] {
        let refused = insights(&media[0], metrics).await;
        assert_eq!((refused.status, refused.json()["error"]["code"].as_u64()), (400, Some(100)));
        assert!(refused.json()["error"]["message"].as_str().unwrap().contains(named));
    }
    let nested = format!("/v25.0/me/media?fields=id,insights.metric(views,engagement)&access_token={token}");
    assert_eq!(get(&simulator, INSTAGRAM, &nested).await.status, 400);
    simulator.set_instagram_lost(vec!["saved".into()]);
    let refused = insights(&media[0], "views,saved").await;
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("the saved metric"));
    assert_eq!(insights(&media[0], "views").await.status, 200);
}

#[tokio::test]
async fn instagram_reads_accounts_windows_and_limits() {
    let simulator = start(SimulatorConfig { instagram_calls: Some(3), ..SimulatorConfig::default() }).await;
    let artist = simulator.world().artist(0);
    let me = format!(
        "/v25.0/me?fields=user_id,followers_count,follows_count,media_count&access_token={}",
        artist.instagram_token
    );
    let answer = get(&simulator, INSTAGRAM, &me).await;
    assert!(answer.header("x-business-use-case-usage").unwrap().contains("call_count"));
    let body = answer.json();
    assert_eq!(body["user_id"], artist.instagram_user_id.as_str());
    assert_ne!(body["id"], body["user_id"], "the other id is specific to the application");
    let window = |days: i64| {
        let (until, token) = (1_795_176_000, &artist.instagram_token);
        let since = until - days * 86_400;
        let query = "metric=views&period=day&metric_type=total_value";
        format!("/me/insights?{query}&since={since}&until={until}&access_token={token}")
    };
    assert!(get(&simulator, INSTAGRAM, &window(28)).await.json()["data"][0]["total_value"]["value"].is_i64());
    assert_eq!(get(&simulator, INSTAGRAM, &window(31)).await.json()["error"]["code"], 100);
    let over = get(&simulator, INSTAGRAM, &me).await;
    assert_eq!((over.status, over.json()["error"]["code"].as_u64()), (400, Some(80_002)));
    let parse = get(&simulator, INSTAGRAM, "/me?access_token=nonsense").await;
    assert_eq!((parse.status, parse.json()["error"]["code"].as_u64()), (400, Some(190)));
}

// ---- tiktok ----------------------------------------

#[tokio::test]
async fn tiktok_gives_the_fields_asked_for_and_pages_by_milliseconds() {
    let simulator = start(artists(25)).await;
    let artist = simulator.world().artist(7);
    let token = artist.tiktok_access_token.as_str();
    let info = get_with(&simulator, TIKTOK, "/v2/user/info/?fields=open_id,display_name", token).await.json();
    assert_eq!(info["error"]["code"], "ok");
    assert!(info["data"]["user"]["display_name"].as_str().unwrap().contains('\0'));
    assert!(info["data"]["user"].get("follower_count").is_none());
    assert_eq!(get_with(&simulator, TIKTOK, "/v2/user/info/", token).await.status, 400, "fields is mandatory");

    let list = async |body: String| {
        let headers = [("authorization", &*format!("Bearer {token}")), ("content-type", "application/json")];
        send(simulator.addr(), "POST", TIKTOK, "/v2/video/list/?fields=id,create_time,view_count", &headers, &body)
            .await
    };
    let (mut cursor, mut seen) = (0, Vec::new());
    loop {
        let page = list(json!({ "max_count": 20, "cursor": cursor }).to_string()).await.json();
        seen.extend(
            page["data"]["videos"].as_array().unwrap().iter().map(|video| video["create_time"].as_i64().unwrap()),
        );
        cursor = page["data"]["cursor"].as_i64().unwrap();
        if page["data"]["has_more"] == false {
            break;
        }
        assert_eq!(cursor, seen.last().unwrap() * 1_000);
    }
    assert_eq!(seen.len(), simulator.world().posts_until(Platform::Tiktok, 7, simulator.world().start()) as usize);
    assert!(seen.is_sorted_by(|newer, older| newer > older));
    assert_eq!(list(json!({ "max_count": 21 }).to_string()).await.json()["error"]["code"], "invalid_params");
}

// ---- apple music ----------------------------------------

#[tokio::test]
async fn apple_batches_twenty_five_and_follows_odd_offsets() {
    let simulator = start(artists(60)).await;
    let token = bearer_apple(&simulator);
    let target =
        |count| format!("/v1/catalog/us/artists?ids={}&views=nonsense", ids(&simulator, Platform::AppleMusic, count));
    let answer = get_with(&simulator, APPLE, &target(25), &token).await;
    assert_eq!((answer.status, answer.json()["data"].as_array().unwrap().len()), (200, 25));
    assert_eq!(get_with(&simulator, APPLE, &target(26), &token).await.status, 400);

    let world = simulator.world();
    let own = |index: u32| format!("/v1/catalog/us/artists/{}", world.artist(index).apple_music_id);
    let mut next = format!("{}/albums?limit=3", own(0));
    let mut titles = Vec::new();
    loop {
        let page = get_with(&simulator, APPLE, &next, &token).await.json();
        titles.extend(page["data"].as_array().unwrap().iter().map(|album| album["attributes"]["name"].clone()));
        let Some(path) = page["next"].as_str() else { break };
        assert!(path.starts_with("/v1/catalog/us/") && !path.ends_with("offset=3"), "{path}");
        next = format!("{path}&limit=3");
    }
    assert_eq!(titles.len(), world.releases(0, world.start(), true).len());
    let songs = get_with(&simulator, APPLE, &format!("{}/view/top-songs", own(0)), &token).await.json();
    assert_eq!(songs["data"][0]["attributes"]["name"], world.top_tracks(0)[0].as_str());
    let none = get_with(&simulator, APPLE, &format!("{}/view/top-songs", own(12)), &token).await;
    assert_eq!((none.status, none.json()["errors"][0]["code"].as_str()), (404, Some("40403")));
    let unknown = get_with(&simulator, APPLE, "/v1/catalog/us/artists/9", &token).await;
    assert_eq!(unknown.json()["errors"][0]["code"], "40400");
}

#[tokio::test]
async fn some_artists_announce_a_future_release() {
    let simulator = start(artists(25)).await;
    let world = simulator.world();
    let today = world.start();
    let announcing =
        (0..25).find(|index| world.releases(*index, today, true).iter().any(|release| release.date > today));
    let id = world.artist(announcing.unwrap()).apple_music_id;
    let target = format!("/v1/catalog/us/artists/{id}/albums");
    let page = get_with(&simulator, APPLE, &target, &bearer_apple(&simulator)).await.json();
    assert!(page["data"][0]["attributes"]["releaseDate"].as_str().unwrap() > today.to_string().as_str());
}

// ---- troubles ----------------------------------------

#[tokio::test]
async fn troubles_appear_only_if_configured() {
    let calm = start(artists(25)).await;
    assert!((14..25).all(|index| calm.world().trait_of(index).is_none()));
    let simulator = start(SimulatorConfig { troubles: true, ..SimulatorConfig::default() }).await;
    let world = simulator.world();
    let find = |wanted: Trait| (0..25).find(|index| world.trait_of(*index) == Some(wanted)).unwrap();
    let code = async |wanted: Trait| {
        let target = format!("/me?access_token={}", world.artist(find(wanted)).instagram_token);
        get(&simulator, INSTAGRAM, &target).await.json()["error"]["code"].as_u64().unwrap()
    };
    assert_eq!(code(Trait::InstagramExpired).await, 190);
    assert_eq!(code(Trait::InstagramForbidden).await, 10);
    let tiktok = async |wanted: Trait| {
        let token = world.artist(find(wanted)).tiktok_access_token;
        let answer = get_with(&simulator, TIKTOK, "/v2/user/info/?fields=open_id,follower_count", &token).await;
        (answer.status, answer.json()["error"]["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(tiktok(Trait::TiktokScopeMissing).await, (401, "scope_not_authorized".to_owned()));
    assert_eq!(tiktok(Trait::TiktokRevoked).await, (401, "access_token_invalid".to_owned()));
    assert_eq!(tiktok(Trait::TiktokErrorInOk).await, (200, "internal_error".to_owned()));
    let gone = world.artist(find(Trait::YoutubeGone)).youtube_channel_id;
    let target = youtube(&simulator, &format!("channels?part=id&id={gone}"));
    assert!(get(&simulator, YOUTUBE, &target).await.json().get("items").is_none());
    let (token, id) = (spotify_token(&simulator).await, world.artist(find(Trait::SpotifyGone)).spotify_artist_id);
    assert_eq!(get_with(&simulator, SPOTIFY, &format!("/v1/artists/{id}"), &token).await.status, 404);
    let only_gb = world.artist(find(Trait::AppleOnlyGb)).apple_music_id;
    let token = bearer_apple(&simulator);
    for (storefront, status) in [("us", 404), ("gb", 200)] {
        let target = format!("/v1/catalog/{storefront}/artists/{only_gb}");
        assert_eq!(get_with(&simulator, APPLE, &target, &token).await.status, status);
    }
}

#[tokio::test]
async fn an_unknown_host_is_refused_and_not_counted() {
    let simulator = start(artists(25)).await;
    let answer = get(&simulator, "evil.example", "/v1/artists").await;
    assert_eq!(answer.status, 421);
    assert_eq!(simulator.counts().requests, 0);
    let later = simulator.world().start() + Days::new(3);
    simulator.set_date(later);
    assert_eq!(get(&simulator, "x", "/_control/date").await.body, later.to_string().into_bytes());
}
