//! Names of platforms and tenants as people type them: looked up among those that the installation knows, and refused
//! with the nearest one. What a command was given becomes a [`Platform`] only here.

use std::fmt;
use std::str::FromStr;

use super::exit::Failure;
use crate::pipeline;
use backline_model::{ArtistId, Platform, Tenant};
use backline_store::{Scope, Store};

/// Longest name that is looked up, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// The name of a platform, or of a connector, as it was typed.
#[derive(Clone, Debug)]
pub(super) struct PlatformName(String);

impl FromStr for PlatformName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.trim();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(format!("a platform's name has 1 to {NAME_BYTES_MAX} bytes, such as youtube"));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for PlatformName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The platform that is meant: by its own name, or by the name of the connector that collects it.
///
/// # Errors
/// When nothing here knows the name, or a connector of that name is installed for several platforms.
pub(super) async fn platform(store: &Store, typed: &PlatformName) -> Result<Platform, Failure> {
    Ok(pipeline::names::platform(store, &typed.0).await?)
}

/// The same for a command about an artist's consents: also a platform that the artist decided on before.
///
/// # Errors
/// As [`platform`].
pub(super) async fn platform_of_artist(
    store: &Store,
    artist: ArtistId,
    typed: &PlatformName,
) -> Result<Platform, Failure> {
    let decided = store.latest_consents_get(&Scope::all_tenants(), artist).await?;
    match decided.into_iter().find(|consent| consent.platform.as_str() == typed.0) {
        Some(consent) => Ok(consent.platform),
        None => platform(store, typed).await,
    }
}

/// The same for a name that need not be given.
///
/// # Errors
/// As [`platform`].
pub(super) async fn platform_if_given(
    store: &Store,
    typed: Option<&PlatformName>,
) -> Result<Option<Platform>, Failure> {
    match typed {
        Some(typed) => platform(store, typed).await.map(Some),
        None => Ok(None),
    }
}

/// The same for several names; each platform comes once.
///
/// # Errors
/// As [`platform`].
pub(super) async fn platforms(store: &Store, typed: &[PlatformName]) -> Result<Vec<Platform>, Failure> {
    let mut platforms = Vec::with_capacity(typed.len());
    for name in typed {
        let platform = platform(store, name).await?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// Refuses a tenant that no artist belongs to.
///
/// # Errors
/// When no artist has it.
pub(super) async fn expect_tenant(store: &Store, tenant: Option<&Tenant>) -> Result<(), Failure> {
    match tenant {
        Some(tenant) => Ok(pipeline::names::expect_tenant(store, tenant).await?),
        None => Ok(()),
    }
}
