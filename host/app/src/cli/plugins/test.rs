//! `backline plugins test`: whether a release works here, with the operator's own accounts and credentials.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::print;
use backline_model::ReleaseState;

/// Stored documents that `normalize` is tried with.
const DOCUMENTS: u32 = 20;

/// What `backline plugins test` takes.
#[derive(Args)]
pub(crate) struct TestArguments {
    /// The connector's name
    name: String,
    /// The release's version, or the beginning of its digest; the highest version unless given
    version: Option<String>,
    /// Accounts that are checked with their credentials
    #[arg(long, value_name = "N", default_value_t = 3)]
    accounts: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command. The exit code tells whether all was well.
pub(super) async fn test(context: &Context, arguments: TestArguments) -> Outcome {
    let host = context.host().await?;
    let release = host.releases().named(&arguments.name, arguments.version.as_deref()).await?;
    let report = host.conformance().test(&release, DOCUMENTS, arguments.accounts).await?;
    if arguments.json {
        print::json(&report)?;
    } else {
        let info = &release.manifest.connector;
        let wrong = report.not_normalised.len();
        print::line(&format!(
            "{} {} loads; {} of {} normalised",
            info.name,
            info.version,
            report.documents - wrong as u64,
            print::count(report.documents, "stored document")
        ))?;
        for problem in &report.not_normalised {
            print::line(&format!("  {problem}"))?;
        }
        for check in &report.checks {
            let said = check.problem.as_ref().or(check.name.as_ref()).map_or(print::NONE, String::as_str);
            let sign = if check.problem.is_some() { "can't be reached: " } else { "is " };
            print::line(&format!("{} {sign}{said}", check.platform_id))?;
        }
        if release.state != ReleaseState::Granted {
            print::note("it is not granted, and no account was checked; `backline plugins grant` grants it");
        } else if report.checks.is_empty() && arguments.accounts > 0 {
            print::note("no account of the platform can be collected, and none was checked");
        }
    }
    Ok(if report.passed() { Exit::Done } else { Exit::Failed })
}
