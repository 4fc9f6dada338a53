//! Tests of the conformance checks: connectors with one mistake each, and what is right.

use std::path::Path;

use backline::config::Config;
use backline::pipeline::{CheckedWith, ConformanceReport, check_component};
use serde_json::{Value as Json, json};

use super::Place;
use crate::support::components::guest;
use crate::support::variants::{replace, variant_of};

/// Recordings of three accounts of the mistaken guest: one with two pages of posts, and one of which the platform
/// refuses something by name.
pub(super) fn record(folder: &Path, settings: &Json) {
    for (account, followers, likes) in [("a1", 1_007, [20, 3]), ("a12", 19_007, [400, 77]), ("b", 46_007, [9, 1])] {
        let at = "2026-11-10T00:00:00Z";
        let mut body = json!({
            "id": account, "name": "text 1", "followers": followers,
            "posts": [{ "id": "p1", "at": at, "likes": likes[0] }, { "id": "p2", "at": at, "likes": likes[1] }],
        });
        let about = json!({
            "format": 1, "connector": "mistaken 1.0.0", "account": account, "settings": settings,
            "observed_at": "2026-11-28T12:00:00Z",
            "window": { "since": "2026-10-31T12:00:00Z", "until": "2026-11-28T12:00:00Z" },
        });
        let more = match account {
            "a12" => {
                body["next"] = json!("QQ");
                Some(("?after=QQ", 200, json!({ "posts": [{ "id": "p3", "at": at, "likes": 5 }] })))
            }
            "b" => {
                body["extras"] = json!(["plays"]);
                Some(("/extra?metric=plays", 400, json!({ "error": "metric plays is not supported" })))
            }
            _ => None,
        };
        let folder = folder.join(account);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("recording.json"), about.to_string()).expect("written");
        let url = format!("https://api.example.com/artists/{account}");
        let more = more.map(|(rest, status, body)| ("002.json", format!("{url}{rest}"), status, body));
        for (file, url, status, body) in [Some(("001.json", url.clone(), 200, body)), more].into_iter().flatten() {
            let recorded = json!({
                "request": { "method": "GET", "url": url },
                "answer": { "status": status, "headers": { "content-type": "application/json" }, "json": body },
            });
            std::fs::write(folder.join(file), recorded.to_string()).expect("written");
        }
    }
}

/// The date on which the tests check.
const TODAY: &str = "2026-11-30";

async fn checked(component: &[u8], mistake: &str) -> ConformanceReport {
    let folder = tempfile::tempdir().expect("a folder");
    record(folder.path(), &json!({ "mistake": mistake }));
    checked_in(component, folder.path(), None).await
}

async fn checked_in(component: &[u8], answers: &Path, before: Option<&[u8]>) -> ConformanceReport {
    let with = CheckedWith { answers, before, today: TODAY.parse().expect("a date"), sample: None };
    check_component(Config::default(), component, with).await.unwrap_or_else(|error| panic!("{error}"))
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
        ("host id", "determinism"),
        ("outage is lost", "faults"),
        ("no window", "window"),
        ("endless", "paging"),
        ("half is whole", "paging"),
        ("adds up", "state"),
        ("state must parse", "state"),
        ("keeps a failure", "state"),
        ("gives up when lost", "lost"),
        ("asks again", "lost"),
    ] {
        let report = checked(&component, mistake).await;
        let caught: Vec<&str> =
            report.checks.iter().filter(|check| !check.findings.is_empty()).map(|check| check.name).collect();
        assert!(caught.contains(&by), "{mistake} is caught by {caught:?}: {report:#?}");
    }
}

