//! Webhooks as an operator manages them: add, test, rotate secrets, resend.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use url::Url;
use uuid::Uuid;

use crate::config::Config;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::retry::retry_transient;
use crate::pipeline::webhooks::signing::{SignError, Signer};
use backline_gateway::secrets::{SecretText, WebhookSecret};
use backline_gateway::{Gateway, WebhookRequest, WebhookRequestError};
use backline_model::clock::Clock;
use backline_model::ids::is_plain_name;
use backline_model::{ArtistId, Tenant, Webhook, WebhookId, WebhookKind};
use backline_rules::delivery;
use backline_store::{DeliveryFilter, NewDelivery, Scope, Store, StoreError};

/// Longest name of a webhook, in characters.
const NAME_CHARACTERS_MAX: usize = 64;

/// Longest time for which a replaced secret may continue to sign.
const KEEP_OLD_MAX: TimeDelta = TimeDelta::days(30);

/// Why a command about a webhook failed.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A message can't be signed, or a secret can't be sealed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The name is not valid.
    #[error(
        "'{0}' can't name a webhook: use 1 to {NAME_CHARACTERS_MAX} of a-z, 0-9, '-' and '_', beginning with a letter \
         or digit"
    )]
    Name(String),
    /// An event pattern is not valid.
    #[error("{0}")]
    Event(String),
    /// The address is not allowed, or does not answer.
    #[error(transparent)]
    Request(#[from] WebhookRequestError),
    /// The address of an application has a query.
    #[error("the address of an application has no query; the AI trigger goes to {{url}}/api/ai/analyze-metrics")]
    Base,
    /// The replaced secret would sign for too long.
    #[error("a replaced secret may sign for at most 30 days")]
    KeepOld,
    /// There is no such event to resend.
    #[error("the webhook '{name}' has no event {event} to resend: {problem}")]
    NotSent {
        /// Name of the webhook.
        name: String,
        /// Id of the event.
        event: Uuid,
        /// Why it can't be sent.
        problem: &'static str,
    },
}

impl Classified for WebhookError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Sign(error) => error.class(),
            Self::Request(
                WebhookRequestError::TimedOut(_) | WebhookRequestError::Unreachable(_) | WebhookRequestError::Broken(_),
            ) => ErrorClass::Unavailable,
            Self::Name(_) | Self::Event(_) | Self::Request(_) | Self::Base | Self::KeepOld | Self::NotSent { .. } => {
                ErrorClass::Refused
            }
        }
    }
}

/// A webhook to add.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// Name of the webhook.
    pub name: String,
    /// URL of the receiver.
    pub url: String,
    /// Kind of the webhook, which decides the messages.
    pub kind: WebhookKind,
    /// Event types or prefixes of them; empty means the default of its kind.
    pub events: Vec<String>,
    /// Only events of this tenant.
    pub tenant: Option<Tenant>,
    /// Whether it also gets past events, as far as they are kept.
    pub from_start: bool,
}

/// What to resend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// One event.
    Event(Uuid),
    /// All deliveries that were given up.
    Parked,
    /// All events since a time.
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
    /// The first bytes of the answer.
    pub text: String,
    /// Time until the answer, in milliseconds.
    pub took_ms: u64,
}

/// Webhooks as an operator manages them. Cloning shares it.
#[derive(Clone)]
pub struct Webhooks {
    config: Arc<Config>,
    clock: Clock,
    store: Store,
    gateway: Gateway,
    signer: Signer,
}

impl Webhooks {
    pub(in crate::pipeline) fn new(
        config: Arc<Config>,
        clock: Clock,
        store: Store,
        gateway: Gateway,
        signer: Signer,
    ) -> Self {
        Self { config, clock, store, gateway, signer }
    }

    /// Adds a webhook. Returns it with its secret, which can't be read again later.
    ///
    /// # Errors
    /// When an argument is not valid, the name is taken, or no key is configured.
    pub async fn add(&self, new: NewWebhook) -> Result<(Webhook, SecretText), WebhookError> {
        let NewWebhook { name, url, kind, events, tenant, from_start } = new;
        check_name(&name)?;
        let mut events = if events.is_empty() { delivery::default_events(kind) } else { events };
        events.dedup();
        for pattern in &events {
            delivery::check_pattern(pattern).map_err(WebhookError::Event)?;
        }
        self.gateway.check_webhook(&url).await.map_err(WebhookError::Request)?;
        if kind == WebhookKind::Ai && Url::parse(&url).is_ok_and(|url| url.query().is_some()) {
            return Err(WebhookError::Base);
        }
        let (id, secret, now) = (WebhookId::generate(), WebhookSecret::generate(), self.clock.now());
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
        let sealed = secret.seal(self.signer.keyring().map_err(SignError::from)?, id);
        // The transaction waits for those that write events, but only for a limited time.
        retry_transient(|| async {
            self.store.webhook_add(&Scope::all_tenants(), &webhook, sealed.clone(), from_start).await
        })
        .await?;
        Ok((webhook, secret.text()))
    }

