//! Fetches a batch's documents and has them normalised, even if single accounts make calls fail.
//!
//! A call that traps or times out does not say which account caused it. The batch is cut in half and tried again, down
//! to one account, so that a bad account fails alone. All calls of a batch share its time, requests, output and log;
//! parts that get no turn go back to the ledger, each as a batch of its own, and have used up no attempt. So does an
//! account alone whose turn was cut short by what its neighbours had used.
//!
//! A call that asks for past dates besides is made once: if it fails, it is made again for the batch's own date alone.
//! It leaves half of the time, and counts as no turn.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::pipeline::collection::held::Held;
use crate::pipeline::releases::cache::LoadedRelease;
use crate::telemetry::ConnectorUse;
use backline_gateway::{BudgetKey, Gateway, Secrets, Session, SessionCredential, SessionSetup, Spent, Usage};
use backline_model::weakened::{Bound, off};
use backline_model::{
    AccountId, DocumentInput, FailureClass, FetchAccount, FetchContext, FetchError, Fetched, LostMetric, Outcome,
    Snapshot,
};
use backline_sandbox::{Allowance, Call, CallError, LogLevel, LogLine};

/// The smallest share of a batch's time with which a call is begun: one part of so many. What is left of the time at
/// the end, and at least this share, is for `normalize`.
const SHARES: u32 = 8;

/// How long a call may last where the time of a batch is switched off.
const WEAKENED_TURN: Duration = Duration::from_secs(3_600);

