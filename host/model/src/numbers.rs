//! What is known of an account on a date: metrics, their rows, their growth, and what is kept of them.

pub mod growth;
pub mod history;
pub mod merge;
pub mod metric;
pub mod row;
pub mod snapshot;
pub mod wording;
