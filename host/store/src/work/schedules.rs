//! Schedules, and the decision on each of their times.
//!
//! The key (schedule, time of firing) is what keeps two hosts from starting the same run: the row is written in the
//! transaction that plans it.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, DatabaseKind, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, LastRow, left_of, more_after, read_corrected};
use crate::work::leaders::{Term, term_check_in_txn};
use backline_model::{CatchUp, Fire, FireDecision, Overlap, RunId, Schedule, ScheduleOrigin, ScheduleSpec, Zone};

macro_rules! schedules_sql {
    ($which:literal) => {
        concat!(
            "SELECT name, origin, cron, timezone, platforms::text AS platforms, catch_up, overlap,
                 enabled::int AS enabled, ",
            "considered_until::text AS considered_until, next_fire::text AS next_fire, last_fire::text AS last_fire
                 FROM schedules ",
            $which
        )
    };
}

macro_rules! fires_sql {
    ($which:literal) => {
        concat!(
            "SELECT schedule, fire_time::text AS fire_time, decision, run_id::text AS run_id,
                 decided_at::text AS decided_at ",
            "FROM schedule_fires ",
            $which
        )
    };
}

/// A schedule as it is configured, with its next time from now.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// Its name.
    pub name: String,
    /// Its times, platforms, and how it catches up and overlaps.
    pub spec: ScheduleSpec,
    /// Its first time after now; none while it is switched off.
    pub next_fire: Option<DateTime<Utc>>,
}

/// A schedule's progress.
pub(crate) struct ScheduleProgress {
    /// What was decided last.
    pub fire_time: DateTime<Utc>,
    /// The time after it.
    pub next_fire: Option<DateTime<Utc>>,
    /// Whether a run was started for it.
    pub started: bool,
}

