//! `cargo xtask tidy`: what must hold for every commit, apart from the tests.

use anyhow::Result;
use clap::Args;

use crate::process::{self, say};

mod directions;
mod files;

/// What `cargo xtask tidy` takes.
#[derive(Args)]
pub(crate) struct TidyArguments {
    /// Only the rules that need no compiler: formatting, directions, files
    #[arg(long)]
    quick: bool,
}

/// Checks everything; says whether all is well. Every check runs, so that one round shows all there is to mend.
///
/// # Errors
/// When a tool can't be started.
pub(crate) fn tidy(arguments: &TidyArguments) -> Result<bool> {
    let mut well = true;
    well &= step("formatting", process::succeeds(process::cargo().args(["fmt", "--all", "--check"]))?);
    well &= step("rules", rules()?);
    if arguments.quick {
        return Ok(well);
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
    well &= step("clippy", clippy);
    let mut doc = process::cargo();
    doc.env("RUSTDOCFLAGS", "-D warnings").args([
        "doc",
        "--quiet",
        "--no-deps",
        "--workspace",
        "--document-private-items",
    ]);
    well &= step("documentation", process::succeeds(&mut doc)?);
    if process::is_installed("cargo-deny") {
        let offline = process::cargo()
            .args(["deny", "--log-level", "error", "check", "bans", "licenses", "sources"])
            .status()?
            .success();
        well &= step("dependencies", offline);
    } else {
        say("dependencies: not checked, cargo-deny is not installed (`cargo install cargo-deny --locked`)");
    }
    Ok(well)
}

fn step(what: &str, well: bool) -> bool {
    say(format!("{what}: {}", if well { "well" } else { "NOT WELL, see above" }));
    well
}

/// One breach of a rule.
#[derive(Debug, PartialEq)]
pub(crate) struct Breach {
    /// Path from the workspace's root.
    pub path: String,
    /// Line, from 1; 0 where the breach is about the whole file.
    pub line: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

/// A source file: its path from the workspace's root with `/`, and its text.
pub(crate) struct Source {
    /// Such as `host/src/plan.rs`.
    pub path: String,
    /// All of it.
    pub text: String,
}

fn rules() -> Result<bool> {
    let sources = files::read_sources(&process::workspace_root())?;
    let mut breaches = Vec::new();
    for source in &sources {
        breaches.extend(files::check(source));
        if source.path.ends_with(".rs") {
            breaches.extend(directions::check(source));
        }
        if let Some(lines) = files::too_long(source) {
            say(format!("warning: {} has {lines} lines; files past {} want splitting", source.path, files::LINES_MAX));
        }
    }
    breaches.extend(files::check_map(&sources));
    for Breach { path, line, problem } in &breaches {
        eprintln!("{path}:{line}: {problem}");
    }
    Ok(breaches.is_empty())
}
