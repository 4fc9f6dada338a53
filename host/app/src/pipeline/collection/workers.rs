//! Workers: they lease batches, collect several at once, and hand back those they can't finish.
//!
//! The same pool serves `backline run`, where it processes one run and exits when the run has no work left, and
//! `backline serve`, where it processes all open batches until it is told to stop.
//! [`dispatch`](crate::pipeline::collection::dispatch) decides which platform is next; the database decides which batch
//! of that platform. A pool sleeps until a batch ends, it is notified, the next batch is due, or the poll interval is
//! over.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::pipeline::collection::budgets;
use crate::pipeline::collection::collect::collect_or_give_back;
use crate::pipeline::collection::collect_error::CollectError;
use crate::pipeline::collection::collector::{BatchReport, Collector, turn_of};
use crate::pipeline::collection::dispatch::{Bounds, Dispatch, Signal, Ticket};
use crate::pipeline::collection::run_ends::{RunEnds, UnderWay};
use crate::pipeline::collection::waiting::{self, WaitLimits};
use crate::pipeline::context::{RETRY_AFTER, ServiceContext};
use crate::pipeline::watchdog::{Heartbeat, TurnEnd, Undone};
use crate::telemetry::BatchEnd;
use backline_model::kill_points::{Point, point};
use backline_model::run::RunCounts;
use backline_model::{BatchState, Lease, Platform, Run, RunId};
use backline_store::{Listener, Scope, Store, StoreError};

/// Shortest wait before the database is asked for batches again: one that another host is just leasing still looks
/// free.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(20);

/// The same while batches are under way here, which wake the pool by themselves as they end.
const LOOK_WHILE_BUSY_MIN: Duration = Duration::from_millis(200);

/// The same where a batch is due already, unless the poll interval is shorter: nearly always it waits for one of those
/// under way here to end. Else another host has just let go of it, or another one behind it falls due.
const LOOK_WHILE_DUE: Duration = Duration::from_secs(1);

/// How long after a notification the database is asked: many hosts at work notify this one often.
const NOTIFICATION_WAIT: Duration = Duration::from_millis(100);

/// How long batches that are under way after the deadline may take to be given up and handed back: a busy database
/// needs more than a moment, and a service ends its loops 3 s after the deadline.
const HAND_BACK_WITHIN: Duration = Duration::from_millis(2_500);

/// Part of that time in which aborted batches may end by themselves.
const LET_GO_WITHIN: Duration = Duration::from_millis(300);

/// Idle time after which a pool gives back the units of budgets that it holds: other hosts may need them.
const SETTLE_AFTER: Duration = Duration::from_secs(5);

/// Shortest time that belongs to other batches after one that ran alone.
const LONE_PAUSE_MIN: Duration = Duration::from_secs(1);

/// Time that belongs to other batches after the database has refused to lease one that has to run alone. It is tried
/// before that where nothing is under way.
const LONE_REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// Consecutive database failures after which a pool for one run gives up. A service never does.
const FAILURES_MAX: u32 = 5;

/// Processes open batches until the service stops.
pub(in crate::pipeline) async fn serve(context: ServiceContext<Collector>) {
    let collectors = {
        let context = context.clone();
        move || context.current()
    };
    let mut pool = WorkerPool::new(Arc::new(collectors), None, context.stop, context.work);
    pool.heartbeats = Some((context.heartbeat.beside("batches"), context.heartbeat));
    // Without a run to end, only a stop ends the work.
    if let Err(error) = pool.work(|_| {}).await {
        tracing::error!(%error, "a batch could not be given back; it is leased again when its lease expires");
    }
}

/// What the database did not do, while it is asked for what else there is.
#[derive(Default)]
struct Refusals {
    first: Option<StoreError>,
    outages: u32,
    /// Whether a question about all platforms was refused.
    is_of_all: bool,
    /// Whether it answered when a platform was to be leased.
    has_leased: bool,
    /// Platforms that could not be leased.
    refused: BTreeSet<Platform>,
    /// Whether no other platform collects than one.
    is_single: bool,
}

impl Refusals {
    /// What the database answered to a question about all platforms; none where it refused, which is kept.
    ///
    /// # Errors
    /// Where it would refuse everything else too: once, that may be about what was asked, such as a lock.
    fn passed<T>(&mut self, answered: Result<T, StoreError>) -> Result<Option<T>, Undone<StoreError>> {
        self.is_of_all |= answered.is_err();
        self.kept(answered)
    }

