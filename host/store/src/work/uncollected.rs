//! Batches that end although they were not collected: no release of their platform is active any more or can be loaded
//! by any host, a newer plan includes their accounts, or an operator cancelled their run. Those whose rows can't be
//! read end in `unreadable`.
//!
//! Otherwise a run would wait for the first for ever, and keep its schedule's next runs from starting; and an allowance
//! that is too small, or a host that was killed, would leave a backlog that grows with every run, whose numbers come
//! later and later.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::any::AnyRow;

use crate::artists::tombstones::erasures_hold_off_in_txn;
use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, clean, time_text};
use crate::database::error::{StoreError, unless_refused};
use crate::database::readable::{Extent, LastRow};
use crate::database::rows::id_rows;
use crate::database::statement::Statement;
use crate::scope::Scope;
use crate::work::ledger::{locked_run_finish_in_txn, runs_lock_in_txn};
use crate::work::outcomes::{AccountOutcome, outcomes_save_in_txn};
use backline_model::clock::latest_believed;
use backline_model::outcome::{Exclusion, Outcome};
use backline_model::{AccountId, Batch, BatchAccount, BatchState, Platform, Run, RunId, RunStatus};

/// Batches that are ended together.
const BATCHES_AT_ONCE: i64 = 50;

/// How long a run may show no sign of life until what it has not begun counts as left behind: twice the longest that a
/// host takes to report, or to lease what it has planned.
const LEFT_BEHIND_AFTER: TimeDelta = TimeDelta::minutes(1);

/// How long a batch waits for a host that can load its platform's release: an operator may be about to repair it.
const UNLOADED_FOR: TimeDelta = TimeDelta::hours(1);

/// Reads batches that may end: whose they are, and where they stood.
macro_rules! waiting_sql {
    ($which:literal) => {
        concat!(
            "SELECT id::text AS id, run_id::text AS run_id, state, attempts,
                 CASE WHEN began_at IS NULL THEN 0 ELSE 1 END AS was_leased
             FROM batches ",
            $which
        )
    };
}

pub(crate) use waiting_sql;

impl Store {
    /// Ends the open batches of platforms without an active release, and those that have waited for an hour for one
    /// that no host could load in that time: their accounts count as excluded. One that a host still holds ends when
    /// that host stores it, gives it back, or its lease expires. Returns how many accounts were excluded, by platform.
    ///
    /// # Errors
    /// When the scope is one tenant's, or the database fails: the first error, after the others were ended.
    pub async fn orphaned_batches_exclude(
        &self,
        scope: &Scope,
        now: DateTime<Utc>,
    ) -> Result<BTreeMap<Platform, u64>, StoreError> {
        scope.require_all("exclude batches without a connector")?;
        let (mut excluded, mut failed) = (BTreeMap::new(), None);
        for platform in self.orphaned_platforms_list().await? {
            // What can't be ended of one platform keeps no other one's batches open.
            while let Some(accounts) = unless_refused(self.orphans_exclude_some(&platform, now).await, &mut failed)? {
                *excluded.entry(platform.clone()).or_default() += accounts;
            }
        }
        for (platform, digest) in self.unloaded_platforms_list(now).await? {
            while let Some(accounts) =
                unless_refused(self.unloaded_exclude_some(&platform, &digest, now).await, &mut failed)?
            {
                *excluded.entry(platform.clone()).or_default() += accounts;
            }
        }
        failed.map_or(Ok(excluded), Err)
    }

    /// Platforms with batches that wait for long, and whose active release every host that is present has failed to
    /// load for as long, with the release's digest. A host that has not tried yet may be able to.
    async fn unloaded_platforms_list(&self, now: DateTime<Utc>) -> Result<Vec<(Platform, String)>, StoreError> {
        let statement = self.query(
            "SELECT r.platform, r.digest FROM releases r
             WHERE r.active
                 AND EXISTS (SELECT 1 FROM hosts h WHERE h.seen_at > $1::timestamptz AND h.seen_at <= $2::timestamptz)
                 AND NOT EXISTS (SELECT 1 FROM hosts h
                     WHERE h.seen_at > $1::timestamptz AND h.seen_at <= $2::timestamptz
                         AND NOT EXISTS (SELECT 1 FROM release_hosts l
                             WHERE l.host = h.name AND l.release_digest = r.digest AND l.state = 'failed'
                                 AND l.at >= h.started_at AND l.at <= $3::timestamptz))
                 AND EXISTS (SELECT 1 FROM batches b WHERE b.platform = r.platform AND b.finished_at IS NULL
                     AND (b.created_at <= $3::timestamptz OR b.created_at > $4::timestamptz))
             ORDER BY r.platform",
        );
        // Hosts' clocks differ by less than they may be silent.
        let statement = statement.bind(time_text(now - LEFT_BEHIND_AFTER)).bind(time_text(now + LEFT_BEHIND_AFTER));
        let statement = statement.bind(time_text(now - UNLOADED_FOR)).bind(time_text(latest_believed(now)));
        let rows = self.rows("find platforms whose connector can't be loaded", statement).await?;
        self.unreadable.read("platforms", "platform", Extent::Part, &rows, |row| {
            Ok((row.parsed("platform")?, row.text("digest")?))
        })
    }

