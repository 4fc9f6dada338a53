//! `cargo xtask tidy`: what must hold for every commit, apart from the tests.

use anyhow::Result;
use clap::Args;

use crate::process::{self, say};

pub(crate) mod binary;
mod circles;
mod dependencies;
mod directions;
mod files;
mod manifests;
mod paths;
mod platforms;
mod texts;
mod walls;

#[cfg(test)]
pub(crate) use manifests::ROOMS;

/// What `cargo xtask tidy` takes.
#[derive(Args)]
pub(crate) struct TidyArguments {
    /// Only the rules that need no compiler: formatting, directions, circles, files, texts
    #[arg(long)]
    quick: bool,
}

/// Checks everything; says whether all passed. Every check runs, so that one round shows all there is to fix.
///
/// # Errors
/// When a tool can't be started.
pub(crate) fn tidy(arguments: &TidyArguments) -> Result<bool> {
    let mut passed = true;
    passed &= step("formatting", process::succeeds(process::cargo().args(["fmt", "--all", "--check"]))?);
    passed &= step("rules", rules()?);
    if arguments.quick {
        return Ok(passed);
    }
    let clippy = process::succeeds(process::cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    passed &= step("clippy", clippy);
    // What has no simulator in it compiles too.
    let mut without = process::cargo();
    without.args(["clippy", "--quiet", "--package", "backline", "--no-default-features", "--", "-D", "warnings"]);
    passed &= step("clippy without the demo", process::succeeds(&mut without)?);
    let mut doc = process::cargo();
    doc.env("RUSTDOCFLAGS", "-D warnings").args([
        "doc",
        "--quiet",
        "--no-deps",
        "--workspace",
        "--document-private-items",
    ]);
    passed &= step("documentation", process::succeeds(&mut doc)?);
    // After the documentation, which has checked what this needs.
    passed &= step("walls", walls::hold()?);
    passed &= dependencies::check()?;
    passed &= binary::check()?;
    Ok(passed)
}

fn step(what: &str, passed: bool) -> bool {
    say(format!("{what}: {}", if passed { "passed" } else { "failed" }));
    passed
}

/// One breach of a rule.
#[derive(Debug, PartialEq)]
pub(crate) struct Breach {
    /// Path from the workspace's root.
    pub(crate) path: String,
    /// Line, from 1; 0 where the breach is about the whole file.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) problem: String,
}

/// A source file: its path from the workspace's root with `/`, and its text.
pub(crate) struct Source {
    /// Such as `host/rules/src/plan.rs`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

fn rules() -> Result<bool> {
    let sources = files::read_sources(&process::workspace_root())?;
    let mut breaches = Vec::new();
    for source in &sources {
        breaches.extend(files::check(source));
        breaches.extend(texts::check(source));
        if let Some(lines) = files::too_long(source) {
            say(format!(
                "warning: {} has {lines} lines; split files longer than {} lines",
                source.path,
                files::LINES_MAX
            ));
        }
    }
    breaches.extend(files::check_map(&sources));
    breaches.extend(files::check_rooms(&sources, &manifests::ROOMS.map(|room| room.folder)));
    breaches.extend(files::check_parts(&sources));
    breaches.extend(files::check_suites(&sources, &crate::test::suites()));
    breaches.extend(directions::check(&sources));
    breaches.extend(circles::check(&sources));
    breaches.extend(platforms::check(&sources));
    breaches.extend(manifests::check(&sources)?);
    for Breach { path, line, problem } in &breaches {
        eprintln!("{path}:{line}: {problem}");
    }
    if !breaches.is_empty() {
        say(format!("{} breaches of the rules", breaches.len()));
    }
    Ok(breaches.is_empty())
}
