//! The types the sandbox needs from the gateway.

use chrono::{DateTime, Utc};

use crate::domain::manifest::Method;

/// What a batch may send.
#[derive(Clone, Debug)]
pub struct Session;

impl Session {
    /// Every send is denied.
    #[must_use]
    pub fn without_capabilities() -> Self {
        Self
    }

    /// Sends.
    ///
    /// # Errors
    /// Always denied.
    #[expect(clippy::unused_async, reason = "the real one waits")]
    pub async fn send(&self, _request: Request) -> Result<Response, SendError> {
        Err(SendError::Denied("no capability".to_owned()))
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Where.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Option<Vec<u8>>,
    /// Secret by name.
    pub credential: Option<CredentialRef>,
}

/// A secret by name.
#[derive(Clone, Debug)]
pub struct CredentialRef {
    /// Slot.
    pub slot: String,
    /// Account.
    pub account: Option<String>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// Why not.
#[derive(Clone, Debug)]
pub enum SendError {
    /// Not allowed.
    Denied(String),
    /// No secret.
    CredentialUnavailable(String),
    /// Too fast.
    RateLimited(Option<u32>),
    /// Spent.
    QuotaExhausted(Option<DateTime<Utc>>),
    /// Timed out.
    TimedOut,
    /// Unreachable.
    Unreachable(String),
    /// Too large.
    TooLarge(u64),
}
