//! What measurements share: the release build, the simulator, PostgreSQL, and databases that are set up once for each
//! number of artists and copied for each measurement.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::interrupt::Interrupt;
use super::meter::{self, OTHER_CORE};
use super::server::{Database, Server};
use crate::build::{self, Release};
use crate::dates::{self, Date};
use crate::process::{self, say};
use crate::simulator::Simulator;
use crate::stage::{self, Stage, first_lines};

/// The connectors of job A.
const CONNECTORS: [&str; 5] = ["youtube", "spotify", "apple_music", "instagram", "tiktok"];

/// Accounts of an artist: one on each platform.
pub(crate) const ACCOUNTS: u32 = 5;

/// Days before today at which the simulated days begin.
const DAYS_BACK: u32 = 60;

/// The host's settings that differ from the defaults. With the default of 16 batches under way and 4 requests of each,
/// as the connectors of job A have, at most 64 requests are in flight: as many as the native program has. Two platforms
/// whose accounts take a request each share them from the start instead of growing to them.
fn settings(state: &Path) -> String {
    // JSON's strings are TOML's basic strings for everything that occurs in paths.
    let state = serde_json::Value::from(state.to_string_lossy());
    format!(
        "\n[collection]\nconcurrency = 8\nconcurrency_max = 8\n{}\n[service]\nbatches_max = 16\n\
         listen = \"127.0.0.1:0\"\nstate_dir = {state}\n\n[log]\nfilter = \"error\"\n",
        stage::LATE
    )
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A minute's look: 1,000 artists, each thing once.
    Quick,
    Usual,
    /// With 100,000 artists, 30 days and two years of rows.
    Long,
}

impl Extent {
    /// Repetitions of each measurement.
    pub(crate) fn repetitions(self) -> usize {
        if self == Self::Quick { 1 } else { 3 }
    }

    /// Artists of the simulator.
    fn artists(self) -> u32 {
        match self {
            Self::Quick => 1_000,
            Self::Usual => 10_000,
            Self::Long => 100_000,
        }
    }
}

/// Everything that measurements share. Dropping it ends all processes and removes all folders.
pub(crate) struct Lab {
    pub(crate) release: Release,
    pub(crate) extent: Extent,
    pub(crate) interrupt: Interrupt,
    pub(crate) server: Server,
    pub(crate) simulator: Simulator,
    pub(crate) stage: Stage,
    pub(crate) components: BTreeMap<String, PathBuf>,
    templates: BTreeSet<String>,
    databases: u32,
    // Last: the others end before their folder goes.
    folder: TempDir,
}

/// A database with its artists, and the native program's own.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) backline: Database,
    pub(crate) native: Database,
    pub(crate) artists: u32,
    /// Days collected so far.
    days: u32,
}

impl Scenario {
    /// The next simulated day.
    pub(crate) fn next_day(&mut self) -> Date {
        self.days += 1;
        day(self.days)
    }

    pub(crate) fn accounts(&self) -> f64 {
        f64::from(self.artists * ACCOUNTS)
    }
}

/// A simulated day, counted from 0.
fn day(number: u32) -> Date {
    dates::yesterday().days_before(DAYS_BACK.saturating_sub(number))
}

impl Lab {
    /// Builds and starts everything.
    ///
    /// # Errors
    /// Names the step that failed.
    pub(crate) fn open(extent: Extent, interrupt: Interrupt) -> Result<Self> {
        let release = build::release()?;
        let components = build::bench_connectors(&release.host)?;
        interrupt.check()?;
        let target = process::target_folder();
        let folder = tempfile::Builder::new().prefix("bench-run-").tempdir_in(&target);
        let folder = folder.with_context(|| format!("failed to make a folder in {}", target.display()))?;
        if !meter::can_pin() {
            say("warning: programs are not pinned to cores, which takes two cores and `taskset`");
        }
        let server = Server::start(&release.reader)?;
        let mut simulator = meter::pinned(&release.simulator, OTHER_CORE);
        simulator.args(["--no-token-expiry", "--no-token-rotation", "--youtube-quota", "1000000"]);
        let simulator = Simulator::start(simulator, extent.artists(), day(0))?;
        let home = folder.path().join("host");
        let stage = Stage::prepare(
            release.host.clone(),
            home,
            &server.named("postgres").url,
            &folder.path().join("compiled"),
            &simulator.routes()?,
            &settings(&folder.path().join("state")),
        )?;
        let (templates, databases) = (BTreeSet::new(), 0);
        Ok(Self { release, extent, interrupt, server, simulator, stage, components, templates, databases, folder })
    }

