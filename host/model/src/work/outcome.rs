//! Outcomes: how one account ended in one run.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Why a collection failed. The host reacts to the class, never to the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The platform has no such account.
    NotFound,
    /// The artist has to reconnect the account.
    Reconnect,
    /// Scope or plan does not allow it.
    Forbidden,
    /// The operator's configuration is wrong.
    Misconfigured,
    /// Manifest or grant does not allow a request the connector needs.
    Denied,
    /// The credential slot holds no usable secret.
    CredentialMissing,
    /// The platform limited the rate, and the retries are used up.
    RateLimited,
    /// The platform failed.
    Unavailable,
    /// The platform's answer was not what it documents.
    Unexpected,
    /// The connector trapped.
    Trapped,
    /// The connector exceeded its deadline or its CPU time.
    TimedOut,
    /// The connector exceeded its memory, output or another limit.
    LimitExceeded,
    /// The connector could not convert its own document into a snapshot.
    NotNormalised,
    /// The host failed.
    Internal,
    /// Hosts ended unexpectedly whenever they collected this account and nothing else.
    HostKilled,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 15] = [
        Self::NotFound,
        Self::Reconnect,
        Self::Forbidden,
        Self::Misconfigured,
        Self::Denied,
        Self::CredentialMissing,
        Self::RateLimited,
        Self::Unavailable,
        Self::Unexpected,
        Self::Trapped,
        Self::TimedOut,
        Self::LimitExceeded,
        Self::NotNormalised,
        Self::Internal,
        Self::HostKilled,
    ];

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
            Self::HostKilled => "host_killed",
        }
    }

    /// Whether another attempt in the same run may succeed.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable | Self::Internal)
    }

    /// Whether an account that failed so stays in a batch that an operator can retry.
    #[must_use]
    pub fn leaves_a_dead_batch(self) -> bool {
        self.is_retryable() || self == Self::HostKilled
    }

    /// Whether the failure is one that a release can cause: a trap, a time-out, a limit that was passed, a request that
    /// was not declared, an answer that it did not expect or could not convert. What accounts, credentials, the
    /// operator's configuration, platforms and hosts cause speaks neither for a release nor against it.
    ///
    /// None of these classes is retried, so that an account counts against a release once, when it ends.
    #[must_use]
    pub fn may_be_the_releases_fault(self) -> bool {
        match self {
            Self::Denied
            | Self::Unexpected
            | Self::Trapped
            | Self::TimedOut
            | Self::LimitExceeded
            | Self::NotNormalised => true,
            Self::NotFound
            | Self::Reconnect
            | Self::Forbidden
            | Self::Misconfigured
            | Self::CredentialMissing
            | Self::RateLimited
            | Self::Unavailable
            | Self::Internal
            | Self::HostKilled => false,
        }
    }

    /// Whether an account that failed so under a release that was rolled back is collected again: the release may have
    /// asked for the wrong thing and so been told of an account that does not exist.
    #[must_use]
    pub fn is_collected_again_after_rollback(self) -> bool {
        !self.is_retryable() && self != Self::HostKilled
    }
}

/// Why an account was not collected, without a failure.
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
    /// The artist has to reconnect the account.
    ReconnectNeeded,
    /// No release is active for the platform.
    NoConnector,
    /// The artist's or account's row holds what this binary can't read, such as an unknown time zone.
    Unreadable,
    /// Hosts ended unexpectedly whenever they collected it: it waits until an operator retries it.
    HostKilled,
    /// The platform has not known it for days: it waits until someone corrects it.
    NotFound,
    /// The operator cancelled the run.
    Cancelled,
    /// No connector can fetch its numbers of the date that was asked for: platforms tell those of now.
    DateNotServed,
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
            Self::Unreadable => "unreadable",
            Self::HostKilled => "host_killed",
            Self::NotFound => "not_found",
            Self::Cancelled => "cancelled",
            Self::DateNotServed => "date_not_served",
        }
    }
}

/// How an account ended, without what is known of it besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// [`Outcome::Collected`].
    Collected,
    /// [`Outcome::Deferred`].
    Deferred,
    /// [`Outcome::Excluded`].
    Excluded,
    /// [`Outcome::Superseded`].
    Superseded,
    /// [`Outcome::Failed`].
    Failed,
}

impl OutcomeKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Collected, Self::Deferred, Self::Excluded, Self::Superseded, Self::Failed];

    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Collected => "collected",
            Self::Deferred => "deferred",
            Self::Excluded => "excluded",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How one account ended in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The account's metrics were stored.
    Collected,
    /// It waits for a budget, or for a pause that its platform asked for. Neither a failure nor an attempt.
    Deferred {
        /// When it is taken up again.
        until: DateTime<Utc>,
        /// What it waits for.
        message: String,
    },
    /// The account was left out of the plan, or of what was left of the plan when that ended.
    Excluded {
        /// Why it was left out.
        reason: Exclusion,
    },
    /// Its numbers would have been of another date: it waited until a newer plan included the account, or came too late
    /// for its date where the date of the observation was collected already.
    Superseded,
    /// The collection failed.
    Failed {
        /// Class that decides what happens next.
        class: FailureClass,
        /// Message shown to people, with secrets redacted.
        message: String,
    },
}

impl Outcome {
    /// The name used in tables: `collected`, `deferred`, `excluded`, `superseded` or `failed`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Collected => "collected",
            Self::Deferred { .. } => "deferred",
            Self::Excluded { .. } => "excluded",
            Self::Superseded => "superseded",
            Self::Failed { .. } => "failed",
        }
    }
}
