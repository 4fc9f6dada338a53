//! Release dates of day, month or year precision, and whether they fall inside the window.

use crate::Window;
use crate::time::days_since_epoch;

const DAY_SECONDS: i64 = 86_400;

/// Position of a date relative to a [`Window`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The whole date lies inside the window.
    Inside,
    /// The date lies before or after the window.
    Outside,
    /// Undecidable: the text is not a date, or it is a month or year that overlaps the window only partly.
    Unclear,
}

impl Window {
    /// Compares a date of the form `YYYY-MM-DD`, `YYYY-MM` or `YYYY` with the window.
    ///
    /// A day is inside when it begins (00:00 UTC) inside the window. A month or a year is inside only when all of it is
    /// inside, so a release dated "2026" is not counted as one of the last 28 days.
    ///
    /// ```
    /// use backline_sdk::{Placement, Window};
    ///
    /// let window = Window { since: 1_792_713_600, until: 1_795_132_800 }; // 2026-10-23 to 2026-11-20
    /// assert_eq!(window.placement("2026-11-19"), Placement::Inside);
    /// assert_eq!(window.placement("2026-11-20"), Placement::Outside);
    /// assert_eq!(window.placement("2026-11"), Placement::Unclear);
    /// ```
    #[must_use]
    pub fn placement(&self, date: &str) -> Placement {
        let Some((begin, end, is_day)) = span(date) else { return Placement::Unclear };
        if end <= self.since || begin >= self.until {
            return Placement::Outside;
        }
        let begins_inside = begin >= self.since;
        match is_day {
            true if begins_inside => Placement::Inside,
            true => Placement::Outside,
            false if begins_inside && end <= self.until => Placement::Inside,
            false => Placement::Unclear,
        }
    }
}

/// Start (inclusive) and end (exclusive) of a date in Unix seconds, and whether the date is a single day.
fn span(date: &str) -> Option<(i64, i64, bool)> {
    let mut parts = date.trim().split('-');
    let year = number(parts.next()?, 4)?;
    let month = parts.next();
    let day = parts.next();
    // Platforms write year 0 for "unknown".
    if parts.next().is_some() || year == 0 {
        return None;
    }
    let (first, after) = match (month, day) {
        (None, _) => (days_since_epoch(year, 1, 1), days_since_epoch(year + 1, 1, 1)),
        (Some(month), None) => {
            let month = number(month, 2).filter(|month| (1..=12).contains(month))?;
            let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            (days_since_epoch(year, month, 1), days_since_epoch(next_year, next_month, 1))
        }
        (Some(month), Some(day)) => {
            let month = number(month, 2).filter(|month| (1..=12).contains(month))?;
            let day = number(day, 2).filter(|day| (1..=31).contains(day))?;
            let first = days_since_epoch(year, month, day);
            (first, first + 1)
        }
    };
    Some((first * DAY_SECONDS, after * DAY_SECONDS, day.is_some()))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2026-10-23 to 2026-11-20, 00:00 UTC.
    const WINDOW: Window = Window { since: 1_792_713_600, until: 1_795_132_800 };

    #[test]
    fn days_count_from_the_epoch() {
        assert_eq!(days_since_epoch(1970, 1, 1), 0);
        assert_eq!(days_since_epoch(2000, 2, 29), 11_016);
        assert_eq!(days_since_epoch(2026, 10, 23) * DAY_SECONDS, WINDOW.since);
    }

    #[test]
    fn a_day_is_inside_when_it_begins_inside() {
        assert_eq!(WINDOW.placement("2026-10-22"), Placement::Outside);
        assert_eq!(WINDOW.placement("2026-10-23"), Placement::Inside);
        assert_eq!(WINDOW.placement("2026-11-19"), Placement::Inside);
        assert_eq!(WINDOW.placement("2026-11-20"), Placement::Outside);
        let from_noon = Window { since: WINDOW.since + DAY_SECONDS / 2, until: WINDOW.until };
        assert_eq!(from_noon.placement("2026-10-23"), Placement::Outside);
    }

    #[test]
    fn a_month_or_year_is_inside_only_as_a_whole() {
        assert_eq!(WINDOW.placement("2026"), Placement::Unclear);
        assert_eq!(WINDOW.placement("2026-11"), Placement::Unclear);
        assert_eq!(WINDOW.placement("2026-09"), Placement::Outside);
        assert_eq!(WINDOW.placement("2012"), Placement::Outside);
        let year = Window {
            since: days_since_epoch(2026, 1, 1) * DAY_SECONDS,
            until: days_since_epoch(2027, 1, 1) * DAY_SECONDS,
        };
        assert_eq!(year.placement("2026"), Placement::Inside);
        assert_eq!(year.placement("2026-12"), Placement::Inside);
    }

    #[test]
    fn a_text_that_is_not_a_date_is_unclear() {
        for text in
            ["", "0000", "soon", "2026-13", "2026-00-10", "2026-1-1", "2026-11-19T00:00:00Z", "2026-11-19-1", "éé"]
        {
            assert_eq!(WINDOW.placement(text), Placement::Unclear, "{text}");
        }
    }
}
