//! Batches as workers look for them and as operators see them: for which platforms there is work, what is due, which
//! are dead, and retrying those.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::{ReadView, Store, Work};
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::notifications::notify;
use crate::database::readable::{Extent, left_of, more_after};
use crate::database::rows::ROWS_PER_STATEMENT;
use crate::database::statement::Statement;
use crate::database::topic::Topic;
use crate::scope::Scope;
use crate::work::leases::readable_time;
use crate::work::ledger::{queues_load_in_txn, runs_lock_in_txn};
use crate::work::outcomes::{note_of, outcome_of};
use backline_model::{
    AccountId, ArtistId, BatchId, BatchState, Digest, Outcome, Platform, RunId, StrideQueue, Tenant, Weights,
};

/// Which batches. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct BatchFilter {
    /// Only these; none given means all.
    pub ids: Vec<BatchId>,
    /// Only of this run.
    pub run: Option<RunId>,
    /// Only of this platform.
    pub platform: Option<Platform>,
    /// Only in this state. Unless this or ids are given, those are meant that may still change: open ones and dead
    /// ones.
    pub state: Option<BatchState>,
    /// Only batches that come after the one planned then and with this id: where the next page begins.
    pub before: Option<(DateTime<Utc>, BatchId)>,
    /// Most rows to return; none means all.
    pub limit: Option<u32>,
}

/// A batch as operators see it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct BatchView {
    /// Its id.
    pub id: BatchId,
    /// Its run.
    pub run_id: RunId,
    /// Tenant of its accounts.
    pub tenant: Tenant,
    /// Platform of the account or release.
    pub platform: Platform,
    /// Digest of the release that collects it.
    pub release: Digest,
    /// State of the batch.
    pub state: BatchState,
    /// Attempts used up.
    pub attempts: u32,
    /// Hosts that ended while they held it, since something of it was last stored.
    pub host_losses: u32,
    /// Accounts in it: those that have not ended where it is open or dead, else all.
    pub accounts: u64,
    /// Name of the host that holds it.
    pub lease_owner: Option<String>,
    /// When it can be leased; of a leased one, when its lease expires.
    pub available_at: DateTime<Utc>,
    /// Why it is deferred or dead.
    pub message: Option<String>,
    /// Time of planning.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// An account of a batch as operators see it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct BatchAccountView {
    /// The account.
    pub account_id: AccountId,
    /// The artist of the account.
    pub artist_id: ArtistId,
    /// The artist's name.
    pub artist_name: String,
    /// The platform's id of it.
    pub platform_id: String,
    /// The date its numbers are for.
    pub metric_date: NaiveDate,
    /// Its latest outcome in the batch's run.
    pub outcome: Option<Outcome>,
    /// What is to be said of it besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Batches that were planned again.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Retried {
    /// Number of batches.
    pub batches: u64,
    /// Number of accounts in them.
    pub accounts: u64,
    /// Their runs, which go on.
    pub runs: Vec<RunId>,
}

/// The filter's conditions, on a statement whose first parameter is the list of ids and whose second says how many
/// these are.
macro_rules! batches_sql {
    ($columns:literal, $and:literal) => {
        concat!(
            $columns,
            " FROM batches b WHERE ($2::bigint = 0 OR b.id {in_ids})
             AND ($3::uuid IS NULL OR b.run_id = $3::uuid) AND ($4::text IS NULL OR b.platform = $4)
             AND (b.state = $5 OR ($5::text IS NULL AND ($2::bigint > 0 OR b.finished_at IS NULL OR b.state = 'dead')))
             {and_tenant: b.tenant} ",
            $and
        )
    };
}

