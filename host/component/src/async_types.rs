//! Gives `send`, `send-all`, `check` and `fetch` of a component the async types of the contract, where a toolchain made
//! them plain.
//!
//! Whether a function is async is part of its type, and a plain function does not link where an async one is wanted.
//! It is not part of how the guest is called: an import with an async type may be lowered, an export lifted, without
//! the async ABI; such a call blocks this guest only. So bindings that know no async function serve, built against
//! `wit/connector-sync`, once the types say what the host's say. A type is one byte before its parameters: nothing
//! moves, and no code changes.

use wasmparser::component_types::ComponentEntityType;
use wasmparser::{
    BinaryReader, BinaryReaderError, ComponentType, ComponentTypeDeclaration, InstanceTypeDeclaration, Parser, Payload,
    Validator, WasmFeatures,
};

/// First byte of a plain function's type, and of an async one's (component model, binary format, `functype`).
const PLAIN: u8 = 0x40;
const ASYNC: u8 = 0x43;

/// First byte of the type of a component, and of an instance.
const COMPONENT: u8 = 0x41;
const INSTANCE: u8 = 0x42;

/// Tag of a type among the declarations of such a type; the type follows at once.
const TYPE_TAG_BYTES: u64 = 1;

/// Parameters of `send`, `send-all`, `check` and `fetch`, which tell their types from all others: neither the contract,
/// in any of its versions, nor what the host links of WASI 0.2 has another function with one of these lists.
const PARAMETERS: [&[&str]; 4] = [&["request"], &["requests"], &["account"], &["accounts", "context"]];

/// The functions that must be async, by the name of their interface without its version.
const CONTRACT: [(&str, &[&str]); 2] =
    [("backline:connector/http@", &["send", "send-all"]), ("backline:connector/source@", &["check", "fetch"])];

/// Makes the types of these functions async wherever they occur in a component. Returns how many types were changed; a
/// component that is async already is left as it is.
pub(super) fn make_async(component: &mut [u8]) -> Result<usize, BinaryReaderError> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::ComponentTypeSection(section) = payload? {
            for item in section.into_iter_with_offsets() {
                let (offset, item) = item?;
                plain_types(component, offset, &item, &mut found)?;
            }
        }
    }
    for &offset in &found {
        component[offset] = ASYNC;
    }
    Ok(found.len())
}

/// Adds the offsets of the plain types to change within the type that begins at `offset`.
fn plain_types(
    component: &[u8],
    offset: u64,
    item: &ComponentType<'_>,
    found: &mut Vec<usize>,
) -> Result<(), BinaryReaderError> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    match item {
        ComponentType::Func(function) => {
            let names: Vec<&str> = function.params.iter().map(|(name, _)| *name).collect();
            if component.get(start) == Some(&PLAIN) && PARAMETERS.contains(&names.as_slice()) {
                found.push(start);
            }
        }
        // The parser gives the declarations without their offsets, so they are read once more.
        ComponentType::Instance(_) | ComponentType::Component(_) => {
            let mut reader = BinaryReader::new(component.get(start..).unwrap_or_default(), offset);
            let kind = reader.read_u8()?;
            for _ in 0..reader.read_var_u32()? {
                let declared = reader.original_position() + TYPE_TAG_BYTES;
                let inner = match kind {
                    INSTANCE => match reader.read::<InstanceTypeDeclaration<'_>>()? {
                        InstanceTypeDeclaration::Type(inner) => inner,
                        _ => continue,
                    },
                    COMPONENT => match reader.read::<ComponentTypeDeclaration<'_>>()? {
                        ComponentTypeDeclaration::Type(inner) => inner,
                        _ => continue,
                    },
                    _ => continue,
                };
                plain_types(component, declared, &inner, found)?;
            }
        }
        ComponentType::Defined(_) | ComponentType::Resource { .. } => {}
    }
    Ok(())
}

