//! A row of the ledger that can't be read holds nobody up: its batch ends with a reason, and runs, plans and first
//! collections of the others go on.

use std::collections::BTreeSet;

use backline_model::outcome::{Exclusion, Outcome};
use backline_model::retention::{Before, RetainedTable, RetentionStep};
use backline_model::{BatchId, Consent, Event, RunStatus};
use backline_store::{
    ArchivePlace, BatchFilter, BatchResult, DatabaseKind, EventCursor, PlanGuard, Scope, Store, UnreadableBatches,
};
use chrono::TimeDelta;

use super::fixtures::{
    TTL, account, add_batches, artist, batch, create_run, day, defer, demo, event, followers, lease, now, past, people,
    run, store_rows, stored,
};
use super::scope::step;
use crate::support::database::{self, each_database, write, write_unchecked};

/// A time that the database takes and nothing can read.
fn odd_time(store: &Store) -> &'static str {
    match store.kind() {
        DatabaseKind::Postgres => "infinity",
        DatabaseKind::Sqlite => "then",
    }
}

/// Changes a column of a batch as another program does.
async fn spoil(url: &str, id: BatchId, column: &str, value: &str) {
    database::spoil(url, "batches", column, &format!("'{value}'"), &format!("id = '{id}'")).await;
}

/// The reasons why accounts of run 1 were excluded as unreadable, in the order of the accounts.
async fn reasons(store: &Store) -> Vec<String> {
    let outcomes = store.run_outcomes_list(&Scope::all_tenants(), run(1).id, None, 100).await.unwrap();
    let unreadable = Outcome::Excluded { reason: Exclusion::Unreadable };
    outcomes.into_iter().filter(|one| one.outcome == unreadable).map(|one| one.note.unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_batch_that_can_not_be_read_ends_with_its_reason_and_the_next_one_is_leased() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 4).await;
        let planned = [1, 2, 3, 4].map(|n| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22")));
        add_batches(&store, &planned, now()).await;
        spoil(url, planned[0].id, "tenant", "No Tenant").await;
        spoil(url, planned[1].id, "release_digest", "no digest").await;
        spoil(url, planned[2].id, "window_since", odd_time(&store)).await;

        let held = lease(&store).await;
        assert_eq!(held.batch.id, planned[3].id);
        let result = BatchResult {
            accounts: vec![stored(followers(&accounts[3], day("2026-11-22"), 5))],
            ..BatchResult::default()
        };
        store.batch_complete(&held, result, now()).await.unwrap();
        assert_eq!(store.unfinished_runs_list(&all).await.unwrap(), [run(1).id]);
        let ended = store.run_finish(&all, run(1).id, now()).await.unwrap();
        assert_eq!((ended.status, ended.finished_at), (RunStatus::Success, Some(now())));
        assert_eq!((ended.counts.collected, ended.counts.excluded), (1, 3));
        let window = format!("its batch can't be read: its window_since is '{}'", odd_time(&store));
        assert_eq!(
            reasons(&store).await,
            [
                "its batch can't be read: its tenant is 'No Tenant'",
                "its batch can't be read: its release_digest is 'no digest'",
                window.as_str(),
            ]
        );
        let named: Vec<_> = store.unreadable_rows().into_iter().map(|row| (row.table, row.name, row.column)).collect();
        let of = |n: usize, column: &str| ("batches".to_owned(), planned[n].id.to_string(), column.to_owned());
        assert_eq!(named, [of(0, "tenant"), of(1, "release_digest"), of(2, "window_since")]);
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_no_host_would_lease_ends_and_one_in_the_hands_of_a_host_is_left_to_it() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 2).await;
        let planned = [1, 2].map(|n| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22")));
        add_batches(&store, &planned[..1], now()).await;
        let held = lease(&store).await;
        add_batches(&store, &planned[1..], now()).await;
        for planned in &planned {
            spoil(url, planned.id, "platform", "No Platform").await;
        }
        // Its host may be a newer binary, which can read it.
        let ended = store.unreadable_batches_end(&all, now()).await.unwrap();
        assert_eq!(ended, UnreadableBatches { batches: 1, accounts: 1 });
        assert_eq!(reasons(&store).await, ["its batch can't be read: its platform is 'No Platform'"]);
        let state = store.run_state_get(&all, run(1).id).await.unwrap();
        assert_eq!(state.open.iter().map(|open| open.batches.batches).sum::<u64>(), 1, "the run waits for its host");
        assert!(store.lease_renew(&held, now(), TTL).await.is_ok());

        let later = now() + TTL;
        let ended = store.unreadable_batches_end(&all, later).await.unwrap();
        assert_eq!(ended, UnreadableBatches { batches: 1, accounts: 1 });
        assert_eq!(store.unreadable_batches_end(&all, later).await.unwrap(), UnreadableBatches::default());
        let run = store.run_finish(&all, run(1).id, later).await.unwrap();
        assert_eq!((run.finished_at, run.counts.excluded), (Some(later), 2));
    })
    .await;
}