impl Store {
    /// Makes the configuration's schedules those that are configured. A new one begins now; so does one whose times
    /// have changed or that was switched on: nothing fires for the past. What was queued for one that is removed or
    /// switched off is skipped. One that can't be read is replaced where the configuration has it, removed where it had
    /// it, and left alone where a command added it.
    ///
    /// # Errors
    /// [`StoreError::TermLost`] when another host has taken the role over.
    pub async fn schedules_sync(
        &self,
        term: &Term,
        configured: &[NewSchedule],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        let rows = work.query(schedules_sql!("ORDER BY name FOR UPDATE"));
        let rows = work.rows("read schedules", rows).await?;
        let mut stored = Vec::with_capacity(rows.len());
        for row in &rows {
            match schedule_of(row) {
                Ok(schedule) => stored.push(schedule),
                Err(StoreError::Unreadable { .. }) => {
                    // One whose name is not UTF-8 is none of the configuration's.
                    let Ok(name) = row.text("name") else { continue };
                    let is_configured = configured.iter().any(|new| new.name == name);
                    if is_configured || origin_of(row) == ScheduleOrigin::Config {
                        delete(&mut work, &name, now).await?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        for new in configured {
            match stored.iter().find(|schedule| schedule.name == new.name) {
                None => insert(&mut work, new, ScheduleOrigin::Config, now).await?,
                Some(old) if old.origin == ScheduleOrigin::Config && old.spec == new.spec => {}
                Some(old) => change(&mut work, old, new, ScheduleOrigin::Config, now).await?,
            }
        }
        for old in stored.iter().filter(|schedule| schedule.origin == ScheduleOrigin::Config) {
            if !configured.iter().any(|new| new.name == old.name) {
                delete(&mut work, &old.name, now).await?;
            }
        }
        term_check_in_txn(&mut work, term).await?;
        work.commit().await
    }

    /// Adds a schedule that the database owns.
    ///
    /// # Errors
    /// [`StoreError::ScheduleExists`], [`StoreError::ScheduleConfigured`] when the name is taken.
    pub async fn schedule_add(&self, new: &NewSchedule, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        match own_row(&mut work, &new.name).await {
            Ok(_) => return Err(StoreError::ScheduleExists { name: new.name.clone() }),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        insert(&mut work, new, ScheduleOrigin::Database, now).await?;
        work.commit().await
    }

    /// Removes a schedule that the database owns, even one that can't be read; decisions on its times stay on record.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::ScheduleConfigured`] when the configuration owns it.
    pub async fn schedule_remove(&self, name: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        own_row(&mut work, name).await?;
        delete(&mut work, name, now).await?;
        work.commit().await
    }

    /// Switches a schedule on or off that the database owns. Times that passed while it was off are not caught up on.
    ///
    /// # Errors
    /// As [`schedule_remove`](Self::schedule_remove).
    pub async fn schedule_set_enabled(
        &self,
        name: &str,
        enabled: bool,
        next_fire: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        let old = schedule_of(&own_row(&mut work, name).await?)?;
        let spec = ScheduleSpec { enabled, ..old.spec.clone() };
        let new = NewSchedule { name: name.to_owned(), spec, next_fire: next_fire.filter(|_| enabled) };
        if old.spec.enabled != enabled {
            change(&mut work, &old, &new, ScheduleOrigin::Database, now).await?;
        }
        work.commit().await
    }

    /// Every schedule that can be read, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn schedules_list(&self) -> Result<Vec<Schedule>, StoreError> {
        let rows = self.rows("list schedules", self.query(schedules_sql!("ORDER BY name"))).await?;
        self.unreadable.read("schedules", "name", Extent::Whole, &rows, schedule_of)
    }

    /// Decisions on a schedule's times, or of all schedules', the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fires_list(&self, schedule: Option<&str>, limit: u32) -> Result<Vec<Fire>, StoreError> {
        let statement = self
            .query(fires_sql!("WHERE ($1::text IS NULL OR schedule = $1) ORDER BY fire_time DESC, schedule LIMIT $2"));
        let statement = statement.bind(schedule.map(clean)).bind(i64::from(limit));
        let rows = self.rows("list times of firing", statement).await?;
        self.unreadable.read("schedule_fires", "schedule", Extent::Part, &rows, fire_of)
    }

    /// Decisions on one schedule's times, the latest first, and only those on times before one: where the next page
    /// begins.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fires_before_list(
        &self,
        schedule: &str,
        before: Option<DateTime<Utc>>,
        limit: u32,
    ) -> Result<Vec<Fire>, StoreError> {
        let (mut before, mut found) = (before.map(time_text), Vec::new());
        loop {
            let asked = left_of(limit, found.len());
            let statement = self.query(fires_sql!(
                "WHERE schedule = $1 AND ($2::timestamptz IS NULL OR fire_time < $2::timestamptz)
                 ORDER BY schedule_fires.fire_time DESC LIMIT $3"
            ));
            let statement = statement.bind(clean(schedule)).bind(before).bind(i64::from(asked));
            let rows = self.rows("list a schedule's times of firing", statement).await?;
            found.extend(self.unreadable.read("schedule_fires", "schedule", Extent::Part, &rows, fire_of)?);
            let last = more_after(&rows, asked, found.len(), limit);
            let Some(place) = last.and_then(|last| last.below("fire_time")) else { return Ok(found) };
            before = Some(place);
        }
    }

    /// The times that wait for their schedule's turn, the oldest of each schedule.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn queued_fires_list(&self) -> Result<Vec<Fire>, StoreError> {
        let statement = self.query(fires_sql!(
            "WHERE decision = 'queued' AND NOT EXISTS (SELECT 1 FROM schedule_fires o
                 WHERE o.decision = 'queued' AND o.schedule = schedule_fires.schedule
                     AND o.fire_time < schedule_fires.fire_time)
             ORDER BY fire_time, schedule"
        ));
        let rows = self.rows("read what is queued", statement).await?;
        self.unreadable.read("schedule_fires", "schedule", Extent::Part, &rows, fire_of)
    }

