//! From a snapshot to the row that is stored: the pure stages, in order. No I/O happens here.
//!
//! They are two parts. `prepare` needs nothing but the snapshot, and handles all that the connector wrote. `finish`
//! compares with stored rows, so it runs while these are locked: what it does grows with the number of metrics and of
//! earlier rows, and with what is stored of texts.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::config::Config;
use crate::pipeline::collection::fetch::AccountFailure;
use crate::pipeline::releases::cache::LoadedRelease;
use backline_model::row::QuarantineStatus;
use backline_model::snapshot::Conformed;
use backline_model::{
    AccountId, Candidate, DocumentId, GrowthRow, History, Manifest, MetricName, MetricsRow, Quarantined, RowEvent,
    RowFact, RunId, Snapshot, Window,
};
use backline_rules::conform::{conform, fits};
use backline_rules::dates;
use backline_rules::growth::{self, SignificanceConfig};
use backline_rules::validate::{self, Judged, Screened, ValidationConfig};
use backline_store::{AccountHistory, DocumentBody, DocumentRecord, StoredAccount};

/// Most reports of one batch that do not fit the connector's catalogue: of a metric that it does not know, of another
/// kind than it says, or of a metric that is reported more than once. Each is kept for the operator to look at, or
/// named in its row.
const UNKNOWN_METRICS_MAX: usize = 1_000;

/// Reports of one metric that stay together, or not at all: two say that it was reported more than once, and one alone
/// would be taken for its value.
const REPORTS_MIN: usize = 2;

/// Counts the reports of a batch that do not fit the catalogue.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct UnknownMetrics {
    kept: usize,
    dropped: usize,
}

impl UnknownMetrics {
    /// Drops what exceeds the bound of the batch. The metrics of what was dropped are `unavailable`.
    pub(in crate::pipeline) fn trim(&mut self, snapshot: &mut Snapshot, manifest: &Manifest) {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for reported in &snapshot.metrics {
            *times.entry(reported.name.as_str()).or_default() += 1;
        }
        // For names that are reported more than once: the reports that were counted in advance, if they had room.
        let mut counted: BTreeMap<&str, Option<usize>> = BTreeMap::new();
        let mut kept = Vec::with_capacity(snapshot.metrics.len());
        for reported in &snapshot.metrics {
            let name = reported.name.as_str();
            kept.push(if times.get(name) == Some(&1) {
                fits(reported, manifest) || self.count(1)
            } else {
                match counted.entry(name).or_insert_with(|| self.count(REPORTS_MIN).then_some(REPORTS_MIN)) {
                    None => false,
                    Some(0) => self.count(1),
                    Some(left) => {
                        *left -= 1;
                        true
                    }
                }
            });
        }
        self.dropped += kept.iter().filter(|is_kept| !**is_kept).count();
        let mut kept = kept.into_iter();
        snapshot.metrics.retain(|_| kept.next().unwrap_or(true));
    }

    /// Counts reports, if there is room for all of them.
    fn count(&mut self, reports: usize) -> bool {
        let has_room = self.kept + reports <= UNKNOWN_METRICS_MAX;
        if has_room {
            self.kept += reports;
        }
        has_room
    }

    /// What to tell the operator of what was dropped.
    pub(in crate::pipeline) fn note(&self) -> Option<String> {
        (self.dropped > 0).then(|| {
            let dropped = self.dropped;
            format!(
                "{dropped} metrics that the catalogue does not know, that are of another kind than it says, or that \
                 were reported more than once, were dropped; a batch keeps {UNKNOWN_METRICS_MAX}"
            )
        })
    }
}

/// A document and what was made of its snapshot.
pub(in crate::pipeline) struct Observation {
    /// Account that the document is about.
    pub account: AccountId,
    /// Where the document comes from, and which date it is about.
    pub origin: DocumentOrigin,
    /// The document as it will be stored.
    pub body: DocumentBody,
    /// JSON text that the connector is handed back the next time.
    pub state: Option<String>,
    /// The snapshot, ready to be compared with stored rows, or why there is none.
    pub prepared: Result<Prepared, AccountFailure>,
}

/// A snapshot of which everything is done that needs no stored row.
pub(in crate::pipeline) struct Prepared {
    /// Without misfits: what is stored of them is screened already.
    conformed: Conformed,
    screened: Screened,
    /// Metrics that were taken out since their date had ended.
    late: BTreeSet<String>,
}

/// Everything about a row that is not in the snapshot.
pub(in crate::pipeline) struct RowContext<'a> {
    account: &'a Candidate,
    metric_date: NaiveDate,
    observed_at: DateTime<Utc>,
    /// The time span that post-level metrics cover.
    window: Window,
    run_id: RunId,
    document_id: DocumentId,
    only_history: bool,
    release: &'a LoadedRelease,
    validation: &'a ValidationConfig,
    significance: &'a SignificanceConfig,
    /// Whether times of observation say which date values are of.
    times_count: bool,
}

