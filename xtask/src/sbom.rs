//! `cargo xtask sbom`: what the host and the connectors are made of, as CycloneDX 1.6 (ECMA-424) in JSON.
//!
//! The list follows from `Cargo.lock` and cargo's own graph of dependencies: every crate that is compiled into the
//! `backline` binary or into a connector, with its version, licence and checksum, and what depends on what. It holds no
//! time and no path, so the same sources give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value as Json, json};

use crate::build;
use crate::process;

/// The package of the host.
const HOST: &str = "backline";

/// Arguments of `cargo xtask sbom`.
#[derive(Args)]
pub(crate) struct SbomArguments {
    /// File to write to; standard output unless given
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the list.
///
/// # Errors
/// When cargo fails, or the file can't be written.
pub(crate) fn sbom(arguments: &SbomArguments) -> Result<bool> {
    let text = text()?;
    match &arguments.output {
        Some(path) => std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))?,
        None => print!("{text}"),
    }
    Ok(true)
}

/// The list as text.
///
/// # Errors
/// When cargo fails, or says something else than expected.
pub(crate) fn text() -> Result<String> {
    let host = host_triple()?;
    let mut crates = Crates::default();
    crates.add(&metadata(&host)?, &[HOST.to_owned()])?;
    let connectors = build::plugin_packages()?;
    crates.add(&metadata(build::WASM_TARGET)?, &connectors)?;
    let lock = process::workspace_root().join("Cargo.lock");
    let lock = std::fs::read_to_string(&lock).with_context(|| format!("failed to read {}", lock.display()))?;
    let bill = bill(&crates, &checksums(&lock)?, &connectors)?;
    Ok(format!("{}\n", serde_json::to_string_pretty(&bill)?))
}

/// The target of programs that run on this machine.
fn host_triple() -> Result<String> {
    let (said, code) = process::output(Command::new("rustc").current_dir(process::workspace_root()).arg("-vV"), None)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).filter(|_| code == 0);
    host.map(str::to_owned).context("`rustc -vV` does not say its host")
}

fn metadata(target: &str) -> Result<Json> {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", target];
    let (said, code) = process::output(process::cargo().args(arguments), None)?;
    if code != 0 {
        bail!("`cargo metadata` failed with code {code}");
    }
    serde_json::from_str(&said).context("`cargo metadata` wrote no JSON")
}

/// One crate.
#[derive(Debug, Default)]
struct Crate {
    name: String,
    version: String,
    licence: Option<String>,
    repository: Option<String>,
    /// References of the crates that it needs.
    needs: BTreeSet<String>,
}

/// All crates, by their references.
#[derive(Debug, Default)]
struct Crates(BTreeMap<String, Crate>);

impl Crates {
    /// Adds these packages and all that they are built from: no dependencies of tests.
    fn add(&mut self, metadata: &Json, roots: &[String]) -> Result<()> {
        let list = |json: &Json| json.as_array().cloned().unwrap_or_default();
        let word = |json: &Json, key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let packages: BTreeMap<String, Json> =
            list(&metadata["packages"]).into_iter().map(|package| (word(&package, "id"), package)).collect();
        let nodes: BTreeMap<String, Json> =
            list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (word(&node, "id"), node)).collect();
        let members: BTreeSet<String> =
            list(&metadata["workspace_members"]).iter().filter_map(|id| Some(id.as_str()?.to_owned())).collect();
        let is_root = |id: &&String| packages.get(*id).is_some_and(|package| roots.contains(&word(package, "name")));
        let mut open: Vec<String> = members.iter().filter(is_root).cloned().collect();
        if open.len() != roots.len() {
            bail!("cargo knows {} of the packages {}", open.len(), roots.join(", "));
        }
        let reference_of = |id: &str| {
            let package = packages.get(id).with_context(|| format!("cargo does not say what {id} is"))?;
            Ok::<_, anyhow::Error>(reference(&word(package, "name"), &word(package, "version")))
        };
        let mut seen: BTreeSet<String> = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            let node = nodes.get(&id).with_context(|| format!("cargo does not say what {id} needs"))?;
            let mut needs = BTreeSet::new();
            for dependency in list(&node["deps"]) {
                let kinds = list(&dependency["dep_kinds"]);
                if kinds.iter().any(|kind| kind["kind"] != "dev") {
                    let needed = word(&dependency, "pkg");
                    needs.insert(reference_of(&needed)?);
                    open.push(needed);
                }
            }
            let package = &packages[&id];
            let entry = self.0.entry(reference_of(&id)?).or_default();
            entry.name = word(package, "name");
            entry.version = word(package, "version");
            // Before SPDX, a slash stood for the choice.
            entry.licence = package["license"].as_str().map(|licence| licence.replace('/', " OR "));
            entry.repository = package["repository"].as_str().map(str::to_owned);
            entry.needs.extend(needs);
        }
        Ok(())
    }
}

