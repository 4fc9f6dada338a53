//! How the accounts of a batch end: what is stored of each, which wait, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

use crate::pipeline::collection::collector::Collector;
use crate::pipeline::collection::deferral::{deferral, next_reset, wait_cut, waits_for};
use crate::pipeline::collection::fetch::{AccountFailure, SideEffects};
use crate::pipeline::collection::pauses::{self, AccountWait, Asked, AskedWait, BatchPauses};
use crate::pipeline::credentials::expiry;
use crate::pipeline::releases::cache::LoadedRelease;
use backline_model::clock::LAST_TIME;
use backline_model::{AccountId, AccountStatus, Candidate, FailureClass, Lease, Outcome};
use backline_store::{AccountResult, BatchResult, DocumentRecord};

/// Shortest wait of accounts from which the database kept a credential or a budget.
const OUTAGE_WAIT: Duration = Duration::from_secs(2);

/// What the results of all accounts of a batch have in common.
pub(super) struct ResultBuilder<'a> {
    pub(super) collector: &'a Collector,
    pub(super) lease: &'a Lease,
    pub(super) release: &'a LoadedRelease,
    pub(super) now: DateTime<Utc>,
    pub(super) side: &'a SideEffects,
    pub(super) pauses: &'a BatchPauses,
    /// Accounts whose platform said how long they have to wait.
    pub(super) named: &'a BTreeSet<AccountId>,
}

