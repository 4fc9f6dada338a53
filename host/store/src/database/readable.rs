//! Lists of rows, some of which this binary may not be able to read: another program wrote them, a newer version did,
//! or the data they name is gone, such as a time zone. Such a row affects no other: it is left out and noted, and the
//! others are read. A page goes on after it too.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
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

/// Most rows of a table that are named. A table that is broken as a whole is named by as many of its rows, and its
/// others are counted.
const NAMED_MAX: usize = 100;

/// Most rows of a table that are counted beside those that are named.
const COUNTED_MAX: usize = 10_000;

/// Most characters of a row's name, and of what is wrong with it: both come from what another program wrote.
const CHARACTERS_MAX: usize = 200;

/// What of a table a list holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it: what is not in the list is not in the table.
    Whole,
    /// Some rows.
    Part,
    /// Some columns of some rows: that these can be read says nothing of the others.
    Columns,
}

/// What a list of a scope holds, where it is of the whole table for all tenants.
pub(crate) fn whole_if_all(scope: &Scope) -> Extent {
    if scope.only().is_none() { Extent::Whole } else { Extent::Part }
}

/// The rows that this process could not read, by table. Cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct UnreadableNotes(Arc<Mutex<BTreeMap<&'static str, Notes>>>);

/// The rows of a table that could not be read.
#[derive(Default)]
struct Notes {
    /// Those that are named, by what they are called.
    named: BTreeMap<String, Note>,
    /// The others, by hashes of what they are called, with when each was met last.
    others: BTreeMap<u64, Instant>,
}

struct Note {
    column: String,
    problem: String,
    met_at: Instant,
}

