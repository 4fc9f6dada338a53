//! One call of one connector, in a fresh store, under every limit.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wasmtime::component::{Accessor, ResourceTableError};
use wasmtime::{PoolConcurrencyLimitError, Store, UpdateDeadline};

use super::Shared;
use super::bindings::{Bindings, BindingsPre};
use super::config::SandboxConfig;
use super::error::CallError;
use super::meters::{LogLevel, LogLine, Meters};
use super::search;
use super::state::CallState;
use super::wasi::Surroundings;
use backline_gateway::{Secrets, Session};
use backline_model::weakened::{Bound, off};

/// By how much the values passed between host and component may exceed their counted texts: lengths, numbers and tags.
const HANDOVER_SLACK_BYTES: u64 = 4 << 20;

/// An answer, and what the call used.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<T> {
    /// The answer.
    pub value: T,
    /// What the call used.
    pub usage: CallUsage,
}

/// What one call used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallUsage {
    /// Wall-clock time in milliseconds, without waiting for a permit.
    pub wall_ms: u64,
    /// CPU time in milliseconds.
    pub cpu_ms: u64,
    /// Highest sum of memories and tables, in bytes.
    pub memory_bytes_peak: u64,
    /// Size of the answer in bytes, as compared with `output_bytes_max`.
    pub output_bytes: u64,
    /// Log lines of the connector.
    pub log_lines: Vec<LogLine>,
}

impl CallUsage {
    /// Adds what a further call used.
    pub(super) fn add(&mut self, more: Self) {
        self.wall_ms += more.wall_ms;
        self.cpu_ms += more.cpu_ms;
        self.memory_bytes_peak = self.memory_bytes_peak.max(more.memory_bytes_peak);
        self.output_bytes += more.output_bytes;
        self.log_lines.extend(more.log_lines);
    }
}

/// What a call may use of the bounds that the calls of a batch share. Each call takes from it what it used, whether it
/// answered or not.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// When the call ends, and its wait for a permit; `deadline_ms` after it got its permit if none is given.
    pub deadline: Option<Instant>,
    /// Bytes that answers may still have.
    pub output_bytes: u64,
    /// Bytes that logs may still have.
    pub log_bytes: u64,
    /// What calls logged that ended without an answer. It stays here until it is taken.
    pub unanswered: Vec<LogLine>,
}

impl Allowance {
    /// All that one call may use.
    #[must_use]
    pub fn of(config: &SandboxConfig, deadline: Option<Instant>) -> Self {
        let (output_bytes, log_bytes) = (config.output_bytes_max, config.log_bytes_max);
        Self { deadline, output_bytes, log_bytes, unanswered: Vec::new() }
    }
}

/// The CPU time is used up. Raised inside the component, and returned by the call as the cause of its trap.
#[derive(Debug, thiserror::Error)]
#[error("the call used up its CPU time")]
struct CpuSpent;

/// A release that is linked and can be started.
pub(super) struct Startable {
    pub(super) name: String,
    pub(super) bindings: BindingsPre,
    pub(super) with_wasi: bool,
}

/// Runs `export` in a fresh store and drops the store, whatever happens: nothing that one call leaves behind can reach
/// another, and unfinished work ends with the call.
///
/// What the connector logs is searched for `secrets`; its answer is searched by `export`, within the call.
pub(super) async fn run<R: Send>(
    shared: &Shared,
    startable: &Startable,
    session: Session,
    secrets: &[Secrets],
    allowance: &mut Allowance,
    surroundings: &Surroundings,
    export: impl for<'a> FnOnce(&'a Accessor<CallState>, &'a Bindings) -> BoxFuture<'a, wasmtime::Result<R>> + Send,
) -> Result<Call<R>, CallError> {
    let config = &shared.config;
    let asked = Instant::now();
    let acquire = shared.permits.acquire();
    let permit = match allowance.deadline {
        None => acquire.await,
        Some(deadline) => tokio::time::timeout_at(deadline, acquire).await.map_err(|_| no_permit(asked.elapsed()))?,
    };
    let _permit = permit.expect("the semaphore is never closed");
    let started = Instant::now();
    let longest = started + Duration::from_millis(config.deadline_ms);
    let deadline = allowance.deadline.map_or(longest, |deadline| deadline.min(longest));

    let meters = Meters::new(config, allowance.log_bytes);
    let output_bytes_max = allowance.output_bytes.min(config.output_bytes_max);
    let work = in_fresh_store(shared, startable, session, Arc::clone(&meters), output_bytes_max, surroundings, export);
    // Epochs only interrupt the component's own code, so the timeout outside ends a call that waits for the host. The
    // future owns the store, so a timeout drops the store.
    let ended = tokio::time::timeout_at(deadline, measured(&meters, work)).await;

    allowance.log_bytes = allowance.log_bytes.saturating_sub(meters.log.bytes());
    let (mut log_lines, cut) = meters.log.take();
    search::log(secrets, &mut log_lines, cut).await;
    report_log(&startable.name, &log_lines);
    let value = match ended {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => {
            allowance.unanswered.extend(log_lines);
            return Err(search::call_error(secrets, classify(&error, &meters, config, output_bytes_max)).await);
        }
        Err(_) => {
            allowance.unanswered.extend(log_lines);
            return Err(CallError::TimedOut { deadline_ms: millis(deadline - started) });
        }
    };
    Ok(Call {
        value,
        usage: CallUsage {
            wall_ms: millis(started.elapsed()),
            cpu_ms: meters.cpu.busy_ms(),
            memory_bytes_peak: meters.memory_bytes_peak.load(Ordering::Relaxed),
            output_bytes: 0, // the caller measures the answer
            log_lines,
        },
    })
}

