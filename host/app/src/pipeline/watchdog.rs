//! Whether every loop of the service still turns, and does what it turns for.
//!
//! A loop says how long it waits now, or how long its present work may take, each time it turns. One that has said
//! nothing for longer than that, and `service.stuck_after_ms` more, is stuck: readiness names it. A loop can only be
//! started with a [`Heartbeat`], since the service's `loops.rs` alone starts one.
//!
//! It can't end a turn without saying how it went, a [`TurnEnd`]. One whose turns have all failed for longer than
//! `service.stuck_after_ms` is failing: readiness names it with its last error. What the database as a whole is why
//! for is told once, in the words of the one that finds it out, and not by each loop again.
//!
//! A turn failed where the loop's own work did: reading what there is to do, leasing it, what its role writes. One
//! thing of many is not that, such as a receiver or a schedule: it would take the host out of service for all others.
//! Nor is what is outside the host. Both are told where they are: in the log, in health, in the thing's own state. So
//! a turn with things ends in an [`Undone`], which only [`Things`] can tell from a failure of the loop.
//!
//! Time here is that of the process, which no change of the machine's clock moves.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use serde::Serialize;
use tokio::time::Instant;

use crate::pipeline::error::with_causes;
use backline_model::remedies::{Remedy, off};
use backline_store::StoreError;

/// How long a loop that failed waits before it starts again, and how long the database is left alone after an error.
pub(in crate::pipeline) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long after an outage of the database was told last a failure may be of the same outage: as long as two reports
/// of a host's presence and their time-outs take.
const SAME_OUTAGE: Duration = Duration::from_secs(15);

/// What a loop does until its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopState {
    /// It waits: for a time, or for a notification that comes before.
    Waiting,
    /// It works.
    Working,
}

/// A loop of the service at a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoopStatus {
    /// Its name.
    pub name: &'static str,
    /// What it said it does.
    pub state: LoopState,
    /// Seconds since its last turn.
    pub last_turn_s: f64,
    /// How many seconds after that turn the next one is expected, at the latest.
    pub next_turn_s: f64,
    /// Whether the next one is overdue by more than `service.stuck_after_ms`.
    pub is_stuck: bool,
    /// Over how many seconds each turn has failed, up to the latest one; 0 where that did not fail. One thing of many
    /// is no failure of a turn, nor is what is outside the host.
    pub failing_s: f64,
    /// Whether that is more than `service.stuck_after_ms`, and not told as an outage of the database already.
    pub is_failing: bool,
    /// Why the latest turn failed; none where it did not.
    pub error: Option<String>,
}

impl LoopStatus {
    /// The sentence about a loop that is stuck or fails; none about one that works.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let Self { name, last_turn_s, next_turn_s, failing_s, .. } = self;
        if self.is_stuck {
            return Some(format!(
                "the loop '{name}' is stuck: its last turn was {last_turn_s:.0} s ago, and the next was expected \
                 within {next_turn_s:.0} s; check the database's locks and the network, and restart this host if it \
                 stays so"
            ));
        }
        let error = self.error.as_deref().filter(|_| self.is_failing)?;
        Some(format!("the loop '{name}' has failed at each turn for {failing_s:.0} s, and tries again: {error}"))
    }
}

/// Why a turn of a loop failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct TurnFailure {
    why: String,
    /// Whether the database as a whole is why.
    is_outage: bool,
}

impl TurnFailure {
    /// What the database refused or did not answer.
    pub(in crate::pipeline) fn of(error: &StoreError) -> Self {
        Self { why: with_causes(error), is_outage: error.is_outage() }
    }

    /// Anything else.
    pub(in crate::pipeline) fn other(error: &(dyn Error + 'static)) -> Self {
        Self::told(with_causes(error))
    }

    /// The same, in words.
    pub(in crate::pipeline) fn told(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_outage: false }
    }

    /// That it panicked; the log has the message.
    pub(in crate::pipeline) fn panicked() -> Self {
        Self::told("it panicked; the log says where")
    }
}

impl From<&StoreError> for TurnFailure {
    fn from(error: &StoreError) -> Self {
        Self::of(error)
    }
}

/// Why a turn did not do all that there was to do. An error that comes by itself is of the loop's own work.
#[derive(Debug)]
pub(in crate::pipeline) enum Undone<E> {
    /// The loop's own work failed, or all that it had to do, because of the database as a whole.
    All(E),
    /// Only some of the things failed, of which this is one. They are told by themselves.
    Some(E),
}

