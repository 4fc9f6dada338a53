//! Combines defaults, file, environment and flags into one configuration, with the source of each value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Config, ConfigError, FILE_VARIABLE, TimezonesConfig};
use backline_rules::nearest::distance;

/// Largest configuration file that is read, in bytes; one with every key has under 16 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Keys without a default whose values are text even if they look like a number.
const OPTIONAL_TEXTS: [&str; 17] = [
    "installation.folder",
    "secrets.key",
    "secrets.key_file",
    "plugins.index",
    "plugins.signatures",
    "sandbox.cache_dir",
    "sandbox.compiler",
    "service.name",
    "service.reconnect_url",
    "service.state_dir",
    "service.tls_certificate",
    "service.tls_key",
    "service.url",
    "sync.url",
    "sync.query",
    "telemetry.otlp_endpoint",
    "timezones.folder",
];

/// Keys without a default whose values are numbers or tables.
const OPTIONAL_OTHERS: [&str; 4] = ["gateway.jitter_seed", "sync.every_s", "validation.platform", "validation.rules"];

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: it is the built-in value.
    Default,
    /// In the configuration file of this path.
    File(PathBuf),
    /// In the environment variable of this name.
    Environment(String),
    /// With this flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(path) => path.display().fmt(f),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A configuration file as it was read.
#[derive(Clone, Debug)]
pub(super) struct FileText {
    /// Path of the file.
    pub(super) path: PathBuf,
    /// Content of the file.
    pub(super) text: String,
}

impl FileText {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, or is larger than a configuration can be.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_path_buf(), source };
        if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(failed(std::io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes"))));
        }
        Ok(Self { path: path.to_path_buf(), text: std::fs::read_to_string(path).map_err(failed)? })
    }
}

/// A value set by a flag.
#[derive(Clone, Debug)]
pub struct Override {
    /// Key with its sections, separated by dots: `database.url`.
    pub key: String,
    /// Value as given on the command line.
    pub value: String,
    /// The flag, such as `--database`.
    pub flag: String,
}

/// A configuration with the source of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// All values.
    pub config: Config,
    /// Dotted key → where it was set; a key that is missing here has its default.
    pub sources: BTreeMap<String, Source>,
}

/// Combines the layers. `choose_zones` gets its section before any zone is read.
pub(super) fn combine(
    file: Option<&FileText>,
    environment: &BTreeMap<String, String>,
    overrides: &[Override],
    choose_zones: impl FnOnce(&TimezonesConfig) -> Result<(), String>,
) -> Result<Loaded, ConfigError> {
    // There is at least one where it is refused.
    combine_or_tell_all(file, environment, overrides, choose_zones).map_err(|mut problems| problems.swap_remove(0))
}

/// The same with everything that is wrong, in the order in which it is met. What is wrong counts as not set, so that it
/// hides nothing else.
pub(super) fn combine_or_tell_all(
    file: Option<&FileText>,
    environment: &BTreeMap<String, String>,
    overrides: &[Override],
    choose_zones: impl FnOnce(&TimezonesConfig) -> Result<(), String>,
) -> Result<Loaded, Vec<ConfigError>> {
    let (mut table, mut sources, mut problems) = (Table::new(), BTreeMap::new(), Vec::new());
    if let Some(FileText { path, text }) = file {
        // Without it, nothing can be said of the rest.
        table = text.parse().map_err(|error| vec![syntax(path, text, &error)])?;
        note_sources(&table, "", &Source::File(path.clone()), &mut sources);
    }
    for (variable, value) in environment {
        problems.extend(set_by_variable(&mut table, &mut sources, variable, value).err());
    }
    for Override { key, value, flag } in overrides {
        problems.extend(set(&mut table, &mut sources, key, value, Source::Flag(flag.clone())).err());
    }
    // Before anything else, since other sections name time zones.
    let timezones = match table.remove("timezones") {
        Some(value) => section::<TimezonesConfig>("timezones", value, &sources),
        None => Ok(TimezonesConfig::default()),
    };
    let chosen = timezones.and_then(|timezones| {
        let key = "timezones.folder".to_owned();
        let wrong = |problem| ConfigError::Value { origin: source_of(&sources, &key), key, problem };
        choose_zones(&timezones).map_err(wrong)?;
        Ok(timezones)
    });
    let timezones = chosen.unwrap_or_else(|error| {
        problems.push(error);
        TimezonesConfig::default()
    });
    let config = Config { timezones, ..typed(table, &sources, &mut problems) };
    let of_value = |(key, problem): (String, String)| {
        let origin = source_of(&sources, &key);
        ConfigError::Value { key, origin, problem }
    };
    problems.extend(config.problems().into_iter().map(of_value));
    if problems.is_empty() { Ok(Loaded { config, sources }) } else { Err(problems) }
}

