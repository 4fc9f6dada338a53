//! Configuration of the sandbox: the limits of every call, and the size of the pool that calls share.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::SandboxError;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The limits of every call. Checked once, by [`Sandbox::new`](super::Sandbox::new).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxConfig {
    /// Most concurrent calls; further ones wait. The pool's totals are multiples of it. A call mostly waits for the
    /// network, so this is far above the number of cores.
    pub calls_at_once: u32,
    /// Memory of one call in bytes: the sum of its linear memories and tables. First-party connectors stay below 16 MiB
    /// with a full batch; an interpreter (componentize-py) starts at about 50 MiB.
    pub memory_bytes_max: u64,
    /// CPU time of one call in milliseconds, without the time it waits for a core or the network. A batch of 50
    /// recorded documents takes less than 50 ms; interpreters are about fifty times slower.
    pub cpu_ms_max: u64,
    /// Wall-clock time of one call in milliseconds, even if the caller's deadline is later.
    pub deadline_ms: u64,
    /// Interval in milliseconds at which a busy call is interrupted to let others run and to be measured. Ten is short
    /// enough for other calls, and a hundred interruptions a second cost almost nothing.
    pub epoch_tick_ms: u64,
    /// Largest answer of one call in bytes: bodies, states and texts together. The largest recorded document has less
    /// than 100 KiB, and a batch has at most 500 accounts.
    pub output_bytes_max: u64,
    /// Largest log of one call in bytes; the rest is cut off with a note. About two thousand lines.
    pub log_bytes_max: u64,
    /// Size in bytes of all requests of one call that wait or are running: URLs, headers and bodies. The gateway limits
    /// how many are sent at once; this limits how much memory the waiting ones hold.
    pub requests_bytes_max: u64,
    /// Resources, tasks and handles that one call may hold in the host's tables. A running request takes three; a batch
    /// of 500 accounts that sends everything at once stays below half.
    pub resources_max: u32,
    /// Core instances of one component. A Rust component has 3, one of componentize-py about 40.
    pub core_instances_max: u32,
    /// Linear memories of one component; usually 1.
    pub memories_max: u32,
    /// Tables of one component; usually 2.
    pub tables_max: u32,
    /// Elements of one table; an interpreter has about ten thousand functions in it.
    pub table_elements_max: u32,
    /// Size of a component file in bytes. A first-party connector has less than 1 MiB, CPython as a component about 40
    /// MiB.
    pub component_bytes_max: u64,
    /// Folder for compiled components; `None` compiles again at each start.
    pub cache_dir: Option<PathBuf>,
    /// The `backline` executable, which compiles in a child process with limited memory and time. `None` compiles in
    /// this process, without those limits.
    pub compiler: Option<PathBuf>,
    /// Limits of the compiling child.
    pub compile: CompileLimits,
}

/// Limits of the process that compiles one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompileLimits {
    /// Address space in bytes. Compiling takes about thirty times the component's size, and each compiling thread
    /// reserves up to 128 MiB without using it. If that is not enough, it is tried again on one thread.
    pub memory_bytes_max: u64,
    /// CPU time of all its threads, in seconds. A first-party connector takes less than 2.
    pub cpu_s_max: u64,
    /// Wall-clock time, in seconds.
    pub wall_s_max: u64,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            calls_at_once: 64,
            memory_bytes_max: 128 * MIB,
            cpu_ms_max: 10_000,
            deadline_ms: 300_000,
            epoch_tick_ms: 10,
            output_bytes_max: 64 * MIB,
            log_bytes_max: 256 * KIB,
            requests_bytes_max: 16 * MIB,
            resources_max: 32_768,
            core_instances_max: 64,
            memories_max: 4,
            tables_max: 16,
            table_elements_max: 65_536,
            component_bytes_max: 64 * MIB,
            cache_dir: None,
            compiler: None,
            compile: CompileLimits::default(),
        }
    }
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { memory_bytes_max: 2 * 1024 * MIB, cpu_s_max: 120, wall_s_max: 180 }
    }
}

impl SandboxConfig {
    /// Checks the values.
    pub(super) fn check(&self) -> Result<(), SandboxError> {
        let positive: [(&'static str, u64); 17] = [
            ("calls_at_once", self.calls_at_once.into()),
            ("memory_bytes_max", self.memory_bytes_max),
            ("cpu_ms_max", self.cpu_ms_max),
            ("deadline_ms", self.deadline_ms),
            ("epoch_tick_ms", self.epoch_tick_ms),
            ("output_bytes_max", self.output_bytes_max),
            ("log_bytes_max", self.log_bytes_max),
            ("requests_bytes_max", self.requests_bytes_max),
            ("resources_max", self.resources_max.into()),
            ("core_instances_max", self.core_instances_max.into()),
            ("memories_max", self.memories_max.into()),
            ("tables_max", self.tables_max.into()),
            ("table_elements_max", self.table_elements_max.into()),
            ("component_bytes_max", self.component_bytes_max),
            ("compile.memory_bytes_max", self.compile.memory_bytes_max),
            ("compile.cpu_s_max", self.compile.cpu_s_max),
            ("compile.wall_s_max", self.compile.wall_s_max),
        ];
        if let Some((field, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(SandboxError::Config { field, problem: "0 would allow nothing".to_owned() });
        }
        let address_space: u64 = 4 * 1024 * MIB;
        if self.memory_bytes_max > address_space {
            let problem =
                format!("{} is more than {address_space}, all that a 32-bit memory can hold", self.memory_bytes_max);
            return Err(SandboxError::Config { field: "memory_bytes_max", problem });
        }
        // 4 GiB of address space are reserved for each memory, and a process has 128 TiB on the smallest machines.
        let memories = u64::from(self.calls_at_once) * u64::from(self.memories_max);
        if memories > 16_384 {
            let problem = format!(
                "{memories} memories (calls_at_once × memories_max) are more than 16384, which fill the address space"
            );
            return Err(SandboxError::Config { field: "calls_at_once", problem });
        }
        Ok(())
    }
}