impl<E> From<E> for Undone<E> {
    fn from(error: E) -> Self {
        Self::All(error)
    }
}

impl<E> Undone<E> {
    /// The error.
    pub(in crate::pipeline) fn error(&self) -> &E {
        let (Self::All(error) | Self::Some(error)) = self;
        error
    }

    /// The same, for who has no turn.
    pub(in crate::pipeline) fn into_error(self) -> E {
        let (Self::All(error) | Self::Some(error)) = self;
        error
    }

    /// The worst of several parts of a turn.
    pub(in crate::pipeline) fn worst(parts: impl IntoIterator<Item = Result<(), Self>>) -> Result<(), Self> {
        let mut worst = None;
        for undone in parts.into_iter().filter_map(Result::err) {
            if worst.is_none() || matches!(undone, Self::All(_)) {
                worst = Some(undone);
            }
        }
        worst.map_or(Ok(()), Err)
    }
}

/// What became of the things that a turn had to do, such as schedules or receivers, by what tells them apart.
#[derive(Debug)]
pub(in crate::pipeline) struct Things<K, E> {
    done: BTreeSet<K>,
    failed: BTreeMap<K, E>,
}

impl<K, E> Default for Things<K, E> {
    fn default() -> Self {
        Self { done: BTreeSet::new(), failed: BTreeMap::new() }
    }
}

impl<K: Ord, E> Things<K, E>
where
    TurnFailure: for<'a> From<&'a E>,
{
    /// Notes what became of one. What it returned; none where it failed.
    pub(in crate::pipeline) fn note<T>(&mut self, thing: K, done: Result<T, E>) -> Option<T> {
        match done {
            Ok(done) => {
                self.done.insert(thing);
                Some(done)
            }
            Err(error) => {
                self.failed.insert(thing, error);
                None
            }
        }
    }

    /// The end of things that say nothing of each other: the loop failed where at least two were to be done, and an
    /// outage of the database kept it from each.
    ///
    /// # Errors
    /// Of one of them, if any failed.
    pub(in crate::pipeline) fn ended(self) -> Result<(), Undone<E>> {
        let is_outage = self.failed.values().all(|error| TurnFailure::from(error).is_outage);
        self.ended_where(2, is_outage)
    }

    /// The end of the loop's own work where it is done for each thing, such as a lease: the loop failed where at least
    /// two were to be done and none was, whatever kept it from them. Where there is one thing `in_all`, it is the
    /// loop's whole work.
    ///
    /// # Errors
    /// Of one of them, if any failed.
    pub(in crate::pipeline) fn leased(self, in_all: usize) -> Result<(), Undone<E>> {
        self.ended_where(in_all.clamp(1, 2), true)
    }

    /// The end of reading what there is to do in parts: the loop failed where none could be read.
    ///
    /// # Errors
    /// Of one of them, if any failed.
    pub(in crate::pipeline) fn read(self) -> Result<(), Undone<E>> {
        self.ended_where(1, true)
    }

    fn ended_where(self, least: usize, is_of_loop: bool) -> Result<(), Undone<E>> {
        let is_all = self.done.is_empty() && self.failed.len() >= least && is_of_loop;
        let Some(error) = self.failed.into_values().next() else { return Ok(()) };
        Err(if is_all { Undone::All(error) } else { Undone::Some(error) })
    }
}

/// How a turn of a loop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum TurnEnd {
    /// It did what there was to do, or there was nothing.
    Good,
    /// It failed.
    Failed(TurnFailure),
    /// It says nothing of what the loop is for: that was not due, or readiness learns of it in other words.
    Skipped,
}

impl TurnEnd {
    /// The end of a turn that only the database can keep from being good.
    pub(in crate::pipeline) fn of<T>(turn: &Result<T, StoreError>) -> Self {
        turn.as_ref().map_or_else(|error| Self::Failed(TurnFailure::of(error)), |_| Self::Good)
    }

    /// The end of a turn that had things to do. One in which only some failed is good.
    pub(in crate::pipeline) fn of_things<T, E>(turn: &Result<T, Undone<E>>) -> Self
    where
        TurnFailure: for<'a> From<&'a E>,
    {
        match turn {
            Err(Undone::All(error)) => Self::Failed(TurnFailure::from(error)),
            Ok(_) | Err(Undone::Some(_)) => Self::Good,
        }
    }

