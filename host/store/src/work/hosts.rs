//! The hosts on this database: each says every few seconds that it is there. And what all of them together have open.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::database::dialect::{Columns as _, DatabaseKind, clean, time_text};
use crate::{Store, StoreError};

/// What a host says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Its name, which no other host has at the same time.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it is: `starting`, `ready`, `not_ready` or `stopping`.
    pub state: &'static str,
    /// When it was started; tells it from another one of the same name.
    pub started_at: DateTime<Utc>,
}

/// A host as it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownHost {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it was.
    pub state: String,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When it was last heard of.
    pub seen_at: DateTime<Utc>,
    /// Whether it holds the role of the scheduler.
    pub leads: bool,
}

impl Store {
    /// Enters a host that starts, in place of an earlier one of its name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn announce_host(&self, host: &Presence, now: DateTime<Utc>) -> Result<(), StoreError> {
        let statement = self.query(
            "INSERT INTO hosts (name, version, state, started_at, seen_at)
             VALUES ($1, $2, $3, $4::timestamptz, $5::timestamptz)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version, state = excluded.state,
                 started_at = excluded.started_at, seen_at = excluded.seen_at",
        );
        self.write("announce a host", bound(statement, host, now)).await?;
        Ok(())
    }

    /// Says that a host is still there. False where another one has taken its name since.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn beat(&self, host: &Presence, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let statement = self.query(
            "INSERT INTO hosts (name, version, state, started_at, seen_at)
             VALUES ($1, $2, $3, $4::timestamptz, $5::timestamptz)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version, state = excluded.state, seen_at = excluded.seen_at
             WHERE hosts.started_at = excluded.started_at",
        );
        Ok(self.write("say that a host is there", bound(statement, host, now)).await? > 0)
    }

    /// Every host that was heard of lately, in the order of their names.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_hosts(&self, now: DateTime<Utc>) -> Result<Vec<KnownHost>, StoreError> {
        let statement = self.query(
            "SELECT h.name, h.version, h.state, h.started_at::text AS started_at, h.seen_at::text AS seen_at,
                 (SELECT COUNT(*) FROM leaders l WHERE l.role = 'scheduler' AND l.holder = h.name AND l.expires_at > $1::timestamptz) AS roles
             FROM hosts h ORDER BY h.name",
        );
        let rows = self.rows("list hosts", statement.bind(time_text(now))).await?;
        rows.iter()
            .map(|row| {
                Ok(KnownHost {
                    name: row.text("name")?,
                    version: row.text("version")?,
                    state: row.text("state")?,
                    started_at: row.time("started_at")?,
                    seen_at: row.time("seen_at")?,
                    leads: row.count("roles")? > 0,
                })
            })
            .collect()
    }

    /// Takes out a host that stops; one that has taken its name meanwhile stays.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_host(&self, name: &str, started_at: DateTime<Utc>) -> Result<(), StoreError> {
        let statement = self.query("DELETE FROM hosts WHERE name = $1 AND started_at = $2::timestamptz");
        self.write("forget a host", statement.bind(clean(name)).bind(time_text(started_at))).await?;
        self.forget_reports().await
    }

    /// Takes out what hosts reported that are in the list no longer.
    async fn forget_reports(&self) -> Result<(), StoreError> {
        let statement = self.query("DELETE FROM release_hosts WHERE host NOT IN (SELECT name FROM hosts)");
        self.write("forget what hosts loaded that are gone", statement).await?;
        Ok(())
    }

    /// Takes out the hosts that were last heard of before `since`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_hosts_unseen_since(&self, since: DateTime<Utc>) -> Result<u64, StoreError> {
        let statement = self.query("DELETE FROM hosts WHERE seen_at < $1::timestamptz");
        let forgotten = self.write("forget old hosts", statement.bind(time_text(since))).await?;
        self.forget_reports().await?;
        Ok(forgotten)
    }

    /// The database server's own time; none for a file, which has no clock but this machine's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn server_time(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        if self.kind() == DatabaseKind::Sqlite {
            return Ok(None);
        }
        let row = self.row("ask the server's time", self.query("SELECT clock_timestamp()::text AS now")).await?;
        row.map(|row| row.time("now")).transpose()
    }

    /// Batches that are not finished, of all hosts and runs, by state.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_batches(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let statement = self
            .query("SELECT state, COUNT(*) AS n FROM batches WHERE finished_at IS NULL GROUP BY state ORDER BY state");
        let rows = self.rows("count open batches", statement).await?;
        rows.iter().map(|row| Ok((row.text("state")?, row.count("n")?))).collect()
    }
}

fn bound(statement: crate::Statement, host: &Presence, now: DateTime<Utc>) -> crate::Statement {
    statement
        .bind(clean(&host.name))
        .bind(clean(&host.version))
        .bind(host.state)
        .bind(time_text(host.started_at))
        .bind(time_text(now))
}
