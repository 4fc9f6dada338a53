//! Events: facts that others subscribe to, written in the transaction that made them true.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::ids::{AccountId, ArtistId, RunId};
use crate::metric::{Value, names};
use crate::row::MetricsRow;

/// Types of events, as subscribers see them.
pub mod types {
    /// An account's metrics were stored.
    pub const METRICS_COLLECTED: &str = "metrics.collected";
    /// An account's metrics changed by more than the thresholds. Also triggers the AI analysis.
    pub const SIGNIFICANT_CHANGE: &str = "metrics.significant_change";
    /// The artist has to reconnect an account.
    pub const RECONNECT_NEEDED: &str = "account.reconnect_needed";
    /// The platform has not known an account for days, so it is left out from now on.
    pub const ACCOUNT_NOT_FOUND: &str = "account.not_found";
    /// An operator removed an account with all that was collected of it; subscribers should remove their copies.
    pub const ACCOUNT_REMOVED: &str = "account.removed";
    /// A credential expires in 14, 7 or 1 days, and only a person can renew it.
    pub const CREDENTIAL_EXPIRING: &str = "credential.expiring";
    /// The platform refuses a metric by its name.
    pub const METRIC_LOST: &str = "connector.metric_lost";
    /// A platform asked for a pause that is too long to be kept.
    pub const WAIT_CUT: &str = "platform.wait_cut";
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
    pub const ALL: [&str; 14] = [
        METRICS_COLLECTED,
        SIGNIFICANT_CHANGE,
        RECONNECT_NEEDED,
        ACCOUNT_NOT_FOUND,
        ACCOUNT_REMOVED,
        CREDENTIAL_EXPIRING,
        METRIC_LOST,
        WAIT_CUT,
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

/// An event about a row of `metrics`. Its data are those of the row: they are not stored a second time, but read when
/// they are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct RowEvent {
    /// Id of the event.
    pub id: Uuid,
    /// When the fact became true.
    pub occurred_at: DateTime<Utc>,
    /// What became true of the row.
    pub fact: RowFact,
}

/// What an event says of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowFact {
    /// The row was stored: once per account, date and run.
    Collected,
    /// The row differs much from earlier ones: once per account and date, however often the date is collected.
    Changed {
        /// What changed, as subscribers see it.
        change: Json,
    },
}

impl RowFact {
    /// The event's type.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Collected => types::METRICS_COLLECTED,
            Self::Changed { .. } => types::SIGNIFICANT_CHANGE,
        }
    }

    /// The part of the event's data that is not in the row.
    #[must_use]
    pub fn own_data(&self) -> Json {
        match self {
            Self::Collected => json!({}),
            Self::Changed { change } => json!({ "change": change }),
        }
    }
}

/// The key that keeps the event of a row from being written twice. `run` is none for what is told once, whatever the
/// run.
#[must_use]
pub fn row_event_key(kind: &str, account: AccountId, date: NaiveDate, run: Option<RunId>) -> String {
    match run {
        Some(run) => format!("{kind}:{run}:{account}:{date}"),
        None => format!("{kind}:{account}:{date}"),
    }
}

/// The data of an event about a row, as subscribers get them. `own` is [`RowFact::own_data`].
#[must_use]
pub fn row_event_data(kind: &str, own: &Json, row: &MetricsRow) -> Json {
    let metrics = row_data(row);
    if kind == types::METRICS_COLLECTED { metrics } else { change_data(Some(row.artist_id), metrics, own) }
}

/// The data of an event whose row is not there as it was, since another program changed or deleted it: no numbers, and
/// `replaced`.
#[must_use]
pub fn replaced_event_data(event: &Event, account: AccountId, platform: &str, date: NaiveDate) -> Json {
    let metrics = json!({
        "account_id": account,
        "artist_id": event.artist_id,
        "platform": platform,
        "metric_date": date,
        "values": {},
        "absent": {},
        "data_quality_score": 0.0,
        "observed_at": event.occurred_at,
        "replaced": true,
    });
    if event.kind == types::METRICS_COLLECTED { metrics } else { change_data(event.artist_id, metrics, &event.data) }
}

fn change_data(artist: Option<ArtistId>, metrics: Json, own: &Json) -> Json {
    json!({
        "artist_id": artist,
        "trigger_type": "daily_collection",
        "new_metrics": metrics,
        "change": own["change"],
    })
}

fn row_data(row: &MetricsRow) -> Json {
    let mut values = json!(row.values);
    // Its column holds any number, and so a score of 82 comes back as 82.0.
    if let Some(Value::Decimal(score)) = row.values.get(names::POPULARITY)
        && score.fract() == 0.0
        && score.abs() < 1e9
    {
        #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
        let whole = *score as i64;
        values[names::POPULARITY] = json!(whole);
    }
    json!({
        "account_id": row.account_id,
        "artist_id": row.artist_id,
        "platform": row.platform,
        "metric_date": row.metric_date,
        "values": values,
        "absent": row.absent,
        "data_quality_score": row.quality_score,
        "observed_at": row.observed_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{day, name, row};

    #[test]
    fn a_rows_data_are_what_was_collected_and_what_changed() {
        let values = [(name("popularity"), Value::Decimal(82.0)), (name("engagement_rate"), Value::Decimal(3.0))];
        let row = row(day("2026-11-20"), values.into());
        let collected = RowFact::Collected;
        let data = row_event_data(collected.kind(), &collected.own_data(), &row);
        assert_eq!(data["values"].to_string(), r#"{"engagement_rate":3.0,"popularity":82}"#);
        assert_eq!((&data["metric_date"], &data["platform"]), (&json!("2026-11-20"), &json!(row.platform)));

        let changed = RowFact::Changed { change: json!({ "first": true }) };
        let told = row_event_data(changed.kind(), &changed.own_data(), &row);
        assert_eq!((&told["new_metrics"], &told["change"]["first"]), (&data, &json!(true)));

        let event = Event {
            id: Uuid::nil(),
            kind: changed.kind().to_owned(),
            artist_id: Some(row.artist_id),
            occurred_at: row.observed_at,
            dedup_key: None,
            data: changed.own_data(),
        };
        let gone = replaced_event_data(&event, row.account_id, "demo", row.metric_date);
        assert_eq!((&gone["new_metrics"]["replaced"], &gone["change"]["first"]), (&json!(true), &json!(true)));
        assert_eq!((&gone["new_metrics"]["values"], &gone["new_metrics"]["platform"]), (&json!({}), &json!("demo")));
    }
}
