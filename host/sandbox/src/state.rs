//! The state of one call's store: its session, its meters and its memory limit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wasmtime::ResourceLimiter;
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

use super::config::SandboxConfig;
use super::meters::Meters;
use super::wasi::{self, Surroundings, Timers};
use backline_gateway::Session;
use backline_model::weakened::{Bound, off};

/// Size of a table's element in the host: a pointer.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// The state of one store.
pub(super) struct CallState {
    /// Sends requests through the gateway.
    pub(super) session: Session,
    /// Shared with the caller, who reads them after the store was dropped.
    pub(super) meters: Arc<Meters>,
    /// Limits memory.
    pub(super) memory: MemoryLimiter,
    /// Limit on the size of its pending requests, in bytes.
    pub(super) requests_bytes_max: u64,
    /// Only for components that import WASI: building it for every call would double the cost of a call.
    wasi: Option<Box<(WasiCtx, ResourceTable)>>,
    /// Whether its clocks stand.
    clocks_stand: bool,
}

impl CallState {
    /// `wasi` are the surroundings of a component that imports WASI.
    pub(super) fn new(
        session: Session,
        meters: Arc<Meters>,
        config: &SandboxConfig,
        wasi: Option<&Surroundings>,
    ) -> Self {
        let memory = MemoryLimiter {
            meters: Arc::clone(&meters),
            limit: config.memory_bytes_max,
            used: 0,
            pending: 0,
            instances_max: config.core_instances_max,
            memories_max: config.memories_max,
            tables_max: config.tables_max,
        };
        let clocks_stand = matches!(wasi, Some(Surroundings::Document { .. }));
        let wasi = wasi.map(|found| Box::new(wasi::nothing_granted(&meters, config.resources_max, found)));
        Self { session, meters, memory, requests_bytes_max: config.requests_bytes_max, wasi, clocks_stand }
    }
}

impl CallState {
    /// The state itself, for the linker.
    pub(super) fn itself(&mut self) -> &mut Self {
        self
    }

    /// The clock that timers go by, for the linker of components that import WASI.
    pub(super) fn timers(&mut self) -> Timers<'_> {
        let stand = self.clocks_stand;
        Timers { clocks: self.clocks(), stand }
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (ctx, table) =
            &mut **self.wasi.as_mut().expect("only components linked with WASI can call it, and they get it");
        WasiCtxView { ctx, table }
    }
}

/// Limits the sum of all linear memories and tables of one store. (wasmtime's own `StoreLimits` limits each one
/// separately, so a component with many memories could use many times the limit.)
pub(super) struct MemoryLimiter {
    meters: Arc<Meters>,
    limit: u64,
    used: u64,
    /// Size of the last growth that was allowed; subtracted again if it fails after all.
    pending: u64,
    instances_max: u32,
    memories_max: u32,
    tables_max: u32,
}

impl MemoryLimiter {
    fn grow(&mut self, more: u64) -> bool {
        let wanted = self.used.saturating_add(more);
        if wanted > self.limit && !off(Bound::Memory) {
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
        // Beyond the memory's own maximum the growth fails anyway, so it does not count as refused by this limit.
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
        CallState::new(Session::without_capabilities(), Meters::new(&config, 0), &config, None).memory
    }

    #[test]
    fn memories_and_tables_share_one_limit() {
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
    fn growth_that_fails_after_all_is_subtracted() {
        let mut memory = limiter(1_000);
        assert!(memory.memory_growing(0, 900, None).unwrap());
        memory.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        assert!(memory.memory_growing(0, 900, None).unwrap());
        // A growth beyond the memory's own maximum is not counted, and is not subtracted twice.
        assert!(!memory.memory_growing(900, 950, Some(920)).unwrap());
        memory.memory_grow_failed(wasmtime::Error::msg("over its maximum")).unwrap();
        assert!(!memory.memory_growing(0, 101, None).unwrap());
        assert!(memory.memory_growing(0, 100, None).unwrap());
    }
}
