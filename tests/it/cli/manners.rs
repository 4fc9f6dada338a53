//! What holds for every command: ids by beginning and name, JSON for results and errors, colours, scripts for shells.

use std::process::Command;

use serde_json::Value as Json;

use super::{ARTIST, Place};
use crate::support::components;

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Two artists; Ada has an account.
fn place_of_two() -> Place {
    let place = Place::migrated();
    place.install("guest", &components::guest("well_behaved"));
    place.done(&["artists", "add", "Ada Lovelace", "--id", ARTIST]);
    place.done(&["artists", "add", "Bo", "--id", "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6e"]);
    place.done(&["accounts", "add", ARTIST, "guest", "UC1"]);
    place
}

#[test]
fn an_artist_is_named_by_id_beginning_or_name_wherever_one_is_taken() {
    let place = place_of_two();
    for artist in [ARTIST, "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d", "018f4e6a7c1d7b3a9c553f1d2a4b5c6d", "ada lovelace"] {
        let shown = json(&place.done(&["artists", "show", artist, "--json"]));
        assert_eq!(shown["artist"]["id"], ARTIST, "{artist}");
    }
    let listed = json(&place.done(&["accounts", "list", "--artist", "Ada Lovelace", "--json"]));
    assert_eq!(listed[0]["platform_id"], "UC1");
    assert_eq!(json(&place.done(&["accounts", "list", "--artist", "Bo", "--json"])), Json::Array(Vec::new()));
    // The list for people names the artist beside the ids.
    assert!(place.done(&["accounts", "list"]).contains("Ada Lovelace"));
    place.done(&["consents", "list", "Ada Lovelace"]);
    place.done(&["events", "tail", "--no-follow", "--artist", "Ada Lovelace"]);
    place.done(&["quarantine", "list", "--artist", "Bo"]);
    let changed = json(&place.done(&["accounts", "set", "guest/UC1", "--status", "disabled", "--json"]));
    assert_eq!((&changed["platform_id"], &changed["status"]), (&"UC1".into(), &"disabled".into()));
    place.done(&["accounts", "set", "UC1", "--status", "active"]);

    let said = place.refused(&["artists", "show", "018f4e6a"]);
    assert!(said.contains("could be more than one artist") && said.contains("(Ada Lovelace)"), "{said}");
    let said = place.refused(&["metrics", "Ada Lovelce"]);
    assert!(said.contains("did you mean 'Ada Lovelace'?"), "{said}");
    let said = place.refused(&["accounts", "set", "UC2", "--status", "active"]);
    assert!(said.contains("no account has the id or the id on its platform 'UC2'"), "{said}");
}

#[test]
fn accounts_are_removed_once_that_is_confirmed_and_with_a_reason() {
    let place = place_of_two();
    place.done(&["accounts", "add", "Bo", "guest", "UC2"]);
    let both = ["accounts", "remove", "UC1", "guest/UC2", "UC1"];
    let shown = json(&place.done(&[&both[..], &["--platform", "guest", "--dry-run", "--json"]].concat()));
    let accounts = |shown: &Json| [0_usize, 1, 2].map(|n| shown[n]["rows"]["accounts"].clone());
    assert_eq!(accounts(&shown), [1.into(), 1.into(), Json::Null], "{shown}");
    let reason = ["--reason", "ids of others"];
    let said = place.refused(&[&both[..], &reason[..]].concat());
    assert!(said.contains("nothing was removed") && said.contains("--dry-run"), "{said}");
    assert!(place.refused(&[&both[..], &["--yes", "--reason", " "]].concat()).contains("give a reason"));

    let removed = json(&place.done(&[&both[..], &reason[..], &["--yes", "--json"]].concat()));
    assert_eq!(accounts(&removed), [1.into(), 1.into(), Json::Null], "{removed}");
    assert_eq!(place.done(&["accounts", "list", "--json"]).trim(), "[]");
    let again = place.refused(&["accounts", "remove", "UC1", "--yes", "--reason", "again"]);
    assert!(again.contains("no account has the id or the id on its platform 'UC1'"), "{again}");

    // Each artist has an entry.
    let log = json(&place.done(&["audit", "list", "--action", "accounts remove", "--json"]));
    let log = log.as_array().expect("entries");
    let told: Vec<_> = log.iter().map(|entry| (&entry["details"]["reason"], &entry["after"]["account"])).collect();
    assert_eq!(told, [(&Json::from("ids of others"), &Json::Null); 2], "{log:?}");
    assert!(log.iter().all(|entry| entry["before"]["account"]["platform"] == "guest"), "{log:?}");
    assert!(log[0]["artist_id"].is_string() && log[0]["artist_id"] != log[1]["artist_id"], "{log:?}");

    // Nothing keeps it from being added again.
    assert!(place.done(&["accounts", "add", "Bo", "guest", "UC2"]).starts_with("added account "));
}