impl Store {
    /// Platforms that have batches which can be leased now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn platforms_with_work_list(
        &self,
        scope: &Scope,
        run: Option<RunId>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Platform>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT p.platform FROM platforms p WHERE EXISTS (
                 SELECT 1 FROM batches b WHERE b.platform = p.platform AND b.finished_at IS NULL
                     AND b.available_at <= $2::timestamptz AND ($1::uuid IS NULL OR b.run_id = $1::uuid)
                     {and_tenant: b.tenant})
                 AND (EXISTS (SELECT 1 FROM releases r WHERE r.platform = p.platform AND r.active)
                     OR NOT EXISTS (SELECT 1 FROM releases r WHERE r.platform = p.platform))
             ORDER BY p.platform",
        );
        let statement = statement.bind(run.map(|run| run.to_string())).bind(time_text(now));
        let rows = self.rows("find platforms with work", statement).await?;
        self.unreadable.read("platforms", "platform", Extent::Part, &rows, |row| row.parsed("platform"))
    }

    /// Platforms with an active release: those that may get work at any time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn active_platforms_list(&self) -> Result<Vec<Platform>, StoreError> {
        let rows = self.rows("list active platforms", self.query("SELECT platform FROM releases WHERE active")).await?;
        self.unreadable.read("platforms", "platform", Extent::Part, &rows, |row| row.parsed("platform"))
    }

    /// When the next batch falls due that can't be leased now: its time to be tried again, its budget, or the end
    /// of its lease.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_open_get(&self, scope: &Scope, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT available_at::text AS at FROM batches WHERE finished_at IS NULL
                 AND available_at > $1::timestamptz {and_tenant: tenant} ORDER BY batches.available_at LIMIT 1",
        );
        match self.row("find when work falls due", statement.bind(time_text(now))).await? {
            Some(row) => readable_time(&row, "at"),
            None => Ok(None),
        }
    }

    /// Whether batches of a run are planned or leased: a run whose open batches are all deferred is not worked on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run_is_worked_on(&self, scope: &Scope, run: RunId) -> Result<bool, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT 1 AS found FROM batches WHERE run_id = $1::uuid AND finished_at IS NULL AND state <> 'deferred'
                 {and_tenant: tenant} LIMIT 1",
        );
        Ok(self.row("find a run's batches", statement.bind(run.to_string())).await?.is_some())
    }

    /// Whether a run has ended, so that nothing of it can be brought up to date. Cheaper than
    /// [`run_finish`](Self::run_finish), which counts how its accounts ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run_has_ended(&self, scope: &Scope, run: RunId) -> Result<bool, StoreError> {
        scope.require_all("find out whether a run has ended")?;
        let statement = self.query("SELECT 1 AS found FROM runs WHERE id = $1::uuid AND (finished_at IS NULL) = FALSE");
        Ok(self.row("find out whether a run has ended", statement.bind(run.to_string())).await?.is_some())
    }

    /// Plans deferred batches again whose budget was reset: each gets its turn with the batches planned now, instead of
    /// before all those planned in the meantime. Returns how many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deferred_batches_wake(
        &self,
        scope: &Scope,
        weights: &Weights,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        const DUE: &str = "SELECT 1 AS found FROM batches WHERE state = 'deferred' AND available_at <= $1::timestamptz
                 {and_tenant: tenant} LIMIT 1";
        // Those that can't be read stay where they are in the order until they end: they are passed.
        let (mut woken, mut passed) = (0, 0);
        while self.row("find deferred batches", self.scoped(scope, DUE).bind(time_text(now))).await?.is_some() {
            let mut work = self.begin().await?;
            let statement = work.scoped(
                scope,
                "SELECT id::text AS id, platform, tenant, run_id::text AS run_id FROM batches
                 WHERE state = 'deferred' AND available_at <= $1::timestamptz {and_tenant: tenant}
                 ORDER BY turn, id LIMIT $2 OFFSET $3 FOR UPDATE SKIP LOCKED",
            );
            let statement = statement.bind(time_text(now)).bind(ROWS_PER_STATEMENT as i64).bind(passed);
            let rows = work.rows("read deferred batches", statement).await?;
            let due = work.unreadable.read("batches", "id", Extent::Part, &rows, WaitingBatch::of)?;
            passed += i64::try_from(rows.len() - due.len()).unwrap_or(i64::MAX);
            if !due.is_empty() {
                woken += batches_plan_again_in_txn(&mut work, &due, weights, now).await?.0;
                work.commit().await?;
            }
            if rows.len() < ROWS_PER_STATEMENT {
                break; // another host has taken others, or they can't be read
            }
        }
        Ok(woken)
    }

    /// Plans deferred batches at once, before what they wait for is over: it may be that the platform has raised an
    /// allowance. Nothing else changes: budgets and pauses are asked as always, and defer them again where they hold.
    /// The filter's state and limit are ignored.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deferred_batches_release(
        &self,
        scope: &Scope,
        filter: &BatchFilter,
        weights: &Weights,
        now: DateTime<Utc>,
    ) -> Result<Retried, StoreError> {
        let mut work = self.begin().await?.proven(self).await?;
        // One that another transaction holds is being woken or ended.
        let statement = work.scoped(
            scope,
            batches_sql!(
                "SELECT b.id::text AS id, b.run_id::text AS run_id, b.tenant, b.platform",
                "ORDER BY b.platform, b.turn, b.id FOR UPDATE SKIP LOCKED"
            ),
        );
        let deferred = batches_lock_in_txn(&mut work, statement, filter, BatchState::Deferred).await?;
        if deferred.is_empty() {
            return Ok(Retried::default());
        }
        let planned = batches_plan_again_in_txn(&mut work, &deferred, weights, now).await?;
        planned_batches_commit(work, planned, runs_of(&deferred)).await
    }

    /// Batches, those planned last first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn batches_list(&self, scope: &Scope, filter: &BatchFilter) -> Result<Vec<BatchView>, StoreError> {
        batches_in(&mut self.read_view().await?, scope, filter).await
    }

    /// The accounts of a batch.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn batch_accounts_list(
        &self,
        scope: &Scope,
        batch: BatchId,
    ) -> Result<Vec<BatchAccountView>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT m.account_id::text AS account_id, t.id::text AS artist_id, t.name AS artist_name, a.platform_id,
                 m.metric_date::text AS metric_date,
                 COALESCE(o.outcome, CASE WHEN b.collected_at IS NOT NULL THEN 'collected' END) AS outcome,
                 o.reason, o.message,
                 o.deferred_until::text AS deferred_until
             FROM batch_accounts m JOIN batches b ON b.id = m.batch_id JOIN accounts a ON a.id = m.account_id
                 JOIN artists t ON t.id = a.artist_id
                 LEFT JOIN collection_outcomes o ON o.run_id = b.run_id AND o.account_id = m.account_id
             WHERE m.batch_id = $1::uuid {and_tenant: b.tenant} {and_tenant: t.tenant} ORDER BY m.position",
        );
        let rows = self.rows("read a batch's accounts", statement.bind(batch.to_string())).await?;
        self.unreadable.read("batch_accounts", "account_id", Extent::Part, &rows, |row| {
            let outcome = row.text_or_null("outcome")?.map(|_| outcome_of(row)).transpose()?;
            let note = outcome.as_ref().map(|outcome| note_of(row, outcome)).transpose()?.flatten();
            Ok(BatchAccountView {
                account_id: row.parsed("account_id")?,
                artist_id: row.parsed("artist_id")?,
                artist_name: row.told("artist_name")?,
                platform_id: row.told("platform_id")?,
                metric_date: row.date("metric_date")?,
                outcome,
                note,
            })
        })
    }

    /// Retries dead batches: they are planned with all their attempts, and their runs go on. The filter's state and
    /// limit are ignored.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn batches_retry(
        &self,
        scope: &Scope,
        filter: &BatchFilter,
        weights: &Weights,
        now: DateTime<Utc>,
    ) -> Result<Retried, StoreError> {
        let mut work = self.begin().await?.proven(self).await?;
        let statement = work.scoped(
            scope,
            batches_sql!(
                "SELECT b.id::text AS id, b.run_id::text AS run_id, b.tenant, b.platform",
                "ORDER BY b.platform, b.turn, b.id FOR UPDATE"
            ),
        );
        let dead = batches_lock_in_txn(&mut work, statement, filter, BatchState::Dead).await?;
        if dead.is_empty() {
            let none = Retried::default();
            work.answer_keep(&none, None).await?;
            work.commit().await?;
            return Ok(none);
        }
        let planned = batches_plan_again_in_txn(&mut work, &dead, weights, now).await?;
        let runs = runs_of(&dead);
        runs_lock_in_txn(&mut work, &runs).await?;
        runs_reopen_in_txn(&mut work, &runs).await?;
        accounts_let_in_again_in_txn(&mut work, &dead, now).await?;
        planned_batches_commit(work, planned, runs).await
    }
}

