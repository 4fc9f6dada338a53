//! Years of rows: copies of one collected day, so that they have whatever columns the schema has.

use std::ops::RangeInclusive;

use anyhow::Result;

use super::lab::Lab;
use super::server::Database;
use crate::dates::Date;
use crate::process::say;

/// Days that one statement copies.
const DAYS_AT_ONCE: i64 = 30;

/// Stores the rows of a collected day once for each day that is so many days before it, and vacuums the table. Days
/// after it have negative numbers; the day itself, which is 0, is left as it is.
///
/// # Errors
/// If a statement is refused, or the command is interrupted.
pub(crate) fn store(lab: &Lab, database: &Database, date: Date, days_before: RangeInclusive<i64>) -> Result<()> {
    let columns = database.text(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = 'metrics'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'metric_date'",
    )?;
    for (from, until) in parts(days_before) {
        lab.interrupt.check()?;
        say(format!("storing the days {from} to {until} before the collected one"));
        let days = format!("generate_series({from}, {until}) AS d WHERE d <> 0");
        let months =
            format!("DO $$ BEGIN PERFORM backline.ensure_months(ARRAY(SELECT DATE '{date}' - d FROM {days})); END $$");
        let copy = format!(
            "INSERT INTO metrics (metric_date, {columns})
             SELECT metric_date - d, {columns} FROM metrics, {days} AND metric_date = '{date}'"
        );
        // The accounts of copied rows are known to be there.
        database.run(&[&months, "SET session_replication_role = replica", &copy])?;
    }
    database.run(&["VACUUM ANALYZE metrics"])
}

/// The first and the last day of each statement.
fn parts(days: RangeInclusive<i64>) -> Vec<(i64, i64)> {
    let (mut from, last) = days.into_inner();
    let mut parts = Vec::new();
    while from <= last {
        let until = (from + DAYS_AT_ONCE - 1).min(last);
        parts.push((from, until));
        from = until + 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_is_in_one_statement() {
        assert_eq!(parts(-59..=2), [(-59, -30), (-29, 0), (1, 2)]);
        assert_eq!(parts(1..=30), [(1, 30)]);
    }
}