    /// Ends some batches that wait for a release, unless another one is active by now. None where nothing is left to
    /// exclude.
    async fn unloaded_exclude_some(
        &self,
        platform: &Platform,
        digest: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<u64>, StoreError> {
        let mut work = self.begin().await?;
        erasures_hold_off_in_txn(&mut work).await?;
        let batches = next_waiting_list_in_txn(&mut work, |work, after| {
            let statement = work.query(waiting_sql!(
                "WHERE platform = $1 AND finished_at IS NULL AND (state <> 'leased' OR available_at <= $2::timestamptz)
                     AND (created_at <= $3::timestamptz OR created_at > $7::timestamptz)
                     AND ($6::uuid IS NULL OR id > $6::uuid)
                     AND EXISTS (SELECT 1 FROM releases r WHERE r.digest = $5 AND r.active)
                 ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED"
            ));
            let statement = statement.bind(platform.as_str().to_owned()).bind(time_text(now));
            let statement = statement.bind(time_text(now - UNLOADED_FOR)).bind(BATCHES_AT_ONCE);
            statement.bind(digest.to_owned()).bind(after).bind(time_text(latest_believed(now)))
        })
        .await?;
        if batches.is_empty() {
            return Ok(None);
        }
        let message = "no host can load the release of its platform";
        let accounts = batches_end_in_txn(&mut work, &batches, UncollectedReason::NotLoaded, message, now).await?;
        work.commit().await?;
        Ok(Some(accounts))
    }

    async fn orphaned_platforms_list(&self) -> Result<Vec<Platform>, StoreError> {
        let statement = self.query(
            "SELECT p.platform FROM platforms p
             WHERE EXISTS (SELECT 1 FROM releases r WHERE r.platform = p.platform)
                 AND NOT EXISTS (SELECT 1 FROM releases r WHERE r.platform = p.platform AND r.active)
                 AND EXISTS (SELECT 1 FROM batches b WHERE b.platform = p.platform AND b.finished_at IS NULL)
             ORDER BY p.platform",
        );
        let rows = self.rows("find platforms without a connector", statement).await?;
        self.unreadable.read("platforms", "platform", Extent::Part, &rows, |row| row.parsed("platform"))
    }

    /// None where nothing is left to exclude.
    async fn orphans_exclude_some(&self, platform: &Platform, now: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        let mut work = self.begin().await?;
        erasures_hold_off_in_txn(&mut work).await?;
        let batches = next_waiting_list_in_txn(&mut work, |work, after| {
            let statement = work.query(waiting_sql!(
                "WHERE platform = $1 AND finished_at IS NULL AND (state <> 'leased' OR available_at <= $2::timestamptz)
                     AND NOT EXISTS (SELECT 1 FROM releases r WHERE r.platform = batches.platform AND r.active)
                     AND ($4::uuid IS NULL OR id > $4::uuid)
                 ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED"
            ));
            let statement = statement.bind(platform.as_str().to_owned()).bind(time_text(now));
            statement.bind(BATCHES_AT_ONCE).bind(after)
        })
        .await?;
        if batches.is_empty() {
            return Ok(None);
        }
        let message = "no release of its platform is active";
        let accounts = batches_end_in_txn(&mut work, &batches, UncollectedReason::NoConnector, message, now).await?;
        work.commit().await?;
        Ok(Some(accounts))
    }
}

/// What was open of a run that was cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CancelledBatches {
    /// Batches that were ended.
    pub batches: u64,
    /// Of these, batches that a host held: it finds out when it renews its lease, and stores nothing of them.
    pub leased: u64,
    /// Entries of accounts in them.
    pub accounts: u64,
}

