//! What a run has come to and what of it is still open, as of one moment, while any number of hosts collect for it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use crate::database::connection::{ReadView, Store};
use crate::database::dialect::Columns as _;
use crate::database::error::StoreError;
use crate::database::readable::Extent;
use crate::scope::Scope;
use crate::work::batches::{BatchFilter, BatchView, batches_in};
use crate::work::leases::readable_time;
use crate::work::ledger::{count_outcome, run_in, run_uncounted_in};
use crate::work::outcomes::{NamedOutcome, PlatformOutcome, Which, outcomes_in, summary_in};
use backline_model::clock::LAST_TIME;
use backline_model::{BatchState, Platform, Run, RunId};

/// A run with everything its report is made of. All of it is read as of one moment, so that no part contradicts
/// another.
#[derive(Clone, Debug, PartialEq)]
pub struct RunState {
    /// The run as stored.
    pub run: Run,
    /// Accounts that have an outcome.
    pub outcomes: Vec<PlatformOutcome>,
    /// Requests sent by the batches that any host has stored.
    pub requests: BTreeMap<Platform, u64>,
    /// What has not ended.
    pub open: Vec<OpenAccounts>,
}

/// Batches of one run and platform that have not ended, in one state and in the hands of one host.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenBatches {
    /// Platform of their accounts.
    pub platform: Platform,
    /// `planned`, `leased` or `deferred`.
    pub state: BatchState,
    /// The host that holds them, where they are leased.
    pub holder: Option<String>,
    /// When that host last reported; none where it is not in the list of hosts, as a `run` from the command line never
    /// is.
    pub holder_seen_at: Option<DateTime<Utc>>,
    /// Whether a release is active that can collect them.
    pub has_connector: bool,
    /// Number of batches.
    pub batches: u64,
    /// The earliest time at which one of them can be taken up; of leased ones, when the first lease expires.
    pub available_at: DateTime<Utc>,
}

/// Open batches with the number of their accounts.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAccounts {
    /// The batches.
    pub batches: OpenBatches,
    /// Accounts in them.
    pub accounts: u64,
    /// Those of the accounts that have no outcome in this run so far.
    pub without_outcome: u64,
}

/// A run with its accounts one by one, read as of one moment.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RunDetails {
    /// The run as stored.
    pub run: Run,
    /// How accounts ended, in the order of their ids.
    pub outcomes: Vec<NamedOutcome>,
    /// Batches that used up their attempts and can be retried.
    pub dead_batches: Vec<BatchView>,
}

impl Store {
    /// The results of a run so far.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such run.
    pub async fn run_state_get(&self, scope: &Scope, id: RunId) -> Result<RunState, StoreError> {
        let mut view = self.read_view().await?;
        let not_found = || StoreError::NotFound { what: "run", id: id.to_string() };
        let (outcomes, is_whole) = summary_in(&mut view, scope, id).await?;
        let run = if is_whole && scope.only().is_none() {
            // They are counted already, which reads all accounts of the run.
            let mut run = run_uncounted_in(&mut view, scope, id).await?.ok_or_else(not_found)?;
            for group in &outcomes {
                count_outcome(&mut run.counts, &group.outcome, group.accounts);
            }
            run
        } else {
            run_in(&mut view, scope, id).await?.ok_or_else(not_found)?
        };
        let requests = requests_in(&mut view, scope, id).await?;
        let open = open_accounts_in(&mut view, scope, id).await?;
        Ok(RunState { run, outcomes, requests, open })
    }

    /// The batches of a run that are not finished. Cheaper than [`run_state_get`](Self::run_state_get), for a host that
    /// asks repeatedly.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run_open_batches_list(&self, scope: &Scope, run: RunId) -> Result<Vec<OpenBatches>, StoreError> {
        let rows = self.rows("look for a run's open batches", self.scoped(scope, OPEN).bind(run.to_string())).await?;
        rows.iter().map(open_of).collect()
    }

    /// A run with its accounts one by one; those that were collected are left out unless asked for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run_details_get(
        &self,
        scope: &Scope,
        id: RunId,
        collected_too: bool,
    ) -> Result<Option<RunDetails>, StoreError> {
        let mut view = self.read_view().await?;
        let Some(run) = run_in(&mut view, scope, id).await? else { return Ok(None) };
        let which = if collected_too { Which::All } else { Which::NotAsPlanned };
        let outcomes = outcomes_in(&mut view, scope, id, None, which, u32::MAX).await?;
        let dead = BatchFilter { run: Some(id), state: Some(BatchState::Dead), ..BatchFilter::default() };
        let dead_batches = batches_in(&mut view, scope, &dead).await?;
        Ok(Some(RunDetails { run, outcomes, dead_batches }))
    }
}

