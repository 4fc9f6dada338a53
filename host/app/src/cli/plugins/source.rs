//! The source of a component: the arguments that `install`, `inspect` and `verify` share. A bare name is looked up in
//! an index.

use std::path::PathBuf;

use crate::cli::context::Context;
use crate::cli::terminal::exit::Failure;
use crate::cli::terminal::print;
use crate::pipeline::{ObtainOptions, Obtained, ReadIndexError, obtain, read_index};
use backline_component::{NameInIndex, Source};
use backline_model::Digest;

/// The source of a component, and what to check it against.
#[derive(clap::Args)]
pub(super) struct SourceArguments {
    /// The packed component: a file, https://host/file.wasm, oci://registry/name:version, or NAME or NAME@VERSION of an
    /// index
    #[arg(value_name = "SOURCE")]
    pub source: Source,
    /// File of its signature; FILE.minisig beside the component unless given
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// SHA-256 that the component must have
    #[arg(long, value_name = "SHA256")]
    pub digest: Option<Digest>,
    /// Index to look NAME up in: an https URL or a file; the configured one unless given
    #[arg(long, value_name = "URL|FILE")]
    pub index: Option<Source>,
}

impl SourceArguments {
    /// Obtains the component and checks digest and signature; prints warnings.
    pub(super) async fn obtain(&self, context: &Context, must_be_signed: bool) -> Result<Obtained, Failure> {
        let options = ObtainOptions {
            signature: self.signature.clone(),
            pin: self.digest,
            must_be_signed,
            ..ObtainOptions::default()
        };
        let about = |failure: Failure| failure.about(&self.source.to_string());
        let obtained = match self.named() {
            Some(named) => {
                let read = read_index(context.config(), self.index.as_ref(), false).await;
                let read = read.map_err(|error| match error {
                    ReadIndexError::NotConfigured => Failure::usage(format!(
                        "there is no file {}, and no index to look the name up in; name the file, set index under \
                         [plugins], or add --index",
                        self.source
                    )),
                    error => about(Failure::from(error)),
                })?;
                for warning in &read.warnings {
                    print::note(&format!("warning: {warning}"));
                }
                let obtained = read.obtain(context.config(), &named, &options).await;
                obtained.map_err(|error| about(Failure::from(error)))?
            }
            None => {
                let obtained = obtain(context.config(), &self.source, &options).await;
                obtained.map_err(|error| about(Failure::from(error)))?
            }
        };
        for warning in &obtained.warnings {
            print::note(&format!("warning: {}: {warning}", self.source));
        }
        Ok(obtained)
    }

    /// The name in an index that the source is: nothing but a name, and no file here has it.
    fn named(&self) -> Option<NameInIndex> {
        match &self.source {
            Source::File(path) if !path.exists() => NameInIndex::of(&self.source),
            _ => None,
        }
    }
}
