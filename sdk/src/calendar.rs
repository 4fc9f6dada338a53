//! Release dates of day, month or year precision, and whether they fall inside the window.

use crate::Window;
use crate::time::days_since_epoch;

const DAY_SECONDS: i64 = 86_400;

/// Where a date stands relative to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Certainly inside.
    Inside,
    /// Certainly before or after it.
    Outside,
    /// It can't be told: the text is no date, or names a month or year that only partly overlaps the window.
    Unclear,
}

impl Window {
    /// Places a date written as `YYYY-MM-DD`, `YYYY-MM` or `YYYY`, without a time zone.
    ///
    /// A day is inside when it begins (00:00 UTC) inside the window. A month or a year is inside only when the whole of it
    /// is: a release that came out "in 2026" is never claimed for the last 28 days.
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

/// Begin (inclusive) and end (exclusive) in Unix seconds, and whether it is a single day.
fn span(date: &str) -> Option<(i64, i64, bool)> {
    let mut parts = date.trim().split('-');
    let year = number(parts.next()?, 4)?;
    let month = parts.next();
    let day = parts.next();
    // Year 0 is how platforms write "unknown".
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
    fn what_is_no_date_is_unclear() {
        for text in
            ["", "0000", "soon", "2026-13", "2026-00-10", "2026-1-1", "2026-11-19T00:00:00Z", "2026-11-19-1", "éé"]
        {
            assert_eq!(WINDOW.placement(text), Placement::Unclear, "{text}");
        }
    }
}
