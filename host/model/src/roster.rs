//! Who is known and who should be: what a source of artists says, and what has to change to follow it.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::account::{Account, Artist, Consent, SubscriptionStatus};
use super::ids::{AccountId, ArtistId, Platform, Tenant};

/// Who made an artist or account known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// An operator, by hand.
    Manual,
    /// A file.
    Import,
    /// The artist platform's own table.
    Sync,
    /// The same, and switched off since that table has it no more.
    SyncRemoved,
}

impl Provenance {
    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Import => "import",
            Self::Sync => "sync",
            Self::SyncRemoved => "sync-removed",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Manual, Self::Import, Self::Sync, Self::SyncRemoved].into_iter().find(|origin| origin.as_str() == text)
    }
}

/// An artist as Backline knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownArtist {
    /// The artist.
    pub artist: Artist,
    /// Who made it known.
    pub origin: Provenance,
    /// On which platforms.
    pub accounts: Vec<KnownAccount>,
    /// The latest said of each platform about metrics.
    pub consents: Vec<Consent>,
}

/// An account as Backline knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownAccount {
    /// The account.
    pub account: Account,
    /// Who made it known.
    pub origin: Provenance,
}

/// What a source says of an artist. What it does not speak about is none, and stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceArtist {
    /// The artist.
    pub id: ArtistId,
    /// For people.
    pub name: Option<String>,
    /// Whose artist.
    pub tenant: Option<Tenant>,
    /// Where the subscription stands.
    pub subscription_status: Option<SubscriptionStatus>,
    /// The artist's own switch.
    pub data_collection_enabled: Option<bool>,
    /// Decides the calendar day.
    pub timezone: Option<Tz>,
    /// The platform ids, by each platform the source speaks about.
    pub accounts: BTreeMap<Platform, Vec<String>>,
    /// Whether consent is given, by platform.
    pub consents: BTreeMap<Platform, bool>,
}

/// What has to change to follow a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RosterChanges {
    /// Artists that are new.
    pub artists_added: Vec<Artist>,
    /// Artists that have changed, as they are to be.
    pub artists_changed: Vec<Artist>,
    /// Artists to be collected no more, since the source has them no more.
    pub artists_removed: Vec<ArtistId>,
    /// Accounts that are new.
    pub accounts_added: Vec<Account>,
    /// Accounts that the source has again.
    pub accounts_restored: Vec<AccountId>,
    /// Accounts to be switched off, since the source has them no more.
    pub accounts_removed: Vec<(AccountId, Platform)>,
    /// What is to be put on record.
    pub consents: Vec<(ArtistId, Platform, bool)>,
    /// Consents the source gives although they were withdrawn here; the withdrawal stands.
    pub withdrawals_kept: u64,
}

impl RosterChanges {
    /// Whether nothing has to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        Self { withdrawals_kept: 0, ..self.clone() } == Self::default()
    }
}
