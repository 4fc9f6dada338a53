//! Tests of every kind of fault, and of which requests meet it.

use std::io::Read as _;
use std::time::{Duration, Instant};

use backline_simulator::{Fault, FaultKind, RedirectTarget, RetryAfter, Simulator, SimulatorConfig};
use chrono::{TimeZone as _, Utc};

use crate::client::{Answer, get, send, start, youtube};

const HOST: &str = "youtube.googleapis.com";

async fn channel(simulator: &Simulator, index: u32) -> Answer {
    let id = simulator.world().artist(index).youtube_channel_id;
    get(simulator, HOST, &youtube(simulator, &format!("channels?part=statistics,snippet&id={id}"))).await
}

async fn with(kind: FaultKind) -> (Simulator, Answer) {
    let simulator = start(SimulatorConfig { faults: vec![Fault::once(kind)], ..SimulatorConfig::default() }).await;
    let answer = channel(&simulator, 0).await;
    assert_eq!(simulator.counts().faults, 1);
    assert_eq!(channel(&simulator, 0).await.status, 200, "a fault that happens once does not happen again");
    (simulator, answer)
}

#[tokio::test]
async fn too_many_requests_carries_every_form_of_retry_after() {
    let at = Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 30).unwrap();
    for (retry_after, header) in [
        (RetryAfter::Absent, None),
        (RetryAfter::Seconds(7), Some("7")),
        (RetryAfter::HttpDate(at), Some("Fri, 20 Nov 2026 12:00:30 GMT")),
    ] {
        let (_, answer) = with(FaultKind::TooManyRequests { retry_after }).await;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header("retry-after"), header);
        assert_eq!(answer.json()["error"]["errors"][0]["reason"], "rateLimitExceeded");
    }
}

#[tokio::test]
async fn statuses_have_the_platforms_error_shape() {
    let status = FaultKind::Status { status: 503, retry_after: RetryAfter::Seconds(1) };
    let (_, answer) = with(status.clone()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    let simulator = start(SimulatorConfig { faults: vec![Fault::always(status)], ..SimulatorConfig::default() }).await;
    let tiktok = get(&simulator, "open.tiktokapis.com", "/v2/user/info/?fields=open_id").await;
    assert_eq!(tiktok.json()["error"]["code"], "internal_error");
    let apple = get(&simulator, "api.music.apple.com", "/v1/catalog/us/artists?ids=1").await;
    assert_eq!(apple.json()["errors"][0]["status"], "503");
    let instagram = get(&simulator, "graph.instagram.com", "/me").await;
    assert_eq!(instagram.json()["error"]["is_transient"], true);
}

#[tokio::test]
async fn connections_break_before_and_inside_the_body() {
    let (simulator, answer) = with(FaultKind::Reset).await;
    assert!(answer.body.is_empty() && !answer.complete, "{}", answer.head);
    assert_eq!(simulator.counts().statuses.get(&0), Some(&1), "a reset counts as status 0");
    let (_, answer) = with(FaultKind::ResetMidBody).await;
    assert!(!answer.complete, "{}", answer.head);
    assert!(answer.reset, "the connection ends with a reset, not an orderly close");
}

#[tokio::test]
async fn bodies_are_truncated_replaced_and_compressed() {
    let (_, answer) = with(FaultKind::TruncatedJson).await;
    assert!(answer.complete && !answer.body.is_empty());
    assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_err());

    let (_, answer) = with(FaultKind::Html { status: 504 }).await;
    assert_eq!((answer.status, answer.header("content-type")), (504, Some("text/html; charset=utf-8")));
    assert!(answer.body.starts_with(b"<html>"));

    let (simulator, answer) = with(FaultKind::Gzip).await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_end(&mut plain).unwrap();
    assert_eq!(plain, channel(&simulator, 0).await.body);

    let raw = FaultKind::Raw { status: 200, content_type: "application/json".into(), body: "[]".into() };
    let (_, answer) = with(raw).await;
    assert_eq!(answer.body, b"[]");
}

#[tokio::test]
async fn huge_bodies_have_their_size_and_bombs_are_small_and_valid() {
    let (_, answer) = with(FaultKind::HugeBody { bytes: 3_000_001 }).await;
    assert!(answer.complete && answer.header("content-length").is_none());
    assert_eq!(answer.body.len(), 3_000_001);

    let (_, answer) = with(FaultKind::GzipBomb { bytes: 8 * 1024 * 1024 }).await;
    assert!(answer.complete && answer.body.len() < 100_000, "{} bytes", answer.body.len());
    let mut decoder = flate2::read::GzDecoder::new(answer.body.as_slice());
    let mut length = 0;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = decoder.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        assert!(buffer[..read].iter().all(|byte| *byte == 0));
        length += read;
    }
    assert_eq!(length, 8 * 1024 * 1024, "one member, with the right checksum");
}

