//! What can go wrong in the sandbox: when it is set up, when a component is loaded, and when one is called.

use std::path::PathBuf;

use backline_component::InspectError;
use backline_model::ids::Digest;

/// The sandbox could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A configured bound makes no sense.
    #[error("the sandbox's {field} is wrong: {problem}")]
    Config {
        /// Which one.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The engine refused its configuration; most often the address space is limited (`ulimit -v`).
    #[error(
        "failed to set up the WebAssembly engine; lower calls_at_once or memories_max if address space is scarce: {0}"
    )]
    Engine(String),
    /// No thread for the ticker.
    #[error("failed to start the thread that interrupts busy connectors")]
    Ticker(#[source] std::io::Error),
}

/// A component was not loaded. Nothing that runs is affected.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Over the size cap.
    #[error("the component has {bytes} bytes, more than component_bytes_max = {limit}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The cap.
        limit: u64,
    },
    /// Not the component that was asked for.
    #[error("the component's digest is {actual}, but {expected} was expected")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Not a component, one without a manifest that can be read, or one whose manifest declares another contract version.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// It asks for something connectors are not given.
    #[error("the component imports '{import}', which is not given to connectors; they may import {allowed}")]
    UnknownImport {
        /// The import's name.
        import: String,
        /// All that may be imported.
        allowed: &'static str,
    },
    /// It speaks a contract version this host does not know.
    #[error("the component is built against backline:connector@{actual}; this host knows {known}")]
    UnknownVersion {
        /// What it exports.
        actual: String,
        /// What this host links.
        known: &'static str,
    },
    /// An import or export has another type than the contract, or the component needs more than the pool gives.
    #[error("the component does not fit the contract: {0}")]
    Link(String),
    /// It failed while it was instantiated for trial.
    #[error("the component can't be started")]
    Start(#[source] CallError),
    /// The compiler refused it.
    #[error("the component can't be compiled: {0}")]
    Compile(String),
    /// The compiler ran into one of its limits.
    #[error(
        "compiling the component took more than {what}; raise it under [sandbox.compile] if the component is to be trusted"
    )]
    CompileLimit {
        /// The limit, with its value.
        what: String,
    },
    /// The compiling process could not be run.
    #[error("failed to run the compiler {path}")]
    Compiler {
        /// The executable.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A fault of the host's own.
    #[error("failed to load the component: {0}")]
    Internal(String),
}

/// A call ended without an answer. Its store is gone; the connector can be called again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connector trapped: a panic, an access out of bounds, a stack overflow.
    #[error("the connector trapped: {0}")]
    Trapped(String),
    /// The wall-clock deadline passed.
    #[error("the connector did not answer within {deadline_ms} ms")]
    TimedOut {
        /// What it had.
        deadline_ms: u64,
    },
    /// It kept a core busy for too long.
    #[error("the connector was busy for more than cpu_ms_max = {cpu_ms_max} ms")]
    CpuExhausted {
        /// The bound.
        cpu_ms_max: u64,
    },
    /// Another bound of the call was passed.
    #[error("the connector passed its bound on {what}: {limit}")]
    LimitExceeded {
        /// Which bound, by its name in the configuration.
        what: &'static str,
        /// Its value.
        limit: u64,
    },
    /// It answered, but not as the contract demands.
    #[error("the connector's answer breaks the contract: {0}")]
    Contract(String),
    /// The connector is not at fault: no slot became free in time, or the host failed.
    #[error("the sandbox failed: {0}")]
    Internal(String),
}

impl CallError {
    /// Whether one account or document of the call may be to blame, so that the others may do well in a call without it.
    #[must_use]
    pub fn may_be_an_items_fault(&self) -> bool {
        match self {
            Self::Trapped(_)
            | Self::TimedOut { .. }
            | Self::CpuExhausted { .. }
            | Self::LimitExceeded { .. }
            | Self::Contract(_) => true,
            Self::Internal(_) => false,
        }
    }
}
