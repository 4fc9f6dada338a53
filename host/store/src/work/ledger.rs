//! The work ledger: runs and their batches. A batch is open until its `finished_at` is set.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, SubsecRound as _, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::{ReadView, Store, Work};
use crate::database::dialect::{Columns as _, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, left_of, more_after};
use crate::database::rows::{ROWS_PER_STATEMENT, id_rows};
use crate::database::table::Table;
use crate::events::outbox::events_write_in_txn;
use crate::scope::Scope;
use backline_model::event::types;
use backline_model::run::{RunCounts, trigger_beginning};
use backline_model::{Batch, Event, Platform, Run, RunId, RunStatus, StrideQueue, Tenant, Weights};

/// Which runs to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only with this status.
    pub status: Option<RunStatus>,
    /// Only those that this started: `manual`, the name of a schedule, or a kind such as `backfill`, which stands for
    /// each of its triggers, whatever date follows.
    pub trigger: Option<String>,
    /// Only runs after the one that started then and has this id: where the next page begins.
    pub before: Option<(DateTime<Utc>, RunId)>,
    /// Most to return; none means all.
    pub limit: Option<u32>,
}

macro_rules! run_sql {
    ($which:literal) => {
        concat!(
            "SELECT id::text AS id, triggered_by, logical_date::text AS logical_date, status, planned,
                 started_at::text AS started_at, ",
            "finished_at::text AS finished_at FROM runs ",
            $which
        )
    };
}

impl Store {
    /// Brings a run's status up to date from its outcomes. It stays `running` while batches are planned or leased;
    /// where all that is open is deferred, it gets its status and is not finished; once nothing is open, it is finished
    /// and `run.completed` is written, once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such run.
    pub async fn run_finish(&self, scope: &Scope, run: RunId, now: DateTime<Utc>) -> Result<Run, StoreError> {
        scope.require_all("finish a run")?;
        let mut work = self.begin().await?;
        let statement = work.query(run_sql!("WHERE id = $1::uuid FOR UPDATE"));
        let Some(row) = work.row("read a run", statement.bind(run.to_string())).await? else {
            return Err(StoreError::NotFound { what: "run", id: run.to_string() });
        };
        let run = run_to_end(&work, &row, run, now)?;
        let found = finish_in_txn(&mut work, scope, run, now).await?;
        work.commit().await?;
        Ok(found)
    }

