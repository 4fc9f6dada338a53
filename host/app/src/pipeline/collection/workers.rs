//! The workers: they lease batches, collect several at a time, and hand back what they can't end.
//!
//! One crew serves `backline run` (it works on one run and goes home when nothing of it is left) and `backline serve` (it works on whatever
//! is open until it is told to stop). Which platform comes next is decided by [`dispatch`](crate::pipeline::collection::dispatch), which batch of the platform by
//! the database. A crew sleeps until a batch ends, the bell rings, the next batch falls due, or the poll interval is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::pipeline::collection::budgets;
use crate::pipeline::collection::collect::{self, BatchReport};
use crate::pipeline::collection::dispatch::{Bounds, Dispatch, Signal, Ticket};
use crate::pipeline::service::{RETRY_AFTER, ServiceContext};
use crate::pipeline::{Host, HostError};
use crate::telemetry::BatchEnd;
use backline_model::{Lease, Platform, RunId};
use backline_store::{Scope, StoreError};

/// The least a crew waits before it looks for batches again: one that is just being taken up by another is still seen as free.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(20);

/// How long batches that are under way after the deadline may take to be given up and handed back.
const HAND_BACK_WITHIN: Duration = Duration::from_millis(900);

/// How much of that may pass until they have let go of what they were doing.
const LET_GO_WITHIN: Duration = Duration::from_millis(300);

/// How long a crew has nothing to do before units of allowances that it holds are given back: others may need them.
const SETTLE_AFTER: Duration = Duration::from_secs(5);

/// How often in a row the database may fail before a crew of one run gives up. A service goes on for ever.
const FAILURES_MAX: u32 = 5;

/// Works on whatever is open until the service stops.
pub(in crate::pipeline) async fn serve(context: ServiceContext) {
    let hosts = {
        let context = context.clone();
        move || context.host()
    };
    let mut crew = WorkerPool::new(Arc::new(hosts), None, context.stop, context.work);
    // Without a run to end, only a stop ends the work.
    if let Err(error) = crew.work(|_, _| {}).await {
        tracing::error!(%error, "a batch could not be given back; it is taken up again when its lease has run out");
    }
}

/// Batches under way, and what decides on the next ones.
pub struct WorkerPool {
    /// The host as it is configured now.
    hosts: Arc<dyn Fn() -> Host + Send + Sync>,
    /// Only batches of this run; all where none is given.
    run: Option<RunId>,
    stop: CancellationToken,
    bell: Arc<Notify>,
    dispatch: Dispatch,
    under_way: JoinSet<Result<BatchReport, HostError>>,
    held: HashMap<Id, RunningBatch>,
    /// Hosts that may hold units of allowances: one for each configuration under which a batch was begun since they were last settled.
    unsettled: Vec<Host>,
    idle_since: Option<Instant>,
}

/// A batch under way.
struct RunningBatch {
    host: Host,
    lease: Lease,
    ticket: Ticket,
    began: Instant,
}

/// What a look at the database came to.
enum Poll {
    /// The next look is due then, at the latest.
    Again(Instant),
    /// Nothing is left that this crew could work on.
    Finished,
}

impl WorkerPool {
    /// A crew that works on one run.
    pub fn of_run(host: Host, run: RunId, stop: CancellationToken) -> Self {
        Self::new(Arc::new(move || host.clone()), Some(run), stop, Arc::default())
    }

    fn new(
        hosts: Arc<dyn Fn() -> Host + Send + Sync>,
        run: Option<RunId>,
        stop: CancellationToken,
        bell: Arc<Notify>,
    ) -> Self {
        let dispatch = Dispatch::new(bounds(hosts().config()));
        let (under_way, held, unsettled) = (JoinSet::new(), HashMap::new(), Vec::new());
        Self { hosts, run, stop, bell, dispatch, under_way, held, unsettled, idle_since: None }
    }

