//! Moves to the archive or deletes what is past its retention. A command does so on request; in the service one host
//! does so, everything once a week, and once a day what the platforms' terms require.
//!
//! A first run, a repetition and a run after a crash are the same: plan what is due and do it, transaction by
//! transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Months, TimeDelta, Utc};

use crate::config::Config;
use crate::pipeline::clocks::Clocks;
use crate::pipeline::context::{RETRY_AFTER, ServiceContext};
use crate::pipeline::error::{Classified, ErrorClass, with_causes};
use crate::pipeline::retry::retry_transient;
use crate::pipeline::watchdog::{Things, TurnEnd, TurnFailure, Undone};
use crate::telemetry::Telemetry;
use backline_model::clock::{Clock, ClockAhead, Past, latest_believed};
use backline_model::kill_points::{Point, point};
use backline_model::manifest::Policy;
use backline_model::retention::{Action, RetainedTable, RetentionStep};
use backline_model::{Platform, Release, ScheduleSpec};
use backline_rules::archive::{Plan, plan, rules};
use backline_rules::schedule::{ScheduleError, Timetable};
use backline_store::{ArchivePlace, ArchiveRun, Scope, Store, StoreError, Term};

/// The role of the host that archives.
const ROLE: &str = "archive";

/// How often the service checks whether a run is due, at most; more often if `service.poll_ms` is small.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Runs that are searched for the last successful one: more than can fail in a week.
const RUNS_LOOKED_AT: u32 = 5_000;

/// Interval of the runs that the platforms' terms require.
const TERMS_EVERY: TimeDelta = TimeDelta::days(1);

/// Months whose empty partitions are kept: late rows may still arrive for them.
const EMPTY_MONTHS_KEPT: u32 = 24;

/// Rows of a step that the database may refuse before the rest of the step is left for the next run: a table that
/// refuses so many most likely refuses all.
const REFUSED_MAX: u32 = 20;

/// Months whose partitions are created in advance.
const MONTHS_AHEAD: u32 = 2;

/// The origin of a run, as it is stored.
mod origin {
    /// A command requested it.
    pub(super) const MANUAL: &str = "manual";
    /// The weekly run.
    pub(super) const SCHEDULE: &str = "schedule";
    /// The daily run, of what the platforms' terms require.
    pub(super) const TERMS: &str = "terms";
    /// No run: marks when a service first checked.
    pub(super) const START: &str = "start";
}

/// A run that is due.
struct Due {
    at: DateTime<Utc>,
    origin: String,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database refused a part of the work; the rest is done.
    #[error(transparent)]
    Part(StoreError),
    /// The configured schedule is not valid.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The time is in the future.
    #[error(
        "{at} is in the future: rows that are not past their retention would be deleted; give an earlier time, or \
         leave --at out"
    )]
    Ahead {
        /// Time that was given.
        at: DateTime<Utc>,
    },
    /// The time has not passed by another clock.
    #[error(transparent)]
    Clock(#[from] ClockAhead),
    /// Another process is archiving.
    #[error("another process is archiving ({holder}); wait until it has ended, `backline archive runs` shows it")]
    Busy {
        /// Name of the process that has the role.
        holder: String,
    },
    /// Another host took the role over.
    #[error("another host has taken over; what was done so far stays done, and that host does the rest")]
    TakenOver,
}

/// What the database refused of the archive's work, while it goes on with the rest.
#[derive(Default)]
struct Failures(Things<String, StoreError>);

impl Failures {
    /// What a part of the work returned; none where the database refused it, which is told and kept.
    ///
    /// # Errors
    /// Where it would refuse everything else too. One that does not answer is met again when the role is renewed.
    fn passed<T>(&mut self, what: &str, done: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        if let Err(error) = &done {
            let is_no_answer = error.is_transient() || matches!(error, StoreError::InDoubt { .. });
            if error.is_outage() && !is_no_answer {
                return done.map(Some);
            }
            tracing::warn!(error = with_causes(error), what, "a part of the archive's work failed");
        }
        Ok(self.0.note(what.to_owned(), done))
    }

