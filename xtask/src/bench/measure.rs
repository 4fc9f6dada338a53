//! Takes the measurements, and turns what they found into the figures of the rows.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::figures::Spread;
use super::job::{self, Job};
use super::lab::{Extent, Lab, Scenario};
use super::results::{Detail, Outcome, Statement};
use super::rows::{Measurement, ROWS};
use super::{micro, reading, storage, swaps};

/// Artists of the job whose ratios and CPU times are rows.
const ARTISTS: u32 = 10_000;

/// Artists of the smaller job.
const ARTISTS_FEW: u32 = 1_000;

/// Artists of the larger job.
const ARTISTS_MANY: u32 = 100_000;

/// Latency of a platform that is far away, in milliseconds.
const LATENCY_MS: u32 = 20;

/// What was found so far.
#[derive(Default)]
pub(crate) struct Found {
    /// Outcomes by the name of their row.
    pub(crate) outcomes: BTreeMap<&'static str, Outcome>,
    pub(crate) details: Vec<Detail>,
    pub(crate) statements: Vec<Statement>,
    pub(crate) notes: Vec<String>,
    /// Measurements that failed.
    pub(crate) failures: u32,
    /// Median seconds and peak bytes at 10,000 artists, which the larger job is compared with.
    at_10000: Option<(f64, f64)>,
}

impl Found {
    fn row(&mut self, name: &'static str, figure: Option<Spread>) {
        let outcome = figure.map_or_else(|| Outcome::NotMeasured("it has no figure".to_owned()), Outcome::Measured);
        self.outcomes.insert(name, outcome);
    }

    fn detail(&mut self, what: String, unit: &str, figure: Option<Spread>) {
        self.details.extend(figure.map(|figure| Detail { what, unit: unit.to_owned(), figure }));
    }

    fn skip(&mut self, measurement: Measurement, reason: &str) {
        for row in ROWS.iter().filter(|row| row.by == measurement) {
            self.outcomes.entry(row.name).or_insert_with(|| Outcome::NotMeasured(reason.to_owned()));
        }
    }

    /// Notes that a measurement failed: its rows that have no figure yet say why.
    pub(crate) fn failed(&mut self, measurement: Measurement, reason: String) {
        self.failures += 1;
        self.skip(measurement, &reason);
    }
}

/// Takes one measurement.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn measure(lab: &mut Lab, measurement: Measurement, found: &mut Found) -> Result<()> {
    let (is_quick, is_long) = (lab.extent == Extent::Quick, lab.extent == Extent::Long);
    match measurement {
        Measurement::Job1000 => few(lab, found),
        Measurement::Job10000 if !is_quick => usual(lab, found),
        Measurement::Job100000 if is_long => many(lab, found),
        Measurement::Sqlite => sqlite(lab, found),
        Measurement::Storage => stored(lab, found),
        Measurement::Sandbox => sandbox(lab, found),
        Measurement::Swaps => swapped(lab, found),
        Measurement::Reading if is_long => read(lab, found),
        Measurement::Binary => binary(lab, found),
        Measurement::Job10000 => {
            found.skip(measurement, "--quick takes 1,000 artists only");
            Ok(())
        }
        Measurement::Job100000 | Measurement::Reading => {
            found.skip(measurement, "it needs --long");
            Ok(())
        }
    }
}

fn few(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let (mut scenario, job) = job_on_postgres(lab, found, ARTISTS_FEW)?;
    found.row("job-1000", job.ratio());
    found.row("job-1000-started", job.ratio_started());
    found.row("start", Spread::of(&job.start).map(|start| start.scaled(1000.0)));
    if lab.extent == Extent::Quick {
        let slow = job::measure(lab, &mut scenario, LATENCY_MS)?;
        details(found, "1 000 artists, 20 ms, PostgreSQL", &slow);
    }
    lab.close(&scenario)
}

