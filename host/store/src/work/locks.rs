//! Rows of accounts that several transactions write, and the order in which they lock them.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::database::connection::Work;
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::rows::{ROWS_PER_STATEMENT, id_rows};
use crate::numbers::history::LastAccepted;
use backline_model::AccountId;

/// Locks accounts in the order of their ids, so that two batches that share some can't wait for each other. Returns
/// those that still exist. The lock lets others insert rows that refer to the accounts; only another completion waits.
pub(crate) async fn accounts_lock_in_txn(
    work: &mut Work,
    accounts: &[AccountId],
) -> Result<HashSet<AccountId>, StoreError> {
    let statement = work.query(
        "SELECT id::text AS id FROM accounts WHERE id {in_ids} ORDER BY id
             FOR NO KEY UPDATE",
    );
    let rows = work.rows("lock a batch's accounts", statement.bind(id_rows(accounts)?)).await?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

/// Writes what connectors asked to be handed back (where the second part is given) and when metrics were last accepted.
pub(crate) async fn account_states_save_in_txn(
    work: &mut Work,
    states: &[(AccountId, Option<Option<String>>, LastAccepted)],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for chunk in states.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|(account, state, last)| {
                json!({ "account": account, "given": state.is_some(), "state": state.clone().flatten(), "last": last })
            })
            .collect();
        let statement = work.query(
            "INSERT INTO account_state (account_id, state, last_accepted, updated_at)
             SELECT (r.value->>'account')::uuid,
                 CASE WHEN (r.value->>'given')::boolean THEN r.value->>'state'
                     ELSE (SELECT s.state FROM account_state s WHERE s.account_id = (r.value->>'account')::uuid) END,
                 (r.value->>'last')::jsonb, $2::timestamptz
             FROM {rows} WHERE TRUE
             ON CONFLICT (account_id) DO UPDATE SET state = excluded.state, last_accepted = excluded.last_accepted,
                 updated_at = excluded.updated_at",
        );
        work.execute("store accounts' states", statement.bind(json("accounts' states", &rows)?).bind(time_text(now)))
            .await?;
    }
    Ok(())
}
