//! Reports to the database every few seconds that this host is present, and whether it is ready.

use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use crate::pipeline::Host;
use crate::pipeline::context::ServiceContext;
use crate::pipeline::error::with_causes;
use crate::pipeline::watchdog::TurnEnd;
use backline_model::clock::{LAST_TIME, latest_believed};
use backline_store::{Presence, StoreError};

/// How often a host reports that it is present.
pub(super) const BEAT: Duration = Duration::from_secs(2);

/// How long the database may take to note it. Other hosts take this one for dead after twice that time.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long a dead host stays in the list, for anyone who investigates.
const HOST_RETENTION: TimeDelta = TimeDelta::days(1);

/// Beats between two removals of hosts that died long ago.
const BEATS_PER_CLEANING: u32 = 300;

/// Reports that this host is present until it is gone, also while it stops. Ends between two reports.
pub(super) async fn beat(context: ServiceContext<Host>, gone: CancellationToken) {
    for beats in 0_u32.. {
        if gone.is_cancelled() {
            return;
        }
        let host = context.current();
        let state = if context.stop.is_cancelled() {
            "stopping"
        } else if context.problems().is_empty() {
            "ready"
        } else {
            "not_ready"
        };
        let beaten = beat_once(&context, &host, state, beats % BEATS_PER_CLEANING == 0);
        let beaten = StoreError::in_time(ANSWER_WITHIN, "renew a host's presence", beaten).await;
        // It writes, so it also finds a database that only answers.
        context.condition.unwritten(beaten.as_ref().err());
        if let Err(error) = beaten {
            tracing::warn!(error = with_causes(&error), "this host can't report that it is present");
        }
        // That the host stops is reported at once; after that the interval is regular.
        if context.stop.is_cancelled() {
            let _ = gone.run_until_cancelled(tokio::time::sleep(BEAT)).await;
        } else {
            // Readiness says at once, and in words of its own, why nothing is reported.
            context.rest(TurnEnd::Skipped, BEAT).await;
        }
    }
}

async fn beat_once(
    context: &ServiceContext<Host>,
    host: &Host,
    state: &'static str,
    clean: bool,
) -> Result<(), StoreError> {
    let (jumped, now) = (host.clocks().jumped().await?, host.clock().now());
    // At the database's time where this clock jumped: else a host that dies would count as present for as long as its
    // clock was ahead, and one whose clock is behind as dead.
    let seen_at = jumped.map_or(now, |ahead| now - ahead);
    let is_ours = host.store().host_beat(&presence(context, state), seen_at).await?;
    let was_taken = context.condition.name_taken(!is_ours);
    if !is_ours && !was_taken {
        tracing::error!(name = %context.name, "another host uses this name; give each a service.name of its own");
    }
    let had_jumped = context.condition.clock_jumped(jumped);
    match jumped {
        Some(ahead) if !had_jumped => {
            tracing::error!(
                ahead_s = ahead.num_seconds(),
                "this machine's clock jumped; this host collects nothing until its clock is right"
            );
        }
        None if had_jumped => tracing::info!("this machine's clock is right again"),
        _ => {}
    }
    if clean && let Ok(past) = host.clocks().past(now).await? {
        // To a clock that is behind, all others are ahead.
        let furthest = if host.clocks().difference().await?.is_some() { LAST_TIME } else { latest_believed(now) };
        host.store().unseen_hosts_forget(past.before_by(HOST_RETENTION), furthest).await?;
    }
    Ok(())
}

/// What this host reports about itself.
pub(super) fn presence(context: &ServiceContext<Host>, state: &'static str) -> Presence {
    let (name, version) = (context.name.to_string(), env!("CARGO_PKG_VERSION").to_owned());
    Presence { name, version, state, started_at: context.started_at }
}
