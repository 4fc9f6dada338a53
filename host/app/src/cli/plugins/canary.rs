//! `backline plugins canary …`: a new release collects a share of the accounts before it collects all of them.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::canary_share;
use backline_store::Canary;

/// `backline plugins canary …`
#[derive(Subcommand)]
pub(crate) enum CanaryCommand {
    /// Collect a share of the accounts with a release, the same ones every day, in runs planned from now on
    Start(StartArguments),
    /// Stop a platform's canary; its accounts are collected with the active release again
    Stop {
        /// The platform
        platform: PlatformName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List canaries
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `backline plugins canary start`.
#[derive(Args)]
pub(crate) struct StartArguments {
    /// The connector's name
    name: String,
    /// The release's version, or the start of its digest
    version: String,
    /// Share of the accounts, in percent, with at most two decimals
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = share)]
    share: u32,
    /// Activate it for all accounts after this many hours, unless it does worse; without this, you activate it yourself
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(..=8_760))]
    promote_after: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A share in percent as parts of 10,000.
fn share(text: &str) -> Result<u32, String> {
    let wrong = |_| "it is not a percentage; write one such as 5 or 0.5".to_owned();
    let percent: f64 = text.trim_end_matches('%').trim().parse().map_err(wrong)?;
    canary_share(percent).ok_or_else(|| "it is not between 0.01 and 99.99".to_owned())
}

/// Runs the command.
pub(super) async fn canary(context: &Context, command: CanaryCommand) -> CommandResult {
    match command {
        CanaryCommand::Start(arguments) => start(context, arguments).await?,
        CanaryCommand::Stop { platform, json } => {
            let host = context.host().await?;
            let platform = names::platform(host.store(), &platform).await?;
            let ended = host.releases().stop_canary(&platform).await?;
            match (json, ended) {
                (true, _) => print::json(&json!({ "platform": platform, "ended": ended }))?,
                (false, true) => print::line(&format!("{platform}: the canary has ended"))?,
                (false, false) => print::note(&format!("{platform} has no canary")),
            }
        }
        CanaryCommand::List { json } => {
            let canaries = context.store().await?.canaries_list().await?;
            let row = |canary: &Canary| {
                let promote = canary.promote_at.map_or_else(|| print::NONE.to_owned(), print::time);
                let share = format!("{} %", f64::from(canary.share) / 100.0);
                let (platform, release) = (canary.platform.to_string(), canary.release.short());
                vec![platform, release.to_string(), share, print::time(canary.started_at), promote]
            };
            let headers = ["platform", "release", ">share", "since", "active from"];
            print::listing(json, &canaries, &headers, row, "there is no canary")?;
        }
    }
    Ok(Exit::Done)
}

async fn start(context: &Context, arguments: StartArguments) -> Result<(), Failure> {
    let host = context.host().await?;
    let release = host.releases().named(&arguments.name, Some(&arguments.version)).await?;
    let after = arguments.promote_after.map(|hours| Duration::from_secs(u64::from(hours) * 3_600));
    let canary = host.releases().start_canary(release.digest, arguments.share, after).await?;
    if arguments.json {
        return print::json(&canary);
    }
    let info = &release.manifest.connector;
    let then = canary.promote_at.map_or_else(
        || format!("`backline plugins activate {} {}` activates it for all", info.name, info.version),
        |at| format!("all of them from {} on, unless it does worse", print::time(at)),
    );
    print::line(&format!(
        "{} {} collects {} % of the accounts of {} in runs planned from now on; {then}",
        info.name,
        info.version,
        f64::from(canary.share) / 100.0,
        canary.platform
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_of_accounts() {
        assert_eq!(
            [share("5"), share("0.01"), share("12.5 %"), share("99.99")],
            [Ok(500), Ok(1), Ok(1_250), Ok(9_999)]
        );
        for wrong in ["0", "100", "-1", "NaN", "many", "0.001"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
