//! Tests of roles, schedules and plans with two hosts on one database.

use std::time::Duration;

use backline_model::Weights;
use backline_model::outcome::{Exclusion, Outcome};
use backline_model::{
    Batch, Consent, FireDecision, Overlap, Run, RunStatus, Schedule, ScheduleOrigin, ScheduleSpec, SubscriptionStatus,
};
use backline_store::{
    AccountOutcome, BatchResult, DatabaseKind, NewSchedule, PlanGuard, Scope, Store, StoreError, Term, Topic,
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use sqlx::Connection as _;

use super::fixtures::{
    TTL, account, add_batches, artist, at, batch, create_run, day, defer, demo, followers, lease, now, people,
    release_of, result, run, stored,
};
use crate::support::database::{each_database, write};

const ROLE: &str = "scheduler";

async fn lead(store: &Store, holder: &str, now: DateTime<Utc>) -> Option<Term> {
    store.role_take(ROLE, holder, now, TTL).await.unwrap()
}

fn new(name: &str) -> NewSchedule {
    NewSchedule { name: name.to_owned(), spec: ScheduleSpec::default(), next_fire: Some(fire()) }
}

/// Fire time of the tests' schedule, which is after `now`.
fn fire() -> DateTime<Utc> {
    at("2026-11-23T02:00:00Z")
}

fn after() -> Option<DateTime<Utc>> {
    Some(at("2026-11-24T02:00:00Z"))
}

fn of_fire<'a>(term: &'a Term, fire_time: DateTime<Utc>) -> PlanGuard<'a> {
    PlanGuard::Fire { term, schedule: "daily", fire_time, next_fire: after() }
}

async fn the_schedule(store: &Store) -> Schedule {
    store.schedules_list().await.unwrap().remove(0)
}

/// Plans a run of one batch.
async fn plan(store: &Store, run: &Run, batches: &[Batch], guard: PlanGuard<'_>) -> Result<(), StoreError> {
    let mut planning = store.plan_begin(run, guard, now()).await?;
    planning.batches_add(batches, &Weights::default()).await?;
    planning.commit().await
}

fn assert_term_lost(outcome: Result<(), StoreError>) {
    assert!(matches!(&outcome, Err(StoreError::TermLost { role }) if role == ROLE), "{outcome:?}");
}

#[tokio::test]
async fn a_role_has_one_holder_and_every_change_a_higher_term() {
    each_database(async |store, _| {
        let first = lead(&store, "a", now()).await.unwrap();
        assert_eq!((first.term, first.expires_at), (1, now() + TTL));
        assert_eq!(lead(&store, "b", now()).await, None);
        let renewed = lead(&store, "a", now() + TimeDelta::seconds(30)).await.unwrap();
        assert_eq!((renewed.term, renewed.expires_at), (1, now() + TimeDelta::seconds(90)));
        assert_eq!(lead(&store, "b", now() + TimeDelta::seconds(89)).await, None, "the role was renewed");
        let second = lead(&store, "b", now() + TimeDelta::seconds(90)).await.unwrap();
        assert_eq!((second.holder.as_str(), second.term), ("b", 2));
        assert_eq!(store.role_get(ROLE).await.unwrap(), Some(second.clone()));

        store.role_resign(&renewed, now()).await.unwrap();
        assert_eq!(store.role_get(ROLE).await.unwrap(), Some(second.clone()), "only the holder can give up a role");
        store.role_resign(&second, now() + TimeDelta::seconds(91)).await.unwrap();
        assert_eq!(store.role_get(ROLE).await.unwrap(), None);
        let third = lead(&store, "a", now() + TimeDelta::seconds(91)).await.unwrap();
        assert_eq!(third.term, 3, "at once, with a higher term");
    })
    .await;
}

#[tokio::test]
async fn of_many_hosts_one_takes_a_free_role() {
    each_database(async |store, _| {
        for (round, term) in (0..5).zip(1..) {
            let hosts = ["a", "b", "c", "d", "e", "f"].map(|name| format!("{name}{round}"));
            let time = now() + TimeDelta::hours(round);
            let taken = join_all(hosts.iter().map(|name| lead(&store, name, time))).await;
            let taken: Vec<_> = taken.into_iter().flatten().collect();
            assert_eq!(taken.len(), 1, "{taken:?}");
            assert_eq!(taken[0].term, term);
        }
    })
    .await;
}

