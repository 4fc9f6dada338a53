//! What a store holds for one call: the way out, the log, and the meters of every bound.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

use super::config::SandboxConfig;
use super::wasi;
use backline_gateway::Session;
use backline_model::text::printable;

/// What every log line costs besides its text, so that empty lines are bounded too.
const LOG_LINE_OVERHEAD_BYTES: u64 = 16;

/// How much a table's element takes in the host: a pointer.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// How loud a line of a connector's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For the author.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

/// One line a connector wrote to its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How loud.
    pub level: LogLevel,
    /// Without control characters, so that it can't disturb a terminal.
    pub message: String,
}

/// The data of one store.
pub(super) struct CallState {
    /// The way out.
    pub(super) session: Session,
    /// Shared with the caller, who reads it when the store is gone.
    pub(super) meters: Arc<Meters>,
    /// Bounds memory.
    pub(super) memory: MemoryLimiter,
    /// What its requests may hold at once, in bytes.
    pub(super) requests_bytes_max: u64,
    /// Only for components that import WASI; building it for all would double what a call costs.
    wasi: Option<Box<(WasiCtx, ResourceTable)>>,
}

impl CallState {
    pub(super) fn new(session: Session, meters: Arc<Meters>, config: &SandboxConfig, with_wasi: bool) -> Self {
        let memory = MemoryLimiter {
            meters: Arc::clone(&meters),
            limit: config.memory_bytes_max,
            used: 0,
            pending: 0,
            instances_max: config.core_instances_max,
            memories_max: config.memories_max,
            tables_max: config.tables_max,
        };
        let wasi = with_wasi.then(|| Box::new(wasi::nothing_granted(&meters, config.resources_max)));
        Self { session, meters, memory, requests_bytes_max: config.requests_bytes_max, wasi }
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (ctx, table) =
            &mut **self.wasi.as_mut().expect("only components linked with WASI can call it, and they get it");
        WasiCtxView { ctx, table }
    }
}

/// What a call used; outlives its store.
#[derive(Debug)]
pub(super) struct Meters {
    /// Processor time.
    pub(super) cpu: CpuMeter,
    /// Its log.
    pub(super) log: Log,
    /// Highest sum of its memories and tables, in bytes.
    pub(super) memory_bytes_peak: AtomicU64,
    /// Whether more memory was refused.
    pub(super) memory_refused: AtomicBool,
    /// Bytes of its requests that wait or are under way.
    pub(super) requests_bytes: AtomicU64,
}

impl Meters {
    pub(super) fn new(config: &SandboxConfig) -> Arc<Self> {
        Arc::new(Self {
            cpu: CpuMeter::new(),
            log: Log::new(config.log_bytes_max),
            memory_bytes_peak: AtomicU64::new(0),
            memory_refused: AtomicBool::new(false),
            requests_bytes: AtomicU64::new(0),
        })
    }

    /// Takes a share of the bytes that requests may hold; none when they don't fit.
    pub(super) fn hold_request(self: &Arc<Self>, bytes: u64, limit: u64) -> Option<HeldRequest> {
        let before = self.requests_bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = HeldRequest { meters: Arc::clone(self), bytes };
        (before.saturating_add(bytes) <= limit).then_some(held)
    }
}

/// A request's share of the bytes requests may hold; given back when it is answered, or dropped before.
pub(super) struct HeldRequest {
    meters: Arc<Meters>,
    bytes: u64,
}

impl Drop for HeldRequest {
    fn drop(&mut self) {
        self.meters.requests_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Measures for how long a call keeps a core busy: the processor time its thread uses inside polls of its future, where alone
/// its code runs. Waiting for the network, for its turn, or for a core that another process has, is not counted.
#[derive(Debug)]
pub(super) struct CpuMeter {
    busy_ns: AtomicU64,
    /// The thread's processor time when the poll under way began; [`CpuMeter::IDLE`] outside of polls.
    entered_ns: AtomicU64,
}

impl CpuMeter {
    const IDLE: u64 = u64::MAX;

    fn new() -> Self {
        Self { busy_ns: AtomicU64::new(0), entered_ns: AtomicU64::new(Self::IDLE) }
    }

    /// Runs one poll and counts its time. A poll begins and ends on one thread, so that the thread's clock can tell.
    pub(super) fn measure<T>(&self, poll: impl FnOnce() -> T) -> T {
        let entered = thread_cpu_ns();
        self.entered_ns.store(entered, Ordering::Relaxed);
        let result = poll();
        self.entered_ns.store(Self::IDLE, Ordering::Relaxed);
        self.busy_ns.fetch_add(thread_cpu_ns().saturating_sub(entered), Ordering::Relaxed);
        result
    }

    /// Milliseconds so far, the poll under way included. To be called on the thread of that poll.
    pub(super) fn busy_ms(&self) -> u64 {
        let entered = self.entered_ns.load(Ordering::Relaxed);
        let under_way = if entered == Self::IDLE { 0 } else { thread_cpu_ns().saturating_sub(entered) };
        (self.busy_ns.load(Ordering::Relaxed) + under_way) / 1_000_000
    }
}

/// Processor time this thread has used, in nanoseconds.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A bounded log. What does not fit is cut off with a note; a call never fails for what it logs.
#[derive(Debug)]
pub(super) struct Log {
    limit: u64,
    inner: Mutex<LogInner>,
}

#[derive(Debug, Default)]
struct LogInner {
    lines: Vec<LogLine>,
    bytes: u64,
    full: bool,
}

impl Log {
    fn new(limit: u64) -> Self {
        Self { limit, inner: Mutex::default() }
    }

    /// Appends a line, or as much of it as fits.
    pub(super) fn write(&self, level: LogLevel, message: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.full {
            return;
        }
        let room = self.limit.saturating_sub(inner.bytes + LOG_LINE_OVERHEAD_BYTES);
        let fits = usize::try_from(room).unwrap_or(usize::MAX);
        let kept = if message.len() <= fits { message } else { &message[..message.floor_char_boundary(fits)] };
        if !kept.is_empty() || message.is_empty() && room > 0 {
            inner.lines.push(LogLine { level, message: printable(kept) });
            inner.bytes += kept.len() as u64 + LOG_LINE_OVERHEAD_BYTES;
        }
        if kept.len() < message.len() || room == 0 {
            inner.full = true;
            let message = format!("the log was cut off here: it has more than log_bytes_max = {} bytes", self.limit);
            inner.lines.push(LogLine { level: LogLevel::Warn, message });
        }
    }

    /// Whether nothing more is kept.
    pub(super) fn is_full(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).full
    }

    /// Takes all lines.
    pub(super) fn take(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner).lines)
    }
}

