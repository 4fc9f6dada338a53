//! Indexes of connectors: what is shown of one steers nothing.
#![no_main]

use backline_component::Index;
use backline_model::text::misleads;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(index) = Index::parse(bytes) else { return };
    for connector in index.search(&[]) {
        assert!(!connector.title.chars().any(misleads));
        assert!(!connector.description.chars().any(|c| misleads(c) && c != '\n'));
    }
});