/// Batches, those planned last first.
pub(crate) async fn batches_in(
    view: &mut ReadView,
    scope: &Scope,
    filter: &BatchFilter,
) -> Result<Vec<BatchView>, StoreError> {
    let most = filter.limit.unwrap_or(u32::MAX);
    let mut before = filter.before.map(|(time, id)| (time_text(time), id.to_string()));
    let mut found = Vec::new();
    loop {
        let statement = view.scoped(
            scope,
            batches_sql!(
                "SELECT b.id::text AS id, b.run_id::text AS run_id, b.tenant, b.platform, b.release_digest, b.state,
             b.attempts, b.host_losses,
             (SELECT COUNT(*) FROM batch_accounts a WHERE a.batch_id = b.id)::bigint AS accounts, b.lease_owner,
             b.available_at::text AS available_at, b.message, b.created_at::text AS created_at,
             b.finished_at::text AS finished_at",
                "AND ($7::timestamptz IS NULL OR b.created_at < $7::timestamptz
             OR (b.created_at = $7::timestamptz AND b.id < $8::uuid))
             ORDER BY b.created_at DESC, b.id DESC LIMIT $6"
            ),
        );
        let (time, id) = before.unzip();
        let asked = left_of(most, found.len());
        let statement = bound(statement, filter, filter.state)?.bind(i64::from(asked)).bind(time).bind(id);
        let rows = view.rows("list batches", statement).await?;
        found.extend(view.unreadable.read("batches", "id", Extent::Part, &rows, view_of)?);
        let last = more_after(&rows, asked, found.len(), most);
        let place = last.and_then(|last| last.below("created_at").zip(last.below("id")));
        let Some(place) = place else { return Ok(found) };
        before = Some(place);
    }
}

