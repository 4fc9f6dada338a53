//! Gets programs that tests and checks use. Debian's packages are unpacked into the build folder, and cargo's
//! subcommands are installed there: neither changes the system, or needs any rights. A program that does not run where
//! it was unpacked is installed into the system.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, say};

/// The time zones that tests read, in one version: the system's may be years old, and the rules change. The path has
/// the version too; `tests/it/support/zones.rs` reads it.
const ZONES_VERSION: &str = "2026.6";

/// Makes sure that the tests find compiled time zones of a known version: Python's package `tzdata`, unpacked into the
/// build folder.
///
/// # Errors
/// When it can't be downloaded; the message says what to install.
pub(crate) fn ensure_zones() -> Result<()> {
    let folder = process::target_folder().join("tools").join(format!("tzdata-{ZONES_VERSION}"));
    if folder.join("tzdata/zoneinfo/tzdata.zi").is_file() {
        return Ok(());
    }
    say(format!("the time zones {ZONES_VERSION} are missing: unpacking Python's package into {}", folder.display()));
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]);
    install.arg("--target").arg(&folder).arg(format!("tzdata=={ZONES_VERSION}"));
    process::run(&mut install).with_context(|| {
        format!("the tests of time zones need tzdata {ZONES_VERSION}: install Python 3 with pip, or unpack it yourself")
    })
}

/// A program that tests use.
pub(crate) struct Tool {
    /// What the program is called.
    name: &'static str,
    /// The Debian package it is in.
    package: &'static str,
    /// What it is for.
    purpose: &'static str,
    /// Where others than Debian get it.
    home: &'static str,
}

/// The registry that connectors are pulled from.
pub(crate) const REGISTRY: Tool = Tool {
    name: "docker-registry",
    package: "docker-registry",
    purpose: "the tests of registries",
    home: "https://github.com/distribution/distribution, named docker-registry",
};

/// What checks the rules for Prometheus, and the names of figures.
pub(crate) const PROMTOOL: Tool = Tool {
    name: "promtool",
    package: "prometheus",
    purpose: "the tests of figures and alert rules",
    home: "https://prometheus.io/download",
};

/// Makes sure that the tests find the program: on the path, or unpacked in the build folder.
///
/// # Errors
/// When it is nowhere and can't be downloaded; the message says what to install.
pub(crate) fn ensure(tool: &Tool) -> Result<()> {
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

/// Installs Debian's packages where this process may, and says whether it may. `what` is missing: `Chromium is`.
///
/// # Errors
/// When they can't be installed.
pub(crate) fn install_packages(what: &str, packages: &[&str]) -> Result<bool> {
    let (user, _) = process::output(Command::new("id").arg("-u"), None)?;
    if user.trim() != "0" || !process::is_installed("apt-get") {
        return Ok(false);
    }
    say(format!("{what} missing: installing {} with apt-get", packages.join(" ")));
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "--yes", "--no-install-recommends"]);
        command.args(packages);
        command
    };
    if !process::succeeds(&mut install())? {
        // The lists of packages may never have been fetched.
        process::run(Command::new("apt-get").arg("update"))?;
        process::run(&mut install())?;
    }
    Ok(true)
}

/// A subcommand of cargo, from crates.io in one version: another one may find other things.
pub(crate) struct Subcommand {
    /// The package, and the program in it.
    name: &'static str,
    version: &'static str,
}

/// Checks licences, sources, banned crates and advisories; see `deny.toml`.
pub(crate) const DENY: Subcommand = Subcommand { name: "cargo-deny", version: "0.20.2" };

/// Finds dependencies that no code names, or that only tests do. It parses the code, so a word in a comment is no use.
pub(crate) const SHEAR: Subcommand = Subcommand { name: "cargo-shear", version: "1.12.4" };

impl Subcommand {
    /// The program, after installing it into the build folder where it is missing.
    ///
    /// # Errors
    /// When it can't be compiled, or crates.io can't be reached.
    pub(crate) fn installed(&self) -> Result<PathBuf> {
        let Self { name, version } = self;
        let root = process::target_folder().join("tools").join(format!("{name}-{version}"));
        let program = root.join("bin").join(name);
        if program.is_file() {
            return Ok(program);
        }
        say(format!("{name} {version} is missing: compiling it, which takes some minutes once"));
        let mut install = process::cargo();
        // Unoptimised and without debug information: compiling it is most of what it costs.
        install
            .args(["install", "--quiet", "--locked", "--debug", "--version", version, "--root"])
            .arg(&root)
            .arg(name);
        install.env("CARGO_PROFILE_DEV_DEBUG", "false");
        // Beside the tool instead of in the workspace's build, whose dependencies have other features.
        install.env("CARGO_TARGET_DIR", root.join("build"));
        process::run(&mut install).with_context(|| format!("{name} {version} can't be installed from crates.io"))?;
        let build = root.join("build");
        std::fs::remove_dir_all(&build).with_context(|| format!("failed to remove {}", build.display()))?;
        Ok(program)
    }
}

fn package_in(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let package = entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    package.with_context(|| format!("apt-get left no package in {}", folder.display()))
}
