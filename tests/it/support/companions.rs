//! Programs of others that long tests run beside Backline, as `cargo xtask test --long` has installed them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::binary::without_variables;
use super::components::target;
use super::long::is_long;

/// What a program wrote and how it ended.
pub struct Ended {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output, and standard error after it.
    pub said: String,
}

/// Where the program is that a variable names; none in a run that is not long, in which the test does nothing.
///
/// A long run has every program: a test whose program can't be had is left out by name.
pub fn companion(variable: &str) -> Option<PathBuf> {
    if !is_long() {
        return None;
    }
    let path = std::env::var_os(variable);
    Some(path.unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test --suite NAME --long`")).into())
}

/// A folder below the build folder for what a person may look at afterwards, emptied.
pub fn shown_in(name: &str) -> PathBuf {
    let folder = target().join(name);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", folder.display()),
        _ => {}
    }
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Runs a program to its end, in a folder, and without what an operator has in the environment.
pub async fn run(command: &mut Command, folder: &Path, within: Duration) -> Ended {
    without_variables(command.as_std_mut());
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(within, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("it did not end within {within:?}")).expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    Ended { code: output.status.code(), said: String::from_utf8_lossy(&said).into_owned() }
}
