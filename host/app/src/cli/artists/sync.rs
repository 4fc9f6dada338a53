//! `backline artists sync`: synchronises artists and accounts with the artist platform's own table.

use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::{SyncReport, SyncRequest};
use backline_model::text::one_line;

/// Most invalid rows and differences that are printed; `--json` prints all of them.
const SHOWN: usize = 20;

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, request: SyncRequest, as_json: bool) -> CommandResult {
    let report = context.host().await?.artist_sync().sync(request).await?;
    if as_json {
        print::json(&report)?;
    } else {
        print_report(&report)?;
    }
    Ok(if report.bad.is_empty() { Exit::Done } else { Exit::Partial })
}

fn print_report(report: &SyncReport) -> Result<(), Failure> {
    for difference in report.differences.iter().take(SHOWN) {
        let line = one_line(&format!("{} {} {}", difference.what, difference.id, difference.about));
        print::line(line.trim_end())?;
    }
    more(report.differences.len())?;
    let would = if report.dry_run { "would be " } else { "" };
    print::line(&format!(
        "{}: {} {would}added, {} changed, {} switched off; accounts: {} {would}added, {} restored, {} switched off",
        print::count(report.rows, "row"),
        print::count(report.artists_added, "artist"),
        report.artists_changed,
        report.artists_removed,
        report.accounts_added,
        report.accounts_restored,
        report.accounts_removed,
    ))?;
    if report.speaks_of_consent {
        let (granted, withdrawn) = (report.consents_granted, report.consents_withdrawn);
        print::line(&format!("consents: {granted} {would}granted, {withdrawn} withdrawn"))?;
    } else {
        print::note(
            "no consent was recorded: the query has neither a column consents nor consent_<platform>, \
             and being listed is not consent; accounts stay excluded until consent is given",
        );
    }
    if report.withdrawals_kept > 0 {
        let kept = print::count(report.withdrawals_kept, "consent");
        print::note(&format!("{kept} in the table stay withdrawn, since the withdrawal was recorded in Backline"));
    }
    if report.erased_left_out > 0 {
        print::note(&format!(
            "{} left out; `backline privacy readmit ARTIST` allows one to come back",
            print::count(report.erased_left_out, "erased artist")
        ));
    }
    for bad in report.bad.iter().take(SHOWN) {
        let id = bad.id.as_deref().unwrap_or("no id");
        print::note(&one_line(&format!("row {} ({id}): {}: {}", bad.row, bad.column, bad.problem)));
    }
    if report.bad.len() > SHOWN {
        print::note(&format!("and {} more invalid rows; --json prints them all", report.bad.len() - SHOWN));
    }
    Ok(())
}

fn more(differences: usize) -> Result<(), Failure> {
    if differences > SHOWN {
        print::line(&format!("and {} more; --json prints them all", differences - SHOWN))?;
    }
    Ok(())
}
