//! The unit of work that ends a batch: all results of its accounts are written in the transaction that ends
//! the lease, or nothing.
//!
//! ```text
//! let mut completion = store.completion_begin(&lease, now).await?;   // checks the token, locks the accounts
//! completion.older_dates_add(rows).await?;                           // of past dates, one date after the other
//! let histories = completion.history_load(&accounts).await?;         // what the stages compare with
//! …                                                                  // the stages run
//! completion.commit(result).await?;                                  // or drop it: nothing has happened
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::known_months::KnownMonths;
use crate::database::rows::{ROWS_PER_STATEMENT, id_rows};
use crate::events::outbox::row_events_write_in_txn;
use crate::events::row_data::row_data_keep_in_txn;
use crate::numbers::documents::documents_add_in_txn;
use crate::numbers::history::{self, AccountHistory};
use crate::numbers::metrics::{Present, metrics_save_in_txn};
use crate::numbers::quarantine::quarantine_add_in_txn;
use crate::releases::canaries::tally_add_in_txn;
use crate::releases::installed::LOST_FOR;
use crate::work::locks::{AccountFacts, account_facts_in_txn, account_states_save_in_txn, accounts_lock_in_txn};
use crate::work::outcomes::{AccountOutcome, outcomes_save_in_txn};
use crate::work::parts::{Part, part_split_off_in_txn};
use crate::work::result::{AccountResult, BatchResult, BatchWrite, Completed, PluginLog, StoredAccount};
use backline_model::account::NOT_FOUND_DATES_MAX;
use backline_model::event::types;
use backline_model::kill_points::{Point, point};
use backline_model::outcome::{Exclusion, FailureClass, Outcome};
use backline_model::run::RunCounts;
use backline_model::{AccountId, AccountStatus, BatchState, Event, Lease, LostMetric};

/// Most lost metrics of one release. Each is handed to every later batch, and makes an event.
const LOST_METRICS_MAX: usize = 256;

/// What is said of accounts whose numbers could be stored under no date.
const ON_ANOTHER_DATE: &str = "its turn came on another date, which was collected already";

impl Store {
    /// Begins to complete a batch: checks that the lease still holds, and locks the accounts so that nothing else
    /// changes their rows until the end. Heartbeats must have stopped before, since they would wait for this.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when another worker has taken the batch over.
    pub async fn completion_begin(&self, lease: &Lease, now: DateTime<Utc>) -> Result<Completion, StoreError> {
        self.months_ensure_for_batch(lease.batch.accounts.iter().map(|account| account.metric_date), now).await?;
        let mut work = self.begin_by_key().await?;
        let began = Instant::now();
        let statement = work.query(
            "SELECT usage::text AS usage FROM batches
             WHERE id = $1::uuid AND lease_token = $2 AND state = 'leased' AND finished_at IS NULL FOR UPDATE",
        );
        let statement = statement.bind(lease.batch.id.to_string()).bind(lease.token);
        let Some(row) = work.row("check a lease", statement).await? else {
            return Err(StoreError::LeaseLost { batch: lease.batch.id });
        };
        // What it used before is only counted: where that can't be read, what it uses from now on is.
        let used = row.json_or_null("usage").unwrap_or_default().unwrap_or_default();
        let accounts: Vec<AccountId> = lease.batch.accounts.iter().map(|account| account.account_id).collect();
        let alive = accounts_lock_in_txn(&mut work, &accounts).await?;
        // A withdrawal locks the accounts too: what is read now holds until the commit.
        let facts = account_facts_in_txn(&mut work, &accounts, lease.batch.run_id).await?;
        let (lease, months, without_row) = (lease.clone(), self.months.clone(), HashSet::new());
        let (completed, older) = (Arc::clone(&self.completed), Vec::new());
        Ok(Completion { work, began, lease, alive, facts, used, without_row, older, months, completed, now })
    }

