//! `backline accounts attention`: the accounts that can't be collected until someone does something, with what to do.

use crate::cli::terminal::exit::{CommandResult, Exit};
use crate::cli::terminal::print;
use crate::pipeline::{Attention, AttentionFilter, accounts_that_need_someone};
use backline_model::{Platform, ReconnectUrl};
use backline_store::{Scope, Store};

/// Columns of an account that needs someone.
pub(in crate::cli) const HEADERS: [&str; 5] = ["artist", "platform", "platform id", "problem", "what to do"];

/// Runs the command.
pub(in crate::cli) async fn run(
    store: &Store,
    reconnect: Option<&ReconnectUrl>,
    platform: Option<Platform>,
    as_json: bool,
) -> CommandResult {
    let filter = AttentionFilter { platform, ..AttentionFilter::default() };
    let found = accounts_that_need_someone(store, &Scope::all_tenants(), reconnect, &filter).await?;
    let row = |one: &Attention| {
        let Attention { artist, platform, platform_id, problem, remedy, .. } = one;
        let link = one.reconnect_url.as_ref().map(|link| format!("; the artist connects it at {link}"));
        let remedy = format!("{remedy}{}", link.unwrap_or_default());
        vec![artist.clone(), platform.to_string(), platform_id.clone(), problem.clone(), remedy]
    };
    print::listing(as_json, &found, &HEADERS, row, "no account needs anyone")?;
    Ok(Exit::Done)
}
