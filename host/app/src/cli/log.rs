//! The log on standard error, and the export of traces.

use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::exit::Failure;
use super::print;
use super::progress::LogWriter;
use crate::config::{Config, LogConfig, LogFormat};
use crate::telemetry::Traces;

/// How long sending the last spans may take when the process ends.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// The log of this process.
pub(super) struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    traces: Option<Traces>,
}

impl Log {
    /// Starts the log and, if configured, the export of traces. Call it once, inside the runtime.
    pub(super) fn start(config: &Config) -> Result<Self, Failure> {
        let (filter, handle) = reload::Layer::new(filter(&config.log)?);
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(|| LogWriter)
            .with_ansi(print::has_colours(&std::io::stderr()));
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log.format {
            LogFormat::Human => lines.with_target(false).with_filter(filter).boxed(),
            LogFormat::Json => lines.json().with_filter(filter).boxed(),
        };
        let mut layers = vec![lines];
        let telemetry = &config.telemetry;
        let traces = match telemetry.otlp_endpoint.as_deref() {
            Some(endpoint) => {
                let traces = Traces::start(endpoint, &telemetry.service_name, tokio::runtime::Handle::current())
                    .map_err(|error| Failure::refused(&error))?;
                layers.push(traces.layer().boxed());
                Some(traces)
            }
            None => None,
        };
        tracing_subscriber::registry()
            .with(layers)
            .try_init()
            .map_err(|error| Failure::failed(format!("failed to start the log: {error}")))?;
        Ok(Self { filter: handle, traces })
    }

    /// Changes the filter of the log.
    pub(super) fn refilter(&self, config: &LogConfig) -> Result<(), Failure> {
        self.filter
            .reload(filter(config)?)
            .map_err(|error| Failure::failed(format!("failed to change the log's filter: {error}")))
    }

    /// Sends the remaining spans, for no longer than [`LAST_SPANS`].
    pub(super) async fn end(self) {
        if let Some(traces) = self.traces {
            traces.stop(LAST_SPANS).await;
        }
    }
}

/// The filter that is configured.
pub(super) fn filter(config: &LogConfig) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(&config.filter).map_err(|error| {
        let given = &config.filter;
        Failure::usage(format!(
            "log.filter '{given}' is wrong ({error}); write one such as info or warn,backline=debug"
        ))
    })
}
