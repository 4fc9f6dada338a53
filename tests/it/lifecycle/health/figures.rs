//! Tests of the Prometheus metrics: all metrics in rules and dashboard exist, on one host only, and the rules are
//! valid.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backline::pipeline::service::Service;
use backline_simulator::{Fault, FaultKind, RetryAfter, SimulatorConfig};
use chrono::TimeDelta;
use serde_json::Value as Json;

use crate::support::components::{plugin, target, workspace};
use crate::support::database::each_database;
use crate::support::fleet::until;
use crate::support::host::HostExt as _;
use crate::support::stage::{PLATFORMS, Stage, noon};

const WAIT_MAX: Duration = Duration::from_secs(180);

/// The names of Backline's metrics and of its process metrics in a text. Other words, such as PromQL keywords and
/// labels, are ignored.
fn figures_named(text: &str) -> BTreeSet<String> {
    let mut words =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map(str::to_owned).collect::<BTreeSet<_>>();
    words.retain(|word| (word.starts_with("backline_") || word.starts_with("process_")) && *word != "backline_");
    words
}

/// The names of all series, including the parts of histograms.
fn figures_shown(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

/// The metrics of a service that has collected, met a fault, and checked health.
async fn figures_of_a_busy_service(url: &str) -> String {
    let simulator = SimulatorConfig { artists: 4, ..SimulatorConfig::default() };
    let stage = Stage::installed(url, simulator, |config| {
        config.schedules.clear();
        config.service.poll_ms = 20;
        config.health.every_s = 1;
    })
    .await;
    let fault = Fault::always(FaultKind::Status { status: 503, retry_after: RetryAfter::Absent });
    stage.simulator.set_faults(vec![fault.on_host("api.spotify.com")]);
    // YouTube's accounts wait for its quota, so that a batch is open.
    let quota = [("units".to_owned(), 1)].into();
    stage.host.install_with(&plugin("youtube"), &quota).await.expect("the quota is granted");
    stage.import().await;
    let service = Service::start(stage.another_host(|_| {}).await).await.expect("it starts");
    let status = service.status();
    let text = until(WAIT_MAX, "every account has ended and health was looked at since", async || {
        let text = status.metrics().await;
        let line = |figure: &str, number: u64| text.contains(&format!("{figure} {number}\n"));
        let all = PLATFORMS.iter().all(|platform| {
            let state = match *platform {
                "spotify" => "failed",
                "youtube" => "deferred",
                _ => "collected",
            };
            line(&format!("backline_health_accounts{{platform=\"{platform}\",state=\"{state}\"}}"), 4)
        });
        // The service reads the state of batches from the database every five seconds.
        (all && text.contains("backline_batches_open{state=\"deferred\"} 1\n")
            && text.contains("backline_health_alert_firing{alert=\"completion\",platform=\"spotify\"} 1"))
        .then_some(text)
    })
    .await;
    service.stop().await;
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_dashboard_name_only_figures_that_a_service_shows() {
    let folder = workspace().join("docs/ops");
    let rules = std::fs::read_to_string(folder.join("backline.rules.yml")).unwrap();
    let dashboard: Json =
        serde_json::from_str(&std::fs::read_to_string(folder.join("grafana-dashboard.json")).unwrap()).unwrap();
    let expressions: Vec<String> = expressions_of(&dashboard);
    assert!(expressions.len() > 20, "{expressions:?}");
    let rules: String = rules.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    let mut named = figures_named(&rules);
    named.extend(figures_named(&expressions.join("\n")));
    assert!(named.len() > 20, "{named:?}");
    each_database(async |_, url| {
        let text = figures_of_a_busy_service(url).await;
        let shown = figures_shown(&text);
        // A metric without any event has no series yet, but its type is shown.
        let told = |name: &str| {
            let family = name.strip_suffix("_total").unwrap_or(name);
            text.contains(&format!("# TYPE {family} "))
        };
        for name in &named {
            assert!(shown.contains(name) || told(name), "the metric {name} is missing:\n{text}");
        }
        for line in ["NaN", "inf"] {
            assert!(!text.contains(&format!(" {line}\n")), "{line}:\n{text}");
        }
        check_metrics(&text);
    })
    .await;
}

/// Every `expr` in a dashboard; each panel with one has a data source that can be chosen.
fn expressions_of(dashboard: &Json) -> Vec<String> {
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert!(variables.iter().any(|of| of["type"] == "datasource" && of["name"] == "datasource"), "{variables:?}");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "panel ids are unique");
    let targets = panels.iter().filter(|panel| panel["type"] != "row").flat_map(|panel| {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        panel["targets"].as_array().expect("targets").clone()
    });
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_host_shows_health_and_another_takes_over() {
    each_database(async |_, url| {
        let stage = Stage::installed(url, SimulatorConfig { artists: 1, ..SimulatorConfig::default() }, |config| {
            config.schedules.clear();
            config.service.poll_ms = 20;
            config.health.every_s = 1;
        })
        .await;
        let start = async || Service::start(stage.another_host(|_| {}).await).await.expect("it starts");
        let looks = async |service: &Service| {
            service.status().metrics().await.contains("backline_health_looked_timestamp_seconds{")
        };
        let one = start().await;
        until(WAIT_MAX, "the first shows health", async || looks(&one).await.then_some(())).await;
        let other = start().await;
        // Long enough for the other host to check too, if it did, and too short for the role to become free.
        for seconds in 1..4 {
            let now = noon(SimulatorConfig::default().date) + TimeDelta::seconds(seconds);
            stage.set_time(now);
            let shown = format!("backline_health_looked_timestamp_seconds{{}} {}.0\n", now.timestamp());
            until(WAIT_MAX, "the first has looked once more", async || {
                one.status().metrics().await.contains(&shown).then_some(())
            })
            .await;
            assert!(!looks(&other).await, "only one host shows health");
        }
        one.stop().await;
        until(WAIT_MAX, "the other shows health", async || looks(&other).await.then_some(())).await;
        other.stop().await;
    })
    .await;
}

#[test]
fn the_rules_are_valid_and_fire_when_they_should() {
    let folder = workspace().join("docs/ops");
    for arguments in [
        &["check", "rules", "backline.rules.yml"][..],
        &["test", "rules", "backline.rules.test.yml"],
        &["check", "config", "prometheus.yml"],
    ] {
        let output = Command::new(promtool()).current_dir(&folder).args(arguments).output().expect("promtool starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
    }
    every_rule_is_tested(&folder);
}

/// Checks that each rule has a test in which it fires and one in which it does not.
fn every_rule_is_tested(folder: &Path) {
    let rules = std::fs::read_to_string(folder.join("backline.rules.yml")).unwrap();
    let tests = std::fs::read_to_string(folder.join("backline.rules.test.yml")).unwrap();
    let names: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(tests.contains(&format!("alertname: {name}, exp_alerts: []")), "{name} is never expected not to fire");
        assert!(tests.contains(&format!("alertname: {name}\n        exp_alerts:")), "{name} is never expected to fire");
    }
}

/// Checks the names and types of metrics with promtool. It reads the older Prometheus format, in which the name of a
/// counter's family has the suffix too.
fn check_metrics(text: &str) {
    use std::io::Write as _;

    let mut counters = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")) {
            counters.insert(name.to_owned());
        }
    }
    let mut older = String::new();
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", kind, name, rest] if counters.contains(*name) => older += &format!("# {kind} {name}_total {rest}\n"),
            _ => older += &format!("{line}\n"),
        }
    }
    let mut child = Command::new(promtool())
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("piped").write_all(older.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool check metrics: {said}\n{older}");
}

