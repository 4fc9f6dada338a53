//! The unit of work that ends a batch: everything its accounts brought is written in the transaction that gives the lease up, or nothing.
//!
//! ```text
//! let mut completion = store.begin_completion(&lease, now).await?;   // checks the token, locks the accounts
//! let pasts = completion.history(&accounts).await?;                  // what the stages compare with
//! …                                                                  // the stages run
//! completion.commit(result).await?;                                  // or drop it: nothing has happened
//! ```

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value as Json, json};

use crate::artists::accounts::id_rows;
use crate::artists::consents::withdrawn_among;
use crate::database::dialect::{Columns as _, clean, json, time_text};
use crate::events::outbox::insert_events;
use crate::numbers::history::{self, AccountPast, LastAccepted};
use crate::numbers::metrics::{insert_documents, upsert_growth, upsert_rows};
use crate::numbers::quarantine::insert_quarantined;
use crate::releases::trials::insert_tally;
use crate::work::outcomes::{AccountOutcome, upsert_outcomes};
use crate::{ROWS_PER_STATEMENT, Store, StoreError, Work};
use backline_model::event::types;
use backline_model::outcome::{Exclusion, Outcome};
use backline_model::run::RunCounts;
use backline_model::{
    AccountId, AccountStatus, ArtistId, BatchId, BatchState, DocumentId, Event, GrowthRow, Lease, LostMetric,
    MetricsRow, Platform, Quarantined, Tally, Window,
};

/// What a batch brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchResult {
    /// How its accounts ended. Accounts of the batch that are not named stay in it, to be tried again.
    pub accounts: Vec<AccountResult>,
    /// Platform metrics that turned out to be lost.
    pub lost_metrics: Vec<LostMetric>,
    /// What the connector said.
    pub logs: Vec<PluginLog>,
    /// What the batch took, for whoever looks into it.
    pub usage: Json,
    /// What it says for or against the release.
    pub tally: Tally,
    /// When accounts that are not named are tried again; none means at once.
    pub retry_at: Option<DateTime<Utc>>,
}

/// How one account ended.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountResult {
    /// Which account.
    pub account_id: AccountId,
    /// Whose.
    pub artist_id: ArtistId,
    /// Where.
    pub platform: Platform,
    /// For which date.
    pub metric_date: NaiveDate,
    /// How. A deferred account stays in the batch until its time has come.
    pub outcome: Outcome,
    /// Attempts used up.
    pub attempts: u32,
    /// What was fetched, if anything was: kept also where no row could be made of it, since a mended release may.
    pub document: Option<DocumentRecord>,
    /// What is to be stored, where it was collected.
    pub stored: Option<StoredAccount>,
    /// What the account's status becomes, where it changes.
    pub status: Option<AccountStatus>,
    /// Facts to be told.
    pub events: Vec<Event>,
}

/// What is stored of one account.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAccount {
    /// The row, merged with the existing one of its date.
    pub row: MetricsRow,
    /// JSON text to hand back to the connector the next time; none clears it.
    pub state: Option<String>,
    /// Values that validation withheld.
    pub withheld: Vec<Quarantined>,
    /// Growth of the row's date, and of later dates it touches.
    pub growth: Vec<GrowthRow>,
}

/// A document about to be stored, under the batch's run and release.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentRecord {
    /// Its id.
    pub id: DocumentId,
    /// JSON text, as fetched.
    pub body: String,
    /// When it was fetched.
    pub observed_at: DateTime<Utc>,
    /// What its post-level metrics cover.
    pub window: Window,
}

/// A line a connector logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLog {
    /// Such as `info`.
    pub level: String,
    /// What it said; secrets are already blanked out.
    pub message: String,
}

/// What the completion of a batch amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    /// Accounts by outcome; `planned` counts all that were named.
    pub counts: RunCounts,
    /// Accounts that stay in the batch, deferred or to be tried again; 0 when it is done.
    pub open: u64,
}

impl Store {
    /// Begins to complete a batch: checks that the lease still holds, and locks the accounts so that nobody else changes their rows until
    /// the end. Heartbeats must have stopped before, since they would wait for this.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when somebody else has taken the batch over.
    pub async fn begin_completion(&self, lease: &Lease, now: DateTime<Utc>) -> Result<Completion, StoreError> {
        self.ensure_months(lease.batch.accounts.iter().map(|account| account.metric_date)).await?;
        let mut work = self.begin().await?;
        let statement = work.query(
            "SELECT usage::text AS usage FROM batches
             WHERE id = $1::uuid AND lease_token = $2 AND state = 'leased' AND finished_at IS NULL FOR UPDATE",
        );
        let statement = statement.bind(lease.batch.id.to_string()).bind(lease.token);
        let Some(row) = work.row("check a lease", statement).await? else {
            return Err(StoreError::LeaseLost { batch: lease.batch.id });
        };
        let used = row.json_or_null("usage")?.unwrap_or_default();
        let accounts: Vec<AccountId> = lease.batch.accounts.iter().map(|account| account.account_id).collect();
        let alive = lock_accounts(&mut work, &accounts).await?;
        // Whoever withdraws locks the accounts too: what is read now holds until the commit.
        let withdrawn = withdrawn_among(&mut work, &accounts).await?;
        Ok(Completion { work, lease: lease.clone(), alive, withdrawn, used, accepted: HashMap::new(), now })
    }

