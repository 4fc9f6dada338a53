//! The documents that rows were made from, compressed.

use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, time_text};
use crate::database::error::StoreError;
use crate::database::rows::ROWS_PER_STATEMENT;
use crate::database::table::Table;
use crate::scope::Scope;
use crate::work::result::{AccountResult, DocumentRecord};
use backline_model::{Batch, DocumentId};

/// Largest expanded document; a connector's output is bounded far below it.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Most document bytes handed to the database in one parameter.
const BYTES_PER_STATEMENT: usize = 32 * 1024 * 1024;

const INSERT: &str = "INSERT INTO documents (id, account_id, artist_id, platform, metric_date, run_id, observed_at,
        window_since, window_until, release_digest, body, bytes_raw)
    SELECT r.id, r.account, r.artist, r.platform, r.date, r.run, r.observed_at, r.since, r.until, r.release,
        substr($1::bytea, r.begins, r.size), r.raw
    FROM {columns: id uuid, account uuid, artist uuid, platform text, date date, run uuid, observed_at timestamptz,
        since timestamptz, until timestamptz, release text, begins int, size int, raw bigint}";

impl Store {
    /// A stored document, expanded.
    ///
    /// # Errors
    /// When it can't be expanded or the database fails.
    pub async fn document_get(&self, scope: &Scope, id: DocumentId) -> Result<Option<String>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT body, bytes_raw FROM documents WHERE id = $1::uuid {and_artist: documents.artist_id}",
        );
        let Some(row) = self.row("read a document", statement.bind(id.to_string())).await? else { return Ok(None) };
        expanded(&row).map(Some)
    }
}

/// The document of a row with `body` and `bytes_raw`.
pub(crate) fn expanded(row: &AnyRow) -> Result<String, StoreError> {
    let size = usize::try_from(row.count("bytes_raw")?).unwrap_or(usize::MAX).min(BYTES_MAX);
    let expand = |source| StoreError::Compression { what: "expand", source };
    let bytes = zstd::bulk::decompress(&row.bytes("body")?, size).map_err(expand)?;
    String::from_utf8(bytes)
        .map_err(|error| expand(std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error())))
}

/// Writes the documents that rows were made from. Their compressed bytes travel as one parameter, of which each row
/// takes its part: within JSON they would have to be written as digits.
pub(crate) async fn documents_add_in_txn(
    work: &mut Work,
    batch: &Batch,
    documents: &[(&AccountResult, &DocumentRecord)],
) -> Result<(), StoreError> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut rows = Table::of(work.kind, INSERT);
    for (index, (account, document)) in documents.iter().enumerate() {
        rows.add([
            ("id", json!(document.id)),
            ("account", json!(account.account_id)),
            ("artist", json!(account.artist_id)),
            ("platform", json!(account.platform)),
            ("date", json!(account.metric_date)),
            ("run", json!(batch.run_id)),
            ("observed_at", json!(time_text(document.observed_at))),
            ("since", json!(time_text(document.window.since))),
            ("until", json!(time_text(document.window.until))),
            ("release", json!(batch.release)),
            ("begins", json!(bytes.len() + 1)),
            ("size", json!(document.body.compressed.len())),
            ("raw", json!(document.body.bytes_raw)),
        ]);
        bytes.extend_from_slice(&document.body.compressed);
        if bytes.len() < BYTES_PER_STATEMENT && rows.len() < ROWS_PER_STATEMENT && index + 1 < documents.len() {
            continue;
        }
        let rows = std::mem::replace(&mut rows, Table::of(work.kind, INSERT));
        let statement = work.query(INSERT).bind(std::mem::take(&mut bytes)).bind_table(rows)?;
        work.execute("store documents", statement).await?;
    }
    Ok(())
}