    /// The same where a platform was to be leased.
    fn leased<T>(
        &mut self,
        platform: &Platform,
        answered: Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, Undone<StoreError>> {
        if answered.is_ok() {
            self.has_leased = true;
        } else {
            self.refused.insert(platform.clone());
        }
        Ok(self.kept(answered)?.flatten())
    }

    /// The same of what one row can keep from all others.
    fn kept<T>(&mut self, answered: Result<T, StoreError>) -> Result<Option<T>, Undone<StoreError>> {
        let error = match answered {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => error,
        };
        self.outages += u32::from(error.is_outage());
        if self.outages > 1 {
            return Err(self.told(error));
        }
        self.first.get_or_insert(error);
        Ok(None)
    }

    /// The first refusal.
    fn ended(mut self) -> Result<(), Undone<StoreError>> {
        self.first.take().map_or(Ok(()), |error| Err(self.told(error)))
    }

    /// Whether the workers failed, or some platforms alone. One that can't be leased says nothing of the others: those
    /// may just have no work.
    fn told(&self, error: StoreError) -> Undone<StoreError> {
        let is_none_leased = match self.refused.len() {
            0 => false,
            1 => self.is_single,
            _ => true,
        };
        if self.is_of_all || !self.has_leased && (is_none_leased || self.outages > 1) {
            Undone::All(error)
        } else {
            Undone::Some(error)
        }
    }
}

/// Running batches, and the decision on the next ones.
pub(in crate::pipeline) struct WorkerPool {
    /// Returns the collector as it is configured now.
    collectors: Arc<dyn Fn() -> Collector + Send + Sync>,
    /// Only batches of this run; all batches if none.
    run: Option<RunId>,
    stop: CancellationToken,
    notified: Arc<Notify>,
    dispatch: Dispatch,
    under_way: JoinSet<Result<BatchReport, CollectError>>,
    held: HashMap<Id, RunningBatch>,
    run_ends: RunEnds,
    /// The batch that runs with nothing beside it, if one does.
    lone: Option<Id>,
    /// Platforms with batches that have to run alone.
    lone_waits: Vec<Platform>,
    /// Batches that run alone don't hold up others before this time.
    lone_after: Instant,
    /// Collectors that may hold units of budgets: one for each configuration under which a batch began since the last
    /// time units were given back.
    unsettled: Vec<Collector>,
    idle_since: Option<Instant>,
    /// Hears of what other hosts write, once a run waits for them.
    listener: Option<Listener>,
    /// Whether a listener was asked for: where there is none, the database is asked in intervals.
    asked_to_listen: bool,
    /// How a service's pool tells that its batches end, and that it turns itself; none of a pool for one run.
    heartbeats: Option<(Heartbeat, Heartbeat)>,
}

/// What is told while batches are worked on.
pub(in crate::pipeline) enum WorkerEvent<'a> {
    /// A batch came to an end here.
    Ended(&'a Platform, &'a BatchReport),
    /// Nothing of the run is left to begin here; these hosts hold the rest.
    Waiting(BTreeSet<String>),
}

/// A running batch.
struct RunningBatch {
    collector: Collector,
    lease: Lease,
    ticket: Ticket,
    began: Instant,
}

/// The result of asking the database for work.
enum Poll {
    /// Ask again at this time, at the latest.
    Again(Instant),
    /// The same; until then nothing is left to begin, and these hosts are at work on the rest of the run.
    Held(Instant, BTreeSet<String>),
    /// Nothing is left of the run that is worth waiting for.
    Finished,
    /// The clock has jumped, and the pool is for one run.
    ClockJumped,
}

impl WorkerPool {
    /// A pool for one run.
    pub(in crate::pipeline) fn of_run(collector: Collector, run: RunId, stop: CancellationToken) -> Self {
        Self::new(Arc::new(move || collector.clone()), Some(run), stop, Arc::default())
    }

