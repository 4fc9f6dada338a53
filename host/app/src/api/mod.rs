//! The HTTP endpoints of a running host: liveness, readiness and metrics. The owner of axum.
//!
//! These endpoints need no authentication and reveal nothing about artists; they listen on loopback by default.

mod bounded;

use std::future::Future;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use crate::pipeline::service::Watch;
use bounded::Bounded;

/// Content type of OpenMetrics text, as Prometheus expects it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers requests until `stop` completes and open requests are answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    watch: Watch,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(Bounded::new(listener), router(Arc::new(watch))).with_graceful_shutdown(stop).await
}

fn router(watch: Arc<Watch>) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(watch)
}

/// Says that the process runs and its event loop answers. It checks nothing else, so that a supervisor does not restart
/// a host because its database is unreachable.
async fn alive() -> &'static str {
    "ok"
}

async fn ready(State(watch): State<Arc<Watch>>) -> Response {
    let readiness = watch.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(watch): State<Arc<Watch>>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS))], watch.metrics().await).into_response()
}

async fn unknown() -> Response {
    refusal(StatusCode::NOT_FOUND, "no such endpoint; the endpoints are /healthz, /readyz and /metrics")
}

async fn wrong_method() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed; use GET or HEAD")
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
