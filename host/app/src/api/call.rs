//! A request on its way to its operation: recognised, counted, allowed, read, and only then answered.
//!
//! A handler gets a [`Call`], and only this file makes one, from a token. So no handler can be written that does not
//! know whose rows it may touch.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;
use futures::stream::BoxStream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use uuid::Uuid;

use super::Api;
use super::answer::{Page, Reply};
use super::cursor::List;
use super::follow::Streams;
use super::operations::{Operation, Reach};
use super::origin;
use super::problem::{Problem, REQUEST_ID, request_id};
use super::query::{Given, Limit, Pairs};
use super::repeats;
use super::settled::Settled;
use crate::pipeline::{AuditLog, Caller, Deed, Host, Tokens};
use backline_model::audit::{ActOutcome, Actor};
use backline_model::{ApiToken, Tenant};
use backline_store::{EventCursor, KeyedRequest, Scope, answering_once};

/// Largest body that an operation takes, in bytes.
const BODY_BYTES_MAX: usize = 32 * 1024;

/// The header in which a client says which event it got last, by the HTML standard.
const LAST_EVENT_ID: &str = "last-event-id";

/// A request that may be answered.
pub(super) struct Call {
    host: Host,
    caller: Caller,
    list: List,
    path: Vec<(String, String)>,
    body: Bytes,
    settled: Settled,
    streams: Streams,
    last_event_id: Option<String>,
}

impl Call {
    /// The host that answers.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// The last event that may be read so that none can appear before it later.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn last_settled_event(&self) -> Result<EventCursor, Problem> {
        self.settled.until(&self.host).await
    }

    /// The id of the last event that a client got from a stream before this one.
    ///
    /// # Errors
    /// When it is not the id of an event.
    pub(super) fn last_event_id(&self) -> Result<Option<EventCursor>, Problem> {
        let read = self.last_event_id.as_deref().map(EventCursor::given).transpose();
        read.map_err(|problem| Problem::wrong(format!("{LAST_EVENT_ID}: {problem}")))
    }

    /// Begins a stream of events.
    ///
    /// # Errors
    /// When the host has too many.
    pub(super) fn follow(self, scope: Scope, after: EventCursor) -> Result<BoxStream<'static, Vec<u8>>, Problem> {
        self.streams.begin(self.host, self.caller, scope, after)
    }

    /// The token of the caller.
    pub(super) fn token(&self) -> &ApiToken {
        self.caller.token()
    }

    /// Whose rows the caller may touch.
    pub(super) fn scope(&self) -> Scope {
        self.caller.scope()
    }

    /// The same, or one tenant of it.
    ///
    /// # Errors
    /// When the tenant is outside, which is told as if there were none of that name.
    pub(super) async fn scope_of(&self, tenant: Option<Tenant>) -> Result<Scope, Problem> {
        let Some(tenant) = tenant else { return Ok(self.scope()) };
        let known = self.host.store().tenants_list(&self.scope()).await?;
        if known.contains(&tenant) { Ok(Scope::tenant(tenant)) } else { Err(Problem::not_found("tenant", tenant)) }
    }

    /// A part of the path.
    ///
    /// # Errors
    /// When it is not one of its type.
    pub(super) fn path<T: Given>(&self, name: &str) -> Result<T, Problem> {
        let text = self.path.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text.as_str());
        T::given(text).map_err(Problem::wrong)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not of the type that the operation takes.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body = if self.body.is_empty() { &b"{}"[..] } else { &self.body };
        serde_json::from_slice(body).map_err(|error| Problem::wrong(format!("the body is not what it takes: {error}")))
    }

    /// Where the page that was asked for begins.
    ///
    /// # Errors
    /// When the cursor is not one of this list.
    pub(super) fn after<K: DeserializeOwned>(&self, cursor: Option<&String>) -> Result<Option<K>, Problem> {
        cursor.map(|cursor| self.list.key(cursor)).transpose()
    }

    /// A page of rows, of which one more was read than fits: so it is known whether others follow.
    pub(super) fn page<T, K: Serialize>(
        &self,
        mut rows: Vec<T>,
        limit: Option<Limit>,
        key: impl Fn(&T) -> K,
    ) -> Result<Page<T>, Problem> {
        let limit = Limit::of(limit) as usize;
        let is_last = rows.len() <= limit;
        rows.truncate(limit);
        let next = match rows.last() {
            Some(last) if !is_last => Some(self.list.cursor(&key(last))?),
            _ => None,
        };
        Ok(Page { data: rows, next })
    }
}

