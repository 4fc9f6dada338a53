//! A run's plan, written in one transaction: a host that dies leaves a whole plan or none.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::artists::candidates::{candidate_of, candidates_sql};
use crate::artists::tombstones::{candidates_drop_erased_in_txn, erasures_hold_off_in_txn};
use crate::database::connection::{Store, Work};
use crate::database::dialect::time_text;
use crate::database::error::StoreError;
use crate::database::notifications::notify;
use crate::database::readable::Extent;
use crate::database::topic::Topic;
use crate::work::activations::{
    Activation, Taking, activation_rows, activations_leave_in_txn, activations_take_in_txn,
};
use crate::work::leaders::{Term, term_check_in_txn};
use crate::work::ledger::{batches_add_in_txn, run_add_in_txn};
use crate::work::outcomes::{AccountOutcome, outcomes_save_in_txn};
use crate::work::schedules::{ScheduleProgress, fire_start_in_txn, schedule_advance_in_txn};
use crate::work::uncollected::uncollected_supersede_in_txn;
use backline_model::kill_points::{Point, point};
use backline_model::{ArtistId, Batch, Candidate, Platform, Run, RunId, Weights};

/// What a plan is made for, and so what must be true for it to be committed.
#[derive(Clone, Copy, Debug)]
pub enum PlanGuard<'a> {
    /// An operator asked for it.
    Manual,
    /// A schedule's time: it is started once, by the holder of the term.
    Fire {
        /// The scheduler's role.
        term: &'a Term,
        /// Name of the schedule.
        schedule: &'a str,
        /// Time of firing.
        fire_time: DateTime<Utc>,
        /// The schedule's next time after this one.
        next_fire: Option<DateTime<Utc>>,
    },
    /// First collections: they are removed with the plan.
    Activations {
        /// The scheduler's role.
        term: &'a Term,
        /// The first collections that the plan removes.
        activations: &'a [Activation],
    },
}

/// A plan that is being written. Dropping it undoes everything.
pub struct Planning {
    work: Work,
    run: RunId,
    now: DateTime<Utc>,
    term: Option<Term>,
    has_batches: bool,
    /// The artists whose first collections this plan is for.
    wanted: BTreeSet<ArtistId>,
    /// First collections that it removed.
    taken: Vec<(ArtistId, Option<Platform>)>,
}

/// How often a plan looks for further first collections of its artists. Each time it read their accounts before.
const TAKEN_AGAIN_MAX: u32 = 5;

impl Store {
    /// Begins to write a run's plan. The run's counts are not stored: they follow from its batches and outcomes.
    ///
    /// # Errors
    /// [`StoreError::TermLost`] when another host has taken the role over, [`StoreError::FireDecided`] when the time of
    /// firing has its run or is to have none, [`StoreError::NotFound`] when the schedule was removed or switched off.
    pub async fn plan_begin(
        &self,
        run: &Run,
        guard: PlanGuard<'_>,
        now: DateTime<Utc>,
    ) -> Result<Planning, StoreError> {
        let mut work = self.begin().await?.proven(self).await?;
        erasures_hold_off_in_txn(&mut work).await?;
        let (mut wanted, mut taken) = (BTreeSet::new(), Vec::new());
        let term = match guard {
            PlanGuard::Manual => None,
            PlanGuard::Fire { term, schedule, fire_time, next_fire } => {
                schedule_advance_in_txn(&mut work, schedule, ScheduleProgress { fire_time, next_fire, started: true })
                    .await?;
                fire_start_in_txn(&mut work, schedule, fire_time, run.id, now).await?;
                Some(term.clone())
            }
            PlanGuard::Activations { term, activations } => {
                taken = activations_take_in_txn(&mut work, activations, Taking::UntilNow).await?;
                wanted = activations.iter().map(|activation| activation.artist_id).collect();
                Some(term.clone())
            }
        };
        run_add_in_txn(&mut work, run).await?;
        Ok(Planning { work, run: run.id, now, term, has_batches: false, wanted, taken })
    }
}

