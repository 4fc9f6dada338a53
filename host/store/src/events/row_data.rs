//! The data of events about rows of `metrics`. Such an event has no copy of its row: what it says is read from the row
//! when it is asked for.
//!
//! Before a row is replaced or deleted, its events get their data for good ([`row_data_keep_in_txn`]). So each reading
//! of one event brings the same. Of a row that another program changed or deleted, the event says that it was replaced.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::{ReadView, Store, Work};
use crate::database::dialect::{Columns as _, date_text, json};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, UnreadableNotes};
use crate::database::rows::{ROWS_PER_STATEMENT, id_rows};
use crate::database::statement::Statement;
use crate::events::cursor::{EventCursor, event_sql};
use crate::numbers::metrics::{row_columns, row_of};
use backline_model::event::{replaced_event_data, row_event_data, row_event_key};
use backline_model::{AccountId, Event, MetricsRow, RunId};

/// What reads events: any connection, or the one of a transaction.
pub(crate) enum Reader<'a> {
    /// Any connection.
    Store(&'a Store),
    /// The transaction's.
    View(&'a mut ReadView),
}

impl Reader<'_> {
    fn query(&self, statement: &'static str) -> Statement {
        match self {
            Self::Store(store) => store.query(statement),
            Self::View(view) => view.query(statement),
        }
    }

    fn unreadable(&self) -> &UnreadableNotes {
        match self {
            Self::Store(store) => &store.unreadable,
            Self::View(view) => &view.unreadable,
        }
    }

    async fn rows(&mut self, what: &'static str, statement: Statement) -> Result<Vec<AnyRow>, StoreError> {
        match self {
            Self::Store(store) => store.rows(what, statement).await,
            Self::View(view) => view.rows(what, statement).await,
        }
    }
}

/// The row that an event is about.
type RowKey = (AccountId, NaiveDate);

/// An event as it is stored.
struct StoredEvent {
    cursor: EventCursor,
    event: Event,
    /// The row whose data are the event's, and when that row was written; none where the event has its data itself.
    row: Option<(RowKey, DateTime<Utc>)>,
}

/// The events of rows that were read with [`event_sql`], in the same order, with their data. Those that can't be read
/// are left out.
pub(crate) async fn events_of(
    mut reader: Reader<'_>,
    rows: &[AnyRow],
) -> Result<Vec<(EventCursor, Event)>, StoreError> {
    let mut events = reader.unreadable().read("events", "seq", Extent::Part, rows, stored_of)?;
    let missing = add_data(&mut reader, &mut events).await?;
    if !missing.is_empty() {
        // Their rows may have been replaced since the events were read. They have their data themselves then.
        let read: Vec<_> = missing.iter().map(|cursor| json!({ "seq": cursor.number() })).collect();
        let statement = reader.query(event_sql!("WHERE e.seq IN (SELECT (r.value->>'seq')::bigint FROM {rows})"));
        let read = reader.rows("read events again", statement.bind(json("events", &read)?)).await?;
        let mut read = reader.unreadable().read("events", "seq", Extent::Part, &read, stored_of)?;
        add_data(&mut reader, &mut read).await?;
        say_replaced(&mut reader, &mut read).await?;
        let mut read: HashMap<EventCursor, StoredEvent> = read.into_iter().map(|event| (event.cursor, event)).collect();
        for event in &mut events {
            if let Some(again) = read.remove(&event.cursor) {
                *event = again;
            }
        }
    }
    Ok(events.into_iter().map(|StoredEvent { cursor, event, .. }| (cursor, event)).collect())
}

/// Writes the data of events into them whose rows are about to be replaced or deleted in this transaction.
pub(crate) async fn row_data_keep_in_txn(work: &mut Work, keys: &[RowKey]) -> Result<(), StoreError> {
    rows_lock_in_txn(work, keys).await?;
    for chunk in keys.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk.iter().map(|(account, date)| json!({ "account": account, "date": date })).collect();
        let statement = work.query(concat!(
            event_sql!(columns),
            " FROM {rows} LEFT JOIN events e ON e.row_date = (r.value->>'date')::date
                 AND e.row_account = (r.value->>'account')::uuid
             WHERE (e.seq IS NULL) = FALSE AND e.row_at IS NOT NULL ORDER BY e.seq"
        ));
        let found = work.rows("find the events of rows", statement.bind(json("rows", &rows)?)).await?;
        if found.is_empty() {
            continue;
        }
        let events = events_of(Reader::View(work), &found).await?;
        let rows: Vec<_> =
            events.iter().map(|(cursor, event)| json!({ "seq": cursor.number(), "data": event.data })).collect();
        let statement = work.query(
            "UPDATE events SET row_at = NULL, data = (SELECT (r.value->>'data')::jsonb FROM {rows}
                 WHERE (r.value->>'seq')::bigint = events.seq)
             WHERE seq IN (SELECT (r.value->>'seq')::bigint FROM {rows})",
        );
        work.execute("keep the data of events", statement.bind(json("events", &rows)?)).await?;
    }
    Ok(())
}

