//! The outbox: facts, written in the transaction that made them true, and read in the order they were committed.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, DatabaseKind, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::{left_of, more_after};
use crate::database::statement::Statement;
use crate::database::table::Table;
use crate::database::topic::Topic;
use crate::events::cursor::{EventCursor, event_sql};
use crate::events::row_data::{Reader, events_of};
use crate::scope::Scope;
use backline_model::{AccountId, ArtistId, Event, MetricsRow, RowEvent, RowFact, RunId};

impl Store {
    /// Events after a cursor, each with its own, in the order in which they were committed: none can appear later
    /// before one that was read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events_list(
        &self,
        scope: &Scope,
        after: EventCursor,
        limit: u32,
    ) -> Result<Vec<(EventCursor, Event)>, StoreError> {
        let (mut after, mut found) = (after.number(), Vec::new());
        loop {
            let statement = self.scoped(scope, event_sql!("WHERE e.seq > $1 {and_event: e} ORDER BY e.seq LIMIT $2"));
            let asked = left_of(limit, found.len());
            let rows = self.in_commit_order(statement.bind(after).bind(i64::from(asked))).await?;
            found.extend(events_of(Reader::Store(self), &rows).await?);
            let Some(last) = more_after(&rows, asked, found.len(), limit) else { return Ok(found) };
            after = last.number("seq")?;
        }
    }

    /// Events after a cursor, up to one that [`event_watermark_get`](Self::event_watermark_get) returned: in the order
    /// of [`events_list`](Self::events_list), but nothing waits, neither the reader nor those who write events.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settled_events_list(
        &self,
        scope: &Scope,
        after: EventCursor,
        until: EventCursor,
        limit: u32,
    ) -> Result<Vec<(EventCursor, Event)>, StoreError> {
        let (mut after, mut found) = (after.number(), Vec::new());
        loop {
            let statement = self
                .scoped(scope, event_sql!("WHERE e.seq > $1 AND e.seq <= $2 {and_event: e} ORDER BY e.seq LIMIT $3"));
            let asked = left_of(limit, found.len());
            let statement = statement.bind(after).bind(until.number()).bind(i64::from(asked));
            let rows = self.rows("read events", statement).await?;
            found.extend(events_of(Reader::Store(self), &rows).await?);
            let Some(last) = more_after(&rows, asked, found.len(), limit) else { return Ok(found) };
            after = last.number("seq")?;
        }
    }

    /// The latest event, once all those before it are committed: none can appear before it any more.
    ///
    /// # Errors
    /// When the database fails, or events are being written for longer than a moment.
    pub async fn event_watermark_get(&self) -> Result<EventCursor, StoreError> {
        let statement = self.query("SELECT COALESCE(MAX(e.seq), 0)::bigint AS seq FROM events e");
        let rows = self.in_commit_order(statement).await?;
        Ok(rows.first().map(|row| row.int("seq")).transpose()?.map(EventCursor::from).unwrap_or_default())
    }

    /// Events before a cursor, or all if there is none, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events_before_list(
        &self,
        scope: &Scope,
        before: Option<EventCursor>,
        limit: u32,
    ) -> Result<Vec<(EventCursor, Event)>, StoreError> {
        let (mut before, mut found) = (before.map_or(i64::MAX, EventCursor::number), Vec::new());
        loop {
            let statement =
                self.scoped(scope, event_sql!("WHERE e.seq < $1 {and_event: e} ORDER BY e.seq DESC LIMIT $2"));
            let asked = left_of(limit, found.len());
            let rows = self.in_commit_order(statement.bind(before).bind(i64::from(asked))).await?;
            found.extend(events_of(Reader::Store(self), &rows).await?);
            let Some(last) = more_after(&rows, asked, found.len(), limit) else { return Ok(found) };
            before = last.number("seq")?;
        }
    }

    /// Reads events so that none which is still being written can come in between later.
    pub(crate) async fn in_commit_order(&self, statement: Statement) -> Result<Vec<AnyRow>, StoreError> {
        match self.kind() {
            DatabaseKind::Sqlite => self.rows("read events", statement).await,
            DatabaseKind::Postgres => {
                let mut work = self.begin().await?;
                events_lock_in_txn(&mut work).await?;
                let rows = work.rows("read events", statement).await?;
                work.end().await;
                Ok(rows)
            }
        }
    }

    /// The cursor after which the latest `back` events come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn event_cursor_get(&self, scope: &Scope, back: u32) -> Result<EventCursor, StoreError> {
        let statement = self
            .scoped(scope, "SELECT seq FROM events WHERE TRUE {and_event: events} ORDER BY seq DESC LIMIT 1 OFFSET $1");
        let row = self.row("find the latest events", statement.bind(i64::from(back))).await?;
        Ok(row.map(|row| row.int("seq")).transpose()?.map(EventCursor::from).unwrap_or_default())
    }

    /// An event by its id, with its cursor.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn event_get(&self, scope: &Scope, id: Uuid) -> Result<(EventCursor, Event), StoreError> {
        let row = self
            .row(
                "read an event",
                self.scoped(scope, event_sql!("WHERE e.id = $1::uuid {and_event: e}")).bind(id.to_string()),
            )
            .await?;
        let unknown = || StoreError::NotFound { what: "event", id: id.to_string() };
        let events = events_of(Reader::Store(self), row.as_slice()).await?;
        events.into_iter().next().ok_or_else(unknown)
    }

    /// Writes events that belong to no other change. Returns how many were new.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events_write(&self, scope: &Scope, events: &[Event]) -> Result<u64, StoreError> {
        if events.is_empty() {
            return Ok(0);
        }
        let mut work = self.begin().await?;
        let written = insert(&mut work, scope, events.iter().map(NewEvent::whole).collect()).await?;
        work.commit().await?;
        Ok(written)
    }
}

