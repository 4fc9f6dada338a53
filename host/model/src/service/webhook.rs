//! Webhooks that events are sent to, and the state of each delivery.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{ArtistId, Tenant, WebhookId};

/// What a webhook receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookKind {
    /// Every event as it is.
    Webhook,
    /// The trigger of the artist platform's AI analysis.
    Ai,
    /// A mobile push notification, handed to the artist platform's own push gateway.
    Push,
}

impl WebhookKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Webhook, Self::Ai, Self::Push];

    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Ai => "ai",
            Self::Push => "push",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A webhook, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Webhook {
    /// Backline's id of the webhook.
    pub id: WebhookId,
    /// Name of the webhook, unique among all.
    pub name: String,
    /// What it receives.
    pub kind: WebhookKind,
    /// URL that events are sent to; for the AI trigger the base URL of the application.
    pub url: String,
    /// Types of events, or prefixes such as `metrics.*`; never empty.
    pub events: Vec<String>,
    /// Tenant whose events it receives; `None` means every tenant.
    pub tenant: Option<Tenant>,
    /// Whether events are sent to it.
    pub enabled: bool,
    /// Why Backline switched it off; `None` if it did not.
    pub disabled_reason: Option<String>,
    /// Until when deliveries are also signed with the previous secret.
    pub previous_until: Option<DateTime<Utc>>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When a person last changed it.
    pub updated_at: DateTime<Utc>,
}

/// State of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It waits to be sent, or sent again.
    Waiting,
    /// The receiver accepted it.
    Delivered,
    /// It was given up; an operator may send it again.
    Parked,
    /// It will not be sent, for a reason.
    Skipped,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Delivered, Self::Parked, Self::Skipped];

    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Parked => "parked",
            Self::Skipped => "skipped",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One event to be sent to one webhook.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delivery {
    /// Name of the webhook.
    pub webhook: String,
    /// Id of the event, which is also the message id.
    pub event_id: Uuid,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Artist that the event is about, if any.
    pub artist_id: Option<ArtistId>,
    /// State of the delivery.
    pub state: DeliveryState,
    /// Number of attempts so far.
    pub attempts: u32,
    /// When the first attempt was made.
    pub first_tried_at: Option<DateTime<Utc>>,
    /// When the next attempt is due; `None` if there is none.
    pub next_at: Option<DateTime<Utc>>,
    /// HTTP status of the receiver's last answer.
    pub status: Option<u16>,
    /// The last error, or why it is not sent.
    pub problem: Option<String>,
    /// When it was delivered, parked or skipped.
    pub finished_at: Option<DateTime<Utc>>,
    /// When the event became true.
    pub occurred_at: DateTime<Utc>,
}
