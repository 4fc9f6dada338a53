//! Tests that the authors' guide says what the code says: commands, examples of manifests, the contract, a grant.

use std::path::{Path, PathBuf};

use backline_model::fixtures::manifest_with;
use backline_model::grant::{describe_budget, describe_policy, describe_slot};
use backline_model::manifest::{EXAMPLE, Manifest};

use crate::{Language, project};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page(name: &str) -> String {
    read(&root().join("docs/authors").join(name))
}

/// The code blocks of a page that are in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(of) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        if of == language {
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

#[test]
fn the_page_of_a_language_has_the_commands_of_its_template() {
    for language in Language::ALL {
        let files = project("my-connector", language).expect("a project");
        let readme = &files.iter().find(|file| file.path == "README.md").expect("a README").text;
        let page = page(&format!("{language}.md"));
        for command in blocks(readme, "sh").iter().flat_map(|block| block.lines()) {
            assert!(page.lines().any(|line| line == command), "{language}: {command}");
        }
        for tool in language.tools().iter().filter(|tool| !tool.in_project) {
            let place = tool.remedy.split_whitespace().find(|word| word.starts_with("https://"));
            let place = place.map(|place| place.trim_end_matches([',', ';', '.']));
            assert!(place.is_none_or(|place| page.contains(place)), "{language}: {place:?}");
        }
    }
}

#[test]
fn every_example_of_a_manifest_is_valid() {
    let folder = root().join("docs/authors");
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).expect("the guide") {
        let path = entry.expect("an entry").path();
        for block in blocks(&read(&path), "toml") {
            let manifest = if block.contains("[connector]") { block } else { manifest_with(&block) };
            assert_eq!(Manifest::faults(&manifest), [], "{}: {manifest}", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked}");
}

#[test]
fn every_example_in_json_can_be_read() {
    for name in ["concepts.md", "testing.md"] {
        for block in blocks(&page(name), "json") {
            let read: Result<serde_json::Value, _> = serde_json::from_str(&block);
            assert!(read.is_ok(), "{name}: {read:?}: {block}");
        }
    }
}

#[test]
fn the_page_of_the_contract_has_all_of_its_names() {
    let contract = |version: &str| read(&root().join(format!("wit/connector/{version}/connector.wit")));
    let (contract, page) = (contract("1.0.0") + &contract("1.1.0"), page("wit.md"));
    let mut checked = 0;
    for line in contract.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let words = line.split(|c: char| !c.is_ascii_lowercase() && c != '-').filter(|word| !word.is_empty());
        let names: Vec<&str> = match line.split_whitespace().next() {
            Some("record" | "variant" | "enum") => words.skip(1).collect(),
            Some("package" | "interface" | "world" | "use" | "type" | "import" | "export") | None => continue,
            Some(_) => words.take(1).collect(),
        };
        for name in names {
            assert!(page.contains(&format!("`{name}")), "{name}");
            checked += 1;
        }
    }
    assert!(checked > 80, "{checked}");
}

#[test]
fn the_operators_page_shows_what_is_shown_of_the_example() {
    let (manifest, page) = (Manifest::parse(EXAMPLE).expect("a manifest"), page("grant.md"));
    let mut lines: Vec<String> = manifest.credentials.iter().map(describe_slot).collect();
    lines.extend(manifest.budgets.iter().map(describe_budget));
    lines.extend(describe_policy(&manifest.policy));
    lines.extend(manifest.hosts.iter().map(|host| format!("GET {}: {}", host.origin, host.reason)));
    let metrics: Vec<&str> = manifest.metrics.iter().map(|metric| metric.name.as_str()).collect();
    lines.push(metrics.join(", "));
    for line in lines {
        assert!(page.lines().any(|shown| shown.trim() == line), "{line}");
    }
}
