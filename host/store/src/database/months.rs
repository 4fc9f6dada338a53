//! PostgreSQL's large tables are cut into months, so that old ones can be dropped; each month's part is made before
//! anything is written to it.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};

use crate::database::connection::Store;
use crate::database::dialect::{DatabaseKind, json};
use crate::database::error::StoreError;

impl Store {
    /// Makes sure that rows of a batch have a place, and asks the database only for months that were not asked for yet,
    /// or are over and were not asked for within a minute.
    pub(crate) async fn months_ensure_for_batch(
        &self,
        days: impl Iterator<Item = NaiveDate>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if self.kind() == DatabaseKind::Sqlite {
            return Ok(());
        }
        let months = self.months.unknown(days, now);
        if !months.is_empty() {
            self.months_ensure(months.iter().copied()).await?;
            self.months.add(months, now);
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
