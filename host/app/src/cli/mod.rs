//! The command line, in three phases: parse the arguments, read the configuration, run the command.
//!
//! Each group of commands has a file, which reads arguments and prints sentences, tables or JSON. The work itself is in
//! [`crate::pipeline`] and [`backline_store`]. Commands lie in folders by what they are about: `artists`, `work`,
//! `numbers`, `events`, `plugins`, `access` and `service`.
//!
//! What they share: `arguments` reads ids, names and dates as people type them, `terminal` prints and writes files, and
//! `context` opens the database. A new command stands in `Command` here, in `examples` and in `audited`; tests compare
//! these.

mod access;
mod arguments;
mod artists;
mod audited;
mod completions;
mod context;
mod events;
mod examples;
mod numbers;
mod plugins;
mod service;
mod terminal;
mod work;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use access::{audit, credentials, keys, tokens};
use artists::{accounts, consents, privacy};
use context::{Context, Global};
use events::{alerts, webhooks};
use numbers::{archive, metrics, quarantine};
use service::{check, demo, health, hosts, installation, ready, serve, settings};
use terminal::exit::{self, CommandResult, Exit, Failure};
use terminal::log::Log;
use terminal::print;
use work::{backfill, batches, bulk, pauses, run, runs, schedules};

/// Collects artists' daily metrics from many platforms, each through a sandboxed connector.
#[derive(Parser)]
#[command(name = "backline", version = crate::config::VERSION)]
#[command(arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
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
    Plugins(Box<plugins::Command>),
    /// Show what a run would do: batches, requests, budget units, duration
    Plan(run::PlanArguments),
    /// Collect on schedule until stopped; several hosts can share one PostgreSQL database
    Serve(serve::ServeArguments),
    /// Try Backline without keys: simulated platforms, some weeks of history, dashboard and API
    Demo(demo::DemoArguments),
    /// List the hosts that use this database
    Hosts(hosts::HostsArguments),
    /// Collect now
    Run(run::RunArguments),
    /// Collect past dates of a platform that tells them; prints the forecast first
    Backfill(backfill::BackfillArguments),
    /// Show collected metrics
    Metrics(metrics::MetricsArguments),
    /// Show how metrics changed over 1, 7, 28 and 90 days
    Growth(metrics::NumbersArguments),
    /// List, release and discard values that failed validation
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// List and show runs
    #[command(subcommand)]
    Runs(runs::Command),
    /// List and show batches, retry dead ones, and release deferred ones
    #[command(subcommand)]
    Batches(batches::Command),
    /// Act on everything that a filter shows: count, start, watch and cancel
    #[command(subcommand)]
    Bulk(bulk::Command),
    /// List the pauses that platforms asked for, and end them
    #[command(subcommand)]
    Pauses(pauses::Command),
    /// Follow and show events
    #[command(subcommand)]
    Events(events::Command),
    /// Deliver events to other systems: webhooks, the AI trigger, push notifications
    #[command(subcommand)]
    Webhooks(webhooks::Command),
    /// Tell people about events: Slack, mail, PagerDuty, Opsgenie, with routes and quiet hours
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// List, add, remove, enable and disable schedules
    #[command(subcommand)]
    Schedules(schedules::Command),
    /// Move old metrics to the archive, and delete old documents
    #[command(subcommand)]
    Archive(archive::Command),
    /// Show and check the configuration
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
    Ready(ready::ReadyArguments),
    /// Print a script that teaches a shell to complete commands
    Completions(completions::CompletionsArguments),
    /// Print the manual page, or write one for each command
    Manual(completions::ManualArguments),
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
    #[cfg(feature = "weakened")]
    crate::config::let_go_wrong();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let as_json = asks_for_json(&arguments);
    match start(&arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            print::failure(&failure, as_json);
            failure.exit.into()
        }
    }
}

/// All commands, with their examples.
fn command_line() -> clap::Command {
    examples::with_examples(Arguments::command())
}

/// Whether errors are to be JSON too. It is read from the words themselves, so that also those that are refused are.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

