//! A number at the end of its range, whichever program wrote it, stops nothing but its own row.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backline_model::outcome::{Exclusion, Outcome};
use backline_model::{Batch, BatchId, BatchState, RunStatus, Weights};
use backline_store::{BatchFilter, BatchResult, DatabaseKind, EventCursor, NewDelivery, Scope, Store, StoreOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use super::artists_checked::migrate_to;
use super::fixtures::{TTL, add_batches, batch, day, demo, event, followers, lease, now, people, run, stored, webhook};
use super::schema::raw;
use crate::support::database::{each_database, each_empty_database, write, write_past_check};

/// The end of lease tokens, versions and terms.
const END: i64 = 1 << 62;

/// The end of numbers of times.
const TIMES: i64 = 1_000_000_000;

async fn set(url: &str, id: BatchId, column: &str, number: i64) {
    write(url, &format!("UPDATE batches SET {column} = {number} WHERE id = '{id}'")).await;
}

/// Why accounts of run 1 were excluded as unreadable, in the order of the accounts.
async fn reasons(store: &Store) -> Vec<String> {
    let outcomes = store.run_outcomes_list(&Scope::all_tenants(), run(1).id, None, 100).await.unwrap();
    let unreadable = Outcome::Excluded { reason: Exclusion::Unreadable };
    outcomes.into_iter().filter(|one| one.outcome == unreadable).map(|one| one.note.unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_batch_whose_numbers_are_at_their_end_ends_and_the_next_one_is_leased() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 4).await;
        let planned = [1, 2, 3, 4].map(|n| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22")));
        add_batches(&store, &planned, now()).await;
        set(url, planned[0].id, "lease_token", END).await;
        set(url, planned[1].id, "attempts", TIMES).await;
        set(url, planned[2].id, "host_losses", TIMES).await;
        let held = lease(&store).await;
        assert_eq!((held.batch.id, held.token), (planned[3].id, 1));
        // It would be leased alone.
        let ended = store.unreadable_batches_end(&all, now()).await.unwrap();
        assert_eq!((ended.batches, ended.accounts), (1, 1));
        let expected = [("lease_token", END), ("attempts", TIMES), ("host_losses", TIMES)]
            .map(|(column, number)| format!("its batch can't be read: its {column} is {number}"));
        assert_eq!(reasons(&store).await, expected);
        let row = followers(&accounts[3], day("2026-11-22"), 5);
        let result = BatchResult { accounts: vec![stored(row)], ..BatchResult::default() };
        store.batch_complete(&held, result, now()).await.unwrap();
        let run = store.run_finish(&all, run(1).id, now()).await.unwrap();
        assert_eq!((run.status, run.counts.collected, run.counts.excluded), (RunStatus::Success, 1, 3));
    })
    .await;
}

#[tokio::test]
async fn the_last_lease_token_is_never_given_out() {
    each_database(async |store, url| {
        let accounts = people(&store, 2).await;
        let planned = [1, 2].map(|n| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22")));
        add_batches(&store, &planned, now()).await;
        set(url, planned[0].id, "lease_token", END - 2).await;
        let last = lease(&store).await;
        assert_eq!((last.batch.id, last.token), (planned[0].id, END - 1));
        store.batch_release(&last, now(), false).await.unwrap();
        assert_eq!(lease(&store).await.batch.id, planned[1].id);
        assert_eq!(reasons(&store).await, [format!("its batch can't be read: its lease_token is {END}")]);
    })
    .await;
}

#[tokio::test]
async fn a_negative_number_of_lost_hosts_holds_no_run_open() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 1).await;
        let planned = batch(1, &run(1), &[&accounts[0]], day("2026-11-22"));
        add_batches(&store, std::slice::from_ref(&planned), now()).await;
        let spoil = format!("UPDATE batches SET host_losses = -1 WHERE id = '{}'", planned.id);
        write_past_check(url, "batches", "host_losses", &spoil).await;
        assert_eq!(store.next_batch_get(&all, Some(run(1).id), None).await.unwrap(), Some(now()));
        assert_eq!(store.batch_lease(&all, None, Some(&demo()), "worker", now(), TTL).await.unwrap(), None);
        assert_eq!(reasons(&store).await, ["its batch can't be read: its host_losses is -1"]);
        let run = store.run_finish(&all, run(1).id, now()).await.unwrap();
        assert_eq!(run.finished_at, Some(now()));
    })
    .await;
}

