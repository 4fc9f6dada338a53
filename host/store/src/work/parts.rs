//! Parts of a batch that go on as batches of their own.

use chrono::{DateTime, Utc};

use crate::database::connection::Work;
use crate::database::dialect::{clean, time_text};
use crate::database::error::StoreError;
use crate::database::rows::id_rows;
use backline_model::{AccountId, BatchId, BatchState};

/// Accounts of a batch that go on together.
pub(crate) struct Part {
    pub(crate) state: BatchState,
    pub(crate) attempts: u32,
    /// Hosts that ended while they held it.
    pub(crate) host_losses: u32,
    pub(crate) available_at: DateTime<Utc>,
    pub(crate) message: Option<String>,
    pub(crate) accounts: Vec<AccountId>,
}

impl Part {
    /// A part without accounts, available at once.
    pub(crate) fn new(state: BatchState, attempts: u32, now: DateTime<Utc>) -> Self {
        Self { state, attempts, host_losses: 0, available_at: now, message: None, accounts: Vec::new() }
    }

    /// Adds an account; the first one's message is that of the part.
    pub(crate) fn add(&mut self, account: AccountId, message: &str) {
        self.message.get_or_insert_with(|| message.to_owned());
        self.accounts.push(account);
    }

    /// Accounts that a run still waits for.
    pub(crate) fn open(&self) -> u64 {
        if matches!(self.state, BatchState::Planned | BatchState::Deferred) { self.accounts.len() as u64 } else { 0 }
    }
}

/// Moves a part of a batch into one of its own, of the same run.
pub(crate) async fn part_split_off_in_txn(
    work: &mut Work,
    of: BatchId,
    part: &Part,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (id, of) = (BatchId::generate().to_string(), of.to_string());
    let statement = work.query(
        "INSERT INTO batches (id, run_id, turn, tenant, platform, release_digest, window_since, window_until,
             state, attempts, host_losses,
             lease_token, available_at, message, created_at, finished_at, lane, began_at)
         SELECT $2::uuid, run_id, turn, tenant, platform, release_digest, window_since, window_until, $3, $4, $5, 0,
             $6::timestamptz, $7, created_at, $8::timestamptz, lane, began_at
         FROM batches WHERE id = $1::uuid",
    );
    let statement = statement
        .bind(of.clone())
        .bind(id.clone())
        .bind(part.state.as_str())
        .bind(i64::from(part.attempts))
        .bind(i64::from(part.host_losses))
        .bind(time_text(part.available_at))
        .bind(part.message.as_deref().map(clean))
        .bind((part.open() == 0).then(|| time_text(now)));
    work.execute("split a batch", statement).await?;
    let statement = work.query(
        "UPDATE batch_accounts SET batch_id = $2::uuid
         WHERE batch_id = $3::uuid AND account_id {in_ids}",
    );
    let statement = statement.bind(id_rows(&part.accounts)?).bind(id).bind(of);
    work.execute("move accounts to another batch", statement).await?;
    Ok(())
}