    fn new(
        collectors: Arc<dyn Fn() -> Collector + Send + Sync>,
        run: Option<RunId>,
        stop: CancellationToken,
        notified: Arc<Notify>,
    ) -> Self {
        let dispatch = Dispatch::new(bounds(&collectors().config));
        let (under_way, held, unsettled) = (JoinSet::new(), HashMap::new(), Vec::new());
        let run_ends = RunEnds::default();
        let (lone, lone_waits, lone_after) = (None, Vec::new(), Instant::now());
        let (idle_since, listener, asked_to_listen, heartbeats) = (None, None, false, None);
        Self {
            collectors,
            run,
            stop,
            notified,
            dispatch,
            under_way,
            held,
            run_ends,
            lone,
            lone_waits,
            lone_after,
            unsettled,
            idle_since,
            listener,
            asked_to_listen,
            heartbeats,
        }
    }

    /// Works until told to stop, or until nothing is left of the run: batches that other hosts hold are waited for, and
    /// taken over here once their leases have expired.
    ///
    /// # Errors
    /// Of a pool of one run: the first error that kept a batch from being ended or given back, or the database's, after
    /// several in a row.
    /// What could be collected is stored all the same.
    pub(in crate::pipeline) async fn work(
        &mut self,
        mut tell: impl FnMut(WorkerEvent<'_>),
    ) -> Result<(), CollectError> {
        let mut failure = None;
        let (mut look, mut look_at, mut failures) = (true, Instant::now(), 0);
        let mut stop_by = None;
        // What one batch of a run can't write, the others can't write either.
        let is_of_run = self.run.is_some();
        let is_in_vain =
            |failure: &Option<CollectError>| is_of_run && failure.as_ref().is_some_and(CollectError::is_unwritable);
        while !self.stop.is_cancelled() && !is_in_vain(&failure) {
            let collector = (self.collectors)();
            self.tell_turn(TurnEnd::Skipped, Duration::ZERO);
            look |= self.under_way.is_empty();
            let (stop, grace) = (self.stop.clone(), stop_deadline(&collector));
            // On the heap: without optimisation, each caller's frame holds it several times.
            let taking_up = Box::pin(self.take_up(&collector, look, failure.is_some()));
            let looked = tokio::select! {
                looked = taking_up => looked,
                // A database that does not answer must not hold up the end.
                () = async { stop.cancelled().await; tokio::time::sleep(grace).await } => {
                    stop_by = Some(Instant::now());
                    break;
                }
            };
            let end = match &looked {
                Ok(Some(_)) => TurnEnd::Good,
                // The database was not asked for everything.
                looked if !look => TurnEnd::of_part(looked),
                looked => TurnEnd::of_things(looked),
            };
            match looked {
                Ok(Some(Poll::Finished)) => break,
                Ok(Some(Poll::ClockJumped)) => {
                    failure.get_or_insert(CollectError::Clock);
                    break;
                }
                Ok(Some(Poll::Again(at))) => (look_at, failures) = (at, 0),
                Ok(Some(Poll::Held(at, holders))) => {
                    (look_at, failures) = (at, 0);
                    tell(WorkerEvent::Waiting(holders));
                }
                Ok(None) => {}
                Err(undone) => {
                    let error = undone.into_error();
                    // What is under way may end, and others of the run after it.
                    failures = if self.under_way.is_empty() { failures + 1 } else { 0 };
                    tracing::warn!(%error, "not all batches can be leased; the database is asked again");
                    if self.run.is_some() && failures == FAILURES_MAX {
                        failure = failure.or(Some(error.into()));
                        break;
                    }
                    look_at = Instant::now() + RETRY_AFTER;
                }
            }
            self.settle_when_idle().await;
            look = false;
            self.tell_turn(end, look_at.saturating_duration_since(Instant::now()));
            tokio::select! {
                Some(joined) = self.under_way.join_next_with_id() => {
                    let mut joined = Some(joined);
                    while let Some(one) = joined {
                        look |= self.ended(one, &mut failure, &mut tell);
                        joined = self.under_way.try_join_next_with_id();
                    }
                }
                () = self.notified.notified() => look = true,
                () = database_notified(&mut self.listener) => look_at = look_at.min(Instant::now() + NOTIFICATION_WAIT),
                () = tokio::time::sleep_until(look_at) => look = true,
                () = self.stop.cancelled() => {}
            }
        }
        let by = stop_by.unwrap_or_else(|| Instant::now() + stop_deadline(&(self.collectors)()));
        self.end_by(by, &mut failure, &mut tell).await;
        failure.map_or(Ok(()), Err)
    }

    /// Tells that the pool turns, how the turn went, and since when its oldest batch is under way: each has its
    /// deadline.
    fn tell_turn(&self, end: TurnEnd, wait: Duration) {
        let Some((batches, pool)) = &self.heartbeats else { return };
        pool.wait(end, wait);
        match self.held.values().min_by_key(|held| held.began) {
            Some(RunningBatch { collector, began, .. }) => {
                // Beside its deadline: half of it for credentials, and as long again for those whose room it waits for.
                let deadline = Duration::from_millis(collector.config.collection.batch_deadline_ms).saturating_mul(3);
                batches.work_since(*began, deadline);
            }
            None => batches.wait(TurnEnd::Good, wait),
        }
    }

    /// Leases and begins as many batches as may be under way. With `look`, the database is first asked which platforms
    /// have work.
    ///
    /// # Errors
    /// The first that the database has returned: of what concerns one platform, or one of the questions, the others are
    /// leased and asked all the same.
    async fn take_up(
        &mut self,
        collector: &Collector,
        look: bool,
        failed: bool,
    ) -> Result<Option<Poll>, Undone<StoreError>> {
        let (store, clock, collection) = (&collector.store, &collector.clock, &collector.config.collection);
        self.dispatch.rebound(bounds(&collector.config));
        if collector.clocks.asked_now().await?.is_none() {
            // Leases and dates would be wrong; other hosts collect meanwhile.
            let again = Poll::Again(Instant::now() + RETRY_AFTER);
            return Ok(Some(if self.run.is_some() { Poll::ClockJumped } else { again }));
        }
        let (all, mut held_up) = (Scope::all_tenants(), Refusals::default());
        if look {
            let woken = store.deferred_batches_wake(&all, &collection.tenant_weights, clock.now());
            held_up.kept(woken.await)?;
            if self.run.is_none()
                && let Some(platforms) = held_up.passed(store.active_platforms_list().await)?
            {
                held_up.is_single = platforms.len() == 1;
                self.dispatch.add_platforms(platforms);
            }
            let mut platforms = store.platforms_with_work_list(&all, self.run, clock.now()).await?;
            // A pool of one run continues even if its platform is blocked, until the attempts are used up.
            platforms.retain(|platform| self.run.is_some() || !collector.cache.is_blocked(platform));
            self.dispatch.work_for(platforms);
        }
        let lease_ttl = Duration::from_millis(collection.lease_ttl_ms);
        if look
            && self.lone.is_none()
            && let Some(mut platforms) = held_up.passed(store.lone_platforms_list(&all, self.run, clock.now()).await)?
        {
            platforms.retain(|platform| self.run.is_some() || !collector.cache.is_blocked(platform));
            self.lone_waits = platforms;
        }
        if self.under_way.is_empty() && Instant::now() >= self.lone_after {
            self.take_up_lone(collector, lease_ttl, &mut held_up).await?;
        }
        while !self.is_for_a_lone_batch()
            && !self.stop.is_cancelled()
            && let Some(platform) = self.dispatch.next()
        {
            // The next turn asks the database which clock is wrong.
            let Some(now) = collector.clocks.right_now() else { return Ok(Some(Poll::Again(Instant::now()))) };
            let lease = store.batch_lease(&all, self.run, Some(&platform), &collector.name, now, lease_ttl);
            match held_up.leased(&platform, lease.await)? {
                Some(lease) => {
                    self.begin(collector, lease);
                }
                None => self.dispatch.nothing_for(&platform),
            }
        }
        if self.under_way.is_empty() {
            self.take_up_lone(collector, lease_ttl, &mut held_up).await?;
        }
        if let Err(undone) = held_up.ended() {
            // It may be of other runs: what is left of this one says so.
            if look
                && self.under_way.is_empty()
                && let Some(run) = self.run
                && matches!(self.rest_of_run(collector, run, failed).await?, Poll::Finished)
            {
                return Ok(Some(Poll::Finished));
            }
            return Err(undone);
        }
        if !look {
            return Ok(None);
        }
        let poll = Duration::from_millis(collector.config.service.poll_ms);
        let until = |at: DateTime<Utc>| (at - clock.now()).to_std().unwrap_or_default();
        let wait = match self.run {
            None => store.next_open_get(&all, clock.now()).await?.map(until),
            Some(run) if self.under_way.is_empty() => return Ok(Some(self.rest_of_run(collector, run, failed).await?)),
            Some(run) => {
                let next = store.next_batch_get(&all, Some(run), None).await?;
                next.map(|at| while_busy(at, clock.now()))
            }
        };
        let wait = wait.map_or(poll, |wait| wait.min(poll).max(LOOK_AGAIN_MIN));
        Ok(Some(Poll::Again(Instant::now() + wait)))
    }

    /// Whether no other batch may begin: one runs that has to be alone, or it is the turn of one, which waits for those
    /// under way. Such batches take at most half of the time while there is other work, so that they don't hold it up.
    fn is_for_a_lone_batch(&self) -> bool {
        self.lone.is_some() || (!self.lone_waits.is_empty() && Instant::now() >= self.lone_after)
    }

    /// Begins a batch that was in the hands of a host when that host ended, if one waits. Nothing must be under way.
    async fn take_up_lone(
        &mut self,
        collector: &Collector,
        lease_ttl: Duration,
        held_up: &mut Refusals,
    ) -> Result<(), Undone<StoreError>> {
        for platform in std::mem::take(&mut self.lone_waits) {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let (scope, Some(now)) = (Scope::all_tenants(), collector.clocks.right_now()) else { return Ok(()) };
            let lease = collector.store.lone_batch_lease(&scope, self.run, &platform, &collector.name, now, lease_ttl);
            let leased = lease.await;
            if leased.as_ref().is_err_and(|error| !error.is_outage()) {
                // Others would wait for it at each look, and it may be refused each time.
                self.lone_after = Instant::now() + LONE_REFUSED_PAUSE;
            }
            if let Some(lease) = held_up.leased(&platform, leased)? {
                self.dispatch.add_platforms([platform]);
                self.lone = Some(self.begin(collector, lease));
                return Ok(());
            }
        }
        Ok(())
    }

    /// What is left of the run while nothing of it is under way here. What one of this host's own batches failed to
    /// give back is not waited for; neither, then, is what others hold.
    async fn rest_of_run(&mut self, collector: &Collector, run: RunId, failed: bool) -> Result<Poll, StoreError> {
        let Some(now) = collector.clocks.right_now() else { return Ok(Poll::Again(Instant::now())) };
        let limits = WaitLimits::of(&collector.config.collection);
        let mut open = collector.store.run_open_batches_list(&Scope::all_tenants(), run).await?;
        open.retain(|open| limits.awaits(open, now) && !(failed && open.state == BatchState::Leased));
        let Some(next) = open.iter().map(|open| open.available_at).min() else { return Ok(Poll::Finished) };
        let poll = Duration::from_millis(collector.config.service.poll_ms);
        let wait = (next - now).to_std().unwrap_or_default().min(poll).max(LOOK_AGAIN_MIN);
        let holders = waiting::holders(&open);
        if holders.is_empty() {
            return Ok(Poll::Again(Instant::now() + wait));
        }
        if std::mem::replace(&mut self.asked_to_listen, true) {
            return Ok(Poll::Held(Instant::now() + wait, holders));
        }
        match collector.store.listener().await {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => {
                tracing::warn!(%error, "no notifications from the database; it is asked in intervals instead");
            }
        }
        // What happened before it listened was not heard.
        Ok(Poll::Held(Instant::now() + LOOK_AGAIN_MIN, holders))
    }

    fn begin(&mut self, collector: &Collector, lease: Lease) -> Id {
        let platform = lease.batch.platform.clone();
        let ticket = self.dispatch.begun(&platform);
        self.tell_concurrency(collector, &platform);
        if !self.unsettled.iter().any(|known| Arc::ptr_eq(&known.config, &collector.config)) {
            self.unsettled.push(collector.clone());
        }
        self.idle_since = None;
        let of_run = self.run_ends.begun(lease.batch.run_id);
        let task = self.under_way.spawn(attend(collector.clone(), lease.clone(), of_run));
        let id = task.id();
        self.held.insert(id, RunningBatch { collector: collector.clone(), lease, ticket, began: Instant::now() });
        id
    }

    /// Records the end of a batch. Returns whether there may be new work because of it.
    fn ended(
        &mut self,
        joined: Result<(Id, Result<BatchReport, CollectError>), JoinError>,
        failure: &mut Option<CollectError>,
        tell: &mut impl FnMut(WorkerEvent<'_>),
    ) -> bool {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(CollectError::Worker(error.to_string()))),
        };
        let Some(held) = self.held.remove(&id) else { return true };
        let was_lone = self.lone.take_if(|lone| *lone == id).is_some();
        if was_lone {
            self.lone_after = Instant::now() + held.began.elapsed().max(LONE_PAUSE_MIN);
        }
        let platform = &held.lease.batch.platform;
        let telemetry = &held.collector.telemetry;
        let (signal, again) = match result {
            Ok(report) => {
                telemetry.batch_ended(platform, report.end, held.began.elapsed());
                telemetry.accounts_ended(platform, &report.counts, report.requests);
                tell(WorkerEvent::Ended(platform, &report));
                (report.signal(), report.open > 0)
            }
            Err(error) => {
                telemetry.batch_ended(platform, BatchEnd::GivenBack, held.began.elapsed());
                let batch = held.lease.batch.id;
                tracing::error!(%batch, %error, "a batch was not stored; it is collected again when it is free");
                // That nothing can be written ends the run, whatever failed before.
                if self.run.is_some() && (failure.is_none() || error.is_unwritable()) {
                    *failure = Some(error);
                }
                (Signal::Silent, false)
            }
        };
        self.dispatch.ended(platform, held.ticket, signal);
        self.tell_concurrency(&held.collector, platform);
        again || was_lone
    }

