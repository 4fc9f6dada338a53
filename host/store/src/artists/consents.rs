//! The record of consents: entries are added and never changed, and the latest of an artist, platform and scope counts.
//!
//! A withdrawal is more than an entry: in the same transaction the tokens are removed with which the numbers were
//! collected. It waits for batches that are being completed at that moment; those that complete later see it (see
//! `work/completion.rs`).

use std::collections::BTreeSet;

use serde_json::json;
use sqlx::any::AnyRow;

use crate::artists::accounts::artists_require_in_txn;
use crate::artists::tombstones::erased_artists_in_txn;
use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::Extent;
use crate::database::rows::{ROWS_PER_STATEMENT, id_rows};
use crate::database::topic::Topic;
use crate::scope::Scope;
use crate::work::locks::accounts_lock_in_txn;
use backline_model::clock::FIRST_TIME;
use backline_model::{AccountId, ArtistId, Consent, CredentialId, Platform};

/// What a consent must cover for numbers to be collected.
pub const COLLECTING_SCOPE: &str = "metrics";

/// What recording consents did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedConsents {
    /// Number of entries that were added.
    pub added: u64,
    /// Entries left out since their artists were erased.
    pub left_out: u64,
    /// Credentials that were removed with withdrawals, without those whose ids can't be read.
    pub credentials: Vec<CredentialId>,
}

impl Store {
    /// Adds to the append-only record of consents. Tokens of accounts whose collection is withdrawn are removed with
    /// it.
    ///
    /// # Errors
    /// When an artist is unknown or the database fails; nothing is recorded then.
    pub async fn consents_record(&self, scope: &Scope, consents: &[Consent]) -> Result<RecordedConsents, StoreError> {
        let mut work = self.begin_durable().await?.proven(self).await?;
        let artists: BTreeSet<ArtistId> = consents.iter().map(|consent| consent.artist_id).collect();
        artists_require_in_txn(&mut work, scope, artists.iter().copied()).await?;
        let erased = erased_artists_in_txn(&mut work, artists).await?;
        let kept: Vec<&Consent> = consents.iter().filter(|consent| !erased.contains(&consent.artist_id)).collect();
        if let Some(withdrawn) = withdrawals(&kept)? {
            let accounts = withdrawn_accounts_in_txn(&mut work, withdrawn).await?;
            // A batch that is being completed holds its accounts: it either ends before this, or sees the withdrawal.
            accounts_lock_in_txn(&mut work, &accounts).await?;
        }
        let credentials = consents_add_in_txn(&mut work, &kept).await?;
        work.ring(Topic::Activations);
        work.commit().await?;
        let added = kept.len() as u64;
        Ok(RecordedConsents { added, left_out: consents.len() as u64 - added, credentials })
    }

    /// The latest entry of each platform and consent's scope for one artist.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn latest_consents_get(&self, scope: &Scope, artist: ArtistId) -> Result<Vec<Consent>, StoreError> {
        self.latest_consents_of(scope, &[artist]).await
    }

    /// The same for many artists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn latest_consents_of(&self, scope: &Scope, artists: &[ArtistId]) -> Result<Vec<Consent>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT artist_id::text AS artist_id, platform, granted::int AS granted, scope, source,
                 recorded_at::text AS recorded_at
             FROM consents c
             WHERE artist_id {in_ids} {and_artist: c.artist_id} AND NOT EXISTS (
                 SELECT 1 FROM consents later WHERE later.artist_id = c.artist_id AND later.platform = c.platform
                     AND later.scope = c.scope AND later.seq > c.seq)
             ORDER BY seq",
        );
        let rows = self.rows("read consents", statement.bind(id_rows(artists)?)).await?;
        self.unreadable.read("consents", "artist_id", Extent::Part, &rows, consent_of)
    }

    /// Everything on record of one artist, in the order in which it counts: of a platform and scope, the last entry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn consents_list(&self, scope: &Scope, artist: ArtistId) -> Result<Vec<Consent>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT artist_id::text AS artist_id, platform, granted::int AS granted, scope, source,
                 recorded_at::text AS recorded_at
             FROM consents WHERE artist_id = $1::uuid {and_artist: consents.artist_id}
             ORDER BY seq",
        );
        let rows = self.rows("read the record of consents", statement.bind(artist.to_string())).await?;
        self.unreadable.read("consents", "artist_id", Extent::Part, &rows, consent_of)
    }
}

