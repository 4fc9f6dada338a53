//! Metrics and traces of the service. Owns prometheus_client and OpenTelemetry.
//!
//! Every label has a bounded set of values: platforms are those whose connector was loaded, at most [`PLATFORMS_MAX`]
//! of them, and the rest are fixed words. No metric and no span names an artist, a platform's account or a secret.

mod families;
mod figures;
mod health;
mod labels;
pub mod memory;
mod traces;
mod writes;

pub use figures::Telemetry;
pub use labels::PLATFORMS_MAX;
pub use traces::{Traces, TracesError};
pub use writes::WriteFigures;

use std::collections::BTreeMap;

/// How a batch ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchEnd {
    /// Its results were stored.
    Stored,
    /// It was given back, to be retried.
    GivenBack,
    /// Another host had taken it over.
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

/// Resources that a batch's calls into its connector used; the sandbox's limits apply to the same values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectorUse {
    /// Calls by function (`fetch`, `normalize`) and result.
    pub calls: BTreeMap<(&'static str, &'static str), u64>,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// Wall-clock time, in milliseconds, without the wait for a permit.
    pub wall_ms: u64,
    /// Peak of memory and tables of one call, in bytes.
    pub memory_bytes_peak: u64,
    /// Size of the log, in bytes.
    pub log_bytes: u64,
    /// Size of the answers, in bytes.
    pub output_bytes: u64,
    /// Largest result of one call, in bytes.
    pub output_bytes_peak: u64,
    /// Bodies received through the gateway, in bytes after decompression.
    pub received_bytes: u64,
}

/// What the database says of all hosts together, read when metrics are rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Batches that are not finished, by state.
    pub open_batches: Vec<(String, u64)>,
    /// Hosts that were seen lately.
    pub hosts: u64,
    /// Pending deliveries by kind of webhook: kind, number, and age of the oldest in seconds, where that is known.
    pub deliveries: Vec<(&'static str, u64, Option<u64>)>,
}
