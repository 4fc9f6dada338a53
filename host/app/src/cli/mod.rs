//! The command line, in three phases: parse the arguments, read the configuration, run the command.
//!
//! Each group of commands has a file, which reads arguments and prints sentences, tables or JSON. The work itself is in
//! [`crate::pipeline`] and [`backline_store`].

mod accounts;
mod archive;
mod artists;
mod attention;
mod audit;
mod audited;
mod batches;
mod consents;
mod context;
mod credentials;
mod events;
mod exit;
mod health;
mod hosts;
mod import;
mod installation;
mod keys;
mod log;
mod names;
mod numbers;
mod output;
mod plugins;
mod print;
mod privacy;
mod quarantine;
mod ready;
mod run;
mod runs;
mod schedules;
mod serve;
mod settings;
mod sync;
mod tokens;
mod values;
mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use context::Context;
use exit::{Exit, Failure, Outcome};
use log::Log;

/// Collects artists' daily metrics from many platforms, each through a sandboxed connector.
#[derive(Parser)]
#[command(name = "backline", version = crate::config::VERSION)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command has.
#[derive(clap::Args)]
struct Global {
    /// Configuration file; the default is BACKLINE_CONFIG, or else backline.toml if it exists
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Database: sqlite://file or postgres://user:password@host/name
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    /// Set a key of the configuration, such as collection.window_days=14; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Filter of the log on standard error, such as info or backline=debug
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

/// How long tasks still in the background may take once a command has finished.
const RUNTIME_ENDS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
enum Command {
    /// Create the database, or update its schema
    Migrate(settings::MigrateArguments),
    /// Add, import, list, show and change artists
    #[command(subcommand)]
    Artists(artists::Command),
    /// Add, list and change artists' accounts on platforms
    #[command(subcommand)]
    Accounts(accounts::Command),
    /// Grant, withdraw and list artists' consents
    #[command(subcommand)]
    Consents(consents::Command),
    /// Export, erase and search for the data of an artist
    #[command(subcommand)]
    Privacy(privacy::Command),
    /// Set, list and remove secrets; values are read from standard input or a file
    #[command(subcommand)]
    Credentials(credentials::Command),
    /// Install, grant, activate, roll back, pack and sign connectors
    #[command(subcommand)]
    Plugins(plugins::Command),
    /// Show what a run would do: batches, requests, budget units, duration
    Plan(run::PlanArguments),
    /// Collect on schedule until stopped; several hosts can share one PostgreSQL database
    Serve(serve::ServeArguments),
    /// List the hosts that use this database
    Hosts(hosts::HostsArguments),
    /// Collect now
    Run(run::RunArguments),
    /// Show collected metrics
    Metrics(numbers::NumbersArguments),
    /// Show how metrics changed over 1, 7, 28 and 90 days
    Growth(numbers::NumbersArguments),
    /// List, release and discard values that failed validation
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// List and show runs
    #[command(subcommand)]
    Runs(runs::Command),
    /// List and show batches, and retry dead ones
    #[command(subcommand)]
    Batches(batches::Command),
    /// Follow and show events
    #[command(subcommand)]
    Events(events::Command),
    /// Deliver events to other systems: webhooks, the AI trigger, push notifications
    #[command(subcommand)]
    Webhooks(webhooks::Command),
    /// List, add, remove, enable and disable schedules
    #[command(subcommand)]
    Schedules(schedules::Command),
    /// Move old metrics to the archive, and delete old documents
    #[command(subcommand)]
    Archive(archive::Command),
    /// Show the configuration
    #[command(subcommand)]
    Config(settings::ConfigCommand),
    /// Generate and rotate the keys that encrypt credentials
    #[command(subcommand)]
    Keys(keys::Command),
    /// Show and join the installation that the database belongs to: its processes refresh tokens
    #[command(subcommand)]
    Installation(installation::Command),
    /// Make, list and revoke tokens of the HTTP API
    #[command(subcommand)]
    Tokens(tokens::Command),
    /// Show who did what
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show the health of collection: objectives, alerts and recommendations
    Health(health::HealthArguments),
    /// Check whether the host at the configured address is ready
    Ready,
    /// Compile a component; the host starts this command itself, with limited memory and time
    #[command(hide = true)]
    CompileComponent(CompileArguments),
}

/// Arguments of the compiling process. They hold the limits, since it reads no configuration.
#[derive(clap::Args)]
struct CompileArguments {
    /// File of the component
    component: PathBuf,
    /// File to write the compiled code to
    compiled: PathBuf,
    /// Address space, in bytes
    memory_bytes_max: u64,
    /// Processor time, in seconds
    cpu_s_max: u64,
    /// Wall-clock time, in seconds; enforced by the host that started it
    wall_s_max: u64,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match start() {
        Ok(exit) => exit.into(),
        Err(Failure { exit, message }) => {
            print::note(&format!("error: {message}"));
            exit.into()
        }
    }
}

fn start() -> Outcome {
    let matches = match Arguments::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            print::line(error.to_string().trim_end())?;
            return Ok(Exit::Done);
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            print::note(error.to_string().trim_end());
            return Ok(Exit::Usage);
        }
        Err(error) => return Err(Failure::usage(usage_sentence(&error))),
    };
    let Arguments { global, command } =
        Arguments::from_arg_matches(&matches).map_err(|error| Failure::usage(usage_sentence(&error)))?;
    let command = match command {
        // Neither needs the configuration, so that a wrong one must not make it fail.
        Command::CompileComponent(arguments) => return compile(&arguments),
        Command::Keys(keys::Command::Generate { file }) => return keys::generate(file.as_deref()),
        command => command,
    };
    let context = match &command {
        Command::Serve(arguments) => arguments.context(&global)?,
        _ => Context::load(&global, &[])?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("failed to start the runtime: {error}")))?;
    let outcome = runtime.block_on(async {
        let log = Log::start(context.config());
        let outcome = match (&command, &log) {
            // It reports a wrong log filter together with all other problems.
            (Command::Serve(arguments), log) => {
                serve::run(&context, arguments, &global, log.as_ref().map_err(Clone::clone)).await
            }
            (_, Ok(_)) => {
                let outcome = perform(command, &context).await;
                audited::record(&context, &matches, &outcome).await;
                outcome
            }
            (_, Err(failure)) => Err(failure.clone()),
        };
        if let Ok(log) = log {
            log.end().await;
        }
        outcome
    });
    // An abandoned compilation must not keep the process alive.
    runtime.shutdown_timeout(RUNTIME_ENDS_WITHIN);
    outcome
}

