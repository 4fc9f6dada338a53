//! Rows of every table: some of a tenant that is spoilt, `spare`, and some of another one, `theirs`.

use std::collections::BTreeMap;

use backline_model::health::{Alert, AlertName};
use backline_model::pace::Pace;
use backline_model::retention::{Before, RetainedTable, RetentionStep};
use backline_model::{
    Account, AlertChannel, AlertDigest, AlertPhase, AlertRoute, AlertSeverity, ChannelId, ChannelTarget, Consent,
    Digest, Event, FireDecision, Grant, Holder, Manifest, Platform, Release, ScheduleSpec, SwapCause,
};
use backline_store::{
    ArchivePlace, ArchiveRun, BudgetKey, Canary, DatabaseKind, KeyedRequest, NewAlert, NewSchedule, Pause, Presence,
    Scope, Store, StoredSession, answering_once,
};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::store::fixtures::{TTL, account, artist, at, demo, event, now, past, release, run, webhook, weekly_digest};
use crate::store::scope::{bulk_act, credential, fill, held, marks, ours, step, theirs, token};
use crate::support::database::write;

/// What is of the one and of the other.
pub const NAMES: [&str; 2] = ["spare", "theirs"];

/// Texts that rows of either have in them, and no others.
pub struct Marks {
    /// Of what is spoilt.
    pub spare: Vec<String>,
    /// Of what has to be served all the same.
    pub theirs: Vec<String>,
}

pub fn all() -> Scope {
    Scope::all_tenants()
}

pub fn platform(name: &str) -> Platform {
    Platform::new(name).unwrap()
}

/// A release of a connector that has the name of its platform.
pub fn release_on(name: &str, version: &str) -> Release {
    let manifest = Manifest::parse(&format!(
        "[connector]\nname = \"{name}\"\nplatform = \"{name}\"\nversion = \"{version}\"\napi = \"^1\"\n\
         title = \"{name}\"\nbatch_size = 50\n\
         [[metric]]\nname = \"followers\"\nkind = \"gauge\"\nunit = \"followers\"\n"
    ))
    .unwrap();
    let digest = Digest::of(format!("{name} {version}").as_bytes());
    Release { digest, grant: Grant::all_of(&manifest, &[]), manifest, ..release() }
}

/// Accounts 1 to 3 of the fixtures, and one on a platform that nobody else is on, of each artist.
pub fn accounts() -> [Account; 5] {
    [
        account(1),
        account(2),
        Account { artist_id: artist(2).id, ..account(3) },
        Account { artist_id: artist(2).id, platform: platform("theirs"), ..account(4) },
        Account { artist_id: artist(1).id, platform: platform("spare"), ..account(5) },
    ]
}

/// A budget of the credential of one of the two artists.
pub fn budget(n: u128) -> BudgetKey {
    BudgetKey { holder: Holder::Credential(credential(n).id), budget: "calls".to_owned() }
}

/// A session of one of the two tokens.
pub fn session(n: u128) -> Uuid {
    Uuid::from_u128(0xC300_0000 + n)
}

/// Fills a database. Each row is of the one, of the other or of both.
pub async fn fill_twice(store: &Store, url: &str) -> Marks {
    fill(store).await;
    let seconds = accounts();
    store.accounts_save(&all(), &seconds[3..], now()).await.unwrap();
    let consents = seconds[3..].iter().map(|account| Consent {
        artist_id: account.artist_id,
        platform: account.platform.clone(),
        granted: true,
        scope: "metrics".to_owned(),
        source: "a test".to_owned(),
        recorded_at: now(),
    });
    let consents: Vec<_> = consents.collect();
    store.consents_record(&all(), &consents).await.unwrap();
    for (n, name) in (1..).zip(NAMES) {
        releases(store, url, name).await;
        of_service(store, n, name).await;
        alerts(store, n, name).await;
    }
    schedules(store).await;
    told(store).await;
    gone(store, url).await;

    let mut of = Marks { spare: vec!["spare".to_owned(), "ours".to_owned()], theirs: marks() };
    for version in ["1.0.0", "1.1.0"] {
        of.spare.push(release_on("spare", version).digest.to_string());
        of.theirs.push(release_on("theirs", version).digest.to_string());
    }
    of.spare.extend([artist(1).id.to_string(), account(1).id.to_string(), run(3).id.to_string()]);
    of.spare.extend([credential(1).id.to_string(), webhook(1, "").id.to_string(), token(1, ours()).id.to_string()]);
    of.spare.extend([held(1).to_string(), event(1, None).id.to_string()]);
    for (n, marks) in [(7, &mut of.spare), (8, &mut of.theirs)] {
        store.artists_save(&all(), &[artist(n)], now()).await.unwrap();
        store.artist_erase(&all(), artist(n).id, now()).await.unwrap().expect("it was there");
        let receipt = store.erasure_get(artist(n).id).await.unwrap().expect("it is gone");
        marks.push(receipt.artist_id_sha256);
    }
    of
}

