//! Reading everything about one artist, table by table, as it was at one moment. Rows are handed out as they come: none
//! is held.

use chrono::SecondsFormat;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value as Json, json};
use sqlx::any::AnyRow;

use crate::artists::privacy::is_about_artist;
use crate::database::connection::{ReadView, Store};
use crate::database::dialect::{Columns as _, DatabaseKind, text_in_bytes, unreadable};
use crate::database::error::StoreError;
use crate::database::readable::LastRow;
use crate::database::statement::Statement;
use crate::events::cursor::{EventCursor, event_sql};
use crate::events::row_data::{Reader, events_of};
use crate::numbers::documents::expanded;
use crate::scope::Scope;
use backline_model::privacy::{ColumnKind, PersonalTable, Reached, Rows};
use backline_model::{ArtistId, DocumentId, Event};

/// A row, by the names of its columns, in their order.
pub type ExportedRow = Map<String, Json>;

/// Everything about an artist as it was when this was begun.
pub struct Export {
    view: ReadView,
    artist: ArtistId,
}

/// Events that are read at once: each needs the row it is about.
const EVENTS_PER_PAGE: i64 = 500;

/// Events, and the place of the last row that they were read from.
type EventsPage = (Vec<(EventCursor, Event)>, i64);

impl Store {
    /// Begins to read everything about an artist. Writes of others in the meantime are not seen.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn export_begin(&self, scope: &Scope, artist: ArtistId) -> Result<Export, StoreError> {
        // The reader of the export may be slow. The transaction only reads, so nothing waits for it.
        let mut view = self.unbounded_view().await?;
        if scope.only().is_some() {
            let owned = view.scoped(scope, "SELECT 1 AS found FROM artists WHERE id = $1::uuid {and_tenant: tenant}");
            if view.row("begin an export", owned.bind(artist.to_string())).await?.is_none() {
                return Err(StoreError::NotFound { what: "artist", id: artist.to_string() });
            }
        }
        Ok(Export { view, artist })
    }
}

impl Export {
    /// The artist's rows of a table, in order, without what is never exported.
    pub fn rows(&mut self, table: &PersonalTable, rows: &Rows) -> BoxStream<'_, Result<ExportedRow, StoreError>> {
        let columns: Vec<(&'static str, ColumnKind)> = exported(rows).collect();
        if table.name == "events" {
            return self.events(columns);
        }
        let selected: Vec<String> = columns.iter().map(|(name, kind)| selected(self.view.kind, name, *kind)).collect();
        let (source, condition) = match table.name {
            // With those that batches say of their accounts. The artist leads to both kinds by an index.
            "collection_outcomes" => ("outcomes_all", is_about_artist(Reached::Artist("t.artist_id"))),
            name => (name, is_about_artist(rows.reached)),
        };
        let order: Vec<String> = rows.order.split_whitespace().map(|column| format!("t.{column}")).collect();
        let text = format!(
            "SELECT {} FROM {} t WHERE {} ORDER BY {}",
            selected.join(", "),
            source,
            condition,
            order.join(", ")
        );
        let statement = Statement::made(self.view.kind, &text).bind(self.artist.to_string());
        let found = self.view.stream("export a row", statement);
        found.map(move |row| object(&row?, &columns)).boxed()
    }

