//! `backline batches …`: lists batches, retries dead ones, and releases deferred ones.

use std::marker::PhantomData;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::arguments::ids::{self, Given};
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
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
    Retry(AgainArguments<Dead>),
    /// Release deferred batches: they are due at once; budgets and pauses still decide, and defer them again
    Release(AgainArguments<Deferred>),
}

/// Arguments of a command that plans batches again.
#[derive(Args)]
pub(in crate::cli) struct AgainArguments<S: Resting> {
    #[command(flatten)]
    chosen: Chosen<S>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which batches to plan again, of those in a state: at least one of these.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct Chosen<S: Resting> {
    /// Ids of the batches
    #[arg(value_name = "ID", conflicts_with = S::ALL_ID)]
    batches: Vec<Given<BatchId>>,
    /// Those of this run
    #[arg(long, value_name = "RUN")]
    run: Option<Given<RunId>>,
    /// Those of this platform
    #[arg(long, value_name = "NAME")]
    platform: Option<PlatformName>,
    /// All of them
    #[arg(id = S::ALL_ID, long = S::ALL, conflicts_with_all = ["run", "platform"])]
    all: bool,
    #[arg(skip)]
    state: PhantomData<S>,
}

/// A state in which batches rest until they are planned again.
pub(in crate::cli) trait Resting {
    /// The state.
    const STATE: BatchState;
    /// The flag that means all batches in it.
    const ALL: &'static str;
    /// The id of the flag's argument: what the audit log calls it.
    const ALL_ID: &'static str;
}

/// Batches that have used up their attempts.
pub(in crate::cli) enum Dead {}

impl Resting for Dead {
    const STATE: BatchState = BatchState::Dead;
    const ALL: &'static str = "all-dead";
    const ALL_ID: &'static str = "all_dead";
}

/// Batches that wait for a budget or a pause.
pub(in crate::cli) enum Deferred {}

impl Resting for Deferred {
    const STATE: BatchState = BatchState::Deferred;
    const ALL: &'static str = "all-deferred";
    const ALL_ID: &'static str = "all_deferred";
}

impl<S: Resting> AgainArguments<S> {
    async fn filter(&self, store: &Store) -> Result<BatchFilter, Failure> {
        let Chosen { batches, run, platform, all: _, state: _ } = &self.chosen;
        Ok(BatchFilter {
            ids: ids::find_all(store, batches).await?,
            run: ids::find_if_given(store, run.as_ref()).await?,
            platform: names::platform_if_given(store, platform.as_ref()).await?,
            ..BatchFilter::default()
        })
    }

    /// Says what was planned again, what follows, and how many of the batches given are in another state.
    fn tell(&self, planned: &Retried, follows: &str) -> Result<(), Failure> {
        let state = S::STATE.as_str();
        let named = self.chosen.batches.len() as u64;
        if planned.batches < named {
            let others = named - planned.batches;
            print::note(&format!("{others} of the batches given are not {state} and are not changed"));
        }
        let sentence = match planned.batches {
            0 => format!("no {state} batch matches"),
            batches => {
                let batches = if batches == 1 { "1 batch".to_owned() } else { format!("{batches} batches") };
                format!("{batches} with {} {follows}", print::count(planned.accounts, "account"))
            }
        };
        let report = json!({ "batches": planned.batches, "accounts": planned.accounts, "runs": planned.runs });
        print::done(self.json, &report, &sentence)
    }
}

fn state(text: &str) -> Result<BatchState, String> {
    BatchState::parse(text).ok_or_else(|| {
        let names: Vec<&str> = BatchState::ALL.iter().map(|state| state.as_str()).collect();
        format!("it is not one of {}", names.join(", "))
    })
}

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let store = context.store().await?;
    let (weights, now) = (&context.config().collection.tenant_weights, context.clock.now());
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
            let filter = arguments.filter(&store).await?;
            let retried = store.batches_retry(&Scope::all_tenants(), &filter, weights, now).await?;
            arguments.tell(&retried, "planned again; `backline serve` collects them")?;
        }
        Command::Release(arguments) => {
            let filter = arguments.filter(&store).await?;
            let released = store.deferred_batches_release(&Scope::all_tenants(), &filter, weights, now).await?;
            let follows = "due now; `backline serve` collects them as far as budgets and pauses allow, and defers the \
                           rest again";
            arguments.tell(&released, follows)?;
        }
    }
    Ok(Exit::Done)
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
