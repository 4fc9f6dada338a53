//! Whether every loop of the service still turns.
//!
//! A loop says how long it waits now, or how long its present work may take, each time it turns. One that has said
//! nothing for longer than that, and `service.stuck_after_ms` more, is stuck: readiness names it. A loop can only be
//! started with a [`Heartbeat`], since the service's `loops.rs` alone starts one.
//!
//! Time here is that of the process, which no change of the machine's clock moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use backline_model::remedies::{Remedy, off};

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
}

impl LoopStatus {
    /// The sentence about a loop that is stuck; none about one that turns.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let Self { name, last_turn_s, next_turn_s, .. } = self;
        self.is_stuck.then(|| {
            format!(
                "the loop '{name}' is stuck: its last turn was {last_turn_s:.0} s ago, and the next was expected \
                 within {next_turn_s:.0} s; check the database's locks and the network, and restart this host if it \
                 stays so"
            )
        })
    }
}

/// The latest turn of a loop.
#[derive(Clone, Copy, Debug)]
struct Turn {
    at: Instant,
    state: LoopState,
    within: Duration,
}

/// The loops of a service and their latest turns. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(in crate::pipeline) struct Watchdog {
    turns: Arc<Mutex<BTreeMap<&'static str, Turn>>>,
}

impl Watchdog {
    /// Watches a loop from now on.
    pub(in crate::pipeline) fn watch(&self, name: &'static str) -> Heartbeat {
        let heartbeat = Heartbeat { name, watchdog: self.clone() };
        heartbeat.wait(Duration::ZERO);
        heartbeat
    }

    /// Every loop by its name, as it is at `now`. One is stuck whose turn is overdue by more than `grace`.
    pub(in crate::pipeline) fn status(&self, now: Instant, grace: Duration) -> Vec<LoopStatus> {
        let status = |(name, turn): (&&'static str, &Turn)| {
            let since = now.saturating_duration_since(turn.at);
            LoopStatus {
                name,
                state: turn.state,
                last_turn_s: seconds(since),
                next_turn_s: seconds(turn.within),
                is_stuck: since > turn.within.saturating_add(grace) && !off(Remedy::Watchdog),
            }
        };
        self.turns().iter().map(status).collect()
    }

    fn turned(&self, name: &'static str, turn: Turn) {
        self.turns().insert(name, turn);
    }

    fn turns(&self) -> MutexGuard<'_, BTreeMap<&'static str, Turn>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a loop tells that it turns. Cloning shares it.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Heartbeat {
    name: &'static str,
    watchdog: Watchdog,
}

impl Heartbeat {
    /// A turn is over; the next one comes within a time.
    pub(in crate::pipeline) fn wait(&self, within: Duration) {
        self.turned(Instant::now(), LoopState::Waiting, within);
    }

    /// Work begins or goes on, and ends or says so again within a time.
    pub(in crate::pipeline) fn work(&self, within: Duration) {
        self.work_since(Instant::now(), within);
    }

    /// Work that began at a time ends within another.
    pub(in crate::pipeline) fn work_since(&self, began: Instant, within: Duration) {
        self.turned(began, LoopState::Working, within);
    }

    /// Watches something else that this loop answers for.
    pub(in crate::pipeline) fn beside(&self, name: &'static str) -> Self {
        self.watchdog.watch(name)
    }

    fn turned(&self, at: Instant, state: LoopState, within: Duration) {
        self.watchdog.turned(self.name, Turn { at, state, within });
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

    fn stuck(watchdog: &Watchdog, at: Instant) -> Vec<&'static str> {
        let status = watchdog.status(at, SECOND * 60);
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
        let said = watchdog.status(now + SECOND * 62, SECOND * 60).pop().and_then(|status| status.problem());
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
        assert!(watchdog.status(now, SECOND)[0].last_turn_s <= 0.0, "a time before the turn");
    }
}
