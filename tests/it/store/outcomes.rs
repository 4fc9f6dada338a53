//! How accounts ended: by rows of their own, or as their batch says of all of them; both are shown alike.

use backline_model::outcome::{Exclusion, FailureClass, Outcome, OutcomeKind};
use backline_model::retention::{Before, RetainedTable, RetentionStep};
use backline_model::{Account, MetricsRow, RunStatus};
use backline_store::{ArchivePlace, BatchResult, DatabaseKind, Scope, Store};
use chrono::{DateTime, Days, TimeDelta, Utc};
use sqlx::{AnyPool, AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::fixtures::{
    add_batches, batch, create_run, day, defer, demo, followers, lease, now, people, release, result, run, store_rows,
    stored,
};
use super::schema::raw;
use super::scope::step;
use crate::support::database::{LATIN_1, each_database, spoil, write};

/// An account's outcome as it is shown: platform's id, outcome, date and attempts.
type Shown = (String, Outcome, String, u32);

async fn shown(store: &Store) -> Vec<Shown> {
    let all = store.run_outcomes_list(&Scope::all_tenants(), run(1).id, None, 100).await.unwrap();
    all.into_iter().map(|one| (one.platform_id, one.outcome, one.metric_date.to_string(), one.attempts)).collect()
}

async fn count(pool: &AnyPool, from: &str) -> i64 {
    let statement = AssertSqlSafe(format!("SELECT COUNT(*) AS n FROM {from}"));
    sqlx::query(statement).fetch_one(pool).await.unwrap().get("n")
}

fn row_of(account: &Account) -> MetricsRow {
    followers(account, day("2026-11-22"), 100)
}

fn collected(n: usize) -> Shown {
    (format!("channel-{n}"), Outcome::Collected, "2026-11-22".to_owned(), 1)
}

fn failed() -> Outcome {
    Outcome::Failed { class: FailureClass::NotFound, message: "it is gone".to_owned() }
}

/// A time that the database takes, and that stands behind all others: no host reads it as one.
fn after_all(store: &Store) -> &'static str {
    match store.kind() {
        DatabaseKind::Postgres => "infinity",
        DatabaseKind::Sqlite => "tomorrow",
    }
}

/// Three accounts, of which the second fails and the others are collected, in one batch that ends with it.
async fn collect_three(store: &Store) -> Vec<Account> {
    let accounts = people(store, 3).await;
    add_batches(store, &[batch(1, &run(1), &accounts.iter().collect::<Vec<_>>(), day("2026-11-22"))], now()).await;
    let results =
        vec![stored(row_of(&accounts[0])), result(&row_of(&accounts[1]), failed()), stored(row_of(&accounts[2]))];
    let results = BatchResult { accounts: results, ..BatchResult::default() };
    store.batch_complete(&lease(store).await, results, now()).await.unwrap();
    accounts
}

#[tokio::test]
async fn a_failure_by_a_clock_that_was_ahead_hides_no_earlier_one() {
    each_database(async |store, url| {
        collect_three(&store).await;
        for (n, at) in [(2, "2027-01-01T00:00:00.000000Z"), (3, after_all(&store))] {
            let (other, first) = (run(n).id, run(1).id);
            let again = format!(
                "INSERT INTO collection_outcomes
                     (run_id, account_id, artist_id, platform, metric_date, outcome, attempts, at)
                 SELECT '{other}', account_id, artist_id, platform, metric_date, outcome, attempts, '{at}'
                 FROM collection_outcomes WHERE run_id = '{first}'"
            );
            write(url, &again).await;
        }
        let known = store.candidates_list(&Scope::all_tenants(), &demo(), None, None, 10, now()).await.unwrap();
        let failed: Vec<_> = known.iter().map(|one| one.last_failed).collect();
        assert_eq!(failed, [None, Some(now()), None], "or it would be planned before all others until then");
    })
    .await;
}

