//! What a serving host answers that has a year of 10,000 artists' rows: pages of the dashboard, reads of metrics by the
//! API at a fixed rate, and a million rows in one go. Each is measured on a host of its own.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::client::{Connection, encoded};
use super::history;
use super::interrupt::Interrupt;
use super::lab::{DAYS_BACK, Lab, Scenario};
use super::meter::{self, Ended, MEASURED_CORE, OTHER_CORE};
use super::swaps;
use crate::dates::{self, Date};
use crate::process::say;

/// Artists, each with five accounts.
const ARTISTS: u32 = 10_000;

/// Days that are stored, up to yesterday.
const DAYS: u32 = 365;

/// Times that each page is measured, after once that is not.
const PAGES: usize = 20;

/// Reads a second.
const RATE: u32 = 200;

/// Seconds of reads before those that are measured: connections are made, caches filled.
const WARM_UP_S: u32 = 10;

/// Seconds of reads that are measured.
const MEASURED_S: u32 = 60;

/// Connections of the client. A read whose time has come waits for a free one, and its time runs meanwhile.
const CONNECTIONS: u32 = 32;

/// Tokens of the client.
const TOKENS: u32 = 8;

/// Requests a second that the host takes of each token (`host/app/src/api/limits.rs`).
const RATE_OF_TOKEN: u32 = 50;

const _: () = assert!(TOKENS * RATE_OF_TOKEN > RATE, "the host would refuse some of the reads");

/// Artists that are read in turn, drawn from all.
const ARTISTS_READ: usize = 1_000;

/// Days that a read asks for; with five accounts more rows than the 100 of a page.
const DAYS_READ: u32 = 30;

/// Days of all artists that are a million rows, and some more.
const DAYS_OF_STREAM: u32 = 21;

/// The rows that are sent in one go, at least.
const ROWS_OF_STREAM: f64 = 1e6;

/// Rows of a page of CSV, the most that it may have.
const PAGE_ROWS: u32 = 1_000;

/// What was measured.
pub(crate) struct Served {
    /// Milliseconds of the overview.
    pub(crate) overview_ms: Vec<f64>,
    /// Milliseconds of the page of an artist.
    pub(crate) artist_ms: Vec<f64>,
    /// Milliseconds of that page for a year.
    pub(crate) artist_year_ms: Vec<f64>,
    /// Milliseconds of each read, from when it was to be sent.
    pub(crate) read_ms: Vec<f64>,
    /// Reads that failed.
    pub(crate) failed: f64,
    /// Resident bytes of the host before the measured reads and after them.
    pub(crate) resident: (f64, f64),
    /// CPU time of the host in these reads, in hundredths of a core.
    pub(crate) cpu_percent: f64,
    /// Rows stored.
    pub(crate) stored: f64,
    /// Rows that were sent in one go.
    pub(crate) streamed: f64,
    pub(crate) csv: Streamed,
    pub(crate) parquet: Streamed,
}

/// What sending many rows took.
pub(crate) struct Streamed {
    /// Most resident bytes of the host.
    pub(crate) peak: f64,
    pub(crate) seconds: f64,
    /// Bytes that were sent.
    pub(crate) bytes: f64,
}

