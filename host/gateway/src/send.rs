//! Credentialed → Sent: one request with its retries, counted against the session's limits and budgets.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use tokio::time::Instant;

use super::budget::{BudgetKey, Charge, seconds_of};
use super::credential::Credentialed;
use super::error::SendError;
use super::pause::{Refusal, WAITED_PAUSE_MAX};
use super::policy::Hop;
use super::retry::{AttemptEnd, backoff, is_worth_retrying, retry_after};
use super::trial::{Answers, Asked, Passed};
use super::wire::{WireFault, WireRequest, WireResponse};
use super::{Core, SessionInner};
use backline_model::Holder;
use backline_model::origin::Origin;
use backline_model::weakened::{Bound, off};

/// What the attempts of a session's request are counted against.
pub(super) struct Meter<'a> {
    pub(super) session: &'a SessionInner,
    pub(super) charges: &'a [Charge],
    /// Whose requests pause if the platform asks for it.
    pub(super) holder: &'a Holder,
    /// Attempts so far.
    pub(super) attempts: &'a AtomicU32,
}

/// Sends a request until the answer is final, the retries are used up, or the deadline would be exceeded.
///
/// A 429 or 5xx is returned as an answer: its body distinguishes a spent quota from a rate limit, and only the
/// connector can parse it. The wait is the platform's `Retry-After` if there is one, and never longer than the time
/// that is left, nor than a minute: a longer one is the caller's. A large answer is not kept while its request is sent
/// again: if that can't be sent, its status and headers are returned.
pub(super) async fn deliver(
    core: &Core,
    request: &WireRequest,
    origin: &Origin,
    deadline: Instant,
    meter: Option<&Meter<'_>>,
) -> Result<WireResponse, SendError> {
    let mut attempt = 0;
    let mut last: Option<Result<WireResponse, WireFault>> = None;
    loop {
        // What prevents a retry must not hide the result of the attempts before it.
        let stopped = |last: Option<Result<WireResponse, WireFault>>, error| match last {
            Some(outcome) => outcome.map_err(SendError::from),
            None => Err(error),
        };
        let platform = meter.map(|meter| &meter.session.setup.manifest.connector.platform);
        let admission = match core.breakers.admit(platform, origin, core.clock.now()) {
            Ok(admission) => admission,
            Err(until) => {
                let why =
                    SendError::Unreachable(format!("{origin} failed too often and gets no requests until {until}"));
                return stopped(last, why);
            }
        };
        if let Some(meter) = meter
            && let Err(error) = meter.pay(core, origin, deadline).await
        {
            return stopped(last, error);
        }
        let received = Received { session: meter.map(|meter| meter.session), bytes: AtomicU64::new(0) };
        let began = Instant::now();
        let outcome = core.wire.attempt(request, &received.bytes).await;
        if let Err(WireFault::TooLarge(bytes)) = &outcome {
            received.bytes.store(*bytes, Ordering::Relaxed);
        }
        drop(received);
        attempt += 1;
        let asked = outcome
            .as_ref()
            .ok()
            .and_then(|response| retry_after(response.headers.get(RETRY_AFTER)?.to_str().ok()?, core.clock.now()));
        let end = end_of(&outcome);
        match end {
            AttemptEnd::Status(status) => admission.settle(status < 500, core.clock.now()),
            AttemptEnd::NotConnected | AttemptEnd::Broken => admission.settle(false, core.clock.now()),
            AttemptEnd::Final => drop(admission),
        }
        if let Some(meter) = meter {
            match &outcome {
                Ok(response) if response.status < 400 => {
                    core.pauses.accepted(meter.holder, began, Instant::now());
                }
                Ok(response) => {
                    if let Some(refusal) = refusal_of(response) {
                        meter.refused(core, refusal, asked);
                    }
                }
                Err(WireFault::TimedOut) => meter.session.timed_out(),
                Err(_) => {}
            }
        }
        tracing::debug!(%origin, method = request.method.as_str(), attempt, ?end, "request sent");
        let is_last = attempt > core.config.retries_max && !off(Bound::Retries);
        if is_last || !is_worth_retrying(end, request.method) {
            return outcome.map_err(SendError::from);
        }
        // A platform that asks for no wait (zero, or a date in the past) still gets the gateway's own backoff.
        let own = backoff(attempt, core.config.backoff_base_ms, core.config.backoff_max_ms, core.random());
        let wait = asked.map_or(own, |asked| asked.max(own));
        if wait > WAITED_PAUSE_MAX || wait >= deadline.saturating_duration_since(Instant::now()) {
            return outcome.map_err(SendError::from);
        }
        last = Some(outcome.map(|mut response| {
            response.let_go();
            response
        }));
        tokio::time::sleep(wait).await;
    }
}

