//! `backline plugins install`: from a source to an active release, with the operator's approval.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::describe::description;
use super::source::SourceArguments;
use super::{listed, version_of};
use crate::cli::arguments::values;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::{
    Approve, CheckedWith, Ended, InstallOptions, Installed, Obtained, Proposal, Subject, check_component,
};
use backline_model::{Grant, ReleaseState};

/// Largest grant file that is read, in bytes; the one of the largest first-party connector has under 4 KiB.
const GRANT_BYTES_MAX: u64 = 256 * 1024;

/// What the operator approves in advance.
#[derive(clap::Args)]
pub(super) struct ApproveArguments {
    /// Grant everything it asks for, without a question
    #[arg(long, conflicts_with = "grant_file")]
    yes: bool,
    /// Grant what this file allows, as `backline plugins grant NAME --print` writes it; a release that asks for more
    /// waits
    #[arg(long, value_name = "FILE")]
    grant_file: Option<PathBuf>,
}

impl ApproveArguments {
    /// What was approved in advance; none if the user has to be asked.
    pub(super) fn approve(&self) -> Result<Option<Approve>, Failure> {
        match &self.grant_file {
            Some(file) => Ok(Some(Approve::Only(read_grant(file)?))),
            None => Ok(self.yes.then_some(Approve::All)),
        }
    }
}

/// Arguments of `install`.
#[derive(clap::Args)]
pub(crate) struct InstallArguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    approve: ApproveArguments,
    /// Keep the active release; `backline plugins activate` activates this one later
    #[arg(long)]
    no_activate: bool,
    /// Allow a version below the active one
    #[arg(long)]
    allow_downgrade: bool,
    /// Limit of a budget, if the platform gave you another than the manifest's, such as units=50000; may be repeated
    #[arg(long, value_name = "NAME=UNITS", value_parser = values::budget)]
    budget: Vec<(String, u64)>,
    /// Install it only if it passes every check of `plugins conformance` with the recordings in this folder
    #[arg(long, value_name = "ANSWERS")]
    strict: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn install(context: &Context, arguments: InstallArguments) -> CommandResult {
    let InstallArguments { source, approve, no_activate, allow_downgrade, budget, strict, json } = arguments;
    let approve = approve.approve()?;
    let Obtained { component, source: origin, signed_by, .. } = source.obtain(context, false).await?;
    if let Some(answers) = &strict {
        expect_conformance(context, &component, answers).await.map_err(|why| why.about(&source.source.to_string()))?;
    }
    let host = context.host().await?;
    let about = |error| Failure::from(error).about(&source.source.to_string());
    let approve = match approve {
        Some(approve) => approve,
        None => ask(&host.releases().propose(&component).await.map_err(about)?)?,
    };
    let options = InstallOptions {
        approve,
        allow_downgrade,
        activate: !no_activate,
        budgets: budget.into_iter().collect(),
        source: origin,
        signed_by,
        ..InstallOptions::default()
    };
    let installed = host.releases().install(&component, &options).await.map_err(about)?;
    context.subjects.made(Subject::Release(installed.release.digest));
    say("installed", &installed, json)
}

/// Refuses a component that fails a check with these recordings.
async fn expect_conformance(context: &Context, component: &[u8], answers: &Path) -> Result<(), Failure> {
    let with = CheckedWith { answers, before: None, today: context.clock.now().date_naive(), sample: None };
    let report = check_component(context.config().clone(), component, with).await?;
    for bypass in report.bypassed() {
        let check = bypass.check.as_str();
        print::note(&format!("its manifest bypasses {check} until {}: {}", bypass.until, bypass.reason));
    }
    let failed = report.failed();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "it was not installed, since it fails {}; `backline plugins conformance` shows what was found",
        failed.join(", ")
    )))
}

/// Asks the operator to approve what needs approval. An update that asks for more than is granted is installed and
/// waits; a new connector is not installed without approval.
fn ask(proposal: &Proposal) -> Result<Approve, Failure> {
    if !proposal.needs_approval() {
        return Ok(Approve::Nothing);
    }
    let (name, version) = version_of(&proposal.inspection.manifest);
    let is_terminal = std::io::stdin().is_terminal();
    if proposal.before.is_some() {
        if is_terminal {
            print::note(&format!("{name} {version} asks for more than {name} is granted:\n{}", proposal.difference));
        }
        let yes = is_terminal && confirmed(&format!("Grant {name} all of this?"))?;
        return Ok(if yes { Approve::All } else { Approve::Nothing });
    }
    print::note(&description(&(&proposal.inspection).into()));
    if !is_terminal {
        return Err(Failure::usage(format!(
            "{name} was not installed: confirmation needs a terminal; \
             read the above and repeat with --yes or --grant-file"
        )));
    }
    if confirmed(&format!("Grant {name} all of this?"))? {
        Ok(Approve::All)
    } else {
        Err(Failure::usage(format!("{name} was not installed: the answer was no")))
    }
}

/// Asks at the terminal; anything but `y` or `yes` is no.
pub(super) fn confirmed(question: &str) -> Result<bool, Failure> {
    print::note(&format!("\n{question} [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// Prints how an installation or an approval ended.
pub(super) fn say(done: &str, installed: &Installed, as_json: bool) -> CommandResult {
    let Installed { release, difference, ended } = installed;
    let (name, version) = version_of(&release.manifest);
    let exit = match ended {
        Ended::Activated | Ended::Granted => Exit::Done,
        Ended::Waiting => Exit::Waiting,
        Ended::Refused => Exit::Usage,
    };
    if as_json {
        let mut shown = listed(release);
        shown["ended"] = json!(ended);
        shown["difference"] = json!(difference);
        print::json(&shown)?;
        return Ok(exit);
    }
    let what = format!("{done} {name} {version} ({})", release.digest.short());
    match ended {
        Ended::Activated => print::line(&format!("{what}: active for {}", release.platform()))?,
        Ended::Granted => {
            print::line(&format!("{what}: granted; `backline plugins activate {name} {version}` activates it"))?;
        }
        Ended::Waiting => {
            print::line(&difference.to_string())?;
            print::note(&format!(
                "{name} {version} asks for more than it is granted, and waits; the active release continues; \
                 `backline plugins grant {name} {version}` grants it"
            ));
        }
        Ended::Refused => {
            let state = release.state.as_str();
            let reason = release.state_reason.as_deref().unwrap_or("no reason was given");
            let remedy = match release.state {
                ReleaseState::Withdrawn => {
                    format!(
                        "once the cause is fixed, `backline plugins activate {name} {version} --again` brings it back"
                    )
                }
                _ => format!("`backline plugins grant {name} {version}` grants it again"),
            };
            return Err(Failure::usage(format!(
                "{name} {version} is installed already and {state} ({reason}); {remedy}"
            )));
        }
    }
    Ok(exit)
}

fn read_grant(path: &Path) -> Result<Grant, Failure> {
    let wrong = |why: String| Failure::usage(format!("the grant file {} {why}", path.display()));
    let data = std::fs::metadata(path).map_err(|error| wrong(format!("can't be read: {error}")))?;
    if !data.is_file() || data.len() > GRANT_BYTES_MAX {
        return Err(wrong(format!("is not a file of at most {GRANT_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("can't be read: {error}")))?;
    toml::from_str(&text).map_err(|error| {
        let problem: Vec<_> = error.message().lines().map(str::trim).collect();
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        wrong(format!(
            "is wrong in line {line}: {}; `backline plugins grant NAME --print` shows the format",
            problem.join(" ")
        ))
    })
}