#[tokio::test]
async fn deferred_batches_behind_a_page_that_can_not_be_read_are_woken() {
    each_database(async |store, url| {
        let accounts = people(&store, 1).await;
        let planned: Vec<Batch> = (1..=1_001).map(|n| batch(n, &run(1), &[&accounts[0]], day("2026-11-22"))).collect();
        add_batches(&store, &planned, now()).await;
        let last = planned.last().unwrap().id;
        write(url, "UPDATE batches SET state = 'deferred', turn = 1").await;
        write(url, &format!("UPDATE batches SET tenant = 'No Tenant' WHERE id <> '{last}'")).await;
        write(url, &format!("UPDATE batches SET turn = 2 WHERE id = '{last}'")).await;
        let all = Scope::all_tenants();
        assert_eq!(store.deferred_batches_wake(&all, &Weights::default(), now()).await.unwrap(), 1);
        let filter = BatchFilter { ids: vec![last], ..BatchFilter::default() };
        assert_eq!(store.batches_list(&all, &filter).await.unwrap()[0].state, BatchState::Planned);
    })
    .await;
}

#[tokio::test]
async fn a_role_whose_term_is_at_its_end_is_taken_over() {
    each_database(async |store, url| {
        let first = store.role_take("scheduler", "a", now(), TTL).await.unwrap().unwrap();
        write(url, &format!("UPDATE leaders SET term = {END}")).await;
        let later = now() + TTL;
        let second = store.role_take("scheduler", "b", later, TTL).await.unwrap().unwrap();
        assert_eq!((second.holder.as_str(), second.term), ("b", 1));
        store.role_resign(&first, later).await.unwrap();
        assert_eq!(store.role_get("scheduler").await.unwrap(), Some(second.clone()), "it is not the other's");
        let third = store.role_take("scheduler", "c", later + TTL, TTL).await.unwrap().unwrap();
        assert_eq!(third.term, 2);
    })
    .await;
}

#[tokio::test]
async fn a_delivery_that_was_tried_too_often_to_count_is_sent_beside_the_others() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        store.webhook_add(&all, &webhook(1, "crm"), vec![1], true).await.unwrap();
        let events = [1, 2].map(|n| event(n, None));
        store.events_write(&all, &events).await.unwrap();
        let heads = store.event_heads_list(&all, EventCursor::default(), 10).await.unwrap();
        let deliveries = [0, 1].map(|n| NewDelivery { event: heads[n].cursor, line: format!("line-{n}") });
        let (id, seen) = (webhook(1, "").id, EventCursor::default());
        store.deliveries_fan_out(&all, id, seen, heads[1].cursor, &deliveries, now()).await.unwrap();
        let first = events[0].id;
        write(url, &format!("UPDATE deliveries SET attempts = {TIMES} WHERE event_id = '{first}'")).await;
        let leased = store.deliveries_lease(&all, id, "host", now(), TTL, 10).await.unwrap();
        let attempts: Vec<_> = leased.iter().map(|lease| (lease.event.id, lease.attempt)).collect();
        assert_eq!(attempts, [(events[0].id, 1_000_000_000), (events[1].id, 1)]);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_number_of_requests_is_not_added_up() {
    each_database(async |store, url| {
        let accounts = people(&store, 6).await;
        let of = |n: usize| batch(n as u128 + 1, &run(1), &[&accounts[n]], day("2026-11-22"));
        let planned = [0, 1, 2, 3, 4, 5].map(of);
        add_batches(&store, &planned, now()).await;
        let usages = [
            r#"{"requests": 7}"#,
            r#"{"requests": "many"}"#,
            r#"{"requests": 9223372036854775807}"#,
            r#"{"requests": -9223372036854775807}"#,
            r#"{"requests": 0.5}"#,
            "[]",
        ];
        for (planned, usage) in planned.iter().zip(usages) {
            write(url, &format!("UPDATE batches SET usage = '{usage}' WHERE id = '{}'", planned.id)).await;
        }
        let state = store.run_state_get(&Scope::all_tenants(), run(1).id).await.unwrap();
        assert_eq!(state.requests, BTreeMap::from([(demo(), 7)]));
    })
    .await;
}

/// The numbers that are checked, as `table.column`.
async fn checked(store: &Store, url: &str) -> BTreeSet<String> {
    let pool = raw(url).await;
    let found = match store.kind() {
        DatabaseKind::Postgres => {
            let checks = "SELECT c.conrelid::regclass::text || '.' AS owner, c.conname::text AS name
                 FROM pg_constraint c WHERE c.contype = 'c' AND NOT c.convalidated
                     AND c.conname LIKE c.conrelid::regclass::text || '_%'
                     AND pg_get_constraintdef(c.oid) LIKE '%>= 0%'";
            let rows = sqlx::query(checks).fetch_all(&pool).await.unwrap();
            let named = |row: &sqlx::any::AnyRow| {
                let (owner, name): (String, String) = (row.get("owner"), row.get("name"));
                format!("{owner}{}", &name[owner.len()..])
            };
            rows.iter().map(named).collect()
        }
        DatabaseKind::Sqlite => {
            let mut found = BTreeMap::new();
            let checks = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%_numbers_%'";
            for row in sqlx::query(checks).fetch_all(&pool).await.unwrap() {
                let sql: String = row.get("sql");
                for refusal in sql.split("RAISE(ABORT, '").skip(1) {
                    let name = refusal.split(' ').next().unwrap().to_owned();
                    *found.entry(name).or_insert(0) += 1;
                }
            }
            assert!(found.values().all(|times| *times == 2), "what is new and what changes is checked: {found:?}");
            found.into_keys().collect()
        }
    };
    pool.close().await;
    found
}

