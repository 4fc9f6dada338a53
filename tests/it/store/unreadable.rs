//! A row that can't be read affects no other: lists leave it out and name it, and the others are read.

use std::time::Duration;

use backline_model::event::types;
use backline_model::privacy::personal;
use backline_model::retention::{Before, RetainedTable, RetentionStep};
use backline_model::{
    AlertChannel, ChannelId, ChannelTarget, Event, Grant, Holder, ScheduleOrigin, ScheduleSpec, Tenant, Webhook,
    WebhookKind,
};
use backline_store::{
    ArchivePlace, ArtistFilter, BudgetKey, BulkActFilter, CredentialFilter, DatabaseKind, DeliveryFilter, EventCursor,
    HealthWindow, MetricsFilter, NarrowedGrants, NewDelivery, NewSchedule, Scope, SealedCredential, Store, StoreError,
    Term,
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt as _;
use uuid::Uuid;

use super::credentials::credential;
use super::fixtures::{
    TTL, add_batches, artist, at, batch, day, demo, event, followers, now, past, people, release, release_of, run,
    store_rows, webhook, weekly_digest,
};
use super::scope::{bulk_act, step};
use crate::support::database::{
    LATIN_1, each_database, latin_1_after, spoil, write, write_past_check, write_unchecked,
};

fn new(name: &str) -> NewSchedule {
    NewSchedule { name: name.to_owned(), spec: ScheduleSpec::default(), next_fire: Some(at("2026-11-23T02:00:00Z")) }
}

async fn lead(store: &Store) -> Term {
    store.role_take("scheduler", "a", now(), TTL).await.unwrap().unwrap()
}

async fn schedules(store: &Store) -> Vec<String> {
    store.schedules_list().await.unwrap().into_iter().map(|schedule| schedule.name).collect()
}

/// Table, name and column of each row that was left out.
pub(super) fn left_out(store: &Store) -> Vec<[String; 3]> {
    store.unreadable_rows().into_iter().map(|row| [row.table, row.name, row.column]).collect()
}

pub(super) fn named(rows: &[[&str; 3]]) -> Vec<[String; 3]> {
    rows.iter().map(|row| row.map(str::to_owned)).collect()
}

#[tokio::test]
async fn schedules_are_read_without_the_one_whose_zone_nobody_knows() {
    each_database(async |store, url| {
        let term = lead(&store).await;
        store.schedules_sync(&term, &[new("configured")], now()).await.unwrap();
        store.schedule_add(&new("added"), now()).await.unwrap();
        store.schedule_add(&new("other"), now()).await.unwrap();
        write(url, "UPDATE schedules SET timezone = 'Mars/Phobos' WHERE name = 'added'").await;
        assert_eq!(schedules(&store).await, ["configured", "other"]);
        assert_eq!(left_out(&store), named(&[["schedules", "added", "timezone"]]));
        assert!(store.unreadable_rows()[0].to_string().contains("'Mars/Phobos'"), "{:?}", store.unreadable_rows());

        // The configuration is stored all the same, and leaves it alone.
        store.schedules_sync(&term, &[new("configured"), new("second")], now()).await.unwrap();
        assert_eq!(schedules(&store).await, ["configured", "other", "second"]);
        assert_eq!(left_out(&store).len(), 1);

        let taken = store.schedule_add(&new("added"), now()).await;
        assert!(matches!(taken, Err(StoreError::ScheduleExists { .. })), "{taken:?}");
        store.schedule_set_enabled("added", false, None, now()).await.unwrap_err();
        write(url, "UPDATE schedules SET timezone = 'UTC' WHERE name = 'added'").await;
        assert_eq!(schedules(&store).await.len(), 4, "it is corrected");
        assert_eq!(left_out(&store), [[""; 3]; 0]);

        write(url, "UPDATE schedules SET timezone = 'Mars/Phobos' WHERE name = 'added'").await;
        assert_eq!(schedules(&store).await.len(), 3);
        store.schedule_remove("added", now()).await.unwrap();
        assert_eq!(schedules(&store).await.len(), 3);
        assert_eq!(left_out(&store), [[""; 3]; 0], "it is gone");
    })
    .await;
}

#[tokio::test]
async fn a_budget_whose_units_are_negative_hides_no_other() {
    each_database(async |store, url| {
        let holder = Holder::Platform(demo());
        let keys = ["good", "bad"].map(|budget| BudgetKey { holder: holder.clone(), budget: budget.to_owned() });
        for key in &keys {
            store.budget_take(key, now(), now() + TimeDelta::hours(1), 10, 4, now()).await.unwrap();
        }
        write_past_check(url, "budgets", "spent", "UPDATE budgets SET spent = -1 WHERE budget = 'bad'").await;
        let found = store.budgets_of(&keys.clone().map(|key| (key, now()))).await.unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(keys[0].clone(), 4)]);
        assert_eq!(left_out(&store), named(&[["budgets", &holder.to_string(), "spent"]]));
        let taken = store.budget_take(&keys[1], now(), now() + TimeDelta::hours(1), 10, 4, now()).await.unwrap();
        assert_eq!(taken, 4, "it is counted from its beginning");
        let found = store.budgets_of(&[(keys[1].clone(), now())]).await.unwrap();
        assert_eq!(found[&keys[1]], 4);
    })
    .await;
}