/// What the request for it is answered with.
#[derive(serde::Serialize)]
struct CancelledRun<'a> {
    run: &'a Run,
    #[serde(flatten)]
    cancelled: CancelledBatches,
}

impl Store {
    /// Ends all open batches of a run, on whatever host, and marks the run as cancelled, in one transaction under the
    /// run's lock: their accounts count as excluded. A host that is storing a batch just now is waited for, and what it
    /// stores is kept. None where the run has ended already, or nothing of it is open any more: then it was not cut
    /// short.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such run.
    pub async fn run_cancel(
        &self,
        scope: &Scope,
        run: RunId,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<CancelledBatches>, StoreError> {
        scope.require_all("cancel a run")?;
        let message = format!("the run was cancelled: {reason}");
        let mut work = self.begin().await?.proven(self).await?;
        erasures_hold_off_in_txn(&mut work).await?;
        // No one finishes the run, adds batches to it or opens it again before this has ended.
        let standing = runs_lock_in_txn(&mut work, &BTreeSet::from([run])).await?;
        let Some(standing) = standing.get(&run) else {
            return Err(StoreError::NotFound { what: "run", id: run.to_string() });
        };
        if standing.is_finished {
            return Ok(None);
        }
        let mut cancelled = CancelledBatches::default();
        loop {
            // Each look finds the parts too that a host has just split off what it stored.
            let batches = next_waiting_list_in_txn(&mut work, |work, after| {
                let statement = work.query(waiting_sql!(
                    "WHERE run_id = $1::uuid AND finished_at IS NULL AND ($3::uuid IS NULL OR id > $3::uuid)
                     ORDER BY id LIMIT $2 FOR UPDATE"
                ));
                statement.bind(run.to_string()).bind(BATCHES_AT_ONCE).bind(after)
            })
            .await?;
            if batches.is_empty() {
                break;
            }
            cancelled.batches += batches.len() as u64;
            cancelled.leased += batches.iter().filter(|batch| batch.state == BatchState::Leased).count() as u64;
            cancelled.accounts +=
                batches_end_in_txn(&mut work, &batches, UncollectedReason::Cancelled, &message, now).await?;
        }
        if cancelled.batches == 0 && standing.status != RunStatus::Cancelled {
            return Ok(None);
        }
        let statement = work.query("UPDATE runs SET status = $2 WHERE id = $1::uuid");
        let statement = statement.bind(run.to_string()).bind(RunStatus::Cancelled.as_str());
        work.execute("mark a run as cancelled", statement).await?;
        let ended = locked_run_finish_in_txn(&mut work, scope, run, now).await?;
        work.answer_keep(&CancelledRun { run: &ended, cancelled }, None).await?;
        work.commit().await?;
        Ok(Some(cancelled))
    }
}

/// Ends the entries that other runs have of the accounts of these batches, of the same date or an earlier one: they
/// become superseded. What is deferred ends, and what was planned and left behind: its run holds no lease, and neither
/// it nor any host that serves has shown a sign of life for a while. A dead entry of an earlier date can't be retried
/// any more and keeps its failure.
pub(crate) async fn uncollected_supersede_in_txn(
    work: &mut Work,
    planned: &[Batch],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut platforms: BTreeMap<&Platform, (RunId, HashMap<AccountId, NaiveDate>)> = BTreeMap::new();
    for batch in planned {
        let (_, dates) = platforms.entry(&batch.platform).or_insert_with(|| (batch.run_id, HashMap::new()));
        dates.extend(batch.accounts.iter().map(|account| (account.account_id, account.metric_date)));
    }
    for (platform, (run, dates)) in platforms {
        for text in [OPEN, DEAD] {
            let mut after = uuid::Uuid::nil().to_string();
            loop {
                let statement = work.query(text).bind(platform.as_str().to_owned()).bind(run.to_string());
                let statement = statement.bind(after).bind(time_text(now)).bind(BATCHES_AT_ONCE);
                let statement = statement.bind(time_text(now - LEFT_BEHIND_AFTER));
                let statement = statement.bind(time_text(latest_believed(now)));
                let rows = work.rows("find batches that wait", statement).await?;
                let Some(last) = LastRow::of(&rows) else { break };
                let batches = waiting_of(work, &rows)?;
                waiting_supersede_in_txn(work, &batches, &dates, now).await?;
                let Some(place) = last.above("id") else { break };
                after = place;
            }
        }
    }
    Ok(())
}

/// Batches of other runs that are deferred, or planned and left behind.
const OPEN: &str = waiting_sql!(
    "WHERE platform = $1 AND run_id <> $2::uuid AND id > $3::uuid AND finished_at IS NULL
         AND (state = 'deferred' OR (
             NOT EXISTS (SELECT 1 FROM hosts h WHERE h.seen_at > $6::timestamptz AND h.seen_at <= $7::timestamptz)
             AND NOT EXISTS (SELECT 1 FROM batches own WHERE own.run_id = batches.run_id AND own.finished_at IS NULL
                 AND own.state = 'leased' AND own.available_at > $4::timestamptz)
             AND EXISTS (SELECT 1 FROM runs r WHERE r.id = batches.run_id
                 AND (r.started_at <= $6::timestamptz OR r.started_at > $7::timestamptz))))
     ORDER BY id LIMIT $5 FOR UPDATE SKIP LOCKED"
);

/// Batches of other runs that can be retried.
const DEAD: &str = waiting_sql!(
    "WHERE platform = $1 AND run_id <> $2::uuid AND id > $3::uuid AND state = 'dead'
         AND finished_at <= $4::timestamptz AND $6::timestamptz <= $7::timestamptz
     ORDER BY id LIMIT $5 FOR UPDATE SKIP LOCKED"
);

async fn waiting_supersede_in_txn(
    work: &mut Work,
    batches: &[Waiting],
    dates: &HashMap<AccountId, NaiveDate>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut held = accounts_list_in_txn(work, batches, now).await?;
    let (mut superseded, mut emptied) = (Vec::new(), Vec::new());
    for batch in batches {
        let is_dead = batch.state == BatchState::Dead;
        let (ended, kept): (Vec<_>, Vec<_>) =
            held.remove(&batch.id).unwrap_or_default().into_iter().partition(|account| {
                let planned = dates.get(&account.account_id);
                planned.is_some_and(|date| account.metric_date < *date || (account.metric_date == *date && !is_dead))
            });
        if ended.is_empty() {
            continue;
        }
        if kept.is_empty() {
            emptied.push(batch.id.clone());
        } else {
            let leave: Vec<_> = ended.iter().map(|account| account.account_id).collect();
            let statement = work.query("DELETE FROM batch_accounts WHERE batch_id = $2::uuid AND account_id {in_ids}");
            let statement = statement.bind(id_rows(&leave)?).bind(batch.id.clone());
            work.execute("take accounts out of a batch", statement).await?;
        }
        if !is_dead {
            superseded.push((batch, ended));
        }
    }
    outcomes_record_in_txn(work, &superseded, UncollectedReason::Superseded, now).await?;
    batches_close_in_txn(work, &emptied, "superseded by a newer plan", now).await
}

/// A batch that is not collected and may end. What can't be read of it keeps neither it nor the others from ending.
pub(crate) struct Waiting {
    /// As its row has it.
    id: String,
    /// None where it can't be read: then the accounts have no outcome, since that would belong to no run.
    run: Option<RunId>,
    state: BatchState,
    attempts: u32,
    /// Whether a host ever took it up.
    has_begun: bool,
}

/// Why batches end that are not collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UncollectedReason<'a> {
    /// No release of their platform is active.
    NoConnector,
    /// No host can load the release that is active.
    NotLoaded,
    /// The operator cancelled their run.
    Cancelled,
    /// A newer plan includes their accounts.
    Superseded,
    /// Their rows can't be read, for this reason.
    Unreadable(&'a str),
}

impl UncollectedReason<'_> {
    /// How their accounts end.
    fn outcome(self) -> Outcome {
        match self {
            Self::NoConnector | Self::NotLoaded => Outcome::Excluded { reason: Exclusion::NoConnector },
            Self::Cancelled => Outcome::Excluded { reason: Exclusion::Cancelled },
            Self::Superseded => Outcome::Superseded,
            Self::Unreadable(_) => Outcome::Excluded { reason: Exclusion::Unreadable },
        }
    }

