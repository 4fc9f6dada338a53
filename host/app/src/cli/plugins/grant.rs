//! `backline plugins grant | revoke`: change what a connector may do from its next batch on.

use std::io::IsTerminal as _;

use serde_json::json;

use super::install::{ApproveArguments, confirmed, say};
use super::version_of;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::{Approve, Host, Revoke};
use backline_model::{Grant, OriginPattern, Permissions, Release, ReleaseState};

/// Arguments of `grant`.
#[derive(clap::Args)]
pub(crate) struct GrantArguments {
    /// Name of an installed connector
    name: String,
    /// Version, or the start of its digest
    #[arg(required_unless_present = "print")]
    version: Option<String>,
    #[command(flatten)]
    approve: ApproveArguments,
    /// Print what is granted, in the format of --grant-file; for a release that waits, what it asks for
    #[arg(long, conflicts_with_all = ["yes", "grant_file"])]
    print: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `revoke`.
#[derive(clap::Args)]
pub(crate) struct RevokeArguments {
    /// Name of an installed connector; the grants of all its releases change
    name: String,
    /// Revoke only this host, such as `https://api.example.com`
    #[arg(long, value_name = "ORIGIN", conflicts_with = "slot")]
    host: Option<OriginPattern>,
    /// Revoke only this credential slot
    #[arg(long)]
    slot: Option<String>,
    /// Reason, kept with the releases
    #[arg(long, default_value = "revoked by the operator")]
    reason: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Grants a release what it asks for, or prints what is granted.
pub(super) async fn grant(context: &Context, arguments: GrantArguments) -> CommandResult {
    let GrantArguments { name, version, approve, print, json } = arguments;
    let host = context.host().await?;
    if print {
        return print_grant(&host, &name, version.as_deref(), json).await;
    }
    let release = host.releases().named(&name, version.as_deref()).await?;
    let approve = match approve.approve()? {
        Some(approve) => approve,
        None => ask(&host, &release).await?,
    };
    say("granted", &host.releases().approve(release.digest, &approve).await?, json)
}

async fn ask(host: &Host, release: &Release) -> Result<Approve, Failure> {
    let (name, version) = version_of(&release.manifest);
    let compared = host.releases().compare(release).await?;
    print::note(&format!("{name} {version} asks for\n{}", compared.permissions));
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{name} {version} was not granted anything: confirmation needs a terminal; \
             read the above and repeat with --yes or --grant-file"
        )));
    }
    if confirmed(&format!("Grant {name} all of this?"))? {
        Ok(Approve::All)
    } else {
        Err(Failure::usage(format!("{name} {version} was not granted anything: the answer was no")))
    }
}

async fn print_grant(host: &Host, name: &str, version: Option<&str>, as_json: bool) -> CommandResult {
    let release = match version {
        Some(_) => host.releases().named(name, version).await?,
        None => {
            let of_name = |release: &Release| release.manifest.connector.name == name;
            let releases: Vec<Release> = host.store().releases_list().await?.into_iter().filter(of_name).collect();
            let active = releases.iter().find(|release| release.active);
            let granted = || releases.iter().find(|release| release.state == ReleaseState::Granted);
            match active.or_else(granted) {
                Some(release) => release.clone(),
                None => host.releases().named(name, None).await?,
            }
        }
    };
    let (_, version) = version_of(&release.manifest);
    let (grant, heading) = if release.state == ReleaseState::Waiting {
        let asked = Permissions::asked(&release.manifest, &release.imports);
        let grant = Grant::of(asked).with_budgets(release.grant.budgets.clone());
        (grant, format!("# What {name} {version} asks for. It waits for this grant."))
    } else {
        (release.grant.clone(), format!("# What {name} {version} ({}) is granted.", release.digest.short()))
    };
    if as_json {
        print::json(&grant)?;
    } else {
        let text =
            toml::to_string(&grant).map_err(|error| Failure::failed(format!("failed to write TOML: {error}")))?;
        print::line(&format!("{heading}\n{}", text.trim_end()))?;
    }
    Ok(Exit::Done)
}

/// Revokes a grant, or a part of it.
pub(super) async fn revoke(context: &Context, arguments: RevokeArguments) -> CommandResult {
    let RevokeArguments { name, host: origin, slot, reason, json } = arguments;
    let (what, said) = match (origin, slot) {
        (Some(origin), _) => (Revoke::Host(origin.clone()), format!("requests to {origin} end")),
        (None, Some(slot)) => (Revoke::Slot(slot.clone()), format!("the secret {slot} is no longer used")),
        (None, None) => (Revoke::All, "it collects nothing, and its platform's open batches are excluded".to_owned()),
    };
    let revoked = context.host().await?.releases().revoke(&name, &what, &reason).await?;
    for release in &revoked.emptied {
        print::note(&format!(
            "the grant of the release {release} can't be read, so all of it is revoked: grant what it may do with \
             `backline plugins grant {name}`"
        ));
    }
    if json {
        print::json(&json!({ "name": name, "releases": revoked.changed, "emptied": revoked.emptied }))?;
    } else {
        let releases = print::count(revoked.changed, "release");
        print::line(&format!("revoked for {releases} of {name}: {said} from each host's next batch on"))?;
    }
    Ok(Exit::Done)
}