/// Where a document comes from, and which date it is about.
#[derive(Clone, Copy)]
pub(in crate::pipeline) struct DocumentOrigin {
    /// Logical date of the row.
    pub metric_date: NaiveDate,
    /// When the document was fetched.
    pub observed_at: DateTime<Utc>,
    /// The time span that post-level metrics cover.
    pub window: Window,
    /// Run in which it was fetched.
    pub run_id: RunId,
    /// Id under which it is stored.
    pub document_id: DocumentId,
    /// Whether the date had ended when it was fetched, so that only metrics with history are stored.
    pub only_history: bool,
}

impl DocumentOrigin {
    /// The document, as it is stored.
    pub(in crate::pipeline) fn document(&self, body: DocumentBody) -> DocumentRecord {
        DocumentRecord { id: self.document_id, body, observed_at: self.observed_at, window: self.window }
    }
}

impl<'a> RowContext<'a> {
    /// The context of an account's row: the release that conformed it, the rules in force, and the document.
    pub(in crate::pipeline) fn new(
        release: &'a LoadedRelease,
        config: &'a Config,
        account: &'a Candidate,
        origin: DocumentOrigin,
    ) -> Self {
        let DocumentOrigin { metric_date, observed_at, window, run_id, document_id, only_history } = origin;
        let (validation, significance) = (&config.validation, &config.significance);
        let times_count = config.collection.times_count();
        Self {
            account,
            metric_date,
            observed_at,
            window,
            run_id,
            document_id,
            only_history,
            release,
            validation,
            significance,
            times_count,
        }
    }

    /// What validation judges.
    fn subject<'s>(&'s self, conformed: &'s Conformed) -> Judged<'s> {
        Judged {
            account_id: self.account.account_id,
            artist_id: self.account.artist_id,
            platform: &self.account.platform,
            metric_date: self.metric_date,
            conformed,
            manifest: &self.release.manifest,
        }
    }
}

/// The result of evaluating one snapshot.
pub(in crate::pipeline) struct EvaluatedRow {
    /// Metrics for which this observation brought an accepted value.
    pub accepted: Vec<MetricName>,
    /// The row to store.
    pub row: MetricsRow,
    /// Values that are quarantined.
    pub withheld: Vec<Quarantined>,
    /// Growth of this date, and of every later date that it affects.
    pub growth: Vec<GrowthRow>,
    /// Events about the row.
    pub events: Vec<RowEvent>,
}

impl EvaluatedRow {
    /// What is stored of it. `state` is the JSON text that the connector is handed back the next time.
    pub(in crate::pipeline) fn stored(self, state: Option<String>) -> StoredAccount {
        let Self { row, withheld, growth, events, .. } = self;
        StoredAccount { row, state, withheld, growth, events }
    }
}

/// All stages, where nothing is locked meanwhile.
pub(in crate::pipeline) fn make(context: &RowContext<'_>, snapshot: Snapshot, known: AccountHistory) -> EvaluatedRow {
    finish(context, &prepare(context, snapshot), known)
}

/// Date → conform → the rules that compare with nothing.
pub(in crate::pipeline) fn prepare(context: &RowContext<'_>, mut snapshot: Snapshot) -> Prepared {
    let late = if context.only_history {
        dates::keep_history(&mut snapshot, &context.release.manifest)
    } else {
        BTreeSet::new()
    };
    let mut conformed = conform(snapshot, &context.release.manifest);
    let screened = validate::screen(&context.subject(&conformed), context.validation);
    conformed.misfits = Vec::new();
    Prepared { conformed, screened, late }
}

/// The rules that compare with earlier values → merge with the date's earlier observation → growth → events.
pub(in crate::pipeline) fn finish(
    context: &RowContext<'_>,
    prepared: &Prepared,
    mut known: AccountHistory,
) -> EvaluatedRow {
    if !context.times_count {
        known.history.forget_times();
    }
    let Prepared { conformed, screened, late } = prepared;
    let verdict = validate::judge(&context.subject(conformed), screened, &known.history, context.validation);
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
            release: context.release.digest,
            document_id: context.document_id,
            status: QuarantineStatus::Held,
            created_at: context.observed_at,
        })
        .collect();
    let accepted = verdict.values.keys().cloned().collect();
    let mut observed = MetricsRow {
        account_id: context.account.account_id,
        artist_id: context.account.artist_id,
        platform: context.account.platform.clone(),
        metric_date: context.metric_date,
        values: verdict.values,
        absent: verdict.absent,
        coverage: conformed.coverage.clone(),
        observed: BTreeMap::new(),
        engagement: conformed.engagement,
        window: context.window,
        quality_score: verdict.quality_score,
        findings: verdict.findings,
        notes: conformed.notes.clone(),
        collection_source: "api".to_owned(),
        observed_at: context.observed_at,
        release: context.release.digest,
        wit_version: context.release.wit_version.clone(),
        run_id: context.run_id,
        document_id: context.document_id,
    };
    let row = match known.existing {
        Some(existing) => {
            dates::keep_reasons(&mut observed.absent, late, &existing.absent);
            MetricsRow::merge(existing, observed)
        }
        None => observed,
    };
    let growth = touched_growth(&row, &known.history, &context.release.manifest);
    let events = events(context, &row, &known.history);
    EvaluatedRow { accepted, row, withheld, growth, events }
}