    /// The same in words, with where the batch stood then.
    fn note(self, state: BatchState, has_begun: bool) -> String {
        let what = match self {
            Self::Unreadable(reason) => return format!("its batch {reason}"),
            Self::NoConnector => "no release of the platform was active any more",
            Self::NotLoaded => "no host could load the release of the platform",
            Self::Cancelled => "the run was cancelled",
            Self::Superseded => "a newer plan included it",
        };
        let when = match state {
            BatchState::Leased => "while a host held it",
            BatchState::Deferred => "while it waited for a budget or a pause",
            _ if has_begun => "while it waited for its next turn",
            _ => "before it had begun",
        };
        format!("{what} {when}")
    }
}

pub(crate) async fn waiting_list_in_txn(work: &mut Work, statement: Statement) -> Result<Vec<Waiting>, StoreError> {
    let rows = work.rows("find batches that wait", statement).await?;
    waiting_of(work, &rows)
}

/// The first page of a list, in the order of ids, that has a batch whose id can be read; empty where none has. The
/// statement lists those after an id. What is on a page that is passed ends by itself (see `unreadable`).
async fn next_waiting_list_in_txn(
    work: &mut Work,
    statement: impl Fn(&Work, Option<String>) -> Statement,
) -> Result<Vec<Waiting>, StoreError> {
    let mut after = None;
    loop {
        let page = statement(&*work, after);
        let rows = work.rows("find batches that wait", page).await?;
        let batches = waiting_of(work, &rows)?;
        let last = LastRow::of(&rows).filter(|_| batches.is_empty());
        let Some(place) = last.and_then(|last| last.above("id")) else { return Ok(batches) };
        after = Some(place);
    }
}

