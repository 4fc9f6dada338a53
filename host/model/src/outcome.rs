//! How one account ended in one run.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Why a collection failed. The host reacts to the class, never to the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The platform has no such account.
    NotFound,
    /// Only the artist can mend it.
    Reconnect,
    /// Scope or plan does not allow it.
    Forbidden,
    /// The operator's configuration is at fault.
    Misconfigured,
    /// Manifest or grant does not allow a request the connector needs.
    Denied,
    /// The slot holds no usable secret.
    CredentialMissing,
    /// Too fast, and the retries are used up.
    RateLimited,
    /// The platform failed.
    Unavailable,
    /// The platform's answer was not what it documents.
    Unexpected,
    /// The connector trapped.
    Trapped,
    /// The connector passed its deadline or its CPU time.
    TimedOut,
    /// The connector passed its memory, output or another bound.
    LimitExceeded,
    /// The connector could not turn its own document into a snapshot.
    NotNormalised,
    /// A fault of the host's own.
    Internal,
}

impl FailureClass {
    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Reconnect => "reconnect",
            Self::Forbidden => "forbidden",
            Self::Misconfigured => "misconfigured",
            Self::Denied => "denied",
            Self::CredentialMissing => "credential_missing",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Unexpected => "unexpected",
            Self::Trapped => "trapped",
            Self::TimedOut => "timed_out",
            Self::LimitExceeded => "limit_exceeded",
            Self::NotNormalised => "not_normalised",
            Self::Internal => "internal",
        }
    }

    /// Whether another attempt in the same run may succeed.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable | Self::Internal)
    }

    /// Whether the release that collected may be at fault. A platform that fails or is asked too fast, and the host's own faults, say nothing
    /// about a release. Everything else may: a release that asks for the wrong thing is told "not found" or "forbidden".
    ///
    /// These are exactly the classes that no further attempt is made for, so that an account that speaks against a release does so when it
    /// ends, and once.
    #[must_use]
    pub fn may_be_the_releases_fault(self) -> bool {
        !self.is_retryable()
    }
}

/// Why an account was not collected although nobody failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// `subscription_status` is not `active`.
    NotSubscribed,
    /// `data_collection_enabled` is off.
    CollectionDisabled,
    /// No consent for the platform, or it was withdrawn.
    NoConsent,
    /// The operator switched the account off.
    AccountDisabled,
    /// The artist must connect the account anew.
    ReconnectNeeded,
    /// No release is active for the platform.
    NoConnector,
}

impl Exclusion {
    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSubscribed => "not_subscribed",
            Self::CollectionDisabled => "collection_disabled",
            Self::NoConsent => "no_consent",
            Self::AccountDisabled => "account_disabled",
            Self::ReconnectNeeded => "reconnect_needed",
            Self::NoConnector => "no_connector",
        }
    }
}

/// How one account ended in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Stored.
    Collected,
    /// An allowance is spent; neither a failure nor an attempt.
    Deferred {
        /// When the allowance is granted anew.
        until: DateTime<Utc>,
        /// Which allowance.
        message: String,
    },
    /// Not to be collected.
    Excluded {
        /// Why.
        reason: Exclusion,
    },
    /// Failed.
    Failed {
        /// Decides what happens next.
        class: FailureClass,
        /// For people; secrets are already blanked out.
        message: String,
    },
}

impl Outcome {
    /// The name used in tables: `collected`, `deferred`, `excluded` or `failed`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Collected => "collected",
            Self::Deferred { .. } => "deferred",
            Self::Excluded { .. } => "excluded",
            Self::Failed { .. } => "failed",
        }
    }
}
