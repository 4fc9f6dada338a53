//! `backline health`: objectives, alerts and recommendations.

use std::io::IsTerminal as _;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};

use crate::cli::arguments::{names, values};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::cli::terminal::print::Tone;
use crate::pipeline::words::{ObjectiveText, decimal, objective_text};
use crate::pipeline::{Host, TenantHealthReport};
use backline_model::Tenant;
use backline_model::health::{Alert, Health, HealthReport, Objective, PlatformHealth, Recommendation, Urgency};

/// Arguments of `backline health`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct HealthArguments {
    #[command(flatten)]
    show: ShowArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct ShowArguments {
    /// Time that the report covers, such as 24h or 7d; health.window_hours unless given
    #[arg(long, value_name = "TIME", value_parser = values::window)]
    window: Option<TimeDelta>,
    /// Count only one tenant's accounts; without objectives, alerts and recommendations, which are about all tenants
    #[arg(long, conflicts_with_all = ["check", "watch"])]
    tenant: Option<Tenant>,
    /// Refresh every SECONDS until Ctrl-C; 5 unless given
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5",
        value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
    /// Exit with code 1 if an objective is missed or an alert is firing
    #[arg(long, conflicts_with = "watch")]
    check: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// List alerts that have ever fired, each with its state and since when
    Alerts {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Columns of a platform's health.
pub(in crate::cli) const HEADERS: [&str; 14] = [
    "platform",
    ">score",
    ">collected",
    ">planned",
    ">failed",
    "???>superseded",
    "?>overdue",
    "??>under way",
    "??>deferred",
    "???>excluded",
    "?>completion",
    "?>errors",
    ">lag",
    "?>accepted",
];

/// Columns of an alert.
pub(in crate::cli) const ALERT_HEADERS: [&str; 6] = ["alert", "platform", "state", "since", "?>value", "?>bound"];

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, arguments: HealthArguments) -> CommandResult {
    let host = context.host().await?;
    if let Some(Command::Alerts { json }) = arguments.command {
        let alerts = host.health().alerts().await?;
        print::listing(json, &alerts, &ALERT_HEADERS, alert_cells, "no alert has ever fired")?;
        return Ok(Exit::Done);
    }
    let show = arguments.show;
    if let Some(tenant) = show.tenant {
        names::expect_tenant(host.store(), Some(&tenant)).await?;
        print_tenant_report(&host.health().tenant_report(tenant, show.window).await?, show.json)?;
        return Ok(Exit::Done);
    }
    match show.watch {
        None => {
            let report = host.health().report(show.window).await?;
            print_report(&report, show.json)?;
            Ok(if show.check && !is_healthy(&report) { Exit::ObjectiveMissed } else { Exit::Done })
        }
        Some(seconds) => watch(&host, &show, Duration::from_secs(seconds)).await,
    }
}

/// Prints the report at an interval; on a terminal in place.
async fn watch(host: &Host, show: &ShowArguments, every: Duration) -> CommandResult {
    let in_place = std::io::stdout().is_terminal() && !show.json;
    let mut ticks = tokio::time::interval(every);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
        let report = host.health().report(show.window).await?;
        if in_place {
            print::clear_screen()?;
        }
        print_report(&report, show.json)?;
    }
}

fn is_healthy(report: &HealthReport) -> bool {
    report.alerts.is_empty() && report.objectives.iter().all(|objective| objective.met != Some(false))
}