const OPEN: &str = "SELECT b.platform, b.state, b.lease_owner, h.seen_at::text AS seen_at, COUNT(*)::bigint AS batches,
         MIN({time: b.available_at})::text AS available_at,
         CASE WHEN EXISTS (SELECT 1 FROM platforms p WHERE p.platform = b.platform)
             AND (EXISTS (SELECT 1 FROM releases r WHERE r.platform = b.platform AND r.active)
                 OR NOT EXISTS (SELECT 1 FROM releases r WHERE r.platform = b.platform))
             THEN 1 ELSE 0 END AS has_connector
     FROM batches b LEFT JOIN hosts h ON h.name = b.lease_owner
     WHERE b.run_id = $1::uuid AND b.finished_at IS NULL {and_tenant: b.tenant}
     GROUP BY b.platform, b.state, b.lease_owner, h.seen_at
     ORDER BY b.platform, b.state, b.lease_owner";

/// The accounts of the batches that [`OPEN`] counts, by the same columns.
const OPEN_ACCOUNTS: &str = "SELECT b.platform, b.state, b.lease_owner, COUNT(*)::bigint AS accounts,
         SUM(CASE WHEN o.account_id IS NULL THEN 1 ELSE 0 END)::bigint AS without_outcome
     FROM batches b JOIN batch_accounts m ON m.batch_id = b.id
         LEFT JOIN collection_outcomes o ON o.run_id = b.run_id AND o.account_id = m.account_id
     WHERE b.run_id = $1::uuid AND b.finished_at IS NULL {and_tenant: b.tenant}
     GROUP BY b.platform, b.state, b.lease_owner";

/// None of them is left out, since the run waits for each: what can't be read is that of an unknown platform, planned,
/// or due at no time.
fn open_of(row: &AnyRow) -> Result<OpenBatches, StoreError> {
    let state = row.named("state", BatchState::parse).unwrap_or(BatchState::Planned);
    Ok(OpenBatches {
        platform: row.parsed("platform").unwrap_or_else(|_| Platform::unreadable()),
        state,
        holder: row.told_or_null("lease_owner")?.filter(|_| state == BatchState::Leased),
        holder_seen_at: readable_time(row, "seen_at")?.filter(|_| state == BatchState::Leased),
        has_connector: row.truth("has_connector")?,
        batches: row.count("batches")?,
        available_at: row.time("available_at").unwrap_or(LAST_TIME),
    })
}

async fn open_accounts_in(view: &mut ReadView, scope: &Scope, run: RunId) -> Result<Vec<OpenAccounts>, StoreError> {
    type Key = (String, String, Option<String>);
    let key = |row: &AnyRow| -> Result<Key, StoreError> {
        Ok((row.told("platform")?, row.told("state")?, row.told_or_null("lease_owner")?))
    };
    let statement = view.scoped(scope, OPEN_ACCOUNTS).bind(run.to_string());
    let mut accounts: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
    for row in &view.rows("count accounts of open batches", statement).await? {
        accounts.insert(key(row)?, (row.count("accounts")?, row.count("without_outcome")?));
    }
    let statement = view.scoped(scope, OPEN).bind(run.to_string());
    let rows = view.rows("look for a run's open batches", statement).await?;
    rows.iter()
        .map(|row| {
            let (accounts, without_outcome) = accounts.get(&key(row)?).copied().unwrap_or_default();
            Ok(OpenAccounts { batches: open_of(row)?, accounts, without_outcome })
        })
        .collect()
}

async fn requests_in(view: &mut ReadView, scope: &Scope, run: RunId) -> Result<BTreeMap<Platform, u64>, StoreError> {
    let statement = view.scoped(
        scope,
        "SELECT platform, COALESCE(SUM({amount: usage->>'requests'}), 0)::bigint AS requests
         FROM batches WHERE run_id = $1::uuid {and_tenant: tenant} GROUP BY platform",
    );
    let rows = view.rows("count a run's requests", statement.bind(run.to_string())).await?;
    let requests = view
        .unreadable
        .read("batches", "platform", Extent::Part, &rows, |row| Ok((row.parsed("platform")?, row.count("requests")?)));
    Ok(requests?.into_iter().collect())
}
