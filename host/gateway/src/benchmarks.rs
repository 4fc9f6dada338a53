//! What the micro-benchmarks measure, and the fuzz targets try, of this crate's private parts. Behind the feature
//! `benchmarks`, which only these enable.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::secret_matcher::SecretMatcher;

/// The redaction of one session.
pub struct Redaction {
    secrets: SecretMatcher,
}

impl Redaction {
    /// Prepares some secrets, as opening a session does.
    #[must_use]
    pub fn of(secrets: &[String]) -> Self {
        Self { secrets: SecretMatcher::new(secrets.iter().map(String::as_str)) }
    }

    /// A body without any of the secrets, as a connector gets it.
    pub async fn redact(&self, body: Vec<u8>) -> Vec<u8> {
        self.secrets.blank(body).await.0
    }
}

/// The wait that a `Retry-After` header asks for; `None` if it asks for none that can be read.
#[must_use]
pub fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    crate::retry::retry_after(value, now)
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redaction")
    }
}
