//! `cargo xtask test`: all tests, on both databases, from a clean clone.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::build::BuiltFor;
use crate::companions::{self, Companion, Missing};
use crate::process::{self, say};
use crate::{build, postgresql, tools};

/// What a test of the binary `it` is, up to the module it is in.
const IT: [&str; 4] = ["--package", "backline", "--test", "it"];

/// Tests beside the code of the host's crates.
const UNIT: [&str; 16] = [
    "--package",
    "backline-model",
    "--package",
    "backline-rules",
    "--package",
    "backline-component",
    "--package",
    "backline-gateway",
    "--package",
    "backline-sandbox",
    "--package",
    "backline-store",
    "--package",
    "backline",
    "--lib",
    "--bins",
];

/// A part of the tests.
struct Suite {
    name: &'static str,
    /// What `cargo test` is called with.
    tests: Tests,
    /// What has to be there before the tests run.
    needs: &'static [Need],
}

enum Tests {
    /// These arguments.
    Packages(&'static [&'static str]),
    /// These arguments, and the packages of all connectors.
    Connectors(&'static [&'static str]),
    /// The module of the suite's name in the binary `it`.
    Module,
}

/// Something that tests find, and that takes long to build or to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// The first-party connectors as components.
    Connectors,
    /// The test guests as components.
    Guests,
    /// A PostgreSQL server.
    Postgres,
    /// A program for registries.
    Registry,
    /// A program that checks alert rules.
    Promtool,
    /// Compiled time zones of a known version.
    Zones,
    /// A program of others that the tests run beside Backline, in a long run alone.
    Beside(Beside),
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Schemathesis,
    Chromium,
    Playwright,
    Python,
    Recvlogical,
    N8n,
}

impl Beside {
    fn companion(self) -> &'static Companion {
        match self {
            Self::Schemathesis => &companions::SCHEMATHESIS,
            Self::Chromium => &companions::CHROMIUM,
            Self::Playwright => &companions::PLAYWRIGHT,
            Self::Python => &companions::PYTHON,
            Self::Recvlogical => &companions::RECVLOGICAL,
            Self::N8n => &companions::N8N,
        }
    }
}

use Need::{Connectors, Guests, Postgres, Promtool, Registry, Zones};

/// What the suite `contract` runs beside a host.
const CONTRACT: [Need; 3] = [Connectors, Postgres, Need::Beside(Beside::Schemathesis)];

/// What the suite `browser` runs beside a host.
const BROWSER: [Need; 3] = [Connectors, Need::Beside(Beside::Chromium), Need::Beside(Beside::Playwright)];

/// What the suite `neighbours` runs beside a host.
const NEIGHBOURS: [Need; 4] = [Connectors, Postgres, Need::Beside(Beside::Recvlogical), Need::Beside(Beside::N8n)];

/// What the suite `terminal` runs commands with.
const TERMINAL: [Need; 2] = [Connectors, Need::Beside(Beside::Python)];

/// All parts, in the order in which CONTRIBUTING.md lists them.
const SUITES: [Suite; 20] = [
    Suite { name: "unit", tests: Tests::Packages(&UNIT), needs: &[] },
    Suite { name: "connectors", tests: Tests::Connectors(&["--package", "backline-sdk"]), needs: &[] },
    Suite { name: "simulator", tests: Tests::Packages(&["--package", "backline-simulator"]), needs: &[] },
    Suite { name: "sandbox", tests: Tests::Module, needs: &[Connectors, Guests] },
    Suite { name: "gateway", tests: Tests::Module, needs: &[] },
    Suite { name: "store", tests: Tests::Module, needs: &[Postgres] },
    Suite { name: "plans", tests: Tests::Module, needs: &[Postgres] },
    Suite { name: "pipeline", tests: Tests::Module, needs: &[Connectors, Guests, Postgres] },
    Suite { name: "cli", tests: Tests::Module, needs: &[Connectors, Guests, Zones] },
    Suite { name: "service", tests: Tests::Module, needs: &[Connectors, Guests, Postgres] },
    Suite { name: "hotswap", tests: Tests::Module, needs: &[Connectors, Guests, Postgres, Registry] },
    Suite { name: "lifecycle", tests: Tests::Module, needs: &[Connectors, Guests, Postgres, Promtool] },
    Suite { name: "chaos", tests: Tests::Module, needs: &[Connectors, Postgres] },
    Suite { name: "adversaries", tests: Tests::Module, needs: &[Guests, Postgres] },
    Suite { name: "whole", tests: Tests::Module, needs: &[Connectors, Postgres] },
    Suite { name: "contract", tests: Tests::Module, needs: &CONTRACT },
    Suite { name: "browser", tests: Tests::Module, needs: &BROWSER },
    Suite { name: "neighbours", tests: Tests::Module, needs: &NEIGHBOURS },
    Suite { name: "terminal", tests: Tests::Module, needs: &TERMINAL },
    Suite { name: "xtask", tests: Tests::Packages(&["--package", "xtask"]), needs: &[] },
];

