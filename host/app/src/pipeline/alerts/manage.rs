//! Channels and routes of alerts as an operator manages them, and tests that go the way of every message.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::Config;
use crate::pipeline::clocks::Clocks;
use crate::pipeline::credentials::manager::CredentialError;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::names::{self, NameError};
use crate::pipeline::retry::retry_transient;
use backline_gateway::secrets::{Keyring, SecretText, seal_channel};
use backline_gateway::{Gateway, MailError, WebhookRequestError};
use backline_model::clock::Clock;
use backline_model::event::types;
use backline_model::ids::is_plain_name;
use backline_model::{
    AlertChannel, AlertMessage, AlertRoute, AlertSeverity, AlertState, ChannelId, ChannelTarget, QuietHours, Tenant,
};
use backline_rules::alerting::{self, Shown};
use backline_rules::nearest;
use backline_store::{AlertFilter, Scope, Store, StoreError, TestAlert};

/// Longest name of a channel, route or digest, in characters.
const NAME_CHARACTERS_MAX: usize = 64;

/// How long a test waits for its turn and the answer.
const TEST_WITHIN: Duration = Duration::from_secs(40);

/// How often it checks whether its turn has come.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why a command about alerts failed.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No key is configured.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The name is not valid.
    #[error(
        "'{0}' can't name a channel, route or digest: use 1 to {NAME_CHARACTERS_MAX} of a-z, 0-9, '-' and '_', \
         beginning with a letter or digit"
    )]
    Name(String),
    /// An argument is not valid.
    #[error("{0}")]
    Invalid(String),
    /// The address is not allowed.
    #[error(transparent)]
    Request(#[from] WebhookRequestError),
    /// The mail server or a mail address is not allowed.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// No artist belongs to the tenant.
    #[error(transparent)]
    Tenant(#[from] NameError),
}

impl Classified for AlertError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Credential(error) => error.class(),
            Self::Tenant(error) => error.class(),
            Self::Name(_) | Self::Invalid(_) | Self::Request(_) | Self::Mail(_) => ErrorClass::Refused,
        }
    }
}

/// A route to add.
#[derive(Clone, Debug)]
pub struct NewRoute {
    /// Name of the route.
    pub name: String,
    /// Names of the channels.
    pub channels: Vec<String>,
    /// Event types or prefixes of them; empty means all.
    pub events: Vec<String>,
    /// The least severity.
    pub severity: AlertSeverity,
    /// Only events of this tenant.
    pub tenant: Option<Tenant>,
    /// How long a message gathers events of its kind, in seconds.
    pub window_s: u32,
    /// When only critical messages are sent.
    pub quiet: Option<QuietHours>,
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestedAlert {
    /// The message as it is recorded.
    #[serde(flatten)]
    pub message: AlertMessage,
    /// The words that were sent.
    pub text: String,
}

/// Alerts to people: channels, routes and messages. Cloning shares it.
#[derive(Clone)]
pub struct Alerts {
    pub(super) name: Arc<str>,
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) clocks: Clocks,
    pub(super) store: Store,
    pub(super) gateway: Gateway,
    pub(super) keyring: Option<Arc<Keyring>>,
}

impl Alerts {
    pub(in crate::pipeline) fn new(
        name: Arc<str>,
        config: Arc<Config>,
        clock: Clock,
        clocks: Clocks,
        store: Store,
        gateway: Gateway,
        keyring: Option<Arc<Keyring>>,
    ) -> Self {
        Self { name, config, clock, clocks, store, gateway, keyring }
    }

