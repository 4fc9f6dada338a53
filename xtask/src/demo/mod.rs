//! `cargo xtask demo`: from an empty database to a table of growth, against the simulated platforms.
//!
//! Every step is one an operator takes, with the very same binary: migrate, install the connectors, import the artists,
//! set the credentials, run once a day. What it leaves in `target/demo` can be looked at afterwards.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::process::{self, say};
use crate::{build, http};

mod dates;
mod report;

use dates::Date;
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
    let simulator = Simulator::start(arguments.artists, days[0])?;
    let demo = Demo::prepare(&simulator, arguments.database.as_deref())?;

    let started = Instant::now();
    demo.set_up(&simulator)?;
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
        let rows = demo.rows(last)?;
        print!("{}", report::artist_table(&rows, ARTISTS_SHOWN));
        demo.say_where_to_look(&rows);
    }
    Ok(summary.is_complete())
}

/// The simulator's process; dropping it ends it.
struct Simulator {
    process: Child,
    addr: SocketAddr,
}

impl Simulator {
    fn start(artists: u32, date: Date) -> Result<Self> {
        #[derive(Deserialize)]
        struct Ready {
            addr: SocketAddr,
        }
        let binary = process::target_folder().join("debug").join("backline-simulator");
        let mut command = Command::new(binary);
        command.args(["--port", "0", "--seed", "7", "--artists", &artists.to_string(), "--date", &date.to_string()]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start `{}`", process::shown(&command)))?;
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().expect("standard output was piped")).read_line(&mut line);
        let ready = read.map_err(anyhow::Error::from).and_then(|_| Ok(serde_json::from_str::<Ready>(&line)?));
        match ready {
            Ok(Ready { addr }) => {
                say(format!("the simulator of the five platforms listens on {addr}"));
                Ok(Self { process: child, addr })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.context("the simulator did not say where it listens"))
            }
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One credential, as the simulator names it.
#[derive(Deserialize)]
struct Credential {
    platform: String,
    slot: String,
    #[serde(default)]
    account: Option<String>,
    value: Json,
}

/// The folder with configuration, key and database.
struct Demo {
    folder: PathBuf,
    config: PathBuf,
}

impl Demo {
    /// Makes an empty folder, with a key and a configuration that leads to the simulator.
    fn prepare(simulator: &Simulator, database: Option<&str>) -> Result<Self> {
        let folder = process::target_folder().join("demo");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))?;
        }
        create_private_folder(&folder)?;
        let config = folder.join("backline.toml");
        let key = folder.join("secrets.key");
        let routes: Json = serde_json::from_str(&http::request(simulator.addr, "GET", "/_control/routes.json", "")?)
            .context("the simulator's routes are no JSON")?;
        let url = match database {
            Some(url) => url.to_owned(),
            None => format!("sqlite://{}", folder.join("backline.db").display()),
        };
        std::fs::write(&config, configuration(&url, &key, &routes)?)
            .with_context(|| format!("failed to write {}", config.display()))?;
        let demo = Self { folder, config };
        demo.backline(&["keys", "generate", "--file", &key.to_string_lossy()], None)?;
        Ok(demo)
    }

    /// Everything that is done once: schema, connectors, artists, credentials.
    fn set_up(&self, simulator: &Simulator) -> Result<()> {
        say("preparing the database");
        self.backline(&["migrate"], None)?;
        let components: Vec<String> = build::connectors()?.iter().map(|path| path.display().to_string()).collect();
        say(format!("installing {} connectors", components.len()));
        for component in &components {
            self.backline(&["plugins", "install", component, "--yes"], None)?;
        }
        say("importing the artists");
        let artists = self.folder.join("artists.csv");
        std::fs::write(&artists, http::request(simulator.addr, "GET", "/_control/artists.csv", "")?)?;
        // A database of an earlier demonstration holds tokens that were sealed with a key which is gone.
        self.backline(&["artists", "import", &artists.to_string_lossy(), "--replace-credentials"], None)?;
        let credentials: Vec<Credential> =
            serde_json::from_str(&http::request(simulator.addr, "GET", "/_control/credentials.json", "")?)
                .context("the simulator's credentials are not as expected")?;
        // The import has sealed the artists' own tokens already.
        let operators: Vec<&Credential> =
            credentials.iter().filter(|credential| credential.account.is_none()).collect();
        say(format!("setting {} credentials", operators.len()));
        for Credential { platform, slot, value, .. } in operators {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.backline(&["credentials", "set", platform, slot], Some(&text))?;
        }
        Ok(())
    }

    /// Collects one day. A partial collection is a result to be shown, not a failure of the demonstration.
    fn run(&self, day: Date) -> Result<Json> {
        let (text, code) = self.start(&["run", "--date", &day.to_string(), "--json"], None)?;
        if text.trim().is_empty() {
            bail!("`backline run` ended with exit code {code} and no report");
        }
        serde_json::from_str(&text).context("the report of `backline run --json` is no JSON")
    }

    /// Artists, numbers and growth of one day.
    fn rows(&self, day: Date) -> Result<report::Rows> {
        let day = day.to_string();
        let read = |arguments: &[&str]| -> Result<Vec<Json>> {
            serde_json::from_str(&self.backline(arguments, None)?)
                .with_context(|| format!("`backline {}` printed no JSON list", arguments.join(" ")))
        };
        Ok(report::Rows {
            artists: read(&["artists", "list", "--json"])?,
            metrics: read(&["metrics", "--since", &day, "--until", &day, "--json"])?,
            growth: read(&["growth", "--since", &day, "--until", &day, "--json"])?,
        })
    }

    fn backline(&self, arguments: &[&str], stdin: Option<&str>) -> Result<String> {
        let (text, code) = self.start(arguments, stdin)?;
        if code == 0 { Ok(text) } else { bail!("`backline {}` ended with exit code {code}", arguments.join(" ")) }
    }

    fn start(&self, arguments: &[&str], stdin: Option<&str>) -> Result<(String, i32)> {
        let mut command = Command::new(build::host_binary());
        command.arg("--config").arg(&self.config).args(arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BACKLINE_") {
                command.env_remove(name);
            }
        }
        process::output(&mut command, stdin)
    }

    fn say_where_to_look(&self, rows: &report::Rows) {
        let shown = |path: &Path| {
            let here = std::env::current_dir().unwrap_or_default();
            path.strip_prefix(here).unwrap_or(path).display().to_string()
        };
        let artist = rows.artists.first().and_then(|artist| artist["id"].as_str()).unwrap_or("<artist>");
        let backline = format!("{} --config {}", shown(&build::host_binary()), shown(&self.config));
        println!("\nEverything is in {}. Where to look next:", shown(&self.folder));
        println!("  {backline} metrics {artist}");
        println!("  {backline} growth {artist}");
        println!("  {backline} runs list");
        println!("  {backline} plugins list");
        println!(
            "Then ARCHITECTURE.md for how it works, docs/operators.md for how to run it against the real platforms."
        );
    }
}

fn configuration(url: &str, key: &Path, routes: &Json) -> Result<String> {
    use std::fmt::Write as _;

    // JSON's strings are TOML's basic strings for everything that occurs in URLs and paths.
    let quoted = |text: &str| Json::from(text).to_string();
    let mut text = format!(
        "# Written by `cargo xtask demo`.\n[database]\nurl = {}\n\n[secrets]\nkey_file = {}\n\n\
         [sandbox]\ncache_dir = {}\n",
        quoted(url),
        quoted(&key.to_string_lossy()),
        // Beside the demonstration, so that the next one starts with compiled connectors.
        quoted(&process::target_folder().join("compiled").to_string_lossy()),
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
        let text = configuration("sqlite://x/backline.db", Path::new("x/secrets.key"), &routes).expect("written");
        assert!(text.contains("[database]\nurl = \"sqlite://x/backline.db\"\n"), "{text}");
        assert!(
            text.contains(
                "[[gateway.routes]]\norigin = \"https://api.spotify.com\"\nconnect = \"http://127.0.0.1:4123\"\n"
            ),
            "{text}"
        );
        assert!(
            configuration("x", Path::new("x"), &serde_json::json!([{ "origin": "x" }])).is_err(),
            "a route without connect"
        );
    }
}
