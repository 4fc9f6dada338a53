//! Artists and their accounts.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::artists::tombstones::erased_artists_in_txn;
use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, LastRow, left_of, more_after};
use crate::database::rows::{ROWS_PER_STATEMENT, id_rows, limit};
use crate::database::topic::Topic;
use crate::scope::Scope;
use crate::work::locks::accounts_lock_in_txn;
use backline_model::{
    Account, AccountId, AccountStatus, Artist, ArtistId, Platform, Provenance, SubscriptionStatus, Tenant,
};

/// What saving did. Rows that were the same already count as neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Saved {
    /// Rows that are new.
    pub inserted: u64,
    /// Rows that were there and have changed.
    pub updated: u64,
    /// Rows that were not saved since their artists were erased; `backline privacy readmit` takes one back.
    pub left_out: u64,
}

/// Which artists to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct ArtistFilter {
    /// Only this tenant's.
    pub tenant: Option<Tenant>,
    /// Only with this status.
    pub status: Option<SubscriptionStatus>,
    /// Only those after this one, in order of id: for paging.
    pub after: Option<ArtistId>,
    /// Most rows to return; none means all.
    pub limit: Option<u32>,
}

/// An artist whose row holds what this binary can't read: another program wrote it. Its accounts are not collected.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct UnreadableArtist {
    /// The artist.
    pub id: ArtistId,
    /// The column.
    pub column: String,
    /// Its value, or what is wrong with it.
    pub problem: String,
}

/// Which accounts to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// Only this artist's.
    pub artist: Option<ArtistId>,
    /// Only on this platform.
    pub platform: Option<Platform>,
    /// Only with this status.
    pub status: Option<AccountStatus>,
    /// Only those after this one, in order of id: for paging.
    pub after: Option<AccountId>,
    /// Only those that were added until then.
    pub added_until: Option<DateTime<Utc>>,
    /// Most rows to return; none means all.
    pub limit: Option<u32>,
}

/// Whose an account is and where, without the rest of its row: enough to act on one that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AccountPlace {
    /// The account.
    pub id: AccountId,
    /// The artist that it is of.
    pub artist_id: ArtistId,
    /// The platform that it is on; one that can't be read is called so.
    pub platform: Platform,
    /// Its id there, as far as it can be read.
    pub platform_id: String,
}

