//! `backline plugins publish`: a packed component into a registry.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde_json::json;

use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::{PublishRequest, Published, publish};
use backline_component::Source;

/// Arguments of `publish`.
#[derive(Args)]
pub(crate) struct PublishArguments {
    /// Where to: oci://registry/name, or oci://registry/name:version; the connector's own version unless given
    #[arg(value_name = "TARGET")]
    target: Target,
    /// The packed component
    file: PathBuf,
    /// File of its signature; FILE.minisig beside the component unless given
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Publish it without a signature
    #[arg(long, conflicts_with = "signature")]
    unsigned: bool,
    /// Move a version that names other bytes in the registry
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A place in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    registry: String,
    repository: String,
    tag: Option<String>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write oci://registry/name or oci://registry/name:version, without a digest".to_owned();
        let name = text.strip_prefix("oci://").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?.1;
        let has_tag = name.contains(':');
        let whole = if has_tag { text.to_owned() } else { format!("{text}:latest") };
        match whole.parse::<Source>() {
            Ok(Source::Oci(reference)) if reference.digest.is_none() => Ok(Self {
                registry: reference.registry,
                repository: reference.repository,
                tag: reference.tag.filter(|_| has_tag),
            }),
            Ok(_) => Err(wrong()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Runs the command.
pub(in crate::cli::plugins) async fn run(context: &Context, arguments: PublishArguments) -> CommandResult {
    let PublishArguments { target, file, signature, unsigned, force, json } = arguments;
    let Target { registry, repository, tag } = target;
    let request =
        PublishRequest { component: file.clone(), signature, unsigned, registry, repository, tag, replace: force };
    let published = publish(context.config(), &request).await;
    let published = published.map_err(|error| Failure::from(error).about(&file.display().to_string()))?;
    let Published { reference, inspection, signed_by, warnings } = published;
    for warning in &warnings {
        print::note(&format!("warning: {}: {warning}", file.display()));
    }
    let info = &inspection.manifest.connector;
    if json {
        print::json(&json!({
            "name": info.name,
            "version": info.version,
            "digest": inspection.digest,
            "reference": reference.to_string(),
            "signed_by": signed_by,
        }))?;
    } else {
        print::line(&format!("{} {}\nsha256 {}\n{reference}", info.name, info.version, inspection.digest))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_version_or_gets_the_connectors() {
        let target = |text: &str| text.parse::<Target>();
        let expected = |tag: Option<&str>| {
            let (registry, repository) = ("registry.example:5000".to_owned(), "acme/youtube".to_owned());
            Ok(Target { registry, repository, tag: tag.map(str::to_owned) })
        };
        assert_eq!(target("oci://registry.example:5000/acme/youtube"), expected(None));
        assert_eq!(target("oci://registry.example:5000/acme/youtube:1.2.0"), expected(Some("1.2.0")));
        let digest = "0".repeat(64);
        for text in [
            "youtube.wasm",
            "https://registry.example/acme/youtube",
            "oci://registry.example",
            "oci://registry.example/Acme",
            &format!("oci://registry.example/acme@sha256:{digest}"),
            &format!("oci://registry.example/acme:1@sha256:{digest}"),
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
