//! Tallies of batches for or against releases, canaries, and rollbacks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;

use crate::artists::tombstones::erasures_hold_off_in_txn;
use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, clean, json, time_text, unreadable};
use crate::database::error::StoreError;
use crate::database::notifications::notify;
use crate::database::readable::Extent;
use crate::database::rows::id_rows;
use crate::database::topic::Topic;
use crate::events::outbox::events_write_in_txn;
use crate::numbers::history;
use crate::numbers::history::AccountHistory;
use crate::releases::installed::{release_activate_in_txn, release_lock_in_txn};
use crate::scope::Scope;
use crate::work::batches::{WaitingBatch, batches_plan_again_in_txn, runs_reopen_in_txn};
use crate::work::ledger::{batches_add_in_txn, runs_lock_in_txn};
use backline_model::clock::Past;
use backline_model::event::types;
use backline_model::{
    AccountId, Batch, BatchAccount, BatchId, Digest, DocumentId, Event, FailureClass, Platform, RunId, RunStatus,
    SwapCause, Tally, Tenant, Weights, Window,
};

/// Most batches whose tallies are summed: the latest ones. They hold some ten thousand accounts, which no rule needs
/// more of.
const TALLIES_MAX: i64 = 2_000;

/// A release that collects a share of a platform's accounts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Canary {
    /// Platform of the account or release.
    pub platform: Platform,
    /// Digest of the release.
    pub release: Digest,
    /// Its share of the accounts, in parts of 10,000.
    pub share: u32,
    /// Start of the canary.
    pub started_at: DateTime<Utc>,
    /// When it becomes the active release, if it is not worse; none where the operator decides.
    pub promote_at: Option<DateTime<Utc>>,
}

/// What is to be rolled back.
#[derive(Clone, Debug)]
pub struct Rollback<'a> {
    /// Platform of the account or release.
    pub platform: &'a Platform,
    /// The release that is worse: the active one, or the canary.
    pub from: Digest,
    /// The release that collects instead; of a canary, the active one.
    pub to: Digest,
    /// Reason, as text for operators.
    pub reason: &'a str,
    /// The same for programs, as JSON.
    pub regressions: Json,
    /// Most accounts of a batch of `to`.
    pub batch_size: usize,
}

/// What a rollback plans again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recollection {
    /// Accounts that failed under the release and are collected again: not those of runs that were cancelled, nor those
    /// that a newer plan includes.
    pub accounts: u64,
    /// Their runs, which go on.
    pub runs: BTreeSet<RunId>,
}

/// The document an account was last collected with.
#[derive(Clone, Debug, PartialEq)]
pub struct LastDocument {
    /// The account it was fetched for.
    pub account: AccountId,
    /// The date its numbers are for.
    pub metric_date: NaiveDate,
    /// Its id.
    pub id: DocumentId,
    /// The run that fetched it.
    pub run_id: RunId,
    /// When it was fetched.
    pub observed_at: DateTime<Utc>,
    /// What its post-level metrics cover.
    pub window: Window,
}

/// Records a batch's tally for the release that collected it.
pub(crate) async fn tally_add_in_txn(
    work: &mut Work,
    batch: &Batch,
    tally: &Tally,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if tally.is_empty() {
        return Ok(());
    }
    let statement = work.query(
        "INSERT INTO release_batches (release_digest, platform, run_id, canary, at, tally)
         VALUES ($1, $2, $3::uuid, $4, $5::timestamptz, $6::jsonb)",
    );
    let statement = statement
        .bind(batch.release.to_string())
        .bind(batch.platform.as_str().to_owned())
        .bind(batch.run_id.to_string())
        .bind(batch.canary)
        .bind(time_text(now))
        .bind(json("a tally", tally)?);
    work.execute("record a batch's tally", statement).await?;
    Ok(())
}

