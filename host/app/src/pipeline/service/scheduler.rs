//! Plans due runs, on the host that leads.
//!
//! Every pass is the same: what is due is read from the database, and decisions are written in the transaction that
//! plans them. So a pass may stop anywhere, and the next one, on any host, continues from what was committed.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use crate::config::Config;
use crate::pipeline::Host;
use crate::pipeline::collection::pauses::PAUSE_MAX;
use crate::pipeline::collection::report::RunRequest;
use crate::pipeline::collection::workers::finish_free_run;
use crate::pipeline::context::{RETRY_AFTER, ServiceContext};
use crate::pipeline::service::schedules::configured;
use crate::pipeline::watchdog::{Things, TurnEnd, TurnFailure, Undone};
use backline_model::clock::LAST_TIME;
use backline_model::{Fire, FireDecision, Release, Schedule, ScheduleSpec};
use backline_rules::alerting;
use backline_rules::delivery::LEASE;
use backline_rules::schedule::{ScheduleError, Timetable};
use backline_store::{Furthest, PlanGuard, Scope, SetBack, StoreError, Term};

/// The role of the host that plans.
pub(in crate::pipeline) const ROLE: &str = "scheduler";

/// Activations planned as one run: bounds the transaction.
const ACTIVATIONS_AT_ONCE: u32 = 100_000;

/// How far ahead of this host's clock the times of a schedule may be decided. More comes from a clock that was ahead:
/// hosts do not start unless their clocks differ by seconds at most.
const AHEAD_MAX: TimeDelta = TimeDelta::minutes(1);

/// How often the ledger is searched for rows that hold others up: it is read as a whole for it.
const SEARCH_EVERY: Duration = Duration::from_secs(60);

/// By how much a time may be further ahead than hosts set it: clocks differ by less.
const LEEWAY: TimeDelta = TimeDelta::minutes(10);

/// How long due work may take before the loop counts as stuck: the plan of a million accounts takes minutes.
const LEAD_MAX: Duration = Duration::from_secs(600);

/// What a host knows while it leads.
#[derive(Default)]
struct Leadership {
    term: Option<Term>,
    /// The configuration's schedules as last written to the database in this term.
    synced: Option<BTreeMap<String, ScheduleSpec>>,
    /// The state of the tallies when releases were last checked.
    reviewed: Option<(u64, i64)>,
    /// When the ledger was last searched for rows that hold others up.
    searched_at: Option<Instant>,
    /// Why the latest pass failed, where it went to its end all the same.
    failure: Option<TurnFailure>,
}

/// What became of the due work of one pass.
#[derive(Default)]
struct Pass {
    things: Things<String, LeadError>,
    /// Why a list of what is due could not be read.
    unread: Option<TurnFailure>,
}

impl Pass {
    /// Why the pass failed; none where only some things did.
    fn failure(self) -> Option<TurnFailure> {
        let of_things = match self.things.ended() {
            Err(Undone::All(error)) => Some(TurnFailure::from(&error)),
            Ok(()) | Err(Undone::Some(_)) => None,
        };
        self.unread.or(of_things)
    }
}

/// Why due work was not done.
#[derive(Debug, thiserror::Error)]
enum LeadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The role can neither be taken nor renewed.
    #[error(transparent)]
    Role(StoreError),
}

impl From<&LeadError> for TurnFailure {
    fn from(error: &LeadError) -> Self {
        match error {
            LeadError::Store(error) | LeadError::Role(error) => Self::of(error),
            LeadError::Schedule(error) => Self::other(error),
        }
    }
}