impl Planning {
    /// The accounts that the removed first collections ask for and that are in no open batch, in order of id. Read
    /// within the transaction that removes them: an account that is added later has an activation of its own, which
    /// stays.
    ///
    /// What another transaction was still writing when they were removed, and committed before the accounts were read,
    /// is removed now, and the accounts are read again: it would stay, and collect the same accounts twice.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn first_candidates_list(&mut self) -> Result<Vec<Candidate>, StoreError> {
        let everywhere =
            |artist: &ArtistId| Activation { artist_id: *artist, platform: None, cause: String::new(), at: self.now };
        let wanted: Vec<Activation> = self.wanted.iter().map(everywhere).collect();
        let mut candidates = self.candidates_of_taken().await?;
        for _ in 0..TAKEN_AGAIN_MAX {
            let more = activations_take_in_txn(&mut self.work, &wanted, Taking::UntilNow).await?;
            if more.is_empty() {
                break;
            }
            self.taken.extend(more);
            candidates = self.candidates_of_taken().await?;
        }
        Ok(candidates)
    }

    async fn candidates_of_taken(&mut self) -> Result<Vec<Candidate>, StoreError> {
        let statement = self.work.query(candidates_sql!(
            until "$2",
            "WHERE a.id IN (SELECT o.id FROM {rows} JOIN accounts o ON o.artist_id = (r.value->>'artist')::uuid
                 AND (r.value->>'platform' = '' OR r.value->>'platform' = o.platform))
             AND NOT EXISTS (SELECT 1 FROM batch_accounts m JOIN batches b ON b.id = m.batch_id
                 WHERE m.account_id = a.id AND b.finished_at IS NULL)
             ORDER BY a.id"
        ));
        let statement = statement.bind(activation_rows(&self.taken)?).bind(time_text(self.now));
        let rows = self.work.rows("read first candidates", statement).await?;
        let candidates = self.work.unreadable.read("accounts", "account_id", Extent::Part, &rows, candidate_of)?;
        candidates_drop_erased_in_txn(&mut self.work, candidates).await
    }

    /// Adds batches; tenants get turns by their weights. Accounts that have been erased since are left out. What other
    /// runs have deferred of these accounts, or left behind, of the same date or an earlier one, ends as superseded.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn batches_add(&mut self, batches: &[Batch], weights: &Weights) -> Result<(), StoreError> {
        self.has_batches |= !batches.is_empty();
        uncollected_supersede_in_txn(&mut self.work, batches, self.now).await?;
        batches_add_in_txn(&mut self.work, batches, weights, self.now).await
    }

    /// Removes the first collections that this plan covers; read before the accounts that can be collected, so that
    /// a request that comes later still waits afterwards. `platforms` are those that the plan is for, none given
    /// meaning all: what was due on all stays due on the others.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn activations_take(&mut self, awaited: &[Activation], platforms: &[Platform]) -> Result<(), StoreError> {
        let taken = activations_take_in_txn(&mut self.work, awaited, Taking::AsRead).await?;
        if platforms.is_empty() {
            return Ok(());
        }
        let everywhere: BTreeSet<ArtistId> =
            taken.into_iter().filter(|(_, platform)| platform.is_none()).map(|(artist, _)| artist).collect();
        let is_taken =
            |activation: &&Activation| activation.platform.is_none() && everywhere.contains(&activation.artist_id);
        let taken: Vec<&Activation> = awaited.iter().filter(is_taken).collect();
        activations_leave_in_txn(&mut self.work, &taken, platforms).await
    }

    /// Records accounts that are not to be collected.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn exclusions_record(&mut self, outcomes: &[AccountOutcome]) -> Result<(), StoreError> {
        outcomes_save_in_txn(&mut self.work, self.run, None, outcomes, self.now).await
    }

    /// Makes this the answer of the request that asked for the plan, where it has a key.
    ///
    /// # Errors
    /// [`StoreError::AnsweredBefore`] when it was carried out already; otherwise when the database fails.
    pub async fn answer_keep(&mut self, answer: &Run) -> Result<(), StoreError> {
        self.work.answer_keep(answer, None).await
    }

    /// Commits the plan, and notifies hosts that wait for work.
    ///
    /// # Errors
    /// [`StoreError::TermLost`] when another host has taken the role over: nothing is written then.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        if self.has_batches {
            notify(&mut self.work, Topic::Work).await?;
        }
        // Last, so that the role is locked for no longer than the commit takes.
        if let Some(term) = &self.term {
            term_check_in_txn(&mut self.work, term).await?;
        }
        point(Point::PlanWritten);
        self.work.commit().await?;
        point(Point::PlanCommitted);
        Ok(())
    }

    /// Commits what the guard stands for without a run: no account is to be collected.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_without_run(mut self) -> Result<(), StoreError> {
        let statement = self.work.query("DELETE FROM runs WHERE id = $1::uuid");
        self.work.execute("remove an empty run", statement.bind(self.run.to_string())).await?;
        self.has_batches = false;
        self.commit().await
    }
}
