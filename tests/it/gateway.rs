//! The gateway over real sockets: every rule of the way out, each against a server on a loopback port of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backline::clock::Clock;
use backline::domain::ids::{AccountId, CredentialId};
use backline::domain::manifest::{Manifest, Method};
use backline::domain::release::Grant;
use backline::gateway::{
    BudgetDemand, CredentialRef, Gateway, GatewayConfig, Request, Response, Route, SendError, Session, SessionCredential,
    SessionSetup,
};
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support::http::{Asked, Server, answer};

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
        let manifest = Manifest::parse(MANIFEST).expect("a valid manifest");
        let account = AccountId::generate();
        let routes = ["https://api.test", "https://a.cdn.test"].map(|origin| Route {
            origin: origin.parse().expect("an origin"),
            connect: server.base().parse().expect("a URL"),
        });
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
    let server = Server::start(|asked: &Asked| answer(200, &[("X-Echo", &asked.target), ("set-cookie", "a=b")], asked.target.clone())).await;
    let setup = Setup::new(&server);
    let (_gateway, session, _demands) = setup.open();
    let response = session.send(with_key(get("https://api.test/v1/x?id=1,2"))).await.expect("an answer");
    assert_eq!(server.asked()[0].target, "/v1/x?id=1,2&key=canary-operator%2Fkey%2B1");
    assert_eq!(server.asked()[0].host(), "api.test");
    assert_eq!(response.status, 200);
    assert_eq!(String::from_utf8_lossy(&response.body), "/v1/x?id=1,2&key=[secret]");
    assert!(response.headers.contains(&("x-echo".to_owned(), "/v1/x?id=1,2&key=[secret]".to_owned())), "{:?}", response.headers);
    assert!(!response.headers.iter().any(|(name, _)| name == "set-cookie"));
    let usage = session.usage();
    assert_eq!((usage.requests, usage.bytes_received), (1, server.asked()[0].target.len() as u64));
    assert_eq!(usage.requests_by_origin, BTreeMap::from([("https://api.test".to_owned(), 1)]));
}
