//! Rows of metrics, their growth and documents, and where they go when they are old.

pub(crate) mod archive;
pub(crate) mod archive_runs;
pub(crate) mod document_body;
pub(crate) mod documents;
pub(crate) mod history;
pub(crate) mod metrics;
pub(crate) mod quarantine;
