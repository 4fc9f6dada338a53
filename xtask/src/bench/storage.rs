//! What consecutive days leave in the database: bytes for each account and day, all tables with TOAST and indexes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::lab::{Lab, Scenario};
use crate::process::say;

/// Artists whose days are stored; the bytes of an account and day do not depend on their number.
const ARTISTS: u32 = 1_000;

/// Days that the definition of the row asks for.
const DAYS: u32 = 30;

/// Days of a quick run. The first is taken off, with everything that is stored once.
const FEW_DAYS: u32 = 3;

/// Days at the end whose CPU time is told.
const LATE_DAYS: u32 = 5;

/// What was stored.
pub(crate) struct Stored {
    /// Bytes for each account and day.
    pub(crate) bytes: f64,
    /// The same by table, the largest first; its months count together.
    pub(crate) tables: Vec<(String, f64)>,
    /// Microseconds of CPU time for each account on the last days, when there is as much history as the stages read:
    /// PostgreSQL's and the host's.
    pub(crate) late_cpu_us: (Vec<f64>, Vec<f64>),
    /// How it was computed, where that is not the row's own definition.
    pub(crate) note: Option<String>,
}

/// Collects the days and measures what they left.
///
/// # Errors
/// If a run fails.
pub(crate) fn measure(lab: &mut Lab) -> Result<Stored> {
    let mut scenario = lab.postgres(ARTISTS)?;
    let days = if lab.is_quick { FEW_DAYS } else { DAYS };
    let first = if lab.is_quick { sizes(&scenario)? } else { BTreeMap::new() };
    let mut late_cpu_us = (Vec::new(), Vec::new());
    while scenario.days < days {
        let date = scenario.next_day();
        say(format!("storing day {} of {days} of {ARTISTS} artists", scenario.days));
        lab.simulate(date, 0)?;
        let before = lab.server.cpu_seconds()?;
        let (run, _) = lab.collect(&scenario.backline, date)?;
        if !lab.is_quick && scenario.days + LATE_DAYS > days {
            let us = 1_000_000.0 / scenario.accounts();
            late_cpu_us.0.push((lab.server.cpu_seconds()? - before) * us);
            late_cpu_us.1.push(run.cpu_seconds * us);
        }
    }
    let last = sizes(&scenario)?;
    let counted = if lab.is_quick { days - 1 } else { days };
    let divisor = scenario.accounts() * f64::from(counted);
    lab.close(&scenario)?;
    let of_table =
        |(name, bytes): (&String, &f64)| (name.clone(), (bytes - first.get(name).copied().unwrap_or(0.0)) / divisor);
    let mut tables: Vec<(String, f64)> = last.iter().map(of_table).collect();
    tables.sort_by(|one, other| other.1.total_cmp(&one.1));
    let bytes = tables.iter().map(|(_, bytes)| bytes).sum();
    let note = lab.is_quick.then(|| {
        format!(
            "bytes: the growth of all tables from the 1st to the {days}rd day of {ARTISTS} artists; an ordinary run \
             stores {DAYS} days and counts all of it"
        )
    });
    Ok(Stored { bytes, tables, late_cpu_us, note })
}

/// Bytes in use of a database of SQLite.
///
/// # Errors
/// If it can't be read.
pub(crate) fn sqlite_bytes(scenario: &Scenario) -> Result<f64> {
    scenario.backline.number(
        "SELECT '' || ((page_count - freelist_count) * page_size)
         FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    )
}

/// Bytes of each table with TOAST and indexes, after VACUUM; the months of a table count together.
fn sizes(scenario: &Scenario) -> Result<BTreeMap<String, f64>> {
    let statement = "SELECT regexp_replace(c.relname, '_[0-9]{4}_[0-9]{2}$', '') || ' '
             || sum(pg_total_relation_size(c.oid))
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname IN ('backline', 'public') AND c.relkind IN ('r', 'm')
         GROUP BY regexp_replace(c.relname, '_[0-9]{4}_[0-9]{2}$', '')";
    let lines = scenario.backline.lines(&["VACUUM", statement])?;
    lines.iter().map(|line| table(line)).collect()
}

fn table(line: &str) -> Result<(String, f64)> {
    let (name, bytes) = line.split_once(' ').with_context(|| format!("'{line}' is no table with its size"))?;
    Ok((name.to_owned(), bytes.parse().with_context(|| format!("'{line}' has no size"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_table_and_its_bytes() {
        assert_eq!(table("metrics 8192").expect("a table"), ("metrics".to_owned(), 8192.0));
        assert!(table("metrics").is_err() && table("metrics x").is_err());
    }
}
