//! The source of a component: the arguments that `install`, `inspect` and `verify` share.

use std::path::PathBuf;

use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::print;
use crate::pipeline::{ObtainOptions, Obtained, obtain};
use backline_component::Source;
use backline_model::Digest;

/// The source of a component, and what to check it against.
#[derive(clap::Args)]
pub(super) struct SourceArguments {
    /// The packed component: a file, https://host/file.wasm or oci://registry/name:version
    #[arg(value_name = "SOURCE")]
    pub source: Source,
    /// File of its signature; FILE.minisig beside the component unless given
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// SHA-256 that the component must have
    #[arg(long, value_name = "SHA256")]
    pub digest: Option<Digest>,
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
        let outcome = obtain(context.config(), &self.source, &options).await;
        let obtained = outcome.map_err(|error| Failure::from(error).about(&self.source.to_string()))?;
        for warning in &obtained.warnings {
            print::note(&format!("warning: {}: {warning}", self.source));
        }
        Ok(obtained)
    }
}