    /// Completes a batch none of whose accounts is stored, so that nothing has to be compared.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when somebody else has taken the batch over.
    pub async fn complete_batch(
        &self,
        lease: &Lease,
        result: BatchResult,
        now: DateTime<Utc>,
    ) -> Result<Completed, StoreError> {
        self.begin_completion(lease, now).await?.commit(result).await
    }
}

/// The completion of a batch under way. Dropping it undoes everything; the lease goes on until it runs out.
pub struct Completion {
    work: Work,
    lease: Lease,
    alive: HashSet<AccountId>,
    /// What the batch took before: it may be one that was tried or deferred already.
    used: Json,
    /// Accounts whose artists have withdrawn their consent since the batch was begun.
    withdrawn: HashSet<AccountId>,
    accepted: HashMap<AccountId, LastAccepted>,
    now: DateTime<Utc>,
}

impl Completion {
    /// What is known of these accounts besides the rows of these dates. Every account asked for has an entry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn history(
        &mut self,
        wanted: &[(AccountId, NaiveDate)],
    ) -> Result<HashMap<AccountId, AccountPast>, StoreError> {
        let (pasts, accepted) = history::load(&mut self.work, wanted).await?;
        self.accepted.extend(accepted);
        Ok(pasts)
    }

    /// Whether an account still exists: it may have been erased while it was fetched, and is left out of what is written then.
    #[must_use]
    pub fn is_alive(&self, account: AccountId) -> bool {
        self.alive.contains(&account)
    }

    /// Writes everything and gives the lease up. Nothing is kept of accounts that have been erased meanwhile, and of those whose consent was
    /// withdrawn nothing but that they were left out for it.
    ///
    /// # Errors
    /// When a value fits no column or the database fails; nothing is written then.
    pub async fn commit(mut self, mut result: BatchResult) -> Result<Completed, StoreError> {
        self.let_go(&mut result);
        let accounts: Vec<&AccountResult> =
            result.accounts.iter().filter(|account| self.alive.contains(&account.account_id)).collect();
        let stored: Vec<&StoredAccount> = accounts.iter().filter_map(|account| account.stored.as_ref()).collect();
        self.accept(&stored).await?;
        let mut states = Vec::with_capacity(stored.len());
        for account in &stored {
            let mut last = self.accepted.remove(&account.row.account_id).unwrap_or_default();
            history::accept(&mut last, &account.row);
            states.push((account.row.account_id, Some(account.state.clone()), last));
        }

        let work = &mut self.work;
        let rows: Vec<_> = stored.iter().map(|account| &account.row).collect();
        upsert_rows(work, &rows, self.now).await?;
        let growth: Vec<_> = stored.iter().flat_map(|account| &account.growth).collect();
        upsert_growth(work, &growth, self.now).await?;
        let documents: Vec<_> =
            accounts.iter().filter_map(|account| Some((*account, account.document.as_ref()?))).collect();
        insert_documents(work, &self.lease.batch, &documents).await?;
        let withheld: Vec<_> = stored.iter().flat_map(|account| &account.withheld).collect();
        insert_quarantined(work, &withheld).await?;
        upsert_states(work, &states, self.now).await?;

        let outcomes: Vec<_> = accounts
            .iter()
            .map(|account| AccountOutcome {
                account_id: account.account_id,
                metric_date: account.metric_date,
                outcome: account.outcome.clone(),
                attempts: account.attempts,
            })
            .collect();
        let batch = &self.lease.batch;
        upsert_outcomes(work, batch.run_id, Some(batch.release), &outcomes, self.now).await?;
        insert_tally(work, batch, &result.tally, self.now).await?;
        let told = asked_to_reconnect(work, &accounts).await?;
        let mut events: Vec<Event> = accounts
            .iter()
            .flat_map(|account| account.events.iter().map(|event| (account.account_id, event)))
            .filter(|(account, event)| event.kind != types::RECONNECT_NEEDED || !told.contains(account))
            .map(|(_, event)| event.clone())
            .collect();
        events.extend(record_lost(work, &self.lease, &result.lost_metrics, self.now).await?);
        insert_events(work, &events).await?;
        insert_logs(work, &self.lease, &result.logs, self.now).await?;
        let statuses: Vec<_> =
            accounts.iter().filter_map(|account| Some((account.account_id, account.status?))).collect();
        change_statuses(work, &statuses, self.now).await?;
        let open = self.give_up(&accounts, &result).await?;
        self.work.commit().await?;
        Ok(Completed { counts: counts(&accounts), open })
    }

    /// Drops what must not be kept.
    fn let_go(&self, result: &mut BatchResult) {
        for account in result.accounts.iter_mut().filter(|account| self.withdrawn.contains(&account.account_id)) {
            account.outcome = Outcome::Excluded { reason: Exclusion::NoConsent };
            (account.document, account.stored, account.status) = (None, None, None);
            account.events.clear();
        }
        if self.lease.batch.accounts.iter().any(|account| !self.alive.contains(&account.account_id)) {
            // Nobody can tell any more by what the erased one would be recognised in them.
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

    /// Reads when metrics were last accepted for accounts whose history nobody asked for.
    async fn accept(&mut self, stored: &[&StoredAccount]) -> Result<(), StoreError> {
        let unread: Vec<_> = stored
            .iter()
            .filter(|account| !self.accepted.contains_key(&account.row.account_id))
            .map(|account| (account.row.account_id, account.row.metric_date))
            .collect();
        if !unread.is_empty() {
            let accepted = history::last_accepted(&mut self.work, &unread).await?;
            self.accepted.extend(accepted);
        }
        Ok(())
    }

    /// Marks the batch as done, or leaves in it what is to be tried again, deferred, or dead, whichever of these comes first; each of
    /// the others goes on as a batch of its own, since it has another time and other attempts. Answers how many accounts are open.
    async fn give_up(&mut self, accounts: &[&AccountResult], result: &BatchResult) -> Result<u64, StoreError> {
        let mut parts = self.parts(accounts, result).into_iter();
        let stays = parts.next();
        let mut open = stays.as_ref().map_or(0, Part::open);
        for part in parts {
            open += part.open();
            self.split_off(&part).await?;
        }
        let stays = stays.unwrap_or_else(|| Part::done(self.lease.batch.attempts, self.now));
        if !stays.accounts.is_empty() && stays.accounts.len() < self.lease.batch.accounts.len() {
            let statement = self.work.query(
                "DELETE FROM batch_accounts WHERE batch_id = $2::uuid
                     AND account_id NOT IN (SELECT (r.value->>'id')::uuid FROM {rows})",
            );
            let statement = statement.bind(id_rows(&stays.accounts)?).bind(self.lease.batch.id.to_string());
            self.work.execute("take finished accounts out of a batch", statement).await?;
        }
        let statement = self.work.query(
            "UPDATE batches SET state = $3, available_at = $4::timestamptz, attempts = $5, lease_owner = NULL,
                 usage = $6::jsonb, finished_at = $7::timestamptz, message = $8
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
            .bind(stays.message.as_deref().map(clean));
        self.work.execute("complete a batch", statement).await?;
        Ok(open)
    }

    /// What is left of the batch, by what becomes of it.
    fn parts(&self, accounts: &[&AccountResult], result: &BatchResult) -> Vec<Part> {
        let named: HashMap<AccountId, &Outcome> =
            accounts.iter().map(|account| (account.account_id, &account.outcome)).collect();
        let attempts = self.lease.batch.attempts;
        let part =
            |state, attempts, available_at| Part { state, attempts, available_at, message: None, accounts: vec![] };
        let mut retried = part(BatchState::Planned, attempts + 1, result.retry_at.unwrap_or(self.now));
        let mut deferred = part(BatchState::Deferred, attempts, DateTime::<Utc>::MAX_UTC);
        let mut dead = part(BatchState::Dead, attempts + 1, self.now);
        for account in &self.lease.batch.accounts {
            let id = account.account_id;
            match named.get(&id) {
                Some(Outcome::Deferred { until, message }) => {
                    deferred.available_at = deferred.available_at.min(*until);
                    deferred.add(id, message);
                }
                Some(Outcome::Failed { class, message }) if class.is_retryable() => dead.add(id, message),
                None if self.alive.contains(&id) => retried.accounts.push(id),
                _ => {}
            }
        }
        [retried, deferred, dead].into_iter().filter(|part| !part.accounts.is_empty()).collect()
    }

    /// Moves a part of the batch into one of its own, of the same run.
    async fn split_off(&mut self, part: &Part) -> Result<(), StoreError> {
        let (id, of) = (BatchId::generate().to_string(), self.lease.batch.id.to_string());
        let statement = self.work.query(
            "INSERT INTO batches (id, run_id, turn, tenant, platform, release_digest, window_since, window_until, state, attempts,
                 lease_token, available_at, message, created_at, finished_at, lane, began_at)
             SELECT $2::uuid, run_id, turn, tenant, platform, release_digest, window_since, window_until, $3, $4, 0,
                 $5::timestamptz, $6, created_at, $7::timestamptz, lane, began_at
             FROM batches WHERE id = $1::uuid",
        );
        let statement = statement
            .bind(of.clone())
            .bind(id.clone())
            .bind(part.state.as_str())
            .bind(i64::from(part.attempts))
            .bind(time_text(part.available_at))
            .bind(part.message.as_deref().map(clean))
            .bind((part.open() == 0).then(|| time_text(self.now)));
        self.work.execute("split a batch", statement).await?;
        let statement = self.work.query(
            "UPDATE batch_accounts SET batch_id = $2::uuid
             WHERE batch_id = $3::uuid AND account_id IN (SELECT (r.value->>'id')::uuid FROM {rows})",
        );
        let statement = statement.bind(id_rows(&part.accounts)?).bind(id).bind(of);
        self.work.execute("move accounts to another batch", statement).await?;
        Ok(())
    }
}

/// Accounts of a batch that go on together.
struct Part {
    state: BatchState,
    attempts: u32,
    available_at: DateTime<Utc>,
    message: Option<String>,
    accounts: Vec<AccountId>,
}

impl Part {
    fn done(attempts: u32, now: DateTime<Utc>) -> Self {
        Self { state: BatchState::Done, attempts, available_at: now, message: None, accounts: Vec::new() }
    }

    fn add(&mut self, account: AccountId, message: &str) {
        self.message.get_or_insert_with(|| message.to_owned());
        self.accounts.push(account);
    }

    /// Accounts that a run still waits for.
    fn open(&self) -> u64 {
        if matches!(self.state, BatchState::Planned | BatchState::Deferred) { self.accounts.len() as u64 } else { 0 }
    }
}

/// Numbers of the same name added up; whatever else there is is the later one.
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
            Outcome::Failed { .. } => counts.failed += 1,
        }
    }
    counts.planned -= counts.excluded;
    counts
}

