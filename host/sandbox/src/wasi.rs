//! WASI 0.2 for guests of other toolchains, with nothing granted: no files, environment, arguments, sockets or name
//! look-ups. Clocks and random numbers work; standard output and error go to the connector's log. In `normalize` both
//! follow from the document, so that it gives the same numbers at any time.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::io::AsyncWrite;
use tokio_util::bytes::Bytes;
use wasmtime::component::Resource;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::clocks::WasiClocksCtxView;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxBuilder};

use super::meters::{LogLevel, Meters};
use backline_model::Digest;
use backline_model::fetch::DocumentInput;

/// Most random bytes of one request. A guest that needs more asks again; a typical seed has 32.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// Most bytes that a stream accepts at once.
const WRITE_BYTES_MAX: usize = 8 * 1024;

/// Random bytes that follow from one document. They begin again after as many.
const DOCUMENT_RANDOM_BYTES: usize = 8 * 1024;

/// What clocks show, and where random numbers come from.
#[derive(Clone, Debug)]
pub(super) enum Surroundings {
    /// The machine's.
    Machine,
    /// Those of one document: clocks stand at the time of its observation, and its text seeds the random numbers.
    Document { observed_at: DateTime<Utc>, seed: Digest },
}

impl Surroundings {
    /// Those of a document.
    pub(super) fn of(document: &DocumentInput) -> Self {
        let DocumentInput { body, window, observed_at } = document;
        let times = [window.since, window.until, *observed_at].map(|time| time.timestamp_micros().to_le_bytes());
        let seed = Digest::of(&[times.concat().as_slice(), body.as_bytes()].concat());
        Self::Document { observed_at: *observed_at, seed }
    }
}

/// Bytes that follow from a seed.
fn random_of(seed: Digest) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DOCUMENT_RANDOM_BYTES);
    for block in 0_u32.. {
        if bytes.len() >= DOCUMENT_RANDOM_BYTES {
            break;
        }
        let digest = Digest::of(format!("{seed} {block}").as_bytes()).to_string();
        let hexadecimal = digest.as_bytes();
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or(0);
        bytes.extend(hexadecimal.chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])));
    }
    bytes
}

/// A clock that stands.
struct Standing(Duration);

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostMonotonicClock for Standing {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}

/// The clock that timers go by. Where it stands, a timer has ended when it is set: one that took its time would tell a
/// guest how far it gets in a millisecond, which is never the same twice.
pub(super) struct Timers<'a> {
    /// The library's own.
    pub(super) clocks: WasiClocksCtxView<'a>,
    /// Whether clocks stand.
    pub(super) stand: bool,
}

impl Timers<'_> {
    /// A time to wait, in nanoseconds.
    fn kept(&self, nanoseconds: u64) -> u64 {
        if self.stand { 0 } else { nanoseconds }
    }
}

impl monotonic_clock::Host for Timers<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::now(&mut self.clocks)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::resolution(&mut self.clocks)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let when = self.kept(when);
        monotonic_clock::Host::subscribe_instant(&mut self.clocks, when)
    }

    fn subscribe_duration(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let when = self.kept(when);
        monotonic_clock::Host::subscribe_duration(&mut self.clocks, when)
    }
}

/// A context that refuses everything that can be refused.
pub(super) fn nothing_granted(
    meters: &Arc<Meters>,
    resources_max: u32,
    surroundings: &Surroundings,
) -> (WasiCtx, ResourceTable) {
    // Arguments, environment, directories and name look-ups are refused by default. Sockets are refused explicitly,
    // since a changed default would let a guest bypass the gateway.
    let mut builder = WasiCtxBuilder::new();
    if let Surroundings::Document { observed_at, seed } = surroundings {
        let time = Duration::from_secs(u64::try_from(observed_at.timestamp()).unwrap_or(0));
        let random = random_of(*seed);
        let short: [u8; 16] = std::array::from_fn(|index| random[index]);
        builder
            .wall_clock(Standing(time))
            .monotonic_clock(Standing(time))
            .secure_random(Deterministic::new(random.clone()))
            .insecure_random(Deterministic::new(random))
            .insecure_random_seed(u128::from_le_bytes(short));
    }
    let ctx = builder
        .stdout(LogPipe::new(meters, LogLevel::Info))
        .stderr(LogPipe::new(meters, LogLevel::Warn))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(RANDOM_BYTES_MAX)
        .build();
    let mut table = ResourceTable::new();
    table.set_max_capacity(resources_max as usize);
    (ctx, table)
}

