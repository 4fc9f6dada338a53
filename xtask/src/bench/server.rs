//! The databases that are measured: a PostgreSQL of the command's own with databases made from templates, and files of
//! SQLite. Statements are run by `backline-bench-read`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;

use super::meter::{self, OTHER_CORE};
use super::results::Statement;
use super::rows::Measurement;
use crate::postgresql::{self, Cluster};
use crate::process;

/// Settings of the measured server. The cluster writes nothing through to the disk, for Backline and for the native
/// program alike: the speed of a disk is not what is compared.
const SETTINGS: [&str; 3] = ["shared_buffers=512MB", "max_wal_size=4GB", "checkpoint_timeout=30min"];

/// Statements of a job that are kept.
const STATEMENTS: usize = 25;

/// Characters of a statement that are kept: enough to tell all of them apart.
const STATEMENT_CHARS: usize = 2_000;

/// The server.
pub(crate) struct Server {
    cluster: Cluster,
    pid: u32,
    reader: PathBuf,
    /// Whether statements are counted.
    pub(crate) counts_statements: bool,
    /// Such as `15.4`.
    pub(crate) version: String,
}

/// A database of either kind.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) url: String,
    reader: PathBuf,
}

impl Server {
    /// Starts it on the core of everything that is not measured.
    ///
    /// # Errors
    /// If PostgreSQL is missing and can't be installed, or does not start.
    pub(crate) fn start(reader: &Path) -> Result<Self> {
        let cluster = postgresql::start(&SETTINGS)?;
        let has_module = "SELECT count(*)::text FROM pg_available_extensions WHERE name = 'pg_stat_statements'";
        let counts_statements = Database { url: cluster.url(), reader: reader.to_owned() }.text(has_module)? == "1";
        let cluster = if counts_statements {
            drop(cluster);
            let module = "shared_preload_libraries=pg_stat_statements";
            postgresql::start(&[&SETTINGS[..], &[module]].concat())?
        } else {
            cluster
        };
        let database = Database { url: cluster.url(), reader: reader.to_owned() };
        if counts_statements {
            database.run(&["CREATE EXTENSION pg_stat_statements"])?;
        }
        // Signed-in users, as Supabase calls them; the migrations grant them what they may read.
        database.run(&["CREATE ROLE authenticated NOLOGIN"])?;
        let version = database.text("SELECT current_setting('server_version')")?;
        let folder = database.text("SELECT current_setting('data_directory')")?;
        let file = Path::new(&folder).join("postmaster.pid");
        let text = std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
        let pid = pid.with_context(|| format!("{} names no process", file.display()))?;
        meter::pin(pid, OTHER_CORE)?;
        Ok(Self { cluster, pid, reader: reader.to_owned(), counts_statements, version })
    }

    /// The database that every cluster has.
    fn common(&self) -> Database {
        Database { url: self.cluster.url(), reader: self.reader.clone() }
    }

    /// A new database: empty, or a copy of a template that no one is connected to.
    ///
    /// # Errors
    /// If the server refuses it.
    pub(crate) fn create(&self, name: &str, template: Option<&str>) -> Result<Database> {
        let like = template.map(|template| format!(" TEMPLATE {template}")).unwrap_or_default();
        self.common().run(&[&format!("CREATE DATABASE {name}{like}")])?;
        Ok(self.named(name))
    }

    /// A database by its name.
    pub(crate) fn named(&self, name: &str) -> Database {
        let url = self.cluster.url();
        let server = url.rsplit_once('/').map_or(url.as_str(), |(server, _)| server);
        Database { url: format!("{server}/{name}"), reader: self.reader.clone() }
    }

