//! A SQLite file takes any bytes as text. One that is not UTF-8 costs its own row, also in what a statement returns of
//! what it wrote, and pages go on after it. PostgreSQL takes no such text.

use std::collections::BTreeMap;

use backline_model::outcome::{Exclusion, Outcome};
use backline_model::{Consent, DeliveryState, FireDecision, Holder, ScheduleSpec, SwapCause, Tenant};
use backline_store::{
    AccountFilter, ArchiveRun, ArchiveRunFilter, BatchFilter, BatchResult, BulkActFilter, DatabaseKind, DeliveryFilter,
    EndedPause, EventCursor, MetricsFilter, NewDelivery, NewSchedule, Pause, SEALED, Scope, SealedCredential,
    TimelineFilter, UnreadableBatches,
};
use chrono::{SecondsFormat, TimeDelta};
use sqlx::{AnyConnection, Connection as _, Executor as _};
use uuid::Uuid;

use super::credentials::credential;
use super::fixtures::{
    TTL, account, add_batches, artist, at, batch, create_run, day, demo, event, followers, lease, now, people, release,
    run, store_rows, stored, take_out, webhook,
};
use super::scope::bulk_act;
use super::unreadable::{left_out, named};
use crate::support::database::{LATIN_1, each_database, latin_1_after, spoil, write};

/// What comes before all ids of the fixtures, and after the nil id, from which lists begin.
const BEFORE_IDS: &str = "00000000-0000-0000-0000-00001";

fn consent(n: u128, granted: bool) -> Consent {
    Consent {
        artist_id: artist(n).id,
        platform: demo(),
        granted,
        scope: "metrics".to_owned(),
        source: "a letter".to_owned(),
        recorded_at: now(),
    }
}

#[tokio::test]
async fn a_batch_is_leased_after_those_whose_texts_are_not_utf_8_and_their_run_ends() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its encoding keeps such texts out
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 4).await;
        let planned = [1, 2, 3, 4].map(|n| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22")));
        let of = |n: usize| format!("id = '{}'", planned[n].id);
        add_batches(&store, &planned[..3], now()).await;
        spoil(url, "batches", "tenant", LATIN_1, &of(0)).await;
        spoil(url, "batches", "id", LATIN_1, &of(1)).await;
        let held = lease(&store).await;
        assert_eq!(held.batch.id, planned[2].id);

        add_batches(&store, &planned[3..], now()).await;
        spoil(url, "batches", "id", &latin_1_after("-"), &of(3)).await;
        let ended = store.unreadable_batches_end(&all, now()).await.unwrap();
        assert_eq!(ended, UnreadableBatches { batches: 1, accounts: 0 });
        let first = planned[0].id.to_string();
        assert_eq!(
            left_out(&store),
            named(&[["batches", "-\u{fffd}", "id"], ["batches", &first, "tenant"], ["batches", "J\u{fffd}rgen", "id"]])
        );

        let rows = vec![stored(followers(&accounts[2], day("2026-11-22"), 5))];
        let result = BatchResult { accounts: rows, ..BatchResult::default() };
        store.batch_complete(&held, result, now()).await.unwrap();
        let ended = store.run_finish(&all, run(1).id, now()).await.unwrap();
        assert_eq!(ended.finished_at, Some(now()), "it waits for none of them");
        assert_eq!((ended.counts.collected, ended.counts.excluded), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_run_is_cancelled_beside_a_batch_whose_id_is_not_utf_8() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its encoding keeps such texts out
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 2).await;
        let planned = [1, 2].map(|n| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22")));
        add_batches(&store, &planned, now()).await;
        spoil(url, "batches", "id", LATIN_1, &format!("id = '{}'", planned[0].id)).await;
        let cancelled = store.run_cancel(&all, run(1).id, "a test", now()).await.unwrap().expect("it is open");
        assert_eq!((cancelled.batches, cancelled.accounts), (1, 1));
        assert_eq!(left_out(&store), named(&[["batches", "J\u{fffd}rgen", "id"]]));
    })
    .await;
}

