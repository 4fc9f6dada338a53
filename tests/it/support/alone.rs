//! Tests that need a process of their own, since what they measure or switch is shared by all tests of one.

use std::process::{Command, Stdio};

/// Runs what a test does in a new process. `variable` says there that it is the one; `test` is the test's full name,
/// from this binary's root.
pub fn alone(variable: &str, test: &str, does: impl Future<Output = ()>) {
    if std::env::var_os(variable).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.expect("a runtime").block_on(does);
    }
    let mut child = Command::new(std::env::current_exe().expect("this test binary"));
    child.args(["--exact", test, "--nocapture"]).env(variable, "1").stdin(Stdio::null());
    let output = child.output().expect("the test binary runs");
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{}: {said}\n{told}", output.status);
}
