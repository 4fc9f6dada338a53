//! Follows a table of the artist platform: which artists and accounts have to change. Pure: it computes the changes and
//! does not make them.

use std::collections::BTreeMap;

use serde_json::json;

use backline_model::roster::{KnownArtist, RosterChanges, SourceArtist};
use backline_model::{
    Account, AccountId, AccountStatus, Artist, ArtistId, Platform, Provenance, SubscriptionStatus, Zone,
};

mod row;

#[cfg(test)]
mod tests;

pub use row::{BadRow, ColumnError, Columns, default_query};

/// Source that is recorded for consents from the table.
pub const CONSENT_SOURCE: &str = "sync";

/// Up to this number, artists and accounts may be missing from the source without a confirmation.
const REMOVALS_UNASKED: u64 = 10;

/// Beyond that, one in this number may be missing without a confirmation.
const REMOVALS_ONE_IN: u64 = 5;

/// The changes that make Backline follow the source. Artists that the source does not list are left alone.
#[must_use]
pub fn difference(known: &BTreeMap<ArtistId, KnownArtist>, wanted: &[SourceArtist]) -> RosterChanges {
    let mut changes = RosterChanges::default();
    for wanted in wanted {
        let known = known.get(&wanted.id);
        match known {
            None => changes.artists_added.push(new_artist(wanted)),
            Some(known) => {
                let artist = followed(known, wanted);
                if artist != known.artist || known.origin == Provenance::SyncRemoved {
                    changes.artists_changed.push(artist);
                }
            }
        }
        for (platform, ids) in &wanted.accounts {
            compare_accounts(&mut changes, known, wanted.id, platform, ids);
        }
        for (platform, granted) in &wanted.consents {
            compare_consent(&mut changes, known, wanted.id, platform, *granted);
        }
    }
    changes
}

/// Whether this many may be removed without a confirmation: a broken query must not switch everything off. A source
/// without any rows is assumed to be broken.
#[must_use]
pub fn is_plausible(vanishing: u64, of: u64, source_rows: u64) -> bool {
    vanishing == 0
        || (source_rows > 0 && (vanishing <= REMOVALS_UNASKED || vanishing.saturating_mul(REMOVALS_ONE_IN) <= of))
}

fn new_artist(wanted: &SourceArtist) -> Artist {
    Artist {
        id: wanted.id,
        name: wanted.name.clone().unwrap_or_else(|| wanted.id.to_string()),
        tenant: wanted.tenant.clone().unwrap_or_default(),
        subscription_status: wanted.subscription_status.unwrap_or(SubscriptionStatus::Active),
        data_collection_enabled: wanted.data_collection_enabled.unwrap_or(true),
        timezone: wanted.timezone.clone().unwrap_or_else(Zone::utc),
    }
}

fn followed(known: &KnownArtist, wanted: &SourceArtist) -> Artist {
    let now = &known.artist;
    // An artist that was switched off because it was missing is switched on again, unless the source says otherwise.
    let enabled = now.data_collection_enabled || known.origin == Provenance::SyncRemoved;
    Artist {
        id: now.id,
        name: wanted.name.clone().unwrap_or_else(|| now.name.clone()),
        tenant: wanted.tenant.clone().unwrap_or_else(|| now.tenant.clone()),
        subscription_status: wanted.subscription_status.unwrap_or(now.subscription_status),
        data_collection_enabled: wanted.data_collection_enabled.unwrap_or(enabled),
        timezone: wanted.timezone.clone().unwrap_or_else(|| now.timezone.clone()),
    }
}

fn compare_accounts(
    changes: &mut RosterChanges,
    known: Option<&KnownArtist>,
    artist_id: ArtistId,
    platform: &Platform,
    ids: &[String],
) {
    let there: Vec<_> =
        known.iter().flat_map(|known| &known.accounts).filter(|known| known.account.platform == *platform).collect();
    for platform_id in ids {
        match there.iter().find(|known| known.account.platform_id == *platform_id) {
            None => changes.accounts_added.push(Account {
                id: AccountId::of(artist_id, platform, platform_id),
                artist_id,
                platform: platform.clone(),
                platform_id: platform_id.clone(),
                settings: json!({}),
                status: AccountStatus::Active,
            }),
            Some(known) if known.origin == Provenance::SyncRemoved => changes.accounts_restored.push(known.account.id),
            // What an operator switched off stays off.
            Some(_) => {}
        }
    }
    let removed = there.iter().filter(|known| {
        known.origin == Provenance::Sync
            && known.account.status != AccountStatus::Disabled
            && !ids.contains(&known.account.platform_id)
    });
    changes.accounts_removed.extend(removed.map(|known| (known.account.id, platform.clone())));
}

fn compare_consent(
    changes: &mut RosterChanges,
    known: Option<&KnownArtist>,
    artist_id: ArtistId,
    platform: &Platform,
    granted: bool,
) {
    let latest = known.and_then(|known| known.consents.iter().find(|consent| consent.platform == *platform));
    match latest {
        Some(latest) if latest.granted == granted => {}
        // A consent that was withdrawn elsewhere is not given again by a table that may not know about it.
        Some(latest) if granted && latest.source != CONSENT_SOURCE => changes.withdrawals_kept += 1,
        // There is nothing to withdraw.
        None if !granted => {}
        _ => changes.consents.push((artist_id, platform.clone(), granted)),
    }
}
