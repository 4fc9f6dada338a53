//! Takes the measurements, and turns what they found into the figures of the rows.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::figures::{Spread, percentile};
use super::job::{self, Job};
use super::lab::{Lab, Scenario};
use super::results::{Detail, FigureResult, Note, Results, Statement};
use super::rows::{Measurement, ROWS};
use super::{micro, reading, serving, storage, swaps};

/// Artists of the job whose ratios and CPU times are rows.
const ARTISTS: u32 = 10_000;

/// Artists of the smaller job.
const ARTISTS_FEW: u32 = 1_000;

/// Artists of the larger job.
const ARTISTS_MANY: u32 = 100_000;

/// Latency of a platform that is far away, in milliseconds.
const LATENCY_MS: u32 = 20;

/// A statement that takes a smaller share of the time of all is not asked how it grows: its time is mostly noise.
const SHARE_MIN: f64 = 0.02;

/// What was found so far.
#[derive(Default)]
pub(crate) struct Found {
    /// Outcomes by the name of their row.
    pub(crate) outcomes: BTreeMap<&'static str, FigureResult>,
    pub(crate) details: Vec<Detail>,
    pub(crate) statements: Vec<Statement>,
    pub(crate) notes: Vec<Note>,
    /// Seconds of what was measured, by its name.
    pub(crate) took: BTreeMap<String, f64>,
    /// Measurements that failed.
    pub(crate) failures: u32,
    /// Median seconds and peak bytes at 10,000 artists, which the larger job is compared with.
    at_10000: Option<(f64, f64)>,
    /// Statements at 1,000 artists, which those of the larger job are compared with.
    at_1000: Vec<Statement>,
}

impl Found {
    /// Nothing yet, beside what an earlier run found on the same commit and machine, where later ones are compared
    /// with it.
    pub(crate) fn after(earlier: Option<&Results>) -> Self {
        let Some(earlier) = earlier else { return Self::default() };
        let seconds = earlier.detail(&format!("job A, {}: Backline", job_name(ARTISTS, 0)));
        let of_few = |statement: &&Statement| statement.by == Measurement::Job1000.name();
        Self {
            at_10000: seconds.zip(earlier.measured("memory")).map(|(time, peak)| (time.median, peak.median * 1e6)),
            at_1000: earlier.statements.iter().filter(of_few).cloned().collect(),
            ..Self::default()
        }
    }

    fn row(&mut self, name: &'static str, figure: Option<Spread>) {
        let outcome =
            figure.map_or_else(|| FigureResult::NotMeasured("it has no figure".to_owned()), FigureResult::Measured);
        self.outcomes.insert(name, outcome);
    }

    fn detail(&mut self, by: Measurement, what: String, unit: &str, figure: Option<Spread>) {
        let by = by.name().to_owned();
        self.details.extend(figure.map(|figure| Detail { by, what, unit: unit.to_owned(), figure }));
    }

    /// Adds a sentence for readers of the figures.
    pub(crate) fn note(&mut self, by: Measurement, text: String) {
        self.notes.push(Note { by: by.name().to_owned(), text });
    }

    /// Says why the rows of a measurement have no figure, where they have none.
    pub(crate) fn skip(&mut self, measurement: Measurement, reason: &str) {
        for row in ROWS.iter().filter(|row| row.by == measurement) {
            self.outcomes.entry(row.name).or_insert_with(|| FigureResult::NotMeasured(reason.to_owned()));
        }
    }

    /// Notes that a measurement failed: its rows that have no figure yet say why. What else it found is half of a
    /// whole, and goes.
    pub(crate) fn failed(&mut self, measurement: Measurement, reason: &str) {
        self.failures += 1;
        self.details.retain(|detail| detail.by != measurement.name());
        self.statements.retain(|statement| statement.by != measurement.name());
        self.notes.retain(|note| note.by != measurement.name());
        self.skip(measurement, reason);
    }
}

