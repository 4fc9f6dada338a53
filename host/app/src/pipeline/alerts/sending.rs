//! Puts events into messages, begins digests, and sends what is due: on the one host that has the role, of each
//! channel and of each digest one at a time. A message is leased, sent and recorded under the lease. When a host dies
//! nothing is lost, and what may have arrived is sent again only where that counts once.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::manage::Alerts;
use crate::pipeline::context::{RETRY_AFTER, ServiceContext};
use crate::pipeline::credentials::installation::is_simulated;
use crate::pipeline::error::with_causes;
use crate::pipeline::retry::retry_transient;
use crate::pipeline::watchdog::{Things, TurnEnd, Undone};
use backline_gateway::secrets::{SecretText, open_channel};
use backline_gateway::{Mail, MailError, WebhookRequest, WebhookRequestError};
use backline_model::event::types;
use backline_model::{
    AccountId, AlertChannel, AlertRoute, AlertState, ArtistId, ChannelTarget, Event, Platform, ReconnectUrl,
};
use backline_rules::alerting::{self, AlertNext, AlertText, Attempted, Head, LEASE, SHOWN_MAX, Shown, TIMEOUT, Told};
use backline_rules::digest;
use backline_store::{AlertLease, DueAlert, EventCursor, EventHead, NewAlert, Scope, StoreError, Term};

/// The role of the host that tells people.
const ROLE: &str = "alerts";

/// Events read at once.
const PAGE: u32 = 1_000;

/// Time until the next look while a message waits for its turn: Slack's is a second.
const TURN: Duration = Duration::from_secs(1);

/// How the title of a message about simulated artists begins.
pub(super) const SIMULATED: &str = "Simulated: ";

/// Most digests that a process makes and sends at once. Many are due at the same hour, and each reads all numbers of a
/// tenant.
const DIGESTS_MAX: usize = 4;

/// What is left of [`DIGESTS_MAX`].
static DIGESTS: Semaphore = Semaphore::const_new(DIGESTS_MAX);

/// How often a digest is made at most where no host lived to send it: making it may be what they ended by.
const MAKINGS_MAX: u32 = 5;

/// What a message says.
struct Words {
    /// Number of events in it; 0 of a digest.
    count: u64,
    text: AlertText,
    /// The same as a page, for mail.
    html: Option<String>,
}

/// What one round of sending did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AlertReport {
    /// Accepted by their receivers.
    pub sent: u64,
    /// Failed, and sent again later.
    pub waiting: u64,
    /// They may have arrived, and are not sent again.
    pub unknown: u64,
    /// Given up.
    pub failed: u64,
    /// There was nothing left to tell.
    pub skipped: u64,
}

impl AlertReport {
    fn count(&mut self, state: AlertState) {
        match state {
            AlertState::Sent => self.sent += 1,
            AlertState::Waiting => self.waiting += 1,
            AlertState::Unknown => self.unknown += 1,
            AlertState::Failed => self.failed += 1,
            AlertState::Skipped => self.skipped += 1,
            // Another host holds it.
            AlertState::Gathering | AlertState::Sending => {}
        }
    }
}

/// Runs until the service stops; then waits for what is being sent, and resigns the role.
pub(in crate::pipeline) async fn serve(context: ServiceContext<Alerts>) {
    let (mut term, mut sends) = (None, JoinSet::new());
    while !context.stop.is_cancelled() {
        let alerts = context.current();
        let looked = alerts.look(&context.name, &mut term, &mut sends).await;
        let end = TurnEnd::of_things(&looked);
        let rest = match looked {
            Ok(rest) => rest,
            Err(undone) => {
                tracing::warn!(error = %undone.error(), "not all alerts can be read; this is retried");
                RETRY_AFTER
            }
        };
        context.heartbeat.wait(end, rest);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = context.stop.cancelled() => {}
            Some(done) = sends.join_next(), if !sends.is_empty() => ended(done),
        }
    }
    // Each ends within the timeout of a receiver, or is aborted with the loop.
    while let Some(done) = sends.join_next().await {
        ended(done);
    }
    let alerts = context.current();
    if let Some(term) = term
        && let Err(error) = alerts.store.role_resign(&term, alerts.clock.now()).await
    {
        tracing::warn!(%error, "the alerts role could not be resigned; another host takes it when it ends");
    }
}