/// Runs until the service stops; then resigns the role, so that another host takes it at once.
pub(super) async fn serve(context: ServiceContext<Host>) {
    let mut leadership = Leadership::default();
    while !context.stop.is_cancelled() {
        let host = context.current();
        let (end, rest) = match look(&context, &host, &mut leadership).await {
            Ok(()) => {
                let end = leadership.failure.take().map_or(TurnEnd::Good, TurnEnd::Failed);
                (end, Duration::from_millis(host.config().service.poll_ms))
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "the scheduler could not read what is due; it retries");
                // Readiness says that of a role as soon as it has run out.
                let is_told = matches!(error, LeadError::Role(_));
                (if is_told { TurnEnd::Skipped } else { TurnEnd::Failed(TurnFailure::from(&error)) }, RETRY_AFTER)
            }
        };
        tokio::select! {
            () = context.rest(end, rest) => {}
            () = context.activations.notified() => {}
        }
    }
    let host = context.current();
    host.telemetry().leads(false);
    if let Some(term) = leadership.term
        && let Err(error) = host.store().role_resign(&term, host.clock().now()).await
    {
        tracing::warn!(
            error = chain(&error),
            "the scheduler's role could not be resigned; another host takes it when the term expires"
        );
    }
}

/// Takes or renews the role, and does the work that is due.
async fn look(context: &ServiceContext<Host>, host: &Host, leadership: &mut Leadership) -> Result<(), LeadError> {
    let Some(now) = host.clocks().right_now() else {
        // The role runs out by itself; a time of this clock must not be written for its end.
        *leadership = Leadership::default();
        host.telemetry().leads(false);
        return Ok(());
    };
    let ttl = Duration::from_millis(host.config().service.leader_ttl_ms);
    let leads = leadership.term.is_some();
    let taken = async {
        // For the log only, so one that can't be read keeps nobody from the role.
        let before = if leads { None } else { host.store().role_get(ROLE).await.ok().flatten() };
        let term = host.store().role_take(ROLE, &context.name, now, ttl).await?;
        Ok::<_, StoreError>((before, term))
    };
    let (before, term) = match StoreError::in_time(ttl / 3, "take the scheduler's role", taken).await {
        Ok(taken) => taken,
        Err(error) => {
            if leadership.term.as_ref().is_none_or(|term| term.expires_at <= host.clock().now()) {
                host.telemetry().leads(false);
                context.condition.role_lost(Some(&error));
            }
            return Err(LeadError::Role(error));
        }
    };
    context.condition.role_lost(None);
    let number = |term: &Option<Term>| term.as_ref().map(|term| term.term);
    if number(&term) != number(&leadership.term) {
        match &term {
            Some(term) => {
                let is_ahead = |before: &Term| before.is_ahead(now, ttl) && before.holder != term.holder;
                if let Some(Term { holder, expires_at: until, .. }) = before.filter(is_ahead) {
                    tracing::warn!(holder, %until, "a clock that was ahead had taken the scheduler's role; taken over");
                }
                tracing::info!(term = term.term, "this host is the scheduler now");
            }
            None => tracing::info!("another host is the scheduler now"),
        }
        *leadership = Leadership::default();
    }
    leadership.term.clone_from(&term);
    host.telemetry().leads(term.is_some());
    let Some(term) = term else { return Ok(()) };
    context.heartbeat.work(LEAD_MAX);
    // A large plan may take longer than the role lasts. A stop does not wait for it: what is not committed has not
    // begun.
    tokio::select! {
        done = lead(host, &term, leadership) => match done {
            Err(LeadError::Store(StoreError::TermLost { .. })) => {
                tracing::warn!("another host has taken over the scheduler's role; the present plan is rolled back");
                Ok(())
            }
            done => done,
        },
        () = renew(context, host, ttl) => Ok(()),
        () = context.stop.cancelled() => Ok(()),
    }
}

/// Keeps the role while there is work in it; ends when it is lost.
async fn renew(context: &ServiceContext<Host>, host: &Host, ttl: Duration) {
    loop {
        tokio::time::sleep(ttl / 3).await;
        let Some(now) = host.clocks().right_now() else { return };
        let taken = host.store().role_take(ROLE, &context.name, now, ttl);
        match StoreError::in_time(ttl / 3, "renew the scheduler's role", taken).await {
            Ok(Some(_)) => {}
            Ok(None) => return,
            // The commit checks whether the role is still held.
            Err(error) => tracing::warn!(error = chain(&error), "the scheduler's role could not be renewed"),
        }
    }
}