/// Sets what an environment variable sets, if anything.
fn set_by_variable(
    table: &mut Table,
    sources: &mut BTreeMap<String, Source>,
    variable: &str,
    value: &str,
) -> Result<(), ConfigError> {
    let source = Source::Environment(variable.to_owned());
    if let Some(section) = section_of(variable) {
        if !matches!(value_of(&section, value), Value::Table(_)) {
            let problem = format!(
                "it is a section: set one of its keys as {variable}__KEY, or all of it as \
                 {variable}='{{ key = value }}'"
            );
            return Err(ConfigError::Value { key: section, origin: source, problem });
        }
        return set(table, sources, &section, value, source);
    }
    match key_of(variable)? {
        Some(key) => set(table, sources, &key, value, source),
        None => Ok(()),
    }
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count() + 1;
    ConfigError::Syntax {
        path: path.to_path_buf(),
        line,
        problem: error.message().lines().collect::<Vec<_>>().join(", "),
    }
}

/// `BACKLINE_SCHEDULES` → `schedules`: a whole section as an inline table, whose names may have characters that those
/// of variables can't.
fn section_of(variable: &str) -> Option<String> {
    let name = variable.strip_prefix("BACKLINE_")?.to_ascii_lowercase();
    defaults().contains_key(&name).then_some(name)
}

/// `BACKLINE_DATABASE__URL` → `database.url`. A variable without `__` is ignored, since container platforms set
/// `BACKLINE_PORT` and similar ones for a service of that name; but it is refused if it is one of the keys, misspelt.
fn key_of(variable: &str) -> Result<Option<String>, ConfigError> {
    let Some(rest) = variable.strip_prefix("BACKLINE_") else { return Ok(None) };
    if variable == FILE_VARIABLE {
        return Ok(None);
    }
    if rest.contains("__") {
        return Ok(Some(rest.to_ascii_lowercase().replace("__", ".")));
    }
    let flat = rest.to_ascii_lowercase();
    let meant = known_keys().into_iter().find(|key| key.replace('.', "_") == flat);
    match meant {
        Some(key) => Err(ConfigError::UnknownKey {
            key: variable.to_owned(),
            origin: Source::Environment(variable.to_owned()),
            nearest: vec![format!("BACKLINE_{}", key.to_ascii_uppercase().replace('.', "__"))],
        }),
        None => Ok(None),
    }
}

/// Every key of the default configuration, and the optional keys that have no default.
fn known_keys() -> Vec<String> {
    let mut keys = BTreeMap::new();
    note_sources(&defaults(), "", &Source::Default, &mut keys);
    keys.into_keys().chain(optional_keys().map(str::to_owned)).collect()
}

/// The keys that have no default.
pub(super) fn optional_keys() -> impl Iterator<Item = &'static str> {
    OPTIONAL_TEXTS.into_iter().chain(OPTIONAL_OTHERS)
}

fn defaults() -> Table {
    Table::try_from(Config::default()).expect("the default configuration can be written as TOML: a test does so")
}

fn note_sources(table: &Table, prefix: &str, source: &Source, sources: &mut BTreeMap<String, Source>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => note_sources(inner, &key, source, sources),
            _ => {
                sources.insert(key, source.clone());
            }
        }
    }
}

/// Sets one value from text. A key whose default is a text takes texts only, even if they look like a number.
fn set(
    table: &mut Table,
    sources: &mut BTreeMap<String, Source>,
    key: &str,
    text: &str,
    source: Source,
) -> Result<(), ConfigError> {
    let parts: Vec<&str> = key.split('.').collect();
    let unknown = || ConfigError::UnknownKey {
        key: key.to_owned(),
        origin: source.clone(),
        nearest: nearest_to(key, known_keys()),
    };
    let (Some((last, sections)), true) = (parts.split_last(), parts.iter().all(|part| !part.is_empty())) else {
        return Err(unknown());
    };
    let value = value_of(key, text);
    let mut inside = table;
    for section in sections {
        let entry = inside.entry((*section).to_owned()).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(next) = entry else { return Err(unknown()) };
        inside = next;
    }
    // A table replaces what was set in it before.
    let below = format!("{key}.");
    sources.retain(|known, _| !known.starts_with(&below));
    match &value {
        Value::Table(inner) if !inner.is_empty() => note_sources(inner, key, &source, sources),
        _ => {
            sources.insert(key.to_owned(), source);
        }
    }
    inside.insert((*last).to_owned(), value);
    Ok(())
}

