//! What can go wrong in the gateway, as its callers see it. No text in here ever holds a secret.

use chrono::{DateTime, Utc};

use super::redact::SecretMatcher;
use backline_model::manifest::CredentialKind;

/// Why the gateway could not be built.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A configured value makes no sense.
    #[error("the configuration's gateway.{field} is wrong: {problem}")]
    Config {
        /// Which one.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// TLS could not be set up.
    #[error("the HTTP client could not be built; are the system's CA certificates installed? {0}")]
    Client(String),
}

/// Why a request got no answer: the cases of the connector contract's `http.error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Policy forbids it; the text says which line of configuration would allow it.
    #[error("denied: {0}")]
    Denied(String),
    /// The slot holds no usable secret.
    #[error("no usable credential: {0}")]
    CredentialUnavailable(String),
    /// A short allowance is spent; seconds to wait.
    #[error("rate limited")]
    RateLimited(Option<u32>),
    /// A long allowance is spent; when it is granted anew.
    #[error("the allowance is spent")]
    QuotaExhausted(Option<DateTime<Utc>>),
    /// No whole answer in time.
    #[error("timed out")]
    TimedOut,
    /// No connection, or it broke.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The answer is larger than this many bytes after decompression.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
}

impl SendError {
    /// The same error with every secret in its text blanked out.
    pub(super) fn redacted(self, needles: &SecretMatcher) -> Self {
        match self {
            Self::Denied(text) => Self::Denied(needles.blank_text(&text)),
            Self::CredentialUnavailable(text) => Self::CredentialUnavailable(needles.blank_text(&text)),
            Self::Unreachable(text) => Self::Unreachable(needles.blank_text(&text)),
            other => other,
        }
    }
}

/// Why a secret could not be made fresh. The caller reacts to the case, never to the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The platform refuses the grant itself; only its owner can connect anew.
    #[error("the platform refused the credential, it must be connected anew: {0}")]
    Refused(String),
    /// It ran out before it was refreshed; only its owner can connect anew.
    #[error("the credential expired at {0} and can't be refreshed, it must be connected anew")]
    Expired(DateTime<Utc>),
    /// The operator's client id, secret or key is at fault.
    #[error("the operator's credential or the manifest is at fault: {0}")]
    Misconfigured(String),
    /// The platform refreshes it from this time on.
    #[error("the token is too young to be refreshed before {0}")]
    TooYoung(DateTime<Utc>),
    /// The platform could not be reached or failed; it may work later.
    #[error("the token endpoint is unavailable: {0}")]
    Unavailable(String),
    /// Secrets of this kind are used as they are.
    #[error("a secret of kind {0:?} is used as it is and can't be refreshed")]
    NotRefreshable(CredentialKind),
}

impl TokenError {
    /// The same error with every secret in its text blanked out.
    pub(super) fn redacted(self, needles: &SecretMatcher) -> Self {
        match self {
            Self::Refused(text) => Self::Refused(needles.blank_text(&text)),
            Self::Misconfigured(text) => Self::Misconfigured(needles.blank_text(&text)),
            Self::Unavailable(text) => Self::Unavailable(needles.blank_text(&text)),
            other => other,
        }
    }
}
