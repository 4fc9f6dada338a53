//! Values that validation withheld, until an operator releases or discards them.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::artists::tombstones::erasures_hold_off_in_txn;
use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, left_of, more_after};
use crate::database::rows::ROWS_PER_STATEMENT;
use crate::events::row_data::row_data_keep_in_txn;
use crate::numbers::history::{self, AccountHistory, LastAccepted};
use crate::numbers::metrics::{Present, metrics_save_in_txn};
use crate::scope::Scope;
use crate::work::locks::{account_states_save_in_txn, accounts_lock_in_txn};
use backline_model::row::QuarantineStatus;
use backline_model::{AccountId, ArtistId, GrowthRow, MetricsRow, Platform, Quarantined, Value};

/// Which values to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct QuarantineFilter {
    /// Only with this status.
    pub status: Option<QuarantineStatus>,
    /// Only on this platform.
    pub platform: Option<Platform>,
    /// Only this artist's.
    pub artist: Option<ArtistId>,
    /// Only values that come after the one with this id: where the next page begins.
    pub before: Option<Uuid>,
    /// Most rows to return; none means all.
    pub limit: Option<u32>,
}

macro_rules! quarantine_sql {
    ($which:literal) => {
        concat!(
            "SELECT id::text AS id, account_id::text AS account_id, artist_id::text AS artist_id, platform, ",
            "metric_date::text AS metric_date, metric, value::text AS value, rule, release_digest,
                 document_id::text AS document_id, ",
            "status, created_at::text AS created_at FROM quarantine ",
            $which
        )
    };
}

impl Store {
    /// Withheld values, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn quarantine_list(
        &self,
        scope: &Scope,
        filter: &QuarantineFilter,
    ) -> Result<Vec<Quarantined>, StoreError> {
        let most = filter.limit.unwrap_or(u32::MAX);
        let (mut before, mut found) = (filter.before.map(|id| id.to_string()), Vec::new());
        loop {
            let statement = self.scoped(
                scope,
                quarantine_sql!(
                    "WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR platform = $2)
             AND ($3::uuid IS NULL OR artist_id = $3::uuid) AND ($5::uuid IS NULL OR id < $5::uuid)
             {and_artist: quarantine.artist_id} ORDER BY quarantine.id DESC LIMIT $4"
                ),
            );
            let asked = left_of(most, found.len());
            let statement = statement
                .bind(filter.status.map(|status| status.as_str().to_owned()))
                .bind(filter.platform.as_ref().map(|platform| platform.as_str().to_owned()))
                .bind(filter.artist.map(|id| id.to_string()))
                .bind(i64::from(asked))
                .bind(before);
            let rows = self.rows("list quarantined values", statement).await?;
            found.extend(self.unreadable.read("quarantine", "id", Extent::Part, &rows, quarantined_of)?);
            let last = more_after(&rows, asked, found.len(), most);
            let Some(place) = last.and_then(|last| last.below("id")) else { return Ok(found) };
            before = Some(place);
        }
    }

    /// One withheld value.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn quarantine_get(&self, scope: &Scope, id: Uuid) -> Result<Option<Quarantined>, StoreError> {
        let statement = self.scoped(scope, quarantine_sql!("WHERE id = $1::uuid {and_artist: quarantine.artist_id}"));
        let row = self.row("read a quarantined value", statement.bind(id.to_string())).await?;
        row.as_ref().map(quarantined_of).transpose()
    }

    /// Dismisses a withheld value.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::AlreadyDecided`].
    pub async fn quarantine_discard(
        &self,
        scope: &Scope,
        id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Quarantined, StoreError> {
        let mut work = self.begin().await?.proven(self).await?;
        // An erasure has the artist, to whom the kept answer refers, before it removes the value.
        erasures_hold_off_in_txn(&mut work).await?;
        let held = held_in_txn(&mut work, scope, id).await?;
        decide_in_txn(&mut work, id, QuarantineStatus::Discarded, now).await?;
        let discarded = Quarantined { status: QuarantineStatus::Discarded, ..held };
        work.answer_keep(&discarded, Some(discarded.artist_id)).await?;
        work.commit().await?;
        Ok(discarded)
    }

    /// Begins to accept a withheld value: its account is locked until [`QuarantineRelease::commit`], and dropping it
    /// undoes everything.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::AlreadyDecided`].
    pub async fn quarantine_release_begin(
        &self,
        scope: &Scope,
        id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<QuarantineRelease, StoreError> {
        let whose = self.scoped(
            scope,
            "SELECT account_id::text AS account_id, metric_date::text AS metric_date FROM quarantine
             WHERE id = $1::uuid {and_artist: quarantine.artist_id}",
        );
        let Some(row) = self.row("find a quarantined value", whose.bind(id.to_string())).await? else {
            return Err(StoreError::NotFound { what: "quarantined value", id: id.to_string() });
        };
        self.months_ensure(std::iter::once(row.date("metric_date")?)).await?;
        let mut work = self.begin().await?.proven(self).await?;
        // In the order of a batch's completion: the account, then its rows.
        accounts_lock_in_txn(&mut work, &[row.parsed("account_id")?]).await?;
        let quarantined = held_in_txn(&mut work, scope, id).await?;
        Ok(QuarantineRelease { work, quarantined, accepted: HashMap::new(), now })
    }
}

/// A withheld value on its way into `metrics`.
pub struct QuarantineRelease {
    work: Work,
    quarantined: Quarantined,
    accepted: HashMap<AccountId, LastAccepted>,
    now: DateTime<Utc>,
}

impl QuarantineRelease {
    /// What was withheld.
    #[must_use]
    pub fn quarantined(&self) -> &Quarantined {
        &self.quarantined
    }

    /// The row the value belongs to, and what its growth needs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn account_history_load(&mut self) -> Result<AccountHistory, StoreError> {
        let wanted: (AccountId, NaiveDate) = (self.quarantined.account_id, self.quarantined.metric_date);
        let (mut histories, accepted) = history::histories_load_in_txn(&mut self.work, &[wanted]).await?;
        self.accepted = accepted;
        Ok(histories.remove(&wanted.0).unwrap_or_default())
    }

    /// Writes the row that now holds the value and the growth it touches, and marks the value as released.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn commit(mut self, row: &MetricsRow, growth: &[GrowthRow]) -> Result<Quarantined, StoreError> {
        let work = &mut self.work;
        row_data_keep_in_txn(work, &[(row.account_id, row.metric_date)]).await?;
        metrics_save_in_txn(work, &[(row, growth)], Present::Maybe, self.now).await?;
        let mut last = self.accepted.remove(&row.account_id).unwrap_or_default();
        history::accept(&mut last, row);
        account_states_save_in_txn(work, &[(row.account_id, None, last)], self.now).await?;
        decide_in_txn(work, self.quarantined.id, QuarantineStatus::Released, self.now).await?;
        let released = Quarantined { status: QuarantineStatus::Released, ..self.quarantined };
        work.answer_keep(&released, Some(released.artist_id)).await?;
        self.work.commit().await?;
        Ok(released)
    }
}