    /// As [`run_finish`](Self::run_finish), but leaves a run alone that another transaction holds, and one that is
    /// gone: none then. For those that end many runs and come back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run_finish_if_free(
        &self,
        scope: &Scope,
        run: RunId,
        now: DateTime<Utc>,
    ) -> Result<Option<Run>, StoreError> {
        scope.require_all("finish a run")?;
        let mut work = self.begin().await?;
        let statement = work.query(run_sql!("WHERE id = $1::uuid FOR UPDATE SKIP LOCKED"));
        let Some(row) = work.row("read a run", statement.bind(run.to_string())).await? else { return Ok(None) };
        let run = run_to_end(&work, &row, run, now)?;
        let found = finish_in_txn(&mut work, scope, run, now).await?;
        work.commit().await?;
        Ok(Some(found))
    }

    /// Runs whose status is out of date: none of their batches is planned or leased any more, and the status was not
    /// updated. The host that stored the last of it was killed before it could; or there was nothing to collect at
    /// all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unfinished_runs_list(&self, scope: &Scope) -> Result<Vec<RunId>, StoreError> {
        scope.require_all("find unfinished runs")?;
        let statement = self.query(
            "SELECT id::text AS id FROM runs r
             WHERE finished_at IS NULL
                 AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.run_id = r.id AND b.finished_at IS NULL
                     AND (b.state <> 'deferred' OR r.status <> 'running'))
             ORDER BY id",
        );
        let rows = self.rows("find unfinished runs", statement).await?;
        self.unreadable.read("runs", "id", Extent::Part, &rows, |row| row.parsed("id"))
    }

    /// Runs, the latest first, as far as a filter shows them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn runs_filtered_list(&self, scope: &Scope, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        let limit = filter.limit.unwrap_or(u32::MAX);
        let mut view = self.read_view().await?;
        let mut before = filter.before.map(|(time, id)| (time_text(time), id.to_string()));
        let mut runs = Vec::new();
        loop {
            let statement = view.scoped(
                scope,
                run_sql!(
                    "WHERE ($1::timestamptz IS NULL OR started_at < $1::timestamptz
                 OR (started_at = $1::timestamptz AND id < $2::uuid)) {and_run: runs.id}
                 AND ($4::text IS NULL OR status = $4) AND ($5::text IS NULL OR triggered_by = $5
                     OR substr(triggered_by, 1, length($6::text)) = $6::text)
             ORDER BY runs.started_at DESC, runs.id DESC LIMIT $3"
                ),
            );
            let (time, id) = before.unzip();
            let asked = left_of(limit, runs.len());
            let statement = statement
                .bind(time)
                .bind(id)
                .bind(i64::from(asked))
                .bind(filter.status.map(|status| status.as_str().to_owned()))
                .bind(filter.trigger.as_deref().map(clean))
                .bind(filter.trigger.as_deref().and_then(trigger_beginning).map(str::to_owned));
            let rows = view.rows("list runs", statement).await?;
            runs.extend(view.unreadable.read("runs", "id", Extent::Part, &rows, run_of)?);
            let last = more_after(&rows, asked, runs.len(), limit);
            let Some(place) = last.and_then(|last| last.below("started_at").zip(last.below("id"))) else { break };
            before = Some(place);
        }
        count_in(&mut view, scope, &mut runs).await?;
        Ok(runs)
    }

    /// Runs, the latest first. `before` is for paging: only runs after the one that started then and has this id, in
    /// that order, so that none is left out of several that started at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn runs_list(
        &self,
        scope: &Scope,
        limit: u32,
        before: Option<(DateTime<Utc>, RunId)>,
    ) -> Result<Vec<Run>, StoreError> {
        self.runs_filtered_list(scope, &RunFilter { before, limit: Some(limit), ..RunFilter::default() }).await
    }

    /// A run by its id; none where it is unknown or outside of the scope.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run_get(&self, scope: &Scope, id: RunId) -> Result<Option<Run>, StoreError> {
        run_in(&mut self.read_view().await?, scope, id).await
    }
}

/// One run, with counts that belong to its status.
pub(crate) async fn run_in(view: &mut ReadView, scope: &Scope, id: RunId) -> Result<Option<Run>, StoreError> {
    let Some(mut run) = run_uncounted_in(view, scope, id).await? else { return Ok(None) };
    count_in(view, scope, std::slice::from_mut(&mut run)).await?;
    Ok(Some(run))
}

/// One run, of whose accounts only those that were planned are counted.
pub(crate) async fn run_uncounted_in(view: &mut ReadView, scope: &Scope, id: RunId) -> Result<Option<Run>, StoreError> {
    let statement = view.scoped(scope, run_sql!("WHERE id = $1::uuid {and_run: runs.id}"));
    let row = view.row("read a run", statement.bind(id.to_string())).await?;
    row.map(|row| run_of(&row)).transpose()
}