    /// Skips the oldest of the times that wait for a schedule's turn, so that no more than `kept` do, and those that
    /// can't be read. Returns those that it skipped and could read.
    ///
    /// # Errors
    /// [`StoreError::TermLost`] when another host has taken the role over.
    pub async fn queued_fires_skip(
        &self,
        term: &Term,
        schedule: &str,
        kept: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<DateTime<Utc>>, StoreError> {
        const BEYOND: &str = "SELECT fire_time::text AS fire_time FROM schedule_fires
             WHERE schedule = $1 AND decision = 'queued' AND {is_time: fire_time}
             ORDER BY fire_time DESC LIMIT 1 OFFSET $2";
        let latest = self.query(BEYOND).bind(clean(schedule)).bind(i64::from(kept));
        let latest = self.rows("measure a schedule's queue", latest).await?;
        // This is asked at each time of the schedule, so nothing is written where nothing is to be skipped.
        if latest.is_empty() && !self.has_timeless_fire(schedule).await? {
            return Ok(Vec::new());
        }
        let latest = LastRow::of(&latest).and_then(|latest| latest.above("fire_time"));
        let mut work = self.begin().await?;
        schedule_lock_in_txn(&mut work, schedule).await?;
        // One whose time is none never has its turn, and would keep the schedule busy.
        let statement = work.query(
            "UPDATE schedule_fires SET decision = 'skipped', decided_at = $3::timestamptz
             WHERE schedule = $1 AND decision = 'queued'
                 AND (fire_time <= $2::timestamptz OR NOT ({is_time: fire_time}))
             RETURNING fire_time::text AS fire_time",
        );
        let statement = statement.bind(clean(schedule)).bind(latest).bind(time_text(now));
        let rows = work.rows("skip the oldest of a schedule's queue", statement).await?;
        let mut skipped = read_corrected(&rows, |row| row.time("fire_time"))?;
        skipped.sort();
        term_check_in_txn(&mut work, term).await?;
        work.commit().await?;
        Ok(skipped)
    }

    /// Whether a time that waits for the schedule's turn is none: it would wait for ever.
    async fn has_timeless_fire(&self, schedule: &str) -> Result<bool, StoreError> {
        if self.kind() == DatabaseKind::Postgres {
            return Ok(false); // its type keeps others out
        }
        let statement = self.query(
            "SELECT 1 AS n FROM schedule_fires
             WHERE schedule = $1 AND decision = 'queued' AND NOT ({is_time: fire_time}) LIMIT 1",
        );
        Ok(self.row("look for times that are none", statement.bind(clean(schedule))).await?.is_some())
    }

    /// Whether a run of the schedule is under way, or queued to be.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn schedule_is_busy(&self, schedule: &str) -> Result<bool, StoreError> {
        let statement =
            self.query("SELECT 1 AS busy FROM schedule_fires WHERE schedule = $1 AND decision = 'queued' LIMIT 1");
        let queued = self.row("check whether a schedule is busy", statement.bind(clean(schedule))).await?.is_some();
        Ok(queued || self.schedule_is_running(schedule).await?)
    }

    /// Whether a run of the schedule is under way: it has batches that are planned or leased.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn schedule_is_running(&self, schedule: &str) -> Result<bool, StoreError> {
        let statement = self.query(
            "SELECT 1 AS busy FROM runs r JOIN schedule_fires f ON f.run_id = r.id
             WHERE r.finished_at IS NULL AND r.status = 'running' AND f.schedule = $1 LIMIT 1",
        );
        Ok(self.row("check whether a schedule is busy", statement.bind(clean(schedule))).await?.is_some())
    }

    /// Sets a schedule back whose times were decided ahead, by a host whose clock was: it goes on from now. False where
    /// none was.
    ///
    /// # Errors
    /// [`StoreError::TermLost`] when another host has taken the role over.
    pub async fn schedule_set_back(
        &self,
        term: &Term,
        schedule: &str,
        next_fire: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        schedule_lock_in_txn(&mut work, schedule).await?;
        let statement = work.query(
            "UPDATE schedules SET considered_until = $2::timestamptz, next_fire = $3::timestamptz,
                 last_fire = CASE WHEN last_fire > $2::timestamptz THEN NULL ELSE last_fire END
             WHERE name = $1 AND considered_until > $2::timestamptz",
        );
        let statement = statement.bind(clean(schedule)).bind(time_text(now)).bind(next_fire.map(time_text));
        let changed = work.execute("set a schedule back", statement).await? > 0;
        let statement = work.query("DELETE FROM schedule_fires WHERE schedule = $1 AND fire_time > $2::timestamptz");
        work.execute("forget times ahead", statement.bind(clean(schedule)).bind(time_text(now))).await?;
        term_check_in_txn(&mut work, term).await?;
        work.commit().await?;
        Ok(changed)
    }

    /// Records the decisions on times that get no run now, the oldest first; one that is decided already stays as it
    /// is.
    ///
    /// # Errors
    /// [`StoreError::TermLost`] when another host has taken the role over, [`StoreError::NotFound`] when the schedule
    /// was removed or switched off.
    pub async fn fires_record(
        &self,
        term: &Term,
        schedule: &str,
        fires: &[(DateTime<Utc>, FireDecision)],
        next_fire: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let Some((fire_time, _)) = fires.last().copied() else { return Ok(()) };
        let mut work = self.begin().await?;
        schedule_advance_in_txn(&mut work, schedule, ScheduleProgress { fire_time, next_fire, started: false }).await?;
        let rows: Vec<_> = fires
            .iter()
            .map(|(time, decision)| json!({ "time": time_text(*time), "decision": decision.as_str() }))
            .collect();
        let statement = work.query(
            "INSERT INTO schedule_fires (schedule, fire_time, decision, decided_at)
             SELECT $2, (r.value->>'time')::timestamptz, r.value->>'decision', $3::timestamptz FROM {rows} WHERE TRUE
             ON CONFLICT (schedule, fire_time) DO NOTHING",
        );
        let statement = statement.bind(json("times of firing", &rows)?).bind(clean(schedule)).bind(time_text(now));
        work.execute("record times of firing", statement).await?;
        term_check_in_txn(&mut work, term).await?;
        work.commit().await
    }

    /// Records a run that was started otherwise as the one of a schedule's time.
    ///
    /// # Errors
    /// [`StoreError::TermLost`] when another host has taken the role over, [`StoreError::FireDecided`] when the time
    /// was decided already, [`StoreError::NotFound`] when the schedule was removed or switched off.
    pub async fn fire_run_record(
        &self,
        term: &Term,
        schedule: &str,
        (fire_time, run): (DateTime<Utc>, RunId),
        next_fire: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        schedule_advance_in_txn(&mut work, schedule, ScheduleProgress { fire_time, next_fire, started: true }).await?;
        fire_start_in_txn(&mut work, schedule, fire_time, run, now).await?;
        term_check_in_txn(&mut work, term).await?;
        work.commit().await
    }
}

