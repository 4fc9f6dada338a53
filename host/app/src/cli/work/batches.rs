//! `backline batches …`: lists batches, retries dead ones, and releases deferred ones.

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use crate::cli::arguments::ids::{self, Given};
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{Exit, Failure, Outcome};
use crate::cli::terminal::print;
use backline_model::{self, BatchId, BatchState, RunId};
use backline_store::{BatchAccountView, BatchFilter, BatchView, Retried, Scope, Store};

/// `backline batches …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// List batches, the latest first; without --state, those that are open or dead
    List {
        /// Only batches in this state: planned, leased, deferred, done or dead
        #[arg(long, value_name = "STATE", value_parser = state)]
        state: Option<BatchState>,
        /// Only batches of this run
        #[arg(long, value_name = "RUN")]
        run: Option<Given<RunId>>,
        /// Only batches of this platform
        #[arg(long, value_name = "NAME")]
        platform: Option<PlatformName>,
        /// At most this many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one batch and its accounts
    Show {
        /// The batch: id, or beginning of it
        batch: Given<BatchId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Retry dead batches: they are planned again with all their attempts, and their runs continue
    Retry(RetryArguments),
    /// Release deferred batches: they are due at once; budgets and pauses still decide, and defer them again
    Release(ReleaseArguments),
}

/// Arguments of `backline batches retry`.
#[derive(Args)]
pub(in crate::cli) struct RetryArguments {
    #[command(flatten)]
    dead: DeadBatches,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which batches to retry: at least one of these.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct DeadBatches {
    /// Ids of the batches
    #[arg(value_name = "ID", conflicts_with = "all_dead")]
    batches: Vec<Given<BatchId>>,
    /// Dead batches of this run
    #[arg(long, value_name = "RUN")]
    run: Option<Given<RunId>>,
    /// Dead batches of this platform
    #[arg(long, value_name = "NAME")]
    platform: Option<PlatformName>,
    /// All dead batches
    #[arg(long, conflicts_with_all = ["run", "platform"])]
    all_dead: bool,
}

/// Arguments of `backline batches release`.
#[derive(Args)]
pub(in crate::cli) struct ReleaseArguments {
    #[command(flatten)]
    deferred: DeferredBatches,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which batches to release: at least one of these.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct DeferredBatches {
    /// Ids of the batches
    #[arg(value_name = "ID", conflicts_with = "all_deferred")]
    batches: Vec<Given<BatchId>>,
    /// Deferred batches of this run
    #[arg(long, value_name = "RUN")]
    run: Option<Given<RunId>>,
    /// Deferred batches of this platform
    #[arg(long, value_name = "NAME")]
    platform: Option<PlatformName>,
    /// All deferred batches
    #[arg(long, conflicts_with_all = ["run", "platform"])]
    all_deferred: bool,
}

fn state(text: &str) -> Result<BatchState, String> {
    BatchState::parse(text).ok_or_else(|| {
        let names: Vec<&str> = BatchState::ALL.iter().map(|state| state.as_str()).collect();
        format!("it is not one of {}", names.join(", "))
    })
}

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> Outcome {
    let store = context.store().await?;
    match command {
        Command::List { state, run, platform, limit, json } => {
            let platform = names::platform_if_given(&store, platform.as_ref()).await?;
            let run = ids::find_if_given(&store, run.as_ref()).await?;
            let filter = BatchFilter { run, platform, state, limit: Some(limit), ..BatchFilter::default() };
            let batches = store.batches_list(&Scope::all_tenants(), &filter).await?;
            let none = "no batch matches; `--state done` lists finished batches";
            print::listing(json, &batches, &HEADERS, cells, none)?;
        }
        Command::Show { batch, json } => show(&store, batch.find(&store).await?, json).await?,
        Command::Retry(arguments) => {
            let RetryArguments { dead: DeadBatches { batches, run, platform, all_dead: _ }, json } = arguments;
            let batches = ids::find_all(&store, &batches).await?;
            let run = ids::find_if_given(&store, run.as_ref()).await?;
            let named = batches.len() as u64;
            let platform = names::platform_if_given(&store, platform.as_ref()).await?;
            let filter = BatchFilter { ids: batches, run, platform, ..BatchFilter::default() };
            let weights = &context.config().collection.tenant_weights;
            let retried = store.batches_retry(&Scope::all_tenants(), &filter, weights, context.clock.now()).await?;
            tell_unchanged(named, retried.batches, "dead");
            let sentence = match retried.batches {
                0 => "no dead batch matches".to_owned(),
                _ => format!("{} planned again; `backline serve` collects them", told(&retried)),
            };
            print::done(json, &report_of(&retried), &sentence)?;
        }
        Command::Release(arguments) => {
            let ReleaseArguments { deferred, json } = arguments;
            let DeferredBatches { batches, run, platform, all_deferred: _ } = deferred;
            let batches = ids::find_all(&store, &batches).await?;
            let run = ids::find_if_given(&store, run.as_ref()).await?;
            let named = batches.len() as u64;
            let platform = names::platform_if_given(&store, platform.as_ref()).await?;
            let filter = BatchFilter { ids: batches, run, platform, ..BatchFilter::default() };
            let (weights, now) = (&context.config().collection.tenant_weights, context.clock.now());
            let released = store.deferred_batches_release(&Scope::all_tenants(), &filter, weights, now).await?;
            tell_unchanged(named, released.batches, "deferred");
            let sentence = match released.batches {
                0 => "no deferred batch matches".to_owned(),
                _ => format!(
                    "{} due now; `backline serve` collects them as far as budgets and pauses allow, and defers the \
                     rest again",
                    told(&released)
                ),
            };
            print::done(json, &report_of(&released), &sentence)?;
        }
    }
    Ok(Exit::Done)
}

/// Says that some of the batches named were in another state.
fn tell_unchanged(named: u64, changed: u64, state: &str) {
    if changed < named {
        print::note(&format!("{} of the batches given are not {state} and are not changed", named - changed));
    }
}

fn told(planned: &Retried) -> String {
    let batches = if planned.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", planned.batches) };
    format!("{batches} with {}", print::count(planned.accounts, "account"))
}

fn report_of(planned: &Retried) -> Json {
    json!({ "batches": planned.batches, "accounts": planned.accounts, "runs": planned.runs })
}

/// Columns of a batch's account.
pub(in crate::cli) const ACCOUNT_HEADERS: [&str; 5] = ["artist", "platform id", "date", "outcome", "message"];

/// Columns of a batch.
pub(in crate::cli) const HEADERS: [&str; 9] =
    ["#id", "state", "platform", "??tenant", ">accounts", "?>attempts", "?available", "??held by", "message"];

fn cells(batch: &BatchView) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| print::NONE.to_owned());
    vec![
        batch.id.to_string(),
        batch.state.as_str().to_owned(),
        batch.platform.to_string(),
        batch.tenant.to_string(),
        batch.accounts.to_string(),
        batch.attempts.to_string(),
        batch.finished_at.map_or_else(|| print::time(batch.available_at), |_| print::NONE.to_owned()),
        text(&batch.lease_owner),
        text(&batch.message),
    ]
}

async fn show(store: &Store, id: BatchId, as_json: bool) -> Result<(), Failure> {
    let found =
        store.batches_list(&Scope::all_tenants(), &BatchFilter { ids: vec![id], ..BatchFilter::default() }).await?;
    let Some(batch) = found.into_iter().next() else {
        return Err(Failure::usage(format!("no batch has the id {id}; `backline batches list` shows them")));
    };
    let accounts = store.batch_accounts_list(&Scope::all_tenants(), id).await?;
    if as_json {
        return print::json(&json!({ "batch": batch, "accounts": accounts }));
    }
    print::table(&HEADERS, vec![cells(&batch)])?;
    print::line(&format!("\nof run {}, planned {}", batch.run_id, print::time(batch.created_at)))?;
    let row = |account: &BatchAccountView| {
        let (outcome, message) = match &account.outcome {
            None => (print::NONE.to_owned(), String::new()),
            Some(outcome @ backline_model::Outcome::Deferred { message, .. }) => {
                (outcome.as_str().to_owned(), message.clone())
            }
            Some(backline_model::Outcome::Failed { class, message }) => (class.as_str().to_owned(), message.clone()),
            Some(outcome) => (outcome.as_str().to_owned(), account.note.clone().unwrap_or_default()),
        };
        let date = account.metric_date.to_string();
        vec![account.artist_name.clone(), account.platform_id.clone(), date, outcome, message]
    };
    print::table(&ACCOUNT_HEADERS, accounts.iter().map(row).collect())
}
