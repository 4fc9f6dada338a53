//! Rotation of the key that seals secrets: everything sealed is opened with whichever key it was sealed with and sealed with the new one.
//!
//! It goes on beside collecting. What is inside does not change, so versions stay, and a secret that somebody has saved since it was read is
//! read again: no refresh is lost. It can end anywhere and be begun again.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pipeline::{Host, HostError};
use backline_gateway::secrets::{KEY_PREFIX_BYTES, Keyring};
use backline_store::{SEALED, Scope, Sealed, SealedPlace};

/// Secrets sealed anew in one transaction.
const PAGE: u32 = 100;

/// What a rotation came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RotationReport {
    /// The id of the key that everything is sealed with now.
    pub key_id: String,
    /// Secrets sealed anew.
    pub resealed: u64,
    /// Secrets that were sealed with this key already.
    pub current: u64,
    /// Secrets that somebody saved meanwhile, under whichever key that host has.
    pub changed: u64,
    /// Secrets that none of the keys opens.
    pub unreadable: u64,
}

/// With which keys secrets are sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyUse {
    /// The key's id: it tells nothing of the key.
    pub key_id: String,
    /// `seals`, `opens`, or `unknown` where it is not configured here.
    pub role: &'static str,
    /// Secrets sealed with it, by table.
    pub secrets: BTreeMap<String, u64>,
    /// Fresh tokens sealed with it that this host keeps and the database does not have yet.
    pub kept_tokens: u64,
    /// Whether it can be taken out of the configuration: it seals nothing, and nothing is sealed with it.
    pub can_go: bool,
}

impl Host {
    /// Seals everything with the key that seals now, or with that of another keyring. `progress` is told how many were looked at.
    ///
    /// # Errors
    /// When no key is configured or the database fails; what was sealed anew stays so.
    pub async fn rotate_keys(
        &self,
        keyring: Option<Keyring>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<RotationReport, HostError> {
        let keyring = match keyring {
            Some(keyring) => keyring,
            None => self.keyring()?.as_ref().clone(),
        };
        let mut report = RotationReport {
            key_id: keyring.key_ids().into_iter().next().unwrap_or_default(),
            ..RotationReport::default()
        };
        let mut seen = 0;
        for place in SEALED {
            let mut after: Option<String> = None;
            loop {
                let page = self.store().sealed_list(&Scope::all_tenants(), *place, after.as_deref(), PAGE).await?;
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
    ) -> Result<(), HostError> {
        let mut pairs = Vec::with_capacity(page.len());
        for sealed in page {
            if !keyring.is_outdated(&sealed.bytes) {
                report.current += 1;
                continue;
            }
            match keyring.reseal(&sealed.bytes, &place.context(&sealed.id)) {
                Ok(anew) => pairs.push((sealed, anew)),
                Err(error) => {
                    tracing::warn!(table = place.table, id = sealed.id, %error, "a secret can't be sealed anew");
                    report.unreadable += 1;
                }
            }
        }
        if !pairs.is_empty() {
            let replaced = self.store().sealed_replace(&Scope::all_tenants(), place, &pairs).await?;
            report.resealed += replaced;
            report.changed += pairs.len() as u64 - replaced;
        }
        Ok(())
    }

    /// With which keys secrets are sealed, those that are configured first.
    ///
    /// # Errors
    /// When no key is configured or the database fails.
    pub async fn keys_in_use(&self) -> Result<Vec<KeyUse>, HostError> {
        let mut uses: Vec<KeyUse> = Vec::new();
        for (index, key_id) in self.keyring()?.key_ids().into_iter().enumerate() {
            if !uses.iter().any(|known| known.key_id == key_id) {
                uses.push(KeyUse::new(key_id, if index == 0 { "seals" } else { "opens" }));
            }
        }
        for place in SEALED {
            for keyed in self.store().sealed_count(&Scope::all_tenants(), *place, KEY_PREFIX_BYTES).await? {
                let found = of(&mut uses, &keyed.prefix);
                *found.secrets.entry(place.table.to_owned()).or_default() += keyed.count;
            }
        }
        for entry in self.credentials().journal.entries().await {
            if let Some(sealed) = entry.sealed_bytes() {
                of(&mut uses, &sealed).kept_tokens += 1;
            }
        }
        for one in &mut uses {
            one.can_go = one.role == "opens" && one.secrets.values().sum::<u64>() == 0 && one.kept_tokens == 0;
        }
        Ok(uses)
    }
}

impl KeyUse {
    fn new(key_id: String, role: &'static str) -> Self {
        Self { key_id, role, secrets: BTreeMap::new(), kept_tokens: 0, can_go: false }
    }
}

/// The key that bytes were sealed with, which may be none that is configured here.
fn of<'a>(uses: &'a mut Vec<KeyUse>, sealed: &[u8]) -> &'a mut KeyUse {
    let key_id = Keyring::key_id_of(sealed).unwrap_or_else(|| "none".to_owned());
    let index = uses.iter().position(|known| known.key_id == key_id).unwrap_or_else(|| {
        uses.push(KeyUse::new(key_id, "unknown"));
        uses.len() - 1
    });
    &mut uses[index]
}
