//! `backline archive …`: moves old metrics to the archive and deletes what its retention has passed.

use chrono::{DateTime, Utc};
use clap::Subcommand;

use crate::cli::arguments::values;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::{print, progress};
use backline_model::retention::{Before, RetentionStep};
use backline_rules::archive::Plan;
use backline_store::ArchiveRun;

/// `backline archive …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Show what would be moved and deleted, and by which rule
    Plan {
        /// Time to plan for, such as 2026-08-31T12:00:00Z; now unless given
        #[arg(long, value_name = "TIME", value_parser = values::time)]
        at: Option<DateTime<Utc>>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Move and delete what its retention has passed; can be stopped at any time and run again
    Run {
        /// Earlier time to run for, so that one run does less; now unless given
        #[arg(long, value_name = "TIME", value_parser = values::time)]
        at: Option<DateTime<Utc>>,
        /// Change nothing; the same as `archive plan`
        #[arg(long)]
        dry_run: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List archive runs, the latest first
    Runs {
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Columns of an archive run.
pub(in crate::cli) const RUN_HEADERS: [&str; 5] = ["started", "?as of", "?by", "state", "rows"];

/// Columns of a step of the plan.
pub(in crate::cli) const STEP_HEADERS: [&str; 6] = ["action", "table", "scope", "before", ">rows", "rule"];

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    match command {
        Command::Plan { at, json } | Command::Run { at, dry_run: true, json } => {
            let plan = context.host().await?.archive().plan(at.unwrap_or_else(|| context.clock.now())).await?;
            if json {
                print::json(&plan)?;
            } else {
                show(&plan)?;
            }
        }
        Command::Run { at, json, .. } => {
            let bar = progress::spinner();
            let host = context.host().await?;
            let done = host
                .archive()
                .run(at.unwrap_or_else(|| context.clock.now()), &|progress| {
                    let (action, table) = (progress.step.action.as_str(), progress.step.table.as_str());
                    bar.set_message(format!("{}/{} {action} {table}: {}", progress.number, progress.of, progress.rows));
                    bar.tick();
                })
                .await;
            bar.finish_and_clear();
            let run = done?;
            if json {
                print::json(&run)?;
            } else if run.counts.is_empty() {
                print::line("nothing to move or delete")?;
            } else {
                print::line(&counts(&run))?;
            }
        }
        Command::Runs { limit, json } => {
            let runs = context.store().await?.archive_runs_list(limit).await?;
            let none = "the archive has not run yet; `backline archive run` runs it now";
            print::listing(json, &runs, &RUN_HEADERS, cells, none)?;
        }
    }
    Ok(Exit::Done)
}

fn show(plan: &Plan) -> Result<(), Failure> {
    print::table(&STEP_HEADERS, plan.steps.iter().map(step_cells).collect())?;
    for passed in &plan.passed_over {
        print::note(&format!(
            "{}: rule '{}' does nothing, since rule '{}' takes precedence",
            passed.table.as_str(),
            passed.rule,
            passed.winner
        ));
    }
    Ok(())
}

fn step_cells(step: &RetentionStep) -> Vec<String> {
    let mut scope = step.scope.to_string();
    for except in &step.except {
        scope = format!("{scope}, not {except}");
    }
    let before = match &step.before {
        Before::Time(time) => print::time(*time),
        Before::Dates(days) => {
            let mut dates: Vec<String> = days.iter().map(|day| day.before.to_string()).collect();
            dates.dedup();
            if dates.is_empty() { print::NONE.to_owned() } else { dates.join(" or ") }
        }
    };
    vec![
        step.action.as_str().to_owned(),
        step.table.as_str().to_owned(),
        scope,
        before,
        step.rows.map_or_else(|| print::NONE.to_owned(), |rows| rows.to_string()),
        step.rule.clone(),
    ]
}

fn counts(run: &ArchiveRun) -> String {
    if run.counts.is_empty() {
        return "none".to_owned();
    }
    run.counts.iter().map(|(what, rows)| format!("{what}: {rows}")).collect::<Vec<_>>().join(", ")
}

fn cells(run: &ArchiveRun) -> Vec<String> {
    let state = run.message.as_ref().map_or_else(|| run.state.clone(), |message| format!("{}: {message}", run.state));
    vec![print::time(run.started_at), print::time(run.as_of), run.origin.clone(), state, counts(run)]
}
