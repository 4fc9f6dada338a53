//! Meters of one call: CPU time, memory, pending requests and the log. They outlive the call's store.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::config::SandboxConfig;
use backline_model::weakened::{Bound, off};

/// Size that every log line counts in addition to its text, so that empty lines are limited too.
const LOG_LINE_OVERHEAD_BYTES: u64 = 16;

/// Bytes of a line beyond the limit that are kept until it was searched for secrets: more than a token in any form that
/// is found, of which a letter takes at most 13 bytes.
const OVERHANG_BYTES: usize = 128 * 1024;

/// Level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For the author of the connector.
    Debug,
    /// For information.
    Info,
    /// Something is unusual.
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

/// One line of a connector's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Level of the line.
    pub level: LogLevel,
    /// Text. In the answer of a call it has no control characters, so that it can't disturb a terminal.
    pub message: String,
}

/// What a call used. Outlives its store.
#[derive(Debug)]
pub(super) struct Meters {
    /// CPU time of the call.
    pub(super) cpu: CpuMeter,
    /// Log of the connector.
    pub(super) log: Log,
    /// Highest sum of the memories and tables, in bytes.
    pub(super) memory_bytes_peak: AtomicU64,
    /// Whether more memory was refused.
    pub(super) memory_refused: AtomicBool,
    /// Size of the requests that wait or are running, in bytes.
    pub(super) requests_bytes: AtomicU64,
    /// Size of the answers that wait for those of other requests, in bytes.
    answers_bytes: AtomicU64,
}

impl Meters {
    /// Meters of a call whose log may have this many bytes.
    pub(super) fn new(config: &SandboxConfig, log_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            cpu: CpuMeter::new(),
            log: Log::new(log_bytes.min(config.log_bytes_max), config.log_bytes_max),
            memory_bytes_peak: AtomicU64::new(0),
            memory_refused: AtomicBool::new(false),
            requests_bytes: AtomicU64::new(0),
            answers_bytes: AtomicU64::new(0),
        })
    }

    /// Counts a request against the limit; `None` if it does not fit.
    pub(super) fn hold_request(self: &Arc<Self>, bytes: u64, limit: u64) -> Option<HeldRequest> {
        let before = self.requests_bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = HeldRequest { meters: Arc::clone(self), bytes };
        (before.saturating_add(bytes) <= limit).then_some(held)
    }

    /// Counts an answer that waits for others against the limit; `None` if it does not fit. A smaller one that comes
    /// later may fit.
    pub(super) fn hold_answer(self: &Arc<Self>, bytes: u64, limit: u64) -> Option<HeldAnswer> {
        let before = self.answers_bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = HeldAnswer { meters: Arc::clone(self), bytes };
        (before.saturating_add(bytes) <= limit).then_some(held)
    }
}

/// The counted size of a request. Dropping it ends the count, whether the request was answered or cancelled.
pub(super) struct HeldRequest {
    meters: Arc<Meters>,
    bytes: u64,
}