#[tokio::test]
async fn a_fire_time_has_one_run_however_many_hosts_plan_it() {
    each_database(async |store, _| {
        let accounts = people(&store, 8).await;
        let term = lead(&store, "a", now()).await.unwrap();
        store.schedules_sync(&term, &[new("daily")], now()).await.unwrap();
        let runs: Vec<Run> = (2..10).map(|n| Run { trigger: "daily".to_owned(), ..run(n) }).collect();
        let plans = runs.iter().zip(&accounts).zip(1..).map(|((run, account), n)| {
            let (store, term) = (store.clone(), term.clone());
            async move {
                let planned = batch(n, run, &[account], day("2026-11-23"));
                plan(&store, run, &[planned], of_fire(&term, fire())).await
            }
        });
        let outcomes = join_all(plans).await;
        let started: Vec<_> = runs.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).collect();
        assert_eq!(started.len(), 1, "{outcomes:?}");
        for outcome in &outcomes {
            let decided = matches!(outcome, Err(StoreError::FireDecided { fire_time, .. }) if *fire_time == fire());
            assert!(outcome.is_ok() || decided, "{outcome:?}");
        }
        let planned: Vec<_> =
            store.runs_list(&Scope::all_tenants(), 20, None).await.unwrap().into_iter().map(|run| run.id).collect();
        assert_eq!(planned.len(), 2, "this run, and the one of the fixtures");
        let fires = store.fires_list(Some("daily"), 10).await.unwrap();
        assert_eq!(fires.len(), 1);
        assert_eq!((fires[0].decision, fires[0].run_id), (FireDecision::Started, Some(started[0].0.id)));
        let schedule = the_schedule(&store).await;
        assert_eq!((schedule.considered_until, schedule.last_fire), (fire(), Some(fire())));
        assert_eq!(schedule.next_fire, after());
        assert!(store.batch_lease(&Scope::all_tenants(), None, None, "w", now(), TTL).await.unwrap().is_some());
        assert_eq!(
            store.batch_lease(&Scope::all_tenants(), None, None, "w", now(), TTL).await.unwrap(),
            None,
            "the batches of the other plans are rolled back"
        );
    })
    .await;
}