/// Stores a year of rows and measures what a host answers.
///
/// # Errors
/// If a host does not start, a page is refused or a stream breaks off.
pub(crate) fn measure(lab: &mut Lab) -> Result<Served> {
    let scenario = lab.postgres(ARTISTS)?;
    let database = &scenario.backline;
    // The first simulated days are long ago; those after them up to yesterday are stored too.
    let after = DAYS_BACK - scenario.days;
    history::store(lab, database, scenario.day(), -i64::from(after)..=i64::from(DAYS - after) - 1)?;
    let stored = database.number("SELECT count(*)::text FROM metrics")?;
    let drawn = format!(
        "SELECT id::text FROM (SELECT DISTINCT artist_id AS id FROM metrics WHERE metric_date = '{}') a
         ORDER BY md5(id::text) LIMIT {ARTISTS_READ}",
        scenario.day()
    );
    let artists = database.lines(&[&drawn])?;
    // A host collects what is asked for here, and would do that beside what is measured.
    database.run(&["DELETE FROM activations"])?;
    let tokens = tokens(lab, &scenario)?;
    let yesterday = dates::yesterday();

    say("asking for pages of the dashboard");
    let host = Host::start(lab, &scenario)?;
    let cookie = log_in(host.address, &tokens[0])?;
    let overview_ms = pages(lab, &host, &cookie, |_| "/".to_owned())?;
    let artist = |page: usize| format!("/artists/{}", artists[page % artists.len()]);
    let artist_ms = pages(lab, &host, &cookie, artist)?;
    let artist_year_ms = pages(lab, &host, &cookie, |page| format!("{}?days=365", artist(page)))?;
    drop(host);

    say(format!("reading metrics {RATE} times a second, for {} s", WARM_UP_S + MEASURED_S));
    let host = Host::start(lab, &scenario)?;
    let since = yesterday.days_before(DAYS_READ - 1);
    let paths: Vec<String> =
        artists.iter().map(|artist| format!("/v1/metrics?artist={artist}&since={since}")).collect();
    let client = Client { address: host.address, tokens: &tokens, paths: &paths, interrupt: &lab.interrupt };
    client.read(RATE * WARM_UP_S)?;
    let (before, cpu_before) = (host.memory(meter::resident_of)?, meter::cpu_of_server(host.pid())?);
    let reads = client.read(RATE * MEASURED_S)?;
    let (after, cpu_after) = (host.memory(meter::resident_of)?, meter::cpu_of_server(host.pid())?);
    drop(host);
    let read_ms: Vec<f64> = reads.iter().copied().flatten().collect();
    let failed = f64::from(reads.iter().map(|read| u32::from(read.is_none())).sum::<u32>());

    let since = yesterday.days_before(DAYS_OF_STREAM - 1);
    let of_stream = format!("SELECT count(*)::text FROM metrics WHERE metric_date BETWEEN '{since}' AND '{yesterday}'");
    let streamed = database.number(&of_stream)?;
    if streamed < ROWS_OF_STREAM {
        bail!("{DAYS_OF_STREAM} days have {streamed} rows only");
    }
    let csv = csv(lab, &scenario, &tokens, since, streamed)?;
    let parquet = parquet(lab, &scenario, &tokens[0], since)?;
    lab.close(&scenario)?;
    Ok(Served {
        overview_ms,
        artist_ms,
        artist_year_ms,
        read_ms,
        failed,
        resident: (before, after),
        cpu_percent: (cpu_after - cpu_before) * 100.0 / f64::from(MEASURED_S),
        stored,
        streamed,
        csv,
        parquet,
    })
}

/// A host that serves, on the core of what is measured. Dropping it ends it.
struct Host {
    process: Ended,
    address: SocketAddr,
}

impl Host {
    fn start(lab: &Lab, scenario: &Scenario) -> Result<Self> {
        lab.interrupt.check()?;
        let stage = lab.stage.on(&scenario.backline.url);
        let mut command = stage.with_arguments(meter::pinned(&lab.release.host, MEASURED_CORE), &["serve"]);
        // The rows say that they were observed long ago.
        command.env("BACKLINE_ARCHIVE__ENABLED", "false");
        let (process, address) = swaps::serving(&mut command)?;
        Ok(Self { process, address })
    }

    fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// A figure of its memory, in bytes.
    fn memory(&self, figure: fn(u32) -> Option<u64>) -> Result<f64> {
        let bytes = figure(self.pid()).context("the host has ended")?;
        #[expect(clippy::cast_precision_loss, reason = "a host has less than 2^53 bytes")]
        let bytes = bytes as f64;
        Ok(bytes)
    }
}