/// Advances a schedule; it never goes back. A last run later than what was considered is of a clock that was ahead.
pub(crate) async fn schedule_advance_in_txn(
    work: &mut Work,
    schedule: &str,
    step: ScheduleProgress,
) -> Result<(), StoreError> {
    let statement = work.query(
        "UPDATE schedules SET
             next_fire = CASE WHEN considered_until < $2::timestamptz THEN $3::timestamptz ELSE next_fire END,
             considered_until = CASE WHEN considered_until < $2::timestamptz THEN $2::timestamptz
             ELSE considered_until END,
             last_fire = CASE WHEN $4::bigint = 1 AND (last_fire IS NULL
             OR last_fire < $2::timestamptz OR last_fire > considered_until) THEN $2::timestamptz
                 ELSE last_fire END
         WHERE name = $1 AND enabled",
    );
    let statement = statement
        .bind(clean(schedule))
        .bind(time_text(step.fire_time))
        .bind(step.next_fire.map(time_text))
        .bind(i64::from(step.started));
    if work.execute("advance a schedule", statement).await? == 0 {
        return Err(StoreError::NotFound { what: "enabled schedule", id: schedule.to_owned() });
    }
    Ok(())
}

/// Gives a time of firing its run, once.
pub(crate) async fn fire_start_in_txn(
    work: &mut Work,
    schedule: &str,
    fire_time: DateTime<Utc>,
    run: RunId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let statement = work.query(
        "INSERT INTO schedule_fires (schedule, fire_time, decision, run_id, decided_at)
         VALUES ($1, $2::timestamptz, 'started', $3::uuid, $4::timestamptz)
         ON CONFLICT (schedule, fire_time) DO UPDATE SET decision = excluded.decision, run_id = excluded.run_id,
             decided_at = excluded.decided_at
         WHERE schedule_fires.decision = 'queued'",
    );
    let statement =
        statement.bind(clean(schedule)).bind(time_text(fire_time)).bind(run.to_string()).bind(time_text(now));
    if work.execute("start a time of firing", statement).await? == 0 {
        return Err(StoreError::FireDecided { schedule: schedule.to_owned(), fire_time });
    }
    Ok(())
}

/// Locks a schedule, if there is one, before several of its times: those who remove it skip these too.
async fn schedule_lock_in_txn(work: &mut Work, schedule: &str) -> Result<(), StoreError> {
    let statement = work.query("SELECT 1 AS locked FROM schedules WHERE name = $1 FOR UPDATE");
    work.rows("lock a schedule", statement.bind(clean(schedule))).await.map(drop)
}

/// The row of a name's schedule, where the database owns it.
async fn own_row(work: &mut Work, name: &str) -> Result<AnyRow, StoreError> {
    let statement = work.query(schedules_sql!("WHERE name = $1 FOR UPDATE"));
    let row = work.row("read a schedule", statement.bind(clean(name))).await?;
    let Some(row) = row else {
        return Err(StoreError::NotFound { what: "schedule", id: name.to_owned() });
    };
    match origin_of(&row) {
        ScheduleOrigin::Database => Ok(row),
        ScheduleOrigin::Config => Err(StoreError::ScheduleConfigured { name: name.to_owned() }),
    }
}

