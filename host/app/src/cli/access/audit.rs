//! `backline audit …`: who did what.

use clap::Subcommand;

use crate::cli::arguments::ids::{self, Given};
use crate::cli::audited;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit};
use crate::cli::terminal::print;
use backline_model::ArtistId;
use backline_model::audit::{Actor, AuditEntry};
use backline_store::{AuditFilter, Scope};

/// `backline audit …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// List what was done, the latest first
    List {
        /// Only this action, such as "plugins activate"
        #[arg(long, value_name = "ACTION")]
        action: Option<String>,
        /// Only what is about this artist
        #[arg(long, value_name = "ARTIST")]
        artist: Option<Given<ArtistId>>,
        /// At most this many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let Command::List { action, artist, limit, json } = command;
    let store = context.store().await?;
    let artist = ids::find_if_given(&store, artist.as_ref()).await?;
    let filter = AuditFilter { action, artist, before: None, limit: Some(limit) };
    let entries = store.audit_list(&Scope::all_tenants(), &filter).await?;
    if let (true, Some(action)) = (entries.is_empty(), &filter.action) {
        audited::expect_action(action)?;
    }
    print::listing(json, &entries, &HEADERS, cells, "nothing on record matches")?;
    Ok(Exit::Done)
}

/// Columns of an entry.
pub(in crate::cli) const HEADERS: [&str; 8] =
    ["at", "who", "?from", "action", "outcome", "??tenant", "??#artist", "?details"];

fn cells(entry: &AuditEntry) -> Vec<String> {
    let act = &entry.act;
    let (Actor::Command { name, origin } | Actor::Token { name, origin, .. }) = &act.actor;
    let or_none = |text: Option<String>| text.unwrap_or_else(|| print::NONE.to_owned());
    vec![
        print::time(act.at),
        name.clone(),
        origin.clone(),
        act.action.clone(),
        act.outcome.as_str().to_owned(),
        or_none(act.tenant.as_ref().map(ToString::to_string)),
        or_none(act.artist_id.map(|id| id.to_string())),
        std::iter::once(act.details.to_string()).chain(act.changes()).collect::<Vec<_>>().join("; "),
    ]
}