/// Does everything that is due. A failure is logged and retried with the next pass; it does not stop the rest.
async fn lead(host: &Host, term: &Term, leadership: &mut Leadership) -> Result<(), LeadError> {
    let (store, mut pass) = (host.store(), Pass::default());
    if leadership.synced.as_ref() != Some(&host.config().schedules) {
        let synced = sync_schedules(host, term).await;
        if synced.is_ok() {
            leadership.synced = Some(host.config().schedules.clone());
        }
        settled(&mut pass, "the configuration's schedules", synced)?;
    }
    let schedules = listed(&mut pass, "schedules", store.schedules_list().await)?;
    // Health names those whose times can't be read.
    let is_on = |schedule: &&Schedule| schedule.spec.enabled && Timetable::of(&schedule.spec).is_ok();
    let enabled = || schedules.iter().filter(is_on);
    for fire in listed(&mut pass, "queued times of firing", store.queued_fires_list().await)? {
        if let Some(schedule) = enabled().find(|schedule| schedule.name == fire.schedule) {
            settled(&mut pass, &fire.schedule, start_queued(host, term, schedule, &fire).await)?;
        }
    }
    for schedule in enabled() {
        settled(&mut pass, &schedule.name, decide(host, term, schedule).await)?;
    }
    let planned = first_collections(host, term, &mut pass).await;
    settled(&mut pass, "activations", planned)?;
    let reviewed = host.releases().review_news(&mut leadership.reviewed).await.map_err(LeadError::from);
    settled(&mut pass, "releases", reviewed)?;
    if leadership.searched_at.is_none_or(|at| at.elapsed() >= SEARCH_EVERY) {
        leadership.searched_at = Some(Instant::now());
        settled(&mut pass, "batches that can't be read", end_unreadable(host).await.map_err(LeadError::from))?;
        settled(&mut pass, "times that are ahead", set_times_back(host).await.map_err(LeadError::from))?;
    }
    settled(&mut pass, "batches without a connector", exclude_orphaned(host).await.map_err(LeadError::from))?;
    for run in listed(&mut pass, "open runs", store.unfinished_runs_list(&Scope::all_tenants()).await)? {
        let finished = finish_free_run(store, run, host.clock().now()).await;
        settled(&mut pass, "a run's end", finished.map_err(LeadError::from))?;
    }
    leadership.failure = pass.failure();
    Ok(())
}

/// Writes the configuration's schedules into the database.
async fn sync_schedules(host: &Host, term: &Term) -> Result<(), LeadError> {
    let now = host.clock().now();
    Ok(host.store().schedules_sync(term, &configured(host.config(), now)?, now).await?)
}

/// Ends batches whose platform has no connector any more, so that their runs end too.
async fn exclude_orphaned(host: &Host) -> Result<(), StoreError> {
    for (platform, accounts) in host.store().orphaned_batches_exclude(&Scope::all_tenants(), host.clock().now()).await?
    {
        tracing::warn!(%platform, accounts, "no connector is active any more; the accounts that waited are left out");
    }
    Ok(())
}

/// Ends batches that can't be read: their runs, and so their schedules, would wait for them.
async fn end_unreadable(host: &Host) -> Result<(), StoreError> {
    let ended = host.store().unreadable_batches_end(&Scope::all_tenants(), host.clock().now()).await?;
    if ended.batches > 0 {
        let (batches, accounts) = (ended.batches, ended.accounts);
        tracing::warn!(batches, accounts, "batches can't be read; their accounts are left out, and health names them");
    }
    Ok(())
}

/// Sets times back that a clock that was ahead has set: runs and lines would wait for them.
async fn set_times_back(host: &Host) -> Result<(), StoreError> {
    let (store, all, now) = (host.store(), Scope::all_tenants(), host.clock().now());
    // To a clock that is behind, all times are ahead.
    if host.clocks().difference().await?.is_some_and(|ahead| ahead < TimeDelta::zero()) {
        return Ok(());
    }
    let set_back = store.times_set_back(&all, &furthest(host.config(), now), now).await?;
    let SetBack { batches, deliveries, alerts, releases, receivers } = set_back;
    if batches + deliveries + alerts + releases > 0 {
        tracing::warn!(
            batches,
            deliveries,
            alerts,
            releases,
            "a clock that was ahead had set their times; they are due now, and releases are judged from now on"
        );
    }
    if receivers > 0 {
        tracing::warn!(receivers, "webhooks or routes of alerts had a place past the latest event; set back to it");
    }
    Ok(())
}

