//! `backline plugins dev`: whenever a project changes, builds it, packs it, replays its recordings, and shows what the
//! build changed in metrics and requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::check;
use super::project::{self, Project};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::output::{self, Access, Existing};
use crate::cli::terminal::print::{self, Tone};
use crate::pipeline::{TrialReport, replay_component};
use backline_component::pack;
use backline_model::row::Severity;

/// How often the project's files are looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Most lines of a failed build that are shown: the last ones have the reason.
const LINES_MAX: usize = 60;

/// Where the last build's results are kept, beside what the build writes.
const RESULTS_FILE: &str = "dev.json";

/// Arguments of `dev`.
#[derive(Args)]
pub(crate) struct DevArguments {
    /// The project's folder
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// Folder with recordings, one folder each; answers in the project unless given
    #[arg(long, value_name = "FOLDER")]
    answers: Option<PathBuf>,
    /// Build once, and end
    #[arg(long)]
    once: bool,
    /// Print JSON, one line for each build
    #[arg(long)]
    json: bool,
}

/// What a recording came to, in the form in which builds are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// By metric: the value, or why it is missing.
    metrics: BTreeMap<String, String>,
    /// Each request with its call and its answer, in order.
    requests: Vec<String>,
    /// Why it did not pass.
    problems: Vec<String>,
}

/// What a build came to.
#[derive(Debug, Serialize)]
struct Built {
    /// The packed component.
    file: PathBuf,
    /// Its size in bytes.
    size_bytes: usize,
    /// What each recording came to, by the name of its folder.
    recordings: BTreeMap<String, Seen>,
    /// What is not as with the build before; none if there was none.
    changes: Option<Vec<String>>,
}

/// Builds until it is stopped, or once. With `--once` the exit code tells whether every recording passed.
pub(in crate::cli::plugins) async fn dev(context: &Context, arguments: DevArguments) -> CommandResult {
    let DevArguments { folder, answers, once, json } = arguments;
    let project = Project::open(&folder)?;
    let answers = answers.unwrap_or_else(|| project.folder.join("answers"));
    loop {
        let before = marks(&project, &answers)?;
        let built = build(context, &project, &answers).await;
        let passed = built.as_ref().is_ok_and(|built| built.recordings.values().all(|seen| seen.problems.is_empty()));
        match &built {
            Ok(built) => show(built, json)?,
            Err(failure) if once => return Err(failure.clone()),
            Err(failure) if json => print::json_line(&failure.to_json())?,
            Err(failure) => print::note(&format!("error: {}", failure.message)),
        }
        if once {
            return Ok(if passed { Exit::Done } else { Exit::Failed });
        }
        if !json {
            print::note("waiting for a change; Ctrl-C ends");
        }
        while marks(&project, &answers)? == before {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The project's sources and recordings, with what shows that they changed.
fn marks(project: &Project, answers: &Path) -> Result<BTreeMap<PathBuf, project::Mark>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::failed(format!("{} can't be read: {error}; start again", project.folder.display()))
    };
    let mut marks = project::marks(&project.folder).map_err(unreadable)?;
    if !answers.starts_with(&project.folder) {
        marks.extend(project::marks(answers).map_err(unreadable)?);
    }
    Ok(marks)
}

async fn build(context: &Context, project: &Project, answers: &Path) -> Result<Built, Failure> {
    let Project { folder, stamp, language } = project;
    let build = language.build(&stamp.name);
    run_build(project)?;
    let core = folder.join(&build.output);
    let wasm = std::fs::read(&core).map_err(|error| {
        let output = &build.output;
        Failure::failed(format!("`{}` succeeded and wrote no {output}: {error}; let it write there", build.command))
    })?;
    let manifest = folder.join("connector.toml");
    let text = check::read_manifest(&manifest)?;
    if let Some(fault) = check::faults(&text).first() {
        return Err(Failure::usage(check::shown("connector.toml", fault)));
    }
    let component = pack(&wasm, &text).map_err(|error| Failure::from(error).about(&build.output))?;
    let file = folder.join(format!("{}.wasm", stamp.name));
    output::write(&file, &component, Access::Shared, Existing::updated())?;

    let folders = recordings_in(answers)?;
    let replayed = replay_component(context.config(), &context.clock, &component, &folders).await;
    let reports = replayed.map_err(|error| Failure::from(error).about(&file.display().to_string()))?;
    let name = |folder: &PathBuf| folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let recordings: BTreeMap<String, Seen> = folders.iter().map(name).zip(reports.iter().map(seen)).collect();

    let kept = core.with_file_name(RESULTS_FILE);
    // A file of another form says nothing about a build before.
    let before: Option<BTreeMap<String, Seen>> =
        std::fs::read(&kept).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let changes = before.map(|before| changes(&before, &recordings));
    let bytes = serde_json::to_vec(&recordings)
        .map_err(|error| Failure::failed(format!("failed to write {}: {error}", kept.display())))?;
    output::write(&kept, &bytes, Access::Shared, Existing::updated())?;
    Ok(Built { file, size_bytes: component.len(), recordings, changes })
}

/// Runs the project's own build. If it fails, its last lines are printed, and what is not installed is named.
fn run_build(project: &Project) -> Result<(), Failure> {
    let command = project.language.build(&project.stamp.name).command;
    let output = project::command(&command, &project.folder).output();
    let why = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => {
            let said =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            let lines: Vec<&str> = said.lines().collect();
            for line in &lines[lines.len().saturating_sub(LINES_MAX)..] {
                print::note(line);
            }
            output.status.to_string()
        }
        Err(error) => error.to_string(),
    };
    let missing = project::missing_tools(project.language, &project.folder, true);
    let remedies: Vec<String> =
        missing.iter().map(|tool| format!("{} is missing: {}", tool.name, tool.remedy)).collect();
    let remedy = if remedies.is_empty() { "fix what it says above".to_owned() } else { remedies.join("; ") };
    Err(Failure::failed(format!("`{command}` failed ({why}); {remedy}")))
}

