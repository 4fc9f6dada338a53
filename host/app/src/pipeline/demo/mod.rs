//! Backline without keys: the simulated platforms inside this process, and some weeks of numbers collected from them.
//!
//! The path of the data is the same as ever: [`Host`], connectors and gateway reach the simulated platforms by
//! `gateway.routes`, as in tests. Only the clock is given: each day of the history is collected at its own noon, so
//! that its numbers are of that date. What makes a database a demo's is its installation, which this module claims
//! before anything is stored; every edge reads it.

mod folder;
mod people;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

pub use self::folder::{DemoFolder, Wanted};
use crate::config::Config;
use crate::pipeline::collection::report::RunRequest;
use crate::pipeline::credentials::installation::{Installation, InstallationError};
use crate::pipeline::credentials::set_credential::SetCredentialError;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::host::{Host, OpenError};
use crate::pipeline::options::store_options;
use crate::pipeline::releases::install::{Approve, InstallError, InstallOptions};
use crate::pipeline::{ApiTokenError, NewToken, Tokens};
use backline_gateway::secrets::SecretText;
use backline_model::clock::Clock;
use backline_model::manifest::BudgetWindow;
use backline_model::{InstallationId, Role, Run, TokenState};
use backline_simulator::{HOSTS, Platform as SimPlatform, Simulator, Story};
use backline_store::{FileOwner, Scope, Store, StoreError};

/// Trigger of the runs of the history.
const TRIGGER: &str = "demo";

/// Name of the token that a start makes.
const TOKEN: &str = "demo";

/// How long that token is accepted.
const TOKEN_LASTS: TimeDelta = TimeDelta::days(30);

/// Most runs that are looked through for those of the history: 27 years of one run a day.
const RUNS_MAX: u32 = 10_000;

/// Units of a rolling window. Requests are spaced by these windows, by a clock that stands still during a day.
const ROLLING_UNITS: u64 = 1_000_000;

/// How often the simulated clock is set to the machine's while the demo is served.
const FOLLOWS_EVERY: Duration = Duration::from_secs(15);

/// Folders that have the first-party connectors, from the folder of the binary: below a build's `target`, and below the
/// prefix of a package or an archive.
const CONNECTORS: [&str; 2] = ["../plugins", "../share/backline/plugins"];

/// Why a demo can't begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The folder holds something else.
    #[error(
        "{} is not a folder of a demo, and is left as it is; name a new or an empty one with --folder",
        folder.display()
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process has it.
    #[error("another `backline demo` uses {}; stop it, or name another folder with --folder", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// What is asked for is not what the folder has.
    #[error(
        "the demo in {} has {has} {what}, not {asked}; leave --{what} out, or begin again with --fresh",
        folder.display()
    )]
    Differs {
        /// The folder.
        folder: PathBuf,
        /// What differs, as the option is called.
        what: &'static str,
        /// What the folder has.
        has: u32,
        /// What is asked for.
        asked: u32,
    },
    /// The database in the folder is not the demo's.
    #[error("the database in {} is not a demo's; move it away, and begin again with --fresh", folder.display())]
    NotSimulated {
        /// The folder.
        folder: PathBuf,
    },
    /// A file or folder can't be read or written.
    #[error("{} can't be used; make it readable and writable, or name another folder with --folder", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A connector is missing.
    #[error(
        "the connectors of the simulated platforms are not in {looked}; build them with `cargo xtask build`, or name \
         their folder with --connectors"
    )]
    NoConnectors {
        /// Where they were looked for.
        looked: String,
    },
    /// The simulated platforms can't be started.
    #[error("the simulated platforms can't be started")]
    Simulator(#[source] io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A connector can't be installed.
    #[error("{} can't be installed", file.display())]
    Install {
        /// File of the component.
        file: PathBuf,
        /// Why not.
        #[source]
        source: Box<InstallError>,
    },
    /// A credential of the simulated platforms can't be set.
    #[error(transparent)]
    Credential(#[from] SetCredentialError),
    /// The token can't be made.
    #[error(transparent)]
    Token(#[from] ApiTokenError),
    /// The installation can't be joined.
    #[error(transparent)]
    Installation(#[from] InstallationError),
}

impl Classified for DemoError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Foreign { .. }
            | Self::InUse { .. }
            | Self::Differs { .. }
            | Self::NotSimulated { .. }
            | Self::NoConnectors { .. } => ErrorClass::Refused,
            Self::File { .. } | Self::Simulator(_) => ErrorClass::Unavailable,
            Self::Store(error) => error.class(),
            Self::Open(error) => error.class(),
            Self::Install { source, .. } => source.class(),
            Self::Credential(error) => error.class(),
            Self::Token(error) => error.class(),
            Self::Installation(error) => error.class(),
        }
    }
}

