//! What the service counts, measures and traces, for whoever watches it. The owner of prometheus_client and of OpenTelemetry.
//!
//! Every label has a bounded set of values: platforms are those whose connector was loaded, at most [`PLATFORMS_MAX`] of them, and everything
//! else is a word of the host's own. No figure and no span names an artist, an account of a platform or a secret.

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
    /// It was given back, to be tried again.
    GivenBack,
    /// Somebody else had taken it over.
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

/// What a batch's calls into its connector took: the sandbox's bounds are held against the same numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectorUse {
    /// Calls by function (`fetch`, `normalize`) and by how they ended.
    pub calls: BTreeMap<(&'static str, &'static str), u64>,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// Wall-clock time, in milliseconds, without waiting for a slot.
    pub wall_ms: u64,
    /// The most memory and tables that one call held, in bytes.
    pub memory_bytes_peak: u64,
    /// What was logged, in bytes.
    pub log_bytes: u64,
    /// What was answered, in bytes.
    pub output_bytes: u64,
    /// The largest answer of one call, in bytes.
    pub output_bytes_peak: u64,
    /// Bodies received through the gateway, in bytes after decompression.
    pub received_bytes: u64,
}

/// What the database says of all hosts together, read when somebody asks for the figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Batches that are not finished, by state.
    pub open_batches: Vec<(String, u64)>,
    /// Hosts that were heard of lately.
    pub hosts: u64,
    /// Deliveries that wait, by kind of webhook, each with the age of the oldest in seconds.
    pub deliveries: Vec<(&'static str, u64, u64)>,
}
