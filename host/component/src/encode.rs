//! Makes a component of a core module. What the module's toolchain left out is added here: the contract's types, where
//! it embedded none, and an end for WASI's first snapshot, with nothing behind it.
//!
//! So a compiler for WebAssembly is all that a language needs. See `docs/decisions/042-pack-completes-core-modules.md`.

use std::borrow::Cow;

use wasm_encoder::{Encode as _, RawSection};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The versions of the contract, the first one for a module that names none, with the copy whose functions are plain: a
/// core module calls and answers without the async ABI.
static CONTRACTS: [Contract; 2] = [
    Contract { version: "1.0.0", text: include_str!("../../../wit/connector-sync/1.0.0/connector.wit") },
    Contract { version: "1.1.0", text: include_str!("../../../wit/connector-sync/1.1.0/connector.wit") },
];

/// A version of the contract.
struct Contract {
    version: &'static str,
    text: &'static str,
}

impl Contract {
    /// The one whose functions a module exports. The name of an interface stands within the name of each function,
    /// after a mark of the async ABI where that is used.
    fn of_export(name: &str) -> Option<&'static Self> {
        let (_, rest) = name.split_once("backline:connector/source@")?;
        let (version, _) = rest.split_once('#')?;
        CONTRACTS.iter().find(|contract| contract.version == version)
    }
}

/// What the adapter imports, as a world of the same package.
const ADAPTER_WORLD: &str = "\nworld wasip1 {\n  import log;\n}\n";

/// What stands behind the functions of the snapshot. It writes to the log of the first version.
const ADAPTER: &str = include_str!("wasip1.wat");

/// How the adapter's text names the log's interface, up to its version.
const LOG: &str = "\"backline:connector/log@";

/// The module that toolchains import the functions of WASI's first snapshot from.
const SNAPSHOT: &str = "wasi_snapshot_preview1";

/// Bytes before the first section: magic number and version.
const HEADER_BYTES: usize = 8;

/// Makes a component of a core module; says why it can't.
pub(super) fn encode(module: &[u8]) -> Result<Vec<u8>, String> {
    let Found { contract, has_types, wants_wasi, has_debug } = Found::in_module(module)?;
    let contract = contract.unwrap_or(&CONTRACTS[0]);
    let mut module = if has_debug { Cow::Owned(without_debug(module)?) } else { Cow::Borrowed(module) };
    if !has_types {
        embed(module.to_mut(), contract, "connector")?;
    }
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true);
    encoder.module(&module).map_err(|error| format!("{error:#}"))?;
    if wants_wasi {
        // Of the module's own version: a connector has one log.
        let [log, own_log] = [CONTRACTS[0].version, contract.version].map(|version| format!("{LOG}{version}\""));
        let adapter = wat::parse_str(ADAPTER.replace(&log, &own_log));
        let mut adapter = adapter.map_err(|error| format!("{error:#}"))?;
        embed(&mut adapter, contract, "wasip1")?;
        encoder.adapter(SNAPSHOT, &adapter).map_err(|error| format!("{error:#}"))?;
    }
    encoder.encode().map_err(|error| format!("{error:#}"))
}

/// What a core module brings along.
#[derive(Default)]
struct Found {
    /// The version of the contract that its functions are of.
    contract: Option<&'static Contract>,
    /// Types of a world, as bindings generators embed them.
    has_types: bool,
    /// Imports of WASI's first snapshot.
    wants_wasi: bool,
    /// Debug information, which is often most of the file.
    has_debug: bool,
}

