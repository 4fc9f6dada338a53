//! Makes other releases of a connector: the same code with another manifest.

use std::borrow::Cow;

use backline_component::pack;
use backline_model::manifest::SECTION;
use wasm_encoder::{CustomSection, Encode as _};
use wasmparser::{Parser, Payload};

use super::components::plugin;

/// A first-party connector with another version, and a manifest changed by `edit`.
pub fn variant(name: &str, version: &str, edit: impl FnOnce(&mut String)) -> Vec<u8> {
    variant_of(&plugin(name), version, edit)
}

/// Like [`variant`], for any packed component such as a test guest.
pub fn variant_of(component: &[u8], version: &str, edit: impl FnOnce(&mut String)) -> Vec<u8> {
    let (code, manifest) = edited(component, version, edit);
    pack(code, &manifest).unwrap_or_else(|error| panic!("{error}:\n{manifest}"))
}

/// Like [`variant_of`], with a manifest that `pack` may refuse: not every component was packed by it.
pub fn forged_of(component: &[u8], version: &str, edit: impl FnOnce(&mut String)) -> Vec<u8> {
    let (code, manifest) = edited(component, version, edit);
    let mut forged = code.to_vec();
    forged.push(0);
    CustomSection { name: Cow::Borrowed(SECTION), data: Cow::Borrowed(manifest.as_bytes()) }.encode(&mut forged);
    forged
}

/// A component's code, and its manifest with another version and what `edit` changes.
fn edited<'a>(component: &'a [u8], version: &str, edit: impl FnOnce(&mut String)) -> (&'a [u8], String) {
    let (code, mut manifest) = unpacked(component);
    let line = manifest.lines().find(|line| line.trim_start().starts_with("version = "));
    let line = line.expect("a manifest has a version").to_owned();
    manifest = manifest.replacen(&line, &format!("version = \"{version}\""), 1);
    edit(&mut manifest);
    (code, manifest)
}

/// Replaces a part of a manifest. Panics if it is missing, because the test would then test nothing.
pub fn replace(manifest: &mut String, from: &str, to: &str) {
    assert!(manifest.contains(from), "'{from}' is not in the manifest:\n{manifest}");
    *manifest = manifest.replace(from, to);
}

/// Splits a component into its code and its manifest.
pub fn unpacked(component: &[u8]) -> (&[u8], String) {
    let sections = Parser::new(0).parse_all(component).map(|payload| payload.expect("a packed component is valid"));
    let manifests = sections.filter_map(|payload| match payload {
        Payload::CustomSection(section) if section.name() == SECTION => Some(section.data().to_vec()),
        _ => None,
    });
    let manifest = manifests.last().expect("a packed component carries its manifest");
    // `pack` appends the section, so the bytes before it are the code.
    let mut section = vec![0];
    CustomSection { name: Cow::Borrowed(SECTION), data: Cow::Borrowed(&manifest) }.encode(&mut section);
    let code = component.strip_suffix(section.as_slice()).expect("the manifest is the last section");
    (code, String::from_utf8(manifest).expect("a manifest is text"))
}

#[test]
fn a_variant_has_another_manifest_and_the_same_code() {
    let variant = variant("youtube", "1.2.3", |manifest| replace(manifest, "limit = 10000", "limit = 20000"));
    let (before, after) = (plugin("youtube"), variant.as_slice());
    assert_eq!(unpacked(&before).0, unpacked(after).0);
    let manifest = backline_component::inspect(after).expect("a connector").manifest;
    assert_eq!((manifest.connector.version.to_string().as_str(), manifest.budgets[0].limit), ("1.2.3", 20_000));
}
