//! Artists, their accounts on platforms, and what they consented to.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::ids::{AccountId, ArtistId, Platform, Tenant};
use crate::zone::Zone;

/// State of an artist's subscription. Only `Active` artists are collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Paying or otherwise entitled.
    Active,
    /// On trial; not collected.
    Trialing,
    /// Payment is overdue; not collected.
    PastDue,
    /// Not subscribed.
    Inactive,
    /// The subscription has ended.
    Canceled,
}

impl SubscriptionStatus {
    /// Every status, in the order they are documented.
    pub const ALL: [Self; 5] = [Self::Active, Self::Trialing, Self::PastDue, Self::Inactive, Self::Canceled];

    /// Longest word in the table `artists`, in characters.
    pub const CHARS_MAX: usize = 64;

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
        // Blanks alone, as in statements and triggers: what they take for another word is not collected either.
        let text = text.trim_matches(' ');
        Self::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(text))
            .or(if text.eq_ignore_ascii_case("cancelled") { Some(Self::Canceled) } else { None })
    }

    /// Reads what stands in the table `artists`, where other programs write words of their own, such as `unpaid`. One
    /// that is no name counts as [`Inactive`](Self::Inactive): only who is known to be active is collected. None for
    /// what the table refuses.
    #[must_use]
    pub fn stored(text: &str) -> Option<Self> {
        let word = text.trim_matches(' ');
        let is_word =
            !word.is_empty() && word.chars().count() <= Self::CHARS_MAX && !word.chars().any(|c| c.is_ascii_control());
        Self::parse(word).or(is_word.then_some(Self::Inactive))
    }
}

/// The customer's artist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artist {
    /// The customer's own id.
    pub id: ArtistId,
    /// Name shown to people; never used to match anything.
    pub name: String,
    /// The operator's customer that the artist belongs to.
    pub tenant: Tenant,
    /// State of the subscription; only `active` is collected.
    pub subscription_status: SubscriptionStatus,
    /// Whether the artist allows collection at all.
    pub data_collection_enabled: bool,
    /// Time zone that decides which calendar day a number belongs to.
    pub timezone: Zone,
}

impl Artist {
    /// Longest name, in characters. A longer one suggests that columns are mixed up; the table `artists` refuses it.
    pub const NAME_CHARS_MAX: usize = 500;
}

/// Whether an account can be collected at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// Can be collected.
    Active,
    /// Switched off by the operator.
    Disabled,
    /// The artist has to connect the account again.
    ReconnectNeeded,
    /// Hosts ended unexpectedly whenever they collected it and nothing else. An operator has to look at it.
    HostKilled,
    /// The platform has not known it on [`NOT_FOUND_DATES_MAX`] dates. Someone has to correct its id.
    NotFound,
}

/// Dates on which a platform may not know an account, since it was last collected, before the account is left out. A
/// week: an account that was closed for some days comes back.
pub const NOT_FOUND_DATES_MAX: u32 = 7;

impl AccountStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Active, Self::Disabled, Self::ReconnectNeeded, Self::HostKilled, Self::NotFound];

    /// The name used in tables and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::ReconnectNeeded => "reconnect_needed",
            Self::HostKilled => "host_killed",
            Self::NotFound => "not_found",
        }
    }

    /// Reads the name used in tables and files.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text.trim())
    }
}

/// An artist's presence on one platform. Several per platform are allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Backline's id of the account.
    pub id: AccountId,
    /// Artist that the account belongs to.
    pub artist_id: ArtistId,
    /// Platform of the account.
    pub platform: Platform,
    /// The platform's id: an opaque string.
    pub platform_id: String,
    /// Settings, valid against the connector's settings schema; `{}` if nothing is set.
    pub settings: Json,
    /// Whether it can be collected.
    pub status: AccountStatus,
}

/// One entry of the append-only consent record: what an artist decided about one platform, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Consent {
    /// Artist who decided.
    pub artist_id: ArtistId,
    /// Platform that the decision is about.
    pub platform: Platform,
    /// Whether consent was given; `false` if it was withdrawn.
    pub granted: bool,
    /// What it covers, such as `metrics`.
    pub scope: String,
    /// Where it was recorded, such as `import` or `operator`.
    pub source: String,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// An account with everything that the plan decides by.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Backline's id of the account.
    pub account_id: AccountId,
    /// Artist that the account belongs to.
    pub artist_id: ArtistId,
    /// Platform of the account.
    pub platform: Platform,
    /// Tenant of the artist.
    pub tenant: Tenant,
    /// Time zone that decides the logical date.
    pub timezone: Zone,
    /// State of the subscription; only `active` is collected.
    pub subscription_status: SubscriptionStatus,
    /// Whether the artist allows collection at all.
    pub data_collection_enabled: bool,
    /// Whether the account can be collected at present.
    pub account_status: AccountStatus,
    /// Whether the latest consent for the platform is given.
    pub consented: bool,
    /// When it was last collected; none if it never was, or if that can't be read. A first collection takes more
    /// requests on some platforms.
    pub last_collected: Option<DateTime<Utc>>,
    /// When a collection of it last failed; none if none did, if that can't be read, or where nothing is planned.
    pub last_failed: Option<DateTime<Utc>>,
    /// What the row holds that can't be read, where that is so: column and value. Such an account is not collected, and
    /// the field that the column stands for holds a default.
    pub unreadable: Option<String>,
}

impl Candidate {
    /// When it was last collected and when that last failed.
    pub fn tries(&self) -> impl Iterator<Item = DateTime<Utc>> {
        [self.last_collected, self.last_failed].into_iter().flatten()
    }
}
