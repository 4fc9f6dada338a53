//! What a running host answers over HTTP: whether it is alive, whether it can work, and its figures. The owner of axum.
//!
//! These three need no authentication and tell nothing about artists; they listen on loopback unless the operator says otherwise.

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

/// What Prometheus expects of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers requests until `stop` is done and the last answer is given.
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

/// The process runs and its event loop answers; nothing else is looked at, so that nobody restarts a host because its database is away.
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
    refusal(StatusCode::NOT_FOUND, "there is nothing here; there are /healthz, /readyz and /metrics")
}

async fn wrong_method() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here")
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