/// Most lost metrics of one batch.
const LOST_METRICS_MAX: usize = 100;

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
    /// The database did not answer, and kept a credential or a budget from it: it is collected later, with no attempt
    /// used up.
    Outage,
    /// What its batch may use was used up before its turn: it is collected in another batch, with no attempt used up.
    NoTurn,
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
    /// What the connector logged, and in which of its functions.
    pub logs: Vec<(&'static str, LogLine)>,
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
    /// Budgets that held requests back.
    pub spent: BTreeSet<BudgetKey>,
    /// Secrets of the sessions, which what `normalize` makes of their documents is searched for.
    pub secrets: Vec<Secrets>,
    /// Accounts that got no turn: those of each part are collected together.
    pub without_turn: Vec<Vec<AccountId>>,
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

    /// Adds metrics that a call reported as lost, each once and up to the bound of a batch.
    fn add_lost_metrics(&mut self, lost: Vec<LostMetric>) {
        for metric in lost {
            let is_new = !self.lost_metrics.iter().any(|known| known.name == metric.name);
            if is_new && self.lost_metrics.len() < LOST_METRICS_MAX {
                self.lost_metrics.push(metric);
            }
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
        self.add_log(function, usage.log_lines);
        Ok(value)
    }

    fn add_log(&mut self, function: &'static str, lines: Vec<LogLine>) {
        self.used.log_bytes += lines.iter().map(|line| line.message.len() as u64).sum::<u64>();
        self.logs.extend(lines.into_iter().map(|line| (function, line)));
    }
}

/// What a batch may still use. All its calls share it.
#[derive(Debug)]
pub(in crate::pipeline) struct BatchBudget {
    /// Time of the batch from beginning to end.
    whole: Duration,
    ends: Instant,
    fetching: Allowance,
    normalizing: Allowance,
    spent: Spent,
    /// The most that `fetch`, and that `normalize`, may ever answer to a batch of the release.
    bound: u64,
    /// Whether an answer had no room in what was left or reserved.
    lacked_room: bool,
    /// Whether the next batch of the release may reserve more.
    may_grow: bool,
    /// Accounts that calls of `fetch` were begun for: the first one always is.
    called: BTreeSet<AccountId>,
    /// Whether what is normalised from now on came besides: no time is kept for it.
    is_besides: bool,
}

impl BatchBudget {
    /// The budget of a batch that begins now and may take `whole`. `allowance` is what one call may use.
    pub(in crate::pipeline) fn of(whole: Duration, allowance: &Allowance) -> Self {
        let (fetching, normalizing) = (allowance.clone(), allowance.clone());
        Self {
            whole,
            ends: Instant::now() + whole,
            fetching,
            normalizing,
            spent: Spent::default(),
            bound: allowance.output_bytes,
            lacked_room: false,
            may_grow: false,
            called: BTreeSet::new(),
            is_besides: false,
        }
    }

    /// The same, where answers may only be as large as what was reserved.
    pub(in crate::pipeline) fn within(mut self, held: &Held) -> Self {
        self.fetching.output_bytes = held.output_bytes;
        self.normalizing.output_bytes = held.output_bytes;
        self.bound = held.bound;
        self.may_grow = held.output_bytes < held.bound;
        self
    }

    /// Whether an answer had no room, so that accounts got no turn: a larger reservation may let them have one.
    pub(in crate::pipeline) fn lacked_room(&self) -> bool {
        self.lacked_room
    }

    /// Whether an answer had no room that the next batch of the release will have.
    pub(in crate::pipeline) fn has_more_room_next(&self) -> bool {
        self.lacked_room && self.may_grow
    }

    /// From now on documents are normalised that came besides those of the batch: they get what time is left.
    pub(in crate::pipeline) fn go_besides(&mut self) {
        self.is_besides = true;
    }

    /// Whether a call for this account alone used what calls for others left of the time.
    fn is_shared(&self, account: AccountId) -> bool {
        self.called.iter().any(|called| *called != account)
    }

    /// Until when the credentials of a batch may take to be refreshed that begins now: half of `whole`, which is not
    /// taken from its calls.
    pub(in crate::pipeline) fn time_for_credentials(whole: Duration) -> Instant {
        Instant::now() + whole / 2
    }

    /// When the last call of `fetch` ends.
    pub(in crate::pipeline) fn fetching_ends(&self) -> Instant {
        self.ends - self.whole / SHARES
    }

    /// Until when the next call of `fetch` may last; `None` if too little time is left for it to be fair.
    fn turn_to_fetch(&self, is_alone: bool) -> Option<Instant> {
        let (share, now) = (self.whole / SHARES, Instant::now());
        let left = self.ends.saturating_duration_since(now).saturating_sub(share);
        turn(left, share, self.called.is_empty(), is_alone).map(|time| now + time)
    }

    /// The same for `normalize`, whose first call always has a share, unless it is about what came besides.
    fn turn_to_normalize(&self, is_first: bool, is_alone: bool) -> Option<Instant> {
        let is_first = is_first && !self.is_besides;
        let (share, now) = (self.whole / SHARES, Instant::now());
        let left = self.ends.saturating_duration_since(now);
        turn(if is_first { left.max(share) } else { left }, share / SHARES, is_first, is_alone).map(|time| now + time)
    }
}

/// How long a call may last of what is left: half of it, so that the parts of a call that fails have the other half,
/// or all of it if nothing else waits. Only the first call may be begun with less than a share.
fn turn(left: Duration, share: Duration, is_first: bool, is_alone: bool) -> Option<Duration> {
    if off(Bound::BatchTime) {
        return Some(WEAKENED_TURN);
    }
    if !is_first && left < share {
        return None;
    }
    Some(if is_alone { left } else { (left / 2).max(share.min(left)) })
}

/// Whether a call for an account alone ended with its turn, which was cut short by what calls for its neighbours used.
/// Then it has a batch of its own next, and only if that takes all of its time, the account is the reason.
fn was_cut_short<T>(called: &Result<T, CallError>, until: Instant, is_shared: bool) -> bool {
    is_shared && matches!(called, Err(CallError::TimedOut { .. })) && Instant::now() >= until
}

/// Whether a call failed because of what calls before it used, or because little was reserved: another batch may do
/// what this one could not.
fn lacked_room(error: &CallError, allowed: u64, bound: u64) -> bool {
    matches!(error, CallError::LimitExceeded { what: "output_bytes_max", limit } if *limit == allowed)
        && allowed < bound
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
    budget: &mut BatchBudget,
    side: &mut SideEffects,
) -> BTreeMap<AccountId, Result<Fetched, AccountFailure>> {
    // A batch may have been planned for a release that takes more accounts at a time.
    let at_once = usize::try_from(release.manifest.connector.batch_size).unwrap_or(usize::MAX);
    let mut bisection = Bisection::of(accounts.len(), at_once);
    let mut kept_back = BTreeSet::new();
    let mut context = context.clone();
    while let Some(range) = bisection.next() {
        let asks_for_past = !context.history.is_empty();
        // A call for past dates too leaves time for one without them.
        let is_alone = range.len() == 1 && bisection.is_done() && !asks_for_past;
        let Some(until) = budget.turn_to_fetch(is_alone) else {
            bisection.stop(range);
            break;
        };
        let part = &accounts[range.clone()];
        let session = session_for(release, gateway, part, credentials, until, budget.spent);
        let allowed = budget.fetching.output_bytes;
        budget.fetching.deadline = Some(until);
        let fetching =
            release.connector.fetch_within(session.clone(), part.to_vec(), context.clone(), &mut budget.fetching);
        let called = fetching.await;
        side.add_log("fetch", std::mem::take(&mut budget.fetching.unanswered));
        let usage = session.usage();
        if let Err(error) = &called
            && asks_for_past
            && error.may_be_an_items_fault()
        {
            // The batch's own date comes first. Its accounts have had no turn yet: what was used is only counted.
            let message = format!("the call that asked for past dates too failed, and was made without them: {error}");
            side.logs.push(("host", LogLine { level: LogLevel::Warn, message }));
            side.timed_out += u64::from(matches!(error, CallError::TimedOut { .. }));
            budget.spent.add(&usage);
            side.add_usage(usage);
            drop(side.take("fetch", called));
            context.history.clear();
            bisection.again(range);
            continue;
        }
        let lacked_room = called.as_ref().err().is_some_and(|error| lacked_room(error, allowed, budget.bound));
        budget.lacked_room |= lacked_room;
        let lacked = lacked_room || !budget.called.is_empty() && usage.refused > 0;
        let cut_short = part.len() == 1 && was_cut_short(&called, until, budget.is_shared(part[0].id));
        budget.called.extend(part.iter().map(|account| account.id));
        budget.spent.add(&usage);
        for account in part {
            // A later call decides it again.
            if usage.unanswered > 0 {
                kept_back.insert(account.id)
            } else {
                kept_back.remove(&account.id)
            };
        }
        if lacked {
            if let Ok(call) = called {
                side.add_log("fetch", call.usage.log_lines);
            }
            side.add_usage(usage);
            bisection.stop(range);
            break;
        }
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
            side.add_lost_metrics(batch.lost_metrics);
            batch.accounts
        });
        if cut_short {
            bisection.set_aside(range);
        } else {
            bisection.record(range, answers);
        }
    }
    let ids = |part: Range<usize>| accounts[part].iter().map(|account| account.id).collect();
    let ended = |account: AccountId, failure: AccountFailure| match failure {
        AccountFailure::Retry { .. } if kept_back.contains(&account) => AccountFailure::Outage,
        failure => failure,
    };
    side.without_turn.extend(bisection.take_unserved().into_iter().map(ids));
    let results = bisection.into_results().into_iter().map(|result| match result {
        Some(Ok(Ok(fetched))) => Ok(fetched),
        Some(Ok(Err(error))) => Err(AccountFailure::of(error)),
        Some(Err(error)) => Err(failure_of_call(&error)),
        None => Err(AccountFailure::NoTurn),
    });
    let results = accounts.iter().map(|account| account.id).zip(results);
    results.map(|(id, result)| (id, result.map_err(|failure| ended(id, failure)))).collect()
}

