//! What is read over many tables: figures, ids, and timelines.

pub(crate) mod health;
pub(crate) mod lookup;
pub(crate) mod timeline;
