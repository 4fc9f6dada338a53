//! Delivers events: records which webhook gets which event, and sends it, in order within each line.
//!
//! One host fans out new events; the role saves the others the reading, and the recorded position of each webhook makes
//! two at once harmless. Every host sends what is due: a delivery is leased, sent, and recorded under the lease. When a
//! host dies nothing is lost: its leases expire, and the receiver may get a message again, with the same id.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use crate::config::Config;
use crate::pipeline::clocks::Clocks;
use crate::pipeline::context::{RETRY_AFTER, ServiceContext};
use crate::pipeline::error::with_causes;
use crate::pipeline::retry::retry_transient;
use crate::pipeline::watchdog::{Things, TurnEnd, Undone};
use crate::pipeline::webhooks::signing::{SignError, Signer};
use crate::pipeline::webhooks::troubles::{DeliveryFailure, Then, Troubles};
use crate::telemetry::Telemetry;
use backline_gateway::{Gateway, WebhookRequest};
use backline_model::clock::Clock;
use backline_model::kill_points::{Point, point};
use backline_model::{DeliveryState, Event, Platform, Webhook, WebhookId, WebhookKind};
use backline_rules::delivery::{self, Attempt, AttemptResult, DeliveryNext, LEASE, PlatformFacts, Prepared};
use backline_store::{DeliveryLease, EventCursor, EventHead, Finish, NewDelivery, Scope, Store, StoreError, Term};

/// The role of the host that fans out new events.
const ROLE: &str = "deliveries";

/// Events read at once.
const PAGE: u32 = 1_000;

/// Shortest time between two reads of new events, however many notifications come: a reader delays the writers.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The outcome of a leased delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeliveryOutcome {
    Delivered,
    Again,
    Parked,
    Skipped,
    /// Another host holds it, or it does not exist any more.
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

/// What became of one leased delivery.
struct Ended {
    webhook: WebhookId,
    outcome: DeliveryOutcome,
    /// What failed, where something did.
    failure: Option<DeliveryFailure>,
}

/// The result of one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeliveryReport {
    /// Deliveries recorded for the first time.
    pub noted: u64,
    /// Accepted by their receivers.
    pub delivered: u64,
    /// Failed, and retried later.
    pub failed: u64,
    /// Given up after all attempts.
    pub parked: u64,
    /// Not sent, because the webhook does not get such an event.
    pub skipped: u64,
}

impl DeliveryReport {
    fn count(&mut self, outcome: DeliveryOutcome) {
        match outcome {
            DeliveryOutcome::Delivered => self.delivered += 1,
            DeliveryOutcome::Again => self.failed += 1,
            DeliveryOutcome::Parked => self.parked += 1,
            DeliveryOutcome::Skipped => self.skipped += 1,
            DeliveryOutcome::Lost => {}
        }
    }
}

/// The state of the loop.
#[derive(Default)]
struct Deliveries {
    term: Option<Term>,
    webhooks: Vec<Webhook>,
    /// Webhooks that may have a due delivery and room for it.
    hungry: BTreeSet<WebhookId>,
    sends: JoinSet<Ended>,
    /// The webhook of each send.
    under_way: HashMap<Id, WebhookId>,
    /// Failures that the log is still to be told of.
    troubles: Troubles,
}

impl Deliveries {
    fn under_way_to(&self, webhook: WebhookId) -> usize {
        self.under_way.values().filter(|other| **other == webhook).count()
    }
}