/// A day of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoDay {
    /// A date that is over, collected at its noon.
    Past(NaiveDate),
    /// Today, collected by the machine's clock.
    Today,
}

impl fmt::Display for DemoDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Past(date) => date.fmt(f),
            Self::Today => f.pad("today"),
        }
    }
}

/// A demo: its folder, and its platforms, which are simulated until it is dropped.
pub struct Demo {
    folder: DemoFolder,
    story: Story,
    simulator: Simulator,
    /// The time that the history is at; none where it is the machine's.
    time: Arc<Mutex<Option<DateTime<Utc>>>>,
    machine: Clock,
}

impl Demo {
    /// Starts the simulated platforms, on a free port of this machine.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(folder: DemoFolder, machine: Clock) -> Result<Self, DemoError> {
        let story = folder.story();
        let simulator = Simulator::start(story.config()).await.map_err(DemoError::Simulator)?;
        let time = Arc::new(Mutex::new(story.dates().first().copied().map(noon)));
        Ok(Self { folder, story, simulator, time, machine })
    }

    /// Writes the configuration with which this demo, and every other command, uses its database and platforms. Returns
    /// its path.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn configure(&self, listen: SocketAddr) -> Result<PathBuf, DemoError> {
        self.folder.configure(listen, &HOSTS, &self.simulator.url())
    }

    /// Migrates the database and marks it as simulated. The first time it also installs the connectors and adds the
    /// artists with their consents and credentials; `tell` is given each step before it begins.
    ///
    /// # Errors
    /// When the database is not the demo's, which is then left as it is, or one of the steps fails; the next start
    /// begins with them again.
    pub async fn prepare(
        &self,
        config: &Config,
        components: &[PathBuf],
        tell: &(dyn Fn(String) + Sync),
    ) -> Result<(), DemoError> {
        let not_simulated = || DemoError::NotSimulated { folder: self.folder.path().to_path_buf() };
        // First: opening one writes to it, and so does a migration.
        match Store::file_owner_get(&config.database.url).await? {
            FileOwner::NoOne => {}
            FileOwner::Installation(id) if id == InstallationId::SIMULATED => {}
            FileOwner::Installation(_) | FileOwner::Unknown => return Err(not_simulated()),
        }
        let store = Store::open(&config.database.url, store_options(&config.database)).await?;
        store.migrate().await?;
        let now = self.machine.now();
        if store.installation_claim(InstallationId::SIMULATED, now).await? != InstallationId::SIMULATED {
            return Err(not_simulated());
        }
        let folder = config.installation.folder.as_deref();
        Installation::new(store.clone(), self.machine.clone(), folder).join().await?;
        store.close().await;
        if self.folder.is_set_up() {
            return Ok(());
        }
        let host = self.host(config.clone()).await?;
        for file in components {
            tell(format!("installing {}", shown(file)));
            install(&host, file).await?;
        }
        tell(format!("adding {} artists", self.simulator.world().artists()));
        people::add(&host, self.simulator.world()).await?;
        host.store().close().await;
        self.folder.note_set_up()
    }

    /// A host on the demo's database, whose clock is at the day of the history that [`turn_to`](Self::turn_to) chose.
    ///
    /// # Errors
    /// When it can't be opened.
    pub async fn host(&self, config: Config) -> Result<Host, DemoError> {
        let (time, machine) = (Arc::clone(&self.time), self.machine.clone());
        let clock = Clock::from_fn(move || {
            let given = *lock(&time);
            given.unwrap_or_else(|| machine.now())
        });
        Ok(Host::open(config, clock).await?)
    }

    /// The days of the history that no run has finished yet, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_days(&self, store: &Store) -> Result<Vec<DemoDay>, DemoError> {
        let runs = store.runs_list(&Scope::all_tenants(), RUNS_MAX, None).await?;
        let is_done = |date: Option<NaiveDate>| {
            runs.iter().any(|run| run.trigger == TRIGGER && run.date == date && run.finished_at.is_some())
        };
        let last = self.story.last();
        let past = self.story.dates().into_iter().filter(|date| *date != last && !is_done(Some(*date)));
        let today = (!is_done(None)).then_some(DemoDay::Today);
        Ok(past.map(DemoDay::Past).chain(today).collect())
    }

    /// Sets the clocks of host and platforms to a day of the history, with what happens on it. Returns what to collect.
    pub fn turn_to(&self, day: DemoDay) -> RunRequest {
        let date = match day {
            DemoDay::Past(date) => Some(date),
            DemoDay::Today => None,
        };
        let time = date.map(noon);
        *lock(&self.time) = time;
        self.simulator.set_now(time.unwrap_or_else(|| self.machine.now()));
        let faults = self.story.faults(self.simulator.world(), date.unwrap_or_else(|| self.story.last()));
        self.simulator.set_faults(faults);
        RunRequest { trigger: TRIGGER.to_owned(), date, ..RunRequest::default() }
    }

    /// The run that collected today's numbers, if there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run_of_today(&self, host: &Host) -> Result<Option<Run>, DemoError> {
        let runs = host.store().runs_list(&Scope::all_tenants(), RUNS_MAX, None).await?;
        Ok(runs.into_iter().find(|run| run.trigger == TRIGGER && run.date.is_none()))
    }

    /// Lets the platforms' clock go with the machine's, for as long as this is awaited.
    pub async fn follow(&self) -> Infallible {
        self.turn_to(DemoDay::Today);
        let mut ticks = tokio::time::interval(FOLLOWS_EVERY);
        loop {
            ticks.tick().await;
            self.simulator.set_now(self.machine.now());
        }
    }

    /// Makes a token for everything, and revokes those of earlier starts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token(&self, store: &Store) -> Result<SecretText, DemoError> {
        let (tokens, now) = (Tokens::new(store.clone(), self.machine.clone()), self.machine.now());
        for token in tokens.list().await? {
            if token.name == TOKEN && token.state(now) == TokenState::Active {
                tokens.revoke(token.id).await?;
            }
        }
        let expires_at = now.checked_add_signed(TOKEN_LASTS);
        let new = NewToken { name: TOKEN.to_owned(), role: Role::Admin, tenant: None, expires_at };
        let (_, text) = tokens.create(new).await?;
        Ok(text)
    }
}

