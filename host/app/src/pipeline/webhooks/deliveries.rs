//! Tells subscribers of events: notes which webhook is to be told of what, and sends it, in the order of each line.
//!
//! One host looks through new events (the role saves the others the reading; what is noted checks how far the webhook has come, so two could
//! do no harm). Every host sends what is due: a delivery is leased, sent, and written down under the lease. A host that dies loses nothing: its
//! leases run out, and the receiver may get a message again, under the same id.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use crate::pipeline::artists::privacy::again;
use crate::pipeline::service::{RETRY_AFTER, ServiceContext};
use crate::pipeline::{Host, HostError};
use backline_gateway::WebhookRequest;
use backline_model::{DeliveryState, Event, Platform, Webhook, WebhookId, WebhookKind};
use backline_rules::delivery::{self, Answer, Attempt, LEASE, Next, PlatformFacts, Prepared};
use backline_store::{DeliveryLease, EventCursor, EventHead, Finish, NewDelivery, Scope, StoreError, Term};

/// The role of the host that looks through new events.
const ROLE: &str = "deliveries";

/// Events looked through at once.
const PAGE: u32 = 1_000;

/// Time between two looks for new events, however often the bell rings: whoever reads them makes those wait that write some.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How a delivery that was taken up went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeliveryOutcome {
    Delivered,
    Again,
    Parked,
    Skipped,
    /// Another host has it, or it is gone.
    Lost,
}

impl DeliveryOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Again => "failed",
            Self::Parked => "parked",
            Self::Skipped => "skipped",
            Self::Lost => "lost",
        }
    }
}

/// What a round of deliveries came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeliveryReport {
    /// Deliveries noted that were not before.
    pub noted: u64,
    /// Taken by their receivers.
    pub delivered: u64,
    /// Failed, and to be tried again.
    pub failed: u64,
    /// Given up.
    pub parked: u64,
    /// Not to be sent.
    pub skipped: u64,
}

impl DeliveryReport {
    fn count(&mut self, went: DeliveryOutcome) {
        match went {
            DeliveryOutcome::Delivered => self.delivered += 1,
            DeliveryOutcome::Again => self.failed += 1,
            DeliveryOutcome::Parked => self.parked += 1,
            DeliveryOutcome::Skipped => self.skipped += 1,
            DeliveryOutcome::Lost => {}
        }
    }
}

/// What a host knows of its part in this.
#[derive(Default)]
struct Dispatcher {
    term: Option<Term>,
    webhooks: Vec<Webhook>,
    /// Webhooks that may have something due and have room for it.
    hungry: BTreeSet<WebhookId>,
    sends: JoinSet<()>,
    /// Whom each of them is for.
    under_way: HashMap<Id, WebhookId>,
}

impl Dispatcher {
    fn under_way_to(&self, webhook: WebhookId) -> usize {
        self.under_way.values().filter(|other| **other == webhook).count()
    }
}

/// Goes on until the service stops; then waits for what is under way, and gives the role up.
pub(in crate::pipeline) async fn serve(context: ServiceContext) {
    let mut office = Dispatcher::default();
    let mut look_at = Instant::now();
    while !context.stop.is_cancelled() {
        let host = context.host();
        if Instant::now() >= look_at {
            look_at = match look(&context, &host, &mut office).await {
                Ok(rest) => Instant::now() + rest,
                Err(error) => {
                    tracing::warn!(%error, "deliveries can't be looked after; it is tried again");
                    Instant::now() + RETRY_AFTER
                }
            };
        }
        if let Err(error) = send_due(&context, &host, &mut office).await {
            tracing::warn!(%error, "deliveries can't be taken up; it is tried again");
            look_at = look_at.min(Instant::now() + RETRY_AFTER);
        }
        tokio::select! {
            () = tokio::time::sleep_until(look_at) => {}
            () = context.stop.cancelled() => {}
            () = context.events.notified() => look_at = look_at.min(Instant::now() + LOOK_EVERY),
            Some(done) = office.sends.join_next_with_id(), if !office.sends.is_empty() => ended(&mut office, done),
        }
    }
    // Each ends within the time that an answer may take, which is short against that of a stop.
    while office.sends.join_next().await.is_some() {}
    let host = context.host();
    if let Some(term) = office.term
        && let Err(error) = host.store().role_resign(&term, host.clock().now()).await
    {
        tracing::warn!(%error, "the role of looking through events could not be given up; another host takes it when its time is over");
    }
}

