//! What an operator can set: `backline.toml`, overridden by `BACKLINE_…` environment variables, overridden by flags.
//!
//! Three separate phases: [`environment`] and [`find_file`] read the process's surroundings, [`Config::load`] combines
//! the layers, and all other code gets the result. An unknown key is refused, since a misspelt one would silently do
//! nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use backline_component::PluginsConfig;
use backline_gateway::GatewayConfig;
use backline_gateway::secrets::{Keyring, SecretError};
use backline_model::weakened::CAN_SWITCH;
use backline_model::{ScheduleSpec, Weights};
use backline_rules::archive::ArchiveConfig;
use backline_rules::dates::LATE_S_DEFAULT;
use backline_rules::delivery::DeliveriesConfig;
use backline_rules::growth::SignificanceConfig;
use backline_rules::health::{CostsConfig, HealthConfig};
use backline_rules::rollback_analysis::RollbackConfig;
use backline_rules::validate::ValidationConfig;
use backline_sandbox::SandboxConfig;

mod checks;
mod layers;
mod networks;
#[cfg(feature = "weakened")]
mod points;
mod service;
mod show;
mod zones;

use layers::FileText;
pub use layers::{Loaded, Override, Source};
pub use networks::Network;
#[cfg(feature = "weakened")]
pub(crate) use points::let_go_wrong;
#[cfg(feature = "weakened")]
pub use points::{DIES_AT_VARIABLE, FILE_PAGES_VARIABLE, FILE_READ_ONLY_VARIABLE, WITHOUT_VARIABLE};
pub use service::ServiceConfig;
pub use show::masked_url;
pub use zones::TimezonesConfig;

/// The version that runs. A build for tests that weaken it says so, and is never to be released. What decides is
/// whether bounds can be switched off, however the build came by that; tidy searches the release binary for the last
/// word.
pub const VERSION: &str =
    if CAN_SWITCH { concat!(env!("CARGO_PKG_VERSION"), " BACKLINE-WEAKENED-BUILD") } else { env!("CARGO_PKG_VERSION") };

/// The configuration file that is read if none is named and it exists.
pub const FILE_NAME: &str = "backline.toml";

/// The environment variable that names the configuration file.
pub const FILE_VARIABLE: &str = "BACKLINE_CONFIG";

/// Shortest limit of a statement, in milliseconds: under it, ordinary load would look like a failure.
const DATABASE_TIMEOUT_MS_MIN: u64 = 100;

/// Longest limit of a statement, in milliseconds: a day. PostgreSQL takes up to 24.
const DATABASE_TIMEOUT_MS_MAX: u64 = 86_400_000;

/// Largest key file that is read, in bytes; a key has 44.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("failed to read the configuration file {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not valid TOML at line {line}: {problem}", path.display())]
    Syntax {
        /// Path of the file.
        path: PathBuf,
        /// Line of the error, counted from 1.
        line: usize,
        /// Message of the parser.
        problem: String,
    },
    /// A key that does not exist.
    #[error("unknown key '{key}' in {origin}{}", advice(nearest))]
    UnknownKey {
        /// The key with its sections, separated by dots.
        key: String,
        /// Where it was set.
        origin: Source,
        /// Existing keys that may be meant, the likeliest first.
        nearest: Vec<String>,
    },
    /// A value of the wrong type, or out of range.
    #[error("{key} in {origin} is wrong: {problem}")]
    Value {
        /// The key with its sections, separated by dots.
        key: String,
        /// Where it was set.
        origin: Source,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// The key that encrypts secrets is not a key.
    #[error("{set} is wrong")]
    Key {
        /// The configuration key that holds or names it.
        set: &'static str,
        /// What is wrong, and what to write instead.
        #[source]
        source: SecretError,
    },
    /// The key file can't be used.
    #[error("{set}: {} {problem}", path.display())]
    KeyFile {
        /// The configuration key that names it.
        set: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it, and how to fix it.
        problem: String,
    },
}

impl ConfigError {
    /// The key that it is about; none where it is about the file as a whole.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Read { .. } | Self::Syntax { .. } => None,
            Self::UnknownKey { key, .. } | Self::Value { key, .. } => Some(key),
            Self::Key { set, .. } | Self::KeyFile { set, .. } => Some(set),
        }
    }
}

