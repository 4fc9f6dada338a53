//! Reading everything about one artist, table by table, as it was at one moment. Rows are handed out as they come: none
//! is held.

use chrono::SecondsFormat;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde_json::{Map, Value as Json};
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

use crate::artists::privacy::is_about_artist;
use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, DatabaseKind, unreadable};
use crate::database::error::{During as _, StoreError};
use crate::database::statement::Statement;
use crate::numbers::metrics::expanded;
use crate::scope::Scope;
use backline_model::privacy::{ColumnKind, Rows, Table};
use backline_model::{ArtistId, DocumentId};

/// A row, by the names of its columns, in their order.
pub type ExportedRow = Map<String, Json>;

/// Everything about an artist as it was when this was begun.
pub struct Export {
    snapshot: Transaction<'static, Any>,
    kind: DatabaseKind,
    artist: ArtistId,
}

impl Store {
    /// Begins to read everything about an artist. Writes of others in the meantime are not seen.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn export_begin(&self, scope: &Scope, artist: ArtistId) -> Result<Export, StoreError> {
        let mut snapshot = self.unbounded_snapshot().await?;
        if scope.only().is_some() {
            let text = "SELECT 1 AS found FROM artists WHERE id = $1::uuid {and_tenant: tenant}";
            let owned = Statement::scoped(self.kind(), scope, text).bind(artist.to_string()).into_query();
            if owned.fetch_optional(&mut *snapshot).await.during("begin an export")?.is_none() {
                return Err(StoreError::NotFound { what: "artist", id: artist.to_string() });
            }
        }
        Ok(Export { snapshot, kind: self.kind(), artist })
    }
}

impl Export {
    /// The artist's rows of a table, in order, without what is never exported.
    pub fn rows(&mut self, table: &Table, rows: &Rows) -> BoxStream<'_, Result<ExportedRow, StoreError>> {
        let columns: Vec<(&'static str, ColumnKind)> = exported(rows).collect();
        let selected: Vec<String> = columns.iter().map(|(name, kind)| selected(name, *kind)).collect();
        let order: Vec<String> = rows.order.split_whitespace().map(|column| format!("t.{column}")).collect();
        let text = format!(
            "SELECT {} FROM {} t WHERE {} ORDER BY {}",
            selected.join(", "),
            table.name,
            is_about_artist(rows.reached),
            order.join(", ")
        );
        let found =
            Statement::made(self.kind, &text).bind(self.artist.to_string()).into_query().fetch(&mut *self.snapshot);
        found.map(move |row| object(&row.during("export a row")?, &columns)).boxed()
    }

    /// The artist's documents, expanded, in the order of their rows.
    pub fn documents(&mut self) -> BoxStream<'_, Result<(DocumentId, String), StoreError>> {
        let statement = Statement::new(
            self.kind,
            "SELECT t.id::text AS id, t.body, t.bytes_raw FROM documents t
             WHERE t.account_id IN (SELECT id FROM accounts WHERE artist_id = $1::uuid) ORDER BY t.metric_date, t.id",
        );
        let found = statement.bind(self.artist.to_string()).into_query().fetch(&mut *self.snapshot);
        let document = |row: Result<AnyRow, sqlx::Error>| {
            let row = row.during("export a document")?;
            Ok((row.parsed("id")?, expanded(&row)?))
        };
        found.map(document).boxed()
    }
}

/// The columns of a table that are exported with its rows.
pub fn exported(rows: &Rows) -> impl Iterator<Item = (&'static str, ColumnKind)> + use<> {
    rows.columns().into_iter().filter(|(_, kind)| !matches!(kind, ColumnKind::Document | ColumnKind::Withheld))
}

fn selected(name: &str, kind: ColumnKind) -> String {
    let cast = match kind {
        ColumnKind::Whole => "bigint",
        ColumnKind::Decimal => "float8",
        ColumnKind::Flag => "int",
        _ => "text",
    };
    format!("t.{name}::{cast} AS {name}")
}

fn object(row: &AnyRow, columns: &[(&'static str, ColumnKind)]) -> Result<ExportedRow, StoreError> {
    columns.iter().map(|(name, kind)| Ok(((*name).to_owned(), value(row, name, *kind)?))).collect()
}

fn value(row: &AnyRow, name: &str, kind: ColumnKind) -> Result<Json, StoreError> {
    Ok(match kind {
        ColumnKind::Whole => row.int_or_null(name)?.into(),
        ColumnKind::Decimal => row.float_or_null(name)?.into(),
        ColumnKind::Flag => row.int_or_null(name)?.map(|flag| flag != 0).into(),
        ColumnKind::Json => row.json_or_null::<Json>(name)?.unwrap_or_default(),
        ColumnKind::Time => {
            row.time_or_null(name)?.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true)).into()
        }
        ColumnKind::Text => row.text_or_null(name)?.into(),
        ColumnKind::Document | ColumnKind::Withheld => return Err(unreadable(name, "it is never exported")),
    })
}