    /// Completes a batch none of whose accounts is stored, so that nothing has to be compared.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when another worker has taken the batch over.
    pub async fn batch_complete(
        &self,
        lease: &Lease,
        result: BatchResult,
        now: DateTime<Utc>,
    ) -> Result<Completed, StoreError> {
        self.completion_begin(lease, now).await?.commit(result).await
    }
}

/// The completion of a batch under way. Dropping it undoes everything; the lease stays until it expires.
pub struct Completion {
    work: Work,
    /// When the transaction had begun.
    began: Instant,
    lease: Lease,
    alive: HashSet<AccountId>,
    /// What the batch used before: it may be one that was tried or deferred already.
    used: Json,
    facts: AccountFacts,
    /// Accounts and dates that are known to have no row yet.
    without_row: HashSet<(AccountId, NaiveDate)>,
    /// What was added of past dates. Their rows are written already, so that later dates are compared with them.
    older: Vec<AccountResult>,
    months: KnownMonths,
    /// Counts the batches that this process has completed.
    completed: Arc<AtomicU32>,
    now: DateTime<Utc>,
}

impl Completion {
    /// What is known of these accounts besides the rows of these dates. Every account asked for has an entry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn history_load(
        &mut self,
        wanted: &[(AccountId, NaiveDate)],
    ) -> Result<HashMap<AccountId, AccountHistory>, StoreError> {
        let histories = history::histories_of_in_txn(&mut self.work, wanted, &self.facts.accepted).await?;
        let has_none = |account: &AccountId| histories.get(account).is_some_and(AccountHistory::has_no_row);
        self.without_row.extend(wanted.iter().filter(|(account, _)| has_none(account)));
        Ok(histories)
    }

    /// Adds what was fetched of one past date besides, of accounts that are stored for their own date too. It is read
    /// by what is loaded afterwards, so dates are added from the oldest on. No account ends with it.
    ///
    /// # Errors
    /// When a value fits no column or the database fails; nothing can be committed then.
    pub async fn older_dates_add(&mut self, mut accounts: Vec<AccountResult>) -> Result<(), StoreError> {
        let facts = &mut self.facts;
        accounts.retain(|account| {
            self.alive.contains(&account.account_id) && !facts.withdrawn.contains(&account.account_id)
        });
        let stored: Vec<&StoredAccount> = accounts.iter().filter_map(|account| account.stored.as_ref()).collect();
        for account in &stored {
            history::accept(facts.accepted.entry(account.row.account_id).or_default(), &account.row);
        }
        rows_write_in_txn(&mut self.work, &stored, &self.without_row, self.now)
            .await
            .inspect_err(|_| self.months.forget())?;
        for account in &stored {
            self.without_row.remove(&(account.row.account_id, account.row.metric_date));
        }
        self.older.extend(accounts);
        Ok(())
    }

    /// Writes everything and ends the lease. Nothing is kept of accounts that have been erased in the meantime, and
    /// of those whose consent was withdrawn nothing but that they were left out for it.
    ///
    /// # Errors
    /// When a value fits no column or the database fails; nothing is written then.
    pub async fn commit(self, result: BatchResult) -> Result<Completed, StoreError> {
        let months = self.months.clone();
        self.write(result).await.inspect_err(|_| months.forget())
    }

    async fn write(mut self, mut result: BatchResult) -> Result<Completed, StoreError> {
        self.drop_forbidden(&mut result);
        let accounts: Vec<&AccountResult> =
            result.accounts.iter().filter(|account| self.alive.contains(&account.account_id)).collect();
        let stored: Vec<&StoredAccount> = accounts.iter().filter_map(|account| account.stored.as_ref()).collect();
        let mut states = Vec::with_capacity(stored.len());
        for account in &stored {
            let mut last = self.facts.accepted.remove(&account.row.account_id).unwrap_or_default();
            history::accept(&mut last, &account.row);
            states.push((account.row.account_id, Some(account.state.clone()), last));
        }

        let told_by_batch = self.told_by_batch(&accounts, &result);
        let work = &mut self.work;
        rows_write_in_txn(work, &stored, &self.without_row, self.now).await?;
        // The rows of past dates are written; what goes with them comes first, as they do.
        let older = std::mem::take(&mut self.older);
        let documents: Vec<_> = older
            .iter()
            .chain(accounts.iter().copied())
            .filter_map(|account| Some((account, account.document.as_ref()?)))
            .collect();
        documents_add_in_txn(work, &self.lease.batch, &documents).await?;
        let all_stored: Vec<&StoredAccount> =
            older.iter().filter_map(|account| account.stored.as_ref()).chain(stored.iter().copied()).collect();
        let withheld: Vec<_> = all_stored.iter().flat_map(|account| &account.withheld).collect();
        quarantine_add_in_txn(work, &withheld).await?;
        account_states_save_in_txn(work, &states, self.now).await?;

        let needs_row = |account: &&&AccountResult| {
            !told_by_batch.contains(&account.account_id) || self.facts.with_outcome.contains(&account.account_id)
        };
        let planned = &self.lease.batch.accounts;
        let planned_dates: HashMap<AccountId, NaiveDate> =
            planned.iter().map(|account| (account.account_id, account.metric_date)).collect();
        let outcomes: Vec<_> = accounts
            .iter()
            .filter(needs_row)
            .map(|account| AccountOutcome {
                account_id: account.account_id,
                metric_date: account.metric_date,
                outcome: account.outcome.clone(),
                attempts: account.attempts,
                planned_for: planned_dates
                    .get(&account.account_id)
                    .copied()
                    .filter(|date| *date != account.metric_date),
                note: (account.outcome == Outcome::Superseded).then(|| ON_ANOTHER_DATE.to_owned()),
            })
            .collect();
        let batch = &self.lease.batch;
        outcomes_save_in_txn(work, batch.run_id, Some(batch.release), &outcomes, self.now).await?;
        tally_add_in_txn(work, batch, &result.tally, self.now).await?;
        let told = asked_to_reconnect(work, &accounts).await?;
        let mut events: Vec<Event> = accounts
            .iter()
            .flat_map(|account| account.events.iter().map(|event| (account.account_id, event)))
            .filter(|(account, event)| event.kind != types::RECONNECT_NEEDED || !told.contains(account))
            .map(|(_, event)| event.clone())
            .collect();
        events.extend(record_lost(work, &self.lease, &result.lost_metrics, self.now).await?);
        let gone = not_found_for_long(work, &accounts).await?;
        events.extend(gone.iter().map(|account| not_found_event(account, self.now)));
        let about_rows: Vec<_> =
            all_stored.iter().flat_map(|account| account.events.iter().map(|event| (&account.row, event))).collect();
        row_events_write_in_txn(work, batch.run_id, &about_rows, &events, self.now).await?;
        insert_logs(work, &self.lease, &result.logs, self.now).await?;
        let gone = gone.iter().map(|account| (account.account_id, AccountStatus::NotFound));
        let statuses: Vec<_> =
            accounts.iter().filter_map(|account| Some((account.account_id, account.status?))).chain(gone).collect();
        change_statuses(work, &statuses, self.now).await?;
        let open = self.give_up(&accounts, &result, !told_by_batch.is_empty()).await?;
        point(Point::BatchWritten);
        let (rows, bytes) = self.work.load();
        self.work.commit().await?;
        let written = BatchWrite { took: self.began.elapsed(), rows, bytes };
        self.completed.fetch_add(1, Ordering::Relaxed);
        point(Point::BatchCommitted);
        Ok(Completed { counts: counts(&accounts), open, written })
    }

    /// Drops what must not be kept.
    fn drop_forbidden(&self, result: &mut BatchResult) {
        for account in result.accounts.iter_mut().filter(|account| self.facts.withdrawn.contains(&account.account_id)) {
            account.outcome = Outcome::Excluded { reason: Exclusion::NoConsent };
            (account.document, account.stored, account.status) = (None, None, None);
            account.events.clear();
        }
        if self.lease.batch.accounts.iter().any(|account| !self.alive.contains(&account.account_id)) {
            // The identifiers of the erased account are gone, so nothing can find them in these texts.
            result.logs.clear();
            for lost in &mut result.lost_metrics {
                lost.reason.clear();
            }
            for account in &mut result.accounts {
                if let Outcome::Failed { message, .. } | Outcome::Deferred { message, .. } = &mut account.outcome {
                    message.clear();
                }
            }
        }
    }

    /// Accounts that end together with the batch and were collected, each for its planned date and at the batch's last
    /// attempt: the batch says so of them, and they need no rows of their own.
    fn told_by_batch(&self, accounts: &[&AccountResult], result: &BatchResult) -> HashSet<AccountId> {
        if !self.parts(accounts, result).is_empty() {
            return HashSet::new();
        }
        let batch = &self.lease.batch;
        let planned: HashSet<_> =
            batch.accounts.iter().map(|account| (account.account_id, account.metric_date)).collect();
        let is_told = |account: &&&AccountResult| {
            account.outcome == Outcome::Collected
                && account.attempts == batch.attempts + 1
                && planned.contains(&(account.account_id, account.metric_date))
        };
        accounts.iter().filter(is_told).map(|account| account.account_id).collect()
    }

    /// Marks the batch as done, or leaves in it what is to be tried again, deferred, or dead, whichever of these comes
    /// first; each of the others goes on as a batch of its own, since it has another time and other attempts. Returns
    /// how many accounts are open. `tells` is whether the batch says that accounts of it were collected.
    async fn give_up(
        &mut self,
        accounts: &[&AccountResult],
        result: &BatchResult,
        tells: bool,
    ) -> Result<u64, StoreError> {
        let mut parts = self.parts(accounts, result).into_iter();
        let stays = parts.next();
        let mut open = stays.as_ref().map_or(0, Part::open);
        for part in parts {
            open += part.open();
            part_split_off_in_txn(&mut self.work, self.lease.batch.id, &part, self.now).await?;
        }
        let stays = stays.unwrap_or_else(|| Part::new(BatchState::Done, self.lease.batch.attempts, self.now));
        if !stays.accounts.is_empty() && stays.accounts.len() < self.lease.batch.accounts.len() {
            let statement = self.work.query(
                "DELETE FROM batch_accounts WHERE batch_id = $2::uuid
                     AND account_id NOT IN (SELECT (r.value->>'id')::uuid FROM {rows})",
            );
            let statement = statement.bind(id_rows(&stays.accounts)?).bind(self.lease.batch.id.to_string());
            self.work.execute("remove finished accounts from a batch", statement).await?;
        }
        let statement = self.work.query(
            "UPDATE batches SET state = $3, available_at = $4::timestamptz, attempts = $5, lease_owner = NULL,
                 host_losses = 0, usage = $6::jsonb, finished_at = $7::timestamptz, message = $8,
                 collected_at = $9::timestamptz
             WHERE id = $1::uuid AND lease_token = $2",
        );
        let statement = statement
            .bind(self.lease.batch.id.to_string())
            .bind(self.lease.token)
            .bind(stays.state.as_str())
            .bind(time_text(stays.available_at))
            .bind(i64::from(stays.attempts))
            .bind(json("a batch's usage", &added(self.used.take(), &result.usage))?)
            .bind((stays.open() == 0).then(|| time_text(self.now)))
            .bind(stays.message.as_deref().map(clean))
            .bind(tells.then(|| time_text(self.now)));
        self.work.execute("complete a batch", statement).await?;
        Ok(open)
    }

    /// The accounts that are left of the batch, by what happens to them.
    fn parts(&self, accounts: &[&AccountResult], result: &BatchResult) -> Vec<Part> {
        let named: HashMap<AccountId, &Outcome> =
            accounts.iter().map(|account| (account.account_id, &account.outcome)).collect();
        let attempts = self.lease.batch.attempts;
        let part = |state, attempts, available_at| Part { available_at, ..Part::new(state, attempts, self.now) };
        let mut retried = part(BatchState::Planned, attempts + 1, result.retry_at.unwrap_or(self.now));
        let mut waiting = part(BatchState::Planned, attempts, result.waiting_until.unwrap_or(self.now));
        let mut deferred = part(BatchState::Deferred, attempts, DateTime::<Utc>::MAX_UTC);
        let mut dead = part(BatchState::Dead, attempts + 1, self.now);
        let mut unserved: Vec<Part> =
            result.without_turn.iter().map(|_| part(BatchState::Planned, attempts, self.now)).collect();
        let turn_of: HashMap<AccountId, usize> = result
            .without_turn
            .iter()
            .enumerate()
            .flat_map(|(index, accounts)| accounts.iter().map(move |account| (*account, index)))
            .collect();
        for account in &self.lease.batch.accounts {
            let id = account.account_id;
            match named.get(&id) {
                Some(Outcome::Deferred { until, message }) => {
                    deferred.available_at = deferred.available_at.min(*until);
                    deferred.add(id, message);
                }
                Some(Outcome::Failed { class, message }) if class.leaves_a_dead_batch() => dead.add(id, message),
                None if !self.alive.contains(&id) => {}
                None if result.waiting.contains(&id) => waiting.accounts.push(id),
                None => match turn_of.get(&id) {
                    Some(index) => unserved[*index].accounts.push(id),
                    None => retried.accounts.push(id),
                },
                Some(_) => {}
            }
        }
        let parts = [retried, waiting, deferred, dead].into_iter().chain(unserved);
        parts.filter(|part| !part.accounts.is_empty()).collect()
    }
}