#[test]
fn the_latest_run_and_the_beginning_of_its_id_are_found() {
    let place = place_of_two();
    assert_eq!(place.refused(&["runs", "show", "latest"]), "no run yet; `backline run` starts one");
    // Nothing is to be collected, so that nothing is sent; the run is recorded all the same.
    place.done(&["consents", "withdraw", ARTIST, "guest"]);
    place.done(&["run"]);
    let runs = json(&place.done(&["runs", "list", "--json"]));
    let id = runs[0]["id"].as_str().expect("an id");
    let shown = |given: &str| json(&place.done(&["runs", "show", given, "--json"]))["run"]["id"].clone();
    assert_eq!(shown("latest"), id);
    assert_eq!(shown(&id[..8]), id);
    place.done(&["batches", "list", "--run", "latest"]);
}

#[test]
fn what_a_command_has_done_is_json_where_it_is_asked_for() {
    let place = place_of_two();
    for (arguments, field, expected) in [
        (&["artists", "set", "Bo", "--status", "inactive"][..], "name", Json::from("Bo")),
        (&["accounts", "set", "UC1", "--status", "disabled"], "status", "disabled".into()),
        (&["consents", "withdraw", "Ada Lovelace", "guest"], "recorded", true.into()),
        (&["consents", "withdraw", "Ada Lovelace", "guest"], "recorded", false.into()),
        (&["consents", "grant", "Ada Lovelace", "guest"], "tokens_removed", Json::from(0)),
        (&["schedules", "add", "nightly", "--cron", "0 2 * * *"], "name", "nightly".into()),
        (&["schedules", "disable", "nightly"], "enabled", false.into()),
        (&["schedules", "enable", "nightly"], "enabled", true.into()),
        (&["schedules", "remove", "nightly"], "name", "nightly".into()),
        (&["batches", "retry", "--all-dead"], "batches", Json::from(0)),
        (&["privacy", "export", "Bo", "--out", "bo.zip"], "file", "bo.zip".into()),
        (&["keys", "generate", "--file", "a.key"], "file", "a.key".into()),
        (&["keys", "generate"], "file", Json::Null),
        (&["plugins", "keygen", "--name", "acme"], "name", "acme".into()),
        (&["plugins", "sign", "guest.wasm", "--key", "acme.key"], "file", "guest.wasm.minisig".into()),
        (&["plugins", "new", "tempo"], "folder", "./tempo".into()),
    ] {
        let done = json(&place.done(&[arguments, &["--json"]].concat()));
        assert_eq!(done[field], expected, "{arguments:?}: {done}");
    }
    for arguments in [
        &["privacy", "export", "Bo", "--out", "-", "--json"][..],
        &["plugins", "pack", "guest.wasm", "--output", "-", "--json"],
    ] {
        assert!(error_of(&place, arguments)["message"].as_str().is_some_and(|said| said.contains("name a file")));
    }
}

