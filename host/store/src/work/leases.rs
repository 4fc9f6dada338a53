//! Leases: which worker holds which batch.
//!
//! Leasing a batch raises its token; a worker with an older token can write nothing any more. A batch whose lease ran
//! out is leased alone from then on, since its host may have ended because of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, time_text};
use crate::database::error::StoreError;
use crate::database::notifications::notify;
use crate::database::readable::Extent;
use crate::database::topic::Topic;
use crate::scope::Scope;
use crate::work::parts::{Part, part_split_off_in_txn};
use backline_model::remedies::{Remedy, off};
use backline_model::{Batch, BatchAccount, BatchState, Lease, Platform, RunId, Window};

macro_rules! lease_sql {
    ($which:literal, $how:literal) => {
        concat!(
            "UPDATE batches SET state = 'leased', lease_owner = $3,
                 lease_token = {raised: lease_token + 1},
                 available_at = $5::timestamptz,
                 began_at = $4::timestamptz,
                 release_digest = COALESCE(
                     CASE WHEN lane = 'canary'
                         THEN (SELECT c.release_digest FROM canaries c WHERE c.platform = batches.platform) END,
                     (SELECT r.digest FROM releases r WHERE r.platform = batches.platform AND r.active),
                     release_digest),
                 host_losses = CASE WHEN state = 'leased' AND (host_losses <= 0 OR has_begun = 1)
                     THEN {counted: host_losses + 1} ELSE host_losses END,
                 attempts = CASE WHEN state = 'leased' THEN {counted: attempts + $6::bigint} ELSE attempts END,
                 has_begun = 0
             WHERE id = (
                 SELECT id FROM batches
                 WHERE finished_at IS NULL AND available_at <= $4::timestamptz
                     AND ($1::uuid IS NULL OR run_id = $1::uuid)
                     AND (EXISTS (SELECT 1 FROM releases r WHERE r.platform = batches.platform AND r.active)
                         OR NOT EXISTS (SELECT 1 FROM releases r WHERE r.platform = batches.platform))
                     {and_tenant: tenant} AND ",
            $which,
            " AND ",
            $how,
            " ORDER BY turn, id LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING id::text AS id, run_id::text AS run_id, tenant, platform, release_digest,
                 window_since::text AS window_since,
                 window_until::text AS window_until, attempts, lease_token, lane, host_losses"
        )
    };
}

macro_rules! next_batch_sql {
    ($which:literal) => {
        concat!(
            "SELECT available_at::text AS at FROM batches WHERE finished_at IS NULL AND ",
            $which,
            " AND state = 'planned' AND host_losses <= 0 AND ($2::text IS NULL OR platform = $2)
                 AND (EXISTS (SELECT 1 FROM releases r WHERE r.platform = batches.platform AND r.active)
                     OR NOT EXISTS (SELECT 1 FROM releases r WHERE r.platform = batches.platform))
                 {and_tenant: tenant}
             ORDER BY batches.available_at LIMIT 1"
        )
    };
}

impl Store {
    /// Leases the next batch for `ttl`, with the release that is active at this moment: one that is planned, or one
    /// whose deferral is over. Two workers never get the same one. A platform whose releases are all inactive waits.
    /// A batch that can't be read ends as excluded, and the next one is leased.
    ///
    /// A batch whose lease expired is not among them, since the host that held it may have died of it: see
    /// [`lone_batch_lease`](Self::lone_batch_lease).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn batch_lease(
        &self,
        scope: &Scope,
        run: Option<RunId>,
        platform: Option<&Platform>,
        owner: &str,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        // Of one platform, the lease is one index lookup.
        let text = match platform {
            Some(_) => lease_sql!("platform = $2", "state <> 'leased' AND host_losses <= 0"),
            None => lease_sql!("$2::text IS NULL", "state <> 'leased' AND host_losses <= 0"),
        };
        self.lease(scope, text, run, platform, owner, now, ttl).await
    }

    /// Leases the next batch of a platform that was in the hands of a host when that host ended. It uses up no attempt;
    /// who leases it collects nothing else beside it, so that neighbours don't end with it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lone_batch_lease(
        &self,
        scope: &Scope,
        run: Option<RunId>,
        platform: &Platform,
        owner: &str,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let text = lease_sql!("platform = $2", "(state = 'leased' OR host_losses > 0)");
        self.lease(scope, text, run, Some(platform), owner, now, ttl).await
    }

    /// The platforms of batches that [`lone_batch_lease`](Self::lone_batch_lease) would lease now, the longest waiting
    /// first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lone_platforms_list(
        &self,
        scope: &Scope,
        run: Option<RunId>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Platform>, StoreError> {
        scope.require_all("find batches of hosts that ended")?;
        let statement = self.query(
            "SELECT b.platform FROM batches b
             WHERE b.finished_at IS NULL AND (b.state = 'leased' OR b.host_losses > 0)
                 AND b.available_at <= $2::timestamptz AND ($1::uuid IS NULL OR b.run_id = $1::uuid)
             GROUP BY b.platform ORDER BY MIN(b.available_at), b.platform",
        );
        let statement = statement.bind(run.map(|run| run.to_string())).bind(time_text(now));
        let rows = self.rows("find batches of hosts that ended", statement).await?;
        self.unreadable.read("platforms", "platform", Extent::Part, &rows, |row| row.parsed("platform"))
    }

    #[expect(clippy::too_many_arguments, reason = "which batch, for whom, and until when")]
    async fn lease(
        &self,
        scope: &Scope,
        text: &'static str,
        run: Option<RunId>,
        platform: Option<&Platform>,
        owner: &str,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        loop {
            let expires_at = now + ttl;
            let statement = self.scoped(scope, text);
            let statement = statement
                .bind(run.map(|run| run.to_string()))
                .bind(platform.map(|platform| platform.as_str().to_owned()))
                .bind(clean(owner))
                .bind(time_text(now))
                .bind(time_text(expires_at))
                // What the end of the host that held it costs: nothing.
                .bind(i64::from(off(Remedy::DeathsFree)));
            // Both statements on one connection: leases are taken one by one, and all platforms wait for them.
            let mut link = self.writing_link("lease a batch").await?;
            let leased = link.rows("lease a batch", statement).await?;
            let Some(row) = leased.into_iter().next() else { return Ok(None) };
            let one = std::slice::from_ref(&row);
            self.unreadable.read("batches", "id", Extent::Part, one, |row| batch_of(row).map(drop))?;
            let mut batch = match batch_of(&row) {
                Err(StoreError::Unreadable { column, problem }) => {
                    // It writes, which takes the turn of a file's one writer.
                    drop(link);
                    self.unreadable_batch_end(&row, &column, &problem, now).await?;
                    continue;
                }
                batch => batch?,
            };
            let id = batch.id;
            let statement = self.query(
                "SELECT m.position, m.account_id::text AS account_id, m.metric_date::text AS metric_date
                 FROM batch_accounts m WHERE m.batch_id = $1::uuid ORDER BY m.position",
            );
            let accounts = link.rows("read a batch's accounts", statement.bind(id.to_string())).await?;
            drop(link);
            batch.accounts = self.batch_accounts_take(&batch, &accounts, now).await?;
            let (host_losses, token) = (row.times("host_losses")?, row.counter("lease_token")?);
            let lease = Lease { batch, host_losses, token, expires_at };
            if !lease.batch.accounts.is_empty() {
                return Ok(Some(lease));
            }
            // Every account of it has been erased since, or none can be read: there is nothing left to do.
            let statement = self.query(
                "UPDATE batches SET state = 'done', finished_at = $3::timestamptz
                 WHERE id = $1::uuid AND lease_token = $2 AND finished_at IS NULL",
            );
            let statement = statement.bind(id.to_string()).bind(lease.token).bind(time_text(now));
            self.write("close an empty batch", statement).await?;
        }
    }

    /// Renews a lease for `ttl` from `now` on.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when another worker has taken the batch over.
    pub async fn lease_renew(&self, lease: &Lease, now: DateTime<Utc>, ttl: Duration) -> Result<Lease, StoreError> {
        let expires_at = now + ttl;
        let statement = self.query(
            "UPDATE batches SET available_at = $3::timestamptz
             WHERE id = $1::uuid AND lease_token = $2 AND state = 'leased' AND finished_at IS NULL",
        );
        let statement = statement.bind(lease.batch.id.to_string()).bind(lease.token).bind(time_text(expires_at));
        if self.write("renew a lease", statement).await? == 0 {
            return Err(StoreError::LeaseLost { batch: lease.batch.id });
        }
        Ok(Lease { expires_at, ..lease.clone() })
    }

    /// Releases a batch; it can be leased again from `not_before` on.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when another worker has taken the batch over.
    pub async fn batch_release(
        &self,
        lease: &Lease,
        not_before: DateTime<Utc>,
        attempt_used: bool,
    ) -> Result<(), StoreError> {
        let statement = self.query(
            "UPDATE batches SET state = 'planned', available_at = $3::timestamptz,
                 attempts = {counted: attempts + $4::bigint}, lease_owner = NULL
             WHERE id = $1::uuid AND lease_token = $2 AND state = 'leased' AND finished_at IS NULL",
        );
        let statement = statement
            .bind(lease.batch.id.to_string())
            .bind(lease.token)
            .bind(time_text(not_before))
            .bind(i64::from(attempt_used));
        if self.write("release a batch", statement).await? == 0 {
            return Err(StoreError::LeaseLost { batch: lease.batch.id });
        }
        Ok(())
    }

    /// Says that the connector is about to be called for a batch that is collected alone. Only then does the end of its
    /// host count: one that ends before, such as while it starts, did not end of the batch.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when another worker has taken the batch over.
    pub async fn lone_batch_begin(&self, lease: &Lease) -> Result<(), StoreError> {
        let statement = self.query(
            "UPDATE batches SET has_begun = 1
             WHERE id = $1::uuid AND lease_token = $2 AND state = 'leased' AND finished_at IS NULL",
        );
        let statement = statement.bind(lease.batch.id.to_string()).bind(lease.token);
        if self.write("begin a batch that is alone", statement).await? == 0 {
            return Err(StoreError::LeaseLost { batch: lease.batch.id });
        }
        Ok(())
    }

    /// Cuts a leased batch in halves and releases both, to find which of its accounts hosts end of. Neither half has
    /// lost a host by itself so far; each is leased alone.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when another worker has taken the batch over.
    pub async fn batch_halve(&self, lease: &Lease, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query(
            "UPDATE batches SET state = 'planned', available_at = $3::timestamptz, lease_owner = NULL, host_losses = 1
             WHERE id = $1::uuid AND lease_token = $2 AND state = 'leased' AND finished_at IS NULL",
        );
        let statement = statement.bind(lease.batch.id.to_string()).bind(lease.token).bind(time_text(now));
        if work.execute("release a batch", statement).await? == 0 {
            return Err(StoreError::LeaseLost { batch: lease.batch.id });
        }
        let accounts = &lease.batch.accounts;
        let half = Part {
            state: BatchState::Planned,
            attempts: lease.batch.attempts,
            host_losses: 1,
            available_at: now,
            message: None,
            accounts: accounts[accounts.len() / 2..].iter().map(|account| account.account_id).collect(),
        };
        part_split_off_in_txn(&mut work, lease.batch.id, &half, now).await?;
        notify(&mut work, Topic::Work).await?;
        work.commit().await
    }

    /// When the next batch that is to be tried again can be taken up; none where every batch is done, waits for
    /// its budget, or is leased: how a worker knows what to wait for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_batch_get(
        &self,
        scope: &Scope,
        run: Option<RunId>,
        platform: Option<&Platform>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        // Each by the index that leads to it: no plan can use one for a condition that may be none.
        let text = match run {
            Some(_) => next_batch_sql!("run_id = $1::uuid"),
            None => next_batch_sql!("$1::uuid IS NULL"),
        };
        let statement = self.scoped(scope, text);
        let statement =
            statement.bind(run.map(|run| run.to_string())).bind(platform.map(|platform| platform.as_str().to_owned()));
        match self.row("find batches to retry", statement).await? {
            Some(row) => readable_time(&row, "at"),
            None => Ok(None),
        }
    }
}

