//! `cargo xtask demo`: from an empty database to a table of growth, against the simulated platforms.
//!
//! Every step is one an operator takes, with the very same binary: migrate, install the connectors, import the artists,
//! set the credentials, run once a day. What it leaves in `target/demo` can be looked at afterwards.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value as Json;

use crate::dates::{self, Date};
use crate::process::{self, say};
use crate::simulator::Simulator;
use crate::stage::{self, Stage};
use crate::{build, http};

mod report;

use report::Summary;

/// Artists whose numbers the table shows; more fill the screen and tell no more.
const ARTISTS_SHOWN: usize = 25;

/// What `cargo xtask demo` takes.
#[derive(Args)]
pub(crate) struct DemoArguments {
    /// How many artists to simulate
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    artists: u32,
    /// How many consecutive days to collect
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// The last of those days; yesterday unless given
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Option<Date>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Where to store, such as postgres://user:password@localhost/backline; a fresh SQLite file unless given
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

/// Runs the demonstration; says whether everything was collected.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn demonstrate(arguments: &DemoArguments) -> Result<bool> {
    build::everything()?;

    let last = arguments.until.unwrap_or_else(dates::yesterday);
    let days: Vec<Date> = (0..arguments.days).rev().map(|back| last.days_before(back)).collect();
    let simulator = Simulator::start(
        Command::new(process::target_folder().join("debug").join("backline-simulator")),
        arguments.artists,
        days[0],
    )?;
    let demo = Demo::prepare(&simulator, arguments.database.as_deref())?;

    let started = Instant::now();
    demo.stage.set_up(&simulator, &build::connectors()?, arguments.artists)?;
    demo.stage.set_up_optional(&simulator, &build::optional_connectors(), arguments.artists)?;
    let mut summary = Summary::default();
    for day in &days {
        http::request(simulator.addr, "PUT", "/_control/date", &day.to_string())?;
        say(format!("collecting {day}"));
        summary.add(&demo.run(*day)?)?;
    }
    summary.seconds = started.elapsed().as_secs_f64();
    summary.operations = serde_json::from_str(&http::request(simulator.addr, "GET", "/_control/counts", "")?)
        .context("the simulator's counts are no JSON")?;

    if arguments.json {
        println!("{}", summary.to_json());
    } else {
        print!("{}", summary.platform_table());
        let mut rows = demo.rows(last)?;
        print!("{}", report::stored_table(&rows.metrics));
        // Seen from outside, an artist's account has the same followers once more.
        rows.metrics.retain(|row| row["platform"] != "instagram_business");
        print!("{}", report::artist_table(&rows, ARTISTS_SHOWN));
        demo.say_where_to_look(&rows);
    }
    Ok(summary.is_complete())
}

/// The folder with configuration, key and database.
struct Demo {
    stage: Stage,
}

impl Demo {
    /// Makes an empty folder, with a key and a configuration that leads to the simulator.
    fn prepare(simulator: &Simulator, database: Option<&str>) -> Result<Self> {
        let folder = process::target_folder().join("demo");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))?;
        }
        let url = match database {
            Some(url) => url.to_owned(),
            None => format!("sqlite://{}", folder.join("backline.db").display()),
        };
        let compiled = process::target_folder().join("compiled");
        let more = format!("\n[collection]\n{}", stage::LATE);
        Ok(Self { stage: Stage::prepare(build::host_binary(), folder, &url, &compiled, &simulator.routes()?, &more)? })
    }

    /// Collects one day. A partial collection is a result to be shown, not a failure of the demonstration.
    fn run(&self, day: Date) -> Result<Json> {
        let (text, code) = self.stage.start(&["run", "--date", &day.to_string(), "--json"], None)?;
        if text.trim().is_empty() {
            bail!("`backline run` ended with exit code {code} and no report");
        }
        serde_json::from_str(&text).context("the report of `backline run --json` is no JSON")
    }

    /// Artists, numbers and growth of one day.
    fn rows(&self, day: Date) -> Result<report::Rows> {
        let day = day.to_string();
        let read = |arguments: &[&str]| -> Result<Vec<Json>> {
            serde_json::from_str(&self.stage.backline(arguments, None)?)
                .with_context(|| format!("`backline {}` printed no JSON list", arguments.join(" ")))
        };
        Ok(report::Rows {
            artists: read(&["artists", "list", "--json"])?,
            metrics: read(&["metrics", "--since", &day, "--until", &day, "--json"])?,
            growth: read(&["growth", "--since", &day, "--until", &day, "--json"])?,
        })
    }

    fn say_where_to_look(&self, rows: &report::Rows) {
        let shown = |path: &Path| {
            let here = std::env::current_dir().unwrap_or_default();
            path.strip_prefix(here).unwrap_or(path).display().to_string()
        };
        let artist = rows.artists.first().and_then(|artist| artist["id"].as_str()).unwrap_or("<artist>");
        let backline = format!("{} --config {}", shown(&build::host_binary()), shown(&self.stage.config));
        println!("\nEverything is in {}. Where to look next:", shown(&self.stage.folder));
        println!("  {backline} metrics {artist}");
        println!("  {backline} growth {artist}");
        println!("  {backline} runs list");
        println!("  {backline} plugins list");
        println!(
            "Then ARCHITECTURE.md for how it works, docs/operators.md for how to run it against the real platforms."
        );
    }
}
