//! The host as a long-running service: loops that share one host and run until they are told to stop.
//!
//! - `workers` lease and collect batches,
//! - `scheduler` plans due runs, on the host that leads,
//! - `refresher` keeps credentials fresh,
//! - `archive` moves and deletes what is past its retention, on one host,
//! - `deliveries` sends events to webhooks,
//! - `alerts` tells people of events and sends digests, on the host that has the role,
//! - `bulk` works off acts on everything that a filter shows, on the host that has the role,
//! - `sync` keeps artists in sync with another table,
//! - `health` evaluates health and its alerts, on the host that has the role,
//! - `loading` keeps the releases in use loaded,
//! - `presence` tells the other hosts that this one is alive,
//! - `development` activates what an author builds, with `serve --watch`,
//! - this module listens for notifications of the database, and stops everything in order.
//!
//! Each is started by `Loops`, which watches that it turns and that its turns don't all fail. The server of budgets,
//! which the host itself runs, is watched with them.
//! A loop takes its capability again for each piece of work, so that a changed configuration applies to the next one.

mod configured;
#[cfg(feature = "demo")]
pub mod due;
pub mod freshness;
mod loops;
pub(super) mod preflight;
pub(super) mod presence;
pub(super) mod scheduler;
pub mod schedules;
pub(super) mod status;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::loops::Loops;
pub use self::status::{Readiness, ServiceStatus};
use crate::config::Config;
use crate::pipeline::alerts::sending;
use crate::pipeline::artists::sync;
use crate::pipeline::bulk;
use crate::pipeline::collection::budgets;
use crate::pipeline::collection::report::RunRequest;
use crate::pipeline::collection::workers;
use crate::pipeline::context::{RETRY_AFTER, ServiceContext};
use crate::pipeline::credentials::refresher;
use crate::pipeline::releases::development;
use crate::pipeline::releases::loading;
use crate::pipeline::upkeep::archive;
use crate::pipeline::upkeep::health;
use crate::pipeline::watchdog::TurnEnd;
use crate::pipeline::webhooks::deliveries;
use crate::pipeline::{Host, Obstacle, with_causes};
use backline_gateway::Gateway;
use backline_model::{ArtistId, Platform};
use backline_store::{Listener, StoreError, Topic};

/// How much longer than `service.stop_deadline_ms` the loops may run before they are aborted.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// How often the loop that listens turns while nothing is notified of.
const LISTEN_TURN: Duration = Duration::from_secs(30);

/// How long the final writes at shutdown may take: what the loops left of their time, and within these bounds. A
/// database that is busy with other hosts gets more than a moment, and one that does not answer holds nobody up for
/// long.
const FINAL_WRITES_MIN: Duration = Duration::from_secs(2);
const FINAL_WRITES_MAX: Duration = Duration::from_secs(10);

/// A running service.
pub struct Service {
    hosts: watch::Sender<Host>,
    context: ServiceContext<Host>,
    loops: Loops,
    /// Runs while the other loops end: the host is present until it has stopped.
    presence: Loops,
    /// Cancelled when the host has stopped, and presence is to end.
    gone: CancellationToken,
    /// Gateways of earlier configurations, with what answers them; batches that began with one may still run.
    retired: Mutex<Vec<(Gateway, Arc<JoinSet<()>>)>>,
}

impl Service {
    /// A service whose loops have not started: it answers what is asked of it, and does nothing by itself.
    #[must_use]
    pub fn new(host: Host) -> Self {
        let (name, started_at, watchdog) = (host.name().into(), host.clock().now(), host.watchdog().clone());
        let (hosts, receiver) = watch::channel(host);
        let current = move || receiver.borrow().clone();
        let context = {
            let current = current.clone();
            ServiceContext::new(name, started_at, watchdog, current.clone(), move || current().shared_config())
        };
        let (loops, presence) = (Loops::default(), Loops::default());
        Self { hosts, context, loops, presence, gone: CancellationToken::new(), retired: Mutex::default() }
    }