/// The batches of these rows, without those whose ids are not UTF-8: they end by themselves (see `unreadable`).
fn waiting_of(work: &Work, rows: &[AnyRow]) -> Result<Vec<Waiting>, StoreError> {
    work.unreadable.read("batches", "id", Extent::Columns, rows, |row| one_waiting_of(row, row.text("id")?))
}

fn one_waiting_of(row: &AnyRow, id: String) -> Result<Waiting, StoreError> {
    Ok(Waiting {
        id,
        run: row.parsed("run_id").ok(),
        // The statement has selected by it; here it is told to people.
        state: row.named("state", BatchState::parse).unwrap_or(BatchState::Planned),
        attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
        has_begun: row.truth("was_leased")?,
    })
}

/// Ends the open batch of a file whose id is these bytes, which are not UTF-8: no parameter can be that id. Its
/// accounts, which hold the same bytes, get their outcomes. Returns how many entries of accounts it held; none where it
/// has ended already.
pub(crate) async fn nameless_batch_end_in_txn(
    work: &mut Work,
    id: &[u8],
    reason: &str,
    now: DateTime<Utc>,
) -> Result<Option<u64>, StoreError> {
    let statement = work.query(waiting_sql!("WHERE finished_at IS NULL AND {bytes_of_id} = $1 FOR UPDATE SKIP LOCKED"));
    let Some(row) = work.row("find a batch that can't be read", statement.bind(id.to_vec())).await? else {
        return Ok(None);
    };
    let batch = one_waiting_of(&row, String::new())?;
    let statement = work.query(
        "SELECT account_id::text AS account_id, metric_date::text AS metric_date FROM batch_accounts
         WHERE batch_id = (SELECT id FROM batches WHERE finished_at IS NULL AND {bytes_of_id} = $1)
         ORDER BY account_id",
    );
    let rows = work.rows("read the accounts of a batch", statement.bind(id.to_vec())).await?;
    let accounts: Vec<_> = rows.iter().filter_map(|row| waiting_account_of(row, now)).collect();
    let held = accounts.len() as u64;
    outcomes_record_in_txn(work, &[(&batch, accounts)], UncollectedReason::Unreadable(reason), now).await?;
    let statement = work.query(
        "UPDATE batches SET state = 'done', finished_at = $2::timestamptz, lease_owner = NULL, message = $3
         WHERE finished_at IS NULL AND {bytes_of_id} = $1",
    );
    let statement = statement.bind(id.to_vec()).bind(time_text(now)).bind(clean(reason));
    work.execute("end a batch that can't be read", statement).await?;
    Ok(Some(held))
}