#[tokio::test]
async fn redirects_lead_to_the_same_origin_another_one_or_an_address_that_is_not_public() {
    for (to, start) in [
        (RedirectTarget::SameOrigin, "https://youtube.googleapis.com/youtube/v3/channels?part="),
        (RedirectTarget::OtherOrigin("https://evil.example".into()), "https://evil.example/youtube/v3/channels?part="),
        (RedirectTarget::NonPublic, "http://169.254.169.254/"),
        (RedirectTarget::Location("//other/".into()), "//other/"),
    ] {
        let (_, answer) = with(FaultKind::Redirect { status: 307, to }).await;
        assert_eq!(answer.status, 307);
        assert!(answer.header("location").unwrap().starts_with(start), "{}", answer.head);
    }
}

#[tokio::test]
async fn latency_delays_the_real_response_and_a_hang_never_responds() {
    let started = Instant::now();
    let (_, answer) = with(FaultKind::Latency { ms: 30 }).await;
    assert!(started.elapsed() >= Duration::from_millis(30));
    assert_eq!(answer.status, 200);

    let faults = vec![Fault::once(FaultKind::Hang)];
    let simulator = start(SimulatorConfig { faults, ..SimulatorConfig::default() }).await;
    let waited = tokio::time::timeout(Duration::from_millis(50), channel(&simulator, 0)).await;
    assert!(waited.is_err());
    assert_eq!(channel(&simulator, 0).await.status, 200, "other requests are served in the meantime");
}

#[tokio::test]
async fn a_fault_meets_only_the_requests_it_is_meant_for() {
    let html = FaultKind::Html { status: 502 };
    let simulator = start(SimulatorConfig::default()).await;
    let second = simulator.world().artist(1).youtube_channel_id;
    simulator
        .set_faults(vec![Fault::always(html.clone()).on_host(HOST).on_path("/youtube/v3/channels").naming(&second)]);
    assert_eq!(channel(&simulator, 0).await.status, 200);
    assert_eq!(channel(&simulator, 1).await.status, 502);

    simulator.set_faults(vec![Fault::always(html.clone()).after(1).every(2).times(2)]);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(channel(&simulator, 0).await.status);
    }
    assert_eq!(statuses, [200, 502, 200, 502, 200, 200]);

    // On Instagram only the token identifies the account.
    let (one, other) = (simulator.world().artist(0), simulator.world().artist(1));
    simulator.set_faults(vec![Fault::always(html).naming(&other.instagram_user_id)]);
    let me = |token: &str| format!("/v25.0/me?access_token={token}");
    assert_eq!(get(&simulator, "graph.instagram.com", &me(&one.instagram_token)).await.status, 200);
    assert_eq!(get(&simulator, "graph.instagram.com", &me(&other.instagram_token)).await.status, 502);
}

#[tokio::test]
async fn faults_are_set_over_http_too() {
    let simulator = start(SimulatorConfig::default()).await;
    let faults = r#"[{"host":"youtube.googleapis.com","times":1,
        "kind":{"type":"too_many_requests","retry_after":{"seconds":3}}}]"#;
    let set = send(simulator.addr(), "PUT", "anything", "/_control/faults", &[], faults).await;
    assert_eq!(set.status, 204);
    let answer = channel(&simulator, 0).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("3")));
    let wrong = send(simulator.addr(), "PUT", "anything", "/_control/faults", &[], r#"[{"kind":{"type":"no"}}]"#).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latency_of_later_requests_is_set_while_the_simulator_runs() {
    let simulator = std::sync::Arc::new(start(SimulatorConfig::default()).await);
    let set = async |latency_ms: &str| {
        let answer = send(simulator.addr(), "PUT", "x", "/_control/latency-ms", &[], latency_ms).await;
        assert_eq!(answer.status, 204, "{}", answer.head);
    };
    set("3600000").await;
    let mut waiting = tokio::task::JoinSet::new();
    let shared = std::sync::Arc::clone(&simulator);
    waiting.spawn(async move { channel(&shared, 0).await.status });
    while simulator.counts().requests == 0 {
        tokio::task::yield_now().await;
    }
    set("0").await;
    assert_eq!(channel(&simulator, 1).await.status, 200);
    assert!(waiting.try_join_next().is_none(), "the first request waits for its hour");
    assert_eq!(send(simulator.addr(), "PUT", "x", "/_control/latency-ms", &[], "soon").await.status, 400);
}