/// Takes one measurement.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn measure(lab: &mut Lab, measurement: Measurement, found: &mut Found) -> Result<()> {
    match measurement {
        Measurement::Job1000 => few(lab, found),
        Measurement::Job10000 => usual(lab, found),
        Measurement::Job100000 => many(lab, found),
        Measurement::Sqlite => sqlite(lab, found),
        Measurement::Storage => stored(lab, found),
        Measurement::Sandbox => sandbox(lab, found),
        Measurement::Swaps => swapped(lab, found),
        Measurement::Reading => read(lab, found),
        Measurement::Serving => served(lab, found),
        Measurement::Binary => binary(lab, found),
    }
}

fn few(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let (mut scenario, job, statements) = job_on_postgres(lab, found, Measurement::Job1000, ARTISTS_FEW)?;
    found.row("job-1000", job.ratio());
    found.row("job-1000-started", job.ratio_started());
    found.row("write-1000", Spread::of(&job.write_p99_ms()));
    found.row("start", Spread::of(&job.start).map(|start| start.scaled(1000.0)));
    found.at_1000 = statements;
    if lab.is_quick {
        let slow = job::measure(lab, &mut scenario, LATENCY_MS)?;
        details(found, Measurement::Job1000, &job_name(ARTISTS_FEW, LATENCY_MS), &slow);
    }
    lab.close(&scenario)
}

fn usual(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let (mut scenario, fast, statements) = job_on_postgres(lab, found, Measurement::Job10000, ARTISTS)?;
    found.row("job", fast.ratio());
    let slow = job::measure(lab, &mut scenario, LATENCY_MS)?;
    details(found, Measurement::Job10000, &job_name(ARTISTS, LATENCY_MS), &slow);
    found.row("job-20ms", slow.ratio());
    found.row("write", Spread::of(&[fast.write_p99_ms(), slow.write_p99_ms()].concat()));
    let per_account =
        |seconds: &[f64]| Spread::of(seconds).map(|seconds| seconds.scaled(1_000_000.0 / scenario.accounts()));
    found.row("postgres-cpu", per_account(&[&fast.postgres_cpu[..], &slow.postgres_cpu[..]].concat()));
    found.row("host-cpu", per_account(&[&fast.host_cpu[..], &slow.host_cpu[..]].concat()));
    let peaks = Spread::of(&[&fast.peak_bytes[..], &slow.peak_bytes[..]].concat());
    found.row("memory", peaks.map(|peak| peak.scaled(1e-6)));
    found.at_10000 = Spread::of(&fast.backline).zip(peaks).map(|(time, peak)| (time.median, peak.median));
    match worst_growth(&found.at_1000, &statements) {
        Some((growth, statement)) => {
            found.row("statements", Spread::of(&[growth]));
            let beginning: String = statement.chars().take(100).collect();
            found.note(Measurement::Job10000, format!("statements: the one that grows most is `{beginning}`"));
        }
        None => {
            let reason = "it needs the statements at 1,000 artists too, by --only job-1000,job-10000".to_owned();
            found.outcomes.insert("statements", FigureResult::NotMeasured(reason));
        }
    }
    lab.close(&scenario)
}

fn many(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let (scenario, job, _) = job_on_postgres(lab, found, Measurement::Job100000, ARTISTS_MANY)?;
    found.row("memory-100000", Spread::of(&job.peak_bytes).map(|peak| peak.scaled(1e-6)));
    let Some((seconds, bytes)) = found.at_10000 else {
        let reason = "it needs the job at 10,000 artists too, by --only job-10000,job-100000";
        found.skip(Measurement::Job100000, reason);
        return lab.close(&scenario);
    };
    found.row("growth-time", Spread::of(&job.backline).map(|time| time.scaled(1.0 / seconds)));
    found.row("growth-memory", Spread::of(&job.peak_bytes).map(|peak| peak.scaled(1.0 / bytes)));
    lab.close(&scenario)
}

/// What a job is called in the list of figures.
fn job_name(artists: u32, latency_ms: u32) -> String {
    format!("{} artists, {latency_ms} ms, PostgreSQL", crate::table::grouped(artists.into()))
}