fn usual(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let (mut scenario, fast) = job_on_postgres(lab, found, ARTISTS)?;
    let slow = job::measure(lab, &mut scenario, LATENCY_MS)?;
    details(found, "10 000 artists, 20 ms, PostgreSQL", &slow);
    found.row("job", fast.ratio());
    found.row("job-20ms", slow.ratio());
    let per_account =
        |seconds: &[f64]| Spread::of(seconds).map(|seconds| seconds.scaled(1_000_000.0 / scenario.accounts()));
    found.row("postgres-cpu", per_account(&[&fast.postgres_cpu[..], &slow.postgres_cpu[..]].concat()));
    found.row("host-cpu", per_account(&[&fast.host_cpu[..], &slow.host_cpu[..]].concat()));
    let peaks = Spread::of(&[&fast.peak_bytes[..], &slow.peak_bytes[..]].concat());
    found.row("memory", peaks.map(|peak| peak.scaled(1e-6)));
    found.at_10000 = Spread::of(&fast.backline).zip(peaks).map(|(time, peak)| (time.median, peak.median));
    lab.close(&scenario)
}

fn many(lab: &mut Lab, found: &mut Found) -> Result<()> {
    if found.at_10000.is_none() {
        usual(lab, found)?;
    }
    let (seconds, bytes) = found.at_10000.context("the job with 10,000 artists has no figures")?;
    let (scenario, job) = job_on_postgres(lab, found, ARTISTS_MANY)?;
    found.row("growth-time", Spread::of(&job.backline).map(|time| time.scaled(1.0 / seconds)));
    found.row("memory-100000", Spread::of(&job.peak_bytes).map(|peak| peak.scaled(1e-6)));
    found.row("growth-memory", Spread::of(&job.peak_bytes).map(|peak| peak.scaled(1.0 / bytes)));
    lab.close(&scenario)
}

/// Job A without latency, with its details and statements.
fn job_on_postgres(lab: &mut Lab, found: &mut Found, artists: u32) -> Result<(Scenario, Job)> {
    let mut scenario = lab.postgres(artists)?;
    job::warm_up(lab, &mut scenario)?;
    lab.server.forget_statements()?;
    let job = job::measure(lab, &mut scenario, 0)?;
    #[expect(clippy::cast_precision_loss, reason = "a few repetitions")]
    let batches = job.batches * job.backline.len() as f64;
    // Those of the largest job are kept.
    found.statements = lab.server.statements(&scenario.name, batches)?;
    details(found, &format!("{} artists, 0 ms, PostgreSQL", crate::table::grouped(artists.into())), &job);
    Ok((scenario, job))
}

fn sqlite(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let mut medians = Vec::new();
    for artists in [ARTISTS_FEW, ARTISTS] {
        if artists == ARTISTS && lab.extent == Extent::Quick {
            found.skip(Measurement::Sqlite, "--quick takes 1,000 artists only");
            return Ok(());
        }
        let mut scenario = lab.sqlite(artists)?;
        job::warm_up(lab, &mut scenario)?;
        let job = job::measure(lab, &mut scenario, 0)?;
        details(found, &format!("{} artists, 0 ms, SQLite", crate::table::grouped(artists.into())), &job);
        let time = Spread::of(&job.backline);
        if artists == ARTISTS {
            found.row("sqlite", time);
        }
        medians.extend(time.map(|time| (time.median, time)));
    }
    let growth = match medians[..] {
        [(few, _), (_, many)] => Some(many.scaled(1.0 / few)),
        _ => None,
    };
    found.row("sqlite-growth", growth);
    Ok(())
}

