//! What every command needs: the flags that all have, the configuration, the clock, and access to the database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use crate::cli::terminal::exit::Failure;
use crate::cli::terminal::print;
use crate::config::{self, Config, ConfigError, Loaded, Override};
use crate::pipeline::{self, ActSubjects, Host};
use backline_model::AccountId;
use backline_model::audit::ActOutcome;
use backline_model::clock::Clock;
use backline_store::Store;

/// Heading of the flags that every command has; a command's own come before them.
const GLOBAL: &str = "Global options";

/// What is said first of a database whose numbers are simulated.
pub(super) const SIMULATED: &str =
    "simulated: all artists, accounts and numbers of this database are made up, by `backline demo`";

/// Flags that every command has.
#[derive(clap::Args)]
pub(super) struct Global {
    /// Configuration file; the default is BACKLINE_CONFIG, or else backline.toml if it exists
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    config: Option<PathBuf>,
    /// Database: sqlite://file or postgres://user:password@host/name
    #[arg(long, global = true, value_name = "URL", help_heading = GLOBAL)]
    database: Option<String>,
    /// Set a key of the configuration, such as collection.window_days=14; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", help_heading = GLOBAL)]
    set: Vec<String>,
    /// Filter of the log on standard error, such as info or backline=debug
    #[arg(long, global = true, value_name = "FILTER", help_heading = GLOBAL)]
    log: Option<String>,
    /// Show whole tables, however narrow the terminal is
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub wide: bool,
}

/// What every command needs.
pub(super) struct Context {
    /// The configuration, with the source of each value.
    pub loaded: Loaded,
    /// The machine's clock.
    pub clock: Clock,
    /// Done once it was said that the database's numbers are simulated.
    said_simulated: Once,
    /// The database as the command opened it, until the command is recorded.
    opened: Mutex<Option<Store>>,
    /// How each account ended that the command acted on one by one.
    ended: Mutex<BTreeMap<AccountId, ActOutcome>>,
    /// What the command is about: what it makes is named here.
    pub subjects: ActSubjects,
}

impl Global {
    /// Refuses flags that say which configuration is used, for a command that has its own.
    #[cfg(feature = "demo")]
    pub(super) fn expect_no_configuration(&self, command: &str) -> Result<(), Failure> {
        let given = [
            ("--config", self.config.is_some()),
            ("--database", self.database.is_some()),
            ("--set", !self.set.is_empty()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => {
                Err(Failure::usage(format!("`{command}` has a configuration of its own; leave {flag} out")))
            }
            None => Ok(()),
        }
    }
}

impl Context {
    /// Reads the configuration; `more` are values that flags of a single command set.
    pub(super) fn load(global: &Global, more: &[Override]) -> Result<Self, Failure> {
        let environment = config::environment();
        let file = config::find_file(global.config.as_deref(), &environment);
        let mut overrides = overrides(global)?;
        overrides.extend_from_slice(more);
        let loaded = Config::load(file.as_deref(), &environment, &overrides)?;
        Ok(Self::completed(loaded, &environment))
    }

    /// Reads the configuration of a service, with its file; instead of it everything that is wrong with it.
    pub(super) fn load_or_tell_all(global: &Global) -> Result<Read, Failure> {
        let environment = config::environment();
        let file = config::find_file(global.config.as_deref(), &environment);
        let loaded = Config::load_or_tell_all(file.as_deref(), &environment, &overrides(global)?);
        Ok(Read { file, context: loaded.map(|loaded| Self::completed(loaded, &environment)) })
    }

    /// Reads the configuration of a file, in which the environment changes nothing but where caches are. Unless a flag
    /// says otherwise, the log has errors alone.
    #[cfg(feature = "demo")]
    pub(super) fn of_file(file: &Path, global: &Global) -> Result<Self, Failure> {
        let mut loaded = Config::load(Some(file), &BTreeMap::new(), &overrides(global)?)?;
        if !loaded.sources.contains_key("log.filter") {
            "error".clone_into(&mut loaded.config.log.filter);
        }
        Ok(Self::completed(loaded, &config::environment()))
    }