/// Locks accounts in the order of their ids, so that two batches that share some can't wait for each other. Answers which still exist.
/// The lock lets others insert rows that refer to the accounts; only another completion waits.
pub(crate) async fn lock_accounts(work: &mut Work, accounts: &[AccountId]) -> Result<HashSet<AccountId>, StoreError> {
    let statement = work.query(
        "SELECT id::text AS id FROM accounts WHERE id IN (SELECT (r.value->>'id')::uuid FROM {rows}) ORDER BY id FOR NO KEY UPDATE",
    );
    let rows = work.rows("lock a batch's accounts", statement.bind(id_rows(accounts)?)).await?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

/// Which of the accounts that must be connected anew have been asked to already, such as by whoever refreshed their credential: it is told
/// once.
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
         WHERE status = 'reconnect_needed' AND id IN (SELECT (r.value->>'id')::uuid FROM {rows})",
    );
    let rows = work.rows("look who was asked to reconnect", statement.bind(id_rows(&asked)?)).await?;
    rows.iter().map(|row| row.parsed("id")).collect()
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

/// Writes what connectors asked to be handed back (where the second part is given) and when metrics were last accepted.
pub(crate) async fn upsert_states(
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
        work.execute("keep accounts' states", statement.bind(json("accounts' states", &rows)?).bind(time_text(now)))
            .await?;
    }
    Ok(())
}

