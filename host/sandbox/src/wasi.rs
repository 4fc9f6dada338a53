//! WASI 0.2 for guests of other toolchains, with nothing granted: no files, environment, arguments, sockets or name
//! look-ups. Clocks and random numbers work; standard output and error go to the connector's log.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWrite;
use tokio_util::bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxBuilder};

use super::meters::{LogLevel, Meters};

/// Most random bytes of one request. A guest that needs more asks again; a typical seed has 32.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// Most bytes that a stream accepts at once, and the longest line that is not split.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// A context that refuses everything that can be refused.
pub(super) fn nothing_granted(meters: &Arc<Meters>, resources_max: u32) -> (WasiCtx, ResourceTable) {
    // Arguments, environment, directories and name look-ups are refused by default. Sockets are refused explicitly,
    // since a changed default would let a guest bypass the gateway.
    let ctx = WasiCtxBuilder::new()
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
    /// The current line, until its end.
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
        for &byte in bytes {
            if byte != b'\n' {
                line.push(byte);
            }
            if byte == b'\n' || line.len() >= LINE_BYTES_MAX {
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
        Ok(LINE_BYTES_MAX)
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
