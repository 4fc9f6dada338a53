//! `cargo xtask bench`: measures a release build beside a plain native program, and prints what was reached.
//!
//! `rows` says what is measured, `lab` what it is measured with; `job`, `storage`, `micro`, `swaps` and `reading`
//! measure; `results`, `report` and `docs` say what came of it. `docs/performance.md` describes the method.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::dates;
use crate::process::say;

mod docs;
mod figures;
mod interrupt;
mod job;
mod lab;
mod machine;
mod measure;
mod meter;
mod micro;
mod reading;
mod report;
mod results;
mod rows;
mod server;
mod storage;
mod swaps;

use interrupt::Interrupt;
use lab::{Extent, Lab};
use machine::Machine;
use measure::Found;
use results::{Outcome, Results, RowResult};

/// What `cargo xtask bench` takes.
#[derive(Args)]
pub(crate) struct BenchArguments {
    /// A minute's look: 1,000 artists, each thing once
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// Also what takes long: 100,000 artists, 30 stored days, two years of rows
    #[arg(long)]
    long: bool,
    /// Only these rows, by name or by the beginning of one
    #[arg(long, value_name = "ROW,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Show how the figures changed since a run that wrote this file with --json
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the figures into docs/performance.md
    #[arg(long)]
    write_docs: bool,
}

/// Measures; says whether everything chosen could be measured that this extent measures. Whether a bar was met is a
/// result, not a failure.
///
/// # Errors
/// When something can't be built or started, or the command is interrupted.
pub(crate) fn bench(arguments: &BenchArguments) -> Result<bool> {
    let extent = match (arguments.quick, arguments.long) {
        (true, _) => Extent::Quick,
        (_, true) => Extent::Long,
        _ => Extent::Usual,
    };
    let chosen = rows::chosen(&arguments.only)?;
    // Before the hour that measuring takes.
    let earlier = arguments.compare.as_deref().map(Results::read).transpose()?;
    let interrupt = Interrupt::watch()?;
    let mut lab = Lab::open(extent, interrupt.clone())?;
    let mut found = Found::default();
    for measurement in rows::measurements(&chosen) {
        // One that fails must not cost the others, but Ctrl-C ends all.
        if let Err(error) = measure::measure(&mut lab, measurement, &mut found) {
            interrupt.check()?;
            say(format!("{measurement:?} failed: {error:#}"));
            found.failed(measurement, format!("it failed: {error:#}"));
        }
    }
    let machine = Machine::this(&lab.server.version);
    let counts_statements = lab.server.counts_statements;
    drop(lab);

    if !counts_statements {
        found.notes.push("statements were not counted: PostgreSQL lacks the module pg_stat_statements".to_owned());
    }
    let row = |row: &&rows::Row| {
        let reason = || Outcome::NotMeasured("this extent does not measure it".to_owned());
        RowResult::of(row, found.outcomes.remove(row.name).unwrap_or_else(reason))
    };
    let results = Results {
        date: dates::yesterday().days_after(1).to_string(),
        extent: format!("{extent:?}").to_lowercase(),
        machine,
        rows: chosen.iter().map(row).collect(),
        details: found.details,
        statements: found.statements,
        notes: found.notes,
    };
    print!("{}", report::text(&results));
    if let Some(earlier) = &earlier {
        print!("{}", report::comparison(&results, earlier));
    }
    if let Some(path) = &arguments.json {
        results.write(path)?;
    }
    if arguments.write_docs {
        docs::write(&results).context("the figures are not in the page")?;
    }
    Ok(found.failures == 0)
}