/// Runs until the service stops; then waits for running sends, and resigns the role.
pub(in crate::pipeline) async fn serve(context: ServiceContext<Dispatcher>) {
    let mut deliveries = Deliveries::default();
    let mut look_at = Instant::now();
    while !context.stop.is_cancelled() {
        let dispatcher = context.current();
        if !dispatcher.clocks.is_right() {
            // Leases and retries would get a wrong time; another host sends what is due.
            context.rest(TurnEnd::Skipped, RETRY_AFTER).await;
            continue;
        }
        let mut end = TurnEnd::Skipped;
        if Instant::now() >= look_at {
            let looked = look(&context, &dispatcher, &mut deliveries).await;
            end = TurnEnd::of_things(&looked);
            look_at = match looked {
                Ok(rest) => Instant::now() + rest,
                Err(undone) => {
                    tracing::warn!(error = %undone.error(), "not all deliveries can be read; this is retried");
                    Instant::now() + RETRY_AFTER
                }
            };
        }
        let sent = send_due(&context, &dispatcher, &mut deliveries).await;
        end = end.and(TurnEnd::of_part(&sent));
        if let Err(undone) = sent {
            tracing::warn!(error = %undone.error(), "not all deliveries can be leased; this is retried");
            look_at = look_at.min(Instant::now() + RETRY_AFTER);
        }
        context.heartbeat.wait(end, look_at.saturating_duration_since(Instant::now()));
        tokio::select! {
            () = tokio::time::sleep_until(look_at) => {}
            () = context.stop.cancelled() => {}
            () = context.events.notified() => look_at = look_at.min(Instant::now() + LOOK_EVERY),
            Some(done) = deliveries.sends.join_next_with_id(), if !deliveries.sends.is_empty() => {
                ended(&mut deliveries, done, dispatcher.clock.now());
            }
        }
        deliveries.troubles.tell_due(dispatcher.clock.now());
    }
    let dispatcher = context.current();
    // Each ends within the timeout of an answer, which is short against the stop deadline.
    while let Some(done) = deliveries.sends.join_next_with_id().await {
        ended(&mut deliveries, done, dispatcher.clock.now());
    }
    deliveries.troubles.tell_all();
    if let Some(term) = deliveries.term
        && let Err(error) = dispatcher.store.role_resign(&term, dispatcher.clock.now()).await
    {
        tracing::warn!(
            %error,
            "the role of fanning out events could not be resigned; another host takes it when the term expires"
        );
    }
}

fn ended(deliveries: &mut Deliveries, done: Result<(Id, Ended), tokio::task::JoinError>, now: DateTime<Utc>) {
    let id = match done {
        Ok((id, Ended { webhook, failure, .. })) => {
            if let Some(failure) = failure {
                deliveries.troubles.add(webhook, failure, now);
            }
            id
        }
        Err(error) => {
            tracing::error!(%error, "a delivery ended unexpectedly; it is retried when its lease expires");
            error.id()
        }
    };
    deliveries.hungry.extend(deliveries.under_way.remove(&id));
}

/// Fans out new events and checks what is due. Returns the time until the next pass, unless a notification comes
/// before.
async fn look(
    context: &ServiceContext<Dispatcher>,
    dispatcher: &Dispatcher,
    deliveries: &mut Deliveries,
) -> Result<Duration, Undone<StoreError>> {
    let poll = Duration::from_millis(dispatcher.config.service.poll_ms);
    let webhooks = dispatcher.store.webhooks_list(&Scope::all_tenants()).await?;
    let on: Vec<(Webhook, EventCursor)> = webhooks.into_iter().filter(|(webhook, _)| webhook.enabled).collect();
    let mut noted = Ok((0, false));
    if !on.is_empty() {
        let Some(now) = dispatcher.clocks.right_now() else { return Ok(poll) };
        let ttl = Duration::from_millis(dispatcher.config.service.leader_ttl_ms);
        deliveries.term = dispatcher.store.role_take(ROLE, &context.name, now, ttl).await?;
        if deliveries.term.is_some() {
            noted = dispatcher.note_deliveries(&on).await;
        }
    }
    deliveries.webhooks = on.into_iter().map(|(webhook, _)| webhook).collect();
    deliveries.hungry = deliveries.webhooks.iter().map(|webhook| webhook.id).collect();
    if deliveries.webhooks.is_empty() {
        return Ok(poll);
    }
    // What is due goes out also where new events can't be noted at the moment.
    if noted?.1 {
        return Ok(LOOK_EVERY);
    }
    let now = dispatcher.clock.now();
    let next = dispatcher.store.next_delivery_get(&Scope::all_tenants(), now).await?;
    let until_next = next.and_then(|next| (next - now).to_std().ok());
    Ok(until_next.map_or(poll, |until| until.clamp(LOOK_EVERY, poll.max(LOOK_EVERY))))
}

