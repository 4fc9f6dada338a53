//! `backline bulk …`: one act on everything that a filter shows, counted before, with a reason, and worked on here or
//! by the hosts that serve.

use std::io::IsTerminal as _;

use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::cli::arguments::ids::{self, BulkActId, Given};
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::arguments::values;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::{print, progress};
use crate::pipeline::{BulkActFilter, Host, NewBulkAct, Subject};
use backline_model::bulk::{BulkAct, BulkAction, BulkFilter, BulkState};
use backline_model::{AccountStatus, ArtistId, RunId, Tenant};
use backline_store::{Scope, Store};

/// `backline bulk …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Count what a filter shows for an action; nothing is done
    Count {
        #[command(flatten)]
        what: What,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Count what a filter shows, ask, and do the act to all of it
    Start(StartArguments),
    /// List bulk acts, the latest first
    List {
        /// Only in this state: running, done or cancelled
        #[arg(long, value_name = "STATE", value_parser = state)]
        state: Option<BulkState>,
        /// At most this many
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a bulk act, with how far it has come
    Show {
        /// The act: id, or beginning of it
        id: Given<BulkActId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Go on with a bulk act that a command or host left behind, or watch it
    Resume {
        /// The act: id, or beginning of it
        id: Given<BulkActId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a bulk act that goes on; what was done stays
    Cancel {
        /// The act: id, or beginning of it
        id: Given<BulkActId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What is done, and to which things.
#[derive(Args)]
pub(in crate::cli) struct What {
    /// batches_retry, quarantine_release, quarantine_discard, accounts_resume, accounts_disable or runs_cancel
    #[arg(value_parser = action)]
    action: BulkAction,
    /// Only of this platform
    #[arg(long, value_name = "NAME")]
    platform: Option<PlatformName>,
    /// Only of this artist
    #[arg(long, value_name = "ARTIST")]
    artist: Option<Given<ArtistId>>,
    /// Only batches of this run
    #[arg(long, value_name = "RUN")]
    run: Option<Given<RunId>>,
    /// Only accounts with this status, such as not_found
    #[arg(long, value_parser = values::any_account_status)]
    status: Option<AccountStatus>,
    /// Only values of this metric
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Only values that this rule withheld
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Only runs that this started, such as manual, backfill or the name of a schedule
    #[arg(long, value_name = "NAME")]
    trigger: Option<String>,
    /// Only things of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,
}

/// Arguments of `start`.
#[derive(Args)]
pub(in crate::cli) struct StartArguments {
    #[command(flatten)]
    what: What,
    /// Why; kept with the act
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Leave the work to the hosts that serve
    #[arg(long)]
    no_wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn action(text: &str) -> Result<BulkAction, String> {
    let names = BulkAction::ALL.map(BulkAction::as_str).join(", ");
    BulkAction::parse(text).ok_or_else(|| format!("it is not one of {names}"))
}

fn state(text: &str) -> Result<BulkState, String> {
    let names = BulkState::ALL.map(BulkState::as_str).join(", ");
    BulkState::parse(text).ok_or_else(|| format!("it is not one of {names}"))
}

/// What is meant, with names and ids found.
struct Meant {
    action: BulkAction,
    filter: BulkFilter,
    tenant: Option<Tenant>,
}

impl What {
    async fn find(self, store: &Store) -> Result<Meant, Failure> {
        let Self { action, platform, artist, run, status, metric, rule, trigger, tenant } = self;
        names::expect_tenant(store, tenant.as_ref()).await?;
        let platform = names::platform_if_given(store, platform.as_ref()).await?;
        let artist = ids::find_if_given(store, artist.as_ref()).await?;
        let run = ids::find_if_given(store, run.as_ref()).await?;
        Ok(Meant { action, filter: BulkFilter { platform, artist, run, status, metric, rule, trigger }, tenant })
    }
}

impl Meant {
    fn scope(&self) -> Scope {
        self.tenant.clone().map_or_else(Scope::all_tenants, Scope::tenant)
    }
}

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let host = context.host().await?;
    let bulk = host.bulk();
    match command {
        Command::Count { what, json } => {
            let meant = what.find(host.store()).await?;
            let counted = bulk.count(&meant.scope(), meant.action, &meant.filter).await?;
            let sentence = format!("{} {}", counted.count, meant.action.things());
            print::done(json, &counted, &sentence)?;
        }
        Command::Start(arguments) => return start(context, &host, arguments).await,
        Command::List { state, limit, json } => {
            let filter = BulkActFilter { state, before: None, limit: Some(limit) };
            let acts = bulk.list(&Scope::all_tenants(), &filter).await?;
            print::listing(json, &acts, &HEADERS, cells, "there was no bulk act")?;
        }
        Command::Show { id, json } => {
            let BulkActId(id) = id.find(host.store()).await?;
            let act = bulk.get(&Scope::all_tenants(), id).await?.ok_or_else(|| unknown(id))?;
            print::done(json, &act, &told(&act))?;
        }
        Command::Resume { id, json } => {
            let BulkActId(id) = id.find(host.store()).await?;
            bulk.get(&Scope::all_tenants(), id).await?.ok_or_else(|| unknown(id))?;
            return work_off(&host, id, json).await;
        }
        Command::Cancel { id, json } => {
            let BulkActId(id) = id.find(host.store()).await?;
            let act = bulk.cancel(&Scope::all_tenants(), id).await?;
            print::done(json, &act, &told(&act))?;
        }
    }
    Ok(Exit::Done)
}

fn unknown(id: Uuid) -> Failure {
    Failure::usage(format!("no bulk act has the id {id}; `backline bulk list` shows them"))
}

async fn start(context: &Context, host: &Host, arguments: StartArguments) -> CommandResult {
    let StartArguments { what, reason, yes, no_wait, json } = arguments;
    let meant = what.find(host.store()).await?;
    let scope = meant.scope();
    let counted = host.bulk().count(&scope, meant.action, &meant.filter).await?;
    if counted.count > 0 && !yes {
        ask(meant.action, counted.count)?;
    }
    let Meant { action, filter, .. } = meant;
    let new = NewBulkAct { action, filter, reason, count: counted.count };
    let act = host.bulk().start(&scope, new).await?;
    context.subjects.made(Subject::Bulk(act.id));
    if no_wait {
        print::done(json, &act, &format!("started {}; `backline bulk show {}` shows it", act.id, act.id))?;
        return Ok(Exit::Done);
    }
    print::note(&format!("started {}; where it is broken off, `backline bulk resume {}` goes on", act.id, act.id));
    work_off(host, act.id, json).await
}

/// Asks whether an act is to be done to so many things.
fn ask(action: BulkAction, count: u64) -> Result<(), Failure> {
    let what = format!("{action} of {count} {}", action.things());
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("nothing was done: {what} needs a terminal to be confirmed, or --yes")));
    }
    print::note(&format!("{what}? [y/N]"));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::usage("nothing was done: the answer was not 'yes'")),
    }
}