impl ResultBuilder<'_> {
    /// Attempts of accounts that fail now.
    fn attempts(&self) -> u32 {
        self.lease.batch.attempts + 1
    }

    /// Names of the budgets that held back this account's requests.
    fn spent_of(&self, account: AccountId) -> BTreeSet<&str> {
        self.pauses.spent_of(account, &self.side.spent)
    }

    /// The pauses that the platform asked for, by whose requests they are about. What a budget of the host's own holds
    /// back is none: the budget itself holds the others of its holder.
    pub(super) fn asked(&self, ended: &BTreeMap<AccountId, AccountFailure>) -> Asked {
        let mut asked = Asked::default();
        for (account, failure) in ended {
            if !self.spent_of(*account).is_empty() {
                continue;
            }
            let until = match failure {
                AccountFailure::Wait { wait } => self.now + self.wait(*account, *wait).kept,
                AccountFailure::Defer { until } => self.deferral(*account, *until),
                _ => continue,
            };
            asked.add(self.pauses.holder_of(*account), until);
        }
        asked
    }

    /// How long an account waits: as the connector says, or else as the gateway was told.
    fn wait(&self, account: AccountId, asked: Option<Duration>) -> AskedWait {
        let least = backoff(self.lease.batch.attempts);
        let least = least.min(Duration::from_millis(self.collector.config.collection.retry_wait_max_ms));
        let (gateway, holder) = (&self.collector.gateway, self.pauses.holder_of(account));
        let asked = asked.or_else(|| gateway.pause_asked(holder));
        AskedWait::of(self.pauses.wait(account, asked, least), gateway.pause_left(holder))
    }

    /// Until when an account is deferred.
    fn deferral(&self, account: AccountId, asked: Option<DateTime<Utc>>) -> DateTime<Utc> {
        let spent = self.spent_of(account);
        deferral(asked, next_reset(&self.release.manifest.budgets, &spent, self.now), self.now)
    }

    /// A deferral to `until`, with the event if the platform asked for a later time.
    fn deferred(
        &self,
        candidate: &Candidate,
        metric_date: NaiveDate,
        until: DateTime<Utc>,
        asked: Option<DateTime<Utc>>,
    ) -> AccountResult {
        let spent = self.spent_of(candidate.account_id);
        let cut = asked.filter(|asked| *asked > until && spent.is_empty());
        let told = cut.map(|asked| format!("; it asked to wait until {asked}, which is too long")).unwrap_or_default();
        let platform = &candidate.platform;
        let is_held_back = !spent.is_empty();
        // A pace that was learned from refusals has no name.
        let names: Vec<&str> = spent.into_iter().filter(|name| !name.is_empty()).collect();
        let message = format!("{}{told}", waits_for(platform, &names.join(" or "), is_held_back, asked, until));
        let mut entry = self.bare_result(candidate, metric_date, Outcome::Deferred { until, message });
        if let Some(asked) = cut {
            let holder = self.pauses.holder_of(candidate.account_id);
            entry.events.push(wait_cut(platform, holder, asked, until, self.now));
        }
        entry
    }

    /// Records how an account without a row ended. One that will be retried is not recorded: it stays in the batch.
    pub(super) fn end(
        &self,
        result: &mut BatchResult,
        candidate: &Candidate,
        metric_date: NaiveDate,
        failure: AccountFailure,
        document: Option<DocumentRecord>,
    ) {
        let collection = &self.collector.config.collection;
        let outcome = match failure {
            AccountFailure::Outage => {
                let wait = backoff(self.lease.batch.attempts).max(OUTAGE_WAIT);
                result.waiting.insert(candidate.account_id);
                result.waiting_until = result.waiting_until.max(Some(self.now + wait));
                return;
            }
            AccountFailure::Retry { .. } if self.attempts() < collection.attempts_max => {
                let wait = backoff(self.attempts()).min(Duration::from_millis(collection.retry_wait_max_ms));
                result.retry_at = result.retry_at.max(Some(self.now + wait));
                return;
            }
            AccountFailure::Wait { wait } => {
                let wait = self.wait(candidate.account_id, wait);
                match pauses::sorted(wait.kept, self.now) {
                    AccountWait::Short(until) => {
                        result.waiting.insert(candidate.account_id);
                        result.waiting_until = result.waiting_until.max(Some(until));
                    }
                    AccountWait::Long(until) => {
                        let is_named = self.named.contains(&candidate.account_id);
                        let asked = is_named.then(|| self.now.checked_add_signed(wait.asked).unwrap_or(LAST_TIME));
                        result
                            .accounts
                            .push(AccountResult { document, ..self.deferred(candidate, metric_date, until, asked) });
                    }
                }
                return;
            }
            AccountFailure::Defer { until: asked } => {
                let until = self.deferral(candidate.account_id, asked);
                result.accounts.push(AccountResult { document, ..self.deferred(candidate, metric_date, until, asked) });
                return;
            }
            AccountFailure::Paused { until } => {
                let message = format!("{} asked for a pause until {until}", candidate.platform);
                Outcome::Deferred { until, message }
            }
            AccountFailure::NoTurn => return,
            AccountFailure::Final(outcome) => outcome,
            AccountFailure::Retry { class, message } => Outcome::Failed { class, message },
            AccountFailure::Refused(message) => Outcome::Failed { class: FailureClass::Reconnect, message },
        };
        if let Outcome::Failed { class, .. } = outcome
            && !(class == FailureClass::TimedOut && self.side.kept_waiting.contains(&candidate.account_id))
        {
            result.tally.failed(class);
        }
        let reconnect = matches!(outcome, Outcome::Failed { class: FailureClass::Reconnect, .. });
        let mut entry = AccountResult { document, ..self.bare_result(candidate, metric_date, outcome) };
        if reconnect {
            entry.status = Some(AccountStatus::ReconnectNeeded);
            entry.events.push(expiry::reconnect_event(candidate, self.now));
        }
        result.accounts.push(entry);
    }

    /// The result of an account with nothing beside its outcome.
    pub(super) fn bare_result(&self, candidate: &Candidate, metric_date: NaiveDate, outcome: Outcome) -> AccountResult {
        // Waiting for a budget uses up no attempt.
        let is_deferred = matches!(outcome, Outcome::Deferred { .. });
        let attempts = if is_deferred { self.lease.batch.attempts } else { self.attempts() };
        bare_result(candidate, metric_date, outcome, attempts)
    }
}

/// The result of an account with nothing beside its outcome, after so many attempts.
pub(super) fn bare_result(
    candidate: &Candidate,
    metric_date: NaiveDate,
    outcome: Outcome,
    attempts: u32,
) -> AccountResult {
    AccountResult {
        account_id: candidate.account_id,
        artist_id: candidate.artist_id,
        platform: candidate.platform.clone(),
        metric_date,
        outcome,
        attempts,
        document: None,
        stored: None,
        status: None,
        events: Vec::new(),
    }
}

/// Wait before the next attempt: 2 s, then doubling up to 64 s. The gateway has already retried within seconds, so this
/// covers longer outages.
pub(super) fn backoff(attempts: u32) -> Duration {
    Duration::from_secs(1 << attempts.min(6))
}
