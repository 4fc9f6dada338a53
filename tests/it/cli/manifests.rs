//! `plugins check` and `plugins schema`: a manifest by itself.

use serde_json::Value as Json;

use super::Place;
use crate::support::components::guest;

const MANIFEST: &str = r#"[connector]
name = "example"
platform = "example"
version = "1.0.0"
api = "^1.0"
title = "Example"
batch_size = 0

[[metric]]
name = "followers"
kind = "gage"
unit = "followers"
"#;

#[test]
fn every_fault_is_named_with_file_line_and_column() {
    let place = Place::empty();
    place.write("connector.toml", MANIFEST);
    let output = place.run(&["plugins", "check"]);
    let printed = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(4), "{printed}");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 1, "values are checked once the forms are right: {printed}");
    assert!(lines[0].starts_with("connector.toml:11:8: metric[0].kind: unknown variant `gage`"), "{printed}");
    assert!(lines[0].ends_with("did you mean `gauge`?"), "{printed}");

    place.write("other.toml", &MANIFEST.replace("gage", "gauge").replace("[[metric]]", "[[host]]\n[[metric]]"));
    let output = place.run(&["plugins", "check", "other.toml", "--json"]);
    assert_eq!(output.status.code(), Some(4));
    let printed: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&printed["file"], &printed["faults"][0]["line"]), (&"other.toml".into(), &9.into()), "{printed}");
    assert_eq!(printed["faults"][0]["field"], "host[0]", "{printed}");

    place.write("connector.toml", &MANIFEST.replace("gage", "gauge").replace("= 0", "= 1"));
    assert!(place.done(&["plugins", "check"]).contains("example 1.0.0 for example is valid"));
    assert!(place.refused(&["plugins", "check", "missing.toml"]).contains("name another file"));
}

#[test]
fn packing_points_into_the_manifest_and_not_at_the_component() {
    let place = Place::empty();
    std::fs::write(place.path().join("core.wasm"), guest("well_behaved")).expect("written");
    place.write("connector.toml", &MANIFEST.replace("gage", "gauge").replace("version", "versoin"));
    let said = place.refused(&["plugins", "pack", "core.wasm", "--output", "a.wasm"]);
    assert!(said.starts_with("connector.toml:1:1: connector: missing field `version`"), "{said}");
    assert!(said.ends_with("`backline plugins check connector.toml` lists 1 more"), "{said}");
}

#[test]
fn the_schema_is_printed_and_lies_beside_new_projects() {
    let place = Place::empty();
    let printed = place.done(&["plugins", "schema"]);
    let schema: Json = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(schema["required"][0], "connector");
    place.done(&["plugins", "new", "moon"]);
    let project = place.path().join("moon");
    let beside = std::fs::read_to_string(project.join("vendor/connector.schema.json")).expect("text");
    assert_eq!(beside, printed);
    let manifest = project.join("connector.toml");
    place.done(&["plugins", "check", &manifest.to_string_lossy()]);
    let schema = project.join("vendor/connector.schema.json");
    assert!(place.refused(&["plugins", "schema", "--output", &schema.to_string_lossy()]).contains("--force"));
    place.done(&["plugins", "schema", "--output", &schema.to_string_lossy(), "--force"]);
}

#[test]
fn the_reference_that_is_printed_is_the_page_of_the_guide() {
    let place = Place::empty();
    let printed = place.done(&["plugins", "schema", "--reference"]);
    assert_eq!(printed, include_str!("../../../docs/authors/manifest.md"));
    assert_eq!(place.run(&["plugins", "schema", "--reference", "--index"]).status.code(), Some(2));
}

#[test]
fn logs_that_do_not_exist_are_said_to_be_none() {
    let place = Place::migrated();
    place.knows("tempo");
    assert_eq!(place.done(&["plugins", "logs"]), "");
    assert_eq!(place.done(&["plugins", "logs", "tempo", "--json"]), "");
    assert!(place.refused(&["plugins", "logs", "tempo", "--release", "1.0.0"]).contains("has no release '1.0.0'"));
    assert!(place.refused(&["plugins", "logs", "temp"]).contains("did you mean 'tempo'?"));
}
