//! Manifests of connectors.
#![no_main]

use backline_model::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(manifest) = Manifest::parse(text) else { return };
    assert_eq!(Manifest::parse(text).ok().as_ref(), Some(&manifest));
});
