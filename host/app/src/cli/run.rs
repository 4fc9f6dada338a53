//! `backline plan` and `backline run`.

use std::io::IsTerminal as _;

use chrono::{NaiveDate, TimeDelta};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::{print, values};
use crate::pipeline::collection::report::{PlanReport, PlatformReport, Progress, RunReport, RunRequest};
use crate::telemetry::memory;
use backline_model::{ArtistId, Platform, RunStatus};

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
    platform: Vec<Platform>,
    /// Only this artist; may be repeated
    #[arg(long, value_name = "ID")]
    artist: Vec<ArtistId>,
}

/// Arguments of `backline plan`.
#[derive(Args)]
pub(super) struct PlanArguments {
    #[command(flatten)]
    selection: Selection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `backline run`.
#[derive(Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    selection: Selection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A run's report, with figures of this process.
#[derive(Serialize)]
struct ProcessReport<'a> {
    #[serde(flatten)]
    report: &'a RunReport,
    /// Highest resident memory of this process, in bytes; absent where the system does not report it.
    peak_rss_bytes: Option<u64>,
}

impl Selection {
    fn request(self, context: &Context) -> Result<RunRequest, Failure> {
        let latest = (context.clock.now() + EARLIEST_ZONE).date_naive();
        if let Some(date) = self.date.filter(|date| *date > latest) {
            return Err(Failure::usage(format!("{date} is in the future; give a date up to {latest}")));
        }
        Ok(RunRequest {
            trigger: "manual".to_owned(),
            date: self.date,
            due: None,
            platforms: self.platform,
            artists: self.artist,
        })
    }
}

/// Prints what a run would do.
pub(super) async fn plan(context: &Context, arguments: PlanArguments) -> Outcome {
    let request = arguments.selection.request(context)?;
    let host = context.host().await?;
    let report = host.planner().plan(&request).await?;
    if arguments.json {
        print::json(&report)?;
    } else {
        print_plan(&report)?;
    }
    Ok(Exit::Done)
}

/// Collects, with a progress bar, and prints the report.
pub(super) async fn run(context: &Context, arguments: RunArguments) -> Outcome {
    let request = arguments.selection.request(context)?;
    let host = context.host().await?;
    let bar = progress_bar();
    let stop = CancellationToken::new();
    let progress = |progress| advance(&bar, &progress);
    let report = tokio::select! {
        report = host.runs().run(&request, &progress, &stop) => report.map_err(Failure::from),
        failure = interrupted_twice(&stop, &bar) => Err(failure),
    };
    bar.finish_and_clear();
    let report = report?;
    if arguments.json {
        print::json(&ProcessReport { report: &report, peak_rss_bytes: memory::peak_bytes() })?;
    } else {
        print_run(&report)?;
    }
    Ok(exit_of(&report))
}

/// A run that was stopped, or that other hosts continue, is only partly done even if nothing failed.
fn exit_of(report: &RunReport) -> Exit {
    match Exit::of_run(&report.run.counts) {
        Exit::Done if report.run.status == RunStatus::Running => Exit::Partial,
        exit => exit,
    }
}

/// The first signal stops the run in order; the second ends it at once.
async fn interrupted_twice(stop: &CancellationToken, bar: &ProgressBar) -> Failure {
    interrupted().await;
    stop.cancel();
    bar.suspend(|| print::note("stopping: batches finish or are handed back; press Ctrl-C again to end at once"));
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

/// A progress bar on standard error, hidden unless that is a terminal.
fn progress_bar() -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} accounts  {elapsed_precise}, {eta} left  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn advance(bar: &ProgressBar, progress: &Progress) {
    match progress {
        Progress::Planned { accounts, .. } => bar.set_length(*accounts),
        Progress::BatchDone { platform, counts } => {
            bar.set_message(platform.to_string());
            bar.inc(counts.collected + counts.failed + counts.deferred);
        }
    }
}

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
    print::table(
        &["platform", "version", ">accounts", ">batches", ">requests", "budget units", ">duration", "excluded"],
        rows.collect(),
    )?;
    let total = &report.total;
    print::line(&format!(
        "\n{} in {}, at least {}, about {}; nothing was collected",
        print::count(total.accounts, "account"),
        if total.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", total.batches) },
        print::count(total.requests, "request"),
        duration(total.duration_s)
    ))
}

fn print_run(report: &RunReport) -> Result<(), Failure> {
    let counts = &report.run.counts;
    let row = |platform: &PlatformReport| {
        let PlatformReport { platform, counts, requests, .. } = platform;
        let numbers = [counts.planned, counts.collected, counts.failed, counts.deferred, counts.excluded, *requests];
        std::iter::once(platform.clone()).chain(numbers.map(|number| number.to_string())).collect()
    };
    let headers = ["platform", ">planned", ">collected", ">failed", ">deferred", ">excluded", ">requests"];
    print::table(&headers, report.platforms.iter().map(row).collect())?;
    for platform in &report.platforms {
        for (class, accounts) in &platform.failures {
            print::line(&format!("{}: {} failed: {class}", platform.platform, print::count(*accounts, "account")))?;
        }
    }
    let verdict = match exit_of(report) {
        _ if report.run.status == RunStatus::Running => "the rest is still open; `backline serve` continues it",
        Exit::Done if counts.planned == 0 => "there was nothing to collect",
        Exit::Done => "all collected",
        Exit::Partial if counts.failed == 0 => "the rest waits for budget",
        Exit::Partial => "partly collected",
        Exit::Failed | Exit::Usage | Exit::Waiting | Exit::Unwell => "nothing collected",
    };
    print::line(&format!(
        "\n{} of {} collected in {}: {verdict}; `backline runs show {}` shows each account",
        counts.collected,
        print::count(counts.planned, "account"),
        duration(report.seconds),
        report.run.id
    ))
}

fn duration(seconds: f64) -> String {
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

    #[test]
    fn durations_have_a_unit_that_fits() {
        assert_eq!([duration(0.25), duration(90.0), duration(5400.0)], ["0.2 s", "1.5 min", "1.5 h"]);
    }
}
