//! Shows that the compiler keeps the walls: in the place of each host crate's source it compiles a file that imports
//! what the crate must not know, and expects the compiler to refuse every one of these imports, and no other.
//!
//! The file is compiled with the libraries that Cargo passes for the crate: those of its `[dependencies]`, resolved by
//! `cargo metadata` and built by `cargo check`. So a dependency that breaks a wall is found however it got there, and
//! after `cargo doc` has checked the workspace it takes seconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value as Json;

use super::manifests::{OWNERS, ROOMS, Room};
use crate::process::{self, say};

/// The compiler's error for a crate that is not a dependency, as an import and as a path.
const UNRESOLVED: [&str; 2] = ["E0432", "E0433"];

/// Tries the walls; says whether all of them hold.
///
/// # Errors
/// When the workspace does not compile, or a tool can't be started.
pub(crate) fn hold() -> Result<bool> {
    let libraries = built_libraries()?;
    let externs = externs(&metadata()?)?;
    let folder = process::target_folder().join("walls");
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let mut hold = true;
    let mut tried = 0;
    for room in &ROOMS {
        let own = externs.get(room.package).with_context(|| format!("cargo knows no package {}", room.package))?;
        let probe = Probe::of(room);
        let path = folder.join(format!("{}.rs", room.package));
        std::fs::write(&path, probe.text()).with_context(|| format!("failed to write {}", path.display()))?;
        let mut rustc = compiler();
        rustc.arg(&path).args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata"]);
        rustc.args(["--error-format", "json", "--crate-name", &room.package.replace('-', "_")]);
        rustc.arg("--out-dir").arg(&folder);
        for (name, package) in own {
            let Some(library) = libraries.get(package) else { bail!("cargo built no library of {package}") };
            rustc.arg("--extern").arg(format!("{name}={}", library.display()));
            let around = library.parent().unwrap_or(Path::new("."));
            rustc.arg("-L").arg(format!("dependency={}", around.display()));
        }
        tried += probe.forbidden.len();
        for problem in probe.judge(&errors(&mut rustc)?) {
            eprintln!("{}/Cargo.toml: {problem}", room.folder);
            hold = false;
        }
    }
    say(format!("walls: {tried} imports tried in {} crates", ROOMS.len()));
    Ok(hold)
}

/// What is tried in one crate, one import a line.
struct Probe {
    /// Crates that it must not know.
    forbidden: Vec<String>,
    /// Crates that it may know: these imports show that the compiler was given the right libraries.
    allowed: Vec<String>,
}

impl Probe {
    fn of(room: &Room) -> Self {
        let rust = |name: &str| name.replace('-', "_");
        let others = ROOMS.iter().map(|other| other.package).filter(|name| *name != room.package);
        let (allowed, mut forbidden): (Vec<_>, Vec<_>) = others.partition(|name| room.knows.contains(name));
        let foreign = OWNERS.iter().filter(|(_, owner)| *owner != room.package);
        forbidden.extend(foreign.map(|(library, _)| *library));
        Self { forbidden: forbidden.into_iter().map(rust).collect(), allowed: allowed.into_iter().map(rust).collect() }
    }

    fn text(&self) -> String {
        let import = |name: &String| format!("use {name} as _;\n");
        self.forbidden.iter().chain(&self.allowed).map(import).collect()
    }

