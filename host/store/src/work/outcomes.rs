//! How each account ended in each run.
//!
//! An account that was collected when its batch ended has no row of its own: the batch says it of all its accounts
//! (`batches.collected_at`), except of those that have a row. The view `outcomes_all` shows both alike.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::artists::tombstones::erasures_hold_off_in_txn;
use crate::database::connection::{ReadView, Store, Work};
use crate::database::dialect::{Columns as _, json, time_text, unreadable};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, left_of, more_after};
use crate::database::rows::{ROWS_PER_STATEMENT, id_rows};
use crate::scope::Scope;
use backline_model::outcome::{Exclusion, FailureClass, Outcome, OutcomeKind};
use backline_model::retention::RetainedTable;
use backline_model::{AccountId, ArtistId, BatchId, Digest, Platform, RunId};

/// The reason of collected accounts whose numbers are stored under another date than the one that was planned.
const LATE: &str = "late";

/// How one account ended.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountOutcome {
    /// The account.
    pub account_id: AccountId,
    /// The date its numbers are for.
    pub metric_date: NaiveDate,
    /// How it ended.
    pub outcome: Outcome,
    /// Attempts used up.
    pub attempts: u32,
    /// The date that was planned, where the numbers were observed too late to be stored under it.
    pub planned_for: Option<NaiveDate>,
    /// What is to be said of an account that was excluded or superseded, besides why.
    pub note: Option<String>,
}

/// The same with the names of artist and account.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct NamedOutcome {
    /// The account.
    pub account_id: AccountId,
    /// The artist of the account.
    pub artist_id: ArtistId,
    /// The artist's name.
    pub artist_name: String,
    /// Platform of the account or release.
    pub platform: Platform,
    /// The platform's id of it.
    pub platform_id: String,
    /// The date its numbers are for.
    pub metric_date: NaiveDate,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Attempts used up.
    pub attempts: u32,
    /// When that was written.
    pub at: DateTime<Utc>,
    /// What is to be said besides: of numbers that were collected, that they were planned for an earlier date; of an
    /// account that was excluded or superseded after it was planned, where it stood then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The run that collected the account later, for this date or one after it: what was wrong is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_by: Option<RunId>,
}

/// Which of a run's outcomes to list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    /// All of them.
    All,
    /// Those of one kind.
    Kind(OutcomeKind),
    /// Those of accounts that were not collected as they were planned.
    NotAsPlanned,
}

/// How many accounts of a platform ended in one way.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct PlatformOutcome {
    /// Platform of the account or release.
    pub platform: Platform,
    /// `collected`, `deferred`, `excluded`, `superseded` or `failed`.
    pub outcome: String,
    /// The failure's class or the exclusion's reason.
    pub reason: Option<String>,
    /// Number of accounts.
    pub accounts: u64,
}

impl Store {
    /// A run's outcomes, in order of account. `after` is for paging.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run_outcomes_list(
        &self,
        scope: &Scope,
        run: RunId,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<NamedOutcome>, StoreError> {
        outcomes_in(&mut self.read_view().await?, scope, run, after, Which::All, limit).await
    }

    /// The same of one kind.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run_outcomes_of_kind_list(
        &self,
        scope: &Scope,
        run: RunId,
        kind: OutcomeKind,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<NamedOutcome>, StoreError> {
        outcomes_in(&mut self.read_view().await?, scope, run, after, Which::Kind(kind), limit).await
    }
}