fn advice(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        [one] => format!("; did you mean '{one}'?"),
        several => format!("; the keys are {}", several.join(", ")),
    }
}

/// Everything an operator can set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The database that stores everything.
    pub database: DatabaseConfig,
    /// The keys that encrypt credentials.
    pub secrets: SecretsConfig,
    /// Batches, attempts and fairness of runs.
    pub collection: CollectionConfig,
    /// When runs are due, by name. One named `daily` unless any is given; an empty table means none.
    pub schedules: BTreeMap<String, ScheduleSpec>,
    /// Settings of `backline serve`.
    pub service: ServiceConfig,
    /// Which processes may refresh the database's tokens.
    pub installation: InstallationConfig,
    /// The table that `backline artists sync` reads.
    pub sync: SyncConfig,
    /// Export of traces.
    pub telemetry: TelemetryConfig,
    /// Timeouts, retries and exemptions of outgoing requests.
    pub gateway: GatewayConfig,
    /// Sources of connectors, and the keys trusted to sign them.
    pub plugins: PluginsConfig,
    /// Limits of connectors: memory, time, requests and output.
    pub sandbox: SandboxConfig,
    /// Rules that metrics must pass.
    pub validation: ValidationConfig,
    /// Which changes of a metric cause an event.
    pub significance: SignificanceConfig,
    /// When a release is rolled back automatically.
    pub rollback: RollbackConfig,
    /// Retention of metrics and documents.
    pub archive: ArchiveConfig,
    /// Delivery of events to webhooks.
    pub deliveries: DeliveriesConfig,
    /// Objectives and alerts.
    pub health: HealthConfig,
    /// Prices, for the estimate of costs.
    pub costs: CostsConfig,
    /// The log on standard error.
    pub log: LogConfig,
    /// Where the rules of time zones are read from.
    pub timezones: TimezonesConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database: DatabaseConfig::default(),
            secrets: SecretsConfig::default(),
            collection: CollectionConfig::default(),
            schedules: BTreeMap::from([("daily".to_owned(), ScheduleSpec::default())]),
            service: ServiceConfig::default(),
            installation: InstallationConfig::default(),
            sync: SyncConfig::default(),
            telemetry: TelemetryConfig::default(),
            gateway: GatewayConfig::default(),
            plugins: PluginsConfig::default(),
            sandbox: SandboxConfig::default(),
            validation: ValidationConfig::default(),
            significance: SignificanceConfig::default(),
            rollback: RollbackConfig::default(),
            archive: ArchiveConfig::default(),
            deliveries: DeliveriesConfig::default(),
            health: HealthConfig::default(),
            costs: CostsConfig::default(),
            log: LogConfig::default(),
            timezones: TimezonesConfig::default(),
        }
    }
}

/// The database that stores everything.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite://path` or `postgres://user:password@host/database`. A relative path is relative to the current folder.
    pub url: String,
    /// Most connections of one process to PostgreSQL.
    pub connections_max: u32,
    /// Longest time for opening the database or one connection, and for closing them, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest time of one statement, and of the turn of SQLite's one writer, in milliseconds. A connection to
    /// PostgreSQL that does not answer within it is closed.
    pub statement_timeout_ms: u64,
    /// The same for one that reads or changes whole tables, such as a report or a month's archive, for each row of an
    /// export, and, up to ten minutes, for a page of the table that `artists sync` reads.
    pub long_statement_timeout_ms: u64,
    /// Longest wait for a lock, in milliseconds; on SQLite for that of another process.
    pub lock_timeout_ms: u64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: "sqlite://backline.db".to_owned(),
            connections_max: 10,
            connect_timeout_ms: 10_000,
            statement_timeout_ms: 60_000,
            long_statement_timeout_ms: 3_600_000,
            lock_timeout_ms: 30_000,
        }
    }
}

