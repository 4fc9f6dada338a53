//! Tests of retries: which requests are retried, when, and when retries stop.

use super::*;

/// Responds with `first` to the first `times` requests, then with 200.
pub(super) async fn failing(
    times: usize,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> Server {
    let seen = Arc::new(AtomicUsize::new(0));
    Server::start(move |_: &Asked| {
        if seen.fetch_add(1, Ordering::SeqCst) < times { answer(status, headers, body) } else { answer(200, &[], "ok") }
    })
    .await
}

#[tokio::test]
async fn the_platforms_retry_after_is_obeyed_in_both_forms() {
    // The clock shows noon, so both forms ask for one second.
    for value in ["1", "Sun, 22 Nov 2026 12:00:01 GMT"] {
        let headers: &'static [(&str, &str)] =
            if value == "1" { &[("retry-after", "1")] } else { &[("retry-after", "Sun, 22 Nov 2026 12:00:01 GMT")] };
        let server = failing(1, 429, headers, "").await;
        let started = Instant::now();
        let response = Setup::new(&server).send(get("https://api.test/")).await.expect("an answer");
        assert_eq!((response.status, server.asked().len()), (200, 2), "{value}");
        assert!(started.elapsed() >= Duration::from_secs(1), "{value}: came back after {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_retry_after_past_the_deadline_is_passed_to_the_connector() {
    let server = failing(99, 429, &[("retry-after", "3600")], r#"{"error":{"reason":"QUOTA_EXCEEDED"}}"#).await;
    let response = Setup::new(&server).send(get("https://api.test/")).await.expect("the answer itself");
    assert_eq!((response.status, server.asked().len()), (429, 1));
    assert!(response.headers.contains(&("retry-after".to_owned(), "3600".to_owned())));
    assert!(String::from_utf8_lossy(&response.body).contains("QUOTA_EXCEEDED"));
}

#[tokio::test]
async fn when_the_retries_are_used_up_the_last_answer_is_returned() {
    for (method, status, requests) in [
        (Method::Get, 429, 4),
        (Method::Get, 500, 4),
        (Method::Get, 503, 4),
        (Method::Post, 503, 4),
        (Method::Post, 500, 1),
        (Method::Get, 404, 1),
    ] {
        let server = failing(99, status, &[], "why").await;
        let response =
            Setup::new(&server).send(Request { method, ..get("https://api.test/") }).await.expect("an answer");
        assert_eq!(
            (response.status, response.body.as_slice(), server.asked().len()),
            (status, &b"why"[..], requests),
            "{method:?} {status}"
        );
    }
}

const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nnumbers";
const CUT_CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\nnumbers\r\n";

#[tokio::test]
async fn a_truncated_response_is_requested_again_and_never_passed_on() {
    for cut in [CUT_SHORT, CUT_CHUNKS, b"HTTP/1.1 200 OK\r\ncont", b"", b"nonsense\r\n\r\n"] {
        let server = RawServer::start(vec![cut.to_vec(), WHOLE.to_vec()]).await;
        let response = Setup::at(&server.base()).send(get("https://api.test/")).await.expect("the second answer");
        assert_eq!((response.body.as_slice(), server.connections()), (&b"numbers"[..], 2));

        let server = RawServer::start(vec![cut.to_vec()]).await;
        let outcome = Setup::at(&server.base()).send(get("https://api.test/")).await;
        assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
        assert_eq!(server.connections(), 4);

        // The platform may already have processed a POST.
        let server = RawServer::start(vec![cut.to_vec()]).await;
        let outcome =
            Setup::at(&server.base()).send(Request { method: Method::Post, ..get("https://api.test/") }).await;
        assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_platform_that_never_responds_takes_the_timeout_and_at_most_the_deadline() {
    let server = Server::start_slow(|_: Asked| std::future::pending()).await;
    let mut setup = Setup::new(&server);
    // Long enough for a request to arrive on a loaded machine.
    setup.config.request_timeout_ms = 2_000;
    setup.config.retries_max = 1;
    assert_eq!(setup.send(get("https://api.test/")).await, Err(SendError::TimedOut));
    assert_eq!(server.asked().len(), 2);
    setup.config.request_timeout_ms = 60_000;
    setup.deadline = Duration::from_millis(30);
    assert_eq!(setup.send(get("https://api.test/")).await, Err(SendError::TimedOut));
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let address = {
        let server = Server::start(|_: &Asked| answer(200, &[], "")).await;
        server.base()
    };
    let (_gateway, session, _demands) = Setup::at(&address).open();
    let outcome = session.send(Request { method: Method::Post, ..get("https://api.test/") }).await;
    assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
    assert_eq!(session.usage().requests, 4, "a request that never arrived is safe to repeat");
}

#[tokio::test]
async fn a_host_that_keeps_failing_is_paused_and_probed_once() {
    let server = failing(3, 500, &[], "broken").await;
    let mut setup = Setup::new(&server);
    let second = Arc::new(AtomicUsize::new(0));
    let clock = Arc::clone(&second);
    setup.clock = Clock::from_fn(move || noon() + TimeDelta::seconds(clock.load(Ordering::SeqCst) as i64));
    setup.config.breaker_failures = 3;
    setup.config.breaker_cool_down_ms = 10_000;
    let (_gateway, session, _demands) = setup.open();
    let last = session.send(get("https://api.test/")).await.expect("the last answer before it opened");
    assert_eq!((last.status, server.asked().len()), (500, 3), "a fourth attempt was made");
    let outcome = session.send(get("https://api.test/")).await;
    assert!(
        matches!(&outcome, Err(SendError::Unreachable(why)) if why.contains("no requests until 2026-11-22 12:00:10")),
        "{outcome:?}"
    );
    assert_eq!(server.asked().len(), 3);
    assert_eq!(session.send(get("https://a.cdn.test/")).await.expect("another host").status, 200);
    second.store(10, Ordering::SeqCst);
    assert_eq!(session.send(get("https://api.test/")).await.expect("the probe").status, 200);
    assert_eq!(session.send(get("https://api.test/")).await.expect("closed again").status, 200);
}
