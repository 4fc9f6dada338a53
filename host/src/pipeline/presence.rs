//! That this host is there, and able to work: it tells the database every few seconds, and keeps the active connectors loaded.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::Host;
use super::service::Seat;
use crate::domain::Digest;
use crate::store::{KnownHost, Presence, StoreError};

/// How often a host says that it is there.
pub(super) const BEAT: Duration = Duration::from_secs(2);

/// A host that was not heard of for so long is taken for gone.
const GONE_AFTER: TimeDelta = TimeDelta::seconds(10);

/// How long a host that is gone stays in the list, for whoever looks into it.
const KEPT: TimeDelta = TimeDelta::days(1);

/// Beats between two looks for hosts that are gone for good.
const BEATS_PER_CLEANING: u32 = 300;

/// How often the active connectors are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How long a connector that could not be loaded is left alone, at first and at most: trying may mean compiling.
const LOAD_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// Whether a host was heard of lately.
#[must_use]
pub fn is_present(host: &KnownHost, now: DateTime<Utc>) -> bool {
    now - host.seen_at <= GONE_AFTER
}

/// What keeps this host from working, as far as its loops have found out.
#[derive(Debug, Default)]
pub(super) struct Condition {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    not_loaded: Vec<String>,
    name_taken: bool,
}

impl Condition {
    /// Everything that is wrong, each with its remedy.
    pub fn problems(&self) -> Vec<String> {
        let found = self.found();
        let taken = "another host uses the same name; give each a service.name of its own".to_owned();
        found.not_loaded.iter().cloned().chain(found.name_taken.then_some(taken)).collect()
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that this host is there until the task is ended, also while it stops.
pub async fn beat(seat: Seat) {
    for beats in 0_u32.. {
        let host = seat.host();
        let state = if seat.stop.is_cancelled() {
            "stopping"
        } else if seat.condition.problems().is_empty() {
            "ready"
        } else {
            "not_ready"
        };
        if let Err(error) = beat_once(&seat, &host, state, beats % BEATS_PER_CLEANING == 0).await {
            tracing::warn!(%error, "this host can't say that it is there");
        }
        // Stopping is worth saying at once; after that the rhythm goes on.
        if seat.stop.is_cancelled() {
            tokio::time::sleep(BEAT).await;
        } else {
            seat.rest(BEAT).await;
        }
    }
}

async fn beat_once(seat: &Seat, host: &Host, state: &'static str, clean: bool) -> Result<(), StoreError> {
    let now = host.clock().now();
    let is_ours = host.store().beat(&presence(seat, state), now).await?;
    let was_taken = std::mem::replace(&mut seat.condition.found().name_taken, !is_ours);
    if !is_ours && !was_taken {
        tracing::error!(name = %seat.name, "another host uses this name; give each a service.name of its own");
    }
    if clean {
        host.store().forget_hosts_unseen_since(now - KEPT).await?;
    }
    Ok(())
}

/// What this host says of itself.
pub(super) fn presence(seat: &Seat, state: &'static str) -> Presence {
    let (name, version) = (seat.name.to_string(), env!("CARGO_PKG_VERSION").to_owned());
    Presence { name, version, state, started_at: seat.started_at }
}

/// Keeps every active connector loaded, so that none is compiled only when its first batch waits for it.
pub async fn keep_loaded(seat: Seat) {
    // The ones that could not be loaded: why, when to try again, and how long to wait after that.
    let mut failed: HashMap<Digest, (String, Instant, Duration)> = HashMap::new();
    while !seat.stop.is_cancelled() {
        let host = seat.host();
        match host.store().list_releases().await {
            Ok(releases) => {
                let active: Vec<_> = releases.into_iter().filter(|release| release.active).collect();
                failed.retain(|digest, _| active.iter().any(|release| release.digest == *digest));
                for release in active {
                    let before = failed.get(&release.digest);
                    if before.is_some_and(|(_, again_at, _)| Instant::now() < *again_at) {
                        continue;
                    }
                    let wait = before.map_or(LOAD_AGAIN.0, |(.., wait)| (*wait * 2).min(LOAD_AGAIN.1));
                    let loading = seat.stop.run_until_cancelled(host.shelf().get(release.digest)).await;
                    match loading {
                        Some(Ok(_)) => {
                            failed.remove(&release.digest);
                        }
                        Some(Err(error)) => {
                            let connector = &release.manifest.connector;
                            tracing::error!(platform = %connector.platform, %error, "an active connector can't be loaded");
                            let problem = format!("{} {} can't be loaded: {error}", connector.name, connector.version);
                            failed.insert(release.digest, (problem, Instant::now() + wait, wait));
                        }
                        None => return,
                    }
                }
                seat.condition.found().not_loaded = failed.values().map(|(problem, ..)| problem.clone()).collect();
            }
            // Readiness asks the database by itself.
            Err(error) => tracing::warn!(%error, "the active connectors can't be looked up"),
        }
        seat.rest(LOOK).await;
    }
}