#[tokio::test]
async fn accounts_of_a_batch_whose_id_is_not_utf_8_get_their_outcomes() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its encoding keeps such texts out
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 2).await;
        let planned = batch(1, &run(1), &[&accounts[0], &accounts[1]], day("2026-11-22"));
        add_batches(&store, std::slice::from_ref(&planned), now()).await;
        spoil(url, "batches", "id", LATIN_1, "TRUE").await;
        spoil(url, "batch_accounts", "batch_id", LATIN_1, "TRUE").await;
        let ended = store.unreadable_batches_end(&all, now()).await.unwrap();
        assert_eq!(ended, UnreadableBatches { batches: 1, accounts: 2 });
        assert_eq!(store.unreadable_batches_end(&all, now()).await.unwrap(), UnreadableBatches::default());
        let outcomes = store.run_outcomes_list(&all, run(1).id, None, 10).await.unwrap();
        let told: Vec<_> = outcomes.iter().map(|one| (&one.outcome, one.note.as_deref())).collect();
        let unreadable = Outcome::Excluded { reason: Exclusion::Unreadable };
        let note = Some("its batch can't be read: its id is bytes that are not UTF-8");
        assert_eq!(told, [(&unreadable, note), (&unreadable, note)]);
        let ended = store.run_finish(&all, run(1).id, now()).await.unwrap();
        assert_eq!((ended.finished_at, ended.counts.excluded), (Some(now()), 2));
    })
    .await;
}

#[tokio::test]
async fn batches_end_behind_pages_of_those_whose_ids_are_not_utf_8() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its encoding keeps such texts out
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 1).await;
        create_run(&store, &run(2)).await;
        // More than are ended together, and before every other one.
        let add = async |of: u128| {
            let planned: Vec<_> =
                (1..=51).map(|n| batch(100 * of + n, &run(of), &[&accounts[0]], day("2026-11-22"))).collect();
            add_batches(&store, &planned, now()).await;
            let others = format!("run_id = '{}' AND id <> '{}'", run(of).id, planned[50].id);
            spoil(url, "batches", "id", "'-' || id || CAST(X'E4' AS TEXT)", &others).await;
        };
        add(2).await;
        let cancelled = store.run_cancel(&all, run(2).id, "a test", now()).await.unwrap().expect("one is open");
        assert_eq!((cancelled.batches, cancelled.accounts), (1, 1));

        add(1).await;
        store.release_save(&release(), b"component").await.unwrap();
        store.release_activate(release().digest, SwapCause::Activated, now()).await.unwrap();
        write(url, "UPDATE releases SET active = FALSE").await;
        let excluded = store.orphaned_batches_exclude(&all, now()).await.unwrap();
        assert_eq!(excluded, BTreeMap::from([(demo(), 1)]));
    })
    .await;
}

