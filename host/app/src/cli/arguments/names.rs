//! Names of platforms and tenants as people type them: looked up among those that the installation knows, and refused
//! with the nearest one. What a command was given becomes a [`Platform`] only here.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::cli::terminal::exit::Failure;
use crate::config::Config;
use crate::pipeline::service::schedules;
use crate::pipeline::{self, nearest};
use backline_model::{ArtistId, Platform, Tenant};
use backline_store::{Scope, Store};

/// Fewest characters of the beginning of an id.
const ID_DIGITS_MIN: usize = 4;

/// Longest name that is looked up, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// The name of a platform, or of a connector, as it was typed.
#[derive(Clone, Debug)]
pub(in crate::cli) struct PlatformName(String);

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
/// When nothing has the name, or a connector of that name is installed for several platforms.
pub(in crate::cli) async fn platform(store: &Store, typed: &PlatformName) -> Result<Platform, Failure> {
    Ok(pipeline::names::platform(store, &typed.0).await?)
}

/// The same for a command about an artist's consents: also a platform that the artist decided on before.
///
/// # Errors
/// As [`platform`].
pub(in crate::cli) async fn platform_of_artist(
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
pub(in crate::cli) async fn platform_if_given(
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
pub(in crate::cli) async fn platforms(store: &Store, typed: &[PlatformName]) -> Result<Vec<Platform>, Failure> {
    let mut platforms = Vec::with_capacity(typed.len());
    for name in typed {
        let platform = platform(store, name).await?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// The name of a webhook as it was typed, or its id or a beginning of that.
///
/// # Errors
/// When there is none.
pub(in crate::cli) async fn webhook(store: &Store, typed: &str) -> Result<String, Failure> {
    let webhooks = store.webhooks_list(&Scope::all_tenants()).await?;
    if is_left_out(store, "webhooks", typed) {
        return Ok(typed.to_owned());
    }
    let by_id = |digits: &str| {
        let mut meant = webhooks.iter().filter(|(webhook, _)| webhook.id.to_string().starts_with(digits));
        meant.next().filter(|_| meant.next().is_none() && digits.len() >= ID_DIGITS_MIN)
    };
    let by_name = webhooks.iter().find(|(webhook, _)| webhook.name == typed);
    match by_name.or_else(|| by_id(typed)) {
        Some((webhook, _)) => Ok(webhook.name.clone()),
        None => {
            let known = webhooks.iter().map(|(webhook, _)| webhook.name.as_str());
            Err(unknown("webhook", typed, known, "backline webhooks list"))
        }
    }
}

/// The name of a schedule as it was typed.
///
/// # Errors
/// When there is none.
pub(in crate::cli) async fn schedule(
    store: &Store,
    config: &Config,
    now: DateTime<Utc>,
    typed: &str,
) -> Result<String, Failure> {
    let schedules = schedules::list(store, config, now).await?;
    if schedules.iter().any(|schedule| schedule.name == typed) || is_left_out(store, "schedules", typed) {
        return Ok(typed.to_owned());
    }
    let known = schedules.iter().map(|schedule| schedule.name.as_str());
    Err(unknown("schedule", typed, known, "backline schedules list"))
}

/// Whether a row of this name is there that can't be read. Lists leave it out, and it can be removed all the same.
fn is_left_out(store: &Store, table: &str, name: &str) -> bool {
    store.unreadable_rows().iter().any(|row| row.table == table && row.name == name)
}

fn unknown<'a>(what: &str, typed: &str, known: impl IntoIterator<Item = &'a str> + Clone, listed_by: &str) -> Failure {
    let remark = nearest::remark(typed, known);
    Failure::usage(format!("there is no {what} '{typed}'{remark}; `{listed_by}` shows them"))
}

/// Refuses a tenant that no artist belongs to.
///
/// # Errors
/// When no artist has it.
pub(in crate::cli) async fn expect_tenant(store: &Store, tenant: Option<&Tenant>) -> Result<(), Failure> {
    match tenant {
        Some(tenant) => Ok(pipeline::names::expect_tenant(store, tenant).await?),
        None => Ok(()),
    }
}
