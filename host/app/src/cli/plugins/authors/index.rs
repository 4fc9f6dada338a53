//! `backline plugins search | index`: indexes of connectors, read and written.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::sign::signing_key;
use crate::cli::context::Context;
use crate::cli::plugins::read_file;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::output::{Access, Existing, NewFile};
use crate::cli::terminal::print;
use crate::pipeline::{ObtainOptions, ReadIndex, read_index};
use backline_component::{Index, IndexedConnector, NameInIndex, SIGNATURE_SUFFIX, Source, inspect};

/// Arguments of `search`.
#[derive(Args)]
pub(crate) struct SearchArguments {
    /// Words that must all occur in the name, platform, title, description, metrics or hosts; all connectors without
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// The index: an https URL or a file; the configured one unless given
    #[arg(long, value_name = "URL|FILE")]
    index: Option<Source>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `backline plugins index …`
#[derive(Subcommand)]
pub(crate) enum IndexCommand {
    /// Add a release to an index, which is made if there is none, and sign the index
    Add(AddArguments),
    /// Check an index: that a trusted key signed it, and what it says
    Verify(VerifyArguments),
}

/// Arguments of `index add`.
#[derive(Args)]
pub(crate) struct AddArguments {
    /// File of the index
    index: PathBuf,
    /// The packed component
    file: PathBuf,
    /// Where operators get it: https://…, oci://… (publish prints it), or a path relative to the index
    #[arg(long, value_name = "SOURCE")]
    source: String,
    /// The secret key to sign the index with; its password, if it has one, is read from standard input
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Replace the version if the index has it with other bytes
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `index verify`.
#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The index: an https URL or a file; the configured one unless given
    index: Option<Source>,
    /// Get every component too, and check that it is what the index says
    #[arg(long)]
    components: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Searches an index.
pub(in crate::cli::plugins) async fn search(context: &Context, arguments: SearchArguments) -> CommandResult {
    let SearchArguments { words, index, json } = arguments;
    let read = read_index(context.config(), index.as_ref(), false).await?;
    warn(&read);
    let found: Vec<Json> = read.index.search(&words).into_iter().map(described).collect();
    let row = |connector: &Json| {
        let text = |field: &str| connector[field].as_str().unwrap_or(print::NONE).to_owned();
        let list = |field: &str| {
            let names = connector[field].as_array().into_iter().flatten().filter_map(Json::as_str);
            names.collect::<Vec<_>>().join(", ")
        };
        vec![text("name"), text("platform"), text("version"), text("title"), list("metrics"), list("hosts")]
    };
    let headers = ["name", "platform", "version", "title", "?metrics", "?hosts"];
    let none = "the index has no such connector; fewer words find more";
    print::listing(json, &found, &headers, row, none)?;
    Ok(Exit::Done)
}

fn described(connector: &IndexedConnector) -> Json {
    let newest = connector.newest();
    json!({
        "name": connector.name,
        "platform": connector.platform,
        "title": connector.title,
        "description": connector.description,
        "version": newest.map(|release| &release.version),
        "digest": newest.map(|release| &release.digest),
        "metrics": newest.map(|release| &release.metrics),
        "hosts": newest.map(|release| &release.hosts),
        "releases": connector.releases,
    })
}

fn warn(read: &ReadIndex) {
    for warning in &read.warnings {
        print::note(&format!("warning: {warning}"));
    }
}

/// Runs `index …`.
pub(in crate::cli::plugins) async fn run(context: &Context, command: IndexCommand) -> CommandResult {
    match command {
        IndexCommand::Add(arguments) => add(context, &arguments),
        IndexCommand::Verify(arguments) => verify(context, arguments).await,
    }
}

fn add(context: &Context, arguments: &AddArguments) -> CommandResult {
    let AddArguments { index: path, file, source, key, force, json } = arguments;
    let component = read_file(file)?;
    let inspection = inspect(&component).map_err(|error| Failure::from(error).about(&file.display().to_string()))?;
    let about = |failure: Failure| failure.about(&path.display().to_string());
    let now = context.clock.now();
    let mut index = match path.exists() {
        true => Index::parse(&read_file(path)?).map_err(|error| about(error.into()))?,
        false => Index::empty(now),
    };
    index.add(&inspection, source, *force, now).map_err(|error| about(error.into()))?;
    let signature_path = PathBuf::from(format!("{}{SIGNATURE_SUFFIX}", path.display()));
    if key.is_none() && signature_path.exists() {
        return Err(about(Failure::usage(
            "it is signed, and the signature would not match it any more; add --key FILE",
        )));
    }
    let text = index.to_text();
    let signature = match key {
        Some(key) => Some(sign(context, key, path, &text)?),
        None => None,
    };
    // Both are complete before either gets its name.
    let mut written = vec![new_file(path, text.as_bytes())?];
    if let Some(signature) = &signature {
        written.push(new_file(&signature_path, signature.as_bytes())?);
    }
    for file in written {
        file.finish()?;
    }
    let info = &inspection.manifest.connector;
    let signed = if signature.is_some() { "signed" } else { "not signed; operators who ask for a URL need --key FILE" };
    let report = json!({
        "index": path,
        "name": info.name,
        "version": info.version.to_string(),
        "digest": inspection.digest,
        "is_signed": signature.is_some(),
    });
    let sentence =
        format!("{} has {} {} with sha256 {}: {signed}", path.display(), info.name, info.version, inspection.digest);
    print::done(*json, &report, &sentence)?;
    Ok(Exit::Done)
}

fn new_file(path: &Path, bytes: &[u8]) -> Result<NewFile, Failure> {
    let mut file = NewFile::create(path, Access::Shared, Existing::updated())?;
    file.write(bytes)?;
    Ok(file)
}

fn sign(context: &Context, key: &Path, index: &Path, text: &str) -> Result<String, Failure> {
    let name = index.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let signed = signing_key(key)?.sign(text.as_bytes(), &name, context.clock.now());
    signed.map_err(|error| Failure::from(error).about(&index.display().to_string()))
}

async fn verify(context: &Context, arguments: VerifyArguments) -> CommandResult {
    let VerifyArguments { index, components, json } = arguments;
    let read = read_index(context.config(), index.as_ref(), true).await?;
    let mut wrong = Vec::new();
    let mut releases = 0;
    for connector in &read.index.connectors {
        for release in &connector.releases {
            releases += 1;
            let named = NameInIndex { name: connector.name.clone(), version: Some(release.version.clone()) };
            let options = ObtainOptions::default();
            if components && let Err(error) = read.obtain(context.config(), &named, &options).await {
                wrong.push((connector.name.clone(), release.version.to_string(), Failure::from(error).message));
            }
        }
    }
    let signer = read.signed_by.as_deref().unwrap_or(print::NONE);
    if json {
        let wrong: Vec<Json> = wrong
            .iter()
            .map(|(name, version, problem)| json!({ "name": name, "version": version, "problem": problem }))
            .collect();
        print::json(&json!({
            "signed_by": read.signed_by,
            "updated_at": read.index.updated_at,
            "connectors": read.index.connectors.len(),
            "releases": releases,
            "wrong": wrong,
        }))?;
    } else {
        let connectors = print::count(read.index.connectors.len() as u64, "connector");
        let at = print::time(read.index.updated_at);
        print::line(&format!("{connectors}, {}, of {at}\nsigned by {signer}", print::count(releases, "release")))?;
        for (name, version, problem) in &wrong {
            print::line(&format!("{name} {version}: {problem}"))?;
        }
    }
    Ok(if wrong.is_empty() { Exit::Done } else { Exit::Failed })
}
