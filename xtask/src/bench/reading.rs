//! A signed-in user's read of two years under row-level security, among 7.3 million rows.

use anyhow::{Context as _, Result};

use super::history;
use super::lab::Lab;
use super::server::Database;
use crate::process::say;

/// Artists, each with five accounts: 10,000 accounts.
const ARTISTS: u32 = 2_000;

/// Days that are stored.
const DAYS: i64 = 730;

/// Reads that are measured, each on a connection of its own.
const READS: usize = 5;

/// The read of an application that asks for everything.
const READ: &str = "EXPLAIN (ANALYZE, TIMING OFF) SELECT * FROM public.metrics ORDER BY metric_date, platform";

/// What the reads came to.
pub(crate) struct Read {
    /// Milliseconds of each read, planning and execution, on a connection that has read before, as those of a pool
    /// have.
    pub(crate) ms: Vec<f64>,
    /// The same of the first read of a connection, which looks all months up.
    pub(crate) first_ms: Vec<f64>,
    /// Whether PostgreSQL compiled the plan (`jit`), as it does with plans that it takes for expensive.
    pub(crate) is_compiled: bool,
    /// Rows of other artists that were read.
    pub(crate) foreign: f64,
    /// Rows that one read returns.
    pub(crate) rows: f64,
    /// Rows stored.
    pub(crate) stored: f64,
}

/// Stores the rows and reads an artist's.
///
/// # Errors
/// If a statement is refused.
pub(crate) fn measure(lab: &mut Lab) -> Result<Read> {
    let scenario = lab.postgres(ARTISTS)?;
    let (database, date) = (&scenario.backline, scenario.day());
    history::store(lab, database, date, 1..=DAYS - 1)?;
    say("reading as a signed-in user");
    let stored = database.number("SELECT count(*)::text FROM metrics")?;
    let artist = database.text("SELECT id::text FROM artists ORDER BY id LIMIT 1")?;
    let claims = format!("SET LOCAL request.jwt.claims = '{{\"sub\": \"{artist}\"}}'");
    let user = ["BEGIN", "SET LOCAL ROLE authenticated", &claims];
    let (mut ms, mut first_ms, mut is_compiled) = (Vec::new(), Vec::new(), false);
    for _ in 0..READS {
        first_ms.push(milliseconds(&read(database, &user)?)?);
        let plan = read(database, &[&user[..], &[READ]].concat())?;
        is_compiled |= plan.iter().any(|line| line.trim() == "JIT:");
        ms.push(milliseconds(&plan)?);
    }
    let count = |which: &str| {
        let statement = format!("SELECT count(*)::text FROM public.metrics {which}");
        let lines = database.lines(&[&user[..], &[&statement]].concat())?;
        lines.join("").parse::<f64>().with_context(|| format!("no number: {lines:?}"))
    };
    let (rows, foreign) = (count("")?, count(&format!("WHERE artist_id <> '{artist}'"))?);
    lab.close(&scenario)?;
    Ok(Read { ms, first_ms, is_compiled, foreign, rows, stored })
}

/// The plan of the read with its times, after other statements on the same connection.
fn read(database: &Database, before: &[&str]) -> Result<Vec<String>> {
    database.lines(&[before, &[READ]].concat())
}

/// Planning and execution of an explained statement.
fn milliseconds(plan: &[String]) -> Result<f64> {
    let time = |name: &str| {
        let line = plan.iter().find_map(|line| line.trim().strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix("ms")?.trim().parse::<f64>().ok());
        number.with_context(|| format!("the plan tells no '{name}'"))
    };
    Ok(time("Planning Time:")? + time("Execution Time:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plans_time_is_planning_and_execution() {
        let plan = ["Index Scan", "Planning Time: 1.500 ms", "Execution Time: 2.250 ms"].map(str::to_owned);
        assert_eq!(milliseconds(&plan).expect("both times"), 3.75);
        assert!(milliseconds(&plan[..2]).is_err());
    }
}
