//! Events about a credential that ends: that it will soon, and that its account must be connected again.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use backline_model::event::types;
use backline_model::{ArtistId, Candidate, Event};
use backline_store::SealedCredential;

/// How many days before its end a credential is announced, the nearest first.
const ANNOUNCED_DAYS: [i64; 3] = [1, 7, 14];

/// The latest end that is announced now.
pub(in crate::pipeline) fn announced_until(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TimeDelta::days(ANNOUNCED_DAYS.into_iter().max().unwrap_or_default())
}

/// The event for a credential that ends soon; none where the end is more than 14 days away.
pub(in crate::pipeline) fn expiring_event(
    credential: &SealedCredential,
    artist_id: Option<ArtistId>,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<Event> {
    let days = ANNOUNCED_DAYS.into_iter().find(|days| expires_at - now <= TimeDelta::days(*days))?;
    Some(Event {
        id: Uuid::now_v7(),
        kind: types::CREDENTIAL_EXPIRING.to_owned(),
        artist_id,
        occurred_at: now,
        // A new end is announced again.
        dedup_key: Some(format!("{}:{}:{}:{days}", types::CREDENTIAL_EXPIRING, credential.id, expires_at.timestamp())),
        data: json!({
            "account_id": credential.account_id,
            "artist_id": artist_id,
            "platform": credential.platform,
            "slot": credential.slot,
            "expires_at": expires_at,
            "days": days,
        }),
    })
}

/// The event for an account that only its artist can fix.
pub(in crate::pipeline) fn reconnect_event(account: &Candidate, now: DateTime<Utc>) -> Event {
    Event {
        id: Uuid::now_v7(),
        kind: types::RECONNECT_NEEDED.to_owned(),
        artist_id: Some(account.artist_id),
        occurred_at: now,
        dedup_key: None,
        data: json!({ "account_id": account.account_id, "artist_id": account.artist_id, "platform": account.platform }),
    }
}