/// Calls `normalize`, without any capability.
#[tracing::instrument(
    name = "normalize",
    skip_all,
    fields(platform = %release.manifest.connector.platform, documents = documents.len())
)]
pub(in crate::pipeline) async fn normalize(
    release: &LoadedRelease,
    accounts: &[AccountId],
    documents: Vec<DocumentInput>,
    budget: &mut BatchBudget,
    side: &mut SideEffects,
) -> Vec<Result<Snapshot, AccountFailure>> {
    let mut bisection = Bisection::of(documents.len(), documents.len());
    budget.normalizing.log_bytes = budget.fetching.log_bytes;
    let mut is_first = true;
    while let Some(range) = bisection.next() {
        let Some(until) = budget.turn_to_normalize(is_first, range.len() == 1 && bisection.is_done()) else {
            bisection.stop(range);
            break;
        };
        let allowed = budget.normalizing.output_bytes;
        budget.normalizing.deadline = Some(until);
        let part = documents[range.clone()].to_vec();
        let called = release.connector.normalize_within(&side.secrets, part, &mut budget.normalizing).await;
        side.add_log("normalize", std::mem::take(&mut budget.normalizing.unanswered));
        is_first = false;
        if called.as_ref().err().is_some_and(|error| lacked_room(error, allowed, budget.bound)) {
            budget.lacked_room = true;
            bisection.stop(range);
            break;
        }
        let is_shared = documents.len() > 1 || budget.is_shared(accounts[range.start]);
        let cut_short = range.len() == 1 && was_cut_short(&called, until, is_shared);
        let answers = side.take("normalize", called);
        if cut_short {
            bisection.set_aside(range);
        } else {
            bisection.record(range, answers);
        }
    }
    side.without_turn.extend(bisection.take_unserved().into_iter().map(|part| accounts[part].to_vec()));
    let results = bisection.into_results().into_iter().map(|result| match result {
        Some(Ok(Ok(snapshot))) => Ok(snapshot),
        Some(Ok(Err(why))) => {
            Err(AccountFailure::Final(Outcome::Failed { class: FailureClass::NotNormalised, message: why }))
        }
        Some(Err(error)) => Err(failure_of_call(&error)),
        None => Err(AccountFailure::NoTurn),
    });
    results.collect()
}

