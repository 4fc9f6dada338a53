//! What a trial found out, as it is printed and as JSON.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value as Json;

use backline_component::Inspection;
use backline_gateway::Exchange;
use backline_model::manifest::Manifest;
use backline_model::row::{Finding, Severity};
use backline_model::snapshot::{Coverage, Engagement};
use backline_model::{Absence, Digest, Fetched, LostMetric, MetricsRow, Platform, Value, Window};
use backline_sandbox::{CallUsage, LogLevel, LogLine};

/// The call in which something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialCall {
    /// `check`, which asks whether the account can be reached.
    Check,
    /// `fetch`, which makes the document.
    Fetch,
    /// `normalize`, which makes metrics of it.
    Normalize,
}

impl TrialCall {
    /// The function's name in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Fetch => "fetch",
            Self::Normalize => "normalize",
        }
    }
}

/// Why a call gave no result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialFailure {
    /// Class of the failure, as a run would record it.
    pub class: String,
    /// What the connector or the sandbox says.
    pub message: String,
}

impl TrialFailure {
    pub(super) fn not_normalised(message: String) -> Self {
        Self { class: backline_model::FailureClass::NotNormalised.as_str().to_owned(), message }
    }
}

/// A request, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialRequestSent {
    /// The call that made it.
    pub call: TrialCall,
    /// HTTP method.
    pub method: String,
    /// URL without the secret.
    pub url: String,
    /// Slot whose secret was injected.
    pub slot: Option<String>,
    /// Status of the answer; none if there was no answer.
    pub status: Option<u16>,
    /// Why there was no answer.
    pub error: Option<String>,
    /// Units of one attempt, by budget name.
    pub units: BTreeMap<String, u64>,
    /// How often it was sent; 0 if the host refused it or a recording answered.
    pub attempts: u32,
    /// Time to the answer in milliseconds, with the waits between attempts.
    pub wall_ms: u64,
    /// Size of the answer's body in bytes.
    pub bytes: u64,
}

/// A metric of the catalogue: its value, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialMetric {
    /// Name in the catalogue.
    pub name: String,
    /// The accepted value.
    pub value: Option<Value>,
    /// Why it is missing.
    pub absent: Option<Absence>,
    /// How many posts it covers.
    pub coverage: Option<Coverage>,
}

/// A line that the connector logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrialLog {
    /// The call in which it was logged.
    pub call: TrialCall,
    /// Level of the line.
    pub level: LogLevel,
    /// The line.
    pub message: String,
}

/// What a trial found out.
#[derive(Clone, Debug, Serialize)]
pub struct TrialReport {
    /// Name of the connector.
    pub connector: String,
    /// Its version.
    pub version: String,
    /// Digest of the component.
    pub digest: Digest,
    /// Platform that it collects.
    pub platform: Platform,
    /// The platform's id of the account.
    pub account: String,
    /// When it was observed: now, or when the recording was made.
    pub observed_at: DateTime<Utc>,
    /// Window that it was asked for.
    pub window: Window,
    /// Whether a recording answered.
    pub replayed: bool,
    /// The account's name on the platform, or why `check` gave none.
    #[serde(serialize_with = "name_or_failure")]
    pub check: Option<Result<String, TrialFailure>>,
    /// Every request, in the order in which they were made.
    pub requests: Vec<TrialRequestSent>,
    /// What `fetch` made of the answers.
    pub document: Option<Json>,
    /// What it wants to be given back next time.
    pub state: Option<Json>,
    /// The call that gave no result, and why.
    pub failed: Option<(TrialCall, TrialFailure)>,
    /// The catalogue's metrics.
    pub metrics: Vec<TrialMetric>,
    /// What the engagement rate is computed from.
    pub engagement: Option<Engagement>,
    /// Quality score from 0 to 1; none without a snapshot.
    pub quality_score: Option<f64>,
    /// Findings of validation.
    pub findings: Vec<Finding>,
    /// The connector's notes.
    pub notes: Vec<String>,
    /// Metrics that the platform refuses by name.
    pub lost_metrics: Vec<LostMetric>,
    /// What the connector logged; a call that failed leaves its lines in the host's log.
    pub log: Vec<TrialLog>,
    /// CPU time of all calls in milliseconds.
    pub cpu_ms: u64,
    /// Highest memory of a call in bytes.
    pub memory_bytes_peak: u64,
    /// Requests that were not sent, since the bound on requests or on received bytes was reached.
    pub cut: u64,
    /// Requests that are not in the recording, each with the nearest one that is.
    pub not_recorded: Vec<String>,
    /// Requests and answers, for a recording.
    #[serde(skip)]
    pub(super) exchanges: Vec<Exchange>,
}

