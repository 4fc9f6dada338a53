//! Works bulk acts off: on the one host that has the role, some things of each act in turn. After each thing its place
//! is written under the role's term, so that a host which takes over goes on behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Bulk, BulkError, scope_of};
use crate::pipeline::context::{RETRY_AFTER, ServiceContext};
use crate::pipeline::error::with_causes;
use backline_model::bulk::{BulkAct, BulkState};
use backline_store::{BulkStep, Scope, StoreError, Term};

/// The role of the host that works on bulk acts.
const ROLE: &str = "bulk";

/// Things of one act that are worked on before it is another act's turn.
const TURN: u32 = 50;

/// How often a command looks how far an act has come on which another host works.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often in a row an act is held up at a thing before it passes the thing over. The database answers in between,
/// and takes down that it failed: the thing itself must be why, such as a statement that takes too long each time.
const TRIES_MAX: u32 = 5;

/// What a process that works on acts keeps between its turns.
#[derive(Default)]
struct Worker {
    term: Option<Term>,
    held_up: HeldUp,
}

/// The place at which each act was held up last, and how often in a row.
#[derive(Default)]
struct HeldUp(BTreeMap<Uuid, (String, u32)>);

impl HeldUp {
    /// Notes that an act was held up at a place. Whether that was the last try.
    fn is_last_try(&mut self, act: Uuid, place: &str) -> bool {
        let (at, times) = self.0.entry(act).or_default();
        if at != place {
            place.clone_into(at);
            *times = 0;
        }
        *times += 1;
        *times >= TRIES_MAX
    }
}

/// What a turn came to.
enum ActTurn {
    /// Nothing is open, or another host works on it.
    Idle,
    /// There may be more to do at once.
    More,
    /// The database does not answer, or refuses something that may work later.
    HeldUp(String),
}

/// Runs until the service stops; then resigns the role.
pub(in crate::pipeline) async fn serve(context: ServiceContext<Bulk>) {
    let mut worker = Worker::default();
    while !context.stop.is_cancelled() {
        let bulk = context.current();
        // Asked before each thing, which takes some statements.
        let is_to_stop = || {
            context.heartbeat.work(Duration::from_millis(bulk.config.database.long_statement_timeout_ms));
            context.stop.is_cancelled()
        };
        let turn = bulk.turn(&context.name, &mut worker, is_to_stop).await;
        let rest = match turn {
            Ok(ActTurn::More) => Duration::ZERO,
            Ok(ActTurn::Idle) => context.poll_interval(),
            Ok(ActTurn::HeldUp(problem)) => {
                tracing::warn!(problem, "a bulk act is held up; it goes on later");
                RETRY_AFTER
            }
            Err(error) => {
                tracing::warn!(error = with_causes(&error), "bulk acts can't be worked on; this is retried");
                RETRY_AFTER
            }
        };
        context.rest(rest).await;
    }
    context.current().resign(worker.term).await;
}