    /// What is wrong, by the errors with their lines: each forbidden import has to have one, and nothing else may.
    fn judge(&self, errors: &[(usize, String)]) -> Vec<String> {
        let mut problems = Vec::new();
        for (index, name) in self.forbidden.iter().enumerate() {
            let refused = |(line, code): &(usize, String)| *line == index + 1 && UNRESOLVED.contains(&code.as_str());
            if !errors.iter().any(refused) {
                problems.push(format!("`use {name}` compiles; remove the dependency that allows it"));
            }
        }
        for (index, name) in self.allowed.iter().enumerate() {
            if errors.iter().any(|(line, _)| *line == self.forbidden.len() + index + 1) {
                problems.push(format!("`use {name}` does not compile, although the crate may know it"));
            }
        }
        let lines = self.forbidden.len() + self.allowed.len();
        let strange = errors.iter().filter(|(line, code)| {
            *line == 0 || *line > lines || (*line <= self.forbidden.len() && !UNRESOLVED.contains(&code.as_str()))
        });
        problems.extend(
            strange.map(|(line, code)| format!("the compiler failed for another reason: {code} in line {line}")),
        );
        problems
    }
}

/// The compiler that cargo uses.
fn compiler() -> Command {
    let mut command = Command::new(process::variable("RUSTC").unwrap_or_else(|| "rustc".to_owned()));
    command.current_dir(process::workspace_root());
    command
}

/// The errors of a compilation: line and code.
fn errors(rustc: &mut Command) -> Result<Vec<(usize, String)>> {
    let output = rustc
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("failed to start `{}`", process::shown(rustc)))?;
    Ok(String::from_utf8_lossy(&output.stderr).lines().filter_map(error_in).collect())
}

/// The error that a line of the compiler's JSON tells; the closing summary has no place in a file and tells nothing
/// new.
fn error_in(line: &str) -> Option<(usize, String)> {
    let message: Json = serde_json::from_str(line).ok()?;
    if message["level"] != "error" {
        return None;
    }
    let text = message["message"].as_str().unwrap_or_default();
    let code = message["code"]["code"].as_str();
    if code.is_none() && text.starts_with("aborting due to") {
        return None;
    }
    let place = message["spans"].as_array().and_then(|spans| spans.iter().find(|span| span["is_primary"] == true));
    let line = place.and_then(|span| span["line_start"].as_u64()).and_then(|line| usize::try_from(line).ok());
    Some((line.unwrap_or(0), code.map_or_else(|| text.to_owned(), str::to_owned)))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDependency>,
}

#[derive(Deserialize)]
struct NodeDependency {
    /// As Rust code names it.
    name: String,
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// None for `[dependencies]`.
    kind: Option<String>,
}

fn metadata() -> Result<Metadata> {
    let mut rustc = compiler();
    let (version, _) = process::output(rustc.arg("-vV"), None)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let mut cargo = process::cargo();
    cargo.args(["metadata", "--format-version", "1", "--filter-platform", host]);
    let (text, code) = process::output(&mut cargo, None)?;
    if code != 0 {
        bail!("`{}` failed", process::shown(&cargo));
    }
    serde_json::from_str(&text).context("cargo's metadata can't be read")
}

/// What the code of each package of the workspace can name: name and package of each dependency.
fn externs(metadata: &Metadata) -> Result<BTreeMap<String, Vec<(String, String)>>> {
    let mut all = BTreeMap::new();
    for room in &ROOMS {
        let package = metadata.packages.iter().find(|package| package.name == room.package);
        let package = package.with_context(|| format!("cargo knows no package {}", room.package))?;
        let node = metadata.resolve.nodes.iter().find(|node| node.id == package.id);
        let node = node.with_context(|| format!("cargo resolved no package {}", room.package))?;
        let is_normal = |dependency: &&NodeDependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        let own = node.deps.iter().filter(is_normal);
        all.insert(
            room.package.to_owned(),
            own.map(|dependency| (dependency.name.clone(), dependency.pkg.clone())).collect(),
        );
    }
    Ok(all)
}

/// Checks the workspace's libraries and returns where the compiler finds each package's, by package.
fn built_libraries() -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = process::cargo();
    cargo.args(["check", "--quiet", "--workspace", "--message-format", "json"]);
    let (text, code) = process::output(&mut cargo, None)?;
    if code != 0 {
        bail!("`{}` failed: the walls are tried in a workspace that compiles", process::shown(&cargo));
    }
    Ok(text.lines().filter_map(library_in).collect())
}

