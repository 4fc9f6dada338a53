//! A folder with configuration and key of one host, and what an operator does once: schema, connectors, artists,
//! credentials. Every step runs the binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::process::{self, say};
use crate::simulator::Simulator;

/// One credential, as the simulator names it.
#[derive(Deserialize)]
struct Credential {
    platform: String,
    slot: String,
    #[serde(default)]
    account: Option<String>,
    value: Json,
}

/// The folder of one host.
#[derive(Clone)]
pub(crate) struct Stage {
    binary: PathBuf,
    /// Takes the place of the configured one.
    database: Option<String>,
    pub(crate) folder: PathBuf,
    pub(crate) config: PathBuf,
}

impl Stage {
    /// Makes the folder, with a key and a configuration for this database and these routes. `compiled` is the folder of
    /// compiled connectors, `more` further tables of the configuration.
    ///
    /// # Errors
    /// When something can't be written.
    pub(crate) fn prepare(
        binary: PathBuf,
        folder: PathBuf,
        url: &str,
        compiled: &Path,
        routes: &Json,
        more: &str,
    ) -> Result<Self> {
        create_private_folder(&folder)?;
        let config = folder.join("backline.toml");
        let key = folder.join("secrets.key");
        std::fs::write(&config, configuration(url, &key, compiled, routes, more)?)
            .with_context(|| format!("failed to write {}", config.display()))?;
        let stage = Self { binary, database: None, folder, config };
        stage.backline(&["keys", "generate", "--file", &key.to_string_lossy()], None)?;
        Ok(stage)
    }

    /// The same host on another database.
    pub(crate) fn on(&self, url: &str) -> Self {
        Self { database: Some(url.to_owned()), ..self.clone() }
    }

    /// Everything that is done once: schema, connectors, the first `artists` of the simulator, credentials.
    ///
    /// # Errors
    /// Names the command that failed.
    pub(crate) fn set_up(&self, simulator: &Simulator, components: &[PathBuf], artists: u32) -> Result<()> {
        say("preparing the database");
        self.backline(&["migrate"], None)?;
        say(format!("installing {} connectors", components.len()));
        for component in components {
            self.backline(&["plugins", "install", &component.to_string_lossy(), "--yes"], None)?;
        }
        say("importing the artists");
        let file = self.folder.join("artists.csv");
        std::fs::write(&file, first_lines(&simulator.control("GET", "artists.csv", "")?, artists))
            .with_context(|| format!("failed to write {}", file.display()))?;
        // A database of an earlier demonstration holds tokens that were sealed with a key which is gone.
        self.backline(&["artists", "import", &file.to_string_lossy(), "--replace-credentials"], None)?;
        let credentials: Vec<Credential> = serde_json::from_str(&simulator.credentials()?)
            .context("the simulator's credentials are not as expected")?;
        self.set_operators(&credentials)
    }

    /// The connectors that need a consent or a login of their own, for the first `artists` of the simulator, who have
    /// been imported.
    ///
    /// # Errors
    /// Names the command that failed.
    pub(crate) fn set_up_optional(&self, simulator: &Simulator, components: &[PathBuf], artists: u32) -> Result<()> {
        say(format!("installing {} optional connectors", components.len()));
        for component in components {
            self.backline(&["plugins", "install", &component.to_string_lossy(), "--yes"], None)?;
        }
        let credentials: Vec<Credential> =
            serde_json::from_str(&simulator.control("GET", "optional-credentials.json", "")?)
                .context("the simulator's optional credentials are not as expected")?;
        let list = optional_list(&first_lines(&simulator.control("GET", "artists.csv", "")?, artists), &credentials)?;
        let file = self.folder.join("optional.csv");
        std::fs::write(&file, list).with_context(|| format!("failed to write {}", file.display()))?;
        self.backline(&["artists", "import", &file.to_string_lossy(), "--replace-credentials"], None)?;
        self.set_operators(&credentials)
    }

    /// Sets the operator's own credentials. An import has sealed the artists' tokens already.
    fn set_operators(&self, credentials: &[Credential]) -> Result<()> {
        let operators: Vec<&Credential> =
            credentials.iter().filter(|credential| credential.account.is_none()).collect();
        say(format!("setting {} credentials", operators.len()));
        for Credential { platform, slot, value, .. } in operators {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.backline(&["credentials", "set", platform, slot], Some(&text))?;
        }
        Ok(())
    }

    /// Runs a command of the binary and returns what it prints.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn backline(&self, arguments: &[&str], stdin: Option<&str>) -> Result<String> {
        let (text, code) = self.start(arguments, stdin)?;
        if code == 0 { Ok(text) } else { bail!("`backline {}` ended with exit code {code}", arguments.join(" ")) }
    }

    /// Runs a command of the binary and returns what it prints, with its exit code.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) fn start(&self, arguments: &[&str], stdin: Option<&str>) -> Result<(String, i32)> {
        process::output(&mut self.with_arguments(Command::new(&self.binary), arguments), stdin)
    }

    /// Completes a command whose program is the binary, or starts it: this stage's configuration, the arguments, and
    /// none of an operator's environment.
    pub(crate) fn with_arguments(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.arg("--config").arg(&self.config).args(arguments);
        if let Some(url) = &self.database {
            command.args(["--database", url]);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BACKLINE_") {
                command.env_remove(name);
            }
        }
        command
    }
}

