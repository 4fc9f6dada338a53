//! The gateway over real sockets: every rule of the way out, each against a server on a loopback port of its own.

mod budgets;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backline::clock::Clock;
use backline::domain::ids::{AccountId, CredentialId};
use backline::domain::manifest::{Manifest, Method};
use backline::domain::release::Grant;
use backline::gateway::{
    BudgetDemand, CredentialRef, Gateway, GatewayConfig, Request, Response, Route, SendError, Session,
    SessionCredential, SessionSetup,
};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support::http::{Asked, RawServer, Server, answer};

const KEY: &str = "canary-operator/key+1";
const TOKEN: &str = "IGQcanaryaccounttoken0123456789";

/// A connector for `api.test`, with an operator's key in the query and each account's token as bearer.
const MANIFEST: &str = r#"
[connector]
name = "probe"
platform = "probe"
version = "1.0.0"
api = "1"
title = "Probe"
batch_size = 50

[[host]]
origin = "https://api.test"
methods = ["GET", "POST"]
reason = "numbers"

[[host]]
origin = "https://*.cdn.test"
methods = ["GET"]
reason = "pictures"

[[host]]
origin = "https://localhost"
methods = ["GET"]
reason = "a name that leads nowhere public"

[[host]]
origin = "https://127.0.0.1"
methods = ["GET"]
reason = "an address that is not public"

[[credential]]
slot = "app"
kind = "api-key"
owner = "operator"
inject = { query = "key" }
hosts = ["https://api.test"]

[[credential]]
slot = "user"
kind = "bearer"
owner = "account"
inject = "bearer"
hosts = ["https://api.test"]
"#;

fn noon() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().expect("a time")
}

/// A gateway and all that a session of it needs, before a test changes what it is about.
struct Setup {
    config: GatewayConfig,
    manifest: Manifest,
    grant: Grant,
    credentials: Vec<SessionCredential>,
    account: AccountId,
    clock: Clock,
    deadline: Duration,
}

impl Setup {
    /// Routes `api.test` and `a.cdn.test` to the server.
    fn new(server: &Server) -> Self {
        Self::at(&server.base())
    }

    fn at(base: &str) -> Self {
        let manifest = Manifest::parse(MANIFEST).expect("a valid manifest");
        let account = AccountId::generate();
        let routes = ["https://api.test", "https://a.cdn.test"]
            .map(|origin| Route { origin: origin.parse().expect("an origin"), connect: base.parse().expect("a URL") });
        let credential = |slot: &str, account, value: &str| SessionCredential {
            id: CredentialId::generate(),
            slot: slot.to_owned(),
            account,
            value: value.into(),
        };
        Self {
            config: GatewayConfig {
                routes: routes.to_vec(),
                backoff_base_ms: 1,
                backoff_max_ms: 2,
                jitter_seed: Some(1),
                ..GatewayConfig::default()
            },
            grant: Grant::all_of(&manifest),
            manifest,
            credentials: vec![credential("app", None, KEY), credential("user", Some(account), TOKEN)],
            account,
            clock: Clock::fixed(noon()),
            deadline: Duration::from_secs(20),
        }
    }

    fn open(&self) -> (Gateway, Session, mpsc::Receiver<BudgetDemand>) {
        let (gateway, demands) = Gateway::new(self.config.clone(), self.clock.clone()).expect("a valid configuration");
        let session = self.session(&gateway);
        (gateway, session, demands)
    }

    fn session(&self, gateway: &Gateway) -> Session {
        gateway.session(SessionSetup {
            manifest: Arc::new(self.manifest.clone()),
            grant: Arc::new(self.grant.clone()),
            credentials: self.credentials.clone(),
            accounts: vec![self.account],
            deadline: Instant::now() + self.deadline,
        })
    }

    async fn send(&self, request: Request) -> Result<Response, SendError> {
        let (_gateway, session, _demands) = self.open();
        session.send(request).await
    }
}

