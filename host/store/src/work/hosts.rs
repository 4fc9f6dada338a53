//! The hosts on this database: each renews its presence every few seconds. And the open batches of all of them.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, DatabaseKind, clean, time_text};
use crate::database::error::StoreError;
use crate::database::readable::Extent;
use crate::scope::Scope;
use backline_model::clock::Past;

/// What a host says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Its name, which no other host has at the same time.
    pub name: String,
    /// Version of its binary.
    pub version: String,
    /// State: `starting`, `ready`, `not_ready` or `stopping`.
    pub state: &'static str,
    /// When it was started; tells it from another one of the same name.
    pub started_at: DateTime<Utc>,
}

/// A host as it last reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownHost {
    /// Name of the host.
    pub name: String,
    /// Version of its binary.
    pub version: String,
    /// State that it last reported.
    pub state: String,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When it last reported.
    pub seen_at: DateTime<Utc>,
    /// Whether it holds the role of the scheduler.
    pub leads: bool,
    /// Whether it refreshes tokens that the platform may replace: not where it does not belong to the installation.
    pub refreshes_tokens: bool,
}

impl Store {
    /// Records a host that starts, in place of an earlier one of its name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn host_announce(&self, host: &Presence, now: DateTime<Utc>) -> Result<(), StoreError> {
        let statement = self.query(
            "INSERT INTO hosts (name, version, state, started_at, seen_at)
             VALUES ($1, $2, $3, $4::timestamptz, $5::timestamptz)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version, state = excluded.state,
                 started_at = excluded.started_at, seen_at = excluded.seen_at",
        );
        self.write("announce a host", bound(statement, host, now)).await?;
        Ok(())
    }

    /// Renews a host's presence. False where another one has taken its name since.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn host_beat(&self, host: &Presence, now: DateTime<Utc>) -> Result<bool, StoreError> {
        // A report that was given up may be carried out when the host has been removed. So it adds no row by itself; a
        // host that is not on record, because it was away for long, adds itself with a statement of its own.
        let statement = self.query(
            "UPDATE hosts SET version = $2, state = $3, seen_at = $5::timestamptz
             WHERE name = $1 AND started_at = $4::timestamptz",
        );
        if self.write("renew a host's presence", bound(statement, host, now)).await? > 0 {
            return Ok(true);
        }
        let statement = self.query(
            "INSERT INTO hosts (name, version, state, started_at, seen_at)
             VALUES ($1, $2, $3, $4::timestamptz, $5::timestamptz)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version, state = excluded.state,
                 seen_at = excluded.seen_at
             WHERE hosts.started_at = excluded.started_at",
        );
        Ok(self.write("renew a host's presence", bound(statement, host, now)).await? > 0)
    }

    /// Every host that is on record, in the order of their names.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hosts_list(&self, now: DateTime<Utc>) -> Result<Vec<KnownHost>, StoreError> {
        let statement = self.query(
            "SELECT h.name, h.version, h.state, h.started_at::text AS started_at, h.seen_at::text AS seen_at,
                 h.refreshes_tokens,
                 (SELECT COUNT(*) FROM leaders l WHERE l.role = 'scheduler' AND l.holder = h.name
                 AND l.expires_at > $1::timestamptz) AS roles
             FROM hosts h ORDER BY h.name",
        );
        let rows = self.rows("list hosts", statement.bind(time_text(now))).await?;
        self.unreadable.read("hosts", "name", Extent::Whole, &rows, |row| {
            Ok(KnownHost {
                name: row.text("name")?,
                version: row.text("version")?,
                state: row.text("state")?,
                started_at: row.time("started_at")?,
                seen_at: row.time("seen_at")?,
                leads: row.count("roles")? > 0,
                refreshes_tokens: row.count("refreshes_tokens")? > 0,
            })
        })
    }

    /// Removes a host that stops; another one that took its name stays.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn host_forget(&self, name: &str, started_at: DateTime<Utc>) -> Result<(), StoreError> {
        let statement = self.query("DELETE FROM hosts WHERE name = $1 AND started_at = $2::timestamptz");
        self.write("remove a host", statement.bind(clean(name)).bind(time_text(started_at))).await?;
        self.forget_reports().await
    }

    /// Removes reports of hosts that are not on record any more.
    async fn forget_reports(&self) -> Result<(), StoreError> {
        // What another transaction holds goes the next time.
        let statement = self.query(
            "DELETE FROM release_hosts WHERE (host, release_digest) IN (
                 SELECT l.host, l.release_digest FROM release_hosts l WHERE l.host NOT IN (SELECT name FROM hosts)
                 FOR UPDATE SKIP LOCKED)",
        );
        self.write("remove load reports of removed hosts", statement).await?;
        Ok(())
    }

    /// Removes hosts that have not reported since a time, and those that reported after the `furthest` time that is
    /// believed: their clock was ahead. One of these that lives is on record again with its next report. Returns how
    /// many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unseen_hosts_forget(&self, since: Past, furthest: DateTime<Utc>) -> Result<u64, StoreError> {
        // One that another transaction holds is reporting just now.
        let statement = self.query(
            "DELETE FROM hosts WHERE name IN (
                 SELECT h.name FROM hosts h WHERE h.seen_at < $1::timestamptz
                     OR (h.seen_at > $2::timestamptz AND {is_time: h.seen_at}) FOR UPDATE SKIP LOCKED)",
        );
        let statement = statement.bind(time_text(since.at())).bind(time_text(furthest));
        let forgotten = self.write("remove old hosts", statement).await?;
        self.forget_reports().await?;
        Ok(forgotten)
    }

    /// The database server's own time; none for a file, which has no clock but this machine's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn server_time_get(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        if self.kind() == DatabaseKind::Sqlite {
            return Ok(None);
        }
        let row = self.row("read the server's time", self.query("SELECT clock_timestamp()::text AS now")).await?;
        row.map(|row| row.time("now")).transpose()
    }

    /// Batches that are not finished, of all hosts and runs, by state.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_batches_count(&self, scope: &Scope) -> Result<Vec<(String, u64)>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT state, COUNT(*) AS n FROM batches WHERE finished_at IS NULL {and_tenant: tenant}
             GROUP BY state ORDER BY state",
        );
        let rows = self.rows("count open batches", statement).await?;
        rows.iter().map(|row| Ok((row.told("state")?, row.count("n")?))).collect()
    }
}

fn bound(
    statement: crate::database::statement::Statement,
    host: &Presence,
    now: DateTime<Utc>,
) -> crate::database::statement::Statement {
    statement
        .bind(clean(&host.name))
        .bind(clean(&host.version))
        .bind(host.state)
        .bind(time_text(host.started_at))
        .bind(time_text(now))
}