async fn in_fresh_store<R: Send>(
    shared: &Shared,
    startable: &Startable,
    session: Session,
    meters: Arc<Meters>,
    output_bytes_max: u64,
    surroundings: &Surroundings,
    export: impl for<'a> FnOnce(&'a Accessor<CallState>, &'a Bindings) -> BoxFuture<'a, wasmtime::Result<R>> + Send,
) -> wasmtime::Result<R> {
    let config = &shared.config;
    let wasi = startable.with_wasi.then_some(surroundings);
    let state = CallState::new(session, Arc::clone(&meters), config, wasi);
    let mut store = Store::try_new(&shared.engine, state)?;
    store.limiter(|state| &mut state.memory);
    // The arguments of one host call, or one answer, must fit in memory at once before they can be counted.
    let handover_bytes_max = output_bytes_max.saturating_add(HANDOVER_SLACK_BYTES);
    let handover_bytes_max = if off(Bound::OutputBytes) { u64::MAX } else { handover_bytes_max };
    store.set_hostcall_fuel(usize::try_from(handover_bytes_max).unwrap_or(usize::MAX));
    let resources_max = if off(Bound::Resources) { u32::MAX } else { config.resources_max } as usize;
    store.set_max_component_handles(resources_max);
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(resources_max);
    }
    // At every tick a busy call first lets others run, and ends when its own CPU time is used up. The tick itself does
    // not show how busy the call was (it may have waited for the network since the last one), so the meter decides.
    let cpu_ms_max = config.cpu_ms_max;
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if meters.cpu.busy_ms() > cpu_ms_max && !off(Bound::CpuTime) {
            Err(wasmtime::Error::new(CpuSpent))
        } else {
            Ok(UpdateDeadline::Yield(1))
        }
    });

    let instance = startable.bindings.instantiate(&mut store).await?;
    store.run_concurrent(async |accessor| export(accessor, &instance).await).await?
}

/// Measures the time inside each poll.
async fn measured<F: Future>(meters: &Meters, work: F) -> F::Output {
    let mut work = pin!(work);
    std::future::poll_fn(|context| -> Poll<F::Output> { meters.cpu.measure(|| work.as_mut().poll(context)) }).await
}

/// Why a call ended without an answer, as a [`CallError`]. The text of a trap is as the component wrote it.
fn classify(error: &wasmtime::Error, meters: &Meters, config: &SandboxConfig, output_bytes_max: u64) -> CallError {
    if error.is::<CpuSpent>() {
        return CallError::CpuExhausted { cpu_ms_max: config.cpu_ms_max };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::Internal(format!("the pool has no room for a call with a permit: {error}"));
    }
    if meters.memory_refused.load(Ordering::Relaxed) {
        return CallError::LimitExceeded { what: "memory_bytes_max", limit: config.memory_bytes_max };
    }
    let text = format!("{error:#}");
    // wasmtime has no types for these two errors.
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) || text.contains("handle limit exceeded") {
        return CallError::LimitExceeded { what: "resources_max", limit: config.resources_max.into() };
    }
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        return CallError::LimitExceeded { what: "output_bytes_max", limit: output_bytes_max };
    }
    CallError::Trapped(text)
}

/// Passes a connector's log on to the host's, where failed calls can be examined too.
fn report_log(connector: &str, lines: &[LogLine]) {
    for LogLine { level, message } in lines {
        // One line for each entry: a connector must not be able to forge lines of the host.
        let message = message.replace('\n', "\\n");
        match level {
            LogLevel::Debug => tracing::debug!(target: "backline::connector", connector, "{message}"),
            LogLevel::Info => tracing::info!(target: "backline::connector", connector, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "backline::connector", connector, "{message}"),
            LogLevel::Error => tracing::error!(target: "backline::connector", connector, "{message}"),
        }
    }
}

fn no_permit(waited: Duration) -> CallError {
    let waited_ms = millis(waited);
    CallError::Internal(format!("no permit became free within {waited_ms} ms; raise the sandbox's calls_at_once"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
