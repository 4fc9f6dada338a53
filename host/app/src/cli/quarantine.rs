//! `backline quarantine …`: values that failed validation, for an operator to release or discard.

use clap::Subcommand;
use uuid::Uuid;

use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::names::{self, PlatformName};
use super::print;
use backline_model::row::QuarantineStatus;
use backline_model::{ArtistId, Quarantined};
use backline_store::{QuarantineFilter, Scope};

/// `backline quarantine …`
#[derive(Subcommand)]
pub(super) enum Command {
    /// List values in quarantine
    List {
        /// Only values of this artist
        #[arg(long, value_name = "ID")]
        artist: Option<ArtistId>,
        /// Only values of this platform
        #[arg(long, value_name = "NAME")]
        platform: Option<PlatformName>,
        /// Also values that were released or discarded
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Accept a value: it is stored, and growth that depends on it is recomputed
    Release {
        /// The value's id
        #[arg(value_parser = parse_id)]
        id: Uuid,
    },
    /// Discard a value: its metric stays missing
    Discard {
        /// The value's id
        #[arg(value_parser = parse_id)]
        id: Uuid,
    },
}

fn parse_id(text: &str) -> Result<Uuid, String> {
    Uuid::parse_str(text).map_err(|_| "it is not an id; `backline quarantine list` shows them".to_owned())
}

/// Runs the command.
pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::List { artist, platform, all, json } => {
            let store = context.store().await?;
            let platform = names::platform_if_given(&store, platform.as_ref()).await?;
            let status = (!all).then_some(QuarantineStatus::Held);
            let values = store
                .quarantine_list(
                    &Scope::all_tenants(),
                    &QuarantineFilter { artist, platform, status, ..QuarantineFilter::default() },
                )
                .await?;
            let headers = ["id", "date", "platform", "artist", "metric", ">value", "rule", "status"];
            print::listing(json, &values, &headers, cells, "no value is in quarantine")?;
        }
        Command::Release { id } => {
            let released = context.host().await?.quarantine().release(&Scope::all_tenants(), id).await?;
            print::line(&format!(
                "released {} {} of {} on {}",
                released.metric, released.value, released.platform, released.metric_date
            ))?;
        }
        Command::Discard { id } => {
            let store = context.store().await?;
            let Some(held) = store.quarantine_get(&Scope::all_tenants(), id).await? else {
                return Err(Failure::usage(format!(
                    "no value in quarantine has the id {id}; `backline quarantine list` shows them"
                )));
            };
            store.quarantine_discard(&Scope::all_tenants(), id, context.clock.now()).await?;
            print::line(&format!(
                "discarded {} {} of {} on {}",
                held.metric, held.value, held.platform, held.metric_date
            ))?;
        }
    }
    Ok(Exit::Done)
}

fn cells(value: &Quarantined) -> Vec<String> {
    vec![
        value.id.to_string(),
        value.metric_date.to_string(),
        value.platform.to_string(),
        value.artist_id.to_string(),
        value.metric.clone(),
        value.value.to_string(),
        value.rule.clone(),
        value.status.as_str().to_owned(),
    ]
}
