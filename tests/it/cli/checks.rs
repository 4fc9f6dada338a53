//! Tests of the conformance checks: connectors with one mistake each, and what is right.

use std::path::Path;

use backline::config::Config;
use backline::pipeline::{ConformanceReport, check_component};
use serde_json::{Value as Json, json};

use super::Place;
use crate::support::components::guest;

/// Recordings of three accounts of the mistaken guest.
pub(super) fn record(folder: &Path, settings: &Json) {
    for (account, followers, likes) in [("a1", 1_007, [20, 3]), ("a12", 19_007, [400, 77]), ("b", 46_007, [9, 1])] {
        let body = json!({
            "id": account, "name": "text 1", "followers": followers,
            "posts": [{ "likes": likes[0] }, { "likes": likes[1] }],
        });
        let about = json!({
            "format": 1, "connector": "mistaken 1.0.0", "account": account, "settings": settings,
            "observed_at": "2026-11-28T12:00:00Z",
            "window": { "since": "2026-10-31T12:00:00Z", "until": "2026-11-28T12:00:00Z" },
        });
        let url = format!("https://api.example.com/artists/{account}");
        let recorded = json!({
            "request": { "method": "GET", "url": url },
            "answer": { "status": 200, "headers": { "content-type": "application/json" }, "json": body },
        });
        let folder = folder.join(account);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("recording.json"), about.to_string()).expect("written");
        std::fs::write(folder.join("001.json"), recorded.to_string()).expect("written");
    }
}

async fn checked(component: &[u8], mistake: &str) -> ConformanceReport {
    let folder = tempfile::tempdir().expect("a folder");
    record(folder.path(), &json!({ "mistake": mistake }));
    let report = check_component(Config::default(), component, folder.path()).await;
    report.unwrap_or_else(|error| panic!("{mistake}: {error}"))
}

#[tokio::test]
async fn each_mistake_is_caught_by_its_check_and_what_is_right_is_not() {
    let component = guest("mistaken");
    let right = checked(&component, "none").await;
    assert!(right.passed(), "{right:#?}");
    assert!(right.checks.iter().all(|check| check.skipped.is_none() && check.cases > 0), "{right:#?}");

    for (mistake, by) in [
        ("reversed", "batch"),
        ("rotated", "batch"),
        ("drops one", "batch"),
        ("all or nothing", "isolation"),
        ("other host", "recorded"),
        ("zero", "values"),
        ("float", "values"),
        ("absolute", "values"),
        ("32 bits", "values"),
        ("made up", "values"),
        ("negative is zero", "values"),
        ("saturates", "values"),
        ("length", "values"),
        ("trap", "faults"),
        ("no shape", "faults"),
        ("outage is nobody", "faults"),
        ("outage is zero", "faults"),
        ("never not found", "faults"),
        ("no wait", "faults"),
        ("bad body is nobody", "faults"),
        ("outage is broken", "faults"),
        ("refused is nobody", "faults"),
        ("refused key is an outage", "faults"),
        ("gone is throttled", "faults"),
        ("throttled is down", "faults"),
        ("raw id", "ids"),
        ("chatty", "cost"),
        ("twice", "catalogue"),
        ("undeclared", "catalogue"),
        ("wrong kind", "catalogue"),
        ("forgets", "catalogue"),
        ("hides", "declared"),
    ] {
        let report = checked(&component, mistake).await;
        let caught: Vec<&str> =
            report.checks.iter().filter(|check| !check.findings.is_empty()).map(|check| check.name).collect();
        assert!(caught.contains(&by), "{mistake} is caught by {caught:?}: {report:#?}");
    }
}

#[test]
fn the_command_says_what_it_found_and_writes_junit() {
    let place = Place::empty();
    std::fs::write(place.path().join("c.wasm"), guest("mistaken")).expect("written");
    let folder = tempfile::tempdir().expect("a folder");
    record(folder.path(), &json!({ "mistake": "zero" }));
    let answers = folder.path().to_string_lossy().into_owned();
    let output = place.run(&["plugins", "conformance", "c.wasm", "--answers", &answers, "--junit", "report.xml"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("followers is 0; it may be what stands there, or missing"), "{said}");
    let xml = std::fs::read_to_string(place.path().join("report.xml")).expect("a report");
    assert!(xml.contains(r#"<testcase name="values""#) && xml.contains("failure"), "{xml}");

    let again = ["plugins", "conformance", "c.wasm", "--answers", &answers, "--junit", "report.xml"];
    std::fs::write(place.path().join("report.xml"), "mine").expect("written");
    let kept = place.refused(&again);
    assert!(kept.contains("report.xml exists already; name another file, or add --force to replace it"), "{kept}");
    assert_eq!(std::fs::read_to_string(place.path().join("report.xml")).expect("kept"), "mine");
    assert_eq!(place.run(&[&again[..], &["--force"]].concat()).status.code(), Some(4));
    let xml = std::fs::read_to_string(place.path().join("report.xml")).expect("replaced");
    assert!(xml.contains(r#"<testcase name="values""#), "{xml}");

    std::fs::remove_dir_all(folder.path().join("b")).expect("removed");
    let few = place.refused(&["plugins", "conformance", "c.wasm", "--answers", &answers]);
    assert!(few.contains("need the answers of 3 accounts, and it has 2"), "{few}");
}

#[test]
fn a_strict_installation_needs_every_check_to_pass() {
    let place = Place::migrated();
    std::fs::write(place.path().join("c.wasm"), guest("mistaken")).expect("written");
    let folder = tempfile::tempdir().expect("a folder");
    let answers = folder.path().to_string_lossy().into_owned();
    let arguments = ["plugins", "install", "c.wasm", "--yes", "--strict", &answers];
    record(folder.path(), &json!({ "mistake": "zero" }));
    let output = place.run(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("it was not installed, since it fails values"), "{said}");
    let none: Json = serde_json::from_str(&place.done(&["plugins", "list", "--json"])).expect("JSON");
    assert_eq!(none, json!([]));
    record(folder.path(), &json!({ "mistake": "none" }));
    place.done(&arguments);
}
