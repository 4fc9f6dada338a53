//! How a command ends: exit codes, and errors as one sentence.

use std::process::ExitCode;

use serde_json::{Value as Json, json};

pub(in crate::cli) use crate::pipeline::with_causes as sentence;
use crate::pipeline::{Classified, ErrorClass};
use backline_model::RunStatus;
use backline_model::run::RunCounts;

/// What the exit code tells a script. Documented in docs/operators.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; for a run: everything planned was collected.
    Done,
    /// Refused before anything was changed: something given is wrong.
    Usage,
    /// A run collected some and not all: accounts failed, wait for a budget or were superseded, or the run was
    /// cancelled.
    Partial,
    /// Failed; for a run: nothing was collected although something was planned.
    Failed,
    /// A connector is installed and waits: it asks for more than it is granted.
    Waiting,
    /// `health --check`: an objective is missed, or an alert is firing.
    ObjectiveMissed,
}

impl Exit {
    /// The exit code that a run's status and counts amount to. One that was cancelled is never done, whatever it had
    /// collected by then.
    pub fn of_run(status: RunStatus, counts: &RunCounts) -> Self {
        let is_whole = counts.failed == 0 && counts.deferred == 0 && counts.superseded == 0;
        if is_whole && status != RunStatus::Cancelled {
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
            Self::ObjectiveMissed => 1,
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
pub(in crate::cli) struct Failure {
    /// With which code.
    pub exit: Exit,
    /// What it leaves behind, and whether repeating helps.
    pub class: ErrorClass,
    /// One sentence that names the thing and the remedy.
    pub message: String,
}

/// What every command returns.
pub(in crate::cli) type CommandResult = Result<Exit, Failure>;

impl Failure {
    /// Something given is wrong; nothing was changed.
    pub(in crate::cli) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, class: ErrorClass::Refused, message: message.into() }
    }

    /// Something failed on the way.
    pub(in crate::cli) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, class: ErrorClass::Unavailable, message: message.into() }
    }

    /// The same, with what it is about in front.
    pub(in crate::cli) fn about(mut self, thing: &str) -> Self {
        self.message = format!("{thing}: {}", self.message);
        self
    }

    /// The error as programs read it. Documented in docs/cli.md: names and meanings stay.
    pub(in crate::cli) fn to_json(&self) -> Json {
        let class = match self.class {
            ErrorClass::Refused => "refused",
            ErrorClass::Unavailable => "unavailable",
            ErrorClass::Partial => "partial",
            ErrorClass::Internal => "internal",
        };
        json!({ "error": { "class": class, "message": self.message, "remedy": remedy(&self.message) } })
    }

    /// An error met while things were still being prepared: nothing was changed.
    pub(in crate::cli) fn refused(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::usage(sentence(error))
    }
}

/// What to do, where a message says it: by STYLE.md it stands last, after a semicolon.
pub(in crate::cli) fn remedy(message: &str) -> Option<&str> {
    message.rsplit_once("; ").map(|(_, remedy)| remedy)
}