fn ended(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done {
        tracing::error!(%error, "sending an alert ended unexpectedly");
    }
}

impl Alerts {
    /// One round without a service: puts new events into messages, begins the digests that are due, and sends
    /// everything that is due and whose channel is free.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliver_due(&self) -> Result<AlertReport, StoreError> {
        let channels = self.store.alert_channels_list(&Scope::all_tenants()).await?;
        let told = loop {
            let routes = self.store.alert_routes_list(&Scope::all_tenants()).await?;
            match self.tell(&routes, &channels).await {
                Ok(true) => {}
                told => break told,
            }
        };
        let begun = match self.right_now() {
            Some(now) => self.begin_digests(now).await,
            None => Ok(false),
        };
        let (mut report, mut held_up) = (AlertReport::default(), told.and(begun).err().map(Undone::into_error));
        for channel in &channels {
            match self.deliver_to(channel).await {
                Ok(states) => states.into_iter().for_each(|state| report.count(state)),
                // One that is held up keeps no other one waiting.
                Err(error) => held_up = Some(error),
            }
        }
        held_up.map_or(Ok(report), Err)
    }

    /// Sends what is due to a channel, until it has to wait. Returns how each message ended.
    pub(super) async fn deliver_to(&self, channel: &AlertChannel) -> Result<Vec<AlertState>, StoreError> {
        let (mut states, mut held_up) = (Vec::new(), None);
        while let Some(now) = self.right_now() {
            let due = self.store.due_alerts_list(&Scope::all_tenants(), now).await?;
            let mut leased = None;
            for alert in due.iter().filter(|alert| alert.channel == channel.id) {
                match self.lease(channel, alert, &self.name, now).await {
                    Ok(None) => {}
                    Ok(lease) => {
                        leased = lease;
                        break;
                    }
                    // One that is held up keeps no other one waiting.
                    Err(error) => held_up = Some(error),
                }
            }
            let Some(lease) = leased else { break };
            match self.deliver(channel, &lease).await {
                Ok(state) => states.push(state),
                Err(error) => held_up = Some(error),
            }
        }
        held_up.map_or(Ok(states), Err)
    }

    /// Puts events into messages and begins to send what is due, if this host has the role. Returns the time until the
    /// next look.
    async fn look(
        &self,
        owner: &str,
        term: &mut Option<Term>,
        sends: &mut JoinSet<()>,
    ) -> Result<Duration, Undone<StoreError>> {
        let poll = Duration::from_millis(self.config.service.poll_ms);
        let channels = self.store.alert_channels_list(&Scope::all_tenants()).await?;
        // Leases and waits would get a wrong time; another host sends what is due.
        let Some(now) = self.right_now().filter(|_| !channels.is_empty()) else { return Ok(poll) };
        let ttl = Duration::from_millis(self.config.service.leader_ttl_ms);
        *term = self.store.role_take(ROLE, owner, now, ttl).await?;
        if term.is_none() {
            return Ok(poll);
        }
        let routes = self.store.alert_routes_list(&Scope::all_tenants()).await?;
        // What is due goes out also where new events can't be read at the moment.
        let told = self.tell(&routes, &channels).await;
        let begun = self.begin_digests(now).await;
        let due = self.store.due_alerts_list(&Scope::all_tenants(), now).await?;
        let mut leased = Things::default();
        for alert in &due {
            let Some(channel) = channels.iter().find(|channel| channel.id == alert.channel) else { continue };
            let turn = alert.digest.map(|_| DIGESTS.try_acquire()).transpose();
            // It waits for those that are being made.
            let Ok(turn) = turn else { continue };
            let lease = self.lease(channel, alert, owner, now).await;
            // One that is held up keeps no other one waiting.
            let Some(lease) = leased.note(channel.id, lease).flatten() else { continue };
            let (alerts, channel) = (self.clone(), channel.clone());
            sends.spawn(async move {
                let _turn = turn;
                if let Err(error) = alerts.deliver(&channel, &lease).await {
                    let error = with_causes(&error);
                    tracing::warn!(error, channel = channel.name, "what became of an alert can't be recorded");
                }
            });
        }
        let more = matches!(told, Ok(true));
        Undone::worst([begun.map(drop), leased.leased(channels.len()), told.map(drop)])?;
        Ok(if more || !due.is_empty() { poll.min(TURN) } else { poll })
    }

    async fn lease(
        &self,
        channel: &AlertChannel,
        alert: &DueAlert,
        owner: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<AlertLease>, StoreError> {
        let pause = alerting::pause_between(&channel.target);
        self.store.alert_lease(&Scope::all_tenants(), alert, owner, now, LEASE, pause).await
    }

    /// Puts a page of new events of each route into messages. Returns whether there may be more of them.
    async fn tell(
        &self,
        routes: &[(AlertRoute, EventCursor)],
        channels: &[AlertChannel],
    ) -> Result<bool, Undone<StoreError>> {
        let (store, mut more) = (&self.store, false);
        let (mut pages, mut fanned) = (Things::default(), Things::default());
        let cursors: BTreeSet<EventCursor> = routes.iter().map(|(_, seen)| *seen).collect();
        for from in cursors {
            // Transactions that write events may be long.
            let heads =
                retry_transient(|| async { store.event_heads_list(&Scope::all_tenants(), from, PAGE).await }).await;
            let Some(heads) = pages.note(from, heads) else { continue };
            let (Some(until), Some(now)) = (heads.last().map(|head| head.cursor), self.right_now()) else { continue };
            more |= heads.len() >= PAGE as usize;
            for (route, seen) in routes.iter().filter(|(_, seen)| *seen == from) {
                let new: Vec<NewAlert> = heads.iter().flat_map(|head| new_alerts(route, head, channels, now)).collect();
                // None if another host has done it. A route that is held up keeps no other one waiting.
                let done = store.alert_route_fan_out(&Scope::all_tenants(), route.id, *seen, until, &new).await;
                fanned.note(route.id, done);
            }
        }
        Undone::worst([pages.read(), fanned.ended()]).map(|()| more)
    }

    /// Sends a leased message and records what became of it.
    async fn deliver(&self, channel: &AlertChannel, lease: &AlertLease) -> Result<AlertState, StoreError> {
        let (alert, is_digest) = (&lease.alert, lease.alert.digest.is_some());
        let lost = (alert.was_sending && !channel.target.is_idempotent())
            .then(|| Attempted::Unknown("the host that sent it stopped meanwhile".to_owned()));
        if is_digest && let Some(lost) = lost {
            return self.concluded(channel, lease, 0, lost).await;
        }
        if alert.was_making && lease.attempt > MAKINGS_MAX {
            let problem = "hosts ended while they made it".to_owned();
            return self.concluded(channel, lease, 0, Attempted::Refused(problem)).await;
        }
        let words = match self.words(lease).await {
            Ok(Ok(words)) => words,
            Ok(Err(problem)) => return self.finished(lease, AlertState::Skipped, 0, None, Some(problem)).await,
            // It did not leave this host, and if it left another one, it may have arrived all the same.
            Err(error) => {
                let attempted = lost.unwrap_or_else(|| Attempted::NotSent(with_causes(&error)));
                return self.concluded(channel, lease, 0, attempted).await;
            }
        };
        if is_digest && !self.store.alert_mark_sending(lease, self.time_of(lease) + LEASE).await? {
            // Making it took too long: another host holds it.
            return Ok(AlertState::Sending);
        }
        let attempted = match lost {
            Some(lost) => lost,
            None => self.attempt(channel, lease, &words).await,
        };
        self.concluded(channel, lease, words.count, attempted).await
    }

    /// Records what became of a message after an attempt.
    async fn concluded(
        &self,
        channel: &AlertChannel,
        lease: &AlertLease,
        count: u64,
        attempted: Attempted,
    ) -> Result<AlertState, StoreError> {
        let status = match attempted {
            Attempted::Answered { status, .. } => Some(status),
            _ => None,
        };
        let now = self.time_of(lease);
        let next = alerting::after(&channel.target, &attempted, lease.attempt, lease.alert.due_at, now);
        let (state, problem) = match next {
            AlertNext::Sent => (AlertState::Sent, None),
            AlertNext::Failed(problem) => (AlertState::Failed, Some(problem)),
            AlertNext::Unknown(problem) => (AlertState::Unknown, Some(problem)),
            AlertNext::Again { at, problem } => {
                tracing::debug!(channel = channel.name, problem, "an alert is sent again");
                let is_ours = self.store.alert_retry(lease, at, status, &problem).await?;
                return Ok(if is_ours { AlertState::Waiting } else { AlertState::Sending });
            }
        };
        if let Some(problem) = &problem {
            tracing::warn!(channel = channel.name, %state, problem, "an alert did not reach anyone, or may not have");
        }
        self.finished(lease, state, count, status, problem.as_deref()).await
    }

    async fn finished(
        &self,
        lease: &AlertLease,
        state: AlertState,
        events: u64,
        status: Option<u16>,
        problem: Option<&str>,
    ) -> Result<AlertState, StoreError> {
        let is_ours = self.store.alert_finish(lease, state, events, status, problem, self.time_of(lease)).await?;
        Ok(if is_ours { state } else { AlertState::Sending })
    }

    /// The time, for what is told and written of a leased message. By a clock that jumped since it was leased, it would
    /// be given up, or wait for long: the end of the lease is near, and was set by a clock that was right.
    fn time_of(&self, lease: &AlertLease) -> DateTime<Utc> {
        self.right_now().unwrap_or(lease.until)
    }

    /// What a message says, made of what is stored now; or why there is nothing to say.
    async fn words(&self, lease: &AlertLease) -> Result<Result<Words, &'static str>, StoreError> {
        let alert = &lease.alert;
        if let Some((id, day)) = alert.digest {
            return self.words_of_digest(lease, id, day).await;
        }
        let (count, events) = if alert.is_test {
            let event = alerting::sample(&alert.kind, self.time_of(lease));
            (1, vec![Shown { event, artist: None, reconnect_url: None }])
        } else {
            let shown = u32::try_from(SHOWN_MAX).unwrap_or(u32::MAX);
            let (count, events) = self.store.alert_events_list(lease, shown).await?;
            (count, self.named(events).await?)
        };
        if count == 0 {
            return Ok(Err("its events are erased or too old"));
        }
        let text = alerting::text(&alert.kind, alert.severity, alert.is_test, count, &events);
        Ok(Ok(Words { count, text: self.marked(text).await?, html: None }))
    }

    /// A text whose title says it if all that is told is simulated.
    pub(super) async fn marked(&self, mut text: AlertText) -> Result<AlertText, StoreError> {
        if is_simulated(&self.store).await? {
            text.title.insert_str(0, SIMULATED);
        }
        Ok(text)
    }

    async fn words_of_digest(
        &self,
        lease: &AlertLease,
        id: Uuid,
        day: NaiveDate,
    ) -> Result<Result<Words, &'static str>, StoreError> {
        let digests = self.store.alert_digests_list(&Scope::all_tenants()).await?;
        let digest = digests.into_iter().find(|digest| digest.id == id);
        // A removed one took its messages along; one that this host can't read, it or another one may read later.
        let unreadable = || StoreError::Unreadable { column: "id".to_owned(), problem: format!("the digest {id}") };
        let digest = digest.ok_or_else(unreadable)?;
        if self.is_empty_tenant(&digest.tenant).await? {
            return Ok(Err("the tenant has no artist any more"));
        }
        let is_out_of_turn = lease.alert.is_test;
        if !is_out_of_turn && digest::is_overtaken(&digest, day, self.time_of(lease)) {
            return Ok(Err("the digest of a later day is due"));
        }
        let up_to = if is_out_of_turn { lease.alert.due_at } else { digest::time_on(&digest, day) };
        let written = self.written(&digest, up_to).await?;
        Ok(Ok(Words { count: 0, text: written.text, html: Some(written.html) }))
    }

    /// Events with the names of their artists, and where those connect their accounts again.
    async fn named(&self, events: Vec<Event>) -> Result<Vec<Shown>, StoreError> {
        let mut named = Vec::with_capacity(events.len());
        for event in events {
            let artist = match event.artist_id {
                Some(id) => self.artist_name(&Scope::all_tenants(), id).await?,
                None => None,
            };
            let reconnect_url = reconnect_url(self.config.service.reconnect_url.as_ref(), &event);
            named.push(Shown { event, artist, reconnect_url });
        }
        Ok(named)
    }

    /// The name of an artist; `None` where the artist is not in the scope, or can't be read.
    pub(super) async fn artist_name(&self, scope: &Scope, id: ArtistId) -> Result<Option<String>, StoreError> {
        match self.store.artist_get(scope, id).await {
            Err(StoreError::Unreadable { .. }) => Ok(None),
            artist => Ok(artist?.map(|artist| artist.name)),
        }
    }

    /// Sends a message once.
    async fn attempt(&self, channel: &AlertChannel, lease: &AlertLease, words: &Words) -> Attempted {
        let Words { count, text, html } = words;
        let sealed = match self.store.alert_channel_secret_get(&Scope::all_tenants(), channel.id).await {
            Ok(Some(sealed)) => sealed,
            Ok(None) => return Attempted::Refused("the channel was removed".to_owned()),
            // It did not leave this host.
            Err(error) => return Attempted::NotSent(with_causes(&error)),
        };
        let secret: SecretText = match self.keys().map(|keys| open_channel(keys, &sealed, channel.id)) {
            Ok(Ok(secret)) => secret,
            // The right key may be configured yet.
            Ok(Err(error)) => return Attempted::NotSent(with_causes(&error)),
            Err(error) => return Attempted::NotSent(with_causes(&error)),
        };
        let (alert, now) = (&lease.alert, self.time_of(lease));
        if let ChannelTarget::Email(target) = &channel.target {
            let whole = text.whole();
            let mail = Mail {
                target,
                password: &secret,
                id: alert.id,
                subject: &text.title,
                text: &whole,
                html: html.as_deref(),
                at: now,
            };
            return match self.gateway.send_mail(&mail, TIMEOUT).await {
                Ok(()) => Attempted::Taken,
                Err(MailError::Refused(problem)) => Attempted::Refused(problem),
                Err(MailError::NotSent(problem)) => Attempted::NotSent(problem),
                Err(MailError::Unknown(problem)) => Attempted::Unknown(problem),
            };
        }
        let told = Told {
            id: alert.id,
            channel: channel.id,
            subject: &alert.subject,
            kind: &alert.kind,
            phase: alert.phase,
            severity: alert.severity,
            count: *count,
            at: now,
            text,
        };
        let Some(request) = alerting::request(&channel.target, secret.expose(), &told) else {
            return Attempted::Refused("the channel takes no message".to_owned());
        };
        let body = request.body.to_string().into_bytes();
        let message = WebhookRequest { url: request.url, headers: request.headers, body };
        let timeout = Duration::from_millis(self.config.deliveries.timeout_ms).min(TIMEOUT);
        match self.gateway.post_webhook(&message, timeout).await {
            Ok(answer) => Attempted::Answered { status: answer.status, retry_after: answer.retry_after },
            Err(error @ WebhookRequestError::Unreachable(_)) => Attempted::NotSent(error.to_string()),
            Err(error @ (WebhookRequestError::TimedOut(_) | WebhookRequestError::Broken(_))) => {
                Attempted::Unknown(error.to_string())
            }
            Err(error @ (WebhookRequestError::Url(_) | WebhookRequestError::Refused(_))) => {
                Attempted::Refused(error.to_string())
            }
        }
    }
}