#[tokio::test]
async fn both_kinds_check_the_same_numbers_where_they_are_written() {
    let found: std::cell::RefCell<Vec<BTreeSet<String>>> = std::cell::RefCell::default();
    each_database(async |store, url| {
        let checked = checked(&store, url).await;
        for number in ["batches.lease_token", "batches.host_losses", "deliveries.attempts", "leaders.term"] {
            assert!(checked.contains(number), "{number} is not in {checked:?}");
        }
        found.borrow_mut().push(checked);

        store.role_take("scheduler", "a", now(), TTL).await.unwrap().unwrap();
        let pool = raw(url).await;
        for odd in [-1, END + 1, i64::MIN, i64::MAX] {
            for statement in [
                format!("UPDATE leaders SET term = {odd}"),
                format!(
                    "INSERT INTO leaders (role, holder, term, expires_at)
                         SELECT 'x', '', {odd}, expires_at FROM leaders"
                ),
            ] {
                let written = sqlx::query(AssertSqlSafe(statement.clone())).execute(&pool).await;
                let refused = written.unwrap_err().to_string();
                assert!(refused.contains("leaders.term") || refused.contains("leaders_term"), "{statement}: {refused}");
            }
        }
        pool.close().await;
    })
    .await;
    let found = found.into_inner();
    let only: Vec<_> = found[0].symmetric_difference(&found[1]).collect();
    assert!(only.is_empty(), "only one kind checks {only:?}");
}

#[tokio::test]
async fn a_row_of_a_file_takes_no_number_that_leaves_none_for_the_next_one() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its sequences do not follow what rows are given
        }
        let all = Scope::all_tenants();
        store.events_write(&all, &[event(1, None)]).await.unwrap();
        let pool = raw(url).await;
        for statement in [
            format!("UPDATE events SET seq = {}", i64::MAX),
            format!(
                "INSERT INTO events (seq, id, type, occurred_at, data) VALUES ({}, 'x', 'x', 'x', '{{}}')",
                i64::MAX
            ),
        ] {
            let refused = sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.unwrap_err().to_string();
            assert!(refused.contains("events.seq is out of range"), "{refused}");
        }
        pool.close().await;
        store.events_write(&all, &[event(2, None)]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn numbers_that_were_there_before_are_brought_into_their_range() {
    each_empty_database(async |url| {
        migrate_to(22, url).await;
        let time = "'2026-11-22T12:00:00.000000Z'";
        for (role, term) in [("high", i64::MAX), ("low", i64::MIN), ("right", 7)] {
            let row =
                format!("INSERT INTO leaders (role, holder, term, expires_at) VALUES ('{role}', 'a', {term}, {time})");
            write(url, &row).await;
        }
        let store = Store::open(url, StoreOptions::default()).await.unwrap();
        assert_eq!(store.migrate().await.unwrap().applied, ["0023_numbers"]);
        let term = async |role: &str| store.role_get(role).await.unwrap().unwrap().term;
        assert_eq!((term("high").await, term("low").await, term("right").await), (END, 0, 7));
        // They can be used.
        assert!(store.role_take("high", "a", now(), TTL).await.unwrap().is_some());
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_migration_and_a_host_that_works_do_not_wait_for_each_other() {
    each_empty_database(async |url| {
        if !url.starts_with("postgres") {
            return; // a file has one writer
        }
        migrate_to(22, url).await;
        let store = Store::open(url, StoreOptions::default()).await.unwrap();
        let mut host = PgConnection::connect(url).await.unwrap();
        let mut other = PgConnection::connect(url).await.unwrap();
        // The last table that the migration takes.
        host.execute("BEGIN; SELECT 1 FROM leaders FOR UPDATE").await.unwrap();
        let work = async {
            let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND relation = 'leaders'::regclass";
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut other).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
            for table in ["batches", "runs", "alerts", "deliveries", "webhooks", "budgets", "credentials", "releases"] {
                host.execute(AssertSqlSafe(format!("SELECT 1 FROM {table} FOR UPDATE"))).await.unwrap();
            }
            host.execute("COMMIT").await.unwrap();
        };
        let both = async { tokio::join!(store.migrate(), work) };
        let (migrated, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("both end");
        assert_eq!(migrated.unwrap().applied, ["0023_numbers"]);
        store.close().await;
    })
    .await;
}