/// The figures of a job that are no rows.
fn details(found: &mut Found, what: &str, job: &Job) {
    found.detail(format!("job A, {what}: Backline"), "s", Spread::of(&job.backline));
    found.detail(format!("job A, {what}: native"), "s", Spread::of(&job.native));
    found.detail(format!("job A, {what}: ratio"), "×", job.ratio());
    found.detail(format!("job A, {what}: CPU of the host"), "s", Spread::of(&job.host_cpu));
    found.detail(format!("job A, {what}: CPU of the native program"), "s", Spread::of(&job.native_cpu));
    if job.postgres_cpu.iter().any(|seconds| *seconds > 0.0) {
        found.detail(format!("job A, {what}: PostgreSQL, Backline"), "s", Spread::of(&job.postgres_cpu));
        found.detail(format!("job A, {what}: PostgreSQL, native"), "s", Spread::of(&job.native_postgres_cpu));
    }
    found.detail(
        format!("job A, {what}: peak memory"),
        "MB",
        Spread::of(&job.peak_bytes).map(|peak| peak.scaled(1e-6)),
    );
    let most = |list: Vec<f64>| Spread::of(&list);
    let (of_host, of_native): (Vec<f64>, Vec<f64>) = job.in_flight.iter().copied().unzip();
    found.detail(format!("job A, {what}: in flight, Backline"), "requests", most(of_host));
    found.detail(format!("job A, {what}: in flight, native"), "requests", most(of_native));
    // The token that the native program asks for at each start is one request more.
    for (host, native) in &job.requests {
        if (host - native).abs() > 10.0 {
            found.notes.push(format!("{what}: Backline sent {host} requests, the native program {native}"));
        }
    }
}

fn stored(lab: &mut Lab, found: &mut Found) -> Result<()> {
    /// Tables that are shown; the others take next to nothing.
    const TABLES: usize = 8;
    let stored = storage::measure(lab)?;
    found.row("bytes", Spread::of(&[stored.bytes]));
    for (table, bytes) in stored.tables.into_iter().take(TABLES) {
        found.detail(format!("bytes per account and day: {table}"), "bytes", Spread::of(&[bytes]));
    }
    found.notes.extend(stored.note);
    Ok(())
}

fn sandbox(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let estimates = micro::measure(lab)?;
    found.row("sandbox-batch", micro::per_batch(&estimates).and_then(|figure| Spread::of(&[figure])));
    found.row("sandbox-account", micro::per_account(&estimates).and_then(|figure| Spread::of(&[figure])));
    for (name, (mean, low, high)) in estimates {
        let figure = Spread::of(&[low, mean, high]).map(|spread| spread.scaled(0.001));
        found.detail(format!("micro-benchmark {name}"), "µs", figure);
    }
    Ok(())
}

fn swapped(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let swapped = swaps::measure(lab)?;
    let (with, without) = swapped.p99_ms;
    found.row("swaps-p99", Spread::of(&[with / without]));
    found.row("swaps-failed", Spread::of(&[swapped.failed]));
    found.row("swaps-doubled", Spread::of(&[swapped.doubled.max(0.0)]));
    if lab.extent == Extent::Quick {
        let reason = format!("--quick collects for as long as {} swaps take", swapped.swaps);
        found.outcomes.insert("swaps-count", Outcome::NotMeasured(reason));
    } else {
        found.row("swaps-count", Spread::of(&[f64::from(swaps::SWAPS - swapped.swaps)]));
    }
    let artists = swapped.artists;
    found.detail(format!("batch's 99th percentile, {artists} artists, with swaps"), "ms", Spread::of(&[with]));
    found.detail(format!("batch's 99th percentile, {artists} artists, without"), "ms", Spread::of(&[without]));
    for (platform, microseconds) in swapped.sandbox_us {
        let what = format!("sandbox CPU time per account, connector {platform} of job A");
        found.detail(what, "µs", Spread::of(&[microseconds]));
    }
    found.detail("`plugins activate` under load, as a command".to_owned(), "ms", Spread::of(&swapped.command_ms));
    Ok(())
}

fn read(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let read = reading::measure(lab)?;
    found.row("reading", Spread::of(&read.ms));
    found.row("reading-rows", Spread::of(&[read.foreign]));
    found.detail("rows that the signed-in user reads".to_owned(), "rows", Spread::of(&[read.rows]));
    found.detail("rows stored in metrics".to_owned(), "rows", Spread::of(&[read.stored]));
    Ok(())
}

fn binary(lab: &Lab, found: &mut Found) -> Result<()> {
    let path = &lab.release.host;
    let bytes = std::fs::metadata(path).with_context(|| format!("failed to read {}", path.display()))?.len();
    #[expect(clippy::cast_precision_loss, reason = "a file has less than 2^53 bytes")]
    found.row("binary", Spread::of(&[bytes as f64 * 1e-6]));
    Ok(())
}