    /// Adds a channel with its secret: the URL of Slack or of a generic receiver, the key of a service, the password of
    /// a mail server, or nothing where that asks for none.
    ///
    /// # Errors
    /// When an argument is not valid, the name is taken, or no key is configured.
    pub async fn add_channel(
        &self,
        name: &str,
        target: ChannelTarget,
        secret: &SecretText,
    ) -> Result<AlertChannel, AlertError> {
        check_name(name)?;
        match &target {
            ChannelTarget::Slack => self.gateway.check_webhook(secret.expose()).await?,
            ChannelTarget::Generic { template } => {
                alerting::check_template(template).map_err(AlertError::Invalid)?;
                self.gateway.check_webhook(secret.expose()).await?;
            }
            ChannelTarget::Pagerduty { url } | ChannelTarget::Opsgenie { url } => {
                // The key of Opsgenie is a header.
                if secret.expose().is_empty() || secret.expose().chars().any(|c| !c.is_ascii_graphic()) {
                    let problem = "the key of the service is empty, or has characters that no key has";
                    return Err(AlertError::Invalid(problem.to_owned()));
                }
                self.gateway.check_webhook(url).await?;
            }
            ChannelTarget::Email(mail) => {
                if mail.user.is_some() == secret.expose().is_empty() {
                    let problem = "a user of a mail server comes with a password, and a password with a user";
                    return Err(AlertError::Invalid(problem.to_owned()));
                }
                self.gateway.check_mail(mail).await?;
            }
        }
        let channel =
            AlertChannel { id: ChannelId::generate(), name: name.to_owned(), target, created_at: self.clock.now() };
        let sealed = seal_channel(self.keys()?, channel.id, secret);
        self.store.alert_channel_add(&Scope::all_tenants(), &channel, sealed).await?;
        Ok(channel)
    }