/// The bytes of one attempt's answer. They count when it ends, whatever its end: what broke off, came too late, or was
/// not waited for any more was received all the same. An answer that is too large counts as the limit, also where its
/// head said so.
struct Received<'a> {
    session: Option<&'a SessionInner>,
    bytes: AtomicU64,
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            session.received(*self.bytes.get_mut());
        }
    }
}

/// Whether the platform asks to wait, and what it says about the rate. A 503 without a date is an outage that waiting
/// alone does not fix.
fn refusal_of(response: &WireResponse) -> Option<Refusal> {
    match response.status {
        429 => Some(Refusal::TooMany),
        503 if response.headers.contains_key(RETRY_AFTER) => Some(Refusal::Outage),
        _ => None,
    }
}

fn end_of(outcome: &Result<WireResponse, WireFault>) -> AttemptEnd {
    match outcome {
        Ok(response) => AttemptEnd::Status(response.status),
        Err(WireFault::NotConnected(_)) => AttemptEnd::NotConnected,
        Err(WireFault::TimedOut | WireFault::Broken(_)) => AttemptEnd::Broken,
        Err(WireFault::Refused(_) | WireFault::TooLarge(_)) => AttemptEnd::Final,
    }
}

impl Meter<'_> {
    /// Counts a refusal, and pauses if the platform asked for a wait.
    fn refused(&self, core: &Core, refusal: Refusal, asked: Option<Duration>) {
        self.session.throttled();
        let platform = &self.session.setup.manifest.connector.platform;
        let asked = asked.filter(|asked| !asked.is_zero());
        let told = asked.and_then(|asked| core.pauses.refused(self.holder, platform, refusal, asked, Instant::now()));
        if let Some(pause) = told {
            core.budgets.tell(pause);
        }
    }

    /// Takes the units of one attempt, before it is sent. Only one that is sent counts.
    async fn pay(&self, core: &Core, origin: &Origin, deadline: Instant) -> Result<(), SendError> {
        self.session.admit()?;
        loop {
            while let Some(left) = core.pauses.left(self.holder, Instant::now()) {
                if left > WAITED_PAUSE_MAX || left >= deadline.saturating_duration_since(Instant::now()) {
                    return Err(SendError::RateLimited(Some(seconds_of(left))));
                }
                tokio::time::sleep(left).await;
            }
            let held_back = |budget: Option<&BudgetKey>| match budget {
                Some(budget) => self.session.held_back_by(budget),
                None => self.session.usage().unanswered += 1,
            };
            match core.pauses.pace(self.holder, Instant::now()) {
                None => core.budgets.pay(self.charges, deadline, held_back).await?,
                Some(pace) => {
                    let mut charges = vec![Charge::learned(self.holder.clone(), pace)];
                    charges.extend_from_slice(self.charges);
                    core.budgets.pay(&charges, deadline, held_back).await?;
                }
            }
            // The platform may have asked for a pause in the meantime.
            if core.pauses.left(self.holder, Instant::now()).is_none() {
                break;
            }
            core.budgets.put_back(self.charges).await;
        }
        self.session.sent(origin, self.charges);
        self.attempts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// An answer as it was received, and its hop. It may still hold secrets that the connector must not see.
pub(super) struct Sent {
    answer: WireResponse,
    hop: Hop,
}

impl Sent {
    pub(super) async fn of(
        credentialed: Credentialed,
        session: &SessionInner,
        passed: &mut Passed,
    ) -> Result<Self, SendError> {
        let (request, hop, charges, holder) = credentialed.into_parts();
        if session.trial.is_some() {
            passed.charged(&charges);
        }
        let attempts = AtomicU32::new(0);
        let meter = Meter { session, charges: &charges, holder: &holder, attempts: &attempts };
        let answer = deliver(&session.core, &request, &hop.origin, session.setup.deadline, Some(&meter)).await;
        passed.attempts = attempts.into_inner();
        Ok(Self { answer: answer?, hop })
    }

    /// The answer of prepared answers, counted like one that was received; no budget is asked.
    pub(super) fn prepared(
        credentialed: Credentialed,
        session: &SessionInner,
        passed: &mut Passed,
        answers: &dyn Answers,
    ) -> Result<Self, SendError> {
        let (_, hop, charges, _) = credentialed.into_parts();
        passed.charged(&charges);
        session.admit()?;
        session.sent(&hop.origin, &charges);
        let response = answers.answer(&Asked::of(&hop))?;
        let limit = session.core.config.body_bytes_max;
        if response.body.len() as u64 > limit {
            return Err(SendError::TooLarge(limit));
        }
        session.received(response.body.len() as u64);
        let header = |(name, value): &(String, String)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in response.headers.iter().filter_map(header) {
            headers.append(name, value);
        }
        Ok(Self { answer: WireResponse { status: response.status, headers, body: response.body, held: None }, hop })
    }

    pub(super) fn into_parts(self) -> (WireResponse, Hop) {
        (self.answer, self.hop)
    }
}
