//! Who may know whom: the rules of direction of ARCHITECTURE.md, checked on paths as they stand in the source.
//!
//! The check reads text, not syntax trees: every module path of the workspace is written out (`crate::store::…`), so
//! a word search finds it, and a rule that anybody can read beats one that needs a compiler plug-in.

use super::{Breach, Source};

/// Libraries with one owner: crate → folders or files that may name it. Tests may name any.
const OWNERS: [(&str, &[&str]); 17] = [
    ("wasmtime", &["host/src/sandbox/"]),
    ("wasmtime_wasi", &["host/src/sandbox/"]),
    ("reqwest", &["host/src/gateway/"]),
    ("sqlx", &["host/src/store/"]),
    ("axum", &["host/src/api/"]),
    ("croner", &["host/src/schedule"]),
    ("prometheus_client", &["host/src/telemetry"]),
    ("opentelemetry", &["host/src/telemetry"]),
    ("opentelemetry_otlp", &["host/src/telemetry"]),
    ("opentelemetry_sdk", &["host/src/telemetry"]),
    ("opentelemetry_http", &["host/src/telemetry"]),
    ("tracing_opentelemetry", &["host/src/telemetry"]),
    ("clap", &["host/src/cli/", "host/src/main.rs"]),
    ("minisign", &["host/src/plugins/"]),
    ("minisign_verify", &["host/src/plugins/"]),
    ("oci_client", &["host/src/gateway/"]),
    ("zip", &["host/src/pipeline/export.rs"]),
];

/// Stages whose rules are pure: they import `domain` and nothing else of the host.
const PURE: [&str; 12] = [
    "domain",
    "roster",
    "schedule",
    "plan",
    "normalise",
    "validate",
    "growth",
    "shadow",
    "trial",
    "archive",
    "delivery",
    "health",
];

/// Modules that do not know each other; `pipeline` leads data from one to the next.
const STAGES: [&str; 15] = [
    "roster",
    "schedule",
    "plan",
    "sandbox",
    "gateway",
    "normalise",
    "validate",
    "store",
    "growth",
    "plugins",
    "shadow",
    "trial",
    "archive",
    "delivery",
    "health",
];

/// The only acquaintances among stages: who → whom, with the reason.
const ACQUAINTED: [(&str, &str); 2] = [
    // A component's imports are served by the gateway's session.
    ("sandbox", "gateway"),
    // What is loaded is inspected first, without running it.
    ("sandbox", "plugins"),
];

/// Edges that nothing may import.
const EDGES: [&str; 2] = ["cli", "api"];

/// Checks one Rust file.
pub(super) fn check(source: &Source) -> Vec<Breach> {
    let path = source.path.as_str();
    let mut breaches = Vec::new();
    for (index, line) in code_lines(&source.text) {
        let mut breach = |problem: String| breaches.push(Breach { path: path.to_owned(), line: index, problem });
        if path.starts_with("plugins/") || path.starts_with("sdk/") || path.starts_with("tests/guests/") {
            if has_path(line, "backline") {
                breach("a connector never sees the host; what it needs comes from the SDK".to_owned());
            }
            continue;
        }
        let Some(module) = host_module(path) else { continue };
        for (library, owners) in OWNERS {
            if has_path(line, library) && !owners.iter().any(|owner| path.starts_with(owner)) {
                breach(format!("{library} belongs to {}; convert its types there", owners[0]));
            }
        }
        for imported in imported_modules(line) {
            // The command line starts what answers over HTTP.
            let is_start = module == "main" || (module == "cli" && imported == "api");
            if EDGES.contains(&imported.as_str()) && module != imported && !is_start {
                breach(format!("nothing imports `{imported}`; move what is needed to where both can see it"));
            } else if PURE.contains(&module) && imported != module && imported != "domain" {
                breach(format!("`{module}` is pure and imports only `domain`, not `{imported}`"));
            } else if STAGES.contains(&module)
                && STAGES.contains(&imported.as_str())
                && imported != module
                && !ACQUAINTED.contains(&(module, imported.as_str()))
            {
                breach(format!("`{module}` does not know `{imported}`; `pipeline` leads data from one to the other"));
            } else if imported == "pipeline" && !["pipeline", "cli", "api", "main"].contains(&module) {
                breach(format!("`{module}` does not know `pipeline`, which knows it"));
            }
        }
    }
    breaches
}

/// Lines of code with their numbers from 1: no comments, and nothing from a test module on (tests may combine parts).
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

/// The host's module a file belongs to: `store` for `host/src/store/dialect.rs`.
fn host_module(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("host/src/")?;
    let module = inside.split('/').next()?;
    Some(module.strip_suffix(".rs").unwrap_or(module)).filter(|module| *module != "lib")
}