/// Counts how the accounts of runs ended. In one tenant's scope only its own are counted: what is planned of them
/// and how the run went follow from these counts, since the run's row counts all tenants.
async fn count_in(view: &mut ReadView, scope: &Scope, runs: &mut [Run]) -> Result<(), StoreError> {
    let ids = id_rows(&runs.iter().map(|run| run.id).collect::<Vec<_>>())?;
    let counts = view.scoped(scope, COUNTS).bind(ids.clone());
    let outcomes = view.rows("count outcomes", counts).await?;
    add_counts(runs, &outcomes)?;
    if scope.only().is_none() {
        return Ok(());
    }
    for run in runs.iter_mut() {
        run.counts.planned = run.counts.with_outcome();
    }
    let open = view.scoped(scope, WITHOUT_OUTCOME).bind(ids);
    let waiting = view.rows("count open accounts", open).await?;
    for row in &waiting {
        let id: RunId = row.parsed("run_id")?;
        let left = row.count("n")?;
        runs.iter_mut().filter(|run| run.id == id).for_each(|run| run.counts.planned += left);
    }
    let by_counts = |run: &&mut Run| !matches!(run.status, RunStatus::Running | RunStatus::Cancelled);
    for run in runs.iter_mut().filter(by_counts) {
        run.status = run.counts.status();
    }
    Ok(())
}

/// The same as `outcomes_all` shows, without reading each account.
const COUNTS: &str = "SELECT run_id::text AS run_id, outcome, COUNT(*)::bigint AS n FROM collection_outcomes
    WHERE run_id {in_ids} {and_artist: artist_id} GROUP BY run_id, outcome
    UNION ALL
    SELECT b.run_id::text AS run_id, 'collected' AS outcome, COUNT(*)::bigint AS n
    FROM batches b JOIN batch_accounts m ON m.batch_id = b.id
    WHERE b.run_id {in_ids} AND b.collected_at IS NOT NULL {and_account: m.account_id}
        AND NOT EXISTS (SELECT 1 FROM collection_outcomes o WHERE o.run_id = b.run_id AND o.account_id = m.account_id)
    GROUP BY b.run_id";

/// Accounts of one tenant that its batches hold and that have no outcome in their run yet.
const WITHOUT_OUTCOME: &str = "SELECT b.run_id::text AS run_id, COUNT(*)::bigint AS n
    FROM {rows} JOIN batches b ON b.run_id = (r.value->>'id')::uuid JOIN batch_accounts m ON m.batch_id = b.id
    WHERE b.finished_at IS NULL {and_tenant: b.tenant}
        AND NOT EXISTS (SELECT 1 FROM collection_outcomes o WHERE o.run_id = b.run_id AND o.account_id = m.account_id)
    GROUP BY b.run_id";

/// How a run stands while it is locked.
pub(crate) struct LockedRun {
    pub(crate) status: RunStatus,
    pub(crate) is_finished: bool,
}

/// Locks runs, in the order of their ids, against everyone who finishes, cancels or reopens one. Hosts go on to store
/// their batches. Who locks open batches of these runs does so afterwards; dead ones are locked before.
pub(crate) async fn runs_lock_in_txn(
    work: &mut Work,
    runs: &BTreeSet<RunId>,
) -> Result<BTreeMap<RunId, LockedRun>, StoreError> {
    let ids: Vec<RunId> = runs.iter().copied().collect();
    let statement = work.query(
        "SELECT id::text AS id, status, finished_at::text AS finished_at FROM runs WHERE id {in_ids} ORDER BY id
             FOR NO KEY UPDATE",
    );
    let rows = work.rows("lock runs", statement.bind(id_rows(&ids)?)).await?;
    rows.iter()
        .map(|row| {
            // A status that can't be read is not that of a run that was cancelled.
            let status = row.named("status", RunStatus::parse).unwrap_or(RunStatus::Running);
            // It has ended, whenever that was.
            let is_finished = !matches!(row.text_or_null("finished_at"), Ok(None));
            Ok((row.parsed("id")?, LockedRun { status, is_finished }))
        })
        .collect()
}

/// Brings the status of a run up to date whose row the transaction has locked. Returns the run as it is now.
pub(crate) async fn locked_run_finish_in_txn(
    work: &mut Work,
    scope: &Scope,
    run: RunId,
    now: DateTime<Utc>,
) -> Result<Run, StoreError> {
    let statement = work.query(run_sql!("WHERE id = $1::uuid"));
    let row = work.row("read a run", statement.bind(run.to_string())).await?;
    let row = row.ok_or_else(|| StoreError::NotFound { what: "run", id: run.to_string() })?;
    let standing = run_to_end(work, &row, run, now)?;
    let finished = finish_in_txn(work, scope, standing, now).await?;
    // As it is stored.
    Ok(Run { finished_at: finished.finished_at.map(|at| at.trunc_subsecs(6)), ..finished })
}

