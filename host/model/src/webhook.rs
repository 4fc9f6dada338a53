//! Who is told of events: webhooks, and where each delivery to one stands.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ids::{ArtistId, Tenant, WebhookId};

/// What a webhook is sent.
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
    /// Its id.
    pub id: WebhookId,
    /// What people call it.
    pub name: String,
    /// What it is sent.
    pub kind: WebhookKind,
    /// Where to; for the AI trigger the base address of the application.
    pub url: String,
    /// Types of events, or beginnings of such as `metrics.*`; never empty.
    pub events: Vec<String>,
    /// Only what concerns this tenant; none means everything.
    pub tenant: Option<Tenant>,
    /// Whether it is sent anything.
    pub enabled: bool,
    /// Why Backline itself switched it off.
    pub disabled_reason: Option<String>,
    /// Until when the secret before signs too.
    pub previous_until: Option<DateTime<Utc>>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was last changed by a person.
    pub updated_at: DateTime<Utc>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent, or sent again.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// Given up; an operator may send it again.
    Parked,
    /// Not to be sent, for a reason.
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

/// One event on its way to one webhook.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delivery {
    /// The webhook's name.
    pub webhook: String,
    /// The event's id, which is the message's too.
    pub event_id: Uuid,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whom it is about.
    pub artist_id: Option<ArtistId>,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was first tried.
    pub first_tried_at: Option<DateTime<Utc>>,
    /// When it is tried again; none where it is not.
    pub next_at: Option<DateTime<Utc>>,
    /// The receiver's last answer, as an HTTP status.
    pub status: Option<u16>,
    /// What went wrong last, or why it is not sent.
    pub problem: Option<String>,
    /// When it was delivered, parked or skipped.
    pub finished_at: Option<DateTime<Utc>>,
    /// When the fact became true.
    pub occurred_at: DateTime<Utc>,
}