/// Answers a request for an operation.
pub(super) async fn answer(operation: &Operation, api: &Api, peer: IpAddr, request: Request) -> Response {
    let id = request_id(request.headers());
    let host = api.watch.host();
    let peer = origin::of(peer, request.headers(), &host.config().service.trusted_proxies);
    let answered = answered(operation, api, host, peer, id, request).await;
    if let Err(problem) = &answered
        && let Some(error) = problem.cause()
    {
        tracing::warn!(request = %id, operation = operation.id, error, "a request failed");
    }
    let mut response = answered.unwrap_or_else(|problem| problem.response(id));
    tracing::debug!(request = %id, operation = operation.id, status = response.status().as_u16(), "answered");
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn answered(
    operation: &Operation,
    api: &Api,
    host: Host,
    peer: IpAddr,
    id: Uuid,
    request: Request,
) -> Result<Response, Problem> {
    let caller = recognised(api, &host, peer, request.headers()).await?;
    api.limits.request(caller.token().id, host.clock().now()).map_err(Problem::too_many)?;
    allowed(operation, caller.token())?;
    if operation.action.is_some() && host.config().service.read_only {
        return Err(Problem::read_only());
    }
    // Dates, ends and turns would be of its time.
    if operation.action.is_some() && host.has_wrong_clock().await? {
        return Err(Problem::clock_jumped());
    }
    let (mut parts, body) = request.into_parts();
    let is_get = parts.method == Method::GET || parts.method == Method::HEAD;
    let pairs = Pairs::parse(parts.uri.query().unwrap_or_default(), &(operation.parameters)())?;
    let body = match axum::body::to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(_) => return Err(Problem::body_too_large(BODY_BYTES_MAX)),
    };
    let path = path_of(&mut parts).await;
    let of_path = path.clone();
    let mut filters = pairs.filters();
    filters.extend(path.iter().cloned());
    let list = List::new(operation.id, &caller.scope().to_string(), &filters);
    let (token, log) = (caller.token().clone(), AuditLog::new(host.store().clone(), host.clock().clone()));
    let last_event_id = parts.headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let streams = api.streams.clone();
    let asked = || repeats::asked(operation.id, parts.uri.path(), &body);
    let keyed = match repeats::key(&parts.headers, operation)? {
        Some(key) => {
            Some(KeyedRequest { token: token.id, key, asked: asked(), id: Uuid::now_v7(), at: host.clock().now() })
        }
        None => None,
    };
    let own = host.clone();
    if let Some(request) = &keyed
        && let Some(before) = repeats::answered_before(&own, request).await?
    {
        return replayed(before, &parts.headers).await;
    }
    let call = Call { host, caller, list, path, body, settled: api.settled.clone(), streams, last_event_id };
    // Never closed; if it were, it would bound nothing.
    let _turn = if operation.is_heavy { api.heavy.acquire().await.ok() } else { None };
    let (handled, action, operation) = ((operation.handler)(call, &pairs), operation.action, operation.id);
    let acted = async move {
        let handled = match keyed {
            None => handled.await,
            Some(request) => {
                let (handled, is_kept) = answering_once(request.clone(), handled).await;
                if handled.is_ok() && !is_kept {
                    tracing::error!(request = %id, operation, "an answer was not kept; a repetition would act again");
                }
                // One of the same key was faster, on this host or another. It left the entry in the log.
                if handled.is_err() {
                    match repeats::answered_before(&own, &request).await {
                        Ok(Some(before)) => return Ok((before, true)),
                        Err(problem) if !problem.is_failure() => return Err(problem),
                        Ok(None) | Err(_) => {}
                    }
                }
                handled
            }
        };
        let (answered, deed) = match handled {
            Ok((reply, deed)) => (Ok((reply, false)), deed),
            // Some of it may have been done: what was answered does not tell.
            Err(problem) if problem.is_failure() => {
                let deed = action.map(|action| failed(action, &of_path));
                (Err(problem), deed)
            }
            Err(problem) => (Err(problem), None),
        };
        if let Some(deed) = deed {
            let origin = peer.to_string();
            let actor = Actor::Token { name: token.name, token_id: token.id, origin, request_id: id };
            if let Err(error) = log.record(actor, Deed { tenant: token.tenant, ..deed }).await {
                // What is done can't be undone for the lack of an entry.
                tracing::error!(%error, request = %id, operation, "the audit log lacks an entry");
            }
        }
        answered
    };
    // A client that goes away ends its request here, and what only reads with it.
    let (reply, is_again) =
        if is_get { acted.await? } else { api.acts.finish(acted).await.ok_or_else(Problem::internal)?? };
    if is_again {
        return replayed(reply, &parts.headers).await;
    }
    let next = reply.next().map(|next| format!("{}?{}", parts.uri.path(), pairs.at(next)));
    reply.response(&parts.headers, next, is_get).await
}

