//! Job A: the account-level numbers of five platforms, collected by Backline and by the native program in turn, on the
//! same cores and against the same simulator.

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;

use super::figures::Spread;
use super::lab::{Lab, Scenario};
use super::meter::{self, MEASURED_CORE, Run};
use super::server::Database;
use crate::dates::Date;
use crate::process::say;

/// What the repetitions of one job came to. All lists have one entry for each repetition.
#[derive(Debug, Default)]
pub(crate) struct Job {
    /// Seconds from the native program's first request to its end.
    pub(crate) native: Vec<f64>,
    /// Seconds with start-up.
    pub(crate) native_started: Vec<f64>,
    /// Seconds of CPU time of the native program.
    pub(crate) native_cpu: Vec<f64>,
    /// Seconds from the first lease to the end of the last batch.
    pub(crate) backline: Vec<f64>,
    /// Seconds with start-up.
    pub(crate) backline_started: Vec<f64>,
    /// Seconds from the process's start to the first lease.
    pub(crate) start: Vec<f64>,
    /// Seconds of CPU time of the host.
    pub(crate) host_cpu: Vec<f64>,
    /// Seconds of CPU time of PostgreSQL in the host's run; empty on SQLite.
    pub(crate) postgres_cpu: Vec<f64>,
    /// The same in the native program's run.
    pub(crate) native_postgres_cpu: Vec<f64>,
    /// Most resident bytes of the host.
    pub(crate) peak_bytes: Vec<f64>,
    /// Requests of the host and of the native program.
    pub(crate) requests: Vec<(f64, f64)>,
    /// Most requests in flight of the host and of the native program.
    pub(crate) in_flight: Vec<(f64, f64)>,
    /// Milliseconds of the transactions by which the host stored batches: median and 99th percentile.
    pub(crate) write_ms: Vec<(f64, f64)>,
    /// Most rows that one of these transactions touched, and most bytes that one sent.
    pub(crate) write_most: Vec<(f64, f64)>,
    /// Batches of one run.
    pub(crate) batches: f64,
}

impl Job {
    /// The host's time by the native program's, without start-up for both.
    pub(crate) fn ratio(&self) -> Option<Spread> {
        Spread::of_ratios(&self.backline, &self.native)
    }

    /// The host's time by the native program's, with start-up for both.
    pub(crate) fn ratio_started(&self) -> Option<Spread> {
        Spread::of_ratios(&self.backline_started, &self.native_started)
    }

    /// The 99th percentile of write transactions, in milliseconds.
    pub(crate) fn write_p99_ms(&self) -> Vec<f64> {
        self.write_ms.iter().map(|(_, p99)| *p99).collect()
    }
}

/// Collects the scenario's first day by the native program, which is not measured: Backline has collected it already.
///
/// # Errors
/// If the run fails.
pub(crate) fn warm_up(lab: &Lab, scenario: &Scenario) -> Result<()> {
    let date = scenario.day();
    lab.simulate(date, 0)?;
    native(lab, scenario, date).map(|_| ())
}

/// Collects further days, by the native program and by Backline in turn.
///
/// # Errors
/// If a run fails or stores other rows than it should.
pub(crate) fn measure(lab: &Lab, scenario: &mut Scenario, latency_ms: u32) -> Result<Job> {
    let mut job = Job::default();
    for repetition in 1..=lab.repetitions {
        say(format!(
            "job A, {} artists, {latency_ms} ms, {}: {repetition} of {}",
            scenario.artists,
            if scenario.backline.is_sqlite() { "SQLite" } else { "PostgreSQL" },
            lab.repetitions
        ));
        once(lab, scenario, latency_ms, &mut job)?;
    }
    Ok(job)
}

fn once(lab: &Lab, scenario: &mut Scenario, latency_ms: u32, job: &mut Job) -> Result<()> {
    let date = scenario.next_day();
    let postgres_cpu = || if scenario.backline.is_sqlite() { Ok(0.0) } else { lab.server.cpu_seconds() };

    lab.simulate(date, latency_ms)?;
    let before = postgres_cpu()?;
    let native = native(lab, scenario, date)?;
    job.native_postgres_cpu.push(postgres_cpu()? - before);
    let (native_requests, native_in_flight) = counts(lab)?;

    lab.simulate(date, latency_ms)?;
    let before = postgres_cpu()?;
    let (run, report) = lab.collect(&scenario.backline, date)?;
    job.postgres_cpu.push(postgres_cpu()? - before);
    let (requests, in_flight) = counts(lab)?;

    check(scenario, date, &report)?;
    let id = report["run"]["id"].as_str().context("the run's report has no id")?;
    let (seconds, first_lease, batches) = batches(&scenario.backline, id)?;
    let native_report: Json = serde_json::from_str(&native.output).context("the native program printed no JSON")?;
    job.native.push(native_report["seconds"].as_f64().context("the native program printed no time")?);
    job.native_started.push(native.seconds);
    job.native_cpu.push(native.cpu_seconds);
    job.backline.push(seconds);
    job.backline_started.push(run.seconds);
    job.start.push(first_lease - run.began);
    job.host_cpu.push(run.cpu_seconds);
    #[expect(clippy::cast_precision_loss, reason = "a process has less than 2^53 bytes")]
    job.peak_bytes.push(run.peak_bytes.max(report["peak_rss_bytes"].as_u64().unwrap_or(0)) as f64);
    job.requests.push((requests, native_requests));
    job.in_flight.push((in_flight, native_in_flight));
    let writes = Writes::of(&report)?;
    job.write_ms.push((writes.median_ms, writes.p99_ms));
    job.write_most.push((writes.rows_max, writes.bytes_max));
    job.batches = batches;
    Ok(())
}

