//! What the dependencies must be: allowed by `deny.toml`, without advisories, and used.

use std::process::Command;

use anyhow::Result;

use super::step;
use crate::process::{self, say};
use crate::tools;

/// Checks all dependencies; says whether they passed.
///
/// # Errors
/// When a tool can't be installed or started.
pub(crate) fn check() -> Result<bool> {
    let deny = tools::DENY.installed()?;
    let run = |log_level: &str, arguments: &[&str]| {
        let mut command = Command::new(&deny);
        command.current_dir(process::workspace_root()).args(["--locked", "--log-level", log_level]).args(arguments);
        process::succeeds(&mut command)
    };
    let mut passed = step("dependencies", run("error", &["check", "bans", "licenses", "sources"])?);
    // Where there is no network this fails, which the line below tells in one sentence.
    if run("off", &["fetch", "db"])? {
        passed &= step("advisories", run("error", &["check", "advisories"])?);
    } else {
        say("advisories: not checked, the advisory database is not reachable");
    }
    let mut shear = Command::new(tools::SHEAR.installed()?);
    shear.current_dir(process::workspace_root());
    passed &= step("unused dependencies", process::succeeds(&mut shear)?);
    Ok(passed)
}