async fn releases(store: &Store, url: &str, name: &str) {
    let (active, canary) = (release_on(name, "1.0.0"), release_on(name, "1.1.0"));
    for release in [&active, &canary] {
        store.release_save(release, name.as_bytes()).await.unwrap();
    }
    store.release_activate(active.digest, SwapCause::Activated, now()).await.unwrap();
    let (share, release) = (1_000, canary.digest);
    let canary = Canary { platform: platform(name), release, share, started_at: now(), promote_at: None };
    store.canary_start(&canary).await.unwrap();
    store.compiled_save(name, active.digest).await.unwrap();
    let digest = active.digest;
    for row in [
        format!(
            "INSERT INTO release_batches (release_digest, platform, run_id, canary, at, tally)
             VALUES ('{digest}', '{name}', '{}', FALSE, '2026-11-22T12:00:00.000000Z', '{{\"accounts\":1}}')",
            run(1).id
        ),
        format!(
            "INSERT INTO lost_metrics (release_digest, name, reason, first_seen)
             VALUES ('{digest}', '{name}', 'gone', '2026-11-22T12:00:00.000000Z')"
        ),
    ] {
        write(url, &row).await;
    }
}

/// Hosts, roles, budgets, runs of the archive, tokens' sessions and answers.
async fn of_service(store: &Store, n: u128, name: &str) {
    let host = Presence { name: name.to_owned(), version: "1".to_owned(), state: "ready", started_at: now() };
    store.host_announce(&host, now()).await.unwrap();
    store.load_report_save(name, release_on(name, "1.0.0").digest, None, now()).await.unwrap();
    store.role_take(name, name, now(), TTL).await.unwrap().expect("nobody else takes it");

    let (key, later) = (budget(n), now() + TimeDelta::hours(1));
    store.budget_take(&key, now(), later, 10, 4, now()).await.unwrap();
    store.pace_take(&key, &Pace::of(50, 5, 1).ask(1, 0, 60_000_000)).await.unwrap();
    let pause = Pause { began_at: now(), until: later, interval_us: None, paced_until: None };
    let believed = now() - TimeDelta::days(1)..=now() + TimeDelta::days(1);
    store.pause_begin(&key.holder, &demo(), &pause, believed).await.unwrap();

    let archive_run = ArchiveRun {
        id: Uuid::from_u128(0xC400_0000 + n),
        origin: name.to_owned(),
        as_of: now(),
        started_at: now(),
        finished_at: Some(now()),
        state: "done".to_owned(),
        counts: BTreeMap::new(),
        message: None,
    };
    store.archive_run_save(&archive_run).await.unwrap();
    let tenant = if n == 1 { ours() } else { theirs() };
    let token = token(n, tenant.clone()).id;
    let (secret, until) = (Digest::of(b"cookie"), later);
    let opened = StoredSession { id: session(n), token, secret, until, notice: None };
    store.session_open(&opened).await.unwrap();
    let (key, asked, id) = (name.to_owned(), Digest::of(name.as_bytes()), Uuid::from_u128(0xC500_0000 + n));
    let request = KeyedRequest { token, key, asked, id, at: now() };
    let act = bulk_act(10 + n, tenant);
    let (done, is_kept) = answering_once(request, store.bulk_act_add(&all(), &act)).await;
    done.unwrap();
    assert!(is_kept, "the answer is kept");
}

