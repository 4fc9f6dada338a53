//! Tests of event deliveries: every event arrives, in the order of its line (the events of one artist, or those without
//! an artist), whatever happens to hosts and receivers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backline::pipeline::service::Service;
use backline::pipeline::{NewWebhook, Resend};
use backline_model::event::types;
use backline_model::health::WebhookFigures;
use backline_model::{DeliveryState, Event, WebhookKind};
use backline_store::{DatabaseKind, DeliveryFilter, DeliveryLease, EventCursor, Finish, NewDelivery, Scope, Store};
use chrono::{TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use sqlx::any::AnyPoolOptions;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::support::database::{each_database, write};
use crate::support::fleet::until;
use crate::support::http::{Asked, Server, answer};
use crate::support::post::{Post, RECEIVER, Time, artist_id, body_of, event, id_of, routes, taken, verify};

/// Maximum wait on a loaded machine.
const WAIT_MAX: Duration = Duration::from_secs(180);

/// A receiver that fails until a time and then accepts everything. While `caught` is set, it takes a message but does
/// not respond.
#[derive(Clone)]
struct Moody {
    time: Time,
    well_at: chrono::DateTime<Utc>,
    caught: Arc<AtomicBool>,
    /// Holds back the responses while `caught` is set.
    gate: Arc<Semaphore>,
    taken: Arc<Mutex<Vec<Asked>>>,
}

impl Moody {
    fn new(time: &Time, well_after: TimeDelta) -> Self {
        let well_at = time.now() + well_after;
        let gate = Arc::new(Semaphore::new(0));
        Self { time: time.clone(), well_at, caught: Arc::default(), gate, taken: Arc::default() }
    }

    async fn serve(&self) -> Server {
        let moody = self.clone();
        Server::start_slow(move |asked| {
            let moody = moody.clone();
            async move {
                if moody.caught.load(Ordering::SeqCst) {
                    moody.taken.lock().expect("not poisoned").push(asked);
                    let _opened = moody.gate.acquire().await;
                    return taken();
                }
                if moody.time.now() < moody.well_at {
                    return answer(if asked.body.len() % 2 == 0 { 500 } else { 503 }, &[], "busy");
                }
                moody.taken.lock().expect("not poisoned").push(asked);
                taken()
            }
        })
        .await
    }

    fn taken(&self) -> Vec<Asked> {
        self.taken.lock().expect("not poisoned").clone()
    }
}

/// Waits until no delivery is due and none is leased.
async fn quiet(post: &Post) {
    until(WAIT_MAX, "nothing is due", async || {
        let now = post.time.now();
        // Asked first: of an event that is noted later, the listing would say nothing.
        let noted = post.states().await.values().sum::<usize>() == post.events().await.len();
        let filter =
            DeliveryFilter { state: Some(DeliveryState::Waiting), limit: 100_000, ..DeliveryFilter::default() };
        let waiting =
            post.host.store().deliveries_list(&Scope::all_tenants(), &filter).await.expect("deliveries are listed");
        // The listing ends with the earliest delivery of each line.
        let heads: HashMap<_, _> = waiting.iter().map(|delivery| (delivery.artist_id, delivery.next_at)).collect();
        (noted && heads.values().all(|next| next.is_some_and(|at| at > now))).then_some(())
    })
    .await;
}

/// The event ids of each line, in the order in which the events were written.
fn lines(events: &[Event]) -> BTreeMap<String, Vec<Uuid>> {
    let mut lines: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
    for event in events {
        let line = event.artist_id.map_or("run".to_owned(), |artist| artist.to_string());
        lines.entry(line).or_default().push(event.id);
    }
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_failing_receiver_and_a_killed_host_no_event_is_lost_or_out_of_order() {
    each_database(async |_store: Store, url: &str| {
        let time = Time::noon();
        let moody = Moody::new(&time, TimeDelta::hours(1));
        let receiver = moody.serve().await;
        let post = Post::with(url, time, receiver, |config| {
            config.service.name = Some("first".to_owned());
            // Health checks are off, because they would report the killed host.
            config.health.every_s = 1_000_000;
        })
        .await;
        let secret = post.add("app", WebhookKind::Webhook, &[]).await;
        for n in 1..=5 {
            post.artist(n, "default").await;
        }
        let first = Service::start(post.host.clone()).await.expect("it starts");
        let mut first = Some(first);
        let mut second = None;
        let mut sent_by_first = BTreeSet::new();
        for minute in 0..70_u32 {
            if minute < 55 {
                post.write(
                    Some(artist_id(u128::from(minute % 5) + 1)),
                    types::METRICS_COLLECTED,
                    json!({ "n": minute }),
                )
                .await;
                post.write(
                    Some(artist_id(u128::from(minute % 3) + 1)),
                    types::SIGNIFICANT_CHANGE,
                    json!({ "n": minute }),
                )
                .await;
                post.write(None, types::RUN_COMPLETED, json!({ "n": minute })).await;
            }
            if minute == 20 {
                // The receiver takes messages, but the host is killed before the response.
                moody.caught.store(true, Ordering::SeqCst);
                post.time.advance(TimeDelta::minutes(25));
                until(WAIT_MAX, "messages under way", async || (moody.taken().len() >= 3).then_some(())).await;
                drop(first.take());
                moody.caught.store(false, Ordering::SeqCst);
                let host = post.another_host(|config| config.service.name = Some("second".to_owned())).await;
                sent_by_first = moody.taken().iter().map(id_of).collect();
                second = Some(Service::start(host).await.expect("it starts"));
                // Another host takes over the dead host's deliveries once their leases expire.
                post.time.advance(TimeDelta::seconds(61));
                moody.gate.add_permits(1_000);
            }
            quiet(&post).await;
            post.time.advance(TimeDelta::minutes(1));
        }
        // No time passes while a message is under way: its lease would end, and it would be sent again.
        let is_done = async || post.states().await.keys().all(|state| *state == "delivered");
        for _ in 0..144 {
            quiet(&post).await;
            if is_done().await {
                break;
            }
            post.time.advance(TimeDelta::minutes(10));
        }
        assert!(is_done().await, "{:?}", post.states().await);
        assert!(second.expect("it was started").stop().await);

        let events = post.events().await;
        assert_eq!(events.len(), 55 * 3);
        for asked in post.receiver.asked() {
            let (signatures, _) = verify(&asked, &secret);
            assert_eq!(signatures, 1);
            assert_eq!(body_of(&asked)["id"], json!(id_of(&asked)));
        }
        let arrived: Vec<Uuid> = moody.taken().iter().map(id_of).collect();
        let different: BTreeSet<Uuid> = arrived.iter().copied().collect();
        assert_eq!(different, events.iter().map(|event| event.id).collect(), "every event arrived");
        let mut once = BTreeSet::new();
        let twice: BTreeSet<Uuid> = arrived.iter().copied().filter(|id| !once.insert(*id)).collect();
        assert!(twice.len() >= 3, "{twice:?}");
        assert!(twice.is_subset(&sent_by_first), "only what the dead host had sent comes twice: {twice:?}");
        for (line, expected) in lines(&events) {
            let mut of_line: Vec<Uuid> = arrived.iter().copied().filter(|id| expected.contains(id)).collect();
            // A repeated event comes before any later event of its line.
            of_line.dedup();
            assert_eq!(of_line, expected, "line {line}");
        }
        assert!(post.receiver.asked().len() > arrived.len() + 20, "the receiver failed many times before");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_hosts_do_only_the_head_of_a_line_is_leased() {
    each_database(async |store: Store, url: &str| {
        let post = Post::open(url).await;
        post.add("app", WebhookKind::Webhook, &[]).await;
        let webhook = store.webhook_get(&Scope::all_tenants(), "app").await.expect("it is there");
        for n in 1..=3 {
            post.artist(n, "default").await;
        }
        let mut dice = StdRng::seed_from_u64(11);
        let (mut now, ttl) = (post.time.now(), Duration::from_secs(60));
        let mut leases: Vec<DeliveryLease> = Vec::new();
        let mut finished: Vec<Uuid> = Vec::new();
        let mut written: Vec<Event> = Vec::new();
        for _ in 0..400 {
            match dice.random_range(0..10) {
                0..=2 => {
                    let artist = artist_id(dice.random_range(1..=3));
                    written.push(post.write(Some(artist), types::METRICS_COLLECTED, json!({})).await);
                    let (_, seen) = store.webhooks_list(&Scope::all_tenants()).await.expect("listed").remove(0);
                    let heads =
                        store.event_heads_list(&Scope::all_tenants(), seen, 100).await.expect("events are read");
                    let new: Vec<NewDelivery> = heads
                        .iter()
                        .map(|head| NewDelivery { event: head.cursor, line: head.artist_id.expect("one").to_string() })
                        .collect();
                    let last = heads.last().expect("one was written").cursor;
                    let noted = store
                        .deliveries_fan_out(&Scope::all_tenants(), webhook.id, seen, last, &new, now)
                        .await
                        .expect("noted");
                    assert_eq!(noted, Some(heads.len() as u64));
                    let again = store
                        .deliveries_fan_out(&Scope::all_tenants(), webhook.id, seen, last, &new, now)
                        .await
                        .expect("noted");
                    assert_eq!(again, None, "another host with the same cursor writes nothing");
                }
                3..=5 => {
                    let owner = ["one", "two"][dice.random_range(0..2)];
                    let limit = dice.random_range(1..=3);
                    let taken = store
                        .deliveries_lease(&Scope::all_tenants(), webhook.id, owner, now, ttl, limit)
                        .await
                        .expect("leased");
                    assert!(taken.len() <= limit as usize);
                    leases.retain(|lease| lease.until > now);
                    leases.extend(taken);
                    let in_hand: BTreeSet<_> = leases.iter().map(|lease| lease.event.artist_id).collect();
                    assert_eq!(in_hand.len(), leases.len(), "two deliveries of one line are leased at once");
                }
                6 | 7 if !leases.is_empty() => {
                    let lease = leases.swap_remove(dice.random_range(0..leases.len()));
                    let state = if dice.random_bool(0.8) { DeliveryState::Delivered } else { DeliveryState::Parked };
                    let finish = Finish { state, status: Some(200), problem: None };
                    let is_ours = store.delivery_finish(&lease, &finish, now).await.expect("written");
                    assert!(is_ours || lease.until <= now, "a valid lease is respected");
                    if is_ours {
                        finished.push(lease.event.id);
                    }
                    assert!(!store.delivery_finish(&lease, &finish, now).await.expect("written"), "once only");
                }
                8 if !leases.is_empty() => {
                    let lease = leases.swap_remove(dice.random_range(0..leases.len()));
                    let at = now + TimeDelta::seconds(dice.random_range(0..300));
                    store.delivery_retry(&lease, at, None, "no answer").await.expect("written");
                }
                _ => now += TimeDelta::seconds(dice.random_range(1..90)),
            }
        }
        assert!(finished.len() > 30, "only {} were finished", finished.len());
        for (line, expected) in lines(&written) {
            let of_line: Vec<Uuid> = finished.iter().copied().filter(|id| expected.contains(id)).collect();
            assert_eq!(of_line, expected[..of_line.len()], "line {line}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_receiver_delays_no_other_receiver() {
    each_database(async |_store: Store, url: &str| {
        let gate = Arc::new(Semaphore::new(0));
        let never = Arc::clone(&gate);
        let slow = Server::start_slow(move |_| {
            let gate = Arc::clone(&never);
            async move {
                let _opened = gate.acquire().await;
                taken()
            }
        })
        .await;
        let quick = Server::start(|_| taken()).await;
        let routes = routes(&[("https://slow.test", &slow), (RECEIVER, &quick)]);
        let post = Post::with(url, Time::noon(), quick, |config| {
            config.gateway.routes = routes;
            config.deliveries.in_flight_per_webhook = 4;
            config.deliveries.in_flight_max = 8;
            config.deliveries.timeout_ms = 30_000;
        })
        .await;
        post.add_at("slow", "https://slow.test/x", WebhookKind::Webhook, &[], None).await;
        post.add("quick", WebhookKind::Webhook, &[]).await;
        let artists = 60;
        for n in 1..=artists {
            let artist = post.artist(n, "default").await;
            post.write(Some(artist), types::METRICS_COLLECTED, json!({})).await;
        }
        let service = Service::start(post.host.clone()).await.expect("it starts");
        until(WAIT_MAX, "the quick one has everything", async || {
            (post.receiver.asked().len() == artists as usize).then_some(())
        })
        .await;
        // The slow receiver has not responded yet; otherwise more messages would have been sent.
        until(WAIT_MAX, "its share is in progress", async || (slow.asked().len() >= 4).then_some(())).await;
        assert_eq!(slow.asked().len(), 4, "no more than its share is in progress");
        gate.add_permits(1_000);
        until(WAIT_MAX, "the slow one has everything too", async || {
            (slow.asked().len() == artists as usize).then_some(())
        })
        .await;
        assert!(service.stop().await);
        let expected = BTreeMap::from([("delivered".to_owned(), 2 * artists as usize)]);
        assert_eq!(post.states().await, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_fails_for_a_day_is_parked_shown_and_sent_again() {
    each_database(async |store: Store, url: &str| {
        let time = Time::noon();
        let moody = Moody::new(&time, TimeDelta::days(2));
        let receiver = moody.serve().await;
        let post = Post::with(url, time, receiver, |_| {}).await;
        let secret = post.add("app", WebhookKind::Webhook, &["metrics.*"]).await;
        let artist = post.artist(1, "default").await;
        let one = post.write(Some(artist), types::METRICS_COLLECTED, json!({ "n": 1 })).await;
        let two = post.write(Some(artist), types::METRICS_COLLECTED, json!({ "n": 2 })).await;
        post.write(None, types::RUN_COMPLETED, json!({})).await;

        let began = post.time.now();
        let mut parked = 0;
        while parked == 0 {
            let report = post.host.dispatcher().deliver_due().await.expect("a round");
            parked = report.parked;
            if parked == 0 {
                assert!(
                    post.receiver.asked().iter().all(|asked| id_of(asked) == one.id),
                    "the second waits for the first"
                );
                let next = store
                    .next_delivery_get(&Scope::all_tenants(), post.time.now())
                    .await
                    .expect("known")
                    .expect("one waits");
                post.time.advance(next - post.time.now());
            }
        }
        assert_eq!(post.time.now() - began, TimeDelta::days(1), "the last attempt is made after one day");
        let shown = store.deliveries_list(&Scope::all_tenants(), &DeliveryFilter::default()).await.expect("listed");
        assert_eq!(shown.len(), 2, "the webhook has no subscription to the end of runs: {shown:?}");
        assert_eq!((shown[1].event_id, shown[1].state), (one.id, DeliveryState::Parked));
        assert!(
            shown[1].attempts > 24 && shown[1].problem.as_deref().is_some_and(|said| said.contains("50")),
            "{shown:?}"
        );
        assert_eq!(shown[0].state, DeliveryState::Waiting);
        assert_eq!(
            id_of(post.receiver.asked().last().expect("asked")),
            two.id,
            "the second is tried once the first is parked"
        );

        let behind = store.webhooks_behind_list(&Scope::all_tenants()).await.expect("listed");
        assert_eq!(behind, [WebhookFigures { name: "app".to_owned(), parked: 1, disabled_reason: None }]);

        post.time.advance(TimeDelta::days(2));
        let report = post.host.dispatcher().deliver_due().await.expect("a round");
        assert_eq!((report.delivered, report.parked), (1, 0), "{report:?}");
        assert_eq!(post.host.webhooks().resend("app", Resend::Parked).await.expect("it is there"), 1);
        assert_eq!(post.host.dispatcher().deliver_due().await.expect("a round").delivered, 1);
        assert_eq!(
            store.webhooks_behind_list(&Scope::all_tenants()).await.expect("listed"),
            [],
            "it has everything now"
        );
        let arrived: Vec<Uuid> = moody.taken().iter().map(id_of).collect();
        assert_eq!(arrived, [two.id, one.id]);
        let (_, signed_at) = verify(moody.taken().last().expect("one"), &secret);
        assert_eq!(signed_at, post.time.now().timestamp(), "the signature has the time of sending, not of the event");

        assert_eq!(post.host.webhooks().resend("app", Resend::Since(began)).await.expect("it is there"), 2);
        post.host.dispatcher().deliver_due().await.expect("a round");
        assert_eq!(post.host.webhooks().resend("app", Resend::Event(two.id)).await.expect("it is there"), 1);
        post.host.dispatcher().deliver_due().await.expect("a round");
        let arrived: Vec<Uuid> = moody.taken().iter().skip(2).map(id_of).collect();
        assert_eq!(arrived, [one.id, two.id, two.id]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_was_away_parks_nothing_at_its_first_failure() {
    each_database(async |store: Store, url: &str| {
        let time = Time::noon();
        let moody = Moody::new(&time, TimeDelta::days(9));
        let receiver = moody.serve().await;
        let post = Post::with(url, time, receiver, |_| {}).await;
        post.add("app", WebhookKind::Webhook, &["metrics.*"]).await;
        let artist = post.artist(1, "default").await;
        post.write(Some(artist), types::METRICS_COLLECTED, json!({})).await;
        let round = async || post.host.dispatcher().deliver_due().await.expect("a round");
        let first = round().await;
        assert_eq!((first.parked, first.delivered), (0, 0), "{first:?}");

        post.time.advance(TimeDelta::days(2));
        let back = post.time.now();
        let mut parked = round().await.parked;
        assert_eq!(parked, 0, "nobody tried in the meantime");
        while parked == 0 {
            let next = store.next_delivery_get(&Scope::all_tenants(), post.time.now()).await.expect("known");
            post.time.advance(next.expect("one waits") - post.time.now());
            parked = round().await.parked;
        }
        let tried = post.time.now() - back;
        assert!(tried > TimeDelta::hours(23) && tried <= TimeDelta::days(1), "{tried}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_one_host_is_delivered_by_another_at_once() {
    each_database(async |store: Store, url: &str| {
        let time = Time::noon();
        let receiver = Server::start(|_| taken()).await;
        let post = Post::with(url, time, receiver, |config| config.service.poll_ms = 600_000).await;
        post.add("app", WebhookKind::Webhook, &[]).await;
        let service = Service::start(post.host.clone()).await.expect("it starts");
        // On PostgreSQL another host writes the event. SQLite has one host only.
        let writer = match store.kind() {
            DatabaseKind::Postgres => post.another_host(|_| {}).await,
            DatabaseKind::Sqlite => post.host.clone(),
        };
        for n in 1..=4 {
            let told = event(post.time.now(), None, types::RUN_COMPLETED, json!({ "n": n }));
            writer.store().events_write(&Scope::all_tenants(), std::slice::from_ref(&told)).await.expect("written");
            // A regular poll may find the first event. The next poll would be due in ten minutes.
            until(WAIT_MAX, "it is delivered", async || (post.receiver.asked().len() == n).then_some(())).await;
        }
        assert!(service.stop().await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pending_deliveries_about_an_erased_artist_are_removed() {
    each_database(async |_store: Store, url: &str| {
        let time = Time::noon();
        let receiver = Server::start(|_| answer(500, &[], "")).await;
        let post = Post::with(url, time, receiver, |_| {}).await;
        post.add("app", WebhookKind::Webhook, &[]).await;
        let (gone, stays) = (post.artist(1, "default").await, post.artist(2, "default").await);
        for artist in [gone, stays, gone] {
            post.write(Some(artist), types::METRICS_COLLECTED, json!({})).await;
        }
        assert_eq!(post.host.dispatcher().deliver_due().await.expect("a round").failed, 2);
        assert_eq!(post.states().await["waiting"], 3);
        write(url, &format!("DELETE FROM artists WHERE id = '{gone}'")).await;
        assert_eq!(post.states().await, BTreeMap::from([("waiting".to_owned(), 1)]));
        let before = post.receiver.asked().len();
        post.time.advance(TimeDelta::hours(1));
        post.host.dispatcher().deliver_due().await.expect("a round");
        let told: Vec<_> =
            post.receiver.asked().split_off(before).iter().map(|asked| body_of(asked)["artist_id"].clone()).collect();
        assert_eq!(told, [json!(stays)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_far_behind_is_served_page_by_page_and_delays_no_other() {
    each_database(async |store: Store, url: &str| {
        let post = Post::open(url).await;
        let artist = post.artist(1, "default").await;
        // More than two pages, with events to deliver in each.
        let events: Vec<Event> = (0..2_300)
            .map(|n| match n {
                0 | 1_500 | 2_299 => event(post.time.now(), Some(artist), types::METRICS_COLLECTED, json!({ "n": n })),
                _ => event(post.time.now(), None, types::RUN_COMPLETED, json!({})),
            })
            .collect();
        store.events_write(&Scope::all_tenants(), &events).await.expect("written");
        let new = |name: &str, from_start| NewWebhook {
            name: name.to_owned(),
            url: format!("{RECEIVER}/{name}"),
            kind: WebhookKind::Webhook,
            events: vec!["metrics.*".to_owned()],
            tenant: None,
            from_start,
        };
        post.host.webhooks().add(new("behind", true)).await.expect("added");
        post.host.webhooks().add(new("ahead", false)).await.expect("added");
        let told = post.write(Some(artist), types::METRICS_COLLECTED, json!({})).await;
        let report = post.host.dispatcher().deliver_due().await.expect("a round");
        assert_eq!((report.noted, report.delivered), (4 + 1, 4 + 1));
        let of = |name: &str| -> Vec<Uuid> {
            let asked = post.receiver.asked();
            asked.iter().filter(|asked| asked.target == format!("/{name}")).map(id_of).collect()
        };
        assert_eq!(of("ahead"), [told.id]);
        assert_eq!(of("behind"), [events[0].id, events[1_500].id, events[2_299].id, told.id]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_whose_deliveries_can_not_be_noted_keeps_no_other_one_waiting() {
    each_database(async |store: Store, url: &str| {
        let post = Post::open(url).await;
        let ended = async || post.write(None, types::RUN_COMPLETED, json!({})).await.id;
        for name in ["first", "second"] {
            post.add(name, WebhookKind::Webhook, &[]).await;
        }
        // The database refuses to move the first one.
        let refusal = match store.kind() {
            DatabaseKind::Sqlite => {
                "CREATE TRIGGER refused BEFORE UPDATE ON webhooks WHEN OLD.name = 'first'
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            }
            DatabaseKind::Postgres => "ALTER TABLE webhooks ADD CONSTRAINT refused CHECK (name <> 'first') NOT VALID",
        };
        write(url, refusal).await;
        let of = |name: &str| -> Vec<Uuid> {
            let asked = post.receiver.asked();
            asked.iter().filter(|asked| asked.target == format!("/{name}")).map(id_of).collect()
        };
        let one = ended().await;
        post.host.dispatcher().deliver_due().await.expect_err("it says so");
        assert_eq!(of("second"), [one], "it is at the same position");
        let two = ended().await;
        post.add("third", WebhookKind::Webhook, &[]).await;
        let three = ended().await;
        post.host.dispatcher().deliver_due().await.expect_err("it says so");
        assert_eq!((of("second"), of("third")), (vec![one, two, three], vec![three]), "it is between the others");
        assert!(of("first").is_empty(), "it has nothing yet");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_writer_blocks_readers_for_seconds_and_writers_never() {
    each_database(async |store: Store, url: &str| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        let post = Post::open(url).await;
        let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.expect("it connects");
        #[expect(clippy::disallowed_methods, reason = "nothing drops this test, and the store is not asked")]
        let mut stopped = pool.begin().await.expect("it begins");
        sqlx::query("SELECT 1 AS held FROM pg_advisory_xact_lock_shared(7135240011894)")
            .execute(&mut *stopped)
            .await
            .expect("the lock of a writer of events");
        let read = async { store.events_list(&Scope::all_tenants(), EventCursor::default(), 10).await };
        let (read, _) = futures::join!(read, post.write(None, types::RUN_COMPLETED, json!({})));
        let error = read.expect_err("the reader gives up, to read again later");
        assert!(error.is_transient(), "{error}");
        stopped.rollback().await.expect("it ends");
        assert_eq!(post.events().await.len(), 1);
        pool.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tenant_gets_events_about_its_own_artists_only() {
    each_database(async |_store: Store, url: &str| {
        let post = Post::open(url).await;
        post.add_at("north", "https://hooks.test/north", WebhookKind::Webhook, &[], Some("north")).await;
        post.add("all", WebhookKind::Webhook, &["metrics.*", "run.*"]).await;
        let (ours, theirs) = (post.artist(1, "north").await, post.artist(2, "south").await);
        post.write(Some(ours), types::METRICS_COLLECTED, json!({})).await;
        post.write(Some(theirs), types::METRICS_COLLECTED, json!({})).await;
        post.write(Some(theirs), types::RECONNECT_NEEDED, json!({})).await;
        post.write(None, types::RUN_COMPLETED, json!({})).await;
        assert_eq!(post.host.dispatcher().deliver_due().await.expect("a round").noted, 1 + 3);
        post.host.privacy().erase(ours).await.expect("erased");
        post.host.privacy().erase(theirs).await.expect("erased");
        assert_eq!(post.host.dispatcher().deliver_due().await.expect("a round").noted, 1);
        let mut told: HashMap<String, Vec<String>> = HashMap::new();
        for asked in post.receiver.asked() {
            let kind = body_of(&asked)["type"].as_str().expect("a type").to_owned();
            told.entry(asked.target).or_default().push(kind);
        }
        told.values_mut().for_each(|kinds| kinds.sort());
        assert_eq!(told["/north"], ["artist.erased", "metrics.collected"]);
        assert_eq!(told["/all"], ["metrics.collected", "metrics.collected", "run.completed"]);
    })
    .await;
}