/// Locks the batches of a filter that are in a state. The filter's own state and limit are ignored.
async fn batches_lock_in_txn(
    work: &mut Work,
    statement: Statement,
    filter: &BatchFilter,
    state: BatchState,
) -> Result<Vec<WaitingBatch>, StoreError> {
    let rows = work.rows("find batches to plan again", bound(statement, filter, Some(state))?).await?;
    work.unreadable.read("batches", "id", Extent::Part, &rows, WaitingBatch::of)
}

/// Plans dead and deferred batches in the turn of those planned now; dead ones get all their attempts back. Returns how
/// many there were, and accounts in them.
pub(crate) async fn batches_plan_again_in_txn(
    work: &mut Work,
    batches: &[WaitingBatch],
    weights: &Weights,
    now: DateTime<Utc>,
) -> Result<(u64, u64), StoreError> {
    let turns = turns_assign_in_txn(work, batches, weights, now).await?;
    let statement = work.query(
        "UPDATE batches SET state = 'planned', available_at = $2::timestamptz, finished_at = NULL, message = NULL,
             attempts = CASE WHEN state = 'dead' THEN 0 ELSE attempts END,
             host_losses = CASE WHEN state = 'dead' THEN 0 ELSE host_losses END,
             turn = (SELECT (r.value->>'turn')::bigint FROM {rows} WHERE (r.value->>'id')::uuid = batches.id)
         WHERE id {in_ids}",
    );
    let planned = work.execute("plan batches again", statement.bind(turns.clone()).bind(time_text(now))).await?;
    Ok((planned, accounts_count_in_txn(work, turns).await?))
}

/// Commits batches that were planned again, with word of them to all hosts.
async fn planned_batches_commit(
    mut work: Work,
    (batches, accounts): (u64, u64),
    runs: BTreeSet<RunId>,
) -> Result<Retried, StoreError> {
    notify(&mut work, Topic::Work).await?;
    let retried = Retried { batches, accounts, runs: runs.into_iter().collect() };
    work.answer_keep(&retried, None).await?;
    work.commit().await?;
    Ok(retried)
}

fn runs_of(batches: &[WaitingBatch]) -> BTreeSet<RunId> {
    batches.iter().map(|batch| batch.run_id).collect()
}