/// Tokens that read everything.
fn tokens(lab: &Lab, scenario: &Scenario) -> Result<Vec<String>> {
    let stage = lab.stage.on(&scenario.backline.url);
    let token = |number: u32| -> Result<String> {
        let name = format!("bench-{number}");
        let text = stage.backline(&["tokens", "create", "--role", "viewer", "--name", &name], None)?;
        Ok(text.trim().to_owned())
    };
    (0..TOKENS).map(token).collect()
}

/// The header that a program sends.
fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// Logs in to the dashboard, and returns the header that a browser sends from then on.
fn log_in(address: SocketAddr, token: &str) -> Result<String> {
    let head = Connection::open(address)?.post("/login", &format!("token={}", encoded(token)))?;
    let cookie = head.header("set-cookie").and_then(|cookie| cookie.split(';').next());
    let cookie = cookie.with_context(|| format!("the login was answered with {} and no cookie", head.status))?;
    Ok(format!("cookie: {cookie}\r\n"))
}

/// Milliseconds of pages, one after the other, each named by its number. The first one is not measured.
fn pages(lab: &Lab, host: &Host, cookie: &str, path: impl Fn(usize) -> String) -> Result<Vec<f64>> {
    let mut connection = Connection::open(host.address)?;
    let mut ms = Vec::new();
    for page in 0..=PAGES {
        lab.interrupt.check()?;
        let (path, began) = (path(page), Instant::now());
        let head = connection.get(&path, cookie, &mut std::io::sink())?;
        if head.status != 200 {
            bail!("the page {path} was answered with {}", head.status);
        }
        if page > 0 {
            ms.push(began.elapsed().as_secs_f64() * 1000.0);
        }
    }
    Ok(ms)
}

/// A client that sends each read at its planned time, however long those before it take.
struct Client<'a> {
    address: SocketAddr,
    tokens: &'a [String],
    paths: &'a [String],
    interrupt: &'a Interrupt,
}

impl Client<'_> {
    /// Sends so many reads, from the core of what is not measured. Returns for each the milliseconds from its planned
    /// time to the end of its answer, or nothing where it failed.
    fn read(&self, reads: u32) -> Result<Vec<Option<f64>>> {
        // Its threads are moved with it, and this one stays where it is.
        let all = std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                meter::pin_this_thread(OTHER_CORE)?;
                let (next, begins) = (AtomicU32::new(0), Instant::now());
                Ok::<_, anyhow::Error>(std::thread::scope(|scope| {
                    let works = || self.work(&next, reads, begins);
                    let workers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(works)).collect();
                    workers.into_iter().map(|worker| worker.join().unwrap_or_default()).collect::<Vec<_>>()
                }))
            });
            client.join().ok().context("the client panicked")?
        })?;
        self.interrupt.check()?;
        let all = all.concat();
        if all.len() != usize::try_from(reads)? {
            bail!("{} of {reads} reads were sent", all.len());
        }
        Ok(all)
    }

    /// Sends reads by one connection until all are sent.
    fn work(&self, next: &AtomicU32, reads: u32, begins: Instant) -> Vec<Option<f64>> {
        let (mut connection, mut seen) = (None, Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= reads || self.interrupt.check().is_err() {
                return seen;
            }
            let planned = begins + Duration::from_secs(1) * number / RATE;
            std::thread::sleep(planned.saturating_duration_since(Instant::now()));
            let answered = self.one(&mut connection, number);
            if answered.is_err() {
                connection = None;
            }
            seen.push(answered.ok().map(|()| planned.elapsed().as_secs_f64() * 1000.0));
        }
    }

    /// Sends the read of a number.
    fn one(&self, connection: &mut Option<Connection>, number: u32) -> Result<()> {
        let number = usize::try_from(number)?;
        let (path, token) = (&self.paths[number % self.paths.len()], &self.tokens[number % self.tokens.len()]);
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(Connection::open(self.address)?),
        };
        let mut body = Counted::default();
        let head = connection.get(path, &bearer(token), &mut body)?;
        // Each artist has rows; a list without any is shorter than one of them.
        if head.status != 200 || body.bytes < 1_000 {
            bail!("{path} was answered with {} and {} bytes", head.status, body.bytes);
        }
        Ok(())
    }
}