#[tokio::test]
async fn plans_are_made_beside_batches_that_can_not_be_read_and_they_can_be_cancelled() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 3).await;
        create_run(&store, &run(2)).await;
        let of = |n: u128, in_run: u128| batch(n, &run(in_run), &[&accounts[n as usize % 10 - 1]], day("2026-11-22"));
        add_batches(&store, &[of(1, 1)], now()).await;
        defer(&store, &lease(&store).await, now() + TimeDelta::hours(9), "spent", now()).await.unwrap();
        add_batches(&store, &[of(2, 1)], now()).await;
        for n in [1, 2] {
            spoil(url, of(n, 1).id, "tenant", "No Tenant").await;
            spoil(url, of(n, 1).id, "state", if n == 1 { "deferred" } else { "no state" }).await;
        }
        add_batches(&store, &[of(11, 2)], now()).await;
        let outcomes = store.run_outcomes_list(&all, run(1).id, None, 10).await.unwrap();
        assert_eq!(outcomes[0].outcome, Outcome::Superseded, "the deferred one ends like any other");
        let cancelled = store.run_cancel(&all, run(1).id, "a test", now()).await.unwrap().expect("it is open");
        assert_eq!((cancelled.batches, cancelled.accounts), (1, 1));
        assert_eq!(lease(&store).await.batch.id, of(11, 2).id);
    })
    .await;
}

#[tokio::test]
async fn an_account_whose_row_in_a_batch_can_not_be_read_costs_itself() {
    each_database(async |store, url| {
        let accounts = people(&store, 3).await;
        let whole: Vec<_> = accounts.iter().collect();
        let planned = batch(1, &run(1), &whole, day("2026-11-22"));
        add_batches(&store, std::slice::from_ref(&planned), now()).await;
        let (odd, second) = (odd_time(&store), accounts[1].id);
        write(url, &format!("UPDATE batch_accounts SET metric_date = '{odd}' WHERE account_id = '{second}'")).await;
        let held = lease(&store).await;
        let ids: Vec<_> = held.batch.accounts.iter().map(|account| account.account_id).collect();
        assert_eq!(ids, [accounts[0].id, accounts[2].id]);
        assert_eq!(reasons(&store).await, [format!("its row in the batch can't be read: its metric_date is '{odd}'")]);
        let rows = ids.iter().map(|id| accounts.iter().find(|account| account.id == *id).unwrap());
        let rows = rows.map(|account| stored(followers(account, day("2026-11-22"), 5))).collect();
        let result = BatchResult { accounts: rows, ..BatchResult::default() };
        let done = store.batch_complete(&held, result, now()).await.unwrap();
        assert_eq!((done.counts.collected, done.open), (2, 0));
        let run = store.run_finish(&Scope::all_tenants(), run(1).id, now()).await.unwrap();
        assert_eq!((run.counts.collected, run.counts.excluded), (2, 1), "the batch does not say it was collected");
    })
    .await;
}

