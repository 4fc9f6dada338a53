//! The host as a long-running service: loops that share one host, and go on until they are told to stop.
//!
//! - [`workers`] lease and collect batches,
//! - [`scheduler`] plans the runs that are due, on the one host that leads,
//! - [`keeper`] keeps credentials fresh,
//! - [`sync`] keeps artists in step with another table,
//! - this module listens for wake-ups, tells the other hosts that this one is alive, and ends it all in order.
//!
//! A loop takes the host anew for each piece of work, so that a changed configuration takes hold with the next one.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Host, HostError, budgets, keeper, scheduler, sync, workers};
use crate::config::Config;
use crate::store::Topic;

/// How long to wait before a loop that failed is begun again, or the database is asked again after an error.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long readiness may ask around before it is denied.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// What the loops share.
#[derive(Clone)]
pub(super) struct Seat {
    hosts: watch::Receiver<Host>,
    /// This host's name in leases and in the list of hosts.
    pub name: Arc<str>,
    /// Cancelled when the service is to stop: no new work is begun from then on.
    pub stop: CancellationToken,
    /// Rung when there may be batches to lease.
    pub work: Arc<Notify>,
    /// Rung when somebody may be waiting for a first collection.
    pub activations: Arc<Notify>,
}

impl Seat {
    /// The host as it is configured now.
    pub fn host(&self) -> Host {
        self.hosts.borrow().clone()
    }

    /// Waits, but no longer than until the service is to stop.
    pub async fn rest(&self, time: Duration) {
        let _ = self.stop.run_until_cancelled(tokio::time::sleep(time)).await;
    }
}

/// A running service.
pub struct Service {
    hosts: watch::Sender<Host>,
    seat: Seat,
    loops: JoinSet<()>,
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
    /// Announces the host and starts its loops. Whatever can be wrong with configuration, database or connectors is found before this.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn start(host: Host) -> Result<Self, HostError> {
        let (hosts, receiver) = watch::channel(host);
        let name = receiver.borrow().name().to_owned();
        let seat = Seat {
            hosts: receiver,
            name: name.into(),
            stop: CancellationToken::new(),
            work: Arc::default(),
            activations: Arc::default(),
        };
        let mut loops = JoinSet::new();
        loops.spawn(kept_up("wake-ups", seat.clone(), listen));
        loops.spawn(kept_up("workers", seat.clone(), workers::serve));
        loops.spawn(kept_up("scheduler", seat.clone(), scheduler::serve));
        loops.spawn(kept_up("credentials", seat.clone(), keeper::serve));
        loops.spawn(kept_up("artists", seat.clone(), sync::serve));
        Ok(Self { hosts, seat, loops })
    }

    /// The host as it is configured now.
    #[must_use]
    pub fn host(&self) -> Host {
        self.seat.host()
    }

    /// Puts another configuration into force for all work that begins from now on.
    ///
    /// # Errors
    /// When it can't be put into force; the old one stays then.
    pub fn reload(&self, config: Config) -> Result<(), HostError> {
        let host = self.host().reconfigured(config)?;
        self.hosts.send_replace(host);
        Ok(())
    }

    /// Whether this host can do its work right now.
    pub async fn readiness(&self) -> Readiness {
        let mut problems = Vec::new();
        if self.seat.stop.is_cancelled() {
            problems.push("it is stopping".to_owned());
        }
        match tokio::time::timeout(READY_WITHIN, self.host().store().check_schema()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => problems.push(error.to_string()),
            Err(_) => problems.push("the database does not answer".to_owned()),
        }
        Readiness { ready: problems.is_empty(), problems }
    }

    /// Stops: nothing new is begun, what is under way ends or is handed back within the configured deadline.
    pub async fn stop(mut self) {
        self.seat.stop.cancel();
        while self.loops.join_next().await.is_some() {}
        let host = self.host();
        budgets::settle(host.store(), host.gateway()).await;
    }
}

/// Runs a loop until the service stops; one that panics is begun again.
async fn kept_up<F: Future<Output = ()>>(name: &'static str, seat: Seat, work: impl Fn(Seat) -> F) {
    loop {
        if AssertUnwindSafe(work(seat.clone())).catch_unwind().await.is_ok() || seat.stop.is_cancelled() {
            return;
        }
        tracing::error!(name, "a part of the service panicked; it is begun again");
        seat.rest(AGAIN_AFTER).await;
    }
}

/// Rings the loops' bells when the database says so.
async fn listen(seat: Seat) {
    while !seat.stop.is_cancelled() {
        let mut listener = match seat.host().store().listener().await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "no wake-ups from the database; it is asked in intervals instead");
                seat.rest(AGAIN_AFTER).await;
                continue;
            }
        };
        // Whatever happened while nobody listened.
        seat.work.notify_one();
        seat.activations.notify_one();
        while let Some(heard) = seat.stop.run_until_cancelled(listener.next()).await {
            match heard {
                Ok(Topic::Work) => seat.work.notify_one(),
                Ok(Topic::Activations) => seat.activations.notify_one(),
                Err(error) => {
                    tracing::warn!(%error, "wake-ups from the database broke off");
                    break;
                }
            }
        }
    }
}