/// Waits for events that are being written, and keeps others from being written until the transaction is over. Nothing
/// on SQLite, which has one writer.
pub(crate) async fn events_lock_in_txn(work: &mut Work) -> Result<(), StoreError> {
    if work.kind == DatabaseKind::Postgres {
        // Numbers become visible in another order than they are drawn. A writer that has drawn one and not committed
        // yet holds this lock, shared; waiting for it takes as long as the end of a batch. A writer that comes after
        // the one that waits waits too: so it gives up soon, and its caller reads again later.
        let bound = work.query("SELECT set_config('lock_timeout', '2s', TRUE) AS bound");
        work.rows("bound a wait", bound).await?;
        let lock = work.query("SELECT 1 AS locked FROM pg_advisory_xact_lock(7135240011894)");
        work.rows("wait for events that are being written", lock).await?;
    }
    Ok(())
}

/// Writes events; one that was ever written is left out: one whose dedup key is taken, and one about a row that says
/// the same of it. Returns how many were new.
pub(crate) async fn events_write_in_txn(work: &mut Work, events: &[Event]) -> Result<u64, StoreError> {
    insert(work, &Scope::all_tenants(), events.iter().map(NewEvent::whole).collect()).await
}

/// The same with events about rows that were written at `now` in a run.
pub(crate) async fn row_events_write_in_txn(
    work: &mut Work,
    run: RunId,
    about_rows: &[(&MetricsRow, &RowEvent)],
    others: &[Event],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let about_rows = about_rows.iter().map(|(row, event)| NewEvent::of_row(row, event, run, now));
    let all = about_rows.chain(others.iter().map(NewEvent::whole)).collect();
    insert(work, &Scope::all_tenants(), all).await
}

/// An event as the statement takes it.
struct NewEvent<'a> {
    id: Uuid,
    kind: &'a str,
    artist: Option<ArtistId>,
    at: String,
    dedup_key: Option<&'a str>,
    data: Cow<'a, Json>,
    row: Option<RowOfEvent>,
}

/// The row whose data are the event's.
struct RowOfEvent {
    account: AccountId,
    date: NaiveDate,
    run: Option<RunId>,
    at: String,
}

impl<'a> NewEvent<'a> {
    fn whole(event: &'a Event) -> Self {
        Self {
            id: event.id,
            kind: &event.kind,
            artist: event.artist_id,
            at: time_text(event.occurred_at),
            dedup_key: event.dedup_key.as_deref(),
            data: Cow::Borrowed(&event.data),
            row: None,
        }
    }

    fn of_row(row: &MetricsRow, event: &'a RowEvent, run: RunId, now: DateTime<Utc>) -> Self {
        Self {
            id: event.id,
            kind: event.fact.kind(),
            artist: Some(row.artist_id),
            at: time_text(event.occurred_at),
            dedup_key: None,
            data: Cow::Owned(event.fact.own_data()),
            row: Some(RowOfEvent {
                account: row.account_id,
                date: row.metric_date,
                run: (event.fact == RowFact::Collected).then_some(run),
                at: time_text(now),
            }),
        }
    }
}

const INSERT: &str = "INSERT INTO events (id, type, artist_id, occurred_at, dedup_key, data, row_account, row_date,
        row_run, row_at)
    SELECT r.id, r.type, r.artist, r.at, r.dedup_key, r.data, r.account, r.date, r.run, r.row_at
    FROM {columns: id uuid, type text, artist uuid, at timestamptz, dedup_key text, data jsonb, account uuid, date date,
        run uuid, row_at timestamptz} {and_event_lock}
    WHERE TRUE {and_tenant: COALESCE((SELECT a.tenant FROM artists a WHERE a.id = r.artist), r.data->>'tenant')}
    ON CONFLICT DO NOTHING";

async fn insert(work: &mut Work, scope: &Scope, events: Vec<NewEvent<'_>>) -> Result<u64, StoreError> {
    if events.is_empty() {
        return Ok(0);
    }
    let mut rows = Table::of(work.kind, INSERT);
    for event in events {
        let row = event.row.as_ref();
        rows.add([
            ("id", json!(event.id)),
            ("type", json!(event.kind)),
            ("artist", json!(event.artist)),
            ("at", json!(event.at)),
            ("dedup_key", json!(event.dedup_key)),
            ("data", Json::String(json("an event's data", &event.data)?)),
            ("account", json!(row.map(|row| row.account))),
            ("date", json!(row.map(|row| row.date))),
            ("run", json!(row.and_then(|row| row.run))),
            ("row_at", json!(row.map(|row| &row.at))),
        ]);
    }
    let statement = work.scoped(scope, INSERT).bind_table(rows)?;
    let written = work.execute("write events", statement).await?;
    if written > 0 {
        // On PostgreSQL the statement itself notifies of them.
        work.ring(Topic::Events);
    }
    Ok(written)
}