/// Where an artist connects the account again that an event asks for.
fn reconnect_url(template: Option<&ReconnectUrl>, event: &Event) -> Option<String> {
    let template = template.filter(|_| event.kind == types::RECONNECT_NEEDED)?;
    let account: AccountId = event.data["account_id"].as_str()?.parse().ok()?;
    let platform = Platform::new(event.data["platform"].as_str()?).ok()?;
    Some(template.of(event.artist_id?, account, &platform))
}

/// What a route tells its channels of an event.
fn new_alerts(route: &AlertRoute, head: &EventHead, channels: &[AlertChannel], now: DateTime<Utc>) -> Vec<NewAlert> {
    let known = Head {
        kind: &head.kind,
        platform: head.platform.as_deref(),
        tenant: head.tenant.as_deref(),
        data: head.data.as_ref(),
    };
    let Some(group) = alerting::group(route, known) else { return Vec::new() };
    let due_at = alerting::due_at(route, group.severity, now);
    let receivers = channels.iter().filter(|channel| route.channels.contains(&channel.name));
    let told = receivers.map(|channel| NewAlert {
        channel: channel.id,
        event: head.cursor,
        subject: group.subject.clone(),
        group: group.key(),
        kind: group.kind.clone(),
        phase: group.phase,
        severity: group.severity,
        due_at,
    });
    told.collect()
}
