//! How a command ends: exit codes, and errors as one sentence.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::pipeline::HostError;
use backline_model::run::RunCounts;
use backline_store::StoreError;

/// What the exit code tells a script. Documented in docs/operators.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; for a run: everything planned was collected.
    Done,
    /// Refused before anything was changed: something given is wrong.
    Usage,
    /// A run collected some and not all: accounts failed, or wait for an allowance.
    Partial,
    /// Failed; for a run: nothing was collected although something was planned.
    Failed,
    /// A connector is installed and waits: it asks for more than it is granted.
    Waiting,
    /// `health --check`: an objective is missed, or an alert is firing.
    Unwell,
}

impl Exit {
    /// The exit code that a run's counts amount to.
    pub fn of_run(counts: &RunCounts) -> Self {
        if counts.failed == 0 && counts.deferred == 0 {
            Self::Done
        } else if counts.collected > 0 || counts.failed == 0 {
            Self::Partial
        } else {
            Self::Failed
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Failed => 4,
            Self::Waiting => 5,
            Self::Unwell => 1,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command ends early.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// With which code.
    pub exit: Exit,
    /// One sentence that names the thing and the remedy.
    pub message: String,
}

/// What every command returns.
pub(super) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// Something given is wrong; nothing was changed.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// Something failed on the way.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// The same, with what it is about in front.
    pub(super) fn about(mut self, thing: &str) -> Self {
        self.message = format!("{thing}: {}", self.message);
        self
    }

    /// An error met while things were still being prepared: nothing was changed.
    pub(super) fn refused(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::usage(sentence(error))
    }
}

/// An error with all its causes, on one line.
pub(super) fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let cause = cause.to_string();
        // Libraries often repeat their cause in their own text.
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::refused(&error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Query { .. } | StoreError::Migration { .. } | StoreError::LeaseLost { .. } => Exit::Failed,
            _ => Exit::Usage,
        };
        Self { exit, message: sentence(&error) }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Store(error) => error.into(),
            HostError::Worker(_) | HostError::ReleaseGone { .. } => Self::failed(sentence(&error)),
            error => Self::refused(&error),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(format!("failed to write the output: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_with_the_code_its_counts_amount_to() {
        let counts = |collected, failed, deferred| RunCounts {
            planned: collected + failed + deferred,
            collected,
            failed,
            deferred,
            excluded: 9,
        };
        assert_eq!(Exit::of_run(&counts(5, 0, 0)).code(), 0);
        assert_eq!(Exit::of_run(&counts(0, 0, 0)).code(), 0, "nothing was to be collected");
        assert_eq!(Exit::of_run(&counts(4, 1, 0)).code(), 3);
        assert_eq!(Exit::of_run(&counts(4, 0, 1)).code(), 3);
        assert_eq!(Exit::of_run(&counts(0, 0, 1)).code(), 3, "nothing failed: it waits");
        assert_eq!(Exit::of_run(&counts(0, 1, 1)).code(), 4);
        assert_eq!(Exit::of_run(&counts(0, 1, 0)).code(), 4);
    }

    #[test]
    fn causes_follow_on_one_line_and_are_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("can't open the thing")]
        struct Outer(#[source] std::io::Error);

        #[derive(Debug, thiserror::Error)]
        #[error("wrapped: {0}")]
        struct Repeating(#[source] std::io::Error);

        let cause = || std::io::Error::other("no\n  such thing");
        assert_eq!(sentence(&Outer(cause())), "can't open the thing: no such thing");
        assert_eq!(sentence(&Repeating(cause())), "wrapped: no such thing");
    }
}
