//! Runs of the archiver, and how they ended.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::Extent;

/// One run of the archiver.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArchiveRun {
    /// Its id.
    pub id: Uuid,
    /// `schedule`, `manual`, or `start` for the first check of a service.
    pub origin: String,
    /// The time it was planned for.
    pub as_of: DateTime<Utc>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; none while it is under way or was cut off.
    pub finished_at: Option<DateTime<Utc>>,
    /// `running`, `done` or `failed`.
    pub state: String,
    /// Rows by action and table, such as `archive metrics`.
    pub counts: BTreeMap<String, u64>,
    /// What went wrong.
    pub message: Option<String>,
}

impl Store {
    /// Records a run, or its progress.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_run_save(&self, run: &ArchiveRun) -> Result<(), StoreError> {
        let statement = self.query(
            "INSERT INTO archive_runs (id, origin, as_of, started_at, finished_at, state, counts, message)
             VALUES ($1::uuid, $2, $3::timestamptz, $4::timestamptz, $5::timestamptz, $6, $7::jsonb, $8)
             ON CONFLICT (id) DO UPDATE SET finished_at = excluded.finished_at, state = excluded.state,
                 counts = excluded.counts,
                 message = excluded.message",
        );
        let statement = statement
            .bind(run.id.to_string())
            .bind(clean(&run.origin))
            .bind(time_text(run.as_of))
            .bind(time_text(run.started_at))
            .bind(run.finished_at.map(time_text))
            .bind(clean(&run.state))
            .bind(json("counts", &run.counts)?)
            .bind(run.message.as_deref().map(clean));
        self.write("save an archive run", statement).await?;
        Ok(())
    }

    /// Runs, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_runs_list(&self, limit: u32) -> Result<Vec<ArchiveRun>, StoreError> {
        let statement = self.query(
            "SELECT id::text AS id, origin, as_of::text AS as_of, started_at::text AS started_at,
                 finished_at::text AS finished_at, state,
                 counts::text AS counts, message
             FROM archive_runs ORDER BY started_at DESC, id DESC LIMIT $1",
        );
        let rows = self.rows("list archive runs", statement.bind(i64::from(limit))).await?;
        self.unreadable.read("archive_runs", "id", Extent::Part, &rows, run_of)
    }
}

fn run_of(row: &AnyRow) -> Result<ArchiveRun, StoreError> {
    Ok(ArchiveRun {
        id: row.uuid("id")?,
        origin: row.text("origin")?,
        as_of: row.time("as_of")?,
        started_at: row.time("started_at")?,
        finished_at: row.time_or_null("finished_at")?,
        state: row.text("state")?,
        counts: row.json("counts")?,
        message: row.text_or_null("message")?,
    })
}