    /// Announces the host and starts its loops. [`examine`](crate::pipeline::examine) checks configuration, database
    /// and connectors before this.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn start(host: Host) -> Result<Self, StoreError> {
        let mut service = Self::new(host);
        let Self { context, loops, presence, gone, .. } = &mut service;
        let started_at = context.started_at;
        context.current().telemetry().started(started_at);
        context.current().installation().claim_or_warn().await?;
        context.current().store().host_announce(&presence::presence(context, "starting"), started_at).await?;
        let gone = gone.clone();
        presence.start("presence", context.clone(), move |context| presence::beat(context, gone.clone()));
        loops.start("notifications", context.clone(), listen);
        loops.start("connectors", context.part(|host| host.releases().clone()), loading::serve);
        loops.start("workers", context.part(|host| host.collector().clone()), workers::serve);
        loops.start("scheduler", context.clone(), scheduler::serve);
        loops.start("credentials", context.part(|host| host.credentials().clone()), refresher::serve);
        loops.start("archive", context.part(|host| host.archive().clone()), archive::serve);
        loops.start("bulk", context.part(|host| host.bulk().clone()), bulk::serve::serve);
        loops.start("deliveries", context.part(|host| host.dispatcher().clone()), deliveries::serve);
        loops.start("alerts", context.part(|host| host.alerts().clone()), sending::serve);
        loops.start("artists", context.part(|host| host.artist_sync().clone()), sync::serve);
        loops.start("health", context.part(|host| host.health().clone()), health::serve);
        Ok(service)
    }

    /// Installs every component that appears or changes in a folder, without asking for approval, and collects these
    /// artists with it at once; none of them means that the schedule decides. For development only.
    pub fn develop(&mut self, folder: PathBuf, artists: Vec<ArtistId>) {
        let context = self.context.clone();
        let collect: development::Collect = Arc::new(move |platform| {
            let (context, artists) = (context.clone(), artists.clone());
            Box::pin(async move { collect_now(&context, platform, artists).await })
        });
        let watched = move |context| development::serve(context, folder.clone(), Arc::clone(&collect));
        self.loops.start("development", self.context.part(|host| host.releases().clone()), watched);
    }

    /// The host as it is configured now.
    #[must_use]
    pub fn host(&self) -> Host {
        self.context.current()
    }

    /// A handle for what is asked of the running service.
    #[must_use]
    pub fn status(&self) -> ServiceStatus {
        ServiceStatus::new(self.context.clone())
    }

    /// Applies another configuration to all work that begins from now on. Connectors are loaded under it first.
    ///
    /// # Errors
    /// Every problem that keeps it from being applied; the old configuration stays in force then.
    pub async fn reload(&self, config: Config) -> Result<(), Vec<Obstacle>> {
        let before = self.host();
        let slips = preflight::check_names(before.store(), &config).await;
        if !slips.is_empty() {
            return Err(slips);
        }
        let host = before.reconfigured(config).map_err(|error| vec![error.into()])?;
        let problems = preflight::load_active(&host, Some(&before)).await;
        if !problems.is_empty() {
            return Err(problems);
        }
        host.credentials().publish_keyring();
        self.hosts.send_replace(host);
        budgets::settle(before.store(), before.gateway()).await;
        let retired = (before.gateway().clone(), before.background());
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(retired);
        Ok(())
    }

    /// Whether this host can do its work right now.
    pub async fn readiness(&self) -> Readiness {
        self.status().readiness().await
    }

    /// Stops: no new work begins; running work finishes or is handed back within the configured deadline. Returns false
    /// if something had to be aborted; the hosts that take it over treat it as after a crash.
    pub async fn stop(mut self) -> bool {
        self.context.stop.cancel();
        let host = self.host();
        let until = Instant::now() + Duration::from_millis(host.config().service.stop_deadline_ms) + STOP_GRACE;
        let ended = tokio::time::timeout_at(until, self.loops.ended()).await.is_ok();
        if !ended {
            tracing::error!("some work did not end in time and is aborted");
            self.loops.shutdown().await;
        }
        let left = until.saturating_duration_since(Instant::now()).clamp(FINAL_WRITES_MIN, FINAL_WRITES_MAX);
        let final_until = Instant::now() + left;
        // A report that is under way ends first: the database might note it after this host was removed from the list.
        self.gone.cancel();
        if tokio::time::timeout_at(final_until, self.presence.ended()).await.is_err() {
            self.presence.shutdown().await;
        }
        let final_writes = async {
            let retired = std::mem::take(&mut *self.retired.lock().unwrap_or_else(PoisonError::into_inner));
            for gateway in retired.iter().map(|(gateway, _)| gateway).chain([host.gateway()]) {
                budgets::settle(host.store(), gateway).await;
            }
            if let Err(error) = host.store().host_forget(&self.context.name, self.context.started_at).await {
                tracing::warn!(%error, "this host stays in the list of hosts for a while");
            }
        };
        if tokio::time::timeout_at(final_until, final_writes).await.is_err() {
            tracing::warn!("the database does not answer; unused units of budgets are lost until their reset");
        }
        ended
    }
}

/// Starts a run of these artists on one platform. Failures are logged: the next build tries again.
async fn collect_now(context: &ServiceContext<Host>, platform: Platform, artists: Vec<ArtistId>) {
    if artists.is_empty() {
        return;
    }
    let platforms = vec![platform.clone()];
    let request = RunRequest { trigger: "manual".to_owned(), date: None, due: None, platforms, artists };
    let host = context.current();
    match host.runs().start(&request).await {
        Ok(run) => {
            context.work.notify_one();
            tracing::info!(%platform, run = %run.id, "collecting the named artists with the new build");
        }
        Err(error) => {
            tracing::error!(%platform, error = with_causes(&error), "the named artists are not collected");
        }
    }
}

/// Wakes the loops on database notifications.
async fn listen(context: ServiceContext<Host>) {
    while !context.stop.is_cancelled() {
        let mut listener = match context.current().store().listener().await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "no notifications from the database; it is polled instead");
                // Nothing but time is lost: the database is asked at intervals.
                context.rest(TurnEnd::Skipped, RETRY_AFTER).await;
                continue;
            }
        };
        // Notifications may have been missed while there was no listener.
        context.work.notify_one();
        context.activations.notify_one();
        context.releases.notify_one();
        context.events.notify_one();
        while let Some(heard) = context.stop.run_until_cancelled(hear(&context, &mut listener)).await {
            match heard {
                Ok(Topic::Work) => context.work.notify_one(),
                Ok(Topic::Activations) => context.activations.notify_one(),
                Ok(Topic::Releases) => context.releases.notify_one(),
                Ok(Topic::Events) => context.events.notify_one(),
                Err(error) => {
                    tracing::warn!(%error, "notifications from the database stopped");
                    break;
                }
            }
        }
    }
}

/// Waits for a notification, and turns meanwhile. The wait itself is never broken off: the listener finds out by itself
/// when its connection has gone silent.
async fn hear(context: &ServiceContext<Host>, listener: &mut Listener) -> Result<Topic, StoreError> {
    let mut next = std::pin::pin!(listener.next());
    loop {
        context.heartbeat.wait(TurnEnd::Good, LISTEN_TURN);
        if let Ok(heard) = tokio::time::timeout(LISTEN_TURN, next.as_mut()).await {
            return heard;
        }
    }
}
