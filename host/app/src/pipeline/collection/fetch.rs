//! Fetches a batch's documents and has them normalised, even if single accounts make calls fail.
//!
//! A call that traps or times out does not say which account caused it. The batch is cut in half and tried again, down
//! to one account, so that a bad account fails alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::pipeline::releases::cache::LoadedRelease;
use crate::telemetry::ConnectorUse;
use backline_gateway::{Gateway, Secrets, Session, SessionCredential, SessionSetup, Usage};
use backline_model::{
    AccountId, DocumentInput, FailureClass, FetchAccount, FetchContext, FetchError, Fetched, LostMetric, Outcome,
    Snapshot,
};
use backline_sandbox::{Call, CallError, LogLine};

/// The smallest share of a batch's deadline that a part of the batch gets.
const DEADLINE_SHARE_MIN: f64 = 0.125;

/// Why an account has no document or no snapshot.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pipeline) enum AccountFailure {
    /// The outcome is final.
    Final(Outcome),
    /// It may work later in the same run.
    Retry {
        /// Class of the failure if no attempt is left.
        class: FailureClass,
        /// Message for the operator.
        message: String,
    },
    /// The platform, or a budget with a short window, asks for a pause. It uses up no attempt.
    Wait {
        /// How long, where that is known.
        wait: Option<Duration>,
    },
    /// A budget is spent.
    Defer {
        /// When it resets, where that is known.
        until: Option<DateTime<Utc>>,
    },
    /// Nothing was asked for it: a pause that the platform asked for before is in force.
    Paused {
        /// When it ends.
        until: DateTime<Utc>,
    },
    /// The credential was refused: refresh it and retry once.
    Refused(String),
}

impl AccountFailure {
    fn failed(class: FailureClass, message: String) -> Self {
        if class.is_retryable() {
            Self::Retry { class, message }
        } else {
            Self::Final(Outcome::Failed { class, message })
        }
    }

    /// The failure that a connector's typed error means for the account.
    pub(in crate::pipeline) fn of(error: FetchError) -> Self {
        let message = error.to_string();
        match error {
            FetchError::Unauthorized(why) => Self::Refused(why),
            FetchError::QuotaExhausted(until) => Self::Defer { until },
            FetchError::RateLimited(seconds) => {
                Self::Wait { wait: seconds.map(|seconds| Duration::from_secs(seconds.into())) }
            }
            FetchError::NotFound => Self::failed(FailureClass::NotFound, message),
            FetchError::Reconnect(_) => Self::failed(FailureClass::Reconnect, message),
            FetchError::Forbidden(_) => Self::failed(FailureClass::Forbidden, message),
            FetchError::Misconfigured(_) => Self::failed(FailureClass::Misconfigured, message),
            FetchError::Unavailable(_) => Self::failed(FailureClass::Unavailable, message),
            FetchError::Unexpected(_) => Self::failed(FailureClass::Unexpected, message),
        }
    }
}

/// What calls produced besides their results.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct SideEffects {
    /// Metrics that the platform no longer offers, reported for the first time.
    pub lost_metrics: Vec<LostMetric>,
    /// What the connector logged.
    pub logs: Vec<LogLine>,
    /// Requests sent, retries and redirects included.
    pub requests: u64,
    /// Budget name → units spent.
    pub units: BTreeMap<String, u64>,
    /// Responses that said the host sends too fast (HTTP 429).
    pub throttled: u64,
    /// Requests that timed out, and calls that passed their deadline.
    pub timed_out: u64,
    /// Resources that the calls used.
    pub used: ConnectorUse,
    /// Accounts whose last call timed out while the platform did not answer or throttled: not the connector's fault.
    pub kept_waiting: BTreeSet<AccountId>,
    /// Names of budgets that held requests back.
    pub spent: BTreeSet<String>,
    /// Secrets of the sessions, which what `normalize` makes of their documents is searched for.
    pub secrets: Vec<Secrets>,
}

impl SideEffects {
    fn add_usage(&mut self, usage: Usage) {
        self.requests += usage.requests;
        self.throttled += usage.throttled;
        self.timed_out += usage.timed_out;
        self.used.received_bytes += usage.bytes_received;
        self.spent.extend(usage.spent);
        for (budget, units) in usage.units {
            *self.units.entry(budget).or_default() += units;
        }
    }

    /// Counts a call, collects the connector's log, and returns the answer.
    fn take<T>(&mut self, function: &'static str, called: Result<Call<T>, CallError>) -> Result<T, CallError> {
        let used = &mut self.used;
        let end = called.as_ref().map_or_else(end_of, |_| "answered");
        *used.calls.entry((function, end)).or_default() += 1;
        let Call { value, usage } = called?;
        used.cpu_ms += usage.cpu_ms;
        used.wall_ms += usage.wall_ms;
        used.memory_bytes_peak = used.memory_bytes_peak.max(usage.memory_bytes_peak);
        used.output_bytes += usage.output_bytes;
        used.output_bytes_peak = used.output_bytes_peak.max(usage.output_bytes);
        used.log_bytes += usage.log_lines.iter().map(|line| line.message.len() as u64).sum::<u64>();
        self.logs.extend(usage.log_lines);
        Ok(value)
    }
}