/// How many accounts batches hold, given as rows with their ids.
async fn accounts_count_in_txn(work: &mut Work, batches: String) -> Result<u64, StoreError> {
    let statement = work.query(
        "SELECT COUNT(*)::bigint AS n FROM batch_accounts
         WHERE batch_id {in_ids}",
    );
    work.row("count accounts", statement.bind(batches)).await?.map_or(Ok(0), |row| row.count("n"))
}

/// Lets accounts be planned again that were left out since hosts ended while they collected them.
async fn accounts_let_in_again_in_txn(
    work: &mut Work,
    dead: &[WaitingBatch],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let ids: Vec<_> = dead.iter().map(|batch| json!({ "id": batch.id })).collect();
    let statement = work.query(
        "UPDATE accounts SET status = 'active', updated_at = $2::timestamptz
         WHERE id IN (SELECT a.id FROM accounts a
             WHERE a.status = 'host_killed'
                 AND a.id IN (SELECT m.account_id FROM batch_accounts m WHERE m.batch_id {in_ids})
             ORDER BY a.id FOR NO KEY UPDATE)",
    );
    work.execute("let accounts in again", statement.bind(json("batch ids", &ids)?).bind(time_text(now))).await?;
    Ok(())
}

/// Runs of which something is open again.
pub(crate) async fn runs_reopen_in_txn(work: &mut Work, runs: &BTreeSet<RunId>) -> Result<(), StoreError> {
    let rows: Vec<_> = runs.iter().map(|run| json!({ "id": run })).collect();
    let statement = work.query("UPDATE runs SET status = 'running', finished_at = NULL WHERE id {in_ids}");
    work.execute("reopen runs", statement.bind(json("run ids", &rows)?)).await?;
    Ok(())
}

/// A batch that waits for a turn.
pub(crate) struct WaitingBatch {
    id: BatchId,
    pub(crate) run_id: RunId,
    tenant: Tenant,
    platform: Platform,
}

impl WaitingBatch {
    pub(crate) fn of(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("id")?,
            run_id: row.parsed("run_id")?,
            tenant: row.parsed("tenant")?,
            platform: row.parsed("platform")?,
        })
    }
}

/// Gives batches their turns, as those that are planned now; returns ids and turns as rows.
async fn turns_assign_in_txn(
    work: &mut Work,
    batches: &[WaitingBatch],
    weights: &Weights,
    now: DateTime<Utc>,
) -> Result<String, StoreError> {
    let mut lines = queues_load_in_txn(work, batches.iter().map(|batch| &batch.platform), now).await?;
    let rows: Vec<_> = batches
        .iter()
        .map(|batch| {
            let line = lines.entry(batch.platform.clone()).or_insert_with(|| StrideQueue::new(0, []));
            let turn = line.next(&batch.tenant, weights.stride(batch.tenant.as_str()));
            json!({ "id": batch.id, "turn": turn })
        })
        .collect();
    json("turns", &rows)
}

fn bound(statement: Statement, filter: &BatchFilter, state: Option<BatchState>) -> Result<Statement, StoreError> {
    let ids: Vec<_> = filter.ids.iter().map(|id| json!({ "id": id })).collect();
    Ok(statement
        .bind(json("batch ids", &ids)?)
        .bind(i64::try_from(ids.len()).unwrap_or(i64::MAX))
        .bind(filter.run.map(|run| run.to_string()))
        .bind(filter.platform.as_ref().map(|platform| platform.as_str().to_owned()))
        .bind(state.map(|state| state.as_str().to_owned())))
}

fn view_of(row: &AnyRow) -> Result<BatchView, StoreError> {
    Ok(BatchView {
        id: row.parsed("id")?,
        run_id: row.parsed("run_id")?,
        tenant: row.parsed("tenant")?,
        platform: row.parsed("platform")?,
        release: row.parsed("release_digest")?,
        state: row.named("state", BatchState::parse)?,
        attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
        host_losses: u32::try_from(row.int("host_losses")?).unwrap_or(u32::MAX),
        accounts: row.count("accounts")?,
        lease_owner: row.text_or_null("lease_owner")?,
        available_at: row.time("available_at")?,
        message: row.text_or_null("message")?,
        created_at: row.time("created_at")?,
        finished_at: row.time_or_null("finished_at")?,
    })
}
