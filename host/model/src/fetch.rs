//! What goes into a connector's `check` and `fetch`, and what comes back: the WIT types, converted once at the sandbox's edge.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ids::AccountId;
use super::snapshot::Window;

/// An account as the connector sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchAccount {
    /// The host's id.
    pub id: AccountId,
    /// The platform's id.
    pub platform_id: String,
    /// JSON text, valid against the manifest's schema.
    pub settings: String,
    /// JSON text the connector returned the last time.
    pub state: Option<String>,
}

/// What every account of a batch has in common.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchContext {
    /// What post-level metrics cover.
    pub window: Window,
    /// Platform metrics reported as lost under this release.
    pub lost_metrics: Vec<String>,
}

/// Why an account could not be fetched. The host reacts to the case, never to the text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// The platform has no such account.
    #[error("the platform has no such account")]
    NotFound,
    /// The credential was refused; refresh it and retry once.
    #[error("the credential was refused: {0}")]
    Unauthorized(String),
    /// Only the artist can mend it.
    #[error("the artist must connect the account anew: {0}")]
    Reconnect(String),
    /// Scope or plan does not allow it.
    #[error("not allowed by scope or plan: {0}")]
    Forbidden(String),
    /// The operator's configuration is at fault.
    #[error("the configuration is at fault: {0}")]
    Misconfigured(String),
    /// Too fast; seconds to wait, where known.
    #[error("the platform's rate limit was reached")]
    RateLimited(Option<u32>),
    /// An allowance is spent; when it is granted anew, where known.
    #[error("the allowance is spent")]
    QuotaExhausted(Option<DateTime<Utc>>),
    /// The platform failed.
    #[error("the platform is unavailable: {0}")]
    Unavailable(String),
    /// The answer was not what the platform documents.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

/// What was fetched for one account.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// JSON text.
    pub body: String,
    /// JSON text to hand back the next time.
    pub state: Option<String>,
}

/// A platform metric that the platform refuses by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostMetric {
    /// The platform's own name of it.
    pub name: String,
    /// What the platform said.
    pub reason: String,
}

/// What a call to `fetch` returned.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedBatch {
    /// One per account, in their order.
    pub accounts: Vec<Result<Fetched, FetchError>>,
    /// Newly lost metrics.
    pub lost_metrics: Vec<LostMetric>,
}

/// A document as `normalize` gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentInput {
    /// JSON text.
    pub body: String,
    /// What post-level metrics cover.
    pub window: Window,
    /// When it was fetched.
    pub observed_at: DateTime<Utc>,
}