fn value_of(key: &str, text: &str) -> Value {
    let default = key.split('.').try_fold(Value::Table(defaults()), |value, part| value.get(part).cloned());
    let plain = || Value::String(text.to_owned());
    let parsed = format!("value = {text}").parse::<Table>().ok().filter(|parsed| parsed.len() == 1);
    let parsed = parsed.and_then(|mut parsed| parsed.remove("value"));
    if OPTIONAL_TEXTS.contains(&key) || matches!(default, Some(Value::String(_))) {
        // A text needs no quotes. With quotes it is the TOML string that it looks like, as in the file.
        return parsed.filter(Value::is_str).unwrap_or_else(plain);
    }
    parsed.unwrap_or_else(plain)
}

/// Deserialises the sections one by one, so that an error names its section and key. One that is wrong keeps its
/// defaults.
fn typed(mut table: Table, sources: &BTreeMap<String, Source>, problems: &mut Vec<ConfigError>) -> Config {
    let mut config = Config::default();
    macro_rules! sections {
        ($($name:ident),*) => {{
            $(if let Some(value) = table.remove(stringify!($name)) {
                match section(stringify!($name), value, sources) {
                    Ok(typed) => config.$name = typed,
                    Err(error) => problems.push(error),
                }
            })*
            const NAMES: &[&str] = &[$(stringify!($name)),*];
            NAMES
        }};
    }
    let names = sections!(
        database,
        secrets,
        collection,
        schedules,
        service,
        installation,
        sync,
        telemetry,
        gateway,
        plugins,
        rollback,
        archive,
        health,
        costs,
        sandbox,
        validation,
        significance,
        deliveries,
        log
    );
    problems.extend(table.keys().map(|key| ConfigError::UnknownKey {
        key: key.clone(),
        origin: source_of(sources, key),
        nearest: nearest_to(key, names.iter().chain(&["timezones"]).map(|&name| name.to_owned()).collect()),
    }));
    config
}

fn section<T: DeserializeOwned>(
    name: &str,
    value: Value,
    sources: &BTreeMap<String, Source>,
) -> Result<T, ConfigError> {
    value.try_into().map_err(|error: toml::de::Error| {
        let problem = error.message().to_owned();
        // The error's last line has the path inside the section: in `routes.origin`.
        let shown = error.to_string();
        let path =
            shown.lines().last().and_then(|line| line.strip_prefix("in `")?.strip_suffix('`')).unwrap_or_default();
        let inside = if path.is_empty() { name.to_owned() } else { format!("{name}.{path}") };
        match unknown_field(&problem) {
            Some((field, known)) => {
                let section = inside.strip_suffix(&format!(".{field}")).unwrap_or(&inside);
                let key = format!("{section}.{field}");
                let nearest = nearest_to(&key, known.iter().map(|known| format!("{section}.{known}")).collect());
                ConfigError::UnknownKey { origin: source_of(sources, &key), key, nearest }
            }
            None => ConfigError::Value { origin: source_of(sources, &inside), key: inside, problem },
        }
    })
}

/// Parses serde's message: unknown field `a`, expected one of `b`, `c`.
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (field, known) = rest.split_once('`')?;
    Some((field.to_owned(), known.split('`').skip(1).step_by(2).map(str::to_owned).collect()))
}

/// Where a key was set; otherwise where any key below it, or its section, was set.
fn source_of(sources: &BTreeMap<String, Source>, key: &str) -> Source {
    let below = format!("{key}.");
    let exact = sources
        .get(key)
        .or_else(|| sources.iter().find(|(known, _)| known.starts_with(&below)).map(|(_, source)| source));
    exact.or_else(|| parents(key).find_map(|parent| sources.get(parent))).cloned().unwrap_or(Source::Default)
}

/// `a.b.c` → `a.b`, `a`. An array of tables has its source under its own key only.
fn parents(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| key.rsplit_once('.').map(|(parent, _)| parent)).skip(1)
}

/// The key that is probably meant, or all keys of a short list if none is similar.
fn nearest_to(key: &str, known: Vec<String>) -> Vec<String> {
    let last = key.rsplit('.').next().unwrap_or(key);
    let distance_of =
        |other: &str| distance(key, other).min(distance(last, other.rsplit('.').next().unwrap_or(other)) + 1);
    let best = known.iter().min_by_key(|other| distance_of(other)).cloned();
    match best {
        Some(best) if distance_of(&best) <= 2 + last.len() / 4 => vec![best],
        _ if known.len() <= 12 => known,
        _ => Vec::new(),
    }
}
