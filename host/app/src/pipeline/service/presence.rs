//! That this host is there, and whether it is able to work: it tells the database every few seconds.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::pipeline::Host;
use crate::pipeline::service::ServiceContext;
use backline_store::{KnownHost, Presence, StoreError};

/// How often a host says that it is there.
pub(in crate::pipeline) const BEAT: Duration = Duration::from_secs(2);

/// A host that was not heard of for so long is taken for gone.
const GONE_AFTER: TimeDelta = TimeDelta::seconds(10);

/// How long a host that is gone stays in the list, for whoever looks into it.
const HOST_RETENTION: TimeDelta = TimeDelta::days(1);

/// Beats between two looks for hosts that are gone for good.
const BEATS_PER_CLEANING: u32 = 300;

/// Whether a host was heard of lately.
#[must_use]
pub fn is_present(host: &KnownHost, now: DateTime<Utc>) -> bool {
    now - host.seen_at <= GONE_AFTER
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
}

impl Condition {
    /// Everything that is wrong, each with its remedy.
    pub(crate) fn problems(&self) -> Vec<String> {
        let found = self.found();
        let taken = "another host uses the same name; give each a service.name of its own".to_owned();
        found.not_loaded.iter().cloned().chain(found.name_taken.then_some(taken)).collect()
    }

    /// What can't be loaded here, instead of what was known before.
    pub(crate) fn not_loaded(&self, problems: Vec<String>) {
        self.found().not_loaded = problems;
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that this host is there until the task is ended, also while it stops.
pub(in crate::pipeline) async fn beat(context: ServiceContext) {
    for beats in 0_u32.. {
        let host = context.host();
        let state = if context.stop.is_cancelled() {
            "stopping"
        } else if context.condition.problems().is_empty() {
            "ready"
        } else {
            "not_ready"
        };
        if let Err(error) = beat_once(&context, &host, state, beats % BEATS_PER_CLEANING == 0).await {
            tracing::warn!(%error, "this host can't say that it is there");
        }
        // Stopping is worth saying at once; after that the rhythm goes on.
        if context.stop.is_cancelled() {
            tokio::time::sleep(BEAT).await;
        } else {
            context.rest(BEAT).await;
        }
    }
}

async fn beat_once(context: &ServiceContext, host: &Host, state: &'static str, clean: bool) -> Result<(), StoreError> {
    let now = host.clock().now();
    let is_ours = host.store().host_beat(&presence(context, state), now).await?;
    let was_taken = std::mem::replace(&mut context.condition.found().name_taken, !is_ours);
    if !is_ours && !was_taken {
        tracing::error!(name = %context.name, "another host uses this name; give each a service.name of its own");
    }
    if clean {
        host.store().unseen_hosts_forget(now - HOST_RETENTION).await?;
    }
    Ok(())
}

/// What this host says of itself.
pub(in crate::pipeline) fn presence(context: &ServiceContext, state: &'static str) -> Presence {
    let (name, version) = (context.name.to_string(), env!("CARGO_PKG_VERSION").to_owned());
    Presence { name, version, state, started_at: context.started_at }
}