impl Store {
    /// The sum of a release's tallies from one time to another, where that is given: of the latest 2,000 batches.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_tally_get(
        &self,
        release: Digest,
        since: DateTime<Utc>,
        until: Option<DateTime<Utc>>,
    ) -> Result<Tally, StoreError> {
        let statement = self.query(
            "SELECT seq, tally::text AS tally FROM release_batches
             WHERE release_digest = $1 AND at >= $2::timestamptz AND ($3::timestamptz IS NULL OR at <= $3::timestamptz)
             ORDER BY at DESC, seq DESC LIMIT $4",
        );
        let statement =
            statement.bind(release.to_string()).bind(time_text(since)).bind(until.map(time_text)).bind(TALLIES_MAX);
        let rows = self.rows("read a release's tallies", statement).await?;
        let tally_of = |row: &AnyRow| row.json::<Tally>("tally");
        let mut sum = Tally::default();
        for tally in self.unreadable.read("release_batches", "seq", Extent::Part, &rows, tally_of)? {
            sum.add(&tally);
        }
        Ok(sum)
    }

    /// A mark that changes with every tally since a time: a reader that sees the same mark again has nothing new to
    /// judge.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tallies_mark_get(&self, since: DateTime<Utc>) -> Result<(u64, i64), StoreError> {
        // The number counts too: of two transactions at once, the one with the lower sequence number may commit last.
        let statement = self.query(
            "SELECT COUNT(*)::bigint AS n, COALESCE(MAX(seq), 0)::bigint AS last FROM release_batches
                 WHERE at >= $1::timestamptz",
        );
        let row = self.row("read batches' tallies", statement.bind(time_text(since))).await?;
        row.map_or(Ok((0, 0)), |row| Ok((row.count("n")?, row.int("last")?)))
    }

    /// Removes tallies from before a time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tallies_trim(&self, before: Past) -> Result<u64, StoreError> {
        let statement = self.query("DELETE FROM release_batches WHERE at < $1::timestamptz");
        self.write("remove old tallies", statement.bind(time_text(before.at()))).await
    }

    /// Canaries, by platform.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn canaries_list(&self) -> Result<Vec<Canary>, StoreError> {
        let statement = self.query(
            "SELECT platform, release_digest, share, started_at::text AS started_at, promote_at::text AS promote_at
             FROM canaries ORDER BY platform",
        );
        let rows = self.rows("list canaries", statement).await?;
        self.unreadable.read("canaries", "platform", Extent::Whole, &rows, canary_of)
    }

    /// Lets a granted release collect a share of its platform's accounts, in place of any canary that was there before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such release, [`StoreError::NotGranted`] when it may do nothing,
    /// [`StoreError::ReleaseInUse`] when it is active.
    pub async fn canary_start(&self, canary: &Canary) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        platform_lock_in_txn(&mut work, &canary.platform).await?;
        if release_lock_in_txn(&mut work, canary.release).await?.active {
            return Err(StoreError::ReleaseInUse { digest: canary.release });
        }
        let statement = work.query(
            "INSERT INTO canaries (platform, release_digest, share, started_at, promote_at)
             VALUES ($1, $2, $3, $4::timestamptz, $5::timestamptz)
             ON CONFLICT (platform) DO UPDATE SET release_digest = excluded.release_digest, share = excluded.share,
                 started_at = excluded.started_at, promote_at = excluded.promote_at",
        );
        let statement = statement
            .bind(canary.platform.as_str().to_owned())
            .bind(canary.release.to_string())
            .bind(i64::from(canary.share))
            .bind(time_text(canary.started_at))
            .bind(canary.promote_at.map(time_text));
        work.execute("start a canary", statement).await?;
        notify(&mut work, Topic::Releases).await?;
        work.commit().await
    }

    /// Ends a platform's canary; what was planned for it is collected with the active release. False where there was
    /// none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn canary_stop(&self, platform: &Platform) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query("DELETE FROM canaries WHERE platform = $1");
        let ended = work.execute("end a canary", statement.bind(platform.as_str().to_owned())).await? > 0;
        notify(&mut work, Topic::Releases).await?;
        work.commit().await?;
        Ok(ended)
    }

    /// Makes a canary its platform's active release. Returns whether it did: not where the canary has ended since it
    /// was read, such as by hand, or another one has begun.
    ///
    /// # Errors
    /// [`StoreError::NotGranted`] when the release may not be activated.
    pub async fn canary_promote(&self, canary: &Canary, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        platform_lock_in_txn(&mut work, &canary.platform).await?;
        let statement = work.query(
            "SELECT started_at::text AS at FROM canaries WHERE platform = $1 AND release_digest = $2 FOR UPDATE",
        );
        let statement = statement.bind(canary.platform.as_str().to_owned()).bind(canary.release.to_string());
        if !work.is_still("check whether a canary goes on", statement, canary.started_at).await? {
            return Ok(false);
        }
        release_activate_in_txn(&mut work, canary.release, SwapCause::Promoted, None, now).await?;
        work.commit().await?;
        Ok(true)
    }

    /// Sets the note for operators of a release that is active; its state does not change. One that is not active any
    /// more keeps the reason for that.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_note(&self, digest: Digest, note: &str) -> Result<(), StoreError> {
        let statement = self.query("UPDATE releases SET state_reason = $2 WHERE digest = $1 AND active");
        self.write("annotate a release", statement.bind(digest.to_string()).bind(clean(note))).await?;
        Ok(())
    }

    /// Rolls a release back: in one transaction another one collects in its place, it is withdrawn, every account that
    /// failed under it in a way that may be its fault is planned again in the run it belongs to, and
    /// `connector.rolled_back` is written. None where it neither is active nor a canary any more: another host was
    /// faster.
    ///
    /// # Errors
    /// [`StoreError::NotGranted`] when the other release may not be activated.
    pub async fn release_roll_back(
        &self,
        scope: &Scope,
        rollback: &Rollback<'_>,
        weights: &Weights,
        now: DateTime<Utc>,
    ) -> Result<Option<Recollection>, StoreError> {
        scope.require_all("roll a release back")?;
        let mut work = self.begin().await?;
        // Accounts that are planned again may not go between being found and being added.
        erasures_hold_off_in_txn(&mut work).await?;
        platform_lock_in_txn(&mut work, rollback.platform).await?;
        let statement = work.query(
            "SELECT r.name, r.version, r.active::int AS active, r.activated_at::text AS activated_at,
                 c.started_at::text AS started_at
             FROM releases r LEFT JOIN canaries c ON c.platform = r.platform AND c.release_digest = r.digest
             WHERE r.digest = $1 AND r.platform = $2",
        );
        let statement = statement.bind(rollback.from.to_string()).bind(rollback.platform.as_str().to_owned());
        let Some(row) = work.row("read a release", statement).await? else { return Ok(None) };
        let (is_active, canary_since) = (row.truth("active")?, row.time_or_null("started_at")?);
        let (name, version) = (row.text("name")?, row.text("version")?);
        let since = match (is_active, canary_since) {
            (true, _) => {
                release_activate_in_txn(&mut work, rollback.to, SwapCause::RolledBack, Some(rollback.reason), now)
                    .await?;
                row.time_or_null("activated_at")?.unwrap_or(now)
            }
            (false, Some(since)) => since,
            (false, None) => return Ok(None),
        };
        let statement = work.query("DELETE FROM canaries WHERE platform = $1 AND release_digest = $2");
        let statement = statement.bind(rollback.platform.as_str().to_owned()).bind(rollback.from.to_string());
        work.execute("end a canary", statement).await?;
        let statement = work.query(
            "UPDATE releases SET state = 'withdrawn', state_reason = $2, wanted = FALSE, staged_until = NULL
                 WHERE digest = $1",
        );
        let statement = statement.bind(rollback.from.to_string()).bind(clean(rollback.reason));
        work.execute("withdraw a release", statement).await?;
        let recollected = recollect_in_txn(&mut work, rollback, since, weights, now).await?;
        let event = Event {
            id: uuid::Uuid::now_v7(),
            kind: types::CONNECTOR_ROLLED_BACK.to_owned(),
            artist_id: None,
            occurred_at: now,
            dedup_key: None,
            data: json!({
                "platform": rollback.platform, "name": name, "version": version, "digest": rollback.from,
                "to": rollback.to,
                "canary": !is_active, "reason": rollback.reason, "complaints": rollback.regressions,
                "accounts": recollected.accounts,
            }),
        };
        events_write_in_txn(&mut work, &[event]).await?;
        notify(&mut work, Topic::Releases).await?;
        notify(&mut work, Topic::Work).await?;
        work.commit().await?;
        Ok(Some(recollected))
    }

    /// Plans accounts again that have failed since then under a release that was withdrawn: batches that were under
    /// way when it was ended on it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_recollect(
        &self,
        scope: &Scope,
        rollback: &Rollback<'_>,
        since: DateTime<Utc>,
        weights: &Weights,
        now: DateTime<Utc>,
    ) -> Result<Recollection, StoreError> {
        scope.require_all("plan what failed under a release")?;
        let mut work = self.begin().await?;
        // Accounts that are planned again may not go between being found and being added.
        erasures_hold_off_in_txn(&mut work).await?;
        platform_lock_in_txn(&mut work, rollback.platform).await?;
        let recollected = recollect_in_txn(&mut work, rollback, since, weights, now).await?;
        if !recollected.runs.is_empty() {
            notify(&mut work, Topic::Work).await?;
        }
        work.commit().await?;
        Ok(recollected)
    }

    /// The documents a platform's accounts were last collected with, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_documents_list(
        &self,
        scope: &Scope,
        platform: &Platform,
        limit: u32,
    ) -> Result<Vec<LastDocument>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT d.id::text AS id, d.account_id::text AS account_id, d.metric_date::text AS metric_date,
                 d.run_id::text AS run_id,
                 d.observed_at::text AS observed_at, d.window_since::text AS window_since,
                 d.window_until::text AS window_until
             FROM accounts a JOIN documents d ON d.id = (
                 SELECT l.id FROM documents l WHERE l.account_id = a.id
                 ORDER BY l.metric_date DESC, l.observed_at DESC, l.id DESC LIMIT 1)
             WHERE a.platform = $1 {and_artist: a.artist_id} ORDER BY d.observed_at DESC, d.account_id LIMIT $2",
        );
        let statement = statement.bind(platform.as_str().to_owned()).bind(i64::from(limit));
        let rows = self.rows("find the last documents", statement).await?;
        self.unreadable.read("documents", "id", Extent::Part, &rows, |row| {
            Ok(LastDocument {
                account: row.parsed("account_id")?,
                metric_date: row.date("metric_date")?,
                id: row.parsed("id")?,
                run_id: row.parsed("run_id")?,
                observed_at: row.time("observed_at")?,
                window: Window { since: row.time("window_since")?, until: row.time("window_until")? },
            })
        })
    }

    /// What is known of accounts besides the rows of these dates; nothing is locked and nothing is written. An account
    /// may be asked for once. Accounts outside of the scope are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn histories_of(
        &self,
        scope: &Scope,
        wanted: &[(AccountId, NaiveDate)],
    ) -> Result<HashMap<AccountId, AccountHistory>, StoreError> {
        let mut work = self.begin().await?;
        let mut wanted = wanted.to_vec();
        if scope.only().is_some() {
            let accounts: Vec<AccountId> = wanted.iter().map(|(account, _)| *account).collect();
            let statement = work.scoped(
                scope,
                "SELECT a.id::text AS id FROM {rows} JOIN accounts a ON a.id = (r.value->>'id')::uuid
                 WHERE TRUE {and_artist: a.artist_id}",
            );
            let rows = work.rows("find accounts", statement.bind(id_rows(&accounts)?)).await?;
            let own = rows.iter().map(|row| row.parsed("id")).collect::<Result<BTreeSet<AccountId>, _>>()?;
            wanted.retain(|(account, _)| own.contains(account));
        }
        Ok(history::histories_load_in_txn(&mut work, &wanted).await?.0)
    }
}

