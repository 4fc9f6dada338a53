//! The host as a long-running service: loops that share one host, and go on until they are told to stop.
//!
//! - `workers` lease and collect batches,
//! - `scheduler` plans the runs that are due, on the one host that leads,
//! - `keeper` keeps credentials fresh,
//! - `archive` puts away what is past its time, once a week, on one host,
//! - `deliveries` tells subscribers of events,
//! - `sync` keeps artists in step with another table,
//! - `health` looks how things are, and tells when a figure crosses its bound, on the one host that has the role,
//! - `loading` keeps the releases in use loaded,
//! - `presence` tells the other hosts that this one is alive,
//! - this module listens for wake-ups and ends it all in order.
//!
//! A loop takes the host anew for each piece of work, so that a changed configuration takes hold with the next one.

pub mod preflight;
pub mod presence;
pub mod scheduler;
pub mod schedules;
pub mod status;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::status::Watch;
use crate::config::Config;
use crate::pipeline::artists::sync;
use crate::pipeline::collection::budgets;
use crate::pipeline::collection::workers;
use crate::pipeline::credentials::refresher;
use crate::pipeline::releases::development;
use crate::pipeline::releases::loading;
use crate::pipeline::upkeep::archive;
use crate::pipeline::upkeep::health;
use crate::pipeline::webhooks::deliveries;
use crate::pipeline::{Host, HostError, Obstacle};
use backline_gateway::Gateway;
use backline_store::Topic;

/// How long to wait before a loop that failed is begun again, or the database is asked again after an error.
pub(in crate::pipeline) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How much longer than `service.stop_deadline_ms` the loops get to end before they are ended.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// How long the last words to the database may take.
const SHUTDOWN_DB_TIMEOUT: Duration = Duration::from_secs(2);

/// What the loops share.
#[derive(Clone)]
pub(in crate::pipeline) struct ServiceContext {
    hosts: watch::Receiver<Host>,
    /// This host's name in leases and in the list of hosts.
    pub name: Arc<str>,
    /// Cancelled when the service is to stop: no new work is begun from then on.
    pub stop: CancellationToken,
    /// Rung when there may be batches to lease.
    pub work: Arc<Notify>,
    /// Rung when somebody may be waiting for a first collection.
    pub activations: Arc<Notify>,
    /// Rung when other releases may have to be loaded.
    pub releases: Arc<Notify>,
    /// Rung when there may be events to deliver.
    pub events: Arc<Notify>,
    /// When the service was started.
    pub(in crate::pipeline) started_at: DateTime<Utc>,
    /// What the loops found wrong.
    pub(in crate::pipeline) condition: Arc<presence::Condition>,
}

impl ServiceContext {
    /// The host as it is configured now.
    pub(super) fn host(&self) -> Host {
        self.hosts.borrow().clone()
    }

    /// Waits, but no longer than until the service is to stop.
    pub(super) async fn rest(&self, time: Duration) {
        let _ = self.stop.run_until_cancelled(tokio::time::sleep(time)).await;
    }
}

/// A running service.
pub struct Service {
    hosts: watch::Sender<Host>,
    context: ServiceContext,
    loops: JoinSet<()>,
    /// Goes on while the others end: the host is there until it has stopped.
    presence: JoinSet<()>,
    /// Gateways of configurations before; batches that began with one may still be under way.
    retired: Mutex<Vec<Gateway>>,
}

/// Whether a host can do its work, and what keeps it from doing so.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// What is wrong, each with its remedy.
    pub problems: Vec<String>,
}