fn ended(office: &mut Dispatcher, done: Result<(Id, ()), tokio::task::JoinError>) {
    let id = match &done {
        Ok((id, ())) => *id,
        Err(error) => {
            tracing::error!(%error, "a delivery ended unexpectedly; it is tried again when its lease has run out");
            error.id()
        }
    };
    office.hungry.extend(office.under_way.remove(&id));
}

/// Looks through new events and at what is due; answers how long until the next look unless something happens before.
async fn look(context: &ServiceContext, host: &Host, office: &mut Dispatcher) -> Result<Duration, HostError> {
    let poll = Duration::from_millis(host.config().service.poll_ms);
    let webhooks = host.store().webhooks_list(&Scope::all_tenants()).await?;
    let on: Vec<(Webhook, EventCursor)> = webhooks.into_iter().filter(|(webhook, _)| webhook.enabled).collect();
    let mut more = false;
    if !on.is_empty() {
        let ttl = Duration::from_millis(host.config().service.leader_ttl_ms);
        office.term = host.store().role_take(ROLE, &context.name, host.clock().now(), ttl).await?;
        if office.term.is_some() {
            more = host.note_deliveries(&on).await?.1;
        }
    }
    office.webhooks = on.into_iter().map(|(webhook, _)| webhook).collect();
    office.hungry = office.webhooks.iter().map(|webhook| webhook.id).collect();
    if office.webhooks.is_empty() {
        return Ok(poll);
    }
    if more {
        return Ok(LOOK_EVERY);
    }
    let now = host.clock().now();
    let next = host.store().next_delivery_get(&Scope::all_tenants(), now).await?;
    let until_next = next.and_then(|next| (next - now).to_std().ok());
    Ok(until_next.map_or(poll, |until| until.clamp(LOOK_EVERY, poll.max(LOOK_EVERY))))
}

/// Takes up what is due for webhooks that have room, each after the other, so that none takes all the room there is.
async fn send_due(context: &ServiceContext, host: &Host, office: &mut Dispatcher) -> Result<(), HostError> {
    let config = &host.config().deliveries;
    let (of_one, of_all) = (config.in_flight_per_webhook as usize, config.in_flight_max as usize);
    // Whoever has least under way comes first.
    let mut turns: Vec<(usize, Webhook)> = office
        .webhooks
        .iter()
        .filter(|webhook| office.hungry.contains(&webhook.id))
        .map(|webhook| (office.under_way_to(webhook.id), webhook.clone()))
        .collect();
    turns.sort_by_key(|(under_way, _)| *under_way);
    for (under_way, webhook) in turns {
        // However many slow ones there are: whoever has nothing under way may have one.
        let spare = of_all.saturating_sub(office.sends.len()).max(usize::from(under_way == 0));
        let room = of_one.saturating_sub(under_way).min(spare);
        if room == 0 {
            continue;
        }
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let leases = host
            .store()
            .deliveries_lease(&Scope::all_tenants(), webhook.id, &context.name, host.clock().now(), LEASE, limit)
            .await?;
        if leases.len() < room {
            office.hungry.remove(&webhook.id);
        }
        for lease in leases {
            let (host, webhook) = (host.clone(), webhook.clone());
            let id = webhook.id;
            let task = office.sends.spawn(async move {
                host.deliver(&webhook, &lease).await;
            });
            office.under_way.insert(task.id(), id);
        }
    }
    Ok(())
}