    /// The same of a turn that did not look at everything, and so can't be good by itself.
    pub(in crate::pipeline) fn of_part<T, E>(turn: &Result<T, Undone<E>>) -> Self
    where
        TurnFailure: for<'a> From<&'a E>,
    {
        match Self::of_things(turn) {
            Self::Good => Self::Skipped,
            end => end,
        }
    }

    /// The worse of two parts of a turn.
    pub(in crate::pipeline) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Failed(failure), _) | (_, Self::Failed(failure)) => Self::Failed(failure),
            (Self::Good, _) | (_, Self::Good) => Self::Good,
            (Self::Skipped, Self::Skipped) => Self::Skipped,
        }
    }
}

/// The latest turn of a loop.
#[derive(Clone, Copy, Debug)]
struct Turn {
    at: Instant,
    state: LoopState,
    within: Duration,
}

/// Turns that failed, with no good one between them or since.
#[derive(Clone, Debug)]
struct Failing {
    since: Instant,
    latest: Instant,
    failure: TurnFailure,
}

impl Failing {
    /// Whether it went on for longer than `grace`, and is not what was told as an outage of the database.
    fn is_to_be_told(&self, grace: Duration, outage_told: Option<Instant>) -> bool {
        let is_told = outage_told.is_some_and(|told| self.failure.is_outage && self.latest <= told + SAME_OUTAGE);
        self.latest.saturating_duration_since(self.since) > grace && !is_told
    }
}

/// What is known of a loop.
#[derive(Clone, Debug)]
struct Watched {
    turn: Turn,
    failing: Option<Failing>,
}

/// The loops of a service and their latest turns. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(in crate::pipeline) struct Watchdog {
    loops: Arc<Mutex<BTreeMap<&'static str, Watched>>>,
}

impl Watchdog {
    /// Watches a loop from now on.
    pub(in crate::pipeline) fn watch(&self, name: &'static str) -> Heartbeat {
        self.loops().remove(name);
        let heartbeat = Heartbeat { name, watchdog: self.clone() };
        heartbeat.wait(TurnEnd::Skipped, Duration::ZERO);
        heartbeat
    }

    /// Every loop by its name, as it is at `now`. One is stuck whose turn is overdue by more than `grace`, and failing
    /// where each turn failed for longer than that. `outage_told`: when an outage of the database was told last.
    pub(in crate::pipeline) fn status(
        &self,
        now: Instant,
        grace: Duration,
        outage_told: Option<Instant>,
    ) -> Vec<LoopStatus> {
        let status = |(name, Watched { turn, failing }): (&&'static str, &Watched)| {
            let since = now.saturating_duration_since(turn.at);
            let failing = failing.as_ref();
            let failing_for = |one: &Failing| one.latest.saturating_duration_since(one.since);
            LoopStatus {
                name,
                state: turn.state,
                last_turn_s: seconds(since),
                next_turn_s: seconds(turn.within),
                is_stuck: since > turn.within.saturating_add(grace) && !off(Remedy::Watchdog),
                failing_s: failing.map_or(0.0, |one| seconds(failing_for(one))),
                is_failing: failing.is_some_and(|one| one.is_to_be_told(grace, outage_told)) && !off(Remedy::Watchdog),
                error: failing.map(|one| one.failure.why.clone()),
            }
        };
        self.loops().iter().map(status).collect()
    }

    fn turned(&self, name: &'static str, turn: Turn) {
        self.loops().entry(name).or_insert(Watched { turn, failing: None }).turn = turn;
    }

    fn ended(&self, name: &'static str, at: Instant, end: TurnEnd) {
        let mut loops = self.loops();
        let Some(watched) = loops.get_mut(name) else { return };
        match end {
            TurnEnd::Good => watched.failing = None,
            TurnEnd::Skipped => {}
            TurnEnd::Failed(failure) => {
                let since = watched.failing.as_ref().map_or(at, |failing| failing.since);
                watched.failing = Some(Failing { since, latest: at, failure });
            }
        }
    }

    fn loops(&self) -> MutexGuard<'_, BTreeMap<&'static str, Watched>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a loop tells that it turns. Cloning shares it.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Heartbeat {
    name: &'static str,
    watchdog: Watchdog,
}

impl Heartbeat {
    /// A turn is over, and ended in this way; the next one comes within a time.
    pub(in crate::pipeline) fn wait(&self, end: TurnEnd, within: Duration) {
        self.turned(Instant::now(), LoopState::Waiting, within);
        self.ended(end);
    }