async fn perform(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Migrate(arguments) => settings::migrate(context, &arguments).await,
        Command::Artists(command) => artists::run(context, command).await,
        Command::Accounts(command) => accounts::run(context, command).await,
        Command::Consents(command) => consents::run(context, command).await,
        Command::Privacy(command) => privacy::run(context, command).await,
        Command::Credentials(command) => credentials::run(context, command).await,
        Command::Plugins(command) => plugins::run(context, command).await,
        Command::Plan(arguments) => run::plan(context, arguments).await,
        Command::Serve(_) => Err(Failure::failed("`backline serve` is started before other commands")),
        Command::Hosts(arguments) => hosts::run(context, &arguments).await,
        Command::Installation(command) => installation::run(context, command).await,
        Command::Tokens(command) => tokens::run(context, command).await,
        Command::Audit(command) => audit::run(context, command).await,
        Command::Health(arguments) => health::run(context, arguments).await,
        Command::Ready => ready::run(context).await,
        Command::Run(arguments) => run::run(context, arguments).await,
        Command::Metrics(arguments) => numbers::metrics(context, arguments).await,
        Command::Growth(arguments) => numbers::growth(context, arguments).await,
        Command::Quarantine(command) => quarantine::run(context, command).await,
        Command::Runs(command) => runs::run(context, command).await,
        Command::Batches(command) => batches::run(context, command).await,
        Command::Events(command) => events::run(context, command).await,
        Command::Webhooks(command) => webhooks::run(context, command).await,
        Command::Schedules(command) => schedules::run(context, command).await,
        Command::Archive(command) => archive::run(context, command).await,
        Command::Config(settings::ConfigCommand::Show { json }) => settings::show(context, json),
        Command::Keys(command) => keys::run(context, command).await,
        Command::CompileComponent(arguments) => compile(&arguments),
    }
}

fn compile(arguments: &CompileArguments) -> Outcome {
    let &CompileArguments { memory_bytes_max, cpu_s_max, wall_s_max, .. } = arguments;
    let limits = backline_sandbox::CompileLimits { memory_bytes_max, cpu_s_max, wall_s_max };
    match backline_sandbox::compile::child_main(&arguments.component, &arguments.compiled, &limits) {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(Failure::failed(exit::sentence(&error))),
    }
}

/// A usage error as one sentence: the first paragraph of clap's text, its tips, and the `--help` to read.
fn usage_sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut parts: Vec<String> = Vec::new();
    let complaint: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    parts.push(complaint.join(" ").trim_start_matches("error: ").trim_end_matches(':').to_owned());
    parts.extend(text.lines().filter_map(|line| Some(line.trim().strip_prefix("tip: ")?.to_owned())));
    let command = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let command: Vec<&str> = command
        .split_whitespace()
        .skip_while(|word| *word != "backline")
        .take_while(|word| !word.starts_with(['[', '<', '-']))
        .collect();
    let command = if command.is_empty() { "backline".to_owned() } else { command.join(" ") };
    parts.push(format!("see `{command} --help`"));
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(arguments: &[&str]) -> String {
        let error = Arguments::command().try_get_matches_from(arguments).expect_err("refused");
        usage_sentence(&error)
    }

    #[test]
    fn the_commands_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn complaints_are_one_sentence_with_a_remedy() {
        let text = complaint(&["backline", "run", "--dat", "2026-11-20"]);
        assert_eq!(
            text,
            "unexpected argument '--dat' found; a similar argument exists: '--date'; see `backline run --help`"
        );
        let text = complaint(&["backline", "run", "--date", "2026-02-30"]);
        assert!(
            text.starts_with(
                "invalid value '2026-02-30' for '--date <DATE>': it is not a calendar date; write YYYY-MM-DD"
            ),
            "{text}"
        );
        let text = complaint(&["backline", "metrics", "ada"]);
        assert!(text.contains("'ada' is not a UUID"), "{text}");
        let text = complaint(&["backline", "rnu"]);
        assert!(text.starts_with("unrecognized subcommand 'rnu'") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn every_remedy_that_health_recommends_is_a_command() {
        let report = backline_rules::health::fixtures::everything_wrong();
        assert!(report.recommendations.len() > 12, "{:?}", report.recommendations);
        for recommendation in report.recommendations {
            let words = recommendation.remedy.split(' ');
            let parsed = Arguments::command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{}: {}", recommendation.remedy, parsed.expect_err("refused"));
        }
    }

    #[test]
    fn no_secret_can_be_given_as_an_argument() {
        let text = complaint(&["backline", "credentials", "set", "youtube", "app", "canary"]);
        assert!(text.contains("unexpected argument"), "{text}");
    }
}
