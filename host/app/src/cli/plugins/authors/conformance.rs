//! `backline plugins conformance`: what is checked of a component, for people, as JSON and as JUnit.

use std::path::PathBuf;

use clap::Args;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::cli::context::Context;
use crate::cli::plugins::read_file;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::output::{Access, Existing, Output};
use crate::cli::terminal::print::{self, Tone};
use crate::pipeline::{CheckResult, CheckedWith, ConformanceReport, check_component};
use backline_model::manifest::Bypass;
use backline_model::text::printable;

/// Arguments of `conformance`.
#[derive(Args)]
pub(crate) struct ConformanceArguments {
    /// The packed component
    file: PathBuf,
    /// Folder with the recordings of at least three accounts, one folder each, as `try --record` writes them
    #[arg(long, value_name = "FOLDER")]
    answers: PathBuf,
    /// The packed component of the release before: what breaks readers or operators needs a new major version
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// File to write JUnit XML to, for CI; - for standard output
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    junit: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "junit")]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command. The exit code tells whether every check passed.
pub(in crate::cli::plugins) async fn check(context: &Context, arguments: ConformanceArguments) -> CommandResult {
    let ConformanceArguments { file, answers, before, junit, force, json } = arguments;
    let component = read_file(&file)?;
    let before = before.map(|path| read_file(&path)).transpose()?;
    let output = junit.map(|path| Output::open(&path, Access::Shared, Existing::forced(force))).transpose()?;
    let today = context.clock.now().date_naive();
    let with = CheckedWith { answers: &answers, before: before.as_deref(), today, sample: None };
    let checked = check_component(context.config().clone(), &component, with).await;
    let report = checked.map_err(|error| Failure::from(error).about(&file.display().to_string()))?;
    if json {
        print::json(&report)?;
    } else if !matches!(output, Some(Output::Stdout)) {
        show(&report)?;
    }
    if let Some(output) = output {
        let xml = junit_of(&report).to_string();
        let xml = xml.map_err(|error| Failure::failed(format!("failed to write JUnit: {error}")))?;
        output.finish_with(xml.as_bytes())?;
    }
    Ok(if report.passed() { Exit::Done } else { Exit::Failed })
}

fn show(report: &ConformanceReport) -> Result<(), Failure> {
    let ConformanceReport { connector, version, accounts, checks, .. } = report;
    print::toned(Tone::Strong, &format!("{connector} {version}, with the answers of {}", accounts.join(", ")))?;
    for check in checks {
        let cases = print::count(check.cases.into(), "case");
        let (tone, result) = match (check.findings.is_empty(), &check.bypassed, &check.skipped) {
            (false, Some(bypass), _) => {
                let Bypass { reason, until, .. } = bypass;
                (Tone::Plain, format!("bypassed until {until}: {reason}; {}", found(check)))
            }
            (false, None, _) => (Tone::Bad, format!("failed: {}", found(check))),
            (true, _, Some(why)) => (Tone::Plain, format!("not checked in full: {why}")),
            (true, _, None) => (Tone::Good, "passed".to_owned()),
        };
        print::toned(tone, &format!("{} ({cases}) {result}", check.name))?;
        for finding in &check.findings {
            let (case, message) = (print::hanging(&finding.case), print::hanging(&finding.message));
            print::line(&format!("  {case}\n    {message}"))?;
        }
        if check.more > 0 {
            print::line(&format!("  and {} more", check.more))?;
        }
    }
    let (may, must): (Vec<&CheckResult>, Vec<&CheckResult>) =
        checks.iter().filter(|check| check.failed()).partition(|check| check.can_be_bypassed);
    let names = |checks: &[&CheckResult]| checks.iter().map(|check| check.name).collect::<Vec<_>>().join(", ");
    if !must.is_empty() {
        print::note(&format!("these have to pass and can't be bypassed: {}", names(&must)));
    }
    if !may.is_empty() {
        let names = names(&may);
        print::note(&format!("a [[bypass]] in the manifest, with a reason and an end, may leave these out: {names}"));
    }
    Ok(())
}

fn found(check: &CheckResult) -> String {
    print::count(check.findings.len() as u64 + u64::from(check.more), "finding")
}

/// One test case for each check. The texts are the connector's and the platform's, so they are made printable.
fn junit_of(report: &ConformanceReport) -> Report {
    let name = format!("{} {}", report.connector, report.version);
    let mut suite = TestSuite::new(name.clone());
    for check in &report.checks {
        let mut status = match (check.failed(), &check.skipped, &check.bypassed) {
            (true, ..) => TestCaseStatus::non_success(NonSuccessKind::Failure),
            (false, None, None) => TestCaseStatus::success(),
            (false, ..) => TestCaseStatus::skipped(),
        };
        if let Some(Bypass { reason, until, .. }) = &check.bypassed {
            status.set_message(printable(&format!("bypassed until {until}: {reason}")));
        } else if !check.findings.is_empty() {
            let lines = check.findings.iter().map(|finding| format!("{}: {}", finding.case, finding.message));
            status.set_message(found(check)).set_description(printable(&lines.collect::<Vec<_>>().join("\n")));
        } else if let Some(why) = &check.skipped {
            status.set_message(printable(why));
        }
        let mut case = TestCase::new(check.name, status);
        case.set_classname(name.clone());
        suite.add_test_case(case);
    }
    let mut all = Report::new("backline conformance");
    all.add_test_suite(suite);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::CheckFinding;
    use backline_model::{Digest, Platform};

    #[test]
    fn junit_names_each_check_and_escapes_what_others_wrote() {
        let check = |name, findings, skipped: Option<&str>| CheckResult {
            name,
            cases: 1,
            skipped: skipped.map(str::to_owned),
            findings,
            more: 0,
            can_be_bypassed: name == "cost",
            bypassed: None,
        };
        let finding = CheckFinding { case: "<a1>".to_owned(), message: "\u{1b}[2J & more".to_owned() };
        let report = ConformanceReport {
            connector: "example".to_owned(),
            version: "1.0.0".to_owned(),
            digest: Digest::of(b""),
            platform: Platform::new("example").expect("a name"),
            accounts: vec!["a1".to_owned()],
            checks: vec![
                check("batch", vec![finding], None),
                check("ids", Vec::new(), None),
                check("cost", Vec::new(), Some("none is declared")),
            ],
        };
        let xml = junit_of(&report).to_string().expect("XML");
        assert!(xml.contains(r#"tests="3""#) && xml.contains(r#"failures="1""#), "{xml}");
        assert!(xml.contains("&lt;a1&gt;") && !xml.contains('\u{1b}'), "{xml}");
        assert!(xml.contains(r#"<testcase name="ids""#) && xml.contains("none is declared"), "{xml}");
    }
}
