//! Plans the runs that are due, on the one host that leads.
//!
//! Every look is the same, whether it is the first after a crash or the thousandth of a quiet night: what is due is read from the
//! database, and what is decided is written there in the transaction that plans it. So a look may end anywhere: the next one, by whichever
//! host, goes on from what was committed.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::pipeline::collection::report::RunRequest;
use crate::pipeline::service::schedules::configured;
use crate::pipeline::service::{RETRY_AFTER, ServiceContext};
use crate::pipeline::{Host, HostError};
use backline_model::{Fire, FireDecision, Release, Schedule, ScheduleSpec};
use backline_rules::schedule::Timetable;
use backline_store::{PlanGuard, Scope, StoreError, Term};

/// The role of the host that plans.
pub const ROLE: &str = "scheduler";

/// Activations planned as one run: bounds the transaction that takes them out.
const ACTIVATIONS_AT_ONCE: u32 = 100_000;

/// What a host knows of its own leading.
#[derive(Default)]
struct Dispatcher {
    term: Option<Term>,
    /// The configuration's schedules as they were last written to the database in this term.
    synced: Option<BTreeMap<String, ScheduleSpec>>,
    /// What batches had said of their releases when these were last judged.
    judged: Option<(u64, i64)>,
}

/// Goes on until the service stops; then gives the role up, so that another host takes it at once.
pub(in crate::pipeline) async fn serve(context: ServiceContext) {
    let mut office = Dispatcher::default();
    while !context.stop.is_cancelled() {
        let host = context.host();
        let rest = match look(&context, &host, &mut office).await {
            Ok(()) => Duration::from_millis(host.config().service.poll_ms),
            Err(error) => {
                tracing::warn!(error = chain(&error), "the scheduler could not look what is due; it does so again");
                RETRY_AFTER
            }
        };
        tokio::select! {
            () = context.rest(rest) => {}
            () = context.activations.notified() => {}
        }
    }
    let host = context.host();
    host.telemetry().leads(false);
    if let Some(term) = office.term
        && let Err(error) = host.store().role_resign(&term, host.clock().now()).await
    {
        tracing::warn!(
            error = chain(&error),
            "the scheduler's role could not be given up; another host takes it when its time is over"
        );
    }
}

/// Takes the role or renews it, and does what is due in it.
async fn look(context: &ServiceContext, host: &Host, office: &mut Dispatcher) -> Result<(), HostError> {
    let ttl = Duration::from_millis(host.config().service.leader_ttl_ms);
    let term = host.store().role_take(ROLE, &context.name, host.clock().now(), ttl).await?;
    let number = |term: &Option<Term>| term.as_ref().map(|term| term.term);
    if number(&term) != number(&office.term) {
        match &term {
            Some(term) => tracing::info!(term = term.term, "this host is the scheduler now"),
            None => tracing::info!("another host is the scheduler now"),
        }
        *office = Dispatcher { term: term.clone(), ..Dispatcher::default() };
    }
    host.telemetry().leads(term.is_some());
    let Some(term) = term else { return Ok(()) };
    // A large plan may take longer than the role lasts; a stop need not wait for one, since what is not committed is not begun.
    tokio::select! {
        done = lead(host, &term, office) => match done {
            Err(HostError::Store(StoreError::TermLost { .. })) => {
                tracing::warn!("another host has taken the scheduler's role over; what was being planned is undone");
                Ok(())
            }
            done => done,
        },
        () = renew(context, host, ttl) => Ok(()),
        () = context.stop.cancelled() => Ok(()),
    }
}

/// Keeps the role while there is work in it; ends when it is lost.
async fn renew(context: &ServiceContext, host: &Host, ttl: Duration) {
    loop {
        tokio::time::sleep(ttl / 3).await;
        match host.store().role_take(ROLE, &context.name, host.clock().now(), ttl).await {
            Ok(Some(_)) => {}
            Ok(None) => return,
            // The commit will tell whether it still holds.
            Err(error) => tracing::warn!(error = chain(&error), "the scheduler's role could not be renewed"),
        }
    }
}

/// Everything that is due. What fails is logged and comes again with the next look; it keeps nothing else from being done.
async fn lead(host: &Host, term: &Term, office: &mut Dispatcher) -> Result<(), HostError> {
    let store = host.store();
    if office.synced.as_ref() != Some(&host.config().schedules) {
        let now = host.clock().now();
        store.schedules_sync(term, &configured(host.config(), now)?, now).await?;
        office.synced = Some(host.config().schedules.clone());
    }
    let schedules = store.schedules_list().await?;
    let enabled = || schedules.iter().filter(|schedule| schedule.spec.enabled);
    for fire in store.queued_fires_list().await? {
        if let Some(schedule) = enabled().find(|schedule| schedule.name == fire.schedule) {
            settled(&fire.schedule, start_queued(host, term, schedule, &fire).await)?;
        }
    }
    for schedule in enabled() {
        settled(&schedule.name, decide(host, term, schedule).await)?;
    }
    settled("activations", first_collections(host, term).await)?;
    settled("releases", host.judge_news(&mut office.judged).await)?;
    for run in store.unfinished_runs_list(&Scope::all_tenants()).await? {
        store.run_finish(&Scope::all_tenants(), run, host.clock().now()).await?;
    }
    Ok(())
}