#[tokio::test]
async fn a_configured_schedule_that_can_not_be_read_is_written_again_or_removed() {
    each_database(async |store, url| {
        let term = lead(&store).await;
        store.schedules_sync(&term, &[new("kept"), new("dropped")], now()).await.unwrap();
        write(url, "UPDATE schedules SET platforms = '{}'").await;
        assert_eq!(schedules(&store).await, [""; 0]);
        assert_eq!(left_out(&store).len(), 2);
        let later = now() + TimeDelta::hours(1);
        store.schedules_sync(&term, &[new("kept")], later).await.unwrap();
        let found = store.schedules_list().await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].origin), ("kept", ScheduleOrigin::Config));
        assert_eq!(found[0].considered_until, later, "it begins now");
        assert_eq!(left_out(&store), [[""; 3]; 0]);
    })
    .await;
}

#[tokio::test]
async fn releases_are_listed_without_the_one_whose_manifest_can_not_be_read() {
    each_database(async |store, url| {
        let (first, second) = (release_of("1.0.0", b"first"), release_of("1.1.0", b"second"));
        store.release_save(&first, b"first").await.unwrap();
        store.release_save(&second, b"second").await.unwrap();
        let broken = first.digest.to_string();
        write(url, &format!("UPDATE releases SET manifest = '{{}}' WHERE digest = '{broken}'")).await;
        let listed: Vec<_> = store.releases_list().await.unwrap().into_iter().map(|release| release.digest).collect();
        assert_eq!(listed, [second.digest]);
        assert_eq!(left_out(&store), named(&[["releases", &broken, "manifest"]]));
        store.release_get(first.digest).await.unwrap_err();
        // Installing the same file again brings it back.
        store.release_save(&first, b"first").await.unwrap();
        assert_eq!(store.releases_list().await.unwrap().len(), 2);
        assert_eq!(left_out(&store), [[""; 3]; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_grant_that_can_not_be_read_keeps_no_other_from_being_narrowed_and_nothing_itself() {
    each_database(async |store, url| {
        let releases = ["1.0.0", "1.1.0", "1.2.0"].map(|version| release_of(version, version.as_bytes()));
        let granted = Grant { imports: vec!["what is taken back".to_owned()], ..releases[0].grant.clone() };
        for release in &releases {
            let component = release.manifest.connector.version.to_string();
            store.release_save(release, component.as_bytes()).await.unwrap();
            store.release_grant(release.digest, &granted).await.unwrap();
        }
        let [first, second, third] = releases.map(|release| release.digest);
        write(url, &format!("UPDATE releases SET manifest = '{{}}' WHERE digest = '{first}'")).await;
        write(url, &format!("UPDATE releases SET granted = '{{\"odd\": 1}}' WHERE digest = '{second}'")).await;
        let narrow =
            |grant: &Grant| (!grant.imports.is_empty()).then(|| Grant { imports: Vec::new(), ..grant.clone() });
        let narrowed = store.grants_narrow("demo", narrow).await.unwrap();
        assert_eq!(narrowed, NarrowedGrants { changed: 3, emptied: vec![second.to_string()] });
        for release in [second, third] {
            let found = store.release_get(release).await.unwrap().unwrap();
            assert_eq!(found.grant.imports, [""; 0], "{release}");
        }
        assert_eq!(store.grants_narrow("demo", narrow).await.unwrap(), NarrowedGrants::default());
    })
    .await;
}

#[tokio::test]
async fn webhooks_and_credentials_are_listed_without_those_that_can_not_be_read() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        for (n, name) in [(1, "first"), (2, "second")] {
            store.webhook_add(&all, &webhook(n, name), vec![1], false).await.unwrap();
        }
        write(url, "UPDATE webhooks SET events = '{}' WHERE name = 'first'").await;
        let listed = store.webhooks_list(&all).await.unwrap();
        assert_eq!(listed.iter().map(|(webhook, _)| webhook.name.as_str()).collect::<Vec<_>>(), ["second"]);
        assert_eq!(left_out(&store), named(&[["webhooks", "first", "events"]]));
        store.webhook_remove(&all, "first").await.unwrap();
        assert_eq!(store.webhooks_list(&all).await.unwrap().len(), 1);
        assert_eq!(left_out(&store), [[""; 3]; 0]);

        store.credential_save(&all, &credential(1), now()).await.unwrap();
        let other = SealedCredential { slot: "other".to_owned(), ..credential(2) };
        store.credential_save(&all, &other, now()).await.unwrap();
        let broken = credential(1).id;
        write(url, &format!("UPDATE credentials SET platform = 'No Name' WHERE id = '{broken}'")).await;
        let listed = store.credentials_list(&all, &CredentialFilter::default()).await.unwrap();
        assert_eq!(listed.iter().map(|found| found.id).collect::<Vec<_>>(), [other.id]);
        assert_eq!(left_out(&store), named(&[["credentials", &broken.to_string(), "platform"]]));
    })
    .await;
}

#[tokio::test]
async fn a_page_goes_on_after_rows_that_can_not_be_read() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 4).await;
        for (n, account) in (1..).zip(&accounts) {
            let new = SealedCredential {
                account_id: Some(account.id),
                kind: "refresh-token".to_owned(),
                refresh_at: Some(now()),
                ..credential(n)
            };
            store.credential_save(&all, &new, now()).await.unwrap();
        }
        let [first, second] = [1, 2].map(|n| credential(n).id);
        write(url, &format!("UPDATE credentials SET updated_at = 'then' WHERE id IN ('{first}', '{second}')")).await;
        let slots = [(demo(), "token".to_owned())];
        let due = store.due_credentials_list(&all, &slots, now(), None, 2).await.unwrap();
        assert_eq!(due.iter().map(|found| found.id).collect::<Vec<_>>(), [3, 4].map(|n| credential(n).id));

        store.webhook_add(&all, &webhook(1, "crm"), vec![1], true).await.unwrap();
        let events = [1, 2, 3].map(|n| event(n, None));
        store.events_write(&all, &events).await.unwrap();
        let heads = store.event_heads_list(&all, EventCursor::default(), 10).await.unwrap();
        let line = |n: usize| NewDelivery { event: heads[n].cursor, line: format!("line-{n}") };
        let until = heads[2].cursor;
        let deliveries = [line(0), line(1), line(2)];
        let seen = EventCursor::default();
        store.deliveries_fan_out(&all, webhook(1, "").id, seen, until, &deliveries, now()).await.unwrap();
        write(url, &format!("UPDATE events SET occurred_at = 'then' WHERE id = '{}'", events[0].id)).await;
        let read = store.events_list(&all, EventCursor::default(), 1).await.unwrap();
        assert_eq!(read[0].1.id, events[1].id, "the page is as long as it should be");
        let read = store.settled_events_list(&all, EventCursor::default(), until, 1).await.unwrap();
        assert_eq!(read[0].1.id, events[1].id, "the stream goes on after it");
        let read = store.events_before_list(&all, None, 3).await.unwrap();
        assert_eq!(read.iter().map(|(_, event)| event.id).collect::<Vec<_>>(), [events[2].id, events[1].id]);

        let lease = store.deliveries_lease(&all, webhook(1, "").id, "host", now(), Duration::from_secs(60), 10).await;
        let leased: Vec<_> = lease.unwrap().iter().map(|lease| lease.event.id).collect();
        assert_eq!(leased, [events[1].id, events[2].id]);
        write(url, &format!("UPDATE events SET occurred_at = '2026-11-22T12:00:00Z' WHERE id = '{}'", events[0].id))
            .await;
        let filter = DeliveryFilter { event: Some(events[0].id), ..DeliveryFilter::default() };
        let parked = store.deliveries_list(&all, &filter).await.unwrap().remove(0);
        assert_eq!(parked.state.as_str(), "parked");
        assert_eq!(parked.problem.as_deref(), Some("the event can't be read"));
    })
    .await;
}

