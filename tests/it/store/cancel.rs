//! A run that is cancelled ends with all that is open of it, on whatever host, and with nothing else.

use backline_model::event::types;
use backline_model::outcome::{Exclusion, FailureClass, Outcome};
use backline_model::{Account, Batch, BatchId, BatchState, Run, RunStatus, SwapCause, Weights};
use backline_store::{BatchFilter, BatchResult, CancelledBatches, EventCursor, Rollback, Scope, Store, StoreError};
use chrono::{NaiveDate, TimeDelta};

use super::fixtures::{
    add_batches, batch, create_run, day, defer, demo, followers, lease, now, people, release, release_of, result, run,
    stored,
};
use crate::support::database::each_database;

#[tokio::test]
async fn all_that_is_open_of_a_run_ends_and_nothing_else_does() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 6).await;
        let later = now() + TimeDelta::seconds(1);
        create_run(&store, &run(2)).await;
        let of = |n: u32, own, indices: &[usize]| {
            let accounts: Vec<_> = indices.iter().map(|index| &accounts[*index]).collect();
            Batch { id: BatchId::generate(), ..batch(n.into(), own, &accounts, day("2026-11-22")) }
        };
        let (first, second) = (run(1), run(2));
        // One account is collected, one is deferred, one is held by a host, and one waits in two batches, as after a
        // batch was cut in halves and one of them retried.
        add_batches(&store, &[of(1, &first, &[0])], now()).await;
        let row = followers(&accounts[0], day("2026-11-22"), 5);
        let result = BatchResult { accounts: vec![stored(row)], ..BatchResult::default() };
        store.batch_complete(&lease(&store).await, result, now()).await.unwrap();
        add_batches(&store, &[of(2, &first, &[1])], now()).await;
        defer(&store, &lease(&store).await, now() + TimeDelta::hours(9), "spent", now()).await.unwrap();
        add_batches(&store, &[of(3, &first, &[2])], now()).await;
        let held = lease(&store).await;
        add_batches(&store, &[of(4, &first, &[3, 4]), of(5, &first, &[4, 3])], now()).await;
        add_batches(&store, &[of(6, &second, &[5])], now()).await;

        let cancelled = store.run_cancel(&all, first.id, "a mistake", later).await.unwrap();
        assert_eq!(cancelled, Some(CancelledBatches { batches: 4, leased: 1, accounts: 6 }));
        let ended = store.run_finish(&all, first.id, later).await.unwrap();
        assert_eq!((ended.status, ended.finished_at), (RunStatus::Cancelled, Some(later)));
        assert_eq!((ended.counts.collected, ended.counts.excluded, ended.counts.planned), (1, 4, 1));
        let outcomes = store.run_outcomes_list(&all, first.id, None, 100).await.unwrap();
        let left_out = Outcome::Excluded { reason: Exclusion::Cancelled };
        assert_eq!(outcomes.iter().filter(|one| one.outcome == left_out).count(), 4, "each account once: {outcomes:?}");
        let notes: Vec<_> = outcomes.iter().map(|one| one.note.as_deref().unwrap_or_default()).collect();
        assert_eq!(
            notes,
            [
                "",
                "the run was cancelled while it waited for a budget or a pause",
                "the run was cancelled while a host held it",
                "the run was cancelled before it had begun",
                "the run was cancelled before it had begun",
            ]
        );
        let filter = BatchFilter { run: Some(first.id), state: Some(BatchState::Done), ..BatchFilter::default() };
        let messages: Vec<_> =
            store.batches_list(&all, &filter).await.unwrap().into_iter().filter_map(|batch| batch.message).collect();
        assert_eq!(messages, ["the run was cancelled: a mistake"; 4]);

        // The host that held a batch can do nothing with it any more.
        let ttl = std::time::Duration::from_secs(20);
        let renewed = store.lease_renew(&held, later, ttl).await;
        assert!(matches!(renewed, Err(StoreError::LeaseLost { .. })), "{renewed:?}");
        let given_back = store.batch_release(&held, later, false).await;
        assert!(matches!(given_back, Err(StoreError::LeaseLost { .. })), "{given_back:?}");
        let row = followers(&accounts[2], day("2026-11-22"), 5);
        let result = BatchResult { accounts: vec![stored(row)], ..BatchResult::default() };
        let completed = store.batch_complete(&held, result, later).await;
        assert!(matches!(completed, Err(StoreError::LeaseLost { .. })), "{completed:?}");

        // The other run goes on, and the end was told once.
        assert_eq!(lease(&store).await.batch.run_id, second.id);
        let events = store.events_list(&all, EventCursor::default(), 1_000).await.unwrap();
        let told: Vec<_> = events.iter().filter(|(_, event)| event.kind == types::RUN_COMPLETED).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].1.data["status"], "cancelled");
        assert_eq!(store.run_cancel(&all, first.id, "again", later).await.unwrap(), None, "it has ended already");
        assert!(matches!(store.run_cancel(&all, run(9).id, "", later).await, Err(StoreError::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_run_of_more_batches_than_one_transaction_takes_is_cancelled_whole() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 3).await;
        let batches: Vec<Batch> = (0..120)
            .map(|n| {
                let account = &accounts[n % 3];
                Batch { id: BatchId::generate(), ..batch(n as u128, &run(1), &[account], day("2026-11-22")) }
            })
            .collect();
        add_batches(&store, &batches, now()).await;
        let cancelled = store.run_cancel(&all, run(1).id, "a test", now()).await.unwrap();
        assert_eq!(cancelled, Some(CancelledBatches { batches: 120, leased: 0, accounts: 120 }));
        let ended = store.run_finish(&all, run(1).id, now()).await.unwrap();
        assert_eq!((ended.status, ended.counts.excluded), (RunStatus::Cancelled, 3));
        assert_eq!(store.open_batches_count(&all).await.unwrap().iter().map(|(_, n)| n).sum::<u64>(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_run_that_is_complete_is_not_cancelled() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 1).await;
        add_batches(&store, &[batch(1, &run(1), &[&accounts[0]], day("2026-11-22"))], now()).await;
        let row = followers(&accounts[0], day("2026-11-22"), 5);
        let result = BatchResult { accounts: vec![stored(row)], ..BatchResult::default() };
        store.batch_complete(&lease(&store).await, result, now()).await.unwrap();
        // The host that stored its last batch has not finished it yet.
        assert_eq!(store.run_cancel(&all, run(1).id, "late", now()).await.unwrap(), None);
        let ended = store.run_finish(&all, run(1).id, now()).await.unwrap();
        assert_eq!((ended.status, ended.counts.collected), (RunStatus::Success, 1));
    })
    .await;
}

