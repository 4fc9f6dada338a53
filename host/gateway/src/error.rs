//! Errors of the gateway, as its callers see them. No text in here ever holds a secret.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::secret_matcher::SecretMatcher;
use backline_model::manifest::CredentialKind;

/// Why the gateway could not be built.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A configured value is not valid.
    #[error("the configuration's gateway.{field} is wrong: {problem}")]
    Config {
        /// Key below `gateway`.
        field: String,
        /// What is wrong, and what is expected.
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
    /// The credential slot holds no usable secret.
    #[error("no usable credential: {0}")]
    CredentialUnavailable(String),
    /// A budget with a short window is spent; seconds to wait.
    #[error("rate limited")]
    RateLimited(Option<u32>),
    /// A budget with a long window is spent; when it resets.
    #[error("the budget is spent")]
    QuotaExhausted(Option<DateTime<Utc>>),
    /// There was no complete answer in time.
    #[error("timed out")]
    TimedOut,
    /// The connection failed or broke.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The answer is larger than this many bytes after decompression.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
}

impl SendError {
    /// The same error with every secret in its text redacted.
    pub(super) fn redacted(self, secrets: &SecretMatcher) -> Self {
        match self {
            Self::Denied(text) => Self::Denied(secrets.blank_text(&text)),
            Self::CredentialUnavailable(text) => Self::CredentialUnavailable(secrets.blank_text(&text)),
            Self::Unreachable(text) => Self::Unreachable(secrets.blank_text(&text)),
            other => other,
        }
    }
}

/// Why a secret could not be renewed. The caller reacts to the variant, never to the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The platform refuses the grant itself; only its owner can reconnect.
    #[error("the platform refused the credential: {0}")]
    Refused(String),
    /// It expired before it was refreshed; only its owner can reconnect.
    #[error("the credential expired at {0} and can't be refreshed")]
    Expired(DateTime<Utc>),
    /// The operator's client id, secret or key is wrong.
    #[error("the operator's credential or the manifest is wrong: {0}")]
    Misconfigured(String),
    /// The platform only refreshes it from this time on.
    #[error("the token is too young to be refreshed before {0}")]
    TooYoung(DateTime<Utc>),
    /// The platform could not be reached or failed; a later attempt may work.
    #[error("the token endpoint is unavailable: {0}")]
    Unavailable(String),
    /// The platform limits how often it is asked, or asks to be left alone for a while.
    #[error("the token endpoint asks for a wait: {message}")]
    RateLimited {
        /// What it said.
        message: String,
        /// How long it asks to wait; zero where it does not say.
        wait: Duration,
    },
    /// Secrets of this kind are used as they are.
    #[error("a secret of kind {0:?} is used as it is and can't be refreshed")]
    NotRefreshable(CredentialKind),
}

impl TokenError {
    /// The same error with every secret in its text redacted.
    pub(super) fn redacted(self, secrets: &SecretMatcher) -> Self {
        match self {
            Self::Refused(text) => Self::Refused(secrets.blank_text(&text)),
            Self::Misconfigured(text) => Self::Misconfigured(secrets.blank_text(&text)),
            Self::Unavailable(text) => Self::Unavailable(secrets.blank_text(&text)),
            Self::RateLimited { message, wait } => Self::RateLimited { message: secrets.blank_text(&message), wait },
            other => other,
        }
    }
}