#[tokio::test]
async fn a_host_that_lost_the_role_writes_nothing() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        let planned = batch(1, &run(2), &[&accounts[0]], day("2026-11-23"));
        let old = lead(&store, "a", now()).await.unwrap();
        store.schedules_sync(&old, &[new("daily")], now()).await.unwrap();
        let before = the_schedule(&store).await;
        let later = now() + TTL;
        let activations = store.activations_list(&Scope::all_tenants(), 10).await.unwrap();
        assert!(!activations.is_empty(), "new accounts are to be collected");
        if store.kind() == DatabaseKind::Postgres {
            // The role is taken over in the middle of a plan. On SQLite the single writer prevents that.
            let mut planning = store.plan_begin(&run(2), of_fire(&old, fire()), now()).await.unwrap();
            planning.batches_add(std::slice::from_ref(&planned), &Weights::default()).await.unwrap();
            lead(&store, "b", later).await.expect("its time is over");
            assert_term_lost(planning.commit().await);
        } else {
            lead(&store, "b", later).await.expect("its time is over");
        }
        assert_term_lost(plan(&store, &run(2), std::slice::from_ref(&planned), of_fire(&old, fire())).await);
        let guard = PlanGuard::Activations { term: &old, activations: &activations };
        assert_term_lost(plan(&store, &run(2), &[planned], guard).await);
        let missed = [(fire(), FireDecision::Missed)];
        assert_term_lost(store.fires_record(&old, "daily", &missed, after(), later).await);
        assert_term_lost(store.schedules_sync(&old, &[], later).await);

        assert_eq!(store.run_get(&Scope::all_tenants(), run(2).id).await.unwrap(), None);
        assert_eq!(store.fires_list(None, 10).await.unwrap(), []);
        assert_eq!(store.activations_list(&Scope::all_tenants(), 10).await.unwrap(), activations);
        assert_eq!(the_schedule(&store).await, before);
        assert_eq!(store.batch_lease(&Scope::all_tenants(), None, None, "w", later, TTL).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_plan_that_is_not_committed_leaves_nothing_and_notifies_no_one() {
    each_database(async |store, _| {
        let accounts = people(&store, 2).await;
        let planned = batch(1, &run(2), &[&accounts[0]], day("2026-11-23"));
        let excluded = AccountOutcome {
            account_id: accounts[1].id,
            metric_date: day("2026-11-23"),
            outcome: Outcome::Excluded { reason: Exclusion::NoConsent },
            attempts: 0,
            planned_for: None,
            note: None,
        };
        let term = lead(&store, "a", now()).await.unwrap();
        store.schedules_sync(&term, &[new("daily")], now()).await.unwrap();
        let before = the_schedule(&store).await;
        let mut listener = store.listener().await.unwrap();
        for commit in [false, true] {
            let mut planning = store.plan_begin(&run(2), of_fire(&term, fire()), now()).await.unwrap();
            planning.batches_add(std::slice::from_ref(&planned), &Weights::default()).await.unwrap();
            planning.exclusions_record(std::slice::from_ref(&excluded)).await.unwrap();
            if commit {
                planning.commit().await.unwrap();
                break;
            }
            drop(planning);
            assert_eq!(store.run_get(&Scope::all_tenants(), run(2).id).await.unwrap(), None);
            assert_eq!(store.run_outcomes_list(&Scope::all_tenants(), run(2).id, None, 10).await.unwrap(), []);
            assert_eq!(store.batch_lease(&Scope::all_tenants(), None, None, "w", now(), TTL).await.unwrap(), None);
            assert_eq!(store.fires_list(None, 10).await.unwrap(), []);
            assert_eq!(the_schedule(&store).await, before);
            let heard = tokio::time::timeout(Duration::from_millis(50), listener.next()).await;
            assert!(heard.is_err(), "{heard:?}");
        }
        let heard = tokio::time::timeout(Duration::from_secs(60), listener.next()).await.expect("within a minute");
        assert_eq!(heard.unwrap(), Topic::Work);
        let written = store.run_get(&Scope::all_tenants(), run(2).id).await.unwrap().unwrap();
        assert_eq!((written.counts.planned, written.counts.excluded), (1, 1));
        assert_eq!(lease(&store).await.batch, planned);
    })
    .await;
}

#[tokio::test]
async fn schedules_follow_the_configuration_and_nothing_fires_for_the_past() {
    each_database(async |store, _| {
        let term = lead(&store, "a", now()).await.unwrap();
        store.schedules_sync(&term, &[new("daily"), new("gone")], now()).await.unwrap();
        let schedules = store.schedules_list().await.unwrap();
        assert_eq!(schedules.len(), 2);
        assert_eq!((schedules[0].origin, schedules[0].considered_until), (ScheduleOrigin::Config, now()));
        assert_eq!((schedules[0].next_fire, schedules[0].last_fire), (Some(fire()), None));
        store.fires_record(&term, "gone", &[(fire(), FireDecision::Queued)], after(), now()).await.unwrap();
        assert_eq!(store.queued_fires_list().await.unwrap().len(), 1);

        // A change that does not concern the fire times leaves them as they are.
        let later = now() + TimeDelta::days(3);
        let mut changed = new("daily");
        changed.spec.overlap = Overlap::Queue;
        changed.spec.platforms = vec![demo()];
        changed.next_fire = Some(at("2026-11-26T02:00:00Z"));
        store.schedules_sync(&term, &[changed.clone()], later).await.unwrap();
        let schedules = store.schedules_list().await.unwrap();
        assert_eq!(schedules.len(), 1, "a schedule that is no longer configured is removed");
        assert_eq!(schedules[0].spec, changed.spec);
        assert_eq!((schedules[0].considered_until, schedules[0].next_fire), (now(), Some(fire())), "three are missed");
        assert_eq!(store.queued_fires_list().await.unwrap(), []);
        assert_eq!(store.fires_list(Some("gone"), 9).await.unwrap()[0].decision, FireDecision::Skipped);

        changed.spec.timezone = "Europe/Berlin".parse().unwrap();
        store.schedules_sync(&term, &[changed.clone()], later).await.unwrap();
        let schedule = the_schedule(&store).await;
        assert_eq!((schedule.considered_until, schedule.next_fire), (later, changed.next_fire));

        changed.spec.enabled = false;
        changed.next_fire = None;
        store.schedules_sync(&term, &[changed.clone()], later).await.unwrap();
        assert_eq!(the_schedule(&store).await.next_fire, None);
        let off = plan(&store, &run(2), &[], of_fire(&term, fire())).await;
        assert!(matches!(off, Err(StoreError::NotFound { .. })), "{off:?}");

        // Enabled again, the schedule starts from now.
        changed.spec.enabled = true;
        changed.next_fire = after();
        let latest = later + TimeDelta::days(1);
        store.schedules_sync(&term, &[changed], latest).await.unwrap();
        let schedule = the_schedule(&store).await;
        assert_eq!((schedule.considered_until, schedule.next_fire), (latest, after()));
    })
    .await;
}

#[tokio::test]
async fn the_database_owns_only_schedules_added_there() {
    each_database(async |store, _| {
        let term = lead(&store, "a", now()).await.unwrap();
        store.schedules_sync(&term, &[new("daily")], now()).await.unwrap();
        store.schedule_add(&new("hourly"), now()).await.unwrap();
        let taken = store.schedule_add(&new("hourly"), now()).await;
        assert!(matches!(taken, Err(StoreError::ScheduleExists { .. })), "{taken:?}");
        for refused in [
            store.schedule_add(&new("daily"), now()).await,
            store.schedule_remove("daily", now()).await,
            store.schedule_set_enabled("daily", false, None, now()).await,
        ] {
            let Err(error @ StoreError::ScheduleConfigured { .. }) = refused else { panic!("{refused:?}") };
            assert!(error.to_string().contains("[schedules.daily]"), "{error}");
        }
        assert!(matches!(store.schedule_remove("none", now()).await, Err(StoreError::NotFound { .. })));

        store.schedules_sync(&term, &[new("daily")], now()).await.unwrap();
        let later = now() + TimeDelta::days(1);
        store.schedule_set_enabled("hourly", false, None, later).await.unwrap();
        let hourly = store.schedules_list().await.unwrap().remove(1);
        assert_eq!((hourly.origin, hourly.spec.enabled), (ScheduleOrigin::Database, false));
        assert_eq!((hourly.next_fire, hourly.considered_until), (None, later));
        store.schedule_set_enabled("hourly", true, after(), later).await.unwrap();
        assert_eq!(store.schedules_list().await.unwrap()[1].next_fire, after());
        store.schedule_remove("hourly", later).await.unwrap();
        assert_eq!(store.schedules_list().await.unwrap().len(), 1);

        // From the moment a name is configured, the configuration owns it.
        store.schedule_add(&new("nightly"), now()).await.unwrap();
        store.schedules_sync(&term, &[new("daily"), new("nightly")], later).await.unwrap();
        let nightly = store.schedules_list().await.unwrap().remove(1);
        assert_eq!((nightly.origin, nightly.considered_until), (ScheduleOrigin::Config, now()));
    })
    .await;
}

#[tokio::test]
async fn a_queued_time_is_started_once_when_its_schedule_is_free() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        let term = lead(&store, "a", now()).await.unwrap();
        store.schedules_sync(&term, &[new("daily")], now()).await.unwrap();
        assert!(!store.schedule_is_busy("daily").await.unwrap());
        let planned = batch(1, &run(2), &[&accounts[0]], day("2026-11-23"));
        plan(&store, &run(2), &[planned], of_fire(&term, fire())).await.unwrap();
        assert!(store.schedule_is_busy("daily").await.unwrap() && store.schedule_is_running("daily").await.unwrap());

        let (second, third) = (fire() + TimeDelta::days(1), fire() + TimeDelta::days(2));
        let queued = [(second, FireDecision::Queued), (third, FireDecision::Queued)];
        store.fires_record(&term, "daily", &queued, None, now()).await.unwrap();
        let again = [(fire(), FireDecision::Missed), (third, FireDecision::Missed)];
        store.fires_record(&term, "daily", &again, None, now()).await.unwrap();
        let oldest: Vec<_> = store.queued_fires_list().await.unwrap().iter().map(|fire| fire.fire_time).collect();
        assert_eq!(oldest, [second], "the oldest fire, and no decided fire is decided again");

        let row = followers(&accounts[0], day("2026-11-23"), 5);
        let done = BatchResult { accounts: vec![stored(row)], ..BatchResult::default() };
        store.batch_complete(&lease(&store).await, done, now()).await.unwrap();
        store.run_finish(&Scope::all_tenants(), run(2).id, now()).await.unwrap();
        assert!(!store.schedule_is_running("daily").await.unwrap());
        assert!(store.schedule_is_busy("daily").await.unwrap(), "queued fires come first");
        let schedule = the_schedule(&store).await;
        plan(&store, &run(3), &[], of_fire(&term, second)).await.unwrap();
        let twice = plan(&store, &run(4), &[], of_fire(&term, second)).await;
        assert!(matches!(twice, Err(StoreError::FireDecided { .. })), "{twice:?}");
        let now_at = the_schedule(&store).await;
        assert_eq!((now_at.considered_until, now_at.next_fire), (schedule.considered_until, schedule.next_fire));
        assert_eq!(now_at.last_fire, Some(second));
        assert_eq!(store.queued_fires_list().await.unwrap()[0].fire_time, third);
    })
    .await;
}