impl Found {
    fn in_module(module: &[u8]) -> Result<Self, String> {
        let mut found = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(|error| error.message().to_owned())? {
                Payload::CustomSection(section) => {
                    found.has_types |= section.name().starts_with("component-type");
                    found.has_debug |= is_debug(section.name());
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.map_err(|error| error.message().to_owned())?;
                        found.contract = found.contract.or_else(|| Contract::of_export(export.name));
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.map_err(|error| error.message().to_owned())?;
                        found.wants_wasi |= import.module == SNAPSHOT;
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Whether a custom section is DWARF. The names of functions, which a trap's message shows, are in another one.
fn is_debug(section: &str) -> bool {
    section.starts_with(".debug_")
}

fn without_debug(module: &[u8]) -> Result<Vec<u8>, String> {
    let cut = || "it is truncated".to_owned();
    let mut kept = module.get(..HEADER_BYTES).ok_or_else(cut)?.to_vec();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|error| error.message().to_owned())?;
        if matches!(&payload, Payload::CustomSection(section) if is_debug(section.name())) {
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
            let data = module.get(place(range.start)..place(range.end)).ok_or_else(cut)?;
            kept.push(id);
            RawSection { id, data }.encode(&mut kept); // its length and its bytes
        }
    }
    Ok(kept)
}

/// Embeds the types of a world of the contract.
fn embed(module: &mut Vec<u8>, contract: &Contract, world: &str) -> Result<(), String> {
    let mut resolve = Resolve::default();
    let text = format!("{}{ADAPTER_WORLD}", contract.text);
    let package = resolve.push_str("connector.wit", &text).map_err(|error| format!("{error:#}"))?;
    let world = resolve.select_world(&[package], Some(world)).map_err(|error| format!("{error:#}"))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).map_err(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use wasm_encoder::CustomSection;

    use super::*;
    use crate::{PackError, inspect, pack};
    use backline_model::fixtures::manifest_with;

    /// What a compiler makes of the contract's functions alone, in a language that asks a system for something.
    const BARE: &str = r#"
        (module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_open"
            (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (unreachable))
          (func (export "backline:connector/source@1.0.0#check")
            (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (unreachable))
          (func (export "backline:connector/source@1.0.0#fetch")
            (param i32 i32 i64 i64 i32 i32) (result i32) (unreachable))
          (func $turns_documents_into_snapshots (export "backline:connector/source@1.0.0#normalize")
            (param i32 i32) (result i32)
            (call $write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))))
    "#;

    fn has(bytes: &[u8], text: &str) -> bool {
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    #[test]
    fn a_bare_module_becomes_a_connector_that_imports_nothing_of_a_system() {
        let module = wat::parse_str(BARE).expect("a module");
        let packed = pack(&module, &manifest_with("")).expect("packed");
        let imports = inspect(&packed).expect("a connector").imports;
        assert!(imports.iter().all(|import| import.starts_with("backline:connector/")), "{imports:?}");
        assert!(imports.contains(&"backline:connector/log@1.0.0".to_owned()), "what is printed is logged: {imports:?}");
        assert!(has(&packed, "turns_documents_into_snapshots"), "names of functions are kept");
    }

    #[test]
    fn the_version_follows_from_the_functions_that_a_module_exports() {
        // The context of 1.1.0 has a list more.
        let next = BARE
            .replace("source@1.0.0", "source@1.1.0")
            .replace("(param i32 i32 i64 i64 i32 i32)", "(param i32 i32 i64 i64 i32 i32 i32 i32)");
        let packed = pack(&wat::parse_str(&next).expect("a module"), &manifest_with("")).expect("packed");
        let found = inspect(&packed).expect("a connector");
        assert_eq!(found.wit_version, "1.1.0");
        assert!(found.imports.contains(&"backline:connector/log@1.1.0".to_owned()), "{:?}", found.imports);
        assert!(found.imports.iter().all(|import| import.ends_with("@1.1.0")), "{:?}", found.imports);
        let unknown = BARE.replace("source@1.0.0", "source@1.2.0");
        let error = pack(&wat::parse_str(&unknown).expect("a module"), &manifest_with("")).expect_err("refused");
        assert!(matches!(error, PackError::NotEncodable(_)), "{error}");
        let named = |name| Contract::of_export(name).map(|contract| contract.version);
        assert_eq!(named("[async-lift]backline:connector/source@1.1.0#fetch"), Some("1.1.0"));
        assert_eq!(named("memory"), None);
    }

    #[test]
    fn debug_information_is_left_out() {
        let mut module = wat::parse_str(BARE).expect("a module");
        let section = CustomSection { name: ".debug_info".into(), data: Cow::Borrowed(b"of no use here") };
        module.push(0); // a custom section's id
        section.encode(&mut module);
        let packed = pack(&module, &manifest_with("")).expect("packed");
        assert!(!has(&packed, ".debug_info") && !has(&packed, "of no use here"));
        assert!(has(&packed, "turns_documents_into_snapshots"), "names of functions are kept");
        assert_eq!(packed, pack(&wat::parse_str(BARE).expect("a module"), &manifest_with("")).expect("packed"));
    }

    #[test]
    fn a_module_without_the_contracts_functions_is_refused_by_name() {
        let less = BARE.replace("source@1.0.0#fetch", "source@1.0.0#fetsch");
        let error = pack(&wat::parse_str(&less).expect("a module"), &manifest_with("")).expect_err("refused");
        assert!(matches!(error, PackError::NotEncodable(_)), "{error}");
        assert!(error.to_string().contains("function `fetch`"), "{error}");
        let other = BARE.replace("wasi_snapshot_preview1", "env");
        assert!(pack(&wat::parse_str(&other).expect("a module"), &manifest_with("")).is_err());
    }

    #[test]
    fn truncated_modules_are_refused() {
        let module = wat::parse_str(BARE).expect("a module");
        for end in 0..module.len() / 2 {
            assert!(encode(&module[..end]).is_err(), "{end}");
        }
    }
}