    fn completed(mut loaded: Loaded, environment: &BTreeMap<String, String>) -> Self {
        let sandbox = &mut loaded.config.sandbox;
        sandbox.cache_dir = sandbox.cache_dir.take().or_else(|| config::cache_folder(environment));
        // This binary itself compiles components, as a child process with limited memory and time.
        sandbox.compiler = sandbox.compiler.take().or_else(|| std::env::current_exe().ok());
        let service = &mut loaded.config.service;
        service.state_dir = service.state_dir.take().or_else(|| config::state_folder(environment));
        let state = service.state_dir.clone();
        let installation = &mut loaded.config.installation;
        installation.folder = installation.folder.take().or_else(|| Some(state?.join("installations")));
        let (said_simulated, opened, ended) = (Once::new(), Mutex::default(), Mutex::default());
        Self { loaded, clock: Clock::system(), said_simulated, opened, ended, subjects: ActSubjects::default() }
    }

    /// The configuration.
    pub(super) fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Opens the database without a check of its schema.
    pub(super) async fn open_any(&self) -> Result<Store, Failure> {
        let database = &self.config().database;
        Ok(Store::open(&database.url, pipeline::store_options(database)).await?)
    }

    /// Opens the database; refuses one with another schema than this binary needs.
    pub(super) async fn store(&self) -> Result<Store, Failure> {
        self.expect_database_file()?;
        let store = self.open_any().await?;
        store.schema_check().await?;
        if pipeline::is_simulated(&store).await? {
            self.say_simulated();
        }
        self.keep(&store);
        Ok(store)
    }

    /// Opens everything that collection needs.
    pub(super) async fn host(&self) -> Result<Host, Failure> {
        self.expect_database_file()?;
        let host = Host::open(self.config().clone(), self.clock.clone()).await?;
        if host.is_simulated() {
            self.say_simulated();
        }
        self.keep(host.store());
        Ok(host)
    }

    fn keep(&self, store: &Store) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(store.clone());
    }

    /// The database that the command has opened, if it has. It is kept no longer: a file is closed before the process
    /// ends.
    pub(super) fn take_opened(&self) -> Option<Store> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes how a command that acts on accounts one by one ended for one of them. The command as a whole does not say
    /// it: some may be done when another one fails.
    pub(super) fn note_ended(&self, account: AccountId, outcome: ActOutcome) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(account, outcome);
    }

    /// How it ended for each account that was noted.
    pub(super) fn take_ended(&self) -> BTreeMap<AccountId, ActOutcome> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says once, before anything else, that the numbers are simulated.
    pub(super) fn say_simulated(&self) {
        self.said_simulated.call_once(|| print::note(SIMULATED));
    }

    /// Whether the configured database is a file whose numbers are simulated. One that can't be asked is not.
    pub(super) async fn is_file_of_simulation(&self) -> bool {
        if sqlite_file(&self.config().database.url).is_none_or(|path| !Path::new(&path).is_file()) {
            return false;
        }
        let Ok(store) = self.open_any().await else { return false };
        let is_simulated = pipeline::is_simulated(&store).await.unwrap_or(false);
        store.close().await;
        is_simulated
    }

    /// Refuses a SQLite file that does not exist: only `migrate` may create one, and opening would. Says what is
    /// wrong with where it lies.
    pub(super) fn expect_database_file(&self) -> Result<(), Failure> {
        self.expect_database()?;
        for warning in self.database_warnings() {
            print::note(&format!("warning: {warning}"));
        }
        Ok(())
    }

    /// The same without a word about where it lies.
    pub(super) fn expect_database(&self) -> Result<(), Failure> {
        match sqlite_file(&self.config().database.url) {
            Some(path) if !Path::new(&path).exists() => {
                Err(Failure::usage(format!("there is no database at {path}; create one with `backline migrate`")))
            }
            _ => Ok(()),
        }
    }

    /// What is wrong with where a SQLite file lies: who may read it, and on what file system.
    pub(super) fn database_warnings(&self) -> Vec<String> {
        let Some(path) = sqlite_file(&self.config().database.url) else { return Vec::new() };
        exposed(&path).into_iter().chain(on_network(&path)).collect()
    }

    /// Whether there is a database to open: opening would make a SQLite file that is missing.
    pub(super) fn has_database(&self) -> bool {
        sqlite_file(&self.config().database.url).is_none_or(|path| Path::new(&path).exists())
    }

    /// Says that a SQLite file lies on a network file system.
    pub(super) fn warn_of_network(&self) {
        if let Some(path) = sqlite_file(&self.config().database.url)
            && let Some(warning) = on_network(&path)
        {
            print::note(&format!("warning: {warning}"));
        }
    }
}

