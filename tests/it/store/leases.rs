//! Tests of leases: who holds a batch, what becomes of it when its host ends, and what ends without being collected.

use backline_model::outcome::{FailureClass, Outcome};
use backline_model::{Account, Batch, Digest, ReleaseState, SwapCause};
use backline_store::{BatchFilter, BatchResult, BatchStart, Presence, Scope, Store, StoreError, StoreOptions};
use chrono::TimeDelta;

use super::fixtures::{
    TTL, account, add_batches, artist, batch, create_run, day, defer, demo, followers, lease, now, people, release,
    result, run, stored,
};
use super::scope::credential;
use crate::support::database::each_database;

#[tokio::test]
async fn an_expired_lease_passes_on_and_the_first_holder_can_write_nothing() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        let planned = batch(1, &run(1), &[&accounts[0]], day("2026-11-22"));
        add_batches(&store, std::slice::from_ref(&planned), now()).await;

        let first = store
            .batch_lease(&Scope::all_tenants(), Some(run(1).id), Some(&demo()), "one", now(), TTL)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(first.batch, planned);
        assert_eq!(
            store.batch_lease(&Scope::all_tenants(), None, None, "two", now(), TTL).await.unwrap(),
            None,
            "it is leased"
        );
        let later = now() + TimeDelta::seconds(61);
        let all = Scope::all_tenants();
        for platform in [None, Some(&demo())] {
            let beside = store.batch_lease(&all, None, platform, "two", later, TTL).await.unwrap();
            assert_eq!(beside, None, "it has to be alone");
        }
        assert_eq!(store.lone_platforms_list(&all, None, later).await.unwrap(), [demo()]);
        let second = store.lone_batch_lease(&all, None, &demo(), "two", later, TTL).await.unwrap().unwrap();
        assert_eq!(store.lone_platforms_list(&all, None, later).await.unwrap(), []);
        assert!(second.token > first.token);
        assert_eq!((second.batch.attempts, second.host_losses), (0, 1), "a host's death uses up no attempt");

        let lost = |error: StoreError| {
            assert!(matches!(error, StoreError::LeaseLost { batch } if batch == planned.id), "{error}")
        };
        lost(store.lease_renew(&first, later, TTL).await.unwrap_err());
        lost(defer(&store, &first, later, "spent", later).await.unwrap_err());
        lost(store.batch_release(&first, later, true).await.unwrap_err());
        lost(store.completion_begin(&first, later).await.err().unwrap());

        let row = followers(&accounts[0], day("2026-11-22"), 100);
        let done = BatchResult { accounts: vec![stored(row)], ..BatchResult::default() };
        let completed = store.batch_complete(&second, done.clone(), later).await.unwrap();
        assert_eq!((completed.open, completed.counts.collected), (0, 1));
        lost(store.batch_complete(&second, done, later).await.unwrap_err());
        assert_eq!(
            store
                .batch_lease(&Scope::all_tenants(), None, None, "three", later + TimeDelta::days(9), TTL)
                .await
                .unwrap(),
            None
        );
        assert_eq!(store.next_batch_get(&Scope::all_tenants(), None, None).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_was_alone_when_its_host_ended_is_halved_and_each_half_begins_again() {
    each_database(async |store, _| {
        let accounts = people(&store, 5).await;
        let five: Vec<&Account> = accounts.iter().collect();
        let planned = batch(1, &run(1), &five, day("2026-11-22"));
        add_batches(&store, std::slice::from_ref(&planned), now()).await;
        let (all, mut at) = (Scope::all_tenants(), now());
        lease(&store).await;
        let alone = async |at| store.lone_batch_lease(&all, None, &demo(), "two", at, TTL).await.unwrap();
        // The first death counts in any case, further ones once the connector is at work.
        for (losses, begins) in [(1, false), (1, true), (2, true)] {
            at += TimeDelta::seconds(61);
            let lease = alone(at).await.unwrap();
            assert_eq!(lease.host_losses, losses);
            if begins {
                store.lone_batch_begin(&lease).await.unwrap();
            }
        }
        at += TimeDelta::seconds(61);
        let stale = alone(at).await.unwrap();
        assert_eq!(stale.host_losses, 3);
        store.batch_halve(&stale, at).await.unwrap();
        for lost in [store.batch_halve(&stale, at).await, store.lone_batch_begin(&stale).await] {
            assert!(matches!(lost, Err(StoreError::LeaseLost { .. })), "{lost:?}");
        }
        assert_eq!(store.batch_lease(&all, None, None, "w", at, TTL).await.unwrap(), None, "halves are leased alone");
        let (one, other) = (alone(at).await.unwrap(), alone(at).await.unwrap());
        assert_eq!((one.host_losses, other.host_losses), (1, 1));
        let mut sizes = [one.batch.accounts.len(), other.batch.accounts.len()];
        sizes.sort_unstable();
        assert_eq!(sizes, [2, 3]);
        let mut of_both: Vec<_> = one.batch.accounts.iter().chain(&other.batch.accounts).collect();
        of_both.sort_by_key(|account| account.account_id);
        let mut whole: Vec<_> = planned.accounts.iter().collect();
        whole.sort_by_key(|account| account.account_id);
        assert_eq!(of_both, whole, "no account is lost and none is doubled");
        assert_eq!((other.batch.attempts, other.batch.run_id), (planned.attempts, planned.run_id));
        // A host that gives it back has survived it.
        store.batch_complete(&one, BatchResult::default(), at).await.unwrap();
        let again = store.batch_lease(&all, None, None, "w", at, TTL).await.unwrap().unwrap();
        assert_eq!((again.batch.id, again.host_losses), (one.batch.id, 0));
    })
    .await;
}

#[tokio::test]
async fn what_waits_of_an_account_ends_when_it_is_planned_again_unless_its_run_is_alive() {
    each_database(async |store, _| {
        let (all, accounts) = (Scope::all_tenants(), people(&store, 6).await);
        let (early, late) = (day("2026-11-22"), day("2026-11-23"));
        let of = |n: u128, run_n: u128, which: &[usize], date| {
            batch(n, &run(run_n), &which.iter().map(|i| &accounts[*i]).collect::<Vec<_>>(), date)
        };
        // One at work, one deferred, one dead, one planned of two accounts.
        add_batches(&store, &[of(1, 1, &[0], early)], now()).await;
        let at_work = lease(&store).await;
        add_batches(&store, &[of(2, 1, &[1], early)], now()).await;
        defer(&store, &lease(&store).await, now() + TimeDelta::days(3), "spent", now()).await.unwrap();
        add_batches(&store, &[of(3, 1, &[2], early)], now()).await;
        let failed = Outcome::Failed { class: FailureClass::Unavailable, message: "a fault".to_owned() };
        let ended = BatchResult {
            accounts: vec![result(&followers(&accounts[2], early, 5), failed.clone())],
            ..BatchResult::default()
        };
        store.batch_complete(&lease(&store).await, ended, now()).await.unwrap();
        add_batches(&store, &[of(4, 1, &[3, 4], early)], now()).await;

        // Of the last one, one account is planned again; an account of its own is none of theirs.
        let again = [of(5, 2, &[0, 1, 2, 3, 5], late)];
        create_run(&store, &run(2)).await;
        add_batches(&store, &again, now()).await;
        let outcomes: Vec<_> = store.run_outcomes_list(&all, run(1).id, None, 10).await.unwrap();
        let outcome = |account: usize| {
            outcomes.iter().find(|found| found.account_id == accounts[account].id).map(|found| found.outcome.clone())
        };
        assert_eq!([outcome(0), outcome(3), outcome(4)], [None, None, None], "the run holds a lease");
        assert_eq!(outcome(1), Some(Outcome::Superseded), "what is deferred ends in any case");
        assert_eq!(outcome(2), Some(failed), "what failed stays failed");
        let open = async |run_n: u128| -> Vec<_> {
            let filter = BatchFilter { run: Some(run(run_n).id), ..BatchFilter::default() };
            let mut open: Vec<_> =
                store.batches_list(&all, &filter).await.unwrap().iter().map(|one| (one.id, one.accounts)).collect();
            open.sort_unstable();
            open
        };
        let (both, fourth) = (of(4, 1, &[], early).id, of(5, 2, &[], late).id);
        let mut left = vec![(at_work.batch.id, 1), (both, 2)];
        left.sort_unstable();
        assert_eq!(open(1).await, left, "the deferred and the dead one can't be collected any more");
        assert_eq!(open(2).await, [(fourth, 5)]);

        // A minute after its last lease expired, no host works on the run.
        let later = now() + TimeDelta::seconds(130);
        create_run(&store, &run(3)).await;
        add_batches(&store, &[of(6, 3, &[0, 3], late)], later).await;
        let outcomes = store.run_outcomes_list(&all, run(1).id, None, 10).await.unwrap();
        let superseded = |account: usize| {
            let outcome = outcomes.iter().find(|found| found.account_id == accounts[account].id);
            outcome.is_some_and(|found| found.outcome == Outcome::Superseded)
        };
        assert_eq!([0, 1, 2, 3, 4].map(superseded), [true, true, false, true, false]);
        assert_eq!(open(1).await, [(both, 1)], "the account that is not planned again still waits");
        let lost = store.batch_complete(&at_work, BatchResult::default(), later).await.unwrap_err();
        assert!(matches!(lost, StoreError::LeaseLost { .. }), "{lost}");

        // Hosts that serve go on with what waits.
        let host =
            Presence { name: "serves".to_owned(), version: "1.0.0".to_owned(), state: "ready", started_at: later };
        store.host_announce(&host, later).await.unwrap();
        create_run(&store, &run(4)).await;
        add_batches(&store, &[of(7, 4, &[4], late)], later).await;
        assert_eq!(open(1).await, [(both, 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_heartbeat_extends_a_lease() {
    each_database(async |store, _| {
        let accounts = people(&store, 1).await;
        add_batches(&store, &[batch(1, &run(1), &[&accounts[0]], day("2026-11-22"))], now()).await;
        let first = lease(&store).await;
        let half = now() + TimeDelta::seconds(40);
        let kept = store.lease_renew(&first, half, TTL).await.unwrap();
        assert_eq!((kept.token, kept.expires_at), (first.token, half + TTL));
        assert_eq!(
            store.next_batch_get(&Scope::all_tenants(), Some(run(1).id), Some(&demo())).await.unwrap(),
            None,
            "a leased batch is not waited for"
        );
        assert_eq!(
            store
                .batch_lease(&Scope::all_tenants(), None, None, "two", now() + TimeDelta::seconds(70), TTL)
                .await
                .unwrap(),
            None
        );
        assert!(
            store
                .lone_batch_lease(&Scope::all_tenants(), None, &demo(), "two", now() + TimeDelta::seconds(101), TTL)
                .await
                .unwrap()
                .is_some()
        );
    })
    .await;
}

#[tokio::test]
async fn what_a_batch_is_fetched_with_is_read_over_one_connection() {
    each_database(async |store, url| {
        let (all, accounts) = (Scope::all_tenants(), people(&store, 3).await);
        store.release_save(&release(), b"component").await.unwrap();
        store.release_activate(release().digest, SwapCause::Activated, now()).await.unwrap();
        store.credential_save(&all, &credential(1), now()).await.unwrap();
        let planned = batch(1, &run(1), &[&accounts[2], &accounts[0]], day("2026-11-22"));
        add_batches(&store, &[planned], now()).await;
        let batch = lease(&store).await.batch;

        // There is no other one, also where tombstones are to be compared with.
        let one = Store::open(url, StoreOptions { connections_max: 1, ..StoreOptions::default() }).await.unwrap();
        for (erased, left) in [(None, vec![3, 1]), (Some(2), vec![3, 1]), (Some(3), vec![1])] {
            if let Some(n) = erased {
                store.artist_erase(&all, artist(n).id, now()).await.unwrap().expect("the artist");
            }
            let start = one.batch_start_get(&all, &batch, now()).await.unwrap();
            let BatchStart { grant, lost_metrics, candidates, inputs, credentials } = start;
            assert_eq!(grant, Some((ReleaseState::Granted, release().grant)));
            assert_eq!(lost_metrics, Vec::<String>::new());
            let mut ids: Vec<_> = left.iter().map(|n| account(*n).id).collect();
            assert_eq!(inputs.iter().map(|account| account.id).collect::<Vec<_>>(), ids, "in the batch's order");
            ids.sort();
            assert_eq!(candidates.iter().map(|candidate| candidate.account_id).collect::<Vec<_>>(), ids);
            assert_eq!(credentials.iter().map(|one| one.id).collect::<Vec<_>>(), [credential(1).id]);
        }
        let unknown = Batch { release: Digest::of(b"another"), ..batch };
        assert_eq!(one.batch_start_get(&all, &unknown, now()).await.unwrap().grant, None);
        one.close().await;
    })
    .await;
}
