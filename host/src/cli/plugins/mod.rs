//! `backline plugins …`: connectors, and what they may reach.

mod canary;
mod rollback;
mod shadow;
mod test;

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::context::Context;
use super::exit::{Exit, Failure, Outcome, sentence};
use super::{print, values};
use crate::domain::Release;
use crate::domain::manifest::{BudgetWindow, Inject, Owner};
use crate::plugins::{Inspection, inspect, pack};

/// Largest file that is read; the sandbox's own bound on components is usually lower.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// `backline plugins …`
#[derive(Subcommand)]
pub enum Command {
    /// Install a connector and make it its platform's active one
    Install {
        /// The packed component
        file: PathBuf,
        /// Grant what it asks for without being asked
        #[arg(long)]
        yes: bool,
        /// Units of a budget that the platform granted you, such as units=50000, where they are not the manifest's; may be repeated
        #[arg(long, value_name = "NAME=UNITS", value_parser = values::budget)]
        budget: Vec<(String, u64)>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List installed connectors
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what a connector may reach, without running any of it
    Inspect {
        /// The packed component
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Try a release: normalise some stored documents, and check some accounts with their credentials
    Test(test::TestArguments),
    /// Show what a release would change, metric by metric, before it collects anything; nothing is stored
    Shadow(shadow::ShadowArguments),
    /// Let a release collect a share of the accounts first
    #[command(subcommand)]
    Canary(canary::CanaryCommand),
    /// Take a platform's active release back: the one before collects again, and what failed is collected once more
    Rollback(rollback::RollbackArguments),
    /// Make a component of a core module (or take one as it is) and embed its manifest
    Pack {
        /// What the compiler wrote
        file: PathBuf,
        /// The manifest
        #[arg(long, default_value = "connector.toml", value_name = "FILE")]
        manifest: PathBuf,
        /// Where the component goes
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// Replace the output where it exists
        #[arg(long)]
        force: bool,
    },
}

/// Runs the command.
pub async fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Install { file, yes, budget, json } => {
            install(context, &file, yes, budget.into_iter().collect(), json).await
        }
        Command::List { json } => list(context, json).await,
        Command::Inspect { file, json } => {
            let inspection = inspect_file(&file, &read_file(&file)?)?;
            if json {
                print::json(&inspection)?;
            } else {
                print::line(&description(&inspection))?;
            }
            Ok(Exit::Done)
        }
        Command::Test(arguments) => test::test(context, arguments).await,
        Command::Shadow(arguments) => shadow::shadow(context, arguments).await,
        Command::Canary(command) => canary::canary(context, command).await,
        Command::Rollback(arguments) => rollback::rollback(context, arguments).await,
        Command::Pack { file, manifest, output, force } => pack_file(&file, &manifest, &output, force),
    }
}

async fn install(context: &Context, file: &Path, yes: bool, budgets: BTreeMap<String, u64>, as_json: bool) -> Outcome {
    let component = read_file(file)?;
    let inspection = inspect_file(file, &component)?;
    let host = context.host().await?;
    if !yes {
        print::note(&description(&inspection));
        confirm(&inspection)?;
    }
    let release = host
        .install_with(&component, &budgets)
        .await
        .map_err(|error| Failure::from(error).about(&file.display().to_string()))?;
    if as_json {
        print::json(&listed(&release))?;
    } else {
        let info = &release.manifest.connector;
        print::line(&format!(
            "installed {} {} ({}): active for {}",
            info.name,
            info.version,
            release.digest.short(),
            info.platform
        ))?;
    }
    Ok(Exit::Done)
}

/// Asks the operator; anything but `y` or `yes` is no.
fn confirm(inspection: &Inspection) -> Result<(), Failure> {
    let name = &inspection.manifest.connector.name;
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{name} was not installed: nobody is there to be asked; read the above and repeat with --yes"
        )));
    }
    print::note(&format!("\nGrant {name} all of this? [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        Ok(())
    } else {
        Err(Failure::usage(format!("{name} was not installed")))
    }
}

async fn list(context: &Context, as_json: bool) -> Outcome {
    let releases = context.store().await?.list_releases().await?;
    let rows: Vec<Json> = releases.iter().map(listed).collect();
    let row = |release: &Json| {
        let text = |field: &str| release[field].as_str().unwrap_or(print::NONE).to_owned();
        let digest = text("digest").chars().take(12).collect();
        let active = if release["active"] == true { "active" } else { "" };
        vec![text("platform"), text("name"), text("version"), digest, active.to_owned(), text("installed_at")]
    };
    let headers = ["platform", "name", "version", "digest", "", "installed"];
    print::listing(
        as_json,
        &rows,
        &headers,
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
        "wit_version": release.wit_version,
        "size_bytes": release.size_bytes,
        "installed_at": print::time(release.installed_at),
        "grant": release.grant,
    })
}