    /// An error of one part, and whether of all.
    fn ended(self) -> Result<(), ArchiveError> {
        self.0.ended().map_err(|undone| match undone {
            Undone::All(error) => ArchiveError::Store(error),
            Undone::Some(error) => ArchiveError::Part(error),
        })
    }
}

impl Classified for ArchiveError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) | Self::Part(error) => error.class(),
            Self::Schedule(_) | Self::Ahead { .. } | Self::Clock(_) | Self::Busy { .. } => ErrorClass::Refused,
            Self::TakenOver => ErrorClass::Partial,
        }
    }
}

/// Progress of a run.
#[derive(Clone, Debug)]
pub struct ArchiveProgress<'a> {
    /// The present step.
    pub step: &'a RetentionStep,
    /// Number of the step, from 1.
    pub number: usize,
    /// Number of steps.
    pub of: usize,
    /// Rows so far, in this step.
    pub rows: u64,
}

/// Moves and deletes what is past its retention. Cloning shares it.
#[derive(Clone)]
pub struct Archive {
    name: Arc<str>,
    config: Arc<Config>,
    telemetry: Telemetry,
    clock: Clock,
    clocks: Clocks,
    store: Store,
}

impl Archive {
    pub(in crate::pipeline) fn new(
        name: Arc<str>,
        config: Arc<Config>,
        telemetry: Telemetry,
        clock: Clock,
        clocks: Clocks,
        store: Store,
    ) -> Self {
        Self { name, config, telemetry, clock, clocks, store }
    }

