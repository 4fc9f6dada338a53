//! Classes of errors. Each operation has its own error type; its class says what the failure left behind.

use std::error::Error;

use crate::config::ConfigError;
use crate::telemetry::TracesError;
use backline_component::{IndexError, InspectError, PackError, RenewError, ScaffoldError, SigningError};
use backline_gateway::GatewayError;
use backline_store::StoreError;

/// What an error says of the state it leaves behind, and of whether repeating helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Nothing was changed: the input, the configuration or the present state forbids it.
    Refused,
    /// The database, the network or the disk failed. It may work later.
    Unavailable,
    /// Part of the work is done, and stays done.
    Partial,
    /// A fault of this program.
    Internal,
}

/// An error of an operation.
pub trait Classified: Error + 'static {
    /// The class of the error.
    fn class(&self) -> ErrorClass;
}

impl Classified for ConfigError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Refused
    }
}

impl Classified for GatewayError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Config { .. } => ErrorClass::Refused,
            Self::Client(_) => ErrorClass::Unavailable,
        }
    }
}

impl Classified for TracesError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Endpoint { .. } => ErrorClass::Refused,
            Self::Client(error) => error.class(),
        }
    }
}

// Component files are handled in memory: what fails is what was given, except where the system gives no random bytes.

impl Classified for InspectError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Refused
    }
}

impl Classified for PackError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Refused
    }
}

impl Classified for IndexError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Refused
    }
}

impl Classified for ScaffoldError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Refused
    }
}

impl Classified for RenewError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Refused
    }
}

impl Classified for SigningError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Generate(_) | Self::Sign(_) => ErrorClass::Unavailable,
            Self::NotAKey | Self::Locked(_) | Self::Name(_) => ErrorClass::Refused,
        }
    }
}

impl Classified for StoreError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Query { .. } if self.refused_artist().is_some() => ErrorClass::Refused,
            Self::NoAnswer { .. }
            | Self::InDoubt { .. }
            | Self::Query { .. }
            | Self::Kept { .. }
            | Self::Migration { .. }
            | Self::LeaseLost { .. }
            | Self::TermLost { .. } => ErrorClass::Unavailable,
            Self::Unreadable { .. } | Self::Unwritable { .. } | Self::Compression { .. } => ErrorClass::Internal,
            Self::UnknownScheme { .. }
            | Self::InMemory
            | Self::Url { .. }
            | Self::Unreachable { .. }
            | Self::TransactionPooler { .. }
            | Self::Encoding { .. }
            | Self::File { .. }
            | Self::NotMigrated { .. }
            | Self::NewerSchema { .. }
            | Self::VersionConflict { .. }
            | Self::FireDecided { .. }
            | Self::ScheduleConfigured { .. }
            | Self::ScheduleExists { .. }
            | Self::WebhookExists { .. }
            | Self::AlertExists { .. }
            | Self::ChannelInUse { .. }
            | Self::NotGranted { .. }
            | Self::ReleaseInUse { .. }
            | Self::NotFound { .. }
            | Self::OutOfScope { .. }
            | Self::AlreadyDecided { .. }
            | Self::AnsweredBefore
            | Self::Misfit { .. }
            | Self::ForeignQuery { .. } => ErrorClass::Refused,
        }
    }
}

/// An error with all its causes, on one line.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in std::iter::successors(Some(error), |error| (**error).source()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_that_lacks_random_bytes_may_be_made_later() {
        let unavailable =
            [SigningError::Generate("no entropy".to_owned()), SigningError::Sign("no entropy".to_owned())];
        assert!(unavailable.iter().all(|error| error.class() == ErrorClass::Unavailable));
        let refused = [
            SigningError::NotAKey,
            SigningError::Locked("wrong password".to_owned()),
            SigningError::Name("a\nb".to_owned()),
        ];
        assert!(refused.iter().all(|error| error.class() == ErrorClass::Refused));
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
        assert_eq!(with_causes(&Outer(cause())), "can't open the thing: no such thing");
        assert_eq!(with_causes(&Repeating(cause())), "wrapped: no such thing");
    }
}
