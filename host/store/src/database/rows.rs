//! Parameters that many statements take: rows of ids as one JSON array, and limits.

use serde::Serialize;

use crate::database::dialect::json;
use crate::database::error::StoreError;

/// Most rows handed to the database in one statement: bounds the memory of one JSON parameter to a few megabytes.
pub(crate) const ROWS_PER_STATEMENT: usize = 1_000;

/// A row with nothing but an id. What many statements take for each account is written as text at once, never as a tree
/// of JSON values first.
#[derive(Serialize)]
struct IdRow<'a, T> {
    id: &'a T,
}

/// Ids as the JSON array that `{rows}` stands for; `r.value->>'id'` is one of them.
pub(crate) fn id_rows<T: Serialize>(ids: &[T]) -> Result<String, StoreError> {
    let rows: Vec<_> = ids.iter().map(|id| IdRow { id }).collect();
    json("ids", &rows)
}

/// A limit as both databases take it.
pub(crate) fn limit(limit: Option<u32>) -> i64 {
    limit.map_or(i64::MAX, i64::from)
}