/// The folders with a recording, in the order of their names.
fn recordings_in(answers: &Path) -> Result<Vec<PathBuf>, Failure> {
    let wrong = |error: std::io::Error| {
        Failure::usage(format!("{} can't be read: {error}; name a folder with recordings", answers.display()))
    };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(answers).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.join("recording.json").is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn seen(report: &TrialReport) -> Seen {
    let metric = |metric: &crate::pipeline::TrialMetric| {
        let value = metric.value.as_ref().and_then(|value| serde_json::to_value(value).ok());
        let absent = || format!("missing: {}", metric.absent.as_ref().map_or(String::new(), ToString::to_string));
        (metric.name.clone(), value.map_or_else(absent, |value: Json| value.to_string()))
    };
    let request = |request: &crate::pipeline::TrialRequestSent| {
        let result = match (request.status, &request.error) {
            (Some(status), _) => status.to_string(),
            (None, error) => error.clone().unwrap_or_default(),
        };
        format!("{}: {} {}: {result}", request.call.as_str(), request.method, request.url)
    };
    let mut problems: Vec<String> = report.not_recorded.clone();
    if let Some(Err(failure)) = &report.check {
        problems.push(format!("check: {}: {}", failure.class, failure.message));
    }
    if let Some((call, failure)) = &report.failed {
        problems.push(format!("{}: {}: {}", call.as_str(), failure.class, failure.message));
    }
    if report.cut > 0 {
        problems.push(format!("cut off: {} not sent", print::count(report.cut, "request")));
    }
    if problems.is_empty() && !report.passed() {
        let findings = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
        problems.extend(findings.map(|finding| format!("{}: {}", finding.rule, finding.message)));
    }
    Seen {
        metrics: report.metrics.iter().map(metric).collect(),
        requests: report.requests.iter().map(request).collect(),
        problems,
    }
}

/// What is not as before: recordings, metrics, requests, problems.
fn changes(before: &BTreeMap<String, Seen>, now: &BTreeMap<String, Seen>) -> Vec<String> {
    let mut changes = Vec::new();
    for name in before.keys().filter(|name| !now.contains_key(*name)) {
        changes.push(format!("{name}: the recording is gone"));
    }
    for (name, now) in now {
        let Some(before) = before.get(name) else {
            changes.push(format!("{name}: the recording is new"));
            continue;
        };
        let metrics: std::collections::BTreeSet<&String> = before.metrics.keys().chain(now.metrics.keys()).collect();
        for metric in metrics {
            let (old, new) = (before.metrics.get(metric), now.metrics.get(metric));
            if old != new {
                let shown = |value: Option<&String>| value.map_or("not reported", String::as_str).to_owned();
                changes.push(format!("{name}: {metric}: {} → {}", shown(old), shown(new)));
            }
        }
        for request in surplus(&before.requests, &now.requests) {
            changes.push(format!("{name}: no longer {request}"));
        }
        for request in surplus(&now.requests, &before.requests) {
            changes.push(format!("{name}: now {request}"));
        }
        for problem in surplus(&before.problems, &now.problems) {
            changes.push(format!("{name}: solved: {problem}"));
        }
    }
    changes
}

/// What the first list has more often than the second.
fn surplus<'a>(these: &'a [String], those: &[String]) -> Vec<&'a String> {
    let mut left: Vec<&String> = those.iter().collect();
    let is_surplus = |text: &&String| match left.iter().position(|other| other == text) {
        Some(index) => {
            left.swap_remove(index);
            false
        }
        None => true,
    };
    these.iter().filter(is_surplus).collect()
}