#[tokio::test]
async fn a_delivery_whose_times_can_not_be_read_is_parked_and_the_others_are_leased() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let (all, hook) = (Scope::all_tenants(), webhook(1, "crm"));
        store.webhook_add(&all, &hook, vec![1], true).await.unwrap();
        let events = [1, 2, 3, 4].map(|n| event(n, None));
        store.events_write(&all, &events).await.unwrap();
        let heads = store.event_heads_list(&all, EventCursor::default(), 10).await.unwrap();
        // The last one is in the line of the first.
        let line = |n: usize| NewDelivery { event: heads[n].cursor, line: format!("line-{}", n % 3) };
        let (seen, until) = (EventCursor::default(), heads[3].cursor);
        store.deliveries_fan_out(&all, hook.id, seen, until, &[0, 1, 2, 3].map(line), now()).await.unwrap();
        let of = |n: usize| format!("event_id = '{}'", events[n].id);
        spoil(url, "deliveries", "first_tried_at", "'then'", &of(0)).await;
        // It is due: a file compares texts.
        spoil(url, "deliveries", "next_at", &latin_1_after("2025-"), &of(1)).await;
        let lease = async || {
            let leased = store.deliveries_lease(&all, hook.id, "host", now(), TTL, 1).await.unwrap();
            leased.iter().map(|lease| lease.event.id).collect::<Vec<_>>()
        };
        assert_eq!(lease().await, [events[2].id]);
        assert_eq!(lease().await, [events[3].id], "its line goes on");
        assert_eq!(left_out(&store), [[""; 3]; 0], "nothing is wrong any more");

        let filter = DeliveryFilter { state: Some(DeliveryState::Parked), ..DeliveryFilter::default() };
        let parked = store.deliveries_list(&all, &filter).await.unwrap();
        let told: Vec<_> =
            parked.iter().map(|one| (one.event_id, one.problem.as_deref().unwrap_or_default())).collect();
        assert_eq!(
            told,
            [
                (events[1].id, "its next_at can't be read: bytes that are not UTF-8"),
                (events[0].id, "its first_tried_at can't be read: 'then'")
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn a_delivery_that_is_due_at_no_time_hands_that_on_to_none_of_its_line() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let (all, hook) = (Scope::all_tenants(), webhook(1, "crm"));
        store.webhook_add(&all, &hook, vec![1], true).await.unwrap();
        let mut seen = EventCursor::default();
        for n in 1..=2 {
            store.events_write(&all, &[event(n, None)]).await.unwrap();
            let heads = store.event_heads_list(&all, seen, 10).await.unwrap();
            let new = [NewDelivery { event: heads[0].cursor, line: "a line".to_owned() }];
            store.deliveries_fan_out(&all, hook.id, seen, heads[0].cursor, &new, now()).await.unwrap();
            seen = heads[0].cursor;
            if n == 1 {
                write(url, "UPDATE deliveries SET next_at = 'then'").await;
            }
        }
        assert_eq!(store.next_delivery_get(&all, now()).await.unwrap(), None, "it keeps nobody from finding out");
        let filter = DeliveryFilter { event: Some(event(2, None).id), ..DeliveryFilter::default() };
        let listed = store.deliveries_list(&all, &filter).await.unwrap();
        assert_eq!(listed.iter().map(|one| one.next_at).collect::<Vec<_>>(), [Some(now())]);
    })
    .await;
}

#[tokio::test]
async fn deliveries_that_are_due_at_no_time_are_parked_and_their_lines_go_on() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let (all, hook) = (Scope::all_tenants(), webhook(1, "crm"));
        store.webhook_add(&all, &hook, vec![1], true).await.unwrap();
        // Each is the head of a line of two; as a text, each comes after the present.
        let texts = ["then", "infinity", "now", "2461000.5", "9999-02-30T00:00:00.000000Z"];
        let odd: Vec<String> = texts.into_iter().map(|text| format!("'{text}'")).chain([latin_1_after("z")]).collect();
        let count = 2 * odd.len();
        let events: Vec<_> = (1..).map(|n| event(n, None)).take(count).collect();
        store.events_write(&all, &events).await.unwrap();
        let heads = store.event_heads_list(&all, EventCursor::default(), 100).await.unwrap();
        let new: Vec<_> = (0..count)
            .map(|n| NewDelivery { event: heads[n].cursor, line: format!("line-{}", n % odd.len()) })
            .collect();
        let (seen, until) = (EventCursor::default(), heads[count - 1].cursor);
        store.deliveries_fan_out(&all, hook.id, seen, until, &new, now()).await.unwrap();
        for (value, event) in odd.iter().zip(&events) {
            spoil(url, "deliveries", "next_at", value, &format!("event_id = '{}'", event.id)).await;
        }
        let leased = store.deliveries_lease(&all, hook.id, "host", now(), TTL, 100).await.unwrap();
        let leased: Vec<_> = leased.iter().map(|lease| lease.event.id).collect();
        assert_eq!(leased, events[odd.len()..].iter().map(|event| event.id).collect::<Vec<_>>());
        assert_eq!(left_out(&store), [[""; 3]; 0], "nothing is wrong any more");

        let filter = DeliveryFilter { state: Some(DeliveryState::Parked), ..DeliveryFilter::default() };
        let parked = store.deliveries_list(&all, &filter).await.unwrap();
        let told: Vec<_> = parked.iter().rev().map(|one| one.problem.clone().unwrap_or_default()).collect();
        let whats = odd[..texts.len()].iter().map(String::as_str).chain(["bytes that are not UTF-8"]);
        let expected: Vec<_> = whats.map(|what| format!("its next_at can't be read: {what}")).collect();
        assert_eq!(told, expected);
    })
    .await;
}

