//! Puts away what is past its time: by command, and in the service, on one host: once a week everything, and once a day what the terms of
//! platforms ask for.
//!
//! There is one way to do it, whether it is the first time, again, or after a crash: plan what is due then and do it, transaction by transaction.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, Months, TimeDelta, Utc};

use crate::pipeline::artists::privacy::again;
use crate::pipeline::service::{RETRY_AFTER, ServiceContext};
use crate::pipeline::{Host, HostError};
use backline_model::manifest::Policy;
use backline_model::retention::{Action, Step, Table};
use backline_model::{Platform, Release, ScheduleSpec};
use backline_rules::archive::{Plan, plan, rules};
use backline_rules::schedule::Timetable;
use backline_store::{ArchivePlace, ArchiveRun, Scope, Term};

/// The role of the host that puts away.
const ROLE: &str = "archive";

/// How often the service looks whether it is time, at most; more often where it asks the database more often.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Runs among which the last one that was done is looked for: more than fail in a week.
const RUNS_LOOKED_AT: u32 = 5_000;

/// How often what platforms' terms ask for is done.
const TERMS_EVERY: TimeDelta = TimeDelta::days(1);

/// Months of which empty parts are kept: late numbers may still come for them.
const EMPTY_MONTHS_KEPT: u32 = 24;

/// Months made ahead of time.
const MONTHS_AHEAD: u32 = 2;

/// How a run came about; stored as its origin.
mod origin {
    /// Somebody asked for it.
    pub(super) const MANUAL: &str = "manual";
    /// The weekly one.
    pub(super) const SCHEDULE: &str = "schedule";
    /// The daily one, of what platforms' terms ask for.
    pub(super) const TERMS: &str = "terms";
    /// None: when a service first looked.
    pub(super) const START: &str = "start";
}

/// A run that is to be made.
struct Due {
    at: DateTime<Utc>,
    origin: String,
}

/// Why nothing was put away.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A time to come.
    #[error(
        "{at} has not come yet: what is not past its time would go for good; give an earlier time, or leave --at out"
    )]
    Ahead {
        /// As given.
        at: DateTime<Utc>,
    },
    /// Another host is at it.
    #[error(
        "another process puts away what is past its time ({holder}); wait until it has ended, `backline archive runs` shows it"
    )]
    Busy {
        /// Who.
        holder: String,
    },
    /// The role went to another host.
    #[error("another host has taken over; what was done so far is done, and it does the rest")]
    TakenOver,
}

/// How far it has come.
#[derive(Clone, Debug)]
pub struct ArchiveProgress<'a> {
    /// What is being done.
    pub step: &'a Step,
    /// Which of how many steps, from 1.
    pub number: usize,
    /// How many steps there are.
    pub of: usize,
    /// Rows so far, in this step.
    pub rows: u64,
}