/// Items still to be processed, part by part, and the results so far. A part whose call failed for a reason that one of
/// its items may have caused is cut in half, down to one item.
struct Bisection<T> {
    /// Parts still to be processed; the next one is the last element.
    parts: Vec<Range<usize>>,
    /// Parts that got no turn.
    unserved: Vec<Range<usize>>,
    /// One for each item that was processed; none for those that got no turn.
    results: Vec<Option<Result<T, CallError>>>,
}

impl<T> Bisection<T> {
    /// A bisection of `items` items; one call takes at most `at_once` of them.
    fn of(items: usize, at_once: usize) -> Self {
        let at_once = at_once.max(1);
        let parts = (0..items).step_by(at_once).map(|start| start..(start + at_once).min(items)).rev().collect();
        Self { parts, unserved: Vec::new(), results: Vec::with_capacity(items) }
    }

    /// Whether no part is left to be processed.
    fn is_done(&self) -> bool {
        self.parts.is_empty()
    }

    /// Ends it: neither this part nor any that is left gets a turn.
    fn stop(&mut self, part: Range<usize>) {
        let left = std::mem::take(&mut self.parts).into_iter().rev();
        for part in std::iter::once(part).chain(left) {
            self.set_aside(part);
        }
    }

    /// Processes this part once more, before all others.
    fn again(&mut self, part: Range<usize>) {
        self.parts.push(part);
    }

    /// Goes on without this part: it got no turn.
    fn set_aside(&mut self, part: Range<usize>) {
        self.results.extend(part.clone().map(|_| None));
        self.unserved.push(part);
    }

    /// The parts that got no turn.
    fn take_unserved(&mut self) -> Vec<Range<usize>> {
        std::mem::take(&mut self.unserved)
    }

    /// The part to process next. Parts come from the left, so that results are in the order of the items.
    fn next(&mut self) -> Option<Range<usize>> {
        self.parts.pop().filter(|part| !part.is_empty())
    }

    /// Records the result of a call: one answer for each item of the part, or an error.
    fn record(&mut self, part: Range<usize>, answers: Result<Vec<T>, CallError>) {
        match answers {
            Ok(answers) => self.results.extend(answers.into_iter().map(|answer| Some(Ok(answer)))),
            Err(error) if part.len() > 1 && error.may_be_an_items_fault() && !off(Bound::Halves) => {
                let middle = part.start + part.len() / 2;
                self.parts.push(middle..part.end);
                self.parts.push(part.start..middle);
            }
            Err(error) => self.results.extend(part.map(|_| Some(Err(error.clone())))),
        }
    }

    fn into_results(self) -> Vec<Option<Result<T, CallError>>> {
        self.results
    }
}