/// Who owns a schedule. Where that can't be read it counts as the database's, so that it can be removed.
fn origin_of(row: &AnyRow) -> ScheduleOrigin {
    row.named("origin", ScheduleOrigin::parse).unwrap_or(ScheduleOrigin::Database)
}

async fn insert(
    work: &mut Work,
    new: &NewSchedule,
    origin: ScheduleOrigin,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let statement = work.query(
        "INSERT INTO schedules (name, origin, cron, timezone, platforms, catch_up, overlap, enabled, considered_until,
             next_fire,
             created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, ($8::bigint = 1), $9::timestamptz, $10::timestamptz,
             $11::timestamptz,
             $11::timestamptz)",
    );
    let statement = with_spec(statement.bind(clean(&new.name)).bind(origin.as_str()), &new.spec)?;
    let statement = statement.bind(time_text(now)).bind(new.next_fire.map(time_text)).bind(time_text(now));
    work.execute("add a schedule", statement).await?;
    Ok(())
}

async fn change(
    work: &mut Work,
    old: &Schedule,
    new: &NewSchedule,
    origin: ScheduleOrigin,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let same_times = old.spec.cron == new.spec.cron && old.spec.timezone == new.spec.timezone && old.spec.enabled;
    let (considered_until, next_fire) =
        if same_times && new.spec.enabled { (old.considered_until, old.next_fire) } else { (now, new.next_fire) };
    let statement = work.query(
        "UPDATE schedules SET origin = $2, cron = $3, timezone = $4, platforms = $5::jsonb, catch_up = $6, overlap = $7,
             enabled = ($8::bigint = 1), considered_until = $9::timestamptz, next_fire = $10::timestamptz,
             updated_at = $11::timestamptz
         WHERE name = $1",
    );
    let statement = with_spec(statement.bind(clean(&new.name)).bind(origin.as_str()), &new.spec)?;
    let statement = statement.bind(time_text(considered_until)).bind(next_fire.map(time_text)).bind(time_text(now));
    work.execute("change a schedule", statement).await?;
    if new.spec.enabled { Ok(()) } else { give_up_queued(work, &new.name, now).await }
}

async fn delete(work: &mut Work, name: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
    let statement = work.query("DELETE FROM schedules WHERE name = $1");
    work.execute("remove a schedule", statement.bind(clean(name))).await?;
    give_up_queued(work, name, now).await
}

async fn give_up_queued(work: &mut Work, name: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
    let statement = work.query(
        "UPDATE schedule_fires SET decision = 'skipped', decided_at = $2::timestamptz WHERE schedule = $1
             AND decision = 'queued'",
    );
    work.execute("skip queued times of firing", statement.bind(clean(name)).bind(time_text(now))).await?;
    Ok(())
}

/// Binds the columns of a schedule's specification.
fn with_spec(
    statement: crate::database::statement::Statement,
    spec: &ScheduleSpec,
) -> Result<crate::database::statement::Statement, StoreError> {
    Ok(statement
        .bind(clean(&spec.cron))
        .bind(spec.timezone.name())
        .bind(json("a schedule's platforms", &spec.platforms)?)
        .bind(spec.catch_up.as_str())
        .bind(spec.overlap.as_str())
        .bind(i64::from(spec.enabled)))
}

fn schedule_of(row: &AnyRow) -> Result<Schedule, StoreError> {
    Ok(Schedule {
        name: row.text("name")?,
        origin: row.named("origin", ScheduleOrigin::parse)?,
        spec: ScheduleSpec {
            cron: row.text("cron")?,
            timezone: row.parsed::<Zone>("timezone")?,
            platforms: row.json("platforms")?,
            catch_up: row.named("catch_up", CatchUp::parse)?,
            overlap: row.named("overlap", Overlap::parse)?,
            enabled: row.truth("enabled")?,
        },
        considered_until: row.time("considered_until")?,
        next_fire: row.time_or_null("next_fire")?,
        last_fire: row.time_or_null("last_fire")?,
    })
}

fn fire_of(row: &AnyRow) -> Result<Fire, StoreError> {
    Ok(Fire {
        schedule: row.text("schedule")?,
        fire_time: row.time("fire_time")?,
        decision: row.named("decision", FireDecision::parse)?,
        run_id: row.parsed_or_null("run_id")?,
        decided_at: row.time("decided_at")?,
    })
}