    /// Removes a database, where there is one.
    ///
    /// # Errors
    /// If the server refuses it.
    pub(crate) fn drop_database(&self, name: &str) -> Result<()> {
        self.common().run(&[&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")])
    }

    /// Seconds of CPU time of all the server's processes so far.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        meter::cpu_of_server(self.pid)
    }

    /// Forgets the counts of statements.
    ///
    /// # Errors
    /// If the server refuses it.
    pub(crate) fn forget_statements(&self) -> Result<()> {
        if self.counts_statements {
            self.common().text("SELECT pg_stat_statements_reset()::text")?;
        }
        Ok(())
    }

    /// The statements of a job's database since they were forgotten, by their time; of `batches` batches.
    ///
    /// # Errors
    /// If the server refuses it.
    pub(crate) fn statements(&self, name: &str, by: Measurement, batches: f64) -> Result<Vec<Statement>> {
        if !self.counts_statements {
            return Ok(Vec::new());
        }
        let text = self.common().text(&format!(
            "SELECT coalesce(json_agg(s), '[]')::text FROM (
                 SELECT calls, total_exec_time AS ms, rows, query FROM pg_stat_statements s
                 JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = '{name}'
                 ORDER BY total_exec_time DESC LIMIT {STATEMENTS}) s"
        ))?;
        let rows: Vec<Json> = serde_json::from_str(&text).context("the statements are no JSON")?;
        Ok(rows.iter().map(|row| statement(row, by, batches)).collect())
    }

    /// The calls of all statements of a database since they were forgotten, and the bytes of WAL that they wrote; none
    /// where statements are not counted.
    ///
    /// # Errors
    /// If the server refuses it.
    pub(crate) fn calls_and_wal(&self, name: &str) -> Result<Option<(f64, f64)>> {
        if !self.counts_statements {
            return Ok(None);
        }
        let text = self.common().text(&format!(
            "SELECT coalesce(sum(s.calls), 0) || ' ' || coalesce(sum(s.wal_bytes), 0) FROM pg_stat_statements s
             JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = '{name}'"
        ))?;
        let numbers = text.split_once(' ').and_then(|(calls, wal)| Some((calls.parse().ok()?, wal.parse().ok()?)));
        numbers.with_context(|| format!("'{text}' are no two numbers")).map(Some)
    }
}

fn statement(row: &Json, by: Measurement, batches: f64) -> Statement {
    let number = |name: &str| row[name].as_f64().unwrap_or(0.0);
    let words: Vec<&str> = row["query"].as_str().unwrap_or_default().split_whitespace().collect();
    Statement {
        by: by.name().to_owned(),
        calls: number("calls"),
        ms: number("ms"),
        ms_per_batch: number("ms") / batches.max(1.0),
        rows: number("rows"),
        statement: words.join(" ").chars().take(STATEMENT_CHARS).collect(),
    }
}

impl Database {
    /// A file of SQLite.
    pub(crate) fn sqlite(path: &Path, reader: &Path) -> Self {
        Self { url: format!("sqlite://{}", path.display()), reader: reader.to_owned() }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    /// Runs statements and returns the lines that the last one answers.
    ///
    /// # Errors
    /// If one is refused.
    pub(crate) fn lines(&self, statements: &[&str]) -> Result<Vec<String>> {
        let mut command = reading(&self.reader);
        command.args(["--database", &self.url, "--"]).args(statements);
        let (text, code) = process::output(&mut command, None)?;
        if code != 0 {
            bail!("the database refused: {}", statements.join("; "));
        }
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Runs statements whose answers do not matter.
    ///
    /// # Errors
    /// If one is refused.
    pub(crate) fn run(&self, statements: &[&str]) -> Result<()> {
        // The last statement answers text, which these need not.
        self.lines(&[statements, &["SELECT ''"]].concat()).map(|_| ())
    }

    /// The one text that a statement answers.
    ///
    /// # Errors
    /// If it is refused.
    pub(crate) fn text(&self, statement: &str) -> Result<String> {
        Ok(self.lines(&[statement])?.join("\n"))
    }

    /// The one number that a statement answers as text.
    ///
    /// # Errors
    /// If it is refused, or answers no number.
    pub(crate) fn number(&self, statement: &str) -> Result<f64> {
        let text = self.text(statement)?;
        text.trim().parse().with_context(|| format!("'{text}' is no number: {statement}"))
    }
}

fn reading(reader: &Path) -> Command {
    meter::pinned(reader, OTHER_CORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_told_on_one_line_with_its_time_per_batch() {
        let row = serde_json::json!({ "calls": 4, "ms": 10.0, "rows": 8, "query": "SELECT 1\n    FROM x" });
        let statement = statement(&row, Measurement::Job1000, 2.0);
        assert_eq!((statement.statement.as_str(), statement.by.as_str()), ("SELECT 1 FROM x", "job-1000"));
        assert!((statement.ms_per_batch - 5.0).abs() < 1e-9, "{statement:?}");
    }
}