impl Bulk {
    /// Works on an act from this process until it has ended, or watches the host that does. `progress` is told how far
    /// it has come.
    ///
    /// # Errors
    /// When there is no such act, or the database fails. The act stays open then.
    pub async fn work_off(&self, id: Uuid, progress: &(dyn Fn(&BulkAct) + Sync)) -> Result<BulkAct, BulkError> {
        // A service may use the host's name alone.
        let name = format!("{} (command {})", self.name, Uuid::now_v7().simple());
        let mut worker = Worker::default();
        let ended = loop {
            let turn = self.turn(&name, &mut worker, || false).await;
            let act = match self.store.bulk_act_get(&Scope::all_tenants(), id).await {
                Ok(Some(act)) => act,
                Ok(None) => break Err(StoreError::NotFound { what: "bulk act", id: id.to_string() }.into()),
                Err(error) => break Err(error.into()),
            };
            progress(&act);
            if act.state != BulkState::Running {
                break Ok(act);
            }
            match turn {
                Ok(ActTurn::More) => {}
                Ok(ActTurn::Idle) => tokio::time::sleep(LOOK_EVERY).await,
                Ok(ActTurn::HeldUp(problem)) => {
                    tracing::warn!(problem, "the bulk act is held up; it goes on later");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                // Another process took the role over: it is watched.
                Err(StoreError::TermLost { .. }) => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => break Err(error.into()),
            }
        };
        self.resign(worker.term).await;
        ended
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(self.config.service.leader_ttl_ms)
    }

    /// Works on some things of each act that goes on, if this process has the role.
    async fn turn(
        &self,
        owner: &str,
        worker: &mut Worker,
        is_to_stop: impl Fn() -> bool + Sync,
    ) -> Result<ActTurn, StoreError> {
        if is_to_stop() || self.store.open_bulk_acts_list(&Scope::all_tenants()).await?.is_empty() {
            return Ok(ActTurn::Idle);
        }
        // Ends and times would be of a clock that jumped; another host goes on. A command has no loop that asks the
        // database whether the machine merely stood still.
        let Some(now) = self.clocks.asked_now().await? else { return Ok(ActTurn::Idle) };
        let Worker { term, held_up: places } = worker;
        *term = self.store.role_take(ROLE, owner, now, self.ttl()).await?;
        if term.is_none() {
            return Ok(ActTurn::Idle);
        }
        // Again, since the one who had the role may have gone on until it was taken.
        let mut held_up = None;
        let open = self.store.open_bulk_acts_list(&Scope::all_tenants()).await?;
        places.0.retain(|id, _| open.iter().any(|(act, _)| act.id == *id));
        for (act, place) in open {
            let Some(mut held) = term.clone() else { return Ok(ActTurn::Idle) };
            if is_to_stop() {
                return Ok(ActTurn::Idle);
            }
            // What holds one act up keeps none of the others waiting.
            match self.some_of(&act, place, (&mut held, &mut *places), owner, &is_to_stop).await {
                Ok(problem) => held_up = problem.or(held_up),
                Err(error @ StoreError::TermLost { .. }) => return Err(error),
                Err(error) => held_up = Some(with_causes(&error)),
            }
            *term = Some(held);
        }
        Ok(held_up.map_or(ActTurn::More, ActTurn::HeldUp))
    }

    /// Does an act to its next things, and ends it where there are none. Returns what holds it up, if something does.
    async fn some_of(
        &self,
        act: &BulkAct,
        place: Option<String>,
        (term, held_up): (&mut Term, &mut HeldUp),
        owner: &str,
        is_to_stop: &(impl Fn() -> bool + Sync),
    ) -> Result<Option<String>, StoreError> {
        let (scope, meant) = (scope_of(act), (act.action, &act.filter));
        let Some(page) = self.page(&scope, meant, Some(act.created_at), place.as_deref(), TURN).await? else {
            self.store.bulk_act_finish(term, act.id, self.clock.now()).await?;
            tracing::info!(act = %act.id, action = %act.action, "a bulk act is done");
            return Ok(None);
        };
        for item in &page.items {
            let now = self.clock.now();
            if is_to_stop() || !self.keep_role(term, owner, now).await? {
                return Ok(None);
            }
            let step = match self.done_to(act, &scope, item).await {
                Ok(step) => step,
                Err(problem) if held_up.is_last_try(act.id, &item.place) => item.failed(&problem),
                Err(problem) => return Ok(Some(problem)),
            };
            if !self.store.bulk_act_advance(term, act.id, &step, self.clock.now()).await? {
                // Someone ended it.
                return Ok(None);
            }
        }
        let passed = BulkStep { place: page.place, ..BulkStep::default() };
        self.store.bulk_act_advance(term, act.id, &passed, self.clock.now()).await?;
        Ok(None)
    }

    /// Renews the role when a third of its term is over. Returns whether this process has it still.
    async fn keep_role(&self, term: &mut Term, owner: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        if now + self.ttl() * 2 / 3 < term.expires_at {
            return Ok(true);
        }
        match self.store.role_take(ROLE, owner, now, self.ttl()).await? {
            Some(renewed) => {
                *term = renewed;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    async fn resign(&self, term: Option<Term>) {
        if let Some(term) = term
            && let Err(error) = self.store.role_resign(&term, self.clock.now()).await
        {
            tracing::warn!(%error, "the role of bulk acts could not be resigned; another host takes it when it ends");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_passed_over_that_holds_its_act_up_again_and_again() {
        let (mut held_up, act, other) = (HeldUp::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        for _ in 1..TRIES_MAX {
            assert!(!held_up.is_last_try(act, "a"));
        }
        assert!(!held_up.is_last_try(other, "a"), "each act has its own tries");
        assert!(held_up.is_last_try(act, "a"));
        assert!(!held_up.is_last_try(act, "b"), "each thing has its own tries");
    }
}