/// Standard output or error; each line becomes a line of the log.
#[derive(Clone)]
struct LogPipe(Arc<LogPipeInner>);

struct LogPipeInner {
    meters: Arc<Meters>,
    level: LogLevel,
    /// The current line, until its end or until it exceeds the log: a part of a secret would not be found.
    line: Mutex<Vec<u8>>,
}

impl LogPipe {
    fn new(meters: &Arc<Meters>, level: LogLevel) -> Self {
        Self(Arc::new(LogPipeInner { meters: Arc::clone(meters), level, line: Mutex::default() }))
    }

    fn take(&self, bytes: &[u8]) {
        if self.0.meters.log.is_full() {
            return;
        }
        let mut line = self.0.line.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = self.0.meters.log.line_bytes_max();
        for &byte in bytes {
            if byte != b'\n' {
                line.push(byte);
            }
            if byte == b'\n' || line.len() >= longest {
                self.0.meters.log.write(self.0.level, &String::from_utf8_lossy(&line));
                line.clear();
            }
        }
    }
}

impl Drop for LogPipeInner {
    fn drop(&mut self) {
        let line = self.line.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !line.is_empty() {
            self.meters.log.write(self.level, &String::from_utf8_lossy(line));
        }
    }
}

impl IsTerminal for LogPipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogPipe {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only later versions of WASI use this one, and they are not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogPipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        // There is always room: the log drops what exceeds its limit, since a guest that can't print would panic.
        Ok(WRITE_BYTES_MAX)
    }
}

impl Pollable for LogPipe {
    fn ready<'a, 'async_trait>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use backline_gateway::Session;
    use backline_model::snapshot::Window;
    use wasmtime_wasi::WasiView as _;
    use wasmtime_wasi::p2::bindings::io::poll::HostPollable;

    use super::*;
    use crate::config::SandboxConfig;
    use crate::state::CallState;

    #[tokio::test]
    async fn timers_take_no_time_where_clocks_stand() {
        let time = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
        let window = Window { since: time, until: time };
        let document = DocumentInput { body: "{}".to_owned(), window, observed_at: time };
        let config = SandboxConfig::default();
        for (surroundings, ends) in [(Surroundings::of(&document), true), (Surroundings::Machine, false)] {
            let meters = Meters::new(&config, 0);
            let mut state = CallState::new(Session::without_capabilities(), meters, &config, Some(&surroundings));
            let mut timers = state.timers();
            let hour = 3_600 * 1_000_000_000;
            let at = monotonic_clock::Host::now(&mut timers).expect("a time") + hour;
            let set = [
                monotonic_clock::Host::subscribe_duration(&mut timers, hour).expect("a timer"),
                monotonic_clock::Host::subscribe_instant(&mut timers, at).expect("a timer"),
            ];
            let table = state.ctx().table;
            for timer in set {
                let mut asked = Vec::new();
                // One that has ended lets others run the first time that it is asked.
                for _ in 0..2 {
                    let borrowed = Resource::new_borrow(timer.rep());
                    asked.push(HostPollable::ready(table, borrowed).await.expect("a timer"));
                }
                assert_eq!(asked, [false, ends], "{surroundings:?}");
            }
        }
    }

    #[test]
    fn random_numbers_of_a_document_follow_from_all_of_it() {
        let time = |second: i64| DateTime::from_timestamp(1_795_000_000 + second, 0).expect("a time");
        let document = |body: &str, second: i64| DocumentInput {
            body: body.to_owned(),
            window: Window { since: time(-10), until: time(0) },
            observed_at: time(second),
        };
        let random = |document: &DocumentInput| match Surroundings::of(document) {
            Surroundings::Document { seed, .. } => random_of(seed),
            Surroundings::Machine => panic!("not the document's"),
        };
        let bytes = random(&document("a", 1));
        assert_eq!(bytes.len(), DOCUMENT_RANDOM_BYTES);
        assert_eq!(bytes, random(&document("a", 1)));
        assert_ne!(bytes, random(&document("b", 1)));
        assert_ne!(bytes, random(&document("a", 2)));
        assert!((0..=u8::MAX).all(|byte| bytes.contains(&byte)), "all bytes occur");
    }
}