    /// The artist's events with their data, of which a part may be in the rows that they are about.
    fn events(&mut self, columns: Vec<(&'static str, ColumnKind)>) -> BoxStream<'_, Result<ExportedRow, StoreError>> {
        let pages = futures::stream::try_unfold((self, 0), async |(export, after)| {
            let page = export.events_page(after).await?;
            Ok(page.map(|(page, last)| (page, (export, last))))
        });
        let events = pages.map_ok(|page| futures::stream::iter(page.into_iter().map(Ok))).try_flatten();
        events.and_then(move |(cursor, event)| std::future::ready(event_object(cursor, &event, &columns))).boxed()
    }

    /// The events after a place, with the place of the last one, which may be one that can't be read; none at the end.
    async fn events_page(&mut self, after: i64) -> Result<Option<EventsPage>, StoreError> {
        let text = event_sql!("WHERE e.artist_id = $1::uuid AND e.seq > $2 ORDER BY e.seq LIMIT $3");
        let statement = self.view.query(text).bind(self.artist.to_string()).bind(after).bind(EVENTS_PER_PAGE);
        let rows = self.view.rows("export events", statement).await?;
        let Some(last) = LastRow::of(&rows) else { return Ok(None) };
        let last = last.number("seq")?;
        Ok(Some((events_of(Reader::View(&mut self.view), &rows).await?, last)))
    }

    /// The ids of the artist's documents with their expanded texts, in the order of their rows; no text for one that is
    /// damaged, or whose id is none.
    pub fn documents(&mut self) -> BoxStream<'_, Result<(String, Option<String>), StoreError>> {
        let id = selected(self.view.kind, "id", ColumnKind::Text);
        let text = format!(
            "SELECT {id}, t.body, t.bytes_raw FROM documents t
             WHERE t.account_id IN (SELECT id FROM accounts WHERE artist_id = $1::uuid) ORDER BY t.metric_date, t.id"
        );
        let statement = Statement::made(self.view.kind, &text);
        let found = self.view.stream("export a document", statement.bind(self.artist.to_string()));
        let document = |row: Result<AnyRow, StoreError>| {
            let row = row?;
            // The id becomes the name of a file.
            let Ok(id) = row.parsed::<DocumentId>("id") else { return Ok((row.told("id")?, None)) };
            let text = match expanded(&row) {
                Err(StoreError::Compression { .. } | StoreError::Unreadable { .. }) => None,
                text => Some(text?),
            };
            Ok((id.to_string(), text))
        };
        found.map(document).boxed()
    }
}

fn event_object(
    cursor: EventCursor,
    event: &Event,
    columns: &[(&'static str, ColumnKind)],
) -> Result<ExportedRow, StoreError> {
    let value = |name| {
        Ok(match name {
            "seq" => json!(cursor.number()),
            "id" => json!(event.id),
            "type" => json!(event.kind),
            "artist_id" => json!(event.artist_id),
            "occurred_at" => json!(event.occurred_at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            "dedup_key" => json!(event.dedup_key),
            "data" => event.data.clone(),
            unknown => return Err(unreadable(unknown, "no event has it")),
        })
    };
    columns.iter().map(|(name, _)| Ok(((*name).to_owned(), value(*name)?))).collect()
}

/// The columns of a table that are exported with its rows.
pub fn exported(rows: &Rows) -> impl Iterator<Item = (&'static str, ColumnKind)> + use<> {
    rows.columns().into_iter().filter(|(_, kind)| !matches!(kind, ColumnKind::Document | ColumnKind::Withheld))
}

fn selected(database: DatabaseKind, name: &str, kind: ColumnKind) -> String {
    if kind == ColumnKind::Decimal {
        // PostgreSQL would refuse the whole statement for a number that no float holds.
        return format!(
            "CASE WHEN t.{name} > 1e300 OR t.{name} < -1e300 THEN NULL ELSE t.{name}::float8 END AS {name}"
        );
    }
    let cast = match kind {
        ColumnKind::Whole => "bigint",
        ColumnKind::Flag => "int",
        // A file may hold any bytes as text, and sqlx would fail the whole export for the sake of one.
        _ if database == DatabaseKind::Sqlite => return text_in_bytes(&format!("t.{name}"), name),
        _ => "text",
    };
    format!("t.{name}::{cast} AS {name}")
}

/// A row as it is stored. A value that can't be read, such as JSON that is none, is exported as its text, with replaced
/// characters where it is not UTF-8, and keeps no other one back.
fn object(row: &AnyRow, columns: &[(&'static str, ColumnKind)]) -> Result<ExportedRow, StoreError> {
    let of = |name: &'static str, kind: ColumnKind| match value(row, name, kind) {
        Err(StoreError::Unreadable { .. }) if !matches!(kind, ColumnKind::Document | ColumnKind::Withheld) => {
            Ok(row.told(name).ok().into())
        }
        found => found,
    };
    columns.iter().map(|(name, kind)| Ok(((*name).to_owned(), of(name, *kind)?))).collect()
}

fn value(row: &AnyRow, name: &str, kind: ColumnKind) -> Result<Json, StoreError> {
    Ok(match kind {
        ColumnKind::Whole => row.int_or_null(name)?.into(),
        ColumnKind::Decimal => row.float_or_null(name)?.into(),
        ColumnKind::Flag => row.int_or_null(name)?.map(|flag| flag != 0).into(),
        ColumnKind::Json => row.json_or_null::<Json>(name)?.unwrap_or_default(),
        ColumnKind::Growth => row.growth_or_null(name)?.map_or(Json::Null, |changes| json!(changes)),
        ColumnKind::Time => {
            row.time_or_null(name)?.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true)).into()
        }
        ColumnKind::Text => row.text_or_null(name)?.into(),
        ColumnKind::Document | ColumnKind::Withheld => return Err(unreadable(name, "it is never exported")),
    })
}
