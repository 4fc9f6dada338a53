//! Keeping artists and accounts in step with another table: reading what is known, and applying changes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::artists::accounts::{account_of, artist_of, artists_require_in_txn};
use crate::artists::consents::{COLLECTING_SCOPE, consents_add_in_txn, withdrawn_accounts_in_txn};
use crate::artists::tombstones::erased_artists_in_txn;
use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::Extent;
use crate::database::rows::{ROWS_PER_STATEMENT, id_rows};
use crate::database::topic::Topic;
use crate::scope::Scope;
use crate::work::leaders::{Term, term_check_in_txn};
use crate::work::locks::accounts_lock_in_txn;
use backline_model::roster::{KnownAccount, KnownArtist, RosterChanges};
use backline_model::{
    Account, AccountId, Artist, ArtistId, Consent, CredentialId, Platform, Provenance, SubscriptionStatus, Zone,
};

impl Store {
    /// What is known of these artists; unknown ones are left out. What can't be read of one has a value that is right
    /// for none, so that a sync writes what its source says; accounts that can't be read are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_artists_of(
        &self,
        scope: &Scope,
        ids: &[ArtistId],
    ) -> Result<BTreeMap<ArtistId, KnownArtist>, StoreError> {
        let mut known = BTreeMap::new();
        for ids in ids.chunks(ROWS_PER_STATEMENT) {
            let rows = id_rows(ids)?;
            let statement = self.scoped(
                scope,
                "SELECT id::text AS id, name, tenant, subscription_status,
                     data_collection_enabled::int AS data_collection_enabled,
                     timezone, origin
                 FROM artists WHERE id {in_ids} {and_tenant: tenant}",
            );
            let artists = self.rows("read artists", statement.bind(rows.clone())).await?;
            let artists = self.unreadable.read("artists", "id", Extent::Part, &artists, known_of)?;
            for (artist, origin) in artists {
                let id = artist.id;
                known.insert(id, KnownArtist { artist, origin, accounts: Vec::new(), consents: Vec::new() });
            }
            let statement = self.scoped(
                scope,
                "SELECT id::text AS id, artist_id::text AS artist_id, platform, platform_id,
                     settings::text AS settings, status, origin
                 FROM accounts WHERE artist_id {in_ids}
                     {and_artist: accounts.artist_id}
                 ORDER BY id",
            );
            let accounts = self.rows("list artists' accounts", statement.bind(rows)).await?;
            let accounts = self.unreadable.read("accounts", "id", Extent::Part, &accounts, |row| {
                Ok((account_of(row)?, row.named("origin", Provenance::parse)?))
            });
            for (account, origin) in accounts? {
                if let Some(artist) = known.get_mut(&account.artist_id) {
                    artist.accounts.push(KnownAccount { account, origin });
                }
            }
            for consent in self.latest_consents_of(scope, ids).await? {
                if let Some(artist) = known.get_mut(&consent.artist_id).filter(|_| consent.scope == COLLECTING_SCOPE) {
                    artist.consents.push(consent);
                }
            }
        }
        Ok(known)
    }

    /// Every artist that a sync added and has not switched off.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn synced_artists_list(&self, scope: &Scope) -> Result<Vec<ArtistId>, StoreError> {
        let statement = self
            .scoped(scope, "SELECT id::text AS id FROM artists WHERE origin = 'sync' {and_tenant: tenant} ORDER BY id");
        let rows = self.rows("list artists that were synced", statement).await?;
        self.unreadable.read("artists", "id", Extent::Part, &rows, |row| row.parsed("id"))
    }

    /// How many accounts in use were added by a sync, by platform.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn synced_accounts_count(&self, scope: &Scope) -> Result<BTreeMap<Platform, u64>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT platform, COUNT(*) AS n FROM accounts WHERE origin = 'sync' AND status <> 'disabled'
                 {and_artist: accounts.artist_id} GROUP BY platform",
        );
        let rows = self.rows("count accounts that were synced", statement).await?;
        let counts = self
            .unreadable
            .read("accounts", "platform", Extent::Part, &rows, |row| Ok((row.parsed("platform")?, row.count("n")?)));
        Ok(counts?.into_iter().collect())
    }

    /// Applies changes, all or none. Applying them again changes nothing, except that consents are recorded again.
    /// Erased artists are left out. Returns the credentials that were removed with withdrawals.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn roster_apply(
        &self,
        scope: &Scope,
        changes: &RosterChanges,
        consent_source: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<CredentialId>, StoreError> {
        self.roster_apply_with(None, scope, changes, consent_source, now).await
    }

    /// The same in a role, so that what one host has read of the source is not written after what a later one has.
    ///
    /// # Errors
    /// [`StoreError::TermLost`] when another host has the role by now; otherwise when the scope is one tenant's, or the
    /// database fails.
    pub async fn roster_apply_in_term(
        &self,
        scope: &Scope,
        term: &Term,
        changes: &RosterChanges,
        consent_source: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<CredentialId>, StoreError> {
        scope.require_all("sync artists in a role")?;
        self.roster_apply_with(Some(term), scope, changes, consent_source, now).await
    }

    async fn roster_apply_with(
        &self,
        term: Option<&Term>,
        scope: &Scope,
        changes: &RosterChanges,
        consent_source: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<CredentialId>, StoreError> {
        let mut work = self.begin().await?;
        let saved = changes.artists_added.iter().chain(&changes.artists_changed);
        scope.require(saved.clone().map(|artist| Some(&artist.tenant)), "save another tenant's artists")?;
        let of_accounts = changes.accounts_added.iter().map(|account| account.artist_id);
        let touched = saved.map(|artist| artist.id).chain(of_accounts);
        let touched = touched.chain(changes.consents.iter().map(|(artist, ..)| *artist));
        artists_require_in_txn(&mut work, scope, touched).await?;
        let changes = &without_erased(&mut work, changes).await?;
        let removed: Vec<AccountId> = changes.accounts_removed.iter().map(|(account, _)| *account).collect();
        let mut touched: Vec<AccountId> = changes.accounts_restored.iter().chain(&removed).copied().collect();
        let withdrawn = changes.consents.iter().filter(|(.., granted)| !granted);
        let withdrawn: Vec<_> =
            withdrawn.map(|(artist, platform, _)| json!({ "artist": artist, "platform": platform })).collect();
        // Credentials come before artists. What is added here has none yet, and is nobody else's to lock.
        if !withdrawn.is_empty() {
            touched.extend(withdrawn_accounts_in_txn(&mut work, json("withdrawals", &withdrawn)?).await?);
        }
        artists_lock_in_txn(&mut work, scope, changes).await?;
        let saved: BTreeMap<ArtistId, &Artist> =
            changes.artists_added.iter().chain(&changes.artists_changed).map(|artist| (artist.id, artist)).collect();
        upsert_artists(&mut work, &saved.into_values().collect::<Vec<_>>(), now).await?;
        let mut added: Vec<&Account> = changes.accounts_added.iter().collect();
        // In the order in which an import adds them: one that both add makes the later of the two wait.
        added.sort_by(|one, other| {
            let of_other = (other.artist_id, &other.platform, &other.platform_id);
            (one.artist_id, &one.platform, &one.platform_id).cmp(&of_other)
        });
        insert_accounts(&mut work, &added, now).await?;
        if !touched.is_empty() {
            // All at once, in the order in which batches lock them, so that the two can't wait for each other.
            accounts_lock_in_txn(&mut work, &touched).await?;
            let statement = work.scoped(
                scope,
                "UPDATE accounts SET status = CASE WHEN status = 'disabled' THEN 'active'
                     ELSE status END, origin = 'sync',
                     updated_at = $2::timestamptz
                 WHERE origin = 'sync-removed' AND id {in_ids}
                     {and_artist: accounts.artist_id}",
            );
            let statement = statement.bind(id_rows(&changes.accounts_restored)?).bind(time_text(now));
            work.execute("switch accounts on again", statement).await?;
            let statement = work.scoped(
                scope,
                "UPDATE accounts SET status = 'disabled', origin = 'sync-removed', updated_at = $2::timestamptz
                 WHERE origin = 'sync' AND status <> 'disabled' AND id {in_ids}
                     {and_artist: accounts.artist_id}",
            );
            work.execute("switch accounts off", statement.bind(id_rows(&removed)?).bind(time_text(now))).await?;
        }
        if !changes.artists_removed.is_empty() {
            let statement = work.scoped(
                scope,
                "UPDATE artists SET data_collection_enabled = FALSE, origin = 'sync-removed',
                     updated_at = $2::timestamptz
                 WHERE origin = 'sync' AND id {in_ids} {and_tenant: tenant}",
            );
            let statement = statement.bind(id_rows(&changes.artists_removed)?).bind(time_text(now));
            work.execute("switch artists off", statement).await?;
        }
        let credentials = record(&mut work, changes, consent_source, now).await?;
        if let Some(term) = term {
            term_check_in_txn(&mut work, term).await?;
        }
        work.ring(Topic::Activations);
        work.commit().await?;
        Ok(credentials)
    }
}

/// An artist, and who added it. Where that can't be read it counts as added by hand, so that no sync removes it.
fn known_of(row: &AnyRow) -> Result<(Artist, Provenance), StoreError> {
    let origin = row.named("origin", Provenance::parse).unwrap_or(Provenance::Manual);
    let artist = match artist_of(row) {
        Err(StoreError::Unreadable { .. }) => Artist {
            id: row.parsed("id")?,
            name: row.told("name").unwrap_or_default(),
            tenant: row.parsed("tenant").unwrap_or_default(),
            subscription_status: row
                .named("subscription_status", SubscriptionStatus::stored)
                .unwrap_or(SubscriptionStatus::Inactive),
            data_collection_enabled: row.flag("data_collection_enabled").unwrap_or_default(),
            timezone: row.parsed("timezone").unwrap_or_else(|_| Zone::utc()),
        },
        artist => artist?,
    };
    Ok((artist, origin))
}

/// Locks the artists that are there and change, in the order of their ids, as an import does that changes them.
async fn artists_lock_in_txn(work: &mut Work, scope: &Scope, changes: &RosterChanges) -> Result<(), StoreError> {
    let changed = changes.artists_changed.iter().map(|artist| artist.id);
    let ids: BTreeSet<ArtistId> = changed.chain(changes.artists_removed.iter().copied()).collect();
    let ids: Vec<ArtistId> = ids.into_iter().collect();
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        let statement = work.scoped(
            scope,
            "SELECT id::text AS id FROM artists WHERE id {in_ids} {and_tenant: tenant} ORDER BY artists.id
             FOR NO KEY UPDATE",
        );
        work.rows("lock artists", statement.bind(id_rows(chunk)?)).await?;
    }
    Ok(())
}