/// Writes rows with their growth. Events about rows that they replace keep the data of those.
async fn rows_write_in_txn(
    work: &mut Work,
    stored: &[&StoredAccount],
    without_row: &HashSet<(AccountId, NaiveDate)>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let rows: Vec<_> = stored.iter().map(|account| (&account.row, account.growth.as_slice())).collect();
    let keys = rows.iter().map(|(row, _)| (row.account_id, row.metric_date));
    let replaced: Vec<_> = keys.filter(|key| !without_row.contains(key)).collect();
    row_data_keep_in_txn(work, &replaced).await?;
    let present = if replaced.is_empty() { Present::No } else { Present::Maybe };
    metrics_save_in_txn(work, &rows, present, now).await
}

/// Numbers of the same name added up; other values are replaced by the later one.
fn added(before: Json, more: &Json) -> Json {
    match (before, more) {
        (Json::Object(mut sum), Json::Object(more)) => {
            for (name, value) in more {
                let before = sum.remove(name).unwrap_or_default();
                sum.insert(name.clone(), added(before, value));
            }
            Json::Object(sum)
        }
        (Json::Number(before), Json::Number(more)) => match (before.as_u64(), more.as_u64()) {
            (Some(before), Some(more)) => json!(before.saturating_add(more)),
            _ => json!(more),
        },
        (before, Json::Null) => before,
        (_, more) => more.clone(),
    }
}