/// The latest times that hosts with this configuration set.
fn furthest(config: &Config, now: DateTime<Utc>) -> Furthest {
    let after = |wait: Duration| {
        let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
        now.checked_add_signed(wait).unwrap_or(LAST_TIME)
    };
    let later = |at: DateTime<Utc>| at.checked_add_signed(LEEWAY).unwrap_or(LAST_TIME);
    let (collection, deliveries) = (&config.collection, &config.deliveries);
    let lease_ends = after(Duration::from_millis(collection.lease_ttl_ms));
    // Shorter pauses and waits for the next attempt are within the leeway.
    let next_attempt = after(Duration::from_millis(collection.retry_wait_max_ms));
    Furthest {
        lease_ends,
        batch: later(lease_ends.max(next_attempt)),
        deferred: later(now + PAUSE_MAX),
        delivery: later(after(Duration::from_millis(deliveries.backoff_max_ms))),
        delivery_lease: later(after(LEASE)),
        alert: later(now + alerting::DUE_WITHIN),
        alert_retry: later(now + alerting::BACKOFF_MAX),
        alert_lease: later(after(alerting::LEASE)),
    }
}

/// An error with its causes, for the log.
fn chain<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    error
}

/// A list of what may be due; an empty one where it can't be read, which is logged, and by which the pass failed. A
/// database that does not answer is not asked for what comes after it.
fn listed<T>(pass: &mut Pass, what: &str, list: Result<Vec<T>, StoreError>) -> Result<Vec<T>, LeadError> {
    match list {
        Ok(list) => Ok(list),
        Err(error) if error.is_outage() => Err(error.into()),
        Err(error) => {
            tracing::warn!(error = chain(&error), what, "what is due can't be read; it is retried");
            pass.unread = Some(TurnFailure::of(&error));
            Ok(Vec::new())
        }
    }
}

/// Logs errors and notes what became of a thing, and returns only the loss of the role.
fn settled(pass: &mut Pass, what: &str, done: Result<(), LeadError>) -> Result<(), LeadError> {
    if let Err(lost @ LeadError::Store(StoreError::TermLost { .. })) = done {
        return Err(lost);
    }
    if let Err(error) = &done {
        tracing::warn!(error = chain(error), what, "due work failed; it is retried");
    }
    pass.things.note(what.to_owned(), done);
    Ok(())
}

/// Starts a queued run once no run of its schedule is active.
async fn start_queued(host: &Host, term: &Term, schedule: &Schedule, fire: &Fire) -> Result<(), LeadError> {
    if host.store().schedule_is_running(&schedule.name).await? {
        return Ok(());
    }
    let next_fire = Timetable::of(&schedule.spec)?.next_after(fire.fire_time);
    start(host, term, schedule, fire.fire_time, next_fire).await
}

/// Decides the due times of one schedule since the last pass.
async fn decide(host: &Host, term: &Term, schedule: &Schedule) -> Result<(), LeadError> {
    let Some(now) = host.clocks().right_now() else { return Ok(()) };
    if schedule.considered_until > now + AHEAD_MAX {
        // It is this host's clock that is behind: what was decided has passed, and would be decided again.
        if host.clocks().difference().await?.is_some_and(|ahead| ahead < TimeDelta::zero()) {
            return Ok(());
        }
        let next_fire = Timetable::of(&schedule.spec)?.next_after(now);
        if host.store().schedule_set_back(term, &schedule.name, next_fire, now).await? {
            let until = schedule.considered_until;
            tracing::warn!(schedule = schedule.name, %until, "a clock that was ahead had decided its times; set back");
        }
        return Ok(());
    }
    let timetable = Timetable::of(&schedule.spec)?;
    // Not by the time that is stored: the zone's rules may have changed since it was computed.
    if timetable.next_after(schedule.considered_until).is_none_or(|next| next > now) {
        return Ok(());
    }
    let busy = host.store().schedule_is_busy(&schedule.name).await?;
    let decisions = timetable.due(schedule.considered_until, now, busy);
    // In order of time: a schedule never goes back.
    let mut without_run: Vec<(DateTime<Utc>, FireDecision)> = Vec::new();
    for (fire_time, decision) in decisions.fires {
        if decision == FireDecision::Started {
            record(host, term, schedule, &timetable, &mut without_run).await?;
            start(host, term, schedule, fire_time, timetable.next_after(fire_time)).await?;
        } else {
            without_run.push((fire_time, decision));
        }
    }
    record(host, term, schedule, &timetable, &mut without_run).await?;
    let kept = timetable.queue_max();
    for fire_time in host.store().queued_fires_skip(term, &schedule.name, kept, now).await? {
        let reason = "more times than that wait for their turn: its runs take longer than the time between them";
        tracing::warn!(schedule = schedule.name, %fire_time, kept, reason, "a queued run is skipped");
    }
    Ok(())
}

