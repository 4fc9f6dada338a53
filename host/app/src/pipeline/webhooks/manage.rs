//! Webhooks as an operator manages them: adding, trying out, changing secrets, sending again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use url::Url;
use uuid::Uuid;

use crate::pipeline::artists::privacy::again;
use crate::pipeline::{Host, HostError};
use backline_gateway::secrets::{SecretText, WebhookSecret};
use backline_gateway::{WebhookRequest, WebhookRequestError};
use backline_model::{ArtistId, Tenant, Webhook, WebhookId, WebhookKind};
use backline_rules::delivery;
use backline_store::{DeliveryFilter, NewDelivery, Scope, StoreError};

/// Longest name of a webhook, in characters.
const NAME_CHARACTERS_MAX: usize = 64;

/// Longest time for which a secret that was replaced may go on signing.
const KEEP_OLD_MAX: TimeDelta = TimeDelta::days(30);

/// What is wrong with a webhook as it was given.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The name.
    #[error(
        "'{0}' can't name a webhook: use 1 to {NAME_CHARACTERS_MAX} of a-z, 0-9, '-' and '_', beginning with a letter or digit"
    )]
    Name(String),
    /// An event.
    #[error("{0}")]
    Event(String),
    /// The address.
    #[error(transparent)]
    Request(#[from] WebhookRequestError),
    /// The address of an application.
    #[error("the address of an application has no query; the AI trigger goes to {{url}}/api/ai/analyze-metrics")]
    Base,
    /// A replaced secret is to go on for too long.
    #[error("a replaced secret goes on signing for at most 30 days")]
    KeepOld,
    /// There is nothing to send again.
    #[error("the webhook '{name}' has no event {event} to send again: {problem}")]
    NotSent {
        /// Which.
        name: String,
        /// Which event.
        event: Uuid,
        /// Why.
        problem: &'static str,
    },
}

/// A webhook to be added.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// What people call it.
    pub name: String,
    /// Where to.
    pub url: String,
    /// What it is sent.
    pub kind: WebhookKind,
    /// Types of events and beginnings of such; empty means what its kind is for.
    pub events: Vec<String>,
    /// Only what concerns this tenant.
    pub tenant: Option<Tenant>,
    /// Whether it is told of what has happened already, as far as it is kept.
    pub from_start: bool,
}

/// What to send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// One event.
    Event(Uuid),
    /// What was given up.
    Parked,
    /// Everything that occurred since then.
    Since(DateTime<Utc>),
}

