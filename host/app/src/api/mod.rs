//! HTTP of a running host: liveness, readiness and metrics, the API under `/v1`, and the dashboard. The owner of axum.
//!
//! `operations` is the table of everything the API does; the routes and `/openapi.json` are made of it. The other
//! endpoints need no token and reveal nothing about artists. By default everything listens on loopback.

mod acting;
mod answer;
mod bounded;
mod call;
mod cursor;
mod follow;
mod handlers;
mod limits;
mod openapi;
mod operation;
mod operations;
mod origin;
mod page;
mod pages;
mod problem;
mod query;
mod repeats;
mod requests;
mod schema;
mod settled;
mod shapes;
mod subjects;
mod tls;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::dashboard::Dashboard;
use crate::pipeline::service::ServiceStatus;
use acting::Acts;
use bounded::Bounded;
use follow::Streams;
use limits::Limits;
use problem::Problem;
use settled::Settled;

pub use tls::{Tls, TlsError, to_own_host};

/// Content type of OpenMetrics text, as Prometheus expects it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where the API is.
const API: &str = "/v1/";

/// The header of every answer of a host whose artists and numbers are simulated; its value is `true`.
const SIMULATED: &str = "backline-simulated";

/// Most reads of much that a host does at once: callers that ask for them leave the database to others.
const HEAVY_MAX: usize = 2;

/// What every request is answered with.
struct Api {
    status: ServiceStatus,
    limits: Limits,
    acts: Acts,
    streams: Streams,
    heavy: Semaphore,
    document: String,
    page: String,
    dashboard: Arc<Dashboard>,
}

/// The address that a connection comes from.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self(stream.remote_addr().ip())
    }
}

/// Answers requests until `stop` completes and open requests are answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    status: ServiceStatus,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    serve_over(listener, None, status, stop).await
}

/// The same over TLS, if there is a certificate. Its files are read again when they change.
///
/// # Errors
/// When the listener fails.
pub async fn serve_over(
    listener: TcpListener,
    tls: Option<Tls>,
    status: ServiceStatus,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let service = router(status).into_make_service_with_connect_info::<Peer>();
    let bounded = Bounded::new(listener).with_tls(tls.clone());
    let followed = async {
        match &tls {
            Some(tls) => tls.follow().await,
            None => std::future::pending().await,
        }
    };
    let serving = axum::serve(bounded, service).with_graceful_shutdown(stop);
    tokio::select! {
        served = serving.into_future() => served,
        () = followed => Ok(()),
    }
}

/// The document that describes the API, as OpenAPI 3.1.
#[must_use]
pub fn document() -> serde_json::Value {
    openapi::document(&operations::all())
}

fn router(status: ServiceStatus) -> Router {
    let operations = operations::all();
    let document = openapi::document(&operations);
    let (page, document) = (page::of(&document), document.to_string());
    let mut router = Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(described))
        .route("/openapi", get(to_read))
        .route(page::STYLE_PATH, get(style));
    for operation in operations {
        let operation = Arc::new(operation);
        let method = if operation.method == Method::GET { MethodFilter::GET } else { MethodFilter::POST };
        let path = operation.path;
        let answered = move |State(api): State<Arc<Api>>, ConnectInfo(peer): ConnectInfo<Peer>, request: Request| {
            let operation = Arc::clone(&operation);
            async move { requests::answer(&operation, &api, peer.0, request).await }
        };
        router = router.route(path, on(method, answered));
    }
    let is_simulated = status.host().is_simulated();
    let streams = Streams::new(Settled::default(), status.stopping());
    let (limits, acts, heavy) = (Limits::new(), Acts::default(), Semaphore::new(HEAVY_MAX));
    let dashboard = Arc::new(Dashboard::new());
    let api = Arc::new(Api { status, limits, acts, streams, heavy, document, page, dashboard });
    let router = router.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(api);
    if is_simulated { router.layer(map_response(marked)) } else { router }
}

/// An answer that says that all it tells is simulated.
async fn marked(mut response: Response) -> Response {
    response.headers_mut().insert(SIMULATED, HeaderValue::from_static("true"));
    response
}

/// Says that the process runs and its event loop answers. It checks nothing else, so that a supervisor does not restart
/// a host because its database is unreachable.
async fn alive() -> &'static str {
    "ok"
}

async fn ready(State(api): State<Arc<Api>>) -> Response {
    let readiness = api.status.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(api): State<Arc<Api>>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS))], api.status.metrics().await).into_response()
}

async fn described(State(api): State<Arc<Api>>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], api.document.clone()).into_response()
}

async fn to_read(State(api): State<Arc<Api>>) -> Response {
    page::response(api.page.clone(), "text/html; charset=utf-8")
}

async fn style() -> Response {
    page::response(page::STYLE.to_owned(), "text/css; charset=utf-8")
}

/// A path that no route has: a page of the dashboard, which knows its own, or nothing.
async fn unknown(State(api): State<Arc<Api>>, ConnectInfo(peer): ConnectInfo<Peer>, request: Request) -> Response {
    let path = request.uri().path();
    if path.starts_with(API) {
        return Problem::no_endpoint().response(problem::request_id(request.headers()));
    }
    if pages::knows(path) {
        return pages::answer(&api, peer.0, request).await;
    }
    let text = "no such endpoint; the endpoints are /, /v1, /openapi, /openapi.json, /healthz, /readyz and /metrics";
    refusal(StatusCode::NOT_FOUND, text)
}

async fn wrong_method(uri: Uri, headers: HeaderMap) -> Response {
    if uri.path().starts_with(API) {
        return Problem::wrong_method().response(problem::request_id(&headers));
    }
    refusal(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed; use GET or HEAD")
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