async fn work_off(host: &Host, id: Uuid, as_json: bool) -> CommandResult {
    let bar = progress::bar(0, "things");
    let advance = |act: &BulkAct| {
        bar.set_length(act.total);
        bar.set_position(act.done + act.skipped + act.failed);
    };
    let ended = host.bulk().work_off(id, &advance).await;
    bar.finish_and_clear();
    let act = ended?;
    print::done(as_json, &act, &told(&act))?;
    Ok(match (act.state, act.failed) {
        (BulkState::Done, 0) => Exit::Done,
        _ => Exit::Partial,
    })
}

fn told(act: &BulkAct) -> String {
    let BulkAct { id, action, state, total, done, skipped, failed, .. } = act;
    let problem = act.problem.as_ref().map(|problem| format!("; the last of these: {problem}")).unwrap_or_default();
    format!("{action} {id} is {}: {done} of {total} done, {skipped} skipped, {failed} failed{problem}", state.as_str())
}

/// Columns of a bulk act.
pub(in crate::cli) const HEADERS: [&str; 9] =
    ["#id", "action", "state", ">done", ">of", "?>skipped", ">failed", "?started", "?reason"];

fn cells(act: &BulkAct) -> Vec<String> {
    vec![
        act.id.to_string(),
        act.action.to_string(),
        act.state.as_str().to_owned(),
        act.done.to_string(),
        act.total.to_string(),
        act.skipped.to_string(),
        act.failed.to_string(),
        print::time(act.created_at),
        act.reason.clone(),
    ]
}