/// A batch without its accounts. One whose numbers have come to their end counts as one that can't be read: after the
/// last lease token there is none by which an older lease could be told from a newer one.
pub(crate) fn batch_of(row: &AnyRow) -> Result<Batch, StoreError> {
    row.counter("lease_token")?;
    row.times("host_losses")?;
    Ok(Batch {
        id: row.parsed("id")?,
        run_id: row.parsed("run_id")?,
        tenant: row.parsed("tenant")?,
        platform: row.parsed("platform")?,
        release: row.parsed("release_digest")?,
        canary: row.text_or_null("lane")?.is_some(),
        window: Window {
            // A platform can't be asked about what only stands for a time beyond all calendars.
            since: row.calendar_time("window_since")?,
            until: row.calendar_time("window_until")?,
        },
        accounts: Vec::new(),
        attempts: row.times("attempts")?,
    })
}

/// A time that is only waited for: none where it can't be read, and then others are looked for all the same.
pub(crate) fn readable_time(row: &AnyRow, column: &str) -> Result<Option<DateTime<Utc>>, StoreError> {
    match row.time_or_null(column) {
        Err(StoreError::Unreadable { .. }) => Ok(None),
        time => time,
    }
}

pub(crate) fn batch_account_of(row: &AnyRow) -> Result<BatchAccount, StoreError> {
    Ok(BatchAccount { account_id: row.parsed("account_id")?, metric_date: row.date("metric_date")? })
}