fn counts(accounts: &[&AccountResult]) -> RunCounts {
    let mut counts = RunCounts { planned: accounts.len() as u64, ..RunCounts::default() };
    for account in accounts {
        match account.outcome {
            Outcome::Collected => counts.collected += 1,
            Outcome::Deferred { .. } => counts.deferred += 1,
            Outcome::Excluded { .. } => counts.excluded += 1,
            Outcome::Superseded => counts.superseded += 1,
            Outcome::Failed { .. } => counts.failed += 1,
        }
    }
    counts.planned -= counts.excluded;
    counts
}

/// Which of the accounts that must be reconnected have been asked to already, such as by the host that refreshed their
/// credential: the event is written once.
async fn asked_to_reconnect(work: &mut Work, accounts: &[&AccountResult]) -> Result<HashSet<AccountId>, StoreError> {
    let asked: Vec<AccountId> = accounts
        .iter()
        .filter(|account| account.status == Some(AccountStatus::ReconnectNeeded))
        .map(|account| account.account_id)
        .collect();
    if asked.is_empty() {
        return Ok(HashSet::new());
    }
    let statement = work.query(
        "SELECT id::text AS id FROM accounts
         WHERE status = 'reconnect_needed' AND id {in_ids}",
    );
    let rows = work.rows("find accounts to reconnect", statement.bind(id_rows(&asked)?)).await?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

/// Those of the accounts that the platform does not know, and has not known for so many dates since they were last
/// collected that they are left out from now on. It must have said so on as many days: a backfill asks for many dates
/// within minutes. Their outcomes have been written.
async fn not_found_for_long<'a>(
    work: &mut Work,
    accounts: &[&'a AccountResult],
) -> Result<Vec<&'a AccountResult>, StoreError> {
    let is_unknown =
        |account: &AccountResult| matches!(account.outcome, Outcome::Failed { class: FailureClass::NotFound, .. });
    let unknown: Vec<AccountId> =
        accounts.iter().filter(|account| is_unknown(account)).map(|account| account.account_id).collect();
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let statement = work.query(
        "SELECT id::text AS id FROM accounts
         WHERE status = 'active' AND id {in_ids}
             AND (SELECT CASE WHEN COUNT(DISTINCT o.metric_date) < COUNT(DISTINCT substr(o.at::text, 1, 10))
                      THEN COUNT(DISTINCT o.metric_date) ELSE COUNT(DISTINCT substr(o.at::text, 1, 10)) END
                  FROM collection_outcomes o
                  WHERE o.account_id = accounts.id AND o.outcome = 'failed' AND o.reason = 'not_found'
                      AND NOT EXISTS (SELECT 1 FROM metrics m
                                      WHERE m.account_id = o.account_id AND m.metric_date >= o.metric_date)) >= $2",
    );
    let statement = statement.bind(id_rows(&unknown)?).bind(i64::from(NOT_FOUND_DATES_MAX));
    let rows = work.rows("find accounts that a platform has not known for long", statement).await?;
    let gone: HashSet<AccountId> = rows.iter().map(|row| row.parsed("id")).collect::<Result<_, StoreError>>()?;
    Ok(accounts.iter().copied().filter(|account| gone.contains(&account.account_id)).collect())
}

