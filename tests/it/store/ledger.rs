//! Runs, batches and leases.

use std::collections::BTreeSet;

use backline::domain::outcome::{Exclusion, FailureClass, Outcome};
use backline::domain::{Account, Artist, Batch, BatchId, RunStatus, Tenant};
use backline::store::{AccountOutcome, BatchResult, EventCursor, StoreError};
use chrono::TimeDelta;
use futures::future::join_all;
use uuid::Uuid;

use super::fixtures::{TTL, artist, batch, day, demo, followers, lease, now, people, result, run, stored};
use crate::support::database::each_database;

#[tokio::test]
async fn an_expired_lease_passes_on_and_the_first_holder_can_write_nothing() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        let planned = batch(1, &run(1), &[&accounts[0]], day("2026-11-22"));
        store.add_batches(std::slice::from_ref(&planned), now()).await.unwrap();

        let first = store.lease_batch(Some(run(1).id), Some(&demo()), "one", now(), TTL).await.unwrap().unwrap();
        assert_eq!(first.batch, planned);
        assert_eq!(store.lease_batch(None, None, "two", now(), TTL).await.unwrap(), None, "it is in somebody's hands");
        let later = now() + TimeDelta::seconds(61);
        let second = store.lease_batch(None, None, "two", later, TTL).await.unwrap().unwrap();
        assert!(second.token > first.token);
        assert_eq!(second.batch.attempts, 1, "whoever held it may have died of it");

        let lost = |error: StoreError| {
            assert!(matches!(error, StoreError::LeaseLost { batch } if batch == planned.id), "{error}")
        };
        lost(store.heartbeat(&first, later, TTL).await.unwrap_err());
        lost(store.defer_batch(&first, later, "spent", later).await.unwrap_err());
        lost(store.release_batch(&first, later, true).await.unwrap_err());
        lost(store.begin_completion(&first, later).await.err().unwrap());

        let row = followers(&accounts[0], day("2026-11-22"), 100);
        let done = BatchResult { accounts: vec![stored(row)], ..BatchResult::default() };
        let completed = store.complete_batch(&second, done.clone(), later).await.unwrap();
        assert_eq!((completed.open, completed.counts.collected), (0, 1));
        lost(store.complete_batch(&second, done, later).await.unwrap_err());
        assert_eq!(store.lease_batch(None, None, "three", later + TimeDelta::days(9), TTL).await.unwrap(), None);
        assert_eq!(store.next_batch_at(None, None).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_heartbeat_keeps_a_batch_in_its_holders_hands() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        store.add_batches(&[batch(1, &run(1), &[&accounts[0]], day("2026-11-22"))], now()).await.unwrap();
        let first = lease(&store).await;
        let half = now() + TimeDelta::seconds(40);
        let kept = store.heartbeat(&first, half, TTL).await.unwrap();
        assert_eq!((kept.token, kept.expires_at), (first.token, half + TTL));
        assert_eq!(
            store.next_batch_at(Some(run(1).id), Some(&demo())).await.unwrap(),
            None,
            "whoever holds it sees to it: there is nothing to wait for"
        );
        assert_eq!(store.lease_batch(None, None, "two", now() + TimeDelta::seconds(70), TTL).await.unwrap(), None);
        assert!(store.lease_batch(None, None, "two", now() + TimeDelta::seconds(101), TTL).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn workers_at_once_never_get_the_same_batch() {
    each_database(async |store, _| {
        let accounts = people(&store, 40).await;
        let batches: Vec<_> =
            accounts.iter().zip(1..).map(|(account, n)| batch(n, &run(1), &[account], day("2026-11-22"))).collect();
        store.add_batches(&batches, now()).await.unwrap();
        let workers = (0..8).map(|worker| {
            let store = store.clone();
            async move {
                let mut taken: Vec<BatchId> = Vec::new();
                while let Some(lease) = store.lease_batch(None, None, &worker.to_string(), now(), TTL).await.unwrap() {
                    taken.push(lease.batch.id);
                }
                taken
            }
        });
        let taken: Vec<BatchId> = join_all(workers).await.concat();
        assert_eq!(taken.len(), 40);
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), batches.iter().map(|batch| batch.id).collect());
    })
    .await;
}

