//! The dashboard over HTTP: requests as plain values for it, and its answers as responses. Statuses and headers are
//! decided here.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use uuid::Uuid;

use super::answer::to_csv;
use super::problem::{REQUEST_ID, request_id};
use super::{Api, origin};
use crate::dashboard::{self, Answer, Dashboard, Kind, Refusal};

/// Largest form that is taken, in bytes.
const BODY_BYTES_MAX: usize = 32 * 1024;

/// What a page may load and do: nothing but the files of this host. It has no script and no style in itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers of every answer. With `no-referrer` browsers would not say in `Origin` where a form comes from.
const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Answers a request for a path that is the dashboard's.
pub(super) async fn answer(api: &Arc<Api>, peer: IpAddr, request: Request) -> Response {
    let id = request_id(request.headers());
    let host = api.status.host();
    let peer = origin::of(peer, request.headers(), &host.config().service.trusted_proxies);
    let answer = answered(api, peer, id, request).await;
    let mut response = respond(if host.is_simulated() { dashboard::simulated(answer) } else { answer });
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

async fn answered(api: &Arc<Api>, peer: IpAddr, id: Uuid, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    if !matches!(parts.method, Method::GET | Method::HEAD | Method::POST) {
        let refusal = Refusal::wrong_method();
        return dashboard::refused(&refusal, None);
    }
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return dashboard::refused(&Refusal::too_large(BODY_BYTES_MAX), None);
    };
    let host = api.status.host();
    let text = |name: HeaderName| text_of(&parts.headers, &name);
    let request = dashboard::Request {
        is_post: parts.method == Method::POST,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: body.to_vec(),
        peer,
        id,
        cookie: text(header::COOKIE),
        host: text(header::HOST),
        origin: text(header::ORIGIN),
        fetch_site: text(HeaderName::from_static("sec-fetch-site")),
        is_https: host.config().service.tls_certificate.is_some()
            || text(HeaderName::from_static("x-forwarded-proto")).as_deref() == Some("https"),
        is_partial: text(HeaderName::from_static("hx-request")).is_some(),
    };
    let board = Arc::clone(&api.dashboard);
    let now = host.clock().now();
    let visitor = match board.visitor(&host, &request).await {
        Ok(visitor) => visitor,
        Err(refusal) => return dashboard::refused(&refusal, None),
    };
    if let Some(visitor) = &visitor
        && let Err(seconds) = api.limits.request(visitor.token().id, now)
    {
        return dashboard::refused(&Refusal::too_many(seconds), Some(visitor));
    }
    let is_login = request.is_login();
    // As with the API: an address that sent wrong tokens waits, but for tokens that this host accepted before.
    if is_login
        && request.token_id().is_none_or(|token| !api.limits.knows(token))
        && let Err(seconds) = api.limits.may_try(peer, now)
    {
        return dashboard::refused(&Refusal::too_many(seconds), None);
    }
    let is_post = request.is_post;
    let counting = Arc::clone(api);
    let answering = async move {
        let answer = board.answer(host, request, visitor).await;
        if is_login && matches!(answer, Answer::Refused(Kind::WrongToken, _)) {
            counting.limits.failed(peer, now);
        }
        answer
    };
    // A browser that goes away ends what only reads.
    if !is_post {
        return answering.await;
    }
    let done = api.acts.finish(answering).await;
    done.unwrap_or_else(|| dashboard::refused(&Refusal::internal(), None))
}

/// A header as text; several of one name as HTTP joins them.
fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let separator = if *name == header::COOKIE { "; " } else { ", " };
    let values: Vec<&str> = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(separator))
}

fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Wrong => StatusCode::BAD_REQUEST,
        Kind::NoSession | Kind::WrongToken => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable | Kind::NoReceiver => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn respond(answer: Answer) -> Response {
    const HTML: &str = "text/html; charset=utf-8";
    match answer {
        Answer::Page(page) => with(StatusCode::OK, HTML, "no-store", Body::from(page)),
        Answer::Refused(kind, page) => with(status(kind), HTML, "no-store", Body::from(page)),
        Answer::Asset(asset) => {
            let kept = "public, max-age=31536000, immutable";
            with(StatusCode::OK, asset.content_type, kept, Body::from(asset.body))
        }
        Answer::Numbers(rows, name) => match to_csv(&rows) {
            Ok(table) => {
                let mut response = with(StatusCode::OK, "text/csv; charset=utf-8", "no-store", Body::from(table));
                let name = format!("attachment; filename=\"{name}\"");
                if let Ok(name) = HeaderValue::try_from(name) {
                    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
                }
                response
            }
            Err(_) => respond(dashboard::refused(&Refusal::internal(), None)),
        },
        Answer::Elsewhere { to, cookies } => {
            let mut response = with(StatusCode::SEE_OTHER, HTML, "no-store", Body::empty());
            let headers = response.headers_mut();
            if let Ok(to) = HeaderValue::try_from(to) {
                headers.insert(header::LOCATION, to);
            }
            for mut cookie in cookies.into_iter().filter_map(|cookie| HeaderValue::try_from(cookie).ok()) {
                cookie.set_sensitive(true);
                headers.append(header::SET_COOKIE, cookie);
            }
            response
        }
    }
}

fn with(status: StatusCode, content_type: &'static str, kept: &'static str, body: Body) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    response
}

/// Whether a path is the dashboard's.
pub(super) fn knows(path: &str) -> bool {
    Dashboard::knows(path)
}