impl DatabaseConfig {
    /// Refuses an address that is none, and limits that no statement or that every statement would pass.
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.connections_max == 0 {
            return Err(("database.connections_max", "0 would never connect; write 1 or more".to_owned()));
        }
        let limits = [
            ("database.connect_timeout_ms", self.connect_timeout_ms),
            ("database.statement_timeout_ms", self.statement_timeout_ms),
            ("database.long_statement_timeout_ms", self.long_statement_timeout_ms),
            ("database.lock_timeout_ms", self.lock_timeout_ms),
        ];
        for (key, value) in limits {
            if !(DATABASE_TIMEOUT_MS_MIN..=DATABASE_TIMEOUT_MS_MAX).contains(&value) {
                let (min, max) = (DATABASE_TIMEOUT_MS_MIN, DATABASE_TIMEOUT_MS_MAX);
                return Err((key, format!("{value} is not between {min} and {max}")));
            }
        }
        if self.long_statement_timeout_ms < self.statement_timeout_ms {
            let problem = "it is shorter than database.statement_timeout_ms; write that or more";
            return Err(("database.long_statement_timeout_ms", problem.to_owned()));
        }
        if self.url.trim().is_empty() {
            let problem = "it is empty; write sqlite://backline.db or postgres://user:password@host/database";
            return Err(("database.url", problem.to_owned()));
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("url", &masked_url(&self.url))
            .field("connections_max", &self.connections_max)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("statement_timeout_ms", &self.statement_timeout_ms)
            .field("long_statement_timeout_ms", &self.long_statement_timeout_ms)
            .field("lock_timeout_ms", &self.lock_timeout_ms)
            .finish()
    }
}

/// The keys that encrypt credentials. `key` or `key_file` is needed as soon as a credential is stored.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretsConfig {
    /// 32 bytes in base64, as `backline keys generate` prints them.
    pub key: Option<String>,
    /// File that holds such a key; its mode must be 600.
    pub key_file: Option<PathBuf>,
    /// Keys of earlier rotations: they decrypt, and never encrypt.
    #[serde(deserialize_with = "one_or_several")]
    pub old_keys: Vec<String>,
    /// Files that hold such keys.
    #[serde(deserialize_with = "one_or_several")]
    pub old_key_files: Vec<PathBuf>,
}

/// A list, or its only element. The error for anything else does not repeat it, since it may be a key.
fn one_or_several<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given<T> {
        One(T),
        Several(Vec<T>),
    }
    let given = Given::deserialize(deserializer).map_err(|_| serde::de::Error::custom("it is not a list of texts"))?;
    Ok(match given {
        Given::One(one) => vec![one],
        Given::Several(several) => several,
    })
}

impl fmt::Debug for SecretsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsConfig")
            .field("key", &self.key.as_ref().map(|_| "[secret]"))
            .field("key_file", &self.key_file)
            .field("old_keys", &self.old_keys.len())
            .field("old_key_files", &self.old_key_files)
            .finish()
    }
}

impl SecretsConfig {
    /// The keyring of the configured keys; none if no key to encrypt with is configured.
    ///
    /// # Errors
    /// When a key is not valid, or when a key file can't be read or can be read by other users.
    pub fn keyring(&self) -> Result<Option<Keyring>, ConfigError> {
        let key = match (&self.key, &self.key_file) {
            (Some(key), _) => Some(("secrets.key", Zeroizing::new(key.trim().to_owned()))),
            (None, Some(path)) => Some(("secrets.key_file", read_key_file("secrets.key_file", path)?)),
            (None, None) => None,
        };
        let Some((set, text)) = key else { return Ok(None) };
        let mut keyring = Keyring::from_base64(&text).map_err(|source| ConfigError::Key { set, source })?;
        for key in &self.old_keys {
            let set = "secrets.old_keys";
            keyring = keyring.with_old_key(key.trim()).map_err(|source| ConfigError::Key { set, source })?;
        }
        for path in &self.old_key_files {
            let set = "secrets.old_key_files";
            let key = read_key_file(set, path)?;
            keyring = keyring.with_old_key(&key).map_err(|source| ConfigError::Key { set, source })?;
        }
        Ok(Some(keyring))
    }

    /// A keyring that encrypts with the key in `path`; the configured keys only decrypt.
    ///
    /// # Errors
    /// As [`keyring`](Self::keyring).
    pub fn keyring_sealing_with(&self, path: &Path) -> Result<Keyring, ConfigError> {
        let old_key_files = self.key_file.iter().chain(&self.old_key_files).cloned().collect();
        let old_keys = self.key.iter().chain(&self.old_keys).cloned().collect();
        let all = Self { key: None, key_file: Some(path.to_path_buf()), old_keys, old_key_files };
        all.keyring()?.ok_or(ConfigError::Key { set: "--new-key-file", source: SecretError::Key })
    }
}