/// A time that the database takes, and that stands before all others: no host reads it as one.
fn before_all(store: &Store) -> &'static str {
    match store.kind() {
        DatabaseKind::Postgres => "-infinity",
        DatabaseKind::Sqlite => "0",
    }
}

#[tokio::test]
async fn an_event_whose_time_can_not_be_read_hides_no_backlog() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let ai = Webhook { kind: WebhookKind::Ai, ..webhook(2, "analysis") };
        for webhook in [&webhook(1, "crm"), &ai] {
            store.webhook_add(&all, webhook, vec![1], true).await.unwrap();
        }
        let events = [(1, 3), (2, 2), (3, 1)].map(|(n, ago)| Event { occurred_at: hours_ago(ago), ..event(n, None) });
        store.events_write(&all, &events).await.unwrap();
        let heads = store.event_heads_list(&all, EventCursor::default(), 10).await.unwrap();
        let (seen, until) = (EventCursor::default(), heads[2].cursor);
        let line = |n: usize| NewDelivery { event: heads[n].cursor, line: format!("line-{n}") };
        for (id, lines) in [(webhook(1, "").id, [0, 1, 2].map(line).to_vec()), (ai.id, vec![line(0)])] {
            store.deliveries_fan_out(&all, id, seen, until, &lines, now()).await.unwrap();
        }
        let backlog = async || {
            let backlog = store.delivery_backlog_list(&all).await.unwrap();
            backlog.into_iter().map(|some| (some.kind, some.waiting, some.oldest)).collect::<Vec<_>>()
        };
        let oldest = Some(hours_ago(3));
        assert_eq!(backlog().await, [(WebhookKind::Webhook, 3, oldest), (WebhookKind::Ai, 1, oldest)]);

        let odd = before_all(&store);
        write(url, &format!("UPDATE events SET occurred_at = '{odd}' WHERE id = '{}'", events[0].id)).await;
        assert_eq!(
            backlog().await,
            [(WebhookKind::Webhook, 3, Some(hours_ago(2))), (WebhookKind::Ai, 1, None)],
            "it waits all the same, and the next one says how long"
        );
        assert_eq!(left_out(&store), named(&[["events", &heads[0].cursor.to_string(), "occurred_at"]]));

        write(url, "UPDATE webhooks SET kind = 'later' WHERE name = 'crm'").await;
        assert_eq!(backlog().await, [(WebhookKind::Ai, 1, None)], "nothing is sent to it");
        assert!(left_out(&store).contains(&["webhooks", "crm", "kind"].map(str::to_owned)), "{:?}", left_out(&store));
    })
    .await;
}

