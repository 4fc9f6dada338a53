//! `backline plugins inspect | diff`: what a connector may reach, and what another release of it would change.

use serde_json::json;

use super::source::SourceArguments;
use super::{listed, version_of};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit};
use crate::cli::terminal::print;
use backline_component::{Inspection, Source, imports_shown};
use backline_model::grant::{describe_budget, describe_policy, describe_slot};
use backline_model::{Digest, Manifest, Release};

/// Arguments of `inspect`.
#[derive(clap::Args)]
pub(crate) struct InspectArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// Version, if SOURCE is the name of an installed connector; the highest unless given
    version: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `diff`.
#[derive(clap::Args)]
pub(crate) struct DiffArguments {
    /// Name of an installed connector
    name: String,
    /// Version, or the start of its digest; the highest unless given
    version: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is shown of a component before it is granted anything.
pub(super) struct Described<'a> {
    manifest: &'a Manifest,
    digest: Digest,
    size_bytes: u64,
    wit_version: &'a str,
    imports: &'a [String],
}

impl<'a> From<&'a Inspection> for Described<'a> {
    fn from(inspection: &'a Inspection) -> Self {
        let Inspection { manifest, digest, size_bytes, wit_version, imports, .. } = inspection;
        Self { manifest, digest: *digest, size_bytes: *size_bytes, wit_version, imports }
    }
}

impl<'a> From<&'a Release> for Described<'a> {
    fn from(release: &'a Release) -> Self {
        let Release { manifest, digest, size_bytes, wit_version, imports, .. } = release;
        Self { manifest, digest: *digest, size_bytes: *size_bytes, wit_version, imports }
    }
}

/// Prints what a component or an installed release may reach, without running it.
pub(super) async fn inspect(context: &Context, arguments: InspectArguments) -> CommandResult {
    let InspectArguments { source, version, json } = arguments;
    if source.index.is_none()
        && let Some(name) = installed_name(&source.source, version.as_deref())
    {
        let release = context.host().await?.releases().named(&name, version.as_deref()).await?;
        if json {
            let mut shown = listed(&release);
            (shown["manifest"], shown["imports"]) = (json!(release.manifest), json!(release.imports));
            print::json(&shown)?;
        } else {
            print::line(&description(&(&release).into()))?;
            print::line(&standing(&release))?;
        }
        return Ok(Exit::Done);
    }
    let inspection = source.obtain(context, false).await?.inspection;
    if json {
        print::json(&inspection)?;
    } else {
        print::line(&description(&(&inspection).into()))?;
    }
    Ok(Exit::Done)
}

/// The name of an installed connector, if SOURCE is one: given with a version, or a bare name that no file has.
fn installed_name(source: &Source, version: Option<&str>) -> Option<String> {
    let Source::File(path) = source else { return None };
    let name = path.to_str()?;
    let is_bare = !name.contains(['/', '\\', '.']) && !path.exists();
    (version.is_some() || is_bare).then(|| name.to_owned())
}

fn standing(release: &Release) -> String {
    let active = if release.active { ", active" } else { "" };
    let reason = release.state_reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
    let signer = release.signed_by.as_ref().map_or(String::new(), |name| format!(", signed by {name}"));
    let source = if release.source.is_empty() { "an unrecorded source" } else { &release.source };
    format!("\nState: {}{active}{reason}; installed from {source}{signer}", release.state.as_str())
}

/// Prints what a release would change: its permissions compared with the grant, its metrics with the active release's.
pub(super) async fn diff(context: &Context, arguments: DiffArguments) -> CommandResult {
    let DiffArguments { name, version, json } = arguments;
    let host = context.host().await?;
    let release = host.releases().named(&name, version.as_deref()).await?;
    let compared = host.releases().compare(&release).await?;
    if json {
        let of = |release: &Release| {
            let (name, version) = version_of(&release.manifest);
            json!({ "name": name, "version": version, "digest": release.digest, "state": release.state })
        };
        print::json(&json!({
            "release": of(&release),
            "against": compared.against.as_ref().map(of),
            "permissions": compared.permissions,
            "metrics": compared.metrics,
        }))?;
        return Ok(Exit::Done);
    }
    let (_, version) = version_of(&release.manifest);
    match &compared.against {
        Some(against) => {
            print::note(&format!("{name} {version} compared with {}", version_of(&against.manifest).1));
        }
        None => print::note(&format!("{name} {version} compared with nothing: no release of {name} is granted")),
    }
    let mut lines = compared.permissions.to_string();
    for (sign, metrics) in [("+", &compared.metrics.added), ("-", &compared.metrics.removed)] {
        for metric in metrics {
            lines.push_str(&format!("\n{sign} metric {metric}"));
        }
    }
    match lines.trim() {
        "" => print::note("no difference in permissions or metrics"),
        lines => print::line(lines)?,
    }
    Ok(Exit::Done)
}

/// What an operator needs to know before granting anything.
pub(super) fn description(described: &Described<'_>) -> String {
    let Described { manifest, .. } = described;
    let info = &manifest.connector;
    let mut lines = vec![
        format!("{} {} for {}: {}", info.name, info.version, info.platform, info.title),
        format!(
            "sha256 {}, {} bytes, uses backline:connector {}",
            described.digest, described.size_bytes, described.wit_version
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
    section("It may send requests to", hosts.collect(), "no host");
    let slots = manifest.credentials.iter().map(describe_slot).collect();
    section("It may use these secrets, without seeing them", slots, "none");
    section("It is limited to", manifest.budgets.iter().map(describe_budget).collect(), "no budget");
    let policy = describe_policy(&manifest.policy);
    section("Policy for its data", policy, "none: it is kept as long as all other data, and AI may use it");
    let metrics: Vec<_> = manifest.metrics.iter().map(|metric| metric.name.as_str()).collect();
    section("It reports", vec![metrics.join(", ")], "nothing");
    if !manifest.bypasses.is_empty() {
        let bypasses = manifest.bypasses.iter();
        let bypasses =
            bypasses.map(|bypass| format!("{} until {}: {}", bypass.check.as_str(), bypass.until, bypass.reason));
        section("It does not pass these checks of conformance", bypasses.collect(), "none");
    }
    section("It imports, which is its whole authority", imports_shown(described.imports), "nothing");
    lines.join("\n")
}
