//! Artists that Backline knows, artists that a source lists, and the changes that make the first follow the second.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::{Account, Artist, Consent, SubscriptionStatus};
use crate::ids::{AccountId, ArtistId, Platform, Tenant};
use crate::zone::Zone;

/// Where an artist or account was first added from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// Added by an operator, by hand.
    Manual,
    /// Imported from a file.
    Import,
    /// Read from the artist platform's own table.
    Sync,
    /// Read from that table earlier, and switched off because the table no longer has it.
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
    /// The artist with its subscription, time zone and tenant.
    pub artist: Artist,
    /// How the artist was added.
    pub origin: Provenance,
    /// The artist's accounts on all platforms.
    pub accounts: Vec<KnownAccount>,
    /// The latest consent to collect metrics, one entry for each platform.
    pub consents: Vec<Consent>,
}

/// An account as Backline knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownAccount {
    /// The account with its settings and status.
    pub account: Account,
    /// How the account was added.
    pub origin: Provenance,
}

/// What a source says about an artist. A field that is `None` was not mentioned and stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceArtist {
    /// The customer's id of the artist.
    pub id: ArtistId,
    /// Name shown to people.
    pub name: Option<String>,
    /// Tenant that the artist belongs to.
    pub tenant: Option<Tenant>,
    /// State of the subscription.
    pub subscription_status: Option<SubscriptionStatus>,
    /// The artist's own switch.
    pub data_collection_enabled: Option<bool>,
    /// Time zone that decides the calendar day.
    pub timezone: Option<Zone>,
    /// The platforms' ids of the artist's accounts, for each platform that the source mentions.
    pub accounts: BTreeMap<Platform, Vec<String>>,
    /// Whether the artist consents, for each platform that the source mentions.
    pub consents: BTreeMap<Platform, bool>,
}

/// The changes that make Backline follow a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RosterChanges {
    /// Artists that are new.
    pub artists_added: Vec<Artist>,
    /// Artists that have changed, with their new values.
    pub artists_changed: Vec<Artist>,
    /// Artists that are no longer collected, because the source no longer has them.
    pub artists_removed: Vec<ArtistId>,
    /// Accounts that are new.
    pub accounts_added: Vec<Account>,
    /// Accounts that the source lists again.
    pub accounts_restored: Vec<AccountId>,
    /// Accounts to switch off, because the source no longer has them.
    pub accounts_removed: Vec<(AccountId, Platform)>,
    /// Consents to record: artist, platform, and whether consent is given.
    pub consents: Vec<(ArtistId, Platform, bool)>,
    /// Consents that the source gives although they were withdrawn here. The withdrawal stands.
    pub withdrawals_kept: u64,
}

impl RosterChanges {
    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        Self { withdrawals_kept: 0, ..self.clone() } == Self::default()
    }

    /// The same in parts that don't need each other: each artist that is new with what belongs to it, each artist that
    /// has changed, and then everything about artists that are there already.
    #[must_use]
    pub fn by_artist(&self) -> Vec<Self> {
        let mut added: BTreeMap<ArtistId, Self> = BTreeMap::new();
        for artist in &self.artists_added {
            added.entry(artist.id).or_default().artists_added.push(artist.clone());
        }
        let changed = self.artists_changed.iter();
        let changed = changed.map(|artist| Self { artists_changed: vec![artist.clone()], ..Self::default() });
        let mut rest = Self {
            artists_added: Vec::new(),
            artists_changed: Vec::new(),
            accounts_added: Vec::new(),
            consents: Vec::new(),
            ..self.clone()
        };
        for account in &self.accounts_added {
            added.get_mut(&account.artist_id).unwrap_or(&mut rest).accounts_added.push(account.clone());
        }
        for consent in &self.consents {
            added.get_mut(&consent.0).unwrap_or(&mut rest).consents.push(consent.clone());
        }
        added.into_values().chain(changed).chain([rest]).collect()
    }
}
