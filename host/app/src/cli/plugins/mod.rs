//! `backline plugins …`: connectors, their grants and their releases.

mod authors;
mod canary;
mod describe;
mod grant;
mod install;
mod life;
mod logs;
mod rollback;
mod shadow;
mod source;
mod test;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value as Json, json};

use self::authors::{check, conformance, dev, index, new, publish, sign, trial, update};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::output::{Access, Existing, Output, is_stdout};
use crate::cli::terminal::print;
use backline_component::{imports_shown, inspect, is_wasi, pack};
use backline_model::{Manifest, Release};

/// Largest file that is read, in bytes; the sandbox's own bound on components is usually lower.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// `backline plugins …`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Install a connector and activate it; an update that asks for more than is granted waits for approval
    Install(install::InstallArguments),
    /// List installed connectors
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what a connector may reach, without running it: of a packed component, or of an installed one by its name
    Inspect(describe::InspectArguments),
    /// Print what a release asks for beyond what is granted, and which metrics it adds and removes
    Diff(describe::DiffArguments),
    /// Grant a release what it asks for, or print what is granted
    Grant(grant::GrantArguments),
    /// Revoke a connector's grant, or a part of it, from the next batch on
    Revoke(grant::RevokeArguments),
    /// Activate a release on all hosts; running batches finish on the release they started with
    Activate(life::ActivateArguments),
    /// Remove a release's component; what it collected can still be traced to it
    Remove(life::RemoveArguments),
    /// List activations of releases, and the reason for each
    History(life::HistoryArguments),
    /// List what happened to a connector and its platform, the latest first
    Timeline(life::TimelineArguments),
    /// Test a release: normalise some stored documents, and check some accounts with their credentials
    Test(test::TestArguments),
    /// Try a component with one account, without a database: its requests, document, metrics, findings and log
    Try(trial::TryArguments),
    /// Check a component against recorded answers, and against what else the platform may answer
    Conformance(conformance::ConformanceArguments),
    /// Compare a release with the active one, metric by metric, before it collects anything; stores nothing
    Shadow(shadow::ShadowArguments),
    /// Collect a share of the accounts with a new release first
    #[command(subcommand)]
    Canary(canary::CanaryCommand),
    /// Roll a platform back to its previous release, and retry the accounts that failed
    Rollback(rollback::RollbackArguments),
    /// Print what connectors wrote while they collected, also in calls that trapped
    Logs(logs::LogsArguments),
    /// Make a project of a connector, with tests, recorded answers and everything it is built from
    New(new::NewArguments),
    /// Build a project whenever it changes, replay its recordings, and show what changed in metrics and requests
    Dev(dev::DevArguments),
    /// Move a project to the templates of this version, in numbered steps
    Update(update::UpdateArguments),
    /// Check a manifest by itself: every fault with its line, its column and what is expected
    Check(check::CheckArguments),
    /// Print the JSON Schema of a manifest, for editors
    Schema(check::SchemaArguments),
    /// Convert a core module to a component if needed, and embed its manifest
    Pack {
        /// The compiled core module or component
        file: PathBuf,
        /// The manifest to embed
        #[arg(long, default_value = "connector.toml", value_name = "FILE")]
        manifest: PathBuf,
        /// File to write the component to; - for standard output
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
        /// Print JSON; not with --output -
        #[arg(long)]
        json: bool,
    },
    /// Push a packed component to a registry, with its signature beside it and its manifest as annotations
    Publish(publish::PublishArguments),
    /// Search an index of connectors
    Search(index::SearchArguments),
    /// Make an index of connectors, or check one
    #[command(subcommand)]
    Index(index::IndexCommand),
    /// Generate a key to sign connectors with
    Keygen(sign::KeygenArguments),
    /// Sign a connector: write its signature to FILE.minisig
    Sign(sign::SignArguments),
    /// Print a connector's digest and signer; fails unless the signer is trusted
    Verify(sign::VerifyArguments),
}

