//! Whether tests run at full size.

/// Whether this is a run with `--long`.
pub fn is_long() -> bool {
    #[expect(clippy::disallowed_methods, reason = "the size is an argument of the test run")]
    let long = std::env::var("TESTS_LONG");
    long.is_ok_and(|long| !long.is_empty())
}