    /// The steps that are due at a time, each with its number of rows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn plan(&self, at: DateTime<Utc>) -> Result<Plan, StoreError> {
        let (mut plan, zones) = self.archive_steps(at).await?;
        for step in &mut plan.steps {
            step.rows = Some(self.store.archive_due_count(&Scope::all_tenants(), step, &zones, at).await?);
        }
        Ok(plan)
    }

    /// Moves and deletes what was past its retention at a time, which may not be in the future. Returns the run with
    /// its counts.
    ///
    /// # Errors
    /// When the time is in the future, by this host's clock or the database's, another process is archiving, or the
    /// database fails. What was done until then stays done.
    pub async fn run(
        &self,
        at: DateTime<Utc>,
        progress: &(dyn Fn(&ArchiveProgress<'_>) + Sync),
    ) -> Result<ArchiveRun, ArchiveError> {
        if at > self.clock.now() {
            return Err(ArchiveError::Ahead { at });
        }
        self.clocks.past(at).await??;
        let term = self.archive_term().await?;
        let done = self.archive_in_term(&term, Due { at, origin: origin::MANUAL.to_owned() }, progress).await;
        self.store.role_resign(&term, self.clock.now()).await?;
        done
    }

    /// Removes answers to requests, alerts to people and bulk acts that need not be kept any more, and sessions of the
    /// dashboard that are over. Returns how many answers. Every host may: no statement needs another, and what
    /// `archive.enabled` is about are numbers.
    ///
    /// # Errors
    /// When this host's clock is ahead, or the database fails; [`ArchiveError::Part`] where it refuses some of the
    /// work, of which the log says what.
    pub async fn answers_remove(&self) -> Result<u64, ArchiveError> {
        let past = self.clocks.past(self.clock.now()).await??;
        let mut failures = Failures::default();
        failures.passed("alerts that ended", self.store.alert_messages_remove(past).await)?;
        failures.passed("sessions that are over", self.store.sessions_remove(past).await)?;
        failures.passed("bulk acts that ended", self.store.bulk_acts_remove(past).await)?;
        let answers = failures.passed("answers to requests", self.store.kept_answers_remove(past).await)?;
        failures.ended()?;
        Ok(answers.unwrap_or_default())
    }

    /// Takes the role. If its holder was killed a moment ago, waits until its term has expired.
    async fn archive_term(&self) -> Result<Term, ArchiveError> {
        let ttl = Duration::from_millis(self.config.service.leader_ttl_ms);
        let until = self.clock.now() + ttl + RETRY_AFTER;
        // A service may use the host's name alone.
        let name = format!("{} (command {})", self.name, uuid::Uuid::now_v7().simple());
        let mut looks = tokio::time::interval(Duration::from_millis(200));
        loop {
            looks.tick().await;
            let now = self.clock.now();
            if let Some(term) = self.store.role_take(ROLE, &name, now, ttl).await? {
                return Ok(term);
            }
            let Some(leader) = self.store.role_get(ROLE).await? else { continue };
            // A holder that renews the role is alive.
            if leader.expires_at > until || now > until {
                return Err(ArchiveError::Busy { holder: leader.holder });
            }
        }
    }

    async fn archive_in_term(
        &self,
        term: &Term,
        due: Due,
        progress: &(dyn Fn(&ArchiveProgress<'_>) + Sync),
    ) -> Result<ArchiveRun, ArchiveError> {
        let past = self.clocks.past(due.at).await??;
        let mut run = self.begin_archive_run(due).await?;
        point(Point::ArchiveBegun);
        let done = self.archive_rows(term, &mut run, past, progress).await;
        point(Point::ArchiveWorkDone);
        run.finished_at = Some(self.clock.now());
        match &done {
            Ok(()) => {
                "done".clone_into(&mut run.state);
                self.telemetry.archive_ended(self.clock.now());
            }
            Err(error) => {
                "failed".clone_into(&mut run.state);
                run.message = Some(with_causes(error));
            }
        }
        self.store.archive_run_save(&run).await?;
        done.map(|()| run)
    }

    /// Records that a run begins, and marks an interrupted one as failed.
    async fn begin_archive_run(&self, due: Due) -> Result<ArchiveRun, StoreError> {
        let now = self.clock.now();
        for mut before in self.store.archive_runs_list(10).await? {
            if before.state == "running" {
                "failed".clone_into(&mut before.state);
                before.message = Some("it was interrupted; the next run did the rest".to_owned());
                self.store.archive_run_save(&before).await?;
            }
        }
        let run = ArchiveRun {
            id: uuid::Uuid::now_v7(),
            origin: due.origin,
            as_of: due.at,
            started_at: now,
            finished_at: None,
            state: "running".to_owned(),
            counts: BTreeMap::new(),
            message: None,
        };
        self.store.archive_run_save(&run).await?;
        Ok(run)
    }

    async fn archive_rows(
        &self,
        term: &Term,
        run: &mut ArchiveRun,
        past: Past,
        progress: &(dyn Fn(&ArchiveProgress<'_>) + Sync),
    ) -> Result<(), ArchiveError> {
        let store = &self.store;
        let ttl = Duration::from_millis(self.config.service.leader_ttl_ms);
        let (mut held_until, holder) = (term.expires_at, term.holder.as_str());
        let at = past.at();
        let ahead = (0..=MONTHS_AHEAD).filter_map(|months| at.date_naive().checked_add_months(Months::new(months)));
        let mut failures = Failures::default();
        failures.passed("months to come", store.months_ensure(ahead).await)?;
        let (mut plan, zones) = self.archive_steps(at).await?;
        if run.origin == origin::TERMS {
            plan.steps.retain(|step| step.daily);
        }
        let limit = self.config.archive.rows_per_transaction;
        let of = plan.steps.len();
        for (index, step) in plan.steps.iter().enumerate() {
            let name = format!("{} {}", step.action.as_str(), step.table.as_str());
            let mut rows = 0;
            let mut tell = |more: u64| {
                rows += more;
                if more > 0 {
                    *run.counts.entry(name.clone()).or_default() += more;
                    self.telemetry.rows_archived(step.action.as_str(), step.table.as_str(), more);
                }
                progress(&ArchiveProgress { step, number: index + 1, of, rows });
            };
            tell(0);
            for month in failures.passed(&name, store.archive_months_list(step).await)?.unwrap_or_default() {
                self.keep_role(holder, &mut held_until, ttl).await?;
                let put_away = retry_transient(|| async {
                    store.archive_month_put_away(&Scope::all_tenants(), step, month, past).await
                });
                tell(failures.passed(&name, put_away.await)?.flatten().unwrap_or(0));
            }
            if step.action == Action::Archive && failures.passed(&name, store.archive_prepare(step).await)?.is_none() {
                continue;
            }
            let (mut place, mut refused) = (Some(ArchivePlace::default()), 0);
            while let Some(from) = place {
                self.keep_role(holder, &mut held_until, ttl).await?;
                let put_away = retry_transient(|| async {
                    store.archive_due_put_away(&Scope::all_tenants(), step, &zones, &from, limit, past).await
                });
                let Some(taken) = failures.passed(&name, put_away.await)? else { break };
                tell(taken.rows);
                place = taken.next;
                if let Some(error) = taken.refused {
                    failures.passed::<()>(&name, Err(error))?;
                    refused += 1;
                    if refused >= REFUSED_MAX {
                        break;
                    }
                }
            }
            point(Point::ArchiveStepDone);
        }
        if let Some(old) = at.date_naive().checked_sub_months(Months::new(EMPTY_MONTHS_KEPT)) {
            for table in [RetainedTable::Metrics, RetainedTable::MetricsArchive, RetainedTable::Documents] {
                failures.passed("empty months", store.months_drop_empty(table, old).await)?;
            }
        }
        failures.ended()
    }

    /// Renews the role when a third of its term is over.
    async fn keep_role(&self, holder: &str, held_until: &mut DateTime<Utc>, ttl: Duration) -> Result<(), ArchiveError> {
        let now = self.clock.now();
        if now + ttl * 2 / 3 < *held_until {
            return Ok(());
        }
        match self.store.role_take(ROLE, holder, now, ttl).await? {
            Some(term) => {
                *held_until = term.expires_at;
                Ok(())
            }
            None => Err(ArchiveError::TakenOver),
        }
    }

    /// The plan without counts, and the artists' time zones.
    async fn archive_steps(&self, at: DateTime<Utc>) -> Result<(Plan, Vec<String>), StoreError> {
        let zones = self.store.artist_zones_list(&Scope::all_tenants()).await?;
        let policies = policies(&self.store.releases_list().await?);
        Ok((plan(&rules(&self.config.archive, &policies), &zones, at), zones))
    }
}

/// The granted policy of each platform: of the active release, or else of the one installed last, because its data are
/// still there.
fn policies(releases: &[Release]) -> Vec<(Platform, Policy)> {
    let mut latest: HashMap<&Platform, &Release> = HashMap::new();
    for release in releases {
        let known = latest.entry(&release.manifest.connector.platform).or_insert(release);
        if (release.active, release.installed_at) > (known.active, known.installed_at) {
            *known = release;
        }
    }
    let mut policies: Vec<(Platform, Policy)> =
        latest.into_iter().map(|(platform, release)| (platform.clone(), release.grant.policy.clone())).collect();
    policies.sort_by(|(a, _), (b, _)| a.cmp(b));
    policies
}

/// Runs until the service stops: checks whether a run is due, and does it in a role of its own.
pub(in crate::pipeline) async fn serve(context: ServiceContext<Archive>) {
    while !context.stop.is_cancelled() {
        let archive = context.current();
        let mut end = TurnEnd::Skipped;
        let mut rest = LOOK_EVERY.min(Duration::from_millis(archive.config.service.poll_ms.saturating_mul(10)));
        if let Some(removed) = context.stop.run_until_cancelled(archive.answers_remove()).await {
            if let Err(error) = &removed {
                // What follows mostly fails of the same, and says so.
                tracing::debug!(%error, "old answers to requests were not removed; it is retried");
            }
            if matches!(removed, Err(ArchiveError::Part(_))) {
                // Each turn tells of what is kept.
                rest += LOOK_EVERY * 10;
            }
            end = end_of(&archive, &removed);
        }
        let work = look(&context, &archive);
        if let Some(looked) = context.stop.run_until_cancelled(work).await {
            if let Err(error) = &looked {
                tracing::warn!(%error, "the archive run failed; it is retried");
                rest += LOOK_EVERY * 10;
            }
            end = end_of(&archive, &looked).and(end);
        }
        context.rest(end, rest).await;
    }
}

/// How a turn ended of which this came.
fn end_of<T>(archive: &Archive, turn: &Result<T, ArchiveError>) -> TurnEnd {
    match turn {
        // A part is told with its run.
        Ok(_) | Err(ArchiveError::TakenOver | ArchiveError::Busy { .. } | ArchiveError::Part(_)) => TurnEnd::Good,
        // Readiness says at once that the clock jumped.
        Err(ArchiveError::Clock(_)) if !archive.clocks.is_right() => TurnEnd::Skipped,
        Err(ArchiveError::Store(error)) => TurnEnd::Failed(TurnFailure::of(error)),
        Err(error) => TurnEnd::Failed(TurnFailure::other(error)),
    }
}

async fn look(context: &ServiceContext<Archive>, archive: &Archive) -> Result<(), ArchiveError> {
    let config = &archive.config.archive;
    if !config.enabled {
        return Ok(());
    }
    let spec =
        ScheduleSpec { cron: config.schedule.clone(), timezone: config.timezone.clone(), ..ScheduleSpec::default() };
    let timetable = Timetable::of(&spec)?;
    // Also before a first look is recorded, from which intervals are counted.
    let now = archive.clock.now();
    archive.clocks.past(now).await??;
    if due(archive, &timetable, now).await?.is_none() {
        return Ok(());
    }
    // One statement at a time.
    let work = || context.heartbeat.work(Duration::from_millis(archive.config.database.long_statement_timeout_ms));
    work();
    let ttl = Duration::from_millis(archive.config.service.leader_ttl_ms);
    // At the time that was compared, by which something is due: the clock may have jumped since, and a role from before
    // that would be over at once.
    let Some(term) = archive.store.role_take(ROLE, &context.name, now, ttl).await? else {
        return Ok(());
    };
    // Another host may have done it just before the role became free.
    let done = match due(archive, &timetable, now).await {
        Ok(Some(due)) => archive.archive_in_term(&term, due, &|_| work()).await.map(|run| {
            tracing::info!(origin = run.origin, counts = ?run.counts, "the archive run is done");
        }),
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    };
    archive.store.role_resign(&term, archive.clock.now()).await?;
    done
}

/// The run that is due at a time: an interrupted one, or one whose time has come since the last. The first check is the
/// start of the first interval.
async fn due(archive: &Archive, timetable: &Timetable, now: DateTime<Utc>) -> Result<Option<Due>, StoreError> {
    let runs = archive.store.archive_runs_list(RUNS_LOOKED_AT).await?;
    if let Some(cut_off) = runs.iter().find(|run| run.state == "running") {
        return Ok(Some(Due { at: cut_off.as_of.min(now), origin: cut_off.origin.clone() }));
    }
    // What a clock that was ahead wrote down is done again now, and not when its time has come.
    let (believed, ahead): (Vec<&ArchiveRun>, Vec<&ArchiveRun>) =
        runs.iter().filter(|run| run.state == "done").partition(|run| run.as_of <= latest_believed(now));
    if !ahead.is_empty() && archive.clocks.difference().await?.is_some_and(|ahead| ahead < TimeDelta::zero()) {
        // To a clock that is behind, all times are ahead.
        return Ok(None);
    }
    let told = || {
        if let Some(ArchiveRun { id, as_of, .. }) = ahead.iter().max_by_key(|run| run.as_of) {
            tracing::warn!(run = %id, %as_of, "a clock that was ahead ran the archive; that run does not count");
        }
    };
    // A run for an earlier time does not move the next due time.
    let done = believed.into_iter().filter(|run| run.started_at - run.as_of < TERMS_EVERY);
    let latest = |whole: bool| {
        let of_use = done.clone().filter(|run| !whole || run.origin != origin::TERMS);
        of_use.map(|run| run.as_of).max()
    };
    let Some(any) = latest(false) else {
        told();
        let start = ArchiveRun {
            id: uuid::Uuid::now_v7(),
            origin: origin::START.to_owned(),
            as_of: now,
            started_at: now,
            finished_at: Some(now),
            state: "done".to_owned(),
            counts: BTreeMap::new(),
            message: None,
        };
        archive.store.archive_run_save(&start).await?;
        return Ok(None);
    };
    let due = |origin: &str| {
        told();
        Some(Due { at: now, origin: origin.to_owned() })
    };
    if timetable.next_after(latest(true).unwrap_or(any)).is_some_and(|time| time <= now) {
        return Ok(due(origin::SCHEDULE));
    }
    Ok(if now >= any + TERMS_EVERY { due(origin::TERMS) } else { None })
}