#[tokio::test]
async fn tenants_take_turns() {
    each_database(async |store, _| {
        let accounts = people(&store, 6).await;
        let of = |n: u128, tenant: &str, account: &Account| Batch {
            tenant: Tenant::new(tenant).unwrap(),
            ..batch(n, &run(1), &[account], day("2026-11-22"))
        };
        let (large, small) = ("large", "small");
        let planned = [
            of(1, large, &accounts[0]),
            of(2, large, &accounts[1]),
            of(3, large, &accounts[2]),
            of(4, large, &accounts[3]),
            of(5, small, &accounts[4]),
        ];
        store.add_batches(&planned[..2], now()).await.unwrap();
        store.add_batches(&planned[2..], now()).await.unwrap();
        store.add_batches(&[of(6, small, &accounts[5])], now()).await.unwrap();
        let mut order = Vec::new();
        while let Some(lease) = store.lease_batch(None, None, "worker", now(), TTL).await.unwrap() {
            order.push(lease.batch.tenant.to_string());
        }
        assert_eq!(order, [large, small, large, small, large, large]);
    })
    .await;
}

#[tokio::test]
async fn deferral_uses_no_attempt_and_giving_back_may() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        store.add_batches(&[batch(1, &run(1), &[&accounts[0]], day("2026-11-22"))], now()).await.unwrap();
        let reset = now() + TimeDelta::hours(9);
        store.defer_batch(&lease(&store).await, reset, "the day's units are spent", now()).await.unwrap();
        assert_eq!(store.lease_batch(None, None, "worker", reset - TimeDelta::seconds(1), TTL).await.unwrap(), None);
        let outcomes = store.run_outcomes(run(1).id, None, 10).await.unwrap();
        let deferred = Outcome::Deferred { until: reset, message: "the day's units are spent".to_owned() };
        assert_eq!(outcomes.iter().map(|outcome| outcome.outcome.clone()).collect::<Vec<_>>(), [deferred]);

        assert_eq!(store.next_batch_at(None, None).await.unwrap(), None, "no worker waits for an allowance");

        let waiting = store.finish_run(run(1).id, now()).await.unwrap();
        assert_eq!((waiting.status, waiting.finished_at), (RunStatus::Deferred, None));
        assert_eq!((waiting.counts.planned, waiting.counts.deferred), (1, 1));

        let lease = store.lease_batch(None, None, "worker", reset, TTL).await.unwrap().unwrap();
        assert_eq!(lease.batch.attempts, 0);
        store.release_batch(&lease, reset, false).await.unwrap();
        let lease = store.lease_batch(None, None, "worker", reset, TTL).await.unwrap().unwrap();
        assert_eq!(lease.batch.attempts, 0);
        store.release_batch(&lease, reset + TimeDelta::seconds(5), true).await.unwrap();
        assert_eq!(store.lease_batch(None, None, "worker", reset, TTL).await.unwrap(), None);
        let lease = store.lease_batch(None, None, "worker", reset + TimeDelta::seconds(5), TTL).await.unwrap().unwrap();
        assert_eq!(lease.batch.attempts, 1);
    })
    .await;
}

