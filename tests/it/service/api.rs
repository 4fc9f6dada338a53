//! Tests of the HTTP API. What every operation must hold is tested of all of them, by the OpenAPI document: one that is
//! added is tested as the others are.

mod bulk;
mod digests;
mod edges;
mod events;
mod freshness;
mod origins;
mod parquet;
mod repeats;
mod tls;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use backline::config::Config;
use backline::pipeline::service::Service;
use backline::pipeline::{Host, NewToken, Tokens};
use backline_gateway::secrets::SecretText;
use backline_model::audit::Actor;
use backline_model::clock::Clock;
use backline_model::{Role, Tenant, TokenId};
use backline_store::{AuditFilter, DatabaseKind, Scope, Store};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value as Json, json};
use sqlx::Row as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::support::{Place, WAIT_MAX, ask};
use crate::store::fixtures::{account, artist, batch, day, event, now, release, run};
use crate::store::scope::{bulk_act, fill, held, marks, ours, theirs};
use crate::support::database::each_database;

/// A host that answers on a loopback port and works at nothing. Dropping it stops it.
pub(super) struct Answering {
    pub(super) host: Host,
    pub(super) address: String,
    pub(super) time: Arc<Mutex<DateTime<Utc>>>,
    _serving: JoinSet<()>,
}

impl Answering {
    pub(super) async fn on(url: &str) -> Self {
        Self::with(url, |_| {}).await
    }

    /// The same with another configuration.
    async fn with(url: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.database.url = url.to_owned();
        change(&mut config);
        let time = Arc::new(Mutex::new(now()));
        let clock = {
            let time = Arc::clone(&time);
            Clock::from_fn(move || *time.lock().expect("not poisoned"))
        };
        let host = Host::open(config, clock).await.expect("the host opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let mut serving = JoinSet::new();
        let status = Service::new(host.clone()).status();
        serving.spawn(async move {
            backline::api::serve(listener, status, std::future::pending()).await.expect("it serves");
        });
        Self { host, address, time, _serving: serving }
    }

    pub(super) fn tokens(&self) -> Tokens {
        Tokens::new(self.host.store().clone(), self.host.clock().clone())
    }

    pub(super) async fn token(
        &self,
        role: Role,
        tenant: Option<Tenant>,
        expires_after: Option<TimeDelta>,
    ) -> (TokenId, SecretText) {
        let expires_at = expires_after.map(|after| self.host.clock().now() + after);
        let new = NewToken { name: "test".to_owned(), role, tenant, expires_at };
        let (token, text) = self.tokens().create(new).await.expect("a token");
        (token.id, text)
    }

    /// A caller with a new token.
    async fn caller(&self, role: Role, tenant: Option<Tenant>) -> Caller<'_> {
        Caller { answering: self, token: self.token(role, tenant, None).await.1 }
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
        let (status, head, body) = ask(&self.address, &request).await;
        Answer { status, head, body }
    }
}

/// Someone with a token.
struct Caller<'a> {
    answering: &'a Answering,
    token: SecretText,
}

impl Caller<'_> {
    async fn get(&self, path: &str) -> Answer {
        self.get_with(path, "").await
    }

    async fn get_with(&self, path: &str, headers: &str) -> Answer {
        self.answering.get(path, &format!("{}{headers}", bearer(self.token.expose()))).await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        self.post_with(path, body, "").await
    }

    async fn post_with(&self, path: &str, body: &str, headers: &str) -> Answer {
        let (status, head, body) = ask(&self.answering.address, &self.posting(path, body, headers)).await;
        Answer { status, head, body }
    }

    /// The request that posts a body.
    fn posting(&self, path: &str, body: &str, headers: &str) -> String {
        let (token, length) = (bearer(self.token.expose()), body.len());
        format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n{token}{headers}\r\n{body}"
        )
    }

    /// All rows of a list, a page at a time, and how many pages there were.
    async fn walk(&self, path: &str, limit: u32) -> (Vec<Json>, usize) {
        let (mut rows, mut pages) = (Vec::new(), 0);
        let mut next = Some(format!("{path}?limit={limit}"));
        while let Some(place) = next {
            let answer = self.get(&place).await;
            let page = answer.json();
            assert_eq!(answer.status, 200, "{place}: {page}");
            pages += 1;
            let data = page["data"].as_array().expect("rows");
            assert!(data.len() <= limit as usize, "{place}: {page}");
            rows.extend(data.iter().cloned());
            next = page["next"].as_str().map(|cursor| format!("{path}?limit={limit}&cursor={cursor}"));
            assert_eq!(page["has_more"], json!(next.is_some()), "{place}");
            assert_eq!(answer.head.contains("rel=\"next\""), next.is_some(), "{place}: {}", answer.head);
            assert!(pages < 200, "{path} has no end");
        }
        (rows, pages)
    }
}

