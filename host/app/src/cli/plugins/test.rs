//! `backline plugins test`: whether a release works with this installation's accounts and credentials.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit};
use crate::cli::terminal::print;
use backline_model::ReleaseState;

/// Stored documents that the release's `normalize` is called with.
const DOCUMENTS: u32 = 20;

/// Arguments of `backline plugins test`.
#[derive(Args)]
pub(crate) struct TestArguments {
    /// The connector's name
    name: String,
    /// The release's version, or the start of its digest; the highest version unless given
    version: Option<String>,
    /// Accounts to check with their credentials
    #[arg(long, value_name = "N", default_value_t = 3)]
    accounts: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command. The exit code tells whether every check passed.
pub(super) async fn test(context: &Context, arguments: TestArguments) -> CommandResult {
    let host = context.host().await?;
    let release = host.releases().named(&arguments.name, arguments.version.as_deref()).await?;
    let report = host.conformance().test(&release, DOCUMENTS, arguments.accounts).await?;
    if arguments.json {
        print::json(&report)?;
    } else {
        let info = &release.manifest.connector;
        let failed = report.not_normalised.len();
        print::line(&format!(
            "{} {} loads; {} of {} normalised",
            info.name,
            info.version,
            report.documents - failed as u64,
            print::count(report.documents, "stored document")
        ))?;
        for problem in &report.not_normalised {
            print::line(&print::hanging(&format!("  {problem}")))?;
        }
        for check in &report.checks {
            let text = check.problem.as_ref().or(check.name.as_ref()).map_or(print::NONE, String::as_str);
            let result = if check.problem.is_some() { "failed" } else { "passed" };
            print::line(&print::hanging(&format!("{} {result}: {text}", check.platform_id)))?;
        }
        if release.state != ReleaseState::Granted {
            print::note("no account was checked, since the release is not granted; `backline plugins grant` grants it");
        } else if report.checks.is_empty() && arguments.accounts > 0 {
            print::note("no account was checked, since none of the platform can be collected");
        }
    }
    Ok(if report.passed() { Exit::Done } else { Exit::Failed })
}