/// The list of the artists for the optional connectors, from the simulator's list, whose cells hold no delimiter. What
/// it says of the artists themselves is repeated: a list that leaves it out sets it back.
fn optional_list(artists: &str, credentials: &[Credential]) -> Result<String> {
    let mut lines = artists.lines();
    let header: Vec<&str> = lines.next().context("the simulator's list of artists is empty")?.split(',').collect();
    let column = |name: &str| {
        let at = header.iter().position(|found| *found == name);
        at.with_context(|| format!("the simulator's list of artists has no column {name}"))
    };
    let (id, name, zone) = (column("id")?, column("name")?, column("timezone")?);
    let (channel, handle) = (column("youtube_channel_id")?, column("tiktok_username")?);
    let mut list = "id,name,timezone,youtube_analytics_channel_id,youtube_analytics_refresh_token,\
                    instagram_business_username\n"
        .to_owned();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        let own =
            |one: &&Credential| one.platform == "youtube_analytics" && one.account.as_deref() == Some(field(channel));
        let secret = credentials.iter().find(own).and_then(|one| one.value.as_str());
        let secret: Option<Json> = secret.and_then(|text| serde_json::from_str(text).ok());
        let token = secret.as_ref().and_then(|secret| secret["refresh_token"].as_str());
        let token = token.with_context(|| format!("the simulator has no refresh token of {}", field(channel)))?;
        let cells = [field(id), field(name), field(zone), field(channel), token, field(handle)];
        list.push_str(&cells.join(","));
        list.push('\n');
    }
    Ok(list)
}

/// A CSV's header and so many of its lines.
pub(crate) fn first_lines(csv: &str, lines: u32) -> String {
    csv.split_inclusive('\n').take(usize::try_from(lines).unwrap_or(usize::MAX).saturating_add(1)).collect()
}

/// A setting under `[collection]`: the simulator's dates are not the machine's, and a host stores numbers of long ago
/// only if it is told to.
pub(crate) const LATE: &str = "late_s = 4000000000\n";

/// The text of `backline.toml`; `more` is put before the routes.
fn configuration(url: &str, key: &Path, compiled: &Path, routes: &Json, more: &str) -> Result<String> {
    use std::fmt::Write as _;

    // JSON's strings are TOML's basic strings for everything that occurs in URLs and paths.
    let quoted = |text: &str| Json::from(text).to_string();
    let mut text = format!(
        "# Written by `cargo xtask`.\n[database]\nurl = {}\n\n[secrets]\nkey_file = {}\n\n\
         [sandbox]\ncache_dir = {}\n{more}",
        quoted(url),
        quoted(&key.to_string_lossy()),
        // Beside the stage, so that the next one starts with compiled connectors.
        quoted(&compiled.to_string_lossy()),
    );
    for route in routes.as_array().context("the simulator's routes are no list")? {
        let part = |name: &str| {
            route[name].as_str().map(quoted).with_context(|| format!("a route of the simulator has no {name}"))
        };
        write!(text, "\n[[gateway.routes]]\norigin = {}\nconnect = {}\n", part("origin")?, part("connect")?)?;
    }
    Ok(text)
}

/// A folder for this user only: it holds a key, and possibly a database URL with a password.
fn create_private_folder(folder: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| format!("failed to create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_leads_to_the_simulator() {
        let routes = serde_json::json!([{ "origin": "https://api.spotify.com", "connect": "http://127.0.0.1:4123" }]);
        let text =
            configuration("sqlite://x/backline.db", Path::new("x/secrets.key"), Path::new("x/code"), &routes, "");
        let text = text.expect("written");
        assert!(text.contains("[database]\nurl = \"sqlite://x/backline.db\"\n"), "{text}");
        assert!(
            text.contains(
                "[[gateway.routes]]\norigin = \"https://api.spotify.com\"\nconnect = \"http://127.0.0.1:4123\"\n"
            ),
            "{text}"
        );
        assert!(
            configuration("x", Path::new("x"), Path::new("x"), &serde_json::json!([{ "origin": "x" }]), "").is_err(),
            "a route without connect"
        );
    }

    #[test]
    fn the_optional_list_has_each_artists_token_and_keeps_the_time_zone() {
        let artists = "id,name,timezone,tiktok_username,youtube_channel_id\n1,Ada,Europe/London,ada.0,UC1\n";
        let of = |account: Option<&str>, value: Json| Credential {
            platform: "youtube_analytics".to_owned(),
            slot: "user".to_owned(),
            account: account.map(str::to_owned),
            value,
        };
        let credentials =
            [of(None, "{\"client_id\":\"c\"}".into()), of(Some("UC1"), "{\"refresh_token\":\"token-1\"}".into())];
        let list = optional_list(artists, &credentials).expect("a list");
        let row = list.lines().nth(1);
        assert_eq!(row, Some("1,Ada,Europe/London,UC1,token-1,ada.0"), "{list}");
        assert!(optional_list(artists, &credentials[..1]).is_err(), "an artist without a token");
        assert!(optional_list("id,name\n", &credentials).is_err(), "a list without the columns");
    }

    #[test]
    fn the_first_artists_of_a_file_keep_its_header() {
        assert_eq!(first_lines("id,name\n1,A\n2,B\n3,C\n", 2), "id,name\n1,A\n2,B\n");
        assert_eq!(first_lines("id,name\n1,A\n", 9), "id,name\n1,A\n");
    }
}
