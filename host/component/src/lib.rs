//! Component files: made, signed, and read, without running any of their code; and where they may come from.

mod config;
mod inspect;
mod pack;
mod signature;
mod source;

pub use config::{Demand, PluginsConfig, RegistryConfig, SignaturePolicy, beside};
pub use inspect::{InspectError, Inspection, inspect};
pub use pack::{PackError, pack};
pub use signature::{
    KeyFiles, SIGNATURE_BYTES_MAX, SIGNATURE_SUFFIX, SignatureError, SigningError, SigningKey, TrustedKey,
    check_public_key, generate_key, verify,
};
pub use source::{OciReference, Source, SourceError};
