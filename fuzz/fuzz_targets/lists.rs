//! Lists of artists in any form.
#![no_main]

use backline_rules::lists;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut records = 0_u64;
    let _ = lists::read(bytes, &mut |_| records += 1);
});