async fn finish_in_txn(work: &mut Work, scope: &Scope, mut found: Run, now: DateTime<Utc>) -> Result<Run, StoreError> {
    let run = found.id;
    let statement = work.query(
        "SELECT state, COUNT(*)::bigint AS n FROM batches WHERE run_id = $1::uuid AND finished_at IS NULL
             GROUP BY state",
    );
    let open = work.rows("find open batches", statement.bind(run.to_string())).await?;
    let mut waiting_only = true;
    for row in &open {
        waiting_only &= row.told("state")? == "deferred";
    }
    let outcomes = work.scoped(scope, COUNTS);
    let outcomes = work.rows("count outcomes", outcomes.bind(id_rows(&[run])?)).await?;
    add_counts(std::slice::from_mut(&mut found), &outcomes)?;
    // One that has ended stays as it ended: its outcomes may have been deleted since, and would count as none.
    if !waiting_only || found.finished_at.is_some() {
        return Ok(found);
    }
    if found.status != RunStatus::Cancelled {
        found.status = found.counts.status();
    }
    if open.is_empty() {
        found.finished_at = Some(now);
        // Accounts that were erased or excluded since the plan was made no longer count as planned.
        found.counts.planned = found.counts.with_outcome();
        let event = Event {
            id: uuid::Uuid::now_v7(),
            kind: types::RUN_COMPLETED.to_owned(),
            artist_id: None,
            occurred_at: now,
            // A run whose dead batches are retried ends again, which is a new event. The row's lock makes each end
            // one.
            dedup_key: Some(format!("{}:{run}:{}", types::RUN_COMPLETED, time_text(now))),
            data: json!({ "run_id": run, "status": found.status, "date": found.date, "counts": found.counts }),
        };
        events_write_in_txn(work, &[event]).await?;
    }
    let statement =
        work.query("UPDATE runs SET status = $2, finished_at = $3::timestamptz, planned = $4 WHERE id = $1::uuid");
    let statement = statement
        .bind(run.to_string())
        .bind(found.status.as_str())
        .bind(found.finished_at.map(time_text))
        .bind(i64::try_from(found.counts.planned).unwrap_or(i64::MAX));
    work.execute("finish a run", statement).await?;
    Ok(found)
}

/// Records a run in an open transaction.
pub(crate) async fn run_add_in_txn(work: &mut Work, run: &Run) -> Result<(), StoreError> {
    let statement = work.query(
        "INSERT INTO runs (id, triggered_by, logical_date, status, planned, started_at, finished_at)
         VALUES ($1::uuid, $2, $3::date, $4, 0, $5::timestamptz, $6::timestamptz)",
    );
    let statement = statement
        .bind(run.id.to_string())
        .bind(clean(&run.trigger))
        .bind(run.date.map(|date| date.to_string()))
        .bind(run.status.as_str())
        .bind(time_text(run.started_at))
        .bind(run.finished_at.map(time_text));
    work.execute("add a run", statement).await?;
    Ok(())
}

/// Adds accounts to batches, without those that were erased meanwhile.
const INSERT_ACCOUNTS: &str = "INSERT INTO batch_accounts (batch_id, position, account_id, metric_date)
    SELECT r.batch, r.position, a.id, r.date
    FROM {columns: batch uuid, position bigint, account uuid, date date} LEFT JOIN accounts a ON a.id = r.account
    WHERE (a.id IS NULL) = FALSE";

