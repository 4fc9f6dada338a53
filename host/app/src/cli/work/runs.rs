//! `backline runs …`: past runs, and the outcome of each account.

use clap::Subcommand;

use super::outcomes;
use crate::cli::arguments::ids::Given;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::names;
use backline_model::{self, RunId, RunStatus};
use backline_store::{RunDetails, RunFilter, Scope, Store};

/// `backline runs …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// List runs, the latest first
    List {
        /// Only runs with this status: running, success, partial_failure, failed, deferred or cancelled
        #[arg(long, value_name = "STATUS", value_parser = status)]
        status: Option<RunStatus>,
        /// Only runs that this started, such as manual, backfill or the name of a schedule
        #[arg(long, value_name = "NAME")]
        trigger: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one run: its counts, and the accounts that were not collected, first those that need a person
    Show {
        /// The run: id, beginning of it, or latest
        run: Given<RunId>,
        /// Every account, also those that were collected
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn status(text: &str) -> Result<RunStatus, String> {
    let names = RunStatus::ALL.map(RunStatus::as_str).join(", ");
    RunStatus::parse(text).ok_or_else(|| format!("it is not one of {names}"))
}

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let store = context.store().await?;
    match command {
        Command::List { status, trigger, limit, json } => {
            let none = match (status, &trigger) {
                (None, None) => "no run yet; `backline run` starts one",
                _ => "no run matches",
            };
            let filter = RunFilter { status, trigger, before: None, limit: Some(limit) };
            let runs = names::runs_list(&store, context.config(), &Scope::all_tenants(), &filter).await?;
            print::listing(json, &runs, &HEADERS, cells, none)?;
        }
        Command::Show { run, all, json } => show(&store, run.find(&store).await?, all, json).await?,
    }
    Ok(Exit::Done)
}

/// Columns of a run.
pub(in crate::cli) const HEADERS: [&str; 11] = [
    "#id",
    "started",
    "?date",
    "??trigger",
    "status",
    ">planned",
    ">collected",
    ">failed",
    "?>deferred",
    "??>superseded",
    "??>excluded",
];

fn cells(run: &backline_model::Run) -> Vec<String> {
    let counts = &run.counts;
    let numbers =
        [counts.planned, counts.collected, counts.failed, counts.deferred, counts.superseded, counts.excluded];
    let texts = [
        run.id.to_string(),
        print::time(run.started_at),
        run.date.map_or("artist's today".to_owned(), |date| date.to_string()),
        run.trigger.clone(),
        run.status.as_str().to_owned(),
    ];
    texts.into_iter().chain(numbers.map(|number| number.to_string())).collect()
}

async fn show(store: &Store, id: RunId, all: bool, as_json: bool) -> Result<(), Failure> {
    let found = store.run_details_get(&Scope::all_tenants(), id, all).await?;
    let details =
        found.ok_or_else(|| Failure::usage(format!("no run has the id {id}; `backline runs list` shows them")))?;
    if as_json {
        return print::json(&details);
    }
    let RunDetails { run, outcomes, dead_batches: dead } = details;
    print::table(&HEADERS, vec![cells(&run)])?;
    if !dead.is_empty() {
        let accounts = print::count(dead.iter().map(|batch| batch.accounts).sum(), "account");
        print::line(&format!(
            "\n{accounts} failed for reasons that may be temporary; `backline batches retry --run {id}` retries them"
        ))?;
    }
    outcomes::show(&outcomes, all)
}
