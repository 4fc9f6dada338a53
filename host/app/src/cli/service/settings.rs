//! `backline migrate` and `backline config show`.

use clap::{Args, Subcommand};

use super::check::CheckArguments;
use crate::cli::context::{Context, SIMULATED};
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::config::masked_url;

/// Arguments of `backline migrate`.
#[derive(Args)]
pub(in crate::cli) struct MigrateArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `backline config …`
#[derive(Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Print every value and where it was set; secrets are masked
    Show {
        /// Print JSON instead of TOML
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration as `serve` does, without starting anything; print every problem
    Check(CheckArguments),
}

/// Updates the schema.
pub(in crate::cli) async fn migrate(context: &Context, arguments: &MigrateArguments) -> CommandResult {
    context.warn_of_network();
    let store = context.open_any().await?;
    let report = store.migrate().await.map_err(Failure::from)?;
    if arguments.json {
        print::json(&report)?;
    } else {
        let place = masked_url(&context.config().database.url);
        match report.applied.as_slice() {
            [] => print::line(&format!("{place} is up to date at schema version {}", report.version))?,
            applied => print::line(&format!(
                "{place} is now at schema version {}: applied {}",
                report.version,
                applied.join(", ")
            ))?,
        }
        if let Some(statement) = &report.left_to_owner {
            print::note(&format!(
                "metrics is not in the publication supabase_realtime, which belongs to another role; as its owner, \
                 run\n  {statement}"
            ));
        }
    }
    Ok(Exit::Done)
}

/// Prints the configuration.
pub(in crate::cli) async fn show(context: &Context, json: bool) -> CommandResult {
    let is_simulated = context.is_file_of_simulation().await;
    if json {
        let mut shown = context.loaded.to_json();
        shown["simulated"] = is_simulated.into();
        print::json(&shown)?;
    } else {
        if is_simulated {
            print::line(&format!("# {SIMULATED}\n"))?;
        }
        print::line(context.loaded.to_toml().trim_end())?;
    }
    Ok(Exit::Done)
}
