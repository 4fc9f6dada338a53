//! Metrics and traces of the service. The owner of prometheus_client and of OpenTelemetry.
//!
//! Every label has a bounded set of values: platforms are those whose connector was loaded, at most [`PLATFORMS_MAX`]
//! of them, and all other values are words of the host. No metric and no span names an artist, an account or a secret.

mod figures;
mod health;
mod labels;
pub mod memory;
mod traces;

pub use figures::Telemetry;
pub use labels::PLATFORMS_MAX;
pub use traces::{Traces, TracesError};

use std::collections::BTreeMap;

/// How a batch ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchEnd {
    /// Its results were stored.
    Stored,
    /// It was handed back, to be retried.
    GivenBack,
    /// Its lease had expired and another host had taken it over.
    LeaseLost,
}

impl BatchEnd {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::GivenBack => "given_back",
            Self::LeaseLost => "lease_lost",
        }
    }
}

/// What a batch's calls into its connector used. The sandbox enforces its bounds on the same numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectorUse {
    /// Calls by function (`fetch`, `normalize`) and result.
    pub calls: BTreeMap<(&'static str, &'static str), u64>,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// Wall-clock time, in milliseconds, without the wait for a permit.
    pub wall_ms: u64,
    /// Most memory, tables included, that one call held, in bytes.
    pub memory_bytes_peak: u64,
    /// Log output, in bytes.
    pub log_bytes: u64,
    /// Results of all calls, in bytes.
    pub output_bytes: u64,
    /// Largest result of one call, in bytes.
    pub output_bytes_peak: u64,
    /// Bodies received through the gateway, in bytes after decompression.
    pub received_bytes: u64,
}

/// Figures of all hosts together, read from the database when `/metrics` is requested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Batches that are not finished, by state.
    pub open_batches: Vec<(String, u64)>,
    /// Hosts with a recent heartbeat.
    pub hosts: u64,
    /// Kind of webhook, number of waiting deliveries, and age of the oldest event among them in seconds.
    pub deliveries: Vec<(&'static str, u64, u64)>,
}
