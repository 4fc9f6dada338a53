//! The refresh of credentials: leases, results, and which credentials are due or about to expire.
//!
//! The right to refresh is a lease in the credential's own row, written before the platform is asked: of all hosts
//! one asks at a time. Saving the fresh secret checks the version and ends the lease in the same statement. A lease
//! that ran out without that belongs to a host that died between asking and saving.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::credentials::sealed::{SealedCredential, conflict, credential_of, credential_sql, save_sql, save_statement};
use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, left_of, more_after};
use crate::events::outbox::events_write_in_txn;
use crate::scope::Scope;
use backline_model::kill_points::{Point, point};
use backline_model::{ArtistId, CredentialId, Event, Platform};

/// Leases from now on, past which no host holds the right to refresh: clocks differ by less.
const LEASES_AHEAD_MAX: u32 = 10;

/// How far ahead a lease may end that keeps its credential out of a list. One that ends later was taken by a clock that
/// was ahead: [`Store::refresh_lease`] decides.
const LISTED_AHEAD_MAX: TimeDelta = TimeDelta::hours(1);

/// The latest time after now at which a credential may be due that is believed. A later one was set by a clock that was
/// ahead, or by another program. The refresher looks at each credential once in 30 days.
const DUE_AHEAD_MAX: TimeDelta = TimeDelta::days(31);

/// The right to refresh one version of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshLease {
    /// Name of the holder; no two leases have the same one.
    pub owner: String,
    /// End of the lease.
    pub until: DateTime<Utc>,
    /// When an earlier owner asked the platform and then died: the platform may have replaced the secret.
    pub interrupted: Option<DateTime<Utc>>,
}

/// A credential that expires soon.
#[derive(Clone, Debug, PartialEq)]
pub struct Expiring {
    /// The credential, as it is stored.
    pub credential: SealedCredential,
    /// Whose account it is for; none for the operator's.
    pub artist_id: Option<ArtistId>,
}