impl Service {
    /// Announces the host and starts its loops. Whatever can be wrong with configuration, database or connectors is found before this, by
    /// [`examine`](crate::pipeline::examine).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn start(host: Host) -> Result<Self, HostError> {
        let started_at = host.clock().now();
        host.telemetry().started(started_at);
        let (hosts, receiver) = watch::channel(host);
        let name = receiver.borrow().name().to_owned();
        let context = ServiceContext {
            hosts: receiver,
            name: name.into(),
            stop: CancellationToken::new(),
            work: Arc::default(),
            activations: Arc::default(),
            releases: Arc::default(),
            events: Arc::default(),
            started_at,
            condition: Arc::default(),
        };
        context.host().store().host_announce(&presence::presence(&context, "starting"), started_at).await?;
        let mut presence = JoinSet::new();
        presence.spawn(supervise("presence", context.clone(), presence::beat));
        let mut loops = JoinSet::new();
        loops.spawn(supervise("wake-ups", context.clone(), listen));
        loops.spawn(supervise("connectors", context.clone(), loading::serve));
        loops.spawn(supervise("workers", context.clone(), workers::serve));
        loops.spawn(supervise("scheduler", context.clone(), scheduler::serve));
        loops.spawn(supervise("credentials", context.clone(), refresher::serve));
        loops.spawn(supervise("archive", context.clone(), archive::serve));
        loops.spawn(supervise("deliveries", context.clone(), deliveries::serve));
        loops.spawn(supervise("artists", context.clone(), sync::serve));
        loops.spawn(supervise("health", context.clone(), health::serve));
        Ok(Self { hosts, context, loops, presence, retired: Mutex::default() })
    }

    /// Collects from now on with whatever component appears or changes in a folder: for development, since nobody is asked.
    pub fn develop(&mut self, folder: PathBuf) {
        let watched = move |context| development::serve(context, folder.clone());
        self.loops.spawn(supervise("development", self.context.clone(), watched));
    }

    /// The host as it is configured now.
    #[must_use]
    pub fn host(&self) -> Host {
        self.context.host()
    }

    /// A look at the service that can be shared with others.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::new(self.context.clone())
    }

    /// Puts another configuration into force for all work that begins from now on. Connectors are loaded under it before.
    ///
    /// # Errors
    /// Everything that keeps it from being put into force; the old one stays then.
    pub async fn reload(&self, config: Config) -> Result<(), Vec<Obstacle>> {
        let before = self.host();
        let host = before.reconfigured(config).map_err(|error| vec![error.into()])?;
        let problems = preflight::load_active(&host).await;
        if !problems.is_empty() {
            return Err(problems);
        }
        host.credentials.publish_keyring();
        self.hosts.send_replace(host);
        budgets::settle(before.store(), before.gateway()).await;
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(before.gateway().clone());
        Ok(())
    }

    /// Whether this host can do its work right now.
    pub async fn readiness(&self) -> Readiness {
        self.watch().readiness().await
    }

    /// Stops: nothing new is begun, what is under way ends or is handed back within the configured deadline. False where something had to
    /// be cut off; whoever takes over finds it in the database as after a crash.
    pub async fn stop(mut self) -> bool {
        self.context.stop.cancel();
        let host = self.host();
        let within = Duration::from_millis(host.config().service.stop_deadline_ms) + STOP_GRACE;
        let all_ended = async { while self.loops.join_next().await.is_some() {} };
        let ended = tokio::time::timeout(within, all_ended).await.is_ok();
        if !ended {
            tracing::error!("some of what was under way did not end in time and is cut off");
            self.loops.shutdown().await;
        }
        self.presence.shutdown().await;
        let farewell = async {
            let retired = std::mem::take(&mut *self.retired.lock().unwrap_or_else(PoisonError::into_inner));
            for gateway in retired.iter().chain([host.gateway()]) {
                budgets::settle(host.store(), gateway).await;
            }
            if let Err(error) = host.store().host_forget(&self.context.name, self.context.started_at).await {
                tracing::warn!(%error, "this host stays in the list of hosts for a while");
            }
        };
        if tokio::time::timeout(SHUTDOWN_DB_TIMEOUT, farewell).await.is_err() {
            tracing::warn!("the database does not answer; unused units of budgets are lost until their reset");
        }
        ended
    }
}

/// Runs a loop until the service stops; one that panics is begun again.
async fn supervise<F: Future<Output = ()>>(
    name: &'static str,
    context: ServiceContext,
    work: impl Fn(ServiceContext) -> F,
) {
    loop {
        if AssertUnwindSafe(work(context.clone())).catch_unwind().await.is_ok() || context.stop.is_cancelled() {
            return;
        }
        tracing::error!(name, "a part of the service panicked; it is begun again");
        context.rest(RETRY_AFTER).await;
    }
}

/// Rings the loops' bells when the database says so.
async fn listen(context: ServiceContext) {
    while !context.stop.is_cancelled() {
        let mut listener = match context.host().store().listener().await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "no wake-ups from the database; it is asked in intervals instead");
                context.rest(RETRY_AFTER).await;
                continue;
            }
        };
        // Whatever happened while nobody listened.
        context.work.notify_one();
        context.activations.notify_one();
        context.releases.notify_one();
        context.events.notify_one();
        while let Some(heard) = context.stop.run_until_cancelled(listener.next()).await {
            match heard {
                Ok(Topic::Work) => context.work.notify_one(),
                Ok(Topic::Activations) => context.activations.notify_one(),
                Ok(Topic::Releases) => context.releases.notify_one(),
                Ok(Topic::Events) => context.events.notify_one(),
                Err(error) => {
                    tracing::warn!(%error, "wake-ups from the database broke off");
                    break;
                }
            }
        }
    }
}