struct Answer {
    status: u16,
    /// Status line and headers, in lower case.
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// A header's value, in lower case.
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no header {name}: {}", self.head))
    }

    /// What a refusal says, but for the request's id and the id that was asked for.
    fn refusal(&self, asked_for: &str) -> (u16, Json) {
        let mut body = self.json();
        body["request_id"] = Json::Null;
        if !asked_for.is_empty() {
            let detail = body["detail"].as_str().expect("a text").replace(asked_for, "…");
            body["detail"] = json!(detail);
        }
        (self.status, body)
    }
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// An operation of the document.
struct Described {
    path: String,
    id: String,
    parameters: Vec<String>,
    content: Json,
    is_of_installation: bool,
}

/// Every operation that reads.
fn reading(document: &Json) -> Vec<Described> {
    operations(document, "get")
}

/// Every operation of a method.
fn operations(document: &Json, method: &str) -> Vec<Described> {
    let paths = document["paths"].as_object().expect("paths");
    let found = paths.iter().filter_map(|(path, methods)| {
        let operation = methods.get(method)?;
        let in_query = |parameter: &&Json| parameter["in"] == "query";
        let parameters = operation["parameters"].as_array().expect("a list").iter().filter(in_query);
        Some(Described {
            path: path.clone(),
            id: operation["operationId"].as_str().expect("a name").to_owned(),
            parameters: parameters.map(|one| one["name"].as_str().expect("a name").to_owned()).collect(),
            content: operation["responses"]["200"]["content"].clone(),
            is_of_installation: operation["description"].as_str().expect("a text").contains("of all tenants"),
        })
    });
    // One that never ends is tested by itself.
    found.filter(|one| one.content.get("text/event-stream").is_none()).collect()
}

/// An id of theirs for each variable part of a path, and one that nothing has.
fn ids() -> BTreeMap<&'static str, (String, String)> {
    let unknown = uuid::Uuid::from_u128(7).to_string();
    let with = |id: String| (id, unknown.clone());
    BTreeMap::from([
        ("artist", with(artist(2).id.to_string())),
        ("account", with(account(2).id.to_string())),
        ("value", with(held(2).to_string())),
        ("run", with(run(2).id.to_string())),
        ("batch", with(batch(0x20, &run(2), &[], day("2026-11-25")).id.to_string())),
        ("event", with(event(2, None).id.to_string())),
        ("tenant", (theirs().to_string(), "nobody".to_owned())),
        ("digest", (release().digest.to_string(), "0".repeat(64))),
        ("act", with(bulk_act(2, theirs()).id.to_string())),
        ("token", with(uuid::Uuid::from_u128(0xC100_0002).to_string())),
        ("credential", with(uuid::Uuid::from_u128(0xD000_0002).to_string())),
        ("webhook", ("hook-theirs".to_owned(), "nobody".to_owned())),
        ("schedule", ("daily".to_owned(), "nobody".to_owned())),
        ("connector", ("demo".to_owned(), "nobody".to_owned())),
        ("name", ("digest-theirs".to_owned(), "nobody".to_owned())),
    ])
}

/// The path with ids of theirs, and with unknown ones; which of the ids stand in it.
fn filled(path: &str) -> (String, String, Vec<(String, String)>) {
    let (mut own, mut unknown, mut used) = (path.to_owned(), path.to_owned(), Vec::new());
    for (name, (id, none)) in ids() {
        let variable = format!("{{{name}}}");
        if path.contains(&variable) {
            own = own.replace(&variable, &id);
            unknown = unknown.replace(&variable, &none);
            used.push((id, none));
        }
    }
    assert!(!own.contains('{'), "the test has no id for {path}");
    (own, unknown, used)
}