/// An error with its causes, for the log.
fn chain<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    error
}

/// Lets only the loss of the role through.
fn settled(what: &str, done: Result<(), HostError>) -> Result<(), HostError> {
    match done {
        Err(lost @ HostError::Store(StoreError::TermLost { .. })) => Err(lost),
        Err(error) => {
            tracing::warn!(error = chain(&error), what, "what is due could not be done; it is tried again");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Starts what waited for its schedule's turn, once nothing of the schedule is under way.
async fn start_queued(host: &Host, term: &Term, schedule: &Schedule, fire: &Fire) -> Result<(), HostError> {
    if host.store().schedule_is_running(&schedule.name).await? {
        return Ok(());
    }
    let next_fire = Timetable::of(&schedule.spec)?.next_after(fire.fire_time);
    start(host, term, schedule, fire.fire_time, next_fire).await
}

/// Decides the times of one schedule since the last look.
async fn decide(host: &Host, term: &Term, schedule: &Schedule) -> Result<(), HostError> {
    let now = host.clock().now();
    if schedule.next_fire.is_none_or(|next| next > now) {
        return Ok(());
    }
    let timetable = Timetable::of(&schedule.spec)?;
    let busy = host.store().schedule_is_busy(&schedule.name).await?;
    let decisions = timetable.due(schedule.considered_until, now, busy);
    // In the order of their times, since a schedule never goes back.
    let mut without_run: Vec<(DateTime<Utc>, FireDecision)> = Vec::new();
    for (fire_time, decision) in decisions.fires {
        if decision == FireDecision::Started {
            record(host, term, schedule, &timetable, &mut without_run).await?;
            start(host, term, schedule, fire_time, timetable.next_after(fire_time)).await?;
        } else {
            without_run.push((fire_time, decision));
        }
    }
    record(host, term, schedule, &timetable, &mut without_run).await
}

async fn record(
    host: &Host,
    term: &Term,
    schedule: &Schedule,
    timetable: &Timetable,
    fires: &mut Vec<(DateTime<Utc>, FireDecision)>,
) -> Result<(), HostError> {
    let Some((last, _)) = fires.last() else { return Ok(()) };
    let next_fire = timetable.next_after(*last);
    host.store().fires_record(term, &schedule.name, fires, next_fire, host.clock().now()).await?;
    for (fire_time, decision) in fires.drain(..) {
        tracing::info!(schedule = schedule.name, %fire_time, decision = decision.as_str(), "no run now");
    }
    Ok(())
}

/// Plans the run of one time, for the artists' dates at that time.
async fn start(
    host: &Host,
    term: &Term,
    schedule: &Schedule,
    fire_time: DateTime<Utc>,
    next_fire: Option<DateTime<Utc>>,
) -> Result<(), HostError> {
    let request = RunRequest { trigger: schedule.name.clone(), due: Some(fire_time), ..RunRequest::default() };
    // What the schedule names, not what has a connector: an account without one waits on.
    let covered = RunRequest { platforms: schedule.spec.platforms.clone(), ..request.clone() };
    let awaited = host.awaited(&covered).await?;
    let drafts = host.drafts_of(releases(host, schedule).await?, &request).await?;
    let guard = PlanGuard::Fire { term, schedule: &schedule.name, fire_time, next_fire };
    match host.write_plan(&request, &drafts, &awaited, guard).await {
        Ok(run) => {
            let planned = run.counts.planned;
            tracing::info!(schedule = schedule.name, %fire_time, run = %run.id, planned, "a run was planned");
            Ok(())
        }
        // A schedule that was changed while a clock was behind names a time again: it has had its run.
        Err(HostError::Store(StoreError::FireDecided { .. })) => {
            let passed = [(fire_time, FireDecision::Skipped)];
            Ok(host.store().fires_record(term, &schedule.name, &passed, next_fire, host.clock().now()).await?)
        }
        Err(error) => Err(error),
    }
}

/// The releases a schedule collects with. A platform without one is no reason to leave the others out.
async fn releases(host: &Host, schedule: &Schedule) -> Result<Vec<Release>, HostError> {
    let platforms = &schedule.spec.platforms;
    let mut releases = host.active_releases().await?;
    releases.retain(|release| platforms.is_empty() || platforms.contains(release.platform()));
    for platform in platforms.iter().filter(|platform| !releases.iter().any(|r| r.platform() == *platform)) {
        tracing::warn!(schedule = schedule.name, %platform, "no connector is active; the schedule's run goes without it");
    }
    if releases.is_empty() {
        tracing::warn!(schedule = schedule.name, "no connector is active; its run is an empty one");
    }
    Ok(releases)
}

/// Plans everybody's first collection that is waiting. What somebody is still bringing about waits for the next look.
async fn first_collections(host: &Host, term: &Term) -> Result<(), HostError> {
    let activations = host.store().activations_list(&Scope::all_tenants(), ACTIVATIONS_AT_ONCE).await?;
    if activations.is_empty() {
        return Ok(());
    }
    if let Some(run) = host.plan_activations(term, &activations).await? {
        tracing::info!(run = %run.id, planned = run.counts.planned, "first collections were planned");
    }
    Ok(())
}
