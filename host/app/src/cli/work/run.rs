//! `backline plan` and `backline run`.

use std::collections::BTreeSet;

use chrono::{NaiveDate, TimeDelta};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cli::arguments::ids::{self, Given};
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::arguments::values;
use crate::cli::context::Context;
use crate::cli::service::installation;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::cli::terminal::progress::{self, ProgressBar};
use crate::pipeline::collection::report::{
    AllowanceOf, AllowanceReport, OpenReason, OpenReport, PlanReport, PlatformPlan, PlatformReport, Progress,
    RunReport, RunRequest,
};
use crate::pipeline::{CancelReport, Host, Subject, invalid_ids};
use crate::telemetry::{WriteFigures, memory};
use backline_model::grant::describe_window;
use backline_model::outcome::Exclusion;
use backline_model::run::RunCounts;
use backline_model::{ArtistId, Platform, RunId, RunStatus};
use backline_store::Store;

/// The time zone where a new day begins first is this far ahead of UTC.
const EARLIEST_ZONE: TimeDelta = TimeDelta::hours(14);

/// Which accounts to collect, and for which date.
#[derive(Args)]
struct Selection {
    /// Date to collect for; today in each artist's time zone unless given
    #[arg(long, value_parser = values::date)]
    date: Option<NaiveDate>,
    /// Only this platform; may be repeated
    #[arg(long, value_name = "NAME")]
    platform: Vec<PlatformName>,
    /// Only this artist; may be repeated
    #[arg(long, value_name = "ARTIST")]
    artist: Vec<Given<ArtistId>>,
}