#[tokio::test]
async fn of_a_queue_that_is_too_long_the_oldest_are_skipped() {
    each_database(async |store, _| {
        let term = lead(&store, "a", now()).await.unwrap();
        store.schedules_sync(&term, &[new("daily"), new("other")], now()).await.unwrap();
        let time = |n: i64| fire() + TimeDelta::hours(n);
        let queued: Vec<_> = (0..5).map(|n| (time(n), FireDecision::Queued)).collect();
        store.fires_record(&term, "daily", &queued, None, now()).await.unwrap();
        store.fires_record(&term, "other", &queued, None, now()).await.unwrap();
        assert!(store.queued_fires_skip(&term, "daily", 5, now()).await.unwrap().is_empty());
        let lost = Term { term: term.term + 1, ..term.clone() };
        assert_term_lost(store.queued_fires_skip(&lost, "daily", 2, now()).await.map(drop));
        assert_eq!(store.queued_fires_skip(&term, "daily", 2, now()).await.unwrap(), [time(0), time(1), time(2)]);
        assert!(store.queued_fires_skip(&term, "daily", 2, now()).await.unwrap().is_empty());
        let decided = async |schedule| {
            let fires = store.fires_list(Some(schedule), 10).await.unwrap();
            fires.iter().filter(|fire| fire.decision == FireDecision::Queued).map(|fire| fire.fire_time).collect()
        };
        let left: Vec<_> = decided("daily").await;
        assert_eq!(left, [time(4), time(3)]);
        let others: Vec<_> = decided("other").await;
        assert_eq!(others.len(), 5, "each schedule has a queue of its own");
    })
    .await;
}