    /// Works until told to stop, or until nothing is left of the run. `ended` hears of every batch that came to an end here.
    ///
    /// # Errors
    /// Of a crew of one run: the first error that kept a batch from being ended or given back, or the database's, after several in a row.
    /// What could be collected is stored all the same.
    pub async fn work(&mut self, mut ended: impl FnMut(&Platform, &BatchReport)) -> Result<(), HostError> {
        let mut failure = None;
        let (mut look, mut look_at, mut failures) = (true, Instant::now(), 0);
        let mut stop_by = None;
        while !self.stop.is_cancelled() {
            let host = (self.hosts)();
            look |= self.under_way.is_empty();
            let (stop, grace) = (self.stop.clone(), stop_deadline(&host));
            let looked = tokio::select! {
                looked = self.take_up(&host, look) => looked,
                // A database that does not answer must not hold up the end.
                () = async { stop.cancelled().await; tokio::time::sleep(grace).await } => {
                    stop_by = Some(Instant::now());
                    break;
                }
            };
            match looked {
                Ok(Some(Poll::Finished)) => break,
                Ok(Some(Poll::Again(at))) => (look_at, failures) = (at, 0),
                Ok(None) => {}
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "no batch can be leased; the database is asked again");
                    if self.run.is_some() && failures == FAILURES_MAX {
                        failure = failure.or(Some(error.into()));
                        break;
                    }
                    look_at = Instant::now() + RETRY_AFTER;
                }
            }
            self.settle_when_idle().await;
            look = false;
            tokio::select! {
                Some(joined) = self.under_way.join_next_with_id() => {
                    let mut joined = Some(joined);
                    while let Some(one) = joined {
                        look |= self.ended(one, &mut failure, &mut ended);
                        joined = self.under_way.try_join_next_with_id();
                    }
                }
                () = self.bell.notified() => look = true,
                () = tokio::time::sleep_until(look_at) => look = true,
                () = self.stop.cancelled() => {}
            }
        }
        let by = stop_by.unwrap_or_else(|| Instant::now() + stop_deadline(&(self.hosts)()));
        self.end_by(by, &mut failure, &mut ended).await;
        failure.map_or(Ok(()), Err)
    }

    /// Leases and begins as many batches as may be under way. With a look, the database is asked first for whom there is work.
    async fn take_up(&mut self, host: &Host, look: bool) -> Result<Option<Poll>, StoreError> {
        let (store, clock, collection) = (host.store(), host.clock(), &host.config().collection);
        self.dispatch.rebound(bounds(host.config()));
        if look {
            store.deferred_batches_wake(&Scope::all_tenants(), &collection.tenant_weights, clock.now()).await?;
            if self.run.is_none() {
                self.dispatch.know(store.active_platforms_list().await?);
            }
            let mut platforms = store.platforms_with_work_list(&Scope::all_tenants(), self.run, clock.now()).await?;
            // A crew of one run goes on until it is known what becomes of it.
            platforms.retain(|platform| self.run.is_some() || !host.releases().is_blocked(platform));
            self.dispatch.work_for(platforms);
        }
        let lease_ttl = Duration::from_millis(collection.lease_ttl_ms);
        while !self.stop.is_cancelled()
            && let Some(platform) = self.dispatch.next()
        {
            match store
                .batch_lease(&Scope::all_tenants(), self.run, Some(&platform), host.name(), clock.now(), lease_ttl)
                .await?
            {
                Some(lease) => self.begin(host, lease),
                None => self.dispatch.nothing_for(&platform),
            }
        }
        if !look {
            return Ok(None);
        }
        let poll = Duration::from_millis(host.config().service.poll_ms);
        let until = |at: chrono::DateTime<chrono::Utc>| (at - clock.now()).to_std().unwrap_or_default();
        let wait = match self.run {
            None => store.next_open_get(&Scope::all_tenants(), clock.now()).await?.map(until),
            // What is left waits a moment before it is tried again; or it waits for an allowance, or is in the hands of another host, who
            // will see to it: then there is nothing to wait for here.
            Some(run) => {
                let wait = store.next_batch_get(&Scope::all_tenants(), Some(run), None).await?.map(until);
                let worth_it = wait.is_some_and(|wait| wait <= Duration::from_millis(collection.retry_wait_max_ms));
                if self.under_way.is_empty() && !worth_it {
                    return Ok(Some(Poll::Finished));
                }
                wait
            }
        };
        let wait = wait.map_or(poll, |wait| wait.min(poll).max(LOOK_AGAIN_MIN));
        Ok(Some(Poll::Again(Instant::now() + wait)))
    }

    fn begin(&mut self, host: &Host, lease: Lease) {
        let platform = lease.batch.platform.clone();
        let ticket = self.dispatch.begun(&platform);
        self.tell_concurrency(host, &platform);
        if !self.unsettled.iter().any(|known| Arc::ptr_eq(&known.config, &host.config)) {
            self.unsettled.push(host.clone());
        }
        self.idle_since = None;
        let task = self.under_way.spawn(attend(host.clone(), lease.clone()));
        self.held.insert(task.id(), RunningBatch { host: host.clone(), lease, ticket, began: Instant::now() });
    }

    /// Takes note of a batch's end. Answers whether there may be new work because of it.
    fn ended(
        &mut self,
        joined: Result<(Id, Result<BatchReport, HostError>), JoinError>,
        failure: &mut Option<HostError>,
        tell: &mut impl FnMut(&Platform, &BatchReport),
    ) -> bool {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(HostError::Worker(error.to_string()))),
        };
        let Some(held) = self.held.remove(&id) else { return true };
        let platform = &held.lease.batch.platform;
        let telemetry = held.host.telemetry();
        let (signal, again) = match result {
            Ok(report) => {
                telemetry.batch_ended(platform, report.end, held.began.elapsed());
                telemetry.accounts_ended(platform, &report.counts, report.requests);
                tell(platform, &report);
                (report.signal(), report.open > 0)
            }
            Err(error) => {
                telemetry.batch_ended(platform, BatchEnd::GivenBack, held.began.elapsed());
                tracing::error!(batch = %held.lease.batch.id, %error, "a batch stays leased until its lease runs out");
                if self.run.is_some() {
                    failure.get_or_insert(error);
                }
                (Signal::Silent, false)
            }
        };
        self.dispatch.ended(platform, held.ticket, signal);
        self.tell_concurrency(&held.host, platform);
        again
    }

    fn tell_concurrency(&self, host: &Host, platform: &Platform) {
        let (under_way, limit) = self.dispatch.concurrency(platform);
        host.telemetry().concurrency(platform, under_way, limit);
    }

    /// Gives unspent units back once nothing has been under way for a while.
    async fn settle_when_idle(&mut self) {
        if !self.under_way.is_empty() {
            return;
        }
        let idle_since = *self.idle_since.get_or_insert_with(Instant::now);
        if idle_since.elapsed() >= SETTLE_AFTER {
            for host in std::mem::take(&mut self.unsettled) {
                let stop = self.stop.clone();
                stop.run_until_cancelled(budgets::settle(host.store(), host.gateway())).await;
            }
        }
    }

    /// Waits for what is under way; what has not ended by then is given up and handed back: at once, and without having used an attempt.
    /// A commit that got through wins: its batch is nobody's to hand back any more.
    async fn end_by(
        &mut self,
        by: Instant,
        failure: &mut Option<HostError>,
        tell: &mut impl FnMut(&Platform, &BatchReport),
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
        // One that has not let go yet can write nothing once its batch is handed back: its token is checked.
        let held: Vec<RunningBatch> = self.held.drain().map(|(_, held)| held).collect();
        tracing::info!(batches = held.len(), "batches under way are handed back");
        let handed_back = join_all(held.iter().map(hand_back));
        if tokio::time::timeout_at(now + HAND_BACK_WITHIN, handed_back).await.is_err() {
            tracing::error!("batches could not be handed back in time; they are taken up when their leases run out");
        }
    }
}