/// Whether a line names a crate's path (`reqwest::…`) or imports the crate itself.
fn has_path(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        let starts_word = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"' || c == '.' || c == '/');
        // `bindings::backline::connector` is a module of that name, not the crate.
        let is_module_of_another =
            line[..at].strip_suffix("::").is_some_and(|path| path.ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        let is_path = after.starts_with("::")
            || (line.trim_start().starts_with("use ") && (after.starts_with(';') || after.starts_with(" as")));
        starts_word && is_path && !is_module_of_another
    })
}

/// Modules of the host that a line names: `crate::store::Store` → `store`; `crate::{plan, store::Store}` → both.
fn imported_modules(line: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for prefix in ["crate::", "backline::"] {
        for (at, _) in line.match_indices(prefix) {
            if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let rest = &line[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(list) => modules.extend(top_level_names(list)),
                None => modules.push(leading_name(rest)),
            }
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

/// The first names of a `{…}` list's entries, without those of lists inside it.
fn top_level_names(list: &str) -> Vec<String> {
    let (mut names, mut depth, mut start) = (Vec::new(), 0usize, 0usize);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(leading_name(list[start..at].trim()));
                return names;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(leading_name(list[start..at].trim()));
                start = at + 1;
            }
            _ => {}
        }
    }
    names.push(leading_name(list[start..].trim()));
    names
}

fn leading_name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, line: &str) -> usize {
        check(&Source { path: path.to_owned(), text: format!("//! A file.\n{line}\n") }).len()
    }

    #[test]
    fn a_library_is_named_by_its_owner_only() {
        assert_eq!(problems("host/src/gateway/client.rs", "use reqwest::Client;"), 0);
        assert_eq!(problems("host/src/store/mod.rs", "use reqwest::Client;"), 1);
        assert_eq!(problems("host/src/pipeline/run.rs", "fn f(pool: &sqlx::AnyPool) {}"), 1);
        assert_eq!(problems("host/src/sandbox/mod.rs", "use wasmtime_wasi::p2;"), 0);
        assert_eq!(problems("host/src/cli/mod.rs", "use clap::Parser;"), 0);
        assert_eq!(problems("host/src/config.rs", "use clap::Parser;"), 1);
        assert_eq!(problems("host/src/config.rs", "// use clap::Parser;"), 0, "comments are no code");
        assert_eq!(problems("host/src/config.rs", "let filter = \"sqlx::query=warn\";"), 0, "nor are texts");
    }

    #[test]
    fn a_pure_stage_imports_the_domain_and_nothing_else() {
        assert_eq!(problems("host/src/growth.rs", "use crate::domain::MetricsRow;"), 0);
        assert_eq!(problems("host/src/validate/rules.rs", "use crate::validate::Rule;"), 0);
        assert_eq!(problems("host/src/validate/rules.rs", "use crate::clock::Clock;"), 1);
        assert_eq!(problems("host/src/plan.rs", "use crate::{domain::Artist, store::Store};"), 1);
        assert_eq!(problems("host/src/domain/run.rs", "use crate::config::Config;"), 1);
    }

    #[test]
    fn stages_do_not_know_each_other_and_nothing_knows_the_edges() {
        assert_eq!(problems("host/src/sandbox/mod.rs", "use crate::gateway::Session;"), 0);
        assert_eq!(problems("host/src/gateway/mod.rs", "use crate::sandbox::Sandbox;"), 1);
        assert_eq!(problems("host/src/store/mod.rs", "fn f() { crate::growth::growth(); }"), 1);
        assert_eq!(problems("host/src/pipeline/mod.rs", "use crate::{gateway::Gateway, store::Store};"), 0);
        assert_eq!(problems("host/src/pipeline/mod.rs", "use crate::cli::Table;"), 1);
        assert_eq!(problems("host/src/main.rs", "fn main() { backline::cli::main() }"), 0);
        assert_eq!(problems("host/src/store/mod.rs", "use crate::pipeline::report::RunReport;"), 1);
        assert_eq!(problems("host/src/cli/run.rs", "use crate::pipeline::Host;"), 0);
        assert_eq!(problems("host/src/cli/serve.rs", "crate::api::serve(listener);"), 0);
        assert_eq!(problems("host/src/pipeline/mod.rs", "crate::api::serve(listener);"), 1);
    }

    #[test]
    fn a_connector_never_sees_the_host() {
        assert_eq!(problems("plugins/youtube/src/lib.rs", "use backline::domain::Platform;"), 1);
        assert_eq!(problems("plugins/youtube/src/lib.rs", "use backline_sdk::prelude::*;"), 0);
        assert_eq!(problems("sdk/src/lib.rs", "use backline::cli;"), 1);
        assert_eq!(problems("sdk/src/lib.rs", "use crate::bindings::backline::connector::types;"), 0);
    }

    #[test]
    fn nested_lists_name_their_outer_modules() {
        assert_eq!(imported_modules("use crate::{domain::{A, B}, store, plan::f};"), ["domain", "store", "plan"]);
        assert_eq!(imported_modules("$crate::store::x; mycrate::store::x"), Vec::<String>::new());
    }
}