#[tokio::test]
async fn a_batch_says_once_that_its_accounts_were_collected() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let accounts = collect_three(&store).await;
        let pool = raw(url).await;
        assert_eq!(count(&pool, "collection_outcomes").await, 1, "only the failure has a row");
        let failure = ("channel-2".to_owned(), failed(), "2026-11-22".to_owned(), 1);
        assert_eq!(shown(&store).await, [collected(1), failure, collected(3)]);
        let listed = store.run_outcomes_list(&all, run(1).id, None, 100).await.unwrap();
        let times: Vec<_> = listed.iter().map(|one| (one.at, one.artist_id, one.platform.as_str())).collect();
        let expected: Vec<_> = accounts.iter().map(|account| (now(), account.artist_id, "demo")).collect();
        assert_eq!(times, expected);
        let page = store.run_outcomes_list(&all, run(1).id, Some(accounts[0].id), 1).await.unwrap();
        assert_eq!(page[0].account_id, accounts[1].id);
        let releases = "outcomes_all WHERE release_digest = '{digest}'";
        assert_eq!(count(&pool, &releases.replace("{digest}", &release().digest.to_string())).await, 3);
        assert_eq!(count(&pool, "data_collection_logs WHERE status = 'success'").await, 2);
        assert_eq!(count(&pool, "data_collection_logs WHERE status = 'failed'").await, 1);

        let counts = store.run_get(&all, run(1).id).await.unwrap().unwrap().counts;
        assert_eq!((counts.collected, counts.failed), (2, 1));
        let of_tenant = Scope::tenant(backline_model::Tenant::default());
        let counts = store.run_get(&of_tenant, run(1).id).await.unwrap().unwrap().counts;
        assert_eq!((counts.planned, counts.collected, counts.failed), (3, 2, 1));
        let members = store.batch_accounts_list(&all, batch(1, &run(1), &[], day("2026-11-22")).id).await.unwrap();
        let ends: Vec<_> = members.into_iter().map(|member| member.outcome.unwrap()).collect();
        assert_eq!(ends, [Outcome::Collected, failed(), Outcome::Collected]);
        let known = store.candidates_list(&all, &demo(), None, None, 10, now()).await.unwrap();
        let tries: Vec<_> = known.iter().map(|one| (one.last_collected, one.last_failed)).collect();
        assert_eq!(tries, [(Some(now()), None), (None, Some(now())), (Some(now()), None)]);
        let state = store.run_state_get(&all, run(1).id).await.unwrap();
        let groups: Vec<_> = state.outcomes.iter().map(|group| (group.outcome.as_str(), group.accounts)).collect();
        assert_eq!(groups, [("collected", 2), ("failed", 1)]);
        let details = store.run_details_get(&all, run(1).id, false).await.unwrap().unwrap();
        assert_eq!(details.outcomes.len(), 1);
        let finished = store.run_finish(&all, run(1).id, now()).await.unwrap();
        assert_eq!((finished.status, finished.counts.planned), (RunStatus::PartialFailure, 3));
        pool.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_a_batch_does_not_say_has_a_row_of_its_own() {
    each_database(async |store, url| {
        let accounts = people(&store, 4).await;
        let date = day("2026-11-22");
        add_batches(&store, &[batch(1, &run(1), &[&accounts[0], &accounts[1]], date)], now()).await;
        defer(&store, &lease(&store).await, now(), "spent", now()).await.unwrap();
        // Collected, while another account of the batch waits; then that one, which had an outcome before.
        let held = lease(&store).await;
        let later = Outcome::Deferred { until: now(), message: "spent".to_owned() };
        let results = vec![stored(row_of(&accounts[0])), result(&row_of(&accounts[1]), later)];
        store.batch_complete(&held, BatchResult { accounts: results, ..BatchResult::default() }, now()).await.unwrap();
        let pool = raw(url).await;
        assert_eq!(count(&pool, "collection_outcomes WHERE outcome = 'collected'").await, 1);
        let results = BatchResult { accounts: vec![stored(row_of(&accounts[1]))], ..BatchResult::default() };
        store.batch_complete(&lease(&store).await, results, now()).await.unwrap();

        // Numbers that are stored under another date, and a consent that was withdrawn.
        add_batches(&store, &[batch(2, &run(1), &[&accounts[2], &accounts[3]], date)], now()).await;
        let other = stored(followers(&accounts[2], date + Days::new(1), 100));
        let results = vec![other, result(&row_of(&accounts[3]), Outcome::Excluded { reason: Exclusion::NoConsent })];
        let results = BatchResult { accounts: results, ..BatchResult::default() };
        store.months_ensure([date + Days::new(1)].into_iter()).await.unwrap();
        store.batch_complete(&lease(&store).await, results, now()).await.unwrap();
        let next = ("channel-3".to_owned(), Outcome::Collected, "2026-11-23".to_owned(), 1);
        let left_out = Outcome::Excluded { reason: Exclusion::NoConsent };
        let left_out = ("channel-4".to_owned(), left_out, "2026-11-22".to_owned(), 1);
        assert_eq!(shown(&store).await, [collected(1), collected(2), next, left_out]);
        assert_eq!(count(&pool, "collection_outcomes").await, 4);
        pool.close().await;
    })
    .await;
}