fn get(url: &str) -> Request {
    Request { method: Method::Get, url: url.to_owned(), headers: Vec::new(), body: None, credential: None }
}

fn with_key(mut request: Request) -> Request {
    request.credential = Some(CredentialRef { slot: "app".to_owned(), account: None });
    request
}

fn with_token(mut request: Request, account: impl ToString) -> Request {
    request.credential = Some(CredentialRef { slot: "user".to_owned(), account: Some(account.to_string()) });
    request
}

fn denial(outcome: Result<Response, SendError>) -> String {
    match outcome {
        Err(SendError::Denied(why)) => why,
        other => panic!("not denied: {other:?}"),
    }
}

#[tokio::test]
async fn a_request_reaches_the_platform_with_its_secret_and_comes_back_without() {
    let server = Server::start(|asked: &Asked| {
        answer(200, &[("X-Echo", &asked.target), ("set-cookie", "a=b")], asked.target.clone())
    })
    .await;
    let setup = Setup::new(&server);
    let (_gateway, session, _demands) = setup.open();
    let response = session.send(with_key(get("https://api.test/v1/x?id=1,2"))).await.expect("an answer");
    assert_eq!(server.asked()[0].target, "/v1/x?id=1,2&key=canary-operator%2Fkey%2B1");
    assert_eq!(server.asked()[0].host(), "api.test");
    assert_eq!(response.status, 200);
    assert_eq!(String::from_utf8_lossy(&response.body), "/v1/x?id=1,2&key=[secret]");
    assert!(
        response.headers.contains(&("x-echo".to_owned(), "/v1/x?id=1,2&key=[secret]".to_owned())),
        "{:?}",
        response.headers
    );
    assert!(!response.headers.iter().any(|(name, _)| name == "set-cookie"));
    let usage = session.usage();
    assert_eq!((usage.requests, usage.bytes_received), (1, server.asked()[0].target.len() as u64));
    assert_eq!(usage.requests_by_origin, BTreeMap::from([("https://api.test".to_owned(), 1)]));
}

#[tokio::test]
async fn a_host_or_method_that_manifest_or_grant_lacks_is_denied_with_the_line_that_would_allow_it() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    let why = denial(setup.send(get("https://other.test/x?secret-path")).await);
    assert!(
        why.ends_with("connector.toml would allow it:\n[[host]]\norigin = \"https://other.test\"\nmethods = [\"GET\"]"),
        "{why}"
    );
    let post = Request { method: Method::Post, ..get("https://a.cdn.test/x") };
    let why = denial(setup.send(post).await);
    assert!(why.ends_with("origin = \"https://*.cdn.test\"\nmethods = [\"GET\", \"POST\"]"), "{why}");
    assert!(setup.send(get("https://a.cdn.test/x")).await.is_ok());

    setup.grant.hosts.retain(|host| host.origin.to_string() == "https://api.test");
    setup.grant.hosts[0].methods = vec![Method::Get];
    assert!(setup.send(get("https://api.test/x")).await.is_ok());
    let why = denial(setup.send(Request { method: Method::Post, ..get("https://api.test/x") }).await);
    assert!(
        why.ends_with(
            "in its grant would allow it:\n[[host]]\norigin = \"https://api.test\"\nmethods = [\"GET\", \"POST\"]"
        ),
        "{why}"
    );
    let why = denial(setup.send(get("https://a.cdn.test/x")).await);
    assert!(why.contains("but not granted") && why.contains("origin = \"https://a.cdn.test\""), "{why}");
    assert_eq!(server.asked().len(), 2, "something denied was sent");
}

#[tokio::test]
async fn only_plain_https_urls_are_sent() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let setup = Setup::new(&server);
    for url in
        ["http://api.test/", "https://user:canary@api.test/", "/x", "data:text/plain,x", "https://", "ftp://api.test/"]
    {
        let why = denial(setup.send(get(url)).await);
        assert!(!why.contains("canary"), "{why}");
    }
    denial(setup.send(get(&format!("https://api.test/{}", "x".repeat(20_000)))).await);
    let huge = Request { method: Method::Post, body: Some(vec![0; 2 << 20]), ..get("https://api.test/") };
    denial(setup.send(huge).await);
    assert!(server.asked().is_empty());
    setup.send(get("https://api.test/x#fragment")).await.expect("a fragment is left out");
    assert_eq!(server.asked()[0].target, "/x");
}

