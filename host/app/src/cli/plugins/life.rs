//! `backline plugins activate | remove | history`: which release is collected with, and which was.

use backline_store::Scope;
use std::time::Duration;

use serde_json::json;

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::print;
use crate::pipeline::ActivateOptions;
use backline_model::Platform;

/// Most swaps that are listed.
const SWAPS_MAX: u32 = 1_000;

/// What `activate` takes.
#[derive(clap::Args)]
pub(crate) struct ActivateArguments {
    /// An installed connector
    name: String,
    /// Which version, or the beginning of its digest; the highest one unless given
    version: Option<String>,
    /// How long the hosts may take to load it, in seconds
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    wait: u64,
    /// Activate it although a host can't load it or does not answer; that host says it is not ready, and leaves the platform to the others
    #[arg(long)]
    anyway: bool,
    /// Activate it although it was rolled back before
    #[arg(long)]
    again: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `remove` takes.
#[derive(clap::Args)]
pub(crate) struct RemoveArguments {
    /// An installed connector
    name: String,
    /// Which version, or the beginning of its digest
    version: String,
    /// Remove it although stored documents were fetched with it
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `history` takes.
#[derive(clap::Args)]
pub(crate) struct HistoryArguments {
    /// Only of this platform
    platform: Option<Platform>,
    /// At most so many, the latest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(SWAPS_MAX)))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Swaps a release in on all hosts.
pub(super) async fn activate(context: &Context, arguments: ActivateArguments) -> Outcome {
    let ActivateArguments { name, version, wait, anyway, again, json } = arguments;
    let host = context.host().await?;
    let release = host.release_named(&name, version.as_deref()).await?;
    let options = ActivateOptions { wait: Duration::from_secs(wait), anyway, again, ..ActivateOptions::default() };
    let activated = host.activate(release.digest, &options).await?;
    if json {
        print::json(&activated)?;
        return Ok(Exit::Done);
    }
    let info = &release.manifest.connector;
    for report in &activated.hosts {
        let made = report.problem.as_deref().unwrap_or("loaded");
        print::note(&format!("{}: {made}", report.host));
    }
    let before = activated.before.map_or_else(String::new, |digest| format!(", in place of {}", digest.short()));
    let version = &info.version;
    print::line(&format!("{} is collected with {name} {version} ({}){before}", info.platform, release.digest.short()))?;
    Ok(Exit::Done)
}

/// Takes a release's component away.
pub(super) async fn remove(context: &Context, arguments: RemoveArguments) -> Outcome {
    let RemoveArguments { name, version, force, json } = arguments;
    let host = context.host().await?;
    let release = host.release_named(&name, Some(&version)).await?;
    let documents = host.store().release_documents_count(&Scope::all_tenants(), release.digest).await?;
    if documents > 0 && !force {
        return Err(Failure::usage(format!(
            "{} were fetched with {name} {version} and can't be normalised with it again once it is removed; add --force to remove it all the same",
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

/// Lists the swaps.
pub(super) async fn history(context: &Context, arguments: HistoryArguments) -> Outcome {
    let HistoryArguments { platform, limit, json } = arguments;
    let swaps = context.store().await?.swaps_list(platform.as_ref(), limit).await?;
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
    let headers = ["at", "platform", "what", "release", "before", "why"];
    print::listing(json, &swaps, &headers, row, "no release was ever activated")?;
    Ok(Exit::Done)
}