fn start(arguments: &[OsString]) -> CommandResult {
    let matches = match command_line().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            print::help(&error.render())?;
            return Ok(Exit::Done);
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            print::note(error.to_string().trim_end());
            return Ok(Exit::Usage);
        }
        Err(error) => return Err(Failure::usage(usage_sentence(&error, arguments))),
    };
    let Arguments { global, command } =
        Arguments::from_arg_matches(&matches).map_err(|error| Failure::usage(usage_sentence(&error, arguments)))?;
    print::begin(global.wide);
    let command = match command {
        // None of these needs the configuration, so that a wrong one must not make it fail.
        Command::CompileComponent(arguments) => return compile(&arguments),
        Command::Keys(keys::Command::Generate { file, json }) => return keys::generate(file.as_deref(), json),
        Command::Completions(arguments) => return completions::completions(command_line(), &arguments),
        Command::Manual(arguments) => return completions::manual(command_line(), &arguments),
        // It makes one of its own.
        Command::Demo(arguments) => return demo::run(&global, &arguments),
        // It tells of a wrong one.
        Command::Config(settings::ConfigCommand::Check(arguments)) => {
            return in_runtime(check::run(&global, &arguments));
        }
        command => command,
    };
    let context = match &command {
        Command::Serve(arguments) => arguments.context(&global)?,
        _ => Context::load(&global, &[])?,
    };
    in_runtime(async {
        let log = Log::start(context.config());
        let outcome = match (&command, &log) {
            // It reports a wrong log filter together with all other problems.
            (Command::Serve(arguments), log) => {
                serve::run(&context, arguments, &global, log.as_ref().map_err(Clone::clone)).await
            }
            (_, Ok(_)) => {
                // Before the command: afterwards a name may be another one's, or no one's.
                let meant = audited::meant(&context, &matches).await;
                let outcome = perform(command, &context).await;
                audited::record(&context, &matches, &meant, &outcome).await;
                outcome
            }
            (_, Err(failure)) => Err(failure.clone()),
        };
        if let Ok(log) = log {
            log.end().await;
        }
        outcome
    })
}

/// Runs a command on a runtime of its own.
fn in_runtime(command: impl Future<Output = CommandResult>) -> CommandResult {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("failed to start the runtime: {error}")))?;
    let outcome = runtime.block_on(command);
    // An abandoned compilation must not keep the process alive.
    runtime.shutdown_timeout(RUNTIME_ENDS_WITHIN);
    outcome
}

async fn perform(command: Command, context: &Context) -> CommandResult {
    match command {
        Command::Migrate(arguments) => settings::migrate(context, &arguments).await,
        Command::Artists(command) => artists::run(context, command).await,
        Command::Accounts(command) => accounts::run(context, command).await,
        Command::Consents(command) => consents::run(context, command).await,
        Command::Privacy(command) => privacy::run(context, command).await,
        Command::Credentials(command) => credentials::run(context, command).await,
        Command::Plugins(command) => plugins::run(context, *command).await,
        Command::Plan(arguments) => run::plan(context, arguments).await,
        Command::Serve(_) => Err(Failure::failed("`backline serve` is started before other commands")),
        Command::Demo(_) => Err(Failure::failed("`backline demo` is started before other commands")),
        Command::Hosts(arguments) => hosts::run(context, &arguments).await,
        Command::Installation(command) => installation::run(context, command).await,
        Command::Tokens(command) => tokens::run(context, command).await,
        Command::Audit(command) => audit::run(context, command).await,
        Command::Health(arguments) => health::run(context, arguments).await,
        Command::Ready(arguments) => ready::run(context, &arguments).await,
        Command::Run(arguments) => run::run(context, arguments).await,
        Command::Backfill(arguments) => backfill::run(context, arguments).await,
        Command::Metrics(arguments) => metrics::metrics(context, arguments).await,
        Command::Growth(arguments) => metrics::growth(context, arguments).await,
        Command::Quarantine(command) => quarantine::run(context, command).await,
        Command::Runs(command) => runs::run(context, command).await,
        Command::Batches(command) => batches::run(context, command).await,
        Command::Bulk(command) => bulk::run(context, command).await,
        Command::Pauses(command) => pauses::run(context, command).await,
        Command::Events(command) => events::run(context, command).await,
        Command::Webhooks(command) => webhooks::run(context, command).await,
        Command::Alerts(command) => alerts::run(context, command).await,
        Command::Schedules(command) => schedules::run(context, command).await,
        Command::Archive(command) => archive::run(context, command).await,
        Command::Config(settings::ConfigCommand::Show { json }) => settings::show(context, json).await,
        Command::Config(settings::ConfigCommand::Check(_)) => {
            Err(Failure::failed("`backline config check` is started before other commands"))
        }
        Command::Keys(command) => keys::run(context, command).await,
        Command::CompileComponent(arguments) => compile(&arguments),
        Command::Completions(arguments) => completions::completions(command_line(), &arguments),
        Command::Manual(arguments) => completions::manual(command_line(), &arguments),
    }
}