async fn upsert_artists(work: &mut Work, artists: &[&Artist], now: DateTime<Utc>) -> Result<(), StoreError> {
    for chunk in artists.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|artist| {
                json!({
                    "id": artist.id, "name": artist.name, "tenant": artist.tenant,
                    "status": artist.subscription_status.as_str(),
                    "enabled": artist.data_collection_enabled, "timezone": artist.timezone.name(),
                })
            })
            .collect();
        let statement = work.query(
            "INSERT INTO artists (id, name, tenant, subscription_status, data_collection_enabled, timezone, origin,
                 created_at, updated_at)
             SELECT (r.value->>'id')::uuid, r.value->>'name', r.value->>'tenant', r.value->>'status',
                 (r.value->>'enabled')::boolean, r.value->>'timezone', 'sync', $2::timestamptz, $2::timestamptz
             FROM {rows} WHERE TRUE
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, tenant = excluded.tenant,
                 subscription_status = excluded.subscription_status,
                 data_collection_enabled = excluded.data_collection_enabled, timezone = excluded.timezone,
                 origin = CASE WHEN artists.origin = 'sync-removed' THEN 'sync' ELSE artists.origin END,
                 updated_at = excluded.updated_at",
        );
        work.execute("save artists", statement.bind(json("artists", &rows)?).bind(time_text(now))).await?;
    }
    Ok(())
}

