//! Tests of the removal of one account: what goes with it, what stays, and what was planned or under way.

use std::collections::BTreeMap;

use backline_model::audit::ActOutcome;
use backline_model::event::types;
use backline_model::pace::Pace;
use backline_model::privacy::personal;
use backline_model::{Account, AccountStatus, BatchState, Event, Holder, Provenance};
use backline_rules::delivery;
use backline_simulator::SimulatorConfig;
use backline_store::{
    AccountFilter, AuditFilter, BatchFilter, BatchResult, BudgetKey, DatabaseKind, EventCursor, MetricsFilter,
    NewDelivery, Pause, Scope,
};
use chrono::TimeDelta;
use serde_json::{Value as Json, json};

use super::rows::{all_rows, execute, raw};
use super::schemas::{check, schemas};
use crate::store::fixtures::{
    TTL, account, add_batches, artist, batch, day, demo, event, followers, lease, now, people, run, stored, webhook,
};
use crate::store::scope::{credential, fill};
use crate::support::database::{each_database, refuse, spoil};
use crate::support::fleet::Fleet;
use crate::support::stage::{Stage, platform};

/// An event of artist 2 about account `of`.
fn event_of(n: u128, of: u128) -> Event {
    Event {
        kind: types::RECONNECT_NEEDED.to_owned(),
        artist_id: Some(artist(2).id),
        data: json!({ "account_id": account(of).id, "artist_id": artist(2).id, "platform": demo() }),
        ..event(n, None)
    }
}