#[tokio::test]
async fn a_run_whose_own_row_can_not_be_read_ends_all_the_same() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        people(&store, 1).await;
        let odd = odd_time(&store);
        write(url, &format!("UPDATE runs SET logical_date = '{odd}' WHERE id = '{}'", run(1).id)).await;
        assert_eq!(store.unfinished_runs_list(&all).await.unwrap(), [run(1).id]);
        let ended = store.run_finish(&all, run(1).id, now()).await.unwrap();
        assert_eq!((ended.date, ended.finished_at), (None, Some(now())));
        assert_eq!(store.unfinished_runs_list(&all).await.unwrap(), []);
        let named = store.unreadable_rows();
        assert!(named.iter().any(|row| row.table == "runs" && row.column == "logical_date"), "{named:?}");
        assert_eq!(store.run_cancel(&all, run(1).id, "late", now()).await.unwrap(), None, "it has ended");
    })
    .await;
}

#[tokio::test]
async fn a_platform_that_can_not_be_read_keeps_no_other_account_from_its_first_collection() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        people(&store, 2).await;
        let odd = account(1).id;
        write(url, &format!("UPDATE accounts SET platform = 'No Platform' WHERE id = '{odd}'")).await;
        let waiting = store.activations_list(&all, 100).await.unwrap();
        let term = store.role_take("scheduler", "a", now(), TTL).await.unwrap().unwrap();
        let guard = PlanGuard::Activations { term: &term, activations: &waiting };
        let mut planning = store.plan_begin(&run(2), guard, now()).await.unwrap();
        let candidates = planning.first_candidates_list().await.unwrap();
        let readable: Vec<_> = candidates.iter().filter(|one| one.unreadable.is_none()).collect();
        assert_eq!(readable.iter().map(|one| one.account_id).collect::<Vec<_>>(), [account(2).id]);
        planning.commit_without_run().await.unwrap();

        let ids = [account(1).id, account(2).id];
        let found = store.candidates_of(&all, &ids).await.unwrap();
        let reason: Vec<_> = found.iter().map(|one| one.unreadable.as_deref()).collect();
        assert_eq!(reason, [Some("platform 'No Platform'"), None], "its batch leaves it out alone");
    })
    .await;
}

#[tokio::test]
async fn what_is_known_of_an_account_and_can_not_be_read_costs_no_other_one() {
    each_database(async |store, url| {
        let accounts = people(&store, 2).await;
        let rows = |date: &str| accounts.iter().map(|one| followers(one, day(date), 5)).collect::<Vec<_>>();
        store_rows(&store, rows("2026-11-21")).await;
        let first = accounts[0].id;
        write(url, &format!("UPDATE account_state SET last_accepted = '[]' WHERE account_id = '{first}'")).await;
        write(url, &format!("UPDATE metrics SET extra = '[]' WHERE account_id = '{first}'")).await;
        assert_eq!(store_rows(&store, rows("2026-11-22")).await.counts.collected, 2);
        let named: BTreeSet<_> = store.unreadable_rows().into_iter().map(|row| row.table).collect();
        assert_eq!(named, BTreeSet::from(["account_state", "metrics"].map(str::to_owned)));
        // The row of the same date is written again.
        assert_eq!(store_rows(&store, rows("2026-11-21")).await.counts.collected, 2);
    })
    .await;
}

#[tokio::test]
async fn an_artist_whose_account_can_not_be_read_is_erased() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        people(&store, 2).await;
        write(url, &format!("UPDATE accounts SET status = 'paused' WHERE id = '{}'", account(1).id)).await;
        let known = store.artist_identifiers_get(&all, artist(1).id).await.unwrap().expect("the artist");
        assert!(known.are_in(&account(1).platform_id) && known.are_in(&account(1).id.to_string()));
        let erased = store.artist_erase(&all, artist(1).id, now()).await.unwrap().expect("the artist");
        assert_eq!((erased.receipt.rows["accounts"], erased.identifiers), (1, known));
        assert_eq!(store.artist_identifiers_get(&all, artist(1).id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_sync_knows_the_consents_of_an_artist_that_can_not_be_read() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        people(&store, 2).await;
        let withdrawn = Consent {
            artist_id: artist(1).id,
            platform: demo(),
            granted: false,
            scope: "metrics".to_owned(),
            source: "a letter".to_owned(),
            recorded_at: now(),
        };
        store.consents_record(&all, std::slice::from_ref(&withdrawn)).await.unwrap();
        write_unchecked(url, &format!("UPDATE artists SET timezone = 'Mars/Phobos' WHERE id = '{}'", artist(1).id))
            .await;
        let known = store.known_artists_of(&all, &[artist(1).id, artist(2).id]).await.unwrap();
        assert_eq!(known.len(), 2, "a sync would take one that is unknown for new, and grant what was withdrawn");
        let first = &known[&artist(1).id];
        assert_eq!(first.artist.name, "Artist 1");
        assert_eq!(first.consents, [withdrawn]);
        assert_ne!(first.artist.timezone, artist(1).timezone, "what the source says is written");
    })
    .await;
}