/// The components of the simulated platforms' connectors: of a folder that is given, or else of the first one that has
/// them all.
///
/// # Errors
/// When they are not there; the error says how to get them.
pub fn components(given: Option<&Path>) -> Result<Vec<PathBuf>, DemoError> {
    let folders: Vec<PathBuf> = match given {
        Some(folder) => vec![folder.to_path_buf()],
        None => {
            let binary = std::env::current_exe().ok();
            let folder = binary.as_deref().and_then(Path::parent);
            folder.into_iter().flat_map(|folder| CONNECTORS.map(|below| folder.join(below))).collect()
        }
    };
    // Files are called as connectors, which have hyphens where platforms have underscores.
    let files = |folder: &PathBuf| {
        SimPlatform::ALL.map(|platform| folder.join(format!("{}.wasm", platform.as_str().replace('_', "-"))))
    };
    let found = folders.iter().map(files).find(|files| files.iter().all(|file| file.is_file()));
    found.map(Vec::from).ok_or_else(|| {
        let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        DemoError::NoConnectors { looked: looked.join(" or ") }
    })
}

/// Installs and activates a component, with all that it asks for.
async fn install(host: &Host, file: &Path) -> Result<(), DemoError> {
    let component = std::fs::read(file).map_err(|source| DemoError::File { path: file.to_path_buf(), source })?;
    let failed = |error| DemoError::Install { file: file.to_path_buf(), source: Box::new(error) };
    let proposal = host.releases().propose(&component).await.map_err(failed)?;
    let budgets = proposal.inspection.manifest.budgets.iter();
    let rolling = budgets.filter(|budget| matches!(budget.window, BudgetWindow::Rolling(_)));
    let options = InstallOptions {
        approve: Approve::All,
        // A set-up that was broken off may have begun with another build.
        allow_downgrade: true,
        replace_same_version: true,
        budgets: rolling.map(|budget| (budget.name.clone(), ROLLING_UNITS)).collect(),
        source: file.display().to_string(),
        ..InstallOptions::default()
    };
    host.releases().install(&component, &options).await.map_err(failed)?;
    Ok(())
}

/// The name of a file.
fn shown(file: &Path) -> String {
    file.file_name().map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Noon UTC of a date: the same date in every time zone that artists of the simulation live in.
fn noon(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(12)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connectors_are_named_that_are_missing_and_taken_from_a_folder_that_has_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = components(Some(folder.path())).expect_err("it is empty");
        let said = missing.to_string();
        assert!(said.contains(&folder.path().display().to_string()) && said.contains("--connectors"), "{said}");
        for name in ["youtube", "spotify", "instagram", "tiktok", "apple-music"] {
            std::fs::write(folder.path().join(format!("{name}.wasm")), "").expect("written");
        }
        assert_eq!(components(Some(folder.path())).expect("all are there").len(), 5);
    }

    #[test]
    fn a_day_is_collected_at_its_noon() {
        let date = NaiveDate::from_ymd_opt(2026, 11, 20).expect("a date");
        assert_eq!(noon(date).to_rfc3339(), "2026-11-20T12:00:00+00:00");
        assert_eq!(format!("{:10}|", DemoDay::Past(date)), "2026-11-20|");
        assert_eq!(format!("{:10}|", DemoDay::Today), "today     |");
    }
}
