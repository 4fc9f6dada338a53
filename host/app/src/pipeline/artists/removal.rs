//! The removal of an account that was added by mistake, with all that was collected of it, and of a credential.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::pipeline::artists::privacy::forget_tokens;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::retry::retry_transient;
use backline_model::{AccountId, ArtistId, CredentialId, Platform, Provenance};
use backline_store::{Scope, Store, StoreError};

/// Longest reason, in characters.
const REASON_CHARACTERS_MAX: usize = 500;

/// An account that was removed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccountRemoval {
    /// The account.
    pub account_id: AccountId,
    /// The artist that it was of, who stays.
    pub artist_id: ArtistId,
    /// The platform that it was on.
    pub platform: Platform,
    /// Where it had been added from. What was synced comes back with the next sync, as long as its table names it.
    pub origin: Provenance,
    /// Number of rows removed, by table.
    pub rows: BTreeMap<String, u64>,
}

impl AccountRemoval {
    /// What the audit log keeps of it besides the states before and after.
    #[must_use]
    pub fn details(&self, reason: &str) -> Json {
        json!({ "platform": self.platform, "reason": reason.trim() })
    }

    /// What has to be done so that the account does not come back; none where nothing brings it back by itself.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        let is_synced = matches!(self.origin, Provenance::Sync | Provenance::SyncRemoved);
        is_synced.then(|| {
            format!(
                "account {} came from the table that `backline artists sync` reads: correct it there too, or the next \
                 sync adds the account again",
                self.account_id
            )
        })
    }
}

/// Why no account was removed.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No account has this id.
    #[error("no account has the id {0}; `backline accounts list` shows them")]
    NoAccount(AccountId),
    /// There is no reason, or it is too long.
    #[error("give a reason of 1 to {REASON_CHARACTERS_MAX} characters")]
    Reason,
}

impl Classified for RemovalError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::NoAccount(_) | Self::Reason => ErrorClass::Refused,
        }
    }
}

/// Removes an account with all its rows, and its tokens from what this host keeps. The artist, its consents and the
/// audit log stay. A batch under way stores nothing of it. Nothing keeps the account from being added again, without
/// what was removed.
///
/// # Errors
/// [`RemovalError::NoAccount`] when no such account is in the scope, [`RemovalError::Reason`] when no reason is given,
/// or when the database fails. Nothing has changed then.
pub async fn remove_account(
    store: &Store,
    config: &Config,
    scope: &Scope,
    account: AccountId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<AccountRemoval, RemovalError> {
    if !(1..=REASON_CHARACTERS_MAX).contains(&reason.trim().chars().count()) {
        return Err(RemovalError::Reason);
    }
    let removed = retry_transient(|| async { store.account_remove(scope, account, now).await }).await?;
    let removed = removed.ok_or(RemovalError::NoAccount(account))?;
    forget_tokens(config.service.state_dir.as_deref(), &removed.credentials).await;
    tracing::info!(%account, platform = %removed.platform, "an account was removed");
    let (artist_id, platform, origin, rows) = (removed.artist, removed.platform, removed.origin, removed.rows);
    Ok(AccountRemoval { account_id: account, artist_id, platform, origin, rows })
}

/// Removes a credential, and its token from what this host keeps. Returns whether there was one in the scope.
///
/// # Errors
/// When the database fails.
pub async fn remove_credential(
    store: &Store,
    config: &Config,
    scope: &Scope,
    credential: CredentialId,
) -> Result<bool, StoreError> {
    let is_removed = store.credential_remove(scope, credential).await?;
    if is_removed {
        forget_tokens(config.service.state_dir.as_deref(), &[credential]).await;
    }
    Ok(is_removed)
}
