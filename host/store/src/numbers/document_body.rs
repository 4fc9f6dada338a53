//! A document's text, compressed.

use crate::database::error::StoreError;

/// Level of zstd for documents: JSON shrinks to a fifth already, and higher levels cost more time than they save space.
const COMPRESSION_LEVEL: i32 = 1;

/// A document's text as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentBody {
    pub(super) compressed: Vec<u8>,
    /// Size of the text, in bytes.
    pub(super) bytes_raw: usize,
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