#[tokio::test]
async fn a_batch_keeps_only_what_is_not_finished() {
    each_database(async |store, _| {
        let accounts = people(&store, 4).await;
        let all: Vec<_> = accounts.iter().collect();
        let date = day("2026-11-22");
        store.add_batches(&[batch(1, &run(1), &all, date)], now()).await.unwrap();
        let until = now() + TimeDelta::hours(1);
        let retry_at = now() + TimeDelta::seconds(2);
        let rows: Vec<_> = accounts.iter().map(|account| followers(account, date, 5)).collect();
        let deferred = Outcome::Deferred { until, message: "spent".to_owned() };
        let failed = Outcome::Failed { class: FailureClass::NotFound, message: "no such channel".to_owned() };
        let part = BatchResult {
            // The last account is not named: it is to be tried again.
            accounts: vec![stored(rows[0].clone()), result(&rows[1], failed.clone()), result(&rows[2], deferred)],
            retry_at: Some(retry_at),
            ..BatchResult::default()
        };
        let completed = store.complete_batch(&lease(&store).await, part, now()).await.unwrap();
        assert_eq!(completed.open, 2);
        assert_eq!((completed.counts.collected, completed.counts.failed, completed.counts.deferred), (1, 1, 1));
        let running = store.finish_run(run(1).id, now()).await.unwrap();
        assert_eq!((running.status, running.finished_at), (RunStatus::Running, None), "one is still to be tried");

        assert_eq!(store.next_batch_at(Some(run(1).id), Some(&demo())).await.unwrap(), Some(retry_at));
        let again = store.lease_batch(None, None, "worker", retry_at, TTL).await.unwrap().unwrap();
        let left: Vec<_> = again.batch.accounts.iter().map(|account| account.account_id).collect();
        assert_eq!((left, again.batch.attempts), (vec![accounts[2].id, accounts[3].id], 1));
        let rest =
            BatchResult { accounts: vec![stored(rows[2].clone()), stored(rows[3].clone())], ..BatchResult::default() };
        assert_eq!(store.complete_batch(&again, rest, retry_at).await.unwrap().open, 0);

        let ended = store.finish_run(run(1).id, retry_at).await.unwrap();
        assert_eq!((ended.status, ended.finished_at), (RunStatus::PartialFailure, Some(retry_at)));
        assert_eq!(
            (ended.counts.planned, ended.counts.collected, ended.counts.failed, ended.counts.deferred),
            (4, 3, 1, 0)
        );
        assert_eq!(store.finish_run(run(1).id, retry_at + TimeDelta::hours(1)).await.unwrap(), ended, "it ends once");
        assert_eq!(store.get_run(run(1).id).await.unwrap(), Some(ended.clone()));
        assert_eq!(store.list_runs(10, None).await.unwrap(), [ended]);
        let events = store.events_after(EventCursor::default(), 10).await.unwrap();
        assert_eq!(events.iter().filter(|(_, event)| event.kind == "run.completed").count(), 1);
    })
    .await;
}

#[tokio::test]
async fn excluded_accounts_are_recorded_and_counted_apart() {
    each_database(async |store, _| {
        let accounts = people(&store, 3).await;
        let excluded: Vec<_> = [Exclusion::NoConsent, Exclusion::NotSubscribed]
            .into_iter()
            .zip(&accounts)
            .map(|(reason, account)| AccountOutcome {
                account_id: account.id,
                metric_date: day("2026-11-22"),
                outcome: Outcome::Excluded { reason },
                attempts: 0,
            })
            .collect();
        store.record_outcomes(run(1).id, &excluded, now()).await.unwrap();
        let ended = store.finish_run(run(1).id, now()).await.unwrap();
        assert_eq!((ended.status, ended.counts.excluded, ended.counts.planned), (RunStatus::Success, 2, 0));
        let read = store.run_outcomes(run(1).id, None, 1).await.unwrap();
        assert_eq!((read[0].outcome.clone(), read[0].artist_name.as_str()), (excluded[0].outcome.clone(), "Artist 1"));
        let rest = store.run_outcomes(run(1).id, Some(read[0].account_id), 10).await.unwrap();
        assert_eq!(rest.iter().map(|outcome| outcome.account_id).collect::<Vec<_>>(), [accounts[1].id]);
        let summary = store.run_summary(run(1).id).await.unwrap();
        let summary: Vec<_> = summary.iter().map(|group| (group.reason.as_deref(), group.accounts)).collect();
        assert_eq!(summary, [(Some("no_consent"), 1), (Some("not_subscribed"), 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_run_that_does_not_exist_is_not_finished() {
    each_database(async |store, _| {
        let error = store.finish_run(run(5).id, now()).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { what: "run", .. }), "{error}");
        assert_eq!(store.get_run(run(5).id).await.unwrap(), None);
        let strange = Artist { id: backline::domain::ArtistId(Uuid::from_u128(3)), ..artist(1) };
        store.save_artists(&[strange], now()).await.unwrap();
        assert_eq!(store.list_runs(10, Some(now())).await.unwrap(), []);
    })
    .await;
}