/// The error of a command that is refused, as a program reads it: the last line of standard error.
fn error_of(place: &Place, arguments: &[&str]) -> Json {
    let output = place.run(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed something");
    let said = String::from_utf8(output.stderr).expect("text");
    json(said.lines().last().expect("a line"))["error"].clone()
}

#[test]
fn an_error_is_json_where_it_is_asked_for() {
    let place = Place::migrated();
    let error = error_of(&place, &["runs", "show", "latest", "--json"]);
    assert_eq!(
        (&error["class"], &error["message"], &error["remedy"]),
        (&"refused".into(), &"no run yet; `backline run` starts one".into(), &"`backline run` starts one".into())
    );
    // Also before a command is known, and before the configuration is read.
    let error = error_of(&place, &["rnu", "--json"]);
    assert!(error["message"].as_str().is_some_and(|said| said.starts_with("unrecognized subcommand 'rnu'")), "{error}");
    let error = error_of(&place, &["--config", "missing.toml", "runs", "list", "--json"]);
    assert!(error["message"].as_str().is_some_and(|said| said.contains("missing.toml")), "{error}");
}

#[test]
fn unknown_webhooks_and_schedules_name_the_nearest() {
    let place = Place::migrated();
    place.done(&["schedules", "add", "nightly", "--cron", "0 2 * * *"]);
    for arguments in [["schedules", "remove", "nigthly"], ["schedules", "fires", "nigthly"]] {
        let said = place.refused(&arguments);
        assert!(said.starts_with("there is no schedule 'nigthly'; did you mean 'nightly'?"), "{said}");
    }
    let said = place.refused(&["webhooks", "remove", "app"]);
    assert_eq!(said, "there is no webhook 'app'; `backline webhooks list` shows them");
}

#[test]
fn scripts_and_manual_need_neither_configuration_nor_database() {
    let place = Place::empty();
    for (shell, said) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef backline"),
        ("fish", "complete -c backline"),
        ("powershell", "Register"),
    ] {
        let script = place.done(&["--config", "missing.toml", "completions", shell]);
        assert!(script.contains(said), "{shell}: {script}");
    }
    let page = place.done(&["manual"]);
    assert!(page.contains(".TH") && page.contains("quarantine"), "{page}");
    place.done(&["manual", "--output", "man"]);
    let pages = std::fs::read_dir(place.path().join("man")).expect("made").count();
    assert!(pages > 80, "{pages} pages");
    assert!(place.refused(&["manual", "--output", "man"]).contains("exists already"));
    place.done(&["manual", "--output", "man", "--force"]);
    // A shell reads the script.
    place.write("backline.bash", &place.done(&["completions", "bash"]));
    let read =
        Command::new("bash").args(["-n", "backline.bash"]).current_dir(place.path()).status().expect("bash runs");
    assert!(read.success());
}

#[test]
fn colours_follow_the_common_variables_and_text_for_programs_has_none() {
    let place = Place::empty();
    let has_colours = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backline"));
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM"] {
            command.env_remove(name);
        }
        let output = command.current_dir(place.path()).args(arguments).envs(variables.iter().copied()).output();
        let output = output.expect("the binary starts");
        [output.stdout, output.stderr].concat().contains(&0x1b)
    };
    for arguments in [&["--help"][..], &["runs", "list"]] {
        assert!(!has_colours(arguments, &[]), "{arguments:?}: a pipe takes no colours");
        assert!(has_colours(arguments, &[("CLICOLOR_FORCE", "1")]), "{arguments:?}");
        assert!(!has_colours(arguments, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), "{arguments:?}");
    }
    assert!(!has_colours(&["runs", "list", "--json"], &[("CLICOLOR_FORCE", "1")]), "JSON has no colours");
}

#[test]
fn the_help_word_shows_a_commands_help() {
    let place = Place::empty();
    assert_eq!(place.done(&["help", "runs", "show"]), place.done(&["runs", "show", "--help"]));
    let help = place.done(&["help"]);
    assert!(help.contains("Global options:") && help.contains("completions"), "{help}");
}