/// Suites whose long run needs a host with the feature `weakened`: attacks whose bound is switched off, to see them
/// succeed, and hosts that end at named points or lack a remedy.
const WEAKENING: [&str; 2] = ["adversaries", "chaos"];

/// Suites that have tests for a long run alone.
const LONG: [&str; 4] = ["contract", "browser", "neighbours", "terminal"];

/// What `cargo xtask test` takes.
#[derive(Args)]
pub(crate) struct TestArguments {
    /// Only this part
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(suites()))]
    suite: Option<String>,
    /// The seed from which the suite `chaos` draws what happens when
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Give tests that have one their full size, which takes minutes; in a build of its own, the suite adversaries also
    /// switches bounds off, one by one, and the suite chaos ends hosts at named points and switches remedies off; the
    /// suites contract, browser, neighbours and terminal run only so, beside programs that are installed for them
    #[arg(long)]
    long: bool,
    /// Only tests whose name contains this
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

/// The names of all suites.
pub(crate) fn suites() -> Vec<&'static str> {
    SUITES.iter().map(|suite| suite.name).collect()
}

/// Runs the tests; says whether all passed.
///
/// # Errors
/// When something the tests need can't be obtained; the message says how to get it.
pub(crate) fn test(arguments: &TestArguments) -> Result<bool> {
    if let Some(name) = arguments.suite.as_deref().filter(|name| LONG.contains(name) && !arguments.long) {
        bail!("the suite '{name}' installs programs of others and takes minutes: give --long too");
    }
    let cargo_arguments = cargo_arguments(arguments)?;
    let chosen = |suite: &&Suite| arguments.suite.as_deref().is_none_or(|name| name == suite.name);
    let is_needed = |need: Need| SUITES.iter().filter(chosen).any(|suite| suite.needs.contains(&need));
    let built_for = if arguments.suite.is_none() { BuiltFor::AllTests } else { BuiltFor::Use };
    build::components(built_for, is_needed(Connectors), is_needed(Guests))?;
    if is_needed(Registry) {
        tools::ensure(&tools::REGISTRY)?;
    }
    if is_needed(Promtool) {
        tools::ensure(&tools::PROMTOOL)?;
    }
    if is_needed(Zones) {
        tools::ensure_zones()?;
    }
    let beside: Vec<Need> = if arguments.long {
        SUITES.iter().filter(chosen).flat_map(|suite| suite.needs).copied().collect()
    } else {
        Vec::new()
    };
    let (found, missing) = companions_of(&beside);
    let mut command = tests_of(&without(cargo_arguments, &missing));
    command.envs(found);
    let played = process::target_folder().join("chaos.txt");
    // Of an earlier run; most often there is none.
    let _ = std::fs::remove_file(&played);
    command.env("CHAOS_SEED", arguments.seed.to_string());
    command.env("CHAOS_PLAYED", &played);
    command.env("TESTS_LONG", if arguments.long { "1" } else { "" });
    let cluster = if !is_needed(Postgres) {
        None
    } else if process::variable("DATABASE_URL").is_some() {
        say("PostgreSQL: the one DATABASE_URL names");
        None
    } else {
        Some(postgresql::start(&[])?)
    };
    if let Some(cluster) = &cluster {
        command.env("DATABASE_URL", cluster.url());
    }
    say(format!("running `{}`", process::shown(&command)));
    let (mut tally, mut failures, mut succeeded) = run_tests(&mut command)?;
    drop(cluster);
    if let Some(list) = next_contract(arguments) {
        let mut command = tests_of(&list);
        say(format!("running `{}`", process::shown(&command)));
        let (more, failed_too, succeeded_too) = run_tests(&mut command)?;
        tally.passed += more.passed;
        tally.failed += more.failed;
        failures.0.extend(failed_too.0);
        succeeded &= succeeded_too;
    }
    for one in &missing {
        say(one.told());
    }
    let left_out: BTreeSet<&str> = missing.iter().map(|one| one.companion.tests).collect();
    let skipped = if left_out.is_empty() { String::new() } else { format!(", {} skipped", left_out.len()) };
    print_played(&played, arguments.seed);
    failures.print();
    println!("{} passed, {} failed{skipped}", tally.passed, tally.failed);
    if succeeded && tally == Tally::default() && missing.is_empty() {
        say("no test was run: the filter matches none");
        return Ok(false);
    }
    if !succeeded && tally.failed == 0 {
        say("a test binary did not compile or ended before its closing line; see above");
    }
    Ok(succeeded && tally.failed == 0)
}

