//! Tests of keys and tokens: refusal, expiry and rotation.

use backline_simulator::{Simulator, SimulatorConfig};
use chrono::Days;

use crate::client::{Answer, apple_token, get, get_with, post_form, spotify_token, start};

async fn refresh(simulator: &Simulator, token: &str) -> Answer {
    let (key, secret) = (simulator.world().tiktok_client_key(), simulator.world().tiktok_client_secret());
    let form = [
        ("client_key", key.as_str()),
        ("client_secret", secret.as_str()),
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
    ];
    post_form(simulator, "open.tiktokapis.com", "/v2/oauth/token/", &form).await
}

async fn tiktok_info(simulator: &Simulator, token: &str) -> Answer {
    get_with(simulator, "open.tiktokapis.com", "/v2/user/info/?fields=open_id,follower_count", token).await
}

#[tokio::test]
async fn a_tiktok_refresh_token_works_once_and_access_lasts_a_day() {
    let simulator = start(SimulatorConfig::default()).await;
    let artist = simulator.world().artist(3);
    assert_eq!(tiktok_info(&simulator, &artist.tiktok_access_token).await.status, 200);
    simulator.set_date(simulator.world().start() + Days::new(1));
    let expired = tiktok_info(&simulator, &artist.tiktok_access_token).await;
    assert_eq!((expired.status, expired.json()["error"]["code"].as_str()), (401, Some("access_token_invalid")));

    let first = refresh(&simulator, &artist.tiktok_refresh_token).await.json();
    assert_eq!(first["open_id"], artist.tiktok_open_id.as_str());
    assert_ne!(first["refresh_token"], artist.tiktok_refresh_token.as_str());
    assert_eq!(tiktok_info(&simulator, first["access_token"].as_str().unwrap()).await.status, 200);

    let again = refresh(&simulator, &artist.tiktok_refresh_token).await;
    assert_eq!((again.status, again.json()["error"].as_str()), (400, Some("invalid_grant")), "the old token");
    assert_eq!(refresh(&simulator, first["refresh_token"].as_str().unwrap()).await.status, 200);
}

#[tokio::test]
async fn grace_and_no_rotation_are_configurable() {
    let simulator = start(SimulatorConfig { tiktok_grace_seconds: 60, ..SimulatorConfig::default() }).await;
    let token = simulator.world().artist(0).tiktok_refresh_token;
    let first = refresh(&simulator, &token).await.json();
    let second = refresh(&simulator, &token).await.json();
    assert_eq!(first["refresh_token"], second["refresh_token"], "the grace period returns the same successor");

    let simulator = start(SimulatorConfig { tiktok_rotates: false, ..SimulatorConfig::default() }).await;
    let answer = refresh(&simulator, &token).await.json();
    assert_eq!(answer["refresh_token"], token.as_str());
}

#[tokio::test]
async fn tiktoks_token_endpoint_refuses_a_wrong_client_with_a_flat_error() {
    let simulator = start(SimulatorConfig::default()).await;
    let form = [("client_key", "x"), ("client_secret", "y"), ("grant_type", "refresh_token")];
    let answer = post_form(&simulator, "open.tiktokapis.com", "/v2/oauth/token/", &form).await;
    assert_eq!(answer.json()["error"], "invalid_client");
    let answer = post_form(&simulator, "open.tiktokapis.com", "/v2/oauth/token/", &[("client_id", "x")]).await;
    assert_eq!(answer.json()["error"], "invalid_request", "the parameter is client_key");
}

