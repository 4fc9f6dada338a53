//! The outbox: facts, written in the transaction that made them true, and read in the order they were committed.

use serde_json::json;

use super::dialect::{Columns as _, json, time_text};
use super::{Store, StoreError, Work};
use crate::domain::Event;

/// How far a reader has come. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct EventCursor {
    /// The database's transaction; always 0 on SQLite, where `seq` alone is the order.
    pub transaction: i64,
    /// The event's place.
    pub seq: i64,
}

impl Store {
    /// Events after a cursor, each with its own cursor, in an order in which none can appear before one already read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events_after(&self, after: EventCursor, limit: u32) -> Result<Vec<(EventCursor, Event)>, StoreError> {
        let statement = self.query(
            "SELECT transaction_id, seq, id::text AS id, type, artist_id::text AS artist_id, occurred_at::text AS occurred_at, dedup_key,
                 data::text AS data
             FROM events
             WHERE (transaction_id > $1 OR (transaction_id = $1 AND seq > $2)) AND {settled}
             ORDER BY transaction_id, seq LIMIT $3",
        );
        let statement = statement.bind(after.transaction).bind(after.seq).bind(i64::from(limit));
        let rows = self.rows("read events", statement).await?;
        rows.iter()
            .map(|row| {
                let cursor = EventCursor { transaction: row.int("transaction_id")?, seq: row.int("seq")? };
                let event = Event {
                    id: row.uuid("id")?,
                    kind: row.text("type")?,
                    artist_id: row.parsed_or_null("artist_id")?,
                    occurred_at: row.time("occurred_at")?,
                    dedup_key: row.text_or_null("dedup_key")?,
                    data: row.json("data")?,
                };
                Ok((cursor, event))
            })
            .collect()
    }

    /// Writes events that belong to no other change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write_events(&self, events: &[Event]) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        insert_events(&mut work, events).await?;
        work.commit().await
    }
}

/// Writes events; one whose dedup key was ever written is left out.
pub(super) async fn insert_events(work: &mut Work, events: &[Event]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
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
         FROM {rows} WHERE TRUE
         ON CONFLICT DO NOTHING",
    );
    work.execute("write events", statement.bind(json("events", &rows)?)).await?;
    Ok(())
}
