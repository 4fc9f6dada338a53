//! Acts on everything that a filter shows: what was asked for, and how far each has come. The host that holds the role
//! works on them, and writes after each thing which one it was, so that another host goes on behind it.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::old_rows::{OldRows, old_rows};
use crate::database::readable::{Extent, left_of, more_after};
use crate::scope::Scope;
use crate::work::leaders::{Term, term_check_in_txn};
use backline_model::bulk::{BulkAct, BulkAction, BulkFilter, BulkState};
use backline_model::clock::Past;

/// How long one that has ended is kept.
const KEPT_FOR: TimeDelta = TimeDelta::days(90);

/// Acts that ended long enough ago.
const OLD: OldRows = old_rows!(
    "remove old bulk acts",
    "bulk_acts",
    "id",
    "m.id::text AS first, NULL::text AS second, m.id::text AS name",
    "(r.value->>'first')::uuid",
    "m.finished_at < $2::timestamptz"
);

/// Which bulk acts to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct BulkActFilter {
    /// Only in this state.
    pub state: Option<BulkState>,
    /// Only those before the one with this id: where the next page begins.
    pub before: Option<Uuid>,
    /// Most to return; none means all.
    pub limit: Option<u32>,
}

/// What was done at one place of a bulk act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkStep {
    /// Where the act goes on: behind this place.
    pub place: String,
    /// To how many things it was done.
    pub done: u64,
    /// To how many nothing was to be done.
    pub skipped: u64,
    /// To how many it could not be done.
    pub failed: u64,
    /// Why not, of the last of these.
    pub problem: Option<String>,
}

macro_rules! bulk_sql {
    ($which:literal) => {
        concat!(
            "SELECT b.id::text AS id, b.action, b.tenant, b.artist_id::text AS artist_id, b.filter::text AS filter,
                 b.reason, b.state, b.total, b.done, b.skipped, b.failed, b.problem, b.place,
                 b.created_at::text AS created_at, b.finished_at::text AS finished_at
             FROM bulk_acts b ",
            $which
        )
    };
}

