//! Packs what a connector's author compiled into what an operator installs: a component with its manifest inside.

use std::borrow::Cow;

use wasm_encoder::{CustomSection, Encode as _};
use wasmparser::{Encoding, Parser, Payload};

use super::async_types::{first_plain, make_async};
use super::encode::encode;
use super::inspect::{InspectError, inspect};
use backline_model::manifest::{Manifest, ManifestError, SECTION};

/// Why a file could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The manifest is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Neither a core module nor a component.
    #[error("the file is not WebAssembly: {0}")]
    NotWasm(String),
    /// It already has a manifest.
    #[error("the component carries a manifest already; pack the file the compiler wrote, not a packed one")]
    AlreadyPacked,
    /// A core module that can't become a component: it imports something outside the contract, or lacks a function.
    #[error(
        "the core module can't be made a component: {0}; build it as the README of a project of `backline plugins \
         new` says"
    )]
    NotEncodable(String),
    /// A component that is not valid.
    #[error("the component is not valid: {0}; build it again, and with a current version of its toolchain")]
    Invalid(String),
    /// A function of the contract has a type that would not link.
    #[error(
        "{0} is not an async function, and its parameters are not those of the contract, so it can't be made one; \
         build against wit/connector or wit/connector-sync as published"
    )]
    Plain(String),
    /// The result is not a connector.
    #[error(transparent)]
    Result(#[from] InspectError),
}

/// Packs a core module or a component with its manifest. What was built against the synchronous copy of the contract
/// gets the contract's own types; a core module without types gets them too.
///
/// # Errors
/// [`PackError`] says what is wrong. The returned component has passed [`inspect`].
pub fn pack(wasm: &[u8], manifest: &str) -> Result<Vec<u8>, PackError> {
    Manifest::parse(manifest)?.check_owners()?;
    let mut component = match encoding(wasm)? {
        Encoding::Component => wasm.to_vec(),
        Encoding::Module => encode(wasm).map_err(PackError::NotEncodable)?,
    };
    if has_manifest(&component)? {
        return Err(PackError::AlreadyPacked);
    }
    let invalid = |error: wasmparser::BinaryReaderError| PackError::Invalid(error.message().to_owned());
    make_async(&mut component).map_err(invalid)?;
    if let Some(function) = first_plain(&component).map_err(invalid)? {
        return Err(PackError::Plain(function));
    }
    let section = CustomSection { name: Cow::Borrowed(SECTION), data: Cow::Borrowed(manifest.as_bytes()) };
    component.push(0); // a custom section's id; `encode` writes its length, name and data
    section.encode(&mut component);
    inspect(&component)?;
    Ok(component)
}

fn encoding(wasm: &[u8]) -> Result<Encoding, PackError> {
    match Parser::new(0).parse_all(wasm).next() {
        Some(Ok(Payload::Version { encoding, .. })) => Ok(encoding),
        Some(Err(error)) => Err(PackError::NotWasm(error.message().to_owned())),
        _ => Err(PackError::NotWasm("it is empty".to_owned())),
    }
}

fn has_manifest(component: &[u8]) -> Result<bool, PackError> {
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::CustomSection(section) =
            payload.map_err(|error| PackError::NotWasm(error.message().to_owned()))?
            && section.name() == SECTION
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use backline_model::fixtures::manifest_with;

    use super::*;

    #[test]
    fn refuses_what_is_not_webassembly() {
        for bytes in [&b""[..], b"hello", b"\0asm", b"\x7fELF\x02\x01\x01"] {
            assert!(matches!(pack(bytes, &manifest_with("")), Err(PackError::NotWasm(_))), "{bytes:?}");
        }
    }

    #[test]
    fn refuses_a_component_that_is_no_connector() {
        let empty = wasm_encoder::Component::new().finish();
        assert!(matches!(pack(&empty, &manifest_with("")), Err(PackError::Result(InspectError::NotAConnector))));
    }

    #[test]
    fn refuses_an_invalid_manifest_before_it_reads_the_file() {
        let wrong = manifest_with("").replace("batch_size = 2", "batch_size = 0");
        let problem = pack(b"", &wrong).expect_err("refused").to_string();
        assert!(problem.contains("connector.batch_size"), "{problem}");
    }

    #[test]
    fn names_the_remedy_for_a_core_module_and_a_missing_manifest() {
        let module = wasm_encoder::Module::new().finish();
        assert!(inspect(&module).expect_err("refused").to_string().contains("backline plugins pack"));
        let component = wasm_encoder::Component::new().finish();
        assert!(inspect(&component).expect_err("refused").to_string().contains("--manifest"));
    }

    #[test]
    fn refuses_two_manifests() {
        let mut component = wasm_encoder::Component::new().finish();
        let manifest = manifest_with("");
        for _ in 0..2 {
            component.push(0);
            CustomSection { name: Cow::Borrowed(SECTION), data: Cow::Borrowed(manifest.as_bytes()) }
                .encode(&mut component);
        }
        assert!(matches!(inspect(&component), Err(InspectError::SeveralManifests(2))));
    }
}
