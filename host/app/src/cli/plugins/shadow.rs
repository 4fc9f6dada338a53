//! `backline plugins shadow`: compares a release with the active one, before it collects anything.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::{print, progress};
use crate::pipeline::{ShadowReport, ShadowRequest};
use backline_model::AccountId;
use backline_rules::shadow::{Comparison, MetricDifference};

/// Arguments of `backline plugins shadow`.
#[derive(Args)]
pub(crate) struct ShadowArguments {
    /// The connector's name
    name: String,
    /// The release's version, or the start of its digest
    version: String,
    /// Accounts whose latest stored document is normalised again
    #[arg(long, value_name = "N", default_value_t = 200)]
    documents: u32,
    /// Accounts to fetch now, with this release and with the active one; this spends budget and stores nothing
    #[arg(long, value_name = "N", default_value_t = 0)]
    fetch: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command. The exit code tells whether accounts would fail that did not before.
pub(super) async fn shadow(context: &Context, arguments: ShadowArguments) -> CommandResult {
    let host = context.host().await?;
    let release = host.releases().named(&arguments.name, Some(&arguments.version)).await?;
    let bar = progress::bar(0, "accounts");
    let request = ShadowRequest { documents: arguments.documents, fetch: arguments.fetch };
    let advance = |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    };
    let report = host.conformance().shadow(&release, request, &advance).await;
    bar.finish_and_clear();
    let report = report?;
    if arguments.json {
        print::json(&report)?;
        return Ok(ended(&report));
    }
    let info = &release.manifest.connector;
    print::line(&format!("{} {} compared on the latest stored documents:", info.name, info.version))?;
    print_comparison(&report.stored)?;
    if let Some(fetched) = &report.fetched {
        print::line("\ncompared on documents fetched now:")?;
        print_comparison(fetched)?;
    }
    Ok(ended(&report))
}

/// As with `plugins test`: failed where accounts would fail that did not before. Other differences are for a person to
/// judge.
fn ended(report: &ShadowReport) -> Exit {
    let fails = |comparison: &Comparison| !comparison.failed.is_empty();
    if fails(&report.stored) || report.fetched.as_ref().is_some_and(fails) { Exit::Failed } else { Exit::Done }
}

fn print_comparison(comparison: &Comparison) -> Result<(), Failure> {
    if comparison.accounts == 0 {
        print::note("no documents to compare");
        return Ok(());
    }
    let headers =
        ["metric", "?>equal", ">changed", ">lost", ">gained", "?>newly rejected", "?>no longer rejected", "example"];
    let rows = comparison.metrics.iter().map(|(metric, difference)| {
        let counts = [
            difference.equal,
            difference.changed,
            difference.lost,
            difference.gained,
            difference.newly_rejected,
            difference.no_longer_rejected,
        ];
        let counts = counts.map(|count| if count == 0 { print::NONE.to_owned() } else { count.to_string() });
        [vec![metric.to_string()], counts.to_vec(), vec![example(difference)]].concat()
    });
    print::table(&headers, rows.collect())?;
    for (class, accounts) in &comparison.failed {
        print::line(&format!(
            "{} of {} would fail: {}",
            accounts,
            print::count(comparison.accounts, "account"),
            class.as_str()
        ))?;
    }
    for failure in &comparison.failures {
        print::line(&print::hanging(&format!("  {}: {}", failure.account, failure.message)))?;
    }
    if comparison.fixed > 0 {
        print::line(&format!("{} that failed before would not fail", print::count(comparison.fixed, "account")))?;
    }
    if !comparison.differs() {
        print::line("no difference")?;
    }
    Ok(())
}

/// The largest change, or otherwise any account that differs.
fn example(difference: &MetricDifference) -> String {
    if let Some(largest) = &difference.largest {
        let percent = largest.percent.map_or_else(String::new, |percent| format!(" ({percent:+.1} %)"));
        return format!("{} → {}{percent} of {}", largest.before, largest.after, largest.account);
    }
    difference
        .examples
        .iter()
        .next()
        .map_or_else(String::new, |(what, account): (_, &AccountId)| format!("{} of {account}", what.replace('_', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::{Digest, FailureClass, Platform};

    #[test]
    fn the_exit_code_tells_whether_accounts_would_fail() {
        let failing = || Comparison { failed: [(FailureClass::Trapped, 1)].into(), ..Comparison::default() };
        let report = |stored, fetched| ShadowReport {
            platform: Platform::new("demo").expect("a name"),
            release: Digest::of(b"component"),
            version: "1.0.0".to_owned(),
            stored,
            fetched,
        };
        let also_before = Comparison { failed_before_too: 3, fixed: 2, ..Comparison::default() };
        assert_eq!(ended(&report(also_before, None)), Exit::Done);
        assert_eq!(ended(&report(failing(), None)), Exit::Failed);
        assert_eq!(ended(&report(Comparison::default(), Some(failing()))), Exit::Failed);
    }
}