#[tokio::test]
async fn credentials_whose_ids_are_not_utf_8_go_with_a_withdrawal_and_an_erasure() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such ids out
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 3).await;
        for (n, account) in (1..).zip(&accounts) {
            let own = SealedCredential { account_id: Some(account.id), ..credential(n) };
            store.credential_save(&all, &own, now()).await.unwrap();
        }
        for (n, id) in [(1, latin_1_after("-")), (3, LATIN_1.to_owned())] {
            spoil(url, "credentials", "id", &id, &format!("id = '{}'", credential(n).id)).await;
        }
        let recorded = store.consents_record(&all, &[consent(1, false), consent(2, false)]).await.unwrap();
        assert_eq!((recorded.added, recorded.credentials), (2, vec![credential(2).id]));
        assert_eq!(left_out(&store), named(&[["credentials", "-\u{fffd}", "id"]]));
        let latest = store.latest_consents_of(&all, &[artist(1).id, artist(2).id]).await.unwrap();
        assert_eq!(latest.iter().map(|consent| consent.granted).collect::<Vec<_>>(), [false, false]);

        let erased = store.artist_erase(&all, artist(3).id, now()).await.unwrap().expect("the artist");
        assert_eq!((erased.receipt.rows["credentials"], erased.credentials), (1, Vec::new()));
        let place = SEALED[0];
        assert!(store.sealed_count(&all, place, 1).await.unwrap().is_empty(), "none is left");
    })
    .await;
}

#[tokio::test]
async fn a_pause_of_which_the_platform_is_not_utf_8_can_be_ended() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its encoding keeps such texts out
        }
        let holder = Holder::Platform(demo());
        let pause = Pause { began_at: now(), until: now() + TimeDelta::hours(1), interval_us: None, paced_until: None };
        let believed = now() - TimeDelta::days(9)..=now() + TimeDelta::minutes(1);
        store.pause_begin(&holder, &demo(), &pause, believed).await.unwrap();
        spoil(url, "pauses", "platform", LATIN_1, "TRUE").await;
        let ended = store.pause_end(&Scope::all_tenants(), &holder, now()).await.unwrap();
        assert_eq!(ended, Some(EndedPause { platform: demo(), batches: 0 }));
    })
    .await;
}

#[tokio::test]
async fn a_queued_time_that_can_not_be_read_keeps_no_schedule_busy() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let term = store.role_take("scheduler", "a", now(), TTL).await.unwrap().unwrap();
        let new = NewSchedule { name: "daily".to_owned(), spec: ScheduleSpec::default(), next_fire: None };
        store.schedules_sync(&term, &[new], now()).await.unwrap();
        let queued = [1, 2, 3, 4, 5, 6, 7].map(|hour| {
            let time = format!("2026-11-23T0{hour}:00:00Z");
            (at(&time), FireDecision::Queued)
        });
        store.fires_record(&term, "daily", &queued, None, now()).await.unwrap();
        // SQLite takes some of these for times.
        let texts = ["then", "now", "12:00", "2461000.5", "2027-02-30T00:00:00.000000Z"];
        let values = texts.map(|text| format!("'{text}'")).into_iter().chain([latin_1_after("-")]);
        for (value, (time, _)) in values.zip(queued) {
            let of = format!("fire_time = '{}'", time.to_rfc3339_opts(SecondsFormat::Micros, true));
            spoil(url, "schedule_fires", "fire_time", &value, &of).await;
        }
        assert!(store.queued_fires_skip(&term, "daily", 1, now()).await.unwrap().is_empty(), "none is too many");
        assert_eq!(left_out(&store), [[""; 3]; 0], "nothing is wrong any more");
        let left = store.queued_fires_list().await.unwrap();
        assert_eq!(left.iter().map(|fire| fire.fire_time).collect::<Vec<_>>(), [queued[6].0], "it has its turn");

        // Another program writes: nothing waits for it where nothing is to be skipped.
        sqlx::any::install_default_drivers();
        let mut other = AnyConnection::connect(url).await.unwrap();
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        assert!(store.queued_fires_skip(&term, "daily", 1, now()).await.unwrap().is_empty());
        other.execute("ROLLBACK").await.unwrap();
        other.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_first_collection_whose_time_is_written_in_another_form_is_planned_once() {
    each_database(async |store, url| {
        people(&store, 2).await;
        if store.kind() == DatabaseKind::Sqlite {
            write(url, "UPDATE activations SET at = replace(at, 'T', ' ')").await;
        }
        let waiting = store.activations_list(&Scope::all_tenants(), 100).await.unwrap();
        assert!(!waiting.is_empty());
        assert_eq!(take_out(&store, &waiting).await, waiting.len());
    })
    .await;
}

