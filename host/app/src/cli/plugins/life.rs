//! `backline plugins activate | remove | history | timeline`: which release collects, and which did.

use backline_store::Scope;
use std::time::Duration;

use serde_json::json;

use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::{print, timeline};
use crate::pipeline::{ActivateOptions, TimelineFilter, connector_timeline};

/// Most activations that are listed.
const SWAPS_MAX: u32 = 1_000;

/// Arguments of `activate`.
#[derive(clap::Args)]
pub(crate) struct ActivateArguments {
    /// Name of an installed connector
    name: String,
    /// Version, or the start of its digest; the highest unless given
    version: Option<String>,
    /// How long to wait for the hosts to load it, in seconds
    #[arg(long, default_value_t = 120, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(..=86_400))]
    wait: u64,
    /// Activate it even if a host can't load it or does not answer; that host reports that it is not ready, and leaves
    /// the platform to the others
    #[arg(long)]
    anyway: bool,
    /// Activate it even if it was rolled back before
    #[arg(long)]
    again: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `remove`.
#[derive(clap::Args)]
pub(crate) struct RemoveArguments {
    /// Name of an installed connector
    name: String,
    /// Version, or the start of its digest
    version: String,
    /// Remove it even if stored documents were fetched with it
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `history`.
#[derive(clap::Args)]
pub(crate) struct HistoryArguments {
    /// Only activations of this platform
    platform: Option<PlatformName>,
    /// At most this many, the latest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(SWAPS_MAX)))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `timeline`.
#[derive(clap::Args)]
pub(crate) struct TimelineArguments {
    /// Name of an installed connector
    name: String,
    /// At most this many
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Activates a release on all hosts.
pub(super) async fn activate(context: &Context, arguments: ActivateArguments) -> CommandResult {
    let ActivateArguments { name, version, wait, anyway, again, json } = arguments;
    let host = context.host().await?;
    let release = host.releases().named(&name, version.as_deref()).await?;
    let options = ActivateOptions { wait: Duration::from_secs(wait), anyway, again, ..ActivateOptions::default() };
    let activated = host.releases().activate(release.digest, &options).await?;
    if json {
        print::json(&activated)?;
        return Ok(Exit::Done);
    }
    let info = &release.manifest.connector;
    for report in &activated.hosts {
        let result = report.problem.as_deref().unwrap_or("loaded");
        print::note(&format!("{}: {result}", report.host));
    }
    let before = activated.before.map_or_else(String::new, |digest| format!(", in place of {}", digest.short()));
    let version = &info.version;
    print::line(&format!("{} is collected by {name} {version} ({}){before}", info.platform, release.digest.short()))?;
    Ok(Exit::Done)
}

/// Removes a release's component.
pub(super) async fn remove(context: &Context, arguments: RemoveArguments) -> CommandResult {
    let RemoveArguments { name, version, force, json } = arguments;
    let host = context.host().await?;
    let release = host.releases().named(&name, Some(&version)).await?;
    let documents = host.store().release_documents_count(&Scope::all_tenants(), release.digest).await?;
    if documents > 0 && !force {
        return Err(Failure::usage(format!(
            "{} were fetched with {name} {version} and can't be normalised again once it is removed; \
             add --force to remove it anyway",
            print::count(documents, "stored document")
        )));
    }
    host.store().release_remove(release.digest, "removed by the operator", host.clock().now()).await?;
    if json {
        print::json(&json!({ "name": name, "digest": release.digest, "documents": documents }))?;
    } else {
        print::line(&format!("removed {name} {} ({})", release.manifest.connector.version, release.digest.short()))?;
    }
    Ok(Exit::Done)
}

/// Lists the activations.
pub(super) async fn history(context: &Context, arguments: HistoryArguments) -> CommandResult {
    let HistoryArguments { platform, limit, json } = arguments;
    let store = context.store().await?;
    let platform = names::platform_if_given(&store, platform.as_ref()).await?;
    let swaps = store.swaps_list(platform.as_ref(), limit).await?;
    let short = |digest: Option<backline_model::Digest>| {
        digest.map_or_else(|| print::NONE.to_owned(), |digest| digest.short().to_string())
    };
    let row = |swap: &backline_store::Swap| {
        vec![
            print::time(swap.at),
            swap.platform.to_string(),
            swap.cause.as_str().to_owned(),
            short(swap.release),
            short(swap.before),
            swap.reason.clone().unwrap_or_default(),
        ]
    };
    let headers = ["at", "platform", "cause", "release", "?before", "reason"];
    print::listing(json, &swaps, &headers, row, "no release has been activated yet")?;
    Ok(Exit::Done)
}

/// Lists what happened to a connector.
pub(super) async fn timeline(context: &Context, arguments: TimelineArguments) -> CommandResult {
    let TimelineArguments { name, limit, json } = arguments;
    let store = context.store().await?;
    let filter = TimelineFilter { after: None, with_acts: true, limit: Some(limit) };
    let Some(found) = connector_timeline(&store, &name, &filter).await? else {
        let unknown = format!("no connector has the name '{name}'; `backline plugins list` shows them");
        return Err(Failure::usage(unknown));
    };
    timeline::show(found, json)
}
