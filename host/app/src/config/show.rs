//! Shows the configuration to an operator, with secrets masked.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value as Json, json};
use toml::{Table, Value};

use super::layers::optional_keys;
use super::{Config, Loaded, Source};
use backline_model::zone;

/// Keys whose values are secrets whatever they are.
const SECRETS: [&str; 2] = ["secrets.key", "secrets.old_keys"];

/// Text in place of a secret.
const MASK: &str = "[secret]";

impl Config {
    /// The configuration with every secret masked.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        masked.database.url = masked_url(&self.database.url);
        masked.sync.url = self.sync.url.as_deref().map(masked_url);
        masked.secrets.key = self.secrets.key.as_ref().map(|_| MASK.to_owned());
        masked.secrets.old_keys = self.secrets.old_keys.iter().map(|_| MASK.to_owned()).collect();
        masked.plugins = self.plugins.masked(MASK);
        masked
    }
}

impl Loaded {
    /// The configuration as TOML, with a comment that says where each value was set, unless it is the default. Keys and
    /// tables without a value are there as comments.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let table =
            Table::try_from(self.config.masked()).expect("a configuration can be written as TOML: a test does so");
        let mut text = String::new();
        self.write_table(&mut text, "", "", &table);
        let _ = write!(text, "\n# {}\n", zone::data());
        text
    }

    /// The configuration as JSON: the values, and dotted key → where it was set.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let sources: serde_json::Map<String, Json> =
            self.sources.iter().map(|(key, source)| (key.clone(), Json::from(source.to_string()))).collect();
        json!({ "config": self.config.masked(), "sources": sources, "time_zones": zone::data() })
    }

    /// The configuration file, and the keys by which it sets a secret; none where it sets no secret.
    #[must_use]
    pub fn secrets_in_file(&self) -> Option<(&Path, Vec<&str>)> {
        let has_password = |key: &str| match key {
            "database.url" => masked_url(&self.config.database.url) != self.config.database.url,
            "sync.url" => self.config.sync.url.as_deref().is_some_and(|url| masked_url(url) != url),
            key => SECRETS.contains(&key) || (key.starts_with("plugins.registries.") && key.ends_with(".password")),
        };
        let of_file = self.sources.iter().filter_map(|(key, source)| match source {
            Source::File(path) if has_password(key) => Some((path.as_path(), key.as_str())),
            _ => None,
        });
        let (paths, keys): (Vec<&Path>, Vec<&str>) = of_file.unzip();
        Some((*paths.first()?, keys))
    }

    /// `prefix` is the section as in [`Loaded::sources`], `header` as in TOML, where a key with dots has quotes.
    fn write_table(&self, text: &mut String, prefix: &str, header: &str, table: &Table) {
        let below =
            |prefix: &str, key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        let dotted = |key: &str| below(prefix, key);
        let is_section = |value: &Value| matches!(value, Value::Table(_)) || is_array_of_tables(value);
        for (key, value) in table.iter().filter(|(_, value)| !is_section(value)) {
            let source = match self.sources.get(&dotted(key)) {
                None | Some(Source::Default) => String::new(),
                Some(source) => format!("  # {source}"),
            };
            let _ = writeln!(text, "{} = {value}{source}", quoted(key));
        }
        let unset = |prefix: &str, table: &Table| {
            let keys = optional_keys().filter_map(|key| key.strip_prefix(prefix)?.strip_prefix('.'));
            keys.filter(|key| !key.contains('.') && !table.contains_key(*key)).collect::<Vec<_>>()
        };
        for key in unset(prefix, table) {
            let _ = writeln!(text, "# {key} is not set");
        }
        for (key, value) in table.iter().filter(|(_, value)| is_section(value)) {
            let (path, header) = (dotted(key), below(header, &quoted(key)));
            match value {
                Value::Table(inner) => {
                    if inner.is_empty() && unset(&path, inner).is_empty() {
                        let _ = writeln!(text, "\n# [{header}] is empty");
                        continue;
                    }
                    let _ = writeln!(text, "{}[{header}]", if text.is_empty() { "" } else { "\n" });
                    self.write_table(text, &path, &header, inner);
                }
                Value::Array(tables) => {
                    for inner in tables.iter().filter_map(Value::as_table) {
                        let _ = write!(text, "\n[[{header}]]\n");
                        self.write_table(text, &path, &header, inner);
                    }
                }
                _ => {}
            }
        }
    }
}

/// A key in TOML: in quotes unless it is a bare key.
fn quoted(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if is_bare { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}

fn is_array_of_tables(value: &Value) -> bool {
    value.as_array().is_some_and(|array| !array.is_empty() && array.iter().all(Value::is_table))
}

/// A database URL without its password, even if it is not a valid URL.
#[must_use]
pub fn masked_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // The last @ ends the user information, since a password may contain one unescaped. An @ behind a question mark can
    // belong to a password or to a parameter, so that everything is masked.
    let user_end = rest.rfind('@');
    let query_start = rest.find('?');
    if user_end.zip(query_start).is_some_and(|(user_end, query_start)| user_end > query_start) {
        return format!("{scheme}://{MASK}");
    }
    let (user, rest) = user_end.map_or(("", rest), |at| rest.split_at(at));
    let user = user.split_once(':').map_or(user.to_owned(), |(user, _)| format!("{user}:{MASK}"));
    let rest = match rest.split_once('?') {
        Some((before, query)) => {
            format!("{before}?{}", query.split('&').map(masked_parameter).collect::<Vec<_>>().join("&"))
        }
        None => rest.to_owned(),
    };
    format!("{scheme}://{user}{rest}")
}

fn masked_parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("password") => format!("{name}={MASK}"),
        _ => pair.to_owned(),
    }
}