/// A configuration as it was read for a check.
pub(super) struct Read {
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// What a command has, or everything that is wrong.
    pub context: Result<Context, Vec<ConfigError>>,
}

/// Says that a SQLite file lies on a network file system.
fn on_network(path: &str) -> Option<String> {
    let system = network_file_system(Path::new(path))?;
    Some(format!(
        "the database lies on a network file system ({system}), where locks may not hold and a database can be \
         damaged; keep {path} on a disk of this machine, or use PostgreSQL"
    ))
}

/// The name of the network file system that a file, or the folder it will be made in, lies on.
#[cfg(target_os = "linux")]
fn network_file_system(path: &Path) -> Option<&'static str> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = rustix::fs::statfs(path).or_else(|_| rustix::fs::statfs(folder)).ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the numbers have 32 bits")]
    network_name(found.f_type as u32)
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_: &Path) -> Option<&'static str> {
    None
}

/// Kinds of network file systems, by the numbers of Linux's statfs(2).
#[cfg(any(target_os = "linux", test))]
fn network_name(kind: u32) -> Option<&'static str> {
    Some(match kind {
        0x6969 => "NFS",
        0x517b | 0xfe53_4d42 | 0xff53_4d42 => "SMB",
        0x0102_1997 => "9P",
        0x00c3_6400 => "Ceph",
        0x0bd0_0bd0 => "Lustre",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x564c => "NCP",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0xaad7_aaea => "PanFS",
        0x786f_4256 | 0xbacb_acbc => "a folder that a virtual machine shares",
        // Nothing tells what is elsewhere from what is not, and most is.
        0x6573_5546 => "FUSE, as sshfs and mounted buckets use it",
        _ => return None,
    })
}

/// Says which of a SQLite database's files other users of the machine may read.
fn exposed(path: &str) -> Option<String> {
    let files = ["", "-wal", "-shm"].map(|suffix| format!("{path}{suffix}"));
    let open: Vec<String> = files
        .into_iter()
        .filter(|file| std::fs::metadata(file).is_ok_and(|data| config::is_open_to_others(&data)))
        .collect();
    let named = open.join(" ");
    (!open.is_empty())
        .then(|| format!("other users of this machine may read the database; run `chmod 600 {named}` to keep them out"))
}

fn overrides(global: &Global) -> Result<Vec<Override>, Failure> {
    let mut overrides = Vec::new();
    let mut set = |key: &str, value: &str, flag: &str| {
        overrides.push(Override { key: key.to_owned(), value: value.to_owned(), flag: flag.to_owned() });
    };
    for pair in &global.set {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Failure::usage(format!("--set '{pair}' has no value; write --set collection.window_days=14")));
        };
        if let Some(secret) = secret_in(key.trim(), value) {
            return Err(Failure::usage(secret));
        }
        set(key.trim(), value, "--set");
    }
    if let Some(url) = &global.database {
        set("database.url", url, "--database");
    }
    if let Some(filter) = &global.log {
        set("log.filter", filter, "--log");
    }
    Ok(overrides)
}

/// Why a value of `--set` is refused: it is a secret, or a table that may hold one, and others see it in the list of
/// processes.
fn secret_in(key: &str, value: &str) -> Option<&'static str> {
    let is_table = value.trim_start().starts_with('{');
    match key.split('.').map(str::trim).collect::<Vec<_>>().as_slice() {
        ["secrets"] if is_table => Some(
            "--set secrets would show keys in the list of processes; set secrets.key_file and secrets.old_key_files, \
             each with a --set of its own, or BACKLINE_SECRETS",
        ),
        ["secrets", "key"] => Some(
            "--set secrets.key would show the key in the list of processes; set secrets.key_file or \
             BACKLINE_SECRETS__KEY",
        ),
        ["secrets", "old_keys"] => Some(
            "--set secrets.old_keys would show keys in the list of processes; set secrets.old_key_files or \
             BACKLINE_SECRETS__OLD_KEYS",
        ),
        ["plugins", "registries", .., "password"] => Some(REGISTRY_PASSWORD),
        ["plugins"] | ["plugins", "registries", ..] if is_table && value.contains("password") => {
            Some(REGISTRY_PASSWORD)
        }
        _ => None,
    }
}