#[tokio::test]
async fn a_host_that_finishes_the_run_at_the_same_time_finishes_it_as_cancelled() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 4).await;
        for n in 0..8_u32 {
            let own = Run { id: backline_model::RunId::generate(), ..run(1) };
            create_run(&store, &own).await;
            let of = |account: &Account| Batch {
                id: BatchId::generate(),
                ..batch(n.into(), &own, &[account], day("2026-11-22"))
            };
            add_batches(&store, &accounts.iter().map(of).collect::<Vec<_>>(), now()).await;
            // Its batches end in chunks; between two of them nobody may take it for complete.
            let (cancelled, _) =
                tokio::join!(store.run_cancel(&all, own.id, "a test", now()), store.run_finish(&all, own.id, now()));
            assert!(cancelled.unwrap().is_some_and(|cancelled| cancelled.batches == 4));
            let ended = store.run_finish(&all, own.id, now()).await.unwrap();
            assert_eq!((ended.status, ended.counts.excluded), (RunStatus::Cancelled, 4));
        }
    })
    .await;
}

#[tokio::test]
async fn a_host_that_is_storing_is_waited_for_and_what_it_splits_off_ends_too() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 3).await;
        let date = day("2026-11-22");
        add_batches(&store, &[batch(1, &run(1), &accounts.iter().collect::<Vec<_>>(), date)], now()).await;
        let completion = store.completion_begin(&lease(&store).await, now()).await.unwrap();
        // One is collected, one is to be tried again, and one goes on as a batch of its own.
        let later = Outcome::Deferred { until: now() + TimeDelta::hours(9), message: "spent".to_owned() };
        let results = vec![stored(followers(&accounts[0], date, 5)), result(&followers(&accounts[2], date, 5), later)];
        let results = BatchResult { accounts: results, ..BatchResult::default() };
        let (cancelled, completed) =
            tokio::join!(store.run_cancel(&all, run(1).id, "a test", now()), completion.commit(results));
        assert_eq!(completed.unwrap().counts.collected, 1, "it does not wait for the run's lock");
        assert_eq!(cancelled.unwrap(), Some(CancelledBatches { batches: 2, leased: 0, accounts: 2 }));
        let ended = store.run_finish(&all, run(1).id, now()).await.unwrap();
        assert_eq!(ended.status, RunStatus::Cancelled);
        assert_eq!((ended.counts.collected, ended.counts.excluded, ended.counts.deferred), (1, 2, 0));
    })
    .await;
}

