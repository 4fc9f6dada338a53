//! From a snapshot to the row that is stored: the pure stages, one after the other. No I/O happens here.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::pipeline::collection::fetch::AccountFailure;
use backline_model::event::types;
use backline_model::row::QuarantineStatus;
use backline_model::{
    AccountId, Candidate, Digest, DocumentId, Event, Fetched, GrowthRow, History, Manifest, MetricName, MetricsRow,
    Quarantined, RunId, Snapshot, Window,
};
use backline_rules::conform::conform;
use backline_rules::growth::{self, SignificanceConfig};
use backline_rules::validate::{self, Subject, ValidationConfig};
use backline_store::AccountPast;

/// A document with what became of it.
pub struct Observation {
    /// Whose.
    pub account: AccountId,
    /// Where the document will be stored.
    pub document_id: DocumentId,
    /// As fetched.
    pub fetched: Fetched,
    /// As normalised.
    pub snapshot: Result<Snapshot, AccountFailure>,
}

/// Everything about a row that is not in the snapshot.
pub struct RowContext<'a> {
    /// Whose numbers.
    pub account: &'a Candidate,
    /// For which date.
    pub metric_date: NaiveDate,
    /// When they were fetched.
    pub observed_at: DateTime<Utc>,
    /// What post-level metrics cover.
    pub window: Window,
    /// In which run.
    pub run_id: RunId,
    /// From which document.
    pub document_id: DocumentId,
    /// By which release.
    pub release: Digest,
    /// Which contract version it speaks.
    pub wit_version: &'a str,
    /// What it says of itself.
    pub manifest: &'a Manifest,
    /// Which rules apply.
    pub validation: &'a ValidationConfig,
    /// Which changes are significant.
    pub significance: &'a SignificanceConfig,
}

/// What a snapshot became.
pub struct EvaluatedRow {
    /// Metrics this very observation brought an accepted value of.
    pub accepted: Vec<MetricName>,
    /// To be stored.
    pub row: MetricsRow,
    /// Kept back.
    pub withheld: Vec<Quarantined>,
    /// For this date, and for every later one that this date's numbers touch.
    pub growth: Vec<GrowthRow>,
    /// Facts that others may want to know.
    pub events: Vec<Event>,
}

/// Normalise → validate → merge with the date's earlier observation → growth → events.
pub fn make(context: &RowContext<'_>, snapshot: Snapshot, past: AccountPast) -> EvaluatedRow {
    let normalised = conform(snapshot, context.manifest);
    let verdict = validate::validate(
        &Subject {
            account_id: context.account.account_id,
            artist_id: context.account.artist_id,
            platform: &context.account.platform,
            metric_date: context.metric_date,
            normalised: &normalised,
            history: &past.history,
            manifest: context.manifest,
        },
        context.validation,
    );
    let withheld = verdict
        .withheld
        .into_iter()
        .map(|withheld| Quarantined {
            id: Uuid::now_v7(),
            account_id: context.account.account_id,
            artist_id: context.account.artist_id,
            platform: context.account.platform.clone(),
            metric_date: context.metric_date,
            metric: withheld.metric,
            value: withheld.value,
            rule: withheld.rule,
            release: context.release,
            document_id: context.document_id,
            status: QuarantineStatus::Held,
            created_at: context.observed_at,
        })
        .collect();
    let accepted = verdict.values.keys().cloned().collect();
    let observed = MetricsRow {
        account_id: context.account.account_id,
        artist_id: context.account.artist_id,
        platform: context.account.platform.clone(),
        metric_date: context.metric_date,
        values: verdict.values,
        absent: verdict.absent,
        coverage: normalised.coverage,
        observed: BTreeMap::new(),
        engagement: normalised.engagement,
        window: context.window,
        quality_score: verdict.quality_score,
        findings: verdict.findings,
        notes: normalised.notes,
        collection_source: "api".to_owned(),
        observed_at: context.observed_at,
        release: context.release,
        wit_version: context.wit_version.to_owned(),
        run_id: context.run_id,
        document_id: context.document_id,
    };
    let row = match past.existing {
        Some(existing) => MetricsRow::merge(existing, observed),
        None => observed,
    };
    let growth = touched_growth(&row, &past.history, context.manifest);
    let events = events(context, &row, &past.history);
    EvaluatedRow { accepted, row, withheld, growth, events }
}

/// The growth of the row's own date, and of every later date that measures itself from it.
pub fn touched_growth(row: &MetricsRow, history: &History, manifest: &Manifest) -> Vec<GrowthRow> {
    growth::touched_dates(row, history).into_iter().map(|date| growth::growth(date, manifest, row, history)).collect()
}

fn events(context: &RowContext<'_>, row: &MetricsRow, history: &History) -> Vec<Event> {
    let metrics = json!({
        "account_id": row.account_id,
        "artist_id": row.artist_id,
        "platform": row.platform,
        "metric_date": row.metric_date,
        "values": row.values,
        "absent": row.absent,
        "data_quality_score": row.quality_score,
        "observed_at": row.observed_at,
    });
    let event = |kind: &str, dedup_key: String, data| Event {
        id: Uuid::now_v7(),
        kind: kind.to_owned(),
        artist_id: Some(row.artist_id),
        occurred_at: context.observed_at,
        dedup_key: Some(dedup_key),
        data,
    };
    let mut events = vec![event(
        types::METRICS_COLLECTED,
        format!("{}:{}:{}:{}", types::METRICS_COLLECTED, context.run_id, row.account_id, row.metric_date),
        metrics.clone(),
    )];
    if let Some(change) = growth::significant_change(row, history, context.manifest, context.significance) {
        events.push(event(
            types::SIGNIFICANT_CHANGE,
            // At most one per account and logical date, however often that date is collected.
            format!("{}:{}:{}", types::SIGNIFICANT_CHANGE, row.account_id, row.metric_date),
            json!({
                "artist_id": row.artist_id,
                "trigger_type": "daily_collection",
                "new_metrics": metrics,
                "change": change,
            }),
        ));
    }
    events
}

/// Only the artist can mend this account.
pub fn reconnect_event(account: &Candidate, now: DateTime<Utc>) -> Event {
    Event {
        id: Uuid::now_v7(),
        kind: types::RECONNECT_NEEDED.to_owned(),
        artist_id: Some(account.artist_id),
        occurred_at: now,
        dedup_key: None,
        data: json!({ "account_id": account.account_id, "artist_id": account.artist_id, "platform": account.platform }),
    }
}