fn session_for(
    release: &LoadedRelease,
    gateway: &Gateway,
    accounts: &[FetchAccount],
    credentials: &[SessionCredential],
    deadline: Instant,
    spent: Spent,
) -> Session {
    let accounts: Vec<AccountId> = accounts.iter().map(|account| account.id).collect();
    let credentials = credentials
        .iter()
        .filter(|credential| credential.account.is_none_or(|account| accounts.contains(&account)))
        .cloned()
        .collect();
    let (manifest, grant) = (release.manifest.clone(), release.grant.clone());
    gateway.session_after(SessionSetup { manifest, grant, credentials, accounts, deadline }, spent)
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
pub(in crate::pipeline) fn failure_of_call(error: &CallError) -> AccountFailure {
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
        (results_of(bisection), calls)
    }

    fn results_of<T>(bisection: Bisection<T>) -> Vec<Result<T, CallError>> {
        bisection.into_results().into_iter().map(|result| result.expect("all had their turn")).collect()
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
        let results: Vec<u32> = results_of(bisection).into_iter().map(|result| result.expect("answered")).collect();
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
    fn parts_share_one_time_and_none_gets_next_to_nothing() {
        let seconds = Duration::from_secs;
        let (mut left, share, mut turns) = (seconds(80), seconds(10), Vec::new());
        while let Some(time) = turn(left, share, turns.is_empty(), false) {
            left -= time;
            turns.push(time);
        }
        assert_eq!(turns, [40, 20, 10, 10].map(seconds), "all of it, in parts that are worth a call");
        assert_eq!(turn(seconds(80), share, true, true), Some(seconds(80)), "nothing else waits");
        assert_eq!(turn(seconds(3), share, true, false), Some(seconds(3)), "a first call is always begun");
        assert_eq!(turn(seconds(9), share, false, true), None);
    }

    #[test]
    fn only_a_call_that_had_all_of_the_time_is_its_accounts_fault() {
        let late = || Err::<(), _>(CallError::TimedOut { deadline_ms: 7 });
        let (over, later) = (Instant::now(), Instant::now() + Duration::from_secs(3_600));
        assert!(was_cut_short(&late(), over, true));
        assert!(!was_cut_short(&late(), over, false), "there is no one else");
        assert!(!was_cut_short(&late(), later, true), "it used up the deadline of a call");
        assert!(!was_cut_short(&Err::<(), _>(CallError::Trapped("poison".into())), over, true));
        assert!(!was_cut_short(&Ok(()), over, true));

        let allowance = Allowance { deadline: None, output_bytes: 1, log_bytes: 1, unanswered: Vec::new() };
        let mut budget = BatchBudget::of(Duration::from_secs(80), &allowance);
        let [mine, theirs] = [(); 2].map(|()| AccountId::generate());
        assert!(!budget.is_shared(mine));
        budget.called.insert(mine);
        assert!(!budget.is_shared(mine) && budget.is_shared(theirs));
        budget.called.insert(theirs);
        assert!(budget.is_shared(mine));
    }

    #[test]
    fn what_came_besides_has_no_time_of_its_own() {
        let allowance = Allowance { deadline: None, output_bytes: 1, log_bytes: 1, unanswered: Vec::new() };
        let mut budget = BatchBudget::of(Duration::from_secs(80), &allowance);
        assert!(budget.turn_to_normalize(true, true).is_some());
        budget.ends = Instant::now();
        assert!(budget.turn_to_normalize(true, true).is_some(), "a batch's own documents always have a share");
        budget.go_besides();
        assert_eq!(budget.turn_to_normalize(true, true), None);
    }

    #[test]
    fn a_part_that_is_processed_once_more_is_the_next_one() {
        let mut bisection = Bisection::<u32>::of(4, 2);
        let first = bisection.next().expect("a part");
        bisection.again(first);
        let parts: Vec<_> = std::iter::from_fn(|| bisection.next()).collect();
        assert_eq!(parts, [0..2, 2..4]);
        assert!(bisection.take_unserved().is_empty());
    }

    #[test]
    fn a_part_that_is_set_aside_ends_nothing() {
        let mut bisection = Bisection::<u32>::of(4, 2);
        let first = bisection.next().expect("a part");
        bisection.set_aside(first);
        let second = bisection.next().expect("another part");
        bisection.record(second, Ok(vec![7, 7]));
        assert_eq!(bisection.take_unserved(), vec![0..2]);
        let served: Vec<bool> = bisection.into_results().iter().map(Option::is_some).collect();
        assert_eq!(served, [false, false, true, true]);
    }

    #[test]
    fn parts_without_a_turn_stay_together_and_in_order() {
        let mut bisection = Bisection::<u32>::of(8, 8);
        let whole = bisection.next().expect("the whole");
        bisection.record(whole, Err(CallError::Trapped("poison".into())));
        let half = bisection.next().expect("a half");
        bisection.record(half, Err(CallError::Trapped("poison".into())));
        let quarter = bisection.next().expect("a quarter");
        bisection.record(quarter, Ok(vec![7, 7]));
        let next = bisection.next().expect("a quarter");
        bisection.stop(next);
        assert!(bisection.is_done() && bisection.next().is_none());
        assert_eq!(bisection.take_unserved(), [2..4, 4..8]);
        let results = bisection.into_results();
        assert_eq!(
            results.iter().map(Option::is_some).collect::<Vec<_>>(),
            [[true; 2], [false; 2], [false; 2], [false; 2]].concat()
        );
    }
}
