//! The outbox: facts, written in the transaction that made them true, and read in the order they were committed.

use serde_json::json;

use super::dialect::{Columns as _, DatabaseKind, json, time_text};
use super::wake::notify;
use super::{Store, StoreError, Topic, Work};
use crate::domain::Event;

/// How far a reader has come. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct EventCursor(i64);

impl Store {
    /// Events after a cursor, each with its own, in the order in which they were committed: none can appear later before one that was read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events_after(&self, after: EventCursor, limit: u32) -> Result<Vec<(EventCursor, Event)>, StoreError> {
        let statement = self.query(
            "SELECT seq, id::text AS id, type, artist_id::text AS artist_id, occurred_at::text AS occurred_at, dedup_key, data::text AS data
             FROM events WHERE seq > $1 ORDER BY seq LIMIT $2",
        );
        let statement = statement.bind(after.0).bind(i64::from(limit));
        let rows = match self.kind() {
            DatabaseKind::Sqlite => self.rows("read events", statement).await?,
            DatabaseKind::Postgres => {
                // Numbers become visible in another order than they are drawn. Whoever has drawn one and not committed yet holds this lock,
                // shared; waiting for it takes as long as the end of a batch.
                let mut work = self.begin().await?;
                let lock = work.query("SELECT 1 AS locked FROM pg_advisory_xact_lock(7135240011894)");
                work.rows("wait for events that are being written", lock).await?;
                let rows = work.rows("read events", statement).await?;
                work.commit().await?;
                rows
            }
        };
        rows.iter()
            .map(|row| {
                let event = Event {
                    id: row.uuid("id")?,
                    kind: row.text("type")?,
                    artist_id: row.parsed_or_null("artist_id")?,
                    occurred_at: row.time("occurred_at")?,
                    dedup_key: row.text_or_null("dedup_key")?,
                    data: row.json("data")?,
                };
                Ok((EventCursor(row.int("seq")?), event))
            })
            .collect()
    }

    /// Writes events that belong to no other change. Answers how many were new.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write_events(&self, events: &[Event]) -> Result<u64, StoreError> {
        if events.is_empty() {
            return Ok(0);
        }
        let mut work = self.begin().await?;
        let written = insert_events(&mut work, events).await?;
        work.commit().await?;
        Ok(written)
    }
}

/// Writes events; one whose dedup key was ever written is left out. Answers how many were new.
pub(super) async fn insert_events(work: &mut Work, events: &[Event]) -> Result<u64, StoreError> {
    if events.is_empty() {
        return Ok(0);
    }
    let rows: Vec<_> = events
        .iter()
        .map(|event| {
            json!({
                "id": event.id, "type": event.kind, "artist": event.artist_id, "at": time_text(event.occurred_at),
                "dedup_key": event.dedup_key, "data": event.data,
            })
        })
        .collect();
    let statement = work.query(
        "INSERT INTO events (id, type, artist_id, occurred_at, dedup_key, data)
         SELECT (r.value->>'id')::uuid, r.value->>'type', (r.value->>'artist')::uuid, (r.value->>'at')::timestamptz,
             r.value->>'dedup_key', (r.value->>'data')::jsonb
         FROM {rows} {and_event_lock} WHERE TRUE
         ON CONFLICT DO NOTHING",
    );
    let written = work.execute("write events", statement.bind(json("events", &rows)?)).await?;
    if written > 0 {
        notify(work, Topic::Events).await?;
    }
    Ok(written)
}
