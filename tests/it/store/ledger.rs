//! Tests of runs, batches and leases.

use std::collections::BTreeSet;

use backline_model::outcome::{Exclusion, FailureClass, Outcome};
use backline_model::{
    Account, Artist, Batch, BatchId, BatchState, Lease, Platform, Run, RunStatus, SwapCause, Tenant, Weights,
};
use backline_store::{
    AccountOutcome, BatchFilter, BatchResult, EventCursor, HealthWindow, OpenBatches, PlanGuard, Presence, Retried,
    RunFilter, Scope, Store, StoreError, StoreOptions, Topic,
};
use chrono::TimeDelta;
use futures::future::join_all;
use uuid::Uuid;

use super::fixtures::{
    TTL, add_batches, add_weighted_batches, artist, batch, create_run, day, defer, demo, followers, lease, now, people,
    release, result, run, stored, window,
};
use crate::support::database::{each_database, each_empty_database};

#[tokio::test]
async fn workers_at_once_never_get_the_same_batch() {
    each_database(async |store, _| {
        let accounts = people(&store, 40).await;
        let batches: Vec<_> =
            accounts.iter().zip(1..).map(|(account, n)| batch(n, &run(1), &[account], day("2026-11-22"))).collect();
        add_batches(&store, &batches, now()).await;
        let workers = (0..8).map(|worker| {
            let store = store.clone();
            async move {
                let mut taken: Vec<BatchId> = Vec::new();
                while let Some(lease) =
                    store.batch_lease(&Scope::all_tenants(), None, None, &worker.to_string(), now(), TTL).await.unwrap()
                {
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
        add_batches(&store, &planned[..2], now()).await;
        add_batches(&store, &planned[2..], now()).await;
        add_batches(&store, &[of(6, small, &accounts[5])], now()).await;
        let mut order = Vec::new();
        while let Some(lease) =
            store.batch_lease(&Scope::all_tenants(), None, None, "worker", now(), TTL).await.unwrap()
        {
            order.push(lease.batch.tenant.to_string());
        }
        assert_eq!(order, [large, small, large, small, large, large]);
    })
    .await;
}

#[tokio::test]
async fn deferral_uses_no_attempt_and_returning_a_batch_may() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        add_batches(&store, &[batch(1, &run(1), &[&accounts[0]], day("2026-11-22"))], now()).await;
        let reset = now() + TimeDelta::hours(9);
        defer(&store, &lease(&store).await, reset, "the day's units are spent", now()).await.unwrap();
        assert_eq!(
            store
                .batch_lease(&Scope::all_tenants(), None, None, "worker", reset - TimeDelta::seconds(1), TTL)
                .await
                .unwrap(),
            None
        );
        let outcomes = store.run_outcomes_list(&Scope::all_tenants(), run(1).id, None, 10).await.unwrap();
        let deferred = Outcome::Deferred { until: reset, message: "the day's units are spent".to_owned() };
        assert_eq!(outcomes.iter().map(|outcome| outcome.outcome.clone()).collect::<Vec<_>>(), [deferred]);

        assert_eq!(
            store.next_batch_get(&Scope::all_tenants(), None, None).await.unwrap(),
            None,
            "no worker waits for a budget"
        );

        let waiting = store.run_finish(&Scope::all_tenants(), run(1).id, now()).await.unwrap();
        assert_eq!((waiting.status, waiting.finished_at), (RunStatus::Deferred, None));
        assert_eq!((waiting.counts.planned, waiting.counts.deferred), (1, 1));

        let lease = store.batch_lease(&Scope::all_tenants(), None, None, "worker", reset, TTL).await.unwrap().unwrap();
        assert_eq!(lease.batch.attempts, 0);
        store.batch_release(&lease, reset, false).await.unwrap();
        let lease = store.batch_lease(&Scope::all_tenants(), None, None, "worker", reset, TTL).await.unwrap().unwrap();
        assert_eq!(lease.batch.attempts, 0);
        store.batch_release(&lease, reset + TimeDelta::seconds(5), true).await.unwrap();
        assert_eq!(store.batch_lease(&Scope::all_tenants(), None, None, "worker", reset, TTL).await.unwrap(), None);
        let lease = store
            .batch_lease(&Scope::all_tenants(), None, None, "worker", reset + TimeDelta::seconds(5), TTL)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(lease.batch.attempts, 1);
    })
    .await;
}

#[tokio::test]
async fn accounts_that_a_pause_keeps_waiting_use_up_no_attempt_and_no_others_attempts() {
    each_database(async |store, _| {
        let accounts = people(&store, 2).await;
        let all: Vec<_> = accounts.iter().collect();
        add_batches(&store, &[batch(1, &run(1), &all, day("2026-11-22"))], now()).await;
        let (soon, later) = (now() + TimeDelta::seconds(2), now() + TimeDelta::seconds(30));
        // Neither has a result: the first failed and is retried, the second waits for a pause.
        let part = BatchResult {
            retry_at: Some(soon),
            waiting: [accounts[1].id].into(),
            waiting_until: Some(later),
            ..BatchResult::default()
        };
        assert_eq!(store.batch_complete(&lease(&store).await, part, now()).await.unwrap().open, 2);
        let next = async |at| {
            let lease = store.batch_lease(&Scope::all_tenants(), None, None, "worker", at, TTL).await.unwrap()?;
            let accounts: Vec<_> = lease.batch.accounts.iter().map(|account| account.account_id).collect();
            Some((accounts, lease.batch.attempts))
        };
        assert_eq!(next(soon).await, Some((vec![accounts[0].id], 1)));
        assert_eq!(next(later - TimeDelta::seconds(1)).await, None);
        assert_eq!(next(later).await, Some((vec![accounts[1].id], 0)));
    })
    .await;
}

#[tokio::test]
async fn a_batch_keeps_only_unfinished_accounts() {
    each_database(async |store, _| {
        let accounts = people(&store, 4).await;
        let all: Vec<_> = accounts.iter().collect();
        let date = day("2026-11-22");
        add_batches(&store, &[batch(1, &run(1), &all, date)], now()).await;
        let until = now() + TimeDelta::hours(1);
        let retry_at = now() + TimeDelta::seconds(2);
        let rows: Vec<_> = accounts.iter().map(|account| followers(account, date, 5)).collect();
        let deferred = Outcome::Deferred { until, message: "spent".to_owned() };
        let failed = Outcome::Failed { class: FailureClass::NotFound, message: "no such channel".to_owned() };
        let part = BatchResult {
            // The last account has no result, so it is retried.
            accounts: vec![stored(rows[0].clone()), result(&rows[1], failed.clone()), result(&rows[2], deferred)],
            retry_at: Some(retry_at),
            ..BatchResult::default()
        };
        let completed = store.batch_complete(&lease(&store).await, part, now()).await.unwrap();
        assert_eq!(completed.open, 2);
        assert_eq!((completed.counts.collected, completed.counts.failed, completed.counts.deferred), (1, 1, 1));
        let running = store.run_finish(&Scope::all_tenants(), run(1).id, now()).await.unwrap();
        assert_eq!((running.status, running.finished_at), (RunStatus::Running, None), "one account is left to retry");

        assert_eq!(
            store.next_batch_get(&Scope::all_tenants(), Some(run(1).id), Some(&demo())).await.unwrap(),
            Some(retry_at)
        );
        let again =
            store.batch_lease(&Scope::all_tenants(), None, None, "worker", retry_at, TTL).await.unwrap().unwrap();
        let left = |lease: &Lease| lease.batch.accounts.iter().map(|account| account.account_id).collect::<Vec<_>>();
        assert_eq!((left(&again), again.batch.attempts), (vec![accounts[3].id], 1));
        let rest = BatchResult { accounts: vec![stored(rows[3].clone())], ..BatchResult::default() };
        assert_eq!(store.batch_complete(&again, rest, retry_at).await.unwrap().open, 0);
        let waiting = store.run_finish(&Scope::all_tenants(), run(1).id, retry_at).await.unwrap();
        assert_eq!(
            (waiting.status, waiting.finished_at),
            (RunStatus::PartialFailure, None),
            "one batch waits for its budget"
        );

        // The deferred batch is independent: it waits for its own time and has used no attempt.
        assert_eq!(
            store
                .batch_lease(&Scope::all_tenants(), None, None, "worker", until - TimeDelta::seconds(1), TTL)
                .await
                .unwrap(),
            None
        );
        let deferred =
            store.batch_lease(&Scope::all_tenants(), None, None, "worker", until, TTL).await.unwrap().unwrap();
        assert_eq!((left(&deferred), deferred.batch.attempts), (vec![accounts[2].id], 0));
        assert_eq!(deferred.batch.window, window(), "the window stays as planned");
        let rest = BatchResult { accounts: vec![stored(rows[2].clone())], ..BatchResult::default() };
        assert_eq!(store.batch_complete(&deferred, rest, until).await.unwrap().open, 0);

        let ended = store.run_finish(&Scope::all_tenants(), run(1).id, until).await.unwrap();
        assert_eq!((ended.status, ended.finished_at), (RunStatus::PartialFailure, Some(until)));
        assert_eq!(
            (ended.counts.planned, ended.counts.collected, ended.counts.failed, ended.counts.deferred),
            (4, 3, 1, 0)
        );
        assert_eq!(
            store.run_finish(&Scope::all_tenants(), run(1).id, until + TimeDelta::hours(1)).await.unwrap(),
            ended,
            "a run ends once"
        );
        assert_eq!(store.run_get(&Scope::all_tenants(), run(1).id).await.unwrap(), Some(ended.clone()));
        assert_eq!(store.runs_list(&Scope::all_tenants(), 10, None).await.unwrap(), [ended]);
        assert_eq!(completions(&store).await, 1);
    })
    .await;
}

async fn completions(store: &Store) -> usize {
    let events = store.events_list(&Scope::all_tenants(), EventCursor::default(), 100).await.unwrap();
    events.iter().filter(|(_, event)| event.kind == "run.completed").count()
}

/// Batches `from..from + n` of a tenant, all with the same account, because turns don't depend on accounts.
fn batches_of(tenant: &str, account: &Account, from: u128, n: u128) -> Vec<Batch> {
    (from..from + n)
        .map(|n| Batch { tenant: Tenant::new(tenant).unwrap(), ..batch(n, &run(1), &[account], day("2026-11-22")) })
        .collect()
}

/// Leases and finishes `n` batches. Returns their tenants.
async fn take(store: &Store, n: usize) -> Vec<String> {
    let mut order = Vec::new();
    for _ in 0..n {
        let lease = lease(store).await;
        order.push(lease.batch.tenant.to_string());
        let failed = Outcome::Failed { class: FailureClass::NotFound, message: "gone".to_owned() };
        let account = lease.batch.accounts[0];
        let row = followers(&super::fixtures::account(1), account.metric_date, 1);
        let ended = BatchResult { accounts: vec![result(&row, failed)], ..BatchResult::default() };
        store.batch_complete(&lease, ended, now()).await.unwrap();
    }
    order
}

fn count(order: &[String], tenant: &str) -> usize {
    order.iter().filter(|name| *name == tenant).count()
}

#[tokio::test]
async fn tenants_share_by_weight_and_none_is_starved() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        let weights = Weights([("heavy".to_owned(), 3)].into());
        for (tenant, from) in [("light", 0), ("heavy", 100), ("other", 200)] {
            add_weighted_batches(&store, &batches_of(tenant, &accounts[0], from, 60), &weights, now()).await;
        }
        let order = take(&store, 50).await;
        assert_eq!((count(&order, "heavy"), count(&order, "light"), count(&order, "other")), (30, 10, 10));
        for ten in order.chunks(10) {
            for tenant in ["heavy", "light", "other"] {
                assert!(count(ten, tenant) >= 2, "{tenant} waits too long: {order:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_late_tenant_gets_its_share_at_once_and_no_more() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        add_batches(&store, &batches_of("large", &accounts[0], 0, 120), now()).await;
        assert_eq!(count(&take(&store, 40).await, "large"), 40);
        // A run of a new tenant, and another one of the existing tenant.
        create_run(&store, &run(2)).await;
        add_batches(&store, &batches_of("small", &accounts[0], 500, 20), now()).await;
        add_batches(&store, &batches_of("large", &accounts[0], 600, 20), now()).await;
        let order = take(&store, 40).await;
        assert_eq!((count(&order, "small"), count(&order, "large")), (20, 20), "{order:?}");
        assert!(count(&order[..4], "small") >= 1, "the new tenant is served at once: {order:?}");
        assert!(count(&order[..10], "small") <= 6, "the new tenant gets no backlog: {order:?}");
        assert_eq!(count(&take(&store, 60).await, "large"), 60, "the rest");
    })
    .await;
}

#[tokio::test]
async fn a_deferred_batch_comes_back_in_its_turn_and_not_before_others() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        add_batches(&store, &batches_of("spent", &accounts[0], 0, 10), now()).await;
        let until = now() + TimeDelta::hours(1);
        while let Some(lease) =
            store.batch_lease(&Scope::all_tenants(), None, None, "worker", now(), TTL).await.unwrap()
        {
            defer(&store, &lease, until, "spent", now()).await.unwrap();
        }
        add_batches(&store, &batches_of("patient", &accounts[0], 100, 40), now()).await;
        assert_eq!(count(&take(&store, 20).await, "patient"), 20);
        assert_eq!(
            store
                .deferred_batches_wake(&Scope::all_tenants(), &Weights::default(), until - TimeDelta::seconds(1))
                .await
                .unwrap(),
            0
        );
        assert_eq!(store.next_open_get(&Scope::all_tenants(), now()).await.unwrap(), Some(until));

        assert_eq!(store.deferred_batches_wake(&Scope::all_tenants(), &Weights::default(), until).await.unwrap(), 10);
        assert_eq!(store.deferred_batches_wake(&Scope::all_tenants(), &Weights::default(), until).await.unwrap(), 0);
        let mut order = Vec::new();
        while let Some(lease) =
            store.batch_lease(&Scope::all_tenants(), None, None, "worker", until, TTL).await.unwrap()
        {
            assert_eq!(lease.batch.attempts, 0);
            order.push(lease.batch.tenant.to_string());
        }
        assert_eq!((order.len(), count(&order[..10], "patient")), (30, 5), "{order:?}");
    })
    .await;
}

