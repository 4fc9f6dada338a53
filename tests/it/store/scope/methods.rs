//! The methods of the store that take a scope, as the source has them, and the cases of each.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_method_that_takes_a_scope_has_a_case() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/src");
    let mut found = BTreeSet::new();
    let mut folders = vec![sources];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.extend(scoped_methods(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 50, "the source is not read: {found:?}");
    let here = include_str!("../scope.rs");
    let has_case =
        |name: &String| ["Read", "Write", "Whole"].iter().any(|kind| here.contains(&format!("        {kind} {name}(")));
    let missing: Vec<_> = found.iter().filter(|name| !has_case(name)).collect();
    assert!(missing.is_empty(), "methods that take a scope and have no case: {missing:?}");
}

/// Names of the public methods in a source whose first argument is a scope.
fn scoped_methods(source: &str) -> Vec<String> {
    let methods = source.split("pub async fn ").skip(1).filter_map(|after| {
        let (name, rest) = after.split_once('(')?;
        let arguments: String = rest.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        arguments.starts_with("&self, scope: &Scope").then(|| name.to_owned())
    });
    methods.collect()
}

#[test]
fn methods_are_recognised_however_their_arguments_are_broken() {
    let source = "pub async fn a(&self, scope: &Scope, x: u8) {}\n pub async fn b(\n  &self,\n  scope: &Scope,\n) {}\n\
                  pub async fn c(&self, lease: &Lease) {}";
    assert_eq!(scoped_methods(source), ["a", "b"]);
}
