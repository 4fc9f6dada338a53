//! `config check`: what is wrong with a configuration is told as a whole. Nothing is started, and nothing written.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value as Json;

use super::Place;

/// The report of a check, which ends with a code and shows no secret.
fn report(place: &Place, arguments: &[&str], code: i32) -> Json {
    let output = place.run(&[&["config", "check", "--json"][..], arguments].concat());
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(code), "{said}");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(!printed.contains("canary") && !said.contains("canary"), "a secret is shown: {printed} {said}");
    serde_json::from_str(&printed).expect("JSON")
}

fn keys(report: &Json) -> Vec<&str> {
    let problems = report["problems"].as_array().expect("a list");
    problems.iter().map(|problem| problem["key"].as_str().expect("a text")).collect()
}

fn set_mode(place: &Place, name: &str, mode: u32) {
    std::fs::set_permissions(place.path().join(name), PermissionsExt::from_mode(mode)).expect("set");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let place = Place::empty();
    place.write(
        "backline.toml",
        "[colection]\nwindow_days = 3\n[collection]\nplatform_weights = { youtube = 0 }\n\
         [validation.rules.count-negativ]\nseverity = \"error\"\n\
         [schedules.night]\ncron = \"0 2 * * *\"\ntimezone = \"Mars/Phobos\"\n[service]\npoll_ms = 0\n",
    );
    let told = report(&place, &["--set", "sync.every_s=0"], 2);
    assert_eq!((&told["valid"], &told["file"]), (&false.into(), &"backline.toml".into()));
    let found = keys(&told);
    for of in ["colection", "collection.", "validation", "schedules.night", "service.poll_ms", "sync.every_s"] {
        assert_eq!(found.iter().filter(|key| key.starts_with(of)).count(), 1, "{of}: {told}");
    }
    let remedy = told["problems"].as_array().unwrap().iter().find(|problem| problem["key"] == "colection").unwrap();
    assert_eq!(remedy["remedy"], "did you mean 'collection'?");
    // A command that needs the configuration says the first.
    let refused = place.refused(&["config", "show"]);
    assert!(told["problems"].as_array().unwrap().iter().any(|problem| problem["message"] == refused), "{refused}");
}

#[test]
fn files_are_checked_too_and_no_secret_is_shown() {
    let place = Place::empty();
    place.write(
        "backline.toml",
        "[secrets]\nkey_file = \"backline.key\"\n[service]\ntls_certificate = \"a.pem\"\ntls_key = \"b.pem\"\n\
         [log]\nfilter = \"backline=loud\"\n[gateway]\nbody_bytes_max = 0\n[sync]\nurl = \"mysql://u:canary@h/x\"\n",
    );
    place.write("backline.key", "canary");
    set_mode(&place, "backline.key", 0o644);
    set_mode(&place, "backline.toml", 0o644);
    let before = place.files();
    let told = report(&place, &[], 2);
    let mut found = keys(&told);
    found.sort_unstable();
    assert_eq!(found, ["gateway", "log.filter", "secrets.key_file", "service.tls_certificate", "sync.url"], "{told}");
    assert!(told["warnings"].to_string().contains("may read sync.url in backline.toml"), "{told}");
    assert!(place.files() == before, "it changed a file");

    let output = place.run(&["config", "check"]);
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(2));
    for part in ["can be read by other users; run `chmod 600`", "log.filter 'backline=loud' is wrong", "has 5 problems"]
    {
        assert!(said.contains(part), "'{part}' is missing: {said}");
    }
}

#[test]
fn the_database_is_asked_on_request_alone() {
    let place = Place::empty();
    assert_eq!(report(&place, &[], 0)["database"], Json::Null);
    let told = report(&place, &["--connect"], 2);
    assert_eq!(keys(&told), ["database.url"]);
    assert_eq!(told["problems"][0]["remedy"], "create one with `backline migrate`");
    assert!(place.files().is_empty(), "it makes none");

    place.done(&["migrate"]);
    place.done(&["keys", "generate", "--file", "backline.key"]);
    place.knows("youtube");
    let weights = |weights: &str| {
        let text = format!("[secrets]\nkey_file = \"backline.key\"\n[collection]\nplatform_weights = {weights}\n");
        place.write("backline.toml", &text);
        set_mode(&place, "backline.toml", 0o600);
    };
    weights("{ yotube = 2, elsewhere = 2 }");
    let before = place.files();
    assert_eq!(report(&place, &[], 0)["valid"], true, "names are in the database");
    let told = report(&place, &["--connect"], 2);
    assert_eq!(keys(&told), ["collection.platform_weights"], "{told}");
    assert_eq!(told["problems"][0]["remedy"], "did you mean 'youtube'?");
    assert!(told["warnings"].to_string().contains("'elsewhere', which does not exist"), "{told}");
    assert!(place.files() == before, "it changed a file");

    weights("{ youtube = 2 }");
    let told = report(&place, &["--connect"], 0);
    assert_eq!((&told["valid"], &told["warnings"]), (&true.into(), &Json::Array(Vec::new())), "{told}");
    assert!(told["database"].as_str().expect("its address").ends_with("backline.db"), "{told}");
}