/// Calls `fetch` for accounts whose credentials are available.
#[tracing::instrument(
    name = "fetch",
    skip_all,
    fields(platform = %release.manifest.connector.platform, accounts = accounts.len())
)]
pub(in crate::pipeline) async fn fetch(
    release: &LoadedRelease,
    gateway: &Gateway,
    accounts: Vec<FetchAccount>,
    context: &FetchContext,
    credentials: &[SessionCredential],
    deadline: Duration,
    side: &mut SideEffects,
) -> BTreeMap<AccountId, Result<Fetched, AccountFailure>> {
    // A batch may have been planned for a release that takes more accounts at a time.
    let at_once = usize::try_from(release.manifest.connector.batch_size).unwrap_or(usize::MAX);
    let mut bisection = Bisection::of(accounts.len(), at_once);
    while let Some(range) = bisection.next() {
        let part = &accounts[range.clone()];
        let until = Instant::now() + share(deadline, part.len(), accounts.len());
        let session = session_for(release, gateway, part, credentials, until);
        let called = release.connector.fetch(session.clone(), part.to_vec(), context.clone(), until).await;
        let usage = session.usage();
        if matches!(called, Err(CallError::TimedOut { .. })) {
            for account in part {
                if usage.timed_out + usage.throttled > 0 {
                    side.kept_waiting.insert(account.id);
                } else {
                    side.kept_waiting.remove(&account.id);
                }
            }
        }
        side.add_usage(usage);
        side.secrets.push(session.secrets());
        side.timed_out += u64::from(matches!(called, Err(CallError::TimedOut { .. })));
        let answers = side.take("fetch", called).map(|batch| {
            side.lost_metrics.extend(batch.lost_metrics);
            batch.accounts
        });
        bisection.record(range, answers);
    }
    let results = bisection.into_results().into_iter().map(|result| match result {
        Ok(Ok(fetched)) => Ok(fetched),
        Ok(Err(error)) => Err(AccountFailure::of(error)),
        Err(error) => Err(ending_of_call(&error)),
    });
    accounts.iter().map(|account| account.id).zip(results).collect()
}

/// Calls `normalize`, without any capability.
#[tracing::instrument(
    name = "normalize",
    skip_all,
    fields(platform = %release.manifest.connector.platform, documents = documents.len())
)]
pub(in crate::pipeline) async fn normalize(
    release: &LoadedRelease,
    documents: Vec<DocumentInput>,
    side: &mut SideEffects,
) -> Vec<Result<Snapshot, AccountFailure>> {
    let mut bisection = Bisection::of(documents.len(), documents.len());
    while let Some(range) = bisection.next() {
        let called = release.connector.normalize_of(&side.secrets, documents[range.clone()].to_vec()).await;
        bisection.record(range, side.take("normalize", called));
    }
    let results = bisection.into_results().into_iter().map(|result| match result {
        Ok(Ok(snapshot)) => Ok(snapshot),
        Ok(Err(why)) => {
            Err(AccountFailure::Final(Outcome::Failed { class: FailureClass::NotNormalised, message: why }))
        }
        Err(error) => Err(ending_of_call(&error)),
    });
    results.collect()
}

/// Items still to be processed, part by part, and the results so far. A part whose call failed for a reason that one of
/// its items may have caused is cut in half, down to one item.
struct Bisection<T> {
    /// Parts still to be processed; the next one is the last element.
    parts: Vec<Range<usize>>,
    results: Vec<Result<T, CallError>>,
}

impl<T> Bisection<T> {
    /// A bisection of `items` items; one call takes at most `at_once` of them.
    fn of(items: usize, at_once: usize) -> Self {
        let at_once = at_once.max(1);
        let parts = (0..items).step_by(at_once).map(|start| start..(start + at_once).min(items)).rev().collect();
        Self { parts, results: Vec::with_capacity(items) }
    }

    /// The part to process next. Parts come from the left, so that results are in the order of the items.
    fn next(&mut self) -> Option<Range<usize>> {
        self.parts.pop().filter(|part| !part.is_empty())
    }

    /// Records the result of a call: one answer for each item of the part, or an error.
    fn record(&mut self, part: Range<usize>, answers: Result<Vec<T>, CallError>) {
        match answers {
            Ok(answers) => self.results.extend(answers.into_iter().map(Ok)),
            Err(error) if part.len() > 1 && error.may_be_an_items_fault() => {
                let middle = part.start + part.len() / 2;
                self.parts.push(middle..part.end);
                self.parts.push(part.start..middle);
            }
            Err(error) => self.results.extend(part.map(|_| Err(error.clone()))),
        }
    }

