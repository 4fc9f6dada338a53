//! Commands of the real binary, which know nothing of what an operator has in the environment.

use std::path::Path;
use std::process::{Command, Stdio};

/// A command of the binary in a folder.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backline"));
    without_variables(&mut command);
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    command
}

/// Takes Backline's variables out of what a command inherits.
pub fn without_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BACKLINE_") {
            command.env_remove(name);
        }
    }
}
