//! `backline plugins try`: one account through a component, without a database.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value as Json;

use crate::cli::access::credentials::read_secret;
use crate::cli::context::Context;
use crate::cli::plugins::read_file;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print::{self, Tone};
use crate::pipeline::words::decimal;
use crate::pipeline::{TrialMetric, TrialReport, TrialRequest, TrialRequestSent, try_component};
use backline_model::origin::OriginPattern;
use backline_model::row::Severity;

/// Arguments of `try`.
#[derive(Args)]
pub(crate) struct TryArguments {
    /// The packed component
    file: PathBuf,
    /// The platform's id of the account; that of the recording unless given
    #[arg(long, value_name = "ID", required_unless_present = "replay")]
    account: Option<String>,
    /// The account's settings
    #[arg(long, value_name = "JSON", value_parser = settings)]
    settings: Option<Json>,
    /// File with the secret of a slot, in the form that `credentials set` takes; may be repeated
    #[arg(long, value_name = "SLOT=FILE", value_parser = secret)]
    secret: Vec<(String, PathBuf)>,
    /// Send requests for an origin elsewhere, as `https://api.example.com=http://127.0.0.1:4123`; may be repeated
    #[arg(long, value_name = "ORIGIN=URL", value_parser = route)]
    route: Vec<(OriginPattern, url::Url)>,
    /// Folder to record the answers in, without secrets and personal texts; it must be new or empty
    #[arg(long, value_name = "FOLDER")]
    record: Option<PathBuf>,
    /// Folder of a recording to answer every request from; nothing is sent
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["record", "secret", "route"])]
    replay: Option<PathBuf>,
    /// Most requests of a call, retries and redirects included; what is beyond is refused, and the result says so
    #[arg(long, value_name = "N")]
    max_requests: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn settings(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}

fn secret(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((slot, file)) if !slot.is_empty() && !file.is_empty() => Ok((slot.to_owned(), file.into())),
        // The text is not repeated: it may be the secret itself.
        _ => Err("it is not SLOT=FILE; the secret is read from the file".to_owned()),
    }
}

fn route(text: &str) -> Result<(OriginPattern, url::Url), String> {
    let wrong = |why: String| format!("{why}; write https://api.example.com=http://127.0.0.1:4123");
    let (origin, connect) = text.split_once('=').ok_or_else(|| wrong("it has no =".to_owned()))?;
    let origin: OriginPattern = origin.parse().map_err(|error| wrong(format!("{error}")))?;
    let connect = connect.parse().map_err(|error| wrong(format!("the URL is not valid: {error}")))?;
    Ok((origin, connect))
}

/// Runs the command. The exit code tells whether everything worked.
pub(in crate::cli::plugins) async fn try_file(context: &Context, arguments: TryArguments) -> CommandResult {
    let TryArguments { file, account, settings, secret, route, record, replay, max_requests, json } = arguments;
    let component = read_file(&file)?;
    let mut secrets = Vec::new();
    for (slot, path) in secret {
        secrets.push((slot, read_secret(Some(&path))?.as_str().into()));
    }
    let request = TrialRequest {
        account,
        settings,
        secrets,
        routes: route,
        record: record.clone(),
        replay,
        requests_max: max_requests,
    };
    let tried = try_component(context.config().clone(), context.clock.clone(), &component, request).await;
    let failed = |error| Failure::from(error).about(&file.display().to_string());
    let (report, saved) = tried.map_err(failed)?;
    if json {
        print::json(&report)?;
    } else {
        show(&report)?;
    }
    saved.map_err(failed)?;
    if let Some(folder) = record {
        print::note(&format!("recorded in {}; read it before you publish it", folder.display()));
    }
    Ok(if report.passed() { Exit::Done } else { Exit::Failed })
}

