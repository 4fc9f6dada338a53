//! `cargo xtask build`: the host, and every connector and test guest as a component.
//!
//! Connectors are compiled to core modules for `wasm32-unknown-unknown` and made components by `backline plugins pack`,
//! the command an operator would use: `target/plugins/<name>.wasm` and `target/guests/<name>.wasm`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, say};

/// The target connectors are compiled for: it has no system interface at all.
pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// The SDK's feature for the contract 1.1.0, and the folder of the test guests that want it.
pub(crate) const NEXT_CONTRACT: &str = "contract-1-1";

/// The profile connectors are compiled with.
const WASM_PROFILE: &str = "plugin";

/// The `backline` binary that [`host`] builds.
pub(crate) fn host_binary() -> PathBuf {
    process::target_folder().join("debug").join("backline")
}

/// Connectors that need another consent or login than their service's first connector, and are set up apart.
const OPTIONAL: [&str; 2] = ["instagram-business", "youtube-analytics"];

/// The components of the optional connectors.
pub(crate) fn optional_connectors() -> Vec<PathBuf> {
    OPTIONAL.map(|name| component_path("plugins", name)).into()
}

/// The components of the other connectors, in order of name.
///
/// # Errors
/// When the folder of connectors can't be read.
pub(crate) fn connectors() -> Result<Vec<PathBuf>> {
    let names = plugin_folders()?.iter().map(|folder| folder_name(folder)).collect::<Vec<_>>();
    let shown = names.iter().filter(|name| !OPTIONAL.contains(&name.as_str()));
    Ok(shown.map(|name| component_path("plugins", name)).collect())
}

/// Builds everything.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn everything() -> Result<()> {
    components(BuiltFor::Use, true, true)
}

/// What the host is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltFor {
    /// Commands and the demo, or a part of the tests.
    Use,
    /// All tests of the workspace, which are built with it. They ask the host's crates for features that nobody else
    /// asks for, so that the host of [`BuiltFor::Use`] has every crate of the host compiled a second time.
    AllTests,
}

/// Builds the connectors, the test guests or both, and first the host, which packs them.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn components(built_for: BuiltFor, with_connectors: bool, with_guests: bool) -> Result<()> {
    if !with_connectors && !with_guests {
        return Ok(());
    }
    host(built_for)?;
    wasm_target()?;
    if with_connectors {
        plugins()?;
    }
    if with_guests {
        guests()?;
    }
    Ok(())
}

/// Builds the `backline` and the simulator's binary: together, and as the tests will want them, so that cargo compiles
/// their common dependencies with one set of features and once.
///
/// # Errors
/// When cargo fails.
fn host(built_for: BuiltFor) -> Result<()> {
    say("building the host (the first time takes some minutes: wasmtime and the databases)");
    process::run(process::cargo().args(host_arguments(built_for)))
}

/// What cargo is given to build the host.
fn host_arguments(built_for: BuiltFor) -> &'static [&'static str] {
    match built_for {
        BuiltFor::Use => &["build", "--workspace", "--exclude", "xtask", "--bins"],
        // The binaries that integration tests run are built beside them.
        BuiltFor::AllTests => &["test", "--workspace", "--no-run"],
    }
}

/// What [`release`] builds.
pub(crate) struct Release {
    pub(crate) host: PathBuf,
    pub(crate) simulator: PathBuf,
    /// The plain program that the host is measured against.
    pub(crate) native: PathBuf,
    /// Runs statements on a measured database.
    pub(crate) reader: PathBuf,
}

/// Builds the host, the simulator and the native program as they are released.
///
/// # Errors
/// When cargo fails.
pub(crate) fn release() -> Result<Release> {
    say("building the release (the first time takes some minutes)");
    process::run(process::cargo().args(["build", "--workspace", "--exclude", "xtask", "--bins", "--release"]))?;
    let binary = |name: &str| process::target_folder().join("release").join(name);
    Ok(Release {
        host: binary("backline"),
        simulator: binary("backline-simulator"),
        native: binary("backline-bench-native"),
        reader: binary("backline-bench-read"),
    })
}