    /// A scenario on PostgreSQL.
    ///
    /// # Errors
    /// Names the step that failed.
    pub(crate) fn postgres(&mut self, artists: u32) -> Result<Scenario> {
        let template = format!("template_{artists}");
        if !self.templates.contains(&template) {
            say(format!("setting up {artists} artists on PostgreSQL"));
            let database = self.server.create(&template, None)?;
            self.stage.on(&database.url).set_up(&self.simulator, &self.job_components()?, artists)?;
            database.run(&["ANALYZE"])?;
            self.templates.insert(template.clone());
        }
        self.databases += 1;
        let name = format!("bench_{}", self.databases);
        let backline = self.server.create(&name, Some(&template))?;
        let native = self.server.create(&format!("{name}_native"), None)?;
        Ok(Scenario { name, backline, native, artists, days: 0 })
    }

    /// A scenario on SQLite.
    ///
    /// # Errors
    /// Names the step that failed.
    pub(crate) fn sqlite(&mut self, artists: u32) -> Result<Scenario> {
        say(format!("setting up {artists} artists on SQLite"));
        self.databases += 1;
        let name = format!("bench_{}", self.databases);
        let file =
            |end: &str| Database::sqlite(&self.folder.path().join(format!("{name}{end}.db")), &self.release.reader);
        let (backline, native) = (file(""), file("_native"));
        self.stage.on(&backline.url).set_up(&self.simulator, &self.job_components()?, artists)?;
        Ok(Scenario { name, backline, native, artists, days: 0 })
    }

    /// Removes the databases of a scenario.
    ///
    /// # Errors
    /// If the server refuses it.
    pub(crate) fn close(&self, scenario: &Scenario) -> Result<()> {
        if scenario.backline.is_sqlite() {
            return Ok(());
        }
        self.server.drop_database(&scenario.name)?;
        self.server.drop_database(&format!("{}_native", scenario.name))
    }

    /// Sets the simulator's date and latency, and forgets its counts.
    ///
    /// # Errors
    /// If the simulator refuses it.
    pub(crate) fn simulate(&self, date: Date, latency_ms: u32) -> Result<()> {
        self.interrupt.check()?;
        self.simulator.control("PUT", "date", &date.to_string())?;
        self.simulator.control("PUT", "latency-ms", &latency_ms.to_string())?;
        self.simulator.control("DELETE", "counts", "")?;
        Ok(())
    }

    /// The first artists as CSV and the operator's credentials as JSON, for the native program.
    ///
    /// # Errors
    /// If the simulator does not answer, or a file can't be written.
    pub(crate) fn native_files(&self, artists: u32) -> Result<(PathBuf, PathBuf)> {
        let csv = self.folder.path().join(format!("artists-{artists}.csv"));
        let credentials = self.folder.path().join("credentials.json");
        if !csv.is_file() {
            std::fs::write(&csv, first_lines(&self.simulator.control("GET", "artists.csv", "")?, artists))?;
        }
        if !credentials.is_file() {
            let all: Vec<serde_json::Value> = serde_json::from_str(&self.simulator.credentials()?)?;
            let own: Vec<_> = all.into_iter().filter(|entry| entry["account"].is_null()).collect();
            std::fs::write(&credentials, serde_json::to_string(&own)?)?;
        }
        Ok((csv, credentials))
    }

    /// The components of job A.
    fn job_components(&self) -> Result<Vec<PathBuf>> {
        CONNECTORS.iter().map(|name| self.component(name)).collect()
    }

    /// A component of the bench by name.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn component(&self, name: &str) -> Result<PathBuf> {
        match self.components.get(name) {
            Some(path) => Ok(path.clone()),
            None => bail!("there is no component {name} of the bench"),
        }
    }

    /// The folder of this run.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}