impl Store {
    /// Leases the refresh of this version of a credential for `ttl`. None where another host has it, or the
    /// version has moved on. A lease that ends later than any host takes it was taken by a clock that was ahead, and
    /// counts as over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh_lease(
        &self,
        scope: &Scope,
        id: CredentialId,
        version: i64,
        owner: &str,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Result<Option<RefreshLease>, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.scoped(
            scope,
            "SELECT refresh_began::text AS refresh_began FROM credentials
             WHERE id = $1::uuid AND version = $2 AND (refresh_owner IS NULL OR refresh_until <= $3::timestamptz
                     OR refresh_until > $4::timestamptz)
                 {and_account: credentials.account_id}
             FOR NO KEY UPDATE",
        );
        let statement = statement.bind(id.to_string()).bind(version).bind(time_text(now));
        let statement = statement.bind(time_text(now + ttl * LEASES_AHEAD_MAX));
        let Some(row) = work.row("check whether a credential is being refreshed", statement).await? else {
            return Ok(None);
        };
        let lease =
            RefreshLease { owner: clean(owner), until: now + ttl, interrupted: row.time_or_null("refresh_began")? };
        let statement = work.query(
            "UPDATE credentials SET refresh_owner = $2, refresh_until = $3::timestamptz, refresh_began = $4::timestamptz
             WHERE id = $1::uuid",
        );
        let statement =
            statement.bind(id.to_string()).bind(lease.owner.clone()).bind(time_text(lease.until)).bind(time_text(now));
        work.execute("lease the refresh of a credential", statement).await?;
        work.commit().await?;
        Ok(Some(lease))
    }

    /// Releases the lease to refresh after a failure; `refresh_at` is when to try again. Returns whether it was still
    /// held.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh_release(
        &self,
        id: CredentialId,
        owner: &str,
        refresh_at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let statement = self.query(
            "UPDATE credentials SET refresh_at = $3::timestamptz, refresh_owner = NULL, refresh_until = NULL,
                 refresh_began = NULL
             WHERE id = $1::uuid AND refresh_owner = $2",
        );
        let statement = statement.bind(id.to_string()).bind(clean(owner)).bind(time_text(refresh_at));
        Ok(self.write("release the refresh of a credential", statement).await? > 0)
    }

    /// Sets when a version of a credential is due next.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credential_set_refresh_at(
        &self,
        scope: &Scope,
        id: CredentialId,
        version: i64,
        refresh_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let statement = self.scoped(
            scope,
            "UPDATE credentials SET refresh_at = $3::timestamptz
             WHERE id = $1::uuid AND version = $2 {and_account: credentials.account_id}",
        );
        let statement = statement.bind(id.to_string()).bind(version).bind(time_text(refresh_at));
        self.write("set when a credential is due", statement).await?;
        Ok(())
    }

    /// Saves what a refresh brought, as [`Store::credential_save`] does. An account that had to be reconnected
    /// because this very version was marked dead is active again.
    ///
    /// # Errors
    /// [`StoreError::VersionConflict`] when the stored version is another one.
    pub async fn credential_save_refreshed(
        &self,
        scope: &Scope,
        credential: &SealedCredential,
        now: DateTime<Utc>,
    ) -> Result<SealedCredential, StoreError> {
        let mut work = self.begin_durable().await?;
        let statement = work.scoped(
            scope,
            "SELECT status FROM credentials WHERE id = $1::uuid AND version = $2 {and_account: credentials.account_id}
             FOR UPDATE",
        );
        let statement = statement.bind(credential.id.to_string()).bind(credential.version);
        let row = work.row("read a credential's status", statement).await?.ok_or_else(|| conflict(credential))?;
        let was_dead = row.text("status")? == "dead";
        let statement = save_statement(work.scoped(scope, save_sql(credential)), credential, now);
        if work.execute("save a refreshed credential", statement).await? == 0 {
            return Err(conflict(credential));
        }
        if let Some(account) = credential.account_id.filter(|_| was_dead) {
            let statement = work.query(
                "UPDATE accounts SET status = 'active', updated_at = $2::timestamptz
                 WHERE id = $1::uuid AND status = 'reconnect_needed'",
            );
            work.execute("reconnect an account", statement.bind(account.to_string()).bind(time_text(now))).await?;
        }
        point(Point::RefreshWritten);
        work.commit().await?;
        point(Point::RefreshSaved);
        Ok(SealedCredential { version: credential.version + 1, updated_at: now, ..credential.clone() })
    }

    /// Marks a version of a credential as dead, in one transaction with its account: that must be reconnected, and
    /// `event` is written if it was in use until now. Only the owner of the refresh may do so. Returns whether it did.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credential_mark_dead(
        &self,
        credential: &SealedCredential,
        owner: &str,
        event: Option<&Event>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query(
            "UPDATE credentials SET status = 'dead', updated_at = $4::timestamptz,
                 refresh_owner = NULL, refresh_until = NULL, refresh_began = NULL
             WHERE id = $1::uuid AND version = $2 AND refresh_owner = $3",
        );
        let statement =
            statement.bind(credential.id.to_string()).bind(credential.version).bind(clean(owner)).bind(time_text(now));
        if work.execute("mark a credential dead", statement).await? == 0 {
            return Ok(false);
        }
        if let Some(account) = credential.account_id {
            let statement = work.query(
                "UPDATE accounts SET status = 'reconnect_needed', updated_at = $2::timestamptz
                 WHERE id = $1::uuid AND status = 'active'",
            );
            let statement = statement.bind(account.to_string()).bind(time_text(now));
            if work.execute("ask for an account to be reconnected", statement).await? > 0 {
                events_write_in_txn(&mut work, event.map_or(&[], std::slice::from_ref)).await?;
            }
        }
        work.commit().await?;
        Ok(true)
    }

    /// A page of the working credentials of these slots that are due to be refreshed and that no host refreshes, in
    /// order of id. Those without a due time are among them, where their kind can be refreshed at all, and those whose
    /// due time is too far ahead to be believed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_credentials_list(
        &self,
        scope: &Scope,
        slots: &[(Platform, String)],
        now: DateTime<Utc>,
        after: Option<CredentialId>,
        limit: u32,
    ) -> Result<Vec<SealedCredential>, StoreError> {
        let slots: Vec<_> =
            slots.iter().map(|(platform, slot)| json!({ "platform": platform, "slot": slot })).collect();
        let mut after = after.map_or_else(|| uuid::Uuid::nil().to_string(), |id| id.to_string());
        let mut found = Vec::new();
        loop {
            let statement = self.scoped(
                scope,
                credential_sql!(
                    "WHERE id > $3::uuid AND status = 'active'
                     AND (refresh_at <= $2::timestamptz OR refresh_at > $6::timestamptz
                         OR (refresh_at IS NULL AND kind IN ('client-credentials', 'refresh-token',
                             'instagram-long-lived', 'apple-developer-token')))
                     AND (refresh_owner IS NULL OR refresh_until <= $2::timestamptz OR refresh_until > $5::timestamptz)
                     AND EXISTS (SELECT 1 FROM {rows} WHERE r.value->>'platform' = platform AND r.value->>'slot' = slot)
                     {and_account: credentials.account_id}
                 ORDER BY id LIMIT $4"
                ),
            );
            let asked = left_of(limit, found.len());
            let statement =
                statement.bind(json("slots", &slots)?).bind(time_text(now)).bind(after).bind(i64::from(asked));
            let statement = statement.bind(time_text(now + LISTED_AHEAD_MAX)).bind(time_text(now + DUE_AHEAD_MAX));
            let rows = self.rows("find credentials to refresh", statement).await?;
            found.extend(self.unreadable.read("credentials", "id", Extent::Part, &rows, credential_of)?);
            let last = more_after(&rows, asked, found.len(), limit);
            let Some(place) = last.and_then(|last| last.above("id")) else { return Ok(found) };
            after = place;
        }
    }

    /// A page of the working credentials that end after `now` and not after `until`, in order of id, with the artists
    /// they belong to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expiring_credentials_list(
        &self,
        scope: &Scope,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        after: Option<CredentialId>,
        limit: u32,
    ) -> Result<Vec<Expiring>, StoreError> {
        let expiring_of = |row: &AnyRow| {
            Ok(Expiring { credential: credential_of(row)?, artist_id: row.parsed_or_null("artist_id")? })
        };
        let mut after = after.map_or_else(|| uuid::Uuid::nil().to_string(), |id| id.to_string());
        let mut found = Vec::new();
        loop {
            let statement = self.scoped(
                scope,
                "SELECT c.id::text AS id, c.platform, c.slot, c.account_id::text AS account_id, c.kind, c.sealed,
                     c.version,
                     c.expires_at::text AS expires_at, c.refresh_at::text AS refresh_at, c.status,
                     c.updated_at::text AS updated_at,
                     a.artist_id::text AS artist_id
                 FROM credentials c LEFT JOIN accounts a ON a.id = c.account_id
                 WHERE c.id > $3::uuid AND c.status = 'active'
                     AND c.expires_at > $1::timestamptz AND c.expires_at <= $2::timestamptz
                     AND (c.refresh_owner IS NULL OR c.refresh_until <= $1::timestamptz
                         OR c.refresh_until > $5::timestamptz) {and_artist: a.artist_id}
                 ORDER BY c.id LIMIT $4",
            );
            let asked = left_of(limit, found.len());
            let statement = statement.bind(time_text(now)).bind(time_text(until)).bind(after).bind(i64::from(asked));
            let statement = statement.bind(time_text(now + LISTED_AHEAD_MAX));
            let rows = self.rows("find credentials that expire soon", statement).await?;
            found.extend(self.unreadable.read("credentials", "id", Extent::Part, &rows, expiring_of)?);
            let last = more_after(&rows, asked, found.len(), limit);
            let Some(place) = last.and_then(|last| last.above("id")) else { return Ok(found) };
            after = place;
        }
    }
}