impl TrialReport {
    pub(super) fn new(
        inspection: &Inspection,
        account: &str,
        now: DateTime<Utc>,
        window: Window,
        replayed: bool,
    ) -> Self {
        let info = &inspection.manifest.connector;
        Self {
            connector: info.name.clone(),
            version: info.version.to_string(),
            digest: inspection.digest,
            platform: info.platform.clone(),
            account: account.to_owned(),
            observed_at: now,
            window,
            replayed,
            check: None,
            requests: Vec::new(),
            document: None,
            state: None,
            failed: None,
            metrics: Vec::new(),
            engagement: None,
            quality_score: None,
            findings: Vec::new(),
            notes: Vec::new(),
            lost_metrics: Vec::new(),
            log: Vec::new(),
            cpu_ms: 0,
            memory_bytes_peak: 0,
            cut: 0,
            not_recorded: Vec::new(),
            exchanges: Vec::new(),
        }
    }

    /// Whether the account was reached, nothing was cut off, and every number that the connector gave is accepted.
    #[must_use]
    pub fn passed(&self) -> bool {
        matches!(self.check, Some(Ok(_)))
            && self.failed.is_none()
            && self.cut == 0
            && self.not_recorded.is_empty()
            && self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }

    pub(super) fn sent(&mut self, call: TrialCall, exchanges: Vec<Exchange>) {
        self.requests.extend(exchanges.iter().map(|exchange| sent(call, exchange)));
        self.exchanges.extend(exchanges);
    }

    pub(super) fn used(&mut self, call: TrialCall, usage: CallUsage) {
        self.cpu_ms += usage.cpu_ms;
        self.memory_bytes_peak = self.memory_bytes_peak.max(usage.memory_bytes_peak);
        self.logged(call, usage.log_lines);
    }

    pub(super) fn logged(&mut self, call: TrialCall, lines: Vec<LogLine>) {
        let lines = lines.into_iter();
        self.log.extend(lines.map(|line| TrialLog { call, level: line.level, message: line.message }));
    }

    pub(super) fn fetched(&mut self, fetched: &Fetched) {
        // The sandbox has checked that both are JSON.
        self.document = serde_json::from_str(&fetched.body).ok();
        self.state = fetched.state.as_ref().and_then(|state| serde_json::from_str(state).ok());
    }

    pub(super) fn failed(&mut self, call: TrialCall, failure: TrialFailure) {
        self.failed = Some((call, failure));
    }

    pub(super) fn evaluated(&mut self, row: MetricsRow, manifest: &Manifest) {
        self.metrics = manifest
            .metrics
            .iter()
            .map(|entry| TrialMetric {
                name: entry.name.to_string(),
                value: row.values.get(&entry.name).cloned(),
                absent: row.absent.get(&entry.name).cloned(),
                coverage: row.coverage.get(&entry.name).copied(),
            })
            .collect();
        self.engagement = row.engagement;
        self.quality_score = Some(row.quality_score);
        self.findings = row.findings;
        self.notes = row.notes;
    }
}

fn sent(call: TrialCall, exchange: &Exchange) -> TrialRequestSent {
    let (status, error, bytes) = match &exchange.answer {
        Some(Ok(response)) => (Some(response.status), None, response.body.len() as u64),
        Some(Err(error)) => (None, Some(error.to_string()), 0),
        None => (None, Some("the connector did not wait for the answer".to_owned()), 0),
    };
    TrialRequestSent {
        call,
        method: exchange.asked.method.as_str().to_owned(),
        url: exchange.asked.url.clone(),
        slot: exchange.asked.credential.as_ref().map(|credential| credential.slot.clone()),
        status,
        error,
        units: exchange.units.clone(),
        attempts: exchange.attempts,
        wall_ms: exchange.wall_ms,
        bytes,
    }
}

fn name_or_failure<S: serde::Serializer>(
    check: &Option<Result<String, TrialFailure>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (name, failed) = match check {
        None => (None, None),
        Some(Ok(name)) => (Some(name), None),
        Some(Err(failure)) => (None, Some(failure)),
    };
    #[derive(Serialize)]
    struct Check<'a> {
        name: Option<&'a String>,
        failed: Option<&'a TrialFailure>,
    }
    Check { name, failed }.serialize(serializer)
}