/// Leases and sends due deliveries of webhooks that have room, in turn, so that none takes all the room.
async fn send_due(
    context: &ServiceContext<Dispatcher>,
    dispatcher: &Dispatcher,
    deliveries: &mut Deliveries,
) -> Result<(), Undone<StoreError>> {
    let config = &dispatcher.config.deliveries;
    let (of_one, of_all) = (config.in_flight_per_webhook as usize, config.in_flight_max as usize);
    // The webhook with the fewest running sends comes first.
    let mut turns: Vec<(usize, Webhook)> = deliveries
        .webhooks
        .iter()
        .filter(|webhook| deliveries.hungry.contains(&webhook.id))
        .map(|webhook| (deliveries.under_way_to(webhook.id), webhook.clone()))
        .collect();
    turns.sort_by_key(|(under_way, _)| *under_way);
    let mut leased = Things::default();
    for (under_way, webhook) in turns {
        // However many slow webhooks there are, one with nothing running may send.
        let spare = of_all.saturating_sub(deliveries.sends.len()).max(usize::from(under_way == 0));
        let room = of_one.saturating_sub(under_way).min(spare);
        if room == 0 {
            continue;
        }
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let Some(now) = dispatcher.clocks.right_now() else { return Ok(()) };
        let leases = dispatcher
            .store
            .deliveries_lease(&Scope::all_tenants(), webhook.id, &context.name, now, LEASE, limit)
            .await;
        // One that is held up is first each time, and keeps no other one waiting.
        let Some(leases) = leased.note(webhook.id, leases) else { continue };
        if leases.len() < room {
            deliveries.hungry.remove(&webhook.id);
        }
        for lease in leases {
            let (dispatcher, webhook) = (dispatcher.clone(), webhook.clone());
            let id = webhook.id;
            let task = deliveries.sends.spawn(async move { dispatcher.deliver(&webhook, &lease).await });
            deliveries.under_way.insert(task.id(), id);
        }
    }
    leased.leased(deliveries.webhooks.len())
}

/// What a [`Dispatcher`] is made of.
pub(in crate::pipeline) struct DispatcherParts {
    pub(in crate::pipeline) name: Arc<str>,
    pub(in crate::pipeline) config: Arc<Config>,
    pub(in crate::pipeline) telemetry: Telemetry,
    pub(in crate::pipeline) clock: Clock,
    pub(in crate::pipeline) clocks: Clocks,
    pub(in crate::pipeline) store: Store,
    pub(in crate::pipeline) gateway: Gateway,
    pub(in crate::pipeline) signer: Signer,
}

/// Delivers events to webhooks. Cloning shares it.
#[derive(Clone)]
pub struct Dispatcher {
    name: Arc<str>,
    config: Arc<Config>,
    telemetry: Telemetry,
    clock: Clock,
    clocks: Clocks,
    store: Store,
    gateway: Gateway,
    signer: Signer,
}

impl Dispatcher {
    pub(in crate::pipeline) fn new(parts: DispatcherParts) -> Self {
        let DispatcherParts { name, config, telemetry, clock, clocks, store, gateway, signer } = parts;
        Self { name, config, telemetry, clock, clocks, store, gateway, signer }
    }