#[tokio::test]
async fn settings_that_can_not_be_read_leave_their_account_out_alone() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        people(&store, 2).await;
        let ids = [account(1).id, account(2).id];
        write(url, &format!("UPDATE accounts SET settings = '{{' WHERE id = '{}'", ids[0])).await;
        let given = store.fetch_inputs_of(&Scope::all_tenants(), &ids).await.unwrap();
        assert_eq!(given.iter().map(|one| one.id).collect::<Vec<_>>(), [ids[1]]);
        let artists = [artist(1).id, artist(2).id];
        assert_eq!(store.accounts_of(&Scope::all_tenants(), &artists).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn pages_go_on_after_a_run_a_batch_or_an_account_that_can_not_be_read() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 2).await;
        create_run(&store, &run(2)).await;
        let planned = [1, 2].map(|n| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22")));
        add_batches(&store, &planned, now()).await;
        write(url, &format!("UPDATE runs SET started_at = 'then' WHERE id = '{}'", run(2).id)).await;
        spoil(url, planned[1].id, "created_at", "then").await;
        let runs = store.runs_list(&all, 1, None).await.unwrap();
        assert_eq!(runs.iter().map(|one| one.id).collect::<Vec<_>>(), [run(1).id]);
        let filter = BatchFilter { limit: Some(1), ..BatchFilter::default() };
        let batches = store.batches_list(&all, &filter).await.unwrap();
        assert_eq!(batches.iter().map(|one| one.id).collect::<Vec<_>>(), [planned[0].id]);
    })
    .await;
}

#[tokio::test]
async fn an_account_without_a_readable_id_keeps_no_other_one_out_of_a_plan() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        people(&store, 2).await;
        // The first in order.
        let odd = "00000000-0000-0000-0000-000000000000x";
        write(url, &format!("UPDATE accounts SET id = '{odd}' WHERE id = '{}'", account(1).id)).await;
        let found = store.candidates_list(&Scope::all_tenants(), &demo(), None, None, 1, now()).await.unwrap();
        assert_eq!(found.iter().map(|one| one.account_id).collect::<Vec<_>>(), [account(2).id]);
    })
    .await;
}

#[tokio::test]
async fn what_a_batch_used_before_may_be_unreadable_and_old_events_too() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let (all, accounts) = (Scope::all_tenants(), people(&store, 1).await);
        add_batches(&store, &[batch(1, &run(1), &[&accounts[0]], day("2026-11-22"))], now()).await;
        let held = lease(&store).await;
        spoil(url, held.batch.id, "usage", "{").await;
        let rows = vec![stored(followers(&accounts[0], day("2026-11-22"), 5))];
        let result = BatchResult { accounts: rows, ..BatchResult::default() };
        assert_eq!(store.batch_complete(&held, result, now()).await.unwrap().counts.collected, 1);

        let old = Event { occurred_at: now() - TimeDelta::days(40), ..event(1, None) };
        store.events_write(&all, std::slice::from_ref(&old)).await.unwrap();
        write(url, &format!("UPDATE events SET data = '{{' WHERE id = '{}'", old.id)).await;
        let step =
            RetentionStep { table: RetainedTable::Events, before: Before::Time(now() - TimeDelta::days(30)), ..step() };
        let from = ArchivePlace::default();
        let gone = store.archive_due_put_away(&all, &step, &[], &from, 10, past(now())).await.unwrap();
        assert_eq!(gone.rows, 1);
        assert!(store.events_gone_get(&all).await.unwrap() > EventCursor::default());
    })
    .await;
}
