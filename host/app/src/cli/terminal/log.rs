//! The log on standard error, and the export of traces.
//!
//! What connectors, platforms and other programs wrote passes here too, so each line is made harmless as it is written.

use std::io::{self, Write};
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::exit::Failure;
use super::print;
use super::progress::LogWriter;
use crate::config::{Config, LogConfig, LogFormat};
use crate::telemetry::Traces;
use backline_model::text::{log_line, printable_json};

/// How long sending the last spans may take when the process ends.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// The log of this process.
pub(in crate::cli) struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    traces: Option<Traces>,
}

impl Log {
    /// Starts the log and, if configured, the export of traces. Call it once, inside the runtime.
    pub(in crate::cli) fn start(config: &Config) -> Result<Self, Failure> {
        let (filter, handle) = reload::Layer::new(filter(&config.log)?);
        let coloured = print::has_colours(&io::stderr());
        let lines = tracing_subscriber::fmt::layer().with_ansi(coloured);
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log.format {
            LogFormat::Human => {
                let writer = move || Lines { harmless: if coloured { in_colour } else { plain } };
                lines.with_writer(writer).with_target(false).with_filter(filter).boxed()
            }
            LogFormat::Json => {
                lines.with_writer(|| Lines { harmless: printable_json }).json().with_filter(filter).boxed()
            }
        };
        let mut layers = vec![lines];
        let telemetry = &config.telemetry;
        let traces = match telemetry.otlp_endpoint.as_deref() {
            Some(endpoint) => {
                let traces = Traces::start(endpoint, &telemetry.service_name, tokio::runtime::Handle::current())?;
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
    pub(in crate::cli) fn refilter(&self, config: &LogConfig) -> Result<(), Failure> {
        self.filter
            .reload(filter(config)?)
            .map_err(|error| Failure::failed(format!("failed to change the log's filter: {error}")))
    }

    /// Sends the remaining spans, for no longer than [`LAST_SPANS`].
    pub(in crate::cli) async fn end(self) {
        if let Some(traces) = self.traces {
            traces.stop(LAST_SPANS).await;
        }
    }
}

/// Writes each line of the log to standard error once nothing in it steers. An event comes as one write.
struct Lines {
    harmless: fn(&str) -> String,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Bars make room for it.
        LogWriter.write_all((self.harmless)(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        LogWriter.flush()
    }
}

fn plain(line: &str) -> String {
    log_line(line, false)
}

fn in_colour(line: &str) -> String {
    log_line(line, true)
}

/// The filter that is configured.
pub(in crate::cli) fn filter(config: &LogConfig) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(&config.filter).map_err(|error| {
        let given = &config.filter;
        Failure::usage(format!(
            "log.filter '{given}' is wrong ({error}); write one such as info or warn,backline=debug"
        ))
    })
}