/// What [`distribution`] builds.
pub(crate) struct Distribution {
    /// The binary, without symbols.
    pub(crate) host: PathBuf,
    /// Every connector as a component, in order of name.
    pub(crate) connectors: Vec<PathBuf>,
}

/// Builds what is given to users: the host and every connector. No path of this machine is in them.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn distribution() -> Result<Distribution> {
    say("building the release for others (the first time takes some minutes)");
    wasm_target()?;
    let strip = ["--config", "profile.release.strip=\"symbols\""];
    let mut build = process::cargo();
    let root = process::workspace_root();
    process::run(
        without_paths(&mut build, &root).args(["build", "--locked", "--release", "--package", "backline"]).args(strip),
    )?;
    let host = process::target_folder().join("release").join("backline");
    let connectors = connectors_of(&root, &process::target_folder(), &host)?.into_values().collect();
    Ok(Distribution { host, connectors })
}

/// Builds the packer alone: the host.
///
/// # Errors
/// When cargo fails, or the compile target for connectors can't be installed.
pub(crate) fn packer() -> Result<PathBuf> {
    host(BuiltFor::Use)?;
    wasm_target()?;
    Ok(host_binary())
}

/// Builds the connectors of a copy of this repository as they are given to users, into a build folder of its own, and
/// returns the component of each by name.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn connectors_of(root: &Path, target: &Path, packer: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let folders = plugin_folders_in(root)?;
    let mut build = wasm_build();
    without_paths(&mut build, root).current_dir(root).env("CARGO_TARGET_DIR", target).args(["--locked", "--lib"]);
    for folder in &folders {
        build.args(["--package", &package_name(folder)?]);
    }
    process::run(&mut build)?;
    let mut connectors = BTreeMap::new();
    for folder in &folders {
        let core = format!("{}.wasm", package_name(folder)?.replace('-', "_"));
        let core = target.join(WASM_TARGET).join(WASM_PROFILE).join(core);
        let component = target.join("dist-plugins").join(format!("{}.wasm", folder_name(folder)));
        pack(packer, &core, &folder.join("connector.toml"), &component)?;
        connectors.insert(folder_name(folder), component);
    }
    Ok(connectors)
}

/// Lets the compiler write fixed names for a copy of this repository and for cargo's folder, which panics and debug
/// information would name.
fn without_paths<'a>(build: &'a mut Command, root: &Path) -> &'a mut Command {
    let cargo_home = process::variable("CARGO_HOME").map(PathBuf::from);
    let home = || process::variable("HOME").map(|home| Path::new(&home).join(".cargo"));
    let mut flags = vec![format!("--remap-path-prefix={}=/backline", root.display())];
    if let Some(folder) = cargo_home.or_else(home) {
        flags.push(format!("--remap-path-prefix={}=/cargo", folder.display()));
    }
    // The separator of this variable is the unit separator, so that paths may have blanks.
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
}

/// Installs the compile target for connectors, where it is missing.
fn wasm_target() -> Result<()> {
    let mut ask = Command::new("rustc");
    ask.current_dir(process::workspace_root()).args(["--print", "target-libdir", "--target", WASM_TARGET]);
    let (libraries, code) = process::output(&mut ask, None)?;
    if code == 0 && Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    if !process::is_installed("rustup") {
        bail!(
            "the compile target {WASM_TARGET} is missing and rustup is not installed: install the target with the tool \
             that your toolchain came with"
        );
    }
    say(format!("installing the compile target {WASM_TARGET}"));
    process::run(Command::new("rustup").current_dir(process::workspace_root()).args(["target", "add", WASM_TARGET]))
}

fn plugins() -> Result<()> {
    let folders = plugin_folders()?;
    say(format!("building {} connectors", folders.len()));
    let mut build = wasm_build();
    for folder in &folders {
        build.args(["--package", &package_name(folder)?]);
    }
    process::run(build.arg("--lib"))?;
    for folder in &folders {
        let core = wasm_output().join(format!("{}.wasm", package_name(folder)?.replace('-', "_")));
        let component = component_path("plugins", &folder_name(folder));
        pack(&host_binary(), &core, &folder.join("connector.toml"), &component)?;
    }
    Ok(())
}

