//! Names of platforms and tenants as people write them: looked up among those that the installation knows, and refused
//! with the nearest one.

use std::collections::BTreeMap;

use crate::pipeline::error::{Classified, ErrorClass};
use backline_model::{Platform, Tenant};
use backline_rules::nearest;
use backline_store::{Scope, Store, StoreError};

/// Why nothing is known by a name.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Connectors of this name collect from several platforms.
    #[error("'{given}' is a connector of several platforms; name one of {platforms}")]
    Ambiguous {
        /// The name that was given.
        given: String,
        /// Names of the platforms.
        platforms: String,
    },
    /// No platform has the name.
    #[error("there is no platform '{given}'{remark}; {remedy}")]
    Platform {
        /// The name that was given.
        given: String,
        /// The nearest known one.
        remark: String,
        /// What shows or makes known ones.
        remedy: &'static str,
    },
    /// No tenant has the name.
    #[error("no artist belongs to a tenant '{given}'{remark}; `backline artists list` shows them")]
    Tenant {
        /// The name that was given.
        given: Tenant,
        /// The nearest known one.
        remark: String,
    },
}

impl Classified for NameError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Ambiguous { .. } | Self::Platform { .. } | Self::Tenant { .. } => ErrorClass::Refused,
        }
    }
}

/// The platform that is meant: by its own name, or by the name of the connector that collects it.
///
/// # Errors
/// When nothing has the name, or a connector of that name is installed for several platforms.
pub async fn platform(store: &Store, given: &str) -> Result<Platform, NameError> {
    if let Ok(platform) = Platform::new(given)
        && store.platform_is_known(&platform).await?
    {
        return Ok(platform);
    }
    let mut connectors: BTreeMap<String, Vec<Platform>> = BTreeMap::new();
    for release in store.releases_list().await? {
        let platforms = connectors.entry(release.manifest.connector.name.clone()).or_default();
        if !platforms.contains(release.platform()) {
            platforms.push(release.platform().clone());
        }
    }
    match connectors.get(given).map(Vec::as_slice) {
        Some([one]) => return Ok(one.clone()),
        Some(several @ [_, _, ..]) => {
            let names: Vec<&str> = several.iter().map(Platform::as_str).collect();
            return Err(NameError::Ambiguous { given: given.to_owned(), platforms: names.join(", ") });
        }
        Some([]) | None => {}
    }
    let known = store.platforms_list().await?;
    let remedy = match known.len() {
        0 => "no connector is installed; install one with `backline plugins install FILE.wasm`",
        _ => "`backline plugins list` shows those that have a connector",
    };
    let remark = nearest::remark(given, known.iter().map(Platform::as_str));
    Err(NameError::Platform { given: given.to_owned(), remark, remedy })
}

/// Refuses a tenant that no artist belongs to.
///
/// # Errors
/// When no artist has it.
pub async fn expect_tenant(store: &Store, tenant: &Tenant) -> Result<(), NameError> {
    let known = store.tenants_list(&Scope::all_tenants()).await?;
    if known.contains(tenant) {
        return Ok(());
    }
    let remark = nearest::remark(tenant.as_str(), known.iter().map(Tenant::as_str));
    Err(NameError::Tenant { given: tenant.clone(), remark })
}
