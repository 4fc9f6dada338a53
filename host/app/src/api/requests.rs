//! A request on its way to its operation: recognised, counted, allowed, read, and only then answered.

use std::net::IpAddr;

use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;
use futures::future::BoxFuture;
use serde_json::Value as Json;
use uuid::Uuid;

use super::Api;
use super::answer::Reply;
use super::call::{Call, LAST_EVENT_ID, Received};
use super::cursor::List;
use super::operations::{Answered, Operation, Reach};
use super::origin;
use super::problem::{Problem, REQUEST_ID, request_id};
use super::query::Pairs;
use super::repeats;
use super::subjects;
use crate::pipeline::{ActSubjects, AuditLog, Caller, Deed, Host, Tokens};
use backline_model::audit::{ActOutcome, Actor};
use backline_store::{KeyedRequest, answering_once};

/// Largest body that an operation takes, in bytes.
const BODY_BYTES_MAX: usize = 32 * 1024;

/// Answers a request for an operation.
pub(super) async fn answer(operation: &Operation, api: &Api, peer: IpAddr, request: Request) -> Response {
    let id = request_id(request.headers());
    let host = api.status.host();
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
    if let Some(detail) = caller.refusal(operation.role, operation.reach == Reach::Installation) {
        return Err(Problem::forbidden(detail));
    }
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
    let keyed = repeats::key(&parts.headers, operation)?.map(|key| KeyedRequest {
        token: token.id,
        key,
        asked: repeats::asked(operation.id, parts.uri.path(), &body),
        id: Uuid::now_v7(),
        at: host.clock().now(),
    });
    let own = host.clone();
    if let Some(request) = &keyed
        && let Some(before) = repeats::answered_before(&own, request).await?
    {
        return replayed(before, &parts.headers).await;
    }
    let (subjects, scope) = (ActSubjects::default(), caller.scope());
    if operation.action.is_some() {
        for (name, text) in &path {
            if let Some(subject) = subjects::of_path(name, text) {
                log.about(&scope, &subjects, subject).await;
            }
        }
    }
    let received = Received { list, path, body, last_event_id, subjects: subjects.clone() };
    let call = Call::new(host, caller, api.streams.clone(), received);
    // Never closed; if it were, it would bound nothing.
    let _turn = if operation.is_heavy { api.heavy.acquire().await.ok() } else { None };
    let (handled, action, operation) = ((operation.handler)(call, &pairs), operation.action, operation.id);
    let acted = async move {
        let (answered, deed) = match once(&own, operation, id, keyed, handled).await {
            Ok((reply, deed, is_again)) => (Ok((reply, is_again)), deed),
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
            let deed = Deed { tenant: token.tenant, ..deed };
            if let Err(error) = log.record(&scope, actor, deed, &subjects).await {
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

/// Carries a request out, once where it has a key: one that comes again gets the answer of the first, and true.
async fn once(
    host: &Host,
    operation: &'static str,
    id: Uuid,
    keyed: Option<KeyedRequest>,
    handled: BoxFuture<'static, Answered>,
) -> Result<(Reply, Option<Deed>, bool), Problem> {
    let Some(request) = keyed else {
        return handled.await.map(|(reply, deed)| (reply, deed, false));
    };
    let (handled, is_kept) = answering_once(request.clone(), handled).await;
    match handled {
        Ok((reply, deed)) => {
            if !is_kept {
                tracing::error!(request = %id, operation, "an answer was not kept; a repetition would act again");
            }
            Ok((reply, deed, false))
        }
        // One of the same key may have been faster, on this host or another. It left the entry in the log.
        Err(problem) => match repeats::answered_before(host, &request).await {
            Ok(Some(before)) => Ok((before, None, true)),
            Err(other) if !other.is_failure() => Err(other),
            Ok(None) | Err(_) => Err(problem),
        },
    }
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

/// The variable parts of a path, by name; none where they are not text.
async fn path_of(parts: &mut Parts) -> Vec<(String, String)> {
    let Ok(found) = RawPathParams::from_request_parts(parts, &()).await else { return Vec::new() };
    found.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}