/// Prints what the suite `chaos` has played, where it ran.
fn print_played(file: &Path, seed: u64) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = by_test(&text);
    if !lines.is_empty() {
        println!("---- played by the suite chaos, from seed {seed} ----");
    }
    for line in lines {
        println!("{line}");
    }
}

/// The lines of tests that ran at once, test by test. Each begins with the name of its test and a colon; those of one
/// test stay in their order.
fn by_test(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_cached_key(|line| line.split(": ").next().map(str::to_owned));
    lines
}

/// The variables that name programs which the tests run beside Backline, and those that can't be had.
fn companions_of(needs: &[Need]) -> (Vec<(&'static str, PathBuf)>, Vec<Missing>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for need in needs {
        let Need::Beside(beside) = need else { continue };
        let companion = beside.companion();
        match companion.ensure() {
            Ok(path) => found.push((companion.variable, path)),
            Err(one) => missing.push(one),
        }
    }
    (found, missing)
}

/// What cargo is given, without the tests that need what can't be had.
fn without(mut list: Vec<String>, missing: &[Missing]) -> Vec<String> {
    if !missing.is_empty() && !list.iter().any(|argument| argument == "--") {
        list.push("--".to_owned());
    }
    for one in missing {
        list.extend(["--skip".to_owned(), one.companion.tests.to_owned()]);
    }
    list
}

/// How many tests run at once for each core: those of services wait for processes, databases and limits of time more
/// than they compute.
const TESTS_PER_CORE: usize = 2;

/// What the test harness takes the number of tests at once from, where the environment says none.
const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// A run of cargo's tests.
fn tests_of(cargo_arguments: &[String]) -> Command {
    let mut command = process::cargo();
    command.args(["test", "--no-fail-fast"]).args(cargo_arguments);
    if process::variable(TEST_THREADS).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        command.env(TEST_THREADS, (cores * TESTS_PER_CORE).to_string());
    }
    // What an operator has in the environment must not reach the binary under test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BACKLINE_") {
            command.env_remove(name);
        }
    }
    command
}

/// What cargo is given for the SDK's tests with its bindings of the contract 1.1.0, where the SDK is tested at all: by
/// themselves, since the connectors are built without that feature.
fn next_contract(arguments: &TestArguments) -> Option<Vec<String>> {
    if arguments.suite.as_deref().is_some_and(|name| name != "connectors") {
        return None;
    }
    let list = ["--package", "backline-sdk", "--lib", "--features", build::NEXT_CONTRACT].map(str::to_owned);
    Some(list.into_iter().chain(arguments.filter.iter().cloned()).collect())
}