/// The event for an account that is left out because its platform does not know it.
fn not_found_event(account: &AccountResult, now: DateTime<Utc>) -> Event {
    Event {
        id: uuid::Uuid::now_v7(),
        kind: types::ACCOUNT_NOT_FOUND.to_owned(),
        artist_id: Some(account.artist_id),
        occurred_at: now,
        dedup_key: None,
        data: json!({
            "account_id": account.account_id, "artist_id": account.artist_id, "platform": account.platform,
            "dates": NOT_FOUND_DATES_MAX,
        }),
    }
}

async fn change_statuses(
    work: &mut Work,
    statuses: &[(AccountId, AccountStatus)],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if statuses.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> =
        statuses.iter().map(|(account, status)| json!({ "account": account, "status": status })).collect();
    let statement = work.query(
        "UPDATE accounts SET updated_at = $2::timestamptz,
             status = (SELECT r.value->>'status' FROM {rows} WHERE (r.value->>'account')::uuid = accounts.id)
         WHERE id IN (SELECT (r.value->>'account')::uuid FROM {rows})",
    );
    work.execute("change accounts' statuses", statement.bind(json("accounts' statuses", &rows)?).bind(time_text(now)))
        .await?;
    Ok(())
}

/// Remembers lost metrics under the batch's release; returns one event for each new one, which only the first ever
/// writes. One that was asked for again after a week, and is still lost, is remembered for another week.
async fn record_lost(
    work: &mut Work,
    lease: &Lease,
    lost: &[LostMetric],
    now: DateTime<Utc>,
) -> Result<Vec<Event>, StoreError> {
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let release = lease.batch.release;
    let statement = work.query("SELECT name FROM lost_metrics WHERE release_digest = $1");
    let rows = work.rows("find lost metrics", statement.bind(release.to_string())).await?;
    let known: HashSet<String> = rows.iter().filter_map(|row| row.text("name").ok()).collect();
    let again: Vec<&LostMetric> = lost.iter().filter(|metric| known.contains(&metric.name)).collect();
    if !again.is_empty() {
        let statement = work.query(
            "UPDATE lost_metrics SET first_seen = $3::timestamptz
             WHERE release_digest = $2 AND name IN (SELECT l.name FROM lost_metrics l
                 WHERE l.release_digest = $2 AND l.first_seen <= $4::timestamptz
                     AND l.name IN (SELECT r.value->>'name' FROM {rows})
                 ORDER BY l.name FOR UPDATE SKIP LOCKED)",
        );
        let statement = statement.bind(json("lost metrics", &again)?).bind(release.to_string());
        let statement = statement.bind(time_text(now)).bind(time_text(now - LOST_FOR));
        work.execute("remember lost metrics for another week", statement).await?;
    }
    let room = LOST_METRICS_MAX.saturating_sub(known.len());
    let lost: Vec<&LostMetric> = lost.iter().filter(|metric| !known.contains(&metric.name)).take(room).collect();
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let statement = work.query(
        "INSERT INTO lost_metrics (release_digest, name, reason, first_seen)
         SELECT $2, r.value->>'name', r.value->>'reason', $3::timestamptz FROM {rows} WHERE TRUE
         ORDER BY r.value->>'name'
         ON CONFLICT (release_digest, name) DO NOTHING",
    );
    let statement = statement.bind(json("lost metrics", &lost)?).bind(release.to_string()).bind(time_text(now));
    work.execute("remember lost metrics", statement).await?;
    Ok(lost
        .iter()
        .map(|metric| Event {
            id: uuid::Uuid::now_v7(),
            kind: types::METRIC_LOST.to_owned(),
            artist_id: None,
            occurred_at: now,
            dedup_key: Some(format!("{}:{release}:{}", types::METRIC_LOST, metric.name)),
            data: json!({
                "platform": lease.batch.platform, "release": release, "metric": metric.name, "reason": metric.reason,
            }),
        })
        .collect())
}

async fn insert_logs(work: &mut Work, lease: &Lease, logs: &[PluginLog], now: DateTime<Utc>) -> Result<(), StoreError> {
    for chunk in logs.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> =
            chunk.iter().map(|log| json!({ "called": log.call, "level": log.level, "message": log.message })).collect();
        let statement = work.query(
            "INSERT INTO plugin_logs (run_id, platform, level, message, at, batch_id, release_digest, called)
             SELECT $2::uuid, $3, r.value->>'level', r.value->>'message', $4::timestamptz, $5::uuid, $6,
                 r.value->>'called' FROM {rows}",
        );
        let statement = statement
            .bind(json("a connector's log", &rows)?)
            .bind(lease.batch.run_id.to_string())
            .bind(lease.batch.platform.as_str().to_owned())
            .bind(time_text(now))
            .bind(lease.batch.id.to_string())
            .bind(lease.batch.release.to_string());
        work.execute("store a connector's log", statement).await?;
    }
    Ok(())
}
