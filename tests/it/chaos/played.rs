//! What the suite has played, for a person: `cargo xtask test` prints it at its end, test by test.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;

/// The environment variable that names the file for it.
const FILE_VARIABLE: &str = "CHAOS_PLAYED";

/// Says what this test has played, in one line: which faults, when and how often.
pub fn played(what: impl Display) {
    let thread = std::thread::current();
    let line = format!("{}: {what}\n", thread.name().unwrap_or("a test"));
    #[expect(clippy::print_stderr, reason = "says what a test that fails had played")]
    {
        eprint!("{line}");
    }
    let Some(path) = std::env::var_os(FILE_VARIABLE) else { return };
    // Written at once: tests that run at the same time write lines of their own.
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("it is written down");
}

/// A list as a person reads it.
pub fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}
