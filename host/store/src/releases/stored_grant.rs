//! Reading a grant out of a release's row.

use serde::Deserialize;
use serde_json::Value as Json;
use sqlx::any::AnyRow;

use crate::database::dialect::{Columns as _, unreadable};
use crate::database::error::StoreError;
use backline_model::grant::GrantedHost;
use backline_model::{Grant, Manifest};

/// A grant as it was saved before slots, terms and imports were part of it: slots by name, and whatever else the
/// manifest said.
#[derive(Deserialize)]
struct EarlyGrant {
    #[serde(default, rename = "host")]
    hosts: Vec<GrantedHost>,
    slots: Vec<String>,
    #[serde(default)]
    budgets: std::collections::BTreeMap<String, u64>,
}

/// Reads a row's grant, where nothing else of the row was read: only one of the early form needs the manifest.
pub(crate) fn grant_of_row(row: &AnyRow) -> Result<Grant, StoreError> {
    let stored: Json = row.json("granted")?;
    if stored.get("slots").is_none() {
        return serde_json::from_value(stored).map_err(|error| unreadable("granted", error.to_string()));
    }
    let (manifest, imports): (Manifest, Vec<String>) = (row.json("manifest")?, row.json("imports")?);
    grant_of(row, &manifest, &imports)
}

/// Reads a row's grant. One of the early form means what it meant: the slots named, as the release's own manifest
/// describes them.
pub(crate) fn grant_of(row: &AnyRow, manifest: &Manifest, imports: &[String]) -> Result<Grant, StoreError> {
    let stored: Json = row.json("granted")?;
    let wrong = |error: serde_json::Error| unreadable("granted", error.to_string());
    if stored.get("slots").is_none() {
        return serde_json::from_value(stored).map_err(wrong);
    }
    let early: EarlyGrant = serde_json::from_value(stored).map_err(wrong)?;
    let mut grant = Grant::all_of(manifest, imports).with_budgets(early.budgets);
    grant.slots.retain(|slot| early.slots.contains(&slot.slot));
    grant.hosts = early.hosts;
    Ok(grant)
}
