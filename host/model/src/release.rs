//! Releases of connectors, and where each of them stands.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::grant::Grant;
use super::ids::{Digest, Platform};
use super::manifest::Manifest;

/// One version of a connector with one digest.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Embedded in the component.
    pub manifest: Manifest,
    /// The contract version the component imports, such as `1.0.0`.
    pub wit_version: String,
    /// What it imports, which is its whole authority.
    pub imports: Vec<String>,
    /// What the operator allowed.
    pub grant: Grant,
    /// Where it stands.
    pub state: ReleaseState,
    /// Why it was revoked, withdrawn or removed.
    pub state_reason: Option<String>,
    /// Whether it is to be activated as soon as it is granted.
    pub wanted: bool,
    /// Whether batches are collected with it; at most one release per platform is active.
    pub active: bool,
    /// Where it came from: a path, a URL or an OCI reference.
    pub source: String,
    /// The name of the operator's key that vouches for it.
    pub signed_by: Option<String>,
    /// When it was installed.
    pub installed_at: DateTime<Utc>,
    /// Bytes of the component.
    pub size_bytes: u64,
}

impl Release {
    /// The platform it collects.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.manifest.connector.platform
    }
}

/// Where a release stands. Whether it is active is another matter: only a granted one can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// It asks for more than is granted, and waits for the operator.
    Waiting,
    /// It may be activated.
    Granted,
    /// The operator took the grant back.
    Revoked,
    /// It was rolled back, since it was worse than the one before.
    Withdrawn,
    /// The component is gone; what it collected can still be traced to it.
    Removed,
}

impl ReleaseState {
    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Granted => "granted",
            Self::Revoked => "revoked",
            Self::Withdrawn => "withdrawn",
            Self::Removed => "removed",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Waiting, Self::Granted, Self::Revoked, Self::Withdrawn, Self::Removed]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// Why another release became active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapCause {
    /// The operator said so.
    Activated,
    /// It was a canary and did well.
    Promoted,
    /// The one before was worse than this one, which it had replaced.
    RolledBack,
    /// The grant of the one before was taken back.
    Revoked,
}

impl SwapCause {
    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activated => "activated",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Revoked => "revoked",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Activated, Self::Promoted, Self::RolledBack, Self::Revoked]
            .into_iter()
            .find(|cause| cause.as_str() == text)
    }
}