/// Collects a batch, and ends its run where that was the last one.
async fn attend(host: Host, lease: Lease) -> Result<BatchReport, HostError> {
    let report = collect::collect_or_give_back(&host, &lease).await?;
    let run = lease.batch.run_id;
    let ended = async {
        if !host.store().run_is_worked_on(&Scope::all_tenants(), run).await? {
            host.store().run_finish(&Scope::all_tenants(), run, host.clock().now()).await?;
        }
        Ok::<_, StoreError>(())
    };
    if let Err(error) = ended.await {
        tracing::warn!(%run, %error, "a run could not be brought up to date; the scheduler will");
    }
    Ok(report)
}

async fn hand_back(held: &RunningBatch) {
    let RunningBatch { host, lease, began, .. } = held;
    match host.store().batch_release(lease, host.clock().now(), false).await {
        Ok(()) => host.telemetry().batch_ended(&lease.batch.platform, BatchEnd::GivenBack, began.elapsed()),
        Err(StoreError::LeaseLost { .. }) => {}
        Err(error) => tracing::error!(batch = %lease.batch.id, %error, "a batch could not be handed back"),
    }
}

fn stop_deadline(host: &Host) -> Duration {
    Duration::from_millis(host.config().service.stop_deadline_ms)
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        batches_max: config.service.batches_max.into(),
        start: config.collection.concurrency.into(),
        max: config.collection.concurrency_max.into(),
        weights: config.collection.platform_weights.clone(),
    }
}
