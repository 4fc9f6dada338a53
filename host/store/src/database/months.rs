//! PostgreSQL's large tables are cut into months, so that old ones can be dropped; each month's part is made before
//! anything is written to it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};

use crate::database::connection::Store;
use crate::database::dialect::{DatabaseKind, json};
use crate::database::error::StoreError;

/// The first days of months that this process has made or found, so that a batch need not ask for them.
#[derive(Clone, Default)]
pub(crate) struct KnownMonths(Arc<Mutex<BTreeSet<NaiveDate>>>);

impl KnownMonths {
    /// Those of the days that need asking for. A month that is over may have been dropped since.
    fn unknown(&self, days: impl Iterator<Item = NaiveDate>, today: NaiveDate) -> BTreeSet<NaiveDate> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = days.filter_map(|day| day.with_day(1));
        first.filter(|month| is_over(*month, today) || !known.contains(month)).collect()
    }

    fn add(&self, months: BTreeSet<NaiveDate>) {
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

impl Store {
    /// Makes sure that rows of a batch have a place, and asks the database only for months that are over or were not
    /// asked for yet.
    pub(crate) async fn months_ensure_for_batch(
        &self,
        days: impl Iterator<Item = NaiveDate>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if self.kind() == DatabaseKind::Sqlite {
            return Ok(());
        }
        let months = self.months.unknown(days, now.date_naive());
        if !months.is_empty() {
            self.months_ensure(months.iter().copied()).await?;
            self.months.add(months);
        }
        Ok(())
    }

    /// Makes sure that rows of these days have a place: on PostgreSQL a part of each table that is cut into months,
    /// made in a transaction of its own. Must be called outside of the transaction that writes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn months_ensure(&self, days: impl Iterator<Item = NaiveDate>) -> Result<(), StoreError> {
        if self.kind() == DatabaseKind::Sqlite {
            return Ok(());
        }
        let days: BTreeSet<NaiveDate> = days.collect();
        let statement = self
            .query("SELECT 1 AS one FROM backline.ensure_months(ARRAY(SELECT (r.value #>> '{}')::date FROM {rows}))");
        self.row("make a month's partition", statement.bind(json("days", &days)?)).await?;
        Ok(())
    }
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