async fn insert_accounts(work: &mut Work, accounts: &[&Account], now: DateTime<Utc>) -> Result<(), StoreError> {
    for chunk in accounts.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|account| {
                json!({
                    "id": account.id, "artist": account.artist_id, "platform": account.platform,
                    "platform_id": account.platform_id, "settings": account.settings, "status": account.status.as_str(),
                })
            })
            .collect();
        let statement = work.query(
            "INSERT INTO accounts (id, artist_id, platform, platform_id, settings, status, origin, created_at,
                 updated_at)
             SELECT (r.value->>'id')::uuid, (r.value->>'artist')::uuid, r.value->>'platform', r.value->>'platform_id',
                 (r.value->>'settings')::jsonb, r.value->>'status', 'sync', $2::timestamptz, $2::timestamptz
             FROM {rows} WHERE TRUE
             ON CONFLICT (artist_id, platform, platform_id) DO NOTHING",
        );
        work.execute("save accounts", statement.bind(json("accounts", &rows)?).bind(time_text(now))).await?;
    }
    Ok(())
}

/// Changes without those to artists who have been erased.
async fn without_erased<'a>(work: &mut Work, changes: &'a RosterChanges) -> Result<Cow<'a, RosterChanges>, StoreError> {
    let artists = changes.artists_added.iter().chain(&changes.artists_changed).map(|artist| artist.id);
    let of_accounts = changes.accounts_added.iter().map(|account| account.artist_id);
    let of_consents = changes.consents.iter().map(|(artist, ..)| *artist);
    let erased = erased_artists_in_txn(work, artists.chain(of_accounts).chain(of_consents)).await?;
    if erased.is_empty() {
        return Ok(Cow::Borrowed(changes));
    }
    let mut changes = changes.clone();
    changes.artists_added.retain(|artist| !erased.contains(&artist.id));
    changes.artists_changed.retain(|artist| !erased.contains(&artist.id));
    changes.accounts_added.retain(|account| !erased.contains(&account.artist_id));
    changes.consents.retain(|(artist, ..)| !erased.contains(artist));
    Ok(Cow::Owned(changes))
}

async fn record(
    work: &mut Work,
    changes: &RosterChanges,
    source: &str,
    now: DateTime<Utc>,
) -> Result<Vec<CredentialId>, StoreError> {
    let consents: Vec<Consent> = changes
        .consents
        .iter()
        .map(|(artist_id, platform, granted)| Consent {
            artist_id: *artist_id,
            platform: platform.clone(),
            granted: *granted,
            scope: COLLECTING_SCOPE.to_owned(),
            source: source.to_owned(),
            recorded_at: now,
        })
        .collect();
    consents_add_in_txn(work, &consents.iter().collect::<Vec<_>>()).await
}