/// The artists and platforms of withdrawals, as rows; none where nothing is withdrawn.
fn withdrawals(consents: &[&Consent]) -> Result<Option<String>, StoreError> {
    let withdrawn: BTreeSet<(ArtistId, &Platform)> = consents
        .iter()
        .filter(|consent| !consent.granted && consent.scope == COLLECTING_SCOPE)
        .map(|consent| (consent.artist_id, &consent.platform))
        .collect();
    let rows: Vec<_> =
        withdrawn.iter().map(|(artist, platform)| json!({ "artist": artist, "platform": platform })).collect();
    if rows.is_empty() { Ok(None) } else { json("withdrawals", &rows).map(Some) }
}

/// Adds entries, and removes the credentials of withdrawn accounts; returns which these were. The caller has locked
/// what [`withdrawn_accounts_in_txn`] found, once: what was added since is in the hands of others, who may wait for it.
pub(crate) async fn consents_add_in_txn(
    work: &mut Work,
    consents: &[&Consent],
) -> Result<Vec<CredentialId>, StoreError> {
    for chunk in consents.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|consent| {
                json!({
                    "artist": consent.artist_id, "platform": consent.platform, "granted": consent.granted,
                    "scope": consent.scope, "source": consent.source, "at": time_text(consent.recorded_at),
                })
            })
            .collect();
        let statement = work.query(
            "INSERT INTO consents (artist_id, platform, granted, scope, source, recorded_at)
             SELECT (r.value->>'artist')::uuid, r.value->>'platform', (r.value->>'granted')::boolean, r.value->>'scope',
                 r.value->>'source', (r.value->>'at')::timestamptz
             FROM {rows}",
        );
        work.execute("record consents", statement.bind(json("consents", &rows)?)).await?;
    }
    let Some(withdrawn) = withdrawals(consents)? else { return Ok(Vec::new()) };
    // Platforms are compared as texts that no index has: else the index by platform is read instead of that by artist.
    // Only where the withdrawal is what counts now: a grant may follow it in the same call. One that was added since
    // those that were there were locked may be in another's hands, who waits for the account: it counts as added after
    // the withdrawal, as one does that is not committed yet.
    let statement = work.query(
        "DELETE FROM credentials WHERE id IN (SELECT k.id FROM credentials k WHERE k.account_id IN (
             SELECT a.id FROM {rows} LEFT JOIN accounts a ON a.artist_id = (r.value->>'artist')::uuid
                 AND a.platform || '' = r.value->>'platform'
             WHERE (a.id IS NULL) = FALSE AND NOT COALESCE((SELECT c.granted FROM consents c
                 WHERE c.artist_id = a.artist_id AND c.platform = a.platform AND c.scope = 'metrics'
                 ORDER BY c.seq DESC LIMIT 1), FALSE))
             FOR UPDATE SKIP LOCKED)
         RETURNING id::text AS id",
    );
    let removed = work.rows("remove the credentials of withdrawn consents", statement.bind(withdrawn)).await?;
    // One whose id can't be read is removed too: no host can hold a token of it.
    work.unreadable.read("credentials", "id", Extent::Part, &removed, |row| row.parsed("id"))
}

/// Locks the credentials of accounts whose consent is withdrawn, given as rows of artist and platform, and returns the
/// accounts: credentials are locked before accounts, and all accounts of a transaction at once.
pub(crate) async fn withdrawn_accounts_in_txn(
    work: &mut Work,
    withdrawn: String,
) -> Result<Vec<AccountId>, StoreError> {
    let statement = work.query(
        "SELECT id::text AS id FROM credentials WHERE account_id IN (
             SELECT a.id FROM {rows} LEFT JOIN accounts a ON a.artist_id = (r.value->>'artist')::uuid
                 AND a.platform || '' = r.value->>'platform' WHERE (a.id IS NULL) = FALSE)
         ORDER BY credentials.id FOR UPDATE",
    );
    work.rows("lock the credentials of withdrawn consents", statement.bind(withdrawn.clone())).await?;
    let statement = work.query(
        "SELECT a.id::text AS id FROM {rows} LEFT JOIN accounts a ON a.artist_id = (r.value->>'artist')::uuid
             AND a.platform || '' = r.value->>'platform' WHERE (a.id IS NULL) = FALSE",
    );
    let accounts = work.rows("find accounts whose consent is withdrawn", statement.bind(withdrawn)).await?;
    // No batch can hold one whose id can't be read.
    work.unreadable.read("accounts", "id", Extent::Columns, &accounts, |row| row.parsed("id"))
}

fn consent_of(row: &AnyRow) -> Result<Consent, StoreError> {
    Ok(Consent {
        artist_id: row.parsed("artist_id")?,
        platform: row.parsed("platform")?,
        granted: row.truth("granted")?,
        scope: row.text("scope")?,
        source: row.told("source")?,
        // Only told: the order of the entries is that of their numbers.
        recorded_at: row.time("recorded_at").unwrap_or(FIRST_TIME),
    })
}