    /// Sends a signed test message now, even if the webhook is disabled.
    ///
    /// # Errors
    /// When there is no such webhook, or no answer.
    pub async fn test(&self, name: &str) -> Result<TestAnswer, WebhookError> {
        let webhook = self.store.webhook_get(&Scope::all_tenants(), name).await?;
        let url = delivery::target(webhook.kind, &webhook.url);
        self.gateway.check_webhook(&url).await.map_err(WebhookError::Request)?;
        let id = Uuid::now_v7();
        let began = self.clock.now();
        let body = serde_json::to_vec(&delivery::test_message(id, began)).unwrap_or_default();
        let headers = self.signer.headers(webhook.id, id, &body).await?;
        let timeout = Duration::from_millis(self.config.deliveries.timeout_ms);
        let answer = self.gateway.post_webhook(&WebhookRequest { url, headers, body }, timeout).await;
        let answer = answer.map_err(WebhookError::Request)?;
        let took = (self.clock.now() - began).num_milliseconds();
        let accepted = (200..300).contains(&answer.status);
        Ok(TestAnswer { id, status: answer.status, accepted, text: answer.text, took_ms: took.max(0).unsigned_abs() })
    }

    /// Gives a webhook a new secret; the old one also signs for a while. Returns the new one.
    ///
    /// # Errors
    /// When there is no such webhook, or no key is configured.
    pub async fn rotate_secret(&self, name: &str, keep_old: TimeDelta) -> Result<SecretText, WebhookError> {
        if keep_old > KEEP_OLD_MAX || keep_old < TimeDelta::zero() {
            return Err(WebhookError::KeepOld);
        }
        let (webhook, now) = (self.store.webhook_get(&Scope::all_tenants(), name).await?, self.clock.now());
        let secret = WebhookSecret::generate();
        let until = (keep_old > TimeDelta::zero()).then(|| now + keep_old);
        let sealed = secret.seal(self.signer.keyring().map_err(SignError::from)?, webhook.id);
        self.store.webhook_replace_secret(&Scope::all_tenants(), &webhook, sealed, until, now).await?;
        Ok(secret.text())
    }

    /// Enables or disables a webhook. Events in the meantime are delivered when it is enabled again.
    ///
    /// # Errors
    /// When there is no such webhook.
    pub async fn switch(&self, name: &str, on: bool) -> Result<(), WebhookError> {
        let webhook = self.store.webhook_get(&Scope::all_tenants(), name).await?;
        Ok(self.store.webhook_set_enabled(&Scope::all_tenants(), &webhook, on, None, self.clock.now()).await?)
    }

    /// Restarts deliveries with all their attempts. Returns how many.
    ///
    /// # Errors
    /// When there is no such webhook or event.
    pub async fn resend(&self, name: &str, what: Resend) -> Result<u64, WebhookError> {
        let (webhook, now) = (self.store.webhook_get(&Scope::all_tenants(), name).await?, self.clock.now());
        let since = match what {
            Resend::Parked => None,
            Resend::Since(time) => Some(time),
            Resend::Event(id) => return self.resend_event(&webhook, id, now).await.map(|()| 1),
        };
        Ok(self.store.deliveries_resend(&Scope::all_tenants(), &webhook, since, now).await?)
    }

    /// An event that was never recorded for the webhook is sent too, if it is of its tenant.
    async fn resend_event(&self, webhook: &Webhook, id: Uuid, now: DateTime<Utc>) -> Result<(), WebhookError> {
        let (cursor, event) = self.store.event_get(&Scope::all_tenants(), id).await?;
        let known =
            DeliveryFilter { webhook: Some(webhook.id), event: Some(id), limit: 1, ..DeliveryFilter::default() };
        if self.store.deliveries_list(&Scope::all_tenants(), &known).await?.is_empty() {
            let problem = "the webhook is for another tenant";
            let not_sent = || WebhookError::NotSent { name: webhook.name.clone(), event: id, problem };
            let of_data = || event.data["tenant"].as_str().map(str::to_owned);
            let tenant = self.tenant_of(event.artist_id).await?.or_else(of_data);
            let as_any = Webhook { events: vec!["*".to_owned()], ..webhook.clone() };
            if !delivery::wants(&as_any, &event.kind, tenant.as_deref()) {
                return Err(not_sent());
            }
        }
        let line = delivery::line(event.artist_id, delivery::platform_of(&event), &event.kind);
        Ok(self
            .store
            .delivery_resend(&Scope::all_tenants(), webhook, &NewDelivery { event: cursor, line }, now)
            .await?)
    }

    async fn tenant_of(&self, artist: Option<ArtistId>) -> Result<Option<String>, StoreError> {
        let Some(artist) = artist else { return Ok(None) };
        Ok(self.store.artist_get(&Scope::all_tenants(), artist).await?.map(|artist| artist.tenant.to_string()))
    }
}

fn check_name(name: &str) -> Result<(), WebhookError> {
    if is_plain_name(name, NAME_CHARACTERS_MAX) { Ok(()) } else { Err(WebhookError::Name(name.to_owned())) }
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