/// Records batches, each in its tenant's turn on its platform.
pub(crate) async fn batches_add_in_txn(
    work: &mut Work,
    batches: &[Batch],
    weights: &Weights,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut lines = queues_load_in_txn(work, batches.iter().map(|batch| &batch.platform), now).await?;
    for chunk in batches.chunks(ROWS_PER_STATEMENT / 10) {
        let mut rows = Vec::with_capacity(chunk.len());
        let mut accounts = Vec::new();
        let mut planned: BTreeMap<RunId, i64> = BTreeMap::new();
        for batch in chunk {
            let line = lines.entry(batch.platform.clone()).or_insert_with(|| StrideQueue::new(0, []));
            let turn = line.next(&batch.tenant, weights.stride(batch.tenant.as_str()));
            *planned.entry(batch.run_id).or_default() += i64::try_from(batch.accounts.len()).unwrap_or(i64::MAX);
            rows.push(json!({
                "id": batch.id, "run": batch.run_id, "turn": turn, "tenant": batch.tenant, "platform": batch.platform,
                "release": batch.release, "since": time_text(batch.window.since),
                "until": time_text(batch.window.until),
                "attempts": batch.attempts, "lane": batch.canary.then_some("canary"),
            }));
            accounts.extend(batch.accounts.iter().enumerate().map(|(position, account)| {
                [
                    ("batch", json!(batch.id)),
                    ("position", json!(position)),
                    ("account", json!(account.account_id)),
                    ("date", json!(account.metric_date)),
                ]
            }));
        }
        let statement = work.query(
            "INSERT INTO batches (id, run_id, turn, tenant, platform, release_digest, window_since, window_until,
                 state, attempts,
                 lease_token, available_at, created_at, lane)
             SELECT (r.value->>'id')::uuid, (r.value->>'run')::uuid, (r.value->>'turn')::bigint, r.value->>'tenant',
                 r.value->>'platform', r.value->>'release', (r.value->>'since')::timestamptz,
                 (r.value->>'until')::timestamptz,
                 'planned', (r.value->>'attempts')::bigint, 0, $2::timestamptz, $2::timestamptz, r.value->>'lane'
             FROM {rows}",
        );
        work.execute("add batches", statement.bind(json("batches", &rows)?).bind(time_text(now))).await?;
        let mut accounts = accounts.into_iter().peekable();
        while accounts.peek().is_some() {
            let mut rows = Table::of(work.kind, INSERT_ACCOUNTS);
            for account in accounts.by_ref().take(ROWS_PER_STATEMENT * 10) {
                rows.add(account);
            }
            let statement = work.query(INSERT_ACCOUNTS).bind_table(rows)?;
            work.execute("add a batch's accounts", statement).await?;
        }
        for (run, accounts) in planned {
            let statement = work.query("UPDATE runs SET planned = {raised: planned + $2::bigint} WHERE id = $1::uuid");
            work.execute("count what is planned", statement.bind(run.to_string()).bind(accounts)).await?;
        }
    }
    Ok(())
}

/// The stride queue of each platform. A queue's position is the least turn that waits for a worker; where none waits,
/// the greatest that is leased. Batches that wait for a budget or for their next attempt do not hold the queue back.
pub(crate) async fn queues_load_in_txn<'a>(
    work: &mut Work,
    platforms: impl Iterator<Item = &'a Platform>,
    now: DateTime<Utc>,
) -> Result<HashMap<Platform, StrideQueue<Tenant>>, StoreError> {
    let platforms: BTreeSet<&Platform> = platforms.collect();
    let rows: Vec<_> = platforms.iter().map(|platform| json!({ "platform": platform })).collect();
    let statement = work.query(
        "SELECT platform, tenant, MAX(turn) AS last,
             MIN(CASE WHEN state = 'planned' AND available_at <= $2::timestamptz THEN turn END) AS waiting,
             MAX(CASE WHEN state = 'leased' THEN turn END) AS leased
         FROM batches
         WHERE finished_at IS NULL AND platform IN (SELECT r.value->>'platform' FROM {rows})
         GROUP BY platform, tenant",
    );
    let statement = statement.bind(json("platforms", &rows)?).bind(time_text(now));
    let found = work.rows("read tenants' turns", statement).await?;
    // A tenant that can't be read has no turns: its batches end.
    let found = work.unreadable.read("batches", "tenant", Extent::Part, &found, turns_of)?;
    let mut lines = HashMap::new();
    for platform in platforms {
        let (mut waiting, mut leased, mut last) = (None::<i64>, None::<i64>, Vec::new());
        for turns in found.iter().filter(|turns| turns.platform == platform.as_str()) {
            waiting = [waiting, turns.waiting].into_iter().flatten().min();
            leased = leased.max(turns.leased);
            last.push((turns.tenant.clone(), turns.last));
        }
        lines.insert(platform.clone(), StrideQueue::new(waiting.or(leased).unwrap_or(0), last));
    }
    Ok(lines)
}