fn read_key_file(set: &'static str, path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let wrong = |problem: String| ConfigError::KeyFile { set, path: path.to_path_buf(), problem };
    let data = std::fs::metadata(path).map_err(|error| wrong(format!("can't be read: {error}")))?;
    if !data.is_file() || data.len() > KEY_FILE_BYTES_MAX {
        return Err(wrong("is not a key file; create one with `backline keys generate --file`".to_owned()));
    }
    #[cfg(unix)]
    if is_open_to_others(&data) {
        return Err(wrong("can be read by other users; run `chmod 600` on it".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("can't be read: {error}")))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Whether users other than the owner and root can read or write the file. A file that systemd passes on
/// (`LoadCredential=`) belongs to root, with an ACL entry for the service's user: its mode shows as 440 and its group
/// is root.
#[cfg(unix)]
pub(crate) fn is_open_to_others(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    let of_root = file.uid() == 0 && file.gid() == 0;
    mode_is_open(file.mode(), of_root)
}

#[cfg(unix)]
fn mode_is_open(mode: u32, of_root: bool) -> bool {
    let forbidden = if of_root { 0o037 } else { 0o077 };
    mode & forbidden != 0
}

/// Batches, attempts and fairness of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectionConfig {
    /// Days of posts that post-level metrics cover. 28 gives recent posts time to settle, and is whole weeks.
    pub window_days: u16,
    /// Batches of one platform that a host starts with at the same time.
    pub concurrency: u16,
    /// Most batches of one platform at the same time while the platform answers without errors; `concurrency` if that
    /// is more.
    pub concurrency_max: u16,
    /// Share of each tenant's batches, relative to other tenants; 1 unless given.
    pub tenant_weights: Weights,
    /// Share of each platform's batches, relative to other platforms; 1 unless given.
    pub platform_weights: Weights,
    /// Most attempts for an account in one run; a deferral is not an attempt.
    pub attempts_max: u32,
    /// Timeout of a batch, in milliseconds.
    pub batch_deadline_ms: u64,
    /// Longest wait between two attempts of the same run, in milliseconds.
    pub retry_wait_max_ms: u64,
    /// Lease time of a batch, in milliseconds: a batch of a dead host is retried after it.
    pub lease_ttl_ms: u64,
    /// Until when after the end of a date, in seconds, numbers that are observed are stored under it.
    pub late_s: u32,
    /// Bytes that the batches of this host may hold before they are stored: documents, and what is made of them. One
    /// batch holds at most twice `sandbox.output_bytes_max`; a batch for which there is no room waits.
    pub held_bytes_max: u64,
}

impl CollectionConfig {
    /// `late_s` as a span of time.
    #[must_use]
    pub fn late(&self) -> TimeDelta {
        TimeDelta::seconds(i64::from(self.late_s))
    }

    /// Whether times of observation say which dates values are of: where `late_s` is a day or more, a simulation's
    /// dates are not the machine's.
    #[must_use]
    pub fn times_count(&self) -> bool {
        self.late() < TimeDelta::days(1)
    }
}

impl Default for CollectionConfig {
    fn default() -> Self {
        Self {
            window_days: 28,
            concurrency: 4,
            concurrency_max: 8,
            tenant_weights: Weights::default(),
            platform_weights: Weights::default(),
            attempts_max: 3,
            batch_deadline_ms: 300_000,
            retry_wait_max_ms: 30_000,
            lease_ttl_ms: 20_000,
            late_s: LATE_S_DEFAULT,
            held_bytes_max: 512 << 20,
        }
    }
}

/// Which processes may refresh the database's tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstallationConfig {
    /// Folder with a file for each installation that processes with this configuration belong to; `installations` in
    /// `service.state_dir` unless given.
    pub folder: Option<PathBuf>,
}

/// The table that `backline artists sync` reads.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyncConfig {
    /// Database of the existing artists table; `database.url` unless given.
    pub url: Option<String>,
    /// Query that reads it; docs/operators.md explains the columns of the default query.
    pub query: Option<String>,
    /// How often `backline serve` synchronises, in seconds; never unless given.
    pub every_s: Option<u64>,
}