#[tokio::test]
async fn first_collections_are_removed_with_their_plan() {
    each_database(async |store, _| {
        people(&store, 3).await;
        let suspended = backline_model::Artist { subscription_status: SubscriptionStatus::PastDue, ..artist(4) };
        store.artists_save(&Scope::all_tenants(), &[suspended], now()).await.unwrap();
        store.accounts_save(&Scope::all_tenants(), &[account(4)], now()).await.unwrap();
        let consent = |n| Consent {
            artist_id: artist(n).id,
            platform: demo(),
            granted: true,
            scope: "metrics".to_owned(),
            source: "test".to_owned(),
            recorded_at: now(),
        };
        store.consents_record(&Scope::all_tenants(), &[consent(1), consent(2)]).await.unwrap();
        store.release_save(&release_of("1.0.0", b"component"), b"component").await.unwrap();
        let term = lead(&store, "a", now()).await.unwrap();
        // The first artist is already being collected.
        add_batches(&store, &[batch(1, &run(1), &[&account(1)], day("2026-11-22"))], now()).await;

        let pending = store.activations_list(&Scope::all_tenants(), 100).await.unwrap();
        assert!(pending.iter().any(|one| one.artist_id == artist(4).id && one.platform == Some(demo())), "{pending:?}");
        // All platforms of the first artist are wanted, so what waits for one of them goes with it.
        let (of_first, rest): (Vec<_>, Vec<_>) = pending.into_iter().partition(|one| one.artist_id == artist(1).id);
        let (few, others) = of_first.split_at(1);
        assert!(few[0].platform.is_none() && others.len() == 1, "{of_first:?}");
        let guard = PlanGuard::Activations { term: &term, activations: few };
        let planning = store.plan_begin(&run(2), guard, now()).await.unwrap();
        planning.commit_without_run().await.unwrap();
        assert_eq!(store.run_get(&Scope::all_tenants(), run(2).id).await.unwrap(), None);
        assert_eq!(store.activations_list(&Scope::all_tenants(), 100).await.unwrap(), rest);

        let guard = PlanGuard::Activations { term: &term, activations: &rest };
        let mut planning = store.plan_begin(&run(2), guard, now()).await.unwrap();
        let found = planning.first_candidates_list().await.unwrap();
        let ids: Vec<_> = found.iter().map(|candidate| candidate.account_id).collect();
        assert_eq!(ids, [account(2).id, account(3).id, account(4).id]);
        let consented: Vec<_> = found.iter().map(|candidate| candidate.consented).collect();
        assert_eq!(consented, [true, false, false]);
        planning
            .batches_add(&[batch(2, &run(2), &[&account(2)], day("2026-11-22"))], &Weights::default())
            .await
            .unwrap();
        planning.commit().await.unwrap();
        assert_eq!(store.activations_list(&Scope::all_tenants(), 100).await.unwrap(), []);
        assert_eq!(store.run_get(&Scope::all_tenants(), run(2).id).await.unwrap().unwrap().counts.planned, 1);
    })
    .await;
}