    fn tell_concurrency(&self, collector: &Collector, platform: &Platform) {
        let (under_way, limit) = self.dispatch.concurrency(platform);
        collector.telemetry.concurrency(platform, under_way, limit);
    }

    /// Gives unspent units back once no batch has run for a while.
    async fn settle_when_idle(&mut self) {
        if !self.under_way.is_empty() {
            return;
        }
        let idle_since = *self.idle_since.get_or_insert_with(Instant::now);
        if idle_since.elapsed() >= SETTLE_AFTER {
            for collector in std::mem::take(&mut self.unsettled) {
                // What has left the gateway and is not handed back is lost until its reset, so a stop waits for it. A
                // database that does not answer must not hold up the end.
                let stop = self.stop.clone();
                let late = async {
                    stop.cancelled().await;
                    tokio::time::sleep(HAND_BACK_WITHIN).await;
                };
                tokio::select! {
                    () = budgets::settle(&collector.store, &collector.gateway) => {}
                    () = late => tracing::warn!("unused units of budgets are lost until their reset"),
                }
            }
        }
    }

    /// Waits for what is under way; what has not ended by then is aborted and handed back: at once, and without having
    /// used an attempt.
    /// A commit that got through wins: its batch can't be handed back any more.
    async fn end_by(
        &mut self,
        by: Instant,
        failure: &mut Option<CollectError>,
        tell: &mut impl FnMut(WorkerEvent<'_>),
    ) {
        while let Ok(Some(joined)) = tokio::time::timeout_at(by, self.under_way.join_next_with_id()).await {
            self.ended(joined, failure, tell);
        }
        if self.under_way.is_empty() {
            return;
        }
        let now = Instant::now();
        self.under_way.abort_all();
        while let Ok(Some(joined)) =
            tokio::time::timeout_at(now + LET_GO_WITHIN, self.under_way.join_next_with_id()).await
        {
            if !joined.as_ref().is_err_and(JoinError::is_cancelled) {
                self.ended(joined, failure, tell);
            }
        }
        // A task that has not ended yet can't write anything once its batch is handed back: its token is checked.
        let held: Vec<RunningBatch> = self.held.drain().map(|(_, held)| held).collect();
        tracing::info!(batches = held.len(), "running batches are handed back");
        let handed_back = join_all(held.iter().map(hand_back));
        if tokio::time::timeout_at(now + HAND_BACK_WITHIN, handed_back).await.is_err() {
            tracing::error!("batches could not be handed back in time; they are leased again when their leases expire");
        }
    }
}

/// Collects a batch, and ends its run where that was the last one.
async fn attend(collector: Collector, lease: Lease, of_run: UnderWay) -> Result<BatchReport, CollectError> {
    point(Point::BatchLeased);
    let report = collect_or_give_back(&collector, &lease).await?;
    point(Point::BatchReported);
    if of_run.end() {
        end_run_if_done(&collector, lease.batch.run_id).await;
    }
    Ok(report)
}

/// Ends a run where none of its batches is planned or leased. Whichever host stores the last batch does so after its
/// commit, so the last of several at the same time sees the others' batches ended.
async fn end_run_if_done(collector: &Collector, run: RunId) {
    let ended = async {
        if !collector.store.run_is_worked_on(&Scope::all_tenants(), run).await? {
            // By a clock that jumped, the run would end at another time; the scheduler ends it then.
            let Some(now) = collector.clocks.right_now() else { return Ok(()) };
            finish_run(&collector.store, run, now).await?;
        }
        Ok::<_, StoreError>(())
    };
    if let Err(error) = ended.await {
        tracing::warn!(%run, %error, "a run could not be updated; the scheduler will do so");
    }
}

/// Brings a run's status up to date, and logs its end, once.
///
/// # Errors
/// When there is no such run, or the database fails.
pub(in crate::pipeline) async fn finish_run(store: &Store, run: RunId, now: DateTime<Utc>) -> Result<Run, StoreError> {
    let run = store.run_finish(&Scope::all_tenants(), run, now).await?;
    tell_end(&run, now);
    Ok(run)
}

/// As [`finish_run`], but leaves a run alone that another transaction holds: a pass over many runs would wait for
/// each such run in turn.
///
/// # Errors
/// When the database fails.
pub(in crate::pipeline) async fn finish_free_run(
    store: &Store,
    run: RunId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if let Some(run) = store.run_finish_if_free(&Scope::all_tenants(), run, now).await? {
        tell_end(&run, now);
    }
    Ok(())
}

/// Logs the end of a run that ended now.
fn tell_end(run: &Run, now: DateTime<Utc>) {
    if run.finished_at == Some(now) {
        point(Point::RunEnded);
        let RunCounts { planned, collected, failed, deferred, superseded, excluded } = run.counts;
        let (status, trigger) = (run.status.as_str(), &run.trigger);
        tracing::info!(
            run = %run.id, trigger, status, planned, collected, failed, deferred, superseded, excluded, "a run ended"
        );
    }
}

/// Waits for a notification that may be about the run; without a listener, forever.
async fn database_notified(listener: &mut Option<Listener>) {
    let Some(open) = listener else { return std::future::pending().await };
    loop {
        match open.next().await {
            Ok(topic) if waiting::is_about_runs(topic) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "notifications from the database broke off; it is asked in intervals instead");
                *listener = None;
                return;
            }
        }
    }
}