/// The package URL of a crate (purl), which refers to it in the list too.
fn reference(name: &str, version: &str) -> String {
    // The only character of a version that has to be escaped.
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// Name and version → checksum, for crates of a registry.
fn checksums(lock: &str) -> Result<BTreeMap<String, String>> {
    let lock: toml::Table = lock.parse().context("Cargo.lock is no TOML")?;
    let packages = lock.get("package").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let of = |package: &toml::Value| {
        let word = |key: &str| package.get(key).and_then(toml::Value::as_str);
        Some((reference(word("name")?, word("version")?), word("checksum")?.to_owned()))
    };
    Ok(packages.iter().filter_map(of).collect())
}

fn bill(crates: &Crates, checksums: &BTreeMap<String, String>, connectors: &[String]) -> Result<Json> {
    let component = |(reference, found): (&String, &Crate)| {
        let is_program = found.name == HOST || connectors.contains(&found.name);
        let mut component = json!({
            "type": if is_program { "application" } else { "library" },
            "bom-ref": reference,
            "name": found.name,
            "version": found.version,
            "purl": reference,
        });
        if let Some(licence) = &found.licence {
            component["licenses"] = json!([{ "expression": licence }]);
        }
        if let Some(checksum) = checksums.get(reference) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        if let Some(repository) = &found.repository {
            component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
        }
        component
    };
    let is_host = |(_, found): &(&String, &Crate)| found.name == HOST;
    let host = crates.0.iter().find(is_host).context("the host is not in the list")?;
    let others: Vec<Json> = crates.0.iter().filter(|entry| !is_host(entry)).map(component).collect();
    let dependencies: Vec<Json> =
        crates.0.iter().map(|(reference, found)| json!({ "ref": reference, "dependsOn": found.needs })).collect();
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": component(host) },
        "components": others,
        "dependencies": dependencies,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> String {
        format!("path+file:///secret/{name}#{version}")
    }

    fn needs(name: &str, version: &str, kind: &Json) -> Json {
        json!({ "pkg": id(name, version), "dep_kinds": [{ "kind": kind }] })
    }

    fn package(name: &str, version: &str, licence: &str) -> Json {
        json!({ "id": id(name, version), "name": name, "version": version, "license": licence, "repository": null })
    }

    fn metadata() -> Json {
        json!({
            "packages": [
                package("backline", "0.1.0", "MIT"), package("serde", "1.0.0+x", "MIT/Apache-2.0"),
                package("cc", "1.2.0", "MIT"), package("proptest", "1.0.0", "MIT"), package("unused", "1.0.0", "MIT"),
            ],
            "workspace_members": [id("backline", "0.1.0")],
            "resolve": { "nodes": [
                { "id": id("backline", "0.1.0"), "deps": [
                    needs("serde", "1.0.0+x", &Json::Null), needs("proptest", "1.0.0", &json!("dev")),
                    needs("cc", "1.2.0", &json!("build")),
                ] },
                { "id": id("serde", "1.0.0+x"), "deps": [] },
                { "id": id("cc", "1.2.0"), "deps": [] },
                { "id": id("proptest", "1.0.0"), "deps": [] },
                { "id": id("unused", "1.0.0"), "deps": [] },
            ] },
        })
    }

    #[test]
    fn what_is_compiled_is_listed_with_licence_and_checksum_and_nothing_else() {
        let mut crates = Crates::default();
        crates.add(&metadata(), &["backline".to_owned()]).expect("a graph");
        let lock = "[[package]]\nname = \"serde\"\nversion = \"1.0.0+x\"\nchecksum = \"abc\"\n\
                    [[package]]\nname = \"backline\"\nversion = \"0.1.0\"\n";
        let bill = bill(&crates, &checksums(lock).expect("a lock file"), &[]).expect("a list");
        assert_eq!(bill["metadata"]["component"]["name"], "backline");
        assert_eq!(bill["metadata"]["component"]["type"], "application");
        let names: Vec<&str> =
            bill["components"].as_array().expect("a list").iter().filter_map(|found| found["name"].as_str()).collect();
        assert_eq!(names, ["cc", "serde"], "neither tests nor what nothing needs");
        assert_eq!(
            bill["components"][1],
            json!({
                "type": "library", "bom-ref": "pkg:cargo/serde@1.0.0%2Bx", "name": "serde", "version": "1.0.0+x",
                "purl": "pkg:cargo/serde@1.0.0%2Bx", "licenses": [{ "expression": "MIT OR Apache-2.0" }],
                "hashes": [{ "alg": "SHA-256", "content": "abc" }],
            })
        );
        let needs = json!(["pkg:cargo/cc@1.2.0", "pkg:cargo/serde@1.0.0%2Bx"]);
        assert_eq!(bill["dependencies"][0], json!({ "ref": "pkg:cargo/backline@0.1.0", "dependsOn": needs }));
        assert!(!bill.to_string().contains("secret"), "no path of this machine");
    }

    #[test]
    fn a_package_that_cargo_does_not_know_is_named() {
        let error = Crates::default().add(&metadata(), &["other".to_owned()]).expect_err("unknown").to_string();
        assert!(error.contains("other"), "{error}");
    }
}