/// A run's outcomes, in order of account, after one.
pub(crate) async fn outcomes_in(
    view: &mut ReadView,
    scope: &Scope,
    run: RunId,
    after: Option<AccountId>,
    which: Which,
    limit: u32,
) -> Result<Vec<NamedOutcome>, StoreError> {
    let mut after = after.map_or_else(|| uuid::Uuid::nil().to_string(), |id| id.to_string());
    let mut found = Vec::new();
    loop {
        let statement = view.scoped(
        scope,
        "SELECT o.account_id::text AS account_id, o.artist_id::text AS artist_id, t.name AS artist_name, o.platform,
             a.platform_id, o.metric_date::text AS metric_date, o.outcome, o.reason, o.message,
             o.deferred_until::text AS deferred_until, o.attempts, o.at::text AS at,
             CASE WHEN o.outcome <> 'collected' THEN
                 (SELECT x.run_id::text FROM metrics x WHERE x.account_id = o.account_id
                     AND x.metric_date >= o.metric_date AND x.observed_at > o.at
                  ORDER BY x.metric_date LIMIT 1) END AS fixed_by
         FROM outcomes_all o JOIN accounts a ON a.id = o.account_id JOIN artists t ON t.id = o.artist_id
         WHERE o.run_id = $1::uuid AND o.account_id > $2::uuid
             AND ($4 = 1 OR o.outcome <> 'collected' OR o.reason IS NOT NULL)
             AND ($5::text IS NULL OR o.outcome = $5)
             {and_tenant: t.tenant}
         ORDER BY o.account_id LIMIT $3",
    );
        let asked = left_of(limit, found.len());
        let (collected_too, kind) = match which {
            Which::All => (true, None),
            Which::Kind(kind) => (true, Some(kind.as_str().to_owned())),
            Which::NotAsPlanned => (false, None),
        };
        let statement = statement
            .bind(run.to_string())
            .bind(after)
            .bind(i64::from(asked))
            .bind(i64::from(collected_too))
            .bind(kind);
        let rows = view.rows("read outcomes", statement).await?;
        found.extend(view.unreadable.read("collection_outcomes", "account_id", Extent::Part, &rows, named_of)?);
        let last = more_after(&rows, asked, found.len(), limit);
        let Some(place) = last.and_then(|last| last.above("account_id")) else { return Ok(found) };
        after = place;
    }
}

fn named_of(row: &AnyRow) -> Result<NamedOutcome, StoreError> {
    let outcome = outcome_of(row)?;
    let note = note_of(row, &outcome)?;
    Ok(NamedOutcome {
        account_id: row.parsed("account_id")?,
        artist_id: row.parsed("artist_id")?,
        artist_name: row.told("artist_name")?,
        platform: row.parsed("platform")?,
        platform_id: row.told("platform_id")?,
        metric_date: row.date("metric_date")?,
        outcome,
        attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
        at: row.time("at")?,
        note,
        fixed_by: row.parsed_or_null("fixed_by")?,
    })
}

/// A run's accounts by platform, outcome and reason, and whether these are all: what can't be read is left out.
pub(crate) async fn summary_in(
    view: &mut ReadView,
    scope: &Scope,
    run: RunId,
) -> Result<(Vec<PlatformOutcome>, bool), StoreError> {
    let statement = view.scoped(
        scope,
        "SELECT platform, outcome, reason, COUNT(*)::bigint AS accounts FROM outcomes_all WHERE run_id = $1::uuid
         {and_artist: artist_id} GROUP BY platform, outcome, reason",
    );
    let rows = view.rows("count outcomes", statement.bind(run.to_string())).await?;
    let mut summary = view.unreadable.read("collection_outcomes", "platform", Extent::Part, &rows, |row| {
        Ok(PlatformOutcome {
            platform: row.parsed("platform")?,
            outcome: row.text("outcome")?,
            reason: row.text_or_null("reason")?,
            accounts: row.count("accounts")?,
        })
    })?;
    summary.sort_by(|a, b| (&a.platform, &a.outcome, &a.reason).cmp(&(&b.platform, &b.outcome, &b.reason)));
    let is_whole = summary.len() == rows.len();
    Ok((summary, is_whole))
}

