//! Why a batch was not collected.

use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::cache::ReleaseError;
use backline_store::StoreError;

/// Why a batch was not collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The release can't be used on this host.
    #[error(transparent)]
    Release(ReleaseError),
    /// The clock jumped: dates and times of what was fetched would be wrong.
    #[error(
        "this machine's clock jumped while the batch was collected, so nothing of it is stored; set the clock by NTP"
    )]
    Clock,
    /// The task panicked, or was ended.
    #[error("a worker ended unexpectedly: {0}")]
    Worker(String),
}

impl CollectError {
    /// Whether it says that the database can't be written to until someone acts: its disk is full, or it is read-only.
    pub(in crate::pipeline) fn is_unwritable(&self) -> bool {
        matches!(self, Self::Store(error) if error.unwritable().is_some())
    }
}

impl From<ReleaseError> for CollectError {
    fn from(error: ReleaseError) -> Self {
        match error {
            ReleaseError::Store(error) => Self::Store(error),
            error => Self::Release(error),
        }
    }
}

impl Classified for CollectError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Release(error) => error.class(),
            Self::Clock => ErrorClass::Unavailable,
            Self::Worker(_) => ErrorClass::Internal,
        }
    }
}
