//! Component files: packing, signing and inspecting them without running their code, and where they may come from.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use backline_component::{SigningKey, TrustedKey, generate_key, verify};
//! use chrono::DateTime;
//!
//! let component = b"the bytes of a component";
//! let acme = generate_key("acme")?;
//! let signature = SigningKey::parse(&acme.secret, None)?.sign(component, "youtube.wasm", DateTime::UNIX_EPOCH)?;
//!
//! let trusted = BTreeMap::from([("acme".to_owned(), TrustedKey { key: acme.key, connectors: Vec::new() })]);
//! assert_eq!(verify(component, &signature, &trusted, "youtube")?, "acme");
//! assert!(verify(b"other bytes", &signature, &trusted, "youtube").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod async_types;
mod config;
mod encode;
#[cfg(test)]
mod guide;
mod index;
mod inspect;
mod language;
mod pack;
mod renew;
mod scaffold;
mod signature;
mod source;

pub use config::{PluginsConfig, RegistryConfig, SignaturePolicy, SignatureRule, beside};
pub use index::{INDEX_BYTES_MAX, INDEX_SCHEMA, Index, IndexError, IndexedConnector, IndexedRelease, NameInIndex};
pub use inspect::{InspectError, Inspection, imports_shown, inspect, is_wasi};
pub use language::{Build, Language, ProjectCommand, Tool};
pub use pack::{PackError, pack};
pub use renew::{RenewError, StepOutcome, UpdateStep, VendorUpdate, renew, stamp_of};
pub use scaffold::{ProjectFile, ScaffoldError, Stamp, TEMPLATE, project};
pub use signature::{
    KeyFiles, SIGNATURE_BYTES_MAX, SIGNATURE_SUFFIX, SignatureError, SigningError, SigningKey, TrustedKey,
    check_public_key, generate_key, verify,
};
pub use source::{OciReference, Source, SourceError};