/// The growth of the row's own date, and of every later date that is compared with it.
pub(in crate::pipeline) fn touched_growth(row: &MetricsRow, history: &History, manifest: &Manifest) -> Vec<GrowthRow> {
    growth::touched_dates(row, history).into_iter().map(|date| growth::growth(date, manifest, row, history)).collect()
}

fn events(context: &RowContext<'_>, row: &MetricsRow, history: &History) -> Vec<RowEvent> {
    let event = |fact| RowEvent { id: Uuid::now_v7(), occurred_at: context.observed_at, fact };
    let mut events = vec![event(RowFact::Collected)];
    if let Some(change) = growth::significant_change(row, history, &context.release.manifest, context.significance) {
        events.push(event(RowFact::Changed { change: json!(change) }));
    }
    events
}

#[cfg(test)]
mod tests {
    use backline_model::fixtures::manifest;
    use backline_model::{Absence, Value, snapshot::Reported};

    use super::*;

    fn metric(name: &str, value: Result<Value, Absence>) -> Reported {
        Reported { name: name.to_owned(), value, coverage: None }
    }

    /// What is left of these reports.
    fn trimmed(unknown: &mut UnknownMetrics, metrics: Vec<Reported>) -> usize {
        let mut snapshot = Snapshot { metrics, engagement: None, notes: Vec::new() };
        unknown.trim(&mut snapshot, &manifest());
        snapshot.metrics.len()
    }

    #[test]
    fn unknown_absences_and_repeated_reports_are_counted_for_the_whole_batch_too() {
        let repeated = |_: usize| metric("followers", Ok(Value::Integer(1)));
        let unknown_absence = |n: usize| metric(&format!("unknown-{n}"), Err(Absence::Hidden));
        let mut unknown = UnknownMetrics::default();
        let mut left = |metrics| trimmed(&mut unknown, metrics);
        assert_eq!(left((0..600).map(unknown_absence).collect()), 600);
        assert_eq!(left((0..399).map(repeated).collect()), 399, "what is left of the batch's room, but for one");
        assert_eq!(left((0..3).map(repeated).collect()), 0, "none of them is taken for the only one");
        assert_eq!(left((0..3).map(unknown_absence).collect()), 1);
        assert_eq!(left(vec![metric("genres", Err(Absence::Hidden)), repeated(0)]), 2, "these fit");
    }

    #[test]
    fn values_of_the_wrong_kind_are_counted_for_the_whole_batch() {
        let wrong = || {
            let followers = metric("followers", Ok(Value::Text("many".to_owned())));
            vec![followers, metric("engagement_rate", Ok(Value::Decimal(f64::NAN)))]
        };
        let mut unknown = UnknownMetrics::default();
        let kept: usize = (0..600).map(|_| trimmed(&mut unknown, wrong())).sum();
        assert_eq!(kept, UNKNOWN_METRICS_MAX);
        assert!(unknown.note().is_some_and(|note| note.starts_with("200 metrics")), "{:?}", unknown.note());
        let right = vec![metric("followers", Ok(Value::Text("12".to_owned()))), metric("likes", Err(Absence::Hidden))];
        assert_eq!(trimmed(&mut unknown, right), 2, "these fit");
    }

    #[test]
    fn unknown_metrics_are_counted_for_the_whole_batch_and_known_ones_are_not() {
        let one = |name: &str| metric(name, Ok(Value::Integer(1)));
        let mut unknown = UnknownMetrics::default();
        let mut kept = 0;
        for _ in 0..5 {
            let metrics = (0..250).map(|n| one(&format!("unknown-{n}"))).chain([one("followers")]).collect();
            let mut snapshot = Snapshot { metrics, engagement: None, notes: Vec::new() };
            unknown.trim(&mut snapshot, &manifest());
            assert!(snapshot.metrics.iter().any(|reported| reported.name == "followers"));
            kept += snapshot.metrics.len() - 1;
        }
        assert_eq!(kept, UNKNOWN_METRICS_MAX);
        assert!(unknown.note().is_some_and(|note| note.starts_with("250 metrics")), "{:?}", unknown.note());
        assert_eq!(UnknownMetrics::default().note(), None);
    }
}