    fn into_results(self) -> Vec<Result<T, CallError>> {
        self.results
    }
}

fn session_for(
    release: &LoadedRelease,
    gateway: &Gateway,
    accounts: &[FetchAccount],
    credentials: &[SessionCredential],
    deadline: Instant,
) -> Session {
    let accounts: Vec<AccountId> = accounts.iter().map(|account| account.id).collect();
    let credentials = credentials
        .iter()
        .filter(|credential| credential.account.is_none_or(|account| accounts.contains(&account)))
        .cloned()
        .collect();
    gateway.session(SessionSetup {
        manifest: release.manifest.clone(),
        grant: release.grant.clone(),
        credentials,
        accounts,
        deadline,
    })
}

fn share(deadline: Duration, part: usize, whole: usize) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "a batch has at most a few hundred accounts")]
    let share = part as f64 / whole.max(1) as f64;
    deadline.mul_f64(share.clamp(DEADLINE_SHARE_MIN, 1.0))
}

/// How a failed call ended, as a label.
fn end_of(error: &CallError) -> &'static str {
    match error {
        CallError::Trapped(_) => "trapped",
        CallError::TimedOut { .. } => "timed_out",
        CallError::CpuExhausted { .. } => "cpu_exhausted",
        CallError::LimitExceeded { .. } => "limit_exceeded",
        CallError::Contract(_) => "contract",
        CallError::Internal(_) => "internal",
    }
}

/// The failure that a call without an answer means for its accounts.
pub(in crate::pipeline) fn ending_of_call(error: &CallError) -> AccountFailure {
    let class = match error {
        CallError::Trapped(_) => FailureClass::Trapped,
        CallError::TimedOut { .. } | CallError::CpuExhausted { .. } => FailureClass::TimedOut,
        CallError::LimitExceeded { .. } => FailureClass::LimitExceeded,
        CallError::Contract(_) => FailureClass::Unexpected,
        CallError::Internal(_) => FailureClass::Internal,
    };
    AccountFailure::failed(class, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each item with its double, and traps on any call that contains a bad one.
    fn double_unless(items: &[usize], poison: &[usize]) -> (Vec<Result<usize, CallError>>, u32) {
        let mut calls = 0;
        let mut bisection = Bisection::of(items.len(), items.len());
        while let Some(part) = bisection.next() {
            calls += 1;
            let items = &items[part.clone()];
            let answers = if items.iter().any(|item| poison.contains(item)) {
                Err(CallError::Trapped("poison".into()))
            } else {
                Ok(items.iter().map(|item| item * 2).collect())
            };
            bisection.record(part, answers);
        }
        (bisection.into_results(), calls)
    }

    #[test]
    fn one_poisonous_item_costs_itself() {
        let items: Vec<usize> = (0..50).collect();
        let (results, calls) = double_unless(&items, &[17]);
        assert_eq!(results.len(), 50);
        for (item, result) in results.iter().enumerate() {
            match result {
                Ok(double) => assert_eq!(*double, item * 2, "results are in order"),
                Err(_) => assert_eq!(item, 17),
            }
        }
        assert!(results[17].is_err());
        assert!(calls <= 13, "one poisonous item of 50 costs at most 2·log2(50)+1 calls, not {calls}");
    }

    #[test]
    fn no_call_has_more_items_than_the_connector_takes() {
        let mut bisection = Bisection::<u32>::of(50, 20);
        let mut parts = Vec::new();
        while let Some(part) = bisection.next() {
            parts.push(part.clone());
            bisection.record(part.clone(), Ok(part.map(|item| item as u32).collect()));
        }
        assert_eq!(parts, [0..20, 20..40, 40..50]);
        let results: Vec<u32> = bisection.into_results().into_iter().map(|result| result.expect("answered")).collect();
        assert_eq!(results, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_called_for_nothing_and_all_poison_ends() {
        assert_eq!(double_unless(&[], &[]).1, 0);
        let (results, _) = double_unless(&[1, 2, 3], &[1, 2, 3]);
        assert!(results.iter().all(Result::is_err) && results.len() == 3);
    }

    #[test]
    fn a_fault_of_the_hosts_is_not_searched_for_among_the_items() {
        let mut bisection = Bisection::<u32>::of(50, 50);
        let part = bisection.next().expect("the whole");
        bisection.record(part, Err(CallError::Internal("no slot".into())));
        assert!(bisection.next().is_none());
        assert_eq!(bisection.into_results().len(), 50);
    }

    #[test]
    fn a_part_gets_its_share_of_the_deadline_and_never_next_to_nothing() {
        let whole = Duration::from_secs(80);
        assert_eq!(share(whole, 50, 50), whole);
        assert_eq!(share(whole, 25, 50), Duration::from_secs(40));
        assert_eq!(share(whole, 1, 50), Duration::from_secs(10));
    }
}
