//! What the loops of a service share: the capability each works with, as it is configured now, and the signals between
//! them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::pipeline::error::with_causes;
use crate::pipeline::watchdog::{Heartbeat, LoopStatus, TurnEnd, Watchdog};
use backline_store::{KnownHost, StoreError};

pub(in crate::pipeline) use crate::pipeline::watchdog::RETRY_AFTER;

/// A host is taken for dead when it was last seen longer ago than this: five beats.
const GONE_AFTER: TimeDelta = TimeDelta::seconds(10);

/// How far ahead of this host's clock another one may have been seen: clocks differ by less. More was reported while a
/// clock was ahead, and says nothing of now.
const AHEAD_MAX: TimeDelta = TimeDelta::minutes(1);

/// Whether a host was seen lately.
#[must_use]
pub fn is_present(host: &KnownHost, now: DateTime<Utc>) -> bool {
    is_recent(host.seen_at, now)
}

/// Whether a host that last reported at that time still counts as present.
pub(in crate::pipeline) fn is_recent(seen_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let since = now - seen_at;
    (-AHEAD_MAX..=GONE_AFTER).contains(&since)
}

/// What a loop works with: one capability `T`, the configuration in force, and the service's signals.
///
/// A loop asks for [`current`](Self::current) before each piece of work, so that a reloaded configuration applies to
/// the next piece.
pub(in crate::pipeline) struct ServiceContext<T> {
    current: Arc<dyn Fn() -> T + Send + Sync>,
    config: Arc<dyn Fn() -> Arc<Config> + Send + Sync>,
    /// This host's name in leases and in the list of hosts.
    pub name: Arc<str>,
    /// Cancelled when the service is to stop: no loop starts new work after that.
    pub stop: CancellationToken,
    /// Notified when there may be batches to lease.
    pub work: Arc<Notify>,
    /// Notified when a first collection may be pending.
    pub activations: Arc<Notify>,
    /// Notified when other releases may have to be loaded.
    pub releases: Arc<Notify>,
    /// Notified when there may be events to deliver.
    pub events: Arc<Notify>,
    /// When the service was started.
    pub started_at: DateTime<Utc>,
    /// The problems that the loops found.
    pub condition: Arc<Condition>,
    /// Whether the loops turn.
    watchdog: Watchdog,
    /// The same of what the host runs, whether or not it serves.
    of_host: Watchdog,
    /// How this loop tells that it does.
    pub heartbeat: Heartbeat,
}

impl<T> ServiceContext<T> {
    /// The context of a service started at `started_at`, on a host whose own servers are watched; `current` and
    /// `config` are called for each piece of work.
    pub(in crate::pipeline) fn new(
        name: Arc<str>,
        started_at: DateTime<Utc>,
        of_host: Watchdog,
        current: impl Fn() -> T + Send + Sync + 'static,
        config: impl Fn() -> Arc<Config> + Send + Sync + 'static,
    ) -> Self {
        // Nobody waits for a turn of what is no loop.
        let heartbeat = Watchdog::default().watch("service");
        Self {
            current: Arc::new(current),
            config: Arc::new(config),
            name,
            stop: CancellationToken::new(),
            work: Arc::default(),
            activations: Arc::default(),
            releases: Arc::default(),
            events: Arc::default(),
            started_at,
            condition: Arc::default(),
            watchdog: Watchdog::default(),
            of_host,
            heartbeat,
        }
    }

    /// The same context for a loop that is watched under a name.
    pub(in crate::pipeline) fn watched(mut self, name: &'static str) -> Self {
        self.heartbeat = self.watchdog.watch(name);
        self
    }

    /// Every loop with its latest turn, by name.
    pub(in crate::pipeline) fn loops(&self) -> Vec<LoopStatus> {
        let grace = Duration::from_millis(self.config().service.stuck_after_ms);
        let (now, outage_told) = (Instant::now(), self.condition.outage_told());
        let status = |watchdog: &Watchdog| watchdog.status(now, grace, outage_told);
        let mut all = [status(&self.watchdog), status(&self.of_host)].concat();
        all.sort_by_key(|status| status.name);
        all
    }

    /// What keeps this host from working: what its loops found, and those that are stuck or fail.
    pub(in crate::pipeline) fn problems(&self) -> Vec<String> {
        let mut problems = self.condition.problems();
        problems.extend(self.loops().iter().filter_map(LoopStatus::problem));
        problems
    }

    /// The capability as it is configured now.
    pub(in crate::pipeline) fn current(&self) -> T {
        (self.current)()
    }

    /// The configuration in force.
    pub(in crate::pipeline) fn config(&self) -> Arc<Config> {
        (self.config)()
    }