/// The response that repeats an earlier answer to a request with these headers.
async fn replayed(reply: Reply, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut response = reply.response(headers, None, false).await?;
    repeats::mark(&mut response);
    Ok(response)
}

/// What the audit log keeps of an act that failed: what its path names, which are ids and names. An artist is named in
/// a field of its own, so that the entry goes with it.
fn failed(action: &str, path: &[(String, String)]) -> Deed {
    let (action, outcome) = (action.to_owned(), ActOutcome::Failed);
    let artist = path.iter().find_map(|(name, text)| (name == "artist").then(|| text.parse().ok())?);
    let others = path.iter().filter(|(name, _)| name != "artist");
    let details = others.map(|(name, text)| (name.clone(), Json::from(text.as_str()))).collect();
    Deed { action, outcome, tenant: None, artist, account: None, details }
}

/// The caller by its token. An address that sent wrong tokens must wait, but for the tokens that this host accepted
/// before: behind a proxy all callers have one address.
async fn recognised(api: &Api, host: &Host, peer: IpAddr, headers: &HeaderMap) -> Result<Caller, Problem> {
    let now = host.clock().now();
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|given| {
        let (scheme, token) = given.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let Some(token) = token else { return Err(Problem::no_token()) };
    if Tokens::id_in(token).is_none_or(|id| !api.limits.knows(id)) {
        api.limits.may_try(peer, now).map_err(Problem::too_many)?;
    }
    let tokens = Tokens::new(host.store().clone(), host.clock().clone());
    let caller = tokens.recognise(token).await?;
    caller.ok_or_else(|| {
        api.limits.failed(peer, now);
        Problem::no_token()
    })
}

/// Refuses an operation that a token does not allow.
fn allowed(operation: &Operation, token: &ApiToken) -> Result<(), Problem> {
    if token.role < operation.role {
        let (needed, given) = (operation.role.as_str(), token.role.as_str());
        return Err(Problem::forbidden(format!("this takes a token of the role {needed}; the given one's is {given}")));
    }
    match (operation.reach, &token.tenant) {
        (Reach::Installation, Some(tenant)) => Err(Problem::forbidden(format!(
            "this is about all tenants, and the given token is for the tenant {tenant} alone"
        ))),
        _ => Ok(()),
    }
}

/// The variable parts of a path, by name; none where they are not text.
async fn path_of(parts: &mut Parts) -> Vec<(String, String)> {
    let Ok(found) = RawPathParams::from_request_parts(parts, &()).await else { return Vec::new() };
    found.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}