async fn record(
    host: &Host,
    term: &Term,
    schedule: &Schedule,
    timetable: &Timetable,
    fires: &mut Vec<(DateTime<Utc>, FireDecision)>,
) -> Result<(), LeadError> {
    let Some((last, _)) = fires.last() else { return Ok(()) };
    let next_fire = timetable.next_after(*last);
    host.store().fires_record(term, &schedule.name, fires, next_fire, host.clock().now()).await?;
    for (fire_time, decision) in fires.drain(..) {
        tracing::info!(schedule = schedule.name, %fire_time, decision = decision.as_str(), "no run now");
    }
    Ok(())
}

/// Plans the run for one due time, for the artists' dates at that time.
async fn start(
    host: &Host,
    term: &Term,
    schedule: &Schedule,
    fire_time: DateTime<Utc>,
    next_fire: Option<DateTime<Utc>>,
) -> Result<(), LeadError> {
    let request = RunRequest { trigger: schedule.name.clone(), due: Some(fire_time), ..RunRequest::default() };
    // All platforms that the schedule names, even without a connector: their first collections stay pending.
    let covered = RunRequest { platforms: schedule.spec.platforms.clone(), ..request.clone() };
    let awaited = host.planner().awaited(&covered).await?;
    let drafts = host.planner().drafts_of(releases(host, schedule).await?, &request).await?;
    let guard = PlanGuard::Fire { term, schedule: &schedule.name, fire_time, next_fire };
    match host.planner().write_plan(&request, &drafts, &awaited, guard).await {
        Ok(run) => {
            let planned = run.counts.planned;
            tracing::info!(schedule = schedule.name, %fire_time, run = %run.id, planned, "a run was planned");
            Ok(())
        }
        // A schedule that was changed while a clock was behind can name a time twice; its run exists already.
        Err(StoreError::FireDecided { .. }) => {
            let passed = [(fire_time, FireDecision::Skipped)];
            Ok(host.store().fires_record(term, &schedule.name, &passed, next_fire, host.clock().now()).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The releases that a schedule collects with. A platform without one does not stop the others.
async fn releases(host: &Host, schedule: &Schedule) -> Result<Vec<Release>, StoreError> {
    let platforms = &schedule.spec.platforms;
    let mut releases = host.planner().active_releases().await?;
    releases.retain(|release| platforms.is_empty() || platforms.contains(release.platform()));
    for platform in platforms.iter().filter(|platform| !releases.iter().any(|r| r.platform() == *platform)) {
        tracing::warn!(schedule = schedule.name, %platform, "no connector is active; the schedule's run leaves it out");
    }
    if releases.is_empty() {
        tracing::warn!(schedule = schedule.name, "no connector is active; its run is empty");
    }
    Ok(releases)
}

/// Plans all pending first collections. Transactions that are not committed yet are seen in the next pass.
async fn first_collections(host: &Host, term: &Term, pass: &mut Pass) -> Result<(), LeadError> {
    let activations = host.store().activations_list(&Scope::all_tenants(), ACTIVATIONS_AT_ONCE).await;
    let activations = listed(pass, "first collections", activations)?;
    if activations.is_empty() {
        return Ok(());
    }
    if let Some(run) = host.planner().plan_activations(term, &activations).await? {
        tracing::info!(run = %run.id, planned = run.counts.planned, "first collections were planned");
    }
    Ok(())
}
