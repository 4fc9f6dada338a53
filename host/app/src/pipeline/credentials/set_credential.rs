//! Sets credentials: finds the slot in the releases, and checks the owner.

use crate::pipeline::credentials::manager::{CredentialError, CredentialManager};
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::manager::LookupError;
use backline_gateway::secrets::{Secret, SecretError, SecretText};
use backline_model::manifest::{CredentialKind, CredentialSlot, Owner};
use backline_model::{AccountId, Platform, ReleaseState};
use backline_store::{Scope, SealedCredential, StoreError};

/// Why a credential was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetCredentialError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The platform has no active release.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The manifest has no such slot.
    #[error("the connector of {platform} has no credential slot '{slot}'; it has: {known}")]
    NoSlot {
        /// Platform of the connector.
        platform: Platform,
        /// Slot that was asked for.
        slot: String,
        /// Slots of the manifest, for the message.
        known: String,
    },
    /// A secret of an account was given for the operator, or the other way round.
    #[error("slot '{slot}' of {platform} {problem}")]
    SlotOwner {
        /// Platform of the connector.
        platform: Platform,
        /// Slot that was asked for.
        slot: String,
        /// What is wrong, and what would be right.
        problem: &'static str,
    },
    /// The secret is not of the slot's kind.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It can't be sealed or saved.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl Classified for SetCredentialError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Lookup(error) => error.class(),
            Self::Credential(error) => error.class(),
            Self::NoSlot { .. } | Self::SlotOwner { .. } | Self::Secret(_) => ErrorClass::Refused,
        }
    }
}

impl SetCredentialError {
    /// Whether something else is stored in the place of one of the secrets, so that it can't be saved.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Credential(CredentialError::Store(error)) => matches!(**error, StoreError::VersionConflict { .. }),
            _ => false,
        }
    }
}

impl CredentialManager {
    /// Parses, seals and saves a secret. An account that had to be connected again is active afterwards.
    ///
    /// # Errors
    /// When the platform has no connector or no such slot, the secret is not of the slot's kind, or it is given for the
    /// wrong owner.
    pub async fn set(
        &self,
        platform: &Platform,
        slot: &str,
        account: Option<AccountId>,
        text: &str,
    ) -> Result<SealedCredential, SetCredentialError> {
        let slot = &self.slot_of(platform, slot).await?;
        check_owner(platform, slot, account)?;
        let owner = if account.is_some() { Owner::Account } else { Owner::Operator };
        let secret = Secret::parse(slot.kind, owner, text)?.obtained_by(self.clock.now());
        let saved = self.save(platform, &slot.slot, account, &secret).await?;
        if let Some(account) = account {
            self.store.accounts_reconnect(&Scope::all_tenants(), &[account], self.clock.now()).await?;
        }
        Ok(saved)
    }

    /// Seals and saves many accounts' own secrets of one slot at once, all or none, as an import does.
    ///
    /// # Errors
    /// As [`set`](Self::set); nothing is saved when one secret is not of the slot's kind.
    pub async fn set_many(
        &self,
        platform: &Platform,
        slot: &str,
        secrets: &[(AccountId, SecretText)],
    ) -> Result<(), SetCredentialError> {
        if secrets.is_empty() {
            return Ok(());
        }
        let slot = &self.slot_of(platform, slot).await?;
        let now = self.clock.now();
        let mut parsed = Vec::with_capacity(secrets.len());
        for (account, text) in secrets {
            check_owner(platform, slot, Some(*account))?;
            parsed.push((*account, Secret::parse(slot.kind, Owner::Account, text.expose())?.obtained_by(now)));
        }
        self.save_many(platform, &slot.slot, &parsed).await?;
        let accounts: Vec<AccountId> = secrets.iter().map(|(account, _)| *account).collect();
        self.store.accounts_reconnect(&Scope::all_tenants(), &accounts, now).await?;
        Ok(())
    }

    /// A slot of the active release, or else of one that may become active: its secret must be set before it goes live.
    async fn slot_of(&self, platform: &Platform, slot: &str) -> Result<CredentialSlot, SetCredentialError> {
        let mut releases = self.store.releases_list().await?;
        releases.retain(|release| {
            let may_come = matches!(release.state, ReleaseState::Granted | ReleaseState::Waiting);
            release.platform() == platform && (release.active || may_come)
        });
        if releases.is_empty() {
            return Err(LookupError::NoConnector { platform: platform.clone() }.into());
        }
        // The sort is stable: releases that are not active stay in order, the latest first.
        releases.sort_by_key(|release| !release.active);
        if let Some(found) = releases.iter().find_map(|release| release.manifest.slot(slot)) {
            return Ok(found.clone());
        }
        let mut known: Vec<&str> =
            releases.iter().flat_map(|release| &release.manifest.credentials).map(|slot| slot.slot.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        Err(SetCredentialError::NoSlot { platform: platform.clone(), slot: slot.to_owned(), known: known.join(", ") })
    }
}

fn check_owner(
    platform: &Platform,
    slot: &CredentialSlot,
    account: Option<AccountId>,
) -> Result<(), SetCredentialError> {
    let problem = match (slot.owner, account) {
        (Owner::Operator, Some(_)) => "is the operator's own: leave --account out",
        // The operator's client id and secret, which a refresh of the accounts' tokens needs.
        (Owner::Account, None) if slot.kind == CredentialKind::Oauth2RefreshToken => return Ok(()),
        (Owner::Account, None) => "belongs to accounts: name one with --account",
        _ => return Ok(()),
    };
    Err(SetCredentialError::SlotOwner { platform: platform.clone(), slot: slot.slot.clone(), problem })
}