fn guests() -> Result<()> {
    examples("tests/guests", "guests", &host_binary())?;
    next_guests()
}

/// Builds the guests that use the SDK's bindings of the contract 1.1.0: in a build of its own, since a feature that one
/// connector of a build wants is on for all of them.
fn next_guests() -> Result<()> {
    let folder = process::workspace_root().join("tests/guests");
    let names: Vec<String> = files_in(&folder.join(NEXT_CONTRACT), "rs")?
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    let mut build = wasm_build();
    build.args(["--package", &package_name(&folder)?, "--features", NEXT_CONTRACT]);
    for name in &names {
        build.args(["--example", name]);
    }
    process::run(&mut build)?;
    for name in &names {
        let component = component_path("guests", name);
        pack(&host_binary(), &core_of_example(name)?, &folder.join("connector.toml"), &component)?;
    }
    Ok(())
}

/// Builds the connectors of job A, and returns the component of each by name.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn bench_connectors(packer: &Path) -> Result<BTreeMap<String, PathBuf>> {
    wasm_target()?;
    examples("bench/connectors", "bench", packer)
}

/// Builds the examples of a package, each as a component of its group, and returns them by name.
fn examples(package: &str, group: &str, packer: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let folder = process::workspace_root().join(package);
    let names = guest_names(&folder)?;
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    say(format!("building {} components of {package}", names.len()));
    let mut build = wasm_build();
    build.args(["--package", &package_name(&folder)?]);
    for name in &names {
        build.args(["--example", name]);
    }
    process::run(&mut build)?;
    let mut components = BTreeMap::new();
    for name in &names {
        let core = core_of_example(name)?;
        let own = folder.join("examples").join(format!("{name}.toml"));
        let manifest = if own.is_file() { own } else { folder.join("connector.toml") };
        let component = component_path(group, name);
        pack(packer, &core, &manifest, &component)?;
        components.insert(name.clone(), component);
    }
    Ok(components)
}

/// The core module that cargo has built of an example.
///
/// # Errors
/// If there is none.
pub(crate) fn core_of_example(name: &str) -> Result<PathBuf> {
    // Cargo keeps a library example's file name as it is or with underscores, by version.
    let examples = wasm_output().join("examples");
    [name.to_owned(), name.replace('-', "_")]
        .into_iter()
        .map(|file| examples.join(format!("{file}.wasm")))
        .find(|path| path.is_file())
        .with_context(|| format!("cargo built no {name}.wasm: the example needs crate-type = [\"cdylib\"]"))
}

fn wasm_build() -> Command {
    let mut command = process::cargo();
    command.args(["build", "--target", WASM_TARGET, "--profile", WASM_PROFILE]);
    command
}

fn wasm_output() -> PathBuf {
    process::target_folder().join(WASM_TARGET).join(WASM_PROFILE)
}

fn component_path(group: &str, name: &str) -> PathBuf {
    process::target_folder().join(group).join(format!("{name}.wasm"))
}

/// Makes a core module a component with its manifest, unless the component is newer than all it is made of.
fn pack(packer: &Path, core: &Path, manifest: &Path, component: &Path) -> Result<()> {
    let mut sources = vec![core.to_path_buf(), manifest.to_path_buf()];
    // Packing is the host's code: a change there makes every component stale, a change elsewhere in the host does not.
    sources.extend(files_in(&process::workspace_root().join("host/component/src"), "rs")?);
    if is_newer_than(component, &sources)? {
        return Ok(());
    }
    say(format!("packing {}", component.strip_prefix(process::workspace_root()).unwrap_or(component).display()));
    let folder = component.parent().expect("a component lies in a folder");
    std::fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let unfinished = component.with_extension("unfinished");
    process::run(
        Command::new(packer)
            .args(["plugins", "pack"])
            .arg(core)
            .arg("--manifest")
            .arg(manifest)
            .arg("--output")
            .arg(&unfinished)
            .arg("--force"),
    )?;
    std::fs::rename(&unfinished, component).with_context(|| format!("failed to write {}", component.display()))
}