#[tokio::test]
async fn spotify_tokens_last_an_hour_of_the_simulated_clock() {
    let simulator = start(SimulatorConfig::default()).await;
    let token = spotify_token(&simulator).await;
    let target = format!("/v1/artists/{}", simulator.world().artist(0).spotify_artist_id);
    assert_eq!(get_with(&simulator, "api.spotify.com", &target, &token).await.status, 200);
    simulator.set_date(simulator.world().start() + Days::new(1));
    let expired = get_with(&simulator, "api.spotify.com", &target, &token).await;
    assert_eq!((expired.status, expired.json()["error"]["message"].as_str()), (401, Some("The access token expired")));
    let form = [("grant_type", "client_credentials"), ("client_id", "x"), ("client_secret", "y")];
    let refused = post_form(&simulator, "accounts.spotify.com", "/api/token", &form).await;
    assert_eq!((refused.status, refused.json()["error"].as_str()), (400, Some("invalid_client")));
}

#[tokio::test]
async fn spotify_accepts_basic_authentication_too() {
    use base64::Engine as _;
    let simulator = start(SimulatorConfig::default()).await;
    let pair = format!("{}:{}", simulator.world().spotify_client_id(), simulator.world().spotify_client_secret());
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("authorization", basic.as_str())];
    let body = "grant_type=client_credentials";
    let answer =
        crate::client::send(simulator.addr(), "POST", "accounts.spotify.com", "/api/token", &headers, body).await;
    assert_eq!(answer.json()["expires_in"], 3600);
}

#[tokio::test]
async fn an_instagram_token_is_refreshed_with_itself_until_it_expires() {
    let simulator = start(SimulatorConfig::default()).await;
    let token = simulator.world().artist(2).instagram_token;
    let refresh = |token: &str| format!("/refresh_access_token?grant_type=ig_refresh_token&access_token={token}");
    let fresh = get(&simulator, "graph.instagram.com", &refresh(&token)).await.json();
    assert_eq!(fresh["expires_in"], 5_183_999);
    let fresh = fresh["access_token"].as_str().unwrap().to_owned();
    assert_ne!(fresh, token);
    let young = get(&simulator, "graph.instagram.com", &refresh(&fresh)).await;
    assert_eq!(young.status, 400, "a token under 24 hours old is not refreshed");

    simulator.set_date(simulator.world().start() + Days::new(51));
    let expired = get(&simulator, "graph.instagram.com", &refresh(&token)).await;
    let error = &expired.json()["error"];
    assert_eq!((expired.status, error["code"].as_u64(), error["error_subcode"].as_u64()), (400, Some(190), Some(463)));
    let me = get(&simulator, "graph.instagram.com", &format!("/me?access_token={fresh}")).await;
    assert_eq!(me.status, 200, "the refreshed token stays valid");
}

#[tokio::test]
async fn the_signature_of_apples_token_is_verified() {
    let simulator = start(SimulatorConfig::default()).await;
    let target = format!("/v1/catalog/us/artists/{}", simulator.world().artist(0).apple_music_id);
    let team = simulator.world().apple_team_id();
    let now = 1_795_176_000; // 2026-11-20, noon
    let good = apple_token(&simulator, &team, now - 60, now + 3_600);
    assert_eq!(get_with(&simulator, "api.music.apple.com", &target, &good).await.status, 200);
    let mut forged = good.clone();
    forged.replace_range(
        good.len() - 6..good.len() - 4,
        if &good[good.len() - 6..good.len() - 4] == "AA" { "BB" } else { "AA" },
    );
    for (what, token) in [
        ("another team", apple_token(&simulator, "OTHERONE", now - 60, now + 3_600)),
        ("expired", apple_token(&simulator, &team, now - 7_200, now - 3_600)),
        ("too long a life", apple_token(&simulator, &team, now - 60, now + 15_777_001)),
        ("a broken signature", forged),
        ("no token", "x".to_owned()),
    ] {
        let answer = get_with(&simulator, "api.music.apple.com", &target, &token).await;
        assert_eq!(answer.status, 401, "{what}");
        assert!(answer.body.is_empty(), "{what}: a 401 has an empty body");
    }
    simulator.set_date(simulator.world().start() + Days::new(1));
    let answer = get_with(&simulator, "api.music.apple.com", &target, &good).await;
    assert_eq!(answer.status, 401, "a token that was accepted before still expires");
}