/// Lets accounts fail in one batch of a run, under the active release.
async fn fail(store: &Store, n: u128, own: &Run, accounts: &[&Account], date: NaiveDate, class: FailureClass) {
    add_batches(store, &[batch(n, own, accounts, date)], now()).await;
    let failed = || Outcome::Failed { class, message: "a fault".to_owned() };
    let accounts = accounts.iter().map(|account| result(&followers(account, date, 5), failed())).collect();
    let results = BatchResult { accounts, ..BatchResult::default() };
    store.batch_complete(&lease(store).await, results, now()).await.unwrap();
}

#[tokio::test]
async fn a_rollback_revives_neither_a_cancelled_run_nor_what_a_newer_plan_includes() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 5).await;
        let (good, worse) = (release(), release_of("2.0.0", b"worse"));
        for (one, component) in [(&good, &b"component"[..]), (&worse, &b"worse"[..])] {
            store.release_save(one, component).await.unwrap();
            store.release_activate(one.digest, SwapCause::Activated, now()).await.unwrap();
        }
        let began = |n: u32| Run { started_at: now() + TimeDelta::minutes(n.into()), ..run(n.into()) };
        let (first, second, third) = (run(1), began(2), began(3));
        create_run(&store, &second).await;
        create_run(&store, &third).await;
        let (early, late) = (day("2026-11-22"), day("2026-11-23"));
        fail(&store, 1, &first, &[&accounts[0], &accounts[1]], early, FailureClass::Trapped).await;
        fail(&store, 2, &second, &[&accounts[1]], late, FailureClass::Trapped).await;
        fail(&store, 3, &third, &[&accounts[2]], late, FailureClass::Trapped).await;
        fail(&store, 4, &third, &[&accounts[3]], late, FailureClass::Unavailable).await;
        add_batches(&store, &[batch(5, &third, &[&accounts[4]], late)], now()).await;
        store.run_cancel(&all, third.id, "a mistake", now()).await.unwrap().expect("it is open");
        for own in [&first, &second, &third] {
            store.run_finish(&all, own.id, now()).await.unwrap();
        }

        let regressions = serde_json::Value::Null;
        let platform = demo();
        let rollback = Rollback {
            platform: &platform,
            from: worse.digest,
            to: good.digest,
            reason: "a test",
            regressions,
            batch_size: 10,
        };
        let again = store.release_roll_back(&all, &rollback, &Weights::default(), now()).await.unwrap();
        let again = again.expect("it is active");
        assert_eq!((again.accounts, again.runs), (2, [first.id, second.id].into()));
        let open = async |own: &Run| -> Vec<_> {
            let filter = BatchFilter { run: Some(own.id), state: Some(BatchState::Planned), ..BatchFilter::default() };
            let open = store.batches_list(&all, &filter).await.unwrap();
            let mut found = Vec::new();
            for batch in open {
                let accounts = store.batch_accounts_list(&all, batch.id).await.unwrap();
                found.extend(accounts.iter().map(|account| account.account_id));
            }
            found
        };
        assert_eq!(open(&first).await, [accounts[0].id], "the other one stands in a newer plan");
        assert_eq!(open(&second).await, [accounts[1].id]);
        assert_eq!(open(&third).await, []);
        let cancelled = store.run_get(&all, third.id).await.unwrap().unwrap();
        assert_eq!((cancelled.status, cancelled.finished_at), (RunStatus::Cancelled, Some(now())));

        // The watch after the rollback finds nothing more, and an operator who wants it gets it.
        let more = store.release_recollect(&all, &rollback, now(), &Weights::default(), now()).await.unwrap();
        assert_eq!((more.accounts, more.runs.len()), (0, 0));
        let filter = BatchFilter { run: Some(third.id), ..BatchFilter::default() };
        let retried = store.batches_retry(&all, &filter, &Weights::default(), now()).await.unwrap();
        assert_eq!((retried.batches, retried.runs), (1, vec![third.id]));
    })
    .await;
}