/// Why a registry's password is refused on the command line.
const REGISTRY_PASSWORD: &str = "--set would show the registry's password in the list of processes; set it in the \
                                 configuration file";

/// The file of a SQLite URL or a bare path.
fn sqlite_file(url: &str) -> Option<String> {
    let path = match url.split_once(':') {
        Some(("sqlite", rest)) => rest.strip_prefix("//").unwrap_or(rest),
        Some(_) if url.contains("://") => return None,
        _ => url,
    };
    let path = path.split('?').next().unwrap_or(path);
    // The store refuses `:memory:` and the like.
    (!path.is_empty() && !path.starts_with(':')).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_others_may_read_is_named() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("backline.db").to_string_lossy().into_owned();
        let set = |file: &str, mode| {
            std::fs::write(file, "").expect("written");
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).expect("set");
        };
        set(&path, 0o600);
        assert_eq!(exposed(&path), None);
        set(&format!("{path}-wal"), 0o644);
        let warning = exposed(&path).expect("the WAL is open");
        assert!(warning.contains(&format!("`chmod 600 {path}-wal`")), "{warning}");
    }

    #[test]
    fn a_secret_is_refused_on_the_command_line_in_every_form() {
        for (key, value) in [
            ("secrets.key", "x"),
            ("secrets. key", "x"),
            ("secrets.old_keys", "[]"),
            ("secrets", "{ key = 'x' }"),
            ("plugins.registries.acme.password", "x"),
            ("plugins.registries.acme", "{ user = 'u', password = 'x' }"),
            ("plugins.registries", "{ acme = { password = 'x' } }"),
            ("plugins", "{ registries = { acme = { password = 'x' } } }"),
        ] {
            let why = secret_in(key, value);
            assert!(why.is_some_and(|why| why.contains("the list of processes")), "{key} = {value}");
        }
        for (key, value) in [
            ("secrets.key_file", "/etc/backline/key"),
            ("secrets.old_key_files", "[]"),
            ("plugins.registries.acme", "{ user = 'u' }"),
            ("collection.tenant_weights", "{ password = 2 }"),
        ] {
            assert_eq!(secret_in(key, value), None, "{key} = {value}");
        }
    }

    #[test]
    fn a_network_file_system_is_told_from_a_disk() {
        // NFS, SMB 2, 9P, FUSE, VirtualBox's shared folders; then ext4, XFS, Btrfs, tmpfs, overlayfs.
        for kind in [0x6969, 0xfe53_4d42, 0x0102_1997, 0x6573_5546, 0x786f_4256] {
            assert!(network_name(kind).is_some(), "{kind:x}");
        }
        for kind in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630] {
            assert_eq!(network_name(kind), None, "{kind:x}");
        }
        // The folder is looked at where there is no file yet.
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("backline.db");
        assert_eq!(network_file_system(&missing), network_file_system(folder.path()));
        assert_eq!(network_file_system(Path::new("backline.db")), network_file_system(Path::new(".")));
    }

    #[cfg(feature = "demo")]
    #[test]
    fn a_command_with_its_own_configuration_takes_no_other() {
        let global = || Global { config: None, database: None, set: Vec::new(), log: None, wide: false };
        let refusal =
            |global: Global| global.expect_no_configuration("backline demo").err().map(|failure| failure.message);
        assert_eq!(refusal(Global { log: Some("info".to_owned()), wide: true, ..global() }), None);
        for (given, flag) in [
            (Global { config: Some("x.toml".into()), ..global() }, "--config"),
            (Global { database: Some("x.db".to_owned()), ..global() }, "--database"),
            (Global { set: vec!["a.b=c".to_owned()], ..global() }, "--set"),
        ] {
            let said = refusal(given).expect("refused");
            assert!(said.ends_with(&format!("; leave {flag} out")), "{said}");
        }
    }

    #[test]
    fn only_sqlite_urls_and_bare_paths_name_a_file() {
        assert_eq!(sqlite_file("sqlite://data/backline.db?mode=rwc").as_deref(), Some("data/backline.db"));
        assert_eq!(sqlite_file("sqlite:backline.db").as_deref(), Some("backline.db"));
        assert_eq!(sqlite_file("backline.db").as_deref(), Some("backline.db"));
        for url in ["postgres://user:x@localhost/db", "mysql://x", "sqlite::memory:", ":memory:"] {
            assert_eq!(sqlite_file(url), None, "{url}");
        }
    }
}
