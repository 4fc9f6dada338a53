//! Releases of connectors, and what the operator granted them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ids::{Digest, Platform};
use super::manifest::{Manifest, Method};
use super::origin::OriginPattern;

/// One version of a connector with one digest.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Embedded in the component.
    pub manifest: Manifest,
    /// The contract version the component imports, such as `1.0.0`.
    pub wit_version: String,
    /// What the operator allowed.
    pub grant: Grant,
    /// Whether runs use it; at most one release per platform is.
    pub active: bool,
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

/// What the operator allowed a connector. A request passes only where manifest **and** grant both allow it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Hosts and methods.
    #[serde(default, rename = "host")]
    pub hosts: Vec<GrantedHost>,
    /// Credential slots.
    #[serde(default)]
    pub slots: Vec<String>,
    /// Limits in place of the manifest's, by budget name: what the platform granted this operator, who knows it better than the manifest does.
    #[serde(default)]
    pub budgets: BTreeMap<String, u64>,
}

/// One origin pattern with its methods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantedHost {
    /// Where.
    pub origin: OriginPattern,
    /// How.
    pub methods: Vec<Method>,
}

impl Grant {
    /// Everything the manifest asks for.
    #[must_use]
    pub fn all_of(manifest: &Manifest) -> Self {
        Self {
            hosts: manifest
                .hosts
                .iter()
                .map(|host| GrantedHost { origin: host.origin.clone(), methods: host.methods.clone() })
                .collect(),
            slots: manifest.credentials.iter().map(|slot| slot.slot.clone()).collect(),
            budgets: BTreeMap::new(),
        }
    }
}
