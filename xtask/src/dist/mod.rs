//! `cargo xtask dist`: what users install, as one archive and as a Debian package, with a list of what it is made of,
//! sums and a signature.
//!
//! The same sources and toolchain make the same bytes, wherever they lie: paths are not compiled in, files are sorted,
//! owners are root, and no time is written.

mod deb;
mod tar;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::build;
use crate::process::{self, say};
use crate::sbom;
use crate::tidy::binary;
use tar::Entry;

/// Shells, with the file that each reads completions from.
const COMPLETIONS: [(&str, &str); 4] = [
    ("bash", "share/bash-completion/completions/backline"),
    ("fish", "share/fish/vendor_completions.d/backline.fish"),
    ("powershell", "share/backline/backline.ps1"),
    ("zsh", "share/zsh/site-functions/_backline"),
];

/// Files of the repository that are installed as they are.
const DOCUMENTS: [(&str, &str); 6] = [
    ("CHANGELOG.md", "share/doc/backline/CHANGELOG.md"),
    ("LICENSE-APACHE", "share/doc/backline/LICENSE-APACHE"),
    ("LICENSE-MIT", "share/doc/backline/LICENSE-MIT"),
    ("README.md", "share/doc/backline/README.md"),
    // What the binary holds for browsers.
    ("host/app/src/dashboard/assets/htmx.LICENSE", "share/doc/backline/LICENSE-htmx"),
    ("host/app/src/dashboard/assets/uplot.LICENSE", "share/doc/backline/LICENSE-uplot"),
];

/// The unit as the repository has it, and its place below the prefix.
const UNIT: (&str, &str) = ("deploy/backline.service", "lib/systemd/system/backline.service");

/// The file with the sums of all others.
const SUMS: &str = "SHA256SUMS";

/// Arguments of `cargo xtask dist`.
#[derive(Args)]
pub(crate) struct DistArguments {
    /// Folder to write to; `dist` in the build folder unless given
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Sign the sums with this secret key, which must have no password, with `minisign`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Builds, gathers and packs everything.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn dist(arguments: &DistArguments) -> Result<bool> {
    if arguments.key.is_some() && !process::is_installed("minisign") {
        bail!("minisign is not installed, and signs the sums: install it, or leave out --key");
    }
    let folder = arguments.output.clone().unwrap_or_else(|| process::target_folder().join("dist"));
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let made = build::distribution()?;
    if !binary::check_file(&made.host)? {
        return Ok(false);
    }
    let version = version_of(&made.host)?;
    let entries = gather(&made)?;

    let machine = std::env::consts::ARCH;
    let name = format!("backline-{version}-{machine}-{}", std::env::consts::OS);
    let archive = format!("{name}.tar.gz");
    let packed = tar::gzipped(&tar::tar(&below(&name, &entries))?)?;
    let package = format!("backline_{version}_{}.deb", deb::architecture(machine));
    let debian = deb::package(&version, machine, &entries)?;

    let bill = (format!("{name}.cdx.json"), sbom::text()?.into_bytes());

    let mut files = [(archive, packed), (package, debian), bill];
    files.sort();
    for (name, bytes) in &files {
        write(&folder.join(name), bytes)?;
    }
    let sums = folder.join(SUMS);
    write(&sums, sums_of(&files).as_bytes())?;
    if let Some(key) = &arguments.key {
        process::run(Command::new("minisign").arg("-S").arg("-s").arg(key).arg("-m").arg(&sums))?;
    }
    for (name, bytes) in &files {
        println!("{} ({} bytes)", folder.join(name).display(), bytes.len());
    }
    Ok(true)
}

/// Everything that is installed, below a prefix such as `/usr/local`.
fn gather(made: &build::Distribution) -> Result<Vec<Entry>> {
    let root = process::workspace_root();
    let mut entries = vec![Entry::program("bin/backline", read(&made.host)?)];
    for component in &made.connectors {
        let name = component.file_name().context("a component has a name")?.to_string_lossy();
        entries.push(Entry::file(&format!("share/backline/plugins/{name}"), read(component)?));
    }
    for (shell, place) in COMPLETIONS {
        let (script, code) = process::output(Command::new(&made.host).args(["completions", shell]), None)?;
        if code != 0 {
            bail!("`backline completions {shell}` failed with code {code}");
        }
        entries.push(Entry::file(place, script.into_bytes()));
    }
    let pages = tempfile::tempdir().context("failed to create a temporary folder")?;
    process::run(Command::new(&made.host).args(["manual", "--force", "--output"]).arg(pages.path()))?;
    for page in std::fs::read_dir(pages.path())? {
        let page = page?;
        entries
            .push(Entry::file(&format!("share/man/man1/{}", page.file_name().to_string_lossy()), read(&page.path())?));
    }
    for (file, place) in DOCUMENTS.into_iter().chain([UNIT]) {
        entries.push(Entry::file(place, read(&root.join(file))?));
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// The entries in a folder.
fn below(folder: &str, entries: &[Entry]) -> Vec<Entry> {
    entries.iter().map(|entry| Entry { path: format!("{folder}/{}", entry.path), ..entry.clone() }).collect()
}

/// The version that a binary says it has.
fn version_of(host: &Path) -> Result<String> {
    let (said, code) = process::output(Command::new(host).arg("--version"), None)?;
    let version = said.trim().strip_prefix("backline ").filter(|_| code == 0);
    let version = version.with_context(|| format!("{} does not say its version", host.display()))?;
    Ok(version.split([' ', '(']).next().unwrap_or(version).to_owned())
}

/// Lines as `sha256sum --check` reads them.
fn sums_of(files: &[(String, Vec<u8>)]) -> String {
    let line = |(name, bytes): &(String, Vec<u8>)| {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{digest}  {name}\n")
    };
    files.iter().map(line).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    say(format!("writing {}", path.display()));
    std::fs::write(path, bytes).with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_lines_that_sha256sum_checks() {
        // The digest of nothing, from FIPS 180-4's test vectors.
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sums_of(&[("a.tar.gz".to_owned(), Vec::new())]), format!("{empty}  a.tar.gz\n"));
    }

    #[test]
    fn files_that_are_installed_as_they_are_exist() {
        for (file, _) in DOCUMENTS.into_iter().chain([UNIT]) {
            assert!(process::workspace_root().join(file).is_file(), "{file}");
        }
    }
}
