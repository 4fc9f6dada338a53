//! Which months' parts of PostgreSQL's large tables this process knows to be there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Datelike as _, Months, NaiveDate, TimeDelta, Utc};

/// How long a month that is over is taken to be there: it may be dropped at any time. What is written to one that was
/// dropped meanwhile fails, and asks for it when it is tried again.
const OVER_FOR: TimeDelta = TimeDelta::minutes(1);

/// The first days of months that this process has made or found, with when it did, so that a batch need not ask for
/// them.
#[derive(Clone, Default)]
pub(crate) struct KnownMonths(Arc<Mutex<BTreeMap<NaiveDate, DateTime<Utc>>>>);

impl KnownMonths {
    /// Those of the days that need asking for.
    pub(crate) fn unknown(&self, days: impl Iterator<Item = NaiveDate>, now: DateTime<Utc>) -> BTreeSet<NaiveDate> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |month: &NaiveDate| {
            known.get(month).is_some_and(|found| {
                let lasts = !is_over(*month, now.date_naive());
                lasts || (*found <= now && now - *found < OVER_FOR)
            })
        };
        days.filter_map(|day| day.with_day(1)).filter(|month| !is_known(month)).collect()
    }

    /// Remembers months that are there at a time.
    pub(crate) fn add(&self, months: BTreeSet<NaiveDate>, now: DateTime<Utc>) {
        let months = months.into_iter().map(|month| (month, now));
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
    fn a_month_is_asked_for_once_and_once_a_minute_when_it_is_over_and_when_something_went_wrong() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let known = KnownMonths::default();
        let ask = |now: &str| known.unknown([day("2026-11-22"), day("2026-11-23")].into_iter(), at(now));
        let november = BTreeSet::from([day("2026-11-01")]);
        assert_eq!(ask("2026-11-23T12:00:00Z"), november);
        known.add(november.clone(), at("2026-11-23T12:00:00Z"));
        assert_eq!(ask("2026-11-30T23:59:59Z"), BTreeSet::new());
        assert_eq!(ask("2026-12-01T00:00:00Z"), november, "over, and last seen a week ago");
        known.add(november.clone(), at("2026-12-01T00:00:00Z"));
        assert_eq!(ask("2026-12-01T00:00:59Z"), BTreeSet::new());
        assert_eq!(ask("2026-12-01T00:01:00Z"), november);
        known.forget();
        assert_eq!(ask("2026-11-30T00:00:00Z"), november);
    }
}