fn compile(arguments: &CompileArguments) -> CommandResult {
    let &CompileArguments { memory_bytes_max, cpu_s_max, wall_s_max, .. } = arguments;
    let limits = backline_sandbox::CompileLimits { memory_bytes_max, cpu_s_max, wall_s_max };
    match backline_sandbox::compile::child_main(&arguments.component, &arguments.compiled, &limits) {
        Ok(lines) => {
            // Read by the process that started this one.
            lines.iter().for_each(|line| print::note(line));
            Ok(Exit::Done)
        }
        Err(error) => Err(Failure::failed(exit::sentence(&error))),
    }
}

/// A usage error as one sentence: the first paragraph of clap's text, its tips, and the `--help` to read.
fn usage_sentence(error: &clap::Error, arguments: &[OsString]) -> String {
    let text = error.to_string();
    let mut parts: Vec<String> = Vec::new();
    let problem: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    parts.push(problem.join(" ").trim_start_matches("error: ").trim_end_matches(':').to_owned());
    parts.extend(text.lines().filter_map(|line| Some(line.trim().strip_prefix("tip: ")?.to_owned())));
    parts.push(format!("see `{} --help`", typed_command(arguments)));
    parts.join("; ")
}

/// The command that was typed, as far as there is one.
fn typed_command(arguments: &[OsString]) -> String {
    let mut root = Arguments::command();
    root.build();
    let mut command = &root;
    let mut typed = command.get_name().to_owned();
    let mut words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        if let Some(option) = word.strip_prefix("--") {
            let takes_value =
                |argument: &clap::Arg| argument.get_long() == Some(option) && argument.get_action().takes_values();
            if command.get_arguments().any(takes_value) {
                words.next();
            }
            continue;
        }
        match command.find_subcommand(&*word) {
            Some(below) => {
                typed = format!("{typed} {}", below.get_name());
                command = below;
            }
            None => break,
        }
    }
    typed
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use std::any::TypeId;

    use super::*;
    use backline_model::{AccountId, ArtistId, BatchId, RunId, TokenId};

    /// Every command that can be run, with its words.
    pub(in crate::cli) fn leaves() -> Vec<(String, clap::Command)> {
        fn walk(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
            let below = || command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
            if !path.is_empty() && (below().count() == 0 || !command.is_subcommand_required_set()) {
                found.push((path.to_owned(), command.clone()));
            }
            for below in below() {
                walk(below, format!("{path} {}", below.get_name()).trim_start(), found);
            }
        }
        let mut root = command_line();
        root.build();
        let mut found = Vec::new();
        walk(&root, "", &mut found);
        found
    }

    #[test]
    fn every_command_prints_json_but_those_whose_output_is_for_one_reader() {
        let exempt = [
            // Run until they are stopped; the log has a format of its own.
            "serve",
            "demo",
            // Scripts for shells, pages for man, and what is JSON anyway.
            "completions",
            "manual",
            "plugins schema",
        ];
        for (path, command) in leaves() {
            let has = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
            assert_eq!(has, !exempt.contains(&path.as_str()), "{path}");
        }
    }

    #[test]
    fn no_command_takes_a_whole_id_only() {
        let ids = [
            TypeId::of::<ArtistId>(),
            TypeId::of::<AccountId>(),
            TypeId::of::<RunId>(),
            TypeId::of::<BatchId>(),
            TypeId::of::<TokenId>(),
            TypeId::of::<uuid::Uuid>(),
        ];
        for (path, command) in leaves() {
            for argument in command.get_arguments() {
                // The id of an artist that there is not yet.
                let is_new = path == "artists add" && argument.get_id() == "id";
                let takes_id = ids.iter().any(|id| argument.get_value_parser().type_id() == *id);
                assert!(!takes_id || is_new, "{path}: {} takes no beginning and no name", argument.get_id());
            }
        }
    }

    #[test]
    fn own_options_come_before_global_ones() {
        for (path, mut command) in leaves() {
            let help = command.render_help().to_string();
            assert!(help.contains("Global options:"), "{path}");
            let (own, global) = help.split_once("Global options:").expect("there");
            assert!(global.contains("--wide") && !own.contains("--wide"), "{path}: {help}");
            let own_options = command.get_arguments().filter(|argument| !argument.is_global_set());
            for option in own_options.filter_map(|argument| argument.get_long()) {
                assert!(own.contains(&format!("--{option}")), "{path}: --{option} is below the global options");
            }
        }
    }

    #[test]
    fn errors_are_json_where_it_is_asked_for() {
        let asks = |line: &str| asks_for_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(asks("backline runs show x --json") && asks("backline --json rnu"));
        assert!(!asks("backline runs list") && !asks("backline artists add -- --json"));
    }

    #[test]
    fn a_command_that_needs_no_other_word_has_a_help_word() {
        for line in [&["backline", "help"][..], &["backline", "help", "runs", "show"], &["backline", "runs", "help"]] {
            let error = command_line().try_get_matches_from(line).expect_err("help is shown");
            assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{line:?}");
        }
    }

    fn problem(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let error = command_line().try_get_matches_from(&arguments).expect_err("refused");
        usage_sentence(&error, &arguments)
    }

    #[test]
    fn the_commands_are_consistent() {
        command_line().debug_assert();
    }

    #[test]
    fn problems_are_one_sentence_with_a_remedy() {
        let text = problem(&["backline", "run", "--dat", "2026-11-20"]);
        assert_eq!(
            text,
            "unexpected argument '--dat' found; a similar argument exists: '--date'; see `backline run --help`"
        );
        let text = problem(&["backline", "run", "--date", "2026-02-30"]);
        assert!(
            text.starts_with(
                "invalid value '2026-02-30' for '--date <DATE>': it is not a calendar date; write YYYY-MM-DD"
            ),
            "{text}"
        );
        assert!(text.ends_with("; see `backline run --help`"), "{text}");
        let text =
            problem(&["backline", "--config", "run", "--log=off", "webhooks", "rotate-secret", "--keep-old", "x"]);
        assert!(text.ends_with("; see `backline webhooks rotate-secret --help`"), "{text}");
        let text = problem(&["backline", "rnu"]);
        assert!(text.starts_with("unrecognized subcommand 'rnu'") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn every_remedy_that_health_recommends_is_a_command() {
        let report = backline_rules::health::fixtures::everything_wrong();
        assert!(report.recommendations.len() > 12, "{:?}", report.recommendations);
        for recommendation in report.recommendations {
            let words = recommendation.remedy.split(' ');
            let parsed = command_line().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{}: {}", recommendation.remedy, parsed.expect_err("refused"));
        }
    }

    #[test]
    fn no_secret_can_be_given_as_an_argument() {
        let text = problem(&["backline", "credentials", "set", "youtube", "app", "canary"]);
        assert!(text.contains("unexpected argument"), "{text}");
    }
}