impl UnreadableNotes {
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
        let noted_before = self.tables().contains_key(table);
        for row in rows {
            match of(row) {
                Ok(value) => {
                    read.push(value);
                    if noted_before {
                        well_read.insert(named(row, name));
                    }
                }
                Err(StoreError::Unreadable { column, problem }) if !off(Remedy::UnreadableRows) => {
                    let problem = shortened(problem);
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
        let mut tables = self.tables();
        let notes = tables.entry(table).or_default();
        match extent {
            Extent::Whole => *notes = Notes::default(),
            Extent::Part => well_read.iter().for_each(|name| notes.remove(name)),
            Extent::Columns => {}
        }
        for (name, note) in unread {
            notes.add(name, note);
        }
        if !notes.is_any_recent() {
            tables.remove(table);
        }
    }

    /// The rows that were met in the last hour, by table and name: at most 100 of each table.
    pub(crate) fn rows(&self) -> Vec<UnreadableRow> {
        let mut tables = self.tables();
        tables.retain(|_, notes| notes.is_any_recent());
        let rows = tables.iter().flat_map(|(table, notes)| {
            notes.named.iter().map(move |(name, note)| UnreadableRow {
                table: (*table).to_owned(),
                name: name.clone(),
                column: note.column.clone(),
                problem: note.problem.clone(),
            })
        });
        rows.collect()
    }

    /// How many rows of each table were met besides: at most 10,000 of each.
    pub(crate) fn others(&self) -> BTreeMap<String, u64> {
        let mut tables = self.tables();
        tables.retain(|_, notes| notes.is_any_recent());
        let others = tables.iter().filter(|(_, notes)| !notes.others.is_empty());
        others.map(|(table, notes)| ((*table).to_owned(), notes.others.len() as u64)).collect()
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<&'static str, Notes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn add(&mut self, name: String, note: Note) {
        let hash = hash_of(&name);
        if self.named.len() < NAMED_MAX || self.named.contains_key(&name) {
            self.others.remove(&hash);
            self.named.insert(name, note);
        } else if self.others.len() < COUNTED_MAX || self.others.contains_key(&hash) {
            self.others.insert(hash, note.met_at);
        }
    }

    fn remove(&mut self, name: &str) {
        self.named.remove(name);
        self.others.remove(&hash_of(name));
    }

    /// Forgets what was not met for long. Whether anything is left.
    fn is_any_recent(&mut self) -> bool {
        self.named.retain(|_, note| note.met_at.elapsed() < NAMED_FOR);
        self.others.retain(|_, met_at| met_at.elapsed() < NAMED_FOR);
        !self.named.is_empty() || !self.others.is_empty()
    }
}

fn hash_of(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// The beginning of a text that may be of any length.
fn shortened(text: String) -> String {
    let end = text.char_indices().nth(CHARACTERS_MAX).map(|(end, _)| end);
    match end {
        Some(end) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What a row is called: the column's text or number. What of a text is not UTF-8 is replaced.
fn named(row: &AnyRow, name: &str) -> String {
    let number = || row.int(name).map(|number| number.to_string());
    row.told(name).or_else(|_| number()).map_or_else(|_| "?".to_owned(), shortened)
}

/// Reads rows, without those that can't be read, which the same transaction corrects: they are not noted, since they
/// would be named when nothing is wrong any more.
///
/// # Errors
/// Any but [`StoreError::Unreadable`].
pub(crate) fn read_corrected<T>(
    rows: &[AnyRow],
    of: impl Fn(&AnyRow) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut read = Vec::with_capacity(rows.len());
    for row in rows {
        match of(row) {
            Err(StoreError::Unreadable { .. }) if !off(Remedy::UnreadableRows) => {}
            value => read.push(value?),
        }
    }
    Ok(read)
}

/// How many rows of a page are still to be found.
pub(crate) fn left_of(limit: u32, found: usize) -> u32 {
    limit.saturating_sub(u32::try_from(found).unwrap_or(u32::MAX))
}

/// The last row of a page that is full and of which too few rows could be read: what comes after it belongs to the
/// page too. `asked` is how many rows the statement could return, `found` how many of `limit` there are by now.
pub(crate) fn more_after(rows: &[AnyRow], asked: u32, found: usize, limit: u32) -> Option<LastRow<'_>> {
    LastRow::of(rows).filter(|_| rows.len() >= asked as usize && found < limit as usize)
}

/// The last row of a page. Its place is all that is read of it, and there is one whatever can't be read of the row: so
/// no list fails at a row, or ends at it.
pub(crate) struct LastRow<'a>(&'a AnyRow);

impl<'a> LastRow<'a> {
    /// The last of these rows.
    pub(crate) fn of(rows: &'a [AnyRow]) -> Option<Self> {
        rows.last().map(Self)
    }

    /// Where a list goes on that is in ascending order of a text: after what is in the column, as it is stored, or else
    /// after a text that comes after it. None where no text does: then no row follows that can be read.
    pub(crate) fn above(&self, column: &str) -> Option<String> {
        self.place(column, text_above)
    }

    /// The same for a list in descending order.
    pub(crate) fn below(&self, column: &str) -> Option<String> {
        self.place(column, text_below)
    }

    fn place(&self, column: &str, beside: fn(&[u8]) -> Option<String>) -> Option<String> {
        self.0.text(column).ok().or_else(|| beside(&self.0.bytes(column).ok()?))
    }

    /// Where a list goes on that is in the order of a number: neither database holds anything else in its column.
    pub(crate) fn number(&self, column: &str) -> Result<i64, StoreError> {
        self.0.int(column)
    }
}

/// A text that comes after these bytes, which are not UTF-8, and before those that follow them. A file compares texts
/// byte by byte.
fn text_above(bytes: &[u8]) -> Option<String> {
    let (start, rest) = valid_start(bytes)?;
    let (_, after) = characters_beside(rest);
    if let Some(after) = after {
        return Some(format!("{start}{after}"));
    }
    // No character has such a byte, as ü in Latin-1 is: it is after all that begin so.
    let end = start.chars().next_back()?;
    let next = char::from_u32(u32::from(end) + 1)?;
    Some(format!("{}{next}", &start[..start.len() - end.len_utf8()]))
}

/// A text that comes before these bytes, which are not UTF-8, and after those that they follow.
fn text_below(bytes: &[u8]) -> Option<String> {
    let (start, rest) = valid_start(bytes)?;
    let (before, _) = characters_beside(rest);
    // With the greatest character behind it: it is after what begins like it.
    before.map(|before| format!("{start}{before}{}", char::MAX))
}

/// The text that bytes begin with which are not UTF-8, and the bytes after it.
fn valid_start(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let valid = std::str::from_utf8(bytes).err()?.valid_up_to();
    let (start, rest) = bytes.split_at(valid);
    Some((std::str::from_utf8(start).ok()?, rest))
}

/// The last character before bytes that begin with none, and the first one after them. Characters are in the order of
/// their bytes.
fn characters_beside(bytes: &[u8]) -> (Option<char>, Option<char>) {
    let is_before = |code: u32| {
        // No text has one of the codes between.
        let character = char::from_u32(code).unwrap_or('\u{e000}');
        character.encode_utf8(&mut [0; 4]).as_bytes() < bytes
    };
    let (mut first, mut end) = (0, u32::from(char::MAX) + 1);
    while first < end {
        let middle = first + (end - first) / 2;
        if is_before(middle) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    let after = if first > u32::from(char::MAX) { None } else { char::from_u32(first).or(Some('\u{e000}')) };
    let before = first.checked_sub(1).map(|code| char::from_u32(code).unwrap_or('\u{d7ff}'));
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_beside_an_id_that_is_not_utf_8() {
        for (bytes, before, after) in [
            (b"7a\xe4".as_slice(), "7az", "7b"),
            (b"7a\xe4z".as_slice(), "7a\u{3fff}z", "7a\u{4e2d}"),
            (b"7a\xc3".as_slice(), "7a\u{bf}", "7a\u{fc}"),
            (b"7a\xed\xb0\x80".as_slice(), "7a\u{d7fe}", "7a\u{e001}"),
            (b"7a\xfc".as_slice(), "7az", "7b0"),
            (b"\xe4".as_slice(), "z", "\u{10ffff}0"),
        ] {
            let (below, above) = (text_below(bytes).expect("a text"), text_above(bytes).expect("a text"));
            assert!(below.as_bytes() < bytes && bytes < above.as_bytes(), "{below} {bytes:?} {above}");
            assert!(before < below.as_str() && above.as_str() < after, "{before} {below} {above} {after}");
        }
        assert_eq!(text_above(b"\xfc"), None, "nothing is after it");
        assert!(text_below(b"\xfc").is_some_and(|below| below.as_str() > "\u{10fffe}z"));
    }

    #[test]
    fn rows_are_named_up_to_a_number_of_each_table_and_counted_beyond() {
        let unread = |names: std::ops::Range<usize>| {
            let note = || Note { column: "tenant".to_owned(), problem: "'?'".to_owned(), met_at: Instant::now() };
            names.map(|n| (format!("row {n:05}"), note())).collect::<BTreeMap<_, _>>()
        };
        let (noted, none) = (UnreadableNotes::default(), BTreeSet::new());
        noted.note("artists", Extent::Part, unread(0..150), &none);
        noted.note("artists", Extent::Part, unread(140..160), &none);
        noted.note("runs", Extent::Part, unread(0..3), &none);
        let named = |table: &str| noted.rows().into_iter().filter(|row| row.table == table).count();
        assert_eq!((named("artists"), named("runs")), (NAMED_MAX, 3), "one table leaves the others their names");
        assert_eq!(noted.others(), BTreeMap::from([("artists".to_owned(), 60)]), "each is counted once");

        let corrected: BTreeSet<_> = (0..100).map(|n| format!("row {n:05}")).collect();
        noted.note("artists", Extent::Columns, BTreeMap::new(), &corrected);
        assert_eq!(named("artists"), NAMED_MAX, "that some columns can be read says nothing");
        noted.note("artists", Extent::Part, unread(100..160), &corrected);
        assert_eq!((named("artists"), noted.others()), (60, BTreeMap::new()), "those that were counted are named");
        noted.note("artists", Extent::Part, unread(200..50_000), &none);
        assert_eq!(noted.others()["artists"], COUNTED_MAX as u64);
        noted.note("artists", Extent::Whole, BTreeMap::new(), &none);
        assert_eq!((named("artists"), noted.others()), (0, BTreeMap::new()));
    }

    #[test]
    fn what_another_program_wrote_is_told_by_its_beginning() {
        assert_eq!(shortened("a name".to_owned()), "a name");
        let long = shortened("ü".repeat(1 << 20));
        assert_eq!((long.chars().count(), long.chars().next_back()), (CHARACTERS_MAX + 1, Some('…')));
    }
}
