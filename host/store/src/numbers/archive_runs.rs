//! Runs of the archiver, and how they ended.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, left_of, more_after};

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

/// Which runs of the archiver to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct ArchiveRunFilter {
    /// Only in this state.
    pub state: Option<String>,
    /// Only those after the one that started then and has this id: where the next page begins.
    pub before: Option<(DateTime<Utc>, Uuid)>,
    /// Most runs to return.
    pub limit: u32,
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
        self.archive_runs_filtered_list(&ArchiveRunFilter { limit, ..ArchiveRunFilter::default() }).await
    }

    /// Runs that a filter names, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_runs_filtered_list(&self, filter: &ArchiveRunFilter) -> Result<Vec<ArchiveRun>, StoreError> {
        let mut before = filter.before.map(|(time, id)| (time_text(time), id.to_string()));
        let mut found = Vec::new();
        loop {
            let asked = left_of(filter.limit, found.len());
            let statement = self.query(
                "SELECT id::text AS id, origin, as_of::text AS as_of, started_at::text AS started_at,
                     finished_at::text AS finished_at, state, counts::text AS counts, message
                 FROM archive_runs
                 WHERE ($1::timestamptz IS NULL OR started_at < $1::timestamptz
                         OR (started_at = $1::timestamptz AND id < $2::uuid))
                     AND ($3::text IS NULL OR state = $3)
                 ORDER BY archive_runs.started_at DESC, archive_runs.id DESC LIMIT $4",
            );
            let (time, id) = before.unzip();
            let statement =
                statement.bind(time).bind(id).bind(filter.state.as_deref().map(clean)).bind(i64::from(asked));
            let rows = self.rows("list archive runs", statement).await?;
            found.extend(self.unreadable.read("archive_runs", "id", Extent::Part, &rows, run_of)?);
            let last = more_after(&rows, asked, found.len(), filter.limit);
            let place = last.and_then(|last| last.below("started_at").zip(last.below("id")));
            let Some(place) = place else { return Ok(found) };
            before = Some(place);
        }
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