#[tokio::test]
async fn work_is_found_by_platform_and_run() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        let (release, other) = (release(), Platform::new("other").unwrap());
        store.release_save(&release, b"component").await.unwrap();
        store.release_activate(release.digest, SwapCause::Activated, now()).await.unwrap();
        assert_eq!(store.platforms_with_work_list(&Scope::all_tenants(), None, now()).await.unwrap(), []);
        add_batches(&store, &batches_of("a", &accounts[0], 0, 1), now()).await;
        assert_eq!(store.platforms_with_work_list(&Scope::all_tenants(), None, now()).await.unwrap(), [demo()]);
        assert_eq!(
            store.platforms_with_work_list(&Scope::all_tenants(), Some(run(1).id), now()).await.unwrap(),
            [demo()]
        );
        assert_eq!(store.platforms_with_work_list(&Scope::all_tenants(), Some(run(2).id), now()).await.unwrap(), []);
        assert_eq!(
            store.batch_lease(&Scope::all_tenants(), None, Some(&other), "worker", now(), TTL).await.unwrap(),
            None
        );
        assert!(store.run_is_worked_on(&Scope::all_tenants(), run(1).id).await.unwrap());
        let lease =
            store.batch_lease(&Scope::all_tenants(), None, Some(&demo()), "worker", now(), TTL).await.unwrap().unwrap();
        assert_eq!(store.platforms_with_work_list(&Scope::all_tenants(), None, now()).await.unwrap(), []);
        assert!(store.run_is_worked_on(&Scope::all_tenants(), run(1).id).await.unwrap(), "a batch is leased");
        assert_eq!(
            store.next_open_get(&Scope::all_tenants(), now()).await.unwrap(),
            Some(now() + TTL),
            "when the lease expires"
        );
        defer(&store, &lease, now() + TimeDelta::hours(1), "spent", now()).await.unwrap();
        assert!(!store.run_is_worked_on(&Scope::all_tenants(), run(1).id).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_failed_for_a_transient_reason_is_dead_and_can_be_retried() {
    each_database(async |store, _| {
        let accounts = people(&store, 3).await;
        let date = day("2026-11-22");
        let all: Vec<_> = accounts.iter().collect();
        add_batches(&store, &[batch(1, &run(1), &all, date)], now()).await;
        let rows: Vec<_> = accounts.iter().map(|account| followers(account, date, 5)).collect();
        let failed = |class| Outcome::Failed { class, message: "it did not answer".to_owned() };
        let ended = BatchResult {
            accounts: vec![
                stored(rows[0].clone()),
                result(&rows[1], failed(FailureClass::Unavailable)),
                result(&rows[2], failed(FailureClass::NotFound)),
            ],
            ..BatchResult::default()
        };
        assert_eq!(store.batch_complete(&lease(&store).await, ended, now()).await.unwrap().open, 0);
        let ended = store.run_finish(&Scope::all_tenants(), run(1).id, now()).await.unwrap();
        assert_eq!((ended.status, ended.finished_at), (RunStatus::PartialFailure, Some(now())));
        assert!(store.run_has_ended(&Scope::all_tenants(), run(1).id).await.unwrap());
        let state = store.run_state_get(&Scope::all_tenants(), run(1).id).await.unwrap();
        assert_eq!(state.run, ended, "counted once, by platform");
        assert_eq!(
            store
                .batch_lease(&Scope::all_tenants(), None, None, "worker", now() + TimeDelta::days(9), TTL)
                .await
                .unwrap(),
            None
        );

        let dead = BatchFilter { state: Some(BatchState::Dead), ..BatchFilter::default() };
        let listed = store.batches_list(&Scope::all_tenants(), &dead).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].attempts, listed[0].accounts), (1, 1), "only accounts that may succeed later");
        assert_eq!(listed[0].message.as_deref(), Some("it did not answer"));
        assert_eq!(
            store.batches_list(&Scope::all_tenants(), &BatchFilter::default()).await.unwrap(),
            listed,
            "the batch may still change"
        );
        let members = store.batch_accounts_list(&Scope::all_tenants(), listed[0].id).await.unwrap();
        assert_eq!(members.iter().map(|member| member.account_id).collect::<Vec<_>>(), [accounts[1].id]);
        assert_eq!(members[0].outcome, Some(failed(FailureClass::Unavailable)));

        let nobody = BatchFilter { run: Some(run(2).id), ..BatchFilter::default() };
        let later = now() + TimeDelta::hours(2);
        assert_eq!(
            store.batches_retry(&Scope::all_tenants(), &nobody, &Weights::default(), later).await.unwrap(),
            Retried::default()
        );
        let mut listener = store.listener().await.unwrap();
        let filter = BatchFilter { ids: vec![listed[0].id], platform: Some(demo()), ..BatchFilter::default() };
        let retried = store.batches_retry(&Scope::all_tenants(), &filter, &Weights::default(), later).await.unwrap();
        assert_eq!(retried, Retried { batches: 1, accounts: 1, runs: vec![run(1).id] });
        assert_eq!(listener.next().await.unwrap(), Topic::Work, "workers are woken");
        assert_eq!(
            store.batches_retry(&Scope::all_tenants(), &filter, &Weights::default(), later).await.unwrap(),
            Retried::default()
        );
        let running = store.run_get(&Scope::all_tenants(), run(1).id).await.unwrap().unwrap();
        assert_eq!((running.status, running.finished_at), (RunStatus::Running, None));

        let again = store.batch_lease(&Scope::all_tenants(), None, None, "worker", later, TTL).await.unwrap().unwrap();
        assert_eq!((again.batch.attempts, again.batch.accounts[0].account_id), (0, accounts[1].id));
        let ended = BatchResult { accounts: vec![stored(rows[1].clone())], ..BatchResult::default() };
        store.batch_complete(&again, ended, later).await.unwrap();
        let ended = store.run_finish(&Scope::all_tenants(), run(1).id, later).await.unwrap();
        assert_eq!((ended.counts.collected, ended.counts.failed, ended.finished_at), (2, 1, Some(later)));
        store.run_finish(&Scope::all_tenants(), run(1).id, later).await.unwrap();
        assert_eq!(completions(&store).await, 2, "each end gives one event");
        assert_eq!(store.batches_list(&Scope::all_tenants(), &dead).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_dead_batch_is_retried_on_the_release_that_is_active_now() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        let date = day("2026-11-22");
        add_batches(&store, &[batch(1, &run(1), &[&accounts[0]], date)], now()).await;
        let failed = Outcome::Failed { class: FailureClass::Internal, message: "a fault".to_owned() };
        let row = followers(&accounts[0], date, 5);
        let ended = BatchResult { accounts: vec![result(&row, failed)], ..BatchResult::default() };
        store.batch_complete(&lease(&store).await, ended, now()).await.unwrap();
        let fixed = super::fixtures::release_of("1.0.1", b"fixed");
        store.release_save(&fixed, b"fixed").await.unwrap();
        store.release_activate(fixed.digest, SwapCause::Activated, now()).await.unwrap();
        let retried = store
            .batches_retry(&Scope::all_tenants(), &BatchFilter::default(), &Weights::default(), now())
            .await
            .unwrap();
        assert_eq!(retried.batches, 1);
        assert_eq!(lease(&store).await.batch.release, fixed.digest);
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
                planned_for: None,
                note: None,
            })
            .collect();
        let mut planning = store.plan_begin(&run(2), PlanGuard::Manual, now()).await.unwrap();
        planning.exclusions_record(&excluded).await.unwrap();
        planning.commit().await.unwrap();
        let ended = store.run_finish(&Scope::all_tenants(), run(2).id, now()).await.unwrap();
        assert_eq!((ended.status, ended.counts.excluded, ended.counts.planned), (RunStatus::Success, 2, 0));
        let read = store.run_outcomes_list(&Scope::all_tenants(), run(2).id, None, 1).await.unwrap();
        assert_eq!((read[0].outcome.clone(), read[0].artist_name.as_str()), (excluded[0].outcome.clone(), "Artist 1"));
        let rest =
            store.run_outcomes_list(&Scope::all_tenants(), run(2).id, Some(read[0].account_id), 10).await.unwrap();
        assert_eq!(rest.iter().map(|outcome| outcome.account_id).collect::<Vec<_>>(), [accounts[1].id]);
        let summary = store.run_state_get(&Scope::all_tenants(), run(2).id).await.unwrap().outcomes;
        let summary: Vec<_> = summary.iter().map(|group| (group.reason.as_deref(), group.accounts)).collect();
        assert_eq!(summary, [(Some("no_consent"), 1), (Some("not_subscribed"), 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_missing_run_cannot_be_finished() {
    each_database(async |store, _| {
        let error = store.run_finish(&Scope::all_tenants(), run(5).id, now()).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { what: "run", .. }), "{error}");
        assert_eq!(store.run_get(&Scope::all_tenants(), run(5).id).await.unwrap(), None);
        let strange = Artist { id: backline_model::ArtistId(Uuid::from_u128(3)), ..artist(1) };
        store.artists_save(&Scope::all_tenants(), &[strange], now()).await.unwrap();
        assert_eq!(store.runs_list(&Scope::all_tenants(), 10, Some((now(), run(5).id))).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn runs_that_started_at_once_are_paged_through_one_by_one() {
    each_database(async |store, _| {
        for n in 1..=4 {
            let earlier = if n == 1 { TimeDelta::hours(1) } else { TimeDelta::zero() };
            create_run(&store, &Run { started_at: now() - earlier, ..run(n) }).await;
        }
        let (mut seen, mut before) = (Vec::new(), None);
        while let Some(run) = store.runs_list(&Scope::all_tenants(), 1, before).await.unwrap().pop() {
            before = Some((run.started_at, run.id));
            seen.push(run.id);
        }
        assert_eq!(seen, [4, 3, 2, 1].map(|n| run(n).id));
    })
    .await;
}

#[tokio::test]
async fn what_is_open_of_a_run_is_told_by_who_holds_it_and_until_when() {
    each_database(async |store, _| {
        let accounts = people(&store, 5).await;
        let batches: Vec<_> =
            accounts.iter().zip(1..).map(|(account, n)| batch(n, &run(1), &[account], day("2026-11-22"))).collect();
        add_batches(&store, &batches, now()).await;
        let gone = Presence {
            name: "gone".to_owned(),
            version: "1.0.0".to_owned(),
            state: "ready",
            started_at: now() - TimeDelta::hours(1),
        };
        let seen_at = now() - TimeDelta::minutes(5);
        store.host_announce(&gone, seen_at).await.unwrap();
        let take = async |owner: &str| {
            store.batch_lease(&Scope::all_tenants(), None, None, owner, now(), TTL).await.unwrap().unwrap()
        };
        // One each: collected, deferred, held by a host in the list and by one that is not, not begun.
        let first = take("gone").await;
        let row = followers(&accounts[0], day("2026-11-22"), 100);
        let usage = serde_json::json!({ "requests": 3 });
        let done = BatchResult { accounts: vec![stored(row)], usage, ..BatchResult::default() };
        store.batch_complete(&first, done, now()).await.unwrap();
        let until = now() + TimeDelta::hours(9);
        defer(&store, &take("gone").await, until, "spent", now()).await.unwrap();
        take("gone").await;
        take("command").await;
        store.release_save(&release(), b"component").await.unwrap();

        let state = store.run_state_get(&Scope::all_tenants(), run(1).id).await.unwrap();
        assert_eq!(state.requests, [(demo(), 3)].into());
        assert_eq!((state.run.counts.collected, state.run.counts.deferred, state.run.counts.planned), (1, 1, 5));
        assert_eq!(store.run_get(&Scope::all_tenants(), run(1).id).await.unwrap(), Some(state.run));
        assert!(!store.run_has_ended(&Scope::all_tenants(), run(1).id).await.unwrap());
        let open = |state, holder: Option<&str>, holder_seen_at, available_at| OpenBatches {
            platform: demo(),
            state,
            holder: holder.map(str::to_owned),
            holder_seen_at,
            // Its only release is not active.
            has_connector: false,
            batches: 1,
            available_at,
        };
        let expected = [
            (open(BatchState::Deferred, None, None, until), 0),
            (open(BatchState::Leased, Some("command"), None, now() + TTL), 1),
            (open(BatchState::Leased, Some("gone"), Some(seen_at), now() + TTL), 1),
            (open(BatchState::Planned, None, None, now()), 1),
        ];
        let told: Vec<_> = state.open.iter().map(|open| (open.batches.clone(), open.without_outcome)).collect();
        assert_eq!(told, expected);
        assert!(state.open.iter().all(|open| open.accounts == 1));
        let light = store.run_open_batches_list(&Scope::all_tenants(), run(1).id).await.unwrap();
        assert_eq!(light, expected.map(|(open, _)| open));
        store.release_activate(release().digest, SwapCause::Activated, now()).await.unwrap();
        assert!(
            store
                .run_open_batches_list(&Scope::all_tenants(), run(1).id)
                .await
                .unwrap()
                .iter()
                .all(|open| open.has_connector)
        );
        assert_eq!(store.run_open_batches_list(&Scope::all_tenants(), run(2).id).await.unwrap(), []);
        let unknown = store.run_state_get(&Scope::all_tenants(), run(2).id).await.unwrap_err();
        assert!(matches!(unknown, StoreError::NotFound { what: "run", .. }), "{unknown}");

        let details = store.run_details_get(&Scope::all_tenants(), run(1).id, false).await.unwrap().unwrap();
        assert_eq!((details.run.counts.collected, details.outcomes.len(), details.dead_batches.len()), (1, 1, 0));
        assert_eq!(
            store.run_details_get(&Scope::all_tenants(), run(1).id, true).await.unwrap().unwrap().outcomes.len(),
            2
        );
        assert_eq!(store.run_details_get(&Scope::all_tenants(), run(2).id, true).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_of_a_run_while_it_goes_on_is_of_one_moment() {
    const BATCHES: u64 = 150;
    each_database(async |store, _| {
        let accounts = people(&store, BATCHES.into()).await;
        let batches: Vec<_> =
            accounts.iter().zip(1..).map(|(account, n)| batch(n, &run(1), &[account], day("2026-11-22"))).collect();
        add_batches(&store, &batches, now()).await;
        let collect = async {
            while let Some(lease) =
                store.batch_lease(&Scope::all_tenants(), None, None, "worker", now(), TTL).await.unwrap()
            {
                let id = lease.batch.accounts[0].account_id;
                let account = accounts.iter().find(|account| account.id == id).unwrap();
                let ended = result(&followers(account, day("2026-11-22"), 1), Outcome::Collected);
                let usage = serde_json::json!({ "requests": 2 });
                let done = BatchResult { accounts: vec![ended], usage, ..BatchResult::default() };
                store.batch_complete(&lease, done, now()).await.unwrap();
            }
            store.run_finish(&Scope::all_tenants(), run(1).id, now()).await.unwrap();
        };
        let read = async {
            loop {
                let state = store.run_state_get(&Scope::all_tenants(), run(1).id).await.unwrap();
                let collected = state.run.counts.collected;
                let open: u64 = state.open.iter().map(|open| open.without_outcome).sum();
                assert_eq!(open + collected, BATCHES, "each account is in one of them: {state:?}");
                assert_eq!(state.outcomes.iter().map(|group| group.accounts).sum::<u64>(), collected);
                assert_eq!(state.requests.values().sum::<u64>(), 2 * collected);
                let details = store.run_details_get(&Scope::all_tenants(), run(1).id, true).await.unwrap().unwrap();
                assert_eq!(details.outcomes.len() as u64, details.run.counts.collected);
                for run in [state.run, store.runs_list(&Scope::all_tenants(), 1, None).await.unwrap().remove(0)] {
                    let is_finished = run.finished_at.is_some();
                    assert!(!is_finished || run.counts.collected == BATCHES, "{run:?}");
                    if is_finished {
                        return;
                    }
                }
            }
        };
        futures::join!(collect, read);
    })
    .await;
}

/// Polls a call so often, with everything else in between, and drops it. Answers whether it ended before.
async fn dropped_after<T>(polls: usize, call: impl Future<Output = T>) -> bool {
    let mut call = std::pin::pin!(call);
    for _ in 0..polls {
        if futures::poll!(call.as_mut()).is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test]
async fn a_call_that_is_dropped_at_any_point_leaves_no_transaction_open() {
    each_empty_database(async |url| {
        let store = Store::open(url, StoreOptions { connections_max: 1, ..StoreOptions::default() }).await.unwrap();
        store.migrate().await.unwrap();
        let other = Store::open(url, StoreOptions { connections_max: 1, ..StoreOptions::default() }).await.unwrap();
        let all = Scope::all_tenants();
        let (mut polls, mut written) = (0, 0);
        let mut went_through = false;
        while !went_through {
            went_through = dropped_after(polls, store.runs_list(&all, 10, None)).await;
            written += 1;
            let saved = store.artists_save(&all, &[artist(written)], now()).await;
            saved.unwrap_or_else(|error| panic!("dropped after {polls} polls of a read: {error}"));
            assert!(other.artist_get(&all, artist(written).id).await.unwrap().is_some(), "{polls} polls of a read");

            // The other ways to begin: an export's, and a report's.
            went_through &= dropped_after(polls, store.export_begin(&all, artist(1).id)).await;
            let window = HealthWindow { since: now() - TimeDelta::days(1), now: now(), overdue_before: now() };
            went_through &= dropped_after(polls, store.health_figures_get(&all, &window)).await;
            let name = Artist { name: format!("after {polls}"), ..artist(1) };
            went_through &= dropped_after(polls, store.artists_save(&all, &[name], now())).await;
            written += 1;
            store.artists_save(&all, &[artist(written)], now()).await.unwrap();
            assert!(other.artist_get(&all, artist(written).id).await.unwrap().is_some(), "{polls} polls of a write");
            polls += 1;
        }
        assert!(polls > 3, "the calls were dropped on the way");
        other.close().await;
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn deferred_batches_are_released_before_their_time_and_nothing_else_is() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 3).await;
        let (date, until) = (day("2026-11-22"), now() + TimeDelta::hours(9));
        for (n, account) in (1..).zip(&accounts[..2]) {
            add_batches(&store, &[batch(n, &run(1), &[account], date)], now()).await;
            defer(&store, &lease(&store).await, until, "spent", now()).await.unwrap();
        }
        add_batches(&store, &[batch(3, &run(1), &[&accounts[2]], date)], now()).await;
        let failed = Outcome::Failed { class: FailureClass::Internal, message: "a fault".to_owned() };
        let results = vec![result(&followers(&accounts[2], date, 5), failed)];
        let ended = BatchResult { accounts: results, ..BatchResult::default() };
        store.batch_complete(&lease(&store).await, ended, now()).await.unwrap();
        let lease_one = async || store.batch_lease(&all, None, None, "worker", now(), TTL).await.unwrap();
        assert_eq!(lease_one().await, None, "all wait, or are dead");

        let release = async |filter: &BatchFilter| {
            store.deferred_batches_release(&all, filter, &Weights::default(), now()).await.unwrap()
        };
        let first = BatchFilter { ids: vec![batch(1, &run(1), &[], date).id], ..BatchFilter::default() };
        let released = release(&first).await;
        assert_eq!((released.batches, released.accounts, released.runs), (1, 1, vec![run(1).id]));
        assert_eq!(release(&first).await.batches, 0, "it is not deferred any more");
        let leased = lease_one().await.expect("it is due");
        assert_eq!((leased.batch.id, leased.batch.attempts), (first.ids[0], 0));
        // What holds it back still does: it waits again, and has used up no attempt.
        defer(&store, &leased, until, "spent", now()).await.unwrap();
        assert_eq!(lease_one().await, None);
        let of_run = BatchFilter { run: Some(run(1).id), ..BatchFilter::default() };
        let released = release(&of_run).await;
        assert_eq!((released.batches, released.accounts), (2, 2), "dead batches are retried, not released");
        assert!(lease_one().await.is_some() && lease_one().await.is_some() && lease_one().await.is_none());
    })
    .await;
}

#[tokio::test]
async fn runs_are_found_by_the_kind_of_what_started_them() {
    each_database(async |store, _| {
        let triggers = ["manual", "backfill", "backfill since 2026-10-01", "backfill since 2026-11-02", "backfill-2"];
        for (n, trigger) in (1..).zip(triggers) {
            create_run(&store, &Run { trigger: trigger.to_owned(), ..run(n) }).await;
        }
        let found = async |trigger: &str, limit| {
            let filter = RunFilter { trigger: Some(trigger.to_owned()), limit, ..RunFilter::default() };
            let runs = store.runs_filtered_list(&Scope::all_tenants(), &filter).await.unwrap();
            runs.into_iter().map(|run| run.trigger).collect::<BTreeSet<_>>()
        };
        assert_eq!(found("backfill", None).await, triggers[1..4].iter().map(|&one| one.to_owned()).collect());
        assert_eq!(found("backfill", Some(2)).await.len(), 2, "a page of them is full");
        for one in [triggers[0], triggers[2], triggers[4]] {
            assert_eq!(found(one, None).await, BTreeSet::from([one.to_owned()]), "a whole text is found as it is");
        }
        for none in ["backfil", "backfill since", "BACKFILL", ""] {
            assert_eq!(found(none, None).await, BTreeSet::new(), "{none}");
        }
    })
    .await;
}