#[tokio::test]
async fn headers_that_are_the_hosts_are_refused_and_the_others_arrive() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let setup = Setup::new(&server);
    for name in
        ["Host", "authorization", "Cookie", "Connection", "Proxy-Authorization", "Transfer-Encoding", "X-Forwarded-For"]
    {
        let request = Request { headers: vec![(name.to_owned(), "x".to_owned())], ..get("https://api.test/") };
        assert!(denial(setup.send(request).await).contains("is the host's"), "{name}");
    }
    assert!(server.asked().is_empty());
    let request = Request { headers: vec![("X-Version".to_owned(), "3".to_owned())], ..get("https://api.test/") };
    setup.send(request).await.expect("an answer");
    assert_eq!(server.asked()[0].headers["x-version"], "3");
    assert!(server.asked()[0].headers["user-agent"].starts_with("backline/"));
    assert!(!server.asked()[0].headers.contains_key("referer"));
}

#[tokio::test]
async fn a_secret_the_connector_wrote_itself_is_never_sent() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let setup = Setup::new(&server);
    let post =
        |body: &str| Request { method: Method::Post, body: Some(body.as_bytes().to_vec()), ..get("https://api.test/") };
    let header =
        |value: &str| Request { headers: vec![("x-a".to_owned(), value.to_owned())], ..get("https://api.test/") };
    for request in [
        get(&format!("https://api.test/?t={TOKEN}")),
        get(&format!("https://a.cdn.test/{TOKEN}/x")),
        get("https://api.test/?k=canary-operator%2fkey%2B1"),
        header(&format!("Bearer {TOKEN}")),
        post(&format!("{{\"token\":\"{TOKEN}\"}}")),
        post(r"canary-operator\/key+1"),
        post("SUdRY2FuYXJ5YWNjb3VudHRva2VuMDEyMzQ1Njc4OQ=="),
    ] {
        let why = denial(setup.send(request).await);
        assert!(why.contains("holds a secret") && !why.contains("canary"), "{why}");
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_credential_goes_to_its_own_hosts_for_accounts_of_the_batch_only() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    let account = setup.account;
    setup.send(with_token(get("https://api.test/me"), account)).await.expect("an answer");
    assert_eq!(server.asked()[0].headers["authorization"], format!("Bearer {TOKEN}"));

    let why = denial(setup.send(with_token(get("https://a.cdn.test/"), account)).await);
    assert!(why.ends_with("hosts = [\"https://a.cdn.test\"]"), "{why}");
    let foreign = AccountId::generate();
    setup.credentials.push(SessionCredential {
        id: CredentialId::generate(),
        slot: "user".to_owned(),
        account: Some(foreign),
        value: "canary-of-another-batch".into(),
    });
    for account in [foreign.to_string(), "not an id".to_owned(), String::new()] {
        let why = denial(setup.send(with_token(get("https://api.test/"), account)).await);
        assert!(why.contains("not one of this batch"), "{why}");
    }
    let named = |slot: &str, account: Option<String>| Request {
        credential: Some(CredentialRef { slot: slot.to_owned(), account }),
        ..get("https://api.test/")
    };
    denial(setup.send(named("user", None)).await);
    denial(setup.send(named("app", Some(account.to_string()))).await);
    denial(setup.send(named("nothing", None)).await);
    setup.grant.slots.retain(|slot| slot != "app");
    let why = denial(setup.send(named("app", None)).await);
    assert!(why.ends_with("in its grant would allow it:\nslots = [\"app\"]"), "{why}");
    setup.credentials.retain(|credential| credential.account != Some(account));
    let outcome = setup.send(with_token(get("https://api.test/"), account)).await;
    assert!(matches!(&outcome, Err(SendError::CredentialUnavailable(why)) if why.contains("user")), "{outcome:?}");
    assert_eq!(server.asked().len(), 1, "something refused was sent");
}