fn pack_file(file: &Path, manifest: &Path, output: &Path, force: bool) -> Outcome {
    if output.exists() && !force {
        return Err(Failure::usage(format!(
            "{} exists already; name another file with --output, or add --force",
            output.display()
        )));
    }
    let wasm = read_file(file)?;
    let text = std::fs::read_to_string(manifest).map_err(|error| {
        Failure::usage(format!("the manifest {} can't be read: {error}; name it with --manifest", manifest.display()))
    })?;
    let component = pack(&wasm, &text).map_err(|error| Failure::refused(&error).about(&file.display().to_string()))?;
    std::fs::write(output, &component)
        .map_err(|error| Failure::failed(format!("failed to write {}: {error}", output.display())))?;
    print::note(&format!("wrote {} ({} bytes)", output.display(), component.len()));
    Ok(Exit::Done)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::usage(format!("{} can't be read: {error}", path.display()));
    let data = std::fs::metadata(path).map_err(failed)?;
    if data.is_dir() {
        return Err(Failure::usage(format!("{} is a folder; name the .wasm file in it", path.display())));
    }
    if data.len() > FILE_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{} has {} bytes, more than {FILE_BYTES_MAX}; that is no connector",
            path.display(),
            data.len()
        )));
    }
    std::fs::read(path).map_err(failed)
}

fn inspect_file(path: &Path, component: &[u8]) -> Result<Inspection, Failure> {
    inspect(component).map_err(|error| Failure::usage(format!("{}: {}", path.display(), sentence(&error))))
}

/// What an operator wants to know before granting anything.
fn description(inspection: &Inspection) -> String {
    let manifest = &inspection.manifest;
    let info = &manifest.connector;
    let mut lines = vec![
        format!("{} {} for {}: {}", info.name, info.version, info.platform, info.title),
        format!(
            "sha256 {}, {} bytes, speaks backline:connector {}",
            inspection.digest, inspection.size_bytes, inspection.wit_version
        ),
    ];
    let mut section = |title: &str, entries: Vec<String>, none: &str| {
        lines.push(format!("\n{title}"));
        if entries.is_empty() {
            lines.push(format!("  {none}"));
        }
        lines.extend(entries.into_iter().map(|entry| format!("  {entry}")));
    };
    let hosts = manifest.hosts.iter().map(|host| {
        let methods: Vec<_> = host.methods.iter().map(|method| method.as_str()).collect();
        format!("{} {}: {}", methods.join(", "), host.origin, host.reason)
    });
    section("It may send requests to", hosts.collect(), "nobody");
    let slots = manifest.credentials.iter().map(|slot| {
        let place = match &slot.inject {
            Inject::Query(name) => format!("the query parameter {name}"),
            Inject::Bearer => "the Authorization header".to_owned(),
            Inject::Header(name) => format!("the header {name}"),
        };
        let whose = if slot.owner == Owner::Operator { "yours" } else { "each account's own" };
        let hosts: Vec<_> = slot.hosts.iter().map(ToString::to_string).collect();
        let token = slot.token_url.as_ref().map_or(String::new(), |url| format!("; the host gets tokens from {url}"));
        let kind =
            serde_json::to_value(slot.kind).ok().and_then(|kind| Some(kind.as_str()?.to_owned())).unwrap_or_default();
        format!("{} ({kind}, {whose}): put into {place} for {}{token}", slot.slot, hosts.join(", "))
    });
    section("It may use these secrets, without seeing them", slots.collect(), "none");
    let budgets = manifest.budgets.iter().map(|budget| {
        let window = match &budget.window {
            BudgetWindow::Seconds(seconds) => format!("every {seconds} s"),
            BudgetWindow::Daily { at, timezone } => format!("a day, anew at {at} {timezone}"),
        };
        format!("{}: {} units {window}", budget.name, budget.limit)
    });
    section("It is held to", budgets.collect(), "no allowance");
    let metrics: Vec<_> = manifest.metrics.iter().map(|metric| metric.name.as_str()).collect();
    section("It reports", vec![metrics.join(", ")], "nothing");
    section("It imports, which is its whole authority", inspection.imports.clone(), "nothing");
    lines.join("\n")
}