fn hours_ago(hours: i64) -> DateTime<Utc> {
    now() - TimeDelta::hours(hours)
}

#[tokio::test]
async fn a_time_that_can_not_be_read_spoils_no_figure_of_other_rows() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 2).await;
        let batches = [1, 2].map(|n| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22")));
        add_batches(&store, &batches, now()).await;
        let odd = before_all(&store);
        let of = format!("id = '{}'", batches[0].id);
        spoil(url, "batches", "available_at", &format!("'{odd}'"), &of).await;
        let open = store.run_open_batches_list(&all, run(1).id).await.unwrap();
        let open: Vec<_> = open.iter().map(|open| (open.batches, open.available_at)).collect();
        assert_eq!(open, [(2, now())], "the run waits for both, and the other one is due");

        // Within the minute of the other: PostgreSQL takes no such text.
        let began = if store.kind() == DatabaseKind::Sqlite { "11:00:00 o''clock" } else { "11:00:00.000000Z" };
        write(url, "UPDATE batches SET began_at = '2026-11-22T11:00:00.500000Z'").await;
        spoil(url, "batches", "began_at", &format!("'2026-11-22T{began}'"), &of).await;
        let window = HealthWindow { since: now() - TimeDelta::days(1), now: now(), overdue_before: now() };
        let figures = store.health_figures_get(&all, &window).await.unwrap();
        assert_eq!(figures.work.len(), 1, "that a batch was at work is known: {:?}", figures.work);
    })
    .await;
}