/// Ends batches whole: each of their accounts gets its outcome, and they are done. Returns how many entries of accounts
/// they held.
pub(crate) async fn batches_end_in_txn(
    work: &mut Work,
    batches: &[Waiting],
    ending: UncollectedReason<'_>,
    message: &str,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let mut accounts = accounts_list_in_txn(work, batches, now).await?;
    let ended: Vec<_> = batches.iter().map(|batch| (batch, accounts.remove(&batch.id).unwrap_or_default())).collect();
    outcomes_record_in_txn(work, &ended, ending, now).await?;
    let ids: Vec<String> = batches.iter().map(|batch| batch.id.clone()).collect();
    batches_close_in_txn(work, &ids, message, now).await?;
    Ok(ended.iter().map(|(_, accounts)| accounts.len() as u64).sum())
}

/// An account of a batch. A date that can't be read counts as today's; where the id can't be, it is no account's row.
fn waiting_account_of(row: &AnyRow, now: DateTime<Utc>) -> Option<BatchAccount> {
    let account_id = row.parsed("account_id").ok()?;
    let metric_date = row.date("metric_date").unwrap_or_else(|_| now.date_naive());
    Some(BatchAccount { account_id, metric_date })
}

/// The accounts of batches.
async fn accounts_list_in_txn(
    work: &mut Work,
    batches: &[Waiting],
    now: DateTime<Utc>,
) -> Result<BTreeMap<String, Vec<BatchAccount>>, StoreError> {
    let ids: Vec<&str> = batches.iter().map(|batch| batch.id.as_str()).collect();
    let statement = work.query(
        "SELECT batch_id::text AS batch_id, account_id::text AS account_id, metric_date::text AS metric_date
         FROM batch_accounts WHERE batch_id {in_ids} ORDER BY account_id",
    );
    let mut accounts: BTreeMap<String, Vec<BatchAccount>> = BTreeMap::new();
    for row in &work.rows("read the accounts of batches", statement.bind(id_rows(&ids)?)).await? {
        let Some(account) = waiting_account_of(row, now) else { continue };
        accounts.entry(row.text("batch_id")?).or_default().push(account);
    }
    Ok(accounts)
}

/// Writes the outcome of all these accounts, each in its run.
async fn outcomes_record_in_txn(
    work: &mut Work,
    ended: &[(&Waiting, Vec<BatchAccount>)],
    ending: UncollectedReason<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut by_run: BTreeMap<RunId, Vec<AccountOutcome>> = BTreeMap::new();
    for (batch, accounts) in ended {
        let Some(run) = batch.run else { continue };
        by_run.entry(run).or_default().extend(accounts.iter().map(|account| AccountOutcome {
            account_id: account.account_id,
            metric_date: account.metric_date,
            outcome: ending.outcome(),
            attempts: batch.attempts,
            planned_for: None,
            note: Some(ending.note(batch.state, batch.has_begun)),
        }));
    }
    for (run, outcomes) in by_run {
        outcomes_save_in_txn(work, run, None, &outcomes, now).await?;
    }
    Ok(())
}

async fn batches_close_in_txn(
    work: &mut Work,
    batches: &[String],
    message: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if batches.is_empty() {
        return Ok(());
    }
    let statement = work.query(
        "UPDATE batches SET state = 'done', finished_at = $2::timestamptz, lease_owner = NULL, message = $3
         WHERE id {in_ids}",
    );
    let statement = statement.bind(id_rows(batches)?).bind(time_text(now)).bind(clean(message));
    work.execute("end batches that are not collected", statement).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_an_end_is_true_of_where_the_batch_stood() {
        for (ending, state, has_begun, said) in [
            (UncollectedReason::Cancelled, BatchState::Planned, false, "the run was cancelled before it had begun"),
            (
                UncollectedReason::Cancelled,
                BatchState::Planned,
                true,
                "the run was cancelled while it waited for its next turn",
            ),
            (UncollectedReason::Cancelled, BatchState::Leased, true, "the run was cancelled while a host held it"),
            (
                UncollectedReason::Superseded,
                BatchState::Deferred,
                true,
                "a newer plan included it while it waited for a budget or a pause",
            ),
            (UncollectedReason::Superseded, BatchState::Planned, false, "a newer plan included it before it had begun"),
            (
                UncollectedReason::NoConnector,
                BatchState::Planned,
                false,
                "no release of the platform was active any more before it had begun",
            ),
            (UncollectedReason::Unreadable("can't be read"), BatchState::Leased, true, "its batch can't be read"),
        ] {
            assert_eq!(ending.note(state, has_begun), said, "{ending:?}");
        }
    }
}
