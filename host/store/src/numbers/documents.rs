//! The documents that rows were made from, compressed.

use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::rows::ROWS_PER_STATEMENT;
use crate::scope::Scope;
use crate::work::result::{AccountResult, DocumentRecord};
use backline_model::{Batch, DocumentId};

/// Level of zstd for documents: JSON shrinks to a fifth already, and higher levels cost more time than they save space.
const COMPRESSION_LEVEL: i32 = 1;

/// Largest expanded document; a connector's output is bounded far below it.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Most document bytes handed to the database in one parameter.
const BYTES_PER_STATEMENT: usize = 32 * 1024 * 1024;

/// A document's text as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentBody {
    compressed: Vec<u8>,
    /// Size of the text, in bytes.
    bytes_raw: usize,
}

impl DocumentBody {
    /// Compresses texts, in their order, and returns them too. It takes a few milliseconds for a batch, so it is done
    /// on a thread that may be kept busy, and before a transaction is begun, which would hold locks meanwhile.
    ///
    /// # Errors
    /// When memory is short.
    pub async fn compress_all(texts: Vec<String>) -> Result<(Vec<Self>, Vec<String>), StoreError> {
        if texts.is_empty() {
            return Ok((Vec::new(), texts));
        }
        let work = tokio::task::spawn_blocking(move || {
            let mut compressor = zstd::bulk::Compressor::new(COMPRESSION_LEVEL)?;
            let bodies = texts.iter().map(|text| Self::compressed_by(&mut compressor, text)).collect::<Result<_, _>>();
            Ok((bodies?, texts))
        });
        work.await
            .unwrap_or_else(|ended| Err(std::io::Error::other(ended)))
            .map_err(|source| StoreError::Compression { what: "compress", source })
    }

    /// Compresses one text.
    ///
    /// # Errors
    /// When memory is short.
    pub fn compress(text: &str) -> Result<Self, StoreError> {
        zstd::bulk::Compressor::new(COMPRESSION_LEVEL)
            .and_then(|mut compressor| Self::compressed_by(&mut compressor, text))
            .map_err(|source| StoreError::Compression { what: "compress", source })
    }

    fn compressed_by(compressor: &mut zstd::bulk::Compressor<'_>, text: &str) -> std::io::Result<Self> {
        Ok(Self { compressed: compressor.compress(text.as_bytes())?, bytes_raw: text.len() })
    }
}

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
    let mut rows = Vec::new();
    for (index, (account, document)) in documents.iter().enumerate() {
        rows.push(json!({
            "id": document.id, "account": account.account_id, "artist": account.artist_id, "platform": account.platform,
            "date": account.metric_date, "run": batch.run_id, "observed_at": time_text(document.observed_at),
            "since": time_text(document.window.since), "until": time_text(document.window.until),
            "release": batch.release,
            "offset": bytes.len() + 1, "length": document.body.compressed.len(), "raw": document.body.bytes_raw,
        }));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn texts_are_compressed_in_their_order_and_come_back() {
        let texts: Vec<String> =
            (0..20).map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(n * 100))).collect();
        let (bodies, returned) = DocumentBody::compress_all(texts.clone()).await.unwrap();
        assert_eq!(returned, texts);
        for (body, text) in bodies.iter().zip(&texts) {
            assert_eq!(body, &DocumentBody::compress(text).unwrap());
            assert_eq!(zstd::bulk::decompress(&body.compressed, body.bytes_raw).unwrap(), text.as_bytes());
        }
        assert_eq!(bodies.len(), texts.len());
        assert_eq!(DocumentBody::compress_all(Vec::new()).await.unwrap(), (Vec::new(), Vec::new()));
    }
}