#[tokio::test]
async fn text_that_is_no_json_costs_its_own_row() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let all = Scope::all_tenants();
        let accounts = people(&store, 2).await;
        let events = [Event { kind: types::METRIC_LOST.to_owned(), ..event(1, None) }, event(2, None)];
        store.events_write(&all, &events).await.unwrap();
        write(url, &format!("UPDATE events SET data = '{{' WHERE id = '{}'", events[0].id)).await;
        let heads = store.event_heads_list(&all, EventCursor::default(), 10).await.unwrap();
        assert_eq!(heads.len(), 1, "webhooks get the other one");

        let batches = [1, 2].map(|n| batch(n, &run(1), &[&accounts[n as usize - 1]], day("2026-11-22")));
        add_batches(&store, &batches, now()).await;
        let used = r#"{"requests":3,"units":{"day":4}}"#;
        write(url, &format!("UPDATE batches SET began_at = '2026-11-22T11:00:00.000000Z', usage = '{used}'")).await;
        write(url, &format!("UPDATE batches SET usage = '{{' WHERE id = '{}'", batches[0].id)).await;
        let window = HealthWindow { since: now() - TimeDelta::days(1), now: now(), overdue_before: now() };
        let figures = store.health_figures_get(&all, &window).await.unwrap();
        let of_demo = &figures.platforms[&demo()];
        assert_eq!((of_demo.requests, of_demo.units.get("day")), (3, Some(&4)));

        assert!(store.artist_erase(&all, artist(1).id, now()).await.unwrap().is_some(), "it is erased all the same");
    })
    .await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_costs_its_own_row() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its encoding keeps such texts out
        }
        let all = Scope::all_tenants();
        people(&store, 3).await;
        let [first, second, third] = [1, 2, 3].map(|n| artist(n).id);
        spoil(url, "artists", "name", LATIN_1, &format!("id = '{first}'")).await;
        spoil(url, "artists", "timezone", LATIN_1, &format!("id = '{second}'")).await;
        // Consents are added only.
        let withdrawn = format!(
            "INSERT INTO consents (artist_id, platform, granted, scope, source, recorded_at)
             VALUES ('{first}', '{}', 0, 'metrics', {LATIN_1}, '2026-11-22T12:00:00.000000Z')",
            demo()
        );
        write(url, &withdrawn).await;

        let listed = store.artists_list(&all, &ArtistFilter::default()).await.unwrap();
        let names: Vec<_> = listed.iter().map(|artist| artist.name.as_str()).collect();
        assert_eq!(names, ["J\u{fffd}rgen", "Artist 3"], "a name is only shown");
        let found = store.unreadable_artists_list(&all).await.unwrap();
        assert_eq!(
            found.iter().map(|found| (found.id, found.column.as_str())).collect::<Vec<_>>(),
            [(second, "timezone")]
        );
        assert!(found[0].problem.contains("not UTF-8"), "{found:?}");
        let read = store.artist_get(&all, second).await;
        assert!(matches!(read, Err(StoreError::Unreadable { .. })), "one row that is read alone: {read:?}");

        let candidates = store.candidates_list(&all, &demo(), None, None, 100, now()).await.unwrap();
        let odd: Vec<_> = candidates.iter().map(|found| (found.artist_id, found.unreadable.is_some())).collect();
        assert_eq!(odd, [(first, false), (second, true), (third, false)], "the others are planned");

        let known = store.known_artists_of(&all, &[first, second, third]).await.unwrap();
        assert_eq!(known.len(), 3, "a sync takes none for new");
        let consents: Vec<_> = known[&first].consents.iter().map(|consent| consent.granted).collect();
        assert_eq!(consents, [false], "and grants nothing that was withdrawn");

        let other = SealedCredential { slot: "other".to_owned(), ..credential(2) };
        for new in [&credential(1), &other] {
            store.credential_save(&all, new, now()).await.unwrap();
        }
        spoil(url, "credentials", "status", LATIN_1, &format!("id = '{}'", credential(1).id)).await;
        let listed = store.credentials_list(&all, &CredentialFilter::default()).await.unwrap();
        assert_eq!(listed.iter().map(|found| found.id).collect::<Vec<_>>(), [other.id]);
        assert_eq!(listed[0].sealed, other.sealed, "bytes are what they were");
        assert_eq!(left_out(&store), named(&[["credentials", &credential(1).id.to_string(), "status"]]));
    })
    .await;
}

