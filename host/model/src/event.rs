//! Events: facts that others subscribe to, written in the transaction that made them true.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use super::ids::ArtistId;

/// Types of events, as subscribers see them.
pub mod types {
    /// An account's metrics were stored.
    pub const METRICS_COLLECTED: &str = "metrics.collected";
    /// An account's metrics changed by more than the thresholds. Also triggers the AI analysis.
    pub const SIGNIFICANT_CHANGE: &str = "metrics.significant_change";
    /// The artist has to reconnect an account.
    pub const RECONNECT_NEEDED: &str = "account.reconnect_needed";
    /// A credential expires in 14, 7 or 1 days, and only a person can renew it.
    pub const CREDENTIAL_EXPIRING: &str = "credential.expiring";
    /// The platform refuses a metric by its name.
    pub const METRIC_LOST: &str = "connector.metric_lost";
    /// A release became active.
    pub const CONNECTOR_ACTIVATED: &str = "connector.activated";
    /// A release did worse than the one before, which is active again.
    pub const CONNECTOR_ROLLED_BACK: &str = "connector.rolled_back";
    /// A run has no open batches left.
    pub const RUN_COMPLETED: &str = "run.completed";
    /// A health figure crossed its threshold for the worse.
    pub const HEALTH_DEGRADED: &str = "health.degraded";
    /// A health figure is within its threshold again.
    pub const HEALTH_RECOVERED: &str = "health.recovered";
    /// Everything about an artist was erased; subscribers should erase their copies.
    pub const ARTIST_ERASED: &str = "artist.erased";

    /// Every type of event.
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

/// A fact that became true once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Id of the event, the same in every delivery.
    pub id: Uuid,
    /// One of the constants in [`types`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Artist that the event is about, if any. Deliveries are in order for each artist.
    pub artist_id: Option<ArtistId>,
    /// When the fact became true.
    pub occurred_at: DateTime<Utc>,
    /// At most one event with the same key is ever written: this keeps retries from repeating it.
    pub dedup_key: Option<String>,
    /// Details of the event, by type.
    pub data: Json,
}