/// Remembers lost metrics under the batch's release; answers one event for each, which only the first ever writes.
async fn record_lost(
    work: &mut Work,
    lease: &Lease,
    lost: &[LostMetric],
    now: DateTime<Utc>,
) -> Result<Vec<Event>, StoreError> {
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let statement = work.query(
        "INSERT INTO lost_metrics (release_digest, name, reason, first_seen)
         SELECT $2, r.value->>'name', r.value->>'reason', $3::timestamptz FROM {rows} WHERE TRUE
         ON CONFLICT (release_digest, name) DO NOTHING",
    );
    let release = lease.batch.release;
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
            data: json!({ "platform": lease.batch.platform, "release": release, "metric": metric.name, "reason": metric.reason }),
        })
        .collect())
}

async fn insert_logs(work: &mut Work, lease: &Lease, logs: &[PluginLog], now: DateTime<Utc>) -> Result<(), StoreError> {
    for chunk in logs.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk.iter().map(|log| json!({ "level": log.level, "message": log.message })).collect();
        let statement = work.query(
            "INSERT INTO plugin_logs (run_id, platform, level, message, at)
             SELECT $2::uuid, $3, r.value->>'level', r.value->>'message', $4::timestamptz FROM {rows}",
        );
        let statement = statement
            .bind(json("a connector's log", &rows)?)
            .bind(lease.batch.run_id.to_string())
            .bind(lease.batch.platform.as_str().to_owned())
            .bind(time_text(now));
        work.execute("keep a connector's log", statement).await?;
    }
    Ok(())
}
