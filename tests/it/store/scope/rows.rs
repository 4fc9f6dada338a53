//! Rows of two tenants: of every kind that belongs to a tenant, some of each.

use std::collections::BTreeMap;

use backline_model::audit::{Act, ActOutcome, Actor};
use backline_model::bulk::{BulkAct, BulkAction, BulkFilter, BulkState};
use backline_model::metric::names;
use backline_model::retention::{self, Action, Before, RetainedTable, RetentionStep};
use backline_model::row::QuarantineStatus;
use backline_model::{
    Account, AccountStatus, AlertChannel, AlertDigest, ApiToken, Artist, Batch, ChannelId, ChannelTarget, Consent,
    CredentialId, DeliveryState, Digest, DocumentId, Event, FailureClass, GrowthRow, Outcome, Provenance, Quarantined,
    Role, SwapCause, Tenant, TokenId, Value, Webhook,
};
use backline_store::{
    ArchivePlace, BatchResult, EventCursor, Finish, NewDelivery, PluginLog, Scope, SealedCredential, Store,
};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::store::fixtures::{
    self, TTL, account, add_batches, artist, batch, create_run, day, defer, demo, event, followers, lease, now, past,
    release, result, run, stored, weekly_digest,
};

pub fn ours() -> Tenant {
    Tenant::new("ours").unwrap()
}

pub fn theirs() -> Tenant {
    Tenant::new("theirs").unwrap()
}

pub fn all() -> Scope {
    Scope::all_tenants()
}

/// Artist 1 is ours with account 1; artist 2 is theirs with accounts 2 and 3.
pub fn owned(n: u128) -> Artist {
    match n {
        1 => Artist { tenant: ours(), ..artist(1) },
        _ => Artist { tenant: theirs(), timezone: "Asia/Tokyo".parse().unwrap(), ..artist(2) },
    }
}

pub fn accounts() -> [Account; 3] {
    [account(1), account(2), Account { artist_id: artist(2).id, ..account(3) }]
}

pub fn consent(n: u128, granted: bool) -> Consent {
    Consent {
        artist_id: artist(n).id,
        platform: demo(),
        granted,
        scope: "metrics".to_owned(),
        source: "test".to_owned(),
        recorded_at: now(),
    }
}

pub fn credential(n: u128) -> SealedCredential {
    SealedCredential {
        id: CredentialId(Uuid::from_u128(0xD000_0000 + n)),
        platform: demo(),
        slot: "token".to_owned(),
        account_id: Some(account(n).id),
        kind: "refresh-token".to_owned(),
        sealed: vec![1, 2, 3, 4],
        version: 0,
        expires_at: Some(now() + TimeDelta::days(5)),
        refresh_at: Some(now() - TimeDelta::hours(1)),
        status: "active".to_owned(),
        updated_at: now(),
    }
}

pub fn webhook(n: u128, name: &str, tenant: Option<Tenant>) -> Webhook {
    Webhook { tenant, ..fixtures::webhook(n, name) }
}

pub fn token(n: u128, tenant: Tenant) -> ApiToken {
    ApiToken {
        id: TokenId(Uuid::from_u128(0xC100_0000 + n)),
        name: format!("token-{tenant}"),
        role: Role::Viewer,
        tenant: Some(tenant),
        created_at: now(),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    }
}

pub fn act(tenant: Tenant) -> Act {
    Act {
        at: now(),
        actor: Actor::Command { name: "uid 0".to_owned(), origin: "here".to_owned() },
        action: "runs cancel".to_owned(),
        outcome: ActOutcome::Done,
        details: serde_json::json!({ "run": format!("of {tenant}") }),
        tenant: Some(tenant),
        artist_id: None,
        before: Some(serde_json::json!({ "run": "open" })),
        after: Some(serde_json::json!({ "run": "cancelled" })),
    }
}

/// A bulk act whose filter shows nothing.
pub fn bulk_act(n: u128, tenant: Tenant) -> BulkAct {
    BulkAct {
        id: Uuid::from_u128(0xC200_0000 + n),
        action: BulkAction::RunsCancel,
        filter: BulkFilter { trigger: Some("nothing".to_owned()), ..BulkFilter::default() },
        reason: format!("of {tenant}"),
        tenant: Some(tenant),
        state: BulkState::Running,
        total: 1,
        done: 0,
        skipped: 0,
        failed: 0,
        problem: None,
        created_at: now(),
        finished_at: None,
    }
}

pub fn about(n: u128, of: u128) -> Event {
    Event { artist_id: Some(artist(of).id), ..event(n, None) }
}