/// How a receiver answered a test message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestAnswer {
    /// The id of the message.
    pub id: Uuid,
    /// The HTTP status.
    pub status: u16,
    /// Whether an event would count as delivered.
    pub accepted: bool,
    /// The beginning of what it said.
    pub text: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Host {
    /// Adds a webhook. Answers it with its secret, which nobody can ever read again.
    ///
    /// # Errors
    /// When something given can't be used, the name is taken, or no key is configured.
    pub async fn add_webhook(&self, new: NewWebhook) -> Result<(Webhook, SecretText), HostError> {
        let NewWebhook { name, url, kind, events, tenant, from_start } = new;
        check_name(&name)?;
        let mut events = if events.is_empty() { delivery::default_events(kind) } else { events };
        events.dedup();
        for pattern in &events {
            delivery::check_pattern(pattern).map_err(WebhookError::Event)?;
        }
        self.gateway().check_webhook(&url).await.map_err(WebhookError::Request)?;
        if kind == WebhookKind::Ai && Url::parse(&url).is_ok_and(|url| url.query().is_some()) {
            return Err(WebhookError::Base.into());
        }
        let (id, secret, now) = (WebhookId::generate(), WebhookSecret::generate(), self.clock().now());
        let webhook = Webhook {
            id,
            name,
            kind,
            url,
            events,
            tenant,
            enabled: true,
            disabled_reason: None,
            previous_until: None,
            created_at: now,
            updated_at: now,
        };
        let sealed = secret.seal(self.keyring()?, id);
        // It waits for events that are being written, but never for long.
        again(|| async { self.store().webhook_add(&Scope::all_tenants(), &webhook, sealed.clone(), from_start).await })
            .await?;
        Ok((webhook, secret.text()))
    }

    /// Sends a signed test message now, whether or not the webhook is on.
    ///
    /// # Errors
    /// When there is no such webhook, or no answer.
    pub async fn test_webhook(&self, name: &str) -> Result<TestAnswer, HostError> {
        let webhook = self.store().webhook_get(&Scope::all_tenants(), name).await?;
        let url = delivery::target(webhook.kind, &webhook.url);
        self.gateway().check_webhook(&url).await.map_err(WebhookError::Request)?;
        let id = Uuid::now_v7();
        let began = self.clock().now();
        let body = serde_json::to_vec(&delivery::test_message(id, began)).unwrap_or_default();
        let headers = self.signature(webhook.id, id, &body).await?;
        let timeout = Duration::from_millis(self.config().deliveries.timeout_ms);
        let answer = self.gateway().post_webhook(&WebhookRequest { url, headers, body }, timeout).await;
        let answer = answer.map_err(WebhookError::Request)?;
        let took = (self.clock().now() - began).num_milliseconds();
        let accepted = (200..300).contains(&answer.status);
        Ok(TestAnswer { id, status: answer.status, accepted, text: answer.text, took_ms: took.max(0).unsigned_abs() })
    }

    /// Gives a webhook a new secret; the old one signs too for a while. Answers the new one.
    ///
    /// # Errors
    /// When there is no such webhook, or no key is configured.
    pub async fn rotate_webhook_secret(&self, name: &str, keep_old: TimeDelta) -> Result<SecretText, HostError> {
        if keep_old > KEEP_OLD_MAX || keep_old < TimeDelta::zero() {
            return Err(WebhookError::KeepOld.into());
        }
        let (webhook, now) = (self.store().webhook_get(&Scope::all_tenants(), name).await?, self.clock().now());
        let secret = WebhookSecret::generate();
        let until = (keep_old > TimeDelta::zero()).then(|| now + keep_old);
        let sealed = secret.seal(self.keyring()?, webhook.id);
        self.store().webhook_replace_secret(&Scope::all_tenants(), &webhook, sealed, until, now).await?;
        Ok(secret.text())
    }

    /// Switches a webhook on or off. What happens meanwhile is delivered when it is on again.
    ///
    /// # Errors
    /// When there is no such webhook.
    pub async fn switch_webhook(&self, name: &str, on: bool) -> Result<(), HostError> {
        let webhook = self.store().webhook_get(&Scope::all_tenants(), name).await?;
        Ok(self.store().webhook_set_enabled(&Scope::all_tenants(), &webhook, on, None, self.clock().now()).await?)
    }

    /// Lets deliveries begin anew, with all their attempts. Answers how many.
    ///
    /// # Errors
    /// When there is no such webhook or event.
    pub async fn resend(&self, name: &str, what: Resend) -> Result<u64, HostError> {
        let (webhook, now) = (self.store().webhook_get(&Scope::all_tenants(), name).await?, self.clock().now());
        let since = match what {
            Resend::Parked => None,
            Resend::Since(time) => Some(time),
            Resend::Event(id) => return self.resend_event(&webhook, id, now).await.map(|()| 1),
        };
        Ok(self.store().deliveries_resend(&Scope::all_tenants(), &webhook, since, now).await?)
    }

    /// An event that the webhook was never told of is taken too, as long as it is of its tenant.
    async fn resend_event(&self, webhook: &Webhook, id: Uuid, now: DateTime<Utc>) -> Result<(), HostError> {
        let (cursor, event) = self.store().event_get(&Scope::all_tenants(), id).await?;
        let known =
            DeliveryFilter { webhook: Some(webhook.id), event: Some(id), limit: 1, ..DeliveryFilter::default() };
        if self.store().deliveries_list(&Scope::all_tenants(), &known).await?.is_empty() {
            let problem = "the webhook is for another tenant";
            let not_sent = || WebhookError::NotSent { name: webhook.name.clone(), event: id, problem };
            let of_data = || event.data["tenant"].as_str().map(str::to_owned);
            let tenant = self.tenant_of(event.artist_id).await?.or_else(of_data);
            let as_any = Webhook { events: vec!["*".to_owned()], ..webhook.clone() };
            if !delivery::wants(&as_any, &event.kind, tenant.as_deref()) {
                return Err(not_sent().into());
            }
        }
        let line = delivery::line(event.artist_id, delivery::platform_of(&event), &event.kind);
        Ok(self
            .store()
            .delivery_resend(&Scope::all_tenants(), webhook, &NewDelivery { event: cursor, line }, now)
            .await?)
    }

    async fn tenant_of(&self, artist: Option<ArtistId>) -> Result<Option<String>, StoreError> {
        let Some(artist) = artist else { return Ok(None) };
        Ok(self.store().artist_get(&Scope::all_tenants(), artist).await?.map(|artist| artist.tenant.to_string()))
    }

    /// The headers of a message: its id, the time of this attempt, and a signature by each secret that holds.
    pub(in crate::pipeline) async fn signature(
        &self,
        webhook: WebhookId,
        id: Uuid,
        body: &[u8],
    ) -> Result<Vec<(&'static str, String)>, HostError> {
        let keyring = self.keyring()?;
        let gone = || StoreError::NotFound { what: "webhook", id: webhook.to_string() };
        let sealed = self.store().webhook_secrets_get(&Scope::all_tenants(), webhook).await?.ok_or_else(gone)?;
        let now = self.clock().now();
        let (id, timestamp) = (id.to_string(), now.timestamp());
        let mut signatures = vec![WebhookSecret::open(keyring, &sealed.secret, webhook)?.sign(&id, timestamp, body)];
        if let Some((previous, until)) = sealed.previous
            && now < until
        {
            signatures.push(WebhookSecret::open(keyring, &previous, webhook)?.sign(&id, timestamp, body));
        }
        Ok(vec![
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ])
    }
}

fn check_name(name: &str) -> Result<(), WebhookError> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let fits = name.len() <= NAME_CHARACTERS_MAX && name.chars().all(inside);
    if fits && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        Ok(())
    } else {
        Err(WebhookError::Name(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_such_as_need_no_quotes() {
        for right in ["app", "a", "9-lives_2"] {
            assert!(check_name(right).is_ok(), "{right}");
        }
        for wrong in ["", "App", "-a", "a b", "a/b", &"a".repeat(65)] {
            assert!(check_name(wrong).is_err(), "'{wrong}' was taken");
        }
    }
}
