//! `backline plugins rollback`: withdraws the active release, so that the previous one collects again.

use clap::Args;

use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit};
use crate::cli::terminal::print;

/// Arguments of `backline plugins rollback`.
#[derive(Args)]
pub(crate) struct RollbackArguments {
    /// The platform whose active release is withdrawn
    platform: PlatformName,
    /// Reason, kept with the release
    #[arg(long, value_name = "TEXT", default_value = "rolled back by the operator")]
    reason: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn rollback(context: &Context, arguments: RollbackArguments) -> CommandResult {
    let host = context.host().await?;
    let platform = names::platform(host.store(), &arguments.platform).await?;
    let back = host.releases().roll_back(&platform, &arguments.reason).await?;
    if arguments.json {
        print::json(&back)?;
    } else {
        print::line(&format!(
            "{}: {} is withdrawn, {} collects again; {} collected again",
            back.platform,
            back.from.short(),
            back.to.short(),
            if back.accounts == 1 { "1 account is".to_owned() } else { format!("{} accounts are", back.accounts) },
        ))?;
    }
    Ok(Exit::Done)
}