impl Store {
    /// Adds a bulk act, which begins with the first thing that its filter shows.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for things of others; otherwise when the database fails.
    pub async fn bulk_act_add(&self, scope: &Scope, act: &BulkAct) -> Result<(), StoreError> {
        scope.require([act.tenant.as_ref()], "begin a bulk act on others' things")?;
        let mut work = self.begin().await?.proven(self).await?;
        // The artist's id stands in its column alone, by which the act goes with the artist.
        let filter = BulkFilter { artist: None, ..act.filter.clone() };
        let statement = work.query(
            "INSERT INTO bulk_acts (id, action, tenant, artist_id, filter, reason, state, total, done, skipped, failed,
                 created_at, updated_at)
             VALUES ($1::uuid, $2, $3, $4::uuid, $5::jsonb, $6, $7, $8, 0, 0, 0, $9::timestamptz, $9::timestamptz)",
        );
        let statement = statement
            .bind(act.id.to_string())
            .bind(act.action.as_str())
            .bind(act.tenant.as_ref().map(ToString::to_string))
            .bind(act.filter.artist.map(|id| id.to_string()))
            .bind(json("a filter", &filter)?)
            .bind(clean(&act.reason))
            .bind(act.state.as_str())
            .bind(i64::try_from(act.total).unwrap_or(i64::MAX))
            .bind(time_text(act.created_at));
        work.execute("begin a bulk act", statement).await?;
        work.answer_keep(act, act.filter.artist).await?;
        work.commit().await
    }

    /// Bulk acts, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bulk_acts_list(&self, scope: &Scope, filter: &BulkActFilter) -> Result<Vec<BulkAct>, StoreError> {
        let most = filter.limit.unwrap_or(u32::MAX);
        let (mut before, mut found) = (filter.before.map(|id| id.to_string()), Vec::new());
        loop {
            let statement = self.scoped(
                scope,
                bulk_sql!(
                    "WHERE ($1::text IS NULL OR b.state = $1) AND ($2::uuid IS NULL OR b.id < $2::uuid)
                         {and_tenant: b.tenant} ORDER BY b.id DESC LIMIT $3"
                ),
            );
            let asked = left_of(most, found.len());
            let statement =
                statement.bind(filter.state.map(|state| state.as_str().to_owned())).bind(before).bind(i64::from(asked));
            let rows = self.rows("list bulk acts", statement).await?;
            found.extend(self.unreadable.read("bulk_acts", "id", Extent::Part, &rows, act_of)?);
            let last = more_after(&rows, asked, found.len(), most);
            let Some(place) = last.and_then(|last| last.below("id")) else { return Ok(found) };
            before = Some(place);
        }
    }

    /// One bulk act; none where it is unknown or outside of the scope.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bulk_act_get(&self, scope: &Scope, id: Uuid) -> Result<Option<BulkAct>, StoreError> {
        let statement = self.scoped(scope, bulk_sql!("WHERE b.id = $1::uuid {and_tenant: b.tenant}"));
        let row = self.row("read a bulk act", statement.bind(id.to_string())).await?;
        row.as_ref().map(act_of).transpose()
    }

    /// Ends a bulk act that goes on; what was done stays. Returns whether it went on until now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bulk_act_cancel(&self, scope: &Scope, id: Uuid, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let statement = self.scoped(
            scope,
            "UPDATE bulk_acts SET state = 'cancelled', place = NULL, updated_at = $2::timestamptz,
                 finished_at = $2::timestamptz
             WHERE id = $1::uuid AND state = 'running' {and_tenant: bulk_acts.tenant}",
        );
        let ended = self.write("cancel a bulk act", statement.bind(id.to_string()).bind(time_text(now))).await?;
        Ok(ended > 0)
    }

    /// The bulk acts that go on, the earliest first, each with the place behind which it does; none at its beginning.
    ///
    /// # Errors
    /// When the scope is one tenant's, or the database fails.
    pub async fn open_bulk_acts_list(&self, scope: &Scope) -> Result<Vec<(BulkAct, Option<String>)>, StoreError> {
        scope.require_all("work on bulk acts")?;
        let statement = self.query(bulk_sql!("WHERE b.state = 'running' ORDER BY b.id"));
        let rows = self.rows("find bulk acts", statement).await?;
        self.unreadable
            .read("bulk_acts", "id", Extent::Part, &rows, |row| Ok((act_of(row)?, row.text_or_null("place")?)))
    }

    /// Writes what was done at a place. Returns whether the act goes on: someone may have ended it.
    ///
    /// # Errors
    /// [`StoreError::TermLost`] when another host works on bulk acts by now; otherwise when the database fails.
    pub async fn bulk_act_advance(
        &self,
        term: &Term,
        id: Uuid,
        step: &BulkStep,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query(
            "UPDATE bulk_acts SET place = CASE WHEN state = 'running' THEN $2 END,
                 done = {raised: done + $3::bigint}, skipped = {raised: skipped + $4::bigint},
                 failed = {raised: failed + $5::bigint}, problem = COALESCE($6, problem),
                 updated_at = $7::timestamptz
             WHERE id = $1::uuid RETURNING state",
        );
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let statement = statement
            .bind(id.to_string())
            .bind(clean(&step.place))
            .bind(count(step.done))
            .bind(count(step.skipped))
            .bind(count(step.failed))
            .bind(step.problem.as_deref().map(clean))
            .bind(time_text(now));
        let row = work.row("note the progress of a bulk act", statement).await?;
        // One whose state can't be read is not in the list of those that go on.
        let state = row.and_then(|row| row.named("state", BulkState::parse).ok());
        let goes_on = state == Some(BulkState::Running);
        term_check_in_txn(&mut work, term).await?;
        work.commit().await?;
        Ok(goes_on)
    }

    /// Ends a bulk act that came to the end of what its filter showed. One that someone ended stays that.
    ///
    /// # Errors
    /// [`StoreError::TermLost`] when another host works on bulk acts by now; otherwise when the database fails.
    pub async fn bulk_act_finish(&self, term: &Term, id: Uuid, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        let statement = work.query(
            "UPDATE bulk_acts SET state = 'done', place = NULL, updated_at = $2::timestamptz,
                 finished_at = $2::timestamptz
             WHERE id = $1::uuid AND state = 'running'",
        );
        work.execute("end a bulk act", statement.bind(id.to_string()).bind(time_text(now))).await?;
        term_check_in_txn(&mut work, term).await?;
        work.commit().await
    }

    /// Removes bulk acts that ended 90 days ago. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Kept`] when the database refuses some of them; otherwise when it fails.
    pub async fn bulk_acts_remove(&self, past: Past) -> Result<u64, StoreError> {
        self.old_rows_delete(&OLD, time_text(past.before_by(KEPT_FOR).at())).await
    }
}

fn act_of(row: &AnyRow) -> Result<BulkAct, StoreError> {
    let filter: BulkFilter = row.json("filter")?;
    Ok(BulkAct {
        id: row.uuid("id")?,
        action: row.named("action", BulkAction::parse)?,
        filter: BulkFilter { artist: row.parsed_or_null("artist_id")?, ..filter },
        tenant: row.parsed_or_null("tenant")?,
        reason: row.text("reason")?,
        state: row.named("state", BulkState::parse)?,
        total: row.count("total")?,
        done: row.count("done")?,
        skipped: row.count("skipped")?,
        failed: row.count("failed")?,
        problem: row.text_or_null("problem")?,
        created_at: row.time("created_at")?,
        finished_at: row.time_or_null("finished_at")?,
    })
}