#[tokio::test]
async fn an_account_goes_from_every_table_and_all_others_stay() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        fill(&store).await;
        let (gone, secret) = (account(2).id, credential(2).id);
        // What the rows of two tenants lack: events that name an account, and what hangs on its credential.
        store.events_write(&all, &[event_of(0x31, 2), event_of(0x32, 3)]).await.unwrap();
        let heads = store.event_heads_list(&all, EventCursor::default(), 100).await.unwrap();
        let deliveries: Vec<_> =
            heads.iter().map(|head| NewDelivery { event: head.cursor, line: head.cursor.to_string() }).collect();
        let (hook, last) = (webhook(3, "hook-all").id, heads.last().expect("events").cursor);
        store.deliveries_fan_out(&all, hook, EventCursor::default(), last, &deliveries, now()).await.unwrap();
        let (holder, later) = (Holder::Credential(secret), now() + TTL);
        let key = BudgetKey { holder: holder.clone(), budget: "calls".to_owned() };
        store.budget_take(&key, now(), later, 100, 1, now()).await.unwrap();
        store.pace_take(&key, &Pace::of(50, 5, 1).ask(1, 0, 60_000_000)).await.unwrap();
        let pause = Pause { began_at: now(), until: later, interval_us: None, paced_until: None };
        let believed = now() - TimeDelta::days(1)..=now() + TimeDelta::days(1);
        store.pause_begin(&holder, &demo(), &pause, believed).await.unwrap();
        let pool = raw(&store, url).await;
        if store.kind() == DatabaseKind::Postgres {
            execute(&pool, "SELECT backline.ensure_month('metrics_archive'::regclass, '2026-11-22')").await;
        }
        for statement in [
            "INSERT INTO metrics_archive SELECT * FROM metrics".to_owned(),
            "INSERT INTO api_answers (token_id, idempotency_key, asked, request_id, artist_id, answer, created_at)
             SELECT id, 'a key', '{hash}', id, artist_id, 'about ' || CAST(id AS TEXT), created_at FROM accounts"
                .replace("{hash}", &"0".repeat(64)),
            format!(
                "UPDATE events SET row_account = '{gone}', row_date = '2026-11-22' WHERE id = '{}'",
                event(5, None).id
            ),
        ] {
            execute(&pool, &statement).await;
        }
        let before = all_rows(&store, &pool).await;

        let counted = store.account_rows_count(&all, gone).await.unwrap().expect("the account");
        let removed = store.account_remove(&all, gone, now()).await.unwrap().expect("the account");
        assert_eq!((removed.artist, &removed.platform, removed.origin), (artist(2).id, &demo(), Provenance::Sync));
        assert_eq!(removed.rows, counted, "as many as were counted");
        assert_eq!(removed.credentials, [secret]);

        let after = all_rows(&store, &pool).await;
        pool.close().await;
        let ids = [gone.to_string(), secret.to_string()];
        let names_it = |row: &Json| {
            let text = row.to_string();
            ids.iter().any(|id| text.contains(id))
        };
        let of_events: Vec<Json> =
            before["events"].iter().filter(|row| names_it(row)).map(|row| row["seq"].clone()).collect();
        assert_eq!(of_events.len(), 2, "by their data, and by their row: {of_events:?}");
        for (table, _) in personal() {
            let name = table.name;
            let is_own = |row: &&Json| names_it(row) || of_events.contains(&row["event_seq"]);
            let (own, others): (Vec<&Json>, Vec<&Json>) = before[name].iter().partition(is_own);
            let rows = removed.rows.get(name).copied();
            assert_eq!(rows.unwrap_or_default(), own.len() as u64, "the rows of {name}: {own:?}");
            assert!(rows != Some(0) || name == "alert_events", "{name} held nothing to remove");
            let left = after[name].iter().filter(|row| row["type"] != types::ACCOUNT_REMOVED);
            assert_eq!(left.collect::<Vec<_>>(), others, "what stays in {name}");
        }

        // The batches of that account alone are over; another one and a dead one are as they were.
        let ids = [0x20, 0x22, 0x23, 0x21].map(|n| batch(n, &run(2), &[], day("2026-11-25")).id);
        let theirs = BatchFilter { ids: ids.to_vec(), ..BatchFilter::default() };
        let batches = store.batches_list(&all, &theirs).await.unwrap();
        let states: BTreeMap<_, _> = batches.into_iter().map(|batch| (batch.id, batch.state)).collect();
        let expected = [BatchState::Done, BatchState::Done, BatchState::Planned, BatchState::Dead];
        assert_eq!(ids.map(|id| states[&id]), expected);

        let events = store.events_list(&all, last, 10).await.unwrap();
        let [(_, told)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((told.kind.as_str(), told.artist_id), (types::ACCOUNT_REMOVED, Some(artist(2).id)));
        assert_eq!((&told.data["account_id"], &told.data["rows"]), (&json!(gone), &json!(removed.rows)));
        check(&schemas(), &delivery::message(told));

        // Nothing keeps it out, and nothing comes back.
        assert_eq!(store.account_remove(&all, gone, now()).await.unwrap(), None);
        assert_eq!(store.accounts_save(&all, &[account(2)], now()).await.unwrap().inserted, 1);
        let again = store.account_rows_count(&all, gone).await.unwrap().expect("it was added again");
        assert_eq!((again["accounts"], again["metrics"], again["documents"]), (1, 0, 0), "{again:?}");
    })
    .await;
}

