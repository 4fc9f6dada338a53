//! Open batches whose rows this binary can't read: another program or a newer version wrote them, or the file is
//! damaged. No host could collect them, and their runs would wait for them for ever. So they end: their accounts count
//! as excluded, with what is wrong, and the next plan includes them again.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::artists::tombstones::erasures_hold_off_in_txn;
use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::{StoreError, unless_refused};
use crate::database::readable::Extent;
use crate::database::rows::ROWS_PER_STATEMENT;
use crate::scope::Scope;
use crate::work::leases::{batch_account_of, batch_of};
use crate::work::outcomes::{AccountOutcome, outcomes_save_in_txn};
use crate::work::uncollected::{
    UncollectedReason, batches_end_in_txn, nameless_batch_end_in_txn, waiting_list_in_txn, waiting_sql,
};
use backline_model::outcome::{Exclusion, Outcome};
use backline_model::{AccountId, Batch, BatchAccount};

/// What was ended since it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnreadableBatches {
    /// Number of batches.
    pub batches: u64,
    /// Number of entries of accounts in them.
    pub accounts: u64,
}

impl Store {
    /// Ends the open batches whose rows can't be read, such as those of a platform or tenant that can have no such
    /// name. One in the hands of a host is left to it: it may be a newer binary, and [`batch_lease`](Self::batch_lease)
    /// ends what it can't read itself.
    ///
    /// # Errors
    /// When the scope is one tenant's, or the database fails: the first error, after the others were ended.
    pub async fn unreadable_batches_end(
        &self,
        scope: &Scope,
        now: DateTime<Utc>,
    ) -> Result<UnreadableBatches, StoreError> {
        scope.require_all("end batches that can't be read")?;
        let (mut ended, mut passed, mut failed) = (UnreadableBatches::default(), 0, None);
        loop {
            // In the order of an index that holds open batches only. What a page misses, since others change batches
            // meanwhile, is found the next time. The lease replaces the release where one is active.
            let statement = self.query(
                "SELECT b.id::text AS id, b.run_id::text AS run_id, b.tenant, b.platform,
                     COALESCE((SELECT r.digest FROM releases r WHERE r.platform = b.platform AND r.active),
                         b.release_digest) AS release_digest,
                     b.window_since::text AS window_since, b.window_until::text AS window_until, b.attempts, b.lane,
                     b.host_losses, b.lease_token
                 FROM batches b
                 WHERE b.finished_at IS NULL AND (b.state <> 'leased' OR b.available_at <= $1::timestamptz)
                 ORDER BY b.available_at LIMIT $2 OFFSET $3",
            );
            let statement = statement.bind(time_text(now)).bind(ROWS_PER_STATEMENT as i64).bind(passed);
            let rows = self.rows("check open batches", statement).await?;
            self.unreadable.read("batches", "id", Extent::Part, &rows, |row| batch_of(row).map(drop))?;
            passed += i64::try_from(rows.len()).unwrap_or(i64::MAX);
            for row in &rows {
                let Err(StoreError::Unreadable { column, problem }) = batch_of(row) else { continue };
                // One that can't be ended either keeps no other one open.
                let done = self.unreadable_batch_end(row, &column, &problem, now).await;
                if let Some(accounts) = unless_refused(done, &mut failed)? {
                    ended.batches += 1;
                    ended.accounts += accounts;
                    passed -= 1;
                }
            }
            if rows.len() < ROWS_PER_STATEMENT {
                return failed.map_or(Ok(ended), Err);
            }
        }
    }

    /// Ends a batch of which a column can't be read. Returns how many entries of accounts it held; none where it has
    /// ended already, or another transaction holds it.
    pub(crate) async fn unreadable_batch_end(
        &self,
        row: &AnyRow,
        column: &str,
        problem: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<u64>, StoreError> {
        let reason = cause(column, problem);
        let Ok(id) = row.text("id") else { return self.nameless_batch_end(row, &reason, now).await };
        let mut work = self.begin().await?;
        erasures_hold_off_in_txn(&mut work).await?;
        let statement = work.query(waiting_sql!("WHERE id = $1::uuid AND finished_at IS NULL FOR UPDATE SKIP LOCKED"));
        let batches = waiting_list_in_txn(&mut work, statement.bind(id)).await?;
        if batches.is_empty() {
            return Ok(None);
        }
        let accounts =
            batches_end_in_txn(&mut work, &batches, UncollectedReason::Unreadable(&reason), &reason, now).await?;
        work.commit().await?;
        Ok(Some(accounts))
    }

    /// The same for a batch of a file whose id is not UTF-8.
    async fn nameless_batch_end(
        &self,
        row: &AnyRow,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<u64>, StoreError> {
        let mut work = self.begin().await?;
        erasures_hold_off_in_txn(&mut work).await?;
        let accounts = nameless_batch_end_in_txn(&mut work, &row.bytes("id")?, reason, now).await?;
        work.commit().await?;
        Ok(accounts)
    }

    /// The accounts of a batch that was just leased, by their rows in order. Those that can't be read end as excluded,
    /// and leave the batch: the others are collected.
    pub(crate) async fn batch_accounts_take(
        &self,
        batch: &Batch,
        rows: &[AnyRow],
        now: DateTime<Utc>,
    ) -> Result<Vec<BatchAccount>, StoreError> {
        let readable = self.unreadable.read("batch_accounts", "account_id", Extent::Part, rows, batch_account_of)?;
        if readable.len() == rows.len() {
            return Ok(readable);
        }
        let (mut outcomes, mut places) = (Vec::new(), Vec::new());
        for row in rows {
            let Err(StoreError::Unreadable { column, problem }) = batch_account_of(row) else { continue };
            places.push(json!({ "position": row.int("position")? }));
            // Where the id can't be read, it is no account's row.
            if let Ok(account_id) = row.parsed::<AccountId>("account_id") {
                outcomes.push(AccountOutcome {
                    account_id,
                    metric_date: row.date("metric_date").unwrap_or_else(|_| now.date_naive()),
                    outcome: Outcome::Excluded { reason: Exclusion::Unreadable },
                    attempts: batch.attempts,
                    planned_for: None,
                    note: Some(format!("its row in the batch {}", cause(&column, &problem))),
                });
            }
        }
        let mut work = self.begin().await?;
        erasures_hold_off_in_txn(&mut work).await?;
        let statement = work.query(
            "DELETE FROM batch_accounts WHERE batch_id = $2::uuid
                 AND batch_accounts.position IN (SELECT (r.value->>'position')::bigint FROM {rows})",
        );
        let statement = statement.bind(json("places in a batch", &places)?).bind(batch.id.to_string());
        work.execute("take unreadable accounts out of a batch", statement).await?;
        outcomes_save_in_txn(&mut work, batch.run_id, None, &outcomes, now).await?;
        work.commit().await?;
        Ok(readable)
    }
}

/// What is said of a row that can't be read, after the name of what it is.
fn cause(column: &str, problem: &str) -> String {
    format!("can't be read: its {column} is {problem}")
}
