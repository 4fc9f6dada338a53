//! Errors of the sandbox: when it is set up, when a component is loaded, and when one is called.

use std::path::PathBuf;

use backline_component::InspectError;
use backline_model::ids::Digest;

/// Why the sandbox could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A configured limit is not valid.
    #[error("the sandbox's {field} is wrong: {problem}")]
    Config {
        /// Key of the limit.
        field: &'static str,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// The engine refused its configuration, most often because address space is limited (`ulimit -v`).
    #[error(
        "failed to set up the WebAssembly engine; lower calls_at_once or memories_max if address space is scarce: {0}"
    )]
    Engine(String),
    /// The thread of the ticker could not be started.
    #[error("failed to start the thread that interrupts busy connectors")]
    Ticker(#[source] std::io::Error),
}

/// Why a component was not loaded. Calls of other components are not affected.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is too large.
    #[error("the component has {bytes} bytes, more than component_bytes_max = {limit}")]
    TooLarge {
        /// Size of the file in bytes.
        bytes: u64,
        /// Limit in bytes.
        limit: u64,
    },
    /// The component does not have the expected digest.
    #[error("the component's digest is {actual}, but {expected} was expected")]
    Digest {
        /// Digest that was expected.
        expected: Digest,
        /// Digest of the component.
        actual: Digest,
    },
    /// Not a component, without a valid manifest, or built against another contract version than its manifest declares.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// It imports something that connectors do not get.
    #[error("the component imports '{import}', which connectors may not import; allowed are {allowed}")]
    UnknownImport {
        /// Name of the import.
        import: String,
        /// Everything that may be imported.
        allowed: &'static str,
    },
    /// This host does not support its contract version.
    #[error("the component is built against backline:connector@{actual}; this host supports {known}")]
    UnknownVersion {
        /// Contract version that it exports.
        actual: String,
        /// Contract version that this host supports.
        known: &'static str,
    },
    /// An import or export does not have the contract's type, or the component needs more than the pool has.
    #[error("the component does not fit the contract: {0}")]
    Link(String),
    /// The trial start failed.
    #[error("the component can't be started")]
    Start(#[source] CallError),
    /// The compiler refused it.
    #[error("the component can't be compiled: {0}")]
    Compile(String),
    /// The compiler exceeded one of its limits.
    #[error(
        "compiling the component took more than {what}; raise it under [sandbox.compile] if you trust the component"
    )]
    CompileLimit {
        /// The limit, with its value.
        what: String,
    },
    /// The compiling process could not be run.
    #[error("failed to run the compiler {path}")]
    Compiler {
        /// Path of the executable.
        path: PathBuf,
        /// Cause of the failure.
        #[source]
        source: std::io::Error,
    },
    /// The host failed.
    #[error("failed to load the component: {0}")]
    Internal(String),
}

/// Why a call ended without an answer. Its store is dropped; the connector can be called again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connector trapped: a panic, an access out of bounds, a stack overflow.
    #[error("the connector trapped: {0}")]
    Trapped(String),
    /// The wall-clock deadline passed.
    #[error("the connector did not answer within {deadline_ms} ms")]
    TimedOut {
        /// Time that the call had, in milliseconds.
        deadline_ms: u64,
    },
    /// It used up its CPU time.
    #[error("the connector used more CPU time than cpu_ms_max = {cpu_ms_max} ms")]
    CpuExhausted {
        /// Limit in milliseconds.
        cpu_ms_max: u64,
    },
    /// It exceeded another limit of the call.
    #[error("the connector exceeded its limit on {what}: {limit}")]
    LimitExceeded {
        /// Name of the limit in the configuration.
        what: &'static str,
        /// Value of the limit.
        limit: u64,
    },
    /// Its answer violates the contract.
    #[error("the connector's answer violates the contract: {0}")]
    Contract(String),
    /// The connector is not at fault: no permit became free in time, or the host failed.
    #[error("the sandbox failed: {0}")]
    Internal(String),
}

impl CallError {
    /// Whether one account or document of the call may be the cause, so that a call without it may work for the others.
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
