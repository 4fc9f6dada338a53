//! Lists of rows, some of which this binary may not be able to read: another program wrote them, a newer version did,
//! or the data they name is gone, such as a time zone. Such a row affects no other: it is left out and noted, and the
//! others are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::any::AnyRow;
use tokio::time::Instant;

use crate::database::dialect::Columns as _;
use crate::database::error::StoreError;
use crate::scope::Scope;
use backline_model::health::UnreadableRow;
use backline_model::remedies::{Remedy, off};

/// How long a row is named after it was met last: nothing says when it is removed, or was only part of a list once.
const NAMED_FOR: Duration = Duration::from_secs(3_600);

/// Most rows that are named. A table that is broken as a whole is named by as many of its rows.
const NAMED_MAX: usize = 100;

/// What of a table a list holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it: what is not in the list is not in the table.
    Whole,
    /// Some rows.
    Part,
}

/// What a list of a scope holds, where it is of the whole table for all tenants.
pub(crate) fn whole_if_all(scope: &Scope) -> Extent {
    if scope.only().is_none() { Extent::Whole } else { Extent::Part }
}

/// The rows that this process could not read. Cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct Unreadable(Arc<Mutex<BTreeMap<Key, Note>>>);

/// Table, and what the row is called.
type Key = (&'static str, String);

struct Note {
    column: String,
    problem: String,
    met_at: Instant,
}

impl Unreadable {
    /// Reads rows, without those that can't be read, which are noted. `name` is the column by which they are named.
    ///
    /// # Errors
    /// Any but [`StoreError::Unreadable`].
    pub(crate) fn read<T>(
        &self,
        table: &'static str,
        name: &str,
        extent: Extent,
        rows: &[AnyRow],
        of: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut read = Vec::with_capacity(rows.len());
        let mut unread = BTreeMap::new();
        let mut well_read = BTreeSet::new();
        let noted_before = self.notes().keys().any(|(noted, _)| *noted == table);
        for row in rows {
            match of(row) {
                Ok(value) => {
                    read.push(value);
                    if noted_before {
                        well_read.insert(named(row, name));
                    }
                }
                Err(StoreError::Unreadable { column, problem }) if !off(Remedy::UnreadableRows) => {
                    unread.insert(named(row, name), Note { column, problem, met_at: Instant::now() });
                }
                Err(error) => return Err(error),
            }
        }
        if noted_before || !unread.is_empty() {
            self.note(table, extent, unread, &well_read);
        }
        Ok(read)
    }

    fn note(&self, table: &'static str, extent: Extent, unread: BTreeMap<String, Note>, well_read: &BTreeSet<String>) {
        let mut notes = self.notes();
        notes.retain(|(noted, name), _| *noted != table || (extent == Extent::Part && !well_read.contains(name)));
        for (name, note) in unread {
            if notes.len() < NAMED_MAX || notes.contains_key(&(table, name.clone())) {
                notes.insert((table, name), note);
            }
        }
    }

    /// The rows that were met in the last hour, by table and name.
    pub(crate) fn rows(&self) -> Vec<UnreadableRow> {
        let notes = self.notes();
        let rows = notes.iter().map(|((table, name), note)| UnreadableRow {
            table: (*table).to_owned(),
            name: name.clone(),
            column: note.column.clone(),
            problem: note.problem.clone(),
        });
        rows.collect()
    }

    fn notes(&self) -> MutexGuard<'_, BTreeMap<Key, Note>> {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.retain(|_, note| note.met_at.elapsed() < NAMED_FOR);
        notes
    }
}

/// The last row of a page that is full and of which too few rows could be read: what comes after it belongs to the
/// page too. `asked` is how many rows the statement could return, `found` how many of `limit` there are by now.
pub(crate) fn more_after(rows: &[AnyRow], asked: u32, found: usize, limit: u32) -> Option<&AnyRow> {
    rows.last().filter(|_| rows.len() >= asked as usize && found < limit as usize)
}

/// Where a list goes on after a row: what is in the column that it is in the order of. Where that is not UTF-8, a text
/// that comes after it.
///
/// # Errors
/// [`StoreError::Unreadable`] where no such text is found.
pub(crate) fn place_of(row: &AnyRow, column: &str) -> Result<String, StoreError> {
    let error = match row.text(column) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    row.bytes(column).ok().and_then(|bytes| text_after(&bytes)).ok_or(error)
}

/// A text that a file puts after these bytes, which are not UTF-8: it compares bytes. Ids are ASCII, so none that
/// begins like the bytes comes after them, and the text is before all ids that do.
fn text_after(bytes: &[u8]) -> Option<String> {
    let valid = std::str::from_utf8(bytes).err()?.valid_up_to();
    let start = std::str::from_utf8(&bytes[..valid]).ok()?;
    let longer = format!("{start}{}", char::MAX);
    if longer.as_bytes() > bytes {
        return Some(longer);
    }
    // No text has such a byte, as ü in Latin-1 is: it is after all that begin so.
    let end = start.chars().next_back()?;
    let next = char::from_u32(u32::from(end) + 1)?;
    Some(format!("{}{next}", &start[..start.len() - end.len_utf8()]))
}

/// How many rows of a page are still to be found.
pub(crate) fn left_of(limit: u32, found: usize) -> u32 {
    limit.saturating_sub(u32::try_from(found).unwrap_or(u32::MAX))
}

/// What a row is called: the column's text or number.
fn named(row: &AnyRow, name: &str) -> String {
    let number = || row.int(name).map(|number| number.to_string());
    row.text(name).or_else(|_| number()).unwrap_or_else(|_| "?".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_after_an_id_that_is_not_utf_8() {
        for (bytes, before, after) in [
            (b"7a\xe4".as_slice(), "7az", "7b"),
            (b"7a\xe4z".as_slice(), "7az", "7b"),
            (b"7a\xfc".as_slice(), "7az", "7b0"),
            (b"\xe4".as_slice(), "z", "\u{10ffff}0"),
        ] {
            let text = text_after(bytes).expect("a text");
            assert!(text.as_bytes() > bytes, "{text} is not after {bytes:?}");
            assert!(before < text.as_str() && text.as_str() < after, "{text}");
        }
        assert_eq!(text_after(b"\xfc"), None, "nothing is after it");
    }
}
