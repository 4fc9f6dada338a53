//! Gets the registry that the tests pull from, `docker-registry`, without changing the system: Debian's package is unpacked into the build
//! folder, which needs no rights.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, say};

/// What the program and its Debian package are called.
const NAME: &str = "docker-registry";

/// Makes sure that the tests find the program: on the path, or unpacked in the build folder.
///
/// # Errors
/// When it is nowhere and can't be got; the message says what to install.
pub fn ensure() -> Result<()> {
    let folder = process::target_folder().join("tools").join(NAME);
    let program = folder.join("usr/bin").join(NAME);
    if process::is_installed(NAME) || program.is_file() {
        return Ok(());
    }
    let advice = "install it (Debian, Ubuntu: `apt-get install docker-registry`; elsewhere from \
        https://github.com/distribution/distribution, named docker-registry), so that it is on the PATH";
    if !process::is_installed("apt-get") || !process::is_installed("dpkg") {
        bail!("{NAME} is missing, which the tests of registries need: {advice}");
    }
    say(format!("{NAME} is missing: unpacking Debian's package into {}", folder.display()));
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let download = || {
        let mut command = Command::new("apt-get");
        command.current_dir(&folder).args(["download", NAME]);
        command
    };
    if !process::succeeds(&mut download())? {
        // The lists of packages may never have been fetched; only root may do so.
        process::run(Command::new("apt-get").arg("update"))
            .and_then(|()| process::run(&mut download()))
            .with_context(|| format!("{NAME} can't be downloaded: {advice}"))?;
    }
    let package = package_in(&folder)?;
    process::run(Command::new("dpkg").arg("-x").arg(&package).arg(&folder))?;
    if program.is_file() { Ok(()) } else { bail!("{} has no {NAME} in it: {advice}", package.display()) }
}

fn package_in(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let package = entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    package.with_context(|| format!("apt-get left no package in {}", folder.display()))
}
