//! Alerts to people: channels that messages go to, routes that choose events, and the messages. The alerts of health,
//! whose crossings are events, are in [`health`](crate::health).

use std::fmt;

use chrono::{DateTime, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use crate::ids::{ChannelId, Tenant};
use crate::zone::Zone;

/// Where a channel's messages go, and in which form. The secret part is kept apart, sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChannelTarget {
    /// An incoming webhook of Slack, whose URL is the secret.
    Slack,
    /// A URL, which is the secret, that gets a filled-in template.
    Generic {
        /// The message, as JSON; words in braces in its texts are replaced.
        template: Json,
    },
    /// Events API v2 of PagerDuty, or a service that speaks it. The routing key is the secret.
    Pagerduty {
        /// URL of the API.
        url: String,
    },
    /// Alert API of Opsgenie, or a service that speaks it. The API key is the secret.
    Opsgenie {
        /// URL of the API.
        url: String,
    },
    /// Mail by SMTP. The password is the secret.
    Email(MailTarget),
}

/// The mail server of a channel, and the people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailTarget {
    /// Name of the mail server, which its certificate has to bear.
    pub server: String,
    /// Port; on 465 TLS comes first, on any other it is demanded by STARTTLS.
    pub port: u16,
    /// The sender's address.
    pub from: String,
    /// The receivers' addresses.
    pub to: Vec<String>,
    /// The name to log in with; `None` where the server asks for none.
    pub user: Option<String>,
    /// A certificate in PEM that is trusted beside the system's.
    pub ca: Option<String>,
}

impl ChannelTarget {
    /// The kind's name.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Generic { .. } => "generic",
            Self::Pagerduty { .. } => "pagerduty",
            Self::Opsgenie { .. } => "opsgenie",
            Self::Email(_) => "email",
        }
    }

    /// Whether a message that arrives twice counts once: it may be sent again when nobody knows whether it arrived.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        match self {
            Self::Pagerduty { .. } | Self::Opsgenie { .. } | Self::Generic { .. } => true,
            Self::Slack | Self::Email(_) => false,
        }
    }
}

/// A channel, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertChannel {
    /// Backline's id of the channel.
    pub id: ChannelId,
    /// Name of the channel, unique among all.
    pub name: String,
    /// Where its messages go.
    pub target: ChannelTarget,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$of])* $variant,)*
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name used in tables.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// Reads the name used in tables.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// How urgent a message is.
    AlertSeverity {
        /// Worth knowing.
        Info = "info",
        /// A person has to act within days.
        Warning = "warning",
        /// A person has to act now: it passes quiet hours.
        Critical = "critical",
    }
}

words! {
    /// Whether something began or is over.
    AlertPhase {
        /// It began, or happened once.
        Firing = "firing",
        /// It is over.
        Recovered = "recovered",
    }
}

words! {
    /// State of a message.
    AlertState {
        /// It gathers events until it is due.
        Gathering = "gathering",
        /// A host sends it, or died while it did.
        Sending = "sending",
        /// It did not arrive, and is sent again.
        Waiting = "waiting",
        /// The receiver accepted it.
        Sent = "sent",
        /// Nobody knows whether it arrived, and it is not sent again, since it would arrive twice.
        Unknown = "unknown",
        /// It did not arrive, and was given up.
        Failed = "failed",
        /// There was nothing left to tell.
        Skipped = "skipped",
    }
}

/// Hours in which only critical messages are sent. They may span midnight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// When they begin, by the clocks of the zone.
    pub from: NaiveTime,
    /// When they end.
    pub until: NaiveTime,
    /// Their zone.
    pub zone: Zone,
}

impl QuietHours {
    /// Reads beginning and end, such as `22:00-07:00`; `None` if it is none.
    #[must_use]
    pub fn span(text: &str) -> Option<(NaiveTime, NaiveTime)> {
        let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").ok();
        let (from, until) = text.split_once('-')?;
        time(from).zip(time(until))
    }
}

/// Which events go to which channels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertRoute {
    /// Backline's id of the route.
    pub id: Uuid,
    /// Name of the route, unique among all.
    pub name: String,
    /// Names of the channels; never empty.
    pub channels: Vec<String>,
    /// Types of events, or prefixes such as `health.*`; never empty.
    pub events: Vec<String>,
    /// The least severity.
    pub severity: AlertSeverity,
    /// Tenant whose events it takes; `None` means every event.
    pub tenant: Option<Tenant>,
    /// How long a message gathers events of its kind, in seconds.
    pub window_s: u32,
    /// When only critical messages are sent.
    pub quiet: Option<QuietHours>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// A message to one channel, as it is listed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertMessage {
    /// Id of the message.
    pub id: Uuid,
    /// Name of its channel.
    pub channel: String,
    /// Type of its events.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether they began or are over.
    pub phase: AlertPhase,
    /// How urgent it is.
    pub severity: AlertSeverity,
    /// Whether a person asked for it as a test.
    pub is_test: bool,
    /// State of the message.
    pub state: AlertState,
    /// Number of events in it; of one that has ended, as it was told.
    pub events: u64,
    /// Number of attempts so far.
    pub attempts: u32,
    /// When it was or will be due.
    pub due_at: DateTime<Utc>,
    /// HTTP status of the receiver's last answer.
    pub status: Option<u16>,
    /// What went wrong.
    pub problem: Option<String>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}
