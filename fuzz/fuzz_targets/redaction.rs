//! Secrets in texts: none is left, as it is or in hexadecimal.
#![no_main]

use backline_gateway::benchmarks::Redaction;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|parts: (&str, &[u8], &[u8])| {
    let (secret, before, after) = parts;
    // What an operator's secret may be, but for the text that replaces it.
    let is_secret = secret.len() >= 8 && secret.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_secret || secret.eq_ignore_ascii_case("[secret]") {
        return;
    }
    let redaction = Redaction::of(&[secret.to_owned()]);
    let digits: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    for written in [secret, digits.as_str()] {
        // A blank ends an escape that the secret's last characters begin, and a number that it would go on.
        let text = [before, b" ", written.as_bytes(), b" ", after].concat();
        let left = block_on(redaction.redact(text));
        let is_there = left.windows(written.len()).any(|window| window.eq_ignore_ascii_case(written.as_bytes()));
        assert!(!is_there, "{}", String::from_utf8_lossy(&left));
    }
});