async fn hand_back(held: &RunningBatch) {
    let RunningBatch { collector, lease, began, .. } = held;
    let turn = turn_of(collector, lease, Duration::ZERO);
    match collector.store.batch_release(lease, turn, false).await {
        Ok(()) => collector.telemetry.batch_ended(&lease.batch.platform, BatchEnd::GivenBack, began.elapsed()),
        // It was stored before it let go, or another host has it: this one has to see to the run's end in the first
        // case.
        Err(StoreError::LeaseLost { .. }) => end_run_if_done(collector, lease.batch.run_id).await,
        Err(error) => tracing::error!(batch = %lease.batch.id, %error, "a batch could not be handed back"),
    }
}

/// How long a pool of one run that has batches under way waits before it looks for others, of which the next one is or
/// falls due then.
fn while_busy(next: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    if next <= now { LOOK_WHILE_DUE } else { (next - now).to_std().unwrap_or_default().max(LOOK_WHILE_BUSY_MIN) }
}

fn stop_deadline(collector: &Collector) -> Duration {
    Duration::from_millis(collector.config.service.stop_deadline_ms)
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        batches_max: config.service.batches_max.into(),
        start: config.collection.concurrency.into(),
        max: config.collection.concurrency_max.into(),
        weights: config.collection.platform_weights.clone(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn what_is_due_already_is_not_looked_for_as_often_as_what_falls_due() {
        let now = DateTime::UNIX_EPOCH;
        let wait_ms = |due_in_ms| while_busy(now + TimeDelta::milliseconds(due_in_ms), now).as_millis();
        assert_eq!([-60_000, 0].map(wait_ms), [1_000, 1_000]);
        assert_eq!([1, 199, 201, 5_000].map(wait_ms), [200, 200, 201, 5_000]);
    }
}
