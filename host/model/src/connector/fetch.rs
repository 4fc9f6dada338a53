//! Input and output of a connector's `check` and `fetch`: the WIT types, as the sandbox converts them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::AccountId;
use crate::snapshot::Window;

/// An account as the connector sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchAccount {
    /// Backline's id of the account.
    pub id: AccountId,
    /// The platform's id of the account.
    pub platform_id: String,
    /// Settings as JSON text, valid against the manifest's schema.
    pub settings: String,
    /// State that the connector returned the last time, as JSON text.
    pub state: Option<String>,
}

/// What every account of a batch has in common.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchContext {
    /// Window that post-level metrics cover.
    pub window: Window,
    /// Platform metrics that were reported as lost under this release.
    pub lost_metrics: Vec<String>,
    /// Windows of past dates to fetch beside it, oldest first. A connector of the contract 1.0.0 is not told of them.
    pub history: Vec<Window>,
}

/// Why an account could not be fetched. The host reacts to the variant, never to the text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// The platform has no such account.
    #[error("the platform has no such account")]
    NotFound,
    /// The credential was refused; refresh it and retry once.
    #[error("the credential was refused: {0}")]
    Unauthorized(String),
    /// The artist has to reconnect the account.
    #[error("the artist must reconnect the account: {0}")]
    Reconnect(String),
    /// Scope or plan does not allow it.
    #[error("not allowed by scope or plan: {0}")]
    Forbidden(String),
    /// The operator's configuration is wrong.
    #[error("the configuration is wrong: {0}")]
    Misconfigured(String),
    /// The platform limited the rate; seconds to wait, if known.
    #[error("the platform's rate limit was reached")]
    RateLimited(Option<u32>),
    /// A budget is spent; when it resets, if known.
    #[error("the budget is spent")]
    QuotaExhausted(Option<DateTime<Utc>>),
    /// The platform failed.
    #[error("the platform is unavailable: {0}")]
    Unavailable(String),
    /// The answer differs from what the platform documents.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

impl FetchError {
    /// What the connector or the platform said about it; `None` for those that say it all by themselves.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Unauthorized(why)
            | Self::Reconnect(why)
            | Self::Forbidden(why)
            | Self::Misconfigured(why)
            | Self::Unavailable(why)
            | Self::Unexpected(why) => Some(why),
            Self::NotFound | Self::RateLimited(_) | Self::QuotaExhausted(_) => None,
        }
    }

    /// The same, to be replaced.
    pub fn why_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Unauthorized(why)
            | Self::Reconnect(why)
            | Self::Forbidden(why)
            | Self::Misconfigured(why)
            | Self::Unavailable(why)
            | Self::Unexpected(why) => Some(why),
            Self::NotFound | Self::RateLimited(_) | Self::QuotaExhausted(_) => None,
        }
    }
}

/// What was fetched for one account.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Document as JSON text.
    pub body: String,
    /// State to pass back the next time, as JSON text.
    pub state: Option<String>,
    /// What was fetched of past dates besides: those of the context's history that could be served.
    pub past: Vec<PastDocument>,
}

/// What was fetched of a past date, in the same call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastDocument {
    /// The window that it covers: one of the context's history.
    pub window: Window,
    /// Document as JSON text.
    pub body: String,
}

/// A metric that the platform refuses by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostMetric {
    /// The platform's own name of the metric.
    pub name: String,
    /// The platform's reason.
    pub reason: String,
}

/// What a call to `fetch` returned.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedBatch {
    /// One result for each account, in their order.
    pub accounts: Vec<Result<Fetched, FetchError>>,
    /// Metrics that the platform has newly refused.
    pub lost_metrics: Vec<LostMetric>,
}

/// A document as `normalize` receives it.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentInput {
    /// Document as JSON text.
    pub body: String,
    /// Window that post-level metrics cover.
    pub window: Window,
    /// When the document was fetched.
    pub observed_at: DateTime<Utc>,
}
