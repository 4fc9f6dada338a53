//! A Backline that only delivers events to a receiver, with a clock that the test sets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::response::Response;
use backline::config::Config;
use backline::pipeline::{Host, NewWebhook};
use backline_gateway::secrets::Keyring;
use backline_model::clock::Clock;
use backline_model::{Artist, ArtistId, Event, SubscriptionStatus, Tenant, WebhookKind};
use backline_store::{DeliveryFilter, EventCursor, Scope};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::http::{Asked, Server, answer};

/// URL of the receiver in webhooks.
pub const RECEIVER: &str = "https://hooks.test";

/// The clock of a test, set by hand.
#[derive(Clone)]
pub struct Time(Arc<Mutex<DateTime<Utc>>>);

impl Time {
    pub fn noon() -> Self {
        Self(Arc::new(Mutex::new("2026-11-22T12:00:00Z".parse().expect("a time"))))
    }

    pub fn now(&self) -> DateTime<Utc> {
        *self.0.lock().expect("not poisoned")
    }

    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().expect("not poisoned") += by;
    }

    fn clock(&self) -> Clock {
        let time = self.clone();
        Clock::from_fn(move || time.now())
    }
}

/// A host, a receiver, and a clock.
pub struct Post {
    pub host: Host,
    pub time: Time,
    pub receiver: Server,
}

impl Post {
    /// Opens a host on a migrated database, with a receiver that accepts everything.
    pub async fn open(url: &str) -> Self {
        Self::with(url, Time::noon(), Server::start(|_| taken()).await, |_| {}).await
    }

    /// Opens a host with a receiver of the test.
    pub async fn with(url: &str, time: Time, receiver: Server, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.database.url = url.to_owned();
        config.secrets.key = Some(Keyring::generate_base64());
        config.gateway.routes = routes(&[(RECEIVER, &receiver)]);
        config.gateway.jitter_seed = Some(7);
        config.schedules.clear();
        config.service.poll_ms = 20;
        change(&mut config);
        let host = Host::open(config, time.clock()).await.expect("the host opens");
        Self { host, time, receiver }
    }

    /// Another host on the same database, with the same clock and key.
    pub async fn another_host(&self, change: impl FnOnce(&mut Config)) -> Host {
        let mut config = self.host.config().clone();
        change(&mut config);
        Host::open(config, self.time.clock()).await.expect("another host opens")
    }

    /// Adds a webhook to the receiver, and returns its secret.
    pub async fn add(&self, name: &str, kind: WebhookKind, events: &[&str]) -> String {
        self.add_at(name, &format!("{RECEIVER}/{name}"), kind, events, None).await
    }

    /// Adds a webhook, and returns its secret.
    pub async fn add_at(
        &self,
        name: &str,
        url: &str,
        kind: WebhookKind,
        events: &[&str],
        tenant: Option<&str>,
    ) -> String {
        let new = NewWebhook {
            name: name.to_owned(),
            url: url.to_owned(),
            kind,
            events: events.iter().map(|&text| text.to_owned()).collect(),
            tenant: tenant.map(|name| Tenant::new(name).expect("a tenant")),
            from_start: false,
        };
        let (_, secret) = self.host.webhooks().add(new).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        secret.expose().to_owned()
    }

    /// Adds artist `n` of a tenant.
    pub async fn artist(&self, n: u128, tenant: &str) -> ArtistId {
        let artist = Artist {
            id: artist_id(n),
            name: format!("Artist {n}"),
            tenant: Tenant::new(tenant).expect("a tenant"),
            subscription_status: SubscriptionStatus::Active,
            data_collection_enabled: true,
            timezone: backline_model::Zone::utc(),
        };
        self.host
            .store()
            .artists_save(&Scope::all_tenants(), &[artist], self.time.now())
            .await
            .expect("the artist is saved");
        artist_id(n)
    }

    /// Writes one event, about an artist if one is given.
    pub async fn write(&self, artist: Option<ArtistId>, kind: &str, data: Json) -> Event {
        let event = event(self.time.now(), artist, kind, data);
        self.host
            .store()
            .events_write(&Scope::all_tenants(), std::slice::from_ref(&event))
            .await
            .expect("the event is written");
        event
    }

    /// Number of deliveries in each state.
    pub async fn states(&self) -> BTreeMap<String, usize> {
        let filter = DeliveryFilter { limit: 100_000, ..DeliveryFilter::default() };
        let mut states = BTreeMap::new();
        for delivery in
            self.host.store().deliveries_list(&Scope::all_tenants(), &filter).await.expect("deliveries are listed")
        {
            *states.entry(delivery.state.to_string()).or_default() += 1;
        }
        states
    }

    /// Every event that was written, in order.
    pub async fn events(&self) -> Vec<Event> {
        let events = self
            .host
            .store()
            .events_list(&Scope::all_tenants(), EventCursor::default(), 100_000)
            .await
            .expect("events are read");
        events.into_iter().map(|(_, event)| event).collect()
    }
}

pub fn event(now: DateTime<Utc>, artist: Option<ArtistId>, kind: &str, data: Json) -> Event {
    Event { id: Uuid::now_v7(), kind: kind.to_owned(), artist_id: artist, occurred_at: now, dedup_key: None, data }
}

pub fn artist_id(n: u128) -> ArtistId {
    ArtistId(Uuid::from_u128(0xA000_0000 + n))
}

/// Data of a change event, as a collection writes it.
pub fn change(artist: ArtistId, platform: &str) -> Json {
    json!({
        "artist_id": artist, "trigger_type": "daily_collection",
        "new_metrics": {
            "artist_id": artist, "platform": platform, "metric_date": "2026-11-22", "values": { "followers": 1200 },
        },
        "change": { "first": false, "followers_percent": 20.0 },
    })
}

/// The response of a receiver that accepts a message.
pub fn taken() -> Response {
    answer(204, &[], "")
}

/// Routes from origins to servers.
pub fn routes(servers: &[(&str, &Server)]) -> Vec<backline_gateway::Route> {
    let route = |(origin, server): &(&str, &Server)| json!({ "origin": origin, "connect": server.base() });
    serde_json::from_value(servers.iter().map(route).collect()).expect("routes")
}

/// Id of a message.
pub fn id_of(asked: &Asked) -> Uuid {
    asked.headers["webhook-id"].parse().expect("a message has the id of its event")
}

/// Body of a message.
pub fn body_of(asked: &Asked) -> Json {
    serde_json::from_slice(&asked.body).expect("a message is JSON")
}

/// Checks a message's signature with the reference implementation. Returns the number of signatures and the signing
/// time in Unix seconds.
pub fn verify(asked: &Asked, secret: &str) -> (usize, i64) {
    let header = |name: &str| asked.headers.get(name).unwrap_or_else(|| panic!("{name} is missing")).as_str();
    let timestamp: i64 = header("webhook-timestamp").parse().expect("whole seconds");
    let reference = standardwebhooks::Webhook::new(secret).expect("a secret that the reference implementation takes");
    let expected = reference.sign(header("webhook-id"), timestamp, &asked.body).expect("signed");
    let signatures: Vec<&str> = header("webhook-signature").split(' ').collect();
    assert!(signatures.contains(&expected.as_str()), "{signatures:?} does not hold {expected}");
    (signatures.len(), timestamp)
}