#[tokio::test]
async fn an_artist_whose_name_is_not_utf_8_is_exported() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its encoding keeps such texts out
        }
        people(&store, 1).await;
        spoil(url, "artists", "name", LATIN_1, "TRUE").await;
        let (table, rows) = personal().find(|(table, _)| table.name == "artists").unwrap();
        let mut export = store.export_begin(&Scope::all_tenants(), artist(1).id).await.unwrap();
        let exported: Vec<_> = export.rows(table, &rows).try_collect().await.unwrap();
        assert_eq!(exported.len(), 1);
        assert_eq!(exported[0]["name"], "J\u{fffd}rgen");
        assert_eq!(exported[0]["timezone"], "Europe/Berlin");
    })
    .await;
}

#[tokio::test]
async fn a_document_whose_id_is_not_utf_8_keeps_no_export_from_its_end() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such ids out
        }
        let accounts = people(&store, 1).await;
        store_rows(&store, vec![followers(&accounts[0], day("2026-11-20"), 5)]).await;
        spoil(url, "documents", "id", &latin_1_after("J"), "TRUE").await;
        let mut export = store.export_begin(&Scope::all_tenants(), artist(1).id).await.unwrap();
        let found: Vec<_> = export.documents().try_collect().await.unwrap();
        assert_eq!(found, [("J\u{fffd}".to_owned(), None)], "it is named, and has no file");
    })
    .await;
}