/// The turns of a tenant's open batches on a platform.
struct Turns {
    platform: String,
    tenant: Tenant,
    /// The greatest.
    last: i64,
    /// The least of those that wait for a worker.
    waiting: Option<i64>,
    /// The greatest of those that are leased.
    leased: Option<i64>,
}

fn turns_of(row: &AnyRow) -> Result<Turns, StoreError> {
    Ok(Turns {
        platform: row.text("platform")?,
        tenant: row.parsed("tenant")?,
        last: row.int("last")?,
        waiting: row.int_or_null("waiting")?,
        leased: row.int_or_null("leased")?,
    })
}

fn add_counts(runs: &mut [Run], outcomes: &[AnyRow]) -> Result<(), StoreError> {
    for row in outcomes {
        let id: RunId = row.parsed("run_id")?;
        let Some(run) = runs.iter_mut().find(|run| run.id == id) else { continue };
        count_outcome(&mut run.counts, &row.told("outcome")?, row.count("n")?);
    }
    Ok(())
}

/// Adds accounts that ended in one way. Some that were collected have rows of their own, and of others their batches
/// say it.
pub(crate) fn count_outcome(counts: &mut RunCounts, outcome: &str, accounts: u64) {
    let count = match outcome {
        "collected" => &mut counts.collected,
        "deferred" => &mut counts.deferred,
        "excluded" => &mut counts.excluded,
        "superseded" => &mut counts.superseded,
        _ => &mut counts.failed,
    };
    *count += accounts;
}

/// A run that may be over. What can't be read of its row does not keep it open, and with it its schedule's next runs:
/// it is noted, and taken as not known.
fn run_to_end(work: &Work, row: &AnyRow, id: RunId, now: DateTime<Utc>) -> Result<Run, StoreError> {
    if let Some(run) = work.unreadable.read("runs", "id", Extent::Part, std::slice::from_ref(row), run_of)?.pop() {
        return Ok(run);
    }
    let finished_at = row.text_or_null("finished_at")?.map(|_| row.time("finished_at").unwrap_or(now));
    Ok(Run {
        id,
        trigger: row.text("triggered_by").unwrap_or_default(),
        date: row.parsed("logical_date").ok(),
        status: row.named("status", RunStatus::parse).unwrap_or(RunStatus::Running),
        started_at: row.time("started_at").unwrap_or(now),
        finished_at,
        counts: RunCounts { planned: row.count("planned").unwrap_or_default(), ..RunCounts::default() },
    })
}

fn run_of(row: &AnyRow) -> Result<Run, StoreError> {
    Ok(Run {
        id: row.parsed("id")?,
        trigger: row.text("triggered_by")?,
        date: row.parsed_or_null("logical_date")?,
        status: row.named("status", RunStatus::parse)?,
        started_at: row.time("started_at")?,
        finished_at: row.time_or_null("finished_at")?,
        counts: RunCounts { planned: row.count("planned")?, ..RunCounts::default() },
    })
}