/// The library that a line of cargo's JSON tells of: package and file.
fn library_in(line: &str) -> Option<(String, PathBuf)> {
    let message: Json = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let kinds = message["target"]["kind"].as_array()?;
    if !kinds.iter().any(|kind| ["lib", "rlib", "proc-macro"].contains(&kind.as_str().unwrap_or_default())) {
        return None;
    }
    let files = message["filenames"].as_array()?.iter().filter_map(Json::as_str);
    let file =
        files.into_iter().find(|file| [".rmeta", ".so", ".dylib", ".dll"].iter().any(|end| file.ends_with(end)))?;
    Some((message["package_id"].as_str()?.to_owned(), PathBuf::from(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        Probe { forbidden: vec!["store".to_owned(), "sqlx".to_owned()], allowed: vec!["model".to_owned()] }
    }

    #[test]
    fn walls_hold_when_the_forbidden_imports_are_refused_and_nothing_else_is() {
        let errors = |list: &[(usize, &str)]| -> Vec<(usize, String)> {
            list.iter().map(|(line, code)| (*line, (*code).to_owned())).collect()
        };
        let probe = probe();
        assert_eq!(probe.text(), "use store as _;\nuse sqlx as _;\nuse model as _;\n");
        assert_eq!(probe.judge(&errors(&[(1, "E0432"), (2, "E0432")])), Vec::<String>::new());
        assert_eq!(probe.judge(&errors(&[(1, "E0432")])).len(), 1, "sqlx can be named");
        assert_eq!(probe.judge(&errors(&[])).len(), 2);
        assert_eq!(probe.judge(&errors(&[(1, "E0432"), (2, "E0432"), (3, "E0432")])).len(), 1, "model can't be named");
        let other = probe.judge(&errors(&[(1, "E0432"), (2, "E0460")]));
        assert_eq!(other.len(), 2, "an error of another kind proves nothing: {other:?}");
        assert_eq!(probe.judge(&errors(&[(1, "E0432"), (2, "E0432"), (0, "couldn't read")])).len(), 1);
    }

    #[test]
    fn each_crate_tries_every_other_that_it_must_not_know() {
        for room in &ROOMS {
            let probe = Probe::of(room);
            assert_eq!(probe.allowed.len(), room.knows.len(), "{}", room.package);
            assert!(!probe.forbidden.is_empty(), "{}", room.package);
        }
        let store = Probe::of(ROOMS.iter().find(|room| room.package == "backline-store").expect("listed"));
        for name in ["backline", "backline_gateway", "wasmtime", "reqwest", "oci_client"] {
            assert!(store.forbidden.iter().any(|forbidden| forbidden == name), "{name}");
        }
        assert!(!store.forbidden.iter().any(|forbidden| forbidden == "sqlx"));
    }

    /// The real compiler, without libraries: what it says is understood.
    #[test]
    fn the_compiler_s_refusals_are_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("probe.rs");
        std::fs::write(&path, "use std as _;\nuse missing as _;\n").expect("written");
        let mut rustc = compiler();
        rustc.arg(&path).args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata"]);
        rustc.args(["--error-format", "json"]).arg("--out-dir").arg(folder.path());
        assert_eq!(errors(&mut rustc).expect("rustc runs"), [(2, "E0432".to_owned())]);
    }

    #[test]
    fn libraries_are_found_in_what_cargo_tells() {
        let line = r#"{"reason":"compiler-artifact","package_id":"a","target":{"kind":["lib"]},
            "filenames":["/t/liba.rmeta"]}"#
            .replace('\n', "");
        assert_eq!(library_in(&line), Some(("a".to_owned(), PathBuf::from("/t/liba.rmeta"))));
        assert_eq!(library_in(&line.replace("\"lib\"", "\"bin\"")), None);
        assert_eq!(library_in(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
