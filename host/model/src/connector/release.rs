//! Releases of connectors and their states.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::grant::Grant;
use crate::ids::{Digest, Platform};
use crate::manifest::Manifest;

/// One version of a connector with one digest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Release {
    /// SHA-256 digest of the component.
    pub digest: Digest,
    /// Manifest embedded in the component.
    pub manifest: Manifest,
    /// The contract version the component imports, such as `1.0.0`.
    pub wit_version: String,
    /// Interfaces that the component imports, which are its whole authority.
    pub imports: Vec<String>,
    /// What the operator allowed the connector.
    pub grant: Grant,
    /// Whether the release may be activated, and if not, why.
    pub state: ReleaseState,
    /// Reason why it was revoked, withdrawn or removed.
    pub state_reason: Option<String>,
    /// Whether to activate it as soon as it is granted.
    pub wanted: bool,
    /// Whether batches are collected with it. A platform has at most one active release.
    pub active: bool,
    /// Where it came from: a path, a URL or an OCI reference.
    pub source: String,
    /// Name of the operator's key that verified its signature.
    pub signed_by: Option<String>,
    /// When it was installed.
    pub installed_at: DateTime<Utc>,
    /// Size of the component in bytes.
    pub size_bytes: u64,
}

impl Release {
    /// The platform it collects.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.manifest.connector.platform
    }

    /// Whether one of its calls may fetch several past dates: from the contract 1.1.0 on, where it has metrics with
    /// history.
    #[must_use]
    pub fn takes_history(&self) -> bool {
        let since = semver::Version::new(1, 1, 0);
        self.manifest.has_history() && semver::Version::parse(&self.wit_version).is_ok_and(|version| version >= since)
    }
}

/// Whether a release may be activated. Whether it is active is separate: only a granted release can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// It asks for more than is granted and waits for the operator.
    Waiting,
    /// It may be activated.
    Granted,
    /// The operator revoked the grant.
    Revoked,
    /// It was rolled back, because it did worse than the release before.
    Withdrawn,
    /// The component was deleted; what it collected can still be traced to it.
    Removed,
}

impl ReleaseState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Granted, Self::Revoked, Self::Withdrawn, Self::Removed];

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
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Why another release became active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapCause {
    /// The operator activated it.
    Activated,
    /// It was a canary and passed.
    Promoted,
    /// The release that had replaced it did worse.
    RolledBack,
    /// The grant of the release before was revoked.
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