/// What the report of `backline run --json` says of the transactions by which it stored batches.
#[derive(Debug, PartialEq)]
struct Writes {
    median_ms: f64,
    p99_ms: f64,
    rows_max: f64,
    bytes_max: f64,
}

impl Writes {
    fn of(report: &Json) -> Result<Self> {
        let number = |name: &str| {
            report["write_transactions"][name].as_f64().with_context(|| format!("the run's report has no {name}"))
        };
        Ok(Self {
            median_ms: number("median_ms")?,
            p99_ms: number("p99_ms")?,
            rows_max: number("rows_max")?,
            bytes_max: number("bytes_max")?,
        })
    }
}

fn native(lab: &Lab, scenario: &Scenario, date: Date) -> Result<Run> {
    let (artists, credentials) = lab.native_files(scenario.artists)?;
    let mut command = meter::pinned(&lab.release.native, MEASURED_CORE);
    command.args(["--simulator", &lab.simulator.addr.to_string(), "--date", &date.to_string()]);
    command.args(["--database", &scenario.native.url]).arg("--artists").arg(artists);
    command.arg("--credentials").arg(credentials);
    let run = meter::run(command, &lab.interrupt)?;
    if run.code != Some(0) {
        bail!("the native program failed; its message is above");
    }
    Ok(run)
}

/// Requests since the counts were forgotten, and the most in flight.
pub(crate) fn counts(lab: &Lab) -> Result<(f64, f64)> {
    let counts: Json = serde_json::from_str(&lab.simulator.control("GET", "counts", "")?)?;
    let number = |name: &str| counts[name].as_f64().with_context(|| format!("the simulator does not count {name}"));
    Ok((number("requests")?, number("in_flight_max")?))
}

/// Checks that everything planned was collected, and that both programs have stored the same numbers.
fn check(scenario: &Scenario, date: Date, report: &Json) -> Result<()> {
    let count = |name: &str| report["run"]["counts"][name].as_f64();
    if count("planned") != Some(scenario.accounts()) || count("collected") != Some(scenario.accounts()) {
        bail!("{} accounts were to be collected: {}", scenario.accounts(), report["run"]["counts"]);
    }
    let sums = sums(date);
    let (stored, expected) = (scenario.backline.lines(&[&sums])?, scenario.native.lines(&[&sums])?);
    if stored != expected || stored.len() != 5 {
        bail!("Backline and the native program stored different numbers of {date}: {stored:?} and {expected:?}");
    }
    Ok(())
}

/// The statement that adds a day's numbers up, platform by platform. Both databases and both programs have the columns.
fn sums(date: Date) -> String {
    let numbers = ["followers", "following", "posts_count", "total_views", "popularity"]
        .map(|column| format!("coalesce(CAST(sum({column}) AS BIGINT), 0)"));
    format!(
        "SELECT platform || ' ' || count(*) || ' ' || count(genres) || ' ' || {} FROM metrics
         WHERE metric_date = '{date}' GROUP BY platform ORDER BY platform",
        numbers.join(" || ' ' || ")
    )
}

/// Of a run's batches: seconds from the first lease to the end of the last, the time of the first lease in Unix
/// seconds, and their number.
fn batches(database: &Database, run: &str) -> Result<(f64, f64, f64)> {
    let seconds = |time: &str| {
        if database.is_sqlite() {
            format!("(julianday({time}) - 2440587.5) * 86400.0")
        } else {
            format!("extract(epoch FROM {time})")
        }
    };
    let text = database.text(&format!(
        "SELECT '' || ({}) || ' ' || ({}) || ' ' || count(*) FROM batches WHERE run_id = '{run}'",
        seconds("min(began_at)"),
        seconds("max(finished_at)")
    ))?;
    let numbers: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[began, ended, count]) if ended > began => Ok((ended - began, began, count)),
        _ => bail!("the batches of run {run} have no times: '{text}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_repetition_by_repetition() {
        let job = Job { native: vec![1.0, 2.0], backline: vec![3.0, 2.0], ..Job::default() };
        let ratio = job.ratio().expect("two");
        assert_eq!((ratio.low, ratio.high), (1.0, 3.0));
        assert_eq!(job.ratio_started(), None);
    }

    #[test]
    fn write_transactions_are_read_from_the_report() {
        let report = serde_json::json!({ "write_transactions": {
            "transactions": 120, "median_ms": 12.5, "p99_ms": 40.0, "rows_max": 300, "bytes_max": 90_000 } });
        let writes = Writes { median_ms: 12.5, p99_ms: 40.0, rows_max: 300.0, bytes_max: 90_000.0 };
        assert_eq!(Writes::of(&report).expect("all is there"), writes);
        let error = Writes::of(&serde_json::json!({ "write_transactions": null })).expect_err("nothing was stored");
        assert!(error.to_string().contains("median_ms"), "{error}");
    }

    #[test]
    fn the_sums_are_of_one_day() {
        let statement = sums("2026-11-20".parse().expect("a day"));
        assert!(statement.contains("metric_date = '2026-11-20'"), "{statement}");
        assert!(statement.contains("sum(total_views)"), "{statement}");
    }
}
