//! `backline plugins check | schema`: a manifest by itself, with the rules that `pack` and `install` have.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::output::{Access, Existing, Output};
use crate::cli::terminal::print::{self, Tone};
use backline_component::INDEX_SCHEMA;
use backline_model::manifest::{self, Fault, MANIFEST_BYTES_MAX, Manifest, SCHEMA};

/// Arguments of `check`.
#[derive(Args)]
pub(crate) struct CheckArguments {
    /// The manifest
    #[arg(default_value = "connector.toml", value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `schema`.
#[derive(Args)]
pub(crate) struct SchemaArguments {
    /// The schema of an index of connectors, instead of a manifest's
    #[arg(long)]
    index: bool,
    /// Every table and key of a manifest as a page in Markdown, instead of the schema
    #[arg(long, conflicts_with = "index")]
    reference: bool,
    /// File to write it to; - for standard output
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// Checks a manifest. The exit code tells whether a component can be packed with it.
pub(in crate::cli::plugins) fn check(arguments: &CheckArguments) -> CommandResult {
    let CheckArguments { file, json } = arguments;
    let text = read_manifest(file)?;
    let faults = faults(&text);
    let name = file.display().to_string();
    if *json {
        print::json(&json!({ "file": name, "faults": faults }))?;
    } else {
        for fault in &faults {
            print::toned(Tone::Bad, &shown(&name, fault))?;
        }
        match (faults.as_slice(), Manifest::parse(&text)) {
            ([], Ok(manifest)) => {
                let info = &manifest.connector;
                print::line(&format!("{name}: {} {} for {} is valid", info.name, info.version, info.platform))?;
            }
            _ => print::note(&format!("{name}: {}", print::count(faults.len() as u64, "fault"))),
        }
    }
    Ok(if faults.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Prints the JSON Schema of a manifest or of an index, or the reference of a manifest.
pub(in crate::cli::plugins) fn schema(arguments: &SchemaArguments) -> CommandResult {
    let output = Output::open(&arguments.output, Access::Shared, Existing::forced(arguments.force))?;
    let text = match arguments {
        SchemaArguments { reference: true, .. } => manifest::reference(),
        SchemaArguments { index: true, .. } => INDEX_SCHEMA.to_owned(),
        _ => SCHEMA.to_owned(),
    };
    output.finish_with(text.as_bytes())?;
    Ok(Exit::Done)
}

/// Reads a manifest, of which more than the longest is not read.
pub(in crate::cli::plugins) fn read_manifest(path: &Path) -> Result<String, Failure> {
    let wrong = |why: String| Failure::usage(format!("the manifest {} {why}", path.display()));
    let data = std::fs::metadata(path).map_err(|error| wrong(format!("can't be read: {error}; name another file")))?;
    if data.is_dir() || data.len() > MANIFEST_BYTES_MAX as u64 {
        return Err(wrong(format!("is not a file of at most {MANIFEST_BYTES_MAX} bytes; name the connector.toml")));
    }
    std::fs::read_to_string(path).map_err(|error| wrong(format!("can't be read: {error}; name another file")))
}

/// The faults of a manifest, and of the schema in it.
pub(in crate::cli::plugins) fn faults(text: &str) -> Vec<Fault> {
    let faults = Manifest::faults(text);
    let (true, Ok(manifest)) = (faults.is_empty(), Manifest::parse(text)) else { return faults };
    match jsonschema::validator_for(&manifest.settings) {
        Ok(_) => faults,
        Err(error) => {
            let line = 1 + text.lines().take_while(|line| !line.trim_start().starts_with("[settings")).count();
            let problem = format!("it is not a JSON Schema: {error}; see https://json-schema.org");
            vec![Fault { line, column: 1, field: Some("settings".to_owned()), problem }]
        }
    }
}

/// A fault as compilers write one, which editors read.
pub(in crate::cli::plugins) fn shown(file: &str, fault: &Fault) -> String {
    let field = fault.field.as_ref().map_or(String::new(), |field| format!("{field}: "));
    format!("{file}:{}:{}: {field}{}", fault.line, fault.column, fault.problem)
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use backline_model::fixtures::manifest_with;

    const TABLES: &str = r#"
        [[host]]
        origin = "https://api.test"
        methods = ["GET"]
        reason = "numbers"

        [[credential]]
        slot = "app"
        kind = "api-key"
        owner = "operator"
        inject = { header = "x-api-key" }
        hosts = ["https://api.test"]

        [[budget]]
        name = "day"
        slot = "app"
        limit = 100
        window = { rolling = 60 }
        costs = [{ path = "/v1/search", units = 100 }]

        [[request]]
        name = "artists"
        path = "/v1"
        per = "batch"

        [[metric]]
        name = "followers"
        kind = "gauge"
        unit = "followers"

        [[break]]
        metric = "followers"
        date = "2026-03-10"
        note = "made up"

        [account]
        id = '[0-9]{4,}'
        examples = ["1234"]

        [[account.column]]
        name = "example_artist"
        gives = "id"

        [settings]
        type = "object"

        [policy]
        metrics_days = 30

        [[bypass]]
        check = "cost"
        reason = "pages vary"
        until = "2026-12-31"
    "#;

    fn schema() -> jsonschema::Validator {
        let schema: Json = serde_json::from_str(SCHEMA).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    }

    fn as_json(manifest: &str) -> Json {
        toml::from_str(manifest).expect("TOML")
    }

    #[test]
    fn the_schema_and_the_parser_accept_every_manifest_of_the_repository() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let schema = schema();
        let mut checked = 0;
        for folder in ["plugins", "sdk/templates", "sdk/examples"] {
            for entry in std::fs::read_dir(root.join(folder)).expect("a folder") {
                let path = entry.expect("an entry").path().join("connector.toml");
                let Ok(text) = std::fs::read_to_string(&path) else { continue };
                assert!(faults(&text).is_empty(), "{path:?}: {:?}", faults(&text));
                let errors: Vec<String> = schema.iter_errors(&as_json(&text)).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "{path:?}: {errors:?}");
                checked += 1;
            }
        }
        assert!(checked >= 14, "{checked}");
        assert!(schema.is_valid(&as_json(&manifest_with(TABLES))));
        assert!(faults(&manifest_with(TABLES)).is_empty(), "{:?}", faults(&manifest_with(TABLES)));
    }

    #[test]
    fn the_schema_and_the_parser_refuse_the_same_forms() {
        let schema = schema();
        for (from, to) in [
            ("[[host]]", "[[hosts]]"),
            ("name = \"example\"", "name = \"Example\""),
            ("version = \"1.0.0\"", "version = \"1\""),
            ("title = \"Example\"", "titel = \"Example\""),
            ("batch_size = 2", "batch_size = 501"),
            ("batch_size = 2", "batch_size = \"2\""),
            ("[\"GET\"]", "[\"get\"]"),
            ("[\"GET\"]", "[]"),
            ("origin = \"https://api.test\"", "origin = \"http://api.test\""),
            ("origin = \"https://api.test\"", "origin = \"https://api.test/v1\""),
            ("reason = \"numbers\"", "reason = \" \""),
            ("kind = \"api-key\"", "kind = \"key\""),
            ("owner = \"operator\"", "owner = \"us\""),
            ("{ header = \"x-api-key\" }", "\"header\""),
            ("{ header = \"x-api-key\" }", "{ header = \"x\", query = \"y\" }"),
            ("{ header = \"x-api-key\" }", "{ header = \"a b\" }"),
            ("limit = 100", "limit = 0"),
            ("{ rolling = 60 }", "{ rolling = 0 }"),
            ("{ rolling = 60 }", "{ minutes = 1 }"),
            ("{ rolling = 60 }", "60"),
            ("units = 100", "unit = 100"),
            ("per = \"batch\"", "per = \"artist\""),
            ("kind = \"gauge\"", "kind = \"number\""),
            ("unit = \"followers\"", ""),
            ("date = \"2026-03-10\"", "date = 2026-03-10"),
            ("date = \"2026-03-10\"", "date = \"10 March 2026\""),
            ("examples = [\"1234\"]", "examples = []"),
            ("gives = \"id\"", "gives = \"ids\""),
            ("metrics_days = 30", "metrics_days = -1"),
            ("metrics_days = 30", "metric_days = 30"),
            ("check = \"cost\"", "check = \"values\""),
            ("reason = \"pages vary\"", "reason = \" \""),
            ("until = \"2026-12-31\"", "until = 2026-12-31"),
            ("until = \"2026-12-31\"", ""),
        ] {
            let text = manifest_with(TABLES);
            assert!(text.contains(from), "{from}");
            let text = text.replacen(from, to, 1);
            assert!(!faults(&text).is_empty(), "the parser accepts {to}");
            assert!(!schema.is_valid(&as_json(&text)), "the schema accepts {to}");
        }
    }

    #[test]
    fn settings_that_are_no_schema_are_named_with_their_line() {
        let text = manifest_with(&TABLES.replace("type = \"object\"", "type = \"objekt\""));
        let faults = faults(&text);
        assert_eq!((faults.len(), faults[0].field.as_deref()), (1, Some("settings")), "{faults:?}");
        assert_eq!(text.lines().nth(faults[0].line - 1).map(str::trim), Some("[settings]"));
        assert!(shown("a.toml", &faults[0]).starts_with(&format!("a.toml:{}:1: settings: it is", faults[0].line)));
    }
}
