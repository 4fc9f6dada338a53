//! What keeping artists and accounts in step with another table needs: what is known, and changing it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::artists::accounts::{account_of, artist_of, artist_rows, id_rows};
use crate::artists::consents::{COLLECTING_SCOPE, insert_consents};
use crate::artists::privacy::erased_among;
use crate::database::dialect::{Columns as _, json, time_text};
use crate::work::completion::lock_accounts;
use crate::{ROWS_PER_STATEMENT, Store, StoreError, Topic, Work};
use backline_model::roster::{KnownAccount, KnownArtist, RosterChanges};
use backline_model::{Account, AccountId, Artist, ArtistId, Consent, CredentialId, Platform, Provenance};

impl Store {
    /// What is known of these artists; who is unknown is left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_artists(&self, ids: &[ArtistId]) -> Result<BTreeMap<ArtistId, KnownArtist>, StoreError> {
        let mut known = BTreeMap::new();
        for ids in ids.chunks(ROWS_PER_STATEMENT) {
            let rows = artist_rows(ids)?;
            let statement = self.query(
                "SELECT id::text AS id, name, tenant, subscription_status, data_collection_enabled::int AS data_collection_enabled,
                     timezone, origin
                 FROM artists WHERE id IN (SELECT (r.value->>'id')::uuid FROM {rows})",
            );
            for row in self.rows("read artists", statement.bind(rows.clone())).await? {
                let origin = row.named("origin", Provenance::parse)?;
                let artist = artist_of(&row)?;
                let id = artist.id;
                known.insert(id, KnownArtist { artist, origin, accounts: Vec::new(), consents: Vec::new() });
            }
            let statement = self.query(
                "SELECT id::text AS id, artist_id::text AS artist_id, platform, platform_id, settings::text AS settings, status, origin
                 FROM accounts WHERE artist_id IN (SELECT (r.value->>'id')::uuid FROM {rows}) ORDER BY id",
            );
            for row in self.rows("list artists' accounts", statement.bind(rows)).await? {
                let origin = row.named("origin", Provenance::parse)?;
                let account = account_of(&row)?;
                if let Some(artist) = known.get_mut(&account.artist_id) {
                    artist.accounts.push(KnownAccount { account, origin });
                }
            }
            for consent in self.latest_consents_of(ids).await? {
                if let Some(artist) = known.get_mut(&consent.artist_id).filter(|_| consent.scope == COLLECTING_SCOPE) {
                    artist.consents.push(consent);
                }
            }
        }
        Ok(known)
    }

    /// Every artist that a sync made known and has not switched off.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn synced_artists(&self) -> Result<Vec<ArtistId>, StoreError> {
        let statement = self.query("SELECT id::text AS id FROM artists WHERE origin = 'sync' ORDER BY id");
        self.rows("list artists that were synced", statement).await?.iter().map(|row| row.parsed("id")).collect()
    }

    /// How many accounts a sync made known that are in use, by platform.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn synced_accounts(&self) -> Result<BTreeMap<Platform, u64>, StoreError> {
        let statement = self.query(
            "SELECT platform, COUNT(*) AS n FROM accounts WHERE origin = 'sync' AND status <> 'disabled' GROUP BY platform",
        );
        let rows = self.rows("count accounts that were synced", statement).await?;
        rows.iter().map(|row| Ok((row.parsed("platform")?, row.count("n")?))).collect()
    }

    /// Makes changes, all or none of them. Making them again changes nothing but that consents are put on record again. Who was erased is
    /// left out. Answers which credentials went with withdrawals.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn apply_roster(
        &self,
        changes: &RosterChanges,
        consent_source: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<CredentialId>, StoreError> {
        let mut work = self.begin().await?;
        let changes = &without_erased(&mut work, changes).await?;
        for artists in [&changes.artists_added, &changes.artists_changed] {
            upsert_artists(&mut work, artists, now).await?;
        }
        insert_accounts(&mut work, &changes.accounts_added, now).await?;
        let removed: Vec<AccountId> = changes.accounts_removed.iter().map(|(account, _)| *account).collect();
        let touched: Vec<AccountId> = changes.accounts_restored.iter().chain(&removed).copied().collect();
        if !touched.is_empty() {
            // In the order in which batches lock them, so that the two can't wait for each other.
            lock_accounts(&mut work, &touched).await?;
            let statement = work.query(
                "UPDATE accounts SET status = CASE WHEN status = 'disabled' THEN 'active' ELSE status END, origin = 'sync',
                     updated_at = $2::timestamptz
                 WHERE origin = 'sync-removed' AND id IN (SELECT (r.value->>'id')::uuid FROM {rows})",
            );
            let statement = statement.bind(id_rows(&changes.accounts_restored)?).bind(time_text(now));
            work.execute("switch accounts on again", statement).await?;
            let statement = work.query(
                "UPDATE accounts SET status = 'disabled', origin = 'sync-removed', updated_at = $2::timestamptz
                 WHERE origin = 'sync' AND status <> 'disabled' AND id IN (SELECT (r.value->>'id')::uuid FROM {rows})",
            );
            work.execute("switch accounts off", statement.bind(id_rows(&removed)?).bind(time_text(now))).await?;
        }
        if !changes.artists_removed.is_empty() {
            let statement = work.query(
                "UPDATE artists SET data_collection_enabled = FALSE, origin = 'sync-removed', updated_at = $2::timestamptz
                 WHERE origin = 'sync' AND id IN (SELECT (r.value->>'id')::uuid FROM {rows})",
            );
            let statement = statement.bind(artist_rows(&changes.artists_removed)?).bind(time_text(now));
            work.execute("switch artists off", statement).await?;
        }
        let credentials = record(&mut work, changes, consent_source, now).await?;
        work.ring(Topic::Activations);
        work.commit().await?;
        Ok(credentials)
    }
}

async fn upsert_artists(work: &mut Work, artists: &[Artist], now: DateTime<Utc>) -> Result<(), StoreError> {
    for chunk in artists.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|artist| {
                json!({
                    "id": artist.id, "name": artist.name, "tenant": artist.tenant, "status": artist.subscription_status.as_str(),
                    "enabled": artist.data_collection_enabled, "timezone": artist.timezone.name(),
                })
            })
            .collect();
        let statement = work.query(
            "INSERT INTO artists (id, name, tenant, subscription_status, data_collection_enabled, timezone, origin, created_at, updated_at)
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

async fn insert_accounts(work: &mut Work, accounts: &[Account], now: DateTime<Utc>) -> Result<(), StoreError> {
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
            "INSERT INTO accounts (id, artist_id, platform, platform_id, settings, status, origin, created_at, updated_at)
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
    let erased = erased_among(work, artists.chain(of_accounts).chain(of_consents)).await?;
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
    insert_consents(work, &consents.iter().collect::<Vec<_>>()).await
}
