//! `backline accounts remove`: removes accounts that were added by mistake, after showing what goes with them.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

use clap::Args;
use serde_json::{Value as Json, json};

use crate::cli::arguments::ids::Given;
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::{AuditLog, Classified, ErrorClass, RemovalError, SUBJECTS_MAX, Subject, remove_account};
use backline_model::AccountId;
use backline_model::audit::ActOutcome;
use backline_store::{Scope, Store};

/// Arguments of `accounts remove`.
#[derive(Args)]
pub(in crate::cli) struct RemoveArguments {
    /// The accounts: id, beginning of it, or id on the platform; 20 at most
    // As many as the audit log knows before and after.
    #[arg(required = true, num_args = 1..=SUBJECTS_MAX, value_name = "ACCOUNT")]
    account: Vec<Given<AccountId>>,
    /// The platform, where an id on a platform is one on several
    #[arg(long, value_name = "NAME")]
    platform: Option<PlatformName>,
    /// Why; kept in the audit log
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Show how many rows of which table would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An account with the number of its rows, by table.
type Counted = (AccountId, BTreeMap<String, u64>);

/// Runs the command.
pub(super) async fn run(context: &Context, store: &Store, arguments: RemoveArguments) -> CommandResult {
    let RemoveArguments { account, platform, reason, yes, dry_run, json } = arguments;
    let counted = counted(store, &account, platform.as_ref()).await?;
    if dry_run {
        if json {
            let told: Vec<Json> = counted.iter().map(|(id, rows)| json!({ "account_id": id, "rows": rows })).collect();
            print::json(&told)?;
        } else {
            for (id, rows) in &counted {
                print::line(&format!("would remove account {id}: {}", told(rows)))?;
            }
        }
        return Ok(Exit::Done);
    }
    if !yes {
        ask(&counted)?;
    }
    let (all, reason) = (Scope::all_tenants(), reason.unwrap_or_default());
    let log = AuditLog::new(store.clone(), context.clock.clone());
    let (mut removed, mut failures) = (Vec::new(), Vec::new());
    for (id, _) in &counted {
        // The reason may name the artist, so the entry has to be about the artist, which only the account tells.
        log.about(&all, &context.subjects, Subject::Account(*id)).await;
        match remove_account(store, context.config(), &all, *id, &reason, context.clock.now()).await {
            Ok(one) => {
                context.note_ended(*id, ActOutcome::Done);
                removed.push(one);
            }
            Err(error) => {
                // What was refused has changed nothing.
                if error.class() != ErrorClass::Refused {
                    context.note_ended(*id, ActOutcome::Failed);
                }
                let is_outage = matches!(&error, RemovalError::Store(error) if error.is_outage());
                failures.push((*id, Failure::from(error)));
                if is_outage {
                    break;
                }
            }
        }
    }
    if json && !removed.is_empty() {
        print::json(&removed)?;
    }
    for one in &removed {
        if !json {
            print::line(&format!("removed account {} of {}: {}", one.account_id, one.platform, told(&one.rows)))?;
        }
        if let Some(remark) = one.remark() {
            print::note(&remark);
        }
    }
    if removed.is_empty() {
        let first = failures.into_iter().next();
        return first.map_or(Ok(Exit::Done), |(_, failure)| Err(failure));
    }
    for (id, failure) in &failures {
        print::note(&format!("account {id} was not removed: {}", failure.message));
    }
    Ok(if failures.is_empty() { Exit::Done } else { Exit::Partial })
}

/// The accounts that are meant, each once, with the number of their rows.
async fn counted(
    store: &Store,
    given: &[Given<AccountId>],
    platform: Option<&PlatformName>,
) -> Result<Vec<Counted>, Failure> {
    let all = Scope::all_tenants();
    let platform = names::platform_if_given(store, platform).await?;
    let mut counted: Vec<Counted> = Vec::with_capacity(given.len());
    for one in given {
        let id = match &platform {
            None => one.find(store).await?,
            Some(platform) => one.find_on(store, platform).await?,
        };
        if let Some(platform) = &platform {
            let known = store.account_place_get(&all, id).await?.ok_or(RemovalError::NoAccount(id))?;
            if *platform != known.platform {
                return Err(Failure::usage(format!(
                    "{platform} has no account '{one}'; `backline accounts list --platform {platform}` shows them"
                )));
            }
        }
        if counted.iter().all(|(known, _)| *known != id) {
            let rows = store.account_rows_count(&all, id).await?.ok_or(RemovalError::NoAccount(id))?;
            counted.push((id, rows));
        }
    }
    Ok(counted)
}

/// Numbers of rows as words.
fn told(rows: &BTreeMap<String, u64>) -> String {
    let some = rows.iter().filter(|(_, number)| **number > 0);
    some.map(|(table, number)| format!("{table} {number}")).collect::<Vec<_>>().join(", ")
}

/// Asks the user to confirm; refuses without a terminal.
fn ask(counted: &[Counted]) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "nothing was removed: confirmation needs a terminal; see what would go with --dry-run, and remove it with \
             --yes",
        ));
    }
    for (id, rows) in counted {
        print::note(&format!("account {id} goes with these rows: {}", told(rows)));
    }
    print::note("What is removed can't be restored. Type 'remove' to continue:");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "remove" => Ok(()),
        _ => Err(Failure::usage("nothing was removed: the answer was not 'remove'")),
    }
}