    /// Every channel, without its secret.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn channels(&self) -> Result<Vec<AlertChannel>, AlertError> {
        Ok(self.store.alert_channels_list(&Scope::all_tenants()).await?)
    }

    /// Removes a channel with its messages.
    ///
    /// # Errors
    /// When there is none, or a route leads to it.
    pub async fn remove_channel(&self, name: &str) -> Result<(), AlertError> {
        let removed = self.store.alert_channel_remove(&Scope::all_tenants(), name).await;
        Ok(names::or_nearest(removed, name, self.channel_names()).await?)
    }

    /// The names of all channels.
    pub(super) async fn channel_names(&self) -> Result<Vec<String>, StoreError> {
        let channels = self.store.alert_channels_list(&Scope::all_tenants()).await?;
        Ok(channels.into_iter().map(|channel| channel.name).collect())
    }

    /// Adds a route, which takes events from now on.
    ///
    /// # Errors
    /// When an argument is not valid, the name is taken, or a channel is not there.
    pub async fn add_route(&self, new: NewRoute) -> Result<AlertRoute, AlertError> {
        let NewRoute { name, mut channels, mut events, severity, tenant, window_s, quiet } = new;
        check_name(&name)?;
        channels.sort();
        channels.dedup();
        if channels.is_empty() {
            return Err(AlertError::Invalid("a route leads to a channel; name one".to_owned()));
        }
        if events.is_empty() {
            events.push("*".to_owned());
        }
        let (id, created_at) = (Uuid::now_v7(), self.clock.now());
        let route = AlertRoute { id, name, channels, events, severity, tenant, window_s, quiet, created_at };
        alerting::check_route(&route).map_err(AlertError::Invalid)?;
        // The transaction waits for those that write events, but only for a limited time.
        let mut added =
            retry_transient(|| async { self.store.alert_route_add(&Scope::all_tenants(), &route).await }).await;
        for channel in &route.channels {
            added = names::or_nearest(added, channel, self.channel_names()).await;
        }
        added?;
        Ok(route)
    }

    /// Every route.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn routes(&self) -> Result<Vec<AlertRoute>, AlertError> {
        let routes = self.store.alert_routes_list(&Scope::all_tenants()).await?;
        Ok(routes.into_iter().map(|(route, _)| route).collect())
    }

    /// Removes a route. Messages that it began are sent.
    ///
    /// # Errors
    /// When there is none of the name.
    pub async fn remove_route(&self, name: &str) -> Result<(), AlertError> {
        let all = Scope::all_tenants();
        let known = async {
            let routes = self.store.alert_routes_list(&all).await?;
            Ok::<Vec<String>, StoreError>(routes.into_iter().map(|(route, _)| route.name).collect())
        };
        Ok(names::or_nearest(self.store.alert_route_remove(&all, name).await, name, known).await?)
    }

    /// Messages, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages(&self, filter: &AlertFilter) -> Result<Vec<AlertMessage>, AlertError> {
        let messages = self.store.alert_messages_list(&Scope::all_tenants(), filter).await?;
        if let (true, Some(name)) = (messages.is_empty(), &filter.channel) {
            self.channel(name).await?;
        }
        Ok(messages)
    }

    /// One channel by its name.
    async fn channel(&self, name: &str) -> Result<AlertChannel, AlertError> {
        let channels = self.channels().await?;
        if let Some(channel) = channels.iter().find(|channel| channel.name == name) {
            return Ok(channel.clone());
        }
        let id = format!("named '{name}'; `backline alerts channels list` shows them");
        let unknown = StoreError::NotFound { what: "channel of alerts", id };
        Err(names::with_nearest(unknown, name, channels.iter().map(|channel| channel.name.as_str())).into())
    }

    /// Sends a channel a test message that plays an event of a type, by the queue, the texts and the limits of every
    /// message. Returns how it ended; it may be waiting still.
    ///
    /// # Errors
    /// When there is no such channel or type, or the database fails.
    pub async fn test(&self, name: &str, kind: &str) -> Result<TestedAlert, AlertError> {
        if !types::ALL.contains(&kind) {
            let remark = nearest::remark(kind, types::ALL);
            return Err(AlertError::Invalid(format!("there is no event '{kind}'{remark}; docs/events.md lists them")));
        }
        let channel = self.channel(name).await?;
        let now = self.clock.now();
        let sample = alerting::sample(kind, now);
        let severity = alerting::severity(kind, Some(&sample.data));
        let test = TestAlert {
            id: Uuid::now_v7(),
            channel: channel.id,
            kind: kind.to_owned(),
            phase: alerting::phase_of(kind),
            severity,
        };
        self.store.alert_test_add(&Scope::all_tenants(), &test, now).await?;
        let shown = Shown { event: sample, artist: None, reconnect_url: None };
        let text = self.marked(alerting::text(kind, severity, true, 1, &[shown])).await?.whole();
        Ok(TestedAlert { message: self.sent_now(&channel, test.id).await?, text })
    }

    /// Sends a message that is due, once it is its turn. Returns how it ended; it may be waiting still.
    pub(super) async fn sent_now(&self, channel: &AlertChannel, id: Uuid) -> Result<AlertMessage, AlertError> {
        let until = Instant::now() + TEST_WITHIN;
        loop {
            let result = self.deliver_to(channel).await;
            let filter = AlertFilter { id: Some(id), ..AlertFilter::default() };
            let found = self.messages(&filter).await?.pop();
            let message = found.ok_or_else(|| AlertError::Invalid("the channel was removed".to_owned()))?;
            let is_open = matches!(message.state, AlertState::Gathering | AlertState::Sending | AlertState::Waiting);
            // What failed is sent again by the service; what has not failed yet waits for its turn, or is being made.
            let is_early = message.problem.is_none() || message.state == AlertState::Sending;
            if !is_open || !is_early || Instant::now() >= until {
                return Ok(message);
            }
            // Another message that is held up says nothing about one that has ended.
            result?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) fn keys(&self) -> Result<&Keyring, CredentialError> {
        self.keyring.as_deref().ok_or(CredentialError::NoKey)
    }

    /// The time, where this host's clock is right.
    pub(super) fn right_now(&self) -> Option<DateTime<Utc>> {
        self.clocks.right_now()
    }
}

pub(super) fn check_name(name: &str) -> Result<(), AlertError> {
    if is_plain_name(name, NAME_CHARACTERS_MAX) { Ok(()) } else { Err(AlertError::Name(name.to_owned())) }
}