#[tokio::test]
async fn a_batch_completed_after_a_removal_brings_nothing_back_and_a_plan_leaves_the_account_out() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let accounts = people(&store, 2).await;
        let whole: Vec<&Account> = accounts.iter().collect();
        add_batches(&store, &[batch(1, &run(1), &whole, day("2026-11-22"))], now()).await;
        let under_way = lease(&store).await;
        let (gone, other) = (accounts[0].id, accounts[1].id);
        store.account_remove(&all, gone, now()).await.unwrap().expect("the account");
        let results = accounts.iter().map(|one| stored(followers(one, day("2026-11-22"), 5))).collect();
        let done = BatchResult { accounts: results, ..BatchResult::default() };
        let completed = store.batch_complete(&under_way, done, now()).await.unwrap();
        assert_eq!((completed.counts.collected, completed.open), (1, 0));
        assert_eq!(store.account_get(&all, gone).await.unwrap(), None);
        let metrics = store.metrics_list(&all, &MetricsFilter::default()).await.unwrap();
        assert_eq!(metrics.iter().map(|row| row.account_id).collect::<Vec<_>>(), [other]);

        // Of accounts that were read before.
        let planned = batch(2, &run(1), &whole, day("2026-11-23"));
        add_batches(&store, std::slice::from_ref(&planned), now()).await;
        let left = store.batch_accounts_list(&all, planned.id).await.unwrap();
        assert_eq!(left.iter().map(|one| one.account_id).collect::<Vec<_>>(), [other]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_account_of_a_removal_is_on_record_as_it_ended() {
    each_database(async |store, url| {
        let simulated = SimulatorConfig { artists: 3, date: day("2026-11-18"), ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulated, |_| {}).await;
        let all = Scope::all_tenants();
        let filter = AccountFilter { platform: Some(platform("tiktok")), ..AccountFilter::default() };
        let accounts = store.accounts_list(&all, &filter).await.unwrap();
        let ids: Vec<String> = accounts.iter().map(|account| account.id.to_string()).collect();
        let [one, kept, other] = &ids[..] else { panic!("{ids:?}") };
        refuse(url, "accounts", "DELETE", &format!("OLD.id = '{kept}'")).await;

        let line = ["accounts", "remove", one, kept, other, "--reason", "a slip", "--yes"];
        let output = Fleet::of(&stage, |_| {}).command(&line).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(&format!("account {kept} was not removed: ")), "{said}");
        let left = store.accounts_list(&all, &filter).await.unwrap();
        assert_eq!(left.iter().map(|account| account.id).collect::<Vec<_>>(), [accounts[1].id]);

        let filter = AuditFilter { action: Some("accounts remove".to_owned()), ..AuditFilter::default() };
        let log = store.audit_list(&all, &filter).await.unwrap();
        let outcomes: BTreeMap<_, _> = log.iter().map(|entry| (entry.act.artist_id, entry.act.outcome)).collect();
        let of = |n: usize, outcome| (Some(accounts[n].artist_id), outcome);
        let expected = [of(0, ActOutcome::Done), of(1, ActOutcome::Failed), of(2, ActOutcome::Done)];
        assert_eq!((log.len(), outcomes), (3, BTreeMap::from(expected)), "{log:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_an_account_that_can_t_be_read_and_their_entries_name_its_artist() {
    each_database(async |store, url| {
        let simulated = SimulatorConfig { artists: 1, date: day("2026-11-18"), ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulated, |_| {}).await;
        let (all, fleet) = (Scope::all_tenants(), Fleet::of(&stage, |_| {}));
        let filter = AccountFilter { platform: Some(platform("tiktok")), ..AccountFilter::default() };
        let accounts = store.accounts_list(&all, &filter).await.unwrap();
        let [account] = &accounts[..] else { panic!("{accounts:?}") };
        let (id, of) = (account.id.to_string(), format!("id = '{}'", account.id));

        let lines: [(&str, &[&str]); 3] = [
            ("accounts set", &["accounts", "set", &id, "--status", "disabled"]),
            ("credentials remove", &["credentials", "remove", "tiktok", "user", "--account", &id]),
            ("accounts remove", &["accounts", "remove", &id, "--platform", "tiktok", "--reason", "a slip", "--yes"]),
        ];
        for (action, line) in lines {
            spoil(url, "accounts", "status", "'odd'", &of).await;
            let output = fleet.command(line).output().expect("the binary starts");
            assert_eq!(output.status.code(), Some(0), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
            if action == "accounts set" {
                let changed = store.account_get(&all, account.id).await.unwrap().expect("it is there");
                assert_eq!(changed.status, AccountStatus::Disabled);
            }
            let filter = AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() };
            let log = store.audit_list(&all, &filter).await.unwrap();
            let [entry] = &log[..] else { panic!("{log:?}") };
            assert_eq!(entry.act.artist_id, Some(account.artist_id), "{entry:?}");
        }
        assert_eq!(store.account_get(&all, account.id).await.unwrap(), None);
    })
    .await;
}
