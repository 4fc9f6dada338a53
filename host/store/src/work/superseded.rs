//! Ends what earlier runs still have open of accounts that are planned again. An allowance that is too small, or a host
//! that was killed, would otherwise leave a backlog that grows with every run, whose numbers come later and later.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::any::AnyRow;

use crate::database::connection::Work;
use crate::database::dialect::{Columns as _, time_text};
use crate::database::error::StoreError;
use crate::database::rows::id_rows;
use crate::work::outcomes::{AccountOutcome, outcomes_save_in_txn};
use backline_model::outcome::Outcome;
use backline_model::{AccountId, Batch, BatchId, BatchState, Platform, RunId};

/// Batches whose accounts are read at once.
const BATCHES_AT_ONCE: i64 = 200;

/// A batch of another run that can still be collected.
struct Waiting {
    id: BatchId,
    run: RunId,
    state: BatchState,
    attempts: u32,
}

/// Ends the entries that earlier runs have open of the accounts of these batches, of the same date or an earlier one:
/// they become superseded. A dead entry of an earlier date can't be retried any more and keeps its failure. What a host
/// is at work on stays.
pub(crate) async fn supersede_in_txn(work: &mut Work, planned: &[Batch], now: DateTime<Utc>) -> Result<(), StoreError> {
    let mut platforms: BTreeMap<&Platform, (RunId, HashMap<AccountId, NaiveDate>)> = BTreeMap::new();
    for batch in planned {
        let (_, dates) = platforms.entry(&batch.platform).or_insert_with(|| (batch.run_id, HashMap::new()));
        dates.extend(batch.accounts.iter().map(|account| (account.account_id, account.metric_date)));
    }
    for (platform, (run, dates)) in platforms {
        for text in [OPEN, DEAD] {
            let mut after = None;
            loop {
                let batches = waiting_in_txn(work, text, platform, run, after, now).await?;
                let Some(last) = batches.last() else { break };
                after = Some(last.id);
                end_in_txn(work, &batches, &dates, now).await?;
            }
        }
    }
    Ok(())
}

/// Batches of other runs that are planned or deferred, or whose host is gone.
const OPEN: &str = "SELECT id::text AS id, run_id::text AS run_id, state, attempts FROM batches
     WHERE platform = $1 AND run_id <> $2::uuid AND id > $3::uuid AND finished_at IS NULL
         AND (state <> 'leased' OR available_at <= $4::timestamptz)
     ORDER BY id LIMIT $5 FOR UPDATE SKIP LOCKED";

/// Batches of other runs that can be retried.
const DEAD: &str = "SELECT id::text AS id, run_id::text AS run_id, state, attempts FROM batches
     WHERE platform = $1 AND run_id <> $2::uuid AND id > $3::uuid AND state = 'dead'
         AND finished_at <= $4::timestamptz
     ORDER BY id LIMIT $5 FOR UPDATE SKIP LOCKED";

/// Some of these batches, in order of id.
async fn waiting_in_txn(
    work: &mut Work,
    text: &'static str,
    platform: &Platform,
    run: RunId,
    after: Option<BatchId>,
    now: DateTime<Utc>,
) -> Result<Vec<Waiting>, StoreError> {
    let after = after.map_or_else(|| uuid::Uuid::nil().to_string(), |id| id.to_string());
    let statement = work.query(text).bind(platform.as_str().to_owned()).bind(run.to_string()).bind(after);
    let statement = statement.bind(time_text(now)).bind(BATCHES_AT_ONCE);
    work.rows("find what earlier runs have open", statement).await?.iter().map(waiting_of).collect()
}

fn waiting_of(row: &AnyRow) -> Result<Waiting, StoreError> {
    Ok(Waiting {
        id: row.parsed("id")?,
        run: row.parsed("run_id")?,
        state: row.named("state", BatchState::parse)?,
        attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
    })
}

async fn end_in_txn(
    work: &mut Work,
    batches: &[Waiting],
    dates: &HashMap<AccountId, NaiveDate>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let ids = id_rows(&batches.iter().map(|batch| batch.id).collect::<Vec<_>>())?;
    let statement = work.query(
        "SELECT batch_id::text AS batch_id, account_id::text AS account_id, metric_date::text AS metric_date
         FROM batch_accounts WHERE batch_id {in_ids} ORDER BY account_id",
    );
    let mut held: BTreeMap<BatchId, Vec<(AccountId, NaiveDate)>> = BTreeMap::new();
    for row in &work.rows("read what earlier runs have open", statement.bind(ids)).await? {
        held.entry(row.parsed("batch_id")?).or_default().push((row.parsed("account_id")?, row.date("metric_date")?));
    }
    let mut outcomes: BTreeMap<RunId, Vec<AccountOutcome>> = BTreeMap::new();
    let mut emptied = Vec::new();
    for batch in batches {
        let accounts = held.remove(&batch.id).unwrap_or_default();
        let is_dead = batch.state == BatchState::Dead;
        let is_superseded = |account: &AccountId, date: NaiveDate| {
            dates.get(account).is_some_and(|planned| if is_dead { date < *planned } else { date <= *planned })
        };
        let (ended, kept): (Vec<_>, Vec<_>) =
            accounts.into_iter().partition(|(account, date)| is_superseded(account, *date));
        if ended.is_empty() {
            continue;
        }
        if kept.is_empty() {
            emptied.push(batch.id);
        } else {
            let leave: Vec<_> = ended.iter().map(|(account, _)| *account).collect();
            let statement = work.query("DELETE FROM batch_accounts WHERE batch_id = $2::uuid AND account_id {in_ids}");
            let statement = statement.bind(id_rows(&leave)?).bind(batch.id.to_string());
            work.execute("take accounts out of a batch", statement).await?;
        }
        if !is_dead {
            outcomes.entry(batch.run).or_default().extend(ended.into_iter().map(|(account_id, metric_date)| {
                AccountOutcome { account_id, metric_date, outcome: Outcome::Superseded, attempts: batch.attempts }
            }));
        }
    }
    for (run, outcomes) in outcomes {
        outcomes_save_in_txn(work, run, None, &outcomes, now).await?;
    }
    if !emptied.is_empty() {
        let statement = work.query(
            "UPDATE batches SET state = 'done', finished_at = $2::timestamptz, lease_owner = NULL,
                 message = 'superseded by a newer plan'
             WHERE id {in_ids}",
        );
        work.execute("end superseded batches", statement.bind(id_rows(&emptied)?).bind(time_text(now))).await?;
    }
    Ok(())
}
