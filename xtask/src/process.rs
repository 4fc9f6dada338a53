//! Running programs: where the workspace is, what is printed, and how a failure is worded.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies one folder below the root").to_path_buf()
}

/// The build folder: `target`, or where `CARGO_TARGET_DIR` puts it.
pub(crate) fn target_folder() -> PathBuf {
    match variable("CARGO_TARGET_DIR") {
        Some(folder) => workspace_root().join(folder),
        None => workspace_root().join("target"),
    }
}

/// An environment variable, where it is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the host's environment is read in its config; this is not the host")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Says on standard error what happens next.
pub(crate) fn say(message: impl AsRef<str>) {
    eprintln!("xtask: {}", message.as_ref());
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".to_owned()));
    command.current_dir(workspace_root());
    // What cargo says of this package. Build scripts that read it would run again, and with them all that needs theirs,
    // whenever cargo is called by this program after it was called by hand.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a program with this terminal; its standard output goes to standard error, so that ours stays clean.
///
/// # Errors
/// When it can't be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    if succeeds(command)? { Ok(()) } else { bail!("`{}` failed", shown(command)) }
}

/// Runs a program as [`run`] does and says whether it succeeded.
///
/// # Errors
/// When it can't be started.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("failed to start `{}`", shown(command)))?;
    Ok(status.success())
}

/// Runs a program and returns its standard output and exit code; standard error goes to the terminal.
///
/// # Errors
/// When it can't be started, or was ended by a signal.
pub(crate) fn output(command: &mut Command, stdin: Option<&str>) -> Result<(String, i32)> {
    use std::io::Write as _;

    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("failed to start `{}`", shown(command)))?;
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        // The child may end without reading; its exit code tells, not this write.
        let _ = pipe.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("failed to run `{}`", shown(command)))?;
    let Some(code) = output.status.code() else { bail!("`{}` was ended by a signal", shown(command)) };
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), code))
}

/// A command as a person would type it; arguments that carry a password in a URL are shortened.
pub(crate) fn shown(command: &Command) -> String {
    let part = |text: &OsStr| {
        let text = text.to_string_lossy();
        match text.split_once("://") {
            Some((scheme, rest)) if rest.contains('@') => format!("{scheme}://…"),
            _ => text.into_owned(),
        }
    };
    std::iter::once(command.get_program()).chain(command.get_args()).map(part).collect::<Vec<_>>().join(" ")
}

/// Whether a program can be found on the search path.
pub(crate) fn is_installed(program: &str) -> bool {
    let Some(path) = variable("PATH") else { return false };
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_keeps_a_url_with_a_password_to_itself() {
        let mut command = Command::new("backline");
        command.args(["--database", "postgres://user:canary@localhost/db", "migrate"]);
        assert_eq!(shown(&command), "backline --database postgres://… migrate");
    }

    #[test]
    fn output_and_exit_code_of_a_program_come_back() {
        let (text, code) = output(Command::new("sh").args(["-c", "cat; exit 3"]), Some("words")).expect("sh runs");
        assert_eq!((text.as_str(), code), ("words", 3));
    }
}