/// The system's program, or the one `cargo xtask test` has unpacked.
fn promtool() -> PathBuf {
    let unpacked = target().join("tools/prometheus/usr/bin/promtool");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("promtool"));
    installed.chain([unpacked]).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("promtool is missing: `cargo xtask test --suite lifecycle` gets it, or install the package prometheus")
    })
}

/// A retried batch counts the requests of all its attempts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_all_attempts_are_counted() {
    each_database(async |_, url| {
        let simulator = SimulatorConfig { artists: 3, ..SimulatorConfig::default() };
        let start = simulator.date;
        let stage = Stage::installed(url, simulator, |config| {
            let price = backline_rules::health::PlatformPrice { per_1000_requests: 0.1, ..Default::default() };
            config.costs.platforms.insert(crate::support::stage::platform("youtube"), price);
        })
        .await;
        stage.import_some(&["youtube"], |_| backline_model::Tenant::default()).await;
        // Often enough for the first attempt to fail, but not the second.
        let fault = Fault::always(FaultKind::Status { status: 503, retry_after: RetryAfter::Absent });
        let retries = u64::from(stage.host.config().gateway.retries_max) + 1;
        stage.simulator.set_faults(vec![fault.on_host("youtube.googleapis.com").times(retries)]);
        let report = stage.run(start).await;
        assert_eq!((report.run.counts.collected, report.run.counts.failed), (3, 0), "{report:?}");
        let sent = stage.simulator.counts().hosts["youtube.googleapis.com"];
        assert!(sent > retries, "{sent}");
        let health = stage.host.health().report(None).await.expect("health is computed");
        assert_eq!(health.cost.requests, sent, "{:?}", health.cost);
        assert_eq!((health.cost.artists, health.total.completion), (3, Some(1.0)));
        #[expect(clippy::cast_precision_loss, reason = "a few requests")]
        let expected = sent as f64 / 1_000.0 * 0.1 * 30.0 * 1_000.0 / 3.0;
        assert!((health.cost.per_1000_artists.unwrap() - expected).abs() < 1e-6, "{:?} {expected}", health.cost);
    })
    .await;
}