/// Locks rows before their events, as the archive does that deletes them.
async fn rows_lock_in_txn(work: &mut Work, keys: &[RowKey]) -> Result<(), StoreError> {
    let mut accounts_of: BTreeMap<NaiveDate, Vec<AccountId>> = BTreeMap::new();
    for (account, date) in keys {
        accounts_of.entry(*date).or_default().push(*account);
    }
    for (date, accounts) in accounts_of {
        let statement = work.query(
            "SELECT m.account_id::text AS account_id FROM metrics m
             WHERE m.account_id {in_ids} AND m.metric_date = $2::date ORDER BY m.account_id FOR NO KEY UPDATE",
        );
        let statement = statement.bind(id_rows(&accounts)?).bind(date_text(date));
        work.rows("lock rows whose events keep their data", statement).await?;
    }
    Ok(())
}

fn stored_of(row: &AnyRow) -> Result<StoredEvent, StoreError> {
    let mut event = Event {
        id: row.uuid("id")?,
        kind: row.text("type")?,
        artist_id: row.parsed_or_null("artist_id")?,
        occurred_at: row.time("occurred_at")?,
        dedup_key: row.text_or_null("dedup_key")?,
        data: row.json("data")?,
    };
    let account: Option<AccountId> = row.parsed_or_null("row_account")?;
    let date: Option<NaiveDate> = row.parsed_or_null("row_date")?;
    let key = account.zip(date);
    if let Some((account, date)) = key {
        let run: Option<RunId> = row.parsed_or_null("row_run")?;
        event.dedup_key = Some(row_event_key(&event.kind, account, date, run));
    }
    let row_at = row.time_or_null("row_at")?;
    Ok(StoredEvent { cursor: EventCursor::from(row.int("seq")?), event, row: key.zip(row_at) })
}

/// Adds the data of the rows that are there as they were. Returns the other events that have none.
async fn add_data(reader: &mut Reader<'_>, events: &mut [StoredEvent]) -> Result<Vec<EventCursor>, StoreError> {
    let mut keys: Vec<RowKey> = events.iter().filter_map(|event| Some(event.row?.0)).collect();
    keys.sort_unstable();
    keys.dedup();
    // A late number for an archived date hides the archived row, so the archive comes second.
    let mut found = rows_of(reader, &keys, false).await?;
    keys.retain(|key| !found.contains_key(key));
    found.extend(rows_of(reader, &keys, true).await?);
    let mut missing = Vec::new();
    for event in events {
        let Some((key, written)) = event.row else { continue };
        match found.get(&key) {
            Some((row, at)) if *at == written => {
                event.event.data = row_event_data(&event.event.kind, &event.event.data, row);
                event.row = None;
            }
            _ => missing.push(event.cursor),
        }
    }
    Ok(missing)
}

/// Says of the events that have no data still that their rows were replaced.
async fn say_replaced(reader: &mut Reader<'_>, events: &mut [StoredEvent]) -> Result<(), StoreError> {
    let of_account = |event: &StoredEvent| event.row.map(|((account, _), _)| account);
    let accounts: Vec<AccountId> = events.iter().filter_map(of_account).collect();
    if accounts.is_empty() {
        return Ok(());
    }
    let statement = reader.query("SELECT id::text AS id, platform FROM accounts WHERE id {in_ids}");
    let rows = reader.rows("read the platforms of events", statement.bind(id_rows(&accounts)?)).await?;
    let platforms = rows.iter().map(|row| Ok((row.parsed("id")?, row.told("platform")?)));
    let platforms: HashMap<AccountId, String> = platforms.collect::<Result<_, StoreError>>()?;
    for StoredEvent { event, row, .. } in events {
        let Some(((account, date), _)) = row.take() else { continue };
        let platform = platforms.get(&account).map_or("", String::as_str);
        event.data = replaced_event_data(event, account, platform, date);
    }
    Ok(())
}

/// Rows with the time each was written, of `metrics` or of the archive.
async fn rows_of(
    reader: &mut Reader<'_>,
    keys: &[RowKey],
    archived: bool,
) -> Result<HashMap<RowKey, (MetricsRow, DateTime<Utc>)>, StoreError> {
    macro_rules! by_key {
        ($table:literal) => {
            concat!(
                "SELECT ",
                row_columns!(),
                ", m.updated_at::text AS updated_at FROM {rows} LEFT JOIN ",
                $table,
                " m ON m.account_id = (r.value->>'account')::uuid AND m.metric_date = (r.value->>'date')::date
                 WHERE (m.account_id IS NULL) = FALSE"
            )
        };
    }

    let mut found = HashMap::with_capacity(keys.len());
    for chunk in keys.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk.iter().map(|(account, date)| json!({ "account": account, "date": date })).collect();
        let statement = reader.query(if archived { by_key!("metrics_archive") } else { by_key!("metrics") });
        let rows = reader.rows("read the rows of events", statement.bind(json("rows", &rows)?)).await?;
        let row_of = |row: &AnyRow| Ok((row_of(row)?, row.time("updated_at")?));
        for (row, written) in reader.unreadable().read("metrics", "account_id", Extent::Part, &rows, row_of)? {
            found.insert((row.account_id, row.metric_date), (row, written));
        }
    }
    Ok(found)
}