/// An alert of health, a channel of alerts, and a route and a digest that lead to it.
async fn alerts(store: &Store, n: u128, name: &str) {
    let alert = Alert {
        name: AlertName::Completion,
        platform: Some(platform(name)),
        firing: true,
        since: now(),
        value: 0.5,
        threshold: 0.9,
        worse_since: None,
        crossings: 1,
        changed_at: now(),
    };
    store.alerts_save(&[(alert, 0, None)]).await.unwrap();
    let (id, target) = (ChannelId(Uuid::from_u128(0x9000_0200 + n)), ChannelTarget::Slack);
    let channel = AlertChannel { id, name: name.to_owned(), target, created_at: now() };
    store.alert_channel_add(&all(), &channel, vec![1, 2, 3, 4]).await.unwrap();
    let route = AlertRoute {
        id: Uuid::from_u128(0x9000_0210 + n),
        name: name.to_owned(),
        channels: vec![name.to_owned()],
        events: vec!["*".to_owned()],
        severity: AlertSeverity::Info,
        tenant: None,
        window_s: 60,
        quiet: None,
        created_at: now(),
    };
    store.alert_route_add(&all(), &route).await.unwrap();
    let digest = weekly_digest(Uuid::from_u128(0x9000_0220 + n), name, name);
    let tenant = if n == 1 { ours() } else { theirs() };
    store.alert_digest_add(&all(), &AlertDigest { tenant, ..digest }).await.unwrap();
}

/// Schedules with times that were missed and that are queued.
async fn schedules(store: &Store) {
    let new = |name: &str| NewSchedule {
        name: name.to_owned(),
        spec: ScheduleSpec::default(),
        next_fire: Some(at("2026-11-23T02:00:00Z")),
    };
    let term = store.role_take("scheduler", "a", now(), TTL).await.unwrap().expect("nobody else leads");
    store.schedules_sync(&term, &NAMES.map(new), now() - TimeDelta::days(3)).await.unwrap();
    let fires = [(1, FireDecision::Missed), (2, FireDecision::Queued)];
    let fires = fires.map(|(days, decision)| (now() - TimeDelta::days(3 - days), decision));
    for name in NAMES {
        store.fires_record(&term, name, &fires, Some(at("2026-11-23T02:00:00Z")), now()).await.unwrap();
    }
    store.role_resign(&term, now()).await.unwrap();
}

/// Events that are put into a message of each route.
async fn told(store: &Store) {
    let about = |n: u128| Event { artist_id: Some(artist(n).id), ..event(0xE0 + n, None) };
    store.events_write(&all(), &[about(1), about(2)]).await.unwrap();
    for (n, name) in (1..).zip(NAMES) {
        let routes = store.alert_routes_list(&all()).await.unwrap();
        let (route, seen) = routes.into_iter().find(|(route, _)| route.name == name).unwrap();
        let heads = store.event_heads_list(&all(), seen, 100).await.unwrap();
        let head = heads.iter().find(|head| head.artist_id == Some(artist(n).id)).unwrap();
        let alert = NewAlert {
            channel: ChannelId(Uuid::from_u128(0x9000_0200 + n)),
            event: head.cursor,
            subject: name.to_owned(),
            group: name.to_owned(),
            kind: head.kind.clone(),
            phase: AlertPhase::Firing,
            severity: AlertSeverity::Info,
            due_at: now(),
        };
        let until = heads.last().unwrap().cursor;
        store.alert_route_fan_out(&all(), route.id, seen, until, &[alert]).await.unwrap();
    }
}

/// An event of ours that is gone, as there is one of theirs, and rows in the archive.
async fn gone(store: &Store, url: &str) {
    let old = now() - TimeDelta::days(41);
    let old = Event { artist_id: Some(artist(1).id), occurred_at: old, ..event(0xF1, None) };
    store.events_write(&all(), &[old]).await.unwrap();
    for hook in store.webhooks_list(&all()).await.unwrap() {
        let until = store.event_watermark_get().await.unwrap();
        store.deliveries_fan_out(&all(), hook.0.id, hook.1, until, &[], now()).await.unwrap();
    }
    let before = Before::Time(now() - TimeDelta::days(30));
    let of_events = RetentionStep { table: RetainedTable::Events, before, ..step() };
    let from = ArchivePlace::default();
    let gone = store.archive_due_put_away(&all(), &of_events, &[], &from, 10, past(now())).await.unwrap();
    assert_eq!(gone.rows, 1);
    if store.kind() == DatabaseKind::Postgres {
        write(url, "SELECT 1 FROM backline.ensure_month('metrics_archive'::regclass, '2026-11-22')").await;
    }
    write(url, "INSERT INTO metrics_archive SELECT * FROM metrics").await;
}
