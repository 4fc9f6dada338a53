//! Events that are deleted because of their age, and how far that went: a reader that was behind by then is told that
//! it missed some.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;

use crate::artists::tombstones::erasures_hold_off_in_txn;
use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, json};
use crate::database::error::StoreError;
use crate::events::cursor::EventCursor;
use crate::scope::Scope;

/// A statement about the events before `$1` that no webhook and no delivery needs any more.
macro_rules! old_events {
    ($what:literal, $order:literal) => {
        concat!(
            $what,
            " FROM events o WHERE o.occurred_at < $1::timestamptz
             AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.enabled AND w.seen < o.seq)
             AND NOT EXISTS (SELECT 1 FROM deliveries d
                 WHERE d.event_seq = o.seq AND (d.state = 'waiting' OR d.finished_at >= $1::timestamptz)) ",
            $order
        )
    };
}

/// Counts events that are past their time.
pub(crate) const OLD_EVENTS_COUNT: &str = old_events!("SELECT COUNT(*) AS n", "");

/// Each with what its owner is found by. Data is read here and not by the database: SQLite refuses the whole statement
/// for one text that is no JSON.
const OLD_EVENTS_FIND: &str = old_events!(
    "SELECT o.seq, (SELECT t.tenant FROM artists t WHERE t.id = o.artist_id) AS tenant,
         CASE WHEN NOT EXISTS (SELECT 1 FROM artists t WHERE t.id = o.artist_id) THEN o.data::text END AS data",
    "ORDER BY o.occurred_at LIMIT $2 FOR UPDATE SKIP LOCKED"
);

/// The owner of an event, by which scopes find it: its artist's tenant, or else the one in its data; '' where there is
/// none.
fn owner_of(row: &AnyRow) -> Result<String, StoreError> {
    let of_artist = row.told_or_null("tenant")?;
    let in_data = || row.json_or_null::<Json>("data").ok().flatten()?.get("tenant")?.as_str().map(str::to_owned);
    Ok(of_artist.or_else(in_data).unwrap_or_default())
}

impl Store {
    /// Deletes events that are past their time, at most `limit`, and writes down how far that went, in one transaction.
    /// Returns how many.
    pub(crate) async fn old_events_delete(&self, before: &str, limit: u32) -> Result<u64, StoreError> {
        let mut work = self.begin().await?.proven(self).await?;
        // What hangs on events an erasure removes in another order.
        erasures_hold_off_in_txn(&mut work).await?;
        work.long();
        let statement = work.query(OLD_EVENTS_FIND).bind(before.to_owned()).bind(i64::from(limit));
        let found = work.rows("find events that are past their time", statement).await?;
        if found.is_empty() {
            return Ok(0);
        }
        let (mut events, mut last) = (Vec::with_capacity(found.len()), BTreeMap::<String, i64>::new());
        for row in &found {
            let seq = row.int("seq")?;
            let of_tenant = last.entry(owner_of(row)?).or_default();
            *of_tenant = seq.max(*of_tenant);
            events.push(json!({ "seq": seq }));
        }
        let events = json("events", &events)?;
        // They go with their events in an order of the database's own.
        let statement = work.query(
            "SELECT COUNT(*) AS n FROM (SELECT d.event_seq FROM deliveries d
                 WHERE d.event_seq IN (SELECT (r.value->>'seq')::bigint FROM {rows})
                 ORDER BY d.event_seq, d.webhook_id FOR UPDATE) AS locked",
        );
        work.rows("lock deliveries of old events", statement.bind(events.clone())).await?;
        let statement = work.query("DELETE FROM events WHERE seq IN (SELECT (r.value->>'seq')::bigint FROM {rows})");
        let deleted = work.execute("delete old events", statement.bind(events)).await?;
        let last: Vec<_> = last.iter().map(|(tenant, seq)| json!({ "tenant": tenant, "seq": seq })).collect();
        let statement = work.query(
            "INSERT INTO events_gone (tenant, seq)
             SELECT r.value->>'tenant', (r.value->>'seq')::bigint FROM {rows} WHERE TRUE
             ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq WHERE events_gone.seq < excluded.seq",
        );
        work.execute("write down which events are gone", statement.bind(json("tenants", &last)?)).await?;
        work.commit().await?;
        Ok(deleted)
    }

    /// The last event of a scope that was deleted because of its age; the beginning where none was. A reader that had
    /// not come as far has missed some.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events_gone_get(&self, scope: &Scope) -> Result<EventCursor, StoreError> {
        let text = "SELECT COALESCE(MAX(g.seq), 0)::bigint AS seq FROM events_gone g WHERE TRUE {and_tenant: g.tenant}";
        let row = self.row("find out which events are gone", self.scoped(scope, text)).await?;
        Ok(row.map(|row| row.int("seq")).transpose()?.map(EventCursor::from).unwrap_or_default())
    }
}