async fn held_in_txn(work: &mut Work, scope: &Scope, id: Uuid) -> Result<Quarantined, StoreError> {
    let statement =
        work.scoped(scope, quarantine_sql!("WHERE id = $1::uuid {and_artist: quarantine.artist_id} FOR UPDATE"));
    let Some(row) = work.row("read a quarantined value", statement.bind(id.to_string())).await? else {
        return Err(StoreError::NotFound { what: "quarantined value", id: id.to_string() });
    };
    let found = quarantined_of(&row)?;
    match found.status {
        QuarantineStatus::Held => Ok(found),
        decided => Err(StoreError::AlreadyDecided { id, status: decided.as_str() }),
    }
}

async fn decide_in_txn(
    work: &mut Work,
    id: Uuid,
    status: QuarantineStatus,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let statement = work.query("UPDATE quarantine SET status = $2, decided_at = $3::timestamptz WHERE id = $1::uuid");
    let statement = statement.bind(id.to_string()).bind(status.as_str()).bind(time_text(now));
    work.execute("decide on a quarantined value", statement).await?;
    Ok(())
}

/// Writes withheld values; each takes the place of one still held of the same account, date and metric.
pub(crate) async fn quarantine_add_in_txn(work: &mut Work, values: &[&Quarantined]) -> Result<(), StoreError> {
    for chunk in values.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|value| {
                // JSON has no word for these; what was sent is what an operator wants to see.
                let sent = match &value.value {
                    Value::Decimal(decimal) if !decimal.is_finite() => json!(decimal.to_string()),
                    other => json!(other),
                };
                // A text would lose its quotes on the way and be no JSON any more, so the value travels as JSON within
                // JSON.
                Ok(json!({
                    "id": value.id, "account": value.account_id, "artist": value.artist_id, "platform": value.platform,
                    "date": value.metric_date, "metric": value.metric, "value": json("a quarantined value", &sent)?,
                    "rule": value.rule, "release": value.release, "document": value.document_id,
                    "status": value.status.as_str(),
                    "at": time_text(value.created_at),
                }))
            })
            .collect::<Result<_, StoreError>>()?;
        let rows = json("quarantined values", &rows)?;
        let statement = work.query(
            // The rows of the parameter are read once: asking for each held value would parse them as often.
            "DELETE FROM quarantine WHERE status = 'held'
                 AND account_id IN (SELECT (r.value->>'account')::uuid FROM {rows})
                 AND (account_id, metric_date, metric) IN (SELECT (r.value->>'account')::uuid,
                     (r.value->>'date')::date, r.value->>'metric' FROM {rows})",
        );
        work.execute("replace quarantined values", statement.bind(rows.clone())).await?;
        let statement = work.query(
            "INSERT INTO quarantine (id, account_id, artist_id, platform, metric_date, metric, value, rule,
                 release_digest, document_id,
                 status, created_at)
             SELECT (r.value->>'id')::uuid, (r.value->>'account')::uuid, (r.value->>'artist')::uuid,
                 r.value->>'platform',
                 (r.value->>'date')::date, r.value->>'metric', (r.value->>'value')::jsonb, r.value->>'rule',
                 r.value->>'release',
                 (r.value->>'document')::uuid, r.value->>'status', (r.value->>'at')::timestamptz
             FROM {rows}",
        );
        work.execute("quarantine values", statement.bind(rows)).await?;
    }
    Ok(())
}

fn quarantined_of(row: &AnyRow) -> Result<Quarantined, StoreError> {
    Ok(Quarantined {
        id: row.uuid("id")?,
        account_id: row.parsed("account_id")?,
        artist_id: row.parsed("artist_id")?,
        platform: row.parsed("platform")?,
        metric_date: row.date("metric_date")?,
        metric: row.text("metric")?,
        value: row.json("value")?,
        rule: row.text("rule")?,
        release: row.parsed("release_digest")?,
        document_id: row.parsed("document_id")?,
        status: row.named("status", |text| {
            [QuarantineStatus::Held, QuarantineStatus::Released, QuarantineStatus::Discarded]
                .into_iter()
                .find(|status| status.as_str() == text)
        })?,
        created_at: row.time("created_at")?,
    })
}