fn past(table: RetainedTable, before: DateTime<Utc>) -> RetentionStep {
    RetentionStep { table, before: Before::Time(before), ..step() }
}

/// Deletes what is past its time, a row at a time; returns how many rows were said to be deleted.
async fn delete(store: &Store, step: &RetentionStep, at: DateTime<Utc>, each: &mut impl AsyncFnMut()) -> u64 {
    let (all, mut from, mut rows) = (Scope::all_tenants(), ArchivePlace::default(), 0);
    loop {
        let taken = store.archive_due_put_away(&all, step, &[], &from, 1, super::fixtures::past(at)).await.unwrap();
        each().await;
        rows += taken.rows;
        match taken.next {
            Some(next) => from = next,
            None => return rows,
        }
    }
}

#[tokio::test]
async fn outcomes_past_their_time_are_taken_behind_a_batch_whose_id_is_not_utf_8() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its encoding keeps such texts out
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 2).await;
        let planned = [1, 2].map(|n| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22")));
        add_batches(&store, &planned, now()).await;
        let mut first = None;
        for seconds in 0..2 {
            let held = lease(&store).await;
            let account = accounts.iter().find(|one| one.id == held.batch.accounts[0].account_id).unwrap();
            let rows = vec![stored(followers(account, day("2026-11-22"), 5))];
            let result = BatchResult { accounts: rows, ..BatchResult::default() };
            store.batch_complete(&held, result, now() + TimeDelta::seconds(seconds)).await.unwrap();
            first = first.or(Some(held.batch.id));
        }
        spoil(url, "batches", "id", LATIN_1, &format!("id = '{}'", first.unwrap())).await;
        assert_eq!(store.run_outcomes_list(&all, run(1).id, None, 10).await.unwrap().len(), 1);
        let step = past(RetainedTable::CollectionOutcomes, now() + TimeDelta::seconds(5));
        let later = now() + TimeDelta::days(400);
        assert_eq!(delete(&store, &step, later, &mut async || {}).await, 1);
        assert_eq!(store.run_outcomes_list(&all, run(1).id, None, 10).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn outcomes_past_their_time_are_deleted_and_none_changes_before() {
    each_database(async |store, _| {
        let (all, later) = (Scope::all_tenants(), now() + TimeDelta::days(400));
        let accounts = collect_three(&store).await;
        let young = now() + TimeDelta::days(1);
        add_batches(&store, &[batch(2, &run(1), &[&accounts[0]], day("2026-11-22"))], young).await;
        let held = store.batch_lease(&all, None, None, "worker", young, super::fixtures::TTL).await.unwrap().unwrap();
        let step = past(RetainedTable::CollectionOutcomes, now() + TimeDelta::seconds(1));
        assert_eq!(store.archive_due_count(&all, &step, &[], later).await.unwrap(), 3);
        let mut check = async || {
            let all = shown(&store).await;
            assert!(!all.iter().any(|one| one.0 == "channel-2" && one.1 == Outcome::Collected), "{all:?}");
        };
        assert_eq!(delete(&store, &step, later, &mut check).await, 3);
        assert_eq!(shown(&store).await, []);
        let results = BatchResult { accounts: vec![stored(row_of(&accounts[0]))], ..BatchResult::default() };
        store.batch_complete(&held, results, young).await.unwrap();
        assert_eq!(delete(&store, &step, later, &mut async || {}).await, 0);
        assert_eq!(shown(&store).await, [collected(1)], "a later one stays");
    })
    .await;
}

#[tokio::test]
async fn how_a_run_ended_outlives_its_outcomes() {
    each_database(async |store, _| {
        let (all, later) = (Scope::all_tenants(), now() + TimeDelta::days(400));
        collect_three(&store).await;
        let ended = store.run_finish(&all, run(1).id, now()).await.unwrap();
        assert_eq!((ended.status, ended.counts.planned), (RunStatus::PartialFailure, 3));
        let step = past(RetainedTable::CollectionOutcomes, now() + TimeDelta::seconds(1));
        assert_eq!(delete(&store, &step, later, &mut async || {}).await, 3);
        assert_eq!(store.run_cancel(&all, run(1).id, "a test", later).await.unwrap(), None);
        let again = store.run_finish(&all, run(1).id, later).await.unwrap();
        assert_eq!((again.status, again.finished_at), (RunStatus::PartialFailure, Some(now())));
        assert_eq!(store.run_get(&all, run(1).id).await.unwrap().unwrap().status, RunStatus::PartialFailure);
    })
    .await;
}

#[tokio::test]
async fn outcomes_outlive_their_batches() {
    each_database(async |store, url| {
        let later = now() + TimeDelta::days(400);
        collect_three(&store).await;
        store.run_finish(&Scope::all_tenants(), run(1).id, now()).await.unwrap();
        let before = shown(&store).await;
        let pool = raw(url).await;
        let logs = count(&pool, "data_collection_logs").await;
        let step = past(RetainedTable::Batches, now() + TimeDelta::seconds(1));
        assert_eq!(delete(&store, &step, later, &mut async || {}).await, 1);
        assert_eq!(count(&pool, "batches").await, 0);
        assert_eq!(shown(&store).await, before);
        assert_eq!(count(&pool, "data_collection_logs").await, logs);
        pool.close().await;
    })
    .await;
}

#[tokio::test]
async fn the_row_of_an_earlier_version_counts_once() {
    each_database(async |store, url| {
        let accounts = people(&store, 1).await;
        store_rows(&store, vec![row_of(&accounts[0])]).await;
        let pool = raw(url).await;
        // As a host of the version before writes it.
        for text in [
            "INSERT INTO collection_outcomes (run_id, account_id, artist_id, platform, metric_date, outcome, attempts,
                 at, release_digest)
             SELECT run_id, account_id, artist_id, platform, metric_date, outcome, attempts, at, release_digest
             FROM outcomes_all",
            "UPDATE batches SET collected_at = NULL",
        ] {
            sqlx::query(text).execute(&pool).await.unwrap();
        }
        assert_eq!(shown(&store).await, [collected(1)]);
        let counts = store.run_get(&Scope::all_tenants(), run(1).id).await.unwrap().unwrap().counts;
        assert_eq!(counts.collected, 1);
        pool.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_failure_names_the_run_that_collected_the_account_later() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let accounts = collect_three(&store).await;
        let fixed = async || {
            let failed =
                store.run_outcomes_of_kind_list(&all, run(1).id, OutcomeKind::Failed, None, 100).await.unwrap();
            failed.iter().map(|one| one.fixed_by).collect::<Vec<_>>()
        };
        assert_eq!(fixed().await, [None]);
        create_run(&store, &run(2)).await;
        for (n, after, date) in [(2, -1, "2026-11-22"), (3, 1, "2026-11-23")] {
            // The first was observed before the failure: it says nothing of what came after it.
            let row = MetricsRow {
                observed_at: now() + TimeDelta::hours(after),
                run_id: run(n).id,
                ..followers(&accounts[1], day(date), 90)
            };
            if n == 3 {
                create_run(&store, &run(3)).await;
            }
            add_batches(&store, &[batch(n, &run(n), &[&accounts[1]], day(date))], now()).await;
            let results = BatchResult { accounts: vec![stored(row)], ..BatchResult::default() };
            store.batch_complete(&lease(&store).await, results, now()).await.unwrap();
            let expected = if n == 3 { Some(run(3).id) } else { None };
            assert_eq!(fixed().await, [expected], "run {n}");
        }
        let collected = store.run_outcomes_of_kind_list(&all, run(1).id, OutcomeKind::Collected, None, 100).await;
        assert_eq!(collected.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_run_that_another_transaction_holds_is_left_alone_without_a_wait() {
    each_database(async |store, url| {
        let (all, id) = (Scope::all_tenants(), run(1).id);
        create_run(&store, &run(1)).await;
        // SQLite locks no rows.
        if store.kind() == DatabaseKind::Postgres {
            let mut other = PgConnection::connect(url).await.unwrap();
            let mut held = other.begin().await.unwrap();
            sqlx::query("SELECT id FROM runs FOR UPDATE").execute(&mut *held).await.unwrap();
            assert_eq!(store.run_finish_if_free(&all, id, now()).await.unwrap(), None);
            held.rollback().await.unwrap();
        }
        let ended = store.run_finish_if_free(&all, id, now()).await.unwrap().expect("it is free");
        assert_eq!(ended.finished_at, Some(now()));
        assert_eq!(store.run_finish_if_free(&all, run(5).id, now()).await.unwrap(), None, "there is no such run");
    })
    .await;
}