/// Checks that a component is valid, and names the first function of the contract that would not link since its type is
/// not async; none if all are.
pub(super) fn first_plain(component: &[u8]) -> Result<Option<String>, BinaryReaderError> {
    let types = Validator::new_with_features(WasmFeatures::all()).validate_all(component)?;
    let types = types.as_ref();
    let mut interfaces = Vec::new();
    // The names of interfaces, whose types the validator looks up by name.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let name = import?.name.name;
                    interfaces.push((name, types.component_item_for_import(name)));
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let name = export?.name.name;
                    interfaces.push((name, types.component_item_for_export(name)));
                }
            }
            _ => {}
        }
    }
    for (name, item) in interfaces {
        let Some(ComponentEntityType::Instance(instance)) = item.map(|item| &item.ty) else { continue };
        for (interface, functions) in CONTRACT {
            for function in functions.iter().filter(|_| name.starts_with(interface)) {
                let exported = types[*instance].exports.get(*function).map(|item| &item.ty);
                if let Some(ComponentEntityType::Func(id)) = exported
                    && !types[*id].async_
                {
                    return Ok(Some(format!("{name}.{function}")));
                }
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
    use wit_parser::{ManglingAndAbi, Resolve};

    use super::*;

    const ASYNC_WIT: &str = include_str!("../../../wit/connector/1.0.0/connector.wit");
    const PLAIN_WIT: &str = include_str!("../../../wit/connector-sync/1.0.0/connector.wit");
    const NEXT_ASYNC_WIT: &str = include_str!("../../../wit/connector/1.1.0/connector.wit");
    const NEXT_PLAIN_WIT: &str = include_str!("../../../wit/connector-sync/1.1.0/connector.wit");

    /// A component as a toolchain makes it whose bindings know no async function. It traps when it is called.
    fn built_against(wit: &str) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("connector.wit", wit).expect("WIT");
        let world = resolve.select_world(&[package], Some("connector")).expect("a world");
        let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(wit_parser::LiftLowerAbi::Sync));
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embedded");
        let mut encoder = ComponentEncoder::default();
        encoder.validate(true);
        encoder.module(&module).expect("a module");
        encoder.encode().expect("a component")
    }

    #[test]
    fn the_synchronous_world_is_the_published_one_without_async() {
        for (published, plain, functions) in [(ASYNC_WIT, PLAIN_WIT, 3), (NEXT_ASYNC_WIT, NEXT_PLAIN_WIT, 4)] {
            let start = plain.find("///\n/// This copy has no `async` function").expect("a note");
            let end = plain.find("package backline:connector").expect("a package");
            let without_note = format!("{}{}", &plain[..start], &plain[end..]);
            assert_eq!(without_note, published.replace(": async func(", ": func("));
            assert_eq!(published.matches(": async func(").count(), functions);
        }
    }

    #[test]
    fn a_published_contract_never_changes() {
        let digest = |text: &str| backline_model::Digest::of(text.as_bytes()).to_string();
        for (text, published) in [
            (ASYNC_WIT, "7594fe7b99d84e1130ef02d810cf2a84ffa7d83aa1cfb5105b246dd083b7d300"),
            (PLAIN_WIT, "c3d54c6d844acbd90aab626ff30642a16b4096e0fac61575c3e2f3366e099552"),
            (NEXT_ASYNC_WIT, "ca392fa2fa1791dcb3e743e7d6fde8c22c811723a4ab1d012148cba859fcc689"),
            (NEXT_PLAIN_WIT, "1e4469577ae654a21cac87552789a022c8051721b15109fa4978d3260e60dc6c"),
        ] {
            assert_eq!(digest(text), published);
        }
    }

    #[test]
    fn a_plain_component_becomes_what_the_published_world_makes() {
        let mut component = built_against(PLAIN_WIT);
        assert_eq!(
            first_plain(&component).expect("valid").as_deref(),
            Some("backline:connector/http@1.0.0.send"),
            "a toolchain's plain function keeps its plain type"
        );
        let before = component.len();
        assert!(make_async(&mut component).expect("readable") >= 3);
        assert_eq!((component.len(), first_plain(&component).expect("valid")), (before, None));
        assert_eq!(make_async(&mut component).expect("readable"), 0, "what is async stays as it is");
    }

    #[test]
    fn a_plain_component_of_the_next_version_gets_all_four_types() {
        let mut component = built_against(NEXT_PLAIN_WIT);
        let plain = first_plain(&component).expect("valid");
        assert!(plain.is_some_and(|function| function.starts_with("backline:connector/http@1.1.0.send")));
        assert!(make_async(&mut component).expect("readable") >= 4);
        assert_eq!(first_plain(&component).expect("valid"), None);
        // A plain `send-all` alone would not link either.
        let mixed = NEXT_ASYNC_WIT.replace("send-all: async func(", "send-all: func(");
        let mut component = built_against(&mixed);
        let plain = first_plain(&component).expect("valid");
        assert_eq!(plain.as_deref(), Some("backline:connector/http@1.1.0.send-all"));
        assert!(make_async(&mut component).expect("readable") >= 1);
        assert_eq!(first_plain(&component).expect("valid"), None);
    }

    #[test]
    fn only_what_is_plain_is_changed() {
        // As QuickJS makes it: `send` alone is plain.
        let mixed = ASYNC_WIT.replace("send: async func(", "send: func(");
        let (mut component, mut all) = (built_against(&mixed), built_against(PLAIN_WIT));
        let (few, many) = (make_async(&mut component).expect("readable"), make_async(&mut all).expect("readable"));
        assert!(few >= 1 && few < many, "{few} of {many}");
        assert_eq!(first_plain(&component).expect("valid"), None);
    }

    #[test]
    fn other_functions_keep_their_types() {
        let other = PLAIN_WIT.replace(
            "world connector {",
            "interface other { look: func(account: string, more: u32) -> string; request: func(url: string); }\n\
             world connector {\n  import other;",
        );
        let mut component = built_against(&other);
        make_async(&mut component).expect("readable");
        let types = Validator::new_with_features(WasmFeatures::all()).validate_all(&component).expect("valid");
        let types = types.as_ref();
        let functions = |item: Option<&wasmparser::component_types::ComponentItem>| {
            let Some(ComponentEntityType::Instance(id)) = item.map(|item| &item.ty) else { panic!("no instance") };
            let exports = types[*id].exports.iter().filter_map(|(name, item)| match &item.ty {
                ComponentEntityType::Func(id) => Some((name.clone(), types[*id].async_)),
                _ => None,
            });
            exports.collect::<Vec<_>>()
        };
        let named =
            |names: &[(&str, bool)]| names.iter().map(|(name, on)| ((*name).to_owned(), *on)).collect::<Vec<_>>();
        let import = |name: &str| functions(types.component_item_for_import(name));
        assert_eq!(import("backline:connector/other@1.0.0"), named(&[("look", false), ("request", false)]));
        assert_eq!(import("backline:connector/log@1.0.0"), named(&[("write", false)]));
        let source = functions(types.component_item_for_export("backline:connector/source@1.0.0"));
        assert_eq!(source, named(&[("check", true), ("fetch", true), ("normalize", false)]));
    }

    #[test]
    fn damaged_files_are_refused_and_never_panic() {
        let component = built_against(PLAIN_WIT);
        for end in (0..component.len()).step_by(7) {
            let mut cut = component[..end].to_vec();
            let _ = make_async(&mut cut);
        }
        for place in (8..component.len()).step_by(5) {
            let mut damaged = component.clone();
            damaged[place] ^= 0xff;
            let _ = make_async(&mut damaged);
            let _ = first_plain(&damaged);
        }
    }
}