/// Writes outcomes; a later one of the same run and account replaces the earlier, also among those given: an account
/// may be in several batches of a run, such as the halves of one. Accounts that have been erased are left out.
/// `release` is the one they were collected with, where they reached a batch.
pub(crate) async fn outcomes_save_in_txn(
    work: &mut Work,
    run: RunId,
    release: Option<Digest>,
    outcomes: &[AccountOutcome],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let latest: BTreeMap<AccountId, &AccountOutcome> =
        outcomes.iter().map(|outcome| (outcome.account_id, outcome)).collect();
    let latest: Vec<&AccountOutcome> = latest.into_values().collect();
    for chunk in latest.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|outcome| {
                let late = outcome.planned_for.map(|date| {
                    let when = if date > outcome.metric_date { "before it had begun" } else { "too late for it" };
                    format!("planned for {date}, and observed {when}")
                });
                let note = outcome.note.as_deref();
                let (reason, message, until) = match &outcome.outcome {
                    Outcome::Collected => (late.as_ref().map(|_| LATE), late.as_deref(), None),
                    Outcome::Superseded => (None, note, None),
                    Outcome::Deferred { until, message } => (None, Some(message.as_str()), Some(time_text(*until))),
                    Outcome::Excluded { reason } => (Some(reason.as_str()), note, None),
                    Outcome::Failed { class, message } => (Some(class.as_str()), Some(message.as_str()), None),
                };
                json!({
                    "account": outcome.account_id, "date": outcome.metric_date, "outcome": outcome.outcome.as_str(),
                    "reason": reason,
                    "message": message, "until": until, "attempts": outcome.attempts,
                })
            })
            .collect();
        let statement = work.query(
            "INSERT INTO collection_outcomes
                 (run_id, account_id, artist_id, platform, metric_date, outcome, reason, message, deferred_until,
                  attempts, at,
                  release_digest)
             SELECT $2::uuid, a.id, a.artist_id, a.platform, (r.value->>'date')::date, r.value->>'outcome',
                 r.value->>'reason',
                 r.value->>'message', (r.value->>'until')::timestamptz, (r.value->>'attempts')::bigint,
                 $3::timestamptz, $4
             FROM {rows} LEFT JOIN accounts a ON a.id = (r.value->>'account')::uuid WHERE (a.id IS NULL) = FALSE
             ON CONFLICT (run_id, account_id) DO UPDATE SET metric_date = excluded.metric_date,
                 outcome = excluded.outcome,
                 reason = excluded.reason, message = excluded.message, deferred_until = excluded.deferred_until,
                 attempts = excluded.attempts, at = excluded.at, release_digest = excluded.release_digest",
        );
        let statement = statement.bind(json("outcomes", &rows)?).bind(run.to_string()).bind(time_text(now));
        let statement = statement.bind(release.map(|digest| digest.to_string()));
        work.execute("record outcomes", statement).await?;
    }
    Ok(())
}

/// The accounts of batches that have no outcome but what their batch says.
macro_rules! of_batches {
    () => {
        "FROM batches b JOIN batch_accounts m ON m.batch_id = b.id JOIN accounts a ON a.id = m.account_id
         WHERE b.id {in_ids} AND b.collected_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM collection_outcomes o
             WHERE o.run_id = b.run_id AND o.account_id = m.account_id)"
    };
}