pub fn document(n: u128) -> DocumentId {
    DocumentId(Uuid::from_u128(0x7000_0000 + n))
}

pub fn held(n: u128) -> Uuid {
    Uuid::from_u128(0x9000_0000 + n)
}

/// A batch of account `of` for its tenant.
pub fn batch_of(n: u128, of: u128, in_run: u128, date: &str) -> Batch {
    let tenant = if of == 1 { ours() } else { theirs() };
    Batch { tenant, ..batch(n, &run(in_run), &[&accounts()[of as usize - 1]], day(date)) }
}

/// When their deferred batch can be taken up; ours can an hour later.
pub fn their_turn() -> DateTime<Utc> {
    now() + TimeDelta::hours(1)
}

/// What stands in their rows and in nobody else's.
pub fn marks() -> Vec<String> {
    let mut marks = vec!["theirs".to_owned(), "Artist 2".to_owned(), artist(2).id.to_string()];
    for account in &accounts()[1..] {
        marks.extend([account.id.to_string(), account.platform_id.clone()]);
    }
    let ids = [0xD000_0002, 0x8000_0002, 0x9000_0002, 0xE000_0002, 0xF000_0002, 0xB000_0020, 0xB000_0021, 0xB000_0022];
    marks.push(token(2, theirs()).id.to_string());
    marks.push(bulk_act(2, theirs()).id.to_string());
    marks.extend(ids.map(|id| Uuid::from_u128(id).to_string()));
    marks
}

pub fn alert_channel() -> AlertChannel {
    let (id, name) = (ChannelId(Uuid::from_u128(0x9000_0001)), "ops".to_owned());
    AlertChannel { id, name, target: ChannelTarget::Slack, created_at: now() }
}

pub fn alert_digest() -> AlertDigest {
    AlertDigest { tenant: theirs(), ..weekly_digest(Uuid::from_u128(0x9000_0004), "week", "ops") }
}

/// A step of the archive's plan, of rows that are far too old.
pub fn step() -> RetentionStep {
    RetentionStep {
        table: RetainedTable::Metrics,
        action: Action::Delete,
        scope: retention::RowFilter::default(),
        except: Vec::new(),
        unless_authorised: false,
        before: Before::Time(now() - TimeDelta::days(900)),
        everywhere_before: None,
        daily: false,
        rule: "test".to_owned(),
        rows: None,
    }
}

