//! `backline config check`: whether `serve` would take the configuration. Nothing is started, and nothing written.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::api::Tls;
use crate::cli::context::{Context, Global, Read};
use crate::cli::terminal::exit::{CommandResult, Exit, Failure, remedy, sentence};
use crate::cli::terminal::log::{self, Log};
use crate::cli::terminal::print::{self, Tone};
use crate::config::{self, masked_url};
use crate::pipeline::{self, Classified, ErrorClass};

/// Arguments of `backline config check`.
#[derive(Args)]
pub(in crate::cli) struct CheckArguments {
    /// Also open the database, and check what only it says: schema, key, tokens, clock, and names that nothing has
    #[arg(long)]
    connect: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What keeps a host from serving with the configuration.
#[derive(Serialize)]
struct Problem {
    /// The key or the section that it is about.
    key: String,
    message: String,
    /// What to do, where the message says it.
    remedy: Option<String>,
    #[serde(skip)]
    class: ErrorClass,
}

/// What was found.
#[derive(Serialize)]
struct Report {
    /// The configuration file; none where there is none.
    file: Option<PathBuf>,
    /// Whether a host would serve with it, as far as was checked.
    valid: bool,
    /// The database that was opened, without its password; none where it was not.
    database: Option<String>,
    problems: Vec<Problem>,
    /// What is worth a look, and keeps no host from serving.
    warnings: Vec<String>,
}

impl Report {
    fn add(&mut self, key: &str, error: &(impl Classified + 'static)) {
        self.add_failure(key, sentence(error), error.class());
    }

    /// A problem that another check has met already is told once.
    fn add_failure(&mut self, key: &str, message: String, class: ErrorClass) {
        if self.problems.iter().any(|known| known.message == message) {
            return;
        }
        let remedy = remedy(&message).map(str::to_owned);
        self.problems.push(Problem { key: key.to_owned(), message, remedy, class });
    }

    /// What a host that is misconfigured ends with, or one that could not find out.
    fn exit(&self) -> Exit {
        match self.problems.iter().find(|problem| problem.class == ErrorClass::Refused).or(self.problems.first()) {
            None => Exit::Done,
            Some(worst) => worst.class.into(),
        }
    }
}

/// Checks the configuration, and prints what was found.
pub(in crate::cli) async fn run(global: &Global, arguments: &CheckArguments) -> CommandResult {
    let Read { file, context } = Context::load_or_tell_all(global)?;
    let mut report = Report { file, valid: true, database: None, problems: Vec::new(), warnings: Vec::new() };
    match context {
        Ok(context) => check(&context, arguments.connect, &mut report).await,
        Err(errors) => {
            for error in &errors {
                report.add(error.key().unwrap_or("config"), error);
            }
        }
    }
    report.valid = report.problems.is_empty();
    if arguments.json {
        print::json(&report)?;
    } else {
        tell(&report)?;
    }
    Ok(report.exit())
}

/// What `serve` checks before it listens, but for what it would have to start or to load, and for other hosts.
async fn check(context: &Context, connect: bool, report: &mut Report) {
    let config = context.config();
    let log = match log::filter(&config.log) {
        Err(failure) => {
            report.add_failure("log.filter", failure.message, failure.class);
            None
        }
        Ok(_) => match Log::start(config) {
            Err(failure) => {
                report.add_failure("telemetry.otlp_endpoint", failure.message, failure.class);
                None
            }
            Ok(log) => Some(log),
        },
    };
    if let Some(Err(error)) = config.service.tls().map(|(certificate, key)| Tls::read(certificate, key)) {
        report.add("service.tls_certificate", &error);
    }
    let store = if connect {
        let opened = async {
            context.expect_database()?;
            context.open_any().await
        };
        match opened.await {
            Ok(store) => {
                report.database = Some(masked_url(&config.database.url));
                Some(store)
            }
            Err(failure) => {
                report.add_failure("database.url", failure.message, failure.class);
                None
            }
        }
    } else {
        None
    };
    let examined = pipeline::examine_config(config, &context.clock, store.as_ref()).await;
    for obstacle in &examined.obstacles {
        report.add(obstacle.key(), obstacle);
    }
    report.warnings.extend(examined.unknown.iter().map(|unknown| format!("{unknown}; it has no effect until it does")));
    report.warnings.extend(warnings(context));
    if let Some(store) = store {
        store.close().await;
    }
    if let Some(log) = log {
        log.end().await;
    }
}

/// What is worth a look in files and folders.
fn warnings(context: &Context) -> Vec<String> {
    let config = context.config();
    let mut warnings = context.database_warnings();
    if let Some((file, keys)) = context.loaded.secrets_in_file()
        && std::fs::metadata(file).is_ok_and(|data| config::is_open_to_others(&data))
    {
        let (path, keys) = (file.display(), keys.join(", "));
        warnings.push(format!("other users of this machine may read {keys} in {path}; run `chmod 600 {path}`"));
    }
    if config.secrets.key.is_none() && config.secrets.key_file.is_none() {
        warnings.push(
            "no key is configured, so that no credential can be stored; set secrets.key_file to one that `backline \
             keys generate` makes"
                .to_owned(),
        );
    }
    let folders =
        [("service.state_dir", &config.service.state_dir), ("installation.folder", &config.installation.folder)];
    for (key, folder) in folders {
        match folder {
            None => warnings.push(format!("no folder outlives the process; set {key}")),
            Some(folder) if is_another_thing(folder) => {
                warnings
                    .push(format!("{key}: {} is no folder; name one that the service may write to", folder.display()));
            }
            Some(_) => {}
        }
    }
    warnings
}

/// Whether something other than a folder is there. A folder that is missing is made when it is needed.
fn is_another_thing(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|data| !data.is_dir())
}

/// Prints the report for people: what is wrong on standard output, and what is worth a look beside it.
fn tell(report: &Report) -> Result<(), Failure> {
    for warning in &report.warnings {
        print::note(&format!("warning: {warning}"));
    }
    for Problem { key, message, .. } in &report.problems {
        // Most messages name the key themselves.
        let text = if message.contains(key.as_str()) { message.clone() } else { format!("{key}: {message}") };
        print::toned(Tone::Bad, &format!("- {text}"))?;
    }
    let what = match &report.file {
        Some(file) => file.display().to_string(),
        None => "the configuration, which has no file,".to_owned(),
    };
    match report.problems.len() {
        0 if report.database.is_some() => {
            print::toned(Tone::Good, &format!("{what} is valid, also beside the database"))
        }
        0 => print::toned(Tone::Good, &format!("{what} is valid; the database was not asked, as --connect does")),
        1 => print::toned(Tone::Strong, &format!("{what} has 1 problem")),
        several => print::toned(Tone::Strong, &format!("{what} has {several} problems")),
    }
}