/// Lists that are empty in the tests.
const EMPTY: [&str; 6] = ["archive_runs", "canaries", "freshness", "hosts", "pauses", "schedule_fires"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_answers_as_the_document_describes() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let served = answering.get("/openapi.json", "").await;
        assert_eq!(served.status, 200);
        let document = served.json();
        assert_eq!(document, backline::api::document());
        assert_eq!(document["openapi"], "3.1.0");
        let admin = answering.caller(Role::Admin, None).await;
        let mut empty = BTreeSet::new();
        for operation in reading(&document) {
            let (path, ..) = filled(&operation.path);
            let answer = admin.get(&path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            assert_eq!(answer.header("content-type"), "application/json", "{path}");
            assert!(!answer.header("x-request-id").is_empty());
            let mut schema = operation.content["application/json"]["schema"].clone();
            schema["components"] = document["components"].clone();
            let validator = jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{path}: {error}"));
            let body = answer.json();
            let errors: Vec<String> =
                validator.iter_errors(&body).map(|error| format!("{} at {}", error, error.instance_path())).collect();
            assert!(errors.is_empty(), "{path}: {errors:?}: {body}");
            if body["data"].as_array().is_some_and(Vec::is_empty) {
                empty.insert(operation.id);
            }
        }
        // All others were validated with rows in them.
        assert_eq!(empty.iter().map(String::as_str).collect::<Vec<_>>(), EMPTY);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_tenant_reaches_nothing_of_anothers() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let document = backline::api::document();
        let stranger = answering.caller(Role::Admin, Some(ours())).await;
        let owner = answering.caller(Role::Admin, Some(theirs())).await;
        for operation in reading(&document) {
            let (path, unknown, used) = filled(&operation.path);
            let answer = stranger.get(&path).await;
            if operation.is_of_installation {
                assert_eq!(answer.status, 403, "{path}: {}", answer.body);
                assert_eq!(owner.get(&path).await.status, 403, "{path}");
                continue;
            }
            assert_eq!(owner.get(&path).await.status, 200, "{path}: its own tenant is not let in");
            if let [(id, none)] = used.as_slice() {
                // Told word for word like one that does not exist.
                let none = stranger.get(&unknown).await.refusal(none);
                assert_eq!(answer.refusal(id), none, "{path}");
                assert_eq!(none.0, 404, "{path}");
                continue;
            }
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            for mark in marks() {
                assert!(!answer.body.contains(&mark), "{path} tells of theirs ({mark}): {}", answer.body);
            }
            // Nor by any filter that names something of theirs.
            let filters = ids().into_iter().filter(|(name, _)| operation.parameters.iter().any(|one| one == name));
            for (name, (id, none)) in filters {
                let foreign = stranger.get(&format!("{path}?{name}={id}")).await;
                let missing = stranger.get(&format!("{path}?{name}={none}")).await;
                assert_eq!(foreign.status, missing.status, "{path} by {name}");
                let data = |answer: &Answer| answer.json()["data"].clone();
                assert_eq!(data(&foreign), data(&missing), "{path} by {name}");
                assert!(foreign.status == 404 || data(&foreign) == json!([]), "{path} by {name}: {}", foreign.body);
            }
            // Nor by a cursor of theirs, where there is one.
            if operation.parameters.iter().any(|name| name == "cursor") {
                let of_owner = owner.get(&format!("{path}?limit=1")).await.json();
                if let Some(cursor) = of_owner["next"].as_str() {
                    let refused = stranger.get(&format!("{path}?limit=1&cursor={cursor}")).await;
                    assert_eq!(refused.status, 400, "{path}: {}", refused.body);
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_in_force_is_refused_like_none() {
    each_database(async |_, url| {
        let answering = Answering::on(url).await;
        let (id, good) = answering.token(Role::Viewer, None, Some(TimeDelta::hours(1))).await;
        let (_, other) = answering.token(Role::Viewer, None, None).await;
        let asked = async |headers: &str| answering.get("/v1/token", headers).await;
        let none = asked("").await;
        assert_eq!((none.status, none.header("www-authenticate")), (401, "bearer"), "{}", none.body);
        assert_eq!(none.header("content-type"), "application/problem+json");
        let answer = asked(&bearer(good.expose())).await;
        assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(id)), "{}", answer.body);
        // A token that this host knows is not held back by what others of its address guess.
        assert_eq!(asked(&bearer(other.expose())).await.status, 200);
        // The id of one token with the secret of another.
        let (start, _) = good.expose().rsplit_once('_').expect("an id and a secret");
        let (_, end) = other.expose().rsplit_once('_').expect("an id and a secret");
        for wrong in [
            bearer(&format!("{start}_{end}")),
            bearer(&good.expose()[..good.expose().len() - 1]),
            bearer(&good.expose().to_uppercase()),
            bearer("backline_"),
            bearer(""),
            format!("authorization: Basic {}\r\n", good.expose()),
            format!("x-api-key: {}\r\n", good.expose()),
        ] {
            assert_eq!(asked(&wrong).await.refusal(""), none.refusal(""), "{wrong}");
        }
        *answering.time.lock().unwrap() = now() + TimeDelta::hours(1);
        assert_eq!(asked(&bearer(good.expose())).await.refusal(""), none.refusal(""), "it has expired");
        *answering.time.lock().unwrap() = now();
        assert_eq!(asked(&bearer(good.expose())).await.status, 200);
        answering.tokens().revoke(id).await.unwrap();
        assert_eq!(asked(&bearer(good.expose())).await.refusal(""), none.refusal(""), "it is revoked");
        assert_eq!(asked(&bearer(other.expose())).await.status, 200, "another token is not");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tokens_are_refused_without_a_look_after_some() {
    each_database(async |_, url| {
        let answering = Answering::on(url).await;
        let (_, good) = answering.token(Role::Viewer, None, None).await;
        let (_, new) = answering.token(Role::Viewer, None, None).await;
        assert_eq!(answering.get("/v1/token", &bearer(good.expose())).await.status, 200);
        let wrong = bearer(&format!("backline_{}_x", uuid::Uuid::from_u128(7).simple()));
        for _ in 0..20 {
            assert_eq!(answering.get("/v1/token", &wrong).await.status, 401);
        }
        let refused = answering.get("/v1/token", &wrong).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, "3"), "{}", refused.body);
        // All callers behind a proxy have its address.
        let accepted = answering.get("/v1/token", &bearer(good.expose())).await;
        assert_eq!(accepted.status, 200, "a token that was accepted before: {}", accepted.body);
        assert_eq!(answering.get("/v1/token", &bearer(new.expose())).await.status, 429, "one that is new here waits");
        *answering.time.lock().unwrap() = now() + TimeDelta::seconds(3);
        assert_eq!(answering.get("/v1/token", &wrong).await.status, 401);
        *answering.time.lock().unwrap() = now() + TimeDelta::minutes(2);
        for _ in 0..200 {
            assert_eq!(answering.get("/v1/token", &bearer(good.expose())).await.status, 200);
        }
        let refused = answering.get("/v1/token", &bearer(good.expose())).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, "1"), "{}", refused.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_reaches_what_it_is_for() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let viewer = answering.caller(Role::Viewer, None).await;
        let operator = answering.caller(Role::Operator, None).await;
        let refused = viewer.get("/v1/webhooks").await;
        assert_eq!(refused.status, 403);
        assert!(refused.body.contains("operator"), "{}", refused.body);
        assert_eq!(operator.get("/v1/webhooks").await.status, 200);
        assert_eq!(viewer.get("/v1/metrics").await.status, 200);
        // One for the numbers reads them, and nothing of how they are collected.
        let numbers = answering.caller(Role::Numbers, Some(ours())).await;
        for operation in reading(&backline::api::document()) {
            let (path, ..) = filled(&operation.path.replace("{artist}", &artist(1).id.to_string()));
            let of_numbers =
                ["token", "tenants", "artists", "artist", "accounts", "account", "metrics", "growth", "freshness"];
            let status =
                numbers.get(&path.replace(&account(2).id.to_string(), &account(1).id.to_string())).await.status;
            let expected = if of_numbers.contains(&operation.id.as_str()) { 200 } else { 403 };
            assert_eq!(status, expected, "{path}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_that_an_operation_does_not_have_are_refused() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let admin = answering.caller(Role::Admin, None).await;
        for operation in reading(&backline::api::document()) {
            let (path, ..) = filled(&operation.path);
            let refused = admin.get(&format!("{path}?nonsense=1")).await;
            assert_eq!(refused.status, 400, "{path}: {}", refused.body);
            assert_eq!(refused.json()["code"], "unknown_parameter", "{path}");
        }
        let slip = admin.get("/v1/metrics?plattform=demo").await;
        assert!(slip.body.contains("did you mean 'platform'?"), "{}", slip.body);
        for wrong in [
            "/v1/metrics?platform=demoo",
            "/v1/metrics?since=2026-11-32",
            "/v1/metrics?since=0000-01-01",
            "/v1/growth?until=%2B10000-01-01",
            "/v1/plan?date=%2B262142-12-31",
            "/v1/metrics?since=2026-11-23&until=2026-11-22",
            "/v1/metrics?limit=0",
            "/v1/metrics?limit=1&limit=2",
            "/v1/metrics?format=xml",
            "/v1/metrics?cursor=abc",
            "/v1/artists/ada",
            "/v1/batches?state=lost",
        ] {
            let refused = admin.get(wrong).await;
            assert_eq!(refused.status, 400, "{wrong}: {}", refused.body);
            assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{wrong}");
        }
        let nothing = admin.get("/v1/nothing").await;
        assert_eq!(
            (nothing.status, nothing.json()["request_id"].as_str()),
            (404, Some(nothing.header("x-request-id")))
        );
        let request = format!(
            "DELETE /v1/runs HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{}\r\n",
            bearer(admin.token.expose())
        );
        let (status, head, _) = ask(&answering.address, &request).await;
        assert!(status == 405 && head.contains("\r\nx-request-id: "), "{head}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_the_same_a_row_at_a_time_as_at_once() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let admin = answering.caller(Role::Admin, None).await;
        let mut longer = 0;
        for operation in reading(&backline::api::document()) {
            if !operation.parameters.iter().any(|name| name == "cursor") {
                continue;
            }
            let (path, ..) = filled(&operation.path.replace("{run}", &run(1).id.to_string()));
            let (whole, pages) = admin.walk(&path, 1000).await;
            assert_eq!(pages, 1, "{path}");
            let (single, pages) = admin.walk(&path, 1).await;
            assert_eq!(single, whole, "{path}");
            assert_eq!(pages, whole.len().max(1), "{path}");
            assert_eq!(admin.walk(&path, 2).await.0, whole, "{path}");
            longer += usize::from(whole.len() > 2);
        }
        assert!(longer > 5, "too few lists have several pages: {longer}");
        let cursor = admin.get("/v1/metrics?limit=1").await.json()["next"].clone();
        let cursor = cursor.as_str().expect("another page").to_owned();
        for other in [format!("/v1/growth?cursor={cursor}"), format!("/v1/metrics?platform=demo&cursor={cursor}")] {
            assert_eq!(admin.get(&other).await.status, 400, "{other}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_come_in_three_forms_and_only_when_they_changed() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let viewer = answering.caller(Role::Viewer, None).await;
        let rows = viewer.get("/v1/metrics").await.json()["data"].as_array().expect("rows").clone();
        assert_eq!(rows.len(), 3);
        let lines = viewer.get("/v1/metrics?format=ndjson").await;
        assert_eq!(lines.header("content-type"), "application/x-ndjson");
        let lines: Vec<Json> = lines.body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines, rows);
        let table = viewer.get("/v1/metrics?format=csv").await;
        assert!(table.header("content-type").starts_with("text/csv"), "{}", table.head);
        assert!(table.body.starts_with("artist_id,account_id,platform,metric_date,metric,value,absent,"));
        assert!(table.body.contains(",followers,100,,"), "{}", table.body);
        assert!(table.body.contains(",streams,,not-offered,"), "{}", table.body);

        let first = viewer.get("/v1/metrics").await;
        // The headers are in lower case here.
        let known = format!("if-none-match: {}\r\n", first.header("etag").replace("w/", "W/"));
        let again = viewer.get_with("/v1/metrics", &known).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""));
        assert_eq!(viewer.get_with("/v1/growth", &known).await.status, 200, "other numbers");

        let request = format!(
            "GET /v1/metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\naccept-encoding: gzip\r\n{}\r\n",
            bearer(viewer.token.expose())
        );
        let mut stream = TcpStream::connect(&answering.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
        assert!(String::from_utf8_lossy(&answer[..end]).to_lowercase().contains("content-encoding: gzip"));
        let mut plain = String::new();
        flate2::read::GzDecoder::new(&answer[end..]).read_to_string(&mut plain).unwrap();
        assert_eq!(serde_json::from_str::<Json>(&plain).unwrap()["data"], Json::Array(rows));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_something_takes_an_operator_of_the_tenant() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let document = backline::api::document();
        let acting = operations(&document, "post");
        assert!(acting.len() >= 25, "{}", acting.len());
        let viewer = answering.caller(Role::Viewer, None).await;
        let stranger = answering.caller(Role::Admin, Some(ours())).await;
        let operator = answering.caller(Role::Admin, None).await;
        let before = store.audit_list(&Scope::all_tenants(), &AuditFilter::default()).await.unwrap();
        for operation in acting {
            let (path, unknown, used) = filled(&operation.path);
            assert_eq!(viewer.post(&path, "").await.status, 403, "{path}");
            let wrong = operator.post(&path, "{\"nonsense\": 1}").await;
            assert_eq!(wrong.status, 400, "{path}: {}", wrong.body);
            assert_eq!(operator.post(&format!("{path}?nonsense=1"), "").await.status, 400, "{path}");
            let foreign = stranger.post(&path, "").await;
            if operation.is_of_installation {
                assert_eq!(foreign.status, 403, "{path}: {}", foreign.body);
            } else if let [(id, none)] = used.as_slice() {
                let none = stranger.post(&unknown, "").await.refusal(none);
                assert_eq!((foreign.refusal(id), none.0), (none.clone(), 404), "{path}");
            }
        }
        // Nor a secret of an account of theirs, nor a webhook that gets their events, nor the operator's own secret.
        let secret = |account: Json| {
            let account = account.as_str().map(str::to_owned);
            json!({ "platform": "demo", "slot": "token", "account": account, "secret": "x" }).to_string()
        };
        let none = uuid::Uuid::from_u128(7);
        let foreign = stranger.post("/v1/credentials", &secret(json!(account(2).id))).await;
        let unknown = stranger.post("/v1/credentials", &secret(json!(none))).await;
        let account = account(2).id.to_string();
        assert_eq!(foreign.refusal(&account), unknown.refusal(&none.to_string()), "{}", foreign.body);
        assert_eq!(foreign.status, 404, "{}", foreign.body);
        assert_eq!(stranger.post("/v1/credentials", &secret(Json::Null)).await.status, 403);
        let hook = json!({ "name": "hook", "url": "https://example.org", "tenant": theirs() });
        assert_eq!(stranger.post("/v1/webhooks", &hook.to_string()).await.status, 404);
        // Nor a batch of theirs, by any of the ways to name it.
        let batch = batch(0x21, &run(2), &[], day("2026-11-23")).id;
        for body in [json!({ "batches": [batch] }), json!({ "run": run(2).id })] {
            let retried = stranger.post("/v1/batches/retry", &body.to_string()).await;
            assert_eq!((retried.status, &retried.json()["batches"]), (200, &json!(0)), "{}", retried.body);
        }
        let after = store.audit_list(&Scope::all_tenants(), &AuditFilter::default()).await.unwrap();
        let acts: Vec<&str> = after[..after.len() - before.len()].iter().map(|one| one.act.action.as_str()).collect();
        assert_eq!(acts, ["batches retry", "batches retry"], "what was refused is not on record");
        assert!(after[0].act.tenant == Some(ours()), "{:?}", after[0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_changed_is_answered_and_on_record() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let document = backline::api::document();
        let owner = answering.caller(Role::Admin, Some(theirs())).await;
        let operator = answering.caller(Role::Operator, None).await;
        let fits = |id: &str, answer: &Answer| {
            let found = document["paths"].as_object().expect("paths").values().map(|methods| &methods["post"]);
            let operation = found.into_iter().find(|one| one["operationId"] == id).expect("an operation");
            let mut schema = operation["responses"]["200"]["content"]["application/json"]["schema"].clone();
            schema["components"] = document["components"].clone();
            let body = answer.json();
            assert_eq!(answer.status, 200, "{id}: {body}");
            let validator = jsonschema::validator_for(&schema).expect("a schema");
            let errors: Vec<String> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{id}: {errors:?}: {body}");
            body
        };
        let value = held(2);
        let discard = format!("/v1/quarantine/{value}/discard");
        let discarded = fits("quarantine_discard", &owner.post(&discard, "").await);
        assert_eq!((&discarded["id"], &discarded["status"]), (&json!(value), &json!("discarded")));
        let again = owner.post(&discard, "{}").await;
        assert_eq!((again.status, &again.json()["code"]), (409, &json!("refused")), "{}", again.body);
        let release = format!("/v1/quarantine/{}/release", held(3));
        let released = fits("quarantine_release", &owner.post(&release, "").await);
        assert_eq!(released["id"], json!(held(3)));
        let retried = fits("batches_retry", &owner.post("/v1/batches/retry", "{\"all_dead\": true}").await);
        assert_eq!(retried["batches"], 1, "theirs alone: {retried}");
        let refused = owner.post("/v1/batches/retry", "").await;
        assert_eq!(refused.status, 400, "{}", refused.body);
        let started = fits("run_start", &operator.post("/v1/runs", "{\"platforms\": [\"demo\"]}").await);
        let cancel = format!("/v1/runs/{}/cancel", started["id"].as_str().expect("an id"));
        let body = "{\"reason\": \"a canary\"}";
        let cancelled = operator.post(&cancel, body).await;
        // Where all accounts are in open batches there is nothing to cancel.
        if cancelled.status == 200 {
            assert_eq!(fits("run_cancel", &cancelled)["run"]["status"], "cancelled");
        } else {
            assert_eq!(cancelled.status, 409, "{}", cancelled.body);
        }
        let open = operator.post(&format!("/v1/runs/{}/cancel", run(2).id), body).await;
        assert_eq!(fits("run_cancel", &open)["run"]["status"], "cancelled");

        let log = owner.get("/v1/audit").await.json();
        let acts: Vec<(&str, &str)> = log["data"]
            .as_array()
            .expect("entries")
            .iter()
            .filter(|entry| entry["actor"] == "token")
            .map(|entry| (entry["action"].as_str().expect("a text"), entry["origin"].as_str().expect("a text")))
            .collect();
        let here = "127.0.0.1";
        let own = [("batches retry", here), ("quarantine release", here), ("quarantine discard", here)];
        assert_eq!(acts, own, "each tenant sees its own: {log}");
        let all = store.audit_list(&Scope::all_tenants(), &AuditFilter::default()).await.unwrap();
        let discarded = all.iter().find(|entry| entry.act.action == "quarantine discard").expect("an entry");
        assert_eq!(discarded.act.details, json!({ "id": value, "was": "held", "became": "discarded" }));
        assert_eq!((discarded.act.artist_id, &discarded.act.tenant), (Some(artist(2).id), &Some(theirs())));
        let of_value = |states: &Option<Json>| states.as_ref().map(|states| states[format!("value {value}")].clone());
        let was = of_value(&discarded.act.before).expect("what it was");
        let became = of_value(&discarded.act.after).expect("what it became");
        assert_eq!((&was["status"], &became["status"]), (&json!("held"), &json!("discarded")));
        assert!(was.get("value").is_none(), "the value is the artist's: {was}");
        for entry in all.iter().filter(|entry| matches!(entry.act.actor, Actor::Token { .. })) {
            assert!(entry.act.after.is_some(), "it does not say what became of what it was about: {entry:?}");
        }
        assert!(all.iter().any(|entry| entry.act.action == "run cancel" && entry.act.tenant.is_none()));
        assert!(all.iter().any(|entry| entry.act.action == "run"));
        assert!(!format!("{all:?}").contains("canary"), "a reason may name an artist");
        let remove = format!("/v1/accounts/{}/remove", account(3).id);
        let removed = fits("account_remove", &owner.post(&remove, "{\"reason\": \"a wrong id\"}").await);
        assert_eq!(removed["rows"]["accounts"], 1, "{removed}");
    })
    .await;
}

/// Everything that is stored of tokens, as text.
async fn stored(store: &Store, url: &str) -> String {
    match store.kind() {
        DatabaseKind::Sqlite => {
            let path = url.strip_prefix("sqlite://").expect("a file");
            let files = ["", "-wal"].map(|suffix| std::fs::read(format!("{path}{suffix}")).unwrap_or_default());
            String::from_utf8_lossy(&files.concat()).into_owned()
        }
        DatabaseKind::Postgres => {
            let pool = crate::store::schema::raw(url).await;
            let rows = sqlx::query("SELECT row_to_json(t)::text AS row FROM api_tokens t").fetch_all(&pool).await;
            let rows = rows.unwrap().iter().map(|row| row.get::<String, _>("row")).collect();
            pool.close().await;
            rows
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_shown_once_and_stands_nowhere_else() {
    each_database(async |store, url| {
        let place = Place::new(url, "[log]\nfilter = \"trace\"\n");
        let (code, out, said) = place.run(&["serve", "--listen", "0.0.0.0:0", "--log", "warn"]).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
        assert!(said.contains("no token is in force") && said.contains("backline tokens create"), "{said}");

        let create =
            ["tokens", "create", "--role", "operator", "--name", "canary", "--expires", "30d", "--log", "trace"];
        let (code, token, said) = place.run(&create).await;
        let token = token.trim().to_owned();
        assert_eq!(code, Some(0), "{said}");
        assert!(token.starts_with("backline_") && token.len() > 100, "{}", token.len());
        let secret = token.rsplit_once('_').expect("a secret").1.to_owned();
        let (_, list, _) = place.run(&["tokens", "list", "--json", "--log", "off"]).await;
        let listed: Json = serde_json::from_str(&list).expect("JSON");
        assert_eq!((&listed[0]["name"], &listed[0]["role"]), (&json!("canary"), &json!("operator")));
        assert!(listed[0]["last_used_at"].is_null(), "{list}");

        // Now it starts where others reach it.
        let serving = place.serve(&["--listen", "0.0.0.0:0"]).await;
        let address = serving.address.replace("0.0.0.0", "127.0.0.1");
        for path in ["/v1/token", "/v1/metrics?nonsense=1", "/v1/nothing"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{}\r\n", bearer(&token));
            let (_, head, body) = ask(&address, &request).await;
            assert!(!body.contains(&secret) && !head.contains(&secret), "{path}: {body}");
        }
        let (_, used, _) = place.run(&["tokens", "list", "--json", "--log", "off"]).await;
        assert!(used.contains("last_used_at\": \"20"), "{used}");
        let (code, _, refused) = place.run(&["tokens", "revoke", &token, "--log", "off"]).await;
        assert!(code == Some(2) && refused.contains("`backline tokens revoke "), "its id is no secret");
        let (_, revoked, _) = place.run(&["tokens", "revoke", "canary", "--json", "--log", "off"]).await;
        assert_eq!(serde_json::from_str::<Json>(&revoked).expect("JSON")["id"], listed[0]["id"]);
        let request = format!("GET /v1/token HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{}\r\n", bearer(&token));
        assert_eq!(ask(&address, &request).await.0, 401);

        for shown in [said, list, used, refused, serving.log(), stored(&store, url).await] {
            assert!(!shown.contains(&secret), "the secret stands in {} characters of text", shown.len());
        }
    })
    .await;
}
