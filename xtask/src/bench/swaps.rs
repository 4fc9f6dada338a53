//! Hot swaps under load: a serving host collects every account, while releases that are installed and compiled already
//! are activated in turn. The same without swaps is measured beside it: there the active release is activated again and
//! again, which changes nothing, so that both collections have as many commands beside them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;

use super::job;
use super::lab::{Lab, Scenario};
use super::meter::{self, Ended, MEASURED_CORE, OTHER_CORE};
use super::server::Database;
use crate::http;
use crate::process::{self, say};

/// The connector that is swapped: all its accounts take a request each, so that its batches run to the end.
const CONNECTOR: &str = "instagram";

/// The versions that are swapped.
const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];

/// Swaps to make.
pub(crate) const SWAPS: u32 = 100;

/// Latency of the simulator in milliseconds: the run has to last as long as the swaps take.
const LATENCY_MS: u32 = 200;

/// Time between two looks at the database.
const LOOK: Duration = Duration::from_millis(200);

/// How long the collection may take.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// How long a host may have no open batch before whatever is missing is lost.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// What the two collections came to.
pub(crate) struct Swapped {
    /// 99th percentile of a batch's time in milliseconds, with and without swaps.
    pub(crate) p99_ms: (f64, f64),
    /// Swaps made while batches ran.
    pub(crate) swaps: u32,
    /// Accounts that failed or whose row is missing.
    pub(crate) failed: f64,
    /// Requests beyond those without swaps.
    pub(crate) doubled: f64,
    /// Milliseconds that the activations took, each as a command of its own.
    pub(crate) command_ms: Vec<f64>,
    /// Microseconds of CPU time in the sandbox for each account, by platform, without swaps.
    pub(crate) sandbox_us: Vec<(String, f64)>,
    pub(crate) artists: u32,
}

/// Collects twice: without swaps, and with them.
///
/// # Errors
/// If a host does not start or does not collect.
pub(crate) fn measure(lab: &mut Lab) -> Result<Swapped> {
    let artists = if lab.is_quick { 1_000 } else { 10_000 };
    let calm = collect(lab, artists, [VERSIONS[0], VERSIONS[0]])?;
    let swapped = collect(lab, artists, VERSIONS)?;
    Ok(Swapped {
        p99_ms: (swapped.p99_ms, calm.p99_ms),
        swaps: swapped.swaps,
        failed: swapped.failed,
        doubled: swapped.requests - calm.requests,
        command_ms: swapped.command_ms,
        sandbox_us: calm.sandbox_us,
        artists,
    })
}

struct Collected {
    p99_ms: f64,
    swaps: u32,
    failed: f64,
    requests: f64,
    command_ms: Vec<f64>,
    sandbox_us: Vec<(String, f64)>,
}