/// Runs the command.
pub(super) async fn run(context: &Context, command: Command) -> CommandResult {
    match command {
        Command::Install(arguments) => install::install(context, arguments).await,
        Command::List { json } => list(context, json).await,
        Command::Inspect(arguments) => describe::inspect(context, arguments).await,
        Command::Diff(arguments) => describe::diff(context, arguments).await,
        Command::Grant(arguments) => grant::grant(context, arguments).await,
        Command::Revoke(arguments) => grant::revoke(context, arguments).await,
        Command::Activate(arguments) => life::activate(context, arguments).await,
        Command::Remove(arguments) => life::remove(context, arguments).await,
        Command::History(arguments) => life::history(context, arguments).await,
        Command::Timeline(arguments) => life::timeline(context, arguments).await,
        Command::Keygen(arguments) => sign::keygen(&arguments),
        Command::Sign(arguments) => sign::sign(context, &arguments),
        Command::Verify(arguments) => sign::verify(context, &arguments).await,
        Command::Test(arguments) => test::test(context, arguments).await,
        Command::Try(arguments) => trial::try_file(context, arguments).await,
        Command::Conformance(arguments) => conformance::check(context, arguments).await,
        Command::Shadow(arguments) => shadow::shadow(context, arguments).await,
        Command::Canary(command) => canary::canary(context, command).await,
        Command::Rollback(arguments) => rollback::rollback(context, arguments).await,
        Command::Logs(arguments) => logs::logs(context, arguments).await,
        Command::Publish(arguments) => publish::run(context, arguments).await,
        Command::Search(arguments) => index::search(context, arguments).await,
        Command::Index(command) => index::run(context, command).await,
        Command::New(arguments) => new::new(&arguments),
        Command::Dev(arguments) => dev::dev(context, arguments).await,
        Command::Update(arguments) => update::update(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Schema(arguments) => check::schema(&arguments),
        Command::Pack { file, manifest, output, force, json } => pack_file(&file, &manifest, &output, force, json),
    }
}

/// Columns of a release.
pub(super) const HEADERS: [&str; 8] =
    ["platform", "name", "version", "digest", "state", "?source", "?signed by", "??installed"];

async fn list(context: &Context, as_json: bool) -> CommandResult {
    let store = context.store().await?;
    let releases = store.releases_list().await?;
    for row in store.unreadable_rows().iter().filter(|row| row.table == "releases") {
        print::note(&format!("{row}; it collects nothing: install the connector again"));
    }
    let rows: Vec<Json> = releases.iter().map(listed).collect();
    let row = |release: &Json| {
        let text = |field: &str| release[field].as_str().unwrap_or(print::NONE).to_owned();
        let digest = text("digest").chars().take(12).collect();
        let state = if release["active"] == true { "active".to_owned() } else { text("state") };
        let (source, signer) = (text("source"), text("signed_by"));
        vec![text("platform"), text("name"), text("version"), digest, state, source, signer, text("installed_at")]
    };
    print::listing(
        as_json,
        &rows,
        &HEADERS,
        row,
        "no connector is installed; `backline plugins install FILE.wasm` installs one",
    )?;
    Ok(Exit::Done)
}

fn listed(release: &Release) -> Json {
    let info = &release.manifest.connector;
    json!({
        "platform": info.platform,
        "name": info.name,
        "version": info.version,
        "digest": release.digest,
        "active": release.active,
        "state": release.state,
        "state_reason": release.state_reason,
        "wanted": release.wanted,
        "source": release.source,
        "signed_by": release.signed_by,
        "wit_version": release.wit_version,
        "size_bytes": release.size_bytes,
        "installed_at": print::time(release.installed_at),
        "grant": release.grant,
    })
}

fn pack_file(file: &Path, manifest: &Path, output: &Path, force: bool, as_json: bool) -> CommandResult {
    if as_json && is_stdout(output) {
        return Err(Failure::usage(
            "standard output can't be the component and JSON; name a file, or leave out --json",
        ));
    }
    let target = Output::open(output, Access::Shared, Existing::forced(force))?;
    target.expect_no_terminal()?;
    let wasm = read_file(file)?;
    let text = check::read_manifest(manifest)?;
    let name = manifest.display().to_string();
    let faults = check::faults(&text);
    if let Some(first) = faults.first() {
        let others = match faults.len() {
            1 => String::new(),
            all => format!("; `backline plugins check {name}` lists {} more", all - 1),
        };
        return Err(Failure::usage(format!("{}{others}", check::shown(&name, first))));
    }
    let component = pack(&wasm, &text).map_err(|error| Failure::from(error).about(&file.display().to_string()))?;
    target.finish_with(&component)?;
    if as_json {
        print::json(&json!({ "file": output, "size_bytes": component.len() }))?;
    }
    print::note(&format!("wrote {} ({} bytes)", output.display(), component.len()));
    let inspection = inspect(&component).map_err(|error| Failure::from(error).about(&file.display().to_string()))?;
    if let Some(line) = stubbed(&inspection.imports) {
        print::note(&line);
    }
    Ok(Exit::Done)
}

/// What a component imports that the host links with nothing behind it, in one line; `None` if it is nothing.
fn stubbed(imports: &[String]) -> Option<String> {
    let wasi: Vec<String> = imports.iter().filter(|import| is_wasi(import)).cloned().collect();
    imports_shown(&wasi).first().map(|line| format!("it imports {line}"))
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::usage(format!("{} can't be read: {error}", path.display()));
    let data = std::fs::metadata(path).map_err(failed)?;
    if data.is_dir() {
        return Err(Failure::usage(format!("{} is a folder; name the .wasm file in it", path.display())));
    }
    if data.len() > FILE_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{} has {} bytes, more than the {FILE_BYTES_MAX} that a connector may have; name the packed component",
            path.display(),
            data.len()
        )));
    }
    std::fs::read(path).map_err(failed)
}

/// The name and version of a connector.
fn version_of(manifest: &Manifest) -> (&str, &semver::Version) {
    (&manifest.connector.name, &manifest.connector.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubbed_imports_are_named_in_one_line_if_there_are_any() {
        let imports = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let own = "backline:connector/http@1.0.0";
        assert_eq!(stubbed(&imports(&[own])), None);
        let line = stubbed(&imports(&[own, "wasi:cli/environment@0.2.3", "wasi:sockets/tcp@0.2.3"])).expect("two");
        assert!(line.starts_with("it imports WASI 0.2 (2 interfaces) with nothing behind it: no files"), "{line}");
    }
}