impl Drop for HeldRequest {
    fn drop(&mut self) {
        self.meters.requests_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The counted size of an answer that waits for others. Dropping it ends the count.
pub(super) struct HeldAnswer {
    meters: Arc<Meters>,
    bytes: u64,
}

impl Drop for HeldAnswer {
    fn drop(&mut self) {
        self.meters.answers_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Measures the CPU time of a call: the time that its thread spends inside polls of its future, the only place where
/// its code runs. Waiting for the network, for the executor or for a core is not counted.
#[derive(Debug)]
pub(super) struct CpuMeter {
    busy_ns: AtomicU64,
    /// CPU time of the thread when the current poll began; [`CpuMeter::IDLE`] outside of polls.
    entered_ns: AtomicU64,
}

impl CpuMeter {
    const IDLE: u64 = u64::MAX;

    fn new() -> Self {
        Self { busy_ns: AtomicU64::new(0), entered_ns: AtomicU64::new(Self::IDLE) }
    }

    /// Runs one poll and measures it. A poll begins and ends on the same thread, so the thread's clock is exact.
    pub(super) fn measure<T>(&self, poll: impl FnOnce() -> T) -> T {
        let entered = thread_cpu_ns();
        self.entered_ns.store(entered, Ordering::Relaxed);
        let result = poll();
        self.entered_ns.store(Self::IDLE, Ordering::Relaxed);
        self.busy_ns.fetch_add(thread_cpu_ns().saturating_sub(entered), Ordering::Relaxed);
        result
    }

    /// CPU time in milliseconds, including the current poll. Must be called on the thread of that poll.
    pub(super) fn busy_ms(&self) -> u64 {
        let entered = self.entered_ns.load(Ordering::Relaxed);
        let current = if entered == Self::IDLE { 0 } else { thread_cpu_ns().saturating_sub(entered) };
        (self.busy_ns.load(Ordering::Relaxed) + current) / 1_000_000
    }
}

/// CPU time of this thread, in nanoseconds.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A log with a size limit. What does not fit is cut off with a note; a call never fails because of its log.
#[derive(Debug)]
pub(super) struct Log {
    limit: u64,
    /// The configured limit, which the calls of a batch share.
    configured: u64,
    inner: Mutex<LogInner>,
}

#[derive(Debug, Default)]
struct LogInner {
    lines: Vec<LogLine>,
    bytes: u64,
    full: bool,
    /// Where the line that did not fit is cut.
    cut: Option<Cut>,
}

/// Where a line is cut that did not fit. It is cut after it was searched for secrets: of one across the border, the
/// first part would stay and not be found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    line: usize,
    /// Bytes that fit.
    room: usize,
    /// Bytes at its end that are dropped first: a secret may have been cut off there.
    dropped: usize,
}

impl Cut {
    /// Cuts the line among those of the log.
    pub(super) fn apply(self, lines: &mut [LogLine]) {
        if let Some(LogLine { message, .. }) = lines.get_mut(self.line) {
            let kept = message.len().saturating_sub(self.dropped).min(self.room);
            message.truncate(message.floor_char_boundary(kept));
        }
    }
}

impl Log {
    /// A log of what is left of a configured limit. Where nothing is left, the note was written before.
    fn new(limit: u64, configured: u64) -> Self {
        let limit = if off(Bound::LogBytes) { u64::MAX } else { limit };
        let inner = LogInner { full: limit == 0, ..LogInner::default() };
        Self { limit, configured, inner: Mutex::new(inner) }
    }

    /// Most bytes of a line that are worth collecting: all of a longer one that is ever read.
    pub(super) fn line_bytes_max(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX).saturating_add(OVERHANG_BYTES)
    }

    /// Appends a line. One that does not fit is the last, and is cut after it was searched.
    pub(super) fn write(&self, level: LogLevel, message: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.full {
            return;
        }
        let room = self.limit.saturating_sub(inner.bytes + LOG_LINE_OVERHEAD_BYTES);
        let fits = usize::try_from(room).unwrap_or(usize::MAX);
        let shortened = |bytes: usize| &message[..message.floor_char_boundary(bytes)];
        let kept = shortened(fits);
        if !kept.is_empty() || message.is_empty() && room > 0 {
            let (line, searched) = (inner.lines.len(), shortened(fits.saturating_add(OVERHANG_BYTES)));
            if kept.len() < message.len() {
                let dropped = if searched.len() < message.len() { OVERHANG_BYTES } else { 0 };
                inner.cut = Some(Cut { line, room: fits, dropped });
            }
            inner.lines.push(LogLine { level, message: searched.to_owned() });
            inner.bytes += kept.len() as u64 + LOG_LINE_OVERHEAD_BYTES;
        }
        if kept.len() < message.len() || room == 0 {
            inner.full = true;
            let message =
                format!("the log was cut off here: it has more than log_bytes_max = {} bytes", self.configured);
            inner.lines.push(LogLine { level: LogLevel::Warn, message });
        }
    }

    /// Whether further lines are dropped.
    pub(super) fn is_full(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).full
    }

    /// Bytes that the limit counts so far.
    pub(super) fn bytes(&self) -> u64 {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.full { self.limit } else { inner.bytes }
    }

    /// Removes and returns all lines, as the connector wrote them, and where one is to be cut after it was searched.
    pub(super) fn take(&self) -> (Vec<LogLine>, Option<Cut>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut inner.lines), inner.cut.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_what_fits_and_says_that_it_was_cut_off_once() {
        let log = Log::new(50, 50);
        log.write(LogLevel::Info, "a\u{1b}[31mé");
        log.write(LogLevel::Error, &"ü".repeat(100));
        log.write(LogLevel::Error, "more");
        let (mut lines, cut) = log.take();
        assert_eq!(lines[1].message.len(), 200, "whole until it was searched");
        cut.expect("a line that did not fit").apply(&mut lines);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].message, "a\u{1b}[31mé", "it is searched as it was written");
        assert!(lines[1].message.len() < 34 && lines[1].message.chars().all(|c| c == 'ü'), "cut between characters");
        assert!(lines[2].message.contains("log_bytes_max = 50"));
    }

    #[test]
    fn of_a_line_without_end_no_part_is_kept_that_was_not_searched_whole() {
        let log = Log::new(50, 50);
        log.write(LogLevel::Info, &"x".repeat(log.line_bytes_max() + 1));
        let (mut lines, cut) = log.take();
        assert_eq!(lines[0].message.len(), 34 + OVERHANG_BYTES);
        // What was found in it made it shorter, so that its end comes near.
        lines[0].message.truncate(OVERHANG_BYTES + 7);
        cut.expect("a line that did not fit").apply(&mut lines);
        assert_eq!(lines[0].message, "x".repeat(7));
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