#[tokio::test]
async fn lists_of_the_latest_first_go_on_after_a_text_that_is_not_utf_8() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 3).await;
        // After every time and date of the year.
        let latest = latin_1_after("2026");
        let of = |column: &str, id: &dyn std::fmt::Display| format!("{column} = '{id}'");

        let rows = accounts[..2].iter().map(|account| followers(account, day("2026-11-20"), 5)).collect();
        store_rows(&store, rows).await;
        spoil(url, "metrics", "metric_date", &latest, &of("account_id", &accounts[0].id)).await;
        let filter = MetricsFilter { limit: Some(1), ..MetricsFilter::default() };
        let listed = store.metrics_list(&all, &filter).await.unwrap();
        assert_eq!(listed.iter().map(|row| row.account_id).collect::<Vec<_>>(), [accounts[1].id]);

        create_run(&store, &run(2)).await;
        spoil(url, "runs", "started_at", &latest, &of("id", &run(2).id)).await;
        let listed = store.runs_list(&all, 1, None).await.unwrap();
        assert_eq!(listed.iter().map(|run| run.id).collect::<Vec<_>>(), [run(1).id]);

        let planned = [1, 2].map(|n| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22")));
        add_batches(&store, &planned, now() + TimeDelta::hours(1)).await;
        spoil(url, "batches", "created_at", &latest, &of("id", &planned[1].id)).await;
        let filter = BatchFilter { limit: Some(1), ..BatchFilter::default() };
        let listed = store.batches_list(&all, &filter).await.unwrap();
        assert_eq!(listed.iter().map(|batch| batch.id).collect::<Vec<_>>(), [planned[0].id]);

        for n in 1..=2 {
            store.bulk_act_add(&all, &bulk_act(n, Tenant::default())).await.unwrap();
        }
        let [kept, odd] = [1, 2].map(|n| bulk_act(n, Tenant::default()).id);
        spoil(url, "bulk_acts", "id", &latin_1_after("f"), &of("id", &odd)).await;
        let filter = BulkActFilter { limit: Some(1), ..BulkActFilter::default() };
        let listed = store.bulk_acts_list(&all, &filter).await.unwrap();
        assert_eq!(listed.iter().map(|act| act.id).collect::<Vec<_>>(), [kept]);

        for n in 1..=2 {
            let run = ArchiveRun {
                id: Uuid::from_u128(n),
                origin: "manual".to_owned(),
                as_of: now(),
                started_at: now(),
                finished_at: None,
                state: "running".to_owned(),
                counts: BTreeMap::new(),
                message: None,
            };
            store.archive_run_save(&run).await.unwrap();
        }
        spoil(url, "archive_runs", "started_at", &latest, &of("id", &Uuid::from_u128(2))).await;
        let filter = ArchiveRunFilter { limit: 1, ..ArchiveRunFilter::default() };
        let listed = store.archive_runs_filtered_list(&filter).await.unwrap();
        assert_eq!(listed.iter().map(|run| run.id).collect::<Vec<_>>(), [Uuid::from_u128(1)]);

        let term = store.role_take("scheduler", "a", now(), TTL).await.unwrap().unwrap();
        let new = NewSchedule { name: "daily".to_owned(), spec: ScheduleSpec::default(), next_fire: None };
        store.schedules_sync(&term, &[new], now()).await.unwrap();
        let missed = [2, 3].map(|hour| (at(&format!("2026-11-23T0{hour}:00:00Z")), FireDecision::Missed));
        store.fires_record(&term, "daily", &missed, None, now()).await.unwrap();
        spoil(url, "schedule_fires", "fire_time", &latest, "fire_time > '2026-11-23T02:30'").await;
        let listed = store.fires_before_list("daily", None, 1).await.unwrap();
        assert_eq!(listed.iter().map(|fire| fire.fire_time).collect::<Vec<_>>(), [missed[0].0]);

        store.consents_record(&all, &[consent(3, true)]).await.unwrap();
        let odd = format!(
            "INSERT INTO consents (artist_id, platform, granted, scope, source, recorded_at)
             VALUES ('{}', '{}', 1, 'metrics', 'another program', {latest})",
            artist(3).id,
            demo()
        );
        write(url, &odd).await;
        let filter = TimelineFilter { limit: Some(1), ..TimelineFilter::default() };
        let listed = store.account_timeline_list(&all, account(3).id, &filter).await.unwrap().expect("the account");
        assert_eq!(listed.iter().map(|(_, entry)| (entry.kind, entry.at)).collect::<Vec<_>>(), [("consent", now())]);
    })
    .await;
}

