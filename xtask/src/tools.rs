//! Gets programs that tests and checks use, without changing the system: Debian's packages are unpacked into the build
//! folder, and cargo's subcommands are installed there; neither needs any rights.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, say};

/// A program that tests use.
pub struct Tool {
    /// What the program is called.
    name: &'static str,
    /// The Debian package it is in.
    package: &'static str,
    /// What it is for.
    purpose: &'static str,
    /// Where it is to be had elsewhere.
    home: &'static str,
}

/// The registry that connectors are pulled from.
pub const REGISTRY: Tool = Tool {
    name: "docker-registry",
    package: "docker-registry",
    purpose: "the tests of registries",
    home: "https://github.com/distribution/distribution, named docker-registry",
};

/// What checks the rules for Prometheus, and the names of figures.
pub const PROMTOOL: Tool = Tool {
    name: "promtool",
    package: "prometheus",
    purpose: "the tests of figures and alert rules",
    home: "https://prometheus.io/download",
};

/// Makes sure that the tests find the program: on the path, or unpacked in the build folder.
///
/// # Errors
/// When it is nowhere and can't be got; the message says what to install.
pub fn ensure(tool: &Tool) -> Result<()> {
    let Tool { name, package, purpose, home } = tool;
    let folder = process::target_folder().join("tools").join(package);
    let program = folder.join("usr/bin").join(name);
    if process::is_installed(name) || program.is_file() {
        return Ok(());
    }
    let advice = format!(
        "install it (Debian, Ubuntu: `apt-get install {package}`; elsewhere from {home}), so that it is on the PATH"
    );
    if !process::is_installed("apt-get") || !process::is_installed("dpkg") {
        bail!("{name} is missing, which {purpose} need: {advice}");
    }
    say(format!("{name} is missing: unpacking Debian's package into {}", folder.display()));
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let download = || {
        let mut command = Command::new("apt-get");
        command.current_dir(&folder).args(["download", package]);
        command
    };
    if !process::succeeds(&mut download())? {
        // The lists of packages may never have been fetched; only root may do so.
        process::run(Command::new("apt-get").arg("update"))
            .and_then(|()| process::run(&mut download()))
            .with_context(|| format!("{name} can't be downloaded: {advice}"))?;
    }
    let file = package_in(&folder)?;
    process::run(Command::new("dpkg").arg("-x").arg(&file).arg(&folder))?;
    if program.is_file() { Ok(()) } else { bail!("{} has no {name} in it: {advice}", file.display()) }
}

fn package_in(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let package = entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    package.with_context(|| format!("apt-get left no package in {}", folder.display()))
}
