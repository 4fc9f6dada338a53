//! Timelines as tables: of an account, and of a connector.

use super::exit::{CommandResult, Exit};
use super::print;
use crate::pipeline::{PlacedEntry, TimelineEntry};

/// Columns of an entry.
pub(in crate::cli) const HEADERS: [&str; 4] = ["at", "kind", "what", "?details"];

/// Prints a timeline, the latest first.
pub(in crate::cli) fn show(entries: Vec<PlacedEntry>, as_json: bool) -> CommandResult {
    let entries: Vec<TimelineEntry> = entries.into_iter().map(|(_, entry)| entry).collect();
    let row =
        |entry: &TimelineEntry| vec![print::time(entry.at), entry.kind.to_owned(), entry.what.clone(), entry.words()];
    print::listing(as_json, &entries, &HEADERS, row, "nothing is on record")?;
    Ok(Exit::Done)
}