impl Host {
    /// What would be put away at a time, with how many rows that are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_plan(&self, at: DateTime<Utc>) -> Result<Plan, HostError> {
        let (mut plan, zones) = self.archive_steps(at).await?;
        for step in &mut plan.steps {
            step.rows = Some(self.store().archive_due_count(&Scope::all_tenants(), step, &zones, at).await?);
        }
        Ok(plan)
    }

    /// Puts away what was past its time at a time, which may be earlier than now, never later. Answers with how much that was.
    ///
    /// # Errors
    /// When the time is to come, another process is at it, or the database fails. What is done by then is done.
    pub async fn archive_run(
        &self,
        at: DateTime<Utc>,
        progress: &(dyn Fn(&ArchiveProgress<'_>) + Sync),
    ) -> Result<ArchiveRun, HostError> {
        if at > self.clock().now() {
            return Err(ArchiveError::Ahead { at }.into());
        }
        let term = self.archive_term().await?;
        let done = self.archive_in_term(&term, Due { at, origin: origin::MANUAL.to_owned() }, progress).await;
        self.store().role_resign(&term, self.clock().now()).await?;
        done
    }

    /// Takes the role. One whose holder was killed a moment ago is waited for.
    async fn archive_term(&self) -> Result<Term, HostError> {
        let ttl = Duration::from_millis(self.config().service.leader_ttl_ms);
        let until = self.clock().now() + ttl + RETRY_AFTER;
        // Not the host's name alone, which a service may have too.
        let name = format!("{} (command {})", self.name(), uuid::Uuid::now_v7().simple());
        let mut looks = tokio::time::interval(Duration::from_millis(200));
        loop {
            looks.tick().await;
            let now = self.clock().now();
            if let Some(term) = self.store().role_take(ROLE, &name, now, ttl).await? {
                return Ok(term);
            }
            let Some(leader) = self.store().role_get(ROLE).await? else { continue };
            // Whoever renews the role lives.
            if leader.expires_at > until || now > until {
                return Err(ArchiveError::Busy { holder: leader.holder }.into());
            }
        }
    }

    async fn archive_in_term(
        &self,
        term: &Term,
        due: Due,
        progress: &(dyn Fn(&ArchiveProgress<'_>) + Sync),
    ) -> Result<ArchiveRun, HostError> {
        let mut run = self.begin_archive_run(due).await?;
        let done = self.put_away(term, &mut run, progress).await;
        run.finished_at = Some(self.clock().now());
        match &done {
            Ok(()) => {
                "done".clone_into(&mut run.state);
                self.telemetry().archive_ended(self.clock().now());
            }
            Err(error) => {
                "failed".clone_into(&mut run.state);
                run.message = Some(error.to_string());
            }
        }
        self.store().archive_run_save(&run).await?;
        done.map(|()| run)
    }

    /// Writes down that a run begins, and what became of one that was cut off.
    async fn begin_archive_run(&self, due: Due) -> Result<ArchiveRun, HostError> {
        let now = self.clock().now();
        for mut before in self.store().archive_runs_list(10).await? {
            if before.state == "running" {
                "failed".clone_into(&mut before.state);
                before.message = Some("it was cut off; the next run did the rest".to_owned());
                self.store().archive_run_save(&before).await?;
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
        self.store().archive_run_save(&run).await?;
        Ok(run)
    }

    async fn put_away(
        &self,
        term: &Term,
        run: &mut ArchiveRun,
        progress: &(dyn Fn(&ArchiveProgress<'_>) + Sync),
    ) -> Result<(), HostError> {
        let store = self.store();
        let ttl = Duration::from_millis(self.config().service.leader_ttl_ms);
        let (mut held_until, holder) = (term.expires_at, term.holder.as_str());
        let at = run.as_of;
        let ahead = (0..=MONTHS_AHEAD).filter_map(|months| at.date_naive().checked_add_months(Months::new(months)));
        store.months_ensure(ahead).await?;
        let (mut plan, zones) = self.archive_steps(at).await?;
        if run.origin == origin::TERMS {
            plan.steps.retain(|step| step.daily);
        }
        let limit = self.config().archive.rows_per_transaction;
        let of = plan.steps.len();
        for (index, step) in plan.steps.iter().enumerate() {
            let mut rows = 0;
            let mut tell = |more: u64| {
                rows += more;
                if more > 0 {
                    let name = format!("{} {}", step.action.as_str(), step.table.as_str());
                    *run.counts.entry(name).or_default() += more;
                    self.telemetry().put_away(step.action.as_str(), step.table.as_str(), more);
                }
                progress(&ArchiveProgress { step, number: index + 1, of, rows });
            };
            tell(0);
            for month in store.archive_months_list(step).await? {
                self.keep_role(holder, &mut held_until, ttl).await?;
                tell(
                    again(|| async { store.archive_month_put_away(&Scope::all_tenants(), step, month).await })
                        .await?
                        .unwrap_or(0),
                );
            }
            if step.action == Action::Archive {
                store.archive_prepare(step).await?;
            }
            let mut place = Some(ArchivePlace::default());
            while let Some(from) = place {
                self.keep_role(holder, &mut held_until, ttl).await?;
                let taken = again(|| async {
                    store.archive_due_put_away(&Scope::all_tenants(), step, &zones, &from, limit, at).await
                })
                .await?;
                tell(taken.rows);
                place = taken.next;
            }
        }
        if let Some(old) = at.date_naive().checked_sub_months(Months::new(EMPTY_MONTHS_KEPT)) {
            for table in [Table::Metrics, Table::MetricsArchive, Table::Growth, Table::Documents] {
                store.months_drop_empty(table, old).await?;
            }
        }
        Ok(())
    }

    /// Renews the role when a third of its time is over.
    async fn keep_role(&self, holder: &str, held_until: &mut DateTime<Utc>, ttl: Duration) -> Result<(), HostError> {
        let now = self.clock().now();
        if now + ttl * 2 / 3 < *held_until {
            return Ok(());
        }
        match self.store().role_take(ROLE, holder, now, ttl).await? {
            Some(term) => {
                *held_until = term.expires_at;
                Ok(())
            }
            None => Err(ArchiveError::TakenOver.into()),
        }
    }

    /// The plan without counts, and the artists' time zones.
    async fn archive_steps(&self, at: DateTime<Utc>) -> Result<(Plan, Vec<String>), HostError> {
        let zones = self.store().artist_zones_list(&Scope::all_tenants()).await?;
        let policies = policies(&self.store().releases_list().await?);
        Ok((plan(&rules(&self.config().archive, &policies), &zones, at), zones))
    }
}

/// The policy of each platform as it was granted: of the active release, or else of the one that was installed last, since what was collected
/// under it is still there.
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

/// Goes on until the service stops: looks whether it is time, and does it in a role of its own.
pub(in crate::pipeline) async fn serve(context: ServiceContext) {
    while !context.stop.is_cancelled() {
        let host = context.host();
        let work = look(&context, &host);
        if let Some(Err(error)) = context.stop.run_until_cancelled(work).await {
            tracing::warn!(%error, "what is past its time could not be put away; it is tried again");
            context.rest(LOOK_EVERY * 10).await;
        }
        context.rest(LOOK_EVERY.min(Duration::from_millis(host.config().service.poll_ms.saturating_mul(10)))).await;
    }
}

async fn look(context: &ServiceContext, host: &Host) -> Result<(), HostError> {
    let config = &host.config().archive;
    if !config.enabled {
        return Ok(());
    }
    let spec = ScheduleSpec { cron: config.schedule.clone(), timezone: config.timezone, ..ScheduleSpec::default() };
    let timetable = Timetable::of(&spec)?;
    if due(host, &timetable).await?.is_none() {
        return Ok(());
    }
    let ttl = Duration::from_millis(host.config().service.leader_ttl_ms);
    let Some(term) = host.store().role_take(ROLE, &context.name, host.clock().now(), ttl).await? else { return Ok(()) };
    // Another host may have done it just before the role was free.
    let done = match due(host, &timetable).await {
        Ok(Some(due)) => host.archive_in_term(&term, due, &|_| {}).await.map(|run| {
            tracing::info!(origin = run.origin, counts = ?run.counts, "what was past its time is put away");
        }),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    host.store().role_resign(&term, host.clock().now()).await?;
    done
}

/// What is to be done now: what was begun and cut off, or what a time has come for since it was last done. The first look is what the first time
/// is counted from.
async fn due(host: &Host, timetable: &Timetable) -> Result<Option<Due>, HostError> {
    let now = host.clock().now();
    let runs = host.store().archive_runs_list(RUNS_LOOKED_AT).await?;
    if let Some(cut_off) = runs.iter().find(|run| run.state == "running") {
        return Ok(Some(Due { at: cut_off.as_of.min(now), origin: cut_off.origin.clone() }));
    }
    // A run that somebody made as of an earlier time says nothing of when the next one is due.
    let done = runs.iter().filter(|run| run.state == "done" && run.started_at - run.as_of < TERMS_EVERY);
    let latest = |whole: bool| {
        let of_use = done.clone().filter(|run| !whole || run.origin != origin::TERMS);
        of_use.map(|run| run.as_of).max()
    };
    let Some(any) = latest(false) else {
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
        host.store().archive_run_save(&start).await?;
        return Ok(None);
    };
    let due = |origin: &str| Some(Due { at: now, origin: origin.to_owned() });
    if timetable.next_after(latest(true).unwrap_or(any)).is_some_and(|time| time <= now) {
        return Ok(due(origin::SCHEDULE));
    }
    Ok(if now >= any + TERMS_EVERY { due(origin::TERMS) } else { None })
}