/// Counts what is written, and keeps its last bytes.
#[derive(Default)]
struct Counted {
    bytes: u64,
    last: Vec<u8>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.last.extend_from_slice(&bytes[bytes.len().saturating_sub(4)..]);
        self.last = self.last.split_off(self.last.len().saturating_sub(4));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Counted {
    fn streamed(&self, host: &Host, began: Instant) -> Result<Streamed> {
        let seconds = began.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "an answer has less than 2^53 bytes")]
        let bytes = self.bytes as f64;
        Ok(Streamed { peak: host.memory(meter::peak_of)?, seconds, bytes })
    }
}

/// All rows since a date as CSV: page by page, each named by the one before.
fn csv(lab: &Lab, scenario: &Scenario, tokens: &[String], since: Date, rows: f64) -> Result<Streamed> {
    say(format!("reading {rows} rows as CSV"));
    let host = Host::start(lab, scenario)?;
    let (mut connection, mut body, began) = (Connection::open(host.address)?, Counted::default(), Instant::now());
    let until = dates::yesterday();
    let mut next = Some(format!("/v1/metrics?since={since}&until={until}&format=csv&limit={PAGE_ROWS}"));
    let mut pages = 0_u32;
    while let Some(path) = next {
        lab.interrupt.check()?;
        let token = &tokens[usize::try_from(pages)? % tokens.len()];
        let head = connection.get(&path, &bearer(token), &mut body)?;
        if head.status != 200 {
            bail!("page {pages} of CSV was answered with {}", head.status);
        }
        pages += 1;
        next = head.header("link").and_then(linked);
    }
    let expected = (rows / f64::from(PAGE_ROWS)).ceil();
    if f64::from(pages) < expected {
        bail!("{rows} rows came in {pages} pages, which hold fewer");
    }
    body.streamed(&host, began)
}

/// The page that a `Link` header names.
fn linked(header: &str) -> Option<String> {
    let (path, _) = header.strip_prefix('<')?.split_once(">; rel=\"next\"")?;
    Some(path.to_owned())
}

/// The same rows as one Parquet file.
fn parquet(lab: &Lab, scenario: &Scenario, token: &str, since: Date) -> Result<Streamed> {
    say("reading the same rows as Parquet");
    let host = Host::start(lab, scenario)?;
    let (mut connection, mut body, began) = (Connection::open(host.address)?, Counted::default(), Instant::now());
    let path = format!("/v1/metrics?since={since}&until={}&format=parquet", dates::yesterday());
    let head = connection.get(&path, &bearer(token), &mut body)?;
    // A file that broke off has no end.
    if head.status != 200 || body.last != b"PAR1" {
        bail!("the file was answered with {}, and its {} bytes are no Parquet file", head.status, body.bytes);
    }
    body.streamed(&host, began)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_one_that_is_linked() {
        assert_eq!(linked("</v1/metrics?cursor=a>; rel=\"next\"").as_deref(), Some("/v1/metrics?cursor=a"));
        assert_eq!(linked("</v1/metrics>; rel=\"prev\""), None);
    }

    #[test]
    fn what_is_written_is_counted_and_its_end_is_kept() {
        let mut body = Counted::default();
        for part in ["PAR1 and much", "", " more P", "AR", "1"] {
            body.write_all(part.as_bytes()).expect("it takes everything");
        }
        assert_eq!((body.bytes, body.last.as_slice()), (23, b"PAR1".as_slice()));
    }
}
