//! `backline hosts`: the hosts that use this database.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit};
use crate::cli::terminal::print;
use backline_store::KnownHost;

/// Arguments of `backline hosts`.
#[derive(Args)]
pub(in crate::cli) struct HostsArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Columns of a host.
pub(in crate::cli) const HEADERS: [&str; 7] =
    ["name", "?version", "state", "??started", "seen", "leads", "?refreshes tokens"];

/// Lists the hosts.
pub(in crate::cli) async fn run(context: &Context, arguments: &HostsArguments) -> CommandResult {
    let hosts = context.store().await?.hosts_list(context.clock.now()).await?;
    let row = |host: &KnownHost| {
        let leads = if host.leads { "yes" } else { "" };
        vec![
            host.name.clone(),
            host.version.clone(),
            host.state.clone(),
            print::time(host.started_at),
            print::time(host.seen_at),
            leads.to_owned(),
            if host.refreshes_tokens { "yes" } else { "no" }.to_owned(),
        ]
    };
    print::listing(arguments.json, &hosts, &HEADERS, row, "no host is running; `backline serve` starts one")?;
    Ok(Exit::Done)
}