impl Store {
    /// Takes from batches what they say of their accounts, before outcomes older than a time are deleted, or the
    /// batches themselves: outcomes are then forgotten, or get rows of their own. A few batches at a time, the oldest
    /// first; until none is left, nothing of these tables may be deleted, since an account would seem collected whose
    /// row says otherwise. Returns how many outcomes were forgotten, or none where no batch is left.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn batches_outcomes_take(
        &self,
        table: RetainedTable,
        before: &str,
        limit: u32,
    ) -> Result<Option<u64>, StoreError> {
        let forget = table == RetainedTable::CollectionOutcomes;
        let text = match table {
            RetainedTable::CollectionOutcomes => {
                "SELECT id::text AS id FROM batches WHERE collected_at < $1::timestamptz
                 ORDER BY batches.collected_at LIMIT $2 OFFSET $3 FOR UPDATE"
            }
            RetainedTable::Batches => {
                "SELECT id::text AS id FROM batches WHERE collected_at IS NOT NULL AND finished_at < $1::timestamptz
                 ORDER BY batches.finished_at LIMIT $2 OFFSET $3 FOR UPDATE"
            }
            _ => return Ok(None),
        };
        let mut work = self.begin().await?.proven(self).await?;
        // An erasure has the accounts whose outcomes are added below, and then blanks texts of batches.
        erasures_hold_off_in_txn(&mut work).await?;
        let mut passed = 0_i64;
        let batches: Vec<BatchId> = loop {
            let statement = work.query(text).bind(before.to_owned()).bind(i64::from(limit)).bind(passed);
            let rows = work.rows("find batches with outcomes", statement).await?;
            let id = |row: &AnyRow| row.parsed("id");
            let batches = work.unreadable.read("batches", "id", Extent::Columns, &rows, id)?;
            if !batches.is_empty() {
                break batches;
            }
            if rows.is_empty() {
                return Ok(None);
            }
            // None of them can be asked for. Many are of one time, so their number is the place behind them.
            passed += i64::try_from(rows.len()).unwrap_or(i64::MAX);
        };
        let ids = id_rows(&batches)?;
        let forgotten = if forget {
            let statement = work.query(concat!("SELECT COUNT(*)::bigint AS n ", of_batches!()));
            let row = work.row("count outcomes of batches", statement.bind(ids.clone())).await?;
            row.map_or(Ok(0), |row| row.count("n"))?
        } else {
            let statement = work.query(concat!(
                "INSERT INTO collection_outcomes (run_id, account_id, artist_id, platform, metric_date, outcome,
                     attempts, at, release_digest)
                 SELECT b.run_id, m.account_id, a.artist_id, b.platform, m.metric_date, 'collected',
                     {counted: b.attempts + 1}, b.collected_at, b.release_digest ",
                of_batches!(),
                " ON CONFLICT (run_id, account_id) DO NOTHING"
            ));
            work.execute("give outcomes rows of their own", statement.bind(ids.clone())).await?;
            0
        };
        let statement = work.query("UPDATE batches SET collected_at = NULL WHERE id {in_ids}");
        work.execute("take outcomes from batches", statement.bind(ids)).await?;
        work.commit().await?;
        Ok(Some(forgotten))
    }
}

/// What is to be said of an outcome that has no message of its own.
pub(crate) fn note_of(row: &AnyRow, outcome: &Outcome) -> Result<Option<String>, StoreError> {
    match outcome {
        Outcome::Collected | Outcome::Superseded | Outcome::Excluded { .. } => row.text_or_null("message"),
        Outcome::Deferred { .. } | Outcome::Failed { .. } => Ok(None),
    }
}

/// Reads the outcome out of a row with its columns.
pub(crate) fn outcome_of(row: &AnyRow) -> Result<Outcome, StoreError> {
    let message = || Ok::<_, StoreError>(row.text_or_null("message")?.unwrap_or_default());
    // The enums' serde names are the names in the table.
    let reason = |what: &str| unreadable("reason", format!("'{what}'"));
    Ok(match row.text("outcome")?.as_str() {
        "collected" => Outcome::Collected,
        "superseded" => Outcome::Superseded,
        "deferred" => Outcome::Deferred { until: row.time("deferred_until")?, message: message()? },
        "excluded" => {
            let name = row.text("reason")?;
            let exclusion: Exclusion = serde_json::from_value(name.clone().into()).map_err(|_| reason(&name))?;
            Outcome::Excluded { reason: exclusion }
        }
        "failed" => {
            let name = row.text("reason")?;
            let class: FailureClass = serde_json::from_value(name.clone().into()).map_err(|_| reason(&name))?;
            Outcome::Failed { class, message: message()? }
        }
        other => return Err(unreadable("outcome", format!("'{other}'"))),
    })
}
