//! What measurements share: the release build, the simulator, PostgreSQL, and databases that are set up once for each
//! number of artists and copied for each measurement.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;
use tempfile::TempDir;

use super::interrupt::Interrupt;
use super::meter::{self, MEASURED_CORE, OTHER_CORE, Run};
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

/// Days before yesterday at which the simulated days begin.
pub(crate) const DAYS_BACK: u32 = 60;

/// The host's settings that differ from the defaults. The native program has 64 requests in flight as long as there is
/// work. With the default of 16 batches the host has fewer: it keeps places free for platforms that are done for the
/// day, and gives as many to those whose 50 accounts take one request as to those whose accounts take one each, of
/// which four of a batch are in flight. With these settings it has as many as the native program, give or take a few.
fn settings(state: &Path) -> String {
    // JSON's strings are TOML's basic strings for everything that occurs in paths.
    let state = Json::from(state.to_string_lossy());
    format!(
        "\n[collection]\nconcurrency = 8\nconcurrency_max = 8\nplatform_weights = {{ instagram = 2, tiktok = 2 }}\n{}\n\
         [service]\nbatches_max = 20\nlisten = \"127.0.0.1:0\"\nstate_dir = {state}\n\n[log]\nfilter = \"error\"\n",
        stage::LATE
    )
}

/// Everything that measurements share. Dropping it ends all processes and removes all folders.
pub(crate) struct Lab {
    pub(crate) release: Release,
    /// Whether this is a look at 1,000 artists.
    pub(crate) is_quick: bool,
    /// How often each job is measured.
    pub(crate) repetitions: usize,
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
    /// Days collected so far. The first one is not measured: it fills caches, and refreshes tokens that were imported.
    pub(crate) days: u32,
}

impl Scenario {
    /// The next simulated day.
    pub(crate) fn next_day(&mut self) -> Date {
        self.days += 1;
        day(self.days)
    }

    /// The latest simulated day, the first one at first.
    pub(crate) fn day(&self) -> Date {
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
    /// Builds and starts everything, for scenarios of up to `artists` artists.
    ///
    /// # Errors
    /// Names the step that failed.
    pub(crate) fn open(artists: u32, is_quick: bool, repetitions: usize, interrupt: Interrupt) -> Result<Self> {
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
        let simulator = Simulator::start(simulator, artists.max(1), day(0))?;
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
        Ok(Self {
            release,
            is_quick,
            repetitions,
            interrupt,
            server,
            simulator,
            stage,
            components,
            templates,
            databases,
            folder,
        })
    }

    /// A scenario on PostgreSQL, whose first day is collected: by Backline, not by the native program.
    ///
    /// # Errors
    /// Names the step that failed.
    pub(crate) fn postgres(&mut self, artists: u32) -> Result<Scenario> {
        let template = format!("template_{artists}");
        if !self.templates.contains(&template) {
            say(format!("setting up {artists} artists on PostgreSQL"));
            // An earlier measurement may have failed in the middle of this.
            self.server.drop_database(&template)?;
            let database = self.server.create(&template, None)?;
            self.stage.on(&database.url).set_up(&self.simulator, &self.job_components()?, artists)?;
            say("collecting the first day, which is not measured");
            self.simulate(day(1), 0)?;
            self.collect(&database, day(1))?;
            database.run(&["ANALYZE"])?;
            self.templates.insert(template.clone());
        }
        self.databases += 1;
        let name = format!("bench_{}", self.databases);
        let backline = self.server.create(&name, Some(&template))?;
        let native = self.server.create(&format!("{name}_native"), None)?;
        Ok(Scenario { name, backline, native, artists, days: 1 })
    }

    /// A scenario on SQLite, whose first day is collected in the same way.
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
        say("collecting the first day, which is not measured");
        self.simulate(day(1), 0)?;
        self.collect(&backline, day(1))?;
        Ok(Scenario { name, backline, native, artists, days: 1 })
    }

    /// Runs the host for a date, and returns its report.
    ///
    /// # Errors
    /// If it ends with anything but success.
    pub(crate) fn collect(&self, database: &Database, date: Date) -> Result<(Run, Json)> {
        let command = meter::pinned(&self.release.host, MEASURED_CORE);
        let arguments = ["run", "--date", &date.to_string(), "--json"];
        let command = self.stage.on(&database.url).with_arguments(command, &arguments);
        let run = meter::run(command, &self.interrupt)?;
        if run.code != Some(0) {
            bail!("`backline run` ended with {:?}: {}", run.code, run.output);
        }
        let report = serde_json::from_str(&run.output).context("the report of `backline run --json` is no JSON")?;
        Ok((run, report))
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
            let all: Vec<Json> = serde_json::from_str(&self.simulator.credentials()?)?;
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
