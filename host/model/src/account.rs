//! Artists, their accounts on platforms, and what they consented to.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::ids::{AccountId, ArtistId, Platform, Tenant};

/// Where an artist's subscription stands. Only `Active` artists are collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Paying or otherwise entitled.
    Active,
    /// Trialling; not collected.
    Trialing,
    /// Payment is overdue; not collected.
    PastDue,
    /// Not subscribed (yet).
    Inactive,
    /// Ended.
    Canceled,
}

impl SubscriptionStatus {
    /// Every status, in the order they are documented.
    pub const ALL: [Self; 5] = [Self::Active, Self::Trialing, Self::PastDue, Self::Inactive, Self::Canceled];

    /// The name used in tables and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Trialing => "trialing",
            Self::PastDue => "past_due",
            Self::Inactive => "inactive",
            Self::Canceled => "canceled",
        }
    }

    /// Reads the name used in tables and files.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Self::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(text))
            .or(if text.eq_ignore_ascii_case("cancelled") { Some(Self::Canceled) } else { None })
    }
}

/// The customer's artist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artist {
    /// The customer's own id.
    pub id: ArtistId,
    /// For people; never used to match anything.
    pub name: String,
    /// Which customer of the operator's the artist belongs to.
    pub tenant: Tenant,
    /// Only `active` is collected.
    pub subscription_status: SubscriptionStatus,
    /// The artist's own switch.
    pub data_collection_enabled: bool,
    /// Decides which calendar day a number belongs to.
    pub timezone: Tz,
}

/// Whether an account can be collected at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// In use.
    Active,
    /// Switched off by the operator.
    Disabled,
    /// The artist must connect the account anew.
    ReconnectNeeded,
}

impl AccountStatus {
    /// The name used in tables and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::ReconnectNeeded => "reconnect_needed",
        }
    }

    /// Reads the name used in tables and files.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Disabled, Self::ReconnectNeeded].into_iter().find(|status| status.as_str() == text.trim())
    }
}

/// An artist's presence on one platform. Several per platform are allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Backline's id of the account.
    pub id: AccountId,
    /// Whose account it is.
    pub artist_id: ArtistId,
    /// Where it is.
    pub platform: Platform,
    /// The platform's id: an opaque string.
    pub platform_id: String,
    /// Valid against the connector's settings schema; `{}` when nothing is set.
    pub settings: Json,
    /// Whether it can be collected.
    pub status: AccountStatus,
}

/// One entry of the append-only consent record: what an artist said about one platform, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Consent {
    /// Who said it.
    pub artist_id: ArtistId,
    /// About which platform.
    pub platform: Platform,
    /// Given, or withdrawn.
    pub granted: bool,
    /// What it covers, such as `metrics`.
    pub scope: String,
    /// Where it was recorded, such as `import` or `operator`.
    pub source: String,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// An account with everything the plan decides by.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Which account.
    pub account_id: AccountId,
    /// Whose.
    pub artist_id: ArtistId,
    /// Where.
    pub platform: Platform,
    /// Whose artist.
    pub tenant: Tenant,
    /// Decides the logical date.
    pub timezone: Tz,
    /// Only `active` is collected.
    pub subscription_status: SubscriptionStatus,
    /// The artist's own switch.
    pub data_collection_enabled: bool,
    /// Whether the account can be collected at present.
    pub account_status: AccountStatus,
    /// Whether the latest consent for the platform is given.
    pub consented: bool,
    /// Whether it was ever collected: a first collection takes more requests on some platforms.
    pub collected_before: bool,
}
