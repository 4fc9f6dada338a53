//! `cargo xtask bench`: measures a release build beside a plain native program, and prints what was reached.
//!
//! `rows` says what is measured, `lab` what it is measured with; `job`, `storage`, `micro`, `swaps`, `reading` and
//! `serving` measure; `results`, `report` and `docs` say what came of it. `docs/performance.md` describes the method.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::dates;
use crate::process::say;

mod client;
mod docs;
mod figures;
mod history;
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
mod serving;
mod storage;
mod swaps;

use interrupt::Interrupt;
use lab::Lab;
use machine::Machine;
use measure::Found;
use results::{Results, RowResult};
use rows::{Measurement, ROWS, Row};

/// What `cargo xtask bench` takes.
#[derive(Args)]
pub(crate) struct BenchArguments {
    /// A minute's look: 1,000 artists, each thing once
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// Also what takes long: 100,000 artists, years of rows
    #[arg(long)]
    long: bool,
    /// Only these rows: by name, by the beginning of one, or by what measures them
    #[arg(long, value_name = "ROW,…", value_delimiter = ',')]
    only: Vec<String>,
    /// How often each job is measured; 3 unless given, 1 with --quick
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u8).range(1..))]
    repeat: Option<u8>,
    /// Show what can be measured and how long it takes, and measure nothing
    #[arg(long)]
    list: bool,
    /// Measure nothing, and show the results in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "long", "only", "repeat", "json"])]
    from: Option<PathBuf>,
    /// Show how the figures changed since a run that wrote this file with --json
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Write the results as JSON, after each measurement; where the file exists, they are added to those in it
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
    if arguments.list {
        print!("{}", report::list());
        return Ok(true);
    }
    // Before the hour that measuring takes.
    let compared = arguments.compare.as_deref().map(Results::read).transpose()?;
    let (results, is_complete) = match &arguments.from {
        Some(file) => (Results::read(file)?, true),
        None => measured(arguments)?,
    };
    print!("{}", report::text(&results));
    if let Some(earlier) = &compared {
        print!("{}", report::comparison(&results, earlier));
    }
    if arguments.write_docs {
        docs::write(&results).context("the figures are not in the page")?;
    }
    Ok(is_complete)
}

/// Takes the chosen measurements. Returns the results, with those that the file already had, and whether everything
/// could be measured.
fn measured(arguments: &BenchArguments) -> Result<(Results, bool)> {
    let extent = if arguments.quick { "quick" } else { "usual" };
    let file = arguments.json.as_deref();
    let earlier = earlier(file, extent, &Machine::this(""))?;
    let mut found = Found::after(earlier.as_ref());
    let mut all = Vec::new();
    for measurement in rows::measurements(&rows::chosen(&arguments.only)?) {
        match measurement.left_out(arguments.quick, arguments.long, measurement.is_named(&arguments.only)) {
            Some(reason) => found.skip(measurement, reason),
            None => all.push(measurement),
        }
    }
    if all.is_empty() {
        bail!("nothing is left to measure: `cargo xtask bench --list` shows what each row needs");
    }
    let minutes: f64 = all.iter().map(|measurement| measurement.minutes()).sum();
    let names: Vec<&str> = all.iter().map(|measurement| measurement.name()).collect();
    let about = if arguments.quick { "a minute or two".to_owned() } else { format!("about {minutes} minutes") };
    say(format!("measuring {}: {about} after the build", names.join(", ")));

    let interrupt = Interrupt::watch()?;
    let artists = all.iter().map(|measurement| measurement.artists(arguments.quick)).max().unwrap_or(0);
    let repetitions = arguments.repeat.map_or(if arguments.quick { 1 } else { 3 }, usize::from);
    let mut lab = Lab::open(artists, arguments.quick, repetitions, interrupt.clone())?;
    let machine = Machine::this(&lab.server.version);
    if let Some(earlier) = &earlier {
        earlier.expect_same(extent, &machine).context("the file of results can't be added to")?;
    }
    let started = Instant::now();
    let mut results = so_far(extent, &machine, &mut found).added_to(earlier);
    for (number, measurement) in all.iter().enumerate() {
        let passed = started.elapsed().as_secs() / 60;
        say(format!("{} of {}: {}, after {passed} min", number + 1, all.len(), measurement.name()));
        take(&mut lab, *measurement, &mut found, &interrupt)?;
        results = so_far(extent, &machine, &mut found).added_to(Some(results));
        if let Some(file) = file {
            results.write(file)?;
        }
    }
    Ok((results, found.failures == 0))
}

/// Takes one measurement. One that fails must not cost the others, but Ctrl-C ends all.
fn take(lab: &mut Lab, measurement: Measurement, found: &mut Found, interrupt: &Interrupt) -> Result<()> {
    let started = Instant::now();
    if let Err(error) = measure::measure(lab, measurement, found) {
        interrupt.check()?;
        say(format!("{} failed: {error:#}", measurement.name()));
        found.failed(measurement, &format!("it failed: {error:#}"));
        return Ok(());
    }
    let seconds = started.elapsed().as_secs_f64();
    say(format!("{} took {seconds:.0} s", measurement.name()));
    found.took.insert(measurement.name().to_owned(), seconds);
    if !lab.server.counts_statements && measurement == Measurement::Job10000 {
        let text = "statements were not counted: PostgreSQL lacks the module pg_stat_statements";
        found.note(measurement, text.to_owned());
    }
    Ok(())
}

/// The results that the file has, where it exists and can be added to.
fn earlier(file: Option<&Path>, extent: &str, machine: &Machine) -> Result<Option<Results>> {
    let Some(file) = file.filter(|file| file.exists()) else { return Ok(None) };
    let earlier = Results::read(file)?;
    let advice = || format!("{} can't be added to: name another file, or remove it", file.display());
    earlier.expect_same(extent, machine).with_context(advice)?;
    Ok(Some(earlier))
}

/// What was found since the last time, as results. All rows of what was measured are in it, chosen or not.
fn so_far(extent: &str, machine: &Machine, found: &mut Found) -> Results {
    let outcomes = std::mem::take(&mut found.outcomes);
    let row = |row: &Row| Some(RowResult::of(row, outcomes.get(row.name)?.clone()));
    Results {
        date: dates::yesterday().days_after(1).to_string(),
        extent: extent.to_owned(),
        machine: machine.clone(),
        took: std::mem::take(&mut found.took),
        rows: ROWS.iter().filter_map(row).collect(),
        details: std::mem::take(&mut found.details),
        statements: std::mem::take(&mut found.statements),
        notes: std::mem::take(&mut found.notes),
    }
}
