//! Looks for a text in bytes: files of a database, sealed values, written logs.

/// Whether `text` stands in `bytes`.
pub fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}
