//! The documents that rows were made from, compressed.

use chrono::NaiveDate;
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::rows::ROWS_PER_STATEMENT;
use crate::scope::Scope;
use crate::work::result::{AccountResult, DocumentRecord};
use backline_model::{AccountId, ArtistId, Batch, Digest, DocumentId, Platform, RunId};

/// Largest expanded document; a connector's output is bounded far below it.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Most document bytes handed to the database in one parameter.
const BYTES_PER_STATEMENT: usize = 32 * 1024 * 1024;

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

/// A document without its bytes, as the statement takes it.
#[derive(Serialize)]
struct DocumentRow<'a> {
    id: DocumentId,
    account: AccountId,
    artist: ArtistId,
    platform: &'a Platform,
    date: NaiveDate,
    run: RunId,
    observed_at: String,
    since: String,
    until: String,
    release: Digest,
    /// Where its bytes begin among those of the statement, counted from 1.
    offset: usize,
    /// Number of its bytes, compressed.
    length: usize,
    /// Number of its bytes, expanded.
    raw: usize,
}

/// Writes the documents that rows were made from. Their compressed bytes travel as one parameter, of which each row
/// takes its part: within JSON they would have to be written as digits.
pub(crate) async fn documents_add_in_txn(
    work: &mut Work,
    batch: &Batch,
    documents: &[(&AccountResult, &DocumentRecord)],
) -> Result<(), StoreError> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut rows = Vec::new();
    for (index, (account, document)) in documents.iter().enumerate() {
        rows.push(DocumentRow {
            id: document.id,
            account: account.account_id,
            artist: account.artist_id,
            platform: &account.platform,
            date: account.metric_date,
            run: batch.run_id,
            observed_at: time_text(document.observed_at),
            since: time_text(document.window.since),
            until: time_text(document.window.until),
            release: batch.release,
            offset: bytes.len() + 1,
            length: document.body.compressed.len(),
            raw: document.body.bytes_raw,
        });
        bytes.extend_from_slice(&document.body.compressed);
        if bytes.len() < BYTES_PER_STATEMENT && rows.len() < ROWS_PER_STATEMENT && index + 1 < documents.len() {
            continue;
        }
        let statement = work.query(
            "INSERT INTO documents (id, account_id, artist_id, platform, metric_date, run_id, observed_at,
                 window_since, window_until,
                 release_digest, body, bytes_raw)
             SELECT (r.value->>'id')::uuid, (r.value->>'account')::uuid, (r.value->>'artist')::uuid,
                 r.value->>'platform',
                 (r.value->>'date')::date, (r.value->>'run')::uuid, (r.value->>'observed_at')::timestamptz,
                 (r.value->>'since')::timestamptz, (r.value->>'until')::timestamptz, r.value->>'release',
                 substr($2::bytea, (r.value->>'offset')::int, (r.value->>'length')::int), (r.value->>'raw')::bigint
             FROM {rows}",
        );
        let statement = statement.bind(json("documents", &rows)?).bind(std::mem::take(&mut bytes));
        work.execute("store documents", statement).await?;
        rows.clear();
    }
    Ok(())
}