/// Rows of the same kinds for both tenants: of theirs one more each, so that counts differ.
pub async fn fill(store: &Store) {
    store.artists_save_from(&all(), Provenance::Sync, &[owned(1), owned(2)], now()).await.unwrap();
    // The first of all events was theirs, and is gone.
    let at = now() - TimeDelta::days(40);
    let old = Event { artist_id: Some(artist(2).id), occurred_at: at, ..event(0xF0, None) };
    store.events_write(&all(), &[old]).await.unwrap();
    let of_events =
        RetentionStep { table: RetainedTable::Events, before: Before::Time(now() - TimeDelta::days(30)), ..step() };
    let from = ArchivePlace::default();
    let gone = store.archive_due_put_away(&all(), &of_events, &[], &from, 10, past(now())).await.unwrap();
    assert_eq!(gone.rows, 1);
    store.release_save(&release(), b"component").await.unwrap();
    store.release_activate(release().digest, SwapCause::Activated, now()).await.unwrap();
    store.accounts_save_from(&all(), Provenance::Sync, &accounts(), now()).await.unwrap();
    store.consents_record(&all(), &[consent(1, true), consent(2, true)]).await.unwrap();
    for tenant in [theirs(), ours(), theirs()] {
        store.audit_add(&all(), &act(tenant)).await.unwrap();
    }
    for (n, tenant) in [(1, ours()), (2, theirs())] {
        store.credential_save(&all(), &credential(n), now()).await.unwrap();
        store.token_add(&all(), &token(n, tenant.clone()), Digest::of(b"secret")).await.unwrap();
        store.bulk_act_add(&all(), &bulk_act(n, tenant)).await.unwrap();
    }
    for n in 1..=4 {
        create_run(store, &run(n)).await;
    }
    for of in 1..=3 {
        let account = accounts()[of as usize - 1].clone();
        add_batches(store, &[batch_of(of, of, 1, "2026-11-22")], now()).await;
        let mut row = followers(&account, day("2026-11-22"), 100);
        row.document_id = document(of);
        let mut result = stored(row.clone());
        let inside = result.stored.as_mut().unwrap();
        inside.growth = vec![GrowthRow {
            account_id: account.id,
            artist_id: account.artist_id,
            platform: demo(),
            metric_date: row.metric_date,
            changes: BTreeMap::new(),
        }];
        inside.withheld = vec![Quarantined {
            id: held(of),
            account_id: account.id,
            artist_id: account.artist_id,
            platform: demo(),
            metric_date: row.metric_date,
            metric: names::LIKES.to_owned(),
            value: Value::Integer(-5),
            rule: "negative".to_owned(),
            release: release().digest,
            document_id: row.document_id,
            status: QuarantineStatus::Held,
            created_at: now(),
        }];
        result.status = Some(AccountStatus::ReconnectNeeded);
        let (call, level) = ("fetch".to_owned(), "info".to_owned());
        let whose = if of == 1 { "ours" } else { "theirs" };
        let logs = vec![PluginLog { call, level, message: format!("a line of {whose}") }];
        let done = BatchResult { accounts: vec![result], logs, ..BatchResult::default() };
        store.batch_complete(&lease(store).await, done, now()).await.unwrap();
    }
    // Run 2 is theirs alone, run 3 ours: a dead batch, a deferred one and one that waits for a worker.
    for (in_run, of, first, until) in [(2, 2, 0x20, their_turn()), (3, 1, 0x10, their_turn() + TimeDelta::hours(1))] {
        add_batches(store, &[batch_of(first + 1, of, in_run, "2026-11-23")], now()).await;
        let row = followers(&account(of), day("2026-11-23"), 1);
        let failed = Outcome::Failed { class: FailureClass::Unavailable, message: "down".to_owned() };
        let dead = BatchResult { accounts: vec![result(&row, failed)], ..BatchResult::default() };
        store.batch_complete(&lease(store).await, dead, now()).await.unwrap();
        add_batches(store, &[batch_of(first + 2, of, in_run, "2026-11-24")], now()).await;
        defer(store, &lease(store).await, until, "spent", now()).await.unwrap();
    }
    let waiting =
        [batch_of(0x20, 2, 2, "2026-11-25"), batch_of(0x23, 3, 2, "2026-11-25"), batch_of(0x10, 1, 3, "2026-11-25")];
    add_batches(store, &waiting, now()).await;
    // Run 4 is theirs alone: a batch that is deferred for longer.
    add_batches(store, &[batch_of(0x24, 3, 4, "2026-11-26")], now()).await;
    let last = store.batch_lease(&all(), Some(run(4).id), None, "worker", now(), TTL).await.unwrap().unwrap();
    defer(store, &last, their_turn() + TimeDelta::hours(3), "spent", now()).await.unwrap();

    let untold = Event { data: serde_json::json!({ "tenant": "theirs" }), ..event(4, None) };
    let events = [about(1, 1), about(2, 2), about(3, 2), untold, about(5, 2), about(6, 2)];
    store.events_write(&all(), &events).await.unwrap();
    for (n, name, tenant) in [(1, "hook-ours", Some(ours())), (2, "hook-theirs", Some(theirs())), (3, "hook-all", None)]
    {
        store.webhook_add(&all(), &webhook(n, name, tenant), vec![1, 2, 3, 4], true).await.unwrap();
    }
    let desk = AlertChannel { id: ChannelId(Uuid::from_u128(0x9000_0011)), name: "desk".to_owned(), ..alert_channel() };
    store.alert_channel_add(&all(), &desk, vec![1, 2, 3, 4]).await.unwrap();
    let (id, channel) = (Uuid::from_u128(0x9000_0012), "desk".to_owned());
    let digest = AlertDigest { id, channel, name: "digest-theirs".to_owned(), ..alert_digest() };
    store.alert_digest_add(&all(), &digest).await.unwrap();
    let heads = store.event_heads_list(&all(), EventCursor::default(), 100).await.unwrap();
    for (hook, tenant) in [(1, "ours"), (2, "theirs")] {
        let of_tenant = heads.iter().filter(|head| head.tenant.as_deref() == Some(tenant));
        // Each event has a line of its own, so that several can be leased at once.
        let deliveries: Vec<_> =
            of_tenant.map(|head| NewDelivery { event: head.cursor, line: head.cursor.to_string() }).collect();
        let (id, last) = (webhook(hook, "", None).id, heads.last().unwrap().cursor);
        store.deliveries_fan_out(&all(), id, EventCursor::default(), last, &deliveries, now()).await.unwrap();
        let leased = store.deliveries_lease(&all(), id, "sender", now(), TTL, 1).await.unwrap();
        let parked = Finish { state: DeliveryState::Parked, status: Some(500), problem: None };
        store.delivery_finish(&leased[0], &parked, now()).await.unwrap();
    }
}