/// Arguments of `backline plan`.
#[derive(Args)]
pub(in crate::cli) struct PlanArguments {
    #[command(flatten)]
    selection: Selection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `backline run`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct RunArguments {
    #[command(subcommand)]
    command: Option<RunCommand>,
    #[command(flatten)]
    selection: Selection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `backline run …`
#[derive(Subcommand)]
enum RunCommand {
    /// Cancel a run: what is open of it ends as excluded, and what was collected stays
    Cancel {
        /// The run: id, beginning of it, or latest
        run: Given<RunId>,
        /// Why, for those who look at its batches later
        #[arg(long, value_name = "TEXT", default_value = "by the operator")]
        reason: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A run's report, with figures of this process.
#[derive(Serialize)]
struct ProcessReport<'a> {
    #[serde(flatten)]
    report: &'a RunReport,
    /// Highest resident memory of this process, in bytes; absent where the system does not report it.
    peak_rss_bytes: Option<u64>,
    /// What the transactions took by which this process stored batches; null where it stored none.
    write_transactions: Option<WriteFigures>,
}

impl Selection {
    async fn request(self, context: &Context, store: &Store) -> Result<RunRequest, Failure> {
        let latest = (context.clock.now() + EARLIEST_ZONE).date_naive();
        if let Some(date) = self.date.filter(|date| *date > latest) {
            return Err(Failure::usage(format!("{date} is in the future; give a date up to {latest}")));
        }
        Ok(RunRequest {
            trigger: "manual".to_owned(),
            date: self.date,
            due: None,
            platforms: names::platforms(store, &self.platform).await?,
            artists: ids::find_all(store, &self.artist).await?,
        })
    }
}

/// Prints what a run would do.
pub(in crate::cli) async fn plan(context: &Context, arguments: PlanArguments) -> CommandResult {
    let host = context.host().await?;
    let request = arguments.selection.request(context, host.store()).await?;
    let report = host.planner().plan(&request).await?;
    if arguments.json {
        print::json(&report)?;
    } else {
        print_plan(&report)?;
    }
    let invalid = invalid_ids(host.store()).await?;
    if invalid > 0 {
        print::note(&format!(
            "warning: {} an id that the connector can't collect by; `backline accounts attention` says what to do",
            if invalid == 1 { "1 account has".to_owned() } else { format!("{invalid} accounts have") }
        ));
    }
    Ok(Exit::Done)
}

/// Collects, with a progress bar, and prints the report.
pub(in crate::cli) async fn run(context: &Context, arguments: RunArguments) -> CommandResult {
    let host = context.host().await?;
    if let Some(RunCommand::Cancel { run, reason, json }) = arguments.command {
        let run = run.find(host.store()).await?;
        return cancel(&host, run, &reason, json).await;
    }
    let request = arguments.selection.request(context, host.store()).await?;
    installation::warn(context, host.store()).await?;
    let report = collect(&host, &request, &CancellationToken::new()).await?;
    context.subjects.made(Subject::Run(report.run.id));
    if arguments.json {
        let write_transactions = host.telemetry().write_transactions();
        print::json(&ProcessReport { report: &report, peak_rss_bytes: memory::peak_bytes(), write_transactions })?;
    } else {
        print_run(&report)?;
    }
    Ok(exit_of(&report))
}

/// Collects, with a progress bar, until all that can end soon has ended. The first signal cancels `stop`, which ends
/// the run in order.
pub(in crate::cli) async fn collect(
    host: &Host,
    request: &RunRequest,
    stop: &CancellationToken,
) -> Result<RunReport, Failure> {
    let bar = progress::bar(0, "accounts");
    let advance = |progress| advance(&bar, &progress);
    let running = async {
        let runs = host.runs();
        // Without a terminal there is no bar to move on.
        match bar.is_hidden() {
            true => runs.run_unwatched(request, &advance, stop).await,
            false => runs.run(request, &advance, stop).await,
        }
    };
    let report = tokio::select! {
        report = running => report.map_err(Failure::from),
        failure = interrupted_twice(stop) => Err(failure),
    };
    bar.finish_and_clear();
    report
}

async fn cancel(host: &Host, run: RunId, reason: &str, json: bool) -> CommandResult {
    let report = host.runs().cancel(run, reason).await?;
    if json {
        print::json(&report)?;
        return Ok(Exit::Done);
    }
    let CancelReport { run, cancelled } = &report;
    let accounts = print::count(cancelled.accounts, "account");
    print::line(&format!(
        "the run {} is cancelled: {accounts} not collected, {} collected before",
        run.id, run.counts.collected
    ))?;
    if cancelled.leased > 0 {
        print::note(&format!(
            "hosts held {} of its batches; each drops them within a third of collection.lease_ttl_ms",
            cancelled.leased
        ));
    }
    Ok(Exit::Done)
}

/// A run of which anything is open is not done, however well what was collected of it went.
fn exit_of(report: &RunReport) -> Exit {
    match Exit::of_run(report.run.status, &report.run.counts) {
        Exit::Done if is_open(report) => Exit::Partial,
        exit => exit,
    }
}

/// Whether anything is left that a host has to go on with.
pub(in crate::cli) fn is_open(report: &RunReport) -> bool {
    report.run.status == RunStatus::Running || !report.open.is_empty()
}

/// The first signal ends the run in order; the second, at once.
async fn interrupted_twice(stop: &CancellationToken) -> Failure {
    interrupted().await;
    stop.cancel();
    print::note("stopping: batches finish or are handed back; press Ctrl-C again to end at once");
    interrupted().await;
    Failure::failed("the run was ended at once; its batches are retried when their leases expire")
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() {
    #[cfg(unix)]
    {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        if let Ok(mut terminate) = terminate {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

fn advance(bar: &ProgressBar, progress: &Progress) {
    match progress {
        Progress::Planned { accounts, .. } => bar.set_length(*accounts),
        Progress::BatchDone { platform, .. } => bar.set_message(platform.to_string()),
        Progress::Counted { counts } => bar.set_position(counts.with_outcome()),
        Progress::Waiting { holders } => bar.set_message(format!("waiting for {}", names(holders))),
    }
}

/// Columns of a plan.
pub(in crate::cli) const PLAN_HEADERS: [&str; 8] =
    ["platform", "?version", ">accounts", "?>batches", ">requests", "budget units", ">duration", "excluded"];

/// Columns of what may be spent.
pub(in crate::cli) const ALLOWANCE_HEADERS: [&str; 8] =
    ["platform", "budget", "??of", ">limit", "?window", ">needed", ">left", "the rest is back"];

/// Columns of what a run did.
pub(in crate::cli) const RUN_HEADERS: [&str; 8] =
    ["platform", ">planned", ">collected", ">failed", ">deferred", "?>superseded", ">excluded", "?>requests"];

fn print_plan(report: &PlanReport) -> Result<(), Failure> {
    let units = |units: &std::collections::BTreeMap<String, u64>| {
        let units: Vec<_> = units.iter().map(|(budget, units)| format!("{budget} {units}")).collect();
        if units.is_empty() { print::NONE.to_owned() } else { units.join(", ") }
    };
    let excluded = |excluded: &std::collections::BTreeMap<String, u64>| {
        let excluded: Vec<_> = excluded.iter().map(|(reason, accounts)| format!("{accounts} {reason}")).collect();
        excluded.join(", ")
    };
    let rows = report.platforms.iter().map(|plan| {
        let forecast = &plan.forecast;
        vec![
            plan.platform.to_string(),
            plan.version.clone(),
            forecast.accounts.to_string(),
            forecast.batches.to_string(),
            forecast.requests.to_string(),
            units(&forecast.units),
            duration(forecast.duration_s),
            excluded(&plan.excluded),
        ]
    });
    print::table(&PLAN_HEADERS, rows.collect())?;
    for plan in report.platforms.iter().filter(|plan| plan.days > 1) {
        print::line(&format!(
            "{}: its daily allowance spreads this over {} days; what exceeds it waits for the reset",
            plan.platform, plan.days
        ))?;
    }
    print_allowances(report)?;
    let total = &report.total;
    let left_out = |plan: &PlatformPlan| plan.excluded.get(Exclusion::DateNotServed.as_str()).copied();
    let unserved: u64 = report.platforms.iter().filter_map(left_out).sum();
    if let Some(date) = report.date.filter(|_| unserved > 0) {
        print::line(&format!("\n{}", unserved_line(unserved, date)))?;
    }
    print::line(&format!(
        "\n{} in {}, at least {}, about {}; nothing was collected",
        print::count(total.accounts, "account"),
        if total.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", total.batches) },
        print::count(total.requests, "request"),
        duration(total.duration_s)
    ))
}

/// What may be spent, beside what the plan needs of it.
fn print_allowances(report: &PlanReport) -> Result<(), Failure> {
    let of_platform = |plan: &PlatformPlan| -> Vec<Vec<String>> {
        plan.allowances.iter().map(|allowance| allowance_cells(&plan.platform, allowance)).collect()
    };
    let rows: Vec<Vec<String>> = report.platforms.iter().flat_map(of_platform).collect();
    if !rows.is_empty() {
        print::line("")?;
        print::table(&ALLOWANCE_HEADERS, rows)?;
    }
    for plan in &report.platforms {
        if let Some(until) = plan.paused_until {
            print::line(&format!("{}: paused until {}, since it asked for that", plan.platform, print::time(until)))?;
        }
    }
    Ok(())
}

fn allowance_cells(platform: &Platform, allowance: &AllowanceReport) -> Vec<String> {
    let AllowanceReport { budget, of, limit, window, needed, left, back_at } = allowance;
    let of = match of {
        AllowanceOf::App => "the app",
        AllowanceOf::Platform => "the platform",
        AllowanceOf::Account => "each account",
    };
    vec![
        platform.to_string(),
        budget.clone(),
        of.to_owned(),
        limit.to_string(),
        describe_window(window),
        needed.to_string(),
        left.map_or_else(|| print::NONE.to_owned(), |left| left.to_string()),
        back_at.map_or_else(|| print::NONE.to_owned(), print::time),
    ]
}

fn print_run(report: &RunReport) -> Result<(), Failure> {
    let counts = &report.run.counts;
    let row = |platform: &PlatformReport| {
        let PlatformReport { platform, counts, requests, .. } = platform;
        let RunCounts { planned, collected, failed, deferred, superseded, excluded } = *counts;
        let numbers = [planned, collected, failed, deferred, superseded, excluded, *requests];
        std::iter::once(platform.clone()).chain(numbers.map(|number| number.to_string())).collect()
    };
    print::table(&RUN_HEADERS, report.platforms.iter().map(row).collect())?;
    for platform in &report.platforms {
        for (class, accounts) in &platform.failures {
            print::line(&format!("{}: {} failed: {class}", platform.platform, print::count(*accounts, "account")))?;
        }
        for (reason, accounts) in &platform.exclusions {
            print::line(&format!("{}: {} left out: {reason}", platform.platform, print::count(*accounts, "account")))?;
        }
    }
    for open in &report.open {
        print::line(&open_line(open))?;
    }
    let unserved = left_out(report, Exclusion::DateNotServed);
    if let Some(date) = report.run.date.filter(|_| unserved > 0) {
        print::line(&unserved_line(unserved, date))?;
    }
    print::line(&format!(
        "\n{} of {} collected in {}: {}; `backline runs show {}` shows the accounts",
        counts.collected,
        print::count(counts.planned, "account"),
        duration(report.seconds),
        verdict(report),
        report.run.id
    ))
}

/// How many accounts of a run were left out for a reason.
fn left_out(report: &RunReport, reason: Exclusion) -> u64 {
    report.platforms.iter().filter_map(|platform| platform.exclusions.get(reason.as_str())).sum()
}

/// What is said of accounts whose numbers of the date that was asked for can't be fetched now.
fn unserved_line(accounts: u64, date: NaiveDate) -> String {
    format!(
        "{} left out: no connector can fetch the numbers of {date} where the artist is, since platforms tell those of \
         now; leave the date out to collect today's",
        print::count(accounts, "account")
    )
}

/// The sentence's middle: what became of the run. It is about the same counts as the table and the exit code.
fn verdict(report: &RunReport) -> String {
    let counts = &report.run.counts;
    let waits_for_budget = |open: &OpenReport| open.reason == OpenReason::Budget;
    let said = match exit_of(report) {
        _ if report.run.status == RunStatus::Cancelled => {
            let accounts = print::count(left_out(report, Exclusion::Cancelled), "account");
            return format!("the run was cancelled before {accounts} of it could be collected");
        }
        _ if report.run.status == RunStatus::Running || !report.open.iter().all(waits_for_budget) => {
            "the rest is still open; `backline serve` goes on with it"
        }
        Exit::Done if counts.planned == 0 => "there was nothing to collect",
        Exit::Done => "all collected",
        Exit::Partial if counts.failed == 0 && counts.superseded == 0 => {
            "the rest waits for a budget, or a pause the platform asked for"
        }
        Exit::Partial if counts.failed == 0 && counts.deferred == 0 => {
            "the rest is superseded: its numbers would have been of another date"
        }
        Exit::Partial if counts.failed == 0 => "the rest is superseded, or waits for a budget or a pause",
        Exit::Partial => "partly collected",
        Exit::Failed | Exit::Usage | Exit::Waiting | Exit::ObjectiveMissed => "nothing collected",
    };
    said.to_owned()
}

/// What is open of one platform, why, and who has to do with it.
fn open_line(open: &OpenReport) -> String {
    let OpenReport { platform, accounts, .. } = open;
    let holder = open.holder.as_deref().unwrap_or("another host");
    let at = print::time(open.available_at);
    let why = match open.reason {
        OpenReason::NotBegun => "not begun".to_owned(),
        OpenReason::Retry => format!("to be tried again from {at} on"),
        OpenReason::Budget => format!("waiting for a budget or a pause until {at}"),
        OpenReason::NoConnector => "waiting for a connector: none is active".to_owned(),
        OpenReason::Held => format!("held by {holder} until {at} or longer"),
        OpenReason::HolderSilent => {
            format!("held by {holder}, which does not report any more; any host can take them up from {at} on")
        }
    };
    format!("{platform}: {} still open: {why}", print::count(*accounts, "account"))
}

/// Names in one line.
fn names(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Seconds in the unit that fits.
pub(in crate::cli) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if seconds < 3600.0 {
        format!("{:.1} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::Run;
    use backline_model::manifest::BudgetWindow;

    #[test]
    fn durations_have_a_unit_that_fits() {
        assert_eq!([duration(0.25), duration(90.0), duration(5400.0)], ["0.2 s", "1.5 min", "1.5 h"]);
    }

    #[test]
    fn an_allowance_says_what_is_left_and_when_the_rest_is_back() {
        let youtube = Platform::new("youtube").expect("a platform");
        let allowance = AllowanceReport {
            budget: "units".to_owned(),
            of: AllowanceOf::App,
            limit: 10_000,
            window: BudgetWindow::Seconds(86_400),
            needed: 12_000,
            left: Some(7_500),
            back_at: Some("2026-11-23T08:00:00Z".parse().expect("a time")),
        };
        let told = allowance_cells(&youtube, &allowance);
        let expected =
            ["youtube", "units", "the app", "10000", "every 86400 s", "12000", "7500", "2026-11-23 08:00:00Z"];
        assert_eq!(told, expected);
        let unknown = AllowanceReport { of: AllowanceOf::Account, left: None, back_at: None, ..allowance };
        let told = allowance_cells(&youtube, &unknown);
        assert_eq!([told[2].as_str(), told[6].as_str(), told[7].as_str()], ["each account", print::NONE, print::NONE]);
    }

    fn open(reason: OpenReason) -> OpenReport {
        OpenReport {
            platform: Platform::new("demo").expect("a platform"),
            reason,
            batches: 1,
            accounts: 1,
            holder: None,
            available_at: "2026-11-22T12:00:00Z".parse().expect("a time"),
        }
    }

    fn report(status: RunStatus, collected: u64, open: Vec<OpenReport>) -> RunReport {
        let run = Run {
            id: RunId::generate(),
            trigger: "manual".to_owned(),
            date: None,
            status,
            started_at: "2026-11-22T11:00:00Z".parse().expect("a time"),
            finished_at: None,
            counts: RunCounts { planned: 2, collected, ..RunCounts::default() },
        };
        RunReport { run, platforms: Vec::new(), open, seconds: 1.0 }
    }

    /// Runs of which nothing is open, and not all was collected.
    fn ended_otherwise() -> [(RunReport, Exit, &'static str); 5] {
        let ended = |status, counts: RunCounts| {
            let mut report = report(status, counts.collected, Vec::new());
            report.run.counts = counts;
            report.platforms.push(PlatformReport {
                exclusions: [(Exclusion::Cancelled.as_str().to_owned(), 4)].into(),
                ..PlatformReport::default()
            });
            report
        };
        let counts = |collected, superseded, deferred| RunCounts {
            planned: collected + superseded + deferred,
            collected,
            superseded,
            deferred,
            ..RunCounts::default()
        };
        let cancelled = "the run was cancelled before 4 accounts of it could be collected";
        [
            (ended(RunStatus::Cancelled, counts(0, 0, 0)), Exit::Partial, cancelled),
            (ended(RunStatus::Cancelled, counts(2, 0, 0)), Exit::Partial, cancelled),
            (ended(RunStatus::PartialFailure, counts(0, 2, 0)), Exit::Partial, "the rest is superseded: "),
            (ended(RunStatus::PartialFailure, counts(1, 1, 0)), Exit::Partial, "the rest is superseded: "),
            (ended(RunStatus::PartialFailure, counts(1, 1, 1)), Exit::Partial, "is superseded, or waits"),
        ]
    }

    #[test]
    fn what_is_open_decides_the_exit_code_and_the_sentence_alike() {
        let held = OpenReport { holder: Some("host-b".to_owned()), accounts: 7, ..open(OpenReason::Held) };
        assert_eq!(
            open_line(&held),
            "demo: 7 accounts still open: held by host-b until 2026-11-22 12:00:00Z or longer"
        );
        let cases = [
            (report(RunStatus::Success, 2, Vec::new()), Exit::Done, "all collected"),
            (report(RunStatus::Running, 1, vec![held.clone()]), Exit::Partial, "still open"),
            // Its status is the one before it went on.
            (report(RunStatus::Success, 2, vec![held]), Exit::Partial, "still open"),
            (report(RunStatus::Running, 0, vec![open(OpenReason::NotBegun)]), Exit::Partial, "still open"),
            (report(RunStatus::Deferred, 1, vec![open(OpenReason::Budget)]), Exit::Partial, "waits for a budget"),
        ];
        for (report, exit, said) in cases.into_iter().chain(ended_otherwise()) {
            assert_eq!(exit_of(&report), exit, "{report:?}");
            assert!(verdict(&report).contains(said), "{}: {report:?}", verdict(&report));
        }
    }
}