#[tokio::test]
async fn a_name_or_address_that_is_not_public_is_refused_unless_exempt() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    for url in ["https://localhost/", "https://127.0.0.1/"] {
        let why = denial(setup.send(get(url)).await);
        assert!(why.contains("not a public address") && why.contains("exempt under [gateway]"), "{why}");
    }
    let (_gateway, session, _demands) = setup.open();
    denial(session.send(get("https://localhost/")).await);
    assert_eq!(session.usage().requests, 1, "a refusal was tried again");
    // Exempt, it is connected to; nothing there speaks TLS.
    setup.config.exempt =
        vec!["https://localhost".parse().expect("a pattern"), "https://127.0.0.1".parse().expect("a pattern")];
    setup.config.retries_max = 0;
    for url in ["https://localhost/", "https://127.0.0.1/"] {
        let outcome = setup.send(get(url)).await;
        assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
    }
}

/// Answers `/to/<n>` with a redirect chain of n hops, and anything else with itself.
fn redirecting(asked: &Asked) -> axum::response::Response {
    let path = asked.target.split('?').next().unwrap_or_default();
    match path.strip_prefix("/to/").map(str::parse::<u32>) {
        Some(Ok(0)) | None => answer(200, &[], asked.target.clone()),
        Some(Ok(hops)) => answer(302, &[("location", &format!("/to/{}", hops - 1))], ""),
        Some(Err(_)) => answer(500, &[], "?"),
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    let server = Server::start(redirecting).await;
    let setup = Setup::new(&server);
    let (_gateway, session, _demands) = setup.open();
    let response = session.send(get("https://api.test/to/3")).await.expect("an answer");
    assert_eq!((response.status, response.body.as_slice(), session.usage().requests), (200, &b"/to/0"[..], 4));
    let outcome = setup.send(get("https://api.test/to/4")).await;
    assert!(
        matches!(&outcome, Err(SendError::Unreachable(why)) if why.contains("more than 3 redirects")),
        "{outcome:?}"
    );
    assert_eq!(server.asked().len(), 8);
}

#[tokio::test]
async fn on_the_same_origin_the_credential_and_headers_stay_and_the_secret_stands_once() {
    // The platform repeats the whole query, secret included, in its redirect.
    let server = Server::start(|asked: &Asked| match asked.target.split_once('?') {
        Some(("/old", query)) => answer(307, &[("location", &format!("/new?{query}"))], ""),
        _ => answer(200, &[], "ok"),
    })
    .await;
    let setup = Setup::new(&server);
    let request = Request {
        method: Method::Post,
        headers: vec![("x-a".to_owned(), "1".to_owned()), ("content-type".to_owned(), "text/plain".to_owned())],
        body: Some(b"body".to_vec()),
        ..get("https://api.test/old?id=1")
    };
    setup.send(with_key(request)).await.expect("an answer");
    let second = &server.asked()[1];
    assert_eq!(second.target, "/new?id=1&key=canary-operator%2Fkey%2B1");
    assert_eq!(
        (second.method.as_str(), second.headers["x-a"].as_str(), second.body.as_slice()),
        ("POST", "1", &b"body"[..])
    );
}

#[tokio::test]
async fn to_another_origin_neither_credential_nor_headers_go_and_a_way_back_does_not_bring_them_back() {
    let server = Server::start(|asked: &Asked| match (asked.host(), asked.target.as_str()) {
        ("api.test", "/there") => answer(302, &[("location", "https://a.cdn.test/and-back")], ""),
        ("a.cdn.test", "/and-back") => answer(302, &[("location", "https://api.test/end")], ""),
        _ => answer(200, &[], "ok"),
    })
    .await;
    let setup = Setup::new(&server);
    let request = Request { headers: vec![("x-a".to_owned(), "1".to_owned())], ..get("https://api.test/there") };
    let response = setup.send(with_token(request, setup.account)).await.expect("an answer");
    assert_eq!(response.status, 200);
    let asked = server.asked();
    assert!(asked[0].headers.contains_key("authorization") && asked[0].headers.contains_key("x-a"));
    for later in &asked[1..] {
        assert!(!later.headers.contains_key("authorization") && !later.headers.contains_key("x-a"), "{later:?}");
    }
    assert_eq!(asked.iter().map(Asked::host).collect::<Vec<_>>(), ["api.test", "a.cdn.test", "api.test"]);
}

#[tokio::test]
async fn a_redirect_passes_every_check_again() {
    for (location, expected) in [
        ("https://other.test/", "[[host]]\norigin = \"https://other.test\""),
        ("http://api.test/", "only https is allowed"),
        ("https://localhost/", "not a public address"),
        ("https://127.0.0.1/latest/meta-data", "not a public address"),
        ("https://user@api.test/", "a user or password"),
    ] {
        let server = Server::start(move |_: &Asked| answer(302, &[("location", location)], "")).await;
        let why = denial(Setup::new(&server).send(with_key(get("https://api.test/"))).await);
        assert!(why.starts_with("https://api.test redirects elsewhere") && why.contains(expected), "{location}: {why}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn see_other_turns_a_post_into_a_get_without_body() {
    let server = Server::start(|asked: &Asked| match asked.target.as_str() {
        "/a" => answer(303, &[("location", "b")], ""),
        _ => answer(200, &[], "ok"),
    })
    .await;
    let request = Request {
        method: Method::Post,
        headers: vec![("Content-Type".to_owned(), "text/plain".to_owned())],
        body: Some(b"body".to_vec()),
        ..get("https://api.test/a")
    };
    Setup::new(&server).send(request).await.expect("an answer");
    let second = &server.asked()[1];
    assert_eq!((second.method.as_str(), second.target.as_str(), second.body.len()), ("GET", "/b", 0));
    assert!(!second.headers.contains_key("content-type"));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

#[tokio::test]
async fn bodies_are_decompressed_up_to_the_limit_and_a_bomb_ends_there() {
    let bomb = gzip(&vec![b'0'; 16 << 20]);
    assert!(bomb.len() < 20_000, "a small answer that unpacks to 16 MiB");
    let server = Server::start(move |asked: &Asked| match asked.target.as_str() {
        "/bomb" => answer(200, &[("content-encoding", "gzip")], bomb.clone()),
        "/zstd-bomb" => {
            answer(200, &[("content-encoding", "zstd")], zstd::encode_all(&vec![0u8; 8 << 20][..], 3).expect("encoded"))
        }
        "/gzip" => answer(200, &[("content-encoding", "gzip")], gzip(b"numbers")),
        "/zstd" => answer(200, &[("content-encoding", "zstd")], zstd::encode_all(&b"numbers"[..], 3).expect("encoded")),
        "/exact" => answer(200, &[], vec![b'x'; 1 << 20]),
        _ => answer(200, &[], vec![b'x'; (1 << 20) + 1]),
    })
    .await;
    let mut setup = Setup::new(&server);
    setup.config.body_bytes_max = 1 << 20;
    let (_gateway, session, _demands) = setup.open();
    for path in ["bomb", "zstd-bomb", "plain"] {
        assert_eq!(
            session.send(get(&format!("https://api.test/{path}"))).await,
            Err(SendError::TooLarge(1 << 20)),
            "{path}"
        );
    }
    assert_eq!(session.usage().requests, 3, "what is too large stays too large");
    for path in ["gzip", "zstd"] {
        let response = session.send(get(&format!("https://api.test/{path}"))).await.expect("an answer");
        assert_eq!(response.body, b"numbers", "{path}");
        assert!(!response.headers.iter().any(|(name, _)| name == "content-encoding"));
    }
    assert_eq!(session.send(get("https://api.test/exact")).await.expect("an answer").body.len(), 1 << 20);
}

/// Answers with `first` until `times` requests were seen, then with 200.
async fn failing(
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
async fn the_platforms_retry_after_is_kept_to_in_both_forms() {
    // The clock says noon; both forms ask for one second.
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
async fn a_retry_after_past_the_deadline_is_the_connectors_to_read() {
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
const CUT_SHORT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 700\r\n\r\nnumbers";
const CUT_CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\nnumbers\r\n";

#[tokio::test]
async fn an_answer_cut_short_is_asked_for_again_and_never_passed_on() {
    for cut in [CUT_SHORT, CUT_CHUNKS, b"HTTP/1.1 200 OK\r\ncont", b"", b"nonsense\r\n\r\n"] {
        let server = RawServer::start(vec![cut.to_vec(), WHOLE.to_vec()]).await;
        let response = Setup::at(&server.base()).send(get("https://api.test/")).await.expect("the second answer");
        assert_eq!((response.body.as_slice(), server.connections()), (&b"numbers"[..], 2));

        let server = RawServer::start(vec![cut.to_vec()]).await;
        let outcome = Setup::at(&server.base()).send(get("https://api.test/")).await;
        assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
        assert_eq!(server.connections(), 4);

        // A POST may have been carried out already.
        let server = RawServer::start(vec![cut.to_vec()]).await;
        let outcome =
            Setup::at(&server.base()).send(Request { method: Method::Post, ..get("https://api.test/") }).await;
        assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_platform_that_never_answers_costs_the_timeout_and_no_more_than_the_deadline() {
    let server = Server::start_slow(|_: Asked| std::future::pending()).await;
    let mut setup = Setup::new(&server);
    setup.config.request_timeout_ms = 30;
    setup.config.retries_max = 1;
    assert_eq!(setup.send(get("https://api.test/")).await, Err(SendError::TimedOut));
    assert_eq!(server.asked().len(), 2);
    setup.config.request_timeout_ms = 60_000;
    setup.deadline = Duration::from_millis(30);
    assert_eq!(setup.send(get("https://api.test/")).await, Err(SendError::TimedOut));
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let address = {
        let server = Server::start(|_: &Asked| answer(200, &[], "")).await;
        server.base()
    };
    let (_gateway, session, _demands) = Setup::at(&address).open();
    let outcome = session.send(Request { method: Method::Post, ..get("https://api.test/") }).await;
    assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
    assert_eq!(session.usage().requests, 4, "what was never seen is safe to send again");
}

#[tokio::test]
async fn sends_in_flight_are_bounded_and_a_dropped_one_makes_room() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let pair = Arc::new(tokio::sync::Barrier::new(2));
    let server = {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Server::start_slow(move |asked: Asked| {
            let (now, most, pair) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&pair));
            async move {
                if asked.target == "/never" {
                    std::future::pending::<()>().await;
                }
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                pair.wait().await;
                now.fetch_sub(1, Ordering::SeqCst);
                answer(200, &[], "ok")
            }
        })
        .await
    };
    let mut setup = Setup::new(&server);
    setup.config.sends_in_flight_max = 2;
    let (_gateway, session, _demands) = setup.open();
    {
        let never = futures::future::join(
            session.send(get("https://api.test/never")),
            session.send(get("https://api.test/never")),
        );
        assert!(tokio::time::timeout(Duration::from_millis(50), never).await.is_err());
    }
    let answers = futures::future::join_all((0..6).map(|_| session.send(get("https://api.test/x")))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn requests_of_a_session_are_bounded_with_redirects_and_retries_counted() {
    let server = Server::start(redirecting).await;
    let mut setup = Setup::new(&server);
    setup.config.requests_max = 3;
    let (_gateway, session, _demands) = setup.open();
    session.send(get("https://api.test/to/1")).await.expect("two requests");
    let why = denial(session.send(get("https://api.test/to/1")).await);
    assert!(why.contains("requests_max under [gateway]"), "{why}");
    assert_eq!((server.asked().len(), session.usage().requests), (3, 3));
}

#[tokio::test]
async fn a_session_without_capabilities_sends_nothing() {
    denial(Session::without_capabilities().send(get("https://api.test/")).await);
    assert_eq!(Session::without_capabilities().usage().requests, 0);
}

#[tokio::test]
async fn a_host_that_keeps_failing_is_left_alone_and_probed_once() {
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
        matches!(&outcome, Err(SendError::Unreachable(why)) if why.contains("left alone until 2026-11-22 12:00:10")),
        "{outcome:?}"
    );
    assert_eq!(server.asked().len(), 3);
    assert_eq!(session.send(get("https://a.cdn.test/")).await.expect("another host").status, 200);
    second.store(10, Ordering::SeqCst);
    assert_eq!(session.send(get("https://api.test/")).await.expect("the probe").status, 200);
    assert_eq!(session.send(get("https://api.test/")).await.expect("closed again").status, 200);
}

#[tokio::test]
async fn the_token_a_platform_repeats_in_its_paging_is_blanked_out() {
    let server = Server::start(|asked: &Asked| {
        let next = format!("https://api.test{}", asked.target).replace('/', "\\/");
        answer(
            200,
            &[("link", &format!("<{}>; rel=next", asked.target))],
            format!("{{\"paging\":{{\"cursors\":{{\"after\":\"QVF\"}},\"next\":\"{next}\"}}}}"),
        )
    })
    .await;
    let mut setup = Setup::new(&server);
    setup.manifest =
        Manifest::parse(&MANIFEST.replace("\"bearer\"\nhosts", "{ query = \"access_token\" }\nhosts")).expect("valid");
    let response =
        setup.send(with_token(get("https://api.test/me/media?limit=25"), setup.account)).await.expect("an answer");
    assert!(server.asked()[0].target.ends_with(&format!("&access_token={TOKEN}")), "{}", server.asked()[0].target);
    let whole = format!("{:?} {}", response.headers, String::from_utf8_lossy(&response.body));
    assert!(!whole.contains("canary") && whole.matches("access_token=[secret]").count() == 2, "{whole}");
}

/// Collects everything that is traced.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_stands_in_any_error_or_log_line() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let echo = Server::start(|asked: &Asked| {
        answer(302, &[("location", &format!("https://other.test{}", asked.target))], asked.target.clone())
    })
    .await;
    let cut = RawServer::start(vec![CUT_SHORT.to_vec()]).await;
    let gone = { Server::start(|_: &Asked| answer(200, &[], "")).await.base() };
    let mut outcomes = Vec::new();
    for base in [echo.base(), cut.base(), gone] {
        let setup = Setup::at(&base);
        let (gateway, session, _demands) = setup.open();
        outcomes.push(format!(
            "{:?} {gateway:?} {session:?} {:?}",
            session.send(with_key(get("https://api.test/x"))).await,
            session.usage()
        ));
        outcomes.push(format!("{:?}", session.send(with_token(get("https://api.test/x"), setup.account)).await));
        outcomes.push(format!("{:?}", session.send(get(&format!("https://{TOKEN}.test/x"))).await));
        outcomes.push(format!("{:?}", session.send(get(&format!("https://api.test:{TOKEN}/x"))).await));
        outcomes.push(format!("{:?}", session.send(with_token(get("https://api.test/"), TOKEN)).await));
        outcomes.push(format!("{:?}", setup.credentials));
    }
    let log = String::from_utf8_lossy(&log.0.lock().expect("not poisoned")).into_owned();
    assert!(log.contains("request sent") && log.contains("https://api.test"), "{log}");
    for text in outcomes.iter().chain([&log]) {
        assert!(!text.to_ascii_lowercase().contains("canary"), "{text}");
    }
}
