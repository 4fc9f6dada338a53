//! Setting credentials: which slot of which release, and whose.

use crate::pipeline::{Host, HostError};
use backline_gateway::secrets::{Secret, SecretText};
use backline_model::manifest::{CredentialKind, CredentialSlot, Owner};
use backline_model::{AccountId, AccountStatus, Platform, Release, ReleaseState};
use backline_store::{Scope, SealedCredential};

impl Host {
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
        let slot = &self.slot_of(platform, slot).await?;
        check_owner(platform, slot, account)?;
        let owner = if account.is_some() { Owner::Account } else { Owner::Operator };
        let secret = Secret::parse(slot.kind, owner, text)?.obtained_by(self.clock().now());
        let saved = self.credentials().set(platform, &slot.slot, account, &secret).await?;
        if let Some(account) = account {
            let found = self.store().account_get(&Scope::all_tenants(), account).await?;
            if found.is_some_and(|found| found.status == AccountStatus::ReconnectNeeded) {
                self.store()
                    .account_set_status(&Scope::all_tenants(), account, AccountStatus::Active, self.clock().now())
                    .await?;
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
        let slot = &self.slot_of(platform, slot).await?;
        let now = self.clock().now();
        let mut parsed = Vec::with_capacity(secrets.len());
        for (account, text) in secrets {
            check_owner(platform, slot, Some(*account))?;
            parsed.push((*account, Secret::parse(slot.kind, Owner::Account, text.expose())?.obtained_by(now)));
        }
        self.credentials().set_many(platform, &slot.slot, &parsed).await?;
        let accounts: Vec<AccountId> = secrets.iter().map(|(account, _)| *account).collect();
        self.store().accounts_reconnect(&Scope::all_tenants(), &accounts, now).await?;
        Ok(())
    }

    /// A slot of the active release, or else of one that may become active: its secret is to be there before it goes live.
    async fn slot_of(&self, platform: &Platform, slot: &str) -> Result<CredentialSlot, HostError> {
        let mut releases = self.store().releases_list().await?;
        releases.retain(|release| {
            let may_come = matches!(release.state, ReleaseState::Granted | ReleaseState::Waiting);
            release.platform() == platform && (release.active || may_come)
        });
        if releases.is_empty() {
            return Err(HostError::NoConnector { platform: platform.clone() });
        }
        // Stable: those that are not active stay in the order in which they came, the latest first.
        releases.sort_by_key(|release| !release.active);
        if let Some(found) = releases.iter().find_map(|release| release.manifest.slot(slot)) {
            return Ok(found.clone());
        }
        let mut known: Vec<&str> =
            releases.iter().flat_map(|release| &release.manifest.credentials).map(|slot| slot.slot.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        Err(HostError::NoSlot { platform: platform.clone(), slot: slot.to_owned(), known: known.join(", ") })
    }

    /// The platform's active release.
    ///
    /// # Errors
    /// [`HostError::NoConnector`] when there is none.
    pub async fn active(&self, platform: &Platform) -> Result<Release, HostError> {
        let active = self.store().active_release_get(platform).await?;
        active.ok_or_else(|| HostError::NoConnector { platform: platform.clone() })
    }
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
