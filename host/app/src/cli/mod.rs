//! The command line: arguments in, sentences, tables or JSON out. Three phases: parse, read the configuration, do.
//!
//! One file a group of commands. None of them knows how things are done; they ask [`crate::pipeline`] and [`backline_store`].

mod accounts;
mod archive;
mod artists;
mod batches;
mod consents;
mod context;
mod credentials;
mod events;
mod exit;
mod health;
mod hosts;
mod import;
mod keys;
mod log;
mod numbers;
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

/// Collects artists' daily numbers from many platforms, each through a sandboxed connector.
#[derive(Parser)]
#[command(name = "backline", version = crate::VERSION, arg_required_else_help = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(clap::Args)]
struct Global {
    /// Configuration file; else BACKLINE_CONFIG, else backline.toml where it exists
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Database: sqlite://file or postgres://user:password@host/name
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    /// Any key of the configuration, such as --set collection.window_days=14; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What is logged to standard error, such as info or backline=debug
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

/// How long tasks that nobody waits for may take when a command is done.
const RUNTIME_ENDS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
enum Command {
    /// Bring the database's schema up to date
    Migrate(settings::MigrateArguments),
    /// Add, import, list, show and change artists
    #[command(subcommand)]
    Artists(artists::Command),
    /// Add, list and change artists' accounts on platforms
    #[command(subcommand)]
    Accounts(accounts::Command),
    /// Record and show what artists agree to, and what no longer
    #[command(subcommand)]
    Consents(consents::Command),
    /// Export, erase and look for everything about an artist
    #[command(subcommand)]
    Privacy(privacy::Command),
    /// Set, list and remove secrets; values come from standard input or a file
    #[command(subcommand)]
    Credentials(credentials::Command),
    /// Install, list, inspect and pack connectors
    #[command(subcommand)]
    Plugins(plugins::Command),
    /// Say what a run would do: batches, requests, quota units, duration
    Plan(run::PlanArguments),
    /// Collect on schedule until told to stop; several hosts may share one PostgreSQL
    Serve(serve::ServeArguments),
    /// List the hosts that work on this database
    Hosts(hosts::HostsArguments),
    /// Collect now
    Run(run::RunArguments),
    /// Show collected metrics
    Metrics(numbers::NumbersArguments),
    /// Show how metrics moved over 1, 7, 28 and 90 days
    Growth(numbers::NumbersArguments),
    /// List, release and discard values that validation withheld
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// List and show past runs
    #[command(subcommand)]
    Runs(runs::Command),
    /// List and show batches, and bring dead ones back
    #[command(subcommand)]
    Batches(batches::Command),
    /// Follow what happens, event by event
    #[command(subcommand)]
    Events(events::Command),
    /// Tell others of events: webhooks, the AI trigger, push notifications
    #[command(subcommand)]
    Webhooks(webhooks::Command),
    /// List, add, switch and remove schedules
    #[command(subcommand)]
    Schedules(schedules::Command),
    /// Put away what is past its time: numbers to the archive, documents for good
    #[command(subcommand)]
    Archive(archive::Command),
    /// Show the configuration in force
    #[command(subcommand)]
    Config(settings::ConfigCommand),
    /// Make keys that seal credentials, and replace one by another
    #[command(subcommand)]
    Keys(keys::Command),
    /// Show how collecting goes, what it is held against, and what should be done
    Health(health::HealthArguments),
    /// Ask the host at the configured address whether it is ready
    Ready,
    /// Compile a component; started by the host itself, in a process of limited memory and time
    #[command(hide = true)]
    CompileComponent(CompileArguments),
}

/// What the host tells the process that compiles: the limits in force, since it reads no configuration.
#[derive(clap::Args)]
struct CompileArguments {
    /// The component
    component: PathBuf,
    /// Where the compiled code goes
    compiled: PathBuf,
    /// Address space, in bytes
    memory_bytes_max: u64,
    /// Processor time, in seconds
    cpu_s_max: u64,
    /// Wall-clock time, in seconds; the host that started it keeps to it
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
        // Neither may fail for a configuration that it does not need.
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
            // It tells everything that is wrong at once.
            (Command::Serve(arguments), log) => {
                serve::run(&context, arguments, &global, log.as_ref().map_err(Clone::clone)).await
            }
            (_, Ok(_)) => perform(command, &context).await,
            (_, Err(failure)) => Err(failure.clone()),
        };
        if let Ok(log) = log {
            log.end().await;
        }
        outcome
    });
    // A compilation that nobody waits for any more must not keep the process.
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
        Command::Serve(_) => Err(Failure::failed("a service is started before other commands")),
        Command::Hosts(arguments) => hosts::run(context, &arguments).await,
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

/// What clap complains about, as one sentence: its first paragraph, its tips, and where to read on.
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
