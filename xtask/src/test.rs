//! `cargo xtask test`: everything, on both databases, from a clean clone.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::process::{self, say};
use crate::{build, tools};

#[path = "../../tests/it/support/postgres.rs"]
#[allow(dead_code, reason = "the tests use more of it than this task does")]
mod postgres;

/// The parts of the test suite, with the arguments `cargo test` gets for each. The connectors' packages are added to
/// `connectors` when it runs.
const SUITES: [(&str, &[&str]); 13] = [
    ("unit", &["--package", "backline", "--lib", "--bins"]),
    ("connectors", &["--package", "backline-sdk"]),
    ("simulator", &["--package", "backline-simulator"]),
    ("sandbox", &["--package", "backline", "--test", "it", "sandbox::"]),
    ("gateway", &["--package", "backline", "--test", "it", "gateway::"]),
    ("store", &["--package", "backline", "--test", "it", "store::"]),
    ("pipeline", &["--package", "backline", "--test", "it", "pipeline::"]),
    ("cli", &["--package", "backline", "--test", "it", "cli::"]),
    ("service", &["--package", "backline", "--test", "it", "service::"]),
    ("hotswap", &["--package", "backline", "--test", "it", "hotswap::"]),
    ("lifecycle", &["--package", "backline", "--test", "it", "lifecycle::"]),
    ("whole", &["--package", "backline", "--test", "it", "whole::"]),
    ("xtask", &["--package", "xtask"]),
];

/// What `cargo xtask test` takes.
#[derive(Args)]
pub(crate) struct TestArguments {
    /// Only this part: unit, connectors, simulator, sandbox, gateway, store, pipeline, cli, service, hotswap, lifecycle, whole or xtask
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// Only tests whose name contains this
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

/// Runs the tests; says whether all passed.
///
/// # Errors
/// When something the tests need can't be had; the message says how to get it.
pub(crate) fn test(arguments: &TestArguments) -> Result<bool> {
    let cargo_arguments = cargo_arguments(arguments)?;
    build::everything()?;
    if arguments.suite.as_deref().is_none_or(|suite| suite == "hotswap") {
        tools::ensure(&tools::REGISTRY)?;
    }
    if arguments.suite.as_deref().is_none_or(|suite| suite == "lifecycle") {
        tools::ensure(&tools::PROMTOOL)?;
    }
    let mut command = process::cargo();
    command.args(["test", "--no-fail-fast"]).args(&cargo_arguments);
    // What an operator has in the environment must not reach the binary under test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BACKLINE_") {
            command.env_remove(name);
        }
    }
    let cluster = if process::variable("DATABASE_URL").is_some() {
        say("PostgreSQL: the one DATABASE_URL names");
        None
    } else {
        Some(start_postgres()?)
    };
    if let Some(cluster) = &cluster {
        command.env("DATABASE_URL", cluster.url());
    }
    say(format!("running `{}`", process::shown(&command)));
    let (tally, succeeded) = run_tests(&mut command)?;
    drop(cluster);
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if succeeded && tally == Tally::default() {
        say("no test was run: the filter matches none");
        return Ok(false);
    }
    if !succeeded && tally.failed == 0 {
        say("a test binary did not compile or ended before its closing line; see above");
    }
    Ok(succeeded && tally.failed == 0)
}

fn cargo_arguments(arguments: &TestArguments) -> Result<Vec<String>> {
    let mut list: Vec<String> = match &arguments.suite {
        None => vec!["--workspace".to_owned()],
        Some(name) => {
            let Some((_, list)) = SUITES.iter().find(|(suite, _)| suite == name) else {
                let known: Vec<_> = SUITES.iter().map(|(suite, _)| *suite).collect();
                bail!("there is no suite '{name}'; the suites are {}", known.join(", "));
            };
            list.iter().map(|&text| text.to_owned()).collect()
        }
    };
    if arguments.suite.as_deref() == Some("connectors") {
        for package in build::plugin_packages()? {
            list.extend(["--package".to_owned(), package]);
        }
    }
    let Some(filter) = &arguments.filter else { return Ok(list) };
    match list.pop_if(|last| last.ends_with("::")) {
        None => list.push(filter.clone()),
        // Cargo takes one filter, and the test binary runs what any of several matches: so the other modules are left out.
        Some(own) => {
            list.extend([filter.clone(), "--".to_owned()]);
            let modules = SUITES.iter().filter_map(|(_, list)| list.last().filter(|last| last.ends_with("::")));
            for other in modules.filter(|module| **module != own) {
                list.extend(["--skip".to_owned(), (*other).to_owned()]);
            }
        }
    }
    Ok(list)
}