/// Collects every account while the versions are activated in turn, the first of which is active at first.
fn collect(lab: &mut Lab, artists: u32, versions: [&str; 2]) -> Result<Collected> {
    let mut scenario = lab.postgres(artists)?;
    let date = scenario.next_day();
    let stage = lab.stage.on(&scenario.backline.url);
    let next = packed(lab, VERSIONS[1])?;
    // Installing activates it; both are compiled then.
    stage.backline(&["plugins", "install", &next.to_string_lossy(), "--yes"], None)?;
    activate(lab, &scenario, VERSIONS[0])?;
    lab.simulate(date, LATENCY_MS)?;
    // What makes an account collectable asks for its collection in this way; a host that starts to serve finds it.
    scenario.backline.run(&["INSERT INTO activations (artist_id, platform, cause, at)
             SELECT id, '', 'activation', now() FROM artists ON CONFLICT DO NOTHING"])?;
    let before = Counted::of(&scenario.backline, "")?;
    let with = if versions[0] == versions[1] { "without" } else { "with" };
    say(format!("a serving host collects {artists} artists {with} hot swaps"));
    let mut command = stage.with_arguments(meter::pinned(&lab.release.host, MEASURED_CORE), &["serve"]);
    let (host, address) = serving(&mut command)?;
    let (started, mut seen_open) = (Instant::now(), Instant::now());
    let (mut made, mut command_ms) = (0, Vec::new());
    let counted = loop {
        lab.interrupt.check()?;
        let counted = Counted::of(&scenario.backline, &before.latest)?;
        let is_open = counted.open > 0.0 || counted.batches < 1.0;
        if is_open {
            seen_open = Instant::now();
        }
        let rows = counted.rows - before.rows;
        if !is_open && (rows >= scenario.accounts() || seen_open.elapsed() > LOST_AFTER) {
            break counted;
        }
        if started.elapsed() > WAIT_MAX {
            bail!("the host collected {rows} of {} accounts in {WAIT_MAX:?}", scenario.accounts());
        }
        if counted.open > 0.0 && made < SWAPS {
            let version = versions[usize::from(made.is_multiple_of(2))];
            let began = Instant::now();
            activate(lab, &scenario, version)?;
            command_ms.push(began.elapsed().as_secs_f64() * 1000.0);
            made += 1;
        } else {
            std::thread::sleep(LOOK);
        }
    };
    let (requests, _) = job::counts(lab)?;
    let sandbox_us = sandbox_us(&http::request(address, "GET", "/metrics", "")?, artists);
    drop(host);
    let p99_ms = scenario.backline.number(&format!(
        "SELECT (1000 * percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - began_at)))::text
         FROM batches WHERE created_at > '{}' AND began_at IS NOT NULL AND finished_at IS NOT NULL",
        before.latest
    ))?;
    lab.close(&scenario)?;
    let failed = (counted.failed - before.failed).max(scenario.accounts() - (counted.rows - before.rows));
    Ok(Collected { p99_ms, swaps: made, failed, requests, command_ms, sandbox_us })
}

/// What a database has at one moment.
struct Counted {
    /// When its latest batch was planned.
    latest: String,
    /// Batches that were planned after a time.
    batches: f64,
    /// Those of them that have not ended.
    open: f64,
    /// Rows of metrics.
    rows: f64,
    /// Accounts that were not collected.
    failed: f64,
}

impl Counted {
    /// Counts; `after` is the time after which batches count, none for all.
    fn of(database: &Database, after: &str) -> Result<Self> {
        let after = if after.is_empty() { "-infinity" } else { after };
        let text = database.text(&format!(
            "SELECT json_build_object(
                 'latest', (SELECT coalesce(max(created_at), '-infinity')::text FROM batches),
                 'batches', (SELECT count(*) FROM batches WHERE created_at > '{after}'),
                 'open', (SELECT count(*) FROM batches WHERE finished_at IS NULL AND created_at > '{after}'),
                 'rows', (SELECT count(*) FROM metrics),
                 'failed', (SELECT count(*) FROM collection_outcomes
                     WHERE outcome NOT IN ('collected', 'superseded')))::text"
        ))?;
        let json: Json = serde_json::from_str(&text).with_context(|| format!("'{text}' is no JSON"))?;
        let number = |name: &str| json[name].as_f64().with_context(|| format!("'{text}' has no {name}"));
        let latest = json["latest"].as_str().with_context(|| format!("'{text}' has no latest"))?.to_owned();
        Ok(Self {
            latest,
            batches: number("batches")?,
            open: number("open")?,
            rows: number("rows")?,
            failed: number("failed")?,
        })
    }
}

/// Activates a version, from the core of what is not measured.
fn activate(lab: &Lab, scenario: &Scenario, version: &str) -> Result<()> {
    let command = meter::pinned(&lab.release.host, OTHER_CORE);
    let arguments = ["plugins", "activate", CONNECTOR, version];
    let mut command = lab.stage.on(&scenario.backline.url).with_arguments(command, &arguments);
    let (_, code) = process::output(&mut command, None)?;
    if code == 0 { Ok(()) } else { bail!("`backline {}` ended with exit code {code}", arguments.join(" ")) }
}

/// The connector with another version in its manifest.
fn packed(lab: &Lab, version: &str) -> Result<PathBuf> {
    let manifest = process::workspace_root().join(format!("bench/connectors/examples/{CONNECTOR}.toml"));
    let text = std::fs::read_to_string(&manifest).with_context(|| format!("failed to read {}", manifest.display()))?;
    let changed = lab.path().join(format!("{CONNECTOR}-{version}.toml"));
    std::fs::write(&changed, with_version(&text, version)?)?;
    let component = lab.path().join(format!("{CONNECTOR}-{version}.wasm"));
    if !component.is_file() {
        let mut command = Command::new(&lab.release.host);
        command.args(["plugins", "pack"]).arg(crate::build::core_of_example(CONNECTOR)?);
        command.arg("--manifest").arg(&changed).arg("--output").arg(&component);
        process::run(&mut command)?;
    }
    Ok(component)
}

fn with_version(manifest: &str, version: &str) -> Result<String> {
    let line = format!("version = \"{}\"", VERSIONS[0]);
    if manifest.matches(&line).count() != 1 {
        bail!("the manifest does not say `{line}` once");
    }
    Ok(manifest.replace(&line, &format!("version = \"{version}\"")))
}

/// Microseconds of CPU time in the sandbox for each account, by platform, from what the host exports.
fn sandbox_us(metrics: &str, artists: u32) -> Vec<(String, f64)> {
    let of = |line: &str| {
        let (platform, rest) =
            line.strip_prefix("backline_sandbox_cpu_seconds_total{platform=\"")?.split_once("\"}")?;
        Some((platform.to_owned(), rest.split_whitespace().next()?.parse::<f64>().ok()? * 1e6 / f64::from(artists)))
    };
    metrics.lines().filter_map(of).collect()
}

/// Starts a service, and waits until it says where it listens.
///
/// # Errors
/// If it does not start.
pub(crate) fn serving(command: &mut Command) -> Result<(Ended, SocketAddr)> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start `{}`", process::shown(command)))?;
    let mut host = Ended(child);
    let mut lines = BufReader::new(host.0.stdout.take().context("standard output was piped")?);
    let mut line = String::new();
    lines.read_line(&mut line).context("the host's output can't be read")?;
    let address = line.split_once("listens on http://").and_then(|(_, address)| address.trim().parse().ok());
    let address = address.with_context(|| format!("the host did not start: {line}"))?;
    // Read on, so that the host never blocks on its output.
    std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    Ok((host, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> String {
        let path = process::workspace_root().join(format!("bench/connectors/examples/{CONNECTOR}.toml"));
        std::fs::read_to_string(path).expect("readable")
    }

    #[test]
    fn the_second_release_differs_by_its_version_alone() {
        let changed = with_version(&manifest(), VERSIONS[1]).expect("changed");
        assert!(changed.contains("version = \"1.1.0\""), "{changed}");
        assert_eq!(changed.lines().count(), manifest().lines().count());
        assert!(with_version("version = \"2.0.0\"", VERSIONS[1]).is_err());
    }

    #[test]
    fn the_sandboxs_time_is_read_for_each_platform() {
        let metrics = "# TYPE x counter\nbackline_sandbox_cpu_seconds_total{platform=\"tiktok\"} 0.5 1\nother 3\n";
        assert_eq!(sandbox_us(metrics, 100_000), [("tiktok".to_owned(), 5.0)]);
    }
}