impl Host {
    /// One round without a service: notes what webhooks are to be told of, and sends everything that is due by now, whoever leads. What fails
    /// waits for another round.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliver_due(&self) -> Result<DeliveryReport, HostError> {
        let mut report = DeliveryReport::default();
        let on = loop {
            let mut on = self.store().webhooks_list(&Scope::all_tenants()).await?;
            on.retain(|(webhook, _)| webhook.enabled);
            let (noted, more) = self.note_deliveries(&on).await?;
            report.noted += noted;
            if !more {
                break on;
            }
        };
        // What was noted just now is due; what fails from now on is not.
        let now = self.clock().now();
        let mut rounds = stream::iter(&on).map(|(webhook, _)| self.deliver_to(webhook, now)).buffer_unordered(8);
        while let Some(went) = rounds.next().await {
            for went in went? {
                report.count(went);
            }
        }
        Ok(report)
    }

    async fn deliver_to(&self, webhook: &Webhook, now: DateTime<Utc>) -> Result<Vec<DeliveryOutcome>, HostError> {
        let room = self.config().deliveries.in_flight_per_webhook;
        let mut all = Vec::new();
        loop {
            // What fails from now on is not due in this round, however long the round lasts; leases begin when they are taken.
            let held_until = self.clock().now() + LEASE;
            let leases = self
                .store()
                .deliveries_lease_until(&Scope::all_tenants(), webhook.id, self.name(), now, held_until, room)
                .await?;
            if leases.is_empty() {
                return Ok(all);
            }
            let sends = leases.iter().map(|lease| self.deliver(webhook, lease));
            all.extend(futures::future::join_all(sends).await);
        }
    }

    /// Notes for webhooks what they are to be told of the next events: a page for those that have come furthest, so that they are told at once, and
    /// one for those that are furthest behind. Answers how many deliveries are new, and whether there is more to look through.
    async fn note_deliveries(&self, webhooks: &[(Webhook, EventCursor)]) -> Result<(u64, bool), HostError> {
        let places: BTreeSet<EventCursor> = webhooks.iter().map(|(_, seen)| *seen).collect();
        let (Some(first), Some(last)) = (places.first(), places.last()) else { return Ok((0, false)) };
        let (mut noted, mut more) = self.note_page(webhooks, *last).await?;
        if first < last {
            let (of_first, more_of_first) = self.note_page(webhooks, *first).await?;
            noted += of_first;
            more |= more_of_first || places.len() > 2 && of_first > 0;
        }
        Ok((noted, more))
    }

    /// The same for the webhooks that have come as far as this, and a page of events.
    async fn note_page(
        &self,
        webhooks: &[(Webhook, EventCursor)],
        from: EventCursor,
    ) -> Result<(u64, bool), HostError> {
        let (store, mut noted) = (self.store(), 0);
        // Events may be being written for long.
        let heads = again(|| async { store.event_heads_list(&Scope::all_tenants(), from, PAGE).await }).await?;
        let Some(until) = heads.last().map(|head| head.cursor) else { return Ok((0, false)) };
        for (webhook, seen) in webhooks.iter().filter(|(_, seen)| *seen == from) {
            let new: Vec<NewDelivery> = heads.iter().filter_map(|head| wanted(webhook, head)).collect();
            // None where another host has done it.
            noted += store
                .deliveries_fan_out(&Scope::all_tenants(), webhook.id, *seen, until, &new, self.clock().now())
                .await?
                .unwrap_or(0);
        }
        Ok((noted, heads.len() >= PAGE as usize))
    }

    /// Sends one delivery and writes down how it went. What goes wrong with the database is logged: the lease runs out then.
    async fn deliver(&self, webhook: &Webhook, lease: &DeliveryLease) -> DeliveryOutcome {
        let went = self.send(webhook, lease).await.unwrap_or_else(|error| {
            tracing::warn!(webhook = webhook.name, event = %lease.event.id, %error, "a delivery can't be written down; it is tried again");
            DeliveryOutcome::Lost
        });
        self.telemetry().delivery_ended(went.as_str());
        went
    }

    async fn send(&self, webhook: &Webhook, lease: &DeliveryLease) -> Result<DeliveryOutcome, StoreError> {
        let config = &self.config().deliveries;
        let platform = match webhook.kind {
            WebhookKind::Webhook => None,
            WebhookKind::Ai | WebhookKind::Push => self.platform_facts(&lease.event).await?,
        };
        let answer = match delivery::prepare(webhook, &lease.event, platform.as_ref(), &config.ai_overrides) {
            Prepared::Skip(reason) => {
                let finish = Finish { state: DeliveryState::Skipped, status: None, problem: Some(reason) };
                return self.finished(lease, &finish, DeliveryOutcome::Skipped).await;
            }
            Prepared::Send { url, body } => {
                self.answer(webhook, lease, url, &body).await.unwrap_or_else(|problem| Answer::Nothing { problem })
            }
        };
        let now = self.clock().now();
        let attempt = Attempt { first_at: lease.first_tried_at, number: lease.attempt, now };
        let (name, event, status) = (&webhook.name, &lease.event.id, answer.status());
        match delivery::after(config, attempt, &answer, self.gateway().jitter()) {
            Next::Delivered => {
                let finish = Finish { state: DeliveryState::Delivered, status, problem: None };
                self.finished(lease, &finish, DeliveryOutcome::Delivered).await
            }
            Next::Parked { problem } => {
                tracing::warn!(webhook = name, %event, problem, "a delivery is given up; `backline webhooks resend {name} --parked` sends it again");
                let finish = Finish { state: DeliveryState::Parked, status, problem: Some(problem) };
                self.finished(lease, &finish, DeliveryOutcome::Parked).await
            }
            Next::Again { at, problem } => {
                tracing::info!(webhook = name, %event, problem, %at, "a delivery failed and is tried again");
                let is_ours = self.store().delivery_retry(lease, at, status, &problem).await?;
                Ok(if is_ours { DeliveryOutcome::Again } else { DeliveryOutcome::Lost })
            }
            Next::Gone { problem } => {
                tracing::warn!(webhook = name, %event, problem, "the webhook is switched off; `backline webhooks enable {name}` switches it on");
                self.store().webhook_set_enabled(&Scope::all_tenants(), webhook, false, Some(&problem), now).await?;
                let is_ours = self.store().delivery_retry(lease, now, status, &problem).await?;
                Ok(if is_ours { DeliveryOutcome::Again } else { DeliveryOutcome::Lost })
            }
        }
    }

    async fn finished(
        &self,
        lease: &DeliveryLease,
        finish: &Finish,
        went: DeliveryOutcome,
    ) -> Result<DeliveryOutcome, StoreError> {
        let is_ours = self.store().delivery_finish(lease, finish, self.clock().now()).await?;
        Ok(if is_ours { went } else { DeliveryOutcome::Lost })
    }

    /// Posts a message; what keeps it from being answered is told in words.
    async fn answer(
        &self,
        webhook: &Webhook,
        lease: &DeliveryLease,
        url: String,
        body: &serde_json::Value,
    ) -> Result<Answer, String> {
        let body = serde_json::to_vec(body).map_err(|error| format!("the message can't be written: {error}"))?;
        let headers = self.signature(webhook.id, lease.event.id, &body).await;
        let headers = headers.map_err(|error| format!("the message can't be signed: {error}"))?;
        let timeout = Duration::from_millis(self.config().deliveries.timeout_ms);
        let answer = self.gateway().post_webhook(&WebhookRequest { url, headers, body }, timeout).await;
        let answer = answer.map_err(|error| error.to_string())?;
        Ok(Answer::Status { status: answer.status, retry_after: answer.retry_after })
    }

    /// What is known of the platform that an event is about.
    async fn platform_facts(&self, event: &Event) -> Result<Option<PlatformFacts>, StoreError> {
        let Some(platform) = delivery::platform_of(event).and_then(|name| Platform::new(name).ok()) else {
            return Ok(None);
        };
        let release = self.store().active_release_get(&platform).await?;
        Ok(Some(match release {
            Some(release) => PlatformFacts {
                title: release.manifest.connector.title.clone(),
                forbids_ai: Some(release.manifest.policy.forbids_ai || release.grant.policy.forbids_ai),
            },
            None => PlatformFacts { title: platform.to_string(), forbids_ai: None },
        }))
    }
}

fn wanted(webhook: &Webhook, head: &EventHead) -> Option<NewDelivery> {
    delivery::wants(webhook, &head.kind, head.tenant.as_deref()).then(|| NewDelivery {
        event: head.cursor,
        line: delivery::line(head.artist_id, head.platform.as_deref(), &head.kind),
    })
}