/// Job A without latency, with its details and statements.
fn job_on_postgres(
    lab: &mut Lab,
    found: &mut Found,
    by: Measurement,
    artists: u32,
) -> Result<(Scenario, Job, Vec<Statement>)> {
    let mut scenario = lab.postgres(artists)?;
    job::warm_up(lab, &scenario)?;
    lab.server.forget_statements()?;
    let job = job::measure(lab, &mut scenario, 0)?;
    #[expect(clippy::cast_precision_loss, reason = "a few repetitions")]
    let batches = job.batches * job.backline.len() as f64;
    if let Some((calls, wal)) = lab.server.calls_and_wal(&scenario.name)? {
        let (what, rows) = (job_name(artists, 0), scenario.accounts() * batches / job.batches);
        let per_batch = Spread::of(&[calls / batches]);
        found.detail(by, format!("job A, {what}: statements per batch, BEGIN and COMMIT too"), "statements", per_batch);
        found.detail(by, format!("job A, {what}: WAL per account and day"), "bytes", Spread::of(&[wal / rows]));
    }
    let statements = lab.server.statements(&scenario.name, by, batches)?;
    found.statements.extend(statements.iter().cloned());
    details(found, by, &job_name(artists, 0), &job);
    Ok((scenario, job, statements))
}

/// The statement whose time for each batch grows most, of those that matter, and by how much. None where no statement
/// was counted at both sizes.
fn worst_growth<'a>(few: &[Statement], many: &'a [Statement]) -> Option<(f64, &'a str)> {
    let all: f64 = many.iter().map(|statement| statement.ms).sum();
    let growth = |statement: &'a Statement| {
        let before = few.iter().find(|before| before.statement == statement.statement)?;
        let growth = statement.ms_per_batch / before.ms_per_batch;
        (statement.ms >= all * SHARE_MIN && growth.is_finite()).then_some((growth, statement.statement.as_str()))
    };
    many.iter().filter_map(growth).max_by(|one, other| one.0.total_cmp(&other.0))
}

