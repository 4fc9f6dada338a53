//! The installation that the database belongs to: one random id, which its hosts also keep outside the database.

use chrono::{DateTime, Utc};

use backline_model::InstallationId;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, time_text};
use crate::database::error::StoreError;

impl Store {
    /// The installation's id; none before a host has claimed the database for one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn installation_get(&self) -> Result<Option<InstallationId>, StoreError> {
        let statement = self.query("SELECT id::text AS id FROM installation WHERE number = 1");
        let row = self.row("read the installation's id", statement).await?;
        row.map(|row| row.parsed("id")).transpose()
    }

    /// Makes this the installation's id unless there is one. Returns the one that is in force.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn installation_claim(
        &self,
        id: InstallationId,
        now: DateTime<Utc>,
    ) -> Result<InstallationId, StoreError> {
        let statement = self.query(
            "INSERT INTO installation (number, id, created_at) VALUES (1, $1::uuid, $2::timestamptz)
             ON CONFLICT (number) DO NOTHING",
        );
        let statement = statement.bind(id.to_string()).bind(time_text(now));
        self.write("claim the database for an installation", statement).await?;
        Ok(self.installation_get().await?.unwrap_or(id))
    }

    /// Replaces an installation's id that can't be read by this one. Returns the one that is in force: another process
    /// may have been faster.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn installation_replace_unreadable(
        &self,
        id: InstallationId,
        now: DateTime<Utc>,
    ) -> Result<InstallationId, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query("SELECT id::text AS id FROM installation WHERE number = 1 FOR UPDATE");
        let row = work.row("read the installation's id", statement).await?;
        match row.map(|row| row.parsed("id")).transpose() {
            Ok(Some(in_force)) => return Ok(in_force),
            Ok(None) | Err(StoreError::Unreadable { .. }) => {}
            Err(error) => return Err(error),
        }
        let statement =
            work.query("UPDATE installation SET id = $1::uuid, created_at = $2::timestamptz WHERE number = 1");
        let statement = statement.bind(id.to_string()).bind(time_text(now));
        work.execute("replace the installation's id", statement).await?;
        work.commit().await?;
        Ok(id)
    }

    /// Records whether a host refreshes tokens that the platform may replace.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn host_set_refreshes(
        &self,
        name: &str,
        started_at: DateTime<Utc>,
        refreshes: bool,
    ) -> Result<(), StoreError> {
        let statement = self.query(
            "UPDATE hosts SET refreshes_tokens = $3 WHERE name = $1 AND started_at = $2::timestamptz
             AND refreshes_tokens <> $3",
        );
        let statement = statement.bind(clean(name)).bind(time_text(started_at)).bind(i64::from(refreshes));
        self.write("record whether a host refreshes tokens", statement).await?;
        Ok(())
    }
}