fn cargo_arguments(arguments: &TestArguments) -> Result<Vec<String>> {
    let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
    let filter = arguments.filter.iter().cloned();
    let Some(name) = &arguments.suite else {
        return Ok(std::iter::once("--workspace".to_owned()).chain(filter).collect());
    };
    let Some(suite) = SUITES.iter().find(|suite| suite.name == name) else {
        bail!("there is no suite '{name}'; the suites are {}", suites().join(", "));
    };
    let mut list = match &suite.tests {
        Tests::Packages(list) => owned(list),
        Tests::Connectors(list) => {
            let packages = build::plugin_packages()?.into_iter().flat_map(|package| ["--package".to_owned(), package]);
            owned(list).into_iter().chain(packages).collect()
        }
        Tests::Module => owned(&IT),
    };
    if WEAKENING.contains(&name.as_str()) && arguments.long {
        list.extend(owned(&["--features", "weakened"]));
    }
    match suite.tests {
        Tests::Packages(_) | Tests::Connectors(_) => list.extend(filter),
        Tests::Module if arguments.filter.is_none() => list.push(format!("{name}::")),
        // The test binary runs what any of several filters matches, so the other modules are left out.
        Tests::Module => {
            list.extend(filter);
            list.push("--".to_owned());
            for other in SUITES.iter().filter(|other| matches!(other.tests, Tests::Module) && other.name != name) {
                list.extend(["--skip".to_owned(), format!("{}::", other.name)]);
            }
        }
    }
    Ok(list)
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

/// The most lines that are printed again of a test that failed.
const AGAIN_MAX: usize = 60;

/// What the tests that failed printed. The run prints it again at its end, where a person who comes back, or a log that
/// is cut, still has it.
#[derive(Debug, Default)]
struct Failures(Vec<(String, Vec<String>)>);

impl Failures {
    /// Adds a line of the tests' output. The harness prints `---- NAME stdout ----` before what a failed test printed,
    /// and a list that begins with `failures:` after the last one. Returns whether the next line belongs to a test.
    fn add(&mut self, line: &str, is_inside: bool) -> bool {
        let name = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        if let Some(name) = name {
            self.0.push((name.to_owned(), Vec::new()));
            return true;
        }
        if line == "failures:" || line.starts_with("test result: ") {
            return false;
        }
        if is_inside && let Some((_, lines)) = self.0.last_mut() {
            lines.push(line.to_owned());
        }
        is_inside
    }

    fn print(&self) {
        for (name, lines) in &self.0 {
            println!("---- {name} failed ----");
            let lines = without_frames(lines);
            for line in lines.iter().take(AGAIN_MAX) {
                println!("{line}");
            }
            if lines.len() > AGAIN_MAX {
                println!("({} more lines are above)", lines.len() - AGAIN_MAX);
            }
        }
        // A log whose middle is cut keeps its last lines.
        for (name, lines) in &self.0 {
            println!("{name}: {}", why(lines));
        }
    }
}

/// The lines without the frames of a backtrace, which push aside what a test says.
fn without_frames(lines: &[String]) -> Vec<&str> {
    let is_frame = |line: &str| {
        let line = line.trim_start();
        let number = line.split_once(": ").map(|(number, _)| number);
        line.starts_with("at ") || number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let (mut kept, mut is_inside) = (Vec::new(), false);
    for line in lines {
        is_inside = line == "stack backtrace:" || (is_inside && is_frame(line));
        if !is_inside {
            kept.push(line.as_str());
        }
    }
    kept
}

/// How many characters are told of why a test failed.
const WHY_MAX: usize = 600;

/// Where a test panicked and with what, on one line.
fn why(lines: &[String]) -> String {
    let lines = without_frames(lines);
    let at = lines.iter().position(|line| line.contains("panicked at ")).unwrap_or_default();
    let said = lines[at..].iter().take_while(|line| !line.starts_with("note: ")).copied().collect::<Vec<_>>();
    said.join(" ").chars().take(WHY_MAX).collect()
}

/// Runs cargo's tests, passing their output through while adding up the closing lines and keeping what failed.
fn run_tests(command: &mut Command) -> Result<(Tally, Failures, bool)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start `{}`", process::shown(command)))?;
    let (mut tally, mut failures, mut is_inside) = (Tally::default(), Failures::default(), false);
    let mut lines = BufReader::new(child.stdout.take().expect("standard output was piped"));
    let mut line = Vec::new();
    // Bytes, not text: a test may print anything.
    while lines.read_until(b'\n', &mut line).context("failed to read the tests' output")? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        tally.add(text.trim_end());
        is_inside = failures.add(text.trim_end(), is_inside);
        line.clear();
    }
    Ok((tally, failures, child.wait().context("failed to wait for the tests")?.success()))
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
    fn what_failed_tests_printed_is_kept_with_their_names_and_nothing_else_is() {
        let output = "test one ... FAILED\ntest two ... ok\n\nfailures:\n\n---- one stdout ----\n\
                      thread 'one' panicked\n\nleft: 1\n\n---- three stdout ----\nwhy\n\n\
                      failures:\n    one\n    three\n\n\
                      test result: FAILED. 1 passed; 2 failed; 0 ignored\nrunning 2 tests";
        let (mut failures, mut is_inside) = (Failures::default(), false);
        for line in output.lines() {
            is_inside = failures.add(line, is_inside);
        }
        let kept: Vec<(&str, String)> = failures.0.iter().map(|(name, lines)| (&**name, lines.join("|"))).collect();
        assert_eq!(kept, [("one", "thread 'one' panicked||left: 1|".to_owned()), ("three", "why|".to_owned())]);
    }

    #[test]
    fn why_a_test_failed_is_told_on_one_line_and_without_frames() {
        let lines = [
            "connecting",
            "thread 'one' (7) panicked at tests/it/one.rs:7:9:",
            "assertion `left == right` failed: rows",
            "  left: 1",
            "stack backtrace:",
            "   0: __rustc::rust_begin_unwind",
            "             at /rustc/library/std/src/panicking.rs:689:5",
            "  10: core::panicking::panic_fmt",
            "note: Some details are omitted",
            "one.log: at the end",
        ];
        let lines: Vec<String> = lines.map(str::to_owned).to_vec();
        let expected =
            "thread 'one' (7) panicked at tests/it/one.rs:7:9: assertion `left == right` failed: rows   left: 1";
        assert_eq!(why(&lines), expected);
        let kept = without_frames(&lines);
        assert_eq!(kept.len(), 6, "{kept:?}");
        assert_eq!(kept.last(), Some(&"one.log: at the end"), "what follows the frames is kept");
        assert_eq!(why(&[]), "");
    }

    #[test]
    fn what_tests_played_is_listed_test_by_test_and_in_the_order_of_each() {
        let text = "chaos::kills: killed\nchaos::database: Slow at 7\nchaos::kills: all is right\nchaos::a: b\n";
        let expected =
            ["chaos::a: b", "chaos::database: Slow at 7", "chaos::kills: killed", "chaos::kills: all is right"];
        assert_eq!(by_test(text), expected);
        assert!(by_test("").is_empty());
    }

    #[test]
    fn the_command_line_knows_the_suites() {
        use clap::Parser;

        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            arguments: TestArguments,
        }
        for suite in suites() {
            let line = Line::try_parse_from(["test", "--suite", suite]).expect("known");
            assert_eq!(line.arguments.suite.as_deref(), Some(suite));
        }
        assert!(Line::try_parse_from(["test", "--suite", "gatway"]).is_err());
    }

    #[test]
    fn the_sdk_is_tested_with_both_contracts_where_it_is_tested() {
        let list = |suite: Option<&str>, filter: Option<&str>| {
            let (suite, filter) = (suite.map(str::to_owned), filter.map(str::to_owned));
            next_contract(&TestArguments { suite, filter, seed: 1, long: false }).map(|list| list.join(" "))
        };
        let expected = "--package backline-sdk --lib --features contract-1-1";
        assert_eq!(list(None, None).as_deref(), Some(expected));
        assert_eq!(list(Some("connectors"), Some("past")), Some(format!("{expected} past")));
        assert_eq!(list(Some("store"), None), None);
    }

    #[test]
    fn an_unknown_suite_is_refused_with_the_known_ones() {
        let arguments = TestArguments { suite: Some("gatway".to_owned()), filter: None, seed: 1, long: false };
        let error = cargo_arguments(&arguments).expect_err("refused").to_string();
        assert!(error.contains("'gatway'") && error.contains("gateway, store, plans, pipeline"), "{error}");
    }

    #[test]
    fn only_the_long_runs_of_attacks_and_faults_weaken_the_host() {
        let list = |suite: &str, long| {
            let arguments = TestArguments { suite: Some(suite.to_owned()), filter: None, seed: 1, long };
            cargo_arguments(&arguments).expect("known").join(" ")
        };
        assert_eq!(list("adversaries", true), "--package backline --test it --features weakened adversaries::");
        assert_eq!(list("chaos", true), "--package backline --test it --features weakened chaos::");
        for (suite, long) in [("adversaries", false), ("chaos", false), ("service", true), ("unit", true)] {
            assert!(!list(suite, long).contains("weakened"), "{suite}");
        }
    }

    #[test]
    fn a_filter_narrows_a_suite_and_leaves_the_others_out() {
        let arguments = TestArguments {
            suite: Some("gateway".to_owned()),
            filter: Some("redirect".to_owned()),
            seed: 1,
            long: false,
        };
        let list = cargo_arguments(&arguments).expect("known").join(" ");
        let start = "--package backline --test it redirect -- --skip sandbox:: --skip store::";
        assert!(list.starts_with(start), "{list}");
        assert!(!list.contains("gateway::"), "{list}");
        let arguments = TestArguments { suite: Some("gateway".to_owned()), filter: None, seed: 1, long: false };
        assert_eq!(cargo_arguments(&arguments).expect("known").join(" "), "--package backline --test it gateway::");
        let arguments = TestArguments {
            suite: Some("simulator".to_owned()),
            filter: Some("paging".to_owned()),
            seed: 1,
            long: false,
        };
        assert_eq!(cargo_arguments(&arguments).expect("known").join(" "), "--package backline-simulator paging");
    }

    #[test]
    fn every_module_of_the_integration_tests_is_a_suite() {
        let main = process::workspace_root().join("tests/it/main.rs");
        let main = std::fs::read_to_string(main).expect("readable");
        let modules = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        for module in modules.filter(|module| *module != "support") {
            let suite = SUITES.iter().find(|suite| suite.name == module);
            assert!(suite.is_some_and(|suite| matches!(suite.tests, Tests::Module)), "{module} is in no suite");
        }
    }

    /// What the files of a module of the integration tests use, told by the helpers they name.
    fn used_by(module: &str) -> Vec<Need> {
        let folder = process::workspace_root().join("tests/it");
        let mut text = String::new();
        let mut paths = vec![folder.join(format!("{module}.rs")), folder.join(module)];
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                paths.extend(std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
            } else if path.is_file() {
                text.push_str(&std::fs::read_to_string(&path).expect("readable"));
            }
        }
        let uses = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let told: [(Need, &[&str]); 12] = [
            (Connectors, &["plugin(", "support::stage", "support::scene", "variant(", "(\"plugins"]),
            (Guests, &["guest(", "(\"guests"]),
            (Postgres, &["support::stage", "support::database", "support::postgres"]),
            (Registry, &["support::registry"]),
            (Promtool, &["promtool"]),
            (Zones, &["support::zones"]),
            (Need::Beside(Beside::Schemathesis), &["TESTS_SCHEMATHESIS"]),
            (Need::Beside(Beside::Chromium), &["TESTS_CHROMIUM"]),
            (Need::Beside(Beside::Playwright), &["TESTS_PLAYWRIGHT"]),
            (Need::Beside(Beside::Python), &["TESTS_PYTHON"]),
            (Need::Beside(Beside::Recvlogical), &["TESTS_RECVLOGICAL"]),
            (Need::Beside(Beside::N8n), &["TESTS_N8N"]),
        ];
        told.into_iter().filter(|(_, words)| uses(words)).map(|(need, _)| need).collect()
    }

    #[test]
    fn a_suite_needs_what_its_tests_use_and_no_more() {
        for suite in SUITES.iter().filter(|suite| matches!(suite.tests, Tests::Module)) {
            assert_eq!(suite.needs, used_by(suite.name), "{}", suite.name);
        }
    }

    #[test]
    fn what_runs_beside_backline_belongs_to_a_long_suite_and_is_left_out_with_it() {
        for suite in &SUITES {
            let beside = suite.needs.iter().filter_map(|need| match need {
                Need::Beside(beside) => Some(beside.companion()),
                _ => None,
            });
            let mut has_any = false;
            for companion in beside {
                has_any = true;
                assert!(companion.tests.starts_with(&format!("{}::", suite.name)), "{}", companion.name);
            }
            assert_eq!(has_any, LONG.contains(&suite.name), "{}", suite.name);
        }
        let arguments = TestArguments { suite: Some("browser".to_owned()), filter: None, seed: 1, long: false };
        let refused = test(&arguments).expect_err("it is long").to_string();
        assert!(refused.contains("'browser'") && refused.contains("--long"), "{refused}");
    }

    #[test]
    fn tests_beside_the_code_use_no_component_and_no_server() {
        let root = process::workspace_root();
        let mut paths: Vec<_> =
            ["host", "sdk/src", "tests/simulator", "plugins"].map(|folder| root.join(folder)).into();
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                paths.extend(std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).expect("readable");
                for word in
                    [concat!("\"DATABASE", "_URL"), concat!("join(\"target/", "plugins"), "join(\"target/guests"]
                {
                    assert!(!text.contains(word), "{} uses {word}: give its suite what it needs", path.display());
                }
            }
        }
    }

    #[test]
    fn the_unit_suite_covers_every_crate_of_the_host() {
        for room in &crate::tidy::ROOMS {
            assert!(UNIT.contains(&room.package), "{} is missing", room.package);
        }
    }

    #[test]
    fn the_connector_suite_covers_every_connector() {
        let arguments = TestArguments {
            suite: Some("connectors".to_owned()),
            filter: Some("paging".to_owned()),
            seed: 1,
            long: false,
        };
        let list = cargo_arguments(&arguments).expect("known");
        for package in ["backline-sdk", "backline-youtube", "backline-apple-music"] {
            assert!(list.iter().any(|argument| argument == package), "{package} is missing in {list:?}");
        }
        assert_eq!(list.last().map(String::as_str), Some("paging"));
    }
}
