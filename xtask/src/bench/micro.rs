//! The micro-benchmarks of the crates, run by criterion, and its estimates read from the build folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value as Json;

use super::lab::Lab;
use super::meter::{self, MEASURED_CORE};
use crate::process::{self, say};

/// The micro-benchmarks: of `host/rules`, of `host/gateway` and of `host/sandbox`.
const TARGETS: [&str; 3] = ["stages", "secrets", "calls"];

/// Nanoseconds of each benchmark by name, such as `sandbox/fetch-50`: the mean, and its confidence interval.
pub(crate) type Estimates = BTreeMap<String, (f64, f64, f64)>;

/// Runs all micro-benchmarks, each alone on the core of what is measured.
///
/// # Errors
/// If one can't be built, or fails.
pub(crate) fn measure(lab: &Lab) -> Result<Estimates> {
    // A folder of this run's own: results of other commits may lie in the build folder.
    let folder = lab.path().join("criterion");
    say("building the micro-benchmarks (some minutes the first time)");
    process::run(bench().arg("--no-run"))?;
    lab.interrupt.check()?;
    let (warm_up, measurement) = if lab.is_quick { ("0.2", "0.5") } else { ("1", "3") };
    let mut command = bench();
    command.args(["--", "--noplot", "--quiet", "--warm-up-time", warm_up, "--measurement-time", measurement]);
    command.env("BACKLINE_BENCH_COMPONENT", lab.component("passes_on")?).env("CRITERION_HOME", &folder);
    if meter::can_pin() {
        // Cargo runs what it has built by this program, and is not pinned itself.
        let runner = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
        command.env(runner, format!("taskset --cpu-list {MEASURED_CORE}"));
    }
    say("running the micro-benchmarks");
    process::run(&mut command)?;
    let mut estimates = Estimates::new();
    for group in folders_in(&folder)? {
        for name in folders_in(&folder.join(&group))? {
            let file = folder.join(&group).join(&name).join("new/estimates.json");
            if let Ok(text) = std::fs::read_to_string(&file) {
                let estimate = estimate(&text).with_context(|| format!("{} is not as expected", file.display()))?;
                estimates.insert(format!("{group}/{name}"), estimate);
            }
        }
    }
    Ok(estimates)
}

/// Cargo's command for all of them at once. It names the workspace as the release build does, not the packages: then
/// most libraries have the features that they have there, and are not built again.
fn bench() -> Command {
    let mut command = process::cargo();
    command.args(["bench", "--quiet", "--workspace", "--exclude", "xtask"]);
    for target in TARGETS {
        command.args(["--bench", target]);
    }
    command
}

fn folders_in(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    Ok(folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// Mean, lower and upper bound of criterion's estimate, in nanoseconds.
fn estimate(text: &str) -> Result<(f64, f64, f64)> {
    let json: Json = serde_json::from_str(text)?;
    let mean = &json["mean"];
    let number = |json: &Json| json.as_f64().context("the mean lacks a number");
    let bounds = &mean["confidence_interval"];
    Ok((number(&mean["point_estimate"])?, number(&bounds["lower_bound"])?, number(&bounds["upper_bound"])?))
}

/// Microseconds of a fresh store with an instance and one call that does nothing.
pub(crate) fn per_batch(estimates: &Estimates) -> Option<f64> {
    estimates.get("sandbox/fetch-0").map(|(mean, ..)| mean / 1000.0)
}

/// Microseconds of each account in a batch of 50: `fetch` and `normalize` of 50 accounts, without what a batch of one
/// takes.
pub(crate) fn per_account(estimates: &Estimates) -> Option<f64> {
    let of = |accounts: u32| -> Option<f64> {
        let mean = |call: &str| estimates.get(&format!("sandbox/{call}-{accounts}")).map(|(mean, ..)| *mean);
        Some(mean("fetch")? + mean("normalize")?)
    };
    Some((of(50)? - of(1)?) / 49.0 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterions_estimate_is_read() {
        let text = r#"{"mean": {"confidence_interval": {"confidence_level": 0.95, "lower_bound": 9.0,
            "upper_bound": 11.0}, "point_estimate": 10.0, "standard_error": 0.5}, "median": {}}"#;
        assert_eq!(estimate(text).expect("an estimate"), (10.0, 9.0, 11.0));
        assert!(estimate("{}").is_err());
    }

    #[test]
    fn an_account_costs_what_49_more_of_them_add() {
        let all = [
            ("fetch-0", 20_000.0),
            ("fetch-1", 30_000.0),
            ("normalize-1", 20_000.0),
            ("fetch-50", 130_000.0),
            ("normalize-50", 120_000.0),
        ];
        let all: Estimates = all.into_iter().map(|(name, ns)| (format!("sandbox/{name}"), (ns, ns, ns))).collect();
        assert_eq!(per_batch(&all), Some(20.0));
        let per_account = per_account(&all).expect("all are there");
        assert!((per_account - 200.0 / 49.0).abs() < 1e-9, "{per_account}");
        assert_eq!(super::per_account(&Estimates::new()), None);
    }
}
