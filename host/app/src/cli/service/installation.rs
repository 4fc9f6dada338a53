//! `backline installation …`: whether processes with this configuration belong to the installation of the database.

use clap::Subcommand;
use serde_json::{Value as Json, json};

use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::{Installation, InstallationState};
use backline_store::Store;

/// `backline installation …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Show the installation that the database belongs to, and whether this process does
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let processes with this configuration refresh the database's tokens
    Join {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let store = context.store().await?;
    let installation = of(context, &store);
    let (standing, as_json) = match command {
        Command::Show { json } => (installation.standing().await?, json),
        Command::Join { json } => (installation.join().await?, json),
    };
    if as_json {
        print::json(&shown(&standing))?;
    } else {
        print::line(&told(&standing))?;
    }
    Ok(Exit::Done)
}

/// The installation of a database that is open.
fn of(context: &Context, store: &Store) -> Installation {
    Installation::new(store.clone(), context.clock.clone(), context.config().installation.folder.as_deref())
}

/// Notes that this process refreshes no tokens, if that is so.
pub(in crate::cli) async fn warn(context: &Context, store: &Store) -> Result<(), Failure> {
    if let InstallationState::Stranger(stranger) = of(context, store).standing().await? {
        print::note(&format!("warning: {stranger}"));
    }
    Ok(())
}

fn told(standing: &InstallationState) -> String {
    match standing {
        InstallationState::Unclaimed => {
            "the database belongs to no installation yet; the first `backline serve` or `backline run` makes one"
                .to_owned()
        }
        InstallationState::Member { id, file } => {
            format!("the database's installation is {id}; this process belongs to it ({})", file.display())
        }
        InstallationState::Stranger(stranger) => stranger.to_string(),
    }
}

fn shown(standing: &InstallationState) -> Json {
    match standing {
        InstallationState::Unclaimed => json!({ "id": null, "member": false, "file": null, "reason": null }),
        InstallationState::Member { id, file } => json!({ "id": id, "member": true, "file": file, "reason": null }),
        InstallationState::Stranger(stranger) => {
            json!({ "id": stranger.id, "member": false, "file": null, "reason": stranger.reason })
        }
    }
}