#[tokio::test]
async fn a_tally_of_a_newer_version_hides_no_other() {
    each_database(async |store, url| {
        for tally in [r#"{"accounts":2,"collected":2}"#, r#"{"accounts":1,"failed":{"of_tomorrow":1}}"#] {
            let sql = format!(
                "INSERT INTO release_batches (release_digest, platform, run_id, canary, at, tally)
                 VALUES ('{}', 'demo', '{}', FALSE, '2026-11-22T12:00:00.000000Z', '{tally}')",
                release().digest,
                run(1).id
            );
            write(url, &sql).await;
        }
        let sum = store.release_tally_get(release().digest, at("2026-11-22T00:00:00Z"), None).await.unwrap();
        assert_eq!((sum.accounts, sum.collected), (2, 2));
        assert_eq!(left_out(&store), named(&[["release_batches", "2", "tally"]]));
    })
    .await;
}

#[tokio::test]
async fn a_row_without_a_date_keeps_no_other_from_being_deleted() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let accounts = people(&store, 4).await;
        store_rows(&store, accounts.iter().map(|account| followers(account, day("2026-11-20"), 5)).collect()).await;
        for (account, date) in accounts.iter().zip(["2026-2-3", "2026-02-30", "2026-11-20", "then"]) {
            write(url, &format!("UPDATE documents SET metric_date = '{date}' WHERE account_id = '{}'", account.id))
                .await;
        }
        let step = RetentionStep {
            table: RetainedTable::Documents,
            before: Before::Time(now() + TimeDelta::hours(1)),
            ..step()
        };
        let (mut from, mut rows, mut turns) = (ArchivePlace::default(), 0, 0);
        loop {
            let taken = store
                .archive_due_put_away(&Scope::all_tenants(), &step, &[], &from, 10, past(now() + TimeDelta::days(1)))
                .await
                .unwrap();
            (rows, turns) = (rows + taken.rows, turns + 1);
            assert!(turns < 10, "it ends");
            let Some(next) = taken.next else { break };
            from = next;
        }
        assert_eq!(rows, 1, "the one that has a date");
    })
    .await;
}

#[tokio::test]
async fn an_artist_without_a_readable_id_is_named_and_keeps_no_list_from_being_read() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such values out
        }
        let all = Scope::all_tenants();
        people(&store, 1).await;
        let columns = "name, tenant, subscription_status, data_collection_enabled, timezone, created_at, updated_at";
        let add = |id: &str| {
            format!(
                "INSERT INTO artists (id, origin, {columns}) SELECT '{id}', 'sync', {columns} FROM artists
                 WHERE id = '{}'",
                artist(1).id
            )
        };
        write_unchecked(url, &add("no-uuid")).await;
        let odd = format!("UPDATE artists SET origin = 'sync', timezone = 'x' WHERE id = '{}'", artist(1).id);
        write_unchecked(url, &odd).await;
        let found = store.unreadable_artists_list(&all).await.unwrap();
        assert_eq!(
            found.iter().map(|found| (found.id, found.column.as_str())).collect::<Vec<_>>(),
            [(artist(1).id, "timezone")]
        );
        assert_eq!(left_out(&store), named(&[["artists", "no-uuid", "id"]]));
        write(url, &format!("UPDATE artists SET timezone = 'UTC' WHERE id = '{}'", artist(1).id)).await;
        write(url, "DELETE FROM artists WHERE id = 'no-uuid'").await;
        // The first comes before every id that can be read.
        for id in ["-", "77777777", "7777777g-7777-4777-8777-777777777777", "777-7777-7777-4777-8777-777777777777"] {
            write_unchecked(url, &add(id)).await;
            assert_eq!(store.unreadable_artists_list(&all).await.unwrap(), [], "its id is all that can't be read");
            assert!(left_out(&store).contains(&["artists", id, "id"].map(str::to_owned)), "{id}");
            assert_eq!(store.synced_artists_list(&all).await.unwrap(), [artist(1).id], "a sync goes on");
            write(url, &format!("DELETE FROM artists WHERE id = '{id}'")).await;
        }
        // One that is not UTF-8 is the last of a full page.
        write_unchecked(url, &add("-").replace("'-'", &latin_1_after("-"))).await;
        let filter = ArtistFilter { limit: Some(1), ..ArtistFilter::default() };
        let listed = store.artists_list(&all, &filter).await.unwrap();
        assert_eq!(listed.iter().map(|found| found.id).collect::<Vec<_>>(), [artist(1).id]);
        assert_eq!(store.unreadable_artists_list(&all).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_number_that_is_none_costs_its_own_row() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 2).await;
        store_rows(&store, accounts.iter().map(|account| followers(account, day("2026-11-20"), 5)).collect()).await;
        let odd = match store.kind() {
            DatabaseKind::Postgres => ["'NaN'", "1e400", "-1e400"],
            DatabaseKind::Sqlite => ["9e999", "-9e999", "1e301"],
        };
        for (column, number) in ["popularity", "engagement_rate", "data_quality_score"].into_iter().zip(odd) {
            let of_first = format!("WHERE account_id = '{}'", accounts[0].id);
            write(url, &format!("UPDATE metrics SET {column} = {number} {of_first}")).await;
            let read = store.metrics_list(&all, &MetricsFilter::default()).await.unwrap();
            assert_eq!(read.iter().map(|row| row.account_id).collect::<Vec<_>>(), [accounts[1].id], "{number}");
            assert_eq!(left_out(&store), named(&[["metrics", &accounts[0].id.to_string(), column]]));
            write(url, &format!("UPDATE metrics SET {column} = 0.5 {of_first}")).await;
        }
        assert_eq!(store.metrics_list(&all, &MetricsFilter::default()).await.unwrap().len(), 2, "it is corrected");
    })
    .await;
}

