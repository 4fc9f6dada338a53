//! `backline quarantine …`: values that failed validation, for an operator to release or discard.

use clap::Subcommand;

use crate::cli::arguments::ids::{self, Given, QuarantinedId};
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use backline_model::row::QuarantineStatus;
use backline_model::{ArtistId, Quarantined};
use backline_store::{QuarantineFilter, Scope};

/// `backline quarantine …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// List values in quarantine
    List {
        /// Only values of this artist
        #[arg(long, value_name = "ARTIST")]
        artist: Option<Given<ArtistId>>,
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
        /// The value: id, or beginning of it
        id: Given<QuarantinedId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Discard a value: its metric stays missing
    Discard {
        /// The value: id, or beginning of it
        id: Given<QuarantinedId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Columns of a value.
pub(in crate::cli) const HEADERS: [&str; 9] =
    ["#id", "date", "platform", "artist", "??#artist id", "metric", ">value", "rule", "?status"];

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    match command {
        Command::List { artist, platform, all, json } => {
            let store = context.store().await?;
            let platform = names::platform_if_given(&store, platform.as_ref()).await?;
            let artist = ids::find_if_given(&store, artist.as_ref()).await?;
            let status = (!all).then_some(QuarantineStatus::Held);
            let values = store
                .quarantine_list(
                    &Scope::all_tenants(),
                    &QuarantineFilter { artist, platform, status, ..QuarantineFilter::default() },
                )
                .await?;
            let artists = ids::names_of(&store, values.iter().map(|value| value.artist_id)).await?;
            let row = |value: &Quarantined| cells(value, ids::name_in(&artists, value.artist_id));
            print::listing(json, &values, &HEADERS, row, "no value is in quarantine")?;
        }
        Command::Release { id, json } => {
            let host = context.host().await?;
            let QuarantinedId(id) = id.find(host.store()).await?;
            let released = host.quarantine().release(&Scope::all_tenants(), id).await?;
            print::done(json, &released, &told("released", &released))?;
        }
        Command::Discard { id, json } => {
            let store = context.store().await?;
            let QuarantinedId(id) = id.find(&store).await?;
            let Some(_) = store.quarantine_get(&Scope::all_tenants(), id).await? else {
                return Err(Failure::usage(format!(
                    "no value in quarantine has the id {id}; `backline quarantine list` shows them"
                )));
            };
            let discarded = store.quarantine_discard(&Scope::all_tenants(), id, context.clock.now()).await?;
            print::done(json, &discarded, &told("discarded", &discarded))?;
        }
    }
    Ok(Exit::Done)
}

fn told(what: &str, value: &Quarantined) -> String {
    format!("{what} {} {} of {} on {}", value.metric, value.value, value.platform, value.metric_date)
}

fn cells(value: &Quarantined, artist: String) -> Vec<String> {
    vec![
        value.id.to_string(),
        value.metric_date.to_string(),
        value.platform.to_string(),
        artist,
        value.artist_id.to_string(),
        value.metric.clone(),
        value.value.to_string(),
        value.rule.clone(),
        value.status.as_str().to_owned(),
    ]
}