    /// Work begins or goes on, and ends or says so again within a time.
    pub(in crate::pipeline) fn work(&self, within: Duration) {
        self.work_since(Instant::now(), within);
    }

    /// Work that began at a time ends within another.
    pub(in crate::pipeline) fn work_since(&self, began: Instant, within: Duration) {
        self.turned(began, LoopState::Working, within);
    }

    /// A part of the work ended in this way, and the turn goes on.
    pub(in crate::pipeline) fn ended(&self, end: TurnEnd) {
        self.watchdog.ended(self.name, Instant::now(), end);
    }

    /// Watches something else that this loop answers for.
    pub(in crate::pipeline) fn beside(&self, name: &'static str) -> Self {
        self.watchdog.watch(name)
    }

    fn turned(&self, at: Instant, state: LoopState, within: Duration) {
        self.watchdog.turned(self.name, Turn { at, state, within });
    }
}

/// Does work to its end. Begins it again after a panic, which counts as a turn that failed.
pub(in crate::pipeline) async fn restarted<F: Future<Output = ()>>(heartbeat: Heartbeat, work: impl Fn() -> F) {
    while AssertUnwindSafe(work()).catch_unwind().await.is_err() {
        tracing::error!(name = heartbeat.name, "a loop of this host panicked; it is restarted");
        heartbeat.wait(TurnEnd::Failed(TurnFailure::panicked()), RETRY_AFTER);
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Seconds, to the millisecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    type Turn = Result<(), Undone<StoreError>>;

    fn stuck(watchdog: &Watchdog, at: Instant) -> Vec<&'static str> {
        let status = watchdog.status(at, SECOND * 60, None);
        status.iter().filter(|status| status.problem().is_some()).map(|status| status.name).collect()
    }

    #[test]
    fn a_loop_is_stuck_that_said_nothing_for_longer_than_it_waits_or_works() {
        let (watchdog, now) = (Watchdog::default(), Instant::now());
        let (scheduler, archive) = (watchdog.watch("scheduler"), watchdog.watch("archive"));
        scheduler.turned(now, LoopState::Waiting, SECOND);
        archive.turned(now, LoopState::Working, SECOND * 3_600);
        assert_eq!(stuck(&watchdog, now + SECOND * 61), [""; 0]);
        assert_eq!(stuck(&watchdog, now + SECOND * 62), ["scheduler"]);
        let said = watchdog.status(now + SECOND * 62, SECOND * 60, None).pop().and_then(|status| status.problem());
        let said = said.expect("it is stuck");
        assert!(said.starts_with("the loop 'scheduler' is stuck: its last turn was 62 s ago"), "{said}");
        assert_eq!(stuck(&watchdog, now + SECOND * 3_661), ["archive", "scheduler"]);

        scheduler.turned(now + SECOND * 62, LoopState::Waiting, SECOND);
        assert_eq!(stuck(&watchdog, now + SECOND * 63), [""; 0], "it turns again");
    }

    #[test]
    fn work_counts_from_when_it_began() {
        let (watchdog, now) = (Watchdog::default(), Instant::now());
        let batches = watchdog.watch("workers").beside("batches");
        let began = now + SECOND;
        for seconds in [10, 200, 361] {
            // As often as it is told: what counts is when it began.
            batches.work_since(began, SECOND * 300);
            assert!(!stuck(&watchdog, now + SECOND * seconds).contains(&"batches"), "{seconds}");
        }
        assert!(stuck(&watchdog, now + SECOND * 362).contains(&"batches"));
        assert!(watchdog.status(now, SECOND, None)[0].last_turn_s <= 0.0, "a time before the turn");
    }

    #[test]
    fn a_loop_fails_whose_turns_all_failed_for_long_and_none_that_had_nothing_to_do() {
        let (watchdog, now) = (Watchdog::default(), Instant::now());
        watchdog.watch("archive");
        let failed = |why: &str| TurnEnd::Failed(TurnFailure::told(why));
        let end = |second: u32, end: TurnEnd| watchdog.ended("archive", now + SECOND * second, end);
        let told = || watchdog.status(now, SECOND * 60, None).pop().and_then(|status| status.problem());
        end(0, failed("no right"));
        assert_eq!(told(), None, "once");
        end(60, failed("no right"));
        assert_eq!(told(), None, "not for longer than a minute");
        // What was not due, or is told in other words, makes it neither better nor worse.
        end(61, TurnEnd::Skipped);
        end(62, failed("still no right"));
        let said = told().expect("it fails");
        assert_eq!(said, "the loop 'archive' has failed at each turn for 62 s, and tries again: still no right");
        end(63, TurnEnd::Good);
        assert_eq!(told(), None, "there was nothing to do, or it was done");
        end(200, failed("again"));
        assert_eq!(told(), None, "it counts from the first one since then");
    }

    #[test]
    fn one_thing_of_many_and_any_number_that_no_outage_is_why_for_fail_no_turn() {
        let outage = || StoreError::NoAnswer { what: "a test", seconds: 1 };
        let of_row = || StoreError::Unreadable { column: "id".to_owned(), problem: "a test".to_owned() };
        let turn = |ends: Vec<Result<(), StoreError>>, end: fn(Things<usize, StoreError>) -> Turn| {
            let mut things = Things::default();
            for (thing, done) in ends.into_iter().enumerate() {
                things.note(thing, done);
            }
            TurnEnd::of_things(&end(things))
        };
        let is_failed = |end: TurnEnd| matches!(end, TurnEnd::Failed(_));
        assert_eq!(turn(Vec::new(), Things::ended), TurnEnd::Good);
        assert_eq!(turn(vec![Err(outage())], Things::ended), TurnEnd::Good, "one thing");
        assert_eq!(turn(vec![Err(outage()), Ok(()), Err(outage())], Things::ended), TurnEnd::Good, "one was done");
        assert_eq!(turn(vec![Err(of_row()), Err(outage())], Things::ended), TurnEnd::Good, "one is why by itself");
        assert!(is_failed(turn(vec![Err(outage()), Err(outage())], Things::ended)));

        let leased = |things: Things<usize, StoreError>| things.leased(9);
        assert_eq!(turn(vec![Err(of_row())], leased), TurnEnd::Good, "one thing of many");
        assert_eq!(turn(vec![Err(of_row()), Ok(())], leased), TurnEnd::Good);
        assert!(is_failed(turn(vec![Err(of_row()), Err(of_row())], leased)), "nothing is leased");
        assert!(is_failed(turn(vec![Err(of_row())], |things| things.leased(1))), "the only thing there is");
        assert_eq!(turn(vec![Ok(())], |things| things.leased(1)), TurnEnd::Good);
        assert_eq!(turn(Vec::new(), |things| things.leased(1)), TurnEnd::Good, "it had nothing to lease");

        assert_eq!(turn(vec![Err(of_row()), Ok(())], Things::read), TurnEnd::Good);
        assert!(is_failed(turn(vec![Err(of_row())], Things::read)), "nothing is known of what there is to do");

        let worst = Undone::worst([Ok(()), Err(Undone::Some(of_row())), Err(Undone::All(outage()))]);
        assert!(is_failed(TurnEnd::of_things(&worst)));
        let part: Turn = Err(Undone::Some(of_row()));
        assert_eq!(TurnEnd::of_part(&part), TurnEnd::Skipped, "it does not make up for a turn that failed");
    }

    #[test]
    fn an_outage_that_is_told_is_not_told_by_each_loop() {
        let (watchdog, now) = (Watchdog::default(), Instant::now());
        watchdog.watch("archive");
        let end = |second: u32, is_outage: bool| {
            let failure = TurnFailure { why: "no answer".to_owned(), is_outage };
            watchdog.ended("archive", now + SECOND * second, TurnEnd::Failed(failure));
        };
        let is_failing = |told: u32| {
            watchdog.status(now, SECOND * 60, Some(now + SECOND * told)).iter().any(|status| status.is_failing)
        };
        end(0, true);
        end(330, true);
        assert!(!is_failing(330) && !is_failing(900), "also while the loop rests after its end");
        assert!(is_failing(100), "it is of this loop alone");
        end(331, false);
        assert!(is_failing(331), "it is no outage");
    }

    #[test]
    fn a_part_that_failed_is_not_made_good_by_another() {
        let failed = TurnEnd::Failed(TurnFailure::panicked());
        for other in [TurnEnd::Good, TurnEnd::Skipped] {
            assert_eq!(failed.clone().and(other.clone()), failed);
            assert_eq!(other.and(failed.clone()), failed);
        }
        assert_eq!(TurnEnd::Skipped.and(TurnEnd::Good), TurnEnd::Good);
    }
}
