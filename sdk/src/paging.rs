//! Ends paging that leads nowhere.

use std::collections::BTreeSet;

/// Pages without a single item that may follow each other. Platforms filter pages after they have cut them, so an empty
/// one is no end.
const EMPTY_MAX: usize = 3;

/// Watches the pages of one list: each must bring something new.
///
/// ```
/// use backline_sdk::Paging;
///
/// let mut paging = Paging::new(100);
/// assert!(paging.goes_on(Some("page 2"), ["a", "b"]));
/// assert!(paging.goes_on(Some("page 3"), ["b", "c"]), "pages may overlap");
/// assert!(!paging.goes_on(Some("page 4"), ["b", "c"]), "the same page again");
/// ```
#[derive(Debug)]
pub struct Paging {
    left: usize,
    empty: usize,
    cursors: BTreeSet<String>,
    ids: BTreeSet<String>,
}

impl Paging {
    /// Paging of at most `pages_max` pages.
    #[must_use]
    pub fn new(pages_max: usize) -> Self {
        Self { left: pages_max, empty: 0, cursors: BTreeSet::new(), ids: BTreeSet::new() }
    }

    /// Takes note of a page that has a successor: the cursor of the next page, and the ids of this page's items. Says
    /// whether the next page may be requested.
    ///
    /// If not, the list is not complete, so a sum over it would be too low: a page without a cursor, a cursor that
    /// was used before, items that were all there before, several empty pages in a row, or too many pages.
    pub fn goes_on<I: Into<String>>(&mut self, cursor: Option<&str>, ids: impl IntoIterator<Item = I>) -> bool {
        let (mut items, mut new) = (0_usize, 0_usize);
        for id in ids {
            items += 1;
            new += usize::from(self.ids.insert(id.into()));
        }
        self.empty = if items == 0 { self.empty + 1 } else { 0 };
        self.left = self.left.saturating_sub(1);
        let leads_on = cursor.is_some_and(|cursor| self.cursors.insert(cursor.to_owned()));
        leads_on && (items == 0 || new > 0) && self.empty < EMPTY_MAX && self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [&str; 0] = [];

    #[test]
    fn paging_ends_where_nothing_new_comes() {
        let mut same_cursor = Paging::new(100);
        assert!(same_cursor.goes_on(Some("A"), ["1"]) && same_cursor.goes_on(Some("B"), ["2"]));
        assert!(!same_cursor.goes_on(Some("A"), ["3"]));
        assert!(!Paging::new(100).goes_on(None, ["1"]));
        let mut same_items = Paging::new(100);
        assert!(same_items.goes_on(Some("A"), ["1", "2"]) && same_items.goes_on(Some("B"), ["2", "3"]));
        assert!(!same_items.goes_on(Some("C"), ["3", "1"]), "nothing that was not there before");
        let mut empty = Paging::new(100);
        assert!(empty.goes_on(Some("A"), NONE) && empty.goes_on(Some("B"), NONE));
        assert!(!empty.goes_on(Some("C"), NONE), "the third empty page in a row");
        let mut endless = Paging::new(3);
        assert!(endless.goes_on(Some("A"), ["1"]) && endless.goes_on(Some("B"), ["2"]));
        assert!(!endless.goes_on(Some("C"), ["3"]), "the bound");
    }
}
