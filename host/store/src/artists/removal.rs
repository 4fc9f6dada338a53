//! The removal of one account with all its rows, while its artist stays.
//!
//! It is an erasure of less: one transaction, which keeps out what an erasure keeps out, locks in the same order and
//! goes by the same list of tables. It leaves no tombstone, since the account may be added again, and it searches no
//! texts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::artists::privacy::{
    Whose, emptied_batches_end_in_txn, emptied_batches_lock_in_txn, gone_events_lock_in_txn, rows_count,
    rows_remove_in_txn,
};
use crate::artists::tombstones::{Holding, erasure_lock_in_txn};
use crate::database::connection::Store;
use crate::database::dialect::Columns as _;
use crate::database::error::StoreError;
use crate::events::outbox::events_write_in_txn;
use crate::scope::Scope;
use backline_model::event::types;
use backline_model::{AccountId, ArtistId, CredentialId, Event, Platform, Provenance};

/// What the removal of an account removed.
#[derive(Clone, Debug, PartialEq)]
pub struct RemovedAccount {
    /// The artist that it was of.
    pub artist: ArtistId,
    /// The platform that it was on.
    pub platform: Platform,
    /// Where it had been added from.
    pub origin: Provenance,
    /// Number of rows removed, by table.
    pub rows: BTreeMap<String, u64>,
    /// Credentials that were removed; hosts may still hold tokens of them.
    pub credentials: Vec<CredentialId>,
}

impl Store {
    /// Removes an account with its numbers, documents, outcomes, state, credentials and events, and writes the event
    /// `account.removed`. What is about its artist stays, such as consents and the audit log. A batch under way stores
    /// nothing of it. None where there is no such account in the scope.
    ///
    /// # Errors
    /// When the database fails: nothing has happened then.
    pub async fn account_remove(
        &self,
        scope: &Scope,
        account: AccountId,
        now: DateTime<Utc>,
    ) -> Result<Option<RemovedAccount>, StoreError> {
        let mut work = self.begin_durable().await?.proven(self).await?;
        work.long();
        erasure_lock_in_txn(&mut work, Holding::Alone).await?;
        let statement =
            work.scoped(scope, "SELECT 1 AS found FROM accounts WHERE id = $1::uuid {and_artist: accounts.artist_id}");
        if work.row("find an account", statement.bind(account.to_string())).await?.is_none() {
            return Ok(None);
        }
        let whose = Whose::Account(account);
        let batches = emptied_batches_lock_in_txn(&mut work, whose).await?;
        let statement = work.query(
            "SELECT id::text AS id FROM credentials WHERE account_id = $1::uuid ORDER BY credentials.id FOR UPDATE",
        );
        let found = work.rows("lock an account's credentials", statement.bind(account.to_string())).await?;
        // One whose id can't be read goes too: no host can hold a token of it.
        let credentials = found.iter().filter_map(|row| row.parsed("id").ok()).collect();
        let statement = work.query(
            "SELECT artist_id::text AS artist_id, platform, origin FROM accounts WHERE id = $1::uuid FOR UPDATE",
        );
        let Some(row) = work.row("lock an account", statement.bind(account.to_string())).await? else {
            return Ok(None);
        };
        let artist: ArtistId = row.parsed("artist_id")?;
        let platform = row.parsed("platform").unwrap_or_else(|_| Platform::unreadable());
        let origin = row.named("origin", Provenance::parse).unwrap_or(Provenance::Manual);
        gone_events_lock_in_txn(&mut work, whose).await?;
        let rows = rows_remove_in_txn(&mut work, whose).await?;
        emptied_batches_end_in_txn(&mut work, &batches, now).await?;
        let event = Event {
            id: uuid::Uuid::now_v7(),
            kind: types::ACCOUNT_REMOVED.to_owned(),
            artist_id: Some(artist),
            occurred_at: now,
            dedup_key: None,
            data: json!({
                "account_id": account, "artist_id": artist, "platform": platform, "removed_at": now, "rows": rows,
            }),
        };
        // Last, so that readers of events wait for no longer than the commit takes.
        events_write_in_txn(&mut work, &[event]).await?;
        work.commit().await?;
        Ok(Some(RemovedAccount { artist, platform, origin, rows, credentials }))
    }

    /// How many rows of which table [`account_remove`](Self::account_remove) would remove; none where there is no such
    /// account in the scope.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_rows_count(
        &self,
        scope: &Scope,
        account: AccountId,
    ) -> Result<Option<BTreeMap<String, u64>>, StoreError> {
        let mut view = self.read_view().await?;
        let statement =
            view.scoped(scope, "SELECT 1 AS found FROM accounts WHERE id = $1::uuid {and_artist: accounts.artist_id}");
        if view.row("find an account", statement.bind(account.to_string())).await?.is_none() {
            return Ok(None);
        }
        rows_count(&mut view, Whose::Account(account)).await.map(Some)
    }
}