fn show(built: &Built, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return print::json_line(built);
    }
    let Built { file, size_bytes, recordings, changes } = built;
    print::toned(Tone::Strong, &format!("{} ({size_bytes} bytes)", file.display()))?;
    for (name, seen) in recordings {
        let Seen { metrics, requests, problems } = seen;
        let (metrics, requests) = (metrics.len() as u64, requests.len() as u64);
        let counts = format!("{}, {}", print::count(metrics, "metric"), print::count(requests, "request"));
        let (tone, result) = if problems.is_empty() { (Tone::Good, "passed") } else { (Tone::Bad, "failed") };
        print::toned(tone, &format!("{name}: {result}, {counts}"))?;
        for problem in problems {
            print::line(&print::hanging(&format!("  {problem}")))?;
        }
    }
    match changes.as_deref() {
        None => print::line("there was no build before to compare with"),
        Some([]) => print::line("metrics and requests are as before"),
        Some(changes) => changes.iter().try_for_each(|change| print::toned(Tone::Warning, &print::hanging(change))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(metrics: &[(&str, &str)], requests: &[&str], problems: &[&str]) -> Seen {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let metrics = metrics.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Seen { metrics, requests: owned(requests), problems: owned(problems) }
    }

    #[test]
    fn what_a_build_changed_is_named_and_nothing_else() {
        let old = seen(&[("followers", "7"), ("likes", "3")], &["fetch: GET /a: 200", "fetch: GET /a: 200"], &["late"]);
        let new = seen(&[("followers", "8"), ("plays", "1")], &["fetch: GET /a: 200", "fetch: GET /b: 200"], &[]);
        let by_name = |name: &str, seen: &Seen| BTreeMap::from([(name.to_owned(), seen.clone())]);
        assert_eq!(changes(&by_name("a1", &old), &by_name("a1", &old)), Vec::<String>::new());
        assert_eq!(
            changes(&by_name("a1", &old), &by_name("a1", &new)),
            [
                "a1: followers: 7 → 8",
                "a1: likes: 3 → not reported",
                "a1: plays: not reported → 1",
                "a1: no longer fetch: GET /a: 200",
                "a1: now fetch: GET /b: 200",
                "a1: solved: late",
            ]
        );
        let others = changes(&by_name("a1", &old), &by_name("a2", &old));
        assert_eq!(others, ["a1: the recording is gone", "a2: the recording is new"]);
    }

    #[test]
    fn folders_without_a_recording_are_left_out() {
        let answers = tempfile::tempdir().expect("a folder");
        for name in ["b", "a", "c"] {
            std::fs::create_dir(answers.path().join(name)).expect("made");
        }
        for name in ["b", "a"] {
            std::fs::write(answers.path().join(name).join("recording.json"), "{}").expect("written");
        }
        let found = recordings_in(answers.path()).expect("read");
        assert_eq!(found, [answers.path().join("a"), answers.path().join("b")]);
    }
}
