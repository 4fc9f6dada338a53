//! Which months' parts of PostgreSQL's large tables this process knows to be there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{Datelike as _, Months, NaiveDate};

/// The first days of months that this process has made or found, so that a batch need not ask for them.
#[derive(Clone, Default)]
pub(crate) struct KnownMonths(Arc<Mutex<BTreeSet<NaiveDate>>>);

impl KnownMonths {
    /// Those of the days that need asking for. A month that is over may have been dropped since.
    pub(crate) fn unknown(&self, days: impl Iterator<Item = NaiveDate>, today: NaiveDate) -> BTreeSet<NaiveDate> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = days.filter_map(|day| day.with_day(1));
        first.filter(|month| is_over(*month, today) || !known.contains(month)).collect()
    }

    /// Remembers months that are there.
    pub(crate) fn add(&self, months: BTreeSet<NaiveDate>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(months);
    }

    /// Forgets all: something went wrong, and it may be that another program dropped one.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn is_over(month: NaiveDate, today: NaiveDate) -> bool {
    month.checked_add_months(Months::new(1)).is_some_and(|end| end <= today)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_asked_for_once_until_it_is_over_or_something_went_wrong() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let known = KnownMonths::default();
        let ask = |today: &str| known.unknown([day("2026-11-22"), day("2026-11-23")].into_iter(), day(today));
        let november = BTreeSet::from([day("2026-11-01")]);
        assert_eq!(ask("2026-11-23"), november);
        known.add(november.clone());
        assert_eq!(ask("2026-11-30"), BTreeSet::new());
        assert_eq!(ask("2026-12-01"), november);
        known.forget();
        assert_eq!(ask("2026-11-30"), november);
    }
}
