//! Files that say they are components.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = backline_component::inspect(bytes);
});