#[tokio::test]
async fn a_last_run_by_a_clock_that_was_ahead_is_not_shown_any_more() {
    each_database(async |store, url| {
        let accounts = people(&store, 1).await;
        let term = lead(&store, "a", now()).await.unwrap();
        store.schedules_sync(&term, &[new("daily")], now()).await.unwrap();
        let ahead = "UPDATE schedules SET last_fire = '2027-06-01T00:00:00.000000Z'";
        write(url, &format!("{ahead}, considered_until = '2027-06-01T00:00:00.000000Z'")).await;
        assert!(store.schedule_set_back(&term, "daily", Some(fire()), now()).await.unwrap());
        assert_eq!(the_schedule(&store).await.last_fire, None);

        // One that was left after its schedule was set back goes with the next run.
        write(url, ahead).await;
        let daily = Run { trigger: "daily".to_owned(), ..run(2) };
        let planned = batch(2, &daily, &[&accounts[0]], day("2026-11-23"));
        plan(&store, &daily, &[planned], of_fire(&term, fire())).await.unwrap();
        assert_eq!(the_schedule(&store).await.last_fire, Some(fire()));
    })
    .await;
}

#[tokio::test]
async fn unfinished_runs_are_found() {
    each_database(async |store, _| {
        let accounts = people(&store, 2).await;
        assert_eq!(
            store.unfinished_runs_list(&Scope::all_tenants()).await.unwrap(),
            [run(1).id],
            "nothing was planned for it"
        );
        let planned = [&accounts[0], &accounts[1]].map(|account| batch(0, &run(1), &[account], day("2026-11-22")));
        let [first, second] = planned;
        let second = Batch { id: batch(2, &run(1), &[], day("2026-11-22")).id, ..second };
        add_batches(&store, &[first, second], now()).await;
        assert_eq!(store.unfinished_runs_list(&Scope::all_tenants()).await.unwrap(), []);

        let one = lease(&store).await;
        let row = followers(&accounts[0], day("2026-11-22"), 5);
        let failed = Outcome::Failed { class: backline_model::FailureClass::NotFound, message: "gone".to_owned() };
        let done = BatchResult { accounts: vec![result(&row, failed)], ..BatchResult::default() };
        store.batch_complete(&one, done, now()).await.unwrap();
        let other = lease(&store).await;
        let until = now() + TimeDelta::hours(1);
        defer(&store, &other, until, "spent", now()).await.unwrap();
        assert_eq!(
            store.unfinished_runs_list(&Scope::all_tenants()).await.unwrap(),
            [run(1).id],
            "all open batches wait, so the run is over"
        );
        store.run_finish(&Scope::all_tenants(), run(1).id, now()).await.unwrap();
        assert_eq!(
            store.unfinished_runs_list(&Scope::all_tenants()).await.unwrap(),
            [],
            "the run has its status, and ends after the wait"
        );

        let again = store.batch_lease(&Scope::all_tenants(), None, None, "w", until, TTL).await.unwrap().unwrap();
        let row = followers(&accounts[1], day("2026-11-22"), 5);
        let done = BatchResult { accounts: vec![stored(row)], ..BatchResult::default() };
        store.batch_complete(&again, done, until).await.unwrap();
        assert_eq!(store.unfinished_runs_list(&Scope::all_tenants()).await.unwrap(), [run(1).id]);
        let ended = store.run_finish(&Scope::all_tenants(), run(1).id, until).await.unwrap();
        assert_eq!(ended.status, RunStatus::PartialFailure);
        assert_eq!(store.unfinished_runs_list(&Scope::all_tenants()).await.unwrap(), []);
    })
    .await;
}

