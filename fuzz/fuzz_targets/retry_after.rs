//! Values of `Retry-After`.
#![no_main]

use std::time::Duration;

use backline_gateway::benchmarks::retry_after;
use chrono::DateTime;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, u32)| {
    let now = DateTime::from_timestamp(i64::from(input.1), 0).expect("a time");
    let wait = retry_after(input.0, now);
    if let Ok(seconds) = input.0.parse::<u64>()
        && !input.0.starts_with('+')
    {
        assert_eq!(wait, Some(Duration::from_secs(seconds)));
    }
});