#[tokio::test]
async fn past_dates_of_one_call_must_be_those_of_calls_of_their_own() {
    let gauge = "kind = \"gauge\"";
    let with_history = format!("{gauge}\nhistory = true");
    let component = variant_of(&guest("named"), "1.0.1", |manifest| replace(manifest, gauge, &with_history));
    for (account, fails) in [("right", false), ("now for then", true)] {
        let folder = tempfile::tempdir().expect("a folder");
        for (index, account) in ["a", "b", account].into_iter().enumerate() {
            let about = json!({
                "format": 1, "connector": "guest 1.0.1", "account": account, "settings": {},
                "observed_at": "2026-11-28T12:00:00Z",
                "window": { "since": "2026-10-31T00:00:00Z", "until": "2026-11-28T00:00:00Z" },
            });
            let folder = folder.path().join(index.to_string());
            std::fs::create_dir(&folder).expect("a folder");
            std::fs::write(folder.join("recording.json"), about.to_string()).expect("written");
        }
        let report = checked_in(&component, folder.path(), None).await;
        let check = report.checks.iter().find(|check| check.name == "history").expect("it takes several dates");
        assert_eq!((check.failed(), check.cases, &check.skipped), (fails, 3, &None), "{report:#?}");
        let said = check.findings.first().map(|finding| finding.message.as_str()).unwrap_or_default();
        assert!(said.contains("followers is not what a fetch of that date alone gives") == fails, "{report:#?}");
    }
    let old = checked(&guest("mistaken"), "none").await;
    assert!(old.checks.iter().all(|check| check.name != "history"), "the first version knows no past dates");
}

/// The mistaken guest with a bypass of the check `cost`.
fn bypassing(until: &str) -> Vec<u8> {
    let bypass = format!("[[bypass]]\ncheck = \"cost\"\nreason = \"it asks twice\"\nuntil = \"{until}\"\n");
    variant_of(&guest("mistaken"), "1.0.0", |manifest| manifest.push_str(&format!("\n{bypass}")))
}

#[test]
fn a_bypass_is_shown_to_those_who_install() {
    let place = Place::empty();
    std::fs::write(place.path().join("c.wasm"), bypassing("2026-12-31")).expect("written");
    let said = place.done(&["plugins", "inspect", "c.wasm"]);
    assert!(said.contains("cost until 2026-12-31: it asks twice"), "{said}");
}

#[tokio::test]
async fn a_bypass_leaves_out_its_check_until_its_end_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    record(folder.path(), &json!({ "mistake": "chatty" }));
    for (until, passes) in [("2026-11-30", true), ("2026-11-29", false), ("2030-01-01", false)] {
        let report = checked_in(&bypassing(until), folder.path(), None).await;
        assert_eq!(report.passed(), passes, "{until}: {report:#?}");
        assert_eq!(report.bypassed().count(), usize::from(passes), "{until}: {report:#?}");
    }
    record(folder.path(), &json!({ "mistake": "zero" }));
    let report = checked_in(&bypassing("2026-12-31"), folder.path(), None).await;
    assert!(report.failed().contains(&"values"), "{report:#?}");
    assert!(report.checks.iter().any(|check| check.name == "values" && !check.can_be_bypassed), "{report:#?}");
}

#[tokio::test]
async fn what_breaks_readers_needs_a_new_major_version() {
    let folder = tempfile::tempdir().expect("a folder");
    record(folder.path(), &json!({ "mistake": "none" }));
    let before = guest("mistaken");
    let as_version =
        |version: &str, from: &str, to: &str| variant_of(&before, version, |manifest| replace(manifest, from, to));
    let (unit, other_unit) = ("unit = \"followers\"", "unit = \"fans\"");
    let settings = "[settings]\ntype = \"object\"\nrequired = [\"key\"]\n";
    for (after, fails) in [
        (before.clone(), false),
        (as_version("1.0.1", unit, unit), false),
        (as_version("1.0.0", "title = \"Mistaken\"", "title = \"Other\""), true),
        (as_version("0.9.0", unit, unit), true),
        (as_version("1.1.0", unit, other_unit), true),
        (as_version("2.0.0", unit, other_unit), false),
        (as_version("1.1.0", "window_days = 28", &format!("window_days = 28\n\n{settings}")), true),
    ] {
        let report = checked_in(&after, folder.path(), Some(&before)).await;
        let expected: &[&str] = if fails { &["release"] } else { &[] };
        assert_eq!(report.failed(), expected, "{report:#?}");
    }

    // A release that takes the state of the one before for its own, and counts it in.
    record(folder.path(), &json!({ "mistake": "adds up" }));
    let report = checked_in(&as_version("2.0.0", unit, unit), folder.path(), Some(&before)).await;
    assert!(report.failed().contains(&"release"), "{report:#?}");
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
    assert!(said.contains("followers is 0; it may be the value in the answer, or missing"), "{said}");
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
