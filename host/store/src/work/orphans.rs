//! Batches that no release collects any more, since the last one of their platform was revoked or deactivated. They end
//! as excluded: a run that waited for them would keep its schedule's next runs from starting.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, time_text};
use crate::database::error::StoreError;
use crate::database::rows::id_rows;
use crate::scope::Scope;
use crate::work::locks::accounts_lock_in_txn;
use crate::work::outcomes::{AccountOutcome, outcomes_save_in_txn};
use backline_model::outcome::{Exclusion, Outcome};
use backline_model::{AccountId, BatchId, Platform, RunId};

/// Batches that end in one transaction.
const BATCHES_AT_ONCE: i64 = 50;

impl Store {
    /// Ends the open batches of platforms without an active release: their accounts count as excluded. One that a host
    /// still holds ends when that host stores it, gives it back, or its lease runs out. Returns how many accounts were
    /// excluded, by platform.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orphaned_batches_exclude(
        &self,
        scope: &Scope,
        now: DateTime<Utc>,
    ) -> Result<BTreeMap<Platform, u64>, StoreError> {
        scope.require_all("exclude batches without a connector")?;
        let mut excluded = BTreeMap::new();
        for platform in self.orphaned_platforms().await? {
            loop {
                let accounts = self.exclude_some(&platform, now).await?;
                let Some(accounts) = accounts else { break };
                *excluded.entry(platform.clone()).or_default() += accounts;
            }
        }
        Ok(excluded)
    }

    async fn orphaned_platforms(&self) -> Result<Vec<Platform>, StoreError> {
        let statement = self.query(
            "SELECT p.platform FROM platforms p
             WHERE EXISTS (SELECT 1 FROM releases r WHERE r.platform = p.platform)
                 AND NOT EXISTS (SELECT 1 FROM releases r WHERE r.platform = p.platform AND r.active)
                 AND EXISTS (SELECT 1 FROM batches b WHERE b.platform = p.platform AND b.finished_at IS NULL)
             ORDER BY p.platform",
        );
        let rows = self.rows("find platforms without a connector", statement).await?;
        rows.iter().map(|row| row.parsed("platform")).collect()
    }

    /// None where nothing is left to exclude.
    async fn exclude_some(&self, platform: &Platform, now: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query(
            "SELECT b.id::text AS id, b.run_id::text AS run_id, b.attempts FROM batches b
             WHERE b.platform = $1 AND b.finished_at IS NULL
                 AND (b.state <> 'leased' OR b.available_at <= $2::timestamptz)
                 AND NOT EXISTS (SELECT 1 FROM releases r WHERE r.platform = b.platform AND r.active)
             ORDER BY b.id LIMIT $3 FOR UPDATE SKIP LOCKED",
        );
        let statement = statement.bind(platform.as_str().to_owned()).bind(time_text(now)).bind(BATCHES_AT_ONCE);
        let batches = work.rows("find batches without a connector", statement).await?;
        if batches.is_empty() {
            return Ok(None);
        }
        let mut runs: BTreeMap<BatchId, (RunId, u32)> = BTreeMap::new();
        for row in &batches {
            let attempts = u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX);
            runs.insert(row.parsed("id")?, (row.parsed("run_id")?, attempts));
        }
        let ids = id_rows(&runs.keys().copied().collect::<Vec<_>>())?;
        let statement = work.query(
            "SELECT batch_id::text AS batch_id, account_id::text AS account_id, metric_date::text AS metric_date
             FROM batch_accounts WHERE batch_id {in_ids} ORDER BY account_id",
        );
        let rows = work.rows("read the accounts of batches without a connector", statement.bind(ids.clone())).await?;
        let mut outcomes: BTreeMap<RunId, Vec<AccountOutcome>> = BTreeMap::new();
        let mut accounts: Vec<AccountId> = Vec::with_capacity(rows.len());
        for row in &rows {
            let Some((run, attempts)) = runs.get(&row.parsed("batch_id")?) else { continue };
            let account_id = row.parsed("account_id")?;
            accounts.push(account_id);
            outcomes.entry(*run).or_default().push(AccountOutcome {
                account_id,
                metric_date: row.date("metric_date")?,
                outcome: Outcome::Excluded { reason: Exclusion::NoConnector },
                attempts: *attempts,
            });
        }
        let alive = accounts_lock_in_txn(&mut work, &accounts).await?;
        for (run, mut outcomes) in outcomes {
            outcomes.retain(|outcome| alive.contains(&outcome.account_id));
            outcomes_save_in_txn(&mut work, run, None, &outcomes, now).await?;
        }
        let statement = work.query(
            "UPDATE batches SET state = 'done', finished_at = $2::timestamptz, lease_owner = NULL,
                 message = 'no release of its platform is active'
             WHERE id {in_ids}",
        );
        work.execute("end batches without a connector", statement.bind(ids).bind(time_text(now))).await?;
        work.commit().await?;
        Ok(Some(alive.len() as u64))
    }
}
