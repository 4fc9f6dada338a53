//! Rotates the key that seals secrets: each secret is opened with the key it was sealed with, and sealed with the new
//! one.
//!
//! Collecting continues meanwhile. The secrets do not change, so versions stay the same, and one that was saved since
//! it was read is read again: no refresh is lost. The rotation can stop anywhere and be run again.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pipeline::credentials::manager::{CredentialError, CredentialManager};
use crate::pipeline::error::{Classified, ErrorClass};
use backline_gateway::secrets::{KEY_PREFIX_BYTES, Keyring};
use backline_store::{SEALED, Scope, Sealed, SealedPlace, StoreError};

/// Secrets sealed again in one transaction.
const PAGE: u32 = 100;

/// The result of a rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RotationReport {
    /// The id of the key that everything is sealed with now.
    pub key_id: String,
    /// Secrets sealed with the new key.
    pub resealed: u64,
    /// Secrets that were sealed with this key already.
    pub current: u64,
    /// Secrets that another host saved meanwhile, with the key it has.
    pub changed: u64,
    /// Secrets that none of the keys opens.
    pub unreadable: u64,
}

/// One key, and how many secrets are sealed with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyUse {
    /// The key's id, which reveals nothing about the key.
    pub key_id: String,
    /// `seals`, `opens`, or `unknown` if it is not configured here.
    pub role: &'static str,
    /// Secrets sealed with it, by table.
    pub secrets: BTreeMap<String, u64>,
    /// Fresh tokens sealed with it that this host keeps and the database does not have yet.
    pub kept_tokens: u64,
    /// Whether it can be removed from the configuration: it seals nothing, and no secret is sealed with it.
    pub can_go: bool,
}

/// Why secrets were not sealed again, or not counted.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No key is configured.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl Classified for RotateError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Credential(error) => error.class(),
        }
    }
}

impl CredentialManager {
    /// Seals everything with the configured sealing key, or with that of another keyring. `progress` gets the number of
    /// secrets examined.
    ///
    /// # Errors
    /// When no key is configured or the database fails. Secrets that were sealed again stay so.
    pub async fn rotate_keys(
        &self,
        keyring: Option<Keyring>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<RotationReport, RotateError> {
        let keyring = match keyring {
            Some(keyring) => keyring,
            None => self.keyring.as_deref().ok_or(CredentialError::NoKey)?.clone(),
        };
        let mut report = RotationReport {
            key_id: keyring.key_ids().into_iter().next().unwrap_or_default(),
            ..RotationReport::default()
        };
        let mut seen = 0;
        for place in SEALED {
            let mut after: Option<String> = None;
            loop {
                let page = self.store.sealed_list(&Scope::all_tenants(), *place, after.as_deref(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                seen += page.len() as u64;
                self.reseal(*place, &keyring, page, &mut report).await?;
                progress(seen);
            }
        }
        Ok(report)
    }

    async fn reseal(
        &self,
        place: SealedPlace,
        keyring: &Keyring,
        page: Vec<Sealed>,
        report: &mut RotationReport,
    ) -> Result<(), RotateError> {
        let mut pairs = Vec::with_capacity(page.len());
        for sealed in page {
            if !keyring.is_outdated(&sealed.bytes) {
                report.current += 1;
                continue;
            }
            match keyring.reseal(&sealed.bytes, &place.context(&sealed.id)) {
                Ok(resealed) => pairs.push((sealed, resealed)),
                Err(error) => {
                    tracing::warn!(table = place.table, id = sealed.id, %error, "a secret can't be sealed again");
                    report.unreadable += 1;
                }
            }
        }
        if !pairs.is_empty() {
            let replaced = self.store.sealed_replace(&Scope::all_tenants(), place, &pairs).await?;
            report.resealed += replaced;
            report.changed += pairs.len() as u64 - replaced;
        }
        Ok(())
    }

    /// The keys that secrets are sealed with, configured ones first.
    ///
    /// # Errors
    /// When no key is configured or the database fails.
    pub async fn keys_in_use(&self) -> Result<Vec<KeyUse>, RotateError> {
        let mut uses: Vec<KeyUse> = Vec::new();
        for (index, key_id) in self.keyring.as_ref().ok_or(CredentialError::NoKey)?.key_ids().into_iter().enumerate() {
            if !uses.iter().any(|known| known.key_id == key_id) {
                uses.push(KeyUse::new(key_id, if index == 0 { "seals" } else { "opens" }));
            }
        }
        for place in SEALED {
            for keyed in self.store.sealed_count(&Scope::all_tenants(), *place, KEY_PREFIX_BYTES).await? {
                let found = of(&mut uses, &keyed.prefix);
                *found.secrets.entry(place.table.to_owned()).or_default() += keyed.count;
            }
        }
        for entry in self.journal.entries().await {
            if let Some(sealed) = entry.sealed_bytes() {
                of(&mut uses, &sealed).kept_tokens += 1;
            }
        }
        // Tokens that could not be read may need a key.
        let all_read = self.journal.trouble().is_none();
        for one in &mut uses {
            let is_unused = one.secrets.values().sum::<u64>() == 0 && one.kept_tokens == 0;
            one.can_go = one.role == "opens" && is_unused && all_read;
        }
        Ok(uses)
    }
}

impl KeyUse {
    fn new(key_id: String, role: &'static str) -> Self {
        Self { key_id, role, secrets: BTreeMap::new(), kept_tokens: 0, can_go: false }
    }
}

/// The key that bytes were sealed with; it may not be configured here.
fn of<'a>(uses: &'a mut Vec<KeyUse>, sealed: &[u8]) -> &'a mut KeyUse {
    let key_id = Keyring::key_id_of(sealed).unwrap_or_else(|| "none".to_owned());
    let index = uses.iter().position(|known| known.key_id == key_id).unwrap_or_else(|| {
        uses.push(KeyUse::new(key_id, "unknown"));
        uses.len() - 1
    });
    &mut uses[index]
}