#[tokio::test]
async fn lists_in_the_order_of_texts_go_on_after_one_that_is_not_utf_8() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 3).await;
        let first = latin_1_after(BEFORE_IDS);

        let of_first = format!("artist_id = '{}' AND platform = ''", artist(1).id);
        spoil(url, "activations", "at", &latin_1_after("1"), &of_first).await;
        assert_eq!(store.activations_list(&all, 1).await.unwrap().len(), 1);

        for (n, account) in (1..).zip(&accounts) {
            let own = SealedCredential {
                account_id: Some(account.id),
                kind: "refresh-token".to_owned(),
                refresh_at: Some(now()),
                ..credential(n)
            };
            store.credential_save(&all, &own, now()).await.unwrap();
        }
        spoil(url, "credentials", "id", &first, &format!("id = '{}'", credential(1).id)).await;
        let second = credential(2).id;
        let slots = [(demo(), "token".to_owned())];
        let due = store.due_credentials_list(&all, &slots, now(), None, 1).await.unwrap();
        assert_eq!(due.iter().map(|found| found.id).collect::<Vec<_>>(), [second]);
        let until = now() + TimeDelta::days(90);
        let expiring = store.expiring_credentials_list(&all, now(), until, None, 1).await.unwrap();
        assert_eq!(expiring.iter().map(|found| found.credential.id).collect::<Vec<_>>(), [second]);
        let sealed = store.sealed_list(&all, SEALED[0], None, 1).await.unwrap();
        assert_eq!(sealed.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), [second.to_string()]);

        spoil(url, "accounts", "id", &first, &format!("id = '{}'", accounts[0].id)).await;
        let filter = AccountFilter { limit: Some(1), ..AccountFilter::default() };
        let listed = store.accounts_list(&all, &filter).await.unwrap();
        assert_eq!(listed.iter().map(|account| account.id).collect::<Vec<_>>(), [accounts[1].id]);

        // Nothing that can be read comes after the name of the first one.
        let events = [event(1, None), event(2, None)];
        store.events_write(&all, &events).await.unwrap();
        let heads = store.event_heads_list(&all, EventCursor::default(), 10).await.unwrap();
        for (n, name, head) in [(1, "crm", &heads[0]), (2, "odd", &heads[1])] {
            store.webhook_add(&all, &webhook(n, name), vec![1], true).await.unwrap();
            let new = [NewDelivery { event: head.cursor, line: name.to_owned() }];
            let (seen, until) = (EventCursor::default(), heads[1].cursor);
            store.deliveries_fan_out(&all, webhook(n, name).id, seen, until, &new, now()).await.unwrap();
        }
        spoil(url, "webhooks", "name", "CAST(X'F5' AS TEXT)", "name = 'odd'").await;
        let filter = DeliveryFilter { limit: 1, ..DeliveryFilter::default() };
        let listed = store.deliveries_list(&all, &filter).await.unwrap();
        assert_eq!(listed.iter().map(|one| one.event_id).collect::<Vec<_>>(), [events[0].id]);
    })
    .await;
}