fn is_newer_than(product: &Path, sources: &[PathBuf]) -> Result<bool> {
    let Ok(made) = modified(product) else { return Ok(false) };
    for source in sources {
        if modified(source)? >= made {
            return Ok(false);
        }
    }
    Ok(true)
}

fn modified(path: &Path) -> Result<SystemTime> {
    std::fs::metadata(path)
        .and_then(|data| data.modified())
        .with_context(|| format!("failed to read {}", path.display()))
}

/// Every folder under `plugins/` that is a connector, in order of name.
fn plugin_folders() -> Result<Vec<PathBuf>> {
    plugin_folders_in(&process::workspace_root())
}

/// The same in a copy of this repository.
fn plugin_folders_in(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join("plugins");
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn guest_names(folder: &Path) -> Result<Vec<String>> {
    let examples = folder.join("examples");
    if !examples.is_dir() {
        return Ok(Vec::new());
    }
    let mut names: Vec<String> =
        files_in(&examples, "rs")?.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    for entry in std::fs::read_dir(&examples)? {
        let path = entry?.path();
        if path.join("main.rs").is_file() {
            names.push(folder_name(&path));
        }
    }
    names.sort();
    Ok(names)
}

fn files_in(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn folder_name(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The package name in a folder's `Cargo.toml`.
pub(crate) fn package_name(folder: &Path) -> Result<String> {
    let path = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    name_in(&text).with_context(|| format!("{} names no package", path.display()))
}

fn name_in(manifest: &str) -> Option<String> {
    let line = manifest.lines().skip_while(|line| line.trim() != "[package]").find(|line| line.starts_with("name"))?;
    Some(line.split('"').nth(1)?.to_owned())
}

/// The packages of all connectors.
///
/// # Errors
/// When their folder can't be read.
pub(crate) fn plugin_packages() -> Result<Vec<String>> {
    plugin_folders()?.iter().map(|folder| package_name(folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_name_is_the_package_sections() {
        assert_eq!(name_in("[workspace]\nname = \"no\"\n[package]\nname = \"yes\"\n"), Some("yes".to_owned()));
        assert_eq!(name_in("[lib]\nname = \"no\"\n"), None);
    }

    #[test]
    fn all_five_connectors_are_found() {
        let names: Vec<String> =
            plugin_folders().expect("the folder is there").iter().map(|path| folder_name(path)).collect();
        for name in ["apple-music", "instagram", "spotify", "tiktok", "youtube"] {
            assert!(names.iter().any(|found| found == name), "{name} is missing in {names:?}");
        }
        for name in OPTIONAL {
            assert!(names.iter().any(|found| found == name), "{name} is missing in {names:?}");
        }
        assert_eq!(connectors().expect("the folder is there").len(), 5, "all but the optional ones");
    }

    #[test]
    fn a_product_is_stale_as_soon_as_one_source_is_newer_or_it_is_missing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (source, product) = (folder.path().join("source"), folder.path().join("product"));
        std::fs::write(&source, "1").expect("written");
        assert!(
            !is_newer_than(&product, std::slice::from_ref(&source)).expect("readable"),
            "a missing product is stale"
        );
        std::fs::write(&product, "1").expect("written");
        let earlier = modified(&product).expect("readable") - std::time::Duration::from_secs(10);
        std::fs::File::options()
            .append(true)
            .open(&source)
            .and_then(|file| file.set_modified(earlier))
            .expect("time set");
        assert!(is_newer_than(&product, std::slice::from_ref(&source)).expect("readable"));
        let later = earlier + std::time::Duration::from_secs(20);
        std::fs::File::options()
            .append(true)
            .open(&source)
            .and_then(|file| file.set_modified(later))
            .expect("time set");
        assert!(!is_newer_than(&product, std::slice::from_ref(&source)).expect("readable"));
    }
}
