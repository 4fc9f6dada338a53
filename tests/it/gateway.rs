//! Tests of the gateway over real sockets: every rule for requests, each with its own server on a loopback port.

mod budgets;
mod limits;
mod redirects;
mod retries;
mod secrets;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backline_gateway::{
    CredentialRef, Demand, Gateway, GatewayConfig, Request, Response, Route, SendError, Session, SessionCredential,
    SessionSetup, Spent,
};
use backline_model::clock::Clock;
use backline_model::fixtures::manifest_with;
use backline_model::grant::Grant;
use backline_model::ids::{AccountId, CredentialId};
use backline_model::manifest::{Manifest, Method};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support::http::{Asked, RawServer, Server, answer};

const KEY: &str = "canary-operator/key+1";
const TOKEN: &str = "IGQcanaryaccounttoken0123456789";

/// A response whose connection closes before the body is complete.
const CUT_SHORT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 700\r\n\r\nnumbers";

/// What a connector for `api.test` asks for: an operator's key in the query and each account's token as bearer.
const TABLES: &str = r#"
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

/// A gateway and the parts of a session, which a test can change before it opens them.
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
        let manifest = Manifest::parse(&manifest_with(TABLES)).expect("a valid manifest");
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
            grant: Grant::all_of(&manifest, &[]),
            manifest,
            credentials: vec![credential("app", None, KEY), credential("user", Some(account), TOKEN)],
            account,
            clock: Clock::fixed(noon()),
            deadline: Duration::from_secs(20),
        }
    }

    fn open(&self) -> (Gateway, Session, mpsc::Receiver<Demand>) {
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
        let (_gateway, session, demands) = self.open();
        // Nothing answers: what needs a budget is not sent, and a pace that is learned is kept by the gateway itself.
        drop(demands);
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
        why.ends_with("add to its connector.toml:\n[[host]]\norigin = \"https://other.test\"\nmethods = [\"GET\"]"),
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
            "to allow it, add to its grant:\n[[host]]\norigin = \"https://api.test\"\nmethods = [\"GET\", \"POST\"]"
        ),
        "{why}"
    );
    let why = denial(setup.send(get("https://a.cdn.test/x")).await);
    assert!(why.contains("but not granted") && why.contains("origin = \"https://a.cdn.test\""), "{why}");
    assert_eq!(server.asked().len(), 2, "a denied request was sent");
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
    setup.send(get("https://api.test/x#fragment")).await.expect("a fragment is removed");
    assert_eq!(server.asked()[0].target, "/x");
}

#[tokio::test]
async fn headers_reserved_for_the_host_are_refused_and_others_arrive() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let setup = Setup::new(&server);
    for name in
        ["Host", "authorization", "Cookie", "Connection", "Proxy-Authorization", "Transfer-Encoding", "X-Forwarded-For"]
    {
        let request = Request { headers: vec![(name.to_owned(), "x".to_owned())], ..get("https://api.test/") };
        assert!(denial(setup.send(request).await).contains("is set by the host"), "{name}");
    }
    assert!(server.asked().is_empty());
    let request = Request { headers: vec![("X-Version".to_owned(), "3".to_owned())], ..get("https://api.test/") };
    setup.send(request).await.expect("an answer");
    assert_eq!(server.asked()[0].headers["x-version"], "3");
    assert!(server.asked()[0].headers["user-agent"].starts_with("backline/"));
    assert!(!server.asked()[0].headers.contains_key("referer"));
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
    assert_eq!(session.usage().requests, 1, "a refused request was retried");
    // If exempt, the address is connected to, but the server there does not speak TLS.
    setup.config.exempt =
        vec!["https://localhost".parse().expect("a pattern"), "https://127.0.0.1".parse().expect("a pattern")];
    setup.config.retries_max = 0;
    for url in ["https://localhost/", "https://127.0.0.1/"] {
        let outcome = setup.send(get(url)).await;
        assert!(matches!(outcome, Err(SendError::Unreachable(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_session_without_capabilities_sends_nothing() {
    denial(Session::without_capabilities().send(get("https://api.test/")).await);
    assert_eq!(Session::without_capabilities().usage().requests, 0);
}