impl From<ErrorClass> for Exit {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Refused => Self::Usage,
            ErrorClass::Unavailable | ErrorClass::Partial | ErrorClass::Internal => Self::Failed,
        }
    }
}

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: error.class().into(), class: error.class(), message: sentence(&error) }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(format!("failed to write the output: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::pipeline::{
        ActivateError, ArchiveError, CollectError, CredentialError, ExportError, InstallError, PlanError, PrivacyError,
        RotateError, RunError, SetCredentialError,
    };
    use backline_model::{ArtistId, Digest};
    use backline_store::StoreError;

    #[test]
    fn a_run_ends_with_the_code_its_counts_amount_to() {
        let counts = |collected, failed, deferred| RunCounts {
            planned: collected + failed + deferred,
            collected,
            failed,
            deferred,
            excluded: 9,
            superseded: 0,
        };
        let code = |counts: &RunCounts| Exit::of_run(counts.status(), counts).code();
        let superseded = RunCounts { superseded: 1, planned: 5, ..counts(4, 0, 0) };
        assert_eq!(code(&superseded), 3, "not all of the plan was collected");
        assert_eq!(code(&RunCounts { superseded: 5, ..counts(0, 0, 0) }), 3, "nothing failed");
        assert_eq!(code(&counts(5, 0, 0)), 0);
        assert_eq!(code(&counts(0, 0, 0)), 0, "nothing was to be collected");
        assert_eq!(code(&counts(4, 1, 0)), 3);
        assert_eq!(code(&counts(4, 0, 1)), 3);
        assert_eq!(code(&counts(0, 0, 1)), 3, "nothing failed: it waits");
        assert_eq!(code(&counts(0, 1, 1)), 4);
        assert_eq!(code(&counts(0, 1, 0)), 4);
        let cancelled = |counts: &RunCounts| Exit::of_run(RunStatus::Cancelled, counts).code();
        assert_eq!(cancelled(&counts(0, 0, 0)), 3, "what was planned was not collected");
        assert_eq!(cancelled(&counts(5, 0, 0)), 3);
        assert_eq!(cancelled(&counts(0, 1, 0)), 4);
    }

    /// The class and the exit code of an error.
    fn ends(error: impl Classified) -> (ErrorClass, u8) {
        (error.class(), Failure::from(error).exit.code())
    }

    fn query() -> StoreError {
        let source = sqlx::Error::PoolTimedOut;
        StoreError::Query { what: "answer", source }
    }

    #[test]
    fn a_program_reads_class_message_and_remedy() {
        let failure = Failure::usage("there is no database at x.db; create one with `backline migrate`");
        assert_eq!(
            failure.to_json(),
            json!({ "error": {
                "class": "refused",
                "message": "there is no database at x.db; create one with `backline migrate`",
                "remedy": "create one with `backline migrate`",
            } })
        );
        let failure = Failure::failed("the run was ended at once");
        assert_eq!(failure.to_json()["error"]["class"], "unavailable");
        assert_eq!(failure.to_json()["error"]["remedy"], Json::Null);
        let failure = Failure::from(CollectError::Worker("it panicked".to_owned()));
        assert_eq!(failure.to_json()["error"]["class"], "internal");
        let partly = Failure::from(ArchiveError::TakenOver);
        assert_eq!(partly.to_json()["error"]["class"], "partial");
    }

    #[test]
    fn each_class_has_its_exit_code() {
        let nobody = ArtistId(uuid::Uuid::nil());
        assert_eq!(ends(PrivacyError::NoArtist(nobody)), (ErrorClass::Refused, 2));
        assert_eq!(ends(query()), (ErrorClass::Unavailable, 4));
        assert_eq!(ends(CollectError::Worker("it panicked".to_owned())), (ErrorClass::Internal, 4));
        assert_eq!(ends(RunError::Collect(query().into())), (ErrorClass::Partial, 4));
    }

    #[test]
    fn a_failure_of_the_database_is_no_refusal_whatever_operation_meets_it() {
        assert_eq!(ends(PlanError::from(query())), (ErrorClass::Unavailable, 4));
        assert_eq!(ends(InstallError::from(query())), (ErrorClass::Unavailable, 4));
        assert_eq!(ends(SetCredentialError::from(CredentialError::from(query()))), (ErrorClass::Unavailable, 4));
        assert_eq!(ends(RotateError::from(CredentialError::from(query()))), (ErrorClass::Unavailable, 4));
        assert_eq!(ends(RotateError::from(CredentialError::NoKey)), (ErrorClass::Refused, 2));
        let failure = Failure::from(CredentialError::from(query()));
        assert!(failure.message.starts_with("the credential can't be read or saved: the database failed to answer: "));
    }

    #[test]
    fn what_is_done_in_part_or_can_not_be_written_is_no_refusal() {
        assert_eq!(ends(ArchiveError::TakenOver), (ErrorClass::Partial, 4));
        assert_eq!(ends(ArchiveError::Busy { holder: "other".to_owned() }), (ErrorClass::Refused, 2));
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::BrokenPipe] {
            assert_eq!(ends(ExportError::Write(kind.into())), (ErrorClass::Unavailable, 4));
        }
        let silent = ActivateError::HostsSilent { digest: Digest::of(b""), hosts: "other".to_owned(), waited_s: 1 };
        assert_eq!(ends(InstallError::Activate(silent)), (ErrorClass::Partial, 4), "it is installed");
    }
}