/// Locks a platform's row, where concurrent swaps of its releases meet.
async fn platform_lock_in_txn(work: &mut Work, platform: &Platform) -> Result<(), StoreError> {
    let statement = work.query("SELECT platform FROM platforms WHERE platform = $1 FOR UPDATE");
    work.row("lock a platform", statement.bind(platform.as_str().to_owned())).await?;
    Ok(())
}

/// Whether a run that began later than this one has planned the account of a row `o` for its date or a later one,
/// whatever came of it: what it was excluded for at planning says nothing about the date.
macro_rules! planned_since {
    ($run:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM batch_accounts n JOIN batches nb ON nb.id = n.batch_id
                  JOIN runs nr ON nr.id = nb.run_id
                  WHERE n.account_id = o.account_id AND n.metric_date >= o.metric_date
                      AND nr.started_at > (SELECT r.started_at FROM runs r WHERE r.id = ",
            $run,
            "))
              OR EXISTS (SELECT 1 FROM collection_outcomes n JOIN runs nr ON nr.id = n.run_id
                  WHERE n.account_id = o.account_id AND n.metric_date >= o.metric_date
                      AND (n.outcome <> 'excluded' OR n.reason = 'cancelled')
                      AND nr.started_at > (SELECT r.started_at FROM runs r WHERE r.id = ",
            $run,
            ")))"
        )
    };
}

/// An account to be collected again.
struct Failed {
    run: RunId,
    tenant: Tenant,
    account: BatchAccount,
}

/// Windows and lanes of the batches that accounts are planned into again.
#[derive(Default)]
struct Places {
    by_account: HashMap<(RunId, AccountId), (Window, bool)>,
    by_date: HashMap<(RunId, Tenant, NaiveDate), (Window, bool)>,
}

/// Plans every account again that failed under a release since then; their runs go on. A run that was cancelled does
/// not, and neither does what a newer plan includes.
async fn recollect_in_txn(
    work: &mut Work,
    rollback: &Rollback<'_>,
    since: DateTime<Utc>,
    weights: &Weights,
    now: DateTime<Utc>,
) -> Result<Recollection, StoreError> {
    let dead = work.query(concat!(
        "SELECT b.id::text AS id, b.run_id::text AS run_id, b.tenant, b.platform FROM batches b
         WHERE b.state = 'dead' AND b.release_digest = $1 AND b.finished_at >= $2::timestamptz
             AND EXISTS (SELECT 1 FROM batch_accounts o WHERE o.batch_id = b.id AND NOT ",
        planned_since!("b.run_id"),
        ") ORDER BY b.turn, b.id FOR UPDATE"
    ));
    let dead = work.rows("find dead batches", dead.bind(rollback.from.to_string()).bind(time_text(since))).await?;
    let mut dead = work.unreadable.read("batches", "id", Extent::Part, &dead, WaitingBatch::of)?;
    let mut failed = failed_under(work, rollback.from, since).await?;
    let runs = failed.iter().map(|failed| failed.run).chain(dead.iter().map(|batch| batch.run_id)).collect();
    let runs = runs_lock_in_txn(work, &runs).await?;
    // The other release tries the accounts that were said to need a reconnection, or not to exist, before that is
    // believed, those of a cancelled run with its next run.
    let rows: Vec<_> = failed.iter().map(|failed| json!({ "id": failed.account.account_id })).collect();
    let statement = work.query(
        "UPDATE accounts SET status = 'active', updated_at = $2::timestamptz
         WHERE id IN (SELECT a.id FROM accounts a
             WHERE a.status IN ('reconnect_needed', 'not_found') AND a.id {in_ids}
             ORDER BY a.id FOR NO KEY UPDATE)",
    );
    work.execute("reset accounts to be tried again", statement.bind(json("account ids", &rows)?).bind(time_text(now)))
        .await?;

    let goes_on = |run: &RunId| runs.get(run).is_some_and(|found| found.status != RunStatus::Cancelled);
    failed.retain(|failed| goes_on(&failed.run));
    dead.retain(|batch| goes_on(&batch.run_id));

    let again: BTreeSet<RunId> = failed.iter().map(|failed| failed.run).collect();
    let batches = batches_for(&failed, &places(work, rollback.platform, &again).await?, rollback);
    batches_add_in_txn(work, &batches, weights, now).await?;
    let mut recollected = Recollection::default();
    for batch in &batches {
        let accounts = batch.accounts.len() as u64;
        // They were planned before, and are not planned twice.
        let statement = work.query("UPDATE runs SET planned = {lowered: planned - $2::bigint} WHERE id = $1::uuid");
        let statement = statement.bind(batch.run_id.to_string()).bind(i64::try_from(accounts).unwrap_or(i64::MAX));
        work.execute("count what is planned", statement).await?;
        recollected.accounts += accounts;
        recollected.runs.insert(batch.run_id);
    }
    if !dead.is_empty() {
        recollected.runs.extend(dead.iter().map(|batch| batch.run_id));
        recollected.accounts += batches_plan_again_in_txn(work, &dead, weights, now).await?.1;
    }
    runs_reopen_in_txn(work, &recollected.runs).await?;
    Ok(recollected)
}

/// Accounts whose latest outcome in a run is a failure under this release that it may have caused, that are in no open
/// batch of the run, and that no later run has planned for the same date or a later one.
async fn failed_under(work: &mut Work, release: Digest, since: DateTime<Utc>) -> Result<Vec<Failed>, StoreError> {
    let statement = work.query(concat!(
        "SELECT o.run_id::text AS run_id, o.account_id::text AS account_id, o.metric_date::text AS metric_date,
             o.reason, t.tenant
         FROM collection_outcomes o JOIN artists t ON t.id = o.artist_id
         WHERE o.at >= $2::timestamptz AND o.release_digest = $1 AND o.outcome = 'failed'
             AND NOT EXISTS (SELECT 1 FROM batch_accounts m JOIN batches b ON b.id = m.batch_id
                 WHERE m.account_id = o.account_id AND b.run_id = o.run_id AND (b.finished_at IS NULL
                     OR b.state = 'dead'))
             AND NOT ",
        planned_since!("o.run_id"),
        " ORDER BY o.account_id"
    ));
    let rows =
        work.rows("find accounts that failed", statement.bind(release.to_string()).bind(time_text(since))).await?;
    let failed = work.unreadable.read("collection_outcomes", "account_id", Extent::Part, &rows, |row| {
        let class: Option<FailureClass> = serde_json::from_value(Json::String(row.text("reason")?)).ok();
        let account = BatchAccount { account_id: row.parsed("account_id")?, metric_date: row.date("metric_date")? };
        let failed = Failed { run: row.parsed("run_id")?, tenant: row.parsed("tenant")?, account };
        Ok(class.is_some_and(FailureClass::is_collected_again_after_rollback).then_some(failed))
    })?;
    Ok(failed.into_iter().flatten().collect())
}

async fn places(work: &mut Work, platform: &Platform, runs: &BTreeSet<RunId>) -> Result<Places, StoreError> {
    let rows: Vec<_> = runs.iter().map(|run| json!({ "id": run })).collect();
    let statement = work.query(
        "SELECT b.id::text AS id, b.run_id::text AS run_id, b.tenant, b.lane,
             b.window_since::text AS window_since, b.window_until::text AS window_until,
             m.account_id::text AS account_id, m.metric_date::text AS metric_date
         FROM {rows} JOIN batches b ON b.run_id = (r.value->>'id')::uuid JOIN batch_accounts m ON m.batch_id = b.id
         WHERE b.platform = $2",
    );
    let statement = statement.bind(json("run ids", &rows)?).bind(platform.as_str().to_owned());
    let rows = work.rows("read runs' batches", statement).await?;
    let found = work.unreadable.read("batches", "id", Extent::Part, &rows, |row| {
        let (run, account): (RunId, AccountId) = (row.parsed("run_id")?, row.parsed("account_id")?);
        let window = Window { since: row.time("window_since")?, until: row.time("window_until")? };
        let place = (window, row.text_or_null("lane")?.is_some());
        Ok(((run, account), (run, row.parsed("tenant")?, row.date("metric_date")?), place))
    })?;
    let mut places = Places::default();
    for (account, date, place) in found {
        places.by_account.insert(account, place);
        places.by_date.insert(date, place);
    }
    Ok(places)
}

/// Batches of the run, tenant, date and window that the accounts belong to.
fn batches_for(failed: &[Failed], places: &Places, rollback: &Rollback<'_>) -> Vec<Batch> {
    type Group<'a> = (RunId, &'a Tenant, NaiveDate, DateTime<Utc>, DateTime<Utc>, bool);
    let mut groups: BTreeMap<Group<'_>, Vec<BatchAccount>> = BTreeMap::new();
    for Failed { run, tenant, account } in failed {
        let own = places.by_account.get(&(*run, account.account_id));
        let place = own.or_else(|| places.by_date.get(&(*run, tenant.clone(), account.metric_date)));
        // All of the run's accounts of that date have been erased: no account is left to be collected.
        let Some((window, canary)) = place else { continue };
        let group = (*run, tenant, account.metric_date, window.since, window.until, *canary);
        groups.entry(group).or_default().push(*account);
    }
    let mut batches = Vec::new();
    for ((run_id, tenant, _, since, until, canary), accounts) in groups {
        batches.extend(accounts.chunks(rollback.batch_size.max(1)).map(|accounts| Batch {
            id: BatchId::generate(),
            run_id,
            tenant: tenant.clone(),
            platform: rollback.platform.clone(),
            release: rollback.to,
            canary,
            window: Window { since, until },
            accounts: accounts.to_vec(),
            attempts: 0,
        }));
    }
    batches
}

/// The share that is all accounts.
const SHARE_MAX: u32 = 10_000;

fn canary_of(row: &AnyRow) -> Result<Canary, StoreError> {
    let share = row.times("share")?;
    if share > SHARE_MAX {
        return Err(unreadable("share", format!("{share} parts of {SHARE_MAX}")));
    }
    Ok(Canary {
        platform: row.parsed("platform")?,
        release: row.parsed("release_digest")?,
        share,
        started_at: row.time("started_at")?,
        promote_at: row.time_or_null("promote_at")?,
    })
}