/// Starts a cluster of our own, after installing PostgreSQL where that is possible.
fn start_postgres() -> Result<postgres::Cluster> {
    if !has_postgres() {
        install_postgres()?;
    }
    say("starting a PostgreSQL cluster for this run");
    postgres::Cluster::start().map_err(|problem| anyhow::anyhow!("PostgreSQL: {problem}"))
}

fn has_postgres() -> bool {
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .is_ok_and(|versions| versions.flatten().any(|version| version.path().join("bin/initdb").is_file()));
    debian || (process::is_installed("initdb") && process::is_installed("pg_ctl"))
}

fn install_postgres() -> Result<()> {
    let advice = "install them (Debian, Ubuntu: `apt-get install postgresql`; Fedora: `dnf install postgresql-server`; \
        macOS: `brew install postgresql`), or set DATABASE_URL to a PostgreSQL whose user may create databases";
    let (user, _) = process::output(Command::new("id").arg("-u"), None)?;
    if user.trim() != "0" || !process::is_installed("apt-get") {
        bail!("PostgreSQL's server programs (initdb, pg_ctl) are missing: {advice}");
    }
    say("PostgreSQL's server programs are missing: installing them with apt-get");
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args([
            "install",
            "--yes",
            "--no-install-recommends",
            "postgresql",
        ]);
        command
    };
    if !process::succeeds(&mut install())? {
        process::run(Command::new("apt-get").arg("update"))?;
        process::run(&mut install())?;
    }
    if has_postgres() { Ok(()) } else { bail!("PostgreSQL's server programs are still missing: {advice}") }
}

/// What the closing lines of all test binaries add up to.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Adds a line such as `test result: ok. 5 passed; 0 failed; …`; other lines count nothing.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let counts = rest.split_once(". ").map_or(rest, |(_, counts)| counts);
        for part in counts.split(';') {
            match part.trim().split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse::<u64>().unwrap_or(0),
                Some((count, "failed")) => self.failed += count.parse::<u64>().unwrap_or(0),
                _ => {}
            }
        }
    }
}

/// Runs cargo's tests, passing their output through while adding up the closing lines.
fn run_tests(command: &mut Command) -> Result<(Tally, bool)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start `{}`", process::shown(command)))?;
    let mut tally = Tally::default();
    let mut lines = BufReader::new(child.stdout.take().expect("standard output was piped"));
    let mut line = Vec::new();
    // Bytes, not text: a test may print anything.
    while lines.read_until(b'\n', &mut line).context("failed to read the tests' output")? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        tally.add(text.trim_end());
        line.clear();
    }
    Ok((tally, child.wait().context("failed to wait for the tests")?.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_add_up_and_other_lines_count_nothing() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s",
            "the line 'test result: ok. 9 passed' inside another",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 8, failed: 2 });
    }

    #[test]
    fn an_unknown_suite_is_refused_with_the_known_ones() {
        let arguments = TestArguments { suite: Some("gatway".to_owned()), filter: None };
        let error = cargo_arguments(&arguments).expect_err("refused").to_string();
        assert!(error.contains("'gatway'") && error.contains("gateway, store, pipeline"), "{error}");
    }

    #[test]
    fn a_filter_narrows_a_suite_and_leaves_the_others_out() {
        let arguments = TestArguments { suite: Some("gateway".to_owned()), filter: Some("redirect".to_owned()) };
        let list = cargo_arguments(&arguments).expect("known").join(" ");
        assert!(list.starts_with("--package backline --test it redirect -- --skip sandbox:: --skip store::"), "{list}");
        assert!(!list.contains("gateway::"), "{list}");
    }

    #[test]
    fn every_module_of_the_integration_tests_is_a_suite() {
        let main = process::workspace_root().join("tests/it/main.rs");
        let main = std::fs::read_to_string(main).expect("readable");
        let modules = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        for module in modules.filter(|module| *module != "support") {
            assert!(SUITES.iter().any(|(suite, _)| *suite == module), "{module} is in no suite");
        }
    }

    #[test]
    fn the_connector_suite_covers_every_connector() {
        let arguments = TestArguments { suite: Some("connectors".to_owned()), filter: Some("paging".to_owned()) };
        let list = cargo_arguments(&arguments).expect("known");
        for package in ["backline-sdk", "backline-youtube", "backline-apple-music"] {
            assert!(list.iter().any(|argument| argument == package), "{package} is missing in {list:?}");
        }
        assert_eq!(list.last().map(String::as_str), Some("paging"));
    }
}
