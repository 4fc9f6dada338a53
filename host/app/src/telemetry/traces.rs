//! Exports spans to the operator's collector: OTLP over HTTP, in batches, from a thread of its own.
//!
//! A collector that is slow or unreachable costs spans and nothing else: the queue is bounded, spans that do not fit
//! are dropped, and every attempt has a timeout. Only the host's spans are exported, with their ids and numbers; log
//! messages inside them are not.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use backline_gateway::{ExportClient, GatewayError};

/// Timeout of the collector for one batch of spans.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The path that OTLP defines for traces.
const PATH: &str = "v1/traces";

/// Why traces can't be exported.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The endpoint is not valid.
    #[error("telemetry.otlp_endpoint '{endpoint}' is wrong ({problem}); write one such as http://localhost:4318")]
    Endpoint {
        /// Endpoint as it is configured.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The HTTP client can't be built.
    #[error(transparent)]
    Client(#[from] GatewayError),
}

/// The exporter of spans.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Prepares to export spans to an endpoint such as `http://localhost:4318`. Requests run on `runtime`.
    ///
    /// # Errors
    /// When the endpoint is not a URL. It is not checked whether a collector answers there.
    pub fn start(endpoint: &str, service_name: &str, runtime: Handle) -> Result<Self, TracesError> {
        let wrong = |problem: String| TracesError::Endpoint { endpoint: endpoint.to_owned(), problem };
        let mut url = url::Url::parse(endpoint).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong("it is no http:// or https:// URL".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let endpoint = format!("{}://[secret]@…", url.scheme());
            return Err(TracesError::Endpoint { endpoint, problem: "it holds a user or password".to_owned() });
        }
        let path = format!("{}/{PATH}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let client = Sender { client: ExportClient::new(EXPORT_TIMEOUT)?, runtime, fails: Arc::default() };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(url.as_str())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let resource = Resource::builder()
            .with_service_name(service_name.to_owned())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Self { provider })
    }

    /// The layer that records the host's spans.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let own_spans = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("backline"));
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("backline"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(own_spans.and(LevelFilter::INFO))
    }

    /// Exports the remaining spans, for at most `within`; the rest are lost.
    pub async fn stop(self, within: Duration) {
        // The provider waits for its thread, and must not block a thread of the runtime.
        let ended = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(within));
        let _ = tokio::time::timeout(within, ended).await;
    }
}

/// Carries requests from the exporter's thread to the runtime.
#[derive(Debug)]
struct Sender {
    client: ExportClient,
    runtime: Handle,
    fails: Arc<AtomicBool>,
}

impl Sender {
    /// Logs once that the collector became unreachable or came back, not at every attempt.
    fn note(fails: &AtomicBool, problem: Option<&str>) {
        let failed_before = fails.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !failed_before => {
                tracing::warn!(problem, "traces can't be sent to telemetry.otlp_endpoint; they are dropped");
            }
            None if failed_before => tracing::info!("traces are sent again"),
            _ => {}
        }
    }
}

impl HttpClient for Sender {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let (client, fails) = (self.client.clone(), Arc::clone(&self.fails));
        let sent = self.runtime.spawn(async move {
            let (parts, body) = request.into_parts();
            let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let answer = client.post(&parts.uri.to_string(), headers, body.to_vec()).await;
            let problem = match &answer {
                Ok((status, _)) if (200..300).contains(status) => None,
                Ok((status, _)) => Some(format!("it answered with status {status}")),
                Err(problem) => Some(problem.clone()),
            };
            Self::note(&fails, problem.as_deref());
            answer
        });
        Box::pin(async move {
            let (status, body) = sent.await??;
            Ok(Response::builder().status(status).body(Bytes::from(body))?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrong_endpoint_is_refused_without_what_may_be_secret() {
        for endpoint in ["localhost", "ftp://localhost", "http://user:canary@localhost:4318"] {
            let Err(error) = Traces::start(endpoint, "backline", Handle::current()) else { panic!("{endpoint}") };
            let text = error.to_string();
            assert!(text.contains("telemetry.otlp_endpoint") && !text.contains("canary"), "{text}");
        }
    }
}