#[tokio::test]
async fn bulk_acts_are_listed_without_those_of_a_later_version() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        for n in 1..=2 {
            store.bulk_act_add(&all, &bulk_act(n, Tenant::default())).await.unwrap();
        }
        let (odd, other) = (bulk_act(1, Tenant::default()).id, bulk_act(2, Tenant::default()).id);
        write(url, &format!("UPDATE bulk_acts SET action = 'of a later version' WHERE id = '{odd}'")).await;
        for limit in [None, Some(1)] {
            let listed =
                store.bulk_acts_list(&all, &BulkActFilter { limit, ..BulkActFilter::default() }).await.unwrap();
            assert_eq!(listed.iter().map(|act| act.id).collect::<Vec<_>>(), [other]);
        }
        let open = store.open_bulk_acts_list(&all).await.unwrap();
        assert_eq!(open.iter().map(|(act, _)| act.id).collect::<Vec<_>>(), [other], "the others are worked on");
        assert_eq!(left_out(&store), named(&[["bulk_acts", &odd.to_string(), "action"]]));
        assert!(store.bulk_act_cancel(&all, odd, now()).await.unwrap(), "it can be ended");
    })
    .await;
}

#[tokio::test]
async fn digests_are_listed_without_those_that_can_not_be_read() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let (id, name) = (ChannelId(Uuid::from_u128(1)), "people".to_owned());
        let channel = AlertChannel { id, name, target: ChannelTarget::Slack, created_at: now() };
        store.alert_channel_add(&all, &channel, vec![1]).await.unwrap();
        for (n, name) in [(1, "first"), (2, "second")] {
            let digest = weekly_digest(Uuid::from_u128(n), name, &channel.name);
            store.alert_digest_add(&all, &digest).await.unwrap();
        }
        write(url, "UPDATE alert_digests SET timezone = 'Mars/Phobos' WHERE name = 'first'").await;
        let listed = store.alert_digests_list(&all).await.unwrap();
        assert_eq!(listed.iter().map(|digest| digest.name.as_str()).collect::<Vec<_>>(), ["second"]);
        assert_eq!(left_out(&store), named(&[["alert_digests", "first", "timezone"]]));
        store.alert_digest_remove(&all, "first").await.unwrap();
        assert_eq!(store.alert_digests_list(&all).await.unwrap().len(), 1);
        assert_eq!(left_out(&store), [[""; 3]; 0]);
    })
    .await;
}
