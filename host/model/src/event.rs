//! Facts others subscribe to, written in the transaction that made them true.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use super::ids::ArtistId;

/// Event types, as subscribers see them.
pub mod types {
    /// An account's metrics were stored.
    pub const METRICS_COLLECTED: &str = "metrics.collected";
    /// They moved past the thresholds; also what triggers AI analysis.
    pub const SIGNIFICANT_CHANGE: &str = "metrics.significant_change";
    /// Only the artist can mend this account.
    pub const RECONNECT_NEEDED: &str = "account.reconnect_needed";
    /// A credential ends in 14, 7 or 1 days, and nothing but a person will put that off.
    pub const CREDENTIAL_EXPIRING: &str = "credential.expiring";
    /// A platform metric is refused by name.
    pub const METRIC_LOST: &str = "connector.metric_lost";
    /// A release went live.
    pub const CONNECTOR_ACTIVATED: &str = "connector.activated";
    /// A release was worse than the one before, which collects again.
    pub const CONNECTOR_ROLLED_BACK: &str = "connector.rolled_back";
    /// A run has no open batch left.
    pub const RUN_COMPLETED: &str = "run.completed";
    /// A figure of health crossed its bound for the worse.
    pub const HEALTH_DEGRADED: &str = "health.degraded";
    /// It is well again.
    pub const HEALTH_RECOVERED: &str = "health.recovered";
    /// Everything about an artist is gone; subscribers should let it go too.
    pub const ARTIST_ERASED: &str = "artist.erased";

    /// Every type.
    pub const ALL: [&str; 11] = [
        METRICS_COLLECTED,
        SIGNIFICANT_CHANGE,
        RECONNECT_NEEDED,
        CREDENTIAL_EXPIRING,
        METRIC_LOST,
        CONNECTOR_ACTIVATED,
        CONNECTOR_ROLLED_BACK,
        RUN_COMPLETED,
        HEALTH_DEGRADED,
        HEALTH_RECOVERED,
        ARTIST_ERASED,
    ];
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Stable across deliveries.
    pub id: Uuid,
    /// One of [`types`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Whom it is about, where it is about an artist; deliveries are in order per artist.
    pub artist_id: Option<ArtistId>,
    /// When it became true.
    pub occurred_at: DateTime<Utc>,
    /// At most one event per key is ever written: how "once" is kept across retries.
    pub dedup_key: Option<String>,
    /// The facts.
    pub data: Json,
}