impl fmt::Debug for SyncConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncConfig")
            .field("url", &self.url.as_deref().map(masked_url))
            .field("query", &self.query)
            .field("every_s", &self.every_s)
            .finish()
    }
}

/// Export of traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// OTLP endpoint (HTTP, protobuf) such as `http://localhost:4318`; without it, no traces are sent.
    pub otlp_endpoint: Option<String>,
    /// Name of this service in traces.
    pub service_name: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_endpoint: None, service_name: "backline".to_owned() }
    }
}

/// The log on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Format of a line.
    pub format: LogFormat,
    /// Directives such as `warn,backline=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Human, filter: "error,backline=warn".to_owned() }
    }
}

/// Format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    Human,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// Reads the file, chooses where time zones are read from, and combines the layers: defaults, then the file, then
    /// the environment, then flags.
    ///
    /// # Errors
    /// When the file can't be read, or a key or value is wrong; see [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        environment: &BTreeMap<String, String>,
        overrides: &[Override],
    ) -> Result<Loaded, ConfigError> {
        let text = file.map(FileText::read).transpose()?;
        layers::combine(text.as_ref(), environment, overrides, TimezonesConfig::install)
    }

    /// The same for who wants to know of everything that is wrong, and not only of what is met first.
    ///
    /// # Errors
    /// Every wrong key and value, of one section or table the first; see [`ConfigError`].
    pub fn load_or_tell_all(
        file: Option<&Path>,
        environment: &BTreeMap<String, String>,
        overrides: &[Override],
    ) -> Result<Loaded, Vec<ConfigError>> {
        let text = file.map(FileText::read).transpose().map_err(|error| vec![error])?;
        layers::combine_or_tell_all(text.as_ref(), environment, overrides, TimezonesConfig::install)
    }
}

/// Environment variables that locate the user's caches, in order of precedence, each with the folder below it.
const CACHE_VARIABLES: [(&str, &str); 2] = [("XDG_CACHE_HOME", "backline"), ("HOME", ".cache/backline")];

/// Environment variables that locate a service's state, in order of precedence, each with the folder below it. The one
/// of systemd names the folder itself.
const STATE_VARIABLES: [(&str, &str); 3] =
    [("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", "backline"), ("HOME", ".local/state/backline")];

/// The environment variables of this process that Backline uses. Only this function reads the environment.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| {
            let others = CACHE_VARIABLES.iter().chain(&STATE_VARIABLES);
            name.starts_with("BACKLINE_") || others.map(|(variable, _)| variable).any(|variable| variable == name)
        })
        .collect()
}

/// Reports a state such as `READY=1` to the service manager that started this process. Does nothing without one:
/// systemd sets `NOTIFY_SOCKET`.
pub fn tell_supervisor(state: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = notify(socket.as_encoded_bytes(), state)
    {
        tracing::warn!(%error, state, "failed to notify the service manager");
    }
}

fn notify(socket: &[u8], state: &str) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let address = match socket {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

/// Default of `sandbox.cache_dir`, where compiled connectors are kept: below the user's cache folder.
#[must_use]
pub fn cache_folder(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    first_folder(&CACHE_VARIABLES, environment)
}

/// Default of `service.state_dir`, where the host keeps what must outlive its process: the folder that systemd
/// provides, or otherwise one below the user's folder for state.
#[must_use]
pub fn state_folder(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    first_folder(&STATE_VARIABLES, environment)
}

fn first_folder(variables: &[(&str, &str)], environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    variables.iter().find_map(|(variable, folder)| {
        let base = environment.get(*variable).filter(|base| Path::new(base).is_absolute())?;
        if folder.is_empty() {
            // systemd may give several, separated by colons.
            return base.split(':').next().map(PathBuf::from);
        }
        Some(Path::new(base).join(folder))
    })
}

/// The configuration file to read: the flag's, or else `BACKLINE_CONFIG`, or else `backline.toml` if it exists.
#[must_use]
pub fn find_file(flag: Option<&Path>, environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    if let Some(path) = flag {
        return Some(path.to_path_buf());
    }
    if let Some(path) = environment.get(FILE_VARIABLE).filter(|path| !path.is_empty()) {
        return Some(PathBuf::from(path));
    }
    Some(PathBuf::from(FILE_NAME)).filter(|path| path.exists())
}

#[cfg(test)]
mod tests;