fn sqlite(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let by = Measurement::Sqlite;
    let mut medians = Vec::new();
    for artists in [ARTISTS_FEW, ARTISTS] {
        if artists == ARTISTS && lab.is_quick {
            found.skip(by, "--quick takes 1,000 artists only");
            return Ok(());
        }
        let mut scenario = lab.sqlite(artists)?;
        job::warm_up(lab, &scenario)?;
        let before = storage::sqlite_bytes(&scenario)?;
        let job = job::measure(lab, &mut scenario, 0)?;
        details(found, by, &format!("{} artists, 0 ms, SQLite", crate::table::grouped(artists.into())), &job);
        let time = Spread::of(&job.backline);
        #[expect(clippy::cast_precision_loss, reason = "a few repetitions")]
        let account_days = scenario.accounts() * job.backline.len() as f64;
        let bytes = (storage::sqlite_bytes(&scenario)? - before) / account_days;
        if artists == ARTISTS {
            found.row("sqlite", time);
            found.row("sqlite-bytes", Spread::of(&[bytes]));
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
fn details(found: &mut Found, by: Measurement, what: &str, job: &Job) {
    let mut add = |name: &str, unit: &str, figure| found.detail(by, format!("job A, {what}: {name}"), unit, figure);
    add("Backline", "s", Spread::of(&job.backline));
    add("native", "s", Spread::of(&job.native));
    add("ratio", "×", job.ratio());
    add("ratio with start-up", "×", job.ratio_started());
    add("CPU of the host", "s", Spread::of(&job.host_cpu));
    add("CPU of the native program", "s", Spread::of(&job.native_cpu));
    if job.postgres_cpu.iter().any(|seconds| *seconds > 0.0) {
        add("PostgreSQL, Backline", "s", Spread::of(&job.postgres_cpu));
        add("PostgreSQL, native", "s", Spread::of(&job.native_postgres_cpu));
    }
    add("peak memory", "MB", Spread::of(&job.peak_bytes).map(|peak| peak.scaled(1e-6)));
    let (medians, _): (Vec<f64>, Vec<f64>) = job.write_ms.iter().copied().unzip();
    add("median of write transactions", "ms", Spread::of(&medians));
    add("99th percentile of write transactions", "ms", Spread::of(&job.write_p99_ms()));
    let (rows, bytes): (Vec<f64>, Vec<f64>) = job.write_most.iter().copied().unzip();
    add("most rows of a write transaction", "rows", Spread::of(&rows));
    add("most bytes of a write transaction", "bytes", Spread::of(&bytes));
    let (of_host, of_native): (Vec<f64>, Vec<f64>) = job.in_flight.iter().copied().unzip();
    add("in flight, Backline", "requests", Spread::of(&of_host));
    add("in flight, native", "requests", Spread::of(&of_native));
    // The token that the native program asks for at each start is one request more.
    for (host, native) in &job.requests {
        if (host - native).abs() > 10.0 {
            found.note(by, format!("{what}: Backline sent {host} requests, the native program {native}"));
        }
    }
}

fn stored(lab: &mut Lab, found: &mut Found) -> Result<()> {
    /// Tables that are shown; the others take next to nothing.
    const TABLES: usize = 8;
    let by = Measurement::Storage;
    let stored = storage::measure(lab)?;
    found.row("bytes", Spread::of(&[stored.bytes]));
    for (table, bytes) in stored.tables.into_iter().take(TABLES) {
        found.detail(by, format!("bytes per account and day: {table}"), "bytes", Spread::of(&[bytes]));
    }
    let (of_postgres, of_host) = stored.late_cpu_us;
    let late = "per account, 1,000 artists, days 26 to 30";
    found.detail(by, format!("CPU of PostgreSQL {late}"), "µs", Spread::of(&of_postgres));
    found.detail(by, format!("CPU of the host {late}, start-up included"), "µs", Spread::of(&of_host));
    if let Some(note) = stored.note {
        found.note(by, note);
    }
    Ok(())
}

fn sandbox(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let estimates = micro::measure(lab)?;
    found.row("sandbox-batch", micro::per_batch(&estimates).and_then(|figure| Spread::of(&[figure])));
    found.row("sandbox-account", micro::per_account(&estimates).and_then(|figure| Spread::of(&[figure])));
    for (name, (mean, low, high)) in estimates {
        let figure = Spread::of(&[low, mean, high]).map(|spread| spread.scaled(0.001));
        found.detail(Measurement::Sandbox, format!("micro-benchmark {name}"), "µs", figure);
    }
    Ok(())
}

fn swapped(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let by = Measurement::Swaps;
    let swapped = swaps::measure(lab)?;
    let (with, without) = swapped.p99_ms;
    found.row("swaps-p99", Spread::of(&[with / without]));
    found.row("swaps-failed", Spread::of(&[swapped.failed]));
    found.row("swaps-doubled", Spread::of(&[swapped.doubled.max(0.0)]));
    if lab.is_quick {
        let reason = format!("--quick collects for as long as {} swaps take", swapped.swaps);
        found.outcomes.insert("swaps-count", FigureResult::NotMeasured(reason));
    } else {
        found.row("swaps-count", Spread::of(&[f64::from(swaps::SWAPS - swapped.swaps)]));
    }
    let artists = swapped.artists;
    found.detail(by, format!("batch's 99th percentile, {artists} artists, with swaps"), "ms", Spread::of(&[with]));
    found.detail(by, format!("batch's 99th percentile, {artists} artists, without"), "ms", Spread::of(&[without]));
    for (platform, microseconds) in swapped.sandbox_us {
        let what = format!("sandbox CPU time per account, connector {platform} of job A");
        found.detail(by, what, "µs", Spread::of(&[microseconds]));
    }
    found.detail(by, "`plugins activate` under load, as a command".to_owned(), "ms", Spread::of(&swapped.command_ms));
    Ok(())
}

fn read(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let by = Measurement::Reading;
    let read = reading::measure(lab)?;
    found.row("reading", Spread::of(&read.ms));
    found.row("reading-rows", Spread::of(&[read.foreign]));
    if read.is_compiled {
        let text = "reading: PostgreSQL compiled the plan (`jit`), since it takes it for expensive";
        found.note(by, text.to_owned());
    }
    found.detail(by, "the same read as the first of a connection".to_owned(), "ms", Spread::of(&read.first_ms));
    found.detail(by, "rows that the signed-in user reads".to_owned(), "rows", Spread::of(&[read.rows]));
    found.detail(by, "rows stored in metrics".to_owned(), "rows", Spread::of(&[read.stored]));
    Ok(())
}

fn served(lab: &mut Lab, found: &mut Found) -> Result<()> {
    let by = Measurement::Serving;
    let served = serving::measure(lab)?;
    let of_reads = |of_hundred| Spread::of(percentile(&served.read_ms, of_hundred).as_slice());
    found.row("serving-overview", Spread::of(&served.overview_ms));
    found.row("serving-artist", Spread::of(&served.artist_ms));
    found.row("serving-p99", of_reads(99));
    found.row("serving-failed", Spread::of(&[served.failed]));
    let (before, after) = served.resident;
    found.row("serving-growth", Spread::of(&[after / before]));
    found.row("serving-csv", Spread::of(&[served.csv.peak * 1e-6]));
    found.row("serving-parquet", Spread::of(&[served.parquet.peak * 1e-6]));
    let mut add = |what: &str, unit: &str, figure| found.detail(by, format!("serving: {what}"), unit, figure);
    add("the page of an artist for a year", "ms", Spread::of(&served.artist_year_ms));
    add("median of reads of metrics", "ms", of_reads(50));
    add("slowest read of metrics", "ms", of_reads(100));
    add("CPU of the host in these reads, of its core", "%", Spread::of(&[served.cpu_percent]));
    add("memory of the host before these reads", "MB", Spread::of(&[before * 1e-6]));
    add("memory of the host after them", "MB", Spread::of(&[after * 1e-6]));
    add("rows stored in metrics", "rows", Spread::of(&[served.stored]));
    add("rows that are sent in one go", "rows", Spread::of(&[served.streamed]));
    for (name, streamed) in [("CSV", &served.csv), ("Parquet", &served.parquet)] {
        add(&format!("time of these rows as {name}"), "s", Spread::of(&[streamed.seconds]));
        add(&format!("size of these rows as {name}"), "MB", Spread::of(&[streamed.bytes * 1e-6]));
    }
    Ok(())
}

fn binary(lab: &Lab, found: &mut Found) -> Result<()> {
    let path = &lab.release.host;
    let bytes = std::fs::metadata(path).with_context(|| format!("failed to read {}", path.display()))?.len();
    #[expect(clippy::cast_precision_loss, reason = "a file has less than 2^53 bytes")]
    found.row("binary", Spread::of(&[bytes as f64 * 1e-6]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str, ms: f64, ms_per_batch: f64) -> Statement {
        let by = Measurement::Job1000.name().to_owned();
        Statement { by, calls: 1.0, ms, ms_per_batch, rows: 1.0, statement: text.to_owned() }
    }

    #[test]
    fn the_statement_that_grows_most_is_found_among_those_that_matter() {
        let few = [statement("a", 10.0, 1.0), statement("b", 10.0, 1.0), statement("rare", 0.1, 0.01)];
        let many = [statement("a", 110.0, 1.1), statement("b", 300.0, 3.0), statement("rare", 0.5, 0.05)];
        assert_eq!(worst_growth(&few, &many), Some((3.0, "b")));
        assert_eq!(worst_growth(&[], &many), None, "without the smaller job");
        assert_eq!(worst_growth(&few, &[]), None);
    }

    #[test]
    fn a_later_run_is_compared_with_what_an_earlier_one_found() {
        use super::super::results::tests::results;

        let mut earlier = results(&[("memory", 100.0)]);
        assert_eq!(Found::after(Some(&earlier)).at_10000, None, "it has no time");
        earlier.details[0].what = "job A, 10 000 artists, 0 ms, PostgreSQL: Backline".to_owned();
        let found = Found::after(Some(&earlier));
        assert_eq!(found.at_10000, Some((1.0, 1e8)));
        assert_eq!(found.at_1000.len(), 1);
        assert_eq!(Found::after(None).at_10000, None);
    }
}