    /// One round without a service: records new deliveries, and sends everything that is due now, whichever host has
    /// the role. What fails waits for another round.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliver_due(&self) -> Result<DeliveryReport, StoreError> {
        let mut report = DeliveryReport::default();
        let (on, mut failed) = loop {
            let mut on = self.store.webhooks_list(&Scope::all_tenants()).await?;
            on.retain(|(webhook, _)| webhook.enabled);
            match self.note_deliveries(&on).await {
                Ok((noted, more)) => {
                    report.noted += noted;
                    if !more {
                        break (on, None);
                    }
                }
                // What is due goes out also where new events can't be noted at the moment.
                Err(undone) => break (on, Some(undone.into_error())),
            }
        };
        // Deliveries recorded just now are due; those that fail from now on are not.
        let now = self.clock.now();
        let mut rounds = stream::iter(&on).map(|(webhook, _)| self.deliver_to(webhook, now)).buffer_unordered(8);
        let mut troubles = Troubles::default();
        while let Some(result) = rounds.next().await {
            match result {
                Ok(ended) => {
                    for Ended { webhook, outcome, failure } in ended {
                        report.count(outcome);
                        failure.into_iter().for_each(|failure| troubles.add(webhook, failure, now));
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        troubles.tell_all();
        failed.map_or(Ok(report), Err)
    }

    async fn deliver_to(&self, webhook: &Webhook, now: DateTime<Utc>) -> Result<Vec<Ended>, StoreError> {
        let room = self.config.deliveries.in_flight_per_webhook;
        let mut all = Vec::new();
        loop {
            // Deliveries that fail from now on are not due in this round, however long it lasts; a lease begins when it
            // is taken.
            let held_until = self.clock.now() + LEASE;
            let leases = self
                .store
                .deliveries_lease_until(&Scope::all_tenants(), webhook.id, &self.name, now, held_until, room)
                .await?;
            if leases.is_empty() {
                return Ok(all);
            }
            let sends = leases.iter().map(|lease| self.deliver(webhook, lease));
            all.extend(futures::future::join_all(sends).await);
        }
    }

    /// Records deliveries of the next events: a page for the webhooks that are furthest ahead, so that they get new
    /// events at once, and one for those furthest behind that nothing holds up. Returns the number of new deliveries,
    /// and whether there are more events.
    async fn note_deliveries(&self, webhooks: &[(Webhook, EventCursor)]) -> Result<(u64, bool), Undone<StoreError>> {
        let places: BTreeSet<EventCursor> = webhooks.iter().map(|(_, seen)| *seen).collect();
        let Some(last) = places.last() else { return Ok((0, false)) };
        let (mut noted, mut more) = (0, false);
        let (mut pages, mut fanned) = (Things::default(), Things::default());
        let of_last = self.note_page(webhooks, *last, &mut fanned).await;
        if let Some(Some(of_last)) = pages.note(*last, of_last) {
            (noted, more) = of_last;
        }
        for place in places.iter().take_while(|place| *place < last) {
            let of_place = self.note_page(webhooks, *place, &mut fanned).await;
            // One that is held up keeps no other one waiting.
            if let Some(Some((of_place, more_of_place))) = pages.note(*place, of_place) {
                noted += of_place;
                more |= more_of_place || places.len() > 2 && of_place > 0;
                break;
            }
        }
        Undone::worst([pages.read(), fanned.ended()]).map(|()| (noted, more))
    }

    /// The same for the webhooks at one position, and one page of events; none where a webhook is held up, after the
    /// others.
    ///
    /// # Errors
    /// When the events can't be read.
    async fn note_page(
        &self,
        webhooks: &[(Webhook, EventCursor)],
        from: EventCursor,
        fanned: &mut Things<WebhookId, StoreError>,
    ) -> Result<Option<(u64, bool)>, StoreError> {
        let (store, mut noted, mut is_held_up) = (&self.store, 0, false);
        // Transactions that write events may be long.
        let heads =
            retry_transient(|| async { store.event_heads_list(&Scope::all_tenants(), from, PAGE).await }).await?;
        let Some(until) = heads.last().map(|head| head.cursor) else { return Ok(Some((0, false))) };
        for (webhook, seen) in webhooks.iter().filter(|(_, seen)| *seen == from) {
            let new: Vec<NewDelivery> = heads.iter().filter_map(|head| wanted(webhook, head)).collect();
            let now = self.clock.now();
            let of_webhook = store.deliveries_fan_out(&Scope::all_tenants(), webhook.id, *seen, until, &new, now).await;
            is_held_up |= of_webhook.is_err();
            // None if another host has done it.
            noted += fanned.note(webhook.id, of_webhook).flatten().unwrap_or(0);
        }
        Ok((!is_held_up).then_some((noted, heads.len() >= PAGE as usize)))
    }

    /// Sends one delivery and records the outcome. Where the database fails, the lease expires and it is retried.
    async fn deliver(&self, webhook: &Webhook, lease: &DeliveryLease) -> Ended {
        point(Point::DeliveryLeased);
        let (outcome, failure) = self.send(webhook, lease).await.unwrap_or_else(|error| {
            let reason = format!("it can't be recorded: {}", with_causes(&error));
            (DeliveryOutcome::Lost, Some((reason, Then::Retried)))
        });
        self.telemetry.delivery_ended(outcome.as_str());
        let failure = failure.map(|(reason, then)| {
            tracing::debug!(webhook = webhook.name, event = %lease.event.id, reason, "a delivery failed");
            DeliveryFailure { webhook: webhook.name.clone(), reason, then }
        });
        Ended { webhook: webhook.id, outcome, failure }
    }

    /// The outcome, and what failed.
    async fn send(
        &self,
        webhook: &Webhook,
        lease: &DeliveryLease,
    ) -> Result<(DeliveryOutcome, Option<(String, Then)>), StoreError> {
        let config = &self.config.deliveries;
        let platform = match webhook.kind {
            WebhookKind::Webhook => None,
            WebhookKind::Ai | WebhookKind::Push => self.platform_facts(&lease.event).await?,
        };
        let answer = match delivery::prepare(webhook, &lease.event, platform.as_ref(), &config.ai_overrides) {
            Prepared::Skip(reason) => {
                let finish = Finish { state: DeliveryState::Skipped, status: None, problem: Some(reason) };
                return Ok((self.finished(lease, &finish, DeliveryOutcome::Skipped).await?, None));
            }
            Prepared::Send { url, body } => {
                let answer = self.answer(webhook, lease, url, &body).await?;
                answer.unwrap_or_else(|problem| AttemptResult::Nothing { problem })
            }
        };
        point(Point::DeliverySent);
        let now = self.clock.now();
        let attempt = Attempt { first_at: lease.first_tried_at, number: lease.attempt, now };
        let status = answer.status();
        match delivery::after(config, attempt, &answer, self.gateway.jitter()) {
            DeliveryNext::Delivered => {
                let finish = Finish { state: DeliveryState::Delivered, status, problem: None };
                Ok((self.finished(lease, &finish, DeliveryOutcome::Delivered).await?, None))
            }
            // By a clock that has jumped, its day of retries would be over, or its turn be far off. Its lease ends by
            // itself, and then it is sent again.
            _ if !self.clocks.is_right() => {
                let problem = "this machine's clock jumped, so the next turn is not known".to_owned();
                Ok((DeliveryOutcome::Lost, Some((problem, Then::Retried))))
            }
            DeliveryNext::Parked { problem } => {
                let finish = Finish { state: DeliveryState::Parked, status, problem: Some(problem.clone()) };
                let outcome = self.finished(lease, &finish, DeliveryOutcome::Parked).await?;
                Ok((outcome, Some((problem, Then::Parked))))
            }
            DeliveryNext::Again { at, problem } => {
                let outcome = self.tried_again(lease, at, status, &problem).await?;
                Ok((outcome, Some((problem, Then::Retried))))
            }
            DeliveryNext::Gone { problem } => {
                // One that was changed since it was read is asked again, once it is read again.
                let is_off = self.store.webhook_switch_off(&Scope::all_tenants(), webhook, &problem, now).await?;
                let (wait, then) = if is_off {
                    (Duration::ZERO, Then::SwitchedOff)
                } else {
                    (Duration::from_millis(self.config.service.poll_ms), Then::Retried)
                };
                let outcome = self.tried_again(lease, now + wait, status, &problem).await?;
                Ok((outcome, Some((problem, then))))
            }
        }
    }

    async fn tried_again(
        &self,
        lease: &DeliveryLease,
        at: DateTime<Utc>,
        status: Option<u16>,
        problem: &str,
    ) -> Result<DeliveryOutcome, StoreError> {
        let is_ours = self.store.delivery_retry(lease, at, status, problem).await?;
        Ok(if is_ours { DeliveryOutcome::Again } else { DeliveryOutcome::Lost })
    }

    async fn finished(
        &self,
        lease: &DeliveryLease,
        finish: &Finish,
        outcome: DeliveryOutcome,
    ) -> Result<DeliveryOutcome, StoreError> {
        let is_ours = self.store.delivery_finish(lease, finish, self.clock.now()).await?;
        point(Point::DeliveryRecorded);
        Ok(if is_ours { outcome } else { DeliveryOutcome::Lost })
    }

    /// Posts a message. The inner error says why there is no answer.
    ///
    /// # Errors
    /// When the database is away, which says nothing about the receiver.
    async fn answer(
        &self,
        webhook: &Webhook,
        lease: &DeliveryLease,
        url: String,
        body: &serde_json::Value,
    ) -> Result<Result<AttemptResult, String>, StoreError> {
        let body = match serde_json::to_vec(body) {
            Ok(body) => body,
            Err(error) => return Ok(Err(format!("the message can't be written: {error}"))),
        };
        let headers = match self.signer.headers(webhook.id, lease.event.id, &body).await {
            Ok(headers) => headers,
            Err(SignError::Store(error)) if error.is_outage() => return Err(error),
            Err(error) => return Ok(Err(format!("the message can't be signed: {}", with_causes(&error)))),
        };
        let timeout = Duration::from_millis(self.config.deliveries.timeout_ms);
        let answer = self.gateway.post_webhook(&WebhookRequest { url, headers, body }, timeout).await;
        let answered =
            answer.map(|answer| AttemptResult::Status { status: answer.status, retry_after: answer.retry_after });
        Ok(answered.map_err(|error| error.to_string()))
    }

    /// Facts about the platform that an event is about.
    async fn platform_facts(&self, event: &Event) -> Result<Option<PlatformFacts>, StoreError> {
        let Some(platform) = delivery::platform_of(event).and_then(|name| Platform::new(name).ok()) else {
            return Ok(None);
        };
        let release = match self.store.active_release_get(&platform).await {
            // Its terms are not known then; the artist's other events are not to wait for it.
            Err(StoreError::Unreadable { .. }) => None,
            release => release?,
        };
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