/// A transaction has changed an artist and is not committed. The plan can't see the change, and leaves that artist to
/// the next poll.
#[tokio::test]
async fn uncommitted_changes_are_not_planned() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        people(&store, 2).await;
        let term = lead(&store, "a", now()).await.unwrap();
        let pending = store.activations_list(&Scope::all_tenants(), 100).await.unwrap();
        let mut elsewhere = sqlx::PgConnection::connect(url).await.unwrap();
        let mut open = elsewhere.begin().await.unwrap();
        let touch = "UPDATE activations SET at = now() WHERE artist_id = $1";
        sqlx::query(touch).bind(artist(1).id.0).execute(&mut *open).await.unwrap();

        let guard = PlanGuard::Activations { term: &term, activations: &pending };
        let mut planning = store.plan_begin(&run(2), guard, now()).await.unwrap();
        let found = planning.first_candidates_list().await.unwrap();
        let ids: Vec<_> = found.iter().map(|candidate| candidate.account_id).collect();
        assert_eq!(ids, [account(2).id], "the first artist's activation stays, and is not planned");
        planning.commit_without_run().await.unwrap();
        open.commit().await.unwrap();
        let left = store.activations_list(&Scope::all_tenants(), 100).await.unwrap();
        assert!(!left.is_empty() && left.iter().all(|one| one.artist_id == artist(1).id), "{left:?}");
        sqlx::query("INSERT INTO activations SELECT id, 'No Name!', 'account', now() FROM artists")
            .execute(&mut elsewhere)
            .await
            .unwrap();
        assert_eq!(
            store.activations_list(&Scope::all_tenants(), 100).await.unwrap(),
            left,
            "an unknown platform is ignored"
        );
    })
    .await;
}

/// A consent is being granted when a plan takes what is due, and committed when the plan reads the accounts.
#[tokio::test]
async fn what_is_committed_while_a_plan_is_made_is_collected_once() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        people(&store, 2).await;
        let term = lead(&store, "a", now()).await.unwrap();
        let pending = store.activations_list(&Scope::all_tenants(), 100).await.unwrap();
        let mut elsewhere = sqlx::PgConnection::connect(url).await.unwrap();
        let mut open = elsewhere.begin().await.unwrap();
        let touch = "UPDATE activations SET at = now() WHERE artist_id = $1 AND platform <> ''";
        let touched = sqlx::query(touch).bind(artist(1).id.0).execute(&mut *open).await.unwrap();
        assert_eq!(touched.rows_affected(), 1);

        let guard = PlanGuard::Activations { term: &term, activations: &pending };
        let mut planning = store.plan_begin(&run(2), guard, now()).await.unwrap();
        open.commit().await.unwrap();
        let found = planning.first_candidates_list().await.unwrap();
        let ids: Vec<_> = found.iter().map(|candidate| candidate.account_id).collect();
        assert_eq!(ids, [account(1).id, account(2).id]);
        planning.commit_without_run().await.unwrap();
        assert_eq!(store.activations_list(&Scope::all_tenants(), 100).await.unwrap(), [], "nothing is due again");
    })
    .await;
}

#[tokio::test]
async fn a_run_that_was_started_otherwise_is_recorded_as_that_of_a_time_once() {
    each_database(async |store, _| {
        let term = lead(&store, "a", now()).await.unwrap();
        store.schedules_sync(&term, &[new("daily")], now()).await.unwrap();
        for n in [1, 2] {
            create_run(&store, &run(n)).await;
        }
        let due = now() - TimeDelta::hours(10);
        store.fire_run_record(&term, "daily", (due, run(1).id), after(), now()).await.unwrap();
        let again = store.fire_run_record(&term, "daily", (due, run(2).id), after(), now()).await.unwrap_err();
        assert!(matches!(again, StoreError::FireDecided { .. }), "{again}");
        let fires = store.fires_list(Some("daily"), 9).await.unwrap();
        let recorded: Vec<_> = fires.iter().map(|fire| (fire.fire_time, fire.decision, fire.run_id)).collect();
        assert_eq!(recorded, [(due, FireDecision::Started, Some(run(1).id))]);
        let daily = the_schedule(&store).await;
        assert_eq!(daily.next_fire, Some(fire()), "a time that is over does not set it back");
        assert_eq!((daily.considered_until, daily.last_fire), (now(), Some(due)));
    })
    .await;
}