fn print_report(report: &HealthReport, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return print::json(report);
    }
    if report.simulated {
        print::toned(Tone::Warning, "simulated: nothing of this report is about a real platform\n")?;
    }
    print_rates("", report.since, report.at, &report.platforms, &report.total)?;
    print::line("")?;
    for objective in &report.objectives {
        let tone = match objective.met {
            Some(true) => Tone::Good,
            Some(false) => Tone::Bad,
            None => Tone::Plain,
        };
        print::toned(tone, &objective_line(objective))?;
    }
    print::toned(Tone::Plain, &format!("  the cost is based on {}", report.cost.basis))?;
    if let Some(zones) = &report.time_zones {
        print::toned(Tone::Plain, &format!("  {zones}"))?;
    }
    for alert in &report.alerts {
        let place = alert.platform.as_ref().map_or_else(String::new, |platform| format!(" of {platform}"));
        let since = print::time(alert.since);
        print::toned(Tone::Bad, &format!("! {}{place} has been firing since {since}", alert.name.as_str()))?;
    }
    if report.recommendations.is_empty() {
        return print::line("\nno recommendations");
    }
    print::toned(Tone::Strong, "\nrecommendations")?;
    report.recommendations.iter().try_for_each(|recommendation| {
        let tone = match recommendation.urgency {
            Urgency::Urgent => Tone::Bad,
            Urgency::Warning => Tone::Warning,
            Urgency::Notice => Tone::Plain,
        };
        print::toned(tone, &recommendation_lines(recommendation))
    })
}

fn print_tenant_report(report: &TenantHealthReport, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return print::json(report);
    }
    let whose = format!("tenant {}: ", report.tenant);
    print_rates(&whose, report.since, report.at, &report.platforms, &report.total)?;
    print::toned(
        Tone::Plain,
        "\n`backline health` has the objectives, alerts and recommendations, which are about all tenants",
    )
}

/// The score, and a table of platforms.
fn print_rates(
    whose: &str,
    since: DateTime<Utc>,
    at: DateTime<Utc>,
    platforms: &[PlatformHealth],
    total: &Health,
) -> Result<(), Failure> {
    let hours = (at - since).as_seconds_f64() / 3_600.0;
    let score = total.score.map_or_else(|| "no data".to_owned(), |score| format!("{score:.1} of 100"));
    print::line(&format!("{whose}score {score}, over the last {hours:.0} h up to {}\n", print::time(at)))?;
    let mut rows: Vec<Vec<String>> = platforms
        .iter()
        .map(|platform| {
            let mark = if platform.optional { " (optional)" } else { "" };
            cells(format!("{}{mark}", platform.platform), &platform.health)
        })
        .collect();
    rows.push(cells("total".to_owned(), total));
    print::table(&HEADERS, rows)
}

fn cells(name: String, health: &Health) -> Vec<String> {
    let percent =
        |share: Option<f64>| share.map_or_else(|| print::NONE.to_owned(), |share| format!("{:.1} %", share * 100.0));
    vec![
        name,
        health.score.map_or_else(|| print::NONE.to_owned(), |score| format!("{score:.1}")),
        health.collected.to_string(),
        health.planned.to_string(),
        health.failed.to_string(),
        health.superseded.to_string(),
        health.overdue.to_string(),
        health.under_way.to_string(),
        health.deferred.to_string(),
        health.excluded.to_string(),
        percent(health.completion),
        percent(health.error_rate),
        health.lag_p95_s.map_or_else(|| print::NONE.to_owned(), |lag| format!("{:.2} h", lag / 3_600.0)),
        percent(health.accepted),
    ]
}

fn objective_line(objective: &Objective) -> String {
    let mark = match objective.met {
        Some(true) => "✓",
        Some(false) => "✗",
        None => print::NONE,
    };
    let ObjectiveText { what, value, target } = objective_text(objective);
    format!("{mark} {what}: {value} (target {target})")
}

fn recommendation_lines(recommendation: &Recommendation) -> String {
    let mark = match recommendation.urgency {
        Urgency::Urgent => "!!",
        Urgency::Warning => " !",
        Urgency::Notice => "  ",
    };
    format!("{mark} {}\n     {}", recommendation.sentence, recommendation.remedy)
}

fn alert_cells(alert: &Alert) -> Vec<String> {
    vec![
        alert.name.as_str().to_owned(),
        alert.platform.as_ref().map_or_else(|| print::NONE.to_owned(), ToString::to_string),
        if alert.firing { "firing" } else { "ok" }.to_owned(),
        print::time(alert.since),
        decimal(alert.value, 4),
        decimal(alert.threshold, 4),
    ]
}
