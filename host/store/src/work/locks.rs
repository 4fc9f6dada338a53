//! Rows of accounts that several transactions write, and the order in which all transactions lock what they write.
//!
//! Each takes what it needs of these, from the top:
//!
//! 1. that no artist is erased and no account removed meanwhile, or, to do so, that nothing is saved, planned,
//!    connected, rolled back and archived meanwhile;
//! 2. platforms, then their releases, canaries and swaps;
//! 3. schedules, then the times that they fire;
//! 4. dead batches, then runs, then other batches;
//! 5. credentials, then their budgets, paces and pauses;
//! 6. first collections that a plan takes, or else artists and accounts;
//! 7. rows about accounts: a value that is let through, metrics, and the events about these whose data is kept, then
//!    documents, values in quarantine, states, outcomes, tallies;
//! 8. webhooks; routes, digests and channels of alerts;
//! 9. that no reader of events gets by, and events;
//! 10. deliveries, in the order of their events; messages of alerts, in that of their channels and groups, and what
//!     they tell;
//! 11. the role in which it writes, right before the commit.
//!
//! What is on record of a host, the reports of what it loaded, installed code, tokens with their sessions and answers,
//! alerts of health and runs of the archive are written alone.
//!
//! Rows of one kind are locked in the order of their ids, or passed over where another transaction has them (`SKIP
//! LOCKED`). They are locked once: what joined them since is in the hands of others, who may wait for what comes later
//! in this list. New rows are added in the order of what no two have the same. A test runs every pair of writers at
//! once (`tests/it/store/pairs.rs`).

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;

use crate::database::connection::Work;
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::Extent;
use crate::database::rows::{ROWS_PER_STATEMENT, id_rows};
use crate::database::table::Table;
use crate::numbers::history::LastAccepted;
use backline_model::{AccountId, RunId};

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

/// What a batch's completion must know of its accounts, read once they are locked.
#[derive(Default)]
pub(crate) struct AccountFacts {
    /// Accounts whose artists have withdrawn their consent: the latest entry says so.
    pub(crate) withdrawn: HashSet<AccountId>,
    /// When metrics were last accepted; nothing of accounts of which none ever was.
    pub(crate) accepted: HashMap<AccountId, LastAccepted>,
    /// Accounts that have a row in `collection_outcomes` for the run already.
    pub(crate) with_outcome: HashSet<AccountId>,
}

/// Reads what else must be known of locked accounts, in one statement. Not in the one that locks them: it would see
/// what was true before it waited.
pub(crate) async fn account_facts_in_txn(
    work: &mut Work,
    accounts: &[AccountId],
    run: RunId,
) -> Result<AccountFacts, StoreError> {
    // Each is asked for alone, so that no plan can read a table by less than the whole key.
    let statement = work.query(
        "SELECT a.id::text AS id,
             COALESCE((SELECT c.granted::int FROM consents c
                 WHERE c.artist_id = a.artist_id AND c.platform = a.platform AND c.scope = 'metrics'
                 ORDER BY c.seq DESC LIMIT 1), 1) AS granted,
             (SELECT s.last_accepted::text FROM account_state s WHERE s.account_id = a.id) AS last_accepted,
             (SELECT o.outcome FROM collection_outcomes o WHERE o.run_id = $2::uuid AND o.account_id = a.id) AS outcome
         FROM accounts a WHERE a.id {in_ids}",
    );
    let statement = statement.bind(id_rows(accounts)?).bind(run.to_string());
    let mut facts = AccountFacts::default();
    for row in &work.rows("read a batch's accounts", statement).await? {
        let account: AccountId = row.parsed("id")?;
        if !row.truth("granted")? {
            facts.withdrawn.insert(account);
        }
        match row.json_or_null("last_accepted") {
            Ok(accepted) => facts.accepted.extend(accepted.map(|accepted: LastAccepted| (account, accepted))),
            // It is as if nothing had been accepted, and costs no other account of the batch.
            Err(_) => {
                let last = |row: &AnyRow| row.json_or_null::<LastAccepted>("last_accepted").map(drop);
                work.unreadable.read("account_state", "id", Extent::Part, std::slice::from_ref(row), last)?;
            }
        }
        // There is one, whatever it says.
        if !matches!(row.text_or_null("outcome"), Ok(None)) {
            facts.with_outcome.insert(account);
        }
    }
    Ok(facts)
}

const SAVE_STATES: &str = "INSERT INTO account_state (account_id, state, last_accepted, updated_at)
    SELECT r.account,
        CASE WHEN r.given THEN r.state
            ELSE (SELECT s.state FROM account_state s WHERE s.account_id = r.account) END,
        r.last,
        CASE WHEN r.given THEN $1::timestamptz
            ELSE COALESCE((SELECT s.updated_at FROM account_state s WHERE s.account_id = r.account), $1::timestamptz)
        END
    FROM {columns: account uuid, given boolean, state text, last jsonb} WHERE TRUE
    ON CONFLICT (account_id) DO UPDATE SET state = excluded.state, last_accepted = excluded.last_accepted,
        updated_at = excluded.updated_at";

/// Writes what connectors asked to be handed back (where the second part is given) and when metrics were last accepted.
/// When the account was collected stays where nothing is handed back: an operator's decision is no collection.
pub(crate) async fn account_states_save_in_txn(
    work: &mut Work,
    states: &[(AccountId, Option<Option<String>>, LastAccepted)],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for chunk in states.chunks(ROWS_PER_STATEMENT) {
        let mut rows = Table::of(work.kind, SAVE_STATES);
        for (account, state, last) in chunk {
            rows.add([
                ("account", json!(account)),
                ("given", json!(state.is_some())),
                ("state", json!(state.as_ref().and_then(Option::as_ref))),
                ("last", Json::String(json("when metrics were accepted", last)?)),
            ]);
        }
        let statement = work.query(SAVE_STATES).bind(time_text(now)).bind_table(rows)?;
        work.execute("store accounts' states", statement).await?;
    }
    Ok(())
}