impl Store {
    /// Saves artists by their id. Saving the same again changes nothing. Erased artists are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artists_save(
        &self,
        scope: &Scope,
        artists: &[Artist],
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        self.artists_save_from(scope, Provenance::Manual, artists, now).await
    }

    /// The same with the origin of those that are new; the others keep theirs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artists_save_from(
        &self,
        scope: &Scope,
        origin: Provenance,
        artists: &[Artist],
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        let by_id: BTreeMap<ArtistId, &Artist> = artists.iter().map(|artist| (artist.id, artist)).collect();
        let mut artists: Vec<&Artist> = by_id.into_values().collect();
        let mut work = self.begin().await?;
        let erased = erased_artists_in_txn(&mut work, artists.iter().map(|artist| artist.id)).await?;
        scope.require(artists.iter().map(|artist| Some(&artist.tenant)), "save another tenant's artists")?;
        artists_require_in_txn(&mut work, scope, artists.iter().map(|artist| artist.id)).await?;
        let given = artists.len();
        artists.retain(|artist| !erased.contains(&artist.id));
        let mut saved = Saved { left_out: (given - artists.len()) as u64, ..Saved::default() };
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
            let rows = json("artists", &rows)?;
            let existing = work.query("SELECT COUNT(*) AS n FROM artists a WHERE a.id {in_ids}");
            let existing =
                work.row("find artists", existing.bind(rows.clone())).await?.map_or(Ok(0), |row| row.count("n"))?;
            let upsert = work.scoped(
                scope,
                "INSERT INTO artists (id, name, tenant, subscription_status, data_collection_enabled, timezone,
                     origin, created_at, updated_at)
                 SELECT (r.value->>'id')::uuid, r.value->>'name', r.value->>'tenant', r.value->>'status',
                     (r.value->>'enabled')::boolean, r.value->>'timezone', $3, $2::timestamptz, $2::timestamptz
                 FROM {rows} WHERE TRUE
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, tenant = excluded.tenant,
                     subscription_status = excluded.subscription_status,
                     data_collection_enabled = excluded.data_collection_enabled, timezone = excluded.timezone,
                     updated_at = excluded.updated_at
                 WHERE (artists.name <> excluded.name OR artists.tenant <> excluded.tenant
                     OR artists.subscription_status <> excluded.subscription_status
                     OR artists.data_collection_enabled <> excluded.data_collection_enabled
                     OR artists.timezone <> excluded.timezone) {and_tenant: artists.tenant}",
            );
            let upsert = upsert.bind(rows).bind(time_text(now)).bind(origin.as_str());
            let written = work.execute("save artists", upsert).await?;
            saved.add(chunk.len() as u64, existing, written);
        }
        work.ring(Topic::Activations);
        work.commit().await?;
        Ok(saved)
    }

    /// An artist by its id; none where it is unknown or outside of the scope.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artist_get(&self, scope: &Scope, id: ArtistId) -> Result<Option<Artist>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT id::text AS id, name, tenant, subscription_status,
                 data_collection_enabled::int AS data_collection_enabled, timezone
             FROM artists WHERE id = $1::uuid {and_tenant: tenant}",
        );
        let row = self.row("read an artist", statement.bind(id.to_string())).await?;
        row.as_ref().map(artist_of).transpose()
    }

    /// Artists in order of their ids, without those whose rows can't be read: `unreadable_artists_list` names them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artists_list(&self, scope: &Scope, filter: &ArtistFilter) -> Result<Vec<Artist>, StoreError> {
        let most = filter.limit.unwrap_or(u32::MAX);
        let (mut after, mut found) = (filter.after.map(|id| id.to_string()), Vec::new());
        loop {
            let asked = left_of(most, found.len());
            let statement = self.scoped(
                scope,
                "SELECT id::text AS id, name, tenant, subscription_status,
                 data_collection_enabled::int AS data_collection_enabled, timezone
             FROM artists
             WHERE ($1::text IS NULL OR tenant = $1)
                 AND ($2::text IS NULL OR $2::text = CASE WHEN {status_word} = 'cancelled' THEN 'canceled'
                     WHEN {status_word} IN ('active', 'trialing', 'past_due', 'canceled') THEN {status_word}
                     ELSE 'inactive' END)
                 AND ($3::uuid IS NULL OR id > $3::uuid) {and_tenant: tenant}
             ORDER BY artists.id LIMIT $4",
            );
            let statement = statement
                .bind(filter.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()))
                .bind(filter.status.map(|status| status.as_str().to_owned()))
                .bind(after)
                .bind(i64::from(asked));
            let rows = self.rows("list artists", statement).await?;
            for artist in rows.iter().map(artist_of) {
                match artist {
                    Err(StoreError::Unreadable { .. }) => {}
                    other => found.push(other?),
                }
            }
            let last = more_after(&rows, asked, found.len(), most);
            let Some(place) = last.and_then(|last| last.above("id")) else { return Ok(found) };
            after = Some(place);
        }
    }

    /// Artists whose rows hold what this binary can't read, in order of their ids: other programs write this table. One
    /// whose id is none is among the [unreadable rows](Self::unreadable_rows).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unreadable_artists_list(&self, scope: &Scope) -> Result<Vec<UnreadableArtist>, StoreError> {
        let mut found = Vec::new();
        if !self.has_unreadable_artists(scope).await? {
            return Ok(found);
        }
        let mut after: Option<String> = None;
        loop {
            let statement = self.scoped(
                scope,
                "SELECT id::text AS id, name, tenant, subscription_status,
                     data_collection_enabled::int AS data_collection_enabled, timezone
                 FROM artists WHERE ($1::uuid IS NULL OR id > $1::uuid) {and_tenant: tenant}
                 ORDER BY artists.id LIMIT $2",
            );
            let statement = statement.bind(after).bind(ROWS_PER_STATEMENT as i64);
            let rows = self.rows("check artists", statement).await?;
            for row in &rows {
                match (artist_of(row), row.parsed("id")) {
                    (Err(StoreError::Unreadable { column, problem }), Ok(id)) => {
                        found.push(UnreadableArtist { id, column, problem });
                    }
                    (Err(StoreError::Unreadable { .. }), Err(_)) => {
                        let one = std::slice::from_ref(row);
                        self.unreadable.read("artists", "id", Extent::Part, one, |row| artist_of(row).map(drop))?;
                    }
                    (Err(error), _) => return Err(error),
                    (Ok(_), _) => {}
                }
            }
            let Some(place) = LastRow::of(&rows).and_then(|last| last.above("id")) else { return Ok(found) };
            after = Some(place);
        }
    }

    /// The words that other programs wrote as a status and that hosts don't know, with how many artists have each.
    /// These artists count as inactive.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unknown_statuses_list(&self, scope: &Scope) -> Result<BTreeMap<String, u64>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT subscription_status, COUNT(*)::bigint AS n FROM artists WHERE TRUE {and_tenant: tenant}
             GROUP BY subscription_status",
        );
        let mut found = BTreeMap::new();
        for row in &self.rows("count artists by status", statement).await? {
            // What is no word at all is named by `unreadable_artists_list`.
            let Ok(word) = row.text("subscription_status") else { continue };
            if SubscriptionStatus::parse(&word).is_none() && SubscriptionStatus::stored(&word).is_some() {
                found.insert(word, row.count("n")?);
            }
        }
        Ok(found)
    }

    /// Whether any artist's row holds what this binary can't read. Health asks each minute, so one statement tells: the
    /// columns that may hold such things have few values.
    async fn has_unreadable_artists(&self, scope: &Scope) -> Result<bool, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT MIN(id::text) AS id, MIN(id::text) AS name, tenant, subscription_status,
                 data_collection_enabled::int AS data_collection_enabled, timezone,
                 SUM(CASE WHEN id::text LIKE '________-____-____-____-____________'
                         AND LENGTH(REPLACE(id::text, '-', '')) = 32
                         AND LTRIM(id::text, '0123456789abcdef-') = ''
                     THEN 0 ELSE 1 END)::bigint AS odd_ids
             FROM artists WHERE TRUE {and_tenant: tenant}
             GROUP BY tenant, subscription_status, data_collection_enabled, timezone",
        );
        for row in &self.rows("check artists", statement).await? {
            match artist_of(row) {
                Ok(_) if row.int("odd_ids")? == 0 => {}
                Ok(_) | Err(StoreError::Unreadable { .. }) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Saves accounts. One of the same artist, platform and platform id keeps its id and its status; only its settings
    /// are replaced. Those of erased artists are left out.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when an artist is unknown; nothing is saved then.
    pub async fn accounts_save(
        &self,
        scope: &Scope,
        accounts: &[Account],
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        self.accounts_save_from(scope, Provenance::Manual, accounts, now).await
    }

    /// The same with the origin of those that are new; the others keep theirs.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when an artist is unknown; nothing is saved then.
    pub async fn accounts_save_from(
        &self,
        scope: &Scope,
        origin: Provenance,
        accounts: &[Account],
        now: DateTime<Utc>,
    ) -> Result<Saved, StoreError> {
        let by_key: BTreeMap<_, &Account> = accounts
            .iter()
            .map(|account| ((account.artist_id, account.platform.clone(), account.platform_id.clone()), account))
            .collect();
        let mut accounts: Vec<&Account> = by_key.into_values().collect();
        let mut work = self.begin().await?;
        let artists: BTreeSet<ArtistId> = accounts.iter().map(|account| account.artist_id).collect();
        let erased = erased_artists_in_txn(&mut work, artists).await?;
        let given = accounts.len();
        accounts.retain(|account| !erased.contains(&account.artist_id));
        let mut saved = Saved { left_out: (given - accounts.len()) as u64, ..Saved::default() };
        let mut changed = BTreeMap::new();
        for chunk in accounts.chunks(ROWS_PER_STATEMENT) {
            let rows: Vec<_> = chunk
                .iter()
                .map(|account| {
                    json!({
                        "id": account.id, "artist": account.artist_id, "platform": account.platform,
                        "platform_id": account.platform_id, "settings": account.settings,
                        "status": account.status.as_str(),
                    })
                })
                .collect();
            let rows = json("accounts", &rows)?;
            let unknown = work.scoped(
                scope,
                "SELECT r.value->>'artist' AS artist FROM {rows}
                     LEFT JOIN artists t ON t.id = (r.value->>'artist')::uuid {and_tenant: t.tenant}
                 WHERE t.id IS NULL LIMIT 1",
            );
            if let Some(row) = work.row("find artists", unknown.bind(rows.clone())).await? {
                return Err(StoreError::NotFound { what: "artist", id: row.text("artist")? });
            }
            // A row that is there is neither locked nor changed here: a batch that is being completed locks accounts in
            // the order of their ids, and these come in another one.
            let insert = work.scoped(
                scope,
                "INSERT INTO accounts (id, artist_id, platform, platform_id, settings, status, origin, created_at,
                     updated_at)
                 SELECT (r.value->>'id')::uuid, (r.value->>'artist')::uuid, r.value->>'platform',
                     r.value->>'platform_id',
                     (r.value->>'settings')::jsonb, r.value->>'status', $3, $2::timestamptz, $2::timestamptz
                 FROM {rows} WHERE TRUE {and_artist: (r.value->>'artist')::uuid}
                 ON CONFLICT (artist_id, platform, platform_id) DO NOTHING",
            );
            let insert = insert.bind(rows.clone()).bind(time_text(now)).bind(origin.as_str());
            saved.inserted += work.execute("save accounts", insert).await?;
            // Compared as texts that no index has: else the index by platform is read instead of that by artist.
            let different = work.query(
                "SELECT a.id::text AS id, (r.value->'settings')::text AS settings
                 FROM {rows} LEFT JOIN accounts a ON a.artist_id = (r.value->>'artist')::uuid
                     AND a.platform || '' = r.value->>'platform' AND a.platform_id = r.value->>'platform_id'
                 WHERE (a.id IS NULL) = FALSE AND a.settings <> (r.value->>'settings')::jsonb",
            );
            for row in work.rows("find accounts that differ", different.bind(rows)).await? {
                changed.insert(row.parsed::<AccountId>("id")?, row.text("settings")?);
            }
        }
        let ids: Vec<AccountId> = changed.keys().copied().collect();
        if !ids.is_empty() {
            accounts_lock_in_txn(&mut work, &ids).await?;
        }
        let changed: Vec<_> =
            changed.into_iter().map(|(id, settings)| json!({ "id": id, "settings": settings })).collect();
        for chunk in changed.chunks(ROWS_PER_STATEMENT) {
            let update = work.scoped(
                scope,
                "UPDATE accounts SET updated_at = $2::timestamptz, settings = (SELECT (r.value->>'settings')::jsonb
                     FROM {rows} WHERE (r.value->>'id')::uuid = accounts.id)
                 WHERE id {in_ids} {and_artist: accounts.artist_id}",
            );
            let update = update.bind(json("accounts", &chunk)?).bind(time_text(now));
            saved.updated += work.execute("save accounts' settings", update).await?;
        }
        work.ring(Topic::Activations);
        work.commit().await?;
        Ok(saved)
    }

    /// An account by its id; none where it is unknown or outside of the scope.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_get(&self, scope: &Scope, id: AccountId) -> Result<Option<Account>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT id::text AS id, artist_id::text AS artist_id, platform, platform_id, settings::text AS settings,
                 status
             FROM accounts WHERE id = $1::uuid {and_artist: accounts.artist_id}",
        );
        let row = self.row("read an account", statement.bind(id.to_string())).await?;
        row.as_ref().map(account_of).transpose()
    }

    /// Whose an account is and where; none where it is unknown or outside of the scope. What acts on an account asks
    /// this, so that one whose row can't be read is not beyond its reach.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_place_get(&self, scope: &Scope, id: AccountId) -> Result<Option<AccountPlace>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT artist_id::text AS artist_id, platform, platform_id
             FROM accounts WHERE id = $1::uuid {and_artist: accounts.artist_id}",
        );
        let row = self.row("find an account", statement.bind(id.to_string())).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(AccountPlace {
            id,
            artist_id: row.parsed("artist_id")?,
            platform: row.parsed("platform").unwrap_or_else(|_| Platform::unreadable()),
            platform_id: row.told("platform_id")?,
        }))
    }

    /// Accounts in order of their ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn accounts_list(&self, scope: &Scope, filter: &AccountFilter) -> Result<Vec<Account>, StoreError> {
        let most = u32::try_from(limit(filter.limit)).unwrap_or(u32::MAX);
        let (mut after, mut found) = (filter.after.map(|id| id.to_string()), Vec::new());
        loop {
            let statement = self.scoped(
                scope,
                "SELECT id::text AS id, artist_id::text AS artist_id, platform, platform_id, settings::text AS settings,
                     status
                 FROM accounts
                 WHERE ($1::uuid IS NULL OR artist_id = $1::uuid) AND ($2::text IS NULL OR platform = $2)
                     AND ($3::uuid IS NULL OR id > $3::uuid) AND ($5::text IS NULL OR status = $5)
                     AND ($6::timestamptz IS NULL OR created_at <= $6::timestamptz)
                     {and_artist: accounts.artist_id}
                 ORDER BY accounts.id LIMIT $4",
            );
            let asked = left_of(most, found.len());
            let statement = statement
                .bind(filter.artist.map(|id| id.to_string()))
                .bind(filter.platform.as_ref().map(|platform| platform.as_str().to_owned()))
                .bind(after)
                .bind(i64::from(asked))
                .bind(filter.status.map(|status| status.as_str().to_owned()))
                .bind(filter.added_until.map(time_text));
            let rows = self.rows("list accounts", statement).await?;
            found.extend(self.unreadable.read("accounts", "id", Extent::Part, &rows, account_of)?);
            let last = more_after(&rows, asked, found.len(), most);
            let Some(place) = last.and_then(|last| last.above("id")) else { return Ok(found) };
            after = Some(place);
        }
    }

    /// All accounts of these artists, in order of id, without those that can't be read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn accounts_of(&self, scope: &Scope, artists: &[ArtistId]) -> Result<Vec<Account>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT id::text AS id, artist_id::text AS artist_id, platform, platform_id, settings::text AS settings,
                 status
             FROM accounts WHERE artist_id {in_ids} {and_artist: accounts.artist_id}
             ORDER BY id",
        );
        let rows = self.rows("list artists' accounts", statement.bind(id_rows(artists)?)).await?;
        self.unreadable.read("accounts", "id", Extent::Part, &rows, account_of)
    }

    /// Makes the accounts active again that had to be reconnected. Returns how many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn accounts_reconnect(
        &self,
        scope: &Scope,
        accounts: &[AccountId],
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let mut work = self.begin().await?;
        accounts_lock_in_txn(&mut work, accounts).await?;
        let statement = work.scoped(
            scope,
            "UPDATE accounts SET status = 'active', updated_at = $2::timestamptz
             WHERE status = 'reconnect_needed' AND id {in_ids}
                 {and_artist: accounts.artist_id}",
        );
        let statement = statement.bind(id_rows(accounts)?).bind(time_text(now));
        let written = work.execute("reconnect accounts", statement).await?;
        work.ring(Topic::Activations);
        work.commit().await?;
        Ok(written)
    }

    /// The tenants that artists belong to, in order of name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tenants_list(&self, scope: &Scope) -> Result<Vec<Tenant>, StoreError> {
        let statement =
            self.scoped(scope, "SELECT t.tenant FROM artists t WHERE TRUE {and_tenant: t.tenant} GROUP BY t.tenant");
        let mut tenants = Vec::new();
        for row in self.rows("list tenants", statement).await? {
            // A tenant that can't be read is named by `unreadable_artists_list`.
            tenants.extend(row.parsed::<Tenant>("tenant").ok());
        }
        tenants.sort_unstable();
        Ok(tenants)
    }

    /// Changes whether an account can be collected. Returns whether there is such an account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_set_status(
        &self,
        scope: &Scope,
        id: AccountId,
        status: AccountStatus,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.account_status_write(scope, id, None, status, now).await
    }

    /// The same, if the account has one status still. Returns whether it had.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_set_status_from(
        &self,
        scope: &Scope,
        id: AccountId,
        from: AccountStatus,
        status: AccountStatus,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.account_status_write(scope, id, Some(from), status, now).await
    }

    async fn account_status_write(
        &self,
        scope: &Scope,
        id: AccountId,
        from: Option<AccountStatus>,
        status: AccountStatus,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let statement = self.scoped(
            scope,
            "UPDATE accounts SET status = $2, updated_at = $3::timestamptz
             WHERE id = $1::uuid AND ($4::text IS NULL OR status = $4) {and_artist: accounts.artist_id}",
        );
        let statement = statement
            .bind(id.to_string())
            .bind(status.as_str())
            .bind(time_text(now))
            .bind(from.map(|from| from.as_str().to_owned()));
        let written = self.write("change an account's status", statement).await?;
        self.ring(Topic::Activations);
        Ok(written > 0)
    }
}

