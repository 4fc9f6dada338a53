//! Runs that no schedule started, and that were due nevertheless: a demo collects its history itself. Compiled for the
//! demo alone; it stands here because it writes what the scheduler does, under its role.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::scheduler::ROLE;
use super::schedules::{SchedulesError, configured};
use crate::config::Config;
use backline_model::Run;
use backline_rules::schedule::Timetable;
use backline_store::{Store, Term};

/// Who takes the role of the scheduler for the moment that this takes. No machine's name has a space: no host has this
/// one by chance. It is the same each time: a demo that was killed meanwhile keeps the next start from nothing.
const HOLDER: &str = "backline demo";

/// Records a run of all platforms as the one that was due last, for each schedule of all platforms that has had no time
/// yet. Where a host schedules meanwhile, it decides itself.
///
/// # Errors
/// When a schedule is not valid, or the database fails.
pub async fn record(store: &Store, config: &Config, run: &Run, now: DateTime<Utc>) -> Result<(), SchedulesError> {
    let ttl = Duration::from_millis(config.service.leader_ttl_ms);
    let Some(term) = store.role_take(ROLE, HOLDER, now, ttl).await? else { return Ok(()) };
    let recorded = record_under(&term, store, config, run, now).await;
    store.role_resign(&term, now).await?;
    recorded
}

async fn record_under(
    term: &Term,
    store: &Store,
    config: &Config,
    run: &Run,
    now: DateTime<Utc>,
) -> Result<(), SchedulesError> {
    store.schedules_sync(term, &configured(config, now)?, now).await?;
    for (name, spec) in config.schedules.iter().filter(|(_, spec)| spec.enabled && spec.platforms.is_empty()) {
        let timetable = Timetable::of(spec)?;
        let Some(due_at) = timetable.latest_until(run.started_at) else { continue };
        if store.fires_list(Some(name), 1).await?.is_empty() {
            store.fire_run_record(term, name, (due_at, run.id), timetable.next_after(now), now).await?;
        }
    }
    Ok(())
}
