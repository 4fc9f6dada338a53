//! The engine with its pool, and the thread that ticks its epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::config::SandboxConfig;
use super::error::SandboxError;
use backline_model::weakened::{Bound, CAN_SWITCH, off};

/// Address space of one linear memory: everything that 32 bits can address, so that compiled code needs no bounds
/// checks.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;

/// Stacks that a call may need at once. One runs the export; each component inside a composed one that waits holds
/// another.
const STACKS_PER_CALL: u32 = 4;

/// Bytes of each memory and table in the pool that stay resident between calls and are zeroed by hand. This is cheaper
/// than returning the pages and faulting them in again at every call. A first-party connector touches about this much.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;

/// Stack of a call where that bound is switched off, in bytes.
const WEAKENED_STACK_BYTES: usize = 16 << 20;

/// The configuration that compiled code depends on. The compiling child uses the same one, without a pool.
pub(super) fn compiler_config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        // `normalize` gives the same numbers on every machine: WebAssembly leaves both to the processor otherwise.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // Names of functions in a trap's message are enough; addresses in a stripped file are of no use.
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable);
    config
}

/// An engine whose pool has room for `calls_at_once` calls of the largest size, and for one more.
pub(super) fn pooled_engine(config: &SandboxConfig) -> Result<Engine, SandboxError> {
    // One more than the permits of the semaphore, so that a store that is just being dropped never makes another call
    // fail.
    let calls = config.calls_at_once.saturating_add(1);
    // Of its own, the pool would stop what a bound that is switched off lets through.
    let times = if CAN_SWITCH { 8 } else { 1 };
    let memory_bytes = config.memory_bytes_max.saturating_mul(times).min(MEMORY_RESERVATION_BYTES);
    let memory_bytes = memory_bytes.next_multiple_of(64 << 10);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(config.core_instances_max))
        .total_memories(calls.saturating_mul(config.memories_max))
        .total_tables(calls.saturating_mul(config.tables_max))
        .total_stacks(calls.saturating_mul(STACKS_PER_CALL))
        .total_gc_heaps(calls)
        .max_core_instances_per_component(config.core_instances_max)
        .max_memories_per_component(config.memories_max)
        .max_tables_per_component(config.tables_max)
        .max_memories_per_module(config.memories_max)
        .max_tables_per_module(config.tables_max)
        .table_elements(config.table_elements_max as usize)
        .max_memory_size(usize::try_from(memory_bytes).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES);
    let mut engine = compiler_config();
    if off(Bound::Stack) {
        engine.max_wasm_stack(WEAKENED_STACK_BYTES).async_stack_size(WEAKENED_STACK_BYTES * 2);
    }
    engine.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&engine).map_err(|error| SandboxError::Engine(format!("{error:#}")))
}

/// The thread that advances the engine's epoch. It is an OS thread, since a task would not run when connectors keep
/// every worker thread busy. It ends when this is dropped.
pub(super) struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(super) fn start(engine: &Engine, every: Duration) -> Result<Self, SandboxError> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("sandbox-ticker".to_owned())
            .spawn({
                let (stop, engine) = (Arc::clone(&stop), engine.clone());
                move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::thread::park_timeout(every);
                        engine.increment_epoch();
                    }
                }
            })
            .map_err(SandboxError::Ticker)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the thread is of no consequence here.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticker_ticks_and_ends_with_its_owner() {
        let engine = Engine::new(&compiler_config()).unwrap();
        let ticker = Ticker::start(&engine, Duration::from_millis(1)).unwrap();
        let weak = engine.weak();
        drop(engine);
        assert!(weak.upgrade().is_some(), "the ticking thread holds the engine");
        drop(ticker);
        assert!(weak.upgrade().is_none(), "the thread has ended");
    }
}