/// Refuses artists who are stored for another tenant. The error is that of unknown artists.
pub(crate) async fn artists_require_in_txn(
    work: &mut Work,
    scope: &Scope,
    artists: impl IntoIterator<Item = ArtistId>,
) -> Result<(), StoreError> {
    if scope.only().is_none() {
        return Ok(());
    }
    let artists: BTreeSet<ArtistId> = artists.into_iter().collect();
    let artists: Vec<ArtistId> = artists.into_iter().collect();
    for chunk in artists.chunks(ROWS_PER_STATEMENT) {
        let statement = work.scoped(
            scope,
            "SELECT t.id::text AS id FROM {rows} JOIN artists t ON t.id = (r.value->>'id')::uuid
             WHERE NOT (TRUE {and_tenant: t.tenant}) LIMIT 1",
        );
        if let Some(row) = work.row("find artists", statement.bind(id_rows(chunk)?)).await? {
            return Err(StoreError::NotFound { what: "artist", id: row.text("id")? });
        }
    }
    Ok(())
}

impl Saved {
    fn add(&mut self, given: u64, existing: u64, written: u64) {
        let inserted = given - existing.min(given);
        self.inserted += inserted;
        self.updated += written.saturating_sub(inserted);
    }
}

pub(crate) fn artist_of(row: &AnyRow) -> Result<Artist, StoreError> {
    Ok(Artist {
        id: ArtistId(row.exact_uuid("id")?),
        name: row.told("name")?,
        tenant: row.parsed("tenant")?,
        subscription_status: row.named("subscription_status", SubscriptionStatus::stored)?,
        data_collection_enabled: row.flag("data_collection_enabled")?,
        timezone: row.parsed("timezone")?,
    })
}

pub(crate) fn account_of(row: &AnyRow) -> Result<Account, StoreError> {
    Ok(Account {
        id: row.parsed("id")?,
        artist_id: row.parsed("artist_id")?,
        platform: row.parsed("platform")?,
        platform_id: row.text("platform_id")?,
        settings: row.json("settings")?,
        status: row.named("status", AccountStatus::parse)?,
    })
}
