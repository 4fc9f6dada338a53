//! Installing connectors and setting credentials: everything that can fail is tried before anything is changed.

use std::collections::BTreeMap;

use super::{ActivateOptions, Host, HostError};
use crate::domain::manifest::{CredentialKind, CredentialSlot, Owner};
use crate::domain::{AccountId, AccountStatus, Grant, Manifest, Platform, Release, ReleaseState};
use crate::plugins::inspect;
use crate::secrets::{Secret, SecretText};
use crate::store::SealedCredential;

impl Host {
    /// Inspects, compiles, links and saves a component with a grant of all it asks for, and makes it the platform's active release.
    ///
    /// The caller has shown the operator what it asks for. The same bytes installed twice change nothing.
    ///
    /// # Errors
    /// When the file is no connector, can't be compiled or linked, or the same version is installed with other bytes.
    pub async fn install(&self, component: &[u8]) -> Result<Release, HostError> {
        self.install_with(component, &BTreeMap::new()).await
    }

    /// The same, with limits of budgets in place of the manifest's. Those of the release that was active before go on where nothing
    /// else is said.
    ///
    /// # Errors
    /// As [`Host::install`], and when the manifest has no such budget.
    pub async fn install_with(&self, component: &[u8], budgets: &BTreeMap<String, u64>) -> Result<Release, HostError> {
        let inspection = inspect(component)?;
        self.shelf().load(component, inspection.digest).await?;
        let installed = self.store().list_releases().await?;
        let info = &inspection.manifest.connector;
        let twin = installed.iter().find(|release| {
            release.manifest.connector.name == info.name && release.manifest.connector.version == info.version
        });
        if let Some(other) = twin.filter(|twin| twin.digest != inspection.digest) {
            return Err(HostError::SameVersion {
                name: info.name.clone(),
                version: info.version.to_string(),
                installed: other.digest,
            });
        }
        let now = self.clock().now();
        let before = installed.iter().find(|release| release.active && *release.platform() == info.platform);
        let mut grant = Grant::all_of(&inspection.manifest);
        grant.budgets = granted_budgets(&inspection.manifest, before, budgets)?;
        let release = Release {
            digest: inspection.digest,
            grant,
            imports: inspection.imports,
            state: ReleaseState::Granted,
            state_reason: None,
            wanted: false,
            source: String::new(),
            signed_by: None,
            manifest: inspection.manifest,
            wit_version: inspection.wit_version,
            active: true,
            installed_at: twin.map_or(now, |twin| twin.installed_at),
            size_bytes: inspection.size_bytes,
        };
        if twin.is_none_or(|twin| twin.grant != release.grant) {
            self.store().save_release(&release, component).await?;
        }
        if !twin.is_some_and(|twin| twin.active) {
            self.activate(release.digest, &ActivateOptions::default()).await?;
        }
        Ok(release)
    }

    /// Reads, seals and saves a secret. An account that needed to be connected anew is active again afterwards.
    ///
    /// # Errors
    /// When the platform has no connector or no such slot, the secret is not of the slot's kind, or it is given for the wrong owner.
    pub async fn set_credential(
        &self,
        platform: &Platform,
        slot: &str,
        account: Option<AccountId>,
        text: &str,
    ) -> Result<SealedCredential, HostError> {
        let release = self.active(platform).await?;
        let slot = slot_of(&release, platform, slot)?;
        check_owner(platform, slot, account)?;
        let owner = if account.is_some() { Owner::Account } else { Owner::Operator };
        let secret = Secret::parse(slot.kind, owner, text)?.obtained_by(self.clock().now());
        let saved = self.desk().set(platform, &slot.slot, account, &secret).await?;
        if let Some(account) = account {
            let found = self.store().get_account(account).await?;
            if found.is_some_and(|found| found.status == AccountStatus::ReconnectNeeded) {
                self.store().set_account_status(account, AccountStatus::Active, self.clock().now()).await?;
            }
        }
        Ok(saved)
    }

    /// Seals and saves many accounts' own secrets of one slot at once, all or none: what an import does.
    ///
    /// # Errors
    /// As [`Host::set_credential`]; nothing is saved when one secret is not of the slot's kind.
    pub async fn set_account_credentials(
        &self,
        platform: &Platform,
        slot: &str,
        secrets: &[(AccountId, SecretText)],
    ) -> Result<(), HostError> {
        if secrets.is_empty() {
            return Ok(());
        }
        let release = self.active(platform).await?;
        let slot = slot_of(&release, platform, slot)?;
        let now = self.clock().now();
        let mut parsed = Vec::with_capacity(secrets.len());
        for (account, text) in secrets {
            check_owner(platform, slot, Some(*account))?;
            parsed.push((*account, Secret::parse(slot.kind, Owner::Account, text.expose())?.obtained_by(now)));
        }
        self.desk().set_many(platform, &slot.slot, &parsed).await?;
        let accounts: Vec<AccountId> = secrets.iter().map(|(account, _)| *account).collect();
        self.store().reconnect(&accounts, now).await?;
        Ok(())
    }

    /// The platform's active release.
    ///
    /// # Errors
    /// [`HostError::NoConnector`] when there is none.
    pub async fn active(&self, platform: &Platform) -> Result<Release, HostError> {
        let active = self.store().active_release(platform).await?;
        active.ok_or_else(|| HostError::NoConnector { platform: platform.clone() })
    }
}

/// The limits that hold besides the manifest's own.
fn granted_budgets(
    manifest: &Manifest,
    before: Option<&Release>,
    wanted: &BTreeMap<String, u64>,
) -> Result<BTreeMap<String, u64>, HostError> {
    let has = |name: &str| manifest.budgets.iter().any(|budget| budget.name == name);
    if let Some(unknown) = wanted.keys().find(|name| !has(name)) {
        return Err(HostError::NoBudget {
            platform: manifest.connector.platform.clone(),
            budget: unknown.clone(),
            known: manifest.budgets.iter().map(|budget| budget.name.as_str()).collect::<Vec<_>>().join(", "),
        });
    }
    let mut granted = before.map(|release| release.grant.budgets.clone()).unwrap_or_default();
    granted.retain(|name, _| has(name));
    granted.extend(wanted.iter().map(|(name, units)| (name.clone(), *units)));
    Ok(granted)
}

fn slot_of<'a>(release: &'a Release, platform: &Platform, slot: &str) -> Result<&'a CredentialSlot, HostError> {
    release.manifest.slot(slot).ok_or_else(|| HostError::NoSlot {
        platform: platform.clone(),
        slot: slot.to_owned(),
        known: release.manifest.credentials.iter().map(|slot| slot.slot.as_str()).collect::<Vec<_>>().join(", "),
    })
}

fn check_owner(platform: &Platform, slot: &CredentialSlot, account: Option<AccountId>) -> Result<(), HostError> {
    let problem = match (slot.owner, account) {
        (Owner::Operator, Some(_)) => "is the operator's own: leave --account out",
        // The operator's client id and secret, which refreshing the accounts' tokens needs.
        (Owner::Account, None) if slot.kind == CredentialKind::Oauth2RefreshToken => return Ok(()),
        (Owner::Account, None) => "belongs to accounts: say whose with --account",
        _ => return Ok(()),
    };
    Err(HostError::SlotOwner { platform: platform.clone(), slot: slot.slot.clone(), problem })
}