fn show(report: &TrialReport) -> Result<(), Failure> {
    let TrialReport { connector, version, platform, account, .. } = report;
    let from = if report.replayed { ", from a recording" } else { "" };
    let at = print::time(report.observed_at);
    print::toned(Tone::Strong, &format!("{connector} {version} for {platform}, account {account}, {at}{from}"))?;
    match &report.check {
        Some(Ok(name)) => print::toned(Tone::Good, &print::hanging(&format!("check: {name}")))?,
        Some(Err(failure)) => {
            let said = format!("check: {}: {}", failure.class, failure.message);
            print::toned(Tone::Bad, &print::hanging(&said))?;
        }
        None => {}
    }
    heading(&format!("Requests ({})", report.requests.len()))?;
    for request in &report.requests {
        let is_good = request.status.is_some_and(|status| status < 400);
        let line = print::hanging(&format!("  {}", request_line(request)));
        print::toned(if is_good { Tone::Plain } else { Tone::Bad }, &line)?;
    }
    if let Some(document) = &report.document {
        heading("Document")?;
        print::line(&indented(document))?;
    }
    if let Some(state) = &report.state {
        heading("State for the next time")?;
        print::line(&indented(state))?;
    }
    if let Some((call, failure)) = &report.failed {
        heading("Failed")?;
        let said = format!("  {}: {}: {}", call.as_str(), failure.class, failure.message);
        print::toned(Tone::Bad, &print::hanging(&said))?;
    }
    if !report.metrics.is_empty() {
        heading("Metrics")?;
        print::table(&["metric", ">value", "missing because", "posts"], report.metrics.iter().map(metric).collect())?;
    }
    if let Some(score) = report.quality_score {
        print::line(&format!("\nquality {}", decimal(score, 2)))?;
    }
    for finding in &report.findings {
        let tone = if finding.severity == Severity::Error { Tone::Bad } else { Tone::Plain };
        let about = finding.metric.as_ref().map_or(String::new(), |metric| format!(" {metric}"));
        let line =
            format!("{:?} {}{about}: {}; {}", finding.severity, finding.rule, finding.message, finding.suggestion);
        print::toned(tone, &print::hanging(&line))?;
    }
    let notes = report.notes.iter().map(|note| format!("note: {note}"));
    let lost = report.lost_metrics.iter().map(|lost| format!("lost metric {}: {}", lost.name, lost.reason));
    for line in notes.chain(lost) {
        print::line(&print::hanging(&line))?;
    }
    if !report.log.is_empty() {
        heading("Log")?;
        for line in &report.log {
            let said = format!("  {} {:?}: {}", line.call.as_str(), line.level, line.message);
            print::line(&print::hanging(&said))?;
        }
    }
    for missing in &report.not_recorded {
        print::toned(Tone::Bad, &print::hanging(missing))?;
    }
    if report.cut > 0 {
        let cut = print::count(report.cut, "request");
        let line = format!(
            "cut off: {cut} not sent, since the bound was reached; numbers may be missing or be those of a part; \
             --max-requests, and requests_max and received_bytes_max under [gateway], allow more"
        );
        print::toned(Tone::Bad, &line)?;
    }
    print::line(&format!("\n{} ms of CPU time, {} KiB of memory", report.cpu_ms, report.memory_bytes_peak / 1024))
}

fn heading(text: &str) -> Result<(), Failure> {
    print::toned(Tone::Strong, &format!("\n{text}"))
}

fn request_line(request: &TrialRequestSent) -> String {
    let result = match (&request.status, &request.error) {
        (Some(status), _) => format!("{status}, {} bytes", request.bytes),
        (None, error) => error.clone().unwrap_or_default(),
    };
    let units: Vec<String> = request.units.iter().map(|(budget, units)| format!("{units} of {budget}")).collect();
    let cost = if units.is_empty() { String::new() } else { format!(", costs {}", units.join(" and ")) };
    let slot = request.slot.as_ref().map_or(String::new(), |slot| format!(", with {slot}"));
    let attempts = if request.attempts > 1 { format!(", sent {} times", request.attempts) } else { String::new() };
    let TrialRequestSent { call, method, url, wall_ms, .. } = request;
    format!("{}: {method} {url}: {result}, {wall_ms} ms{attempts}{slot}{cost}", call.as_str())
}

fn metric(metric: &TrialMetric) -> Vec<String> {
    let value = metric.value.as_ref().map_or(print::NONE.to_owned(), ToString::to_string);
    let absent = metric.absent.as_ref().map_or(String::new(), ToString::to_string);
    let covered = |coverage: &backline_model::snapshot::Coverage| {
        let skipped = if coverage.skipped > 0 { format!(", {} skipped", coverage.skipped) } else { String::new() };
        format!("{} counted{skipped}", coverage.counted)
    };
    vec![metric.name.clone(), value, absent, metric.coverage.as_ref().map_or(String::new(), covered)]
}

fn indented(value: &Json) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_by_its_file_and_never_repeated() {
        assert_eq!(secret("app=key.txt"), Ok(("app".to_owned(), "key.txt".into())));
        for text in ["canary-0123456789", "=canary-0123456789", "canary-0123456789="] {
            let error = secret(text).expect_err("refused");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_route_needs_an_origin_and_a_url() {
        assert!(route("https://api.example.com=http://127.0.0.1:4123").is_ok());
        for text in ["https://api.example.com", "api=http://127.0.0.1:1", "https://api.example.com=somewhere"] {
            assert!(route(text).expect_err("refused").contains("write https://"), "{text}");
        }
    }
}