    /// The interval at which the database is asked for work without a notification.
    pub(in crate::pipeline) fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.config().service.poll_ms)
    }

    /// Ends a turn, which went as `end` says: waits for `time`, or until the service is to stop.
    pub(in crate::pipeline) async fn rest(&self, end: TurnEnd, time: Duration) {
        self.heartbeat.wait(end, time);
        let _ = self.stop.run_until_cancelled(tokio::time::sleep(time)).await;
    }

    /// The same context for a loop that works with a part of `T`.
    pub(in crate::pipeline) fn part<U>(&self, part: impl Fn(T) -> U + Send + Sync + 'static) -> ServiceContext<U>
    where
        T: 'static,
    {
        let current = Arc::clone(&self.current);
        ServiceContext {
            current: Arc::new(move || part(current())),
            config: Arc::clone(&self.config),
            name: Arc::clone(&self.name),
            stop: self.stop.clone(),
            work: Arc::clone(&self.work),
            activations: Arc::clone(&self.activations),
            releases: Arc::clone(&self.releases),
            events: Arc::clone(&self.events),
            started_at: self.started_at,
            condition: Arc::clone(&self.condition),
            watchdog: self.watchdog.clone(),
            of_host: self.of_host.clone(),
            heartbeat: self.heartbeat.clone(),
        }
    }
}

impl<T: 'static> Clone for ServiceContext<T> {
    fn clone(&self) -> Self {
        self.part(|current| current)
    }
}

/// What keeps this host from working, as far as its loops have found out.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Condition {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    not_loaded: Vec<String>,
    name_taken: bool,
    unwritten: Option<String>,
    role_lost: Option<String>,
    clock_jumped: Option<String>,
    /// When it was told last that the database as a whole does not work.
    outage_told: Option<Instant>,
}

impl Condition {
    /// Every problem, each with what to do about it.
    pub(in crate::pipeline) fn problems(&self) -> Vec<String> {
        let found = self.found();
        let taken = "another host uses the same name; give each a service.name of its own".to_owned();
        let not_loaded = found.not_loaded.iter().cloned();
        let (unwritten, role_lost) = (found.unwritten.clone(), found.role_lost.clone());
        let others = [found.name_taken.then_some(taken), unwritten, role_lost, found.clock_jumped.clone()];
        not_loaded.chain(others.into_iter().flatten()).collect()
    }

    /// Records why this host can't write to the database; none where it just did.
    pub(in crate::pipeline) fn unwritten(&self, error: Option<&StoreError>) {
        if error.is_some() {
            self.tell_outage();
        }
        self.found().unwritten = error.map(|error| match error.unwritable() {
            Some(why) => why.to_owned(),
            None => format!("this host can't report that it is present: {}", with_causes(error)),
        });
    }

    /// Records why the scheduler's role can neither be taken nor renewed; none where it is held, by whichever host.
    pub(in crate::pipeline) fn role_lost(&self, error: Option<&StoreError>) {
        self.found().role_lost = error
            .map(|error| format!("no run is planned by this host: its role can't be renewed ({})", with_causes(error)));
    }

    /// Records how far this machine's clock is ahead of the database's since it jumped, or behind it where that is
    /// negative; none where it is right. Returns whether anything was recorded before.
    pub(in crate::pipeline) fn clock_jumped(&self, ahead: Option<TimeDelta>) -> bool {
        let told = ahead.map(|ahead| {
            let which = if ahead < TimeDelta::zero() { "behind" } else { "ahead of" };
            let seconds = ahead.num_seconds().abs();
            format!(
                "this machine's clock jumped and is {seconds} s {which} the database's: this host collects, plans and \
                 refreshes nothing until it is right; set it by NTP"
            )
        });
        std::mem::replace(&mut self.found().clock_jumped, told).is_some()
    }

    /// Records that readiness says now that the database as a whole does not work.
    pub(in crate::pipeline) fn tell_outage(&self) {
        self.found().outage_told = Some(Instant::now());
    }

    /// When that was said last.
    pub(in crate::pipeline) fn outage_told(&self) -> Option<Instant> {
        self.found().outage_told
    }

    /// Replaces the list of connectors that can't be loaded here.
    pub(in crate::pipeline) fn not_loaded(&self, problems: Vec<String>) {
        self.found().not_loaded = problems;
    }

    /// Records whether another host uses this host's name. Returns what was recorded before.
    pub(in crate::pipeline) fn name_taken(&self, taken: bool) -> bool {
        std::mem::replace(&mut self.found().name_taken, taken)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_present_that_was_seen_lately_and_not_in_a_future_that_a_clock_made_up() {
        let now = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
        let seen = |seconds| is_recent(now + TimeDelta::seconds(seconds), now);
        for seconds in [-10, -1, 0, 1, 60] {
            assert!(seen(seconds), "{seconds}");
        }
        for seconds in [-11, 61, 3_600, 40 * 86_400] {
            assert!(!seen(seconds), "{seconds}");
        }
        assert!(!is_recent(DateTime::<Utc>::MAX_UTC, now) && !is_recent(DateTime::<Utc>::MIN_UTC, now));
    }
}