/// Bounds the sum of all linear memories and tables of one store. (wasmtime's own `StoreLimits` bounds each one by itself, so
/// that a component with many memories could take many times the limit.)
pub(super) struct MemoryLimiter {
    meters: Arc<Meters>,
    limit: u64,
    used: u64,
    /// What the growth in progress adds; taken back when it fails after it was allowed.
    pending: u64,
    instances_max: u32,
    memories_max: u32,
    tables_max: u32,
}

impl MemoryLimiter {
    fn grow(&mut self, more: u64) -> bool {
        let wanted = self.used.saturating_add(more);
        if wanted > self.limit {
            self.meters.memory_refused.store(true, Ordering::Relaxed);
            self.pending = 0;
            return false;
        }
        self.used = wanted;
        self.pending = more;
        self.meters.memory_bytes_peak.fetch_max(wanted, Ordering::Relaxed);
        true
    }

    fn take_back(&mut self) {
        self.used -= self.pending;
        self.pending = 0;
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Over the memory's own maximum the growth fails anyway, which is not for this limit to report.
        if maximum.is_some_and(|maximum| desired > maximum) && desired as u64 <= self.limit {
            self.pending = 0;
            return Ok(false);
        }
        Ok(self.grow((desired - current) as u64))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.pending = 0;
            return Ok(false);
        }
        Ok(self.grow((desired - current) as u64 * TABLE_ELEMENT_BYTES))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        self.instances_max as usize
    }

    fn memories(&self) -> usize {
        self.memories_max as usize
    }

    fn tables(&self) -> usize {
        self.tables_max as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(limit: u64) -> MemoryLimiter {
        let config = SandboxConfig { memory_bytes_max: limit, ..SandboxConfig::default() };
        CallState::new(Session::without_capabilities(), Meters::new(&config), &config, false).memory
    }

    #[test]
    fn memories_and_tables_share_one_bound() {
        let mut memory = limiter(1_000);
        assert!(memory.memory_growing(0, 400, None).unwrap());
        assert!(memory.memory_growing(0, 400, None).unwrap(), "a second memory");
        assert!(memory.table_growing(0, 25, None).unwrap(), "25 elements of 8 bytes");
        assert!(!memory.meters.memory_refused.load(Ordering::Relaxed));
        assert!(!memory.table_growing(25, 26, None).unwrap());
        assert!(!memory.memory_growing(400, 401, None).unwrap());
        assert!(memory.meters.memory_refused.load(Ordering::Relaxed));
        assert_eq!(memory.meters.memory_bytes_peak.load(Ordering::Relaxed), 1_000);
    }

    #[test]
    fn growth_that_fails_after_all_is_given_back() {
        let mut memory = limiter(1_000);
        assert!(memory.memory_growing(0, 900, None).unwrap());
        memory.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        assert!(memory.memory_growing(0, 900, None).unwrap());
        // A growth over the memory's own maximum is not counted, and what failed is not given back twice.
        assert!(!memory.memory_growing(900, 950, Some(920)).unwrap());
        memory.memory_grow_failed(wasmtime::Error::msg("over its maximum")).unwrap();
        assert!(!memory.memory_growing(0, 101, None).unwrap());
        assert!(memory.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn a_log_keeps_what_fits_and_says_that_it_was_cut_off_once() {
        let log = Log::new(50);
        log.write(LogLevel::Info, "a\u{1b}[31mé");
        log.write(LogLevel::Error, &"ü".repeat(100));
        log.write(LogLevel::Error, "more");
        let lines = log.take();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].message, "a\u{fffd}[31mé");
        assert!(lines[1].message.chars().all(|c| c == 'ü'), "cut between characters");
        assert!(lines[2].message.contains("log_bytes_max = 50"));
    }

    #[test]
    fn only_the_time_inside_a_poll_counts() {
        let meter = CpuMeter::new();
        assert_eq!(meter.busy_ms(), 0);
        meter.measure(|| {
            while meter.busy_ms() < 3 {
                std::hint::black_box(());
            }
        });
        let after = meter.busy_ms();
        assert!(after >= 3);
        let began = thread_cpu_ns();
        while thread_cpu_ns() - began < 3_000_000 {
            std::hint::black_box(());
        }
        assert_eq!(meter.busy_ms(), after);
    }
}
